/* Clients, well-behaved and otherwise: what they learn when the writer is away, and that none of them harms the others.
 */
#include "writer_raw.h"

#include <pthread.h>

#define LONG WRITER_PROCESS_PATIENCE_MS

static void without_a_writer_nothing_is_written_and_it_says_so(void **state)
{
    struct writer_fixture *it = *state;

    it->config.store.write_timeout_ms = 50;
    assert_int_equal(writer_fixture_write(it, "SELECT 1"), ERR_UNAVAILABLE);
    assert_non_null(strstr(it->why.p, "there is no writer"));
    assert_int_equal(writer_client_batch_begin(it->client, STR("SELECT 1"), false, &it->why), ERR_UNAVAILABLE);
}

static void where_the_writer_has_failed_nobody_waits_for_it(void **state)
{
    struct writer_fixture *it = *state;

    strcpy(it->shared->reason, "no room in the larder");
    atomic_store(&it->shared->state, WRITER_FAILED);
    assert_int_equal(writer_fixture_write(it, "SELECT 1"), ERR_UNAVAILABLE);
    assert_string_equal(it->why.p, "no room in the larder");
}

static void it_waits_for_a_writer_that_is_being_started(void **state)
{
    struct writer_fixture *it = *state;

    pid_t pid = fork();
    if (pid == 0)
        _exit(writer_fixture_write(it, "INSERT INTO counters VALUES ('a', 1)") == ERR_OK ? 0 : 1);
    usleep(200000);
    writer_fixture_start(it);
    assert_int_equal(writer_process_reap(pid), 0);
    assert_int_equal(writer_fixture_count(it, "counters"), 1);
}

static void a_writer_replaced_since_the_last_write_is_not_noticed(void **state)
{
    static const int signals[] = {SIGTERM, SIGKILL};
    struct writer_fixture *it = *state;

    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 0)");
    for (size_t i = 0; i < 2; i++) {
        writer_fixture_end(it, signals[i]);
        writer_fixture_start(it);
        writer_fixture_must_write(it, "UPDATE counters SET value = value + 1");
    }
    assert_int_equal(fixture_integer(it->files->database, "SELECT value FROM counters"), 2);
}

static void a_writer_that_does_not_answer_leaves_it_unknown(void **state)
{
    struct writer_fixture *it = *state;

    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 0)");
    it->config.store.write_timeout_ms = 100;
    writer_raw_pause(it);
    assert_int_equal(writer_fixture_write(it, "UPDATE counters SET value = 1"), ERR_TIMEOUT);
    assert_non_null(strstr(it->why.p, "not known"));
    writer_raw_resume(it);
    it->config.store.write_timeout_ms = LONG;
    writer_fixture_must_write(it, "SELECT 7 AS n");
    assert_string_equal(it->answer.json.p, "{\"n\":7}");
}

/* Kills the writer once the first thread, which asks it, sleeps until there is an answer. */
static void *kill_later(void *context)
{
    struct writer_fixture *it = context;
    char path[64], state;

    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)getpid());
    do {
        usleep(100000);
        FILE *file = fopen(path, "r");
        if (!file || fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
            state = 'S';
        if (file)
            fclose(file);
    } while (state != 'S');
    kill(it->pid, SIGKILL);
    return NULL;
}

static void a_writer_that_dies_before_it_answers_leaves_it_unknown(void **state)
{
    struct writer_fixture *it = *state;
    pthread_t thread;

    writer_fixture_must_write(it, "INSERT INTO counters VALUES ('a', 0)");
    writer_raw_pause(it);
    assert_int_equal(pthread_create(&thread, NULL, kill_later, it), 0);
    assert_int_equal(writer_fixture_write(it, "UPDATE counters SET value = 1"), ERR_IO);
    pthread_join(thread, NULL);
    assert_int_equal(writer_process_reap(it->pid), -SIGKILL);
    it->pid = 0;
}

static void a_request_that_is_not_whole_is_never_carried_out(void **state)
{
    const struct writer_frame_request request = {
        .kind = WRITER_FRAME_WRITE, .sql = STR("INSERT INTO counters VALUES ('a', 0)"), .deadline_ms = INT64_MAX};
    struct writer_fixture *it = *state;
    struct buf frame = {0};

    assert_int_equal(writer_frame_add_request(&request, &frame), ERR_OK);
    for (size_t cut = 0; cut < frame.len; cut += 5) {
        int fd = writer_raw_connect(it);
        assert_int_equal(send(fd, frame.p, cut, MSG_NOSIGNAL), cut);
        close(fd);
    }
    buf_free(&frame);
    writer_fixture_must_write(it, "SELECT 1");
    assert_int_equal(writer_fixture_count(it, "counters"), 0);
}

static void a_request_in_single_bytes_is_carried_out(void **state)
{
    const struct writer_frame_request request = {
        .kind = WRITER_FRAME_WRITE, .sql = STR("INSERT INTO counters VALUES ('a', 0)"), .deadline_ms = INT64_MAX};
    struct writer_fixture *it = *state;
    struct buf frame = {0};
    int fd = writer_raw_connect(it);

    assert_int_equal(writer_frame_add_request(&request, &frame), ERR_OK);
    for (size_t i = 0; i < frame.len; i++) {
        assert_int_equal(send(fd, frame.p + i, 1, MSG_NOSIGNAL), 1);
        usleep(50);
    }
    assert_int_equal(writer_raw_receive(fd), ERR_OK);
    close(fd);
    buf_free(&frame);
}

static void what_is_no_request_ends_its_connection_only(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {
        {"GET / HTTP/1.0\r\n\r\n", 18},
        {"\xff\xff\xff\x7f\x05\x01", 6},
        {"\x00\x00\x00\x00\x05\x01", 6},
        {"\x02\x00\x00\x00\x05\x01", 6},
        {"\x06\x00\x00\x00\x05\x0f\x00\x00\x00\x00", 10},
        {"\x06\x00\x00\x00\x05\x01\x00\x00\x00\x00", 10},
        {"\x06\x00\x00\x00\x05\x06\x00\x00\x00\x00", 10},
        {"\x06\x00\x00\x00\x05\x0c\x00\x00\x00\x00", 10},                 /* an answer */
        {"\x0a\x00\x00\x00\x05\x04\x00\x00\x00\x00\x00\x00\x00\x00", 14}, /* the commit of no batch */
        {"\x08\x00\x00\x00\x05\x03\x00\x00\x00\x00\x00\x00", 12},         /* a row of no batch */
    };
    struct writer_fixture *it = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = writer_raw_connect(it);
        assert_int_equal(send(fd, cases[i].bytes, cases[i].len, MSG_NOSIGNAL), cases[i].len);
        assert_int_equal(writer_raw_receive(fd), -1);
        close(fd);
        writer_fixture_must_write(it, "SELECT 1");
    }
}

static void a_client_of_another_version_is_told(void **state)
{
    struct writer_fixture *it = *state;
    int fd = writer_raw_connect(it);

    assert_int_equal(send(fd, "\x02\x00\x00\x00\x63\x01", 6, MSG_NOSIGNAL), 6);
    assert_int_equal(writer_raw_receive(fd), ERR_VERSION);
    assert_int_equal(writer_raw_receive(fd), -1);
    close(fd);
}

static void a_client_that_vanishes_harms_nobody(void **state)
{
    enum { CLIENTS = 20 };
    struct writer_fixture *it = *state;
    int fds[CLIENTS];

    writer_raw_pause(it);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = writer_raw_connect(it);
        writer_raw_send(fds[i], WRITER_FRAME_WRITE, "INSERT INTO blobs (bytes) VALUES (1)", LONG);
        if (i % 2)
            close(fds[i]);
    }
    writer_raw_resume(it);
    for (int i = 0; i < CLIENTS; i += 2) {
        assert_int_equal(writer_raw_receive(fds[i]), ERR_OK);
        close(fds[i]);
    }
    assert_true(writer_fixture_count(it, "blobs") >= CLIENTS / 2);
}

static void requests_sent_ahead_are_answered_in_order(void **state)
{
    enum { REQUESTS = 50 };
    struct writer_fixture *it = *state;
    int fd = writer_raw_connect(it);

    for (int i = 0; i < REQUESTS; i++)
        writer_raw_send(fd, WRITER_FRAME_WRITE, i % 3 ? "INSERT INTO blobs (bytes) VALUES (1)" : "nonsense", LONG);
    for (int i = 0; i < REQUESTS; i++)
        assert_int_equal(writer_raw_receive(fd), i % 3 ? ERR_OK : ERR_STATEMENT);
    close(fd);
}

static void who_does_not_take_his_answers_is_dropped_and_stops_nobody(void **state)
{
    struct writer_fixture *it = *state;
    char bytes[65536];
    int fd = writer_raw_connect(it);

    writer_raw_send(fd, WRITER_FRAME_WRITE, "SELECT zeroblob(10000000) AS b", LONG);
    writer_raw_send(fd, WRITER_FRAME_WRITE, "SELECT zeroblob(10000000) AS b", LONG);
    int64_t end_ms = sys_monotonic_ms() + LONG;
    struct pollfd hung_up = {.fd = fd, .events = 0};
    while (poll(&hung_up, 1, 0) == 0 && sys_monotonic_ms() < end_ms) {
        writer_fixture_must_write(it, "SELECT 1");
        usleep(20000);
    }
    ssize_t got, all = 0;
    while ((got = recv(fd, bytes, sizeof bytes, 0)) > 0)
        all += got;
    assert_true(all < 13000000);
    close(fd);
}

static void an_answer_larger_than_the_arena_is_an_error(void **state)
{
    struct writer_fixture *it = *state;

    assert_int_equal(writer_fixture_write(it, "SELECT zeroblob(1000000) AS b"), ERR_IO);
    assert_non_null(strstr(it->why.p, "larger"));
    writer_fixture_must_write(it, "SELECT zeroblob(100000) AS b");
}

static void a_request_larger_than_a_frame_is_refused(void **state)
{
    struct writer_fixture *it = *state;
    char *sql = malloc(WRITER_FRAME_MAX + 1);

    memset(sql, ' ', WRITER_FRAME_MAX);
    assert_int_equal(writer_fixture_ask(it, it->client, &(struct writer_client_ask){.sql = {sql, WRITER_FRAME_MAX}}),
                     ERR_LIMIT);
    free(sql);
}

static void a_batch_started_over_forgets_the_rows_before(void **state)
{
    const struct params_values values = {.count = 0};
    struct writer_fixture *it = *state;

    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            writer_client_batch_begin(it->client, STR("INSERT INTO blobs (bytes) VALUES (1)"), false, &it->why),
            ERR_OK);
        assert_int_equal(writer_client_batch_row(it->client, &values, &it->why), ERR_OK);
    }
    assert_int_equal(writer_client_batch_commit(it->client, NULL, 0, &(uint64_t){0}, NULL, &it->why), ERR_OK);
    assert_int_equal(writer_fixture_count(it, "blobs"), 1);
}

#define WITH_WRITER(test) cmocka_unit_test_setup_teardown(test, writer_fixture_setup, writer_fixture_teardown)
#define WITHOUT_WRITER(test) cmocka_unit_test_setup_teardown(test, writer_fixture_setup_idle, writer_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITHOUT_WRITER(without_a_writer_nothing_is_written_and_it_says_so),
        WITHOUT_WRITER(where_the_writer_has_failed_nobody_waits_for_it),
        WITHOUT_WRITER(it_waits_for_a_writer_that_is_being_started),
        WITH_WRITER(a_writer_replaced_since_the_last_write_is_not_noticed),
        WITH_WRITER(a_writer_that_does_not_answer_leaves_it_unknown),
        WITH_WRITER(a_writer_that_dies_before_it_answers_leaves_it_unknown),
        WITH_WRITER(a_request_that_is_not_whole_is_never_carried_out),
        WITH_WRITER(a_request_in_single_bytes_is_carried_out),
        WITH_WRITER(what_is_no_request_ends_its_connection_only),
        WITH_WRITER(a_client_of_another_version_is_told),
        WITH_WRITER(a_client_that_vanishes_harms_nobody),
        WITH_WRITER(requests_sent_ahead_are_answered_in_order),
        WITH_WRITER(who_does_not_take_his_answers_is_dropped_and_stops_nobody),
        WITH_WRITER(an_answer_larger_than_the_arena_is_an_error),
        WITH_WRITER(a_request_larger_than_a_frame_is_refused),
        WITH_WRITER(a_batch_started_over_forgets_the_rows_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
