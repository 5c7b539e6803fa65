/* What a memo remembers of URLs, and what it forgets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>

#include "api/memo.h"

static const struct route stock, list;
static const struct str tags[] = {{"stocks", 6}, {"stock:AAPL", 10}};

static int set_up(void **state)
{
    *state = memo_new();
    return 0;
}

static int tear_down(void **state)
{
    memo_free((struct memo **)state);
    return 0;
}

static struct memo_meaning meaning_of(const char *key)
{
    return (struct memo_meaning){.route = &stock, .variant = 7, .key = str_from(key), .tags = tags, .tags_count = 2};
}

static void what_was_never_kept_is_not_known(void **state)
{
    assert_null(memo_find(*state, STR("/api/stocks/AAPL"), STR("")));
}

static void a_meaning_is_found_by_path_and_query_together(void **state)
{
    char path[] = "/api/stocks", query[] = "limit=5", key[] = "stocks:list:5";
    struct memo_meaning meaning = meaning_of(key);
    const struct memo_meaning *found;

    memo_keep(*state, str_from(path), str_from(query), &meaning);
    /* It is a copy. */
    path[1] = query[0] = key[0] = '-';
    found = memo_find(*state, STR("/api/stocks"), STR("limit=5"));
    assert_non_null(found);
    assert_ptr_equal(found->route, &stock);
    assert_int_equal(found->variant, 7);
    assert_true(str_equal(found->key, STR("stocks:list:5")));
    assert_int_equal(found->tags_count, 2);
    assert_true(str_equal(found->tags[0], tags[0]) && str_equal(found->tags[1], tags[1]));
    assert_null(memo_find(*state, STR("/api/stocks"), STR("")));
    assert_null(memo_find(*state, STR("/api/stocks"), STR("limit=50")));
    assert_null(memo_find(*state, STR("/api/stockslimit=5"), STR("")));
    assert_null(memo_find(*state, STR(""), STR("limit=5")));
}

static void the_latest_meaning_counts_also_when_made_of_the_one_before(void **state)
{
    struct memo_meaning meaning = meaning_of("stocks:detail:AAPL");

    memo_keep(*state, STR("/a"), STR(""), &meaning);
    meaning = *memo_find(*state, STR("/a"), STR(""));
    meaning.route = &list;
    meaning.tags_count = 1;
    memo_keep(*state, STR("/a"), STR(""), &meaning);
    assert_ptr_equal(memo_find(*state, STR("/a"), STR(""))->route, &list);
    assert_int_equal(memo_find(*state, STR("/a"), STR(""))->tags_count, 1);
    assert_true(str_equal(memo_find(*state, STR("/a"), STR(""))->key, STR("stocks:detail:AAPL")));
}

static void what_is_very_long_is_left_out(void **state)
{
    static char path[2000];
    struct memo_meaning meaning = meaning_of("key");

    memset(path, 'a', sizeof path);
    memo_keep(*state, (struct str){path, sizeof path}, STR(""), &meaning);
    assert_null(memo_find(*state, (struct str){path, sizeof path}, STR("")));
}

static void any_number_of_urls_take_bounded_room(void **state)
{
    enum { URLS = 20000 };
    struct memo_meaning meaning = meaning_of("key");
    unsigned known = 0;
    char path[32];

    for (int i = 0; i < URLS; i++) {
        snprintf(path, sizeof path, "/api/%d", i);
        memo_keep(*state, str_from(path), STR(""), &meaning);
        assert_non_null(memo_find(*state, str_from(path), STR("")));
    }
    for (int i = 0; i < URLS; i++) {
        snprintf(path, sizeof path, "/api/%d", i);
        known += memo_find(*state, str_from(path), STR("")) != NULL;
    }
    assert_in_range(known, 1000, 4096);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(what_was_never_kept_is_not_known),
        CASE(a_meaning_is_found_by_path_and_query_together),
        CASE(the_latest_meaning_counts_also_when_made_of_the_one_before),
        CASE(what_is_very_long_is_left_out),
        CASE(any_number_of_urls_take_bounded_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
