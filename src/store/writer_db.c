/*
 * SQL that came before is kept prepared, by the hash and then the text of the SQL; the least recently used goes when there are too many.
 *
 * Invariants: what a client sends can neither begin nor end a transaction nor touch savepoints, pragmas or the schema: it is prepared under an
 * authorizer, which lets only this module's own control statements by. Every statement is reset before a function returns.
 * A write that runs too long is interrupted and fails alone.
 */
#include "store/writer_db.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/sys.h"
#include "store/rows.h"
#include "store/statement.h"

#define SCRIPTS_MAX 64
#define STATEMENTS_MAX 32      /* in one script */
#define PROGRESS_STEPS 2000    /* of SQLite's virtual machine between looks at the clock */
#define STATEMENT_TIMEOUT_MS 5000
#define ANSWER_MAX (16u << 20)

/* One SQL text, prepared. */
struct script {
    uint64_t hash;
    char *sql; /* NULL: the slot is free */
    size_t sql_len;
    uint64_t used;
    sqlite3_stmt *statements[STATEMENTS_MAX];
    size_t count;
};

struct writer_db {
    sqlite3 *db;
    char *wal_path;
    uint64_t wal_limit;
    struct script scripts[SCRIPTS_MAX];
    uint64_t clock; /* of use */
    bool own;       /* the statement being prepared is this module's */
    int64_t deadline_ms;
};

static int authorize(void *context, int action, const char *first, const char *second, const char *schema, const char *trigger)
{
    const struct writer_db *db = context;
    return db->own ? SQLITE_OK : statement_allow_writing(NULL, action, first, second, schema, trigger);
}

static int check_deadline(void *context)
{
    const struct writer_db *db = context;
    return db->deadline_ms != 0 && sys_monotonic_ms() >= db->deadline_ms;
}

/* Runs SQL of this module's own. */
static enum err control(struct writer_db *db, const char *sql, struct buf *why)
{
    db->own = true;
    int code = sqlite3_exec(db->db, sql, NULL, NULL, NULL);
    db->own = false;
    return code == SQLITE_OK ? ERR_OK : rows_failed(db->db, why);
}

enum err writer_db_open(const struct config *config, struct writer_db **out, struct buf *why)
{
    static const char settings[] = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;"
                                   "PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;";
    struct writer_db *db = sys_calloc(1, sizeof *db);
    struct buf wal = {0};
    buf_printf(&wal, "%s-wal", config->store.database);
    db->wal_path = wal.p;
    db->wal_limit = config->store.wal_limit;
    int code = sqlite3_open_v2(config->store.database, &db->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK) {
        enum err err = db->db ? rows_failed(db->db, why) : rows_err(code);
        writer_db_close(&db);
        return err;
    }
    sqlite3_extended_result_codes(db->db, 1);
    sqlite3_busy_timeout(db->db, (int)config->store.busy_timeout_ms);
    sqlite3_progress_handler(db->db, PROGRESS_STEPS, check_deadline, db);
    sqlite3_set_authorizer(db->db, authorize, db);
    enum err err = control(db, settings, why);
    if (err == ERR_OK)
        *out = db;
    else
        writer_db_close(&db);
    return err;
}

static void drop_script(struct script *script)
{
    for (size_t i = 0; i < script->count; i++)
        sqlite3_finalize(script->statements[i]);
    free(script->sql);
    *script = (struct script){.sql = NULL};
}

void writer_db_close(struct writer_db **db_ptr)
{
    struct writer_db *db = *db_ptr;
    if (!db)
        return;
    for (size_t i = 0; i < SCRIPTS_MAX; i++)
        drop_script(&db->scripts[i]);
    sqlite3_close(db->db);
    free(db->wal_path);
    free(db);
    *db_ptr = NULL;
}

enum err writer_db_begin(struct writer_db *db, struct buf *why)
{
    return control(db, "BEGIN IMMEDIATE", why);
}

enum err writer_db_commit(struct writer_db *db, struct buf *why)
{
    if (!writer_db_in_transaction(db)) {
        buf_add_str(why, STR("SQLite has taken the transaction back"));
        return ERR_IO;
    }
    enum err err = control(db, "COMMIT", why);
    if (err != ERR_OK)
        writer_db_rollback(db);
    return err;
}

void writer_db_rollback(struct writer_db *db)
{
    struct buf ignored = {0};
    if (writer_db_in_transaction(db))
        (void)!control(db, "ROLLBACK", &ignored);
    buf_free(&ignored);
}

bool writer_db_in_transaction(const struct writer_db *db)
{
    return !sqlite3_get_autocommit(db->db);
}

/* Prepares all of SQL into SCRIPT. */
static enum err prepare_script(struct writer_db *db, struct str sql, struct script *script, struct buf *why)
{
    struct str rest = sql;
    const char *error;
    while (rest.len > 0) {
        sqlite3_stmt *statement = NULL;
        if (script->count == STATEMENTS_MAX) {
            buf_printf(why, "a write may have %d statements at most", STATEMENTS_MAX);
            return ERR_LIMIT;
        }
        enum err err = statement_prepare(db->db, &rest, SQLITE_PREPARE_PERSISTENT, &statement, &error, why);
        if (err != ERR_OK)
            return err;
        if (statement)
            script->statements[script->count++] = statement;
    }
    return ERR_OK;
}

/* The prepared SQL; prepared now unless it was before. */
static enum err find_script(struct writer_db *db, struct str sql, struct script **out, struct buf *why)
{
    uint64_t hash = sys_hash64(sql, 0);
    struct script *oldest = &db->scripts[0];
    for (size_t i = 0; i < SCRIPTS_MAX; i++) {
        struct script *script = &db->scripts[i];
        if (script->sql && script->hash == hash && str_equal((struct str){script->sql, script->sql_len}, sql)) {
            script->used = ++db->clock;
            *out = script;
            return ERR_OK;
        }
        if (script->used < oldest->used)
            oldest = script;
    }
    drop_script(oldest);
    *oldest = (struct script){.hash = hash, .sql = sys_copy(sql), .sql_len = sql.len, .used = ++db->clock};
    enum err err = prepare_script(db, (struct str){oldest->sql, sql.len}, oldest, why);
    if (err == ERR_OK)
        *out = oldest;
    else
        drop_script(oldest);
    return err;
}

/* Runs one statement. Rows replace what an earlier statement of the script gave. */
static enum err run_statement(struct writer_db *db, sqlite3_stmt *statement, const struct writer_frame_request *request,
                              struct buf *json, size_t start, bool *found, struct buf *why)
{
    bool gives_rows = sqlite3_column_count(statement) > 0;
    enum err err = rows_bind(statement, &request->values, &request->caller, why);
    if (err == ERR_OK && gives_rows) {
        json->len = start;
        *found = false;
        err = rows_collect(db->db, statement, request->shape, ANSWER_MAX, json, found, why);
    } else if (err == ERR_OK && sqlite3_step(statement) != SQLITE_DONE) {
        err = rows_failed(db->db, why);
    }
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return err;
}

enum err writer_db_apply(struct writer_db *db, const struct writer_frame_request *request, struct buf *json, bool *found,
                         int64_t *changes, struct buf *why)
{
    struct script *script;
    struct buf ignored = {0};
    const size_t start = json->len;
    const int64_t before = sqlite3_total_changes64(db->db);
    bool any = false;
    enum err err = find_script(db, request->sql, &script, why);
    if (err != ERR_OK || (err = control(db, "SAVEPOINT write", why)) != ERR_OK)
        return err;
    db->deadline_ms = sys_monotonic_ms() + STATEMENT_TIMEOUT_MS;
    for (size_t i = 0; i < script->count && err == ERR_OK; i++)
        err = run_statement(db, script->statements[i], request, json, start, &any, why);
    db->deadline_ms = 0;
    if (err == ERR_OK)
        err = control(db, "RELEASE write", why);
    if (err == ERR_OK) {
        *found = any;
        *changes = sqlite3_total_changes64(db->db) - before;
        return ERR_OK;
    }
    json->len = start;
    if (writer_db_in_transaction(db))
        (void)!control(db, "ROLLBACK TO write; RELEASE write", &ignored);
    buf_free(&ignored);
    return err;
}

void writer_db_checkpoint(struct writer_db *db, bool all)
{
    struct stat status;
    uint64_t size = stat(db->wal_path, &status) == 0 ? (uint64_t)status.st_size : 0;
    /* A passive checkpoint waits for nobody. Truncating waits for readers, as long as busy_timeout. */
    if (all || size > db->wal_limit)
        (void)sqlite3_wal_checkpoint_v2(db->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    else if (size > db->wal_limit / 4)
        (void)sqlite3_wal_checkpoint_v2(db->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}
