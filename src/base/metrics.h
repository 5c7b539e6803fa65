/*
 * metrics: counters in shared memory, a slot per process so that nobody shares a cache line.
 *
 * The table is made before the fork; each process attaches to one slot and adds to it without locks (relaxed atomics,
 * for the threads of a worker share the slot). Reading sums the slots. Slots outlive their process: nothing counted is
 * lost.
 */
#ifndef LARDER_METRICS_H
#define LARDER_METRICS_H

#include "base/str.h"

/* X(name, text): JSON and Prometheus names come from NAME, in lower case. */
#define METRICS_TABLE(X)                                                                                               \
    X(requests, "requests answered")                                                                                   \
    X(responses_2xx, "answers with a status from 200 to 299")                                                          \
    X(responses_3xx, "answers with a status from 300 to 399")                                                          \
    X(responses_4xx, "answers with a status from 400 to 499")                                                          \
    X(responses_5xx, "answers with a status from 500 to 599")                                                          \
    X(hits, "answered fresh from the cache")                                                                           \
    X(hits_l1, "answered from this host's memory, fresh, stale or negative")                                           \
    X(hits_l2, "answered from the cache that hosts share, fresh, stale or negative")                                   \
    X(stale_hits, "answered stale while being computed anew")                                                          \
    X(collapsed, "waited for another request that computed the same")                                                  \
    X(refreshes, "computed anew in the background")                                                                    \
    X(refresh_failures, "of these, failed")                                                                           \
    X(negative_hits, "404s answered from the cache")                                                                   \
    X(stale_served, "answered from a stale entry because the origin failed")                                           \
    X(misses, "not in the cache, asked of the origin")                                                                 \
    X(bypassed, "resources that are not cached")                                                                       \
    X(fills, "entries stored in L2")                                                                                   \
    X(fills_refused, "entries not stored because a purge came in between")                                             \
    X(purges, "purges by key, pattern or tag")                                                                         \
    X(l2_failures, "reads and writes of L2 that failed or timed out")                                                  \
    X(l2_skipped, "reads and writes of L2 not tried because the breaker was open")                                     \
    X(statements, "statements run on the origin")                                                                      \
    X(statement_failures, "statements that failed")                                                                    \
    X(statement_us, "microseconds spent in statements")                                                                \
    X(writes, "writes acknowledged")                                                                                   \
    X(write_failures, "writes refused or failed")                                                                      \
    X(connections, "FastCGI connections accepted")                                                                     \
    X(connections_rejected, "FastCGI connections closed for malformed or late input, or a peer not allowed")           \
    X(pool_refused, "requests refused because the pool's queue was full")                                              \
    X(slow_requests, "requests that took longer than a second")                                                        \
    X(worker_starts, "workers started")                                                                                \
    X(worker_crashes, "children that died by a signal or with an error")

#define METRICS_ENUM(name, text) METRIC_##name,
enum metric { METRICS_TABLE(METRICS_ENUM) METRIC_COUNT };
#undef METRICS_ENUM

/* Makes the table for SLOTS processes; before the fork. What was counted already is carried over. ERR_FULL. */
enum err metrics_init(unsigned slots) ERR_CHECKED;
/* This process counts in SLOT from here on; until then, or with a number that the table has not, it counts in a common
 * slot besides (without a table, one of its own). Before it starts threads. */
void metrics_attach(unsigned slot);
void metrics_add(enum metric metric, uint64_t amount);
uint64_t metrics_sum(enum metric metric);
const char *metrics_name(enum metric metric);
const char *metrics_help(enum metric metric);

#endif
