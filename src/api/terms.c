/*
 * terms: the terms of a write.
 *
 * A precondition is about the representation that GET of the same path has. The writer computes that one itself, inside
 * the transaction in which it writes, from the statement of the reading resource: nothing can come between the look and
 * the write, and no cache is asked. An ETag of what is sent compressed stands for the same row.
 *
 * Invariant: a condition that cannot be held against anything is never taken for fulfilled.
 */
#include "api/terms.h"

#include "base/sys.h"
#include "http/caching.h"

enum { KEY_MAX = 255 };

/* A hash that nothing has. */
static const struct str no_hash = {"--------------------------------", WRITER_FRAME_HASH_LEN};

static bool is_key(struct str key)
{
    for (size_t i = 0; i < key.len; i++)
        if (key.p[i] <= ' ' || key.p[i] > '~')
            return false;
    return key.len <= KEY_MAX;
}

static void add_part(struct buf *out, struct str part)
{
    buf_printf(out, "%zu:%.*s,", part.len, STR_ARG(part));
}

/* What makes the request the one it is. */
static struct str print_of(const struct http *http)
{
    const struct str parts[] = {str_from(http_method_name(http->method)),
                                http->path,
                                http->query,
                                http->body,
                                http->in.if_match,
                                http->in.if_none_match};
    struct buf all = {0}, print = {0};

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        add_part(&all, parts[i]);
    sys_digest(buf_str(&all), &print);
    buf_free(&all);
    return arena_take_buf(http->arena, &print);
}

static bool read_key(struct exchange *exchange, struct writer_client_ask *ask)
{
    struct http *http = exchange->http;
    struct str key = str_trim(http->in.idempotency_key);

    if (!http->in.idempotency_key.p)
        return true;
    if (key.len == 0 || !is_key(key)) {
        app_problem(http, 400, "Idempotency-Key must be 1 to %d visible ASCII characters, such as a UUID.", KEY_MAX);
        return false;
    }
    ask->repeat_key = key;
    ask->repeat_print = print_of(http);
    return true;
}

/* The hashes in the entity tags of LIST: of strong ones alone when STRONG (RFC 9110, section 8.8.3.2). False when it is
 * neither a list of them nor `*`, which is all of them. */
static bool read_hashes(struct str list, bool strong, struct arena *arena, struct str *out)
{
    struct buf hashes = {0};
    struct str tag, digits;
    size_t count = 0;
    bool weak;

    *out = STR("");
    if (str_equal(str_trim(list), STR("*")))
        return true;
    for (; (tag = caching_next_tag(&list, &weak)).len > 0; count++)
        if (!(weak && strong) && entry_etag_hash(tag, &digits) && digits.len == WRITER_FRAME_HASH_LEN)
            buf_add_str(&hashes, digits);
    buf_add_str(&hashes, no_hash);
    *out = arena_take_buf(arena, &hashes);
    while (list.len > 0 && memchr(", \t", list.p[0], 3))
        list = (struct str){list.p + 1, list.len - 1};
    return count > 0 && list.len == 0;
}

/* The reading resource of the request's path, and its parameters there. False without one. */
static bool find_reading(struct exchange *exchange, struct writer_client_ask *ask)
{
    struct http *http = exchange->http;
    struct arena *arena = http->arena;
    struct router_match *match = arena_alloc(arena, sizeof *match);
    struct params_values *values = arena_alloc(arena, sizeof *values);
    struct params_raw raw[ROUTER_SEGMENTS_MAX];
    struct buf why = {0};

    if (!match || !values ||
        router_find(exchange->thread->app->router, HTTP_GET, http->path, arena, match) != ROUTER_FOUND)
        return false;
    const struct resource *resource = ((const struct route *)match->target)->resource;
    if (!resource)
        return false;
    for (size_t i = 0; i < match->values_count; i++)
        raw[i] = (struct params_raw){match->values[i].name, match->values[i].value};
    enum err err = params_bind(resource->params, resource->params_count, raw, match->values_count, arena, values, &why);
    buf_free(&why);
    ask->condition_sql = resource->sql;
    ask->condition_shape = resource->shape;
    ask->condition_values = values;
    return err == ERR_OK;
}

static bool read_condition(struct exchange *exchange, struct writer_client_ask *ask)
{
    struct http *http = exchange->http;
    const bool match = http->in.if_match.p, none = http->in.if_none_match.p;

    if (!match && !none)
        return true;
    if (match && none) {
        app_problem(http, 400, "If-Match and If-None-Match cannot both be fulfilled here; send one of them.");
        return false;
    }
    if (ask->behind) {
        app_problem(http, 400,
                    "This route accepts writes and carries them out later, so it cannot promise %s. Leave it out.",
                    match ? "If-Match" : "If-None-Match");
        return false;
    }
    if (!exchange->route->resource) {
        app_problem(
            http, 412,
            "This route writes whatever stands there, so it cannot promise %s. Leave it out. Nothing was written.",
            match ? "If-Match" : "If-None-Match");
        return false;
    }
    if (!read_hashes(match ? http->in.if_match : http->in.if_none_match, match, http->arena, &ask->condition_hashes)) {
        app_problem(http, 400, "%s must be * or a list of ETags in their quotes, as they were sent.",
                    match ? "If-Match" : "If-None-Match");
        return false;
    }
    if (!find_reading(exchange, ask)) {
        app_problem(http, 412,
                    "Nothing can be read at this path, so there is nothing to hold %s against. Nothing was written.",
                    match ? "If-Match" : "If-None-Match");
        return false;
    }
    ask->condition = match ? WRITER_FRAME_IF_MATCH : WRITER_FRAME_IF_NONE_MATCH;
    return true;
}

bool terms_read(struct exchange *exchange, struct writer_client_ask *ask)
{
    return read_key(exchange, ask) && read_condition(exchange, ask);
}

void terms_tell(struct exchange *exchange, const struct writer_client_told *told)
{
    if (told->repeated)
        http_header(exchange->http, "Idempotency-Replayed", STR("true"));
}

void terms_refused(struct exchange *exchange, enum err err)
{
    struct http *http = exchange->http;

    if (err == ERR_EXISTS)
        app_problem(http, 422,
                    "This Idempotency-Key was sent with another request within the last 24 hours. Use a new key for a "
                    "new request. Nothing was written.");
    else if (http->in.if_match.p)
        app_problem(
            http, 412,
            "What is here now is not what If-Match names: somebody has changed or removed it. Read it again and "
            "send its new ETag. Nothing was written.");
    else if (str_equal(str_trim(http->in.if_none_match), STR("*")))
        app_problem(http, 412,
                    "There is something here already, and If-None-Match: * asks to write only where there is nothing. "
                    "Nothing was written.");
    else
        app_problem(http, 412, "What is here now is what If-None-Match names. Nothing was written.");
}
