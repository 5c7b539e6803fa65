/*
 * l2_redis_jobs: the scripts that take a job and carry it on, and the reading of what they say.
 *
 * Invariant: a ban ends only when one whole scan of the database, begun after the ban was there and on one run of the
 * server, has come to its end: SCAN then has returned every key that was there all the time, and no entry older than
 * the ban can have been stored meanwhile, for fills are judged by it. A server that was started anew orders its keys
 * otherwise, so the scan begins again there.
 *
 * A batch is one script in one round trip: no key travels, and what was removed, how far the scan is and who works on
 * it never disagree. Removing twice, or what was filled after the purge, does no harm, so nothing here needs to be
 * exact but the end. The numbers of progress are estimates.
 */
#include "l2/l2_redis_jobs.h"

#include <stdio.h>

#define OWNER_MS "5000"
#define JOB_KEPT_MS "86400000"

/* `redis.call('PEXPIRE', ...)` comes first because it may be written even when Redis is full; after it, so is the rest.
 */
#define RESUME                                                                                                         \
    "local function resume(job, kind, pattern, keep)\n"                                                                \
    "  redis.call('PEXPIRE', job, keep)\n"                                                                             \
    "  local run = redis.call('INFO', 'server'):match('run_id:(%x+)') or ''\n"                                         \
    "  if redis.call('HGET', job, 'run') == run then return end\n"                                                     \
    "  redis.call('HSET', job, 'pattern', pattern, 'soft', kind == 's' and '1' or '0', 'state', 'running',\n"          \
    "             'run', run, 'cursor', '0', 'scanned', '0', 'total', redis.call('DBSIZE'), 'ended', '0')\n"           \
    "  redis.call('HSETNX', job, 'removed', '0')\n"                                                                    \
    "  redis.call('HSETNX', job, 'started', now_ms())\n"                                                               \
    "  redis.call('PEXPIRE', job, keep)\n"                                                                             \
    "end\n"

#define NOW_MS                                                                                                         \
    "local function now_ms()\n"                                                                                        \
    "  local time = redis.call('TIME')\n"                                                                              \
    "  return string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))\n"                                    \
    "end\n"

/* KEYS: the hash; ARGV: what jobs' keys begin with, the worker, milliseconds to keep a job that runs. */
static const char take_script[] =
    "local bans = redis.call('HGET', KEYS[1], 'bans')\n"
    "if not bans then return false end\n" NOW_MS RESUME
    "for id, kind, pattern in bans:gmatch('(%d+) ([hs]) ([^\\n]*)\\n') do\n"
    "  local job = ARGV[1] .. id\n"
    "  local owner = redis.call('GET', job .. ':owner')\n"
    "  if not owner or owner == ARGV[2] then\n"
    "    resume(job, kind, pattern, ARGV[3])\n"
    "    redis.call('SET', job .. ':owner', ARGV[2], 'PX', " OWNER_MS ")\n"
    "    return {id, redis.call('HMGET', job, 'pattern', 'soft', 'state', 'cursor', 'scanned', 'removed', 'total',\n"
    "                           'started', 'ended')}\n"
    "  end\n"
    "end\n"
    "return false\n";

/* KEYS: the hash; ARGV: what jobs' keys begin with, the worker, milliseconds to keep a job that runs, the job, how many
 * keys to look at, what they match. */
static const char step_script[] =
    "local job = ARGV[1] .. ARGV[4]\n"
    "if redis.call('GET', job .. ':owner') ~= ARGV[2] then return {'denied'} end\n"
    "local kind, pattern\n"
    "local others = ''\n"
    "for line, id, k, p in (redis.call('HGET', KEYS[1], 'bans') or ''):gmatch('((%d+) ([hs]) ([^\\n]*)\\n)') do\n"
    "  if id == ARGV[4] then kind, pattern = k, p else others = others .. line end\n"
    "end\n" NOW_MS RESUME
    /* A later purge has covered it. */
    "if not kind then return {'done', '0', redis.call('HMGET', job, 'scanned', 'removed', 'ended')} end\n"
    "resume(job, kind, pattern, ARGV[3])\n"
    "local at = redis.call('HMGET', job, 'cursor', 'scanned', 'removed', 'total')\n"
    "local page = redis.call('SCAN', at[1], 'MATCH', ARGV[6], 'COUNT', ARGV[5])\n"
    "local keys, removed = page[2], 0\n"
    "if kind == 'h' then\n"
    "  for i = 1, #keys, 1000 do\n"
    "    removed = removed + redis.call('UNLINK', unpack(keys, i, math.min(i + 999, #keys)))\n"
    "  end\n"
    "else\n"
    "  local number = tonumber(ARGV[4])\n"
    "  for _, key in ipairs(keys) do\n"
    "    local head, stamp = redis.call('GETRANGE', key, 0, 8), 0\n"
    "    if #head == 9 then\n"
    "      for i = 8, 1, -1 do stamp = stamp * 256 + head:byte(i) end\n"
    "      if stamp < number then\n"
    "        redis.call('SETRANGE', key, 8, '\\1')\n"
    "        removed = removed + 1\n"
    "      end\n"
    "    end\n"
    "  end\n"
    "end\n"
    "removed = removed + at[3]\n"
    "local scanned, state, ended = math.min(at[2] + ARGV[5], tonumber(at[4])), 'running', '0'\n"
    "redis.call('PEXPIRE', job .. ':owner', " OWNER_MS ")\n"
    "if page[1] == '0' then\n"
    "  scanned, state, ended = tonumber(at[4]), 'done', now_ms()\n"
    "  if others ~= '' then redis.call('HSET', KEYS[1], 'bans', others) else redis.call('HDEL', KEYS[1], 'bans') end\n"
    "  redis.call('DEL', job .. ':owner')\n"
    "  redis.call('PEXPIRE', job, " JOB_KEPT_MS ")\n"
    "end\n"
    "local texts = {string.format('%.0f', scanned), string.format('%.0f', removed), ended}\n"
    "redis.call('HSET', job, 'cursor', page[1], 'scanned', texts[1], 'removed', texts[2], 'ended', ended,\n"
    "           'state', state)\n"
    "return {state, page[1], texts}\n";

enum { TAKE, STEP };

const struct l2_redis_script l2_redis_jobs_script_list[L2_REDIS_JOBS_SCRIPT_COUNT] = {
    [TAKE] = {{take_script, sizeof(take_script) - 1}, {"8481bbd9d93d7b75ad0ed97fd90705a4309039e6", 40}},
    [STEP] = {{step_script, sizeof(step_script) - 1}, {"10f8439d6d92e420093ce578207d0c5101767547", 40}},
};

enum { PATTERN, SOFT, STATE, CURSOR, SCANNED, REMOVED, TOTAL, STARTED, ENDED, FIELDS };

static const struct str fields[FIELDS] = {
    [PATTERN] = {"pattern", 7}, [SOFT] = {"soft", 4},       [STATE] = {"state", 5},
    [CURSOR] = {"cursor", 6},   [SCANNED] = {"scanned", 7}, [REMOVED] = {"removed", 7},
    [TOTAL] = {"total", 5},     [STARTED] = {"started", 7}, [ENDED] = {"ended", 5}};

/* Redis's cursors are unsigned, and may use all 64 bits. */
static enum err parse_cursor(const redisReply *reply, uint64_t *out)
{
    struct str text = l2_redis_wire_text(reply);
    uint64_t cursor = 0;

    if (text.len == 0 || text.len > 20)
        return ERR_CORRUPT;
    for (size_t i = 0; i < text.len; i++) {
        uint64_t digit = (uint64_t)(text.p[i] - '0');

        if (text.p[i] < '0' || text.p[i] > '9' || cursor > (UINT64_MAX - digit) / 10)
            return ERR_CORRUPT;
        cursor = cursor * 10 + digit;
    }
    *out = cursor;
    return ERR_OK;
}

/* Takes over the FIELDS of a job. */
static enum err parse_job(const redisReply *reply, uint64_t id, struct arena *arena, struct l2_job *out)
{
    redisReply **field = reply->element;
    struct l2_job job = {.id = id};
    uint64_t started_ms, ended_ms;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != FIELDS || field[PATTERN]->type != REDIS_REPLY_STRING ||
        parse_cursor(field[CURSOR], &job.cursor) != ERR_OK ||
        l2_redis_wire_number(field[SCANNED], &job.scanned) != ERR_OK ||
        l2_redis_wire_number(field[REMOVED], &job.removed) != ERR_OK ||
        l2_redis_wire_number(field[TOTAL], &job.total) != ERR_OK ||
        l2_redis_wire_number(field[STARTED], &started_ms) != ERR_OK ||
        l2_redis_wire_number(field[ENDED], &ended_ms) != ERR_OK)
        return ERR_CORRUPT;
    job.state = str_equal(l2_redis_wire_text(field[STATE]), STR("done")) ? L2_JOB_DONE : L2_JOB_RUNNING;
    job.soft = str_equal(l2_redis_wire_text(field[SOFT]), STR("1"));
    job.started_ms = (int64_t)started_ms;
    job.ended_ms = (int64_t)ended_ms;
    job.pattern = arena_copy(arena, l2_redis_wire_text(field[PATTERN]));
    if (arena_overflowed(arena))
        return ERR_LIMIT;
    *out = job;
    return ERR_OK;
}

/* What stands of job ID: its fields, and the bans as they were just before. A job that still runs by its fields but has
 * no ban belongs to a sequence that was lost. */
static enum err judge_job(redisReply *const *replies, uint64_t id, struct arena *arena, struct l2_job *out)
{
    struct l2_bans bans;
    struct l2_job job;

    if (replies[1]->elements > 0 && replies[1]->element[PATTERN]->type == REDIS_REPLY_NIL)
        return ERR_NOT_FOUND;

    enum err err = l2_bans_parse(l2_redis_wire_text(replies[0]), &bans);

    if (err == ERR_OK)
        err = parse_job(replies[1], id, arena, &job);
    if (err == ERR_OK && job.state == L2_JOB_RUNNING && !l2_bans_find(&bans, id))
        err = ERR_NOT_FOUND;
    if (err == ERR_OK)
        *out = job;
    return err;
}

/* ERR for the caller: what l2_redis_call had to say of a refused answer or password is no word about the job. */
static enum err settle(struct l2_redis_call *call, enum err err)
{
    if (err == ERR_CORRUPT)
        return l2_redis_call_refuse(call);
    return err;
}

static void ask_bans(struct l2_redis_call *call)
{
    l2_redis_wire_command(&call->commands, 3);
    l2_redis_wire_add(&call->commands, STR("HGET"));
    l2_redis_wire_add(&call->commands, buf_str(&call->setup->purged));
    l2_redis_wire_add(&call->commands, STR("bans"));
}

enum err l2_redis_jobs_count(struct l2_redis_call *call, uint64_t *count)
{
    struct l2_bans bans;
    redisReply *reply;

    ask_bans(call);
    if (l2_redis_call_exchange(call, "b", &reply) != ERR_OK)
        return ERR_UNAVAILABLE;

    enum err err = settle(call, l2_bans_parse(l2_redis_wire_text(reply), &bans));

    if (err == ERR_OK)
        *count = bans.count;
    l2_redis_call_free(&reply, 1);
    return err;
}

enum err l2_redis_jobs_read(struct l2_redis_call *call, uint64_t id, struct arena *arena, struct l2_job *out)
{
    const struct l2_redis_setup *setup = call->setup;
    redisReply *replies[2];
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)id);

    ask_bans(call);
    l2_redis_wire_command(&call->commands, 2 + FIELDS);
    l2_redis_wire_add(&call->commands, STR("HMGET"));
    l2_redis_wire_add_joined(&call->commands, buf_str(&setup->jobs), (struct str){digits, (size_t)len});
    for (size_t i = 0; i < FIELDS; i++)
        l2_redis_wire_add(&call->commands, fields[i]);
    if (l2_redis_call_exchange(call, "ba", replies) != ERR_OK)
        return ERR_UNAVAILABLE;

    enum err err = settle(call, judge_job(replies, id, arena, out));

    l2_redis_call_free(replies, 2);
    return err;
}

/* Begins SCRIPT, TAKE or STEP, with what both are told. */
static void add_script(struct l2_redis_call *call, size_t script, size_t more, uint64_t worker)
{
    l2_redis_script_run(&call->commands, &l2_redis_jobs_script_list[script], 1, 3 + more);
    l2_redis_wire_add(&call->commands, buf_str(&call->setup->purged));
    l2_redis_wire_add(&call->commands, buf_str(&call->setup->jobs));
    l2_redis_wire_add_number(&call->commands, worker);
    l2_redis_wire_add_number(&call->commands, (uint64_t)call->setup->keep_ms);
}

enum err l2_redis_jobs_take(struct l2_redis_call *call, uint64_t worker, struct arena *arena, struct l2_job *out)
{
    redisReply *reply;
    uint64_t id;
    enum err err = ERR_CORRUPT;

    add_script(call, TAKE, 0, worker);
    if (l2_redis_call_exchange(call, "n", &reply) != ERR_OK)
        return ERR_UNAVAILABLE;
    if (reply->type == REDIS_REPLY_NIL)
        err = ERR_NOT_FOUND;
    else if (reply->elements == 2 && l2_redis_wire_number(reply->element[0], &id) == ERR_OK)
        err = parse_job(reply->element[1], id, arena, out);
    err = settle(call, err);
    l2_redis_call_free(&reply, 1);
    return err;
}

/* A number that may be missing, for the job was forgotten. */
static enum err parse_optional(const redisReply *reply, uint64_t *out)
{
    *out = 0;
    return reply->type == REDIS_REPLY_NIL ? ERR_OK : l2_redis_wire_number(reply, out);
}

static enum err parse_step(const redisReply *reply, struct l2_job *job)
{
    struct str word = reply->elements > 0 ? l2_redis_wire_text(reply->element[0]) : STR("");
    const redisReply *numbers = reply->elements == 3 ? reply->element[2] : NULL;
    uint64_t cursor, scanned, removed, ended_ms;

    if (str_equal(word, STR("denied")))
        return ERR_DENIED;
    if (!numbers || numbers->type != REDIS_REPLY_ARRAY || numbers->elements != 3 ||
        parse_cursor(reply->element[1], &cursor) != ERR_OK || parse_optional(numbers->element[0], &scanned) != ERR_OK ||
        parse_optional(numbers->element[1], &removed) != ERR_OK ||
        parse_optional(numbers->element[2], &ended_ms) != ERR_OK)
        return ERR_CORRUPT;
    job->state = str_equal(word, STR("done")) ? L2_JOB_DONE : L2_JOB_RUNNING;
    job->cursor = cursor;
    job->scanned = scanned;
    job->removed = removed;
    job->ended_ms = (int64_t)ended_ms;
    return ERR_OK;
}

enum err l2_redis_jobs_step(struct l2_redis_call *call, uint64_t worker, size_t batch, struct l2_job *job)
{
    struct buf match = {0};
    redisReply *reply;

    l2_redis_wire_quote(&match, buf_str(&call->setup->entries));
    buf_add_str(&match, job->pattern);
    add_script(call, STEP, 3, worker);
    l2_redis_wire_add_number(&call->commands, job->id);
    l2_redis_wire_add_number(&call->commands, batch > 0 ? batch : 1);
    l2_redis_wire_add(&call->commands, buf_str(&match));
    buf_free(&match);
    if (l2_redis_call_exchange(call, "a", &reply) != ERR_OK)
        return ERR_UNAVAILABLE;

    enum err err = settle(call, parse_step(reply, job));

    l2_redis_call_free(&reply, 1);
    return err;
}
