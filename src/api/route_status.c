/*
 * route_status: the scoreboard as JSON and as a table: what php-fpm's status page tells, for larder's processes.
 *
 * Invariant: it reads shared memory alone and asks nobody, so it answers also while everything else is stuck. What it
 * shows of a process is as of that process's last round of events: the request that asks is not among those under way.
 */
#include "api/route_status.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/metrics.h"
#include "base/sys.h"

/* Everything that is shown, read once. */
struct view {
    const struct scoreboard *scoreboard;
    struct scoreboard_sum workers;
    int64_t now_ms; /* monotonic */
    int64_t uptime_s;
};

static const char *state_of(const struct scoreboard_process *process)
{
    switch (atomic_load(&process->state)) {
    case SCOREBOARD_STARTING:
        return "starting";
    case SCOREBOARD_ENDING:
    case SCOREBOARD_DRAINING:
        return "ending";
    default:
        return atomic_load(&process->busy) > 0 ? "busy" : "idle";
    }
}

static int64_t age_s(const struct view *view, const struct scoreboard_process *process)
{
    return view->now_ms > process->started_ms ? (view->now_ms - process->started_ms) / 1000 : 0;
}

static void add_work(const struct scoreboard_work *work, struct buf *out)
{
    buf_add_str(out, STR("{\"what\":"));
    buf_add_json(out, str_from(work->what));
    buf_add_str(out, STR(",\"resource\":"));
    if (work->resource[0] != '\0')
        buf_add_json(out, str_from(work->resource));
    else
        buf_add_str(out, STR("null"));
    buf_printf(out, ",\"phase\":\"%s\",\"for_ms\":%" PRId64 ",\"phase_ms\":%" PRId64 "}", work->phase, work->for_ms,
               work->phase_ms);
}

static void add_process(const struct view *view, const struct scoreboard_process *process, struct buf *out)
{
    struct scoreboard_work work;

    buf_printf(out,
               "{\"pid\":%d,\"role\":\"%s\",\"state\":\"%s\",\"age_s\":%" PRId64 ",\"requests\":%" PRIu64
               ",\"connections\":%u,\"under_way\":%u,\"queued\":%u,\"queued_most\":%u,\"threads\":%u,"
               "\"threads_busy\":%u,\"works_on\":[",
               atomic_load(&process->pid), process->role, state_of(process), age_s(view, process),
               atomic_load(&process->requests), atomic_load(&process->connections), atomic_load(&process->busy),
               atomic_load(&process->queued), atomic_load(&process->queued_most), atomic_load(&process->threads),
               scoreboard_threads_busy(process));
    for (unsigned i = 0, count = 0; i < SCOREBOARD_THREADS_MAX; i++) {
        if (!scoreboard_look(&process->pool[i], view->now_ms, &work))
            continue;
        buf_add_str(out, count++ == 0 ? STR("") : STR(","));
        add_work(&work, out);
    }
    buf_add_str(out, STR("]}"));
}

static void add_json(const struct view *view, struct buf *out)
{
    const struct scoreboard *scoreboard = view->scoreboard;
    const struct scoreboard_sum *sum = &view->workers;
    unsigned count = 0;

    buf_printf(out,
               "{\"version\":\"%s\",\"pid\":%d,\"uptime_s\":%" PRId64
               ",\"workers\":{\"total\":%u,\"idle\":%u,\"busy\":%u,\"ending\":%u},\"connections\":%u,"
               "\"requests\":%" PRIu64 ",\"slow_requests\":%" PRIu64
               ",\"under_way\":%u,\"queued\":%u,\"queued_most\":%u,\"threads\":%u,\"threads_busy\":%u",
               PACKAGE_VERSION, (int)getppid(), view->uptime_s, sum->processes, sum->idle, sum->busy, sum->ending,
               sum->connections, metrics_sum(METRIC_requests), metrics_sum(METRIC_slow_requests), sum->under_way,
               sum->queued, scoreboard_queued_most(scoreboard), sum->threads, sum->threads_busy);
    buf_printf(out,
               ",\"started\":%" PRIu64 ",\"crashed\":%" PRIu64 ",\"killed\":%" PRIu64 ",\"recycled\":%" PRIu64
               ",\"reloads\":%" PRIu64 ",\"processes\":[",
               atomic_load(&scoreboard->starts), atomic_load(&scoreboard->crashes), atomic_load(&scoreboard->killed),
               atomic_load(&scoreboard->recycled), atomic_load(&scoreboard->reloads));
    for (unsigned i = 0; i < SCOREBOARD_PROCESSES_MAX; i++) {
        if (atomic_load(&scoreboard->processes[i].pid) == 0)
            continue;
        buf_add_str(out, count++ == 0 ? STR("") : STR(","));
        add_process(view, &scoreboard->processes[i], out);
    }
    buf_add_str(out, STR("]}"));
}

/* In at most seven characters, the larger units first. */
static const char *format_age(int64_t seconds, char text[24])
{
    if (seconds < 60)
        snprintf(text, 24, "%" PRId64 "s", seconds);
    else if (seconds < 3600)
        snprintf(text, 24, "%" PRId64 "m%02" PRId64 "s", seconds / 60, seconds % 60);
    else if (seconds < 86400)
        snprintf(text, 24, "%" PRId64 "h%02" PRId64 "m", seconds / 3600, seconds % 3600 / 60);
    else
        snprintf(text, 24, "%" PRId64 "d%02" PRId64 "h", seconds / 86400, seconds % 86400 / 3600);
    return text;
}

/* Nothing that a terminal would take for more than a character. */
static void add_plain(struct buf *out, const char *text)
{
    for (; *text; text++)
        buf_add_char(out, *text >= ' ' && *text < 0x7f ? *text : '?');
}

static void add_row(const struct view *view, const struct scoreboard_process *process, struct buf *out)
{
    struct scoreboard_work work;
    char age[24], threads[24];

    snprintf(threads, sizeof threads, "%u/%u", scoreboard_threads_busy(process), atomic_load(&process->threads));
    buf_printf(out, "%8d  %-11s  %-8s  %7s  %12" PRIu64 "  %6u  %9u  %6u  %7s", atomic_load(&process->pid),
               process->role, state_of(process), format_age(age_s(view, process), age), atomic_load(&process->requests),
               atomic_load(&process->connections), atomic_load(&process->busy), atomic_load(&process->queued), threads);
    if (scoreboard_look_longest(process, view->now_ms, &work)) {
        buf_printf(out, "  %" PRId64 " ms %s", work.for_ms, work.phase);
        if (work.resource[0] != '\0') {
            buf_add_str(out, STR(" of "));
            add_plain(out, work.resource);
        }
        buf_add_str(out, STR(": "));
        add_plain(out, work.what);
    }
    buf_add_char(out, '\n');
}

static void add_table(const struct view *view, struct buf *out)
{
    const struct scoreboard *scoreboard = view->scoreboard;
    const struct scoreboard_sum *sum = &view->workers;
    char age[24];

    buf_printf(out, "larder %s, process %d, up %s\n", PACKAGE_VERSION, (int)getppid(), format_age(view->uptime_s, age));
    buf_printf(out, "workers    %u: %u idle, %u busy, %u ending\n", sum->processes, sum->idle, sum->busy, sum->ending);
    buf_printf(out, "requests   %" PRIu64 " answered, %" PRIu64 " slow, %u under way over %u connections\n",
               metrics_sum(METRIC_requests), metrics_sum(METRIC_slow_requests), sum->under_way, sum->connections);
    buf_printf(out, "queue      %u waiting, at most %u so far; %u of %u threads busy\n", sum->queued,
               scoreboard_queued_most(scoreboard), sum->threads_busy, sum->threads);
    buf_printf(out,
               "processes  %" PRIu64 " started, %" PRIu64 " crashed, %" PRIu64 " killed, %" PRIu64 " recycled; %" PRIu64
               " reloads\n\n",
               atomic_load(&scoreboard->starts), atomic_load(&scoreboard->crashes), atomic_load(&scoreboard->killed),
               atomic_load(&scoreboard->recycled), atomic_load(&scoreboard->reloads));
    buf_printf(out, "%8s  %-11s  %-8s  %7s  %12s  %6s  %9s  %6s  %7s  %s\n", "pid", "role", "state", "age", "requests",
               "conns", "under way", "queued", "threads", "works on");
    for (unsigned i = 0; i < SCOREBOARD_PROCESSES_MAX; i++)
        if (atomic_load(&scoreboard->processes[i].pid) != 0)
            add_row(view, &scoreboard->processes[i], out);
}

/* JSON is the answer to whoever would take it, and to who does not say. */
static bool wants_table(struct str accept)
{
    return memmem(accept.p, accept.len, "text/plain", 10) && !memmem(accept.p, accept.len, "json", 4);
}

enum http_step route_status_get(struct exchange *exchange)
{
    const struct app_shared *shared = exchange->thread->app->shared;
    struct http *http = exchange->http;
    struct buf body = {0};
    struct view view = {.scoreboard = shared->scoreboard,
                        .now_ms = sys_monotonic_ms(),
                        .uptime_s = (http->now_ms - shared->started_ms) / 1000};
    bool table = wants_table(http->in.accept);

    scoreboard_sum(view.scoreboard, "worker", &view.workers);
    if (table)
        add_table(&view, &body);
    else
        add_json(&view, &body);
    app_json(http, 200, arena_take_buf(http->arena, &body));
    if (table && http->status == 200)
        http->content_type = STR("text/plain; charset=utf-8");
    http_header(http, "Vary", STR("Accept"));
    return HTTP_DONE;
}
