/*
 * purge: carries out purges by key, tag and pattern, on every tier there is.
 *
 * An item is text as resources write it: `key:K`, `tag:T`, `pattern:P`. A pattern that matches every key must be asked
 * for as purge_all.
 */
#ifndef LARDER_PURGE_H
#define LARDER_PURGE_H

#include "cache/cache.h"

struct purge_result {
    size_t removed; /* keys removed by key and pattern; entries under a tag are not counted */
    unsigned items; /* carried out */
};

/* Checks one item's form. ERR_SYNTAX (no such kind, nothing after the colon), ERR_DENIED (a pattern that matches every
 * key). *WHY is a sentence, static text, set on error only. */
enum err purge_check(struct str item, const char **why) ERR_CHECKED;
/* Carries out ITEMS, all of them even when one fails; the first error is returned. ERR_UNAVAILABLE when L2 could not be
 * told: everything in it is then invalidated before it is read again. Otherwise as purge_check. *RESULT is what was
 * done, and is set in any case. May block. */
enum err purge_items(struct cache *cache, const struct str *items, size_t count,
                     struct purge_result *result) ERR_CHECKED;
/* Invalidates everything. Errors as above. */
enum err purge_all(struct cache *cache) ERR_CHECKED;
/* How many keys PATTERN matches now. ERR_UNAVAILABLE. May block. */
enum err purge_count(struct cache *cache, struct str pattern, size_t *count) ERR_CHECKED;

#endif
