/* What writes leave to be told: together, once, and kept where it cannot be told. */
#include "writer_fixture.h"

#include "api/settle.h"
#include "cache/purge.h"
#include "l2_fixture.h"
#include "outbox_fixture.h"
#include "store/writer_async.h"

enum { CALLS_MAX = 400 };

struct setting {
    struct writer_fixture *files;
    struct server redis;
    struct config config; /* the writer's, and a cache's */
    struct app_shared shared;
    struct app app;
    struct app_thread event, pool;
    struct test_loop loop;
    struct settle *settle;
    struct loop_job *job; /* with the pool */
    bool full;            /* the pool takes none */
    unsigned asked;       /* how often the pool was asked for a place */
    unsigned done;        /* calls */
};

struct left {
    struct settle_call call; /* first */
    struct setting *it;
    unsigned place; /* among those that are done, from 1; 0: it is not */
    struct left *next;
};

static enum err submit(void *self, struct loop_job *job)
{
    struct setting *it = (struct setting *)(void *)((char *)self - offsetof(struct setting, loop));

    it->asked++;
    if (it->full)
        return ERR_LIMIT;
    assert_true(job->is_awaited);
    assert_null(it->job);
    it->job = job;
    return ERR_OK;
}

/* What the end of a round is to settle alone: what it has to say is not sent yet. */
static void end_round(struct setting *it)
{
    it->loop.tick[0](it->loop.tick_context[0], sys_monotonic_ms());
}

/* The pool's thread does its job, if it has one, and the loop collects it. */
static void run_job(struct setting *it)
{
    struct loop_job *job = it->job;

    if (!job)
        return;
    job->run(job, &it->pool);
    it->job = NULL;
    job->done(job);
}

/* Until so many calls are DONE. */
static void run_rounds(struct setting *it, unsigned done)
{
    const int64_t end_ms = sys_monotonic_ms() + WRITER_PROCESS_PATIENCE_MS;

    while (it->done < done) {
        assert_true(sys_monotonic_ms() < end_ms);
        loop_round(&it->loop);
        run_job(it);
    }
    assert_int_equal(it->done, done);
}

static void note_done(struct settle_call *call)
{
    struct left *left = (struct left *)call;

    assert_int_equal(left->place, 0);
    left->place = ++left->it->done;
    if (left->next)
        settle_add(left->it->settle, &left->next->call);
}

static struct left leave(struct setting *it, const struct str *purges, size_t count, int64_t outbox_id)
{
    return (struct left){
        .it = it,
        .call = {.purges = purges, .purges_count = count, .outbox_id = outbox_id, .done = note_done},
    };
}

static int setup_at(void **state, const char *url)
{
    struct setting *it = calloc(1, sizeof *it);
    const struct config cache = usual_config();
    struct buf why = {0};

    if (!url)
        server_start(&it->redis, NULL, NULL);
    writer_fixture_setup((void **)&it->files);
    it->config = it->files->config;
    it->config.redis = cache.redis;
    it->config.breaker = cache.breaker;
    buf_printf(&why, "unix://%s", it->redis.socket);
    it->config.redis.url = url ? strdup(url) : strdup(why.p);
    log_init(open("/dev/null", O_WRONLY), LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    assert_int_equal(cache_shared_new(&it->config, 60000, &it->shared.cache, &why), ERR_OK);
    it->shared.writer = it->files->shared;
    it->app = (struct app){.config = &it->config, .shared = &it->shared};
    loop_init(&it->loop);
    it->loop.loop.submit = submit;
    it->event = (struct app_thread){.app = &it->app, .loop = &it->loop.loop};
    it->pool = (struct app_thread){
        .app = &it->app, .cache = cache_open(&it->config, it->shared.cache, NULL), .writer = it->files->client};
    it->settle = settle_new(&it->event);
    it->event.writes = writer_async_new(&it->config, it->files->shared, &it->loop.loop);
    it->event.cache = cache_open(&it->config, it->shared.cache, &it->loop.loop);
    buf_free(&why);
    *state = it;
    return 0;
}

/* Over an L2 that has been told of a purge already: the first one after it was empty means everything. */
static int setup(void **state)
{
    static const struct str purge = STR("key:nothing");
    struct purge_result result;

    setup_at(state, NULL);
    assert_int_equal(purge_items(((struct setting *)*state)->pool.cache, &purge, 1, false, &result), ERR_OK);
    return 0;
}

static int setup_without_l2(void **state)
{
    return setup_at(state, "unix:///nonexistent/larder-test.sock");
}

static int teardown(void **state)
{
    struct setting *it = *state;

    assert_null(it->job);
    settle_free(&it->settle);
    assert_null(it->settle);
    writer_async_free(&it->event.writes);
    cache_close(&it->event.cache);
    cache_close(&it->pool.cache);
    cache_shared_free(&it->shared.cache);
    loop_fini(&it->loop);
    free(it->config.redis.url);
    writer_fixture_teardown((void **)&it->files);
    if (it->redis.pid > 0)
        server_remove(&it->redis);
    free(it);
    return 0;
}

/* The purges that L2 was told since, a line for each round trip: its kind and the names. */
static void expect_told(const struct setting *it, const char *expected)
{
    redisContext *redis = redisConnectUnix(it->redis.socket);
    redisReply *log = redisCommand(redis, "XRANGE %s1:log - +", it->config.redis.prefix);
    struct buf told = {0};

    assert_int_equal(log->type, REDIS_REPLY_ARRAY);
    for (size_t i = 1; i < log->elements; i++) {
        const redisReply *fields = log->element[i]->element[1];
        for (size_t field = 1; field < fields->elements; field += 2)
            buf_printf(&told, "%s%s", field > 1 ? " " : "", fields->element[field]->str);
        buf_add_char(&told, '\n');
    }
    assert_string_equal(told.p ? told.p : "", expected);
    buf_free(&told);
    freeReplyObject(log);
    redisFree(redis);
}

/* Commits a write with PURGES; the row of the outbox that has them. */
static int64_t write_purging(struct setting *it, const struct str *purges, size_t count)
{
    if (writer_fixture_write_purging(it->files, "INSERT INTO blobs (bytes) VALUES (1)", purges, count) != ERR_OK)
        fail_msg("%s", it->files->why.p);
    assert_true(it->files->outbox_id > 0);
    return it->files->outbox_id;
}

static const struct str first_purges[] = {STR("tag:stocks"), STR("key:stocks:one"), STR("tag:stocks")};
static const struct str second_purges[] = {STR("key:stocks:two"), STR("tag:stocks"), STR("key:stocks:one")};

static void equal_purges_of_several_calls_are_told_once_and_all_are_done(void **state)
{
    struct setting *it = *state;
    struct left calls[] = {
        leave(it, first_purges, 3, write_purging(it, first_purges, 3)),
        leave(it, second_purges, 3, write_purging(it, second_purges, 3)),
        leave(it, first_purges, 1, 0),
    };

    for (size_t i = 0; i < 3; i++)
        settle_add(it->settle, &calls[i].call);
    assert_int_equal(it->done, 0);
    run_rounds(it, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(calls[i].place, i + 1);
    expect_told(it, "k stocks:one stocks:two\nt stocks\n");
    assert_int_equal(it->asked, 0);
    loop_round(&it->loop);
    outbox_fixture_await(it->files, 0);
}

static void more_rows_of_the_outbox_than_are_told_at_once_are_all_forgotten(void **state)
{
    struct setting *it = *state;
    static struct left calls[CALLS_MAX];
    static const struct str purge = STR("key:one");

    for (int i = 0; i < CALLS_MAX; i++) {
        const int64_t id = write_purging(it, &purge, 1);

        calls[i] = leave(it, &purge, 1, i == 7 || i == CALLS_MAX - 1 ? 0 : id);
        settle_add(it->settle, &calls[i].call);
    }
    run_rounds(it, CALLS_MAX);
    expect_told(it, "k one\n");
    loop_round(&it->loop);
    outbox_fixture_await(it->files, 2);
}

static void what_comes_while_others_are_told_is_told_after_them(void **state)
{
    struct setting *it = *state;
    struct left early = leave(it, first_purges, 1, 0), late = leave(it, second_purges, 1, 0),
                later = leave(it, second_purges, 1, 0);

    early.next = &later;
    settle_add(it->settle, &early.call);
    end_round(it);
    settle_add(it->settle, &late.call);
    end_round(it);
    run_rounds(it, 1);
    assert_true(early.place == 1 && late.place == 0 && later.place == 0);
    run_rounds(it, 3);
    assert_true(late.place == 2 && later.place == 3);
    expect_told(it, "t stocks\nk stocks:two\n");
}

static void a_pool_that_takes_no_job_is_asked_again_and_the_order_kept(void **state)
{
    struct setting *it = *state;
    struct left calls[4];

    it->full = true;
    for (size_t i = 0; i < 4; i++) {
        calls[i] = leave(it, first_purges, 2, 0);
        settle_add(it->settle, &calls[i].call);
        if (i % 2)
            end_round(it);
    }
    assert_int_equal(it->asked, 2);
    it->full = false;
    run_rounds(it, 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(calls[i].place, i + 1);
    /* A row for each of the two rounds. */
    assert_int_equal(writer_fixture_count(it->files, OUTBOX_FIXTURE_ROWS), 2);
}

static void a_call_that_leaves_nothing_is_done_all_the_same(void **state)
{
    struct setting *it = *state;
    struct left nothing = leave(it, NULL, 0, 0);

    settle_add(it->settle, &nothing.call);
    run_rounds(it, 1);
    assert_int_equal(it->asked, 0);
    expect_told(it, "");
}

static void what_l2_cannot_be_told_stays_in_the_outbox_or_is_put_there(void **state)
{
    struct setting *it = *state;
    struct left kept = leave(it, first_purges, 3, write_purging(it, first_purges, 3)),
                unkept = leave(it, second_purges, 3, 0), nothing = leave(it, NULL, 0, 0);
    struct outbox_fixture reading = outbox_fixture_open(it->files);
    uint64_t debt;

    settle_add(it->settle, &kept.call);
    settle_add(it->settle, &unkept.call);
    settle_add(it->settle, &nothing.call);
    run_rounds(it, 3);
    assert_true(kept.place && unkept.place && nothing.place);
    outbox_fixture_expect(&reading, 10, 2);
    for (size_t row = 0; row < 2; row++) {
        assert_int_equal(reading.rows[row].items_count, 3);
        for (size_t i = 0; i < 3; i++)
            assert_true(str_equal(reading.rows[row].items[i], row == 0 ? first_purges[i] : second_purges[i]));
    }
    assert_false(cache_shared_owes_all(it->shared.cache, &debt));
    outbox_fixture_close(&reading);
}

static void what_can_be_neither_told_nor_kept_is_owed(void **state)
{
    struct setting *it = *state;
    struct left unkept = leave(it, second_purges, 3, 0);
    uint64_t debt;

    assert_int_equal(writer_fixture_end(it->files, SIGTERM), 0);
    atomic_store(&it->files->shared->state, WRITER_FAILED);
    settle_add(it->settle, &unkept.call);
    run_rounds(it, 1);
    assert_true(cache_shared_owes_all(it->shared.cache, &debt));
    assert_int_equal(writer_fixture_count(it->files, OUTBOX_FIXTURE_ROWS), 0);
}

static void with_l2_and_the_writer_away_many_calls_wait_for_the_writer_once(void **state)
{
    enum { CALLS = 30, WAIT_MS = 400 };
    struct setting *it = *state;
    static struct left calls[CALLS];
    uint64_t debt;

    writer_fixture_end(it->files, SIGKILL);
    it->files->config.store.write_timeout_ms = WAIT_MS;
    for (size_t i = 0; i < CALLS; i++) {
        calls[i] = leave(it, i % 2 ? first_purges : second_purges, 3, 0);
        settle_add(it->settle, &calls[i].call);
    }
    const int64_t began_ms = sys_monotonic_ms();
    run_rounds(it, CALLS);
    assert_in_range(sys_monotonic_ms() - began_ms, WAIT_MS, CALLS * WAIT_MS / 2);
    assert_true(cache_shared_owes_all(it->shared.cache, &debt));
}

/* Stores BYTES under KEY in L2, as a fill does. */
static void fill_l2(struct setting *it, struct str key, struct str bytes)
{
    struct l2 *l2 = cache_l2(it->pool.cache);
    struct l2_claim claim;
    bool stored = false;

    l2_claim(l2, key, NULL, 0, STR(""), 60000, &claim);
    assert_int_equal(claim.result, L2_CLAIM_TAKEN);
    assert_int_equal(l2_fill(l2, key, NULL, 0, bytes, 60000, &claim.lease, &stored), ERR_OK);
    assert_true(stored);
}

static void note_result(void *context, const struct l2_read *read)
{
    *(enum l2_result *)context = read->result;
}

static enum l2_result look_in_l2(struct setting *it, struct str key)
{
    enum l2_result result = L2_FOUND;

    l2_read(cache_l2(it->pool.cache), key, NULL, 0, note_result, &result);
    return result;
}

/* As the housekeeper, which knows of nothing that L2 was not told. */
static void trust_l2(struct setting *it)
{
    uint64_t epoch;

    assert_true(l2_distrusted(it->shared.cache->l2, &epoch));
    l2_revive(it->shared.cache->l2);
    l2_trust(it->shared.cache->l2, epoch);
}

/* L2 hangs while it is told of a purge, and is trusted again before that is kept. */
static void fail_to_purge(struct setting *it, const struct str *item)
{
    struct purge_result result;

    fill_l2(it, STR("stocks:one"), STR("old"));
    it->config.redis.timeout_ms = 100;
    server_hang(&it->redis);
    assert_int_equal(purge_items(it->pool.cache, item, 1, false, &result), ERR_UNAVAILABLE);
    server_kill(&it->redis);
    server_start(&it->redis, NULL, NULL);
    it->config.redis.timeout_ms = 5000;
    trust_l2(it);
    fill_l2(it, STR("stocks:one"), STR("old"));
    assert_int_equal(look_in_l2(it, STR("stocks:one")), L2_FOUND);
}

static void a_purge_that_is_kept_only_after_l2_was_trusted_again_is_in_force_in_l2(void **state)
{
    struct setting *it = *state;
    static const struct str item = STR("key:stocks:one");
    struct buf why = {0};

    fail_to_purge(it, &item);
    assert_true(settle_keep(&it->pool, &item, 1, &why));
    assert_int_equal(look_in_l2(it, STR("stocks:one")), L2_UNAVAILABLE);
    outbox_fixture_await(it->files, 1);
}

static void a_debt_that_is_made_only_after_l2_was_trusted_again_is_paid_before_l2_is_read(void **state)
{
    struct setting *it = *state;
    static const struct str item = STR("key:stocks:one");
    struct buf why = {0};
    uint64_t debt;

    fail_to_purge(it, &item);
    assert_int_equal(writer_fixture_end(it->files, SIGTERM), 0);
    atomic_store(&it->files->shared->state, WRITER_FAILED);
    assert_false(settle_keep(&it->pool, &item, 1, &why));
    buf_free(&why);
    assert_true(cache_shared_owes_all(it->shared.cache, &debt));
    assert_int_equal(look_in_l2(it, STR("stocks:one")), L2_UNAVAILABLE);
}

static void note_members(void *context, const struct l2_boards_answer *answer)
{
    assert_int_equal(answer->result, L2_BOARDS_FOUND);
    *(uint64_t *)context = answer->members;
}

static uint64_t members_of(struct setting *it, const char *board)
{
    const struct l2_boards_question question = {.board = str_from(board), .kind = L2_BOARDS_TOP, .limit = 1};
    uint64_t members = UINT64_MAX;

    l2_boards_read(cache_l2(it->pool.cache), &question, note_members, &members);
    return members;
}

static void scores_of_all_calls_are_told_however_many_they_are(void **state)
{
    enum { CALLS = 3, EACH = 700 };
    struct setting *it = *state;
    static struct l2_boards_change changes[CALLS * EACH];
    static char members[CALLS * EACH][16];
    struct left calls[CALLS];

    assert_int_equal(l2_boards_replace(cache_l2(it->pool.cache), 0), ERR_OK);
    for (int i = 0; i < CALLS * EACH; i++) {
        snprintf(members[i], sizeof members[i], "m%d", i);
        changes[i] = (struct l2_boards_change){.number = (uint64_t)i + 1,
                                               .board = i % 7 ? STR("game") : STR("total"),
                                               .member = str_from(members[i]),
                                               .score = i};
    }
    for (size_t i = 0; i < CALLS; i++) {
        calls[i] = leave(it, first_purges, 1, 0);
        calls[i].call.changes = changes + i * EACH;
        calls[i].call.changes_count = EACH;
        settle_add(it->settle, &calls[i].call);
    }
    run_rounds(it, CALLS);
    assert_int_equal(it->asked, 0);
    assert_int_equal(members_of(it, "game"), CALLS * EACH * 6 / 7);
    assert_int_equal(members_of(it, "total"), CALLS * EACH / 7);
    expect_told(it, "t stocks\n");
}

static void what_is_to_be_told_at_once_is_told_without_a_job(void **state)
{
    struct setting *it = *state;
    struct left last = leave(it, second_purges, 2, 0), first = leave(it, first_purges, 3, 0);

    first.call.next = &last.call;
    settle_now(&it->pool, &first.call);
    expect_told(it, "k stocks:one stocks:two\nt stocks\n");
    assert_true(first.place == 0 && last.place == 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define WITHOUT_L2(name) cmocka_unit_test_setup_teardown(name, setup_without_l2, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(equal_purges_of_several_calls_are_told_once_and_all_are_done),
        TEST(more_rows_of_the_outbox_than_are_told_at_once_are_all_forgotten),
        TEST(what_comes_while_others_are_told_is_told_after_them),
        WITHOUT_L2(a_pool_that_takes_no_job_is_asked_again_and_the_order_kept),
        TEST(a_call_that_leaves_nothing_is_done_all_the_same),
        WITHOUT_L2(what_l2_cannot_be_told_stays_in_the_outbox_or_is_put_there),
        WITHOUT_L2(what_can_be_neither_told_nor_kept_is_owed),
        WITHOUT_L2(with_l2_and_the_writer_away_many_calls_wait_for_the_writer_once),
        TEST(a_purge_that_is_kept_only_after_l2_was_trusted_again_is_in_force_in_l2),
        TEST(a_debt_that_is_made_only_after_l2_was_trusted_again_is_paid_before_l2_is_read),
        TEST(scores_of_all_calls_are_told_however_many_they_are),
        TEST(what_is_to_be_told_at_once_is_told_without_a_job),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
