/*
 * l2_boards: the door to leaderboards in L2, in the manner of l2: asks the breaker and the host's trust, hands on to
 * the backend, which may have none.
 *
 * Invariant: what L2 was told of may be believed only if it was told while it was trusted, all that time. What is
 * pushed while L2 is distrusted, or across a distrust, counts as not told: it is required, and the follower brings it.
 * What was asked before a distrust is not believed after it, which the backend sees to.
 *
 * What makes an answer believable is in l2_boards_host, what is asked of Redis in l2_redis_boards_script. No failure
 * becomes an error of a reader: the answer is unknown, and the database gives it.
 */
#include "l2/l2_boards.h"

#include <assert.h>

#include "l2/l2_backend.h"

bool l2_boards_lost(struct l2_shared *shared)
{
    return l2_boards_host_lost(shared->boards);
}

bool l2_boards_exist(const struct l2_shared *shared)
{
    return shared->backend->boards != NULL;
}

void l2_boards_read(struct l2 *l2, const struct l2_boards_question *question, l2_boards_fn *fn, void *context)
{
    const struct l2_boards_backend *boards = l2->shared->backend->boards;
    struct l2_boards_terms terms;
    uint64_t epoch;

    if (!boards || question->limit > L2_BOARDS_BATCH_MAX || question->range > L2_BOARDS_BATCH_MAX ||
        !l2_health_usable(l2->shared->health, &epoch)) {
        fn(context, &(struct l2_boards_answer){.result = L2_BOARDS_UNKNOWN});
        return;
    }
    terms = l2_boards_host_ask(l2->shared->boards, epoch, question->required);
    boards->read(l2->self, question, &terms, fn, context);
}

static uint64_t highest_of(const struct l2_boards_change *changes, size_t count)
{
    uint64_t highest = 0;

    assert(count <= L2_BOARDS_BATCH_MAX);
    for (size_t i = 0; i < count; i++)
        if (highest < changes[i].number)
            highest = changes[i].number;
    return highest;
}

/* L2 was to be told of changes up to HIGHEST, from EPOCH on, and that came to ERR and WHOLE. */
static void note_push(struct l2_shared *shared, uint64_t highest, uint64_t epoch, enum err err, bool whole)
{
    const bool told = err == ERR_OK && l2_health_holds(shared->health, epoch);

    if (told && !whole)
        l2_boards_host_lose(shared->boards);
    l2_boards_host_push(shared->boards, highest, told && whole);
}

void l2_boards_push(struct l2 *l2, const struct l2_boards_change *changes, size_t count)
{
    const struct l2_boards_backend *boards = l2->shared->backend->boards;
    const uint64_t known = l2_boards_host_pushed(l2->shared->boards);
    enum err err = ERR_UNAVAILABLE;
    uint64_t epoch = 0;
    bool whole = false;

    if (!boards || count == 0)
        return;
    if (l2_health_usable(l2->shared->health, &epoch))
        err = boards->push(l2->self, known, changes, count, &whole);
    note_push(l2->shared, highest_of(changes, count), epoch, err, whole);
}

void l2_boards_push_ended(struct l2_boards_push_call *call, enum err err, bool whole)
{
    note_push(call->l2->shared, call->highest, call->epoch, err, whole);
    call->done(call);
}

void l2_boards_push_begin(struct l2 *l2, const struct l2_boards_change *changes, size_t count,
                          struct l2_boards_push_call *call)
{
    const struct l2_boards_backend *boards = l2->shared->backend->boards;
    const uint64_t known = l2_boards_host_pushed(l2->shared->boards);

    call->l2 = l2;
    call->highest = highest_of(changes, count);
    call->epoch = 0;
    if (!boards || count == 0)
        call->done(call);
    else if (!l2_health_usable(l2->shared->health, &call->epoch))
        l2_boards_push_ended(call, ERR_UNAVAILABLE, false);
    else
        boards->push_begin(l2->self, known, changes, count, call);
}

/* What l2_boards.h promises of a failure. */
static enum err settle(enum err err)
{
    return err == ERR_OK || err == ERR_NOT_FOUND ? err : ERR_UNAVAILABLE;
}

/* Whether the follower may ask. Distrust is no matter to it: what it tells is part of how that ends. */
static bool admit(struct l2 *l2)
{
    return l2_boards_exist(l2->shared) && l2_health_admit(l2->shared->health, true);
}

enum err l2_boards_level(struct l2 *l2, uint64_t *level)
{
    return admit(l2) ? settle(l2->shared->backend->boards->level(l2->self, level)) : ERR_UNAVAILABLE;
}

enum err l2_boards_forget(struct l2 *l2)
{
    return admit(l2) ? settle(l2->shared->backend->boards->forget(l2->self)) : ERR_UNAVAILABLE;
}

enum err l2_boards_prune(struct l2 *l2, l2_boards_keep_fn *keep, void *context)
{
    return admit(l2) ? settle(l2->shared->backend->boards->prune(l2->self, keep, context)) : ERR_UNAVAILABLE;
}

enum err l2_boards_follow(struct l2 *l2, uint64_t from, const struct l2_boards_change *changes, size_t count,
                          uint64_t upto)
{
    bool whole = true;

    assert(count <= L2_BOARDS_BATCH_MAX);
    if (!admit(l2))
        return ERR_UNAVAILABLE;

    enum err err = l2->shared->backend->boards->follow(l2->self, from, changes, count, upto, &whole);

    if (err == ERR_OK && !whole)
        l2_boards_host_lose(l2->shared->boards);
    return settle(err);
}

void l2_boards_copy_drop(struct l2 *l2)
{
    if (l2_boards_exist(l2->shared))
        l2->shared->backend->boards->copy_drop(l2->self);
}

enum err l2_boards_copy_begin(struct l2 *l2, struct str board)
{
    return admit(l2) ? settle(l2->shared->backend->boards->copy_begin(l2->self, board)) : ERR_UNAVAILABLE;
}

enum err l2_boards_copy(struct l2 *l2, const struct l2_boards_change *rows, size_t count)
{
    assert(count <= L2_BOARDS_BATCH_MAX);
    return admit(l2) ? settle(l2->shared->backend->boards->copy(l2->self, rows, count)) : ERR_UNAVAILABLE;
}

enum err l2_boards_replace(struct l2 *l2, uint64_t level)
{
    return admit(l2) ? settle(l2->shared->backend->boards->replace(l2->self, level)) : ERR_UNAVAILABLE;
}
