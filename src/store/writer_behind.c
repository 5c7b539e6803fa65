/*
 * writer_behind: accepting, and what is done about failures.
 *
 * Accepting is one insertion for each write and one commit of the journal for all of a round. Applying is
 * writer_apply's; when, and what readers are told of it, is decided here. What cannot be applied for now is tried again
 * later, for as long as it takes.
 *
 * Invariant: what is acknowledged is synced in the journal, and stays there until the position behind it is synced in
 * the origin. A number is shown as pending before its acknowledgement.
 */
#include "store/writer_behind.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/sys.h"
#include "store/receipt.h"
#include "store/writer_apply.h"
#include "store/writer_journal.h"

enum {
    GATHER_MS = 10, /* for which the oldest waits at most while clients are served */
    GATHER_WRITES = 256,
    RETRY_MS = 500,
};

struct writer_behind {
    const struct config *config;
    struct writer_db *db;
    struct writer_shared *shared;
    struct writer_pending *pending; /* of `shared` */
    struct writer_journal *journal;
    struct writer_apply *apply;
    unsigned known; /* the opening of the journal after which the origin was told of it; 0: none yet */
    uint64_t applied;
    int64_t oldest_ms;   /* when the first that is not applied was accepted, or was seen; monotonic */
    int64_t retry_ms;    /* not before; 0: at once */
    enum err stalled_by; /* why nothing can be applied, which has been logged; ERR_OK: it can */
    struct buf frame, answer;
    struct writer_frame_request request;
};

struct writer_behind *writer_behind_new(const struct config *config, struct writer_db *db, struct writer_shared *shared)
{
    struct writer_behind *behind = sys_calloc(1, sizeof *behind);

    behind->config = config;
    behind->db = db;
    behind->shared = shared;
    behind->pending = &behind->shared->pending;
    behind->journal = writer_journal_new(config);
    behind->apply = writer_apply_new(db, behind->journal);
    return behind;
}

void writer_behind_free(struct writer_behind **behind)
{
    if (!*behind)
        return;
    writer_apply_free(&(*behind)->apply);
    writer_journal_free(&(*behind)->journal);
    buf_free(&(*behind)->frame);
    buf_free(&(*behind)->answer);
    free(*behind);
    *behind = NULL;
}

/* Applying does not go on for now. Frees WHY. */
static void stall(struct writer_behind *behind, enum err err, struct buf *why)
{
    if (behind->stalled_by == ERR_OK)
        log_event(LOG_LEVEL_WARNING, "journal_stalled", LOG_STR("why", buf_str(why)));
    behind->stalled_by = err;
    behind->retry_ms = sys_monotonic_ms() + RETRY_MS;
    atomic_store(&behind->pending->stalled, true);
    buf_free(why);
}

static bool is_behind(const struct writer_behind *behind)
{
    return atomic_load(&behind->pending->accepted) > behind->applied;
}

/* A list of outbox_encode. */
static const struct str everything = {"\5\0\0\0all:*", 9};

/* Tells the origin of the journal, and finds out how far that has been applied. */
static enum err introduce(struct writer_behind *behind, struct buf *why)
{
    const struct writer_position_journal *journal = writer_journal_identity(behind->journal);
    uint64_t upto;
    enum err err = writer_db_begin(behind->db, why);

    if (err != ERR_OK)
        return err;
    err = writer_db_position(behind->db, journal, &upto, why);
    if (err != ERR_OK) {
        writer_db_rollback(behind->db);
        return err;
    }
    err = writer_db_commit(behind->db, why);
    if (err != ERR_OK)
        return err;
    behind->known = writer_journal_openings(behind->journal);
    behind->applied = upto;
    /* What was applied and is still there takes no room from what comes. */
    writer_journal_forget(behind->journal, upto);
    /* The purges of what a writer that died had applied stand there too. */
    writer_pending_applied(behind->pending, upto, writer_db_last_kept(behind->db));
    return ERR_OK;
}

/* BATCH is on the disk. */
static void settle(struct writer_behind *behind, const struct writer_apply_batch *batch)
{
    struct writer_pending *pending = behind->pending;
    const int64_t outbox_id = batch->outbox_id ? batch->outbox_id : atomic_load(&pending->outbox_id);

    if (batch->failed > 0)
        log_event(LOG_LEVEL_WARNING, "writes_failed", LOG_INT("count", batch->failed), LOG_INT("of", batch->count));
    if (behind->stalled_by != ERR_OK)
        log_event(LOG_LEVEL_NOTICE, "journal_goes_on", LOG_INT("applied", batch->count));
    behind->stalled_by = ERR_OK;
    behind->retry_ms = 0;
    behind->applied = batch->upto;
    behind->oldest_ms = sys_monotonic_ms();
    writer_journal_forget(behind->journal, batch->upto);
    writer_commit_note(behind->db, behind->shared, batch->count - batch->failed, true);
    writer_pending_applied(pending, batch->upto, outbox_id);
    writer_db_checkpoint(behind->db);
}

/* A journal that has given fewer numbers than are known here, up to GIVEN, has been put back: an older copy stands in
 * its place. What it has and the origin has not is applied. Then it becomes another one: no number is given again, and
 * the receipts of what has come after the copy and was not applied tell that it is lost. */
static enum err begin_anew(struct writer_behind *behind, uint64_t given, struct buf *why)
{
    struct writer_apply_batch batch;
    enum err err;

    do {
        err = writer_apply_some(behind->apply, &batch, why);
        if (err == ERR_OK)
            settle(behind, &batch);
    } while (err == ERR_OK && behind->applied < writer_journal_last(behind->journal));
    if (err == ERR_OK)
        err = writer_journal_renew(behind->journal, given, why);
    if (err != ERR_OK)
        return err;
    behind->known = 0;
    log_event(LOG_LEVEL_ERROR, "journal_put_back", LOG_TEXT("database", behind->config->store.database));
    return introduce(behind, why);
}

/* The highest number that is known to have been given. */
static uint64_t highest_given(const struct writer_behind *behind)
{
    const uint64_t accepted = atomic_load(&behind->pending->accepted);

    return accepted > behind->applied ? accepted : behind->applied;
}

/* As writer_journal_open. The origin knows of the journal before anybody has a receipt of it, and what the journal
 * holds that nobody was shown (its writer died, or could not tell whether a commit had been one) is pending. Not to be
 * called in a transaction. */
static enum err open_journal(struct writer_behind *behind, bool make, struct buf *why)
{
    struct writer_pending *pending = behind->pending;
    enum err err = writer_journal_open(behind->journal, make, why);

    if (err != ERR_OK)
        return err;
    const uint64_t number = writer_journal_identity(behind->journal)->number;
    const uint64_t last = writer_journal_last(behind->journal);
    if (writer_journal_openings(behind->journal) != behind->known) {
        /* What another journal held that is not applied is gone with it. */
        if (behind->applied < number)
            behind->applied = number;
        if (atomic_load(&pending->applied) < number)
            writer_pending_applied(pending, number, atomic_load(&pending->outbox_id));
        err = introduce(behind, why);
    }
    if (last > behind->applied && last > atomic_load(&pending->accepted)) {
        behind->oldest_ms = sys_monotonic_ms();
        writer_pending_add(pending, everything, last);
    }
    if (err == ERR_OK && last < highest_given(behind))
        err = begin_anew(behind, highest_given(behind), why);
    return err;
}

void writer_behind_resume(struct writer_behind *behind)
{
    struct buf why = {0};
    enum err err = open_journal(behind, false, &why);

    /* There may be anything in it. */
    if (err != ERR_OK && err != ERR_NOT_FOUND)
        stall(behind, err, &why);
    buf_free(&why);
}

static void refuse(struct writer_commit_item *item, enum err err, struct str why)
{
    writer_commit_fail(&item->outcome, err, why);
}

/* The answer kept in BYTES is the outcome of ITEM. */
static void take_kept(struct writer_commit_item *item, struct str bytes)
{
    struct writer_frame_answer kept;
    struct writer_db_outcome *outcome = &item->outcome;

    if (writer_frame_read_answer(bytes, &kept) != ERR_OK) {
        refuse(item, ERR_IO, STR(WRITER_DB_UNREADABLE));
        return;
    }
    writer_db_outcome_clear(outcome);
    outcome->err = kept.err;
    outcome->found = kept.found;
    outcome->repeated = true;
    outcome->changes = kept.changes;
    buf_add_str(&outcome->json, kept.json);
    buf_add_str(&outcome->why, kept.why);
}

/* ERR_NOT_FOUND when ITEM, which has a key, is new; ERR_OK when its outcome now is what it was answered, or that the
 * key is another request's. Other errors are of the journal. */
static enum err recall(struct writer_behind *behind, struct writer_commit_item *item, struct buf *why)
{
    const struct writer_frame_request *request = &item->request;

    buf_clear(&behind->answer);
    enum err err = writer_journal_recall(behind->journal, request->repeat_key, request->repeat_print,
                                         request->caller.now_ms, &behind->answer, why);
    if (err == ERR_OK)
        take_kept(item, buf_str(&behind->answer));
    else if (err == ERR_EXISTS)
        refuse(item, err, STR(""));
    return err == ERR_EXISTS ? ERR_OK : err;
}

bool writer_behind_knows(struct writer_behind *behind, struct writer_commit_item *item)
{
    struct buf why = {0};
    enum err err = open_journal(behind, false, &why);

    if (err == ERR_OK)
        err = recall(behind, item, &why);
    if (err != ERR_OK && err != ERR_NOT_FOUND)
        refuse(item, err, buf_str(&why));
    buf_free(&why);
    return err != ERR_NOT_FOUND;
}

/* The journal's frame of REQUEST: what only mattered to who asked is left out. */
static enum err make_frame(struct writer_behind *behind, const struct writer_frame_request *request)
{
    /* Nobody could be told later that it does not hold. */
    if (request->condition != WRITER_FRAME_ALWAYS)
        return ERR_USAGE;
    behind->request = *request;
    behind->request.tag = 0;
    behind->request.deadline_ms = 0;
    behind->request.repeat_key = behind->request.repeat_print = STR("");
    buf_clear(&behind->frame);
    return writer_frame_add_request(&behind->request, &behind->frame);
}

/* Writes FRAME into the journal for ITEM, whose outcome then tells of the receipt. Inside the transaction. */
static enum err enter(struct writer_behind *behind, struct writer_commit_item *item, struct str frame, struct buf *why)
{
    const struct writer_frame_request *request = &item->request;
    struct writer_db_outcome *outcome = &item->outcome;
    struct buf receipt = {0};

    enum err err = writer_journal_add(behind->journal, frame, request->caller.now_ms, &item->number, why);
    if (err != ERR_OK)
        return err;
    writer_db_outcome_clear(outcome);
    outcome->found = true;
    receipt_write(writer_journal_identity(behind->journal), item->number, &receipt);
    buf_printf(&outcome->json, "{\"receipt\":\"%s\"}", receipt.p);
    buf_free(&receipt);
    if (request->repeat_key.len == 0)
        return ERR_OK;
    buf_clear(&behind->answer);
    writer_frame_add_answer(
        &(struct writer_frame_answer){
            .found = true, .repeated = true, .failed_row = WRITER_FRAME_NO_ROW, .json = buf_str(&outcome->json)},
        &behind->answer);
    return writer_journal_keep(behind->journal, request->repeat_key, request->repeat_print, request->caller.now_ms,
                               buf_str(&behind->answer), why);
}

/* One write of a round. An error is one of the journal, and everybody's. */
static enum err accept(struct writer_behind *behind, struct writer_commit_item *item, struct buf *why)
{
    const struct writer_frame_request *request = &item->request;

    item->number = 0;
    if (request->repeat_key.len > 0) {
        if (writer_db_knows(behind->db, request)) {
            refuse(item, ERR_EXISTS, STR(""));
            return ERR_OK;
        }
        enum err err = recall(behind, item, why);
        if (err != ERR_NOT_FOUND)
            return err;
    }
    if (request->deadline_ms <= sys_monotonic_ms()) {
        refuse(item, ERR_BUSY, STR("it waited too long for its turn; nothing was written"));
        return ERR_OK;
    }
    const enum err made = make_frame(behind, request);
    if (made != ERR_OK) {
        refuse(item, made, STR(""));
        return ERR_OK;
    }
    if (!writer_journal_has_room(behind->journal, behind->frame.len)) {
        refuse(item, ERR_BUSY, STR("the journal is full: too many writes are waiting to be applied"));
        return ERR_OK;
    }
    return enter(behind, item, buf_str(&behind->frame), why);
}

static enum err accept_all(struct writer_behind *behind, struct writer_commit_item *const *items, size_t count,
                           struct buf *why)
{
    enum err err = open_journal(behind, true, why);

    if (err == ERR_OK)
        err = writer_journal_begin(behind->journal, why);
    if (err != ERR_OK)
        return err;
    for (size_t i = 0; err == ERR_OK && i < count; i++)
        err = accept(behind, items[i], why);
    if (err == ERR_OK)
        return writer_journal_commit(behind->journal, why);
    writer_journal_rollback(behind->journal);
    return err;
}

/* Write NUMBER stands in the journal. */
static void show_pending(struct writer_behind *behind, struct str purges, uint64_t number)
{
    if (!is_behind(behind))
        behind->oldest_ms = sys_monotonic_ms();
    writer_pending_add(behind->pending, purges, number);
}

void writer_behind_accept(struct writer_behind *behind, struct writer_commit_item *const *items, size_t count)
{
    struct buf why = {0};
    enum err err = accept_all(behind, items, count, &why);

    for (size_t i = 0; i < count; i++) {
        if (err != ERR_OK)
            refuse(items[i], err, buf_str(&why));
        else if (items[i]->number > 0)
            show_pending(behind, items[i]->request.purges, items[i]->number);
    }
    writer_commit_answer(items, count);
    buf_free(&why);
}

/* Makes behind->frame of FRAME, a failed write's, which is to be write ID once more: where a client's key would stand,
 * the frame then says so (writer_apply). One that is not understood stays as it is, and fails again. */
static enum err make_repeating(struct writer_behind *behind, uint64_t id, struct str frame)
{
    struct buf key = {0};
    enum err err = ERR_OK;

    buf_clear(&behind->frame);
    if (writer_frame_read_request(frame, &behind->request) == ERR_OK) {
        buf_printf(&key, "%" PRIu64, id);
        behind->request.repeat_key = buf_str(&key);
        err = writer_frame_add_request(&behind->request, &behind->frame);
        behind->request.repeat_key = STR("");
    } else {
        behind->request.purges = everything;
        buf_add_str(&behind->frame, frame);
    }
    buf_free(&key);
    return err;
}

/* The frame in behind->frame is accepted, for ITEM. */
static enum err accept_again(struct writer_behind *behind, struct writer_commit_item *item, struct buf *why)
{
    enum err err = writer_journal_begin(behind->journal, why);

    if (err != ERR_OK)
        return err;
    item->request.caller.now_ms = sys_now_ms();
    err = enter(behind, item, buf_str(&behind->frame), why);
    if (err == ERR_OK)
        err = writer_journal_commit(behind->journal, why);
    else
        writer_journal_rollback(behind->journal);
    /* A number that was taken back must not be shown: nobody would ever apply it. */
    if (err != ERR_OK)
        item->number = 0;
    return err;
}

/* Inside the transaction: failure ID is repeated as SUCCESSOR, or dropped (0). The transaction is ended. */
static enum err decide(struct writer_behind *behind, uint64_t id, uint64_t successor, struct buf *why)
{
    enum err err = writer_db_resolve_failed(behind->db, id, successor, why);

    if (err == ERR_OK)
        return writer_db_commit(behind->db, why);
    writer_db_rollback(behind->db);
    return err;
}

/* Inside the transaction, which is ended. Once the journal has it, it is accepted, and whoever asked is told so: if the
 * database cannot note that now, it is noted when the write is applied. */
static enum err repeat(struct writer_behind *behind, struct writer_commit_item *item, uint64_t id, struct buf *why)
{
    struct buf frame = {0}, ignored = {0};
    enum err err = writer_db_load_failed(behind->db, id, &frame, why);

    if (err == ERR_OK)
        err = make_repeating(behind, id, buf_str(&frame));
    if (err == ERR_OK)
        err = accept_again(behind, item, why);
    if (err == ERR_OK) {
        show_pending(behind, behind->request.purges, item->number);
        (void)!decide(behind, id, item->number, &ignored);
    } else {
        writer_db_rollback(behind->db);
    }
    buf_free(&frame);
    buf_free(&ignored);
    return err;
}

/* First everything that was accepted is applied: what is still to be repeated or dropped then is for certain. */
static enum err resolve(struct writer_behind *behind, struct writer_commit_item *item, struct buf *why)
{
    const uint64_t id = (uint64_t)item->request.ids[0];
    const bool repeats = item->request.kind == WRITER_FRAME_REPEAT;
    enum err err = open_journal(behind, repeats, why);

    if (err != ERR_OK && (repeats || err != ERR_NOT_FOUND))
        return err;
    err = writer_behind_catch_up(behind, atomic_load(&behind->pending->accepted),
                                 sys_monotonic_ms() + behind->config->store.write_timeout_ms);
    if (err != ERR_OK) {
        buf_add_str(why, STR("writes accepted before cannot be applied now"));
        return err;
    }
    err = writer_db_begin(behind->db, why);
    if (err != ERR_OK)
        return err;
    writer_db_outcome_clear(&item->outcome);
    return repeats ? repeat(behind, item, id, why) : decide(behind, id, 0, why);
}

void writer_behind_resolve(struct writer_behind *behind, struct writer_commit_item *item)
{
    struct buf why = {0};

    item->number = 0;
    enum err err = resolve(behind, item, &why);
    if (err != ERR_OK)
        refuse(item, err, buf_str(&why));
    writer_commit_answer(&item, 1);
    buf_free(&why);
}

int64_t writer_behind_due_ms(const struct writer_behind *behind, bool busy)
{
    if (!is_behind(behind) && behind->stalled_by == ERR_OK)
        return INT64_MAX;
    if (behind->retry_ms > 0)
        return behind->retry_ms;
    bool many = atomic_load(&behind->pending->accepted) - behind->applied >= GATHER_WRITES;
    return busy && !many ? behind->oldest_ms + GATHER_MS : 0;
}

bool writer_behind_apply(struct writer_behind *behind)
{
    struct writer_apply_batch batch;
    struct buf why = {0};
    enum err err = open_journal(behind, false, &why);
    const bool gone = err == ERR_NOT_FOUND;

    bool left = false;

    if (err == ERR_OK)
        err = writer_apply_some(behind->apply, &batch, &why);
    if (err == ERR_OK) {
        settle(behind, &batch);
        left = batch.upto < writer_journal_last(behind->journal);
    } else if (gone) {
        /* Whoever took the file away took what stood in it along. */
        behind->applied = atomic_load(&behind->pending->accepted);
        behind->stalled_by = ERR_OK;
        behind->retry_ms = 0;
        writer_pending_applied(behind->pending, behind->applied, atomic_load(&behind->pending->outbox_id));
        log_event(LOG_LEVEL_ERROR, "journal_gone", LOG_TEXT("database", behind->config->store.database));
    } else {
        stall(behind, err, &why);
    }
    buf_free(&why);
    return left;
}

enum err writer_behind_catch_up(struct writer_behind *behind, uint64_t number, int64_t until_ms)
{
    while (behind->applied < number)
        if ((!writer_behind_apply(behind) || sys_monotonic_ms() >= until_ms) && behind->applied < number)
            return behind->stalled_by == ERR_FULL ? ERR_FULL : ERR_BUSY;
    return ERR_OK;
}
