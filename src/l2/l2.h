/*
 * l2: the one door to the cache that hosts share: verbs, deadlines, leases, the purge log, the breaker, and what no
 * backend may get wrong.
 *
 * Every purge goes through one log and draws a number from one sequence kept in L2 (`seq`); the log's ids are these
 * numbers, without a gap. An entry carries the number that stood when its lease was taken (its stamp). A read returns
 * only entries that no later purge of their key, of one of their tags, of a pattern or of everything covers; what
 * judges them comes in the same round trip. A fill is stored only under the lease that still holds, and a purge ends
 * the leases it covers: whoever read the old row before a purge can never store it after. Losing `seq` (flushed,
 * evicted) invalidates everything: it restarts above every number drawn before. The stamp stands in front of the
 * entry's bytes, which are opaque here.
 *
 * Failures are not errors to anybody's client: they count against the breaker, whose state is shared by the host, and
 * read as a miss that must not be filled. While L2 is distrusted it is neither read nor filled: from when a purge could
 * not be told to it, or contact with the log was lost, until whoever follows the log has told it all that it missed.
 *
 * One struct l2 belongs to one thread. With a loop, l2_read is asynchronous; without, or for `memory:`, it calls back
 * before it returns.
 */
#ifndef LARDER_L2_H
#define LARDER_L2_H

#include "base/arena.h"
#include "base/loop.h"
#include "config/config.h"

enum { L2_TAGS_MAX = 16, L2_SPENT_MAX = 64, L2_NAMES_MAX = 64, L2_PATTERN_MAX = 512 };

struct l2;
struct l2_shared; /* breaker, distrust, and the table of `memory:`, in shared memory; made before the fork */

enum l2_result {
    L2_FOUND,
    L2_ABSENT,     /* not there, or purged */
    L2_UNAVAILABLE /* not asked, failed or timed out */
};

struct l2_read {
    enum l2_result result;
    struct str bytes; /* borrowed: valid until the callback returns (asynchronous) or the next verb on the same l2 */
    bool soft;        /* softly purged: stale, whatever its bytes say */
};

typedef void l2_read_fn(void *context, const struct l2_read *read);

/* The right to fill one key, as L2 knows it. */
struct l2_lease {
    uint64_t token; /* drawn at random; 0: none, a fill under it is not tried */
    uint64_t stamp; /* the sequence as it stood */
};

enum l2_claim_result {
    L2_CLAIM_TAKEN, /* *LEASE is the caller's */
    L2_CLAIM_FOUND, /* there is an entry by now: `bytes` and `soft` */
    L2_CLAIM_HELD,  /* another host fills it */
    L2_CLAIM_UNAVAILABLE
};

struct l2_claim {
    enum l2_claim_result result;
    struct l2_lease lease;
    struct str bytes; /* borrowed, until the next verb on the same l2 */
    bool soft;
};

enum l2_breaker { L2_CLOSED, L2_OPEN, L2_HALF_OPEN };

struct l2_status {
    const char *backend; /* "redis", "memory" */
    struct str where;    /* the URL without secrets */
    enum l2_breaker breaker;
    uint64_t breaker_opened; /* times, since start */
    bool distrusted;
    struct str last_error; /* text of the last failure, in shared memory's copy; empty without */
    int64_t last_error_ms;
};

/* Makes what the host's processes share. LIFE_MS: how long purged tags must be remembered. ERR_SYNTAX with WHY for a
 * URL that is wrong, ERR_FULL with WHY when there is no memory to share. */
enum err l2_shared_new(const struct config *config, int64_t life_ms, struct l2_shared **out,
                       struct buf *why) ERR_CHECKED;
void l2_shared_free(struct l2_shared **shared);
/* Whether other hosts may purge too, so that there is a log to follow (l2_log.h). */
bool l2_shared_has_log(const struct l2_shared *shared);
/* Opens a thread's view; connects lazily, never blocks. CONFIG and SHARED must outlive it. LOOP may be NULL; its last
 * tick must be over before l2_close. The breaker's settings of the host are from then on those of CONFIG. */
struct l2 *l2_open(const struct config *config, struct l2_shared *shared, const struct loop *loop);
/* Calls back whoever still waits (L2_UNAVAILABLE) and frees. */
void l2_close(struct l2 **l2);

/* Reads KEY, judged by TAGS (the tags it was or would be filled with). FN is called exactly once, perhaps before this
 * returns; KEY's bytes must live until then, the tags' until l2_read returns. */
void l2_read(struct l2 *l2, struct str key, const struct str *tags, size_t tags_count, l2_read_fn *fn, void *context);

/* The verbs below are for threads that may block (at most the configured time-outs), on an l2 without loop. Purging is
 * in l2_purge.h. */

/* One round trip that returns the entry, or grants the lease for LIFE_MS, or says that another host holds it; that of
 * somebody on this host is taken over, for who may fill here is settled before (cache/lease.h). An entry
 * whose bytes begin with SPENT (at most L2_SPENT_MAX; empty: none) is one that the caller wants to replace. */
void l2_claim(struct l2 *l2, struct str key, const struct str *tags, size_t tags_count, struct str spent,
              int64_t life_ms, struct l2_claim *out);
/* Stores BYTES for TTL_MS if LEASE still holds KEY and nothing that covers KEY or TAGS was purged since its stamp, and
 * ends the lease: *STORED says. ERR_READ_ONLY: L2 can be read but takes nothing at present; ERR_UNAVAILABLE and others:
 * it could not be asked. */
enum err l2_fill(struct l2 *l2, struct str key, const struct str *tags, size_t tags_count, struct str bytes,
                 int64_t ttl_ms, const struct l2_lease *lease, bool *stored) ERR_CHECKED;
/* Ends the lease without a fill. What goes wrong is left to its end of life. */
void l2_release(struct l2 *l2, struct str key, const struct l2_lease *lease);

/* One page of keys that match: about LIMIT at most (1000 are never passed by much), in ARENA, perhaps none. *CURSOR is
 * 0 to begin and 0 again at the end; any other number is safe, whoever it comes from. Entries invalidated by a tag are
 * still listed, those invalidated with everything are not. */
enum err l2_scan(struct l2 *l2, struct str pattern, uint64_t *cursor, size_t limit, struct arena *arena,
                 struct str **keys, size_t *count) ERR_CHECKED;

/* The host's opinion, for whoever follows the log and drains what L2 was not told. */
void l2_distrust(struct l2_shared *shared);
/* The same before the log is followed for the first time, which is no event. */
void l2_begin(struct l2_shared *shared);
bool l2_distrusted(const struct l2_shared *shared, uint64_t *epoch);
/* L2 does not answer whoever follows its log, or does: nobody else need find that out. Opens or closes the breaker. */
void l2_trip(struct l2_shared *shared, const char *why);
void l2_revive(struct l2_shared *shared);
/* L2 has been told all that it had missed when EPOCH was read. Ends the distrust unless there was a new reason since.
 */
void l2_trust(struct l2_shared *shared, uint64_t epoch);

/* The highest number of the sequence that this host knows of. An L2 that is met below it has lost what it was told: all
 * that it holds is invalid. l2_saw: somebody who remembers knows of NUMBER. */
uint64_t l2_seen(const struct l2_shared *shared);
void l2_saw(struct l2_shared *shared, uint64_t number);

void l2_status(const struct l2_shared *shared, struct l2_status *out);
/* Whether L2 answers now (PING); for readiness and `status`. */
enum err l2_ping(struct l2 *l2) ERR_CHECKED;

struct l2_size {
    uint64_t keys, bytes;
};

/* What L2 holds, that of other programs included; for `status`. ERR_NOT_FOUND: this backend does not know. */
enum err l2_measure(struct l2 *l2, struct l2_size *out) ERR_CHECKED;

#endif
