/*
 * l2_redis_async: Redis on the event thread: one connection, everything of a round in one write, nobody waits.
 */
#ifndef LARDER_L2_REDIS_ASYNC_H
#define LARDER_L2_REDIS_ASYNC_H

#include "l2/l2_redis_boards_script.h"

struct l2_redis_async;

/* SETUP and LOOP must outlive it, and it the last tick of LOOP. Connects with the first read. */
struct l2_redis_async *l2_redis_async_open(const struct l2_redis_setup *setup, const struct loop *loop);
/* Answers L2_UNAVAILABLE to whoever waits. */
void l2_redis_async_close(struct l2_redis_async **async);

/* As the backend's read. FN may be called before this returns (when connecting fails at once), and may itself read
 * again. */
void l2_redis_async_read(struct l2_redis_async *async, struct str key, const struct str *tags, size_t tags_count,
                         uint64_t epoch, l2_read_fn *fn, void *context);
/* Has COMMAND, a script run by its hash, carried out, perhaps twice. FN is called once, perhaps before this returns,
 * with the reply, whose bytes live until it returns, or NULL: Redis did not answer, or refuses to write. False from it:
 * the reply makes no sense. */
typedef bool l2_redis_async_fn(void *context, const redisReply *reply);
void l2_redis_async_run(struct l2_redis_async *async, struct str command, l2_redis_async_fn *fn, void *context);
/* As the backend's read of boards, with ASKED's function called as above. */
void l2_redis_async_ask(struct l2_redis_async *async, const struct l2_redis_boards_asked *asked);

#endif
