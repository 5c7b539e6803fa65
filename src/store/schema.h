/*
 * schema: larder's own tables, which stand beside those of the migrations in the same database. Their names begin with
 * larder_, and no version tells of them: each is made where it is missing.
 *
 * larder_outbox      purges committed with the data (store/outbox)
 * larder_told        one row: the highest number that a purge, now gone from the outbox, is known to have in L2
 * larder_scores      the boards' scores, the only ones that statements may read and write; larder_boards counts them
 * larder_score_log   what changed in them, in order: whoever follows it has the same scores; see below
 * larder_replays     what writes with an idempotency key were answered (store/writer_replay)
 * larder_journals    journals of writes behind, and how far each has been applied (store/writer_position)
 * larder_failures    those writes behind that could not be applied (the same)
 * larder_changes     how often each watched table has changed, and up to which of these changes what depends on it has
 *                    been purged (store/watch, store/changes)
 * larder_state       one row: `own` is 1 in a transaction, and only there, while the writer runs a write that says
 *                    itself what it changes
 *
 * Triggers keep the log and the count, whoever writes to larder_scores. `seq` of the log is drawn once for every change
 * of a score, and is the row's `reached`: of two equal scores the one with the lower number was reached first. A row of
 * the log without a score says that the member was removed.
 */
#ifndef LARDER_SCHEMA_H
#define LARDER_SCHEMA_H

#include "base/str.h"

struct sqlite3;

/* Makes what is missing. Inside a transaction or outside; as one in any case. Errors are those of rows_err. */
enum err schema_make(struct sqlite3 *db, struct buf *why) ERR_CHECKED;
/* The same for larder_replays alone, in a database that is not the origin. */
enum err schema_make_replays(struct sqlite3 *db, struct buf *why) ERR_CHECKED;

#endif
