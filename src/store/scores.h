/*
 * scores: leaderboards as the database has them, and the log of their changes. Reading side, on a connection of its
 * own: statements of resources never see larder's own tables, and these never see theirs.
 *
 * A struct scores belongs to the thread that opened it. Every answer comes of one read transaction, which is over when
 * the function returns. BOARD is the name that the scores are stored under, its period included.
 */
#ifndef LARDER_SCORES_H
#define LARDER_SCORES_H

#include "base/arena.h"

struct scores;

/* DATABASE is opened by the first question, read-only, and again after trouble or when another file stands there. */
struct scores *scores_open(const char *database, int64_t busy_timeout_ms);
void scores_close(struct scores **scores);
/* Whether since the last call another file was met at the path than before, or none, or scores_log_bounds met another
 * schema, as one has that SQLite restored: then its numbers need not continue those from before. */
bool scores_was_replaced(struct scores *scores);

struct scores_place {
    struct str member;
    double score;
};

/* A stretch of a board. All in the arena. */
struct scores_answer {
    uint64_t members; /* of the board; 0 where nobody has a score there */
    uint64_t rank;    /* of the first of the places, from 0 */
    struct scores_place *places;
    size_t count;
};

/* Errors of all: with WHY, for the log; ERR_TIMEOUT, ERR_BUSY, ERR_LIMIT (ARENA is full), ERR_UNAVAILABLE, ERR_IO,
 * ERR_CORRUPT. A database that has no such tables yet has no scores. */

/* LIMIT places from OFFSET on. */
enum err scores_top(struct scores *scores, struct str board, uint64_t offset, uint64_t limit, struct arena *arena,
                    struct scores_answer *out, struct buf *why) ERR_CHECKED;
/* MEMBER with the RANGE places before it and behind it; 0: MEMBER alone. *FOUND false: it has no score, and only
 * `members` holds. */
enum err scores_around(struct scores *scores, struct str board, struct str member, uint64_t range, struct arena *arena,
                       struct scores_answer *out, bool *found, struct buf *why) ERR_CHECKED;

struct scores_board {
    struct str board;
    uint64_t members;
};

/* The boards whose names begin with PREFIX and that have members, by name from the last one on: LIMIT from OFFSET. */
enum err scores_boards(struct scores *scores, struct str prefix, uint64_t offset, uint64_t limit, struct arena *arena,
                       struct scores_board **boards, size_t *count, struct buf *why) ERR_CHECKED;

/* A change, of the log or of a board that is copied. */
struct scores_change {
    uint64_t number;
    struct str board, member;
    bool removed;
    double score;
};

/* Where the log stands: *OLDEST is the first number that it still has (0: it is empty), *NEWEST the last that was ever
 * drawn. */
enum err scores_log_bounds(struct scores *scores, uint64_t *oldest, uint64_t *newest, struct buf *why) ERR_CHECKED;
/* The changes behind number AFTER, at most LIMIT, in order. */
enum err scores_log_read(struct scores *scores, uint64_t after, size_t limit, struct arena *arena,
                         struct scores_change **changes, size_t *count, struct buf *why) ERR_CHECKED;
/* The scores of BOARD by member behind AFTER (empty: from the first on), at most LIMIT, as changes; BOARD is borrowed.
 */
enum err scores_copy(struct scores *scores, struct str board, struct str after, size_t limit, struct arena *arena,
                     struct scores_change **rows, size_t *count, struct buf *why) ERR_CHECKED;

#endif
