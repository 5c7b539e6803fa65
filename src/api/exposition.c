/*
 * exposition: the text that Prometheus reads, in the two formats that it asks for.
 *
 * They differ in little: in OpenMetrics a counter's family is named without the `_total` of its samples and an info's
 * without `_info`, units have a line of their own, quotes in a help text are escaped too, and the text has an end.
 *
 * Invariant: every sample belongs to the family begun last, and each combination of labels is written in each scrape,
 * also while it is zero: what appears only with its first event would have no increase.
 */
#include "api/exposition.h"

#include <inttypes.h>

#include "http/caching.h"

enum kind { COUNTER, GAUGE, HISTOGRAM, INFO };

/* What a whole number stands for. */
enum unit { PLAIN, MILLISECONDS, MICROSECONDS };

struct text {
    struct buf *out;
    bool open; /* OpenMetrics */
};

struct label {
    const char *name; /* NULL: there are no more */
    struct str value;
};

/* A family with a single sample. */
struct scalar {
    const char *name;
    enum kind kind;
    const char *help;
    uint64_t value;
    enum unit unit;
};

enum exposition_format exposition_choose(struct str accept)
{
    int open = caching_media_weight(accept, STR("application/openmetrics-text"), STR("1.0.0"));
    int plain = caching_media_weight(accept, STR("text/plain"), STR("0.0.4"));

    return open > 0 && open >= plain ? EXPOSITION_OPENMETRICS : EXPOSITION_TEXT;
}

struct str exposition_content_type(enum exposition_format format)
{
    return format == EXPOSITION_OPENMETRICS ? STR("application/openmetrics-text; version=1.0.0; charset=utf-8")
                                            : STR("text/plain; version=0.0.4; charset=utf-8");
}

static void add_escaped(struct buf *out, struct str value, bool quotes)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.p[i];

        if (c == '\\' || c == '\n' || (c == '"' && quotes))
            buf_add_char(out, '\\');
        buf_add_char(out, c == '\n' ? 'n' : c);
    }
}

static bool ends_in(const char *name, const char *end)
{
    size_t len = strlen(name), end_len = strlen(end);

    return len > end_len && strcmp(name + len - end_len, end) == 0;
}

/* Begins the family NAME. */
static void begin(const struct text *text, const char *name, enum kind kind, const char *help)
{
    static const char *const open_types[] = {"counter", "gauge", "histogram", "info"};
    static const char *const types[] = {"counter", "gauge", "histogram", "gauge"};
    static const char *const suffixes[] = {"_total", "", "", "_info"};
    const char *suffix = text->open ? "" : suffixes[kind];
    struct buf *out = text->out;

    buf_printf(out, "# HELP larder_%s%s ", name, suffix);
    add_escaped(out, str_from(help), text->open);
    buf_printf(out, "\n# TYPE larder_%s%s %s\n", name, suffix, (text->open ? open_types : types)[kind]);
    if (text->open && ends_in(name, "_seconds"))
        buf_printf(out, "# UNIT larder_%s seconds\n", name);
    else if (text->open && ends_in(name, "_bytes"))
        buf_printf(out, "# UNIT larder_%s bytes\n", name);
}

static void add_value(struct buf *out, uint64_t value, enum unit unit)
{
    switch (unit) {
    case PLAIN:
        buf_printf(out, " %" PRIu64 "\n", value);
        break;
    case MILLISECONDS:
        buf_printf(out, " %" PRIu64 ".%03u\n", value / 1000, (unsigned)(value % 1000));
        break;
    case MICROSECONDS:
        buf_printf(out, " %" PRIu64 ".%06u\n", value / 1000000, (unsigned)(value % 1000000));
        break;
    }
}

/* A sample of the family NAME; LABELS may be NULL, else two places, of which the second may have no name. */
static void add(const struct text *text, const char *name, const char *suffix, const struct label *labels,
                uint64_t value, enum unit unit)
{
    struct buf *out = text->out;

    buf_add_str(out, STR("larder_"));
    buf_add_str(out, str_from(name));
    buf_add_str(out, str_from(suffix));
    for (unsigned i = 0; labels && i < 2 && labels[i].name; i++) {
        buf_add_char(out, i == 0 ? '{' : ',');
        buf_add_str(out, str_from(labels[i].name));
        buf_add_str(out, STR("=\""));
        add_escaped(out, labels[i].value, true);
        buf_add_char(out, '"');
    }
    if (labels)
        buf_add_char(out, '}');
    add_value(out, value, unit);
}

static void add_one(const struct text *text, const char *name, const char *suffix, const char *label, const char *word,
                    uint64_t value)
{
    add(text, name, suffix, (struct label[2]){{label, str_from(word)}}, value, PLAIN);
}

static void add_scalars(const struct text *text, const struct scalar *scalars, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        begin(text, scalars[i].name, scalars[i].kind, scalars[i].help);
        add(text, scalars[i].name, scalars[i].kind == COUNTER ? "_total" : "", NULL, scalars[i].value, scalars[i].unit);
    }
}

#define ADD_SCALARS(text, list) add_scalars(text, list, sizeof(list) / sizeof *(list))

static void add_program(const struct text *text, const struct exposition *snapshot)
{
    const struct scalar scalars[] = {
        {"start_time_seconds", GAUGE, "when the server was started, since the epoch", (uint64_t)snapshot->started_ms,
         MILLISECONDS},
        {"resources", GAUGE, "resources that are served", snapshot->resources, PLAIN},
    };

    begin(text, "build", INFO, "the version of the program");
    add(text, "build", "_info", (struct label[2]){{"version", snapshot->version}}, 1, PLAIN);
    ADD_SCALARS(text, scalars);
}

static void add_requests(const struct text *text, const struct exposition *snapshot)
{
    begin(text, "requests", COUNTER, "requests answered, by resource and by how they came out");
    for (size_t i = 0; i < snapshot->rows_count; i++)
        for (unsigned outcome = 0; outcome < METRICS_OUTCOME_COUNT; outcome++)
            add(text, "requests", "_total",
                (struct label[2]){{"resource", snapshot->rows[i].name},
                                  {"outcome", str_from(metrics_outcome_name((enum metrics_outcome)outcome))}},
                snapshot->rows[i].outcomes[outcome], PLAIN);
    begin(text, "responses", COUNTER, "answers, by class of status");
    for (unsigned i = 0; i < 4; i++)
        add_one(text, "responses", "_total", "class", (const char *const[]){"2xx", "3xx", "4xx", "5xx"}[i],
                snapshot->counters[METRIC_responses_2xx + i]);
    begin(text, "hits", COUNTER, "answers from a cache without waiting: fresh, stale or negative");
    for (enum metrics_tier tier = METRICS_TIER_l1; tier <= METRICS_TIER_l2; tier++)
        add_one(text, "hits", "_total", "tier", metrics_tier_name(tier), metrics_tier_count(&snapshot->tiers[tier]));
}

static void add_durations(const struct text *text, const struct exposition *snapshot)
{
#define SECONDS(us, seconds) seconds,
    static const char *const bounds[METRICS_BUCKETS] = {METRICS_BOUNDS(SECONDS) "+Inf"};
#undef SECONDS
    static const char name[] = "request_duration_seconds";

    begin(text, name, HISTOGRAM, "from the request's arrival to its answer, by what took the time");
    for (unsigned tier = 0; tier < METRICS_TIER_COUNT; tier++) {
        const struct metrics_histogram *histogram = &snapshot->tiers[tier];
        struct label labels[2] = {{"tier", str_from(metrics_tier_name((enum metrics_tier)tier))}};
        uint64_t below = 0;

        for (unsigned i = 0; i < METRICS_BUCKETS; i++) {
            below += histogram->buckets[i];
            labels[1] = (struct label){"le", str_from(bounds[i])};
            add(text, name, "_bucket", labels, below, PLAIN);
        }
        labels[1].name = NULL;
        add(text, name, "_sum", labels, histogram->sum_us, MICROSECONDS);
        add(text, name, "_count", labels, below, PLAIN);
    }
}

/* The plain counters, all but those that families with labels are made of. */
static void add_counters(const struct text *text, const struct exposition *snapshot)
{
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        const enum metric metric = (enum metric)i;
        const struct scalar scalar = {metrics_name(metric), COUNTER, metrics_help(metric), snapshot->counters[i],
                                      PLAIN};

        if ((metric >= METRIC_requests && metric <= METRIC_responses_5xx) || metric == METRIC_statement_us ||
            (metric >= METRIC_breaker_opened && metric <= METRIC_breaker_closed))
            continue;
        add_scalars(text, &scalar, 1);
    }
    const struct scalar scalars[] = {{"statement_seconds", COUNTER, "time spent in statements on the origin",
                                      snapshot->counters[METRIC_statement_us], MICROSECONDS}};
    ADD_SCALARS(text, scalars);
}

static void add_l1(const struct text *text, const struct exposition *snapshot)
{
    const struct l1_status *l1 = &snapshot->l1;
    const struct scalar scalars[] = {
        {"l1_size_bytes", GAUGE, "room for entries in this host's memory", l1->size, PLAIN},
        {"l1_used_bytes", GAUGE, "room that is taken by entries", l1->used, PLAIN},
        {"l1_entries", GAUGE, "entries in this host's memory, negative ones included", l1->entries, PLAIN},
        {"l1_negative_entries", GAUGE, "404s in this host's memory", l1->negative, PLAIN},
        {"l1_evictions", COUNTER, "entries that made room for others before their time", l1->evicted, PLAIN},
        {"l1_refused", COUNTER, "entries that were too large to be taken", l1->refused, PLAIN},
        {"l1_shards_emptied", COUNTER, "shards that were emptied because a process died inside", l1->emptied, PLAIN},
        {"l1_trusted", GAUGE, "1 while this host's memory is read, 0 while purges may be unknown to it",
         snapshot->l1_trusted, PLAIN},
    };

    ADD_SCALARS(text, scalars);
}

static void add_l2(const struct text *text, const struct exposition *snapshot)
{
    static const char *const states[] = {[L2_CLOSED] = "closed", [L2_OPEN] = "open", [L2_HALF_OPEN] = "half_open"};
    const struct {
        const char *to;
        enum metric metric;
    } changes[] = {
        {"open", METRIC_breaker_opened}, {"half_open", METRIC_breaker_half_opened}, {"closed", METRIC_breaker_closed}};
    const struct scalar trusted[] = {{"l2_trusted", GAUGE,
                                      "1 while the shared cache is read, 0 until it has been told all purges",
                                      snapshot->l2_trusted, PLAIN}};

    begin(text, "l2_breaker_state", GAUGE, "1 for the state in which the breaker in front of the shared cache is");
    for (unsigned i = 0; i < sizeof states / sizeof *states; i++)
        add_one(text, "l2_breaker_state", "", "state", states[i], snapshot->breaker == (enum l2_breaker)i);
    begin(text, "l2_breaker_changes", COUNTER, "changes of the breaker's state, by the new one");
    for (unsigned i = 0; i < sizeof changes / sizeof *changes; i++)
        add_one(text, "l2_breaker_changes", "_total", "to", changes[i].to, snapshot->counters[changes[i].metric]);
    ADD_SCALARS(text, trusted);
}

static void add_purges(const struct text *text, const struct exposition *snapshot)
{
    const struct scalar scalars[] = {
        {"invalidation_lag_seconds", GAUGE, "how long ago this host last knew every purge of the others",
         (uint64_t)snapshot->lag_ms, MILLISECONDS},
        {"log_followed", GAUGE, "1 while the purge log is followed, or there are no other hosts",
         snapshot->log_followed, PLAIN},
        {"log_records", COUNTER, "purges that were read from the log", snapshot->log_records, PLAIN},
        {"log_gaps", COUNTER, "times that the log did not reach back far enough, so that all was purged",
         snapshot->log_gaps, PLAIN},
        {"log_breaks", COUNTER, "times that contact with the log was lost", snapshot->log_breaks, PLAIN},
        {"bans", GAUGE, "purges by pattern whose keys are still being removed", snapshot->bans, PLAIN},
        {"purge_jobs_done", COUNTER, "purges by pattern whose keys this host has removed", snapshot->jobs_done, PLAIN},
        {"purge_keys_removed", COUNTER, "keys that this host has removed, or marked stale, for them",
         snapshot->keys_removed, PLAIN},
        {"outbox_rows", GAUGE, "committed purges that are still to be carried out", snapshot->outbox, PLAIN},
        {"journal_writes", GAUGE, "writes behind that are acknowledged and still to be applied", snapshot->journal,
         PLAIN},
    };

    ADD_SCALARS(text, scalars);
}

static void add_workers(const struct text *text, const struct exposition *snapshot)
{
    const struct scoreboard_sum *workers = &snapshot->workers;
    const struct scalar scalars[] = {
        {"workers_recycled", COUNTER, "workers that ended after max_requests", snapshot->recycled, PLAIN},
        {"children_killed", COUNTER, "processes that were killed because they were stuck or did not end",
         snapshot->killed, PLAIN},
        {"reloads", COUNTER, "reloads that took effect", snapshot->reloads, PLAIN},
        {"open_connections", GAUGE, "connections of the web server that are open", workers->connections, PLAIN},
    };

    begin(text, "workers", GAUGE, "worker processes: busy with a request, or idle");
    add_one(text, "workers", "", "state", "busy", workers->busy);
    add_one(text, "workers", "", "state", "idle", workers->idle);
    begin(text, "requests_under_way", GAUGE, "requests that are being answered: in work, or waiting for a thread");
    add_one(text, "requests_under_way", "", "state", "working",
            workers->under_way > workers->queued ? workers->under_way - workers->queued : 0);
    add_one(text, "requests_under_way", "", "state", "queued", workers->queued);
    begin(text, "pool_threads", GAUGE, "threads for what may block, of all workers");
    add_one(text, "pool_threads", "", "state", "busy", workers->threads_busy);
    add_one(text, "pool_threads", "", "state", "idle",
            workers->threads > workers->threads_busy ? workers->threads - workers->threads_busy : 0);
    ADD_SCALARS(text, scalars);
}

static void add_writer(const struct text *text, const struct exposition *snapshot)
{
    const struct scalar scalars[] = {
        {"writer_ready", GAUGE, "1 while the database takes writes", snapshot->writer_ready, PLAIN},
        {"writer_committed", COUNTER, "writes and imported rows that were committed", snapshot->committed, PLAIN},
        {"writer_commits", COUNTER, "transactions that they were committed in", snapshot->commits, PLAIN},
        {"database_bytes", GAUGE, "the database file", snapshot->database_bytes, PLAIN},
    };

    ADD_SCALARS(text, scalars);
    begin(text, "wal_bytes", GAUGE, "the write-ahead log of the database, and of the journal of writes behind");
    add_one(text, "wal_bytes", "", "of", "database", snapshot->wal_bytes);
    add_one(text, "wal_bytes", "", "of", "journal", snapshot->journal_wal_bytes);
}

void exposition_write(const struct exposition *snapshot, enum exposition_format format, struct buf *out)
{
    const struct text text = {.out = out, .open = format == EXPOSITION_OPENMETRICS};

    add_program(&text, snapshot);
    add_requests(&text, snapshot);
    add_durations(&text, snapshot);
    add_counters(&text, snapshot);
    add_l1(&text, snapshot);
    add_l2(&text, snapshot);
    add_purges(&text, snapshot);
    add_workers(&text, snapshot);
    add_writer(&text, snapshot);
    if (text.open)
        buf_add_str(out, STR("# EOF\n"));
}
