/*
 * route_openapi: /openapi.json.
 *
 * Invariant: two answers with one ETag are the same bytes, on any host: the document depends on the files, the schema
 * of the database and the mount alone.
 */
#include "api/route_openapi.h"

#include "api/openapi.h"
#include "cache/entry.h"
#include "http/caching.h"
#include "store/check.h"

static struct openapi *make(const struct app *app)
{
    struct report *report = report_new();
    struct buf depends = {0}, answers = {0};

    /* A statement that is wrong is described as far as it is understood. */
    (void)!check_statements(app->config->store.database, app->config->store.sql, app->catalog, report, &depends,
                            &answers);
    struct openapi *made = openapi_new(app, buf_str(&answers));
    report_free(&report);
    buf_free(&depends);
    buf_free(&answers);
    return made;
}

enum http_step route_openapi_get(struct exchange *exchange)
{
    const struct app *app = exchange->thread->app;
    struct http *http = exchange->http;
    struct str mount = http->in.mount.len > 0 ? http->in.mount : str_from(app->config->server.mount);
    struct openapi *made = app->openapi ? NULL : make(app);
    struct str body = openapi_print(made ? made : app->openapi, mount, http->arena);
    struct str etag = entry_etag(body, http->arena);

    openapi_free(&made);
    app_json(http, 200, body);
    if (http->status != 200)
        return HTTP_DONE;
    buf_clear(&http->headers);
    http_cache_control(http, STR("no-cache"));
    if (!caching_conditional(http, etag))
        app_not_matched(http);
    return HTTP_DONE;
}
