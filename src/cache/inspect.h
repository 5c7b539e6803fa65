/*
 * inspect: what lies in L2 behind a key, for whoever administers the cache.
 */
#ifndef LARDER_INSPECT_H
#define LARDER_INSPECT_H

#include "cache/entry.h"
#include "l2/l2.h"

/* The valid entry behind KEY in L2, whatever its age: judged by the tags it carries; with its body plain, in ARENA.
 * *SOFT (may be NULL): softly purged. ERR_NOT_FOUND, ERR_UNAVAILABLE, ERR_LIMIT when ARENA is full. For an L2 without
 * loop; may block. */
enum err inspect_entry(struct l2 *l2, struct str key, struct arena *arena, struct entry *out, bool *soft) ERR_CHECKED;

#endif
