/*
 * route_meta: whether this server is well, whether it can serve, and what it has counted.
 */
#ifndef LARDER_ROUTE_META_H
#define LARDER_ROUTE_META_H

#include "api/app.h"

/* GET /healthz: this process answers. Touches nothing and does not block. */
enum http_step route_meta_health(struct exchange *exchange);
/* GET /readyz: 200 when resources can be served, 503 when not; says how database, writer and cache are. May block. */
enum http_step route_meta_ready(struct exchange *exchange);
/* GET /stats: every counter, the writer's too, and the distributions of route_metrics.h. Does not block. */
enum http_step route_meta_stats(struct exchange *exchange);

#endif
