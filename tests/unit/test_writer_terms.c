/* The terms of a write, by a real writer: once for each key, and only if what is there is as the client thinks. */
#include "behind_fixture.h"

#define ONE_MORE "UPDATE counters SET value = value + 1 WHERE name = 'a' RETURNING value"
#define DAY_MS INT64_C(86400000)
#define NOW INT64_C(1700000000000)

static int setup(void **state)
{
    writer_fixture_setup(state);
    writer_fixture_must_write(*state, "INSERT INTO counters VALUES ('a', 0)");
    return 0;
}

/* A write with a key; what it was answered is in IT. *REPEATED may be NULL. */
static enum err ask_at(struct writer_fixture *it, const char *sql, const char *key, const char *print, bool behind,
                       int64_t now_ms, bool *repeated)
{
    const struct store_caller caller = {.now_ms = now_ms};
    struct writer_client_told told = {.repeated = false};

    buf_clear(&it->why);
    enum err err = writer_client_write(it->client,
                                       &(struct writer_client_ask){.sql = str_from(sql),
                                                                   .caller = &caller,
                                                                   .behind = behind,
                                                                   .repeat_key = str_from(key),
                                                                   .repeat_print = str_from(print),
                                                                   .purges = behind_fixture_purges,
                                                                   .purges_count = 1},
                                       it->arena, &told, &it->why);
    it->answer = told.row;
    if (repeated)
        *repeated = told.repeated;
    return err;
}

static enum err ask(struct writer_fixture *it, const char *sql, const char *key, const char *print)
{
    return ask_at(it, sql, key, print, false, NOW, NULL);
}

static void the_same_key_and_request_write_once_and_are_answered_alike(void **state)
{
    struct writer_fixture *it = *state;
    bool repeated;

    for (int i = 0; i < 4; i++) {
        assert_int_equal(ask_at(it, ONE_MORE, "key", "print", false, NOW + i, &repeated), ERR_OK);
        assert_string_equal(it->answer.json.p, "{\"value\":1}");
        assert_true(it->answer.found);
        assert_int_equal(it->answer.changes, 1);
        assert_int_equal(repeated, i > 0);
        if (i == 2) {
            /* Another writer knows it as well. */
            assert_int_equal(writer_fixture_end(it, SIGKILL), -SIGKILL);
            writer_fixture_start(it);
        }
    }
    assert_int_equal(behind_fixture_value(it, "a"), 1);
    assert_int_equal(ask(it, ONE_MORE, "other", "print"), ERR_OK);
    assert_string_equal(it->answer.json.p, "{\"value\":2}");
}

static void the_same_key_with_another_request_is_refused(void **state)
{
    struct writer_fixture *it = *state;

    assert_int_equal(ask(it, ONE_MORE, "key", "print"), ERR_OK);
    assert_int_equal(ask(it, ONE_MORE, "key", "other"), ERR_EXISTS);
    assert_int_equal(behind_fixture_value(it, "a"), 1);
    assert_int_equal(ask(it, ONE_MORE, "key", "print"), ERR_OK);
}

static void a_key_is_free_again_after_a_day(void **state)
{
    struct writer_fixture *it = *state;
    bool repeated;

    for (int behind = 0; behind < 2; behind++) {
        const char *key = behind ? "behind" : "through";
        const int64_t value = behind_fixture_value(it, "a");
        assert_int_equal(ask_at(it, ONE_MORE, key, "print", behind, NOW, NULL), ERR_OK);
        assert_int_equal(ask_at(it, ONE_MORE, key, "print", behind, NOW + DAY_MS - 1, &repeated), ERR_OK);
        assert_true(repeated);
        assert_int_equal(ask_at(it, ONE_MORE, key, "other", behind, NOW + DAY_MS - 1, NULL), ERR_EXISTS);
        assert_int_equal(ask_at(it, ONE_MORE, key, "other", behind, NOW + DAY_MS, &repeated), ERR_OK);
        assert_false(repeated);
        behind_fixture_await_all(it);
        assert_int_equal(behind_fixture_value(it, "a"), value + 2);
    }
}

static void what_a_constraint_refused_stays_refused_under_its_key(void **state)
{
    static const char insert[] = "INSERT INTO counters VALUES ('a', 7)";
    struct writer_fixture *it = *state;
    struct buf first = {0};

    assert_int_equal(ask(it, insert, "key", "print"), ERR_CONSTRAINT);
    buf_add_str(&first, buf_str(&it->why));
    writer_fixture_must_write(it, "DELETE FROM counters");
    assert_int_equal(ask(it, insert, "key", "print"), ERR_CONSTRAINT);
    assert_true(str_equal(buf_str(&it->why), buf_str(&first)));
    assert_int_equal(writer_fixture_count(it, "counters"), 0);
    assert_int_equal(ask(it, insert, "new key", "print"), ERR_OK);
    buf_free(&first);
}

static void what_failed_for_another_reason_may_be_tried_again_under_its_key(void **state)
{
    struct writer_fixture *it = *state;

    /* One that ends the transaction, one that the disk has no room for, one that a lock keeps out. */
    assert_int_not_equal(ask(it, "INSERT INTO mines VALUES (1)", "key", "print"), ERR_OK);
    assert_int_equal(ask(it, "SELECT no_such_function()", "key", "print"), ERR_STATEMENT);
    sqlite3 *lock = behind_fixture_lock(it);
    assert_int_equal(ask(it, ONE_MORE, "key", "print"), ERR_BUSY);
    sqlite3_close(lock);
    assert_int_equal(ask(it, ONE_MORE, "key", "print"), ERR_OK);
    assert_int_equal(behind_fixture_value(it, "a"), 1);
}

static void a_full_disk_keeps_no_answer(void **state)
{
    static const char large[] = "INSERT INTO blobs (bytes) VALUES (zeroblob(4000000))";
    struct writer_fixture *it = *state;
    struct rlimit before, limit;

    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, NULL, &before), 0);
    limit = (struct rlimit){.rlim_cur = 400 << 10, .rlim_max = before.rlim_max};
    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, &limit, NULL), 0);
    assert_int_equal(ask(it, large, "key", "print"), ERR_FULL);
    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, &before, NULL), 0);
    assert_int_equal(ask(it, large, "key", "print"), ERR_OK);
    assert_int_equal(ask(it, large, "key", "print"), ERR_OK);
    assert_int_equal(writer_fixture_count(it, "blobs"), 1);
}

/* COUNT clients ask the same at once: how many ended in ERR_OK. */
static int ask_together(struct writer_fixture *it, const struct writer_frame_request *request, int count,
                        enum err other)
{
    int fds[16], done = 0;

    writer_raw_pause(it);
    for (int i = 0; i < count; i++) {
        fds[i] = writer_raw_connect(it);
        writer_raw_send_request(fds[i], request);
    }
    writer_raw_resume(it);
    for (int i = 0; i < count; i++) {
        int err = writer_raw_receive(fds[i]);
        assert_true(err == ERR_OK || err == (int)other);
        done += err == ERR_OK;
        close(fds[i]);
    }
    return done;
}

static void clients_with_one_key_in_one_group_write_once(void **state)
{
    struct writer_fixture *it = *state;

    for (int behind = 0; behind < 2; behind++) {
        const struct writer_frame_request request = {.kind = WRITER_FRAME_WRITE,
                                                     .sql = STR(ONE_MORE),
                                                     .behind = behind,
                                                     .caller.now_ms = NOW,
                                                     .repeat_key = behind ? STR("behind") : STR("through"),
                                                     .repeat_print = STR("print"),
                                                     .deadline_ms = INT64_MAX};
        assert_int_equal(ask_together(it, &request, 12, ERR_OK), 12);
        behind_fixture_await_all(it);
        assert_int_equal(behind_fixture_value(it, "a"), 1 + behind);
    }
}

static void a_key_counts_across_writes_through_and_behind(void **state)
{
    struct writer_fixture *it = *state;

    assert_int_equal(ask_at(it, ONE_MORE, "one", "print", false, NOW, NULL), ERR_OK);
    assert_int_equal(ask_at(it, ONE_MORE, "one", "print", true, NOW, NULL), ERR_EXISTS);
    assert_int_equal(ask_at(it, ONE_MORE, "two", "print", true, NOW, NULL), ERR_OK);
    assert_int_equal(ask_at(it, ONE_MORE, "two", "print", false, NOW, NULL), ERR_EXISTS);
    assert_int_equal(ask_at(it, ONE_MORE, "two", "other", false, NOW, NULL), ERR_EXISTS);
    behind_fixture_await_all(it);
    assert_int_equal(behind_fixture_value(it, "a"), 2);
}

static void a_write_behind_keeps_its_receipt_under_its_key(void **state)
{
    struct writer_fixture *it = *state;
    bool repeated;
    uint64_t first = 0;

    for (int i = 0; i < 4; i++) {
        assert_int_equal(ask_at(it, ONE_MORE, "key", "print", true, NOW, &repeated), ERR_OK);
        assert_int_equal(repeated, i > 0);
        if (i == 0)
            first = behind_fixture_number(it);
        assert_int_equal(behind_fixture_number(it), first);
        if (i == 1) {
            assert_int_equal(writer_fixture_end(it, SIGKILL), -SIGKILL);
            writer_fixture_start(it);
        }
    }
    assert_int_equal(ask_at(it, ONE_MORE, "key", "other", true, NOW, NULL), ERR_EXISTS);
    behind_fixture_await_all(it);
    assert_int_equal(behind_fixture_value(it, "a"), 1);
}

static void an_answer_of_another_version_is_not_known_and_writes_nothing_again(void **state)
{
    static const char another[] = "UPDATE larder_replays SET answer = x'02000000c801'";
    struct writer_fixture *it = *state;
    char path[128];

    for (int behind = 0; behind < 2; behind++) {
        const char *key = behind ? "behind" : "through";
        assert_int_equal(ask_at(it, ONE_MORE, key, "print", behind, NOW, NULL), ERR_OK);
        behind_fixture_await_all(it);
        behind_fixture_path(it, path, sizeof path);
        fixture_execute(behind ? path : it->files->database, another);
        assert_int_equal(ask_at(it, ONE_MORE, key, "print", behind, NOW, NULL), ERR_IO);
        assert_non_null(strstr(it->why.p, "another version"));
        assert_int_equal(ask_at(it, ONE_MORE, key, "other", behind, NOW, NULL), ERR_EXISTS);
        behind_fixture_await_all(it);
        assert_int_equal(behind_fixture_value(it, "a"), behind + 1);
    }
}

/* Conditions: `SELECT value FROM counters WHERE name = 'a'` is what GET answers. */

static const char reading[] = "SELECT value FROM counters WHERE name = 'a'";

static void add_hash(struct buf *out, int64_t value)
{
    char json[48];
    int len = snprintf(json, sizeof json, "{\"value\":%lld}", (long long)value);

    sys_digest((struct str){json, (size_t)len}, out);
}

static enum err ask_if(struct writer_fixture *it, enum writer_frame_condition condition, struct str hashes,
                       const char *sql, const char *key)
{
    const struct store_caller caller = {.now_ms = NOW};

    buf_clear(&it->why);
    return writer_fixture_ask(it, it->client,
                              &(struct writer_client_ask){.sql = str_from(sql),
                                                          .caller = &caller,
                                                          .condition = condition,
                                                          .condition_sql = STR(reading),
                                                          .condition_shape = CATALOG_OBJECT,
                                                          .condition_hashes = hashes,
                                                          .repeat_key = str_from(key),
                                                          .repeat_print = STR("print")});
}

static void a_condition_decides_inside_the_transaction(void **state)
{
    struct writer_fixture *it = *state;
    struct buf right = {0}, wrong = {0}, list = {0};

    add_hash(&right, 0);
    add_hash(&wrong, 5);
    add_hash(&list, 6);
    add_hash(&list, 0);
    assert_int_equal(ask_if(it, WRITER_FRAME_IF_MATCH, buf_str(&wrong), ONE_MORE, ""), ERR_CHANGED);
    assert_int_equal(ask_if(it, WRITER_FRAME_IF_NONE_MATCH, buf_str(&right), ONE_MORE, ""), ERR_CHANGED);
    assert_int_equal(ask_if(it, WRITER_FRAME_IF_NONE_MATCH, buf_str(&list), ONE_MORE, ""), ERR_CHANGED);
    assert_int_equal(ask_if(it, WRITER_FRAME_IF_NONE_MATCH, STR(""), ONE_MORE, ""), ERR_CHANGED);
    assert_int_equal(behind_fixture_value(it, "a"), 0);
    assert_int_equal(ask_if(it, WRITER_FRAME_IF_MATCH, buf_str(&right), ONE_MORE, ""), ERR_OK);
    assert_string_equal(it->answer.json.p, "{\"value\":1}");
    assert_int_equal(ask_if(it, WRITER_FRAME_IF_MATCH, buf_str(&list), ONE_MORE, ""), ERR_CHANGED);
    assert_int_equal(ask_if(it, WRITER_FRAME_IF_MATCH, STR(""), ONE_MORE, ""), ERR_OK);
    assert_int_equal(ask_if(it, WRITER_FRAME_IF_NONE_MATCH, buf_str(&wrong), ONE_MORE, ""), ERR_OK);
    assert_int_equal(behind_fixture_value(it, "a"), 3);
    buf_free(&right);
    buf_free(&wrong);
    buf_free(&list);
}

static void where_there_is_nothing_only_creating_is_allowed(void **state)
{
    static const char create[] = "INSERT INTO counters VALUES ('a', 0)";
    struct writer_fixture *it = *state;
    struct buf hash = {0};

    add_hash(&hash, 0);
    assert_int_equal(ask_if(it, WRITER_FRAME_IF_NONE_MATCH, STR(""), create, ""), ERR_CHANGED);
    writer_fixture_must_write(it, "DELETE FROM counters");
    assert_int_equal(ask_if(it, WRITER_FRAME_IF_MATCH, STR(""), create, ""), ERR_CHANGED);
    assert_int_equal(ask_if(it, WRITER_FRAME_IF_MATCH, buf_str(&hash), create, ""), ERR_CHANGED);
    assert_int_equal(ask_if(it, WRITER_FRAME_IF_NONE_MATCH, STR(""), create, ""), ERR_OK);
    assert_int_equal(ask_if(it, WRITER_FRAME_IF_NONE_MATCH, STR(""), create, ""), ERR_CHANGED);
    buf_free(&hash);
}

static void a_condition_that_cannot_be_computed_is_not_fulfilled(void **state)
{
    struct writer_fixture *it = *state;
    struct writer_client_ask asked = {.sql = STR(ONE_MORE), .condition = WRITER_FRAME_IF_NONE_MATCH};
    static const char *const readings[] = {"SELECT nothing FROM nowhere", "DELETE FROM counters", "COMMIT",
                                           "SELECT value FROM counters; DROP TABLE counters"};

    for (size_t i = 0; i < sizeof readings / sizeof *readings; i++) {
        asked.condition_sql = str_from(readings[i]);
        if (i == 1)
            asked.condition = WRITER_FRAME_IF_MATCH;
        assert_int_not_equal(writer_fixture_ask(it, it->client, &asked), ERR_OK);
        assert_int_equal(behind_fixture_value(it, "a"), 0);
    }
}

static void a_write_behind_promises_no_condition(void **state)
{
    struct writer_fixture *it = *state;
    struct writer_client_ask asked = {.sql = STR(ONE_MORE), .behind = true, .condition_sql = STR(reading)};

    for (int i = 0; i < 2; i++) {
        asked.condition = i ? WRITER_FRAME_IF_NONE_MATCH : WRITER_FRAME_IF_MATCH;
        assert_int_equal(writer_fixture_ask(it, it->client, &asked), ERR_USAGE);
    }
    asked.condition = WRITER_FRAME_ALWAYS;
    assert_int_equal(writer_fixture_ask(it, it->client, &asked), ERR_OK);
    behind_fixture_await_all(it);
    assert_int_equal(behind_fixture_value(it, "a"), 1);
}

static void of_several_with_one_etag_exactly_one_wins(void **state)
{
    struct writer_fixture *it = *state;

    for (int i = 0; i < 5; i++) {
        struct buf hash = {0};
        add_hash(&hash, i);
        const struct writer_frame_request request = {.kind = WRITER_FRAME_WRITE,
                                                     .sql = STR(ONE_MORE),
                                                     .condition = WRITER_FRAME_IF_MATCH,
                                                     .condition_sql = STR(reading),
                                                     .condition_shape = CATALOG_OBJECT,
                                                     .condition_hashes = buf_str(&hash),
                                                     .deadline_ms = INT64_MAX};
        assert_int_equal(ask_together(it, &request, 2 + 3 * i, ERR_CHANGED), 1);
        assert_int_equal(behind_fixture_value(it, "a"), i + 1);
        buf_free(&hash);
    }
}

static void what_a_condition_refused_stays_refused_under_its_key(void **state)
{
    struct writer_fixture *it = *state;
    struct buf hash = {0};

    add_hash(&hash, 1);
    assert_int_equal(ask_if(it, WRITER_FRAME_IF_MATCH, buf_str(&hash), ONE_MORE, "key"), ERR_CHANGED);
    writer_fixture_must_write(it, ONE_MORE);
    assert_int_equal(ask_if(it, WRITER_FRAME_IF_MATCH, buf_str(&hash), ONE_MORE, "key"), ERR_CHANGED);
    assert_int_equal(ask_if(it, WRITER_FRAME_IF_MATCH, buf_str(&hash), ONE_MORE, "new"), ERR_OK);
    /* And what succeeded stays so, though the condition no longer holds. */
    assert_int_equal(ask_if(it, WRITER_FRAME_IF_MATCH, buf_str(&hash), ONE_MORE, "new"), ERR_OK);
    assert_int_equal(behind_fixture_value(it, "a"), 2);
    buf_free(&hash);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, writer_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_same_key_and_request_write_once_and_are_answered_alike),
        TEST(the_same_key_with_another_request_is_refused),
        TEST(a_key_is_free_again_after_a_day),
        TEST(what_a_constraint_refused_stays_refused_under_its_key),
        TEST(what_failed_for_another_reason_may_be_tried_again_under_its_key),
        TEST(a_full_disk_keeps_no_answer),
        TEST(clients_with_one_key_in_one_group_write_once),
        TEST(a_key_counts_across_writes_through_and_behind),
        TEST(a_write_behind_keeps_its_receipt_under_its_key),
        TEST(an_answer_of_another_version_is_not_known_and_writes_nothing_again),
        TEST(a_condition_decides_inside_the_transaction),
        TEST(where_there_is_nothing_only_creating_is_allowed),
        TEST(a_condition_that_cannot_be_computed_is_not_fulfilled),
        TEST(a_write_behind_promises_no_condition),
        TEST(of_several_with_one_etag_exactly_one_wins),
        TEST(what_a_condition_refused_stays_refused_under_its_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
