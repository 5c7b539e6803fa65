/*
 * l2_redis: the verbs of L2 on Redis, for threads that may wait. Reads on the event thread are handed on to
 * l2_redis_async.
 *
 * Each verb is one or more exchanges: commands gathered in `commands`, sent in one write, their replies awaited until
 * one deadline for all of them and checked against the types that were asked for. Invariant: after an exchange the
 * connection is either in step (every reply was read) or closed.
 *
 * A connection that the server closed while it was idle is noticed before it is used; one that breaks under the first
 * use after idling is made anew and the exchange repeated once, which all our commands bear: a fill is bound to its
 * stamp, a purge that is done twice is a purge. A server that answers but refuses to write (full, a replica, its disk
 * full) is not held against L2's health, for it can still be read.
 */
#include "l2/l2_redis.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/sys.h"
#include "l2/l2_redis_async.h"
#include "l2/l2_redis_link.h"

enum { BATCH = 1000, PAGE_ROUNDS = 16, PAGE_MAX = 1000 };

struct l2_redis {
    struct l2_redis_setup setup;
    struct l2_redis_link link;
    struct buf commands;
    redisReply *held;             /* the reply whose bytes the last read lent out */
    struct l2_redis_async *async; /* NULL without a loop */
};

static void *open_redis(const struct config *config, struct l2_shared *shared, const struct loop *loop)
{
    struct l2_redis *redis = sys_calloc(1, sizeof(*redis));

    l2_redis_wire_init(&redis->setup, config, shared);
    if (loop)
        redis->async = l2_redis_async_open(&redis->setup, loop);
    return redis;
}

static void let_go(struct l2_redis *redis)
{
    if (redis->held)
        freeReplyObject(redis->held);
    redis->held = NULL;
}

static void close_redis(void *self)
{
    struct l2_redis *redis = self;

    l2_redis_async_close(&redis->async);
    let_go(redis);
    l2_redis_link_fini(&redis->link);
    buf_free(&redis->commands);
    l2_redis_wire_fini(&redis->setup);
    free(redis);
}

static void free_replies(redisReply **replies, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        freeReplyObject(replies[i]);
        replies[i] = NULL;
    }
}

/* Waits until the connection can go on, and lets it. */
static enum err go_on(struct l2_redis_link *link, int64_t deadline_ms)
{
    struct pollfd fd = {.fd = link->context->fd, .events = POLLIN};
    int64_t left_ms = deadline_ms - sys_monotonic_ms();
    enum err err = ERR_OK;

    if (link->connecting)
        fd.events = POLLOUT;
    else if ((err = l2_redis_link_send(link)) == ERR_OK && l2_redis_link_unsent(link))
        fd.events |= POLLOUT;
    if (err)
        return err;

    int number = poll(&fd, 1, left_ms > 0 ? (int)left_ms : 0);

    if (number < 0 && errno == EINTR)
        return ERR_OK;
    if (number <= 0) {
        snprintf(link->why, sizeof(link->why), "Redis did not %s in time", link->connecting ? "connect" : "answer");
        return ERR_TIMEOUT;
    }
    if (link->connecting)
        return l2_redis_link_connected(link);
    if (!(fd.revents & ~POLLOUT))
        return ERR_OK;
    err = l2_redis_link_receive(link);
    return err == ERR_AGAIN ? ERR_OK : err;
}

static enum err try_exchange(struct l2_redis *redis, size_t count, redisReply **replies)
{
    const struct config *config = redis->setup.config;
    struct l2_redis_link *link = &redis->link;
    int64_t deadline_ms = sys_monotonic_ms() + config->redis.timeout_ms;
    enum err err = ERR_OK;
    size_t got = 0;

    if (!link->context) {
        err = l2_redis_link_open(link, &redis->setup);
        deadline_ms = sys_monotonic_ms() + config->redis.connect_timeout_ms;
    }
    if (err == ERR_OK)
        buf_add_str(&link->out, buf_str(&redis->commands));
    while (err == ERR_OK && got < count) {
        bool connecting = link->connecting;
        redisReply *reply = NULL;

        err = go_on(link, deadline_ms);
        if (connecting && !link->connecting)
            deadline_ms = sys_monotonic_ms() + config->redis.timeout_ms;
        while (err == ERR_OK && got < count && (err = l2_redis_link_next(link, &reply)) == ERR_OK && reply)
            replies[got++] = reply;
    }
    if (err) {
        free_replies(replies, got);
        l2_redis_link_close(link);
    }
    return err;
}

/* Whether REPLY is what the letter stands for: bulk or nil, array, integer, status. */
static bool is_expected(char letter, const redisReply *reply)
{
    switch (letter) {
    case 'b':
        return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_NIL;
    case 'a':
        return reply->type == REDIS_REPLY_ARRAY;
    case 'i':
        return reply->type == REDIS_REPLY_INTEGER;
    default:
        return reply->type == REDIS_REPLY_STATUS;
    }
}

static bool refuses_writing(const redisReply *reply)
{
    return strstr(reply->str, "OOM ") || strstr(reply->str, "READONLY ") || strstr(reply->str, "MISCONF ") ||
           strstr(reply->str, "NOREPLICAS ");
}

/* Judges a reply that was not expected. */
static enum err object(struct l2_redis *redis, const redisReply *reply)
{
    char why[160] = "Redis gave an answer that makes no sense";

    if (reply->type == REDIS_REPLY_ERROR)
        snprintf(why, sizeof(why), "Redis answered: %s", reply->str);
    if (reply->type == REDIS_REPLY_ERROR && refuses_writing(reply)) {
        l2_health_note(redis->setup.health, why);
        l2_health_succeeded(redis->setup.health);
        return ERR_READ_ONLY;
    }
    l2_redis_link_close(&redis->link);
    l2_health_failed(redis->setup.health, why);
    return ERR_CORRUPT;
}

/* Sends what `commands` holds and reads a reply for each letter of EXPECTED, to be freed by free_replies on success. */
static enum err exchange(struct l2_redis *redis, const char *expected, redisReply **replies)
{
    size_t count = strlen(expected);

    if (redis->link.context && !l2_redis_link_idle(&redis->link))
        l2_redis_link_close(&redis->link);

    bool used = redis->link.context != NULL;
    enum err err = try_exchange(redis, count, replies);

    if (err == ERR_IO && used)
        err = try_exchange(redis, count, replies);
    buf_clear(&redis->commands);
    if (err) {
        l2_health_failed(redis->setup.health, redis->link.why);
        return err;
    }
    for (size_t i = 0; err == ERR_OK && i < count; i++)
        if (!is_expected(expected[i], replies[i]))
            err = object(redis, replies[i]);
    if (err)
        free_replies(replies, count);
    else
        l2_health_succeeded(redis->setup.health);
    return err;
}

/* Takes the number that a draw gave. */
static enum err note_number(struct l2_redis *redis, const redisReply *reply, uint64_t *out)
{
    uint64_t number;

    if (l2_redis_wire_number(reply, &number) != ERR_OK)
        return object(redis, reply);
    l2_health_saw(redis->setup.health, number);
    *out = number;
    return ERR_OK;
}

static enum err draw(struct l2_redis *redis, enum l2_redis_draw what, const struct str *tags, size_t tags_count,
                     uint64_t *out)
{
    redisReply *reply;

    l2_redis_wire_draw(&redis->commands, &redis->setup, what, tags, tags_count);

    enum err err = exchange(redis, "b", &reply);

    if (err)
        return err;
    err = note_number(redis, reply, out);
    free_replies(&reply, 1);
    return err;
}

static void read_waiting(struct l2_redis *redis, struct str key, const struct str *tags, size_t tags_count,
                         struct l2_read *read)
{
    uint64_t seen = l2_health_seen(redis->setup.health);
    uint8_t places[L2_TAGS_MAX];
    struct l2_redis_numbers numbers;
    redisReply *replies[2];

    *read = (struct l2_read){.result = L2_UNAVAILABLE};
    for (size_t i = 0; i < tags_count; i++)
        places[i] = (uint8_t)i;
    l2_redis_wire_get(&redis->commands, &redis->setup, key);
    l2_redis_wire_numbers(&redis->commands, &redis->setup, tags, tags_count);
    if (exchange(redis, "ba", replies) != ERR_OK)
        return;

    enum err err = l2_redis_wire_understand(replies[1], tags_count, &numbers);

    if (err == ERR_OK)
        err = l2_redis_wire_judge(replies[0], &numbers, places, tags_count, seen, read);
    if (err == ERR_OK)
        l2_health_saw(redis->setup.health, read->stamp);
    else if (err == ERR_NOT_FOUND)
        read->result = draw(redis, L2_REDIS_WIRE_NOW, NULL, 0, &read->stamp) == ERR_OK ? L2_ABSENT : L2_UNAVAILABLE;
    else
        (void)object(redis, replies[1]);
    redis->held = replies[0];
    free_replies(&replies[1], 1);
}

static void read_entry(void *self, struct str key, const struct str *tags, size_t tags_count, l2_read_fn *fn,
                       void *context)
{
    struct l2_redis *redis = self;
    struct l2_read read;

    if (redis->async) {
        l2_redis_async_read(redis->async, key, tags, tags_count, fn, context);
        return;
    }
    let_go(redis);
    read_waiting(redis, key, tags, tags_count, &read);
    fn(context, &read);
}

static enum err fill(void *self, struct str key, struct str bytes, int64_t ttl_ms, uint64_t stamp, bool *stored)
{
    struct l2_redis *redis = self;
    redisReply *reply;

    if (bytes.len > redis->setup.config->redis.max_entry) {
        *stored = false;
        return ERR_OK;
    }
    l2_redis_wire_fill(&redis->commands, &redis->setup, key, bytes, ttl_ms, stamp);

    enum err err = exchange(redis, "i", &reply);

    if (err)
        return err;
    *stored = reply->integer == 1;
    free_replies(&reply, 1);
    return ERR_OK;
}

static enum err purge_tags(void *self, const struct str *tags, size_t tags_count)
{
    uint64_t number;

    return draw(self, L2_REDIS_WIRE_TAGS, tags, tags_count, &number);
}

static enum err purge_all(void *self)
{
    uint64_t number;

    return draw(self, L2_REDIS_WIRE_ALL, NULL, 0, &number);
}

static void heal(void *self, uint64_t epoch)
{
    struct l2_redis *redis = self;

    if (redis->async)
        l2_redis_async_heal(redis->async, epoch);
    else if (purge_all(redis) == ERR_OK)
        l2_health_trust(redis->setup.health, epoch);
}

/* The number first: whoever read the origin before can then no longer fill what is removed after. */
static enum err purge_keys(void *self, const struct str *keys, size_t keys_count, size_t *removed)
{
    struct l2_redis *redis = self;
    size_t total = 0;
    enum err err = purge_tags(redis, NULL, 0);

    for (size_t at = 0; err == ERR_OK && at < keys_count; at += BATCH) {
        size_t count = keys_count - at < BATCH ? keys_count - at : BATCH;
        redisReply *reply;

        l2_redis_wire_command(&redis->commands, 1 + count);
        l2_redis_wire_add(&redis->commands, STR("UNLINK"));
        for (size_t i = 0; i < count; i++)
            l2_redis_wire_add_joined(&redis->commands, buf_str(&redis->setup.entries), keys[at + i]);
        err = exchange(redis, "i", &reply);
        if (err == ERR_OK) {
            total += (size_t)reply->integer;
            free_replies(&reply, 1);
        }
    }
    if (err == ERR_OK)
        *removed = total;
    return err;
}

static void add_scan(struct l2_redis *redis, uint64_t cursor, struct str pattern, size_t count)
{
    struct buf match = {0};

    l2_redis_wire_quote(&match, buf_str(&redis->setup.entries));
    buf_add_str(&match, pattern);
    l2_redis_wire_command(&redis->commands, 6);
    l2_redis_wire_add(&redis->commands, STR("SCAN"));
    l2_redis_wire_add_number(&redis->commands, cursor);
    l2_redis_wire_add(&redis->commands, STR("MATCH"));
    l2_redis_wire_add(&redis->commands, buf_str(&match));
    l2_redis_wire_add(&redis->commands, STR("COUNT"));
    l2_redis_wire_add_number(&redis->commands, count);
    buf_free(&match);
}

/* Checks a reply of SCAN: its cursor goes to *CURSOR; the keys are the elements of *KEYS, which lies in REPLY. */
static enum err take_scan(struct l2_redis *redis, const redisReply *reply, uint64_t *cursor, const redisReply **keys)
{
    struct str prefix = buf_str(&redis->setup.entries);
    char *end;

    if (reply->elements != 2 || reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_ARRAY)
        return object(redis, reply);
    for (size_t i = 0; i < reply->element[1]->elements; i++) {
        const redisReply *key = reply->element[1]->element[i];

        if (key->type != REDIS_REPLY_STRING || !str_starts((struct str){key->str, key->len}, prefix))
            return object(redis, reply);
    }
    *keys = reply->element[1];
    *cursor = strtoull(reply->element[0]->str, &end, 10);
    return *end == '\0' ? ERR_OK : object(redis, reply);
}

static enum err scan_once(struct l2_redis *redis, struct str pattern, size_t count, uint64_t *cursor,
                          redisReply **reply, const redisReply **keys)
{
    add_scan(redis, *cursor, pattern, count);

    enum err err = exchange(redis, "a", reply);

    if (err)
        return err;
    err = take_scan(redis, *reply, cursor, keys);
    if (err)
        free_replies(reply, 1);
    return err;
}

static enum err unlink_found(struct l2_redis *redis, const redisReply *keys, size_t *total)
{
    redisReply *reply;

    if (keys->elements == 0)
        return ERR_OK;
    l2_redis_wire_command(&redis->commands, 1 + keys->elements);
    l2_redis_wire_add(&redis->commands, STR("UNLINK"));
    for (size_t i = 0; i < keys->elements; i++)
        l2_redis_wire_add(&redis->commands, (struct str){keys->element[i]->str, keys->element[i]->len});

    enum err err = exchange(redis, "i", &reply);

    if (err)
        return err;
    *total += (size_t)reply->integer;
    free_replies(&reply, 1);
    return ERR_OK;
}

static enum err purge_pattern(void *self, struct str pattern, size_t *removed)
{
    struct l2_redis *redis = self;
    const redisReply *keys;
    redisReply *reply;
    size_t total = 0;
    uint64_t cursor = 0;
    enum err err = purge_tags(redis, NULL, 0);

    for (bool more = true; err == ERR_OK && more; more = cursor != 0) {
        err = scan_once(redis, pattern, BATCH, &cursor, &reply, &keys);
        if (err)
            break;
        err = unlink_found(redis, keys, &total);
        free_replies(&reply, 1);
    }
    if (err == ERR_OK)
        *removed = total;
    return err;
}

/* Fetches the floor and the stamps of KEYS: KEYS->elements + 1 replies, in *OUT. */
static enum err fetch_stamps(struct l2_redis *redis, const redisReply *keys, redisReply ***out)
{
    redisReply **replies = sys_calloc(keys->elements + 1, sizeof(redisReply *));
    struct buf expected = {0};

    l2_redis_wire_command(&redis->commands, 3);
    l2_redis_wire_add(&redis->commands, STR("HGET"));
    l2_redis_wire_add(&redis->commands, buf_str(&redis->setup.purged));
    l2_redis_wire_add(&redis->commands, STR("floor"));
    buf_add_char(&expected, 'b');
    for (size_t i = 0; i < keys->elements; i++) {
        l2_redis_wire_command(&redis->commands, 4);
        l2_redis_wire_add(&redis->commands, STR("GETRANGE"));
        l2_redis_wire_add(&redis->commands, (struct str){keys->element[i]->str, keys->element[i]->len});
        l2_redis_wire_add(&redis->commands, STR("0"));
        l2_redis_wire_add(&redis->commands, STR("7"));
        buf_add_char(&expected, 'b');
    }

    enum err err = exchange(redis, expected.p, replies);

    buf_free(&expected);
    if (err)
        free(replies);
    else
        *out = replies;
    return err;
}

/* Appends to KEYS those of FOUND that have not been invalidated with everything else, up to ROOM. */
static enum err list_standing(struct l2_redis *redis, const redisReply *found, size_t room, struct arena *arena,
                              struct str *keys, size_t *count)
{
    size_t prefix = redis->setup.entries.len;
    redisReply **replies;
    uint64_t floor;
    enum err err = fetch_stamps(redis, found, &replies);

    if (err)
        return err;
    if (l2_redis_wire_number(replies[0], &floor) != ERR_OK)
        floor = UINT64_MAX;
    for (size_t i = 0; i < found->elements && *count < room; i++) {
        const redisReply *key = found->element[i];

        if (l2_redis_wire_stamp(replies[i + 1]) >= floor)
            keys[(*count)++] = arena_copy(arena, (struct str){key->str + prefix, key->len - prefix});
    }
    free_replies(replies, found->elements + 1);
    free(replies);
    return ERR_OK;
}

static enum err scan(void *self, struct str pattern, uint64_t *cursor, size_t limit, struct arena *arena,
                     struct str **keys, size_t *count)
{
    struct l2_redis *redis = self;
    /* One SCAN may return somewhat more than it was asked for. */
    size_t asked = limit < 1 ? 1 : limit < PAGE_MAX ? limit : PAGE_MAX, room = asked * 3, found = 0;
    struct str *list = arena_alloc(arena, room * sizeof(*list));
    uint64_t next = *cursor;
    enum err err = list ? ERR_OK : ERR_LIMIT;

    for (int round = 0; err == ERR_OK && round < PAGE_ROUNDS; round++) {
        const redisReply *page;
        redisReply *reply;

        err = scan_once(redis, pattern, asked, &next, &reply, &page);
        if (err)
            break;
        if (page->elements > 0)
            err = list_standing(redis, page, room, arena, list, &found);
        free_replies(&reply, 1);
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

static enum err ping(void *self)
{
    struct l2_redis *redis = self;
    redisReply *reply;

    l2_redis_wire_command(&redis->commands, 1);
    l2_redis_wire_add(&redis->commands, STR("PING"));

    enum err err = exchange(redis, "s", &reply);

    if (err == ERR_OK)
        free_replies(&reply, 1);
    return err;
}

const struct l2_backend l2_redis_backend = {
    .name = "redis",
    .open = open_redis,
    .close = close_redis,
    .read = read_entry,
    .heal = heal,
    .fill = fill,
    .purge_tags = purge_tags,
    .purge_all = purge_all,
    .purge_keys = purge_keys,
    .purge_pattern = purge_pattern,
    .scan = scan,
    .ping = ping,
};
