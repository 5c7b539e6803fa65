/* The keys asked for most: what is counted, what fades, what is left out, and who counts. */
#include "cache/top.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/sys.h"

enum { BEGIN_MS = 5000000 };

struct fixture {
    struct top *top;
    struct arena *arena;
    struct top_read read;
};

static int set_up(void **state)
{
    struct fixture *it = sys_calloc(1, sizeof *it);

    *state = it;
    it->arena = arena_new(4096, 1 << 20);
    return top_new(&it->top) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *it = *state;

    top_free(&it->top);
    top_free(&it->top);
    arena_free(&it->arena);
    free(it);
    return 0;
}

static void add(struct fixture *it, const char *key, unsigned times, int64_t now_ms)
{
    for (unsigned i = 0; i < times; i++)
        top_add(it->top, str_from(key), 1, now_ms);
}

static void look(struct fixture *it, int64_t now_ms)
{
    top_read(it->top, now_ms, it->arena, &it->read);
}

static void assert_near(double value, double expected, double part)
{
    if (value < expected * (1 - part) || value > expected * (1 + part))
        fail_msg("%f is not within %f of %f", value, part, expected);
}

static void assert_key(const struct fixture *it, size_t place, const char *key)
{
    assert_true(place < it->read.count);
    assert_true(str_equal(it->read.items[place].key, str_from(key)));
}

static void nothing_asked_is_nothing_read(void **state)
{
    struct fixture *it = *state;

    look(it, BEGIN_MS);
    assert_int_equal(it->read.count, 0);
    assert_true(it->read.per_second == 0);
}

static void keys_come_in_the_order_of_their_counts(void **state)
{
    struct fixture *it = *state;

    add(it, "rare", 1, BEGIN_MS);
    add(it, "often", 50, BEGIN_MS);
    add(it, "sometimes", 10, BEGIN_MS);
    look(it, BEGIN_MS + 1000);
    assert_int_equal(it->read.count, 3);
    assert_key(it, 0, "often");
    assert_key(it, 1, "sometimes");
    assert_key(it, 2, "rare");
    assert_true(it->read.items[0].error == 0);
}

static void a_steady_rate_is_told_from_the_first_seconds_on(void **state)
{
    static const int64_t seconds[] = {2, 30, 60, 600};
    struct fixture *it = *state;
    int64_t second = 0;

    for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++) {
        for (; second < seconds[i]; second++)
            for (int64_t ms = 0; ms < 1000; ms += 50)
                add(it, "steady", 1, BEGIN_MS + second * 1000 + ms);
        look(it, BEGIN_MS + second * 1000);
        assert_near(it->read.items[0].per_second, 20, 0.02);
        assert_near(it->read.per_second, 20, 0.02);
    }
}

static void what_was_asked_long_ago_counts_less(void **state)
{
    struct fixture *it = *state;

    add(it, "then", 1000, BEGIN_MS);
    add(it, "now", 300, BEGIN_MS + 2 * TOP_HALF_LIFE_MS);
    look(it, BEGIN_MS + 2 * TOP_HALF_LIFE_MS);
    assert_key(it, 0, "now");
    assert_key(it, 1, "then");
    assert_near(it->read.items[0].per_second / it->read.items[1].per_second, 1.2, 0.001);
}

static void years_of_counting_do_not_overflow(void **state)
{
    const int64_t year_ms = INT64_C(365) * 86400 * 1000;
    struct fixture *it = *state;

    for (int64_t age_ms = 0; age_ms < 3 * year_ms; age_ms += year_ms / 100)
        add(it, age_ms < year_ms ? "old" : "new", 7, BEGIN_MS + age_ms);
    for (int64_t ms = 0; ms < 600 * 1000; ms += 100)
        add(it, "last", 1, BEGIN_MS + 3 * year_ms + ms);
    look(it, BEGIN_MS + 3 * year_ms + 600 * 1000);
    assert_key(it, 0, "last");
    assert_near(it->read.per_second, 10, 0.02);
}

static void a_flood_of_invented_keys_hides_no_frequent_one(void **state)
{
    struct fixture *it = *state;
    char key[32];

    for (unsigned i = 0; i < 50000; i++) {
        snprintf(key, sizeof key, "invented:%u", i);
        add(it, key, 1, BEGIN_MS + i / 100);
        if (i % 20 == 0)
            add(it, "real", 1, BEGIN_MS + i / 100);
    }
    look(it, BEGIN_MS + 1000);
    assert_int_equal(it->read.count, 1);
    assert_key(it, 0, "real");
    assert_true(it->read.items[0].error <= it->read.items[0].per_second / 2);
    assert_near(it->read.items[0].per_second / it->read.per_second, 1.0 / 21, 0.3);
}

static void long_keys_are_told_apart_and_cut(void **state)
{
    struct fixture *it = *state;
    char key[TOP_KEY_MAX + 20];

    memset(key, 'k', sizeof key);
    top_add(it->top, (struct str){key, TOP_KEY_MAX}, 1, BEGIN_MS);
    top_add(it->top, (struct str){key, sizeof key}, 3, BEGIN_MS);
    key[sizeof key - 1] = 'z';
    top_add(it->top, (struct str){key, sizeof key}, 2, BEGIN_MS);
    look(it, BEGIN_MS);
    assert_int_equal(it->read.count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(it->read.items[i].key.len, TOP_KEY_MAX);
        assert_int_equal(it->read.items[i].cut, i < 2);
    }
}

static void all_processes_count_in_one_table(void **state)
{
    struct fixture *it = *state;

    for (unsigned i = 0; i < 3; i++) {
        pid_t child = fork();

        if (child == 0) {
            add(it, "shared", 100, BEGIN_MS);
            _exit(0);
        }
        assert_true(child > 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        int status;

        assert_true(wait(&status) > 0 && status == 0);
    }
    look(it, BEGIN_MS + 1000);
    assert_near(it->read.items[0].per_second, 300, 0.02);
}

/* The rate that the table has after PER_SECOND requests a second for 30 seconds, with a key that is every fourth. */
static void drive(struct fixture *it, struct top_sampler *sampler, unsigned per_second)
{
    for (unsigned i = 0; i < 30 * per_second; i++)
        top_count(sampler, i % 4 == 0 ? STR("fourth") : STR("others"), BEGIN_MS + (int64_t)i * 1000 / per_second);
    look(it, BEGIN_MS + 30000);
}

static void who_is_asked_now_and_then_counts_everything(void **state)
{
    struct fixture *it = *state;
    struct top_sampler sampler;

    top_sampler_init(&sampler, it->top, 7);
    drive(it, &sampler, 4);
    assert_int_equal(sampler.gap, 1);
    assert_near(it->read.per_second, 4, 0.02);
    assert_key(it, 1, "fourth");
    assert_near(it->read.items[1].per_second, 1, 0.05);
}

static void who_is_busy_counts_one_in_many_and_is_right_on_average(void **state)
{
    struct fixture *it = *state;
    struct top_sampler sampler;

    top_sampler_init(&sampler, it->top, 7);
    drive(it, &sampler, 20000);
    assert_int_equal(sampler.gap, TOP_GAP_MAX);
    assert_near(it->read.per_second, 20000, 0.05);
    assert_key(it, 1, "fourth");
    assert_near(it->read.items[1].per_second, 5000, 0.1);
}

static void who_becomes_quiet_counts_everything_again(void **state)
{
    struct fixture *it = *state;
    struct top_sampler sampler;

    top_sampler_init(&sampler, it->top, 7);
    drive(it, &sampler, 20000);
    top_rest(&sampler, BEGIN_MS + 30100);
    assert_int_equal(sampler.gap, TOP_GAP_MAX);
    top_rest(&sampler, BEGIN_MS + 32000);
    top_count(&sampler, STR("quiet"), BEGIN_MS + 900000);
    look(it, BEGIN_MS + 900000);
    assert_key(it, 0, "others");
    for (unsigned i = 1; i < 30; i++)
        top_count(&sampler, STR("quiet"), BEGIN_MS + 900000 + i * 1000);
    assert_int_equal(sampler.gap, 1);
    look(it, BEGIN_MS + 930000);
    for (size_t i = 0; i < it->read.count; i++)
        if (str_equal(it->read.items[i].key, STR("quiet")))
            return;
    fail_msg("what the quiet thread was asked for is not there");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_asked_is_nothing_read),
        TEST(keys_come_in_the_order_of_their_counts),
        TEST(a_steady_rate_is_told_from_the_first_seconds_on),
        TEST(what_was_asked_long_ago_counts_less),
        TEST(years_of_counting_do_not_overflow),
        TEST(a_flood_of_invented_keys_hides_no_frequent_one),
        TEST(long_keys_are_told_apart_and_cut),
        TEST(all_processes_count_in_one_table),
        TEST(who_is_asked_now_and_then_counts_everything),
        TEST(who_is_busy_counts_one_in_many_and_is_right_on_average),
        TEST(who_becomes_quiet_counts_everything_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
