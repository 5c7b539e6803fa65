/* What a URL would do, in each of the states that its entry can be in. */
#include "flow.h"

#include <stdio.h>

static void explain(struct flow *flow, const char *url)
{
    char target[256];

    snprintf(target, sizeof target, "/api/cache/explain?url=%s", url);
    if (flow_admin(flow, "GET", target, NULL) != 200)
        fail_msg("%s: %s", url, flow_body(flow));
}

static void expect_decision(struct flow *flow, const char *url, const char *decision)
{
    char member[256];

    explain(flow, url);
    snprintf(member, sizeof member, "\"decision\":\"%s\"", decision);
    flow_assert_body_has(flow, member);
}

static void the_decision_follows_the_entry(void **state)
{
    struct flow *flow = *state;

    expect_decision(flow, "/api/notes/1", "miss: run the statement");
    flow_assert_body_has(flow, "it was never filled, has ended, or was purged");
    assert_int_equal(flow_count_keys(flow), 0);
    flow_get(flow, "/api/notes/1");
    expect_decision(flow, "/api/notes/1", "hit L1");
    flow_assert_body_has(flow, "\"present\":true,\"state\":\"fresh\",\"status\":200");
    flow_pass(flow, 2 * 60 * 1000);
    expect_decision(flow, "/api/notes/1", "stale, refresh in the background");
    flow_assert_body_has(flow, "its time to live is over");
    flow_pass(flow, 20 * 60 * 1000);
    expect_decision(flow, "/api/notes/1", "miss: run the statement");
    flow_assert_body_has(flow, "it stands in should the statement fail");
    flow_get(flow, "/api/notes/1");
    flow_admin(flow, "POST", "/api/cache/invalidate", "{\"tag\":\"note:1\",\"soft\":true}");
    expect_decision(flow, "/api/notes/1", "stale, refresh in the background");
    flow_assert_body_has(flow, "it was purged softly");
    flow_admin(flow, "POST", "/api/cache/invalidate", "{\"tag\":\"note:1\"}");
    expect_decision(flow, "/api/notes/1", "miss: run the statement");
}

static void what_is_not_there_is_explained_too(void **state)
{
    struct flow *flow = *state;

    flow_get(flow, "/api/notes/99");
    expect_decision(flow, "/api/notes/99", "hit L1");
    flow_assert_body_has(flow, "that there is no such thing");
}

static void the_whole_way_is_told(void **state)
{
    struct flow *flow = *state;

    explain(flow, "/api/notes/2");
    flow_assert_body_has(flow, "\"resource\":{\"name\":\"note\",\"file\":\"");
    flow_assert_body_has(flow, "\"params\":{\"id\":2}");
    flow_assert_body_has(flow, "\"key\":\"notes:one:2\",\"tags\":[\"notes\",\"note:2\",\"resource:note\"],\"auth\":\"none\"");
    flow_assert_body_has(flow, "\"ttl\":60,\"stale\":600,\"stale_if_error\":3600,\"negative\":30");
    flow_assert_body_has(flow, "\"l1\":{\"present\":false,\"enabled\":true,\"trusted\":true}");
    flow_assert_body_has(flow, "\"readable\":true");
    flow_assert_body_has(flow, "\"breaker\":\"closed\"},\"lease\":{\"held\":false}");
    flow_assert_body_has(flow, "\"plan\":[\"SEARCH notes USING INTEGER PRIMARY KEY (rowid=?)\"]");
    explain(flow, "/api/notes%3Fstars=2");
    flow_assert_body_has(flow, "\"url\":\"/api/notes?stars=2\"");
    flow_assert_body_has(flow, "\"params\":{\"stars\":2}");
}

static void what_no_get_could_read_is_explained(void **state)
{
    static const struct {
        const char *url, *decision;
    } cases[] = {
        {"/api/nowhere", "404 no such route"},
        {"/api/notes/x", "400 parameter `id` must be"},
        {"/api/notes%3Fhow=1", "400 parameter `how` is unknown"},
        {"/api/cache/clear", "405 no GET here"},
        {"/healthz", "answered by larder itself"},
        {"/api/now", "bypass: ttl is 0"},
        {"/api/%25zz", "400 malformed path"},
        {"notes", "400 not a URL"},
    };
    struct flow *flow = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        explain(flow, cases[i].url);
        flow_assert_body_has(flow, cases[i].decision);
    }
    assert_int_equal(flow_count_keys(flow), 0);
}

static void it_is_for_admins_and_needs_a_url(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(flow_get(flow, "/api/cache/explain?url=/api/notes"), 401);
    flow_admin(flow, "GET", "/api/cache/explain", NULL);
    flow_assert_problem(flow, 400, "parameter `url` is missing");
    flow_admin(flow, "GET", "/api/cache/explain?url=/api/notes?stars=1&more=2", NULL);
    flow_assert_problem(flow, 400, "is written %26");
}

static void an_l2_that_is_away_is_said_to_be(void **state)
{
    struct flow *flow = *state;

    flow_stop_l2(flow);
    expect_decision(flow, "/api/notes/1", "miss: run the statement");
    flow_assert_body_has(flow, "L2 cannot be read at the moment");
    flow_assert_body_has(flow, "\"readable\":false");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, flow_setup_memory, flow_teardown)
#define ON_REDIS(name) cmocka_unit_test_setup_teardown(name, flow_setup_redis, flow_teardown)
    const struct CMUnitTest tests[] = {
        CASE(the_decision_follows_the_entry),       ON_REDIS(the_decision_follows_the_entry),
        CASE(what_is_not_there_is_explained_too),   CASE(the_whole_way_is_told),
        CASE(what_no_get_could_read_is_explained),  CASE(it_is_for_admins_and_needs_a_url),
        ON_REDIS(an_l2_that_is_away_is_said_to_be),
    };

    return cmocka_run_group_tests_name("flow_explain", tests, NULL, NULL);
}
