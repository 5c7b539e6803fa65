/* The writer as a process: its lock, its life and its death, and what it leaves on the disk. */
#include "writer_raw.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

static void what_was_acknowledged_is_in_the_database(void **state)
{
    struct writer_fixture *it = *state;

    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 1)");
    assert_int_equal(it->answer.changes, 1);
    assert_false(it->answer.found);
    assert_int_equal(writer_fixture_count(it, "counters"), 1);
    assert_int_equal(atomic_load(&it->shared->committed), 1);
}

static void a_new_database_is_made_and_migrated(void **state)
{
    struct writer_fixture *it = *state;
    struct stat status;
    char path[128];

    assert_int_equal(fixture_integer(it->files->database, "PRAGMA user_version"), 1);
    snprintf(path, sizeof path, "%s-larder.sock", it->files->database);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

static void a_migration_that_fails_is_the_reason_why_nobody_can_write(void **state)
{
    struct writer_fixture *it = *state;

    fixture_write(it->files, "sql/migrations/0002-wrong.sql", "CREATE TABLE counters (x);");
    assert_int_equal(writer_process_reap(writer_process_fork(&it->config, it->shared)), 1);
    assert_int_equal(atomic_load(&it->shared->state), WRITER_FAILED);
    assert_non_null(strstr(it->shared->reason, "0002-wrong.sql:1:"));
    assert_int_equal(writer_fixture_write(it, "DELETE FROM counters"), ERR_UNAVAILABLE);
    assert_non_null(strstr(it->why.p, "0002-wrong.sql"));
}

static void the_second_writer_waits_for_the_lock_and_says_who_holds_it(void **state)
{
    struct writer_fixture *it = *state;
    struct writer_shared *second_shared = writer_process_share(sizeof(struct writer_shared));
    struct writer_client *second_client = writer_client_new(&it->config, second_shared);
    char pid[32];

    pid_t second = writer_process_fork(&it->config, second_shared);
    writer_process_await(second_shared, WRITER_LOCKED_OUT);
    snprintf(pid, sizeof pid, "process %d ", (int)it->pid);
    assert_non_null(strstr(second_shared->reason, pid));
    assert_int_equal(
        writer_fixture_ask(it, second_client, &(struct writer_client_ask){.sql = STR("DELETE FROM counters")}),
        ERR_UNAVAILABLE);
    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 1)");

    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    writer_process_await(second_shared, WRITER_READY);
    buf_clear(&it->why);
    assert_int_equal(
        writer_fixture_ask(it, second_client, &(struct writer_client_ask){.sql = STR("UPDATE counters SET value = 2")}),
        ERR_OK);
    assert_int_equal(it->answer.changes, 1);
    kill(second, SIGTERM);
    assert_int_equal(writer_process_reap(second), 0);
    writer_client_free(&second_client);
    munmap(second_shared, sizeof *second_shared);
}

static void a_writer_that_is_locked_out_can_be_stopped(void **state)
{
    struct writer_fixture *it = *state;
    struct writer_shared *shared = writer_process_share(sizeof(struct writer_shared));

    pid_t second = writer_process_fork(&it->config, shared);
    writer_process_await(shared, WRITER_LOCKED_OUT);
    kill(second, SIGTERM);
    assert_int_equal(writer_process_reap(second), 0);
    munmap(shared, sizeof *shared);
}

static void told_to_stop_it_answers_what_it_was_sent(void **state)
{
    enum { CLIENTS = 5 };
    struct writer_fixture *it = *state;
    struct stat status;
    char path[128];
    int fds[CLIENTS];

    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 0)");
    writer_raw_pause(it);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = writer_raw_connect(it);
        writer_raw_send(fds[i], WRITER_FRAME_WRITE, "UPDATE counters SET value = value + 1",
                        WRITER_PROCESS_PATIENCE_MS);
    }
    kill(it->pid, SIGTERM);
    writer_raw_resume(it);
    for (int i = 0; i < CLIENTS; i++) {
        assert_int_equal(writer_raw_receive(fds[i]), ERR_OK);
        close(fds[i]);
    }
    pid_t pid = it->pid;
    it->pid = 0;
    assert_int_equal(writer_process_reap(pid), 0);
    assert_int_equal(fixture_integer(it->files->database, "SELECT value FROM counters"), CLIENTS);
    snprintf(path, sizeof path, "%s-larder.sock", it->files->database);
    assert_int_not_equal(stat(path, &status), 0);
    snprintf(path, sizeof path, "%s-wal", it->files->database);
    assert_true(stat(path, &status) != 0 || status.st_size == 0);
}

/* A client that sends FRAME again and again, as fast as it is taken. Its exit status: 0 when nobody takes it any more,
 * 1 when that took too long. */
static pid_t fork_flood(int fd, struct str frame)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    const int64_t end_ms = sys_monotonic_ms() + WRITER_PROCESS_PATIENCE_MS;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (sys_monotonic_ms() < end_ms)
        if (send(fd, frame.p, frame.len, MSG_NOSIGNAL) < 0)
            _exit(0);
    shutdown(fd, SHUT_WR);
    _exit(1);
}

static void told_to_stop_it_does_so_whatever_it_is_being_sent(void **state)
{
    /* Slower than it is sent, so that there is always more of it. */
    static const char sql[] = "INSERT INTO blobs (bytes) WITH RECURSIVE steps (n) AS (SELECT 1 UNION ALL SELECT n + 1 "
                              "FROM steps WHERE n < 5000) SELECT max(n) FROM steps";
    const struct writer_frame_request write = {
        .kind = WRITER_FRAME_WRITE, .sql = str_from(sql), .deadline_ms = INT64_MAX};
    const struct writer_frame_request row = {.kind = WRITER_FRAME_BATCH_ROW};
    struct writer_fixture *it = *state;

    for (int batch = 0; batch < 2; batch++) {
        struct buf frame = {0};
        char answers[4096];
        int fd = writer_raw_connect(it);

        assert_int_equal(writer_frame_add_request(batch ? &row : &write, &frame), ERR_OK);
        writer_raw_send(fd, batch ? WRITER_FRAME_BATCH_BEGIN : WRITER_FRAME_WRITE, sql, WRITER_PROCESS_PATIENCE_MS);
        assert_int_equal(writer_raw_receive(fd), ERR_OK);
        pid_t flood = fork_flood(fd, buf_str(&frame));
        for (int waiting = 0; waiting < 64 << 10; usleep(1000))
            assert_int_equal(ioctl(fd, SIOCOUTQ, &waiting), 0);
        kill(it->pid, SIGTERM);
        while (recv(fd, answers, sizeof answers, 0) > 0)
            continue;
        assert_int_equal(writer_process_reap(flood), 0);
        assert_int_equal(writer_process_reap(it->pid), 0);
        close(fd);
        buf_free(&frame);
        writer_fixture_start(it);
    }
}

/* What one of the clients that count up was told; in memory that its process shares with the test. */
struct counting {
    _Atomic int64_t acknowledged, unknown;
    atomic_bool done;
};

static _Noreturn void count_up(struct writer_fixture *it, int number, struct counting *counting)
{
    struct writer_client *client = writer_client_new(&it->config, it->shared);
    const struct params_values values = {.items = {{.name = STR("number"), .type = PARAMS_INTEGER, .integer = number}},
                                         .count = 1};
    const struct writer_client_ask ask = {.sql = STR("UPDATE counters SET value = value + 1 WHERE name = :number"),
                                          .values = &values};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (!atomic_load(&counting->done)) {
        enum err err = writer_fixture_ask(it, client, &ask);
        counting->acknowledged += err == ERR_OK;
        counting->unknown += err == ERR_IO || err == ERR_TIMEOUT;
    }
    writer_client_free(&client);
    _exit(0);
}

static void killed_at_any_time_it_loses_nothing_that_was_acknowledged(void **state)
{
    enum { CLIENTS = 4, ROUNDS = 10 };
    struct writer_fixture *it = *state;
    struct counting *counting = writer_process_share(CLIENTS * sizeof *counting);
    pid_t clients[CLIENTS];
    char sql[128];

    for (int i = 0; i < CLIENTS; i++) {
        snprintf(sql, sizeof sql, "INSERT INTO counters VALUES ('%d', 0)", i);
        writer_fixture_must_write(it, sql);
        clients[i] = fork();
        if (clients[i] == 0)
            count_up(it, i, &counting[i]);
    }
    for (int round = 0; round < ROUNDS; round++) {
        usleep(20000 + (useconds_t)round * 7000);
        assert_int_equal(writer_fixture_end(it, SIGKILL), -SIGKILL);
        writer_fixture_start(it);
    }
    for (int i = 0; i < CLIENTS; i++) {
        /* Nobody on a slow machine is to end before his first write. */
        for (int64_t end_ms = sys_monotonic_ms() + WRITER_PROCESS_PATIENCE_MS;
             counting[i].acknowledged == 0 && sys_monotonic_ms() < end_ms;)
            usleep(1000);
        atomic_store(&counting[i].done, true);
        assert_int_equal(writer_process_reap(clients[i]), 0);
        snprintf(sql, sizeof sql, "SELECT value FROM counters WHERE name = '%d'", i);
        int64_t value = fixture_integer(it->files->database, sql);
        assert_true(counting[i].acknowledged > 0);
        assert_true(value >= counting[i].acknowledged);
        assert_true(value <= counting[i].acknowledged + counting[i].unknown);
    }
    assert_int_equal(fixture_integer(it->files->database,
                                     "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"),
                     0);
    munmap(counting, CLIENTS * sizeof *counting);
}

static void a_full_disk_fails_what_does_not_fit_and_nothing_else(void **state)
{
    struct writer_fixture *it = *state;
    struct rlimit limit = {.rlim_cur = 400 << 10, .rlim_max = RLIM_INFINITY}, before;
    const char *large = "INSERT INTO blobs (bytes) VALUES (zeroblob(4000000))";

    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 0)");
    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, NULL, &before), 0);
    limit.rlim_max = before.rlim_max;
    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, &limit, NULL), 0);
    assert_int_equal(writer_fixture_write(it, large), ERR_FULL);
    assert_true(it->why.len > 0);
    assert_int_equal(writer_fixture_count(it, "blobs"), 0);
    writer_fixture_must_write(it, "UPDATE counters SET value = 1");

    assert_int_equal(prlimit(it->pid, RLIMIT_FSIZE, &before, NULL), 0);
    writer_fixture_must_write(it, large);
    assert_int_equal(writer_fixture_count(it, "blobs"), 1);
    assert_int_equal(fixture_integer(it->files->database, "SELECT value FROM counters"), 1);
}

static void a_database_that_is_gone_is_used_again_when_it_is_back(void **state)
{
    struct writer_fixture *it = *state;
    char away[128];

    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 0)");
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    writer_fixture_start(it);
    writer_fixture_must_write(it, "UPDATE counters SET value = 1");
    snprintf(away, sizeof away, "%s.away", it->files->database);
    fixture_execute(it->files->database, "PRAGMA wal_checkpoint(TRUNCATE)");
    assert_int_equal(rename(it->files->database, away), 0);
    assert_int_equal(writer_fixture_write(it, "UPDATE counters SET value = 2"), ERR_UNAVAILABLE);
    assert_non_null(strstr(it->why.p, "is gone"));
    assert_int_equal(rename(away, it->files->database), 0);
    writer_fixture_must_write(it, "UPDATE counters SET value = value + 2");
    assert_int_equal(fixture_integer(it->files->database, "SELECT value FROM counters"), 3);
}

static void a_database_put_in_the_place_of_another_is_migrated_and_used(void **state)
{
    struct writer_fixture *it = *state;
    char copy[128];

    snprintf(copy, sizeof copy, "%s.copy", it->files->database);
    fixture_execute(copy, WRITER_FIXTURE_SCHEMA "INSERT INTO counters VALUES ('copy', 7); PRAGMA user_version = 1;"
                                                "PRAGMA journal_mode = WAL");
    fixture_write(it->files, "sql/migrations/0002-more.sql", "CREATE TABLE more (x);");
    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 0)");
    fixture_execute(it->files->database, "PRAGMA wal_checkpoint(TRUNCATE)");
    assert_int_equal(rename(copy, it->files->database), 0);
    writer_fixture_must_write(it, "UPDATE counters SET value = value + 1");
    assert_int_equal(fixture_integer(it->files->database, "SELECT value FROM counters WHERE name = 'copy'"), 8);
    assert_int_equal(fixture_integer(it->files->database, "PRAGMA user_version"), 2);
}

static void a_damaged_database_is_an_error_and_not_the_end(void **state)
{
    struct writer_fixture *it = *state;
    static char junk[1 << 20], good[1 << 20];

    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 0)");
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    int fd = open(it->files->database, O_RDWR);
    ssize_t len = pread(fd, good, sizeof good, 0);
    assert_true(len > 0 && len < (ssize_t)sizeof good);
    memset(junk, 'x', sizeof junk);
    writer_fixture_start(it);
    assert_int_equal(pwrite(fd, junk, (size_t)len, 0), len);
    assert_int_equal(writer_fixture_write(it, "UPDATE counters SET value = 1"), ERR_CORRUPT);
    assert_int_equal(writer_fixture_write(it, "UPDATE counters SET value = 1"), ERR_CORRUPT);
    assert_int_equal(pwrite(fd, good, (size_t)len, 0), len);
    close(fd);
    writer_fixture_must_write(it, "UPDATE counters SET value = 5");
    assert_int_equal(fixture_integer(it->files->database, "SELECT value FROM counters"), 5);
}

static void the_wal_keeps_to_its_limit(void **state)
{
    struct writer_fixture *it = *state;
    struct stat status;
    char path[128];

    it->config.store.wal_limit = 1 << 20;
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    writer_fixture_start(it);
    snprintf(path, sizeof path, "%s-wal", it->files->database);
    for (int i = 0; i < 60; i++) {
        writer_fixture_must_write(it, "INSERT INTO blobs (bytes) VALUES (zeroblob(100000))");
        assert_int_equal(stat(path, &status), 0);
        assert_true(status.st_size < 2 << 20);
    }
}

static void a_busy_database_is_told_as_busy(void **state)
{
    struct writer_fixture *it = *state;
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(it->files->database, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(writer_fixture_write(it, "INSERT INTO counters VALUES ('a', 0)"), ERR_BUSY);
    assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 0)");
}

static void as_many_clients_as_there_are_files_are_all_heard(void **state)
{
    enum { CLIENTS = 600, FILES_AT_FIRST = 128 };
    struct writer_fixture *it = *state;
    const char add[] = "UPDATE counters SET value = value + 1";
    struct rlimit usual, few;
    int fds[CLIENTS];

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    assert_true(usual.rlim_max > CLIENTS * 2);
    few = (struct rlimit){.rlim_cur = FILES_AT_FIRST, .rlim_max = usual.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    writer_fixture_start(it);
    usual.rlim_cur = usual.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 0)");
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = writer_raw_connect(it);
        writer_raw_send(fds[i], WRITER_FRAME_WRITE, add, WRITER_PROCESS_PATIENCE_MS);
        assert_int_equal(writer_raw_receive(fds[i]), ERR_OK);
    }
    assert_int_equal(fixture_integer(it->files->database, "SELECT value FROM counters"), CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
}

static void a_path_too_long_for_a_socket_is_no_hindrance(void **state)
{
    struct writer_fixture *it = *state;
    char path[400], *end = path + snprintf(path, sizeof path, "%s", it->files->dir);

    for (int i = 0; i < 3; i++) {
        end += snprintf(end, 64, "/%050d", i);
        mkdir(path, 0700);
    }
    snprintf(end, 64, "/data.db");
    it->config.store.database = path;
    writer_fixture_start(it);
    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 0)");
    assert_int_equal(fixture_integer(path, "SELECT count(*) FROM counters"), 1);
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
}

#define WITH_WRITER(test) cmocka_unit_test_setup_teardown(test, writer_fixture_setup, writer_fixture_teardown)
#define WITHOUT_WRITER(test) cmocka_unit_test_setup_teardown(test, writer_fixture_setup_idle, writer_fixture_teardown)

static void a_writer_that_starts_says_where_the_log_of_scores_stands(void **state)
{
    struct writer_fixture *it = *state;

    writer_fixture_must_write(it,
                              "INSERT INTO larder_scores (board, member, score) VALUES ('b', 'a', 1), ('b', 'c', 2)");
    assert_int_equal(atomic_load(&it->shared->scores), 2);
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    /* As after a start of everything. */
    atomic_store(&it->shared->scores, 0);
    writer_fixture_start(it);
    assert_int_equal(atomic_load(&it->shared->scores), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WRITER(what_was_acknowledged_is_in_the_database),
        WITH_WRITER(a_new_database_is_made_and_migrated),
        WITHOUT_WRITER(a_migration_that_fails_is_the_reason_why_nobody_can_write),
        WITH_WRITER(the_second_writer_waits_for_the_lock_and_says_who_holds_it),
        WITH_WRITER(a_writer_that_is_locked_out_can_be_stopped),
        WITH_WRITER(told_to_stop_it_answers_what_it_was_sent),
        WITH_WRITER(told_to_stop_it_does_so_whatever_it_is_being_sent),
        WITH_WRITER(killed_at_any_time_it_loses_nothing_that_was_acknowledged),
        WITH_WRITER(a_full_disk_fails_what_does_not_fit_and_nothing_else),
        WITH_WRITER(a_database_that_is_gone_is_used_again_when_it_is_back),
        WITH_WRITER(a_database_put_in_the_place_of_another_is_migrated_and_used),
        WITH_WRITER(a_damaged_database_is_an_error_and_not_the_end),
        WITH_WRITER(the_wal_keeps_to_its_limit),
        WITH_WRITER(a_busy_database_is_told_as_busy),
        WITH_WRITER(a_writer_that_starts_says_where_the_log_of_scores_stands),
        WITHOUT_WRITER(as_many_clients_as_there_are_files_are_all_heard),
        WITHOUT_WRITER(a_path_too_long_for_a_socket_is_no_hindrance),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
