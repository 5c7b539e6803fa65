/*
 * writing: the writer answers after the synced commit; then the purges are carried out, and only then the client hears
 * of it: whoever has the answer never reads the old row again on this host.
 *
 * What may have been written is purged all the same. A write behind purges nothing here: that it is pending is known on
 * this host by the time it is answered, and its purges are carried out when it has been applied.
 */
#include "api/writing.h"

#include "base/sys.h"

struct writing *writing_new(struct exchange *exchange, size_t state_size)
{
    struct arena *arena = exchange->http->arena;
    struct writing *writing = arena_calloc(arena, 1, sizeof *writing);
    void *state = state_size > 0 ? arena_calloc(arena, 1, state_size) : NULL;

    if (!writing || (state_size > 0 && !state)) {
        app_unavailable(exchange->http, 1, "The request needs more memory than one may have.");
        return NULL;
    }
    writing->exchange = exchange;
    writing->state = state;
    return writing;
}

/* What the write leaves to be told. False: nothing. */
static bool is_to_tell(struct writing *writing)
{
    const struct writer_client_ask *ask = &writing->ask;
    struct settle_call *telling = &writing->telling;
    bool may_be_written = writing->err == ERR_OK || writing->err == ERR_TIMEOUT || writing->err == ERR_IO;

    if (may_be_written && !ask->behind) {
        telling->purges = ask->purges;
        telling->purges_count = ask->purges_count;
        telling->outbox_id = writing->told.outbox_id;
    }
    if (writing->err == ERR_OK && writing->tell)
        writing->tell(writing);
    return telling->purges_count > 0 || telling->changes_count > 0;
}

static void answer(struct writing *writing)
{
    app_counts(writing->exchange, writing->err == ERR_OK ? METRICS_OUTCOME_written : METRICS_OUTCOME_other,
               METRICS_TIER_write);
    writing->answer(writing);
}

static void end(struct writing *writing)
{
    answer(writing);
    app_advance(writing->exchange, HTTP_DONE);
}

static void on_told(struct settle_call *call)
{
    end((struct writing *)(void *)((char *)call - offsetof(struct writing, telling)));
}

static void on_written(struct writer_async_call *call)
{
    struct writing *writing = (struct writing *)(void *)((char *)call - offsetof(struct writing, call));

    writing->err = call->err;
    writing->told = call->told;
    writing->why = call->why;
    if (!is_to_tell(writing)) {
        end(writing);
        return;
    }
    writing->telling.done = on_told;
    settle_add(writing->exchange->thread->settle, &writing->telling);
}

static enum http_step begin_on_loop(struct writing *writing)
{
    struct writer_async_call *call = &writing->call;

    call->arena = writing->exchange->http->arena;
    call->done = on_written;
    writing->err = writer_async_write(writing->exchange->thread->writes, &writing->ask, call);
    if (writing->err == ERR_OK)
        return HTTP_WAITING;
    writing->why = writer_client_unanswered(writing->err);
    answer(writing);
    return HTTP_DONE;
}

enum http_step writing_begin(struct writing *writing)
{
    struct app_thread *thread = writing->exchange->thread;
    struct arena *arena = writing->exchange->http->arena;
    struct buf why = {0};

    if (thread->writes)
        return begin_on_loop(writing);
    scoreboard_phase(thread->board, SCOREBOARD_WRITER);
    slow_enter(&writing->exchange->clock, SLOW_WRITE, sys_monotonic_us());
    writing->err = writer_client_write(thread->writer, &writing->ask, arena, &writing->told, &why);
    slow_enter(&writing->exchange->clock, SLOW_WORK, sys_monotonic_us());
    writing->why = arena_take_buf(arena, &why);
    if (is_to_tell(writing))
        settle_now(thread, &writing->telling);
    answer(writing);
    return HTTP_DONE;
}
