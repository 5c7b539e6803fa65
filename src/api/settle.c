/*
 * settle: while what one round has left is told, what the next leave gathers, so that under load few round trips to L2
 * serve many writes. One at a time, then, and no timer. The event thread tells purges and boards, both at once; a pool
 * thread keeps what could not be told.
 *
 * Invariant: a call that is done is in force on this host, and is told to L2 or kept until it can be; purges are rid of
 * the outbox only after L2 has them. Telling twice, or in another order than was committed, answers nobody wrongly.
 */
#include "api/settle.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/sys.h"
#include "cache/purge.h"
#include "store/writer_async.h"

/* What is left to be told to the boards: the changes of CALL from the one numbered AT on, and of those behind it. */
struct telling {
    const struct settle_call *call;
    size_t at;
};

struct settle {
    const struct app_thread *thread;
    struct purge_call purging;
    struct l2_boards_push_call pushing;
    struct telling left; /* to the boards */
    struct l2_boards_change *changes;
    unsigned under_way;          /* of the two */
    struct loop_job job;         /* for what has to wait for the writer */
    bool is_due;                 /* that is to be done */
    bool unpurged;               /* L2 could not be told of purges */
    struct settle_call *running; /* being told */
    struct settle_call *waiting, **end;
};

bool settle_keep(struct app_thread *thread, const struct str *items, size_t count, struct buf *why)
{
    enum err err = writer_client_keep_purges(thread->writer, items, count, NULL, why);

    if (err != ERR_OK)
        cache_shared_owe_all(thread->app->shared->cache);
    /* Once more: the distrust that the purge began may have ended before this was here to be carried out. */
    l2_distrust(thread->app->shared->cache->l2);
    return err == ERR_OK;
}

void settle_numbers(const struct app *app)
{
    _Atomic uint64_t *told = &app->shared->writer->told;
    struct l2_shared *l2 = app->shared->cache->l2;
    const uint64_t seen = l2_seen(l2);
    uint64_t there = *told;

    while (there < seen && !atomic_compare_exchange_weak(told, &there, seen))
        ;
    l2_saw(l2, there);
}

/* A set of purges: each is told once, however many writes have left it. Open addressing. */
struct distinct {
    struct str *items, *slots;
    size_t count, mask;
    uint64_t seed; /* of the hashes, drawn at random: nobody can make names meet */
};

static void add_distinct(struct distinct *set, struct str item)
{
    size_t at = (size_t)sys_hash64(item, set->seed) & set->mask;

    while (set->slots[at].p && !str_equal(set->slots[at], item))
        at = (at + 1) & set->mask;
    if (set->slots[at].p)
        return;
    set->slots[at] = item;
    set->items[set->count++] = item;
}

/* Purges of CALL to be gathered. UNKEPT: unless an outbox has them. */
static size_t purges_of(const struct settle_call *call, bool unkept)
{
    return unkept && call->outbox_id != 0 ? 0 : call->purges_count;
}

static size_t count_purges(const struct settle_call *calls, bool unkept)
{
    size_t count = 0;

    for (const struct settle_call *call = calls; call; call = call->next)
        count += purges_of(call, unkept);
    return count;
}

/* The purges of CALLS; SET is to be emptied by distinct_fini. Returns how many there are, equal ones too. */
static size_t gather(const struct settle_call *calls, bool unkept, struct distinct *set)
{
    const size_t count = count_purges(calls, unkept);

    *set = (struct distinct){.count = 0};
    if (count == 0)
        return 0;
    sys_random(&set->seed, sizeof set->seed);
    set->mask = 1;
    while (set->mask < count * 2)
        set->mask <<= 1;
    set->slots = sys_calloc(set->mask--, sizeof *set->slots);
    set->items = sys_calloc(count, sizeof *set->items);
    for (const struct settle_call *call = calls; call; call = call->next)
        for (size_t i = 0; i < purges_of(call, unkept); i++)
            add_distinct(set, call->purges[i]);
    return count;
}

static void distinct_fini(struct distinct *set)
{
    free(set->items);
    free(set->slots);
}

/* Purges that are in no outbox, for nobody knows whether their write was carried out. All together: a writer that does
 * not answer is waited for once, however many they are. */
static void keep_unkept(struct app_thread *thread, const struct settle_call *calls)
{
    struct distinct set;
    struct buf why = {0};

    if (gather(calls, true, &set) > 0 && !settle_keep(thread, set.items, set.count, &why))
        log_event(LOG_LEVEL_WARNING, "purge_not_kept", LOG_STR("why", buf_str(&why)));
    distinct_fini(&set);
    buf_free(&why);
}

/* The rows of the outbox that hold purges of CALLS, once for each; to be freed. */
static int64_t *list_kept(const struct settle_call *calls, size_t *count)
{
    size_t room = 0;

    for (const struct settle_call *call = calls; call; call = call->next)
        room++;
    int64_t *ids = sys_calloc(room, sizeof *ids);
    *count = 0;
    for (const struct settle_call *call = calls; call; call = call->next)
        if (call->outbox_id != 0)
            ids[(*count)++] = call->outbox_id;
    return ids;
}

static void tell_purges(struct app_thread *thread, const struct settle_call *calls)
{
    struct distinct set;
    struct purge_result result;

    if (gather(calls, false, &set) == 0)
        return;
    settle_numbers(thread->app);
    enum err err = purge_items(thread->cache, set.items, set.count, false, &result);
    distinct_fini(&set);
    if (err == ERR_UNAVAILABLE)
        keep_unkept(thread, calls);
    if (err != ERR_OK)
        return;
    size_t kept;
    int64_t *ids = list_kept(calls, &kept);
    settle_numbers(thread->app);
    /* What fails here is carried out once more. */
    (void)!writer_client_purged(thread->writer, ids, kept);
    free(ids);
}

/* The next changes that are LEFT, as many as OUT, of L2_BOARDS_BATCH_MAX, takes. Returns how many; 0: there are none.
 */
static size_t take_changes(struct telling *left, struct l2_boards_change *out)
{
    size_t count = 0;

    while (left->call && count < L2_BOARDS_BATCH_MAX) {
        if (left->at < left->call->changes_count)
            out[count++] = left->call->changes[left->at++];
        else
            *left = (struct telling){.call = left->call->next};
    }
    return count;
}

static void tell_changes(struct app_thread *thread, const struct settle_call *calls)
{
    struct telling left = {.call = calls};
    struct l2_boards_change *changes = sys_calloc(L2_BOARDS_BATCH_MAX, sizeof *changes);
    size_t count;

    while ((count = take_changes(&left, changes)) > 0)
        l2_boards_push(cache_l2(thread->cache), changes, count);
    free(changes);
}

void settle_now(struct app_thread *thread, const struct settle_call *calls)
{
    tell_purges(thread, calls);
    tell_changes(thread, calls);
}

/* On a pool thread. */
static void run(struct loop_job *job, void *thread)
{
    const struct settle *settle = (const struct settle *)(void *)((char *)job - offsetof(struct settle, job));

    keep_unkept(thread, settle->running);
}

static void finish(struct settle *settle)
{
    struct settle_call *call = settle->running, *next;

    settle->running = NULL;
    for (; call; call = next) {
        next = call->next;
        call->done(call);
    }
}

static void on_run(struct loop_job *job)
{
    finish((struct settle *)(void *)((char *)job - offsetof(struct settle, job)));
}

/* Whether there are purges that could neither be told nor are kept. */
static bool needs_pool(const struct settle *settle)
{
    return settle->unpurged && count_purges(settle->running, true) > 0;
}

/* One of what was under way has been told, or cannot be. */
static void on_told(struct settle *settle)
{
    if (--settle->under_way > 0)
        return;
    settle->is_due = needs_pool(settle);
    if (!settle->is_due)
        finish(settle);
}

static void on_purged(struct purge_call *call, enum err err)
{
    struct settle *settle = (struct settle *)(void *)((char *)call - offsetof(struct settle, purging));

    settle->unpurged = err == ERR_UNAVAILABLE;
    if (err == ERR_OK) {
        size_t kept;
        int64_t *ids = list_kept(settle->running, &kept);
        settle_numbers(settle->thread->app);
        writer_async_purged(settle->thread->writes, ids, kept);
        free(ids);
    }
    on_told(settle);
}

/* As much as one push takes; the next follows when that is done. */
static void push(struct settle *settle)
{
    const size_t count = take_changes(&settle->left, settle->changes);

    if (count == 0)
        on_told(settle);
    else
        l2_boards_push_begin(cache_l2(settle->thread->cache), settle->changes, count, &settle->pushing);
}

static void on_pushed(struct l2_boards_push_call *call)
{
    push((struct settle *)(void *)((char *)call - offsetof(struct settle, pushing)));
}

static void begin(struct settle *settle)
{
    struct distinct set;

    settle->running = settle->waiting;
    settle->waiting = NULL;
    settle->end = &settle->waiting;
    settle->left = (struct telling){.call = settle->running};
    settle->under_way = 2;
    gather(settle->running, false, &set);
    settle_numbers(settle->thread->app);
    purge_begin(settle->thread->cache, set.items, set.count, &settle->purging);
    distinct_fini(&set);
    push(settle);
}

/* Where the pool takes no more at the moment it is tried again. */
static void on_tick(void *context, int64_t now_ms)
{
    struct settle *settle = context;
    const struct loop *loop = settle->thread->loop;

    (void)now_ms;
    if (!settle->running && settle->waiting)
        begin(settle);
    if (settle->is_due && loop->submit(loop->self, &settle->job) == ERR_OK)
        settle->is_due = false;
}

struct settle *settle_new(const struct app_thread *thread)
{
    struct settle *settle = sys_calloc(1, sizeof *settle);

    settle->thread = thread;
    settle->end = &settle->waiting;
    settle->purging.done = on_purged;
    settle->pushing.done = on_pushed;
    settle->changes = sys_calloc(L2_BOARDS_BATCH_MAX, sizeof *settle->changes);
    settle->job = (struct loop_job){.what = "keeping purges of writes", .run = run, .done = on_run, .is_awaited = true};
    thread->loop->tick(thread->loop->self, on_tick, settle);
    return settle;
}

void settle_free(struct settle **settle)
{
    if (!*settle)
        return;
    free((*settle)->changes);
    free(*settle);
    *settle = NULL;
}

void settle_add(struct settle *settle, struct settle_call *call)
{
    call->next = NULL;
    *settle->end = call;
    settle->end = &call->next;
}
