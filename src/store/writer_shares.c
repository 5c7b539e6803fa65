/*
 * writer_shares: a slot for each number, which later rows take over.
 *
 * A slot is the row's id and, in its lowest bits, how many writes of it are left; so both change in one step, whoever
 * does it and wherever it is killed. Where a share is lost that way, the row is merely carried out once more.
 */
#include "store/writer_shares.h"

enum { LEFT_BITS = 16, LEFT_MAX = (1 << LEFT_BITS) - 1 };

static uint64_t slot_of(int64_t id, uint64_t left)
{
    return (uint64_t)id << LEFT_BITS | left;
}

static _Atomic uint64_t *place(struct writer_shares *shares, int64_t id)
{
    return &shares->slots[(uint64_t)id % WRITER_SHARES_SLOTS];
}

void writer_shares_set(struct writer_shares *shares, int64_t id, size_t writes)
{
    atomic_store(place(shares, id), writes <= LEFT_MAX ? slot_of(id, writes) : 0);
}

void writer_shares_unset(struct writer_shares *shares, int64_t id)
{
    atomic_store(place(shares, id), 0);
}

void writer_shares_set_whole(struct writer_shares *shares, int64_t id)
{
    _Atomic uint64_t *slot = place(shares, id);
    uint64_t now = atomic_load(slot);

    /* A later row has the slot for itself. */
    while (now >> LEFT_BITS <= (uint64_t)id && !atomic_compare_exchange_weak(slot, &now, slot_of(id, 0)))
        continue;
}

void writer_shares_forget(struct writer_shares *shares)
{
    for (size_t i = 0; i < WRITER_SHARES_SLOTS; i++)
        atomic_store(&shares->slots[i], 0);
}

/* Takes one share of row ID. How many were left before; -1: that is not known. */
static int take_share(struct writer_shares *shares, int64_t id)
{
    _Atomic uint64_t *slot = place(shares, id);
    uint64_t now = atomic_load(slot);

    do {
        if (now >> LEFT_BITS != (uint64_t)id)
            return -1;
        if ((now & LEFT_MAX) == 0)
            return 0;
    } while (!atomic_compare_exchange_weak(slot, &now, now - 1));
    return (int)(now & LEFT_MAX);
}

struct writer_shares_paid writer_shares_pay(struct writer_shares *shares, int64_t *ids, size_t count)
{
    struct writer_shares_paid paid = {0};

    for (size_t i = 0; i < count; i++) {
        const int64_t id = ids[i];
        const int before = take_share(shares, id);
        if (before == 0 || before > 1)
            continue;
        /* The unknown ones stand behind the whole ones: the first of them makes room. */
        ids[paid.whole + paid.unknown] = id;
        if (before == 1) {
            ids[paid.whole + paid.unknown] = ids[paid.whole];
            ids[paid.whole++] = id;
        } else {
            paid.unknown++;
        }
    }
    return paid;
}

bool writer_shares_is_whole(const struct writer_shares *shares, int64_t id)
{
    return atomic_load(&shares->slots[(uint64_t)id % WRITER_SHARES_SLOTS]) == slot_of(id, 0);
}
