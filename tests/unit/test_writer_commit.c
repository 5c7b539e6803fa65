/* What the writer carries out: single writes, groups of them, and batches. */
#include "writer_raw.h"

#define ENDLESS "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
#define LONG WRITER_PROCESS_PATIENCE_MS

static void the_last_statement_with_rows_makes_the_answer(void **state)
{
    static const struct {
        const char *sql;
        enum catalog_shape shape;
        const char *json;
    } cases[] = {
        {"INSERT INTO counters VALUES ('a', 1) RETURNING name, value", CATALOG_OBJECT, "{\"name\":\"a\",\"value\":1}"},
        {"UPDATE counters SET value = 2 RETURNING value", CATALOG_VALUE, "2"},
        {"UPDATE counters SET value = 3 RETURNING value; INSERT INTO counters VALUES ('b', 4) RETURNING name; "
         "DELETE FROM blobs",
         CATALOG_OBJECT, "{\"name\":\"b\"}"},
        {"SELECT value FROM counters ORDER BY value", CATALOG_LIST,
         "{\"items\":[{\"value\":3},{\"value\":4}],\"count\":2}"},
        {"UPDATE counters SET value = 9 WHERE name = 'nobody' RETURNING value", CATALOG_OBJECT, NULL},
        {"UPDATE counters SET value = 5", CATALOG_LIST, NULL},
        {"/* nothing */ ;", CATALOG_OBJECT, NULL},
    };
    struct writer_fixture *it = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (writer_fixture_write_as(it, cases[i].sql, cases[i].shape, NULL) != ERR_OK)
            fail_msg("%s: %s", cases[i].sql, it->why.p);
        assert_int_equal(it->answer.found, cases[i].json != NULL);
        if (cases[i].json)
            assert_string_equal(it->answer.json.p, cases[i].json);
    }
    assert_int_equal(it->answer.changes, 0);
}

static void values_and_who_asks_are_bound(void **state)
{
    struct writer_fixture *it = *state;
    const struct params_values values = {.items = {{.name = STR("t"), .type = PARAMS_TEXT, .text = STR("naïve \"x\"")},
                                                   {.name = STR("i"), .type = PARAMS_INTEGER, .integer = INT64_MIN},
                                                   {.name = STR("n"), .type = PARAMS_NUMBER, .number = 0.1},
                                                   {.name = STR("b"), .type = PARAMS_BOOLEAN, .integer = 1},
                                                   {.name = STR("z"), .type = PARAMS_TEXT, .is_null = true}},
                                         .count = 5};

    assert_int_equal(writer_fixture_write_as(it,
                                             "SELECT :t AS t, :i AS i, :n AS n, :b AS b, :z AS z, :larder_now AS now",
                                             CATALOG_OBJECT, &values),
                     ERR_OK);
    assert_string_equal(it->answer.json.p, "{\"t\":\"naïve \\\"x\\\"\",\"i\":-9223372036854775808,\"n\":0.1,\"b\":1,"
                                           "\"z\":null,\"now\":5}");
}

static void what_fails_leaves_no_trace_and_says_why(void **state)
{
    static const struct {
        const char *sql;
        enum err err;
        const char *why;
    } cases[] = {
        {"INSERT INTO counters VALUES ('b', -1)", ERR_CONSTRAINT, "CHECK constraint failed: value >= 0"},
        {"INSERT INTO counters VALUES ('b', 1); INSERT INTO counters VALUES ('a', 1)", ERR_CONSTRAINT,
         "UNIQUE constraint failed: counters.name"},
        {"INSERT INTO counters VALUES ('b', NULL)", ERR_CONSTRAINT, "NOT NULL constraint failed: counters.value"},
        {"INSERT INTO children VALUES (1)", ERR_CONSTRAINT, "FOREIGN KEY constraint failed"},
        {"INSERT OR ROLLBACK INTO counters VALUES ('a', 1)", ERR_CONSTRAINT, "UNIQUE constraint failed"},
        {"INSERT INTO counters VALUES ('b', 1); INSERT INTO nowhere VALUES (1)", ERR_STATEMENT,
         "no such table: nowhere"},
        {"INSERT INTO counters VALUES (:missing, 1)", ERR_STATEMENT, ":missing"},
        {"INSERT INTO counters VALUES ('b', 1); COMMIT", ERR_STATEMENT, "not allowed"},
        {"INSERT INTO counters VALUES ('b', 1); ROLLBACK", ERR_STATEMENT, "not allowed"},
        {"BEGIN; INSERT INTO counters VALUES ('b', 1)", ERR_STATEMENT, "not allowed"},
        {"SAVEPOINT mine", ERR_STATEMENT, "not allowed"},
        {"RELEASE larder", ERR_STATEMENT, "not allowed"},
        {"PRAGMA synchronous = OFF", ERR_STATEMENT, "not allowed"},
        {"ATTACH ':memory:' AS other", ERR_STATEMENT, "not allowed"},
        {"DETACH main", ERR_STATEMENT, "not allowed"},
        {"CREATE TABLE mine (x)", ERR_STATEMENT, "not allowed"},
        {"DROP TABLE counters", ERR_STATEMENT, "not allowed"},
        {"SELECT", ERR_STATEMENT, "incomplete input"},
        {"SELECT zeroblob(20000000)", ERR_LIMIT, "larger than"},
    };
    struct writer_fixture *it = *state;

    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 0)");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum err err = writer_fixture_write(it, cases[i].sql);
        if (err != cases[i].err || !strstr(it->why.p, cases[i].why))
            fail_msg("%s: %d %s", cases[i].sql, err, it->why.p ? it->why.p : "");
        assert_int_equal(writer_fixture_count(it, "counters"), 1);
        assert_int_equal(writer_fixture_count(it, "children"), 0);
    }
    writer_fixture_must_write(it, "UPDATE counters SET value = value + 1");
}

static void sql_too_large_to_keep_runs_all_the_same(void **state)
{
    enum { ROWS = 800 };
    struct writer_fixture *it = *state;
    struct buf sql = {0};

    for (int i = 0; i < ROWS; i++)
        buf_printf(&sql, "INSERT INTO counters VALUES ('counter %d', %d); -- %040d\n", i, i, 0);
    buf_printf(&sql, "SELECT count(*) AS n FROM counters");
    writer_fixture_must_write(it, sql.p);
    assert_string_equal(it->answer.json.p, "{\"n\":800}");
    assert_int_equal(it->answer.changes, ROWS);
    buf_free(&sql);
}

static void more_kinds_of_sql_than_are_kept_all_run(void **state)
{
    struct writer_fixture *it = *state;
    char sql[128];

    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 100; i++) {
            snprintf(sql, sizeof sql, "INSERT INTO counters VALUES ('%d.%d', %d)", round, i, i);
            writer_fixture_must_write(it, sql);
        }
    assert_int_equal(writer_fixture_count(it, "counters"), 200);
}

/* Sends each SQL on a connection of its own while the writer is paused, and checks what each is answered. */
static void expect_round(struct writer_fixture *it, const char *const *sql, const int *answers, size_t count)
{
    int fds[32];

    writer_raw_pause(it);
    for (size_t i = 0; i < count; i++) {
        fds[i] = writer_raw_connect(it);
        writer_raw_send(fds[i], WRITER_FRAME_WRITE, sql[i], strstr(sql[i], "RECURSIVE") ? 1500 : LONG);
    }
    writer_raw_resume(it);
    for (size_t i = 0; i < count; i++) {
        int answer = writer_raw_receive(fds[i]);
        if (answer != answers[i])
            fail_msg("%s is answered %d", sql[i], answer);
        close(fds[i]);
    }
}

static void a_group_shares_a_commit_and_a_bad_write_fails_alone(void **state)
{
    enum { WRITES = 24 };
    static const char *const bad[] = {"INSERT INTO counters VALUES ('b', -1)", "INSERT INTO children VALUES (7)",
                                      "COMMIT"};
    static const int bad_answers[] = {ERR_CONSTRAINT, ERR_CONSTRAINT, ERR_STATEMENT};
    struct writer_fixture *it = *state;
    const char *sql[WRITES];
    int answers[WRITES];

    for (int i = 0; i < WRITES; i++) {
        bool good = i % 4 != 1;
        sql[i] = good ? "INSERT INTO blobs (bytes) VALUES (1)" : bad[i / 4 % 3];
        answers[i] = good ? ERR_OK : bad_answers[i / 4 % 3];
    }
    expect_round(it, sql, answers, WRITES);
    assert_int_equal(writer_fixture_count(it, "blobs"), WRITES * 3 / 4);
    assert_int_equal(atomic_load(&it->shared->committed), WRITES * 3 / 4);
    assert_true(atomic_load(&it->shared->commits) < WRITES / 2);
}

static void a_write_that_takes_the_transaction_with_it_does_not_take_the_others(void **state)
{
    static const char *const sql[] = {
        "INSERT INTO counters VALUES ('a', 1)", "INSERT OR ROLLBACK INTO counters VALUES ('a', 1)",
        "INSERT INTO counters VALUES ('b', 1)", "INSERT OR ROLLBACK INTO counters VALUES ('b', 1)",
        "INSERT INTO counters VALUES ('c', 1)",
    };
    static const int answers[] = {ERR_OK, ERR_CONSTRAINT, ERR_OK, ERR_CONSTRAINT, ERR_OK};
    struct writer_fixture *it = *state;

    expect_round(it, sql, answers, sizeof sql / sizeof *sql);
    assert_int_equal(writer_fixture_count(it, "counters"), 3);
}

static void a_write_that_runs_too_long_fails_alone(void **state)
{
    static const char *const sql[] = {
        "INSERT INTO counters VALUES ('a', 1)",
        "INSERT INTO counters VALUES ('b', (" ENDLESS "))",
        "INSERT INTO counters VALUES ('c', 1)",
    };
    static const int answers[] = {ERR_OK, ERR_OVERDUE, ERR_OK};
    struct writer_fixture *it = *state;

    expect_round(it, sql, answers, sizeof sql / sizeof *sql);
    assert_int_equal(writer_fixture_count(it, "counters"), 2);
}

static void a_write_nobody_waits_for_any_longer_is_not_begun(void **state)
{
    struct writer_fixture *it = *state;
    int fd = writer_raw_connect(it);

    writer_raw_send(fd, WRITER_FRAME_WRITE, "INSERT INTO counters VALUES ('late', 1)", -1);
    assert_int_equal(writer_raw_receive(fd), ERR_BUSY);
    assert_int_equal(writer_fixture_count(it, "counters"), 0);
    close(fd);
}

static void who_finds_the_queue_full_is_told_at_once(void **state)
{
    enum { CLIENTS = 4 };
    struct writer_fixture *it = *state;
    int fds[CLIENTS], answered[ERR_COUNT] = {0};

    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    it->config.store.write_queue = 2;
    writer_fixture_start(it);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = writer_raw_connect(it);
        writer_raw_send(fds[i], WRITER_FRAME_WRITE, "SELECT 1", LONG);
        assert_int_equal(writer_raw_receive(fds[i]), ERR_OK);
    }
    writer_raw_pause(it);
    for (int i = 0; i < CLIENTS; i++)
        writer_raw_send(fds[i], WRITER_FRAME_WRITE, "INSERT INTO blobs (bytes) VALUES (1)", LONG);
    writer_raw_resume(it);
    for (int i = 0; i < CLIENTS; i++) {
        answered[writer_raw_receive(fds[i])]++;
        close(fds[i]);
    }
    assert_int_equal(answered[ERR_OK], 2);
    assert_int_equal(answered[ERR_BUSY], 2);
    assert_int_equal(writer_fixture_count(it, "blobs"), 2);
}

static struct params_values row(const char *name, int64_t value)
{
    return (struct params_values){.items = {{.name = STR("name"), .type = PARAMS_TEXT, .text = str_from(name)},
                                            {.name = STR("value"), .type = PARAMS_INTEGER, .integer = value}},
                                  .count = 2};
}

#define INSERT_ROW "INSERT INTO counters VALUES (:name, :value + 0 * :larder_now)"

static void begin_batch(struct writer_fixture *it)
{
    buf_clear(&it->why);
    if (writer_client_batch_begin(it->client, STR(INSERT_ROW), false, &it->why) != ERR_OK)
        fail_msg("%s", it->why.p);
}

/* COUNT rows, of which number BAD cannot be. */
static void send_rows(struct writer_fixture *it, int count, int bad)
{
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "row %d", i);
        const struct params_values values = row(name, i == bad ? -1 : i);
        assert_int_equal(writer_client_batch_row(it->client, &values, &it->why), ERR_OK);
    }
}

static void a_batch_is_one_transaction(void **state)
{
    enum { ROWS = 5000 };
    struct writer_fixture *it = *state;
    uint64_t failed_row = 77;

    begin_batch(it);
    send_rows(it, ROWS, -1);
    assert_int_equal(writer_fixture_count(it, "counters"), 0);
    assert_int_equal(writer_client_batch_commit(it->client, NULL, 0, &failed_row, NULL, &it->why), ERR_OK);
    assert_int_equal(failed_row, 77);
    assert_int_equal(writer_fixture_count(it, "counters"), ROWS);
    assert_int_equal(atomic_load(&it->shared->commits), 1);
    writer_fixture_must_write(it, "DELETE FROM counters");
    assert_int_equal(it->answer.changes, ROWS);
}

static void a_batch_with_a_bad_row_names_it_and_writes_nothing(void **state)
{
    struct writer_fixture *it = *state;

    for (int bad = 0; bad < 3000; bad += 1499) {
        uint64_t failed_row = 0;
        begin_batch(it);
        send_rows(it, 3000, bad);
        assert_int_equal(writer_client_batch_commit(it->client, NULL, 0, &failed_row, NULL, &it->why), ERR_CONSTRAINT);
        assert_int_equal(failed_row, bad);
        assert_non_null(strstr(it->why.p, "CHECK constraint failed"));
        assert_int_equal(writer_fixture_count(it, "counters"), 0);
    }
}

static void a_batch_that_cannot_be_is_refused_at_its_beginning(void **state)
{
    struct writer_fixture *it = *state;
    const struct params_values values = row("a", 1);

    assert_int_equal(writer_client_batch_begin(it->client, STR("INSERT INTO nowhere VALUES (1)"), false, &it->why),
                     ERR_STATEMENT);
    assert_non_null(strstr(it->why.p, "nowhere"));
    assert_int_equal(writer_client_batch_row(it->client, &values, &it->why), ERR_OK);
    assert_int_not_equal(writer_client_batch_commit(it->client, NULL, 0, &(uint64_t){0}, NULL, &it->why), ERR_OK);
    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 1)");
}

static void foreign_keys_of_a_batch_may_come_late_but_not_never(void **state)
{
    static const char *const sql[] = {
        "INSERT INTO children VALUES (:value); INSERT INTO parents SELECT :value WHERE :value < 3",
        "INSERT INTO children VALUES (:value)",
    };
    struct writer_fixture *it = *state;

    for (size_t i = 0; i < 2; i++) {
        const struct params_values values = row("", i == 0 ? 2 : 4);
        uint64_t failed_row = UINT64_MAX;
        assert_int_equal(writer_client_batch_begin(it->client, str_from(sql[i]), false, &it->why), ERR_OK);
        assert_int_equal(writer_client_batch_row(it->client, &values, &it->why), ERR_OK);
        assert_int_equal(writer_client_batch_commit(it->client, NULL, 0, &failed_row, NULL, &it->why),
                         i == 0 ? ERR_OK : ERR_CONSTRAINT);
        assert_true(failed_row == UINT64_MAX);
    }
    assert_int_equal(writer_fixture_count(it, "children"), 1);
}

static void others_wait_while_a_batch_lasts(void **state)
{
    struct writer_fixture *it = *state;
    int fd = writer_raw_connect(it);
    struct pollfd ready = {.fd = fd, .events = POLLIN};

    begin_batch(it);
    writer_raw_send(fd, WRITER_FRAME_WRITE, "INSERT INTO counters VALUES ('row 0', 1)", LONG);
    assert_int_equal(poll(&ready, 1, 50), 0);
    send_rows(it, 1, -1);
    assert_int_equal(writer_client_batch_commit(it->client, NULL, 0, &(uint64_t){0}, NULL, &it->why), ERR_OK);
    assert_int_equal(writer_raw_receive(fd), ERR_CONSTRAINT);
    close(fd);
}

static void a_batch_whose_client_vanishes_is_taken_back(void **state)
{
    struct writer_fixture *it = *state;

    begin_batch(it);
    send_rows(it, 3000, -1);
    writer_client_free(&it->client);
    it->client = writer_client_new(&it->config, it->shared);
    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('row 0', 1)");
    assert_int_equal(writer_fixture_count(it, "counters"), 1);
}

static void a_batch_that_falls_silent_is_taken_back(void **state)
{
    struct writer_fixture *it = *state;

    begin_batch(it);
    send_rows(it, 3000, -1);
    struct writer_client *other = writer_client_new(&it->config, it->shared);
    assert_int_equal(
        writer_fixture_ask(it, other, &(struct writer_client_ask){.sql = STR("INSERT INTO blobs (bytes) VALUES (1)")}),
        ERR_OK);
    writer_client_free(&other);
    assert_int_equal(writer_client_batch_commit(it->client, NULL, 0, &(uint64_t){0}, NULL, &it->why), ERR_TIMEOUT);
    assert_non_null(strstr(it->why.p, "silent"));
    assert_int_equal(writer_fixture_count(it, "counters"), 0);
    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 1)");
}

static void a_writer_told_to_stop_takes_the_batch_back_and_says_so(void **state)
{
    struct writer_fixture *it = *state;

    begin_batch(it);
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    assert_int_equal(writer_client_batch_commit(it->client, NULL, 0, &(uint64_t){0}, NULL, &it->why), ERR_UNAVAILABLE);
    assert_non_null(strstr(it->why.p, "told to stop"));
}

#define WITH_WRITER(test) cmocka_unit_test_setup_teardown(test, writer_fixture_setup, writer_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WRITER(the_last_statement_with_rows_makes_the_answer),
        WITH_WRITER(values_and_who_asks_are_bound),
        WITH_WRITER(what_fails_leaves_no_trace_and_says_why),
        WITH_WRITER(sql_too_large_to_keep_runs_all_the_same),
        WITH_WRITER(more_kinds_of_sql_than_are_kept_all_run),
        WITH_WRITER(a_group_shares_a_commit_and_a_bad_write_fails_alone),
        WITH_WRITER(a_write_that_takes_the_transaction_with_it_does_not_take_the_others),
        WITH_WRITER(a_write_that_runs_too_long_fails_alone),
        WITH_WRITER(a_write_nobody_waits_for_any_longer_is_not_begun),
        WITH_WRITER(who_finds_the_queue_full_is_told_at_once),
        WITH_WRITER(a_batch_is_one_transaction),
        WITH_WRITER(a_batch_with_a_bad_row_names_it_and_writes_nothing),
        WITH_WRITER(a_batch_that_cannot_be_is_refused_at_its_beginning),
        WITH_WRITER(foreign_keys_of_a_batch_may_come_late_but_not_never),
        WITH_WRITER(others_wait_while_a_batch_lasts),
        WITH_WRITER(a_batch_whose_client_vanishes_is_taken_back),
        WITH_WRITER(a_batch_that_falls_silent_is_taken_back),
        WITH_WRITER(a_writer_told_to_stop_takes_the_batch_back_and_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
