/*
 * recent: the last things of one kind that happened on this host, each with how often it happened.
 *
 * In shared memory, for all processes. A ring of fixed size: what repeats is counted in its place, what is new takes
 * the place of what happened longest ago. Who writes waits for nobody but another writer, and for no longer than
 * copying a text takes; who reads holds up nobody.
 */
#ifndef LARDER_RECENT_H
#define LARDER_RECENT_H

#include "base/arena.h"

enum { RECENT_MAX = 128 };

struct recent;

struct recent_entry {
    int64_t first_ms, last_ms; /* since the epoch */
    uint64_t count;
    struct str text; /* of the last time */
};

/* A ring of texts of at most TEXT_MAX bytes; before the fork. ERR_FULL. */
enum err recent_new(size_t text_max, struct recent **out) ERR_CHECKED;
void recent_free(struct recent **recent);
/* Notes that it happened. SAME: a hash of what makes two of them the same thing. A TEXT that is too long is not kept:
 * false. */
bool recent_add(struct recent *recent, uint64_t same, int64_t now_ms, struct str text);
/* What there is, the latest first, copied to ARENA; how many. One that is written all the while is left out. */
size_t recent_list(const struct recent *recent, struct arena *arena, struct recent_entry out[RECENT_MAX]);

#endif
