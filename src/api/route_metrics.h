/*
 * route_metrics: what has been counted and measured, for Prometheus and for /stats.
 */
#ifndef LARDER_ROUTE_METRICS_H
#define LARDER_ROUTE_METRICS_H

#include "api/app.h"

/* GET /metrics: everything, in the format that Accept prefers. Does not block: it is to answer while the pool is full.
 */
enum http_step route_metrics_scrape(struct exchange *exchange);

/* Appends members of a JSON object, each with a comma before it. */

/* How reading requests came out, over all resources: `hits` (fresh), `negative_hits`, `stale_hits`, `hits_l1`,
 * `hits_l2`, `stale_served` (the origin failed), `misses`, `bypassed`. */
void route_metrics_add_outcomes(struct buf *out);
/* `by_resource`: {name: {outcome: count}}, and `latency`: {"bounds_us": [...], tier: {"count", "sum_us", "p50_us",
 * "p95_us", "p99_us", "buckets": [...]}}; the last bucket has no bound. */
void route_metrics_add_distributions(struct buf *out);

#endif
