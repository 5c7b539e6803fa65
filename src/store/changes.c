/*
 * changes: counts compared with those that were seen, and resources found by the tables they depend on.
 *
 * Which resource depends on what is asked of SQLite once, and again when the schema is another one. Then every resource
 * counts as changed: tables may have been made anew without their triggers, views may read other tables. A resource
 * whose statement cannot be prepared depends on everything.
 *
 * A database that was put back is noticed while somebody looks: as another file at the path, or, restored into the file
 * by SQLite itself (`.restore`), as another schema, whose number that always moves. The counts alone do not tell it:
 * larder's own writes, which are taken back with the rest, do not move them. Bytes that are copied over the file of an
 * open database nobody notices, SQLite included.
 *
 * Invariant: the counts are only compared for being different, and a count is noted only after what it stood for has
 * been purged. It refuses to write: that a count has been dealt with is for the writer to keep (writer_client_changed).
 */
#include "store/changes.h"

#include <sqlite3.h>
#include <stdlib.h>

#include "base/sys.h"
#include "store/rows.h"
#include "store/tables.h"

/* One table, as it was read last. */
struct count {
    char *name;
    int64_t changes;
    int64_t known[2]; /* by enum changes_whom */
};

struct changes {
    const struct catalog *catalog;
    struct tables *tables; /* of each resource */
    bool *unclear;         /* of each resource: it may depend on any table */
    bool is_mapped;
    bool is_other;     /* another file was met since it was mapped */
    unsigned replaced; /* of the outbox, when it was last looked at */
    int64_t schema;    /* to which `tables` belong */
    bool is_new[2];    /* by enum changes_whom: the schema is one that it has not been told of */
    struct count *counts;
    size_t counts_count;
};

struct changes *changes_new(const struct catalog *catalog)
{
    struct changes *changes = sys_calloc(1, sizeof *changes);

    changes->catalog = catalog;
    changes->tables = sys_calloc(catalog->count, sizeof *changes->tables);
    changes->unclear = sys_calloc(catalog->count, sizeof *changes->unclear);
    return changes;
}

void changes_free(struct changes **changes)
{
    if (!*changes)
        return;
    for (size_t i = 0; i < (*changes)->catalog->count; i++)
        tables_free(&(*changes)->tables[i]);
    for (size_t i = 0; i < (*changes)->counts_count; i++)
        free((*changes)->counts[i].name);
    free((*changes)->tables);
    free((*changes)->unclear);
    free((*changes)->counts);
    free(*changes);
    *changes = NULL;
}

static enum err read_schema(sqlite3 *db, int64_t *schema, struct buf *why)
{
    sqlite3_stmt *statement = NULL;
    enum err err = ERR_OK;

    if (sqlite3_prepare_v2(db, "PRAGMA schema_version", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        *schema = sqlite3_column_int64(statement, 0);
    else
        err = rows_failed(db, why);
    sqlite3_finalize(statement);
    return err;
}

/* Finds out anew what depends on what, where the schema is not the one that it was found out for. */
static enum err map(struct changes *changes, sqlite3 *db, struct buf *why)
{
    struct buf ignored = {0};
    int64_t schema = 0;
    enum err err = read_schema(db, &schema, why);

    if (err != ERR_OK || (changes->is_mapped && schema == changes->schema && !changes->is_other))
        return err;
    for (size_t i = 0; i < changes->catalog->count; i++) {
        tables_free(&changes->tables[i]);
        if (changes->catalog->resources[i].follows_tables)
            changes->unclear[i] =
                tables_find(db, &changes->catalog->resources[i], &changes->tables[i], &ignored) != ERR_OK;
    }
    changes->is_new[CHANGES_HERE] = changes->is_new[CHANGES_L2] = changes->is_mapped;
    changes->is_mapped = true;
    changes->is_other = false;
    changes->schema = schema;
    buf_free(&ignored);
    return ERR_OK;
}

/* The table NAME, of which PURGED is known to everybody when it is met for the first time. */
static struct count *find_count(struct changes *changes, const char *name, int64_t purged)
{
    for (size_t i = 0; i < changes->counts_count; i++)
        if (strcmp(changes->counts[i].name, name) == 0)
            return &changes->counts[i];
    changes->counts = sys_realloc(changes->counts, (changes->counts_count + 1) * sizeof *changes->counts);
    struct count *count = &changes->counts[changes->counts_count++];
    *count = (struct count){.name = sys_copy(str_from(name)), .changes = purged, .known = {purged, purged}};
    return count;
}

static enum err read_counts(struct changes *changes, sqlite3 *db, struct buf *why)
{
    sqlite3_stmt *rows = NULL;
    int code = sqlite3_prepare_v2(db, "SELECT name, changes, purged FROM larder_changes", -1, &rows, NULL);

    /* The writer has not been here yet. */
    if (code == SQLITE_ERROR &&
        sqlite3_table_column_metadata(db, "main", "larder_changes", NULL, NULL, NULL, NULL, NULL, NULL) == SQLITE_ERROR)
        return ERR_OK;
    while (code == SQLITE_OK && (code = sqlite3_step(rows)) == SQLITE_ROW) {
        struct count *count =
            find_count(changes, (const char *)sqlite3_column_text(rows, 0), sqlite3_column_int64(rows, 2));
        count->changes = sqlite3_column_int64(rows, 1);
        code = SQLITE_OK;
    }
    enum err err = code == SQLITE_DONE ? ERR_OK : rows_failed(db, why);
    sqlite3_finalize(rows);
    return err;
}

static bool depends(const struct changes *changes, size_t resource, const char *table)
{
    return changes->unclear[resource] || tables_has(&changes->tables[resource], table);
}

static bool matters(const struct changes *changes, const char *table)
{
    for (size_t i = 0; i < changes->catalog->count; i++)
        if (depends(changes, i, table))
            return true;
    return false;
}

static bool is_changed(const struct changes *changes, size_t resource, enum changes_whom whom)
{
    for (size_t i = 0; i < changes->counts_count; i++) {
        const struct count *count = &changes->counts[i];
        if (count->changes != count->known[whom] && depends(changes, resource, count->name))
            return true;
    }
    return changes->is_new[whom];
}

/* The changed tables that any resource depends on here, and their counts: others are for other hosts to deal with. */
static void list_tables(const struct changes *changes, enum changes_whom whom, struct arena *arena,
                        struct changes_found *out)
{
    size_t pieces = changes->counts_count / PARAMS_MAX + 1, count = 0;

    out->tables = arena_calloc(arena, pieces, sizeof *out->tables);
    for (size_t i = 0; out->tables && i < changes->counts_count; i++) {
        const struct count *table = &changes->counts[i];
        if (table->changes == table->known[whom] || !matters(changes, table->name))
            continue;
        struct params_values *piece = &out->tables[count++ / PARAMS_MAX];
        piece->items[piece->count++] =
            (struct params_value){.name = str_from(table->name), .type = PARAMS_INTEGER, .integer = table->changes};
    }
    out->tables_count = (count + PARAMS_MAX - 1) / PARAMS_MAX;
}

static void list_items(const struct changes *changes, enum changes_whom whom, struct arena *arena,
                       struct changes_found *out)
{
    const struct catalog *catalog = changes->catalog;

    out->items = arena_calloc(arena, catalog->count + 1, sizeof *out->items);
    for (size_t i = 0; out->items && i < catalog->count; i++)
        if (catalog->resources[i].follows_tables && is_changed(changes, i, whom))
            out->items[out->items_count++] =
                arena_printf(arena, "tag:" CATALOG_RESOURCE_TAG "%.*s", STR_ARG(catalog->resources[i].name));
}

static bool is_counted(const struct changes *changes, const char *table)
{
    for (size_t i = 0; i < changes->counts_count; i++)
        if (strcmp(changes->counts[i].name, table) == 0)
            return true;
    return false;
}

static bool is_unwatched(const struct changes *changes)
{
    for (size_t i = 0; i < changes->catalog->count; i++)
        for (size_t k = 0; k < changes->tables[i].count; k++)
            if (changes->tables[i].items[k].kind == TABLES_REAL &&
                !is_counted(changes, changes->tables[i].items[k].name))
                return true;
    return false;
}

enum err changes_read(struct changes *changes, struct outbox *outbox, enum changes_whom whom, struct arena *arena,
                      struct changes_found *out, struct buf *why)
{
    sqlite3 *db;
    enum err err = outbox_connection(outbox, &db, why);

    *out = (struct changes_found){.items = NULL};
    changes->is_other |= changes->replaced != outbox_replaced(outbox);
    changes->replaced = outbox_replaced(outbox);
    if (err == ERR_NOT_FOUND)
        return ERR_OK;
    if (err == ERR_OK)
        err = map(changes, db, why);
    if (err == ERR_OK)
        err = read_counts(changes, db, why);
    if (err != ERR_OK)
        return ERR_UNAVAILABLE;
    list_tables(changes, whom, arena, out);
    list_items(changes, whom, arena, out);
    out->new_schema = changes->is_new[whom];
    out->unwatched = is_unwatched(changes);
    if (!arena_overflowed(arena))
        return ERR_OK;
    buf_add_str(why, STR("there is no room for the names of what has changed"));
    return ERR_UNAVAILABLE;
}

enum err changes_waiting(struct outbox *outbox, bool *waiting, struct buf *why)
{
    static const char sql[] = "SELECT EXISTS (SELECT 1 FROM larder_outbox) OR"
                              " EXISTS (SELECT 1 FROM larder_changes WHERE changes IS NOT purged)";
    sqlite3_stmt *row = NULL;
    sqlite3 *db;
    enum err err = outbox_connection(outbox, &db, why);

    *waiting = false;
    if (err != ERR_OK)
        return err == ERR_NOT_FOUND ? ERR_OK : err;
    int code = sqlite3_prepare_v2(db, sql, -1, &row, NULL);
    /* The writer has not been here yet. */
    if (code == SQLITE_ERROR &&
        sqlite3_table_column_metadata(db, "main", "larder_changes", NULL, NULL, NULL, NULL, NULL, NULL) == SQLITE_ERROR)
        return ERR_OK;
    if (code == SQLITE_OK && sqlite3_step(row) == SQLITE_ROW)
        *waiting = sqlite3_column_int(row, 0) != 0;
    else
        err = rows_failed(db, why);
    sqlite3_finalize(row);
    return err;
}

void changes_note(struct changes *changes, bool told_l2)
{
    for (size_t i = 0; i < changes->counts_count; i++) {
        struct count *count = &changes->counts[i];
        count->known[CHANGES_HERE] = count->changes;
        count->known[CHANGES_L2] = told_l2 ? count->changes : count->known[CHANGES_L2];
    }
    changes->is_new[CHANGES_HERE] = false;
    changes->is_new[CHANGES_L2] &= !told_l2;
}
