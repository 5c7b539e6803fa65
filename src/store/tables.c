/*
 * tables: asks SQLite what a statement reads.
 *
 * The statement is prepared, never run, under an authorizer that lets by what reading statements may do and notes each
 * table by the way: whatever code for reading is made for, whether a run comes by there or not. What is noted is then
 * looked up in the schema, which knows views and virtual tables from real ones.
 *
 * Invariant: the names are the schema's own, so that comparing them byte by byte is right. It changes nothing, and
 * judges nothing: that a name means no table is for its caller to complain about.
 */
#include "store/tables.h"

#include <sqlite3.h>
#include <stdlib.h>

#include "base/sys.h"
#include "store/rows.h"
#include "store/statement.h"

/* The place of NAME among TABLES, or the one where it would stand. */
static size_t find_place(const struct tables *tables, const char *name, bool *found)
{
    size_t place = 0;
    int order = 1;

    while (place < tables->count && (order = strcmp(tables->items[place].name, name)) < 0)
        place++;
    *found = place < tables->count && order == 0;
    return place;
}

static void add(struct tables *tables, const char *name, enum tables_kind kind, struct str word)
{
    bool found;
    size_t place = find_place(tables, name, &found);

    if (found)
        return;
    tables->items = sys_realloc(tables->items, (tables->count + 1) * sizeof *tables->items);
    memmove(tables->items + place + 1, tables->items + place, (tables->count - place) * sizeof *tables->items);
    tables->items[place] = (struct tables_item){.name = sys_copy(str_from(name)), .kind = kind, .word = word};
    tables->count++;
}

static int note_reading(void *context, int action, const char *first, const char *second, const char *schema,
                        const char *trigger)
{
    if (action == SQLITE_READ)
        add(context, first, TABLES_MISSING, STR(""));
    return statement_allow_reading(NULL, action, first, second, schema, trigger);
}

/* Whether NAME is SQLite's or larder's, and no business of a resource. */
static bool is_private(const char *name)
{
    return sqlite3_strnicmp(name, "sqlite_", 7) == 0 ||
           (sqlite3_strnicmp(name, "larder_", 7) == 0 && sqlite3_stricmp(name, "larder_scores") != 0);
}

/* What the schema says of NAME: *SPELT is valid until LOOKUP is reset. */
static enum tables_kind look_up(sqlite3_stmt *lookup, struct str name, const char **spelt)
{
    static const char *const types[] = {[TABLES_REAL] = "table", [TABLES_VIRTUAL] = "virtual", [TABLES_VIEW] = "view"};

    sqlite3_bind_text64(lookup, 1, name.p, name.len, SQLITE_STATIC, SQLITE_UTF8);
    if (sqlite3_step(lookup) != SQLITE_ROW)
        return TABLES_MISSING;
    const char *type = (const char *)sqlite3_column_text(lookup, 1);
    *spelt = (const char *)sqlite3_column_text(lookup, 0);
    for (enum tables_kind kind = TABLES_REAL; kind < TABLES_MISSING; kind++)
        if (strcmp(type, types[kind]) == 0 && !is_private(*spelt))
            return kind;
    return TABLES_MISSING;
}

/* Appends NAME to OUT as the schema knows it. A WORD of a resource's line is kept whatever it is. */
static void take(sqlite3_stmt *lookup, struct str name, struct str word, struct tables *out)
{
    const char *spelt = NULL;
    enum tables_kind kind = look_up(lookup, name, &spelt);

    if (kind == TABLES_REAL || kind == TABLES_VIRTUAL) {
        add(out, spelt, kind, word);
    } else if (word.len > 0) {
        char *copy = sys_copy(name);
        add(out, copy, kind, word);
        free(copy);
    }
    sqlite3_reset(lookup);
}

/* Every name that RESOURCE's statement reads from. */
static enum err note_names(sqlite3 *db, const struct resource *resource, struct tables *names, struct buf *why)
{
    struct str rest = resource->sql;
    sqlite3_stmt *statement = NULL;
    const char *point;

    sqlite3_set_authorizer(db, note_reading, names);
    enum err err = statement_prepare_reading(db, &rest, 0, &statement, &point, why);
    sqlite3_finalize(statement);
    sqlite3_set_authorizer(db, NULL, NULL);
    return err;
}

enum err tables_find(sqlite3 *db, const struct resource *resource, struct tables *out, struct buf *why)
{
    static const char sql[] =
        "SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE";
    struct tables names = {0};
    sqlite3_stmt *lookup = NULL;
    enum err err = ERR_OK;

    if (resource->tables_named)
        sqlite3_set_authorizer(db, NULL, NULL);
    else
        err = note_names(db, resource, &names, why);
    if (err == ERR_OK && sqlite3_prepare_v2(db, sql, -1, &lookup, NULL) != SQLITE_OK)
        err = rows_failed(db, why);
    for (size_t i = 0; err == ERR_OK && i < names.count; i++)
        take(lookup, str_from(names.items[i].name), STR(""), out);
    for (size_t i = 0; err == ERR_OK && i < resource->tables_count; i++)
        take(lookup, resource->tables[i], resource->tables[i], out);
    sqlite3_finalize(lookup);
    tables_free(&names);
    return err;
}

void tables_add(struct tables *tables, const char *name)
{
    add(tables, name, TABLES_REAL, STR(""));
}

bool tables_has(const struct tables *tables, const char *name)
{
    bool found;
    size_t place = find_place(tables, name, &found);

    return found && tables->items[place].kind == TABLES_REAL;
}

void tables_free(struct tables *tables)
{
    for (size_t i = 0; i < tables->count; i++)
        free(tables->items[i].name);
    free(tables->items);
    *tables = (struct tables){0};
}
