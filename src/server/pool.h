/*
 * pool: a few threads for what may block, a bounded queue into it, and a list of finished jobs out of it.
 *
 * One event thread submits and collects; the pool's mutex is the only lock of a worker outside shared memory. Jobs are embedded by
 * their owner, so nothing is allocated on the way.
 */
#ifndef LARDER_POOL_H
#define LARDER_POOL_H

#include "base/loop.h"
#include "base/scoreboard.h"

enum { POOL_THREADS_MAX = SCOREBOARD_THREADS_MAX };

struct pool_job;

/* What jobs of one kind have in common. */
struct pool_work {
    /* Writes what JOB is, terminated, into WHAT. On the thread. */
    void (*describe)(const struct pool_job *job, char what[SCOREBOARD_WHAT_MAX]);
    /* On the thread. */
    void (*run)(struct pool_job *job, void *thread);
    /* For whoever collects it. */
    void (*done)(struct pool_job *job);
};

struct pool_job {
    struct pool_job *next;
    const struct pool_work *work;
};

struct pool_ops {
    void *context;
    /* On the thread, before its first job and after its last. BOARD is where it says how far a job is. */
    void *(*thread_open)(void *context, struct scoreboard_thread *board);
    void (*thread_close)(void *thread);
};

struct pool;

/* Starts THREADS threads at a lower scheduling priority than the caller's, so that hits come before statements. ROW is
 * its process's; OPS must outlive the pool. ERR_UNAVAILABLE when threads cannot be made. */
enum err pool_new(unsigned threads, unsigned queue_max, const struct pool_ops *ops, struct scoreboard_process *row,
                  struct pool **out) ERR_CHECKED;
/* Waits for running jobs, drops nothing: call it when every job has been collected. */
void pool_free(struct pool **pool);
/* An eventfd that becomes readable when there are finished jobs. */
int pool_fd(const struct pool *pool);
/* ERR_LIMIT when QUEUE_MAX jobs wait already. The job is the pool's until collected. */
enum err pool_submit(struct pool *pool, struct pool_job *job) ERR_CHECKED;
/* Submits JOB, which no request waits for, unless MOST of its kind are waiting or running already, or the queue is full:
 * ERR_LIMIT. Its `done` is called when it is collected. */
enum err pool_submit_background(struct pool *pool, struct loop_job *job, unsigned most) ERR_CHECKED;
/* How many of these have not been collected. */
unsigned pool_background(const struct pool *pool);
/* Takes all finished jobs, as a list; clears the eventfd. */
struct pool_job *pool_collect(struct pool *pool);

#endif
