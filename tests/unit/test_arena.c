/* The memory of one request. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void what_is_taken_is_aligned_and_apart(void **state)
{
    struct arena *arena = arena_new(256, 1 << 20);
    char *taken[200];

    (void)state;
    for (size_t i = 0; i < 200; i++) {
        taken[i] = arena_alloc(arena, i + 1);
        assert_non_null(taken[i]);
        assert_int_equal((uintptr_t)taken[i] % _Alignof(max_align_t), 0);
        memset(taken[i], (int)i, i + 1);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t k = 0; k <= i; k++)
            assert_int_equal((unsigned char)taken[i][k], i);
    assert_true(arena_used(arena) >= 200 * 201 / 2);
    assert_false(arena_overflowed(arena));
    arena_free(&arena);
    assert_null(arena);
    arena_free(&arena);
}

static void the_limit_can_be_used_to_its_last_byte(void **state)
{
    struct arena *arena = arena_new(100, 300);

    (void)state;
    assert_non_null(arena_alloc(arena, 100));
    assert_non_null(arena_alloc(arena, 200));
    assert_false(arena_overflowed(arena));
    assert_null(arena_alloc(arena, 1));
    assert_true(arena_overflowed(arena));
    arena_free(&arena);
}

static void an_overflow_is_latched_until_reset(void **state)
{
    struct arena *arena = arena_new(64, 1024);
    struct buf buf = {0};

    (void)state;
    assert_null(arena_alloc(arena, 4096));
    assert_true(arena_overflowed(arena));
    assert_null(arena_alloc(arena, 1));
    assert_null(arena_calloc(arena, 1, 1));
    assert_int_equal(arena_copy(arena, STR("text")).len, 0);
    assert_int_equal(arena_printf(arena, "%d", 7).len, 0);
    buf_add_str(&buf, STR("owned"));
    assert_int_equal(arena_take_buf(arena, &buf).len, 0);
    assert_null(buf.p);
    arena_reset(arena);
    assert_false(arena_overflowed(arena));
    assert_int_equal(arena_used(arena), 0);
    assert_non_null(arena_alloc(arena, 1024 - 64));
    arena_free(&arena);
}

static void impossible_sizes_overflow_instead_of_wrapping(void **state)
{
    static const size_t sizes[][2] = {{SIZE_MAX, 1}, {SIZE_MAX / 2, 3}, {SIZE_MAX / 16 + 1, 16}, {SIZE_MAX - 8, 1}};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        struct arena *arena = arena_new(64, SIZE_MAX);

        assert_null(arena_calloc(arena, sizes[i][0], sizes[i][1]));
        assert_true(arena_overflowed(arena));
        arena_free(&arena);
    }
}

static void cleared_memory_is_clear_even_when_used_before(void **state)
{
    struct arena *arena = arena_new(4096, 4096);
    const char *p;

    (void)state;
    memset(arena_alloc(arena, 4096), 0xff, 4096);
    arena_reset(arena);
    p = arena_calloc(arena, 64, 64);
    for (size_t i = 0; i < 4096; i++)
        assert_int_equal(p[i], 0);
    arena_free(&arena);
}

static void a_reset_gives_the_first_chunk_again(void **state)
{
    struct arena *arena = arena_new(256, 1 << 16);
    void *first = arena_alloc(arena, 16);

    (void)state;
    for (int i = 0; i < 100; i++)
        assert_non_null(arena_alloc(arena, 500));
    arena_reset(arena);
    assert_ptr_equal(arena_alloc(arena, 16), first);
    arena_free(&arena);
}

static void copies_are_terminated_and_independent(void **state)
{
    struct arena *arena = arena_new(256, 4096);
    char source[] = "source";
    struct str copy = arena_copy(arena, str_from(source));
    struct str empty = arena_copy(arena, (struct str){NULL, 0});
    struct str printed = arena_printf(arena, "%s-%03d", "key", 7);
    struct buf buf = {0};
    struct str taken;

    (void)state;
    source[0] = 'X';
    assert_string_equal(copy.p, "source");
    assert_int_equal(copy.len, 6);
    assert_string_equal(empty.p, "");
    assert_string_equal(printed.p, "key-007");
    assert_int_equal(printed.len, 7);
    buf_printf(&buf, "moved");
    taken = arena_take_buf(arena, &buf);
    assert_string_equal(taken.p, "moved");
    assert_null(buf.p);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_taken_is_aligned_and_apart),
        cmocka_unit_test(the_limit_can_be_used_to_its_last_byte),
        cmocka_unit_test(an_overflow_is_latched_until_reset),
        cmocka_unit_test(impossible_sizes_overflow_instead_of_wrapping),
        cmocka_unit_test(cleared_memory_is_clear_even_when_used_before),
        cmocka_unit_test(a_reset_gives_the_first_chunk_again),
        cmocka_unit_test(copies_are_terminated_and_independent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
