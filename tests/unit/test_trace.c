/* Requests' ids and traceparents. */
#include "http/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"
#define GOOD "00-" TRACE "-" PARENT "-01"

static void what_the_standard_allows_is_taken(void **state)
{
    static const struct {
        const char *given, *taken;
    } table[] = {
        {GOOD, GOOD},
        {"00-" TRACE "-" PARENT "-00", "00-" TRACE "-" PARENT "-00"},
        {"00-" TRACE "-" PARENT "-ff", "00-" TRACE "-" PARENT "-ff"},
        /* A later version may say more; what it says is not known. */
        {"01-" TRACE "-" PARENT "-01", "01-" TRACE "-" PARENT "-01"},
        {"cc-" TRACE "-" PARENT "-01-what the future holds", "cc-" TRACE "-" PARENT "-01"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct str found = trace_parent(str_from(table[i].given));

        assert_true(str_equal(found, str_from(table[i].taken)));
    }
}

static void what_it_does_not_allow_is_none(void **state)
{
    static const char *const table[] = {
        "",
        "00",
        "00-",
        "00-" TRACE "-" PARENT,
        "00-" TRACE "-" PARENT "-",
        "00-" TRACE "-" PARENT "-1",
        "00-" TRACE "-" PARENT "-0g",
        "00-" TRACE "-" PARENT "-01-",
        "00-" TRACE "-" PARENT "-011",
        "cc-" TRACE "-" PARENT "-01.",
        "ff-" TRACE "-" PARENT "-01",
        "0-" TRACE "-" PARENT "-01",
        "0x-" TRACE "-" PARENT "-01",
        "00-00000000000000000000000000000000-" PARENT "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-" PARENT "-01",
        "00-0af7651916cd43dd8448eb211c80319-" PARENT "-01",
        "00_" TRACE "-" PARENT "-01",
        " " GOOD,
        GOOD " ",
        GOOD "\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (trace_parent(str_from(table[i])).len != 0)
            fail_msg("taken: %s", table[i]);
}

static void no_piece_of_a_good_one_is_one(void **state)
{
    (void)state;
    for (size_t len = 0; len < sizeof GOOD - 1; len++)
        assert_int_equal(trace_parent((struct str){GOOD, len}).len, 0);
}

static void an_id_is_one_short_word(void **state)
{
    static const char *const good[] = {"a", "7f0c-42", "0123456789abcdef0123456789abcdef", "a.b_c~d:e+f/g=h@i"};
    static const char *const bad[] = {"", " ", "a b", "a\nb", "a\"b", "a\\b", "a;b", "<a>", "\xc3\xa4", "a\x7f"};
    char text[TRACE_REQUEST_ID_MAX + 1];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(trace_is_request_id(str_from(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(trace_is_request_id(str_from(bad[i])));
    assert_false(trace_is_request_id(STR("a\0b")));
    memset(text, 'x', sizeof text);
    assert_true(trace_is_request_id((struct str){text, sizeof text - 1}));
    assert_false(trace_is_request_id((struct str){text, sizeof text}));
}

static void an_id_that_came_is_kept_and_another_is_made_once(void **state)
{
    struct http first = {.arena = arena_new(256, 4096)}, second = {.arena = first.arena};
    struct str made, other;

    (void)state;
    first.in.request_id = STR("from-nginx");
    assert_true(str_equal(trace_request_id(&first), STR("from-nginx")));
    first.in.request_id = STR("not an id");
    made = trace_request_id(&first);
    assert_int_equal(made.len, 32);
    assert_true(trace_is_request_id(made));
    assert_true(str_equal(trace_request_id(&first), made));
    other = trace_request_id(&second);
    assert_false(str_equal(other, made));
    arena_free(&first.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_standard_allows_is_taken),
        cmocka_unit_test(what_it_does_not_allow_is_none),
        cmocka_unit_test(no_piece_of_a_good_one_is_one),
        cmocka_unit_test(an_id_is_one_short_word),
        cmocka_unit_test(an_id_that_came_is_kept_and_another_is_made_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
