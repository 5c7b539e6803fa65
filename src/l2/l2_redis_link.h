/*
 * l2_redis_link: one connection to Redis that never blocks. The asynchronous reads and the verbs that wait both stand
 * on it.
 *
 * Whoever holds a link decides when to wait and for how long; the link opens, writes, reads and parses. After any error
 * but ERR_AGAIN `why` says what happened, and the link must be closed: a connection that failed once is never used
 * again.
 */
#ifndef LARDER_L2_REDIS_LINK_H
#define LARDER_L2_REDIS_LINK_H

#include "base/arena.h"
#include "l2/l2_redis_wire.h"

struct l2_redis_link {
    redisContext *context; /* NULL: closed */
    bool connecting;
    unsigned greetings; /* answers to AUTH and SELECT still to come; never shown to the holder */
    struct buf out;     /* commands; append to it */
    size_t sent;        /* of `out` */
    redisReplyObjectFunctions functions;
    /* Where replies lie: set by the holder, who resets it when it has done with all of them. NULL: each is a block of
     * its own, for freeReplyObject. */
    struct arena *replies;
    char why[192];
};

/* Begins to connect; LINK must be closed (zeroed at first). AUTH and SELECT go first. A host name is looked up at once,
 * which may block; an address or a socket's path never does. ERR_IO. */
enum err l2_redis_link_open(struct l2_redis_link *link, const struct l2_redis_setup *setup) ERR_CHECKED;
void l2_redis_link_close(struct l2_redis_link *link);
/* Closes, and frees the buffers. */
void l2_redis_link_fini(struct l2_redis_link *link);

/* To be called when a connecting link is writable or failed. ERR_IO. */
enum err l2_redis_link_connected(struct l2_redis_link *link) ERR_CHECKED;
/* Writes what the socket takes; l2_redis_link_unsent says whether something is left. ERR_IO. */
enum err l2_redis_link_send(struct l2_redis_link *link) ERR_CHECKED;
bool l2_redis_link_unsent(const struct l2_redis_link *link);
/* Reads what is there. ERR_AGAIN when that was nothing, ERR_IO at the end of the stream. */
enum err l2_redis_link_receive(struct l2_redis_link *link) ERR_CHECKED;
/* The next whole reply; NULL when more must be received first. ERR_CORRUPT for bytes that are no RESP, ERR_DENIED when
 * AUTH or SELECT was refused. */
enum err l2_redis_link_next(struct l2_redis_link *link, redisReply **out) ERR_CHECKED;
/* Whether an open link that nothing is asked of is still good: not closed by the other side, and without a word nobody
 * asked for. */
bool l2_redis_link_idle(const struct l2_redis_link *link);

#endif
