/*
 * Rows are cleared and handed out by the supervisor before the fork, so a process never sees what its predecessor left
 * there.
 *
 * Invariant: a reader that races with a writer may see a word of one request and the time of another, never bytes
 * beyond a row: copies are cut to their length and terminated here. Whoever kills by what stands here looks at
 * `since_ms` alone.
 *
 * Nothing is computed for readers while requests run; they add up themselves.
 */
#include "base/scoreboard.h"

#include <stdio.h>

#include "base/shm.h"
#include "base/sys.h"

enum err scoreboard_new(struct scoreboard **out)
{
    void *mapping;
    enum err err = shm_map(sizeof **out, &mapping);

    if (err == ERR_OK)
        *out = mapping;
    return err;
}

void scoreboard_free(struct scoreboard **scoreboard)
{
    void *mapping = *scoreboard;

    shm_unmap(&mapping, sizeof **scoreboard);
    *scoreboard = NULL;
}

void scoreboard_open(struct scoreboard_process *process, const char *role, int64_t monotonic_ms)
{
    memset(process, 0, sizeof *process);
    snprintf(process->role, sizeof process->role, "%s", role);
    process->started_ms = monotonic_ms;
}

void scoreboard_close(struct scoreboard *scoreboard, struct scoreboard_process *process)
{
    unsigned most = atomic_load(&process->queued_most);

    if (most > atomic_load(&scoreboard->queued_most))
        atomic_store(&scoreboard->queued_most, most);
    atomic_store(&process->pid, 0);
}

void scoreboard_begin(struct scoreboard_thread *thread)
{
    int64_t now_ms = sys_monotonic_ms();

    thread->resource[0] = '\0';
    atomic_store(&thread->phase, SCOREBOARD_START);
    atomic_store(&thread->phase_since_ms, now_ms);
    atomic_store(&thread->since_ms, now_ms);
}

void scoreboard_resource(struct scoreboard_thread *thread, struct str name)
{
    if (thread)
        snprintf(thread->resource, sizeof thread->resource, "%.*s", STR_ARG(name));
}

void scoreboard_phase(struct scoreboard_thread *thread, enum scoreboard_phase phase)
{
    if (!thread)
        return;
    atomic_store(&thread->phase_since_ms, sys_monotonic_ms());
    atomic_store(&thread->phase, (int)phase);
}

void scoreboard_end(struct scoreboard_thread *thread)
{
    atomic_store(&thread->since_ms, 0);
}

void scoreboard_event_begin(struct scoreboard_thread *thread, struct str path)
{
    size_t len = path.len < SCOREBOARD_WHAT_MAX - 1 ? path.len : SCOREBOARD_WHAT_MAX - 1;

    memcpy(thread->what, path.p, len);
    thread->what[len] = '\0';
}

void scoreboard_event_end(struct scoreboard_thread *thread)
{
    thread->what[0] = '\0';
}

void scoreboard_show(struct scoreboard_process *process, uint64_t requests, unsigned connections, unsigned busy,
                     unsigned changing)
{
    atomic_store_explicit(&process->requests, requests, memory_order_relaxed);
    atomic_store_explicit(&process->connections, connections, memory_order_relaxed);
    atomic_store_explicit(&process->busy, busy, memory_order_relaxed);
    atomic_store_explicit(&process->changing, changing, memory_order_relaxed);
}

bool scoreboard_look(const struct scoreboard_thread *thread, int64_t monotonic_ms, struct scoreboard_work *out)
{
#define SCOREBOARD_WORD(name, word) word,
    static const char *const words[] = {SCOREBOARD_PHASES(SCOREBOARD_WORD)};
#undef SCOREBOARD_WORD
    int64_t since_ms = atomic_load(&thread->since_ms), phase_ms = atomic_load(&thread->phase_since_ms);
    int phase = atomic_load(&thread->phase);

    if (since_ms == 0)
        return false;
    out->for_ms = monotonic_ms > since_ms ? monotonic_ms - since_ms : 0;
    out->phase_ms = monotonic_ms > phase_ms && phase_ms >= since_ms ? monotonic_ms - phase_ms : out->for_ms;
    out->phase = phase >= 0 && phase < SCOREBOARD_PHASE_COUNT ? words[phase] : "";
    memcpy(out->what, thread->what, sizeof out->what);
    memcpy(out->resource, thread->resource, sizeof out->resource);
    out->what[sizeof out->what - 1] = out->resource[sizeof out->resource - 1] = '\0';
    return true;
}

bool scoreboard_look_longest(const struct scoreboard_process *process, int64_t monotonic_ms,
                             struct scoreboard_work *out)
{
    const struct scoreboard_thread *longest = NULL;
    int64_t longest_ms = 0;

    for (unsigned i = 0; i < SCOREBOARD_THREADS_MAX; i++) {
        int64_t since_ms = atomic_load(&process->pool[i].since_ms);

        if (since_ms != 0 && (!longest || since_ms < longest_ms)) {
            longest = &process->pool[i];
            longest_ms = since_ms;
        }
    }
    return longest && scoreboard_look(longest, monotonic_ms, out);
}

unsigned scoreboard_threads_busy(const struct scoreboard_process *process)
{
    unsigned count = 0;

    for (unsigned i = 0; i < SCOREBOARD_THREADS_MAX; i++)
        count += atomic_load_explicit(&process->pool[i].since_ms, memory_order_relaxed) != 0;
    return count;
}

void scoreboard_sum(const struct scoreboard *scoreboard, const char *role, struct scoreboard_sum *out)
{
    *out = (struct scoreboard_sum){0};
    for (unsigned i = 0; i < SCOREBOARD_PROCESSES_MAX; i++) {
        const struct scoreboard_process *process = &scoreboard->processes[i];

        if (atomic_load(&process->pid) == 0 || strncmp(process->role, role, sizeof process->role) != 0)
            continue;
        unsigned busy = atomic_load(&process->busy);
        out->processes++;
        out->busy += busy > 0;
        out->idle += busy == 0;
        out->ending += atomic_load(&process->state) >= SCOREBOARD_ENDING;
        out->connections += atomic_load(&process->connections);
        out->under_way += busy;
        out->queued += atomic_load(&process->queued);
        out->threads += atomic_load(&process->threads);
        out->threads_busy += scoreboard_threads_busy(process);
    }
}

unsigned scoreboard_queued_most(const struct scoreboard *scoreboard)
{
    unsigned most = atomic_load(&scoreboard->queued_most);

    for (unsigned i = 0; i < SCOREBOARD_PROCESSES_MAX; i++) {
        unsigned queued = atomic_load(&scoreboard->processes[i].queued_most);

        most = queued > most ? queued : most;
    }
    return most;
}
