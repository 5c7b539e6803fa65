/*
 * writer_replay: what writes with an idempotency key were answered, so that the same write, sent again within a day,
 * is answered alike and not carried out again. (The header field Idempotency-Key of
 * draft-ietf-httpapi-idempotency-key-header.)
 *
 * Table larder_replays, in the database where the writes themselves are committed, and committed with them: a write and
 * what is known of it are there both or neither. Everything runs on the connection that is handed in and inside the
 * transaction that is open there.
 */
#ifndef LARDER_WRITER_REPLAY_H
#define LARDER_WRITER_REPLAY_H

#include "base/str.h"

struct sqlite3;
struct writer_replay;

enum { WRITER_REPLAY_KEPT_MS = 24 * 60 * 60 * 1000 };

struct writer_replay *writer_replay_new(void);
void writer_replay_free(struct writer_replay **replay);
/* The connection is about to be closed. */
void writer_replay_disconnect(struct writer_replay *replay);

/* The bytes that were kept under KEY for a request with this PRINT, no longer ago than WRITER_REPLAY_KEPT_MS, appended
 * to ANSWER. ERR_NOT_FOUND; ERR_EXISTS: it was another request. Other errors: rows_err. */
enum err writer_replay_find(struct writer_replay *replay, struct sqlite3 *db, struct str key, struct str print,
                            int64_t now_ms, struct buf *answer, struct buf *why) ERR_CHECKED;
/* Keeps ANSWER, and forgets a few that are too old. */
enum err writer_replay_keep(struct writer_replay *replay, struct sqlite3 *db, struct str key, struct str print,
                            int64_t now_ms, struct str answer, struct buf *why) ERR_CHECKED;

#endif
