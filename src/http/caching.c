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
 * A web server that says so (LARDER_MICROCACHE) keeps answers for itself, though: each until the second in which it was
 * given has passed, and until the next has where it is fetching a newer one meanwhile. Those words are for it alone;
 * what clients are to be told stands beside them.
 *
 * Two representations of one answer never share an ETag, so a client's copy is compared with what it would get now.
 *
 * It decides nothing about freshness, compresses nothing and never reads a clock.
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

static bool is_alphanumeric(unsigned char c)
{
    return (unsigned)((c | 0x20) - 'a') < 26 || (unsigned)(c - '0') < 10;
}

/* A token (RFC 9110, section 5.6.2). */
static bool is_token(struct str text)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < text.len; i++)
        if (!is_alphanumeric((unsigned char)text.p[i]) && !memchr(others, text.p[i], sizeof others - 1))
            return false;
    return text.len > 0;
}

/* The thousandths of a weight (RFC 9110, section 12.4.2); -1 for what is none. */
static int weigh(struct str text)
{
    int weight = 0, unit = 1000;

    if (text.len == 0 || text.len > 5 || (text.len > 1 && text.p[1] != '.'))
        return -1;
    for (size_t i = 0; i < text.len; i++) {
        if (i == 1)
            continue;
        if (text.p[i] < '0' || text.p[i] > '9')
            return -1;
        weight += unit * (text.p[i] - '0');
        unit /= 10;
    }
    return weight <= 1000 ? weight : -1;
}

/* Reads one member of Accept-Encoding: a coding, and perhaps its weight. */
static bool read_coding(struct str member, struct str *coding, int *weight)
{
    *coding = str_trim(str_cut(&member, ';'));
    *weight = 1000;
    if (member.p) {
        member = str_trim(member);
        if (member.len < 2 || (member.p[0] != 'q' && member.p[0] != 'Q') || member.p[1] != '=')
            return false;
        *weight = weigh((struct str){member.p + 2, member.len - 2});
    }
    return *weight >= 0 && is_token(*coding);
}

bool caching_accepts_gzip(struct str accept_encoding)
{
    int gzip = -1, identity = -1, others = -1, weight;
    struct str coding;

    while (accept_encoding.len > 0) {
        struct str member = str_trim(str_cut(&accept_encoding, ','));

        if (member.len == 0)
            continue; /* RFC 9110, section 5.6.1.2 */
        if (!read_coding(member, &coding, &weight))
            return false;
        if (str_equal_nocase(coding, STR("gzip")) || str_equal_nocase(coding, STR("x-gzip")))
            gzip = weight;
        else if (str_equal_nocase(coding, STR("identity")))
            identity = weight;
        else if (str_equal(coding, STR("*")))
            others = weight;
    }
    /* `*` stands for each that is not named, `identity` too. */
    gzip = gzip < 0 ? others : gzip;
    identity = identity < 0 ? others : identity;
    return gzip > 0 && gzip >= identity;
}

/* Whether the parameters of one member of Accept leave VERSION open or name it; *WEIGHT is what they say of it. */
static bool read_media_parameters(struct str parameters, struct str version, int *weight)
{
    while (parameters.p) {
        struct str value = str_trim(str_cut(&parameters, ';'));
        struct str name = str_trim(str_cut(&value, '='));

        if (str_equal_nocase(name, STR("q")))
            *weight = weigh(str_trim(value));
        else if (str_equal_nocase(name, STR("version")) && !str_equal(str_trim(value), version))
            return false;
    }
    return *weight >= 0;
}

int caching_media_weight(struct str accept, struct str type, struct str version)
{
    int best = -1;

    while (accept.len > 0) {
        struct str member = str_cut(&accept, ',');
        int weight = 1000;

        if (str_equal_nocase(str_trim(str_cut(&member, ';')), type) &&
            read_media_parameters(member, version, &weight) && weight > best)
            best = weight;
    }
    return best;
}

/* The ETag of the compressed representation of what ETAG stands for. */
static struct str mark_gzip(struct str etag, struct arena *arena)
{
    static const char mark[] = "-gzip\"";
    size_t len = etag.len + sizeof mark - 2;
    char *p = etag.len > 0 ? arena_alloc(arena, len) : NULL;

    if (!p)
        return STR("");
    memcpy(p, etag.p, etag.len - 1);
    memcpy(p + etag.len - 1, mark, sizeof mark - 1);
    return (struct str){p, len};
}

struct caching_body caching_choose(const struct http *http, struct str plain, struct str gzip, struct str etag)
{
    struct caching_body body = {.body = plain, .etag = etag, .varies = gzip.p != NULL};

    if (body.varies && caching_accepts_gzip(http->in.accept_encoding)) {
        body.gzip = true;
        body.body = gzip;
        body.etag = mark_gzip(etag, http->arena);
    }
    return body;
}

static struct str opaque_tag(struct str etag)
{
    return str_starts(etag, STR("W/")) ? (struct str){etag.p + 2, etag.len - 2} : etag;
}

/* Commas may stand within the quotes (RFC 9110, section 8.8.3). */
struct str caching_next_tag(struct str *list, bool *weak)
{
    struct str rest = *list;
    const char *end;

    while (rest.len > 0 && (rest.p[0] == ',' || rest.p[0] == ' ' || rest.p[0] == '\t'))
        rest = (struct str){rest.p + 1, rest.len - 1};
    *weak = str_starts(rest, STR("W/"));
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
    bool weak;

    if (str_equal(list, STR("*")))
        return true;
    while ((tag = caching_next_tag(&list, &weak)).len > 0)
        if (str_equal(tag, wanted))
            return true;
    return false;
}

/* Whether IF_MATCH names ETAG by strong comparison (RFC 9110, section 13.1.1); `*` names whatever is there. */
static bool is_match(struct str if_match, struct str etag)
{
    struct str list = str_trim(if_match), tag;
    bool weak;

    if (str_equal(list, STR("*")))
        return true;
    while ((tag = caching_next_tag(&list, &weak)).len > 0)
        if (!weak && str_equal(tag, etag))
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

/* Whether a microcache may keep it: what everybody would get in the next second too, as far as is known now. */
static bool is_for_microcache(const struct http *http, const struct caching_state *state)
{
    if (http->in.microcache.len == 0 || state->mark.len == 0 || state->is_private || http->in.authorization.len > 0 ||
        http->method != HTTP_GET || str_has_control(state->mark))
        return false;
    return (state->outcome == CACHING_HIT || state->outcome == CACHING_MISS || state->outcome == CACHING_NEGATIVE) &&
           state->ttl_ms >= 1000;
}

static void add_status(const struct caching_state *state, bool from_cache, bool kept, struct buf *out)
{
    struct str opening = openings[state->outcome];

    if (state->outcome == CACHING_NEGATIVE && from_cache)
        opening = STR("X-Cache: NEGATIVE\r\nCache-Status: larder; hit");
    buf_add_str(out, opening);
    if (from_cache) {
        buf_add_str(out, STR("; ttl="));
        buf_add_int64(out, seconds(state->ttl_ms));
    } else {
        if (state->stored)
            buf_add_str(out, STR("; stored"));
        if (state->collapsed)
            buf_add_str(out, STR("; collapsed"));
    }
    if (state->detail) {
        buf_add_str(out, STR("; detail="));
        buf_add_str(out, str_from(state->detail));
    }
    if (from_cache || state->collapsed || kept) {
        /* Clocks of two hosts may differ; no answer is younger than now. A microcache repeats the field as it is: it
         * says how old the answer will be then. */
        buf_add_str(out, STR("\r\nAge: "));
        buf_add_int64(out, (state->age_ms > 0 ? state->age_ms / 1000 : 0) + kept);
    }
    buf_add_str(out, STR("\r\n"));
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

static void add_lifetime(struct buf *out, struct str field, bool is_private, int64_t life_ms)
{
    buf_add_str(out, field);
    buf_add_str(out, is_private ? STR(": private, ") : STR(": "));
    if (life_ms < 1000) {
        buf_add_str(out, STR("no-cache\r\n"));
        return;
    }
    buf_add_str(out, STR("max-age="));
    buf_add_int64(out, life_ms / 1000);
    buf_add_str(out, STR("\r\n"));
}

/* What a microcache is to do. `@` is the last second in which the copy is valid, so the time in nginx is never rounded
 * up. That counts over Cache-Control, which says the rest, but stands behind it, or nginx would not look at that. */
static void add_microcache(const struct http *http, const struct caching_state *state, struct buf *out)
{
    buf_add_str(out, STR("Cache-Control: stale-while-revalidate=1"));
    if (state->if_error_ms > 0) {
        buf_add_str(out, STR(", stale-if-error="));
        buf_add_int64(out, (state->ttl_ms + state->if_error_ms) / 1000);
    }
    buf_add_str(out, STR("\r\nX-Accel-Expires: @"));
    buf_add_int64(out, http->now_ms / 1000);
    buf_add_str(out, STR("\r\nX-Larder-Entry: "));
    buf_add_str(out, state->mark);
    buf_add_str(out, STR("\r\n"));
}

void caching_headers(struct http *http, const struct caching_state *state)
{
    struct buf *out = &http->headers;
    bool from_cache = is_from_cache(state), kept = is_for_microcache(http, state);
    int64_t client_ms, shared_ms, left_ms;

    judge_life(http->status, state, &client_ms, &shared_ms);
    left_ms = shared_ms - (state->age_ms > 0 ? state->age_ms : 0);
    buf_reserve(out, 320);
    /* First: a microcache looks for it at every hit, through all lines before it. */
    if (http->in.microcache.len > 0)
        add_lifetime(out, STR("X-Cache-Control"), state->is_private, client_ms);
    add_status(state, from_cache, kept, out);
    http->kept = kept;
    if (kept)
        add_microcache(http, state, out);
    if (http->in.microcache.len == 0)
        add_lifetime(out, STR("Cache-Control"), state->is_private, client_ms);
    /* Nobody keeps it, then: caches in front need no words of their own, and each costs the web server time. */
    if (client_ms < 1000)
        return;
    /* A CDN that knows this field does not look at Cache-Control (RFC 9213, section 2.2): `private` must be said
     * here too. */
    add_lifetime(out, STR("CDN-Cache-Control"), state->is_private, shared_ms);
    if (!kept) {
        buf_add_str(out, STR("X-Accel-Expires: "));
        buf_add_int64(out, left_ms > 0 ? left_ms / 1000 : 0);
        buf_add_str(out, STR("\r\n"));
    }
}

bool caching_conditional(struct http *http, struct str etag)
{
    /* RFC 9110, section 13.2.1: a condition counts only where the answer would be a success without it. */
    if (etag.len == 0 || http->status != 200 || (http->method != HTTP_GET && http->method != HTTP_HEAD))
        return true;
    http_header(http, "ETag", etag);
    if (http->kept)
        return true;
    /* Section 13.2.2: If-Match comes first. */
    if (http->in.if_match.len > 0 && !is_match(http->in.if_match, etag))
        return false;
    if (http->in.if_none_match.len == 0 || !caching_none_match(http->in.if_none_match, etag))
        return true;
    http->status = 304;
    http->content_type = STR("");
    http->out = STR("");
    return true;
}

bool caching_answer(struct http *http, const struct caching_body *body)
{
    http->out = body->body;
    if (body->varies)
        buf_add_str(&http->headers, STR("Vary: Accept-Encoding\r\n"));
    if (!caching_conditional(http, body->etag))
        return false;
    if (body->gzip && http->status != 304)
        buf_add_str(&http->headers, STR("Content-Encoding: gzip\r\n"));
    return true;
}
