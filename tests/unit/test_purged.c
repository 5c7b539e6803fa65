/* The host's tables of purges: what covers an entry, what does not, and what holds when processes die. */
#include "cache/purged.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/shm.h"
#include "base/sys.h"

static int set_up(void **state)
{
    struct purged *purged = NULL;

    if (purged_new(false, &purged) != ERR_OK)
        return -1;
    *state = purged;
    return 0;
}

static int tear_down(void **state)
{
    struct purged *purged = *state;

    purged_free(&purged);
    purged_free(&purged);
    return purged ? -1 : 0;
}

/* An entry as whoever keeps it would. */
struct kept {
    struct str key;
    uint64_t stamp, checked;
    uint32_t places[3];
    size_t places_count;
    bool soft;
};

static struct kept keep(struct purged *purged, const char *key, const char *tag)
{
    struct kept kept = {.key = str_from(key), .stamp = purged_now(purged), .places_count = 1};

    kept.checked = kept.stamp;
    kept.places[0] = purged_key_place(kept.key);
    if (tag)
        kept.places[kept.places_count++] = purged_tag_place(str_from(tag));
    return kept;
}

static enum purged_verdict judge(struct purged *purged, struct kept *kept)
{
    enum purged_verdict verdict =
        purged_judge(purged, kept->stamp, &kept->checked, kept->key, kept->places, kept->places_count);

    kept->soft |= verdict == PURGED_SOFT;
    return verdict == PURGED_NOT && kept->soft ? PURGED_SOFT : verdict;
}

static void what_was_never_purged_is_valid(void **state)
{
    struct kept kept = keep(*state, "a", "t");

    assert_int_equal(judge(*state, &kept), PURGED_NOT);
}

enum how { KEY, TAG, ALL, PATTERN };

static void purge(struct purged *purged, enum how how, const char *what, bool soft)
{
    if (how == KEY)
        purged_key(purged, str_from(what), soft);
    else if (how == TAG)
        purged_tag(purged, str_from(what), soft);
    else if (how == PATTERN)
        purged_pattern(purged, str_from(what), soft, 0);
    else
        purged_all(purged, soft);
}

static void a_purge_covers_what_was_stamped_before_it_and_nothing_else(void **state)
{
    static const struct {
        enum how how;
        const char *what;
        bool covers;
    } table[] = {
        {KEY, "stocks:a", true},     {KEY, "stocks:b", false},    {TAG, "stocks", true},
        {TAG, "stocks:a", false},    {KEY, "stocks", false},      {ALL, "", true},
        {PATTERN, "*", true},        {PATTERN, "stocks:*", true}, {PATTERN, "stocks:[b-z]", false},
        {PATTERN, "stocks:a", true}, {PATTERN, "", false},        {PATTERN, "stocks:?", true},
    };
    struct purged *purged = *state;

    for (int soft = 0; soft < 2; soft++)
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
            enum purged_verdict expected = !table[i].covers ? PURGED_NOT : soft ? PURGED_SOFT : PURGED_HARD;
            struct kept before = keep(purged, "stocks:a", "stocks"), after;

            purge(purged, table[i].how, table[i].what, soft);
            after = keep(purged, "stocks:a", "stocks");
            /* Twice: a verdict stays. */
            assert_int_equal(judge(purged, &before), expected);
            if (expected != PURGED_HARD)
                assert_int_equal(judge(purged, &before), expected);
            assert_int_equal(judge(purged, &after), PURGED_NOT);
        }
}

static void the_harder_of_two_purges_counts(void **state)
{
    struct purged *purged = *state;

    for (enum how first = KEY; first <= PATTERN; first++)
        for (enum how second = KEY; second <= PATTERN; second++) {
            struct kept kept = keep(purged, "k", "k"), other = kept;

            purge(purged, first, "k", false);
            purge(purged, second, "k", true);
            assert_int_equal(judge(purged, &kept), PURGED_HARD);
            kept = other = keep(purged, "k", "k");
            purge(purged, first, "k", true);
            assert_int_equal(judge(purged, &other), PURGED_SOFT);
            purge(purged, second, "k", false);
            assert_int_equal(judge(purged, &kept), PURGED_HARD);
            assert_int_equal(judge(purged, &other), PURGED_HARD);
        }
}

static void every_purge_draws_a_number(void **state)
{
    struct purged *purged = *state;
    uint64_t now = purged_now(purged);

    for (enum how how = KEY; how <= PATTERN; how++) {
        purge(purged, how, "x", how % 2);
        assert_int_equal(purged_now(purged), ++now);
    }
}

static void what_was_checked_by_a_pattern_moves_on(void **state)
{
    struct purged *purged = *state;
    struct kept kept = keep(purged, "a", NULL);

    purged_pattern(purged, STR("b*"), false, 0);
    assert_int_equal(judge(purged, &kept), PURGED_NOT);
    assert_int_equal(kept.checked, purged_now(purged));
    /* Then newer bans are all there is to look at, however many came before. */
    for (int i = 0; i < 10 * PURGED_BANS; i++) {
        purged_pattern(purged, STR("b*"), i % 2, 0);
        assert_int_equal(judge(purged, &kept), PURGED_NOT);
    }
    purged_pattern(purged, STR("a*"), false, 0);
    assert_int_equal(judge(purged, &kept), PURGED_HARD);
}

static void a_pattern_that_leaves_the_ring_leaves_a_floor(void **state)
{
    struct purged *purged = *state;
    struct kept hard = keep(purged, "a", NULL), soft, inside;

    purged_pattern(purged, STR("a*"), false, 0);
    soft = keep(purged, "a", NULL);
    purged_pattern(purged, STR("a*"), true, 0);
    inside = keep(purged, "a", NULL);
    for (int i = 0; i < PURGED_BANS; i++)
        purged_pattern(purged, STR("nothing"), true, 0);
    assert_int_equal(judge(purged, &hard), PURGED_HARD);
    assert_int_equal(judge(purged, &soft), PURGED_SOFT);
    assert_int_equal(judge(purged, &inside), PURGED_NOT);
}

static void an_entry_that_nobody_asked_for_cannot_outlive_the_ring(void **state)
{
    struct purged *purged = *state;
    struct kept kept = keep(purged, "untouched", NULL);

    for (int i = 0; i < PURGED_BANS; i++)
        purged_pattern(purged, STR("nothing"), false, 0);
    assert_int_equal(judge(purged, &(struct kept){kept.key, kept.stamp, kept.stamp, {kept.places[0]}, 1, false}),
                     PURGED_NOT);
    purged_pattern(purged, STR("nothing"), false, 0);
    assert_int_equal(judge(purged, &kept), PURGED_HARD);
}

static void a_ban_told_twice_is_kept_once(void **state)
{
    struct purged *purged = *state;
    struct kept kept;

    purged_pattern(purged, STR("a*"), false, 7);
    kept = keep(purged, "a", NULL);
    purged_pattern(purged, STR("a*"), false, 7);
    assert_int_equal(judge(purged, &kept), PURGED_NOT);
    purged_pattern(purged, STR("a*"), false, 8);
    assert_int_equal(judge(purged, &kept), PURGED_HARD);
    /* Without an id each is one of its own. */
    kept = keep(purged, "a", NULL);
    purged_pattern(purged, STR("a*"), false, 0);
    assert_int_equal(judge(purged, &kept), PURGED_HARD);
}

static void a_pattern_too_long_purges_everything(void **state)
{
    struct purged *purged = *state;
    char text[PURGED_PATTERN_MAX + 1];
    struct kept kept = keep(purged, "a", NULL);

    memset(text, 'x', sizeof(text));
    purged_pattern(purged, (struct str){text, sizeof(text) - 1}, false, 0);
    assert_int_equal(judge(purged, &kept), PURGED_NOT);
    purged_pattern(purged, (struct str){text, sizeof(text)}, true, 0);
    assert_int_equal(judge(purged, &kept), PURGED_SOFT);
    purged_pattern(purged, (struct str){text, sizeof(text)}, false, 0);
    assert_int_equal(judge(purged, &kept), PURGED_HARD);
}

static void trust_lasts_two_seconds_from_the_last_word(void **state)
{
    struct purged *purged = *state, *trusted;

    assert_false(purged_current(purged, 0));
    assert_false(purged_current(purged, INT64_MAX));
    purged_confirm(purged, 10000);
    assert_true(purged_current(purged, 9990));
    assert_true(purged_current(purged, 10000));
    assert_true(purged_current(purged, 11999));
    assert_false(purged_current(purged, 12000));
    purged_confirm(purged, 12000);
    assert_true(purged_current(purged, 12000));
    purged_suspect(purged);
    assert_false(purged_current(purged, 12000));
    purged_confirm(purged, 12001);
    assert_true(purged_current(purged, 12001));

    assert_int_equal(purged_new(true, &trusted), ERR_OK);
    assert_true(purged_current(trusted, 1));
    purged_suspect(trusted);
    assert_true(purged_current(trusted, INT64_MAX));
    purged_free(&trusted);
}

/* What a writer has written, and up to which of it the purge has returned. */
struct board {
    struct purged *purged;
    _Atomic uint64_t written[4], returned[4];
    _Atomic bool over;
};

static void *write_and_purge(void *context)
{
    struct board *board = context;
    char key[16];

    for (uint64_t i = 1; i <= 4000; i++)
        for (int how = KEY; how <= PATTERN; how++) {
            snprintf(key, sizeof(key), "shared:%d", how);
            atomic_store(&board->written[how], i);
            if (how != ALL)
                purge(board->purged, (enum how)how, key, false);
            atomic_store(&board->returned[how], i);
        }
    atomic_store(&board->over, true);
    return NULL;
}

/* The content of an entry is the number on the board at its filling, read after its stamp, as a fill does. What is
 * valid must be at least what was on the board before it was judged. */
static void *read_in_turn(void *context)
{
    struct board *board = context;
    long wrong = 0;
    char key[16];

    while (!atomic_load(&board->over))
        for (int how = KEY; how <= PATTERN; how++) {
            struct kept kept;
            uint64_t content, before;

            if (how == ALL)
                continue;
            snprintf(key, sizeof(key), "shared:%d", how);
            kept = keep(board->purged, how == TAG ? "other" : key, key);
            content = atomic_load(&board->written[how]);
            for (int i = 0; i < 3; i++) {
                before = atomic_load(&board->returned[how]);
                if (judge(board->purged, &kept) != PURGED_NOT)
                    break;
                wrong += before > content;
            }
        }
    return (void *)wrong;
}

static void no_judge_passes_what_a_returned_purge_covers(void **state)
{
    static struct board board;
    pthread_t purger, readers[2];
    void *wrong;

    board.purged = *state;
    pthread_create(&purger, NULL, write_and_purge, &board);
    for (int i = 0; i < 2; i++)
        pthread_create(&readers[i], NULL, read_in_turn, &board);
    pthread_join(purger, NULL);
    for (int i = 0; i < 2; i++) {
        pthread_join(readers[i], &wrong);
        assert_null(wrong);
    }
}

/* Purges by patterns and judges by them until it is killed. */
static void ban_without_end(struct purged *purged)
{
    struct kept kept = keep(purged, "shared", NULL);

    for (;;) {
        purged_pattern(purged, STR("something:*:rather:long:[a-z]*"), false, 0);
        judge(purged, &kept);
    }
}

static void nothing_purged_comes_back_when_processes_die_in_the_middle(void **state)
{
    struct purged *purged = *state;
    unsigned seed = 1;

    for (int round = 0; round < 150; round++) {
        struct kept kept = keep(purged, "a", "t"), after;
        pid_t pid = fork();

        if (pid == 0)
            ban_without_end(purged);
        purged_pattern(purged, STR("a"), false, 0);
        nanosleep(&(struct timespec){.tv_nsec = rand_r(&seed) % 1000000}, NULL);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        assert_int_equal(judge(purged, &kept), PURGED_HARD);
        after = keep(purged, "a", "t");
        assert_int_equal(judge(purged, &after), PURGED_NOT);
        purged_pattern(purged, STR("b"), false, 0);
        assert_int_equal(judge(purged, &after), PURGED_NOT);
        purged_pattern(purged, STR("a"), false, 0);
        assert_int_equal(judge(purged, &after), PURGED_HARD);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_never_purged_is_valid, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_purge_covers_what_was_stamped_before_it_and_nothing_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_harder_of_two_purges_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_purge_draws_a_number, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_checked_by_a_pattern_moves_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_pattern_that_leaves_the_ring_leaves_a_floor, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_entry_that_nobody_asked_for_cannot_outlive_the_ring, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_ban_told_twice_is_kept_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_pattern_too_long_purges_everything, set_up, tear_down),
        cmocka_unit_test_setup_teardown(trust_lasts_two_seconds_from_the_last_word, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_judge_passes_what_a_returned_purge_covers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_purged_comes_back_when_processes_die_in_the_middle, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
