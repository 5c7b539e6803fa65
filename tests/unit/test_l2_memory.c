/* The shared cache in memory: bounded, first in first out, and whole whatever happens to the processes that use it. */
#include "l2_fixture.h"

#include <sys/mman.h>

#include "l2/l2_job.h"

static int set_up(void **state)
{
    struct host *host = calloc(1, sizeof(*host));

    host->config = usual_config();
    host->config.memory.size = 4 << 20;
    host_configure(host, "memory:");
    host_open(host);
    *state = host;
    return 0;
}

static int tear_down(void **state)
{
    host_close(*state);
    free(*state);
    return 0;
}

static void reads_call_back_at_once_even_with_a_loop(void **state)
{
    struct host *host = *state;
    static struct seen seen;

    put(host, "key", "x");
    seen.called = false;
    l2_read(host->reading, STR("key"), NULL, 0, note_read, &seen);
    assert_true(seen.called);
    assert_int_equal(seen.result, L2_FOUND);
    assert_string_equal(status_of(host).backend, "memory");
}

static void the_newest_entries_stay(void **state)
{
    enum { ENTRIES = 20000, NEWEST = 500 };
    struct host *host = *state;
    char key[32], bytes[1000];
    unsigned old = 0;

    memset(bytes, 'x', sizeof(bytes) - 1);
    bytes[sizeof(bytes) - 1] = '\0';
    for (int i = 0; i < ENTRIES; i++) {
        snprintf(key, sizeof(key), "entry:%d", i);
        put(host, key, bytes);
    }
    for (int i = ENTRIES - NEWEST; i < ENTRIES; i++) {
        snprintf(key, sizeof(key), "entry:%d", i);
        assert_found(host, key, NULL, bytes);
    }
    for (int i = 0; i < NEWEST; i++) {
        snprintf(key, sizeof(key), "entry:%d", i);
        old += look(host, key, NULL)->result == L2_FOUND;
    }
    assert_int_equal(old, 0);
}

static void an_entry_that_is_replaced_leaves_room_for_others(void **state)
{
    struct host *host = *state;
    char bytes[5000];

    memset(bytes, 'x', sizeof(bytes) - 1);
    bytes[sizeof(bytes) - 1] = '\0';
    for (int i = 0; i < 5000; i++) {
        bytes[0] = (char)('a' + i % 26);
        put(host, "same", bytes);
        assert_found(host, "same", NULL, bytes);
    }
}

static void very_many_small_entries_are_held_in_bounds(void **state)
{
    struct host *host = *state;
    char key[32];

    for (int i = 0; i < 100000; i++) {
        snprintf(key, sizeof(key), "%d", i);
        put(host, key, "");
    }
    assert_found(host, "99999", NULL, "");
    assert_absent(host, "0", NULL);
}

static void an_entry_over_a_quarter_of_a_shard_is_not_stored(void **state)
{
    struct host *host = *state;
    size_t sizes[] = {150000, 1 << 20, 100 << 20};
    struct l2_lease lease = take(host, "large", NULL);
    char *large = calloc(1, 100 << 20);

    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        bool stored = true;

        assert_int_equal(
            l2_fill(host->waiting, STR("large"), NULL, 0, (struct str){large, sizes[i]}, 60000, &lease, &stored),
            ERR_OK);
        assert_false(stored);
        assert_int_equal(
            l2_fill(host->waiting, (struct str){large, sizes[i]}, NULL, 0, STR("x"), 60000, &lease, &stored), ERR_OK);
        assert_false(stored);
    }
    free(large);
}

static void a_life_longer_than_time_is_no_problem(void **state)
{
    struct host *host = *state;
    struct l2_lease lease = take(host, "key", NULL);
    bool stored;

    assert_int_equal(l2_fill(host->waiting, STR("key"), NULL, 0, STR("x"), INT64_MAX, &lease, &stored), ERR_OK);
    assert_found(host, "key", NULL, "x");
}

/* The bytes of an entry: its length and letter follow from one number, so that a torn one shows. */
static struct str whole_entry(char *bytes, unsigned number)
{
    size_t len = number * 7919 % 30000;

    memset(bytes, 'a' + (int)(number % 26), len);
    return (struct str){bytes, len};
}

static void assert_whole(const struct seen *seen)
{
    for (size_t i = 1; i < seen->len; i++)
        assert_int_equal(seen->bytes[i], seen->bytes[0]);
}

static void use_without_end(struct host *host, unsigned seed)
{
    static char bytes[30000];
    char key[32];
    bool stored;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    host_open(host);
    for (unsigned i = seed;; i++) {
        struct l2_claim claim;

        snprintf(key, sizeof(key), "%u", i * 31 % 400);
        claim = claim_by(host, key, NULL, i % 2 ? "" : "a");
        if (claim.result == L2_CLAIM_TAKEN && l2_fill(host->waiting, str_from(key), NULL, 0, whole_entry(bytes, i),
                                                      60000, &claim.lease, &stored) != ERR_OK)
            _exit(1);
        if (i % 50 == 0 && purge_as(host->waiting, L2_PURGE_PATTERN, i % 100 == 0, "*7", NULL, NULL) != ERR_OK)
            _exit(1);
    }
}

static void entries_are_whole_though_writers_are_killed(void **state)
{
    struct host *host = *state;
    char key[32];
    unsigned found = 0;

    for (unsigned round = 0; round < 60; round++) {
        pid_t children[2];

        for (unsigned i = 0; i < 2; i++)
            if ((children[i] = fork()) == 0)
                use_without_end(host, round * 1000 + i * 77);
        nap(round % 5 + 3);
        for (unsigned i = 0; i < 2; i++)
            kill(children[i], SIGKILL);
        for (unsigned i = 0; i < 2; i++)
            waitpid(children[i], NULL, 0);
        for (unsigned i = 0; i < 400; i++) {
            snprintf(key, sizeof(key), "%u", i);

            const struct seen *seen = look(host, key, NULL);

            assert_whole(seen);
            found += seen->result == L2_FOUND;
        }
        put(host, "after", "all is well");
        assert_found(host, "after", NULL, "all is well");
    }
    assert_true(found > 0);
}

static void there_is_no_log_and_there_are_no_jobs(void **state)
{
    struct host *host = *state;
    struct arena *arena = arena_new(1024, 4096);
    struct l2_job job = {.id = 1};
    size_t removed = 0;
    uint64_t id = 1;

    assert_false(l2_shared_has_log(host->shared));
    put(host, "a1", "x");
    put(host, "a2", "x");
    put(host, "b1", "x");
    assert_int_equal(purge_as(host->waiting, L2_PURGE_PATTERN, false, "a*", &removed, &id), ERR_OK);
    assert_int_equal(removed, 2);
    assert_int_equal(id, 0);
    assert_int_equal(l2_job_read(host->waiting, 1, arena, &job), ERR_NOT_FOUND);
    assert_int_equal(l2_job_take(host->waiting, 1, arena, &job), ERR_NOT_FOUND);
    assert_int_equal(l2_job_step(host->waiting, 1, 10, &job), ERR_DENIED);
    arena_free(&arena);
}

static void what_one_process_stores_another_finds(void **state)
{
    struct host *host = *state;
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        host_open(host);
        put(host, "key", "from the child");
        purge_tag(host, "tag");
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_found(host, "key", NULL, "from the child");
    assert_absent(host, "key", "tag");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(reads_call_back_at_once_even_with_a_loop),
        CASE(the_newest_entries_stay),
        CASE(an_entry_that_is_replaced_leaves_room_for_others),
        CASE(very_many_small_entries_are_held_in_bounds),
        CASE(an_entry_over_a_quarter_of_a_shard_is_not_stored),
        CASE(a_life_longer_than_time_is_no_problem),
        CASE(entries_are_whole_though_writers_are_killed),
        CASE(what_one_process_stores_another_finds),
        CASE(there_is_no_log_and_there_are_no_jobs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
