/*
 * l2_backend: what l2 asks of the backends behind it. For the modules of l2 alone.
 *
 * The door (l2.c) has looked at the breaker and at distrust before it calls a backend; the backend reports to l2_health
 * how it went. A backend's verbs have the contracts of l2.h and l2_job.h, but that a purge which fails just fails:
 * keeping it as distrust is the door's business.
 */
#ifndef LARDER_L2_BACKEND_H
#define LARDER_L2_BACKEND_H

#include "l2/l2_boards.h"
#include "l2/l2_boards_host.h"
#include "l2/l2_health.h"
#include "l2/l2_job.h"
#include "l2/l2_purge.h"
#include "l2/l2_url.h"

struct l2_backend;
struct l2_memory;

/* The struct itself is private memory, made before the fork and never changed; what it points to is shared. */
struct l2_shared {
    const struct l2_backend *backend;
    struct l2_url url;
    struct buf where;
    int64_t life_ms;
    struct l2_health *health;
    struct l2_boards_host *boards;
    struct l2_memory *memory; /* of `memory:`, else NULL */
    uint32_t host;            /* drawn at random: what leases of this host have in common */
};

/* A thread's view. */
struct l2 {
    struct l2_shared *shared;
    void *self; /* the backend's */
};

/* What a backend does for leaderboards, with the contracts of l2_boards.h. */
struct l2_boards_backend {
    void (*read)(void *self, const struct l2_boards_question *question, const struct l2_boards_terms *terms,
                 l2_boards_fn *fn, void *context);
    /* KNOWN: what this host has pushed before. *WHOLE: all boards that were concerned were, and took it. ERR_NOT_FOUND:
     * there is no level, or L2 does not know of KNOWN. */
    enum err (*push)(void *self, uint64_t known, const struct l2_boards_change *changes, size_t count,
                     bool *whole) ERR_CHECKED;
    /* With a loop; tells l2_boards_push_ended, when it is done, what PUSH returns. */
    void (*push_begin)(void *self, uint64_t known, const struct l2_boards_change *changes, size_t count,
                       struct l2_boards_push_call *call);
    enum err (*level)(void *self, uint64_t *level) ERR_CHECKED;
    enum err (*forget)(void *self) ERR_CHECKED;
    enum err (*prune)(void *self, l2_boards_keep_fn *keep, void *context) ERR_CHECKED;
    enum err (*follow)(void *self, uint64_t from, const struct l2_boards_change *changes, size_t count, uint64_t upto,
                       bool *whole) ERR_CHECKED;
    void (*copy_drop)(void *self);
    enum err (*copy_begin)(void *self, struct str board) ERR_CHECKED;
    enum err (*copy)(void *self, const struct l2_boards_change *rows, size_t count) ERR_CHECKED;
    enum err (*replace)(void *self, uint64_t level) ERR_CHECKED;
};

struct l2_backend {
    const char *name;
    bool has_log;
    const struct l2_boards_backend *boards; /* NULL: it has none */
    void *(*open)(const struct config *config, struct l2_shared *shared, const struct loop *loop);
    void (*close)(void *self);
    /* EPOCH: of distrust, when there was none; when it is another one by the time of the answer, that is
     * L2_UNAVAILABLE. */
    void (*read)(void *self, struct str key, const struct str *tags, size_t tags_count, uint64_t epoch, l2_read_fn *fn,
                 void *context);
    /* OUT comes as L2_CLAIM_UNAVAILABLE with the token that a lease is to have. */
    void (*claim)(void *self, struct str key, const struct str *tags, size_t tags_count, struct str spent,
                  int64_t life_ms, struct l2_claim *out);
    enum err (*fill)(void *self, struct str key, const struct str *tags, size_t tags_count, struct str bytes,
                     int64_t ttl_ms, const struct l2_lease *lease, bool *stored) ERR_CHECKED;
    void (*release)(void *self, struct str key, const struct l2_lease *lease);
    /* At most L2_NAMES_MAX names, and at least one where the kind has names. *REMOVED and *ID are 0 before; *ID is set
     * for a pattern's purge alone. */
    enum err (*purge)(void *self, const struct l2_purge *purge, size_t *removed, uint64_t *id) ERR_CHECKED;
    /* With a loop; tells l2_purge_ended, when it is done, what PURGE draws. NULL: the one above does not block. */
    void (*purge_begin)(void *self, const struct l2_purge *purge, struct l2_purge_call *call);
    enum err (*scan)(void *self, struct str pattern, uint64_t *cursor, size_t limit, struct arena *arena,
                     struct str **keys, size_t *count) ERR_CHECKED;
    enum err (*ping)(void *self) ERR_CHECKED;
    enum err (*measure)(void *self, struct l2_size *out) ERR_CHECKED; /* NULL: it does not know */
    enum err (*read_job)(void *self, uint64_t id, struct arena *arena, struct l2_job *out) ERR_CHECKED;
    enum err (*count_jobs)(void *self, uint64_t *count) ERR_CHECKED; /* NULL: there never are any */
    enum err (*take_job)(void *self, uint64_t worker, struct arena *arena, struct l2_job *out) ERR_CHECKED;
    enum err (*step_job)(void *self, uint64_t worker, size_t batch, struct l2_job *job) ERR_CHECKED;
};

#endif
