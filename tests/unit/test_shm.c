/* Shared mappings, and locks whose holder may die. */
#include "base/shm.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct shared {
    struct shm_lock lock;
    unsigned count;
};

static int make(void **state)
{
    void *mapping = NULL;

    if (shm_map(sizeof(struct shared), &mapping) != ERR_OK)
        return -1;
    shm_lock_init(&((struct shared *)mapping)->lock);
    *state = mapping;
    return 0;
}

static int unmake(void **state)
{
    shm_unmap(state, sizeof(struct shared));
    return *state ? -1 : 0;
}

static int wait_for(pid_t pid)
{
    int status = -1;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* Leaves a child's grave behind: dead by SIGKILL, with the lock in hand. */
static void die_inside(struct shared *shared)
{
    pid_t pid = fork();

    if (pid == 0) {
        if (shm_lock_take(&shared->lock))
            shared->count += 100;
        shared->count++;
        raise(SIGKILL);
    }
    assert_true(WIFSIGNALED(wait_for(pid)));
}

static void a_mapping_is_clear_and_shared_with_children(void **state)
{
    struct shared *shared = *state;
    pid_t pid;

    assert_int_equal(shared->count, 0);
    pid = fork();
    if (pid == 0) {
        shared->count = 42;
        _exit(0);
    }
    wait_for(pid);
    assert_int_equal(shared->count, 42);
}

static void a_mapping_too_large_is_refused(void **state)
{
    void *mapping = NULL;

    (void)state;
    assert_int_equal(shm_map(SIZE_MAX / 2, &mapping), ERR_FULL);
    assert_null(mapping);
    shm_unmap(&mapping, 1);
}

static void an_orderly_holder_leaves_no_trace(void **state)
{
    struct shared *shared = *state;

    for (int i = 0; i < 3; i++) {
        assert_false(shm_lock_take(&shared->lock));
        shm_lock_release(&shared->lock);
    }
}

static void processes_exclude_one_another(void **state)
{
    struct shared *shared = *state;
    pid_t pids[4];

    for (int i = 0; i < 4; i++) {
        pids[i] = fork();
        if (pids[i] != 0)
            continue;
        for (int k = 0; k < 5000; k++) {
            if (shm_lock_take(&shared->lock))
                _exit(1);
            shared->count++;
            shm_lock_release(&shared->lock);
        }
        _exit(0);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(wait_for(pids[i]), 0);
    assert_int_equal(shared->count, 20000);
}

static void the_successor_of_a_killed_holder_is_told_once(void **state)
{
    struct shared *shared = *state;

    die_inside(shared);
    assert_true(shm_lock_take(&shared->lock));
    assert_int_equal(shared->count, 1);
    shared->count = 0;
    shm_lock_release(&shared->lock);
    assert_false(shm_lock_take(&shared->lock));
    shm_lock_release(&shared->lock);
}

static void a_successor_killed_too_passes_the_news_on(void **state)
{
    struct shared *shared = *state;

    die_inside(shared);
    die_inside(shared);
    assert_true(shm_lock_take(&shared->lock));
    assert_int_equal(shared->count, 102);
    shm_lock_release(&shared->lock);
}

static void whoever_waits_is_woken_by_the_death_of_the_holder(void **state)
{
    struct shared *shared = *state;
    pid_t holder, waiter;
    int held[2], status;

    assert_int_equal(pipe(held), 0);
    holder = fork();
    if (holder == 0) {
        if (!shm_lock_take(&shared->lock) && write(held[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    assert_int_equal(read(held[0], &(char){0}, 1), 1);
    waiter = fork();
    if (waiter == 0) {
        alarm(60);
        _exit(shm_lock_take(&shared->lock) ? 7 : 1);
    }
    usleep(20000);
    kill(holder, SIGKILL);
    wait_for(holder);
    status = wait_for(waiter);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    close(held[0]);
    close(held[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_mapping_is_clear_and_shared_with_children, make, unmake),
        cmocka_unit_test(a_mapping_too_large_is_refused),
        cmocka_unit_test_setup_teardown(an_orderly_holder_leaves_no_trace, make, unmake),
        cmocka_unit_test_setup_teardown(processes_exclude_one_another, make, unmake),
        cmocka_unit_test_setup_teardown(the_successor_of_a_killed_holder_is_told_once, make, unmake),
        cmocka_unit_test_setup_teardown(a_successor_killed_too_passes_the_news_on, make, unmake),
        cmocka_unit_test_setup_teardown(whoever_waits_is_woken_by_the_death_of_the_holder, make, unmake),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
