/*
 * l2_redis_load: the table of all scripts, and how a Redis that does not know one is told them. Pure.
 *
 * Scripts are run by their hashes (l2_redis_script_run). A Redis that was started anew, has taken over from another one
 * or was told to forget its scripts answers that it does not know one, and has not begun it. Whoever is told so has
 * all of them loaded on the same connection and asks again, once.
 */
#ifndef LARDER_L2_REDIS_LOAD_H
#define LARDER_L2_REDIS_LOAD_H

#include "l2/l2_redis_boards_script.h"
#include "l2/l2_redis_jobs.h"

enum { L2_REDIS_LOAD_COUNT = L2_REDIS_SCRIPT_COUNT + L2_REDIS_BOARDS_SCRIPT_COUNT + L2_REDIS_JOBS_SCRIPT_COUNT };

/* The script at place I of the table. */
const struct l2_redis_script *l2_redis_load_script(size_t i);

/* Whether REPLY says that Redis does not know a script. */
bool l2_redis_load_is_needed(const redisReply *reply);
/* L2_REDIS_LOAD_COUNT commands, one for each script, with one reply each. */
void l2_redis_load_add(struct buf *out);
/* Whether REPLY, the one at place I, says that Redis knows the script by its hash. */
bool l2_redis_load_is_done(const redisReply *reply, size_t i);

#endif
