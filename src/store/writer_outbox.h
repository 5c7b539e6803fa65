/*
 * writer_outbox: the outbox as its writer sees it: rows come with the data, and go once they have been carried out. Its
 * reading side is store/outbox.
 *
 * Everything here runs on the writer's connection, which is handed in, and inside the transaction that is open there.
 */
#ifndef LARDER_WRITER_OUTBOX_H
#define LARDER_WRITER_OUTBOX_H

#include <sqlite3.h>

#include "base/str.h"

enum { WRITER_OUTBOX_NOTED_MAX = 4096 };

struct writer_outbox;

struct writer_outbox *writer_outbox_new(void);
void writer_outbox_free(struct writer_outbox **outbox);
/* The connection is about to be closed: its statements go, and what was noted, for its numbers may mean other rows in
 * the database that is opened next. */
void writer_outbox_disconnect(struct writer_outbox *outbox);

/* Makes the table where there is none, and prepares the statements. */
enum err writer_outbox_connect(struct writer_outbox *outbox, sqlite3 *db, struct buf *why) ERR_CHECKED;
/* A new row of ITEMS (of outbox_encode), committed AT_MS. */
enum err writer_outbox_add(struct writer_outbox *outbox, sqlite3 *db, int64_t at_ms, struct str items, int64_t *id,
                           struct buf *why) ERR_CHECKED;

/* The highest id that a row has had; 0 without any, or where it cannot be told. */
int64_t writer_outbox_last(sqlite3 *db);

/* Remembers rows to be removed. ERR_LIMIT, and none of them is, when there would be more than
 * WRITER_OUTBOX_NOTED_MAX. */
enum err writer_outbox_note(struct writer_outbox *outbox, const int64_t *ids, size_t count) ERR_CHECKED;
bool writer_outbox_has_noted(const struct writer_outbox *outbox);
/* Removes the rows noted so far. They stay noted until the transaction's end is told. After an error it may have
 * removed some; that is the caller's to take back. */
enum err writer_outbox_remove(struct writer_outbox *outbox, sqlite3 *db, struct buf *why) ERR_CHECKED;
/* The transaction has ended. */
void writer_outbox_settle(struct writer_outbox *outbox, bool committed);

#endif
