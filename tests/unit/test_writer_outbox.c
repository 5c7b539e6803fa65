/* The outbox, written: with the data or not at all, and empty once all was carried out. */
#include "outbox_fixture.h"

#define LONG WRITER_PROCESS_PATIENCE_MS

static void a_write_leaves_its_purges_in_the_same_commit(void **state)
{
    struct writer_fixture *it = *state;
    struct outbox_fixture reading = outbox_fixture_open(it);
    int64_t before_ms = sys_now_ms();

    outbox_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 1), ('b', 2) RETURNING name");
    assert_int_equal(it->answer.changes, 2);
    assert_string_equal(it->answer.json.p, "{\"name\":\"a\"}");
    assert_int_equal(atomic_load(&it->shared->commits), 1);
    outbox_fixture_expect(&reading, 10, 1);
    assert_int_equal(reading.rows[0].id, it->outbox_id);
    assert_true(reading.rows[0].at_ms >= before_ms && reading.rows[0].at_ms <= sys_now_ms());
    outbox_fixture_expect_items(&reading.rows[0]);
    outbox_fixture_close(&reading);
}

static void a_write_without_purges_leaves_nothing(void **state)
{
    struct writer_fixture *it = *state;

    assert_int_equal(writer_fixture_write_purging(it, "INSERT INTO counters VALUES ('a', 1)", NULL, 0), ERR_OK);
    assert_int_equal(it->outbox_id, 0);
    assert_int_equal(writer_client_keep_purges(it->client, NULL, 0, &it->outbox_id, &it->why), ERR_OK);
    assert_int_equal(it->outbox_id, 0);
    assert_int_equal(writer_fixture_count(it, OUTBOX_FIXTURE_ROWS), 0);
}

static void a_write_that_fails_leaves_nothing(void **state)
{
    static const char *const sql[] = {
        "INSERT INTO counters VALUES ('b', -1)",
        "INSERT INTO counters VALUES ('b', 1); INSERT INTO counters VALUES ('a', 1)",
        "INSERT INTO children VALUES (1)",
        "INSERT OR ROLLBACK INTO counters VALUES ('a', 1)",
        "INSERT INTO counters VALUES ('b', 1); COMMIT",
        "SELECT zeroblob(20000000)",
    };
    struct writer_fixture *it = *state;

    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 0)");
    for (size_t i = 0; i < sizeof sql / sizeof *sql; i++) {
        assert_int_not_equal(writer_fixture_write_purging(it, sql[i], outbox_fixture_items, OUTBOX_FIXTURE_ITEMS),
                             ERR_OK);
        assert_int_equal(it->outbox_id, -1);
        assert_int_equal(writer_fixture_count(it, OUTBOX_FIXTURE_ROWS), 0);
    }
    outbox_fixture_must_write(it, "UPDATE counters SET value = 1");
    assert_int_equal(writer_fixture_count(it, OUTBOX_FIXTURE_ROWS), 1);
}

static void purges_alone_are_kept_too(void **state)
{
    struct writer_fixture *it = *state;
    struct outbox_fixture reading = outbox_fixture_open(it);

    outbox_fixture_keep(it);
    assert_true(it->outbox_id > 0);
    outbox_fixture_expect(&reading, 10, 1);
    assert_int_equal(reading.rows[0].id, it->outbox_id);
    outbox_fixture_expect_items(&reading.rows[0]);
    outbox_fixture_close(&reading);
}

static void purges_of_a_group_are_one_row_of_its_commit(void **state)
{
    enum { CLIENTS = 12 };
    struct writer_fixture *it = *state;
    struct buf bytes = {0};
    int fds[CLIENTS];

    outbox_encode(outbox_fixture_items, OUTBOX_FIXTURE_ITEMS, &bytes);
    writer_raw_pause(it);
    for (int i = 0; i < CLIENTS; i++) {
        const struct writer_frame_request request = {.kind = i % 2 ? WRITER_FRAME_PURGES : WRITER_FRAME_WRITE,
                                                     .sql = STR("INSERT INTO blobs (bytes) VALUES (1)"),
                                                     .purges = buf_str(&bytes),
                                                     .deadline_ms = INT64_MAX};
        fds[i] = writer_raw_connect(it);
        writer_raw_send_request(fds[i], &request);
    }
    writer_raw_resume(it);
    for (int i = 0; i < CLIENTS; i++) {
        assert_int_equal(writer_raw_receive(fds[i]), ERR_OK);
        close(fds[i]);
    }
    assert_int_equal(writer_fixture_count(it, OUTBOX_FIXTURE_ROWS), atomic_load(&it->shared->commits));
    assert_int_equal(fixture_integer(it->files->database, "SELECT sum(length(items)) FROM larder_outbox"),
                     CLIENTS * bytes.len);
    assert_int_equal(writer_fixture_count(it, "blobs"), CLIENTS / 2);
    assert_true(atomic_load(&it->shared->commits) < CLIENTS / 2);
    buf_free(&bytes);
}

static void check_shares(struct writer_fixture *it, bool last_shares)
{
    enum { WRITES = 3 };
    struct buf bytes = {0};
    struct writer_frame_request request = {
        .kind = WRITER_FRAME_WRITE, .sql = STR("INSERT INTO blobs (bytes) VALUES (1)"), .deadline_ms = INT64_MAX};

    outbox_encode(outbox_fixture_items, OUTBOX_FIXTURE_ITEMS, &bytes);
    request.purges = buf_str(&bytes);
    int fd = writer_raw_connect(it);
    writer_raw_pause(it);
    for (int i = 0; i < WRITES; i++)
        writer_raw_send_request(fd, &request);
    writer_raw_resume(it);
    for (int i = 0; i < WRITES; i++)
        assert_int_equal(writer_raw_receive(fd), ERR_OK);
    close(fd);
    buf_free(&bytes);
    assert_int_equal(atomic_load(&it->shared->commits), 1);
    const int64_t id = fixture_integer(it->files->database, "SELECT id FROM larder_outbox");
    /* One client of the same host, and one that shares no memory with the writer. */
    struct writer_client *apart = writer_client_new(&it->config, NULL);
    assert_int_equal(writer_client_purged(it->client, (int64_t[]){id, 999999}, 2), ERR_OK);
    assert_int_equal(writer_client_purged(apart, (int64_t[]){999999, id}, 2), ERR_OK);
    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 1)");
    writer_fixture_must_write(it, "UPDATE counters SET value = 2");
    assert_int_equal(writer_fixture_count(it, OUTBOX_FIXTURE_ROWS), 1);
    assert_int_equal(writer_client_purged(last_shares ? it->client : apart, (int64_t[]){id}, 1), ERR_OK);
    outbox_fixture_await(it, 0);
    writer_client_free(&apart);
}

static void a_row_stays_until_all_of_its_writes_are_purged(void **state)
{
    check_shares(*state, true);
}

static void a_row_goes_too_when_the_last_who_purges_is_no_part_of_the_host(void **state)
{
    check_shares(*state, false);
}

static void a_batch_leaves_its_purges_with_its_rows(void **state)
{
    const struct params_values values = {.count = 0};
    struct writer_fixture *it = *state;

    for (int bad = 0; bad < 2; bad++) {
        const char *sql = bad ? "INSERT INTO counters VALUES ('a', -1)" : "INSERT INTO blobs (bytes) VALUES (1)";
        int64_t id = -1;
        uint64_t failed_row = UINT64_MAX;
        assert_int_equal(writer_client_batch_begin(it->client, str_from(sql), false, &it->why), ERR_OK);
        for (int i = 0; i < 3; i++)
            assert_int_equal(writer_client_batch_row(it->client, &values, &it->why), ERR_OK);
        assert_int_equal(writer_client_batch_commit(it->client, outbox_fixture_items, OUTBOX_FIXTURE_ITEMS, &failed_row,
                                                    &id, &it->why),
                         bad ? ERR_CONSTRAINT : ERR_OK);
        assert_int_equal(writer_fixture_count(it, OUTBOX_FIXTURE_ROWS), 1);
        assert_true(bad ? id == -1 : id > 0);
    }
    assert_int_equal(writer_fixture_count(it, "blobs"), 3);
}

static void what_was_carried_out_is_removed_by_itself(void **state)
{
    struct writer_fixture *it = *state;

    for (int i = 0; i < 3; i++)
        outbox_fixture_keep(it);
    const int64_t ids[] = {it->outbox_id, it->outbox_id - 2, 999999};
    assert_int_equal(writer_client_drained(it->client, ids, 3), ERR_OK);
    outbox_fixture_await(it, 1);
    assert_int_equal(fixture_integer(it->files->database, "SELECT id FROM larder_outbox"), it->outbox_id - 1);
    assert_int_equal(writer_client_drained(it->client, ids, 0), ERR_OK);
}

static void what_was_carried_out_is_removed_by_the_next_write(void **state)
{
    struct writer_fixture *it = *state;

    outbox_fixture_keep(it);
    assert_int_equal(writer_client_drained(it->client, &it->outbox_id, 1), ERR_OK);
    uint64_t commits = atomic_load(&it->shared->commits);
    int64_t start_ms = sys_monotonic_ms();
    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 1)");
    assert_int_equal(it->answer.changes, 1);
    /* On a machine so slow that its second is over it went by itself. */
    if (sys_monotonic_ms() - start_ms < 500)
        assert_int_equal(atomic_load(&it->shared->commits), commits + 1);
    assert_int_equal(writer_fixture_count(it, OUTBOX_FIXTURE_ROWS), 0);
}

static void a_number_never_comes_again(void **state)
{
    struct writer_fixture *it = *state;

    outbox_fixture_keep(it);
    int64_t first = it->outbox_id;
    assert_int_equal(writer_client_drained(it->client, &first, 1), ERR_OK);
    outbox_fixture_await(it, 0);
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    writer_fixture_start(it);
    outbox_fixture_keep(it);
    assert_true(it->outbox_id > first);
    /* Said twice, it removes nothing else. */
    assert_int_equal(writer_client_drained(it->client, &first, 1), ERR_OK);
    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 1)");
    assert_int_equal(writer_fixture_count(it, OUTBOX_FIXTURE_ROWS), 1);
}

static void before_it_stops_it_removes_what_was_carried_out(void **state)
{
    struct writer_fixture *it = *state;

    outbox_fixture_keep(it);
    outbox_fixture_keep(it);
    assert_int_equal(writer_client_drained(it->client, &it->outbox_id, 1), ERR_OK);
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    assert_int_equal(writer_fixture_count(it, OUTBOX_FIXTURE_ROWS), 1);
    assert_int_equal(fixture_integer(it->files->database, "SELECT id FROM larder_outbox"), it->outbox_id - 1);
}

static void a_group_of_failures_removes_nothing_and_forgets_nothing(void **state)
{
    struct writer_fixture *it = *state;

    outbox_fixture_keep(it);
    assert_int_equal(writer_client_drained(it->client, &it->outbox_id, 1), ERR_OK);
    assert_int_equal(writer_fixture_write(it, "INSERT OR ROLLBACK INTO counters VALUES ('a', -1)"), ERR_CONSTRAINT);
    assert_int_equal(writer_fixture_write(it, "INSERT INTO counters VALUES ('a', -1)"), ERR_CONSTRAINT);
    outbox_fixture_await(it, 0);
}

static void more_than_the_writer_remembers_does_no_harm(void **state)
{
    enum { MORE = 5000 };
    struct writer_fixture *it = *state;
    int64_t *ids = calloc(MORE, sizeof *ids);
    sqlite3 *db = NULL;

    outbox_fixture_keep(it);
    for (int i = 0; i < MORE; i++)
        ids[i] = it->outbox_id + i;
    /* So that none of them can be removed meanwhile. */
    assert_int_equal(sqlite3_open(it->files->database, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(writer_client_drained(it->client, ids, MORE), ERR_OK);
    assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    outbox_fixture_await(it, 0);
    assert_int_equal(writer_client_drained(it->client, ids, 1000), ERR_OK);
    free(ids);
}

static void without_a_writer_nothing_is_kept_and_it_says_so(void **state)
{
    struct writer_fixture *it = *state;
    int64_t id = 7;

    it->config.store.write_timeout_ms = 50;
    assert_int_equal(writer_client_keep_purges(it->client, outbox_fixture_items, OUTBOX_FIXTURE_ITEMS, &id, &it->why),
                     ERR_UNAVAILABLE);
    assert_int_equal(writer_client_drained(it->client, &id, 1), ERR_UNAVAILABLE);
    assert_int_equal(id, 7);
}

static void while_a_batch_lasts_nobody_waits_to_be_heard(void **state)
{
    struct writer_fixture *it = *state;

    outbox_fixture_keep(it);
    struct writer_client *other = writer_client_new(&it->config, it->shared);
    assert_int_equal(writer_client_batch_begin(other, STR("INSERT INTO blobs (bytes) VALUES (1)"), false, &it->why),
                     ERR_OK);
    int64_t start_ms = sys_monotonic_ms();
    assert_int_equal(writer_client_drained(it->client, &it->outbox_id, 1), ERR_OK);
    assert_true(sys_monotonic_ms() - start_ms < LONG / 2);
    assert_int_equal(writer_client_batch_commit(other, NULL, 0, &(uint64_t){0}, NULL, &it->why), ERR_OK);
    writer_client_free(&other);
    /* It was heard all the same. */
    outbox_fixture_await(it, 0);
}

static void nobody_elses_sql_touches_the_outbox(void **state)
{
    static const char *const sql[] = {
        "DELETE FROM larder_outbox",
        "INSERT INTO larder_outbox (at_ms, items) VALUES (1, x'')",
        "UPDATE Larder_Outbox SET items = x''",
        "SELECT count(*) FROM larder_outbox",
        "INSERT INTO counters SELECT 'n', id FROM \"larder_outbox\"",
    };
    struct writer_fixture *it = *state;

    outbox_fixture_keep(it);
    for (size_t i = 0; i < sizeof sql / sizeof *sql; i++) {
        assert_int_equal(writer_fixture_write(it, sql[i]), ERR_STATEMENT);
        if (!strstr(it->why.p, "larder's own"))
            fail_msg("%s: %s", sql[i], it->why.p);
    }
    assert_int_equal(writer_fixture_write(it, "DELETE FROM sqlite_sequence"), ERR_STATEMENT);
    assert_int_equal(writer_client_batch_begin(it->client, str_from(sql[0]), false, &it->why), ERR_STATEMENT);
    assert_int_equal(writer_fixture_count(it, OUTBOX_FIXTURE_ROWS), 1);
}

static void a_database_from_before_the_outbox_gets_one(void **state)
{
    struct writer_fixture *it = *state;

    fixture_execute(it->files->database, WRITER_FIXTURE_SCHEMA "PRAGMA user_version = 1; PRAGMA journal_mode = WAL");
    writer_fixture_start(it);
    assert_int_equal(fixture_integer(it->files->database, "PRAGMA user_version"), 1);
    outbox_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 1)");
    /* Also one that loses it later. */
    fixture_execute(it->files->database, "DROP TABLE larder_outbox");
    assert_int_equal(
        writer_fixture_write_purging(it, "UPDATE counters SET value = 2", outbox_fixture_items, OUTBOX_FIXTURE_ITEMS),
        ERR_STATEMENT);
    assert_int_equal(fixture_integer(it->files->database, "SELECT value FROM counters"), 1);
    outbox_fixture_must_write(it, "UPDATE counters SET value = 3");
    assert_int_equal(writer_fixture_count(it, OUTBOX_FIXTURE_ROWS), 1);
}

static void another_database_keeps_its_rows(void **state)
{
    struct writer_fixture *it = *state;
    char copy[128];

    snprintf(copy, sizeof copy, "%s.copy", it->files->database);
    outbox_fixture_keep(it);
    fixture_execute(copy, WRITER_FIXTURE_SCHEMA
                    "CREATE TABLE larder_outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, "
                    "items BLOB NOT NULL); INSERT INTO larder_outbox VALUES (1, 1, x''), (2, 1, x'');"
                    "PRAGMA user_version = 1; PRAGMA journal_mode = WAL");
    assert_int_equal(it->outbox_id, 1);
    fixture_execute(it->files->database, "PRAGMA wal_checkpoint(TRUNCATE)");
    assert_int_equal(rename(copy, it->files->database), 0);
    /* Only now: the writer, which has not looked yet, notes a row of the database that it has open. Told before, it
     * would write the removal into a log that lies beside the new file, which would then be read as the new file's own.
     */
    assert_int_equal(writer_client_drained(it->client, &it->outbox_id, 1), ERR_OK);
    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 1)");
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    assert_int_equal(writer_fixture_count(it, OUTBOX_FIXTURE_ROWS), 2);
}

static void a_full_disk_takes_neither_the_write_nor_its_purges(void **state)
{
    struct writer_fixture *it = *state;
    struct rlimit limit, before;
    const char *large = "INSERT INTO blobs (bytes) VALUES (zeroblob(4000000))";
    char *bytes = calloc(1, 4000000);
    const struct str large_item = {bytes, 4000000};

    outbox_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 0)");
    int64_t first = it->outbox_id;
    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, NULL, &before), 0);
    limit = (struct rlimit){.rlim_cur = 400 << 10, .rlim_max = before.rlim_max};
    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, &limit, NULL), 0);
    assert_int_equal(writer_fixture_write_purging(it, large, outbox_fixture_items, OUTBOX_FIXTURE_ITEMS), ERR_FULL);
    assert_int_equal(writer_fixture_count(it, OUTBOX_FIXTURE_ROWS), 1);
    outbox_fixture_must_write(it, "UPDATE counters SET value = 1");
    assert_int_equal(writer_client_drained(it->client, &first, 1), ERR_OK);
    outbox_fixture_await(it, 1);
    assert_int_equal(writer_client_keep_purges(it->client, &large_item, 1, &it->outbox_id, &it->why), ERR_FULL);

    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, &before, NULL), 0);
    assert_int_equal(writer_client_keep_purges(it->client, &large_item, 1, &it->outbox_id, &it->why), ERR_OK);
    writer_fixture_must_write(it, "UPDATE counters SET value = value + 2");
    assert_int_equal(fixture_integer(it->files->database, "SELECT value FROM counters"), 3);
    assert_int_equal(writer_fixture_count(it, OUTBOX_FIXTURE_ROWS), 2);
    free(bytes);
}

static void what_cannot_be_removed_fails_nobody_and_is_tried_again(void **state)
{
    static const char *const kinds[] = {"ABORT", "ROLLBACK"}; /* the statement alone; the whole transaction */
    struct writer_fixture *it = *state;
    char sql[160];

    for (size_t i = 0; i < 2; i++) {
        snprintf(sql, sizeof sql,
                 "CREATE TRIGGER stay BEFORE DELETE ON larder_outbox BEGIN SELECT RAISE(%s, 'stay'); END", kinds[i]);
        outbox_fixture_keep(it);
        int64_t id = it->outbox_id;
        fixture_execute(it->files->database, sql);
        assert_int_equal(writer_client_drained(it->client, &id, 1), ERR_OK);
        outbox_fixture_must_write(it, "INSERT INTO blobs (bytes) VALUES (1)");
        outbox_fixture_must_write(it, "INSERT INTO blobs (bytes) VALUES (2)");
        usleep(1500000);
        outbox_fixture_must_write(it, "INSERT INTO blobs (bytes) VALUES (3)");
        assert_int_equal(writer_fixture_count(it, OUTBOX_FIXTURE_ROWS), i * 3 + 4);
        fixture_execute(it->files->database, "DROP TRIGGER stay");
        outbox_fixture_await(it, (int64_t)i * 3 + 3);
    }
    assert_int_equal(writer_fixture_count(it, "blobs"), 6);
}

static void what_is_taken_back_because_something_else_failed_is_tried_again(void **state)
{
    const struct params_values tables = {.count = 1, .items = {{.name = STR("counters"), .integer = 7}}};
    struct writer_fixture *it = *state;

    writer_fixture_must_write(it, "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'm', 1)");
    outbox_fixture_keep(it);
    int64_t id = it->outbox_id;
    fixture_execute(it->files->database,
                    "CREATE TRIGGER stay BEFORE DELETE ON larder_score_log BEGIN SELECT RAISE(ABORT, 'stay'); END; "
                    "INSERT INTO larder_changes (name, changes, purged) VALUES ('counters', 7, 0)");
    assert_int_equal(writer_client_scores_followed(it->client, 1), ERR_OK);
    assert_int_equal(writer_client_drained(it->client, &id, 1), ERR_OK);
    assert_int_equal(writer_client_changed(it->client, &tables), ERR_OK);
    for (int i = 0; i < 3; i++)
        writer_fixture_must_write(it, "INSERT INTO blobs (bytes) VALUES (1)");
    assert_int_equal(writer_fixture_count(it, OUTBOX_FIXTURE_ROWS), 1);
    assert_int_equal(writer_fixture_count(it, "larder_changes WHERE purged = 7"), 0);
    fixture_execute(it->files->database, "DROP TRIGGER stay");
    outbox_fixture_await(it, 0);
    assert_int_equal(writer_fixture_count(it, "larder_changes WHERE purged = 7"), 1);
    assert_int_equal(writer_fixture_count(it, "larder_score_log"), 0);
}

/* Byte 18 of the file: up to which version of the format may write. */
static void set_writable(const struct writer_fixture *it, bool writable)
{
    int fd = open(it->files->database, O_RDWR);
    const char version = writable ? 2 : 3;

    assert_int_equal(pwrite(fd, &version, 1, 18), 1);
    close(fd);
}

static void a_database_that_cannot_be_written_is_told_as_read_only(void **state)
{
    struct writer_fixture *it = *state;
    int64_t id = 7;

    for (int has_outbox = 0; has_outbox < 2; has_outbox++) {
        set_writable(it, false);
        writer_fixture_start(it);
        assert_int_equal(
            writer_client_keep_purges(it->client, outbox_fixture_items, OUTBOX_FIXTURE_ITEMS, &id, &it->why),
            ERR_READ_ONLY);
        assert_int_equal(
            writer_fixture_write_purging(it, "DELETE FROM blobs", outbox_fixture_items, OUTBOX_FIXTURE_ITEMS),
            ERR_READ_ONLY);
        assert_int_equal(writer_client_drained(it->client, &id, 1), ERR_OK);
        assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
        set_writable(it, true);
        writer_fixture_start(it);
        outbox_fixture_keep(it);
        assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
        assert_int_equal(writer_fixture_count(it, OUTBOX_FIXTURE_ROWS), has_outbox + 1);
    }
}

static int setup_made_before(void **state)
{
    writer_fixture_setup_idle(state);
    fixture_execute(((struct writer_fixture *)*state)->files->database,
                    WRITER_FIXTURE_SCHEMA "PRAGMA user_version = 1; PRAGMA journal_mode = WAL");
    return 0;
}

/* What one of the clients that count up was told; in memory that its process shares with the test. */
struct counting {
    int64_t acknowledged, purged;
    atomic_bool done;
};

/* Raises its counter and leaves purges that say so, until told to stop; of every third write it says that they are
 * carried out. */
static _Noreturn void count_up(struct writer_fixture *it, int number, struct counting *counting)
{
    struct writer_client *client = writer_client_new(&it->config, it->shared);
    char sql[64], item[16];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(sql, sizeof sql, "UPDATE counters SET value = value + 1 WHERE name = '%d'", number);
    snprintf(item, sizeof item, "key:%d", number);
    const struct str purge = str_from(item);
    const struct writer_client_ask ask = {.sql = str_from(sql), .purges = &purge, .purges_count = 1};
    while (!atomic_load(&counting->done)) {
        arena_reset(it->arena);
        buf_clear(&it->why);
        if (writer_fixture_ask(it, client, &ask) == ERR_OK && ++counting->acknowledged % 3 == 0)
            counting->purged += writer_client_purged(client, &it->outbox_id, 1) == ERR_OK;
    }
    writer_client_free(&client);
    _exit(0);
}

/* How often counters have been raised, less how often the outbox says so. Each item is as long as `key:N` and its
 * length. */
#define UNSAID                                                                                                         \
    "SELECT (SELECT sum(value) FROM counters) - (SELECT coalesce(sum(length(items)), 0) / 9 FROM larder_outbox)"

/* Nothing is raised of which the outbox does not say so, but for what was said to be carried out. */
static void killed_at_any_time_rows_are_there_if_and_only_if_the_data_is(void **state)
{
    enum { CLIENTS = 4, ROUNDS = 10 };
    struct writer_fixture *it = *state;
    struct counting *counting = writer_process_share(CLIENTS * sizeof *counting);
    int64_t acknowledged = 0, purged = 0;
    pid_t clients[CLIENTS];
    char sql[128];

    for (int i = 0; i < CLIENTS; i++) {
        snprintf(sql, sizeof sql, "INSERT INTO counters VALUES ('%d', 0)", i);
        writer_fixture_must_write(it, sql);
        clients[i] = fork();
        if (clients[i] == 0)
            count_up(it, i, &counting[i]);
    }
    for (int round = 0; round < ROUNDS; round++) {
        usleep(20000 + (useconds_t)round * 7000);
        assert_int_equal(writer_fixture_end(it, SIGKILL), -SIGKILL);
        const int64_t unsaid = fixture_integer(it->files->database, UNSAID);
        int64_t said = CLIENTS; /* each may just have said it */
        for (int i = 0; i < CLIENTS; i++)
            said += counting[i].purged;
        assert_true(unsaid >= 0 && unsaid <= said);
        writer_fixture_start(it);
    }
    for (int i = 0; i < CLIENTS; i++) {
        atomic_store(&counting[i].done, true);
        assert_int_equal(writer_process_reap(clients[i]), 0);
        acknowledged += counting[i].acknowledged;
        purged += counting[i].purged;
    }
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    assert_true(acknowledged > 0);
    int64_t written = fixture_integer(it->files->database, "SELECT sum(value) FROM counters");
    assert_true(written >= acknowledged);
    /* What was said to a writer that was killed is said in vain; nothing goes of which it was not said. */
    const int64_t unsaid = fixture_integer(it->files->database, UNSAID);
    assert_true(unsaid >= 0 && unsaid <= purged);
    munmap(counting, CLIENTS * sizeof *counting);
}

#define WITH_WRITER(test) cmocka_unit_test_setup_teardown(test, writer_fixture_setup, writer_fixture_teardown)
#define WITHOUT_WRITER(test) cmocka_unit_test_setup_teardown(test, writer_fixture_setup_idle, writer_fixture_teardown)
#define MADE_BEFORE(test) cmocka_unit_test_setup_teardown(test, setup_made_before, writer_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WRITER(a_write_leaves_its_purges_in_the_same_commit),
        WITH_WRITER(a_write_without_purges_leaves_nothing),
        WITH_WRITER(a_write_that_fails_leaves_nothing),
        WITH_WRITER(purges_alone_are_kept_too),
        WITH_WRITER(purges_of_a_group_are_one_row_of_its_commit),
        WITH_WRITER(a_row_stays_until_all_of_its_writes_are_purged),
        WITH_WRITER(a_row_goes_too_when_the_last_who_purges_is_no_part_of_the_host),
        WITH_WRITER(a_batch_leaves_its_purges_with_its_rows),
        WITH_WRITER(what_was_carried_out_is_removed_by_itself),
        WITH_WRITER(what_was_carried_out_is_removed_by_the_next_write),
        WITH_WRITER(a_number_never_comes_again),
        WITH_WRITER(before_it_stops_it_removes_what_was_carried_out),
        WITH_WRITER(a_group_of_failures_removes_nothing_and_forgets_nothing),
        WITH_WRITER(more_than_the_writer_remembers_does_no_harm),
        WITHOUT_WRITER(without_a_writer_nothing_is_kept_and_it_says_so),
        WITH_WRITER(while_a_batch_lasts_nobody_waits_to_be_heard),
        WITH_WRITER(nobody_elses_sql_touches_the_outbox),
        WITHOUT_WRITER(a_database_from_before_the_outbox_gets_one),
        WITH_WRITER(another_database_keeps_its_rows),
        WITH_WRITER(a_full_disk_takes_neither_the_write_nor_its_purges),
        WITH_WRITER(what_cannot_be_removed_fails_nobody_and_is_tried_again),
        WITH_WRITER(what_is_taken_back_because_something_else_failed_is_tried_again),
        MADE_BEFORE(a_database_that_cannot_be_written_is_told_as_read_only),
        WITH_WRITER(killed_at_any_time_rows_are_there_if_and_only_if_the_data_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
