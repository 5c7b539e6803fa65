/* Copies in front: which of them are old, and what becomes of the files of nginx's cache. */
#include "cache/front.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/sys.h"
#include "cache/purge.h"
#include "cache_fixture.h"

static const struct str tags[] = {{"books", 5}, {"author:Knuth", 12}};

static struct str mark_of(struct fixture *fixture, const char *key, uint64_t stamp)
{
    struct cache_ask ask = fixture_ask(fixture, key);

    ask.tags = tags;
    ask.tags_count = 2;
    return front_mark(fixture->cache, &ask, stamp, fixture->arena);
}

static struct str mark_now(struct fixture *fixture, const char *key)
{
    return mark_of(fixture, key, purged_now(fixture->shared->purged));
}

static void purge(struct fixture *fixture, const char *item, bool soft)
{
    const struct str text = str_from(item);
    struct purge_result result;

    assert_int_equal(purge_items(fixture->cache, &text, 1, soft, &result), ERR_OK);
}

static bool is_old_after(struct fixture *fixture, const char *item, bool soft)
{
    const struct str mark = mark_now(fixture, "books:list:1");

    assert_true(mark.len > 0);
    assert_false(front_is_old(fixture->shared->purged, mark));
    purge(fixture, item, soft);
    return front_is_old(fixture->shared->purged, mark);
}

static void a_copy_is_old_by_any_purge_that_covers_it(void **state)
{
    assert_true(is_old_after(*state, "key:books:list:1", false));
    assert_true(is_old_after(*state, "tag:author:Knuth", false));
    assert_true(is_old_after(*state, "pattern:books:*:1", false));
    assert_true(is_old_after(*state, "all:*", false));
    assert_true(is_old_after(*state, "tag:books", true));
    assert_false(is_old_after(*state, "key:books:list:2", false));
    assert_false(is_old_after(*state, "tag:author:Abelson", false));
    assert_false(is_old_after(*state, "pattern:book:*", false));
}

static void what_was_purged_while_it_was_read_gets_no_mark(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t stamp = purged_now(fixture->shared->purged);

    purge(fixture, "tag:books", false);
    assert_int_equal(mark_of(fixture, "books:list:1", stamp).len, 0);
}

static void a_key_that_no_head_has_room_for_gets_no_mark(void **state)
{
    char key[4500];

    memset(key, 'k', sizeof key);
    key[4000] = '\0';
    assert_true(mark_now(*state, key).len > 4000);
    key[4000] = 'k';
    key[4400] = '\0';
    assert_int_equal(mark_now(*state, key).len, 0);
}

static void a_mark_of_other_tables_or_of_no_sense_is_old(void **state)
{
    static const char *const nonsense[] = {"", " ", "1", "1.2.3", "x.1.1 k", "1..1 k", "11111111111111111.1.1 k"};
    struct fixture *fixture = *state;
    struct purged *other;
    const struct str mark = mark_now(fixture, "k");

    assert_int_equal(purged_new(true, &other), ERR_OK);
    assert_true(front_is_old(other, mark));
    purged_free(&other);
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++)
        assert_true(front_is_old(fixture->shared->purged, str_from(nonsense[i])));
    const struct str far = arena_printf(fixture->arena, "%.*s", STR_ARG(mark));
    const char *blank = memchr(far.p, ' ', far.len);
    assert_true(front_is_old(fixture->shared->purged,
                             arena_printf(fixture->arena, "%.*s.10000 k", (int)(blank - far.p), far.p)));
}

/* nginx's cache below a directory of its own. */
struct files {
    char root[32];
    struct front *front;
};

static char *path_of(struct fixture *fixture, const struct files *files, const char *name)
{
    return (char *)(uintptr_t)arena_printf(fixture->arena, "%s/%s%c", files->root, name, 0).p;
}

static bool exists(struct fixture *fixture, const struct files *files, const char *name)
{
    return access(path_of(fixture, files, name), F_OK) == 0;
}

/* A file as nginx makes it, with MARK unless it is empty. */
static void put_file(struct fixture *fixture, const struct files *files, const char *name, struct str mark)
{
    FILE *file = fopen(path_of(fixture, files, name), "w");

    assert_non_null(file);
    fprintf(file, "%c\5binary\nKEY:  http://x/api/books\n%cContent-Type: application/json\r\n", 0, 1);
    if (mark.len > 0)
        fprintf(file, "X-Larder-Entry: %.*s\r\n", STR_ARG(mark));
    fprintf(file, "Age: 1\r\n\r\n\nX-Larder-Entry: nothing\r\n\r\n");
    fclose(file);
}

static void walk(struct files *files)
{
    /* Long after whatever was to be repeated. */
    const int64_t now_ms = sys_monotonic_ms() + 3600000;

    while (front_step(files->front, now_ms))
        ;
}

#define NAME_A "0123456789abcdef0123456789abcde0"
#define NAME_B "0123456789abcdef0123456789abcde1"

static void open_files(struct fixture *fixture, struct files *files)
{
    strcpy(files->root, "/tmp/larder-front-XXXXXX");
    assert_non_null(mkdtemp(files->root));
    assert_int_equal(mkdir(path_of(fixture, files, "c"), 0700), 0);
    assert_int_equal(mkdir(path_of(fixture, files, "c/2b"), 0700), 0);
    files->front = front_new(files->root, fixture->shared->purged);
    assert_non_null(files->front);
}

static void close_files(struct files *files)
{
    char command[64];

    front_free(&files->front);
    snprintf(command, sizeof command, "rm -r %s", files->root);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a path of our own making */
}

static void files_that_a_purge_covers_are_removed_and_no_others(void **state)
{
    struct fixture *fixture = *state;
    struct files files;

    open_files(fixture, &files);
    put_file(fixture, &files, NAME_A, mark_now(fixture, "a"));
    put_file(fixture, &files, "c/2b/" NAME_B, mark_now(fixture, "b"));
    put_file(fixture, &files, "c/" NAME_A, STR(""));
    put_file(fixture, &files, "c/" NAME_A ".0000000001", STR("0.0 nonsense"));
    put_file(fixture, &files, "c/" NAME_B, STR("0.0 of an earlier start"));
    walk(&files);
    assert_true(exists(fixture, &files, NAME_A));
    assert_true(exists(fixture, &files, "c/2b/" NAME_B));
    assert_true(exists(fixture, &files, "c/" NAME_A));
    assert_true(exists(fixture, &files, "c/" NAME_A ".0000000001"));
    assert_false(exists(fixture, &files, "c/" NAME_B));

    purge(fixture, "key:b", false);
    front_free(&files.front);
    files.front = front_new(files.root, fixture->shared->purged);
    walk(&files);
    assert_true(exists(fixture, &files, NAME_A));
    assert_false(exists(fixture, &files, "c/2b/" NAME_B));
    close_files(&files);
}

/* Whether the file begins with a version, as nginx reads it. */
static bool has_version(int fd)
{
    static const uint64_t none;
    uint64_t start;

    assert_int_equal(pread(fd, &start, sizeof start, 0), sizeof start);
    return memcmp(&start, &none, sizeof none) != 0;
}

static void a_file_that_nginx_has_open_is_made_invalid_too(void **state)
{
    struct fixture *fixture = *state;
    struct files files;

    open_files(fixture, &files);
    put_file(fixture, &files, NAME_A, mark_now(fixture, "a"));
    put_file(fixture, &files, NAME_B, mark_now(fixture, "b"));
    const int a = open(path_of(fixture, &files, NAME_A), O_RDONLY);
    const int b = open(path_of(fixture, &files, NAME_B), O_RDONLY);
    purge(fixture, "key:b", false);
    walk(&files);
    assert_true(has_version(a));
    assert_false(has_version(b));
    assert_false(exists(fixture, &files, NAME_B));
    close(a);
    close(b);
    close_files(&files);
}

static void a_file_that_comes_a_moment_after_the_purge_is_removed_too(void **state)
{
    struct fixture *fixture = *state;
    struct files files;
    int64_t now_ms = 1000;

    open_files(fixture, &files);
    const struct str mark = mark_now(fixture, "a");
    purge(fixture, "key:a", false);
    assert_false(front_step(files.front, now_ms));
    put_file(fixture, &files, NAME_A, mark);
    assert_false(front_step(files.front, now_ms += 1));
    assert_true(exists(fixture, &files, NAME_A));
    /* A walk may have taken its time, and the rest after it is as long. */
    for (; exists(fixture, &files, NAME_A) && now_ms < 1250; now_ms += 5)
        front_step(files.front, now_ms);
    assert_false(exists(fixture, &files, NAME_A));
    /* And then there is calm until the next purge. */
    now_ms = 100000;
    front_step(files.front, now_ms);
    put_file(fixture, &files, NAME_A, mark);
    assert_false(front_step(files.front, now_ms += 1000));
    assert_true(exists(fixture, &files, NAME_A));
    close_files(&files);
}

static void many_files_are_judged_a_few_at_a_time(void **state)
{
    struct fixture *fixture = *state;
    struct files files;
    char name[64];
    unsigned steps = 0;

    open_files(fixture, &files);
    for (unsigned i = 0; i < 250; i++) {
        snprintf(name, sizeof name, "%032x", i);
        put_file(fixture, &files, name, STR("0.0 old"));
    }
    for (steps = 1; front_step(files.front, 1000); steps++)
        ;
    assert_in_range(steps, 3, 10);
    assert_false(exists(fixture, &files, name));
    close_files(&files);
}

static void nothing_happens_without_a_path_or_before_nginx_has_made_it(void **state)
{
    struct fixture *fixture = *state;
    struct front *front = front_new("", fixture->shared->purged);

    assert_null(front);
    assert_false(front_step(front, 1));
    front_free(&front);
    front = front_new("/tmp/there/is/no/such", fixture->shared->purged);
    assert_false(front_step(front, 1));
    front_free(&front);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_copy_is_old_by_any_purge_that_covers_it, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(what_was_purged_while_it_was_read_gets_no_mark, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_key_that_no_head_has_room_for_gets_no_mark, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_mark_of_other_tables_or_of_no_sense_is_old, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(files_that_a_purge_covers_are_removed_and_no_others, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_file_that_nginx_has_open_is_made_invalid_too, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_file_that_comes_a_moment_after_the_purge_is_removed_too, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(many_files_are_judged_a_few_at_a_time, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(nothing_happens_without_a_path_or_before_nginx_has_made_it, fixture_setup,
                                        fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
