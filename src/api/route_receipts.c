/*
 * route_receipts: the routes below /api/writes.
 *
 * A receipt is all that is needed to ask about its own write; only admins see others', repeat and drop. A repeated
 * write gets a receipt of its own, and the old one leads to it.
 *
 * Invariant: nothing is answered from memory. How it goes with a write is read from the database each time, where it
 * stands beside the data.
 */
#include "api/route_receipts.h"

#include <inttypes.h>
#include <time.h>

#include "store/receipt.h"

enum { PAGE = 100 };

static void add_time(struct buf *out, const char *name, int64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm utc;
    char text[32];

    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &utc));
    buf_printf(out, ",\"%s\":\"%s.%03dZ\"", name, text, (int)(ms % 1000));
}

static void add_text(struct buf *out, const char *name, struct str text)
{
    buf_printf(out, ",\"%s\":", name);
    buf_add_json(out, text);
}

static void add_status(struct buf *out, const struct receipt_status *status)
{
    buf_printf(out, "{\"receipt\":\"%.*s\",\"state\":\"%s\"", STR_ARG(status->receipt),
               receipt_state_name(status->state));
    if (status->state == RECEIPT_LOST)
        add_text(out, "reason", STR("the journal it stood in was removed or replaced before it was applied"));
    if (status->state >= RECEIPT_FAILED) {
        if (status->label.len > 0)
            add_text(out, "request", status->label);
        add_time(out, "accepted_at", status->accepted_ms);
        add_time(out, "failed_at", status->failed_ms);
        add_text(out, "error", status->error);
        add_text(out, "reason", status->why);
    }
    if (status->successor.len > 0)
        add_text(out, "successor", status->successor);
    buf_add_char(out, '}');
}

static struct receipts *receipts_of(struct exchange *exchange)
{
    struct app_thread *thread = exchange->thread;

    if (!thread->receipts)
        thread->receipts = receipt_open(thread->app->config->store.database);
    return thread->receipts;
}

/* The database does not say. Frees WHY. */
static enum http_step answer_unknown(struct exchange *exchange, struct buf *why)
{
    app_unavailable(exchange->http, 2, "The database cannot be asked at the moment. Try again shortly.");
    app_note(exchange, "receipts_unreadable", buf_str(why));
    buf_free(why);
    return HTTP_DONE;
}

/* The receipt in the path. False when HTTP has been answered. */
static bool find(struct exchange *exchange, struct receipt_status *status)
{
    struct buf why = {0};
    enum err err =
        receipt_find(receipts_of(exchange), exchange->match.values[0].value, exchange->http->arena, status, &why);

    if (err == ERR_UNAVAILABLE) {
        (void)answer_unknown(exchange, &why);
        return false;
    }
    buf_free(&why);
    if (err != ERR_OK)
        app_problem(exchange->http, 404,
                    "No write was given this receipt. Copy it whole from the answer to the write.");
    return err == ERR_OK;
}

enum http_step route_receipts_get(struct exchange *exchange)
{
    struct receipt_status status;
    struct buf body = {0};

    if (!find(exchange, &status))
        return HTTP_DONE;
    add_status(&body, &status);
    app_json(exchange->http, 200, arena_take_buf(exchange->http->arena, &body));
    return HTTP_DONE;
}

/* The receipt that a page is to begin behind. False when HTTP has been answered. */
static bool read_after(struct exchange *exchange, uint64_t *after)
{
    struct http *http = exchange->http;
    struct params_raw raw[PARAMS_MAX];
    struct buf why = {0};
    size_t count = 0;
    enum err err = params_split_query(http->query, http->arena, raw, &count, &why);

    *after = 0;
    buf_free(&why);
    for (size_t i = 0; err == ERR_OK && i < count; i++) {
        if (!str_equal(raw[i].name, STR("after")) || *after > 0)
            err = ERR_SYNTAX;
        else if ((*after = receipt_number(raw[i].value)) == 0)
            err = ERR_SYNTAX;
    }
    if (err != ERR_OK)
        app_problem(http, 400, "The one parameter is `after`, the `next` of the page before.");
    return err == ERR_OK;
}

enum http_step route_receipts_list(struct exchange *exchange)
{
    const struct writer_shared *writer = exchange->thread->app->shared->writer;
    struct http *http = exchange->http;
    struct receipt_status *rows;
    struct buf body = {0}, why = {0};
    uint64_t after;
    size_t count;

    if (!read_after(exchange, &after))
        return HTTP_DONE;
    enum err err = receipt_failed(receipts_of(exchange), after, PAGE + 1, http->arena, &rows, &count, &why);
    if (err != ERR_OK)
        return answer_unknown(exchange, &why);
    const size_t shown = count > PAGE ? PAGE : count;
    buf_printf(&body, "{\"waiting\":%" PRIu64 ",\"stalled\":%s,\"failed\":[", writer_pending_depth(&writer->pending),
               atomic_load(&writer->pending.stalled) ? "true" : "false");
    for (size_t i = 0; i < shown; i++) {
        if (i > 0)
            buf_add_char(&body, ',');
        add_status(&body, &rows[i]);
    }
    buf_add_str(&body, STR("],\"next\":"));
    if (count > PAGE)
        buf_add_json(&body, rows[PAGE - 1].receipt);
    else
        buf_add_str(&body, STR("null"));
    buf_add_char(&body, '}');
    app_json(http, 200, arena_take_buf(http->arena, &body));
    return HTTP_DONE;
}

void route_receipts_accepted(struct exchange *exchange, struct str json)
{
    struct http *http = exchange->http;
    struct str receipt = json, mount = http->in.mount;

    (void)str_cut(&receipt, ':');
    (void)str_cut(&receipt, '"');
    receipt = str_cut(&receipt, '"');
    while (mount.len > 0 && mount.p[mount.len - 1] == '/')
        mount.len--;
    app_json(http, 202, json);
    http_header(http, "Location", arena_printf(http->arena, "%.*s/api/writes/%.*s", STR_ARG(mount), STR_ARG(receipt)));
}

/* Whether there is something to decide about STATUS. If not, HTTP is answered. */
static bool is_open(struct exchange *exchange, const struct receipt_status *status)
{
    if (status->state == RECEIPT_FAILED)
        return true;
    app_problem(exchange->http, 409, "This write is %s; only one that has failed can be repeated or dropped.",
                receipt_state_name(status->state));
    return false;
}

static void answer_undecided(struct exchange *exchange, enum err err, struct str why)
{
    if (err == ERR_NOT_FOUND)
        app_problem(exchange->http, 409, "Somebody else has repeated or dropped this write already.");
    else if (err == ERR_FULL)
        app_problem(exchange->http, 507, "The server has no space left for data. The write stays as it was.");
    else if (err == ERR_TIMEOUT || err == ERR_IO)
        app_unavailable(
            exchange->http, 2,
            "This was begun, and whether it was done is not known. Look at the write before you try again.");
    else
        app_unavailable(exchange->http, 2, "The writer cannot do this at the moment. The write stays as it was.");
    app_note(exchange, "write_not_resolved", why.len > 0 ? why : str_from(err_text(err)));
}

enum http_step route_receipts_repeat(struct exchange *exchange)
{
    struct receipt_status status;
    struct writer_client_told told;
    struct buf why = {0};

    if (!find(exchange, &status) || !is_open(exchange, &status))
        return HTTP_DONE;
    enum err err = writer_client_repeat(exchange->thread->writer, status.number, exchange->http->arena, &told, &why);
    if (err == ERR_OK)
        route_receipts_accepted(exchange, told.row.json);
    else
        answer_undecided(exchange, err, buf_str(&why));
    buf_free(&why);
    return HTTP_DONE;
}

enum http_step route_receipts_drop(struct exchange *exchange)
{
    struct receipt_status status;
    struct buf why = {0};

    if (!find(exchange, &status) || !is_open(exchange, &status))
        return HTTP_DONE;
    enum err err = writer_client_drop(exchange->thread->writer, status.number, &why);
    if (err == ERR_OK)
        app_json(exchange->http, 204, STR(""));
    else
        answer_undecided(exchange, err, buf_str(&why));
    buf_free(&why);
    return HTTP_DONE;
}
