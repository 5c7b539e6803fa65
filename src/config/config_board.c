/*
 * config_board: [board.NAME] sections to struct config_boards and back to text.
 *
 * A board has few settings and they belong together, so they stand here and not in CONFIG_TABLE, and the environment
 * does not reach them: a name such as LARDER_BOARD_X_MODE would not say where the board's name ends.
 *
 * Invariant: after config_board_finish without a complaint each board has a name of its own that can stand in a path,
 * and seasons exactly where its period needs them, in ascending order. What was wrong is left at its default.
 *
 * It refuses to guess: a word that it does not know is reported with those that it does.
 */
#include "config/config_board.h"

#include <stdlib.h>

#include "base/sys.h"
#include "config/config_nearest.h"

enum { NAME_MAX_LEN = 64, DOC_MAX = 200, SEASONS_MAX = 1000, SHOWN = 60 };
enum { MODE, PERIOD, SEASONS, DOC };

#define PREFIX "board."

static const char *const settings[CONFIG_BOARD_SETTINGS] = {"mode", "period", "seasons", "doc"};
static const char *const modes[] = {"best", "last", "sum"};
static const char *const periods[] = {"none", "daily", "weekly", "season"};

static const char description[] =
    "\n# Leaderboards: a section [board.NAME] for each; NAME is of small letters, digits, `_` and `-`, a letter "
    "first,\n"
    "# at most 64. The environment does not reach these. In each:\n"
    "#   mode     what a score does to the one there is: best (default: the higher stays), last (the newer stays) or\n"
    "#            sum (both are added). Whoever submits a score may name another.\n"
    "#   period   none (default), daily, weekly (from Monday) or season, in UTC: when one ends, the board begins "
    "anew,\n"
    "#            and the old one stays as it is, to be read with ?period=2026-11-28, the day it began.\n"
    "#   seasons  for season: the days on which seasons begin, as 2026-01-01 2026-04-01, ascending.\n"
    "#   doc      what it is for.\n";

const char *config_board_mode_name(enum config_board_mode mode)
{
    return modes[mode];
}

const char *config_board_period_name(enum period_kind kind)
{
    return periods[kind];
}

/* The place of TEXT among WORDS; COUNT without one. */
static size_t find_word(struct str text, const char *const *words, size_t count)
{
    size_t at = 0;

    while (at < count && !str_equal(text, str_from(words[at])))
        at++;
    return at;
}

enum config_board_mode config_board_mode_from(struct str text)
{
    return (enum config_board_mode)find_word(text, modes, CONFIG_BOARD_MODES);
}

const struct config_board *config_board_find(const struct config_boards *boards, struct str name)
{
    for (size_t i = 0; i < boards->count; i++)
        if (str_equal(name, str_from(boards->items[i].name)))
            return &boards->items[i];
    return NULL;
}

bool config_board_is_section(struct str section)
{
    return str_starts(section, STR(PREFIX));
}

static bool is_name(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        bool letter = name.p[i] >= 'a' && name.p[i] <= 'z';
        bool other = (name.p[i] >= '0' && name.p[i] <= '9') || name.p[i] == '_' || name.p[i] == '-';

        if (!letter && (i == 0 || !other))
            return false;
    }
    return name.len > 0 && name.len <= NAME_MAX_LEN;
}

struct config_board *config_board_begin(struct config_boards *boards, struct str section, const char *file,
                                        unsigned line, struct report *report)
{
    struct str name = {section.p + sizeof PREFIX - 1, section.len - (sizeof PREFIX - 1)};
    const struct config_board *earlier = config_board_find(boards, name);

    if (!is_name(name)) {
        report_add(report, file, line, 0,
                   "[%.*s]: a board's name is a small letter, then up to %d small letters, digits, `_` and `-`",
                   (int)(section.len < SHOWN ? section.len : SHOWN), section.p, NAME_MAX_LEN - 1);
        return NULL;
    }
    if (earlier) {
        report_add(report, file, line, 0, "[%.*s] is there twice, first on line %u", STR_ARG(section), earlier->line);
        return NULL;
    }
    boards->items = sys_realloc(boards->items, (boards->count + 1) * sizeof *boards->items);
    struct config_board *board = &boards->items[boards->count++];
    *board = (struct config_board){.name = sys_copy(name), .doc = sys_copy(STR("")), .line = line};
    return board;
}

/* Days by blanks, ascending. */
static bool read_seasons(struct config_board *board, struct str value)
{
    struct str word;

    board->period.seasons_count = 0;
    while ((word = str_word(&value)).len > 0) {
        struct period_rule *rule = &board->period;
        int64_t day;

        if (rule->seasons_count == SEASONS_MAX || period_parse(word, &day) != ERR_OK)
            return false;
        if (rule->seasons_count > 0 && rule->seasons[rule->seasons_count - 1] >= day)
            return false;
        rule->seasons = sys_realloc(rule->seasons, (rule->seasons_count + 1) * sizeof *rule->seasons);
        rule->seasons[rule->seasons_count++] = day;
    }
    return board->period.seasons_count > 0;
}

/* What the value of SETTING must be, where VALUE is not that; NULL where it is, and then BOARD has it. */
static const char *take(struct config_board *board, size_t setting, struct str value)
{
    size_t word;

    switch (setting) {
    case MODE:
        word = find_word(value, modes, CONFIG_BOARD_MODES);
        if (word == CONFIG_BOARD_MODES)
            return "best, last or sum";
        board->mode = (enum config_board_mode)word;
        return NULL;
    case PERIOD:
        word = find_word(value, periods, sizeof periods / sizeof *periods);
        if (word == sizeof periods / sizeof *periods)
            return "none, daily, weekly or season";
        board->period.kind = (enum period_kind)word;
        return NULL;
    case SEASONS:
        return read_seasons(board, value) ? NULL : "days as 2026-01-01 2026-04-01, by blanks, ascending";
    default:
        if (value.len > DOC_MAX)
            return "at most 200 bytes long";
        free(board->doc);
        board->doc = sys_copy(value);
        return NULL;
    }
}

void config_board_set(struct config_board *board, struct str name, struct str value, const char *file, unsigned line,
                      struct report *report)
{
    size_t at = find_word(name, settings, CONFIG_BOARD_SETTINGS);
    const char *nearest = config_nearest(name, settings, CONFIG_BOARD_SETTINGS), *wanted;

    if (at == CONFIG_BOARD_SETTINGS && nearest) {
        report_add(report, file, line, 0, "there is no `%.*s` in [" PREFIX "%s]; did you mean `%s`?", STR_ARG(name),
                   board->name, nearest);
    } else if (at == CONFIG_BOARD_SETTINGS) {
        report_add(report, file, line, 0,
                   "there is no `%.*s` in [" PREFIX "%s]; there are `mode`, `period`, `seasons` and `doc`",
                   STR_ARG(name), board->name);
    } else if (board->lines[at] > 0) {
        report_add(report, file, line, 0, "`%.*s` in [" PREFIX "%s] is set twice, first on line %u", STR_ARG(name),
                   board->name, board->lines[at]);
    } else {
        board->lines[at] = line;
        wanted = take(board, at, value);
        if (wanted)
            report_add(report, file, line, 0, "`%.*s` in [" PREFIX "%s] is `%.*s`; it must be %s", STR_ARG(name),
                       board->name, (int)(value.len < SHOWN ? value.len : SHOWN), value.p, wanted);
    }
}

/* What decides under which names scores are stored. */
static uint64_t make_print(const struct config_boards *boards)
{
    struct buf text = {0};

    for (size_t i = 0; i < boards->count; i++) {
        const struct period_rule *rule = &boards->items[i].period;

        buf_printf(&text, "%s %s", boards->items[i].name, periods[rule->kind]);
        for (size_t season = 0; season < rule->seasons_count; season++)
            buf_printf(&text, " %lld", (long long)rule->seasons[season]);
        buf_add_char(&text, '\n');
    }
    uint64_t print = sys_hash64(buf_str(&text), 0);
    buf_free(&text);
    return print | 1;
}

void config_board_finish(struct config_boards *boards, const char *file, struct report *report)
{
    boards->print = make_print(boards);
    for (size_t i = 0; i < boards->count; i++) {
        const struct config_board *board = &boards->items[i];
        bool is_season = board->period.kind == PERIOD_SEASON;

        if (is_season && board->lines[SEASONS] == 0)
            report_add(report, file, board->lines[PERIOD], 0,
                       "[" PREFIX "%s] is by season and does not say when they begin; add `seasons = 2026-01-01 ...`",
                       board->name);
        /* A period that was refused has been reported. */
        if (!is_season && board->lines[SEASONS] > 0 && (board->lines[PERIOD] == 0 || board->period.kind != PERIOD_NONE))
            report_add(report, file, board->lines[SEASONS], 0,
                       "[" PREFIX "%s] has `seasons` and is not by season; add `period = season`, or leave them out",
                       board->name);
    }
}

static void print_board(const struct config_board *board, struct buf *out)
{
    buf_printf(out, "\n[" PREFIX "%s]\n", board->name);
    if (board->doc[0] != '\0')
        /* Behind a blank a `;` would begin a comment. */
        buf_printf(out, "doc =%s%s\n", board->doc[0] == ';' ? "" : " ", board->doc);
    buf_printf(out, "mode = %s\nperiod = %s\n", modes[board->mode], periods[board->period.kind]);
    if (board->period.seasons_count == 0)
        return;
    buf_add_str(out, STR("seasons ="));
    for (size_t i = 0; i < board->period.seasons_count; i++) {
        buf_add_char(out, ' ');
        period_print(board->period.seasons[i], out);
    }
    buf_add_char(out, '\n');
}

void config_board_print(const struct config_boards *boards, struct buf *out)
{
    buf_add_str(out, str_from(description));
    for (size_t i = 0; i < boards->count; i++)
        print_board(&boards->items[i], out);
}

void config_board_free(struct config_boards *boards)
{
    for (size_t i = 0; i < boards->count; i++) {
        free(boards->items[i].name);
        free(boards->items[i].doc);
        free(boards->items[i].period.seasons);
    }
    free(boards->items);
    *boards = (struct config_boards){0};
}
