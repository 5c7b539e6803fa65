/* Writers that are killed, journals and databases that are taken away: what was acknowledged is there, and once. */
#include "behind_fixture.h"

#define ONE_MORE "UPDATE counters SET value = value + 1 WHERE name = 'a'"

enum { CLIENTS = 4 };

static int setup(void **state)
{
    writer_fixture_setup(state);
    writer_fixture_must_write(*state, "INSERT INTO counters VALUES ('a', 0)");
    return 0;
}

/* What the clients of a round were told; shared with them. */
struct tally {
    _Atomic int64_t acknowledged, unknown;
};

/* Writes until something goes wrong: behind, and now and then through; with a key for each when KEYED, so that what is
 * not known can be asked again. */
static _Noreturn void write_on(struct writer_fixture *it, struct tally *tally, int number, bool keyed)
{
    struct config config = it->config;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    config.store.write_timeout_ms = keyed ? WRITER_PROCESS_PATIENCE_MS : 2000;
    struct writer_client *client = writer_client_new(&config, it->shared);
    for (int i = 0;; i++) {
        char key[48] = "";
        if (keyed)
            snprintf(key, sizeof key, "%d-%d-%d", number, i, (int)getpid());
        const struct writer_client_ask ask = {.sql = STR(ONE_MORE),
                                              .behind = i % 7 != 0,
                                              .repeat_key = str_from(key),
                                              .repeat_print = STR("print"),
                                              .purges = behind_fixture_purges,
                                              .purges_count = 1};
        enum err err = writer_fixture_ask(it, client, &ask);
        while (keyed && (err == ERR_IO || err == ERR_TIMEOUT))
            err = writer_fixture_ask(it, client, &ask);
        if (err == ERR_OK)
            atomic_fetch_add(&tally->acknowledged, 1);
        else if (err == ERR_IO || err == ERR_TIMEOUT)
            atomic_fetch_add(&tally->unknown, 1);
        if (err != ERR_OK)
            _exit(0);
        arena_reset(it->arena);
    }
}

static void start_clients(struct writer_fixture *it, struct tally *tally, bool keyed, pid_t *pids)
{
    for (int i = 0; i < CLIENTS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            write_on(it, tally, i, keyed);
    }
}

/* Lets clients write for up to 40 ms, and until MORE than so many writes have been acknowledged. */
static void let_write(const struct tally *tally, int more, unsigned *seed)
{
    usleep((useconds_t)(rand_r(seed) % 40000));
    for (int64_t end_ms = sys_monotonic_ms() + WRITER_PROCESS_PATIENCE_MS;
         (int)atomic_load(&tally->acknowledged) <= more && sys_monotonic_ms() < end_ms;)
        usleep(1000);
}

static void a_writer_killed_at_any_moment_loses_and_doubles_nothing(void **state)
{
    enum { ROUNDS = 40 };
    struct writer_fixture *it = *state;
    struct tally *tally = writer_process_share(sizeof *tally);
    unsigned seed = 20;
    pid_t pids[CLIENTS];

    behind_fixture_must(it, ONE_MORE);
    atomic_fetch_add(&tally->acknowledged, 1);
    for (int round = 0; round < ROUNDS; round++) {
        start_clients(it, tally, false, pids);
        let_write(tally, round, &seed);
        assert_int_equal(writer_fixture_end(it, SIGKILL), -SIGKILL);
        /* Those who find no writer go as well. */
        atomic_store(&it->shared->state, WRITER_FAILED);
        for (int i = 0; i < CLIENTS; i++)
            writer_process_reap(pids[i]);
        behind_fixture_check_integrity(it);
        writer_fixture_start(it);
    }
    behind_fixture_must(it, ONE_MORE);
    atomic_fetch_add(&tally->acknowledged, 1);
    behind_fixture_await_all(it);
    const int64_t value = behind_fixture_value(it, "a");
    assert_true(atomic_load(&tally->acknowledged) > ROUNDS);
    assert_in_range(value, atomic_load(&tally->acknowledged),
                    atomic_load(&tally->acknowledged) + atomic_load(&tally->unknown));
    assert_int_equal(writer_fixture_count(it, "larder_failures"), 0);
    munmap(tally, sizeof *tally);
}

static void with_a_key_for_each_write_every_one_is_there_exactly_once(void **state)
{
    enum { ROUNDS = 20 };
    struct writer_fixture *it = *state;
    struct tally *tally = writer_process_share(sizeof *tally);
    unsigned seed = 30;
    pid_t pids[CLIENTS];

    start_clients(it, tally, true, pids);
    for (int round = 0; round < ROUNDS; round++) {
        let_write(tally, round + 1, &seed);
        assert_int_equal(writer_fixture_end(it, SIGKILL), -SIGKILL);
        behind_fixture_check_integrity(it);
        writer_fixture_start(it);
    }
    for (int i = 0; i < CLIENTS; i++) {
        kill(pids[i], SIGKILL);
        writer_process_reap(pids[i]);
    }
    behind_fixture_must(it, "UPDATE counters SET value = value");
    behind_fixture_await_all(it);
    /* Only what a client was in the middle of when it was killed itself is not known. */
    assert_true(atomic_load(&tally->acknowledged) > ROUNDS);
    assert_in_range(behind_fixture_value(it, "a"), atomic_load(&tally->acknowledged),
                    atomic_load(&tally->acknowledged) + CLIENTS);
    assert_int_equal(writer_fixture_count(it, "larder_failures"), 0);
    munmap(tally, sizeof *tally);
}

static void a_journal_left_from_before_is_applied_at_the_start(void **state)
{
    struct writer_fixture *it = *state;

    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    sqlite3 *lock = behind_fixture_lock(it);
    uint64_t number = 0;
    for (int i = 0; i < 20; i++)
        number = behind_fixture_must(it, ONE_MORE);
    assert_int_equal(writer_fixture_end(it, SIGKILL), -SIGKILL);
    sqlite3_close(lock);
    assert_int_equal(behind_fixture_value(it, "a"), 1);
    /* Another larder, with nothing in memory. */
    memset(&it->shared->pending, 0, sizeof it->shared->pending);
    writer_fixture_start(it);
    behind_fixture_await(it, number);
    assert_int_equal(behind_fixture_value(it, "a"), 21);
    assert_int_equal(writer_pending_depth(&it->shared->pending), 0);
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    /* And once more: nothing is left to do. */
    memset(&it->shared->pending, 0, sizeof it->shared->pending);
    writer_fixture_start(it);
    assert_int_equal(writer_pending_depth(&it->shared->pending), 0);
    usleep(50000);
    assert_int_equal(behind_fixture_value(it, "a"), 21);
}

/* A lock by another process, until it is killed: a writer forked off this one would take a lock of ours for its own. */
static pid_t lock_elsewhere(const struct writer_fixture *it)
{
    int ready[2];
    char byte;

    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)behind_fixture_lock(it);
        _exit(write(ready[1], "x", 1) == 1 ? pause() : 1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void what_is_left_of_a_journal_covers_everything_until_it_is_applied(void **state)
{
    struct writer_fixture *it = *state;

    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    sqlite3 *lock = behind_fixture_lock(it);
    uint64_t number = behind_fixture_must(it, ONE_MORE);
    assert_int_equal(writer_fixture_end(it, SIGKILL), -SIGKILL);
    sqlite3_close(lock);
    memset(&it->shared->pending, 0, sizeof it->shared->pending);
    pid_t locker = lock_elsewhere(it);
    writer_fixture_start(it);
    assert_int_equal(writer_pending_covers(&it->shared->pending, STR("any"), NULL, 0), number);
    behind_fixture_await_stall(it, true);
    assert_int_equal(behind_fixture_value(it, "a"), 1);
    kill(locker, SIGKILL);
    writer_process_reap(locker);
    behind_fixture_await(it, number);
    behind_fixture_await_stall(it, false);
    assert_int_equal(behind_fixture_value(it, "a"), 2);
}

static void a_writer_that_died_in_between_leaves_no_purge_to_be_overlooked(void **state)
{
    struct writer_fixture *it = *state;
    int64_t outbox_id;

    uint64_t number = behind_fixture_must(it, ONE_MORE);
    behind_fixture_await(it, number);
    assert_int_equal(writer_fixture_end(it, SIGKILL), -SIGKILL);
    /* As if it had died between the commit and telling of it. */
    atomic_store(&it->shared->pending.applied, number - 1);
    atomic_store(&it->shared->pending.outbox_id, 0);
    writer_fixture_start(it);
    behind_fixture_await(it, number);
    assert_int_equal(writer_pending_to_settle(&it->shared->pending, &outbox_id), number);
    assert_int_equal(outbox_id, fixture_integer(it->files->database, "SELECT max(id) FROM larder_outbox"));
}

static void an_older_copy_of_the_database_is_brought_as_far_as_the_journal_reaches(void **state)
{
    struct writer_fixture *it = *state;
    char copy[128], sql[160];

    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    snprintf(copy, sizeof copy, "%s.copy", it->files->database);
    snprintf(sql, sizeof sql, "VACUUM INTO '%s'", copy);
    fixture_execute(it->files->database, sql);
    for (int i = 0; i < 10; i++)
        behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    assert_int_equal(behind_fixture_value(it, "a"), 11);
    fixture_execute(it->files->database, "PRAGMA wal_checkpoint(TRUNCATE)");
    assert_int_equal(rename(copy, it->files->database), 0);
    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    /* What the journal still had is applied again; what it had forgotten is as lost as the newer database. */
    assert_in_range(behind_fixture_value(it, "a"), 2, 12);
    assert_true(atomic_load(&it->shared->pending.applied) == atomic_load(&it->shared->pending.accepted));
    /* Nothing goes round in circles. */
    uint64_t commits = atomic_load(&it->shared->commits);
    usleep(100000);
    assert_int_equal(atomic_load(&it->shared->commits), commits);
    int64_t value = behind_fixture_value(it, "a");
    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    assert_int_equal(behind_fixture_value(it, "a"), value + 1);
}

/* The journal as it is now, beside it. */
static void copy_journal(const struct writer_fixture *it, char *path, size_t size)
{
    char sql[176];

    behind_fixture_path(it, path, size);
    snprintf(sql, sizeof sql, "VACUUM INTO '%s.copy'", path);
    fixture_execute(path, sql);
}

/* The copy in its place, as an administrator would put it there. */
static void put_back(const char *path)
{
    static const char *const rests[] = {"-wal", "-shm"};
    char other[144];

    for (size_t i = 0; i < 2; i++) {
        snprintf(other, sizeof other, "%s%s", path, rests[i]);
        assert_int_equal(unlink(other), 0);
    }
    snprintf(other, sizeof other, "%s.copy", path);
    assert_int_equal(rename(other, path), 0);
}

static void an_older_copy_of_the_journal_gives_no_number_again(void **state)
{
    struct writer_fixture *it = *state;
    char path[128], copy[144];

    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    copy_journal(it, path, sizeof path);
    uint64_t last = 0;
    for (int i = 0; i < 10; i++)
        last = behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    snprintf(copy, sizeof copy, "%s.copy", path);
    assert_int_equal(rename(copy, path), 0);
    memset(&it->shared->pending, 0, sizeof it->shared->pending);
    writer_fixture_start(it);
    uint64_t next = behind_fixture_must(it, ONE_MORE);
    assert_true(next > last);
    behind_fixture_await(it, next);
    assert_int_equal(behind_fixture_value(it, "a"), 12);
}

static void an_older_copy_of_the_journal_under_a_running_writer_gives_no_number_again(void **state)
{
    struct writer_fixture *it = *state;
    char path[128];

    for (int i = 0; i < 2; i++) {
        behind_fixture_must(it, ONE_MORE);
        behind_fixture_await_all(it);
        copy_journal(it, path, sizeof path);
        for (int j = 0; j < 10; j++)
            behind_fixture_must(it, ONE_MORE);
        behind_fixture_await_all(it);
        const int64_t value = behind_fixture_value(it, "a");
        uint64_t last = behind_fixture_number(it);
        sqlite3 *lock = behind_fixture_lock(it);
        if (i == 1)
            last = behind_fixture_must(it, ONE_MORE);
        struct str receipt = behind_fixture_receipt(it);
        put_back(path);
        sqlite3_close(lock);
        uint64_t next = behind_fixture_must(it, ONE_MORE);
        assert_true(next > last);
        behind_fixture_await(it, next);
        /* What stood in the other journal alone is lost, unless it was being applied just then. */
        const bool lost = strcmp(behind_fixture_state(it, receipt), "lost") == 0;
        assert_int_equal(behind_fixture_value(it, "a"), value + 1 + (i == 1 && !lost));
        assert_true(i == 1 || !lost);
        behind_fixture_expect_state(it, behind_fixture_receipt(it), "applied");
        assert_int_equal(writer_pending_depth(&it->shared->pending), 0);
    }
    assert_int_equal(writer_fixture_count(it, "larder_failures"), 0);
}

static void a_journal_that_was_away_for_a_while_is_applied_when_it_is_back(void **state)
{
    struct writer_fixture *it = *state;
    char path[128], away[128];

    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    behind_fixture_path(it, path, sizeof path);
    snprintf(away, sizeof away, "%s/away", it->files->dir);
    sqlite3 *lock = behind_fixture_lock(it);
    uint64_t number = behind_fixture_must(it, ONE_MORE);
    assert_int_equal(rename(path, away), 0);
    behind_fixture_await(it, number);
    assert_int_equal(rename(away, path), 0);
    sqlite3_close(lock);
    assert_int_equal(behind_fixture_value(it, "a"), 1);
    /* Whoever looks into it next, be it for nothing. */
    assert_int_equal(writer_client_drop(it->client, number, &it->why), ERR_NOT_FOUND);
    assert_int_equal(behind_fixture_value(it, "a"), 2);
}

static void a_journal_taken_away_takes_along_what_stood_in_it_and_no_more(void **state)
{
    struct writer_fixture *it = *state;
    char path[128];

    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    behind_fixture_path(it, path, sizeof path);
    for (int i = 0; i < 3; i++) {
        sqlite3 *lock = behind_fixture_lock(it);
        uint64_t number = behind_fixture_must(it, ONE_MORE);
        assert_int_equal(unlink(path), 0);
        if (i == 0) {
            /* A new one is begun meanwhile. */
            assert_int_equal(behind_fixture_ask(it, ONE_MORE, ""), ERR_BUSY);
            assert_true(writer_pending_await(&it->shared->pending, number, WRITER_PROCESS_PATIENCE_MS));
        }
        sqlite3_close(lock);
        /* Nobody waits for ever for what is gone. */
        behind_fixture_await(it, number);
        int64_t value = behind_fixture_value(it, "a");
        uint64_t next = behind_fixture_must(it, ONE_MORE);
        assert_true(next > number);
        behind_fixture_await(it, next);
        assert_int_equal(behind_fixture_value(it, "a"), value + 1);
        assert_int_equal(writer_pending_depth(&it->shared->pending), 0);
        behind_fixture_expect_state(it, behind_fixture_receipt(it), "applied");
    }
}

static void a_journal_that_is_none_refuses_writes_behind_and_no_others(void **state)
{
    struct writer_fixture *it = *state;
    char path[128];

    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    behind_fixture_path(it, path, sizeof path);
    fixture_write(it->files, "data.db-larder.journal", "This is somebody's letter, and no journal. ");
    writer_fixture_start(it);
    for (int i = 0; i < 2; i++)
        assert_int_equal(behind_fixture_ask(it, ONE_MORE, ""), ERR_CORRUPT);
    assert_int_equal(writer_fixture_write_purging(it, ONE_MORE, behind_fixture_purges, 1), ERR_OK);
    assert_int_equal(unlink(path), 0);
    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    assert_int_equal(behind_fixture_value(it, "a"), 2);
    behind_fixture_await_stall(it, false);
}

static void a_full_disk_refuses_what_the_journal_cannot_take(void **state)
{
    struct writer_fixture *it = *state;
    struct rlimit before, limit;
    struct buf sql = {0};

    behind_fixture_must(it, ONE_MORE);
    behind_fixture_await_all(it);
    buf_add_str(&sql, STR("SELECT 1 -- "));
    for (int i = 0; i < 600000; i++)
        buf_add_char(&sql, 'x');
    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, NULL, &before), 0);
    limit = (struct rlimit){.rlim_cur = 400 << 10, .rlim_max = before.rlim_max};
    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, &limit, NULL), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(behind_fixture_ask(it, sql.p, i == 1 ? "key" : ""), ERR_FULL);
        behind_fixture_must(it, ONE_MORE);
    }
    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, &before, NULL), 0);
    assert_int_equal(behind_fixture_ask(it, sql.p, "key"), ERR_OK);
    behind_fixture_await_all(it);
    assert_int_equal(behind_fixture_value(it, "a"), 4);
    assert_int_equal(writer_fixture_count(it, "larder_failures"), 0);
    buf_free(&sql);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, writer_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_writer_killed_at_any_moment_loses_and_doubles_nothing),
        TEST(with_a_key_for_each_write_every_one_is_there_exactly_once),
        TEST(a_journal_left_from_before_is_applied_at_the_start),
        TEST(what_is_left_of_a_journal_covers_everything_until_it_is_applied),
        TEST(a_writer_that_died_in_between_leaves_no_purge_to_be_overlooked),
        TEST(an_older_copy_of_the_database_is_brought_as_far_as_the_journal_reaches),
        TEST(an_older_copy_of_the_journal_gives_no_number_again),
        TEST(an_older_copy_of_the_journal_under_a_running_writer_gives_no_number_again),
        TEST(a_journal_that_was_away_for_a_while_is_applied_when_it_is_back),
        TEST(a_journal_taken_away_takes_along_what_stood_in_it_and_no_more),
        TEST(a_journal_that_is_none_refuses_writes_behind_and_no_others),
        TEST(a_full_disk_refuses_what_the_journal_cannot_take),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
