/*
 * l2_redis_log: the purge log of Redis as it comes, without judgement: a connection of its own, blocking reads with
 * deadlines. For l2_log alone.
 */
#ifndef LARDER_L2_REDIS_LOG_H
#define LARDER_L2_REDIS_LOG_H

#include "l2/l2_backend.h"
#include "l2/l2_log.h"

struct l2_redis_log;

/* RUN_ID: of the server that is taken for the same one; may be empty. */
struct l2_redis_log *l2_redis_log_open(const struct config *config, const struct l2_shared *shared, const char *run_id);
/* Of the server of the last connection. */
const char *l2_redis_log_run_id(const struct l2_redis_log *log);
void l2_redis_log_close(struct l2_redis_log **log);

/* After an error of the verbs below the connection is closed and l2_redis_log_why says what happened. */

/* Sees to it that there is a connection. *SAME: to the same run of the same server as the last one. ERR_UNAVAILABLE
 * when the one there was has ended meanwhile: the next call makes another. */
enum err l2_redis_log_connect(struct l2_redis_log *log, bool *same) ERR_CHECKED;
/* The sequence as it stands, begun anew if it is lost or older than the host has seen. */
enum err l2_redis_log_draw(struct l2_redis_log *log, uint64_t *number) ERR_CHECKED;
/* Asks for the records after LAST and then for the sequence, in this order: *COUNT records are there to be taken, and
 * *SEQ (0: lost) is what the sequence was after they had been read. Waits up to WAIT_MS for the first record. */
enum err l2_redis_log_fetch(struct l2_redis_log *log, uint64_t last, int64_t wait_ms, size_t *count,
                            uint64_t *seq) ERR_CHECKED;
/* The next of these records, while *COUNT says there are some; its views hold until the next fetch. ERR_CORRUPT: it is
 * none of ours; its number is set if it has one, else 0. */
enum err l2_redis_log_take(struct l2_redis_log *log, struct l2_log_record *record) ERR_CHECKED;
const char *l2_redis_log_why(const struct l2_redis_log *log);

#endif
