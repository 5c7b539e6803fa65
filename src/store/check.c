/*
 * check: would every statement prepare, and is it what its front matter says?
 *
 * The answer must hold for the database as it will be after the next start, so a twin of it is made in memory: the
 * schema copied from the file, which is only read, then the pending migrations applied. Statements are prepared against
 * the twin under the same guards as in service, and never run.
 *
 * Invariant: nothing here changes a file. Everything wrong is reported, a file up to the first statement that does not
 * prepare; but where the twin cannot be made, the statements are left alone, for what they would be accused of would
 * not be their fault.
 */
#include "store/check.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/sys.h"
#include "store/migrate.h"
#include "store/rows_schema.h"
#include "store/schema.h"
#include "store/statement.h"
#include "store/tables.h"

enum { IMPORT_BYTES_MAX = 1 << 20, BUSY_TIMEOUT_MS = 1000 };

struct check {
    sqlite3 *db; /* the twin */
    struct report *report;
    struct buf *depends, *answers;
};

/* Runs the one-column rows of QUERY on FROM as statements on TO. */
static enum err copy_schema(sqlite3 *from, sqlite3 *to, struct buf *why)
{
    /* What virtual tables keep their data in comes by itself; indexes, views and triggers follow what they stand on. */
    static const char schema[] =
        "SELECT sql FROM sqlite_schema AS s LEFT JOIN pragma_table_list AS l ON l.name = s.name AND l.schema = 'main' "
        "WHERE sql IS NOT NULL AND s.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND l.type IS NOT 'shadow' "
        "ORDER BY CASE s.type WHEN 'table' THEN 1 WHEN 'index' THEN 2 WHEN 'view' THEN 3 ELSE 4 END, s.rowid";
    sqlite3_stmt *rows = NULL;
    enum err err = ERR_OK;
    int code = sqlite3_prepare_v2(from, schema, -1, &rows, NULL);

    while (code == SQLITE_OK && (code = sqlite3_step(rows)) == SQLITE_ROW) {
        code = sqlite3_exec(to, (const char *)sqlite3_column_text(rows, 0), NULL, NULL, NULL);
        if (code != SQLITE_OK) {
            err = rows_failed(to, why);
            goto out;
        }
    }
    if (code != SQLITE_DONE)
        err = rows_failed(from, why);
out:
    sqlite3_finalize(rows);
    return err;
}

static enum err copy_version(sqlite3 *from, sqlite3 *to, struct buf *why)
{
    sqlite3_stmt *statement = NULL;
    struct buf sql = {0};
    enum err err = ERR_OK;

    if (sqlite3_prepare_v2(from, "PRAGMA user_version", -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW) {
        err = rows_failed(from, why);
    } else {
        buf_printf(&sql, "PRAGMA user_version = %d", sqlite3_column_int(statement, 0));
        if (sqlite3_exec(to, sql.p, NULL, NULL, NULL) != SQLITE_OK)
            err = rows_failed(to, why);
    }
    sqlite3_finalize(statement);
    buf_free(&sql);
    return err;
}

static enum err open_twin(const char *path, const char *sql_dir, struct report *report, sqlite3 **twin)
{
    sqlite3 *db = NULL, *origin = NULL;
    struct buf why = {0};
    enum err err = ERR_LIMIT;

    if (sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        goto out;
    err = ERR_OK;
    if (access(path, F_OK) == 0) {
        int code = sqlite3_open_v2(path, &origin, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
        if (origin) {
            sqlite3_db_config(origin, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
            /* Another program's lock of a moment is no reason to leave the statements unchecked. */
            sqlite3_busy_timeout(origin, BUSY_TIMEOUT_MS);
        }
        err = code == SQLITE_OK ? copy_schema(origin, db, &why) : rows_failed(origin, &why);
        if (err == ERR_OK)
            err = copy_version(origin, db, &why);
        if (err != ERR_OK) {
            report_add(report, path, 0, 0, "the schema cannot be read: %s", why.p);
            err = ERR_UNAVAILABLE;
        }
    }
    if (err == ERR_OK && (err = schema_make(db, &why)) != ERR_OK)
        report_add(report, path, 0, 0, "larder's own tables cannot be made: %s", why.p);
    if (err == ERR_OK)
        err = migrate_pending(
            db, &(struct migrate){.path = path, .sql_dir = sql_dir, .last = MIGRATE_ALL, .report = report});
out:
    sqlite3_close(origin);
    buf_free(&why);
    if (err == ERR_OK)
        *twin = db;
    else
        sqlite3_close(db);
    return err;
}

static void complain(const struct check *check, const struct resource *resource, const char *point, const char *message)
{
    struct buf file = {0};
    unsigned line, column;

    buf_add_str(&file, resource->file);
    statement_place(resource->sql, resource->sql_line, point, &line, &column);
    column += line == resource->sql_line ? resource->sql_offset : 0;
    report_add(check->report, file.p ? file.p : "", line, column, "%s", message);
    buf_free(&file);
}

static const struct params_spec *find_spec(const struct resource *resource, struct str name)
{
    for (size_t i = 0; i < resource->params_count; i++)
        if (str_equal(resource->params[i].name, name))
            return &resource->params[i];
    return NULL;
}

static bool is_declared(const struct resource *resource, struct str name)
{
    return find_spec(resource, name) || rows_is_builtin(name);
}

/* Where MARKED, a parameter with its colon, first stands as a whole word at or after START. */
static const char *find_parameter(const struct resource *resource, const char *start, const char *marked)
{
    const char *end = resource->sql.p + resource->sql.len;
    size_t len = strlen(marked);

    for (const char *p = start; (p = memmem(p, (size_t)(end - p), marked, len)) != NULL; p += len) {
        unsigned char next = p + len < end ? (unsigned char)p[len] : ' ';
        if (next != '_' && next < 0x80 && !(next >= '0' && next <= '9') && !((next | 32) >= 'a' && (next | 32) <= 'z'))
            return p;
    }
    return start;
}

/* FREE: any name will do, as in an import. */
static void inspect_parameters(const struct check *check, const struct resource *resource, bool free_names,
                               sqlite3_stmt *statement, const char *start)
{
    int count = sqlite3_bind_parameter_count(statement);

    for (int at = 1; at <= count; at++) {
        const char *marked = sqlite3_bind_parameter_name(statement, at);
        struct buf message = {0};

        if (!marked || marked[0] != ':')
            buf_printf(&message, "the parameter %s has no name: write it as :name", marked ? marked : "?");
        else if (!free_names && !is_declared(resource, str_from(marked + 1)))
            buf_printf(&message, "%s is neither declared by a param line nor built in", marked);
        if (message.len)
            complain(check, resource, marked ? find_parameter(resource, start, marked) : start, message.p);
        buf_free(&message);
    }
}

/* Whether the columns of a statement that answers make the shape, each name once. */
static void inspect_columns(const struct check *check, const struct resource *resource, sqlite3_stmt *statement,
                            const char *start)
{
    struct rows_plan plan;
    struct buf message = {0};
    int values = 0;

    rows_plan_init(&plan, statement);
    for (int i = 0; i < plan.count; i++) {
        struct str label = {plan.labels.p + plan.columns[i].label, plan.columns[i].label_len - 1};
        values += plan.columns[i].kind != ROWS_TOTAL;
        for (int k = 0; k < i; k++) {
            struct str other = {plan.labels.p + plan.columns[k].label, plan.columns[k].label_len - 1};
            if (!str_equal(label, other))
                continue;
            buf_clear(&message);
            buf_printf(&message, "two columns are called %.*s: give one of them another name with AS", STR_ARG(label));
            complain(check, resource, start, message.p);
            break;
        }
    }
    if (resource->shape == CATALOG_VALUE && values != 1)
        complain(check, resource, start, "a statement of shape value gives exactly one column");
    else if (values == 0)
        complain(check, resource, start, "the statement gives no column but :total");
    rows_plan_fini(&plan);
    buf_free(&message);
}

typedef enum err prepare_fn(sqlite3 *db, struct str *rest, unsigned flags, sqlite3_stmt **statement, const char **error,
                            struct buf *why);

struct tally {
    unsigned statements, writing;
    bool broken; /* one did not prepare, so the counts say nothing */
};

static struct tally inspect_statements(const struct check *check, const struct resource *resource, bool free_names)
{
    struct str rest = resource->sql;
    prepare_fn *prepare = resource->reading ? statement_prepare_reading : statement_prepare;
    struct buf why = {0};
    struct tally tally = {0};

    for (;;) {
        sqlite3_stmt *statement = NULL;
        const char *start = statement_start(rest), *error = start;

        if (prepare(check->db, &rest, 0, &statement, &error, &why) != ERR_OK) {
            /* SQLite's own word for a migration that was forgotten, or changed after it had been applied. */
            if (str_starts(buf_str(&why), STR("no such table")))
                buf_add_str(&why, STR("; tables are made by the files in migrations/, and each is applied once"));
            complain(check, resource, error, why.p);
            tally.broken = true;
            break;
        }
        if (!statement)
            break;
        tally.statements++;
        tally.writing += !sqlite3_stmt_readonly(statement);
        inspect_parameters(check, resource, free_names, statement, start);
        if (sqlite3_column_count(statement) > 0)
            inspect_columns(check, resource, statement, start);
        if (resource->reading && tally.statements == 2)
            complain(check, resource, start, "a GET resource is one statement, and this is a second one");
        sqlite3_finalize(statement);
    }
    buf_free(&why);
    return tally;
}

/* Whether NAME is one of STATEMENT's first COUNT columns. */
static bool gives(sqlite3_stmt *statement, struct str name, int count)
{
    for (int i = 0; i < count; i++)
        if (str_equal(str_from(sqlite3_column_name(statement, i)), name))
            return true;
    return false;
}

/* Whether the columns of RESOURCE's warm STATEMENT are parameters that make a request. */
static void inspect_warm_columns(const struct check *check, const struct resource *resource, sqlite3_stmt *statement,
                                 const char *start)
{
    int columns = sqlite3_column_count(statement);
    struct buf message = {0};

    for (int i = 0; i < columns; i++) {
        struct str name = str_from(sqlite3_column_name(statement, i));

        buf_clear(&message);
        if (!find_spec(resource, name))
            buf_printf(&message, "the column %.*s is no parameter of this resource: name it after one with AS",
                       STR_ARG(name));
        else if (gives(statement, name, i))
            buf_printf(&message, "two columns are called %.*s", STR_ARG(name));
        if (message.len > 0)
            complain(check, resource->warm, start, message.p);
    }
    for (size_t i = 0; i < resource->params_count; i++) {
        const struct params_spec *spec = &resource->params[i];

        if (spec->optional || spec->has_default || gives(statement, spec->name, columns))
            continue;
        buf_clear(&message);
        buf_printf(&message, "the parameter %.*s is required, and no column gives it", STR_ARG(spec->name));
        complain(check, resource->warm, start, message.p);
    }
    buf_free(&message);
}

/* The warm line of RESOURCE: one statement that reads, and gives parameters without taking any. */
static void inspect_warm(const struct check *check, const struct resource *resource)
{
    const struct resource *warm = resource->warm;
    struct str rest = warm->sql;
    sqlite3_stmt *statement = NULL, *second = NULL;
    struct buf why = {0};
    const char *start = statement_start(rest), *error = start;

    if (statement_prepare_reading(check->db, &rest, 0, &statement, &error, &why) != ERR_OK) {
        complain(check, warm, error, why.p);
        goto out;
    }
    if (!statement) {
        complain(check, warm, warm->sql.p, "there is no statement in the warm line");
        goto out;
    }
    for (int at = 1; at <= sqlite3_bind_parameter_count(statement); at++) {
        const char *marked = sqlite3_bind_parameter_name(statement, at);

        if (!marked || marked[0] != ':' || !rows_is_builtin(str_from(marked + 1)))
            complain(check, warm, marked ? find_parameter(warm, start, marked) : start,
                     "a warm line gives parameters and is given none");
    }
    inspect_warm_columns(check, resource, statement, start);
    start = error = statement_start(rest);
    if (statement_prepare_reading(check->db, &rest, 0, &second, &error, &why) != ERR_OK)
        complain(check, warm, error, why.p);
    else if (second)
        complain(check, warm, start, "a warm line is one statement, and this is a second one");
out:
    sqlite3_finalize(second);
    sqlite3_finalize(statement);
    buf_free(&why);
}

/* What is wrong with the words of RESOURCE's `tables:` line, which came to be TABLES. */
static void inspect_words(const struct check *check, const struct resource *resource, const struct tables *tables)
{
    static const char *const wrong[] = {
        [TABLES_VIRTUAL] = "is a virtual table, which changes without anybody being told; name the tables behind it",
        [TABLES_VIEW] = "is a view; name the tables that it reads",
        [TABLES_MISSING] = "is no table of the database"};
    unsigned line, column;

    for (size_t i = 0; i < resource->tables_count; i++)
        for (size_t k = 0; k < tables->count; k++) {
            const struct tables_item *item = &tables->items[k];

            if (item->word.p != resource->tables[i].p || item->kind == TABLES_REAL)
                continue;
            catalog_locate(resource, item->word.p, &line, &column);
            report_add(check->report, resource->file.p, line, column, "tables: `%.*s` %s", STR_ARG(item->word),
                       wrong[item->kind]);
        }
}

/* Which tables RESOURCE depends on, as a line for a person; and whether those that it names are some. */
static void inspect_tables(const struct check *check, const struct resource *resource)
{
    struct tables tables = {0};
    struct buf ignored = {0};

    buf_printf(check->depends, "%.*s:", STR_ARG(resource->name));
    /* A statement that cannot be prepared has been complained about. */
    (void)!tables_find(check->db, resource, &tables, &ignored);
    inspect_words(check, resource, &tables);
    for (size_t i = 0; i < tables.count; i++) {
        const struct tables_item *item = &tables.items[i];

        buf_printf(check->depends, "%s %s%s", i > 0 ? "," : "", item->name,
                   item->kind == TABLES_VIRTUAL ? " (a virtual table: changes by other programs are not noticed)" : "");
    }
    if (tables.count == 0)
        buf_add_str(check->depends, resource->tables_named ? STR(" none, as its tables: line says") : STR(" no table"));
    if (resource->ttl_ms == 0)
        buf_add_str(check->depends, STR(" (not cached)"));
    buf_add_char(check->depends, '\n');
    tables_free(&tables);
    buf_free(&ignored);
}

/* What RESOURCE answers, as a line for whoever describes it: of several statements, the last that has rows speaks. */
static void describe_answer(const struct check *check, const struct resource *resource)
{
    struct str rest = resource->sql;
    sqlite3_stmt *statement = NULL, *last = NULL;
    struct buf ignored = {0};
    const char *point;

    statement_guard(check->db, STATEMENT_GUARD_NONE);
    /* What cannot be prepared has been complained about. */
    while (statement_prepare(check->db, &rest, 0, &statement, &point, &ignored) == ERR_OK && statement) {
        if (sqlite3_column_count(statement) > 0) {
            sqlite3_finalize(last);
            last = statement;
        } else {
            sqlite3_finalize(statement);
        }
        statement = NULL;
    }
    if (last) {
        buf_printf(check->answers, "%.*s ", STR_ARG(resource->name));
        rows_schema_add(check->db, last, resource->shape, check->answers);
        buf_add_char(check->answers, '\n');
    }
    sqlite3_finalize(last);
    buf_free(&ignored);
}

static void inspect_file(const struct check *check, const struct resource *resource, bool is_import)
{
    statement_guard(check->db, resource->reading ? STATEMENT_GUARD_READING : STATEMENT_GUARD_WRITING);
    struct tally tally = inspect_statements(check, resource, is_import);
    if (!tally.broken && tally.statements == 0)
        complain(check, resource, resource->sql.p, "there is no statement in the file");
    else if (!tally.broken && !resource->reading && tally.writing == 0)
        complain(check, resource, statement_start(resource->sql),
                 "none of the statements writes anything: a resource that only reads is a GET");
    if (resource->warm)
        inspect_warm(check, resource);
    if (resource->reading && !is_import)
        inspect_tables(check, resource);
    if (!is_import && !tally.broken)
        describe_answer(check, resource);
}

static void inspect_import(const struct check *check, const char *path)
{
    struct buf text = {0};
    struct resource import;
    enum err err = sys_read_file(path, IMPORT_BYTES_MAX, &text);

    if (err != ERR_OK) {
        report_add(check->report, path, 0, 0, "cannot be read: %s", err_text(err));
    } else if (catalog_parse_import(buf_str(&text), path, check->report, &import) == ERR_OK) {
        import.reading = false;
        inspect_file(check, &import, true);
        catalog_resource_fini(&import);
    }
    buf_free(&text);
}

static int is_sql(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);

    return entry->d_name[0] != '.' && len > 4 && strcmp(entry->d_name + len - 4, ".sql") == 0;
}

static void inspect_imports(const struct check *check, const char *sql_dir)
{
    struct buf path = {0};
    struct dirent **entries = NULL;

    buf_printf(&path, "%s/import", sql_dir);
    int count = scandir(path.p, &entries, is_sql, alphasort);
    if (count < 0 && errno != ENOENT)
        report_add(check->report, path.p, 0, 0, "cannot be read: %s", err_text(err_from_errno(errno)));
    for (int i = 0; i < count; i++) {
        buf_clear(&path);
        buf_printf(&path, "%s/import/%s", sql_dir, entries[i]->d_name);
        inspect_import(check, path.p);
        free(entries[i]);
    }
    free(entries);
    buf_free(&path);
}

enum err check_statements(const char *path, const char *sql_dir, const struct catalog *catalog, struct report *report,
                          struct buf *depends, struct buf *answers)
{
    size_t wrong_before = report_count(report);
    struct check check = {.report = report, .depends = depends, .answers = answers};
    enum err err = open_twin(path, sql_dir, report, &check.db);

    if (err == ERR_LIMIT)
        report_add(report, path, 0, 0, "there is no memory for a copy of the schema");
    if (err != ERR_OK)
        return err == ERR_UNAVAILABLE ? err : ERR_USAGE;
    for (size_t i = 0; i < catalog->count; i++)
        inspect_file(&check, &catalog->resources[i], false);
    inspect_imports(&check, sql_dir);
    sqlite3_close(check.db);
    return report_count(report) == wrong_before ? ERR_OK : ERR_USAGE;
}
