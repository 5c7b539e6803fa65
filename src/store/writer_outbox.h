/*
 * writer_outbox: what is to be purged, as the writer sees it. Rows of the outbox come with the data, and go once they
 * have been carried out; the counts of changes (store/watch) are kept from counting what brings its own purges, and it
 * is noted up to where they have been dealt with. The reading sides are store/outbox and store/changes.
 *
 * Everything here runs on the writer's connection, which is handed in, and inside the transaction that is open there.
 */
#ifndef LARDER_WRITER_OUTBOX_H
#define LARDER_WRITER_OUTBOX_H

#include <sqlite3.h>

#include "config/params.h"
#include "store/writer_shares.h"

enum { WRITER_OUTBOX_NOTED_MAX = 4096, WRITER_OUTBOX_TABLES_MAX = 1024 };

struct writer_outbox;

/* SHARES, of its rows, must outlive it; what they know is forgotten now, and whenever the connection goes. */
struct writer_outbox *writer_outbox_new(struct writer_shares *shares);
void writer_outbox_free(struct writer_outbox **outbox);
/* The connection is about to be closed: its statements go, and what was noted, for its numbers may mean other rows in
 * the database that is opened next. */
void writer_outbox_disconnect(struct writer_outbox *outbox);

/* Makes the table where there is none, and prepares the statements. */
enum err writer_outbox_connect(struct writer_outbox *outbox, sqlite3 *db, struct buf *why) ERR_CHECKED;
/* A new row of ITEMS (of outbox_encode) of so many WRITES (1 or more), committed AT_MS. One in a transaction. */
enum err writer_outbox_add(struct writer_outbox *outbox, sqlite3 *db, int64_t at_ms, struct str items, size_t writes,
                           int64_t *id, struct buf *why) ERR_CHECKED;

/* The highest id that a row has had; 0 without any, or where it cannot be told. */
int64_t writer_outbox_last(sqlite3 *db);

/* Remembers rows to be removed. ERR_LIMIT, and none of them is, when there would be more than WRITER_OUTBOX_NOTED_MAX.
 */
enum err writer_outbox_note(struct writer_outbox *outbox, const int64_t *ids, size_t count) ERR_CHECKED;
/* Remembers up to which changes of TABLES what depends on them has been purged. Without any: that the schema is another
 * one, so that the connection is to be opened anew. ERR_LIMIT: more than WRITER_OUTBOX_TABLES_MAX tables. */
enum err writer_outbox_note_changed(struct writer_outbox *outbox, const struct params_values *tables) ERR_CHECKED;
/* Remembers the number of the last purge that L2 was told of before the two above were; 0: not known. */
void writer_outbox_note_told(struct writer_outbox *outbox, uint64_t number);
/* Whether the schema is another one than when the connection was made, as somebody said. */
bool writer_outbox_is_outdated(const struct writer_outbox *outbox);
/* What follows in the transaction brings its own purges (OWN), or is to be counted, as what other programs change is. A
 * transaction begins by counting, and must also end so. Does nothing where it is so already, or nothing is watched. */
enum err writer_outbox_tell_own(struct writer_outbox *outbox, sqlite3 *db, bool own, struct buf *why) ERR_CHECKED;
bool writer_outbox_has_noted(const struct writer_outbox *outbox);
/* Removes the rows noted so far, and writes down the changes. They stay noted until the transaction's end is told.
 * After an error it may have removed some; that is the caller's to take back. */
enum err writer_outbox_remove(struct writer_outbox *outbox, sqlite3 *db, struct buf *why) ERR_CHECKED;
/* What writer_outbox_remove has done has been taken back, and the transaction goes on: all is noted still. */
void writer_outbox_take_back(struct writer_outbox *outbox);
/* The transaction has ended. */
void writer_outbox_settle(struct writer_outbox *outbox, bool committed);

#endif
