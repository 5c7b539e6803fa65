/*
 * purged: what has been purged on this host, as numbers of one sequence, in shared memory.
 *
 * A purge draws its number first and leaves it in the tables second; whoever fills reads the sequence first and the
 * content second. So a stamp at or behind a purge's number was read after whatever that purge was about, and the other
 * way round: once a purge has returned, every entry whose stamp is older is judged by it. A process that dies between
 * the two has used up a number and purged nothing.
 *
 * Invariant: numbers in the tables only grow, and a ban leaves the ring only by leaving its number in a floor. Bans
 * draw their numbers under the lock of the ring, so that `newest` never passes one that is still to be written. A
 * holder that dies inside may have left half a pattern: the ring is then emptied and everything purged, in the order
 * floor, ring; a judge looks at the ring before it looks at the floor, and so sees one of the two.
 *
 * Memory order: purges write with sequential consistency, so that they are visible to all when they return; judges read
 * with acquire, which costs nothing on common machines, and is enough for what was ordered before them.
 *
 * Lock order: the ring's lock is the innermost. It refuses to know where entries are, and never reads a clock.
 */
#include "cache/purged.h"

#include <stdatomic.h>

#include "base/shm.h"
#include "base/sys.h"

#define KEY_SEED UINT64_C(0x6b6579)
#define TAG_SEED UINT64_C(0x746167)

/* No confirmation yet, or none since the last suspicion. */
#define NEVER INT64_MIN

/* The numbers of the last purges, hard and soft, of what it stands for. */
struct mark {
    _Atomic uint64_t hard, soft;
};

struct ban {
    uint64_t number, id;
    size_t len;
    bool soft;
    char pattern[PURGED_PATTERN_MAX];
};

struct purged {
    _Alignas(64) _Atomic uint64_t seq;    /* the last number drawn */
    _Alignas(64) _Atomic uint64_t newest; /* the number of the last ban */
    struct mark all;
    _Atomic int64_t confirmed_ms;
    uint64_t generation;
    bool trusted;
    struct mark places[PURGED_PLACES];
    struct shm_lock lock; /* of what follows */
    struct mark floor;    /* of bans that have left the ring */
    uint64_t bans_count;  /* written since it was last empty; the last PURGED_BANS of them are there */
    struct ban bans[PURGED_BANS];
};

enum err purged_new(bool trusted, struct purged **out)
{
    struct purged *purged;
    void *mapping;
    enum err err = shm_map(sizeof(*purged), &mapping);

    if (err)
        return err;
    purged = mapping;
    purged->trusted = trusted;
    sys_random(&purged->generation, sizeof purged->generation);
    atomic_store(&purged->confirmed_ms, NEVER);
    shm_lock_init(&purged->lock);
    *out = purged;
    return ERR_OK;
}

void purged_free(struct purged **purged)
{
    void *mapping = *purged;

    *purged = NULL;
    shm_unmap(&mapping, sizeof(struct purged));
}

uint64_t purged_generation(const struct purged *purged)
{
    return purged->generation;
}

uint64_t purged_now(const struct purged *purged)
{
    return atomic_load(&purged->seq);
}

uint32_t purged_key_place(struct str key)
{
    return (uint32_t)(sys_hash64(key, KEY_SEED) % PURGED_PLACES);
}

uint32_t purged_tag_place(struct str tag)
{
    return (uint32_t)(sys_hash64(tag, TAG_SEED) % PURGED_PLACES);
}

static uint64_t draw(struct purged *purged)
{
    return atomic_fetch_add(&purged->seq, 1) + 1;
}

/* Purges may overtake each other between drawing and this: the greatest stays. */
static void raise_mark(struct mark *mark, bool soft, uint64_t number)
{
    _Atomic uint64_t *place = soft ? &mark->soft : &mark->hard;
    uint64_t there = atomic_load(place);

    while (there < number && !atomic_compare_exchange_weak(place, &there, number))
        ;
}

static enum purged_verdict judge_mark(const struct mark *mark, uint64_t stamp)
{
    if (stamp < atomic_load_explicit(&mark->hard, memory_order_acquire))
        return PURGED_HARD;
    return stamp < atomic_load_explicit(&mark->soft, memory_order_acquire) ? PURGED_SOFT : PURGED_NOT;
}

static enum purged_verdict harder(enum purged_verdict a, enum purged_verdict b)
{
    return a > b ? a : b;
}

void purged_key(struct purged *purged, struct str key, bool soft)
{
    raise_mark(&purged->places[purged_key_place(key)], soft, draw(purged));
}

void purged_tag(struct purged *purged, struct str tag, bool soft)
{
    raise_mark(&purged->places[purged_tag_place(tag)], soft, draw(purged));
}

void purged_all(struct purged *purged, bool soft)
{
    raise_mark(&purged->all, soft, draw(purged));
}

static void enter(struct purged *purged)
{
    if (!shm_lock_take(&purged->lock))
        return;
    purged_all(purged, false);
    purged->bans_count = 0;
}

static uint64_t oldest_ban(const struct purged *purged)
{
    return purged->bans_count < PURGED_BANS ? 0 : purged->bans_count - PURGED_BANS;
}

static bool is_told(const struct purged *purged, uint64_t id)
{
    for (uint64_t i = oldest_ban(purged); i < purged->bans_count; i++)
        if (purged->bans[i % PURGED_BANS].id == id)
            return true;
    return false;
}

static void add_ban(struct purged *purged, struct str pattern, bool soft, uint64_t id)
{
    struct ban *ban = &purged->bans[purged->bans_count % PURGED_BANS];

    if (purged->bans_count >= PURGED_BANS)
        raise_mark(&purged->floor, ban->soft, ban->number);
    ban->number = draw(purged);
    ban->id = id;
    ban->soft = soft;
    ban->len = pattern.len;
    if (pattern.len > 0)
        memcpy(ban->pattern, pattern.p, pattern.len);
    purged->bans_count++;
    atomic_store(&purged->newest, ban->number);
}

void purged_pattern(struct purged *purged, struct str pattern, bool soft, uint64_t id)
{
    if (pattern.len > PURGED_PATTERN_MAX) {
        purged_all(purged, soft);
        return;
    }
    enter(purged);
    if (id == 0 || !is_told(purged, id))
        add_ban(purged, pattern, soft, id);
    shm_lock_release(&purged->lock);
}

/* Judges KEY by the bans behind *CHECKED, which is moved on. */
static enum purged_verdict judge_bans(struct purged *purged, uint64_t *checked, struct str key)
{
    enum purged_verdict verdict;

    enter(purged);
    verdict = judge_mark(&purged->floor, *checked);
    for (uint64_t i = purged->bans_count; verdict != PURGED_HARD && i > oldest_ban(purged); i--) {
        const struct ban *ban = &purged->bans[(i - 1) % PURGED_BANS];

        if (ban->number <= *checked)
            break;
        if (str_glob_match((struct str){ban->pattern, ban->len}, key))
            verdict = harder(verdict, ban->soft ? PURGED_SOFT : PURGED_HARD);
    }
    /* Under the lock, so that no ban lies between what was looked at and this. */
    *checked = atomic_load(&purged->newest);
    shm_lock_release(&purged->lock);
    return verdict;
}

enum purged_verdict purged_judge(struct purged *purged, uint64_t stamp, uint64_t *checked, struct str key,
                                 const uint32_t *places, size_t places_count)
{
    enum purged_verdict verdict = PURGED_NOT;

    /* First: this may find the ring lost, which is then found in `all`. */
    if (*checked < atomic_load_explicit(&purged->newest, memory_order_acquire))
        verdict = judge_bans(purged, checked, key);
    verdict = harder(verdict, judge_mark(&purged->all, stamp));
    for (size_t i = 0; verdict != PURGED_HARD && i < places_count; i++)
        verdict = harder(verdict, judge_mark(&purged->places[places[i]], stamp));
    return verdict;
}

bool purged_current(const struct purged *purged, int64_t now_ms)
{
    int64_t confirmed_ms = atomic_load_explicit(&purged->confirmed_ms, memory_order_acquire);

    return purged->trusted || (confirmed_ms != NEVER && now_ms - confirmed_ms < PURGED_TRUST_MS);
}

void purged_confirm(struct purged *purged, int64_t now_ms)
{
    atomic_store(&purged->confirmed_ms, now_ms);
}

void purged_suspect(struct purged *purged)
{
    atomic_store(&purged->confirmed_ms, NEVER);
}
