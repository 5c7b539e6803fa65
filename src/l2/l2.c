/*
 * l2: the door to the cache that hosts share: asks the breaker and the host's trust, hands on to the backend.
 *
 * Invariant: while L2 is distrusted nothing that it holds is returned, nothing is claimed or stored there, and what was
 * found by a question that was asked before is not returned either. So no outage brings back what was purged during it.
 * Distrust begins here where a purge cannot be told to L2; it ends only by the word of whoever keeps such purges and
 * follows the log (l2_trust).
 *
 * Nothing here knows a protocol or the layout of what is stored: that is the backends' business (l2_backend.h). No
 * failure of L2 becomes an error of a reader: it gets L2_UNAVAILABLE and goes on to the origin. Purges do report
 * failure, so that whoever asked can keep and repeat them; they pass in spite of distrust, since they are what ends it.
 */
#include "l2/l2.h"

#include <stdlib.h>

#include "base/sys.h"
#include "l2/l2_backend.h"
#include "l2/l2_memory.h"
#include "l2/l2_redis.h"

enum err l2_shared_new(const struct config *config, int64_t life_ms, struct l2_shared **out, struct buf *why)
{
    struct l2_shared *shared = sys_calloc(1, sizeof(*shared));
    struct buf reason = {0};
    enum err err = l2_url_parse(str_from(config->redis.url), &shared->url, &reason);

    if (err != ERR_OK)
        buf_printf(why, "`url` in [redis]: %s", reason.p);
    buf_free(&reason);
    shared->life_ms = life_ms;
    if (err == ERR_OK)
        err = l2_health_new(config, &shared->health);
    if (err == ERR_OK)
        err = l2_boards_host_new(&shared->boards);
    if (err == ERR_OK && shared->url.kind == L2_URL_MEMORY)
        err = l2_memory_new(config->memory.size, &shared->memory);
    if (err == ERR_FULL)
        buf_printf(why, "there is not enough memory to share; lower `size` in [memory]");
    if (err) {
        l2_shared_free(&shared);
        return err;
    }
    sys_random(&shared->host, sizeof(shared->host));
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
    l2_boards_host_free(&(*shared)->boards);
    l2_memory_free(&(*shared)->memory);
    l2_url_fini(&(*shared)->url);
    buf_free(&(*shared)->where);
    free(*shared);
    *shared = NULL;
}

bool l2_shared_has_log(const struct l2_shared *shared)
{
    return shared->backend->has_log;
}

struct l2 *l2_open(const struct config *config, struct l2_shared *shared, const struct loop *loop)
{
    struct l2 *l2 = sys_calloc(1, sizeof(*l2));

    l2_health_tune(shared->health, config);
    l2->shared = shared;
    l2->self = shared->backend->open(config, shared, loop);
    return l2;
}

void l2_close(struct l2 **l2)
{
    if (!*l2)
        return;
    (*l2)->shared->backend->close((*l2)->self);
    free(*l2);
    *l2 = NULL;
}

void l2_read(struct l2 *l2, struct str key, const struct str *tags, size_t tags_count, l2_read_fn *fn, void *context)
{
    static const struct l2_read unavailable = {.result = L2_UNAVAILABLE};
    uint64_t epoch;

    if (l2_health_usable(l2->shared->health, &epoch))
        l2->shared->backend->read(l2->self, key, tags, tags_count, epoch, fn, context);
    else
        fn(context, &unavailable);
}

static uint64_t draw_token(void)
{
    uint64_t token;

    do
        sys_random(&token, sizeof(token));
    while (token == 0);
    return token;
}

void l2_claim(struct l2 *l2, struct str key, const struct str *tags, size_t tags_count, struct str spent,
              int64_t life_ms, struct l2_claim *out)
{
    struct l2_claim claim = {.result = L2_CLAIM_UNAVAILABLE};
    uint64_t epoch;

    if (spent.len > L2_SPENT_MAX)
        spent.len = L2_SPENT_MAX;
    if (l2_health_usable(l2->shared->health, &epoch)) {
        claim.lease.token = draw_token();
        l2->shared->backend->claim(l2->self, key, tags, tags_count, spent, life_ms > 0 ? life_ms : 1, &claim);
    }
    /* A lease that was granted stands: its stamp is older than whatever L2 has yet to be told. */
    if (claim.result == L2_CLAIM_FOUND && !l2_health_holds(l2->shared->health, epoch))
        claim.result = L2_CLAIM_UNAVAILABLE;
    *out = (struct l2_claim){.result = claim.result};
    if (claim.result == L2_CLAIM_TAKEN)
        out->lease = claim.lease;
    if (claim.result == L2_CLAIM_FOUND) {
        out->bytes = claim.bytes;
        out->soft = claim.soft;
    }
}

enum err l2_fill(struct l2 *l2, struct str key, const struct str *tags, size_t tags_count, struct str bytes,
                 int64_t ttl_ms, const struct l2_lease *lease, bool *stored)
{
    uint64_t epoch;

    if (lease->token == 0 || ttl_ms <= 0) {
        l2_release(l2, key, lease);
        *stored = false;
        return ERR_OK;
    }
    if (!l2_health_usable(l2->shared->health, &epoch))
        return ERR_UNAVAILABLE;
    return l2->shared->backend->fill(l2->self, key, tags, tags_count, bytes, ttl_ms, lease, stored);
}

void l2_release(struct l2 *l2, struct str key, const struct l2_lease *lease)
{
    if (lease->token != 0 && l2_health_admit(l2->shared->health, false))
        l2->shared->backend->release(l2->self, key, lease);
}

enum err l2_scan(struct l2 *l2, struct str pattern, uint64_t *cursor, size_t limit, struct arena *arena,
                 struct str **keys, size_t *count)
{
    uint64_t epoch;

    if (!l2_health_usable(l2->shared->health, &epoch))
        return ERR_UNAVAILABLE;
    return l2->shared->backend->scan(l2->self, pattern, cursor, limit, arena, keys, count);
}

void l2_distrust(struct l2_shared *shared)
{
    l2_health_distrust(shared->health, "it may not have been told all that was purged");
}

void l2_begin(struct l2_shared *shared)
{
    l2_health_begin(shared->health, "its purge log is not being followed");
}

bool l2_distrusted(const struct l2_shared *shared, uint64_t *epoch)
{
    return l2_health_distrusted(shared->health, epoch);
}

void l2_trip(struct l2_shared *shared, const char *why)
{
    l2_health_trip(shared->health, why);
}

void l2_revive(struct l2_shared *shared)
{
    l2_health_revive(shared->health);
}

void l2_trust(struct l2_shared *shared, uint64_t epoch)
{
    l2_health_trust(shared->health, epoch);
}

uint64_t l2_seen(const struct l2_shared *shared)
{
    return l2_health_seen(shared->health);
}

void l2_saw(struct l2_shared *shared, uint64_t number)
{
    l2_health_saw(shared->health, number);
}

void l2_status(const struct l2_shared *shared, struct l2_status *out)
{
    *out = (struct l2_status){.backend = shared->backend->name, .where = buf_str(&shared->where)};
    l2_health_status(shared->health, out);
}

enum err l2_ping(struct l2 *l2)
{
    return l2_health_admit(l2->shared->health, true) ? l2->shared->backend->ping(l2->self) : ERR_UNAVAILABLE;
}

enum err l2_measure(struct l2 *l2, struct l2_size *out)
{
    if (!l2->shared->backend->measure)
        return ERR_NOT_FOUND;
    return l2_health_admit(l2->shared->health, true) ? l2->shared->backend->measure(l2->self, out) : ERR_UNAVAILABLE;
}

/* What l2_job.h promises of a failure. */
static enum err settle_job(enum err err)
{
    return err == ERR_OK || err == ERR_NOT_FOUND || err == ERR_DENIED ? err : ERR_UNAVAILABLE;
}

enum err l2_job_read(struct l2 *l2, uint64_t id, struct arena *arena, struct l2_job *out)
{
    if (!l2_health_admit(l2->shared->health, true))
        return ERR_UNAVAILABLE;
    return settle_job(l2->shared->backend->read_job(l2->self, id, arena, out));
}

enum err l2_job_count(struct l2 *l2, uint64_t *count)
{
    if (!l2->shared->backend->count_jobs) {
        *count = 0;
        return ERR_OK;
    }
    if (!l2_health_admit(l2->shared->health, true))
        return ERR_UNAVAILABLE;
    return settle_job(l2->shared->backend->count_jobs(l2->self, count));
}

enum err l2_job_take(struct l2 *l2, uint64_t worker, struct arena *arena, struct l2_job *out)
{
    if (!l2_health_admit(l2->shared->health, true))
        return ERR_UNAVAILABLE;
    return settle_job(l2->shared->backend->take_job(l2->self, worker, arena, out));
}

enum err l2_job_step(struct l2 *l2, uint64_t worker, size_t batch, struct l2_job *job)
{
    if (!l2_health_admit(l2->shared->health, true))
        return ERR_UNAVAILABLE;
    return settle_job(l2->shared->backend->step_job(l2->self, worker, batch, job));
}
