/*
 * route_metrics: gathers what is counted all over larder into one snapshot.
 *
 * Invariant: nothing is asked of anybody here, neither L2 nor the database: all of it stands in shared memory, or is
 * the length of a file. So a scrape costs the same, and is answered, when everything else is away or busy.
 */
#include "api/route_metrics.h"

#include <inttypes.h>
#include <stdatomic.h>

#include "api/exposition.h"
#include "api/housekeeper.h"
#include "base/sys.h"
#include "store/writer.h"

/* Of a file beside the database. */
static uint64_t size_beside(const char *database, const char *suffix)
{
    struct buf path = {0};

    buf_printf(&path, "%s%s", database, suffix);
    uint64_t size = sys_file_size(path.p);
    buf_free(&path);
    return size;
}

static void gather_requests(struct arena *arena, struct exposition *out)
{
    const unsigned count = metrics_rows();
    struct exposition_row *rows = arena_calloc(arena, count, sizeof *rows);

    for (enum metric metric = 0; metric < METRIC_COUNT; metric++)
        out->counters[metric] = metrics_sum(metric);
    for (enum metrics_tier tier = 0; tier < METRICS_TIER_COUNT; tier++)
        metrics_tier_sum(tier, &out->tiers[tier]);
    for (unsigned row = 0; rows && row < count; row++) {
        rows[row].name = str_from(metrics_row_name(row));
        metrics_row_sum(row, rows[row].outcomes);
    }
    out->rows = rows;
    out->rows_count = rows ? count : 0;
}

static void gather_caches(const struct app_shared *shared, int64_t now_ms, struct exposition *out)
{
    const struct cache_shared *cache = shared->cache;
    struct l2_status l2;

    l2_status(cache->l2, &l2);
    l1_status(cache->l1, &out->l1);
    out->l1_trusted = purged_current(cache->purged, now_ms);
    out->breaker = l2.breaker;
    out->l2_trusted = !l2.distrusted;
}

/* UPTIME_MS: what the lag is where there never was contact. */
static void gather_log(const struct app_shared *shared, int64_t now_ms, int64_t uptime_ms, struct exposition *out)
{
    const struct housekeeper_shared *it = shared->housekeeper;

    out->log_followed = !l2_shared_has_log(shared->cache->l2);
    if (!it)
        return;
    int64_t contact_ms = it->contact_ms;
    if (!out->log_followed) {
        int64_t lag_ms = contact_ms == 0 ? uptime_ms : now_ms - contact_ms;

        out->log_followed = it->state == HOUSEKEEPER_READY;
        out->lag_ms = lag_ms > 0 ? lag_ms : 0;
    }
    out->log_records = it->records;
    out->log_gaps = it->gaps;
    out->log_breaks = it->breaks;
    out->bans = it->bans;
    out->jobs_done = it->jobs_done;
    out->keys_removed = it->keys_removed;
    out->outbox = it->outbox_depth;
}

static void gather_workers(const struct scoreboard *scoreboard, struct exposition *out)
{
    if (!scoreboard)
        return;
    scoreboard_sum(scoreboard, "worker", &out->workers);
    out->recycled = atomic_load(&scoreboard->recycled);
    out->killed = atomic_load(&scoreboard->killed);
    out->reloads = atomic_load(&scoreboard->reloads);
}

static void gather_writer(const struct app *app, struct exposition *out)
{
    const struct writer_shared *writer = app->shared->writer;
    const char *database = app->config->store.database;

    out->writer_ready = atomic_load(&writer->state) == WRITER_READY;
    out->committed = atomic_load(&writer->committed);
    out->commits = atomic_load(&writer->commits);
    out->journal = writer_pending_depth(&writer->pending);
    out->database_bytes = sys_file_size(database);
    out->wal_bytes = size_beside(database, "-wal");
    out->journal_wal_bytes = size_beside(database, "-larder.journal-wal");
}

enum http_step route_metrics_scrape(struct exchange *exchange)
{
    const struct app *app = exchange->thread->app;
    struct http *http = exchange->http;
    const int64_t now_ms = sys_monotonic_ms();
    struct exposition *snapshot = arena_calloc(http->arena, 1, sizeof *snapshot);
    struct buf body = {0};

    if (!snapshot) {
        app_unavailable(http, 1, "The request needs more memory than one may have.");
        return HTTP_DONE;
    }
    snapshot->version = STR(PACKAGE_VERSION);
    snapshot->started_ms = app->shared->started_ms;
    snapshot->resources = app->catalog->count;
    gather_requests(http->arena, snapshot);
    gather_caches(app->shared, now_ms, snapshot);
    gather_log(app->shared, now_ms, http->now_ms - app->shared->started_ms, snapshot);
    gather_workers(app->shared->scoreboard, snapshot);
    gather_writer(app, snapshot);

    enum exposition_format format = exposition_choose(http->in.accept);
    exposition_write(snapshot, format, &body);
    app_json(http, 200, arena_take_buf(http->arena, &body));
    if (http->status == 200) {
        http->content_type = exposition_content_type(format);
        http_header(http, "Vary", STR("Accept"));
    }
    return HTTP_DONE;
}

static uint64_t count_tier(enum metrics_tier tier)
{
    struct metrics_histogram histogram;

    metrics_tier_sum(tier, &histogram);
    return metrics_tier_count(&histogram);
}

void route_metrics_add_outcomes(struct buf *out)
{
    const struct {
        const char *name;
        uint64_t value;
    } sums[] = {
        {"hits", metrics_outcome_sum(METRICS_OUTCOME_hit) + metrics_outcome_sum(METRICS_OUTCOME_collapsed)},
        {"negative_hits", metrics_outcome_sum(METRICS_OUTCOME_negative)},
        {"stale_hits", metrics_outcome_sum(METRICS_OUTCOME_stale)},
        {"hits_l1", count_tier(METRICS_TIER_l1)},
        {"hits_l2", count_tier(METRICS_TIER_l2)},
        {"stale_served", metrics_outcome_sum(METRICS_OUTCOME_stale_on_error)},
        {"misses", metrics_outcome_sum(METRICS_OUTCOME_miss)},
        {"bypassed", metrics_outcome_sum(METRICS_OUTCOME_bypass)},
    };

    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++)
        buf_printf(out, ",\"%s\":%" PRIu64, sums[i].name, sums[i].value);
}

static void add_row(unsigned row, struct buf *out)
{
    uint64_t outcomes[METRICS_OUTCOME_COUNT];

    metrics_row_sum(row, outcomes);
    buf_add_json(out, str_from(metrics_row_name(row)));
    for (unsigned i = 0; i < METRICS_OUTCOME_COUNT; i++)
        buf_printf(out, "%s\"%s\":%" PRIu64, i == 0 ? ":{" : ",", metrics_outcome_name((enum metrics_outcome)i),
                   outcomes[i]);
    buf_add_char(out, '}');
}

static void add_tier(enum metrics_tier tier, struct buf *out)
{
    struct metrics_histogram histogram;

    metrics_tier_sum(tier, &histogram);
    buf_printf(out,
               ",\"%s\":{\"count\":%" PRIu64 ",\"sum_us\":%" PRIu64 ",\"p50_us\":%" PRId64 ",\"p95_us\":%" PRId64
               ",\"p99_us\":%" PRId64 ",\"buckets\":[",
               metrics_tier_name(tier), metrics_tier_count(&histogram), histogram.sum_us,
               metrics_quantile(&histogram, 0.5), metrics_quantile(&histogram, 0.95),
               metrics_quantile(&histogram, 0.99));
    for (unsigned i = 0; i < METRICS_BUCKETS; i++)
        buf_printf(out, "%s%" PRIu64, i == 0 ? "" : ",", histogram.buckets[i]);
    buf_add_str(out, STR("]}"));
}

void route_metrics_add_distributions(struct buf *out)
{
#define BOUND(us, seconds) "," #us
    static const char bounds[] = METRICS_BOUNDS(BOUND);
#undef BOUND
    const unsigned rows = metrics_rows();

    buf_add_str(out, STR(",\"by_resource\":{"));
    for (unsigned row = 0; row < rows; row++) {
        buf_add_str(out, row == 0 ? STR("") : STR(","));
        add_row(row, out);
    }
    buf_printf(out, "},\"latency\":{\"bounds_us\":[%s]", bounds + 1);
    for (enum metrics_tier tier = 0; tier < METRICS_TIER_COUNT; tier++)
        add_tier(tier, out);
    buf_add_char(out, '}');
}
