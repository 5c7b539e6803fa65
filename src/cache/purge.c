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

/* Carries out the items of one kind. */
static enum err carry_out_kind(struct cache *cache, enum kind wanted, const struct str *items, size_t count, bool soft,
                               struct purge_result *result)
{
    struct str names[L2_NAMES_MAX];
    struct l2_purge purge = {.kind = kinds[wanted].purge, .soft = soft, .names = names};
    enum err first = ERR_OK;
    enum kind kind;
    const char *why;

    for (size_t i = 0; i <= count; i++) {
        if (i < count && parse(items[i], &kind, &names[purge.names_count], &why) == ERR_OK && kind == wanted)
            purge.names_count++;
        if (purge.names_count == 0 || (purge.names_count < kinds[wanted].room && i < count))
            continue;
        enum err err = carry_out(cache, &purge, result);
        first = first == ERR_OK ? err : first;
        purge.names_count = 0;
    }
    return first;
}

enum err purge_items(struct cache *cache, const struct str *items, size_t count, bool soft, struct purge_result *result)
{
    const char *why;
    enum err first = ERR_OK;

    *result = (struct purge_result){0};
    for (size_t i = 0; i < count && first == ERR_OK; i++)
        first = purge_check(items[i], &why);
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

static struct part *new_part(struct purge_call *whole, enum kind kind)
{
    struct part *part = sys_calloc(1, sizeof *part);

    part->whole = whole;
    part->call.done = on_purged;
    part->purge = (struct l2_purge){.kind = kinds[kind].purge, .names = part->names};
    return part;
}

static void begin_kind(struct purge_call *whole, enum kind wanted, const struct str *items, size_t count)
{
    struct part *part = NULL;
    struct str name;
    enum kind kind;
    const char *why;

    for (size_t i = 0; i <= count; i++) {
        if (i < count && parse(items[i], &kind, &name, &why) == ERR_OK && kind == wanted) {
            part = part ? part : new_part(whole, wanted);
            part->names[part->purge.names_count++] = name;
        }
        if (!part || (part->purge.names_count < kinds[wanted].room && i < count))
            continue;
        whole->left++;
        l2_purge_begin(cache_l2(whole->cache), &part->purge, &part->call);
        part = NULL;
    }
}

void purge_begin(struct cache *cache, const struct str *items, size_t count, struct purge_call *call)
{
    const char *why;

    call->cache = cache;
    call->err = ERR_OK;
    call->left = 1;
    for (size_t i = 0; i < count && call->err == ERR_OK; i++)
        call->err = purge_check(items[i], &why);
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
