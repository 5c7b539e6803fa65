/*
 * worker: an event thread over many kept FastCGI connections, and a small pool for what blocks.
 *
 * The event thread accepts, receives, scans, runs the application's first steps and sends answers. Whatever may block runs on a
 * pool thread, and so does what takes long, as putting a large body together does. A connection is in one hand at a time: the loop's or
 * a pool thread's.
 */
#ifndef LARDER_WORKER_H
#define LARDER_WORKER_H

#include <signal.h>

#include "base/loop.h"
#include "config/config.h"
#include "http/http.h"
#include "server/handover.h"
#include "server/pool.h"

/* The application as the server sees it. */
struct app_ops {
    /* Called on the thread that will use it; LOOP is NULL on pool threads. It says on BOARD how far it is. Never fails:
     * what is missing shows in answers. */
    void *(*thread_open)(void *app, const struct loop *loop, struct scoreboard_thread *board);
    void (*thread_close)(void *thread);
    /* First steps, on the event thread; must not block. */
    enum http_step (*handle)(void *thread, struct http *http);
    /* All remaining steps, on a pool thread. */
    void (*run)(void *thread, struct http *http);
    /* Makes an error answer for what the server itself refuses. */
    void (*refuse)(struct http *http, int status, const char *detail);
};

/* How a worker ends. */
enum worker_order {
    WORKER_GO_ON,
    WORKER_DRAIN,    /* nobody follows: answer whatever still comes, until no connection is left */
    WORKER_HAND_OVER /* others go on: give them the connections */
};

struct worker_options {
    const struct config *config;
    const struct app_ops *ops;
    void *app;
    int listener;
    const struct handover *handover; /* from whom connections come, and to whom they go in the end */
    struct scoreboard_process *row;    /* its own */
    unsigned number;                   /* of this worker; that of one that is gone may be given again */
    /* An enum worker_order: end, and return; set by SIGTERM and SIGUSR2. HOLD, not 0 between SIGUSR1 and SIGHUP: begin no
     * request that may change something. */
    const volatile sig_atomic_t *stop, *hold;
};

/* Serves until told to stop, or max_requests are done (others then go on); closes the listener, drains, returns the exit
 * code. */
int worker_run(const struct worker_options *options);

/* For worker_move. */

enum { WORKER_TICKS_MAX = 8 };

struct worker;
struct connection;
struct fcgi_head;

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

#endif
