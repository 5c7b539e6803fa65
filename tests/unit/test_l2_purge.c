/* Purges from the event thread: told without waiting, and said not to be when they could not be. */
#include "l2_redis_fixture.h"

struct asked {
    struct l2_purge_call call; /* first */
    bool done;
    enum err err;
    uint64_t id;
};

static void note_purged(struct l2_purge_call *call, enum err err, uint64_t id)
{
    struct asked *asked = (struct asked *)call;

    assert_false(asked->done);
    *asked = (struct asked){.done = true, .err = err, .id = id};
}

static void begin(struct host *host, struct asked *asked, enum l2_purge_kind kind, struct str *name)
{
    const struct l2_purge purge = {.kind = kind, .names = name, .names_count = name ? 1 : 0};

    *asked = (struct asked){.call.done = note_purged};
    l2_purge_begin(host->reading, &purge, &asked->call);
}

static enum err purge_one(struct host *host, enum l2_purge_kind kind, const char *text, uint64_t *id)
{
    struct str name = str_from(text);
    struct asked asked;

    begin(host, &asked, kind, text ? &name : NULL);
    run_until(&host->loop, &asked.done);
    *id = asked.id;
    return asked.err;
}

static void each_kind_is_in_force_when_it_is_done(void **state)
{
    struct host host = {.config = usual_config()};
    uint64_t id;
    (void)state;

    configure(&host);
    purge_all(&host);
    put_by(&host, "a", "t", "1");
    put_by(&host, "b", "u", "2");
    put_by(&host, "c", "u", "3");
    put_by(&host, "d", "v", "4");
    assert_int_equal(purge_one(&host, L2_PURGE_KEYS, "a", &id), ERR_OK);
    assert_int_equal(id, 0);
    assert_absent(&host, "a", "t");
    assert_int_equal(purge_one(&host, L2_PURGE_TAGS, "u", &id), ERR_OK);
    assert_absent(&host, "b", "u");
    assert_absent(&host, "c", "u");
    assert_found(&host, "d", "v", "4");
    assert_int_equal(purge_one(&host, L2_PURGE_PATTERN, "d*", &id), ERR_OK);
    assert_true(id > 0);
    assert_absent(&host, "d", "v");
    put_by(&host, "d", "v", "5");
    assert_int_equal(purge_one(&host, L2_PURGE_ALL, NULL, &id), ERR_OK);
    assert_absent(&host, "d", "v");
    host_close(&host);
}

static void many_are_on_their_way_at_once_over_a_redis_that_forgot_its_scripts(void **state)
{
    enum { MANY = 200 };
    struct host host = {.config = usual_config()};
    static struct asked asked[MANY];
    struct str name = STR("t");
    struct l2_status status;
    (void)state;

    configure(&host);
    purge_all(&host);
    put_by(&host, "a", "t", "1");
    forget_scripts();
    for (size_t i = 0; i < MANY; i++)
        begin(&host, &asked[i], L2_PURGE_TAGS, &name);
    for (size_t i = 0; i < MANY; i++) {
        run_until(&host.loop, &asked[i].done);
        assert_int_equal(asked[i].err, ERR_OK);
    }
    status = status_of(&host);
    assert_int_equal(status.last_error.len, 0);
    assert_false(status.distrusted);
    assert_absent(&host, "a", "t");
    host_close(&host);
}

static void a_redis_that_takes_no_writes_is_distrusted_but_still_asked(void **state)
{
    struct host host = {.config = usual_config()};
    uint64_t id;
    (void)state;

    configure(&host);
    purge_all(&host);
    operate(&redis, "CONFIG SET min-replicas-to-write 1");
    assert_int_equal(purge_one(&host, L2_PURGE_TAGS, "t", &id), ERR_UNAVAILABLE);
    assert_true(status_of(&host).distrusted);
    assert_int_equal(status_of(&host).breaker, L2_CLOSED);
    operate(&redis, "CONFIG SET min-replicas-to-write 0");
    assert_int_equal(purge_one(&host, L2_PURGE_TAGS, "t", &id), ERR_OK);
    host_close(&host);
}

static void a_redis_that_hangs_costs_one_time_out_for_all(void **state)
{
    enum { MANY = 20 };
    struct host host = {.config = usual_config()};
    struct asked asked[MANY];
    struct str name = STR("t");
    uint64_t id;
    (void)state;

    configure(&host);
    assert_int_equal(purge_one(&host, L2_PURGE_TAGS, "t", &id), ERR_OK);
    host.config.redis.timeout_ms = 100;
    server_hang(&redis);
    for (size_t i = 0; i < MANY; i++)
        begin(&host, &asked[i], L2_PURGE_TAGS, &name);
    run_until(&host.loop, &asked[0].done);
    for (size_t i = 0; i < MANY; i++)
        assert_true(asked[i].done && asked[i].err == ERR_UNAVAILABLE);
    assert_true(status_of(&host).distrusted);
    kill(redis.pid, SIGCONT);
    host_close(&host);
}

static void without_redis_it_is_said_at_once(void **state)
{
    struct host host = {.config = usual_config()};
    uint64_t id;
    (void)state;

    configure(&host);
    server_kill(&redis);
    assert_int_equal(purge_one(&host, L2_PURGE_TAGS, "t", &id), ERR_UNAVAILABLE);
    assert_true(status_of(&host).distrusted);
    host_close(&host);
}

static void shared_memory_purges_at_once(void **state)
{
    struct host host = {.config = usual_config()};
    struct str name = STR("t");
    struct asked asked;
    (void)state;

    host_configure(&host, "memory:");
    host_open(&host);
    put_by(&host, "a", "t", "1");
    begin(&host, &asked, L2_PURGE_TAGS, &name);
    assert_true(asked.done && asked.err == ERR_OK);
    assert_absent(&host, "a", "t");
    host_close(&host);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_kind_is_in_force_when_it_is_done),
        CASE(many_are_on_their_way_at_once_over_a_redis_that_forgot_its_scripts),
        CASE(a_redis_that_takes_no_writes_is_distrusted_but_still_asked),
        CASE(a_redis_that_hangs_costs_one_time_out_for_all),
        CASE(without_redis_it_is_said_at_once),
        CASE(shared_memory_purges_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
