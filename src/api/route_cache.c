/*
 * route_cache: looking into the cache, and removing from it.
 *
 * Invariant: a purge is answered 200 only when it is in effect. Where L2 could not be told, the answer is 503 and the
 * purge is kept as distrust: nothing in L2 is served before all of it has been invalidated.
 *
 * It refuses to empty the cache by a slip: `all` must be said, and a body names exactly one thing to remove. Entries
 * under a tag are invalid at once but not counted, for nobody keeps a list of them; `removed` is null then.
 */
#include "api/route_cache.h"

#include <inttypes.h>
#include <time.h>

#include "api/body.h"
#include "base/metrics.h"
#include "cache/purge.h"

enum { KEYS_MAX = 1000, PAGE_DEFAULT = 100, PAGE_MAX = 1000 };

/* Lets the log say what L2 last failed of, where it failed at all. */
static void note_failure(struct exchange *exchange, const char *event, enum err err)
{
    struct l2_status status;

    l2_status(exchange->thread->app->shared->l2, &status);
    app_note(exchange, event,
             err == ERR_UNAVAILABLE && status.last_error.len > 0 ? status.last_error : str_from(err_text(err)));
}

void route_cache_note_purge(struct exchange *exchange, enum err err)
{
    note_failure(exchange, "purge_failed", err);
}

void route_cache_unreachable(struct exchange *exchange, enum err err)
{
    app_unavailable(exchange->http, 1,
                    "The shared cache could not be reached, so it is not trusted any more: it is not read again before "
                    "everything in it has been invalidated. Try again if you want to know when that is.");
    route_cache_note_purge(exchange, err);
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

/* The selectors of an invalidation. */
enum selector { SELECTOR_PATTERN, SELECTOR_TAG, SELECTOR_KEY, SELECTOR_KEYS, SELECTOR_ALL, SELECTOR_COUNT };

static const struct str selector_names[SELECTOR_COUNT] = {[SELECTOR_PATTERN] = {"pattern", 7},
                                                          [SELECTOR_TAG] = {"tag", 3},
                                                          [SELECTOR_KEY] = {"key", 3},
                                                          [SELECTOR_KEYS] = {"keys", 4},
                                                          [SELECTOR_ALL] = {"all", 3}};

struct invalidation {
    enum selector selector;
    struct str *names; /* of all selectors but `all` */
    size_t count;
    bool dry_run;
};

static bool refuse(struct exchange *exchange, const char *detail)
{
    app_problem(exchange->http, 422, "%s", detail);
    return false;
}

static bool take_flag(struct exchange *exchange, const struct body_member *member, bool *out)
{
    if (member->type != BODY_BOOLEAN) {
        app_problem(exchange->http, 422, "member `%.*s` must be true or false", STR_ARG(member->name));
        return false;
    }
    *out = str_equal(member->text, STR("true"));
    return true;
}

static bool take_names(struct exchange *exchange, const struct body_member *member, struct invalidation *out)
{
    struct arena *arena = exchange->http->arena;

    if (out->selector == SELECTOR_KEYS) {
        if (body_strings(member, KEYS_MAX, arena, &out->names, &out->count) == ERR_OK && out->count > 0)
            return true;
        app_problem(exchange->http, 422, "member `keys` must be an array of 1 to %d strings", KEYS_MAX);
        return false;
    }
    if (member->type != BODY_STRING) {
        app_problem(exchange->http, 422, "member `%.*s` must be a string", STR_ARG(member->name));
        return false;
    }
    out->names = arena_alloc(arena, sizeof *out->names);
    if (!out->names)
        return refuse(exchange, "The body is too large.");
    out->names[0] = member->text;
    out->count = 1;
    return true;
}

static bool take_member(struct exchange *exchange, const struct body_member *member, struct invalidation *out,
                        bool *all, unsigned *selectors)
{
    enum selector selector = SELECTOR_PATTERN;

    if (str_equal(member->name, STR("dry_run")))
        return take_flag(exchange, member, &out->dry_run);
    if (str_equal(member->name, selector_names[SELECTOR_ALL]))
        return take_flag(exchange, member, all);
    while (selector < SELECTOR_ALL && !str_equal(member->name, selector_names[selector]))
        selector++;
    if (selector == SELECTOR_ALL)
        return refuse(exchange,
                      "a member is unknown here; known are `pattern`, `tag`, `key`, `keys`, `all` and `dry_run`");
    (*selectors)++;
    out->selector = selector;
    return take_names(exchange, member, out);
}

/* Whether what was asked for may be done. */
static bool check_names(struct exchange *exchange, const struct invalidation *asked)
{
    struct arena *arena = exchange->http->arena;
    const char *why;

    for (size_t i = 0; i < asked->count; i++) {
        const struct str kind = asked->selector == SELECTOR_KEYS ? STR("key") : selector_names[asked->selector];
        struct str item = arena_printf(arena, "%.*s:%.*s", STR_ARG(kind), STR_ARG(asked->names[i]));
        enum err err = purge_check(item, &why);

        if (err == ERR_DENIED)
            return refuse(exchange, "This pattern would empty the cache. If that is meant, say `\"all\": true`.");
        if (err != ERR_OK)
            return refuse(exchange, "An empty pattern, tag or key names nothing. If everything is meant, say "
                                    "`\"all\": true`.");
    }
    if (asked->dry_run && asked->selector == SELECTOR_TAG)
        return refuse(exchange, "`dry_run` counts keys, by pattern, key or keys; what carries a tag is not listed "
                                "anywhere and cannot be counted.");
    return true;
}

/* `all` may stand alone or confirm a pattern that would be refused without it. */
static bool merge_all(struct exchange *exchange, unsigned selectors, struct invalidation *asked)
{
    bool confirms = selectors == 1 && asked->selector == SELECTOR_PATTERN &&
                    (asked->names[0].len == 0 || str_equal(asked->names[0], STR("*")));

    if (selectors > 0 && !confirms)
        return refuse(exchange, "`all` removes everything; name no pattern, tag or key besides it.");
    asked->selector = SELECTOR_ALL;
    asked->count = 0;
    return true;
}

static bool understand(struct exchange *exchange, struct invalidation *asked)
{
    struct http *http = exchange->http;
    struct buf why = {0};
    struct body body;
    bool all = false;
    unsigned selectors = 0;

    if (http->body.len > 0 && !body_is_json_type(http->in.content_type)) {
        app_problem(http, 415, "The body must be JSON. Send it with `Content-Type: application/json`.");
        return false;
    }
    if (body_parse(http->body, http->arena, &body, &why) != ERR_OK) {
        app_problem(http, 400, "The body %.*s.", STR_ARG(buf_str(&why)));
        buf_free(&why);
        return false;
    }
    for (size_t i = 0; i < body.count; i++)
        if (!take_member(exchange, &body.members[i], asked, &all, &selectors))
            return false;
    if (all)
        return merge_all(exchange, selectors, asked);
    if (selectors != 1)
        return refuse(exchange, "Name exactly one of `pattern`, `tag`, `key` and `keys`, or say `\"all\": true`.");
    return check_names(exchange, asked);
}

/* How many keys ASKED would remove. */
static enum err count_matched(struct cache *cache, struct arena *arena, const struct invalidation *asked,
                              size_t *matched)
{
    struct entry entry;

    if (asked->selector == SELECTOR_ALL || asked->selector == SELECTOR_PATTERN)
        return purge_count(cache, asked->selector == SELECTOR_ALL ? STR("*") : asked->names[0], matched);
    *matched = 0;
    for (size_t i = 0; i < asked->count; i++) {
        enum err err = cache_inspect(cache, asked->names[i], arena, &entry);

        if (err != ERR_OK && err != ERR_NOT_FOUND)
            return err;
        *matched += err == ERR_OK;
    }
    return ERR_OK;
}

static enum http_step answer_dry_run(struct exchange *exchange, const struct invalidation *asked)
{
    size_t matched;
    struct buf body = {0};
    enum err err = count_matched(exchange->thread->cache, exchange->http->arena, asked, &matched);

    if (err != ERR_OK)
        return answer_unreadable(exchange, err);
    buf_printf(&body, "{\"matched\":%zu,\"dry_run\":true}", matched);
    return answer(exchange, &body);
}

static enum err carry_out(struct exchange *exchange, const struct invalidation *asked, struct purge_result *result)
{
    struct arena *arena = exchange->http->arena;
    const struct str kind = asked->selector == SELECTOR_KEYS ? STR("key") : selector_names[asked->selector];
    struct str *items;

    if (asked->selector == SELECTOR_ALL)
        return purge_all(exchange->thread->cache);
    items = arena_calloc(arena, asked->count, sizeof *items);
    for (size_t i = 0; i < asked->count && items; i++)
        items[i] = arena_printf(arena, "%.*s:%.*s", STR_ARG(kind), STR_ARG(asked->names[i]));
    if (arena_overflowed(arena))
        return ERR_LIMIT;
    return purge_items(exchange->thread->cache, items, asked->count, result);
}

enum http_step route_cache_invalidate(struct exchange *exchange)
{
    struct invalidation asked = {0};
    struct purge_result result = {0};
    struct buf body = {0};

    if (!understand(exchange, &asked))
        return HTTP_DONE;
    if (asked.dry_run)
        return answer_dry_run(exchange, &asked);
    enum err err = carry_out(exchange, &asked, &result);
    if (err != ERR_OK) {
        route_cache_unreachable(exchange, err);
        return HTTP_DONE;
    }
    if (asked.selector == SELECTOR_ALL || asked.selector == SELECTOR_TAG)
        buf_add_str(&body, STR("{\"removed\":null}"));
    else
        buf_printf(&body, "{\"removed\":%zu}", result.removed);
    return answer(exchange, &body);
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
    enum err err = cache_inspect(exchange->thread->cache, key, http->arena, &entry);

    if (err == ERR_NOT_FOUND) {
        app_problem(http, 404, "No entry is cached under this key.");
        return HTTP_DONE;
    }
    if (err != ERR_OK)
        return answer_unreadable(exchange, err);
    add_entry(key, &entry, http->now_ms, http->arena, &body);
    return answer(exchange, &body);
}

enum http_step route_cache_key_delete(struct exchange *exchange)
{
    struct arena *arena = exchange->http->arena;
    struct str key = exchange->match.values[0].value;
    struct str item = arena_printf(arena, "key:%.*s", STR_ARG(key));
    struct purge_result result;
    struct buf body = {0};
    enum err err = purge_items(exchange->thread->cache, &item, 1, &result);

    if (err != ERR_OK) {
        route_cache_unreachable(exchange, err);
        return HTTP_DONE;
    }
    buf_add_str(&body, STR("{\"key\":"));
    buf_add_json(&body, key);
    buf_printf(&body, ",\"removed\":%zu}", result.removed);
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
    struct http *http = exchange->http;
    struct params_raw raw[PARAMS_MAX];
    struct buf why = {0};
    size_t count;
    enum err err = params_split_query(http->query, http->arena, raw, &count, &why);

    if (err == ERR_OK)
        err = params_bind(specs, sizeof specs / sizeof *specs, raw, count, http->arena, values, &why);
    if (err != ERR_OK)
        app_problem(http, 400, "%.*s", STR_ARG(buf_str(&why)));
    buf_free(&why);
    return err == ERR_OK;
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

static void add_rates(struct buf *out)
{
    static const enum metric shown[] = {
        METRIC_hits,  METRIC_negative_hits, METRIC_stale_served,  METRIC_misses,      METRIC_bypassed,
        METRIC_fills, METRIC_purges,        METRIC_fills_refused, METRIC_l2_failures, METRIC_l2_skipped};
    uint64_t hits = metrics_sum(METRIC_hits) + metrics_sum(METRIC_negative_hits);
    uint64_t asked = hits + metrics_sum(METRIC_misses) + metrics_sum(METRIC_stale_served);

    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        buf_printf(out, ",\"%s\":%" PRIu64, metrics_name(shown[i]), metrics_sum(shown[i]));
    buf_add_str(out, STR(",\"hit_rate\":"));
    if (asked == 0)
        buf_add_str(out, STR("null"));
    else
        buf_add_double(out, (double)(hits * 10000 / asked) / 10000);
}

enum http_step route_cache_status(struct exchange *exchange)
{
    static const char *const breakers[] = {[L2_CLOSED] = "closed", [L2_OPEN] = "open", [L2_HALF_OPEN] = "half-open"};
    struct l2_status status;
    struct buf body = {0};
    bool reached = l2_ping(cache_l2(exchange->thread->cache)) == ERR_OK;

    l2_status(exchange->thread->app->shared->l2, &status);
    buf_printf(&body, "{\"backend\":\"%s\",\"where\":", status.backend);
    buf_add_json(&body, status.where);
    buf_printf(&body,
               ",\"reachable\":%s,\"breaker\":\"%s\",\"breaker_opened\":%" PRIu64 ",\"distrusted\":%s,\"last_error\":",
               reached ? "true" : "false", breakers[status.breaker], status.breaker_opened,
               status.distrusted ? "true" : "false");
    if (status.last_error.len > 0) {
        buf_add_str(&body, STR("{\"text\":"));
        buf_add_json(&body, status.last_error);
        buf_add_str(&body, STR(",\"at\":"));
        add_time(&body, status.last_error_ms);
        buf_add_char(&body, '}');
    } else {
        buf_add_str(&body, STR("null"));
    }
    add_rates(&body);
    buf_add_char(&body, '}');
    return answer(exchange, &body);
}
