/*
 * l2_redis_jobs: removing the keys of purged patterns from Redis, batch by batch.
 *
 * The jobs that run are the lines of `bans`; what is kept beside them is how far they are. P job:N is a hash:
 * `pattern`, `soft`, `state` (running, done), `run` (of which start of the server `cursor` is), `cursor`, `scanned`,
 * `removed`, `total`, `started`, `ended`. P job:N:owner holds the worker's number for as long as it works on it.
 */
#ifndef LARDER_L2_REDIS_JOBS_H
#define LARDER_L2_REDIS_JOBS_H

#include "l2/l2_redis_call.h"
#include "l2/l2_redis_script.h"

enum { L2_REDIS_JOBS_SCRIPT_COUNT = 2 };

/* The scripts, for l2_redis_load. */
extern const struct l2_redis_script l2_redis_jobs_script_list[L2_REDIS_JOBS_SCRIPT_COUNT];

/* As l2_job_read, l2_job_count, l2_job_take and l2_job_step (l2_job.h). */
enum err l2_redis_jobs_read(struct l2_redis_call *call, uint64_t id, struct arena *arena,
                            struct l2_job *out) ERR_CHECKED;
enum err l2_redis_jobs_count(struct l2_redis_call *call, uint64_t *count) ERR_CHECKED;
enum err l2_redis_jobs_take(struct l2_redis_call *call, uint64_t worker, struct arena *arena,
                            struct l2_job *out) ERR_CHECKED;
enum err l2_redis_jobs_step(struct l2_redis_call *call, uint64_t worker, size_t batch, struct l2_job *job) ERR_CHECKED;

#endif
