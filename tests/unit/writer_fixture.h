/*
 * writer_fixture: a writer in a process of its own, over a database in a directory of its own, and a client for it.
 */
#ifndef LARDER_WRITER_FIXTURE_H
#define LARDER_WRITER_FIXTURE_H

#include "writer_process.h"

#include <sys/resource.h>

#include "store/writer_client.h"

struct writer_fixture {
    struct fixture *files;
    char sql_dir[96];
    struct config config;
    struct writer_shared *shared;
    pid_t pid; /* 0: none runs */
    struct writer_client *client;
    struct arena *arena;
    struct store_answer answer;
    int64_t outbox_id;
    struct buf why;
};

static inline void writer_fixture_start(struct writer_fixture *it)
{
    atomic_store(&it->shared->state, WRITER_STARTING);
    it->pid = writer_process_fork(&it->config, it->shared);
    writer_process_await(it->shared, WRITER_READY);
}

static inline int writer_fixture_end(struct writer_fixture *it, int number)
{
    pid_t pid = it->pid;

    it->pid = 0;
    kill(pid, number);
    return writer_process_reap(pid);
}

#define WRITER_FIXTURE_SCHEMA                                                                                          \
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL CHECK (value >= 0));"                        \
    "CREATE TABLE parents (id INTEGER PRIMARY KEY);"                                                                   \
    "CREATE TABLE children (parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED);"                    \
    "CREATE TABLE blobs (id INTEGER PRIMARY KEY, bytes BLOB);"                                                         \
    "CREATE TABLE mines (id INTEGER PRIMARY KEY);"                                                                     \
    "CREATE TRIGGER mines_explode BEFORE INSERT ON mines BEGIN SELECT RAISE(ROLLBACK, 'a mine'); END;"

/* Everything but the process. */
static inline int writer_fixture_setup_idle(void **state)
{
    struct writer_fixture *it = calloc(1, sizeof *it);

    fixture_setup((void **)&it->files);
    snprintf(it->sql_dir, sizeof it->sql_dir, "%s/sql", it->files->dir);
    mkdir(it->sql_dir, 0700);
    fixture_write(it->files, "sql/migrations/0001-schema.sql", WRITER_FIXTURE_SCHEMA);
    it->config.store.database = it->files->database;
    it->config.store.sql = it->sql_dir;
    it->config.store.busy_timeout_ms = 200;
    it->config.store.write_timeout_ms = WRITER_PROCESS_PATIENCE_MS;
    it->config.store.write_queue = 64;
    it->config.store.wal_limit = 64 << 20;
    it->config.store.journal_limit = 16 << 20;
    it->config.server.drain_timeout_ms = WRITER_PROCESS_PATIENCE_MS;
    it->shared = writer_process_share(sizeof *it->shared);
    it->client = writer_client_new(&it->config, it->shared);
    it->arena = arena_new(4096, 1 << 20);
    *state = it;
    return 0;
}

static inline int writer_fixture_setup(void **state)
{
    writer_fixture_setup_idle(state);
    writer_fixture_start(*state);
    return 0;
}

static inline int writer_fixture_teardown(void **state)
{
    struct writer_fixture *it = *state;

    writer_client_free(&it->client);
    if (it->pid > 0)
        writer_fixture_end(it, SIGKILL);
    munmap(it->shared, sizeof *it->shared);
    arena_free(&it->arena);
    buf_free(&it->why);
    fixture_teardown((void **)&it->files);
    free(it);
    return 0;
}

/* Asks CLIENT; the answer goes to it->answer, it->outbox_id and it->why. */
static inline enum err writer_fixture_ask(struct writer_fixture *it, struct writer_client *client,
                                          const struct writer_client_ask *ask)
{
    struct writer_client_told told;
    enum err err = writer_client_write(client, ask, it->arena, &told, &it->why);

    if (err == ERR_OK) {
        it->answer = told.row;
        it->outbox_id = told.outbox_id;
    }
    return err;
}

static inline enum err writer_fixture_write_as(struct writer_fixture *it, const char *sql, enum catalog_shape shape,
                                               const struct params_values *values)
{
    const struct store_caller caller = {.now_ms = 5000};

    arena_reset(it->arena);
    buf_clear(&it->why);
    return writer_fixture_ask(
        it, it->client,
        &(struct writer_client_ask){.sql = str_from(sql), .shape = shape, .values = values, .caller = &caller});
}

/* The same with PURGES; what they became is it->outbox_id. */
static inline enum err writer_fixture_write_purging(struct writer_fixture *it, const char *sql,
                                                    const struct str *purges, size_t count)
{
    arena_reset(it->arena);
    buf_clear(&it->why);
    it->outbox_id = -1;
    return writer_fixture_ask(
        it, it->client, &(struct writer_client_ask){.sql = str_from(sql), .purges = purges, .purges_count = count});
}

static inline enum err writer_fixture_write(struct writer_fixture *it, const char *sql)
{
    return writer_fixture_write_as(it, sql, CATALOG_OBJECT, NULL);
}

static inline void writer_fixture_must_write(struct writer_fixture *it, const char *sql)
{
    if (writer_fixture_write(it, sql) != ERR_OK)
        fail_msg("%s: %s", sql, it->why.p);
}

static inline int64_t writer_fixture_count(const struct writer_fixture *it, const char *table)
{
    char sql[128];

    snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", table);
    return fixture_integer(it->files->database, sql);
}

#endif
