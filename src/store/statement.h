/*
 * statement: SQL text of several statements, prepared one by one under a guard. For store, writer, migrate and check.
 */
#ifndef LARDER_STATEMENT_H
#define LARDER_STATEMENT_H

#include <sqlite3.h>

#include "base/str.h"

/* What the statements prepared on a connection may do. Tables called larder_* are for nothing but NONE, except
 * larder_scores, whose rows are everybody's (store/schema). */
enum statement_guard {
    STATEMENT_GUARD_NONE,
    STATEMENT_GUARD_READING,   /* nothing but read */
    STATEMENT_GUARD_WRITING,   /* change rows: no transactions, savepoints, attaching, pragmas or schema */
    STATEMENT_GUARD_MIGRATING, /* anything but transactions and attaching */
};
/* Sets the authorizer of DB: what is refused cannot be prepared. */
void statement_guard(sqlite3 *db, enum statement_guard guard);

/* The authorizers behind STATEMENT_GUARD_READING and _WRITING, for one that has more to say or to let by. UNUSED is
 * NULL. */
int statement_allow_reading(void *unused, int action, const char *first, const char *second, const char *schema,
                            const char *trigger);
int statement_allow_writing(void *unused, int action, const char *first, const char *second, const char *schema,
                            const char *trigger);

/* Prepares the first statement of *REST and moves *REST behind it. *STATEMENT is NULL when only blanks and comments
 * were left; else the caller finalises it. On an error *ERROR is where in the text it is, and WHY says what. FLAGS are
 * SQLITE_PREPARE_*. */
enum err statement_prepare(sqlite3 *db, struct str *rest, unsigned flags, sqlite3_stmt **statement, const char **error,
                           struct buf *why) ERR_CHECKED;
/* The same for a connection under STATEMENT_GUARD_READING, refusing what would change anything all the same. */
enum err statement_prepare_reading(sqlite3 *db, struct str *rest, unsigned flags, sqlite3_stmt **statement,
                                   const char **error, struct buf *why) ERR_CHECKED;
/* Prepares COUNT TEXTS of one statement each, which are to be kept, into STATEMENTS. After an error some of them may
 * have been. Errors: rows_err. */
enum err statement_prepare_all(sqlite3 *db, const char *const *texts, sqlite3_stmt **statements, size_t count,
                               struct buf *why) ERR_CHECKED;
/* Finalises COUNT STATEMENTS, NULLs among them or not, and makes them NULL. */
void statement_finalize_all(sqlite3_stmt **statements, size_t count);
/* Where the first statement of TEXT begins: behind blanks, comments and empty statements. */
const char *statement_start(struct str text);
/* The line and column (from 1, in bytes) of POINT in TEXT, which begins at line FIRST_LINE. */
void statement_place(struct str text, unsigned first_line, const char *point, unsigned *line, unsigned *column);

#endif
