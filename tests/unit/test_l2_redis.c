/* Redis that is absent, hung, killed, flushed, set back, full, locked, or something else altogether. */
#include "l2_redis_fixture.h"

#include "base/metrics.h"
#include "l2/l2_job.h"

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
    struct l2_lease lease;

    put_by(host, "key", "tag", "old");
    assert_found(host, "key", "tag", "old");
    lease = take(host, "other", NULL);
    operate(&redis, what);
    assert_absent(host, "key", "tag");
    assert_false(fill_under(host, "other", NULL, "old", lease));
    assert_true(take(host, "other", NULL).stamp > lease.stamp);
    assert_absent(host, "key", "tag");
    put_by(host, "key", "tag", "new");
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
    operate(&redis, "EVAL %s 1 l*rder[:1:purged",
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
    size_t removed = 0;

    put(host, "key", "old");
    server_kill(&redis);
    server_start(&redis, NULL, NULL);
    loop_round(&host->loop);
    purge_tag(host, "tag");
    put(host, "key", "new");
    operate(&redis, "CLIENT KILL TYPE normal");
    loop_round(&host->loop);
    assert_int_equal(purge_as(host->waiting, L2_PURGE_KEYS, false, "key", &removed, NULL), ERR_OK);
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
    uint64_t epoch;

    put(host, "key", "old");
    host->config.redis.timeout_ms = 100;
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
    assert_int_equal(purge_as(host->waiting, L2_PURGE_KEYS, false, "key", NULL, NULL), ERR_UNAVAILABLE);
    assert_true(metrics_sum(METRIC_l2_skipped) > skipped);
    assert_true(status_of(host).distrusted);
    kill(redis.pid, SIGCONT);
    host->config.redis.timeout_ms = 5000;
    assert_true(l2_distrusted(host->shared, &epoch));
    for (int64_t end_ms = sys_monotonic_ms() + PATIENCE_MS;
         purge_as(host->waiting, L2_PURGE_KEYS, false, "key", NULL, NULL) != ERR_OK; nap(10))
        assert_true(sys_monotonic_ms() < end_ms);
    assert_int_equal(look(host, "key", NULL)->result, L2_UNAVAILABLE);
    l2_trust(host->shared, epoch);
    assert_int_equal(look(host, "key", NULL)->result, L2_UNAVAILABLE);
    trust(host);
    assert_false(status_of(host).distrusted);
    read_until(host, "key", NULL, L2_ABSENT);
    for (int64_t end_ms = sys_monotonic_ms() + PATIENCE_MS; status_of(host).breaker != L2_CLOSED;
         (void)look(host, "key", NULL))
        assert_true(sys_monotonic_ms() < end_ms);
    put(host, "key", "new");
    assert_found(host, "key", NULL, "new");
    free(seen);
}

static void a_hung_server_costs_one_timeout_and_no_lost_purge(void **state)
{
    struct host model = {.config = usual_config()};
    (void)state;

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
    struct l2_lease lease;
    bool stored = true;
    uint64_t id;
    struct arena *arena = arena_new(1024, 65536);
    struct l2_job job;

    put(host, "key", "old");
    put(host, "gone", "old");
    lease = take(host, "other", NULL);
    operate(&redis, "CONFIG SET maxmemory 1");
    for (int i = 0; i < 10; i++)
        assert_int_equal(l2_fill(host->waiting, STR("other"), NULL, 0, STR("x"), 60000, &lease, &stored),
                         ERR_READ_ONLY);
    assert_found(host, "key", NULL, "old");
    assert_int_equal(claim_by(host, "key", NULL, "").result, L2_CLAIM_FOUND);
    assert_int_equal(claim_by(host, "another", NULL, "").result, L2_CLAIM_UNAVAILABLE);
    assert_int_equal(status_of(host).breaker_opened, 0);
    assert_non_null(strstr(status_of(host).last_error.p, "OOM"));
    /* What makes room is let through. */
    purge_key(host, "gone");
    purge_tag(host, "tag");
    assert_found(host, "key", NULL, "old");
    id = purge_pattern(host, "k*", false);
    assert_absent(host, "key", NULL);
    assert_int_equal(l2_job_take(host->waiting, 1, arena, &job), ERR_OK);
    assert_int_equal(job.id, id);
    while (job.state == L2_JOB_RUNNING)
        assert_int_equal(l2_job_step(host->waiting, 1, 100, &job), ERR_OK);
    assert_int_equal(job.removed, 1);
    purge(host, L2_PURGE_ALL, true, NULL);
    purge_all(host);
    operate(&redis, "FLUSHALL");
    purge_tag(host, "tag");
    assert_false(status_of(host).distrusted);
    operate(&redis, "CONFIG SET maxmemory 0");
    put(host, "other", "x");
    arena_free(&arena);
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
    struct l2_lease lease;
    (void)state;

    configure(&host);
    lease = take(&host, "k", NULL);
    assert_int_equal(
        l2_fill(host.waiting, STR("k"), NULL, 0, (struct str){large, (1 << 20) + 1}, 60000, &lease, &stored), ERR_OK);
    assert_false(stored);
    (void)take(&host, "k", NULL);
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
    struct arena *arena = arena_new(1024, 65536);
    struct l2_job job;
    (void)state;

    configure(&host);
    put(&host, "key", "x");
    operate(&redis, "SET lxrder[:1:e:key x");
    operate(&redis, "SET l*rder[:2:e:key x");
    operate(&redis, "SET key x");
    (void)purge_pattern(&host, "*", false);
    assert_int_equal(l2_job_take(host.waiting, 1, arena, &job), ERR_OK);
    while (job.state == L2_JOB_RUNNING)
        assert_int_equal(l2_job_step(host.waiting, 1, 100, &job), ERR_OK);
    assert_int_equal(job.removed, 1);
    /* The hash, the log and the job are there besides. */
    operate(&redis, "EVAL %s 0", "if redis.call('DBSIZE') ~= 6 then error('gone') end return 1");
    arena_free(&arena);
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

    operate(&redis, "ACL SETUSER larder on %s ~* &* +@all", ">of larder");
    operate(&redis, "CONFIG SET requirepass %s", "open sesame");
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
    operate(&redis, "CONFIG SET port %s", text);
    for (int way = 0; way < 2; way++) {
        host = (struct host){.asynchronous = way == 1};
        snprintf(url, sizeof(url), way ? "redis://localhost:%d/1" : "redis://127.0.0.1:%d", port);
        host_configure(&host, url);
        host_open(&host);
        put(&host, "key", "x");
        assert_found(&host, "key", NULL, "x");
        operate(&redis, "CONFIG SET port 0");
        operate(&redis, "CLIENT KILL TYPE normal");
        loop_round(&host.loop);
        assert_int_equal(look(&host, "key", NULL)->result, L2_UNAVAILABLE);
        assert_non_null(strstr(status_of(&host).last_error.p, "refused"));
        operate(&redis, "CONFIG SET port %s", text);
        host_close(&host);
    }
}

/* Beyond 2^53 a script's numbers no longer grow by one. */
static void survive_a_sequence_without_end(struct host *host)
{
    struct str names[1] = {STR("tag")};
    const struct l2_purge purge = {.kind = L2_PURGE_TAGS, .names = names, .names_count = 1};

    put_by(host, "key", "tag", "before");
    operate(&redis, "HSET l*rder[:1:purged seq 9000000000000000000");
    for (int i = 0; i < 3; i++) {
        struct l2_claim claim = claim_by(host, "key", "tag", "before");

        if (claim.result == L2_CLAIM_TAKEN)
            (void)fill_under(host, "key", "tag", "old", claim.lease);
        (void)!l2_purge(host->waiting, &purge, NULL, NULL);
        trust(host);
        assert_int_not_equal(look(host, "key", "tag")->result, L2_FOUND);
    }
    operate(&redis, "DEL l*rder[:1:purged");
    put_by(host, "key", "tag", "after");
    assert_found(host, "key", "tag", "after");
    purge_tag(host, "tag");
    assert_absent(host, "key", "tag");
}

static void a_sequence_that_somebody_else_set_is_not_believed(void **state)
{
    struct host model = {.config = usual_config()};

    (void)state;
    model.config.breaker.failures = 1000;
    both_ways(survive_a_sequence_without_end, &model);
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
        CASE(a_callback_may_read_again_even_on_failure),
        CASE(closing_answers_whoever_waits),
        CASE(tcp_works_like_a_socket_file),
        CASE(a_sequence_that_somebody_else_set_is_not_believed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
