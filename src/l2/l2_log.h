/*
 * l2_log: follows the purge log of L2. For the one process of a host that does so (the housekeeper); a log belongs to
 * one thread and has a connection of its own.
 *
 * The log's ids are the sequence's numbers and have no gap. So a follower knows by itself whether it missed something:
 * the next record must have the next number, and when nothing comes, the sequence must stand where the follower does.
 */
#ifndef LARDER_L2_LOG_H
#define LARDER_L2_LOG_H

#include "l2/l2_job.h"
#include "l2/l2_purge.h"

enum { L2_LOG_RUN_ID_SIZE = 64 };

struct l2_log;

enum l2_log_event {
    L2_LOG_RECORD, /* a purge, `record` */
    L2_LOG_LEVEL,  /* contact, and nothing that has not been told: the follower stands where the sequence does */
    L2_LOG_GAP,    /* records are lost (the first contact, a flush, a log cut short): anything may have been purged */
    L2_LOG_BROKEN  /* no contact: connecting failed, an answer is late, the stream ended; the next call tries again */
};

struct l2_log_record {
    uint64_t number;
    struct l2_purge purge;
};

/* Where a follower stands, for its successor. All zeroes: nowhere. */
struct l2_log_place {
    uint64_t number;
    char run_id[L2_LOG_RUN_ID_SIZE]; /* of the server */
};

/* CONFIG and SHARED must outlive it. Does not connect yet. For a SHARED that has a log. Goes on behind PLACE, or, where
 * that is NULL or nowhere, begins with L2_LOG_GAP. */
struct l2_log *l2_log_open(const struct config *config, struct l2_shared *shared, const struct l2_log_place *place);
void l2_log_close(struct l2_log **log);
/* The next event. Waits at most WAIT_MS for one when there is contact (then L2_LOG_LEVEL); connecting and a late answer
 * take the configured time-outs besides. RECORD's views hold until the next call. WHY, of L2_LOG_BROKEN: static until
 * the next call. Does not report to the breaker. */
enum l2_log_event l2_log_next(struct l2_log *log, int64_t wait_ms, struct l2_log_record *record, const char **why);
/* The number that the follower stands at; 0 before the first contact. */
uint64_t l2_log_number(const struct l2_log *log);
/* What the caller has been told of so far. */
void l2_log_place(const struct l2_log *log, struct l2_log_place *out);
/* Monotonic: everything that was purged before this moment had been told when the last L2_LOG_LEVEL came. */
int64_t l2_log_level_ms(const struct l2_log *log);

#endif
