/*
 * writer_script: SQL that clients send, kept prepared on the writer's connection and run there.
 *
 * Everything runs on the connection that is handed in, under its authorizer and inside the transaction that is open
 * there; none is begun or ended.
 */
#ifndef LARDER_WRITER_SCRIPT_H
#define LARDER_WRITER_SCRIPT_H

#include "store/store.h"

struct sqlite3;
struct writer_scripts;

struct writer_script_call {
    struct str sql; /* statements, one after the other */
    enum catalog_shape shape;
    const struct params_values *values;
    const struct store_caller *caller;
};

/* OVERDUE(CONTEXT) says, between statements, whether there is no time for another one. */
struct writer_scripts *writer_script_new(int (*overdue)(void *context), void *context);
void writer_script_free(struct writer_scripts **scripts);
/* The connection is about to be closed. */
void writer_script_disconnect(struct writer_scripts *scripts);

/* Whether SQL can be prepared; it then is. */
enum err writer_script_prepare(struct writer_scripts *scripts, struct sqlite3 *db, struct str sql,
                               struct buf *why) ERR_CHECKED;
/* Runs CALL. The rows of the last statement that gives any replace what is in JSON. Errors: rows_err, ERR_LIMIT. What a
 * statement before the failing one has done is the caller's to take back. */
enum err writer_script_run(struct writer_scripts *scripts, struct sqlite3 *db, const struct writer_script_call *call,
                           struct buf *json, bool *found, struct buf *why) ERR_CHECKED;

#endif
