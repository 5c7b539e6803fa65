/*
 * l2_purge: purging what hosts share, and telling the log of it.
 */
#ifndef LARDER_L2_PURGE_H
#define LARDER_L2_PURGE_H

#include "l2/l2.h"

enum l2_purge_kind { L2_PURGE_KEYS, L2_PURGE_TAGS, L2_PURGE_PATTERN, L2_PURGE_ALL };

/* One purge, as it is asked for and as it stands in the log. */
struct l2_purge {
    enum l2_purge_kind kind;
    bool soft;         /* stale at once instead of gone */
    struct str *names; /* keys, tags (at most L2_NAMES_MAX), one pattern; none for everything */
    size_t names_count;
};

/* Carries PURGE out and puts it into the log; in force when this returns. Blocks (at most the configured time-outs).
 * More than L2_NAMES_MAX names become several records. A pattern without glob characters is a key; one longer than
 * L2_PATTERN_MAX, or with a line's end, purges everything. *REMOVED: keys that were there (by key only, may be NULL).
 * *ID: of a pattern's purge, for l2_job, 0 where there is no job; may be NULL. A backend without jobs has removed what
 * matches before it returns. When L2 cannot be told it is distrusted from now on, and the error is ERR_UNAVAILABLE: the
 * purge is then the caller's to keep and to repeat. */
enum err l2_purge(struct l2 *l2, const struct l2_purge *purge, size_t *removed, uint64_t *id) ERR_CHECKED;

/* A purge on its way; embedded by its owner until DONE is called. */
struct l2_purge_call {
    void (*done)(struct l2_purge_call *call, enum err err, uint64_t id); /* as l2_purge returns */
    struct l2 *l2;                                                       /* this module's */
    bool is_job;
};

/* The same without waiting, for an l2 with loop and at most L2_NAMES_MAX names, which must live until DONE is called:
 * once, perhaps before this returns. */
void l2_purge_begin(struct l2 *l2, const struct l2_purge *purge, struct l2_purge_call *call);

/* For backends: the purge of CALL is done, and has drawn NUMBER, or has failed. */
void l2_purge_ended(struct l2_purge_call *call, enum err err, uint64_t number);

#endif
