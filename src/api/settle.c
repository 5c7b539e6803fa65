/*
 * settle: while a pool thread tells what one round has left, what the next leave gathers, so that under load few round
 * trips to L2 serve many writes. One job at a time, then, and no timer.
 *
 * Invariant: a call that is done is in force on this host, and is told to L2 or kept until it can be; purges are rid of
 * the outbox only after L2 has them. Telling twice, or in another order than was committed, does no harm.
 */
#include "api/settle.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/sys.h"
#include "cache/purge.h"

struct settle {
    const struct loop *loop;
    struct loop_job job;
    struct settle_call *running; /* with the pool */
    struct settle_call *waiting, **end;
};

bool settle_keep(struct app_thread *thread, const struct str *items, size_t count, struct buf *why)
{
    enum err err = writer_client_keep_purges(thread->writer, items, count, NULL, why);

    if (err != ERR_OK)
        cache_shared_owe_all(thread->app->shared->cache);
    return err == ERR_OK;
}

/* Purges that are in no outbox, for nobody knows whether their write was carried out. */
static void keep_unkept(struct app_thread *thread, const struct settle_call *calls)
{
    struct buf why = {0};

    for (const struct settle_call *call = calls; call; call = call->next)
        if (call->purges_count > 0 && call->outbox_id == 0 &&
            !settle_keep(thread, call->purges, call->purges_count, &why))
            log_event(LOG_LEVEL_WARNING, "purge_not_kept", LOG_STR("why", buf_str(&why)));
    buf_free(&why);
}

/* A set of purges: each is told once, however many writes have left it. Open addressing. */
struct distinct {
    struct str *items, *slots;
    size_t count, mask;
};

static void add_distinct(struct distinct *set, struct str item)
{
    size_t at = (size_t)sys_hash64(item, 0) & set->mask;

    while (set->slots[at].p && !str_equal(set->slots[at], item))
        at = (at + 1) & set->mask;
    if (set->slots[at].p)
        return;
    set->slots[at] = item;
    set->items[set->count++] = item;
}

/* The purges of CALLS, of which there are COUNT together. */
static void gather(const struct settle_call *calls, size_t count, struct distinct *set)
{
    set->mask = 1;
    while (set->mask < count * 2)
        set->mask <<= 1;
    set->slots = sys_calloc(set->mask--, sizeof *set->slots);
    set->items = sys_calloc(count, sizeof *set->items);
    for (const struct settle_call *call = calls; call; call = call->next)
        for (size_t i = 0; i < call->purges_count; i++)
            add_distinct(set, call->purges[i]);
}

/* Tells the writer which rows of the outbox have been carried out; what fails here is carried out once more, which does
 * no harm. */
static void forget(struct app_thread *thread, const struct settle_call *calls)
{
    int64_t ids[WRITER_FRAME_IDS_MAX];
    size_t count = 0;

    for (const struct settle_call *call = calls; call; call = call->next) {
        if (call->outbox_id != 0)
            ids[count++] = call->outbox_id;
        if (count == WRITER_FRAME_IDS_MAX || (!call->next && count > 0)) {
            (void)!writer_client_purged(thread->writer, ids, count);
            count = 0;
        }
    }
}

static void tell_purges(struct app_thread *thread, const struct settle_call *calls)
{
    struct distinct set = {.count = 0};
    struct purge_result result;
    size_t count = 0;

    for (const struct settle_call *call = calls; call; call = call->next)
        count += call->purges_count;
    if (count == 0)
        return;
    gather(calls, count, &set);
    enum err err = purge_items(thread->cache, set.items, set.count, false, &result);
    if (err == ERR_OK)
        forget(thread, calls);
    else if (err == ERR_UNAVAILABLE)
        keep_unkept(thread, calls);
    free(set.items);
    free(set.slots);
}

/* As few at a time as there is room for. */
static void tell_changes(struct app_thread *thread, const struct settle_call *calls)
{
    struct l2_boards_change *changes;
    size_t room = 0, count = 0;

    for (const struct settle_call *call = calls; call; call = call->next)
        room += call->changes_count;
    if (room == 0)
        return;
    if (room > L2_BOARDS_BATCH_MAX)
        room = L2_BOARDS_BATCH_MAX;
    changes = sys_calloc(room, sizeof *changes);
    for (const struct settle_call *call = calls; call; call = call->next) {
        for (size_t i = 0; i < call->changes_count; i++) {
            changes[count++] = call->changes[i];
            if (count < room)
                continue;
            l2_boards_push(cache_l2(thread->cache), changes, count);
            count = 0;
        }
    }
    if (count > 0)
        l2_boards_push(cache_l2(thread->cache), changes, count);
    free(changes);
}

void settle_now(struct app_thread *thread, const struct settle_call *calls)
{
    tell_purges(thread, calls);
    tell_changes(thread, calls);
}

static void run(struct loop_job *job, void *thread)
{
    const struct settle *settle = (const struct settle *)(void *)((char *)job - offsetof(struct settle, job));

    settle_now(thread, settle->running);
}

static void done(struct loop_job *job)
{
    struct settle *settle = (struct settle *)(void *)((char *)job - offsetof(struct settle, job));
    struct settle_call *call = settle->running, *next;

    settle->running = NULL;
    for (; call; call = next) {
        next = call->next;
        call->done(call);
    }
}

/* Where the pool takes no more at the moment it is tried again. */
static void on_tick(void *context, int64_t now_ms)
{
    struct settle *settle = context;

    (void)now_ms;
    if (settle->running || !settle->waiting)
        return;
    settle->running = settle->waiting;
    settle->waiting = NULL;
    settle->end = &settle->waiting;
    if (settle->loop->submit(settle->loop->self, &settle->job) == ERR_OK)
        return;
    settle->waiting = settle->running;
    settle->running = NULL;
    while (*settle->end)
        settle->end = &(*settle->end)->next;
}

struct settle *settle_new(const struct app_thread *thread)
{
    struct settle *settle = sys_calloc(1, sizeof *settle);

    settle->loop = thread->loop;
    settle->end = &settle->waiting;
    settle->job =
        (struct loop_job){.what = "telling the cache of writes", .run = run, .done = done, .is_awaited = true};
    settle->loop->tick(settle->loop->self, on_tick, settle);
    return settle;
}

void settle_free(struct settle **settle)
{
    free(*settle);
    *settle = NULL;
}

void settle_add(struct settle *settle, struct settle_call *call)
{
    call->next = NULL;
    *settle->end = call;
    settle->end = &call->next;
}
