/*
 * app: match -> guard -> handle -> finish, for every request alike.
 *
 * Steps: a route's first step runs on the event thread and ends in done, waiting or hand over. What waits goes on by
 * app_advance; what is handed over continues at exchange->step in the pool, where steps follow one another until one is
 * done. A request that comes to the pool first (its body had to be read) runs all of its steps there.
 *
 * Invariant: whatever path a request takes, it is matched and guarded before its route sees it, and it ends once, in
 * `finish`, which alone decides what the log says. A router is complete before the first request and never changes.
 *
 * It refuses to know what routes do: the table below is all it has, and nothing here touches SQL or a cache's entries.
 */
#include "api/app.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/body.h"
#include "api/guard.h"
#include "api/memo.h"
#include "api/openapi.h"
#include "api/route_board.h"
#include "api/route_board_list.h"
#include "api/route_board_write.h"
#include "api/route_cache.h"
#include "api/route_explain.h"
#include "api/route_meta.h"
#include "api/route_metrics.h"
#include "api/route_openapi.h"
#include "api/route_purge.h"
#include "api/route_receipts.h"
#include "api/route_recent.h"
#include "api/route_resource.h"
#include "api/route_status.h"
#include "api/route_warm.h"
#include "api/route_write.h"
#include "api/settle.h"
#include "base/metrics.h"
#include "base/sys.h"
#include "http/trace.h"
#include "store/receipt.h"
#include "store/writer_async.h"

/* X(method, pattern, auth, handle, blocking). Each is described in openapi.json. */
#define BUILT_IN_ROUTES(X)                                                                                             \
    X(GET, "/healthz", NONE, route_meta_health, false)                                                                 \
    X(GET, "/readyz", NONE, route_meta_ready, true)                                                                    \
    X(GET, "/stats", NONE, route_meta_stats, false)                                                                    \
    X(GET, "/status", ADMIN, route_status_get, false)                                                                  \
    X(GET, "/metrics", NONE, route_metrics_scrape, false)                                                              \
    X(GET, "/openapi.json", NONE, route_openapi_get, false)                                                            \
    X(GET, "/api/cache/status", ADMIN, route_cache_status, true)                                                       \
    X(POST, "/api/cache/invalidate", ADMIN, route_purge_invalidate, true)                                              \
    X(POST, "/api/cache/clear", ADMIN, route_purge_clear, true)                                                        \
    X(GET, "/api/cache/jobs/{id}", ADMIN, route_purge_job, true)                                                       \
    X(POST, "/api/cache/warm", ADMIN, route_warm_handle, true)                                                         \
    X(GET, "/api/cache/explain", ADMIN, route_explain_handle, true)                                                    \
    X(GET, "/api/cache/keys", ADMIN, route_cache_keys, true)                                                           \
    X(GET, "/api/cache/top", ADMIN, route_cache_top, true)                                                             \
    X(GET, "/api/cache/key/{key...}", ADMIN, route_cache_key_get, true)                                                \
    X(DELETE, "/api/cache/key/{key...}", ADMIN, route_purge_key, true)                                                 \
    X(GET, "/api/cache/problems", ADMIN, route_recent_problems, true)                                                  \
    X(GET, "/api/cache/slow", ADMIN, route_recent_slow, true)                                                          \
    X(GET, "/api/leaderboards", NONE, route_board_list_all, false)                                                     \
    X(GET, "/api/leaderboards/{board}/periods", NONE, route_board_list_periods, true)                                  \
    X(DELETE, "/api/leaderboards/{board}/periods", KEY, route_board_write_remove, false)                               \
    X(GET, "/api/leaderboards/{board}/scores", NONE, route_board_member, false)                                        \
    X(POST, "/api/leaderboards/{board}/scores", KEY, route_board_write_submit, false)                                  \
    X(DELETE, "/api/leaderboards/{board}/scores", KEY, route_board_write_remove, false)                                \
    X(GET, "/api/leaderboards/{board}/top", NONE, route_board_top, false)                                              \
    X(DELETE, "/api/leaderboards/{board}/top", KEY, route_board_write_remove, false)                                   \
    X(GET, "/api/leaderboards/{board}/{member}/around", NONE, route_board_around, false)                               \
    X(GET, "/api/leaderboards/{board}/{member...}", NONE, route_board_member, false)                                   \
    X(DELETE, "/api/leaderboards/{board}/{member...}", KEY, route_board_write_remove, false)                           \
    X(GET, "/api/writes", ADMIN, route_receipts_list, true)                                                            \
    X(GET, "/api/writes/{receipt}", NONE, route_receipts_get, true)                                                    \
    X(POST, "/api/writes/{receipt}/repeat", ADMIN, route_receipts_repeat, true)                                        \
    X(DELETE, "/api/writes/{receipt}", ADMIN, route_receipts_drop, true)

static const struct route built_in_routes[] = {
#define ROUTE(method_name, route_pattern, auth_name, first, blocks)                                                    \
    {.method = HTTP_##method_name,                                                                                     \
     .pattern = {route_pattern, sizeof(route_pattern) - 1},                                                            \
     .auth = CATALOG_AUTH_##auth_name,                                                                                 \
     .handle = (first),                                                                                                \
     .blocking = (blocks),                                                                                             \
     .row = METRICS_ROW_OWN},
    BUILT_IN_ROUTES(ROUTE)
#undef ROUTE
};

const struct route *app_built_in(size_t *count)
{
    *count = sizeof built_in_routes / sizeof *built_in_routes;
    return built_in_routes;
}

static void add_built_in(struct router *router)
{
    for (size_t i = 0; i < sizeof built_in_routes / sizeof *built_in_routes; i++) {
        const struct route *route = &built_in_routes[i];
        enum err err = router_add(router, route->method, route->pattern, route);

        assert(err == ERR_OK);
        (void)err;
    }
}

static enum err add_resource(struct app *app, const struct resource *resource, struct route *route,
                             struct report *report)
{
    *route = (struct route){.method = http_method_from(resource->method),
                            .pattern = resource->path,
                            .auth = resource->auth,
                            .handle = resource->reading ? route_resource_read : route_write_handle,
                            .resource = resource,
                            .row = metrics_row(resource->name)};
    enum err err = router_add(app->router, route->method, route->pattern, route);
    if (err != ERR_OK) {
        unsigned line, column;

        catalog_locate(resource, resource->method.p, &line, &column);
        report_add(report, resource->file.p, line, column, "the route %.*s %.*s %s", STR_ARG(resource->method),
                   STR_ARG(resource->path),
                   err == ERR_EXISTS ? "is one of larder's own; give the resource another path"
                                     : "is none that a request could match");
    }
    return err;
}

enum err app_new(const struct config *config, const struct catalog *catalog, const struct app_shared *shared,
                 struct report *report, struct app **out)
{
    struct app *app = sys_calloc(1, sizeof *app);
    enum err err = ERR_OK;

    *app = (struct app){.config = config, .catalog = catalog, .shared = shared, .router = router_new()};
    app->resource_routes = sys_calloc(catalog->count, sizeof *app->resource_routes);
    add_built_in(app->router);
    for (size_t i = 0; i < catalog->count; i++)
        if (!catalog->resources[i].is_second &&
            add_resource(app, &catalog->resources[i], &app->resource_routes[i], report) != ERR_OK)
            err = ERR_EXISTS;
    if (err == ERR_OK)
        *out = app;
    else
        app_free(&app);
    return err;
}

void app_free(struct app **app)
{
    if (!*app)
        return;
    router_free(&(*app)->router);
    free((*app)->resource_routes);
    openapi_free(&(*app)->openapi);
    free(*app);
    *app = NULL;
}

struct app_thread *app_thread_open(const struct app *app, const struct loop *loop)
{
    struct app_thread *thread = sys_calloc(1, sizeof *thread);
    const struct config *config = app->config;

    thread->app = app;
    thread->loop = loop;
    if (loop) {
        thread->memo = memo_new();
        thread->settle = settle_new(thread);
        thread->writes = writer_async_new(config, app->shared->writer, loop);
    }
    thread->cache = cache_open(config, app->shared->cache, loop);
    if (!loop) {
        thread->store = store_open(config->store.database, config->store.busy_timeout_ms);
        thread->scores = scores_open(config->store.database, config->store.busy_timeout_ms);
        thread->writer = writer_client_new(config, app->shared->writer);
    }
    return thread;
}

void app_thread_close(struct app_thread **thread)
{
    if (!*thread)
        return;
    cache_close(&(*thread)->cache);
    memo_free(&(*thread)->memo);
    writer_async_free(&(*thread)->writes);
    settle_free(&(*thread)->settle);
    store_close(&(*thread)->store);
    scores_close(&(*thread)->scores);
    writer_client_free(&(*thread)->writer);
    receipt_close(&(*thread)->receipts);
    free(*thread);
    *thread = NULL;
}

static void reply(struct http *http, int status, struct str content_type, struct str body)
{
    buf_clear(&http->headers);
    http->status = status;
    http->content_type = content_type;
    http->out = body;
    if (status != 204)
        http_cache_control(http, STR("no-store"));
}

struct str app_problem_body(struct arena *arena, int status, struct str detail, struct str request_id)
{
    struct buf body = {0};

    buf_printf(&body, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":", http_reason(status),
               status);
    buf_add_json(&body, detail);
    if (request_id.len > 0) {
        buf_add_str(&body, STR(",\"request_id\":"));
        buf_add_json(&body, request_id);
    }
    buf_add_char(&body, '}');
    return arena_take_buf(arena, &body);
}

void app_problem(struct http *http, int status, const char *detail_format, ...)
{
    char detail[2048];
    va_list arguments;

    va_start(arguments, detail_format);
    vsnprintf(detail, sizeof detail, detail_format, arguments);
    va_end(arguments);
    struct str body = app_problem_body(http->arena, status, str_from(detail), trace_request_id(http));
    /* The request's memory may be what ran out. */
    if (body.len == 0)
        body = STR("{\"type\":\"about:blank\",\"detail\":\"The request needs more memory than one may have.\"}");
    reply(http, status, STR("application/problem+json"), body);
}

struct str app_problem_detail(const struct http *http)
{
    struct buf why = {0};
    struct body body;
    const struct body_member *detail =
        body_parse(http->out, http->arena, &body, &why) == ERR_OK ? body_find(&body, STR("detail")) : NULL;

    buf_free(&why);
    return detail ? detail->text : str_from(http_reason(http->status));
}

bool app_bind_query(struct exchange *exchange, const struct params_spec *specs, size_t count,
                    struct params_values *values)
{
    struct http *http = exchange->http;
    struct params_raw raw[PARAMS_MAX];
    struct buf why = {0};
    size_t raw_count;
    enum err err = params_split_query(http->query, http->arena, raw, &raw_count, &why);

    if (err == ERR_OK)
        err = params_bind(specs, count, raw, raw_count, http->arena, values, &why);
    if (err != ERR_OK)
        app_problem(http, 400, "%.*s", STR_ARG(buf_str(&why)));
    buf_free(&why);
    return err == ERR_OK;
}

void app_unavailable(struct http *http, unsigned retry_after_s, const char *detail)
{
    char seconds[16];

    app_problem(http, 503, "%s", detail);
    snprintf(seconds, sizeof seconds, "%u", retry_after_s);
    http_header(http, "Retry-After", str_from(seconds));
}

void app_not_matched(struct http *http)
{
    app_problem(http, 412,
                "What is here now is not what If-Match names. Leave the field out to read it, whatever it is. Its ETag "
                "also depends on Accept-Encoding.");
}

void app_json(struct http *http, int status, struct str body)
{
    if (arena_overflowed(http->arena)) {
        app_unavailable(http, 1, "The answer is too large to be given at once.");
        return;
    }
    reply(http, status, body.len > 0 ? STR("application/json") : STR(""), body);
}

void app_note(struct exchange *exchange, const char *event, struct str why)
{
    exchange->event = event;
    exchange->why = arena_copy(exchange->http->arena, why);
}

/* How the cache answered, by the header that says so; empty where it had no part in it. */
static struct str outcome_of(const struct http *http)
{
    static const char name[] = "X-Cache: ";
    struct str headers = buf_str(&http->headers), none = {NULL, 0};
    const char *at = headers.len > 0 ? memmem(headers.p, headers.len, name, sizeof name - 1) : NULL;

    if (!at)
        return none;
    at += sizeof name - 1;
    return (struct str){at, strcspn(at, "\r")};
}

static void write_line(const struct exchange *exchange, enum log_level level, const char *event, int64_t took_us)
{
    struct http *http = exchange->http;
    const struct route *route = exchange->route;
    const struct resource *resource = route ? route->resource : NULL;
    const struct log_field optional[] = {LOG_STR("resource", resource ? resource->name : STR("")),
                                         LOG_STR("route", route && !resource ? route->pattern : STR("")),
                                         LOG_STR("why", exchange->why),
                                         LOG_STR("cache", outcome_of(http)),
                                         LOG_STR("request_id", trace_request_id(http)),
                                         LOG_STR("traceparent", trace_parent(http->in.traceparent))};
    struct log_field fields[4 + sizeof optional / sizeof *optional + 1] = {
        LOG_TEXT("method", http_method_name(http->method)), LOG_STR("path", http->path),
        LOG_INT("status", http->status), LOG_INT("us", took_us)};
    size_t count = 4;

    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++)
        if (optional[i].text.len > 0)
            fields[count++] = optional[i];
    fields[count].name = NULL;
    log_write(level, event, fields);
}

static void tell_slow(struct exchange *exchange, int64_t now_us)
{
    struct http *http = exchange->http;
    const struct route *route = exchange->route;
    const struct resource *resource = route ? route->resource : NULL;

    slow_enter(&exchange->clock, SLOW_WORK, now_us);
    slow_tell(&(struct slow_case){.event = "request_slow",
                                  .thread = exchange->thread,
                                  .resource = resource,
                                  .values = exchange->values,
                                  .clock = &exchange->clock,
                                  .arena = http->arena,
                                  .method = str_from(http_method_name(http->method)),
                                  .path = http->path,
                                  .route = route && !resource ? route->pattern : STR(""),
                                  .request_id = trace_request_id(http),
                                  .traceparent = trace_parent(http->in.traceparent),
                                  .status = http->status});
}

static void count(const struct exchange *exchange, int64_t took_us)
{
    const int status = exchange->http->status;
    enum metrics_outcome outcome = exchange->outcome;

    if (status >= 500)
        outcome = METRICS_OUTCOME_failed;
    else if (status >= 400 && outcome == METRICS_OUTCOME_other)
        outcome = METRICS_OUTCOME_refused;
    metrics_answered(exchange->route ? exchange->route->row : METRICS_ROW_OWN, outcome, exchange->tier, took_us);
}

/* The request is answered: it is counted, and the log told where there is something to say. */
static void finish(struct exchange *exchange)
{
    struct http *http = exchange->http;
    int64_t now_us = sys_monotonic_us();
    int64_t took_us = now_us - http->started_us;
    int64_t slow_ms = exchange->thread->app->config->log.slow_ms;
    const char *event = exchange->event;

    count(exchange, took_us);
    if (http->status >= 400)
        http_header(http, "X-Request-Id", trace_request_id(http));
    if (!event && http->status >= 500)
        event = "request_failed";
    if (event)
        write_line(exchange, http->status >= 500 ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, event, took_us);
    if (took_us >= slow_ms * 1000 && slow_ms > 0) {
        metrics_add(METRIC_slow_requests, 1);
        tell_slow(exchange, now_us);
    }
    if (log_enabled(LOG_LEVEL_DEBUG))
        write_line(exchange, LOG_LEVEL_DEBUG, "request", took_us);
}

void app_refuse(struct http *http, int status, const char *detail)
{
    struct exchange nobody = {.http = http}, *exchange = http->app ? http->app : &nobody;

    if (exchange->abandon && exchange->abandon(exchange)) {
        finish(exchange);
        return;
    }
    if (status == 503)
        app_unavailable(http, 1, detail);
    else
        app_problem(http, status, "%s", detail);
    http_header(http, "X-Request-Id", trace_request_id(http));
    exchange->why = str_from(detail);
    write_line(exchange, status >= 500 ? LOG_LEVEL_WARNING : LOG_LEVEL_NOTICE, "request_refused",
               sys_monotonic_us() - http->started_us);
}

enum http_step app_hand_over(struct exchange *exchange, enum http_step (*step)(struct exchange *exchange))
{
    exchange->step = step;
    return HTTP_HAND_OVER;
}

void app_advance(struct exchange *exchange, enum http_step step)
{
    bool reads = exchange->http->method == HTTP_GET || exchange->http->method == HTTP_HEAD;

    /* Up to here it has waited, since it began or nearly so. */
    if (exchange->clock.phase == SLOW_WORK)
        exchange->clock.phase = reads ? SLOW_L2 : SLOW_WRITE;
    slow_enter(&exchange->clock, step == HTTP_HAND_OVER ? SLOW_QUEUE : SLOW_WORK, sys_monotonic_us());
    if (step == HTTP_DONE)
        finish(exchange);
    exchange->http->advance(exchange->http, step);
}

/* What the router alone can answer. */
static enum http_step answer_unmatched(struct exchange *exchange, enum router_result result)
{
    struct http *http = exchange->http;
    struct str allow = exchange->match.allow;

    switch (result) {
    case ROUTER_OPTIONS:
        reply(http, 204, STR(""), STR(""));
        http_header(http, "Allow", allow);
        break;
    case ROUTER_METHOD:
        app_problem(http, 405, "This path does not take that method. It takes %.*s.", STR_ARG(allow));
        http_header(http, "Allow", allow);
        break;
    case ROUTER_MALFORMED:
        app_problem(http, 400,
                    "The path is malformed: it has a broken percent escape, a control character, or bytes that are not "
                    "UTF-8.");
        break;
    case ROUTER_NOT_FOUND:
    case ROUTER_FOUND:
        app_problem(http, 404, "Nothing is at this path.");
        break;
    }
    return HTTP_DONE;
}

enum router_result app_match(struct exchange *exchange)
{
    const struct http *http = exchange->http;

    return router_find(exchange->thread->app->router, http->method, http->path, http->arena, &exchange->match);
}

/* Whether the request's URL is one whose meaning is known. */
static bool recall(struct exchange *exchange)
{
    const struct http *http = exchange->http;
    const struct memo *memo = exchange->thread->memo;

    if (!memo || (http->method != HTTP_GET && http->method != HTTP_HEAD))
        return false;
    exchange->meaning = memo_find(memo, http->path, http->query);
    return exchange->meaning != NULL;
}

static enum http_step begin(struct exchange *exchange)
{
    struct http *http = exchange->http;
    const struct app *app = exchange->thread->app;

    if (recall(exchange)) {
        exchange->route = exchange->meaning->route;
    } else {
        enum router_result result = app_match(exchange);

        if (result != ROUTER_FOUND)
            return answer_unmatched(exchange, result);
        exchange->route = exchange->match.target;
    }
    bool purge = http->method == HTTP_PURGE;
    if (!guard_admits(app->config, purge ? CATALOG_AUTH_ADMIN : exchange->route->auth, http))
        return HTTP_DONE;
    if (purge)
        return app_hand_over(exchange, route_resource_purge);
    return exchange->route->blocking ? app_hand_over(exchange, exchange->route->handle)
                                     : exchange->route->handle(exchange);
}

/* NULL, with HTTP answered, when there is no memory for it. */
static struct exchange *make_exchange(struct app_thread *thread, struct http *http)
{
    struct exchange *exchange = arena_calloc(http->arena, 1, sizeof *exchange);

    if (!exchange) {
        app_unavailable(http, 1, "The request needs more memory than one may have.");
        return NULL;
    }
    exchange->thread = thread;
    exchange->http = http;
    exchange->clock.since_us = http->started_us;
    http->app = exchange;
    return exchange;
}

enum http_step app_handle(struct app_thread *thread, struct http *http)
{
    struct exchange *exchange = make_exchange(thread, http);

    if (!exchange)
        return HTTP_DONE;
    enum http_step step = begin(exchange);
    if (step == HTTP_DONE)
        finish(exchange);
    else if (step == HTTP_HAND_OVER)
        slow_enter(&exchange->clock, SLOW_QUEUE, sys_monotonic_us());
    /* What waits may have gone on and been answered already. */
    return step;
}

void app_run(struct app_thread *thread, struct http *http)
{
    struct exchange *exchange = http->app;
    enum http_step step = HTTP_HAND_OVER;

    if (exchange) {
        exchange->thread = thread;
        slow_enter(&exchange->clock, SLOW_WORK, sys_monotonic_us());
    } else {
        exchange = make_exchange(thread, http);
        if (!exchange)
            return;
        exchange->clock.phase = SLOW_QUEUE;
        slow_enter(&exchange->clock, SLOW_WORK, sys_monotonic_us());
        step = begin(exchange);
    }
    if (exchange->route && exchange->route->resource)
        scoreboard_resource(thread->board, exchange->route->resource->name);
    while (step == HTTP_HAND_OVER)
        step = exchange->step(exchange);
    assert(step == HTTP_DONE);
    finish(exchange);
}
