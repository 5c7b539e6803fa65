/*
 * route_resource: the reading routes that .sql files declare, through the cache; and PURGE of what a URL would serve.
 */
#ifndef LARDER_ROUTE_RESOURCE_H
#define LARDER_ROUTE_RESOURCE_H

#include "api/app.h"

/* First step of a reading resource. On the event thread it does not block: a fresh entry is answered at once. */
enum http_step route_resource_read(struct exchange *exchange);
/* First step of PURGE: removes what the URL would serve, for every caller. May block. 404 when the URL is no
 * resource's. */
enum http_step route_resource_purge(struct exchange *exchange);

/* For whoever deals with resources: the parameters of the request, checked; false when it has been answered with 400.
 */
bool route_resource_bind(struct exchange *exchange, struct params_values *values);
/* What the tags of an ask are made of, and where they go. */
struct route_resource_tags {
    const struct resource *resource;
    const struct params_values *values;
    struct arena *arena;
    struct str texts[ENTRY_TAGS_MAX];
};

/* What a read of RESOURCE with VALUES asks the cache for, in HTTP's arena. TAGS is used when cache_find_tags is called.
 */
void route_resource_ask(const struct resource *resource, const struct params_values *values, const struct http *http,
                        struct route_resource_tags *tags, struct cache_ask *out);
/* For routes of resources: who asks, and when. */
struct store_caller route_resource_caller(const struct http *http);
/* The path's values and the query, decoded, into RAW, which has room for PARAMS_MAX + ROUTER_SEGMENTS_MAX. False when
 * the query is malformed: answered with 400. */
bool route_resource_collect(struct exchange *exchange, struct params_raw *raw, size_t *count);

#endif
