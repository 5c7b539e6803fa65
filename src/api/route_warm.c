/*
 * route_warm: the cache filled before anybody asks.
 *
 * Each URL is asked for by a request inside the one at hand (or inside nobody's, at start), through the whole pipeline:
 * match, guard, cache, statement, fill. So what is warmed is exactly what a GET would find, under the same key, and a
 * caller warms nothing that may not be read with the same token. A row of a `warm:` line is turned into the URL that
 * has its values, so that there is one way for both.
 *
 * Invariant: `warmed` counts what was computed and is kept now, `present` what was there already; all else has failed
 * and is told with its reason, or was left undone for lack of time and is counted as `rest` (a `warm:` line
 * not begun as one). The order is that of the list, so whoever asks again for the last `rest` URLs goes on where this
 * one stopped.
 *
 * It refuses to ask for anything but cached resources: a list of URLs shall do nothing but fill the cache.
 */
#include "api/route_warm.h"

#include <inttypes.h>
#include <time.h>
#include <unistd.h>

#include "api/body.h"
#include "base/sys.h"

enum {
    URLS_MAX = 1000,
    FAILURES_MAX = 20, /* told one by one */
    INSIDE_BYTES = 16 << 10,
    INSIDE_BYTES_MAX = 64 << 20,
    RESERVE_MS = 1000, /* for the answer, of the time that the request has */
    NICE = 10,
    TRUST_WAIT_MS = 60000,
    TRUST_LOOK_MS = 50,
    PAUSE_MAX_US = 100 * 1000,
};

/* A warming under way. */
struct warming {
    struct app_thread *thread;
    struct http http;                  /* the request inside */
    struct http_variables in;          /* how each of them begins: what is said of the caller, and lives as long */
    int64_t until_ms;                  /* monotonic: no URL is begun that might not be done by then; 0: there is time */
    const volatile sig_atomic_t *stop; /* of a process of its own, which also pauses; else NULL */
    size_t computed, warmed, present, failed, rest;
    struct buf failures; /* JSON */
};

static void init(struct warming *warming, struct app_thread *thread)
{
    *warming = (struct warming){.thread = thread};
    warming->http.arena = arena_new(INSIDE_BYTES, INSIDE_BYTES_MAX);
    warming->in.request_method = STR("GET");
    /* As it is kept: an entry need not be unpacked for nobody. */
    warming->in.accept_encoding = STR("gzip");
}

static void fini(struct warming *warming)
{
    arena_free(&warming->http.arena);
    buf_free(&warming->http.headers);
    buf_free(&warming->failures);
}

static bool stopped(const struct warming *warming)
{
    return warming->stop && *warming->stop;
}

/* Whether RESOURCE can still be asked for. Of what has to be computed the first always: whoever asks again shall get
 * on. */
static bool has_time(const struct warming *warming, const struct resource *resource)
{
    int64_t needed_ms = resource->timeout_ms + warming->thread->app->config->cache.lease_wait_ms;

    if (stopped(warming))
        return false;
    return warming->until_ms == 0 || sys_monotonic_ms() + (warming->computed > 0 ? needed_ms : 0) < warming->until_ms;
}

static void fail(struct warming *warming, struct str url, int status, struct str detail)
{
    struct buf *out = &warming->failures;

    if (warming->failed++ >= FAILURES_MAX)
        return;
    buf_add_str(out, out->len > 0 ? STR(",{\"url\":") : STR("{\"url\":"));
    buf_add_json(out, url);
    buf_printf(out, ",\"status\":%d,\"detail\":", status);
    buf_add_json(out, detail);
    buf_add_char(out, '}');
}

/* The value of a response header; empty without. */
static struct str header(const struct http *http, struct str name)
{
    struct str rest = buf_str(&http->headers);

    while (rest.len > 0) {
        struct str line = str_cut(&rest, '\n'), value = str_cut(&line, '\r'), field = str_cut(&value, ':');

        if (str_equal(field, name))
            return str_trim(value);
    }
    return STR("");
}

static bool has(struct str text, struct str word)
{
    return text.len > 0 && memmem(text.p, text.len, word.p, word.len);
}

/* What became of URL, which has been asked for. */
static void count(struct warming *warming, struct str url)
{
    const struct http *http = &warming->http;
    struct str outcome = header(http, STR("X-Cache")), how = header(http, STR("Cache-Status"));

    if (str_equal(outcome, STR("HIT")) || str_equal(outcome, STR("STALE")) || str_equal(outcome, STR("NEGATIVE")))
        warming->present++;
    else if (has(how, STR("collapsed")))
        warming->present++;
    else if (has(how, STR("stored")))
        warming->warmed++;
    else if (http->status == 200)
        fail(warming, url, 200, STR("It was computed, but no cache took it; see /api/cache/status."));
    else
        fail(warming, url, http->status, app_problem_detail(http));
}

/* The cached resource that the request inside is for; NULL with the failure counted. */
static const struct resource *find(struct warming *warming, struct str url)
{
    struct http *http = &warming->http;
    struct router_match match;
    const char *why = "";

    arena_reset(http->arena);
    buf_clear(&http->headers);
    *http = (struct http){.in = warming->in, .arena = http->arena, .headers = http->headers};
    http->in.request_uri = url;
    if (http_finish_request(http, &why) != ERR_OK) {
        fail(warming, url, 400, str_from(why));
        return NULL;
    }
    if (router_find(warming->thread->app->router, HTTP_GET, http->path, http->arena, &match) != ROUTER_FOUND) {
        fail(warming, url, 404, STR("Nothing is at this path that could be read."));
        return NULL;
    }
    const struct route *route = match.target;
    if (!route->resource || route->resource->ttl_ms == 0) {
        fail(warming, url, 404, STR("What is at this path is not cached."));
        return NULL;
    }
    if (route->resource->uses_caller) {
        fail(warming, url, 404, STR("The answer depends on who asks, so it cannot be computed ahead."));
        return NULL;
    }
    return route->resource;
}

/* A process of its own takes half of the time of one core at most. */
static void pause_for(int64_t took_us)
{
    int64_t pause_us = took_us < PAUSE_MAX_US ? took_us : PAUSE_MAX_US;

    nanosleep(&(struct timespec){.tv_nsec = pause_us * 1000}, NULL);
}

/* False when there is no time for it. */
static bool warm_url(struct warming *warming, struct str url)
{
    struct http *http = &warming->http;
    const struct resource *resource = find(warming, url);

    if (!resource)
        return true;
    if (!has_time(warming, resource))
        return false;
    size_t present = warming->present;
    http->now_ms = sys_now_ms();
    http->started_us = sys_monotonic_us();
    app_run(warming->thread, http);
    count(warming, url);
    warming->computed += warming->present == present;
    if (warming->stop)
        pause_for(sys_monotonic_us() - http->started_us);
    return true;
}

static const struct params_raw *find_cell(const struct store_row *row, struct str name)
{
    for (size_t i = 0; i < row->count; i++)
        if (str_equal(row->cells[i].name, name))
            return &row->cells[i];
    return NULL;
}

static bool is_in_path(const struct resource *resource, struct str name)
{
    for (size_t i = 0; i < resource->params_count; i++)
        if (resource->params[i].in_path && str_equal(resource->params[i].name, name))
            return true;
    return false;
}

/* The URL that asks RESOURCE for the values of ROW. False with *NAME, when one that the path needs is missing. */
static bool build_url(const struct resource *resource, const struct store_row *row, struct buf *url, struct str *name)
{
    struct str rest = resource->path;
    char separator = '?';

    buf_clear(url);
    while (rest.len > 0) {
        buf_add_str(url, str_cut(&rest, '{'));
        if (!rest.p)
            break;
        *name = str_cut(&rest, '}');
        const struct params_raw *cell = find_cell(row, *name);
        if (!cell || cell->value.len == 0)
            return false;
        str_percent_encode(cell->value, url);
    }
    for (size_t i = 0; i < row->count; i++) {
        if (is_in_path(resource, row->cells[i].name))
            continue;
        buf_add_char(url, separator);
        str_percent_encode(row->cells[i].name, url);
        buf_add_char(url, '=');
        str_percent_encode(row->cells[i].value, url);
        separator = '&';
    }
    return true;
}

static void warm_rows(struct warming *warming, const struct resource *resource, const struct store_row *row)
{
    struct buf url = {0};
    struct str missing;

    for (; row; row = row->next) {
        if (!build_url(resource, row, &url, &missing))
            fail(warming, resource->path, 400, STR("A row of the `warm:` line gives no value for the path."));
        else if (!warm_url(warming, buf_str(&url)))
            break;
    }
    for (; row; row = row->next)
        warming->rest++;
    buf_free(&url);
}

/* Carries out the warm line of RESOURCE. ERR_LIMIT, ERR_STATEMENT and so on when its statement fails: WHY. */
static enum err warm_resource(struct warming *warming, const struct resource *resource, struct buf *why)
{
    struct arena *arena = arena_new(INSIDE_BYTES, INSIDE_BYTES_MAX);
    struct store_row *rows;
    enum err err = store_rows(warming->thread->store, resource->warm, sys_now_ms(), arena, &rows, why);

    if (err == ERR_OK)
        warm_rows(warming, resource, rows);
    arena_free(&arena);
    return err;
}

static enum http_step answer(struct exchange *exchange, const struct warming *warming)
{
    struct buf body = {0};

    buf_printf(&body, "{\"warmed\":%zu,\"present\":%zu,\"failed\":[", warming->warmed, warming->present);
    buf_add_str(&body, buf_str(&warming->failures));
    buf_printf(&body, "],\"failed_count\":%zu,\"rest\":%zu}", warming->failed, warming->rest);
    app_json(exchange->http, 200, arena_take_buf(exchange->http->arena, &body));
    return HTTP_DONE;
}

/* A warming on behalf of whoever asked for it. */
static void init_inside(struct warming *warming, struct exchange *exchange)
{
    const struct http *http = exchange->http;

    init(warming, exchange->thread);
    warming->in.authorization = http->in.authorization;
    warming->in.remote_addr = http->in.remote_addr;
    warming->in.mount = http->in.mount;
    warming->in.request_id = http->in.request_id;
    warming->in.traceparent = http->in.traceparent;
    int64_t limit_ms = exchange->thread->app->config->server.request_timeout_ms;
    warming->until_ms = http->started_us / 1000 + limit_ms - (limit_ms / 2 < RESERVE_MS ? limit_ms / 2 : RESERVE_MS);
}

static enum http_step warm_urls(struct exchange *exchange, const struct str *urls, size_t urls_count)
{
    struct warming warming;
    size_t i = 0;

    init_inside(&warming, exchange);
    while (i < urls_count && warm_url(&warming, urls[i]))
        i++;
    warming.rest = urls_count - i;
    enum http_step step = answer(exchange, &warming);
    fini(&warming);
    return step;
}

/* The warm lines of the COUNT RESOURCES. */
static enum http_step warm_resources(struct exchange *exchange, const struct resource *resources,
                                     size_t resources_count)
{
    struct warming warming;
    struct buf why = {0};

    init_inside(&warming, exchange);
    for (size_t i = 0; i < resources_count; i++) {
        if (!resources[i].warm)
            continue;
        if (!has_time(&warming, &resources[i])) {
            warming.rest++;
            continue;
        }
        if (warm_resource(&warming, &resources[i], &why) != ERR_OK) {
            fail(&warming, resources[i].path, 503, STR("The statement of the `warm:` line failed; the log says why."));
            app_note(exchange, "warm_failed", buf_str(&why));
        }
        buf_clear(&why);
    }
    enum http_step step = answer(exchange, &warming);
    fini(&warming);
    buf_free(&why);
    return step;
}

static enum http_step refuse(struct exchange *exchange, const char *detail)
{
    app_problem(exchange->http, 422, "%s", detail);
    return HTTP_DONE;
}

static enum http_step warm_named(struct exchange *exchange, const struct body_member *member)
{
    const struct catalog *catalog = exchange->thread->app->catalog;

    if (member->type != BODY_STRING)
        return refuse(exchange, "member `resource` must be the name of a resource");
    for (size_t i = 0; i < catalog->count; i++) {
        const struct resource *resource = &catalog->resources[i];

        if (!str_equal(resource->name, member->text))
            continue;
        return resource->warm
                   ? warm_resources(exchange, resource, 1)
                   : refuse(exchange, "This resource has no `warm:` line. Add one to its file, or name URLs.");
    }
    return refuse(exchange, "There is no resource of this name.");
}

static enum http_step warm_listed(struct exchange *exchange, const struct body_member *member)
{
    struct str *urls;
    size_t urls_count;

    if (body_strings(member, URLS_MAX, exchange->http->arena, &urls, &urls_count) == ERR_OK && urls_count > 0)
        return warm_urls(exchange, urls, urls_count);
    app_problem(exchange->http, 422,
                "member `urls` must be an array of 1 to %d strings, paths as a client asks for them", URLS_MAX);
    return HTTP_DONE;
}

enum http_step route_warm_handle(struct exchange *exchange)
{
    struct http *http = exchange->http;
    const struct catalog *catalog = exchange->thread->app->catalog;
    struct buf why = {0};
    struct body body = {.count = 0};

    if (http->body.len > 0 && !body_is_json_type(http->in.content_type)) {
        app_problem(http, 415, "The body must be JSON. Send it with `Content-Type: application/json`.");
        return HTTP_DONE;
    }
    if (http->body.len > 0 && body_parse(http->body, http->arena, &body, &why) != ERR_OK) {
        app_problem(http, 400, "The body %.*s.", STR_ARG(buf_str(&why)));
        buf_free(&why);
        return HTTP_DONE;
    }
    if (body.count == 0)
        return warm_resources(exchange, catalog->resources, catalog->count);
    if (body.count == 1 && str_equal(body.members[0].name, STR("urls")))
        return warm_listed(exchange, &body.members[0]);
    if (body.count == 1 && str_equal(body.members[0].name, STR("resource")))
        return warm_named(exchange, &body.members[0]);
    return refuse(exchange, "Say `urls` or `resource`, or nothing for everything that has a `warm:` line.");
}

/* Until what is filled would be kept. False when it is not to be expected. */
static bool await_trust(const struct app *app, const volatile sig_atomic_t *stop)
{
    const struct cache_shared *shared = app->shared->cache;
    int64_t until_ms = sys_monotonic_ms() + TRUST_WAIT_MS;
    uint64_t epoch;

    while (!*stop && sys_monotonic_ms() < until_ms) {
        if (purged_current(shared->purged, sys_monotonic_ms()) && !l2_distrusted(shared->l2, &epoch))
            return true;
        usleep(TRUST_LOOK_MS * 1000);
    }
    return false;
}

static void run_resource(struct app_thread *thread, const struct resource *resource, struct str authorization,
                         const volatile sig_atomic_t *stop)
{
    struct warming warming;
    struct buf why = {0};
    int64_t began_ms = sys_monotonic_ms();

    init(&warming, thread);
    warming.in.authorization = authorization;
    warming.stop = stop;
    if (warm_resource(&warming, resource, &why) != ERR_OK)
        log_event(LOG_LEVEL_WARNING, "warm_failed", LOG_STR("resource", resource->name), LOG_STR("why", buf_str(&why)));
    else
        log_event(LOG_LEVEL_NOTICE, "warmed", LOG_STR("resource", resource->name),
                  LOG_INT("warmed", (int64_t)warming.warmed), LOG_INT("present", (int64_t)warming.present),
                  LOG_INT("failed", (int64_t)warming.failed), LOG_INT("rest", (int64_t)warming.rest),
                  LOG_INT("ms", sys_monotonic_ms() - began_ms));
    buf_free(&why);
    fini(&warming);
}

static bool has_warm_lines(const struct catalog *catalog)
{
    for (size_t i = 0; i < catalog->count; i++)
        if (catalog->resources[i].warm)
            return true;
    return false;
}

int route_warm_run(const struct app *app, const volatile sig_atomic_t *stop)
{
    const struct catalog *catalog = app->catalog;
    struct buf authorization = {0};

    if (!has_warm_lines(catalog))
        return 0;
    (void)!nice(NICE);
    if (!await_trust(app, stop)) {
        if (!*stop)
            log_event(LOG_LEVEL_WARNING, "warm_skipped", LOG_TEXT("why", "the shared cache is not to be trusted yet"));
        return 0;
    }
    if (app->config->auth.admin_token[0] != '\0')
        buf_printf(&authorization, "Bearer %s", app->config->auth.admin_token);
    struct app_thread *thread = app_thread_open(app, NULL);
    for (size_t i = 0; i < catalog->count && !*stop; i++)
        if (catalog->resources[i].warm)
            run_resource(thread, &catalog->resources[i], buf_str(&authorization), stop);
    app_thread_close(&thread);
    buf_free(&authorization);
    return 0;
}
