/*
 * route_recent: what went wrong on this host lately, and what was slow: the latest first.
 *
 * Invariant: what is answered is what the log has said or would have said at its lowest level; so nothing secret.
 */
#include "api/route_recent.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

/* RFC 3339, to the millisecond. */
static void add_time(struct buf *out, const char *name, int64_t ms)
{
    char text[32];
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;

    gmtime_r(&seconds, &parts);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    buf_printf(out, "\"%s\":\"%s.%03dZ\",", name, text, (int)(ms % 1000));
}

static enum http_step list(struct exchange *exchange, const struct recent *recent)
{
    struct http *http = exchange->http;
    struct recent_entry entries[RECENT_MAX];
    size_t count = recent ? recent_list(recent, http->arena, entries) : 0;
    struct buf body = {0};

    buf_add_str(&body, STR("{\"items\":["));
    for (size_t i = 0; i < count; i++) {
        const struct recent_entry *entry = &entries[i];

        buf_add_str(&body, i == 0 ? STR("{") : STR(",{"));
        add_time(&body, "time", entry->last_ms);
        add_time(&body, "first", entry->first_ms);
        buf_printf(&body, "\"repeats\":%" PRIu64 ",", entry->count);
        buf_add_str(&body, entry->text);
        buf_add_char(&body, '}');
    }
    buf_printf(&body, "],\"count\":%zu}", count);
    app_json(http, 200, arena_take_buf(http->arena, &body));
    return HTTP_DONE;
}

enum http_step route_recent_problems(struct exchange *exchange)
{
    return list(exchange, log_problems());
}

enum http_step route_recent_slow(struct exchange *exchange)
{
    return list(exchange, exchange->thread->app->shared->slow);
}
