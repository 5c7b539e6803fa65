/*
 * l2: the one door to the cache that hosts share: verbs, deadlines, the breaker, and what no backend may get wrong.
 *
 * Every purge draws a number from one sequence kept in L2 (`seq`). A read returns that sequence as it stood (`stamp`),
 * and only entries whose own stamp is not older than the last purge of any of their tags, or of everything. A fill is
 * refused when `seq` has moved since its stamp was read: whoever read the old row before a purge can never store it
 * after. Losing `seq` (flushed, evicted) invalidates everything: it restarts above every number drawn before. The stamp
 * stands in front of the entry's bytes, which are opaque here.
 *
 * Failures are not errors to anybody's client: they count against the breaker, whose state is shared by the host, and
 * read as a miss that must not be filled. When a purge could not be brought to L2, L2 is distrusted (not read) until
 * everything in it has been invalidated.
 *
 * One struct l2 belongs to one thread. With a loop, l2_read is asynchronous; without, or for `memory:`, it calls back
 * before it returns.
 */
#ifndef LARDER_L2_H
#define LARDER_L2_H

#include "base/arena.h"
#include "base/loop.h"
#include "config/config.h"

enum { L2_TAGS_MAX = 16 };

struct l2;
struct l2_shared; /* breaker, distrust, and the table of `memory:`, in shared memory; made before the fork */

enum l2_result {
    L2_FOUND,
    L2_ABSENT,     /* not there, or purged; a fill under `stamp` may be tried */
    L2_UNAVAILABLE /* not asked, failed or timed out: as absent, but do not fill */
};

struct l2_read {
    enum l2_result result;
    struct str bytes; /* borrowed: valid until the callback returns (asynchronous) or the next verb on the same l2 */
    uint64_t stamp;   /* the sequence as it stood, for l2_fill */
};

typedef void l2_read_fn(void *context, const struct l2_read *read);

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
/* Opens a thread's view; connects lazily, never blocks. CONFIG and SHARED must outlive it. LOOP may be NULL; its last
 * tick must be over before l2_close. The breaker's settings of the host are from then on those of CONFIG. */
struct l2 *l2_open(const struct config *config, struct l2_shared *shared, const struct loop *loop);
/* Calls back whoever still waits (L2_UNAVAILABLE) and frees. */
void l2_close(struct l2 **l2);

/* Reads KEY, judged by TAGS (the tags it was or would be filled with). FN is called exactly once, perhaps before this
 * returns. Views need only live until l2_read returns. */
void l2_read(struct l2 *l2, struct str key, const struct str *tags, size_t tags_count, l2_read_fn *fn, void *context);

/* The verbs below are for threads that may block (at most the configured time-outs), on an l2 without loop. */

/* Stores BYTES for TTL_MS, stamped STAMP, unless a purge was drawn since STAMP was read: *STORED says.
 * ERR_READ_ONLY: L2 can be read but takes nothing at present; ERR_UNAVAILABLE and others: it could not be asked. */
enum err l2_fill(struct l2 *l2, struct str key, struct str bytes, int64_t ttl_ms, uint64_t stamp,
                 bool *stored) ERR_CHECKED;
/* Invalidates everything that carries one of TAGS and is stamped before now, and refuses fills under way. When it
 * cannot be told to L2 the purge is kept as distrust, and ERR_UNAVAILABLE returned. */
enum err l2_purge_tags(struct l2 *l2, const struct str *tags, size_t tags_count) ERR_CHECKED;
/* Invalidates everything at once. Same failure. */
enum err l2_purge_all(struct l2 *l2) ERR_CHECKED;
/* Removes KEYS; *REMOVED counts those that were there. Same failure. */
enum err l2_purge_keys(struct l2 *l2, const struct str *keys, size_t keys_count, size_t *removed) ERR_CHECKED;
/* Removes every key that PATTERN matches. *REMOVED as above. May take long: scans in batches. Same failure. */
enum err l2_purge_pattern(struct l2 *l2, struct str pattern, size_t *removed) ERR_CHECKED;

/* One page of keys that match: about LIMIT at most (1000 are never passed by much), in ARENA, perhaps none. *CURSOR is
 * 0 to begin and 0 again at the end; any other number is safe, whoever it comes from. Entries invalidated by a tag are
 * still listed, those invalidated with everything are not. */
enum err l2_scan(struct l2 *l2, struct str pattern, uint64_t *cursor, size_t limit, struct arena *arena,
                 struct str **keys, size_t *count) ERR_CHECKED;

void l2_status(const struct l2_shared *shared, struct l2_status *out);
/* Whether L2 answers now (PING); for readiness and `status`. */
enum err l2_ping(struct l2 *l2) ERR_CHECKED;

#endif
