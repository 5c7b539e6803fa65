/* Which tables a resource depends on: those that SQLite names, and those that its line names. */
#include "store/tables.h"

#include "store_fixture.h"

static const char schema[] = "CREATE TABLE stocks (ticker TEXT PRIMARY KEY, price REAL);"
                             "CREATE TABLE scores (member TEXT, score REAL);"
                             "CREATE TABLE larder_scores (member TEXT, score REAL);"
                             "CREATE TABLE larder_outbox (id INTEGER PRIMARY KEY);"
                             "CREATE TABLE \"odd \"\"name's\" (a);"
                             "CREATE TABLE Mixed (a INTEGER PRIMARY KEY AUTOINCREMENT);"
                             "CREATE TABLE docs (id INTEGER PRIMARY KEY, text TEXT);"
                             "CREATE VIEW dear AS SELECT * FROM stocks WHERE price > 100;"
                             "CREATE VIEW dearest AS SELECT dear.ticker, (SELECT count(*) FROM scores) AS n FROM dear;"
                             "CREATE VIRTUAL TABLE found USING fts5 (text, content = 'docs', content_rowid = 'id');"
                             "CREATE VIRTUAL TABLE places USING rtree (id, x0, x1);";

static int set_up(void **state)
{
    sqlite3 *db;
    char *why = NULL;

    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    if (sqlite3_exec(db, schema, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s", why);
    *state = db;
    return 0;
}

static int tear_down(void **state)
{
    sqlite3_close(*state);
    return 0;
}

/* The tables of a resource with this LINE (`-- tables: ...`, or nothing) and SQL: `name` or `name/kind`, in order. */
static void expect(sqlite3 *db, const char *line, const char *sql, const char *expected)
{
    static const char *const kinds[] = {"", "/virtual", "/view", "/missing"};
    struct buf text = {0}, found = {0}, why = {0};
    struct report *report = report_new();
    struct tables tables = {0};
    struct resource it;

    buf_printf(&text, "-- name: r\n-- route: GET /r\n-- key: r\n-- ttl: 1m\n%s%s", line, sql);
    if (catalog_parse(buf_str(&text), "r.sql", report, &it) != ERR_OK)
        fail_msg("%s", report_line(report, 0));
    if (tables_find(db, &it, &tables, &why) != ERR_OK)
        fail_msg("%s: %s", sql, why.p);
    for (size_t i = 0; i < tables.count; i++)
        buf_printf(&found, "%s%s%s", i > 0 ? " " : "", tables.items[i].name, kinds[tables.items[i].kind]);
    if (!str_equal(buf_str(&found), str_from(expected)))
        fail_msg("%s%s: `%s` and not `%s`", line, sql, found.p ? found.p : "", expected);
    tables_free(&tables);
    catalog_resource_fini(&it);
    report_free(&report);
    buf_free(&text);
    buf_free(&found);
    buf_free(&why);
}

static void every_table_that_a_statement_reads_is_found(void **state)
{
    static const struct {
        const char *sql, *expected;
    } rows[] = {
        {"SELECT 1", ""},
        {"SELECT price FROM stocks", "stocks"},
        {"SELECT count(*) FROM stocks", "stocks"},
        {"SELECT 1 FROM Stocks AS scores", "stocks"},
        {"SELECT ticker FROM stocks JOIN scores ON member = ticker", "scores stocks"},
        {"SELECT ticker FROM stocks, scores", "scores stocks"},
        {"SELECT (SELECT max(score) FROM scores)", "scores"},
        {"SELECT 1 WHERE EXISTS (SELECT 1 FROM scores)", "scores"},
        {"SELECT 1 WHERE 'a' IN (SELECT member FROM scores)", "scores"},
        {"SELECT ticker FROM stocks WHERE ticker IN (SELECT member FROM scores)", "scores stocks"},
        {"WITH scores AS (SELECT ticker FROM stocks) SELECT * FROM scores", "stocks"},
        {"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n, scores WHERE i < 5) SELECT i FROM n",
         "scores"},
        {"SELECT ticker FROM stocks UNION SELECT member FROM scores", "scores stocks"},
        {"SELECT ticker FROM stocks WHERE 0", "stocks"},
        {"SELECT a.price FROM stocks AS a JOIN stocks AS b", "stocks"},
        {"SELECT rowid FROM mixed", "Mixed"},
        {"SELECT 1 WHERE 1 IN mixed", "Mixed"},
        {"SELECT value FROM json_each('[1]')", ""},
        {"SELECT j.value FROM stocks, json_each('[1]') AS j", "stocks"},
        {"SELECT a FROM \"odd \"\"name's\"", "odd \"name's"},
        {"SELECT * FROM dear", "stocks"},
        {"SELECT * FROM dearest", "scores stocks"},
        /* A column that nobody asks for is not computed. */
        {"SELECT ticker FROM dearest", "stocks"},
        {"SELECT name FROM sqlite_schema", ""},
        {"SELECT seq FROM sqlite_sequence", ""},
        {"SELECT score FROM larder_scores", "larder_scores"},
        {"SELECT text FROM found WHERE found MATCH 'x'", "found/virtual"},
        {"SELECT docs.text FROM found JOIN docs ON docs.id = found.rowid", "docs found/virtual"},
        {"SELECT id FROM places WHERE x0 > 1", "places/virtual"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect(*state, "", rows[i].sql, rows[i].expected);
}

static void what_a_line_names_takes_the_place_of_that(void **state)
{
    expect(*state, "-- tables: scores Docs\n", "SELECT price FROM stocks", "docs scores");
    expect(*state, "-- tables: none\n", "SELECT price FROM stocks", "");
    expect(*state, "-- tables: dear found nowhere docs larder_outbox larder_scores sqlite_schema\n", "SELECT 1",
           "dear/view docs found/virtual larder_outbox/missing larder_scores nowhere/missing sqlite_schema/missing");
}

static void a_statement_that_does_not_prepare_is_an_error_and_adds_nothing(void **state)
{
    struct resource it = {.reading = true};
    struct tables tables = {0};
    struct buf why = {0};

    it.sql = STR("SELECT * FROM stocks, nowhere");
    assert_int_equal(tables_find(*state, &it, &tables, &why), ERR_STATEMENT);
    assert_non_null(strstr(why.p, "no such table: nowhere"));
    it.sql = STR("SELECT * FROM larder_outbox");
    assert_int_not_equal(tables_find(*state, &it, &tables, &why), ERR_OK);
    assert_int_equal(tables.count, 0);
    /* No authorizer is left behind. */
    assert_int_equal(sqlite3_exec(*state, "DELETE FROM larder_outbox", NULL, NULL, NULL), SQLITE_OK);
    buf_free(&why);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(every_table_that_a_statement_reads_is_found),
        CASE(what_a_line_names_takes_the_place_of_that),
        CASE(a_statement_that_does_not_prepare_is_an_error_and_adds_nothing),
    };

    return cmocka_run_group_tests_name("tables", tests, NULL, NULL);
}
