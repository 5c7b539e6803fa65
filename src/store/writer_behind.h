/*
 * writer_behind: writes behind. They are acknowledged when they stand in the journal (writer_journal), and applied to
 * the database afterwards, in batches, in the order in which they were accepted, each exactly once.
 */
#ifndef LARDER_WRITER_BEHIND_H
#define LARDER_WRITER_BEHIND_H

#include "store/writer_commit.h"

struct writer_behind;

/* CONFIG, DB and SHARED must outlive it. */
struct writer_behind *writer_behind_new(const struct config *config, struct writer_db *db,
                                        struct writer_shared *shared);
void writer_behind_free(struct writer_behind **behind);
/* Takes up a journal that is there from before: what of it has not been applied is pending. Fails nobody: a journal
 * that cannot be read is logged, and tried again when it is needed. */
void writer_behind_resume(struct writer_behind *behind);

/* Journals ITEMS, the writes behind of a round, with one commit, and answers them. The origin is told of a new journal
 * first: where that cannot be, nothing is accepted. */
void writer_behind_accept(struct writer_behind *behind, struct writer_commit_item *const *items, size_t count);
/* What stands under ITEM's key as a write behind: true, with its outcome, when there is something or it cannot be told.
 */
bool writer_behind_knows(struct writer_behind *behind, struct writer_commit_item *item);
/* A failed write is accepted again, or dropped, behind everything that was accepted before; answered. */
void writer_behind_resolve(struct writer_behind *behind, struct writer_commit_item *item);

/* When there is something to apply, monotonic; INT64_MAX: nothing. It gathers for a little while when others are served
 * meanwhile (BUSY). */
int64_t writer_behind_due_ms(const struct writer_behind *behind, bool busy);
/* Applies a batch. False when nothing is left, or it cannot be done for now. */
bool writer_behind_apply(struct writer_behind *behind);
/* Applies everything up to NUMBER, until UNTIL_MS (monotonic). ERR_FULL, ERR_BUSY: that cannot be done for now. */
enum err writer_behind_catch_up(struct writer_behind *behind, uint64_t number, int64_t until_ms) ERR_CHECKED;

#endif
