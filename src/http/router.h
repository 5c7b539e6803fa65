/*
 * router: method and path pattern to route. 404, 405 with `Allow`, and OPTIONS are decided here.
 *
 * A pattern is literal segments and `{name}` segments. The path is decided first and the method after: literals beat
 * names, segment by segment from the left; a literal that leads to no route gives way to the name, a literal that leads
 * to a route without the method does not (one URL is one thing). A `{name...}` as last segment takes what is left of
 * the path, which must not be empty; it comes last. A path with and without its trailing slash is the same, but the
 * rest keeps it.
 *
 * Paths are percent-decoded after the split, so `%2F` makes no segment: a segment with a decoded slash matches nothing,
 * nor does an empty one (slashes are not merged), nor `.` or `..`, plain or encoded: the web server in front may have
 * resolved them when it chose what to protect. A rest may hold slashes, plain or encoded, and empty segments, but no
 * `.` or `..` either. A broken escape, a control character (%00 too) or text that is not strict UTF-8 makes the whole
 * path malformed.
 */
#ifndef LARDER_ROUTER_H
#define LARDER_ROUTER_H

#include "http/http.h"

enum { ROUTER_SEGMENTS_MAX = 16 }; /* of a pattern */

struct router;

/* One {name} of the path and what stood there, decoded. */
struct router_value {
    struct str name, value;
};

struct router_match {
    const void *target; /* as given to router_add */
    struct router_value values[ROUTER_SEGMENTS_MAX];
    size_t values_count;
    struct str allow; /* for ROUTER_METHOD and ROUTER_OPTIONS: "GET, HEAD, PUT, OPTIONS, PURGE"; in the arena */
};

enum router_result {
    ROUTER_FOUND,     /* target and values hold */
    ROUTER_NOT_FOUND, /* 404 */
    ROUTER_METHOD,    /* 405: the path has routes, but not for this method; `allow` holds */
    ROUTER_OPTIONS,   /* OPTIONS of a path that has no route of its own for it; `allow` holds */
    ROUTER_MALFORMED  /* 400 */
};

struct router *router_new(void);
void router_free(struct router **router);
/* Makes PATTERN with METHOD lead to TARGET (never NULL). GET covers HEAD. The pattern, which is decoded text, must
 * outlive the router. ERR_SYNTAX for a pattern that is none; ERR_EXISTS when a route of the same method and shape is
 * there. */
enum err router_add(struct router *router, enum http_method method, struct str pattern, const void *target) ERR_CHECKED;
/* Matches an encoded path. PURGE finds the GET route, and is allowed where GET is. Views of MATCH lie in PATH or in
 * ARENA; with a full arena nothing is found. Does not block; allocates only in ARENA, and for a plain path that is
 * found, nothing. */
enum router_result router_find(const struct router *router, enum http_method method, struct str path,
                               struct arena *arena, struct router_match *match);

#endif
