/* Filling the cache ahead of demand: by URLs, and by what resources name themselves. */
#include "flow.h"

#include <stdio.h>

static void warm(struct flow *flow, const char *body, const char *expected)
{
    if (flow_admin(flow, "POST", "/api/cache/warm", body) != 200 || strcmp(flow_body(flow), expected) != 0)
        fail_msg("%s", flow_body(flow));
}

static void what_is_warmed_is_a_hit(void **state)
{
    struct flow *flow = *state;

    warm(flow, "{\"urls\":[\"/api/notes/1\",\"/api/notes?stars=2\",\"/api/notes/1\"]}",
         "{\"warmed\":2,\"present\":1,\"failed\":[],\"failed_count\":0,\"rest\":0}");
    assert_int_equal(flow_count_keys(flow), 2);
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    flow_assert_cache(flow, "HIT");
    assert_int_equal(flow_get(flow, "/api/notes?stars=2"), 200);
    flow_assert_cache(flow, "HIT");
    warm(flow, "{\"urls\":[\"/api/notes/1\"]}",
         "{\"warmed\":0,\"present\":1,\"failed\":[],\"failed_count\":0,\"rest\":0}");
}

static void what_is_not_there_is_kept_as_that(void **state)
{
    struct flow *flow = *state;

    warm(flow, "{\"urls\":[\"/api/notes/99\"]}",
         "{\"warmed\":1,\"present\":0,\"failed\":[],\"failed_count\":0,\"rest\":0}");
    assert_int_equal(flow_get(flow, "/api/notes/99"), 404);
    flow_assert_cache(flow, "NEGATIVE");
}

static void what_failed_is_told_with_its_reason(void **state)
{
    static const struct {
        const char *url, *status, *detail;
    } cases[] = {
        {"/api/nowhere", "404", "Nothing is at this path"},
        {"/api/cache/status", "404", "is not cached"},
        {"/api/cache/clear", "404", "Nothing is at this path"},
        {"/api/now", "404", "is not cached"},
        {"/api/me", "404", "depends on who asks"},
        {"/api/notes/x", "400", "parameter `id` must be"},
        {"/api/notes/1?more=1", "400", "parameter `more` is unknown"},
        {"/api/slow", "503", "did not answer in time"},
        {"notes", "400", "neither a path nor an http URL"},
        {"", "404", "Nothing is at this path"},
    };
    struct flow *flow = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[128], status[32];

        snprintf(body, sizeof body, "{\"urls\":[\"%s\"]}", cases[i].url);
        snprintf(status, sizeof status, "\"status\":%s", cases[i].status);
        assert_int_equal(flow_admin(flow, "POST", "/api/cache/warm", body), 200);
        flow_assert_body_has(flow, "\"warmed\":0,\"present\":0");
        flow_assert_body_has(flow, "\"failed_count\":1");
        flow_assert_body_has(flow, status);
        flow_assert_body_has(flow, cases[i].detail);
    }
    assert_int_equal(flow_count_keys(flow), 0);
}

static void one_that_fails_leaves_those_behind_it_alone(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(flow_admin(flow, "POST", "/api/cache/warm",
                                "{\"urls\":[\"/api/notes/1?more=1\",\"/api/notes/1\",\"/api/notes/2\",\"/api/notes/3\","
                                "\"/api/notes?stars=1\",\"/api/notes/x\",\"/api/notes?stars=2\"]}"),
                     200);
    flow_assert_body_has(flow, "{\"warmed\":5,\"present\":0,");
    flow_assert_body_has(flow, "\"failed_count\":2,\"rest\":0");
}

static void only_the_first_failures_are_told_one_by_one(void **state)
{
    struct flow *flow = *state;
    struct buf body = {0};
    size_t told = 0;

    for (int i = 0; i < 30; i++)
        buf_printf(&body, "%s\"/api/nowhere/%d\"", i == 0 ? "{\"urls\":[" : ",", i);
    buf_add_str(&body, STR("]}"));
    assert_int_equal(flow_admin(flow, "POST", "/api/cache/warm", body.p), 200);
    flow_assert_body_has(flow, "\"failed_count\":30");
    for (const char *at = flow_body(flow); (at = strstr(at, "\"url\"")); at++)
        told++;
    assert_int_equal(told, 20);
    buf_free(&body);
}

static void nothing_is_warmed_that_the_caller_may_not_read(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(flow_ask(flow, &(struct flow_request){.method = "POST", .url = "/api/cache/warm"}), 401);
    warm(flow, "{\"urls\":[\"/api/secret\"]}",
         "{\"warmed\":1,\"present\":0,\"failed\":[],\"failed_count\":0,\"rest\":0}");
    assert_int_equal(flow_get(flow, "/api/secret"), 401);
}

static void a_warm_line_names_what_is_filled(void **state)
{
    struct flow *flow = *state;

    warm(flow, "{\"resource\":\"note\"}", "{\"warmed\":3,\"present\":0,\"failed\":[],\"failed_count\":0,\"rest\":0}");
    assert_int_equal(flow_count_keys(flow), 3);
    assert_int_equal(flow_get(flow, "/api/notes/3"), 200);
    flow_assert_cache(flow, "HIT");
    warm(flow, NULL, "{\"warmed\":0,\"present\":3,\"failed\":[],\"failed_count\":0,\"rest\":0}");
    assert_int_equal(flow_admin(flow, "POST", "/api/cache/clear", NULL), 200);
    warm(flow, "{}", "{\"warmed\":3,\"present\":0,\"failed\":[],\"failed_count\":0,\"rest\":0}");
}

static void a_warm_line_that_fails_says_so(void **state)
{
    struct flow *flow = *state;

    flow_execute(flow, "ALTER TABLE notes RENAME TO memos");
    assert_int_equal(flow_admin(flow, "POST", "/api/cache/warm", NULL), 200);
    flow_assert_body_has(flow, "\"url\":\"/api/notes/{id}\",\"status\":503");
    flow_assert_body_has(flow, "\"failed_count\":1,\"rest\":0");
}

static void what_cannot_be_meant_is_refused(void **state)
{
    static const struct {
        const char *body, *detail;
        int status;
    } cases[] = {
        {"{\"urls\":[]}", "`urls` must be an array of 1 to 1000", 422},
        {"{\"urls\":\"/api/notes\"}", "`urls` must be an array", 422},
        {"{\"urls\":[1]}", "`urls` must be an array", 422},
        {"{\"url\":\"/api/notes\"}", "Say `urls` or `resource`", 422},
        {"{\"urls\":[\"/a\"],\"resource\":\"note\"}", "Say `urls` or `resource`", 422},
        {"{\"resource\":\"nobody\"}", "no resource of this name", 422},
        {"{\"resource\":\"notes\"}", "has no `warm:` line", 422},
        {"{\"resource\":1}", "must be the name of a resource", 422},
        {"{\"urls\":", "The body", 400},
    };
    struct flow *flow = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        flow_admin(flow, "POST", "/api/cache/warm", cases[i].body);
        flow_assert_problem(flow, cases[i].status, cases[i].detail);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, flow_setup_memory, flow_teardown)
#define ON_REDIS(name) cmocka_unit_test_setup_teardown(name, flow_setup_redis, flow_teardown)
    const struct CMUnitTest tests[] = {
        CASE(what_is_warmed_is_a_hit),
        ON_REDIS(what_is_warmed_is_a_hit),
        CASE(what_is_not_there_is_kept_as_that),
        CASE(what_failed_is_told_with_its_reason),
        CASE(one_that_fails_leaves_those_behind_it_alone),
        CASE(only_the_first_failures_are_told_one_by_one),
        CASE(nothing_is_warmed_that_the_caller_may_not_read),
        CASE(a_warm_line_names_what_is_filled),
        ON_REDIS(a_warm_line_names_what_is_filled),
        CASE(a_warm_line_that_fails_says_so),
        CASE(what_cannot_be_meant_is_refused),
    };

    return cmocka_run_group_tests_name("flow_warm", tests, NULL, NULL);
}
