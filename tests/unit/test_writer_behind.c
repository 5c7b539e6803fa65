/* Writes behind, by a real writer: accepted once they are on the disk, applied in order, and each once. */
#include "behind_fixture.h"

#include "store/outbox.h"

#define ONE_MORE "UPDATE counters SET value = value + 1 WHERE name = 'a'"

static int setup(void **state)
{
    writer_fixture_setup(state);
    writer_fixture_must_write(*state, "INSERT INTO counters VALUES ('a', 0)");
    return 0;
}

static void what_is_accepted_stands_in_the_journal_before_it_is_applied(void **state)
{
    struct writer_fixture *it = *state;

    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    sqlite3 *lock = behind_fixture_lock(it);
    uint64_t number = behind_fixture_must(it, ONE_MORE);
    assert_int_equal(behind_fixture_in_journal(it, "SELECT max(number) FROM writes"), number);
    assert_int_equal(atomic_load(&it->shared->pending.accepted), number);
    assert_int_equal(writer_pending_depth(&it->shared->pending), 1);
    assert_int_equal(behind_fixture_value(it, "a"), 1);
    behind_fixture_expect_state(it, behind_fixture_receipt(it), "accepted");
    sqlite3_close(lock);
    behind_fixture_await(it, number);
    assert_int_equal(behind_fixture_value(it, "a"), 2);
    behind_fixture_expect_state(it, behind_fixture_receipt(it), "applied");
    assert_int_equal(writer_pending_depth(&it->shared->pending), 0);
}

static void the_first_receipt_of_a_journal_is_known_at_once(void **state)
{
    struct writer_fixture *it = *state;
    const char *state_name;

    behind_fixture_must(it, ONE_MORE);
    state_name = behind_fixture_state(it, behind_fixture_receipt(it));
    assert_true(strcmp(state_name, "accepted") == 0 || strcmp(state_name, "applied") == 0);
}

static void without_a_database_to_know_the_journal_nothing_is_accepted(void **state)
{
    struct writer_fixture *it = *state;
    sqlite3 *lock = behind_fixture_lock(it);

    assert_int_equal(behind_fixture_ask(it, ONE_MORE, ""), ERR_BUSY);
    sqlite3_close(lock);
    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    assert_int_equal(behind_fixture_value(it, "a"), 1);
}

static void writes_are_applied_in_the_order_in_which_they_were_accepted(void **state)
{
    enum { WRITES = 3000 };
    struct writer_fixture *it = *state;
    uint64_t last = 0;
    char sql[96];

    for (int i = 0; i < WRITES; i++) {
        /* Each is only right behind the one before it. */
        snprintf(sql, sizeof sql, "UPDATE counters SET value = %d WHERE name = 'a' AND value = %d", i + 1, i);
        arena_reset(it->arena);
        uint64_t number = behind_fixture_must(it, sql);
        assert_true(number > last);
        last = number;
    }
    behind_fixture_await(it, last);
    assert_int_equal(behind_fixture_value(it, "a"), WRITES);
    assert_true(atomic_load(&it->shared->commits) < WRITES);
    assert_int_equal(writer_fixture_count(it, "larder_failures"), 0);
}

static void purges_stand_in_the_outbox_with_the_data_each_once_for_a_batch(void **state)
{
    struct writer_fixture *it = *state;
    sqlite3 *lock;

    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    assert_int_equal(writer_fixture_count(it, "larder_outbox"), 1);
    lock = behind_fixture_lock(it);
    for (int i = 0; i < 50; i++)
        behind_fixture_must(it, ONE_MORE);
    sqlite3_close(lock);
    behind_fixture_await_all(it);
    assert_int_equal(behind_fixture_value(it, "a"), 51);
    assert_int_equal(writer_fixture_count(it, "larder_outbox"), 2);
    assert_int_equal(fixture_integer(it->files->database, "SELECT count(DISTINCT items) FROM larder_outbox"), 1);
    /* Nobody else carries them out, so nobody has to wait. */
    assert_int_equal(fixture_integer(it->files->database, "SELECT max(at_ms) FROM larder_outbox"), 0);
    assert_int_equal(atomic_load(&it->shared->pending.outbox_id),
                     fixture_integer(it->files->database, "SELECT max(id) FROM larder_outbox"));
}

static void one_that_fails_is_put_aside_and_the_others_go_on(void **state)
{
    static const char *const bad[] = {
        "INSERT INTO counters VALUES ('a', 1)",
        "INSERT INTO counters VALUES ('b', 1); INSERT INTO counters VALUES ('c', -1)",
        "INSERT INTO children VALUES (99)",
        "SELECT no_such_function()",
        "COMMIT",
        "INSERT INTO nowhere VALUES (1)",
        /* These end the transaction. */
        "INSERT INTO mines VALUES (1)",
        "INSERT OR ROLLBACK INTO counters VALUES ('a', 1)",
    };
    enum { BAD = sizeof bad / sizeof *bad };
    struct writer_fixture *it = *state;
    struct str receipts[BAD];

    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    sqlite3 *lock = behind_fixture_lock(it);
    for (int i = 0; i < BAD; i++) {
        behind_fixture_must(it, ONE_MORE);
        behind_fixture_must(it, bad[i]);
        receipts[i] = behind_fixture_receipt(it);
    }
    behind_fixture_must(it, ONE_MORE);
    sqlite3_close(lock);
    behind_fixture_await_all(it);
    assert_int_equal(behind_fixture_value(it, "a"), BAD + 2);
    assert_int_equal(writer_fixture_count(it, "counters"), 1);
    assert_int_equal(writer_fixture_count(it, "larder_failures"), BAD);
    assert_int_equal(writer_fixture_count(it, "larder_failures WHERE why <> '' AND request IS NOT NULL"), BAD);
    for (int i = 0; i < BAD; i++)
        behind_fixture_expect_state(it, receipts[i], "failed");
    assert_false(atomic_load(&it->shared->pending.stalled));
}

static void a_database_locked_by_another_program_only_delays(void **state)
{
    struct writer_fixture *it = *state;

    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    sqlite3 *lock = behind_fixture_lock(it);
    uint64_t number = behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_stall(it, true);
    /* Nobody waits for what cannot come now, and more is accepted. */
    assert_false(writer_pending_await(&it->shared->pending, number, WRITER_PROCESS_PATIENCE_MS));
    number = behind_fixture_must(it, ONE_MORE);
    assert_int_equal(writer_pending_depth(&it->shared->pending), 2);
    sqlite3_close(lock);
    behind_fixture_await(it, number);
    behind_fixture_await_stall(it, false);
    assert_int_equal(behind_fixture_value(it, "a"), 3);
    assert_int_equal(writer_fixture_count(it, "larder_failures"), 0);
}

static void a_full_disk_only_delays(void **state)
{
    struct writer_fixture *it = *state;
    struct rlimit before, limit;

    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, NULL, &before), 0);
    limit = (struct rlimit){.rlim_cur = 400 << 10, .rlim_max = before.rlim_max};
    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, &limit, NULL), 0);
    uint64_t number = behind_fixture_must(it, "INSERT INTO blobs (bytes) VALUES (zeroblob(4000000))");
    uint64_t second = behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_stall(it, true);
    assert_true(atomic_load(&it->shared->pending.applied) < number);
    assert_int_equal(behind_fixture_value(it, "a"), 1);
    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, &before, NULL), 0);
    behind_fixture_await(it, second);
    assert_int_equal(behind_fixture_value(it, "a"), 2);
    assert_int_equal(writer_fixture_count(it, "blobs"), 1);
    assert_int_equal(writer_fixture_count(it, "larder_failures"), 0);
}

static void a_write_through_comes_behind_what_was_accepted_before_it(void **state)
{
    struct writer_fixture *it = *state;
    char sql[96];

    for (int i = 0; i < 100; i++) {
        snprintf(sql, sizeof sql, "UPDATE counters SET value = %d WHERE name = 'a' AND value = %d", 2 * i + 1, 2 * i);
        behind_fixture_must(it, sql);
        snprintf(sql, sizeof sql, "UPDATE counters SET value = %d WHERE name = 'a' AND value = %d", 2 * i + 2,
                 2 * i + 1);
        assert_int_equal(writer_fixture_write_purging(it, sql, behind_fixture_purges, 1), ERR_OK);
        assert_int_equal(it->answer.changes, 1);
    }
    assert_int_equal(behind_fixture_value(it, "a"), 200);
}

static void a_batch_comes_behind_everything_that_was_accepted_before_it(void **state)
{
    const struct params_values none = {.count = 0};
    struct writer_fixture *it = *state;
    uint64_t failed_row;

    for (int i = 0; i < 50; i++)
        behind_fixture_must(it, ONE_MORE);
    assert_int_equal(writer_client_batch_begin(
                         it->client, STR("UPDATE counters SET value = value * 10 WHERE name = 'a'"), false, &it->why),
                     ERR_OK);
    assert_int_equal(writer_client_batch_row(it->client, &none, &it->why), ERR_OK);
    assert_int_equal(writer_client_batch_commit(it->client, NULL, 0, &failed_row, NULL, &it->why), ERR_OK);
    assert_int_equal(behind_fixture_value(it, "a"), 500);
}

static void a_write_through_is_refused_while_what_comes_before_it_cannot_be_applied(void **state)
{
    struct writer_fixture *it = *state;
    struct rlimit before, limit;

    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, NULL, &before), 0);
    limit = (struct rlimit){.rlim_cur = 400 << 10, .rlim_max = before.rlim_max};
    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, &limit, NULL), 0);
    behind_fixture_must(it, "INSERT INTO blobs (bytes) VALUES (zeroblob(4000000))");
    behind_fixture_await_stall(it, true);
    assert_int_equal(writer_fixture_write_purging(it, ONE_MORE, behind_fixture_purges, 1), ERR_FULL);
    /* What purges something else need not come behind it. */
    const struct str others[] = {STR("tag:others")};
    assert_int_equal(writer_fixture_write_purging(it, ONE_MORE, others, 1), ERR_OK);
    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, &before, NULL), 0);
    assert_int_equal(writer_fixture_write_purging(it, ONE_MORE, behind_fixture_purges, 1), ERR_OK);
    assert_int_equal(behind_fixture_value(it, "a"), 3);
    assert_int_equal(writer_fixture_count(it, "blobs"), 1);
}

static void told_to_stop_it_applies_what_it_has_accepted(void **state)
{
    struct writer_fixture *it = *state;

    for (int i = 0; i < 300; i++) {
        arena_reset(it->arena);
        behind_fixture_must(it, ONE_MORE);
    }
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    assert_int_equal(behind_fixture_value(it, "a"), 300);
    assert_int_equal(writer_pending_depth(&it->shared->pending), 0);
    writer_fixture_start(it);
    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    assert_int_equal(behind_fixture_value(it, "a"), 301);
}

/* A writer whose journal is small, with as much accepted and not applied as goes in: LOCK keeps it so. Returns how
 * many.
 */
static int64_t fill_journal(struct writer_fixture *it, sqlite3 **lock)
{
    enum err err = ERR_OK;
    int64_t accepted = 1;

    /* The writer has the configuration as it was when it was forked. */
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    it->config.store.journal_limit = 64 << 10;
    writer_fixture_start(it);
    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    *lock = behind_fixture_lock(it);
    for (; err == ERR_OK && accepted < 5000; accepted += err == ERR_OK) {
        arena_reset(it->arena);
        err = behind_fixture_ask(it, ONE_MORE, "");
    }
    assert_int_equal(err, ERR_BUSY);
    assert_non_null(strstr(it->why.p, "journal is full"));
    assert_in_range(accepted, 100, 1000);
    return accepted;
}

static void a_full_journal_refuses_until_there_is_room(void **state)
{
    struct writer_fixture *it = *state;
    sqlite3 *lock;
    int64_t accepted = fill_journal(it, &lock);

    sqlite3_close(lock);
    behind_fixture_await_all(it);
    assert_int_equal(behind_fixture_value(it, "a"), accepted);
    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    assert_int_equal(behind_fixture_value(it, "a"), accepted + 1);
}

static void what_a_journal_holds_that_was_applied_before_a_restart_takes_no_room(void **state)
{
    struct writer_fixture *it = *state;
    sqlite3 *lock;
    int64_t accepted = fill_journal(it, &lock);

    sqlite3_close(lock);
    behind_fixture_await_all(it);
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    writer_fixture_start(it);
    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    assert_int_equal(behind_fixture_value(it, "a"), accepted + 1);
    assert_true(behind_fixture_in_journal(it, "SELECT count(*) FROM writes") <= 1);
}

static void one_that_is_not_understood_fails_and_is_no_loop(void **state)
{
    struct writer_fixture *it = *state;
    char path[128];

    uint64_t number = behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    assert_int_equal(writer_fixture_end(it, SIGKILL), -SIGKILL);
    behind_fixture_path(it, path, sizeof path);
    /* A frame of version 200, one that is cut short, one that is empty, and one of a kind that does not belong here. */
    fixture_execute(path, "INSERT INTO writes (at_ms, request) VALUES (1, x'02000000c801'), (2, x'0200000003'), "
                          "(3, x''), (4, x'04000000030600000000')");
    writer_fixture_start(it);
    behind_fixture_await(it, number + 4);
    assert_int_equal(writer_fixture_count(it, "larder_failures"), 4);
    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    assert_int_equal(behind_fixture_value(it, "a"), 2);
    /* Repeated it fails again, under another number; dropped it is gone. */
    struct writer_client_told told;
    assert_int_equal(writer_client_repeat(it->client, number + 1, it->arena, &told, &it->why), ERR_OK);
    behind_fixture_await(it, number + 6);
    assert_int_equal(writer_fixture_count(it, "larder_failures WHERE state = 'failed'"), 4);
    assert_int_equal(writer_client_drop(it->client, number + 6, &it->why), ERR_OK);
    assert_int_equal(writer_fixture_count(it, "larder_failures WHERE state = 'failed'"), 3);
}

static void a_failed_write_can_be_repeated_once_and_then_succeed(void **state)
{
    struct writer_fixture *it = *state;
    struct writer_client_told told;

    uint64_t number = behind_fixture_must(it, "INSERT INTO counters VALUES ('a', 5)");
    struct str receipt = behind_fixture_receipt(it);
    behind_fixture_await(it, number);
    behind_fixture_expect_state(it, receipt, "failed");
    /* As it is: fails again. */
    assert_int_equal(writer_client_repeat(it->client, number, it->arena, &told, &it->why), ERR_OK);
    it->answer = told.row;
    struct str second = behind_fixture_receipt(it);
    behind_fixture_await(it, receipt_number(second));
    behind_fixture_expect_state(it, receipt, "repeated");
    behind_fixture_expect_state(it, second, "failed");
    assert_int_equal(writer_client_repeat(it->client, number, it->arena, &told, &it->why), ERR_NOT_FOUND);
    assert_int_equal(writer_client_drop(it->client, number, &it->why), ERR_NOT_FOUND);
    /* With what stood in the way gone, it succeeds. */
    number = receipt_number(second);
    writer_fixture_must_write(it, "DELETE FROM counters");
    assert_int_equal(writer_client_repeat(it->client, number, it->arena, &told, &it->why), ERR_OK);
    it->answer = told.row;
    behind_fixture_await(it, behind_fixture_number(it));
    behind_fixture_expect_state(it, behind_fixture_receipt(it), "applied");
    assert_int_equal(behind_fixture_value(it, "a"), 5);
}

static void a_failed_write_can_be_dropped_once(void **state)
{
    struct writer_fixture *it = *state;
    struct writer_client_told told;

    uint64_t number = behind_fixture_must(it, "INSERT INTO counters VALUES ('a', 5)");
    struct str receipt = behind_fixture_receipt(it);
    behind_fixture_await(it, number);
    assert_int_equal(writer_client_drop(it->client, number, &it->why), ERR_OK);
    behind_fixture_expect_state(it, receipt, "dropped");
    assert_int_equal(writer_client_drop(it->client, number, &it->why), ERR_NOT_FOUND);
    assert_int_equal(writer_client_repeat(it->client, number, it->arena, &told, &it->why), ERR_NOT_FOUND);
    assert_int_equal(writer_client_drop(it->client, number + 1, &it->why), ERR_NOT_FOUND);
    /* What was applied is nobody's to decide about. */
    number = behind_fixture_must(it, ONE_MORE);
    behind_fixture_await(it, number);
    assert_int_equal(writer_client_repeat(it->client, number, it->arena, &told, &it->why), ERR_NOT_FOUND);
    assert_int_equal(behind_fixture_value(it, "a"), 1);
}

static void a_repetition_that_the_journal_cannot_take_leaves_nothing_pending(void **state)
{
    struct writer_fixture *it = *state;
    struct writer_client_told told;

    uint64_t number = behind_fixture_must(it, "INSERT INTO counters VALUES ('a', 5)");
    struct str receipt = behind_fixture_receipt(it);
    behind_fixture_await(it, number);
    behind_fixture_limit(it, behind_fixture_wal(it));
    assert_int_equal(writer_client_repeat(it->client, number, it->arena, &told, &it->why), ERR_FULL);
    assert_int_equal(writer_pending_depth(&it->shared->pending), 0);
    behind_fixture_expect_state(it, receipt, "failed");
    behind_fixture_limit(it, 0);
    assert_int_equal(writer_client_repeat(it->client, number, it->arena, &told, &it->why), ERR_OK);
    behind_fixture_await_all(it);
    behind_fixture_expect_state(it, receipt, "repeated");
}

static void a_repetition_that_is_accepted_is_one_whatever_the_database_says_to_it(void **state)
{
    struct writer_fixture *it = *state;
    struct writer_client_told told;
    struct stat status;
    char path[128];

    uint64_t number = behind_fixture_must(it, "UPDATE counters SET value = value - 1 WHERE name = 'a'");
    char *receipt = sys_copy(behind_fixture_receipt(it));
    behind_fixture_await(it, number);
    behind_fixture_expect_state(it, str_from(receipt), "failed");
    writer_fixture_must_write(it, "UPDATE counters SET value = 5 WHERE name = 'a'");
    writer_fixture_must_write(it, "INSERT INTO blobs (bytes) VALUES (zeroblob(500000))");
    /* Room in the journal, and none in the database. */
    snprintf(path, sizeof path, "%s-wal", it->files->database);
    assert_int_equal(stat(path, &status), 0);
    assert_true((rlim_t)status.st_size > behind_fixture_wal(it) + 100000);
    behind_fixture_limit(it, (rlim_t)status.st_size);
    assert_int_equal(writer_client_repeat(it->client, number, it->arena, &told, &it->why), ERR_OK);
    it->answer = told.row;
    struct str second = behind_fixture_receipt(it);
    behind_fixture_await_stall(it, true);
    behind_fixture_expect_state(it, second, "accepted");
    assert_int_equal(writer_client_drop(it->client, number, &it->why), ERR_FULL);
    assert_int_equal(writer_client_repeat(it->client, number, it->arena, &told, &it->why), ERR_FULL);
    behind_fixture_limit(it, 0);
    behind_fixture_await_all(it);
    behind_fixture_expect_state(it, str_from(receipt), "repeated");
    behind_fixture_expect_state(it, second, "applied");
    assert_int_equal(writer_client_drop(it->client, number, &it->why), ERR_NOT_FOUND);
    assert_int_equal(writer_client_repeat(it->client, number, it->arena, &told, &it->why), ERR_NOT_FOUND);
    assert_int_equal(behind_fixture_value(it, "a"), 4);
    free(receipt);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, writer_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_accepted_stands_in_the_journal_before_it_is_applied),
        TEST(the_first_receipt_of_a_journal_is_known_at_once),
        TEST(without_a_database_to_know_the_journal_nothing_is_accepted),
        TEST(writes_are_applied_in_the_order_in_which_they_were_accepted),
        TEST(purges_stand_in_the_outbox_with_the_data_each_once_for_a_batch),
        TEST(one_that_fails_is_put_aside_and_the_others_go_on),
        TEST(a_database_locked_by_another_program_only_delays),
        TEST(a_full_disk_only_delays),
        TEST(a_write_through_comes_behind_what_was_accepted_before_it),
        TEST(a_batch_comes_behind_everything_that_was_accepted_before_it),
        TEST(a_write_through_is_refused_while_what_comes_before_it_cannot_be_applied),
        TEST(told_to_stop_it_applies_what_it_has_accepted),
        TEST(a_full_journal_refuses_until_there_is_room),
        TEST(what_a_journal_holds_that_was_applied_before_a_restart_takes_no_room),
        TEST(one_that_is_not_understood_fails_and_is_no_loop),
        TEST(a_failed_write_can_be_repeated_once_and_then_succeed),
        TEST(a_failed_write_can_be_dropped_once),
        TEST(a_repetition_that_the_journal_cannot_take_leaves_nothing_pending),
        TEST(a_repetition_that_is_accepted_is_one_whatever_the_database_says_to_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
