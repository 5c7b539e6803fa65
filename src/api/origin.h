/*
 * origin: what computes an answer: a resource's statement as the cache's fill, for a request or in the background.
 */
#ifndef LARDER_ORIGIN_H
#define LARDER_ORIGIN_H

#include "api/app.h"

/* What a fill needs. */
struct origin {
    struct store *store; /* of the thread that runs the fill */
    const struct resource *resource;
    const struct params_values *values;
    struct store_caller caller;
    struct slow_clock *clock;
    enum slow_phase next; /* what the clock goes on with when the statement has ended */
    struct buf why;       /* freed by whoever ran the fill */
};

/* A cache_fill_fn; CONTEXT is a struct origin: the statement's answer as an entry without times. */
enum err origin_read(void *context, struct arena *arena, struct entry *entry);
/* Has what was answered stale computed anew, by nobody's request. VALUES are the request's; false, with nothing begun,
 * when as much as may be is being refreshed already, or there is no memory for it. */
bool origin_refresh(struct exchange *exchange, const struct params_values *values, const struct cache_ask *ask,
                    const struct cache_found *found) __attribute__((warn_unused_result));

#endif
