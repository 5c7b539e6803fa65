/* Counters in shared memory. */
#include "base/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void wait_for(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
}

/* These run in order: what was counted before must still be there after. */

static void counting_works_without_a_table(void **state)
{
    (void)state;
    metrics_attach(3);
    metrics_add(METRIC_purges, 2);
    metrics_add(METRIC_purges, 3);
    assert_int_equal(metrics_sum(METRIC_purges), 5);
    assert_int_equal(metrics_sum(METRIC_fills), 0);
    assert_int_equal(metrics_rows(), 2);
    metrics_answered(metrics_row(STR("stock")), METRICS_OUTCOME_hit, METRICS_TIER_l1, 30);
}

static void making_the_table_carries_over_what_was_counted(void **state)
{
    (void)state;
    assert_int_equal(metrics_init(2), ERR_OK);
    assert_int_equal(metrics_sum(METRIC_purges), 5);
    metrics_add(METRIC_purges, 1);
    assert_int_equal(metrics_sum(METRIC_purges), 6);
}

static void a_resource_keeps_its_row(void **state)
{
    uint64_t outcomes[METRICS_OUTCOME_COUNT];
    char name[16], long_name[METRICS_ROW_NAME_MAX + 2] = {0};

    (void)state;
    assert_int_equal(metrics_rows(), 3);
    assert_int_equal(metrics_row(STR("stock")), 2);
    metrics_row_sum(2, outcomes);
    assert_int_equal(outcomes[METRICS_OUTCOME_hit], 1);
    assert_int_equal(outcomes[METRICS_OUTCOME_miss], 0);
    assert_int_equal(metrics_row(STR("stocks")), 3);
    assert_string_equal(metrics_row_name(3), "stocks");
    memset(long_name, 'a', METRICS_ROW_NAME_MAX + 1);
    assert_int_equal(metrics_row(str_from(long_name)), METRICS_ROW_OTHERS);
    for (unsigned i = 4; i < METRICS_ROWS_MAX; i++) {
        snprintf(name, sizeof name, "r%u", i);
        assert_int_equal(metrics_row(str_from(name)), i);
    }
    assert_int_equal(metrics_row(STR("one-too-many")), METRICS_ROW_OTHERS);
    assert_int_equal(metrics_row(STR("stock")), 2);
    assert_int_equal(metrics_rows(), METRICS_ROWS_MAX);
    assert_string_equal(metrics_row_name(METRICS_ROWS_MAX), "");
    metrics_answered(METRICS_ROW_OTHERS, METRICS_OUTCOME_hit, METRICS_TIER_l2, 70);
    assert_int_equal(metrics_outcome_sum(METRICS_OUTCOME_hit), 2);
}

static void durations_are_counted_in_the_bucket_they_fit(void **state)
{
    struct metrics_histogram histogram;

    (void)state;
    metrics_answered(METRICS_ROW_OWN, METRICS_OUTCOME_other, METRICS_TIER_other, -5);
    metrics_answered(METRICS_ROW_OWN, METRICS_OUTCOME_other, METRICS_TIER_other, 10);
    metrics_answered(METRICS_ROW_OWN, METRICS_OUTCOME_other, METRICS_TIER_other, 11);
    metrics_answered(METRICS_ROW_OWN, METRICS_OUTCOME_other, METRICS_TIER_other, 10000000);
    metrics_answered(METRICS_ROW_OWN, METRICS_OUTCOME_other, METRICS_TIER_other, 10000001);
    metrics_tier_sum(METRICS_TIER_other, &histogram);
    assert_int_equal(histogram.buckets[0], 2);
    assert_int_equal(histogram.buckets[1], 1);
    assert_int_equal(histogram.buckets[METRICS_BUCKETS - 2], 1);
    assert_int_equal(histogram.buckets[METRICS_BUCKETS - 1], 1);
    assert_int_equal(histogram.sum_us, 20000022);
    assert_int_equal(metrics_tier_count(&histogram), 5);
    metrics_tier_sum(METRICS_TIER_l1, &histogram);
    assert_int_equal(metrics_tier_count(&histogram), 1);
    assert_int_equal(histogram.sum_us, 30);
}

static void a_quantile_is_found_within_its_bucket(void **state)
{
    struct metrics_histogram histogram = {.sum_us = 0};

    (void)state;
    assert_int_equal(metrics_quantile(&histogram, 0.5), 0);
    histogram.buckets[3] = 100; /* above 50 us, up to 100 */
    assert_int_equal(metrics_quantile(&histogram, 0.5), 75);
    assert_int_equal(metrics_quantile(&histogram, 1.0), 100);
    assert_int_equal(metrics_quantile(&histogram, 0.0), 50);
    histogram.buckets[0] = 100;
    assert_int_equal(metrics_quantile(&histogram, 0.25), 5);
    assert_int_equal(metrics_quantile(&histogram, 0.5), 10);
    histogram.buckets[METRICS_BUCKETS - 1] = 800;
    assert_int_equal(metrics_quantile(&histogram, 0.99), 10000000);
}

static void children_count_in_their_slots_and_their_death_loses_nothing(void **state)
{
    (void)state;
    for (unsigned slot = 0; slot < 4; slot++) {
        pid_t pid = fork();

        if (pid == 0) {
            /* Slots 2 and 3 do not exist. */
            metrics_attach(slot);
            for (int i = 0; i < 1000; i++)
                metrics_add(METRIC_requests, 1);
            metrics_answered(METRICS_ROW_OWN, METRICS_OUTCOME_written, METRICS_TIER_write, 1);
            raise(SIGKILL);
        }
        wait_for(pid);
    }
    assert_int_equal(metrics_sum(METRIC_requests), 4000);
    assert_int_equal(metrics_sum(METRIC_purges), 6);
    assert_int_equal(metrics_outcome_sum(METRICS_OUTCOME_written), 4);
}

static void *count_much(void *context)
{
    for (int i = 0; i < 20000; i++)
        metrics_add(METRIC_statements, 1);
    return context;
}

static void threads_may_share_a_slot(void **state)
{
    pthread_t threads[4];

    (void)state;
    metrics_attach(0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_much, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(metrics_sum(METRIC_statements), 80000);
}

static void a_second_table_keeps_the_sums(void **state)
{
    (void)state;
    assert_int_equal(metrics_init(8), ERR_OK);
    assert_int_equal(metrics_sum(METRIC_requests), 4000);
    metrics_attach(7);
    metrics_add(METRIC_requests, 1);
    assert_int_equal(metrics_sum(METRIC_requests), 4001);
    assert_int_equal(metrics_outcome_sum(METRICS_OUTCOME_written), 4);
    assert_int_equal(metrics_row(STR("stocks")), 3);
}

static void every_metric_has_a_name_and_words(void **state)
{
    (void)state;
    for (int i = 0; i < METRIC_COUNT; i++) {
        assert_true(strlen(metrics_name((enum metric)i)) > 0);
        assert_int_equal(strspn(metrics_name((enum metric)i), "abcdefghijklmnopqrstuvwxyz0123456789_"),
                         strlen(metrics_name((enum metric)i)));
        assert_true(strlen(metrics_help((enum metric)i)) > 0);
    }
    assert_string_equal(metrics_name(METRIC_purges), "purges");
    assert_string_equal(metrics_name(METRIC_COUNT), "");
    assert_string_equal(metrics_help(METRIC_COUNT), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counting_works_without_a_table),
        cmocka_unit_test(making_the_table_carries_over_what_was_counted),
        cmocka_unit_test(a_resource_keeps_its_row),
        cmocka_unit_test(durations_are_counted_in_the_bucket_they_fit),
        cmocka_unit_test(a_quantile_is_found_within_its_bucket),
        cmocka_unit_test(children_count_in_their_slots_and_their_death_loses_nothing),
        cmocka_unit_test(threads_may_share_a_slot),
        cmocka_unit_test(a_second_table_keeps_the_sums),
        cmocka_unit_test(every_metric_has_a_name_and_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
