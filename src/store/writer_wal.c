/*
 * writer_wal: the write-ahead log of a database that one connection writes.
 *
 * It is copied back in steps of a quarter of its limit, without waiting for readers; past the limit also waiting, so
 * that the file can be cut. A log that was copied back whole is written anew from its beginning, without growing: on
 * most disks a sync of what was there before costs half of one that makes a file longer.
 *
 * Invariant: nothing is copied in the middle of a transaction.
 */
#include "store/writer_wal.h"

#include <errno.h>

#include "base/log.h"
#include "store/rows.h"

enum { FRAME_HEAD = 24 };

static int note_commit(void *context, sqlite3 *db, const char *schema, int pages)
{
    struct writer_wal *wal = context;

    (void)db, (void)schema;
    wal->bytes = (uint64_t)pages * (wal->page_bytes + FRAME_HEAD);
    return SQLITE_OK;
}

/* PRAGMA journal_mode says which mode it is now; it does not fail where WAL is impossible. */
static enum err require_mode(sqlite3 *db, const char *path, struct buf *why)
{
    sqlite3_stmt *statement = NULL;
    enum err err = ERR_OK;

    if (sqlite3_prepare_v2(db, "PRAGMA journal_mode = WAL", -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW) {
        err = rows_failed(db, why);
    } else if (sqlite3_stricmp((const char *)sqlite3_column_text(statement, 0), "wal") != 0) {
        buf_printf(why, "%s cannot be put into WAL mode: is it on a network file system?", path);
        err = ERR_UNAVAILABLE;
    }
    sqlite3_finalize(statement);
    return err;
}

static enum err read_page_size(struct writer_wal *wal, sqlite3 *db, struct buf *why)
{
    sqlite3_stmt *statement = NULL;
    enum err err = ERR_OK;

    if (sqlite3_prepare_v2(db, "PRAGMA page_size", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        wal->page_bytes = (uint64_t)sqlite3_column_int64(statement, 0);
    else
        err = rows_failed(db, why);
    sqlite3_finalize(statement);
    return err;
}

enum err writer_wal_init(struct writer_wal *wal, sqlite3 *db, const char *path, uint64_t limit, struct buf *why)
{
    enum err err = require_mode(db, path, why);

    if (err == ERR_OK &&
        sqlite3_exec(db, "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0", NULL, NULL, NULL) != SQLITE_OK)
        err = rows_failed(db, why);
    *wal = (struct writer_wal){.limit = limit, .checkpoint = limit / 4};
    if (err == ERR_OK)
        err = read_page_size(wal, db, why);
    sqlite3_wal_hook(db, note_commit, wal);
    return err;
}

enum err writer_wal_checkpoint(struct writer_wal *wal, sqlite3 *db)
{
    const uint64_t step = wal->limit / 4;

    /* A log that has been copied back whole is begun anew by the next write. */
    if (wal->bytes < wal->seen)
        wal->checkpoint = step;
    wal->seen = wal->bytes;
    if (wal->bytes < wal->checkpoint)
        return ERR_OK;
    wal->checkpoint = wal->bytes + step;
    int mode = wal->bytes < wal->limit ? SQLITE_CHECKPOINT_PASSIVE : SQLITE_CHECKPOINT_TRUNCATE;
    int code = sqlite3_wal_checkpoint_v2(db, "main", mode, NULL, NULL);
    if (code == SQLITE_OK || rows_err(code) == ERR_BUSY)
        return ERR_OK;
    log_event(LOG_LEVEL_ERROR, "checkpoint_failed", LOG_TEXT("why", sqlite3_errmsg(db)));
    return writer_wal_judge(db, rows_err(code));
}

enum err writer_wal_judge(sqlite3 *db, enum err err)
{
    sqlite3_file *log = NULL;

    if (err != ERR_IO)
        return err;
    /* Of the call as a whole, which commits do not tell, else of the log's file. */
    int number = sqlite3_system_errno(db);
    if (number == 0 && sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) == SQLITE_OK && log &&
        log->pMethods)
        (void)log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &number);
    return number == ENOSPC || number == EDQUOT || number == EFBIG ? ERR_FULL : ERR_IO;
}
