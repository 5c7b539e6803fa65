/*
 * route_meta: /healthz, /readyz and /stats.
 *
 * Invariant: health is about this process alone and asks nobody, so an orchestrator never kills a well larder for a
 * sick database. Readiness is about serving reads: the database must be readable and its schema in place. A cache that
 * is away makes answers slower, a writer that is away makes them read-only; both are told, and neither is unready.
 */
#include "api/route_meta.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <unistd.h>

#include "api/route_metrics.h"
#include "base/sys.h"
#include "store/writer.h"

enum http_step route_meta_health(struct exchange *exchange)
{
    app_json(exchange->http, 200, STR("{\"status\":\"ok\"}"));
    return HTTP_DONE;
}

static int writer_state(const struct app *app)
{
    return atomic_load(&app->shared->writer->state);
}

static const char *writer_word(int state)
{
    switch (state) {
    case WRITER_READY:
        return "ready";
    case WRITER_LOCKED_OUT:
        return "locked out: another larder writes to this database";
    case WRITER_FAILED:
        return "failed";
    default:
        return "starting";
    }
}

/* Why resources cannot be served; NULL when they can. WHY for the log. */
static const char *find_obstacle(struct exchange *exchange, int state, struct buf *why)
{
    enum err err = store_ping(exchange->thread->store, why);

    if (err != ERR_OK) {
        if (why->len == 0)
            buf_add_str(why, str_from(err_text(err)));
        return "The database cannot be read.";
    }
    return state == WRITER_STARTING ? "The writer is still bringing the database up to date." : NULL;
}

enum http_step route_meta_ready(struct exchange *exchange)
{
    struct http *http = exchange->http;
    int state = writer_state(exchange->thread->app);
    struct buf why = {0}, body = {0};
    const char *obstacle = find_obstacle(exchange, state, &why);

    if (obstacle) {
        app_unavailable(http, 1, obstacle);
        app_note(exchange, "not_ready", buf_str(&why));
    } else {
        bool reached = l2_ping(cache_l2(exchange->thread->cache)) == ERR_OK;

        buf_printf(&body, "{\"status\":\"ready\",\"database\":\"ok\",\"writer\":\"%s\",\"cache\":\"%s\"}",
                   writer_word(state), reached ? "ok" : "away");
        app_json(http, 200, arena_take_buf(http->arena, &body));
    }
    buf_free(&why);
    return HTTP_DONE;
}

static void add_counters(struct buf *out)
{
    for (enum metric metric = 0; metric < METRIC_COUNT; metric++)
        buf_printf(out, "%s\"%s\":%" PRIu64, metric == 0 ? "" : ",", metrics_name(metric), metrics_sum(metric));
}

static void add_writer(const struct writer_shared *writer, int state, struct buf *out)
{
    buf_printf(out, ",\"writer\":{\"state\":\"%s\",\"committed\":%" PRIu64 ",\"commits\":%" PRIu64 "}",
               writer_word(state), atomic_load(&writer->committed), atomic_load(&writer->commits));
}

enum http_step route_meta_stats(struct exchange *exchange)
{
    const struct app *app = exchange->thread->app;
    struct http *http = exchange->http;
    int64_t uptime_ms = http->now_ms - app->shared->started_ms;
    struct buf body = {0};

    buf_printf(&body, "{\"version\":\"%s\",\"pid\":%d,\"uptime_s\":%" PRId64 ",\"resources\":%zu,\"counters\":{",
               PACKAGE_VERSION, (int)getpid(), uptime_ms / 1000, app->catalog->count);
    add_counters(&body);
    route_metrics_add_outcomes(&body);
    buf_add_char(&body, '}');
    route_metrics_add_distributions(&body);
    add_writer(app->shared->writer, writer_state(app), &body);
    buf_add_char(&body, '}');
    app_json(http, 200, arena_take_buf(http->arena, &body));
    return HTTP_DONE;
}
