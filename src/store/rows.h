/*
 * rows: what store and writer share: binding parameters, and rows to JSON.
 *
 * Integers and reals keep their value, NULL is null, text that is not UTF-8 is mended with U+FFFD, a blob is base64
 * text. A column alias ending in `:json` passes JSON text through (null when it is no valid JSON), `:bool` makes true
 * or false; a column named `:total` becomes the list's `total` and stands in no item. A list without rows has no
 * `total`: no row came to say it.
 */
#ifndef LARDER_ROWS_H
#define LARDER_ROWS_H

#include <sqlite3.h>
#include <sys/types.h>

#include "store/store.h"

/* The error that SQLite's primary or extended result CODE stands for. */
enum err rows_err(int code);
/* The same for the last call on DB that failed, with SQLite's words appended to WHY. */
enum err rows_failed(sqlite3 *db, struct buf *why);

/* Which file it is. */
struct rows_file {
    dev_t device;
    ino_t inode;
};

/* Opens the database at PATH for reading; it is not checkpointed at the end. How long to wait for others is the
 * caller's to set. ERR_NOT_FOUND without a file. On any other error *OUT may be a connection that has words for it, and
 * is to be closed. */
enum err rows_open(const char *path, sqlite3 **out, struct rows_file *file) ERR_CHECKED;
/* Whether the file at PATH is that one. */
bool rows_file_stands(const char *path, const struct rows_file *file);

/* Binds what the statement names: values, then the builtins. Texts are borrowed: VALUES and CALLER must live until the
 * bindings are cleared. CALLER may be NULL. ERR_STATEMENT for a name that is neither, with WHY. */
enum err rows_bind(sqlite3_stmt *statement, const struct params_values *values, const struct store_caller *caller,
                   struct buf *why) ERR_CHECKED;
/* Whether NAME is one of CATALOG_BUILTINS. */
bool rows_is_builtin(struct str name);

/* Steps STATEMENT to its end and appends its rows as SHAPE says (object and value: the first row). ERR_LIMIT when the
 * JSON would pass LIMIT bytes. The statement is not reset. */
enum err rows_collect(sqlite3 *db, sqlite3_stmt *statement, enum catalog_shape shape, size_t limit, struct buf *json,
                      bool *found, struct buf *why) ERR_CHECKED;

enum rows_kind { ROWS_PLAIN, ROWS_JSON, ROWS_BOOL, ROWS_TOTAL };

/* A statement's columns, worked out once for a statement that runs often. Zero-initialised is empty. */
struct rows_plan {
    struct rows_column {
        enum rows_kind kind;
        size_t label, label_len; /* the member `"name":` in `labels` */
    } * columns;
    int count;
    int reprepared; /* SQLite's count when the plan was made: a changed schema may have changed the columns */
    struct buf labels;
};

void rows_plan_init(struct rows_plan *plan, sqlite3_stmt *statement);
void rows_plan_fini(struct rows_plan *plan);
/* rows_collect with a plan, which is made anew when SQLite prepared the statement again. */
enum err rows_collect_plan(sqlite3 *db, sqlite3_stmt *statement, struct rows_plan *plan, enum catalog_shape shape,
                           size_t limit, struct buf *json, bool *found, struct buf *why) ERR_CHECKED;

/* Whether TEXT is one JSON value (RFC 8259), nested at most 128 deep, in UTF-8. */
bool rows_json_valid(struct str text);

#endif
