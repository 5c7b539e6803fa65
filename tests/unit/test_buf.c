/* Growable buffers, and JSON written into them. */
#include "base/str.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static void an_empty_buffer_needs_no_initialisation(void **state)
{
    struct buf buf = {0};

    (void)state;
    assert_int_equal(buf_str(&buf).len, 0);
    buf_clear(&buf);
    buf_free(&buf);
    buf_free(&buf);
}

static void adding_byte_by_byte_equals_adding_at_once(void **state)
{
    struct buf one = {0}, many = {0};
    char bytes[5000];

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (char)(i * 7);
        buf_add_char(&many, bytes[i]);
        assert_int_equal(many.p[many.len], '\0');
    }
    buf_add(&one, bytes, sizeof(bytes));
    assert_true(str_equal(buf_str(&one), buf_str(&many)));
    buf_free(&one);
    buf_free(&many);
}

static void clearing_keeps_the_memory(void **state)
{
    struct buf buf = {0};
    size_t cap;

    (void)state;
    buf_reserve(&buf, 1000);
    cap = buf.cap;
    assert_true(cap > 1000);
    buf_add_str(&buf, STR("text"));
    buf_clear(&buf);
    assert_int_equal(buf.cap, cap);
    assert_string_equal(buf.p, "");
    buf_free(&buf);
    assert_null(buf.p);
}

static void adding_nothing_is_harmless(void **state)
{
    struct buf buf = {0};

    (void)state;
    buf_add(&buf, NULL, 0);
    buf_add_str(&buf, (struct str){NULL, 0});
    buf_printf(&buf, "%s", "");
    assert_int_equal(buf.len, 0);
    buf_free(&buf);
}

static void printf_appends_at_every_length_around_the_capacity(void **state)
{
    (void)state;
    for (int len = 0; len < 300; len++) {
        struct buf buf = {0};

        buf_add_char(&buf, '>');
        buf_printf(&buf, "%0*d", len, 7);
        assert_int_equal(buf.len, 1 + (len ? len : 1));
        assert_int_equal(buf.p[buf.len - 1], '7');
        assert_int_equal(strlen(buf.p), buf.len);
        buf_free(&buf);
    }
}

static void text_becomes_a_valid_json_string(void **state)
{
    static const struct {
        struct str text;
        const char *json;
    } table[] = {
        {STR(""), "\"\""},
        {STR("plain"), "\"plain\""},
        {STR("\"quoted\" \\ back"), "\"\\\"quoted\\\" \\\\ back\""},
        {STR("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\""},
        {STR("a\0b\x01\x1f"), "\"a\\u0000b\\u0001\\u001f\""},
        {STR("Brown\xe2\x80\x93"
             "Forman"),
         "\"Brown\xe2\x80\x93"
         "Forman\""},
        {STR("\xf0\x9f\x8d\xaa"), "\"\xf0\x9f\x8d\xaa\""},
        {STR("a\xff"
             "b"),
         "\"a\xef\xbf\xbd"
         "b\""},
        {STR("\xc3"), "\"\xef\xbf\xbd\""},
        {STR("\xc3\""), "\"\xef\xbf\xbd\\\"\""},
        {STR("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        struct buf buf = {0};

        buf_add_json(&buf, table[i].text);
        assert_string_equal(buf.p, table[i].json);
        buf_free(&buf);
    }
}

static void integers_are_written_to_both_ends_of_their_range(void **state)
{
    static const struct {
        int64_t value;
        const char *text;
    } table[] = {{0, "0"},
                 {7, "7"},
                 {-1, "-1"},
                 {1000, "1000"},
                 {INT64_MAX, "9223372036854775807"},
                 {INT64_MIN, "-9223372036854775808"}};

    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        struct buf buf = {0};

        buf_add_int64(&buf, table[i].value);
        assert_string_equal(buf.p, table[i].text);
        buf_free(&buf);
    }
}

static void doubles_are_written_as_a_person_would(void **state)
{
    static const struct {
        double value;
        const char *text;
    } table[] = {{0, "0"},
                 {-0.0, "-0"},
                 {1, "1"},
                 {-17, "-17"},
                 {0.5, "0.5"},
                 {0.1, "0.1"},
                 {254.31, "254.31"},
                 {1e20, "1e+20"},
                 {1e15, "1e+15"},
                 {1e-7, "1e-07"},
                 {1.0 / 3, "0.3333333333333333"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {3.5e12, "3500000000000"},
                 {-0.0001, "-0.0001"},
                 {0.00001, "1e-05"},
                 {99999999999.5, "99999999999.5"},
                 {123456789012.25, "123456789012.25"},
                 {NAN, "null"},
                 {INFINITY, "null"},
                 {-INFINITY, "null"}};

    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        struct buf buf = {0};

        buf_add_double(&buf, table[i].value);
        assert_string_equal(buf.p, table[i].text);
        buf_free(&buf);
    }
}

static void every_finite_double_reads_back_as_itself(void **state)
{
    uint64_t bits = 88172645463325252u;
    struct buf buf = {0};

    (void)state;
    for (int i = 0; i < 100000; i++) {
        double value, back;

        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        memcpy(&value, &bits, sizeof(value));
        buf_clear(&buf);
        buf_add_double(&buf, value);
        if (!isfinite(value)) {
            assert_string_equal(buf.p, "null");
            continue;
        }
        assert_int_equal(str_to_double(buf_str(&buf), &back), ERR_OK);
        assert_memory_equal(&back, &value, sizeof(value));
    }
    buf_free(&buf);
}

static void short_decimals_are_written_as_printf_would(void **state)
{
    static const double scales[] = {1, 10, 100, 1000, 10000, 100000, 1000000};
    uint64_t seed = 7;
    struct buf buf = {0};

    (void)state;
    for (int i = 0; i < 200000; i++) {
        char expected[32];
        double value;

        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        value = (double)((int64_t)seed >> (8 + i % 54)) / scales[i % COUNT(scales)];
        snprintf(expected, sizeof(expected), "%.15g", value);
        if (strtod(expected, NULL) != value)
            continue;
        buf_clear(&buf);
        buf_add_double(&buf, value);
        assert_string_equal(buf.p, expected);
    }
    buf_free(&buf);
}

static void a_decimal_comma_in_the_locale_changes_nothing(void **state)
{
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "pl_PL.UTF-8"};
    struct buf buf = {0};
    double value = 0;
    bool found = false;

    (void)state;
    for (size_t i = 0; i < COUNT(names) && !found; i++)
        found = setlocale(LC_ALL, names[i]) != NULL;
    if (!found)
        skip();
    buf_add_double(&buf, 1.5);
    assert_string_equal(buf.p, "1.5");
    assert_int_equal(str_to_double(STR("2.25"), &value), ERR_OK);
    assert_true(value == 2.25);
    setlocale(LC_ALL, "C");
    buf_free(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_buffer_needs_no_initialisation),
        cmocka_unit_test(adding_byte_by_byte_equals_adding_at_once),
        cmocka_unit_test(clearing_keeps_the_memory),
        cmocka_unit_test(adding_nothing_is_harmless),
        cmocka_unit_test(printf_appends_at_every_length_around_the_capacity),
        cmocka_unit_test(text_becomes_a_valid_json_string),
        cmocka_unit_test(integers_are_written_to_both_ends_of_their_range),
        cmocka_unit_test(doubles_are_written_as_a_person_would),
        cmocka_unit_test(every_finite_double_reads_back_as_itself),
        cmocka_unit_test(short_decimals_are_written_as_printf_would),
        cmocka_unit_test(a_decimal_comma_in_the_locale_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
