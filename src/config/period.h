/*
 * period: from when to when scores count together: days, weeks and seasons of the UTC calendar. Pure.
 *
 * A period is known by the day that it begins on, a number of days since 1970-01-01; it ends where the next one begins.
 * Weeks begin on Mondays. Before the first season there is no period; the last one has no end.
 */
#ifndef LARDER_PERIOD_H
#define LARDER_PERIOD_H

#include "base/str.h"

enum period_kind { PERIOD_NONE, PERIOD_DAILY, PERIOD_WEEKLY, PERIOD_SEASON };

struct period_rule {
    enum period_kind kind;
    int64_t *seasons; /* of PERIOD_SEASON: the days they begin on, ascending */
    size_t seasons_count;
};

/* The day of a moment (since the epoch, not before it). */
int64_t period_day(int64_t now_ms);
/* A day as `2026-11-28` (ISO 8601), of the years 1970 to 9999. ERR_SYNTAX, also for a day that no calendar has. */
enum err period_parse(struct str text, int64_t *day) ERR_CHECKED;
void period_print(int64_t day, struct buf *out);
/* On which day the period that DAY lies in begins. False when it lies in none. */
bool period_find(const struct period_rule *rule, int64_t day, int64_t *start);
/* On which day the first period behind DAY begins. False when none will. */
bool period_next(const struct period_rule *rule, int64_t day, int64_t *start);

#endif
