/*
 * writer_client: a thread's way to the writer. Writes and batches; nothing else changes the database.
 */
#ifndef LARDER_WRITER_CLIENT_H
#define LARDER_WRITER_CLIENT_H

#include "store/writer.h"

/* A thread's connection to the writer; connects lazily and again after a loss. CONFIG and SHARED (may be NULL) must outlive it. */
struct writer_client;
struct writer_client *writer_client_new(const struct config *config, const struct writer_shared *shared);
void writer_client_free(struct writer_client **client);

/* Runs SQL (one or more statements) as one write and waits for the synced commit: ERR_OK means durable. The last statement that gives rows makes the
 * answer, as SHAPE says. ERR_CONSTRAINT, ERR_FULL, ERR_READ_ONLY, ERR_BUSY (queue full: nothing was written), ERR_UNAVAILABLE (no writer: nothing
 * was written), ERR_IO (the writer vanished after it had been asked: not known), ERR_STATEMENT, ERR_TIMEOUT (not known). WHY for a person. Blocks at most
 * the configured write_timeout. */
enum err writer_client_write(struct writer_client *client, struct str sql, const struct params_values *values,
                      const struct store_caller *caller, enum catalog_shape shape, struct arena *arena,
                      struct store_answer *out, struct buf *why) ERR_CHECKED;

/* A batch: the same SQL once per row, all or nothing; other writes wait meanwhile. A failing row is reported by the commit: *FAILED_ROW counts from 0. */
enum err writer_client_batch_begin(struct writer_client *client, struct str sql, struct buf *why) ERR_CHECKED;
enum err writer_client_batch_row(struct writer_client *client, const struct params_values *values, struct buf *why) ERR_CHECKED;
enum err writer_client_batch_commit(struct writer_client *client, uint64_t *failed_row, struct buf *why) ERR_CHECKED;

#endif
