/* The event thread's way to the writer: what becomes of many calls when the writer answers as it likes, takes nothing,
 * talks nonsense, goes away, or was never there. */
#include "async_fixture.h"

static void answers_find_their_calls_in_whatever_order_they_come(void **state)
{
    enum { CALLS = 200, STRIDE = 77 };
    struct async_fixture *it = *state;
    uint32_t tags[CALLS];
    char json[16];

    for (int i = 0; i < CALLS; i++)
        async_fixture_ask_small(it);
    async_fixture_accept(it);
    for (int i = 0; i < CALLS; i++)
        tags[i] = async_fixture_receive_from(it, &it->calls[i]);
    for (int i = 0, at = 0; i < CALLS; i++, at = (at + STRIDE) % CALLS) {
        snprintf(json, sizeof json, "%d", at);
        async_fixture_answer(it, tags[at], json);
    }
    for (int i = 0; i < CALLS; i++) {
        snprintf(json, sizeof json, "%d", i);
        async_fixture_expect_json(it, &it->calls[i], json);
    }
}

static void what_a_round_brings_goes_out_together_at_its_end(void **state)
{
    enum { CALLS = 50 };
    struct async_fixture *it = *state;
    size_t len;

    for (int i = 0; i < CALLS; i++)
        async_fixture_ask_small(it);
    assert_false(async_fixture_accepts(it));
    loop_round(&it->loop);
    assert_true(async_fixture_accepts(it));
    while (async_fixture_read(it))
        ;
    for (int i = 0; i < CALLS; i++) {
        assert_true(async_fixture_has_request(it, &len));
        async_fixture_answer(it, async_fixture_receive_from(it, &it->calls[i]), "");
    }
    assert_int_equal(it->in.len, 0);
    for (int i = 0; i < CALLS; i++)
        async_fixture_expect(it, &it->calls[i], ERR_OK);
}

static void what_the_writer_says_is_what_the_caller_learns(void **state)
{
    struct async_fixture *it = *state;
    const struct async_call *written = async_fixture_ask_small(it), *failed = async_fixture_ask_small(it);

    async_fixture_accept(it);
    async_fixture_answer_with(it, &(struct writer_frame_answer){.tag = async_fixture_receive_from(it, written),
                                                                .found = true,
                                                                .repeated = true,
                                                                .changes = 3,
                                                                .outbox_id = 17,
                                                                .json = STR("[1]")});
    async_fixture_answer_with(it, &(struct writer_frame_answer){.tag = async_fixture_receive_from(it, failed),
                                                                .err = ERR_CONSTRAINT,
                                                                .why = STR("five stars at most")});
    async_fixture_expect_json(it, written, "[1]");
    assert_true(written->call.told.row.found && written->call.told.repeated);
    assert_int_equal(written->call.told.row.changes, 3);
    assert_int_equal(written->call.told.outbox_id, 17);
    assert_string_equal(written->call.why.p, "");
    async_fixture_expect_why(it, failed, ERR_CONSTRAINT, "five stars at most");
}

static void answers_may_come_in_any_pieces(void **state)
{
    struct async_fixture *it = *state;
    struct buf bytes = {0};

    for (int i = 0; i < 3; i++)
        async_fixture_ask_small(it);
    async_fixture_accept(it);
    for (int i = 0; i < 3; i++)
        writer_frame_add_answer(&(struct writer_frame_answer){.tag = async_fixture_receive_from(it, &it->calls[i]),
                                                              .json = STR("\"in pieces\"")},
                                &bytes);
    for (size_t i = 0; i < bytes.len; i++) {
        async_fixture_send(it, (struct str){bytes.p + i, 1});
        loop_round(&it->loop);
        for (size_t call = 0; call < 3; call++)
            assert_int_equal(it->calls[call].done, (i + 1) / (bytes.len / 3) > call);
    }
    buf_free(&bytes);
    for (int i = 0; i < 3; i++)
        async_fixture_expect_json(it, &it->calls[i], "\"in pieces\"");
}

static void an_answer_larger_than_a_socket_takes_arrives_whole(void **state)
{
    enum { LEN = 3 << 20 };
    struct async_fixture *it = *state;
    const struct async_call *large = async_fixture_ask_small(it), *small = async_fixture_ask_small(it);
    char *json = calloc(1, LEN + 1);

    memset(json, 'x', LEN);
    async_fixture_accept(it);
    async_fixture_answer(it, async_fixture_receive_from(it, large), json);
    async_fixture_answer(it, async_fixture_receive_from(it, small), "1");
    async_fixture_expect(it, large, ERR_OK);
    assert_true(str_equal(large->call.told.row.json, (struct str){json, LEN}));
    async_fixture_expect_json(it, small, "1");
    free(json);
}

static void an_answer_after_its_call_was_given_up_is_nobodys(void **state)
{
    struct async_fixture *it = *state;
    const struct async_call *late = async_fixture_ask_small(it);

    async_fixture_accept(it);
    uint32_t late_tag = async_fixture_receive_from(it, late);
    async_fixture_pass_deadline(it);
    async_fixture_expect_why(it, late, ERR_TIMEOUT, "not known");
    const struct async_call *next = async_fixture_ask_small(it);
    uint32_t tag = async_fixture_receive_from(it, next);
    async_fixture_answer(it, late_tag, "\"late\"");
    async_fixture_answer(it, 12345, "\"never asked for\"");
    async_fixture_let_go_on(it);
    assert_int_equal(next->done, 0);
    async_fixture_answer(it, tag, "\"next\"");
    async_fixture_answer(it, tag, "\"once more\"");
    async_fixture_expect_json(it, next, "\"next\"");
    async_fixture_let_go_on(it);
}

static void without_a_writer_until_the_deadline_nothing_is_written_and_it_says_so(void **state)
{
    struct async_fixture *it = *state;
    const struct async_call *call = async_fixture_ask_small(it);

    async_fixture_let_go_on(it);
    assert_int_equal(call->done, 0);
    async_fixture_pass_deadline(it);
    async_fixture_expect_why(it, call, ERR_UNAVAILABLE, "there is no writer");
}

static void a_writer_that_comes_before_the_deadline_is_asked(void **state)
{
    struct async_fixture *it = *state;
    const struct async_call *call = async_fixture_ask_small(it);

    async_fixture_let_go_on(it);
    async_fixture_listen(it);
    async_fixture_accept(it);
    async_fixture_answer(it, async_fixture_receive_from(it, call), "1");
    async_fixture_expect(it, call, ERR_OK);
}

static void a_writer_that_will_not_come_is_not_waited_for(void **state)
{
    static const enum writer_state states[] = {WRITER_LOCKED_OUT, WRITER_FAILED};
    struct async_fixture *it = *state;

    const struct async_call *waits = async_fixture_ask_small(it);
    async_fixture_let_go_on(it);
    assert_int_equal(waits->done, 0);
    strcpy(it->files->shared->reason, "no room in the larder");
    for (size_t i = 0; i < 2; i++) {
        const struct async_call *call = async_fixture_ask_small(it);

        atomic_store(&it->files->shared->state, states[i]);
        loop_round(&it->loop);
        assert_int_equal(call->done, 1);
        assert_int_equal(call->call.err, ERR_UNAVAILABLE);
        assert_string_equal(call->call.why.p, "no room in the larder");
    }
    async_fixture_expect(it, waits, ERR_UNAVAILABLE);
}

static void a_lost_connection_leaves_unknown_what_was_asked_and_asks_the_rest_again(void **state)
{
    struct async_fixture *it = *state;
    const struct async_call *read = async_fixture_ask_small(it), *unread = async_fixture_ask_small(it);

    async_fixture_accept(it);
    async_fixture_receive_from(it, read);
    const struct async_call *half = async_fixture_ask_sized(it, ASYNC_FIXTURE_LARGE),
                            *after = async_fixture_ask_small(it);
    async_fixture_let_go_on(it);
    async_fixture_hang_up(it);
    async_fixture_expect_why(it, read, ERR_IO, "not known");
    async_fixture_expect_why(it, unread, ERR_IO, "not known");
    async_fixture_accept(it);
    uint32_t half_tag = async_fixture_receive_from(it, half);
    async_fixture_answer(it, async_fixture_receive_from(it, after), "2");
    async_fixture_answer(it, half_tag, "1");
    async_fixture_expect_json(it, half, "1");
    async_fixture_expect_json(it, after, "2");
}

static void what_was_sent_in_part_twice_is_given_up_and_the_rest_goes_on(void **state)
{
    struct async_fixture *it = *state;
    const struct async_call *half = async_fixture_ask_sized(it, ASYNC_FIXTURE_LARGE),
                            *after = async_fixture_ask_small(it);

    for (int i = 0; i < 2; i++) {
        async_fixture_accept(it);
        assert_true(async_fixture_read(it));
        assert_int_equal(half->done, 0);
        async_fixture_hang_up(it);
    }
    async_fixture_expect_why(it, half, ERR_UNAVAILABLE, "nothing was written");
    async_fixture_accept(it);
    async_fixture_answer(it, async_fixture_receive_from(it, after), "2");
    async_fixture_expect_json(it, after, "2");
}

static void a_writer_that_does_not_read_is_waited_for(void **state)
{
    struct async_fixture *it = *state;
    const struct async_call *calls[4];

    for (size_t i = 0; i < 4; i++)
        calls[i] = async_fixture_ask_sized(it, i % 2 ? 16 : ASYNC_FIXTURE_LARGE);
    async_fixture_accept(it);
    async_fixture_let_go_on(it);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(calls[i]->done, 0);
    for (size_t i = 0; i < 4; i++) {
        uint32_t tag = async_fixture_receive_from(it, calls[i]);
        assert_int_equal(it->request.sql.len, i % 2 ? 16 : ASYNC_FIXTURE_LARGE);
        async_fixture_answer(it, tag, "1");
        async_fixture_expect(it, calls[i], ERR_OK);
    }
    assert_false(async_fixture_accepts(it));
}

static void at_the_deadline_a_writer_that_does_not_read_is_busy(void **state)
{
    struct async_fixture *it = *state;
    const struct async_call *asked = async_fixture_ask_small(it);

    async_fixture_accept(it);
    async_fixture_receive_from(it, asked);
    const struct async_call *half = async_fixture_ask_sized(it, ASYNC_FIXTURE_LARGE),
                            *after = async_fixture_ask_small(it);
    async_fixture_let_go_on(it);
    async_fixture_pass_deadline(it);
    assert_true(asked->done && half->done && after->done);
    async_fixture_expect_why(it, asked, ERR_TIMEOUT, "not known");
    async_fixture_expect_why(it, half, ERR_BUSY, "nothing was written");
    async_fixture_expect_why(it, after, ERR_BUSY, "nothing was written");

    const struct async_call *next = async_fixture_ask_small(it);
    async_fixture_accept(it);
    async_fixture_answer(it, async_fixture_receive_from(it, next), "1");
    async_fixture_expect(it, next, ERR_OK);
}

static void a_writer_that_takes_no_more_still_answers_what_it_took(void **state)
{
    struct async_fixture *it = *state;
    const struct async_call *taken = async_fixture_ask_small(it), *more = async_fixture_ask_small(it);

    async_fixture_accept(it);
    uint32_t tag = async_fixture_receive_from(it, taken), more_tag = async_fixture_receive_from(it, more);
    assert_int_equal(shutdown(it->fd, SHUT_RD), 0);
    const struct async_call *next = async_fixture_ask_small(it);
    async_fixture_let_go_on(it);
    async_fixture_answer(it, tag, "1");
    async_fixture_expect_json(it, taken, "1");
    async_fixture_let_go_on(it);
    assert_true(!more->done && !next->done && !async_fixture_accepts(it));
    async_fixture_answer(it, more_tag, "2");
    async_fixture_expect_json(it, more, "2");
    async_fixture_accept(it);
    async_fixture_answer(it, async_fixture_receive_from(it, next), "3");
    async_fixture_expect_json(it, next, "3");
}

static void a_writer_that_stops_in_the_middle_of_a_request_is_asked_again(void **state)
{
    struct async_fixture *it = *state;
    const struct async_call *taken = async_fixture_ask_small(it);

    async_fixture_accept(it);
    uint32_t tag = async_fixture_receive_from(it, taken);
    const struct async_call *half = async_fixture_ask_sized(it, ASYNC_FIXTURE_LARGE);
    async_fixture_let_go_on(it);
    assert_int_equal(shutdown(it->fd, SHUT_RD), 0);
    while (async_fixture_read(it))
        ;
    async_fixture_let_go_on(it);
    async_fixture_answer(it, tag, "1");
    async_fixture_expect_json(it, taken, "1");
    async_fixture_accept(it);
    async_fixture_answer(it, async_fixture_receive_from(it, half), "2");
    async_fixture_expect_json(it, half, "2");
}

static void a_writer_that_neither_takes_nor_answers_holds_nobody_beyond_the_deadline(void **state)
{
    struct async_fixture *it = *state;
    const struct async_call *taken = async_fixture_ask_small(it);

    async_fixture_accept(it);
    async_fixture_receive_from(it, taken);
    assert_int_equal(shutdown(it->fd, SHUT_RD), 0);
    const struct async_call *next = async_fixture_ask_small(it);
    async_fixture_let_go_on(it);
    async_fixture_pass_deadline(it);
    async_fixture_expect(it, taken, ERR_TIMEOUT);
    async_fixture_expect_why(it, next, ERR_BUSY, "nothing was written");

    const struct async_call *last = async_fixture_ask_small(it);
    async_fixture_accept(it);
    async_fixture_answer(it, async_fixture_receive_from(it, last), "3");
    async_fixture_expect_json(it, last, "3");
}

static void what_is_no_answer_ends_the_connection_and_leaves_it_unknown(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        enum err err;
        const char *why;
    } cases[] = {
        {"HTTP/1.1 400 Bad Request\r\n\r\n", 28, ERR_IO, "not known"},
        {"\x00\x00\x00\x00\x05\x0c", 6, ERR_IO, "not known"},
        {"\x02\x00\x00\x00\x05\x0c", 6, ERR_IO, "not known"},
        {"\x06\x00\x00\x00\x05\x0c\x01\x00\x00\x00", 10, ERR_IO, "not known"}, /* an answer without its members */
        {"\x08\x00\x00\x00\x05\x03\x00\x00\x00\x00\x00\x00", 12, ERR_IO, "not known"}, /* a request */
        {"\x06\x00\x00\x00\x03\x0b\x01\x00\x00\x00", 10, ERR_VERSION, "of another version"},
    };
    struct async_fixture *it = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct async_call *answered = async_fixture_ask_small(it), *unknown = async_fixture_ask_small(it);
        struct buf bytes = {0};

        async_fixture_accept(it);
        writer_frame_add_answer(&(struct writer_frame_answer){.tag = async_fixture_receive_from(it, answered)}, &bytes);
        async_fixture_receive_from(it, unknown);
        buf_add(&bytes, cases[i].bytes, cases[i].len);
        async_fixture_send(it, buf_str(&bytes));
        async_fixture_expect(it, answered, ERR_OK);
        async_fixture_expect_why(it, unknown, cases[i].err, cases[i].why);
        buf_free(&bytes);
    }
}

static void who_learns_that_the_writer_is_gone_may_ask_again_at_once(void **state)
{
    struct async_fixture *it = *state;
    struct async_call *call = async_fixture_ask_small(it);

    call->asks_again = true;
    async_fixture_accept(it);
    async_fixture_receive_from(it, call);
    async_fixture_hang_up(it);
    async_fixture_expect(it, call, ERR_IO);
    async_fixture_accept(it);
    async_fixture_answer(it, async_fixture_receive_from(it, &it->calls[1]), "1");
    async_fixture_expect(it, &it->calls[1], ERR_OK);
}

/* A call for LEN bytes of SQL in an arena of ARENA_MAX that must be refused, and is never heard of again. */
static void refuse(struct async_fixture *it, size_t len, size_t arena_max)
{
    struct async_call *call = async_fixture_call(it, arena_max);
    char *sql = malloc(len);

    memset(sql, ' ', len);
    assert_int_equal(writer_async_write(it->async, &(struct writer_client_ask){.sql = {sql, len}}, &call->call),
                     ERR_LIMIT);
    free(sql);
    async_fixture_let_go_on(it);
    assert_false(async_fixture_accepts(it));
    async_fixture_pass_deadline(it);
    assert_int_equal(call->done, 0);
    arena_free(&call->call.arena);
    it->count--;
}

static void what_is_too_large_is_refused_at_once_and_never_done(void **state)
{
    struct async_fixture *it = *state;

    refuse(it, 4096, 2048);
    refuse(it, WRITER_FRAME_MAX, SIZE_MAX / 4);
    const struct async_call *next = async_fixture_ask_small(it);
    async_fixture_accept(it);
    async_fixture_answer(it, async_fixture_receive_from(it, next), "1");
    async_fixture_expect(it, next, ERR_OK);
}

static void an_answer_larger_than_the_arena_is_an_error_of_that_call_alone(void **state)
{
    enum { LEN = 8000 };
    struct async_fixture *it = *state;
    struct async_call *narrow = async_fixture_call(it, 4096);
    char json[LEN + 1];

    memset(json, 'x', LEN);
    json[LEN] = '\0';
    assert_int_equal(writer_async_write(it->async, &(struct writer_client_ask){.sql = STR("0")}, &narrow->call),
                     ERR_OK);
    const struct async_call *wide = async_fixture_ask_small(it);
    async_fixture_accept(it);
    async_fixture_answer(it, async_fixture_receive_from(it, narrow), json);
    async_fixture_answer(it, async_fixture_receive_from(it, wide), json);
    async_fixture_expect(it, narrow, ERR_IO);
    async_fixture_expect_json(it, wide, json);
}

/* With the real writer. */

static struct async_call *count_up(struct async_fixture *it)
{
    return async_fixture_ask(
        it, &(struct writer_client_ask){.sql = STR("UPDATE counters SET value = value + 1 RETURNING value"),
                                        .shape = CATALOG_VALUE});
}

static int64_t counted(const struct async_fixture *it)
{
    return fixture_integer(it->files->files->database, "SELECT value FROM counters");
}

static void calls_of_a_round_share_a_commit(void **state)
{
    enum { CALLS = 50 };
    struct async_fixture *it = *state;
    bool seen[CALLS + 1] = {false};

    writer_fixture_must_write(it->files, "INSERT INTO counters VALUES ('a', 0)");
    const int64_t before = atomic_load(&it->files->shared->commits);
    for (int i = 0; i < CALLS; i++)
        count_up(it);
    for (int i = 0; i < CALLS; i++) {
        async_fixture_expect(it, &it->calls[i], ERR_OK);
        int value = atoi(it->calls[i].call.told.row.json.p);
        assert_in_range(value, 1, CALLS);
        assert_false(seen[value]);
        seen[value] = true;
    }
    /* One, but that a group takes no more after a while. */
    assert_in_range(atomic_load(&it->files->shared->commits) - before, 1, CALLS / 8);
    assert_int_equal(counted(it), CALLS);
}

static void all_that_may_be_asked_reaches_the_writer(void **state)
{
    static const struct str purges[] = {STR("tag:counters"), STR("key:counters:a")};
    const struct params_values values = {.items = {{.name = STR("n"), .type = PARAMS_INTEGER, .integer = 7}},
                                         .count = 1};
    const struct store_caller caller = {.now_ms = 5000};
    struct writer_client_ask ask = {
        .sql = STR("INSERT INTO counters VALUES ('a', :n) RETURNING value, :larder_now AS now"),
        .values = &values,
        .caller = &caller,
        .purges = purges,
        .purges_count = 2,
        .repeat_key = STR("key"),
        .repeat_print = STR("print")};
    struct async_fixture *it = *state;

    const struct async_call *first = async_fixture_ask(it, &ask);
    async_fixture_expect_json(it, first, "{\"value\":7,\"now\":5}");
    assert_true(first->call.told.outbox_id > 0 && !first->call.told.repeated);
    assert_int_equal(writer_fixture_count(it->files, "larder_outbox"), 1);
    const struct async_call *again = async_fixture_ask(it, &ask);
    async_fixture_expect_json(it, again, "{\"value\":7,\"now\":5}");
    assert_true(again->call.told.repeated);
    ask = (struct writer_client_ask){.sql = STR("DELETE FROM counters"),
                                     .condition = WRITER_FRAME_IF_NONE_MATCH,
                                     .condition_sql = STR("SELECT value FROM counters WHERE value = :n"),
                                     .condition_values = &values};
    async_fixture_expect(it, async_fixture_ask(it, &ask), ERR_CHANGED);
    /* Values of the call before are not this one's. */
    async_fixture_expect_why(it, async_fixture_ask(it, &(struct writer_client_ask){.sql = STR("SELECT :n")}),
                             ERR_STATEMENT, ":n");
}

static void a_writer_told_to_stop_answers_what_it_was_sent_and_its_successor_the_rest(void **state)
{
    enum { SENT = 20, LATER = 10 };
    struct async_fixture *it = *state;
    pid_t pid = it->files->pid;

    writer_fixture_must_write(it->files, "INSERT INTO counters VALUES ('a', 0)");
    writer_raw_pause(it->files);
    for (int i = 0; i < SENT; i++)
        count_up(it);
    async_fixture_let_go_on(it);
    kill(pid, SIGTERM);
    writer_raw_resume(it->files);
    it->files->pid = 0;
    assert_int_equal(writer_process_reap(pid), 0);
    for (int i = 0; i < LATER; i++)
        count_up(it);
    for (int i = 0; i < SENT; i++)
        async_fixture_expect(it, &it->calls[i], ERR_OK);
    writer_fixture_start(it->files);
    for (int i = SENT; i < SENT + LATER; i++)
        async_fixture_expect(it, &it->calls[i], ERR_OK);
    assert_int_equal(counted(it), SENT + LATER);
}

static void a_writer_that_is_killed_loses_nothing_that_was_acknowledged(void **state)
{
    enum { ROUNDS = 8, CALLS = 20 };
    struct async_fixture *it = *state;
    int64_t acknowledged = 0, unknown = 0;

    writer_fixture_must_write(it->files, "INSERT INTO counters VALUES ('a', 0)");
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < CALLS; i++) {
            count_up(it);
            if (i % 5 == round % 5)
                loop_round(&it->loop);
        }
        writer_fixture_end(it->files, SIGKILL);
        writer_fixture_start(it->files);
        for (int i = round * CALLS; i < (round + 1) * CALLS; i++) {
            ASYNC_FIXTURE_UNTIL(it, it->calls[i].done);
            assert_true(it->calls[i].call.err == ERR_OK || it->calls[i].call.err == ERR_IO);
            acknowledged += it->calls[i].call.err == ERR_OK;
            unknown += it->calls[i].call.err == ERR_IO;
        }
    }
    assert_in_range(counted(it), acknowledged, acknowledged + unknown);
}

#define ALONE(test) cmocka_unit_test_setup_teardown(test, async_fixture_setup_alone, async_fixture_teardown)
#define TEST(test) cmocka_unit_test_setup_teardown(test, async_fixture_setup, async_fixture_teardown)
#define REAL(test) cmocka_unit_test_setup_teardown(test, async_fixture_setup_real, async_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answers_find_their_calls_in_whatever_order_they_come),
        TEST(what_a_round_brings_goes_out_together_at_its_end),
        TEST(what_the_writer_says_is_what_the_caller_learns),
        TEST(answers_may_come_in_any_pieces),
        TEST(an_answer_larger_than_a_socket_takes_arrives_whole),
        TEST(an_answer_after_its_call_was_given_up_is_nobodys),
        ALONE(without_a_writer_until_the_deadline_nothing_is_written_and_it_says_so),
        ALONE(a_writer_that_comes_before_the_deadline_is_asked),
        ALONE(a_writer_that_will_not_come_is_not_waited_for),
        TEST(a_lost_connection_leaves_unknown_what_was_asked_and_asks_the_rest_again),
        TEST(what_was_sent_in_part_twice_is_given_up_and_the_rest_goes_on),
        TEST(a_writer_that_does_not_read_is_waited_for),
        TEST(at_the_deadline_a_writer_that_does_not_read_is_busy),
        TEST(a_writer_that_takes_no_more_still_answers_what_it_took),
        TEST(a_writer_that_stops_in_the_middle_of_a_request_is_asked_again),
        TEST(a_writer_that_neither_takes_nor_answers_holds_nobody_beyond_the_deadline),
        TEST(what_is_no_answer_ends_the_connection_and_leaves_it_unknown),
        TEST(who_learns_that_the_writer_is_gone_may_ask_again_at_once),
        TEST(what_is_too_large_is_refused_at_once_and_never_done),
        TEST(an_answer_larger_than_the_arena_is_an_error_of_that_call_alone),
        REAL(calls_of_a_round_share_a_commit),
        REAL(all_that_may_be_asked_reaches_the_writer),
        REAL(a_writer_told_to_stop_answers_what_it_was_sent_and_its_successor_the_rest),
        REAL(a_writer_that_is_killed_loses_nothing_that_was_acknowledged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
