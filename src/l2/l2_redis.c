/*
 * l2_redis: the verbs of L2 on Redis, for threads that may wait. Reads on the event thread are handed on to
 * l2_redis_async, jobs to l2_redis_jobs, what concerns leaderboards to l2_redis_boards.
 *
 * Each verb is one exchange (l2_redis_call), but for pages of keys, and for a claim that finds the sequence lost: it
 * has it begun anew, and claims again. Invariant: what a verb lends out lies in `held` and lives until the next verb.
 *
 * It decides nothing: what stands, what is stored and what a purge covers is judged in the scripts (l2_redis_script)
 * and in l2_redis_wire, from what Redis said in one moment.
 */
#include "l2/l2_redis.h"

#include <stdlib.h>

#include "base/sys.h"
#include "l2/l2_backend.h"
#include "l2/l2_redis_async.h"
#include "l2/l2_redis_boards.h"
#include "l2/l2_redis_jobs.h"
#include "l2/l2_redis_script.h"

enum { PAGE_ROUNDS = 16, PAGE_MAX = 1000 };

struct l2_redis {
    struct l2_redis_setup setup;
    struct l2_redis_call call;
    redisReply *held;             /* the reply whose bytes the last verb lent out */
    struct l2_redis_async *async; /* NULL without a loop */
    struct l2_redis_boards *boards;
};

static void *open_redis(const struct config *config, struct l2_shared *shared, const struct loop *loop)
{
    struct l2_redis *redis = sys_calloc(1, sizeof(*redis));

    l2_redis_wire_init(&redis->setup, config, shared);
    redis->call.setup = &redis->setup;
    redis->boards = l2_redis_boards_open(&redis->call);
    if (loop)
        redis->async = l2_redis_async_open(&redis->setup, loop);
    return redis;
}

/* Keeps REPLY, which may be NULL, instead of what was lent out before. */
static void hold(struct l2_redis *redis, redisReply *reply)
{
    if (redis->held)
        freeReplyObject(redis->held);
    redis->held = reply;
}

static void close_redis(void *self)
{
    struct l2_redis *redis = self;

    l2_redis_async_close(&redis->async);
    hold(redis, NULL);
    l2_redis_boards_close(&redis->boards);
    l2_redis_call_fini(&redis->call);
    l2_redis_wire_fini(&redis->setup);
    free(redis);
}

/* Exchanges what draws a number, and takes that. */
static enum err draw(struct l2_redis *redis, uint64_t *number, size_t *removed)
{
    redisReply *reply;
    enum err err = l2_redis_call_exchange(&redis->call, "a", &reply);

    if (err)
        return err;
    err = l2_redis_script_drawn(reply, number, removed);
    if (err)
        err = l2_redis_call_refuse(&redis->call);
    else
        l2_health_saw(redis->setup.health, *number);
    l2_redis_call_free(&reply, 1);
    return err;
}

static void read_waiting(struct l2_redis *redis, struct str key, const struct str *tags, size_t tags_count,
                         uint64_t epoch, struct l2_read *read)
{
    uint64_t seen = l2_health_seen(redis->setup.health);
    uint8_t places[L2_TAGS_MAX];
    struct l2_redis_numbers numbers;
    redisReply *replies[2];

    for (size_t i = 0; i < tags_count; i++)
        places[i] = (uint8_t)i;
    l2_redis_wire_numbers(&redis->call.commands, &redis->setup, tags, tags_count);
    l2_redis_wire_get(&redis->call.commands, &redis->setup, key);
    if (l2_redis_call_exchange(&redis->call, "ab", replies) != ERR_OK)
        return;
    hold(redis, replies[1]);
    if (l2_redis_wire_understand(replies[0], tags_count, &numbers) != ERR_OK) {
        (void)l2_redis_call_refuse(&redis->call);
    } else if (l2_health_holds(redis->setup.health, epoch)) {
        if (!numbers.lost)
            l2_health_saw(redis->setup.health, numbers.seq);
        *read = l2_redis_wire_judge(replies[1], key, &numbers, places, tags_count, seen);
    }
    l2_redis_call_free(replies, 1);
}

static void read_entry(void *self, struct str key, const struct str *tags, size_t tags_count, uint64_t epoch,
                       l2_read_fn *fn, void *context)
{
    struct l2_redis *redis = self;
    struct l2_read read = {.result = L2_UNAVAILABLE};

    if (redis->async) {
        l2_redis_async_read(redis->async, key, tags, tags_count, epoch, fn, context);
        return;
    }
    hold(redis, NULL);
    read_waiting(redis, key, tags, tags_count, epoch, &read);
    fn(context, &read);
}

/* ERR_NOT_FOUND: the sequence is lost. */
static enum err claim_once(struct l2_redis *redis, struct str key, const struct str *tags, size_t tags_count,
                           struct str spent, int64_t life_ms, struct l2_claim *out)
{
    redisReply *reply;

    l2_redis_script_claim(&redis->call.commands, &redis->setup, key, tags, tags_count, spent, life_ms,
                          out->lease.token);

    enum err err = l2_redis_call_exchange(&redis->call, "a", &reply);

    if (err)
        return err;
    hold(redis, reply);
    err = l2_redis_script_claimed(reply, out);
    if (err == ERR_CORRUPT)
        (void)l2_redis_call_refuse(&redis->call);
    if (err == ERR_OK && out->result == L2_CLAIM_TAKEN)
        l2_health_saw(redis->setup.health, out->lease.stamp);
    return err;
}

static void claim(void *self, struct str key, const struct str *tags, size_t tags_count, struct str spent,
                  int64_t life_ms, struct l2_claim *out)
{
    struct l2_redis *redis = self;
    uint64_t number;
    size_t removed;

    hold(redis, NULL);
    if (claim_once(redis, key, tags, tags_count, spent, life_ms, out) != ERR_NOT_FOUND)
        return;
    l2_redis_script_now(&redis->call.commands, &redis->setup);
    if (draw(redis, &number, &removed) == ERR_OK)
        (void)!claim_once(redis, key, tags, tags_count, spent, life_ms, out);
}

static enum err fill(void *self, struct str key, const struct str *tags, size_t tags_count, struct str bytes,
                     int64_t ttl_ms, const struct l2_lease *lease, bool *stored)
{
    struct l2_redis *redis = self;
    bool fits = bytes.len <= redis->setup.config->redis.max_entry;
    redisReply *reply;

    if (fits)
        l2_redis_script_fill(&redis->call.commands, &redis->setup, key, tags, tags_count, bytes, ttl_ms, lease);
    else
        l2_redis_script_release(&redis->call.commands, &redis->setup, key, lease);

    enum err err = l2_redis_call_exchange(&redis->call, "i", &reply);

    if (err)
        return err;
    *stored = fits && reply->integer == 1;
    l2_redis_call_free(&reply, 1);
    return ERR_OK;
}

static void release(void *self, struct str key, const struct l2_lease *lease)
{
    struct l2_redis *redis = self;
    redisReply *reply;

    l2_redis_script_release(&redis->call.commands, &redis->setup, key, lease);
    if (l2_redis_call_exchange(&redis->call, "i", &reply) == ERR_OK)
        l2_redis_call_free(&reply, 1);
}

static enum err purge(void *self, const struct l2_purge *purge, size_t *removed, uint64_t *id)
{
    struct l2_redis *redis = self;
    uint64_t number;

    l2_redis_script_purge(&redis->call.commands, &redis->setup, purge);

    enum err err = draw(redis, &number, removed);

    if (err == ERR_OK && purge->kind == L2_PURGE_PATTERN)
        *id = number;
    return err;
}

/* What an asynchronous purge was answered; NULL: nothing. False when it makes no sense. */
static bool take_purged(void *context, const redisReply *reply)
{
    struct l2_purge_call *call = context;
    struct l2_redis *redis = call->l2->self;
    enum err err = ERR_UNAVAILABLE;
    uint64_t number = 0;
    size_t removed;

    if (reply)
        err = reply->type == REDIS_REPLY_ARRAY ? l2_redis_script_drawn(reply, &number, &removed) : ERR_CORRUPT;
    if (err == ERR_OK)
        l2_health_saw(redis->setup.health, number);
    l2_purge_ended(call, err, number);
    return err != ERR_CORRUPT;
}

static void purge_begin(void *self, const struct l2_purge *purge, struct l2_purge_call *call)
{
    struct l2_redis *redis = self;
    struct buf *command = &redis->call.commands;

    buf_clear(command);
    l2_redis_script_purge(command, &redis->setup, purge);
    l2_redis_async_run(redis->async, buf_str(command), take_purged, call);
    buf_clear(command);
}

static void add_scan(struct l2_redis *redis, uint64_t cursor, struct str pattern, size_t count)
{
    struct buf match = {0};

    l2_redis_wire_quote(&match, buf_str(&redis->setup.entries));
    buf_add_str(&match, pattern);
    l2_redis_wire_command(&redis->call.commands, 6);
    l2_redis_wire_add(&redis->call.commands, STR("SCAN"));
    l2_redis_wire_add_number(&redis->call.commands, cursor);
    l2_redis_wire_add(&redis->call.commands, STR("MATCH"));
    l2_redis_wire_add(&redis->call.commands, buf_str(&match));
    l2_redis_wire_add(&redis->call.commands, STR("COUNT"));
    l2_redis_wire_add_number(&redis->call.commands, count);
    buf_free(&match);
}

/* Checks a reply of SCAN: its cursor goes to *CURSOR; the keys are the elements of *KEYS, which lies in REPLY. */
static enum err take_scan(struct l2_redis *redis, const redisReply *reply, uint64_t *cursor, const redisReply **keys)
{
    struct str prefix = buf_str(&redis->setup.entries);
    char *end;

    if (reply->elements != 2 || reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_ARRAY)
        return l2_redis_call_refuse(&redis->call);
    for (size_t i = 0; i < reply->element[1]->elements; i++) {
        const redisReply *key = reply->element[1]->element[i];

        if (key->type != REDIS_REPLY_STRING || !str_starts((struct str){key->str, key->len}, prefix))
            return l2_redis_call_refuse(&redis->call);
    }
    *keys = reply->element[1];
    *cursor = strtoull(reply->element[0]->str, &end, 10);
    return *end == '\0' ? ERR_OK : l2_redis_call_refuse(&redis->call);
}

static enum err scan_once(struct l2_redis *redis, struct str pattern, size_t count, uint64_t *cursor,
                          redisReply **reply, const redisReply **keys)
{
    add_scan(redis, *cursor, pattern, count);

    enum err err = l2_redis_call_exchange(&redis->call, "a", reply);

    if (err)
        return err;
    err = take_scan(redis, *reply, cursor, keys);
    if (err)
        l2_redis_call_free(reply, 1);
    return err;
}

/* Fetches the numbers and the heads of KEYS: KEYS->elements + 1 replies, in *OUT. */
static enum err fetch_heads(struct l2_redis *redis, const redisReply *keys, redisReply ***out)
{
    redisReply **replies = sys_calloc(keys->elements + 1, sizeof(redisReply *));
    struct buf expected = {0};

    l2_redis_wire_numbers(&redis->call.commands, &redis->setup, NULL, 0);
    buf_add_char(&expected, 'a');
    for (size_t i = 0; i < keys->elements; i++) {
        l2_redis_wire_command(&redis->call.commands, 4);
        l2_redis_wire_add(&redis->call.commands, STR("GETRANGE"));
        l2_redis_wire_add(&redis->call.commands, l2_redis_wire_text(keys->element[i]));
        l2_redis_wire_add(&redis->call.commands, STR("0"));
        l2_redis_wire_add_number(&redis->call.commands, L2_REDIS_WIRE_HEAD_SIZE - 1);
        buf_add_char(&expected, 'b');
    }

    enum err err = l2_redis_call_exchange(&redis->call, expected.p, replies);

    buf_free(&expected);
    if (err)
        free(replies);
    else
        *out = replies;
    return err;
}

/* Appends to KEYS those of FOUND that still stand. */
static enum err list_standing(struct l2_redis *redis, const redisReply *found, struct arena *arena, struct str *keys,
                              size_t *count)
{
    size_t prefix = redis->setup.entries.len;
    struct l2_redis_numbers numbers;
    redisReply **replies;
    enum err err = fetch_heads(redis, found, &replies);

    if (err)
        return err;
    if (l2_redis_wire_understand(replies[0], 0, &numbers) != ERR_OK)
        err = l2_redis_call_refuse(&redis->call);
    for (size_t i = 0; err == ERR_OK && i < found->elements; i++) {
        struct str key = {found->element[i]->str + prefix, found->element[i]->len - prefix};

        if (l2_redis_wire_stands(replies[i + 1], key, &numbers))
            keys[(*count)++] = arena_copy(arena, key);
    }
    l2_redis_call_free(replies, found->elements + 1);
    free(replies);
    return err;
}

/* KEYS, COUNT of them, with room for MORE. */
static struct str *lengthen(const struct str *keys, size_t count, size_t more, struct arena *arena)
{
    struct str *longer = arena_alloc(arena, (count + more) * sizeof(*longer));

    if (longer && count > 0)
        memcpy(longer, keys, count * sizeof(*keys));
    return longer;
}

static enum err scan(void *self, struct str pattern, uint64_t *cursor, size_t limit, struct arena *arena,
                     struct str **keys, size_t *count)
{
    struct l2_redis *redis = self;
    size_t asked = limit < 1 ? 1 : limit < PAGE_MAX ? limit : PAGE_MAX, found = 0;
    struct str *list = NULL;
    uint64_t next = *cursor;
    enum err err = ERR_OK;

    for (int round = 0; err == ERR_OK && round < PAGE_ROUNDS; round++) {
        const redisReply *page = NULL;
        redisReply *reply;

        err = scan_once(redis, pattern, asked, &next, &reply, &page);
        if (err)
            break;
        if (page->elements > 0) {
            /* One SCAN may return any number more than it was asked for, and returns them once. */
            list = lengthen(list, found, page->elements, arena);
            err = list ? list_standing(redis, page, arena, list, &found) : ERR_LIMIT;
        }
        l2_redis_call_free(&reply, 1);
        if (next == 0 || found >= asked)
            break;
    }
    if (err == ERR_OK && arena_overflowed(arena))
        err = ERR_LIMIT;
    if (err)
        return err;
    *cursor = next;
    *keys = list;
    *count = found;
    return ERR_OK;
}

/* `used_memory` of what INFO says: lines of `name:value`. 0 from a server that does not say. */
static int64_t find_memory(struct str info)
{
    int64_t bytes;

    while (info.len > 0) {
        struct str line = str_cut(&info, '\n'), name = str_cut(&line, ':'), value = str_cut(&line, '\r');

        if (str_equal(name, STR("used_memory")))
            return str_to_int64(value, &bytes) == ERR_OK && bytes >= 0 ? bytes : 0;
    }
    return 0;
}

static enum err ping(void *self)
{
    struct l2_redis *redis = self;
    redisReply *reply;

    l2_redis_wire_command(&redis->call.commands, 1);
    l2_redis_wire_add(&redis->call.commands, STR("PING"));

    enum err err = l2_redis_call_exchange(&redis->call, "s", &reply);

    if (err != ERR_OK)
        return err;
    /* A status, so not what l2_redis_wire_text takes. */
    if (!str_equal((struct str){reply->str, reply->len}, STR("PONG")))
        err = l2_redis_call_refuse(&redis->call);
    l2_redis_call_free(&reply, 1);
    return err;
}

static enum err measure(void *self, struct l2_size *out)
{
    struct l2_redis *redis = self;
    redisReply *replies[2];

    l2_redis_wire_command(&redis->call.commands, 1);
    l2_redis_wire_add(&redis->call.commands, STR("DBSIZE"));
    l2_redis_wire_command(&redis->call.commands, 2);
    l2_redis_wire_add(&redis->call.commands, STR("INFO"));
    l2_redis_wire_add(&redis->call.commands, STR("memory"));

    enum err err = l2_redis_call_exchange(&redis->call, "ib", replies);

    if (err != ERR_OK)
        return err;
    if (replies[0]->integer < 0)
        err = l2_redis_call_refuse(&redis->call);
    else
        *out = (struct l2_size){.keys = (uint64_t)replies[0]->integer,
                                .bytes = (uint64_t)find_memory(l2_redis_wire_text(replies[1]))};
    l2_redis_call_free(replies, 2);
    return err;
}

static enum err read_job(void *self, uint64_t id, struct arena *arena, struct l2_job *out)
{
    return l2_redis_jobs_read(&((struct l2_redis *)self)->call, id, arena, out);
}

static enum err count_jobs(void *self, uint64_t *count)
{
    return l2_redis_jobs_count(&((struct l2_redis *)self)->call, count);
}

static enum err take_job(void *self, uint64_t worker, struct arena *arena, struct l2_job *out)
{
    return l2_redis_jobs_take(&((struct l2_redis *)self)->call, worker, arena, out);
}

static enum err step_job(void *self, uint64_t worker, size_t batch, struct l2_job *job)
{
    return l2_redis_jobs_step(&((struct l2_redis *)self)->call, worker, batch, job);
}

static void read_board(void *self, const struct l2_boards_question *question, const struct l2_boards_terms *terms,
                       l2_boards_fn *fn, void *context)
{
    struct l2_redis *redis = self;
    struct l2_redis_boards_asked asked = {.question = *question, .terms = *terms, .fn = fn, .context = context};

    if (redis->async)
        l2_redis_async_ask(redis->async, &asked);
    else
        l2_redis_boards_read(redis->boards, &asked);
}

static enum err push_boards(void *self, uint64_t known, const struct l2_boards_change *changes, size_t count,
                            bool *whole)
{
    return l2_redis_boards_push(((struct l2_redis *)self)->boards, known, changes, count, whole);
}

/* What an asynchronous push was answered; NULL: nothing. False when it makes no sense. */
static bool take_pushed(void *context, const redisReply *reply)
{
    enum err err = ERR_UNAVAILABLE;
    bool whole = false;

    if (reply)
        err = l2_redis_boards_script_told(reply, &whole);
    l2_boards_push_ended(context, err, whole);
    return err != ERR_CORRUPT;
}

static void push_begin(void *self, uint64_t known, const struct l2_boards_change *changes, size_t count,
                       struct l2_boards_push_call *call)
{
    struct l2_redis *redis = self;
    struct buf *command = &redis->call.commands;

    buf_clear(command);
    l2_redis_boards_script_push(command, &redis->setup, known, changes, count);
    l2_redis_async_run(redis->async, buf_str(command), take_pushed, call);
    buf_clear(command);
}

static enum err read_boards_level(void *self, uint64_t *level)
{
    return l2_redis_boards_level(((struct l2_redis *)self)->boards, level);
}

static enum err forget_boards(void *self)
{
    return l2_redis_boards_forget(((struct l2_redis *)self)->boards);
}

static enum err prune_boards(void *self, l2_boards_keep_fn *keep, void *context)
{
    return l2_redis_boards_prune(((struct l2_redis *)self)->boards, keep, context);
}

static enum err follow_boards(void *self, uint64_t from, const struct l2_boards_change *changes, size_t count,
                              uint64_t upto, bool *whole)
{
    return l2_redis_boards_follow(((struct l2_redis *)self)->boards, from, changes, count, upto, whole);
}

static void drop_copies(void *self)
{
    l2_redis_boards_copy_drop(((struct l2_redis *)self)->boards);
}

static enum err begin_copy(void *self, struct str board)
{
    return l2_redis_boards_copy_begin(((struct l2_redis *)self)->boards, board);
}

static enum err copy_rows(void *self, const struct l2_boards_change *rows, size_t count)
{
    return l2_redis_boards_copy(((struct l2_redis *)self)->boards, rows, count);
}

static enum err replace_boards(void *self, uint64_t level)
{
    return l2_redis_boards_replace(((struct l2_redis *)self)->boards, level);
}

static const struct l2_boards_backend boards_backend = {
    .read = read_board,
    .push = push_boards,
    .push_begin = push_begin,
    .level = read_boards_level,
    .forget = forget_boards,
    .prune = prune_boards,
    .follow = follow_boards,
    .copy_drop = drop_copies,
    .copy_begin = begin_copy,
    .copy = copy_rows,
    .replace = replace_boards,
};

const struct l2_backend l2_redis_backend = {
    .name = "redis",
    .has_log = true,
    .boards = &boards_backend,
    .open = open_redis,
    .close = close_redis,
    .read = read_entry,
    .claim = claim,
    .fill = fill,
    .release = release,
    .purge = purge,
    .purge_begin = purge_begin,
    .scan = scan,
    .ping = ping,
    .measure = measure,
    .read_job = read_job,
    .count_jobs = count_jobs,
    .take_job = take_job,
    .step_job = step_job,
};
