#include "store_fixture.h"

#include <pthread.h>
#include <time.h>

#include "store/check.h"

static const char front_reading[] = "-- name: r\n-- route: GET /r\n-- param: a text\n-- key: r:{a}\n-- ttl: 1m\n";
static const char front_value[] =
    "-- name: r\n-- route: GET /r\n-- param: a text\n-- key: r:{a}\n-- ttl: 1m\n-- shape: value\n";
static const char front_writing[] = "-- name: r\n-- route: PUT /r/{a}\n-- param: a text\n-- param: b integer ?\n\n";

/* Checks the resources and imports of the fixture's directory. */
static void expect_report(const struct fixture *fixture, const char *const *lines, size_t count)
{
    struct report *report = report_new();
    struct catalog *catalog = NULL;
    struct buf depends = {0}, answers = {0};

    if (catalog_load(fixture->dir, report, &catalog) != ERR_OK)
        fail_msg("%s", report_line(report, 0));
    enum err err = check_statements(fixture->database, fixture->dir, catalog, report, &depends, &answers);
    fixture_expect_report(report, lines, count);
    bool unreadable = count > 0 && strstr(lines[0], "the schema cannot be read");
    assert_int_equal(err, unreadable ? ERR_UNAVAILABLE : count > 0 ? ERR_USAGE : ERR_OK);
    catalog_free(&catalog);
    buf_free(&depends);
    buf_free(&answers);
    report_free(&report);
}

/* Checks one resource of this FRONT matter and SQL: all right where LINE is NULL. */
static void expect_line(const struct fixture *fixture, const char *front, const char *sql, const char *line)
{
    struct buf text = {0};

    buf_printf(&text, "%s%s", front, sql);
    fixture_write(fixture, "resources/r.sql", text.p);
    expect_report(fixture, &line, line != NULL);
    buf_free(&text);
}

static int setup(void **state)
{
    fixture_setup(state);
    fixture_write(*state, "migrations/0001-t.sql", "CREATE TABLE t (a, b)");
    fixture_write(*state, "resources/.keep", "");
    return 0;
}

static void a_reading_file_is_one_statement_that_reads(void **state)
{
    static const struct {
        const char *sql, *line;
    } cases[] = {
        {"SELECT a, b FROM t WHERE a = :a", NULL},
        {"SELECT a FROM t WHERE a = :a AND b < :larder_now;\n-- done\n", NULL},
        {"\n\nSELECT a,\n  c FROM t WHERE a = :a", "r.sql:9:3: no such column: c"},
        {"SELECT a FROM nowhere WHERE a = :a", "r.sql:6:1: no such table: nowhere; tables are made by the files in migrations/"},
        {"SELECT a FROM t WHERE a = :a;\nSELECT b FROM t", "r.sql:7:1: a GET resource is one statement"},
        {"SELECT a FROM t\n WHERE a = :a AND b = :abc", "r.sql:7:23: :abc is neither declared"},
        {"SELECT a FROM t WHERE a = :a AND b = ?", "the parameter ? has no name"},
        {"SELECT a FROM t WHERE a = $a", "r.sql:6:27: the parameter $a has no name"},
        {"DELETE FROM t WHERE a = :a RETURNING a", "what reads is a SELECT, and what changes rows has a route of its own"},
        {"PRAGMA table_info(t)", "r.sql:6:1: not authorized"},
        {"SELECT a, b AS a FROM t WHERE a = :a", "r.sql:6:1: two columns are called \"a\""},
        {"SELECT a, b AS \"a:json\" FROM t WHERE a = :a", "two columns are called \"a\""},
        {"SELECT 1 AS \":total\" FROM t WHERE a = :a", "no column but :total"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_line(*state, front_reading, cases[i].sql, cases[i].line);
}

static void a_value_is_one_column(void **state)
{
    expect_line(*state, front_value, "SELECT a FROM t WHERE a = :a", NULL);
    expect_line(*state, front_value, "SELECT a, b FROM t WHERE a = :a",
                "r.sql:7:1: a statement of shape value gives exactly one");
}

static void a_writing_file_writes_and_leaves_transactions_alone(void **state)
{
    static const struct {
        const char *sql, *line;
    } cases[] = {
        {"INSERT INTO t VALUES (:a, :b) RETURNING *", NULL},
        {"DELETE FROM t WHERE a = :a;\nINSERT INTO t VALUES (:a, :larder_key_id);\nSELECT a FROM t WHERE a = :a;",
         NULL},
        {"SELECT a FROM t WHERE a = :a", "r.sql:6:1: none of the statements writes"},
        {"DELETE FROM t WHERE a = :a;\nCOMMIT;", "r.sql:7:1: not authorized"},
        {"DROP TABLE t", "r.sql:6:1: not authorized"},
        {"DELETE FROM t WHERE a = :c", "r.sql:6:25: :c is neither declared"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_line(*state, front_writing, cases[i].sql, cases[i].line);
}

static void the_schema_is_that_of_the_file_after_its_pending_migrations(void **state)
{
    const struct fixture *fixture = *state;

    fixture_execute(
        fixture->database,
        "CREATE TABLE t (a, b); CREATE TABLE kept (x); CREATE VIEW v AS SELECT x FROM kept; CREATE INDEX i ON kept (x);"
        "CREATE TRIGGER g AFTER INSERT ON kept BEGIN DELETE FROM t; END; CREATE TABLE n (i INTEGER PRIMARY KEY "
        "AUTOINCREMENT);"
        "CREATE VIRTUAL TABLE words USING fts5(w); ANALYZE; PRAGMA user_version = 1");
    fixture_write(fixture, "migrations/0002-u.sql", "ALTER TABLE kept ADD COLUMN y; CREATE TABLE u AS SELECT * FROM v");
    expect_line(fixture, front_reading,
                "SELECT x, y FROM kept JOIN u USING (x) JOIN words ON w = y WHERE words MATCH :a", NULL);
    assert_int_equal(fixture_integer(fixture->database, "PRAGMA user_version"), 1);
    assert_int_equal(fixture_integer(fixture->database, "SELECT count(*) FROM sqlite_schema WHERE name = 'u'"), 0);
}

static void a_database_that_is_not_there_is_not_made(void **state)
{
    const struct fixture *fixture = *state;

    expect_line(fixture, front_reading, "SELECT a FROM t WHERE a = :a", NULL);
    assert_int_equal(access(fixture->database, F_OK), -1);
}

static void what_is_wrong_before_the_statements_is_reported_alone(void **state)
{
    const struct fixture *fixture = *state;

    fixture_write(fixture, "migrations/0002-u.sql", "CREATE TABLE t (a)");
    expect_line(fixture, front_reading, "SELECT a FROM u WHERE a = :a", "0002-u.sql:1:14: table t already exists");
    fixture_write(fixture, "migrations/0002-u.sql", "CREATE TABLE u (a)");
    fixture_execute(fixture->database, "PRAGMA user_version = 9");
    expect_line(fixture, front_reading, "SELECT a FROM u WHERE a = :a", "data.db: the database has version 9");
    unlink(fixture->database);
    fixture_write(fixture, "data.db",
                  "This is a letter to my aunt, and it is long enough to be taken for a header.\n"
                  "It goes on for a while, so that there can be no doubt about it whatsoever.");
    expect_line(fixture, front_reading, "SELECT a FROM u WHERE a = :a",
                "data.db: the schema cannot be read: file is not a database");
}

static void imports_are_checked_with_their_own_parameter_names(void **state)
{
    static const char *const lines[] = {
        "import/broken.sql:3:1: no such table: nowhere",
        "import/idle.sql:1:1: none of the statements writes",
    };
    const struct fixture *fixture = *state;

    fixture_write(fixture, "import/broken.sql", "-- purge: tag:t\n\nDELETE FROM nowhere WHERE a = :a");
    fixture_write(fixture, "import/good.sql", "INSERT INTO t VALUES (:any_name, :52_week_low)");
    fixture_write(fixture, "import/idle.sql", "SELECT a FROM t WHERE a = :x");
    expect_report(fixture, lines, 2);
}

static void a_warm_line_gives_the_parameters_of_its_resource(void **state)
{
    static const struct {
        const char *sql, *line;
    } cases[] = {
        {"SELECT a FROM t", NULL},
        {"SELECT b AS q, a FROM t ORDER BY b DESC LIMIT 10;", NULL},
        {"WITH x AS (SELECT 'k' AS a) SELECT a, NULL AS q FROM x WHERE :larder_now > 0", NULL},
        {"SELECT a, b FROM t", "r.sql:7:10: the column b is no parameter of this resource"},
        {"SELECT b AS q FROM t", "r.sql:7:10: the parameter a is required, and no column gives it"},
        {"SELECT a, a FROM t", "r.sql:7:10: two columns are called a"},
        {"SELECT a FROM nowhere", "r.sql:7:10: no such table: nowhere"},
        {"SELECT a, c AS q FROM t", "r.sql:7:20: no such column: c"},
        {"SELECT a FROM t WHERE b = :q", "r.sql:7:36: a warm line gives parameters and is given none"},
        {"SELECT a FROM t WHERE b = ?", "r.sql:7:10: a warm line gives parameters"},
        {"DELETE FROM t RETURNING a", "r.sql:7:10: not authorized"},
        {"SELECT a FROM t; SELECT a FROM t", "r.sql:7:27: a warm line is one statement"},
        {";", "r.sql:7:10: there is no statement in the warm line"},
    };
    struct buf front = {0};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf_clear(&front);
        buf_printf(&front,
                   "-- name: r\n-- route: GET /r/{a}\n-- param: a text\n-- param: q text = none\n-- key: r:{a}:{q}\n"
                   "-- ttl: 1m\n-- warm: %s\n",
                   cases[i].sql);
        expect_line(*state, front.p, "SELECT a FROM t WHERE a = :a AND b = :q", cases[i].line);
    }
    buf_free(&front);
}

static void everything_wrong_is_reported_in_order_of_files(void **state)
{
    static const char *const lines[] = {
        "resources/a.sql:6:12: :x is neither",
        "resources/a.sql:6:16: :y is neither",
        "resources/b.sql:5:1: no such table: nowhere",
    };
    const struct fixture *fixture = *state;

    fixture_write(fixture, "resources/a.sql",
                  "-- name: a\n-- route: GET /a\n-- param: z text\n-- key: a:{z}\n-- ttl: 1m\nSELECT :z, :x, :y, 1");
    fixture_write(fixture, "resources/b.sql",
                  "-- name: b\n-- route: GET /b\n-- key: b\n-- ttl: 1m\nSELECT 1 FROM nowhere");
    expect_report(fixture, lines, sizeof lines / sizeof *lines);
}

static void what_a_tables_line_names_is_a_table_that_can_be_watched(void **state)
{
    static const char *const lines[] = {
        "resources/a.sql:5:14: tables: `gone` is no table of the database",
        "resources/a.sql:5:19: tables: `v` is a view; name the tables that it reads",
        "resources/a.sql:5:21: tables: `words` is a virtual table",
        "resources/a.sql:5:27: tables: `larder_outbox` is no table of the database",
    };
    const struct fixture *fixture = *state;

    fixture_write(fixture, "migrations/0001-t.sql",
                  "CREATE TABLE t (a, b); CREATE TABLE u (a); CREATE VIEW v AS SELECT a FROM u;"
                  "CREATE VIRTUAL TABLE words USING fts5 (text)");
    fixture_write(fixture, "resources/a.sql",
                  "-- name: a\n-- route: GET /a\n-- key: a\n-- ttl: 1m\n-- tables: t gone v words larder_outbox\n"
                  "SELECT 1");
    expect_report(fixture, lines, sizeof lines / sizeof *lines);
}

static void it_is_told_what_each_resource_depends_on(void **state)
{
    static const struct {
        const char *lines, *sql;
    } resources[] = {
        {"-- key: r0\n-- ttl: 1m\n", "SELECT t.a FROM t, v"},
        {"-- key: r1\n-- ttl: 1m\n", "SELECT text FROM words, t"},
        {"-- key: r2\n-- ttl: 1m\n-- tables: U\n", "SELECT 1"},
        {"-- key: r3\n-- ttl: 1m\n-- tables: none\n", "SELECT a FROM t"},
        {"", "SELECT a FROM t"},
        {"-- key: r5\n-- ttl: 1m\n", "SELECT 1"},
    };
    const struct fixture *fixture = *state;
    struct report *report = report_new();
    struct catalog *catalog = NULL;
    struct buf depends = {0}, answers = {0};

    fixture_write(fixture, "migrations/0001-t.sql",
                  "CREATE TABLE t (a, b); CREATE TABLE u (a); CREATE VIEW v AS SELECT a FROM u;"
                  "CREATE VIRTUAL TABLE words USING fts5 (text)");
    for (size_t i = 0; i < sizeof resources / sizeof *resources; i++) {
        struct buf path = {0}, text = {0};
        buf_printf(&path, "resources/r%zu.sql", i);
        buf_printf(&text, "-- name: r%zu\n-- route: GET /r%zu\n%s%s", i, i, resources[i].lines, resources[i].sql);
        fixture_write(fixture, path.p, text.p);
        buf_free(&path);
        buf_free(&text);
    }
    assert_int_equal(catalog_load(fixture->dir, report, &catalog), ERR_OK);
    assert_int_equal(check_statements(fixture->database, fixture->dir, catalog, report, &depends, &answers), ERR_OK);
    assert_string_equal(depends.p, "r0: t, u\n"
                                   "r1: t, words (a virtual table: changes by other programs are not noticed)\n"
                                   "r2: u\n"
                                   "r3: none, as its tables: line says\n"
                                   "r4: t (not cached)\n"
                                   "r5: no table\n");
    catalog_free(&catalog);
    report_free(&report);
    buf_free(&depends);
    buf_free(&answers);
}

static void *unlock_soon(void *db)
{
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    return sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK ? NULL : db;
}

static void a_database_that_is_locked_for_a_moment_is_waited_for(void **state)
{
    const struct fixture *fixture = *state;
    static const char *const lines[] = {"r.sql:6:8: no such column: c"};
    sqlite3 *db;
    pthread_t thread;

    assert_int_equal(sqlite3_open(fixture->database, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db, "CREATE TABLE t (a, b); PRAGMA user_version = 1; BEGIN EXCLUSIVE", NULL, NULL, NULL),
        SQLITE_OK);
    fixture_write(
        fixture, "resources/r.sql",
        "-- name: r\n-- route: GET /r\n-- param: a text\n-- key: r:{a}\n-- ttl: 1m\nSELECT c FROM t WHERE a = :a");
    assert_int_equal(pthread_create(&thread, NULL, unlock_soon, db), 0);
    expect_report(fixture, lines, 1);
    void *failed;
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
    sqlite3_close(db);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_reading_file_is_one_statement_that_reads),
        CASE(a_value_is_one_column),
        CASE(a_writing_file_writes_and_leaves_transactions_alone),
        CASE(the_schema_is_that_of_the_file_after_its_pending_migrations),
        CASE(a_database_that_is_not_there_is_not_made),
        CASE(what_is_wrong_before_the_statements_is_reported_alone),
        CASE(imports_are_checked_with_their_own_parameter_names),
        CASE(a_warm_line_gives_the_parameters_of_its_resource),
        CASE(everything_wrong_is_reported_in_order_of_files),
        CASE(what_a_tables_line_names_is_a_table_that_can_be_watched),
        CASE(a_database_that_is_locked_for_a_moment_is_waited_for),
        CASE(it_is_told_what_each_resource_depends_on),
    };

    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
