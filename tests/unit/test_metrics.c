/* Counters in shared memory. */
#include "base/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
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
    metrics_add(METRIC_hits, 2);
    metrics_add(METRIC_hits, 3);
    assert_int_equal(metrics_sum(METRIC_hits), 5);
    assert_int_equal(metrics_sum(METRIC_misses), 0);
}

static void making_the_table_carries_over_what_was_counted(void **state)
{
    (void)state;
    assert_int_equal(metrics_init(2), ERR_OK);
    assert_int_equal(metrics_sum(METRIC_hits), 5);
    metrics_add(METRIC_hits, 1);
    assert_int_equal(metrics_sum(METRIC_hits), 6);
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
            raise(SIGKILL);
        }
        wait_for(pid);
    }
    assert_int_equal(metrics_sum(METRIC_requests), 4000);
    assert_int_equal(metrics_sum(METRIC_hits), 6);
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
    assert_string_equal(metrics_name(METRIC_hits), "hits");
    assert_string_equal(metrics_name(METRIC_COUNT), "");
    assert_string_equal(metrics_help(METRIC_COUNT), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counting_works_without_a_table),
        cmocka_unit_test(making_the_table_carries_over_what_was_counted),
        cmocka_unit_test(children_count_in_their_slots_and_their_death_loses_nothing),
        cmocka_unit_test(threads_may_share_a_slot),
        cmocka_unit_test(a_second_table_keeps_the_sums),
        cmocka_unit_test(every_metric_has_a_name_and_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
