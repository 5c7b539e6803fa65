/*
 * board: leaderboards as requests name them: which of the configured boards, in which of its periods, and the scores of
 * a body. Pure.
 */
#ifndef LARDER_BOARD_H
#define LARDER_BOARD_H

#include "base/arena.h"
#include "config/config.h"

enum { BOARD_MEMBER_MAX = 256, BOARD_SCORES_MAX = 1000 };
/* The largest score, either way: up to it a double holds every whole number. */
#define BOARD_SCORE_MAX 9007199254740992.0

/* A board in one of its periods. */
struct board {
    const struct config_board *config;
    struct str stored; /* the name in the database: NAME, or NAME@PERIOD */
    struct str period; /* the day that it begins on; empty of a board without periods */
    bool ended;
};

/* The period that a score of now goes to. Views in ARENA. ERR_NOT_FOUND with WHY: the first one has not begun. */
enum err board_now(const struct config_board *config, int64_t now_ms, struct arena *arena, struct board *out,
                   struct buf *why) ERR_CHECKED;
/* The period called PERIOD. ERR_SYNTAX: that is no day, or not the first of a period; ERR_NOT_FOUND: it is to come, or
 * the board has none. With WHY. */
enum err board_then(const struct config_board *config, struct str period, int64_t now_ms, struct arena *arena,
                    struct board *out, struct buf *why) ERR_CHECKED;
/* The period that began on PERIOD, a day that has been, by an earlier configuration. False: that is no such day. */
bool board_once(const struct config_board *config, struct str period, int64_t now_ms, struct arena *arena,
                struct board *out);
/* Whether STORED is a board that can be asked for as it is now, or will be. */
bool board_is_live(const struct config_boards *boards, struct str stored, int64_t now_ms);
/* What `period` is called in JSON: the day, or null. */
void board_add_period(const struct board *board, struct buf *out);

/* Whether a member may be called so; if not, WHY says what is wrong with it. */
bool board_is_member(struct str member, struct buf *why);

struct board_score {
    struct str member;
    double score;
};

struct board_scores {
    const struct board_score *items; /* from 1 to BOARD_SCORES_MAX, no member twice */
    size_t count;
    enum config_board_mode mode; /* CONFIG_BOARD_MODES: none was named */
};

/* Reads a body: `member` and `score`, or a list of them as `scores`; and `mode`. In ARENA. WHY, for the client, follows
 * on "The body ": ERR_SYNTAX and ERR_LIMIT of what is no such JSON, ERR_RANGE and ERR_TYPE of what has no such scores.
 */
enum err board_read_scores(struct str body, struct arena *arena, struct board_scores *out, struct buf *why) ERR_CHECKED;

#endif
