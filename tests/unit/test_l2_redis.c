/* Redis that is absent, hung, killed, flushed, set back, full, locked, or something else altogether. */
#include "l2_fixture.h"

#include <hiredis/hiredis.h>

#include "base/metrics.h"

static struct server redis;

static void configure(struct host *host)
{
    char url[128];

    snprintf(url, sizeof(url), "unix://%s", redis.socket);
    host_configure(host, url);
    host_open(host);
}

/* One command by another client, as an operator would. */
static void operate(const char *format, ...)
{
    redisContext *context = redisConnectUnix(redis.socket);
    va_list list;

    va_start(list, format);
    redisReply *reply = redisvCommand(context, format, list);
    va_end(list);
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", format, reply->str);
    freeReplyObject(reply);
    redisFree(context);
}

static int set_up(void **state)
{
    (void)state;
    server_start(&redis, NULL, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    server_remove(&redis);
    redis = (struct server){0};
    return 0;
}

/* Runs TEST with reads by waiting, then with asynchronous ones, each on a fresh server. */
static void both_ways(void (*test)(struct host *host), const struct host *model)
{
    for (int way = 0; way < 2; way++) {
        struct host host = model ? *model : (struct host){0};

        server_kill(&redis);
        server_start(&redis, NULL, NULL);
        configure(&host);
        host.asynchronous = way == 1;
        test(&host);
        host_close(&host);
    }
}

/* Reads KEY until it comes out as RESULT. */
static void read_until(struct host *host, const char *key, const char *tag, enum l2_result result)
{
    int64_t end_ms = sys_monotonic_ms() + PATIENCE_MS;

    while (look(host, key, tag)->result != result) {
        assert_true(sys_monotonic_ms() < end_ms);
        loop_round(&host->loop);
    }
}

static void lose(struct host *host, const char *what)
{
    uint64_t stamp = look(host, "key", NULL)->stamp;

    put(host, "key", "old");
    assert_found(host, "key", "tag", "old");
    operate(what);
    assert_absent(host, "key", "tag");
    assert_true(look(host, "key", "tag")->stamp > stamp);
    assert_false(fill_stamped(host, "key", "old", stamp));
    put(host, "key", "new");
    assert_found(host, "key", "tag", "new");
    assert_int_equal(status_of(host).breaker_opened, 0);
}

static void flush(struct host *host)
{
    lose(host, "FLUSHALL");
}

static void a_flushed_server_begins_above_every_old_stamp(void **state)
{
    (void)state;
    both_ways(flush, NULL);
}

static void lose_purges(struct host *host)
{
    lose(host, "DEL l*rder[:1:purged");
}

static void losing_the_purges_invalidates_every_entry(void **state)
{
    (void)state;
    both_ways(lose_purges, NULL);
}

static void lose_floor(struct host *host)
{
    lose(host, "HDEL l*rder[:1:purged floor");
}

static void losing_a_part_of_the_purges_does_too(void **state)
{
    (void)state;
    both_ways(lose_floor, NULL);
}

static void set_back(struct host *host)
{
    purge_tag(host, "tag");
    lose(host, "HINCRBY l*rder[:1:purged seq -1");
}

static void a_server_back_from_an_old_snapshot_is_noticed(void **state)
{
    (void)state;
    both_ways(set_back, NULL);
}

static void forget_tags(struct host *host)
{
    put(host, "key", "old");
    operate("EVAL %s 1 l*rder[:1:purged",
            "for i = 1, 99998 do redis.call('HSET', KEYS[1], 't:' .. i, '1') end return 'x'");
    purge_tag(host, "one");
    assert_found(host, "key", "other", "old");
    purge_tag(host, "two");
    purge_tag(host, "three");
    assert_absent(host, "key", "other");
    put(host, "key", "new");
    assert_found(host, "key", "three", "new");
}

static void too_many_tags_are_forgotten_at_the_price_of_everything(void **state)
{
    (void)state;
    both_ways(forget_tags, NULL);
}

static void come_back(struct host *host)
{
    put(host, "key", "old");
    server_kill(&redis);
    for (int i = 0; i < 20; i++)
        assert_int_equal(look(host, "key", NULL)->result, L2_UNAVAILABLE);
    assert_int_equal(status_of(host).breaker, L2_OPEN);
    assert_int_equal(status_of(host).breaker_opened, 1);
    assert_true(status_of(host).last_error.len > 0);
    server_start(&redis, NULL, NULL);
    read_until(host, "key", NULL, L2_ABSENT);
    read_until(host, "key", NULL, L2_ABSENT);
    assert_int_equal(status_of(host).breaker, L2_CLOSED);
    put(host, "key", "new");
    assert_found(host, "key", NULL, "new");
}

static void a_killed_server_is_found_again_by_reads_alone(void **state)
{
    (void)state;
    both_ways(come_back, NULL);
}

static void restart_idle(struct host *host)
{
    size_t removed;

    put(host, "key", "old");
    server_kill(&redis);
    server_start(&redis, NULL, NULL);
    loop_round(&host->loop);
    purge_tag(host, "tag");
    put(host, "key", "new");
    operate("CLIENT KILL TYPE normal");
    loop_round(&host->loop);
    assert_int_equal(l2_purge_keys(host->waiting, &STR("key"), 1, &removed), ERR_OK);
    assert_int_equal(removed, 1);
    assert_absent(host, "key", NULL);
    assert_int_equal(status_of(host).last_error.len, 0);
    assert_false(status_of(host).distrusted);
}

static void a_connection_lost_while_idle_costs_nothing(void **state)
{
    (void)state;
    both_ways(restart_idle, NULL);
}

static void hang(struct host *host)
{
    uint64_t failures = metrics_sum(METRIC_l2_failures), skipped = metrics_sum(METRIC_l2_skipped);
    struct seen *seen = calloc(30, sizeof(*seen));
    size_t removed;

    put(host, "key", "old");
    server_hang(&redis);
    for (size_t i = 0; i < 30; i++)
        l2_read(host->asynchronous ? host->reading : host->waiting, STR("key"), NULL, 0, note_read, &seen[i]);
    for (size_t i = 0; i < 30; i++) {
        run_until(&host->loop, &seen[i].called);
        assert_int_equal(seen[i].result, L2_UNAVAILABLE);
    }
    assert_int_equal(status_of(host).breaker, L2_OPEN);
    assert_true(metrics_sum(METRIC_l2_failures) - failures >= 5);
    assert_int_equal(l2_ping(host->waiting), ERR_UNAVAILABLE);
    assert_int_equal(l2_purge_keys(host->waiting, &STR("key"), 1, &removed), ERR_UNAVAILABLE);
    assert_true(metrics_sum(METRIC_l2_skipped) > skipped);
    assert_true(status_of(host).distrusted);
    kill(redis.pid, SIGCONT);
    read_until(host, "key", NULL, L2_ABSENT);
    assert_false(status_of(host).distrusted);
    put(host, "key", "new");
    assert_found(host, "key", NULL, "new");
    free(seen);
}

static void a_hung_server_costs_one_timeout_and_no_lost_purge(void **state)
{
    struct host model = {.config = usual_config()};
    (void)state;

    model.config.redis.connect_timeout_ms = model.config.redis.timeout_ms = 100;
    model.config.breaker.open_ms = 300;
    both_ways(hang, &model);
}

/* While the breaker is open nothing is tried: no connection arrives. */
static void while_the_breaker_is_open_nothing_is_tried(void **state)
{
    struct host host = {.asynchronous = true};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    (void)state;

    host.config = usual_config();
    host.config.breaker.open_ms = 60000;
    configure(&host);
    server_kill(&redis);
    for (int i = 0; i < 5; i++)
        look(&host, "key", NULL);
    assert_int_equal(status_of(&host).breaker, L2_OPEN);
    unlink(redis.socket);
    strcpy(address.sun_path, redis.socket);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 5), 0);
    for (int i = 0; i < 50; i++)
        assert_int_equal(look(&host, "key", NULL)->result, L2_UNAVAILABLE);
    assert_int_equal(accept(fd, NULL, NULL), -1);
    assert_int_equal(errno, EAGAIN);
    close(fd);
    host_close(&host);
}

static void refuse_writing(struct host *host)
{
    bool stored = true;
    uint64_t stamp;

    put(host, "key", "old");
    stamp = look(host, "key", NULL)->stamp;
    operate("CONFIG SET maxmemory 1");
    for (int i = 0; i < 10; i++)
        assert_int_equal(l2_fill(host->waiting, STR("other"), STR("x"), 60000, stamp, &stored), ERR_READ_ONLY);
    assert_found(host, "key", NULL, "old");
    assert_int_equal(status_of(host).breaker_opened, 0);
    assert_non_null(strstr(status_of(host).last_error.p, "OOM"));
    operate("CONFIG SET maxmemory 0");
    assert_true(fill_stamped(host, "other", "x", stamp));
}

static void a_full_server_can_still_be_read(void **state)
{
    (void)state;
    both_ways(refuse_writing, NULL);
}

static void an_entry_over_the_limit_is_not_stored(void **state)
{
    struct host host = {0};
    bool stored = true;
    char *large = calloc(1, (1 << 20) + 1);
    (void)state;

    configure(&host);
    assert_int_equal(l2_fill(host.waiting, STR("k"), (struct str){large, (1 << 20) + 1}, 60000,
                             look(&host, "k", NULL)->stamp, &stored),
                     ERR_OK);
    assert_false(stored);
    free(large);
    host_close(&host);
}

static void another_cache_version_sees_nothing_of_this_one(void **state)
{
    struct host host = {0};
    (void)state;

    configure(&host);
    put(&host, "key", "old");
    host_close(&host);
    host.config.redis.cache_version = 2;
    configure(&host);
    assert_absent(&host, "key", NULL);
    put(&host, "key", "new");
    host_close(&host);
    host.config.redis.cache_version = 1;
    configure(&host);
    assert_found(&host, "key", NULL, "old");
    host_close(&host);
}

static void a_pattern_touches_nothing_outside_the_prefix(void **state)
{
    struct host host = {0};
    size_t removed;
    (void)state;

    configure(&host);
    put(&host, "key", "x");
    operate("SET lxrder[:1:e:key x");
    operate("SET l*rder[:2:e:key x");
    operate("SET key x");
    assert_int_equal(l2_purge_pattern(host.waiting, STR("*"), &removed), ERR_OK);
    assert_int_equal(removed, 1);
    operate("EVAL %s 0", "if redis.call('DBSIZE') ~= 4 then error('gone') end return 1");
    host_close(&host);
}

static void credentials_and_database_hold_on_every_connection(void **state)
{
    static const struct {
        const char *credentials, *user, *password;
        bool good;
    } cases[] = {
        {":open%20sesame@", "", "", true},
        {"default:open%20sesame@", "", "", true},
        {"", "", "open sesame", true},
        {"", "larder", "of larder", true},
        {"larder:of%20larder@", "default", "wrong", true},
        {"larder@", "", "of larder", true},
        {"", "", "", false},
        {":wrong%20secret@", "", "open sesame", false},
        {"larder:open%20sesame@", "", "", false},
        {"nobody:of%20larder@", "", "", false},
    };
    (void)state;

    operate("ACL SETUSER larder on %s ~* &* +@all", ">of larder");
    operate("CONFIG SET requirepass %s", "open sesame");
    for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(*cases); i++) {
        struct host host = {.asynchronous = i % 2 == 1};
        char url[256], user[32], password[32];

        snprintf(url, sizeof(url), "unix://%s%s?db=3", cases[i / 2].credentials, redis.socket);
        snprintf(user, sizeof(user), "%s", cases[i / 2].user);
        snprintf(password, sizeof(password), "%s", cases[i / 2].password);
        host_configure(&host, url);
        host.config.redis.user = user;
        host.config.redis.password = password;
        host_open(&host);
        assert_null(strstr(status_of(&host).where.p, "@"));
        if (cases[i / 2].good) {
            put(&host, "key", "x");
            assert_found(&host, "key", NULL, "x");
            redisContext *admin = redisConnectUnix(redis.socket);
            freeReplyObject(redisCommand(admin, "AUTH %s", "open sesame"));
            freeReplyObject(redisCommand(admin, "CLIENT KILL TYPE normal SKIPME yes"));
            freeReplyObject(redisCommand(admin, "SELECT 3"));
            redisReply *reply = redisCommand(admin, "EXISTS %s", "l*rder[:1:e:key");
            assert_int_equal(reply->integer, 1);
            freeReplyObject(reply);
            redisFree(admin);
            loop_round(&host.loop);
            assert_found(&host, "key", NULL, "x");
            purge_tag(&host, "tag");
        } else {
            assert_int_equal(look(&host, "key", NULL)->result, L2_UNAVAILABLE);
            assert_non_null(
                strstr(status_of(&host).last_error.p, cases[i / 2].credentials[0] ? "WRONGPASS" : "NOAUTH"));
            assert_null(strstr(status_of(&host).last_error.p, "sesame"));
            assert_null(strstr(status_of(&host).last_error.p, "secret"));
        }
        host_close(&host);
    }
}

/* A server that answers everything with the same bytes. */
static pid_t speak(const char *socket_path, const char *bytes, size_t len, bool hang_up)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    pid_t pid;

    strcpy(address.sun_path, socket_path);
    unlink(socket_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 50), 0);
    pid = fork();
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
        {BYTES("$-1\r\n*2\r\n:1\r\n:2\r\n")},
        {BYTES("$-1\r\n*2\r\n$1\r\nx\r\n$1\r\n0\r\n")},
        {BYTES("$-1\r\n*2\r\n$2\r\n-5\r\n$1\r\n0\r\n")},
        {BYTES("$8\r\nabcdefgh\r\n*3\r\n$19\r\n9000000000000000000\r\n$1\r\n0\r\n$2\r\nno\r\n")},
        {BYTES("*2147483647\r\n")},
        {BYTES("*1000000000\r\n$-1\r\n")},
        {BYTES("*-5\r\n")},
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
    };
    (void)state;

    server_kill(&redis);
    for (size_t i = 0; i < 4 * sizeof(cases) / sizeof(*cases); i++) {
        pid_t pid = speak(redis.socket, cases[i / 4].bytes, cases[i / 4].len, i % 2);
        struct host host = {.asynchronous = i / 2 % 2};
        uint64_t cursor = 0;
        size_t count;
        struct arena *arena = arena_new(1024, 1 << 20);
        struct str *keys;

        host.config = usual_config();
        host.config.redis.timeout_ms = 30;
        host.config.breaker.failures = 1000;
        configure(&host);
        for (int j = 0; j < 3; j++)
            assert_int_equal(look(&host, "key", "tag")->result, L2_UNAVAILABLE);
        assert_int_not_equal(l2_purge_all(host.waiting), ERR_OK);
        assert_int_not_equal(l2_purge_keys(host.waiting, &STR("key"), 1, &count), ERR_OK);
        assert_int_not_equal(l2_purge_pattern(host.waiting, STR("k*"), &count), ERR_OK);
        assert_int_not_equal(l2_scan(host.waiting, STR("*"), &cursor, 10, arena, &keys, &count), ERR_OK);
        assert_true(status_of(&host).distrusted);
        assert_true(status_of(&host).last_error.len > 0);
        host_close(&host);
        arena_free(&arena);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
}

struct chain {
    struct host *host;
    unsigned left, unavailable;
    bool done;
};

static void ask_again(void *context, const struct l2_read *read)
{
    struct chain *chain = context;

    chain->unavailable += read->result == L2_UNAVAILABLE;
    if (chain->left-- == 0)
        chain->done = true;
    else
        l2_read(chain->host->reading, STR("key"), NULL, 0, ask_again, chain);
}

static void a_callback_may_read_again_even_on_failure(void **state)
{
    struct host host = {.asynchronous = true};
    struct chain chains[100];
    unsigned unavailable = 0;
    (void)state;

    configure(&host);
    for (int way = 0; way < 2; way++) {
        for (size_t i = 0; i < 100; i++) {
            chains[i] = (struct chain){.host = &host, .left = 20};
            ask_again(&chains[i], &(struct l2_read){.result = L2_ABSENT});
        }
        if (way == 1)
            server_kill(&redis);
        for (size_t i = 0; i < 100; i++) {
            run_until(&host.loop, &chains[i].done);
            unavailable += chains[i].unavailable;
        }
        assert_true((unavailable > 0) == (way == 1));
    }
    host_close(&host);
}

static void closing_answers_whoever_waits(void **state)
{
    struct host host = {0};
    static struct seen seen;
    (void)state;

    configure(&host);
    seen.called = false;
    l2_read(host.reading, STR("key"), NULL, 0, note_read, &seen);
    assert_false(seen.called);
    l2_close(&host.reading);
    assert_true(seen.called);
    assert_int_equal(seen.result, L2_UNAVAILABLE);
    host_close(&host);
}

static void tcp_works_like_a_socket_file(void **state)
{
    struct host host;
    int port = 20000 + (int)(getpid() % 20000);
    char text[16], url[64];

    (void)state;
    snprintf(text, sizeof(text), "%d", port);
    operate("CONFIG SET port %s", text);
    for (int way = 0; way < 2; way++) {
        host = (struct host){.asynchronous = way == 1};
        snprintf(url, sizeof(url), way ? "redis://localhost:%d/1" : "redis://127.0.0.1:%d", port);
        host_configure(&host, url);
        host_open(&host);
        put(&host, "key", "x");
        assert_found(&host, "key", NULL, "x");
        operate("CONFIG SET port 0");
        operate("CLIENT KILL TYPE normal");
        loop_round(&host.loop);
        assert_int_equal(look(&host, "key", NULL)->result, L2_UNAVAILABLE);
        assert_non_null(strstr(status_of(&host).last_error.p, "refused"));
        operate("CONFIG SET port %s", text);
        host_close(&host);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_flushed_server_begins_above_every_old_stamp),
        CASE(losing_the_purges_invalidates_every_entry),
        CASE(losing_a_part_of_the_purges_does_too),
        CASE(a_server_back_from_an_old_snapshot_is_noticed),
        CASE(too_many_tags_are_forgotten_at_the_price_of_everything),
        CASE(a_killed_server_is_found_again_by_reads_alone),
        CASE(a_connection_lost_while_idle_costs_nothing),
        CASE(a_hung_server_costs_one_timeout_and_no_lost_purge),
        CASE(while_the_breaker_is_open_nothing_is_tried),
        CASE(a_full_server_can_still_be_read),
        CASE(an_entry_over_the_limit_is_not_stored),
        CASE(another_cache_version_sees_nothing_of_this_one),
        CASE(a_pattern_touches_nothing_outside_the_prefix),
        CASE(credentials_and_database_hold_on_every_connection),
        CASE(nonsense_is_a_failure_and_never_worse),
        CASE(a_callback_may_read_again_even_on_failure),
        CASE(closing_answers_whoever_waits),
        CASE(tcp_works_like_a_socket_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
