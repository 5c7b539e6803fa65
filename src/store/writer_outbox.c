/*
 * writer_outbox: the tables larder_outbox, larder_changes, larder_state and larder_told, written.
 *
 * AUTOINCREMENT sees to it that no number is used twice, so that a late word about an old row never removes a new one.
 * Both statements are kept prepared; after a failure they are prepared anew, which also makes larder's own
 * tables again for a database that has lost them. The one about what is the writer's own is prepared when it is first
 * needed, and only where something is watched: without that a commit would write a page more for nothing.
 *
 * A row has the purges of all writes of a commit, each of which is carried out by who asked for it (writer_shares). One
 * of which somebody never tells is left to whoever drains the outbox.
 *
 * Invariant: a number leaves the list of those noted only when the removal of its row has been committed, or when the
 * connection goes; what was noted of a table stays until it is written. With the rows goes the number that their purges
 * had in L2, into larder_told, in one transaction: so a purge is in the outbox, or the database knows how far an L2
 * must be that has it. It begins and ends no transaction and sets no savepoint.
 */
#include "store/writer_outbox.h"

#include <stdlib.h>

#include "base/sys.h"
#include "store/rows.h"
#include "store/schema.h"

struct writer_outbox {
    struct writer_shares *shares;
    sqlite3_stmt *insert, *remove, *tell; /* all or none, but when broken */
    uint64_t told;                        /* the highest number noted */
    bool broken;                          /* something failed: they are to be prepared anew */
    sqlite3_stmt *tell_own;               /* NULL: to be prepared, if anything is watched */
    bool is_told, is_watching;            /* whether that has been found out; what it was */
    bool own;                             /* larder_state.own, in the open transaction */
    bool outdated;
    struct changed {
        char *name;
        int64_t changes;
        bool written; /* by the open transaction */
    } * changed;
    size_t changed_count;
    int64_t added_id;      /* by the open transaction */
    size_t added_writes;   /* of that row; 0: none was added */
    size_t count, removed; /* noted; the first of them removed by the open transaction */
    int64_t noted[WRITER_OUTBOX_NOTED_MAX];
};

struct writer_outbox *writer_outbox_new(struct writer_shares *shares)
{
    struct writer_outbox *outbox = sys_calloc(1, sizeof *outbox);

    outbox->shares = shares;
    writer_shares_forget(shares);
    return outbox;
}

static void drop_statements(struct writer_outbox *outbox)
{
    sqlite3_finalize(outbox->insert);
    sqlite3_finalize(outbox->remove);
    sqlite3_finalize(outbox->tell);
    sqlite3_finalize(outbox->tell_own);
    outbox->insert = outbox->remove = outbox->tell = outbox->tell_own = NULL;
    outbox->is_told = false;
    outbox->broken = false;
}

void writer_outbox_free(struct writer_outbox **outbox)
{
    if (!*outbox)
        return;
    drop_statements(*outbox);
    for (size_t i = 0; i < (*outbox)->changed_count; i++)
        free((*outbox)->changed[i].name);
    free((*outbox)->changed);
    free(*outbox);
    *outbox = NULL;
}

void writer_outbox_disconnect(struct writer_outbox *outbox)
{
    drop_statements(outbox);
    writer_shares_forget(outbox->shares);
    outbox->count = outbox->removed = 0;
    outbox->outdated = false;
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
    static const char tell[] = "UPDATE larder_told SET number = ?1 WHERE number < ?1";

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
        sqlite3_prepare_v3(db, remove, -1, SQLITE_PREPARE_PERSISTENT, &outbox->remove, NULL) != SQLITE_OK ||
        sqlite3_prepare_v3(db, tell, -1, SQLITE_PREPARE_PERSISTENT, &outbox->tell, NULL) != SQLITE_OK)
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

enum err writer_outbox_add(struct writer_outbox *outbox, sqlite3 *db, int64_t at_ms, struct str items, size_t writes,
                           int64_t *id, struct buf *why)
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
    writer_shares_unset(outbox->shares, *id);
    outbox->added_id = *id;
    outbox->added_writes = writes;
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

static struct changed *find_changed(struct writer_outbox *outbox, struct str name)
{
    for (size_t i = 0; i < outbox->changed_count; i++)
        if (str_equal(str_from(outbox->changed[i].name), name))
            return &outbox->changed[i];
    if (outbox->changed_count == WRITER_OUTBOX_TABLES_MAX)
        return NULL;
    outbox->changed = sys_realloc(outbox->changed, (outbox->changed_count + 1) * sizeof *outbox->changed);
    struct changed *changed = &outbox->changed[outbox->changed_count++];
    *changed = (struct changed){.name = sys_copy(name)};
    return changed;
}

enum err writer_outbox_note_changed(struct writer_outbox *outbox, const struct params_values *tables)
{
    outbox->outdated |= tables->count == 0;
    for (size_t i = 0; i < tables->count; i++) {
        struct changed *changed = find_changed(outbox, tables->items[i].name);

        if (!changed)
            return ERR_LIMIT;
        changed->changes = tables->items[i].integer;
        changed->written = false;
    }
    return ERR_OK;
}

void writer_outbox_note_told(struct writer_outbox *outbox, uint64_t number)
{
    if (outbox->told < number)
        outbox->told = number;
}

bool writer_outbox_is_outdated(const struct writer_outbox *outbox)
{
    return outbox->outdated;
}

bool writer_outbox_has_noted(const struct writer_outbox *outbox)
{
    return outbox->count > 0 || outbox->changed_count > 0 || outbox->outdated;
}

/* Writes down what was noted of tables. */
static enum err write_changed(struct writer_outbox *outbox, sqlite3 *db, struct buf *why)
{
    sqlite3_stmt *update = NULL;
    enum err err = ERR_OK;

    if (outbox->changed_count > 0 &&
        sqlite3_prepare_v2(db, "UPDATE larder_changes SET purged = ?2 WHERE name = ?1", -1, &update, NULL) != SQLITE_OK)
        return fail(outbox, db, why);
    for (size_t i = 0; err == ERR_OK && i < outbox->changed_count; i++) {
        struct changed *changed = &outbox->changed[i];
        sqlite3_bind_text(update, 1, changed->name, -1, SQLITE_STATIC);
        sqlite3_bind_int64(update, 2, changed->changes);
        err = run(outbox, db, update, why);
        changed->written = true;
    }
    sqlite3_finalize(update);
    return err;
}

/* Whether any table is watched; found out once for a connection, which is a new one when that changes. */
static enum err prepare_own(struct writer_outbox *outbox, sqlite3 *db, struct buf *why)
{
    sqlite3_stmt *rows = NULL;

    outbox->is_told = true;
    outbox->is_watching = false;
    /* Without the table there are no triggers either. */
    if (sqlite3_table_column_metadata(db, "main", "larder_changes", NULL, NULL, NULL, NULL, NULL, NULL) != SQLITE_OK)
        return ERR_OK;
    if (sqlite3_prepare_v2(db, "SELECT 1 FROM larder_changes LIMIT 1", -1, &rows, NULL) != SQLITE_OK)
        return fail(outbox, db, why);
    int code = sqlite3_step(rows);
    outbox->is_watching = code == SQLITE_ROW;
    sqlite3_finalize(rows);
    if ((code != SQLITE_ROW && code != SQLITE_DONE) ||
        (outbox->is_watching && sqlite3_prepare_v3(db, "UPDATE larder_state SET own = ?1", -1,
                                                   SQLITE_PREPARE_PERSISTENT, &outbox->tell_own, NULL) != SQLITE_OK))
        return fail(outbox, db, why);
    return ERR_OK;
}

enum err writer_outbox_tell_own(struct writer_outbox *outbox, sqlite3 *db, bool own, struct buf *why)
{
    if (own == outbox->own)
        return ERR_OK;
    if (outbox->broken)
        drop_statements(outbox);
    enum err err = outbox->is_told ? ERR_OK : prepare_own(outbox, db, why);
    if (err != ERR_OK || !outbox->is_watching)
        return err;
    sqlite3_bind_int(outbox->tell_own, 1, own);
    err = run(outbox, db, outbox->tell_own, why);
    if (err == ERR_OK)
        outbox->own = own;
    return err;
}

enum err writer_outbox_remove(struct writer_outbox *outbox, sqlite3 *db, struct buf *why)
{
    enum err err = writer_outbox_connect(outbox, db, why);

    for (size_t i = 0; err == ERR_OK && i < outbox->count; i++) {
        sqlite3_bind_int64(outbox->remove, 1, outbox->noted[i]);
        err = run(outbox, db, outbox->remove, why);
    }
    if (err == ERR_OK && outbox->told > 0) {
        sqlite3_bind_int64(outbox->tell, 1, (sqlite3_int64)outbox->told);
        err = run(outbox, db, outbox->tell, why);
    }
    outbox->removed = err == ERR_OK ? outbox->count : 0;
    return err == ERR_OK ? write_changed(outbox, db, why) : err;
}

static void settle_changed(struct writer_outbox *outbox, bool committed)
{
    size_t kept = 0;

    for (size_t i = 0; i < outbox->changed_count; i++) {
        struct changed *changed = &outbox->changed[i];
        if (committed && changed->written) {
            free(changed->name);
        } else {
            changed->written = false;
            outbox->changed[kept++] = *changed;
        }
    }
    outbox->changed_count = kept;
}

void writer_outbox_take_back(struct writer_outbox *outbox)
{
    outbox->removed = 0;
    settle_changed(outbox, false);
}

void writer_outbox_settle(struct writer_outbox *outbox, bool committed)
{
    if (committed && outbox->removed > 0) {
        outbox->count -= outbox->removed;
        memmove(outbox->noted, outbox->noted + outbox->removed, outbox->count * sizeof *outbox->noted);
    }
    settle_changed(outbox, committed);
    /* Not before: what is taken back must not be known anywhere, for its number is given again. */
    if (committed && outbox->added_writes > 0)
        writer_shares_set(outbox->shares, outbox->added_id, outbox->added_writes);
    outbox->added_writes = 0;
    outbox->own = outbox->outdated = false;
    outbox->removed = 0;
}
