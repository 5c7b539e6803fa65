/*
 * l2: the door to the cache that hosts share: asks the breaker, keeps purges that were lost, hands on to the backend.
 *
 * Invariant: while a purge is known that L2 has not been told, nothing that L2 holds is returned, nothing is stored
 * there, and whoever comes by (at most one every 50 ms, on the host) first invalidates everything in it. So no outage
 * brings back what was purged during it.
 *
 * Nothing here knows a protocol or the layout of what is stored: that is the backends' business (l2_backend.h). No
 * failure of L2 becomes an error of a reader: it gets L2_UNAVAILABLE and goes on to the origin. Purges do report
 * failure, so that whoever asked can be told that other hosts may not know yet; on this host the purge holds in any
 * case.
 */
#include "l2/l2.h"

#include <stdlib.h>

#include "base/sys.h"
#include "l2/l2_backend.h"
#include "l2/l2_memory.h"
#include "l2/l2_redis.h"

struct l2 {
    const struct l2_backend *backend;
    void *self; /* the backend's */
    struct l2_health *health;
};

enum err l2_shared_new(const struct config *config, int64_t life_ms, struct l2_shared **out, struct buf *why)
{
    struct l2_shared *shared = sys_calloc(1, sizeof(*shared));
    enum err err = l2_url_parse(str_from(config->redis.url), &shared->url, why);

    shared->life_ms = life_ms;
    if (err == ERR_OK)
        err = l2_health_new(config, &shared->health);
    if (err == ERR_OK && shared->url.kind == L2_URL_MEMORY)
        err = l2_memory_new(config->memory.size, &shared->memory);
    if (err == ERR_FULL)
        buf_printf(why, "there is not enough memory to share; lower `size` in [memory]");
    if (err) {
        l2_shared_free(&shared);
        return err;
    }
    shared->backend = shared->memory ? &l2_memory_backend : &l2_redis_backend;
    l2_url_print(&shared->url, config->redis.database, &shared->where);
    *out = shared;
    return ERR_OK;
}

void l2_shared_free(struct l2_shared **shared)
{
    if (!*shared)
        return;
    l2_health_free(&(*shared)->health);
    l2_memory_free(&(*shared)->memory);
    l2_url_fini(&(*shared)->url);
    buf_free(&(*shared)->where);
    free(*shared);
    *shared = NULL;
}

struct l2 *l2_open(const struct config *config, struct l2_shared *shared, const struct loop *loop)
{
    struct l2 *l2 = sys_calloc(1, sizeof(*l2));

    l2_health_tune(shared->health, config);
    l2->backend = shared->backend;
    l2->health = shared->health;
    l2->self = l2->backend->open(config, shared, loop);
    return l2;
}

void l2_close(struct l2 **l2)
{
    if (!*l2)
        return;
    (*l2)->backend->close((*l2)->self);
    free(*l2);
    *l2 = NULL;
}

/* Whether L2 may be asked and what it says believed. Makes lost purges good where it is this caller's turn. */
static bool usable(struct l2 *l2)
{
    uint64_t epoch;

    if (l2_health_distrusted(l2->health, &epoch)) {
        if (l2_health_heal_due(l2->health) && l2_health_admit(l2->health, false))
            l2->backend->heal(l2->self, epoch);
        if (l2_health_distrusted(l2->health, &epoch))
            return false;
    }
    return l2_health_admit(l2->health, false);
}

void l2_read(struct l2 *l2, struct str key, const struct str *tags, size_t tags_count, l2_read_fn *fn, void *context)
{
    static const struct l2_read unavailable = {.result = L2_UNAVAILABLE};

    if (usable(l2))
        l2->backend->read(l2->self, key, tags, tags_count, fn, context);
    else
        fn(context, &unavailable);
}

enum err l2_fill(struct l2 *l2, struct str key, struct str bytes, int64_t ttl_ms, uint64_t stamp, bool *stored)
{
    if (!usable(l2))
        return ERR_UNAVAILABLE;
    if (ttl_ms <= 0) {
        *stored = false;
        return ERR_OK;
    }
    return l2->backend->fill(l2->self, key, bytes, ttl_ms, stamp, stored);
}

/* What becomes of a purge that ended in ERR. */
static enum err settle(struct l2 *l2, enum err err)
{
    if (err == ERR_OK)
        return ERR_OK;
    l2_health_distrust(l2->health);
    return ERR_UNAVAILABLE;
}

enum err l2_purge_tags(struct l2 *l2, const struct str *tags, size_t tags_count)
{
    if (!l2_health_admit(l2->health, true))
        return settle(l2, ERR_UNAVAILABLE);
    return settle(l2, l2->backend->purge_tags(l2->self, tags, tags_count));
}

enum err l2_purge_all(struct l2 *l2)
{
    uint64_t epoch;

    l2_health_distrusted(l2->health, &epoch);
    if (!l2_health_admit(l2->health, true))
        return settle(l2, ERR_UNAVAILABLE);

    enum err err = l2->backend->purge_all(l2->self);

    if (err == ERR_OK)
        l2_health_trust(l2->health, epoch);
    return settle(l2, err);
}

enum err l2_purge_keys(struct l2 *l2, const struct str *keys, size_t keys_count, size_t *removed)
{
    if (!l2_health_admit(l2->health, true))
        return settle(l2, ERR_UNAVAILABLE);
    return settle(l2, l2->backend->purge_keys(l2->self, keys, keys_count, removed));
}

enum err l2_purge_pattern(struct l2 *l2, struct str pattern, size_t *removed)
{
    if (str_glob_is_literal(pattern))
        return l2_purge_keys(l2, &pattern, 1, removed);
    if (!l2_health_admit(l2->health, true))
        return settle(l2, ERR_UNAVAILABLE);
    return settle(l2, l2->backend->purge_pattern(l2->self, pattern, removed));
}

enum err l2_scan(struct l2 *l2, struct str pattern, uint64_t *cursor, size_t limit, struct arena *arena,
                 struct str **keys, size_t *count)
{
    if (!usable(l2))
        return ERR_UNAVAILABLE;
    return l2->backend->scan(l2->self, pattern, cursor, limit, arena, keys, count);
}

void l2_status(const struct l2_shared *shared, struct l2_status *out)
{
    *out = (struct l2_status){.backend = shared->backend->name, .where = buf_str(&shared->where)};
    l2_health_status(shared->health, out);
}

enum err l2_ping(struct l2 *l2)
{
    uint64_t epoch;

    if (!l2_health_admit(l2->health, true))
        return ERR_UNAVAILABLE;

    enum err err = l2->backend->ping(l2->self);

    if (err == ERR_OK && l2_health_distrusted(l2->health, &epoch) && l2_health_heal_due(l2->health))
        l2->backend->heal(l2->self, epoch);
    return err;
}
