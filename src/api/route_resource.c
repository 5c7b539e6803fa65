/*
 * route_resource: GET and PURGE of a resource.
 *
 * Reading has two steps. `look_up` binds the parameters, builds the key and asks the cache; what is fresh is answered
 * there, on the event thread, without a malloc. Everything else is `compute`, in the pool: the statement runs, its
 * answer is stored, and where it fails a stale entry stands in.
 *
 * What a write behind has changed and nobody has applied yet is in no cache and not in the database either: who asks
 * for that waits in the pool until it has been applied, and is then answered from the database alone (`catch_up`).
 *
 * Invariant: nothing of a request reaches a key before the parameters are valid, and what an answer depends on besides
 * them, the caller, is part of the key. A 404 for a row that is not there is an entry like any other.
 * What went wrong at the origin is told to the log in the database's words, and to the client in ours.
 */
#include "api/route_resource.h"

#include <stdlib.h>

#include "api/memo.h"
#include "api/origin.h"
#include "api/route_purge.h"
#include "base/sys.h"
#include "cache/front.h"
#include "http/caching.h"

/* No value can make this: in a key, `%` is always followed by two digits. */
static const char caller_mark[] = "%@";

static const char no_memory[] = "The request needs more memory than one may have.";

/* The state of a read, in the arena. */
struct reading {
    bool recalled; /* `values` and `tags` are not set: the ask was made of what the memo knew */
    struct params_values values;
    struct route_resource_tags tags;
    struct cache_ask ask;
    struct cache_found found;
    struct origin origin;
    uint64_t stamp;         /* for a microcache: what had been purged before anything was read */
    bool inside;            /* cache_lookup has not returned yet */
    enum http_step outcome; /* of a lookup that called back inside */
};

struct store_caller route_resource_caller(const struct http *http)
{
    return (struct store_caller){.now_ms = http->now_ms, .address = http->in.remote_addr};
}

/* The path's values and the query, decoded, as route_resource_collect gives them. */
static enum err gather(const struct exchange *exchange, struct params_raw *raw, size_t *count, struct buf *why)
{
    const struct router_match *match = &exchange->match;
    const struct http *http = exchange->http;
    size_t in_query = 0;
    enum err err = ERR_OK;

    for (size_t i = 0; i < match->values_count; i++)
        raw[i] = (struct params_raw){match->values[i].name, match->values[i].value};
    if (http->query.len > 0)
        err = params_split_query(http->query, http->arena, raw + match->values_count, &in_query, why);
    *count = match->values_count + in_query;
    return err;
}

static enum err bind(const struct exchange *exchange, struct params_values *values, struct buf *why)
{
    const struct resource *resource = exchange->route->resource;
    struct params_raw raw[PARAMS_MAX + ROUTER_SEGMENTS_MAX];
    size_t count;
    enum err err = gather(exchange, raw, &count, why);

    if (err != ERR_OK)
        return err;
    return params_bind(resource->params, resource->params_count, raw, count, exchange->http->arena, values, why);
}

/* Whether ERR is none; if it is one, answers with WHY. */
static bool accept(struct exchange *exchange, enum err err, struct buf *why)
{
    if (err != ERR_OK)
        app_problem(exchange->http, 400, "%.*s", STR_ARG(buf_str(why)));
    buf_free(why);
    return err == ERR_OK;
}

bool route_resource_collect(struct exchange *exchange, struct params_raw *raw, size_t *count)
{
    struct buf why = {0};

    return accept(exchange, gather(exchange, raw, count, &why), &why);
}

bool route_resource_bind(struct exchange *exchange, struct params_values *values)
{
    struct buf why = {0};

    return accept(exchange, bind(exchange, values, &why), &why);
}

/* KEY for this caller alone: the address is all that is known of one. */
static struct str add_caller(struct str key, const struct store_caller *caller, struct arena *arena)
{
    char space[64];
    struct buf digits = {.p = space, .cap = sizeof space};

    sys_digest(caller->address, &digits);
    return arena_printf(arena, "%.*s%s%s", STR_ARG(key), caller_mark, digits.p);
}

static void find_tags(struct cache_ask *ask, void *context)
{
    struct route_resource_tags *tags = context;
    const struct resource *resource = tags->resource;
    size_t count = 0;

    for (size_t i = 0; i < resource->tags_count && count < ENTRY_TAGS_MAX - 1; i++) {
        struct str tag = params_expand(resource->tags[i], tags->values, tags->arena);
        if (tag.len > 0)
            tags->texts[count++] = tag;
    }
    if (resource->follows_tables)
        tags->texts[count++] = arena_printf(tags->arena, CATALOG_RESOURCE_TAG "%.*s", STR_ARG(resource->name));
    ask->tags = tags->texts;
    ask->tags_count = count;
}

/* Every parameter is part of the key, so under one key the same templates make the same tags. */
static uint64_t hash_templates(const struct resource *resource)
{
    uint64_t hash = resource->tags_count + resource->follows_tables * (ENTRY_TAGS_MAX + 1);

    for (size_t i = 0; i < resource->tags_count; i++)
        hash = sys_hash64(resource->tags[i], hash);
    return hash;
}

/* What an ask says of its resource and its request; key, variant and tags come besides. */
static struct cache_ask begin_ask(const struct resource *resource, const struct http *http)
{
    return (struct cache_ask){.gzip = caching_accepts_gzip(http->in.accept_encoding),
                              .policy = {.ttl_ms = resource->ttl_ms,
                                         .stale_ms = resource->stale_ms,
                                         .stale_if_error_ms = resource->stale_if_error_ms,
                                         .negative_ms = resource->negative_ms},
                              .fill_ms = resource->timeout_ms,
                              .now_ms = http->now_ms,
                              .monotonic_ms = http->started_us / 1000};
}

void route_resource_ask(const struct resource *resource, const struct params_values *values, const struct http *http,
                        struct route_resource_tags *tags, struct cache_ask *out)
{
    struct arena *arena = http->arena;
    struct str key = params_expand(resource->key, values, arena);

    if (resource->uses_caller) {
        struct store_caller caller = route_resource_caller(http);

        key = add_caller(key, &caller, arena);
    }
    tags->resource = resource;
    tags->values = values;
    tags->arena = arena;
    *out = begin_ask(resource, http);
    out->key = key;
    out->variant = hash_templates(resource);
    out->find_tags = find_tags;
    out->tags_context = tags;
}

/* The ask of a request whose URL was asked for before. */
static void recall_ask(const struct exchange *exchange, struct reading *reading)
{
    const struct memo_meaning *meaning = exchange->meaning;
    struct arena *arena = exchange->http->arena;
    struct cache_ask *ask = &reading->ask;

    *ask = begin_ask(exchange->route->resource, exchange->http);
    ask->key = arena_copy(arena, meaning->key);
    ask->variant = meaning->variant;
    for (size_t i = 0; i < meaning->tags_count; i++)
        reading->tags.texts[i] = arena_copy(arena, meaning->tags[i]);
    ask->tags = reading->tags.texts;
    ask->tags_count = meaning->tags_count;
}

/* The parameters of a request whose URL was recalled: they are needed only when its answer is to be computed. They were
 * valid then and are now; false when there is no memory for them. */
static bool bind_late(struct exchange *exchange)
{
    struct reading *reading = exchange->state;
    struct buf why = {0};

    if (reading->recalled && app_match(exchange) == ROUTER_FOUND)
        reading->recalled = bind(exchange, &reading->values, &why) != ERR_OK;
    if (!reading->recalled)
        exchange->values = &reading->values;
    buf_free(&why);
    return !reading->recalled;
}

/* What was answered for everybody will be asked for again. */
static void remember(struct exchange *exchange, const struct cache_found *found)
{
    struct reading *reading = exchange->state;
    struct memo *memo = exchange->thread->memo;
    struct cache_ask *ask = &reading->ask;
    struct http *http = exchange->http;

    /* A 404 may be for one of any number of invented names. */
    if (!memo || reading->recalled || exchange->route->resource->uses_caller || found->entry.status != 200)
        return;
    cache_find_tags(ask);
    if (arena_overflowed(http->arena))
        return;
    memo_keep(memo, http->path, http->query,
              &(struct memo_meaning){.route = exchange->route,
                                     .variant = ask->variant,
                                     .key = ask->key,
                                     .tags = ask->tags,
                                     .tags_count = ask->tags_count});
}

/* Answers with ENTRY; STATE lacks what the entry and the resource say. */
static void answer(const struct exchange *exchange, const struct entry *entry, struct caching_state *state)
{
    const struct resource *resource = exchange->route->resource;
    struct reading *reading = exchange->state;
    struct http *http = exchange->http;
    struct caching_body body = caching_choose(http, entry->body, entry->gzip, entry->etag);

    /* Not by whether this copy has both: the answer says the same wherever it came from. */
    body.varies = entry->body_len > ENTRY_COMPRESS_MIN;
    http->status = entry->status;
    http->content_type = entry->content_type;
    state->ttl_ms = entry->fresh_until_ms - http->now_ms;
    /* What another request filled while this one waited is younger than its question. */
    state->age_ms = http->now_ms > entry->stored_at_ms ? http->now_ms - entry->stored_at_ms : 0;
    state->max_age_ms = resource->max_age_ms;
    state->is_private = resource->uses_caller || resource->auth != CATALOG_AUTH_NONE;
    if (http->in.microcache.len > 0)
        state->mark = front_mark(exchange->thread->cache, &reading->ask, reading->stamp, http->arena);
    state->if_error_ms = resource->stale_if_error_ms;
    caching_headers(http, state);
    if (!caching_answer(http, &body))
        app_not_matched(http);
}

static void answer_found(struct exchange *exchange, const struct cache_found *found)
{
    bool stale = found->verdict != POLICY_FRESH, negative = found->entry.status == 404;
    struct caching_state state = {.outcome = negative ? CACHING_NEGATIVE
                                             : stale  ? CACHING_STALE
                                                      : CACHING_HIT,
                                  .negative_hit = negative,
                                  .detail = found->tier};

    /* Who has waited for a statement took its time, wherever the answer then stood. */
    app_counts(exchange,
               negative           ? METRICS_OUTCOME_negative
               : stale            ? METRICS_OUTCOME_stale
               : found->collapsed ? METRICS_OUTCOME_collapsed
                                  : METRICS_OUTCOME_hit,
               found->collapsed        ? METRICS_TIER_origin
               : found->tier[1] == '1' ? METRICS_TIER_l1
                                       : METRICS_TIER_l2);
    /* It asked, and got what another one's fill brought (RFC 9211, section 2.6). */
    if (found->collapsed && !negative && !stale) {
        state.outcome = CACHING_MISS;
        state.collapsed = true;
    }
    answer(exchange, &found->entry, &state);
}

/* NEXT: what the time behind the statement is spent on. */
static struct origin *origin_of(struct exchange *exchange, enum slow_phase next)
{
    struct reading *reading = exchange->state;

    reading->origin = (struct origin){.store = exchange->thread->store,
                                      .resource = exchange->route->resource,
                                      .values = &reading->values,
                                      .caller = route_resource_caller(exchange->http),
                                      .clock = &exchange->clock,
                                      .next = next};
    return &reading->origin;
}

static void answer_failed(struct exchange *exchange, enum err err)
{
    struct http *http = exchange->http;

    if (err == ERR_TIMEOUT)
        app_unavailable(http, 2, "The database did not answer in time. Try again shortly.");
    else if (err == ERR_BUSY)
        app_unavailable(http, 1, "The database is busy. Try again shortly.");
    else if (err == ERR_LIMIT)
        app_unavailable(http, 30, "The answer is larger than this server gives at once.");
    else
        app_unavailable(http, 5, "The database cannot be read at the moment. Try again later.");
}

static void note_failure(struct exchange *exchange, const char *event, enum err err)
{
    struct reading *reading = exchange->state;
    struct buf *why = &reading->origin.why;

    app_note(exchange, event, why->len > 0 ? buf_str(why) : str_from(err_text(err)));
}

/* Without the cache: nothing is asked of it and nothing stored. */
static enum http_step bypass(struct exchange *exchange)
{
    struct origin *origin = origin_of(exchange, SLOW_WORK);
    struct entry entry = {0};
    struct caching_state state = {.outcome = CACHING_BYPASS};
    enum err err = origin_read(origin, exchange->http->arena, &entry);

    app_counts(exchange, METRICS_OUTCOME_bypass, METRICS_TIER_origin);
    if (err == ERR_OK) {
        if (entry.status == 200)
            entry.etag = entry_etag(entry.body, exchange->http->arena);
        entry.stored_at_ms = entry.fresh_until_ms = exchange->http->now_ms;
        answer(exchange, &entry, &state);
    } else {
        note_failure(exchange, "origin_failed", err);
        answer_failed(exchange, err);
    }
    buf_free(&origin->why);
    return HTTP_DONE;
}

/* The origin failed, for this request or for the one that it waited for: the stale entry, if there is one. */
static void answer_last_resort(struct exchange *exchange, const struct entry *entry, enum err err)
{
    struct caching_state state = {.outcome = CACHING_STALE, .detail = "origin-failed"};

    app_counts(exchange, METRICS_OUTCOME_stale_on_error, METRICS_TIER_origin);
    if (entry) {
        note_failure(exchange, "stale_served", err);
        answer(exchange, entry, &state);
    } else {
        note_failure(exchange, "origin_failed", err);
        answer_failed(exchange, err);
    }
}

/* Nobody will compute what was to be computed, for so many requests wait already. Whoever wants it next need not wait
 * for it. */
static bool leave(struct exchange *exchange)
{
    const struct reading *reading = exchange->state;

    cache_leave(exchange->thread->cache, &reading->found);
    if (reading->found.present)
        answer_last_resort(exchange, &reading->found.entry, ERR_BUSY);
    return reading->found.present;
}

static enum http_step compute(struct exchange *exchange)
{
    struct reading *reading = exchange->state;
    struct origin *origin = origin_of(exchange, SLOW_FILL);
    struct cache_answer computed;

    if (!bind_late(exchange)) {
        if (!leave(exchange))
            app_unavailable(exchange->http, 1, no_memory);
        return HTTP_DONE;
    }
    slow_enter(&exchange->clock, SLOW_L2, sys_monotonic_us());
    enum err err = cache_compute(exchange->thread->cache, &reading->ask, &reading->found, false, origin_read, origin,
                                 exchange->http->arena, &computed);
    slow_enter(&exchange->clock, SLOW_WORK, sys_monotonic_us());

    if (err != ERR_OK) {
        answer_last_resort(exchange, NULL, err);
    } else if (computed.source == CACHE_STALE_ON_ERROR) {
        answer_last_resort(exchange, &computed.entry, computed.origin);
    } else {
        struct caching_state state = {.outcome = CACHING_MISS,
                                      .stored = computed.stored && computed.source == CACHE_FROM_ORIGIN,
                                      .collapsed = computed.source == CACHE_FROM_OTHER};

        app_counts(exchange, state.collapsed ? METRICS_OUTCOME_collapsed : METRICS_OUTCOME_miss, METRICS_TIER_origin);
        answer(exchange, &computed.entry, &state);
    }
    buf_free(&origin->why);
    return HTTP_DONE;
}

/* Has what was just answered computed anew. */
static void refresh_behind(struct exchange *exchange, const struct cache_found *found)
{
    const struct reading *reading = exchange->state;

    if (!bind_late(exchange) || !origin_refresh(exchange, &reading->values, &reading->ask, found))
        cache_leave(exchange->thread->cache, found);
}

static void take_found(void *context, struct cache_found *found)
{
    struct exchange *exchange = context;
    struct reading *reading = exchange->state;
    enum http_step step = HTTP_DONE;

    switch (found->next) {
    case CACHE_ANSWER:
        answer_found(exchange, found);
        remember(exchange, found);
        if (found->refresh)
            refresh_behind(exchange, found);
        break;
    case CACHE_COMPUTE:
        reading->found = *found;
        exchange->abandon = leave;
        step = app_hand_over(exchange, compute);
        break;
    case CACHE_FAILED:
        answer_last_resort(exchange, found->present ? &found->entry : NULL, ERR_UNAVAILABLE);
        break;
    }
    if (reading->inside) {
        reading->outcome = step;
        return;
    }
    if (found->collapsed)
        exchange->clock.phase = SLOW_WAIT;
    app_advance(exchange, step);
}

/* The write behind that the answer has to wait for; 0: for none. */
static uint64_t find_pending(struct exchange *exchange)
{
    const struct writer_shared *writer = exchange->thread->app->shared->writer;
    const struct resource *resource = exchange->route->resource;
    struct reading *reading = exchange->state;

    if (!writer_pending_any(&writer->pending))
        return 0;
    /* Nothing says what it depends on: where nothing is cached no tag is needed. */
    if (resource->ttl_ms == 0 && resource->tags_count == 0)
        return atomic_load(&writer->pending.accepted);
    cache_find_tags(&reading->ask);
    return writer_pending_covers(&writer->pending, reading->ask.key, reading->ask.tags, reading->ask.tags_count);
}

static enum http_step catch_up(struct exchange *exchange)
{
    const struct writer_shared *writer = exchange->thread->app->shared->writer;
    const uint64_t number = find_pending(exchange);

    if (number > 0)
        slow_enter(&exchange->clock, SLOW_WRITE, sys_monotonic_us());
    if (!bind_late(exchange)) {
        app_unavailable(exchange->http, 1, no_memory);
        return HTTP_DONE;
    }
    /* Where applying is stalled, as by a full disk, what was is better than nothing. */
    if (number > 0 && !writer_pending_await(&writer->pending, number, exchange->route->resource->timeout_ms) &&
        !atomic_load(&writer->pending.stalled)) {
        app_unavailable(exchange->http, 1,
                        "Writes that were accepted for this are still being carried out. Try again shortly.");
        return HTTP_DONE;
    }
    return bypass(exchange);
}

enum http_step route_resource_read(struct exchange *exchange)
{
    struct http *http = exchange->http;
    struct reading *reading = arena_alloc(http->arena, sizeof *reading);

    if (!reading) {
        app_unavailable(http, 1, no_memory);
        return HTTP_DONE;
    }
    exchange->state = reading;
    reading->stamp = http->in.microcache.len > 0 ? purged_now(cache_share(exchange->thread->cache)->purged) : 0;
    reading->origin.why = (struct buf){0};
    reading->recalled = exchange->meaning != NULL;
    if (reading->recalled) {
        recall_ask(exchange, reading);
    } else {
        if (!route_resource_bind(exchange, &reading->values))
            return HTTP_DONE;
        exchange->values = &reading->values;
        route_resource_ask(exchange->route->resource, &reading->values, http, &reading->tags, &reading->ask);
    }
    if (find_pending(exchange) > 0 || exchange->route->resource->ttl_ms == 0)
        return app_hand_over(exchange, catch_up);
    if (arena_overflowed(http->arena)) {
        app_unavailable(http, 1, no_memory);
        return HTTP_DONE;
    }
    reading->inside = true;
    reading->outcome = HTTP_WAITING;
    cache_lookup(exchange->thread->cache, &reading->ask, http->arena, take_found, exchange);
    reading->inside = false;
    return reading->outcome;
}

enum http_step route_resource_purge(struct exchange *exchange)
{
    const struct resource *resource = exchange->route->resource;
    struct arena *arena = exchange->http->arena;
    struct params_values values;

    if (!resource || !resource->reading) {
        app_problem(exchange->http, 404, "Nothing at this path is cached, so there is nothing to purge.");
        return HTTP_DONE;
    }
    if (!route_resource_bind(exchange, &values))
        return HTTP_DONE;
    struct str key = params_expand(resource->key, &values, arena);
    /* With the caller in the key, every caller's. */
    struct str item = resource->ttl_ms == 0   ? STR("")
                      : resource->uses_caller ? arena_printf(arena, "pattern:%.*s%s*", STR_ARG(key), caller_mark)
                                              : arena_printf(arena, "key:%.*s", STR_ARG(key));
    return route_purge_named(exchange, key, item);
}
