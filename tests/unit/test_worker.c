/* The worker over real sockets, with an application of a few routes: at once, after a while in the pool, large, echo,
 * which thread answers, and what waits for a job. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/sys.h"
#include "server/fcgi_client.h"
#include "server/fcgi_head.h"
#include "server/listener.h"
#include "server/worker.h"
#include "worker_requests.h"

#define LARGE (3u << 20)
#define SLOW_MS 600

struct fixture {
    char directory[64], socket[96];
    struct config config;
    int listener;
    pid_t pid;
    struct scoreboard_process *row; /* in memory that the worker shares with the test */
};

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

/* What requests for jobs wait for; in the worker's process. */
static struct {
    const struct loop *loop;
    struct http *waiting;
    struct loop_job awaited, others[2];
    bool expected; /* the others were taken and refused as they should */
    atomic_bool has_run;
    unsigned ticks_stopped;
} jobs;

static void on_tick(void *context, int64_t now_ms);

static void *open_thread(void *app, const struct loop *loop, struct scoreboard_thread *board)
{
    (void)board;
    if (loop) {
        jobs.loop = loop;
        loop->tick(loop->self, on_tick, NULL);
    }
    return app;
}

static void close_thread(void *thread)
{
    (void)thread;
}

static void answer(struct http *http, int status, struct str body)
{
    http->status = status;
    http->content_type = STR("text/plain");
    http->out = body;
}

static void run_awaited(struct loop_job *job, void *thread)
{
    (void)job;
    (void)thread;
    atomic_store(&jobs.has_run, true);
}

/* Keeps its place until the awaited one has got another. */
static void run_other(struct loop_job *job, void *thread)
{
    (void)job;
    (void)thread;
    while (!atomic_load(&jobs.has_run))
        usleep(1000);
}

static void end_awaited(struct loop_job *job)
{
    struct http *http = jobs.waiting;
    (void)job;
    jobs.waiting = NULL;
    answer(http, jobs.expected && atomic_load(&jobs.has_run) ? 200 : 500, STR("waited"));
    http->advance(http, HTTP_DONE);
}

static void end_other(struct loop_job *job)
{
    (void)job;
}

static bool submit_other(struct loop_job *job)
{
    *job = (struct loop_job){.what = "a job that nobody waits for", .run = run_other, .done = end_other};
    return jobs.loop->submit(jobs.loop->self, job) == ERR_OK;
}

static bool submit_awaited(void)
{
    jobs.awaited = (struct loop_job){.what = "a job", .run = run_awaited, .done = end_awaited, .is_awaited = true};
    return jobs.loop->submit(jobs.loop->self, &jobs.awaited) == ERR_OK;
}

/* What /drain waits for begins when the worker has noticed that it is to stop, which it does behind its ticks. */
static void on_tick(void *context, int64_t now_ms)
{
    (void)context;
    (void)now_ms;
    if (!jobs.waiting || !stop || ++jobs.ticks_stopped != 3)
        return;
    jobs.expected = !submit_other(&jobs.others[0]);
    if (!submit_awaited())
        abort();
}

/* While as many other jobs as may are in the pool. */
static enum http_step wait_beside_others(struct http *http)
{
    jobs.waiting = http;
    jobs.expected = submit_other(&jobs.others[0]) && !submit_other(&jobs.others[1]);
    if (!submit_awaited())
        abort();
    return HTTP_WAITING;
}

static void run(void *thread, struct http *http)
{
    (void)thread;
    if (str_equal(http->path, STR("/slow")))
        usleep(SLOW_MS * 1000);
    if (str_equal(http->path, STR("/large"))) {
        char *body = arena_alloc(http->arena, LARGE);
        memset(body, 'x', LARGE);
        answer(http, 200, (struct str){body, LARGE});
        return;
    }
    bool where = str_equal(http->path, STR("/where"));
    answer(http, 200, where ? STR("a pool thread") : http->body.len > 0 ? http->body : STR("ok"));
}

static enum http_step handle(void *thread, struct http *http)
{
    if (str_equal(http->path, STR("/beside")))
        return wait_beside_others(http);
    if (str_equal(http->path, STR("/drain"))) {
        jobs.waiting = http;
        return HTTP_WAITING;
    }
    if (str_equal(http->path, STR("/where"))) {
        answer(http, 200, STR("the event thread"));
        return HTTP_DONE;
    }
    if (!str_equal(http->path, STR("/quick")))
        return HTTP_HAND_OVER;
    run(thread, http);
    return HTTP_DONE;
}

static void refuse(struct http *http, int status, const char *detail)
{
    answer(http, status, str_from(detail));
}

static const struct app_ops ops = {open_thread, close_thread, handle, run, refuse};

static int start_with(void **state, uint64_t max_body, int64_t head_timeout_ms)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct buf why = {0};
    strcpy(fixture->directory, "/tmp/larder-test.XXXXXX");
    if (!mkdtemp(fixture->directory))
        return -1;
    snprintf(fixture->socket, sizeof fixture->socket, "%s/s", fixture->directory);
    fixture->config.server.socket = fixture->socket;
    fixture->config.server.socket_mode = (char *)"0600";
    fixture->config.server.user = fixture->config.server.group = fixture->config.server.allow_users = (char *)"";
    fixture->config.server.pool = 2;
    fixture->config.server.queue = 2;
    fixture->config.server.max_connections = 64;
    fixture->config.server.request_timeout_ms = 60000;
    fixture->config.server.head_timeout_ms = head_timeout_ms;
    fixture->config.server.drain_timeout_ms = 60000;
    fixture->config.server.max_body = max_body;
    if (listener_open(&fixture->config, &fixture->listener, &why) != ERR_OK)
        return -1;
    fixture->row = mmap(NULL, sizeof *fixture->row, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (fixture->row == MAP_FAILED)
        return -1;
    fixture->pid = fork();
    if (fixture->pid == 0) {
        const struct worker_options options = {.config = &fixture->config,
                                               .ops = &ops,
                                               .listener = fixture->listener,
                                               .row = fixture->row,
                                               .stop = &stop,
                                               .handover = &(struct handover){.in = -1, .out = -1},
                                               .hold = &(sig_atomic_t){0}};
        struct sigaction action = {.sa_handler = on_signal};
        sigaction(SIGTERM, &action, NULL);
        log_init(2, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
        int code = worker_run(&options);
        close(fixture->listener);
        free(fixture);
        _exit(code);
    }
    *state = fixture;
    return 0;
}

static int start(void **state)
{
    return start_with(state, 100000, 60000);
}

static int start_narrow(void **state)
{
    return start_with(state, 1000, 60000);
}

static int start_hasty(void **state)
{
    return start_with(state, 100000, 400);
}

static int end_worker(struct fixture *fixture)
{
    int status = -1;
    kill(fixture->pid, SIGTERM);
    while (waitpid(fixture->pid, &status, 0) < 0 && errno == EINTR)
        ;
    fixture->pid = 0;
    return status;
}

static int end(void **state)
{
    struct fixture *fixture = *state;
    int status = fixture->pid > 0 ? end_worker(fixture) : 0;
    close(fixture->listener);
    unlink(fixture->socket);
    rmdir(fixture->directory);
    munmap(fixture->row, sizeof *fixture->row);
    free(fixture);
    return status;
}

/* Until the COUNT-th request since the start is under way, and no other, or has been answered. */
static void await_begun(const struct fixture *fixture, unsigned count)
{
    const struct scoreboard_process *row = fixture->row;
    for (int64_t end_ms = sys_monotonic_ms() + 20000;
         atomic_load(&row->busy) == 0 && atomic_load(&row->requests) < count; usleep(1000))
        assert_true(sys_monotonic_ms() < end_ms);
}

static int ask(const struct fixture *fixture, const char *uri, struct str body, struct buf *out)
{
    const struct fcgi_client_request request = {.socket = fixture->socket,
                                                .method = body.len > 0 ? "PUT" : "GET",
                                                .uri = uri,
                                                .body = body,
                                                .content_type = body.len > 0 ? "text/plain" : NULL,
                                                .timeout_ms = 20000};
    int status = 0;
    return fcgi_client_ask(&request, &status, out) == ERR_OK ? status : -1;
}

static int dial(const struct fixture *fixture)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval timeout = {.tv_sec = 20};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    memcpy(address.sun_path, fixture->socket, strlen(fixture->socket));
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    return fd;
}

static void a_kept_connection_answers_many_requests(void **state)
{
    int fd = dial(*state);
    struct buf request = worker_requests_get("/quick");
    for (int i = 0; i < 100; i++) {
        assert_int_equal(send(fd, request.p, request.len, 0), request.len);
        assert_true(worker_requests_answer(fd) > 0);
    }
    close(fd);
    buf_free(&request);
}

static void a_request_may_come_byte_by_byte(void **state)
{
    int fd = dial(*state);
    struct buf request = worker_requests_get("/quick");
    for (size_t i = 0; i < request.len; i++)
        assert_int_equal(send(fd, request.p + i, 1, 0), 1);
    assert_true(worker_requests_answer(fd) > 0);
    close(fd);
    buf_free(&request);
}

static void bodies_short_and_long_come_back_whole(void **state)
{
    static char body[90000];
    static const size_t lengths[] = {1, 4095, 4096, 8000, 8192, 16383, 16384, 16385, 47000, 49000, 65528, 65536, 90000};
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (char)(i * 7 % 251);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths * 2; i++) {
        const struct str sent = {body, lengths[i / 2]};
        struct buf out = {0};
        assert_int_equal(ask(*state, i % 2 ? "/echo" : "/quick", sent, &out), 200);
        assert_true(str_equal(buf_str(&out), sent));
        buf_free(&out);
    }
}

static void a_short_body_stays_on_the_event_thread_and_a_longer_one_goes_to_the_pool(void **state)
{
    static const struct {
        size_t len;
        const char *where;
    } cases[] = {
        {1, "the event thread"}, {16384, "the event thread"}, {16385, "a pool thread"}, {65535, "a pool thread"}};
    static char body[65535];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = {0};
        assert_int_equal(ask(*state, "/where", (struct str){body, cases[i].len}, &out), 200);
        assert_true(str_equal(buf_str(&out), str_from(cases[i].where)));
        buf_free(&out);
    }
}

static void a_body_of_another_length_than_announced_is_400_and_the_connection_is_kept(void **state)
{
    static char body[20001];
    static const struct {
        size_t len, announced;
    } cases[] = {{9, 10},        {11, 10},       {0, 10},        {10, 0},       {16384, 16383},
                 {20000, 20001}, {20001, 20000}, {16385, 16384}, {16384, 16385}};
    int fd = dial(*state);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf wrong = worker_requests_put("/quick", (struct str){body, cases[i].len}, cases[i].announced);
        struct buf right = worker_requests_put("/quick", (struct str){body, cases[i].len}, cases[i].len);
        assert_int_equal(send(fd, wrong.p, wrong.len, 0), wrong.len);
        assert_int_equal(worker_requests_status(fd), 400);
        assert_int_equal(send(fd, right.p, right.len, 0), right.len);
        assert_int_equal(worker_requests_status(fd), 200);
        buf_free(&wrong);
        buf_free(&right);
    }
    close(fd);
}

static void a_short_body_is_413_where_even_that_is_too_long(void **state)
{
    static char body[16385];
    static const struct {
        size_t len;
        int status;
    } cases[] = {{1000, 200}, {1001, 413}, {16384, 413}, {16385, 413}, {999, 200}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = {0};
        assert_int_equal(ask(*state, "/quick", (struct str){body, cases[i].len}, &out), cases[i].status);
        buf_free(&out);
    }
}

static void a_body_over_the_limit_is_413_and_the_answer_arrives(void **state)
{
    static char body[300000];
    struct buf out = {0};
    assert_int_equal(ask(*state, "/echo", (struct str){body, sizeof body}, &out), 413);
    buf_free(&out);
}

static void a_large_answer_to_a_slow_reader_delays_nobody(void **state)
{
    int fd = dial(*state);
    struct buf request = worker_requests_get("/large"), out = {0};
    assert_int_equal(send(fd, request.p, request.len, 0), request.len);
    usleep(100000);
    for (int i = 0; i < 20; i++)
        assert_int_equal(ask(*state, "/quick", (struct str){NULL, 0}, &out), 200);
    assert_true(worker_requests_answer(fd) > (ssize_t)LARGE);
    assert_int_equal(send(fd, request.p, request.len, 0), request.len);
    assert_true(worker_requests_answer(fd) > (ssize_t)LARGE);
    close(fd);
    buf_free(&request);
    buf_free(&out);
}

/* Whether fifty quick requests have their answers before a slow one, begun before them, has its own. */
static bool quick_ones_come_first(const struct fixture *fixture, unsigned before)
{
    int slow = dial(fixture), quick = dial(fixture);
    struct buf request = worker_requests_get("/slow"), hit = worker_requests_get("/quick");
    char byte;
    assert_int_equal(send(slow, request.p, request.len, 0), request.len);
    await_begun(fixture, before + 1);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(send(quick, hit.p, hit.len, 0), hit.len);
        assert_true(worker_requests_answer(quick) > 0);
    }
    bool first = recv(slow, &byte, 1, MSG_DONTWAIT) == -1;
    assert_true(worker_requests_answer(slow) > 0);
    close(slow);
    close(quick);
    buf_free(&request);
    buf_free(&hit);
    return first;
}

static void slow_work_in_the_pool_does_not_delay_quick_requests(void **state)
{
    bool first = false;
    /* A machine may stand still for longer than the slow one takes, once. */
    for (unsigned i = 0; i < 5 && !first; i++)
        first = quick_ones_come_first(*state, 51 * i);
    assert_true(first);
}

/* How many of eight slow requests at once are refused. */
static int flood(const struct fixture *fixture)
{
    struct buf request = worker_requests_get("/slow");
    int fds[8], refused = 0;
    for (int i = 0; i < 8; i++) {
        fds[i] = dial(fixture);
        assert_int_equal(send(fds[i], request.p, request.len, 0), request.len);
    }
    for (int i = 0; i < 8; i++) {
        refused += worker_requests_status(fds[i]) == 503;
        close(fds[i]);
    }
    buf_free(&request);
    return refused;
}

static void a_full_queue_is_answered_at_once(void **state)
{
    int refused = 0;
    for (int i = 0; i < 5 && refused == 0; i++)
        refused = flood(*state);
    /* Two run and two wait. */
    assert_in_range(refused, 1, 6);
}

static void a_head_that_stops_coming_is_closed_and_harms_nobody(void **state)
{
    int fd = dial(*state);
    struct buf request = worker_requests_get("/quick"), out = {0};
    char byte;
    assert_int_equal(send(fd, request.p, 20, 0), 20);
    assert_int_equal(ask(*state, "/quick", (struct str){NULL, 0}, &out), 200);
    assert_true(recv(fd, &byte, 1, 0) <= 0);
    close(fd);
    buf_free(&request);
    buf_free(&out);
}

static void garbage_is_closed_and_harms_nobody(void **state)
{
    int fd = dial(*state);
    struct buf out = {0};
    char byte;
    assert_int_equal(send(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, 0), 27);
    assert_true(recv(fd, &byte, 1, 0) <= 0);
    assert_int_equal(ask(*state, "/quick", (struct str){NULL, 0}, &out), 200);
    close(fd);
    buf_free(&out);
}

static void management_records_are_answered_between_requests(void **state)
{
    int fd = dial(*state);
    char answer[64];
    static const char get_values[] = "\1\x09\0\0\0\x10\0\0\x0e\0FCGI_MAX_CONNS";
    assert_int_equal(send(fd, get_values, 24, 0), 24);
    assert_int_equal(recv(fd, answer, 8, MSG_WAITALL), 8);
    assert_int_equal(answer[1], FCGI_HEAD_GET_VALUES_RESULT);
    size_t len = (size_t)(unsigned char)answer[5] + (unsigned char)answer[6];
    assert_int_equal(recv(fd, answer, len, MSG_WAITALL), len);
    struct buf request = worker_requests_get("/quick");
    assert_int_equal(send(fd, request.p, request.len, 0), request.len);
    assert_true(worker_requests_answer(fd) > 0);
    close(fd);
    buf_free(&request);
}

static void draining_answers_what_is_under_way_and_loses_nothing(void **state)
{
    struct fixture *fixture = *state;
    int busy = dial(fixture), idle = dial(fixture);
    struct buf slow = worker_requests_get("/slow"), quick = worker_requests_get("/quick");
    char byte;
    assert_int_equal(send(idle, quick.p, quick.len, 0), quick.len);
    assert_true(worker_requests_answer(idle) > 0);
    assert_int_equal(send(busy, slow.p, slow.len, 0), slow.len);
    await_begun(fixture, 2);
    kill(fixture->pid, SIGTERM);
    assert_int_equal(recv(idle, &byte, 1, 0), 0);
    assert_true(worker_requests_answer(busy) > 0);
    assert_int_equal(end_worker(fixture), 0);
    close(busy);
    close(idle);
    buf_free(&slow);
    buf_free(&quick);
}

static void a_job_that_a_request_waits_for_is_not_kept_back_by_others(void **state)
{
    struct buf out = {0};
    assert_int_equal(ask(*state, "/beside", (struct str){NULL, 0}, &out), 200);
    buf_free(&out);
}

static void a_job_that_a_request_waits_for_runs_while_draining_and_others_do_not(void **state)
{
    struct fixture *fixture = *state;
    int waiting = dial(fixture);
    struct buf request = worker_requests_get("/drain"), out = {0};
    assert_int_equal(send(waiting, request.p, request.len, 0), request.len);
    /* Once this is answered, the one before has been begun. */
    assert_int_equal(ask(fixture, "/quick", (struct str){NULL, 0}, &out), 200);
    kill(fixture->pid, SIGTERM);
    assert_int_equal(worker_requests_status(waiting), 200);
    assert_int_equal(end_worker(fixture), 0);
    close(waiting);
    buf_free(&request);
    buf_free(&out);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_kept_connection_answers_many_requests, start, end),
        cmocka_unit_test_setup_teardown(a_request_may_come_byte_by_byte, start, end),
        cmocka_unit_test_setup_teardown(bodies_short_and_long_come_back_whole, start, end),
        cmocka_unit_test_setup_teardown(a_short_body_stays_on_the_event_thread_and_a_longer_one_goes_to_the_pool, start,
                                        end),
        cmocka_unit_test_setup_teardown(a_body_of_another_length_than_announced_is_400_and_the_connection_is_kept,
                                        start, end),
        cmocka_unit_test_setup_teardown(a_short_body_is_413_where_even_that_is_too_long, start_narrow, end),
        cmocka_unit_test_setup_teardown(a_body_over_the_limit_is_413_and_the_answer_arrives, start, end),
        cmocka_unit_test_setup_teardown(a_large_answer_to_a_slow_reader_delays_nobody, start, end),
        cmocka_unit_test_setup_teardown(slow_work_in_the_pool_does_not_delay_quick_requests, start, end),
        cmocka_unit_test_setup_teardown(a_full_queue_is_answered_at_once, start, end),
        cmocka_unit_test_setup_teardown(a_head_that_stops_coming_is_closed_and_harms_nobody, start_hasty, end),
        cmocka_unit_test_setup_teardown(garbage_is_closed_and_harms_nobody, start, end),
        cmocka_unit_test_setup_teardown(management_records_are_answered_between_requests, start, end),
        cmocka_unit_test_setup_teardown(draining_answers_what_is_under_way_and_loses_nothing, start, end),
        cmocka_unit_test_setup_teardown(a_job_that_a_request_waits_for_is_not_kept_back_by_others, start, end),
        cmocka_unit_test_setup_teardown(a_job_that_a_request_waits_for_runs_while_draining_and_others_do_not, start,
                                        end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
