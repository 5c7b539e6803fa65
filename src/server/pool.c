/*
 * Threads wait on a condition for the queue's head; finished jobs go onto a list, and the eventfd is written only when that list was
 * empty, so a burst of answers costs one wake-up.
 *
 * Invariant: a job is on exactly one of: the queue, a thread, the finished list, or in its owner's hands. The pool never looks
 * into a job.
 */
#include "server/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/sys.h"

/* How much nicer than the event thread. A statement that computes on every core then still leaves hits their time slice. */
#define POOL_NICE 5

struct pool {
    const struct pool_ops *ops;
    struct scoreboard_process *row;
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct pool_job *head, **tail, *finished, **finished_tail;
    unsigned waiting, queue_max;
    unsigned idle;       /* threads that wait for a job; one that has been woken and does not run yet is among them */
    unsigned background; /* the event thread's own */
    bool stopping;
    int fd;
    unsigned threads_count;
    struct pool_thread {
        struct pool *pool;
        struct scoreboard_thread *board;
        pthread_t id;
    } threads[POOL_THREADS_MAX];
};

/* Under the mutex. What an idle thread is about to take does not wait for one. */
static void note_queued(struct pool *pool)
{
    unsigned queued = pool->waiting > pool->idle ? pool->waiting - pool->idle : 0;

    atomic_store_explicit(&pool->row->queued, queued, memory_order_relaxed);
    if (queued > atomic_load_explicit(&pool->row->queued_most, memory_order_relaxed))
        atomic_store_explicit(&pool->row->queued_most, queued, memory_order_relaxed);
}

/* The next job, or NULL when the pool is stopping. */
static struct pool_job *next_job(struct pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->idle++;
    while (!pool->head && !pool->stopping)
        pthread_cond_wait(&pool->work, &pool->mutex);
    pool->idle--;
    struct pool_job *job = pool->head;
    if (job) {
        pool->head = job->next;
        if (!pool->head)
            pool->tail = &pool->head;
        pool->waiting--;
        note_queued(pool);
    }
    pthread_mutex_unlock(&pool->mutex);
    return job;
}

static void finish_job(struct pool *pool, struct pool_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&pool->mutex);
    bool first = !pool->finished;
    *pool->finished_tail = job;
    pool->finished_tail = &job->next;
    pthread_mutex_unlock(&pool->mutex);
    if (first)
        (void)!write(pool->fd, &(uint64_t){1}, sizeof(uint64_t));
}

static void *serve(void *argument)
{
    struct pool_thread *self = argument;
    struct pool *pool = self->pool;
    const struct pool_ops *ops = pool->ops;
    /* Linux keeps a nice value per thread. Failing only means equal priority. */
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), getpriority(PRIO_PROCESS, 0) + POOL_NICE);
    void *thread = ops->thread_open(ops->context, self->board);
    struct pool_job *job;
    while ((job = next_job(pool))) {
        job->work->describe(job, self->board->what);
        scoreboard_begin(self->board);
        job->work->run(job, thread);
        scoreboard_end(self->board);
        finish_job(pool, job);
    }
    ops->thread_close(thread);
    return NULL;
}

enum err pool_new(unsigned threads, unsigned queue_max, const struct pool_ops *ops, struct scoreboard_process *row,
                  struct pool **out)
{
    struct pool *pool = sys_calloc(1, sizeof *pool);
    pool->ops = ops;
    pool->row = row;
    pool->queue_max = queue_max;
    pool->tail = &pool->head;
    pool->finished_tail = &pool->finished;
    pool->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    /* Signals are the event thread's: they are to interrupt its waiting. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pool->fd >= 0;
    for (unsigned i = 0; started && i < threads && i < POOL_THREADS_MAX; i++) {
        pool->threads[i] = (struct pool_thread){.pool = pool, .board = &row->pool[i]};
        started = pthread_create(&pool->threads[i].id, NULL, serve, &pool->threads[i]) == 0;
        pool->threads_count += started;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!started) {
        pool_free(&pool);
        return ERR_UNAVAILABLE;
    }
    atomic_store(&row->threads, pool->threads_count);
    *out = pool;
    return ERR_OK;
}

void pool_free(struct pool **pool_ptr)
{
    struct pool *pool = *pool_ptr;
    if (!pool)
        return;
    pthread_mutex_lock(&pool->mutex);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < pool->threads_count; i++)
        pthread_join(pool->threads[i].id, NULL);
    if (pool->fd >= 0)
        close(pool->fd);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
    *pool_ptr = NULL;
}

int pool_fd(const struct pool *pool)
{
    return pool->fd;
}

enum err pool_submit(struct pool *pool, struct pool_job *job)
{
    enum err err = ERR_LIMIT;
    job->next = NULL;
    pthread_mutex_lock(&pool->mutex);
    if (pool->waiting < pool->queue_max) {
        *pool->tail = job;
        pool->tail = &job->next;
        pool->waiting++;
        note_queued(pool);
        pthread_cond_signal(&pool->work);
        err = ERR_OK;
    }
    pthread_mutex_unlock(&pool->mutex);
    return err;
}

/* A loop_job on its way. */
struct background {
    struct pool_job job; /* first: a job of this kind is its background */
    struct pool *pool;
    struct loop_job *it;
};

static void describe_background(const struct pool_job *job, char what[SCOREBOARD_WHAT_MAX])
{
    snprintf(what, SCOREBOARD_WHAT_MAX, "%s", ((const struct background *)job)->it->what);
}

static void run_background(struct pool_job *job, void *thread)
{
    struct loop_job *it = ((struct background *)job)->it;
    it->run(it, thread);
}

static void end_background(struct pool_job *job)
{
    struct background *background = (struct background *)job;
    background->pool->background--;
    background->it->done(background->it);
    free(background);
}

enum err pool_submit_background(struct pool *pool, struct loop_job *job, unsigned most)
{
    static const struct pool_work work = {
        .describe = describe_background, .run = run_background, .done = end_background};
    if (pool->background >= most)
        return ERR_LIMIT;
    struct background *background = sys_calloc(1, sizeof *background);
    *background = (struct background){.job = {.work = &work}, .pool = pool, .it = job};
    enum err err = pool_submit(pool, &background->job);
    if (err == ERR_OK)
        pool->background++;
    else
        free(background);
    return err;
}

unsigned pool_background(const struct pool *pool)
{
    return pool->background;
}

struct pool_job *pool_collect(struct pool *pool)
{
    (void)!read(pool->fd, &(uint64_t){0}, sizeof(uint64_t));
    pthread_mutex_lock(&pool->mutex);
    struct pool_job *jobs = pool->finished;
    pool->finished = NULL;
    pool->finished_tail = &pool->finished;
    pthread_mutex_unlock(&pool->mutex);
    return jobs;
}
