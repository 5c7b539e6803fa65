/*
 * route_cache: the administration of the cache under /api/cache/. All of it is for admins, and may block.
 */
#ifndef LARDER_ROUTE_CACHE_H
#define LARDER_ROUTE_CACHE_H

#include "api/app.h"

/* GET: the backend and how it is, and hit rates. */
enum http_step route_cache_status(struct exchange *exchange);
/* POST: removal by exactly one of pattern, tag, key, keys and all. */
enum http_step route_cache_invalidate(struct exchange *exchange);
/* GET: a page of keys. */
enum http_step route_cache_keys(struct exchange *exchange);
/* GET: one entry as JSON. */
enum http_step route_cache_key_get(struct exchange *exchange);
/* DELETE: one entry. */
enum http_step route_cache_key_delete(struct exchange *exchange);

/* The answer to a purge that failed with ERR: that L2 was not told, and is not read before it has been emptied. */
void route_cache_unreachable(struct exchange *exchange, enum err err);
/* Only tells the log of it. */
void route_cache_note_purge(struct exchange *exchange, enum err err);

#endif
