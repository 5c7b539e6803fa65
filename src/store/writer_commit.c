/*
 * writer_commit: group commit, and batches.
 *
 * A group is one transaction with a savepoint for each write, so many writes share one sync of the disk and one that
 * fails fails alone; what they purge is one row of the outbox. Where a failure makes SQLite take back the whole
 * transaction, the group is begun again without the write that did it: at most as many times as it has writes. Rows of
 * the outbox that have been carried out are removed by the way; where that is what fails, the group is begun again
 * without it.
 *
 * Invariants: nothing is answered before the commit has returned; when the commit fails, nothing of the group is
 * written and everybody in it is told so. A write whose client has given up is not begun. A batch is one transaction
 * from its first row to its commit, and its rows after a failure are read only to get at the commit, which is where the
 * failure is told.
 */
#include "store/writer_commit.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include "base/sys.h"

enum {
    GROUP_MS = 100, /* after which a group takes no further write, so that those in it are answered */
};

void writer_commit_item_fini(struct writer_commit_item *item)
{
    buf_free(&item->outcome.json);
    buf_free(&item->outcome.why);
}

void writer_commit_fail(struct writer_db_outcome *outcome, enum err err, struct str why)
{
    writer_db_outcome_clear(outcome);
    outcome->err = err;
    buf_add_str(&outcome->why, why.len ? why : str_from(err_text(err)));
}

static void apply(struct writer_db *db, struct writer_commit_item *item, int64_t now_ms)
{
    int64_t left_ms = item->request.deadline_ms - now_ms;

    if (left_ms <= 0)
        writer_commit_fail(&item->outcome, ERR_BUSY, STR("it waited too long for its turn; nothing was written"));
    else
        writer_db_apply(db, &item->request, left_ms, &item->outcome);
}

/* Applies the items within the transaction, and cuts *COUNT to those that came to their turn. False when one of them
 * has spoilt the transaction. */
static bool apply_all(struct writer_db *db, struct writer_commit_item *const *items, size_t *count)
{
    const int64_t start_ms = sys_monotonic_ms();
    int64_t now_ms = start_ms;

    for (size_t i = 0; i < *count; i++) {
        if (items[i]->apart)
            continue;
        apply(db, items[i], now_ms);
        if (!writer_db_in_transaction(db)) {
            items[i]->apart = true;
            if (items[i]->outcome.err == ERR_OK)
                writer_commit_fail(&items[i]->outcome, ERR_STATEMENT, STR("the statement ended the transaction"));
            return false;
        }
        now_ms = sys_monotonic_ms();
        if (now_ms - start_ms >= GROUP_MS)
            *count = i + 1;
    }
    return true;
}

static size_t count_written(struct writer_commit_item *const *items, size_t count)
{
    size_t written = 0;

    for (size_t i = 0; i < count; i++)
        written += items[i]->outcome.kept || (items[i]->outcome.err == ERR_OK && !items[i]->outcome.repeated);
    return written;
}

static void add_answer(struct writer_peer *peer, uint32_t tag, const struct writer_db_outcome *outcome,
                       uint64_t failed_row)
{
    const struct writer_frame_answer answer = {
        .tag = tag,
        .err = outcome->err,
        .found = outcome->found,
        .repeated = outcome->repeated,
        .changes = outcome->changes,
        .failed_row = failed_row,
        .outbox_id = outcome->outbox_id,
        .json = buf_str(&outcome->json),
        .why = buf_str(&outcome->why),
    };

    writer_peer_answer(peer, &answer, sys_monotonic_ms());
}

void writer_commit_answer(struct writer_commit_item *const *items, size_t count)
{
    const int64_t now_ms = sys_monotonic_ms();

    for (size_t i = 0; i < count; i++)
        add_answer(items[i]->peer, items[i]->request.tag, &items[i]->outcome, WRITER_FRAME_NO_ROW);
    /* All of a client's at once: it is woken once. */
    for (size_t i = 0; i < count; i++)
        writer_peer_flush(items[i]->peer, now_ms);
}

/* Whether one of those that were written may have changed scores without telling of it. */
static bool may_change_scores(struct writer_commit_item *const *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (items[i]->outcome.err == ERR_OK && !items[i]->request.tells_scores)
            return true;
    return false;
}

void writer_commit_note(struct writer_db *db, struct writer_shared *shared, uint64_t written, bool scores)
{
    if (scores)
        atomic_store(&shared->scores, writer_db_scores(db));
    atomic_fetch_add(&shared->committed, written);
    atomic_fetch_add(&shared->commits, 1);
}

/* Begins the transaction, and removes what the outbox is to be rid of when REMOVING. */
static enum err begin_group(struct writer_db *db, bool removing, struct buf *why)
{
    struct buf ignored = {0};
    enum err err = writer_db_begin(db, why);

    if (err == ERR_OK && removing && writer_db_remove_purged(db, &ignored) != ERR_OK && !writer_db_in_transaction(db))
        err = writer_db_begin(db, why);
    buf_free(&ignored);
    return err;
}

/* Whether ITEM has been written, and brings purges. */
static bool is_to_purge(const struct writer_commit_item *item)
{
    return item->outcome.err == ERR_OK && !item->outcome.repeated && item->request.purges.len > 0;
}

/* What the items purge, as one row of the outbox, in which some of them have a share. */
static enum err keep_purges(struct writer_db *db, struct writer_commit_item *const *items, size_t count,
                            struct buf *why)
{
    int64_t outbox_id = 0;
    size_t shares = 0;
    struct buf purges = {0};
    enum err err = ERR_OK;

    for (size_t i = 0; i < count; i++)
        if (is_to_purge(items[i])) {
            buf_add_str(&purges, items[i]->request.purges);
            shares++;
        }
    if (shares > 0)
        err = writer_db_keep(db, buf_str(&purges), shares, &outbox_id, why);
    for (size_t i = 0; err == ERR_OK && i < count; i++)
        if (is_to_purge(items[i]))
            items[i]->outcome.outbox_id = outbox_id;
    buf_free(&purges);
    return err;
}

/* The items as one transaction, of which *WRITTEN were written. */
static enum err run_group(struct writer_db *db, struct writer_commit_item *const *items, size_t *count, bool removing,
                          size_t *written, struct buf *why)
{
    enum err err;

    *written = 0;
    do
        err = begin_group(db, removing, why);
    while (err == ERR_OK && !apply_all(db, items, count));
    if (err != ERR_OK)
        return err;
    *written = count_written(items, *count);
    if (*written == 0) {
        writer_db_rollback(db);
        return ERR_OK;
    }
    err = keep_purges(db, items, *count, why);
    if (err == ERR_OK)
        err = writer_db_commit(db, why);
    else
        writer_db_rollback(db);
    return err;
}

size_t writer_commit_group(struct writer_db *db, struct writer_commit_item *const *items, size_t count,
                           struct writer_shared *shared)
{
    const bool removing = writer_db_has_purged(db);
    struct buf why = {0};
    size_t written;

    for (size_t i = 0; i < count; i++)
        items[i]->apart = false;
    enum err err = run_group(db, items, &count, removing, &written, &why);
    if (err == ERR_FULL && removing) {
        buf_clear(&why);
        err = run_group(db, items, &count, false, &written, &why);
    }
    if (err == ERR_OK && written > 0)
        writer_commit_note(db, shared, written, may_change_scores(items, count));
    for (size_t i = 0; i < count; i++) {
        if (err != ERR_OK && !items[i]->apart)
            writer_commit_fail(&items[i]->outcome, err, buf_str(&why));
    }
    writer_commit_answer(items, count);
    /* After the answers: nobody has to wait for it. */
    if (err == ERR_OK && written > 0)
        writer_db_checkpoint(db);
    buf_free(&why);
    return count;
}

enum err writer_commit_purged(struct writer_db *db, struct writer_shared *shared, struct buf *why)
{
    enum err err = writer_db_begin(db, why);

    if (err == ERR_OK) {
        err = writer_db_remove_purged(db, why);
        if (err == ERR_OK)
            err = writer_db_commit(db, why);
        else
            writer_db_rollback(db);
    }
    if (err == ERR_OK) {
        writer_commit_note(db, shared, 0, false);
        writer_db_checkpoint(db);
    }
    return err;
}

struct batch {
    struct writer_db *db;
    struct writer_peer *peer;
    uint32_t tag; /* of what is to be answered next */
    struct buf sql;
    int64_t now_ms;
    bool will_purge;
    uint64_t rows; /* carried out */
    uint64_t failed_row;
    struct writer_db_outcome outcome; /* of the row that failed, or of the last one */
    bool ended;
};

static void answer_batch(struct batch *batch, uint64_t failed_row)
{
    add_answer(batch->peer, batch->tag, &batch->outcome, failed_row);
    writer_peer_flush(batch->peer, sys_monotonic_ms());
}

static void begin_batch(struct batch *batch, const struct writer_frame_request *request)
{
    struct buf why = {0};
    enum err err = writer_db_begin(batch->db, &why);

    if (err == ERR_OK)
        err = writer_db_prepare(batch->db, request->sql, &why);
    buf_add_str(&batch->sql, request->sql);
    batch->now_ms = request->caller.now_ms;
    batch->will_purge = request->will_purge;
    if (err != ERR_OK) {
        writer_commit_fail(&batch->outcome, err, buf_str(&why));
        writer_db_rollback(batch->db);
        batch->ended = true;
    }
    answer_batch(batch, WRITER_FRAME_NO_ROW);
    buf_free(&why);
}

static void take_row(struct batch *batch, struct writer_frame_request *request)
{
    if (batch->outcome.err != ERR_OK)
        return;
    request->sql = buf_str(&batch->sql);
    request->caller.now_ms = batch->now_ms;
    request->will_purge = batch->will_purge;
    writer_db_apply_row(batch->db, request, &batch->outcome);
    if (batch->outcome.err == ERR_OK) {
        batch->rows++;
        return;
    }
    batch->failed_row = batch->rows;
    writer_db_rollback(batch->db);
}

static void commit_batch(struct batch *batch, struct str purges, struct writer_shared *shared)
{
    struct buf why = {0};

    if (batch->outcome.err == ERR_OK) {
        int64_t *outbox_id = &batch->outcome.outbox_id;
        enum err err = purges.len > 0 ? writer_db_keep(batch->db, purges, 1, outbox_id, &why) : ERR_OK;
        if (err == ERR_OK)
            err = writer_db_commit(batch->db, &why);
        else
            writer_db_rollback(batch->db);
        if (err == ERR_OK)
            writer_commit_note(batch->db, shared, batch->rows, true);
        else
            writer_commit_fail(&batch->outcome, err, buf_str(&why));
    }
    /* The rows' own answers are nobody's. */
    buf_clear(&batch->outcome.json);
    batch->outcome.found = false;
    batch->outcome.changes = (int64_t)batch->rows;
    answer_batch(batch, batch->failed_row);
    batch->ended = true;
    buf_free(&why);
}

/* What the peer has sent so far. */
static void take_frames(struct batch *batch, struct writer_frame_request *request, struct writer_shared *shared)
{
    while (!batch->ended && writer_peer_next(batch->peer, request)) {
        batch->tag = request->tag;
        if (request->kind == WRITER_FRAME_BATCH_ROW)
            take_row(batch, request);
        else if (request->kind == WRITER_FRAME_BATCH_COMMIT)
            commit_batch(batch, request->purges, shared);
        else
            batch->peer->lost = true;
    }
}

/* Ends the batch without its commit. WHY is for the peer, if it listens. */
static void give_up(struct batch *batch, enum err err, struct str why)
{
    writer_db_rollback(batch->db);
    if (batch->outcome.err == ERR_OK)
        writer_commit_fail(&batch->outcome, err, why);
    answer_batch(batch, batch->failed_row);
    batch->peer->lost = true;
    batch->ended = true;
}

/* Waits for the peer, and to send it what it has not taken. */
static void await_peer(struct batch *batch, const volatile sig_atomic_t *stop, const sigset_t *signals)
{
    struct writer_peer *peer = batch->peer;
    struct pollfd ready = {.fd = peer->fd, .events = writer_peer_has_unsent(peer) ? POLLOUT : POLLIN};
    const struct timespec patience = {.tv_sec = WRITER_PEER_PATIENCE_MS / 1000};

    sys_take_signals(signals);
    int count = *stop ? 0 : ppoll(&ready, 1, &patience, signals);

    if (*stop) {
        give_up(batch, ERR_UNAVAILABLE, STR("the writer was told to stop; nothing of the batch was written"));
    } else if (count == 0) {
        give_up(batch, ERR_TIMEOUT, STR("the batch was silent for 5 s; nothing of it was written"));
    } else if (count > 0) {
        writer_peer_flush(peer, sys_monotonic_ms());
        writer_peer_receive(peer, sys_monotonic_ms());
    }
}

void writer_commit_batch(struct writer_db *db, struct writer_peer *peer, const struct writer_frame_request *request,
                         struct writer_shared *shared, const volatile sig_atomic_t *stop, const sigset_t *signals)
{
    struct batch batch = {.db = db, .peer = peer, .tag = request->tag, .failed_row = WRITER_FRAME_NO_ROW};
    struct writer_frame_request *row = sys_calloc(1, sizeof *row);

    begin_batch(&batch, request);
    while (!batch.ended) {
        take_frames(&batch, row, shared);
        if (batch.ended)
            break;
        if (peer->lost || peer->ended) {
            writer_db_rollback(db);
            peer->lost = true;
            break;
        }
        await_peer(&batch, stop, signals);
    }
    writer_db_checkpoint(db);
    buf_free(&batch.sql);
    buf_free(&batch.outcome.json);
    buf_free(&batch.outcome.why);
    free(row);
}
