/*
 * route_write: POST, PUT, PATCH and DELETE of a resource.
 *
 * Parameters come from the path, the query and the members of a JSON body, each from one of them. What is wrong with
 * path or query is 400, what is wrong with a member 422, and either way the database has not been asked. The writer
 * answers after the synced commit, and what the resource's `purge` names leaves the cache before the client hears of it
 * (writing). A write behind is answered when the journal holds it; that it is pending is known on this host by then,
 * and readers wait for it (route_resource).
 *
 * Invariant: a success is told only of what is durable, and a failure never claims that nothing was written unless the
 * writer said so. The purges are committed with the data: one that L2 could not be told of does not undo the write, and
 * is carried out before L2 is read again.
 */
#include "api/route_write.h"

#include "api/body.h"
#include "api/route_receipts.h"
#include "api/route_resource.h"
#include "api/terms.h"
#include "api/writing.h"
#include "base/metrics.h"
#include "cache/purge.h"

/* What a request gives, before it is checked as a whole. */
struct given {
    struct params_raw raw[PARAMS_MAX + ROUTER_SEGMENTS_MAX + BODY_MEMBERS_MAX];
    size_t count;
    size_t outside;         /* of these, from path and query; they come first */
    bool nulls[PARAMS_MAX]; /* by specs: the body says null */
    bool has_body;
};

static const struct params_raw *find_raw(const struct params_raw *raw, size_t count, struct str name)
{
    for (size_t i = 0; i < count; i++)
        if (str_equal(raw[i].name, name))
            return &raw[i];
    return NULL;
}

/* Answers with STATUS and WHY, which is freed. */
static bool refuse(struct http *http, int status, const char *subject, struct buf *why)
{
    app_problem(http, status, "%s%.*s.", subject, STR_ARG(buf_str(why)));
    buf_free(why);
    return false;
}

static bool read_body(struct exchange *exchange, struct given *given)
{
    const struct resource *resource = exchange->route->resource;
    struct http *http = exchange->http;
    struct body body;
    struct buf why = {0};
    size_t members = 0;

    given->has_body = http->body.len > 0;
    if (!given->has_body)
        return true;
    if (!body_is_json_type(http->in.content_type)) {
        app_problem(http, 415, "The body must be JSON. Send it with `Content-Type: application/json`.");
        return false;
    }
    if (body_parse(http->body, http->arena, &body, &why) != ERR_OK)
        return refuse(http, 400, "The body ", &why);
    if (body_bind(&body, resource->params, resource->params_count, http->arena, given->raw + given->count, &members,
                  given->nulls, &why) != ERR_OK)
        return refuse(http, 422, "In the body: ", &why);
    given->count += members;
    return true;
}

/* A name that stands both outside and in the body is for params_bind to find, unless the body says null. */
static bool check_given(struct exchange *exchange, const struct given *given)
{
    const struct resource *resource = exchange->route->resource;
    struct http *http = exchange->http;

    for (size_t i = 0; i < resource->params_count; i++) {
        const struct params_spec *spec = &resource->params[i];

        if (given->nulls[i] && find_raw(given->raw, given->outside, spec->name)) {
            app_problem(http, 400, "parameter `%.*s` is given more than once; give it once", STR_ARG(spec->name));
            return false;
        }
        if (spec->optional || spec->has_default || find_raw(given->raw, given->count, spec->name))
            continue;
        app_problem(http, given->has_body ? 422 : 400,
                    "parameter `%.*s` is missing; give it as a member of a JSON object in the body",
                    STR_ARG(spec->name));
        return false;
    }
    return true;
}

static bool bind_values(struct exchange *exchange, struct params_values *values)
{
    const struct resource *resource = exchange->route->resource;
    struct given given = {.count = 0};
    struct buf why = {0};

    if (!route_resource_collect(exchange, given.raw, &given.count))
        return false;
    given.outside = given.count;
    if (!read_body(exchange, &given) || !check_given(exchange, &given))
        return false;
    if (params_bind(resource->params, resource->params_count, given.raw, given.count, exchange->http->arena, values,
                    &why) != ERR_OK)
        return refuse(exchange->http, 400, "", &why);
    for (size_t i = 0; i < values->count; i++)
        if (given.nulls[i])
            values->items[i] =
                (struct params_value){.name = values->items[i].name, .type = values->items[i].type, .is_null = true};
    return true;
}

/* What the resource's `purge` names with VALUES; without memory it cannot be told which entries are meant, so it is all
 * of them. */
static const struct str *make_purges(struct exchange *exchange, const struct params_values *values, size_t *count)
{
    const struct resource *resource = exchange->route->resource;
    struct arena *arena = exchange->http->arena;
    struct str *items = arena_calloc(arena, resource->purge_count, sizeof *items);

    *count = resource->purge_count;
    for (size_t i = 0; i < resource->purge_count && items; i++)
        items[i] = params_expand(resource->purge[i], values, arena);
    if (*count == 0 || !arena_overflowed(arena))
        return items;
    *count = 1;
    return &purge_everything;
}

static void answer_written(struct exchange *exchange, const struct store_answer *row)
{
    struct http *http = exchange->http;

    metrics_add(METRIC_writes, 1);
    if (row->found)
        app_json(http, http->method == HTTP_POST ? 201 : 200, row->json);
    else if (row->changes == 0)
        app_problem(http, 404, "There is no such row, so nothing was changed.");
    else
        app_json(http, 204, STR(""));
}

static void answer_accepted(struct exchange *exchange, struct str json)
{
    metrics_add(METRIC_writes, 1);
    route_receipts_accepted(exchange, json);
}

void route_write_fail(struct exchange *exchange, enum err err, struct str why)
{
    struct http *http = exchange->http;

    metrics_add(METRIC_write_failures, 1);
    switch (err) {
    case ERR_CHANGED:
    case ERR_EXISTS:
        terms_refused(exchange, err);
        return;
    case ERR_CONSTRAINT:
        /* SQLite's message names the constraint, which is the caller's to heed; it holds no values. */
        app_problem(http, 409, "The database refuses this: %.*s. Nothing was written.", STR_ARG(why));
        return;
    case ERR_FULL:
        app_problem(http, 507, "The server has no space left for data. Nothing was written.");
        break;
    case ERR_BUSY:
        app_unavailable(http, 1, "The database is busy with other writes. Nothing was written; try again shortly.");
        break;
    case ERR_OVERDUE:
        app_unavailable(http, 2,
                        "This takes the database longer than it may. It was taken back, and nothing was written.");
        break;
    case ERR_READ_ONLY:
        app_unavailable(http, 30, "The database takes no writes at the moment. Nothing was written.");
        break;
    case ERR_TIMEOUT:
    case ERR_IO:
        app_unavailable(http, 2,
                        "The write was begun, and whether it was carried out is not known. Read what is there before "
                        "you try again.");
        break;
    default:
        app_unavailable(http, 2, "Writing is not possible at the moment. Nothing was written; try again shortly.");
        break;
    }
    app_note(exchange, "write_failed", why.len > 0 ? why : str_from(err_text(err)));
}

static void answer(struct writing *writing)
{
    struct exchange *exchange = writing->exchange;

    if (writing->err != ERR_OK)
        route_write_fail(exchange, writing->err, writing->why);
    else if (writing->ask.behind)
        answer_accepted(exchange, writing->told.row.json);
    else
        answer_written(exchange, &writing->told.row);
    terms_tell(exchange, &writing->told);
}

enum http_step route_write_handle(struct exchange *exchange)
{
    const struct resource *resource = exchange->route->resource;
    const struct store_caller caller = route_resource_caller(exchange->http);
    struct params_values values;
    struct http *http = exchange->http;
    struct writing *writing = writing_new(exchange, 0);

    if (!writing)
        return HTTP_DONE;
    struct writer_client_ask *ask = &writing->ask;
    *ask = (struct writer_client_ask){.sql = resource->sql,
                                      .shape = resource->shape,
                                      .run_ms = resource->timeout_ms,
                                      .values = &values,
                                      .caller = &caller,
                                      .behind = resource->write == CATALOG_WRITE_BEHIND};
    if (!bind_values(exchange, &values) || !terms_read(exchange, ask))
        return HTTP_DONE;
    if (ask->behind)
        ask->label = arena_printf(http->arena, "%s %.*s", http_method_name(http->method), STR_ARG(http->path));
    ask->purges = make_purges(exchange, &values, &ask->purges_count);
    writing->answer = answer;
    return writing_begin(writing);
}
