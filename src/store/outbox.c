/*
 * outbox: the rows that the writer has left, read on a connection of its own.
 *
 * The connection is opened by the first question and dropped after any trouble, and when another file stands at the
 * path, so the next question starts afresh. Whether anything was committed since the last read is SQLite's own count of
 * other connections' commits (PRAGMA data_version), taken before the rows are read: a commit in between is noticed by
 * the next question, once too often rather than once too rarely.
 *
 * Invariant: no statement is active outside a function of this module, so that it never keeps the writer from
 * checkpointing. Where something cannot be told (no connection, no count), the answer is that there may be rows. It
 * never writes, and does not look at what the items say.
 */
#include "store/outbox.h"

#include <sqlite3.h>
#include <stdlib.h>

#include "base/sys.h"
#include "store/rows.h"

enum { BUSY_TIMEOUT_MS = 1000, LENGTH_BYTES = 4 };

struct outbox {
    char *path;
    sqlite3 *db;                    /* NULL: to be opened by the next question */
    struct rows_file file;          /* that was opened last, and has been there since; zero: none */
    unsigned replaced;              /* how often another one was met */
    sqlite3_stmt *version, *oldest; /* NULL: to be prepared */
    bool is_read;                   /* seen_version holds */
    int64_t seen_version;
};

struct outbox *outbox_open(const char *database)
{
    struct outbox *outbox = sys_calloc(1, sizeof *outbox);

    outbox->path = sys_copy(str_from(database));
    return outbox;
}

static void disconnect(struct outbox *outbox)
{
    sqlite3_finalize(outbox->version);
    sqlite3_finalize(outbox->oldest);
    sqlite3_close(outbox->db);
    outbox->version = outbox->oldest = NULL;
    outbox->db = NULL;
    outbox->is_read = false;
}

void outbox_close(struct outbox **outbox)
{
    if (!*outbox)
        return;
    disconnect(*outbox);
    free((*outbox)->path);
    free(*outbox);
    *outbox = NULL;
}

/* SQLite's words about what failed last, and a new connection next time. */
static enum err fail(struct outbox *outbox, struct buf *why)
{
    buf_printf(why, "the outbox in %s cannot be read: %s", outbox->path,
               outbox->db ? sqlite3_errmsg(outbox->db) : "out of memory");
    disconnect(outbox);
    return ERR_UNAVAILABLE;
}

/* A connection to the file that stands at the path now. ERR_NOT_FOUND without one. */
static enum err begin(struct outbox *outbox, struct buf *why)
{
    if (outbox->file.inode != 0 && !rows_file_stands(outbox->path, &outbox->file)) {
        disconnect(outbox);
        outbox->file = (struct rows_file){.inode = 0};
        outbox->replaced++;
    }
    if (outbox->db)
        return ERR_OK;
    enum err err = rows_open(outbox->path, &outbox->db, &outbox->file);
    if (err != ERR_OK)
        return err == ERR_NOT_FOUND ? err : fail(outbox, why);
    sqlite3_busy_timeout(outbox->db, BUSY_TIMEOUT_MS);
    if (sqlite3_prepare_v3(outbox->db, "PRAGMA data_version", -1, SQLITE_PREPARE_PERSISTENT, &outbox->version, NULL) !=
        SQLITE_OK)
        return fail(outbox, why);
    return ERR_OK;
}

static bool read_version(struct outbox *outbox, int64_t *version)
{
    bool found = sqlite3_step(outbox->version) == SQLITE_ROW;

    if (found)
        *version = sqlite3_column_int64(outbox->version, 0);
    sqlite3_reset(outbox->version);
    return found;
}

bool outbox_changed(struct outbox *outbox)
{
    struct buf ignored = {0};
    int64_t version;
    enum err err = begin(outbox, &ignored);

    buf_free(&ignored);
    if (err != ERR_OK || !outbox->is_read)
        return true;
    if (!read_version(outbox, &version)) {
        disconnect(outbox);
        return true;
    }
    return version != outbox->seen_version;
}

unsigned outbox_replaced(const struct outbox *outbox)
{
    return outbox->replaced;
}

enum err outbox_connection(struct outbox *outbox, sqlite3 **db, struct buf *why)
{
    enum err err = begin(outbox, why);

    if (err == ERR_OK)
        *db = outbox->db;
    return err;
}

/* ERR_NOT_FOUND when there is no such table: the writer has not been here yet. */
static enum err prepare(struct outbox *outbox, struct buf *why)
{
    static const char sql[] = "SELECT id, at_ms, items FROM larder_outbox WHERE id > ?2 ORDER BY id LIMIT ?1";

    if (outbox->oldest)
        return ERR_OK;
    int code = sqlite3_prepare_v3(outbox->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &outbox->oldest, NULL);
    if (code == SQLITE_OK)
        return ERR_OK;
    /* The preparing has looked at the schema as it is now. */
    if (code == SQLITE_ERROR && sqlite3_table_column_metadata(outbox->db, "main", "larder_outbox", NULL, NULL, NULL,
                                                              NULL, NULL, NULL) == SQLITE_ERROR)
        return ERR_NOT_FOUND;
    return fail(outbox, why);
}

static void take_row(sqlite3_stmt *statement, struct arena *arena, struct outbox_row *row)
{
    const void *blob = sqlite3_column_blob(statement, 2);
    struct str bytes = {blob, blob ? (size_t)sqlite3_column_bytes(statement, 2) : 0};

    *row = (struct outbox_row){.id = sqlite3_column_int64(statement, 0), .at_ms = sqlite3_column_int64(statement, 1)};
    bytes = arena_copy(arena, bytes);
    if (arena_overflowed(arena) || outbox_decode(bytes, arena, &row->items, &row->items_count) != ERR_OK)
        row->items_count = 0;
}

enum err outbox_read(struct outbox *outbox, int64_t after_id, size_t max, struct arena *arena, struct outbox_row **rows,
                     size_t *count, struct buf *why)
{
    struct outbox_row *taken = arena_alloc(arena, (max + !max) * sizeof *taken);
    int64_t version = 0;
    size_t found = 0;
    int code;

    if (!taken) {
        buf_add_str(why, STR("there is no room for the rows of the outbox"));
        return ERR_UNAVAILABLE;
    }
    enum err err = begin(outbox, why);
    if (err == ERR_OK && !read_version(outbox, &version))
        err = fail(outbox, why);
    if (err == ERR_OK)
        err = prepare(outbox, why);
    if (err == ERR_OK) {
        sqlite3_bind_int64(outbox->oldest, 1, (sqlite3_int64)max);
        sqlite3_bind_int64(outbox->oldest, 2, after_id);
        while ((code = sqlite3_step(outbox->oldest)) == SQLITE_ROW && found < max)
            take_row(outbox->oldest, arena, &taken[found++]);
        if (code != SQLITE_DONE)
            err = fail(outbox, why);
        else
            sqlite3_reset(outbox->oldest);
    }
    if (err != ERR_OK && err != ERR_NOT_FOUND)
        return err;
    /* Behind a full page there may be more. */
    outbox->is_read = outbox->db && found < max;
    outbox->seen_version = version;
    *rows = taken;
    *count = found;
    return ERR_OK;
}

/* The number that SQL gives, of tables that are made together with the outbox; 0 where there is none of them yet. */
static enum err read_number(struct outbox *outbox, const char *sql, uint64_t *number)
{
    sqlite3_stmt *statement = NULL;
    struct buf ignored = {0};
    enum err err = begin(outbox, &ignored);

    /* As for outbox_read: it prepares the other statement too, and knows whether there is a table. */
    if (err == ERR_OK)
        err = prepare(outbox, &ignored);
    if (err == ERR_OK) {
        if (sqlite3_prepare_v2(outbox->db, sql, -1, &statement, NULL) == SQLITE_OK &&
            sqlite3_step(statement) == SQLITE_ROW)
            *number = (uint64_t)sqlite3_column_int64(statement, 0);
        else
            err = ERR_UNAVAILABLE;
        sqlite3_finalize(statement);
    } else if (err == ERR_NOT_FOUND) {
        *number = 0;
        err = ERR_OK;
    }
    buf_free(&ignored);
    return err;
}

enum err outbox_count(struct outbox *outbox, uint64_t *count)
{
    return read_number(outbox, "SELECT count(*) FROM larder_outbox", count);
}

enum err outbox_told(struct outbox *outbox, uint64_t *number)
{
    return read_number(outbox, "SELECT number FROM larder_told", number);
}

void outbox_encode(const struct str *items, size_t count, struct buf *out)
{
    for (size_t i = 0; i < count; i++) {
        for (unsigned byte = 0; byte < LENGTH_BYTES; byte++)
            buf_add_char(out, (char)(items[i].len >> 8 * byte & 0xff));
        buf_add_str(out, items[i]);
    }
}

bool outbox_next(struct str *rest, struct str *item)
{
    size_t len = 0;

    if (rest->len < LENGTH_BYTES)
        return false;
    for (unsigned byte = 0; byte < LENGTH_BYTES; byte++)
        len |= (size_t)(unsigned char)rest->p[byte] << 8 * byte;
    if (rest->len - LENGTH_BYTES < len)
        return false;
    *item = (struct str){rest->p + LENGTH_BYTES, len};
    *rest = (struct str){item->p + len, rest->len - LENGTH_BYTES - len};
    return true;
}

enum err outbox_decode(struct str bytes, struct arena *arena, struct str **items, size_t *count)
{
    struct str rest = bytes, item;
    size_t found = 0;

    while (outbox_next(&rest, &item))
        found++;
    if (rest.len > 0)
        return ERR_CORRUPT;
    struct str *taken = arena_alloc(arena, (found + !found) * sizeof *taken);
    if (!taken)
        return ERR_LIMIT;
    rest = bytes;
    for (size_t i = 0; i < found; i++)
        (void)!outbox_next(&rest, &taken[i]);
    *items = taken;
    *count = found;
    return ERR_OK;
}
