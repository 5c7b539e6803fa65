/*
 * l2_redis_async: one connection per event thread, a queue of what has been asked, answers in the order of the
 * questions.
 *
 * States: closed; connecting (questions gather); open. The first question opens it. Any failure (connecting, time-out,
 * end of stream, an answer that makes no sense) closes it and answers everything that was asked on it as unavailable,
 * each a failure for the breaker, which decides when the next question may open it again. So a Redis that hangs costs
 * each event thread one time-out.
 *
 * Questions gather in batches, one for each kind, until the loop's tick at the end of each round; so all questions of a
 * round leave together; those about leaderboards wait for the answer to the ones before. A batch of reads is two
 * commands: one for the numbers of all the tags concerned, whose answer judges the reads, and one that reads. A batch
 * about leaderboards is one script, and what else runs a script is a batch of its own; where Redis does not know the
 * script, the batch goes to the end of the queue and is asked once more, behind all scripts. Deadlines are looked at in
 * the tick.
 *
 * Invariant: the queue holds exactly the batches whose answers are still to come, in the order of these; each question
 * is answered once. Before a callback runs, its question counts as answered, and on failure the connection is closed
 * and the queue empty, so callbacks may ask again. Answers lie in an arena until the last one of their batch was given.
 */
#include "l2/l2_redis_async.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/sys.h"
#include "l2/l2_redis_link.h"
#include "l2/l2_redis_load.h"

enum { RECEIVES_MAX = 64, BATCH_MAX = 32, REPLIES_FIRST = 64 << 10 };

/* One read. */
struct read {
    l2_read_fn *fn;
    void *context;
    struct str key;                        /* borrowed until it is answered */
    uint64_t seen, epoch;                  /* the highest number known, and distrust's epoch, when it was asked */
    uint8_t tags_count, tags[L2_TAGS_MAX]; /* where its tags stand among those of its batch */
};

enum kind { READS, BOARDS, KINDS, RUN = KINDS }; /* RUN does not gather */

/* What is asked together and answered together. */
struct batch {
    struct batch *next;
    enum kind kind;
    int64_t asked_ms;       /* when the first of its questions was */
    size_t count, answered; /* of its questions */
    size_t tags_count;      /* READS: different ones in all */
    bool judged;            /* READS: the numbers that judge them have come */
    bool again;             /* BOARDS, RUN: asked once more, behind the scripts */
    size_t loading;         /* BOARDS, RUN: answers about loading scripts that are to come before its own */
    struct {
        struct buf command;
        l2_redis_async_fn *fn;
        void *context;
    } run;
    union {
        struct read reads[BATCH_MAX];
        struct l2_redis_boards_asked boards[BATCH_MAX];
    };
};

struct batches {
    struct batch *first, *last;
};

struct l2_redis_async {
    const struct l2_redis_setup *setup;
    const struct loop *loop;
    struct loop_watch watch;
    struct l2_redis_link link;
    int64_t since_ms; /* connecting or open since */
    struct batches asked;
    struct batch *gathering[KINDS]; /* of this round, not asked yet; NULL without one */
    struct batch *spare;
    /* Of the reads that gather: the entries' names as they are sent, and the tags, each once. */
    struct buf keys;
    struct {
        size_t start, len; /* in tag_bytes */
    } tags[L2_REDIS_WIRE_TAGS_MAX];
    struct buf tag_bytes;
    struct l2_redis_numbers numbers; /* of the reads that are being answered; views in their reply */
};

static void ready(void *context, unsigned events);
static void tick(void *context, int64_t now_ms);

struct l2_redis_async *l2_redis_async_open(const struct l2_redis_setup *setup, const struct loop *loop)
{
    struct l2_redis_async *async = sys_calloc(1, sizeof(*async));

    async->setup = setup;
    async->loop = loop;
    async->watch = (struct loop_watch){.fn = ready, .context = async, .fd = -1};
    async->link.replies = arena_new(REPLIES_FIRST, SIZE_MAX / 4);
    loop->tick(loop->self, tick, async);
    return async;
}

static void append(struct batches *list, struct batch *batch)
{
    batch->next = NULL;
    if (list->last)
        list->last->next = batch;
    else
        list->first = batch;
    list->last = batch;
}

static struct batch *take_first(struct batches *list)
{
    struct batch *batch = list->first;

    if (!batch)
        return NULL;
    list->first = batch->next;
    if (!list->first)
        list->last = NULL;
    return batch;
}

static void put_away(struct l2_redis_async *async, struct batch *batch)
{
    batch->next = async->spare;
    async->spare = batch;
}

static struct batch *begin_batch(struct l2_redis_async *async, enum kind kind)
{
    struct batch *batch = async->spare;

    if (batch)
        async->spare = batch->next;
    else
        batch = sys_calloc(1, sizeof(*batch));
    batch->kind = kind;
    batch->asked_ms = sys_monotonic_ms();
    batch->count = batch->answered = batch->tags_count = batch->loading = 0;
    batch->judged = batch->again = false;
    return batch;
}

/* The batch of KIND that gathers, begun if there is none. */
static struct batch *gather(struct l2_redis_async *async, enum kind kind)
{
    if (!async->gathering[kind])
        async->gathering[kind] = begin_batch(async, kind);
    return async->gathering[kind];
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
    buf_clear(&async->keys);
    buf_clear(&async->tag_bytes);
}

/* Answers BATCH's next question without a word of Redis. */
static void disappoint(struct batch *batch)
{
    static const struct l2_read unavailable = {.result = L2_UNAVAILABLE};
    static const struct l2_boards_answer unknown = {.result = L2_BOARDS_UNKNOWN};
    size_t i = batch->answered++;

    if (batch->kind == READS)
        batch->reads[i].fn(batch->reads[i].context, &unavailable);
    else if (batch->kind == BOARDS)
        batch->boards[i].fn(batch->boards[i].context, &unknown);
    else
        (void)batch->run.fn(batch->run.context, NULL);
}

/* Answers everything asked on the connection that has just been closed; with WHY, as a failure of L2. What is asked
 * meanwhile is asked on another. */
static void give_up(struct l2_redis_async *async, const char *why)
{
    struct batches lost = async->asked;
    struct batch *batch;

    async->asked = (struct batches){NULL, NULL};
    for (size_t kind = 0; kind < KINDS; kind++) {
        if (async->gathering[kind])
            append(&lost, async->gathering[kind]);
        async->gathering[kind] = NULL;
    }
    while ((batch = take_first(&lost))) {
        while (batch->answered < batch->count) {
            if (why)
                l2_health_failed(async->setup->health, why);
            disappoint(batch);
        }
        put_away(async, batch);
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
    struct batch *batch;

    if (!*async)
        return;
    disconnect(*async);
    give_up(*async, NULL);
    l2_redis_link_fini(&(*async)->link);
    buf_free(&(*async)->keys);
    buf_free(&(*async)->tag_bytes);
    arena_free(&(*async)->link.replies);
    while ((batch = (*async)->spare)) {
        (*async)->spare = batch->next;
        buf_free(&batch->run.command);
        free(batch);
    }
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
    async->since_ms = sys_monotonic_ms();
    async->watch.fd = async->link.context->fd;
    watch(async, LOOP_READ | LOOP_WRITE);
    return true;
}

static struct str tag_at(const struct l2_redis_async *async, size_t i)
{
    return (struct str){async->tag_bytes.p + async->tags[i].start, async->tags[i].len};
}

/* The place of TAG among those of BATCH, where it is added if it is new. */
static uint8_t place_tag(struct l2_redis_async *async, struct batch *batch, struct str tag)
{
    size_t i = 0;

    while (i < batch->tags_count && !str_equal(tag_at(async, i), tag))
        i++;
    if (i == batch->tags_count) {
        async->tags[i].start = async->tag_bytes.len;
        async->tags[i].len = tag.len;
        batch->tags_count++;
        buf_add_str(&async->tag_bytes, tag);
    }
    return (uint8_t)i;
}

/* Asks for the numbers that judge BATCH's reads, and then for what these read. */
static void ask_reads(struct l2_redis_async *async, const struct batch *batch)
{
    struct str tags[L2_REDIS_WIRE_TAGS_MAX];

    for (size_t i = 0; i < batch->tags_count; i++)
        tags[i] = tag_at(async, i);
    l2_redis_wire_numbers(&async->link.out, async->setup, tags, batch->tags_count);
    l2_redis_wire_mget(&async->link.out, buf_str(&async->keys), batch->count);
    buf_clear(&async->keys);
    buf_clear(&async->tag_bytes);
}

/* Asks what BATCH, which is no batch of reads, runs. */
static void run_script(struct l2_redis_async *async, const struct batch *batch)
{
    if (batch->kind == BOARDS)
        l2_redis_boards_script_ask(&async->link.out, async->setup, batch->boards, batch->count);
    else
        buf_add_str(&async->link.out, buf_str(&batch->run.command));
}

/* Asks what has gathered of KIND. */
static void ask(struct l2_redis_async *async, enum kind kind)
{
    struct batch *batch = async->gathering[kind];

    if (!batch)
        return;
    async->gathering[kind] = NULL;
    append(&async->asked, batch);
    if (kind == READS)
        ask_reads(async, batch);
    else
        run_script(async, batch);
}

void l2_redis_async_read(struct l2_redis_async *async, struct str key, const struct str *tags, size_t tags_count,
                         uint64_t epoch, l2_read_fn *fn, void *context)
{
    struct read read = {
        .fn = fn, .context = context, .key = key, .seen = l2_health_seen(async->setup->health), .epoch = epoch};
    struct batch *batch;

    if (!connect_link(async)) {
        fn(context, &(struct l2_read){.result = L2_UNAVAILABLE});
        return;
    }
    batch = gather(async, READS);
    if (batch->tags_count + tags_count > L2_REDIS_WIRE_TAGS_MAX || batch->count == BATCH_MAX) {
        ask(async, READS);
        batch = gather(async, READS);
    }
    for (size_t i = 0; i < tags_count; i++)
        read.tags[read.tags_count++] = place_tag(async, batch, tags[i]);
    l2_redis_wire_entry(&async->keys, async->setup, key);
    batch->reads[batch->count++] = read;
}

void l2_redis_async_ask(struct l2_redis_async *async, const struct l2_redis_boards_asked *asked)
{
    struct batch *batch;

    if (!connect_link(async)) {
        asked->fn(asked->context, &(struct l2_boards_answer){.result = L2_BOARDS_UNKNOWN});
        return;
    }
    batch = gather(async, BOARDS);
    batch->boards[batch->count++] = *asked;
    if (batch->count == BATCH_MAX)
        ask(async, BOARDS);
}

void l2_redis_async_run(struct l2_redis_async *async, struct str command, l2_redis_async_fn *fn, void *context)
{
    struct batch *batch;

    if (!connect_link(async)) {
        (void)fn(context, NULL);
        return;
    }
    batch = begin_batch(async, RUN);
    batch->count = 1;
    batch->run.fn = fn;
    batch->run.context = context;
    buf_clear(&batch->run.command);
    buf_add_str(&batch->run.command, command);
    append(&async->asked, batch);
    run_script(async, batch);
}

static enum err senseless(struct l2_redis_async *async, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR)
        snprintf(async->link.why, sizeof(async->link.why), "Redis answered: %.*s", (int)reply->len, reply->str);
    else
        snprintf(async->link.why, sizeof(async->link.why), "Redis gave an answer that makes no sense");
    return ERR_CORRUPT;
}

/* The oldest batch has been answered. */
static void finish(struct l2_redis_async *async)
{
    put_away(async, take_first(&async->asked));
    arena_reset(async->link.replies);
}

/* The numbers that judge the reads which follow. */
static enum err take_numbers(struct l2_redis_async *async, struct batch *batch, const redisReply *reply)
{
    if (l2_redis_wire_understand(reply, batch->tags_count, &async->numbers) != ERR_OK)
        return senseless(async, reply);
    batch->judged = true;
    l2_health_succeeded(async->setup->health);
    if (!async->numbers.lost)
        l2_health_saw(async->setup->health, async->numbers.seq);
    return ERR_OK;
}

static enum err answer_reads(struct l2_redis_async *async, struct batch *batch, const redisReply *reply)
{
    if (!batch->judged)
        return take_numbers(async, batch, reply);
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != batch->count)
        return senseless(async, reply);
    for (size_t i = 0; i < batch->count; i++) {
        const struct read *asked = &batch->reads[i];
        struct l2_read read = {.result = L2_UNAVAILABLE};

        if (l2_health_holds(async->setup->health, asked->epoch))
            read = l2_redis_wire_judge(reply->element[i], asked->key, &async->numbers, asked->tags, asked->tags_count,
                                       asked->seen);
        batch->answered++;
        asked->fn(asked->context, &read);
    }
    finish(async);
    return ERR_OK;
}

/* Asks the oldest batch, whose script Redis does not know, once more. */
static void ask_again(struct l2_redis_async *async, struct batch *batch)
{
    append(&async->asked, take_first(&async->asked));
    batch->again = true;
    batch->loading = L2_REDIS_LOAD_COUNT;
    l2_redis_load_add(&async->link.out);
    run_script(async, batch);
}

/* Whether REPLY is not the answer of BATCH's script yet; *ERR tells whether it is a good one all the same. */
static bool is_about_scripts(struct l2_redis_async *async, struct batch *batch, const redisReply *reply, enum err *err)
{
    *err = ERR_OK;
    if (batch->loading > 0) {
        if (!l2_redis_load_is_done(reply, L2_REDIS_LOAD_COUNT - batch->loading))
            *err = senseless(async, reply);
        batch->loading--;
        return true;
    }
    if (batch->again || !l2_redis_load_is_needed(reply))
        return false;
    ask_again(async, batch);
    return true;
}

static enum err answer_board(struct l2_redis_async *async, struct batch *batch, const redisReply *reply,
                             const struct l2_redis_boards_state *state)
{
    const struct l2_redis_boards_asked *asked = &batch->boards[batch->answered];
    struct l2_boards_answer answer;
    bool lost;

    if (l2_redis_boards_script_judge(reply, asked, state, async->link.replies, &answer, &lost) != ERR_OK)
        return senseless(async, reply);
    if (lost)
        l2_boards_host_lose(async->setup->boards_host);
    if (!l2_health_holds(async->setup->health, asked->terms.epoch))
        answer = (struct l2_boards_answer){.result = L2_BOARDS_UNKNOWN};
    batch->answered++;
    asked->fn(asked->context, &answer);
    return ERR_OK;
}

static enum err answer_boards(struct l2_redis_async *async, struct batch *batch, const redisReply *reply)
{
    struct l2_redis_boards_state state;
    enum err err = ERR_OK;

    if (is_about_scripts(async, batch, reply, &err))
        return err;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 1 + batch->count ||
        l2_redis_boards_script_state(reply->element[0], &state) != ERR_OK)
        return senseless(async, reply);
    for (size_t i = 0; err == ERR_OK && i < batch->count; i++)
        err = answer_board(async, batch, reply->element[1 + i], &state);
    if (err)
        return err;
    l2_health_succeeded(async->setup->health);
    finish(async);
    return ERR_OK;
}

static enum err answer_run(struct l2_redis_async *async, struct batch *batch, const redisReply *reply)
{
    enum err err;

    if (is_about_scripts(async, batch, reply, &err))
        return err;
    if (l2_redis_wire_refuses(reply)) {
        (void)senseless(async, reply); /* its words */
        l2_health_note(async->setup->health, async->link.why);
        reply = NULL;
    } else if (reply->type == REDIS_REPLY_ERROR) {
        return senseless(async, reply);
    }
    batch->answered++;
    if (!batch->run.fn(batch->run.context, reply))
        return senseless(async, reply);
    l2_health_succeeded(async->setup->health);
    finish(async);
    return ERR_OK;
}

static enum err answer(struct l2_redis_async *async, const redisReply *reply)
{
    struct batch *batch = async->asked.first;

    if (!batch)
        return senseless(async, reply);
    if (batch->kind == READS)
        return answer_reads(async, batch, reply);
    return batch->kind == BOARDS ? answer_boards(async, batch, reply) : answer_run(async, batch, reply);
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
        if (!async->asked.first)
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
    if (!async->asked.first)
        return false;

    int64_t asked_ms = async->asked.first->asked_ms;

    return now_ms - (asked_ms > async->since_ms ? asked_ms : async->since_ms) > config->redis.timeout_ms;
}

/* Whether an answer about leaderboards is to come. A call of a script costs as much as some questions, so what gathers
 * meanwhile is asked by one. */
static bool awaits_boards(const struct l2_redis_async *async)
{
    const struct batch *batch = async->asked.first;

    while (batch && batch->kind != BOARDS)
        batch = batch->next;
    return batch;
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
    if (err == ERR_OK) {
        ask(async, READS);
        if (!awaits_boards(async))
            ask(async, BOARDS);
    }
    if (err == ERR_OK && !async->link.connecting) {
        err = l2_redis_link_send(&async->link);
        if (err == ERR_OK)
            watch(async, LOOP_READ | (l2_redis_link_unsent(&async->link) ? LOOP_WRITE : 0));
    }
    if (err)
        drop(async);
}
