/*
 * policy: pure decisions about time: when an entry made now will end, and what an entry found now may be used for
 * (RFC 5861).
 */
#ifndef LARDER_POLICY_H
#define LARDER_POLICY_H

#include "cache/entry.h"

/* The cache rules of a resource. None is negative. */
struct policy {
    int64_t ttl_ms, stale_ms, stale_if_error_ms, negative_ms;
};

enum policy_verdict {
    POLICY_FRESH,          /* the entry's own times say so; a soft purge ends it by moving them */
    POLICY_STALE,          /* within `stale`: to be refreshed; usable meanwhile */
    POLICY_STALE_IF_ERROR, /* usable only when the origin fails */
    POLICY_DEAD
};

/* Whether answers of this kind are kept at all. */
bool policy_keeps(const struct policy *policy, bool negative);
/* Sets the four times of ENTRY (status 404: a negative entry, which is never stale). JITTER in [0, 1) shortens the
 * fresh life by up to 10 %. Times end at ENTRY_TIME_MAX_MS. */
void policy_stamp(const struct policy *policy, int64_t now_ms, double jitter, struct entry *entry);
/* A soft purge of ENTRY took effect at NOW_MS at the latest: fresh no longer, all else as before. */
void policy_end_fresh(struct entry *entry, int64_t now_ms);
enum policy_verdict policy_judge(const struct entry *entry, int64_t now_ms);
/* Whether a fresh ENTRY is to be computed anew a little early: the more probably the dearer it was to compute and the
 * nearer its end (XFetch: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", 2015).
 * CHANCE in (0, 1], drawn anew each time. */
bool policy_is_due_early(const struct entry *entry, int64_t now_ms, double chance);
/* How long a backend must keep ENTRY from now on; 0 when it is dead. */
int64_t policy_remaining_ms(const struct entry *entry, int64_t now_ms);

#endif
