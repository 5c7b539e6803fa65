/*
 * l1_shard: an index, a table of ghosts and three rings, under one lock.
 *
 * A ring is room in which records lie one behind the other: a new one goes to its head, what is to go is at its tail.
 * Positions only grow, and are taken modulo the ring's size; a record never wraps round the end, what is left there is
 * filled up by a dead one. The index is open addressing with linear probing.
 *
 * Room is made by S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023). New records go
 * to the small ring. At its tail one that was asked for again moves to the main ring, the others leave their hash as a
 * ghost, by which they go to main at once when they come back; at main's tail one that was asked for goes round again.
 * While main has room, nothing leaves. Negative records have a ring of their own, first in, first out.
 *
 * Invariant: a record is `live` exactly when one slot of the index says where it lies. A holder that dies inside may
 * leave anything: the shard is emptied by whoever comes next. Lock order: the shard's lock, then that of `purged`;
 * never two shards. Nothing here allocates or makes a system call. It refuses to look into what l1.c keeps.
 */
#include "cache/l1_shard.h"

enum {
    BYTES_PER_SLOT = 160, /* at least; room for each slot of the index */
    SMALL_SHARE = 10,     /* one in so many bytes */
    NEGATIVE_SHARE = 8,
    SMALL_SIZE_GOOD = 130 << 10, /* so that an entry of 64 KiB is taken */
    SLOTS_PER_GHOST = 8,         /* about as many ghosts as entries; more of them let too much into main */
    GHOST_WAYS = 8,
    FREQ_MAX = 3,
    MOVABLE = 256 << 10, /* bytes moved for one record, and twice its own, so that nobody waits long for the lock */
};

enum ring { SMALL = L1_SHARD_SMALL, MAIN = L1_SHARD_MAIN, NEGATIVE = L1_SHARD_NEGATIVE };

static uint64_t round_down(uint64_t size)
{
    return size & ~UINT64_C(63);
}

struct l1_shape l1_shard_shape(uint64_t bytes)
{
    struct l1_shape shape = {.slots = 128};

    while (shape.slots * 2 <= bytes / BYTES_PER_SLOT)
        shape.slots *= 2;
    shape.ghosts = shape.slots / SLOTS_PER_GHOST;
    shape.room = round_down(bytes - shape.slots * sizeof(struct l1_slot) - shape.ghosts * sizeof(uint32_t));
    return shape;
}

void l1_shard_init(struct l1_shard *shard, const struct l1_shape *shape)
{
    struct l1_ring *rings = shard->rings;
    uint64_t small = shape->room / SMALL_SHARE;

    if (small < SMALL_SIZE_GOOD)
        small = shape->room / 4 < SMALL_SIZE_GOOD ? shape->room / 4 : SMALL_SIZE_GOOD;
    rings[SMALL].size = round_down(small);
    rings[NEGATIVE].size = round_down(shape->room / NEGATIVE_SHARE);
    rings[MAIN].size = shape->room - rings[SMALL].size - rings[NEGATIVE].size;
    rings[MAIN].at = rings[SMALL].size;
    rings[NEGATIVE].at = shape->room - rings[NEGATIVE].size;
    shm_lock_init(&shard->lock);
}

/* At most half of a ring, so that an empty one has room for it, wherever its head is. */
uint64_t l1_shard_record_max(const struct l1_shard *shard)
{
    return shard->rings[SMALL].size / 2;
}

/* Counters have one writer at a time, and readers that take no lock. */
static void count(_Atomic uint64_t *counter, int64_t change)
{
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);

    atomic_store_explicit(counter, now + (uint64_t)change, memory_order_relaxed);
}

static void empty(const struct l1_view *view)
{
    struct l1_shard *shard = view->shard;

    memset(view->slots, 0, view->shape.slots * sizeof(*view->slots));
    memset(view->ghosts, 0, view->shape.ghosts * sizeof(*view->ghosts));
    for (int i = 0; i < L1_SHARD_RINGS; i++)
        shard->rings[i].tail = shard->rings[i].head = 0;
    atomic_store(&shard->entries, 0);
    atomic_store(&shard->negative, 0);
    atomic_store(&shard->used, 0);
    count(&shard->emptied, 1);
}

void l1_shard_enter(const struct l1_view *view)
{
    if (shm_lock_take(&view->shard->lock))
        empty(view);
}

void l1_shard_leave(const struct l1_view *view)
{
    shm_lock_release(&view->shard->lock);
}

static struct l1_record *record_in(const struct l1_view *view, struct l1_slot slot)
{
    return (struct l1_record *)(view->room + ((uint64_t)slot.place - 1) * 8);
}

static uint32_t place_of(const struct l1_view *view, const struct l1_record *record)
{
    return (uint32_t)(((const char *)record - view->room) / 8 + 1);
}

static int64_t end_of(const struct l1_record *record)
{
    int64_t end_ms = record->fresh_until_ms;

    if (record->stale_until_ms > end_ms)
        end_ms = record->stale_until_ms;
    return record->error_until_ms > end_ms ? record->error_until_ms : end_ms;
}

bool l1_shard_is_gone(const struct l1_view *view, struct l1_record *record, int64_t now_ms)
{
    enum purged_verdict verdict;

    if (end_of(record) <= now_ms)
        return true;
    verdict = purged_judge(view->purged, record->stamp, &record->checked, l1_shard_key(record), record->places,
                           record->places_count);
    record->soft |= verdict == PURGED_SOFT;
    return verdict == PURGED_HARD;
}

void l1_shard_touch(struct l1_record *record)
{
    if (record->freq < FREQ_MAX)
        record->freq++;
}

/* The index. */

static uint64_t home_of(const struct l1_view *view, uint32_t tag)
{
    return tag & (view->shape.slots - 1);
}

/* The slot of KEY's record, or the empty one where it would go. */
static struct l1_slot *find(const struct l1_view *view, uint64_t hash, struct str key)
{
    uint64_t mask = view->shape.slots - 1, at = home_of(view, (uint32_t)hash);

    for (; view->slots[at].place != 0; at = (at + 1) & mask)
        if (view->slots[at].tag == (uint32_t)hash && str_equal(l1_shard_key(record_in(view, view->slots[at])), key))
            break;
    return &view->slots[at];
}

/* The slot of RECORD, which is live. */
static struct l1_slot *slot_of(const struct l1_view *view, const struct l1_record *record)
{
    uint64_t mask = view->shape.slots - 1, at = home_of(view, (uint32_t)record->hash);
    uint32_t place = place_of(view, record);

    while (view->slots[at].place != place)
        at = (at + 1) & mask;
    return &view->slots[at];
}

/* Empties SLOT and moves up what probing would no longer reach (Knuth's algorithm R, 6.4). */
static void clear(const struct l1_view *view, struct l1_slot *slot)
{
    struct l1_slot *slots = view->slots;
    uint64_t mask = view->shape.slots - 1, at = (uint64_t)(slot - slots);

    for (uint64_t next = (at + 1) & mask; slots[next].place != 0; next = (next + 1) & mask)
        if (((next - home_of(view, slots[next].tag)) & mask) >= ((next - at) & mask)) {
            slots[at] = slots[next];
            at = next;
        }
    slots[at] = (struct l1_slot){0};
}

void l1_shard_drop(const struct l1_view *view, struct l1_record *record)
{
    clear(view, slot_of(view, record));
    record->live = false;
    count(&view->shard->entries, -1);
    count(&view->shard->negative, record->status == 404 ? -1 : 0);
    count(&view->shard->used, -(int64_t)record->size);
}

struct l1_record *l1_shard_find(const struct l1_view *view, uint64_t hash, struct str key)
{
    struct l1_slot slot = *find(view, hash, key);

    return slot.place != 0 ? record_in(view, slot) : NULL;
}

/* Ghosts: sets of GHOST_WAYS, the youngest first. */

static uint32_t *ghosts_of(const struct l1_view *view, uint64_t hash)
{
    return view->ghosts + (hash >> 32 & (view->shape.ghosts / GHOST_WAYS - 1)) * GHOST_WAYS;
}

static void leave_ghost(const struct l1_view *view, uint64_t hash)
{
    uint32_t *ghosts = ghosts_of(view, hash);

    memmove(ghosts + 1, ghosts, (GHOST_WAYS - 1) * sizeof(*ghosts));
    ghosts[0] = (uint32_t)hash;
}

/* Whether there was one; there is none any more. */
static bool take_ghost(const struct l1_view *view, uint64_t hash)
{
    uint32_t *ghosts = ghosts_of(view, hash);

    for (int i = 0; i < GHOST_WAYS; i++)
        if (ghosts[i] == (uint32_t)hash && ghosts[i] != 0) {
            ghosts[i] = 0;
            return true;
        }
    return false;
}

/* Rings. */

static struct l1_record *record_at(const struct l1_view *view, const struct l1_ring *ring, uint64_t position)
{
    return (struct l1_record *)(view->room + ring->at + position % ring->size);
}

static enum ring ring_of(const struct l1_view *view, const struct l1_record *record)
{
    uint64_t at = (uint64_t)((const char *)record - view->room);

    return at < view->shard->rings[MAIN].at ? SMALL : at < view->shard->rings[NEGATIVE].at ? MAIN : NEGATIVE;
}

/* What is left at the ring's end, when SIZE bytes do not fit there. */
static uint64_t gap_before(const struct l1_ring *ring, uint64_t size)
{
    uint64_t left = ring->size - ring->head % ring->size;

    return left < size ? left : 0;
}

static bool has_room(const struct l1_ring *ring, uint64_t size)
{
    return ring->head + gap_before(ring, size) + size - ring->tail <= ring->size;
}

/* Moves the head on by SIZE contiguous bytes, for which there is room. */
static struct l1_record *advance(const struct l1_view *view, struct l1_ring *ring, uint64_t size)
{
    uint64_t gap = gap_before(ring, size);
    struct l1_record *record;

    if (gap > 0) {
        record = record_at(view, ring, ring->head);
        record->size = (uint32_t)gap;
        record->live = false;
    }
    record = record_at(view, ring, ring->head + gap);
    ring->head += gap + size;
    return record;
}

/* Moves RECORD, live, to the head of RING; there may be no more room than that of the record itself, if it is at the
 * tail: what it leaves then makes its new place whole. */
static void move(const struct l1_view *view, struct l1_record *record, struct l1_ring *ring, uint8_t freq)
{
    struct l1_slot *slot = slot_of(view, record);
    uint32_t size = record->size;
    struct l1_record *moved = advance(view, ring, size);

    memmove(moved, record, size);
    moved->freq = freq;
    slot->place = place_of(view, moved);
    view->shard->movable -= size;
}

/* Whether the index has no place for another record of this kind; negative ones have their share of it, too. */
static bool is_crowded(const struct l1_view *view, bool negative)
{
    uint64_t limit = view->shape.slots / 8 * 7, negatives = view->shard->negative;

    if (negative)
        return negatives >= limit / NEGATIVE_SHARE;
    return view->shard->entries - negatives >= limit - limit / NEGATIVE_SHARE;
}

/* Whether RECORD, at the tail of small or main, stays in L1, and so goes to the head of main. */
static bool is_worth_a_move(const struct l1_view *view, enum ring which, const struct l1_record *record)
{
    if (which == NEGATIVE || view->shard->movable <= 0)
        return false;
    if (record->freq > 0)
        return true;
    return which == SMALL && has_room(&view->shard->rings[MAIN], record->size) && !is_crowded(view, false);
}

/* Moves the tail of the ring WHICH on by one record. */
static void advance_tail(const struct l1_view *view, enum ring which, int64_t now_ms)
{
    struct l1_ring *ring = &view->shard->rings[which], *main = &view->shard->rings[MAIN];
    struct l1_record *record = record_at(view, ring, ring->tail);
    uint32_t size = record->size;

    if (record->live && l1_shard_is_gone(view, record, now_ms)) {
        l1_shard_drop(view, record);
    } else if (record->live && is_worth_a_move(view, which, record)) {
        while (which == SMALL && !has_room(main, size))
            advance_tail(view, MAIN, now_ms);
        move(view, record, main, which == SMALL ? 0 : record->freq - 1);
    } else if (record->live) {
        if (which == SMALL)
            leave_ghost(view, record->hash);
        l1_shard_drop(view, record);
        count(&view->shard->evicted, 1);
    }
    ring->tail += size;
}

/* Which of small and main is to give up something when the index is full: small, if it has more than its share. */
static enum ring larger_ring(const struct l1_view *view)
{
    const struct l1_ring *small = &view->shard->rings[SMALL], *main = &view->shard->rings[MAIN];

    return (small->head - small->tail) * SMALL_SHARE > main->head - main->tail ? SMALL : MAIN;
}

/* Room for SIZE bytes and one more record in the ring WHICH. */
static void make_room(const struct l1_view *view, enum ring which, uint64_t size, int64_t now_ms)
{
    const struct l1_ring *ring = &view->shard->rings[which];

    view->shard->movable = MOVABLE + 2 * (int64_t)size;
    while (!has_room(ring, size))
        advance_tail(view, which, now_ms);
    while (is_crowded(view, which == NEGATIVE))
        advance_tail(view, which == NEGATIVE ? NEGATIVE : larger_ring(view), now_ms);
}

/* Forgets what there is under KEY, and says where the new one goes: to the ring where that was, with what that had been
 * asked for, which goes to *FREQ. */
static enum ring replace(const struct l1_view *view, const struct l1_record *head, struct str key, uint8_t *freq)
{
    struct l1_record *old = l1_shard_find(view, head->hash, key);
    enum ring which = NEGATIVE;

    *freq = 0;
    if (old) {
        which = ring_of(view, old);
        *freq = old->freq;
        l1_shard_drop(view, old);
    }
    if (head->status == 404)
        return NEGATIVE;
    if (which != NEGATIVE)
        return which;
    return take_ghost(view, head->hash) ? MAIN : SMALL;
}

struct l1_record *l1_shard_add(const struct l1_view *view, const struct l1_record *head, const uint32_t *places,
                               struct str key, int64_t now_ms, char **rest)
{
    struct l1_shard *shard = view->shard;
    uint64_t places_len = head->places_count * sizeof(*places);
    uint64_t size = (sizeof(*head) + places_len + key.len + head->rest_len + 7) & ~UINT64_C(7);
    uint8_t freq;
    enum ring which = replace(view, head, key, &freq);
    struct l1_record *record;

    if (size > l1_shard_record_max(shard) || size > shard->rings[which].size / 2) {
        count(&shard->refused, 1);
        return NULL;
    }
    make_room(view, which, size, now_ms);
    record = advance(view, &shard->rings[which], size);
    *record = *head;
    record->size = (uint32_t)size;
    record->live = true;
    record->freq = freq;
    memcpy(record->places, places, places_len);
    if (key.len > 0)
        memcpy((char *)record->places + places_len, key.p, key.len);
    *rest = (char *)record->places + places_len + key.len;
    *find(view, head->hash, key) = (struct l1_slot){(uint32_t)head->hash, place_of(view, record)};
    count(&shard->entries, 1);
    count(&shard->negative, which == NEGATIVE);
    count(&shard->used, (int64_t)size);
    return record;
}
