/* What is pending: covered from its acceptance until it is settled, by key, tag, pattern and everything. */
#include "store_fixture.h"

#include "store/outbox.h"
#include "store/writer_pending.h"

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct writer_pending));
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static void add(struct writer_pending *pending, const char *item, uint64_t number)
{
    const struct str items[] = {str_from(item)};
    struct buf bytes = {0};

    outbox_encode(items, 1, &bytes);
    writer_pending_add(pending, buf_str(&bytes), number);
    buf_free(&bytes);
}

static uint64_t before(const struct writer_pending *pending, const char *item)
{
    const struct str items[] = {str_from(item)};
    struct buf bytes = {0};

    outbox_encode(items, 1, &bytes);
    uint64_t number = writer_pending_before(pending, buf_str(&bytes));
    buf_free(&bytes);
    return number;
}

/* The number that covers KEY with TAG. */
static uint64_t covers(const struct writer_pending *pending, const char *key, const char *tag)
{
    const struct str tags[] = {str_from(tag)};

    return writer_pending_covers(pending, str_from(key), tags, 1);
}

static void settle(struct writer_pending *pending)
{
    int64_t outbox_id;

    writer_pending_settle(pending, writer_pending_to_settle(pending, &outbox_id));
}

static void nothing_is_pending_to_begin_with(void **state)
{
    const struct writer_pending *pending = *state;

    assert_false(writer_pending_any(pending));
    assert_int_equal(covers(pending, "a", "t"), 0);
    assert_int_equal(before(pending, "key:a"), 0);
    assert_int_equal(writer_pending_depth(pending), 0);
    assert_true(writer_pending_await(pending, 0, 0));
}

static void a_write_covers_what_it_purges_until_it_is_settled(void **state)
{
    struct writer_pending *pending = *state;

    add(pending, "key:a", 101);
    add(pending, "tag:t", 102);
    assert_true(writer_pending_any(pending));
    assert_int_equal(covers(pending, "a", "u"), 101);
    assert_int_equal(covers(pending, "b", "t"), 102);
    assert_int_equal(covers(pending, "a", "t"), 102);
    assert_int_equal(covers(pending, "b", "u"), 0);
    writer_pending_applied(pending, 101, 7);
    /* Its purges have not been carried out: the caches may hold what was. */
    assert_int_equal(covers(pending, "a", "u"), 101);
    settle(pending);
    assert_int_equal(covers(pending, "a", "u"), 0);
    assert_int_equal(covers(pending, "b", "t"), 102);
    assert_true(writer_pending_any(pending));
    writer_pending_applied(pending, 102, 8);
    settle(pending);
    assert_false(writer_pending_any(pending));
    assert_int_equal(covers(pending, "b", "t"), 0);
}

static void a_key_is_no_tag(void **state)
{
    struct writer_pending *pending = *state;

    add(pending, "key:same", 101);
    assert_int_equal(covers(pending, "other", "same"), 0);
    add(pending, "tag:like", 102);
    assert_int_equal(covers(pending, "like", "other"), 0);
}

static void patterns_and_all_cover_everything(void **state)
{
    static const char *const items[] = {"pattern:stocks:*", "all:*", "something else"};
    struct writer_pending *pending = *state;

    for (size_t i = 0; i < sizeof items / sizeof *items; i++) {
        add(pending, items[i], 101 + i);
        assert_int_equal(covers(pending, "whatever", "any"), 101 + i);
        assert_int_equal(writer_pending_covers(pending, STR("k"), NULL, 0), 101 + i);
        writer_pending_applied(pending, 101 + i, 0);
        settle(pending);
        assert_int_equal(covers(pending, "whatever", "any"), 0);
    }
}

static void what_comes_before_a_write_is_what_purges_the_same_and_is_not_applied(void **state)
{
    struct writer_pending *pending = *state;

    add(pending, "key:a", 101);
    add(pending, "key:b", 102);
    assert_int_equal(before(pending, "key:a"), 101);
    assert_int_equal(before(pending, "key:b"), 102);
    assert_int_equal(before(pending, "key:c"), 0);
    assert_int_equal(before(pending, "tag:a"), 0);
    assert_int_equal(before(pending, "pattern:*"), 102);
    add(pending, "pattern:x*", 103);
    assert_int_equal(before(pending, "key:c"), 103);
    writer_pending_applied(pending, 102, 0);
    assert_int_equal(before(pending, "key:a"), 103);
    writer_pending_applied(pending, 103, 0);
    assert_int_equal(before(pending, "key:a"), 0);
    assert_int_equal(before(pending, "all:*"), 0);
}

static void entries_that_share_a_slot_are_covered_together(void **state)
{
    struct writer_pending *pending = *state;
    char name[32];
    size_t covered = 0;

    /* More keys than slots: each is covered by its own number or a later one. */
    for (unsigned i = 1; i <= 3 * WRITER_PENDING_SLOTS; i++) {
        snprintf(name, sizeof name, "key:%u", i);
        add(pending, name, i);
    }
    for (unsigned i = 1; i <= 3 * WRITER_PENDING_SLOTS; i++) {
        snprintf(name, sizeof name, "%u", i);
        uint64_t number = covers(pending, name, "none");
        assert_true(number == 0 || number >= i);
        covered += number > 0;
    }
    assert_int_equal(covered, 3 * WRITER_PENDING_SLOTS);
}

static void the_row_to_wait_for_is_never_an_earlier_numbers(void **state)
{
    struct writer_pending *pending = *state;
    int64_t outbox_id;

    add(pending, "key:a", 101);
    writer_pending_applied(pending, 101, 5);
    assert_int_equal(writer_pending_to_settle(pending, &outbox_id), 101);
    assert_int_equal(outbox_id, 5);
    writer_pending_settle(pending, 101);
    /* Late word of what was settled before takes nothing back. */
    writer_pending_settle(pending, 50);
    assert_false(writer_pending_any(pending));
}

static void whoever_waits_goes_on_when_it_is_applied_or_stalled(void **state)
{
    struct writer_pending *pending = *state;

    add(pending, "key:a", 101);
    add(pending, "key:b", 102);
    assert_int_equal(writer_pending_depth(pending), 102);
    writer_pending_applied(pending, 101, 1);
    assert_int_equal(writer_pending_depth(pending), 1);
    assert_true(writer_pending_await(pending, 101, 0));
    assert_false(writer_pending_await(pending, 102, 5));
    atomic_store(&pending->stalled, true);
    assert_false(writer_pending_await(pending, 102, 3600000));
    assert_true(writer_pending_await(pending, 101, 0));
    writer_pending_applied(pending, 102, 2);
    assert_false(atomic_load(&pending->stalled));
    assert_true(writer_pending_await(pending, 102, 0));
    assert_int_equal(writer_pending_depth(pending), 0);
}

enum { MODEL_KEYS = 12, MODEL_STEPS = 20000 };

/* What a history has come to, told in full: for each key, and tag, the highest number. */
struct model {
    uint64_t keys[MODEL_KEYS], tags[MODEL_KEYS], everything, accepted, applied, settled;
};

static uint64_t higher(uint64_t first, uint64_t second)
{
    return first > second ? first : second;
}

static void step(struct model *model, struct writer_pending *pending, unsigned *seed)
{
    const unsigned what = (unsigned)rand_r(seed) % 10, which = (unsigned)rand_r(seed) % MODEL_KEYS;
    const uint64_t number = model->accepted + 1;
    char item[32];

    if (what < 5) {
        snprintf(item, sizeof item, "%s:%u", what < 2 ? "key" : what < 4 ? "tag" : "pattern", which);
        add(pending, item, number);
        model->accepted = number;
        *(what < 2 ? &model->keys[which] : what < 4 ? &model->tags[which] : &model->everything) = number;
    } else if (what < 8 && model->applied < model->accepted) {
        model->applied += 1 + (uint64_t)rand_r(seed) % (model->accepted - model->applied);
        writer_pending_applied(pending, model->applied, (int64_t)model->applied);
    } else {
        model->settled = model->applied;
        settle(pending);
    }
}

static void no_history_lets_a_pending_write_be_overlooked(void **state)
{
    for (unsigned run = 1; run <= 5; run++) {
        struct writer_pending *pending = *state;
        struct model model = {.accepted = 0};
        unsigned seed = run;

        memset(pending, 0, sizeof *pending);
        for (int i = 0; i < MODEL_STEPS; i++) {
            char key[16], tag[16];
            const unsigned k = (unsigned)rand_r(&seed) % MODEL_KEYS, t = (unsigned)rand_r(&seed) % MODEL_KEYS;
            step(&model, pending, &seed);
            snprintf(key, sizeof key, "%u", k);
            snprintf(tag, sizeof tag, "%u", t);
            uint64_t wanted = higher(model.everything, higher(model.keys[k], model.tags[t]));
            assert_int_equal(covers(pending, key, tag), wanted > model.settled ? wanted : 0);
            assert_int_equal(writer_pending_any(pending), model.accepted > model.settled);
            assert_int_equal(writer_pending_depth(pending), model.accepted - model.applied);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_pending_to_begin_with),
        TEST(a_write_covers_what_it_purges_until_it_is_settled),
        TEST(a_key_is_no_tag),
        TEST(patterns_and_all_cover_everything),
        TEST(what_comes_before_a_write_is_what_purges_the_same_and_is_not_applied),
        TEST(entries_that_share_a_slot_are_covered_together),
        TEST(the_row_to_wait_for_is_never_an_earlier_numbers),
        TEST(whoever_waits_goes_on_when_it_is_applied_or_stalled),
        TEST(no_history_lets_a_pending_write_be_overlooked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
