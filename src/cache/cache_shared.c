/*
 * cache_shared: makes the shared half of the cache, and keeps what has no other place: a debt, and where the host
 * stands in the log.
 *
 * The debt is a pair of counters: purges that were lost, and up to which of them everything has been purged since.
 * Invariant: what is repaid was read before L2 was purged, so a purge that is lost meanwhile stays owed.
 *
 * All mappings are made here, before any process is forked; nothing is ever added to them later. Where the hosts are
 * one (by configuration, or because `memory:` has no others), the tables of purges are trusted for good: every purge
 * there is comes through this host. It refuses to know what the parts hold.
 */
#include "cache/cache_shared.h"

#include <stdlib.h>

#include "base/shm.h"
#include "base/sys.h"

struct cache_shared_notes {
    _Atomic uint64_t owed, repaid;
    struct l2_log_place place;
};

enum err cache_shared_new(const struct config *config, int64_t life_ms, struct cache_shared **out, struct buf *why)
{
    struct cache_shared *shared = sys_calloc(1, sizeof *shared);
    void *notes = NULL;
    enum err err = l2_shared_new(config, life_ms, &shared->l2, why);
    bool alone = err == ERR_OK && (config->cache.hosts == CONFIG_HOSTS_ONE || !l2_shared_has_log(shared->l2));

    if (err == ERR_OK)
        err = purged_new(alone, &shared->purged);
    if (err == ERR_OK)
        err = l1_new(config->l1.size, shared->purged, &shared->l1);
    if (err == ERR_OK)
        err = lease_table_new(&shared->leases);
    if (err == ERR_OK)
        err = top_new(&shared->top);
    if (err == ERR_OK)
        err = shm_map(sizeof *shared->notes, &notes);
    shared->notes = notes;
    if (err != ERR_OK) {
        if (why->len == 0)
            buf_add_str(why, STR("there is not enough memory to share; lower `size` in [l1]"));
        cache_shared_free(&shared);
        return err;
    }
    *out = shared;
    return ERR_OK;
}

void cache_shared_free(struct cache_shared **shared_ptr)
{
    struct cache_shared *shared = *shared_ptr;

    if (!shared)
        return;
    void *notes = shared->notes;
    shm_unmap(&notes, sizeof *shared->notes);
    top_free(&shared->top);
    lease_table_free(&shared->leases);
    l1_free(&shared->l1);
    purged_free(&shared->purged);
    l2_shared_free(&shared->l2);
    free(shared);
    *shared_ptr = NULL;
}

void cache_shared_owe_all(struct cache_shared *shared)
{
    atomic_fetch_add(&shared->notes->owed, 1);
}

bool cache_shared_owes_all(const struct cache_shared *shared, uint64_t *debt)
{
    *debt = atomic_load(&shared->notes->owed);
    return *debt != atomic_load(&shared->notes->repaid);
}

void cache_shared_repay(struct cache_shared *shared, uint64_t debt)
{
    atomic_store(&shared->notes->repaid, debt);
}

void cache_shared_note_place(struct cache_shared *shared, const struct l2_log_place *place)
{
    struct l2_log_place *kept = &shared->notes->place;

    if (strcmp(kept->run_id, place->run_id) != 0) {
        /* Whoever dies in here leaves no place rather than a number of another server's. */
        *(volatile uint64_t *)&kept->number = 0;
        atomic_thread_fence(memory_order_seq_cst);
        memcpy(kept->run_id, place->run_id, sizeof kept->run_id);
        atomic_thread_fence(memory_order_seq_cst);
    }
    *(volatile uint64_t *)&kept->number = place->number;
}

void cache_shared_place(const struct cache_shared *shared, struct l2_log_place *out)
{
    *out = shared->notes->place;
}
