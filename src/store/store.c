/*
 * store: one thread's read-only connection to the database, and the prepared statement of each resource.
 *
 * The connection is opened by the first read that needs it and dropped after anything that casts doubt on it (damage,
 * input or output errors, a file that is gone or has been replaced), so the next read starts afresh. Statements are
 * prepared once, kept by the resource's index, and stay prepared across changes of the schema.
 *
 * Invariant: outside the functions of store.h no statement is active, so an idle thread holds no read transaction and
 * never keeps the writer from checkpointing. It refuses to write three times over: the file is opened read-only,
 * query_only is set, and the authorizer lets nothing but reading be prepared. The file is not mapped into memory: a
 * database cut short by somebody else would then be a SIGBUS instead of an error.
 */
#include "store/store.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/sys.h"
#include "store/giveway.h"
#include "store/rows.h"
#include "store/statement.h"

enum {
    PING_TIMEOUT_MS = 2000,
    PROGRESS_STEPS = 2000, /* of SQLite's virtual machine between two looks at the clock: some tens of microseconds */
    ANSWER_BYTES_MAX = 64 << 20,
    SCRATCH_BYTES_KEPT = 1 << 20,
};

struct prepared {
    sqlite3_stmt *statement;
    struct rows_plan plan;
};

struct store {
    char *path;
    int64_t busy_timeout_ms;
    sqlite3 *db; /* NULL: to be opened by the next read */
    struct rows_file file;
    struct giveway giveway;          /* of the statement that runs */
    struct scoreboard_thread *board; /* may be NULL */
    struct prepared *prepared;       /* by resource->index, which `warm` statements have too */
    size_t prepared_count;
    struct buf scratch;
};

void store_tune_malloc(void)
{
    /* By default SQLite counts every allocation, under a lock that all threads of the process share, for limits and
     * figures that nobody asks for here. */
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

struct store *store_open(const char *path, int64_t busy_timeout_ms)
{
    struct store *store = sys_calloc(1, sizeof *store);

    store->path = sys_copy(str_from(path));
    store->busy_timeout_ms = busy_timeout_ms;
    return store;
}

static void disconnect(struct store *store)
{
    for (size_t i = 0; i < store->prepared_count; i++) {
        sqlite3_finalize(store->prepared[i].statement);
        rows_plan_fini(&store->prepared[i].plan);
        store->prepared[i].statement = NULL;
    }
    sqlite3_close(store->db);
    store->db = NULL;
}

void store_show_on(struct store *store, struct scoreboard_thread *board)
{
    store->board = board;
}

void store_close(struct store **store)
{
    if (!*store)
        return;
    disconnect(*store);
    free((*store)->prepared);
    free((*store)->path);
    buf_free(&(*store)->scratch);
    free(*store);
    *store = NULL;
}

static int check_deadline(void *context)
{
    struct store *store = context;

    return giveway_step(&store->giveway);
}

/* Waits for a lock no longer than both the statement's time and the configured one. */
static int wait_for_lock(void *context, int waits)
{
    enum { WAIT_MS = 2 };
    const struct store *store = context;

    if ((int64_t)waits * WAIT_MS >= store->busy_timeout_ms || giveway_late(&store->giveway))
        return 0;
    usleep(WAIT_MS * 1000);
    return 1;
}

/* What keeps a reader from a database that is there; the commonest cause in words. */
static void explain_unreadable(const struct store *store, struct buf *why)
{
    buf_printf(why, " (%s", store->path);
    if (access(store->path, F_OK) != 0)
        buf_add_str(why, STR(": there is no such file yet"));
    else if (access(store->path, R_OK) != 0)
        buf_add_str(why, STR(": this process may not read the file"));
    else
        buf_add_str(
            why,
            STR(": a database in WAL mode needs its -shm file, which is made by the writer; start the writer, or let "
                "this process write to the directory"));
    buf_add_char(why, ')');
}

static enum err fail(struct store *store, enum err err, struct buf *why)
{
    switch (err) {
    case ERR_READ_ONLY:
        /* Nothing is written here but the WAL's index, which a reader needs too. */
        err = ERR_UNAVAILABLE;
        /* fall through */
    case ERR_UNAVAILABLE:
        explain_unreadable(store, why);
        disconnect(store);
        break;
    case ERR_CORRUPT:
    case ERR_IO:
        disconnect(store);
        break;
    default:
        break;
    }
    return err;
}

static enum err configure(struct store *store, struct buf *why)
{
    static const char settings[] = "PRAGMA query_only = 1; PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY;";

    sqlite3_limit(store->db, SQLITE_LIMIT_LENGTH, ANSWER_BYTES_MAX);
    sqlite3_busy_handler(store->db, wait_for_lock, store);
    sqlite3_progress_handler(store->db, PROGRESS_STEPS, check_deadline, store);
    if (sqlite3_exec(store->db, settings, NULL, NULL, NULL) != SQLITE_OK)
        return rows_failed(store->db, why);
    statement_guard(store->db, STATEMENT_GUARD_READING);
    return ERR_OK;
}

static enum err connect_database(struct store *store, struct buf *why)
{
    enum err err = rows_open(store->path, &store->db, &store->file);

    if (err == ERR_NOT_FOUND) {
        buf_add_str(why, STR("there is no database"));
        return fail(store, ERR_UNAVAILABLE, why);
    }
    if (!store->db)
        return err;
    err = err == ERR_OK ? configure(store, why) : rows_failed(store->db, why);
    if (err != ERR_OK) {
        err = fail(store, err, why);
        disconnect(store);
        return err;
    }
    return ERR_OK;
}

/* A connection to the file that stands at the path now, with TIMEOUT_MS to use it. It is looked at each time: once the
 * caches were purged because it is another one, nothing may come from the old one any more. */
static enum err begin(struct store *store, int64_t timeout_ms, struct buf *why)
{
    giveway_begin(&store->giveway, sys_monotonic_us(), timeout_ms);
    scoreboard_phase(store->board, SCOREBOARD_STATEMENT);
    if (store->db && !rows_file_stands(store->path, &store->file))
        disconnect(store);
    return store->db ? ERR_OK : connect_database(store, why);
}

static void grow(struct store *store, size_t index)
{
    size_t count = store->prepared_count ? store->prepared_count : 16;

    while (count <= index)
        count *= 2;
    store->prepared = sys_realloc(store->prepared, count * sizeof *store->prepared);
    memset(store->prepared + store->prepared_count, 0, (count - store->prepared_count) * sizeof *store->prepared);
    store->prepared_count = count;
}

static enum err prepare(struct store *store, const struct resource *resource, struct prepared **out, struct buf *why)
{
    struct str rest = resource->sql;
    const char *point = resource->sql.p;
    unsigned line, column;

    if (resource->index >= store->prepared_count)
        grow(store, resource->index);
    struct prepared *prepared = &store->prepared[resource->index];
    *out = prepared;
    if (prepared->statement)
        return ERR_OK;
    struct buf reason = {0};
    enum err err =
        statement_prepare_reading(store->db, &rest, SQLITE_PREPARE_PERSISTENT, &prepared->statement, &point, &reason);
    if (err == ERR_OK && !prepared->statement) {
        buf_add_str(&reason, STR("there is no statement in the file"));
        err = ERR_STATEMENT;
    }
    if (err == ERR_OK) {
        rows_plan_init(&prepared->plan, prepared->statement);
    } else {
        statement_place(resource->sql, resource->sql_line, point, &line, &column);
        column += line == resource->sql_line ? resource->sql_offset : 0;
        buf_printf(why, "%.*s:%u:%u: %s", STR_ARG(resource->file), line, column, reason.p);
    }
    buf_free(&reason);
    return err;
}

static enum err run(struct store *store, struct prepared *prepared, const struct resource *resource,
                    const struct params_values *values, const struct store_caller *caller, bool *found, struct buf *why)
{
    enum err err = rows_bind(prepared->statement, values, caller, why);

    if (err == ERR_OK)
        err = rows_collect_plan(store->db, prepared->statement, &prepared->plan, resource->shape, ANSWER_BYTES_MAX,
                                &store->scratch, found, why);
    /* At once: an active statement is an open read transaction, and the bindings point into the request. */
    sqlite3_reset(prepared->statement);
    sqlite3_clear_bindings(prepared->statement);
    return err;
}

static void clear_scratch(struct store *store)
{
    buf_clear(&store->scratch);
    if (store->scratch.cap > SCRATCH_BYTES_KEPT)
        buf_free(&store->scratch);
}

static void explain_timeout(const struct resource *resource, struct buf *why)
{
    buf_printf(why, ": the statement of %.*s ran longer than %lld ms", STR_ARG(resource->name),
               (long long)resource->timeout_ms);
}

enum err store_read(struct store *store, const struct resource *resource, const struct params_values *values,
                    const struct store_caller *caller, struct arena *arena, struct store_answer *out, struct buf *why)
{
    struct prepared *prepared = NULL;
    struct str json = {0};
    bool found = false;
    enum err err = begin(store, resource->timeout_ms, why);

    if (err != ERR_OK)
        return err;
    err = prepare(store, resource, &prepared, why);
    if (err == ERR_OK)
        err = run(store, prepared, resource, values, caller, &found, why);
    if (err == ERR_OK && found) {
        json = arena_copy(arena, buf_str(&store->scratch));
        if (arena_overflowed(arena)) {
            buf_printf(why, "the answer of %zu bytes is larger than a request may use: select fewer rows or columns",
                       store->scratch.len);
            err = ERR_LIMIT;
        }
    }
    scoreboard_phase(store->board, SCOREBOARD_FILL);
    if (err == ERR_TIMEOUT)
        explain_timeout(resource, why);
    clear_scratch(store);
    if (err != ERR_OK)
        return fail(store, err, why);
    *out = (struct store_answer){.found = found, .json = json};
    return ERR_OK;
}

/* The row that STATEMENT stands on; NULL when ARENA is full. */
static struct store_row *copy_row(sqlite3_stmt *statement, struct arena *arena)
{
    int columns = sqlite3_column_count(statement);
    struct store_row *row = arena_calloc(arena, 1, sizeof *row);

    if (row)
        row->cells = arena_calloc(arena, (size_t)columns, sizeof *row->cells);
    for (int i = 0; row && row->cells && i < columns; i++) {
        if (sqlite3_column_type(statement, i) == SQLITE_NULL)
            continue;
        const char *text = (const char *)sqlite3_column_text(statement, i);
        struct str value = {text, text ? (size_t)sqlite3_column_bytes(statement, i) : 0};
        row->cells[row->count++] = (struct params_raw){
            .name = arena_copy(arena, str_from(sqlite3_column_name(statement, i))), .value = arena_copy(arena, value)};
    }
    return arena_overflowed(arena) ? NULL : row;
}

/* Steps STATEMENT to its end. */
static enum err copy_rows(struct store *store, sqlite3_stmt *statement, struct arena *arena, struct store_row **rows,
                          struct buf *why)
{
    struct store_row *first = NULL, **end = &first;
    int code;

    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        *end = copy_row(statement, arena);
        if (!*end) {
            buf_add_str(why, STR("the statement gives more than a request may use: add a LIMIT"));
            return ERR_LIMIT;
        }
        end = &(*end)->next;
    }
    if (code != SQLITE_DONE)
        return rows_failed(store->db, why);
    *rows = first;
    return ERR_OK;
}

enum err store_rows(struct store *store, const struct resource *warm, int64_t now_ms, struct arena *arena,
                    struct store_row **rows, struct buf *why)
{
    const struct store_caller caller = {.now_ms = now_ms};
    struct prepared *prepared = NULL;
    enum err err = begin(store, warm->timeout_ms, why);

    if (err != ERR_OK)
        return err;
    err = prepare(store, warm, &prepared, why);
    if (err == ERR_OK) {
        err = rows_bind(prepared->statement, NULL, &caller, why);
        if (err == ERR_OK)
            err = copy_rows(store, prepared->statement, arena, rows, why);
        sqlite3_reset(prepared->statement);
        sqlite3_clear_bindings(prepared->statement);
    }
    if (err == ERR_TIMEOUT)
        explain_timeout(warm, why);
    return err == ERR_OK ? ERR_OK : fail(store, err, why);
}

/* Steps the explanation to its end. A step names the one that it is part of, and comes after it. */
static enum err copy_plan(struct store *store, sqlite3_stmt *statement, struct arena *arena, struct str *out,
                          struct buf *why)
{
    enum { DEPTH_MAX = 32 };
    int parts[DEPTH_MAX], depth = 0, code;

    buf_clear(&store->scratch);
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        while (depth > 0 && parts[depth - 1] != sqlite3_column_int(statement, 1))
            depth--;
        buf_printf(&store->scratch, "%*s%s\n", 2 * depth, "", (const char *)sqlite3_column_text(statement, 3));
        if (depth < DEPTH_MAX)
            parts[depth++] = sqlite3_column_int(statement, 0);
    }
    if (code != SQLITE_DONE)
        return rows_failed(store->db, why);
    *out = arena_copy(arena, buf_str(&store->scratch));
    return arena_overflowed(arena) ? ERR_LIMIT : ERR_OK;
}

enum err store_plan(struct store *store, const struct resource *resource, struct arena *arena, struct str *out,
                    struct buf *why)
{
    struct buf sql = {0};
    sqlite3_stmt *statement = NULL;
    const char *point;
    enum err err = begin(store, resource->timeout_ms, why);

    if (err != ERR_OK)
        return err;
    buf_add_str(&sql, STR("EXPLAIN QUERY PLAN "));
    buf_add_str(&sql, resource->sql);
    struct str rest = buf_str(&sql);
    err = statement_prepare_reading(store->db, &rest, 0, &statement, &point, why);
    if (err == ERR_OK)
        err = copy_plan(store, statement, arena, out, why);
    sqlite3_finalize(statement);
    buf_free(&sql);
    clear_scratch(store);
    return err == ERR_OK ? ERR_OK : fail(store, err, why);
}

enum err store_ping(struct store *store, struct buf *why)
{
    enum err err = begin(store, PING_TIMEOUT_MS, why);

    if (err != ERR_OK)
        return err;
    if (sqlite3_exec(store->db, "SELECT 1 FROM sqlite_schema LIMIT 1", NULL, NULL, NULL) == SQLITE_OK)
        return ERR_OK;
    return fail(store, rows_failed(store->db, why), why);
}
