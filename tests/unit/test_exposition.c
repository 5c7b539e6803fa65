/* The text that Prometheus reads. */
#include "api/exposition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct exposition_row rows[] = {{.name = {"(larder)", 8}}, {.name = {"stock", 5}}};

static struct exposition snapshot_of_something(void)
{
    struct exposition snapshot = {.version = STR("1.2"),
                                  .started_ms = 1700000000123,
                                  .resources = 1,
                                  .rows = rows,
                                  .rows_count = 2,
                                  .breaker = L2_HALF_OPEN,
                                  .l2_trusted = true,
                                  .lag_ms = 2050};

    rows[1].outcomes[METRICS_OUTCOME_hit] = 7;
    snapshot.counters[METRIC_responses_3xx] = 3;
    snapshot.counters[METRIC_fills] = 12;
    snapshot.counters[METRIC_statement_us] = 1000001;
    snapshot.counters[METRIC_breaker_opened] = 2;
    snapshot.tiers[METRICS_TIER_l1].buckets[0] = 4;
    snapshot.tiers[METRICS_TIER_l1].buckets[2] = 1;
    snapshot.tiers[METRICS_TIER_l1].buckets[METRICS_BUCKETS - 1] = 1;
    snapshot.tiers[METRICS_TIER_l1].sum_us = 11000042;
    snapshot.l1.used = UINT64_MAX;
    snapshot.wal_bytes = 4096;
    snapshot.workers =
        (struct scoreboard_sum){.busy = 1, .idle = 2, .under_way = 5, .queued = 3, .threads = 8, .threads_busy = 2};
    return snapshot;
}

static char *write_out(const struct exposition *snapshot, enum exposition_format format)
{
    struct buf out = {0};

    exposition_write(snapshot, format, &out);
    return out.p;
}

static void assert_has(const char *text, const char *lines)
{
    if (!strstr(text, lines))
        fail_msg("not in the text: %s", lines);
}

/* What stands in both formats. */
static void assert_samples(const char *text)
{
    assert_has(text, "\nlarder_build_info{version=\"1.2\"} 1\n");
    assert_has(text, "\nlarder_start_time_seconds 1700000000.123\n");
    assert_has(text, "\nlarder_requests_total{resource=\"stock\",outcome=\"hit\"} 7\n");
    assert_has(text, "\nlarder_requests_total{resource=\"(larder)\",outcome=\"failed\"} 0\n");
    assert_has(text, "\nlarder_responses_total{class=\"3xx\"} 3\n");
    assert_has(text, "\nlarder_hits_total{tier=\"l1\"} 6\nlarder_hits_total{tier=\"l2\"} 0\n");
    assert_has(text, "\nlarder_fills_total 12\n");
    assert_has(text, "\nlarder_statement_seconds_total 1.000001\n");
    assert_has(text, "\nlarder_l1_used_bytes 18446744073709551615\n");
    assert_has(text, "\nlarder_l2_breaker_state{state=\"closed\"} 0\nlarder_l2_breaker_state{state=\"open\"} 0\n"
                     "larder_l2_breaker_state{state=\"half_open\"} 1\n");
    assert_has(text, "\nlarder_l2_breaker_changes_total{to=\"open\"} 2\n");
    assert_has(text, "\nlarder_invalidation_lag_seconds 2.050\n");
    assert_has(text, "\nlarder_workers{state=\"busy\"} 1\nlarder_workers{state=\"idle\"} 2\n");
    assert_has(text, "\nlarder_requests_under_way{state=\"working\"} 2\n");
    assert_has(text, "\nlarder_pool_threads{state=\"idle\"} 6\n");
    assert_has(text, "\nlarder_wal_bytes{of=\"database\"} 4096\n");
}

static void buckets_are_cumulative(void **state)
{
    struct exposition snapshot = snapshot_of_something();
    char *text = write_out(&snapshot, EXPOSITION_TEXT);

    (void)state;
    assert_has(text, "\n# TYPE larder_request_duration_seconds histogram\n");
    assert_has(text, "\nlarder_request_duration_seconds_bucket{tier=\"l1\",le=\"1e-05\"} 4\n"
                     "larder_request_duration_seconds_bucket{tier=\"l1\",le=\"2.5e-05\"} 4\n"
                     "larder_request_duration_seconds_bucket{tier=\"l1\",le=\"5e-05\"} 5\n");
    assert_has(text, "\nlarder_request_duration_seconds_bucket{tier=\"l1\",le=\"10.0\"} 5\n"
                     "larder_request_duration_seconds_bucket{tier=\"l1\",le=\"+Inf\"} 6\n"
                     "larder_request_duration_seconds_sum{tier=\"l1\"} 11.000042\n"
                     "larder_request_duration_seconds_count{tier=\"l1\"} 6\n");
    free(text);
}

static void the_older_format_names_families_like_their_samples(void **state)
{
    struct exposition snapshot = snapshot_of_something();
    char *text = write_out(&snapshot, EXPOSITION_TEXT);

    (void)state;
    assert_samples(text);
    assert_has(text, "# TYPE larder_build_info gauge\n");
    assert_has(text, "\n# TYPE larder_requests_total counter\n");
    assert_null(strstr(text, "# UNIT"));
    assert_null(strstr(text, "# EOF"));
    free(text);
}

static void openmetrics_names_families_without_suffixes_and_has_an_end(void **state)
{
    struct exposition snapshot = snapshot_of_something();
    char *text = write_out(&snapshot, EXPOSITION_OPENMETRICS);

    (void)state;
    assert_samples(text);
    assert_has(text, "# TYPE larder_build info\n");
    assert_has(text, "\n# TYPE larder_requests counter\n");
    assert_has(text, "\n# TYPE larder_statement_seconds counter\n# UNIT larder_statement_seconds seconds\n");
    assert_has(text, "\n# UNIT larder_wal_bytes bytes\n");
    assert_string_equal(strstr(text, "# EOF"), "# EOF\n");
    free(text);
}

static void values_of_labels_are_escaped(void **state)
{
    struct exposition snapshot = snapshot_of_something();

    (void)state;
    snapshot.version = STR("a\\b\"c\nd}");
    for (enum exposition_format format = EXPOSITION_TEXT; format <= EXPOSITION_OPENMETRICS; format++) {
        char *text = write_out(&snapshot, format);

        assert_has(text, "larder_build_info{version=\"a\\\\b\\\"c\\nd}\"} 1\n");
        free(text);
    }
}

static void accept_chooses_the_format(void **state)
{
    static const struct {
        const char *accept;
        enum exposition_format format;
    } cases[] = {
        {"", EXPOSITION_TEXT},
        {"*/*", EXPOSITION_TEXT},
        {"text/plain", EXPOSITION_TEXT},
        {"application/openmetrics-text", EXPOSITION_OPENMETRICS},
        {"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
         "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
         EXPOSITION_OPENMETRICS},
        {"application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", EXPOSITION_TEXT},
        {"application/openmetrics-text;version=1.0.0;q=0.2,text/plain;version=0.0.4;q=0.5", EXPOSITION_TEXT},
        {"application/openmetrics-text;q=0", EXPOSITION_TEXT},
        {"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;q=0.3,"
         "text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
         EXPOSITION_OPENMETRICS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (exposition_choose(str_from(cases[i].accept)) != cases[i].format)
            fail_msg("Accept: %s", cases[i].accept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_are_cumulative),
        cmocka_unit_test(the_older_format_names_families_like_their_samples),
        cmocka_unit_test(openmetrics_names_families_without_suffixes_and_has_an_end),
        cmocka_unit_test(values_of_labels_are_escaped),
        cmocka_unit_test(accept_chooses_the_format),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
