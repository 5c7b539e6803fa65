/* What L2 promises, on every backend alike: in shared memory, and on Redis by waiting and by asynchronous reads. */
#include "l2_fixture.h"

#include <stdatomic.h>
#include <sys/mman.h>

#include "l2/l2_url.h"

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
        assert_int_equal(l2_purge_all(host.waiting), ERR_OK);
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
    struct seen seen = {0};
    bool stored;

    for (size_t i = 0; i < L2_TAGS_MAX; i++)
        tags[i] = (struct str){&"\r\n\0 long tags"[i % 5], 5};
    assert_int_equal(
        l2_fill(host->waiting, key, (struct str){bytes, sizeof(bytes)}, 60000, look(host, "x", NULL)->stamp, &stored),
        ERR_OK);
    assert_true(stored);
    l2_read(host->waiting, key, tags, L2_TAGS_MAX, note_read, &seen);
    assert_int_equal(seen.result, L2_FOUND);
    assert_int_equal(seen.len, sizeof(bytes));
    assert_memory_equal(seen.bytes, bytes, sizeof(bytes));
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
    bool stored;

    assert_int_equal(l2_fill(host->waiting, STR("short"), STR("x"), 20, look(host, "short", NULL)->stamp, &stored),
                     ERR_OK);
    assert_true(stored);
    while (look(host, "short", NULL)->result != L2_ABSENT)
        assert_true(sys_monotonic_ms() < end_ms);
    assert_int_equal(l2_fill(host->waiting, STR("short"), STR("x"), 0, look(host, "short", NULL)->stamp, &stored),
                     ERR_OK);
    assert_false(stored);
}

PROMISE(a_fill_is_refused_after_a_purge)
{
    uint64_t stamp = look(host, "key", NULL)->stamp;
    size_t removed;

    purge_tag(host, "unrelated");
    assert_false(fill_stamped(host, "key", "old", stamp));
    stamp = look(host, "key", NULL)->stamp;
    assert_int_equal(l2_purge_keys(host->waiting, &STR("other"), 1, &removed), ERR_OK);
    assert_false(fill_stamped(host, "key", "old", stamp));
    stamp = look(host, "key", NULL)->stamp;
    assert_int_equal(l2_purge_pattern(host->waiting, STR("o*r"), &removed), ERR_OK);
    assert_false(fill_stamped(host, "key", "old", stamp));
    stamp = look(host, "key", NULL)->stamp;
    assert_int_equal(l2_purge_all(host->waiting), ERR_OK);
    assert_false(fill_stamped(host, "key", "old", stamp));
    assert_absent(host, "key", NULL);
    assert_true(fill_stamped(host, "key", "new", look(host, "key", NULL)->stamp));
    assert_false(fill_stamped(host, "key", "future", look(host, "key", NULL)->stamp + 1));
}

PROMISE(a_tag_takes_its_entries_along)
{
    struct str two[] = {STR("red"), STR("round")}, tags[] = {STR("blue"), STR("red")};

    put(host, "apple", "1");
    put(host, "sky", "2");
    purge_tag(host, "green");
    assert_found(host, "apple", "red", "1");
    purge_tag(host, "red");
    assert_int_equal(look_by(host, "apple", two, 2)->result, L2_ABSENT);
    assert_found(host, "sky", "blue", "2");
    put(host, "apple", "3");
    assert_int_equal(look_by(host, "apple", two, 2)->result, L2_FOUND);
    assert_int_equal(l2_purge_tags(host->waiting, tags, 2), ERR_OK);
    assert_absent(host, "apple", "red");
    assert_absent(host, "sky", "blue");
}

PROMISE(purging_everything_leaves_nothing)
{
    put(host, "a", "1");
    put(host, "b", "2");
    assert_int_equal(l2_purge_all(host->waiting), ERR_OK);
    assert_absent(host, "a", NULL);
    assert_absent(host, "b", "tag");
    put(host, "a", "3");
    assert_found(host, "a", "tag", "3");
}

PROMISE(purged_keys_are_gone_and_counted)
{
    struct str keys[] = {STR("a"), STR("c"), STR("never")};
    size_t removed = 99;

    put(host, "a", "1");
    put(host, "b", "2");
    put(host, "c", "3");
    assert_int_equal(l2_purge_keys(host->waiting, keys, 3, &removed), ERR_OK);
    assert_int_equal(removed, 2);
    assert_absent(host, "a", NULL);
    assert_found(host, "b", NULL, "2");
    assert_absent(host, "c", NULL);
    assert_int_equal(l2_purge_keys(host->waiting, keys, 0, &removed), ERR_OK);
    assert_int_equal(removed, 0);
}

PROMISE(a_pattern_removes_what_it_matches)
{
    static const struct {
        const char *pattern;
        size_t removed;
    } cases[] = {
        {"stocks:detail:A*", 100},
        {"stocks:detail:A*", 0},
        {"stocks:detail:B?", 10},
        {"stocks:detail:B[1-3]?", 30},
        {"x\\*y", 1},
        {"xzy", 1},
        {"nothing", 0},
        {"*", 61},
    };
    char key[64];
    size_t removed;

    for (int i = 0; i < 100; i++)
        for (const char *letter = "AB"; *letter; letter++) {
            snprintf(key, sizeof(key), "stocks:detail:%c%d", *letter, i);
            put(host, key, "1");
        }
    put(host, "x*y", "1");
    put(host, "xzy", "1");
    put(host, "last", "1");
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_int_equal(l2_purge_pattern(host->waiting, str_from(cases[i].pattern), &removed), ERR_OK);
        assert_int_equal(removed, cases[i].removed);
    }
    assert_absent(host, "last", NULL);
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
    assert_int_equal(count_keys(host, "oth?r", 1, NULL, 0), 1);
    assert_int_equal(l2_purge_all(host->waiting), ERR_OK);
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
        bool stored = false;
        char text[32];

        race->found += seen->result == L2_FOUND;
        if (seen->result != L2_ABSENT)
            continue;
        snprintf(text, sizeof(text), "%llu", (unsigned long long)race->origin);
        if (turn % 3 == 0)
            nap(1);
        if (l2_fill(host->waiting, STR("raced"), str_from(text), 60000, seen->stamp, &stored) != ERR_OK)
            _exit(2);
        race->filled += stored;
    }
    _exit(0);
}

static enum err purge_somehow(struct l2 *l2, unsigned turn)
{
    size_t removed;

    switch (turn % 4) {
    case 0:
        return l2_purge_tags(l2, &STR("tag"), 1);
    case 1:
        return l2_purge_keys(l2, &STR("raced"), 1, &removed);
    case 2:
        return l2_purge_pattern(l2, STR("r?ced"), &removed);
    default:
        return l2_purge_all(l2);
    }
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
    pid_t fillers[3], purgers[2];
    int statuses[5];

    for (size_t i = 0; i < 3; i++)
        if ((fillers[i] = fork()) == 0)
            fill_on_and_on(host, race);
    for (size_t i = 0; i < 2; i++)
        if ((purgers[i] = fork()) == 0)
            purge_on_and_on(host, race);
    for (size_t i = 0; i < 2; i++)
        waitpid(purgers[i], &statuses[i], 0);
    race->over = true;
    for (size_t i = 0; i < 3; i++)
        waitpid(fillers[i], &statuses[2 + i], 0);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(statuses[i], 0);
    assert_true(race->filled > 0);
    assert_true(race->found > 0);
    munmap(race, sizeof(*race));
}

static void urls_name_their_server_without_its_secrets(void **state)
{
    static const struct {
        const char *url, *where;
    } cases[] = {
        {"", "memory:"},
        {"memory:", "memory:"},
        {"redis://localhost", "redis://localhost:6379/0"},
        {"redis://me:s%40cret@10.0.0.1:7000/3", "redis://10.0.0.1:7000/3"},
        {"redis://:p:a@ss@h/0", "redis://h:6379/0"},
        {"redis://[::1]:1234", "redis://[::1]:1234/0"},
        {"redis://[fe80::1%25eth0]/", "redis://[fe80::1%25eth0]:6379/0"},
        {"unix:///run/redis/redis.sock", "unix:///run/redis/redis.sock"},
        {"unix:/run/r%20s?db=4", "unix:///run/r%20s?db=4"},
        {"unix://me:secret@/run/r", "unix:///run/r"},
    };
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct buf why = {0}, where = {0};
        struct l2_url url;

        assert_int_equal(l2_url_parse(str_from(cases[i].url), &url, &why), ERR_OK);
        l2_url_print(&url, 0, &where);
        assert_string_equal(where.p, cases[i].where);
        l2_url_fini(&url);
        buf_free(&where);
        buf_free(&why);
    }
}

static void a_url_carries_credentials_and_a_database(void **state)
{
    struct buf why = {0};
    struct l2_url url;
    (void)state;

    assert_int_equal(l2_url_parse(STR("redis://me:s%40c%3aret@host:7000/3"), &url, &why), ERR_OK);
    assert_string_equal(url.user, "me");
    assert_string_equal(url.password, "s@c:ret");
    assert_string_equal(url.host, "host");
    assert_int_equal(url.port, 7000);
    assert_int_equal(url.database, 3);
    l2_url_fini(&url);
    assert_int_equal(l2_url_parse(STR("redis://:secret@host"), &url, &why), ERR_OK);
    assert_null(url.user);
    assert_string_equal(url.password, "secret");
    assert_int_equal(url.database, -1);
    l2_url_fini(&url);
    buf_free(&why);
}

static void a_wrong_url_is_refused_with_a_sentence(void **state)
{
    static const char *const cases[] = {
        "redis:",           "redis://",       "redis://:6379", "redis://h:0",     "redis://h:65536",
        "redis://h:x",      "redis://h/x",    "redis://h/-1",  "redis://h/65536", "redis://[::1",
        "redis://[name]",   "redis://[::1]x", "redis://a b",   "redis://me@",     "redis://%zz:x@h",
        "redis://:%00@h",   "unix:",          "unix://run/x",  "unix:relative",   "unix:///",
        "unix:///x?db=",    "unix:///x?db=a", "unix:///x?y=1", "unix:///x%00",    "memory:x",
        "rediss://secret",  "http://h",       "redis",         " memory:",        "unix://me:p@x/y",
        "redis://h:6379:1",
    };
    char path[200] = "unix:///";
    (void)state;

    memset(path + 8, 'x', sizeof(path) - 9);
    for (size_t i = 0; i <= sizeof(cases) / sizeof(*cases); i++) {
        struct buf why = {0};
        struct l2_url url;

        assert_int_equal(l2_url_parse(str_from(i < sizeof(cases) / sizeof(*cases) ? cases[i] : path), &url, &why),
                         ERR_SYNTAX);
        assert_true(why.len > 0);
        assert_null(strstr(why.p, "secret"));
        buf_free(&why);
    }
}

static void a_wrong_url_makes_no_l2(void **state)
{
    char url[] = "redis://host:port";
    struct config config = {.redis.url = url};
    struct l2_shared *shared = NULL;
    struct buf why = {0};
    (void)state;

    assert_int_equal(l2_shared_new(&config, 0, &shared, &why), ERR_SYNTAX);
    assert_null(shared);
    assert_non_null(strstr(why.p, "port"));
    buf_free(&why);
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
        cmocka_unit_test(urls_name_their_server_without_its_secrets),
        cmocka_unit_test(a_url_carries_credentials_and_a_database),
        cmocka_unit_test(a_wrong_url_is_refused_with_a_sentence),
        cmocka_unit_test(a_wrong_url_makes_no_l2),
        cmocka_unit_test(what_was_never_stored_is_absent),
        cmocka_unit_test(what_was_stored_is_found),
        cmocka_unit_test(any_bytes_can_be_keys_and_entries),
        cmocka_unit_test(an_entry_may_be_empty_or_large),
        cmocka_unit_test(an_entry_replaces_the_one_before),
        cmocka_unit_test(an_entry_ends_with_its_time),
        cmocka_unit_test(a_fill_is_refused_after_a_purge),
        cmocka_unit_test(a_tag_takes_its_entries_along),
        cmocka_unit_test(purging_everything_leaves_nothing),
        cmocka_unit_test(purged_keys_are_gone_and_counted),
        cmocka_unit_test(a_pattern_removes_what_it_matches),
        cmocka_unit_test(a_scan_finds_every_key),
        cmocka_unit_test(a_cursor_may_be_anything),
        cmocka_unit_test(a_backend_that_is_well_says_so),
        cmocka_unit_test(nothing_older_than_a_purge_is_found_after_it),
    };

    return cmocka_run_group_tests(tests, start_redis, remove_redis);
}
