/*
 * recent: slots of words in a shared mapping, each behind a version number.
 *
 * Writers take turns by a lock. A slot's version is odd while it is written: who reads copies, and copies again when
 * the version was odd or has changed. Words are stored with release and loaded with acquire, so no word of a new text
 * can be seen without the odd version that stands before it.
 *
 * Invariant: what is read is one text as it was added, whole. A writer that dies in the middle leaves an odd version,
 * which the next writer finds by the lock that was never given back; the slot is empty then.
 */
#include "base/recent.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/shm.h"

/* How often a slot is copied in vain before it is left out. */
#define TRIES 64

enum { SLOT_VERSION, SLOT_SAME, SLOT_NUMBER, SLOT_FIRST, SLOT_LAST, SLOT_COUNT, SLOT_LEN, SLOT_TEXT };

struct recent {
    struct shm_lock lock;
    size_t text_words;
    uint64_t number; /* of the latest addition; a slot's is 0 while it is empty */
    _Atomic uint64_t words[];
};

static size_t slot_words(const struct recent *recent)
{
    return SLOT_TEXT + recent->text_words;
}

static size_t mapping_len(size_t text_words)
{
    return sizeof(struct recent) + RECENT_MAX * (SLOT_TEXT + text_words) * sizeof(uint64_t);
}

static _Atomic uint64_t *slot_at(struct recent *recent, size_t i)
{
    return recent->words + i * slot_words(recent);
}

static uint64_t load(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_acquire);
}

static void store(_Atomic uint64_t *at, uint64_t value)
{
    atomic_store_explicit(at, value, memory_order_release);
}

enum err recent_new(size_t text_max, struct recent **out)
{
    size_t text_words = (text_max + sizeof(uint64_t) - 1) / sizeof(uint64_t);
    void *mapping;
    enum err err = shm_map(mapping_len(text_words), &mapping);

    if (err != ERR_OK)
        return err;
    *out = mapping;
    shm_lock_init(&(*out)->lock);
    (*out)->text_words = text_words;
    return ERR_OK;
}

void recent_free(struct recent **recent)
{
    void *mapping = *recent;

    if (mapping)
        shm_unmap(&mapping, mapping_len((*recent)->text_words));
    *recent = NULL;
}

/* Empties what a writer that died has left half written. */
static void repair(struct recent *recent)
{
    for (size_t i = 0; i < RECENT_MAX; i++) {
        _Atomic uint64_t *slot = slot_at(recent, i);

        if (load(slot) % 2 == 1) {
            store(&slot[SLOT_NUMBER], 0);
            store(slot, load(slot) + 1);
        }
    }
}

/* The slot of what is the SAME, else the one that was written longest ago. */
static _Atomic uint64_t *find(struct recent *recent, uint64_t same)
{
    _Atomic uint64_t *oldest = slot_at(recent, 0);

    for (size_t i = 0; i < RECENT_MAX; i++) {
        _Atomic uint64_t *slot = slot_at(recent, i);

        if (load(&slot[SLOT_NUMBER]) > 0 && load(&slot[SLOT_SAME]) == same)
            return slot;
        if (load(&slot[SLOT_NUMBER]) < load(&oldest[SLOT_NUMBER]))
            oldest = slot;
    }
    return oldest;
}

static void write_slot(_Atomic uint64_t *slot, uint64_t number, uint64_t same, uint64_t now_ms, struct str text)
{
    bool repeated = load(&slot[SLOT_NUMBER]) > 0 && load(&slot[SLOT_SAME]) == same;
    uint64_t version = load(slot);

    store(slot, version + 1);
    store(&slot[SLOT_SAME], same);
    store(&slot[SLOT_NUMBER], number);
    if (!repeated)
        store(&slot[SLOT_FIRST], now_ms);
    store(&slot[SLOT_LAST], now_ms);
    store(&slot[SLOT_COUNT], repeated ? load(&slot[SLOT_COUNT]) + 1 : 1);
    store(&slot[SLOT_LEN], text.len);
    for (size_t at = 0; at < text.len; at += sizeof(uint64_t)) {
        uint64_t piece = 0;

        memcpy(&piece, text.p + at, text.len - at < sizeof(piece) ? text.len - at : sizeof(piece));
        store(&slot[SLOT_TEXT + at / sizeof(piece)], piece);
    }
    store(slot, version + 2);
}

bool recent_add(struct recent *recent, uint64_t same, int64_t now_ms, struct str text)
{
    if (text.len > recent->text_words * sizeof(uint64_t))
        return false;
    if (shm_lock_take(&recent->lock))
        repair(recent);
    write_slot(find(recent, same), ++recent->number, same, (uint64_t)now_ms, text);
    shm_lock_release(&recent->lock);
    return true;
}

/* Copies SLOT to COPY, which has room for it. False when it is empty, or never stood still. */
static bool copy_slot(const _Atomic uint64_t *slot, uint64_t *copy, size_t count)
{
    for (int i = 0; i < TRIES; i++) {
        copy[SLOT_VERSION] = load(slot);
        for (size_t at = 1; at < count; at++)
            copy[at] = load(&slot[at]);
        if (copy[SLOT_VERSION] % 2 == 0 && atomic_load_explicit(slot, memory_order_relaxed) == copy[SLOT_VERSION])
            return copy[SLOT_NUMBER] > 0;
    }
    return false;
}

struct found {
    uint64_t number;
    struct recent_entry entry;
};

static int compare(const void *a, const void *b)
{
    const struct found *first = a, *second = b;

    return first->number < second->number ? 1 : first->number > second->number ? -1 : 0;
}

size_t recent_list(const struct recent *recent, struct arena *arena, struct recent_entry out[RECENT_MAX])
{
    struct found found[RECENT_MAX];
    uint64_t *copy = arena_alloc(arena, slot_words(recent) * sizeof(*copy));
    size_t count = 0;

    for (size_t i = 0; copy && i < RECENT_MAX; i++) {
        if (!copy_slot(recent->words + i * slot_words(recent), copy, slot_words(recent)))
            continue;
        found[count].number = copy[SLOT_NUMBER];
        found[count++].entry =
            (struct recent_entry){.first_ms = (int64_t)copy[SLOT_FIRST],
                                  .last_ms = (int64_t)copy[SLOT_LAST],
                                  .count = copy[SLOT_COUNT],
                                  .text = arena_copy(arena, (struct str){(char *)(copy + SLOT_TEXT), copy[SLOT_LEN]})};
    }
    qsort(found, count, sizeof(*found), compare);
    for (size_t i = 0; i < count; i++)
        out[i] = found[i].entry;
    return count;
}
