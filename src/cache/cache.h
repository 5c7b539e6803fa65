/*
 * cache: the one door to cached responses: look up, wait for whoever computes the same, compute and fill.
 *
 * It knows nothing of SQL: what computes an answer is handed in. A fetch has two halves, so that the event thread can
 * do the first: cache_lookup finds what there is, in L1 and then in L2, and waits for another one's fill, on no thread;
 * cache_compute, where that was not enough, runs the fill under the key's leases, stores its answer and falls back to a
 * stale entry where the origin fails and the policy allows it. A struct cache belongs to one thread.
 */
#ifndef LARDER_CACHE_H
#define LARDER_CACHE_H

#include "base/loop.h"
#include "cache/cache_shared.h"
#include "cache/policy.h"

struct cache;

/* What is asked for. Views must live until the answer has been used. */
struct cache_ask {
    struct str key;
    uint64_t variant; /* of what else the answer depends on, the tags first of all: only its own are found in L1 */
    const struct str *tags; /* at most ENTRY_TAGS_MAX */
    size_t tags_count;
    /* Sets the tags; NULL where they are set. For most hits they are never needed. */
    void (*find_tags)(struct cache_ask *ask, void *context);
    void *tags_context;
    bool gzip; /* a compressed body is welcome */
    struct policy policy;
    int64_t fill_ms;      /* the longest that a fill may take */
    int64_t now_ms;       /* since the epoch */
    int64_t monotonic_ms; /* the same moment */
};

/* Sets the tags of ASK where they are not set yet. */
void cache_find_tags(struct cache_ask *ask);

enum cache_next {
    CACHE_ANSWER,  /* `entry` is what to answer */
    CACHE_COMPUTE, /* cache_compute is to be called */
    CACHE_FAILED   /* the fill that was waited for failed; `entry`, when present, may stand in */
};

/* What cache_lookup found. */
struct cache_found {
    enum cache_next next;
    bool present;                /* `entry` and `verdict` hold */
    enum policy_verdict verdict; /* never POLICY_DEAD */
    struct entry entry;          /* views live in the arena handed to cache_lookup; `body` or `gzip` */
    const char *tier;            /* "L1", "L2"; of what is present */
    bool collapsed;              /* waited for another one's fill */
    bool refresh; /* with CACHE_ANSWER: the caller is to call cache_compute in the background, or cache_leave */
    /* The rest is between cache_lookup and cache_compute. */
    bool leased;
    struct lease lease;
    struct str spent;
};

/* FOUND is lent until the request that asked has been answered. */
typedef void cache_found_fn(void *context, struct cache_found *found);

/* Computes the answer: status 200 or 404, content type and body (views in ARENA) in *ENTRY; the rest is filled in
 * here. Any error means that the origin failed. */
typedef enum err cache_fill_fn(void *context, struct arena *arena, struct entry *entry);

enum cache_source { CACHE_FROM_ORIGIN, CACHE_FROM_OTHER /* filled by another host meanwhile */, CACHE_STALE_ON_ERROR };

struct cache_answer {
    struct entry entry; /* `body` or `gzip` */
    enum cache_source source;
    bool stored;
    enum err origin; /* of CACHE_STALE_ON_ERROR: how the fill failed */
};

/* CONFIG and SHARED must outlive it. LOOP for the event thread, whose lookups are then asynchronous; else NULL. */
struct cache *cache_open(const struct config *config, struct cache_shared *shared, const struct loop *loop);
/* A cache without loop, too, asks for what is stale or soon will be to be refreshed in the background: its owner can.
 */
void cache_let_refresh(struct cache *cache);
/* Nobody may wait any longer. */
void cache_close(struct cache **cache);
struct l2 *cache_l2(struct cache *cache);
struct cache_shared *cache_share(struct cache *cache);

/* Calls FN exactly once, perhaps before it returns; without a loop, always, and then waits for nobody. ASK must live
 * until then; what was found lies in ARENA. Never blocks on a cache opened with a loop. */
void cache_lookup(struct cache *cache, struct cache_ask *ask, struct arena *arena, cache_found_fn *fn, void *context);
/* May block. The error of the fill when it failed and no stale entry may stand in. FOUND as cache_lookup gave it, on
 * whatever thread. BACKGROUND: nobody waits for the answer, so another host's fill is not waited for (ERR_BUSY). */
enum err cache_compute(struct cache *cache, const struct cache_ask *ask, const struct cache_found *found,
                       bool background, cache_fill_fn *fill, void *context, struct arena *arena,
                       struct cache_answer *out) ERR_CHECKED;
/* Gives back what FOUND was given for a cache_compute that will not be called. */
void cache_leave(struct cache *cache, const struct cache_found *found);

#endif
