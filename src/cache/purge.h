/*
 * purge: carries out purges by key, tag and pattern, on every tier there is.
 *
 * An item is text as resources write it: `key:K`, `tag:T`, `pattern:P`; and `all:*`, for everything, which a pattern
 * that matches every key is not taken for. A soft purge marks stale what a hard one removes.
 */
#ifndef LARDER_PURGE_H
#define LARDER_PURGE_H

#include "cache/cache.h"
#include "l2/l2_purge.h"

/* The item for everything. */
extern const struct str purge_everything;

struct purge_result {
    size_t removed; /* keys removed by key; by pattern only where the backend is done with it already */
    unsigned items; /* carried out */
    uint64_t job;   /* which removes what the last pattern matches; 0 without one */
};

/* Checks one item's form. ERR_SYNTAX (no such kind, nothing after the colon), ERR_DENIED (a pattern that matches every
 * key). *WHY is a sentence, static text, set on error only. */
enum err purge_check(struct str item, const char **why) ERR_CHECKED;
/* Carries out ITEMS, all of them even when one fails; the first error is returned. In force on this host when it
 * returns, in any case. ERR_UNAVAILABLE when L2 could not be told: L2 is distrusted then, and ITEMS are the caller's to
 * keep (in the outbox) until it can. Otherwise as purge_check. *RESULT is what was done, and is set in any case. May
 * block. */
enum err purge_items(struct cache *cache, const struct str *items, size_t count, bool soft,
                     struct purge_result *result) ERR_CHECKED;
/* Items on their way; embedded by its owner until DONE is called. */
struct purge_call {
    void (*done)(struct purge_call *call, enum err err); /* as purge_items returns */
    struct cache *cache;                                 /* this module's */
    enum err err;
    unsigned left;
};

/* The same without waiting, for a cache with loop, and hard. What ITEMS name must live until DONE is called: once,
 * perhaps before this returns. In force on this host then. */
void purge_begin(struct cache *cache, const struct str *items, size_t count, struct purge_call *call);
/* Puts PURGE, number ID of the log, into the host's tables alone: it was told by another host. */
void purge_note(struct cache_shared *shared, const struct l2_purge *purge, uint64_t id);
/* How many keys PATTERN matches now. ERR_UNAVAILABLE. May block. */
enum err purge_count(struct cache *cache, struct str pattern, size_t *count) ERR_CHECKED;

#endif
