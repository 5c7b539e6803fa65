/*
 * The cache in shared memory under whatever comes: random operations beside a simple model, several processes at once,
 * and processes that are killed in the middle.
 */
#include "l1_fixture.h"

#include <stdatomic.h>

#include "base/shm.h"

enum { KEYS = 300, TAGS = 20, STEPS = 60000 };

enum how { BY_KEY, BY_TAG, BY_PATTERN, BY_ALL };

struct event {
    enum how how;
    unsigned what;
    bool soft;
};

/* What there would be in a cache of endless room. It may hold more than L1 does, never less. */
struct model {
    struct event events[STEPS]; /* by the number they drew */
    uint64_t now;
    struct held {
        bool present;
        uint64_t version, stamp, variant;
        int64_t end_ms;
        size_t len;
    } held[KEYS];
};

static void name(char *out, size_t size, unsigned key)
{
    snprintf(out, size, "group%u:key%u", key % 10, key);
}

/* The verdict on KEY as it was at STAMP, by all that came since. */
static enum purged_verdict judge(const struct model *model, unsigned key, uint64_t stamp)
{
    enum purged_verdict verdict = PURGED_NOT;

    for (uint64_t i = stamp + 1; verdict != PURGED_HARD && i <= model->now; i++) {
        const struct event *event = &model->events[i];

        if (event->how == BY_ALL || (event->how == BY_KEY && event->what == key) ||
            (event->how == BY_TAG && event->what == key % TAGS) ||
            (event->how == BY_PATTERN && event->what == key % 10))
            verdict = event->soft ? PURGED_SOFT : PURGED_HARD;
    }
    return verdict;
}

static void purge(struct fixture *fixture, struct model *model, unsigned number)
{
    struct event event = {number % 100 == 0 ? BY_ALL : number % 3, number / 7 % KEYS, number / 3 % 2};
    char text[32];

    if (event.how == BY_TAG)
        event.what %= TAGS;
    if (event.how == BY_PATTERN)
        event.what %= 10;
    if (event.how == BY_KEY) {
        name(text, sizeof(text), event.what);
        purged_key(fixture->purged, str_from(text), event.soft);
    } else if (event.how == BY_TAG) {
        snprintf(text, sizeof(text), "tag%u", event.what);
        purged_tag(fixture->purged, str_from(text), event.soft);
    } else if (event.how == BY_PATTERN) {
        snprintf(text, sizeof(text), "group%u:*", event.what);
        purged_pattern(fixture->purged, str_from(text), event.soft, 0);
    } else {
        purged_all(fixture->purged, event.soft);
    }
    model->events[++model->now] = event;
    assert_int_equal(purged_now(fixture->purged), model->now);
}

static void put_random(struct fixture *fixture, struct model *model, unsigned key, unsigned number, uint64_t version)
{
    struct held held = {.present = true,
                        .version = version,
                        .variant = number % 20 == 0,
                        .stamp = number % 10 == 0 && model->now > 30 ? model->now - number % 30 : model->now,
                        .end_ms = NOW + number % 3000,
                        .len = number % 50 == 0 ? number % 250000 : number % 5000};
    struct entry entry;
    char text[32], tag[32];

    name(text, sizeof(text), key);
    snprintf(tag, sizeof(tag), "tag%u", key % TAGS);
    entry = make_entry(fixture->arena, text, version, held.len);
    entry.status = number % 5 == 0 ? 404 : 200;
    entry.fresh_until_ms = entry.stale_until_ms = entry.error_until_ms = NOW;
    *(number % 3 == 0   ? &entry.fresh_until_ms
      : number % 3 == 1 ? &entry.stale_until_ms
                        : &entry.error_until_ms) = held.end_ms;
    entry.tags[entry.tags_count++] = STR("common");
    entry.tags[entry.tags_count++] = str_from(tag);
    l1_put(fixture->l1, str_from(text), held.variant, &entry, held.stamp, NOW);
    if (judge(model, key, held.stamp) != PURGED_HARD)
        model->held[key] = held;
}

/* Returns whether there was one. */
static bool get_random(struct fixture *fixture, const struct model *model, unsigned key, unsigned number)
{
    const struct held *held = &model->held[key];
    int64_t now_ms = NOW + number % 3000;
    uint64_t variant = number % 25 == 0;
    struct l1_found found;
    char text[32], etag[32];

    name(text, sizeof(text), key);
    if (l1_get(fixture->l1, str_from(text), variant, false, now_ms, fixture->arena, &found) != ERR_OK)
        return false;
    assert_true(held->present);
    assert_int_equal(held->variant, variant);
    assert_true(now_ms < held->end_ms);
    assert_int_not_equal(judge(model, key, held->stamp), PURGED_HARD);
    assert_true(found.soft || judge(model, key, held->stamp) == PURGED_NOT);
    snprintf(etag, sizeof(etag), "\"%lu\"", (unsigned long)held->version);
    assert_true(str_equal(found.entry.etag, str_from(etag)));
    assert_int_equal(found.entry.body.len, held->len);
    assert_true(is_whole(fixture->arena, &found.entry, text));
    return true;
}

static void check_status(struct fixture *fixture)
{
    struct l1_status status = status_of(fixture);

    assert_true(status.used <= status.size);
    assert_true(status.negative <= status.entries && status.entries <= KEYS);
}

static void whatever_is_done_nothing_is_found_that_should_not_be(void **state)
{
    static const uint64_t sizes[] = {256 << 10, 1 << 20, 8 << 20};
    struct model *model = calloc(1, sizeof(*model));

    (void)state;
    for (unsigned seed = 0; seed < 6; seed++) {
        struct fixture *fixture = open_l1(sizes[seed % 3]);
        unsigned random = seed + 1, found = 0;

        memset(model, 0, sizeof(*model));
        for (unsigned step = 0; step < STEPS; step++) {
            unsigned what = (unsigned)rand_r(&random) % 100, number = (unsigned)rand_r(&random);
            unsigned key = (unsigned)rand_r(&random) % KEYS * ((unsigned)rand_r(&random) % 100) / 100;
            char text[32];

            arena_reset(fixture->arena);
            name(text, sizeof(text), key);
            if (what < 1) {
                purge(fixture, model, number);
            } else if (what < 3) {
                (void)l1_remove(fixture->l1, str_from(text));
                model->held[key].present = false;
            } else if (what < 30) {
                put_random(fixture, model, key, number, step);
            } else {
                found += get_random(fixture, model, key, number);
            }
        }
        check_status(fixture);
        assert_true(found > STEPS / 50);
        close_l1(fixture);
    }
    free(model);
}

/* Puts, asks and purges at random; returns how many entries it was given that were not whole. */
static int use(struct fixture *fixture, unsigned seed, int steps, size_t len_max)
{
    int broken = 0;

    for (int i = 0; i < steps; i++) {
        unsigned key = (unsigned)rand_r(&seed) % KEYS, what = (unsigned)rand_r(&seed) % 1000;
        char text[32];

        name(text, sizeof(text), key);
        if (what < 300)
            put(fixture, text, (uint64_t)rand_r(&seed), (size_t)rand_r(&seed) % len_max);
        else if (what < 310)
            (void)l1_remove(fixture->l1, str_from(text));
        else if (what < 315)
            purged_key(fixture->purged, str_from(text), false);
        else if (what < 316)
            purged_pattern(fixture->purged, STR("group3:*"), false, 0);
        else
            broken += get(fixture, text) && !is_whole(fixture->arena, &fixture->found.entry, text);
    }
    return broken;
}

static void many_processes_find_only_whole_entries(void **state)
{
    enum { PROCESSES = 4, OPERATIONS = 40000 };
    struct fixture *fixture = open_l1(1 << 20);
    pid_t pids[PROCESSES];
    int status;

    (void)state;
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            _exit(use(fixture, (unsigned)i + 1, OPERATIONS, 8000) == 0 ? 0 : 1);
    }
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    check_status(fixture);
    assert_int_equal(status_of(fixture).emptied, 0);
    close_l1(fixture);
}

/* What a writer has written, and up to which of it a purge has returned. */
struct board {
    _Atomic uint64_t written, returned;
    _Atomic bool over;
};

/* Fills and asks as a worker does; returns how often it was given what a purge had covered that had returned before. */
static int work(struct fixture *fixture, struct board *board, const char *key, const char *tag)
{
    int old = 0;

    while (!atomic_load(&board->over)) {
        uint64_t returned = atomic_load(&board->returned), stamp;

        if (get(fixture, key)) {
            old += !fixture->found.soft && strtoul(fixture->found.entry.etag.p + 1, NULL, 10) < returned;
            continue;
        }
        stamp = purged_now(fixture->purged);
        put_tagged(fixture, key, atomic_load(&board->written), 300, tag, stamp);
    }
    return old;
}

static void no_process_finds_what_a_returned_purge_covers(void **state)
{
    enum { PROCESSES = 2, ROUNDS = 3000 };
    static const char *const keys[] = {"stocks:a", "stocks:b"};
    struct fixture *fixture = open_l1(1 << 20);
    struct board *board;
    pid_t pids[PROCESSES];
    void *mapping;
    int status;

    (void)state;
    assert_int_equal(shm_map(sizeof(*board), &mapping), ERR_OK);
    board = mapping;
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            _exit(work(fixture, board, keys[i], "stocks") == 0 ? 0 : 1);
    }
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        atomic_store(&board->written, i);
        if (i % 3 == 0)
            purged_tag(fixture->purged, STR("stocks"), false);
        else if (i % 3 == 1)
            purged_pattern(fixture->purged, STR("stocks:*"), false, 0);
        for (int k = 0; i % 3 == 2 && k < PROCESSES; k++)
            purged_key(fixture->purged, str_from(keys[k]), false);
        atomic_store(&board->returned, i);
        nanosleep(&(struct timespec){.tv_nsec = i % 7 * 1000}, NULL);
    }
    atomic_store(&board->over, true);
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    shm_unmap(&mapping, sizeof(*board));
    close_l1(fixture);
}

/* Until it is killed, puts large entries, so that it mostly is inside. */
static void put_without_end(struct fixture *fixture)
{
    struct entry entry = make_entry(fixture->arena, "group0:key0", 1, l1_entry_max(fixture->l1) - 400);

    for (;;)
        l1_put(fixture->l1, STR("group0:key0"), 0, &entry, purged_now(fixture->purged), NOW);
}

static void a_process_killed_in_the_middle_of_a_put_costs_the_shard_and_no_more(void **state)
{
    enum { ROUNDS = 200 };
    struct fixture *fixture = open_l1(1 << 20);
    unsigned seed = 1;

    (void)state;
    /* On a slow machine most of them may be killed before they are inside. */
    for (int round = 0; round < ROUNDS || (status_of(fixture).emptied == 0 && round < 20 * ROUNDS); round++) {
        uint64_t emptied = status_of(fixture).emptied;
        pid_t pid = fork();

        if (pid == 0) {
            if (round % 2)
                put_without_end(fixture);
            _exit(use(fixture, (unsigned)round, 1 << 30, 30000));
        }
        nanosleep(&(struct timespec){.tv_nsec = rand_r(&seed) % 2000000}, NULL);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        /* Who dies while it adds a ban costs everything: whoever comes next with one finds that out, here before the
         * put and not between it and the look. */
        purged_pattern(fixture->purged, STR("none:*"), false, 0);
        put(fixture, "first", (uint64_t)round, 1000);
        assert_held(fixture, "first", (uint64_t)round);
        if (status_of(fixture).emptied > emptied)
            assert_int_equal(status_of(fixture).entries, 1);
        assert_int_equal(use(fixture, (unsigned)round + 1, 500, 30000), 0);
        assert_true(status_of(fixture).used <= status_of(fixture).size);
    }
    assert_true(status_of(fixture).emptied > 0);
    close_l1(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_is_done_nothing_is_found_that_should_not_be),
        cmocka_unit_test(many_processes_find_only_whole_entries),
        cmocka_unit_test(no_process_finds_what_a_returned_purge_covers),
        cmocka_unit_test(a_process_killed_in_the_middle_of_a_put_costs_the_shard_and_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
