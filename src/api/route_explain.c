/*
 * route_explain: why is this URL answered as it is?
 *
 * It goes the way of a GET step by step, by the same functions (the router, the binding of parameters, the key), and
 * looks where a GET would look: at the lease, at L1, at L2. What a GET decides in cache_lookup is said here in words,
 * in the same order: an entry of L1 that may be used, else one of L2, else the statement, by whoever has the lease.
 *
 * Invariant: nothing is changed. No lease is taken, nothing is filled, the statement is explained and not run. What is
 * told is true for the moment in which it was looked at; under load the next moment may be another one.
 *
 * A URL that no GET could read is an answer too, not a failure: then `decision` is the status a client would get.
 */
#include "api/route_explain.h"

#include <inttypes.h>

#include "api/route_resource.h"
#include "base/sys.h"
#include "cache/inspect.h"

/* What is known of one tier's entry. */
struct finding {
    const char *tier;
    bool present;
    bool soft;
    bool other_tags; /* it was filled with other tags, so it is not used */
    struct entry entry;
    enum policy_verdict verdict;
};

/* A URL on its way to being explained. */
struct explanation {
    struct exchange *exchange; /* of who wants to know */
    struct http http;          /* as a client's would be */
    struct exchange inside;
    const struct resource *resource;
    struct params_values values;
    struct route_resource_tags tags;
    struct cache_ask ask;
    bool trusted, held;
    struct finding l1, l2;
    enum err l2_err;
    struct str plan, plan_why;
    /* In the arena. */
    struct str decision, why;
};

static void decide(struct explanation *it, struct str decision, struct str why)
{
    it->decision = decision;
    it->why = why;
}

/* The parameter `url`. False when answered. */
static bool bind_url(struct exchange *exchange, struct str *url)
{
    static const struct params_spec spec = {.name = {"url", 3}, .type = PARAMS_TEXT};
    struct http *http = exchange->http;
    struct params_raw raw[PARAMS_MAX];
    struct params_values values;
    struct buf why = {0};
    size_t count;
    enum err err = params_split_query(http->query, http->arena, raw, &count, &why);

    if (err == ERR_OK)
        err = params_bind(&spec, 1, raw, count, http->arena, &values, &why);
    if (err == ERR_OK)
        *url = values.items[0].text;
    else
        app_problem(http, 400, "%.*s. Say `?url=/path`; the `&` of its own query is written %%26.",
                    STR_ARG(buf_str(&why)));
    buf_free(&why);
    return err == ERR_OK;
}

/* Finds the resource that URL is of. False when there is none, and that is the decision. */
static bool find_resource(struct explanation *it, struct str url)
{
    struct exchange *inside = &it->inside;
    struct arena *arena = it->exchange->http->arena;
    const char *why = "";

    it->http.in.request_method = STR("GET");
    it->http.in.request_uri = url;
    if (http_finish_request(&it->http, &why) != ERR_OK) {
        decide(it, STR("400 not a URL"), arena_printf(arena, "No client could ask for this: %s.", why));
        return false;
    }
    switch (router_find(inside->thread->app->router, HTTP_GET, it->http.path, arena, &inside->match)) {
    case ROUTER_FOUND:
        inside->route = inside->match.target;
        it->resource = inside->route->resource;
        if (!it->resource)
            decide(it, STR("answered by larder itself"), STR("This route is built in; its answers are never cached."));
        return it->resource != NULL;
    case ROUTER_METHOD:
    case ROUTER_OPTIONS:
        decide(it, STR("405 no GET here"),
               arena_printf(arena, "This path has resources, but none that reads; it takes %.*s.",
                            STR_ARG(inside->match.allow)));
        return false;
    case ROUTER_MALFORMED:
        decide(it, STR("400 malformed path"),
               STR("The path has a broken percent escape, a control character, or bytes that are not UTF-8."));
        return false;
    case ROUTER_NOT_FOUND:
        break;
    }
    decide(it, STR("404 no such route"), STR("No resource and no built-in route matches this path."));
    return false;
}

/* Binds the parameters and builds the key. */
static bool bind(struct explanation *it)
{
    struct arena *arena = it->exchange->http->arena;

    if (!route_resource_bind(&it->inside, &it->values)) {
        struct str detail = app_problem_detail(&it->http);

        decide(it, arena_printf(arena, "%d %.*s", it->http.status, STR_ARG(detail)),
               STR("The parameters are not valid, so the request ends before any cache is asked."));
        return false;
    }
    if (it->resource->ttl_ms > 0)
        route_resource_ask(it->resource, &it->values, &it->http, &it->tags, &it->ask);
    cache_find_tags(&it->ask);
    return true;
}

static void judge(struct explanation *it, struct finding *finding)
{
    finding->present = true;
    if (finding->soft)
        policy_end_fresh(&finding->entry, it->ask.now_ms);
    finding->verdict = policy_judge(&finding->entry, it->ask.now_ms);
}

/* Looks where a GET would look. */
static void look(struct explanation *it)
{
    struct app_thread *thread = it->exchange->thread;
    const struct cache_shared *shared = thread->app->shared->cache;
    struct arena *arena = it->exchange->http->arena;
    const struct cache_ask *ask = &it->ask;
    struct l1_found found;

    it->held = lease_held(shared->leases, ask->key, ask->monotonic_ms, -1);
    it->trusted = purged_current(shared->purged, ask->monotonic_ms);
    it->l1.tier = "L1";
    if (l1_get(shared->l1, ask->key, ask->variant, false, ask->now_ms, arena, &found) == ERR_OK) {
        it->l1.entry = found.entry;
        it->l1.soft = found.soft;
        judge(it, &it->l1);
    }
    it->l2.tier = "L2";
    it->l2_err = inspect_entry(cache_l2(thread->cache), ask->key, arena, &it->l2.entry, &it->l2.soft);
    if (it->l2_err == ERR_OK) {
        judge(it, &it->l2);
        it->l2.other_tags = !entry_has_tags(&it->l2.entry, ask->tags, ask->tags_count);
    }
}

/* Whether a GET would answer with what was found. */
static bool may_answer(const struct finding *finding)
{
    return finding->present && !finding->other_tags &&
           (finding->verdict == POLICY_FRESH || finding->verdict == POLICY_STALE);
}

static bool may_stand_in(const struct finding *finding)
{
    return finding->present && !finding->other_tags && finding->verdict == POLICY_STALE_IF_ERROR;
}

static void decide_answer(struct explanation *it, const struct finding *finding)
{
    struct arena *arena = it->exchange->http->arena;
    const struct entry *entry = &finding->entry;
    const char *what = entry->status == 404 ? "that there is no such thing" : "an entry";
    int64_t age_s = (it->ask.now_ms - entry->stored_at_ms) / 1000;

    if (finding->verdict == POLICY_FRESH) {
        decide(it, arena_printf(arena, "hit %s", finding->tier),
               arena_printf(arena, "%s holds %s, %" PRId64 " s old and fresh for another %" PRId64 " s.", finding->tier,
                            what, age_s, (entry->fresh_until_ms - it->ask.now_ms) / 1000));
        return;
    }
    const char *reason = finding->soft ? "it was purged softly" : "its time to live is over";
    decide(it, STR("stale, refresh in the background"),
           arena_printf(arena, "%s holds %s, %" PRId64 " s old; %s, so it is answered as it is and %s.", finding->tier,
                        what, age_s, reason,
                        it->held ? "somebody computes it anew already" : "computed anew in the background"));
}

/* Why neither tier has what could be answered. */
static struct str explain_miss(const struct explanation *it)
{
    bool enabled = l1_enabled(it->exchange->thread->app->shared->cache->l1);
    const char *l1 = !enabled         ? "L1 is switched off"
                     : !it->trusted   ? "L1 is not read before this host knows of all purges again"
                     : it->l1.present ? "the entry in L1 is too old"
                                      : "L1 has no valid entry";
    const char *l2 = it->l2_err == ERR_NOT_FOUND ? "L2 has none: it was never filled, has ended, or was purged"
                     : it->l2_err != ERR_OK      ? "L2 cannot be read at the moment"
                     : it->l2.other_tags         ? "that of L2 was filled with other tags than the resource has now"
                                                 : "the one in L2 is too old";
    bool stands_in = (it->trusted && may_stand_in(&it->l1)) || may_stand_in(&it->l2);

    return arena_printf(it->exchange->http->arena, "%s; %s%s.", l1, l2,
                        stands_in ? "; it stands in should the statement fail" : "");
}

static void decide_all(struct explanation *it)
{
    if (it->resource->ttl_ms == 0)
        decide(it, STR("bypass: ttl is 0"), STR("The resource has no `ttl:`, so its statement runs for each request."));
    else if (it->trusted && may_answer(&it->l1))
        decide_answer(it, &it->l1);
    else if (may_answer(&it->l2))
        decide_answer(it, &it->l2);
    else if (it->held && it->exchange->thread->app->config->cache.lease_wait_ms > 0)
        decide(it, STR("miss: wait for whoever computes it already"), explain_miss(it));
    else
        decide(it, STR("miss: run the statement"), explain_miss(it));
}

static void explain_statement(struct explanation *it)
{
    struct arena *arena = it->exchange->http->arena;
    struct buf why = {0};

    if (store_plan(it->exchange->thread->store, it->resource, arena, &it->plan, &why) != ERR_OK)
        it->plan_why = arena_copy(arena, buf_str(&why));
    buf_free(&why);
}

static void add_text(struct buf *out, const char *name, struct str text)
{
    buf_printf(out, ",\"%s\":", name);
    buf_add_json(out, text);
}

static void add_seconds(struct buf *out, const char *name, int64_t ms)
{
    buf_printf(out, ",\"%s\":", name);
    buf_add_double(out, (double)ms / 1000);
}

static void add_params(const struct params_values *values, struct buf *out)
{
    buf_add_str(out, STR(",\"params\":{"));
    for (size_t i = 0; i < values->count; i++) {
        const struct params_value *value = &values->items[i];

        buf_add_str(out, i == 0 ? STR("") : STR(","));
        buf_add_json(out, value->name);
        buf_add_char(out, ':');
        if (value->is_null)
            buf_add_str(out, STR("null"));
        else if (value->type == PARAMS_TEXT)
            buf_add_json(out, value->text);
        else if (value->type == PARAMS_NUMBER)
            buf_add_double(out, value->number);
        else if (value->type == PARAMS_INTEGER)
            buf_add_int64(out, value->integer);
        else
            buf_add_str(out, value->integer ? STR("true") : STR("false"));
    }
    buf_add_char(out, '}');
}

static void add_policy(const struct resource *resource, struct buf *out)
{
    static const char *const auths[] = {
        [CATALOG_AUTH_NONE] = "none", [CATALOG_AUTH_KEY] = "key", [CATALOG_AUTH_ADMIN] = "admin"};

    buf_printf(out, ",\"auth\":\"%s\",\"policy\":{\"per_caller\":%s", auths[resource->auth],
               resource->uses_caller ? "true" : "false");
    add_seconds(out, "ttl", resource->ttl_ms);
    add_seconds(out, "stale", resource->stale_ms);
    add_seconds(out, "stale_if_error", resource->stale_if_error_ms);
    add_seconds(out, "negative", resource->negative_ms);
    add_seconds(out, "max_age", resource->max_age_ms);
    add_seconds(out, "timeout", resource->timeout_ms);
    buf_add_char(out, '}');
}

/* The members that both tiers have. */
static void add_finding(const struct finding *finding, int64_t now_ms, struct buf *out)
{
    static const char *const states[] = {[POLICY_FRESH] = "fresh",
                                         [POLICY_STALE] = "stale",
                                         [POLICY_STALE_IF_ERROR] = "stale-if-error",
                                         [POLICY_DEAD] = "expired"};
    const struct entry *entry = &finding->entry;

    buf_printf(out, "\"present\":%s", finding->present ? "true" : "false");
    if (!finding->present)
        return;
    buf_printf(out, ",\"state\":\"%s\",\"status\":%d,\"soft\":%s", states[finding->verdict], entry->status,
               finding->soft ? "true" : "false");
    add_seconds(out, "age", now_ms - entry->stored_at_ms);
    add_seconds(out, "ttl", entry->fresh_until_ms - now_ms);
    buf_printf(out, ",\"bytes\":%zu,\"cost_us\":%" PRIu32, entry->body_len, entry->cost_us);
}

static void add_tiers(const struct explanation *it, struct buf *out)
{
    static const char *const breakers[] = {[L2_CLOSED] = "closed", [L2_OPEN] = "open", [L2_HALF_OPEN] = "half-open"};
    const struct cache_shared *shared = it->exchange->thread->app->shared->cache;
    struct l2_status status;

    l2_status(shared->l2, &status);
    buf_add_str(out, STR(",\"l1\":{"));
    add_finding(&it->l1, it->ask.now_ms, out);
    buf_printf(out, ",\"enabled\":%s,\"trusted\":%s},\"l2\":{", l1_enabled(shared->l1) ? "true" : "false",
               it->trusted ? "true" : "false");
    add_finding(&it->l2, it->ask.now_ms, out);
    buf_printf(out, ",\"readable\":%s,\"other_tags\":%s,\"distrusted\":%s,\"breaker\":\"%s\"},\"lease\":{\"held\":%s}",
               it->l2_err == ERR_OK || it->l2_err == ERR_NOT_FOUND ? "true" : "false",
               it->l2.other_tags ? "true" : "false", status.distrusted ? "true" : "false", breakers[status.breaker],
               it->held ? "true" : "false");
}

static void add_plan(const struct explanation *it, struct buf *out)
{
    struct str rest = it->plan;

    buf_add_str(out, STR(",\"plan\":["));
    for (bool first = true; rest.len > 0; first = false) {
        buf_add_str(out, first ? STR("") : STR(","));
        buf_add_json(out, str_cut(&rest, '\n'));
    }
    buf_add_char(out, ']');
    if (it->plan_why.len > 0)
        add_text(out, "plan_failed", it->plan_why);
}

static void add_resource(const struct explanation *it, struct buf *out)
{
    const struct resource *resource = it->resource;

    buf_add_str(out, STR(",\"resource\":{\"name\":"));
    buf_add_json(out, resource->name);
    add_text(out, "file", resource->file);
    add_text(out, "route", resource->path);
    buf_add_char(out, '}');
    add_params(&it->values, out);
    if (resource->ttl_ms > 0) {
        add_text(out, "key", it->ask.key);
        buf_add_str(out, STR(",\"tags\":["));
        for (size_t i = 0; i < it->ask.tags_count; i++) {
            buf_add_str(out, i == 0 ? STR("") : STR(","));
            buf_add_json(out, it->ask.tags[i]);
        }
        buf_add_char(out, ']');
    }
    add_policy(resource, out);
    if (it->ask.key.len > 0)
        add_tiers(it, out);
    add_plan(it, out);
}

static enum http_step answer(const struct explanation *it, struct str url)
{
    struct http *http = it->exchange->http;
    struct buf body = {0};

    buf_add_str(&body, STR("{\"url\":"));
    buf_add_json(&body, url);
    add_text(&body, "decision", it->decision);
    add_text(&body, "why", it->why);
    if (it->resource)
        add_resource(it, &body);
    buf_add_char(&body, '}');
    app_json(http, 200, arena_take_buf(http->arena, &body));
    return HTTP_DONE;
}

enum http_step route_explain_handle(struct exchange *exchange)
{
    struct http *http = exchange->http;
    struct explanation *it = arena_calloc(http->arena, 1, sizeof *it);
    struct str url;

    if (!it) {
        app_unavailable(http, 1, "The request needs more memory than one may have.");
        return HTTP_DONE;
    }
    if (!bind_url(exchange, &url))
        return HTTP_DONE;
    it->exchange = exchange;
    it->http = (struct http){.in = {.remote_addr = http->in.remote_addr, .mount = http->in.mount},
                             .arena = http->arena,
                             .now_ms = http->now_ms,
                             .started_us = http->started_us};
    it->inside = (struct exchange){.thread = exchange->thread, .http = &it->http};
    it->l2_err = ERR_NOT_FOUND;
    if (find_resource(it, url) && bind(it)) {
        if (it->resource->ttl_ms > 0)
            look(it);
        explain_statement(it);
        decide_all(it);
    }
    enum http_step step = answer(it, url);
    buf_free(&it->http.headers);
    return step;
}
