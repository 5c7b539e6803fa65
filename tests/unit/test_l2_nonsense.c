/* Something that answers as Redis never would: to every verb, and to whoever follows the log. */
#include "l2_boards_fixture.h"

#include "l2/l2_log.h"

/* A server that answers everything with the same bytes. */
static pid_t speak(const char *socket_path, const char *bytes, size_t len, bool hang_up)
{
    int fd = listen_at(socket_path);
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_IGN);
        for (;;) {
            int peer = accept(fd, NULL, NULL);
            char received[65536];

            while (peer >= 0 && read(peer, received, sizeof(received)) > 0)
                if (write(peer, bytes, len) < 0 || hang_up)
                    break;
            close(peer);
        }
    }
    close(fd);
    return pid;
}

#define BYTES(literal) literal, sizeof(literal) - 1
#define STATE "*2\r\n*3\r\n$1\r\n5\r\n$-1\r\n$-1\r\n"
#define ANN "$19\r\n0000000000000001ann\r\n"

/* What is asked and told of boards comes to nothing. */
static void try_boards(struct host *host)
{
    struct l2_boards_change change = change_to(1, "b", "ann", 1);
    uint64_t level;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(top_of(host, "b", 0, 3)->result, L2_BOARDS_UNKNOWN);
        assert_int_equal(around(host, "b", "bob", 1)->result, L2_BOARDS_UNKNOWN);
        assert_int_equal(member_of(host, "b", "bob")->result, L2_BOARDS_UNKNOWN);
    }
    push_all(host, &change, 1);
    (void)!l2_boards_follow(host->waiting, 0, &change, 1, 1);
    assert_int_not_equal(l2_boards_level(host->waiting, &level), ERR_OK);
    assert_int_not_equal(l2_boards_copy(host->waiting, &change, 1), ERR_OK);
}

static void nonsense_is_a_failure_and_never_worse(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {
        {BYTES("HTTP/1.1 400 Bad Request\r\n\r\n")},
        {BYTES("+OK\r\n+OK\r\n")},
        {BYTES("+OK\r\n")},
        {BYTES("$-1\r\n+OK\r\n")},
        {BYTES("$-1\r\n*0\r\n")},
        {BYTES("*0\r\n$-1\r\n")},
        {BYTES("*2\r\n:1\r\n:2\r\n$-1\r\n")},
        {BYTES("*5\r\n$1\r\nx\r\n$1\r\n0\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n")},
        {BYTES("*5\r\n$2\r\n-5\r\n$1\r\n0\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n")},
        {BYTES("*5\r\n$1\r\n5\r\n$1\r\n0\r\n$-1\r\n$3\r\n1 h\r\n$-1\r\n$-1\r\n")},
        {BYTES("*5\r\n$1\r\n5\r\n$1\r\n0\r\n$-1\r\n*0\r\n$-1\r\n$-1\r\n")},
        {BYTES("*5\r\n$1\r\n5\r\n$1\r\n0\r\n$-1\r\n$-1\r\n$2\r\n3,\r\n$-1\r\n")},
        {BYTES("*5\r\n$1\r\n5\r\n$1\r\n0\r\n$-1\r\n$-1\r\n:3\r\n$-1\r\n")},
        {BYTES("*2\r\n$5\r\ntaken\r\n$2\r\nno\r\n")},
        {BYTES("*3\r\n$5\r\nfound\r\n$5\r\nshort\r\n:0\r\n")},
        {BYTES("*3\r\n$5\r\nfound\r\n:1\r\n:0\r\n")},
        {BYTES("*1\r\n$4\r\nlost\r\n")},
        {BYTES("*3\r\n$4\r\ndone\r\n$1\r\n0\r\n*3\r\n:1\r\n:1\r\n:1\r\n")},
        {BYTES("*2\r\n$1\r\n1\r\n*9\r\n$1\r\nx\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n")},
        {BYTES("*2147483647\r\n")},
        {BYTES("*1000000000\r\n$-1\r\n")},
        {BYTES("*-5\r\n")},
        {BYTES(",1.5\r\n")},
        {BYTES("#t\r\n")},
        {BYTES("_\r\n")},
        {BYTES("(12345678901234567890\r\n")},
        {BYTES("=6\r\ntxt:ab\r\n")},
        {BYTES("%1\r\n+a\r\n+b\r\n")},
        {BYTES("~1\r\n+a\r\n")},
        {BYTES(">1\r\n+a\r\n")},
        {BYTES("*2\r\n,1\r\n#f\r\n")},
        {BYTES("*3\r\n$5\r\nfound\r\n#t\r\n,0\r\n")},
        {BYTES("$99999999999999999999\r\n")},
        {BYTES("$-7\r\n")},
        {BYTES("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n")},
        {BYTES("-LOADING Redis is loading the dataset in memory\r\n-LOADING Redis is loading\r\n")},
        {BYTES("-\r\n-\r\n")},
        {BYTES("\0\0\0\0\xff\xff\xff")},
        {BYTES("\r\n\r\n\r\n")},
        {BYTES("x")},
        {BYTES("$-1\r\n*2\r\n$-1\r\n$-1\r\n:5\r\n:5\r\n:5\r\n")},
        {BYTES("%1\r\n+a\r\n+b\r\n")},
        {BYTES("-NOSCRIPT No matching script\r\n")},
        /* Of leaderboards: states, and what is no answer, however whole the board is said to be. */
        {BYTES("*2\r\n*3\r\n$1\r\nx\r\n$-1\r\n$-1\r\n*1\r\n:0\r\n")},
        {BYTES("*2\r\n*3\r\n$2\r\n-1\r\n$-1\r\n$-1\r\n*1\r\n:0\r\n")},
        {BYTES("*2\r\n*4\r\n$1\r\n5\r\n$-1\r\n$-1\r\n$0\r\n\r\n*1\r\n:0\r\n")},
        {BYTES(STATE "*1\r\n:-1\r\n")},
        {BYTES(STATE "*1\r\n$1\r\n1\r\n")},
        {BYTES(STATE "*2\r\n:1\r\n:0\r\n")},
        {BYTES(STATE "$2\r\n10\r\n")},
        {BYTES(STATE "*3\r\n:1\r\n:0\r\n*1\r\n" ANN)},
        {BYTES(STATE "*3\r\n:0\r\n:0\r\n*2\r\n" ANN "$1\r\n0\r\n")},
        {BYTES(STATE "*3\r\n:1\r\n:1\r\n*2\r\n" ANN "$1\r\n0\r\n")},
        {BYTES(STATE "*3\r\n:1\r\n:-1\r\n*2\r\n" ANN "$1\r\n0\r\n")},
        {BYTES(STATE "*3\r\n:1\r\n:0\r\n*2\r\n" ANN "$3\r\ninf\r\n")},
        {BYTES(STATE "*3\r\n:1\r\n:0\r\n*2\r\n" ANN ":0\r\n")},
        {BYTES(STATE "*3\r\n:1\r\n:0\r\n*2\r\n:7\r\n$1\r\n0\r\n")},
        {BYTES(STATE "*3\r\n:1\r\n:0\r\n*2\r\n$16\r\n0000000000000001\r\n$1\r\n0\r\n")},
        {BYTES(STATE "*3\r\n:5\r\n:0\r\n*8\r\n" ANN "$1\r\n0\r\n" ANN "$1\r\n0\r\n" ANN "$1\r\n0\r\n" ANN
                     "$1\r\n0\r\n")},
        {BYTES(STATE "*3\r\n:5\r\n:0\r\n$2\r\nno\r\n")},
        {BYTES(STATE "*3\r\n:5\r\n:0\r\n$16\r\n0000000000000001\r\n")},
        {BYTES(STATE "*3\r\n:5\r\n:0\r\n$17\r\n0000000000000001x\r\n")},
        {BYTES(STATE "*3\r\n:1\r\n:1\r\n$17\r\n00000000000000010\r\n")},
    };
    (void)state;

    server_kill(&redis);
    for (size_t i = 0; i < 4 * sizeof(cases) / sizeof(*cases); i++) {
        pid_t pid = speak(redis.socket, cases[i / 4].bytes, cases[i / 4].len, i % 2);
        struct host host = {.asynchronous = i / 2 % 2};
        struct l2_lease lease = {.token = 1, .stamp = 1};
        struct l2_job job = {.id = 1, .pattern = STR("k*")};
        struct l2_log_record record;
        struct l2_log *log;
        const char *why = "";
        uint64_t cursor = 0;
        size_t count;
        bool stored;
        struct arena *arena = arena_new(1024, 1 << 20);
        struct str *keys;

        host.config = usual_config();
        host.config.redis.timeout_ms = 30;
        host.config.breaker.failures = 1000;
        configure(&host);
        for (int j = 0; j < 3; j++)
            assert_int_equal(look(&host, "key", "tag")->result, L2_UNAVAILABLE);
        assert_int_equal(claim_by(&host, "key", "tag", "").result, L2_CLAIM_UNAVAILABLE);
        l2_release(host.waiting, STR("key"), &lease);
        assert_int_not_equal(l2_fill(host.waiting, STR("key"), NULL, 0, STR("x"), 60000, &lease, &stored), ERR_OK);
        assert_int_not_equal(l2_scan(host.waiting, STR("*"), &cursor, 10, arena, &keys, &count), ERR_OK);
        assert_int_not_equal(l2_job_read(host.waiting, 1, arena, &job), ERR_OK);
        assert_int_not_equal(l2_job_take(host.waiting, 1, arena, &job), ERR_OK);
        assert_int_not_equal(l2_job_step(host.waiting, 1, 10, &job), ERR_OK);
        try_boards(&host);
        assert_false(status_of(&host).distrusted);
        assert_int_not_equal(purge_as(host.waiting, L2_PURGE_ALL, false, NULL, NULL, NULL), ERR_OK);
        assert_int_not_equal(purge_as(host.waiting, L2_PURGE_KEYS, false, "key", NULL, NULL), ERR_OK);
        assert_int_not_equal(purge_as(host.waiting, L2_PURGE_PATTERN, false, "k*", NULL, NULL), ERR_OK);
        assert_true(status_of(&host).distrusted);
        assert_true(status_of(&host).last_error.len > 0);
        log = l2_log_open(&host.config, host.shared, NULL);
        for (int j = 0; j < 3; j++)
            assert_int_equal(l2_log_next(log, j, &record, &why), L2_LOG_BROKEN);
        assert_true(strlen(why) > 0);
        l2_log_close(&log);
        host_close(&host);
        arena_free(&arena);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(nonsense_is_a_failure_and_never_worse),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
