/*
 * writer_wal: what the writer's two databases, the origin and the journal, have in common: a write-ahead log that is
 * kept within its limit, and a disk that may be full.
 */
#ifndef LARDER_WRITER_WAL_H
#define LARDER_WRITER_WAL_H

#include <sqlite3.h>

#include "base/str.h"

struct writer_wal {
    uint64_t limit; /* bytes */
    uint64_t page_bytes;
    uint64_t bytes;      /* after the last commit */
    uint64_t seen;       /* at the last look */
    uint64_t checkpoint; /* the size at which the next checkpoint is due */
};

/* Puts DB into WAL mode, with synchronous=FULL and no automatic checkpoints, and follows its log in *WAL, which must
 * outlive the connection. PATH is for messages. ERR_UNAVAILABLE where WAL is impossible; others as rows_err. */
enum err writer_wal_init(struct writer_wal *wal, sqlite3 *db, const char *path, uint64_t limit,
                         struct buf *why) ERR_CHECKED;
/* After a commit: copies the log back into the database where it is due, and cuts it past its limit. May wait for
 * readers, for the busy timeout at most. ERR_OK too where that is what was missing. */
enum err writer_wal_checkpoint(struct writer_wal *wal, sqlite3 *db) ERR_CHECKED;

/* ERR, of the call on DB that failed last; but ERR_FULL instead of ERR_IO when the system had no room: a quota or a
 * limit on file sizes is a full disk. */
enum err writer_wal_judge(sqlite3 *db, enum err err) ERR_CHECKED;

#endif
