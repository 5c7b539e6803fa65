/*
 * cache: from key to answer, by way of L2 and, where that was not enough, of a fill.
 *
 * Invariant: what the caller is handed lives in the caller's arena; bytes borrowed from L2 are copied once, in its
 * callback. An entry counts only if it was filled with the tags that are asked for now: L2 judges by these, so one with
 * other tags (from before a reload, say) would no longer be reached by the purges meant for it.
 *
 * A fill is stored under the stamp that the lookup brought, never under a later one: L2 refuses it when a purge came in
 * between, so a row read before the purge cannot come back after it. Where the lookup brought none, nothing is stored.
 * A failing L2 is not an error here but a miss; a failing fill is one, unless a stale entry may stand in.
 *
 * It refuses to read clocks (but for the cost of a fill), to know SQL or HTTP, and to refresh behind anybody's back: a
 * stale entry is computed anew in the foreground, and is what remains when that fails.
 */
#include "cache/cache.h"

#include <assert.h>
#include <stdlib.h>

#include "base/metrics.h"
#include "base/sys.h"

struct cache {
    struct l2 *l2;
    size_t entry_max;
};

struct cache *cache_open(const struct config *config, struct l2_shared *shared, const struct loop *loop)
{
    struct cache *cache = sys_calloc(1, sizeof *cache);

    cache->l2 = l2_open(config, shared, loop);
    cache->entry_max = config->redis.max_entry;
    return cache;
}

void cache_close(struct cache **cache)
{
    if (!*cache)
        return;
    l2_close(&(*cache)->l2);
    free(*cache);
    *cache = NULL;
}

struct l2 *cache_l2(struct cache *cache)
{
    return cache->l2;
}

/* A lookup under way; in the caller's arena. */
struct lookup {
    const struct cache_ask *ask;
    struct arena *arena;
    cache_found_fn *fn;
    void *context;
};

/* Copies what may be used of BYTES to *FOUND. */
static void take_entry(const struct lookup *lookup, struct str bytes, struct cache_found *found)
{
    struct str copy = arena_copy(lookup->arena, bytes);

    if (arena_overflowed(lookup->arena) || entry_decode(copy, &found->entry) != ERR_OK)
        return;
    found->verdict = policy_judge(&found->entry, lookup->ask->now_ms);
    found->present =
        found->verdict != POLICY_DEAD && entry_has_tags(&found->entry, lookup->ask->tags, lookup->ask->tags_count);
    found->tier = found->present ? "L2" : NULL;
}

static void finish_lookup(void *context, const struct l2_read *read)
{
    const struct lookup *lookup = context;
    struct cache_found found;

    /* Not cleared as a whole: the entry is large, and set where it counts. */
    found.present = false;
    found.tier = NULL;
    found.may_fill = read->result != L2_UNAVAILABLE;
    found.stamp = read->stamp;
    if (read->result == L2_FOUND)
        take_entry(lookup, read->bytes, &found);
    lookup->fn(lookup->context, &found);
}

void cache_lookup(struct cache *cache, const struct cache_ask *ask, struct arena *arena, cache_found_fn *fn,
                  void *context)
{
    struct lookup *lookup = arena_alloc(arena, sizeof *lookup);

    if (!lookup) {
        fn(context, &(struct cache_found){.present = false});
        return;
    }
    *lookup = (struct lookup){.ask = ask, .arena = arena, .fn = fn, .context = context};
    l2_read(cache->l2, ask->key, ask->tags, ask->tags_count, finish_lookup, lookup);
}

/* A number in [0, 1). */
static double draw(void)
{
    uint32_t number;

    sys_random(&number, sizeof number);
    return (double)number / 4294967296.0;
}

/* Completes ENTRY, which the fill has begun. */
static void complete(const struct cache_ask *ask, int64_t cost_us, struct arena *arena, struct entry *entry)
{
    assert(ask->tags_count <= ENTRY_TAGS_MAX);
    for (size_t i = 0; i < ask->tags_count; i++)
        entry->tags[i] = ask->tags[i];
    entry->tags_count = ask->tags_count;
    entry->cost_us = cost_us < UINT32_MAX ? (uint32_t)cost_us : UINT32_MAX;
    entry->etag = entry->status == 200 ? entry_etag(entry->body, arena) : STR("");
    policy_stamp(&ask->policy, ask->now_ms, draw(), entry);
}

static bool is_storable(const struct cache *cache, const struct cache_ask *ask, const struct entry *entry)
{
    for (size_t i = 0; i < entry->tags_count; i++)
        if (entry->tags[i].len > ENTRY_TAG_MAX_LEN)
            return false;
    return policy_keeps(&ask->policy, entry->status == 404) && entry_encoded_len(entry) <= cache->entry_max;
}

static bool store_entry(struct cache *cache, const struct cache_ask *ask, uint64_t stamp, const struct entry *entry)
{
    struct buf bytes = {0};
    bool stored = false;

    entry_encode(entry, &bytes);
    /* What failed has been counted by L2, and costs the client nothing but the next miss. */
    if (l2_fill(cache->l2, ask->key, buf_str(&bytes), policy_remaining_ms(entry, ask->now_ms), stamp, &stored) ==
        ERR_OK)
        metrics_add(stored ? METRIC_fills : METRIC_fills_refused, 1);
    else
        stored = false;
    buf_free(&bytes);
    return stored;
}

enum err cache_compute(struct cache *cache, const struct cache_ask *ask, const struct cache_found *found,
                       cache_fill_fn *fill, void *context, struct arena *arena, struct cache_answer *out)
{
    int64_t began_us = sys_monotonic_us();
    struct entry entry = {0};
    enum err err = fill(context, arena, &entry);

    if (err != ERR_OK && found->present) {
        *out = (struct cache_answer){.entry = found->entry, .source = CACHE_STALE_ON_ERROR, .origin = err};
        return ERR_OK;
    }
    if (err != ERR_OK)
        return err;
    complete(ask, sys_monotonic_us() - began_us, arena, &entry);
    bool stored = found->may_fill && is_storable(cache, ask, &entry) && store_entry(cache, ask, found->stamp, &entry);
    *out = (struct cache_answer){.entry = entry, .source = CACHE_FROM_ORIGIN, .stored = stored};
    return ERR_OK;
}

/* An inspection under way. */
struct inspection {
    struct arena *arena;
    enum l2_result result;
    struct str bytes;
};

static void keep_bytes(void *context, const struct l2_read *read)
{
    struct inspection *inspection = context;

    inspection->result = read->result;
    if (read->result == L2_FOUND)
        inspection->bytes = arena_copy(inspection->arena, read->bytes);
}

static enum err read_entry(struct cache *cache, struct str key, const struct str *tags, size_t tags_count,
                           struct arena *arena, struct entry *out)
{
    struct inspection inspection = {.arena = arena};

    l2_read(cache->l2, key, tags, tags_count, keep_bytes, &inspection);
    if (inspection.result == L2_UNAVAILABLE)
        return ERR_UNAVAILABLE;
    if (inspection.result == L2_FOUND && arena_overflowed(arena))
        return ERR_LIMIT;
    return inspection.result == L2_FOUND && entry_decode(inspection.bytes, out) == ERR_OK ? ERR_OK : ERR_NOT_FOUND;
}

enum err cache_inspect(struct cache *cache, struct str key, struct arena *arena, struct entry *out)
{
    struct entry carried, judged;
    /* Which tags judge it stands in the entry alone: once to learn them, once to be judged by them. */
    enum err err = read_entry(cache, key, NULL, 0, arena, &carried);

    if (err == ERR_OK && carried.tags_count > 0)
        err = read_entry(cache, key, carried.tags, carried.tags_count, arena, &judged);
    else if (err == ERR_OK)
        judged = carried;
    if (err == ERR_OK)
        *out = judged;
    return err;
}
