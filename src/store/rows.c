/*
 * rows: a statement's parameters bound, its rows written as JSON.
 *
 * Readers and the writer both answer through here, so a column means the same everywhere. The JSON is written straight
 * from SQLite's column accessors into one buffer, with no tree in between. A statement that runs often keeps a struct
 * rows_plan: its columns' kinds, and their names escaped already.
 *
 * Invariant: what rows_collect appends is one valid JSON value, whatever bytes the database holds; on an error the
 * buffer is as it was. This module prepares, resets and finalises nothing, and decides nothing about transactions or
 * time limits: those belong to whoever owns the connection.
 */
#include "store/rows.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/sys.h"

enum { JSON_DEPTH_MAX = 128 };

enum err rows_err(int code)
{
    switch (code) {
    case SQLITE_READONLY_RECOVERY:
    case SQLITE_READONLY_CANTINIT:
    case SQLITE_READONLY_CANTLOCK:
        /* Of a reader that may not make or repair the WAL's index: it cannot read at all. */
        return ERR_UNAVAILABLE;
    default:
        break;
    }
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return ERR_OK;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return ERR_BUSY;
    case SQLITE_READONLY:
        return ERR_READ_ONLY;
    case SQLITE_FULL:
        return ERR_FULL;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    case SQLITE_CANTOPEN:
        return ERR_UNAVAILABLE;
    case SQLITE_INTERRUPT:
        return ERR_TIMEOUT;
    case SQLITE_IOERR:
        return ERR_IO;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
        return ERR_CONSTRAINT;
    case SQLITE_TOOBIG:
    case SQLITE_NOMEM:
        return ERR_LIMIT;
    default:
        return ERR_STATEMENT;
    }
}

enum err rows_failed(sqlite3 *db, struct buf *why)
{
    int code = sqlite3_extended_errcode(db);

    buf_add_str(why, str_from(sqlite3_errmsg(db)));
    enum err err = rows_err(code);
    return err == ERR_OK ? ERR_STATEMENT : err;
}

enum err rows_open(const char *path, sqlite3 **out, struct rows_file *file)
{
    struct stat status;

    /* Before the opening, so that a file replaced in between is noticed by the next look. */
    if (stat(path, &status) != 0)
        return ERR_NOT_FOUND;
    *file = (struct rows_file){.device = status.st_dev, .inode = status.st_ino};
    int code = sqlite3_open_v2(path, out, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK)
        return *out ? rows_err(code) : ERR_LIMIT;
    sqlite3_extended_result_codes(*out, 1);
    sqlite3_db_config(*out, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(*out, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return ERR_OK;
}

bool rows_file_stands(const char *path, const struct rows_file *file)
{
    struct stat status;

    return stat(path, &status) == 0 && status.st_dev == file->device && status.st_ino == file->inode;
}

static int bind_text(sqlite3_stmt *statement, int at, struct str text)
{
    return sqlite3_bind_text64(statement, at, text.p ? text.p : "", text.len, SQLITE_STATIC, SQLITE_UTF8);
}

static int bind_value(sqlite3_stmt *statement, int at, const struct params_value *value)
{
    if (value->is_null)
        return sqlite3_bind_null(statement, at);
    switch (value->type) {
    case PARAMS_INTEGER:
    case PARAMS_BOOLEAN:
        return sqlite3_bind_int64(statement, at, value->integer);
    case PARAMS_NUMBER:
        return sqlite3_bind_double(statement, at, value->number);
    case PARAMS_TEXT:
        break;
    }
    return bind_text(statement, at, value->text);
}

bool rows_is_builtin(struct str name)
{
    static const char *const builtins[] = {CATALOG_BUILTINS};

    for (size_t i = 0; i < sizeof builtins / sizeof builtins[0]; i++)
        if (str_equal(name, str_from(builtins[i])))
            return true;
    return false;
}

static int bind_builtin(sqlite3_stmt *statement, int at, struct str name, const struct store_caller *caller)
{
    struct str text;

    if (!caller)
        return sqlite3_bind_null(statement, at);
    if (str_equal(name, STR("larder_now")))
        return sqlite3_bind_int64(statement, at, caller->now_ms / 1000);
    if (str_equal(name, STR("larder_project")))
        text = caller->project;
    else if (str_equal(name, STR("larder_key_id")))
        text = caller->key_id;
    else
        text = caller->address;
    return text.len ? bind_text(statement, at, text) : sqlite3_bind_null(statement, at);
}

static const struct params_value *find_value(const struct params_values *values, struct str name)
{
    for (size_t i = 0; values && i < values->count; i++)
        if (str_equal(values->items[i].name, name))
            return &values->items[i];
    return NULL;
}

enum err rows_bind(sqlite3_stmt *statement, const struct params_values *values, const struct store_caller *caller,
                   struct buf *why)
{
    int count = sqlite3_bind_parameter_count(statement);

    for (int at = 1; at <= count; at++) {
        const char *marked = sqlite3_bind_parameter_name(statement, at);
        if (!marked || marked[0] != ':') {
            buf_printf(why, "the parameter %s has no name: write it as :name", marked ? marked : "?");
            return ERR_STATEMENT;
        }
        struct str name = str_from(marked + 1);
        const struct params_value *value = find_value(values, name);
        int code;
        if (value) {
            code = bind_value(statement, at, value);
        } else if (rows_is_builtin(name)) {
            code = bind_builtin(statement, at, name, caller);
        } else {
            buf_printf(why, "no parameter or column gives :%.*s a value", STR_ARG(name));
            return ERR_STATEMENT;
        }
        if (code != SQLITE_OK) {
            buf_printf(why, "parameter :%.*s: %s", STR_ARG(name), sqlite3_errstr(code));
            return rows_err(code);
        }
    }
    return ERR_OK;
}

void rows_plan_init(struct rows_plan *plan, sqlite3_stmt *statement)
{
    *plan = (struct rows_plan){.count = sqlite3_column_count(statement)};
    plan->columns = sys_calloc((size_t)plan->count, sizeof *plan->columns);
    plan->reprepared = sqlite3_stmt_status(statement, SQLITE_STMTSTATUS_REPREPARE, 0);
    for (int i = 0; i < plan->count; i++) {
        struct rows_column *column = &plan->columns[i];
        struct str name = str_from(sqlite3_column_name(statement, i));
        struct str bare = name;

        if (str_equal(name, STR(":total"))) {
            column->kind = ROWS_TOTAL;
        } else if (name.len > 5 && memcmp(name.p + name.len - 5, ":json", 5) == 0) {
            column->kind = ROWS_JSON;
            bare.len -= 5;
        } else if (name.len > 5 && memcmp(name.p + name.len - 5, ":bool", 5) == 0) {
            column->kind = ROWS_BOOL;
            bare.len -= 5;
        }
        column->label = plan->labels.len;
        buf_add_json(&plan->labels, bare);
        buf_add_char(&plan->labels, ':');
        column->label_len = plan->labels.len - column->label;
    }
}

void rows_plan_fini(struct rows_plan *plan)
{
    free(plan->columns);
    buf_free(&plan->labels);
    *plan = (struct rows_plan){0};
}

static void add_blob(sqlite3_stmt *statement, int at, struct buf *json)
{
    const void *bytes = sqlite3_column_blob(statement, at);
    size_t len = (size_t)sqlite3_column_bytes(statement, at);

    buf_add_char(json, '"');
    if (bytes)
        sys_base64((struct str){bytes, len}, json);
    buf_add_char(json, '"');
}

static void add_value(sqlite3_stmt *statement, int at, enum rows_kind kind, struct buf *json)
{
    int type = sqlite3_column_type(statement, at);
    struct str text;

    if (type == SQLITE_NULL) {
        buf_add_str(json, STR("null"));
        return;
    }
    if (kind == ROWS_BOOL) {
        buf_add_str(json, sqlite3_column_double(statement, at) != 0 ? STR("true") : STR("false"));
        return;
    }
    switch (type) {
    case SQLITE_INTEGER:
        buf_add_int64(json, sqlite3_column_int64(statement, at));
        break;
    case SQLITE_FLOAT:
        buf_add_double(json, sqlite3_column_double(statement, at));
        break;
    case SQLITE_BLOB:
        add_blob(statement, at, json);
        break;
    default:
        text.p = (const char *)sqlite3_column_text(statement, at);
        text.len = text.p ? (size_t)sqlite3_column_bytes(statement, at) : 0;
        if (kind != ROWS_JSON)
            buf_add_json(json, text);
        else
            buf_add_str(json, rows_json_valid(text) ? text : STR("null"));
    }
}

/* Whether the row at hand fits into ROOM bytes, before any of it is copied. Escaping may still make it longer. */
static bool row_fits(sqlite3_stmt *statement, const struct rows_plan *plan, size_t room)
{
    size_t sum = 0;

    for (int i = 0; i < plan->count; i++) {
        int type = sqlite3_column_type(statement, i);
        if (type == SQLITE_TEXT || type == SQLITE_BLOB)
            sum += (size_t)sqlite3_column_bytes(statement, i);
    }
    return sum <= room;
}

static void add_row(sqlite3_stmt *statement, const struct rows_plan *plan, struct buf *json)
{
    char separator = '{';

    for (int i = 0; i < plan->count; i++) {
        const struct rows_column *column = &plan->columns[i];
        if (column->kind == ROWS_TOTAL)
            continue;
        buf_add_char(json, separator);
        separator = ',';
        buf_add(json, plan->labels.p + column->label, column->label_len);
        add_value(statement, i, column->kind, json);
    }
    if (separator == '{')
        buf_add_char(json, '{');
    buf_add_char(json, '}');
}

static void add_first_value(sqlite3_stmt *statement, const struct rows_plan *plan, struct buf *json)
{
    for (int i = 0; i < plan->count; i++) {
        if (plan->columns[i].kind != ROWS_TOTAL) {
            add_value(statement, i, plan->columns[i].kind, json);
            return;
        }
    }
    buf_add_str(json, STR("null"));
}

static void keep_total(sqlite3_stmt *statement, const struct rows_plan *plan, struct buf *total)
{
    for (int i = 0; i < plan->count; i++) {
        if (plan->columns[i].kind == ROWS_TOTAL) {
            buf_add_str(total, STR(",\"total\":"));
            add_value(statement, i, ROWS_PLAIN, total);
            return;
        }
    }
}

static void write_row(sqlite3_stmt *statement, const struct rows_plan *plan, enum catalog_shape shape, bool first,
                      struct buf *json, struct buf *total)
{
    if (shape == CATALOG_VALUE) {
        add_first_value(statement, plan, json);
        return;
    }
    if (!first)
        buf_add_char(json, ',');
    else if (shape == CATALOG_LIST)
        keep_total(statement, plan, total);
    add_row(statement, plan, json);
}

enum err rows_collect_plan(sqlite3 *db, sqlite3_stmt *statement, struct rows_plan *plan, enum catalog_shape shape,
                           size_t limit, struct buf *json, bool *found, struct buf *why)
{
    const size_t start = json->len;
    const bool all = shape == CATALOG_LIST;
    int64_t count = 0;
    struct buf total = {0};
    enum err err = ERR_OK;
    int code;

    if (all)
        buf_add_str(json, STR("{\"items\":["));
    while (err == ERR_OK && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        if (count == 0 && sqlite3_stmt_status(statement, SQLITE_STMTSTATUS_REPREPARE, 0) != plan->reprepared) {
            rows_plan_fini(plan);
            rows_plan_init(plan, statement);
        }
        if (all || count == 0) {
            size_t used = json->len - start;
            if (used > limit || !row_fits(statement, plan, limit - used))
                err = ERR_LIMIT;
            else
                write_row(statement, plan, shape, count == 0, json, &total);
            count++;
        }
        /* A statement that changes rows has more to do than to give them. */
        if (!all && sqlite3_stmt_readonly(statement)) {
            code = SQLITE_DONE;
            break;
        }
    }
    if (err == ERR_OK && code != SQLITE_DONE) {
        err = rows_failed(db, why);
        goto out;
    }
    if (all) {
        buf_printf(json, "],\"count\":%" PRId64, count);
        buf_add_str(json, buf_str(&total));
        buf_add_char(json, '}');
    }
    if (err == ERR_OK && json->len - start > limit)
        err = ERR_LIMIT;
    if (err == ERR_LIMIT)
        buf_printf(why, "the answer is larger than %zu bytes: select fewer rows or columns", limit);
out:
    if (err == ERR_OK)
        *found = all || count > 0;
    else if (json->p)
        json->p[json->len = start] = '\0';
    buf_free(&total);
    return err;
}

enum err rows_collect(sqlite3 *db, sqlite3_stmt *statement, enum catalog_shape shape, size_t limit, struct buf *json,
                      bool *found, struct buf *why)
{
    struct rows_plan plan;

    rows_plan_init(&plan, statement);
    enum err err = rows_collect_plan(db, statement, &plan, shape, limit, json, found, why);
    rows_plan_fini(&plan);
    return err;
}

/* The validator: each function gives what follows the construct at P, or NULL where there is none. */

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

static const char *scan_digits(const char *p, const char *end)
{
    const char *start = p;

    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p > start ? p : NULL;
}

static const char *scan_number(const char *p, const char *end)
{
    if (p < end && *p == '-')
        p++;
    if (p < end && *p == '0')
        p++;
    else if (!(p = scan_digits(p, end)))
        return NULL;
    if (p < end && *p == '.' && !(p = scan_digits(p + 1, end)))
        return NULL;
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        p = scan_digits(p, end);
    }
    return p;
}

static const char *scan_string(const char *p, const char *end)
{
    if (p == end || *p++ != '"')
        return NULL;
    while (p < end && *p != '"') {
        if ((unsigned char)*p < 0x20)
            return NULL;
        if (*p++ != '\\')
            continue;
        if (p == end || !*p || !strchr("\"\\/bfnrtu", *p))
            return NULL;
        if (*p++ == 'u') {
            for (int i = 0; i < 4; i++, p++)
                if (p == end || !isxdigit((unsigned char)*p))
                    return NULL;
        }
    }
    return p < end ? p + 1 : NULL;
}

static const char *scan_word(const char *p, const char *end, struct str word)
{
    return (size_t)(end - p) >= word.len && memcmp(p, word.p, word.len) == 0 ? p + word.len : NULL;
}

static const char *scan_value(const char *p, const char *end, unsigned depth);

static const char *scan_members(const char *p, const char *end, char close, unsigned depth)
{
    p = skip_space(p + 1, end);
    if (p < end && *p == close)
        return p + 1;
    for (;;) {
        if (close == '}') {
            p = scan_string(skip_space(p, end), end);
            p = p ? skip_space(p, end) : NULL;
            if (!p || p == end || *p++ != ':')
                return NULL;
        }
        p = scan_value(p, end, depth + 1);
        if (!p || p == end)
            return NULL;
        if (*p == close)
            return p + 1;
        if (*p++ != ',')
            return NULL;
    }
}

/* With the blanks on both sides. */
static const char *scan_value(const char *p, const char *end, unsigned depth)
{
    p = skip_space(p, end);
    if (p == end || depth > JSON_DEPTH_MAX)
        return NULL;
    switch (*p) {
    case '{':
        p = scan_members(p, end, '}', depth);
        break;
    case '[':
        p = scan_members(p, end, ']', depth);
        break;
    case '"':
        p = scan_string(p, end);
        break;
    case 't':
        p = scan_word(p, end, STR("true"));
        break;
    case 'f':
        p = scan_word(p, end, STR("false"));
        break;
    case 'n':
        p = scan_word(p, end, STR("null"));
        break;
    default:
        p = scan_number(p, end);
    }
    return p ? skip_space(p, end) : NULL;
}

bool rows_json_valid(struct str text)
{
    return text.len > 0 && str_is_utf8(text) && scan_value(text.p, text.p + text.len, 1) == text.p + text.len;
}
