/*
 * l2_redis_boards: tells Redis's leaderboards of changes, copies them, and asks them, waiting for each answer.
 *
 * A copying is known by a token drawn at random, which is in the names of all that is copied. Invariant: a token is
 * given up with the copying's first failure and is never taken up again, so two that copy at the same time do not meet,
 * and what was left behind by one that failed gets into no board: Redis forgets it by itself.
 *
 * All of it bears being carried out twice (l2_redis_call_exchange), but that following and replacing find, the second
 * time, that they are done, which looks as if there was nothing to do it with. The follower then looks again.
 */
#include "l2/l2_redis_boards.h"

#include <stdlib.h>

#include "base/sys.h"

enum { PLACES_FIRST = 4 << 10, PLACES_MOST = 1 << 20 };

struct l2_redis_boards {
    struct l2_redis_call *call;
    struct arena *places; /* of the answer that is being given */
    struct l2_redis_boards_copies copies;
    bool copying; /* there is a token */
};

struct l2_redis_boards *l2_redis_boards_open(struct l2_redis_call *call)
{
    struct l2_redis_boards *boards = sys_calloc(1, sizeof(*boards));

    boards->call = call;
    boards->places = arena_new(PLACES_FIRST, PLACES_MOST);
    return boards;
}

void l2_redis_boards_close(struct l2_redis_boards **boards)
{
    if (!*boards)
        return;
    arena_free(&(*boards)->places);
    buf_free(&(*boards)->copies.begun_names);
    buf_free(&(*boards)->copies.sets);
    buf_free(&(*boards)->copies.members);
    free(*boards);
    *boards = NULL;
}

/* Understands the reply to one question. */
static enum err understand(struct l2_redis_boards *boards, const redisReply *reply,
                           const struct l2_redis_boards_asked *asked, struct l2_boards_answer *answer)
{
    struct l2_redis_boards_state state;
    bool lost = false;
    enum err err = reply->elements == 2 ? ERR_OK : ERR_CORRUPT;

    if (err == ERR_OK)
        err = l2_redis_boards_script_state(reply->element[0], &state);
    if (err == ERR_OK)
        err = l2_redis_boards_script_judge(reply->element[1], asked, &state, boards->places, answer, &lost);
    if (lost)
        l2_boards_host_lose(boards->call->setup->boards_host);
    return err;
}

void l2_redis_boards_read(struct l2_redis_boards *boards, const struct l2_redis_boards_asked *asked)
{
    static const struct l2_boards_answer unknown = {.result = L2_BOARDS_UNKNOWN};
    struct l2_redis_call *call = boards->call;
    struct l2_boards_answer answer = unknown;
    redisReply *reply;

    l2_redis_boards_script_ask(&call->commands, call->setup, asked, 1);
    if (l2_redis_call_exchange(call, "a", &reply) != ERR_OK) {
        asked->fn(asked->context, &unknown);
        return;
    }
    if (understand(boards, reply, asked, &answer) != ERR_OK) {
        (void)l2_redis_call_refuse(call);
        answer = unknown;
    }
    if (!l2_health_holds(call->setup->health, asked->terms.epoch))
        answer = unknown;
    asked->fn(asked->context, &answer);
    l2_redis_call_free(&reply, 1);
    arena_reset(boards->places);
}

/* Exchanges what is answered by a number from LEAST to MOST. */
static enum err exchange_number(struct l2_redis_call *call, long long least, long long most, long long *out)
{
    redisReply *reply;
    enum err err = l2_redis_call_exchange(call, "i", &reply);

    if (err)
        return err;
    *out = reply->integer;
    l2_redis_call_free(&reply, 1);
    return *out < least || *out > most ? l2_redis_call_refuse(call) : ERR_OK;
}

/* Exchanges what tells boards of changes. */
static enum err tell(struct l2_redis_call *call, bool *whole)
{
    redisReply *reply;
    enum err err = l2_redis_call_exchange(call, "i", &reply);

    if (err)
        return err;
    err = l2_redis_boards_script_told(reply, whole);
    l2_redis_call_free(&reply, 1);
    return err == ERR_CORRUPT ? l2_redis_call_refuse(call) : err;
}

enum err l2_redis_boards_push(struct l2_redis_boards *boards, uint64_t known, const struct l2_boards_change *changes,
                              size_t count, bool *whole)
{
    l2_redis_boards_script_push(&boards->call->commands, boards->call->setup, known, changes, count);
    return tell(boards->call, whole);
}

enum err l2_redis_boards_level(struct l2_redis_boards *boards, uint64_t *level)
{
    struct l2_redis_call *call = boards->call;
    redisReply *reply;

    l2_redis_wire_command(&call->commands, 3);
    l2_redis_wire_add(&call->commands, STR("HGET"));
    l2_redis_wire_add(&call->commands, buf_str(&call->setup->boards));
    l2_redis_wire_add(&call->commands, STR("level"));

    enum err err = l2_redis_call_exchange(call, "b", &reply);

    if (err)
        return err;
    if (reply->type == REDIS_REPLY_NIL)
        err = ERR_NOT_FOUND;
    else if (l2_redis_wire_number(reply, level) != ERR_OK)
        err = l2_redis_call_refuse(call);
    l2_redis_call_free(&reply, 1);
    return err;
}

enum err l2_redis_boards_forget(struct l2_redis_boards *boards)
{
    static const struct str fields[] = {{"level", 5}, {"pushed", 6}, {"required", 8}};
    struct l2_redis_call *call = boards->call;
    long long removed;

    l2_redis_wire_command(&call->commands, 2 + sizeof fields / sizeof *fields);
    l2_redis_wire_add(&call->commands, STR("HDEL"));
    l2_redis_wire_add(&call->commands, buf_str(&call->setup->boards));
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        l2_redis_wire_add(&call->commands, fields[i]);
    /* What boards there are stays: replacing them has to know what to remove. */
    return exchange_number(call, 0, 3, &removed);
}

/* BOARD, whose set is called SET: first no longer known, so that a half of it is never met. */
static enum err remove_board(struct l2_redis_call *call, struct str set, struct str board)
{
    redisReply *replies[2];

    l2_redis_wire_command(&call->commands, 3);
    l2_redis_wire_add(&call->commands, STR("HDEL"));
    l2_redis_wire_add(&call->commands, buf_str(&call->setup->boards));
    l2_redis_wire_add(&call->commands, set);
    l2_redis_wire_command(&call->commands, 3);
    l2_redis_wire_add(&call->commands, STR("UNLINK"));
    l2_redis_wire_add(&call->commands, set);
    l2_redis_wire_add_joined(&call->commands, buf_str(&call->setup->board_members), board);

    enum err err = l2_redis_call_exchange(call, "ii", replies);

    if (err == ERR_OK)
        l2_redis_call_free(replies, 2);
    return err;
}

enum err l2_redis_boards_prune(struct l2_redis_boards *boards, l2_boards_keep_fn *keep, void *context)
{
    struct l2_redis_call *call = boards->call;
    const struct str sets = buf_str(&call->setup->board_sets);
    redisReply *reply;

    l2_redis_wire_command(&call->commands, 2);
    l2_redis_wire_add(&call->commands, STR("HKEYS"));
    l2_redis_wire_add(&call->commands, buf_str(&call->setup->boards));

    enum err err = l2_redis_call_exchange(call, "a", &reply);

    if (err)
        return err;
    for (size_t i = 0; err == ERR_OK && i < reply->elements; i++) {
        /* What else is in the hash is no board. */
        const struct str set = l2_redis_wire_text(reply->element[i]);
        const struct str board = {set.p + sets.len, set.len - sets.len};

        if (str_starts(set, sets) && !keep(context, board))
            err = remove_board(call, set, board);
    }
    l2_redis_call_free(&reply, 1);
    return err;
}

enum err l2_redis_boards_follow(struct l2_redis_boards *boards, uint64_t from, const struct l2_boards_change *changes,
                                size_t count, uint64_t upto, bool *whole)
{
    l2_redis_boards_script_follow(&boards->call->commands, boards->call->setup, from, changes, count, upto);
    return tell(boards->call, whole);
}

void l2_redis_boards_copy_drop(struct l2_redis_boards *boards)
{
    boards->copying = false;
    boards->copies.begun = 0;
}

/* Exchanges a part of a copying, which is over when it fails. The answer is 0, for failure, to MOST. */
static enum err carry_on(struct l2_redis_boards *boards, long long most, long long *number)
{
    enum err err = exchange_number(boards->call, 0, most, number);

    if (err == ERR_OK && *number == 0)
        err = ERR_NOT_FOUND;
    if (err)
        l2_redis_boards_copy_drop(boards);
    return err;
}

static void be_copying(struct l2_redis_boards *boards)
{
    uint64_t token;

    if (boards->copying)
        return;
    sys_random(&token, sizeof(token));
    l2_redis_boards_script_name(&boards->copies, boards->call->setup, token);
    boards->copying = true;
}

enum err l2_redis_boards_copy_begin(struct l2_redis_boards *boards, struct str board)
{
    long long number;

    be_copying(boards);
    l2_redis_boards_script_begin(&boards->call->commands, &boards->copies, board);

    enum err err = carry_on(boards, (long long)boards->copies.begun + 1, &number);

    if (err == ERR_OK)
        boards->copies.begun = (uint64_t)number;
    return err;
}

enum err l2_redis_boards_copy(struct l2_redis_boards *boards, const struct l2_boards_change *rows, size_t count)
{
    long long number;

    if (boards->copies.begun == 0)
        return ERR_NOT_FOUND;
    l2_redis_boards_script_copy(&boards->call->commands, &boards->copies, rows, count);
    return carry_on(boards, 1, &number);
}

enum err l2_redis_boards_replace(struct l2_redis_boards *boards, uint64_t level)
{
    long long number;

    be_copying(boards);
    l2_redis_boards_script_replace(&boards->call->commands, boards->call->setup, &boards->copies, level);

    enum err err = carry_on(boards, 1, &number);

    l2_redis_boards_copy_drop(boards);
    return err;
}
