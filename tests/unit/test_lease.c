/* One filler per key on a host: who is given a lease, who waits, who is woken, and what the dead leave behind. */
#include "cache/lease.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/shm.h"
#include "base/sys.h"

enum { LIFE_MS = 10000, PROCESSES = 4, THREADS = 2, KEYS = 3, ROUNDS = 3000, PLACES_ENOUGH = 8192 };

#define NOW INT64_C(1000000)
#define KEY STR("stocks:detail:AAPL")

static int set_up(void **state)
{
    struct lease_table *table = NULL;

    if (lease_table_new(&table) != ERR_OK)
        return -1;
    *state = table;
    return 0;
}

static int tear_down(void **state)
{
    struct lease_table *table = *state;

    lease_table_free(&table);
    lease_table_free(&table);
    return table ? -1 : 0;
}

static enum lease_result take(struct lease_table *table, struct str key, int64_t now_ms, struct lease *out)
{
    return lease_take(table, key, now_ms, LIFE_MS, 0, -1, out);
}

/* Asks for a lease that is not expected to be given. */
static enum lease_result ask(struct lease_table *table, int64_t now_ms, int64_t since_ms, int worker)
{
    struct lease lease = {.place = 7, .number = 77};
    enum lease_result result = lease_take(table, KEY, now_ms, LIFE_MS, since_ms, worker, &lease);

    assert_true(result == LEASE_TAKEN || (lease.place == 7 && lease.number == 77));
    return result;
}

/* Whether WORKER has been woken since the last time. */
static bool is_woken(struct lease_table *table, int worker)
{
    uint64_t count = 0;

    return read(lease_fd(table, worker), &count, sizeof(count)) == sizeof(count) && count > 0;
}

static int wait_for(pid_t pid)
{
    int status = -1;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* A child that took KEY's lease and lives on, until it is killed. */
static pid_t start_holder(struct lease_table *table, int64_t now_ms)
{
    int ready[2];
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        struct lease lease;

        if (take(table, KEY, now_ms, &lease) == LEASE_TAKEN && write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &(char){0}, 1), 1);
    close(ready[0]);
    return pid;
}

static void bury(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_true(WIFSIGNALED(wait_for(pid)));
}

static void one_is_given_the_lease_and_the_others_are_told(void **state)
{
    struct lease lease, other;

    assert_int_equal(take(*state, KEY, NOW, &lease), LEASE_TAKEN);
    assert_int_equal(ask(*state, NOW, 0, -1), LEASE_HELD);
    assert_int_equal(ask(*state, NOW, NOW, 3), LEASE_HELD);
    assert_int_equal(take(*state, STR("another"), NOW, &other), LEASE_TAKEN);
    assert_true(lease_holds(*state, &lease, NOW));
    assert_true(lease_held(*state, KEY, NOW, -1));
    assert_int_equal(lease_count(*state, NOW), 2);
    lease_release(*state, &lease, NOW, LEASE_TAKEN);
    assert_false(lease_holds(*state, &lease, NOW));
    assert_false(lease_held(*state, KEY, NOW, -1));
    assert_true(lease_holds(*state, &other, NOW));
    assert_int_equal(lease_count(*state, NOW), 1);
    assert_int_equal(take(*state, KEY, NOW, &lease), LEASE_TAKEN);
}

static void an_empty_key_is_a_key(void **state)
{
    struct lease lease;

    assert_int_equal(take(*state, STR(""), NOW, &lease), LEASE_TAKEN);
    assert_int_equal(take(*state, STR(""), NOW, &lease), LEASE_HELD);
    assert_true(lease_held(*state, STR(""), NOW, -1));
}

static void a_lease_ends_by_itself(void **state)
{
    struct lease first, second;

    assert_int_equal(take(*state, KEY, NOW, &first), LEASE_TAKEN);
    assert_true(lease_holds(*state, &first, NOW + LIFE_MS - 1));
    assert_int_equal(ask(*state, NOW + LIFE_MS - 1, 0, -1), LEASE_HELD);
    assert_false(lease_holds(*state, &first, NOW + LIFE_MS));
    assert_false(lease_held(*state, KEY, NOW + LIFE_MS, -1));
    assert_int_equal(lease_count(*state, NOW + LIFE_MS), 0);
    assert_int_equal(take(*state, KEY, NOW + LIFE_MS, &second), LEASE_TAKEN);
    assert_false(lease_holds(*state, &first, NOW));
    assert_true(lease_holds(*state, &second, NOW + LIFE_MS));
}

static void a_lease_that_was_lost_ends_nothing(void **state)
{
    struct lease first, second;

    assert_int_equal(take(*state, KEY, NOW, &first), LEASE_TAKEN);
    assert_int_equal(take(*state, KEY, NOW + LIFE_MS, &second), LEASE_TAKEN);
    lease_release(*state, &first, NOW + LIFE_MS, LEASE_FAILED);
    assert_true(lease_holds(*state, &second, NOW + LIFE_MS));
    assert_int_equal(ask(*state, NOW + LIFE_MS, NOW, -1), LEASE_HELD);
    lease_release(*state, &second, NOW + LIFE_MS, LEASE_TAKEN);
    lease_release(*state, &second, NOW + LIFE_MS, LEASE_FAILED);
    assert_int_equal(ask(*state, NOW + LIFE_MS, NOW, -1), LEASE_TAKEN);
}

static void how_a_fill_ended_is_told_to_those_who_waited_for_it(void **state)
{
    static const struct {
        enum lease_result outcome;
        int64_t since_ms; /* relative to the end; 0: new */
        bool is_new;
        enum lease_result expected;
    } table[] = {
        {LEASE_FAILED, -500, false, LEASE_FAILED}, {LEASE_FAILED, 0, false, LEASE_FAILED},
        {LEASE_FAILED, 1, false, LEASE_TAKEN},     {LEASE_FAILED, 0, true, LEASE_TAKEN},
        {LEASE_UNKEPT, -500, false, LEASE_UNKEPT}, {LEASE_UNKEPT, 0, false, LEASE_UNKEPT},
        {LEASE_UNKEPT, 1, false, LEASE_TAKEN},     {LEASE_UNKEPT, 0, true, LEASE_TAKEN},
        {LEASE_TAKEN, -500, false, LEASE_TAKEN},   {LEASE_TAKEN, 0, true, LEASE_TAKEN},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct str key = (struct str){(const char *)&i, sizeof(i)};
        struct lease lease;

        assert_int_equal(take(*state, key, NOW - 1000, &lease), LEASE_TAKEN);
        lease_release(*state, &lease, NOW, table[i].outcome);
        for (int again = 0; again < 2; again++) {
            assert_false(lease_held(*state, key, NOW + 5, -1));
            if (again == 0 || table[i].expected != LEASE_TAKEN)
                assert_int_equal(lease_take(*state, key, NOW + 5, LIFE_MS,
                                            table[i].is_new ? 0 : NOW + table[i].since_ms, -1, &lease),
                                 table[i].expected);
            if (table[i].expected == LEASE_TAKEN)
                break;
        }
    }
}

static void whoever_comes_new_does_not_hide_how_the_fill_before_ended(void **state)
{
    struct lease lease;

    assert_int_equal(take(*state, KEY, NOW, &lease), LEASE_TAKEN);
    assert_int_equal(ask(*state, NOW + 1, 0, 5), LEASE_HELD);
    lease_release(*state, &lease, NOW + 10, LEASE_FAILED);
    assert_int_equal(take(*state, KEY, NOW + 11, &lease), LEASE_TAKEN);
    assert_int_equal(ask(*state, NOW + 12, NOW + 1, 5), LEASE_FAILED);
    assert_int_equal(ask(*state, NOW + 12, NOW + 11, 5), LEASE_HELD);
    lease_release(*state, &lease, NOW + 20, LEASE_TAKEN);
    assert_int_equal(ask(*state, NOW + 21, NOW + 1, 5), LEASE_TAKEN);
}

static void whoever_asked_later_than_the_holder_read_its_clock_is_told_too(void **state)
{
    struct lease lease;

    assert_int_equal(take(*state, KEY, NOW, &lease), LEASE_TAKEN);
    assert_int_equal(ask(*state, NOW + 11, 0, 5), LEASE_HELD);
    lease_release(*state, &lease, NOW + 10, LEASE_FAILED);
    assert_int_equal(ask(*state, NOW + 12, NOW + 11, 5), LEASE_FAILED);
}

static void those_who_wait_are_woken_and_nobody_else(void **state)
{
    static const enum lease_result outcomes[] = {LEASE_TAKEN, LEASE_UNKEPT, LEASE_FAILED};

    for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
        struct lease lease;

        assert_int_equal(take(*state, KEY, NOW, &lease), LEASE_TAKEN);
        assert_int_equal(ask(*state, NOW, 0, 0), LEASE_HELD);
        assert_int_equal(ask(*state, NOW, 0, LEASE_WORKERS_MAX - 1), LEASE_HELD);
        assert_true(lease_held(*state, KEY, NOW, 9));
        for (int worker = 0; worker < LEASE_WORKERS_MAX; worker++)
            assert_false(is_woken(*state, worker));
        lease_release(*state, &lease, NOW, outcomes[i]);
        for (int worker = 0; worker < LEASE_WORKERS_MAX; worker++)
            assert_int_equal(is_woken(*state, worker), worker == 0 || worker == 9 || worker == LEASE_WORKERS_MAX - 1);
        lease_release(*state, &lease, NOW, outcomes[i]);
        assert_false(is_woken(*state, 0));
    }
}

static void whoever_waits_for_a_lease_that_ran_out_is_woken_when_the_next_one_ends(void **state)
{
    struct lease lease;

    assert_int_equal(take(*state, KEY, NOW, &lease), LEASE_TAKEN);
    assert_int_equal(ask(*state, NOW, 0, 4), LEASE_HELD);
    assert_int_equal(take(*state, KEY, NOW + LIFE_MS, &lease), LEASE_TAKEN);
    assert_false(is_woken(*state, 4));
    lease_release(*state, &lease, NOW + LIFE_MS, LEASE_TAKEN);
    assert_true(is_woken(*state, 4));
}

static void whoever_finds_a_lease_over_wakes_the_others(void **state)
{
    struct lease lease;

    assert_int_equal(take(*state, KEY, NOW, &lease), LEASE_TAKEN);
    assert_int_equal(ask(*state, NOW, 0, 4), LEASE_HELD);
    assert_false(lease_held(*state, KEY, NOW + LIFE_MS, 5));
    assert_true(is_woken(*state, 4));
    assert_false(is_woken(*state, 5));
    assert_int_equal(ask(*state, NOW + LIFE_MS, 0, 5), LEASE_TAKEN);
}

static void workers_out_of_range_wait_without_being_woken(void **state)
{
    static const int workers[] = {-1, LEASE_WORKERS_MAX, LEASE_WORKERS_MAX + 1, 1 << 20, INT32_MIN, INT32_MAX};
    struct lease lease;

    assert_int_equal(take(*state, KEY, NOW, &lease), LEASE_TAKEN);
    for (size_t i = 0; i < sizeof(workers) / sizeof(workers[0]); i++) {
        assert_int_equal(ask(*state, NOW, 0, workers[i]), LEASE_HELD);
        assert_true(lease_held(*state, KEY, NOW, workers[i]));
        assert_int_equal(lease_fd(*state, workers[i]), -1);
    }
    lease_release(*state, &lease, NOW, LEASE_TAKEN);
    for (int worker = 0; worker < LEASE_WORKERS_MAX; worker++)
        assert_false(is_woken(*state, worker));
}

static void where_no_place_is_left_everybody_is_given_a_lease(void **state)
{
    struct lease *leases = sys_calloc(PLACES_ENOUGH, sizeof(*leases));
    struct lease again;
    unsigned placed = 0;

    for (int i = 0; i < PLACES_ENOUGH; i++) {
        assert_int_equal(take(*state, (struct str){(const char *)&i, sizeof(i)}, NOW, &leases[i]), LEASE_TAKEN);
        assert_true(lease_holds(*state, &leases[i], NOW));
        placed += leases[i].place != LEASE_NO_PLACE;
    }
    assert_in_range(placed, 1024, PLACES_ENOUGH - 1);
    assert_int_equal(lease_count(*state, NOW), placed);
    for (int i = 0; i < PLACES_ENOUGH; i++) {
        struct str key = {(const char *)&i, sizeof(i)};
        bool here = leases[i].place != LEASE_NO_PLACE;

        assert_int_equal(lease_held(*state, key, NOW, -1), here);
        assert_int_equal(take(*state, key, NOW, &again), here ? LEASE_HELD : LEASE_TAKEN);
        if (!here)
            lease_release(*state, &again, NOW, LEASE_FAILED);
        lease_release(*state, &leases[i], NOW, LEASE_UNKEPT);
    }
    assert_int_equal(lease_count(*state, NOW), 0);
    free(leases);
}

/* As many outcomes as there are places, and then other keys: nothing of the past is in their way. */
static void outcomes_make_room_for_leases_and_so_do_leases_that_ran_out(void **state)
{
    struct lease lease;

    for (int i = 0; i < PLACES_ENOUGH; i++) {
        assert_int_equal(take(*state, (struct str){(const char *)&i, sizeof(i)}, NOW, &lease), LEASE_TAKEN);
        assert_int_not_equal(lease.place, LEASE_NO_PLACE);
        lease_release(*state, &lease, NOW, LEASE_FAILED);
    }
    for (int i = 0; i < PLACES_ENOUGH; i++)
        assert_int_equal(take(*state, (struct str){(const char *)&i, sizeof(i)}, NOW, &lease), LEASE_TAKEN);
    assert_int_equal(ask(*state, NOW + LIFE_MS, 0, -1), LEASE_TAKEN);
    assert_int_equal(lease_count(*state, NOW + LIFE_MS), 1);
}

static void a_waiter_is_woken_when_its_place_is_given_to_another_key(void **state)
{
    struct lease lease;

    assert_int_equal(take(*state, KEY, NOW, &lease), LEASE_TAKEN);
    assert_int_equal(ask(*state, NOW, 0, 6), LEASE_HELD);
    for (int i = 0; i < PLACES_ENOUGH; i++)
        assert_int_equal(take(*state, (struct str){(const char *)&i, sizeof(i)}, NOW + LIFE_MS, &lease), LEASE_TAKEN);
    assert_true(is_woken(*state, 6));
}

static void the_lease_of_another_process_is_held_while_it_lives(void **state)
{
    struct lease lease;
    pid_t pid = start_holder(*state, NOW);

    assert_int_equal(ask(*state, NOW, 0, 1), LEASE_HELD);
    assert_true(lease_held(*state, KEY, NOW, 2));
    assert_int_equal(lease_count(*state, NOW), 1);
    bury(pid);
    assert_int_equal(lease_count(*state, NOW), 0);
    assert_int_equal(take(*state, KEY, NOW, &lease), LEASE_TAKEN);
    assert_int_equal(lease_count(*state, NOW), 1);
    lease_release(*state, &lease, NOW, LEASE_TAKEN);
    assert_true(is_woken(*state, 1));
    assert_true(is_woken(*state, 2));
}

static void whoever_asks_after_a_dead_holder_wakes_the_others(void **state)
{
    pid_t pid = start_holder(*state, NOW);

    assert_int_equal(ask(*state, NOW, 0, 1), LEASE_HELD);
    bury(pid);
    assert_false(lease_held(*state, KEY, NOW, 2));
    assert_true(is_woken(*state, 1));
    assert_int_equal(ask(*state, NOW, 0, 1), LEASE_TAKEN);
}

static void eventfds_are_the_same_in_every_process(void **state)
{
    struct lease lease;
    int asked[2];
    char byte = 0;
    pid_t pid;

    assert_int_equal(take(*state, KEY, NOW, &lease), LEASE_TAKEN);
    assert_int_equal(pipe(asked), 0);
    pid = fork();
    if (pid == 0) {
        struct pollfd waiting = {.fd = lease_fd(*state, 3), .events = POLLIN};

        if (ask(*state, NOW, 0, 3) != LEASE_HELD || write(asked[1], &byte, 1) != 1)
            _exit(1);
        if (poll(&waiting, 1, 60000) == 1)
            _exit(!is_woken(*state, 3) || lease_held(*state, KEY, NOW, 3));
        _exit(2);
    }
    close(asked[1]);
    assert_int_equal(read(asked[0], &byte, 1), 1);
    close(asked[0]);
    lease_release(*state, &lease, NOW, LEASE_TAKEN);
    assert_int_equal(WEXITSTATUS(wait_for(pid)), 0);
}

static void no_descriptors_left_is_an_error_and_leaves_none_open(void **state)
{
    struct rlimit before, few;
    struct lease_table *table = NULL;
    int fd;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    fd = dup(0);
    few = before;
    few.rlim_cur = (rlim_t)fd + 10;
    close(fd);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_int_equal(lease_table_new(&table), ERR_FULL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_null(table);
    assert_int_equal(dup(0), fd);
    close(fd);
}

/* What the fighters below share: how many believe to hold each key, and what they have seen. */
struct ring {
    _Atomic unsigned inside[KEYS], violations, taken;
    _Atomic bool stop;
};

struct fighter {
    struct lease_table *table;
    struct ring *ring;
    int worker;
    unsigned seed;
};

/* Takes leases again and again as a worker would: who finds one held sleeps until it is woken, and longer than the test
 * takes if it is not. */
static void *fight(void *argument)
{
    struct fighter *fighter = argument;
    struct pollfd waiting = {.fd = lease_fd(fighter->table, fighter->worker), .events = POLLIN};

    for (int i = 0; i < ROUNDS; i++) {
        uint32_t key = (uint32_t)rand_r(&fighter->seed) % KEYS;
        struct str name = {(const char *)&key, sizeof(key)};
        struct lease lease;

        while (lease_take(fighter->table, name, sys_monotonic_ms(), INT32_MAX, 0, fighter->worker, &lease) ==
               LEASE_HELD) {
            if (poll(&waiting, 1, 60000) != 1)
                atomic_fetch_add(&fighter->ring->violations, 1000000);
            (void)is_woken(fighter->table, fighter->worker);
        }
        if (atomic_fetch_add(&fighter->ring->inside[key], 1) != 0)
            atomic_fetch_add(&fighter->ring->violations, 1);
        atomic_fetch_add(&fighter->ring->taken, 1);
        if (!lease_holds(fighter->table, &lease, sys_monotonic_ms()))
            atomic_fetch_add(&fighter->ring->violations, 1);
        if (i % 64 == 0)
            usleep(100);
        atomic_fetch_sub(&fighter->ring->inside[key], 1);
        lease_release(fighter->table, &lease, sys_monotonic_ms(), i % 3 == 0 ? LEASE_FAILED : LEASE_TAKEN);
    }
    return NULL;
}

static void many_fight_and_one_holds_and_none_is_left_asleep(void **state)
{
    void *mapping = NULL;
    struct ring *ring;
    pid_t pids[PROCESSES];

    assert_int_equal(shm_map(sizeof(*ring), &mapping), ERR_OK);
    ring = mapping;
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            struct fighter fighter = {*state, ring, i, (unsigned)i + 1};

            fight(&fighter);
            _exit(0);
        }
    }
    for (int i = 0; i < PROCESSES; i++)
        assert_int_equal(wait_for(pids[i]), 0);
    assert_int_equal(ring->violations, 0);
    assert_int_equal(ring->taken, PROCESSES * ROUNDS);
    assert_int_equal(lease_count(*state, sys_monotonic_ms()), 0);
    shm_unmap(&mapping, sizeof(*ring));
}

static void threads_of_one_process_are_kept_apart_too(void **state)
{
    struct ring ring = {0};
    struct fighter fighters[THREADS];
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++) {
        fighters[i] = (struct fighter){*state, &ring, i, (unsigned)i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, fight, &fighters[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(ring.violations, 0);
    assert_int_equal(ring.taken, THREADS * ROUNDS);
    assert_int_equal(lease_count(*state, sys_monotonic_ms()), 0);
}

/* Takes and releases, and asks, until it is killed wherever it may be: with a lease, or with the table's lock. */
static void toil(struct lease_table *table)
{
    for (uint32_t i = 0;; i++) {
        uint32_t key = i % 8;
        struct str name = {(const char *)&key, sizeof(key)};
        struct lease lease;

        if (lease_take(table, name, sys_monotonic_ms(), INT32_MAX, 0, 1, &lease) != LEASE_TAKEN)
            continue;
        (void)lease_holds(table, &lease, sys_monotonic_ms());
        lease_release(table, &lease, sys_monotonic_ms(), LEASE_UNKEPT);
    }
}

static void the_killed_leave_nothing_held(void **state)
{
    for (int round = 0; round < 60; round++) {
        pid_t pids[2];

        for (int i = 0; i < 2; i++) {
            pids[i] = fork();
            if (pids[i] == 0)
                toil(*state);
        }
        usleep((useconds_t)(1000 + round * 37));
        bury(pids[0]);
        bury(pids[1]);
        assert_int_equal(lease_count(*state, sys_monotonic_ms()), 0);
        for (uint32_t key = 0; key < 8; key++) {
            struct str name = {(const char *)&key, sizeof(key)};
            struct lease lease;

            assert_int_equal(take(*state, name, sys_monotonic_ms(), &lease), LEASE_TAKEN);
            assert_true(lease_holds(*state, &lease, sys_monotonic_ms()));
            lease_release(*state, &lease, sys_monotonic_ms(), LEASE_TAKEN);
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(one_is_given_the_lease_and_the_others_are_told),
        TEST(an_empty_key_is_a_key),
        TEST(a_lease_ends_by_itself),
        TEST(a_lease_that_was_lost_ends_nothing),
        TEST(how_a_fill_ended_is_told_to_those_who_waited_for_it),
        TEST(whoever_comes_new_does_not_hide_how_the_fill_before_ended),
        TEST(whoever_asked_later_than_the_holder_read_its_clock_is_told_too),
        TEST(those_who_wait_are_woken_and_nobody_else),
        TEST(whoever_waits_for_a_lease_that_ran_out_is_woken_when_the_next_one_ends),
        TEST(whoever_finds_a_lease_over_wakes_the_others),
        TEST(workers_out_of_range_wait_without_being_woken),
        TEST(where_no_place_is_left_everybody_is_given_a_lease),
        TEST(outcomes_make_room_for_leases_and_so_do_leases_that_ran_out),
        TEST(a_waiter_is_woken_when_its_place_is_given_to_another_key),
        TEST(the_lease_of_another_process_is_held_while_it_lives),
        TEST(whoever_asks_after_a_dead_holder_wakes_the_others),
        TEST(eventfds_are_the_same_in_every_process),
        cmocka_unit_test(no_descriptors_left_is_an_error_and_leaves_none_open),
        TEST(many_fight_and_one_holds_and_none_is_left_asleep),
        TEST(threads_of_one_process_are_kept_apart_too),
        TEST(the_killed_leave_nothing_held),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
