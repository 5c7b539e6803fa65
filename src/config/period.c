/*
 * period: calendar days as numbers, and the periods that they fall into.
 *
 * Days are counted by arithmetic alone: 400 years of the Gregorian calendar are 146,097 days, and in a year that begins
 * in March the leap day comes last. Neither the time zone of the process nor the C library has a part in it.
 *
 * Invariant: period_print and period_parse are each other's inverse on every day that has a four-digit year, and every
 * day lies in at most one period.
 *
 * It refuses other spellings of a day, so that a period has one name.
 */
#include "config/period.h"

enum { DAY_MS = 86400000, ERA_DAYS = 146097, EPOCH_DAYS = 719468 /* from 0000-03-01 to 1970-01-01 */ };

int64_t period_day(int64_t now_ms)
{
    return now_ms / DAY_MS;
}

static int64_t count_days(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month <= 2 ? year - 1 : year, m = (month + 9) % 12;

    return y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - EPOCH_DAYS;
}

void period_print(int64_t day, struct buf *out)
{
    int64_t days = day + EPOCH_DAYS, era = days / ERA_DAYS, of_era = days % ERA_DAYS;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100), m = (5 * of_year + 2) / 153;
    int64_t month = m < 10 ? m + 3 : m - 9;

    buf_printf(out, "%04d-%02d-%02d", (int)(era * 400 + year + (month <= 2)), (int)month,
               (int)(of_year - (153 * m + 2) / 5 + 1));
}

static bool read_digits(struct str text, size_t from, size_t to, int64_t *out)
{
    *out = 0;
    for (size_t i = from; i < to; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        *out = *out * 10 + (text.p[i] - '0');
    }
    return true;
}

enum err period_parse(struct str text, int64_t *day)
{
    int64_t year, month, of_month;
    struct buf again = {0};

    if (text.len != 10 || text.p[4] != '-' || text.p[7] != '-' || !read_digits(text, 0, 4, &year) ||
        !read_digits(text, 5, 7, &month) || !read_digits(text, 8, 10, &of_month) || year < 1970 || month < 1 ||
        month > 12)
        return ERR_SYNTAX;
    int64_t found = count_days(year, month, of_month);
    /* The 31st of a month of 30 days is another day, by another name. */
    period_print(found, &again);
    bool exists = str_equal(buf_str(&again), text);
    buf_free(&again);
    if (!exists)
        return ERR_SYNTAX;
    *day = found;
    return ERR_OK;
}

bool period_find(const struct period_rule *rule, int64_t day, int64_t *start)
{
    size_t begun = 0;

    switch (rule->kind) {
    case PERIOD_NONE:
        return false;
    case PERIOD_DAILY:
        *start = day;
        return true;
    case PERIOD_WEEKLY:
        /* 1970-01-01 was a Thursday. */
        *start = day - (day + 3) % 7;
        return true;
    case PERIOD_SEASON:
        while (begun < rule->seasons_count && rule->seasons[begun] <= day)
            begun++;
        if (begun == 0)
            return false;
        *start = rule->seasons[begun - 1];
        return true;
    }
    return false;
}

bool period_next(const struct period_rule *rule, int64_t day, int64_t *start)
{
    switch (rule->kind) {
    case PERIOD_NONE:
        return false;
    case PERIOD_DAILY:
        *start = day + 1;
        return true;
    case PERIOD_WEEKLY:
        *start = day - (day + 3) % 7 + 7;
        return true;
    case PERIOD_SEASON:
        for (size_t i = 0; i < rule->seasons_count; i++)
            if (rule->seasons[i] > day) {
                *start = rule->seasons[i];
                return true;
            }
        return false;
    }
    return false;
}
