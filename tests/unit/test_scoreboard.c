/* The scoreboard: what a process and its threads say of themselves, as another process reads it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/scoreboard.h"
#include "base/sys.h"

static int make(void **state)
{
    struct scoreboard *scoreboard;

    if (scoreboard_new(&scoreboard) != ERR_OK)
        return -1;
    *state = scoreboard;
    return 0;
}

static int unmake(void **state)
{
    struct scoreboard *scoreboard = *state;

    scoreboard_free(&scoreboard);
    assert_null(scoreboard);
    return 0;
}

/* A row as a worker would have it. */
static struct scoreboard_process *add_worker(struct scoreboard *scoreboard, unsigned number, int pid, unsigned busy)
{
    struct scoreboard_process *process = &scoreboard->processes[number];

    scoreboard_open(process, "worker", 1000);
    atomic_store(&process->pid, pid);
    atomic_store(&process->state, SCOREBOARD_RUNNING);
    scoreboard_show(process, 10 * number, 3, busy, 0);
    return process;
}

static void begin(struct scoreboard_thread *thread, const char *what)
{
    snprintf(thread->what, sizeof thread->what, "%s", what);
    scoreboard_begin(thread);
}

static void a_thread_says_what_it_works_on_and_how_far_it_is(void **state)
{
    struct scoreboard_thread *thread = &((struct scoreboard *)*state)->processes[7].pool[3];
    struct scoreboard_work work;

    assert_false(scoreboard_look(thread, sys_monotonic_ms(), &work));
    int64_t before_ms = sys_monotonic_ms();
    begin(thread, "GET /api/slow");
    int64_t now_ms = sys_monotonic_ms();
    assert_true(scoreboard_look(thread, now_ms + 500, &work));
    assert_string_equal(work.what, "GET /api/slow");
    assert_string_equal(work.phase, "start");
    assert_string_equal(work.resource, "");
    assert_in_range(work.for_ms, 500, now_ms - before_ms + 500);
    scoreboard_resource(thread, STR("slow"));
    usleep(5000);
    scoreboard_phase(thread, SCOREBOARD_STATEMENT);
    assert_true(scoreboard_look(thread, now_ms + 500, &work));
    assert_string_equal(work.resource, "slow");
    assert_string_equal(work.phase, "statement");
    assert_true(work.phase_ms < work.for_ms);
    scoreboard_end(thread);
    assert_false(scoreboard_look(thread, now_ms, &work));
    begin(thread, "GET /api/other");
    assert_true(scoreboard_look(thread, sys_monotonic_ms(), &work));
    assert_string_equal(work.resource, "");
    scoreboard_resource(NULL, STR("nobody looks"));
    scoreboard_phase(NULL, SCOREBOARD_FILL);
}

static void what_is_too_long_is_cut(void **state)
{
    struct scoreboard_thread *thread = &((struct scoreboard *)*state)->processes[0].event;
    char path[4 * SCOREBOARD_WHAT_MAX];
    struct scoreboard_work work;

    memset(path, 'a', sizeof path);
    begin(thread, "");
    scoreboard_event_begin(thread, (struct str){path, sizeof path});
    scoreboard_resource(thread, (struct str){path, sizeof path});
    assert_true(scoreboard_look(thread, sys_monotonic_ms(), &work));
    assert_int_equal(strlen(work.what), SCOREBOARD_WHAT_MAX - 1);
    assert_int_equal(strlen(work.resource), SCOREBOARD_NAME_MAX - 1);
    scoreboard_event_end(thread);
    assert_true(scoreboard_look(thread, sys_monotonic_ms(), &work));
    assert_string_equal(work.what, "");
}

static void the_thread_that_has_worked_longest_is_found(void **state)
{
    struct scoreboard_process *process = &((struct scoreboard *)*state)->processes[0];
    struct scoreboard_work work;

    assert_false(scoreboard_look_longest(process, 1, &work));
    begin(&process->pool[1], "younger");
    begin(&process->pool[2], "older");
    atomic_store(&process->pool[2].since_ms, 1);
    assert_true(scoreboard_look_longest(process, sys_monotonic_ms(), &work));
    assert_string_equal(work.what, "older");
    assert_int_equal(scoreboard_threads_busy(process), 2);
}

static void the_processes_of_a_role_are_added_up(void **state)
{
    struct scoreboard *scoreboard = *state;
    struct scoreboard_sum sum;

    add_worker(scoreboard, 1, 100, 0);
    add_worker(scoreboard, 2, 101, 4);
    atomic_store(&add_worker(scoreboard, 3, 102, 1)->state, SCOREBOARD_ENDING);
    scoreboard_open(&scoreboard->processes[4], "writer", 1000);
    atomic_store(&scoreboard->processes[4].pid, 103);
    scoreboard_sum(scoreboard, "worker", &sum);
    assert_int_equal(sum.processes, 3);
    assert_int_equal(sum.idle, 1);
    assert_int_equal(sum.busy, 2);
    assert_int_equal(sum.ending, 1);
    assert_int_equal(sum.under_way, 5);
    assert_int_equal(sum.connections, 9);
    scoreboard_close(scoreboard, &scoreboard->processes[2]);
    scoreboard_sum(scoreboard, "worker", &sum);
    assert_int_equal(sum.processes, 2);
}

static void the_longest_queue_outlives_its_process(void **state)
{
    struct scoreboard *scoreboard = *state;
    struct scoreboard_process *first = add_worker(scoreboard, 0, 100, 0), *second = add_worker(scoreboard, 1, 101, 0);

    atomic_store(&first->queued_most, 7);
    atomic_store(&second->queued_most, 5);
    assert_int_equal(scoreboard_queued_most(scoreboard), 7);
    scoreboard_close(scoreboard, first);
    add_worker(scoreboard, 0, 102, 0);
    assert_int_equal(scoreboard_queued_most(scoreboard), 7);
    atomic_store(&second->queued_most, 9);
    assert_int_equal(scoreboard_queued_most(scoreboard), 9);
}

static void a_row_is_seen_by_the_parent(void **state)
{
    struct scoreboard_process *process = &((struct scoreboard *)*state)->processes[5];
    struct scoreboard_work work;
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        begin(&process->pool[0], "in the child");
        scoreboard_show(process, 42, 1, 1, 1);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(scoreboard_look_longest(process, sys_monotonic_ms(), &work));
    assert_string_equal(work.what, "in the child");
    assert_int_equal(atomic_load(&process->requests), 42);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_thread_says_what_it_works_on_and_how_far_it_is, make, unmake),
        cmocka_unit_test_setup_teardown(what_is_too_long_is_cut, make, unmake),
        cmocka_unit_test_setup_teardown(the_thread_that_has_worked_longest_is_found, make, unmake),
        cmocka_unit_test_setup_teardown(the_processes_of_a_role_are_added_up, make, unmake),
        cmocka_unit_test_setup_teardown(the_longest_queue_outlives_its_process, make, unmake),
        cmocka_unit_test_setup_teardown(a_row_is_seen_by_the_parent, make, unmake),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
