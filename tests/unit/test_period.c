/* Days, weeks and seasons of the UTC calendar. */
#include "config/period.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static int64_t day_of(const char *text)
{
    int64_t day;

    if (period_parse(str_from(text), &day) != ERR_OK)
        fail_msg("`%s` is no day", text);
    return day;
}

static void expect_day(int64_t day, const char *text)
{
    struct buf printed = {0};

    period_print(day, &printed);
    assert_string_equal(printed.p, text);
    buf_free(&printed);
}

static void a_day_is_read_as_it_is_printed(void **state)
{
    (void)state;
    assert_int_equal(day_of("1970-01-01"), 0);
    assert_int_equal(day_of("2000-03-01") - day_of("2000-02-28"), 2);
    assert_int_equal(day_of("2100-03-01") - day_of("2100-02-28"), 1);
    for (int64_t day = 0; day <= day_of("9999-12-31"); day += 17) {
        time_t seconds = (time_t)(day * 86400);
        struct tm parts;
        char expected[64];

        gmtime_r(&seconds, &parts);
        strftime(expected, sizeof expected, "%Y-%m-%d", &parts);
        expect_day(day, expected);
        assert_int_equal(day_of(expected), day);
    }
}

static void what_no_calendar_has_is_no_day(void **state)
{
    static const char *const texts[] = {"",           "2026",       "2026-1-01",  "2026-01-1",  "26-01-01",
                                        "2026-00-01", "2026-13-01", "2026-01-00", "2026-01-32", "2026-02-29",
                                        "2100-02-29", "2026-04-31", "1969-12-31", "2026/01/01", "2026-01-01 ",
                                        " 026-01-01", "+026-01-01", "2026-01-0x", "today",      "2026-01-010",
                                        "2026-0a-01"};
    int64_t day = 7;

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++)
        if (period_parse(str_from(texts[i]), &day) != ERR_SYNTAX)
            fail_msg("`%s` is taken for a day", texts[i]);
    assert_int_equal(day, 7);
    assert_int_equal(day_of("2024-02-29") + 1, day_of("2024-03-01"));
}

static void a_moment_belongs_to_its_day_in_utc(void **state)
{
    (void)state;
    setenv("TZ", "Pacific/Kiritimati", 1);
    tzset();
    expect_day(period_day(INT64_C(1795910399999)), "2026-11-28");
    expect_day(period_day(INT64_C(1795910400000)), "2026-11-29");
    assert_int_equal(period_day(0), 0);
}

static void each_day_lies_in_its_period(void **state)
{
    int64_t seasons[] = {day_of("2026-01-01"), day_of("2026-04-01"), day_of("2026-10-01")};
    static const struct {
        enum period_kind kind;
        const char *day, *start, *next; /* NULL: none */
    } rows[] = {
        {PERIOD_NONE, "2026-11-28", NULL, NULL},
        {PERIOD_DAILY, "2026-11-28", "2026-11-28", "2026-11-29"},
        {PERIOD_DAILY, "2024-02-28", "2024-02-28", "2024-02-29"},
        {PERIOD_DAILY, "2026-12-31", "2026-12-31", "2027-01-01"},
        {PERIOD_WEEKLY, "2026-11-28", "2026-11-23", "2026-11-30"}, /* a Saturday */
        {PERIOD_WEEKLY, "2026-11-29", "2026-11-23", "2026-11-30"}, /* a Sunday */
        {PERIOD_WEEKLY, "2026-11-30", "2026-11-30", "2026-12-07"}, /* a Monday */
        {PERIOD_WEEKLY, "2027-01-01", "2026-12-28", "2027-01-04"}, /* over the end of a year */
        {PERIOD_WEEKLY, "2024-03-01", "2024-02-26", "2024-03-04"}, /* over a leap day */
        {PERIOD_WEEKLY, "1970-01-05", "1970-01-05", "1970-01-12"},
        {PERIOD_SEASON, "2025-12-31", NULL, "2026-01-01"},
        {PERIOD_SEASON, "2026-01-01", "2026-01-01", "2026-04-01"},
        {PERIOD_SEASON, "2026-03-31", "2026-01-01", "2026-04-01"},
        {PERIOD_SEASON, "2026-04-01", "2026-04-01", "2026-10-01"},
        {PERIOD_SEASON, "2026-10-01", "2026-10-01", NULL},
        {PERIOD_SEASON, "2099-01-01", "2026-10-01", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct period_rule rule = {.kind = rows[i].kind, .seasons = seasons, .seasons_count = COUNT(seasons)};
        int64_t start = -1, next = -1;

        assert_int_equal(period_find(&rule, day_of(rows[i].day), &start), rows[i].start != NULL);
        if (rows[i].start)
            expect_day(start, rows[i].start);
        assert_int_equal(period_next(&rule, day_of(rows[i].day), &next), rows[i].next != NULL);
        if (rows[i].next)
            expect_day(next, rows[i].next);
    }
}

/* Whatever the rule: periods follow one another without a gap, and each day of one lies in it. */
static void periods_follow_one_another_without_a_gap(void **state)
{
    int64_t seasons[] = {10, 11, 40, 400};
    static const enum period_kind kinds[] = {PERIOD_DAILY, PERIOD_WEEKLY, PERIOD_SEASON};

    (void)state;
    for (size_t i = 0; i < COUNT(kinds); i++) {
        struct period_rule rule = {.kind = kinds[i], .seasons = seasons, .seasons_count = COUNT(seasons)};
        int64_t previous = -1, start, next;

        for (int64_t day = 10; day < 3000; day++) {
            assert_true(period_find(&rule, day, &start) && start <= day);
            if (start != previous)
                assert_int_equal(start, day == 10 ? start : day);
            if (period_next(&rule, day, &next))
                assert_true(next > day && period_find(&rule, next, &start) && start == next);
            assert_true(period_find(&rule, day, &previous));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_day_is_read_as_it_is_printed),           cmocka_unit_test(what_no_calendar_has_is_no_day),
        cmocka_unit_test(a_moment_belongs_to_its_day_in_utc),       cmocka_unit_test(each_day_lies_in_its_period),
        cmocka_unit_test(periods_follow_one_another_without_a_gap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
