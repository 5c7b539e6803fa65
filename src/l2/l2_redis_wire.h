/*
 * l2_redis_wire: what larder says to Redis and how it understands the answers. Pure: bytes and replies, no connection.
 *
 * With P = prefix, cache_version and ":", Redis holds
 *   P e:KEY    a string: the stamp (8 bytes, little-endian), then the entry's bytes
 *   P purged   a hash: `seq`, the sequence; `floor`, below which every stamp is invalid; `t:TAG`, the number of TAG's
 * last purge (no blank behind P). One hash, so that it is read with every entry and no eviction policy finds it cold,
 * and so that losing it loses all of it: then it begins anew at Redis's time in microseconds, above every number drawn
 * before, and every older entry is invalid. The same happens when a read finds a sequence lower than one this host has
 * seen: Redis came back from an old snapshot. When more than 100,000 tags are remembered, all are forgotten at the
 * price of invalidating everything once.
 */
#ifndef LARDER_L2_REDIS_WIRE_H
#define LARDER_L2_REDIS_WIRE_H

#include <hiredis/hiredis.h>

#include "l2/l2_backend.h"

/* What a thread's connections have in common. */
struct l2_redis_setup {
    const struct config *config;
    const struct l2_url *url;
    struct l2_health *health;
    struct buf entries; /* what an entry's key begins with: P "e:" */
    struct buf purged;  /* the name of the hash */
    int64_t keep_ms;    /* how long the hash outlives the last fill and purge */
};

void l2_redis_wire_init(struct l2_redis_setup *setup, const struct config *config, const struct l2_shared *shared);
void l2_redis_wire_fini(struct l2_redis_setup *setup);

/* A command of ARGUMENTS parts (RESP2): first this, then as many of the following. */
void l2_redis_wire_command(struct buf *out, size_t arguments);
void l2_redis_wire_add(struct buf *out, struct str part);
void l2_redis_wire_add_joined(struct buf *out, struct str first, struct str second);
void l2_redis_wire_add_number(struct buf *out, uint64_t number);

/* GET of an entry. One reply, a string or nil. */
void l2_redis_wire_get(struct buf *out, const struct l2_redis_setup *setup, struct str key);
/* HMGET of the sequence, the floor and the numbers of TAGS, at most L2_REDIS_WIRE_TAGS_MAX: what judges every entry
 * that was asked for before on the same connection, so that a purge in between is seen. One reply, an array. */
void l2_redis_wire_numbers(struct buf *out, const struct l2_redis_setup *setup, const struct str *tags,
                           size_t tags_count);

enum { L2_REDIS_WIRE_TAGS_MAX = 256 };

/* That array, understood. */
struct l2_redis_numbers {
    bool lost; /* the hash is not there */
    uint64_t seq, floor;
    size_t count;
    uint64_t tags[L2_REDIS_WIRE_TAGS_MAX]; /* of each tag's last purge; 0 without one */
};

/* ERR_CORRUPT: no answer to a question about TAGS_COUNT tags. */
enum err l2_redis_wire_understand(const redisReply *reply, size_t tags_count, struct l2_redis_numbers *out) ERR_CHECKED;
/* Judges ENTRY, a string or nil, whose tags stand at TAGS in NUMBERS. ERR_OK with *READ, whose bytes lie in ENTRY.
 * ERR_NOT_FOUND: the hash is lost or older than SEEN; send L2_REDIS_WIRE_NOW, and report L2_ABSENT with the number it
 * gives.
 */
enum err l2_redis_wire_judge(const redisReply *entry, const struct l2_redis_numbers *numbers, const uint8_t *tags,
                             size_t tags_count, uint64_t seen, struct l2_read *read) ERR_CHECKED;
/* The stamp in front of an entry; 0 when there is none, which is below every floor. */
uint64_t l2_redis_wire_stamp(const redisReply *entry);

enum l2_redis_draw {
    L2_REDIS_WIRE_NOW,  /* the sequence as it stands, begun anew if lost */
    L2_REDIS_WIRE_TAGS, /* a new number, kept for each of TAGS */
    L2_REDIS_WIRE_ALL   /* a new number, kept as the floor */
};
/* Works on the hash, atomically. One reply, a number for l2_redis_wire_number. */
void l2_redis_wire_draw(struct buf *out, const struct l2_redis_setup *setup, enum l2_redis_draw draw,
                        const struct str *tags, size_t tags_count);
enum err l2_redis_wire_number(const redisReply *reply, uint64_t *out) ERR_CHECKED;

/* Stores an entry unless a number has been drawn since STAMP. One reply, an integer: whether it was stored. */
void l2_redis_wire_fill(struct buf *out, const struct l2_redis_setup *setup, struct str key, struct str bytes,
                        int64_t ttl_ms, uint64_t stamp);

/* Appends TEXT so that as a glob it matches itself. */
void l2_redis_wire_quote(struct buf *out, struct str text);

#endif
