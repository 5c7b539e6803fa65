/*
 * top: a Space-Saving table (Metwally, Agrawal and El Abbadi, 2005) whose weights grow with time, which makes older
 * ones fade without being touched (forward decay; Cormode and others, 2009).
 *
 * A key that has no place takes that of the lightest, with its weight, which is then what may be wrong about it.
 * Invariants: a place's error is at most its weight, and the weights add up to all that was ever counted. Whoever dies
 * inside leaves an empty table.
 *
 * It refuses to be exact: that would take a place for each key there is, and whoever asks invents keys.
 */
#include "cache/top.h"

#include <math.h>
#include <stdlib.h>

#include "base/shm.h"
#include "base/sys.h"

enum {
    ADAPT_MS = 250,       /* how often a thread looks how busy it is */
    REST_MS = 1000,       /* without one that counted, it is busy no longer */
    EXACT_PER_SECOND = 4, /* up to which it counts every request */
    SCALE_MAX = 256       /* half lives until the weights are brought down */
};

struct name {
    unsigned short len;
    bool cut;
    char bytes[TOP_KEY_MAX];
};

struct table {
    int64_t first_ms, origin_ms; /* when counting began; when a request weighs 1 */
    double total;
    size_t count;
    uint64_t hashes[TOP_PLACES];
    double weights[TOP_PLACES], errors[TOP_PLACES];
    struct name names[TOP_PLACES];
};

struct top {
    struct shm_lock lock;
    struct table table;
};

enum err top_new(struct top **out)
{
    void *mapping;
    enum err err = shm_map(sizeof(struct top), &mapping);

    if (err != ERR_OK)
        return err;
    *out = mapping;
    shm_lock_init(&(*out)->lock);
    return ERR_OK;
}

void top_free(struct top **top)
{
    void *mapping = *top;

    shm_unmap(&mapping, sizeof **top);
    *top = NULL;
}

static struct table *take(struct top *top)
{
    if (shm_lock_take(&top->lock))
        top->table = (struct table){0};
    return &top->table;
}

/* What a request weighs at NOW_MS. */
static double weight_at(const struct table *table, int64_t now_ms)
{
    return exp2((double)(now_ms - table->origin_ms) / TOP_HALF_LIFE_MS);
}

/* Brings all weights down before they outgrow a double. */
static void rescale(struct table *table, int64_t now_ms)
{
    int64_t lives = (now_ms - table->origin_ms) / TOP_HALF_LIFE_MS;

    if (lives < SCALE_MAX)
        return;
    double factor = exp2(-(double)lives);
    for (size_t i = 0; i < table->count; i++) {
        table->weights[i] *= factor;
        table->errors[i] *= factor;
    }
    table->total *= factor;
    table->origin_ms += lives * TOP_HALF_LIFE_MS;
}

/* The place of the key with HASH, or the one that it is to take. */
static size_t find_place(const struct table *table, uint64_t hash)
{
    size_t lightest = 0;

    for (size_t i = 0; i < table->count; i++) {
        if (table->hashes[i] == hash)
            return i;
        if (table->weights[i] < table->weights[lightest])
            lightest = i;
    }
    return table->count < TOP_PLACES ? table->count : lightest;
}

static void name_place(struct table *table, size_t place, uint64_t hash, struct str key)
{
    struct name *name = &table->names[place];

    table->hashes[place] = hash;
    name->cut = key.len > TOP_KEY_MAX;
    name->len = (unsigned short)(name->cut ? TOP_KEY_MAX : key.len);
    memcpy(name->bytes, key.p, name->len);
    if (place == table->count)
        table->count++;
    table->errors[place] = table->weights[place];
}

void top_add(struct top *top, struct str key, double weight, int64_t now_ms)
{
    uint64_t hash = sys_hash64(key, 0);
    struct table *table = take(top);

    if (table->first_ms == 0)
        table->first_ms = table->origin_ms = now_ms;
    rescale(table, now_ms);
    weight *= weight_at(table, now_ms);
    size_t place = find_place(table, hash);
    if (place == table->count || table->hashes[place] != hash)
        name_place(table, place, hash, key);
    table->weights[place] += weight;
    table->total += weight;
    shm_lock_release(&top->lock);
}

static int compare(const void *a, const void *b)
{
    double left = ((const struct top_item *)a)->per_second, right = ((const struct top_item *)b)->per_second;

    return left < right ? 1 : left > right ? -1 : 0;
}

/* By what a weight is multiplied to become requests in a second: a steady rate piles up to what it brings in a half
 * life, over the logarithm of two, less what a table that has just begun has not seen yet. */
static double rate_factor(const struct table *table, int64_t now_ms)
{
    double age = (double)(now_ms - table->first_ms) / TOP_HALF_LIFE_MS;
    double second = 1000.0 / TOP_HALF_LIFE_MS;
    double seen = 1 - exp2(-(age > second ? age : second));

    return M_LN2 * second / (weight_at(table, now_ms) * seen);
}

void top_read(struct top *top, int64_t now_ms, struct arena *arena, struct top_read *out)
{
    struct table *copy = sys_alloc(sizeof *copy);

    *copy = *take(top);
    shm_lock_release(&top->lock);
    *out = (struct top_read){0};
    if (copy->count > 0) {
        double factor = rate_factor(copy, now_ms);

        out->per_second = copy->total * factor;
        for (size_t i = 0; i < copy->count; i++) {
            const struct name *name = &copy->names[i];

            if (copy->errors[i] <= copy->weights[i] / 2)
                out->items[out->count++] =
                    (struct top_item){.key = arena_copy(arena, (struct str){name->bytes, name->len}),
                                      .cut = name->cut,
                                      .per_second = copy->weights[i] * factor,
                                      .error = copy->errors[i] * factor};
        }
        qsort(out->items, out->count, sizeof *out->items, compare);
    }
    free(copy);
}

void top_sampler_init(struct top_sampler *sampler, struct top *top, uint64_t seed)
{
    *sampler = (struct top_sampler){.top = top, .left = 1, .gap = 1, .dice = seed | 1};
}

/* How far apart the requests that count are to be, after those of the last while. */
static void adapt(struct top_sampler *sampler, int64_t now_ms)
{
    int64_t took_ms = now_ms - sampler->since_ms;

    if (took_ms < ADAPT_MS)
        return;
    int64_t gap = (int64_t)sampler->passed * 1000 / took_ms / EXACT_PER_SECOND;
    sampler->gap = gap < 1 ? 1 : gap > TOP_GAP_MAX ? TOP_GAP_MAX : (unsigned)gap;
    sampler->passed = 0;
    sampler->since_ms = now_ms;
}

void top_rest(struct top_sampler *sampler, int64_t now_ms)
{
    if (sampler->gap == 1 || now_ms - sampler->since_ms < REST_MS)
        return;
    sampler->left = sampler->gap = 1;
    sampler->passed = 0;
    sampler->since_ms = now_ms;
}

void top_sample(struct top_sampler *sampler, struct str key, int64_t now_ms)
{
    top_add(sampler->top, key, sampler->gap, now_ms);
    adapt(sampler, now_ms);
    sampler->dice ^= sampler->dice << 13;
    sampler->dice ^= sampler->dice >> 7;
    sampler->dice ^= sampler->dice << 17;
    /* From 1 to twice the gap less one: chance, lest the requests come in a rhythm of their own. */
    sampler->left = 1 + (unsigned)((sampler->dice >> 32) % (2 * sampler->gap - 1));
    sampler->passed += sampler->left;
}
