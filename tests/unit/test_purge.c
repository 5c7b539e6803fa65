/* Purge items: their form, and what they remove. */
#include "cache/purge.h"

#include "cache_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static void an_item_is_a_kind_a_colon_and_a_name(void **state)
{
    static const struct {
        struct str item;
        enum err err;
    } table[] = {
        {STR("key:stocks:detail:AAPL"), ERR_OK},
        {STR("tag:stock:AAPL"), ERR_OK},
        {STR("pattern:stocks:*"), ERR_OK},
        {STR("pattern:*x*"), ERR_OK},
        {STR("pattern:???"), ERR_OK},
        {STR("pattern:[*]"), ERR_OK},
        {STR("key:*"), ERR_OK},
        {STR(""), ERR_SYNTAX},
        {STR("key"), ERR_SYNTAX},
        {STR("key:"), ERR_SYNTAX},
        {STR("tag:"), ERR_SYNTAX},
        {STR("pattern:"), ERR_SYNTAX},
        {STR(":x"), ERR_SYNTAX},
        {STR("Key:x"), ERR_SYNTAX},
        {STR("keys:x"), ERR_SYNTAX},
        {STR("pattern:*"), ERR_DENIED},
        {STR("pattern:***"), ERR_DENIED},
        {STR("pattern:?*"), ERR_DENIED},
        {STR("pattern:*?*"), ERR_DENIED},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        const char *why = NULL;

        if (purge_check(table[i].item, &why) != table[i].err)
            fail_msg("judged wrongly: %.*s", STR_ARG(table[i].item));
        assert_int_equal(why != NULL, table[i].err != ERR_OK);
    }
}

static void items_of_all_kinds_are_carried_out_together(void **state)
{
    static const struct str items[] = {STR("pattern:list:*"), STR("key:one"), STR("key:absent"), STR("tag:red")};
    static const struct str red[] = {STR("red")};
    struct fixture *fixture = *state;
    struct purge_result result;
    struct cache_ask tagged = fixture_ask(fixture, "tagged");

    tagged.tags = red;
    tagged.tags_count = 1;
    fixture_put(fixture, "list:a");
    fixture_put(fixture, "list:b");
    fixture_put(fixture, "one");
    fixture_put(fixture, "two");
    fixture_compute(fixture, &tagged);
    assert_int_equal(purge_items(fixture->cache, items, COUNT(items), false, &result), ERR_OK);
    assert_int_equal(result.removed, 3);
    assert_int_equal(result.items, 4);
    assert_false(fixture_has(fixture, "list:a"));
    assert_false(fixture_has(fixture, "list:b"));
    assert_false(fixture_has(fixture, "one"));
    assert_false(fixture_look(fixture, &tagged)->present);
    assert_true(fixture_has(fixture, "two"));
}

static void an_item_that_means_nothing_does_not_stop_the_others(void **state)
{
    static const struct str items[] = {STR("nonsense"), STR("key:one"), STR("pattern:*")};
    struct fixture *fixture = *state;
    struct purge_result result;

    fixture_put(fixture, "one");
    fixture_put(fixture, "two");
    assert_int_equal(purge_items(fixture->cache, items, COUNT(items), false, &result), ERR_SYNTAX);
    assert_int_equal(result.removed, 1);
    assert_false(fixture_has(fixture, "one"));
    assert_true(fixture_has(fixture, "two"));
}

static void more_keys_than_go_at_once_are_all_removed(void **state)
{
    enum { MANY = 150 };
    struct fixture *fixture = *state;
    struct str items[MANY];
    struct purge_result result;

    for (int i = 0; i < MANY; i++) {
        struct str item = arena_printf(fixture->arena, "key:k%d", i);

        fixture_put(fixture, item.p + 4);
        items[i] = item;
    }
    assert_int_equal(purge_items(fixture->cache, items, MANY, false, &result), ERR_OK);
    assert_int_equal(result.removed, MANY);
    assert_int_equal(result.items, MANY);
}

static void no_items_are_nothing_to_do(void **state)
{
    struct fixture *fixture = *state;
    struct purge_result result;

    fixture_put(fixture, "one");
    assert_int_equal(purge_items(fixture->cache, NULL, 0, false, &result), ERR_OK);
    assert_int_equal(result.removed, 0);
    assert_true(fixture_has(fixture, "one"));
}

static void everything_goes_when_everything_is_meant(void **state)
{
    static const struct str item = STR("all:*");
    struct fixture *fixture = *state;
    struct purge_result result;

    fixture_put(fixture, "one");
    fixture_put(fixture, "two");
    assert_int_equal(purge_items(fixture->cache, &item, 1, false, &result), ERR_OK);
    assert_false(fixture_has(fixture, "one"));
    assert_false(fixture_has(fixture, "two"));
}

static void keys_are_counted_over_all_pages_and_left_alone(void **state)
{
    struct fixture *fixture = *state;
    size_t count = 0;

    for (int i = 0; i < 1200; i++)
        fixture_put(fixture, arena_printf(fixture->arena, "list:%d", i).p);
    fixture_put(fixture, "other");
    assert_int_equal(purge_count(fixture->cache, STR("list:*"), &count), ERR_OK);
    assert_int_equal(count, 1200);
    assert_int_equal(purge_count(fixture->cache, STR("none:*"), &count), ERR_OK);
    assert_int_equal(count, 0);
    assert_true(fixture_has(fixture, "list:0"));
}

static int open_absent(void **state)
{
    return fixture_open(state, "unix:///nonexistent/larder-test.sock", 0);
}

static void a_purge_that_l2_was_not_told_of_says_so_and_is_kept_as_distrust(void **state)
{
    static const struct str items[] = {STR("nonsense"), STR("key:one"), STR("tag:red")}, everything = STR("all:*");
    struct fixture *fixture = *state;
    struct purge_result result;
    struct l2_status status;
    size_t count;

    assert_int_equal(purge_items(fixture->cache, items, COUNT(items), false, &result), ERR_UNAVAILABLE);
    assert_int_equal(result.items, 0);
    l2_status(fixture->shared->l2, &status);
    assert_true(status.distrusted);
    assert_int_equal(purge_items(fixture->cache, &everything, 1, false, &result), ERR_UNAVAILABLE);
    assert_int_equal(purge_count(fixture->cache, STR("*"), &count), ERR_UNAVAILABLE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_item_is_a_kind_a_colon_and_a_name),
        TEST(items_of_all_kinds_are_carried_out_together),
        TEST(an_item_that_means_nothing_does_not_stop_the_others),
        TEST(more_keys_than_go_at_once_are_all_removed),
        TEST(no_items_are_nothing_to_do),
        TEST(everything_goes_when_everything_is_meant),
        TEST(keys_are_counted_over_all_pages_and_left_alone),
        cmocka_unit_test_setup_teardown(a_purge_that_l2_was_not_told_of_says_so_and_is_kept_as_distrust, open_absent,
                                        fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
