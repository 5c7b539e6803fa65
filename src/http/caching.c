/*
 * caching: what a response says about where it came from and how long others may keep it.
 *
 * A purge reaches every tier of larder and nothing beyond it: no browser, no CDN, no cache of the nginx in front
 * (unless somebody configures that, which cannot be seen from here). So by default nobody may use an answer without
 * asking: `no-cache` for clients and CDNs, `X-Accel-Expires: 0` for nginx. Only a resource that sets `max_age` allows
 * more, and says by it how old an answer may be, purged or not, before it must be asked for again. Shared caches get no
 * more than the entry's own life, and nothing of what is private, stale, uncached or an error.
 *
 * Invariant: max-age counts from the origin's answer, as Age does (RFC 9111, section 4.2), so Age need not be
 * subtracted; X-Accel-Expires counts from now, for nginx does not look at Age.
 *
 * It decides nothing about freshness and never reads a clock.
 */
#include "http/caching.h"

/* The lines that depend on the outcome alone, up to where Cache-Status goes on. */
static const struct str openings[] = {
    [CACHING_HIT] = STR("X-Cache: HIT\r\nCache-Status: larder; hit"),
    [CACHING_MISS] = STR("X-Cache: MISS\r\nCache-Status: larder; fwd=miss"),
    [CACHING_STALE] = STR("X-Cache: STALE\r\nCache-Status: larder; hit"),
    [CACHING_BYPASS] = STR("X-Cache: BYPASS\r\nCache-Status: larder; fwd=bypass"),
    [CACHING_NEGATIVE] = STR("X-Cache: NEGATIVE\r\nCache-Status: larder; fwd=miss"),
};

static struct str opaque_tag(struct str etag)
{
    return str_starts(etag, STR("W/")) ? (struct str){etag.p + 2, etag.len - 2} : etag;
}

/* The next entity tag of LIST, without weakness; empty at the end, or at what is none. Commas may stand within the
 * quotes (RFC 9110, section 8.8.3). */
static struct str next_tag(struct str *list)
{
    struct str rest = *list;
    const char *end;

    while (rest.len > 0 && (rest.p[0] == ',' || rest.p[0] == ' ' || rest.p[0] == '\t'))
        rest = (struct str){rest.p + 1, rest.len - 1};
    rest = opaque_tag(rest);
    end = rest.len > 1 && rest.p[0] == '"' ? memchr(rest.p + 1, '"', rest.len - 1) : NULL;
    if (!end)
        return STR("");
    end++;
    *list = (struct str){end, rest.len - (size_t)(end - rest.p)};
    return (struct str){rest.p, (size_t)(end - rest.p)};
}

bool caching_none_match(struct str if_none_match, struct str etag)
{
    struct str list = str_trim(if_none_match), wanted = opaque_tag(etag), tag;

    if (str_equal(list, STR("*")))
        return true;
    while ((tag = next_tag(&list)).len > 0)
        if (str_equal(tag, wanted))
            return true;
    return false;
}

static bool is_from_cache(const struct caching_state *state)
{
    return state->outcome == CACHING_HIT || state->outcome == CACHING_STALE ||
           (state->outcome == CACHING_NEGATIVE && state->negative_hit);
}

/* Whole seconds, downwards: what is stale by half a second has a ttl of -1. */
static int64_t seconds(int64_t ms)
{
    return ms / 1000 - (ms % 1000 < 0);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void add_status(const struct caching_state *state, bool from_cache, struct buf *out)
{
    struct str opening = openings[state->outcome];

    if (state->outcome == CACHING_NEGATIVE && from_cache)
        opening = STR("X-Cache: NEGATIVE\r\nCache-Status: larder; hit");
    buf_add_str(out, opening);
    if (from_cache) {
        buf_add_str(out, STR("; ttl="));
        buf_add_int64(out, seconds(state->ttl_ms));
    } else if (state->stored) {
        buf_add_str(out, STR("; stored"));
    }
    if (state->detail) {
        buf_add_str(out, STR("; detail="));
        buf_add_str(out, str_from(state->detail));
    }
    if (from_cache) {
        /* Clocks of two hosts may differ; no answer is younger than now. */
        buf_add_str(out, STR("\r\nAge: "));
        buf_add_int64(out, state->age_ms > 0 ? state->age_ms / 1000 : 0);
    }
}

/* How old, from the origin's answer on, the response may become at a client (*CLIENT_MS) and in a shared cache
 * before it must be asked for again. */
static void judge_life(int status, const struct caching_state *state, int64_t *client_ms, int64_t *shared_ms)
{
    bool negative = state->outcome == CACHING_NEGATIVE;
    int64_t life_ms = (state->age_ms > 0 ? state->age_ms : 0) + (state->ttl_ms > 0 ? state->ttl_ms : 0);

    *client_ms = *shared_ms = 0;
    if (state->outcome == CACHING_STALE || (status >= 400 && !negative))
        return;
    /* Absence is the shortest-lived of facts: nobody is told to believe in it for longer than `negative`. */
    *client_ms = negative ? least(state->max_age_ms, life_ms) : state->max_age_ms;
    if (!state->is_private && state->outcome != CACHING_BYPASS)
        *shared_ms = least(*client_ms, life_ms);
}

static void add_lifetime(struct buf *out, int64_t life_ms)
{
    if (life_ms < 1000) {
        buf_add_str(out, STR("no-cache"));
        return;
    }
    buf_add_str(out, STR("max-age="));
    buf_add_int64(out, life_ms / 1000);
}

void caching_headers(struct http *http, const struct caching_state *state)
{
    struct buf *out = &http->headers;
    bool from_cache = is_from_cache(state);
    int64_t client_ms, shared_ms, left_ms;

    judge_life(http->status, state, &client_ms, &shared_ms);
    left_ms = shared_ms - (state->age_ms > 0 ? state->age_ms : 0);
    buf_reserve(out, 320);
    add_status(state, from_cache, out);
    buf_add_str(out, state->is_private ? STR("\r\nCache-Control: private, ") : STR("\r\nCache-Control: "));
    add_lifetime(out, client_ms);
    if (client_ms < 1000) {
        /* Nobody keeps it, then: caches in front need no words of their own, and each costs the web server time. */
        buf_add_str(out, STR("\r\n"));
        return;
    }
    /* A CDN that knows this field does not look at Cache-Control (RFC 9213, section 2.2): `private` must be said
     * here too. */
    buf_add_str(out, state->is_private ? STR("\r\nCDN-Cache-Control: private, ") : STR("\r\nCDN-Cache-Control: "));
    add_lifetime(out, shared_ms);
    buf_add_str(out, STR("\r\nX-Accel-Expires: "));
    buf_add_int64(out, left_ms > 0 ? left_ms / 1000 : 0);
    buf_add_str(out, STR("\r\n"));
}

void caching_conditional(struct http *http, struct str etag)
{
    /* RFC 9110, section 13.2.1: a condition counts only where the answer would be a success without it. */
    if (etag.len == 0 || http->status != 200 || (http->method != HTTP_GET && http->method != HTTP_HEAD))
        return;
    http_header(http, "ETag", etag);
    if (http->in.if_none_match.len == 0 || !caching_none_match(http->in.if_none_match, etag))
        return;
    http->status = 304;
    http->content_type = STR("");
    http->out = STR("");
}
