/*
 * lease: one filler per key on this host. A table in shared memory, made before the fork.
 *
 * Who takes a key's lease fills it; the others are told that it is held and wait. When it is released the event threads
 * that wait are woken by their eventfd, and find out how it ended. A holder that died is noticed by whoever asks next,
 * so who waits asks again now and then without being woken; one that hangs holds its lease no longer than it said. The
 * table is of fixed size; where there is no place left in it, everybody is given a lease, so nothing is ever held up by
 * it.
 *
 * Leases on the same hash are one: two keys that collide (64 bits) wait for each other.
 */
#ifndef LARDER_LEASE_H
#define LARDER_LEASE_H

#include "base/str.h"

enum { LEASE_WORKERS_MAX = 64 };

struct lease_table;

struct lease {
    uint32_t place;  /* in the table; LEASE_NO_PLACE: granted without one */
    uint64_t number; /* of this very lease, from 1: one that is given later has a higher one */
};

#define LEASE_NO_PLACE UINT32_MAX

enum lease_result {
    LEASE_TAKEN,
    LEASE_HELD,   /* by somebody who lives */
    LEASE_UNKEPT, /* not taken: the fill that was waited for ended without an entry that could be kept */
    LEASE_FAILED  /* not taken: the fill that was waited for failed */
};

/* ERR_FULL when there is no memory to share or no descriptor left. */
enum err lease_table_new(struct lease_table **out) ERR_CHECKED;
void lease_table_free(struct lease_table **table);

/* NOW_MS: monotonic; the lease ends by itself LIFE_MS later. SINCE_MS: when the caller began to wait for this key, or
 * 0: a fill that ended then or later is reported (LEASE_UNKEPT, LEASE_FAILED) instead of being tried again, also when
 * the next one is under way; so it is to be the NOW_MS of the call that was first answered LEASE_HELD. WORKER (below
 * LEASE_WORKERS_MAX, or -1): whose event thread is to be woken when LEASE_HELD ends. */
enum lease_result lease_take(struct lease_table *table, struct str key, int64_t now_ms, int64_t life_ms,
                             int64_t since_ms, int worker, struct lease *out);
/* Whether it is still this lease that holds the key; of one without a place, always. */
bool lease_holds(struct lease_table *table, const struct lease *lease, int64_t now_ms);
/* Whether KEY's lease is held by somebody who lives; if so, WORKER is woken when it ends, as by lease_take. */
bool lease_held(struct lease_table *table, struct str key, int64_t now_ms, int worker);
/* Ends it, and wakes who waits. OUTCOME: LEASE_TAKEN when the key was filled, else LEASE_UNKEPT or LEASE_FAILED. A
 * lease that was lost meanwhile is left alone. */
void lease_release(struct lease_table *table, const struct lease *lease, int64_t now_ms, enum lease_result outcome);
/* The lowest number that a lease given from now on may have. */
uint64_t lease_next(const struct lease_table *table);
/* The eventfd of WORKER; to be read (8 bytes) when it is readable. -1 for a number that is out of range. */
int lease_fd(const struct lease_table *table, int worker);
/* Leases held now. */
unsigned lease_count(struct lease_table *table, int64_t now_ms);

#endif
