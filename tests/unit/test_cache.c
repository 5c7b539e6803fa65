/* From key to answer: lookups, fills, and what stands in when the origin fails. */
#include "cache_fixture.h"

static const struct str tags[] = {STR("stocks"), STR("stock:AAPL")};

static struct cache_ask ask_tagged(const struct fixture *fixture)
{
    struct cache_ask ask = fixture_ask(fixture, "stocks:detail:AAPL");

    ask.tags = tags;
    ask.tags_count = 2;
    return ask;
}

static void what_was_computed_is_found_until_its_time_is_over(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = ask_tagged(fixture);

    assert_false(fixture_look(fixture, &ask)->present);
    assert_true(fixture->found.may_fill);
    struct cache_answer answer = fixture_compute(fixture, &ask);
    assert_true(answer.stored);
    assert_int_equal(answer.source, CACHE_FROM_ORIGIN);
    assert_int_equal(answer.entry.stored_at_ms, fixture->now_ms);

    ask.now_ms += 89000; /* jitter takes a tenth at most */
    assert_true(fixture_look(fixture, &ask)->present);
    assert_int_equal(fixture->found.verdict, POLICY_FRESH);
    assert_string_equal(fixture->found.tier, "L2");
    assert_true(str_equal(fixture->found.entry.body, STR("{\"price\":1}")));
    assert_true(str_equal(fixture->found.entry.etag, answer.entry.etag));
    assert_true(entry_has_tags(&fixture->found.entry, tags, 2));
    ask.now_ms += 11000;
    assert_int_equal(fixture_look(fixture, &ask)->verdict, POLICY_STALE);
    ask.now_ms += 1000000;
    assert_int_equal(fixture_look(fixture, &ask)->verdict, POLICY_STALE_IF_ERROR);
    ask.now_ms += 4000000;
    assert_false(fixture_look(fixture, &ask)->present);
    assert_true(fixture->found.may_fill);
}

static void a_negative_answer_is_kept_for_its_own_time(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = fixture_ask(fixture, "stocks:detail:NONE");

    fixture->status = 404;
    struct cache_answer answer = fixture_compute(fixture, &ask);
    assert_true(answer.stored);
    assert_int_equal(answer.entry.etag.len, 0);
    assert_true(fixture_look(fixture, &ask)->present);
    assert_int_equal(fixture->found.entry.status, 404);
    ask.now_ms += 30000;
    assert_false(fixture_look(fixture, &ask)->present);
}

static void what_has_no_life_is_computed_and_not_kept(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = fixture_ask(fixture, "k");

    ask.policy = (struct policy){.negative_ms = 1000};
    assert_false(fixture_compute(fixture, &ask).stored);
    assert_false(fixture_look(fixture, &ask)->present);
}

static void an_entry_too_large_is_answered_and_not_kept(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = fixture_ask(fixture, "k");
    char *body = calloc(1, 5000);

    memset(body, 'x', 4999);
    fixture->body = body;
    struct cache_answer answer = fixture_compute(fixture, &ask);
    assert_false(answer.stored);
    assert_int_equal(answer.entry.body.len, 4999);
    assert_false(fixture_look(fixture, &ask)->present);
    free(body);
}

static void purge_meanwhile(struct fixture *fixture)
{
    assert_int_equal(l2_purge_tags(cache_l2(fixture->cache), &tags[1], 1), ERR_OK);
}

static void a_purge_while_the_origin_works_keeps_its_answer_out(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = ask_tagged(fixture);

    fixture->meanwhile = purge_meanwhile;
    assert_false(fixture_compute(fixture, &ask).stored);
    fixture->meanwhile = NULL;
    assert_false(fixture_look(fixture, &ask)->present);
    assert_true(fixture_compute(fixture, &ask).stored);
}

static void an_entry_filled_with_other_tags_is_absent(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = ask_tagged(fixture);

    fixture_compute(fixture, &ask);
    ask.tags_count = 1;
    assert_false(fixture_look(fixture, &ask)->present);
    assert_true(fixture->found.may_fill);
    ask.tags_count = 2;
    assert_true(fixture_look(fixture, &ask)->present);
}

static void bytes_that_are_no_entry_are_absent_and_filled_over(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = fixture_ask(fixture, "k");
    bool stored;
    uint64_t stamp = fixture_look(fixture, &ask)->stamp;

    assert_int_equal(l2_fill(cache_l2(fixture->cache), STR("k"), STR("LE nonsense"), 60000, stamp, &stored), ERR_OK);
    assert_true(stored);
    assert_false(fixture_look(fixture, &ask)->present);
    assert_true(fixture_compute(fixture, &ask).stored);
    assert_true(fixture_look(fixture, &ask)->present);
}

/* What computing gives AFTER_MS behind a fill, with an origin that fails. */
static enum err fail_after(struct fixture *fixture, int64_t after_ms, struct cache_answer *answer)
{
    struct cache_ask ask = fixture_ask(fixture, "k");

    fixture->origin = ERR_OK;
    fixture_compute(fixture, &ask);
    ask.now_ms += after_ms;
    fixture->origin = ERR_TIMEOUT;
    struct cache_found found = *fixture_look(fixture, &ask);
    return cache_compute(fixture->cache, &ask, &found, fixture_fill, fixture, fixture->arena, answer);
}

static void a_stale_entry_stands_in_for_a_failing_origin(void **state)
{
    struct fixture *fixture = *state;
    struct cache_answer answer;

    assert_int_equal(fail_after(fixture, 100000, &answer), ERR_OK);
    assert_int_equal(answer.source, CACHE_STALE_ON_ERROR);
    assert_int_equal(answer.origin, ERR_TIMEOUT);
    assert_true(str_equal(answer.entry.body, STR("{\"price\":1}")));
    assert_int_equal(fail_after(fixture, 4999999, &answer), ERR_OK);
    assert_int_equal(answer.source, CACHE_STALE_ON_ERROR);
}

static void without_an_entry_the_origins_error_comes_through(void **state)
{
    struct fixture *fixture = *state;
    struct cache_answer answer;
    struct cache_ask ask = fixture_ask(fixture, "other");

    assert_int_equal(fail_after(fixture, 5200000, &answer), ERR_TIMEOUT);
    fixture->origin = ERR_CORRUPT;
    struct cache_found found = *fixture_look(fixture, &ask);
    assert_int_equal(cache_compute(fixture->cache, &ask, &found, fixture_fill, fixture, fixture->arena, &answer),
                     ERR_CORRUPT);
}

static void failing_does_not_prolong_what_is_kept(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = fixture_ask(fixture, "k");
    struct cache_answer answer;

    assert_int_equal(fail_after(fixture, 200000, &answer), ERR_OK);
    ask.now_ms += 200001;
    assert_int_equal(fixture_look(fixture, &ask)->verdict, POLICY_STALE);
    assert_int_equal(fixture->found.entry.stored_at_ms, fixture->now_ms);
}

static void an_l2_that_is_away_costs_the_fill_and_nothing_else(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = fixture_ask(fixture, "k");

    for (int i = 0; i < 10; i++) {
        assert_false(fixture_look(fixture, &ask)->present);
        assert_false(fixture->found.may_fill);
        struct cache_answer answer = fixture_compute(fixture, &ask);
        assert_false(answer.stored);
        assert_true(answer.entry.etag.len > 0);
    }
    assert_int_equal(fixture->fills, 10);
    struct entry entry;
    assert_int_equal(cache_inspect(fixture->cache, STR("k"), fixture->arena, &entry), ERR_UNAVAILABLE);
}

static int open_absent(void **state)
{
    return fixture_open(state, "unix:///nonexistent/larder-test.sock");
}

static void an_inspection_is_judged_by_the_entrys_own_tags(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = ask_tagged(fixture);
    struct entry entry;

    assert_int_equal(cache_inspect(fixture->cache, ask.key, fixture->arena, &entry), ERR_NOT_FOUND);
    fixture_compute(fixture, &ask);
    assert_int_equal(cache_inspect(fixture->cache, ask.key, fixture->arena, &entry), ERR_OK);
    assert_true(entry_has_tags(&entry, tags, 2));
    assert_int_equal(l2_purge_tags(cache_l2(fixture->cache), &tags[1], 1), ERR_OK);
    assert_int_equal(cache_inspect(fixture->cache, ask.key, fixture->arena, &entry), ERR_NOT_FOUND);
}

static void a_lookup_without_memory_is_a_miss_that_is_not_filled(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = fixture_ask(fixture, "k");
    struct arena *tiny = arena_new(8, 8);

    fixture->calls = 0;
    cache_lookup(fixture->cache, &ask, tiny, fixture_keep, fixture);
    assert_int_equal(fixture->calls, 1);
    assert_false(fixture->found.present);
    assert_false(fixture->found.may_fill);
    arena_free(&tiny);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_computed_is_found_until_its_time_is_over),
        TEST(a_negative_answer_is_kept_for_its_own_time),
        TEST(what_has_no_life_is_computed_and_not_kept),
        TEST(an_entry_too_large_is_answered_and_not_kept),
        TEST(a_purge_while_the_origin_works_keeps_its_answer_out),
        TEST(an_entry_filled_with_other_tags_is_absent),
        TEST(bytes_that_are_no_entry_are_absent_and_filled_over),
        TEST(a_stale_entry_stands_in_for_a_failing_origin),
        TEST(without_an_entry_the_origins_error_comes_through),
        TEST(failing_does_not_prolong_what_is_kept),
        cmocka_unit_test_setup_teardown(an_l2_that_is_away_costs_the_fill_and_nothing_else, open_absent,
                                        fixture_teardown),
        TEST(an_inspection_is_judged_by_the_entrys_own_tags),
        TEST(a_lookup_without_memory_is_a_miss_that_is_not_filled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
