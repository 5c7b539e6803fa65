/*
 * origin: runs a resource's statement and makes an entry of what it gives.
 *
 * A refresh is a fill that no request waits for: it has an arena, a clock and copies of its own, and what the request
 * was given, the right to fill first of all, passes to it.
 *
 * Invariant: what an entry says depends on the resource, its parameters and the caller alone. So a 404 that is kept
 * names no request.
 */
#include "api/origin.h"

#include <stdlib.h>

#include "base/metrics.h"
#include "base/sys.h"
#include "http/trace.h"

enum { REFRESH_BYTES = 4096, REFRESH_BYTES_MAX = 64 << 20 };

enum err origin_read(void *context, struct arena *arena, struct entry *entry)
{
    struct origin *origin = context;
    struct store_answer row;
    int64_t began_us = sys_monotonic_us();

    slow_enter(origin->clock, SLOW_STATEMENT, began_us);
    enum err err =
        store_read(origin->store, origin->resource, origin->values, &origin->caller, arena, &row, &origin->why);
    int64_t ended_us = sys_monotonic_us();
    slow_enter(origin->clock, origin->next, ended_us);
    origin->clock->ran = err == ERR_OK || err == ERR_TIMEOUT;
    metrics_add(METRIC_statements, 1);
    metrics_add(METRIC_statement_us, (uint64_t)(ended_us - began_us));
    if (err != ERR_OK) {
        metrics_add(METRIC_statement_failures, 1);
        return err;
    }
    entry->status = row.found ? 200 : 404;
    entry->content_type = row.found ? STR("application/json") : STR("application/problem+json");
    entry->body = row.found ? row.json : app_problem_body(arena, 404, STR("There is no such thing here."), STR(""));
    entry->body_len = entry->body.len;
    return arena_overflowed(arena) ? ERR_LIMIT : ERR_OK;
}

/* A refresh in the background: all it needs, in its own arena. */
struct refresh {
    struct loop_job job; /* first */
    struct arena *arena;
    struct params_values values;
    struct str tags[ENTRY_TAGS_MAX];
    struct cache_ask ask;
    struct cache_found found;
    struct origin origin;
    struct slow_clock clock;
    struct str request_id, traceparent; /* of the request that it came of; empty where none came with it */
};

/* How long it took from when it was wanted. */
static void tell_slow(struct refresh *refresh, struct app_thread *thread)
{
    slow_enter(&refresh->clock, SLOW_WORK, sys_monotonic_us());
    slow_tell(&(struct slow_case){.event = "refresh_slow",
                                  .thread = thread,
                                  .resource = refresh->origin.resource,
                                  .values = &refresh->values,
                                  .clock = &refresh->clock,
                                  .arena = refresh->arena,
                                  .request_id = refresh->request_id,
                                  .traceparent = refresh->traceparent});
}

static void tell_failure(const struct refresh *refresh, enum err err)
{
    const struct buf *why = &refresh->origin.why;

    metrics_add(METRIC_refresh_failures, 1);
    log_event(LOG_LEVEL_WARNING, "refresh_failed", LOG_STR("resource", refresh->origin.resource->name),
              LOG_STR("why", why->len > 0 ? buf_str(why) : str_from(err_text(err))),
              LOG_STR("request_id", refresh->request_id));
}

static void run_refresh(struct loop_job *job, void *it)
{
    struct refresh *refresh = (struct refresh *)job;
    struct app_thread *thread = it;
    struct cache_answer computed;

    refresh->origin.store = thread->store;
    refresh->origin.values = &refresh->values;
    refresh->origin.clock = &refresh->clock;
    refresh->origin.next = SLOW_FILL;
    slow_enter(&refresh->clock, SLOW_L2, sys_monotonic_us());
    enum err err = cache_compute(thread->cache, &refresh->ask, &refresh->found, true, origin_read, &refresh->origin,
                                 refresh->arena, &computed);
    if (err != ERR_OK && err != ERR_BUSY)
        tell_failure(refresh, err);
    tell_slow(refresh, thread);
    buf_free(&refresh->origin.why);
}

static void end_refresh(struct loop_job *job)
{
    struct refresh *refresh = (struct refresh *)job;

    arena_free(&refresh->arena);
    free(refresh);
}

static struct params_value copy_value(const struct params_value *value, struct arena *arena)
{
    struct params_value copy = *value;

    copy.text = arena_copy(arena, value->text);
    return copy;
}

/* Copies to REFRESH what it needs of the request; false when there was no memory for it. */
static bool copy_request(struct refresh *refresh, const struct exchange *exchange, const struct params_values *values,
                         const struct cache_ask *ask, const struct cache_found *found)
{
    const struct http *http = exchange->http;
    struct arena *arena = refresh->arena;

    refresh->origin =
        (struct origin){.resource = exchange->route->resource,
                        .caller = {.now_ms = http->now_ms, .address = arena_copy(arena, http->in.remote_addr)}};
    refresh->values.count = values->count;
    for (size_t i = 0; i < values->count; i++)
        refresh->values.items[i] = copy_value(&values->items[i], arena);
    refresh->ask = *ask;
    refresh->ask.key = arena_copy(arena, ask->key);
    refresh->ask.tags = refresh->tags;
    for (size_t i = 0; i < ask->tags_count; i++)
        refresh->tags[i] = arena_copy(arena, ask->tags[i]);
    /* Nobody waits for it, so a stale entry need not stand in when it fails. */
    refresh->found = (struct cache_found){.leased = found->leased, .lease = found->lease};
    refresh->found.spent = arena_copy(arena, found->spent);
    if (trace_is_request_id(http->in.request_id))
        refresh->request_id = arena_copy(arena, http->in.request_id);
    refresh->traceparent = arena_copy(arena, trace_parent(http->in.traceparent));
    /* Tags for which there was no room must not be missing from what is kept. */
    return !arena_overflowed(arena) && !arena_overflowed(http->arena);
}

bool origin_refresh(struct exchange *exchange, const struct params_values *values, const struct cache_ask *ask,
                    const struct cache_found *found)
{
    const struct loop *loop = exchange->thread->loop;
    struct refresh *refresh = sys_calloc(1, sizeof *refresh);

    *refresh =
        (struct refresh){.job = {.run = run_refresh, .done = end_refresh, .what = exchange->route->resource->name.p},
                         .arena = arena_new(REFRESH_BYTES, REFRESH_BYTES_MAX),
                         .clock = {.since_us = sys_monotonic_us(), .phase = SLOW_QUEUE}};
    bool begun =
        copy_request(refresh, exchange, values, ask, found) && loop->submit(loop->self, &refresh->job) == ERR_OK;
    if (begun)
        metrics_add(METRIC_refreshes, 1);
    else
        end_refresh(&refresh->job);
    return begun;
}
