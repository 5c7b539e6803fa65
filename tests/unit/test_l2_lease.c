/* Leases on Redis, what distrust holds back, and whole histories of purging and filling. */
#include "l2_redis_fixture.h"

#include "l2/l2_job.h"

/* What was asked while L2 was trusted is not believed when it comes after that. */
static void an_answer_that_comes_after_distrust_is_not_used(void **state)
{
    struct host host = {.asynchronous = true};
    static struct seen seen;
    (void)state;

    configure(&host);
    put(&host, "key", "x");
    for (int way = 0; way < 2; way++) {
        seen.called = false;
        l2_read(host.reading, STR("key"), NULL, 0, note_read, &seen);
        l2_distrust(host.shared);
        if (way == 1)
            trust(&host);
        assert_false(seen.called);
        run_until(&host.loop, &seen.called);
        assert_int_equal(seen.result, L2_UNAVAILABLE);
        trust(&host);
    }
    assert_found(&host, "key", NULL, "x");
    l2_distrust(host.shared);
    assert_int_equal(look(&host, "key", NULL)->result, L2_UNAVAILABLE);
    assert_int_equal(claim_by(&host, "key", NULL, "").result, L2_CLAIM_UNAVAILABLE);
    purge_all(&host);
    assert_true(status_of(&host).distrusted);
    host_close(&host);
}

static void a_lease_that_has_ended_refuses(void **state)
{
    struct host host = {0}, other = {0};
    int64_t end_ms = sys_monotonic_ms() + PATIENCE_MS;
    struct l2_claim claim;
    struct l2_lease lease;
    (void)state;

    configure(&host);
    configure(&other);
    l2_claim(host.waiting, STR("key"), NULL, 0, STR(""), 20, &claim);
    assert_int_equal(claim.result, L2_CLAIM_TAKEN);
    while (claim_by(&other, "key", NULL, "").result != L2_CLAIM_TAKEN)
        assert_true(sys_monotonic_ms() < end_ms);
    assert_false(fill_under(&host, "key", NULL, "late", claim.lease));
    assert_int_equal(claim_by(&host, "key", NULL, "").result, L2_CLAIM_HELD);
    l2_release(host.waiting, STR("key"), &claim.lease);
    assert_int_equal(claim_by(&host, "key", NULL, "").result, L2_CLAIM_HELD);
    purge_key(&host, "key");
    lease = take(&host, "key", NULL);
    assert_int_equal(claim_by(&other, "key", NULL, "").result, L2_CLAIM_HELD);
    l2_release(host.waiting, STR("key"), &lease);
    lease = take(&other, "key", NULL);
    assert_true(fill_under(&other, "key", NULL, "x", lease));
    assert_false(fill_under(&other, "key", NULL, "twice", lease));
    assert_found(&host, "key", NULL, "x");
    host_close(&other);
    host_close(&host);
}

/* Its holder has died, as far as the host knows: nobody waits for it, and nothing it brings late is kept. */
static void a_lease_of_the_same_host_is_taken_over(void **state)
{
    struct host host = {0};
    struct l2_lease first, second;
    (void)state;

    configure(&host);
    first = take(&host, "key", NULL);
    second = take(&host, "key", NULL);
    assert_false(fill_under(&host, "key", NULL, "late", first));
    l2_release(host.waiting, STR("key"), &first);
    assert_true(fill_under(&host, "key", NULL, "x", second));
    host_close(&host);
}

/* Who fills from before a purge holds nobody up. */
static void a_purge_ends_the_leases_that_it_covers(void **state)
{
    static const struct {
        enum l2_purge_kind kind;
        bool soft;
        const char *name;
        enum l2_claim_result result;
    } cases[] = {
        {L2_PURGE_KEYS, false, "key", L2_CLAIM_TAKEN},   {L2_PURGE_KEYS, true, "key", L2_CLAIM_TAKEN},
        {L2_PURGE_TAGS, false, "tag", L2_CLAIM_TAKEN},   {L2_PURGE_TAGS, true, "tag", L2_CLAIM_TAKEN},
        {L2_PURGE_PATTERN, false, "k*", L2_CLAIM_TAKEN}, {L2_PURGE_ALL, false, NULL, L2_CLAIM_TAKEN},
        {L2_PURGE_ALL, true, NULL, L2_CLAIM_TAKEN},      {L2_PURGE_KEYS, false, "other", L2_CLAIM_HELD},
        {L2_PURGE_TAGS, false, "other", L2_CLAIM_HELD},
    };
    struct host host = {0}, other = {0};
    (void)state;

    configure(&host);
    configure(&other);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct l2_lease lease;
        struct l2_claim claim;

        purge_key(&host, "key");
        lease = take(&host, "key", "tag");
        purge(&host, cases[i].kind, cases[i].soft, cases[i].name);
        claim = claim_by(&other, "key", "tag", "");
        assert_int_equal(claim.result, cases[i].result);
        assert_int_equal(fill_under(&host, "key", "tag", "x", lease), claim.result == L2_CLAIM_HELD);
        if (claim.result == L2_CLAIM_TAKEN)
            assert_true(fill_under(&other, "key", "tag", "x", claim.lease));
    }
    host_close(&other);
    host_close(&host);
}

/* A history of claims, fills and purges by two hosts, against what must never be returned: an entry whose origin was
 * read before a purge that covers it had been answered. */

enum { KEYS = 6, TAGS = 3, STEPS = 4000 };

struct model {
    unsigned now;
    unsigned hard[KEYS], soft[KEYS]; /* when each key was last purged */
    struct l2_lease lease[KEYS];
    unsigned taken[KEYS]; /* when the lease was taken, and the origin read */
};

static const char *key_name(unsigned key)
{
    static const char *const names[KEYS] = {"a1", "a2", "b1", "b2", "c1", "c2"};

    return names[key];
}

/* Keys 0 and 3 carry tag 0, and so on. */
static const char *tag_name(unsigned key)
{
    static const char *const names[TAGS] = {"red", "green", "blue"};

    return names[key % TAGS];
}

static void purge_at_random(struct host *host, struct model *model)
{
    static const char *const patterns[] = {"a*", "b?", "[bc]1", "*2"};
    bool soft = rand() % 3 == 0;
    unsigned kind = (unsigned)rand() % 9, which = (unsigned)rand() % KEYS, pattern = (unsigned)rand() % 4;

    model->now++;
    if (kind < 4)
        purge(host, L2_PURGE_KEYS, soft, key_name(which));
    else if (kind < 6)
        purge(host, L2_PURGE_TAGS, soft, tag_name(which));
    else if (kind < 8)
        (void)purge_pattern(host, patterns[pattern], soft);
    else
        purge(host, L2_PURGE_ALL, soft, NULL);
    for (unsigned key = 0; key < KEYS; key++) {
        bool covered = kind < 4   ? key == which
                       : kind < 6 ? key % TAGS == which % TAGS
                       : kind < 8 ? str_glob_match(str_from(patterns[pattern]), str_from(key_name(key)))
                                  : true;
        if (covered)
            *(soft ? &model->soft[key] : &model->hard[key]) = model->now;
    }
}

static void claim_or_fill(struct host *host, struct model *model, unsigned key)
{
    char text[32];
    struct l2_claim claim;

    if (model->lease[key].token != 0) {
        snprintf(text, sizeof(text), "%u", model->taken[key]);
        bool stored = fill_under(host, key_name(key), tag_name(key), text, model->lease[key]);

        if (stored) {
            assert_true(model->taken[key] >= model->hard[key]);
            assert_true(model->taken[key] >= model->soft[key]);
        }
        model->lease[key].token = 0;
        return;
    }
    const struct seen *seen = look(host, key_name(key), tag_name(key));

    snprintf(text, sizeof(text), "%.*s", seen->result == L2_FOUND ? (int)seen->len : 0, seen->bytes);
    claim = claim_by(host, key_name(key), tag_name(key), text);
    if (claim.result == L2_CLAIM_TAKEN) {
        model->lease[key] = claim.lease;
        model->taken[key] = model->now;
    }
}

static unsigned judge(struct host *host, const struct model *model, unsigned key)
{
    const struct seen *seen = look(host, key_name(key), tag_name(key));
    unsigned filled;

    assert_int_not_equal(seen->result, L2_UNAVAILABLE);
    if (seen->result == L2_ABSENT)
        return 0;
    filled = (unsigned)strtoul(seen->bytes, NULL, 10);
    assert_true(filled >= model->hard[key]);
    assert_true(seen->soft || filled >= model->soft[key]);
    return 1;
}

static void work_a_little(struct host *host)
{
    struct arena *arena = arena_new(1024, 65536);
    struct l2_job job;

    if (l2_job_take(host->waiting, 7, arena, &job) == ERR_OK)
        assert_int_equal(l2_job_step(host->waiting, 7, 1, &job), ERR_OK);
    arena_free(&arena);
}

static void lose_something(void)
{
    switch (rand() % 4) {
    case 0:
        operate(&redis, "FLUSHALL");
        break;
    case 1:
        operate(&redis, "DEL %s", "l*rder[:1:purged");
        break;
    case 2:
        operate(&redis, "DEL %s", "l*rder[:1:log");
        break;
    default:
        operate(&redis, "HINCRBY %s seq -1", "l*rder[:1:purged");
    }
}

static void no_history_returns_what_was_purged(void **state)
{
    struct host hosts[2] = {{.asynchronous = false}, {.asynchronous = true}};
    struct model model = {0};
    unsigned found = 0;
    (void)state;

    srand(20);
    for (size_t i = 0; i < 2; i++)
        configure(&hosts[i]);
    for (unsigned step = 0; step < STEPS; step++) {
        struct host *host = &hosts[rand() % 2];
        unsigned what = (unsigned)rand() % 100;

        if (what < 12)
            purge_at_random(host, &model);
        else if (what < 70)
            claim_or_fill(host, &model, (unsigned)rand() % KEYS);
        else if (what < 80)
            work_a_little(host);
        else
            found += judge(host, &model, (unsigned)rand() % KEYS);
        if (step % 500 == 499) {
            lose_something();
            /* A host that has seen what is lost knows it; the other one's word is all that the first has. */
            for (size_t i = 0; i < 2; i++)
                (void)claim_by(&hosts[i], "unrelated", NULL, "");
        }
    }
    assert_true(found > STEPS / 20);
    for (size_t i = 0; i < 2; i++)
        host_close(&hosts[i]);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(an_answer_that_comes_after_distrust_is_not_used),
        CASE(a_lease_that_has_ended_refuses),
        CASE(a_lease_of_the_same_host_is_taken_over),
        CASE(a_purge_ends_the_leases_that_it_covers),
        CASE(no_history_returns_what_was_purged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
