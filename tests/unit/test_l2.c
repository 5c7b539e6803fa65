/* What L2 promises, on every backend alike: in shared memory, and on Redis by waiting and by asynchronous reads. */
#include "l2_fixture.h"

#include <stdatomic.h>
#include <sys/mman.h>

#include "l2/l2_job.h"

enum backend { MEMORY, REDIS_WAITING, REDIS_ASYNCHRONOUS, BACKENDS };

static struct server redis;

typedef void promise_fn(struct host *host);

static void on(enum backend backend, promise_fn *promise)
{
    struct host host = {.asynchronous = backend == REDIS_ASYNCHRONOUS};
    char url[128] = "memory:";

    if (backend != MEMORY)
        snprintf(url, sizeof(url), "unix://%s", redis.socket);
    host_configure(&host, url);
    host_open(&host);
    if (backend != MEMORY)
        purge_all(&host);
    promise(&host);
    host_close(&host);
}

static void on_every_backend(promise_fn *promise)
{
    for (int backend = 0; backend < BACKENDS; backend++) {
        if (backend != MEMORY) {
            server_kill(&redis);
            server_start(&redis, NULL, NULL);
        }
        on((enum backend)backend, promise);
    }
}

/* PROMISE(name) { body about `host` } makes the test NAME of it. */
#define PROMISE(name)                                                                                                  \
    static void promise_##name(struct host *host);                                                                     \
    static void name(void **state)                                                                                     \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        on_every_backend(promise_##name);                                                                              \
    }                                                                                                                  \
    static void promise_##name(struct host *host)

PROMISE(what_was_never_stored_is_absent)
{
    assert_absent(host, "nothing", NULL);
    assert_absent(host, "", "tag");
}

PROMISE(what_was_stored_is_found)
{
    put(host, "key", "bytes");
    assert_found(host, "key", NULL, "bytes");
    assert_found(host, "key", "tag", "bytes");
    assert_absent(host, "key2", NULL);
}

PROMISE(any_bytes_can_be_keys_and_entries)
{
    static const char bytes[] = "a\0b\r\n$5\r\n\xff";
    struct str key = {"k\0\r\n \xfe*", 7}, tags[L2_TAGS_MAX];
    static struct seen seen;
    struct l2_claim claim;
    size_t removed = 0;
    bool stored;

    seen.called = false;

    for (size_t i = 0; i < L2_TAGS_MAX; i++)
        tags[i] = (struct str){&"\r\n\0 long tags"[i % 5], 5};
    l2_claim(host->waiting, key, tags, L2_TAGS_MAX, STR(""), 60000, &claim);
    assert_int_equal(claim.result, L2_CLAIM_TAKEN);
    assert_int_equal(l2_fill(host->waiting, key, tags, L2_TAGS_MAX, (struct str){bytes, sizeof(bytes)}, 60000,
                             &claim.lease, &stored),
                     ERR_OK);
    assert_true(stored);
    l2_read(host->waiting, key, tags, L2_TAGS_MAX, note_read, &seen);
    assert_int_equal(seen.result, L2_FOUND);
    assert_int_equal(seen.len, sizeof(bytes));
    assert_memory_equal(seen.bytes, bytes, sizeof(bytes));
    assert_int_equal(l2_purge(host->waiting, &(struct l2_purge){.names = &key, .names_count = 1}, &removed, NULL),
                     ERR_OK);
    assert_int_equal(removed, 1);
}

PROMISE(an_entry_may_be_empty_or_large)
{
    static char large[100000];

    memset(large, 'x', sizeof(large) - 1);
    put(host, "empty", "");
    put(host, "large", large);
    assert_found(host, "empty", NULL, "");
    assert_found(host, "large", NULL, large);
}

PROMISE(an_entry_replaces_the_one_before)
{
    put(host, "key", "old");
    put(host, "key", "new and longer");
    assert_found(host, "key", NULL, "new and longer");
}

PROMISE(an_entry_ends_with_its_time)
{
    int64_t end_ms = sys_monotonic_ms() + PATIENCE_MS;
    struct l2_lease lease = take(host, "short", NULL);
    bool stored;

    assert_int_equal(l2_fill(host->waiting, STR("short"), NULL, 0, STR("x"), 20, &lease, &stored), ERR_OK);
    assert_true(stored);
    while (look(host, "short", NULL)->result != L2_ABSENT)
        assert_true(sys_monotonic_ms() < end_ms);
    lease = take(host, "short", NULL);
    assert_int_equal(l2_fill(host->waiting, STR("short"), NULL, 0, STR("x"), 0, &lease, &stored), ERR_OK);
    assert_false(stored);
    assert_false(fill_under(host, "short", NULL, "x", (struct l2_lease){.token = 0}));
    lease = take(host, "short", NULL);
    lease.stamp++;
    assert_false(fill_under(host, "short", NULL, "from the future", lease));
}

PROMISE(a_claim_finds_what_is_there_unless_it_is_spent)
{
    struct l2_claim claim;

    put(host, "key", "version 1, and more");
    claim = claim_by(host, "key", NULL, "");
    assert_int_equal(claim.result, L2_CLAIM_FOUND);
    assert_true(str_equal(claim.bytes, STR("version 1, and more")));
    assert_false(claim.soft);
    assert_int_equal(claim_by(host, "key", NULL, "version 2").result, L2_CLAIM_FOUND);
    assert_int_equal(claim_by(host, "key", NULL, "version 1, and more than that").result, L2_CLAIM_FOUND);
    claim = claim_by(host, "key", NULL, "version 1");
    assert_int_equal(claim.result, L2_CLAIM_TAKEN);
    assert_found(host, "key", NULL, "version 1, and more");
    assert_true(fill_under(host, "key", NULL, "version 2", claim.lease));
    assert_found(host, "key", NULL, "version 2");
}

struct race_case {
    enum l2_purge_kind kind;
    bool soft;
    const char *name;
    bool covers; /* key `key` with tag `tag` */
};

static const struct race_case race_cases[] = {
    {L2_PURGE_KEYS, false, "key", true},    {L2_PURGE_KEYS, false, "other", false},
    {L2_PURGE_KEYS, true, "key", true},     {L2_PURGE_KEYS, true, "other", false},
    {L2_PURGE_TAGS, false, "tag", true},    {L2_PURGE_TAGS, false, "unrelated", false},
    {L2_PURGE_TAGS, true, "tag", true},     {L2_PURGE_TAGS, true, "unrelated", false},
    {L2_PURGE_PATTERN, false, "k?y", true}, {L2_PURGE_PATTERN, true, "k?y", true},
    {L2_PURGE_PATTERN, false, "key", true}, {L2_PURGE_PATTERN, false, "other", false},
    {L2_PURGE_ALL, false, NULL, true},      {L2_PURGE_ALL, true, NULL, true},
};

PROMISE(a_purge_between_claim_and_fill_refuses_the_fill)
{
    for (size_t i = 0; i < sizeof(race_cases) / sizeof(*race_cases); i++) {
        const struct race_case *it = &race_cases[i];
        struct l2_lease lease;

        purge_key(host, "key");
        lease = take(host, "key", "tag");
        purge(host, it->kind, it->soft, it->name);
        assert_int_equal(fill_under(host, "key", "tag", "old", lease), !it->covers);
        assert_int_equal(look(host, "key", "tag")->result, it->covers ? L2_ABSENT : L2_FOUND);
        /* Whatever became of that fill, the key is free again. */
        put_by(host, "key", "tag", "new");
        assert_soft(host, "key", "tag", false);
    }
}

PROMISE(a_purge_covers_what_was_filled_before_it)
{
    for (size_t i = 0; i < sizeof(race_cases) / sizeof(*race_cases); i++) {
        const struct race_case *it = &race_cases[i];

        purge_key(host, "key");
        put_by(host, "key", "tag", "old");
        purge(host, it->kind, it->soft, it->name);
        if (it->covers && !it->soft)
            assert_absent(host, "key", "tag");
        else
            assert_soft(host, "key", "tag", it->covers);
    }
}

PROMISE(a_soft_purge_leaves_something_to_claim_with)
{
    struct l2_claim claim;

    put_by(host, "key", "tag", "old");
    purge(host, L2_PURGE_TAGS, true, "tag");
    claim = claim_by(host, "key", "tag", "");
    assert_int_equal(claim.result, L2_CLAIM_FOUND);
    assert_true(claim.soft);
    claim = claim_by(host, "key", "tag", "old");
    assert_int_equal(claim.result, L2_CLAIM_TAKEN);
    assert_soft(host, "key", "tag", true);
    assert_true(fill_under(host, "key", "tag", "new", claim.lease));
    assert_soft(host, "key", "tag", false);
    purge(host, L2_PURGE_TAGS, true, "tag");
    purge_tag(host, "tag");
    assert_absent(host, "key", "tag");
    purge(host, L2_PURGE_TAGS, true, "tag");
    assert_absent(host, "key", "tag");
    put_by(host, "key", "tag", "newer");
    purge_tag(host, "unrelated");
    purge(host, L2_PURGE_TAGS, true, "tag");
    assert_soft(host, "key", "tag", true);
}

PROMISE(a_tag_takes_its_entries_along)
{
    struct str two[] = {STR("red"), STR("round")}, tags[] = {STR("blue"), STR("red")};
    struct l2_purge both = {.kind = L2_PURGE_TAGS, .names = tags, .names_count = 2};

    put(host, "apple", "1");
    put(host, "sky", "2");
    purge_tag(host, "green");
    assert_found(host, "apple", "red", "1");
    purge_tag(host, "red");
    assert_int_equal(look_by(host, "apple", two, 2)->result, L2_ABSENT);
    assert_found(host, "sky", "blue", "2");
    put(host, "apple", "3");
    assert_int_equal(look_by(host, "apple", two, 2)->result, L2_FOUND);
    assert_int_equal(l2_purge(host->waiting, &both, NULL, NULL), ERR_OK);
    assert_absent(host, "apple", "red");
    assert_absent(host, "sky", "blue");
}

PROMISE(purging_everything_leaves_nothing)
{
    put(host, "a", "1");
    put(host, "b", "2");
    purge_all(host);
    assert_absent(host, "a", NULL);
    assert_absent(host, "b", "tag");
    put(host, "a", "3");
    assert_found(host, "a", "tag", "3");
}

PROMISE(purged_keys_are_gone_and_counted)
{
    struct str keys[] = {STR("a"), STR("c"), STR("never")};
    struct l2_purge three = {.kind = L2_PURGE_KEYS, .names = keys, .names_count = 3};
    size_t removed = 99;

    put(host, "a", "1");
    put(host, "b", "2");
    put(host, "c", "3");
    assert_int_equal(l2_purge(host->waiting, &three, &removed, NULL), ERR_OK);
    assert_int_equal(removed, 2);
    assert_absent(host, "a", NULL);
    assert_found(host, "b", NULL, "2");
    assert_absent(host, "c", NULL);
    three.names_count = 0;
    assert_int_equal(l2_purge(host->waiting, &three, &removed, NULL), ERR_OK);
    assert_int_equal(removed, 0);
}

PROMISE(more_names_than_one_record_takes_are_purged_alike)
{
    enum { NAMES = 3 * L2_NAMES_MAX + 7 };
    static char texts[NAMES][16];
    struct str names[NAMES];
    struct l2_purge purge = {.kind = L2_PURGE_KEYS, .names = names, .names_count = NAMES};
    size_t removed;

    for (size_t i = 0; i < NAMES; i++) {
        snprintf(texts[i], sizeof(texts[i]), "name %zu", i);
        names[i] = str_from(texts[i]);
        put_by(host, texts[i], texts[i], "x");
    }
    purge.soft = true;
    assert_int_equal(l2_purge(host->waiting, &purge, &removed, NULL), ERR_OK);
    assert_int_equal(removed, NAMES);
    for (size_t i = 0; i < NAMES; i++)
        assert_soft(host, texts[i], texts[i], true);
    purge = (struct l2_purge){.kind = L2_PURGE_TAGS, .names = names, .names_count = NAMES - 1};
    assert_int_equal(l2_purge(host->waiting, &purge, &removed, NULL), ERR_OK);
    for (size_t i = 0; i < NAMES - 1; i++)
        assert_absent(host, texts[i], texts[i]);
    assert_soft(host, texts[NAMES - 1], texts[NAMES - 1], true);
    purge.kind = L2_PURGE_KEYS;
    purge.names_count = NAMES;
    assert_int_equal(l2_purge(host->waiting, &purge, &removed, NULL), ERR_OK);
    assert_int_equal(removed, NAMES);
}

/* Which of the keys P matches cannot be told from the outside where a job still removes them: by reads alone. */
PROMISE(a_pattern_takes_what_it_matches)
{
    static const struct {
        const char *pattern;
        const char *gone[4], *left[4];
    } cases[] = {
        {"stocks:A*", {"stocks:A1", "stocks:A"}, {"stocks:B1", "x*y"}},
        {"stocks:B?", {"stocks:B1", "stocks:B2"}, {"stocks:B10", "x*y"}},
        {"stocks:B[1-3]?", {"stocks:B10"}, {"stocks:B40"}},
        {"x\\*y", {"x*y"}, {"xzy"}},
        {"xzy", {"xzy"}, {"last"}},
        {"nothing", {NULL}, {"last"}},
        {"*", {"last", "stocks:B40"}, {NULL}},
    };
    static const char *const keys[] = {"stocks:A1",  "stocks:A", "stocks:B1", "stocks:B2", "stocks:B10",
                                       "stocks:B40", "x*y",      "xzy",       "last"};

    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
        put(host, keys[i], "1");
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        (void)purge_pattern(host, cases[i].pattern, false);
        for (size_t k = 0; k < 4 && cases[i].gone[k]; k++)
            assert_absent(host, cases[i].gone[k], NULL);
        for (size_t k = 0; k < 4 && cases[i].left[k]; k++)
            assert_found(host, cases[i].left[k], NULL, "1");
    }
    put(host, "last", "2");
    assert_found(host, "last", NULL, "2");
}

PROMISE(a_pattern_that_is_too_long_or_has_lines_takes_everything)
{
    char longest[L2_PATTERN_MAX + 2];

    memset(longest, 'x', sizeof(longest));
    longest[0] = '*';
    longest[L2_PATTERN_MAX] = '\0';
    put(host, "key", "1");
    (void)purge_pattern(host, longest, false);
    assert_found(host, "key", NULL, "1");
    longest[L2_PATTERN_MAX] = 'x';
    longest[L2_PATTERN_MAX + 1] = '\0';
    (void)purge_pattern(host, longest, true);
    assert_soft(host, "key", NULL, true);
    (void)purge_pattern(host, "a*\nb", false);
    assert_absent(host, "key", NULL);
}

static size_t count_keys(struct host *host, const char *pattern, size_t limit, unsigned *seen, size_t seen_count)
{
    struct arena *arena = arena_new(4096, 1 << 22);
    uint64_t cursor = 0;
    size_t total = 0, count;
    int number;
    struct str *keys;

    do {
        assert_int_equal(l2_scan(host->waiting, str_from(pattern), &cursor, limit, arena, &keys, &count), ERR_OK);
        total += count;
        for (size_t i = 0; i < count; i++)
            if (sscanf(keys[i].p, "list:%d", &number) == 1 && (size_t)number < seen_count)
                seen[number]++;
    } while (cursor != 0);
    arena_free(&arena);
    return total;
}

PROMISE(a_scan_finds_every_key)
{
    enum { KEYS = 500 };
    unsigned seen[KEYS] = {0};
    char key[64];

    assert_int_equal(count_keys(host, "*", 10, NULL, 0), 0);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "list:%d", i);
        put(host, key, "1");
    }
    put(host, "other", "1");
    assert_int_equal(count_keys(host, "*", 100000, NULL, 0), KEYS + 1);
    assert_int_equal(count_keys(host, "list:*", 7, seen, KEYS), KEYS);
    for (int i = 0; i < KEYS; i++)
        assert_int_equal(seen[i], 1);
    assert_int_equal(count_keys(host, "list:*", 1, NULL, 0), KEYS);
    assert_int_equal(count_keys(host, "oth?r", 1, NULL, 0), 1);
    purge_all(host);
    assert_int_equal(count_keys(host, "*", 10, NULL, 0), 0);
}

PROMISE(a_cursor_may_be_anything)
{
    struct arena *arena = arena_new(4096, 1 << 20);
    uint64_t cursors[] = {1, 7, 1000, UINT64_C(1) << 48, UINT64_C(3) << 48 | 4711, UINT64_C(64) << 48, UINT64_MAX};
    struct str *keys;
    size_t count;

    for (int i = 0; i < 100; i++)
        put(host, (char[]){'k', (char)('0' + i % 10), (char)('0' + i / 10), '\0'}, "some bytes of an entry");
    for (size_t i = 0; i < sizeof(cursors) / sizeof(*cursors); i++)
        assert_int_equal(l2_scan(host->waiting, STR("*"), &cursors[i], 1000, arena, &keys, &count), ERR_OK);
    arena_free(&arena);
}

PROMISE(a_backend_that_knows_how_much_it_holds_says_so)
{
    struct l2_size size;
    uint64_t keys;

    if (str_equal(status_of(host).where, STR("memory:"))) {
        assert_int_equal(l2_measure(host->waiting, &size), ERR_NOT_FOUND);
        return;
    }
    assert_int_equal(l2_measure(host->waiting, &size), ERR_OK);
    keys = size.keys;
    assert_true(size.bytes > 100000);
    put(host, "one more", "its bytes");
    assert_int_equal(l2_measure(host->waiting, &size), ERR_OK);
    assert_true(size.keys > keys);
}

PROMISE(a_backend_that_is_well_says_so)
{
    struct l2_status status;

    assert_int_equal(l2_ping(host->waiting), ERR_OK);
    status = status_of(host);
    assert_int_equal(status.breaker, L2_CLOSED);
    assert_int_equal(status.breaker_opened, 0);
    assert_false(status.distrusted);
    assert_int_equal(status.last_error.len, 0);
    assert_true(str_equal(status.where, str_from(host->config.redis.url)));
}

/* The origin of the race: a number that only grows. A purge tells that it grew. */
struct race {
    _Atomic uint64_t origin;
    _Atomic bool over;
    _Atomic unsigned filled, found;
};

enum { PURGES = 150 };

static void fill_on_and_on(struct host *host, struct race *race)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    host_open(host);
    for (unsigned turn = 0; !race->over; turn++) {
        const struct seen *seen = look(host, "raced", "tag");
        struct l2_claim claim;
        bool stored = false;
        char text[32];

        race->found += seen->result == L2_FOUND;
        if (seen->result != L2_ABSENT)
            continue;
        claim = claim_by(host, "raced", "tag", "");
        if (claim.result != L2_CLAIM_TAKEN)
            continue;
        snprintf(text, sizeof(text), "%llu", (unsigned long long)race->origin);
        if (turn % 3 == 0)
            nap(1);
        if (l2_fill(host->waiting, STR("raced"), &STR("tag"), 1, str_from(text), 60000, &claim.lease, &stored) !=
            ERR_OK)
            _exit(2);
        race->filled += stored;
    }
    _exit(0);
}

static enum err purge_somehow(struct l2 *l2, unsigned turn)
{
    switch (turn % 4) {
    case 0:
        return purge_as(l2, L2_PURGE_TAGS, false, "tag", NULL, NULL);
    case 1:
        return purge_as(l2, L2_PURGE_KEYS, false, "raced", NULL, NULL);
    case 2:
        return purge_as(l2, L2_PURGE_PATTERN, false, "r?ced", NULL, NULL);
    default:
        return purge_as(l2, L2_PURGE_ALL, false, NULL, NULL, NULL);
    }
}

static void work_off_on_and_on(struct host *host, struct race *race)
{
    struct arena *arena = arena_new(4096, 1 << 20);
    struct l2_job job;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    host_open(host);
    while (!race->over) {
        arena_reset(arena);
        if (l2_job_take(host->waiting, 1, arena, &job) != ERR_OK)
            nap(1);
        else
            while (l2_job_step(host->waiting, 1, 10, &job) == ERR_OK && job.state == L2_JOB_RUNNING)
                ;
    }
    _exit(0);
}

/* What is found after a purge has returned must not be older than what the origin said when the purge began. */
static void purge_on_and_on(struct host *host, struct race *race)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    host_open(host);
    for (unsigned turn = 0; turn < PURGES; turn++) {
        uint64_t version = ++race->origin;

        if (purge_somehow(host->waiting, turn) != ERR_OK)
            _exit(3);
        for (int i = 0; i < 3; i++) {
            const struct seen *seen = look(host, "raced", "tag");

            if (seen->result == L2_FOUND && strtoull(seen->bytes, NULL, 10) < version)
                _exit(4);
            nap(turn % 2);
        }
    }
    _exit(0);
}

PROMISE(nothing_older_than_a_purge_is_found_after_it)
{
    struct race *race = mmap(NULL, sizeof(*race), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t fillers[3], purgers[2], worker;
    int statuses[6];

    for (size_t i = 0; i < 3; i++)
        if ((fillers[i] = fork()) == 0)
            fill_on_and_on(host, race);
    for (size_t i = 0; i < 2; i++)
        if ((purgers[i] = fork()) == 0)
            purge_on_and_on(host, race);
    if ((worker = fork()) == 0)
        work_off_on_and_on(host, race);
    for (size_t i = 0; i < 2; i++)
        waitpid(purgers[i], &statuses[i], 0);
    race->over = true;
    waitpid(worker, &statuses[5], 0);
    for (size_t i = 0; i < 3; i++)
        waitpid(fillers[i], &statuses[2 + i], 0);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(statuses[i], 0);
    assert_true(race->filled > 0);
    assert_true(race->found > 0);
    munmap(race, sizeof(*race));
}

static int start_redis(void **state)
{
    (void)state;
    server_start(&redis, NULL, NULL);
    return 0;
}

static int remove_redis(void **state)
{
    (void)state;
    server_remove(&redis);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_never_stored_is_absent),
        cmocka_unit_test(what_was_stored_is_found),
        cmocka_unit_test(any_bytes_can_be_keys_and_entries),
        cmocka_unit_test(an_entry_may_be_empty_or_large),
        cmocka_unit_test(an_entry_replaces_the_one_before),
        cmocka_unit_test(an_entry_ends_with_its_time),
        cmocka_unit_test(a_claim_finds_what_is_there_unless_it_is_spent),
        cmocka_unit_test(a_purge_between_claim_and_fill_refuses_the_fill),
        cmocka_unit_test(a_purge_covers_what_was_filled_before_it),
        cmocka_unit_test(a_soft_purge_leaves_something_to_claim_with),
        cmocka_unit_test(a_tag_takes_its_entries_along),
        cmocka_unit_test(purging_everything_leaves_nothing),
        cmocka_unit_test(purged_keys_are_gone_and_counted),
        cmocka_unit_test(more_names_than_one_record_takes_are_purged_alike),
        cmocka_unit_test(a_pattern_takes_what_it_matches),
        cmocka_unit_test(a_pattern_that_is_too_long_or_has_lines_takes_everything),
        cmocka_unit_test(a_scan_finds_every_key),
        cmocka_unit_test(a_cursor_may_be_anything),
        cmocka_unit_test(a_backend_that_knows_how_much_it_holds_says_so),
        cmocka_unit_test(a_backend_that_is_well_says_so),
        cmocka_unit_test(nothing_older_than_a_purge_is_found_after_it),
    };

    return cmocka_run_group_tests(tests, start_redis, remove_redis);
}
