/* Questions about leaderboards, and telling L2 of changes. */
#ifndef LARDER_L2_BOARDS_FIXTURE_H
#define LARDER_L2_BOARDS_FIXTURE_H

#include "l2_redis_fixture.h"

#include "l2/l2_boards.h"

/* An answer, kept. */
struct told {
    bool called;
    enum l2_boards_result result;
    uint64_t members, rank;
    size_t count;
    struct {
        char member[300];
        double score;
    } places[L2_BOARDS_BATCH_MAX * 2 + 1];
};

static UNUSED void note_answer(void *context, const struct l2_boards_answer *answer)
{
    struct told *told = context;

    assert_false(told->called);
    *told = (struct told){.called = true,
                          .result = answer->result,
                          .members = answer->members,
                          .rank = answer->rank,
                          .count = answer->places_count};
    for (size_t i = 0; i < answer->places_count; i++) {
        snprintf(told->places[i].member, sizeof(told->places[i].member), "%.*s", STR_ARG(answer->places[i].member));
        told->places[i].score = answer->places[i].score;
    }
}

/* The answer stands in a static place until the next question. */
static UNUSED const struct told *ask_board(struct host *host, struct l2_boards_question question)
{
    static struct told told;

    told.called = false;
    l2_boards_read(host->asynchronous ? host->reading : host->waiting, &question, note_answer, &told);
    if (host->asynchronous)
        run_until(&host->loop, &told.called);
    assert_true(told.called);
    return &told;
}

static UNUSED const struct told *top_of(struct host *host, const char *board, uint64_t offset, uint64_t limit)
{
    return ask_board(host, (struct l2_boards_question){
                               .board = str_from(board), .kind = L2_BOARDS_TOP, .offset = offset, .limit = limit});
}

static UNUSED const struct told *member_of(struct host *host, const char *board, const char *member)
{
    return ask_board(host, (struct l2_boards_question){
                               .board = str_from(board), .kind = L2_BOARDS_MEMBER, .member = str_from(member)});
}

static UNUSED const struct told *around(struct host *host, const char *board, const char *member, uint64_t range)
{
    return ask_board(
        host, (struct l2_boards_question){
                  .board = str_from(board), .kind = L2_BOARDS_AROUND, .member = str_from(member), .range = range});
}

/* The members in TOLD, separated by blanks. */
static UNUSED void assert_places(const struct told *told, const char *members)
{
    char found[4096] = "";

    assert_int_equal(told->result, L2_BOARDS_FOUND);
    for (size_t i = 0; i < told->count; i++)
        snprintf(found + strlen(found), sizeof(found) - strlen(found), "%s%s", i ? " " : "", told->places[i].member);
    assert_string_equal(found, members);
}

/* All of BOARD, which has at most ten members. */
static UNUSED void assert_board(struct host *host, const char *board, const char *members)
{
    assert_places(top_of(host, board, 0, 10), members);
}

static UNUSED void assert_unknown(struct host *host, const char *board)
{
    assert_int_equal(top_of(host, board, 0, 10)->result, L2_BOARDS_UNKNOWN);
}

static UNUSED struct l2_boards_change change_to(uint64_t number, const char *board, const char *member, double score)
{
    return (struct l2_boards_change){
        .number = number, .board = str_from(board), .member = str_from(member), .score = score};
}

static UNUSED struct l2_boards_change removal(uint64_t number, const char *board, const char *member)
{
    return (struct l2_boards_change){
        .number = number, .board = str_from(board), .member = str_from(member), .removed = true};
}

struct pushing {
    struct l2_boards_push_call call; /* first */
    bool done;
};

static UNUSED void note_pushed(struct l2_boards_push_call *call)
{
    struct pushing *pushing = (struct pushing *)call;

    assert_false(pushing->done);
    pushing->done = true;
}

static UNUSED void push_all(struct host *host, const struct l2_boards_change *changes, size_t count)
{
    struct pushing pushing = {.call.done = note_pushed};

    if (!host->asynchronous) {
        l2_boards_push(host->waiting, changes, count);
        return;
    }
    l2_boards_push_begin(host->reading, changes, count, &pushing.call);
    run_until(&host->loop, &pushing.done);
}

static UNUSED void push(struct host *host, uint64_t number, const char *board, const char *member, double score)
{
    struct l2_boards_change change = change_to(number, board, member, score);

    push_all(host, &change, 1);
}

static UNUSED void push_removal(struct host *host, uint64_t number, const char *board, const char *member)
{
    struct l2_boards_change change = removal(number, board, member);

    push_all(host, &change, 1);
}

/* Tells CHANGE in order; FROM is the level before. */
static UNUSED void follow(struct host *host, uint64_t from, struct l2_boards_change change)
{
    assert_int_equal(l2_boards_follow(host->waiting, from, &change, 1, change.number), ERR_OK);
}

static UNUSED uint64_t level_of(struct host *host)
{
    uint64_t level = 0;

    assert_int_equal(l2_boards_level(host->waiting, &level), ERR_OK);
    return level;
}

/* Has L2 hold no boards at all, at LEVEL. */
static UNUSED void begin_at(struct host *host, uint64_t level)
{
    assert_int_equal(l2_boards_replace(host->waiting, level), ERR_OK);
}

#endif
