#include "store_fixture.h"

#include "store/migrate.h"

static void keep_name(void *context, const char *file)
{
    buf_printf(context, "%s ", file);
}

/* Up to LAST. NAMES: of the files that were run. */
static enum err migrate(const struct fixture *fixture, unsigned last, struct report *report, struct buf *names)
{
    return migrate_run(&(struct migrate){.path = fixture->database,
                                         .sql_dir = fixture->dir,
                                         .last = last,
                                         .report = report,
                                         .progress = keep_name,
                                         .context = names});
}

/* Migrates and expects ERR with these lines in the report. */
static void expect_failure(const struct fixture *fixture, enum err expected, const char *const *lines, size_t count)
{
    struct report *report = report_new();
    struct buf names = {0};
    enum err err = migrate(fixture, MIGRATE_ALL, report, &names);

    fixture_expect_report(report, lines, count);
    assert_int_equal(err, expected);
    report_free(&report);
    buf_free(&names);
}

/* Migrates up to LAST and expects that these files are run, each with a space behind it. */
static void expect_run(const struct fixture *fixture, unsigned last, const char *files)
{
    struct report *report = report_new();
    struct buf names = {0};
    enum err err = migrate(fixture, last, report, &names);

    fixture_expect_report(report, NULL, 0);
    assert_int_equal(err, ERR_OK);
    assert_string_equal(names.p ? names.p : "", files);
    report_free(&report);
    buf_free(&names);
}

static void files_are_applied_once_and_in_order(void **state)
{
    const struct fixture *fixture = *state;

    fixture_write(fixture, "migrations/0002-b.sql", "INSERT INTO t VALUES (2);\nCREATE INDEX i ON t (a);");
    fixture_write(fixture, "migrations/0001-a.sql", "-- first\nCREATE TABLE t (a);");
    expect_run(fixture, MIGRATE_ALL, "0001-a.sql 0002-b.sql ");
    assert_int_equal(fixture_integer(fixture->database, "PRAGMA user_version"), 2);
    expect_run(fixture, MIGRATE_ALL, "");
    fixture_write(fixture, "migrations/0003-c.sql", "INSERT INTO t SELECT a + 1 FROM t");
    expect_run(fixture, MIGRATE_ALL, "0003-c.sql ");
    assert_int_equal(fixture_integer(fixture->database, "SELECT sum(a) FROM t"), 5);
}

static void no_file_is_run_beyond_the_last_that_is_wanted(void **state)
{
    const struct fixture *fixture = *state;

    fixture_write(fixture, "migrations/0001-a.sql", "CREATE TABLE t (a)");
    assert_int_equal(migrate_last(fixture->dir), 1);
    fixture_write(fixture, "migrations/0002-b.sql", "INSERT INTO t VALUES (1)");
    assert_int_equal(migrate_last(fixture->dir), 2);
    expect_run(fixture, 1, "0001-a.sql ");
    assert_int_equal(fixture_integer(fixture->database, "PRAGMA user_version"), 1);
    expect_run(fixture, 2, "0002-b.sql ");
    /* What another has brought further is left as it is. */
    expect_run(fixture, 1, "");
    assert_int_equal(fixture_integer(fixture->database, "PRAGMA user_version"), 2);
}

static void a_database_that_is_made_here_is_in_wal_mode(void **state)
{
    const struct fixture *fixture = *state;

    fixture_write(fixture, "migrations/0001-a.sql", "CREATE TABLE t (a)");
    expect_run(fixture, MIGRATE_ALL, "0001-a.sql ");
    assert_int_equal(fixture_integer(fixture->database, "SELECT journal_mode = 'wal' FROM pragma_journal_mode"), 1);
}

static void a_failing_file_is_placed_and_leaves_the_database_as_it_was(void **state)
{
    static const struct {
        const char *sql, *line;
    } cases[] = {
        {"CREATE TABLE u (x);\n\n  SELEC 1;", "0002-b.sql:3:3: near \"SELEC\""},
        {"CREATE TABLE u (x);\nINSERT INTO u (y) VALUES (1)", "0002-b.sql:2:1: table u has no column named y"},
        {"CREATE TABLE u (x);\n-- twice\nINSERT INTO t VALUES (1)", "0002-b.sql:3:1: UNIQUE constraint failed"},
        {"CREATE TABLE u (x);\nCOMMIT;\nSELEC", "0002-b.sql:2:1: not authorized"},
        {"CREATE TABLE u (x); ATTACH ':memory:' AS m", "0002-b.sql:1:21: not authorized"},
    };
    const struct fixture *fixture = *state;

    fixture_write(fixture, "migrations/0001-a.sql", "CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1)");
    expect_run(fixture, MIGRATE_ALL, "0001-a.sql ");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture_write(fixture, "migrations/0002-b.sql", cases[i].sql);
        expect_failure(fixture, ERR_USAGE, &cases[i].line, 1);
        assert_int_equal(fixture_integer(fixture->database, "PRAGMA user_version"), 1);
        assert_int_equal(fixture_integer(fixture->database, "SELECT count(*) FROM sqlite_schema WHERE name = 'u'"), 0);
    }
}

static void a_file_that_leads_nowhere_is_reported(void **state)
{
    static const char *const lines[] = {"0002-b.sql: cannot be read: not found"};
    const struct fixture *fixture = *state;
    char path[256];

    fixture_write(fixture, "migrations/0001-a.sql", "CREATE TABLE t (a)");
    snprintf(path, sizeof path, "%s/migrations/0002-b.sql", fixture->dir);
    assert_int_equal(symlink("nowhere", path), 0);
    expect_failure(fixture, ERR_NOT_FOUND, lines, 1);
    assert_int_equal(fixture_integer(fixture->database, "PRAGMA user_version"), 0);
}

static void a_failing_file_takes_back_those_before_it(void **state)
{
    static const char *const lines[] = {"0003-c.sql:1:1: UNIQUE constraint failed"};
    const struct fixture *fixture = *state;

    fixture_write(fixture, "migrations/0001-a.sql", "CREATE TABLE t (a); INSERT INTO t VALUES (1), (1)");
    expect_run(fixture, MIGRATE_ALL, "0001-a.sql ");
    fixture_write(fixture, "migrations/0002-b.sql", "ALTER TABLE t RENAME TO u");
    fixture_write(fixture, "migrations/0003-c.sql", "CREATE UNIQUE INDEX i ON u (a)");
    expect_failure(fixture, ERR_USAGE, lines, 1);
    assert_int_equal(fixture_integer(fixture->database, "PRAGMA user_version"), 1);
    assert_int_equal(fixture_integer(fixture->database, "SELECT count(*) FROM t"), 2);
    fixture_execute(fixture->database, "DELETE FROM t WHERE rowid = 2");
    expect_run(fixture, MIGRATE_ALL, "0002-b.sql 0003-c.sql ");
}

static void wrong_names_and_gaps_are_all_reported_and_nothing_runs(void **state)
{
    static const char *const lines[] = {
        "0001-b.sql: there are two migrations with the number 0001",
        "0003-c.sql: the number 0002 is missing before this one",
        "0004_d.sql: a migration is named NNNN-name.sql",
        "5-e.sql: a migration is named NNNN-name.sql",
    };
    const struct fixture *fixture = *state;

    fixture_write(fixture, "migrations/0001-a.sql", "CREATE TABLE t (a)");
    fixture_write(fixture, "migrations/0001-b.sql", "");
    fixture_write(fixture, "migrations/0003-c.sql", "");
    fixture_write(fixture, "migrations/0004_d.sql", "");
    fixture_write(fixture, "migrations/5-e.sql", "");
    fixture_write(fixture, "migrations/README", "not a migration");
    fixture_write(fixture, "migrations/.0002-x.sql", "an editor's leftover");
    expect_failure(fixture, ERR_USAGE, lines, sizeof lines / sizeof *lines);
    assert_int_equal(fixture_integer(fixture->database, "SELECT count(*) FROM sqlite_schema"), 0);
}

static void a_database_that_is_newer_is_refused_untouched(void **state)
{
    static const char *const lines[] = {"the database has version 7, but "};
    const struct fixture *fixture = *state;

    fixture_write(fixture, "migrations/0001-a.sql", "CREATE TABLE t (a)");
    fixture_execute(fixture->database, "PRAGMA user_version = 7");
    expect_failure(fixture, ERR_VERSION, lines, 1);
    assert_int_equal(fixture_integer(fixture->database, "PRAGMA user_version"), 7);
}

static void without_migrations_the_database_is_left_alone(void **state)
{
    const struct fixture *fixture = *state;

    fixture_execute(fixture->database, "CREATE TABLE mine (a); PRAGMA user_version = 7");
    expect_run(fixture, MIGRATE_ALL, "");
    fixture_write(fixture, "migrations/README", "none yet");
    expect_run(fixture, MIGRATE_ALL, "");
    assert_int_equal(fixture_integer(fixture->database, "PRAGMA user_version"), 7);
}

static void a_file_that_is_no_database_is_reported(void **state)
{
    static const char *const lines[] = {"data.db: file is not a database"};
    const struct fixture *fixture = *state;

    fixture_write(fixture, "migrations/0001-a.sql", "CREATE TABLE t (a)");
    fixture_write(fixture, "data.db",
                  "This is a letter to my aunt, and it is long enough to be taken for a header.\n"
                  "It goes on for a while, so that there can be no doubt about it whatsoever.");
    expect_failure(fixture, ERR_CORRUPT, lines, 1);
}

static void a_directory_that_is_missing_is_reported(void **state)
{
    struct fixture away = *(const struct fixture *)*state;
    static const char *const lines[] = {
        "data.db: cannot be opened: unable to open database file (No such file or directory)"};

    strcat(away.dir, "/away");
    snprintf(away.database, sizeof away.database, "%.70s/data.db", away.dir);
    expect_failure(&away, ERR_UNAVAILABLE, lines, 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(files_are_applied_once_and_in_order),
        CASE(no_file_is_run_beyond_the_last_that_is_wanted),
        CASE(a_database_that_is_made_here_is_in_wal_mode),
        CASE(a_failing_file_is_placed_and_leaves_the_database_as_it_was),
        CASE(a_file_that_leads_nowhere_is_reported),
        CASE(a_failing_file_takes_back_those_before_it),
        CASE(wrong_names_and_gaps_are_all_reported_and_nothing_runs),
        CASE(a_database_that_is_newer_is_refused_untouched),
        CASE(without_migrations_the_database_is_left_alone),
        CASE(a_file_that_is_no_database_is_reported),
        CASE(a_directory_that_is_missing_is_reported),
    };

    return cmocka_run_group_tests_name("migrate", tests, NULL, NULL);
}
