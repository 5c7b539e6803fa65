/*
 * store: the origin as readers see it. A read-only SQLite connection and the prepared statements of one catalogue's
 * resources.
 *
 * A struct store belongs to the thread that opened it, never crosses a fork, and cannot write: it is opened read-only
 * and its statements are prepared under an authorizer. Every statement is reset before the function that ran it
 * returns. Writing is the writer's; the schema is migrate's; check looks at all statements ahead of time.
 */
#ifndef LARDER_STORE_H
#define LARDER_STORE_H

#include "base/arena.h"
#include "base/scoreboard.h"
#include "config/catalog.h"

struct store;

/* Who asks and when: the values of :larder_now (seconds since the epoch) and its kin. Empty views bind NULL. */
struct store_caller {
    int64_t now_ms;
    struct str address, project, key_id;
};

struct store_answer {
    bool found;      /* object, value: there was a row; list: always true */
    struct str json; /* in the arena; empty when not found */
    int64_t changes; /* of a writing statement: rows changed by all of its statements */
};

/* For a process that serves, before it does anything else with SQLite. */
void store_tune_malloc(void);

/* Opens PATH read-only; lazily, so a database that comes later, or takes the place of another, is found by the next
 * statement (a replaced one within a second). For the resources of one catalogue. Never NULL. */
struct store *store_open(const char *path, int64_t busy_timeout_ms);
void store_close(struct store **store);
/* Where the thread that uses STORE says that a statement runs, and that it has ended. */
void store_show_on(struct store *store, struct scoreboard_thread *board);

/* Runs a reading RESOURCE with VALUES under its timeout. On any error WHY says what, for the log and the operator:
 * ERR_TIMEOUT, ERR_BUSY, ERR_CORRUPT, ERR_UNAVAILABLE (no database), ERR_LIMIT (arena), ERR_STATEMENT. A statement over
 * a changed schema is prepared again. */
enum err store_read(struct store *store, const struct resource *resource, const struct params_values *values,
                    const struct store_caller *caller, struct arena *arena, struct store_answer *out,
                    struct buf *why) ERR_CHECKED;

/* A row of parameters: the columns' names and their values as text, a NULL left out. */
struct store_row {
    struct params_raw *cells;
    size_t count;
    struct store_row *next; /* NULL after the last */
};

/* Runs a resource's `warm` statement, which takes no parameters but the builtins; its rows, perhaps none (NULL), in
 * ARENA. Errors as store_read. */
enum err store_rows(struct store *store, const struct resource *warm, int64_t now_ms, struct arena *arena,
                    struct store_row **rows, struct buf *why) ERR_CHECKED;
/* How SQLite would run RESOURCE's statement (EXPLAIN QUERY PLAN), in ARENA: lines, each ended, indented under the one
 * that they are part of. Errors as store_read. */
enum err store_plan(struct store *store, const struct resource *resource, struct arena *arena, struct str *out,
                    struct buf *why) ERR_CHECKED;
/* Whether the database can be read now (a trivial statement); for readiness. */
enum err store_ping(struct store *store, struct buf *why) ERR_CHECKED;

#endif
