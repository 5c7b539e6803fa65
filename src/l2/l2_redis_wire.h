/*
 * l2_redis_wire: what larder says to Redis and how it understands the answers. Pure: bytes and replies, no connection.
 *
 * With P = prefix, cache_version and ":", Redis holds
 *   P e:KEY    a string: the stamp (8 bytes, little-endian), flags (1 byte; bit 0: softly purged), the entry's bytes
 *   P l:KEY    a string: `HOST-TOKEN STAMP`, the lease, for as long as it holds
 *   P purged   a hash: `seq`, the sequence; `floor` and `soft`, the last hard and soft purge of everything; `t:TAG`,
 *              `N` or `N,S`, the tag's last hard and soft one (0: none); `ban`, the last purge by pattern; `bans`, the
 *              patterns whose keys are still being removed (l2_bans.h), absent when there are none
 *   P log      a stream, a record for each number N that was drawn, with the id N-0 (l2_redis_script.h)
 *   P job:N    a hash: how the removing for pattern N goes; P job:N:owner says who is at it (l2_redis_jobs.h)
 *   P boards   a hash: which leaderboards there are, and what they have been told (l2_redis_boards_script.h)
 *   P board:B  a sorted set: leaderboard B; P reached:B, a hash, says when each of its members got its score
 *   P copy:*   boards that are being copied; forgotten when nothing was copied for an hour
 * (no blank behind P). All numbers stand in one hash, so that it is read with every entry and no eviction policy finds
 * it cold, and so that losing it loses all of it: then it begins anew at Redis's time in microseconds, above every
 * number drawn before, and every older entry is invalid. The same happens when it is found lower than this host has
 * seen it: Redis came back from an old snapshot. When more than 100,000 tags are remembered, all are forgotten at the
 * price of purging everything once.
 */
#ifndef LARDER_L2_REDIS_WIRE_H
#define LARDER_L2_REDIS_WIRE_H

#include <hiredis/hiredis.h>

#include "l2/l2_backend.h"
#include "l2/l2_bans.h"

/* What a thread's connections have in common. */
struct l2_redis_setup {
    const struct config *config;
    const struct l2_url *url;
    struct l2_health *health;
    struct l2_boards_host *boards_host;
    uint32_t host;
    struct buf entries, leases, jobs; /* what their keys begin with */
    struct buf purged, log;           /* names */
    struct buf boards, copies;        /* a name, and what names begin with */
    struct buf board_sets, board_members;
    struct buf board_pushed; /* this host's field of `boards` */
    struct buf numbers;      /* the command of l2_redis_wire_numbers, from behind its length up to the tags */
    int64_t keep_ms;         /* how long what is known of purges outlives the last fill and purge */
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
/* MGET of COUNT entries, which PARTS names: l2_redis_wire_entry for each. One reply, an array of strings and nils. */
void l2_redis_wire_mget(struct buf *out, struct str parts, size_t count);
void l2_redis_wire_entry(struct buf *parts, const struct l2_redis_setup *setup, struct str key);
/* HMGET of the sequence, the purges of everything, the bans and the numbers of TAGS, at most L2_REDIS_WIRE_TAGS_MAX:
 * what judges every entry that is asked for after it on the same connection. One reply, an array. */
void l2_redis_wire_numbers(struct buf *out, const struct l2_redis_setup *setup, const struct str *tags,
                           size_t tags_count);

enum { L2_REDIS_WIRE_STAMP_SIZE = 8, L2_REDIS_WIRE_HEAD_SIZE = 9, L2_REDIS_WIRE_TAGS_MAX = 256 };

/* That array, understood. */
struct l2_redis_numbers {
    bool lost; /* the hash is not there */
    uint64_t seq, floor, soft;
    struct l2_bans bans; /* views of the reply */
    struct {
        uint64_t hard, soft; /* the tag's last purges; 0 without one */
    } tags[L2_REDIS_WIRE_TAGS_MAX];
};

/* ERR_CORRUPT: no answer to a question about TAGS_COUNT tags. */
enum err l2_redis_wire_understand(const redisReply *reply, size_t tags_count, struct l2_redis_numbers *out) ERR_CHECKED;
/* Judges ENTRY, KEY's string or nil (anything else counts as nil), whose tags stand at TAGS in NUMBERS: found, with
 * views of ENTRY, or absent. It is absent, too, when the hash is lost or older than SEEN: whoever claims KEY then
 * begins it anew. */
struct l2_read l2_redis_wire_judge(const redisReply *entry, struct str key, const struct l2_redis_numbers *numbers,
                                   const uint8_t *tags, size_t tags_count, uint64_t seen);
/* Whether an entry that begins with HEAD, a string or nil, is still there by everything but its tags. */
bool l2_redis_wire_stands(const redisReply *head, struct str key, const struct l2_redis_numbers *numbers);

/* A reply that is one of the sequence's numbers, as a string. ERR_CORRUPT. */
enum err l2_redis_wire_number(const redisReply *reply, uint64_t *out) ERR_CHECKED;
struct str l2_redis_wire_text(const redisReply *reply); /* empty when it is no string */

/* Whether REPLY says that Redis answers, but takes nothing now. */
bool l2_redis_wire_refuses(const redisReply *reply);

/* Appends TEXT so that as a glob it matches itself. */
void l2_redis_wire_quote(struct buf *out, struct str text);

#endif
