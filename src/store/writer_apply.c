/*
 * writer_apply: frames taken back out of the journal and run.
 *
 * A batch is one transaction of the origin with a savepoint for each write; in the same transaction stand the position
 * that was reached, the failures, and in the outbox the purges of all of them. So a crash anywhere leaves a position
 * that tells exactly which writes are in the data.
 *
 * A write that the data refuses, or that cannot run, has failed: it is put aside with the reason, and those behind it
 * go on. What keeps anything from being written (a full disk, a lock, damage) is no failure of the write: the batch is
 * taken back.
 *
 * A journaled frame has no key of a client's. Where that would stand, a write that repeats a failed one has the number
 * of that, in decimal; with its own position it closes the failure.
 *
 * Invariant: it moves the position only with what lies before it. Nothing is told to anybody, and the journal is only
 * read.
 */
#include "store/writer_apply.h"

#include <stdlib.h>

#include "base/sys.h"
#include "store/outbox.h"
#include "store/writer_commit.h"

enum {
    BATCH_MAX = 1000,
    BATCH_MS = 50,
    SEEN_SLOTS = 4096, /* for the purges of a batch, each once */
};

struct writer_apply {
    struct writer_db *db;
    struct writer_journal *journal;
    uint64_t seed; /* of the hashes of purges, drawn at random: nobody can find two items of one hash */
    struct buf frame;
    struct writer_frame_request request;
    struct writer_db_outcome outcome;
};

/* A batch on its way. */
struct batch {
    uint64_t begun, upto; /* applied, or failed, before and so far */
    uint64_t culprit;     /* has spoilt the transaction: not run again, and the last of its batch; 0: none has */
    struct buf culprit_why;
    enum err culprit_err;
    unsigned count, failed;
    int64_t outbox_id;
    struct buf purges;
    uint64_t seen[SEEN_SLOTS]; /* hashes of `purges`, the last one that fell into each slot; 0: none did */
};

struct writer_apply *writer_apply_new(struct writer_db *db, struct writer_journal *journal)
{
    struct writer_apply *apply = sys_calloc(1, sizeof *apply);

    apply->db = db;
    apply->journal = journal;
    sys_random(&apply->seed, sizeof apply->seed);
    return apply;
}

void writer_apply_free(struct writer_apply **apply)
{
    if (!*apply)
        return;
    buf_free(&(*apply)->frame);
    buf_free(&(*apply)->outcome.json);
    buf_free(&(*apply)->outcome.why);
    free(*apply);
    *apply = NULL;
}

/* Adds the purges of a write to those of the batch, but for those that are known to stand there. */
static void gather_purges(struct writer_apply *apply, struct batch *batch, struct str purges)
{
    struct str rest = purges, item;

    while (outbox_next(&rest, &item)) {
        uint64_t hash = sys_hash64(item, apply->seed) | 1, *slot = &batch->seen[hash / 2 % SEEN_SLOTS];

        if (*slot == hash)
            continue;
        *slot = hash;
        outbox_encode(&item, 1, &batch->purges);
    }
}

/* Whether ERR is about the database, and not about the write that met it. */
static bool is_everybodys(enum err err)
{
    return err == ERR_FULL || err == ERR_BUSY || err == ERR_READ_ONLY || err == ERR_IO || err == ERR_CORRUPT ||
           err == ERR_UNAVAILABLE;
}

/* The failed write that REQUEST, a journaled one, repeats; 0: it repeats none. It has no key of a client's. */
static uint64_t take_repeated(struct writer_frame_request *request)
{
    int64_t id;

    if (str_to_int64(request->repeat_key, &id) != ERR_OK)
        id = 0;
    request->repeat_key = STR("");
    return (uint64_t)id;
}

/* Write NUMBER has been carried out. The failure that it REPEATS is no longer open then, in case that could not be
 * noted when it was accepted. */
static enum err close_repeated(struct writer_apply *apply, uint64_t repeats, uint64_t number, struct buf *why)
{
    if (repeats == 0)
        return ERR_OK;
    enum err err = writer_db_resolve_failed(apply->db, repeats, number, why);
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* The write that stands in apply->frame. */
static enum err apply_one(struct writer_apply *apply, struct batch *batch, uint64_t number, int64_t at_ms,
                          struct buf *why)
{
    struct writer_frame_request *request = &apply->request;
    struct writer_db_outcome *outcome = &apply->outcome;
    uint64_t repeats = 0;
    enum err err = writer_frame_read_request(buf_str(&apply->frame), request);

    if (err == ERR_OK)
        repeats = take_repeated(request);
    if (err != ERR_OK || request->kind != WRITER_FRAME_WRITE) {
        writer_commit_fail(outcome, ERR_VERSION, STR("it was accepted by another version, which is not understood"));
        request->purges = STR("");
    } else if (number == batch->culprit) {
        writer_commit_fail(outcome, batch->culprit_err, buf_str(&batch->culprit_why));
    } else {
        const struct str purges = request->purges;
        request->purges = STR("");
        request->will_purge = true;
        writer_db_apply(apply->db, request, INT64_MAX, outcome);
        request->purges = purges;
    }
    if (is_everybodys(outcome->err)) {
        buf_add_str(why, buf_str(&outcome->why));
        return outcome->err;
    }
    if (!writer_db_in_transaction(apply->db)) {
        batch->culprit = number;
        batch->culprit_err = outcome->err == ERR_OK ? ERR_STATEMENT : outcome->err;
        buf_clear(&batch->culprit_why);
        buf_add_str(&batch->culprit_why, buf_str(&outcome->why));
        return ERR_AGAIN;
    }
    batch->count++;
    batch->upto = number;
    gather_purges(apply, batch, request->purges);
    err = close_repeated(apply, repeats, number, why);
    if (err != ERR_OK || outcome->err == ERR_OK)
        return err;
    batch->failed++;
    return writer_db_fail_behind(apply->db, number, at_ms, buf_str(&apply->frame), outcome->err, buf_str(&outcome->why),
                                 why);
}

/* As many as a batch takes. */
static enum err apply_next(struct writer_apply *apply, struct batch *batch, struct buf *why)
{
    const int64_t end_ms = sys_monotonic_ms() + BATCH_MS;
    enum err err = ERR_OK;
    uint64_t number;
    int64_t at_ms;

    while (err == ERR_OK && batch->count < BATCH_MAX && sys_monotonic_ms() < end_ms) {
        buf_clear(&apply->frame);
        err = writer_journal_next(apply->journal, batch->upto, &apply->frame, &number, &at_ms, why);
        if (err == ERR_OK)
            err = apply_one(apply, batch, number, at_ms, why);
        if (err == ERR_OK && number == batch->culprit)
            break;
    }
    if (err != ERR_NOT_FOUND)
        return err;
    /* Also where some of what was accepted is in neither: the database is older than what the journal has forgotten. */
    if (batch->upto < writer_journal_last(apply->journal))
        batch->upto = writer_journal_last(apply->journal);
    return ERR_OK;
}

/* One batch as one transaction. ERR_AGAIN: it is to be begun anew. */
static enum err apply_batch(struct writer_apply *apply, struct batch *batch, struct buf *why)
{
    const struct writer_position_journal *journal = writer_journal_identity(apply->journal);
    enum err err = writer_db_begin(apply->db, why);

    if (err != ERR_OK)
        return err;
    batch->count = batch->failed = 0;
    batch->outbox_id = 0;
    buf_clear(&batch->purges);
    memset(batch->seen, 0, sizeof batch->seen);
    err = writer_db_position(apply->db, journal, &batch->begun, why);
    batch->upto = batch->begun;
    if (err == ERR_OK)
        err = apply_next(apply, batch, why);
    if (err == ERR_OK && batch->purges.len > 0)
        err = writer_db_keep_left(apply->db, buf_str(&batch->purges), &batch->outbox_id, why);
    if (err == ERR_OK && batch->upto > batch->begun)
        err = writer_db_advance(apply->db, journal->number, batch->upto, why);
    if (err == ERR_OK)
        return writer_db_commit(apply->db, why);
    writer_db_rollback(apply->db);
    return err;
}

enum err writer_apply_some(struct writer_apply *apply, struct writer_apply_batch *out, struct buf *why)
{
    struct batch *batch = sys_calloc(1, sizeof *batch);
    enum err err;

    do
        err = apply_batch(apply, batch, why);
    while (err == ERR_AGAIN);
    if (err == ERR_OK)
        *out = (struct writer_apply_batch){
            .upto = batch->upto, .count = batch->count, .failed = batch->failed, .outbox_id = batch->outbox_id};
    buf_free(&batch->purges);
    buf_free(&batch->culprit_why);
    free(batch);
    return err;
}
