/*
 * writer_db: the one connection that writes: its transactions, and the SQL that clients send, run inside them.
 *
 * Every error that casts doubt on the connection (damage, input or output, a file that is gone or was replaced) makes
 * the next writer_db_begin open it anew.
 */
#ifndef LARDER_WRITER_DB_H
#define LARDER_WRITER_DB_H

#include "config/config.h"
#include "store/writer_frame.h"
#include "store/writer_position.h"
#include "store/writer_shares.h"

/* Why a write is answered with ERR_IO that was answered before under its key: what has come of it cannot be told. */
#define WRITER_DB_UNREADABLE "it was answered before, by another version, and what that was cannot be read"

struct writer_db;

/* What became of one write. Zero-initialised to begin with; used again and again. */
struct writer_db_outcome {
    enum err err;
    bool found;
    bool repeated; /* it is the answer to an earlier request with the same key */
    bool kept;     /* to be committed although it was refused: the answer has been kept under its key */
    int64_t changes;
    int64_t outbox_id; /* 0: nothing went to the outbox */
    struct buf json, why;
};

void writer_db_outcome_clear(struct writer_db_outcome *outcome);

/* Migrates the configured database up to MIGRATIONS (migrate.h), which is made where there is none, and opens it: WAL,
 * synchronous=FULL, no automatic checkpoints. The caller holds the writer's lock. CONFIG and SHARES must outlive it. */
enum err writer_db_open(const struct config *config, unsigned migrations, struct writer_shares *shares,
                        struct writer_db **out, struct buf *why) ERR_CHECKED;
/* Copies the whole WAL into the database, where no reader keeps it from it, and closes. NULL is a no-op. */
void writer_db_close(struct writer_db **db);

/* BEGIN IMMEDIATE, after opening anew where there was doubt. */
enum err writer_db_begin(struct writer_db *db, struct buf *why) ERR_CHECKED;
/* Ends the transaction: on ERR_OK it is on the disk, otherwise nothing of it is. */
enum err writer_db_commit(struct writer_db *db, struct buf *why) ERR_CHECKED;
void writer_db_rollback(struct writer_db *db);
/* Some failures (a full disk, a statement that was stopped) make SQLite take back the whole transaction. */
bool writer_db_in_transaction(const struct writer_db *db);

/* Runs the write REQUEST inside the transaction, for as long as it may take, but LEFT_MS at most. When it fails, it
 * alone has left no trace, unless the transaction is gone. The last statement that gives rows makes the JSON. What it
 * changes is not counted (store/watch) when it has purges; those are the caller's to keep. */
void writer_db_apply(struct writer_db *db, const struct writer_frame_request *request, int64_t left_ms,
                     struct writer_db_outcome *outcome);
/* One row of a batch: the same, but a row that fails may leave half of itself behind: the batch is to be rolled back.
 */
void writer_db_apply_row(struct writer_db *db, const struct writer_frame_request *request,
                         struct writer_db_outcome *outcome);
/* Whether SQL can be prepared; it then is. */
enum err writer_db_prepare(struct writer_db *db, struct str sql, struct buf *why) ERR_CHECKED;

/* PURGES, a list of outbox_encode, of so many WRITES, to the outbox, inside the transaction. */
enum err writer_db_keep(struct writer_db *db, struct str purges, size_t writes, int64_t *outbox_id,
                        struct buf *why) ERR_CHECKED;
/* The same for purges that nobody but whoever drains the outbox will carry out: at once. */
enum err writer_db_keep_left(struct writer_db *db, struct str purges, int64_t *outbox_id, struct buf *why) ERR_CHECKED;
/* The highest id that a row of the outbox has had; 0 without any, or where it cannot be told. */
int64_t writer_db_last_kept(struct writer_db *db);
/* Whether a write was answered under REQUEST's key. Needs no transaction. */
bool writer_db_knows(struct writer_db *db, const struct writer_frame_request *request);

/* As writer_position, inside the transaction. */
enum err writer_db_position(struct writer_db *db, const struct writer_position_journal *journal, uint64_t *upto,
                            struct buf *why) ERR_CHECKED;
enum err writer_db_advance(struct writer_db *db, uint64_t journal, uint64_t upto, struct buf *why) ERR_CHECKED;
enum err writer_db_fail_behind(struct writer_db *db, uint64_t id, int64_t at_ms, struct str request, enum err error,
                               struct str reason, struct buf *why) ERR_CHECKED;
enum err writer_db_load_failed(struct writer_db *db, uint64_t id, struct buf *request, struct buf *why) ERR_CHECKED;
enum err writer_db_resolve_failed(struct writer_db *db, uint64_t id, uint64_t successor, struct buf *why) ERR_CHECKED;

/* Where the log of scores stands (schema.h); 0 where that cannot be told. */
uint64_t writer_db_scores(struct writer_db *db);
/* What REQUEST, one that says what has been purged, names has been carried out: whole rows of the outbox, to be removed
 * by a transaction to come; changes of tables, to be noted by one; scores that have been told, whose log is to be cut
 * by one; or the schema is another one. ERR_LIMIT: too many are waiting for one, and these are not remembered. */
enum err writer_db_note_purged(struct writer_db *db, const struct writer_frame_request *request) ERR_CHECKED;
bool writer_db_has_purged(const struct writer_db *db);
/* Removes those rows, and notes those changes, inside the transaction; when it fails, they have all stayed and will be
 * tried again, and nothing else has been harmed, unless the transaction is gone. */
enum err writer_db_remove_purged(struct writer_db *db, struct buf *why) ERR_CHECKED;

/* After a commit: keeps the WAL within its limit. May wait for readers, for busy_timeout at most. */
void writer_db_checkpoint(struct writer_db *db);

#endif
