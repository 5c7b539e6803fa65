/*
 * l2_backend: what l2 asks of the backends behind it. For the modules of l2 alone.
 *
 * The door (l2.c) has looked at the breaker and at distrust before it calls a backend; the backend reports to l2_health
 * how it went. A backend's verbs have the contracts of l2.h, but that a purge which fails just fails: keeping it as
 * distrust is the door's business.
 */
#ifndef LARDER_L2_BACKEND_H
#define LARDER_L2_BACKEND_H

#include "l2/l2.h"
#include "l2/l2_health.h"
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
    struct l2_memory *memory; /* of `memory:`, else NULL */
};

struct l2_backend {
    const char *name;
    void *(*open)(const struct config *config, struct l2_shared *shared, const struct loop *loop);
    void (*close)(void *self);
    void (*read)(void *self, struct str key, const struct str *tags, size_t tags_count, l2_read_fn *fn, void *context);
    /* Invalidates everything and then calls l2_health_trust with EPOCH: before it returns, or, with a loop, later. */
    void (*heal)(void *self, uint64_t epoch);
    enum err (*fill)(void *self, struct str key, struct str bytes, int64_t ttl_ms, uint64_t stamp,
                     bool *stored) ERR_CHECKED;
    enum err (*purge_tags)(void *self, const struct str *tags, size_t tags_count) ERR_CHECKED;
    enum err (*purge_all)(void *self) ERR_CHECKED;
    enum err (*purge_keys)(void *self, const struct str *keys, size_t keys_count, size_t *removed) ERR_CHECKED;
    enum err (*purge_pattern)(void *self, struct str pattern, size_t *removed) ERR_CHECKED;
    enum err (*scan)(void *self, struct str pattern, uint64_t *cursor, size_t limit, struct arena *arena,
                     struct str **keys, size_t *count) ERR_CHECKED;
    enum err (*ping)(void *self) ERR_CHECKED;
};

#endif
