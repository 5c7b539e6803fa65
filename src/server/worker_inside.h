/*
 * worker_inside: what the parts of the worker know of each other: the loop and its requests (worker), and how connections leave it and come
 * to another one (worker_move).
 */
#ifndef LARDER_WORKER_INSIDE_H
#define LARDER_WORKER_INSIDE_H

#include "server/connection.h"
#include "server/listener.h"
#include "server/worker.h"

enum { WORKER_TICKS_MAX = 8 };

struct worker {
    const struct worker_options *options;
    const struct config *config;
    int epoll;
    bool listening, draining;
    bool holding;  /* requests that may change something are not begun */
    bool handing;  /* draining: connections are given to other workers, and no request is begun */
    bool unheeded; /* draining: a peer did not notice the end of an idle connection, so there is no use in going slowly */
    int64_t now_ms, swept_ms, accept_at_ms, drain_until_ms;
    struct loop loop;
    struct {
        loop_tick_fn *fn;
        void *context;
    } ticks[WORKER_TICKS_MAX];
    unsigned ticks_count;
    struct pool_ops pool_ops;
    struct pool *pool;
    struct loop_watch pool_watch, listener_watch, arrival_watch;
    struct listener_peers *peers;
    void *thread; /* the application's, of the event thread */
    struct connection *connections, *again;
    struct connection_rooms rooms;
    struct connection_clock clock; /* of this round */
    unsigned connections_count, busy, changing;
    int64_t requests;
    char scratch[CONNECTION_SCRATCH];
};

/* Whether new connections are accepted, and those of others taken. */
void worker_listen(struct worker *worker, bool wanted);
/* Makes FD, accepted or handed over, a connection; NULL when that failed, and FD is closed. */
struct connection *worker_adopt(struct worker *worker, int fd);
/* Closes it; the struct goes at the end of the round. */
void worker_drop(struct worker *worker, struct connection *connection);
/* Sends nothing more; what comes is thrown away until the peer has closed too, for at most LIMIT_MS. */
void worker_linger(struct worker *worker, struct connection *connection, int64_t limit_ms);
/* Looks at what has come on a connection on which nothing is being answered. */
void worker_look(struct worker *worker, struct connection *connection);
/* Looks at it once this round is over. */
void worker_look_again(struct worker *worker, struct connection *connection);
/* A request begins. CUT: why it is answered although not all of it has come. */
void worker_begin(struct worker *worker, struct connection *connection, struct str bytes, const struct fcgi_head *head, enum err cut);

/* Connections that other workers have given away are taken. */
void worker_move_arrive(void *worker, unsigned events);
/* Whether the request in BYTES, which has come whole, is kept for later: it may change something, and for the moment none such is begun. */
bool worker_move_holds(struct worker *worker, struct connection *connection, struct str bytes, const struct fcgi_head *head);
/* The worker is to end: it accepts nothing more. */
void worker_move_begin(struct worker *worker);
/* At the end of each round: what is to be held, let go, handed over or retired. */
void worker_move_step(struct worker *worker);

#endif
