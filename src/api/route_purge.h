/*
 * route_purge: the routes that remove from the cache. All of it is for admins, and may block.
 */
#ifndef LARDER_ROUTE_PURGE_H
#define LARDER_ROUTE_PURGE_H

#include "api/app.h"
#include "cache/purge.h"

/* POST: removal by exactly one of pattern, tag, key, keys and all. */
enum http_step route_purge_invalidate(struct exchange *exchange);
/* POST: removal of everything. */
enum http_step route_purge_clear(struct exchange *exchange);
/* DELETE: one entry. */
enum http_step route_purge_key(struct exchange *exchange);
/* GET: what the job of a pattern's purge is at. */
enum http_step route_purge_job(struct exchange *exchange);

/* Answers with what the purge ITEM of what stands under KEY does; an empty one does nothing. */
enum http_step route_purge_named(struct exchange *exchange, struct str key, struct str item);

#endif
