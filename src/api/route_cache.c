/*
 * route_cache: looking into the cache: what there is, under which keys, and how the tiers are.
 *
 * Invariant: nothing here changes the cache. What is shown of an entry is what L2 holds of it, judged by the purges
 * that cover it; L1 has the same or less. Where L2 cannot be read the answer is 503, and the log says why.
 *
 * It refuses to read all keys at once: they come in pages, each as dear as it is long.
 */
#include "api/route_cache.h"

#include <inttypes.h>
#include <time.h>

#include "api/body.h"
#include "api/housekeeper.h"
#include "api/route_metrics.h"
#include "base/sys.h"
#include "cache/inspect.h"

enum { PAGE_DEFAULT = 100, PAGE_MAX = 1000, TOP_DEFAULT = 20 };

/* Lets the log say what L2 last failed of, where it failed at all. */
static void note_failure(struct exchange *exchange, const char *event, enum err err)
{
    struct l2_status status;

    l2_status(exchange->thread->app->shared->cache->l2, &status);
    app_note(exchange, event,
             err == ERR_UNAVAILABLE && status.last_error.len > 0 ? status.last_error : str_from(err_text(err)));
}

static enum http_step answer(struct exchange *exchange, struct buf *body)
{
    app_json(exchange->http, 200, arena_take_buf(exchange->http->arena, body));
    return HTTP_DONE;
}

static enum http_step answer_unreadable(struct exchange *exchange, enum err err)
{
    app_unavailable(exchange->http, 1, "The shared cache cannot be read at the moment. Try again shortly.");
    note_failure(exchange, "cache_unreadable", err);
    return HTTP_DONE;
}

static void add_time(struct buf *out, int64_t ms)
{
    char text[32];
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;

    gmtime_r(&seconds, &parts);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    buf_add_json(out, str_from(text));
}

static const char *state_of(const struct entry *entry, int64_t now_ms)
{
    switch (policy_judge(entry, now_ms)) {
    case POLICY_FRESH:
        return "fresh";
    case POLICY_STALE:
        return "stale";
    case POLICY_STALE_IF_ERROR:
        return "stale-if-error";
    case POLICY_DEAD:
        break;
    }
    return "expired";
}

/* The entry's body as the JSON value that it is; what is none as a string. */
static void add_body(const struct entry *entry, struct arena *arena, struct buf *out)
{
    if (body_is_json(entry->body, arena))
        buf_add_str(out, entry->body);
    else
        buf_add_json(out, entry->body);
}

static void add_entry(struct str key, const struct entry *entry, int64_t now_ms, struct arena *arena, struct buf *out)
{
    buf_add_str(out, STR("{\"key\":"));
    buf_add_json(out, key);
    buf_printf(out, ",\"status\":%d,\"state\":\"%s\",\"stored_at\":", entry->status, state_of(entry, now_ms));
    add_time(out, entry->stored_at_ms);
    buf_printf(out, ",\"age\":%" PRId64 ",\"ttl\":%" PRId64 ",\"cost_us\":%" PRIu32 ",\"etag\":",
               (now_ms - entry->stored_at_ms) / 1000, (entry->fresh_until_ms - now_ms) / 1000, entry->cost_us);
    buf_add_json(out, entry->etag);
    buf_add_str(out, STR(",\"tags\":["));
    for (size_t i = 0; i < entry->tags_count; i++) {
        buf_add_str(out, i == 0 ? STR("") : STR(","));
        buf_add_json(out, entry->tags[i]);
    }
    buf_add_str(out, STR("],\"content_type\":"));
    buf_add_json(out, entry->content_type);
    buf_add_str(out, STR(",\"body\":"));
    add_body(entry, arena, out);
    buf_add_char(out, '}');
}

enum http_step route_cache_key_get(struct exchange *exchange)
{
    struct http *http = exchange->http;
    struct str key = exchange->match.values[0].value;
    struct entry entry;
    struct buf body = {0};
    bool soft;
    enum err err = inspect_entry(cache_l2(exchange->thread->cache), key, http->arena, &entry, &soft);

    if (err == ERR_NOT_FOUND) {
        app_problem(http, 404, "No entry is cached under this key.");
        return HTTP_DONE;
    }
    if (err != ERR_OK)
        return answer_unreadable(exchange, err);
    if (soft)
        policy_end_fresh(&entry, http->now_ms);
    add_entry(key, &entry, http->now_ms, http->arena, &body);
    return answer(exchange, &body);
}

/* What the listing of keys takes: match, cursor, limit. */
static bool bind_page(struct exchange *exchange, struct params_values *values)
{
    static const struct params_spec specs[] = {
        {.name = {"match", 5}, .type = PARAMS_TEXT, .has_default = true, .default_text = {"*", 1}},
        {.name = {"cursor", 6}, .type = PARAMS_INTEGER, .has_min = true, .has_default = true},
        {.name = {"limit", 5},
         .type = PARAMS_INTEGER,
         .has_min = true,
         .min = 1,
         .has_max = true,
         .max = PAGE_MAX,
         .has_default = true,
         .default_integer = PAGE_DEFAULT}};

    return app_bind_query(exchange, specs, sizeof specs / sizeof *specs, values);
}

enum http_step route_cache_keys(struct exchange *exchange)
{
    struct http *http = exchange->http;
    struct params_values values;
    struct str *keys;
    size_t count = 0;
    struct buf body = {0};

    if (!bind_page(exchange, &values))
        return HTTP_DONE;
    uint64_t cursor = (uint64_t)values.items[1].integer;
    enum err err = l2_scan(cache_l2(exchange->thread->cache), values.items[0].text, &cursor,
                           (size_t)values.items[2].integer, http->arena, &keys, &count);
    if (err != ERR_OK)
        return answer_unreadable(exchange, err);
    buf_add_str(&body, STR("{\"keys\":["));
    for (size_t i = 0; i < count; i++) {
        buf_add_str(&body, i == 0 ? STR("") : STR(","));
        buf_add_json(&body, keys[i]);
    }
    buf_printf(&body, "],\"cursor\":%" PRIu64 "}", cursor);
    return answer(exchange, &body);
}

/* A rate with three digits behind the point; more would be noise. */
static void add_rate(const char *name, double per_second, struct buf *out)
{
    buf_printf(out, "\"%s\":%.3f", name, per_second);
}

enum http_step route_cache_top(struct exchange *exchange)
{
    static const struct params_spec limit = {.name = {"limit", 5},
                                             .type = PARAMS_INTEGER,
                                             .has_min = true,
                                             .min = 1,
                                             .has_max = true,
                                             .max = TOP_PLACES,
                                             .has_default = true,
                                             .default_integer = TOP_DEFAULT};
    struct http *http = exchange->http;
    struct params_values values;
    struct top_read top;
    struct buf body = {0};

    if (!app_bind_query(exchange, &limit, 1, &values))
        return HTTP_DONE;
    top_read(exchange->thread->app->shared->cache->top, http->started_us / 1000, http->arena, &top);
    buf_printf(&body, "{\"half_life_s\":%d,", TOP_HALF_LIFE_MS / 1000);
    add_rate("per_second", top.per_second, &body);
    buf_add_str(&body, STR(",\"keys\":["));
    for (size_t i = 0; i < top.count && i < (size_t)values.items[0].integer; i++) {
        const struct top_item *item = &top.items[i];

        buf_add_str(&body, i == 0 ? STR("{\"key\":") : STR(",{\"key\":"));
        buf_add_json(&body, item->key);
        buf_printf(&body, ",\"cut\":%s,", item->cut ? "true" : "false");
        add_rate("per_second", item->per_second, &body);
        buf_add_char(&body, ',');
        add_rate("error", item->error, &body);
        buf_add_char(&body, '}');
    }
    buf_add_str(&body, STR("]}"));
    return answer(exchange, &body);
}

static void add_rates(struct buf *out)
{
    static const enum metric shown[] = {METRIC_collapsed,   METRIC_refreshes, METRIC_refresh_failures,
                                        METRIC_fills,       METRIC_purges,    METRIC_fills_refused,
                                        METRIC_l2_failures, METRIC_l2_skipped};
    uint64_t hits = 0;
    for (enum metrics_outcome outcome = METRICS_OUTCOME_hit; outcome <= METRICS_OUTCOME_collapsed; outcome++)
        hits += metrics_outcome_sum(outcome);
    uint64_t asked =
        hits + metrics_outcome_sum(METRICS_OUTCOME_miss) + metrics_outcome_sum(METRICS_OUTCOME_stale_on_error);

    route_metrics_add_outcomes(out);
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        buf_printf(out, ",\"%s\":%" PRIu64, metrics_name(shown[i]), metrics_sum(shown[i]));
    buf_add_str(out, STR(",\"hit_rate\":"));
    if (asked == 0)
        buf_add_str(out, STR("null"));
    else
        buf_add_double(out, (double)(hits * 10000 / asked) / 10000);
}

/* SIZE: NULL where it is not known. */
static void add_l2(const struct l2_status *status, bool reached, const struct l2_size *size, struct buf *out)
{
    static const char *const breakers[] = {[L2_CLOSED] = "closed", [L2_OPEN] = "open", [L2_HALF_OPEN] = "half-open"};

    buf_printf(out, "\"backend\":\"%s\",\"where\":", status->backend);
    buf_add_json(out, status->where);
    buf_printf(out,
               ",\"reachable\":%s,\"breaker\":\"%s\",\"breaker_opened\":%" PRIu64 ",\"distrusted\":%s,\"last_error\":",
               reached ? "true" : "false", breakers[status->breaker], status->breaker_opened,
               status->distrusted ? "true" : "false");
    if (status->last_error.len > 0) {
        buf_add_str(out, STR("{\"text\":"));
        buf_add_json(out, status->last_error);
        buf_add_str(out, STR(",\"at\":"));
        add_time(out, status->last_error_ms);
        buf_add_char(out, '}');
    } else {
        buf_add_str(out, STR("null"));
    }
    if (size)
        buf_printf(out, ",\"l2\":{\"keys\":%" PRIu64 ",\"used\":%" PRIu64 "}", size->keys, size->bytes);
    else
        buf_add_str(out, STR(",\"l2\":null"));
}

/* The files of the database. */
static void add_database(const char *database, struct arena *arena, struct buf *out)
{
    struct str wal = arena_printf(arena, "%s-wal", database);

    buf_printf(out, ",\"database\":{\"size\":%" PRIu64 ",\"wal\":%" PRIu64 "}", sys_file_size(database),
               wal.len > 0 ? sys_file_size(wal.p) : 0);
}

static void add_l1(const struct cache_shared *shared, int64_t now_ms, struct buf *out)
{
    struct l1_status status;

    l1_status(shared->l1, &status);
    buf_printf(out,
               ",\"l1\":{\"enabled\":%s,\"trusted\":%s,\"size\":%" PRIu64 ",\"used\":%" PRIu64 ",\"entries\":%" PRIu64
               ",\"negative\":%" PRIu64 ",\"evicted\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"emptied\":%" PRIu64
               "},\"leases\":%u",
               l1_enabled(shared->l1) ? "true" : "false", purged_current(shared->purged, now_ms) ? "true" : "false",
               status.size, status.used, status.entries, status.negative, status.evicted, status.refused,
               status.emptied, lease_count(shared->leases, now_ms));
}

/* How far this host follows the others. The greatest lag is how old a purge by another host may be that L1 does not
 * know: none without other hosts, and none while L1 is not read. */
static void add_log(const struct app_shared *shared, int64_t now_ms, struct buf *out)
{
    const struct housekeeper_shared *it = shared->housekeeper;
    bool followed = l2_shared_has_log(shared->cache->l2);

    if (!followed || !it) {
        buf_add_str(out, STR(",\"log\":null"));
        return;
    }
    buf_printf(out,
               ",\"log\":{\"followed\":%s,\"number\":%" PRIu64 ",\"contact_ms_ago\":%" PRId64
               ",\"greatest_lag_ms\":%d,\"records\":%" PRIu64 ",\"gaps\":%" PRIu64 ",\"breaks\":%" PRIu64
               "},\"outbox\":%" PRIu64,
               it->state == HOUSEKEEPER_READY ? "true" : "false", it->number,
               it->contact_ms == 0 ? INT64_C(-1) : now_ms - it->contact_ms, PURGED_TRUST_MS, it->records, it->gaps,
               it->breaks, it->outbox);
}

enum http_step route_cache_status(struct exchange *exchange)
{
    const struct app_shared *shared = exchange->thread->app->shared;
    int64_t now_ms = sys_monotonic_ms();
    struct l2 *l2 = cache_l2(exchange->thread->cache);
    struct l2_status status;
    struct l2_size size;
    struct buf body = {0};
    bool reached = l2_ping(l2) == ERR_OK, measured = reached && l2_measure(l2, &size) == ERR_OK;

    l2_status(shared->cache->l2, &status);
    buf_add_char(&body, '{');
    add_l2(&status, reached, measured ? &size : NULL, &body);
    add_l1(shared->cache, now_ms, &body);
    add_database(exchange->thread->app->config->store.database, exchange->http->arena, &body);
    add_log(shared, now_ms, &body);
    add_rates(&body);
    buf_add_char(&body, '}');
    return answer(exchange, &body);
}
