/*
 * l2_boards: the door to leaderboards in L2: what this host knows that their copies must have been told, and the rules
 * that no backend may get wrong. The protocol is the backends' business (l2_backend.h).
 *
 * Invariant: a change that this host has made is either known to L2, which the number it was pushed with proves, or
 * `required` is at least its number, so that no copy is believed before it has been told of it in order. `pushed` is
 * proof only as long as L2 is the one that was told. So what is pushed while L2 is distrusted, or across a distrust,
 * counts as not told; and after each distrust, which every restart of L2 comes with, all that was pushed before is
 * required.
 *
 * Nothing here is undone by a process that dies: all of it are atomics that only grow, but for `lost`.
 */
#include "l2/l2_boards.h"

#include <assert.h>
#include <stdatomic.h>

#include "base/shm.h"
#include "l2/l2_backend.h"

struct l2_boards_host {
    _Atomic uint64_t required, pushed;
    _Atomic uint64_t epoch; /* of distrust, as the last reader met it */
    _Atomic bool lost;
};

enum err l2_boards_host_new(struct l2_boards_host **out)
{
    void *mapping;
    enum err err = shm_map(sizeof(struct l2_boards_host), &mapping);

    if (err)
        return err;
    *out = mapping;
    return ERR_OK;
}

void l2_boards_host_free(struct l2_boards_host **host)
{
    void *mapping = *host;

    if (!mapping)
        return;
    *host = NULL;
    shm_unmap(&mapping, sizeof(struct l2_boards_host));
}

static void raise_to(_Atomic uint64_t *number, uint64_t least)
{
    uint64_t present = *number;

    while (present < least && !atomic_compare_exchange_weak(number, &present, least))
        ;
}

void l2_boards_lose(struct l2_boards_host *host)
{
    /* Every reader of such a board comes here. */
    if (!atomic_load_explicit(&host->lost, memory_order_relaxed))
        host->lost = true;
}

bool l2_boards_lost(struct l2_shared *shared)
{
    return atomic_exchange(&shared->boards->lost, false);
}

bool l2_boards_exist(const struct l2_shared *shared)
{
    return shared->backend->boards != NULL;
}

static void set_terms(struct l2_boards_host *host, uint64_t required, struct l2_boards_terms *terms)
{
    terms->pushed = host->pushed;
    if (host->epoch != terms->epoch) {
        raise_to(&host->required, terms->pushed);
        host->epoch = terms->epoch;
    }
    terms->required = host->required;
    if (terms->required < required)
        terms->required = required;
}

void l2_boards_read(struct l2 *l2, const struct l2_boards_question *question, l2_boards_fn *fn, void *context)
{
    const struct l2_boards_backend *boards = l2->shared->backend->boards;
    struct l2_boards_terms terms;

    if (!boards || question->limit > L2_BOARDS_BATCH_MAX || question->range > L2_BOARDS_BATCH_MAX ||
        !l2_health_usable(l2->shared->health, &terms.epoch)) {
        fn(context, &(struct l2_boards_answer){.result = L2_BOARDS_UNKNOWN});
        return;
    }
    set_terms(l2->shared->boards, question->required, &terms);
    boards->read(l2->self, question, &terms, fn, context);
}

void l2_boards_push(struct l2 *l2, const struct l2_boards_change *changes, size_t count)
{
    const struct l2_boards_backend *boards = l2->shared->backend->boards;
    struct l2_boards_host *host = l2->shared->boards;
    uint64_t highest = 0, epoch;
    bool whole = false;

    assert(count <= L2_BOARDS_BATCH_MAX);
    if (!boards || count == 0)
        return;
    for (size_t i = 0; i < count; i++)
        if (highest < changes[i].number)
            highest = changes[i].number;

    bool told = l2_health_usable(l2->shared->health, &epoch) &&
                boards->push(l2->self, host->pushed, changes, count, &whole) == ERR_OK &&
                l2_health_holds(l2->shared->health, epoch);

    if (told && !whole)
        l2_boards_lose(host);
    raise_to(told && whole ? &host->pushed : &host->required, highest);
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

enum err l2_boards_follow(struct l2 *l2, uint64_t from, const struct l2_boards_change *changes, size_t count,
                          uint64_t upto)
{
    bool whole = true;

    assert(count <= L2_BOARDS_BATCH_MAX);
    if (!admit(l2))
        return ERR_UNAVAILABLE;

    enum err err = l2->shared->backend->boards->follow(l2->self, from, changes, count, upto, &whole);

    if (err == ERR_OK && !whole)
        l2_boards_lose(l2->shared->boards);
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
