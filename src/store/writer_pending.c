/*
 * writer_pending: a table of the last writes that concern a key or a tag, by hash.
 *
 * A slot holds the highest number of all writes whose keys or tags fell there. Nothing is ever taken out: a number that
 * is not above those settled has lost its meaning. So nobody has to be told that a process died between two steps.
 *
 * Invariant: a number stands in its slots before `accepted` shows it, and `settled` reaches it only when every reader
 * that looks from then on finds the new row, in the database and behind every cache.
 */
#include "store/writer_pending.h"

#include <poll.h>

#include "base/sys.h"
#include "store/outbox.h"

enum { KEY_SEED = 1, TAG_SEED = 2, PAUSE_MS = 1 };

static void raise_to(_Atomic uint64_t *value, uint64_t number)
{
    uint64_t now = atomic_load(value);

    while (now < number && !atomic_compare_exchange_weak(value, &now, number))
        continue;
}

static size_t place(struct str text, uint64_t seed)
{
    return sys_hash64(text, seed) % WRITER_PENDING_SLOTS;
}

/* Where ITEM's number stands. */
static size_t slot_of(struct str item, bool *everything)
{
    struct str rest = item;
    struct str kind = str_cut(&rest, ':');

    *everything = false;
    if (str_equal(kind, STR("key")))
        return place(rest, KEY_SEED);
    if (str_equal(kind, STR("tag")))
        return place(rest, TAG_SEED);
    *everything = true;
    return 0;
}

void writer_pending_add(struct writer_pending *pending, struct str items, uint64_t number)
{
    struct str rest = items, item;
    bool everything;

    while (outbox_next(&rest, &item)) {
        size_t slot = slot_of(item, &everything);
        raise_to(everything ? &pending->everything : &pending->slots[slot], number);
    }
    raise_to(&pending->accepted, number);
}

void writer_pending_applied(struct writer_pending *pending, uint64_t number, int64_t outbox_id)
{
    /* In this order: whoever sees the number sees where its purges are. */
    atomic_store(&pending->outbox_id, outbox_id);
    atomic_store(&pending->applied, number);
    atomic_store(&pending->stalled, false);
}

/* The highest number above FLOOR of NUMBER and what is known already. */
static uint64_t higher(uint64_t known, uint64_t number, uint64_t floor)
{
    return number > floor && number > known ? number : known;
}

uint64_t writer_pending_before(const struct writer_pending *pending, struct str items)
{
    uint64_t applied = atomic_load(&pending->applied), found = 0;
    struct str rest = items, item;
    bool everything;

    if (atomic_load(&pending->accepted) <= applied)
        return 0;
    found = higher(found, atomic_load(&pending->everything), applied);
    while (outbox_next(&rest, &item)) {
        size_t slot = slot_of(item, &everything);
        /* What purges everything comes behind everything. */
        found = higher(found, atomic_load(everything ? &pending->accepted : &pending->slots[slot]), applied);
    }
    return found;
}

uint64_t writer_pending_to_settle(const struct writer_pending *pending, int64_t *outbox_id)
{
    /* In this order: the row may be a later number's, never an earlier one's. */
    uint64_t applied = atomic_load(&pending->applied);

    *outbox_id = atomic_load(&pending->outbox_id);
    return applied;
}

void writer_pending_settle(struct writer_pending *pending, uint64_t number)
{
    raise_to(&pending->settled, number);
}

uint64_t writer_pending_depth(const struct writer_pending *pending)
{
    uint64_t applied = atomic_load(&pending->applied), accepted = atomic_load(&pending->accepted);

    return accepted > applied ? accepted - applied : 0;
}

uint64_t writer_pending_covers(const struct writer_pending *pending, struct str key, const struct str *tags,
                               size_t tags_count)
{
    uint64_t settled = atomic_load(&pending->settled);
    uint64_t found = higher(0, atomic_load(&pending->everything), settled);

    found = higher(found, atomic_load(&pending->slots[place(key, KEY_SEED)]), settled);
    for (size_t i = 0; i < tags_count; i++)
        found = higher(found, atomic_load(&pending->slots[place(tags[i], TAG_SEED)]), settled);
    return found;
}

bool writer_pending_await(const struct writer_pending *pending, uint64_t number, int64_t wait_ms)
{
    const int64_t end_ms = sys_monotonic_ms() + wait_ms;

    while (atomic_load(&pending->applied) < number) {
        if (atomic_load(&pending->stalled) || sys_monotonic_ms() >= end_ms)
            return false;
        poll(NULL, 0, PAUSE_MS);
    }
    return true;
}
