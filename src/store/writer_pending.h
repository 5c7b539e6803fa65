/*
 * writer_pending: which entries are about to change because of writes that have been accepted and not yet applied. In
 * shared memory: the writer says, every reader of the host asks.
 *
 * A write is known by its number, which grows. It is pending from before it is acknowledged until it has been settled:
 * applied to the database, and its purges carried out. An entry is covered while a pending write purges its key, one of
 * its tags, a pattern or everything. The answer to a reader may be yes for an entry that is not covered (keys and tags
 * share slots), never no for one that is.
 */
#ifndef LARDER_WRITER_PENDING_H
#define LARDER_WRITER_PENDING_H

#include <stdatomic.h>

#include "base/str.h"

enum { WRITER_PENDING_SLOTS = 4096 };

/* Zero-initialised. */
struct writer_pending {
    _Atomic uint64_t accepted, applied, settled; /* the highest numbers */
    _Atomic int64_t outbox_id;                   /* of the purges of what was applied last */
    _Atomic bool stalled;                        /* applying fails for now, for a reason that time may mend */
    _Atomic uint64_t everything;
    _Atomic uint64_t slots[WRITER_PENDING_SLOTS];
};

/* For the writer. ITEMS is a list of outbox_encode. Write NUMBER is pending. */
void writer_pending_add(struct writer_pending *pending, struct str items, uint64_t number);
/* Everything up to NUMBER has been applied; its purges stand in the outbox, the last of them as OUTBOX_ID. */
void writer_pending_applied(struct writer_pending *pending, uint64_t number, int64_t outbox_id);
/* The highest number of a write that purges one of ITEMS too and has not been applied; 0 without one. */
uint64_t writer_pending_before(const struct writer_pending *pending, struct str items);

/* For whoever carries out the outbox. What has been applied so far, and the row of the outbox up to which everything
 * must have been carried out before that is settled. To be asked before the outbox is read. */
uint64_t writer_pending_to_settle(const struct writer_pending *pending, int64_t *outbox_id);
void writer_pending_settle(struct writer_pending *pending, uint64_t number);

/* How many have been accepted and are not applied. */
uint64_t writer_pending_depth(const struct writer_pending *pending);
/* For readers. Whether anything is pending; one look at memory. */
static inline bool writer_pending_any(const struct writer_pending *pending)
{
    return atomic_load_explicit(&pending->accepted, memory_order_acquire) >
           atomic_load_explicit(&pending->settled, memory_order_relaxed);
}
/* The highest number of a pending write that covers an entry; 0 without one. */
uint64_t writer_pending_covers(const struct writer_pending *pending, struct str key, const struct str *tags,
                               size_t tags_count);
/* Waits until NUMBER has been applied: true; until applying is stalled, or for WAIT_MS at most: false. Blocks. */
bool writer_pending_await(const struct writer_pending *pending, uint64_t number, int64_t wait_ms);

#endif
