/*
 * exposition: everything that is counted and measured, as Prometheus's text format 0.0.4 or OpenMetrics 1.0. Pure: from
 * a snapshot to text.
 *
 * Labels are of bounded number: names of resources (METRICS_ROWS_MAX), and words that are fixed here; never a key.
 * docs/metrics.md describes each metric.
 */
#ifndef LARDER_EXPOSITION_H
#define LARDER_EXPOSITION_H

#include "base/metrics.h"
#include "base/scoreboard.h"
#include "cache/l1.h"
#include "l2/l2.h"

enum exposition_format { EXPOSITION_TEXT, EXPOSITION_OPENMETRICS };

/* A resource's requests by outcome. */
struct exposition_row {
    struct str name;
    uint64_t outcomes[METRICS_OUTCOME_COUNT];
};

struct exposition {
    struct str version;
    int64_t started_ms;
    uint64_t resources;
    uint64_t counters[METRIC_COUNT];
    const struct exposition_row *rows;
    size_t rows_count;
    struct metrics_histogram tiers[METRICS_TIER_COUNT];

    struct l1_status l1;
    bool l1_trusted;
    enum l2_breaker breaker;
    bool l2_trusted;
    /* The purge log, and what follows it. */
    bool log_followed;
    int64_t lag_ms;
    uint64_t log_records, log_gaps, log_breaks;
    uint64_t bans, jobs_done, keys_removed;
    uint64_t outbox, journal; /* what waits in them */

    struct scoreboard_sum workers;
    uint64_t recycled, killed, reloads;

    bool writer_ready;
    uint64_t committed, commits;
    uint64_t database_bytes, wal_bytes, journal_wal_bytes;
};

/* The format that ACCEPT (the field's value) prefers; the older one where it does not care. */
enum exposition_format exposition_choose(struct str accept);
struct str exposition_content_type(enum exposition_format format);
/* Appends all of it to OUT. */
void exposition_write(const struct exposition *snapshot, enum exposition_format format, struct buf *out);

#endif
