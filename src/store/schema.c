/*
 * schema: the statements that make larder's own tables, each of which does nothing where its object is there.
 *
 * Invariant: a database that has passed through here has all of it. No table is ever changed or dropped: one that must
 * change gets another name. A trigger that another version has made otherwise is made anew, so every version's triggers
 * must do for every version's writes.
 *
 * In the triggers no statement has a conflict to solve: the way in which the outer statement solves its own (INSERT OR
 * REPLACE) would be applied to theirs.
 */
#include "store/schema.h"

#include <sqlite3.h>

#include "store/rows.h"

static const char *const replays[] = {
    "CREATE TABLE IF NOT EXISTS larder_replays (key TEXT PRIMARY KEY, print TEXT NOT NULL, at_ms INTEGER NOT NULL, "
    "answer BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS larder_replays_age ON larder_replays (at_ms)",
};

/* Writing a row again writes its place in the index again, too: whoever writes may foretell the number. */
#define NUMBER_ROW                                                                                                     \
    "UPDATE larder_scores SET reached = last_insert_rowid() WHERE board = new.board AND member = new.member "          \
    "AND new.reached <> last_insert_rowid()"

/* What larder_scores takes, behind the name of a column. */
#define AS_BOARD " AS BLOB)) BETWEEN 1 AND 128"
#define AS_MEMBER " AS BLOB)) BETWEEN 1 AND 256"
#define AS_SCORE " BETWEEN -9007199254740992 AND 9007199254740992"

static const char *const statements[] = {
    "CREATE TABLE IF NOT EXISTS larder_outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, "
    "items BLOB NOT NULL)",

    "CREATE TABLE IF NOT EXISTS larder_state (id INTEGER PRIMARY KEY CHECK (id = 1), own INTEGER NOT NULL) STRICT",
    "INSERT INTO larder_state (id, own) SELECT 1, 0 WHERE NOT EXISTS (SELECT 1 FROM larder_state)",
    "CREATE TABLE IF NOT EXISTS larder_told (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL) STRICT",
    "INSERT INTO larder_told (id, number) SELECT 1, 0 WHERE NOT EXISTS (SELECT 1 FROM larder_told)",
    "CREATE TABLE IF NOT EXISTS larder_changes (name TEXT PRIMARY KEY, changes INTEGER NOT NULL, "
    "purged INTEGER NOT NULL) STRICT, WITHOUT ROWID",

    "CREATE TABLE IF NOT EXISTS larder_journals (number INTEGER PRIMARY KEY, secret BLOB NOT NULL, "
    "position INTEGER NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS larder_failures (id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, "
    "failed_ms INTEGER NOT NULL, request BLOB, error TEXT NOT NULL, why TEXT NOT NULL, "
    "state TEXT NOT NULL DEFAULT 'failed', successor INTEGER) STRICT",
    "CREATE INDEX IF NOT EXISTS larder_failures_failed ON larder_failures (id) WHERE state = 'failed'",

    "CREATE TABLE IF NOT EXISTS larder_scores ("
    "board TEXT NOT NULL CHECK (length(CAST(board" AS_BOARD "), "
    "member TEXT NOT NULL CHECK (length(CAST(member" AS_MEMBER "), "
    "score REAL NOT NULL CHECK (score" AS_SCORE "), "
    "reached INTEGER NOT NULL DEFAULT 0, "
    "updated_at INTEGER NOT NULL DEFAULT (unixepoch()), "
    "PRIMARY KEY (board, member)) STRICT, WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS larder_scores_rank ON larder_scores (board, score DESC, reached)",
    "CREATE TABLE IF NOT EXISTS larder_boards (board TEXT PRIMARY KEY, members INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS larder_score_log (seq INTEGER PRIMARY KEY AUTOINCREMENT, board TEXT NOT NULL, "
    "member TEXT NOT NULL, score REAL) STRICT",
    /* Before: an existing row may be about to be replaced, or updated by an upsert. So what the table will not take has
     * to be known here: INSERT OR IGNORE passes over it, and what this has done stays. */
    "CREATE TRIGGER IF NOT EXISTS larder_scores_count BEFORE INSERT ON larder_scores "
    "WHEN NOT EXISTS (SELECT 1 FROM larder_scores WHERE board = new.board AND member = new.member) "
    "AND length(CAST(new.board" AS_BOARD " AND length(CAST(new.member" AS_MEMBER " AND new.score" AS_SCORE " BEGIN "
    "INSERT INTO larder_boards (board, members) SELECT new.board, 0 "
    "WHERE NOT EXISTS (SELECT 1 FROM larder_boards WHERE board = new.board); "
    "UPDATE larder_boards SET members = members + 1 WHERE board = new.board; END",
    "CREATE TRIGGER IF NOT EXISTS larder_scores_insert AFTER INSERT ON larder_scores BEGIN "
    "INSERT INTO larder_score_log (board, member, score) VALUES (new.board, new.member, new.score); " NUMBER_ROW
    "; END",
    "CREATE TRIGGER IF NOT EXISTS larder_scores_update AFTER UPDATE OF score ON larder_scores "
    "WHEN new.score <> old.score BEGIN "
    "INSERT INTO larder_score_log (board, member, score) VALUES (new.board, new.member, new.score); " NUMBER_ROW
    "; END",
    "CREATE TRIGGER IF NOT EXISTS larder_scores_move BEFORE UPDATE OF board, member ON larder_scores "
    "WHEN new.board <> old.board OR new.member <> old.member BEGIN "
    "SELECT RAISE(ABORT, 'a score stays with its board and its member: delete it and insert another'); END",
    "CREATE TRIGGER IF NOT EXISTS larder_scores_delete AFTER DELETE ON larder_scores BEGIN "
    "INSERT INTO larder_score_log (board, member, score) VALUES (old.board, old.member, NULL); "
    "UPDATE larder_boards SET members = members - 1 WHERE board = old.board; END",
};

/* Drops the trigger that OBJECT would make if the database has it otherwise. SQLite keeps what follows the first words.
 */
static enum err drop_outdated(sqlite3 *db, const char *object, struct buf *why)
{
    static const char words[] = "CREATE TRIGGER IF NOT EXISTS ";
    static const char find[] = "SELECT 'DROP TRIGGER ' || name FROM sqlite_schema WHERE type = 'trigger' "
                               "AND substr(?1, 1, length(name) + 1) = name || ' ' AND sql <> 'CREATE TRIGGER ' || ?1";
    sqlite3_stmt *found = NULL;
    struct buf drop = {0};

    if (strncmp(object, words, sizeof words - 1) != 0)
        return ERR_OK;
    int code = sqlite3_prepare_v2(db, find, -1, &found, NULL);
    sqlite3_bind_text(found, 1, object + sizeof words - 1, -1, SQLITE_STATIC);
    if (code == SQLITE_OK && (code = sqlite3_step(found)) == SQLITE_ROW)
        buf_printf(&drop, "%s", (const char *)sqlite3_column_text(found, 0));
    enum err err = code == SQLITE_ROW || code == SQLITE_DONE ? ERR_OK : rows_failed(db, why);
    sqlite3_finalize(found);
    if (drop.len > 0 && sqlite3_exec(db, drop.p, NULL, NULL, NULL) != SQLITE_OK)
        err = rows_failed(db, why);
    buf_free(&drop);
    return err;
}

static enum err make(sqlite3 *db, const char *const *objects, size_t count, struct buf *why)
{
    /* One that begins by reading is refused at once, not made to wait, where somebody else is writing. */
    const bool outermost = sqlite3_get_autocommit(db);
    const char *begin = outermost ? "BEGIN IMMEDIATE" : "SAVEPOINT larder_schema";
    const char *end = outermost ? "COMMIT" : "RELEASE larder_schema";
    const char *undo = outermost ? "ROLLBACK" : "ROLLBACK TO larder_schema; RELEASE larder_schema";
    enum err err = ERR_OK;

    if (sqlite3_exec(db, begin, NULL, NULL, NULL) != SQLITE_OK)
        return rows_failed(db, why);
    for (size_t i = 0; err == ERR_OK && i < count; i++) {
        err = drop_outdated(db, objects[i], why);
        if (err == ERR_OK && sqlite3_exec(db, objects[i], NULL, NULL, NULL) != SQLITE_OK)
            err = rows_failed(db, why);
    }
    if (err == ERR_OK && sqlite3_exec(db, end, NULL, NULL, NULL) != SQLITE_OK)
        err = rows_failed(db, why);
    /* Some failures have ended the transaction already. */
    if (err != ERR_OK && !sqlite3_get_autocommit(db))
        sqlite3_exec(db, undo, NULL, NULL, NULL);
    return err;
}

enum err schema_make_replays(sqlite3 *db, struct buf *why)
{
    return make(db, replays, sizeof replays / sizeof *replays, why);
}

enum err schema_make(sqlite3 *db, struct buf *why)
{
    enum err err = make(db, statements, sizeof statements / sizeof *statements, why);

    return err == ERR_OK ? schema_make_replays(db, why) : err;
}
