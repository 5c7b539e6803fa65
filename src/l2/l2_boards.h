/*
 * l2_boards: leaderboards in L2: sorted sets, so that a rank costs O(log n). They are copies: the scores' place is the
 * database, and what changes in them there has a number without a gap (store/schema.h, larder_score_log).
 *
 * A board stands in the order of falling scores; of equal ones the lower number comes first. Every copy is told of
 * every change twice. Whoever made it tells at once (l2_boards_push), so that he finds it in L2 afterwards; and one
 * follower tells all of them in order (l2_boards_follow), so that nothing is missing when the first way failed. Being
 * told late, twice or in another order does no harm: a member's older number never wins over its newer one, nor over
 * its removal.
 *
 * A copy may be believed when L2 holds it whole (neither part evicted), when it has been told in order of all changes
 * up to the level that this host requires, and when it knows of the highest change that this host has pushed: an L2
 * that came back from an old snapshot does not. What may not be believed is L2_BOARDS_UNKNOWN, and to be asked of the
 * database.
 */
#ifndef LARDER_L2_BOARDS_H
#define LARDER_L2_BOARDS_H

#include "l2/l2.h"

enum { L2_BOARDS_BATCH_MAX = 1000 };

/* One change: `member`, which is not empty, has `score` since `number`, or was removed by it. */
struct l2_boards_change {
    uint64_t number; /* up to 2^53 */
    struct str board, member;
    bool removed;
    double score; /* finite */
};

enum l2_boards_kind { L2_BOARDS_TOP, L2_BOARDS_MEMBER, L2_BOARDS_AROUND };

struct l2_boards_question {
    struct str board;
    enum l2_boards_kind kind;
    struct str member;      /* of MEMBER and AROUND */
    uint64_t offset, limit; /* of TOP; the limit at most L2_BOARDS_BATCH_MAX, or it is not asked */
    uint64_t range;         /* of AROUND: places before and behind it; the same */
    uint64_t required;      /* the level that the database stands at, as far as the asker must know */
};

enum l2_boards_result {
    L2_BOARDS_FOUND,
    L2_BOARDS_ABSENT, /* no such member; MEMBERS holds */
    L2_BOARDS_UNKNOWN /* not asked, not answered, or not to be believed */
};

struct l2_boards_place {
    struct str member;
    double score;
};

struct l2_boards_answer {
    enum l2_boards_result result;
    uint64_t members;                     /* of the board */
    uint64_t rank;                        /* of the first of the places, from 0; without any: how many are before */
    const struct l2_boards_place *places; /* views, valid until the callback returns */
    size_t places_count;                  /* TOP: perhaps 0; MEMBER: 1 */
};

typedef void l2_boards_fn(void *context, const struct l2_boards_answer *answer);

/* Whether the backend has boards at all; where it has none every question is UNKNOWN, pushing does nothing, and the
 * follower's verbs are ERR_UNAVAILABLE. */
bool l2_boards_exist(const struct l2_shared *shared);
/* One round trip; as l2_read: FN is called exactly once, perhaps before this returns, and on an L2 without loop always.
 * QUESTION's views must live until then. */
void l2_boards_read(struct l2 *l2, const struct l2_boards_question *question, l2_boards_fn *fn, void *context);

/* The verbs below may block, and are for an l2 without loop, but for l2_boards_push_begin. */

/* Tells L2 of CHANGES (at most L2_BOARDS_BATCH_MAX) that have been committed. Whatever keeps L2 from being told makes
 * this host require a level above them from now on, so that nobody reads what lacks them. */
void l2_boards_push(struct l2 *l2, const struct l2_boards_change *changes, size_t count);

/* Such a push on its way; embedded by its owner until DONE is called. */
struct l2_boards_push_call {
    void (*done)(struct l2_boards_push_call *call);
    /* This module's. */
    struct l2 *l2;
    uint64_t highest, epoch;
};

/* The same without waiting, for an l2 with loop. CHANGES need not outlive it. DONE is called once, perhaps before this
 * returns. */
void l2_boards_push_begin(struct l2 *l2, const struct l2_boards_change *changes, size_t count,
                          struct l2_boards_push_call *call);
/* For backends: the push of CALL is over, as `push` of l2_boards_backend returns. */
void l2_boards_push_ended(struct l2_boards_push_call *call, enum err err, bool whole);

/* For the follower. *LEVEL: everything up to it has been told in order. ERR_NOT_FOUND: there is no level, so that all
 * boards are to be copied anew; likewise after a change that is no longer in the log. ERR_UNAVAILABLE. */
enum err l2_boards_level(struct l2 *l2, uint64_t *level) ERR_CHECKED;
/* The database was put back: its numbers come again. There is no level from then on, and no number is required any more
 * that was told before. ERR_UNAVAILABLE. */
enum err l2_boards_forget(struct l2 *l2) ERR_CHECKED;
/* Whether BOARD is to stay in L2. */
typedef bool l2_boards_keep_fn(void *context, struct str board);
/* Removes the boards that KEEP does not want; they count as empty from then on. ERR_UNAVAILABLE: perhaps some of them.
 */
enum err l2_boards_prune(struct l2 *l2, l2_boards_keep_fn *keep, void *context) ERR_CHECKED;
/* CHANGES in order, behind a level of FROM; sets it to UPTO, at least the last one's number. ERR_NOT_FOUND: the level
 * is not FROM. ERR_UNAVAILABLE: perhaps done. */
enum err l2_boards_follow(struct l2 *l2, uint64_t from, const struct l2_boards_change *changes, size_t count,
                          uint64_t upto) ERR_CHECKED;
/* Copying: a board's rows go beside the old ones in batches, and l2_boards_replace puts all boards that were begun
 * since the last one in their place, as one step, at level LEVEL, which stood before the first row was read; boards
 * that were not begun are gone. None is believed again before the level has got to what was pushed meanwhile. A verb
 * that fails ends the copying, as l2_boards_copy_drop does: the next l2_boards_copy_begin begins another.
 * ERR_NOT_FOUND: what was copied is gone, or nothing was begun. ERR_UNAVAILABLE. */
enum err l2_boards_copy_begin(struct l2 *l2, struct str board) ERR_CHECKED;
enum err l2_boards_copy(struct l2 *l2, const struct l2_boards_change *rows, size_t count) ERR_CHECKED;
enum err l2_boards_replace(struct l2 *l2, uint64_t level) ERR_CHECKED;
/* For whoever gives up in between for another reason, and before he copies again. */
void l2_boards_copy_drop(struct l2 *l2);
/* Whether somebody on this host has met a board that is not whole since the last call: they are to be copied anew. */
bool l2_boards_lost(struct l2_shared *shared);

#endif
