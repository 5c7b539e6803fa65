/*
 * lease: places in shared memory, one for each key that is being filled, or whose fill has failed of late.
 *
 * A hash belongs to one bucket of WAYS places, and some buckets make a shard with a lock. Everything about a place is
 * decided under that lock: whoever enters itself among those who wait has either done so before the lease ended, and is
 * then woken, or finds it ended. The eventfds are written once the lock is free. Whoever dies just between the two, or
 * holding the lease, leaves somebody unwoken; that is why a waiter also asks again by itself now and then.
 *
 * Invariant: a hash has at most one place, and of all leases ever given on it only the one with the place's number may
 * still hold. It is over when it was released, its time is up, or its holder is dead. Who waits at a place goes on
 * waiting when the next lease on the same hash is given there, and the outcome of the fill before is remembered beside
 * it; a place is given to another hash only when nobody holds it, the one that ended first before all others.
 *
 * A shard whose lock was left by a dead holder forgets everything, and wakes whoever may have waited there. Lock order:
 * the shard's lock is the innermost, and never two. It refuses to wait, to read a clock, and to know what is filled.
 */
#include "cache/lease.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/shm.h"
#include "base/sys.h"

enum { SHARDS = 16, BUCKETS = 32, WAYS = 8, SHARD_PLACES = BUCKETS * WAYS };

#define SEED UINT64_C(0x6c65617365)

/* All zeroes: of no hash. */
struct place {
    uint64_t number; /* of the last lease; 0: there was none */
    uint64_t hash;
    uint64_t waiting; /* a bit for each worker */
    int64_t ends_ms;
    int64_t asked_ms;          /* the latest moment at which somebody was told that it is held */
    int64_t ended_ms;          /* the last fill that came to nothing; 0: none */
    enum lease_result outcome; /* of that fill */
    pid_t holder;              /* 0: nobody holds it */
};

struct shard {
    _Alignas(64) struct shm_lock lock; /* of the rest */
    struct place places[SHARD_PLACES];
};

struct shared {
    _Atomic uint64_t number; /* the last one given */
    struct shard shards[SHARDS];
};

/* Its own copy in each process. */
struct lease_table {
    struct shared *shared;
    _Atomic pid_t *self; /* cleared by a fork; NULL where the system cannot do that */
    int fds[LEASE_WORKERS_MAX];
};

/* A visit to the bucket of a hash, with its lock. */
struct visit {
    struct lease_table *table;
    struct shard *shard;
    struct place *bucket;
    uint64_t hash;
    int64_t now_ms;
    uint64_t wake; /* workers to be woken when it ends */
};

/* A page that a child finds cleared, so that nobody need ask the system for its own id more than once. */
static _Atomic pid_t *map_self(void)
{
    void *page = mmap(NULL, sizeof(_Atomic pid_t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, sizeof(_Atomic pid_t), MADV_WIPEONFORK) == 0)
        return page;
    munmap(page, sizeof(_Atomic pid_t));
    return NULL;
}

static pid_t own_pid(const struct lease_table *table)
{
    pid_t pid = table->self ? atomic_load_explicit(table->self, memory_order_relaxed) : 0;

    if (pid != 0)
        return pid;
    pid = getpid();
    if (table->self)
        atomic_store_explicit(table->self, pid, memory_order_relaxed);
    return pid;
}

enum err lease_table_new(struct lease_table **out)
{
    struct lease_table *table = sys_calloc(1, sizeof(*table));
    void *mapping = NULL;
    bool full = shm_map(sizeof(*table->shared), &mapping) != ERR_OK;

    table->shared = mapping;
    table->self = map_self();
    for (int i = 0; i < LEASE_WORKERS_MAX; i++) {
        table->fds[i] = full ? -1 : eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        full |= table->fds[i] < 0;
    }
    if (full) {
        lease_table_free(&table);
        return ERR_FULL;
    }
    for (int i = 0; i < SHARDS; i++)
        shm_lock_init(&table->shared->shards[i].lock);
    *out = table;
    return ERR_OK;
}

void lease_table_free(struct lease_table **table_ptr)
{
    struct lease_table *table = *table_ptr;
    void *mapping;

    if (!table)
        return;
    for (int i = 0; i < LEASE_WORKERS_MAX; i++)
        if (table->fds[i] >= 0)
            close(table->fds[i]);
    if (table->self)
        munmap((void *)table->self, sizeof(*table->self));
    mapping = table->shared;
    shm_unmap(&mapping, sizeof(*table->shared));
    free(table);
    *table_ptr = NULL;
}

uint64_t lease_next(const struct lease_table *table)
{
    return atomic_load(&table->shared->number) + 1;
}

int lease_fd(const struct lease_table *table, int worker)
{
    return worker >= 0 && worker < LEASE_WORKERS_MAX ? table->fds[worker] : -1;
}

static uint64_t bit_of(int worker)
{
    return worker >= 0 && worker < LEASE_WORKERS_MAX ? UINT64_C(1) << worker : 0;
}

/* Leaves PLACE to whoever comes; those who wait there are woken when the visit ends. */
static void clear(struct visit *visit, struct place *place)
{
    visit->wake |= place->waiting;
    *place = (struct place){0};
}

static void enter_waiter(const struct visit *visit, struct place *place, int worker)
{
    place->waiting |= bit_of(worker);
    if (place->asked_ms < visit->now_ms)
        place->asked_ms = visit->now_ms;
}

/* Ends the lease on PLACE, which stays that of its hash. */
static void end(struct visit *visit, struct place *place)
{
    visit->wake |= place->waiting;
    place->waiting = 0;
    place->holder = 0;
}

static void enter_shard(struct visit *visit, struct shard *shard)
{
    visit->shard = shard;
    if (!shm_lock_take(&shard->lock))
        return;
    for (int i = 0; i < SHARD_PLACES; i++)
        clear(visit, &shard->places[i]);
}

static struct visit enter(struct lease_table *table, uint64_t hash, int64_t now_ms)
{
    struct visit visit = {.table = table, .hash = hash, .now_ms = now_ms};

    enter_shard(&visit, &table->shared->shards[hash % SHARDS]);
    visit.bucket = &visit.shard->places[hash / SHARDS % BUCKETS * WAYS];
    return visit;
}

static void leave(const struct visit *visit)
{
    shm_lock_release(&visit->shard->lock);
    for (uint64_t wake = visit->wake; wake != 0; wake &= wake - 1)
        /* It can fail only by being readable for ever so long already. */
        (void)!write(visit->table->fds[__builtin_ctzll(wake)], &(uint64_t){1}, sizeof(uint64_t));
}

static bool is_alive(const struct lease_table *table, pid_t pid)
{
    return pid == own_pid(table) || kill(pid, 0) == 0 || errno != ESRCH;
}

static bool is_held(const struct visit *visit, const struct place *place)
{
    return place->holder != 0 && visit->now_ms < place->ends_ms && is_alive(visit->table, place->holder);
}

static struct place *find(const struct visit *visit)
{
    for (int i = 0; i < WAYS; i++)
        if (visit->bucket[i].number != 0 && visit->bucket[i].hash == visit->hash)
            return &visit->bucket[i];
    return NULL;
}

/* A cleared place; NULL when all of them are held. */
static struct place *make_room(struct visit *visit)
{
    struct place *found = NULL;

    for (int i = 0; i < WAYS; i++) {
        struct place *place = &visit->bucket[i];

        if (place->holder == 0 && (!found || place->ended_ms < found->ended_ms))
            found = place;
    }
    for (int i = 0; !found && i < WAYS; i++)
        if (!is_held(visit, &visit->bucket[i]))
            found = &visit->bucket[i];
    if (found)
        clear(visit, found);
    return found;
}

/* Gives a lease on PLACE, or on none. */
static struct lease give(const struct visit *visit, struct place *place, int64_t life_ms)
{
    struct lease lease = {.place = LEASE_NO_PLACE, .number = atomic_fetch_add(&visit->table->shared->number, 1) + 1};

    if (!place)
        return lease;
    place->number = lease.number;
    place->hash = visit->hash;
    place->ends_ms = visit->now_ms + life_ms;
    place->holder = own_pid(visit->table);
    lease.place = (uint32_t)((visit->shard - visit->table->shared->shards) * SHARD_PLACES) +
                  (uint32_t)(place - visit->shard->places);
    return lease;
}

enum lease_result lease_take(struct lease_table *table, struct str key, int64_t now_ms, int64_t life_ms,
                             int64_t since_ms, int worker, struct lease *out)
{
    struct visit visit = enter(table, sys_hash64(key, SEED), now_ms);
    struct place *place = find(&visit);
    enum lease_result result = LEASE_TAKEN;

    if (place && since_ms != 0 && place->ended_ms >= since_ms) {
        result = place->outcome;
    } else if (place && is_held(&visit, place)) {
        enter_waiter(&visit, place, worker);
        result = LEASE_HELD;
    } else {
        *out = give(&visit, place ? place : make_room(&visit), life_ms);
    }
    leave(&visit);
    return result;
}

/* Visits where LEASE stands, or stood. */
static struct visit enter_by_lease(struct lease_table *table, const struct lease *lease, int64_t now_ms,
                                   struct place **place)
{
    struct visit visit = {.table = table, .now_ms = now_ms};

    enter_shard(&visit, &table->shared->shards[lease->place / SHARD_PLACES]);
    *place = &visit.shard->places[lease->place % SHARD_PLACES];
    return visit;
}

bool lease_holds(struct lease_table *table, const struct lease *lease, int64_t now_ms)
{
    struct place *place;
    struct visit visit;
    bool holds;

    if (lease->place == LEASE_NO_PLACE)
        return true;
    visit = enter_by_lease(table, lease, now_ms, &place);
    holds = place->number == lease->number && place->holder != 0 && now_ms < place->ends_ms;
    leave(&visit);
    return holds;
}

bool lease_held(struct lease_table *table, struct str key, int64_t now_ms, int worker)
{
    struct visit visit = enter(table, sys_hash64(key, SEED), now_ms);
    struct place *place = find(&visit);
    bool held = place && is_held(&visit, place);

    if (held) {
        enter_waiter(&visit, place, worker);
    } else if (place && place->holder != 0) {
        /* Nobody will release it; the others who wait need not find that out one by one. */
        end(&visit, place);
    }
    leave(&visit);
    return held;
}

void lease_release(struct lease_table *table, const struct lease *lease, int64_t now_ms, enum lease_result outcome)
{
    struct place *place;
    struct visit visit;

    if (lease->place == LEASE_NO_PLACE)
        return;
    visit = enter_by_lease(table, lease, now_ms, &place);
    if (place->number == lease->number && place->holder != 0) {
        if (outcome == LEASE_UNKEPT || outcome == LEASE_FAILED) {
            end(&visit, place);
            /* Who asked later than the holder read its clock has waited for this fill all the same. */
            place->ended_ms = now_ms > place->asked_ms ? now_ms : place->asked_ms;
            place->outcome = outcome;
        } else {
            clear(&visit, place);
        }
    }
    leave(&visit);
}

unsigned lease_count(struct lease_table *table, int64_t now_ms)
{
    unsigned count = 0;

    for (int i = 0; i < SHARDS; i++) {
        struct visit visit = {.table = table, .now_ms = now_ms};

        enter_shard(&visit, &table->shared->shards[i]);
        for (int k = 0; k < SHARD_PLACES; k++)
            count += is_held(&visit, &visit.shard->places[k]);
        leave(&visit);
    }
    return count;
}
