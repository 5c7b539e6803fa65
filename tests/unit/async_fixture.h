/*
 * async_fixture: the event thread's way to the writer, on a loop of its own, and a writer that does what the test says:
 * a socket in the writer's place.
 *
 * Every call is answered exactly once, and never before writer_async_write has returned: that is asserted for all of
 * them. Time is moved by hand.
 */
#ifndef LARDER_ASYNC_FIXTURE_H
#define LARDER_ASYNC_FIXTURE_H

#include "writer_raw.h"

#include "l2_fixture.h"
#include "store/writer_async.h"

enum { ASYNC_FIXTURE_CALLS = 256, ASYNC_FIXTURE_LARGE = 4 << 20 }; /* a frame that no socket takes whole */

/* A call, and what has become of it. */
struct async_call {
    struct writer_async_call call; /* first */
    unsigned done;
    struct async_fixture *it;
    bool asks_again; /* when it is done */
};

struct async_fixture {
    struct writer_fixture *files; /* no writer runs */
    struct test_loop loop;
    struct writer_async *async;
    bool asking; /* writer_async_write has not returned */
    struct async_call calls[ASYNC_FIXTURE_CALLS];
    unsigned count;
    /* The writer in the real one's place. */
    int listener, fd;
    struct buf in;
    struct writer_frame_request request;
};

/* What the writer has been asked: call NUMBER of the fixture, in the request TAG. */
struct async_request {
    uint32_t tag;
    unsigned number;
};

static inline struct async_call *async_fixture_ask(struct async_fixture *it, const struct writer_client_ask *ask);

/* The SQL of call NUMBER is its number, and blanks up to LEN. */
static inline struct async_call *async_fixture_ask_sized(struct async_fixture *it, size_t len)
{
    char *sql = calloc(1, len + 16);

    memset(sql, ' ', len);
    sql[snprintf(sql, 16, "%u", it->count)] = ' ';
    struct async_call *call = async_fixture_ask(it, &(struct writer_client_ask){.sql = str_from(sql)});
    free(sql);
    return call;
}

static inline struct async_call *async_fixture_ask_small(struct async_fixture *it)
{
    return async_fixture_ask_sized(it, 16);
}

static inline void async_fixture_note(struct writer_async_call *done)
{
    struct async_call *call = (struct async_call *)done;

    assert_false(call->it->asking);
    assert_int_equal(call->done, 0);
    call->done++;
    if (call->asks_again)
        async_fixture_ask_small(call->it);
}

static inline struct async_call *async_fixture_call(struct async_fixture *it, size_t arena_max)
{
    assert_true(it->count < ASYNC_FIXTURE_CALLS);
    struct async_call *call = &it->calls[it->count++];

    *call = (struct async_call){.it = it, .call.done = async_fixture_note};
    call->call.arena = arena_new(arena_max < 1024 ? arena_max : 1024, arena_max);
    return call;
}

static inline struct async_call *async_fixture_ask(struct async_fixture *it, const struct writer_client_ask *ask)
{
    struct async_call *call = async_fixture_call(it, (size_t)ASYNC_FIXTURE_LARGE * 4);

    it->asking = true;
    assert_int_equal(writer_async_write(it->async, ask, &call->call), ERR_OK);
    it->asking = false;
    return call;
}

/* Rounds of the loop until DONE. */
#define ASYNC_FIXTURE_UNTIL(it, done)                                                                                  \
    for (int64_t end_ms_ = sys_monotonic_ms() + WRITER_PROCESS_PATIENCE_MS; !(done); loop_round(&(it)->loop))          \
    assert_true(sys_monotonic_ms() < end_ms_)

/* As much as can happen without anybody else. */
static inline void async_fixture_let_go_on(struct async_fixture *it)
{
    for (int i = 0; i < 3; i++)
        loop_round(&it->loop);
}

/* Until CALL is done, which must have come to ERR. */
static inline void async_fixture_expect(struct async_fixture *it, const struct async_call *call, enum err err)
{
    ASYNC_FIXTURE_UNTIL(it, call->done);
    if (call->call.err != err)
        fail_msg("%d instead of %d: %.*s", call->call.err, err, STR_ARG(call->call.why));
}

static inline void async_fixture_expect_why(struct async_fixture *it, const struct async_call *call, enum err err,
                                            const char *why)
{
    async_fixture_expect(it, call, err);
    if (!strstr(call->call.why.p, why))
        fail_msg("`%s` is not in: %s", why, call->call.why.p);
}

/* As if all the time that the calls have had gone by. */
static inline void async_fixture_pass_deadline(struct async_fixture *it)
{
    it->loop.tick[0](it->loop.tick_context[0], sys_monotonic_ms() + it->files->config.store.write_timeout_ms);
}

static inline void async_fixture_hang_up(struct async_fixture *it)
{
    if (it->fd >= 0)
        close(it->fd);
    it->fd = -1;
    buf_clear(&it->in);
}

/* Whether a connection waits to be accepted, which is then the writer's, in place of the one before. */
static inline bool async_fixture_accepts(struct async_fixture *it)
{
    int fd = accept4(it->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return false;
    async_fixture_hang_up(it);
    it->fd = fd;
    return true;
}

static inline void async_fixture_accept(struct async_fixture *it)
{
    ASYNC_FIXTURE_UNTIL(it, async_fixture_accepts(it));
}

/* Takes what there is of the connection. False when nothing is. */
static inline bool async_fixture_read(struct async_fixture *it)
{
    buf_reserve(&it->in, 64 << 10);
    ssize_t got = recv(it->fd, it->in.p + it->in.len, 64 << 10, 0);

    it->in.len += got > 0 ? (size_t)got : 0;
    return got > 0;
}

static inline bool async_fixture_has_request(const struct async_fixture *it, size_t *len)
{
    enum err err = writer_frame_length(buf_str(&it->in), len);

    assert_true(err == ERR_OK || err == ERR_AGAIN);
    return err == ERR_OK;
}

/* The writer's next request. */
static inline struct async_request async_fixture_receive(struct async_fixture *it)
{
    struct async_request request;
    size_t len;

    ASYNC_FIXTURE_UNTIL(it, async_fixture_has_request(it, &len) || (async_fixture_read(it), false));
    assert_int_equal(writer_frame_read_request((struct str){it->in.p, len}, &it->request), ERR_OK);
    request.tag = it->request.tag;
    assert_int_equal(sscanf(it->request.sql.p, "%u", &request.number), 1);
    it->in.len -= len;
    memmove(it->in.p, it->in.p + len, it->in.len);
    return request;
}

/* Receives a request, which must be CALL's. Returns its tag. */
static inline uint32_t async_fixture_receive_from(struct async_fixture *it, const struct async_call *call)
{
    struct async_request request = async_fixture_receive(it);

    assert_int_equal(request.number, call - it->calls);
    return request.tag;
}

static inline void async_fixture_send(struct async_fixture *it, struct str bytes)
{
    int64_t end_ms = sys_monotonic_ms() + WRITER_PROCESS_PATIENCE_MS;

    while (bytes.len > 0) {
        ssize_t sent = send(it->fd, bytes.p, bytes.len, MSG_NOSIGNAL);

        assert_true(sent >= 0 || errno == EAGAIN);
        assert_true(sys_monotonic_ms() < end_ms);
        bytes.p += sent > 0 ? sent : 0;
        bytes.len -= sent > 0 ? (size_t)sent : 0;
        if (bytes.len > 0)
            loop_round(&it->loop);
    }
}

static inline void async_fixture_answer_with(struct async_fixture *it, const struct writer_frame_answer *answer)
{
    struct buf frame = {0};

    writer_frame_add_answer(answer, &frame);
    async_fixture_send(it, buf_str(&frame));
    buf_free(&frame);
}

/* Has the request TAG been written, with an answer of JSON. */
static inline void async_fixture_answer(struct async_fixture *it, uint32_t tag, const char *json)
{
    async_fixture_answer_with(
        it, &(struct writer_frame_answer){.tag = tag, .found = true, .changes = 1, .json = str_from(json)});
}

static inline void async_fixture_expect_json(struct async_fixture *it, const struct async_call *call, const char *json)
{
    async_fixture_expect(it, call, ERR_OK);
    assert_string_equal(call->call.told.row.json.p, json);
}

/* Without anything in the writer's place. */
static inline int async_fixture_setup_alone(void **state)
{
    struct async_fixture *it = calloc(1, sizeof *it);

    writer_fixture_setup_idle((void **)&it->files);
    it->listener = it->fd = -1;
    loop_init(&it->loop);
    it->async = writer_async_new(&it->files->config, it->files->shared, &it->loop.loop);
    *state = it;
    return 0;
}

static inline void async_fixture_listen(struct async_fixture *it)
{
    struct buf why = {0};

    if (writer_socket_listen(it->files->config.store.database, &it->listener, &why) != ERR_OK)
        fail_msg("%s", why.p);
    buf_free(&why);
}

static inline int async_fixture_setup(void **state)
{
    async_fixture_setup_alone(state);
    async_fixture_listen(*state);
    return 0;
}

/* With the real writer in its place. */
static inline int async_fixture_setup_real(void **state)
{
    async_fixture_setup_alone(state);
    writer_fixture_start(((struct async_fixture *)*state)->files);
    return 0;
}

static inline int async_fixture_teardown(void **state)
{
    struct async_fixture *it = *state;

    for (unsigned i = 0; i < it->count; i++)
        assert_int_equal(it->calls[i].done, 1);
    writer_async_free(&it->async);
    assert_null(it->async);
    for (unsigned i = 0; i < it->count; i++)
        arena_free(&it->calls[i].call.arena);
    async_fixture_hang_up(it);
    if (it->listener >= 0)
        close(it->listener);
    loop_fini(&it->loop);
    buf_free(&it->in);
    writer_fixture_teardown((void **)&it->files);
    free(it);
    return 0;
}

#endif
