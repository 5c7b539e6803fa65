/* Leaderboards that are copied, asked in crowds, and after any history. */
#include "l2_boards_fixture.h"

#include "l2/l2_redis_load.h"

/* P, as keys of Redis begin here. */
#define P "l*rder[:1:"

static void open_at(struct host *host, uint64_t level)
{
    *host = (struct host){.asynchronous = true};
    configure(host);
    begin_at(host, level);
}

static void copy_row(struct host *host, uint64_t number, const char *board, const char *member, double score)
{
    struct l2_boards_change row = change_to(number, board, member, score);

    assert_int_equal(l2_boards_copy(host->waiting, &row, 1), ERR_OK);
}

static void copies_take_the_place_of_all_boards_at_once(void **state)
{
    struct host host;
    (void)state;

    open_at(&host, 0);
    push(&host, 1, "old", "ann", 1);
    push(&host, 2, "b", "bob", 1);
    assert_int_equal(l2_boards_copy_begin(host.waiting, STR("b")), ERR_OK);
    assert_int_equal(l2_boards_copy_begin(host.waiting, STR("empty")), ERR_OK);
    assert_int_equal(l2_boards_copy_begin(host.waiting, STR("new")), ERR_OK);
    copy_row(&host, 1, "new", "cid", 1);
    copy_row(&host, 2, "b", "ann", 1);
    copy_row(&host, 1, "b", "dan", 1);
    copy_row(&host, 2, "b", "dan", 0);
    assert_board(&host, "old", "ann");
    assert_board(&host, "b", "bob");
    assert_true(operate(&redis, "DBSIZE") > 6);
    assert_int_equal(l2_boards_replace(host.waiting, 2), ERR_OK);
    assert_int_equal(level_of(&host), 2);
    assert_board(&host, "old", "");
    assert_board(&host, "b", "ann dan");
    assert_board(&host, "new", "cid");
    assert_board(&host, "empty", "");
    /* The purges' hash is there, or not; of boards, there is nothing else, and nothing of it expires. */
    assert_int_equal(operate(&redis, "DBSIZE"), 7);
    assert_int_equal(operate(&redis, "PTTL " P "board:b"), -1);
    assert_int_equal(operate(&redis, "PTTL " P "reached:b"), -1);
    push(&host, 3, "b", "eve", 1);
    assert_board(&host, "b", "ann eve dan");
    host_close(&host);
}

static void what_was_pushed_before_copies_came_is_required(void **state)
{
    struct host host, other = {.asynchronous = true};
    (void)state;

    open_at(&host, 0);
    configure(&other);
    push(&host, 1, "b", "ann", 1);
    assert_int_equal(l2_boards_copy_begin(host.waiting, STR("b")), ERR_OK);
    push(&host, 2, "b", "bob", 2);
    assert_int_equal(l2_boards_replace(host.waiting, 1), ERR_OK);
    assert_unknown(&host, "b");
    assert_unknown(&other, "b");
    follow(&host, 1, change_to(2, "b", "bob", 2));
    assert_board(&host, "b", "bob");
    assert_board(&other, "b", "bob");
    host_close(&other);
    host_close(&host);
}

/* Without forgetting, the copies would have to get to numbers that other changes had. */
static void copies_of_a_database_that_was_put_back_are_believed_at_its_own_numbers(void **state)
{
    struct host host, started_again = {.asynchronous = true};
    uint64_t level;
    (void)state;

    open_at(&host, 8);
    push(&host, 9, "b", "late", 9);
    follow(&host, 8, change_to(9, "b", "late", 9));
    host_close(&host);
    configure(&started_again);
    assert_int_equal(l2_boards_forget(started_again.waiting), ERR_OK);
    assert_int_equal(l2_boards_level(started_again.waiting, &level), ERR_NOT_FOUND);
    assert_unknown(&started_again, "b");
    assert_int_equal(l2_boards_copy_begin(started_again.waiting, STR("b")), ERR_OK);
    copy_row(&started_again, 1, "b", "ann", 1);
    assert_int_equal(l2_boards_replace(started_again.waiting, 2), ERR_OK);
    assert_board(&started_again, "b", "ann");
    push(&started_again, 3, "b", "bob", 2);
    assert_board(&started_again, "b", "bob ann");
    host_close(&started_again);
}

static bool is_not_old(void *context, struct str board)
{
    ++*(int *)context;
    return !str_starts(board, STR("old"));
}

static void what_is_not_kept_leaves_nothing_behind(void **state)
{
    struct host host;
    int asked = 0;
    (void)state;

    open_at(&host, 0);
    push(&host, 1, "b", "ann", 1);
    push(&host, 2, "old@1", "bob", 2);
    push(&host, 3, "old@2", "cid", 3);
    assert_int_equal(l2_boards_prune(host.waiting, is_not_old, &asked), ERR_OK);
    assert_in_range(asked, 3, 4);
    assert_board(&host, "b", "ann");
    assert_board(&host, "old@1", "");
    asked = 0;
    assert_int_equal(l2_boards_prune(host.waiting, is_not_old, &asked), ERR_OK);
    assert_in_range(asked, 1, 2);
    operate(&redis, "EVAL %s 0",
            "if #redis.call('KEYS', '*old@*') > 0 then return redis.error_reply('there is more') end return 'OK'");
    /* One that comes again is whole. */
    push(&host, 4, "old@1", "dan", 4);
    assert_board(&host, "old@1", "dan");
    host_close(&host);
}

static void a_copying_that_failed_leaves_nothing_to_the_next(void **state)
{
    struct l2_boards_change row = change_to(1, "gone", "ann", 1);
    struct host host;
    (void)state;

    open_at(&host, 0);
    assert_int_equal(l2_boards_copy(host.waiting, &row, 1), ERR_NOT_FOUND);
    assert_int_equal(l2_boards_copy_begin(host.waiting, STR("gone")), ERR_OK);
    copy_row(&host, 1, "gone", "ann", 1);
    l2_boards_copy_drop(host.waiting);
    assert_int_equal(l2_boards_copy(host.waiting, &row, 1), ERR_NOT_FOUND);
    assert_int_equal(l2_boards_copy_begin(host.waiting, STR("b")), ERR_OK);
    /* A row of a board that was not begun. */
    assert_int_equal(l2_boards_copy(host.waiting, &row, 1), ERR_NOT_FOUND);
    begin_at(&host, 5);
    assert_board(&host, "gone", "");
    assert_int_equal(level_of(&host), 5);
    operate(&redis, "EVAL %s 0",
            "for _, key in ipairs(redis.call('KEYS', '*copy:*')) do assert(redis.call('PTTL', key) > 0) end return 1");
    host_close(&host);
}

static void a_copy_that_lost_a_part_takes_no_place(void **state)
{
    static const char *const parts[] = {"copy:%d+$", "copy:%d+:board:b$", "copy:%d+:reached:b$"};
    struct host host;
    (void)state;

    open_at(&host, 0);
    push(&host, 1, "b", "ann", 1);
    for (size_t i = 0; i < 6; i++) {
        struct l2_boards_change row = change_to(1, "b", "bob", 1);

        assert_int_equal(l2_boards_copy_begin(host.waiting, STR("b")), ERR_OK);
        copy_row(&host, 1, "b", "bob", 1);
        operate(
            &redis, "EVAL %s 0 %s",
            "for _, key in ipairs(redis.call('KEYS', '*')) do if key:match(ARGV[1]) then redis.call('DEL', key) end "
            "end return 1",
            parts[i / 2]);
        if (i % 2)
            assert_int_equal(l2_boards_copy(host.waiting, &row, 1), ERR_NOT_FOUND);
        else
            assert_int_equal(l2_boards_replace(host.waiting, 1), ERR_NOT_FOUND);
        assert_board(&host, "b", "ann");
        assert_int_equal(level_of(&host), 0);
        operate(&redis, "EVAL %s 0",
                "for _, key in ipairs(redis.call('KEYS', '*copy:*')) do redis.call('DEL', key) end return 1");
    }
    host_close(&host);
}

static void two_that_copy_do_not_meet(void **state)
{
    struct host host, other = {.asynchronous = true};
    (void)state;

    open_at(&host, 0);
    configure(&other);
    assert_int_equal(l2_boards_copy_begin(host.waiting, STR("b")), ERR_OK);
    assert_int_equal(l2_boards_copy_begin(other.waiting, STR("b")), ERR_OK);
    copy_row(&host, 1, "b", "ann", 1);
    copy_row(&other, 1, "b", "bob", 1);
    assert_int_equal(l2_boards_replace(host.waiting, 1), ERR_OK);
    assert_board(&other, "b", "ann");
    assert_int_equal(l2_boards_replace(other.waiting, 1), ERR_OK);
    assert_board(&host, "b", "bob");
    host_close(&other);
    host_close(&host);
}

/* Crowds. */

enum { CROWD = 150 };

struct asker {
    struct host *host;
    unsigned again, answers;
    enum l2_boards_result result;
    uint64_t rank;
    char name[8];
};

static void note_rank(void *context, const struct l2_boards_answer *answer);

static void ask_rank(struct asker *asker)
{
    struct l2_boards_question question = {.board = STR("b"), .kind = L2_BOARDS_MEMBER, .member = str_from(asker->name)};

    l2_boards_read(asker->host->reading, &question, note_rank, asker);
}

static void note_rank(void *context, const struct l2_boards_answer *answer)
{
    struct asker *asker = context;

    asker->answers++;
    asker->result = answer->result;
    asker->rank = answer->rank;
    if (asker->again > 0) {
        asker->again--;
        ask_rank(asker);
    }
}

static void wait_for(struct host *host, const struct asker *askers, unsigned answers)
{
    int64_t end_ms = sys_monotonic_ms() + PATIENCE_MS;

    for (size_t i = 0; i < CROWD; i++)
        while (askers[i].answers < answers) {
            assert_true(sys_monotonic_ms() < end_ms);
            loop_round(&host->loop);
        }
}

static void push_crowd(struct host *host)
{
    char name[8];

    for (unsigned i = 0; i < CROWD; i++) {
        snprintf(name, sizeof(name), "m%u", i);
        push(host, i + 1, "b", name, -(double)i);
    }
}

static void a_crowd_that_asks_again_gets_each_its_answers(void **state)
{
    struct asker askers[CROWD];
    struct seen seen = {0};
    struct host host;
    (void)state;

    open_at(&host, 0);
    push_crowd(&host);
    put(&host, "key", "bytes");
    for (unsigned i = 0; i < CROWD; i++) {
        askers[i] = (struct asker){.host = &host, .again = 3};
        snprintf(askers[i].name, sizeof(askers[i].name), "m%u", i);
        ask_rank(&askers[i]);
        if (i == CROWD / 2)
            l2_read(host.reading, STR("key"), NULL, 0, note_read, &seen);
    }
    wait_for(&host, askers, 4);
    for (unsigned i = 0; i < CROWD; i++) {
        assert_int_equal(askers[i].answers, 4);
        assert_int_equal(askers[i].result, L2_BOARDS_FOUND);
        assert_int_equal(askers[i].rank, i);
    }
    assert_int_equal(seen.result, L2_FOUND);
    host_close(&host);
}

static void a_crowd_whose_server_dies_gets_each_one_answer(void **state)
{
    struct asker askers[CROWD];
    struct seen seen = {0};
    struct host host;
    (void)state;

    open_at(&host, 0);
    push_crowd(&host);
    assert_int_equal(member_of(&host, "b", "m1")->rank, 1);
    for (unsigned i = 0; i < CROWD; i++) {
        askers[i] = (struct asker){.host = &host, .again = 1, .name = "m1"};
        ask_rank(&askers[i]);
    }
    l2_read(host.reading, STR("key"), NULL, 0, note_read, &seen);
    server_kill(&redis);
    wait_for(&host, askers, 2);
    run_until(&host.loop, &seen.called);
    for (unsigned i = 0; i < CROWD; i++) {
        assert_int_equal(askers[i].answers, 2);
        assert_int_equal(askers[i].result, L2_BOARDS_UNKNOWN);
    }
    assert_int_equal(seen.result, L2_UNAVAILABLE);
    assert_true(status_of(&host).breaker_opened > 0);
    host_close(&host);
}

static void a_server_that_forgot_the_scripts_is_told_them_once(void **state)
{
    struct host host;
    (void)state;

    open_at(&host, 0);
    push(&host, 1, "b", "ann", 1);
    for (int round = 0; round < 2; round++) {
        forget_scripts();
        for (int i = 0; i < 4; i++)
            assert_int_equal(member_of(&host, "b", "ann")->result, L2_BOARDS_FOUND);
        assert_int_equal(calls_of("evalsha"), 5);
        assert_int_equal(scripts_loaded(), L2_REDIS_LOAD_COUNT);
    }
    assert_int_equal(status_of(&host).last_error.len, 0);
    host_close(&host);
}

/* Histories. */

enum { CHANGES = 300, MEMBERS = 12, BOARDS = 2, AHEAD = 40 };

struct history {
    unsigned seed;
    struct l2_boards_change changes[CHANGES + 1]; /* by number */
    char members[MEMBERS][8];
    /* The number of each member's last change that was told; 0 without one. */
    uint64_t told[BOARDS][MEMBERS];
    uint64_t level;
};

static const char *const boards[BOARDS] = {"one", "two"};

static unsigned draw(struct history *history, unsigned below)
{
    return (unsigned)rand_r(&history->seed) / 7 % below;
}

static void make_history(struct history *history, unsigned seed)
{
    *history = (struct history){.seed = seed};
    for (size_t i = 0; i < MEMBERS; i++)
        snprintf(history->members[i], sizeof(history->members[i]), "m%zu", i);
    for (uint64_t number = 1; number <= CHANGES; number++) {
        const char *board = boards[draw(history, BOARDS)], *member = history->members[draw(history, MEMBERS)];

        history->changes[number] = draw(history, 4) == 0 ? removal(number, board, member)
                                                         : change_to(number, board, member, draw(history, 5) - 2.0);
    }
}

/* Notes that the change of NUMBER was told, late or not. */
static void note_told(struct history *history, uint64_t number)
{
    const struct l2_boards_change *change = &history->changes[number];
    uint64_t *told = &history->told[change->board.p == boards[1]][atoi(change->member.p + 1)];

    if (number > history->level && *told < number)
        *told = number;
}

static bool precedes(const struct l2_boards_change *a, const struct l2_boards_change *b)
{
    return a->score > b->score || (a->score == b->score && a->number < b->number);
}

/* The board as it must stand, in ORDER. */
static size_t sort_board(const struct history *history, size_t board, const struct l2_boards_change **order)
{
    size_t count = 0;

    for (size_t i = 0; i < MEMBERS; i++) {
        const struct l2_boards_change *change = &history->changes[history->told[board][i]];
        size_t place = count;

        if (change->number == 0 || change->removed)
            continue;
        for (; place > 0 && precedes(change, order[place - 1]); place--)
            order[place] = order[place - 1];
        order[place] = change;
        count++;
    }
    return count;
}

static void compare(struct host *host, const struct history *history)
{
    const struct l2_boards_change *order[MEMBERS];

    for (size_t board = 0; board < BOARDS; board++) {
        size_t count = sort_board(history, board, order);
        const struct told *told = top_of(host, boards[board], 0, 100);

        assert_int_equal(told->result, L2_BOARDS_FOUND);
        assert_int_equal(told->members, count);
        assert_int_equal(told->count, count);
        for (size_t i = 0; i < count; i++) {
            assert_string_equal(told->places[i].member, order[i]->member.p);
            assert_true(told->places[i].score == order[i]->score);
        }
        for (size_t i = 0; i < count; i += 3) {
            told = around(host, boards[board], order[i]->member.p, 2);
            assert_int_equal(told->rank, i < 2 ? 0 : i - 2);
            told = member_of(host, boards[board], order[i]->member.p);
            assert_int_equal(told->rank, i);
        }
    }
}

static void tell_some(struct host *host, struct history *history)
{
    struct l2_boards_change changes[8];
    uint64_t most = history->level + AHEAD < CHANGES ? history->level + AHEAD : CHANGES;
    size_t count = 1 + draw(history, 8);

    for (size_t i = 0; i < count; i++) {
        uint64_t number = 1 + draw(history, (unsigned)most);

        changes[i] = history->changes[number];
        note_told(history, number);
    }
    push_all(host, changes, count);
}

static void tell_in_order(struct host *host, struct history *history)
{
    uint64_t upto = history->level + 1 + draw(history, 6);

    if (upto > CHANGES)
        upto = CHANGES;
    for (uint64_t number = history->level + 1; number <= upto; number++)
        note_told(history, number);
    assert_int_equal(l2_boards_follow(host->waiting, history->level, &history->changes[history->level + 1],
                                      upto - history->level, upto),
                     ERR_OK);
    history->level = upto;
}

/* Copies what stands at a level that nothing was told of yet. */
static void copy_boards(struct host *host, struct history *history)
{
    history->level = history->level + AHEAD < CHANGES ? history->level + AHEAD : CHANGES;
    memset(history->told, 0, sizeof(history->told));
    for (uint64_t level = history->level, number = history->level = 0; number++ < level;) {
        note_told(history, number);
        if (number == level)
            history->level = level;
    }
    for (size_t board = 0; board < BOARDS; board++) {
        const struct l2_boards_change *order[MEMBERS];
        size_t count = sort_board(history, board, order);

        assert_int_equal(l2_boards_copy_begin(host->waiting, str_from(boards[board])), ERR_OK);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(l2_boards_copy(host->waiting, order[i], 1), ERR_OK);
    }
    assert_int_equal(l2_boards_replace(host->waiting, history->level), ERR_OK);
}

static void boards_agree_with_a_sorted_array_after_any_history(void **state)
{
    static struct history history;
    struct host host;
    (void)state;

    for (unsigned seed = 1; seed <= 12; seed++) {
        make_history(&history, seed);
        operate(&redis, "FLUSHALL");
        open_at(&host, 0);
        while (history.level < CHANGES) {
            unsigned what = draw(&history, 100);

            if (what < 60)
                tell_some(&host, &history);
            else if (what < 98)
                tell_in_order(&host, &history);
            else
                copy_boards(&host, &history);
            host.asynchronous = draw(&history, 2);
            compare(&host, &history);
        }
        for (size_t board = 0; board < BOARDS; board++) {
            long long members = operate(&redis, "ZCARD " P "board:%s", boards[board]);

            assert_int_equal(operate(&redis, "HLEN " P "reached:%s", boards[board]), members);
        }
        assert_false(l2_boards_lost(host.shared));
        host_close(&host);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(copies_take_the_place_of_all_boards_at_once),
        CASE(what_was_pushed_before_copies_came_is_required),
        CASE(copies_of_a_database_that_was_put_back_are_believed_at_its_own_numbers),
        CASE(what_is_not_kept_leaves_nothing_behind),
        CASE(a_copying_that_failed_leaves_nothing_to_the_next),
        CASE(a_copy_that_lost_a_part_takes_no_place),
        CASE(two_that_copy_do_not_meet),
        CASE(a_crowd_that_asks_again_gets_each_its_answers),
        CASE(a_crowd_whose_server_dies_gets_each_one_answer),
        CASE(a_server_that_forgot_the_scripts_is_told_them_once),
        CASE(boards_agree_with_a_sorted_array_after_any_history),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
