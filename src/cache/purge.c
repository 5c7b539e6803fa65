/*
 * purge: what is to leave the cache, sorted by kind, told to L2 and put into the host's tables.
 *
 * L2 first, the tables second: whoever reads an entry from L2 before it was told has read the host's number before the
 * tables get a later one, so what it puts into L1 is invalid (purged.h). The tables are written whatever L2 said; the
 * log brings the purge back to this host once more, which makes good for a purger that dies in between.
 *
 * Invariant: every item is tried, whatever became of the others, so the worst that a failure leaves behind is more
 * purged than was told. Tags and keys go together in as few round trips as their number allows.
 *
 * It refuses to empty a cache by a pattern: `*` and its likes must be asked for by name, as purge_all. It remembers
 * nothing: a purge that L2 could not be told is its caller's to keep.
 */
#include "cache/purge.h"

#include <stdlib.h>

#include "base/metrics.h"
#include "base/sys.h"

enum { PAGE = 512, PAGE_BYTES = 64 << 10, PAGE_BYTES_MAX = 64 << 20 };

enum kind { KIND_KEY, KIND_TAG, KIND_PATTERN, KIND_ALL, KIND_COUNT };

static const struct {
    struct str name;
    enum l2_purge_kind purge;
    size_t room; /* names that go in one purge */
} kinds[KIND_COUNT] = {[KIND_KEY] = {{"key", 3}, L2_PURGE_KEYS, L2_NAMES_MAX},
                       [KIND_TAG] = {{"tag", 3}, L2_PURGE_TAGS, L2_NAMES_MAX},
                       [KIND_PATTERN] = {{"pattern", 7}, L2_PURGE_PATTERN, 1},
                       [KIND_ALL] = {{"all", 3}, L2_PURGE_ALL, 1}};

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

    for (*kind = KIND_KEY; *kind < KIND_COUNT && !str_equal(word, kinds[*kind].name); (*kind)++)
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

const struct str purge_everything = {"all:*", 5};

enum err purge_check(struct str item, const char **why)
{
    enum kind kind;
    struct str name;

    return parse(item, &kind, &name, why);
}

void purge_note(struct cache_shared *shared, const struct l2_purge *purge, uint64_t id)
{
    struct purged *purged = shared->purged;

    for (size_t i = 0; i < purge->names_count; i++) {
        if (purge->kind == L2_PURGE_KEYS)
            purged_key(purged, purge->names[i], purge->soft);
        else if (purge->kind == L2_PURGE_TAGS)
            purged_tag(purged, purge->names[i], purge->soft);
        else if (purge->kind == L2_PURGE_PATTERN)
            purged_pattern(purged, purge->names[i], purge->soft, id);
    }
    if (purge->kind == L2_PURGE_ALL)
        purged_all(purged, purge->soft);
}

static enum err carry_out(struct cache *cache, const struct l2_purge *purge, struct purge_result *result)
{
    size_t removed = 0;
    uint64_t id = 0;
    enum err err = l2_purge(cache_l2(cache), purge, &removed, &id);

    purge_note(cache_share(cache), purge, id);
    if (err != ERR_OK)
        return err;
    result->removed += removed;
    result->items += (unsigned)purge->names_count;
    if (purge->kind == L2_PURGE_PATTERN)
        result->job = id;
    return ERR_OK;
}

/* The names of the next items of the WANTED kind, from *AT on, as many as go in one purge, to NAMES. How many; 0: there
 * are no more. */
static size_t take_names(enum kind wanted, const struct str *items, size_t count, size_t *at, struct str *names)
{
    size_t taken = 0;
    enum kind kind;
    const char *why;

    for (; *at < count && taken < kinds[wanted].room; ++*at)
        if (parse(items[*at], &kind, &names[taken], &why) == ERR_OK && kind == wanted)
            taken++;
    return taken;
}

/* What is wrong with the first of the items that means nothing. */
static enum err check_items(const struct str *items, size_t count)
{
    const char *why;
    enum err err = ERR_OK;

    for (size_t i = 0; i < count && err == ERR_OK; i++)
        err = purge_check(items[i], &why);
    return err;
}

/* Carries out the items of one kind. */
static enum err carry_out_kind(struct cache *cache, enum kind wanted, const struct str *items, size_t count, bool soft,
                               struct purge_result *result)
{
    struct str names[L2_NAMES_MAX];
    struct l2_purge purge = {.kind = kinds[wanted].purge, .soft = soft, .names = names};
    enum err first = ERR_OK;
    size_t at = 0;

    while ((purge.names_count = take_names(wanted, items, count, &at, names)) > 0) {
        enum err err = carry_out(cache, &purge, result);
        first = first == ERR_OK ? err : first;
    }
    return first;
}

enum err purge_items(struct cache *cache, const struct str *items, size_t count, bool soft, struct purge_result *result)
{
    enum err first = check_items(items, count);

    *result = (struct purge_result){0};
    for (enum kind kind = KIND_KEY; kind < KIND_COUNT; kind++) {
        enum err err = carry_out_kind(cache, kind, items, count, soft, result);

        /* That L2 does not know is worse than an item that means nothing. */
        first = first == ERR_OK || err == ERR_UNAVAILABLE ? err : first;
    }
    metrics_add(METRIC_purges, count);
    return first;
}

/* Names of one kind, told at once. */
struct part {
    struct l2_purge_call call;
    struct purge_call *whole;
    struct l2_purge purge;
    struct str names[L2_NAMES_MAX];
};

static void end_part(struct purge_call *whole, enum err err)
{
    /* That L2 does not know is worse than an item that means nothing. */
    if (whole->err == ERR_OK || err == ERR_UNAVAILABLE)
        whole->err = err;
    if (--whole->left == 0)
        whole->done(whole, whole->err);
}

static void on_purged(struct l2_purge_call *call, enum err err, uint64_t id)
{
    struct part *part = (struct part *)(void *)((char *)call - offsetof(struct part, call));
    struct purge_call *whole = part->whole;

    purge_note(cache_share(whole->cache), &part->purge, id);
    free(part);
    end_part(whole, err);
}

static void begin_kind(struct purge_call *whole, enum kind wanted, const struct str *items, size_t count)
{
    struct str names[L2_NAMES_MAX];
    size_t at = 0, taken;

    while ((taken = take_names(wanted, items, count, &at, names)) > 0) {
        struct part *part = sys_calloc(1, sizeof *part);

        memcpy(part->names, names, taken * sizeof *names);
        part->whole = whole;
        part->call.done = on_purged;
        part->purge = (struct l2_purge){.kind = kinds[wanted].purge, .names = part->names, .names_count = taken};
        whole->left++;
        l2_purge_begin(cache_l2(whole->cache), &part->purge, &part->call);
    }
}

void purge_begin(struct cache *cache, const struct str *items, size_t count, struct purge_call *call)
{
    call->cache = cache;
    call->err = check_items(items, count);
    call->left = 1;
    for (enum kind kind = KIND_KEY; kind < KIND_COUNT; kind++)
        begin_kind(call, kind, items, count);
    metrics_add(METRIC_purges, count);
    end_part(call, ERR_OK);
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
