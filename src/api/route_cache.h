/*
 * route_cache: the administration of the cache under /api/cache/. All of it is for admins, and may block.
 */
#ifndef LARDER_ROUTE_CACHE_H
#define LARDER_ROUTE_CACHE_H

#include "api/app.h"

/* GET: the backend and how it is, and hit rates. */
enum http_step route_cache_status(struct exchange *exchange);
/* GET: a page of keys. */
enum http_step route_cache_keys(struct exchange *exchange);
/* GET: the keys that this host is asked for most. */
enum http_step route_cache_top(struct exchange *exchange);
/* GET: one entry as JSON. */
enum http_step route_cache_key_get(struct exchange *exchange);

#endif
