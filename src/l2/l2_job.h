/*
 * l2_job: working off the purges by pattern, on an l2 without loop. For whoever has time (the housekeeper), and for
 * whoever wants to know how far one is.
 */
#ifndef LARDER_L2_JOB_H
#define LARDER_L2_JOB_H

#include "l2/l2.h"

/* A purge by pattern that is in force, and whose keys are being removed. */
enum l2_job_state { L2_JOB_RUNNING, L2_JOB_DONE };

struct l2_job {
    uint64_t id; /* the purge's number */
    enum l2_job_state state;
    bool soft;
    struct str pattern;           /* in the arena it was read into */
    uint64_t cursor;              /* where the scan stands */
    uint64_t scanned;             /* keys looked at; an estimate */
    uint64_t total;               /* keys there were when it began; an estimate */
    uint64_t removed;             /* keys removed, or marked stale by a soft one */
    int64_t started_ms, ended_ms; /* since the epoch; ended_ms 0 while it runs */
};

/* What job ID is at. ERR_NOT_FOUND (a day after its end it is forgotten), ERR_UNAVAILABLE. */
enum err l2_job_read(struct l2 *l2, uint64_t id, struct arena *arena, struct l2_job *out) ERR_CHECKED;
/* How many jobs run; of a backend that deals with a pattern before its purge returns, none. ERR_UNAVAILABLE. */
enum err l2_job_count(struct l2 *l2, uint64_t *count) ERR_CHECKED;
/* Takes the oldest job that runs and that nobody works on, for WORKER (a number of this process, not 0); it is the
 * caller's until it is done, or until nothing was done for 5 s. It goes on where it stood, from the beginning when L2
 * was started anew since. ERR_NOT_FOUND, ERR_UNAVAILABLE. */
enum err l2_job_take(struct l2 *l2, uint64_t worker, struct arena *arena, struct l2_job *out) ERR_CHECKED;
/* One batch: scans about BATCH keys, removes (or marks) those that match and were filled before the purge or that it
 * cannot tell, and notes where it got to. With the last one JOB is done and its pattern no longer judges reads.
 * ERR_DENIED when the job is no longer the caller's. */
enum err l2_job_step(struct l2 *l2, uint64_t worker, size_t batch, struct l2_job *job) ERR_CHECKED;

#endif
