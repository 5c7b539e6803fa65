#include "store_fixture.h"

#include "store/statement.h"

static sqlite3 *open_memory(void)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE t (a, b)", NULL, NULL, NULL), SQLITE_OK);
    return db;
}

static enum err prepare_one(sqlite3 *db, const char *sql, unsigned *line, unsigned *column, struct buf *why)
{
    struct str text = str_from(sql), rest = text;
    sqlite3_stmt *statement = NULL;
    const char *error = text.p;
    enum err err = statement_prepare(db, &rest, 0, &statement, &error, why);

    if (err != ERR_OK)
        statement_place(text, 1, error, line, column);
    sqlite3_finalize(statement);
    return err;
}

static void a_text_is_cut_into_its_statements(void **state)
{
    static const struct {
        const char *sql;
        unsigned count;
    } cases[] = {
        {"", 0},
        {" \n\t", 0},
        {"-- only a comment", 0},
        {"/* one */ -- two\n;; ;", 0},
        {"/* never closed", 0},
        {"SELECT 1", 1},
        {"SELECT 1;", 1},
        {"SELECT ';' ; -- ;\n SELECT 2; /* ; */", 2},
        {"CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM t; END; SELECT 1", 2},
    };
    sqlite3 *db = open_memory();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str rest = str_from(cases[i].sql);
        struct buf why = {0};
        unsigned count = 0;
        for (;;) {
            sqlite3_stmt *statement = NULL;
            const char *error = NULL;
            assert_int_equal(statement_prepare(db, &rest, 0, &statement, &error, &why), ERR_OK);
            if (!statement)
                break;
            count++;
            sqlite3_finalize(statement);
        }
        assert_int_equal(rest.len, 0);
        assert_int_equal(count, cases[i].count);
        buf_free(&why);
    }
    sqlite3_close(db);
}

static void an_error_is_at_its_line_and_column(void **state)
{
    static const struct {
        const char *sql;
        unsigned line, column;
    } cases[] = {
        {"SELECT nothing FROM t", 1, 8}, {"-- why\n\n  SELECT a,\n    c FROM t", 4, 5},
        {"SELECT a FROM nowhere", 1, 1}, /* SQLite tells no place for it: the statement's */
        {"\n\n   SELEC a", 3, 4},        {"SELECT 'open", 1, 8},
    };
    sqlite3 *db = open_memory();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf why = {0};
        unsigned line = 0, column = 0;
        assert_int_equal(prepare_one(db, cases[i].sql, &line, &column, &why), ERR_STATEMENT);
        assert_int_equal(line, cases[i].line);
        assert_int_equal(column, cases[i].column);
        assert_true(why.len > 0);
        buf_free(&why);
    }
    sqlite3_close(db);
}

static void a_zero_byte_does_not_hide_what_follows(void **state)
{
    static const char sql[] = "SELECT 1;\n \0DROP TABLE t";
    sqlite3 *db = open_memory();
    struct str text = {sql, sizeof sql - 1}, rest = text;
    sqlite3_stmt *statement = NULL;
    const char *error = NULL;
    struct buf why = {0};
    unsigned line, column;

    (void)state;
    assert_int_equal(statement_prepare(db, &rest, 0, &statement, &error, &why), ERR_SYNTAX);
    statement_place(text, 7, error, &line, &column);
    assert_int_equal(line, 8);
    assert_int_equal(column, 2);
    buf_free(&why);
    sqlite3_close(db);
}

static void who_names_a_table_of_larders_own_is_told_that_it_is(void **state)
{
    static const struct {
        const char *sql;
        bool own;
    } cases[] = {
        {"SELECT items FROM larder_outbox", true},
        {"DELETE\nFROM\t\"Larder_Outbox\"", true},
        {"SELECT a FROM t; SELECT * FROM larder_outbox", true},
        {"PRAGMA user_version = 1; SELECT * FROM larder_outbox", false},
        {"SELECT load_extension(:larder_now)", false},
        {"SELECT load_extension(a) AS my_larder_x FROM t", false},
        {"BEGIN", false},
    };
    sqlite3 *db = open_memory();

    (void)state;
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE larder_outbox (items)", NULL, NULL, NULL), SQLITE_OK);
    statement_guard(db, STATEMENT_GUARD_WRITING);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str rest = str_from(cases[i].sql);
        struct buf why = {0};
        sqlite3_stmt *statement = NULL;
        const char *error;
        while (statement_prepare(db, &rest, 0, &statement, &error, &why) == ERR_OK)
            sqlite3_finalize(statement);
        if ((strstr(why.p, "larder's own") != NULL) != cases[i].own)
            fail_msg("`%s`: %s", cases[i].sql, why.p);
        buf_free(&why);
    }
    sqlite3_close(db);
}

static void a_guard_refuses_what_is_not_its_kind(void **state)
{
    enum { R = 1 << STATEMENT_GUARD_READING, W = 1 << STATEMENT_GUARD_WRITING, M = 1 << STATEMENT_GUARD_MIGRATING };
    static const struct {
        const char *sql;
        int allowed;
    } cases[] = {
        {"SELECT a, count(*) FROM t GROUP BY 1", R | W | M},
        {"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3) SELECT i FROM n", R | W | M},
        {"INSERT INTO t VALUES (1, 2) RETURNING a", W | M},
        {"UPDATE t SET a = 1", W | M},
        {"DELETE FROM t WHERE a = 1", W | M},
        {"CREATE TABLE u (x)", M},
        {"CREATE TEMP TABLE u (x)", M},
        {"DROP TABLE t", M},
        {"ALTER TABLE t ADD COLUMN c", M},
        {"PRAGMA user_version = 9", M},
        {"PRAGMA writable_schema = 1", M},
        {"SELECT name FROM pragma_table_info('t')", M},
        {"BEGIN", 0},
        {"COMMIT", 0},
        {"ROLLBACK", 0},
        {"SAVEPOINT s", M},
        {"ATTACH '/tmp/other.db' AS other", 0},
        {"DETACH main", 0},
        {"SELECT load_extension('/tmp/x.so')", 0},
        {"SELECT count(*) FROM larder_things", 0},
        {"SELECT a FROM t WHERE a IN (SELECT x FROM Larder_Things)", 0},
        {"SELECT * FROM over", 0}, /* a view */
        {"INSERT INTO larder_things VALUES (1)", 0},
        {"UPDATE larder_things SET x = 1", 0},
        {"DELETE FROM larder_things", 0},
        {"INSERT INTO copied VALUES (1)", 0}, /* by a trigger */
        {"CREATE TABLE larder_more (x)", 0},
        {"CREATE TRIGGER r AFTER INSERT ON larder_things BEGIN SELECT 1; END", 0},
        {"CREATE INDEX i ON larder_things (x)", 0},
        {"DROP INDEX larder_i", 0},
        {"ALTER TABLE larder_things ADD COLUMN c", 0},
        {"DROP TABLE larder_things", 0},
        {"INSERT INTO counted (x) VALUES (1)", W | M},
        {"UPDATE sqlite_sequence SET seq = 0", M},
        {"DELETE FROM sqlite_sequence", M},
        {"SELECT a AS larder_a, 'larder_x' FROM t", R | W | M},
        {"SELECT score FROM larder_scores", R | W | M},
        {"INSERT INTO larder_scores VALUES (1)", W | M}, /* larder's own trigger writes to larder_things */
        {"DELETE FROM Larder_Scores", W | M},
        {"DROP TABLE larder_scores", 0},
        {"CREATE TRIGGER r AFTER INSERT ON larder_scores BEGIN SELECT 1; END", 0},
    };
    static const char schema[] =
        "CREATE TABLE larder_scores (score); CREATE TABLE larder_things (x);"
        "CREATE TRIGGER larder_scores_insert AFTER INSERT ON larder_scores BEGIN INSERT INTO larder_things VALUES (1); "
        "END;"
        "CREATE INDEX larder_i ON larder_things (x); CREATE TABLE copied (x);"
        "CREATE TRIGGER copy AFTER INSERT ON copied BEGIN INSERT INTO larder_things VALUES (new.x); END;"
        "CREATE VIEW over AS SELECT x FROM larder_things; CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        "x)";
    sqlite3 *db = open_memory();
    unsigned line, column;

    (void)state;
    assert_int_equal(sqlite3_exec(db, schema, NULL, NULL, NULL), SQLITE_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int guard = STATEMENT_GUARD_READING; guard <= STATEMENT_GUARD_MIGRATING; guard++) {
            struct buf why = {0};
            statement_guard(db, (enum statement_guard)guard);
            bool allowed = prepare_one(db, cases[i].sql, &line, &column, &why) == ERR_OK;
            if (allowed != ((cases[i].allowed & (1 << guard)) != 0))
                fail_msg("guard %d, `%s`: %s", guard, cases[i].sql, why.p ? why.p : "allowed");
            buf_free(&why);
        }
    }
    sqlite3_close(db);
}

static void without_a_guard_everything_is_allowed(void **state)
{
    sqlite3 *db = open_memory();
    struct buf why = {0};
    unsigned line, column;

    (void)state;
    statement_guard(db, STATEMENT_GUARD_READING);
    statement_guard(db, STATEMENT_GUARD_NONE);
    assert_int_equal(prepare_one(db, "BEGIN IMMEDIATE", &line, &column, &why), ERR_OK);
    assert_int_equal(prepare_one(db, "DROP TABLE t", &line, &column, &why), ERR_OK);
    buf_free(&why);
    sqlite3_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_is_cut_into_its_statements),
        cmocka_unit_test(an_error_is_at_its_line_and_column),
        cmocka_unit_test(a_zero_byte_does_not_hide_what_follows),
        cmocka_unit_test(who_names_a_table_of_larders_own_is_told_that_it_is),
        cmocka_unit_test(a_guard_refuses_what_is_not_its_kind),
        cmocka_unit_test(without_a_guard_everything_is_allowed),
    };

    return cmocka_run_group_tests_name("statement", tests, NULL, NULL);
}
