#include "store_fixture.h"

#include "store/store.h"

struct reading {
    struct store *store;
    struct arena *arena;
    struct store_answer answer;
    struct buf why;
};

static struct reading open_reading(const struct fixture *fixture)
{
    return (struct reading){.store = store_open(fixture->database, 200), .arena = arena_new(4096, 1 << 20)};
}

static void close_reading(struct reading *reading)
{
    store_close(&reading->store);
    arena_free(&reading->arena);
    buf_free(&reading->why);
}

static struct resource make_resource(size_t index, enum catalog_shape shape, const char *sql)
{
    return (struct resource){
        .index = index,
        .name = STR("under-test"),
        .file = STR("under-test.sql"),
        .sql_line = 10,
        .sql = str_from(sql),
        .reading = true,
        .shape = shape,
        .timeout_ms = 5000,
    };
}

static enum err read_with(struct reading *reading, const struct resource *resource, const struct params_values *values)
{
    const struct store_caller caller = {.now_ms = 5000};

    arena_reset(reading->arena);
    buf_clear(&reading->why);
    return store_read(reading->store, resource, values, &caller, reading->arena, &reading->answer, &reading->why);
}

static void expect_json(struct reading *reading, const struct resource *resource, const struct params_values *values,
                        const char *json)
{
    enum err err = read_with(reading, resource, values);

    if (err != ERR_OK)
        fail_msg("%s", reading->why.p);
    assert_int_equal(reading->answer.found, json != NULL);
    if (json)
        assert_string_equal(reading->answer.json.p, json);
    else
        assert_int_equal(reading->answer.json.len, 0);
}

static void expect_failure(struct reading *reading, const struct resource *resource, enum err expected, const char *why)
{
    enum err err = read_with(reading, resource, NULL);

    if (err != expected || !strstr(reading->why.p, why))
        fail_msg("%s: %s", err_text(err), reading->why.p ? reading->why.p : "");
}

static void rows_are_answered_as_json(void **state)
{
    const struct fixture *fixture = *state;
    struct reading reading = open_reading(fixture);
    const struct resource object = make_resource(0, CATALOG_OBJECT, "SELECT a, b FROM t WHERE a = :a;\n-- the end\n");
    const struct resource list = make_resource(40, CATALOG_LIST, "SELECT a, 9 AS \":total\" FROM t ORDER BY a");
    const struct resource now = make_resource(3, CATALOG_VALUE, "SELECT :larder_now");
    struct params_values values = {.count = 1, .items = {{.name = STR("a"), .type = PARAMS_INTEGER, .integer = 2}}};

    fixture_execute(fixture->database,
                    "PRAGMA journal_mode = WAL; CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x'), (2, 'y')");
    for (int turn = 0; turn < 3; turn++) {
        values.items[0].integer = 2;
        expect_json(&reading, &object, &values, "{\"a\":2,\"b\":\"y\"}");
        values.items[0].integer = 3;
        expect_json(&reading, &object, &values, NULL);
        expect_json(&reading, &list, NULL, "{\"items\":[{\"a\":1},{\"a\":2}],\"count\":2,\"total\":9}");
        expect_json(&reading, &now, NULL, "5");
    }
    close_reading(&reading);
}

static void a_warm_statement_gives_rows_of_parameters(void **state)
{
    const struct fixture *fixture = *state;
    struct reading reading = open_reading(fixture);
    const struct resource resource = make_resource(0, CATALOG_OBJECT, "SELECT a FROM t WHERE a = :a");
    const struct resource warm = make_resource(1, CATALOG_LIST, "SELECT a, b AS other FROM t ORDER BY a");
    const struct resource none = make_resource(2, CATALOG_LIST, "SELECT a FROM t WHERE a > :larder_now");
    struct resource wrong = make_resource(3, CATALOG_LIST, "SELECT a, c FROM t");
    struct store_row *rows = NULL;
    struct params_values values = {.count = 1, .items = {{.name = STR("a"), .type = PARAMS_INTEGER, .integer = 1}}};

    fixture_execute(fixture->database, "PRAGMA journal_mode = WAL; CREATE TABLE t (a, b);"
                                       "INSERT INTO t VALUES (1, 'x y'), (2, NULL), (3, 0.5)");
    for (int turn = 0; turn < 2; turn++) {
        assert_int_equal(store_rows(reading.store, &warm, 5000, reading.arena, &rows, &reading.why), ERR_OK);
        assert_int_equal(rows->count, 2);
        assert_string_equal(rows->cells[0].name.p, "a");
        assert_string_equal(rows->cells[0].value.p, "1");
        assert_string_equal(rows->cells[1].name.p, "other");
        assert_string_equal(rows->cells[1].value.p, "x y");
        assert_int_equal(rows->next->count, 1);
        assert_string_equal(rows->next->next->cells[1].value.p, "0.5");
        assert_null(rows->next->next->next);
        expect_json(&reading, &resource, &values, "{\"a\":1}");
    }
    assert_int_equal(store_rows(reading.store, &none, 5000, reading.arena, &rows, &reading.why), ERR_OK);
    assert_null(rows);
    wrong.sql_offset = 9;
    assert_int_equal(store_rows(reading.store, &wrong, 5000, reading.arena, &rows, &reading.why), ERR_STATEMENT);
    assert_non_null(strstr(reading.why.p, "under-test.sql:10:20: no such column: c"));
    /* No read transaction is left behind. */
    assert_int_equal(fixture_integer(fixture->database, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
    close_reading(&reading);
}

static void rows_that_a_request_has_no_room_for_are_refused(void **state)
{
    const struct fixture *fixture = *state;
    struct reading reading = open_reading(fixture);
    const struct resource warm =
        make_resource(0, CATALOG_LIST,
                      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT i FROM n");
    struct store_row *rows = NULL;

    fixture_execute(fixture->database, "PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
    assert_int_equal(store_rows(reading.store, &warm, 0, reading.arena, &rows, &reading.why), ERR_LIMIT);
    assert_non_null(strstr(reading.why.p, "add a LIMIT"));
    close_reading(&reading);
}

static void a_plan_says_how_a_statement_would_run(void **state)
{
    const struct fixture *fixture = *state;
    struct reading reading = open_reading(fixture);
    const struct resource by_key =
        make_resource(0, CATALOG_OBJECT, "-- the one\nSELECT b FROM t WHERE a = :a;\n-- end\n");
    const struct resource nested =
        make_resource(1, CATALOG_LIST, "SELECT b FROM t WHERE a IN (SELECT max(a) FROM t GROUP BY b) ORDER BY b");
    const struct resource wrong = make_resource(2, CATALOG_LIST, "SELECT c FROM t");
    struct str plan = {0};

    fixture_execute(fixture->database, "PRAGMA journal_mode = WAL; CREATE TABLE t (a INTEGER PRIMARY KEY, b)");
    assert_int_equal(store_plan(reading.store, &by_key, reading.arena, &plan, &reading.why), ERR_OK);
    assert_string_equal(plan.p, "SEARCH t USING INTEGER PRIMARY KEY (rowid=?)\n");
    assert_int_equal(store_plan(reading.store, &nested, reading.arena, &plan, &reading.why), ERR_OK);
    assert_non_null(strstr(plan.p, "\n  "));
    assert_int_equal(plan.p[plan.len - 1], '\n');
    assert_int_equal(store_plan(reading.store, &wrong, reading.arena, &plan, &reading.why), ERR_STATEMENT);
    assert_non_null(strstr(reading.why.p, "no such column: c"));
    close_reading(&reading);
}

static void what_others_write_is_seen_and_they_are_not_kept_from_it(void **state)
{
    const struct fixture *fixture = *state;
    struct reading reading = open_reading(fixture);
    const struct resource all = make_resource(0, CATALOG_LIST, "SELECT * FROM t");

    fixture_execute(fixture->database, "PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    expect_json(&reading, &all, NULL, "{\"items\":[{\"a\":1}],\"count\":1}");
    fixture_execute(fixture->database, "UPDATE t SET a = 2; ALTER TABLE t ADD COLUMN b DEFAULT 'new'");
    assert_int_equal(fixture_integer(fixture->database, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
    expect_json(&reading, &all, NULL, "{\"items\":[{\"a\":2,\"b\":\"new\"}],\"count\":1}");
    fixture_execute(fixture->database, "DROP TABLE t");
    expect_failure(&reading, &all, ERR_STATEMENT, "no such table: t");
    fixture_execute(fixture->database, "CREATE TABLE t (c); INSERT INTO t VALUES (3)");
    expect_json(&reading, &all, NULL, "{\"items\":[{\"c\":3}],\"count\":1}");
    close_reading(&reading);
}

static void nothing_can_be_written(void **state)
{
    static const char *const cases[] = {
        "DELETE FROM t RETURNING a",
        "INSERT INTO t VALUES (2) RETURNING a",
        "PRAGMA query_only = 0",
        "ATTACH '/tmp/larder-never.db' AS other",
        "BEGIN",
        "CREATE TEMP TABLE u (a)",
        "SELECT load_extension('x')",
    };
    const struct fixture *fixture = *state;
    struct reading reading = open_reading(fixture);

    fixture_execute(fixture->database, "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct resource resource = make_resource(i, CATALOG_LIST, cases[i]);
        expect_failure(&reading, &resource, ERR_STATEMENT, "under-test.sql:10:");
    }
    assert_int_equal(fixture_integer(fixture->database, "SELECT count(*) FROM t"), 1);
    close_reading(&reading);
}

static void virtual_tables_can_be_read(void **state)
{
    const struct fixture *fixture = *state;
    struct reading reading = open_reading(fixture);
    const struct resource words = make_resource(0, CATALOG_LIST, "SELECT name FROM words WHERE words MATCH 'estee'");
    const struct resource places = make_resource(1, CATALOG_VALUE, "SELECT id FROM places WHERE west < 2 AND east > 1");
    const struct resource wrong = make_resource(2, CATALOG_LIST, "DELETE FROM places_node RETURNING nodeno");

    fixture_execute(fixture->database,
                    "CREATE VIRTUAL TABLE words USING fts5(name, tokenize = 'unicode61 remove_diacritics 2');"
                    "INSERT INTO words VALUES ('Est\xc3\xa9"
                    "e Lauder');"
                    "CREATE VIRTUAL TABLE places USING rtree(id, west, east);"
                    "INSERT INTO places VALUES (7, 1, 3)");
    expect_json(&reading, &words, NULL,
                "{\"items\":[{\"name\":\"Est\xc3\xa9"
                "e Lauder\"}],\"count\":1}");
    expect_json(&reading, &places, NULL, "7");
    expect_failure(&reading, &wrong, ERR_STATEMENT, "under-test.sql:10:1");
    close_reading(&reading);
}

static void an_error_is_placed_in_the_file(void **state)
{
    const struct fixture *fixture = *state;
    struct reading reading = open_reading(fixture);
    const struct resource wrong = make_resource(0, CATALOG_LIST, "SELECT a,\n  absent FROM t");
    const struct resource empty = make_resource(1, CATALOG_LIST, "-- no statement");
    const struct resource unknown = make_resource(2, CATALOG_LIST, "SELECT :nobody");

    fixture_execute(fixture->database, "CREATE TABLE t (a)");
    expect_failure(&reading, &wrong, ERR_STATEMENT, "under-test.sql:11:3: no such column: absent");
    expect_failure(&reading, &empty, ERR_STATEMENT, "no statement");
    expect_failure(&reading, &unknown, ERR_STATEMENT, ":nobody");
    close_reading(&reading);
}

static void a_statement_that_runs_too_long_is_stopped_and_the_next_one_runs(void **state)
{
    const struct fixture *fixture = *state;
    struct reading reading = open_reading(fixture);
    struct resource forever = make_resource(
        0, CATALOG_LIST, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n");
    const struct resource brief = make_resource(1, CATALOG_VALUE, "SELECT 1");

    fixture_execute(fixture->database, "CREATE TABLE t (a)");
    forever.timeout_ms = 50;
    for (int turn = 0; turn < 2; turn++) {
        expect_failure(&reading, &forever, ERR_TIMEOUT, "longer than 50 ms");
        expect_json(&reading, &brief, NULL, "1");
    }
    close_reading(&reading);
}

static void an_answer_that_does_not_fit_the_request_is_refused(void **state)
{
    const struct fixture *fixture = *state;
    struct reading reading = open_reading(fixture);
    const struct resource large = make_resource(0, CATALOG_VALUE, "SELECT hex(zeroblob(2000000))");
    const struct resource small = make_resource(1, CATALOG_VALUE, "SELECT 1");

    fixture_execute(fixture->database, "CREATE TABLE t (a)");
    expect_failure(&reading, &large, ERR_LIMIT, "select fewer");
    expect_json(&reading, &small, NULL, "1");
    close_reading(&reading);
}

static void a_locked_database_is_busy(void **state)
{
    const struct fixture *fixture = *state;
    struct reading reading = open_reading(fixture);
    const struct resource all = make_resource(0, CATALOG_LIST, "SELECT a FROM t");
    sqlite3 *owner = NULL;

    fixture_execute(fixture->database, "CREATE TABLE t (a)");
    sqlite3_open(fixture->database, &owner);
    sqlite3_exec(owner, "BEGIN EXCLUSIVE", NULL, NULL, NULL);
    expect_failure(&reading, &all, ERR_BUSY, "locked");
    sqlite3_close(owner);
    expect_json(&reading, &all, NULL, "{\"items\":[],\"count\":0}");
    close_reading(&reading);
}

static void a_database_that_comes_later_is_found(void **state)
{
    const struct fixture *fixture = *state;
    struct reading reading = open_reading(fixture);
    const struct resource all = make_resource(0, CATALOG_LIST, "SELECT a FROM t");

    expect_failure(&reading, &all, ERR_UNAVAILABLE, "there is no such file yet");
    buf_clear(&reading.why);
    assert_int_equal(store_ping(reading.store, &reading.why), ERR_UNAVAILABLE);
    fixture_execute(fixture->database, "CREATE TABLE t (a)");
    expect_json(&reading, &all, NULL, "{\"items\":[],\"count\":0}");
    assert_int_equal(store_ping(reading.store, &reading.why), ERR_OK);
    close_reading(&reading);
}

static void a_database_that_takes_anothers_place_is_read_by_the_next_question(void **state)
{
    const struct fixture *fixture = *state;
    struct reading reading = open_reading(fixture);
    const struct resource all = make_resource(0, CATALOG_LIST, "SELECT a FROM t");
    char other[128];

    snprintf(other, sizeof other, "%s/other.db", fixture->dir);
    fixture_execute(fixture->database, "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    fixture_execute(other, "CREATE TABLE t (a); INSERT INTO t VALUES (2)");
    expect_json(&reading, &all, NULL, "{\"items\":[{\"a\":1}],\"count\":1}");
    assert_int_equal(rename(other, fixture->database), 0);
    expect_json(&reading, &all, NULL, "{\"items\":[{\"a\":2}],\"count\":1}");
    assert_int_equal(unlink(fixture->database), 0);
    assert_int_equal(read_with(&reading, &all, NULL), ERR_UNAVAILABLE);
    close_reading(&reading);
}

static void overwrite(const char *path, off_t length, const char *junk, off_t offset)
{
    int fd = open(path, O_RDWR);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, length), 0);
    assert_int_equal(pwrite(fd, junk, strlen(junk), offset), strlen(junk));
    close(fd);
}

static void a_damaged_database_is_an_error_and_a_mended_one_is_read_again(void **state)
{
    const struct fixture *fixture = *state;
    struct reading reading = open_reading(fixture);
    const struct resource all = make_resource(0, CATALOG_VALUE, "SELECT count(b) FROM t WHERE b > ''");
    char copy[128], mend[300];

    snprintf(copy, sizeof copy, "%s/copy.db", fixture->dir);
    snprintf(mend, sizeof mend, "cp %s %s", copy, fixture->database);
    fixture_execute(copy,
                    "CREATE TABLE t (a, b); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500) "
                    "INSERT INTO t SELECT i, printf('%0500d', i) FROM n");
    for (int turn = 0; turn < 2; turn++) {
        assert_int_equal(system(mend), 0);
        expect_json(&reading, &all, NULL, "500");
        overwrite(fixture->database, 9000, "junk", 4096);
        fixture_execute(":memory:", "SELECT 1");
        close_reading(&reading);
        reading = open_reading(fixture);
        expect_failure(&reading, &all, ERR_CORRUPT, "malformed");
        overwrite(fixture->database, 9000, "This is no longer a database at all.", 0);
        close_reading(&reading);
        reading = open_reading(fixture);
        expect_failure(&reading, &all, ERR_CORRUPT, "not a database");
        assert_int_equal(store_ping(reading.store, &reading.why), ERR_CORRUPT);
    }
    assert_int_equal(system(mend), 0);
    expect_json(&reading, &all, NULL, "500");
    close_reading(&reading);
}

static void a_database_cut_short_while_it_is_open_does_not_end_the_process(void **state)
{
    const struct fixture *fixture = *state;
    struct reading reading = open_reading(fixture);
    const struct resource some = make_resource(0, CATALOG_VALUE, "SELECT count(b) FROM t WHERE a < 3");
    const struct resource all = make_resource(1, CATALOG_VALUE, "SELECT count(b) FROM t WHERE b > ''");

    fixture_execute(
        fixture->database,
        "CREATE TABLE t (a PRIMARY KEY, b); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500) "
        "INSERT INTO t SELECT i, printf('%0500d', i) FROM n");
    expect_json(&reading, &some, NULL, "2");
    assert_int_equal(truncate(fixture->database, 8192), 0);
    enum err err = read_with(&reading, &all, NULL);
    assert_true(err == ERR_CORRUPT || err == ERR_IO);
    close_reading(&reading);
}

static void a_wal_database_without_its_index_is_explained_where_it_cannot_be_made(void **state)
{
    const struct fixture *fixture = *state;
    struct reading reading = open_reading(fixture);
    const struct resource all = make_resource(0, CATALOG_LIST, "SELECT a FROM t");
    bool is_root = geteuid() == 0;

    fixture_execute(fixture->database, "PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
    chmod(fixture->database, 0444);
    chmod(fixture->dir, 0555);
    if (is_root)
        assert_int_equal(seteuid(65534), 0);
    enum err err = read_with(&reading, &all, NULL);
    if (is_root)
        assert_int_equal(seteuid(0), 0);
    chmod(fixture->dir, 0755);
    assert_int_equal(err, ERR_UNAVAILABLE);
    assert_non_null(strstr(reading.why.p, "WAL mode"));
    expect_json(&reading, &all, NULL, "{\"items\":[],\"count\":0}");
    close_reading(&reading);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(rows_are_answered_as_json),
        CASE(a_warm_statement_gives_rows_of_parameters),
        CASE(rows_that_a_request_has_no_room_for_are_refused),
        CASE(a_plan_says_how_a_statement_would_run),
        CASE(what_others_write_is_seen_and_they_are_not_kept_from_it),
        CASE(nothing_can_be_written),
        CASE(virtual_tables_can_be_read),
        CASE(an_error_is_placed_in_the_file),
        CASE(a_statement_that_runs_too_long_is_stopped_and_the_next_one_runs),
        CASE(an_answer_that_does_not_fit_the_request_is_refused),
        CASE(a_locked_database_is_busy),
        CASE(a_database_that_comes_later_is_found),
        CASE(a_database_that_takes_anothers_place_is_read_by_the_next_question),
        CASE(a_damaged_database_is_an_error_and_a_mended_one_is_read_again),
        CASE(a_database_cut_short_while_it_is_open_does_not_end_the_process),
        CASE(a_wal_database_without_its_index_is_explained_where_it_cannot_be_made),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
