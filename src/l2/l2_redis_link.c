/*
 * l2_redis_link: connecting, greeting, writing and reading, on hiredis's non-blocking context and its reply parser.
 *
 * Invariant: AUTH and SELECT are the first bytes of every connection, so nothing is ever asked in the wrong database or
 * as the wrong user; their answers are checked before any other reply is handed out.
 *
 * Why not hiredis's asynchronous context: in 0.14 it asserts, and so ends the process, when a server answers what was
 * not asked; it allocates for each command; and its writes can raise SIGPIPE. Why not its blocking one: its time-outs
 * are per system call, so a server that trickles bytes outlasts them. Replies announced larger than ELEMENTS_MAX are
 * refused before memory is taken for them.
 */
#include "l2/l2_redis_link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

enum { ELEMENTS_MAX = 1 << 20, OUT_KEPT = 1 << 20 };

/* What hiredis counts the elements of an array in. */
#if HIREDIS_MAJOR < 1
#define ELEMENT_COUNT int
#else
#define ELEMENT_COUNT size_t
#endif

static enum err fail(struct l2_redis_link *link, enum err err, const char *what, const char *why)
{
    snprintf(link->why, sizeof(link->why), "%s%s%s", what, why[0] ? ": " : "", why);
    return err;
}

static void *create_array(const redisReadTask *task, ELEMENT_COUNT elements)
{
    const redisReplyObjectFunctions *plain = task->privdata;

    return elements > ELEMENTS_MAX ? NULL : plain->createArray(task, elements);
}

/* The same objects in the arena that is the reader's privdata. NULL, when it is full, is "out of memory" to hiredis. */

static redisReply *place(const redisReadTask *task, int type)
{
    redisReply *reply = arena_calloc(task->privdata, 1, sizeof *reply);

    if (!reply)
        return NULL;
    reply->type = type;
    if (task->parent)
        ((redisReply *)task->parent->obj)->element[task->idx] = reply;
    return reply;
}

static void *place_string(const redisReadTask *task, char *text, size_t len)
{
    redisReply *reply = place(task, task->type);
    struct str copy = arena_copy(task->privdata, (struct str){text, len});

    if (!reply || arena_overflowed(task->privdata))
        return NULL;
    reply->str = (char *)(uintptr_t)copy.p;
    reply->len = len;
    return reply;
}

static void *place_array(const redisReadTask *task, ELEMENT_COUNT elements)
{
    /* hiredis 1 brings the maps, sets and pushes of RESP3 here too, which nobody has asked for. */
    bool wanted = task->type == REDIS_REPLY_ARRAY && elements <= ELEMENTS_MAX;
    redisReply *reply = wanted ? place(task, REDIS_REPLY_ARRAY) : NULL;

    if (!reply || elements <= 0)
        return reply;
    reply->elements = (size_t)elements;
    reply->element = arena_calloc(task->privdata, reply->elements, sizeof(*reply->element));
    return reply->element ? reply : NULL;
}

static void *place_integer(const redisReadTask *task, long long value)
{
    redisReply *reply = place(task, REDIS_REPLY_INTEGER);

    if (reply)
        reply->integer = value;
    return reply;
}

static void *place_nil(const redisReadTask *task)
{
    /* A string or an array, by its task. */
    return place(task, REDIS_REPLY_NIL);
}

#if HIREDIS_MAJOR >= 1
/* More of RESP3. Without these two, hiredis hands out a small number in place of a pointer. */

static void *refuse_double(const redisReadTask *task, double value, char *text, size_t len)
{
    (void)task, (void)value, (void)text, (void)len;
    return NULL;
}

static void *refuse_bool(const redisReadTask *task, int value)
{
    (void)task, (void)value;
    return NULL;
}
#endif

static void leave(void *reply)
{
    (void)reply;
}

/* Has the reader make its objects as this module wants them. */
static void set_functions(struct l2_redis_link *link, redisReader *reader)
{
    static const redisReplyObjectFunctions placing = {
        .createString = place_string,
        .createArray = place_array,
        .createInteger = place_integer,
        .createNil = place_nil,
#if HIREDIS_MAJOR >= 1
        .createDouble = refuse_double,
        .createBool = refuse_bool,
#endif
        .freeObject = leave
    };

    if (link->replies) {
        link->functions = placing;
        reader->privdata = link->replies;
    } else {
        link->functions = *reader->fn;
        link->functions.createArray = create_array;
        reader->privdata = reader->fn;
    }
    reader->fn = &link->functions;
}

static void greet(struct l2_redis_link *link, const struct l2_redis_setup *setup)
{
    const struct config *config = setup->config;
    const char *user = setup->url->user ? setup->url->user : config->redis.user;
    const char *password = setup->url->password ? setup->url->password : config->redis.password;
    int64_t database = setup->url->database >= 0 ? setup->url->database : config->redis.database;

    link->greetings = 0;
    if (password[0]) {
        l2_redis_wire_command(&link->out, user[0] ? 3 : 2);
        l2_redis_wire_add(&link->out, STR("AUTH"));
        if (user[0])
            l2_redis_wire_add(&link->out, str_from(user));
        l2_redis_wire_add(&link->out, str_from(password));
        link->greetings++;
    }
    if (database > 0) {
        l2_redis_wire_command(&link->out, 2);
        l2_redis_wire_add(&link->out, STR("SELECT"));
        l2_redis_wire_add_number(&link->out, (uint64_t)database);
        link->greetings++;
    }
}

enum err l2_redis_link_open(struct l2_redis_link *link, const struct l2_redis_setup *setup)
{
    const struct l2_url *url = setup->url;
    redisContext *context =
        url->kind == L2_URL_UNIX ? redisConnectUnixNonBlock(url->path) : redisConnectNonBlock(url->host, url->port);

    if (!context)
        return fail(link, ERR_IO, "cannot connect to Redis", "out of memory");
    if (context->err) {
        fail(link, ERR_IO, "cannot connect to Redis", context->errstr);
        redisFree(context);
        return ERR_IO;
    }
    fcntl(context->fd, F_SETFD, FD_CLOEXEC);
    set_functions(link, context->reader);
    link->context = context;
    link->connecting = true;
    greet(link, setup);
    return ERR_OK;
}

void l2_redis_link_close(struct l2_redis_link *link)
{
    if (!link->context)
        return;
    redisFree(link->context);
    link->context = NULL;
    /* A connection that failed may leave credentials here, and a burst much memory. */
    if (link->out.p)
        explicit_bzero(link->out.p, link->out.len);
    buf_free(&link->out);
    link->sent = 0;
}

void l2_redis_link_fini(struct l2_redis_link *link)
{
    l2_redis_link_close(link);
    buf_free(&link->out);
}

enum err l2_redis_link_connected(struct l2_redis_link *link)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(link->context->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error != 0)
        return fail(link, ERR_IO, "cannot connect to Redis", strerror(error));
    link->connecting = false;
    return ERR_OK;
}

bool l2_redis_link_unsent(const struct l2_redis_link *link)
{
    return link->sent < link->out.len;
}

enum err l2_redis_link_send(struct l2_redis_link *link)
{
    while (l2_redis_link_unsent(link)) {
        ssize_t sent =
            send(link->context->fd, link->out.p + link->sent, link->out.len - link->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN ? ERR_OK : fail(link, ERR_IO, "cannot write to Redis", strerror(errno));
        link->sent += (size_t)sent;
    }
    link->sent = 0;
    if (link->out.cap > OUT_KEPT)
        buf_free(&link->out);
    else
        buf_clear(&link->out);
    return ERR_OK;
}

enum err l2_redis_link_receive(struct l2_redis_link *link)
{
    size_t before = link->context->reader->len;

    if (redisBufferRead(link->context) != REDIS_OK)
        return fail(link, ERR_IO, "the connection to Redis was lost", link->context->errstr);
    return link->context->reader->len > before ? ERR_OK : ERR_AGAIN;
}

static enum err check_greeting(struct l2_redis_link *link, const redisReply *reply)
{
    /* No more than the first word: what follows may repeat what was sent. */
    struct str text = {reply->str, reply->type == REDIS_REPLY_ERROR ? reply->len : 0};
    struct str word = str_cut(&text, ' ');
    char code[32];

    if (reply->type == REDIS_REPLY_STATUS)
        return ERR_OK;
    if (reply->type != REDIS_REPLY_ERROR)
        return fail(link, ERR_CORRUPT, "what answers is not Redis", "");
    snprintf(code, sizeof(code), "%.*s", STR_ARG(word));
    return fail(link, ERR_DENIED, "Redis refused the user, password or database", code);
}

enum err l2_redis_link_next(struct l2_redis_link *link, redisReply **out)
{
    enum err err = ERR_OK;
    void *reply = NULL;

    do {
        if (redisGetReplyFromReader(link->context, &reply) != REDIS_OK)
            return fail(link, ERR_CORRUPT, "what answers is not Redis", link->context->errstr);
        if (!reply || link->greetings == 0)
            break;
        link->greetings--;
        err = check_greeting(link, reply);
        link->functions.freeObject(reply);
        reply = NULL;
    } while (err == ERR_OK);
    if (err == ERR_OK)
        *out = reply;
    return err;
}

bool l2_redis_link_idle(const struct l2_redis_link *link)
{
    struct pollfd fd = {.fd = link->context->fd, .events = POLLIN};

    return link->context->reader->pos >= link->context->reader->len && poll(&fd, 1, 0) == 0;
}
