/*
 * writing: one write on its way: to the writer, then to the caches it concerns, then back to its client. On the event
 * thread it waits on the loop, on a pool thread it blocks; routes need not know which.
 */
#ifndef LARDER_WRITING_H
#define LARDER_WRITING_H

#include "api/settle.h"
#include "store/writer_async.h"

/* In the request's arena; see writing_new. */
struct writing {
    struct exchange *exchange;
    /* The route's, before writing_begin. What `ask` points to is used during it, but for the purges, which are carried
     * out after it. */
    struct writer_client_ask ask;
    void (*tell)(struct writing *writing);   /* what is written: sets `telling`'s changes; may be NULL */
    void (*answer)(struct writing *writing); /* the client, at the end in any case */
    void *state;                             /* zeroed at first */
    /* As writer_client_write returns. */
    enum err err;
    struct writer_client_told told;
    struct str why;
    /* Within. */
    struct settle_call telling;
    struct writer_async_call call;
};

/* With a state of STATE_SIZE bytes, if not 0. NULL, with the request answered, when there is no memory for it. */
struct writing *writing_new(struct exchange *exchange, size_t state_size);
/* Has it written. The route's step ends with what this returns. */
enum http_step writing_begin(struct writing *writing);

#endif
