/*
 * route_explain: what a URL would do now, and why, without doing it.
 */
#ifndef LARDER_ROUTE_EXPLAIN_H
#define LARDER_ROUTE_EXPLAIN_H

#include "api/app.h"

/* GET with `url`: the resource, parameters, key and tags, what L1 and L2 hold, and what a GET would do with it. For
 * admins; may block. */
enum http_step route_explain_handle(struct exchange *exchange);

#endif
