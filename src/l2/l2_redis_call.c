/*
 * l2_redis_call: exchanges with Redis for threads that may wait.
 *
 * Invariant: after an exchange the connection is either in step (every reply was read) or closed, and nothing that is
 * sent is waited for beyond its deadline, however slowly bytes trickle in.
 *
 * A connection that the server closed while it was idle is noticed before it is used; one that breaks under the first
 * use after idling is made anew and the exchange repeated once, which all our commands bear: a lease that is claimed
 * again with its token is granted again, a purge that is done twice is a purge. The same is done, on the connection as
 * it is, for a server that knows the scripts no more; that is no failure, unless they are unknown again as soon as they
 * are loaded. A server that answers but refuses to write (full, a replica, its disk full) is not held against L2's
 * health, for it can still be read.
 */
#include "l2/l2_redis_call.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "base/sys.h"
#include "l2/l2_redis_load.h"

void l2_redis_call_fini(struct l2_redis_call *call)
{
    l2_redis_link_fini(&call->link);
    buf_free(&call->commands);
}

void l2_redis_call_free(redisReply **replies, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        freeReplyObject(replies[i]);
        replies[i] = NULL;
    }
}

bool l2_redis_call_is_open(struct l2_redis_call *call)
{
    if (call->link.context && !l2_redis_link_idle(&call->link))
        l2_redis_link_close(&call->link);
    return call->link.context != NULL;
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

/* Sends COMMANDS and reads COUNT replies. */
static enum err talk(struct l2_redis_call *call, struct str commands, size_t count, int64_t wait_ms,
                     redisReply **replies)
{
    const struct config *config = call->setup->config;
    struct l2_redis_link *link = &call->link;
    int64_t answer_ms = config->redis.timeout_ms + wait_ms, deadline_ms = sys_monotonic_ms() + answer_ms;
    enum err err = ERR_OK;
    size_t got = 0;

    if (!link->context) {
        err = l2_redis_link_open(link, call->setup);
        deadline_ms = sys_monotonic_ms() + config->redis.connect_timeout_ms;
    }
    if (err == ERR_OK)
        buf_add_str(&link->out, commands);
    while (err == ERR_OK && got < count) {
        bool connecting = link->connecting;
        redisReply *reply = NULL;

        err = go_on(link, deadline_ms);
        if (connecting && !link->connecting)
            deadline_ms = sys_monotonic_ms() + answer_ms;
        while (err == ERR_OK && got < count && (err = l2_redis_link_next(link, &reply)) == ERR_OK && reply)
            replies[got++] = reply;
    }
    if (err) {
        l2_redis_call_free(replies, got);
        l2_redis_link_close(link);
    }
    return err;
}

/* Whether REPLY is what the letter stands for. */
static bool is_expected(char letter, const redisReply *reply)
{
    switch (letter) {
    case 'b':
        return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_NIL;
    case 'a':
        return reply->type == REDIS_REPLY_ARRAY;
    case 'n':
        return reply->type == REDIS_REPLY_ARRAY || reply->type == REDIS_REPLY_NIL;
    case 'i':
        return reply->type == REDIS_REPLY_INTEGER;
    default:
        return reply->type == REDIS_REPLY_STATUS;
    }
}

static enum err refuse(struct l2_redis_call *call)
{
    snprintf(call->link.why, sizeof(call->link.why), "Redis gave an answer that makes no sense");
    l2_redis_link_close(&call->link);
    return ERR_CORRUPT;
}

/* Judges a reply that was not expected. */
static enum err object(struct l2_redis_call *call, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ERROR)
        return refuse(call);
    snprintf(call->link.why, sizeof(call->link.why), "Redis answered: %s", reply->str);
    if (l2_redis_wire_refuses(reply))
        return ERR_READ_ONLY;
    l2_redis_link_close(&call->link);
    return ERR_CORRUPT;
}

/* Has Redis know every script from now on. */
static enum err load_scripts(struct l2_redis_call *call)
{
    redisReply *replies[L2_REDIS_LOAD_COUNT];
    struct buf commands = {0};

    l2_redis_load_add(&commands);

    enum err err = talk(call, buf_str(&commands), L2_REDIS_LOAD_COUNT, 0, replies);

    buf_free(&commands);
    if (err)
        return err;
    for (size_t i = 0; err == ERR_OK && i < L2_REDIS_LOAD_COUNT; i++)
        if (!l2_redis_load_is_done(replies[i], i))
            err = object(call, replies[i]);
    l2_redis_call_free(replies, L2_REDIS_LOAD_COUNT);
    return err;
}

static bool lacks_script(redisReply *const *replies, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (l2_redis_load_is_needed(replies[i]))
            return true;
    return false;
}

/* One attempt; `commands` stays. */
static enum err attempt(struct l2_redis_call *call, const char *expected, int64_t wait_ms, redisReply **replies)
{
    size_t count = strlen(expected);
    enum err err = talk(call, buf_str(&call->commands), count, wait_ms, replies);

    if (err == ERR_OK && lacks_script(replies, count)) {
        l2_redis_call_free(replies, count);
        err = load_scripts(call);
        if (err == ERR_OK)
            err = talk(call, buf_str(&call->commands), count, wait_ms, replies);
    }
    if (err)
        return err;
    for (size_t i = 0; err == ERR_OK && i < count; i++)
        if (!is_expected(expected[i], replies[i]))
            err = object(call, replies[i]);
    if (err)
        l2_redis_call_free(replies, count);
    return err;
}

enum err l2_redis_call_once(struct l2_redis_call *call, const char *expected, int64_t wait_ms, redisReply **replies)
{
    enum err err = attempt(call, expected, wait_ms, replies);

    buf_clear(&call->commands);
    return err;
}

enum err l2_redis_call_exchange(struct l2_redis_call *call, const char *expected, redisReply **replies)
{
    bool used = l2_redis_call_is_open(call);
    enum err err = attempt(call, expected, 0, replies);

    if (err == ERR_IO && used)
        err = attempt(call, expected, 0, replies);
    buf_clear(&call->commands);
    if (err == ERR_READ_ONLY)
        l2_health_note(call->setup->health, call->link.why);
    if (err == ERR_OK || err == ERR_READ_ONLY)
        l2_health_succeeded(call->setup->health);
    else
        l2_health_failed(call->setup->health, call->link.why);
    return err;
}

enum err l2_redis_call_refuse(struct l2_redis_call *call)
{
    enum err err = refuse(call);

    l2_health_failed(call->setup->health, call->link.why);
    return err;
}
