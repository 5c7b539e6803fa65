/*
 * cache: the one door to cached responses: look up, compute and fill, and the entry behind a key.
 *
 * It knows nothing of SQL: what computes an answer is handed in. A fetch has two halves, so that the event thread can
 * do the first: cache_lookup finds what there is; cache_compute, where that was not enough, runs the fill, stores its
 * answer and falls back to a stale entry where the origin fails and the policy allows it. A struct cache belongs to one
 * thread.
 */
#ifndef LARDER_CACHE_H
#define LARDER_CACHE_H

#include "base/loop.h"
#include "cache/policy.h"
#include "l2/l2.h"

struct cache;

/* What is asked for. Views must live until the answer has been used. */
struct cache_ask {
    struct str key;
    const struct str *tags; /* at most ENTRY_TAGS_MAX */
    size_t tags_count;
    struct policy policy;
    int64_t now_ms;
};

/* What cache_lookup found. */
struct cache_found {
    bool present;                /* `entry` and `verdict` hold */
    enum policy_verdict verdict; /* never POLICY_DEAD */
    struct entry entry;          /* views live in the arena handed to cache_lookup */
    bool may_fill;
    uint64_t stamp;
    const char *tier; /* "L2"; of what is present */
};

typedef void cache_found_fn(void *context, const struct cache_found *found);

/* Computes the answer: status 200 or 404, content type and body (views in ARENA) in *ENTRY; the rest is filled in
 * here. Any error means that the origin failed. */
typedef enum err cache_fill_fn(void *context, struct arena *arena, struct entry *entry);

enum cache_source { CACHE_FROM_ORIGIN, CACHE_STALE_ON_ERROR };

struct cache_answer {
    struct entry entry;
    enum cache_source source;
    bool stored;
    enum err origin; /* of CACHE_STALE_ON_ERROR: how the fill failed */
};

/* CONFIG and SHARED must outlive it. LOOP for the event thread, whose lookups are then asynchronous; else NULL. */
struct cache *cache_open(const struct config *config, struct l2_shared *shared, const struct loop *loop);
void cache_close(struct cache **cache);
struct l2 *cache_l2(struct cache *cache);

/* Calls FN exactly once, perhaps before it returns; without a loop, always. ASK must live until then; what was found
 * is copied into ARENA. Never blocks on a cache opened with a loop. */
void cache_lookup(struct cache *cache, const struct cache_ask *ask, struct arena *arena, cache_found_fn *fn,
                  void *context);
/* May block. The error of the fill when it failed and no stale entry may stand in. FOUND as cache_lookup gave it,
 * on whatever thread. */
enum err cache_compute(struct cache *cache, const struct cache_ask *ask, const struct cache_found *found,
                       cache_fill_fn *fill, void *context, struct arena *arena, struct cache_answer *out) ERR_CHECKED;
/* The valid entry behind KEY, whatever its age: judged by the tags it carries. ERR_NOT_FOUND, ERR_UNAVAILABLE. For a
 * cache without loop; may block. */
enum err cache_inspect(struct cache *cache, struct str key, struct arena *arena, struct entry *out) ERR_CHECKED;

#endif
