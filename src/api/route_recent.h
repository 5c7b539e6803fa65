/*
 * route_recent: GET /api/cache/problems and /api/cache/slow.
 */
#ifndef LARDER_ROUTE_RECENT_H
#define LARDER_ROUTE_RECENT_H

#include "api/app.h"

enum http_step route_recent_problems(struct exchange *exchange);
enum http_step route_recent_slow(struct exchange *exchange);

#endif
