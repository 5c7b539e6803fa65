/*
 * l2_redis_call: commands sent to Redis in one write, and their replies awaited until one deadline. For threads that
 * may wait; the connection is made when it is needed.
 */
#ifndef LARDER_L2_REDIS_CALL_H
#define LARDER_L2_REDIS_CALL_H

#include "l2/l2_redis_link.h"

/* Zero-initialised but for `setup`. */
struct l2_redis_call {
    const struct l2_redis_setup *setup;
    struct l2_redis_link link; /* after a failure `link.why` says what happened */
    struct buf commands;       /* append what is to be sent */
};

void l2_redis_call_fini(struct l2_redis_call *call);

/* Sends `commands`, which is empty afterwards, and reads a reply for each letter of EXPECTED, checked to be b (bulk or
 * nil), a (array), n (array or nil), i (integer) or s (status): to be freed by l2_redis_call_free on success. Waits at
 * most WAIT_MS longer than the configured time-outs. ERR_READ_ONLY: Redis answers but refuses to write. After any other
 * error the connection is closed. A Redis that does not know a script is told all of them, for another time-out, and
 * asked again, once: so `commands` must bear being carried out twice. */
enum err l2_redis_call_once(struct l2_redis_call *call, const char *expected, int64_t wait_ms,
                            redisReply **replies) ERR_CHECKED;
/* The same for a verb: reports to l2_health how it went, notices a connection that was closed while it was idle, and
 * repeats once what broke on one that had been used before. */
enum err l2_redis_call_exchange(struct l2_redis_call *call, const char *expected, redisReply **replies) ERR_CHECKED;
/* Whether there is a connection that nothing has happened to since it was used last; closes it otherwise. */
bool l2_redis_call_is_open(struct l2_redis_call *call);
/* Refuses an answer to an exchange whose contents make no sense: closes the connection, a failure for l2_health. */
enum err l2_redis_call_refuse(struct l2_redis_call *call);
void l2_redis_call_free(redisReply **replies, size_t count);

#endif
