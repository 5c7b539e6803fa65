/*
 * log_limit: a table of events in a shared mapping, found by the hash of their names.
 *
 * Invariant: every line that is left out is told of once, by the next line of its event or by whoever looks for what
 * nobody has told. In the moment in which a second ends, a few lines may be counted to either; never is one lost.
 * An event for which the table has no place any more is not limited.
 */
#include "base/log_limit.h"

#include <stdio.h>

#include "base/shm.h"
#include "base/sys.h"

struct event {
    _Atomic uint64_t hash; /* 0: free */
    _Atomic bool is_named;
    char name[LOG_LIMIT_NAME]; /* once named, for good */
    _Atomic int64_t second;
    _Atomic uint32_t lines, suppressed;
};

struct log_limit {
    _Atomic uint32_t lost;
    struct event events[LOG_LIMIT_EVENTS];
};

enum err log_limit_new(struct log_limit **out)
{
    void *mapping;
    enum err err = shm_map(sizeof(**out), &mapping);

    if (err == ERR_OK)
        *out = mapping;
    return err;
}

void log_limit_free(struct log_limit **limit)
{
    void *mapping = *limit;

    shm_unmap(&mapping, sizeof(**limit));
    *limit = NULL;
}

/* NULL when the table is full. */
static struct event *find(struct log_limit *limit, const char *name)
{
    uint64_t hash = sys_hash64(str_from(name), 0) | 1;

    for (unsigned i = 0; i < LOG_LIMIT_EVENTS; i++) {
        struct event *event = &limit->events[(hash + i) % LOG_LIMIT_EVENTS];
        uint64_t expected = 0;

        if (atomic_load(&event->hash) == hash)
            return event;
        if (atomic_compare_exchange_strong(&event->hash, &expected, hash)) {
            snprintf(event->name, sizeof(event->name), "%s", name);
            atomic_store(&event->is_named, true);
            return event;
        }
        if (expected == hash)
            return event;
    }
    return NULL;
}

bool log_limit_admits(struct log_limit *limit, const char *name, int64_t now_s, uint32_t most, uint32_t *suppressed)
{
    struct event *event = find(limit, name);

    *suppressed = 0;
    if (!event)
        return true;
    int64_t second = atomic_load(&event->second);
    if (second != now_s && atomic_compare_exchange_strong(&event->second, &second, now_s))
        atomic_store(&event->lines, 0);
    if (atomic_fetch_add(&event->lines, 1) >= most) {
        atomic_fetch_add(&event->suppressed, 1);
        return false;
    }
    if (atomic_load(&event->suppressed) > 0)
        *suppressed = atomic_exchange(&event->suppressed, 0);
    return true;
}

const char *log_limit_next(struct log_limit *limit, unsigned *at, int64_t now_s, uint32_t *suppressed)
{
    while (*at < LOG_LIMIT_EVENTS) {
        struct event *event = &limit->events[(*at)++];

        if (!atomic_load(&event->is_named) || atomic_load(&event->second) >= now_s ||
            atomic_load(&event->suppressed) == 0)
            continue;
        *suppressed = atomic_exchange(&event->suppressed, 0);
        if (*suppressed > 0)
            return event->name;
    }
    return NULL;
}

_Atomic uint32_t *log_limit_lost(struct log_limit *limit)
{
    return &limit->lost;
}
