/*
 * config_board: the boards of larder.conf: sections called [board.NAME].
 */
#ifndef LARDER_CONFIG_BOARD_H
#define LARDER_CONFIG_BOARD_H

#include "base/report.h"
#include "config/period.h"

enum { CONFIG_BOARD_SETTINGS = 4 };

/* What becomes of a score that comes for a member that has one: the higher counts, the later, or both together. */
enum config_board_mode { CONFIG_BOARD_BEST, CONFIG_BOARD_LAST, CONFIG_BOARD_SUM, CONFIG_BOARD_MODES };

struct config_board {
    char *name, *doc;
    enum config_board_mode mode;
    struct period_rule period;
    unsigned line;                         /* of its section */
    unsigned lines[CONFIG_BOARD_SETTINGS]; /* of its settings, as they stand in config_board.c; 0: not set */
};

struct config_boards {
    struct config_board *items;
    size_t count;
    uint64_t print; /* tells these boards and their periods from any others; never 0 */
};

/* The board NAME; NULL without. */
const struct config_board *config_board_find(const struct config_boards *boards, struct str name);
const char *config_board_mode_name(enum config_board_mode mode);
/* CONFIG_BOARD_MODES for no mode. */
enum config_board_mode config_board_mode_from(struct str text);
const char *config_board_period_name(enum period_kind kind);

/* For config alone. What is wrong goes to REPORT. */

/* Whether a section called SECTION is meant as a board's. */
bool config_board_is_section(struct str section);
/* Begins the board of SECTION, valid until the next one is begun; NULL where it cannot be one. */
struct config_board *config_board_begin(struct config_boards *boards, struct str section, const char *file,
                                        unsigned line, struct report *report);
void config_board_set(struct config_board *board, struct str name, struct str value, const char *file, unsigned line,
                      struct report *report);
/* Whether each board is whole. */
void config_board_finish(struct config_boards *boards, const char *file, struct report *report);
/* Appends what board sections are, and those there are. */
void config_board_print(const struct config_boards *boards, struct buf *out);
void config_board_free(struct config_boards *boards);

#endif
