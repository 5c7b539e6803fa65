/*
 * settle: what a write leaves to be told before its client hears of it: purges to the cache, scores to the boards in
 * L2. What the writes of a round leave is told together.
 */
#ifndef LARDER_SETTLE_H
#define LARDER_SETTLE_H

#include "api/app.h"
#include "l2/l2_boards.h"

/* What one write leaves. Embedded by its owner. */
struct settle_call {
    /* Items of cache/purge, and the row of the outbox that holds them; 0: none is known to. */
    const struct str *purges;
    size_t purges_count;
    int64_t outbox_id;
    const struct l2_boards_change *changes; /* of scores */
    size_t changes_count;
    void (*done)(struct settle_call *call);
    struct settle_call *next; /* this module's */
};

/* Of the event thread THREAD, which must outlive it. Its tick must come before that of the cache, so that what it has
 * to say is sent in the same round. */
struct settle;
struct settle *settle_new(const struct app_thread *thread);
/* Nothing may be on its way. NULL is a no-op. */
void settle_free(struct settle **settle);
/* Has CALL told. CALL->done is called once, from the loop, and never before this returns; whatever L2
 * said: what it could not be told is kept until it can. */
void settle_add(struct settle *settle, struct settle_call *call);

/* The same at once, for a list of calls, whose DONE is not called. For a pool thread's THREAD; blocks. */
void settle_now(struct app_thread *thread, const struct settle_call *calls);
/* Makes what the writer knows of L2's numbers and what L2's readers have seen agree: before a purge, so that L2 is not
 * taken for what it was when it has come back older, and before the writer hears that it has been carried out. */
void settle_numbers(const struct app *app);
/* Keeps ITEMS, purges that L2 could not be told, in the outbox, and what cannot be kept there as a debt of everything:
 * false, with WHY. For a pool thread's THREAD; blocks. */
bool settle_keep(struct app_thread *thread, const struct str *items, size_t count, struct buf *why);

#endif
