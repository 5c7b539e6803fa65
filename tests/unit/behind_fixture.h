/*
 * behind_fixture: writes behind, asked of a real writer.
 */
#ifndef LARDER_BEHIND_FIXTURE_H
#define LARDER_BEHIND_FIXTURE_H

#include "writer_raw.h"

#include <sys/file.h>

#include "store/receipt.h"

static const struct str behind_fixture_purges[] = {STR("tag:counters")};

/* SQL behind, with a purge and LABEL; the answer stands in IT. */
static inline enum err behind_fixture_ask(struct writer_fixture *it, const char *sql, const char *key)
{
    const struct store_caller caller = {.now_ms = 5000};

    buf_clear(&it->why);
    return writer_fixture_ask(it, it->client,
                              &(struct writer_client_ask){.sql = str_from(sql),
                                                          .caller = &caller,
                                                          .behind = true,
                                                          .label = STR("POST /api/counters"),
                                                          .repeat_key = str_from(key),
                                                          .repeat_print = str_from(key),
                                                          .purges = behind_fixture_purges,
                                                          .purges_count = 1});
}

/* The receipt in the last answer, and its number. */
static inline struct str behind_fixture_receipt(const struct writer_fixture *it)
{
    struct str rest = it->answer.json;

    assert_true(str_starts(rest, STR("{\"receipt\":\"")));
    (void)str_cut(&rest, ':');
    return (struct str){rest.p + 1, rest.len - 3};
}

static inline uint64_t behind_fixture_number(const struct writer_fixture *it)
{
    return receipt_number(behind_fixture_receipt(it));
}

/* Accepted: its number. */
static inline uint64_t behind_fixture_must(struct writer_fixture *it, const char *sql)
{
    if (behind_fixture_ask(it, sql, "") != ERR_OK)
        fail_msg("%s: %s", sql, it->why.p);
    uint64_t number = behind_fixture_number(it);
    assert_true(number > 0);
    return number;
}

static inline void behind_fixture_await(const struct writer_fixture *it, uint64_t number)
{
    int64_t end_ms = sys_monotonic_ms() + WRITER_PROCESS_PATIENCE_MS;

    while (atomic_load(&it->shared->pending.applied) < number && sys_monotonic_ms() < end_ms)
        usleep(1000);
    assert_true(atomic_load(&it->shared->pending.applied) >= number);
}

/* Until everything that was accepted has been applied. */
static inline void behind_fixture_await_all(const struct writer_fixture *it)
{
    behind_fixture_await(it, atomic_load(&it->shared->pending.accepted));
}

static inline void behind_fixture_path(const struct writer_fixture *it, char *path, size_t size)
{
    snprintf(path, size, "%s-larder.journal", it->files->database);
}

static inline int64_t behind_fixture_value(const struct writer_fixture *it, const char *name)
{
    char sql[96];

    snprintf(sql, sizeof sql, "SELECT value FROM counters WHERE name = '%s'", name);
    return fixture_integer(it->files->database, sql);
}

static inline int64_t behind_fixture_in_journal(const struct writer_fixture *it, const char *sql)
{
    char path[128];

    behind_fixture_path(it, path, sizeof path);
    return fixture_integer(path, sql);
}

/* How it goes with the write that NUMBER is of. */
static inline const char *behind_fixture_state(const struct writer_fixture *it, struct str receipt)
{
    struct receipts *receipts = receipt_open(it->files->database);
    struct arena *arena = arena_new(4096, 1 << 20);
    struct receipt_status status;
    struct buf why = {0};
    enum err err = receipt_find(receipts, receipt, arena, &status, &why);
    const char *state = err == ERR_OK ? receipt_state_name(status.state) : err_text(err);

    receipt_close(&receipts);
    arena_free(&arena);
    buf_free(&why);
    return state;
}

static inline void behind_fixture_expect_state(const struct writer_fixture *it, struct str receipt, const char *state)
{
    assert_string_equal(behind_fixture_state(it, receipt), state);
}

/* Another program's transaction: nothing is written to the database until it ends. */
static inline sqlite3 *behind_fixture_lock(const struct writer_fixture *it)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(it->files->database, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, WRITER_PROCESS_PATIENCE_MS);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    return db;
}

static inline void behind_fixture_await_stall(const struct writer_fixture *it, bool stalled)
{
    int64_t end_ms = sys_monotonic_ms() + WRITER_PROCESS_PATIENCE_MS;

    while (atomic_load(&it->shared->pending.stalled) != stalled && sys_monotonic_ms() < end_ms)
        usleep(1000);
    assert_int_equal(atomic_load(&it->shared->pending.stalled), stalled);
}

/* The writer's files grow no further than SIZE bytes, as on a full disk; 0: as they like again. */
static inline void behind_fixture_limit(const struct writer_fixture *it, rlim_t size)
{
    const struct rlimit limit = {.rlim_cur = size > 0 ? size : RLIM_INFINITY, .rlim_max = RLIM_INFINITY};

    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, &limit, NULL), 0);
}

/* The bytes of the journal's write-ahead log. */
static inline rlim_t behind_fixture_wal(const struct writer_fixture *it)
{
    struct stat status;
    char path[136];

    snprintf(path, sizeof path, "%s-larder.journal-wal", it->files->database);
    assert_int_equal(stat(path, &status), 0);
    return (rlim_t)status.st_size;
}

static inline void behind_fixture_check_integrity(const struct writer_fixture *it)
{
    static const char check[] = "SELECT count(*) = 1 AND max(integrity_check) = 'ok' FROM pragma_integrity_check";

    assert_int_equal(fixture_integer(it->files->database, check), 1);
    assert_int_equal(behind_fixture_in_journal(it, check), 1);
}

#endif
