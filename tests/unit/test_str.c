/* Views: cutting, numbers, UTF-8, percent coding; globs are in test_glob.c. */
#include "base/str.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

#define assert_str(view, text) assert_true(str_equal((view), str_from(text)))

static void views_compare_as_bytes(void **state)
{
    const struct str empty = {NULL, 0};

    (void)state;
    assert_true(str_equal(STR("a\0b"), STR("a\0b")));
    assert_false(str_equal(STR("a\0b"), STR("a\0c")));
    assert_true(str_equal(empty, STR("")));
    assert_true(str_equal_nocase(STR("Content-TYPE"), STR("content-type")));
    assert_false(str_equal_nocase(STR("@"), STR("`")));
    assert_false(str_equal_nocase(STR("\xc3\x84"), STR("\xc3\xa4")));
    assert_true(str_starts(STR("stocks:detail"), STR("stocks:")));
    assert_true(str_starts(empty, empty));
    assert_false(str_starts(STR("st"), STR("stocks")));
    assert_true(str_compare(STR("a"), STR("b")) < 0);
    assert_true(str_compare(STR("ab"), STR("a")) > 0);
    assert_true(str_compare(STR("\xff"), STR("a")) > 0);
    assert_int_equal(str_compare(empty, STR("")), 0);
}

static void trimming_takes_blanks_and_tabs_only(void **state)
{
    (void)state;
    assert_str(str_trim(STR(" \t a b \t")), "a b");
    assert_str(str_trim(STR(" \t ")), "");
    assert_str(str_trim(STR("\n a")), "\n a");
    assert_int_equal(str_trim((struct str){NULL, 0}).len, 0);
}

static void cutting_gives_every_part_and_then_nothing(void **state)
{
    struct str rest = STR("a=1&&b");

    (void)state;
    assert_str(str_cut(&rest, '&'), "a=1");
    assert_str(str_cut(&rest, '&'), "");
    assert_str(str_cut(&rest, '&'), "b");
    assert_null(rest.p);
    assert_int_equal(str_cut(&rest, '&').len, 0);
    rest = STR("a&");
    assert_str(str_cut(&rest, '&'), "a");
    assert_non_null(rest.p);
    assert_int_equal(rest.len, 0);
}

static void words_are_separated_by_any_run_of_blanks(void **state)
{
    struct str rest = STR("  ticker\ttext   upper ");

    (void)state;
    assert_str(str_word(&rest), "ticker");
    assert_str(str_word(&rest), "text");
    assert_str(str_word(&rest), "upper");
    assert_int_equal(str_word(&rest).len, 0);
    assert_int_equal(str_word(&rest).len, 0);
}

static void integers_are_parsed_whole_or_refused(void **state)
{
    static const struct {
        struct str text;
        enum err err;
        int64_t value;
    } table[] = {
        {STR("0"), ERR_OK, 0},
        {STR("-0"), ERR_OK, 0},
        {STR("007"), ERR_OK, 7},
        {STR("-17"), ERR_OK, -17},
        {STR("9223372036854775807"), ERR_OK, INT64_MAX},
        {STR("-9223372036854775808"), ERR_OK, INT64_MIN},
        {STR("9223372036854775808"), ERR_RANGE, 0},
        {STR("-9223372036854775809"), ERR_RANGE, 0},
        {STR("99999999999999999999999999"), ERR_RANGE, 0},
        {STR("99999999999999999999999999x"), ERR_SYNTAX, 0},
        {STR(""), ERR_SYNTAX, 0},
        {STR("-"), ERR_SYNTAX, 0},
        {STR("+1"), ERR_SYNTAX, 0},
        {STR(" 1"), ERR_SYNTAX, 0},
        {STR("1 "), ERR_SYNTAX, 0},
        {STR("1.0"), ERR_SYNTAX, 0},
        {STR("1\0"), ERR_SYNTAX, 0},
        {STR("0x10"), ERR_SYNTAX, 0},
        {STR("--1"), ERR_SYNTAX, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        int64_t value = 4711;

        assert_int_equal(str_to_int64(table[i].text, &value), table[i].err);
        assert_int_equal(value, table[i].err ? 4711 : table[i].value);
    }
}

static void numbers_are_json_numbers(void **state)
{
    static const struct {
        struct str text;
        enum err err;
        double value;
    } table[] = {
        {STR("0"), ERR_OK, 0},
        {STR("254.31"), ERR_OK, 254.31},
        {STR("-1.5e3"), ERR_OK, -1500},
        {STR("1E+2"), ERR_OK, 100},
        {STR("1e-400"), ERR_OK, 0},
        {STR("1e400"), ERR_RANGE, 0},
        {STR("-1e999999999"), ERR_RANGE, 0},
        {STR(""), ERR_SYNTAX, 0},
        {STR("."), ERR_SYNTAX, 0},
        {STR(".5"), ERR_SYNTAX, 0},
        {STR("5."), ERR_SYNTAX, 0},
        {STR("1e"), ERR_SYNTAX, 0},
        {STR("1e+"), ERR_SYNTAX, 0},
        {STR("1e5x"), ERR_SYNTAX, 0},
        {STR("-"), ERR_SYNTAX, 0},
        {STR("+1"), ERR_SYNTAX, 0},
        {STR("nan"), ERR_SYNTAX, 0},
        {STR("inf"), ERR_SYNTAX, 0},
        {STR("0x1p3"), ERR_SYNTAX, 0},
        {STR("1,5"), ERR_SYNTAX, 0},
        {STR("1\0"), ERR_SYNTAX, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        double value = 4711;

        assert_int_equal(str_to_double(table[i].text, &value), table[i].err);
        assert_true(value == (table[i].err ? 4711 : table[i].value));
    }
}

static void a_number_of_absurd_length_is_out_of_range(void **state)
{
    char digits[2000];
    double value = 0;

    (void)state;
    memset(digits, '1', sizeof(digits));
    assert_int_equal(str_to_double((struct str){digits, sizeof(digits)}, &value), ERR_RANGE);
}

static void durations_need_a_unit_unless_zero(void **state)
{
    static const struct {
        struct str text;
        enum err err;
        int64_t value;
    } table[] = {
        {STR("0"), ERR_OK, 0},
        {STR("250ms"), ERR_OK, 250},
        {STR("30s"), ERR_OK, 30000},
        {STR("5m"), ERR_OK, 300000},
        {STR("1h"), ERR_OK, 3600000},
        {STR("7d"), ERR_OK, 604800000},
        {STR("106751991167d"), ERR_OK, INT64_C(106751991167) * 86400000},
        {STR("106751991168d"), ERR_RANGE, 0},
        {STR("99999999999999999999s"), ERR_RANGE, 0},
        {STR("30"), ERR_SYNTAX, 0},
        {STR("s"), ERR_SYNTAX, 0},
        {STR("-1s"), ERR_SYNTAX, 0},
        {STR("1.5h"), ERR_SYNTAX, 0},
        {STR("1 s"), ERR_SYNTAX, 0},
        {STR("1w"), ERR_SYNTAX, 0},
        {STR("1S"), ERR_SYNTAX, 0},
        {STR(""), ERR_SYNTAX, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        int64_t value = 4711;

        assert_int_equal(str_to_duration_ms(table[i].text, &value), table[i].err);
        assert_int_equal(value, table[i].err ? 4711 : table[i].value);
    }
}

static void sizes_are_powers_of_1024(void **state)
{
    static const struct {
        struct str text;
        enum err err;
        uint64_t value;
    } table[] = {
        {STR("0"), ERR_OK, 0},
        {STR("512"), ERR_OK, 512},
        {STR("512B"), ERR_OK, 512},
        {STR("64K"), ERR_OK, 65536},
        {STR("64KB"), ERR_OK, 65536},
        {STR("64KiB"), ERR_OK, 65536},
        {STR("1MiB"), ERR_OK, 1048576},
        {STR("2G"), ERR_OK, UINT64_C(2147483648)},
        {STR("8589934592G"), ERR_RANGE, 0},
        {STR("64k"), ERR_SYNTAX, 0},
        {STR("K"), ERR_SYNTAX, 0},
        {STR("64iB"), ERR_SYNTAX, 0},
        {STR("-1"), ERR_SYNTAX, 0},
        {STR("1T"), ERR_SYNTAX, 0},
        {STR(""), ERR_SYNTAX, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        uint64_t value = 4711;

        assert_int_equal(str_to_size(table[i].text, &value), table[i].err);
        assert_int_equal(value, table[i].err ? 4711 : table[i].value);
    }
}

/* The slow and obvious way, by code points. */
static size_t encode(uint32_t code, size_t len, char *out)
{
    static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};

    for (size_t i = len - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(leads[len] | code);
    return len;
}

static void every_code_point_is_utf8_in_its_shortest_form_only(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x120000; code++) {
        size_t shortest = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
        bool valid = code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);

        for (size_t len = shortest; len <= 4; len++) {
            char bytes[4];
            struct str text = {bytes, encode(code, len, bytes)};

            if (str_is_utf8(text) != (valid && len == shortest))
                fail_msg("U+%X in %zu bytes", code, len);
            if (str_utf8_len(text) != (valid && len == shortest ? len : 0))
                fail_msg("length of U+%X in %zu bytes", code, len);
            if (len > 1 && str_is_utf8((struct str){bytes, len - 1}))
                fail_msg("U+%X cut short", code);
        }
    }
}

static void broken_utf8_is_found_wherever_it_stands(void **state)
{
    static const char *const broken[] = {"\x80", "\xc3",     "\xe2\x82",        "\xf0\x9f\x8d",
                                         "\xff", "\xc0\xaf", "\xf5\x80\x80\x80"};

    (void)state;
    assert_true(str_is_utf8((struct str){NULL, 0}));
    assert_int_equal(str_utf8_len((struct str){NULL, 0}), 0);
    for (size_t i = 0; i < COUNT(broken); i++)
        for (size_t at = 0; at < 20; at++) {
            struct buf text = {0};

            buf_add(&text, "abcdefghijklmnopqrst", at);
            buf_add_str(&text, str_from(broken[i]));
            assert_false(str_is_utf8(buf_str(&text)));
            buf_add(&text, "abcdefghijklmnopqrst", 20 - at);
            assert_false(str_is_utf8(buf_str(&text)));
            buf_free(&text);
        }
}

static void control_characters_are_found(void **state)
{
    (void)state;
    assert_false(str_has_control(STR("plain text \xc3\xa4")));
    assert_true(str_has_control(STR("a\0")));
    assert_true(str_has_control(STR("a\tb")));
    assert_true(str_has_control(STR("\x7f")));
}

static void percent_coding_is_undone_or_refused_whole(void **state)
{
    static const struct {
        struct str text;
        bool plus;
        const char *decoded; /* NULL: refused */
    } table[] = {
        {STR(""), false, ""},
        {STR("BRK.B"), false, "BRK.B"},
        {STR("a%20b+c"), false, "a b+c"},
        {STR("a%20b+c"), true, "a b c"},
        {STR("%2B"), true, "+"},
        {STR("%2f%2F"), false, "//"},
        {STR("%25%32%30"), false, "%20"},
        {STR("Brown%E2%80%93Forman"), false,
         "Brown\xe2\x80\x93"
         "Forman"},
        {STR("Brown\xe2\x80\x93"
             "Forman"),
         false,
         "Brown\xe2\x80\x93"
         "Forman"},
        {STR("\xe2%80\x93"), false, "\xe2\x80\x93"},
        {STR("%"), false, NULL},
        {STR("%4"), false, NULL},
        {STR("a%4"), false, NULL},
        {STR("%4g"), false, NULL},
        {STR("%g4"), false, NULL},
        {STR("%%41"), false, NULL},
        {STR("% 1"), false, NULL},
        {STR("ok%00"), false, NULL},
        {STR("ok\0"), false, NULL},
        {STR("%0A"), false, NULL},
        {STR("a\nb"), false, NULL},
        {STR("%7F"), false, NULL},
        {STR("%C0%AF"), false, NULL},
        {STR("%FF"), false, NULL},
        {STR("%ED%A0%80"), false, NULL},
        {STR("%E2%80"), false, NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        struct buf out = {0};

        buf_add_str(&out, STR("kept:"));
        if (table[i].decoded) {
            assert_int_equal(str_percent_decode(table[i].text, table[i].plus, &out), ERR_OK);
            assert_str(((struct str){out.p + 5, out.len - 5}), table[i].decoded);
        } else {
            assert_int_equal(str_percent_decode(table[i].text, table[i].plus, &out), ERR_SYNTAX);
            assert_string_equal(out.p, "kept:");
            assert_int_equal(out.len, 5);
        }
        buf_free(&out);
    }
}

static void percent_coding_leaves_only_unreserved_characters(void **state)
{
    struct buf all = {0}, coded = {0}, decoded = {0};

    (void)state;
    for (int c = 0x20; c < 0x7f; c++)
        buf_add_char(&all, (char)c);
    buf_add_str(&all, STR("\xe2\x80\x93"));
    str_percent_encode(buf_str(&all), &coded);
    assert_int_equal(strspn(coded.p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%"), coded.len);
    assert_int_equal(str_percent_decode(buf_str(&coded), true, &decoded), ERR_OK);
    assert_true(str_equal(buf_str(&decoded), buf_str(&all)));
    buf_clear(&coded);
    str_percent_encode(STR("\0/ %~"), &coded);
    assert_string_equal(coded.p, "%00%2F%20%25~");
    buf_free(&all);
    buf_free(&coded);
    buf_free(&decoded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_compare_as_bytes),
        cmocka_unit_test(trimming_takes_blanks_and_tabs_only),
        cmocka_unit_test(cutting_gives_every_part_and_then_nothing),
        cmocka_unit_test(words_are_separated_by_any_run_of_blanks),
        cmocka_unit_test(integers_are_parsed_whole_or_refused),
        cmocka_unit_test(numbers_are_json_numbers),
        cmocka_unit_test(a_number_of_absurd_length_is_out_of_range),
        cmocka_unit_test(durations_need_a_unit_unless_zero),
        cmocka_unit_test(sizes_are_powers_of_1024),
        cmocka_unit_test(every_code_point_is_utf8_in_its_shortest_form_only),
        cmocka_unit_test(broken_utf8_is_found_wherever_it_stands),
        cmocka_unit_test(control_characters_are_found),
        cmocka_unit_test(percent_coding_is_undone_or_refused_whole),
        cmocka_unit_test(percent_coding_leaves_only_unreserved_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
