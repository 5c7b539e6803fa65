/*
 * l1: entries in shared memory, cut into shards by the hash of their keys.
 *
 * The mapping is `struct l1` and the shards' heads, then the index of each shard, the ghosts of each, the rings of
 * each. What a record keeps behind its key: the compressed body, ETag, content type, the plain body; so what a reader
 * wants lies in one piece whichever body that is, and goes to the arena in one.
 *
 * Invariant: an entry is given out only if `purged` says so, after the shard's lock was taken; what has been purged
 * softly is remembered in the record, since purged_judge looks at a pattern once. A put changes what there is under its
 * key even when it cannot be kept, so that nothing older than the last one is ever found.
 *
 * It refuses to know whether an entry is fresh: only what has ended or was purged is not given out. No function here
 * makes a system call, but to wait for a lock, and where the arena has to grow.
 */
#include "cache/l1.h"

#include "base/sys.h"
#include "cache/l1_shard.h"

enum {
    SHARDS_MAX = 64,
    SHARD_SIZE_GOOD = 4 << 20, /* more shards only while each has this much */
    SIZE_MIN = 256 << 10,
    LINE = 64,
};

enum { HAS_BODY = 1, HAS_GZIP = 2 };

struct l1 {
    uint64_t mapping_size;
    struct purged *purged; /* mapped before the fork, like this: at one address in all processes */
    uint64_t seed;
    uint64_t shards;
    struct l1_shape shape;
    size_t slots_at, ghosts_at, rooms_at; /* in the mapping */
    struct l1_shard shard[];
};

static void lay_out(struct l1 *l1, uint64_t size)
{
    uint64_t head, bytes;

    for (l1->shards = 1; l1->shards < SHARDS_MAX && l1->shards * 2 * SHARD_SIZE_GOOD <= size;)
        l1->shards *= 2;
    head = sizeof(*l1) + l1->shards * sizeof(struct l1_shard);
    bytes = (size - head) / l1->shards / LINE * LINE;
    l1->shape = l1_shard_shape(bytes);
    l1->slots_at = head;
    l1->ghosts_at = l1->slots_at + l1->shards * l1->shape.slots * sizeof(struct l1_slot);
    l1->rooms_at = l1->ghosts_at + l1->shards * l1->shape.ghosts * sizeof(uint32_t);
    for (uint64_t i = 0; i < l1->shards; i++)
        l1_shard_init(&l1->shard[i], &l1->shape);
}

enum err l1_new(uint64_t size, struct purged *purged, struct l1 **out)
{
    struct l1 *l1;
    void *mapping;
    uint64_t mapping_size = size == 0 ? sizeof(*l1) : size < SIZE_MIN ? SIZE_MIN : size;
    enum err err = shm_map(mapping_size, &mapping);

    if (err)
        return err;
    l1 = mapping;
    l1->mapping_size = mapping_size;
    l1->purged = purged;
    sys_random(&l1->seed, sizeof(l1->seed));
    if (size > 0)
        lay_out(l1, mapping_size);
    *out = l1;
    return ERR_OK;
}

void l1_free(struct l1 **l1)
{
    void *mapping = *l1;

    if (!mapping)
        return;
    *l1 = NULL;
    shm_unmap(&mapping, ((struct l1 *)mapping)->mapping_size);
}

bool l1_enabled(const struct l1 *l1)
{
    return l1->shards > 0;
}

size_t l1_entry_max(const struct l1 *l1)
{
    return l1_enabled(l1) ? l1_shard_record_max(&l1->shard[0]) : 0;
}

/* The shard of HASH, not entered. */
static struct l1_view view_of(struct l1 *l1, uint64_t hash)
{
    /* The index and the ghosts use lower bits. */
    uint64_t number = hash >> 58 & (l1->shards - 1);

    return (struct l1_view){.shape = l1->shape,
                            .purged = l1->purged,
                            .shard = &l1->shard[number],
                            .slots = (struct l1_slot *)((char *)l1 + l1->slots_at) + number * l1->shape.slots,
                            .ghosts = (uint32_t *)((char *)l1 + l1->ghosts_at) + number * l1->shape.ghosts,
                            .room = (char *)l1 + l1->rooms_at + number * l1->shape.room};
}

static enum err copy_out(const struct l1_record *record, bool gzip, struct arena *arena, struct l1_found *out)
{
    bool packed = (record->parts & HAS_GZIP) && (gzip || !(record->parts & HAS_BODY));
    struct str key = l1_shard_key(record);
    const char *from = key.p + key.len + (packed ? 0 : record->gzip_len);
    size_t len = (size_t)record->etag_len + record->type_len + (packed ? record->gzip_len : record->body_len);
    char *p = arena_alloc(arena, len);
    struct entry *entry = &out->entry;

    if (!p)
        return ERR_LIMIT;
    memcpy(p, from, len);
    entry->status = (int)record->status;
    entry->stored_at_ms = record->stored_at_ms;
    entry->fresh_until_ms = record->fresh_until_ms;
    entry->stale_until_ms = record->stale_until_ms;
    entry->error_until_ms = record->error_until_ms;
    entry->cost_us = record->cost_us;
    entry->lease = record->lease;
    entry->tags_count = 0;
    entry->gzip = packed ? (struct str){p, record->gzip_len} : (struct str){NULL, 0};
    p += entry->gzip.len;
    entry->etag = (struct str){p, record->etag_len};
    p += record->etag_len;
    entry->content_type = (struct str){p, record->type_len};
    p += record->type_len;
    entry->body = packed ? (struct str){NULL, 0} : (struct str){p, record->body_len};
    entry->body_len = record->plain_len;
    out->soft = record->soft;
    return ERR_OK;
}

enum err l1_get(struct l1 *l1, struct str key, uint64_t variant, bool gzip, int64_t now_ms, struct arena *arena,
                struct l1_found *out)
{
    enum err err = ERR_NOT_FOUND;
    struct l1_record *record;
    struct l1_view view;
    uint64_t hash;

    if (!l1_enabled(l1))
        return ERR_NOT_FOUND;
    hash = sys_hash64(key, l1->seed);
    view = view_of(l1, hash);
    l1_shard_enter(&view);
    record = l1_shard_find(&view, hash, key);
    if (record && l1_shard_is_gone(&view, record, now_ms)) {
        l1_shard_drop(&view, record);
    } else if (record && record->variant == variant) {
        l1_shard_touch(record);
        err = copy_out(record, gzip, arena, out);
    }
    l1_shard_leave(&view);
    return err;
}

static char *append(char *p, struct str part)
{
    if (part.len > 0)
        memcpy(p, part.p, part.len);
    return p + part.len;
}

static struct l1_record describe(struct str key, uint64_t variant, const struct entry *entry)
{
    size_t rest_len = entry->gzip.len + entry->etag.len + entry->content_type.len + entry->body.len;

    return (struct l1_record){
        .parts = (entry->gzip.p ? HAS_GZIP : 0) | (entry->body.p || !entry->gzip.p ? HAS_BODY : 0),
        .variant = variant,
        .lease = entry->lease,
        .stored_at_ms = entry->stored_at_ms,
        .fresh_until_ms = entry->fresh_until_ms,
        .stale_until_ms = entry->stale_until_ms,
        .error_until_ms = entry->error_until_ms,
        .cost_us = entry->cost_us,
        .status = (uint32_t)entry->status,
        .gzip_len = (uint32_t)entry->gzip.len,
        .etag_len = (uint32_t)entry->etag.len,
        .type_len = (uint32_t)entry->content_type.len,
        .body_len = (uint32_t)entry->body.len,
        .plain_len = (uint32_t)entry->body_len,
        .key_len = (uint32_t)key.len,
        /* Far less is too large already. */
        .rest_len = rest_len < UINT32_MAX ? (uint32_t)rest_len : UINT32_MAX,
        .places_count = (uint32_t)entry->tags_count + 1,
    };
}

static void write_rest(char *p, const struct entry *entry)
{
    p = append(p, entry->gzip);
    p = append(p, entry->etag);
    p = append(p, entry->content_type);
    append(p, entry->body);
}

void l1_put(struct l1 *l1, struct str key, uint64_t variant, const struct entry *entry, uint64_t stamp, int64_t now_ms)
{
    struct l1_record head = describe(key, variant, entry);
    uint32_t places[1 + ENTRY_TAGS_MAX];
    enum purged_verdict verdict;
    struct l1_view view;
    char *rest;

    if (!l1_enabled(l1))
        return;
    places[0] = purged_key_place(key);
    for (size_t i = 0; i < entry->tags_count; i++)
        places[1 + i] = purged_tag_place(entry->tags[i]);
    head.hash = sys_hash64(key, l1->seed);
    head.stamp = head.checked = stamp;
    view = view_of(l1, head.hash);
    l1_shard_enter(&view);
    verdict = purged_judge(l1->purged, stamp, &head.checked, key, places, head.places_count);
    head.soft = verdict == PURGED_SOFT;
    if (verdict != PURGED_HARD && l1_shard_add(&view, &head, places, key, now_ms, &rest))
        write_rest(rest, entry);
    l1_shard_leave(&view);
}

bool l1_remove(struct l1 *l1, struct str key)
{
    struct l1_record *record;
    struct l1_view view;
    uint64_t hash;

    if (!l1_enabled(l1))
        return false;
    hash = sys_hash64(key, l1->seed);
    view = view_of(l1, hash);
    l1_shard_enter(&view);
    record = l1_shard_find(&view, hash, key);
    if (record)
        l1_shard_drop(&view, record);
    l1_shard_leave(&view);
    return record;
}

void l1_status(struct l1 *l1, struct l1_status *out)
{
    *out = (struct l1_status){.size = l1->shards * l1->shape.room};
    for (uint64_t i = 0; i < l1->shards; i++) {
        const struct l1_shard *shard = &l1->shard[i];

        out->used += atomic_load_explicit(&shard->used, memory_order_relaxed);
        out->entries += atomic_load_explicit(&shard->entries, memory_order_relaxed);
        out->negative += atomic_load_explicit(&shard->negative, memory_order_relaxed);
        out->evicted += atomic_load_explicit(&shard->evicted, memory_order_relaxed);
        out->emptied += atomic_load_explicit(&shard->emptied, memory_order_relaxed);
        out->refused += atomic_load_explicit(&shard->refused, memory_order_relaxed);
    }
}
