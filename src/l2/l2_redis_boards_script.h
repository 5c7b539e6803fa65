/*
 * l2_redis_boards_script: leaderboards in Redis: how they lie there, and the scripts that tell them of changes and ask
 * them. Commands as bytes, replies understood; pure.
 *
 * With NUMBER as 16 digits and the negated SCORE as decimal text,
 *   P board:B    has NUMBER MEMBER at the negated score, for each member: so ascending order is falling scores, and of
 *                equal ones the lower number first; and the empty string at infinity, which stands for wholeness
 *   P reached:B  says of each member NUMBER SCORE, where it is found in the other; NUMBER alone of a removal that was
 *                told out of order, until it is told in order; and the empty field, which stands for wholeness
 *   P boards     has a field for each board, the name of its sorted set; `level`, up to which everything has been told
 *                in order; `pushed`, the highest number that was pushed, and `pushed:HOST` of each host; `required`,
 *                what `level` must have got to again after boards were replaced by copies that may lack what was pushed
 * (no blank between two of these). A board whose field is there and that lacks a part has lost it (evicted, deleted);
 * one without a field has no members as of `level`, and begins with its first.
 */
#ifndef LARDER_L2_REDIS_BOARDS_SCRIPT_H
#define LARDER_L2_REDIS_BOARDS_SCRIPT_H

#include "base/arena.h"
#include "l2/l2_redis_script.h"

enum { L2_REDIS_BOARDS_SCRIPT_COUNT = 6 };

/* The scripts, for l2_redis_load. */
extern const struct l2_redis_script l2_redis_boards_script_list[L2_REDIS_BOARDS_SCRIPT_COUNT];

/* A question and who waits for its answer; the question's views are the asker's. */
struct l2_redis_boards_asked {
    struct l2_boards_question question;
    struct l2_boards_terms terms;
    l2_boards_fn *fn;
    void *context;
};

/* COUNT questions at once. One reply, an array of COUNT + 1: the state that all are judged by, and an answer to each.
 */
void l2_redis_boards_script_ask(struct buf *out, const struct l2_redis_setup *setup,
                                const struct l2_redis_boards_asked *asked, size_t count);

struct l2_redis_boards_state {
    bool there; /* there is a level */
    uint64_t level, required, pushed /* by this host */;
};

/* The first element of that array. ERR_CORRUPT. */
enum err l2_redis_boards_script_state(const redisReply *reply, struct l2_redis_boards_state *out) ERR_CHECKED;
/* Judges REPLY, another element: views of it and of the question, and places in ARENA, go to *OUT. *LOST: the board is
 * not whole. ERR_CORRUPT. Distrust is the caller's to look at. */
enum err l2_redis_boards_script_judge(const redisReply *reply, const struct l2_redis_boards_asked *asked,
                                      const struct l2_redis_boards_state *state, struct arena *arena,
                                      struct l2_boards_answer *out, bool *lost) ERR_CHECKED;

/* One reply each, an integer. 1: done; 0: done but for boards that are not whole; -1: nothing done, for the level is
 * not FROM or, of pushing, there is none, or Redis does not know of what the host has pushed before, up to KNOWN. */
void l2_redis_boards_script_push(struct buf *out, const struct l2_redis_setup *setup, uint64_t known,
                                 const struct l2_boards_change *changes, size_t count);
void l2_redis_boards_script_follow(struct buf *out, const struct l2_redis_setup *setup, uint64_t from,
                                   const struct l2_boards_change *changes, size_t count, uint64_t upto);
/* What that reply says: ERR_OK, and whether all boards are whole; ERR_NOT_FOUND: nothing was done; ERR_CORRUPT. */
enum err l2_redis_boards_script_told(const redisReply *reply, bool *whole) ERR_CHECKED;

/* One copying of all boards: names, and how many boards have been begun. */
struct l2_redis_boards_copies {
    struct buf begun_names; /* a hash with a field for each board that was begun */
    struct buf sets, members;
    uint64_t begun;
};

/* The names for a copying of its own, which TOKEN stands for. */
void l2_redis_boards_script_name(struct l2_redis_boards_copies *copies, const struct l2_redis_setup *setup,
                                 uint64_t token);
/* One reply each, an integer: of beginning how many boards there are now, of the others 1; 0: what was begun before is
 * gone. */
void l2_redis_boards_script_begin(struct buf *out, const struct l2_redis_boards_copies *copies, struct str board);
void l2_redis_boards_script_copy(struct buf *out, const struct l2_redis_boards_copies *copies,
                                 const struct l2_boards_change *rows, size_t count);
void l2_redis_boards_script_replace(struct buf *out, const struct l2_redis_setup *setup,
                                    const struct l2_redis_boards_copies *copies, uint64_t level);

#endif
