/* Leaderboards from a request to the database and back. */
#include "flow.h"

#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define SCORES(board) "/api/leaderboards/" board "/scores"

static int submit(struct flow *flow, const char *url, const char *body)
{
    return flow_admin(flow, "POST", url, body);
}

static void expect_submitted(struct flow *flow, const char *url, const char *body, const char *answer)
{
    if (submit(flow, url, body) != 200)
        fail_msg("%s", flow_body(flow));
    assert_string_equal(flow_body(flow), answer);
    assert_string_equal(flow_header(flow, "Cache-Control"), "no-store");
}

static void expect(struct flow *flow, const char *url, const char *answer)
{
    if (flow_get(flow, url) != 200)
        fail_msg("%s: %s", url, flow_body(flow));
    assert_string_equal(flow_body(flow), answer);
}

static void a_score_is_kept_by_the_mode_of_its_board_or_of_its_request(void **state)
{
    struct flow *flow = *state;

#define ONE(board, mode, score, changed)                                                                               \
    "{\"board\":\"" board "\",\"period\":null,\"mode\":\"" mode "\",\"scores\":[{\"member\":\"amy\",\"score\":" score  \
    ",\"changed\":" changed "}]}"
    expect_submitted(flow, SCORES("game"), "{\"member\":\"amy\",\"score\":7}", ONE("game", "best", "7", "true"));
    expect_submitted(flow, SCORES("game"), "{\"member\":\"amy\",\"score\":5}", ONE("game", "best", "7", "false"));
    expect_submitted(flow, SCORES("game"), "{\"member\":\"amy\",\"score\":7.25}", ONE("game", "best", "7.25", "true"));
    expect_submitted(flow, SCORES("game"), "{\"member\":\"amy\",\"score\":5,\"mode\":\"last\"}",
                     ONE("game", "last", "5", "true"));
    expect_submitted(flow, SCORES("game"), "{\"member\":\"amy\",\"score\":-6,\"mode\":\"sum\"}",
                     ONE("game", "sum", "-1", "true"));
    expect_submitted(flow, SCORES("total"), "{\"member\":\"amy\",\"score\":2}", ONE("total", "sum", "2", "true"));
    expect_submitted(flow, SCORES("total"), "{\"member\":\"amy\",\"score\":2}", ONE("total", "sum", "4", "true"));
    expect_submitted(flow, SCORES("total"), "{\"member\":\"amy\",\"score\":0}", ONE("total", "sum", "4", "false"));
    expect_submitted(flow, SCORES("momentum"), "{\"member\":\"amy\",\"score\":3}",
                     ONE("momentum", "last", "3", "true"));
    expect_submitted(flow, SCORES("momentum"), "{\"member\":\"amy\",\"score\":3}",
                     ONE("momentum", "last", "3", "false"));
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM larder_scores WHERE member = 'amy'"), 3);
}

static void many_scores_are_one_write(void **state)
{
    struct flow *flow = *state;

    expect_submitted(flow, SCORES("game"), "{\"member\":\"kim\",\"score\":4}",
                     "{\"board\":\"game\",\"period\":null,\"mode\":\"best\",\"scores\":["
                     "{\"member\":\"kim\",\"score\":4,\"changed\":true}]}");
    /* The one that was changed by the write right before this one has not been changed by it. */
    expect_submitted(
        flow, SCORES("game"),
        "{\"scores\":[{\"member\":\"zoe\",\"score\":1},{\"member\":\"kim\",\"score\":4},"
        "{\"score\":4,\"member\":\"amy \\\"x\\\"\"}]}",
        "{\"board\":\"game\",\"period\":null,\"mode\":\"best\",\"scores\":["
        "{\"member\":\"zoe\",\"score\":1,\"changed\":true},{\"member\":\"kim\",\"score\":4,\"changed\":false},"
        "{\"member\":\"amy \\\"x\\\"\",\"score\":4,\"changed\":true}]}");
    expect(flow, "/api/leaderboards/game/top",
           "{\"board\":\"game\",\"period\":null,\"members\":3,\"items\":[{\"rank\":1,\"member\":\"kim\",\"score\":4},"
           "{\"rank\":2,\"member\":\"amy "
           "\\\"x\\\"\",\"score\":4},{\"rank\":3,\"member\":\"zoe\",\"score\":1}],\"count\":3}");
    /* One that would be too large takes all others with it. */
    submit(flow, SCORES("total"), "{\"member\":\"kim\",\"score\":9007199254740990}");
    submit(flow, SCORES("total"), "{\"scores\":[{\"member\":\"zoe\",\"score\":1},{\"member\":\"kim\",\"score\":2}]}");
    flow_assert_problem(flow, 409, "2^53");
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM larder_scores WHERE board = 'total'"), 1);
    assert_int_equal(submit(flow, SCORES("total"), "{\"member\":\"kim\",\"score\":1}"), 200);
}

static void fill(struct flow *flow)
{
    assert_int_equal(
        submit(flow, SCORES("game"),
               "{\"scores\":[{\"member\":\"a\",\"score\":50},{\"member\":\"b\",\"score\":40},"
               "{\"member\":\"c\",\"score\":30},{\"member\":\"d\",\"score\":30},{\"member\":\"e\",\"score\":10}]}"),
        200);
}

#define HEAD "{\"board\":\"game\",\"period\":null,"

static void a_member_has_rank_percentile_and_neighbours(void **state)
{
    struct flow *flow = *state;

    fill(flow);
    expect(flow, "/api/leaderboards/game/a",
           HEAD "\"member\":\"a\",\"rank\":1,\"score\":50,\"percentile\":100,\"members\":5}");
    expect(flow, "/api/leaderboards/game/d",
           HEAD "\"member\":\"d\",\"rank\":4,\"score\":30,\"percentile\":25,\"members\":5}");
    expect(flow, "/api/leaderboards/game/e",
           HEAD "\"member\":\"e\",\"rank\":5,\"score\":10,\"percentile\":0,\"members\":5}");
#define A "{\"rank\":1,\"member\":\"a\",\"score\":50}"
#define B "{\"rank\":2,\"member\":\"b\",\"score\":40}"
#define C "{\"rank\":3,\"member\":\"c\",\"score\":30}"
#define D "{\"rank\":4,\"member\":\"d\",\"score\":30}"
#define E "{\"rank\":5,\"member\":\"e\",\"score\":10}"
    expect(flow, "/api/leaderboards/game/c/around?range=1",
           HEAD "\"member\":\"c\",\"rank\":3,\"members\":5,\"items\":[" B "," C "," D "],\"count\":3}");
    expect(flow, "/api/leaderboards/game/a/around?range=2",
           HEAD "\"member\":\"a\",\"rank\":1,\"members\":5,\"items\":[" A "," B "," C "],\"count\":3}");
    expect(flow, "/api/leaderboards/game/e/around",
           HEAD "\"member\":\"e\",\"rank\":5,\"members\":5,\"items\":[" A "," B "," C "," D "," E "],\"count\":5}");
    expect(flow, "/api/leaderboards/game/top?limit=2&offset=1",
           HEAD "\"members\":5,\"items\":[" B "," C "],\"count\":2}");
    expect(flow, "/api/leaderboards/game/top?limit=2&offset=9", HEAD "\"members\":5,\"items\":[],\"count\":0}");
    expect(flow, "/api/leaderboards/game/top?limit=1&around=d",
           HEAD "\"member\":\"d\",\"rank\":4,\"members\":5,\"items\":[" D "],\"count\":1}");
    expect(flow, "/api/leaderboards/game/top?limit=2&around=d",
           HEAD "\"member\":\"d\",\"rank\":4,\"members\":5,\"items\":[" D "," E "],\"count\":2}");
    expect(flow, "/api/leaderboards/game/top?limit=3&around=b",
           HEAD "\"member\":\"b\",\"rank\":2,\"members\":5,\"items\":[" A "," B "," C "],\"count\":3}");
    expect(flow, "/api/leaderboards/game/top?limit=4&around=a",
           HEAD "\"member\":\"a\",\"rank\":1,\"members\":5,\"items\":[" A "," B "," C "],\"count\":3}");
    expect(flow, "/api/leaderboards/total/top",
           "{\"board\":\"total\",\"period\":null,\"members\":0,\"items\":[],\"count\":0}");
}

static void an_answer_says_where_it_came_from_and_can_be_asked_for_again(void **state)
{
    struct flow *flow = *state;
    char etag[64];

    fill(flow);
    assert_int_equal(flow_get(flow, "/api/leaderboards/game/a"), 200);
    flow_assert_cache(flow, "BYPASS");
    assert_string_equal(flow_header(flow, "Cache-Status"), "larder; fwd=bypass; detail=origin");
    assert_string_equal(flow_header(flow, "Cache-Control"), "no-cache");
    assert_true(flow_was_handed_over(flow));
    snprintf(etag, sizeof etag, "%s", flow_header(flow, "ETag"));
    assert_int_equal(flow_ask(flow, &(struct flow_request){.url = "/api/leaderboards/game/a", .if_none_match = etag}),
                     304);
    submit(flow, SCORES("game"), "{\"member\":\"a\",\"score\":51}");
    assert_int_equal(flow_ask(flow, &(struct flow_request){.url = "/api/leaderboards/game/a", .if_none_match = etag}),
                     200);
    assert_int_equal(flow_ask(flow, &(struct flow_request){.method = "HEAD", .url = "/api/leaderboards/game/a"}), 200);
}

static void a_member_may_be_called_anything_that_a_path_can_say(void **state)
{
    static const struct {
        const char *json, *path;
    } rows[] = {{"top", "top"},       {"scores", "scores"},     {"periods", "periods"}, {"Zo\xc3\xab", "Zo%C3%AB"},
                {"a b", "a%20b"},     {"a/b", "a%2Fb"},         {"a/b/c", "a/b/c"},     {"50%", "50%25"},
                {"around", "around"}, {"'; --", "%27%3B%20--"}, {"a?b#c", "a%3Fb%23c"}};
    struct flow *flow = *state;
    char url[256], body[256];

    for (size_t i = 0; i < COUNT(rows); i++) {
        snprintf(body, sizeof body, "{\"member\":\"%s\",\"score\":%zu}", rows[i].json, i);
        if (submit(flow, SCORES("game"), body) != 200)
            fail_msg("%s: %s", body, flow_body(flow));
        snprintf(body, sizeof body, "\"member\":\"%s\",\"rank\":1,", rows[i].json);
        snprintf(url, sizeof url, "/api/leaderboards/game/top?around=%s", rows[i].path);
        assert_int_equal(flow_get(flow, url), 200);
        flow_assert_body_has(flow, body);
        /* These two are routes, for GET. */
        if (i != 0 && i != 2) {
            snprintf(url, sizeof url, "/api/leaderboards/game/%s", rows[i].path);
            assert_int_equal(flow_get(flow, url), 200);
            flow_assert_body_has(flow, body);
        }
        if (!strchr(rows[i].json, '/')) {
            snprintf(url, sizeof url, "/api/leaderboards/game/%s/around", rows[i].path);
            assert_int_equal(flow_get(flow, url), 200);
            flow_assert_body_has(flow, body);
        }
        snprintf(url, sizeof url, "/api/leaderboards/game/%s", rows[i].path);
        assert_int_equal(flow_admin(flow, "DELETE", url, NULL), 200);
        assert_int_equal(flow_integer(flow, "SELECT count(*) FROM larder_scores WHERE board = 'game'"), 0);
    }
}

static void a_member_that_leaves_is_gone_at_once(void **state)
{
    struct flow *flow = *state;

    fill(flow);
    assert_int_equal(flow_admin(flow, "DELETE", "/api/leaderboards/game/b", NULL), 200);
    assert_string_equal(flow_body(flow),
                        "{\"board\":\"game\",\"period\":null,\"removed\":{\"member\":\"b\",\"score\":40}}");
    flow_get(flow, "/api/leaderboards/game/b");
    flow_assert_problem(flow, 404, "no score on the board `game`");
    flow_get(flow, "/api/leaderboards/game/b/around");
    flow_assert_problem(flow, 404, "no score");
    flow_get(flow, "/api/leaderboards/game/top?around=b");
    flow_assert_problem(flow, 404, "no score");
    expect(flow, "/api/leaderboards/game/c",
           HEAD "\"member\":\"c\",\"rank\":2,\"score\":30,\"percentile\":66.6666,\"members\":4}");
    flow_admin(flow, "DELETE", "/api/leaderboards/game/b", NULL);
    flow_assert_problem(flow, 404, "nothing was removed");
}

static void what_another_program_writes_is_on_the_board(void **state)
{
    struct flow *flow = *state;

    fill(flow);
    flow_execute(flow, "UPDATE larder_scores SET score = 60 WHERE board = 'game' AND member = 'e';"
                       "DELETE FROM larder_scores WHERE board = 'game' AND member = 'a'");
    expect(flow, "/api/leaderboards/game/top?limit=1",
           HEAD "\"members\":4,\"items\":[{\"rank\":1,\"member\":\"e\",\"score\":60}],\"count\":1}");
}

static void the_stock_boards_are_boards(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(flow_admin(flow, "PUT", "/api/stocks/AAA",
                                "{\"name\":\"A\",\"sector\":\"S\",\"price\":50,\"week_52_low\":0,\"week_52_high\":100,"
                                "\"earnings_share\":5}"),
                     200);
    expect(flow, "/api/leaderboards/momentum/AAA",
           "{\"board\":\"momentum\",\"period\":null,\"member\":\"AAA\",\"rank\":1,\"score\":50,\"percentile\":100,"
           "\"members\":1}");
    assert_int_equal(flow_admin(flow, "PUT", "/api/stocks/AAA", "{\"name\":\"A\",\"sector\":\"S\",\"price\":50}"), 200);
    assert_int_equal(flow_get(flow, "/api/leaderboards/momentum/AAA"), 404);
    assert_int_equal(flow_get(flow, "/api/leaderboards/value/AAA"), 404);
}

#define DAY_MS INT64_C(86400000)

static void a_board_begins_anew_with_each_period_and_the_old_one_stays(void **state)
{
    struct flow *flow = *state;

    /* The clock of flow tests stands at 2023-11-14T22:13:20Z. */
    expect_submitted(flow, SCORES("days"), "{\"member\":\"amy\",\"score\":7}",
                     "{\"board\":\"days\",\"period\":\"2023-11-14\",\"mode\":\"best\",\"scores\":["
                     "{\"member\":\"amy\",\"score\":7,\"changed\":true}]}");
    flow_pass(flow, DAY_MS);
    assert_int_equal(flow_get(flow, "/api/leaderboards/days/amy"), 404);
    flow_assert_problem(flow, 404, "in the period of 2023-11-15");
    assert_int_equal(submit(flow, SCORES("days"), "{\"member\":\"amy\",\"score\":3}"), 200);
    expect(flow, "/api/leaderboards/days/amy?period=2023-11-14",
           "{\"board\":\"days\",\"period\":\"2023-11-14\",\"member\":\"amy\",\"rank\":1,\"score\":7,\"percentile\":100,"
           "\"members\":1}");
    expect(flow, "/api/leaderboards/days/top",
           "{\"board\":\"days\",\"period\":\"2023-11-15\",\"members\":1,\"items\":[{\"rank\":1,\"member\":\"amy\","
           "\"score\":3}],\"count\":1}");
    expect(flow, "/api/leaderboards/days/amy/around?period=2023-11-15",
           "{\"board\":\"days\",\"period\":\"2023-11-15\",\"member\":\"amy\",\"rank\":1,\"members\":1,\"items\":["
           "{\"rank\":1,\"member\":\"amy\",\"score\":3}],\"count\":1}");
    expect(flow, "/api/leaderboards/days/periods",
           "{\"board\":\"days\",\"items\":[{\"period\":\"2023-11-15\",\"members\":1,\"current\":true},"
           "{\"period\":\"2023-11-14\",\"members\":1,\"current\":false}],\"count\":2}");
    expect(flow, "/api/leaderboards/days/periods?limit=1&offset=1",
           "{\"board\":\"days\",\"items\":[{\"period\":\"2023-11-14\",\"members\":1,\"current\":false}],\"count\":1}");
    expect(flow, "/api/leaderboards/game/periods", "{\"board\":\"game\",\"items\":[],\"count\":0}");
}

static void a_season_ends_where_the_next_begins(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(submit(flow, SCORES("league"), "{\"member\":\"amy\",\"score\":7}"), 200);
    flow_pass(flow, 2 * 3600 * 1000);
    assert_int_equal(submit(flow, SCORES("league"), "{\"member\":\"amy\",\"score\":1}"), 200);
    flow_assert_body_has(flow, "\"period\":\"2023-11-15\"");
    assert_int_equal(flow_integer(flow, "SELECT score FROM larder_scores WHERE board = 'league@2023-01-01'"), 7);
    submit(flow, SCORES("future"), "{\"member\":\"amy\",\"score\":1}");
    flow_assert_problem(flow, 409, "its first season begins on 2030-01-01");
    flow_get(flow, "/api/leaderboards/future/top");
    flow_assert_problem(flow, 409, "2030-01-01");
    flow_admin(flow, "DELETE", "/api/leaderboards/future/amy", NULL);
    flow_assert_problem(flow, 409, "2030-01-01");
    expect(flow, "/api/leaderboards/future/periods", "{\"board\":\"future\",\"items\":[],\"count\":0}");
}

static void what_is_kept_of_a_period_that_was_configured_once_can_be_read(void **state)
{
    /* A board that was by day and is by season, and one that has no periods any more. */
    static const char *const boards[] = {"league", "game"};
    struct flow *flow = *state;
    char url[128], text[256];

    for (size_t i = 0; i < COUNT(boards); i++) {
        snprintf(text, sizeof text,
                 "INSERT INTO larder_scores (board, member, score) VALUES ('%s@2023-11-08', 'amy', 7)", boards[i]);
        flow_execute(flow, text);
        snprintf(url, sizeof url, "/api/leaderboards/%s/periods", boards[i]);
        assert_int_equal(flow_get(flow, url), 200);
        flow_assert_body_has(flow, "{\"period\":\"2023-11-08\",\"members\":1,\"current\":false}");
        snprintf(url, sizeof url, "/api/leaderboards/%s/amy?period=2023-11-08", boards[i]);
        snprintf(text, sizeof text,
                 "{\"board\":\"%s\",\"period\":\"2023-11-08\",\"member\":\"amy\",\"rank\":1,\"score\":7,"
                 "\"percentile\":100,\"members\":1}",
                 boards[i]);
        expect(flow, url, text);
        snprintf(url, sizeof url, "/api/leaderboards/%s/kim?period=2023-11-08", boards[i]);
        flow_get(flow, url);
        flow_assert_problem(flow, 404, "no score");
    }
    /* Nothing is kept of these. */
    flow_get(flow, "/api/leaderboards/league/amy?period=2023-11-09");
    flow_assert_problem(flow, 400, "the one of 2023-01-01");
    flow_get(flow, "/api/leaderboards/game/top?period=2023-11-09");
    flow_assert_problem(flow, 404, "has no periods");
    flow_get(flow, "/api/leaderboards/game/top?period=2023-11-15");
    flow_assert_problem(flow, 404, "has no periods");
}

static void the_boards_are_listed_with_their_periods(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(flow_get(flow, "/api/leaderboards"), 200);
    flow_assert_body_has(flow,
                         "{\"board\":\"game\",\"doc\":\"\",\"mode\":\"best\",\"period\":\"none\",\"current\":null}");
    flow_assert_body_has(
        flow, "{\"board\":\"days\",\"doc\":\"\",\"mode\":\"best\",\"period\":\"daily\",\"current\":\"2023-11-14\"}");
    flow_assert_body_has(flow, "\"period\":\"season\",\"current\":\"2023-01-01\"}");
    flow_assert_body_has(
        flow, "{\"board\":\"future\",\"doc\":\"\",\"mode\":\"best\",\"period\":\"season\",\"current\":null}");
    flow_assert_body_has(flow, "\"count\":7}");
    assert_false(flow_was_handed_over(flow));
}

static void a_request_that_will_not_do_is_refused_and_writes_nothing(void **state)
{
#define M1K "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define MANY M1K M1K M1K M1K "x"
    static const struct {
        const char *method, *url, *body;
        int status;
        const char *named;
    } table[] = {
        {"POST", SCORES("nope"), "{\"member\":\"a\",\"score\":1}", 404, "no board `nope`"},
        {"POST", SCORES("game@2023-11-14"), "{\"member\":\"a\",\"score\":1}", 404, "no board"},
        {"POST", SCORES("game"), NULL, 415, "application/json"},
        {"POST", SCORES("game"), "", 400, "no JSON object"},
        {"POST", SCORES("game"), "{\"member\":\"a\",\"score\":NaN}", 400, "is no JSON"},
        {"POST", SCORES("game"), "{\"member\":\"a\",\"score\":-Infinity}", 400, "is no JSON"},
        {"POST", SCORES("game"), "{\"member\":\"a\",\"score\":1e999}", 422, "2^53"},
        {"POST", SCORES("game"), "{\"member\":\"a\",\"score\":9007199254740993.5}", 422, "2^53"},
        {"POST", SCORES("game"), "{\"member\":\"a\",\"score\":\"1\"}", 422, "`score` that is no number"},
        {"POST", SCORES("game"), "{\"member\":\"a\"}", 422, "no `score`"},
        {"POST", SCORES("game"), "{\"score\":1}", 422, "no `member`"},
        {"POST", SCORES("game"), "{\"scores\":[]}", 422, "no scores"},
        {"POST", SCORES("game"), "{\"scores\":[{\"member\":\"a\",\"score\":1},{\"member\":\"a\",\"score\":1}]}", 422,
         "more than one score"},
        {"POST", SCORES("game"), "{\"scores\":[{\"member\":\"a\",\"score\":1}],\"member\":\"b\"}", 422, "both"},
        {"POST", SCORES("game"), "{\"member\":\"a\",\"member\":\"b\",\"score\":1}", 400, "given before"},
        {"POST", SCORES("game"), "{\"member\":\"" MANY "\",\"score\":1}", 422, "at most 256 bytes"},
        {"POST", SCORES("game"), "{\"member\":\"\",\"score\":1}", 422, "1 to 256 bytes"},
        {"POST", SCORES("game"), "{\"member\":\"a\\u0007\",\"score\":1}", 422, "control"},
        {"POST", SCORES("game"), "{\"member\":\"\xc3\x28\",\"score\":1}", 400, "UTF-8"},
        {"POST", SCORES("game"), "{\"member\":\"a\",\"score\":1,\"mode\":\"worst\"}", 422, "`mode`"},
        {"POST", SCORES("game") "?period=2023-11-14", "{\"member\":\"a\",\"score\":1}", 400, "`period`"},
        {"GET", "/api/leaderboards/nope/top", NULL, 404, "no board `nope`"},
        {"GET", "/api/leaderboards/nope/a", NULL, 404, "no board"},
        {"GET", "/api/leaderboards/nope/a/around", NULL, 404, "no board"},
        {"GET", "/api/leaderboards/nope/periods", NULL, 404, "no board"},
        {"GET", "/api/leaderboards/game/nobody", NULL, 404, "no score"},
        {"GET", "/api/leaderboards/game/top?limit=0", NULL, 400, "`limit`"},
        {"GET", "/api/leaderboards/game/top?limit=1001", NULL, 400, "`limit`"},
        {"GET", "/api/leaderboards/game/top?offset=-1", NULL, 400, "`offset`"},
        {"GET", "/api/leaderboards/game/top?offset=1&around=a", NULL, 400, "exclude"},
        {"GET", "/api/leaderboards/game/top?around=", NULL, 400, "1 to 256 bytes"},
        {"GET", "/api/leaderboards/game/top?colour=red", NULL, 400, "`colour`"},
        {"GET", "/api/leaderboards/game/a?limit=1", NULL, 400, "`limit`"},
        {"GET", "/api/leaderboards/game/a/around?range=0", NULL, 400, "`range`"},
        {"GET", "/api/leaderboards/game/a/around?range=101", NULL, 400, "`range`"},
        {"GET", "/api/leaderboards/game/" MANY, NULL, 400, "at most 256 bytes"},
        {"GET", "/api/leaderboards/game/%ff", NULL, 400, "UTF-8"},
        {"GET", "/api/leaderboards/game/a%00", NULL, 400, "control"},
        {"GET", "/api/leaderboards/days/top?period=2023-11-31", NULL, 400, "`period`"},
        {"GET", "/api/leaderboards/days/top?period=tomorrow", NULL, 400, "`period`"},
        {"GET", "/api/leaderboards/days/top?period=2023-11-15", NULL, 404, "no such period"},
        {"GET", "/api/leaderboards/days/top?period=2023-11-13", NULL, 404, "No scores are kept"},
        {"GET", "/api/leaderboards/game/top?period=2023-11-13", NULL, 404, "has no periods"},
        {"GET", "/api/leaderboards/days/periods?limit=0", NULL, 400, "`limit`"},
        {"GET", "/api/leaderboards?limit=1", NULL, 400, "`limit`"},
        {"PUT", "/api/leaderboards/game/top", "{}", 405, "does not take"},
        {"DELETE", "/api/leaderboards/nope/a", NULL, 404, "no board"},
        {"DELETE", "/api/leaderboards/game/a?period=2023-11-14", NULL, 400, "`period`"},
        {"DELETE", "/api/leaderboards/game/" MANY, NULL, 400, "at most 256 bytes"},
        {"PURGE", "/api/leaderboards/game/top", NULL, 404, "nothing to purge"},
    };
    struct flow *flow = *state;

    for (size_t i = 0; i < COUNT(table); i++) {
        flow_admin(flow, table[i].method, table[i].url, table[i].body);
        flow_assert_problem(flow, table[i].status, table[i].named);
    }
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM larder_scores"), 0);
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM larder_score_log"), 0);
}

static void writing_needs_a_token_and_reading_none(void **state)
{
    struct flow *flow = *state;
    const char *body = "{\"member\":\"a\",\"score\":1}";

    assert_int_equal(flow_ask(flow, &(struct flow_request){.method = "POST", .url = SCORES("game"), .body = body}),
                     401);
    assert_int_equal(flow_ask(flow, &(struct flow_request){.method = "DELETE", .url = "/api/leaderboards/game/a"}),
                     401);
    assert_int_equal(flow_get(flow, "/api/leaderboards/game/top"), 200);
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM larder_scores"), 0);
    flow_ask(
        flow,
        &(struct flow_request){
            .method = "POST", .url = SCORES("game"), .body = body, .token = FLOW_TOKEN, .content_type = "text/plain"});
    flow_assert_problem(flow, 415, "application/json");
}

static void without_writer_or_database_the_answer_says_so(void **state)
{
    struct flow *flow = *state;

    fill(flow);
    flow_stop_writer(flow);
    assert_int_equal(flow_get(flow, "/api/leaderboards/game/a"), 200);
    submit(flow, SCORES("game"), "{\"member\":\"a\",\"score\":99}");
    flow_assert_problem(flow, 503, "Nothing was written");
    assert_non_null(flow_header(flow, "Retry-After"));
    flow_damage_database(flow);
    flow_reopen(flow);
    flow_get(flow, "/api/leaderboards/game/a");
    flow_assert_problem(flow, 503, "cannot be read");
    flow_get(flow, "/api/leaderboards/days/periods");
    flow_assert_problem(flow, 503, "cannot be read");
}

static const char *source(struct flow *flow)
{
    return strstr(flow_header(flow, "Cache-Status"), "detail=") + 7;
}

static void what_redis_has_been_told_comes_from_there_without_the_pool(void **state)
{
    struct flow *flow = *state;

    flow_keep_house(flow);
    fill(flow);
    flow_keep_house(flow);
    expect(flow, "/api/leaderboards/game/d",
           HEAD "\"member\":\"d\",\"rank\":4,\"score\":30,\"percentile\":25,\"members\":5}");
    assert_string_equal(source(flow), "L2");
    flow_assert_cache(flow, "HIT");
    assert_true(flow_waited(flow) && !flow_was_handed_over(flow));
    expect(flow, "/api/leaderboards/game/top?limit=3&around=b",
           HEAD "\"member\":\"b\",\"rank\":2,\"members\":5,\"items\":[" A "," B "," C "],\"count\":3}");
    assert_string_equal(source(flow), "L2");
    /* A submission is in Redis before it is answered, without anybody's help. */
    for (int score = 60; score < 70; score++) {
        char body[64];

        snprintf(body, sizeof body, "{\"member\":\"e\",\"score\":%d}", score);
        assert_int_equal(submit(flow, SCORES("game"), body), 200);
        assert_int_equal(flow_get(flow, "/api/leaderboards/game/e"), 200);
        assert_string_equal(source(flow), "L2");
        snprintf(body, sizeof body, "\"rank\":1,\"score\":%d,", score);
        flow_assert_body_has(flow, body);
    }
    flow_get(flow, "/api/leaderboards/game/nobody");
    flow_assert_problem(flow, 404, "no score");
    assert_false(flow_was_handed_over(flow));
}

static void what_redis_has_not_been_told_comes_from_the_database(void **state)
{
    struct flow *flow = *state;

    fill(flow);
    flow_keep_house(flow);
    /* Any write but a submission may have changed scores: the copies must have followed it. */
    assert_int_equal(flow_admin(flow, "DELETE", "/api/leaderboards/game/a", NULL), 200);
    assert_int_equal(flow_get(flow, "/api/leaderboards/game/b"), 200);
    flow_assert_body_has(flow, "\"rank\":1,");
    assert_string_equal(source(flow), "origin");
    flow_assert_cache(flow, "MISS");
    flow_keep_house(flow);
    assert_int_equal(flow_get(flow, "/api/leaderboards/game/b"), 200);
    flow_assert_body_has(flow, "\"rank\":1,");
    assert_string_equal(source(flow), "L2");
    /* Nor is it asked while it is away. */
    flow_stop_l2(flow);
    assert_int_equal(submit(flow, SCORES("game"), "{\"member\":\"e\",\"score\":99}"), 200);
    assert_int_equal(flow_get(flow, "/api/leaderboards/game/e"), 200);
    flow_assert_body_has(flow, "\"rank\":1,");
    assert_string_equal(source(flow), "origin");
    flow_start_l2(flow);
    assert_int_equal(flow_get(flow, "/api/leaderboards/game/e"), 200);
    flow_assert_body_has(flow, "\"rank\":1,");
}

#define REDIS(name) cmocka_unit_test_setup_teardown(name, flow_setup_redis, flow_teardown)
#define TEST(name) cmocka_unit_test_setup_teardown(name, flow_setup_memory, flow_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_score_is_kept_by_the_mode_of_its_board_or_of_its_request),
        TEST(many_scores_are_one_write),
        TEST(a_member_has_rank_percentile_and_neighbours),
        TEST(an_answer_says_where_it_came_from_and_can_be_asked_for_again),
        TEST(a_member_may_be_called_anything_that_a_path_can_say),
        TEST(a_member_that_leaves_is_gone_at_once),
        TEST(what_another_program_writes_is_on_the_board),
        TEST(the_stock_boards_are_boards),
        TEST(a_board_begins_anew_with_each_period_and_the_old_one_stays),
        TEST(a_season_ends_where_the_next_begins),
        TEST(what_is_kept_of_a_period_that_was_configured_once_can_be_read),
        TEST(the_boards_are_listed_with_their_periods),
        TEST(a_request_that_will_not_do_is_refused_and_writes_nothing),
        TEST(writing_needs_a_token_and_reading_none),
        TEST(without_writer_or_database_the_answer_says_so),
        REDIS(a_score_is_kept_by_the_mode_of_its_board_or_of_its_request),
        REDIS(many_scores_are_one_write),
        REDIS(a_member_has_rank_percentile_and_neighbours),
        REDIS(a_member_may_be_called_anything_that_a_path_can_say),
        REDIS(a_member_that_leaves_is_gone_at_once),
        REDIS(what_redis_has_been_told_comes_from_there_without_the_pool),
        REDIS(what_redis_has_not_been_told_comes_from_the_database),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
