/*
 * metrics: counters and histograms in shared memory, a slot per process so that nobody shares a cache line.
 *
 * The table is made before the fork; each process attaches to one slot and adds to it without locks (relaxed atomics,
 * for the threads of a worker share the slot). Reading sums the slots. Slots outlive their process: nothing counted is
 * lost.
 *
 * Answered requests are counted by resource and outcome, and their durations by tier. A resource has a row that is
 * found by its name and is never given to another, so a reload that adds or removes resources makes no count fall.
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
    X(collapsed, "waited for another request that computed the same")                                                  \
    X(refreshes, "computed anew in the background")                                                                    \
    X(refresh_failures, "of these, failed")                                                                            \
    X(fills, "entries stored in L2")                                                                                   \
    X(fills_refused, "entries not stored because a purge came in between")                                             \
    X(purges, "purges by key, pattern or tag")                                                                         \
    X(l2_failures, "reads and writes of L2 that failed or timed out")                                                  \
    X(l2_skipped, "reads and writes of L2 not tried because the breaker was open")                                     \
    X(breaker_opened, "times that the breaker in front of L2 opened")                                                  \
    X(breaker_half_opened, "times that it let a probe through")                                                        \
    X(breaker_closed, "times that it closed again")                                                                    \
    X(statements, "statements run on the origin")                                                                      \
    X(statement_failures, "statements that failed")                                                                    \
    X(statement_us, "microseconds spent in statements")                                                                \
    X(writes, "writes acknowledged")                                                                                   \
    X(write_failures, "writes refused or failed")                                                                      \
    X(connections, "FastCGI connections accepted")                                                                     \
    X(connections_rejected, "FastCGI connections closed for malformed or late input, or a peer not allowed")           \
    X(pool_refused, "requests refused because the pool's queue was full")                                              \
    X(slow_requests, "requests that took longer than `slow` of [log]")                                                 \
    X(worker_starts, "workers started")                                                                                \
    X(worker_crashes, "children that died by a signal or with an error")

#define METRICS_ENUM(name, text) METRIC_##name,
enum metric { METRICS_TABLE(METRICS_ENUM) METRIC_COUNT };
#undef METRICS_ENUM

/* How an answered request came out. X(name, text) */
#define METRICS_OUTCOMES(X)                                                                                            \
    X(other, "answered without the cache: larder's own routes, and purges")                                            \
    X(hit, "fresh from the cache")                                                                                     \
    X(stale, "stale from the cache, computed anew behind it")                                                          \
    X(negative, "404 from the cache")                                                                                  \
    X(collapsed, "from the cache after waiting for another request that computed the same")                            \
    X(miss, "computed")                                                                                                \
    X(stale_on_error, "stale from the cache because computing failed")                                                 \
    X(bypass, "computed, of a resource that is not cached")                                                            \
    X(written, "a write that was acknowledged")                                                                        \
    X(refused, "any other answer from 400 to 499")                                                                     \
    X(failed, "an answer from 500 on")

#define METRICS_ENUM(name, text) METRICS_OUTCOME_##name,
enum metrics_outcome { METRICS_OUTCOMES(METRICS_ENUM) METRICS_OUTCOME_COUNT };
#undef METRICS_ENUM

/* What took a request's time. X(name, text) */
#define METRICS_TIERS(X)                                                                                               \
    X(other, "nothing of what follows: larder's own routes, what is refused at once")                                  \
    X(l1, "this host's memory")                                                                                        \
    X(l2, "the cache that hosts share")                                                                                \
    X(origin, "a statement, its own or one that it waited for")                                                        \
    X(write, "a write")

#define METRICS_ENUM(name, text) METRICS_TIER_##name,
enum metrics_tier { METRICS_TIERS(METRICS_ENUM) METRICS_TIER_COUNT };
#undef METRICS_ENUM

/* Upper bounds of the histograms' buckets but the last, in microseconds and as seconds. X(us, seconds) */
#define METRICS_BOUNDS(X)                                                                                              \
    X(10, "1e-05")                                                                                                     \
    X(25, "2.5e-05")                                                                                                   \
    X(50, "5e-05")                                                                                                     \
    X(100, "0.0001")                                                                                                   \
    X(250, "0.00025")                                                                                                  \
    X(500, "0.0005")                                                                                                   \
    X(1000, "0.001")                                                                                                   \
    X(2500, "0.0025")                                                                                                  \
    X(5000, "0.005")                                                                                                   \
    X(10000, "0.01")                                                                                                   \
    X(25000, "0.025")                                                                                                  \
    X(50000, "0.05")                                                                                                   \
    X(100000, "0.1")                                                                                                   \
    X(250000, "0.25")                                                                                                  \
    X(500000, "0.5")                                                                                                   \
    X(1000000, "1.0")                                                                                                  \
    X(2500000, "2.5")                                                                                                  \
    X(5000000, "5.0")                                                                                                  \
    X(10000000, "10.0")

#define METRICS_ONE(us, seconds) +1
enum { METRICS_BUCKETS = METRICS_BOUNDS(METRICS_ONE) + 1, METRICS_ROWS_MAX = 256, METRICS_ROW_NAME_MAX = 63 };
#undef METRICS_ONE

/* Rows that are no resource's: what larder answers by itself, and resources for which there is no row left. */
enum { METRICS_ROW_OWN, METRICS_ROW_OTHERS };

/* The durations of one tier. */
struct metrics_histogram {
    uint64_t buckets[METRICS_BUCKETS]; /* each for itself; the last has no upper bound */
    uint64_t sum_us;
};

/* Makes the table for SLOTS processes; before the fork. What was counted already is carried over. ERR_FULL. */
enum err metrics_init(unsigned slots) ERR_CHECKED;
/* This process counts in SLOT from here on; until then, or with a number that the table has not, it counts in a common
 * slot besides (without a table, one of its own). Before it starts threads. Low numbers first: who reads looks at all
 * slots up to the highest that was ever attached. */
void metrics_attach(unsigned slot);
void metrics_add(enum metric metric, uint64_t amount);
uint64_t metrics_sum(enum metric metric);
const char *metrics_name(enum metric metric);
const char *metrics_help(enum metric metric);

/* The row of the resource NAME, made by the first call for it; METRICS_ROW_OTHERS when there are too many, or the name
 * is longer than METRICS_ROW_NAME_MAX. For the process that forks the others, and only there. */
unsigned metrics_row(struct str name);
/* Counts a request that was answered. */
void metrics_answered(unsigned row, enum metrics_outcome outcome, enum metrics_tier tier, int64_t took_us);

/* How many rows there are, the two that are no resource's included; they are never removed. */
unsigned metrics_rows(void);
/* Terminated; "(larder)" and "(others)" for those two. */
const char *metrics_row_name(unsigned row);
void metrics_row_sum(unsigned row, uint64_t out[METRICS_OUTCOME_COUNT]);
/* Over all rows. */
uint64_t metrics_outcome_sum(enum metrics_outcome outcome);
void metrics_tier_sum(enum metrics_tier tier, struct metrics_histogram *out);
uint64_t metrics_tier_count(const struct metrics_histogram *histogram);
const char *metrics_outcome_name(enum metrics_outcome outcome);
const char *metrics_tier_name(enum metrics_tier tier);
/* The duration, in microseconds, below which FRACTION (0 to 1) of HISTOGRAM lies: within a bucket as if spread evenly;
 * the last bound for what is beyond. 0 when it is empty. */
int64_t metrics_quantile(const struct metrics_histogram *histogram, double fraction);

#endif
