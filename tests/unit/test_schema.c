/* Larder's own tables: made where they are missing, and true to their triggers whoever writes. */
#include "store/schema.h"

#include "store_fixture.h"

static int set_up(void **state)
{
    sqlite3 *db;
    struct buf why = {0};

    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(schema_make(db, &why), ERR_OK);
    *state = db;
    return 0;
}

static int tear_down(void **state)
{
    sqlite3_close(*state);
    return 0;
}

static void run(sqlite3 *db, const char *sql)
{
    char *why = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why);
}

/* The one value that SQL gives, as text. */
static const char *value(sqlite3 *db, const char *sql)
{
    static char text[256];
    sqlite3_stmt *statement;

    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    const char *found = (const char *)sqlite3_column_text(statement, 0);
    snprintf(text, sizeof text, "%s", found ? found : "NULL");
    sqlite3_finalize(statement);
    return text;
}

static const char ranking[] = "SELECT group_concat(member) FROM (SELECT member FROM larder_scores WHERE board = 'b' "
                              "ORDER BY score DESC, reached)";
static const char members[] = "SELECT group_concat(board || '=' || members) FROM larder_boards";
static const char log_text[] = "SELECT group_concat(seq || member || ifnull(score, '-'), ' ') FROM larder_score_log";

static void made_twice_is_made_once(void **state)
{
    struct buf why = {0};

    run(*state, "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'x', 1)");
    assert_int_equal(schema_make(*state, &why), ERR_OK);
    run(*state, "BEGIN IMMEDIATE");
    assert_int_equal(schema_make(*state, &why), ERR_OK);
    run(*state, "COMMIT");
    assert_string_equal(value(*state, "SELECT count(*) || total(own) FROM larder_state"), "10.0");
    assert_string_equal(value(*state, members), "b=1");
}

/* Called where the database is busy: who keeps it so is done now. */
static int end_transaction(void *other, int times)
{
    run(other, "COMMIT");
    return times == 0;
}

static void who_writes_meanwhile_is_waited_for(void **state)
{
    const struct fixture *fixture = *state;
    sqlite3 *ours, *other;
    struct buf why = {0};

    assert_int_equal(sqlite3_open(fixture->database, &ours), SQLITE_OK);
    assert_int_equal(sqlite3_open(fixture->database, &other), SQLITE_OK);
    assert_int_equal(schema_make(ours, &why), ERR_OK);
    sqlite3_busy_handler(ours, end_transaction, other);
    run(other, "CREATE TABLE theirs (a INTEGER); BEGIN IMMEDIATE; INSERT INTO theirs VALUES (1)");
    assert_int_equal(schema_make(ours, &why), ERR_OK);
    assert_string_equal(value(ours, "SELECT count(*) FROM theirs"), "1");
    sqlite3_close(ours);
    sqlite3_close(other);
}

static void a_trigger_that_another_version_made_is_made_anew(void **state)
{
    static const char text[] = "SELECT sql FROM sqlite_schema WHERE name = 'larder_scores_update'";
    static const char version[] = "SELECT schema_version FROM pragma_schema_version";
    struct buf why = {0};
    char was[256], made[16];

    snprintf(was, sizeof was, "%s", value(*state, text));
    run(*state, "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'x', 1), ('b', 'y', 2)");
    run(*state, "DROP TRIGGER larder_scores_update;"
                "CREATE TRIGGER larder_scores_update AFTER UPDATE OF score ON larder_scores BEGIN SELECT 1; END");
    assert_int_equal(schema_make(*state, &why), ERR_OK);
    assert_string_equal(value(*state, text), was);
    snprintf(made, sizeof made, "%s", value(*state, version));
    assert_int_equal(schema_make(*state, &why), ERR_OK);
    assert_string_equal(value(*state, version), made);
    run(*state, "UPDATE larder_scores SET score = 2 WHERE member = 'x'");
    assert_string_equal(value(*state, log_text), "1x1.0 2y2.0 3x2.0");
    assert_string_equal(value(*state, ranking), "y,x");
}

/* Whoever writes a score may say which number it will have; it has the right one whatever he says. */
static void a_number_is_right_whatever_was_foretold(void **state)
{
    static const char numbers[] =
        "SELECT group_concat(member || reached, ' ') FROM (SELECT * FROM larder_scores ORDER BY member)";

    run(*state, "INSERT INTO larder_scores (board, member, score, reached) VALUES ('b', 'u', 1, 1), ('b', 'v', 1, 1), "
                "('b', 'w', 1, 99), ('b', 'x', 1, -1), ('b', 'y', 1, 0)");
    assert_string_equal(value(*state, numbers), "u1 v2 w3 x4 y5");
    run(*state, "UPDATE larder_scores SET score = 2, reached = 6 WHERE member = 'u'");
    run(*state, "UPDATE larder_scores SET score = 2, reached = 6 WHERE member IN ('v', 'w')");
    assert_string_equal(value(*state, numbers), "u6 v7 w8 x4 y5");
    assert_string_equal(value(*state, log_text), "1u1.0 2v1.0 3w1.0 4x1.0 5y1.0 6u2.0 7v2.0 8w2.0");
}

static void equal_scores_stand_in_the_order_in_which_they_were_reached(void **state)
{
    run(*state, "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'z', 5), ('b', 'a', 5), ('b', 'm', 7)");
    assert_string_equal(value(*state, ranking), "m,z,a");
    run(*state, "UPDATE larder_scores SET score = 7 WHERE member = 'a'");
    assert_string_equal(value(*state, ranking), "m,a,z");
    /* What does not change a score does not put it behind others. */
    run(*state, "UPDATE larder_scores SET score = 7, updated_at = 1 WHERE member = 'm'");
    assert_string_equal(value(*state, ranking), "m,a,z");
    assert_string_equal(value(*state, log_text), "1z5.0 2a5.0 3m7.0 4a7.0");
}

static void members_are_counted_however_they_come_and_go(void **state)
{
    run(*state, "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'x', 1), ('b', 'y', 2), ('c', 'x', 1)");
    run(*state, "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'x', 3) "
                "ON CONFLICT (board, member) DO UPDATE SET score = excluded.score");
    run(*state, "INSERT OR REPLACE INTO larder_scores (board, member, score) VALUES ('b', 'x', 4), ('b', 'w', 4)");
    run(*state, "INSERT OR IGNORE INTO larder_scores (board, member, score) VALUES ('b', 'x', 9), ('b', 'v', 1)");
    assert_string_equal(value(*state, members), "b=4,c=1");
    run(*state, "DELETE FROM larder_scores WHERE board = 'b' AND member <> 'y'");
    assert_string_equal(value(*state, members), "b=1,c=1");
    assert_string_equal(value(*state, "SELECT count(*) FROM larder_score_log WHERE score IS NULL"), "3");
    /* What the table refuses is passed over, and nobody has come by it. */
    run(*state, "INSERT OR IGNORE INTO larder_scores (board, member, score) VALUES ('b', 'u', 1e17), ('b', 't', NULL), "
                "('b', '', 1), ('b', printf('%.*c', 257, 'x'), 1), ('', 'x', 1)");
    assert_string_equal(value(*state, members), "b=1,c=1");
}

static void what_is_no_score_is_refused(void **state)
{
    static const char *const wrong[] = {
        "INSERT INTO larder_scores (board, member, score) VALUES ('b', '', 1)",
        "INSERT INTO larder_scores (board, member, score) VALUES ('', 'x', 1)",
        "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'x', 9007199254740994)",
        "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'x', 1e999)",
        "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'x', NULL)",
        "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'x', 'much')",
        "INSERT INTO larder_scores (board, member, score) VALUES ('b', printf('%.*c', 257, 'x'), 1)",
        "UPDATE larder_scores SET member = 'z'",
        "UPDATE larder_scores SET board = 'z'",
    };

    run(*state, "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'a', 1)");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (sqlite3_exec(*state, wrong[i], NULL, NULL, NULL) == SQLITE_OK)
            fail_msg("%s: allowed", wrong[i]);
    assert_string_equal(value(*state, members), "b=1");
    assert_string_equal(value(*state, log_text), "1a1.0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(made_twice_is_made_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_writes_meanwhile_is_waited_for, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_trigger_that_another_version_made_is_made_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_number_is_right_whatever_was_foretold, set_up, tear_down),
        cmocka_unit_test_setup_teardown(equal_scores_stand_in_the_order_in_which_they_were_reached, set_up, tear_down),
        cmocka_unit_test_setup_teardown(members_are_counted_however_they_come_and_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_score_is_refused, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}
