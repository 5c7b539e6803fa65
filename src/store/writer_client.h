/*
 * writer_client: a thread's way to the writer, which alone changes the database. The event thread has writer_async.
 */
#ifndef LARDER_WRITER_CLIENT_H
#define LARDER_WRITER_CLIENT_H

#include "store/writer.h"
#include "store/writer_frame.h"

/* A connection to the writer, for one thread; made when it is first needed, and again after a loss. CONFIG and SHARED
 * (NULL: not known) must outlive it. */
struct writer_client;
struct writer_client *writer_client_new(const struct config *config, struct writer_shared *shared);
/* FN is called before each connection that CLIENT makes, for a process that has to bring a writer about itself. Its
 * error ends what was asked for with nothing written, and WHY is then that of FN. */
typedef enum err writer_client_bring_fn(void *context, struct buf *why);
void writer_client_bring(struct writer_client *client, writer_client_bring_fn *fn, void *context);
/* An open batch is taken back. NULL is a no-op. */
void writer_client_free(struct writer_client **client);

/* One write. What is left zero is not asked for. */
struct writer_client_ask {
    struct str sql;                     /* one or more statements; the last that gives rows makes the answer */
    enum catalog_shape shape;           /* of the answer */
    const struct params_values *values; /* NULL: none */
    const struct store_caller *caller;  /* NULL: nobody */
    /* Items of cache/purge, committed to the outbox in the same transaction: who asks carries them out and says so by
     * writer_client_purged. */
    const struct str *purges;
    size_t purges_count;
    int64_t run_ms;    /* that the statements may take; 0: as long as the writer lets any */
    bool tells_scores; /* the caller tells L2 itself of the scores that this changes (l2/l2_boards.h) */
    /* Behind: durable in the journal when this returns, applied to the database later. The answer is an object with the
     * receipt (store/receipt.h), and the purges are carried out by whoever drains the outbox. */
    bool behind;
    struct str label; /* what it is, for people; of a write behind */
    /* An idempotency key and what identifies the request besides (empty key: none): the same again gets the same answer
     * for a day and writes nothing. */
    struct str repeat_key, repeat_print;
    /* Whether it may be carried out, by the answer of a reading statement (writer_frame.h); not for writes behind:
     * ERR_USAGE. */
    enum writer_frame_condition condition;
    struct str condition_sql, condition_hashes;
    enum catalog_shape condition_shape;
    const struct params_values *condition_values;
};

struct writer_client_told {
    struct store_answer row;
    int64_t outbox_id; /* the row of the outbox that has the purges, perhaps with those of others; 0 without any */
    bool repeated;     /* it is what an earlier request with the same key was answered */
};

/* Has WANTED written and waits for the synced commit: ERR_OK means durable. WHY is for a person. Blocks for the
 * configured write_timeout at most. Nothing was written: ERR_CHANGED (the condition), ERR_EXISTS (the key is another
 * request's), ERR_CONSTRAINT, ERR_STATEMENT, ERR_FULL, ERR_READ_ONLY,
 * ERR_CORRUPT, ERR_LIMIT, ERR_OVERDUE (run_ms, or write_timeout), ERR_BUSY (the queue or the database), ERR_UNAVAILABLE
 * (no writer). Not known: ERR_TIMEOUT, and ERR_IO (the writer vanished after it had been asked, or the disk failed it).
 */
enum err writer_client_write(struct writer_client *client, const struct writer_client_ask *wanted, struct arena *arena,
                             struct writer_client_told *out, struct buf *why) ERR_CHECKED;
/* The failed write behind with this NUMBER is accepted again, under the receipt in *OUT, or dropped. ERR_NOT_FOUND
 * where there is none. Errors as above. */
enum err writer_client_repeat(struct writer_client *client, uint64_t number, struct arena *arena,
                              struct writer_client_told *out, struct buf *why) ERR_CHECKED;
enum err writer_client_drop(struct writer_client *client, uint64_t number, struct buf *why) ERR_CHECKED;
/* Commits PURGES (none: nothing is kept) alone to the outbox. OUTBOX_ID and errors as above. */
enum err writer_client_keep_purges(struct writer_client *client, const struct str *purges, size_t purges_count,
                                   int64_t *outbox_id, struct buf *why) ERR_CHECKED;
/* Tells the writer what has been carried out of the outbox, and waits for no answer: the purges of writes, whose
 * answers named these rows, each row once for each write (IDS are sorted anew); or whole rows, whoever they are of. A
 * row of which nothing is left is removed with one of the next commits, or soon after by one of its own; one that is
 * not (ERR_UNAVAILABLE, or the writer had too many to remember) may be carried out once more. */
enum err writer_client_purged(struct writer_client *client, int64_t *ids, size_t count) ERR_CHECKED;
enum err writer_client_drained(struct writer_client *client, const int64_t *ids, size_t count) ERR_CHECKED;

/* Tells the writer that the changes of scores up to NUMBER have been told everywhere, so that their log (schema.h) can
 * be cut. Waits for no answer. */
enum err writer_client_scores_followed(struct writer_client *client, uint64_t number) ERR_CHECKED;
/* Tells the writer up to which changes of TABLES (integers by name) what depends on them has been purged, and waits for
 * no answer; NULL: that the schema is another one, so that it looks after its triggers (store/watch). What it does not
 * come to know is purged once more after the next start. */
enum err writer_client_changed(struct writer_client *client, const struct params_values *tables) ERR_CHECKED;

/* For writer_async, which asks in another way. The frame's request for ASK, whose purges are encoded as PURGES; the
 * members that ASK does not say are left alone, and so are values where it has none. */
void writer_client_make(const struct writer_client_ask *ask, struct str purges, struct writer_frame_request *out);
/* What ANSWER, which tells of no error, says, in ARENA. ERR_IO: it is larger than that holds. */
enum err writer_client_take(const struct writer_frame_answer *answer, struct arena *arena,
                            struct writer_client_told *out, struct buf *why) ERR_CHECKED;
/* Whether the writer has said that it will not be there soon. SHARED may be NULL. */
bool writer_client_is_hopeless(const struct writer_shared *shared, struct buf *why);
/* Why a request that nobody has answered ends with ERR, and why one for which there was no writer does. */
struct str writer_client_unanswered(enum err err);
void writer_client_absent(const char *database, struct buf *why);

/* A batch: the same SQL once per row, all or nothing; other writes wait meanwhile. Any error ends it with nothing
 * written, but for ERR_IO and ERR_TIMEOUT of the commit: not known. A failing row is reported by the commit:
 * *FAILED_ROW counts from 0, and is set only when it was a row. A batch that sends nothing for 5 seconds is taken back
 * by the writer. WILL_PURGE: its commit will say what is to be purged. */
enum err writer_client_batch_begin(struct writer_client *client, struct str sql, bool will_purge,
                                   struct buf *why) ERR_CHECKED;
enum err writer_client_batch_row(struct writer_client *client, const struct params_values *values,
                                 struct buf *why) ERR_CHECKED;
/* PURGES go to the outbox in the same transaction, as the row *OUTBOX_ID (may be NULL). */
enum err writer_client_batch_commit(struct writer_client *client, const struct str *purges, size_t purges_count,
                                    uint64_t *failed_row, int64_t *outbox_id, struct buf *why) ERR_CHECKED;

#endif
