/*
 * l1: the host's own cache, in shared memory, read by all workers of a host. A hit makes no system call.
 *
 * Entries are kept ready to send: whole, plain and compressed. One mapping is cut into shards, each under a robust lock
 * and with three rings: new entries, those that were asked for again (S3-FIFO), and negative ones, which have at most
 * an eighth of the room. A holder that dies makes its shard empty itself. What `purged` says is asked at each read, so
 * a purge needs not touch the entries it covers.
 *
 * No pointer into the mapping leaves the module: what is found is copied into the caller's arena.
 */
#ifndef LARDER_L1_H
#define LARDER_L1_H

#include "cache/entry.h"
#include "cache/purged.h"

struct l1;

struct l1_found {
    struct entry entry; /* views in the arena, without tags; of body and gzip only the one that was wanted, or the
                           one there is */
    bool soft;          /* softly purged: stale from then on, whatever its times say */
};

struct l1_status {
    uint64_t size;              /* bytes for entries */
    uint64_t used;              /* bytes of them taken by entries, negative ones included */
    uint64_t entries, negative; /* `negative` of `entries` */
    uint64_t evicted;           /* since the start, not counting what had been purged or had ended */
    uint64_t emptied;           /* shards, because a holder died */
    uint64_t refused;           /* too large to be taken */
};

/* SIZE: of the whole mapping, 256 KiB at least; 0 makes an L1 that takes and finds nothing. PURGED must outlive it.
 * ERR_FULL when there is no memory to share. */
enum err l1_new(uint64_t size, struct purged *purged, struct l1 **out) ERR_CHECKED;
void l1_free(struct l1 **l1);
bool l1_enabled(const struct l1 *l1);
/* What is taken at most: key, ETag, content type, both bodies and some 150 bytes beside. About a twentieth of a shard
 * (of which there is one per 4 MiB, up to 64): 66,560 from 1 MiB on, 200 KB from 4 MiB on. */
size_t l1_entry_max(const struct l1 *l1);

/* The valid entry under KEY that was put with the same VARIANT and has not ended at NOW_MS (ENTRY's last time):
 * ERR_NOT_FOUND without one, ERR_LIMIT when ARENA is full. GZIP: the compressed body is wanted where there is one. */
enum err l1_get(struct l1 *l1, struct str key, uint64_t variant, bool gzip, int64_t now_ms, struct arena *arena,
                struct l1_found *out) ERR_CHECKED;
/* Keeps a copy of ENTRY (its tags are those it can be purged by), read when the host's number was STAMP, unless it has
 * been purged since; then nothing changes. Otherwise the one that was there under KEY goes, also when this one is too
 * large to be taken. VARIANT: of what must be the same for a reader to be given it. */
void l1_put(struct l1 *l1, struct str key, uint64_t variant, const struct entry *entry, uint64_t stamp, int64_t now_ms);
/* Makes room at once, for keys that are purged anyway; whether there was one. */
bool l1_remove(struct l1 *l1, struct str key);
void l1_status(struct l1 *l1, struct l1_status *out);

#endif
