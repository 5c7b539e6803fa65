/*
 * loop: what a module may ask of the event loop that carries it, so that nobody but `server` knows the loop itself.
 *
 * All callbacks run on the event thread. A module that is handed no loop works synchronously instead.
 */
#ifndef LARDER_LOOP_H
#define LARDER_LOOP_H

#include <stdint.h>

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

struct loop {
    void *self;
    /* Watches (events != 0, level-triggered), changes or forgets (events == 0) WATCH->fd. */
    void (*watch)(void *self, struct loop_watch *watch, unsigned events);
    /* FN is called about every 20 ms while the loop runs, and once at the end of each round of events, when everything
     * that the round brought has been handled: the place to write what has gathered, and to check deadlines. */
    void (*tick)(void *self, loop_tick_fn *fn, void *context);
};

#endif
