/* What time allows an entry to be used for. */
#include "cache/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define NOW INT64_C(1700000000000)

static const struct policy usual = {
    .ttl_ms = 100000, .stale_ms = 1000000, .stale_if_error_ms = 5000000, .negative_ms = 30000};

static void an_entry_goes_through_its_ages_in_order(void **state)
{
    static const struct {
        int64_t after_ms;
        enum policy_verdict verdict;
    } table[] = {{0, POLICY_FRESH},
                 {99999, POLICY_FRESH},
                 {100000, POLICY_STALE},
                 {1099999, POLICY_STALE},
                 {1100000, POLICY_STALE_IF_ERROR},
                 {5099999, POLICY_STALE_IF_ERROR},
                 {5100000, POLICY_DEAD},
                 {INT64_C(1) << 50, POLICY_DEAD}};
    struct entry entry = {.status = 200};

    (void)state;
    policy_stamp(&usual, NOW, 0, &entry);
    assert_int_equal(entry.stored_at_ms, NOW);
    for (size_t i = 0; i < COUNT(table); i++)
        assert_int_equal(policy_judge(&entry, NOW + table[i].after_ms), table[i].verdict);
}

static void a_negative_entry_is_fresh_or_dead(void **state)
{
    struct entry entry = {.status = 404};

    (void)state;
    policy_stamp(&usual, NOW, 0, &entry);
    assert_int_equal(policy_judge(&entry, NOW + 29999), POLICY_FRESH);
    assert_int_equal(policy_judge(&entry, NOW + 30000), POLICY_DEAD);
    assert_int_equal(policy_remaining_ms(&entry, NOW), 30000);
}

static void a_stale_time_longer_than_that_for_errors_counts_for_both(void **state)
{
    const struct policy policy = {.ttl_ms = 1000, .stale_ms = 5000, .stale_if_error_ms = 10};
    struct entry entry = {.status = 200};

    (void)state;
    policy_stamp(&policy, NOW, 0, &entry);
    assert_int_equal(policy_judge(&entry, NOW + 5999), POLICY_STALE);
    assert_int_equal(policy_judge(&entry, NOW + 6000), POLICY_DEAD);
    assert_int_equal(policy_remaining_ms(&entry, NOW), 6000);
}

static void jitter_shortens_by_a_tenth_at_most_and_never_lengthens(void **state)
{
    static const struct {
        double jitter;
        int64_t life_ms;
    } table[] = {{0, 100000}, {0.5, 95000}, {0.999, 90010}, {1, 90000}, {7, 90000}, {-3, 100000}};

    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        struct entry entry = {.status = 200};

        policy_stamp(&usual, NOW, table[i].jitter, &entry);
        assert_int_equal(entry.fresh_until_ms - NOW, table[i].life_ms);
        assert_int_equal(entry.stale_until_ms - entry.fresh_until_ms, usual.stale_ms);
        assert_int_equal(entry.error_until_ms - entry.fresh_until_ms, usual.stale_if_error_ms);
    }
}

static void only_what_has_a_life_is_kept(void **state)
{
    const struct policy never = {.stale_ms = 1000}, found_only = {.ttl_ms = 1}, absent_only = {.negative_ms = 1};

    (void)state;
    assert_false(policy_keeps(&never, false));
    assert_false(policy_keeps(&never, true));
    assert_true(policy_keeps(&found_only, false));
    assert_false(policy_keeps(&found_only, true));
    assert_false(policy_keeps(&absent_only, false));
    assert_true(policy_keeps(&absent_only, true));
}

static void the_longest_durations_do_not_overflow(void **state)
{
    const struct policy endless = {
        .ttl_ms = INT64_MAX, .stale_ms = INT64_MAX, .stale_if_error_ms = INT64_MAX, .negative_ms = INT64_MAX};
    struct entry entry = {.status = 200};

    (void)state;
    policy_stamp(&endless, NOW, 0.3, &entry);
    assert_int_equal(entry.fresh_until_ms, ENTRY_TIME_MAX_MS);
    assert_int_equal(entry.error_until_ms, ENTRY_TIME_MAX_MS);
    assert_int_equal(policy_judge(&entry, NOW), POLICY_FRESH);
}

static void what_remains_is_the_time_until_nothing_could_use_it(void **state)
{
    struct entry entry = {.status = 200};

    (void)state;
    policy_stamp(&usual, NOW, 0, &entry);
    assert_int_equal(policy_remaining_ms(&entry, NOW), 5100000);
    assert_int_equal(policy_remaining_ms(&entry, NOW + 5099999), 1);
    assert_int_equal(policy_remaining_ms(&entry, NOW + 5100000), 0);
    assert_int_equal(policy_remaining_ms(&entry, NOW + 9999999), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_goes_through_its_ages_in_order),
        cmocka_unit_test(a_negative_entry_is_fresh_or_dead),
        cmocka_unit_test(a_stale_time_longer_than_that_for_errors_counts_for_both),
        cmocka_unit_test(jitter_shortens_by_a_tenth_at_most_and_never_lengthens),
        cmocka_unit_test(only_what_has_a_life_is_kept),
        cmocka_unit_test(the_longest_durations_do_not_overflow),
        cmocka_unit_test(what_remains_is_the_time_until_nothing_could_use_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
