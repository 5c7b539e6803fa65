/* [board.NAME] sections: what is read, what is refused and where, and how they are shown. */
#include "config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* What is reported of TEXT, a line each, in *SAID; the configuration is the caller's. */
static struct config *parse(const char *text, struct buf *said)
{
    struct report *report = report_new();
    struct config *config = NULL;
    enum err err = config_parse(str_from(text), "l.conf", NULL, report, &config);

    for (size_t i = 0; i < report_count(report); i++)
        buf_printf(said, "%s\n", report_line(report, i));
    assert_int_equal(err, said->len > 0 ? ERR_USAGE : ERR_OK);
    report_free(&report);
    return config;
}

static struct config *accept(const char *text)
{
    struct buf said = {0};
    struct config *config = parse(text, &said);

    if (said.len > 0)
        fail_msg("refused: %s", said.p);
    return config;
}

static void a_board_has_defaults_and_its_own_settings(void **state)
{
    struct config *it = accept("[board.game]\n[log]\nlevel = info\n[board.league-2_x]\nmode = sum\nperiod = season\n"
                               "seasons = 2026-01-01   2026-04-01\ndoc = What it is for. ; a comment\n");
    const struct config_board *board = config_board_find(&it->boards, STR("game"));

    (void)state;
    assert_int_equal(it->boards.count, 2);
    assert_int_equal(board->mode, CONFIG_BOARD_BEST);
    assert_int_equal(board->period.kind, PERIOD_NONE);
    assert_string_equal(board->doc, "");
    board = config_board_find(&it->boards, STR("league-2_x"));
    assert_int_equal(board->mode, CONFIG_BOARD_SUM);
    assert_int_equal(board->period.kind, PERIOD_SEASON);
    assert_int_equal(board->period.seasons_count, 2);
    assert_int_equal(board->period.seasons[1] - board->period.seasons[0], 90);
    assert_string_equal(board->doc, "What it is for.");
    assert_int_equal(it->log.level, LOG_LEVEL_INFO);
    assert_null(config_board_find(&it->boards, STR("gam")));
    config_free(&it);
}

static void a_name_is_as_long_as_it_may_be(void **state)
{
    /* 64 of a name; inih by itself would cut it. */
    static const char text[] = "[board.a123456789012345678901234567890123456789012345678901234567890123]\nmode = last\n"
                               "[board.a12345678901234567890123456789012345678901234567890123456789012x]\nmode = sum\n";
    struct config *it = accept(text);

    (void)state;
    assert_int_equal(it->boards.count, 2);
    assert_int_equal(it->boards.items[0].mode, CONFIG_BOARD_LAST);
    assert_int_equal(it->boards.items[1].mode, CONFIG_BOARD_SUM);
    config_free(&it);
}

static void everything_wrong_is_said_at_once_with_its_line(void **state)
{
    static const char text[] =
        "[board.Game]\nmode = what\n[board.]\n[board.9]\n[board]\n[board.x@y]\n"
        "[board.a1234567890123456789012345678901234567890123456789012345678901234]\n"
        "[board.one]\nmode = most\nperiod = hourly\nseasons = 2026-02-30\nmdoe = best\nttl = 5m\n"
        "mode = best\n"
        "[board.two]\nperiod = season\n[board.three]\nseasons = 2026-01-01\n"
        "[board.one]\n[board.four]\nperiod = season\nseasons = 2026-04-01 2026-01-01\n"
        "[board.five]\nperiod = season\nseasons = 2026-04-01 2026-04-01\n"
        "[board.six]\nperiod = season\nseasons =\n";
    static const char *const expected[] = {
        "l.conf:1: [board.Game]: a board's name is a small letter",
        "l.conf:3: [board.]: a board's name",
        "l.conf:4: [board.9]: a board's name",
        "l.conf:5: there is no section [board]; there are",
        " [board.NAME]\n",
        "l.conf:6: [board.x@y]: a board's name",
        "l.conf:7: [board.a12",
        "l.conf:9: `mode` in [board.one] is `most`; it must be best, last or sum",
        "l.conf:10: `period` in [board.one] is `hourly`; it must be none, daily, weekly or season",
        "l.conf:11: `seasons` in [board.one] is `2026-02-30`; it must be days as 2026-01-01",
        "l.conf:12: there is no `mdoe` in [board.one]; did you mean `mode`?",
        "l.conf:13: there is no `ttl` in [board.one]; there are `mode`, `period`, `seasons` and `doc`",
        "l.conf:14: `mode` in [board.one] is set twice, first on line 9",
        "l.conf:16: [board.two] is by season and does not say when they begin",
        "l.conf:18: [board.three] has `seasons` and is not by season",
        "l.conf:19: [board.one] is there twice, first on line 8",
        "l.conf:22: `seasons` in [board.four]",
        "l.conf:25: `seasons` in [board.five]",
        "l.conf:28: `seasons` in [board.six]",
    };
    struct buf said = {0};
    struct config *it = parse(text, &said);
    size_t lines = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(expected); i++)
        if (!strstr(said.p, expected[i]))
            fail_msg("`%s` is not in:\n%s", expected[i], said.p);
    for (size_t i = 0; i < said.len; i++)
        lines += said.p[i] == '\n';
    /* One of those that are expected is the end of another one's line. */
    if (lines != COUNT(expected) - 1)
        fail_msg("%zu lines:\n%s", lines, said.p);
    config_free(&it);
    buf_free(&said);
}

static void what_is_printed_reads_back_as_the_same(void **state)
{
    struct config *it =
        accept("[board.one]\nmode = last\ndoc = ;first\n[board.two]\nperiod = season\nseasons = 2026-01-01 2027-01-01\n"
               "[board.three]\nperiod = weekly\nmode = sum\n");
    struct buf first = {0}, second = {0};

    (void)state;
    config_print(it, &first);
    config_free(&it);
    it = accept(first.p);
    config_print(it, &second);
    assert_string_equal(first.p, second.p);
    assert_non_null(strstr(first.p, "\n[board.two]\nmode = best\nperiod = season\nseasons = 2026-01-01 2027-01-01\n"));
    config_free(&it);
    buf_free(&first);
    buf_free(&second);
}

static void the_environment_does_not_reach_boards(void **state)
{
    char *environment[] = {(char[]){"LARDER_BOARD_ONE_MODE=sum"}, NULL};
    struct report *report = report_new();
    struct config *config = NULL;

    (void)state;
    assert_int_equal(config_parse(STR("[board.one]\n"), "l.conf", environment, report, &config), ERR_USAGE);
    assert_int_equal(report_count(report), 1);
    assert_int_equal(config->boards.items[0].mode, CONFIG_BOARD_BEST);
    config_free(&config);
    report_free(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_board_has_defaults_and_its_own_settings),
        cmocka_unit_test(a_name_is_as_long_as_it_may_be),
        cmocka_unit_test(everything_wrong_is_said_at_once_with_its_line),
        cmocka_unit_test(what_is_printed_reads_back_as_the_same),
        cmocka_unit_test(the_environment_does_not_reach_boards),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
