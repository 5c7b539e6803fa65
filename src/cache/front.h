/*
 * front: copies of answers that a web server in front keeps for a moment, as files, and their removal by purges.
 *
 * Each copy carries a mark among its headers: what the answer's key and tags are, and how many purges this host had
 * seen before it was read. Whoever finds a copy can so judge it by the host's tables of purges, exactly as an entry of
 * L1 is, whatever was purged and however.
 */
#ifndef LARDER_FRONT_H
#define LARDER_FRONT_H

#include "cache/cache.h"

/* The name of the header, as nginx stores it. */
#define FRONT_HEADER "X-Larder-Entry"

/* The mark of what ASK was answered with, in ARENA. STAMP: purged_now from before the asking. Empty when it has been
 * purged since, the mark would be over 4 KiB, or there is no memory: then nobody is to keep the answer. */
struct str front_mark(struct cache *cache, struct cache_ask *ask, uint64_t stamp, struct arena *arena);
/* Whether a copy with MARK is to be removed: something that covers it has been purged since, hard or soft; or it is of
 * other tables, those of an earlier start; or the mark cannot be read. */
bool front_is_old(struct purged *purged, struct str mark);

/* Goes through the directory of nginx's cache, whatever its levels, and removes the files that are old. For one process
 * of a host. */
struct front;

/* PATH must outlive it; NULL when it is empty. */
struct front *front_new(const char *path, struct purged *purged);
void front_free(struct front **front);
/* Goes on for a few milliseconds where something has been purged that not all files have been judged by. Whether there
 * is more to do at once. Blocks on the file system alone. NULL does nothing. */
bool front_step(struct front *front, int64_t now_ms);

#endif
