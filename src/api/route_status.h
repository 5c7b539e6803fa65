/*
 * route_status: which processes there are, what they do and what waits.
 */
#ifndef LARDER_ROUTE_STATUS_H
#define LARDER_ROUTE_STATUS_H

#include "api/app.h"

/* GET /status: JSON, or a table for people where Accept names text/plain and not JSON. Does not block. */
enum http_step route_status_get(struct exchange *exchange);

#endif
