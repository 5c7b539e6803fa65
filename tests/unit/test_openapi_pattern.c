#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/openapi_pattern.h"

static void an_expression_says_the_same_in_the_other_words(void **state)
{
    static const struct {
        const char *posix, *ecma;
    } cases[] = {
        {"^[A-Z][A-Z0-9.-]{0,9}$", "^[A-Z][A-Z0-9.\\-]{0,9}$"},
        {"^(a|b)+$", "^(a|b)+$"},
        {"[]a]", "[\\]a]"},
        {"[^]a-c]", "[^\\]a-c]"},
        {"[\\n]", "[\\\\n]"},
        {"[a-]", "[a\\-]"},
        {"[-a]", "[\\-a]"},
        {"^[[:alpha:]_][[:alnum:]_]*$", "^[A-Za-z_][A-Za-z0-9_]*$"},
        {"[[.-.]a]", "[\\-a]"},
        {"a\\.b\\-c\\/d", "a\\.b-c/d"},
        {"x{2}y{3,}", "x{2}y{3,}"},
        {"a]b}", "a\\]b\\}"},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = {0};

        buf_add_str(&out, STR("="));
        assert_true(openapi_pattern_convert(str_from(cases[i].posix), &out));
        assert_string_equal(out.p + 1, cases[i].ecma);
        buf_free(&out);
    }
}

static void what_cannot_be_said_there_is_left_out(void **state)
{
    /* A reluctant repetition, one of nothing, names of characters, an interval that is none, bytes of a character. */
    static const char *const cases[] = {"a+?",        "a**",  "*a",    "(*)",       "[[.space.]]",
                                        "[[:word:]]", "x{a}", "x{,5}", "[\xc3\xa9]"};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = {0};

        buf_add_str(&out, STR("before"));
        if (openapi_pattern_convert(str_from(cases[i]), &out))
            fail_msg("%s became %s", cases[i], out.p);
        assert_string_equal(out.p, "before");
        buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_expression_says_the_same_in_the_other_words),
        cmocka_unit_test(what_cannot_be_said_there_is_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
