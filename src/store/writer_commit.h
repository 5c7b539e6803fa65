/*
 * writer_commit: what clients ask, carried out: writes as groups with one commit for each group, batches each by
 * itself.
 */
#ifndef LARDER_WRITER_COMMIT_H
#define LARDER_WRITER_COMMIT_H

#include <signal.h>

#include "store/writer.h"
#include "store/writer_db.h"
#include "store/writer_peer.h"

/* One write, or some purges to keep, on its way: who asked, what, and what became of it. Zero-initialised; used again
 * and again. */
struct writer_commit_item {
    struct writer_peer *peer;
    struct writer_frame_request request;
    struct writer_db_outcome outcome;
    uint64_t number; /* in the journal; 0: it went there not, or not now */
    bool apart;      /* has spoilt a transaction: not tried again */
};

/* Carries out the first of ITEMS (at least one) as one transaction and answers them, after the commit. How many they
 * were: a group ends early when it has taken long. What the outbox is rid of by the way fails nobody. */
size_t writer_commit_group(struct writer_db *db, struct writer_commit_item *const *items, size_t count,
                           struct writer_shared *shared);

/* Rids the outbox of the rows that have been carried out, as a transaction of its own. After an error they are still to
 * be removed. */
enum err writer_commit_purged(struct writer_db *db, struct writer_shared *shared, struct buf *why) ERR_CHECKED;

/* The batch that PEER begins with REQUEST, to its end, while everybody else waits. Returns when it was committed or
 * taken back: because a row failed, PEER was silent or vanished, or *STOP. SIGNALS is the mask while waiting. */
void writer_commit_batch(struct writer_db *db, struct writer_peer *peer, const struct writer_frame_request *request,
                         struct writer_shared *shared, const volatile sig_atomic_t *stop, const sigset_t *signals);

/* For whoever carries out items in another way: OUTCOME becomes ERR, told by WHY or else in the table's words; and the
 * answers to who asked. */
void writer_commit_fail(struct writer_db_outcome *outcome, enum err err, struct str why);
void writer_commit_answer(struct writer_commit_item *const *items, size_t count);

/* A transaction with WRITTEN writes has been committed, before anybody is answered. SCORES: it may have changed some
 * that nobody tells of. */
void writer_commit_note(struct writer_db *db, struct writer_shared *shared, uint64_t written, bool scores);

void writer_commit_item_fini(struct writer_commit_item *item);

#endif
