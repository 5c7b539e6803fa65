/* Triggers that count what others change: made, kept, dropped and made again; and what the writer writes itself. */
#include "store/watch.h"

#include "writer_fixture.h"

#include "store/migrate.h"
#include "store/statement.h"

static void resource(const struct fixture *files, const char *name, const char *lines, const char *sql)
{
    struct buf path = {0}, text = {0};

    buf_printf(&path, "sql/resources/%s.sql", name);
    buf_printf(&text, "-- name: %s\n-- route: GET /%s\n-- key: %s\n-- ttl: 1m\n%s%s;\n", name, name, name, lines, sql);
    fixture_write(files, path.p, text.p);
    buf_free(&path);
    buf_free(&text);
}

struct watched {
    struct fixture *files;
    char sql_dir[96];
    sqlite3 *db;
};

static int set_up(void **state)
{
    struct watched *it = calloc(1, sizeof *it);

    fixture_setup((void **)&it->files);
    snprintf(it->sql_dir, sizeof it->sql_dir, "%s/sql", it->files->dir);
    mkdir(it->sql_dir, 0700);
    fixture_execute(it->files->database, "CREATE TABLE a (x); CREATE TABLE b (x); CREATE VIEW v AS SELECT x FROM b;");
    assert_int_equal(sqlite3_open(it->files->database, &it->db), SQLITE_OK);
    *state = it;
    return 0;
}

static int tear_down(void **state)
{
    struct watched *it = *state;

    sqlite3_close(it->db);
    fixture_teardown((void **)&it->files);
    free(it);
    return 0;
}

static void install(struct watched *it)
{
    struct buf why = {0};

    if (watch_install(it->db, it->sql_dir, &why) != ERR_OK)
        fail_msg("%s", why.p);
    buf_free(&why);
}

static void run(struct watched *it, const char *sql)
{
    char *why = NULL;

    if (sqlite3_exec(it->db, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why);
}

static void remove_resource(struct watched *it, const char *name)
{
    struct buf path = {0};

    buf_printf(&path, "%s/resources/%s.sql", it->sql_dir, name);
    assert_int_equal(unlink(path.p), 0);
    buf_free(&path);
}

/* What is watched, with its counts: `a=1 b=2`. */
static void expect_counts(const char *database, const char *expected)
{
    static const char sql[] = "SELECT ifnull(group_concat(name || '=' || changes, ' '), '') = '%s' FROM "
                              "(SELECT name, changes FROM larder_changes ORDER BY name)";
    struct buf text = {0};

    buf_printf(&text, sql, expected);
    if (fixture_integer(database, text.p) != 1)
        fail_msg("the counts are not `%s`", expected);
    buf_free(&text);
}

static int64_t count_triggers(const struct watched *it)
{
    return fixture_integer(it->files->database,
                           "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'larder_change_%'");
}

static void tables_that_resources_read_are_watched(void **state)
{
    struct watched *it = *state;

    resource(it->files, "r", "", "SELECT x FROM v");
    install(it);
    assert_int_equal(count_triggers(it), 3);
    expect_counts(it->files->database, "b=1");
    run(it, "INSERT INTO b VALUES (1), (2); UPDATE b SET x = 3 WHERE x = 1; DELETE FROM b; INSERT INTO a VALUES (1)");
    expect_counts(it->files->database, "b=6");
    run(it, "BEGIN; INSERT INTO b VALUES (1); ROLLBACK");
    expect_counts(it->files->database, "b=6");
    run(it, "UPDATE larder_state SET own = 1; INSERT INTO b VALUES (1); UPDATE larder_state SET own = 0");
    expect_counts(it->files->database, "b=6");
    run(it, "DELETE FROM larder_state; INSERT INTO b VALUES (1)");
    expect_counts(it->files->database, "b=7");
}

static void where_nothing_differs_nothing_is_written(void **state)
{
    struct watched *it = *state;

    resource(it->files, "r", "", "SELECT a.x FROM a, b");
    install(it);
    sqlite3_int64 before = fixture_integer(it->files->database, "PRAGMA schema_version");
    int changes = sqlite3_total_changes(it->db);
    install(it);
    assert_int_equal(sqlite3_total_changes(it->db), changes);
    assert_int_equal(fixture_integer(it->files->database, "PRAGMA schema_version"), before);
    expect_counts(it->files->database, "a=1 b=1");
}

static void without_resources_the_database_is_left_alone(void **state)
{
    struct watched *it = *state;

    install(it);
    assert_int_equal(fixture_integer(it->files->database, "SELECT count(*) FROM sqlite_schema"), 3);
}

static void what_nobody_depends_on_any_longer_is_let_go(void **state)
{
    struct watched *it = *state;

    resource(it->files, "ra", "", "SELECT x FROM a");
    resource(it->files, "rb", "", "SELECT x FROM b");
    install(it);
    assert_int_equal(count_triggers(it), 6);
    resource(it->files, "ra", "-- tables: none\n", "SELECT x FROM a");
    install(it);
    assert_int_equal(count_triggers(it), 3);
    expect_counts(it->files->database, "b=1");
    remove_resource(it, "rb");
    install(it);
    assert_int_equal(count_triggers(it), 0);
    expect_counts(it->files->database, "");
}

static void while_a_resource_cannot_be_understood_nothing_is_let_go(void **state)
{
    struct watched *it = *state;

    resource(it->files, "ra", "", "SELECT x FROM a");
    install(it);
    resource(it->files, "ra", "", "SELECT x FROM nowhere");
    resource(it->files, "rb", "", "SELECT x FROM b");
    install(it);
    assert_int_equal(count_triggers(it), 6);
    resource(it->files, "ra", "-- tll: 5m\n", "SELECT 1");
    resource(it->files, "rb", "-- tll: 5m\n", "SELECT 1");
    install(it);
    assert_int_equal(count_triggers(it), 6);
    expect_counts(it->files->database, "a=1 b=1");
}

static void a_table_made_anew_or_renamed_is_watched_again_and_counts_as_changed(void **state)
{
    struct watched *it = *state;

    resource(it->files, "r", "", "SELECT x FROM a");
    install(it);
    run(it, "DROP TABLE a; CREATE TABLE a (x)");
    assert_int_equal(count_triggers(it), 0);
    install(it);
    assert_int_equal(count_triggers(it), 3);
    expect_counts(it->files->database, "a=2");
    run(it, "DROP VIEW v; ALTER TABLE a RENAME TO old; ALTER TABLE b RENAME TO a");
    install(it);
    assert_int_equal(count_triggers(it), 3);
    expect_counts(it->files->database, "a=3");
    run(it, "INSERT INTO a VALUES (1); INSERT INTO old VALUES (1)");
    expect_counts(it->files->database, "a=4");
    run(it, "DROP TRIGGER larder_change_a_update");
    install(it);
    assert_int_equal(count_triggers(it), 3);
    expect_counts(it->files->database, "a=5");
}

static void scores_are_anybodys_and_watched_like_other_tables(void **state)
{
    struct watched *it = *state;
    struct buf why = {0};

    resource(it->files, "r", "", "SELECT score FROM larder_scores");
    install(it);
    expect_counts(it->files->database, "larder_scores=1");
    /* By what a client may do: the triggers touch larder's own tables, which it may not. */
    statement_guard(it->db, STATEMENT_GUARD_WRITING);
    run(it, "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'm', 1)");
    assert_int_not_equal(sqlite3_exec(it->db, "UPDATE larder_changes SET changes = 1", NULL, NULL, NULL), SQLITE_OK);
    assert_int_not_equal(sqlite3_exec(it->db, "UPDATE larder_state SET own = 1", NULL, NULL, NULL), SQLITE_OK);
    statement_guard(it->db, STATEMENT_GUARD_NONE);
    assert_true(fixture_integer(it->files->database, "SELECT changes FROM larder_changes") > 1);
    assert_int_equal(fixture_integer(it->files->database, "SELECT seq = reached FROM larder_score_log, larder_scores"),
                     1);
    buf_free(&why);
}

static void any_name_is_quoted(void **state)
{
    static const char *const names[] = {"it's",   "say \"\"no\"\"", "two words",       "semi;colon", "\xc3\xa4rger",
                                        "select", "100%s",          "larder_changes2", "x_insert"};
    struct watched *it = *state;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct buf sql = {0}, name = {0};
        /* One of them is called like larder's own tables, so it is nobody's business. */
        bool own = strncmp(names[i], "larder_", 7) == 0;
        buf_printf(&sql, "CREATE TABLE \"%s\" (x)", names[i]);
        run(it, sql.p);
        buf_clear(&sql);
        buf_printf(&sql, "SELECT x FROM \"%s\"", names[i]);
        buf_printf(&name, "r%zu", i);
        if (!own)
            resource(it->files, name.p, "", sql.p);
        install(it);
        buf_clear(&sql);
        buf_printf(&sql, "INSERT INTO \"%s\" VALUES (1); UPDATE \"%s\" SET x = 2; DELETE FROM \"%s\"", names[i],
                   names[i], names[i]);
        run(it, sql.p);
        buf_free(&sql);
        buf_free(&name);
    }
    assert_int_equal(fixture_integer(it->files->database, "SELECT count(*) FROM larder_changes WHERE changes = 4"), 8);
}

static void a_migration_may_drop_and_make_a_watched_table_and_counts_as_a_change_of_all(void **state)
{
    struct watched *it = *state;
    struct report *report = report_new();
    const struct migrate migrate = {
        .path = it->files->database, .sql_dir = it->sql_dir, .last = MIGRATE_ALL, .report = report};

    resource(it->files, "r", "", "SELECT a.x FROM a, v");
    run(it, "ALTER TABLE a ADD COLUMN y");
    fixture_write(it->files, "sql/migrations/0001-a.sql", "SELECT 1");
    assert_int_equal(migrate_run(&migrate), ERR_OK);
    expect_counts(it->files->database, "a=1 b=1");
    fixture_write(
        it->files, "sql/migrations/0002-b.sql",
        "CREATE TABLE c AS SELECT * FROM a; DROP TABLE a; ALTER TABLE c RENAME TO a; INSERT INTO a VALUES (1, 2);"
        "DROP VIEW v; CREATE VIEW v AS SELECT x AS z FROM b;");
    assert_int_equal(migrate_run(&migrate), ERR_OK);
    expect_counts(it->files->database, "a=3 b=2");
    assert_int_equal(count_triggers(it), 6);
    report_free(&report);
}

static void a_disk_without_room_is_told_and_nothing_is_half_done(void **state)
{
    struct watched *it = *state;
    struct buf why = {0};

    resource(it->files, "r", "", "SELECT x FROM a");
    run(it, "PRAGMA max_page_count = 5");
    assert_int_equal(watch_install(it->db, it->sql_dir, &why), ERR_FULL);
    assert_true(why.len > 0 && sqlite3_get_autocommit(it->db));
    assert_int_equal(count_triggers(it), 0);
    run(it, "PRAGMA max_page_count = 1000");
    install(it);
    assert_int_equal(count_triggers(it), 3);
    buf_free(&why);
}

/* With a writer. */

static const struct str purges[] = {STR("tag:counters")};

static int set_up_writer(void **state)
{
    writer_fixture_setup_idle(state);
    struct writer_fixture *it = *state;
    resource(it->files, "r", "", "SELECT value FROM counters");
    writer_fixture_start(it);
    fixture_execute(it->files->database, "UPDATE larder_changes SET changes = 0");
    return 0;
}

static void must_write_purging(struct writer_fixture *it, const char *sql)
{
    if (writer_fixture_write_purging(it, sql, purges, 1) != ERR_OK)
        fail_msg("%s: %s", sql, it->why.p);
}

static void expect_not_own(const struct writer_fixture *it)
{
    assert_int_equal(fixture_integer(it->files->database, "SELECT own FROM larder_state"), 0);
}

static void a_write_that_brings_its_purges_is_not_counted_and_one_without_is(void **state)
{
    struct writer_fixture *it = *state;

    must_write_purging(it, "INSERT INTO counters VALUES ('a', 1)");
    expect_counts(it->files->database, "counters=0");
    writer_fixture_must_write(it, "UPDATE counters SET value = 2");
    expect_counts(it->files->database, "counters=1");
    must_write_purging(it, "UPDATE counters SET value = 3");
    expect_counts(it->files->database, "counters=1");
    expect_not_own(it);
    fixture_execute(it->files->database, "UPDATE counters SET value = 4");
    expect_counts(it->files->database, "counters=2");
}

static void a_write_that_is_taken_back_leaves_the_next_one_as_it_should_be(void **state)
{
    struct writer_fixture *it = *state;

    must_write_purging(it, "INSERT INTO counters VALUES ('a', 1)");
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(writer_fixture_write_purging(it, "UPDATE counters SET value = -1", purges, 1), ERR_CONSTRAINT);
        expect_not_own(it);
        writer_fixture_must_write(it, "UPDATE counters SET value = value + 1");
        expect_counts(it->files->database, i == 1 ? "counters=1" : i == 2 ? "counters=2" : "counters=3");
        assert_int_equal(writer_fixture_write(it, "UPDATE counters SET value = -1"), ERR_CONSTRAINT);
        must_write_purging(it, "UPDATE counters SET value = value + 1");
    }
    expect_counts(it->files->database, "counters=3");
}

/* Two clients at once, so that groups mix both kinds. */
static void groups_of_both_kinds_count_the_one_and_not_the_other(void **state)
{
    enum { WRITES = 200 };
    struct writer_fixture *it = *state;

    must_write_purging(it, "INSERT INTO counters VALUES ('a', 0)");
    for (int client = 0; client < 4; client++)
        if (fork() == 0) {
            struct writer_client *own = writer_client_new(&it->config, it->shared);
            struct writer_client_ask ask = {
                .sql = STR("UPDATE counters SET value = value + 1"), .purges = purges, .purges_count = client % 2};
            int failed = 0;
            for (int i = 0; i < WRITES; i++)
                failed += writer_fixture_ask(it, own, &ask) != ERR_OK;
            _exit(failed > 0);
        }
    for (int client = 0; client < 4; client++) {
        int status;
        assert_true(wait(&status) > 0 && status == 0);
    }
    assert_int_equal(fixture_integer(it->files->database, "SELECT value FROM counters"), 4 * WRITES);
    expect_counts(it->files->database, "counters=400");
    expect_not_own(it);
}

static void a_batch_says_at_its_beginning_whether_it_will_purge(void **state)
{
    struct writer_fixture *it = *state;
    uint64_t failed_row;

    for (int will = 0; will <= 1; will++) {
        struct params_values values = {.count = 1};
        values.items[0] = (struct params_value){.name = STR("name"), .text = will ? STR("b") : STR("a")};
        assert_int_equal(
            writer_client_batch_begin(it->client, STR("INSERT INTO counters VALUES (:name, 1)"), will, &it->why),
            ERR_OK);
        assert_int_equal(writer_client_batch_row(it->client, &values, &it->why), ERR_OK);
        assert_int_equal(
            writer_client_batch_commit(it->client, purges, (size_t)will, &failed_row, &it->outbox_id, &it->why),
            ERR_OK);
        expect_counts(it->files->database, "counters=1");
        expect_not_own(it);
    }
}

/* Until SQL gives EXPECTED, by a connection that waits where the writer is about to open or close its own. */
static void await_integer(const struct writer_fixture *it, const char *sql, int64_t expected)
{
    int64_t end_ms = sys_monotonic_ms() + WRITER_PROCESS_PATIENCE_MS, found = -1;
    sqlite3_stmt *statement = NULL;
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(it->files->database, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 1000);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    while (found != expected && sys_monotonic_ms() < end_ms) {
        if (sqlite3_step(statement) == SQLITE_ROW)
            found = sqlite3_column_int64(statement, 0);
        sqlite3_reset(statement);
        usleep(2000);
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
    assert_int_equal(found, expected);
}

static void what_was_purged_is_written_down_and_a_new_schema_is_looked_after(void **state)
{
    struct writer_fixture *it = *state;
    struct params_values values = {.count = 1};
    static const char triggers[] = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'larder_change_counters_%'";

    values.items[0] = (struct params_value){.name = STR("counters"), .type = PARAMS_INTEGER, .integer = 17};
    assert_int_equal(writer_client_changed(it->client, &values), ERR_OK);
    await_integer(it, "SELECT purged FROM larder_changes", 17);
    fixture_execute(it->files->database, "DROP TABLE counters; CREATE TABLE counters (name, value)");
    assert_int_equal(fixture_integer(it->files->database, triggers), 0);
    assert_int_equal(writer_client_changed(it->client, NULL), ERR_OK);
    await_integer(it, triggers, 3);
    /* Behind whatever the writer is still about. */
    must_write_purging(it, "INSERT INTO blobs (bytes) VALUES (1)");
    expect_counts(it->files->database, "counters=1");
    must_write_purging(it, "INSERT INTO counters VALUES ('a', 1)");
    expect_counts(it->files->database, "counters=1");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define WITH_WRITER(name) cmocka_unit_test_setup_teardown(name, set_up_writer, writer_fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(tables_that_resources_read_are_watched),
        CASE(where_nothing_differs_nothing_is_written),
        CASE(without_resources_the_database_is_left_alone),
        CASE(what_nobody_depends_on_any_longer_is_let_go),
        CASE(while_a_resource_cannot_be_understood_nothing_is_let_go),
        CASE(a_table_made_anew_or_renamed_is_watched_again_and_counts_as_changed),
        CASE(scores_are_anybodys_and_watched_like_other_tables),
        CASE(any_name_is_quoted),
        CASE(a_migration_may_drop_and_make_a_watched_table_and_counts_as_a_change_of_all),
        CASE(a_disk_without_room_is_told_and_nothing_is_half_done),
        WITH_WRITER(a_write_that_brings_its_purges_is_not_counted_and_one_without_is),
        WITH_WRITER(a_write_that_is_taken_back_leaves_the_next_one_as_it_should_be),
        WITH_WRITER(groups_of_both_kinds_count_the_one_and_not_the_other),
        WITH_WRITER(a_batch_says_at_its_beginning_whether_it_will_purge),
        WITH_WRITER(what_was_purged_is_written_down_and_a_new_schema_is_looked_after),
    };

    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
