/*
 * writer_outbox: the table larder_outbox, written.
 *
 * AUTOINCREMENT sees to it that no number is used twice, so that a late word about an old row never removes a new one.
 * Both statements are kept prepared; after a failure they are prepared anew, which also makes larder's own
 * tables again for a database that has lost them.
 *
 * Invariant: a number leaves the list of those noted only when the removal of its row has been committed, or when the
 * connection goes. It begins and ends no transaction and sets no savepoint.
 */
#include "store/writer_outbox.h"

#include <stdlib.h>

#include "base/sys.h"
#include "store/rows.h"
#include "store/schema.h"

struct writer_outbox {
    sqlite3_stmt *insert, *remove; /* both or neither, but when broken */
    bool broken;                   /* something failed: they are to be prepared anew */
    size_t count, removed;         /* noted; the first of them removed by the open transaction */
    int64_t noted[WRITER_OUTBOX_NOTED_MAX];
};

struct writer_outbox *writer_outbox_new(void)
{
    return sys_calloc(1, sizeof(struct writer_outbox));
}

static void drop_statements(struct writer_outbox *outbox)
{
    sqlite3_finalize(outbox->insert);
    sqlite3_finalize(outbox->remove);
    outbox->insert = outbox->remove = NULL;
    outbox->broken = false;
}

void writer_outbox_free(struct writer_outbox **outbox)
{
    if (!*outbox)
        return;
    drop_statements(*outbox);
    free(*outbox);
    *outbox = NULL;
}

void writer_outbox_disconnect(struct writer_outbox *outbox)
{
    drop_statements(outbox);
    outbox->count = outbox->removed = 0;
}

static enum err fail(struct writer_outbox *outbox, sqlite3 *db, struct buf *why)
{
    /* Not at once: the caller may have to ask the connection more about this failure. */
    outbox->broken = true;
    buf_add_str(why, STR("the outbox: "));
    return rows_failed(db, why);
}

enum err writer_outbox_connect(struct writer_outbox *outbox, sqlite3 *db, struct buf *why)
{
    static const char insert[] = "INSERT INTO larder_outbox (at_ms, items) VALUES (?1, ?2)";
    static const char remove[] = "DELETE FROM larder_outbox WHERE id = ?1";

    if (outbox->broken)
        drop_statements(outbox);
    if (outbox->insert)
        return ERR_OK;
    enum err err = schema_make(db, why);
    if (err != ERR_OK) {
        outbox->broken = true;
        return err;
    }
    if (sqlite3_prepare_v3(db, insert, -1, SQLITE_PREPARE_PERSISTENT, &outbox->insert, NULL) != SQLITE_OK ||
        sqlite3_prepare_v3(db, remove, -1, SQLITE_PREPARE_PERSISTENT, &outbox->remove, NULL) != SQLITE_OK)
        return fail(outbox, db, why);
    return ERR_OK;
}

/* Runs a statement that gives no rows. */
static enum err run(struct writer_outbox *outbox, sqlite3 *db, sqlite3_stmt *statement, struct buf *why)
{
    if (sqlite3_step(statement) != SQLITE_DONE)
        return fail(outbox, db, why);
    sqlite3_reset(statement);
    return ERR_OK;
}

enum err writer_outbox_add(struct writer_outbox *outbox, sqlite3 *db, int64_t at_ms, struct str items, int64_t *id,
                           struct buf *why)
{
    enum err err = writer_outbox_connect(outbox, db, why);

    if (err != ERR_OK)
        return err;
    sqlite3_bind_int64(outbox->insert, 1, at_ms);
    sqlite3_bind_blob64(outbox->insert, 2, items.p, items.len, SQLITE_STATIC);
    err = run(outbox, db, outbox->insert, why);
    if (err != ERR_OK)
        return err;
    sqlite3_clear_bindings(outbox->insert);
    *id = sqlite3_last_insert_rowid(db);
    return ERR_OK;
}

int64_t writer_outbox_last(sqlite3 *db)
{
    static const char sql[] = "SELECT seq FROM sqlite_sequence WHERE name = 'larder_outbox'";
    sqlite3_stmt *statement = NULL;
    int64_t id = 0;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
        id = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return id;
}

enum err writer_outbox_note(struct writer_outbox *outbox, const int64_t *ids, size_t count)
{
    if (count > WRITER_OUTBOX_NOTED_MAX - outbox->count)
        return ERR_LIMIT;
    memcpy(outbox->noted + outbox->count, ids, count * sizeof *ids);
    outbox->count += count;
    return ERR_OK;
}

bool writer_outbox_has_noted(const struct writer_outbox *outbox)
{
    return outbox->count > 0;
}

enum err writer_outbox_remove(struct writer_outbox *outbox, sqlite3 *db, struct buf *why)
{
    enum err err = writer_outbox_connect(outbox, db, why);

    for (size_t i = 0; err == ERR_OK && i < outbox->count; i++) {
        sqlite3_bind_int64(outbox->remove, 1, outbox->noted[i]);
        err = run(outbox, db, outbox->remove, why);
    }
    outbox->removed = err == ERR_OK ? outbox->count : 0;
    return err;
}

void writer_outbox_settle(struct writer_outbox *outbox, bool committed)
{
    if (committed && outbox->removed > 0) {
        outbox->count -= outbox->removed;
        memmove(outbox->noted, outbox->noted + outbox->removed, outbox->count * sizeof *outbox->noted);
    }
    outbox->removed = 0;
}
