/*
 * writer_apply: what the journal holds, carried out in the database: a batch at a time, each as one transaction.
 */
#ifndef LARDER_WRITER_APPLY_H
#define LARDER_WRITER_APPLY_H

#include "store/writer_db.h"
#include "store/writer_journal.h"

struct writer_apply;

/* DB and JOURNAL must outlive it. */
struct writer_apply *writer_apply_new(struct writer_db *db, struct writer_journal *journal);
void writer_apply_free(struct writer_apply **apply);

/* What a batch was. */
struct writer_apply_batch {
    uint64_t upto; /* the position that was reached */
    unsigned count, failed;
    int64_t outbox_id; /* of its purges; 0: there are none */
};

/* Applies the next writes behind the position of the open journal, as many as a batch takes; at the journal's end the
 * position becomes at least the highest number given. ERR_OK: it is on the disk. After an error nothing of it is, and
 * it may be tried again. */
enum err writer_apply_some(struct writer_apply *apply, struct writer_apply_batch *out, struct buf *why) ERR_CHECKED;

#endif
