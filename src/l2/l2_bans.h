/*
 * l2_bans: the patterns that have been purged and whose keys are still being removed, as text. Pure.
 *
 * One line each, oldest first: `NUMBER SP h|s SP PATTERN LF`; h is hard (gone), s is soft (stale). A pattern has no LF.
 */
#ifndef LARDER_L2_BANS_H
#define LARDER_L2_BANS_H

#include "base/str.h"

enum { L2_BANS_MAX = 64 };

struct l2_ban {
    uint64_t number; /* the purge's */
    bool soft;
    struct str pattern; /* in the text */
};

struct l2_bans {
    size_t count;
    struct l2_ban list[L2_BANS_MAX];
};

enum l2_bans_verdict { L2_BANS_NONE, L2_BANS_SOFT, L2_BANS_HARD };

/* ERR_CORRUPT for what is no such text, or more than L2_BANS_MAX lines. */
enum err l2_bans_parse(struct str text, struct l2_bans *out) ERR_CHECKED;
/* What KEY's entry, filled at STAMP, has met: the hardest of the bans that are newer and match. */
enum l2_bans_verdict l2_bans_judge(const struct l2_bans *bans, struct str key, uint64_t stamp);
/* The ban of NUMBER; NULL without one. */
const struct l2_ban *l2_bans_find(const struct l2_bans *bans, uint64_t number);

#endif
