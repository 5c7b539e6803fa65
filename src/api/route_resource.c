/*
 * route_resource: GET and PURGE of a resource.
 *
 * Reading has two steps. `look_up` binds the parameters, builds the key and asks the cache; what is fresh is answered
 * there, on the event thread, without a malloc. Everything else is `compute`, in the pool: the statement runs, its
 * answer is stored, and where it fails a stale entry stands in.
 *
 * Invariant: nothing of a request reaches a key before the parameters are valid, and what an answer depends on besides
 * them, the caller, is part of the key. A 404 for a row that is not there is an entry like any other.
 *
 * What went wrong at the origin is told to the log in the database's words, and to the client in ours.
 */
#include "api/route_resource.h"

#include "api/route_cache.h"
#include "base/metrics.h"
#include "base/sys.h"
#include "cache/purge.h"
#include "http/caching.h"

/* No value can make this: in a key, `%` is always followed by two digits. */
static const char caller_mark[] = "%@";

/* The state of a read, in the arena. */
struct reading {
    struct params_values values;
    struct str tags[ENTRY_TAGS_MAX];
    struct cache_ask ask;
    struct cache_found found;
    struct buf why;         /* of the fill; freed by the step that ran it */
    bool inside;            /* cache_lookup has not returned yet */
    enum http_step outcome; /* of a lookup that called back inside */
};

struct store_caller route_resource_caller(const struct http *http)
{
    return (struct store_caller){.now_ms = http->now_ms, .address = http->in.remote_addr};
}

bool route_resource_collect(struct exchange *exchange, struct params_raw *raw, size_t *count)
{
    const struct router_match *match = &exchange->match;
    struct http *http = exchange->http;
    struct buf why = {0};
    size_t in_query = 0;

    for (size_t i = 0; i < match->values_count; i++)
        raw[i] = (struct params_raw){match->values[i].name, match->values[i].value};
    if (http->query.len > 0 &&
        params_split_query(http->query, http->arena, raw + match->values_count, &in_query, &why) != ERR_OK) {
        app_problem(http, 400, "%.*s", STR_ARG(buf_str(&why)));
        buf_free(&why);
        return false;
    }
    *count = match->values_count + in_query;
    return true;
}

static bool bind_values(struct exchange *exchange, struct params_values *values)
{
    const struct resource *resource = exchange->route->resource;
    struct params_raw raw[PARAMS_MAX + ROUTER_SEGMENTS_MAX];
    struct buf why = {0};
    size_t count;

    if (!route_resource_collect(exchange, raw, &count))
        return false;
    enum err err =
        params_bind(resource->params, resource->params_count, raw, count, exchange->http->arena, values, &why);
    if (err != ERR_OK)
        app_problem(exchange->http, 400, "%.*s", STR_ARG(buf_str(&why)));
    buf_free(&why);
    return err == ERR_OK;
}

/* KEY for this caller alone: the address is all that is known of one. */
static struct str add_caller(struct str key, const struct store_caller *caller, struct arena *arena)
{
    char space[64];
    struct buf digits = {.p = space, .cap = sizeof space};

    sys_hash128_hex(caller->address, &digits);
    return arena_printf(arena, "%.*s%s%s", STR_ARG(key), caller_mark, digits.p);
}

static void make_ask(const struct exchange *exchange, struct reading *reading)
{
    const struct resource *resource = exchange->route->resource;
    struct arena *arena = exchange->http->arena;
    size_t tags_count = 0;
    struct str key = params_expand(resource->key, &reading->values, arena);

    if (resource->uses_caller) {
        struct store_caller caller = route_resource_caller(exchange->http);

        key = add_caller(key, &caller, arena);
    }
    for (size_t i = 0; i < resource->tags_count && tags_count < ENTRY_TAGS_MAX; i++) {
        struct str tag = params_expand(resource->tags[i], &reading->values, arena);

        if (tag.len > 0)
            reading->tags[tags_count++] = tag;
    }
    reading->ask = (struct cache_ask){.key = key,
                                      .tags = reading->tags,
                                      .tags_count = tags_count,
                                      .policy = {.ttl_ms = resource->ttl_ms,
                                                 .stale_ms = resource->stale_ms,
                                                 .stale_if_error_ms = resource->stale_if_error_ms,
                                                 .negative_ms = resource->negative_ms},
                                      .now_ms = exchange->http->now_ms};
}

/* Answers with ENTRY; STATE lacks what the entry and the resource say. */
static void answer(const struct exchange *exchange, const struct entry *entry, struct caching_state *state)
{
    const struct resource *resource = exchange->route->resource;
    struct http *http = exchange->http;

    http->status = entry->status;
    http->content_type = entry->content_type;
    http->out = entry->body;
    state->ttl_ms = entry->fresh_until_ms - http->now_ms;
    state->age_ms = http->now_ms - entry->stored_at_ms;
    state->max_age_ms = resource->max_age_ms;
    state->is_private = resource->uses_caller || resource->auth != CATALOG_AUTH_NONE;
    caching_headers(http, state);
    caching_conditional(http, entry->etag);
}

static void answer_fresh(const struct exchange *exchange, const struct cache_found *found)
{
    bool negative = found->entry.status == 404;
    struct caching_state state = {
        .outcome = negative ? CACHING_NEGATIVE : CACHING_HIT, .negative_hit = negative, .detail = found->tier};

    metrics_add(negative ? METRIC_negative_hits : METRIC_hits, 1);
    answer(exchange, &found->entry, &state);
}

/* The fill: the statement's answer as an entry without times. */
static enum err read_origin(void *context, struct arena *arena, struct entry *entry)
{
    struct exchange *exchange = context;
    struct reading *reading = exchange->state;
    struct store_caller caller = route_resource_caller(exchange->http);
    struct store_answer row;
    int64_t began_us = sys_monotonic_us();
    enum err err = store_read(exchange->thread->store, exchange->route->resource, &reading->values, &caller, arena,
                              &row, &reading->why);

    metrics_add(METRIC_statements, 1);
    metrics_add(METRIC_statement_us, (uint64_t)(sys_monotonic_us() - began_us));
    if (err != ERR_OK) {
        metrics_add(METRIC_statement_failures, 1);
        return err;
    }
    entry->status = row.found ? 200 : 404;
    entry->content_type = row.found ? STR("application/json") : STR("application/problem+json");
    entry->body = row.found ? row.json : app_problem_body(arena, 404, STR("There is no such thing here."));
    return arena_overflowed(arena) ? ERR_LIMIT : ERR_OK;
}

static void answer_failed(struct exchange *exchange, enum err err)
{
    switch (err) {
    case ERR_TIMEOUT:
        app_unavailable(exchange->http, 2, "The database did not answer in time. Try again shortly.");
        break;
    case ERR_BUSY:
        app_unavailable(exchange->http, 1, "The database is busy. Try again shortly.");
        break;
    case ERR_LIMIT:
        app_unavailable(exchange->http, 30, "The answer is larger than this server gives at once.");
        break;
    default:
        app_unavailable(exchange->http, 5, "The database cannot be read at the moment. Try again later.");
        break;
    }
}

static void note_failure(struct exchange *exchange, const char *event, enum err err)
{
    struct reading *reading = exchange->state;

    if (reading->why.len == 0)
        buf_add_str(&reading->why, str_from(err_text(err)));
    app_note(exchange, event, buf_str(&reading->why));
}

/* Without the cache: nothing is asked of it and nothing stored. */
static enum http_step bypass(struct exchange *exchange)
{
    struct reading *reading = exchange->state;
    struct entry entry = {0};
    struct caching_state state = {.outcome = CACHING_BYPASS};
    enum err err = read_origin(exchange, exchange->http->arena, &entry);

    metrics_add(METRIC_bypassed, 1);
    if (err == ERR_OK) {
        if (entry.status == 200)
            entry.etag = entry_etag(entry.body, exchange->http->arena);
        entry.stored_at_ms = entry.fresh_until_ms = exchange->http->now_ms;
        answer(exchange, &entry, &state);
    } else {
        note_failure(exchange, "origin_failed", err);
        answer_failed(exchange, err);
    }
    buf_free(&reading->why);
    return HTTP_DONE;
}

static enum http_step compute(struct exchange *exchange)
{
    struct reading *reading = exchange->state;
    struct cache_answer computed;
    enum err err = cache_compute(exchange->thread->cache, &reading->ask, &reading->found, read_origin, exchange,
                                 exchange->http->arena, &computed);

    if (err != ERR_OK) {
        note_failure(exchange, "origin_failed", err);
        answer_failed(exchange, err);
    } else if (computed.source == CACHE_STALE_ON_ERROR) {
        struct caching_state state = {.outcome = CACHING_STALE, .detail = "origin-failed"};

        metrics_add(METRIC_stale_served, 1);
        note_failure(exchange, "stale_served", computed.origin);
        answer(exchange, &computed.entry, &state);
    } else {
        struct caching_state state = {.outcome = CACHING_MISS, .stored = computed.stored};

        metrics_add(METRIC_misses, 1);
        answer(exchange, &computed.entry, &state);
    }
    buf_free(&reading->why);
    return HTTP_DONE;
}

static void take_found(void *context, const struct cache_found *found)
{
    struct exchange *exchange = context;
    struct reading *reading = exchange->state;
    enum http_step step;

    if (found->present && found->verdict == POLICY_FRESH) {
        answer_fresh(exchange, found);
        step = HTTP_DONE;
    } else {
        reading->found = *found;
        step = app_hand_over(exchange, compute);
    }
    if (reading->inside)
        reading->outcome = step;
    else
        app_advance(exchange, step);
}

enum http_step route_resource_read(struct exchange *exchange)
{
    struct http *http = exchange->http;
    struct reading *reading = arena_alloc(http->arena, sizeof *reading);

    if (!reading) {
        app_unavailable(http, 1, "The request needs more memory than one may have.");
        return HTTP_DONE;
    }
    exchange->state = reading;
    reading->why = (struct buf){0};
    if (!bind_values(exchange, &reading->values))
        return HTTP_DONE;
    if (exchange->route->resource->ttl_ms == 0)
        return app_hand_over(exchange, bypass);
    make_ask(exchange, reading);
    if (arena_overflowed(http->arena)) {
        app_unavailable(http, 1, "The request needs more memory than one may have.");
        return HTTP_DONE;
    }
    reading->inside = true;
    reading->outcome = HTTP_WAITING;
    cache_lookup(exchange->thread->cache, &reading->ask, http->arena, take_found, exchange);
    reading->inside = false;
    return reading->outcome;
}

/* What a read with this ask may have left, as a purge item; with the caller in the key, every caller's. */
static struct str purge_item(const struct resource *resource, struct str key, struct arena *arena)
{
    if (!resource->uses_caller)
        return arena_printf(arena, "key:%.*s", STR_ARG(key));
    return arena_printf(arena, "pattern:%.*s%s*", STR_ARG(key), caller_mark);
}

static void answer_purged(struct exchange *exchange, struct str key, size_t removed)
{
    struct buf body = {0};

    buf_add_str(&body, STR("{\"key\":"));
    buf_add_json(&body, key);
    buf_printf(&body, ",\"removed\":%zu}", removed);
    app_json(exchange->http, 200, arena_take_buf(exchange->http->arena, &body));
}

enum http_step route_resource_purge(struct exchange *exchange)
{
    const struct resource *resource = exchange->route->resource;
    struct arena *arena = exchange->http->arena;
    struct params_values values;
    struct purge_result result = {0};

    if (!resource || !resource->reading) {
        app_problem(exchange->http, 404, "Nothing at this path is cached, so there is nothing to purge.");
        return HTTP_DONE;
    }
    if (!bind_values(exchange, &values))
        return HTTP_DONE;
    struct str key = params_expand(resource->key, &values, arena);
    struct str item = purge_item(resource, key, arena);
    enum err err = resource->ttl_ms == 0 ? ERR_OK : purge_items(exchange->thread->cache, &item, 1, &result);
    if (err == ERR_OK)
        answer_purged(exchange, key, result.removed);
    else
        route_cache_unreachable(exchange, err);
    return HTTP_DONE;
}
