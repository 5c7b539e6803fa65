/*
 * board: names, periods and scores of leaderboards, checked.
 *
 * A board with periods is stored under NAME@DAY, the day that the period begins on. `@` is in no board's name, so what
 * a name in the database belongs to can be told from the name alone, and an ended period is simply one that no request
 * writes to any more.
 *
 * Invariant: a struct board_scores that was given out can be written as it is: every member is 1 to 256 bytes of UTF-8
 * without control characters and stands there once, every score is finite and no larger than 2^53.
 *
 * It refuses what might be meant otherwise: a day inside a period, a score as a string, both forms of a body at once.
 */
#include "api/board.h"

#include <math.h>
#include <stdlib.h>

#include "api/body.h"

static enum err name_board(const struct config_board *config, int64_t start, bool ended, struct arena *arena,
                           struct board *out)
{
    struct buf day = {0};

    period_print(start, &day);
    *out = (struct board){.config = config, .ended = ended, .period = arena_copy(arena, buf_str(&day))};
    out->stored = arena_printf(arena, "%s@%.*s", config->name, STR_ARG(out->period));
    buf_free(&day);
    return arena_overflowed(arena) ? ERR_LIMIT : ERR_OK;
}

enum err board_now(const struct config_board *config, int64_t now_ms, struct arena *arena, struct board *out,
                   struct buf *why)
{
    int64_t start, first;

    if (config->period.kind == PERIOD_NONE) {
        *out = (struct board){.config = config, .stored = str_from(config->name)};
        return ERR_OK;
    }
    if (period_find(&config->period, period_day(now_ms), &start))
        return name_board(config, start, false, arena, out);
    buf_printf(why, "The board `%s` has no current period", config->name);
    if (period_next(&config->period, period_day(now_ms), &first)) {
        buf_add_str(why, STR(": its first season begins on "));
        period_print(first, why);
    }
    buf_add_str(why, STR(". Name one that has begun by `period`, or wait for it."));
    return ERR_NOT_FOUND;
}

enum err board_then(const struct config_board *config, struct str period, int64_t now_ms, struct arena *arena,
                    struct board *out, struct buf *why)
{
    int64_t day, start, present, today = period_day(now_ms);

    if (period_parse(period, &day) != ERR_OK) {
        buf_add_str(why, STR("parameter `period` must be the first day of a period, as 2026-11-28"));
        return ERR_SYNTAX;
    }
    if (config->period.kind == PERIOD_NONE) {
        buf_printf(why, "The board `%s` has no periods. Leave `period` out.", config->name);
        return ERR_NOT_FOUND;
    }
    if (day > today || !period_find(&config->period, day, &start)) {
        buf_printf(why, "The board `%s` has no such period. Its periods are at /api/leaderboards/%s/periods.",
                   config->name, config->name);
        return ERR_NOT_FOUND;
    }
    if (start != day) {
        buf_add_str(why, STR("parameter `period` must be the first day of a period; that day belongs to the one of "));
        period_print(start, why);
        return ERR_SYNTAX;
    }
    bool current = period_find(&config->period, today, &present) && present == start;
    return name_board(config, start, !current, arena, out);
}

bool board_once(const struct config_board *config, struct str period, int64_t now_ms, struct arena *arena,
                struct board *out)
{
    int64_t day;

    return period_parse(period, &day) == ERR_OK && day <= period_day(now_ms) &&
           name_board(config, day, true, arena, out) == ERR_OK;
}

bool board_is_live(const struct config_boards *boards, struct str stored, int64_t now_ms)
{
    struct str day_text = stored, name = str_cut(&day_text, '@');
    const struct config_board *config = config_board_find(boards, name);
    int64_t day, start;

    if (!config)
        return false;
    if (!day_text.p || config->period.kind == PERIOD_NONE)
        return !day_text.p && config->period.kind == PERIOD_NONE;
    if (period_parse(day_text, &day) != ERR_OK)
        return false;
    return !period_find(&config->period, period_day(now_ms), &start) || day >= start;
}

void board_add_period(const struct board *board, struct buf *out)
{
    if (board->period.len > 0)
        buf_add_json(out, board->period);
    else
        buf_add_str(out, STR("null"));
}

bool board_is_member(struct str member, struct buf *why)
{
    if (member.len == 0)
        buf_add_str(why, STR("a member is called by 1 to 256 bytes; this one has none"));
    else if (member.len > BOARD_MEMBER_MAX)
        buf_printf(why, "a member is called by at most %d bytes; this one has %zu", BOARD_MEMBER_MAX, member.len);
    else if (str_has_control(member) || !str_is_utf8(member))
        buf_add_str(why, STR("a member is called by UTF-8 without control characters"));
    else
        return true;
    return false;
}

/* What is read so far. */
struct reading {
    struct board_score *items;
    size_t count;
};

/* Whether TEXT, a number that is read as one of 2^53, is more: then it was rounded. By its digits, for their point can
 * only be in one place. */
static bool is_beyond_max(struct str text)
{
    static const char most[] = "9007199254740992";
    size_t at = 0;

    for (size_t i = 0; i < text.len && text.p[i] != 'e' && text.p[i] != 'E'; i++) {
        const char digit = text.p[i], limit = at < sizeof most - 1 ? most[at] : '0';

        if (digit < '0' || digit > '9' || (at == 0 && digit == '0'))
            continue;
        if (digit != limit)
            return digit > limit;
        at++;
    }
    return false;
}

static enum err take_score(struct reading *reading, const struct body *object, struct buf *why)
{
    const struct body_member *member = body_find(object, STR("member")), *score = body_find(object, STR("score"));
    struct board_score *item = &reading->items[reading->count];
    struct buf reason = {0};

    if (!member || member->type != BODY_STRING) {
        buf_add_str(why, member ? STR("has a `member` that is no string") : STR("has no `member`"));
        return ERR_TYPE;
    }
    if (!board_is_member(member->text, &reason)) {
        buf_printf(why, "has a `member` that cannot be one: %.*s", STR_ARG(buf_str(&reason)));
        buf_free(&reason);
        return ERR_RANGE;
    }
    if (!score || score->type != BODY_NUMBER) {
        buf_add_str(why, score ? STR("has a `score` that is no number") : STR("has no `score`"));
        return ERR_TYPE;
    }
    if (str_to_double(score->text, &item->score) != ERR_OK || fabs(item->score) > BOARD_SCORE_MAX ||
        (fabs(item->score) == BOARD_SCORE_MAX && is_beyond_max(score->text))) {
        buf_add_str(why, STR("has a `score` beyond 2^53 (9007199254740992), where whole numbers are not exact"));
        return ERR_RANGE;
    }
    item->member = member->text;
    reading->count++;
    return ERR_OK;
}

static enum err refuse_others(const struct body *object, const struct str *known, size_t known_count, struct buf *why)
{
    for (size_t i = 0; i < object->count; i++) {
        size_t at = 0;

        while (at < known_count && !str_equal(object->members[i].name, known[at]))
            at++;
        if (at < known_count)
            continue;
        buf_add_str(why, STR("has a member "));
        body_add_name(&object->members[i], why);
        buf_add_str(why, STR(" that is unknown here; known are"));
        for (at = 0; at < known_count; at++)
            buf_printf(why, "%s `%.*s`", at == 0 ? "" : ",", STR_ARG(known[at]));
        return ERR_TYPE;
    }
    return ERR_OK;
}

static enum err take_item(void *context, size_t index, const struct body *object, struct buf *why)
{
    static const struct str known[] = {{"member", 6}, {"score", 5}};
    enum err err = refuse_others(object, known, sizeof known / sizeof *known, why);

    (void)index;
    return err == ERR_OK ? take_score(context, object, why) : err;
}

static int compare(const void *a, const void *b)
{
    return str_compare(*(const struct str *)a, *(const struct str *)b);
}

/* Two scores for one member would depend on their order. */
static enum err refuse_repeated(const struct reading *reading, struct arena *arena, struct buf *why)
{
    struct str *members = arena_calloc(arena, reading->count, sizeof *members);

    if (!members)
        return ERR_LIMIT;
    for (size_t i = 0; i < reading->count; i++)
        members[i] = reading->items[i].member;
    qsort(members, reading->count, sizeof *members, compare);
    for (size_t i = 1; i < reading->count; i++)
        if (str_equal(members[i - 1], members[i])) {
            buf_add_str(why, STR("gives more than one score for "));
            buf_add_json(why, members[i]);
            buf_add_str(why, STR("; give one"));
            return ERR_RANGE;
        }
    return ERR_OK;
}

static enum err take_mode(const struct body *body, enum config_board_mode *mode, struct buf *why)
{
    const struct body_member *given = body_find(body, STR("mode"));

    *mode = CONFIG_BOARD_MODES;
    if (!given)
        return ERR_OK;
    if (given->type == BODY_STRING)
        *mode = config_board_mode_from(given->text);
    if (*mode < CONFIG_BOARD_MODES)
        return ERR_OK;
    buf_add_str(why, STR("has a `mode` that is unknown; it must be \"best\", \"last\" or \"sum\""));
    return ERR_TYPE;
}

static enum err take_list(const struct body *body, const struct body_member *list, struct reading *reading,
                          struct arena *arena, struct buf *why)
{
    struct buf reason = {0};

    if (body_find(body, STR("member")) || body_find(body, STR("score"))) {
        buf_add_str(why, STR("has both `scores` and a single score; give one of them"));
        return ERR_TYPE;
    }
    enum err err = body_objects(list, BOARD_SCORES_MAX, arena, take_item, reading, &reason);
    if (err != ERR_OK)
        buf_printf(why, "has `scores` that cannot be taken: %.*s", STR_ARG(buf_str(&reason)));
    buf_free(&reason);
    /* Only what is no JSON at all is the client's syntax. */
    if (err == ERR_LIMIT)
        err = ERR_RANGE;
    if (err == ERR_OK && reading->count == 0) {
        buf_printf(why, "has no scores; give 1 to %d", BOARD_SCORES_MAX);
        return ERR_RANGE;
    }
    return err;
}

enum err board_read_scores(struct str text, struct arena *arena, struct board_scores *out, struct buf *why)
{
    static const struct str known[] = {{"scores", 6}, {"member", 6}, {"score", 5}, {"mode", 4}};
    struct reading reading = {.count = 0};
    enum config_board_mode mode = CONFIG_BOARD_MODES;
    struct body body;
    enum err err = body_parse(text, arena, &body, why);

    if (err == ERR_OK)
        err = refuse_others(&body, known, sizeof known / sizeof *known, why);
    if (err == ERR_OK)
        err = take_mode(&body, &mode, why);
    if (err != ERR_OK)
        return err;
    const struct body_member *list = body_find(&body, STR("scores"));
    reading.items = arena_calloc(arena, list ? BOARD_SCORES_MAX : 1, sizeof *reading.items);
    if (!reading.items)
        return ERR_LIMIT;
    err = list ? take_list(&body, list, &reading, arena, why) : take_score(&reading, &body, why);
    if (err == ERR_OK)
        err = refuse_repeated(&reading, arena, why);
    if (err == ERR_OK)
        *out = (struct board_scores){.items = reading.items, .count = reading.count, .mode = mode};
    return err;
}
