/*
 * l2_health: the circuit breaker in front of L2, and whether L2 can be trusted.
 *
 * The breaker opens after so many failures in a row, lets nobody through for a while, is then half open (one probe at a
 * time), and closes after so many successes. A probe that is never reported on, because its process died, is forgotten
 * after PROBE_LOST_MS.
 *
 * Distrust is a pair of counters: `lost` counts the reasons for it (a purge that L2 was not told, contact with the log
 * lost), `made_good` says up to which of them L2 has been told everything since. Invariant: `made_good` never passes a
 * reason that came up after the telling began, so distrust cannot end too early.
 *
 * All of it is atomics; the lock guards the texts of errors alone, is taken on failures only, and a holder that dies
 * leaves no more than a torn text. Neither states nor counters are ever guessed from time but for the two waits named
 * above.
 */
#include "l2/l2_health.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/metrics.h"
#include "base/shm.h"
#include "base/sys.h"

enum { TEXTS = 8, TEXT_SIZE = 192, PROBE_LOST_MS = 1000 };

struct l2_health {
    /* Set at the start and by a reload. */
    _Atomic uint64_t failures_limit, successes_limit;
    _Atomic int64_t open_ms, probe_lost_ms;

    /* The breaker. */
    _Atomic int breaker; /* enum l2_breaker */
    _Atomic uint64_t failures, successes, opened;
    _Atomic int64_t closed_until_ms, probe_until_ms;

    /* Trust. */
    _Atomic uint64_t lost, made_good, seen;
    _Atomic bool quiet; /* the first reason was no more than that this host has just begun */

    /* The last error: a text stays whole until TEXTS - 1 others have followed. */
    struct shm_lock lock;
    _Atomic unsigned texts_count;
    _Atomic int64_t last_error_ms;
    char texts[TEXTS][TEXT_SIZE];
};

enum err l2_health_new(const struct config *config, struct l2_health **out)
{
    void *mapping;
    enum err err = shm_map(sizeof(struct l2_health), &mapping);

    if (err)
        return err;
    *out = mapping;
    shm_lock_init(&(*out)->lock);
    l2_health_tune(*out, config);
    return ERR_OK;
}

void l2_health_free(struct l2_health **health)
{
    void *mapping = *health;

    if (!mapping)
        return;
    *health = NULL;
    shm_unmap(&mapping, sizeof(struct l2_health));
}

void l2_health_tune(struct l2_health *health, const struct config *config)
{
    health->failures_limit = config->breaker.failures > 0 ? (uint64_t)config->breaker.failures : 1;
    health->successes_limit = config->breaker.successes > 0 ? (uint64_t)config->breaker.successes : 1;
    health->open_ms = config->breaker.open_ms;
    health->probe_lost_ms = config->redis.connect_timeout_ms + config->redis.timeout_ms + PROBE_LOST_MS;
}

/* Takes the turn that *NEXT_MS gives out, and gives out the next one DELAY_MS from now. One of many callers wins. */
static bool take_turn(_Atomic int64_t *next_ms, int64_t now_ms, int64_t delay_ms)
{
    int64_t due_ms = *next_ms;

    return now_ms >= due_ms && atomic_compare_exchange_strong(next_ms, &due_ms, now_ms + delay_ms);
}

static bool admit(struct l2_health *health, bool urgent)
{
    int64_t now_ms = sys_monotonic_ms();
    int expected = L2_OPEN;

    if (health->breaker == L2_OPEN) {
        if (now_ms < health->closed_until_ms)
            return false;
        if (atomic_compare_exchange_strong(&health->breaker, &expected, L2_HALF_OPEN))
            metrics_add(METRIC_breaker_half_opened, 1);
    }
    return health->breaker == L2_CLOSED || take_turn(&health->probe_until_ms, now_ms, health->probe_lost_ms) || urgent;
}

bool l2_health_admit(struct l2_health *health, bool urgent)
{
    if (atomic_load_explicit(&health->breaker, memory_order_relaxed) == L2_CLOSED)
        return true;
    if (admit(health, urgent))
        return true;
    metrics_add(METRIC_l2_skipped, 1);
    return false;
}

static void tell_closed(void)
{
    metrics_add(METRIC_breaker_closed, 1);
    log_event(LOG_LEVEL_NOTICE, "l2_breaker_closed");
}

void l2_health_succeeded(struct l2_health *health)
{
    int expected = L2_HALF_OPEN;

    if (atomic_load_explicit(&health->breaker, memory_order_relaxed) == L2_CLOSED) {
        if (atomic_load_explicit(&health->failures, memory_order_relaxed) != 0)
            health->failures = 0;
        return;
    }
    if (health->breaker != L2_HALF_OPEN)
        return;
    health->probe_until_ms = 0;
    if (atomic_fetch_add(&health->successes, 1) + 1 < health->successes_limit)
        return;
    health->failures = 0;
    if (atomic_compare_exchange_strong(&health->breaker, &expected, L2_CLOSED))
        tell_closed();
}

void l2_health_revive(struct l2_health *health)
{
    health->probe_until_ms = 0;
    health->failures = 0;
    if (atomic_exchange(&health->breaker, L2_CLOSED) != L2_CLOSED)
        tell_closed();
}

void l2_health_note(struct l2_health *health, const char *why)
{
    if (shm_lock_take(&health->lock))
        health->texts[0][TEXT_SIZE - 1] = '\0';
    snprintf(health->texts[health->texts_count % TEXTS], TEXT_SIZE, "%s", why);
    health->texts_count++;
    health->last_error_ms = sys_now_ms();
    shm_lock_release(&health->lock);
}

static void open_breaker(struct l2_health *health, int from, const char *why)
{
    int64_t open_ms = health->open_ms;

    health->closed_until_ms = sys_monotonic_ms() + open_ms;
    if (from == L2_OPEN || !atomic_compare_exchange_strong(&health->breaker, &from, L2_OPEN))
        return;
    health->opened++;
    metrics_add(METRIC_breaker_opened, 1);
    health->failures = 0;
    health->successes = 0;
    health->probe_until_ms = 0;
    log_event(LOG_LEVEL_WARNING, "l2_breaker_open", LOG_TEXT("why", why), LOG_INT("open_ms", open_ms));
}

void l2_health_trip(struct l2_health *health, const char *why)
{
    int breaker = health->breaker;

    l2_health_note(health, why);
    open_breaker(health, breaker, why);
}

void l2_health_failed(struct l2_health *health, const char *why)
{
    int breaker = health->breaker;

    metrics_add(METRIC_l2_failures, 1);
    l2_health_note(health, why);
    if (breaker == L2_HALF_OPEN)
        open_breaker(health, L2_HALF_OPEN, why);
    else if (breaker == L2_CLOSED && atomic_fetch_add(&health->failures, 1) + 1 >= health->failures_limit)
        open_breaker(health, L2_CLOSED, why);
}

void l2_health_distrust(struct l2_health *health, const char *why)
{
    uint64_t lost = atomic_fetch_add(&health->lost, 1);

    if (atomic_exchange(&health->quiet, false) || lost == health->made_good)
        log_event(LOG_LEVEL_WARNING, "l2_distrusted", LOG_TEXT("why", why));
}

void l2_health_begin(struct l2_health *health, const char *why)
{
    uint64_t none = 0;

    /* First, so that a reason which comes right behind is told of. */
    health->quiet = true;
    if (!atomic_compare_exchange_strong(&health->lost, &none, 1)) {
        health->quiet = false;
        l2_health_distrust(health, why);
    }
}

bool l2_health_distrusted(const struct l2_health *health, uint64_t *epoch)
{
    *epoch = health->lost;
    return *epoch != health->made_good;
}

bool l2_health_usable(struct l2_health *health, uint64_t *epoch)
{
    return !l2_health_distrusted(health, epoch) && l2_health_admit(health, false);
}

bool l2_health_holds(const struct l2_health *health, uint64_t epoch)
{
    uint64_t now;

    return !l2_health_distrusted(health, &now) && now == epoch;
}

void l2_health_trust(struct l2_health *health, uint64_t epoch)
{
    uint64_t made_good = health->made_good;

    while (made_good < epoch && !atomic_compare_exchange_weak(&health->made_good, &made_good, epoch))
        ;
    if (made_good < epoch && health->lost == epoch && !atomic_exchange(&health->quiet, false))
        log_event(LOG_LEVEL_NOTICE, "l2_trusted");
}

uint64_t l2_health_seen(const struct l2_health *health)
{
    return atomic_load_explicit(&health->seen, memory_order_acquire);
}

void l2_health_saw(struct l2_health *health, uint64_t seq)
{
    uint64_t seen = atomic_load_explicit(&health->seen, memory_order_relaxed);

    while (seen < seq && !atomic_compare_exchange_weak(&health->seen, &seen, seq))
        ;
}

void l2_health_status(const struct l2_health *health, struct l2_status *out)
{
    unsigned count = health->texts_count;
    uint64_t epoch;

    out->breaker = (enum l2_breaker)health->breaker;
    out->breaker_opened = health->opened;
    out->distrusted = l2_health_distrusted(health, &epoch);
    out->last_error = count ? str_from(health->texts[(count - 1) % TEXTS]) : (struct str){NULL, 0};
    out->last_error_ms = health->last_error_ms;
}
