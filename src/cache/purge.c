/*
 * purge: what is to leave the cache, sorted by kind and handed to L2.
 *
 * Invariant: every item is tried, whatever became of the others, so the worst that a failure leaves behind is more
 * purged than was told. Tags and keys go together in as few round trips as their number allows.
 *
 * It refuses to empty a cache by a pattern: `*` and its likes must be asked for by name, as purge_all. It remembers
 * nothing: that an L2 which could not be told is not read again before all of it is invalid, is L2's own promise.
 */
#include "cache/purge.h"

#include "base/metrics.h"

enum { BATCH = 64, PAGE = 512, PAGE_BYTES = 64 << 10, PAGE_BYTES_MAX = 64 << 20 };

enum kind { KIND_KEY, KIND_TAG, KIND_PATTERN, KIND_COUNT };

static const struct str kind_names[KIND_COUNT] = {
    [KIND_KEY] = {"key", 3}, [KIND_TAG] = {"tag", 3}, [KIND_PATTERN] = {"pattern", 7}};

/* Whether no key is spared: nothing but stars, or stars among question marks. */
static bool matches_all(struct str pattern)
{
    bool star = false;

    for (size_t i = 0; i < pattern.len; i++) {
        if (pattern.p[i] != '*' && pattern.p[i] != '?')
            return false;
        star = star || pattern.p[i] == '*';
    }
    return star;
}

/* ITEM's kind and what it names. Errors as purge_check. */
static enum err parse(struct str item, enum kind *kind, struct str *name, const char **why)
{
    struct str rest = item;
    struct str word = str_cut(&rest, ':');

    for (*kind = KIND_KEY; *kind < KIND_COUNT && !str_equal(word, kind_names[*kind]); (*kind)++)
        ;
    *name = rest;
    if (*kind == KIND_COUNT || !rest.p) {
        *why = "a purge item is key:KEY, tag:TAG or pattern:PATTERN";
        return ERR_SYNTAX;
    }
    if (rest.len == 0) {
        *why = "a purge item must name something after its colon";
        return ERR_SYNTAX;
    }
    if (*kind == KIND_PATTERN && matches_all(rest)) {
        *why = "this pattern matches every key; ask for everything by name where that is meant";
        return ERR_DENIED;
    }
    return ERR_OK;
}

enum err purge_check(struct str item, const char **why)
{
    enum kind kind;
    struct str name;

    return parse(item, &kind, &name, why);
}

/* Names of one kind on their way to L2. */
struct batch {
    enum kind kind;
    struct str names[BATCH];
    size_t count;
};

static enum err flush(struct cache *cache, struct batch *batch, struct purge_result *result)
{
    size_t removed = 0;
    enum err err = ERR_OK;

    if (batch->count == 0)
        return ERR_OK;
    if (batch->kind == KIND_TAG)
        err = l2_purge_tags(cache_l2(cache), batch->names, batch->count);
    else if (batch->kind == KIND_KEY)
        err = l2_purge_keys(cache_l2(cache), batch->names, batch->count, &removed);
    else
        err = l2_purge_pattern(cache_l2(cache), batch->names[0], &removed);
    if (err == ERR_OK) {
        result->removed += removed;
        result->items += (unsigned)batch->count;
    }
    batch->count = 0;
    return err;
}

/* Carries out the items of KIND. */
static enum err carry_out(struct cache *cache, enum kind wanted, const struct str *items, size_t count,
                          struct purge_result *result)
{
    struct batch batch = {.kind = wanted, .count = 0};
    size_t room = wanted == KIND_PATTERN ? 1 : BATCH;
    enum err first = ERR_OK, err;
    enum kind kind;
    struct str name;
    const char *why;

    for (size_t i = 0; i < count; i++) {
        if (parse(items[i], &kind, &name, &why) != ERR_OK || kind != wanted)
            continue;
        batch.names[batch.count++] = name;
        if (batch.count < room)
            continue;
        err = flush(cache, &batch, result);
        first = first == ERR_OK ? err : first;
    }
    err = flush(cache, &batch, result);
    return first == ERR_OK ? err : first;
}

enum err purge_items(struct cache *cache, const struct str *items, size_t count, struct purge_result *result)
{
    const char *why;
    enum err first = ERR_OK;

    *result = (struct purge_result){0};
    for (size_t i = 0; i < count && first == ERR_OK; i++)
        first = purge_check(items[i], &why);
    for (enum kind kind = KIND_KEY; kind < KIND_COUNT; kind++) {
        enum err err = carry_out(cache, kind, items, count, result);

        /* That L2 does not know is worse than an item that means nothing. */
        first = first == ERR_OK || err == ERR_UNAVAILABLE ? err : first;
    }
    metrics_add(METRIC_purges, count);
    return first;
}

enum err purge_all(struct cache *cache)
{
    metrics_add(METRIC_purges, 1);
    return l2_purge_all(cache_l2(cache));
}

enum err purge_count(struct cache *cache, struct str pattern, size_t *count)
{
    struct arena *arena = arena_new(PAGE_BYTES, PAGE_BYTES_MAX);
    uint64_t cursor = 0;
    size_t total = 0;
    enum err err;

    do {
        struct str *keys;
        size_t found = 0;

        arena_reset(arena);
        err = l2_scan(cache_l2(cache), pattern, &cursor, PAGE, arena, &keys, &found);
        total += found;
    } while (err == ERR_OK && cursor != 0);
    arena_free(&arena);
    if (err == ERR_OK)
        *count = total;
    return err;
}
