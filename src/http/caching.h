/*
 * caching: the header fields of HTTP caching: ETag and conditionals (RFC 9110, section 13), the choice of a
 * representation by Accept-Encoding (section 12.5.3), Cache-Control and Age (RFC 9111, section 5), Cache-Status (RFC
 * 9211), CDN-Cache-Control (RFC 9213).
 *
 * Only formats and compares; what is fresh is decided in `cache/policy`.
 */
#ifndef LARDER_CACHING_H
#define LARDER_CACHING_H

#include "http/http.h"

/* How a response came about, for X-Cache and Cache-Status. */
enum caching_outcome { CACHING_HIT, CACHING_MISS, CACHING_STALE, CACHING_BYPASS, CACHING_NEGATIVE };

struct caching_state {
    enum caching_outcome outcome;
    bool stored;        /* a miss whose answer went into the cache */
    bool collapsed;     /* a miss that waited for another request's answer and shares it */
    bool negative_hit;  /* CACHING_NEGATIVE from the cache, not fresh from the origin */
    int64_t ttl_ms;     /* left until stale; negative when stale */
    int64_t age_ms;     /* since the origin gave it; 0 when it did just now */
    int64_t max_age_ms; /* for clients; 0: they revalidate */
    const char *detail; /* "L2", "origin-failed", ...: a token (RFC 9110, section 5.6.2); NULL without */
    bool is_private;    /* depends on who asks: shared caches must not keep it */
    /* For a web server with a microcache (`in.microcache` is set). */
    struct str mark;     /* by which its copy is found when it is purged; empty: it may not keep one */
    int64_t if_error_ms; /* how long after the ttl its copy may stand in while nobody answers */
};

/* The representation of an answer that a request gets. */
struct caching_body {
    struct str body; /* p is NULL until the caller has unpacked it */
    struct str etag; /* its own; empty without */
    bool gzip;       /* it is compressed */
    bool varies;     /* there is a compressed one */
};

/* Whether ACCEPT_ENCODING (the field's value) allows gzip and does not prefer it plain. No for what is malformed. */
bool caching_accepts_gzip(struct str accept_encoding);
/* How much ACCEPT wants media type TYPE in VERSION, in thousandths (RFC 9110, section 12.5.1); -1 when it does not name
 * it. A range, as in `text` followed by a star, names no type. */
int caching_media_weight(struct str accept, struct str type, struct str version);
/* GZIP where there is one (its p is set) and HTTP's client takes it, else PLAIN, whose p may be NULL when it is still
 * to be unpacked. ETAG is that of PLAIN: with `-gzip` before its closing quote, in HTTP's arena, it is that of GZIP. */
struct caching_body caching_choose(const struct http *http, struct str plain, struct str gzip, struct str etag);

/* The next entity tag of a field's LIST, which is moved behind it, with its quotes and without its weakness; empty at
 * the end, or at what is none. */
struct str caching_next_tag(struct str *list, bool *weak);
/* Whether IF_NONE_MATCH (the field's value) matches ETAG (with its quotes) by weak comparison; `*` matches. What is
 * no list of entity tags matches as far as it is one. */
bool caching_none_match(struct str if_none_match, struct str etag);
/* Adds X-Cache, Cache-Status, Age (to what came from the cache or from another request), Cache-Control,
 * CDN-Cache-Control and X-Accel-Expires; and for a microcache, where it may keep the answer, what is to be done with it
 * and, as X-Cache-Control in place of Cache-Control, what it is to tell clients. To be called when the status is set:
 * of an error nothing is kept. */
void caching_headers(struct http *http, const struct caching_state *state);
/* To be called last: adds ETAG to a 200 of GET or HEAD, and makes it a 304 without body and Content-Type where
 * If-None-Match matches, but for what a microcache keeps. The other headers stay (RFC 9110, section 15.4.5). False
 * where If-Match does not: the answer is to be a 412. An empty ETAG changes nothing. */
bool caching_conditional(struct http *http, struct str etag) ERR_CHECKED;
/* Instead of it, likewise last: answers with BODY, whose bytes must be there. Adds Vary, also to a 304, where there is
 * a choice, and Content-Encoding where there is content. */
bool caching_answer(struct http *http, const struct caching_body *body) ERR_CHECKED;

#endif
