/*
 * loop: what a module may ask of the event loop that carries it, so that nobody but `server` knows the loop itself.
 *
 * All callbacks run on the event thread. A module that is handed no loop works synchronously instead.
 */
#ifndef LARDER_LOOP_H
#define LARDER_LOOP_H

#include <stdint.h>

#include <stdbool.h>

#include "base/err.h"

#define LOOP_READ 1u
#define LOOP_WRITE 2u

typedef void loop_ready_fn(void *context, unsigned events);
typedef void loop_tick_fn(void *context, int64_t monotonic_ms);

/* Embedded by its owner; `fn` and `context` are set before loop_watch. */
struct loop_watch {
    loop_ready_fn *fn;
    void *context;
    int fd;
    unsigned events; /* as last asked for; kept by the loop */
};

/* Work for a pool thread that is no request's. Embedded by its owner. */
struct loop_job {
    const char *what;                                /* for whoever watches over the pool; static, or the owner's */
    void (*run)(struct loop_job *job, void *thread); /* THREAD: what the application opened for the pool's thread */
    void (*done)(struct loop_job *job);              /* on the event thread; may free JOB */
    bool is_awaited; /* requests wait for it: neither the share of such jobs nor a drain keeps it from the pool */
};

struct loop {
    void *self;
    unsigned number; /* of this loop among those of the host; 0 is the first */
    /* Watches (events != 0, level-triggered), changes or forgets (events == 0) WATCH->fd. */
    void (*watch)(void *self, struct loop_watch *watch, unsigned events);
    /* FN is called about every 20 ms while the loop runs, and once at the end of each round of events, when everything
     * that the round brought has been handled: the place to write what has gathered, and to check deadlines. */
    void (*tick)(void *self, loop_tick_fn *fn, void *context);
    /* Has JOB run in the pool. ERR_LIMIT when as much of the pool is taken by such jobs as they may have, or too much
     * waits for it; JOB is then still the caller's. */
    enum err (*submit)(void *self, struct loop_job *job) ERR_CHECKED;
};

#endif
