/*
 * writer: the one process that writes to SQLite or checkpoints it, and the clients that hand it their writes.
 *
 * It holds an flock on DATABASE-larder.lock and listens on DATABASE-larder.sock (0600), so there is one of it for a database. Who finds the lock taken
 * waits for it. Group commit: what has gathered is committed as one transaction (BEGIN IMMEDIATE, synchronous=FULL) with a savepoint for
 * each write, and answered after the commit; a write that fails fails alone. A write is SQL text with values, so the writer needs no catalogue
 * and outlives a reload. A batch (an import) is a transaction of its own.
 *
 * Frames between client and writer are native-endian and never leave the host; the format stands at the top of writer_frame.h.
 */
#ifndef LARDER_WRITER_H
#define LARDER_WRITER_H

#include <signal.h>
#include <stdatomic.h>

#include "config/config.h"
#include "store/store.h"

enum writer_state { WRITER_STARTING, WRITER_READY, WRITER_LOCKED_OUT, WRITER_FAILED };

/* In a shared mapping made before the fork; zero-initialised. */
struct writer_shared {
    _Atomic int state;           /* enum writer_state */
    _Atomic uint64_t committed;  /* writes */
    _Atomic uint64_t commits;    /* transactions */
    char reason[256];            /* of WRITER_FAILED; written before `state` */
};

/* The process: lock, migrate, listen, write until *STOP, then commit and answer what was received, checkpoint and return. 0, or 1 when it must be started again.
 * SHARED may be NULL. Signals only set *STOP (they interrupt its waiting). */
int writer_run(const struct config *config, struct writer_shared *shared, const volatile sig_atomic_t *stop);

/* A thread's connection to the writer; connects lazily and again after a loss. CONFIG and SHARED (may be NULL) must outlive it. */
struct writer_client;
struct writer_client *writer_client_new(const struct config *config, const struct writer_shared *shared);
void writer_client_free(struct writer_client **client);

/* Runs SQL (one or more statements) as one write and waits for the synced commit: ERR_OK means durable. The last statement that gives rows makes the
 * answer, as SHAPE says. ERR_CONSTRAINT, ERR_FULL, ERR_READ_ONLY, ERR_BUSY (queue full: nothing was written), ERR_UNAVAILABLE (no writer: nothing
 * was written), ERR_IO (the writer vanished after it had been asked: not known), ERR_STATEMENT, ERR_TIMEOUT (not known). WHY for a person. Blocks at most
 * the configured write_timeout. */
enum err writer_write(struct writer_client *client, struct str sql, const struct params_values *values,
                      const struct store_caller *caller, enum catalog_shape shape, struct arena *arena,
                      struct store_answer *out, struct buf *why) ERR_CHECKED;

/* A batch: the same SQL once per row, all or nothing; other writes wait meanwhile. A failing row is reported by the commit: *FAILED_ROW counts from 0. */
enum err writer_batch_begin(struct writer_client *client, struct str sql, struct buf *why) ERR_CHECKED;
enum err writer_batch_row(struct writer_client *client, const struct params_values *values, struct buf *why) ERR_CHECKED;
enum err writer_batch_commit(struct writer_client *client, uint64_t *failed_row, struct buf *why) ERR_CHECKED;

#endif
