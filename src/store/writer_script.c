/*
 * writer_script: a table of prepared SQL texts.
 *
 * SQL that came before is found by the hash and then the text of the SQL; the least recently used goes when there are
 * too many. A text too large to keep is prepared and run statement by statement. Texts that cannot be prepared are not
 * kept.
 *
 * Invariant: every statement is reset, and its bindings cleared, before a function returns. It refuses to judge what a
 * failure means for the connection.
 */
#include "store/writer_script.h"

#include <sqlite3.h>
#include <stdlib.h>

#include "base/sys.h"
#include "store/rows.h"
#include "store/statement.h"

enum {
    SCRIPTS_MAX = 64,
    SCRIPT_BYTES_MAX = 64 << 10, /* longer SQL is not kept */
    ANSWER_BYTES_MAX = 16 << 20,
};

/* One SQL text, prepared. */
struct script {
    uint64_t hash;
    char *sql; /* NULL: the slot is free */
    size_t sql_len;
    uint64_t used; /* when, by the count of uses */
    struct prepared {
        sqlite3_stmt *statement;
        struct rows_plan plan;
    } * statements;
    size_t count;
};

struct writer_scripts {
    int (*overdue)(void *context);
    void *context;
    uint64_t uses;
    struct script scripts[SCRIPTS_MAX];
};

struct writer_scripts *writer_script_new(int (*overdue)(void *context), void *context)
{
    struct writer_scripts *scripts = sys_calloc(1, sizeof *scripts);

    scripts->overdue = overdue;
    scripts->context = context;
    return scripts;
}

static void drop_script(struct script *script)
{
    for (size_t i = 0; i < script->count; i++) {
        sqlite3_finalize(script->statements[i].statement);
        rows_plan_fini(&script->statements[i].plan);
    }
    free(script->statements);
    free(script->sql);
    *script = (struct script){.sql = NULL};
}

void writer_script_disconnect(struct writer_scripts *scripts)
{
    for (size_t i = 0; i < SCRIPTS_MAX; i++)
        drop_script(&scripts->scripts[i]);
}

void writer_script_free(struct writer_scripts **scripts)
{
    if (!*scripts)
        return;
    writer_script_disconnect(*scripts);
    free(*scripts);
    *scripts = NULL;
}

/* Prepares all of SCRIPT's text. */
static enum err prepare(sqlite3 *db, struct script *script, struct buf *why)
{
    struct str rest = {script->sql, script->sql_len};
    const char *point;

    while (rest.len > 0) {
        sqlite3_stmt *statement = NULL;
        enum err err = statement_prepare(db, &rest, SQLITE_PREPARE_PERSISTENT, &statement, &point, why);
        if (err != ERR_OK)
            return err;
        if (!statement)
            break;
        script->statements = sys_realloc(script->statements, (script->count + 1) * sizeof *script->statements);
        struct prepared *prepared = &script->statements[script->count++];
        prepared->statement = statement;
        rows_plan_init(&prepared->plan, statement);
    }
    return ERR_OK;
}

/* SQL prepared; now, unless it was before. */
static enum err find_script(struct writer_scripts *scripts, sqlite3 *db, struct str sql, struct script **out,
                            struct buf *why)
{
    const uint64_t hash = sys_hash64(sql, 0);
    struct script *oldest = &scripts->scripts[0];

    for (size_t i = 0; i < SCRIPTS_MAX; i++) {
        struct script *script = &scripts->scripts[i];
        if (script->sql && script->hash == hash && str_equal((struct str){script->sql, script->sql_len}, sql)) {
            script->used = ++scripts->uses;
            *out = script;
            return ERR_OK;
        }
        if (script->used < oldest->used)
            oldest = script;
    }
    drop_script(oldest);
    *oldest = (struct script){.hash = hash, .sql = sys_copy(sql), .sql_len = sql.len, .used = ++scripts->uses};
    enum err err = prepare(db, oldest, why);
    if (err == ERR_OK)
        *out = oldest;
    else
        drop_script(oldest);
    return err;
}

/* Runs one statement. Its rows replace those of the statements before it. */
static enum err run_statement(sqlite3 *db, struct prepared *prepared, const struct writer_script_call *call,
                              struct buf *json, bool *found, struct buf *why)
{
    sqlite3_stmt *statement = prepared->statement;
    enum err err = rows_bind(statement, call->values, call->caller, why);

    if (err == ERR_OK && sqlite3_column_count(statement) > 0) {
        buf_clear(json);
        err = rows_collect_plan(db, statement, &prepared->plan, call->shape, ANSWER_BYTES_MAX, json, found, why);
    } else if (err == ERR_OK && sqlite3_step(statement) != SQLITE_DONE) {
        err = rows_failed(db, why);
    }
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return err;
}

/* A text too large to be kept. */
static enum err run_once(struct writer_scripts *scripts, sqlite3 *db, const struct writer_script_call *call,
                         struct buf *json, bool *found, struct buf *why)
{
    struct str rest = call->sql;
    enum err err = ERR_OK;
    const char *point;

    while (err == ERR_OK && rest.len > 0 && !scripts->overdue(scripts->context)) {
        struct prepared prepared = {0};
        err = statement_prepare(db, &rest, 0, &prepared.statement, &point, why);
        if (err != ERR_OK || !prepared.statement)
            break;
        rows_plan_init(&prepared.plan, prepared.statement);
        err = run_statement(db, &prepared, call, json, found, why);
        rows_plan_fini(&prepared.plan);
        sqlite3_finalize(prepared.statement);
    }
    return err;
}

enum err writer_script_run(struct writer_scripts *scripts, sqlite3 *db, const struct writer_script_call *call,
                           struct buf *json, bool *found, struct buf *why)
{
    struct script *script;

    if (call->sql.len > SCRIPT_BYTES_MAX)
        return run_once(scripts, db, call, json, found, why);
    enum err err = find_script(scripts, db, call->sql, &script, why);
    for (size_t i = 0; err == ERR_OK && i < script->count && !scripts->overdue(scripts->context); i++)
        err = run_statement(db, &script->statements[i], call, json, found, why);
    return err;
}

enum err writer_script_prepare(struct writer_scripts *scripts, sqlite3 *db, struct str sql, struct buf *why)
{
    struct script *script;

    return sql.len > SCRIPT_BYTES_MAX ? ERR_OK : find_script(scripts, db, sql, &script, why);
}
