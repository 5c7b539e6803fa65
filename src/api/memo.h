/*
 * memo: remembers what URLs stood for, so that one that was asked for before need not be understood again.
 *
 * To find its route, check its parameters and make its key took a third of a hit's instructions, and gives the same
 * each time: a URL's meaning depends on nothing but the catalogue, which never changes while a process lives. Belongs
 * to one thread; holds a bounded number of URLs, those asked for last.
 */
#ifndef LARDER_MEMO_H
#define LARDER_MEMO_H

#include "api/app.h"
#include "cache/entry.h"

struct memo;

/* What a GET of a resource asks the cache for, whoever sends it. */
struct memo_meaning {
    const struct route *route;
    uint64_t variant;
    struct str key;
    const struct str *tags;
    size_t tags_count;
};

struct memo *memo_new(void);
void memo_free(struct memo **memo);

/* What PATH and QUERY, as they came, stand for; NULL when it is not known. Views end with the next memo_keep. */
const struct memo_meaning *memo_find(const struct memo *memo, struct str path, struct str query);
/* Remembers a copy, in the place of an older one; what is very long is left out. */
void memo_keep(struct memo *memo, struct str path, struct str query, const struct memo_meaning *meaning);

#endif
