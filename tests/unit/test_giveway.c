/* Statements that sleep for requests' sake. */
#include "store/giveway.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/metrics.h"
#include "base/sys.h"

/* Computes for so long, while REQUESTS are answered. */
static void work(int64_t us, uint64_t requests)
{
    int64_t end_us = sys_monotonic_us() + us;

    metrics_add(METRIC_requests, requests);
    while (sys_monotonic_us() < end_us)
        ;
}

static int64_t asleep_us(struct giveway *giveway)
{
    int64_t before_us = sys_monotonic_us();

    assert_false(giveway_step(giveway));
    return sys_monotonic_us() - before_us;
}

/* A statement that has been running for a while and has looked once. */
static void begin(struct giveway *giveway, int64_t timeout_ms)
{
    metrics_add(METRIC_requests, 1);
    giveway_begin(giveway, sys_monotonic_us(), timeout_ms);
    work(200, 0);
    assert_false(giveway_step(giveway));
}

static void it_sleeps_for_as_long_as_requests_take(void **state)
{
    struct giveway giveway;

    (void)state;
    begin(&giveway, 60000);
    work(200, 4);
    assert_true(asleep_us(&giveway) >= 4 * 50);
    work(200, 1000);
    assert_true(asleep_us(&giveway) >= 500);
}

static void what_is_too_short_to_sleep_adds_up(void **state)
{
    struct giveway giveway;

    (void)state;
    begin(&giveway, 60000);
    giveway.owed_us = 49;
    work(200, 1);
    assert_true(asleep_us(&giveway) >= 99);
    assert_int_equal(giveway.owed_us, 0);
}

static void without_requests_it_owes_nothing(void **state)
{
    struct giveway giveway;

    (void)state;
    begin(&giveway, 60000);
    for (int i = 0; i < 10; i++) {
        work(110, 0);
        assert_false(giveway_step(&giveway));
        assert_int_equal(giveway.owed_us, 0);
    }
}

static void requests_from_before_the_statement_count_for_nothing(void **state)
{
    struct giveway giveway;

    (void)state;
    metrics_add(METRIC_requests, 1000000);
    begin(&giveway, 60000);
    assert_int_equal(giveway.owed_us, 0);
}

static void in_the_second_half_of_its_time_it_sleeps_no_more(void **state)
{
    struct giveway giveway;

    (void)state;
    begin(&giveway, 60000);
    giveway.polite_until_us = sys_monotonic_us();
    giveway.owed_us = 499;
    work(200, 1000);
    assert_false(giveway_step(&giveway));
    assert_int_equal(giveway.owed_us, 499);
}

static void it_says_when_time_is_up(void **state)
{
    struct giveway giveway;

    (void)state;
    giveway_begin(&giveway, sys_monotonic_us(), 60000);
    assert_false(giveway_late(&giveway));
    giveway_begin(&giveway, sys_monotonic_us(), 20);
    work(20000, 0);
    assert_true(giveway_late(&giveway));
    assert_true(giveway_step(&giveway));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_sleeps_for_as_long_as_requests_take),
        cmocka_unit_test(what_is_too_short_to_sleep_adds_up),
        cmocka_unit_test(without_requests_it_owes_nothing),
        cmocka_unit_test(requests_from_before_the_statement_count_for_nothing),
        cmocka_unit_test(in_the_second_half_of_its_time_it_sleeps_no_more),
        cmocka_unit_test(it_says_when_time_is_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
