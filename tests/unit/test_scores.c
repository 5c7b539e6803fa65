/* Ranks by SQL, against a list that is sorted here, and the log of changes. */
#include "store/scores.h"

#include "base/sys.h"
#include "store/schema.h"
#include "store_fixture.h"

enum { MEMBERS = 400 };

struct board_fixture {
    struct fixture *files;
    struct scores *scores;
    struct arena *arena;
    struct buf why;
};

static void make_tables(const char *path)
{
    sqlite3 *db = NULL;
    struct buf why = {0};

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(schema_make(db, &why), ERR_OK);
    sqlite3_close(db);
    buf_free(&why);
}

static int set_up(void **state)
{
    struct board_fixture *fixture = calloc(1, sizeof *fixture);

    assert_int_equal(fixture_setup((void **)&fixture->files), 0);
    fixture->arena = arena_new(4096, 1 << 20);
    fixture->scores = scores_open(fixture->files->database, 1000);
    *state = fixture;
    return 0;
}

static int set_up_tables(void **state)
{
    set_up(state);
    make_tables(((struct board_fixture *)*state)->files->database);
    return 0;
}

static int tear_down(void **state)
{
    struct board_fixture *fixture = *state;

    scores_close(&fixture->scores);
    arena_free(&fixture->arena);
    buf_free(&fixture->why);
    fixture_teardown((void **)&fixture->files);
    free(fixture);
    return 0;
}

static void execute(struct board_fixture *fixture, const char *sql)
{
    fixture_execute(fixture->files->database, sql);
}

/* The members of an answer, by blanks, behind its members and rank. */
static const char *show(struct board_fixture *fixture, const struct scores_answer *answer)
{
    struct buf shown = {0};

    buf_printf(&shown, "%d/%d", (int)answer->members, (int)answer->rank);
    for (size_t i = 0; i < answer->count; i++)
        buf_printf(&shown, " %.*s=%g", STR_ARG(answer->places[i].member), answer->places[i].score);
    return arena_take_buf(fixture->arena, &shown).p;
}

static const char *top(struct board_fixture *fixture, const char *board, uint64_t offset, uint64_t limit)
{
    struct scores_answer answer;

    arena_reset(fixture->arena);
    if (scores_top(fixture->scores, str_from(board), offset, limit, fixture->arena, &answer, &fixture->why) != ERR_OK)
        fail_msg("%s", fixture->why.p);
    return show(fixture, &answer);
}

static const char *around(struct board_fixture *fixture, const char *board, const char *member, uint64_t range)
{
    struct scores_answer answer;
    bool found;

    arena_reset(fixture->arena);
    if (scores_around(fixture->scores, str_from(board), str_from(member), range, fixture->arena, &answer, &found,
                      &fixture->why) != ERR_OK)
        fail_msg("%s", fixture->why.p);
    return found ? show(fixture, &answer) : "absent";
}

static void a_board_stands_in_the_order_of_scores_and_of_who_was_first(void **state)
{
    struct board_fixture *fixture = *state;

    execute(fixture, "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'late', 1), ('b', 'zoe', 5), "
                     "('b', 'amy', 5), ('b', 'low', -2.5), ('b', 'kim', 5), ('other', 'amy', 9);"
                     "UPDATE larder_scores SET score = 5 WHERE board = 'b' AND member = 'late'");
    assert_string_equal(top(fixture, "b", 0, 10), "5/0 zoe=5 amy=5 kim=5 late=5 low=-2.5");
    assert_string_equal(top(fixture, "b", 1, 2), "5/1 amy=5 kim=5");
    assert_string_equal(top(fixture, "b", 5, 2), "5/5");
    assert_string_equal(top(fixture, "none", 0, 2), "0/0");
    assert_string_equal(around(fixture, "b", "zoe", 0), "5/0 zoe=5");
    assert_string_equal(around(fixture, "b", "late", 0), "5/3 late=5");
    assert_string_equal(around(fixture, "b", "kim", 1), "5/1 amy=5 kim=5 late=5");
    assert_string_equal(around(fixture, "b", "low", 2), "5/2 kim=5 late=5 low=-2.5");
    assert_string_equal(around(fixture, "b", "zoe", 9), "5/0 zoe=5 amy=5 kim=5 late=5 low=-2.5");
    assert_string_equal(around(fixture, "other", "amy", 9), "1/0 amy=9");
    assert_string_equal(around(fixture, "b", "AMY", 1), "absent");
    assert_string_equal(around(fixture, "none", "amy", 1), "absent");
    /* The same score again leaves a member where it is. */
    execute(fixture,
            "UPDATE larder_scores SET score = 5 WHERE member = 'zoe'; DELETE FROM larder_scores WHERE member = 'amy'");
    assert_string_equal(top(fixture, "b", 0, 10), "4/0 zoe=5 kim=5 late=5 low=-2.5");
}

/* Names and scores related in every way, so that what the neighbours by name say of a rank is right, wrong or nothing.
 */
static void every_rank_is_right_whatever_the_names_say(void **state)
{
    static const char *const scores_of[] = {"i", "-i", "i % 7", "abs(random()) % 50", "0", "i % 2"};
    struct board_fixture *fixture = *state;
    char sql[512];

    for (size_t kind = 0; kind < sizeof scores_of / sizeof *scores_of; kind++) {
        snprintf(sql, sizeof sql,
                 "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < %d) "
                 "INSERT INTO larder_scores (board, member, score) SELECT 'b%zu', printf('m%%04d', i), %s FROM n "
                 "ORDER BY random()",
                 MEMBERS, kind, scores_of[kind]);
        execute(fixture, sql);
    }
    for (size_t kind = 0; kind < sizeof scores_of / sizeof *scores_of; kind++) {
        struct scores_answer whole, one;
        char board[8];
        bool found;

        snprintf(board, sizeof board, "b%zu", kind);
        arena_reset(fixture->arena);
        assert_int_equal(
            scores_top(fixture->scores, str_from(board), 0, MEMBERS, fixture->arena, &whole, &fixture->why), ERR_OK);
        assert_int_equal(whole.count, MEMBERS);
        for (size_t i = 0; i < MEMBERS; i++) {
            uint64_t range = i % 5, first = i > range ? i - range : 0;

            assert_int_equal(scores_around(fixture->scores, str_from(board), whole.places[i].member, range,
                                           fixture->arena, &one, &found, &fixture->why),
                             ERR_OK);
            assert_true(found && one.members == MEMBERS);
            assert_int_equal(one.rank, first);
            assert_int_equal(one.count, (i + range < MEMBERS ? i + range : MEMBERS - 1) - first + 1);
            for (size_t at = 0; at < one.count; at++)
                assert_true(str_equal(one.places[at].member, whole.places[first + at].member));
        }
    }
}

static void the_log_tells_every_change_in_order(void **state)
{
    struct board_fixture *fixture = *state;
    struct scores_change *changes;
    uint64_t oldest, newest;
    size_t count;

    assert_int_equal(scores_log_bounds(fixture->scores, &oldest, &newest, &fixture->why), ERR_OK);
    assert_true(oldest == 0 && newest == 0);
    execute(fixture,
            "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'x', 1), ('c', 'y', 2.5);"
            "UPDATE larder_scores SET score = 3 WHERE member = 'x'; DELETE FROM larder_scores WHERE member = 'y'");
    assert_int_equal(scores_log_bounds(fixture->scores, &oldest, &newest, &fixture->why), ERR_OK);
    assert_true(oldest == 1 && newest == 4);
    assert_int_equal(scores_log_read(fixture->scores, 1, 2, fixture->arena, &changes, &count, &fixture->why), ERR_OK);
    assert_int_equal(count, 2);
    assert_true(changes[0].number == 2 && changes[0].score == 2.5 && !changes[0].removed);
    assert_true(str_equal(changes[0].board, STR("c")) && str_equal(changes[0].member, STR("y")));
    assert_true(changes[1].number == 3 && changes[1].score == 3);
    assert_int_equal(scores_log_read(fixture->scores, 3, 9, fixture->arena, &changes, &count, &fixture->why), ERR_OK);
    assert_int_equal(count, 1);
    assert_true(changes[0].removed && str_equal(changes[0].member, STR("y")));
    /* What has been followed may go; the numbers stay. */
    execute(fixture, "DELETE FROM larder_score_log");
    assert_int_equal(scores_log_bounds(fixture->scores, &oldest, &newest, &fixture->why), ERR_OK);
    assert_true(oldest == 0 && newest == 4);
}

static void a_board_is_copied_member_by_member(void **state)
{
    struct board_fixture *fixture = *state;
    struct scores_change *rows;
    struct str after = {NULL, 0};
    size_t count, total = 0;

    execute(fixture, "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 24) "
                     "INSERT INTO larder_scores (board, member, score) SELECT 'b', 'm' || i, i FROM n;"
                     "INSERT INTO larder_scores (board, member, score) VALUES ('a', 'm', 1), ('c', 'm', 1)");
    do {
        assert_int_equal(
            scores_copy(fixture->scores, STR("b"), after, 10, fixture->arena, &rows, &count, &fixture->why), ERR_OK);
        for (size_t i = 0; i < count; i++) {
            assert_true(str_equal(rows[i].board, STR("b")) && rows[i].number == (uint64_t)rows[i].score + 1);
            assert_true(after.len == 0 || str_compare(after, rows[i].member) < 0);
            after = rows[i].member;
        }
        total += count;
    } while (count == 10);
    assert_int_equal(total, 25);
}

static void boards_are_listed_by_what_their_names_begin_with(void **state)
{
    struct board_fixture *fixture = *state;
    struct scores_board *boards;
    size_t count;

    execute(fixture, "INSERT INTO larder_scores (board, member, score) VALUES ('d@2026-01-01', 'x', 1), "
                     "('d@2026-01-02', 'x', 1), ('d@2026-01-02', 'y', 1), ('d@2026-01-03', 'x', 1), ('d', 'x', 1), "
                     "('d-e@2026-01-01', 'x', 1), ('e@2026-01-01', 'x', 1), ('da', 'x', 1);"
                     "DELETE FROM larder_scores WHERE board = 'd@2026-01-03'");
    assert_int_equal(scores_boards(fixture->scores, STR("d@"), 0, 9, fixture->arena, &boards, &count, &fixture->why),
                     ERR_OK);
    assert_int_equal(count, 2);
    assert_true(str_equal(boards[0].board, STR("d@2026-01-02")) && boards[0].members == 2);
    assert_true(str_equal(boards[1].board, STR("d@2026-01-01")) && boards[1].members == 1);
    assert_int_equal(scores_boards(fixture->scores, STR("d@"), 1, 9, fixture->arena, &boards, &count, &fixture->why),
                     ERR_OK);
    assert_int_equal(count, 1);
}

static void without_a_database_there_is_an_error_and_without_tables_nobody(void **state)
{
    struct board_fixture *fixture = *state;
    struct scores_answer answer;
    struct scores_change *changes;
    uint64_t oldest, newest;
    size_t count;

    assert_int_equal(scores_top(fixture->scores, STR("b"), 0, 1, fixture->arena, &answer, &fixture->why),
                     ERR_UNAVAILABLE);
    assert_non_null(strstr(fixture->why.p, fixture->files->database));
    execute(fixture, "CREATE TABLE t (x)");
    assert_string_equal(top(fixture, "b", 0, 1), "0/0");
    assert_string_equal(around(fixture, "b", "x", 1), "absent");
    assert_int_equal(scores_log_bounds(fixture->scores, &oldest, &newest, &fixture->why), ERR_OK);
    assert_int_equal(scores_log_read(fixture->scores, 0, 9, fixture->arena, &changes, &count, &fixture->why), ERR_OK);
    assert_true(count == 0 && newest == 0);
    make_tables(fixture->files->database);
    execute(fixture, "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'x', 1)");
    assert_string_equal(top(fixture, "b", 0, 1), "1/0 x=1");
}

static void a_database_that_is_no_longer_one_is_an_error_and_its_successor_is_found(void **state)
{
    struct board_fixture *fixture = *state;
    struct scores_answer answer;
    char path[128];

    execute(fixture, "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'x', 1)");
    assert_string_equal(top(fixture, "b", 0, 1), "1/0 x=1");
    snprintf(path, sizeof path, "%s-new", fixture->files->database);
    fixture_write(fixture->files, "data.db-new", "This was a database once. This was a database once.");
    assert_int_equal(rename(path, fixture->files->database), 0);
    scores_close(&fixture->scores);
    fixture->scores = scores_open(fixture->files->database, 1000);
    assert_int_not_equal(scores_top(fixture->scores, STR("b"), 0, 1, fixture->arena, &answer, &fixture->why), ERR_OK);
    assert_true(fixture->why.len > 0);
    snprintf(path, sizeof path, "%s-wal", fixture->files->database);
    unlink(path);
    unlink(fixture->files->database);
    make_tables(fixture->files->database);
    assert_string_equal(top(fixture, "b", 0, 1), "0/0");
}

static bool replaced(struct board_fixture *fixture)
{
    uint64_t oldest, newest;

    if (scores_log_bounds(fixture->scores, &oldest, &newest, &fixture->why) != ERR_OK)
        buf_clear(&fixture->why);
    return scores_was_replaced(fixture->scores);
}

/* What a copy of the database gives back, into the file that is there. */
static void restore(struct board_fixture *fixture, const char *copy)
{
    sqlite3 *to = fixture_open(fixture->files->database), *from = fixture_open(copy);
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");

    assert_non_null(backup);
    assert_int_equal(sqlite3_backup_step(backup, -1), SQLITE_DONE);
    assert_int_equal(sqlite3_backup_finish(backup), SQLITE_OK);
    sqlite3_close(from);
    sqlite3_close(to);
}

static void a_database_that_was_put_back_is_told_at_once_and_once(void **state)
{
    struct board_fixture *fixture = *state;
    char copy[128], away[128], vacuum[160];

    execute(fixture, "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'x', 1)");
    snprintf(copy, sizeof copy, "%s-copy", fixture->files->database);
    snprintf(away, sizeof away, "%s-away", fixture->files->database);
    snprintf(vacuum, sizeof vacuum, "VACUUM INTO '%s'", copy);
    execute(fixture, vacuum);
    assert_false(replaced(fixture));
    execute(fixture, "UPDATE larder_scores SET score = 2");
    assert_false(replaced(fixture));
    /* Into the file. */
    restore(fixture, copy);
    assert_true(replaced(fixture));
    assert_false(replaced(fixture));
    assert_string_equal(top(fixture, "b", 0, 1), "1/0 x=1");
    /* In its place, and as many changes as there had been. */
    execute(fixture, "UPDATE larder_scores SET score = 3");
    assert_false(replaced(fixture));
    assert_int_equal(rename(copy, fixture->files->database), 0);
    execute(fixture, "UPDATE larder_scores SET score = 4");
    assert_true(replaced(fixture));
    assert_false(replaced(fixture));
    assert_string_equal(top(fixture, "b", 0, 1), "1/0 x=4");
    /* Or not at once: the same inode may be another file's by then. */
    assert_int_equal(rename(fixture->files->database, away), 0);
    assert_true(replaced(fixture));
    assert_int_equal(rename(away, fixture->files->database), 0);
    assert_false(replaced(fixture));
}

/* An open read transaction would keep the writer from emptying the WAL. */
static void nothing_is_left_open(void **state)
{
    struct board_fixture *fixture = *state;
    sqlite3 *db;
    int frames, moved;

    execute(fixture, "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'x', 1)");
    top(fixture, "b", 0, 1);
    around(fixture, "b", "x", 3);
    around(fixture, "b", "nobody", 3);
    assert_int_equal(sqlite3_open(fixture->files->database, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "UPDATE larder_scores SET score = 2", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, &frames, &moved), SQLITE_OK);
    assert_int_equal(frames, 0);
    sqlite3_close(db);
    assert_string_equal(top(fixture, "b", 0, 1), "1/0 x=2");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_tables, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_board_stands_in_the_order_of_scores_and_of_who_was_first),
        TEST(every_rank_is_right_whatever_the_names_say),
        TEST(the_log_tells_every_change_in_order),
        TEST(a_board_is_copied_member_by_member),
        TEST(boards_are_listed_by_what_their_names_begin_with),
        cmocka_unit_test_setup_teardown(without_a_database_there_is_an_error_and_without_tables_nobody, set_up,
                                        tear_down),
        TEST(a_database_that_is_no_longer_one_is_an_error_and_its_successor_is_found),
        TEST(a_database_that_was_put_back_is_told_at_once_and_once),
        TEST(nothing_is_left_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
