/*
 * statement: SQL text cut into statements, and what a statement may do.
 *
 * A file of SQL is prepared piece by piece, so that an error is at a line and column of the file and not of "the SQL".
 * What a piece may do is SQLite's own authorizer's to say, at prepare time: by then nothing has happened yet.
 *
 * Invariant: under any guard but NONE no statement can begin or end a transaction, attach a database, load an extension
 * or touch a table of larder's own, which are called larder_*; but for the rows of larder_scores, and what larder's own
 * triggers do by themselves. It runs nothing.
 */
#include "store/statement.h"

#include <ctype.h>

#include "store/rows.h"

/* Whether TABLE may be one of those that virtual tables prepare to write when they are only opened: the schema and an
 * R*Tree's own. That they are not written is for statement_prepare_reading to see. */
static bool is_internal(const char *table)
{
    static const char *const suffixes[] = {"_node", "_rowid", "_parent"};
    size_t len = strlen(table);

    if (strcmp(table, "sqlite_master") == 0)
        return true;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        size_t tail = strlen(suffixes[i]);
        if (len > tail && strcmp(table + len - tail, suffixes[i]) == 0)
            return true;
    }
    return false;
}

static bool is_own_name(const char *name)
{
    return name && sqlite3_strnicmp(name, "larder_", 7) == 0;
}

/* Whether NAME is a table of larder's own that is touched by TRIGGER (NULL: by the statement itself), and that has no
 * business doing so. */
static bool is_private(const char *name, const char *trigger)
{
    return is_own_name(name) && sqlite3_stricmp(name, "larder_scores") != 0 && !is_own_name(trigger);
}

/* Whether ACTION is on a table of larder's own. */
static bool is_own(int action, const char *first, const char *second)
{
    switch (action) {
    case SQLITE_ALTER_TABLE:
    case SQLITE_CREATE_INDEX:
    case SQLITE_CREATE_TEMP_TRIGGER:
    case SQLITE_CREATE_TRIGGER:
    case SQLITE_DROP_INDEX:
    case SQLITE_DROP_TEMP_TRIGGER:
    case SQLITE_DROP_TRIGGER:
        return is_own_name(second);
    default:
        return is_own_name(first);
    }
}

int statement_allow_reading(void *unused, int action, const char *first, const char *second, const char *schema,
                            const char *trigger)
{
    (void)unused, (void)schema;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_RECURSIVE:
        return SQLITE_OK;
    case SQLITE_READ:
        /* A pragma read as a table would otherwise be refused only when it runs. */
        return sqlite3_strnicmp(first, "pragma_", 7) == 0 || is_private(first, trigger) ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_FUNCTION:
        return sqlite3_stricmp(second, "load_extension") == 0 ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_PRAGMA:
        /* The full-text tables ask for it themselves. */
        return sqlite3_stricmp(first, "data_version") == 0 ? SQLITE_OK : SQLITE_DENY;
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE:
        return is_internal(first) ? SQLITE_OK : SQLITE_DENY;
    default:
        return SQLITE_DENY;
    }
}

int statement_allow_writing(void *unused, int action, const char *first, const char *second, const char *schema,
                            const char *trigger)
{
    switch (action) {
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE:
        /* The numbers that rows of the outbox have had must not come again. */
        return is_private(first, trigger) || sqlite3_stricmp(first, "sqlite_sequence") == 0 ? SQLITE_DENY : SQLITE_OK;
    default:
        return statement_allow_reading(unused, action, first, second, schema, trigger);
    }
}

static int allow_migrating(void *unused, int action, const char *first, const char *second, const char *schema,
                           const char *trigger)
{
    (void)unused, (void)schema;
    switch (action) {
    case SQLITE_READ:
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE:
        return is_private(first, trigger) ? SQLITE_DENY : SQLITE_OK;
    default:
        break;
    }
    if (is_own(action, first, second))
        return SQLITE_DENY;
    switch (action) {
    case SQLITE_TRANSACTION:
    case SQLITE_ATTACH:
    case SQLITE_DETACH:
        return SQLITE_DENY;
    case SQLITE_FUNCTION:
        return sqlite3_stricmp(second, "load_extension") == 0 ? SQLITE_DENY : SQLITE_OK;
    default:
        return SQLITE_OK;
    }
}

void statement_guard(sqlite3 *db, enum statement_guard guard)
{
    static int (*const authorizers[])(void *, int, const char *, const char *, const char *, const char *) = {
        [STATEMENT_GUARD_NONE] = NULL,
        [STATEMENT_GUARD_READING] = statement_allow_reading,
        [STATEMENT_GUARD_WRITING] = statement_allow_writing,
        [STATEMENT_GUARD_MIGRATING] = allow_migrating,
    };

    sqlite3_set_authorizer(db, authorizers[guard], NULL);
}

const char *statement_start(struct str text)
{
    const char *p = text.p, *end = p + text.len;

    while (p < end) {
        if (strchr(" \t\r\n\f;", *p) && *p) {
            p++;
        } else if (end - p >= 2 && p[0] == '-' && p[1] == '-') {
            const char *line_end = memchr(p, '\n', (size_t)(end - p));
            p = line_end ? line_end + 1 : end;
        } else if (end - p >= 2 && p[0] == '/' && p[1] == '*') {
            const char *close = memmem(p + 2, (size_t)(end - p - 2), "*/", 2);
            p = close ? close + 2 : end;
        } else {
            break;
        }
    }
    return p;
}

static enum err refuse_zero(struct str text, const char **error, struct buf *why)
{
    const char *zero = text.len ? memchr(text.p, '\0', text.len) : NULL;

    if (!zero)
        return ERR_OK;
    /* SQLite would take it for the end of the text and drop the rest without a word. */
    *error = zero;
    buf_add_str(why, STR("a zero byte in the SQL text"));
    return ERR_SYNTAX;
}

/* Whether a word from START to END, other than a parameter, is the name of a table of larder's own. */
static bool names_own(const char *start, const char *end)
{
    for (const char *p = start; end - p > 7; p++) {
        bool begins = p == start || !(p[-1] == '_' || memchr(":@$", p[-1], 3) || isalnum((unsigned char)p[-1]));
        if (begins && is_own_name(p))
            return true;
    }
    return false;
}

/* statement_prepare; INSTEAD is what else to write where a statement of this kind is not allowed. */
static enum err prepare(sqlite3 *db, struct str *rest, unsigned flags, const char *instead, sqlite3_stmt **statement,
                        const char **error, struct buf *why)
{
    const char *start = statement_start(*rest), *end = rest->p + rest->len, *tail = end;
    sqlite3_stmt *prepared = NULL;
    enum err err = refuse_zero(*rest, error, why);

    if (err != ERR_OK)
        return err;
    if (start == end) {
        *rest = (struct str){end, 0};
        *statement = NULL;
        return ERR_OK;
    }
    int code = sqlite3_prepare_v3(db, start, (int)(end - start), flags, &prepared, &tail);
    if (code != SQLITE_OK) {
        int offset = sqlite3_error_offset(db);
        *error = start + (offset > 0 ? offset : 0);
        err = rows_failed(db, why);
        if (code == SQLITE_AUTH && names_own(start, tail))
            buf_add_str(why, STR(": tables called larder_... are larder's own"));
        else if (code == SQLITE_AUTH)
            buf_printf(why, ": this kind of statement is not allowed here%s", instead);
        return err;
    }
    *rest = (struct str){tail, (size_t)(end - tail)};
    *statement = prepared;
    return ERR_OK;
}

enum err statement_prepare(sqlite3 *db, struct str *rest, unsigned flags, sqlite3_stmt **statement, const char **error,
                           struct buf *why)
{
    return prepare(db, rest, flags, "", statement, error, why);
}

enum err statement_prepare_reading(sqlite3 *db, struct str *rest, unsigned flags, sqlite3_stmt **statement,
                                   const char **error, struct buf *why)
{
    const char *start = statement_start(*rest);
    sqlite3_stmt *prepared = NULL;
    enum err err =
        prepare(db, rest, flags, "; what reads is a SELECT, and what changes rows has a route of its own, as POST",
                &prepared, error, why);

    if (err != ERR_OK)
        return err;
    if (prepared && !sqlite3_stmt_readonly(prepared)) {
        sqlite3_finalize(prepared);
        *error = start;
        buf_add_str(why, STR("a statement that reads may not change anything"));
        return ERR_STATEMENT;
    }
    *statement = prepared;
    return ERR_OK;
}

void statement_place(struct str text, unsigned first_line, const char *point, unsigned *line, unsigned *column)
{
    const char *line_start = text.p;

    *line = first_line;
    for (const char *p = text.p; p < point; p++) {
        if (*p == '\n') {
            ++*line;
            line_start = p + 1;
        }
    }
    *column = (unsigned)(point - line_start) + 1;
}

enum err statement_prepare_all(sqlite3 *db, const char *const *texts, sqlite3_stmt **statements, size_t count,
                               struct buf *why)
{
    for (size_t i = 0; i < count; i++)
        if (sqlite3_prepare_v3(db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &statements[i], NULL) != SQLITE_OK)
            return rows_failed(db, why);
    return ERR_OK;
}

void statement_finalize_all(sqlite3_stmt **statements, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        sqlite3_finalize(statements[i]);
        statements[i] = NULL;
    }
}
