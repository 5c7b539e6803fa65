/*
 * /healthz says that this process answers, and touches nothing else. /readyz says whether requests can be served: the database must be readable; a
 * missing writer or shared cache makes some of them slower or refused, and is told, but is no reason to take this host out.
 */
#include "api/route_meta.h"

#include <unistd.h>

#include "base/metrics.h"

static enum http_step healthz(struct exchange *exchange)
{
    app_json(exchange->http, 200, STR("{\"status\":\"ok\"}"));
    return HTTP_DONE;
}

static const char *writer_state(const struct app_shared *shared)
{
    switch ((enum writer_state)atomic_load(&shared->writer->state)) {
    case WRITER_STARTING:
        return "starting";
    case WRITER_READY:
        return "ready";
    case WRITER_LOCKED_OUT:
        return "locked out: another larder writes to this database";
    case WRITER_FAILED:
        return "failed";
    }
    return "unknown";
}

static enum http_step check_ready(struct exchange *exchange)
{
    struct http *http = exchange->http;
    const struct app_thread *thread = exchange->thread;
    struct buf why = {0}, body = {0};
    bool readable = store_ping(thread->store, &why) == ERR_OK;
    bool cached = l2_ping(cache_l2(thread->cache)) == ERR_OK;
    buf_printf(&body, "{\"status\":\"%s\",\"database\":", readable ? "ready" : "not ready");
    buf_add_json(&body, readable ? STR("readable") : buf_str(&why));
    buf_printf(&body, ",\"writer\":\"%s\",\"l2\":\"%s\"}", writer_state(thread->app->shared), cached ? "answers" : "away");
    buf_free(&why);
    if (!readable)
        http_header(http, "Retry-After", STR("1"));
    app_json(http, readable ? 200 : 503, arena_take_buf(http->arena, &body));
    return HTTP_DONE;
}

static enum http_step readyz(struct exchange *exchange)
{
    return app_hand_over(exchange, check_ready);
}

static enum http_step stats(struct exchange *exchange)
{
    struct http *http = exchange->http;
    const struct app *app = exchange->thread->app;
    const struct writer_shared *writer = app->shared->writer;
    struct buf body = {0};
    buf_printf(&body, "{\"version\":\"%s\",\"pid\":%d,\"uptime_ms\":%lld,\"resources\":%zu,\"workers\":%lld", PACKAGE_VERSION,
               (int)getpid(), (long long)(http->now_ms - app->shared->started_ms), app->catalog->count,
               (long long)app->config->server.workers);
    buf_printf(&body, ",\"writer\":{\"state\":\"%s\",\"committed\":%llu,\"commits\":%llu},\"counters\":{", writer_state(app->shared),
               (unsigned long long)atomic_load(&writer->committed), (unsigned long long)atomic_load(&writer->commits));
    for (enum metric metric = 0; metric < METRIC_COUNT; metric++)
        buf_printf(&body, "%s\"%s\":%llu", metric > 0 ? "," : "", metrics_name(metric), (unsigned long long)metrics_sum(metric));
    buf_add_str(&body, STR("}}"));
    app_json(http, 200, arena_take_buf(http->arena, &body));
    return HTTP_DONE;
}

const struct route route_meta_table[] = {
    {HTTP_GET, {"/healthz", 8}, CATALOG_AUTH_NONE, healthz, NULL},
    {HTTP_GET, {"/readyz", 7}, CATALOG_AUTH_NONE, readyz, NULL},
    {HTTP_GET, {"/stats", 6}, CATALOG_AUTH_NONE, stats, NULL},
    {.handle = NULL},
};
