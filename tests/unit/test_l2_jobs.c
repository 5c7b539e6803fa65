/* Purges by pattern: in force at once, and worked off batch by batch by whoever is there. */
#include "l2_fixture.h"

#include "l2/l2_job.h"

enum { KEYS = 400, BATCH = 20, WORKER = 11, OTHER = 12 };

static struct server redis;

struct work {
    struct host host;
    struct arena *arena;
    struct l2_job job;
};

static int set_up(void **state)
{
    struct work *work = calloc(1, sizeof(*work));

    server_start(&redis, NULL, NULL);
    host_connect(&work->host, &redis);
    work->arena = arena_new(4096, 1 << 20);
    *state = work;
    return 0;
}

static int tear_down(void **state)
{
    struct work *work = *state;

    host_close(&work->host);
    arena_free(&work->arena);
    free(work);
    server_remove(&redis);
    redis = (struct server){0};
    return 0;
}

static const char *key_name(const char *family, int number)
{
    static char text[64];

    snprintf(text, sizeof(text), "%s:%d", family, number);
    return text;
}

static void put_family(struct host *host, const char *family)
{
    for (int i = 0; i < KEYS; i++)
        put(host, key_name(family, i), "old");
}

static int count_family(struct host *host, const char *family, bool soft)
{
    int count = 0;

    for (int i = 0; i < KEYS; i++) {
        const struct seen *seen = look(host, key_name(family, i), NULL);

        count += seen->result == L2_FOUND && seen->soft == soft;
    }
    return count;
}

static bool take_job(struct work *work, uint64_t worker)
{
    enum err err = l2_job_take(work->host.waiting, worker, work->arena, &work->job);

    assert_true(err == ERR_OK || err == ERR_NOT_FOUND);
    return err == ERR_OK;
}

static void step_job(struct work *work, uint64_t worker)
{
    assert_int_equal(l2_job_step(work->host.waiting, worker, BATCH, &work->job), ERR_OK);
}

static void finish_job(struct work *work, uint64_t worker)
{
    assert_true(take_job(work, worker));
    while (work->job.state == L2_JOB_RUNNING)
        step_job(work, worker);
}

static void assert_state(struct work *work, uint64_t id, enum l2_job_state state)
{
    struct l2_job job;

    assert_int_equal(l2_job_read(work->host.waiting, id, work->arena, &job), ERR_OK);
    assert_int_equal(job.id, id);
    assert_int_equal(job.state, state);
    assert_true((job.ended_ms > 0) == (state == L2_JOB_DONE));
    assert_true(job.started_ms > 0);
}

static long long bans_len(void)
{
    return operate(&redis, "HSTRLEN %s bans", "l*rder[:1:purged");
}

static void a_pattern_is_in_force_while_its_job_runs_and_after(void **state)
{
    struct work *work = *state;
    struct host *host = &work->host;
    uint64_t id;

    put_family(host, "gone");
    put_family(host, "left");
    id = purge_pattern(host, "g?ne:*", false);
    assert_state(work, id, L2_JOB_RUNNING);
    assert_true(take_job(work, WORKER));
    assert_int_equal(work->job.id, id);
    assert_true(str_equal(work->job.pattern, STR("g?ne:*")));
    assert_false(work->job.soft);
    assert_true(work->job.total >= 2 * KEYS);
    while (work->job.state == L2_JOB_RUNNING) {
        uint64_t before = work->job.scanned;

        assert_int_equal(count_family(host, "gone", false), 0);
        assert_true(bans_len() > 0);
        step_job(work, WORKER);
        assert_true(work->job.scanned >= before && work->job.scanned <= work->job.total);
        assert_state(work, id, work->job.state);
    }
    assert_int_equal(work->job.removed, KEYS);
    assert_int_equal(work->job.scanned, work->job.total);
    assert_int_equal(bans_len(), 0);
    assert_int_equal(operate(&redis, "DBSIZE"), KEYS + 3);
    assert_int_equal(count_family(host, "gone", false), 0);
    assert_int_equal(count_family(host, "left", false), KEYS);
    assert_false(take_job(work, WORKER));
    assert_state(work, id, L2_JOB_DONE);
    assert_true(operate(&redis, "PTTL l*rder[:1:job:%llu", (unsigned long long)id) > 0);
    put_family(host, "gone");
    assert_int_equal(count_family(host, "gone", false), KEYS);
}

/* What is filled after the purge is found at once; with a hard purge the job may take it along. */
static void what_is_filled_after_the_purge_is_found(void **state)
{
    struct work *work = *state;
    struct host *host = &work->host;

    put_family(host, "gone");
    (void)purge_pattern(host, "g?ne:*", true);
    for (int i = 0; i < KEYS; i += 2) {
        struct l2_claim claim = claim_by(host, key_name("gone", i), NULL, "old");

        assert_int_equal(claim.result, L2_CLAIM_TAKEN);
        assert_true(fill_under(host, key_name("gone", i), NULL, "new", claim.lease));
    }
    assert_int_equal(count_family(host, "gone", true), KEYS / 2);
    assert_int_equal(count_family(host, "gone", false), KEYS / 2);
    finish_job(work, WORKER);
    assert_true(work->job.soft);
    assert_int_equal(work->job.removed, KEYS / 2);
    assert_int_equal(bans_len(), 0);
    assert_int_equal(count_family(host, "gone", true), KEYS / 2);
    assert_int_equal(count_family(host, "gone", false), KEYS / 2);
}

static void a_soft_pattern_marks_and_a_hard_one_removes(void **state)
{
    struct work *work = *state;
    struct host *host = &work->host;

    put_family(host, "a");
    put_family(host, "b");
    (void)purge_pattern(host, "[ab]:*", true);
    (void)purge_pattern(host, "b:*", false);
    assert_int_equal(count_family(host, "a", true), KEYS);
    assert_int_equal(count_family(host, "b", true) + count_family(host, "b", false), 0);
    finish_job(work, WORKER);
    assert_true(work->job.soft);
    assert_int_equal(count_family(host, "b", true) + count_family(host, "b", false), 0);
    finish_job(work, WORKER);
    assert_int_equal(work->job.removed, KEYS);
    assert_int_equal(count_family(host, "a", true), KEYS);
}

static void one_works_on_a_job_at_a_time(void **state)
{
    struct work *work = *state;
    struct host *host = &work->host;
    uint64_t first, second, scanned;
    struct l2_job stalled;

    put_family(host, "a");
    put_family(host, "b");
    first = purge_pattern(host, "a*", false);
    second = purge_pattern(host, "b*", false);
    assert_true(take_job(work, WORKER));
    assert_int_equal(work->job.id, first);
    step_job(work, WORKER);
    step_job(work, WORKER);
    stalled = work->job;
    scanned = work->job.scanned;
    assert_true(take_job(work, OTHER));
    assert_int_equal(work->job.id, second);
    assert_false(take_job(work, 13));
    assert_int_equal(l2_job_step(host->waiting, 13, BATCH, &work->job), ERR_DENIED);
    finish_job(work, OTHER);
    /* The first worker has died: its claim runs out. */
    assert_true(operate(&redis, "PTTL l*rder[:1:job:%llu:owner", (unsigned long long)first) <= 5000);
    operate(&redis, "DEL l*rder[:1:job:%llu:owner", (unsigned long long)first);
    assert_true(take_job(work, OTHER));
    assert_int_equal(work->job.id, first);
    assert_int_equal(work->job.scanned, scanned);
    assert_true(work->job.cursor == stalled.cursor && stalled.cursor != 0);
    assert_int_equal(l2_job_step(host->waiting, WORKER, BATCH, &stalled), ERR_DENIED);
    while (work->job.state == L2_JOB_RUNNING)
        step_job(work, OTHER);
    assert_int_equal(work->job.removed, KEYS);
    assert_int_equal(operate(&redis, "DBSIZE"), 4);
}

static void after_a_restart_the_scan_begins_again(void **state)
{
    struct work *work = *state;
    struct host *host = &work->host;
    uint64_t id;

    put_family(host, "a");
    put_family(host, "b");
    id = purge_pattern(host, "a*", false);
    assert_true(take_job(work, WORKER));
    for (int i = 0; i < 10; i++)
        step_job(work, WORKER);
    assert_int_equal(work->job.state, L2_JOB_RUNNING);
    assert_true(work->job.cursor != 0);
    operate(&redis, "SAVE");
    server_kill(&redis);
    server_start(&redis, NULL, NULL);
    assert_int_equal(count_family(host, "a", false), 0);
    /* Its worker goes on where it believes to be. */
    step_job(work, WORKER);
    assert_int_equal(work->job.scanned, BATCH);
    assert_state(work, id, L2_JOB_RUNNING);
    while (work->job.state == L2_JOB_RUNNING)
        step_job(work, WORKER);
    assert_int_equal(work->job.removed, KEYS);
    assert_int_equal(operate(&redis, "DBSIZE"), KEYS + 3);
    assert_int_equal(count_family(host, "b", false), KEYS);
}

static void the_same_pattern_again_takes_its_job_over(void **state)
{
    struct work *work = *state;
    struct host *host = &work->host;
    uint64_t ids[3];

    put_family(host, "a");
    ids[0] = purge_pattern(host, "a*", true);
    ids[1] = purge_pattern(host, "a*", false);
    put(host, key_name("a", 1), "new");
    assert_true(take_job(work, WORKER));
    assert_int_equal(work->job.id, ids[1]);
    step_job(work, WORKER);
    ids[2] = purge_pattern(host, "a*", false);
    assert_absent(host, key_name("a", 1), NULL);
    step_job(work, WORKER);
    assert_int_equal(work->job.state, L2_JOB_DONE);
    for (int i = 0; i < 3; i++)
        assert_state(work, ids[i], i < 2 ? L2_JOB_DONE : L2_JOB_RUNNING);
    (void)purge_pattern(host, "a*", true);
    assert_int_equal(count_family(host, "a", true) + count_family(host, "a", false), 0);
    finish_job(work, WORKER);
    assert_int_equal(work->job.id, ids[2]);
    finish_job(work, WORKER);
    assert_false(take_job(work, WORKER));
}

static void those_that_run_can_be_counted(void **state)
{
    struct work *work = *state;
    uint64_t count = 9;

    assert_int_equal(l2_job_count(work->host.waiting, &count), ERR_OK);
    assert_int_equal(count, 0);
    put_family(&work->host, "a");
    purge_pattern(&work->host, "a:*", false);
    purge_pattern(&work->host, "b:*", true);
    assert_int_equal(l2_job_count(work->host.waiting, &count), ERR_OK);
    assert_int_equal(count, 2);
    finish_job(work, WORKER);
    assert_int_equal(l2_job_count(work->host.waiting, &count), ERR_OK);
    assert_int_equal(count, 1);
}

static void more_patterns_than_the_list_takes_purge_everything(void **state)
{
    struct work *work = *state;
    struct host *host = &work->host;
    uint64_t first, last = 0;
    char pattern[32];

    for (int soft = 1; soft >= 0; soft--) {
        put_family(host, "a");
        put(host, "banned:0", "x");
        first = purge_pattern(host, "banned:*", false);
        for (int i = 1; i <= 64; i++) {
            if (i == 64)
                assert_int_equal(count_family(host, "a", false), KEYS);
            snprintf(pattern, sizeof(pattern), "nothing:%d:*", i);
            last = purge_pattern(host, pattern, soft);
        }
        assert_state(work, last, L2_JOB_DONE);
        assert_int_equal(count_family(host, "a", true), soft ? KEYS : 0);
        assert_int_equal(count_family(host, "a", false), 0);
        /* A soft one covers the soft ones alone. */
        assert_absent(host, "banned:0", NULL);
        assert_state(work, first, soft ? L2_JOB_RUNNING : L2_JOB_DONE);
        if (soft)
            finish_job(work, WORKER);
        assert_false(take_job(work, WORKER));
        assert_int_equal(bans_len(), 0);
        purge_all(host);
    }
}

static void a_purge_of_everything_ends_the_jobs(void **state)
{
    struct work *work = *state;
    struct host *host = &work->host;
    uint64_t id;

    put_family(host, "a");
    id = purge_pattern(host, "a*", false);
    assert_true(take_job(work, WORKER));
    step_job(work, WORKER);
    purge_all(host);
    assert_state(work, id, L2_JOB_DONE);
    step_job(work, WORKER);
    assert_int_equal(work->job.state, L2_JOB_DONE);
    assert_false(take_job(work, WORKER));
}

static void what_the_server_forgot_is_not_found(void **state)
{
    struct work *work = *state;
    struct host *host = &work->host;
    uint64_t id;

    assert_int_equal(l2_job_read(host->waiting, 4711, work->arena, &work->job), ERR_NOT_FOUND);
    put_family(host, "a");
    id = purge_pattern(host, "a*", false);
    assert_true(take_job(work, WORKER));
    operate(&redis, "DEL l*rder[:1:purged");
    assert_int_equal(l2_job_read(host->waiting, id, work->arena, &work->job), ERR_NOT_FOUND);
    assert_int_equal(count_family(host, "a", false), 0);
    id = purge_pattern(host, "a*", false);
    assert_state(work, id, L2_JOB_DONE);
    id = purge_pattern(host, "a*", false);
    /* The job itself may be lost, too: the ban says all that matters. */
    operate(&redis, "DEL l*rder[:1:job:%llu", (unsigned long long)id);
    finish_job(work, WORKER);
    assert_int_equal(work->job.id, id);
    assert_int_equal(work->job.removed, KEYS);
    operate(&redis, "FLUSHALL");
    assert_int_equal(l2_job_step(host->waiting, WORKER, BATCH, &work->job), ERR_DENIED);
    assert_false(take_job(work, WORKER));
}

static void while_a_job_runs_a_claim_takes_older_entries_for_absent(void **state)
{
    struct work *work = *state;
    struct host *host = &work->host;
    struct l2_claim claim;

    put(host, "a", "old");
    put(host, "b", "old");
    (void)purge_pattern(host, "[xa]*", false);
    assert_int_equal(claim_by(host, "a", NULL, "").result, L2_CLAIM_TAKEN);
    claim = claim_by(host, "b", NULL, "");
    assert_int_equal(claim.result, L2_CLAIM_TAKEN);
    l2_release(host->waiting, STR("b"), &claim.lease);
    assert_found(host, "b", NULL, "old");
    finish_job(work, WORKER);
    assert_int_equal(claim_by(host, "b", NULL, "").result, L2_CLAIM_FOUND);
}

static void a_page_of_keys_leaves_out_what_a_pattern_took(void **state)
{
    struct work *work = *state;
    struct host *host = &work->host;
    uint64_t cursor = 0;
    struct str *keys;
    size_t count;

    put(host, "a", "x");
    put(host, "b", "x");
    (void)purge_pattern(host, "a*", false);
    assert_int_equal(l2_scan(host->waiting, STR("*"), &cursor, 100, work->arena, &keys, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_true(str_equal(keys[0], STR("b")));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_pattern_is_in_force_while_its_job_runs_and_after),
        CASE(what_is_filled_after_the_purge_is_found),
        CASE(a_soft_pattern_marks_and_a_hard_one_removes),
        CASE(one_works_on_a_job_at_a_time),
        CASE(after_a_restart_the_scan_begins_again),
        CASE(the_same_pattern_again_takes_its_job_over),
        CASE(those_that_run_can_be_counted),
        CASE(more_patterns_than_the_list_takes_purge_everything),
        CASE(a_purge_of_everything_ends_the_jobs),
        CASE(what_the_server_forgot_is_not_found),
        CASE(while_a_job_runs_a_claim_takes_older_entries_for_absent),
        CASE(a_page_of_keys_leaves_out_what_a_pattern_took),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
