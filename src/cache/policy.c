/*
 * policy: what time allows.
 *
 * Invariant: an answer's life begins when its request did, not when the origin was done, so nobody is told that it is
 * younger than the data in it; and nothing lives longer than the resource's durations say. Jitter only ever shortens
 * it: entries filled together by a warm start do not end together.
 *
 * A negative entry has no stale time: that a row is absent is cheap to find out again, and wrong to insist on.
 * Nothing here reads a clock or allocates.
 */
#include "cache/policy.h"

#include <math.h>

#define JITTER_SHARE 0.1

bool policy_keeps(const struct policy *policy, bool negative)
{
    return (negative ? policy->negative_ms : policy->ttl_ms) > 0;
}

/* TIME + SPAN, at most the last time that an entry can hold. */
static int64_t later(int64_t time_ms, int64_t span_ms)
{
    return span_ms >= ENTRY_TIME_MAX_MS - time_ms ? ENTRY_TIME_MAX_MS : time_ms + span_ms;
}

static int64_t shorten(int64_t life_ms, double jitter)
{
    if (!(jitter > 0))
        return life_ms;
    return life_ms - (int64_t)((double)life_ms * JITTER_SHARE * (jitter < 1 ? jitter : 1));
}

void policy_stamp(const struct policy *policy, int64_t now_ms, double jitter, struct entry *entry)
{
    bool negative = entry->status == 404;
    int64_t error_ms = policy->stale_if_error_ms > policy->stale_ms ? policy->stale_if_error_ms : policy->stale_ms;
    int64_t fresh_until_ms = later(now_ms, shorten(negative ? policy->negative_ms : policy->ttl_ms, jitter));

    entry->stored_at_ms = now_ms;
    entry->fresh_until_ms = fresh_until_ms;
    entry->stale_until_ms = negative ? fresh_until_ms : later(fresh_until_ms, policy->stale_ms);
    entry->error_until_ms = negative ? fresh_until_ms : later(fresh_until_ms, error_ms);
}

enum policy_verdict policy_judge(const struct entry *entry, int64_t now_ms)
{
    if (now_ms < entry->fresh_until_ms)
        return POLICY_FRESH;
    if (now_ms < entry->stale_until_ms)
        return POLICY_STALE;
    return now_ms < entry->error_until_ms ? POLICY_STALE_IF_ERROR : POLICY_DEAD;
}

void policy_end_fresh(struct entry *entry, int64_t now_ms)
{
    if (entry->fresh_until_ms > now_ms)
        entry->fresh_until_ms = now_ms;
}

bool policy_is_due_early(const struct entry *entry, int64_t now_ms, double chance)
{
    double left_us = (double)(entry->fresh_until_ms - now_ms) * 1000;

    /* The usual case, without a logarithm: more than 30 times the cost has never been drawn by anybody. */
    if (left_us > 30.0 * entry->cost_us)
        return false;
    return -log(chance > 0 ? chance : 1e-12) * entry->cost_us >= left_us;
}

int64_t policy_remaining_ms(const struct entry *entry, int64_t now_ms)
{
    int64_t end_ms = entry->fresh_until_ms;

    if (entry->stale_until_ms > end_ms)
        end_ms = entry->stale_until_ms;
    if (entry->error_until_ms > end_ms)
        end_ms = entry->error_until_ms;
    return end_ms > now_ms ? end_ms - now_ms : 0;
}
