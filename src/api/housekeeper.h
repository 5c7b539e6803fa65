/*
 * housekeeper: the process that keeps this host coherent with the others.
 *
 * It follows L2's purge log into the host's tables, drains the outbox, says when L2 and L1 may be trusted, works off
 * the purges by pattern, and keeps L2's leaderboards like the database's. There is one of it on a host; while there is
 * none, L1 is not read and L2 neither read nor filled.
 */
#ifndef LARDER_HOUSEKEEPER_H
#define LARDER_HOUSEKEEPER_H

#include <signal.h>

#include "api/app.h"

enum housekeeper_state { HOUSEKEEPER_STARTING, HOUSEKEEPER_READY, HOUSEKEEPER_APART /* L2 cannot be reached */ };

/* In a shared mapping made before the fork; zero-initialised. */
struct housekeeper_shared {
    _Atomic int state;                      /* enum housekeeper_state; of this generation */
    _Atomic uint64_t number;                /* of the log, that the host's tables are at */
    _Atomic int64_t contact_ms;             /* monotonic: when the log was last known to hold nothing more */
    _Atomic uint64_t records, gaps, breaks; /* of the log, since the start */
    _Atomic bool warmed;                    /* the warmer of this generation has been started */
    _Atomic uint64_t outbox;                /* rows seen waiting when it was last looked at */
    _Atomic uint64_t boards; /* print (config_board.h) of the leaderboards that L2's copies are of; 0: not known */
    /* For whoever watches: what waits, as it was counted last, each second or so; and what was done since the start. */
    _Atomic uint64_t outbox_depth, bans;
    _Atomic uint64_t jobs_done, keys_removed;
};

/* The process. Returns its exit code. */
int housekeeper_run(const struct app *app, const volatile sig_atomic_t *stop);
/* One round, of at most about WAIT_MS; for tests, and for the process itself. */
struct housekeeper;
struct housekeeper *housekeeper_new(const struct app *app);
void housekeeper_free(struct housekeeper **housekeeper);
void housekeeper_round(struct housekeeper *housekeeper, int64_t wait_ms);
/* For a process that lives for one request, where there may be no housekeeper: carries out what the outbox holds and
 * what other programs have changed, with the cache and the writer of THREAD, which may block. False when L2 could not
 * be told of it all: it must not be read. */
bool housekeeper_catch_up(struct app_thread *thread);
/* Called in the parent when the process has ended; ORDERLY: because it was told to. */
void housekeeper_ended(const struct app *app, bool orderly);

#endif
