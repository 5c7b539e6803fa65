/*
 * writer: the one process that writes to SQLite or checkpoints it.
 *
 * It holds an flock on DATABASE-larder.lock and listens on DATABASE-larder.sock (0600), so there is one of it for a
 * database. Who finds the lock taken waits for it. Group commit: what has gathered is committed as one transaction
 * (BEGIN IMMEDIATE, synchronous=FULL) with a savepoint for each write, and answered after the commit; a write that
 * fails fails alone. A write is SQL text with values, so the writer needs no catalogue and outlives a reload. A batch
 * (an import) is a transaction of its own.
 *
 * Writes behind are committed to a journal of their own and answered, and applied to the database later
 * (writer_behind). A write with an idempotency key is carried out once (writer_replay).
 *
 * Purges that belong to a write, or have nowhere else to go, are committed to the outbox (store/outbox.h), and their
 * rows removed once they have been carried out: with a later group, or by themselves within a second.
 *
 * Its clients are writer_client's. Its parts: writer_socket (lock and address), writer_peer (a connection),
 * writer_frame (the bytes), writer_commit (groups and batches), writer_behind (and its journal) with
 * writer_apply, writer_db (SQLite) with writer_script (what clients send), writer_outbox, writer_replay and
 * writer_position (tables).
 */
#ifndef LARDER_WRITER_H
#define LARDER_WRITER_H

#include <signal.h>
#include <stdatomic.h>

#include "config/config.h"
#include "store/store.h"
#include "store/writer_pending.h"
#include "store/writer_shares.h"

enum writer_state { WRITER_STARTING, WRITER_READY, WRITER_LOCKED_OUT, WRITER_FAILED };

/* In a shared mapping made before the fork; zero-initialised. */
struct writer_shared {
    _Atomic int state;          /* enum writer_state */
    _Atomic uint64_t committed; /* writes, and rows of batches */
    _Atomic uint64_t commits;   /* transactions */
    /* Where larder_score_log stood when the writer began, or after the last commit of a write that may have changed
     * scores and did not say that it tells of them itself. */
    _Atomic uint64_t scores;
    /* The highest number of a purge that L2 is known to have been told of (l2_seen): what the database remembers when
     * the writer is ready, and raised before the writer hears that purges have been carried out. */
    _Atomic uint64_t told;
    struct writer_pending pending; /* writes behind */
    struct writer_shares shares;   /* of the outbox */
    char reason[256];              /* of WRITER_LOCKED_OUT and WRITER_FAILED; written before `state` */
};

/* The process: lock, apply MIGRATIONS (the number of the last; MIGRATE_ALL), listen, write until *STOP, then commit and
 * answer what was received, checkpoint and return. 0, or 1 when it must be started again. A lock that is another's is
 * waited for, and once LOCK_MS are over it says that it is locked out. Signals only set *STOP: they are blocked but
 * between two rounds and while it waits. SIGXFSZ is ignored from then on. */
int writer_run(const struct config *config, unsigned migrations, int64_t lock_ms, struct writer_shared *shared,
               const volatile sig_atomic_t *stop);

#endif
