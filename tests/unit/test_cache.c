/* From key to answer: lookups, fills, waiting for one another, and what stands in when the origin fails. */
#include "cache/purge.h"

#include "cache_fixture.h"
#include "l2_fixture.h"

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

    struct cache_answer answer = fixture_compute(fixture, &ask);
    assert_false(fixture->found.present);
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
    cache_leave(fixture->cache, &fixture->found);
    ask.now_ms += 4000000;
    assert_false(fixture_look(fixture, &ask)->present);
    assert_int_equal(fixture->found.next, CACHE_COMPUTE);
    cache_leave(fixture->cache, &fixture->found);
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
    static const struct str item = STR("tag:stock:AAPL");
    struct purge_result result;

    assert_int_equal(purge_items(fixture->cache, &item, 1, false, &result), ERR_OK);
}

static void a_purge_while_the_origin_works_keeps_its_answer_out(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = ask_tagged(fixture);

    fixture->meanwhile = purge_meanwhile;
    assert_false(fixture_compute(fixture, &ask).stored);
    fixture->meanwhile = NULL;
    assert_true(fixture_compute(fixture, &ask).stored);
    assert_false(fixture->found.present);
}

static void an_entry_filled_with_other_tags_is_absent(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = ask_tagged(fixture);

    fixture_compute(fixture, &ask);
    ask.tags_count = 1;
    ask.variant = 1;
    assert_false(fixture_look(fixture, &ask)->present);
    cache_leave(fixture->cache, &fixture->found);
    ask.variant = 0;
    ask.tags_count = 2;
    assert_true(fixture_look(fixture, &ask)->present);
}

static void bytes_that_are_no_entry_are_absent_and_filled_over(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = fixture_ask(fixture, "k");
    struct l2_claim claim;
    bool stored;

    l2_claim(cache_l2(fixture->cache), ask.key, NULL, 0, STR(""), 1000, &claim);
    assert_int_equal(claim.result, L2_CLAIM_TAKEN);
    assert_int_equal(
        l2_fill(cache_l2(fixture->cache), ask.key, NULL, 0, STR("LE nonsense"), 60000, &claim.lease, &stored), ERR_OK);
    assert_true(stored);
    assert_true(fixture_compute(fixture, &ask).stored);
    assert_false(fixture->found.present);
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
    return cache_compute(fixture->cache, &ask, &found, false, fixture_fill, fixture, fixture->arena, answer);
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
    assert_int_equal(cache_compute(fixture->cache, &ask, &found, false, fixture_fill, fixture, fixture->arena, &answer),
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
        struct cache_answer answer = fixture_compute(fixture, &ask);
        assert_false(answer.stored);
        assert_true(answer.entry.etag.len > 0);
    }
    assert_int_equal(fixture->fills, 10);
    struct entry entry;
    assert_int_equal(cache_inspect(fixture->cache, STR("k"), fixture->arena, &entry, NULL), ERR_UNAVAILABLE);
}

static int open_absent(void **state)
{
    return fixture_open(state, "unix:///nonexistent/larder-test.sock", 0);
}

static void an_inspection_is_judged_by_the_entrys_own_tags(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = ask_tagged(fixture);
    struct entry entry;

    assert_int_equal(cache_inspect(fixture->cache, ask.key, fixture->arena, &entry, NULL), ERR_NOT_FOUND);
    fixture_compute(fixture, &ask);
    assert_int_equal(cache_inspect(fixture->cache, ask.key, fixture->arena, &entry, NULL), ERR_OK);
    assert_true(entry_has_tags(&entry, tags, 2));
    purge_meanwhile(fixture);
    assert_int_equal(cache_inspect(fixture->cache, ask.key, fixture->arena, &entry, NULL), ERR_NOT_FOUND);
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
    assert_int_equal(fixture->found.next, CACHE_COMPUTE);
    assert_false(fixture->found.leased);
    arena_free(&tiny);
}

static void what_l1_holds_is_found_without_l2(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = ask_tagged(fixture);

    fixture_compute(fixture, &ask);
    assert_true(fixture_look(fixture, &ask)->present);
    assert_string_equal(fixture->found.tier, "L1");
    assert_true(str_equal(fixture->found.entry.body, STR("{\"price\":1}")));
    ask.variant = 7;
    assert_true(fixture_look(fixture, &ask)->present);
    assert_string_equal(fixture->found.tier, "L2");
    assert_true(fixture_look(fixture, &ask)->present);
    assert_string_equal(fixture->found.tier, "L1");
}

static void a_purge_reaches_both_tiers(void **state)
{
    static const struct str items[] = {STR("tag:stock:AAPL"), STR("key:stocks:detail:AAPL"), STR("pattern:stocks:*"),
                                       STR("all:*")};
    struct fixture *fixture = *state;
    struct cache_ask ask = ask_tagged(fixture);
    struct purge_result result;

    for (size_t i = 0; i < sizeof items / sizeof *items; i++) {
        fixture_compute(fixture, &ask);
        assert_true(fixture_look(fixture, &ask)->present);
        assert_int_equal(purge_items(fixture->cache, &items[i], 1, false, &result), ERR_OK);
        assert_false(fixture_look(fixture, &ask)->present);
        cache_leave(fixture->cache, &fixture->found);
    }
}

/* An event thread's cache beside the fixture's, and its lookups. */
struct event_side {
    struct fixture *fixture;
    struct test_loop loop;
    struct cache *cache;
    struct cache_found found[8];
    int calls[8];
};

struct event_look {
    struct event_side *side;
    int which;
};

static void keep_event(void *context, struct cache_found *found)
{
    const struct event_look *look = context;

    look->side->found[look->which] = *found;
    look->side->calls[look->which]++;
}

static void open_side(struct event_side *side, struct fixture *fixture)
{
    *side = (struct event_side){.fixture = fixture};
    loop_init(&side->loop);
    side->cache = cache_open(&fixture->config, fixture->shared, &side->loop.loop);
}

static void close_side(struct event_side *side)
{
    cache_close(&side->cache);
    loop_fini(&side->loop);
}

static void look_event(struct event_side *side, struct event_look *look, struct cache_ask *ask, int which)
{
    *look = (struct event_look){side, which};
    cache_lookup(side->cache, ask, side->fixture->arena, keep_event, look);
}

static enum err compute_event(struct event_side *side, const struct cache_ask *ask, int which, bool background)
{
    struct cache_answer answer;

    return cache_compute(side->fixture->cache, ask, &side->found[which], background, fixture_fill, side->fixture,
                         side->fixture->arena, &answer);
}

static void of_many_that_ask_one_computes_and_all_are_answered(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = ask_tagged(fixture);
    struct event_side side;
    struct event_look looks[8];

    open_side(&side, fixture);
    for (int i = 0; i < 8; i++)
        look_event(&side, &looks[i], &ask, i);
    assert_int_equal(side.calls[0], 1);
    assert_int_equal(side.found[0].next, CACHE_COMPUTE);
    for (int i = 1; i < 8; i++)
        assert_int_equal(side.calls[i], 0);
    assert_int_equal(compute_event(&side, &ask, 0, false), ERR_OK);
    for (int round = 0; round < 100 && side.calls[7] == 0; round++)
        loop_round(&side.loop);
    for (int i = 1; i < 8; i++) {
        assert_int_equal(side.calls[i], 1);
        assert_int_equal(side.found[i].next, CACHE_ANSWER);
        assert_true(side.found[i].collapsed);
        assert_true(str_equal(side.found[i].entry.body, STR("{\"price\":1}")));
    }
    assert_int_equal(fixture->fills, 1);
    assert_int_equal(lease_count(fixture->shared->leases, sys_monotonic_ms()), 0);
    close_side(&side);
}

static void who_waited_for_a_fill_that_failed_is_told_so(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = ask_tagged(fixture);
    struct event_side side;
    struct event_look looks[3];

    open_side(&side, fixture);
    for (int i = 0; i < 3; i++)
        look_event(&side, &looks[i], &ask, i);
    fixture->origin = ERR_TIMEOUT;
    assert_int_equal(compute_event(&side, &ask, 0, false), ERR_TIMEOUT);
    for (int round = 0; round < 100 && side.calls[2] == 0; round++)
        loop_round(&side.loop);
    assert_int_equal(side.found[1].next, CACHE_FAILED);
    assert_int_equal(side.found[2].next, CACHE_FAILED);
    assert_false(side.found[2].present);
    assert_int_equal(fixture->fills, 1);
    /* Who asks afterwards tries again. */
    look_event(&side, &looks[0], &ask, 0);
    assert_int_equal(side.found[0].next, CACHE_COMPUTE);
    cache_leave(side.cache, &side.found[0]);
    close_side(&side);
}

static void what_cannot_be_kept_is_computed_by_each_and_not_one_after_the_other(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = ask_tagged(fixture);
    struct event_side side;
    struct event_look looks[3];

    ask.policy.ttl_ms = 0;
    open_side(&side, fixture);
    for (int i = 0; i < 3; i++)
        look_event(&side, &looks[i], &ask, i);
    assert_int_equal(compute_event(&side, &ask, 0, false), ERR_OK);
    for (int round = 0; round < 100 && side.calls[2] == 0; round++)
        loop_round(&side.loop);
    for (int i = 1; i < 3; i++) {
        assert_int_equal(side.found[i].next, CACHE_COMPUTE);
        assert_false(side.found[i].leased);
    }
    close_side(&side);
}

static int open_absent_l1(void **state)
{
    return fixture_open(state, "unix:///nonexistent/larder-test.sock", 1 << 20);
}

/* Lets SIDE's loop go round until one of its first COUNT lookups that DONE (a bit each) does not name has ended: which.
 */
static int next_ended(struct event_side *side, int count, unsigned done)
{
    for (int round = 0; round < 1000; round++) {
        for (int i = 0; i < count; i++)
            if (!(done >> i & 1) && side->calls[i] > 0)
                return i;
        loop_round(&side->loop);
    }
    fail_msg("nobody goes on");
    return -1;
}

static void what_nobody_can_trust_is_for_those_who_asked_before_it_was_begun(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = ask_tagged(fixture);
    struct event_side side;
    struct event_look looks[7];

    open_side(&side, fixture);
    for (int i = 0; i < 6; i++)
        look_event(&side, &looks[i], &ask, i);
    assert_int_equal(next_ended(&side, 6, 0), 0);
    assert_int_equal(side.found[0].next, CACHE_COMPUTE);
    assert_int_equal(compute_event(&side, &ask, 0, false), ERR_OK);

    /* The others asked when that fill was under way, so one of them makes another, which is good enough for them all.
     */
    int second = next_ended(&side, 6, 1);
    assert_int_equal(side.found[second].next, CACHE_COMPUTE);
    assert_true(side.found[second].leased);
    look_event(&side, &looks[6], &ask, 6);
    fixture->body = "{\"price\":2}";
    assert_int_equal(compute_event(&side, &ask, second, false), ERR_OK);
    for (unsigned done = 1 | 1u << second; done != 0x3f;) {
        int next = next_ended(&side, 6, done);
        assert_int_equal(side.found[next].next, CACHE_ANSWER);
        assert_true(side.found[next].collapsed);
        assert_true(str_equal(side.found[next].entry.body, STR("{\"price\":2}")));
        done |= 1u << next;
    }
    assert_int_equal(fixture->fills, 2);

    /* Nor is that for who asked later still. */
    assert_int_equal(next_ended(&side, 7, 0x3f), 6);
    assert_int_equal(side.found[6].next, CACHE_COMPUTE);
    assert_true(side.found[6].leased);
    cache_leave(side.cache, &side.found[6]);
    close_side(&side);
}

static void waiting_has_an_end(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = ask_tagged(fixture);
    struct event_side side;
    struct event_look looks[2];

    fixture->config.cache.lease_wait_ms = 30;
    open_side(&side, fixture);
    look_event(&side, &looks[0], &ask, 0);
    look_event(&side, &looks[1], &ask, 1);
    for (int round = 0; round < 2000 && side.calls[1] == 0; round++)
        loop_round(&side.loop);
    assert_int_equal(side.calls[1], 1);
    assert_int_equal(side.found[1].next, CACHE_COMPUTE);
    assert_false(side.found[1].leased);
    cache_leave(side.cache, &side.found[0]);
    close_side(&side);
}

static void a_soft_purge_makes_stale_and_asks_for_a_refresh(void **state)
{
    static const struct str item = STR("tag:stocks");
    struct fixture *fixture = *state;
    struct cache_ask ask = ask_tagged(fixture);
    struct event_side side;
    struct event_look look;
    struct purge_result result;

    open_side(&side, fixture);
    fixture_compute(fixture, &ask);
    assert_int_equal(purge_items(fixture->cache, &item, 1, true, &result), ERR_OK);
    look_event(&side, &look, &ask, 0);
    assert_int_equal(side.found[0].next, CACHE_ANSWER);
    assert_int_equal(side.found[0].verdict, POLICY_STALE);
    assert_true(side.found[0].refresh);
    assert_int_equal(compute_event(&side, &ask, 0, true), ERR_OK);
    assert_int_equal(fixture_look(fixture, &ask)->verdict, POLICY_FRESH);
    close_side(&side);
}

static void of_many_that_find_a_stale_entry_one_refreshes(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = ask_tagged(fixture);
    struct event_side side;
    struct event_look looks[3];

    fixture_compute(fixture, &ask);
    ask.now_ms += 200000;
    open_side(&side, fixture);
    for (int i = 0; i < 3; i++) {
        look_event(&side, &looks[i], &ask, i);
        assert_int_equal(side.found[i].next, CACHE_ANSWER);
        assert_int_equal(side.found[i].verdict, POLICY_STALE);
        assert_int_equal(side.found[i].refresh, i == 0);
    }
    fixture->body = "{\"price\":2}";
    assert_int_equal(compute_event(&side, &ask, 0, true), ERR_OK);
    look_event(&side, &looks[0], &ask, 0);
    assert_int_equal(side.found[0].verdict, POLICY_FRESH);
    assert_true(str_equal(side.found[0].entry.body, STR("{\"price\":2}")));
    assert_int_equal(fixture->fills, 2);
    close_side(&side);
}

static void a_long_body_is_kept_compressed_and_given_as_it_is_wanted(void **state)
{
    struct fixture *fixture = *state;
    struct cache_ask ask = ask_tagged(fixture);
    char body[3001];

    memset(body, 'x', 3000);
    body[3000] = '\0';
    fixture->body = body;
    fixture_compute(fixture, &ask);
    for (int round = 0; round < 2; round++) {
        ask.gzip = round == 1;
        assert_true(fixture_look(fixture, &ask)->present);
        assert_int_equal(fixture->found.entry.body_len, 3000);
        if (ask.gzip)
            assert_true(fixture->found.entry.gzip.len > 0 && fixture->found.entry.gzip.len < 1000);
        else
            assert_true(str_equal(fixture->found.entry.body, (struct str){body, 3000}));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
#define TEST_L1(name) cmocka_unit_test_setup_teardown(name, fixture_setup_l1, fixture_teardown)

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
        TEST_L1(what_l1_holds_is_found_without_l2),
        TEST(a_purge_reaches_both_tiers),
        TEST_L1(a_purge_reaches_both_tiers),
        TEST(a_soft_purge_makes_stale_and_asks_for_a_refresh),
        TEST_L1(a_soft_purge_makes_stale_and_asks_for_a_refresh),
        TEST(of_many_that_ask_one_computes_and_all_are_answered),
        TEST_L1(of_many_that_ask_one_computes_and_all_are_answered),
        TEST(who_waited_for_a_fill_that_failed_is_told_so),
        TEST(what_cannot_be_kept_is_computed_by_each_and_not_one_after_the_other),
        cmocka_unit_test_setup_teardown(what_nobody_can_trust_is_for_those_who_asked_before_it_was_begun,
                                        open_absent_l1, fixture_teardown),
        TEST(waiting_has_an_end),
        TEST(of_many_that_find_a_stale_entry_one_refreshes),
        TEST_L1(of_many_that_find_a_stale_entry_one_refreshes),
        TEST(a_long_body_is_kept_compressed_and_given_as_it_is_wanted),
        TEST_L1(a_long_body_is_kept_compressed_and_given_as_it_is_wanted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
