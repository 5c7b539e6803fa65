/* Leaderboards in L2: their order, what tells them, and when they are not to be believed. */
#include "l2_boards_fixture.h"

#include <math.h>

#include "l2/l2_job.h"

/* P, as keys of Redis begin here. */
#define P "l*rder[:1:"

/* Runs TEST with questions by waiting, then with asynchronous ones, each on a fresh server, with no boards at level 0.
 */
static void both_ways(void (*test)(struct host *host))
{
    for (int way = 0; way < 2; way++) {
        struct host host = {0};

        server_kill(&redis);
        server_start(&redis, NULL, NULL);
        configure(&host);
        host.asynchronous = way == 1;
        begin_at(&host, 0);
        test(&host);
        host_close(&host);
    }
}

/* BOTH_WAYS(name) { body about `host` } makes the test NAME of it. */
#define BOTH_WAYS(name)                                                                                                \
    static void both_##name(struct host *host);                                                                        \
    static void name(void **state)                                                                                     \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        both_ways(both_##name);                                                                                        \
    }                                                                                                                  \
    static void both_##name(struct host *host)

static void push_five(struct host *host)
{
    push(host, 1, "b", "ann", 10);
    push(host, 2, "b", "bob", 30);
    push(host, 3, "b", "cid", 10);
    push(host, 4, "b", "dan", -2.5);
    push(host, 5, "b", "eve", 20);
}

BOTH_WAYS(scores_fall_and_of_equal_ones_the_first_comes_first)
{
    push_five(host);
    assert_board(host, "b", "bob eve ann cid dan");
    push(host, 6, "b", "ann", 20);
    assert_board(host, "b", "bob eve ann cid dan");
    push(host, 7, "b", "eve", 5);
    push(host, 8, "b", "eve", 20);
    assert_board(host, "b", "bob ann eve cid dan");
    assert_int_equal(top_of(host, "b", 0, 10)->members, 5);
}

BOTH_WAYS(numbers_order_as_numbers)
{
    push(host, 9, "b", "nine", 1);
    push(host, 10, "b", "ten", 1);
    push(host, 99999999, "b", "many", 1);
    push(host, 1ULL << 53, "b", "most", 1);
    push(host, (1ULL << 53) - 1, "b", "less", 1);
    assert_board(host, "b", "nine ten many less most");
}

BOTH_WAYS(members_have_ranks_and_scores)
{
    static const char *const order[] = {"bob", "eve", "ann", "cid", "dan"};
    static const double scores[] = {30, 20, 10, 10, -2.5};

    push_five(host);
    for (size_t i = 0; i < 5; i++) {
        const struct told *told = member_of(host, "b", order[i]);

        assert_places(told, order[i]);
        assert_int_equal(told->rank, i);
        assert_int_equal(told->members, 5);
        assert_true(told->places[0].score == scores[i]);
    }
    assert_int_equal(member_of(host, "b", "nobody")->result, L2_BOARDS_ABSENT);
    assert_int_equal(member_of(host, "b", "nobody")->members, 5);
    assert_int_equal(around(host, "b", "nobody", 2)->result, L2_BOARDS_ABSENT);
    assert_int_equal(member_of(host, "b", "")->result, L2_BOARDS_ABSENT);
    assert_int_equal(member_of(host, "other", "bob")->result, L2_BOARDS_ABSENT);
}

BOTH_WAYS(neighbours_end_where_the_board_does)
{
    static const struct {
        const char *member;
        uint64_t range, rank;
        const char *places;
    } cases[] = {
        {"ann", 1, 1, "eve ann cid"},
        {"ann", 0, 2, "ann"},
        {"bob", 2, 0, "bob eve ann"},
        {"dan", 2, 2, "ann cid dan"},
        {"eve", 1000, 0, "bob eve ann cid dan"},
    };

    push_five(host);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const struct told *told = around(host, "b", cases[i].member, cases[i].range);

        assert_places(told, cases[i].places);
        assert_int_equal(told->rank, cases[i].rank);
    }
    assert_int_equal(around(host, "b", "eve", 1001)->result, L2_BOARDS_UNKNOWN);
}

BOTH_WAYS(pages_end_where_the_board_does)
{
    static const struct {
        uint64_t offset, limit, rank;
        const char *places;
    } cases[] = {
        {0, 2, 0, "bob eve"}, {2, 2, 2, "ann cid"},    {4, 1000, 4, "dan"}, {5, 10, 5, ""},
        {77, 10, 5, ""},      {UINT64_MAX, 10, 5, ""}, {0, 0, 0, ""},
    };

    push_five(host);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const struct told *told = top_of(host, "b", cases[i].offset, cases[i].limit);

        assert_places(told, cases[i].places);
        assert_int_equal(told->rank, cases[i].rank);
        assert_int_equal(told->members, 5);
    }
    assert_int_equal(top_of(host, "b", 0, 1001)->result, L2_BOARDS_UNKNOWN);
}

BOTH_WAYS(a_board_without_members_is_empty)
{
    assert_board(host, "b", "");
    assert_int_equal(top_of(host, "b", 0, 10)->members, 0);
    push(host, 1, "b", "ann", 1);
    push_removal(host, 2, "b", "ann");
    assert_board(host, "b", "");
    assert_int_equal(member_of(host, "b", "ann")->result, L2_BOARDS_ABSENT);
    assert_false(l2_boards_lost(host->shared));
}

BOTH_WAYS(scores_come_back_exactly)
{
    static const double scores[] = {
        9007199254740992.0, -9007199254740992.0, 0.1, -0.1, 1.0 / 3, 0, -0.0, 5e-324, 1e-300,
        123456789.125,      9007199254740991.0};
    char member[8];

    for (size_t i = 0; i < sizeof(scores) / sizeof(*scores); i++) {
        snprintf(member, sizeof(member), "m%zu", i);
        push(host, i + 1, "b", member, scores[i]);
        for (int kind = 0; kind < 2; kind++) {
            const struct told *told = kind ? around(host, "b", member, 0) : member_of(host, "b", member);

            assert_places(told, member);
            assert_true(told->places[0].score == scores[i]);
            assert_false(told->places[0].score == 0 && signbit(told->places[0].score));
        }
    }
    assert_places(top_of(host, "b", 0, 3), "m0 m10 m9");
    assert_places(around(host, "b", "m5", 1), "m7 m5 m6");
}

BOTH_WAYS(any_bytes_name_boards_and_members)
{
    static const char *const names[] = {"b:at", "b", "\xff\r\n", "{x}", "*", "%s", "level", "0000000000000001"};

    for (size_t i = 0; i < 8; i++)
        for (size_t j = 0; j < 8; j++)
            push(host, i * 8 + j + 1, names[i], names[j], (double)j);
    for (size_t i = 0; i < 8; i++)
        for (size_t j = 0; j < 8; j++)
            assert_int_equal(member_of(host, names[i], names[j])->rank, 7 - j);
}

BOTH_WAYS(what_is_told_late_or_twice_changes_nothing)
{
    push(host, 5, "b", "ann", 50);
    push(host, 3, "b", "ann", 30);
    push(host, 5, "b", "ann", 50);
    push_removal(host, 4, "b", "ann");
    assert_true(member_of(host, "b", "ann")->places[0].score == 50);
    follow(host, 0, change_to(3, "b", "ann", 30));
    follow(host, 3, removal(4, "b", "ann"));
    assert_true(member_of(host, "b", "ann")->places[0].score == 50);
    follow(host, 4, change_to(5, "b", "ann", 50));
    push(host, 3, "b", "ann", 30);
    assert_true(member_of(host, "b", "ann")->places[0].score == 50);
    assert_int_equal(top_of(host, "b", 0, 10)->members, 1);
    assert_int_equal(level_of(host), 5);
}

BOTH_WAYS(a_removal_told_early_stays_until_it_is_told_in_order)
{
    push_removal(host, 2, "b", "ann");
    push(host, 1, "b", "ann", 1);
    assert_board(host, "b", "");
    follow(host, 0, change_to(1, "b", "ann", 1));
    assert_board(host, "b", "");
    assert_int_equal(operate(&redis, "HLEN " P "reached:b"), 2);
    follow(host, 1, removal(2, "b", "ann"));
    assert_int_equal(operate(&redis, "HLEN " P "reached:b"), 1);
    push(host, 1, "b", "ann", 1);
    assert_board(host, "b", "");
    push_removal(host, 4, "b", "ann");
    push(host, 5, "b", "ann", 5);
    assert_board(host, "b", "ann");
    follow(host, 2, change_to(3, "b", "ann", 1));
    follow(host, 3, removal(4, "b", "ann"));
    assert_board(host, "b", "ann");
    follow(host, 4, removal(6, "b", "ann"));
    assert_board(host, "b", "");
    assert_int_equal(operate(&redis, "HLEN " P "reached:b"), 1);
    assert_int_equal(operate(&redis, "ZCARD " P "board:b"), 1);
}

BOTH_WAYS(many_changes_are_told_at_once)
{
    static struct l2_boards_change changes[L2_BOARDS_BATCH_MAX];
    static char names[L2_BOARDS_BATCH_MAX][16];

    for (size_t i = 0; i < L2_BOARDS_BATCH_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "m%zu", i / 2);
        changes[i] = change_to(i + 1, i % 10 ? "b" : "c", names[i], (double)i);
    }
    push_all(host, changes, L2_BOARDS_BATCH_MAX);
    assert_int_equal(top_of(host, "b", 0, 1000)->members, 500);
    assert_int_equal(top_of(host, "b", 0, 1000)->count, 500);
    assert_int_equal(top_of(host, "c", 0, 1000)->count, 100);
    assert_int_equal(l2_boards_follow(host->waiting, 0, changes, L2_BOARDS_BATCH_MAX, 1200), ERR_OK);
    assert_int_equal(member_of(host, "b", "m7")->rank, 492);
    assert_int_equal(level_of(host), 1200);
    push_all(host, changes, 0);
}

BOTH_WAYS(what_the_asker_knows_of_must_have_been_told)
{
    struct l2_boards_question question = {.board = STR("b"), .limit = 10, .required = 7};

    push_five(host);
    assert_int_equal(ask_board(host, question)->result, L2_BOARDS_UNKNOWN);
    follow(host, 0, change_to(6, "b", "ann", 1));
    assert_int_equal(ask_board(host, question)->result, L2_BOARDS_UNKNOWN);
    assert_int_equal(l2_boards_follow(host->waiting, 6, NULL, 0, 7), ERR_OK);
    assert_int_equal(ask_board(host, question)->result, L2_BOARDS_FOUND);
    assert_int_equal(l2_boards_follow(host->waiting, 6, NULL, 0, 8), ERR_NOT_FOUND);
    assert_int_equal(level_of(host), 7);
}

/* Followed up to 5, boards are lost by WHAT, which the next reader notices. */
static void lose_a_part(struct host *host, const char *what)
{
    push_five(host);
    push(host, 6, "other", "ann", 1);
    assert_int_equal(l2_boards_follow(host->waiting, 0, NULL, 0, 6), ERR_OK);
    assert_false(l2_boards_lost(host->shared));
    operate(&redis, what);
    assert_unknown(host, "b");
    assert_true(l2_boards_lost(host->shared));
    assert_false(l2_boards_lost(host->shared));
    assert_int_equal(member_of(host, "b", "ann")->result, L2_BOARDS_UNKNOWN);
    assert_int_equal(around(host, "b", "ann", 1)->result, L2_BOARDS_UNKNOWN);
    assert_int_equal(member_of(host, "b", "nobody")->result, L2_BOARDS_UNKNOWN);
    assert_true(l2_boards_lost(host->shared));
    assert_board(host, "other", "ann");
    /* What cannot be told makes no new board of the rest, and is required from now on. */
    push(host, 7, "b", "ann", 99);
    assert_true(l2_boards_lost(host->shared));
    assert_unknown(host, "b");
    assert_unknown(host, "other");
    follow(host, 6, change_to(7, "b", "ann", 99));
    assert_unknown(host, "b");
    assert_board(host, "other", "ann");
    /* Copied anew, it is whole. */
    struct l2_boards_change row = change_to(7, "b", "ann", 99);
    assert_int_equal(l2_boards_copy_begin(host->waiting, STR("b")), ERR_OK);
    assert_int_equal(l2_boards_copy(host->waiting, &row, 1), ERR_OK);
    assert_int_equal(l2_boards_replace(host->waiting, 7), ERR_OK);
    assert_board(host, "b", "ann");
    assert_int_equal(status_of(host).breaker_opened, 0);
}

BOTH_WAYS(a_board_without_its_order_is_not_believed)
{
    lose_a_part(host, "DEL " P "board:b");
}

BOTH_WAYS(a_board_without_its_numbers_is_not_believed)
{
    lose_a_part(host, "DEL " P "reached:b");
}

BOTH_WAYS(a_member_that_others_cut_is_not_believed)
{
    push_five(host);
    operate(&redis, "ZREM " P "board:b 0000000000000001ann");
    assert_int_equal(member_of(host, "b", "ann")->result, L2_BOARDS_UNKNOWN);
    assert_true(l2_boards_lost(host->shared));
    assert_int_equal(around(host, "b", "ann", 1)->result, L2_BOARDS_UNKNOWN);
}

BOTH_WAYS(a_flushed_server_has_no_boards)
{
    uint64_t level;

    push_five(host);
    assert_board(host, "b", "bob eve ann cid dan");
    operate(&redis, "FLUSHALL");
    assert_unknown(host, "b");
    assert_int_equal(l2_boards_level(host->waiting, &level), ERR_NOT_FOUND);
    assert_int_equal(l2_boards_follow(host->waiting, 0, NULL, 0, 6), ERR_NOT_FOUND);
    push(host, 6, "b", "ann", 1);
    assert_int_equal(operate(&redis, "DBSIZE"), 0);
    /* Whatever it is filled with again must have got to what was pushed, told or not. */
    begin_at(host, 4);
    assert_unknown(host, "b");
    follow(host, 4, change_to(5, "b", "eve", 20));
    assert_unknown(host, "b");
    follow(host, 5, change_to(6, "b", "ann", 1));
    assert_board(host, "b", "eve ann");
}

BOTH_WAYS(a_server_back_from_an_old_snapshot_is_not_believed)
{
    struct host other = {0};

    configure(&other);
    push_five(host);
    follow(host, 0, change_to(1, "b", "ann", 10));
    operate(
        &redis, "EVAL %s 1 " P "boards",
        "for _, f in ipairs(redis.call('HKEYS', KEYS[1])) do if f:match('pushed') then redis.call('HSET', KEYS[1], f, "
        "'4') end end return 1");
    assert_unknown(host, "b");
    /* That others push more, or that more is pushed from here, does not bring back what is missing. */
    push(&other, 6, "b", "fay", 1);
    assert_unknown(host, "b");
    push(host, 7, "b", "gus", 1);
    assert_unknown(host, "b");
    assert_false(l2_boards_lost(host->shared));
    assert_int_equal(l2_boards_follow(host->waiting, 1, NULL, 0, 6), ERR_OK);
    assert_unknown(host, "b");
    assert_int_equal(l2_boards_follow(host->waiting, 6, NULL, 0, 7), ERR_OK);
    assert_int_equal(top_of(host, "b", 0, 10)->result, L2_BOARDS_FOUND);
    host_close(&other);
}

BOTH_WAYS(what_could_not_be_pushed_is_required)
{
    push_five(host);
    operate(&redis, "CONFIG SET maxmemory 1");
    push(host, 6, "b", "ann", 60);
    assert_unknown(host, "b");
    operate(&redis, "CONFIG SET maxmemory 0");
    assert_unknown(host, "b");
    push(host, 7, "b", "bob", 70);
    assert_unknown(host, "b");
    assert_int_equal(l2_boards_follow(host->waiting, 0, NULL, 0, 5), ERR_OK);
    assert_unknown(host, "b");
    follow(host, 5, change_to(6, "b", "ann", 60));
    assert_board(host, "b", "bob ann eve cid dan");
}

BOTH_WAYS(after_distrust_everything_that_was_pushed_is_required)
{
    push_five(host);
    l2_distrust(host->shared);
    assert_unknown(host, "b");
    push(host, 6, "b", "ann", 60);
    trust(host);
    assert_unknown(host, "b");
    assert_int_equal(l2_boards_follow(host->waiting, 0, NULL, 0, 5), ERR_OK);
    assert_unknown(host, "b");
    follow(host, 5, change_to(6, "b", "ann", 60));
    assert_board(host, "b", "ann bob eve cid dan");
    l2_distrust(host->shared);
    trust(host);
    assert_board(host, "b", "ann bob eve cid dan");
}

BOTH_WAYS(purges_leave_boards_alone)
{
    struct arena *arena = arena_new(1024, 1 << 20);
    struct l2_job job;

    push_five(host);
    purge_all(host);
    purge_pattern(host, "*", false);
    assert_int_equal(l2_job_take(host->waiting, 1, arena, &job), ERR_OK);
    while (job.state == L2_JOB_RUNNING)
        assert_int_equal(l2_job_step(host->waiting, 1, 1000, &job), ERR_OK);
    purge_all(host);
    purge_key(host, "b");
    assert_board(host, "b", "bob eve ann cid dan");
    arena_free(&arena);
}

BOTH_WAYS(a_hung_server_makes_boards_unknown)
{
    push_five(host);
    host->config.redis.timeout_ms = 30;
    host->config.breaker.failures = 1000;
    server_hang(&redis);
    assert_unknown(host, "b");
    assert_int_equal(member_of(host, "b", "ann")->result, L2_BOARDS_UNKNOWN);
    push(host, 6, "b", "ann", 60);
    kill(redis.pid, SIGCONT);
    host->config.redis.timeout_ms = 5000;
    assert_unknown(host, "b");
    assert_int_equal(l2_boards_follow(host->waiting, 0, NULL, 0, 6), ERR_OK);
    assert_int_equal(top_of(host, "b", 0, 10)->result, L2_BOARDS_FOUND);
}

static void shared_memory_has_no_boards(void **state)
{
    struct host host = {0};
    uint64_t level;
    (void)state;

    host_configure(&host, "memory:");
    host_open(&host);
    assert_false(l2_boards_exist(host.shared));
    push(&host, 1, "b", "ann", 1);
    assert_unknown(&host, "b");
    host.asynchronous = true;
    assert_unknown(&host, "b");
    assert_int_equal(l2_boards_level(host.waiting, &level), ERR_UNAVAILABLE);
    assert_int_equal(l2_boards_follow(host.waiting, 0, NULL, 0, 1), ERR_UNAVAILABLE);
    assert_int_equal(l2_boards_copy_begin(host.waiting, STR("b")), ERR_UNAVAILABLE);
    assert_int_equal(l2_boards_replace(host.waiting, 1), ERR_UNAVAILABLE);
    l2_boards_copy_drop(host.waiting);
    host_close(&host);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(scores_fall_and_of_equal_ones_the_first_comes_first),
        CASE(numbers_order_as_numbers),
        CASE(members_have_ranks_and_scores),
        CASE(neighbours_end_where_the_board_does),
        CASE(pages_end_where_the_board_does),
        CASE(a_board_without_members_is_empty),
        CASE(scores_come_back_exactly),
        CASE(any_bytes_name_boards_and_members),
        CASE(what_is_told_late_or_twice_changes_nothing),
        CASE(a_removal_told_early_stays_until_it_is_told_in_order),
        CASE(many_changes_are_told_at_once),
        CASE(what_the_asker_knows_of_must_have_been_told),
        CASE(a_board_without_its_order_is_not_believed),
        CASE(a_board_without_its_numbers_is_not_believed),
        CASE(a_member_that_others_cut_is_not_believed),
        CASE(a_flushed_server_has_no_boards),
        CASE(a_server_back_from_an_old_snapshot_is_not_believed),
        CASE(what_could_not_be_pushed_is_required),
        CASE(after_distrust_everything_that_was_pushed_is_required),
        CASE(purges_leave_boards_alone),
        CASE(a_hung_server_makes_boards_unknown),
        CASE(shared_memory_has_no_boards),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
