/*
 * writer_db: the writing connection: groups of writes in one transaction, each in a savepoint of its own. For the writer alone.
 */
#ifndef LARDER_WRITER_DB_H
#define LARDER_WRITER_DB_H

#include "config/config.h"
#include "store/writer_frame.h"

struct writer_db;

/* Opens the configured database for writing: WAL, synchronous=FULL, no automatic checkpoints. The database is there and migrated. */
enum err writer_db_open(const struct config *config, struct writer_db **out, struct buf *why) ERR_CHECKED;
void writer_db_close(struct writer_db **db);

/* BEGIN IMMEDIATE, COMMIT, ROLLBACK. After a COMMIT that failed nothing of the transaction is there. */
enum err writer_db_begin(struct writer_db *db, struct buf *why) ERR_CHECKED;
enum err writer_db_commit(struct writer_db *db, struct buf *why) ERR_CHECKED;
void writer_db_rollback(struct writer_db *db);
/* Runs REQUEST's SQL with its values in a savepoint within the transaction; when it fails, the savepoint alone is taken back. The JSON of the last
 * statement that gives rows is appended to JSON, what is wrong to WHY. */
enum err writer_db_apply(struct writer_db *db, const struct writer_frame_request *request, struct buf *json, bool *found,
                         int64_t *changes, struct buf *why) ERR_CHECKED;
/* Whether the transaction is still open: some failures (a full disk) make SQLite roll back all of it. */
bool writer_db_in_transaction(const struct writer_db *db);
/* Keeps the WAL within its limit; ALL copies and truncates the whole of it. */
void writer_db_checkpoint(struct writer_db *db, bool all);

#endif
