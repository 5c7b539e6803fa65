/*
 * l2_redis_log: XREAD, and what goes with it.
 *
 * Invariant: the sequence is read after the records, on one connection, so it never stands behind what they say. While
 * XREAD blocks, Redis holds the command behind it back; when it does not block, nothing comes between the two.
 *
 * Every answer has a deadline, the waiting and the configured time-out: a connection that is half open is noticed by
 * then. BLOCK 0 would wait forever and is never sent. No failure here is reported to the breaker: the log has its own
 * rhythm, and a broken one is distrust, which is more.
 */
#include "l2/l2_redis_log.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/sys.h"
#include "l2/l2_redis_call.h"
#include "l2/l2_redis_script.h"

enum { RECORDS_MAX = 100 };

struct l2_redis_log {
    struct l2_redis_setup setup;
    struct l2_redis_call call;
    char run_id[L2_LOG_RUN_ID_SIZE]; /* of the server of the last connection */
    redisReply *held;                /* the answer whose records are being taken */
    const redisReply *records;
    size_t next;
    struct str names[L2_NAMES_MAX];
};

struct l2_redis_log *l2_redis_log_open(const struct config *config, const struct l2_shared *shared, const char *run_id)
{
    struct l2_redis_log *log = sys_calloc(1, sizeof(*log));

    snprintf(log->run_id, sizeof(log->run_id), "%s", run_id);

    l2_redis_wire_init(&log->setup, config, shared);
    log->call.setup = &log->setup;
    return log;
}

static void let_go(struct l2_redis_log *log)
{
    if (log->held)
        freeReplyObject(log->held);
    log->held = NULL;
    log->records = NULL;
    log->next = 0;
}

void l2_redis_log_close(struct l2_redis_log **log)
{
    if (!*log)
        return;
    let_go(*log);
    l2_redis_call_fini(&(*log)->call);
    l2_redis_wire_fini(&(*log)->setup);
    free(*log);
    *log = NULL;
}

const char *l2_redis_log_run_id(const struct l2_redis_log *log)
{
    return log->run_id;
}

const char *l2_redis_log_why(const struct l2_redis_log *log)
{
    return log->call.link.why;
}

static enum err senseless(struct l2_redis_log *log)
{
    snprintf(log->call.link.why, sizeof(log->call.link.why), "Redis gave an answer that makes no sense");
    l2_redis_link_close(&log->call.link);
    return ERR_CORRUPT;
}

/* One exchange. A server that only refuses to write cannot be followed either. */
static enum err exchange(struct l2_redis_log *log, const char *expected, int64_t wait_ms, redisReply **replies)
{
    enum err err = l2_redis_call_once(&log->call, expected, wait_ms, replies);

    if (err)
        l2_redis_link_close(&log->call.link);
    return err;
}

/* Notes which run of which server INFO is of. *SAME: as before. Without a word about that it is another each time. */
static void note_run(struct l2_redis_log *log, struct str info, bool *same)
{
    struct str run_id = {NULL, 0};

    while (info.len > 0) {
        struct str line = str_cut(&info, '\n'), name = str_cut(&line, ':');

        if (str_equal(name, STR("run_id")))
            run_id = line;
    }
    if (run_id.len > 0 && run_id.p[run_id.len - 1] == '\r')
        run_id.len--;
    *same = run_id.len > 0 && str_equal(run_id, str_from(log->run_id));
    log->run_id[0] = '\0';
    if (run_id.len < sizeof(log->run_id))
        snprintf(log->run_id, sizeof(log->run_id), "%.*s", STR_ARG(run_id));
}

enum err l2_redis_log_connect(struct l2_redis_log *log, bool *same)
{
    bool had = log->call.link.context != NULL;
    redisReply *reply;

    *same = true;
    if (l2_redis_call_is_open(&log->call))
        return ERR_OK;
    if (had) {
        snprintf(log->call.link.why, sizeof(log->call.link.why), "Redis closed the connection");
        return ERR_UNAVAILABLE;
    }
    l2_redis_wire_command(&log->call.commands, 2);
    l2_redis_wire_add(&log->call.commands, STR("INFO"));
    l2_redis_wire_add(&log->call.commands, STR("server"));

    enum err err = exchange(log, "b", 0, &reply);

    if (err)
        return err;
    note_run(log, l2_redis_wire_text(reply), same);
    l2_redis_call_free(&reply, 1);
    return ERR_OK;
}

enum err l2_redis_log_draw(struct l2_redis_log *log, uint64_t *number)
{
    redisReply *reply;
    size_t removed;

    l2_redis_script_now(&log->call.commands, &log->setup);

    enum err err = exchange(log, "a", 0, &reply);

    if (err)
        return err;
    err = l2_redis_script_drawn(reply, number, &removed);
    l2_redis_call_free(&reply, 1);
    if (err)
        return senseless(log);
    l2_health_saw(log->setup.health, *number);
    return ERR_OK;
}

static void add_read(struct l2_redis_log *log, uint64_t last, int64_t wait_ms)
{
    struct buf *out = &log->call.commands;
    char from[64];
    int len = snprintf(from, sizeof(from), "%llu-%llu", (unsigned long long)last, (unsigned long long)UINT64_MAX);

    l2_redis_wire_command(out, wait_ms > 0 ? 8 : 6);
    l2_redis_wire_add(out, STR("XREAD"));
    l2_redis_wire_add(out, STR("COUNT"));
    l2_redis_wire_add_number(out, RECORDS_MAX);
    if (wait_ms > 0) {
        l2_redis_wire_add(out, STR("BLOCK"));
        l2_redis_wire_add_number(out, (uint64_t)wait_ms);
    }
    l2_redis_wire_add(out, STR("STREAMS"));
    l2_redis_wire_add(out, buf_str(&log->setup.log));
    l2_redis_wire_add(out, (struct str){from, (size_t)len});
    l2_redis_wire_command(out, 3);
    l2_redis_wire_add(out, STR("HGET"));
    l2_redis_wire_add(out, buf_str(&log->setup.purged));
    l2_redis_wire_add(out, STR("seq"));
}

/* The records in XREAD's answer: of one stream, its name and they. */
static enum err find_records(const redisReply *reply, const redisReply **out)
{
    *out = NULL;
    if (reply->type == REDIS_REPLY_NIL)
        return ERR_OK;
    if (reply->elements != 1 || reply->element[0]->type != REDIS_REPLY_ARRAY || reply->element[0]->elements != 2 ||
        reply->element[0]->element[1]->type != REDIS_REPLY_ARRAY)
        return ERR_CORRUPT;
    *out = reply->element[0]->element[1];
    return ERR_OK;
}

enum err l2_redis_log_fetch(struct l2_redis_log *log, uint64_t last, int64_t wait_ms, size_t *count, uint64_t *seq)
{
    redisReply *replies[2];

    let_go(log);
    add_read(log, last, wait_ms);

    enum err err = exchange(log, "nb", wait_ms > 0 ? wait_ms : 0, replies);

    if (err)
        return err;
    log->held = replies[0];
    *seq = 0;
    err = find_records(log->held, &log->records);
    if (err == ERR_OK && replies[1]->type != REDIS_REPLY_NIL)
        err = l2_redis_wire_number(replies[1], seq);
    l2_redis_call_free(&replies[1], 1);
    if (err)
        return senseless(log);
    *count = log->records ? log->records->elements : 0;
    l2_health_saw(log->setup.health, *seq);
    return ERR_OK;
}

enum err l2_redis_log_take(struct l2_redis_log *log, struct l2_log_record *record)
{
    const redisReply *reply = log->records->element[log->next++];

    return l2_redis_script_record(reply, &record->number, &record->purge, log->names);
}
