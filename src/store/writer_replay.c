/*
 * writer_replay: the table larder_replays.
 *
 * A key that is too old counts as none and is replaced. Old rows go a few with every new one, so that the table does
 * not grow beyond what a day brings and nobody ever has to wait for a great clearing.
 *
 * Invariant: every statement is reset before a function returns. After a failure all are prepared anew. It begins and
 * ends no transaction, and does not look into the answers.
 */
#include "store/writer_replay.h"

#include <sqlite3.h>
#include <stdlib.h>

#include "base/sys.h"
#include "store/rows.h"
#include "store/schema.h"
#include "store/statement.h"

enum { FIND, KEEP, FORGET, STATEMENTS };

struct writer_replay {
    sqlite3_stmt *statements[STATEMENTS]; /* all or none, but when broken */
    bool broken;
};

static const char *const texts[STATEMENTS] = {
    [FIND] = "SELECT print, answer FROM larder_replays WHERE key = ?1 AND at_ms > ?2",
    [KEEP] = "INSERT OR REPLACE INTO larder_replays (key, print, at_ms, answer) VALUES (?1, ?2, ?3, ?4)",
    [FORGET] = ("DELETE FROM larder_replays WHERE key IN "
                "(SELECT key FROM larder_replays WHERE at_ms <= ?1 ORDER BY at_ms LIMIT 4)"),
};

struct writer_replay *writer_replay_new(void)
{
    return sys_calloc(1, sizeof(struct writer_replay));
}

void writer_replay_disconnect(struct writer_replay *replay)
{
    statement_finalize_all(replay->statements, STATEMENTS);
    replay->broken = false;
}

void writer_replay_free(struct writer_replay **replay)
{
    if (!*replay)
        return;
    writer_replay_disconnect(*replay);
    free(*replay);
    *replay = NULL;
}

static enum err fail(struct writer_replay *replay, sqlite3 *db, struct buf *why)
{
    /* Not at once: the caller may have to ask the connection more about this failure. */
    replay->broken = true;
    return rows_failed(db, why);
}

static enum err prepare(struct writer_replay *replay, sqlite3 *db, struct buf *why)
{
    if (replay->broken)
        writer_replay_disconnect(replay);
    if (replay->statements[FIND])
        return ERR_OK;
    enum err err = schema_make_replays(db, why);
    if (err == ERR_OK)
        err = statement_prepare_all(db, texts, replay->statements, STATEMENTS, why);
    replay->broken = err != ERR_OK;
    return err;
}

static void bind_text(sqlite3_stmt *statement, int place, struct str text)
{
    sqlite3_bind_text64(statement, place, text.p ? text.p : "", text.len, SQLITE_STATIC, SQLITE_UTF8);
}

static struct str column(sqlite3_stmt *statement, int place)
{
    const char *bytes = sqlite3_column_blob(statement, place);

    return (struct str){bytes, (size_t)sqlite3_column_bytes(statement, place)};
}

enum err writer_replay_find(struct writer_replay *replay, sqlite3 *db, struct str key, struct str print, int64_t now_ms,
                            struct buf *answer, struct buf *why)
{
    enum err err = prepare(replay, db, why);

    if (err != ERR_OK)
        return err;
    sqlite3_stmt *find = replay->statements[FIND];
    bind_text(find, 1, key);
    sqlite3_bind_int64(find, 2, now_ms - WRITER_REPLAY_KEPT_MS);
    int code = sqlite3_step(find);
    if (code == SQLITE_DONE)
        err = ERR_NOT_FOUND;
    else if (code != SQLITE_ROW)
        err = fail(replay, db, why);
    else if (!str_equal(column(find, 0), print))
        err = ERR_EXISTS;
    else
        buf_add_str(answer, column(find, 1));
    sqlite3_reset(find);
    return err;
}

enum err writer_replay_keep(struct writer_replay *replay, sqlite3 *db, struct str key, struct str print, int64_t now_ms,
                            struct str answer, struct buf *why)
{
    enum err err = prepare(replay, db, why);

    if (err != ERR_OK)
        return err;
    sqlite3_stmt *keep = replay->statements[KEEP], *forget = replay->statements[FORGET];
    bind_text(keep, 1, key);
    bind_text(keep, 2, print);
    sqlite3_bind_int64(keep, 3, now_ms);
    sqlite3_bind_blob64(keep, 4, answer.p, answer.len, SQLITE_STATIC);
    sqlite3_bind_int64(forget, 1, now_ms - WRITER_REPLAY_KEPT_MS);
    if (sqlite3_step(keep) != SQLITE_DONE || sqlite3_step(forget) != SQLITE_DONE)
        err = fail(replay, db, why);
    sqlite3_reset(keep);
    sqlite3_reset(forget);
    return err;
}
