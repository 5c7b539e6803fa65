/*
 * Every route here is an admin's and runs in the pool: it may scan, and it may wait for L2.
 *
 * A purge is effective when it is answered. One that L2 could not be told is answered 503, and says what that means: nothing in L2 is believed until
 * all of it has been invalidated. A pattern that would empty the cache is refused unless that is what was asked for.
 */
#include "api/route_cache.h"

#include <json-c/json.h>

#include "api/body.h"
#include "api/route_resource.h"
#include "base/metrics.h"
#include "cache/purge.h"

#define KEYS_MAX 1000
#define PAGE_MAX 1000
#define PAGE_DEFAULT 100
#define L2_AWAY "The shared cache cannot be reached."

/* What POST /api/cache/invalidate asks for. */
struct request {
    struct str *items; /* `key:…`, `tag:…` or `pattern:…` */
    size_t count;
    bool all, dry_run;
    struct str pattern;
};

static enum http_step answer_away(struct http *http)
{
    app_unavailable(http, 5, L2_AWAY " Everything in it will be invalidated before it is read again, so nothing purged can come back.");
    return HTTP_DONE;
}

static enum http_step answer_buf(struct http *http, int status, struct buf *body)
{
    app_json(http, status, arena_take_buf(http->arena, body));
    return HTTP_DONE;
}

static enum http_step refuse(struct exchange *exchange, int status, const char *detail)
{
    app_problem(exchange->http, status, "%s", detail);
    return HTTP_DONE;
}

static struct str json_text(struct json_object *value)
{
    return (struct str){json_object_get_string(value), (size_t)json_object_get_string_len(value)};
}

static void add_item(struct request *request, struct arena *arena, const char *kind, struct str name)
{
    request->items[request->count++] = arena_printf(arena, "%s:%.*s", kind, STR_ARG(name));
}

/* One member. NULL, or what is wrong with it. */
static const char *take_member(struct request *request, struct arena *arena, const char *name, struct json_object *value)
{
    bool is_flag = strcmp(name, "all") == 0 || strcmp(name, "dry_run") == 0;
    bool is_name = strcmp(name, "key") == 0 || strcmp(name, "tag") == 0 || strcmp(name, "pattern") == 0;
    if (is_flag && !json_object_is_type(value, json_type_boolean))
        return "'all' and 'dry_run' must be true or false.";
    if (is_name && !json_object_is_type(value, json_type_string))
        return "'key', 'tag' and 'pattern' must be strings.";
    if (is_flag)
        *(name[0] == 'a' ? &request->all : &request->dry_run) = json_object_get_boolean(value);
    else if (is_name)
        add_item(request, arena, name, json_text(value));
    if (is_name && name[0] == 'p')
        request->pattern = arena_copy(arena, json_text(value));
    if (is_flag || is_name)
        return NULL;
    if (strcmp(name, "keys") != 0)
        return "Known are 'pattern', 'tag', 'key', 'keys', 'all' and 'dry_run'.";
    if (!json_object_is_type(value, json_type_array) || json_object_array_length(value) > KEYS_MAX ||
        json_object_array_length(value) == 0)
        return "'keys' must be a list of 1 to 1000 strings.";
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        struct json_object *key = json_object_array_get_idx(value, i);
        if (!json_object_is_type(key, json_type_string))
            return "'keys' must be a list of 1 to 1000 strings.";
        add_item(request, arena, "key", json_text(key));
    }
    return NULL;
}

/* NULL, or what is wrong with the whole. */
static const char *check_request(const struct request *request, unsigned selectors)
{
    const char *why;
    if (request->all && request->count > 0 && !request->pattern.p)
        return "\"all\": true goes alone or with a 'pattern' of stars.";
    if (!request->all && selectors != 1)
        return "Say what to purge: exactly one of 'pattern', 'tag', 'key' or 'keys'.";
    for (size_t i = 0; !request->all && i < request->count; i++) {
        enum err err = purge_check(request->items[i], &why);
        if (err == ERR_DENIED || (err != ERR_OK && request->pattern.p))
            return "A pattern that is empty or only stars would empty the cache: if that is meant, send \"all\": true.";
        if (err != ERR_OK)
            return "A key or tag must not be empty.";
    }
    return NULL;
}

/* Parses the body. 0, or the status of the answer, which *WHY explains. */
static int parse_request(const struct http *http, struct request *request, struct str *why)
{
    struct buf problem = {0};
    struct json_object *object = NULL;
    unsigned selectors = 0;
    *request = (struct request){.items = arena_calloc(http->arena, KEYS_MAX + 4, sizeof *request->items)};
    enum err err = request->items ? body_parse(http->body, &object, &problem) : ERR_LIMIT;
    if (err != ERR_OK) {
        *why = arena_take_buf(http->arena, &problem);
        return 400;
    }
    const char *wrong = NULL;
    json_object_object_foreach(object, name, value)
    {
        selectors += strcmp(name, "all") != 0 && strcmp(name, "dry_run") != 0;
        if (!wrong)
            wrong = take_member(request, http->arena, name, value);
    }
    json_object_put(object);
    if (!wrong)
        wrong = check_request(request, selectors);
    *why = str_from(wrong);
    return wrong ? 422 : 0;
}

/* How many entries there are now that REQUEST would remove. */
static enum err count_matches(struct exchange *exchange, const struct request *request, size_t *matched)
{
    struct cache *cache = exchange->thread->cache;
    if (request->all)
        return purge_count(cache, STR("*"), matched);
    if (request->pattern.p)
        return purge_count(cache, request->pattern, matched);
    *matched = 0;
    for (size_t i = 0; i < request->count; i++) {
        struct str key = request->items[i], kind = str_cut(&key, ':');
        struct entry entry;
        enum err err = str_equal(kind, STR("key")) ? cache_inspect(cache, key, exchange->http->now_ms, exchange->http->arena, &entry)
                                                   : ERR_NOT_FOUND;
        if (err == ERR_UNAVAILABLE)
            return err;
        *matched += err == ERR_OK;
    }
    return ERR_OK;
}

static enum http_step invalidate(struct exchange *exchange)
{
    struct http *http = exchange->http;
    struct request request;
    struct purge_result result = {0};
    struct buf body = {0};
    struct str why;
    size_t matched;
    int status = parse_request(http, &request, &why);
    if (status != 0) {
        app_problem(http, status, "%.*s", STR_ARG(why));
        return HTTP_DONE;
    }
    if (request.dry_run) {
        if (count_matches(exchange, &request, &matched) != ERR_OK)
            return refuse(exchange, 503, L2_AWAY);
        buf_printf(&body, "{\"dry_run\":true,\"matched\":%zu}", matched);
        return answer_buf(http, 200, &body);
    }
    enum err err = request.all ? purge_all(exchange->thread->cache)
                               : purge_items(exchange->thread->cache, request.items, request.count, &result);
    if (err != ERR_OK)
        return answer_away(http);
    /* Nobody counts what a tag or everything covers: it is gone at once, however much it was. */
    if (request.all || str_starts(request.items[0], STR("tag:")))
        buf_add_str(&body, STR("{\"purged\":true}"));
    else
        buf_printf(&body, "{\"purged\":true,\"removed\":%zu}", result.removed);
    return answer_buf(http, 200, &body);
}

static bool is_json(struct str content_type)
{
    return str_equal_nocase(str_trim(str_cut(&content_type, ';')), STR("application/json"));
}

static enum http_step begin_invalidate(struct exchange *exchange)
{
    if (!is_json(exchange->http->in.content_type))
        return refuse(exchange, 415, "The body must be JSON, sent with Content-Type: application/json.");
    return app_hand_over(exchange, invalidate);
}

static enum http_step remove_key(struct exchange *exchange, struct str key)
{
    struct http *http = exchange->http;
    struct str item = arena_printf(http->arena, "key:%.*s", STR_ARG(key));
    struct purge_result result;
    struct buf body = {0};
    if (purge_items(exchange->thread->cache, &item, 1, &result) != ERR_OK)
        return answer_away(http);
    buf_add_str(&body, STR("{\"key\":"));
    buf_add_json(&body, key);
    buf_printf(&body, ",\"removed\":%zu}", result.removed);
    return answer_buf(http, 200, &body);
}

static enum http_step delete_key(struct exchange *exchange)
{
    return remove_key(exchange, app_path_value(exchange, "key"));
}

static enum http_step begin_delete_key(struct exchange *exchange)
{
    return app_hand_over(exchange, delete_key);
}

static const char *verdict_name(const struct entry *entry, int64_t now_ms)
{
    if (entry->status == 404)
        return "negative";
    return policy_judge(entry, now_ms) == POLICY_FRESH ? "fresh" : "stale";
}

static void describe_entry(struct str key, const struct entry *entry, int64_t now_ms, struct buf *out)
{
    buf_add_str(out, STR("{\"key\":"));
    buf_add_json(out, key);
    buf_printf(out, ",\"state\":\"%s\",\"status\":%d,\"age_ms\":%lld,\"ttl_ms\":%lld,\"kept_ms\":%lld,\"cost_us\":%u,\"etag\":",
               verdict_name(entry, now_ms), entry->status, (long long)(now_ms - entry->stored_at_ms),
               (long long)(entry->fresh_until_ms - now_ms), (long long)policy_remaining_ms(entry, now_ms), entry->cost_us);
    buf_add_json(out, entry->etag);
    buf_add_str(out, STR(",\"content_type\":"));
    buf_add_json(out, entry->content_type);
    buf_add_str(out, STR(",\"tags\":["));
    for (size_t i = 0; i < entry->tags_count; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        buf_add_json(out, entry->tags[i]);
    }
    /* Bodies are JSON: larder made them. */
    buf_printf(out, "],\"size\":%zu,\"body\":", entry->body.len);
    buf_add_str(out, entry->body.len > 0 ? entry->body : STR("null"));
    buf_add_char(out, '}');
}

static enum http_step show_key(struct exchange *exchange)
{
    struct http *http = exchange->http;
    struct str key = app_path_value(exchange, "key");
    struct entry entry;
    struct buf body = {0};
    enum err err = cache_inspect(exchange->thread->cache, key, http->now_ms, http->arena, &entry);
    if (err == ERR_NOT_FOUND)
        return refuse(exchange, 404, "There is no entry under this key.");
    if (err != ERR_OK)
        return refuse(exchange, 503, L2_AWAY);
    describe_entry(key, &entry, http->now_ms, &body);
    return answer_buf(http, 200, &body);
}

static enum http_step begin_show_key(struct exchange *exchange)
{
    return app_hand_over(exchange, show_key);
}

/* Parameters of GET /api/cache/keys. */
struct listing {
    struct str match;
    uint64_t cursor;
    size_t limit;
};

static enum err read_listing(const struct http *http, struct listing *listing, struct buf *why)
{
    struct params_raw raw[PARAMS_MAX];
    size_t count = 0;
    int64_t number = 0;
    *listing = (struct listing){.match = STR("*"), .limit = PAGE_DEFAULT};
    enum err err = params_split_query(http->query, http->arena, raw, &count, why);
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        if (str_equal(raw[i].name, STR("match"))) {
            listing->match = raw[i].value.len > 0 ? raw[i].value : STR("*");
            continue;
        }
        bool is_limit = str_equal(raw[i].name, STR("limit"));
        err = is_limit || str_equal(raw[i].name, STR("cursor")) ? str_to_int64(raw[i].value, &number) : ERR_NOT_FOUND;
        if (err != ERR_OK || number < (is_limit ? 1 : 0) || (is_limit && number > PAGE_MAX)) {
            buf_add_str(why, STR("Known are 'match' (a pattern), 'limit' (1 to 1000) and 'cursor' (as the last answer gave it)."));
            return ERR_SYNTAX;
        }
        if (is_limit)
            listing->limit = (size_t)number;
        else
            listing->cursor = (uint64_t)number;
    }
    return err;
}

static enum http_step list_keys(struct exchange *exchange)
{
    struct http *http = exchange->http;
    const struct listing *listing = exchange->state;
    uint64_t cursor = listing->cursor;
    struct str *keys = NULL;
    size_t count = 0;
    struct buf body = {0};
    if (l2_scan(cache_l2(exchange->thread->cache), listing->match, &cursor, listing->limit, http->arena, &keys, &count) != ERR_OK)
        return refuse(exchange, 503, L2_AWAY);
    buf_add_str(&body, STR("{\"keys\":["));
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_add_char(&body, ',');
        buf_add_json(&body, keys[i]);
    }
    buf_printf(&body, "],\"count\":%zu,\"cursor\":\"%llu\"}", count, (unsigned long long)cursor);
    return answer_buf(http, 200, &body);
}

static enum http_step begin_list_keys(struct exchange *exchange)
{
    struct listing *listing = arena_alloc(exchange->http->arena, sizeof *listing);
    struct buf why = {0};
    if (!listing || read_listing(exchange->http, listing, &why) != ERR_OK) {
        app_problem(exchange->http, 400, "%.*s", STR_ARG(buf_str(&why)));
        buf_free(&why);
        return HTTP_DONE;
    }
    exchange->state = listing;
    return app_hand_over(exchange, list_keys);
}

static void add_ratio(struct buf *out)
{
    static const enum metric shown[] = {METRIC_hits, METRIC_negative_hits, METRIC_stale_served, METRIC_misses, METRIC_bypassed,
                                        METRIC_fills, METRIC_fills_refused, METRIC_purges};
    uint64_t hits = metrics_sum(METRIC_hits) + metrics_sum(METRIC_negative_hits);
    uint64_t asked = hits + metrics_sum(METRIC_misses);
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        buf_printf(out, "\"%s\":%llu,", metrics_name(shown[i]), (unsigned long long)metrics_sum(shown[i]));
    buf_add_str(out, STR("\"hit_ratio\":"));
    buf_add_double(out, asked == 0 ? 0 : (double)(hits * 10000 / asked) / 10000);
}

static enum http_step show_status(struct exchange *exchange)
{
    static const char *const breakers[] = {"closed", "open", "half-open"};
    struct http *http = exchange->http;
    struct l2_status status;
    struct buf body = {0};
    bool answers = l2_ping(cache_l2(exchange->thread->cache)) == ERR_OK;
    l2_status(exchange->thread->app->shared->l2, &status);
    buf_printf(&body, "{\"l2\":{\"backend\":\"%s\",\"url\":", status.backend);
    buf_add_json(&body, status.where);
    buf_printf(&body, ",\"answers\":%s,\"breaker\":\"%s\",\"breaker_opened\":%llu,\"distrusted\":%s,\"last_error\":",
               answers ? "true" : "false", breakers[status.breaker], (unsigned long long)status.breaker_opened,
               status.distrusted ? "true" : "false");
    if (status.last_error.len > 0)
        buf_add_json(&body, status.last_error);
    else
        buf_add_str(&body, STR("null"));
    buf_printf(&body, ",\"last_error_at_ms\":%lld},\"cache\":{", (long long)status.last_error_ms);
    add_ratio(&body);
    buf_add_str(&body, STR("}}"));
    return answer_buf(http, 200, &body);
}

static enum http_step begin_show_status(struct exchange *exchange)
{
    return app_hand_over(exchange, show_status);
}

static enum http_step purge_url(struct exchange *exchange)
{
    return remove_key(exchange, *(struct str *)exchange->state);
}

enum http_step route_cache_purge_url(struct exchange *exchange)
{
    struct str *key = arena_calloc(exchange->http->arena, 1, sizeof *key);
    if (!key || !route_resource_key(exchange, key))
        return HTTP_DONE;
    if (key->len == 0)
        return refuse(exchange, 404, "What this URL serves is not cached.");
    exchange->state = key;
    return app_hand_over(exchange, purge_url);
}

const struct route route_cache_table[] = {
    {HTTP_POST, {"/api/cache/invalidate", 21}, CATALOG_AUTH_ADMIN, begin_invalidate, NULL},
    {HTTP_GET, {"/api/cache/key/{key...}", 23}, CATALOG_AUTH_ADMIN, begin_show_key, NULL},
    {HTTP_DELETE, {"/api/cache/key/{key...}", 23}, CATALOG_AUTH_ADMIN, begin_delete_key, NULL},
    {HTTP_GET, {"/api/cache/keys", 15}, CATALOG_AUTH_ADMIN, begin_list_keys, NULL},
    {HTTP_GET, {"/api/cache/status", 17}, CATALOG_AUTH_ADMIN, begin_show_status, NULL},
    {.handle = NULL},
};
