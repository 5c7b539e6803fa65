#include "store_fixture.h"

#include "store/rows_schema.h"

static const char schema[] =
    "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price REAL, picture BLOB, done INTEGER NOT "
    "NULL) STRICT;"
    "CREATE TABLE d (day DATE, at TIMESTAMP, any);"
    "CREATE TABLE u (key VARCHAR(10), t_id INTEGER NOT NULL, PRIMARY KEY (key, t_id));"
    "CREATE VIEW named AS SELECT (SELECT name FROM t WHERE id = u.t_id) AS name FROM u;";

#define TEXT "{\"type\":\"string\"}"
#define TEXT_OR_NULL "{\"type\":[\"string\",\"null\"]}"

static sqlite3 *open_memory(void)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, schema, NULL, NULL, NULL), SQLITE_OK);
    return db;
}

static void expect_schema(sqlite3 *db, const char *sql, enum catalog_shape shape, const char *expected)
{
    sqlite3_stmt *statement = NULL;
    struct buf out = {0};

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    rows_schema_add(db, statement, shape, &out);
    if (strcmp(out.p, expected) != 0)
        fail_msg("%s\nis %s\nand not %s", sql, out.p, expected);
    sqlite3_finalize(statement);
    buf_free(&out);
}

static void a_column_has_the_type_that_it_was_declared_with(void **state)
{
    static const struct {
        const char *sql, *schema;
    } cases[] = {
        {"SELECT name FROM t", TEXT},
        {"SELECT price FROM t", "{\"type\":[\"number\",\"null\"],\"format\":\"double\"}"},
        {"SELECT picture FROM t", "{\"type\":[\"string\",\"null\"],\"contentEncoding\":\"base64\"}"},
        {"SELECT key FROM u", TEXT_OR_NULL},
        {"SELECT done AS \"done:bool\" FROM t", "{\"type\":\"boolean\"}"},
        {"SELECT 1 AS \"done:bool\"", "{\"type\":[\"boolean\",\"null\"]}"},
        {"SELECT name AS \"name:json\" FROM t", "{}"},
        {"SELECT count(*) FROM t", "{}"},
        {"SELECT day FROM d", "{}"},
        {"SELECT at FROM d", "{}"},
        {"SELECT any FROM d", "{}"},
        {"SELECT 5 AS \":total\", name FROM t", TEXT},
    };
    sqlite3 *db = open_memory();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_schema(db, cases[i].sql, CATALOG_VALUE, cases[i].schema);
    sqlite3_close(db);
}

static void null_is_excluded_only_where_it_cannot_come(void **state)
{
    static const struct {
        const char *sql, *schema;
    } cases[] = {
        {"SELECT t.name FROM t JOIN u ON u.t_id = t.id", TEXT},
        {"SELECT name FROM t GROUP BY name", TEXT},
        {"SELECT id FROM t", "{\"type\":\"integer\",\"format\":\"int64\"}"},
        {"SELECT t.name FROM u LEFT JOIN t ON u.t_id = t.id", TEXT_OR_NULL},
        {"SELECT (SELECT name FROM t WHERE id = 7) AS name", TEXT_OR_NULL},
        {"SELECT name, max(price) AS \":total\" FROM t", TEXT_OR_NULL},
        {"SELECT name FROM named", TEXT_OR_NULL},
        {"SELECT name FROM t UNION ALL SELECT NULL", TEXT_OR_NULL},
        {"INSERT INTO t (name, done) VALUES ('a', 1) RETURNING name", TEXT},
        {"UPDATE t SET done = 1 RETURNING price", "{\"type\":[\"number\",\"null\"],\"format\":\"double\"}"},
    };
    sqlite3 *db = open_memory();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_schema(db, cases[i].sql, CATALOG_VALUE, cases[i].schema);
    sqlite3_close(db);
}

static void the_shape_is_what_is_written(void **state)
{
    sqlite3 *db = open_memory();

    (void)state;
    expect_schema(db, "SELECT name, count(*) OVER () AS \":total\", price AS \"p\"\"q\" FROM t", CATALOG_OBJECT,
                  "{\"type\":\"object\",\"required\":[\"name\",\"p\\\"q\"],\"properties\":{\"name\":" TEXT_OR_NULL
                  ",\"p\\\"q\":{\"type\":[\"number\",\"null\"],\"format\":\"double\"}}}");
    expect_schema(
        db, "SELECT name FROM t", CATALOG_LIST,
        "{\"type\":\"object\",\"required\":[\"items\",\"count\"],\"properties\":{\"items\":{\"type\":\"array\","
        "\"items\":{\"type\":\"object\",\"required\":[\"name\"],\"properties\":{\"name\":" TEXT "}}},"
        "\"count\":{\"type\":\"integer\",\"format\":\"int64\",\"minimum\":0,\"description\":\"How many items "
        "these are.\"}}}");
    sqlite3_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_column_has_the_type_that_it_was_declared_with),
        cmocka_unit_test(null_is_excluded_only_where_it_cannot_come),
        cmocka_unit_test(the_shape_is_what_is_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
