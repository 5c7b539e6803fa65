/*
 * slow: where a request's time goes, and the slow log.
 *
 * A clock runs with each request and is in one phase at any time, so its phases add up to the whole. What is answered
 * in the step that it begins with never looks at it.
 */
#ifndef LARDER_SLOW_H
#define LARDER_SLOW_H

#include "base/log.h"
#include "base/recent.h"
#include "config/params.h"

/* X(constant, name) */
#define SLOW_PHASES_TABLE(X)                                                                                           \
    X(WORK, work)           /* computing: parsing, looking into L1, rendering; and waiting for the event thread */     \
    X(QUEUE, queue)         /* waiting for a thread of the pool */                                                     \
    X(L2, l2)               /* waiting for L2 */                                                                       \
    X(WAIT, wait)           /* waiting for another request that computes the same */                                   \
    X(STATEMENT, statement) /* running SQL */                                                                          \
    X(FILL, fill)           /* storing what was computed */                                                            \
    X(WRITE, write)         /* waiting for the writer */

/* Bytes of an entry of the ring. */
enum { SLOW_TEXT_MAX = 4096 };

#define SLOW_ENUM(constant, name) SLOW_##constant,
enum slow_phase { SLOW_PHASES_TABLE(SLOW_ENUM) SLOW_PHASES };
#undef SLOW_ENUM

/* All zeros but for since_us when it starts. */
struct slow_clock {
    int64_t since_us; /* monotonic: when the phase began */
    enum slow_phase phase;
    bool ran; /* a statement has, to its end or to its time limit: how it was run may be told */
    int64_t spent_us[SLOW_PHASES];
};

static inline void slow_enter(struct slow_clock *clock, enum slow_phase phase, int64_t now_us)
{
    clock->spent_us[clock->phase] += now_us - clock->since_us;
    clock->since_us = now_us;
    clock->phase = phase;
}

struct app_thread;
struct resource;

/* Something that took long. Empty views and NULLs for what there is not. */
struct slow_case {
    const char *event;
    struct app_thread *thread;
    const struct resource *resource;
    const struct params_values *values;
    const struct slow_clock *clock; /* stopped */
    struct arena *arena;
    struct str method, path, route, request_id, traceparent;
    int status; /* 0: nobody was answered */
};

/* A line in the log, and an entry in the ring of recent ones, when it took as long as `[log] slow` says. */
void slow_tell(const struct slow_case *it);

#endif
