/* The words of errors, and reports about files. */
#include "base/err.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static void every_error_has_words_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < ERR_COUNT; i++) {
        assert_true(strlen(err_text((enum err)i)) > 0);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(err_text((enum err)i), err_text((enum err)k));
    }
}

static void a_number_that_is_no_error_still_has_words(void **state)
{
    (void)state;
    assert_string_equal(err_text((enum err)(ERR_COUNT + 7)), "unknown error");
    assert_string_equal(err_text((enum err) - 1), "unknown error");
}

static void errno_becomes_the_nearest_error(void **state)
{
    static const struct {
        int number;
        enum err err;
    } table[] = {{0, ERR_OK},
                 {ENOENT, ERR_NOT_FOUND},
                 {EACCES, ERR_DENIED},
                 {EEXIST, ERR_EXISTS},
                 {ENOSPC, ERR_FULL},
                 {EROFS, ERR_READ_ONLY},
                 {ETIMEDOUT, ERR_TIMEOUT},
                 {EAGAIN, ERR_AGAIN},
                 {ECONNREFUSED, ERR_UNAVAILABLE},
                 {EPIPE, ERR_UNAVAILABLE},
                 {EIO, ERR_IO},
                 {EISDIR, ERR_DIRECTORY},
                 {99999, ERR_IO}};

    (void)state;
    for (size_t i = 0; i < COUNT(table); i++)
        assert_int_equal(err_from_errno(table[i].number), table[i].err);
}

static void a_report_keeps_its_lines_in_order_with_their_places(void **state)
{
    struct report *report = report_new();

    (void)state;
    assert_int_equal(report_count(report), 0);
    report_add(report, "larder.conf", 0, 0, "cannot be read: %s", "not found");
    report_add(report, "larder.conf", 12, 0, "unknown setting `%s`", "colour");
    report_add(report, "stock.sql", 7, 3, "unknown column");
    assert_int_equal(report_count(report), 3);
    assert_string_equal(report_line(report, 0), "larder.conf: cannot be read: not found");
    assert_string_equal(report_line(report, 1), "larder.conf:12: unknown setting `colour`");
    assert_string_equal(report_line(report, 2), "stock.sql:7:3: unknown column");
    report_free(&report);
    assert_null(report);
    report_free(&report);
}

static void a_report_has_no_limit_of_lines(void **state)
{
    struct report *report = report_new();

    (void)state;
    for (unsigned i = 1; i <= 1000; i++)
        report_add(report, "f", i, 0, "%u", i);
    assert_int_equal(report_count(report), 1000);
    assert_string_equal(report_line(report, 999), "f:1000: 1000");
    report_free(&report);
}

static void a_line_of_a_report_is_one_line_whatever_it_quotes(void **state)
{
    struct report *report = report_new();

    (void)state;
    report_add(report, "f", 1, 0, "bad value `%s`", "a\nf:2: all is well\x1b[2J\x7f");
    assert_string_equal(report_line(report, 0), "f:1: bad value `a?f:2: all is well?[2J?`");
    report_free(&report);
}

static void a_line_beyond_the_last_is_empty(void **state)
{
    struct report *report = report_new();

    (void)state;
    assert_string_equal(report_line(report, 0), "");
    report_free(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_words_of_its_own),
        cmocka_unit_test(a_number_that_is_no_error_still_has_words),
        cmocka_unit_test(errno_becomes_the_nearest_error),
        cmocka_unit_test(a_report_keeps_its_lines_in_order_with_their_places),
        cmocka_unit_test(a_report_has_no_limit_of_lines),
        cmocka_unit_test(a_line_of_a_report_is_one_line_whatever_it_quotes),
        cmocka_unit_test(a_line_beyond_the_last_is_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
