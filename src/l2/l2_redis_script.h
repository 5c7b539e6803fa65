/*
 * l2_redis_script: what Redis does atomically for larder: claiming, filling, purging. Commands as bytes; pure.
 *
 * A record of the log has the fields `kind`, one letter: k, t, p, a (keys, tags, pattern, everything), in capitals when
 * the purge is soft, and `name` for each name. Whenever the sequence begins anew, the record is that of a hard purge of
 * everything.
 */
#ifndef LARDER_L2_REDIS_SCRIPT_H
#define LARDER_L2_REDIS_SCRIPT_H

#include "l2/l2_redis_wire.h"

/* What Redis runs by its HASH, the SHA-1 of TEXT as SCRIPT LOAD answers it. A test compares the two. */
struct l2_redis_script {
    struct str text, hash;
};

enum { L2_REDIS_SCRIPT_COUNT = 4 };

/* Those of this module, for l2_redis_load. */
extern const struct l2_redis_script l2_redis_script_list[L2_REDIS_SCRIPT_COUNT];

/* Begins the running of SCRIPT, which must be of l2_redis_load's table, with that many KEYS and ARGUMENTS, which are to
 * follow. The reply is the script's, or an error that l2_redis_load_is_needed knows. */
void l2_redis_script_run(struct buf *out, const struct l2_redis_script *script, size_t keys, size_t arguments);

/* One reply, an array for l2_redis_script_claimed. */
void l2_redis_script_claim(struct buf *out, const struct l2_redis_setup *setup, struct str key, const struct str *tags,
                           size_t tags_count, struct str spent, int64_t life_ms, uint64_t token);
/* Takes over what the claim came to; *OUT has the token already, and gets views of REPLY. ERR_NOT_FOUND: the sequence
 * is lost; l2_redis_script_now begins it anew. ERR_CORRUPT. */
enum err l2_redis_script_claimed(const redisReply *reply, struct l2_claim *out) ERR_CHECKED;
/* One reply, an integer: whether it was stored. */
void l2_redis_script_fill(struct buf *out, const struct l2_redis_setup *setup, struct str key, const struct str *tags,
                          size_t tags_count, struct str bytes, int64_t ttl_ms, const struct l2_lease *lease);
/* One reply, an integer. */
void l2_redis_script_release(struct buf *out, const struct l2_redis_setup *setup, struct str key,
                             const struct l2_lease *lease);

/* The sequence as it stands, begun anew if it is lost or older than the host has seen. */
void l2_redis_script_now(struct buf *out, const struct l2_redis_setup *setup);
/* Draws a number, carries PURGE out and logs it. */
void l2_redis_script_purge(struct buf *out, const struct l2_redis_setup *setup, const struct l2_purge *purge);
/* The one reply of both, an array: the number, and how many keys there were to remove. ERR_CORRUPT. */
enum err l2_redis_script_drawn(const redisReply *reply, uint64_t *number, size_t *removed) ERR_CHECKED;

/* A record of the log, as XREAD gives it: its number, and a purge whose names go to NAMES (L2_NAMES_MAX) as views.
 * ERR_CORRUPT: no record of ours; *NUMBER is set nevertheless if it has one, else 0. */
enum err l2_redis_script_record(const redisReply *reply, uint64_t *number, struct l2_purge *purge,
                                struct str *names) ERR_CHECKED;

#endif
