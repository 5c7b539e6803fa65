/* Rows of the outbox, and how many of their writes are left to be purged. */
#include "store_fixture.h"

#include "store/writer_shares.h"

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct writer_shares));
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static void a_row_is_whole_when_its_last_write_is_purged(void **state)
{
    struct writer_shares *shares = *state;
    int64_t ids[] = {7};

    writer_shares_set(shares, 7, 3);
    for (int left = 3; left > 0; left--) {
        assert_false(writer_shares_is_whole(shares, 7));
        assert_int_equal(writer_shares_pay(shares, ids, 1).whole, left == 1);
    }
    assert_true(writer_shares_is_whole(shares, 7));
}

static void whole_rows_come_first_and_then_unknown_ones(void **state)
{
    struct writer_shares *shares = *state;
    int64_t ids[] = {50, 1, 2, 51, 1, 3, 52, 2, 4};

    writer_shares_set(shares, 1, 2);
    writer_shares_set(shares, 2, 3);
    writer_shares_set(shares, 3, 1);
    writer_shares_set_whole(shares, 4); /* somebody else has carried it out, and told */
    struct writer_shares_paid paid = writer_shares_pay(shares, ids, sizeof ids / sizeof *ids);
    assert_int_equal(paid.whole, 2);
    assert_int_equal(ids[0] + ids[1], 1 + 3);
    assert_int_equal(paid.unknown, 3);
    assert_int_equal(ids[2] + ids[3] + ids[4], 50 + 51 + 52);
    assert_false(writer_shares_is_whole(shares, 2));
}

static void of_a_forgotten_row_something_may_be_left(void **state)
{
    struct writer_shares *shares = *state;
    int64_t ids[] = {5};

    writer_shares_set_whole(shares, 5);
    writer_shares_set(shares, 5 + WRITER_SHARES_SLOTS, 1);
    assert_false(writer_shares_is_whole(shares, 5));
    assert_int_equal(writer_shares_pay(shares, ids, 1).unknown, 1);
    writer_shares_set_whole(shares, 6);
    writer_shares_unset(shares, 6);
    assert_false(writer_shares_is_whole(shares, 6));
    writer_shares_set_whole(shares, 6);
    writer_shares_forget(shares);
    assert_false(writer_shares_is_whole(shares, 6));
    /* More than a slot can count. */
    writer_shares_set(shares, 5, 1 << 16);
    assert_int_equal(writer_shares_pay(shares, ids, 1).unknown, 1);
}

static void an_old_row_that_is_whole_does_not_take_the_slot_of_a_later_one(void **state)
{
    struct writer_shares *shares = *state;
    int64_t ids[] = {9 + WRITER_SHARES_SLOTS};

    writer_shares_set(shares, ids[0], 1);
    writer_shares_set_whole(shares, 9);
    assert_false(writer_shares_is_whole(shares, 9));
    assert_int_equal(writer_shares_pay(shares, ids, 1).whole, 1);
    /* The writer knows better: numbers may begin anew. */
    writer_shares_set(shares, 9, 1);
    writer_shares_set_whole(shares, 9);
    assert_true(writer_shares_is_whole(shares, 9));
}

static void nothing_is_known_to_begin_with(void **state)
{
    for (int64_t id = 1; id <= 2 * WRITER_SHARES_SLOTS; id++)
        assert_false(writer_shares_is_whole(*state, id));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_row_is_whole_when_its_last_write_is_purged),
        TEST(whole_rows_come_first_and_then_unknown_ones),
        TEST(of_a_forgotten_row_something_may_be_left),
        TEST(an_old_row_that_is_whole_does_not_take_the_slot_of_a_later_one),
        TEST(nothing_is_known_to_begin_with),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
