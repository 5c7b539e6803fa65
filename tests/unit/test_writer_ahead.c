/* What one client sends ahead, without waiting for the answers: carried out together, and each answered by its tag. */
#include "writer_raw.h"

#define LONG WRITER_PROCESS_PATIENCE_MS
#define INSERT "INSERT INTO blobs (bytes) VALUES (1)"

enum { REQUESTS_MAX = 256, UNANSWERED = -2 };

/* A client that has sent requests 0 to COUNT - 1, with these numbers as tags, while the writer stood still. */
struct ahead {
    struct writer_fixture *it;
    int fd;
    struct buf frames;
    uint32_t count;
    int answers[REQUESTS_MAX];
};

static struct ahead ahead_of(struct writer_fixture *it)
{
    struct ahead ahead = {.it = it, .fd = writer_raw_connect(it)};

    for (int i = 0; i < REQUESTS_MAX; i++)
        ahead.answers[i] = UNANSWERED;
    return ahead;
}

static void add(struct ahead *ahead, struct writer_frame_request request)
{
    assert_true(ahead->count < REQUESTS_MAX);
    request.tag = ahead->count++;
    request.deadline_ms = sys_monotonic_ms() + LONG;
    assert_int_equal(writer_frame_add_request(&request, &ahead->frames), ERR_OK);
}

static void add_write(struct ahead *ahead, const char *sql)
{
    add(ahead, (struct writer_frame_request){.kind = WRITER_FRAME_WRITE, .sql = str_from(sql)});
}

static void send_while_paused(struct ahead *ahead)
{
    writer_raw_pause(ahead->it);
    assert_int_equal(send(ahead->fd, ahead->frames.p, ahead->frames.len, MSG_NOSIGNAL), ahead->frames.len);
    buf_free(&ahead->frames);
}

/* The tag of the next answer, which nobody has had before. */
static uint32_t take_answer(struct ahead *ahead)
{
    uint32_t tag = UINT32_MAX;
    int answer = writer_raw_receive_tag(ahead->fd, &tag);

    assert_true(tag < ahead->count);
    assert_int_equal(ahead->answers[tag], UNANSWERED);
    ahead->answers[tag] = answer;
    return tag;
}

static void restart_with_queue(struct writer_fixture *it, int64_t write_queue)
{
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    it->config.store.write_queue = write_queue;
    writer_fixture_start(it);
}

static void writes_sent_at_once_share_a_commit_and_fail_alone(void **state)
{
    enum { WRITES = 40 };
    struct ahead ahead = ahead_of(*state);
    const struct writer_shared *shared = ahead.it->shared;

    for (int i = 0; i < WRITES; i++)
        add_write(&ahead, i % 4 == 1 ? "INSERT INTO counters VALUES ('a', -1)" : INSERT);
    send_while_paused(&ahead);
    writer_raw_resume(ahead.it);
    for (int i = 0; i < WRITES; i++)
        take_answer(&ahead);
    for (int i = 0; i < WRITES; i++)
        assert_int_equal(ahead.answers[i], i % 4 == 1 ? ERR_CONSTRAINT : ERR_OK);
    /* One, but that a group takes no more after a while. */
    assert_in_range(atomic_load(&shared->commits), 1, WRITES / 8);
    assert_int_equal(atomic_load(&shared->committed), WRITES * 3 / 4);
    assert_int_equal(writer_fixture_count(ahead.it, "blobs"), WRITES * 3 / 4);
    close(ahead.fd);
}

static void writes_of_all_kinds_are_answered_by_their_tags(void **state)
{
    enum { ROUNDS = 5, KINDS = 4 };
    const struct writer_frame_request kinds[KINDS] = {
        {.kind = WRITER_FRAME_WRITE, .sql = STR(INSERT)},
        {.kind = WRITER_FRAME_WRITE, .sql = STR(INSERT), .behind = true},
        {.kind = WRITER_FRAME_WRITE, .sql = STR("nonsense")},
        {.kind = WRITER_FRAME_DROP, .ids_count = 1, .ids = {12345}},
    };
    static const int answers[KINDS] = {ERR_OK, ERR_OK, ERR_STATEMENT, ERR_NOT_FOUND};
    struct ahead ahead = ahead_of(*state);

    for (int i = 0; i < ROUNDS * KINDS; i++)
        add(&ahead, kinds[i % KINDS]);
    send_while_paused(&ahead);
    writer_raw_resume(ahead.it);
    for (int i = 0; i < ROUNDS * KINDS; i++)
        take_answer(&ahead);
    for (int i = 0; i < ROUNDS * KINDS; i++)
        assert_int_equal(ahead.answers[i], answers[i % KINDS]);
    close(ahead.fd);
}

static void a_batch_comes_after_what_was_sent_before_it_and_before_what_follows(void **state)
{
    static const uint32_t order[] = {0, 1, 2, 5, 6};
    struct ahead ahead = ahead_of(*state);

    add_write(&ahead, "INSERT INTO counters VALUES ('a', 1)");
    add_write(&ahead, "UPDATE counters SET value = value + 1");
    add(&ahead, (struct writer_frame_request){.kind = WRITER_FRAME_BATCH_BEGIN,
                                              .sql = STR("UPDATE counters SET value = value * 10")});
    add(&ahead, (struct writer_frame_request){.kind = WRITER_FRAME_BATCH_ROW});
    add(&ahead, (struct writer_frame_request){.kind = WRITER_FRAME_BATCH_ROW});
    add(&ahead, (struct writer_frame_request){.kind = WRITER_FRAME_BATCH_COMMIT});
    add_write(&ahead, "UPDATE counters SET value = value + 3");
    send_while_paused(&ahead);
    writer_raw_resume(ahead.it);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        assert_int_equal(take_answer(&ahead), order[i]);
        assert_int_equal(ahead.answers[order[i]], ERR_OK);
    }
    assert_int_equal(fixture_integer(ahead.it->files->database, "SELECT value FROM counters"), 203);
    close(ahead.fd);
}

static void what_the_queue_has_no_place_for_is_turned_away_by_its_tag(void **state)
{
    enum { QUEUE = 4, WRITES = 10 };

    restart_with_queue(*state, QUEUE);
    struct ahead ahead = ahead_of(*state);
    for (int i = 0; i < WRITES; i++)
        add_write(&ahead, INSERT);
    send_while_paused(&ahead);
    writer_raw_resume(ahead.it);
    for (int i = 0; i < WRITES; i++)
        take_answer(&ahead);
    for (int i = 0; i < WRITES; i++)
        assert_int_equal(ahead.answers[i], i < QUEUE ? ERR_OK : ERR_BUSY);
    assert_int_equal(writer_fixture_count(ahead.it, "blobs"), QUEUE);
    writer_fixture_must_write(ahead.it, INSERT);
    close(ahead.fd);
}

static void who_takes_large_answers_late_is_answered_all_the_same(void **state)
{
    enum { QUEUE = 8, WRITES = 60 };
    int answered[ERR_COUNT] = {0};

    restart_with_queue(*state, QUEUE);
    struct ahead ahead = ahead_of(*state);
    for (int i = 0; i < WRITES; i++)
        add_write(&ahead, INSERT " RETURNING hex(zeroblob(100000)) AS b");
    send_while_paused(&ahead);
    writer_raw_resume(ahead.it);
    /* Once another is served, the socket is full of answers. */
    while (writer_fixture_write(ahead.it, "SELECT 1") != ERR_OK)
        assert_non_null(strstr(ahead.it->why.p, "too many writes"));
    for (int i = 0; i < WRITES; i++)
        answered[ahead.answers[take_answer(&ahead)]]++;
    assert_int_equal(answered[ERR_OK] + answered[ERR_BUSY], WRITES);
    assert_int_equal(writer_fixture_count(ahead.it, "blobs"), answered[ERR_OK]);
    close(ahead.fd);
}

static void told_to_stop_it_carries_out_all_that_a_client_has_sent(void **state)
{
    enum { WRITES = 150 };
    struct writer_fixture *it = *state;
    char sql[1024] = INSERT;
    uint32_t tag;

    restart_with_queue(it, WRITES);
    struct ahead ahead = ahead_of(it);
    /* More than is received at once. */
    memset(sql + strlen(INSERT), ' ', sizeof sql - strlen(INSERT) - 1);
    for (int i = 0; i < WRITES; i++)
        add_write(&ahead, sql);
    send_while_paused(&ahead);
    kill(it->pid, SIGTERM);
    writer_raw_resume(it);
    for (int i = 0; i < WRITES; i++)
        assert_int_equal(ahead.answers[take_answer(&ahead)], ERR_OK);
    assert_int_equal(writer_raw_receive_tag(ahead.fd, &tag), -1);
    assert_int_equal(writer_process_reap(it->pid), 0);
    it->pid = 0;
    assert_int_equal(writer_fixture_count(it, "blobs"), WRITES);
    close(ahead.fd);
}

#define WITH_WRITER(test) cmocka_unit_test_setup_teardown(test, writer_fixture_setup, writer_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WRITER(writes_sent_at_once_share_a_commit_and_fail_alone),
        WITH_WRITER(writes_of_all_kinds_are_answered_by_their_tags),
        WITH_WRITER(a_batch_comes_after_what_was_sent_before_it_and_before_what_follows),
        WITH_WRITER(what_the_queue_has_no_place_for_is_turned_away_by_its_tag),
        WITH_WRITER(who_takes_large_answers_late_is_answered_all_the_same),
        WITH_WRITER(told_to_stop_it_carries_out_all_that_a_client_has_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
