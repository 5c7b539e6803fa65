/*
 * l2_memory: the shared cache in the memory of one host: shards of records in a ring, each with its lock and its index.
 *
 * A shard's ring is written round and round; a new record overwrites the oldest ones (first in, first out). Positions
 * in it only grow, so that a position says by itself whether its record still stands; a record is `struct record`, the
 * key, the bytes, padded to 8. The index is open addressing with linear probing; its slots hold a position plus 1, or
 * 0. A record that no slot names is dead.
 *
 * The sequence and the numbers of purges are atomics outside the locks. Those of tags, and of keys since when they may
 * not be filled, stand in a place by the name's hash: two names that share a place invalidate each other's entries,
 * never less. Invariant: a purge's number stands before it removes anything, and a fill compares its stamp with all of
 * them inside the shard's lock; so an entry filled from before a purge is either refused, or found and removed, or
 * judged invalid by its stamp. There are no leases, for the one host that there is has its own.
 *
 * A holder that dies inside a lock costs the entries of that shard. No pointer into the mapping leaves this file; times
 * are of the monotonic clock, since the table never outlives the system that counts it. It refuses records larger than
 * a quarter of a ring.
 */
#include "l2/l2_memory.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/shm.h"
#include "base/sys.h"

enum {
    SHARDS_MIN = 16,
    SHARDS_MAX = 64,
    SHARD_SIZE_GOOD = 4 << 20, /* more shards only while each has this much */
    SIZE_MIN = 4 << 20,
    TAG_PLACES = 1 << 16,
    OTHER_PLACES = 1 << 14, /* of keys, and of soft purges by tag */
    BYTES_PER_SLOT = 128,   /* ring bytes for each slot of the index */
    WALK_BATCH = 256,       /* records looked at under one taking of a lock */
    PAGE_MAX = 1000,
    CURSOR_SHARD_BIT = 48
};

struct record {
    uint32_t size; /* of all of it, a multiple of 8; a record with key_len NONE only fills up the ring's end */
    uint32_t key_len;
    uint32_t bytes_len;
    uint32_t soft; /* softly purged */
    uint64_t hash;
    uint64_t stamp;
    int64_t expires_ms; /* sys_monotonic_ms */
};

#define NONE UINT32_MAX

struct shard {
    _Alignas(64) struct shm_lock lock;
    uint64_t tail, head; /* the oldest record and where the next one goes */
    uint64_t count;      /* slots in use */
};

struct l2_memory {
    uint64_t mapping_size;
    uint64_t seed;
    uint64_t shards, slots, ring_size; /* slots and ring_size of each shard */
    size_t index_at, rings_at;         /* offsets in the mapping */
    _Atomic uint64_t seq;
    _Atomic uint64_t floor, soft_floor, ban; /* the last hard and soft purge of everything, and the last by pattern */
    _Atomic uint64_t tags[TAG_PLACES], soft_tags[OTHER_PLACES], keys[OTHER_PLACES];
    struct shard shard[];
};

/* A thread's view. */
struct view {
    struct l2_memory *memory;
    struct buf bytes; /* of the last read or claim */
};

static uint64_t power_of_two_below(uint64_t limit)
{
    uint64_t power = 1;

    while (power * 2 <= limit)
        power *= 2;
    return power;
}

static void lay_out(struct l2_memory *memory, uint64_t size)
{
    uint64_t shards = power_of_two_below(size / SHARD_SIZE_GOOD + 1);

    memory->shards = shards < SHARDS_MIN ? SHARDS_MIN : shards > SHARDS_MAX ? SHARDS_MAX : shards;
    memory->index_at = (sizeof(*memory) + memory->shards * sizeof(struct shard) + 63) & ~(size_t)63;
    memory->slots = power_of_two_below((size - memory->index_at) / memory->shards / BYTES_PER_SLOT);
    memory->rings_at = memory->index_at + memory->shards * memory->slots * sizeof(uint64_t);
    memory->ring_size = (size - memory->rings_at) / memory->shards & ~(uint64_t)7;
}

enum err l2_memory_new(uint64_t size, struct l2_memory **out)
{
    struct l2_memory *memory;
    void *mapping;

    if (size < SIZE_MIN)
        size = SIZE_MIN;

    enum err err = shm_map(size, &mapping);

    if (err)
        return err;
    memory = mapping;
    memory->mapping_size = size;
    memory->seq = memory->floor = 1;
    sys_random(&memory->seed, sizeof(memory->seed));
    lay_out(memory, size);
    for (uint64_t i = 0; i < memory->shards; i++)
        shm_lock_init(&memory->shard[i].lock);
    *out = memory;
    return ERR_OK;
}

void l2_memory_free(struct l2_memory **memory)
{
    void *mapping = *memory;

    if (!mapping)
        return;
    *memory = NULL;
    shm_unmap(&mapping, ((struct l2_memory *)mapping)->mapping_size);
}

static void *open_view(const struct config *config, struct l2_shared *shared, const struct loop *loop)
{
    struct view *view = sys_calloc(1, sizeof(*view));

    (void)config;
    (void)loop;
    view->memory = shared->memory;
    return view;
}

static void close_view(void *self)
{
    struct view *view = self;

    buf_free(&view->bytes);
    free(view);
}

static uint64_t *slots_of(struct l2_memory *memory, const struct shard *shard)
{
    return (uint64_t *)((char *)memory + memory->index_at) + (uint64_t)(shard - memory->shard) * memory->slots;
}

static struct record *record_at(struct l2_memory *memory, const struct shard *shard, uint64_t position)
{
    char *ring = (char *)memory + memory->rings_at + (uint64_t)(shard - memory->shard) * memory->ring_size;

    return (struct record *)(ring + position % memory->ring_size);
}

static struct str key_of(const struct record *record)
{
    return (struct str){(const char *)(record + 1), record->key_len};
}

/* Bytes from POSITION to the end of the ring. */
static uint64_t room_at(const struct l2_memory *memory, uint64_t position)
{
    return memory->ring_size - position % memory->ring_size;
}

/* Takes the lock of shard NUMBER. What a dead holder left is emptied; positions go on, so that none is ever used twice.
 */
static struct shard *enter(struct l2_memory *memory, uint64_t number)
{
    struct shard *shard = &memory->shard[number];

    if (shm_lock_take(&shard->lock)) {
        memset(slots_of(memory, shard), 0, memory->slots * sizeof(uint64_t));
        shard->head += room_at(memory, shard->head);
        shard->tail = shard->head;
        shard->count = 0;
    }
    return shard;
}

/* The slot that names KEY's record, or the empty one where it would go. */
static uint64_t find_slot(struct l2_memory *memory, const struct shard *shard, uint64_t hash, struct str key)
{
    const uint64_t *slots = slots_of(memory, shard);
    uint64_t at = hash & (memory->slots - 1);

    for (; slots[at] != 0; at = (at + 1) & (memory->slots - 1)) {
        const struct record *record = record_at(memory, shard, slots[at] - 1);

        if (record->hash == hash && str_equal(key_of(record), key))
            break;
    }
    return at;
}

/* Empties slot AT and moves up what probing would no longer reach (Knuth's algorithm R, 6.4). */
static void clear_slot(struct l2_memory *memory, struct shard *shard, uint64_t at)
{
    uint64_t *slots = slots_of(memory, shard), mask = memory->slots - 1;

    for (uint64_t next = (at + 1) & mask; slots[next] != 0; next = (next + 1) & mask) {
        uint64_t home = record_at(memory, shard, slots[next] - 1)->hash & mask;

        if (((next - home) & mask) >= ((next - at) & mask)) {
            slots[at] = slots[next];
            at = next;
        }
    }
    slots[at] = 0;
    shard->count--;
}

/* Whether POSITION's record is the one that the index names for its key; its slot then goes to *AT. */
static bool is_live(struct l2_memory *memory, const struct shard *shard, uint64_t position, uint64_t *at)
{
    const struct record *record = record_at(memory, shard, position);

    if (record->key_len == NONE)
        return false;
    *at = find_slot(memory, shard, record->hash, key_of(record));
    return slots_of(memory, shard)[*at] == position + 1;
}

/* The position behind the record at POSITION. */
static uint64_t after(struct l2_memory *memory, const struct shard *shard, uint64_t position)
{
    uint64_t room = room_at(memory, position);

    if (room < sizeof(struct record))
        return position + room;
    return position + record_at(memory, shard, position)->size;
}

static void drop_oldest(struct l2_memory *memory, struct shard *shard)
{
    uint64_t at;

    if (room_at(memory, shard->tail) >= sizeof(struct record) && is_live(memory, shard, shard->tail, &at))
        clear_slot(memory, shard, at);
    shard->tail = after(memory, shard, shard->tail);
}

/* Room for SIZE contiguous bytes at the head, at the cost of the oldest records. */
static void make_room(struct l2_memory *memory, struct shard *shard, uint64_t size)
{
    uint64_t room = room_at(memory, shard->head), skip = room < size ? room : 0;

    while (shard->head + skip + size - shard->tail > memory->ring_size || shard->count >= memory->slots / 4 * 3)
        drop_oldest(memory, shard);
    if (skip >= sizeof(struct record))
        *record_at(memory, shard, shard->head) = (struct record){.size = (uint32_t)skip, .key_len = NONE};
    shard->head += skip;
}

static void put(struct l2_memory *memory, struct shard *shard, const struct record *record, struct str key,
                struct str bytes)
{
    make_room(memory, shard, record->size);

    struct record *place = record_at(memory, shard, shard->head);
    uint64_t at = find_slot(memory, shard, record->hash, key);

    *place = *record;
    memcpy(place + 1, key.p, key.len);
    if (bytes.len > 0)
        memcpy((char *)(place + 1) + key.len, bytes.p, bytes.len);
    shard->count += slots_of(memory, shard)[at] == 0;
    slots_of(memory, shard)[at] = shard->head + 1;
    shard->head += record->size;
}

static uint64_t hash_of(const struct l2_memory *memory, struct str key)
{
    return sys_hash64(key, memory->seed);
}

static _Atomic uint64_t *place_of(struct l2_memory *memory, _Atomic uint64_t *places, uint64_t count, struct str name)
{
    return &places[hash_of(memory, name) & (count - 1)];
}

static void raise_to(_Atomic uint64_t *number, uint64_t least)
{
    uint64_t now = *number;

    while (now < least && !atomic_compare_exchange_weak(number, &now, least))
        ;
}

/* Copies KEY's bytes to the view. *SOFT: what its record says. */
static bool copy_out(struct view *view, struct str key, uint64_t *stamp, bool *soft)
{
    struct l2_memory *memory = view->memory;
    uint64_t hash = hash_of(memory, key);
    struct shard *shard = enter(memory, hash >> 32 & (memory->shards - 1));
    uint64_t position = slots_of(memory, shard)[find_slot(memory, shard, hash, key)];
    bool found = false;

    buf_clear(&view->bytes);
    if (position != 0) {
        const struct record *record = record_at(memory, shard, position - 1);

        found = record->expires_ms > sys_monotonic_ms();
        *stamp = record->stamp;
        *soft = record->soft;
        if (found)
            buf_add(&view->bytes, (const char *)(record + 1) + record->key_len, record->bytes_len);
    }
    shm_lock_release(&shard->lock);
    return found;
}

static bool find(struct view *view, struct str key, const struct str *tags, size_t tags_count, bool *soft)
{
    struct l2_memory *memory = view->memory;
    uint64_t stamp = 0;
    bool found = copy_out(view, key, &stamp, soft) && memory->floor <= stamp;

    /* After the entry, so that a purge in between is seen. */
    *soft = *soft || memory->soft_floor > stamp;
    for (size_t i = 0; found && i < tags_count; i++) {
        found = *place_of(memory, memory->tags, TAG_PLACES, tags[i]) <= stamp;
        *soft = *soft || *place_of(memory, memory->soft_tags, OTHER_PLACES, tags[i]) > stamp;
    }
    return found;
}

static void read_entry(void *self, struct str key, const struct str *tags, size_t tags_count, uint64_t epoch,
                       l2_read_fn *fn, void *context)
{
    struct view *view = self;
    struct l2_read read = {.result = L2_ABSENT};
    bool soft = false;

    (void)epoch; /* nobody distrusts what he holds himself */
    if (find(view, key, tags, tags_count, &soft))
        read = (struct l2_read){.result = L2_FOUND, .bytes = buf_str(&view->bytes), .soft = soft};
    fn(context, &read);
}

static void claim(void *self, struct str key, const struct str *tags, size_t tags_count, struct str spent,
                  int64_t life_ms, struct l2_claim *out)
{
    struct view *view = self;
    bool soft = false;

    (void)life_ms;
    /* First, so that no purge is older than the stamp and yet came after the look. */
    out->lease.stamp = view->memory->seq;
    out->result = L2_CLAIM_TAKEN;
    if (!find(view, key, tags, tags_count, &soft) || (spent.len > 0 && str_starts(buf_str(&view->bytes), spent)))
        return;
    out->result = L2_CLAIM_FOUND;
    out->bytes = buf_str(&view->bytes);
    out->soft = soft;
}

/* Whether nothing that covers KEY or TAGS was purged since STAMP. */
static bool is_untouched(struct l2_memory *memory, struct str key, const struct str *tags, size_t tags_count,
                         uint64_t stamp)
{
    bool untouched = stamp <= memory->seq && memory->floor <= stamp && memory->soft_floor <= stamp &&
                     memory->ban <= stamp && *place_of(memory, memory->keys, OTHER_PLACES, key) <= stamp;

    for (size_t i = 0; untouched && i < tags_count; i++)
        untouched = *place_of(memory, memory->tags, TAG_PLACES, tags[i]) <= stamp &&
                    *place_of(memory, memory->soft_tags, OTHER_PLACES, tags[i]) <= stamp;
    return untouched;
}

static enum err fill(void *self, struct str key, const struct str *tags, size_t tags_count, struct str bytes,
                     int64_t ttl_ms, const struct l2_lease *lease, bool *stored)
{
    struct l2_memory *memory = ((struct view *)self)->memory;
    uint64_t size = (sizeof(struct record) + key.len + bytes.len + 7) & ~(uint64_t)7;
    int64_t now_ms = sys_monotonic_ms();
    struct record record = {.size = (uint32_t)size,
                            .key_len = (uint32_t)key.len,
                            .bytes_len = (uint32_t)bytes.len,
                            .hash = hash_of(memory, key),
                            .stamp = lease->stamp,
                            .expires_ms = ttl_ms < INT64_MAX - now_ms ? now_ms + ttl_ms : INT64_MAX};

    *stored = false;
    if (key.len >= memory->ring_size || bytes.len >= memory->ring_size || size > memory->ring_size / 4 || size >= NONE)
        return ERR_OK;

    struct shard *shard = enter(memory, record.hash >> 32 & (memory->shards - 1));

    if (is_untouched(memory, key, tags, tags_count, lease->stamp)) {
        put(memory, shard, &record, key, bytes);
        *stored = true;
    }
    shm_lock_release(&shard->lock);
    return ERR_OK;
}

static void release(void *self, struct str key, const struct l2_lease *lease)
{
    (void)self;
    (void)key;
    (void)lease;
}

/* What a purge does with the records that it meets. */
struct removal {
    bool soft;
    size_t count;
};

static bool remove_record(void *context, struct l2_memory *memory, struct shard *shard, uint64_t position,
                          uint64_t slot)
{
    struct removal *removal = context;

    if (removal->soft)
        record_at(memory, shard, position)->soft = true;
    else
        clear_slot(memory, shard, slot);
    removal->count++;
    return true;
}

static void remove_key(struct l2_memory *memory, struct str key, struct removal *removal)
{
    uint64_t hash = hash_of(memory, key);
    struct shard *shard = enter(memory, hash >> 32 & (memory->shards - 1));
    uint64_t slot = find_slot(memory, shard, hash, key), position = slots_of(memory, shard)[slot];

    if (position != 0)
        (void)remove_record(removal, memory, shard, position - 1, slot);
    shm_lock_release(&shard->lock);
}

typedef bool walk_fn(void *context, struct l2_memory *memory, struct shard *shard, uint64_t position, uint64_t slot);

/* Calls FN for live records of a shard that match PATTERN, from *POSITION on, oldest first, until it has looked at
 * WALK_BATCH records or FN says stop; *POSITION then is where to go on. Returns false at the shard's end. */
static bool walk(struct l2_memory *memory, uint64_t number, struct str pattern, uint64_t *position, walk_fn *fn,
                 void *context)
{
    struct shard *shard = enter(memory, number);
    uint64_t at = *position < shard->tail ? shard->tail : *position, slot;
    bool going = true;

    for (int i = 0; going && i < WALK_BATCH && at < shard->head; i++) {
        if (room_at(memory, at) >= sizeof(struct record) && is_live(memory, shard, at, &slot) &&
            str_glob_match(pattern, key_of(record_at(memory, shard, at))))
            going = fn(context, memory, shard, at, slot);
        at = after(memory, shard, at);
    }
    *position = at;
    going = at < shard->head;
    shm_lock_release(&shard->lock);
    return going;
}

static void remove_matching(struct l2_memory *memory, struct str pattern, struct removal *removal)
{
    for (uint64_t number = 0; number < memory->shards; number++) {
        uint64_t position = 0;

        while (walk(memory, number, pattern, &position, remove_record, removal))
            ;
    }
}

static enum err purge(void *self, const struct l2_purge *purge, size_t *removed, uint64_t *id)
{
    struct l2_memory *memory = ((struct view *)self)->memory;
    struct removal removal = {.soft = purge->soft};
    uint64_t number = atomic_fetch_add(&memory->seq, 1) + 1;

    (void)id;
    if (purge->kind == L2_PURGE_ALL)
        raise_to(purge->soft ? &memory->soft_floor : &memory->floor, number);
    if (purge->kind == L2_PURGE_PATTERN)
        raise_to(&memory->ban, number);
    for (size_t i = 0; i < purge->names_count; i++) {
        struct str name = purge->names[i];

        if (purge->kind == L2_PURGE_TAGS) {
            raise_to(purge->soft ? place_of(memory, memory->soft_tags, OTHER_PLACES, name)
                                 : place_of(memory, memory->tags, TAG_PLACES, name),
                     number);
        } else if (purge->kind == L2_PURGE_KEYS) {
            raise_to(place_of(memory, memory->keys, OTHER_PLACES, name), number);
            remove_key(memory, name, &removal);
        } else {
            remove_matching(memory, name, &removal);
        }
    }
    *removed = removal.count;
    return ERR_OK;
}

struct page {
    struct arena *arena;
    struct str *keys;
    size_t count, limit;
    int64_t now_ms;
};

static bool list_record(void *context, struct l2_memory *memory, struct shard *shard, uint64_t position, uint64_t slot)
{
    struct page *page = context;
    const struct record *record = record_at(memory, shard, position);

    (void)slot;
    if (record->expires_ms > page->now_ms && record->stamp >= memory->floor)
        page->keys[page->count++] = arena_copy(page->arena, key_of(record));
    return page->count < page->limit;
}

/* The first record at or behind POSITION: a cursor comes from outside, and may be anything. */
static uint64_t seek(struct l2_memory *memory, uint64_t number, uint64_t position)
{
    struct shard *shard = enter(memory, number);
    uint64_t at = shard->tail;

    while (at < position && at < shard->head)
        at = after(memory, shard, at);
    shm_lock_release(&shard->lock);
    return at;
}

static enum err scan(void *self, struct str pattern, uint64_t *cursor, size_t limit, struct arena *arena,
                     struct str **keys, size_t *count)
{
    struct l2_memory *memory = ((struct view *)self)->memory;
    struct page page = {.arena = arena,
                        .limit = limit < 1          ? 1
                                 : limit < PAGE_MAX ? limit
                                                    : PAGE_MAX,
                        .now_ms = sys_monotonic_ms()};
    uint64_t number = *cursor >> CURSOR_SHARD_BIT, position = *cursor & ((UINT64_C(1) << CURSOR_SHARD_BIT) - 1);

    if (number < memory->shards)
        position = seek(memory, number, position);
    page.keys = arena_alloc(arena, page.limit * sizeof(*page.keys));
    if (!page.keys)
        return ERR_LIMIT;
    while (number < memory->shards && page.count < page.limit)
        if (!walk(memory, number, pattern, &position, list_record, &page)) {
            number++;
            position = 0;
        }
    *cursor = number < memory->shards ? number << CURSOR_SHARD_BIT | position : 0;
    *keys = page.keys;
    *count = page.count;
    return arena_overflowed(arena) ? ERR_LIMIT : ERR_OK;
}

static enum err ping(void *self)
{
    (void)self;
    return ERR_OK;
}

/* A pattern is dealt with before its purge returns. */
static enum err read_job(void *self, uint64_t id, struct arena *arena, struct l2_job *out)
{
    (void)self;
    (void)id;
    (void)arena;
    (void)out;
    return ERR_NOT_FOUND;
}

static enum err step_job(void *self, uint64_t worker, size_t batch, struct l2_job *job)
{
    (void)self;
    (void)worker;
    (void)batch;
    (void)job;
    return ERR_DENIED;
}

const struct l2_backend l2_memory_backend = {
    .name = "memory",
    .open = open_view,
    .close = close_view,
    .read = read_entry,
    .claim = claim,
    .fill = fill,
    .release = release,
    .purge = purge,
    .scan = scan,
    .ping = ping,
    .read_job = read_job,
    .take_job = read_job,
    .step_job = step_job,
};
