/*
 * watch: triggers and rows of larder_changes, compared with what the resources need.
 *
 * What should be and what is are compared by the text of each trigger as SQLite keeps it, so a table that was dropped
 * and made again (its triggers went with it), or renamed (SQLite rewrote them), is watched anew, and so is one whose
 * triggers an older larder wrote otherwise. The differences are written down as SQL first and then run as one
 * transaction.
 *
 * Invariant: a table that is watched has a row in larder_changes before its triggers exist, so no change finds nothing
 * to count in. It never removes anything on the word of a catalogue that could not be read whole.
 */
#include "store/watch.h"

#include <sqlite3.h>
#include <stdarg.h>

#include "base/report.h"
#include "store/rows.h"
#include "store/schema.h"
#include "store/tables.h"

static const char *const events[] = {"insert", "update", "delete"};
enum { EVENTS = sizeof events / sizeof *events };

/* Appends FORMAT, of sqlite3_mprintf: its %Q and %w quote any name. */
static void add_sql(struct buf *out, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    char *text = sqlite3_vmprintf(format, arguments);
    va_end(arguments);
    buf_add_str(out, str_from(text));
    sqlite3_free(text);
}

static void name_trigger(const char *table, const char *event, struct buf *out)
{
    buf_printf(out, "larder_change_%s_%s", table, event);
}

/* The trigger as SQLite keeps it: it begins its own copy with these two words. A reader of the row sees NULL where
 * there is none, and counts. */
static void write_trigger(const char *table, const char *event, struct buf *out)
{
    struct buf name = {0};

    name_trigger(table, event, &name);
    add_sql(out,
            "CREATE TRIGGER \"%w\" AFTER %s ON \"%w\" WHEN (SELECT own FROM larder_state) IS NOT 1 BEGIN "
            "UPDATE larder_changes SET changes = changes + 1 WHERE name = %Q; END",
            name.p, event, table, table);
    buf_free(&name);
}

/* Whether one of WANTED's triggers is called NAME; *TEXT, appended to, is what it should be. */
static bool is_wanted(const struct tables *wanted, const char *name, struct buf *text)
{
    struct buf other = {0};
    bool found = false;

    for (size_t i = 0; i < wanted->count && !found; i++)
        for (size_t k = 0; k < EVENTS && !found; k++) {
            buf_clear(&other);
            name_trigger(wanted->items[i].name, events[k], &other);
            found = strcmp(other.p, name) == 0;
            if (found)
                write_trigger(wanted->items[i].name, events[k], text);
        }
    buf_free(&other);
    return found;
}

/* Appends to OUT what drops the triggers that are not as they should be; unless ALL, only those that will be made
 * again. *KEPT holds the names of the others. */
static enum err compare_triggers(sqlite3 *db, const struct tables *wanted, bool all, struct tables *kept,
                                 struct buf *out, struct buf *why)
{
    static const char sql[] = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND "
                              "name LIKE 'larder\\_change\\_%' ESCAPE '\\'";
    sqlite3_stmt *rows = NULL;
    struct buf text = {0};
    int code = sqlite3_prepare_v2(db, sql, -1, &rows, NULL);

    while (code == SQLITE_OK && (code = sqlite3_step(rows)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(rows, 0);
        const char *found = (const char *)sqlite3_column_text(rows, 1);

        code = SQLITE_OK;
        buf_clear(&text);
        bool needed = is_wanted(wanted, name, &text);
        if (needed && found && strcmp(found, text.p) == 0)
            tables_add(kept, name);
        else if (needed || all)
            add_sql(out, "DROP TRIGGER \"%w\";", name);
    }
    enum err err = code == SQLITE_DONE ? ERR_OK : rows_failed(db, why);
    sqlite3_finalize(rows);
    buf_free(&text);
    return err;
}

/* Appends to OUT what makes the triggers of TABLE that are not among KEPT, and counts the change. */
static void complete_table(const char *table, const struct tables *kept, struct buf *out)
{
    struct buf made = {0}, name = {0};

    for (size_t k = 0; k < EVENTS; k++) {
        buf_clear(&name);
        name_trigger(table, events[k], &name);
        if (tables_has(kept, name.p))
            continue;
        write_trigger(table, events[k], &made);
        buf_add_char(&made, ';');
    }
    if (made.len > 0)
        add_sql(out,
                "INSERT INTO larder_changes (name, changes, purged) VALUES (%Q, 1, 0) "
                "ON CONFLICT (name) DO UPDATE SET changes = changes + 1;",
                table);
    buf_add_str(out, buf_str(&made));
    buf_free(&made);
    buf_free(&name);
}

/* Whether there is a table to count in. */
static bool has_rows(sqlite3 *db)
{
    return sqlite3_table_column_metadata(db, "main", "larder_changes", NULL, NULL, NULL, NULL, NULL, NULL) == SQLITE_OK;
}

/* Appends to OUT what removes the rows of tables that nobody depends on. */
static enum err drop_rows(sqlite3 *db, const struct tables *wanted, struct buf *out, struct buf *why)
{
    sqlite3_stmt *rows = NULL;
    int code = sqlite3_prepare_v2(db, "SELECT name FROM larder_changes", -1, &rows, NULL);

    while (code == SQLITE_OK && (code = sqlite3_step(rows)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(rows, 0);

        code = SQLITE_OK;
        if (!tables_has(wanted, name))
            add_sql(out, "DELETE FROM larder_changes WHERE name = %Q;", name);
    }
    enum err err = code == SQLITE_DONE ? ERR_OK : rows_failed(db, why);
    sqlite3_finalize(rows);
    return err;
}

static bool follows_tables(const struct catalog *catalog)
{
    for (size_t i = 0; i < catalog->count; i++)
        if (catalog->resources[i].follows_tables)
            return true;
    return false;
}

/* The real tables that the resources of CATALOG depend on. *WHOLE becomes false where there may be others. */
static void find_wanted(sqlite3 *db, const struct catalog *catalog, struct tables *wanted, bool *whole)
{
    struct buf ignored = {0};

    for (size_t i = 0; i < catalog->count; i++) {
        struct tables found = {0};

        if (!catalog->resources[i].follows_tables)
            continue;
        if (tables_find(db, &catalog->resources[i], &found, &ignored) != ERR_OK)
            *whole = false;
        for (size_t k = 0; k < found.count; k++)
            if (found.items[k].kind == TABLES_REAL)
                tables_add(wanted, found.items[k].name);
        tables_free(&found);
    }
    buf_free(&ignored);
}

static enum err run(sqlite3 *db, const char *sql, struct buf *why)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? ERR_OK : rows_failed(db, why);
}

/* Runs SQL as one transaction. */
static enum err run_whole(sqlite3 *db, const char *sql, struct buf *why)
{
    enum err err = run(db, "BEGIN IMMEDIATE", why);

    if (err == ERR_OK)
        err = run(db, sql, why);
    if (err == ERR_OK)
        err = run(db, "COMMIT", why);
    if (err != ERR_OK && !sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return err;
}

enum err watch_install(sqlite3 *db, const char *sql_dir, struct buf *why)
{
    struct report *report = report_new();
    struct catalog *catalog = NULL;
    struct tables wanted = {0}, kept = {0};
    struct buf sql = {0};
    bool whole = catalog_load(sql_dir, report, &catalog) == ERR_OK;

    /* First, for a resource may read what is made here; and not where it is there, for that takes the lock. */
    enum err err = follows_tables(catalog) && !has_rows(db) ? schema_make(db, why) : ERR_OK;
    if (err == ERR_OK) {
        find_wanted(db, catalog, &wanted, &whole);
        err = compare_triggers(db, &wanted, whole, &kept, &sql, why);
    }
    for (size_t i = 0; err == ERR_OK && i < wanted.count; i++)
        complete_table(wanted.items[i].name, &kept, &sql);
    if (err == ERR_OK && whole && has_rows(db))
        err = drop_rows(db, &wanted, &sql, why);
    if (err == ERR_OK && sql.len > 0)
        err = run_whole(db, sql.p, why);
    tables_free(&wanted);
    tables_free(&kept);
    buf_free(&sql);
    catalog_free(&catalog);
    report_free(&report);
    return err;
}

enum err watch_count_all(sqlite3 *db, struct buf *why)
{
    return run(db, "UPDATE larder_changes SET changes = changes + 1", why);
}
