/*
 * route_cache: the admin routes of the cache: find, look at, purge.
 */
#ifndef LARDER_ROUTE_CACHE_H
#define LARDER_ROUTE_CACHE_H

#include "api/app.h"

/* Ended by a route without `handle`. */
extern const struct route route_cache_table[];

/* First step of PURGE on the URL of a resource. */
enum http_step route_cache_purge_url(struct exchange *exchange);

#endif
