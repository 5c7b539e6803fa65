/*
 * scoreboard: who of this host's processes does what, and since when; in shared memory, read by whoever watches.
 *
 * The table is made before the fork. The supervisor hands out rows, one to each child; a row is written by its process,
 * and what a thread works on by that thread alone. Readers take no lock: a row may change under them, so they copy
 * (scoreboard_look) and never follow pointers.
 */
#ifndef LARDER_SCOREBOARD_H
#define LARDER_SCOREBOARD_H

#include <stdatomic.h>

#include "base/str.h"

enum {
    SCOREBOARD_PROCESSES_MAX = 256,
    SCOREBOARD_THREADS_MAX = 64,
    SCOREBOARD_WHAT_MAX = 120,
    SCOREBOARD_NAME_MAX = 48
};

/* X(name, word): where in its work a thread is. */
#define SCOREBOARD_PHASES(X)                                                                                           \
    X(START, "start")                                                                                                  \
    X(CACHE, "cache")                                                                                                  \
    X(STATEMENT, "statement")                                                                                          \
    X(FILL, "fill")                                                                                                    \
    X(WRITER, "writer")
#define SCOREBOARD_ENUM(name, word) SCOREBOARD_##name,
enum scoreboard_phase { SCOREBOARD_PHASES(SCOREBOARD_ENUM) SCOREBOARD_PHASE_COUNT };
#undef SCOREBOARD_ENUM

enum scoreboard_state {
    SCOREBOARD_STARTING,
    SCOREBOARD_RUNNING,
    SCOREBOARD_HOLDING, /* a worker, told to: it begins no request that may change something */
    SCOREBOARD_ENDING,  /* has been told to end */
    SCOREBOARD_DRAINING /* a worker that ends, and does so by its own word */
};

/* What a thread works on. */
struct scoreboard_thread {
    _Atomic int64_t since_ms; /* monotonic; 0: on nothing */
    _Atomic int64_t phase_since_ms;
    _Atomic int phase;
    char what[SCOREBOARD_WHAT_MAX]; /* method and path, or what a job is called */
    char resource[SCOREBOARD_NAME_MAX];
};

struct scoreboard_process {
    _Atomic int pid;   /* 0: the row is nobody's */
    _Atomic int state; /* enum scoreboard_state */
    char role[16];
    int64_t started_ms;        /* monotonic */
    _Atomic uint64_t requests; /* answered; as are those below of workers alone, as the last round of events left it */
    _Atomic unsigned connections;   /* open */
    _Atomic unsigned busy;          /* requests under way, in whatever hand */
    _Atomic unsigned changing;      /* of these, that may change something */
    _Atomic unsigned queued;        /* of these, waiting for a thread of the pool */
    _Atomic unsigned queued_most;   /* the greatest number of those */
    _Atomic unsigned threads;       /* of the pool */
    struct scoreboard_thread event; /* the event thread's last round of events; it has one at least every half second */
    struct scoreboard_thread pool[SCOREBOARD_THREADS_MAX];
};

struct scoreboard {
    _Atomic uint64_t starts, crashes; /* of children, of whatever role; a restart is a start after a crash */
    _Atomic uint64_t killed;          /* children that were stuck or did not end */
    _Atomic uint64_t recycled;        /* workers that ended after max_requests */
    _Atomic uint64_t reloads;
    _Atomic unsigned queued_most; /* of processes that have gone */
    struct scoreboard_process processes[SCOREBOARD_PROCESSES_MAX];
};

/* A cleared table, to be shared with children forked later. ERR_FULL. */
enum err scoreboard_new(struct scoreboard **out) ERR_CHECKED;
void scoreboard_free(struct scoreboard **scoreboard);

/* For the supervisor. The row becomes that of a process that is about to be forked. */
void scoreboard_open(struct scoreboard_process *process, const char *role, int64_t monotonic_ms);
/* The process has gone; what is to be remembered of it is. */
void scoreboard_close(struct scoreboard *scoreboard, struct scoreboard_process *process);

/* For the thread, which has written its `what`. */
void scoreboard_begin(struct scoreboard_thread *thread);
void scoreboard_end(struct scoreboard_thread *thread);
/* How far it is; THREAD may be NULL. */
void scoreboard_resource(struct scoreboard_thread *thread, struct str name);
void scoreboard_phase(struct scoreboard_thread *thread, enum scoreboard_phase phase);
/* The event thread takes the first step of a request for PATH, which is all that is noted: it is done for each hit. */
void scoreboard_event_begin(struct scoreboard_thread *thread, struct str path);
void scoreboard_event_end(struct scoreboard_thread *thread);
/* How a worker stands at the end of a round of events. */
void scoreboard_show(struct scoreboard_process *process, uint64_t requests, unsigned connections, unsigned busy, unsigned changing);

/* For whoever watches. What a thread works on, copied. */
struct scoreboard_work {
    int64_t for_ms, phase_ms;                                      /* how long it has, and has been in this phase */
    const char *phase;                                             /* static */
    char what[SCOREBOARD_WHAT_MAX], resource[SCOREBOARD_NAME_MAX]; /* terminated */
};

/* False: on nothing. */
bool scoreboard_look(const struct scoreboard_thread *thread, int64_t monotonic_ms, struct scoreboard_work *out);
/* What the pool thread of PROCESS that has worked longest on one thing works on. False: none works. */
bool scoreboard_look_longest(const struct scoreboard_process *process, int64_t monotonic_ms,
                             struct scoreboard_work *out);
unsigned scoreboard_threads_busy(const struct scoreboard_process *process);

/* All processes of a role together. */
struct scoreboard_sum {
    unsigned processes, idle, busy; /* busy: with a request under way; one that starts or ends counts as what it is */
    unsigned ending;                /* of these */
    unsigned connections, under_way, queued, threads, threads_busy;
};

void scoreboard_sum(const struct scoreboard *scoreboard, const char *role, struct scoreboard_sum *out);
/* The greatest number of requests that have waited in one process's queue since the start. */
unsigned scoreboard_queued_most(const struct scoreboard *scoreboard);

#endif
