#include "store_fixture.h"

#include "store/rows.h"

static sqlite3 *open_memory(void)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    return db;
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    return statement;
}

static const char *text_at(sqlite3_stmt *statement, int column)
{
    return (const char *)sqlite3_column_text(statement, column);
}

static void expect_json(sqlite3 *db, const char *sql, enum catalog_shape shape, const char *expected)
{
    sqlite3_stmt *statement = prepare(db, sql);
    struct buf json = {0}, why = {0};
    bool found = false;

    buf_add_str(&json, STR("before "));
    assert_int_equal(rows_collect(db, statement, shape, 1 << 20, &json, &found, &why), ERR_OK);
    if (expected) {
        assert_true(found);
        assert_string_equal(json.p + 7, expected);
    } else {
        assert_false(found);
        assert_string_equal(json.p, "before ");
    }
    sqlite3_finalize(statement);
    buf_free(&json);
    buf_free(&why);
}

static void every_result_code_has_its_error(void **state)
{
    static const struct {
        int code;
        enum err err;
    } cases[] = {
        {SQLITE_OK, ERR_OK},
        {SQLITE_ROW, ERR_OK},
        {SQLITE_DONE, ERR_OK},
        {SQLITE_BUSY, ERR_BUSY},
        {SQLITE_BUSY_SNAPSHOT, ERR_BUSY},
        {SQLITE_LOCKED, ERR_BUSY},
        {SQLITE_PROTOCOL, ERR_BUSY},
        {SQLITE_READONLY, ERR_READ_ONLY},
        {SQLITE_READONLY_DBMOVED, ERR_READ_ONLY},
        {SQLITE_READONLY_CANTINIT, ERR_UNAVAILABLE},
        {SQLITE_FULL, ERR_FULL},
        {SQLITE_CORRUPT, ERR_CORRUPT},
        {SQLITE_CORRUPT_INDEX, ERR_CORRUPT},
        {SQLITE_NOTADB, ERR_CORRUPT},
        {SQLITE_CANTOPEN, ERR_UNAVAILABLE},
        {SQLITE_INTERRUPT, ERR_TIMEOUT},
        {SQLITE_IOERR_READ, ERR_IO},
        {SQLITE_CONSTRAINT_UNIQUE, ERR_CONSTRAINT},
        {SQLITE_CONSTRAINT_DATATYPE, ERR_CONSTRAINT},
        {SQLITE_MISMATCH, ERR_CONSTRAINT},
        {SQLITE_TOOBIG, ERR_LIMIT},
        {SQLITE_NOMEM, ERR_LIMIT},
        {SQLITE_ERROR, ERR_STATEMENT},
        {SQLITE_AUTH, ERR_STATEMENT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(rows_err(cases[i].code), cases[i].err);
}

static void a_value_keeps_its_type(void **state)
{
    static const struct {
        const char *sql, *json;
    } cases[] = {
        {"SELECT 1 AS a", "{\"a\":1}"},
        {"SELECT -9223372036854775807 - 1 AS a", "{\"a\":-9223372036854775808}"},
        {"SELECT 0.1 AS a", "{\"a\":0.1}"},
        {"SELECT 9e999 AS a", "{\"a\":null}"},
        {"SELECT NULL AS a", "{\"a\":null}"},
        {"SELECT '' AS a", "{\"a\":\"\"}"},
        {"SELECT 'q\"\\' || char(10) AS \"na\"\"me\"", "{\"na\\\"me\":\"q\\\"\\\\\\n\"}"},
        {"SELECT CAST(x'41ff42' AS TEXT) AS a", "{\"a\":\"A\xef\xbf\xbd"
                                                "B\"}"},
        {"SELECT x'00ff10' AS a", "{\"a\":\"AP8Q\"}"},
        {"SELECT x'' AS a", "{\"a\":\"\"}"},
        {"SELECT 1 AS a, 'x' AS b", "{\"a\":1,\"b\":\"x\"}"},
    };
    sqlite3 *db = open_memory();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_json(db, cases[i].sql, CATALOG_OBJECT, cases[i].json);
    sqlite3_close(db);
}

static void a_suffix_of_the_alias_chooses_how_a_value_is_written(void **state)
{
    static const struct {
        const char *sql, *json;
    } cases[] = {
        {"SELECT '[1, {\"x\":null}]' AS \"a:json\"", "{\"a\":[1, {\"x\":null}]}"},
        {"SELECT '[1,' AS \"a:json\"", "{\"a\":null}"},
        {"SELECT '' AS \"a:json\"", "{\"a\":null}"},
        {"SELECT '1} , {' AS \"a:json\"", "{\"a\":null}"},
        {"SELECT NULL AS \"a:json\"", "{\"a\":null}"},
        {"SELECT 5 AS \"a:json\"", "{\"a\":5}"},
        {"SELECT json_object('k', 1) AS \"a:json\"", "{\"a\":{\"k\":1}}"},
        {"SELECT 1 AS \"a:bool\", 0 AS \"b:bool\", NULL AS \"c:bool\", 0.5 AS \"d:bool\"",
         "{\"a\":true,\"b\":false,\"c\":null,\"d\":true}"},
        {"SELECT 1 AS \":json\"", "{\":json\":1}"},
        {"SELECT 1 AS a, 7 AS \":total\"", "{\"a\":1}"},
        {"SELECT 7 AS \":total\"", "{}"},
    };
    sqlite3 *db = open_memory();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_json(db, cases[i].sql, CATALOG_OBJECT, cases[i].json);
    sqlite3_close(db);
}

static void a_shape_says_what_the_rows_become(void **state)
{
    static const struct {
        const char *sql;
        enum catalog_shape shape;
        const char *json;
    } cases[] = {
        {"VALUES (1), (2)", CATALOG_OBJECT, "{\"column1\":1}"},
        {"SELECT 1 AS a WHERE 0", CATALOG_OBJECT, NULL},
        {"VALUES (1), (2)", CATALOG_LIST, "{\"items\":[{\"column1\":1},{\"column1\":2}],\"count\":2}"},
        {"SELECT 1 AS a WHERE 0", CATALOG_LIST, "{\"items\":[],\"count\":0}"},
        {"SELECT 1 AS a, 90 AS \":total\"", CATALOG_LIST, "{\"items\":[{\"a\":1}],\"count\":1,\"total\":90}"},
        {"SELECT 1 AS a, 90 AS \":total\" WHERE 0", CATALOG_LIST, "{\"items\":[],\"count\":0}"},
        {"SELECT 'x' AS a", CATALOG_VALUE, "\"x\""},
        {"SELECT 90 AS \":total\", '{}' AS \"a:json\"", CATALOG_VALUE, "{}"},
        {"SELECT 1 AS a WHERE 0", CATALOG_VALUE, NULL},
    };
    sqlite3 *db = open_memory();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_json(db, cases[i].sql, cases[i].shape, cases[i].json);
    sqlite3_close(db);
}

static void a_writing_statement_runs_to_its_end(void **state)
{
    sqlite3 *db = open_memory();

    (void)state;
    sqlite3_exec(db, "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2), (3)", NULL, NULL, NULL);
    expect_json(db, "UPDATE t SET a = a + 10 RETURNING a", CATALOG_OBJECT, "{\"a\":11}");
    expect_json(db, "SELECT sum(a) FROM t", CATALOG_VALUE, "36");
    expect_json(db, "DELETE FROM t", CATALOG_OBJECT, NULL);
    sqlite3_close(db);
}

static void an_answer_over_the_limit_is_refused(void **state)
{
    static const struct {
        const char *sql;
        enum catalog_shape shape;
        size_t limit;
    } cases[] = {
        {"SELECT 'abcdef' AS a", CATALOG_OBJECT, 13},
        {"SELECT zeroblob(1000000) AS a", CATALOG_OBJECT, 1000},
        {"SELECT 1 AS a UNION ALL SELECT 2", CATALOG_LIST, 36},
        {"SELECT 1 AS a WHERE 0", CATALOG_LIST, 10},
        {"SELECT 1 AS a", CATALOG_LIST, 1},
    };
    sqlite3 *db = open_memory();

    (void)state;
    expect_json(db, "SELECT 'abcdef' AS a", CATALOG_OBJECT, "{\"a\":\"abcdef\"}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sqlite3_stmt *statement = prepare(db, cases[i].sql);
        struct buf json = {0}, why = {0};
        bool found;
        buf_add_char(&json, 'x');
        assert_int_equal(rows_collect(db, statement, cases[i].shape, cases[i].limit, &json, &found, &why), ERR_LIMIT);
        assert_string_equal(json.p, "x");
        assert_non_null(strstr(why.p, "larger than"));
        sqlite3_finalize(statement);
        buf_free(&json);
        buf_free(&why);
    }
    sqlite3_close(db);
}

static void a_statement_that_fails_half_way_leaves_no_json(void **state)
{
    sqlite3 *db = open_memory();
    sqlite3_stmt *statement =
        prepare(db, "SELECT abs(a) AS a FROM (SELECT 1 AS a UNION ALL SELECT -9223372036854775807 - 1)");
    struct buf json = {0}, why = {0};
    bool found;

    (void)state;
    assert_int_equal(rows_collect(db, statement, CATALOG_LIST, 1000, &json, &found, &why), ERR_STATEMENT);
    assert_int_equal(json.len, 0);
    assert_non_null(strstr(why.p, "integer overflow"));
    sqlite3_finalize(statement);
    buf_free(&json);
    buf_free(&why);
    sqlite3_close(db);
}

static void a_plan_follows_a_changed_schema(void **state)
{
    sqlite3 *db = open_memory();
    struct rows_plan plan;
    struct buf json = {0}, why = {0};
    bool found;

    (void)state;
    sqlite3_exec(db, "CREATE TABLE t (a); INSERT INTO t VALUES (1)", NULL, NULL, NULL);
    sqlite3_stmt *statement = prepare(db, "SELECT * FROM t");
    rows_plan_init(&plan, statement);
    for (int turn = 0; turn < 2; turn++) {
        buf_clear(&json);
        assert_int_equal(rows_collect_plan(db, statement, &plan, CATALOG_OBJECT, 1000, &json, &found, &why), ERR_OK);
        assert_string_equal(json.p, turn == 0 ? "{\"a\":1}" : "{\"a\":1,\"b\":\"new\"}");
        sqlite3_reset(statement);
        sqlite3_exec(db, "ALTER TABLE t ADD COLUMN b DEFAULT 'new'", NULL, NULL, NULL);
    }
    sqlite3_finalize(statement);
    rows_plan_fini(&plan);
    buf_free(&json);
    buf_free(&why);
    sqlite3_close(db);
}

static void parameters_are_bound_by_name_and_type(void **state)
{
    const struct params_values values = {
        .count = 6,
        .items =
            {
                {.name = STR("t"), .type = PARAMS_TEXT, .text = STR("12")},
                {.name = STR("e"), .type = PARAMS_TEXT},
                {.name = STR("i"), .type = PARAMS_INTEGER, .integer = 12},
                {.name = STR("n"), .type = PARAMS_NUMBER, .number = 0.5},
                {.name = STR("b"), .type = PARAMS_BOOLEAN, .integer = 1},
                {.name = STR("52_week_low"), .type = PARAMS_TEXT, .is_null = true, .text = STR("x")},
            },
    };
    const struct store_caller caller = {.now_ms = 1700000000999, .address = STR("::1"), .key_id = STR("k1")};
    sqlite3 *db = open_memory();
    sqlite3_stmt *statement = prepare(db, "SELECT typeof(:t) || typeof(:e) || length(:e) || typeof(:i) || typeof(:n) "
                                          "|| typeof(:b) || typeof(:52_week_low), "
                                          ":larder_now, :larder_address, :larder_project, :larder_key_id, :t");
    struct buf json = {0}, why = {0};
    bool found;

    (void)state;
    assert_int_equal(rows_bind(statement, &values, &caller, &why), ERR_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_string_equal(text_at(statement, 0), "texttext0integerrealintegernull");
    assert_int_equal(sqlite3_column_int64(statement, 1), 1700000000);
    assert_string_equal(text_at(statement, 2), "::1");
    assert_int_equal(sqlite3_column_type(statement, 3), SQLITE_NULL);
    assert_string_equal(text_at(statement, 4), "k1");
    sqlite3_reset(statement);
    assert_int_equal(rows_bind(statement, &values, NULL, &why), ERR_OK);
    assert_int_equal(rows_collect(db, statement, CATALOG_OBJECT, 1000, &json, &found, &why), ERR_OK);
    assert_non_null(strstr(json.p, "\":larder_now\":null"));
    sqlite3_finalize(statement);
    buf_free(&json);
    buf_free(&why);
    sqlite3_close(db);
}

static void a_parameter_that_nobody_gives_is_an_error(void **state)
{
    static const char *const cases[] = {"SELECT :x", "SELECT ?",  "SELECT ?3",
                                        "SELECT @a", "SELECT $a", "SELECT :a, :larder_nobody"};
    const struct params_values values = {.count = 1, .items = {{.name = STR("a"), .type = PARAMS_INTEGER}}};
    sqlite3 *db = open_memory();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sqlite3_stmt *statement = prepare(db, cases[i]);
        struct buf why = {0};
        assert_int_equal(rows_bind(statement, &values, NULL, &why), ERR_STATEMENT);
        assert_true(why.len > 0);
        sqlite3_finalize(statement);
        buf_free(&why);
    }
    sqlite3_close(db);
}

static void a_file_that_has_taken_the_place_of_an_open_one_is_another(void **state)
{
    const struct fixture *fixture = *state;
    sqlite3 *db = NULL, *other;
    struct rows_file file;
    char moved[128];

    assert_int_equal(rows_open(fixture->database, &db, &file), ERR_NOT_FOUND);
    assert_null(db);
    assert_int_equal(sqlite3_open(fixture->database, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "CREATE TABLE t (a INTEGER)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    assert_int_equal(rows_open(fixture->database, &db, &file), ERR_OK);
    assert_int_equal(sqlite3_exec(db, "INSERT INTO t VALUES (1)", NULL, NULL, NULL), SQLITE_READONLY);
    assert_true(rows_file_stands(fixture->database, &file));
    snprintf(moved, sizeof moved, "%s.moved", fixture->database);
    assert_int_equal(rename(fixture->database, moved), 0);
    assert_false(rows_file_stands(fixture->database, &file));
    fixture_write(fixture, "data.db", "");
    assert_false(rows_file_stands(fixture->database, &file));
    assert_true(rows_file_stands(moved, &file));
    sqlite3_close(db);
}

static void json_text_is_judged_by_the_grammar(void **state)
{
    static const struct {
        const char *text;
        bool valid;
    } cases[] = {
        {"null", true},
        {"true", true},
        {"false", true},
        {"0", true},
        {"-0.5e+10", true},
        {" [ ] ", true},
        {"{}", true},
        {"[1,[2,{\"a\":[]}]]", true},
        {"\"\"", true},
        {"\"\\u00e9\\n\"", true},
        {"\"\xc3\xa9\"", true},
        {"{ \"a\" : 1 , \"b\" : 2 }", true},
        {"", false},
        {" ", false},
        {"nul", false},
        {"nulll", false},
        {"01", false},
        {"1.", false},
        {".5", false},
        {"+1", false},
        {"1e", false},
        {"-", false},
        {"NaN", false},
        {"[1,]", false},
        {"[,1]", false},
        {"[1", false},
        {"{\"a\"}", false},
        {"{\"a\":1,}", false},
        {"{a:1}", false},
        {"{\"a\" 1}", false},
        {"\"", false},
        {"\"\\x\"", false},
        {"\"\\u12\"", false},
        {"\"\n\"", false},
        {"1 2", false},
        {"\"\xff\"", false},
        {"'a'", false},
        {"\"\\", false},
        {"[1}", false},
        {"]", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (rows_json_valid(str_from(cases[i].text)) != cases[i].valid)
            fail_msg("`%s` was judged wrongly", cases[i].text);
}

static void json_text_nested_too_deep_is_refused(void **state)
{
    char text[2 * 100000];

    (void)state;
    for (size_t depth = 1; depth <= 100000; depth *= 10) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        assert_int_equal(rows_json_valid((struct str){text, 2 * depth}), depth <= 128);
        assert_false(rows_json_valid((struct str){text, depth}));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_result_code_has_its_error),
        cmocka_unit_test(a_value_keeps_its_type),
        cmocka_unit_test(a_suffix_of_the_alias_chooses_how_a_value_is_written),
        cmocka_unit_test(a_shape_says_what_the_rows_become),
        cmocka_unit_test(a_writing_statement_runs_to_its_end),
        cmocka_unit_test(an_answer_over_the_limit_is_refused),
        cmocka_unit_test(a_statement_that_fails_half_way_leaves_no_json),
        cmocka_unit_test(a_plan_follows_a_changed_schema),
        cmocka_unit_test(parameters_are_bound_by_name_and_type),
        cmocka_unit_test(a_parameter_that_nobody_gives_is_an_error),
        cmocka_unit_test_setup_teardown(a_file_that_has_taken_the_place_of_an_open_one_is_another, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test(json_text_is_judged_by_the_grammar),
        cmocka_unit_test(json_text_nested_too_deep_is_refused),
    };

    return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
