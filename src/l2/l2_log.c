/*
 * l2_log: what a follower of the log may conclude from what it reads.
 *
 * Invariant: `last` is the number up to which the caller has been told everything, and L2_LOG_LEVEL is only said when
 * the sequence, read after the records, is exactly `last`. Drawing a number and logging it are one step, so a sequence
 * at `last` means that nothing but what was told had been purged when it was read. A sequence ahead of `last` means
 * records to come: they were logged before the sequence was read, so a read of the log after that must give them; when
 * it gives nothing, they are lost. A sequence behind, or none, has been lost and is begun anew.
 *
 * Numbers alone cannot tell a server that came back with older contents, once others have drawn as many numbers again.
 * So a connection to another run of the server than the last one is a gap, too. It refuses to guess: what it cannot
 * read, and a number that is not the next one, may have been any purge.
 */
#include "l2/l2_log.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/sys.h"
#include "l2/l2_redis_log.h"

struct l2_log {
    struct l2_redis_log *redis;
    struct l2_health *health;
    uint64_t last;
    size_t buffered;   /* records that have been read and not been told */
    bool must_judge;   /* `seq` has been read and not been compared with `last` */
    bool found_none;   /* with it came no record */
    bool is_fresh;     /* contact has been lost, and nothing read since: the sooner it is known what there is the better */
    uint64_t seq, due; /* the sequence after the last read of the log, and after the one before */
    int64_t asked_ms;  /* when that last read was sent */
    int64_t level_ms;
};

struct l2_log *l2_log_open(const struct config *config, struct l2_shared *shared, const struct l2_log_place *place)
{
    struct l2_log *log = sys_calloc(1, sizeof(*log));

    log->redis = l2_redis_log_open(config, shared, place ? place->run_id : "");
    log->last = place ? place->number : 0;
    log->health = shared->health;
    return log;
}

void l2_log_close(struct l2_log **log)
{
    if (!*log)
        return;
    l2_redis_log_close(&(*log)->redis);
    free(*log);
    *log = NULL;
}

uint64_t l2_log_number(const struct l2_log *log)
{
    return log->last;
}

void l2_log_place(const struct l2_log *log, struct l2_log_place *out)
{
    out->number = log->last;
    snprintf(out->run_id, sizeof(out->run_id), "%s", l2_redis_log_run_id(log->redis));
}

int64_t l2_log_level_ms(const struct l2_log *log)
{
    return log->level_ms;
}

static enum l2_log_event lose_contact(struct l2_log *log, const char **why)
{
    log->buffered = 0;
    log->must_judge = false;
    log->is_fresh = true;
    log->due = 0;
    *why = l2_redis_log_why(log->redis);
    return L2_LOG_BROKEN;
}

/* Stands where the sequence does from now on, whatever was lost. */
static enum l2_log_event begin_anew(struct l2_log *log, const char **why)
{
    uint64_t number;

    log->buffered = 0;
    log->must_judge = false;
    log->due = 0;
    if (l2_redis_log_draw(log->redis, &number) != ERR_OK) {
        /* Until it is known where the sequence stands, nothing that comes may pass for the next record. */
        log->last = 0;
        return lose_contact(log, why);
    }
    log->last = number;
    return L2_LOG_GAP;
}

static enum l2_log_event tell(struct l2_log *log, struct l2_log_record *record, const char **why)
{
    enum err err = l2_redis_log_take(log->redis, record);

    log->buffered--;
    if (err != ERR_OK || record->number != log->last + 1)
        return begin_anew(log, why);
    log->last = record->number;
    return L2_LOG_RECORD;
}

/* Compares the sequence with `last`, where all records that were read have been told. False when that is not the end of
 * it: more must be read. */
static bool judge(struct l2_log *log, enum l2_log_event *event, const char **why)
{
    uint64_t due = log->due;

    log->must_judge = false;
    log->due = log->seq;
    if (log->seq == log->last) {
        *event = L2_LOG_LEVEL;
        log->level_ms = log->asked_ms;
        return true;
    }
    if (log->seq > log->last && !(log->found_none && due > log->last))
        return false;
    *event = begin_anew(log, why);
    return true;
}

enum l2_log_event l2_log_next(struct l2_log *log, int64_t wait_ms, struct l2_log_record *record, const char **why)
{
    enum l2_log_event event;
    bool same;

    for (;;) {
        if (log->buffered > 0)
            return tell(log, record, why);
        if (log->must_judge && judge(log, &event, why))
            return event;
        if (l2_redis_log_connect(log->redis, &same) != ERR_OK)
            return lose_contact(log, why);
        if (log->last == 0 || !same)
            return begin_anew(log, why);
        log->asked_ms = sys_monotonic_ms();
        /* What is known to be there is not waited for. */
        if (l2_redis_log_fetch(log->redis, log->last, log->due > log->last || log->is_fresh ? 0 : wait_ms,
                               &log->buffered, &log->seq) != ERR_OK)
            return lose_contact(log, why);
        log->is_fresh = false;
        log->must_judge = true;
        log->found_none = log->buffered == 0;
    }
}
