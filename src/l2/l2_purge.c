/*
 * l2_purge: the door's part in a purge: cuts it to what backends take, and distrusts an L2 that could not be told.
 *
 * Purges pass in spite of distrust, since they are what ends it.
 */
#include "l2/l2_purge.h"

#include "l2/l2_backend.h"

static const char not_told[] = "a purge could not be told to it";

/* PURGE, which has at most one name where that is a pattern, as the backends know it. */
static struct l2_purge simplify(const struct l2_purge *purge)
{
    struct l2_purge simple = *purge;

    if (simple.kind != L2_PURGE_PATTERN)
        return simple;
    if (str_glob_is_literal(simple.names[0])) {
        simple.kind = L2_PURGE_KEYS;
    } else if (simple.names[0].len > L2_PATTERN_MAX || memchr(simple.names[0].p, '\n', simple.names[0].len)) {
        simple.kind = L2_PURGE_ALL;
        simple.names_count = 0;
    }
    return simple;
}

enum err l2_purge(struct l2 *l2, const struct l2_purge *purge, size_t *removed, uint64_t *id)
{
    struct l2_purge part = *purge;
    size_t most = part.kind == L2_PURGE_PATTERN ? 1 : L2_NAMES_MAX, total = 0;
    size_t left = part.kind == L2_PURGE_ALL ? 1 : part.names_count;
    uint64_t job = 0;
    enum err err = ERR_OK;

    for (; err == ERR_OK && left > 0; left -= left < most ? left : most) {
        size_t count = 0;

        part.names_count = part.kind == L2_PURGE_ALL ? 0 : left < most ? left : most;

        struct l2_purge simple = simplify(&part);

        err = ERR_UNAVAILABLE;
        if (l2_health_admit(l2->shared->health, true))
            err = l2->shared->backend->purge(l2->self, &simple, &count, &job);
        part.names += part.names_count;
        total += count;
    }
    if (err) {
        l2_health_distrust(l2->shared->health, not_told);
        return ERR_UNAVAILABLE;
    }
    if (removed)
        *removed = total;
    if (id)
        *id = job;
    return ERR_OK;
}

void l2_purge_ended(struct l2_purge_call *call, enum err err, uint64_t number)
{
    if (err)
        l2_health_distrust(call->l2->shared->health, not_told);
    call->done(call, err ? ERR_UNAVAILABLE : ERR_OK, call->is_job && !err ? number : 0);
}

void l2_purge_begin(struct l2 *l2, const struct l2_purge *purge, struct l2_purge_call *call)
{
    const struct l2_purge simple = simplify(purge);
    const struct l2_backend *backend = l2->shared->backend;
    size_t removed = 0;
    uint64_t id = 0;

    call->l2 = l2;
    call->is_job = simple.kind == L2_PURGE_PATTERN;
    if (!l2_health_admit(l2->shared->health, true)) {
        l2_purge_ended(call, ERR_UNAVAILABLE, 0);
    } else if (backend->purge_begin) {
        backend->purge_begin(l2->self, &simple, call);
    } else {
        enum err err = backend->purge(l2->self, &simple, &removed, &id);

        l2_purge_ended(call, err, id);
    }
}
