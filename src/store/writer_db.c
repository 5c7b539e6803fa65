/*
 * writer_db: the writing connection.
 *
 * SQL that came before is kept prepared, found by the hash and then the text of the SQL; the least recently used goes
 * when there are too many. A text too large to keep is prepared and run statement by statement.
 *
 * Invariants: what a client sends can neither begin nor end a transaction nor touch savepoints, pragmas or the schema:
 * it is prepared under an authorizer that lets only this module's own statements by. Every statement is reset before a
 * function returns. Deferred foreign keys are judged write by write, so that a violation is not everybody's at the
 * commit.
 *
 * The WAL is copied back in steps of a quarter of its limit, without waiting for readers; past the limit also waiting,
 * so that the file can be cut. It is never done in the middle of a transaction. Who may be answered when is not decided
 * here.
 */
#include "store/writer_db.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sys.h"
#include "store/migrate.h"
#include "store/rows.h"
#include "store/statement.h"
#include "store/writer_outbox.h"

enum {
    SCRIPTS_MAX = 64,
    SCRIPT_BYTES_MAX = 64 << 10, /* longer SQL is not kept */
    PROGRESS_STEPS = 2000,       /* of SQLite's virtual machine between looks at the clock */
    ANSWER_BYTES_MAX = 16 << 20,
    JSON_BYTES_KEPT = 1 << 20,
    WAL_FRAME_HEAD = 24,
};

/* One SQL text, prepared. */
struct script {
    uint64_t hash;
    char *sql; /* NULL: the slot is free */
    size_t sql_len;
    uint64_t used; /* when, by the count of uses */
    struct prepared {
        sqlite3_stmt *statement;
        struct rows_plan plan;
    } * statements;
    size_t count;
};

struct writer_db {
    const struct config *config;
    sqlite3 *db; /* NULL: to be opened by the next transaction */
    bool doubtful;
    dev_t device;
    ino_t inode;
    bool own;            /* what is prepared now is this module's */
    int64_t deadline_ms; /* of the write that runs; monotonic; 0: none does */
    struct script scripts[SCRIPTS_MAX];
    uint64_t uses;
    struct writer_outbox *outbox;
    uint64_t page_bytes;
    uint64_t wal_bytes;      /* after the last commit */
    uint64_t wal_seen;       /* at the last look */
    uint64_t wal_checkpoint; /* the size at which the next checkpoint is due */
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

static int note_wal(void *context, sqlite3 *handle, const char *schema, int pages)
{
    struct writer_db *db = context;

    (void)handle, (void)schema;
    db->wal_bytes = (uint64_t)pages * (db->page_bytes + WAL_FRAME_HEAD);
    return SQLITE_OK;
}

/* The system's reason for the last failure: of the call as a whole, which commits do not tell, else of the WAL's file.
 */
static int last_errno(struct writer_db *db)
{
    int number = sqlite3_system_errno(db->db);
    sqlite3_file *wal = NULL;

    if (number == 0 && sqlite3_file_control(db->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal) == SQLITE_OK && wal &&
        wal->pMethods)
        (void)wal->pMethods->xFileControl(wal, SQLITE_FCNTL_LAST_ERRNO, &number);
    return number;
}

/* What ERR, of the call on DB that failed last, means for the connection. A quota or a limit on file sizes is a full
 * disk. */
static enum err judge(struct writer_db *db, enum err err)
{
    db->doubtful |= err == ERR_IO || err == ERR_CORRUPT || err == ERR_UNAVAILABLE || err == ERR_READ_ONLY;
    if (err != ERR_IO)
        return err;
    int number = last_errno(db);
    return number == ENOSPC || number == EDQUOT || number == EFBIG ? ERR_FULL : ERR_IO;
}

/* Runs SQL of this module's own. */
static enum err control(struct writer_db *db, const char *sql, struct buf *why)
{
    db->own = true;
    int code = sqlite3_exec(db->db, sql, NULL, NULL, NULL);
    db->own = false;
    return code == SQLITE_OK ? ERR_OK : judge(db, rows_failed(db->db, why));
}

static void drop_script(struct script *script)
{
    for (size_t i = 0; i < script->count; i++) {
        sqlite3_finalize(script->statements[i].statement);
        rows_plan_fini(&script->statements[i].plan);
    }
    free(script->statements);
    free(script->sql);
    *script = (struct script){.sql = NULL};
}

static void disconnect(struct writer_db *db)
{
    for (size_t i = 0; i < SCRIPTS_MAX; i++)
        drop_script(&db->scripts[i]);
    writer_outbox_disconnect(db->outbox);
    /* What cannot be trusted, or is no longer the file at the path, must not be copied together on the way out. */
    if (db->db && db->doubtful)
        sqlite3_db_config(db->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close(db->db);
    db->db = NULL;
    db->doubtful = false;
}

static void tell_migration(void *context, const char *file)
{
    (void)context;
    log_event(LOG_LEVEL_NOTICE, "migrating", LOG_TEXT("file", file));
}

static enum err migrate(const struct config *config, struct buf *why)
{
    struct report *report = report_new();
    unsigned applied;
    enum err err = migrate_run(config->store.database, config->store.sql, &applied, report, tell_migration, NULL);

    for (size_t i = 0; err != ERR_OK && i < report_count(report); i++)
        buf_printf(why, "%s%s", i > 0 ? "; " : "", report_line(report, i));
    report_free(&report);
    return err;
}

/* PRAGMA journal_mode says which mode it is now; it does not fail where WAL is impossible. */
static enum err require_wal(struct writer_db *db, struct buf *why)
{
    sqlite3_stmt *statement = NULL;
    enum err err = ERR_OK;

    if (sqlite3_prepare_v2(db->db, "PRAGMA journal_mode = WAL", -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW) {
        err = rows_failed(db->db, why);
    } else if (sqlite3_stricmp((const char *)sqlite3_column_text(statement, 0), "wal") != 0) {
        buf_printf(why, "%s cannot be put into WAL mode: is it on a network file system?", db->config->store.database);
        err = ERR_UNAVAILABLE;
    }
    sqlite3_finalize(statement);
    return err;
}

static enum err read_page_size(struct writer_db *db, struct buf *why)
{
    sqlite3_stmt *statement = NULL;
    enum err err = ERR_OK;

    if (sqlite3_prepare_v2(db->db, "PRAGMA page_size", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        db->page_bytes = (uint64_t)sqlite3_column_int64(statement, 0);
    else
        err = rows_failed(db->db, why);
    sqlite3_finalize(statement);
    return err;
}

/* Where there is no place for it now, it is made when it is needed, and until then whoever wants to write is told why
 * he cannot. */
static enum err connect_outbox(struct writer_db *db, struct buf *why)
{
    struct buf reason = {0};

    db->own = true;
    enum err err = judge(db, writer_outbox_connect(db->outbox, db->db, &reason));
    db->own = false;
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
    static const char settings[] = "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA foreign_keys = ON;"
                                   "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;";

    sqlite3_extended_result_codes(db->db, 1);
    sqlite3_busy_timeout(db->db, (int)db->config->store.busy_timeout_ms);
    sqlite3_db_config(db->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    enum err err = require_wal(db, why);
    if (err == ERR_OK)
        err = control(db, settings, why);
    if (err == ERR_OK)
        err = read_page_size(db, why);
    if (err != ERR_OK)
        return err;
    db->wal_bytes = db->wal_seen = 0;
    db->wal_checkpoint = db->config->store.wal_limit / 4;
    sqlite3_wal_hook(db->db, note_wal, db);
    sqlite3_progress_handler(db->db, PROGRESS_STEPS, check_deadline, db);
    sqlite3_set_authorizer(db->db, authorize, db);
    return connect_outbox(db, why);
}

static enum err connect_database(struct writer_db *db, struct buf *why)
{
    const char *path = db->config->store.database;
    struct stat status = {0};
    enum err err = migrate(db->config, why);

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
    db->device = status.st_dev;
    db->inode = status.st_ino;
    return err;
}

enum err writer_db_open(const struct config *config, struct writer_db **out, struct buf *why)
{
    struct writer_db *db = sys_calloc(1, sizeof *db);

    db->config = config;
    db->outbox = writer_outbox_new();
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
    writer_outbox_free(&(*db)->outbox);
    free(*db);
    *db = NULL;
}

static bool is_replaced(const struct writer_db *db)
{
    struct stat status;

    return stat(db->config->store.database, &status) != 0 || status.st_dev != db->device || status.st_ino != db->inode;
}

enum err writer_db_begin(struct writer_db *db, struct buf *why)
{
    const char *path = db->config->store.database;

    if (db->db && (is_replaced(db) || writer_outbox_is_outdated(db->outbox)))
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
    return err == ERR_OK ? control(db, "BEGIN IMMEDIATE", why) : err;
}

/* Whether what follows says itself what is to be purged (OWN), or is counted by the triggers, as others' changes are.
 */
static enum err tell_own(struct writer_db *db, bool own, struct buf *why)
{
    db->own = true;
    enum err err = judge(db, writer_outbox_tell_own(db->outbox, db->db, own, why));
    db->own = false;
    return err;
}

enum err writer_db_commit(struct writer_db *db, struct buf *why)
{
    enum err err = tell_own(db, false, why);

    if (err == ERR_OK)
        err = control(db, "COMMIT", why);
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

    if (writer_db_in_transaction(db) && control(db, "ROLLBACK", &why) != ERR_OK)
        db->doubtful = true;
    buf_free(&why);
}

/* Prepares all of SCRIPT's text. */
static enum err prepare(struct writer_db *db, struct script *script, struct buf *why)
{
    struct str rest = {script->sql, script->sql_len};
    const char *point;

    while (rest.len > 0) {
        sqlite3_stmt *statement = NULL;
        enum err err = statement_prepare(db->db, &rest, SQLITE_PREPARE_PERSISTENT, &statement, &point, why);
        if (err != ERR_OK)
            return judge(db, err);
        if (!statement)
            break;
        script->statements = sys_realloc(script->statements, (script->count + 1) * sizeof *script->statements);
        struct prepared *prepared = &script->statements[script->count++];
        prepared->statement = statement;
        rows_plan_init(&prepared->plan, statement);
    }
    return ERR_OK;
}

/* SQL prepared; now, unless it was before. */
static enum err find_script(struct writer_db *db, struct str sql, struct script **out, struct buf *why)
{
    const uint64_t hash = sys_hash64(sql, 0);
    struct script *oldest = &db->scripts[0];

    for (size_t i = 0; i < SCRIPTS_MAX; i++) {
        struct script *script = &db->scripts[i];
        if (script->sql && script->hash == hash && str_equal((struct str){script->sql, script->sql_len}, sql)) {
            script->used = ++db->uses;
            *out = script;
            return ERR_OK;
        }
        if (script->used < oldest->used)
            oldest = script;
    }
    drop_script(oldest);
    *oldest = (struct script){.hash = hash, .sql = sys_copy(sql), .sql_len = sql.len, .used = ++db->uses};
    enum err err = prepare(db, oldest, why);
    if (err == ERR_OK)
        *out = oldest;
    else
        drop_script(oldest);
    return err;
}

/* Runs one statement. Its rows replace those of the statements before it. */
static enum err run_statement(struct writer_db *db, struct prepared *prepared,
                              const struct writer_frame_request *request, struct writer_db_outcome *outcome)
{
    sqlite3_stmt *statement = prepared->statement;
    enum err err = rows_bind(statement, &request->values, &request->caller, &outcome->why);

    if (err == ERR_OK && sqlite3_column_count(statement) > 0) {
        buf_clear(&outcome->json);
        err = rows_collect_plan(db->db, statement, &prepared->plan, request->shape, ANSWER_BYTES_MAX, &outcome->json,
                                &outcome->found, &outcome->why);
    } else if (err == ERR_OK && sqlite3_step(statement) != SQLITE_DONE) {
        err = rows_failed(db->db, &outcome->why);
    }
    err = judge(db, err);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return err;
}

/* A text too large to be kept. */
static enum err run_once(struct writer_db *db, const struct writer_frame_request *request,
                         struct writer_db_outcome *outcome)
{
    struct str rest = request->sql;
    enum err err = ERR_OK;
    const char *point;

    while (err == ERR_OK && rest.len > 0 && !check_deadline(db)) {
        struct prepared prepared = {0};
        err = statement_prepare(db->db, &rest, 0, &prepared.statement, &point, &outcome->why);
        if (err != ERR_OK || !prepared.statement)
            break;
        rows_plan_init(&prepared.plan, prepared.statement);
        err = run_statement(db, &prepared, request, outcome);
        rows_plan_fini(&prepared.plan);
        sqlite3_finalize(prepared.statement);
    }
    return err;
}

static enum err run(struct writer_db *db, const struct writer_frame_request *request, struct writer_db_outcome *outcome)
{
    struct script *script;

    if (request->sql.len > SCRIPT_BYTES_MAX)
        return run_once(db, request, outcome);
    enum err err = find_script(db, request->sql, &script, &outcome->why);
    for (size_t i = 0; err == ERR_OK && i < script->count && !check_deadline(db); i++)
        err = run_statement(db, &script->statements[i], request, outcome);
    return err;
}

static enum err run_in_time(struct writer_db *db, const struct writer_frame_request *request, int64_t timeout_ms,
                            struct writer_db_outcome *outcome)
{
    const int64_t before = sqlite3_total_changes64(db->db);

    db->deadline_ms = sys_monotonic_ms() + timeout_ms;
    enum err err = run(db, request, outcome);
    outcome->changes = sqlite3_total_changes64(db->db) - before;
    if (err == ERR_OK && check_deadline(db))
        err = ERR_TIMEOUT;
    db->deadline_ms = 0;
    if (err == ERR_TIMEOUT) {
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

static void clear(struct writer_db_outcome *outcome)
{
    outcome->found = false;
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

    if (writer_db_in_transaction(db) && control(db, "ROLLBACK TO larder; RELEASE larder", &ignored) != ERR_OK)
        writer_db_rollback(db);
    buf_free(&ignored);
}

enum err writer_db_keep(struct writer_db *db, struct str purges, int64_t *outbox_id, struct buf *why)
{
    db->own = true;
    enum err err = judge(db, writer_outbox_add(db->outbox, db->db, purges, outbox_id, why));
    db->own = false;
    return err;
}

void writer_db_apply(struct writer_db *db, const struct writer_frame_request *request, int64_t timeout_ms,
                     struct writer_db_outcome *outcome)
{
    clear(outcome);
    /* Before the savepoint: what takes the write back must not take this back. */
    enum err err = tell_own(db, request->purges.len > 0, &outcome->why);
    if (err == ERR_OK)
        err = control(db, "SAVEPOINT larder", &outcome->why);
    if (err == ERR_OK) {
        err = run_in_time(db, request, timeout_ms, outcome);
        if (err == ERR_OK)
            err = check_foreign_keys(db, &outcome->why);
        if (err == ERR_OK && request->purges.len > 0)
            err = writer_db_keep(db, request->purges, &outcome->outbox_id, &outcome->why);
        if (err == ERR_OK)
            err = control(db, "RELEASE larder", &outcome->why);
        if (err != ERR_OK)
            take_back(db);
    }
    settle(err, outcome);
}

void writer_db_apply_row(struct writer_db *db, const struct writer_frame_request *request, int64_t timeout_ms,
                         struct writer_db_outcome *outcome)
{
    clear(outcome);
    enum err err = tell_own(db, request->will_purge, &outcome->why);
    settle(err == ERR_OK ? run_in_time(db, request, timeout_ms, outcome) : err, outcome);
}

enum err writer_db_note_purged(struct writer_db *db, const struct writer_frame_request *request)
{
    return request->kind == WRITER_FRAME_CHANGED ? writer_outbox_note_changed(db->outbox, &request->values)
                                                 : writer_outbox_note(db->outbox, request->ids, request->ids_count);
}

bool writer_db_has_purged(const struct writer_db *db)
{
    return writer_outbox_has_noted(db->outbox);
}

enum err writer_db_remove_purged(struct writer_db *db, struct buf *why)
{
    enum err err = control(db, "SAVEPOINT larder", why);

    if (err != ERR_OK)
        return err;
    db->own = true;
    err = judge(db, writer_outbox_remove(db->outbox, db->db, why));
    db->own = false;
    if (err == ERR_OK)
        err = control(db, "RELEASE larder", why);
    if (err != ERR_OK)
        take_back(db);
    return err;
}

enum err writer_db_prepare(struct writer_db *db, struct str sql, struct buf *why)
{
    struct script *script;

    return sql.len > SCRIPT_BYTES_MAX ? ERR_OK : find_script(db, sql, &script, why);
}

void writer_db_checkpoint(struct writer_db *db)
{
    const uint64_t limit = db->config->store.wal_limit, step = limit / 4;

    if (!db->db || db->doubtful)
        return;
    /* A WAL that has been copied back whole is begun anew by the next write. */
    if (db->wal_bytes < db->wal_seen)
        db->wal_checkpoint = step;
    db->wal_seen = db->wal_bytes;
    if (db->wal_bytes < db->wal_checkpoint)
        return;
    db->wal_checkpoint = db->wal_bytes + step;
    int mode = db->wal_bytes < limit ? SQLITE_CHECKPOINT_PASSIVE : SQLITE_CHECKPOINT_TRUNCATE;
    int code = sqlite3_wal_checkpoint_v2(db->db, "main", mode, NULL, NULL);
    if (code == SQLITE_OK || rows_err(code) == ERR_BUSY)
        return;
    log_event(LOG_LEVEL_ERROR, "checkpoint_failed", LOG_TEXT("why", sqlite3_errmsg(db->db)));
    judge(db, rows_err(code));
}
