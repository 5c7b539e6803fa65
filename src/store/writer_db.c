/*
 * writer_db: the writing connection.
 *
 * It joins what is committed together: a write, its purges (writer_outbox), what it was answered (writer_replay), how
 * far a journal has been applied (writer_position), and how much of the log of scores is needed (writer_scores).
 *
 * Invariants: what a client sends can neither begin nor end a transaction nor touch savepoints, pragmas or the schema:
 * it is prepared under an authorizer that lets only this module's own statements by. Every statement is reset before a
 * function returns. Deferred foreign keys are judged write by write, so that a violation is not everybody's at the
 * commit.
 *
 * Who may be answered when is not decided here.
 */
#include "store/writer_db.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sys.h"
#include "store/migrate.h"
#include "store/rows.h"
#include "store/statement.h"
#include "store/writer_outbox.h"
#include "store/writer_replay.h"
#include "store/writer_scores.h"
#include "store/writer_script.h"
#include "store/writer_wal.h"

enum {
    RUN_MS = 5000,         /* that statements may take which do not say how long they may */
    PROGRESS_STEPS = 2000, /* of SQLite's virtual machine between looks at the clock */
    JSON_BYTES_KEPT = 1 << 20,
};

/* What every write runs, prepared once. */
enum { BEGIN, COMMIT, ROLLBACK, SAVEPOINT, RELEASE, ROLLBACK_TO, CONTROLS };

static const char *const control_texts[CONTROLS] = {
    [BEGIN] = "BEGIN IMMEDIATE",      [COMMIT] = "COMMIT",          [ROLLBACK] = "ROLLBACK",
    [SAVEPOINT] = "SAVEPOINT larder", [RELEASE] = "RELEASE larder", [ROLLBACK_TO] = "ROLLBACK TO larder",
};

struct writer_db {
    const struct config *config;
    unsigned migrations;
    sqlite3 *db; /* NULL: to be opened by the next transaction */
    bool doubtful;
    struct rows_file file;
    bool own;            /* what is prepared now is this module's */
    int64_t deadline_ms; /* of the write that runs; monotonic; 0: none does */
    sqlite3_stmt *controls[CONTROLS];
    struct writer_scripts *scripts;
    struct writer_outbox *outbox;
    struct writer_replay *replay;
    struct writer_position *position;
    struct writer_scores *scores;
    struct buf answer; /* on its way to or from `replay` */
    struct writer_wal wal;
};

static int authorize(void *context, int action, const char *first, const char *second, const char *schema,
                     const char *trigger)
{
    const struct writer_db *db = context;

    return db->own ? SQLITE_OK : statement_allow_writing(NULL, action, first, second, schema, trigger);
}

static int check_deadline(void *context)
{
    const struct writer_db *db = context;

    return db->deadline_ms != 0 && sys_monotonic_ms() >= db->deadline_ms;
}

/* What ERR, of the call on DB that failed last, means for the connection. */
static enum err judge(struct writer_db *db, enum err err)
{
    db->doubtful |= err == ERR_IO || err == ERR_CORRUPT || err == ERR_UNAVAILABLE || err == ERR_READ_ONLY;
    return writer_wal_judge(db->db, err);
}

/* Runs CALL, of a module that has statements of its own on this connection. */
#define OWN(db, call) ((db)->own = true, leave_own((db), (call)))

static enum err leave_own(struct writer_db *db, enum err err)
{
    db->own = false;
    return judge(db, err);
}

static enum err control(struct writer_db *db, int which, struct buf *why)
{
    db->own = true; /* it may have to be prepared again */
    int code = sqlite3_step(db->controls[which]);
    enum err err = code == SQLITE_DONE ? ERR_OK : rows_failed(db->db, why);
    sqlite3_reset(db->controls[which]);
    return leave_own(db, err);
}

static void disconnect(struct writer_db *db)
{
    statement_finalize_all(db->controls, CONTROLS);
    writer_script_disconnect(db->scripts);
    writer_outbox_disconnect(db->outbox);
    writer_replay_disconnect(db->replay);
    writer_position_disconnect(db->position);
    writer_scores_disconnect(db->scores);
    /* What cannot be trusted, or is no longer the file at the path, must not be copied together on the way out. */
    if (db->db && db->doubtful)
        sqlite3_db_config(db->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close(db->db);
    db->db = NULL;
    db->doubtful = false;
}

/* Where there is no place for it now, it is made when it is needed, and until then whoever wants to write is told why
 * he cannot. */
static enum err connect_outbox(struct writer_db *db, struct buf *why)
{
    struct buf reason = {0};

    enum err err = OWN(db, writer_outbox_connect(db->outbox, db->db, &reason));
    if (err == ERR_FULL || err == ERR_READ_ONLY || err == ERR_BUSY) {
        db->doubtful = false;
        err = ERR_OK;
    }
    if (err != ERR_OK)
        buf_add_str(why, buf_str(&reason));
    buf_free(&reason);
    return err;
}

static enum err configure(struct writer_db *db, struct buf *why)
{
    static const char settings[] = "PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;";
    const struct config *config = db->config;

    sqlite3_extended_result_codes(db->db, 1);
    sqlite3_busy_timeout(db->db, (int)config->store.busy_timeout_ms);
    sqlite3_db_config(db->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    enum err err = writer_wal_init(&db->wal, db->db, config->store.database, config->store.wal_limit, why);
    if (err == ERR_OK && sqlite3_exec(db->db, settings, NULL, NULL, NULL) != SQLITE_OK)
        err = judge(db, rows_failed(db->db, why));
    if (err == ERR_OK)
        err = judge(db, statement_prepare_all(db->db, control_texts, db->controls, CONTROLS, why));
    if (err != ERR_OK)
        return err;
    sqlite3_progress_handler(db->db, PROGRESS_STEPS, check_deadline, db);
    sqlite3_set_authorizer(db->db, authorize, db);
    return connect_outbox(db, why);
}

static enum err connect_database(struct writer_db *db, struct buf *why)
{
    const char *path = db->config->store.database;
    struct stat status = {0};
    enum err err = migrate_and_log(path, db->config->store.sql, db->migrations, why);

    if (err != ERR_OK)
        return err;
    /* Before the opening, so that a file replaced in between is noticed by the next look. */
    if (stat(path, &status) != 0) {
        buf_printf(why, "%s: %s", path, strerror(errno));
        return ERR_UNAVAILABLE;
    }
    int code = sqlite3_open_v2(path, &db->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (!db->db)
        return ERR_LIMIT;
    err = code == SQLITE_OK ? configure(db, why) : rows_failed(db->db, why);
    if (err != ERR_OK)
        disconnect(db);
    db->file = (struct rows_file){.device = status.st_dev, .inode = status.st_ino};
    return err;
}

enum err writer_db_open(const struct config *config, unsigned migrations, struct writer_shares *shares,
                        struct writer_db **out, struct buf *why)
{
    struct writer_db *db = sys_calloc(1, sizeof *db);

    db->config = config;
    db->migrations = migrations;
    db->scripts = writer_script_new(check_deadline, db);
    db->outbox = writer_outbox_new(shares);
    db->replay = writer_replay_new();
    db->position = writer_position_new();
    db->scores = writer_scores_new();
    enum err err = connect_database(db, why);
    if (err == ERR_OK)
        *out = db;
    else
        writer_db_close(&db);
    return err;
}

void writer_db_close(struct writer_db **db)
{
    if (!*db)
        return;
    if ((*db)->db && !(*db)->doubtful)
        (void)sqlite3_wal_checkpoint_v2((*db)->db, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    disconnect(*db);
    writer_script_free(&(*db)->scripts);
    writer_outbox_free(&(*db)->outbox);
    writer_replay_free(&(*db)->replay);
    writer_position_free(&(*db)->position);
    writer_scores_free(&(*db)->scores);
    buf_free(&(*db)->answer);
    free(*db);
    *db = NULL;
}

enum err writer_db_begin(struct writer_db *db, struct buf *why)
{
    const char *path = db->config->store.database;

    if (db->db && (!rows_file_stands(path, &db->file) || writer_outbox_is_outdated(db->outbox)))
        db->doubtful = true;
    if (db->db && db->doubtful) {
        log_event(LOG_LEVEL_INFO, "database_reopened", LOG_TEXT("path", path));
        disconnect(db);
    }
    if (!db->db && access(path, F_OK) != 0) {
        buf_printf(why, "the database %s is gone: put it back, or restart larder to begin with an empty one", path);
        return ERR_UNAVAILABLE;
    }
    writer_outbox_settle(db->outbox, false);
    enum err err = db->db ? ERR_OK : connect_database(db, why);
    return err == ERR_OK ? control(db, BEGIN, why) : err;
}

/* Whether what follows says itself what is to be purged (OWN), or is counted by the triggers, as others' changes are.
 */
static enum err tell_own(struct writer_db *db, bool own, struct buf *why)
{
    return OWN(db, writer_outbox_tell_own(db->outbox, db->db, own, why));
}

enum err writer_db_commit(struct writer_db *db, struct buf *why)
{
    enum err err = tell_own(db, false, why);

    if (err == ERR_OK)
        err = control(db, COMMIT, why);
    if (err != ERR_OK)
        writer_db_rollback(db);
    else
        writer_outbox_settle(db->outbox, true);
    return err;
}

bool writer_db_in_transaction(const struct writer_db *db)
{
    return db->db && !sqlite3_get_autocommit(db->db);
}

void writer_db_rollback(struct writer_db *db)
{
    struct buf why = {0};

    if (writer_db_in_transaction(db) && control(db, ROLLBACK, &why) != ERR_OK)
        db->doubtful = true;
    buf_free(&why);
}

static enum err call(struct writer_db *db, struct str sql, enum catalog_shape shape, const struct params_values *values,
                     const struct store_caller *caller, struct writer_db_outcome *outcome)
{
    const struct writer_script_call it = {.sql = sql, .shape = shape, .values = values, .caller = caller};

    return judge(db, writer_script_run(db->scripts, db->db, &it, &outcome->json, &outcome->found, &outcome->why));
}

/* Whether JSON's hash is among HASHES. */
static bool is_among(struct str json, struct str hashes)
{
    char digits[WRITER_FRAME_HASH_LEN + 1];
    struct buf digest = {.p = digits, .cap = sizeof digits};

    sys_digest(json, &digest);
    for (size_t at = 0; at + WRITER_FRAME_HASH_LEN <= hashes.len; at += WRITER_FRAME_HASH_LEN)
        if (memcmp(hashes.p + at, digits, WRITER_FRAME_HASH_LEN) == 0)
            return true;
    return hashes.len == 0;
}

/* ERR_CHANGED where REQUEST's condition does not hold now. */
static enum err check_condition(struct writer_db *db, const struct writer_frame_request *request,
                                struct writer_db_outcome *outcome)
{
    if (request->condition == WRITER_FRAME_ALWAYS)
        return ERR_OK;
    enum err err = call(db, request->condition_sql, request->condition_shape, &request->condition_values,
                        &request->caller, outcome);
    if (err != ERR_OK)
        return err;
    bool matches = outcome->found && is_among(buf_str(&outcome->json), request->condition_hashes);
    outcome->found = false;
    buf_clear(&outcome->json);
    return matches == (request->condition == WRITER_FRAME_IF_MATCH) ? ERR_OK : ERR_CHANGED;
}

static enum err run_in_time(struct writer_db *db, const struct writer_frame_request *request, int64_t left_ms,
                            struct writer_db_outcome *outcome)
{
    const int64_t before = sqlite3_total_changes64(db->db);
    const int64_t run_ms = request->run_ms > 0 ? request->run_ms : RUN_MS;
    const int64_t timeout_ms = left_ms < run_ms ? left_ms : run_ms;

    db->deadline_ms = sys_monotonic_ms() + timeout_ms;
    enum err err = check_condition(db, request, outcome);
    if (err == ERR_OK)
        err = call(db, request->sql, request->shape, &request->values, &request->caller, outcome);
    outcome->changes = sqlite3_total_changes64(db->db) - before;
    if (err == ERR_OK && check_deadline(db))
        err = ERR_TIMEOUT;
    db->deadline_ms = 0;
    if (err == ERR_TIMEOUT) {
        err = ERR_OVERDUE;
        buf_clear(&outcome->why);
        buf_printf(&outcome->why, "the statements ran longer than %lld ms and were taken back", (long long)timeout_ms);
    }
    return err;
}

static void settle(enum err err, struct writer_db_outcome *outcome)
{
    outcome->err = err;
    if (err == ERR_OK)
        return;
    outcome->found = false;
    outcome->changes = outcome->outbox_id = 0;
    buf_clear(&outcome->json);
    if (outcome->why.len == 0)
        buf_add_str(&outcome->why, str_from(err_text(err)));
}

void writer_db_outcome_clear(struct writer_db_outcome *outcome)
{
    outcome->err = ERR_OK;
    outcome->found = outcome->repeated = outcome->kept = false;
    outcome->changes = outcome->outbox_id = 0;
    if (outcome->json.cap > JSON_BYTES_KEPT)
        buf_free(&outcome->json);
    buf_clear(&outcome->json);
    buf_clear(&outcome->why);
}

/* Deferred constraints that this write has left open. */
static enum err check_foreign_keys(struct writer_db *db, struct buf *why)
{
    int open = 0, highest;

    if (sqlite3_db_status(db->db, SQLITE_DBSTATUS_DEFERRED_FKS, &open, &highest, 0) != SQLITE_OK || open == 0)
        return ERR_OK;
    buf_add_str(why, STR("FOREIGN KEY constraint failed"));
    return ERR_CONSTRAINT;
}

/* Undoes what was done since the savepoint. */
static void take_back(struct writer_db *db)
{
    struct buf ignored = {0};

    if (writer_db_in_transaction(db) &&
        (control(db, ROLLBACK_TO, &ignored) != ERR_OK || control(db, RELEASE, &ignored) != ERR_OK))
        writer_db_rollback(db);
    buf_free(&ignored);
}

enum err writer_db_keep(struct writer_db *db, struct str purges, size_t writes, int64_t *outbox_id, struct buf *why)
{
    return OWN(db, writer_outbox_add(db->outbox, db->db, sys_now_ms(), purges, writes, outbox_id, why));
}

enum err writer_db_keep_left(struct writer_db *db, struct str purges, int64_t *outbox_id, struct buf *why)
{
    return OWN(db, writer_outbox_add(db->outbox, db->db, 0, purges, 1, outbox_id, why));
}

int64_t writer_db_last_kept(struct writer_db *db)
{
    db->own = true;
    int64_t id = writer_outbox_last(db->db);
    db->own = false;
    return id;
}

enum err writer_db_position(struct writer_db *db, const struct writer_position_journal *journal, uint64_t *upto,
                            struct buf *why)
{
    return OWN(db, writer_position_find(db->position, db->db, journal, upto, why));
}

enum err writer_db_advance(struct writer_db *db, uint64_t journal, uint64_t upto, struct buf *why)
{
    return OWN(db, writer_position_advance(db->position, db->db, journal, upto, why));
}

enum err writer_db_fail_behind(struct writer_db *db, uint64_t id, int64_t at_ms, struct str request, enum err error,
                               struct str reason, struct buf *why)
{
    return OWN(db, writer_position_fail(db->position, db->db, id, at_ms, request, error, reason, why));
}

enum err writer_db_load_failed(struct writer_db *db, uint64_t id, struct buf *request, struct buf *why)
{
    return OWN(db, writer_position_load(db->position, db->db, id, request, why));
}

enum err writer_db_resolve_failed(struct writer_db *db, uint64_t id, uint64_t successor, struct buf *why)
{
    return OWN(db, writer_position_resolve(db->position, db->db, id, successor, why));
}

/* Keeps what REQUEST, which ends with ERR, is answered. */
static enum err remember(struct writer_db *db, const struct writer_frame_request *request, enum err err,
                         struct writer_db_outcome *outcome)
{
    const struct writer_frame_answer answer = {.err = err,
                                               .found = outcome->found,
                                               .repeated = true,
                                               .changes = outcome->changes,
                                               .failed_row = WRITER_FRAME_NO_ROW,
                                               .why = buf_str(&outcome->why),
                                               .json = buf_str(&outcome->json)};

    buf_clear(&db->answer);
    writer_frame_add_answer(&answer, &db->answer);
    enum err kept = OWN(db, writer_replay_keep(db->replay, db->db, request->repeat_key, request->repeat_print,
                                               request->caller.now_ms, buf_str(&db->answer), &outcome->why));
    outcome->kept = kept == ERR_OK;
    return kept;
}

/* What is kept under REQUEST's key, in db->answer. */
static enum err find_kept(struct writer_db *db, const struct writer_frame_request *request, struct buf *why)
{
    buf_clear(&db->answer);
    return OWN(db, writer_replay_find(db->replay, db->db, request->repeat_key, request->repeat_print,
                                      request->caller.now_ms, &db->answer, why));
}

/* What REQUEST was answered before. ERR_NOT_FOUND: it is new, or has no key. */
static enum err recall(struct writer_db *db, const struct writer_frame_request *request,
                       struct writer_db_outcome *outcome)
{
    struct writer_frame_answer answer;

    if (request->repeat_key.len == 0)
        return ERR_NOT_FOUND;
    enum err err = find_kept(db, request, &outcome->why);
    if (err != ERR_OK)
        return err;
    /* One that another version has written cannot be given again, and must not be carried out again either. */
    if (writer_frame_read_answer(buf_str(&db->answer), &answer) != ERR_OK) {
        buf_add_str(&outcome->why, STR(WRITER_DB_UNREADABLE));
        return ERR_IO;
    }
    outcome->err = answer.err;
    outcome->found = answer.found;
    outcome->repeated = true;
    outcome->changes = answer.changes;
    buf_add_str(&outcome->json, answer.json);
    buf_add_str(&outcome->why, answer.why);
    return ERR_OK;
}

bool writer_db_knows(struct writer_db *db, const struct writer_frame_request *request)
{
    struct buf why = {0};

    if (!db->db || db->doubtful)
        return false;
    enum err err = find_kept(db, request, &why);
    buf_free(&why);
    return err == ERR_OK || err == ERR_EXISTS;
}

/* The write and what belongs to it, inside a savepoint. */
static enum err apply_whole(struct writer_db *db, const struct writer_frame_request *request, int64_t left_ms,
                            struct writer_db_outcome *outcome)
{
    enum err err = run_in_time(db, request, left_ms, outcome);

    if (err == ERR_OK)
        err = check_foreign_keys(db, &outcome->why);
    if (err == ERR_OK && request->repeat_key.len > 0)
        err = remember(db, request, ERR_OK, outcome);
    if (err == ERR_OK)
        err = control(db, RELEASE, &outcome->why);
    return err;
}

void writer_db_apply(struct writer_db *db, const struct writer_frame_request *request, int64_t left_ms,
                     struct writer_db_outcome *outcome)
{
    writer_db_outcome_clear(outcome);
    enum err err = recall(db, request, outcome);
    if (err != ERR_NOT_FOUND) {
        settle(err == ERR_OK ? outcome->err : err, outcome);
        return;
    }
    /* Before the savepoint: what takes the write back must not take this back. */
    err = tell_own(db, request->purges.len > 0 || request->will_purge, &outcome->why);
    if (err == ERR_OK)
        err = control(db, SAVEPOINT, &outcome->why);
    if (err == ERR_OK) {
        err = apply_whole(db, request, left_ms, outcome);
        if (err != ERR_OK)
            take_back(db);
    }
    settle(err, outcome);
    /* What the data itself refused is its answer, and kept as such; other failures are worth another try. */
    if (request->repeat_key.len > 0 && (err == ERR_CONSTRAINT || err == ERR_CHANGED) && writer_db_in_transaction(db))
        settle(remember(db, request, err, outcome) == ERR_OK ? err : ERR_STATEMENT, outcome);
}

void writer_db_apply_row(struct writer_db *db, const struct writer_frame_request *request,
                         struct writer_db_outcome *outcome)
{
    writer_db_outcome_clear(outcome);
    enum err err = tell_own(db, request->will_purge, &outcome->why);
    settle(err == ERR_OK ? run_in_time(db, request, INT64_MAX, outcome) : err, outcome);
}

enum err writer_db_note_purged(struct writer_db *db, const struct writer_frame_request *request)
{
    writer_outbox_note_told(db->outbox, request->told);
    if (request->kind == WRITER_FRAME_CHANGED)
        return writer_outbox_note_changed(db->outbox, &request->values);
    if (request->kind == WRITER_FRAME_DRAINED)
        return writer_outbox_note(db->outbox, request->ids, request->ids_count);
    for (size_t i = 0; i < request->ids_count; i++)
        writer_scores_note(db->scores, (uint64_t)request->ids[i]);
    return ERR_OK;
}

bool writer_db_has_purged(const struct writer_db *db)
{
    return writer_outbox_has_noted(db->outbox) || writer_scores_has_noted(db->scores);
}

uint64_t writer_db_scores(struct writer_db *db)
{
    uint64_t number = 0;

    if (db->db && OWN(db, writer_scores_newest(db->scores, db->db, &number)) != ERR_OK)
        return 0;
    return number;
}

enum err writer_db_remove_purged(struct writer_db *db, struct buf *why)
{
    enum err err = control(db, SAVEPOINT, why);

    if (err != ERR_OK)
        return err;
    err = OWN(db, writer_outbox_remove(db->outbox, db->db, why));
    if (err == ERR_OK)
        err = OWN(db, writer_scores_cut(db->scores, db->db, why));
    if (err == ERR_OK)
        err = control(db, RELEASE, why);
    if (err != ERR_OK) {
        take_back(db);
        writer_outbox_take_back(db->outbox);
    }
    return err;
}

enum err writer_db_prepare(struct writer_db *db, struct str sql, struct buf *why)
{
    return judge(db, writer_script_prepare(db->scripts, db->db, sql, why));
}

void writer_db_checkpoint(struct writer_db *db)
{
    if (db->db && !db->doubtful)
        (void)judge(db, writer_wal_checkpoint(&db->wal, db->db));
}
