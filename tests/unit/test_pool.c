/* The pool: what waits for a thread, and what does not. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/pool.h"

enum { THREADS = 2 };

static atomic_int running, may_end;

static void *open_thread(void *context, struct scoreboard_thread *board)
{
    (void)board;
    return context;
}

static void close_thread(void *thread)
{
    (void)thread;
}

static void describe(const struct pool_job *job, char what[SCOREBOARD_WHAT_MAX])
{
    (void)job;
    snprintf(what, SCOREBOARD_WHAT_MAX, "a job");
}

static void run(struct pool_job *job, void *thread)
{
    (void)job;
    (void)thread;
    atomic_fetch_add(&running, 1);
    while (!atomic_load(&may_end))
        usleep(500);
    atomic_fetch_sub(&running, 1);
}

static void collect(struct pool *pool, int count)
{
    struct pollfd fd = {.fd = pool_fd(pool), .events = POLLIN};

    while (count > 0) {
        assert_int_equal(poll(&fd, 1, 20000), 1);
        for (const struct pool_job *job = pool_collect(pool); job; job = job->next)
            count--;
    }
}

static void what_a_free_thread_takes_does_not_wait_for_one(void **state)
{
    static const struct pool_ops ops = {.thread_open = open_thread, .thread_close = close_thread};
    static const struct pool_work work = {.describe = describe, .run = run};
    struct pool_job jobs[THREADS + 3];
    struct scoreboard *board;
    struct pool *pool;
    bool at_once = false;

    (void)state;
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++)
        jobs[i].work = &work;
    assert_int_equal(scoreboard_new(&board), ERR_OK);
    struct scoreboard_process *row = &board->processes[0];
    assert_int_equal(pool_new(THREADS, 16, &ops, row, &pool), ERR_OK);
    alarm(60);

    /* On a busy machine a thread may not have come to rest again. */
    atomic_store(&may_end, 1);
    for (int i = 0; i < 20 && !at_once; i++) {
        usleep(20000);
        atomic_store(&row->queued_most, 0);
        for (int at = 0; at < THREADS; at++)
            assert_int_equal(pool_submit(pool, &jobs[at]), ERR_OK);
        collect(pool, THREADS);
        at_once = atomic_load(&row->queued_most) == 0;
    }
    assert_true(at_once);

    atomic_store(&may_end, 0);
    for (int at = 0; at < THREADS; at++)
        assert_int_equal(pool_submit(pool, &jobs[at]), ERR_OK);
    while (atomic_load(&running) < THREADS)
        usleep(500);
    for (int at = 0; at < 3; at++)
        assert_int_equal(pool_submit(pool, &jobs[THREADS + at]), ERR_OK);
    assert_int_equal(atomic_load(&row->queued), 3);
    atomic_store(&may_end, 1);
    collect(pool, THREADS + 3);
    assert_int_equal(atomic_load(&row->queued), 0);
    assert_in_range(atomic_load(&row->queued_most), 3, THREADS + 3);

    pool_free(&pool);
    scoreboard_free(&board);
    alarm(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_a_free_thread_takes_does_not_wait_for_one)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
