/* What others have changed, as the housekeeper reads it: whom it concerns, and who knows of it. */
#include "store/changes.h"

#include "store_fixture.h"

#include "base/sys.h"
#include "store/schema.h"

struct reading {
    struct fixture *files;
    struct catalog *catalog;
    struct outbox *outbox;
    struct changes *changes;
    struct arena *arena;
    struct changes_found found;
};

static void resource(const struct fixture *files, const char *name, const char *lines, const char *sql)
{
    struct buf path = {0}, text = {0};

    buf_printf(&path, "resources/%s.sql", name);
    buf_printf(&text, "-- name: %s\n-- route: GET /%s\n-- key: %s\n%s%s;\n", name, name, name, lines, sql);
    fixture_write(files, path.p, text.p);
    buf_free(&path);
    buf_free(&text);
}

static int set_up(void **state)
{
    struct reading *it = calloc(1, sizeof *it);
    struct report *report = report_new();
    struct buf why = {0};
    sqlite3 *db;

    fixture_setup((void **)&it->files);
    resource(it->files, "one", "-- ttl: 1m\n", "SELECT x FROM a");
    resource(it->files, "two", "-- ttl: 1m\n", "SELECT a.x FROM a, b");
    resource(it->files, "three", "-- ttl: 1m\n-- tables: b\n", "SELECT x FROM a");
    resource(it->files, "deaf", "-- ttl: 1m\n-- tables: none\n", "SELECT x FROM a");
    resource(it->files, "uncached", "", "SELECT x FROM a");
    assert_int_equal(catalog_load(it->files->dir, report, &it->catalog), ERR_OK);
    report_free(&report);
    assert_int_equal(sqlite3_open(it->files->database, &db), SQLITE_OK);
    assert_int_equal(schema_make(db, &why), ERR_OK);
    sqlite3_close(db);
    fixture_execute(it->files->database, "PRAGMA journal_mode = WAL; CREATE TABLE a (x); CREATE TABLE b (x);"
                                         "INSERT INTO larder_changes VALUES ('a', 3, 3), ('b', 5, 5), ('c', 1, 0)");
    it->outbox = outbox_open(it->files->database);
    it->changes = changes_new(it->catalog);
    it->arena = arena_new(4096, 1 << 20);
    *state = it;
    return 0;
}

static int tear_down(void **state)
{
    struct reading *it = *state;

    changes_free(&it->changes);
    outbox_close(&it->outbox);
    catalog_free(&it->catalog);
    arena_free(&it->arena);
    fixture_teardown((void **)&it->files);
    free(it);
    return 0;
}

/* Reads for WHOM, and expects these resources (names with blanks between) and tables (`a=4`). */
static void expect(struct reading *it, enum changes_whom whom, const char *resources, const char *tables)
{
    struct buf names = {0}, counts = {0}, why = {0};

    arena_reset(it->arena);
    if (changes_read(it->changes, it->outbox, whom, it->arena, &it->found, &why) != ERR_OK)
        fail_msg("%s", why.p);
    for (size_t i = 0; i < it->found.items_count; i++) {
        assert_true(str_starts(it->found.items[i], STR("tag:resource:")));
        buf_printf(&names, "%s%s", i > 0 ? " " : "", it->found.items[i].p + strlen("tag:resource:"));
    }
    for (size_t i = 0; i < it->found.tables_count; i++)
        for (size_t k = 0; k < it->found.tables[i].count; k++)
            buf_printf(&counts, "%s%.*s=%lld", counts.len > 0 ? " " : "", STR_ARG(it->found.tables[i].items[k].name),
                       (long long)it->found.tables[i].items[k].integer);
    if (!str_equal(buf_str(&names), str_from(resources)) || !str_equal(buf_str(&counts), str_from(tables)))
        fail_msg("`%s` `%s` and not `%s` `%s`", names.p ? names.p : "", counts.p ? counts.p : "", resources, tables);
    buf_free(&names);
    buf_free(&counts);
    buf_free(&why);
}

static void only_those_who_depend_on_what_changed_are_named(void **state)
{
    struct reading *it = *state;

    expect(it, CHANGES_L2, "", "");
    fixture_execute(it->files->database, "UPDATE larder_changes SET changes = 4 WHERE name = 'a'");
    expect(it, CHANGES_L2, "one two", "a=4");
    expect(it, CHANGES_L2, "one two", "a=4");
    changes_note(it->changes, true);
    expect(it, CHANGES_L2, "", "");
    fixture_execute(it->files->database, "UPDATE larder_changes SET changes = 6 WHERE name = 'b'");
    expect(it, CHANGES_L2, "three two", "b=6");
    changes_note(it->changes, true);
    /* Whichever way it has gone. */
    fixture_execute(it->files->database, "UPDATE larder_changes SET changes = 2 WHERE name = 'a'");
    expect(it, CHANGES_L2, "one two", "a=2");
}

static void what_nobody_had_dealt_with_is_there_at_the_beginning(void **state)
{
    struct reading *it = *state;

    fixture_execute(it->files->database, "UPDATE larder_changes SET changes = 9 WHERE name = 'a'");
    expect(it, CHANGES_HERE, "one two", "a=9");
    expect(it, CHANGES_L2, "one two", "a=9");
}

static void what_this_host_knows_l2_need_not_know(void **state)
{
    struct reading *it = *state;

    expect(it, CHANGES_L2, "", "");
    fixture_execute(it->files->database, "UPDATE larder_changes SET changes = 4 WHERE name = 'a'");
    expect(it, CHANGES_HERE, "one two", "a=4");
    changes_note(it->changes, false);
    expect(it, CHANGES_HERE, "", "");
    fixture_execute(it->files->database, "UPDATE larder_changes SET changes = 6 WHERE name = 'b'");
    expect(it, CHANGES_HERE, "three two", "b=6");
    changes_note(it->changes, false);
    expect(it, CHANGES_L2, "one three two", "a=4 b=6");
    changes_note(it->changes, true);
    expect(it, CHANGES_L2, "", "");
}

static void another_schema_counts_as_a_change_of_everything(void **state)
{
    struct reading *it = *state;

    expect(it, CHANGES_L2, "", "");
    assert_false(it->found.new_schema);
    fixture_execute(it->files->database, "DROP TABLE b; CREATE VIEW b AS SELECT x FROM a");
    expect(it, CHANGES_HERE, "one three two", "");
    assert_true(it->found.new_schema);
    changes_note(it->changes, false);
    expect(it, CHANGES_HERE, "", "");
    expect(it, CHANGES_L2, "one three two", "");
    changes_note(it->changes, true);
    expect(it, CHANGES_L2, "", "");
    assert_false(it->found.new_schema);
}

static void another_file_counts_as_a_change_of_everything_though_its_counts_are_the_same(void **state)
{
    struct reading *it = *state;
    char copy[128];
    struct buf bytes = {0};

    /* Byte by byte: a copy that SQLite makes has another schema's number. */
    snprintf(copy, sizeof copy, "%s-copy", it->files->database);
    assert_int_equal(sys_read_file(it->files->database, 1 << 20, &bytes), ERR_OK);
    FILE *file = fopen(copy, "w");
    assert_int_equal(fwrite(bytes.p, 1, bytes.len, file), bytes.len);
    assert_int_equal(fclose(file), 0);
    buf_free(&bytes);
    expect(it, CHANGES_L2, "", "");
    fixture_execute(it->files->database, "INSERT INTO a VALUES (1)");
    expect(it, CHANGES_L2, "", "");
    assert_int_equal(rename(copy, it->files->database), 0);
    /* Noticed by whatever looks first. */
    assert_true(outbox_changed(it->outbox));
    expect(it, CHANGES_HERE, "one three two", "");
    assert_true(it->found.new_schema);
    changes_note(it->changes, false);
    expect(it, CHANGES_HERE, "", "");
    expect(it, CHANGES_L2, "one three two", "");
    changes_note(it->changes, true);
    expect(it, CHANGES_L2, "", "");
}

static void a_statement_that_cannot_be_prepared_depends_on_everything(void **state)
{
    struct reading *it = *state;

    fixture_execute(it->files->database, "DROP TABLE b; UPDATE larder_changes SET changes = 7 WHERE name = 'b'");
    /* Also on a table that nobody else here depends on. */
    expect(it, CHANGES_L2, "two", "b=7 c=1");
}

static void a_table_that_is_not_counted_is_told(void **state)
{
    struct reading *it = *state;

    expect(it, CHANGES_L2, "", "");
    assert_false(it->found.unwatched);
    changes_free(&it->changes);
    it->changes = changes_new(it->catalog);
    fixture_execute(it->files->database, "DELETE FROM larder_changes WHERE name = 'b'");
    expect(it, CHANGES_L2, "", "");
    assert_true(it->found.unwatched);
}

static void without_a_database_or_its_table_there_is_nothing(void **state)
{
    struct reading *it = *state;

    fixture_execute(it->files->database, "DROP TABLE larder_changes");
    expect(it, CHANGES_L2, "", "");
    outbox_close(&it->outbox);
    it->outbox = outbox_open("/nonexistent/database");
    expect(it, CHANGES_L2, "", "");
}

static void a_database_that_cannot_be_read_is_told(void **state)
{
    struct reading *it = *state;
    struct buf why = {0};

    fixture_write(it->files, "other.db",
                  "This is a letter to my aunt, and it is long enough to be taken for a header.\n"
                  "It goes on for a while, so that there can be no doubt about it.");
    snprintf(it->files->database, sizeof it->files->database, "%s/other.db", it->files->dir);
    outbox_close(&it->outbox);
    it->outbox = outbox_open(it->files->database);
    assert_int_equal(changes_read(it->changes, it->outbox, CHANGES_L2, it->arena, &it->found, &why), ERR_UNAVAILABLE);
    assert_true(why.len > 0);
    buf_free(&why);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(only_those_who_depend_on_what_changed_are_named),
        CASE(what_nobody_had_dealt_with_is_there_at_the_beginning),
        CASE(what_this_host_knows_l2_need_not_know),
        CASE(another_schema_counts_as_a_change_of_everything),
        CASE(another_file_counts_as_a_change_of_everything_though_its_counts_are_the_same),
        CASE(a_statement_that_cannot_be_prepared_depends_on_everything),
        CASE(a_table_that_is_not_counted_is_told),
        CASE(without_a_database_or_its_table_there_is_nothing),
        CASE(a_database_that_cannot_be_read_is_told),
    };

    return cmocka_run_group_tests_name("changes", tests, NULL, NULL);
}
