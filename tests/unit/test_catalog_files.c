/* A directory of resources: read in order, and held against each other. */
#include "catalog_fixture.h"

/* A directory with resources/ and the files of one test. */
struct directory {
    char path[64];
    struct report *report;
    struct catalog *catalog;
    char *all;
};

static void start(struct directory *it)
{
    char path[128];

    *it = (struct directory){.path = "/tmp/test_catalog.XXXXXX"};
    assert_non_null(mkdtemp(it->path));
    snprintf(path, sizeof path, "%s/resources", it->path);
    assert_int_equal(mkdir(path, 0700), 0);
    it->report = report_new();
}

static void put(struct directory *it, const char *name, const char *text)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof path, "%s/resources/%s", it->path, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static enum err load(struct directory *it)
{
    enum err err = catalog_load(it->path, it->report, &it->catalog);

    it->all = catalog_fixture_report(it->report);
    return err;
}

static void end(struct directory *it)
{
    char command[128];

    catalog_free(&it->catalog);
    report_free(&it->report);
    free(it->all);
    snprintf(command, sizeof command, "rm -r %s", it->path);
    assert_int_equal(system(command), 0);
}

static void all_sql_files_are_loaded_in_order_of_their_names(void **state)
{
    struct directory it;

    (void)state;
    start(&it);
    put(&it, "b.sql", "-- name: b\n-- route: GET /b\n-- ttl: 1m\n-- key: b\n-- stale_if_error: 1h\nSELECT 1");
    put(&it, "a.sql", CATALOG_FIXTURE_STOCK);
    put(&it, "notes.txt", "not a resource");
    put(&it, ".hidden.sql", "nor is this");
    assert_int_equal(load(&it), ERR_OK);
    assert_int_equal(it.catalog->count, 2);
    catalog_fixture_expect(it.catalog->resources[0].name, "stock");
    catalog_fixture_expect(it.catalog->resources[1].name, "b");
    assert_int_equal(it.catalog->resources[1].index, 1);
    assert_non_null(strstr(it.catalog->resources[1].file.p, "/resources/b.sql"));
    assert_int_equal(catalog_longest_life_ms(it.catalog), 65 * 60 * 1000);
    end(&it);
}

static void what_contradicts_another_file_is_reported_with_both(void **state)
{
    struct directory it;

    (void)state;
    start(&it);
    put(&it, "a.sql", CATALOG_FIXTURE_STOCK);
    put(&it, "b.sql", "-- name: stock\n-- route: GET /b\nSELECT 1");
    put(&it, "c.sql", "-- name: c\n-- route: GET /api/stocks/{symbol}/\n-- param: symbol text\nSELECT 1");
    put(&it, "d.sql", "-- name: d\n-- route: GET /d/{x}\n-- param: x text\n-- ttl: 1m\n-- key: stocks:{x}:x\nSELECT 1");
    put(&it, "e.sql", "-- name: e\n-- route: DELETE /api/stocks/{t}\n-- param: t text\nDELETE FROM stocks");
    put(&it, "f.sql", "-- name: f\n-- route: GET /f\n-- ttl: 1m\n-- key: stocks:list\nSELECT 1");
    put(&it, "g.sql", "-- nam: g\nSELECT 1");
    assert_int_equal(load(&it), ERR_USAGE);
    assert_int_equal(it.catalog->count, 6);
    assert_non_null(strstr(it.all, "/resources/b.sql:1:10: the name `stock` is taken by "));
    assert_non_null(strstr(it.all, "/resources/c.sql:2:11: the route GET /api/stocks/{symbol}/ is taken by "));
    assert_non_null(strstr(
        it.all, "/resources/d.sql:5:9: the key `stocks:{x}:x` could equal the key `stocks:detail:{ticker}` of "));
    assert_non_null(strstr(it.all, "/resources/g.sql:1:4: `nam:` is unknown; did you mean `name:`?"));
    assert_null(strstr(it.all, "e.sql"));
    assert_null(strstr(it.all, "f.sql"));
    end(&it);
}

static void keys_that_differ_in_a_word_do_not_meet(void **state)
{
    struct directory it;

    (void)state;
    start(&it);
    put(&it, "a.sql", "-- name: a\n-- route: GET /a\n-- param: x text\n-- ttl: 1m\n-- key: a-{x}:z\nSELECT 1");
    put(&it, "b.sql", "-- name: b\n-- route: GET /b\n-- param: x text\n-- ttl: 1m\n-- key: b-{x}:z\nSELECT 1");
    put(&it, "c.sql", "-- name: c\n-- route: GET /c\n-- param: x text\n-- ttl: 1m\n-- key: a-{x}-c:z\nSELECT 1");
    put(&it, "d.sql", "-- name: d\n-- route: GET /d\n-- param: x text\n-- ttl: 1m\n-- key: b{x}-d:z\nSELECT 1");
    put(&it, "e.sql", "-- name: e\n-- route: GET /e\n-- ttl: 1m\n-- key: a:z\nSELECT 1");
    assert_int_equal(load(&it), ERR_USAGE);
    /* a-1-c is of a and c, b-1-d of b and d; no other two meet. */
    assert_int_equal(report_count(it.report), 2);
    assert_non_null(strstr(it.all, "c.sql:5:9: the key `a-{x}-c:z` could equal the key `a-{x}:z`"));
    assert_non_null(strstr(it.all, "d.sql:5:9: the key `b{x}-d:z` could equal the key `b-{x}:z`"));
    end(&it);
}

static void a_missing_directory_is_reported(void **state)
{
    struct report *report = report_new();
    struct catalog *catalog = NULL;

    (void)state;
    assert_int_equal(catalog_load("/nonexistent", report, &catalog), ERR_USAGE);
    assert_int_equal(catalog->count, 0);
    assert_int_equal(report_count(report), 1);
    assert_non_null(strstr(report_line(report, 0), "/nonexistent/resources: cannot be read"));
    report_free(&report);
    catalog_free(&catalog);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_sql_files_are_loaded_in_order_of_their_names),
        cmocka_unit_test(what_contradicts_another_file_is_reported_with_both),
        cmocka_unit_test(keys_that_differ_in_a_word_do_not_meet),
        cmocka_unit_test(a_missing_directory_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
