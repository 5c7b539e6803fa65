/* Regular expressions: what they match, what is refused, and that values leave nothing behind. */
#include "config/pattern.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static struct pattern *compile(const char *text)
{
    struct pattern *pattern;
    struct buf why = {0};

    if (pattern_compile(str_from(text), &pattern, &why) != ERR_OK)
        fail_msg("%s: %s", text, why.p);
    return pattern;
}

static void an_expression_matches_what_it_says(void **state)
{
    static const struct {
        const char *text, *matching[5], *others[5];
    } rows[] = {
        {"^[A-Z][A-Z0-9.-]{0,9}$", {"A", "BRK.B", "ABCDEFGHIJ"}, {"", "1", "a", "ABCDEFGHIJK", "A_"}},
        {"^[a-z0-9-]+-[0-9a-f-]{3}$", {"a-123", "----f", "a-b-c-d"}, {"-123", "a-12", "a-12g"}},
        {"abc", {"abc", "xabcx", "ababc"}, {"", "ab", "abxc"}},
        {"", {"", "a"}, {NULL}},
        {"^$", {""}, {"a"}},
        {"^a|b$", {"ax", "xb"}, {"xa", "bx", ""}},
        {"(^|,)a(,|$)", {"a", "a,b", "b,a", "b,a,c"}, {"ab", "b,ab", ""}},
        {"(^a|b){2}", {"ab", "bb", "xbb"}, {"aa", "a", "ba"}},
        {"^(^a$)?$", {"", "a"}, {"aa", "b"}},
        {"^(a|)b()$", {"b", "ab"}, {"", "a", "aab"}},
        {"^((a{2})+b){2}$", {"aabaab", "aaaabaab"}, {"aabab", "abaab", "aab"}},
        {"^([0-9]{2}|([a-z]{2,3}-)+[0-9])+$", {"12", "ab-1", "ab-cd-123"}, {"ab1", "a-1", "1"}},
        {"^(a?){3}$", {"", "a", "aaa"}, {"aaaa"}},
        {"^a{0}b{1}c{2,}d{0,1}$", {"bcc", "bccccd"}, {"abcc", "bc", "bccdd"}},
        {"^a{0,}$", {"", "aaa"}, {"b"}},
        {"^[]a]+$", {"]a]"}, {"[", ""}},
        {"^[^]a]$", {"b", "[", "-"}, {"]", "a", ""}},
        {"^[a-]$|^[+--]{2}$", {"a", "-", "+-", ",-"}, {"b", "+.", "+"}},
        {"^[\\n]$", {"\\", "n"}, {"\n", "a"}},
        {"^[[:alpha:]_][[:alnum:]_]*$", {"_", "a1_"}, {"1", "a-", "\xc3\xa9"}},
        {"^[[.-.][=a=]b-[.d.]]$", {"-", "a", "c", "d"}, {"e", "."}},
        {"^a\\.b\\-c\\/\\{\\}\\\\$", {"a.b-c/{}\\"}, {"axb-c/{}\\"}},
        {"^x]y}$", {"x]y}"}, {"xy"}},
        {"^..$", {"ab", "\xc3\xa9"}, {"a", "abc"}},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct pattern *pattern = compile(rows[i].text);

        for (size_t at = 0; at < COUNT(rows[i].matching); at++) {
            const char *matching = rows[i].matching[at], *other = rows[i].others[at];

            if (matching && !pattern_matches(pattern, str_from(matching)))
                fail_msg("%s does not match `%s`", rows[i].text, matching);
            if (other && pattern_matches(pattern, str_from(other)))
                fail_msg("%s matches `%s`", rows[i].text, other);
        }
        pattern_free(&pattern);
        assert_null(pattern);
    }
}

static void what_posix_does_not_define_is_refused_with_the_reason(void **state)
{
    static const struct {
        const char *text, *why;
    } rows[] = {{"(a)\\1", "back-reference"},
                {"\\w+", "[[:alnum:]_]"},
                {"\\Qa\\E", "backslash"},
                {"\\<a", "backslash"},
                {"a\\", "backslash"},
                {"*a", "behind nothing"},
                {"(?i)a", "behind nothing"},
                {"(?:a)", "behind nothing"},
                {"a|+", "behind nothing"},
                {"^*", "behind nothing"},
                {"a*?", "behind a repetition"},
                {"a+?", "behind a repetition"},
                {"a{2}{3}", "behind a repetition"},
                {"a{~1}", "an interval is written"},
                {"a{+1}", "an interval is written"},
                {"a{,5}", "an interval is written"},
                {"a{}", "an interval is written"},
                {"a{2", "an interval is written"},
                {"a{2,3", "an interval is written"},
                {"a{3,2}", "ends before it begins"},
                {"(a", "not closed"},
                {"a)", "closes nothing"},
                {"[a", "not closed"},
                {"[]", "not closed"},
                {"[[:alpha:", "not closed"},
                {"[[:word:]]", "no such class"},
                {"[[.space.]]", "no names"},
                {"[z-a]", "ends before it begins"},
                {"[a-c-e]", "first, last or in a range"},
                {"[a-[:digit:]]", "at a class"}};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct pattern *pattern;
        struct buf why = {0};

        if (pattern_compile(str_from(rows[i].text), &pattern, &why) != ERR_SYNTAX)
            fail_msg("%s was not refused", rows[i].text);
        if (!strstr(why.p, rows[i].why))
            fail_msg("%s: %s", rows[i].text, why.p);
        buf_free(&why);
    }
}

static void what_would_be_dear_is_refused(void **state)
{
    static const char *const texts[] = {"^[a-z]*a[a-z]{900}$",          "((a{200}){200}){200}",
                                        "((((){200}){200}){200}){200}", "((((((((((((((((((((a))))))))))))))))))))",
                                        "a{99999999999999999999}",      "(a{160}b){2}"};
    char longest[PATTERN_TEXT_MAX + 2] = "";
    struct pattern *pattern;
    struct buf why = {0};

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++)
        if (pattern_compile(str_from(texts[i]), &pattern, &why) != ERR_LIMIT)
            fail_msg("%s was not refused", texts[i]);
    memset(longest, 'a', PATTERN_TEXT_MAX + 1);
    assert_int_equal(pattern_compile(str_from(longest), &pattern, &why), ERR_LIMIT);
    longest[PATTERN_TEXT_MAX] = '\0';
    pattern = compile(longest);
    assert_true(pattern_matches(pattern, str_from(longest)));
    pattern_free(&pattern);
    pattern = compile("^[a-z]{1,255}$");
    pattern_free(&pattern);
    buf_free(&why);
}

static size_t count_memory(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

static void values_leave_nothing_behind(void **state)
{
    static const char *const texts[] = {"^[a-z0-9-]+-[0-9a-f-]{36}$", "^[a-z]*a[a-z]{300}$", "a[ab-]{100}$",
                                        "^(.*a){20}$", "^(.{0,30}[/]){0,8}.{0,30}$"};
    enum { VALUES = 300, LEN = 1024 };
    char value[LEN];

    (void)state;
    srand(1);
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct pattern *pattern = compile(texts[i]);
        size_t before = count_memory();

        for (int turn = 0; turn < VALUES; turn++) {
            for (size_t at = 0; at < LEN; at++)
                value[at] = "ab-"[rand() % 3];
            (void)pattern_matches(pattern, (struct str){value, LEN});
        }
        assert_int_equal(count_memory(), before);
        pattern_free(&pattern);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_expression_matches_what_it_says),
        cmocka_unit_test(what_posix_does_not_define_is_refused_with_the_reason),
        cmocka_unit_test(what_would_be_dear_is_refused),
        cmocka_unit_test(values_leave_nothing_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
