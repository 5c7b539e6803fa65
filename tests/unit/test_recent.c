/* What happened lately, in shared memory. */
#include "base/recent.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEXT_MAX = 600 };

static struct arena *arena;
static struct recent_entry entries[RECENT_MAX];

static int set_up(void **state)
{
    struct recent *recent;

    arena = arena_new(1 << 16, 1 << 20);
    if (recent_new(TEXT_MAX, &recent) != ERR_OK)
        return 1;
    *state = recent;
    return 0;
}

static int tear_down(void **state)
{
    struct recent *recent = *state;

    recent_free(&recent);
    arena_free(&arena);
    return 0;
}

static void add(struct recent *recent, uint64_t same, int64_t now_ms, const char *text)
{
    assert_true(recent_add(recent, same, now_ms, str_from(text)));
}

static size_t list(const struct recent *recent)
{
    arena_reset(arena);
    return recent_list(recent, arena, entries);
}

static void expect(size_t i, const char *text, int64_t first_ms, int64_t last_ms, uint64_t count)
{
    assert_true(str_equal(entries[i].text, str_from(text)));
    assert_int_equal(entries[i].first_ms, first_ms);
    assert_int_equal(entries[i].last_ms, last_ms);
    assert_int_equal(entries[i].count, count);
}

static void the_latest_comes_first_and_what_repeats_is_counted(void **state)
{
    struct recent *recent = *state;

    assert_int_equal(list(recent), 0);
    add(recent, 1, 100, "one");
    add(recent, 2, 200, "two");
    add(recent, 0, 300, "");
    assert_int_equal(list(recent), 3);
    expect(0, "", 300, 300, 1);
    expect(2, "one", 100, 100, 1);
    add(recent, 1, 400, "one again");
    assert_int_equal(list(recent), 3);
    expect(0, "one again", 100, 400, 2);
    expect(1, "", 300, 300, 1);
    expect(2, "two", 200, 200, 1);
}

static void the_oldest_makes_room(void **state)
{
    struct recent *recent = *state;
    char text[16];

    for (int i = 1; i <= RECENT_MAX + 2; i++) {
        snprintf(text, sizeof text, "%d", i);
        add(recent, (uint64_t)i, i, text);
        if (i == RECENT_MAX)
            add(recent, 1, i, "1"); /* the first is now the latest */
    }
    assert_int_equal(list(recent), RECENT_MAX);
    expect(0, "130", 130, 130, 1);
    expect(2, "1", 1, RECENT_MAX, 2);
    expect(RECENT_MAX - 1, "4", 4, 4, 1);
}

static void a_text_may_be_as_long_as_was_said(void **state)
{
    struct recent *recent = *state;
    char text[TEXT_MAX + 2];

    memset(text, 'x', sizeof text);
    assert_true(recent_add(recent, 1, 1, (struct str){text, TEXT_MAX}));
    assert_false(recent_add(recent, 1, 2, (struct str){text, TEXT_MAX + 1}));
    assert_int_equal(list(recent), 1);
    assert_int_equal(entries[0].text.len, TEXT_MAX);
}

/* Texts of one letter each, of a length that goes with the letter. */
static void write_on(struct recent *recent)
{
    char text[TEXT_MAX];

    for (unsigned i = 0;; i++) {
        memset(text, (int)('a' + i % 26), sizeof text);
        (void)recent_add(recent, i % (2 * RECENT_MAX), i, (struct str){text, 500 + i % 26});
    }
}

static void readers_see_whole_texts_while_others_write_and_die(void **state)
{
    struct recent *recent = *state;

    for (int round = 0; round < 20; round++) {
        pid_t writers[2];

        for (int i = 0; i < 2; i++) {
            writers[i] = fork();
            if (writers[i] == 0)
                write_on(recent);
        }
        for (int look = 0; look < 30; look++) {
            size_t count = list(recent);

            for (size_t i = 0; i < count; i++) {
                struct str text = entries[i].text;

                assert_int_equal(text.len, 500 + (size_t)(text.p[0] - 'a'));
                for (size_t at = 0; at < text.len; at++)
                    assert_int_equal(text.p[at], text.p[0]);
            }
        }
        for (int i = 0; i < 2; i++) {
            kill(writers[i], SIGKILL);
            assert_int_equal(waitpid(writers[i], NULL, 0), writers[i]);
        }
        add(recent, UINT64_MAX, round, "alive");
        assert_true(list(recent) > 0);
        assert_true(str_equal(entries[0].text, STR("alive")));
        /* For the next round's check. */
        char text[500];
        memset(text, 'a', sizeof text);
        assert_true(recent_add(recent, UINT64_MAX, round, (struct str){text, sizeof text}));
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(the_latest_comes_first_and_what_repeats_is_counted),
        CASE(the_oldest_makes_room),
        CASE(a_text_may_be_as_long_as_was_said),
        CASE(readers_see_whole_texts_while_others_write_and_die),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
