/*
 * l1_shard: one shard of L1: its lock, the index that finds records by their keys, the rings they lie in, and what
 * makes room in these. For l1.c alone, which owns the mapping and knows what records hold.
 */
#ifndef LARDER_L1_SHARD_H
#define LARDER_L1_SHARD_H

#include <stdatomic.h>

#include "base/shm.h"
#include "base/str.h"
#include "cache/purged.h"

/* Behind it lie, in one piece and without gaps: the places (as purged_judge takes them), the key, and `rest_len` bytes
 * that only l1.c understands; padded to 8. */
struct l1_record {
    uint32_t size; /* of all of it; with `live` what every record has, also one that only fills up a ring's end */
    bool live;
    bool soft;    /* softly purged */
    uint8_t freq; /* how often it was asked for, up to a small number */
    uint8_t parts;
    uint64_t hash, variant;
    uint64_t stamp, checked; /* as purged_judge takes them */
    uint64_t lease;          /* as in struct entry */
    int64_t stored_at_ms, fresh_until_ms, stale_until_ms, error_until_ms;
    uint32_t cost_us;
    uint32_t status; /* 404: negative */
    uint32_t gzip_len, etag_len, type_len, body_len, plain_len;
    uint32_t key_len, rest_len, places_count;
    uint32_t places[];
};

enum { L1_SHARD_SMALL, L1_SHARD_MAIN, L1_SHARD_NEGATIVE, L1_SHARD_RINGS };

struct l1_ring {
    uint64_t at, size;   /* in the shard's room */
    uint64_t tail, head; /* the oldest record and where the next one goes */
};

struct l1_shard {
    _Alignas(64) struct shm_lock lock;
    struct l1_ring rings[L1_SHARD_RINGS];
    int64_t movable; /* bytes that may still be moved to make room for the record under way */
    /* Written under the lock, read without. */
    _Atomic uint64_t entries, negative, used, evicted, emptied, refused;
};

struct l1_slot {
    uint32_t tag;   /* the hash's lower half */
    uint32_t place; /* of the record in the shard's room, in units of 8, plus 1; 0: empty */
};

/* How much of everything a shard has. */
struct l1_shape {
    uint64_t room;          /* bytes of its rings */
    uint64_t slots, ghosts; /* of the index, and hashes of what has left; powers of two */
};

/* A shard and where its parts are, in this process. */
struct l1_view {
    struct l1_shape shape;
    struct purged *purged;
    struct l1_shard *shard;
    struct l1_slot *slots;
    uint32_t *ghosts;
    char *room;
};

/* The shape of a shard that has BYTES, a multiple of 64, in all. */
struct l1_shape l1_shard_shape(uint64_t bytes);
/* Lays out a shard in cleared memory. */
void l1_shard_init(struct l1_shard *shard, const struct l1_shape *shape);
/* The size of the largest record that is taken. */
uint64_t l1_shard_record_max(const struct l1_shard *shard);

/* Takes the lock, and empties the shard when the last holder died inside. What follows is for who has entered. */
void l1_shard_enter(const struct l1_view *view);
void l1_shard_leave(const struct l1_view *view);

/* KEY's record, or NULL. */
struct l1_record *l1_shard_find(const struct l1_view *view, uint64_t hash, struct str key);
/* Whether RECORD may no longer be given out: it has ended, or was purged. Notes that it was softly purged. */
bool l1_shard_is_gone(const struct l1_view *view, struct l1_record *record, int64_t now_ms);
/* Notes that RECORD was asked for. */
void l1_shard_touch(struct l1_record *record);
void l1_shard_drop(const struct l1_view *view, struct l1_record *record);
/* Makes room for the record that HEAD describes (all but its size, live and freq) and puts it in KEY's place; what it
 * still lacks, rest_len bytes, is to be written to *REST. NULL when it is too large: KEY then has no record. */
struct l1_record *l1_shard_add(const struct l1_view *view, const struct l1_record *head, const uint32_t *places,
                               struct str key, int64_t now_ms, char **rest);

static inline struct str l1_shard_key(const struct l1_record *record)
{
    return (struct str){(const char *)(record->places + record->places_count), record->key_len};
}

#endif
