/*
 * rows_schema: declared types to JSON Schema.
 *
 * The type is that of the affinity which SQLite gives a declared type (https://sqlite.org/datatype3.html, section 3.1),
 * where the affinity leaves no doubt: NUMERIC columns hold dates as readily as numbers, so nothing is said of them.
 *
 * Invariant: null is excluded only where it cannot come. An outer join, an aggregate over no rows and a scalar subquery
 * without a row can all give NULL for a NOT NULL column: the first two show in the statement's program, subqueries by
 * the word SELECT, in the text or in a view. What is looked for by its letters may be found where it is not meant; then
 * null is allowed where it need not be.
 */
#include "store/rows_schema.h"

#include <strings.h>

/* Whether DB answers yes to SQL, of which ?1 is NAME. */
static bool confirms(sqlite3 *db, const char *sql, const char *name)
{
    sqlite3_stmt *question = NULL;
    bool yes = false;

    if (sqlite3_prepare_v2(db, sql, -1, &question, NULL) == SQLITE_OK) {
        sqlite3_bind_text(question, 1, name, -1, SQLITE_STATIC);
        yes = sqlite3_step(question) == SQLITE_ROW && sqlite3_column_int(question, 0) != 0;
    }
    sqlite3_finalize(question);
    return yes;
}

static bool has_selects(const char *sql, int allowed)
{
    static const char word[] = "select";

    for (; *sql; sql++)
        if (strncasecmp(sql, word, sizeof word - 1) == 0 && allowed-- == 0)
            return true;
    return false;
}

/* Whether an instruction of STATEMENT's program makes NULLs of what a table holds. */
static bool makes_nulls(sqlite3 *db, sqlite3_stmt *statement)
{
    sqlite3_stmt *program = NULL;
    struct buf sql = {0};
    bool found = false;

    buf_printf(&sql, "EXPLAIN %s", sqlite3_sql(statement));
    if (sqlite3_prepare_v2(db, sql.p, -1, &program, NULL) != SQLITE_OK)
        found = true;
    while (!found && sqlite3_step(program) == SQLITE_ROW) {
        const char *operation = (const char *)sqlite3_column_text(program, 1);

        found = !operation || strstr(operation, "NullRow") || strncmp(operation, "Agg", 3) == 0;
    }
    sqlite3_finalize(program);
    buf_free(&sql);
    return found;
}

/* Whether a column that cannot be NULL in its table cannot be so in STATEMENT's rows. */
static bool keeps_values(sqlite3 *db, sqlite3_stmt *statement)
{
    static const char names_view[] = "SELECT count(*) FROM sqlite_schema WHERE type = 'view' AND "
                                     "instr(lower(?1), lower(name))";
    const char *sql = sqlite3_sql(statement);

    return !has_selects(sql, sqlite3_stmt_readonly(statement) ? 1 : 0) && !confirms(db, names_view, sql) &&
           !makes_nulls(db, statement);
}

/* Whether column AT comes from one of a table that holds no NULL. */
static bool is_not_null(sqlite3 *db, sqlite3_stmt *statement, int at)
{
    /* A primary key of one INTEGER column is the rowid itself, unless it has an index of its own. */
    static const char is_rowid[] =
        "SELECT (SELECT count(*) FROM pragma_table_info(?1) WHERE pk > 0) = 1 AND NOT EXISTS "
        "(SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk')";
    const char *table = sqlite3_column_table_name(statement, at), *type = NULL;
    const char *column = sqlite3_column_origin_name(statement, at);
    const char *schema = sqlite3_column_database_name(statement, at);
    int not_null = 0, is_key = 0;

    if (!table || !column ||
        sqlite3_table_column_metadata(db, schema, table, column, &type, NULL, &not_null, &is_key, NULL) != SQLITE_OK)
        return false;
    return not_null || (is_key && type && sqlite3_stricmp(type, "INTEGER") == 0 && confirms(db, is_rowid, table));
}

static bool holds(const char *declared, const char *word)
{
    size_t len = strlen(word);

    for (; *declared; declared++)
        if (strncasecmp(declared, word, len) == 0)
            return true;
    return false;
}

/* A type of JSON, and what else is known of its values. */
struct known_type {
    const char *word; /* in the declared type */
    const char *name, *more;
};

/* NULL: unknown. In the order in which SQLite looks for the words. */
static const struct known_type *find_type(const char *declared, enum rows_kind kind)
{
    static const struct known_type boolean = {"", "boolean", ""};
    static const struct known_type types[] = {{"INT", "integer", ",\"format\":\"int64\""},
                                              {"CHAR", "string", ""},
                                              {"CLOB", "string", ""},
                                              {"TEXT", "string", ""},
                                              {"BLOB", "string", ",\"contentEncoding\":\"base64\""},
                                              {"REAL", "number", ",\"format\":\"double\""},
                                              {"FLOA", "number", ",\"format\":\"double\""},
                                              {"DOUB", "number", ",\"format\":\"double\""}};

    if (kind == ROWS_BOOL)
        return &boolean;
    if (kind == ROWS_JSON || !declared)
        return NULL;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (holds(declared, types[i].word))
            return &types[i];
    return NULL;
}

static void add_column(sqlite3 *db, sqlite3_stmt *statement, int at, enum rows_kind kind, bool keeps, struct buf *out)
{
    const struct known_type *type = find_type(sqlite3_column_decltype(statement, at), kind);

    if (!type)
        buf_add_str(out, STR("{}"));
    else if (keeps && is_not_null(db, statement, at))
        buf_printf(out, "{\"type\":\"%s\"%s}", type->name, type->more);
    else
        buf_printf(out, "{\"type\":[\"%s\",\"null\"]%s}", type->name, type->more);
}

static void add_object(sqlite3 *db, sqlite3_stmt *statement, const struct rows_plan *plan, bool keeps, struct buf *out)
{
    const char *separator = "";

    buf_add_str(out, STR("{\"type\":\"object\",\"required\":["));
    for (int i = 0; i < plan->count; i++) {
        if (plan->columns[i].kind == ROWS_TOTAL)
            continue;
        buf_add_str(out, str_from(separator));
        buf_add(out, plan->labels.p + plan->columns[i].label, plan->columns[i].label_len - 1);
        separator = ",";
    }
    buf_add_str(out, STR("],\"properties\":{"));
    separator = "";
    for (int i = 0; i < plan->count; i++) {
        if (plan->columns[i].kind == ROWS_TOTAL)
            continue;
        buf_add_str(out, str_from(separator));
        buf_add(out, plan->labels.p + plan->columns[i].label, plan->columns[i].label_len);
        add_column(db, statement, i, plan->columns[i].kind, keeps, out);
        separator = ",";
    }
    buf_add_str(out, STR("}}"));
}

static void add_list(sqlite3 *db, sqlite3_stmt *statement, const struct rows_plan *plan, bool keeps, struct buf *out)
{
    buf_add_str(out, STR("{\"type\":\"object\",\"required\":[\"items\",\"count\"],\"properties\":{\"items\":{\"type\":"
                         "\"array\",\"items\":"));
    add_object(db, statement, plan, keeps, out);
    buf_add_str(out,
                STR("},\"count\":{\"type\":\"integer\",\"format\":\"int64\",\"minimum\":0,\"description\":\"How many "
                    "items these are.\"}"));
    for (int i = 0; i < plan->count; i++)
        if (plan->columns[i].kind == ROWS_TOTAL) {
            buf_add_str(out,
                        STR(",\"total\":{\"description\":\"How many there are in all; not there without items.\"}"));
            break;
        }
    buf_add_str(out, STR("}}"));
}

void rows_schema_add(sqlite3 *db, sqlite3_stmt *statement, enum catalog_shape shape, struct buf *out)
{
    bool keeps = keeps_values(db, statement);
    struct rows_plan plan;
    int first = 0;

    rows_plan_init(&plan, statement);
    switch (shape) {
    case CATALOG_OBJECT:
        add_object(db, statement, &plan, keeps, out);
        break;
    case CATALOG_LIST:
        add_list(db, statement, &plan, keeps, out);
        break;
    case CATALOG_VALUE:
        while (first + 1 < plan.count && plan.columns[first].kind == ROWS_TOTAL)
            first++;
        add_column(db, statement, first, plan.columns[first].kind, keeps, out);
        break;
    }
    rows_plan_fini(&plan);
}
