/*
 * cache: from key to answer, by way of L1, L2 and, where that was not enough, of a fill.
 *
 * A lookup is looked at once from the beginning, and again each time the lease it waits for ends: L1, L2, lease. It
 * ends in an answer, in the right to compute one, or with the news that the fill it waited for failed. Waiting takes no
 * thread: the lookup lies in the cache's list until its lease's eventfd or the loop's tick finds that it may go on.
 *
 * Invariants. The host's purge number is read before whatever an entry in L1 is made of, so a purge that comes in
 * between wins (purged.h). An entry counts only if it was filled with the tags that are asked for now: one with others
 * (from before a reload, say) would not be reached by the purges meant for it. L2 is filled only under its lease, which
 * a purge ends. Every lease that is taken is given back: by cache_compute, cache_leave, or here.
 *
 * Where nothing that is kept can be trusted, as while L2 is away, many who ask for the same still do not compute it
 * each: L1 keeps what was filled, with the number of its lease, for those who had asked before that lease was given, so
 * before anything was read under it. At worst they wait for the fill under way, and for one more.
 *
 * A failing L2 is not an error here but a miss; a failing fill is one, unless a stale entry may stand in. No clock
 * decides what is fresh but the request's own; monotonic time is read for the cost of a fill and for waiting alone.
 */
#include "cache/cache.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/metrics.h"
#include "base/sys.h"

enum {
    LEASE_GRACE_MS = 1000, /* a fill's lease outlives the fill's own time limit by this */
    OTHER_FIRST_MS = 2,    /* how soon another host's fill is looked for, then ever less often */
    OTHER_LAST_MS = 50,
};

struct cache {
    const struct config *config;
    struct cache_shared *shared;
    struct l2 *l2;
    const struct loop *loop;
    bool refreshes; /* whoever is answered here may be asked to refresh in the background */
    int worker;     /* whose eventfd is ours; -1 without */
    struct loop_watch watch;
    struct lookup *waiting;
    uint64_t dice;
    struct top_sampler sampler;
};

/* A lookup under way; in the caller's arena. */
struct lookup {
    struct cache *cache;
    struct cache_ask *ask;
    struct arena *arena;
    cache_found_fn *fn;
    void *context;
    uint64_t stamp;      /* the host's number when it was last begun */
    int64_t since_ms;    /* when it began to wait; 0 before */
    uint64_t from_lease; /* begun when nothing kept could be trusted: what this lease or a later one brought can be */
    struct lookup *next;
    struct cache_found found;
};

static void on_released(void *context, unsigned events);
static void tick(void *context, int64_t monotonic_ms);

struct cache *cache_open(const struct config *config, struct cache_shared *shared, const struct loop *loop)
{
    struct cache *cache = sys_calloc(1, sizeof *cache);

    *cache = (struct cache){.config = config, .shared = shared, .loop = loop, .refreshes = loop, .worker = -1};
    sys_random(&cache->dice, sizeof cache->dice);
    cache->dice |= 1;
    top_sampler_init(&cache->sampler, shared->top, cache->dice);
    cache->l2 = l2_open(config, shared->l2, loop);
    if (loop) {
        cache->watch =
            (struct loop_watch){.fn = on_released, .context = cache, .fd = lease_fd(shared->leases, (int)loop->number)};
        cache->worker = cache->watch.fd >= 0 ? (int)loop->number : -1;
        if (cache->worker >= 0)
            loop->watch(loop->self, &cache->watch, LOOP_READ);
        loop->tick(loop->self, tick, cache);
    }
    return cache;
}

void cache_let_refresh(struct cache *cache)
{
    cache->refreshes = true;
}

void cache_close(struct cache **cache)
{
    if (!*cache)
        return;
    assert(!(*cache)->waiting);
    l2_close(&(*cache)->l2);
    free(*cache);
    *cache = NULL;
}

struct l2 *cache_l2(struct cache *cache)
{
    return cache->l2;
}

struct cache_shared *cache_share(struct cache *cache)
{
    return cache->shared;
}

/* A number in (0, 1]; xorshift64*, good enough for dice. */
static double draw(struct cache *cache)
{
    cache->dice ^= cache->dice >> 12;
    cache->dice ^= cache->dice << 25;
    cache->dice ^= cache->dice >> 27;
    return (double)((cache->dice * UINT64_C(2685821657736338717) >> 11) + 1) / 9007199254740992.0;
}

static int64_t lease_life_ms(const struct cache_ask *ask)
{
    return ask->fill_ms + LEASE_GRACE_MS;
}

/* Takes FOUND's entry for what it is worth. */
static bool judge(const struct cache_ask *ask, bool soft, const char *tier, struct cache_found *found)
{
    if (soft)
        policy_end_fresh(&found->entry, ask->now_ms);
    found->verdict = policy_judge(&found->entry, ask->now_ms);
    found->present = found->verdict != POLICY_DEAD;
    found->tier = found->present ? tier : NULL;
    return found->present;
}

static void end(struct lookup *lookup, enum cache_next next)
{
    lookup->found.next = next;
    lookup->fn(lookup->context, &lookup->found);
}

/* NOW_MS: when the lease was found to be held. */
static void wait_for_release(struct lookup *lookup, int64_t now_ms)
{
    lookup->next = lookup->cache->waiting;
    lookup->cache->waiting = lookup;
    if (lookup->since_ms == 0) {
        lookup->since_ms = now_ms;
        metrics_add(METRIC_collapsed, 1);
    }
    lookup->found.collapsed = true;
}

static enum lease_result take_lease(struct lookup *lookup, int64_t now_ms, bool wait)
{
    struct cache *cache = lookup->cache;
    enum lease_result result = lease_take(cache->shared->leases, lookup->ask->key, now_ms, lease_life_ms(lookup->ask),
                                          lookup->since_ms, wait ? cache->worker : -1, &lookup->found.lease);

    lookup->found.leased = result == LEASE_TAKEN;
    return result;
}

/* There is no entry to answer with: the key's lease decides who computes one. */
static void compute_or_wait(struct lookup *lookup)
{
    bool may_wait = lookup->cache->loop && lookup->cache->config->cache.lease_wait_ms > 0;
    int64_t now_ms = sys_monotonic_ms();

    switch (take_lease(lookup, now_ms, may_wait)) {
    case LEASE_HELD:
        if (may_wait) {
            wait_for_release(lookup, now_ms);
            return;
        }
        break;
    case LEASE_FAILED:
        end(lookup, CACHE_FAILED);
        return;
    case LEASE_TAKEN:
    case LEASE_UNKEPT:
        break;
    }
    end(lookup, CACHE_COMPUTE);
}

void cache_find_tags(struct cache_ask *ask)
{
    if (ask->find_tags)
        ask->find_tags(ask, ask->tags_context);
    ask->find_tags = NULL;
}

/* Answers with the entry that was found, where it may be used as it is. */
static bool answer(struct lookup *lookup)
{
    struct cache_found *found = &lookup->found;
    struct cache_ask *ask = lookup->ask;

    if (!found->present || found->verdict == POLICY_STALE_IF_ERROR)
        return false;
    bool due = found->verdict == POLICY_STALE || policy_is_due_early(&found->entry, ask->now_ms, draw(lookup->cache));
    found->refresh = due && lookup->cache->refreshes && take_lease(lookup, sys_monotonic_ms(), false) == LEASE_TAKEN;
    if (found->refresh)
        cache_find_tags(ask);
    end(lookup, CACHE_ANSWER);
    return true;
}

/* An entry out of BYTES, copied into ARENA; *SPENT is how it begins, which is set in any case. False when it is none,
 * or one with other tags than are asked for. */
static bool take_copy(const struct cache_ask *ask, struct str bytes, struct arena *arena, struct str *spent,
                      struct entry *entry)
{
    struct str copy = arena_copy(arena, bytes);

    *spent = (struct str){copy.p, copy.len < ENTRY_SPENT_LEN ? copy.len : ENTRY_SPENT_LEN};
    return !arena_overflowed(arena) && entry_decode(copy, entry) == ERR_OK &&
           entry_has_tags(entry, ask->tags, ask->tags_count);
}

/* Takes what L2 gave. */
static void take_bytes(struct lookup *lookup, const struct l2_read *read)
{
    const struct cache_ask *ask = lookup->ask;
    struct str spent;
    struct entry entry;

    if (!take_copy(ask, read->bytes, lookup->arena, &spent, &entry))
        return;
    lookup->found.entry = entry;
    if (!judge(ask, read->soft, "L2", &lookup->found))
        return;
    lookup->found.spent = spent;
    struct l1 *l1 = lookup->cache->shared->l1;
    bool plain = l1_enabled(l1) || !ask->gzip;
    if (plain && entry_unpack(&lookup->found.entry, lookup->arena) != ERR_OK)
        lookup->found.present = false;
    else if (l1_enabled(l1))
        l1_put(l1, ask->key, ask->variant, &lookup->found.entry, lookup->stamp, ask->now_ms);
}

static bool find_in_l1(struct lookup *lookup)
{
    const struct cache_ask *ask = lookup->ask;
    struct cache_shared *shared = lookup->cache->shared;
    struct l1_found found;

    bool current = purged_current(shared->purged, ask->monotonic_ms);

    if (!current && lookup->from_lease == 0) {
        lookup->from_lease = lease_next(shared->leases);
        return false;
    }
    if (l1_get(shared->l1, ask->key, ask->variant, ask->gzip, ask->now_ms, lookup->arena, &found) != ERR_OK ||
        (!current && found.entry.lease < lookup->from_lease))
        return false;
    lookup->found.entry = found.entry;
    return judge(ask, found.soft, "L1", &lookup->found);
}

static void finish_read(void *context, const struct l2_read *read)
{
    struct lookup *lookup = context;

    if (read->result == L2_FOUND)
        take_bytes(lookup, read);
    else if (lookup->from_lease != 0)
        (void)find_in_l1(lookup); /* another one may have filled it meanwhile */
    if (!answer(lookup))
        compute_or_wait(lookup);
}

/* From the beginning. */
static void look(struct lookup *lookup)
{
    struct cache_ask *ask = lookup->ask;

    lookup->stamp = purged_now(lookup->cache->shared->purged);
    if (find_in_l1(lookup) && answer(lookup))
        return;
    cache_find_tags(ask);
    l2_read(lookup->cache->l2, ask->key, ask->tags, ask->tags_count, finish_read, lookup);
}

void cache_lookup(struct cache *cache, struct cache_ask *ask, struct arena *arena, cache_found_fn *fn, void *context)
{
    struct lookup *lookup = arena_alloc(arena, sizeof *lookup);

    if (!lookup) {
        fn(context, &(struct cache_found){.next = CACHE_COMPUTE});
        return;
    }
    /* The entry in it is large and set where it counts, so the whole is not cleared. */
    lookup->cache = cache;
    lookup->ask = ask;
    lookup->arena = arena;
    lookup->fn = fn;
    lookup->context = context;
    lookup->since_ms = 0;
    lookup->from_lease = 0;
    lookup->found.present = lookup->found.collapsed = lookup->found.refresh = lookup->found.leased = false;
    lookup->found.tier = NULL;
    lookup->found.spent = (struct str){NULL, 0};
    top_count(&cache->sampler, ask->key, ask->monotonic_ms);
    look(lookup);
}

/* Lets those go on whose lease is held no longer, or who have waited long enough. */
static void resume(struct cache *cache, int64_t monotonic_ms)
{
    struct lookup *lookup = cache->waiting, *next;

    cache->waiting = NULL;
    for (; lookup; lookup = next) {
        next = lookup->next;
        /* The next lease may be held already, by one for whom the last fill was not good enough. */
        if (lookup->from_lease != 0 && find_in_l1(lookup) && answer(lookup))
            continue;
        if (monotonic_ms - lookup->since_ms >= cache->config->cache.lease_wait_ms) {
            end(lookup, CACHE_COMPUTE);
        } else if (!lease_held(cache->shared->leases, lookup->ask->key, monotonic_ms, cache->worker)) {
            look(lookup);
        } else {
            lookup->next = cache->waiting;
            cache->waiting = lookup;
        }
    }
}

static void on_released(void *context, unsigned events)
{
    struct cache *cache = context;
    uint64_t count;

    (void)events;
    (void)!read(cache->watch.fd, &count, sizeof count);
    resume(cache, sys_monotonic_ms());
}

static void tick(void *context, int64_t monotonic_ms)
{
    struct cache *cache = context;

    top_rest(&cache->sampler, monotonic_ms);
    if (cache->waiting)
        resume(cache, monotonic_ms);
}

/* A fill under way, on a pool thread. */
struct fill {
    struct cache *cache;
    const struct cache_ask *ask;
    const struct cache_found *found;
    struct arena *arena;
    bool background;
    uint64_t stamp; /* the host's number before anything was read */
    struct l2_lease lease;
};

/* Uses the entry that another host has filled in meanwhile, when it is fresh. *SPENT: how its bytes begin. */
static bool take_other(struct fill *fill, const struct l2_claim *claim, struct str *spent, struct entry *entry)
{
    const struct cache_ask *ask = fill->ask;

    if (!take_copy(ask, claim->bytes, fill->arena, spent, entry) || claim->soft ||
        policy_judge(entry, ask->now_ms) != POLICY_FRESH || policy_is_due_early(entry, ask->now_ms, draw(fill->cache)))
        return false;
    return entry_unpack(entry, fill->arena) == ERR_OK;
}

/* Asks L2 for the lease once. Sets fill->lease, or *ENTRY when another host was faster (CLAIM_FOUND). */
static enum l2_claim_result claim_once(struct fill *fill, struct entry *entry)
{
    const struct cache_ask *ask = fill->ask;
    struct str spent = fill->found->spent;
    struct l2_claim claim;

    for (int round = 0; round < 2; round++) {
        fill->stamp = purged_now(fill->cache->shared->purged);
        l2_claim(fill->cache->l2, ask->key, ask->tags, ask->tags_count, spent, lease_life_ms(ask), &claim);
        if (claim.result != L2_CLAIM_FOUND || take_other(fill, &claim, &spent, entry))
            break;
        claim.result = L2_CLAIM_HELD;
    }
    if (claim.result == L2_CLAIM_TAKEN)
        fill->lease = claim.lease;
    return claim.result;
}

static bool take_waiting_place(struct cache *cache)
{
    unsigned most = (unsigned)(cache->config->server.pool + 1) / 2;

    if (atomic_fetch_add(&cache->shared->waiting, 1) < most)
        return true;
    atomic_fetch_sub(&cache->shared->waiting, 1);
    return false;
}

/* Waits for the other host that fills the key, at most half of the pool at once. */
static enum l2_claim_result claim(struct fill *fill, struct entry *entry)
{
    struct cache *cache = fill->cache;
    int64_t until_ms = sys_monotonic_ms() + cache->config->cache.lease_wait_ms;
    enum l2_claim_result result = claim_once(fill, entry);

    if (result != L2_CLAIM_HELD || fill->background || !take_waiting_place(cache))
        return result;
    metrics_add(METRIC_collapsed, 1);
    for (int64_t pause_ms = OTHER_FIRST_MS; result == L2_CLAIM_HELD && sys_monotonic_ms() < until_ms;) {
        nanosleep(&(struct timespec){.tv_nsec = pause_ms * 1000000}, NULL);
        pause_ms = pause_ms * 2 < OTHER_LAST_MS ? pause_ms * 2 : OTHER_LAST_MS;
        result = claim_once(fill, entry);
    }
    atomic_fetch_sub(&cache->shared->waiting, 1);
    return result;
}

/* Completes ENTRY, which the fill has begun. */
static void complete(struct fill *fill, int64_t cost_us, struct entry *entry)
{
    const struct cache_ask *ask = fill->ask;

    assert(ask->tags_count <= ENTRY_TAGS_MAX);
    for (size_t i = 0; i < ask->tags_count; i++)
        entry->tags[i] = ask->tags[i];
    entry->tags_count = ask->tags_count;
    entry->body_len = entry->body.len;
    entry->lease = fill->found->leased ? fill->found->lease.number : 0;
    entry->cost_us = cost_us < UINT32_MAX ? (uint32_t)cost_us : UINT32_MAX;
    entry->etag = entry->status == 200 ? entry_etag(entry->body, fill->arena) : STR("");
    policy_stamp(&ask->policy, ask->now_ms, 1 - draw(fill->cache), entry);
}

static bool is_storable(const struct fill *fill, const struct entry *entry)
{
    for (size_t i = 0; i < entry->tags_count; i++)
        if (entry->tags[i].len > ENTRY_TAG_MAX_LEN)
            return false;
    return policy_keeps(&fill->ask->policy, entry->status == 404) &&
           entry_encoded_len(entry) <= fill->cache->config->redis.max_entry;
}

static bool store_in_l2(struct fill *fill, const struct entry *entry)
{
    const struct cache_ask *ask = fill->ask;
    struct buf bytes = {0};
    bool stored = false;

    if (fill->lease.token == 0)
        return false;
    entry_encode(entry, &bytes);
    /* What failed has been counted by L2, and costs the client nothing but the next miss. */
    if (l2_fill(fill->cache->l2, ask->key, ask->tags, ask->tags_count, buf_str(&bytes),
                policy_remaining_ms(entry, ask->now_ms), &fill->lease, &stored) == ERR_OK)
        metrics_add(stored ? METRIC_fills : METRIC_fills_refused, 1);
    else
        stored = false;
    buf_free(&bytes);
    return stored;
}

/* Keeps ENTRY where it may be kept. *STORED: for whoever asks; returned: at least for those who have waited. */
static bool store(struct fill *fill, struct entry *entry, bool *stored)
{
    struct l1 *l1 = fill->cache->shared->l1;
    const struct cache_ask *ask = fill->ask;

    if (!is_storable(fill, entry)) {
        if (fill->lease.token != 0)
            l2_release(fill->cache->l2, ask->key, &fill->lease);
        return false;
    }
    /* With nowhere to keep it, it would be compressed for this one answer. */
    if (fill->lease.token != 0 || l1_enabled(l1))
        entry_compress(entry, fill->arena);
    *stored = store_in_l2(fill, entry);
    bool fits = l1_enabled(l1) && entry_encoded_len(entry) + entry->body_len <= l1_entry_max(l1);
    if (fits)
        l1_put(l1, ask->key, ask->variant, entry, fill->stamp, ask->now_ms);
    bool shared = *stored || fits;
    *stored |= fits && purged_current(fill->cache->shared->purged, sys_monotonic_ms());
    return shared;
}

static void release(struct fill *fill, enum lease_result outcome)
{
    if (fill->found->leased)
        lease_release(fill->cache->shared->leases, &fill->found->lease, sys_monotonic_ms(), outcome);
}

/* Computes, stores and answers. */
static enum err run(struct fill *fill, cache_fill_fn *fn, void *context, struct cache_answer *out)
{
    int64_t began_us = sys_monotonic_us();
    struct entry entry = {0};
    enum err err = fn(context, fill->arena, &entry);

    if (err != ERR_OK) {
        if (fill->lease.token != 0)
            l2_release(fill->cache->l2, fill->ask->key, &fill->lease);
        release(fill, LEASE_FAILED);
        if (!fill->found->present)
            return err;
        *out = (struct cache_answer){.entry = fill->found->entry, .source = CACHE_STALE_ON_ERROR, .origin = err};
        return ERR_OK;
    }
    complete(fill, sys_monotonic_us() - began_us, &entry);
    bool stored = false, shared = store(fill, &entry, &stored);
    release(fill, shared ? LEASE_TAKEN : LEASE_UNKEPT);
    *out = (struct cache_answer){.entry = entry, .source = CACHE_FROM_ORIGIN, .stored = stored};
    return ERR_OK;
}

enum err cache_compute(struct cache *cache, const struct cache_ask *ask, const struct cache_found *found,
                       bool background, cache_fill_fn *fn, void *context, struct arena *arena, struct cache_answer *out)
{
    struct fill fill = {.cache = cache, .ask = ask, .found = found, .arena = arena, .background = background};
    struct entry entry;

    fill.stamp = purged_now(cache->shared->purged);
    /* Who was given no lease on this host computes beside the holder, and leaves the storing to it. */
    switch (found->leased ? claim(&fill, &entry) : L2_CLAIM_UNAVAILABLE) {
    case L2_CLAIM_FOUND:
        if (l1_enabled(cache->shared->l1))
            l1_put(cache->shared->l1, ask->key, ask->variant, &entry, fill.stamp, ask->now_ms);
        release(&fill, LEASE_TAKEN);
        *out = (struct cache_answer){.entry = entry, .source = CACHE_FROM_OTHER, .stored = true};
        return ERR_OK;
    case L2_CLAIM_HELD:
        if (background) {
            release(&fill, LEASE_TAKEN);
            return ERR_BUSY;
        }
        break;
    case L2_CLAIM_TAKEN:
    case L2_CLAIM_UNAVAILABLE:
        break;
    }
    return run(&fill, fn, context, out);
}

void cache_leave(struct cache *cache, const struct cache_found *found)
{
    if (found->leased)
        lease_release(cache->shared->leases, &found->lease, sys_monotonic_ms(), LEASE_UNKEPT);
}

/* An inspection under way. */
struct inspection {
    struct arena *arena;
    enum l2_result result;
    struct str bytes;
    bool soft;
};

static void keep_bytes(void *context, const struct l2_read *read)
{
    struct inspection *inspection = context;

    inspection->result = read->result;
    inspection->soft = read->soft;
    if (read->result == L2_FOUND)
        inspection->bytes = arena_copy(inspection->arena, read->bytes);
}

static enum err read_entry(struct cache *cache, struct str key, const struct entry *carried,
                           struct inspection *inspection, struct entry *out)
{
    l2_read(cache->l2, key, carried ? carried->tags : NULL, carried ? carried->tags_count : 0, keep_bytes, inspection);
    if (inspection->result == L2_UNAVAILABLE)
        return ERR_UNAVAILABLE;
    if (inspection->result == L2_FOUND && arena_overflowed(inspection->arena))
        return ERR_LIMIT;
    return inspection->result == L2_FOUND && entry_decode(inspection->bytes, out) == ERR_OK ? ERR_OK : ERR_NOT_FOUND;
}

enum err cache_inspect(struct cache *cache, struct str key, struct arena *arena, struct entry *out, bool *soft)
{
    struct inspection inspection = {.arena = arena};
    struct entry carried, judged;
    /* Which tags judge it stands in the entry alone: once to learn them, once to be judged by them. */
    enum err err = read_entry(cache, key, NULL, &inspection, &carried);

    if (err == ERR_OK && carried.tags_count > 0)
        err = read_entry(cache, key, &carried, &inspection, &judged);
    else if (err == ERR_OK)
        judged = carried;
    if (err == ERR_OK)
        err = entry_unpack(&judged, arena);
    if (err != ERR_OK)
        return err;
    *out = judged;
    if (soft)
        *soft = inspection.soft;
    return ERR_OK;
}
