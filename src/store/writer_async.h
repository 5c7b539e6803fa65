/*
 * writer_async: the event thread's way to the writer. Many writes are on their way at once, over one connection; what a
 * round of events brings goes out together, so that it can share a commit.
 */
#ifndef LARDER_WRITER_ASYNC_H
#define LARDER_WRITER_ASYNC_H

#include "base/loop.h"
#include "store/writer_client.h"

struct writer_async;

/* CONFIG, SHARED and LOOP must outlive it. */
struct writer_async *writer_async_new(const struct config *config, struct writer_shared *shared,
                                      const struct loop *loop);
/* Nothing may be on its way. NULL is a no-op. */
void writer_async_free(struct writer_async **async);

/* A write on its way. Embedded by its owner, who must keep it, and ARENA, until DONE is called. */
struct writer_async_call {
    /* The owner's. */
    struct arena *arena;
    void (*done)(struct writer_async_call *call); /* NULL, within this module alone: it is not answered */
    /* When DONE is called: as writer_client_write returns; WHY and views of TOLD lie in ARENA, if there was room. */
    enum err err;
    struct writer_client_told told;
    struct str why;
    /* This module's. */
    struct writer_async_call *next;
    struct str frame;
    size_t sent; /* bytes of it */
    uint32_t tag;
    bool again; /* has been sent in part, over a connection that was lost then */
    int64_t deadline_ms;
};

/* Has ASK written. CALL->done is called once, from the loop, and never before this returns; within the configured
 * write_timeout. ERR_LIMIT: it is larger than a write may be, or than the arena has room for, and nothing is done. Does
 * not block. */
enum err writer_async_write(struct writer_async *async, const struct writer_client_ask *ask,
                            struct writer_async_call *call) ERR_CHECKED;

/* Tells the writer that the purges of writes have been carried out, as writer_client_purged does. Nobody hears what has
 * come of it. Does not block. */
void writer_async_purged(struct writer_async *async, int64_t *ids, size_t count);

#endif
