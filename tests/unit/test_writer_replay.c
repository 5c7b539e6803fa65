/* What writes with a key were answered: kept for a day, for one request, in the transaction that is open. */
#include "store_fixture.h"

#include "store/writer_replay.h"

#define NOW INT64_C(1700000000000)

struct kept {
    struct fixture *files;
    sqlite3 *db;
    struct writer_replay *replay;
    struct buf answer, why;
};

static int setup(void **state)
{
    struct kept *it = calloc(1, sizeof *it);

    fixture_setup((void **)&it->files);
    assert_int_equal(sqlite3_open(it->files->database, &it->db), SQLITE_OK);
    it->replay = writer_replay_new();
    *state = it;
    return 0;
}

static int teardown(void **state)
{
    struct kept *it = *state;

    writer_replay_free(&it->replay);
    assert_null(it->replay);
    sqlite3_close(it->db);
    buf_free(&it->answer);
    buf_free(&it->why);
    fixture_teardown((void **)&it->files);
    free(it);
    return 0;
}

static enum err keep(struct kept *it, const char *key, const char *print, int64_t now_ms, const char *answer)
{
    buf_clear(&it->why);
    return writer_replay_keep(it->replay, it->db, str_from(key), str_from(print), now_ms, str_from(answer), &it->why);
}

static enum err find(struct kept *it, const char *key, const char *print, int64_t now_ms)
{
    buf_clear(&it->answer);
    buf_clear(&it->why);
    return writer_replay_find(it->replay, it->db, str_from(key), str_from(print), now_ms, &it->answer, &it->why);
}

static void expect(struct kept *it, const char *key, int64_t now_ms, const char *answer)
{
    assert_int_equal(find(it, key, "print", now_ms), ERR_OK);
    assert_true(str_equal(buf_str(&it->answer), str_from(answer)));
}

static int64_t count(const struct kept *it)
{
    return fixture_integer(it->files->database, "SELECT count(*) FROM larder_replays");
}

static void an_answer_is_found_by_its_key_and_print(void **state)
{
    struct kept *it = *state;

    assert_int_equal(find(it, "a", "print", NOW), ERR_NOT_FOUND);
    assert_int_equal(keep(it, "a", "print", NOW, "first"), ERR_OK);
    assert_int_equal(keep(it, "b", "print", NOW, ""), ERR_OK);
    expect(it, "a", NOW, "first");
    expect(it, "b", NOW, "");
    assert_int_equal(find(it, "A", "print", NOW), ERR_NOT_FOUND);
    assert_int_equal(find(it, "", "print", NOW), ERR_NOT_FOUND);
}

static void another_request_with_the_key_is_told_apart(void **state)
{
    struct kept *it = *state;

    assert_int_equal(keep(it, "a", "print", NOW, "first"), ERR_OK);
    assert_int_equal(find(it, "a", "other", NOW), ERR_EXISTS);
    assert_int_equal(find(it, "a", "", NOW), ERR_EXISTS);
    assert_int_equal(it->answer.len, 0);
}

static void an_answer_is_kept_for_a_day_and_no_longer(void **state)
{
    struct kept *it = *state;

    assert_int_equal(keep(it, "a", "print", NOW, "first"), ERR_OK);
    expect(it, "a", NOW + WRITER_REPLAY_KEPT_MS - 1, "first");
    assert_int_equal(find(it, "a", "other", NOW + WRITER_REPLAY_KEPT_MS - 1), ERR_EXISTS);
    assert_int_equal(find(it, "a", "print", NOW + WRITER_REPLAY_KEPT_MS), ERR_NOT_FOUND);
    assert_int_equal(find(it, "a", "other", NOW + WRITER_REPLAY_KEPT_MS), ERR_NOT_FOUND);
    /* A clock that was put back loses nothing. */
    expect(it, "a", NOW - 5000, "first");
}

static void one_that_is_too_old_is_replaced(void **state)
{
    const int64_t later_ms = NOW + WRITER_REPLAY_KEPT_MS;
    struct kept *it = *state;

    assert_int_equal(keep(it, "a", "old", NOW, "first"), ERR_OK);
    assert_int_equal(keep(it, "a", "print", later_ms, "second"), ERR_OK);
    expect(it, "a", later_ms, "second");
    assert_int_equal(count(it), 1);
}

static void old_answers_go_a_few_with_each_new_one(void **state)
{
    enum { OLD = 40 };
    const int64_t later_ms = NOW + OLD + WRITER_REPLAY_KEPT_MS;
    struct kept *it = *state;
    char key[16];

    for (int i = 0; i < OLD; i++) {
        snprintf(key, sizeof key, "old%d", i);
        assert_int_equal(keep(it, key, "print", NOW + i, "x"), ERR_OK);
    }
    assert_int_equal(count(it), OLD);
    assert_int_equal(keep(it, "new0", "print", later_ms, "x"), ERR_OK);
    assert_in_range(count(it), OLD / 2, OLD);
    /* The oldest first. */
    assert_int_equal(fixture_integer(it->files->database,
                                     "SELECT min(at_ms) > 1700000000000 FROM larder_replays WHERE key < 'old'"
                                     " OR key > 'old'"),
                     1);
    for (int i = 1; i <= OLD / 2; i++) {
        snprintf(key, sizeof key, "new%d", i);
        assert_int_equal(keep(it, key, "print", later_ms, "x"), ERR_OK);
    }
    assert_int_equal(count(it), OLD / 2 + 1);
    expect(it, "new0", later_ms, "x");
}

static void what_is_kept_is_taken_back_with_the_transaction(void **state)
{
    struct kept *it = *state;

    assert_int_equal(find(it, "a", "print", NOW), ERR_NOT_FOUND);
    for (int i = 0; i < 2; i++) {
        sqlite3_exec(it->db, "BEGIN", NULL, NULL, NULL);
        assert_int_equal(keep(it, "a", "print", NOW, "first"), ERR_OK);
        expect(it, "a", NOW, "first");
        sqlite3_exec(it->db, "ROLLBACK", NULL, NULL, NULL);
        assert_int_equal(find(it, "a", "print", NOW), ERR_NOT_FOUND);
    }
    assert_int_equal(keep(it, "a", "print", NOW, "first"), ERR_OK);
    expect(it, "a", NOW, "first");
}

static void bytes_of_any_kind_come_back_as_they_were(void **state)
{
    static const char bytes[] = {0, 1, '\'', (char)0xff, 0, '"'};
    const struct str answer = {bytes, sizeof bytes};
    struct kept *it = *state;

    assert_int_equal(writer_replay_keep(it->replay, it->db, STR("a"), STR("print"), NOW, answer, &it->why), ERR_OK);
    assert_int_equal(find(it, "a", "print", NOW), ERR_OK);
    assert_true(str_equal(buf_str(&it->answer), answer));
}

static void a_table_that_is_dropped_is_made_again_after_one_failure(void **state)
{
    struct kept *it = *state;

    assert_int_equal(keep(it, "a", "print", NOW, "first"), ERR_OK);
    fixture_execute(it->files->database, "DROP TABLE larder_replays");
    assert_int_equal(find(it, "a", "print", NOW), ERR_STATEMENT);
    assert_true(it->why.len > 0);
    assert_int_equal(find(it, "a", "print", NOW), ERR_NOT_FOUND);
    assert_int_equal(keep(it, "a", "print", NOW, "again"), ERR_OK);
    expect(it, "a", NOW, "again");
}

static void a_locked_database_is_an_error_and_the_next_try_is_as_good_as_new(void **state)
{
    struct kept *it = *state;
    sqlite3 *other = NULL;

    assert_int_equal(keep(it, "a", "print", NOW, "first"), ERR_OK);
    assert_int_equal(sqlite3_open(it->files->database, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(keep(it, "b", "print", NOW, "second"), ERR_BUSY);
    assert_int_equal(find(it, "a", "print", NOW), ERR_BUSY);
    sqlite3_close(other);
    assert_int_equal(keep(it, "b", "print", NOW, "second"), ERR_OK);
    expect(it, "a", NOW, "first");
    expect(it, "b", NOW, "second");
}

static void it_goes_on_with_another_connection(void **state)
{
    struct kept *it = *state;

    assert_int_equal(keep(it, "a", "print", NOW, "first"), ERR_OK);
    writer_replay_disconnect(it->replay);
    assert_int_equal(sqlite3_close(it->db), SQLITE_OK);
    assert_int_equal(sqlite3_open(it->files->database, &it->db), SQLITE_OK);
    expect(it, "a", NOW, "first");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_answer_is_found_by_its_key_and_print),
        TEST(another_request_with_the_key_is_told_apart),
        TEST(an_answer_is_kept_for_a_day_and_no_longer),
        TEST(one_that_is_too_old_is_replaced),
        TEST(old_answers_go_a_few_with_each_new_one),
        TEST(what_is_kept_is_taken_back_with_the_transaction),
        TEST(bytes_of_any_kind_come_back_as_they_were),
        TEST(a_table_that_is_dropped_is_made_again_after_one_failure),
        TEST(a_locked_database_is_an_error_and_the_next_try_is_as_good_as_new),
        TEST(it_goes_on_with_another_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
