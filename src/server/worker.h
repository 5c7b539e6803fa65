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

struct worker_options {
    const struct config *config;
    const struct app_ops *ops;
    void *app;
    int listener;
    struct scoreboard_process *row;    /* its own */
    unsigned number;                   /* of this worker; that of one that is gone may be given again */
    const volatile sig_atomic_t *stop; /* set by SIGTERM: drain and return */
};

/* Serves until told to stop or max_requests are done, closes the listener, drains, returns the exit code. */
int worker_run(const struct worker_options *options);

#endif
