/*
 * cache_shared: what the processes of a host share of the cache: L1, the tables of purges, leases, the keys that are
 * asked for most, L2's health and what is owed to it. Made before the fork, for one configuration.
 */
#ifndef LARDER_CACHE_SHARED_H
#define LARDER_CACHE_SHARED_H

#include <stdatomic.h>

#include "cache/l1.h"
#include "cache/lease.h"
#include "cache/top.h"
#include "l2/l2_log.h"

struct cache_shared {
    struct l2_shared *l2;
    struct purged *purged;
    struct l1 *l1;
    struct lease_table *leases;
    struct top *top;
    struct cache_shared_notes *notes;
    _Atomic unsigned waiting; /* of this process alone: pool threads that wait for another host's fill */
};

/* LIFE_MS: the longest life of an entry. ERR_SYNTAX and ERR_FULL with WHY. */
enum err cache_shared_new(const struct config *config, int64_t life_ms, struct cache_shared **out,
                          struct buf *why) ERR_CHECKED;
void cache_shared_free(struct cache_shared **shared);

/* Where the tables of purges stand in L2's log; kept for whoever follows it next. */
void cache_shared_note_place(struct cache_shared *shared, const struct l2_log_place *place);
void cache_shared_place(const struct cache_shared *shared, struct l2_log_place *out);
/* A purge was neither told to L2 nor kept anywhere: everything in L2 is to be purged before it is trusted again. */
void cache_shared_owe_all(struct cache_shared *shared);
/* Whether that is so; *DEBT is what cache_shared_repay is then to be given. */
bool cache_shared_owes_all(const struct cache_shared *shared, uint64_t *debt);
void cache_shared_repay(struct cache_shared *shared, uint64_t debt);

#endif
