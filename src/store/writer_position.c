/*
 * writer_position: statements on larder_journals and larder_failures.
 *
 * Invariant: every statement is reset before a function returns; after a failure all are prepared anew, which also
 * makes the tables again for a database that has lost them. It begins and ends no transaction.
 */
#include "store/writer_position.h"

#include <sqlite3.h>
#include <stdlib.h>

#include "store/rows.h"
#include "store/schema.h"
#include "store/statement.h"

enum { FIND, ENTER, ADVANCE, FAIL, LOAD, RESOLVE, STATEMENTS };

struct writer_position {
    sqlite3_stmt *statements[STATEMENTS]; /* all or none, but when broken */
    bool broken;
};

static const char *const texts[STATEMENTS] = {
    [FIND] = "SELECT position FROM larder_journals WHERE number = ?1",
    [ENTER] = "INSERT INTO larder_journals (number, secret, position) VALUES (?1, ?2, ?1)",
    [ADVANCE] = "UPDATE larder_journals SET position = ?2 WHERE number = ?1",
    [FAIL] = "INSERT INTO larder_failures (id, at_ms, failed_ms, request, error, why) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [LOAD] = "SELECT request FROM larder_failures WHERE id = ?1 AND state = 'failed'",
    [RESOLVE] = ("UPDATE larder_failures SET request = NULL, successor = nullif(?2, 0), "
                 "state = iif(?2 = 0, 'dropped', 'repeated') WHERE id = ?1 AND state = 'failed'"),
};

struct writer_position *writer_position_new(void)
{
    return sys_calloc(1, sizeof(struct writer_position));
}

void writer_position_disconnect(struct writer_position *position)
{
    statement_finalize_all(position->statements, STATEMENTS);
    position->broken = false;
}

void writer_position_free(struct writer_position **position)
{
    if (!*position)
        return;
    writer_position_disconnect(*position);
    free(*position);
    *position = NULL;
}

/* STATEMENT, with NUMBER bound as its first parameter. */
static enum err take(struct writer_position *position, sqlite3 *db, int which, uint64_t number, sqlite3_stmt **out,
                     struct buf *why)
{
    enum err err = ERR_OK;

    if (position->broken)
        writer_position_disconnect(position);
    if (!position->statements[FIND]) {
        err = schema_make(db, why);
        if (err == ERR_OK)
            err = statement_prepare_all(db, texts, position->statements, STATEMENTS, why);
        position->broken = err != ERR_OK;
    }
    *out = position->statements[which];
    if (err == ERR_OK)
        sqlite3_bind_int64(*out, 1, (sqlite3_int64)number);
    return err;
}

/* Steps STATEMENT, which gives one row (ROW) or none. The row stands until the reset. */
static enum err step(struct writer_position *position, sqlite3 *db, sqlite3_stmt *statement, bool *row, struct buf *why)
{
    int code = sqlite3_step(statement);

    *row = code == SQLITE_ROW;
    if (code == SQLITE_ROW || code == SQLITE_DONE)
        return ERR_OK;
    /* Not dropped at once: the caller may have to ask the connection more about this failure. */
    position->broken = true;
    enum err err = rows_failed(db, why);
    sqlite3_reset(statement);
    return err;
}

/* Runs STATEMENT, which gives no row. ERR_NOT_FOUND when it changed none either. */
static enum err run(struct writer_position *position, sqlite3 *db, sqlite3_stmt *statement, struct buf *why)
{
    bool row;
    enum err err = step(position, db, statement, &row, why);

    if (err != ERR_OK)
        return err;
    sqlite3_reset(statement);
    return sqlite3_changes(db) > 0 ? ERR_OK : ERR_NOT_FOUND;
}

enum err writer_position_find(struct writer_position *position, sqlite3 *db,
                              const struct writer_position_journal *journal, uint64_t *upto, struct buf *why)
{
    sqlite3_stmt *statement;
    bool known = false;
    enum err err = take(position, db, FIND, journal->number, &statement, why);

    if (err == ERR_OK)
        err = step(position, db, statement, &known, why);
    if (err != ERR_OK)
        return err;
    *upto = known ? (uint64_t)sqlite3_column_int64(statement, 0) : journal->number;
    sqlite3_reset(statement);
    if (known)
        return ERR_OK;
    err = take(position, db, ENTER, journal->number, &statement, why);
    if (err != ERR_OK)
        return err;
    sqlite3_bind_blob(statement, 2, journal->secret, sizeof journal->secret, SQLITE_STATIC);
    return run(position, db, statement, why);
}

enum err writer_position_advance(struct writer_position *position, sqlite3 *db, uint64_t journal, uint64_t upto,
                                 struct buf *why)
{
    sqlite3_stmt *statement;
    enum err err = take(position, db, ADVANCE, journal, &statement, why);

    if (err != ERR_OK)
        return err;
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)upto);
    return run(position, db, statement, why);
}

enum err writer_position_fail(struct writer_position *position, sqlite3 *db, uint64_t id, int64_t at_ms,
                              struct str request, enum err error, struct str reason, struct buf *why)
{
    sqlite3_stmt *statement;
    enum err err = take(position, db, FAIL, id, &statement, why);

    if (err != ERR_OK)
        return err;
    sqlite3_bind_int64(statement, 2, at_ms);
    sqlite3_bind_int64(statement, 3, sys_now_ms());
    sqlite3_bind_blob64(statement, 4, request.p, request.len, SQLITE_STATIC);
    sqlite3_bind_text(statement, 5, err_text(error), -1, SQLITE_STATIC);
    sqlite3_bind_text64(statement, 6, reason.p ? reason.p : "", reason.len, SQLITE_STATIC, SQLITE_UTF8);
    return run(position, db, statement, why);
}

enum err writer_position_load(struct writer_position *position, sqlite3 *db, uint64_t id, struct buf *request,
                              struct buf *why)
{
    sqlite3_stmt *statement;
    bool found = false;
    enum err err = take(position, db, LOAD, id, &statement, why);

    if (err == ERR_OK)
        err = step(position, db, statement, &found, why);
    if (err != ERR_OK)
        return err;
    if (found) {
        const char *bytes = sqlite3_column_blob(statement, 0);
        buf_add(request, bytes, (size_t)sqlite3_column_bytes(statement, 0));
    }
    sqlite3_reset(statement);
    return found ? ERR_OK : ERR_NOT_FOUND;
}

enum err writer_position_resolve(struct writer_position *position, sqlite3 *db, uint64_t id, uint64_t successor,
                                 struct buf *why)
{
    sqlite3_stmt *statement;
    enum err err = take(position, db, RESOLVE, id, &statement, why);

    if (err != ERR_OK)
        return err;
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)successor);
    return run(position, db, statement, why);
}
