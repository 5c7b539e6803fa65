/* Boards, periods and scores as requests give them. */
#include "api/board.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define SATURDAY INT64_C(1795867200000) /* 2026-11-28T12:00:00Z */

struct fixture {
    struct arena *arena;
    struct config *config;
    struct buf why;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct report *report = report_new();

    fixture->arena = arena_new(4096, 4 << 20);
    assert_int_equal(config_parse(STR("[board.game]\n[board.days]\nperiod = daily\n[board.weeks]\nperiod = weekly\n"
                                      "[board.league]\nperiod = season\nseasons = 2026-01-01 2026-10-01\n"
                                      "[board.future]\nperiod = season\nseasons = 2027-01-01\n"),
                                  "l.conf", NULL, report, &fixture->config),
                     ERR_OK);
    report_free(&report);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    arena_free(&fixture->arena);
    config_free(&fixture->config);
    buf_free(&fixture->why);
    free(fixture);
    return 0;
}

static const struct config_board *find(const struct fixture *fixture, const char *name)
{
    return config_board_find(&fixture->config->boards, str_from(name));
}

static void a_score_goes_to_the_period_that_runs(void **state)
{
    static const struct {
        const char *name, *stored;
    } rows[] = {
        {"game", "game"}, {"days", "days@2026-11-28"}, {"weeks", "weeks@2026-11-23"}, {"league", "league@2026-10-01"}};
    struct fixture *fixture = *state;
    struct board board;

    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(board_now(find(fixture, rows[i].name), SATURDAY, fixture->arena, &board, &fixture->why),
                         ERR_OK);
        assert_true(str_equal(board.stored, str_from(rows[i].stored)));
        assert_false(board.ended);
        assert_true(board_is_live(&fixture->config->boards, board.stored, SATURDAY));
    }
    assert_int_equal(board_now(find(fixture, "future"), SATURDAY, fixture->arena, &board, &fixture->why),
                     ERR_NOT_FOUND);
    assert_non_null(strstr(fixture->why.p, "2027-01-01"));
}

static void a_period_is_known_by_its_first_day(void **state)
{
    static const struct {
        const char *name, *period, *stored; /* NULL: refused */
        enum err err;
        bool ended;
        const char *why;
    } rows[] = {
        {"days", "2026-11-28", "days@2026-11-28", ERR_OK, false, ""},
        {"days", "2026-11-27", "days@2026-11-27", ERR_OK, true, ""},
        {"days", "2026-11-29", NULL, ERR_NOT_FOUND, false, "no such period"},
        {"days", "2026-02-29", NULL, ERR_SYNTAX, false, "first day"},
        {"days", "yesterday", NULL, ERR_SYNTAX, false, "first day"},
        {"days", "", NULL, ERR_SYNTAX, false, "first day"},
        {"weeks", "2026-11-23", "weeks@2026-11-23", ERR_OK, false, ""},
        {"weeks", "2026-11-16", "weeks@2026-11-16", ERR_OK, true, ""},
        {"weeks", "2026-11-18", NULL, ERR_SYNTAX, false, "the one of 2026-11-16"},
        {"league", "2026-01-01", "league@2026-01-01", ERR_OK, true, ""},
        {"league", "2026-10-01", "league@2026-10-01", ERR_OK, false, ""},
        {"league", "2025-12-31", NULL, ERR_NOT_FOUND, false, "no such period"},
        {"future", "2027-01-01", NULL, ERR_NOT_FOUND, false, "no such period"},
        {"game", "2026-11-28", NULL, ERR_NOT_FOUND, false, "has no periods"},
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct board board = {.ended = false};

        buf_clear(&fixture->why);
        assert_int_equal(board_then(find(fixture, rows[i].name), str_from(rows[i].period), SATURDAY, fixture->arena,
                                    &board, &fixture->why),
                         rows[i].err);
        if (rows[i].stored)
            assert_true(str_equal(board.stored, str_from(rows[i].stored)));
        else
            assert_non_null(strstr(fixture->why.p, rows[i].why));
        assert_int_equal(board.ended, rows[i].ended);
    }
}

static void only_boards_that_can_change_are_live(void **state)
{
    static const char *const dead[] = {
        "days",  "days@",           "days@x", "days@2026-11-27", "weeks@2026-11-16", "other",
        "game@", "game@2026-11-28", "",       "@2026-11-28",     "league@2026-01-01"};
    static const char *const live[] = {"game", "days@2026-11-28", "days@2026-11-29", "league@2026-10-01",
                                       "future@2027-01-01"};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < COUNT(dead); i++)
        if (board_is_live(&fixture->config->boards, str_from(dead[i]), SATURDAY))
            fail_msg("`%s` is live", dead[i]);
    for (size_t i = 0; i < COUNT(live); i++)
        if (!board_is_live(&fixture->config->boards, str_from(live[i]), SATURDAY))
            fail_msg("`%s` is not live", live[i]);
}

static enum err read(struct fixture *fixture, struct str text, struct board_scores *out)
{
    char *exact = malloc(text.len ? text.len : 1);

    memcpy(exact, text.p, text.len);
    buf_clear(&fixture->why);
    struct str copy = arena_copy(fixture->arena, (struct str){exact, text.len});
    free(exact);
    return board_read_scores(copy, fixture->arena, out, &fixture->why);
}

static void scores_are_read_alone_and_as_a_list(void **state)
{
    struct fixture *fixture = *state;
    struct board_scores scores;

    assert_int_equal(read(fixture, STR("{\"member\":\"Zo\\u00eb\",\"score\":-1.5e3}"), &scores), ERR_OK);
    assert_int_equal(scores.count, 1);
    assert_int_equal(scores.mode, CONFIG_BOARD_MODES);
    assert_true(str_equal(scores.items[0].member, STR("Zo\xc3\xab")));
    assert_true(scores.items[0].score == -1500);
    assert_int_equal(read(fixture,
                          STR(" {\"mode\":\"sum\",\"scores\" : [ {\"score\":9007199254740992,\"member\":\"a\"} ,\n"
                              "{\"member\":\"b\",\"score\":0}]}"),
                          &scores),
                     ERR_OK);
    assert_int_equal(scores.count, 2);
    assert_int_equal(scores.mode, CONFIG_BOARD_SUM);
    assert_true(scores.items[0].score == 9007199254740992.0 && scores.items[1].score == 0);
    assert_true(str_equal(scores.items[1].member, STR("b")));
}

static void two_to_the_53_is_a_score_however_it_is_written(void **state)
{
    static const char *const rows[] = {"9007199254740992",        "-9007199254740992.000", "9.007199254740992e15",
                                       "0.09007199254740992E+17", "90071992547409920e-1",  "9007199254740991.9",
                                       "9007199254740991"};
    struct fixture *fixture = *state;
    struct board_scores scores;
    char text[96];

    for (size_t i = 0; i < COUNT(rows); i++) {
        snprintf(text, sizeof text, "{\"member\":\"a\",\"score\":%s}", rows[i]);
        if (read(fixture, str_from(text), &scores) != ERR_OK)
            fail_msg("%s: %s", text, fixture->why.p);
    }
}

static void what_is_wrong_with_scores_is_said(void **state)
{
    static const struct {
        const char *text;
        enum err err;
        const char *why;
    } rows[] = {
        {"", ERR_SYNTAX, "no JSON object"},
        {"[]", ERR_SYNTAX, "no JSON object"},
        {"{}", ERR_TYPE, "has no `member`"},
        {"{\"member\":\"a\"}", ERR_TYPE, "has no `score`"},
        {"{\"score\":1}", ERR_TYPE, "has no `member`"},
        {"{\"member\":1,\"score\":1}", ERR_TYPE, "`member` that is no string"},
        {"{\"member\":\"a\",\"score\":\"1\"}", ERR_TYPE, "`score` that is no number"},
        {"{\"member\":\"a\",\"score\":null}", ERR_TYPE, "`score` that is no number"},
        {"{\"member\":\"a\",\"score\":NaN}", ERR_SYNTAX, "is no JSON"},
        {"{\"member\":\"a\",\"score\":Infinity}", ERR_SYNTAX, "is no JSON"},
        {"{\"member\":\"a\",\"score\":1e999}", ERR_RANGE, "2^53"},
        {"{\"member\":\"a\",\"score\":-9007199254740994}", ERR_RANGE, "2^53"},
        {"{\"member\":\"a\",\"score\":9007199254740993}", ERR_RANGE, "2^53"},
        {"{\"member\":\"a\",\"score\":-9007199254740992.5}", ERR_RANGE, "2^53"},
        {"{\"member\":\"a\",\"score\":900719925474099.2001e1}", ERR_RANGE, "2^53"},
        {"{\"member\":\"\",\"score\":1}", ERR_RANGE, "1 to 256 bytes"},
        {"{\"member\":\"a\\u0000\",\"score\":1}", ERR_RANGE, "control characters"},
        {"{\"member\":\"a\\n\",\"score\":1}", ERR_RANGE, "control characters"},
        {"{\"member\":\"a\\u007f\",\"score\":1}", ERR_RANGE, "control characters"},
        {"{\"member\":\"a\",\"score\":1,\"mode\":\"most\"}", ERR_TYPE, "`mode` that is unknown"},
        {"{\"member\":\"a\",\"score\":1,\"mode\":1}", ERR_TYPE, "`mode` that is unknown"},
        {"{\"member\":\"a\",\"score\":1,\"colour\":1}", ERR_TYPE, "\"colour\" that is unknown"},
        {"{\"member\":\"a\",\"score\":1,\"score\":2}", ERR_SYNTAX, "given before"},
        {"{\"scores\":[],\"member\":\"a\"}", ERR_TYPE, "both"},
        {"{\"scores\":[],\"score\":1}", ERR_TYPE, "both"},
        {"{\"scores\":[]}", ERR_RANGE, "has no scores"},
        {"{\"scores\":{}}", ERR_TYPE, "taken: it is no list"},
        {"{\"scores\":\"all\"}", ERR_TYPE, "no list"},
        {"{\"scores\":[1]}", ERR_SYNTAX, "item 1"},
        {"{\"scores\":[{\"member\":\"a\",\"score\":1},{\"member\":\"b\"}]}", ERR_TYPE, "taken: item 2 has no `score`"},
        {"{\"scores\":[{\"member\":\"a\",\"score\":1,\"mode\":\"sum\"}]}", ERR_TYPE, "item 1 has a member \"mode\""},
        {"{\"scores\":[{\"member\":\"a\",\"score\":1,\"member\":\"a\"}]}", ERR_SYNTAX, "item 1 has a member of a name"},
        {"{\"scores\":[{\"member\":\"a\",\"score\":1},{\"member\":\"b\",\"score\":1},{\"member\":\"\\u0061\",\"score\":"
         "2}]}",
         ERR_RANGE, "more than one score for \"a\""},
        {"{\"member\":\"\xff\",\"score\":1}", ERR_SYNTAX, "not UTF-8"},
    };
    struct fixture *fixture = *state;
    struct board_scores scores;

    for (size_t i = 0; i < COUNT(rows); i++) {
        enum err err = read(fixture, str_from(rows[i].text), &scores);

        if (err != rows[i].err || !strstr(fixture->why.p, rows[i].why))
            fail_msg("%s: %s, %s", rows[i].text, err_text(err), fixture->why.p ? fixture->why.p : "");
    }
}

static void large_input_is_measured(void **state)
{
    struct fixture *fixture = *state;
    struct board_scores scores;
    struct buf text = {0};

    for (int count = 1000; count <= 1001; count++) {
        buf_clear(&text);
        buf_add_str(&text, STR("{\"scores\":["));
        for (int i = 0; i < count; i++)
            buf_printf(&text, "%s{\"member\":\"member-%d\",\"score\":%d}", i == 0 ? "" : ",", i, i);
        buf_add_str(&text, STR("]}"));
        assert_int_equal(read(fixture, buf_str(&text), &scores), count == 1000 ? ERR_OK : ERR_RANGE);
    }
    assert_non_null(strstr(fixture->why.p, "more than 1000"));
    for (size_t len = 256; len <= 1024; len += 768) {
        buf_clear(&text);
        buf_printf(&text, "{\"member\":\"%0*d\",\"score\":1}", (int)len, 7);
        assert_int_equal(read(fixture, buf_str(&text), &scores), len == 256 ? ERR_OK : ERR_RANGE);
    }
    assert_non_null(strstr(fixture->why.p, "at most 256 bytes; this one has 1024"));
    buf_clear(&text);
    buf_printf(&text, "{\"member\":\"a\",\"score\":1%0*d}", 399, 0);
    assert_int_equal(read(fixture, buf_str(&text), &scores), ERR_RANGE);
    buf_clear(&text);
    buf_add_str(&text, STR("{\"member\":\"a\",\"score\":1,\"mode\":"));
    for (int i = 0; i < 1000; i++)
        buf_add_char(&text, '[');
    assert_int_equal(read(fixture, buf_str(&text), &scores), ERR_LIMIT);
    assert_non_null(strstr(fixture->why.p, "nested deeper"));
    buf_free(&text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_score_goes_to_the_period_that_runs), TEST(a_period_is_known_by_its_first_day),
        TEST(only_boards_that_can_change_are_live), TEST(scores_are_read_alone_and_as_a_list),
        TEST(only_boards_that_can_change_are_live), TEST(two_to_the_53_is_a_score_however_it_is_written),
        TEST(what_is_wrong_with_scores_is_said),    TEST(large_input_is_measured),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
