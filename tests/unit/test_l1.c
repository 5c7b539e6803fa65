/* The cache in shared memory: what it gives back, what it no longer does, and what it lets go first. */
#include "l1_fixture.h"

static int set_up(void **state)
{
    *state = open_l1(4 << 20);
    return 0;
}

static int tear_down(void **state)
{
    close_l1(*state);
    return 0;
}

static void what_was_put_is_given_back(void **state)
{
    static const struct {
        const char *body, *gzip;
        bool wanted;
        const char *body_given, *gzip_given;
    } table[] = {
        {"plain", NULL, false, "plain", NULL},
        {"plain", NULL, true, "plain", NULL},
        {"plain", "zip", false, "plain", NULL},
        {"plain", "zip", true, NULL, "zip"},
        {NULL, "zip", false, NULL, "zip"},
        {NULL, "zip", true, NULL, "zip"},
        {"", NULL, false, "", NULL},
        {"", NULL, true, "", NULL},
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct entry entry = {.status = i % 2 ? 404 : 200,
                              .stored_at_ms = 1,
                              .fresh_until_ms = NOW + 2,
                              .stale_until_ms = NOW + 3,
                              .error_until_ms = NOW + 4,
                              .cost_us = 5,
                              .tags = {STR("a"), STR("b")},
                              .tags_count = 2,
                              .etag = i % 3 ? STR("\"etag\"") : STR(""),
                              .content_type = STR("text/plain"),
                              .body = str_from(table[i].body),
                              .gzip = str_from(table[i].gzip),
                              .body_len = 4711};
        struct l1_found found = {.soft = true};

        l1_put(fixture->l1, STR("key"), 3, &entry, 0, NOW);
        assert_int_equal(l1_get(fixture->l1, STR("key"), 3, table[i].wanted, NOW, fixture->arena, &found), ERR_OK);
        assert_false(found.soft);
        assert_int_equal(found.entry.status, entry.status);
        assert_int_equal(found.entry.stored_at_ms, 1);
        assert_int_equal(found.entry.fresh_until_ms, NOW + 2);
        assert_int_equal(found.entry.stale_until_ms, NOW + 3);
        assert_int_equal(found.entry.error_until_ms, NOW + 4);
        assert_int_equal(found.entry.cost_us, 5);
        assert_int_equal(found.entry.tags_count, 0);
        assert_int_equal(found.entry.body_len, 4711);
        assert_true(str_equal(found.entry.etag, entry.etag));
        assert_true(str_equal(found.entry.content_type, entry.content_type));
        assert_true(str_equal(found.entry.body, str_from(table[i].body_given)));
        assert_true(str_equal(found.entry.gzip, str_from(table[i].gzip_given)));
        assert_int_equal(!found.entry.body.p, !table[i].body_given);
        assert_int_equal(!found.entry.gzip.p, !table[i].gzip_given);
    }
}

static void a_miss_leaves_the_result_as_it_was(void **state)
{
    struct fixture *fixture = *state;
    struct arena *full = arena_new(16, 16);

    fixture->found.entry.status = 99;
    assert_false(get(fixture, "nothing"));
    assert_int_equal(fixture->found.entry.status, 99);
    put(fixture, "key", 1, 100);
    assert_int_equal(l1_get(fixture->l1, STR("key"), 0, false, NOW, full, &fixture->found), ERR_LIMIT);
    assert_int_equal(fixture->found.entry.status, 99);
    arena_free(&full);
    assert_held(fixture, "key", 1);
}

static void another_variant_is_not_given_out(void **state)
{
    struct fixture *fixture = *state;
    struct entry entry = make_entry(fixture->arena, "key", 1, 10);
    struct l1_found *found = &fixture->found;

    l1_put(fixture->l1, STR("key"), UINT64_MAX, &entry, 0, NOW);
    assert_int_equal(l1_get(fixture->l1, STR("key"), 1, false, NOW, fixture->arena, found), ERR_NOT_FOUND);
    assert_int_equal(l1_get(fixture->l1, STR("key"), UINT64_MAX, false, NOW, fixture->arena, found), ERR_OK);
    l1_put(fixture->l1, STR("key"), 1, &entry, 0, NOW);
    assert_int_equal(l1_get(fixture->l1, STR("key"), UINT64_MAX, false, NOW, fixture->arena, found), ERR_NOT_FOUND);
    assert_int_equal(status_of(fixture).entries, 1);
}

static void the_last_one_put_is_the_one_there(void **state)
{
    struct fixture *fixture = *state;

    for (uint64_t version = 0; version < 20000; version++) {
        put(fixture, "key", version, version % 3000);
        assert_held(fixture, "key", version);
        assert_int_equal(status_of(fixture).entries, 1);
    }
    assert_int_equal(status_of(fixture).evicted, 0);
}

static void an_entry_ends_with_its_last_time(void **state)
{
    struct fixture *fixture = *state;

    put(fixture, "key", 1, 10);
    assert_int_equal(l1_get(fixture->l1, STR("key"), 0, false, NOW + 2999, fixture->arena, &fixture->found), ERR_OK);
    assert_int_equal(l1_get(fixture->l1, STR("key"), 0, false, NOW + 3000, fixture->arena, &fixture->found),
                     ERR_NOT_FOUND);
    assert_int_equal(status_of(fixture).entries, 0);
    assert_int_equal(status_of(fixture).used, 0);
}

static void what_is_removed_is_gone(void **state)
{
    struct fixture *fixture = *state;

    put(fixture, "key", 1, 10);
    put(fixture, "other", 1, 10);
    assert_true(l1_remove(fixture->l1, STR("key")));
    assert_false(l1_remove(fixture->l1, STR("key")));
    assert_false(get(fixture, "key"));
    assert_held(fixture, "other", 1);
}

static void what_is_too_large_is_not_taken_and_ends_what_was_there(void **state)
{
    struct fixture *fixture = *state;
    size_t max = l1_entry_max(fixture->l1);

    put(fixture, "key", 1, max - 400);
    assert_held(fixture, "key", 1);
    put(fixture, "key", 2, max);
    assert_false(get(fixture, "key"));
    assert_int_equal(status_of(fixture).refused, 1);
    put(fixture, "key", 3, 100);
    assert_held(fixture, "key", 3);
}

static void the_largest_entry_is_sensible_for_every_size(void **state)
{
    static const struct {
        uint64_t size;
        size_t at_least;
    } table[] = {
        {1, 20 << 10},        {256 << 10, 20 << 10}, {1 << 20, 65 << 10},           {(1 << 20) + 12345, 65 << 10},
        {4 << 20, 190 << 10}, {64 << 20, 190 << 10}, {UINT64_C(1) << 30, 700 << 10}};

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct fixture *fixture = open_l1(table[i].size);
        size_t max = l1_entry_max(fixture->l1);
        char key[32];

        assert_true(l1_enabled(fixture->l1));
        assert_true(max >= table[i].at_least);
        assert_true(status_of(fixture).size >= table[i].size / 10 * 8);
        for (int k = 0; k < 20; k++) {
            snprintf(key, sizeof(key), "key:%d", k);
            put(fixture, key, 1, max - 400);
            assert_held(fixture, key, 1);
        }
        assert_true(status_of(fixture).used <= status_of(fixture).size);
        close_l1(fixture);
    }
}

static void without_size_nothing_is_taken(void **state)
{
    struct fixture *fixture = open_l1(0);

    (void)state;
    assert_false(l1_enabled(fixture->l1));
    assert_int_equal(l1_entry_max(fixture->l1), 0);
    put(fixture, "key", 1, 10);
    assert_false(get(fixture, "key"));
    assert_false(l1_remove(fixture->l1, STR("key")));
    assert_int_equal(status_of(fixture).size, 0);
    close_l1(fixture);
}

enum how { KEY, TAG, PATTERN, ALL };

static void purge(struct fixture *fixture, enum how how, bool soft)
{
    if (how == KEY)
        purged_key(fixture->purged, STR("stocks:a"), soft);
    else if (how == TAG)
        purged_tag(fixture->purged, STR("stocks"), soft);
    else if (how == PATTERN)
        purged_pattern(fixture->purged, STR("stocks:*"), soft, 0);
    else
        purged_all(fixture->purged, soft);
}

static void what_was_purged_is_not_given_out_and_leaves(void **state)
{
    struct fixture *fixture = *state;

    for (enum how how = KEY; how <= ALL; how++) {
        put_tagged(fixture, "stocks:a", how, 100, "stocks", purged_now(fixture->purged));
        put(fixture, "other", how, 100);
        purge(fixture, how, false);
        assert_false(get(fixture, "stocks:a"));
        assert_int_equal(get(fixture, "other"), how != ALL);
        assert_int_equal(status_of(fixture).entries, how != ALL);
    }
    assert_int_equal(status_of(fixture).evicted, 0);
}

static void what_was_purged_softly_is_given_out_as_such_from_then_on(void **state)
{
    struct fixture *fixture = *state;

    for (enum how how = KEY; how <= ALL; how++) {
        put_tagged(fixture, "stocks:a", how, 100, "stocks", purged_now(fixture->purged));
        assert_held(fixture, "stocks:a", how);
        assert_false(fixture->found.soft);
        purge(fixture, how, true);
        for (int i = 0; i < 3; i++) {
            assert_held(fixture, "stocks:a", how);
            assert_true(fixture->found.soft);
        }
    }
    put(fixture, "stocks:a", 9, 100);
    assert_held(fixture, "stocks:a", 9);
    assert_false(fixture->found.soft);
}

static void what_was_read_before_a_purge_cannot_be_put_after_it(void **state)
{
    struct fixture *fixture = *state;

    for (enum how how = KEY; how <= ALL; how++) {
        uint64_t stamp = purged_now(fixture->purged);

        purge(fixture, how, true);
        put_tagged(fixture, "stocks:a", 1, 100, "stocks", stamp);
        assert_held(fixture, "stocks:a", 1);
        assert_true(fixture->found.soft);
        purge(fixture, how, false);
        put_tagged(fixture, "stocks:a", 2, 100, "stocks", purged_now(fixture->purged));
        put_tagged(fixture, "stocks:a", 3, 100, "stocks", stamp);
        assert_held(fixture, "stocks:a", 2);
        assert_false(fixture->found.soft);
    }
}

static void a_stamp_from_before_more_bans_than_are_kept_is_refused(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i <= PURGED_BANS; i++)
        purged_pattern(fixture->purged, STR("nothing"), false, 0);
    put_tagged(fixture, "key", 1, 100, NULL, 0);
    assert_false(get(fixture, "key"));
}

static void put_numbered(struct fixture *fixture, const char *kind, int i, size_t len)
{
    char key[32];

    snprintf(key, sizeof(key), "%s:%d", kind, i);
    put(fixture, key, 1, len);
}

static int count_held(struct fixture *fixture, const char *kind, int from, int to)
{
    char key[32];
    int held = 0;

    for (int i = from; i < to; i++) {
        snprintf(key, sizeof(key), "%s:%d", kind, i);
        held += get(fixture, key);
    }
    return held;
}

static void nothing_leaves_while_there_is_room(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 3000; i++)
        put_numbered(fixture, "key", i, 900);
    assert_int_equal(count_held(fixture, "key", 0, 3000), 3000);
    assert_int_equal(status_of(fixture).evicted, 0);
}

static void what_is_asked_for_again_outlives_what_passes_by(void **state)
{
    enum { HOT = 1000, PASSING = 50000 };
    struct fixture *fixture = *state;
    struct l1_status status;

    for (int i = 0; i < HOT; i++)
        put_numbered(fixture, "hot", i, 900);
    for (int i = 0; i < PASSING; i++) {
        put_numbered(fixture, "passing", i, 900);
        if (i % 1000 == 0)
            assert_int_equal(count_held(fixture, "hot", 0, HOT), HOT);
    }
    assert_int_equal(count_held(fixture, "hot", 0, HOT), HOT);
    status = status_of(fixture);
    assert_int_equal(status.entries + status.evicted, HOT + PASSING);
    assert_true(status.used <= status.size && status.used > status.size / 10 * 7);
}

static void what_comes_back_soon_is_kept_longer(void **state)
{
    struct fixture *fixture = *state;
    int once, again;

    for (int i = 0; i < 20000; i++)
        put_numbered(fixture, "passing", i, 900);
    /* Gone from small before it was asked for; known when it is put again. */
    for (int i = 0; i < 100; i++)
        put_numbered(fixture, "again", i, 900);
    for (int i = 0; i < 1000; i++)
        put_numbered(fixture, "others", i, 900);
    assert_int_equal(count_held(fixture, "again", 0, 100), 0);
    for (int i = 0; i < 100; i++) {
        put_numbered(fixture, "again", i, 900);
        put_numbered(fixture, "once", i, 900);
    }
    for (int i = 0; i < 1000; i++)
        put_numbered(fixture, "more", i, 900);
    again = count_held(fixture, "again", 0, 100);
    once = count_held(fixture, "once", 0, 100);
    assert_int_equal(once, 0);
    assert_true(again > 90);
}

static void a_flood_of_negative_entries_displaces_no_other(void **state)
{
    enum { REAL = 3000, INVENTED = 1000000 };
    struct fixture *fixture = *state;
    struct l1_status status;
    char key[32];

    for (int i = 0; i < REAL; i++)
        put_numbered(fixture, "key", i, 900);
    for (int i = 0; i < INVENTED; i++) {
        snprintf(key, sizeof(key), "invented:%d", i);
        put_negative(fixture, key);
    }
    assert_int_equal(count_held(fixture, "key", 0, REAL), REAL);
    assert_true(get(fixture, key));
    assert_int_equal(fixture->found.entry.status, 404);
    status = status_of(fixture);
    assert_int_equal(status.entries - status.negative, REAL);
    assert_int_equal(status.negative + status.evicted, INVENTED);
    assert_true(status.negative > 500);
}

static void a_key_may_become_negative_and_real_again(void **state)
{
    struct fixture *fixture = *state;

    put(fixture, "key", 1, 10);
    put_negative(fixture, "key");
    assert_int_equal(status_of(fixture).negative, 1);
    assert_int_equal(status_of(fixture).entries, 1);
    assert_true(get(fixture, "key"));
    assert_int_equal(fixture->found.entry.status, 404);
    put(fixture, "key", 2, 10);
    assert_int_equal(status_of(fixture).negative, 0);
    assert_held(fixture, "key", 2);
    assert_int_equal(fixture->found.entry.status, 200);
}

static void the_smallest_entries_are_held_in_bounds(void **state)
{
    enum { ENTRIES = 60000 };
    struct fixture *fixture = *state;
    struct entry entry = {.status = 200, .fresh_until_ms = NOW + 1, .body = STR("")};
    char key[32];
    int held = 0;

    for (int status = 200; status <= 404; status += 204)
        for (int i = 0; i < ENTRIES; i++) {
            entry.status = status;
            snprintf(key, sizeof(key), "%d:%d", status, i);
            l1_put(fixture->l1, str_from(key), 0, &entry, 0, NOW);
            if (i % 5 == 0)
                assert_true(get(fixture, key));
        }
    for (int i = ENTRIES - 100; i < ENTRIES; i++)
        held += count_held(fixture, "404", i, i + 1);
    assert_int_equal(held, 100);
    assert_true(count_held(fixture, "200", 0, ENTRIES) > 10000);
    assert_true(status_of(fixture).used < status_of(fixture).size);
    for (int i = 0; i < ENTRIES; i++) {
        snprintf(key, sizeof(key), "200:%d", i);
        (void)l1_remove(fixture->l1, str_from(key));
        snprintf(key, sizeof(key), "404:%d", i);
        (void)l1_remove(fixture->l1, str_from(key));
    }
    assert_int_equal(status_of(fixture).entries, 0);
    assert_int_equal(status_of(fixture).used, 0);
}

static void keys_are_told_apart_whatever_they_hold(void **state)
{
    static const struct str keys[] = {{"", 0}, {"\0", 1}, {"\0\0", 2}, {"a", 1}, {"a\0", 2}, {"A", 1}};
    struct fixture *fixture = *state;
    struct entry entry = make_entry(fixture->arena, "any", 1, 10);

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        entry.cost_us = (uint32_t)i;
        l1_put(fixture->l1, keys[i], 0, &entry, 0, NOW);
    }
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        assert_int_equal(l1_get(fixture->l1, keys[i], 0, false, NOW, fixture->arena, &fixture->found), ERR_OK);
        assert_int_equal(fixture->found.entry.cost_us, i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_put_is_given_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_miss_leaves_the_result_as_it_was, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_variant_is_not_given_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_last_one_put_is_the_one_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_entry_ends_with_its_last_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_removed_is_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_too_large_is_not_taken_and_ends_what_was_there, set_up, tear_down),
        cmocka_unit_test(the_largest_entry_is_sensible_for_every_size),
        cmocka_unit_test(without_size_nothing_is_taken),
        cmocka_unit_test_setup_teardown(what_was_purged_is_not_given_out_and_leaves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_purged_softly_is_given_out_as_such_from_then_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_read_before_a_purge_cannot_be_put_after_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stamp_from_before_more_bans_than_are_kept_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_leaves_while_there_is_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_asked_for_again_outlives_what_passes_by, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_comes_back_soon_is_kept_longer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flood_of_negative_entries_displaces_no_other, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_may_become_negative_and_real_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_smallest_entries_are_held_in_bounds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_are_told_apart_whatever_they_hold, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
