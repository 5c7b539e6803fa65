/*
 * writer_position: what the origin knows of the journals of writes behind: how far each has been applied, and which of
 * their writes failed. It stands beside the data, so that a write and the knowledge that it was applied are committed
 * together: that is what "exactly once" rests on.
 *
 * Tables larder_journals and larder_failures (store/schema). Everything runs on the connection that is handed in and
 * inside the transaction that is open there. Read by store/receipt.
 */
#ifndef LARDER_WRITER_POSITION_H
#define LARDER_WRITER_POSITION_H

#include "base/str.h"
#include "base/sys.h"

struct sqlite3;
struct writer_position;

/* A journal as its receipts know it. */
struct writer_position_journal {
    uint64_t number; /* all of its writes have higher ones; no other journal's are between */
    unsigned char secret[SYS_MAC_KEY_LEN];
};

struct writer_position *writer_position_new(void);
void writer_position_free(struct writer_position **position);
/* The connection is about to be closed. */
void writer_position_disconnect(struct writer_position *position);

/* How far JOURNAL has been applied: its own number when nothing of it has been. Its receipts are known from then on. */
enum err writer_position_find(struct writer_position *position, struct sqlite3 *db,
                              const struct writer_position_journal *journal, uint64_t *upto,
                              struct buf *why) ERR_CHECKED;
enum err writer_position_advance(struct writer_position *position, struct sqlite3 *db, uint64_t journal, uint64_t upto,
                                 struct buf *why) ERR_CHECKED;

/* Write ID, accepted AT_MS as REQUEST, cannot be applied: ERR, and REASON for people. */
enum err writer_position_fail(struct writer_position *position, struct sqlite3 *db, uint64_t id, int64_t at_ms,
                              struct str request, enum err error, struct str reason, struct buf *why) ERR_CHECKED;
/* The request of a failed write. ERR_NOT_FOUND where there is none, or no longer. */
enum err writer_position_load(struct writer_position *position, struct sqlite3 *db, uint64_t id, struct buf *request,
                              struct buf *why) ERR_CHECKED;
/* A failed write was repeated as SUCCESSOR, or dropped (0). Its request is forgotten. ERR_NOT_FOUND as above. */
enum err writer_position_resolve(struct writer_position *position, struct sqlite3 *db, uint64_t id, uint64_t successor,
                                 struct buf *why) ERR_CHECKED;

#endif
