/*
 * worker_move: how connections leave a worker and come to another one; and what it and the loop itself (worker) know of a worker.
 */
#ifndef LARDER_WORKER_MOVE_H
#define LARDER_WORKER_MOVE_H

#include "server/connection.h"
#include "server/listener.h"
#include "server/worker.h"

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

/* Connections that other workers have given away are taken. */
void worker_move_arrive(void *worker, unsigned events);
/* Whether the request in BYTES, which has come whole, is kept for later: it may change something, and for the moment none such is begun. */
bool worker_move_holds(struct worker *worker, struct connection *connection, struct str bytes, const struct fcgi_head *head);
/* The worker is to end: it accepts nothing more. */
void worker_move_begin(struct worker *worker);
/* At the end of each round: what is to be held, let go, handed over or retired. */
void worker_move_step(struct worker *worker);

#endif
