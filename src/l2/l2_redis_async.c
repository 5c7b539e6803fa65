/*
 * l2_redis_async: one connection per event thread, a queue of what has been asked, answers in the order of the
 * questions.
 *
 * States: closed; connecting (questions gather); open. The first question opens it. Any failure (connecting, time-out,
 * end of stream, an answer that makes no sense) closes it and answers everything that was asked on it with
 * L2_UNAVAILABLE, each a failure for the breaker, which decides when the next question may open it again. So a Redis
 * that hangs costs each event thread one time-out.
 *
 * Invariant: the queue holds exactly the questions whose answers are still to come, oldest first; each is answered
 * once. Before a callback runs, its question has left the queue, and on failure the connection is closed, so callbacks
 * may ask again.
 *
 * Writing waits for the loop's tick, at the end of each round, so that all questions of a round leave together, as two
 * commands: one for the numbers of all the tags concerned, whose answer judges the reads, and one that reads. Deadlines
 * are looked at in the tick as well.
 *
 * Both answers lie in an arena until the last read of their round has been answered.
 */
#include "l2/l2_redis_async.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/sys.h"
#include "l2/l2_redis_link.h"

enum { QUEUE_FIRST = 64, RECEIVES_MAX = 64, READS_MAX = 32, REPLIES_FIRST = 64 << 10 };

/* One read. */
struct question {
    uint64_t connection; /* on which it was asked */
    int64_t asked_ms;
    l2_read_fn *fn;
    void *context;
    struct str key; /* borrowed until it is answered */
    uint64_t seen, epoch;                  /* the highest number known, and distrust's epoch, when it was asked */
    uint8_t tags_count, tags[L2_TAGS_MAX]; /* where its tags stand among those of its round */
    /* Of the first one of those asked together: */
    bool awaits_numbers; /* their answer comes before the reads' */
    size_t tags_asked, reads_asked;
};

struct l2_redis_async {
    const struct l2_redis_setup *setup;
    const struct loop *loop;
    struct loop_watch watch;
    struct l2_redis_link link;
    uint64_t connection;    /* counts them */
    int64_t since_ms;       /* connecting or open since */
    struct question *queue; /* a ring of CAPACITY, a power of two */
    size_t capacity, first, count;
    /* The reads of this round, at the end of the queue and not yet sent; their keys, and their tags, each once. */
    size_t unsent, tags_count;
    struct buf keys;
    struct {
        size_t start, len; /* in tag_bytes */
    } tags[L2_REDIS_WIRE_TAGS_MAX];
    struct buf tag_bytes;
    struct l2_redis_numbers numbers; /* of the round that is being answered; views in its reply */
};

static void ready(void *context, unsigned events);
static void tick(void *context, int64_t now_ms);

struct l2_redis_async *l2_redis_async_open(const struct l2_redis_setup *setup, const struct loop *loop)
{
    struct l2_redis_async *async = sys_calloc(1, sizeof(*async));

    async->setup = setup;
    async->loop = loop;
    async->watch = (struct loop_watch){.fn = ready, .context = async, .fd = -1};
    async->capacity = QUEUE_FIRST;
    async->queue = sys_calloc(async->capacity, sizeof(*async->queue));
    async->link.replies = arena_new(REPLIES_FIRST, SIZE_MAX / 4);
    loop->tick(loop->self, tick, async);
    return async;
}

static struct question *at(struct l2_redis_async *async, size_t place)
{
    return &async->queue[(async->first + place) & (async->capacity - 1)];
}

static struct question *oldest(struct l2_redis_async *async)
{
    return at(async, 0);
}

static void push(struct l2_redis_async *async, struct question question)
{
    if (async->count == async->capacity) {
        struct question *wider = sys_calloc(async->capacity * 2, sizeof(*wider));

        for (size_t i = 0; i < async->count; i++)
            wider[i] = *at(async, i);
        free(async->queue);
        async->queue = wider;
        async->first = 0;
        async->capacity *= 2;
    }
    question.connection = async->connection;
    question.asked_ms = sys_monotonic_ms();
    *at(async, async->count++) = question;
}

static struct question pop(struct l2_redis_async *async)
{
    struct question question = *oldest(async);

    async->first = (async->first + 1) & (async->capacity - 1);
    async->count--;
    return question;
}

static void watch(struct l2_redis_async *async, unsigned events)
{
    if (async->watch.events != events)
        async->loop->watch(async->loop->self, &async->watch, events);
}

static void disconnect(struct l2_redis_async *async)
{
    if (!async->link.context)
        return;
    watch(async, 0);
    l2_redis_link_close(&async->link);
    arena_reset(async->link.replies);
    async->unsent = async->tags_count = 0;
    buf_clear(&async->keys);
    buf_clear(&async->tag_bytes);
}

/* Answers everything asked on the connection that has just been closed; with WHY, as a failure of L2. */
static void give_up(struct l2_redis_async *async, const char *why)
{
    static const struct l2_read unavailable = {.result = L2_UNAVAILABLE};
    uint64_t lost = async->connection;

    while (async->count > 0 && oldest(async)->connection <= lost) {
        struct question question = pop(async);

        if (why)
            l2_health_failed(async->setup->health, why);
        question.fn(question.context, &unavailable);
    }
}

static void drop(struct l2_redis_async *async)
{
    char why[sizeof(async->link.why)];

    snprintf(why, sizeof(why), "%s", async->link.why);
    disconnect(async);
    give_up(async, why);
}

void l2_redis_async_close(struct l2_redis_async **async)
{
    if (!*async)
        return;
    disconnect(*async);
    give_up(*async, NULL);
    l2_redis_link_fini(&(*async)->link);
    buf_free(&(*async)->keys);
    buf_free(&(*async)->tag_bytes);
    arena_free(&(*async)->link.replies);
    free((*async)->queue);
    free(*async);
    *async = NULL;
}

/* Sees to it that there is a connection to ask on. */
static bool connect_link(struct l2_redis_async *async)
{
    if (async->link.context)
        return true;
    if (l2_redis_link_open(&async->link, async->setup) != ERR_OK) {
        l2_health_failed(async->setup->health, async->link.why);
        return false;
    }
    async->connection++;
    async->since_ms = sys_monotonic_ms();
    async->watch.fd = async->link.context->fd;
    watch(async, LOOP_READ | LOOP_WRITE);
    return true;
}

static struct str tag_at(const struct l2_redis_async *async, size_t i)
{
    return (struct str){async->tag_bytes.p + async->tags[i].start, async->tags[i].len};
}

/* The place of TAG among those of the round, where it is added if it is new. */
static uint8_t place_tag(struct l2_redis_async *async, struct str tag)
{
    size_t i = 0;

    while (i < async->tags_count && !str_equal(tag_at(async, i), tag))
        i++;
    if (i == async->tags_count) {
        async->tags[i].start = async->tag_bytes.len;
        async->tags[i].len = tag.len;
        async->tags_count++;
        buf_add_str(&async->tag_bytes, tag);
    }
    return (uint8_t)i;
}

/* Asks for the numbers that judge the round's reads, and then for what these read. */
static void ask(struct l2_redis_async *async)
{
    struct str tags[L2_REDIS_WIRE_TAGS_MAX];

    if (async->unsent == 0)
        return;
    for (size_t i = 0; i < async->tags_count; i++)
        tags[i] = tag_at(async, i);
    l2_redis_wire_numbers(&async->link.out, async->setup, tags, async->tags_count);
    l2_redis_wire_mget(&async->link.out, buf_str(&async->keys), async->unsent);

    struct question *opening = at(async, async->count - async->unsent);

    opening->awaits_numbers = true;
    opening->tags_asked = async->tags_count;
    opening->reads_asked = async->unsent;
    async->unsent = async->tags_count = 0;
    buf_clear(&async->keys);
    buf_clear(&async->tag_bytes);
}

void l2_redis_async_read(struct l2_redis_async *async, struct str key, const struct str *tags, size_t tags_count,
                         uint64_t epoch, l2_read_fn *fn, void *context)
{
    struct question question = {
        .fn = fn, .context = context, .key = key, .seen = l2_health_seen(async->setup->health), .epoch = epoch};

    if (!connect_link(async)) {
        fn(context, &(struct l2_read){.result = L2_UNAVAILABLE});
        return;
    }
    if (async->tags_count + tags_count > L2_REDIS_WIRE_TAGS_MAX || async->unsent == READS_MAX)
        ask(async);
    for (size_t i = 0; i < tags_count; i++)
        question.tags[question.tags_count++] = place_tag(async, tags[i]);
    l2_redis_wire_entry(&async->keys, async->setup, key);
    push(async, question);
    async->unsent++;
}

static enum err senseless(struct l2_redis_async *async, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR)
        snprintf(async->link.why, sizeof(async->link.why), "Redis answered: %.*s", (int)reply->len, reply->str);
    else
        snprintf(async->link.why, sizeof(async->link.why), "Redis gave an answer that makes no sense");
    return ERR_CORRUPT;
}

/* The numbers that judge the reads which follow. */
static enum err take_numbers(struct l2_redis_async *async, const redisReply *reply)
{
    struct question *opening = oldest(async);

    if (l2_redis_wire_understand(reply, opening->tags_asked, &async->numbers) != ERR_OK)
        return senseless(async, reply);
    opening->awaits_numbers = false;
    l2_health_succeeded(async->setup->health);
    if (!async->numbers.lost)
        l2_health_saw(async->setup->health, async->numbers.seq);
    return ERR_OK;
}

/* The oldest question's entry has come. */
static void answer_read(struct l2_redis_async *async, const redisReply *entry)
{
    struct question question = pop(async);
    struct l2_read read = {.result = L2_UNAVAILABLE};

    if (l2_health_holds(async->setup->health, question.epoch))
        read = l2_redis_wire_judge(entry, question.key, &async->numbers, question.tags, question.tags_count, question.seen);
    question.fn(question.context, &read);
}

static enum err answer(struct l2_redis_async *async, const redisReply *reply)
{
    /* The reads of this round have not been sent yet: nothing that comes now can answer them. */
    const struct question *next = async->count > async->unsent ? oldest(async) : NULL;

    if (next && next->awaits_numbers)
        return take_numbers(async, reply);
    if (!next || reply->type != REDIS_REPLY_ARRAY || reply->elements != next->reads_asked)
        return senseless(async, reply);
    for (size_t i = 0; i < reply->elements; i++)
        answer_read(async, reply->element[i]);
    arena_reset(async->link.replies);
    return ERR_OK;
}

/* Everything that has come, up to a bound that leaves the others their turn. */
static enum err receive(struct l2_redis_async *async)
{
    enum err err = ERR_OK;

    for (int i = 0; err == ERR_OK && i < RECEIVES_MAX; i++) {
        redisReply *reply = NULL;

        err = l2_redis_link_receive(&async->link);
        while (err == ERR_OK && (err = l2_redis_link_next(&async->link, &reply)) == ERR_OK && reply)
            err = answer(async, reply);
        /* With everything answered that was sent, another look would find nothing. */
        if (async->count == async->unsent)
            break;
    }
    return err == ERR_AGAIN ? ERR_OK : err;
}

static void ready(void *context, unsigned events)
{
    struct l2_redis_async *async = context;
    enum err err = ERR_OK;

    (void)events;
    if (async->link.connecting) {
        err = l2_redis_link_connected(&async->link);
        async->since_ms = sys_monotonic_ms();
    }
    if (err == ERR_OK)
        err = receive(async);
    if (err)
        drop(async);
}

/* Whether Redis has had its time to connect, or to answer the oldest question. */
static bool is_overdue(struct l2_redis_async *async, int64_t now_ms)
{
    const struct config *config = async->setup->config;

    if (async->link.connecting)
        return now_ms - async->since_ms > config->redis.connect_timeout_ms;
    if (async->count == 0)
        return false;

    int64_t asked_ms = oldest(async)->asked_ms;

    return now_ms - (asked_ms > async->since_ms ? asked_ms : async->since_ms) > config->redis.timeout_ms;
}

static void tick(void *context, int64_t now_ms)
{
    struct l2_redis_async *async = context;
    enum err err = ERR_OK;

    if (!async->link.context)
        return;
    /* It may be ourselves who were late: what has come meanwhile counts. */
    if (is_overdue(async, now_ms) && !async->link.connecting)
        err = receive(async);
    if (err == ERR_OK && is_overdue(async, now_ms)) {
        snprintf(async->link.why, sizeof(async->link.why), "Redis did not %s in time",
                 async->link.connecting ? "connect" : "answer");
        err = ERR_TIMEOUT;
    }
    if (err == ERR_OK)
        ask(async);
    if (err == ERR_OK && !async->link.connecting) {
        err = l2_redis_link_send(&async->link);
        if (err == ERR_OK)
            watch(async, LOOP_READ | (l2_redis_link_unsent(&async->link) ? LOOP_WRITE : 0));
    }
    if (err)
        drop(async);
}
