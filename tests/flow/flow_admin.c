/* Looking into the cache and removing from it; health, readiness and counters. */
#include "flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* Fills a few entries: stocks:detail:AAPL, notes:one:1, notes:one:2, notes:list:HASH. */
static void warm(struct flow *flow)
{
    static const char *const urls[] = {"/api/stocks/AAPL", "/api/notes/1", "/api/notes/2", "/api/notes"};

    for (size_t i = 0; i < COUNT(urls); i++)
        assert_int_equal(flow_get(flow, urls[i]), 200);
}

static int invalidate(struct flow *flow, const char *body)
{
    return flow_admin(flow, "POST", "/api/cache/invalidate", body);
}

/* A purge by pattern was answered: at once with the number, or with a job that comes to it. */
static void assert_removed(struct flow *flow, int expected)
{
    char text[64], url[96];
    const char *job = strstr(flow_body(flow), "\"job\":");

    snprintf(text, sizeof text, "\"removed\":%d", expected);
    if (!job || !strstr(flow_body(flow), "\"removed\":null")) {
        flow_assert_body_has(flow, text);
        return;
    }
    snprintf(url, sizeof url, "/api/cache/jobs/%.*s", (int)strspn(job + 6, "0123456789"), job + 6);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(flow_admin(flow, "GET", url, NULL), 200);
        if (strstr(flow_body(flow), "\"state\":\"done\""))
            break;
        flow_keep_house(flow);
    }
    flow_assert_body_has(flow, "\"state\":\"done\"");
    flow_assert_body_has(flow, text);
}

static void assert_next(struct flow *flow, const char *url, const char *outcome)
{
    flow_get(flow, url);
    flow_assert_cache(flow, outcome);
}

static void a_pattern_removes_what_it_matches_and_nothing_else(void **state)
{
    struct flow *flow = *state;

    warm(flow);
    assert_int_equal(invalidate(flow, "{\"pattern\":\"notes:*\"}"), 200);
    assert_removed(flow, 3);
    assert_next(flow, "/api/notes/1", "MISS");
    assert_next(flow, "/api/notes", "MISS");
    assert_next(flow, "/api/stocks/AAPL", "HIT");
}

static void keys_are_removed_one_by_one_or_together(void **state)
{
    struct flow *flow = *state;

    warm(flow);
    assert_int_equal(invalidate(flow, "{\"key\":\"notes:one:1\"}"), 200);
    assert_string_equal(flow_body(flow), "{\"removed\":1}");
    assert_int_equal(invalidate(flow, "{\"key\":\"notes:one:1\"}"), 200);
    assert_string_equal(flow_body(flow), "{\"removed\":0}");
    assert_int_equal(invalidate(flow, "{\"keys\":[\"notes:one:2\",\"absent\",\"stocks:detail:AAPL\"]}"), 200);
    assert_string_equal(flow_body(flow), "{\"removed\":2}");
    assert_next(flow, "/api/notes/2", "MISS");
    assert_next(flow, "/api/notes", "HIT");
}

static void a_tag_removes_what_carries_it(void **state)
{
    struct flow *flow = *state;

    warm(flow);
    assert_int_equal(invalidate(flow, "{\"tag\":\"note:1\"}"), 200);
    assert_string_equal(flow_body(flow), "{\"removed\":null}");
    assert_next(flow, "/api/notes/1", "MISS");
    assert_next(flow, "/api/notes/2", "HIT");
}

static void everything_is_removed_only_when_that_is_said(void **state)
{
    static const char *const refused[] = {"{\"pattern\":\"*\"}", "{\"pattern\":\"**\"}", "{\"pattern\":\"\"}",
                                          "{\"pattern\":\"*\",\"all\":false}"};
    static const char *const taken[] = {"{\"all\":true}", "{\"pattern\":\"*\",\"all\":true}",
                                        "{\"pattern\":\"\",\"all\":true}"};
    struct flow *flow = *state;

    for (size_t i = 0; i < COUNT(refused); i++) {
        warm(flow);
        invalidate(flow, refused[i]);
        flow_assert_problem(flow, 422, "\\\"all\\\": true");
        assert_next(flow, "/api/notes/1", "HIT");
    }
    for (size_t i = 0; i < COUNT(taken); i++) {
        warm(flow);
        assert_int_equal(invalidate(flow, taken[i]), 200);
        assert_next(flow, "/api/notes/1", "MISS");
    }
}

static void a_dry_run_counts_and_removes_nothing(void **state)
{
    static const struct {
        const char *body, *answer;
    } table[] = {
        {"{\"pattern\":\"notes:*\",\"dry_run\":true}", "{\"matched\":3,\"dry_run\":true}"},
        {"{\"all\":true,\"dry_run\":true}", "{\"matched\":4,\"dry_run\":true}"},
        {"{\"key\":\"notes:one:1\",\"dry_run\":true}", "{\"matched\":1,\"dry_run\":true}"},
        {"{\"keys\":[\"notes:one:1\",\"absent\"],\"dry_run\":true}", "{\"matched\":1,\"dry_run\":true}"},
    };
    struct flow *flow = *state;

    warm(flow);
    for (size_t i = 0; i < COUNT(table); i++) {
        assert_int_equal(invalidate(flow, table[i].body), 200);
        assert_string_equal(flow_body(flow), table[i].answer);
    }
    invalidate(flow, "{\"tag\":\"notes\",\"dry_run\":true}");
    flow_assert_problem(flow, 422, "cannot be counted");
    assert_int_equal(flow_count_keys(flow), 4);
}

static void an_invalidation_that_is_not_understood_removes_nothing(void **state)
{
    static const struct {
        const char *body;
        int status;
    } table[] = {
        {NULL, 400},
        {"{", 400},
        {"[]", 400},
        {"{}", 422},
        {"{\"dry_run\":true}", 422},
        {"{\"pattern\":5}", 422},
        {"{\"key\":\"\"}", 422},
        {"{\"tag\":null}", 422},
        {"{\"keys\":\"notes:one:1\"}", 422},
        {"{\"keys\":[]}", 422},
        {"{\"keys\":[1]}", 422},
        {"{\"keys\":[\"\"]}", 422},
        {"{\"key\":\"a\",\"tag\":\"b\"}", 422},
        {"{\"key\":\"a\",\"all\":true}", 422},
        {"{\"pattern\":\"notes:*\",\"all\":true}", 422},
        {"{\"all\":1}", 422},
        {"{\"all\":\"true\"}", 422},
        {"{\"everything\":true}", 422},
        {"{\"pattern\":\"notes:*\",\"dry_run\":\"yes\"}", 422},
    };
    struct flow *flow = *state;

    warm(flow);
    for (size_t i = 0; i < COUNT(table); i++) {
        invalidate(flow, table[i].body);
        flow_assert_problem(flow, table[i].status, "");
    }
    assert_int_equal(flow_ask(flow, &(struct flow_request){.method = "POST",
                                                           .url = "/api/cache/invalidate",
                                                           .body = "{\"all\":true}",
                                                           .content_type = "text/plain",
                                                           .token = FLOW_TOKEN}),
                     415);
    assert_int_equal(flow_count_keys(flow), 4);
}

static void admin_routes_are_closed_without_the_token(void **state)
{
    static const struct {
        const char *method, *url, *body;
    } table[] = {
        {"POST", "/api/cache/invalidate", "{\"all\":true}"},
        {"GET", "/api/cache/status", NULL},
        {"GET", "/api/cache/keys", NULL},
        {"GET", "/api/cache/top", NULL},
        {"GET", "/api/cache/key/notes:one:1", NULL},
        {"DELETE", "/api/cache/key/notes:one:1", NULL},
        {"PURGE", "/api/notes/1", NULL},
        {"PURGE", "/api/stocks/AAPL", NULL},
    };
    struct flow *flow = *state;

    warm(flow);
    for (size_t i = 0; i < COUNT(table); i++) {
        struct flow_request request = {.method = table[i].method, .url = table[i].url, .body = table[i].body};

        assert_int_equal(flow_ask(flow, &request), 401);
        request.token = "not-the-token-at-all";
        assert_int_equal(flow_ask(flow, &request), 401);
    }
    assert_int_equal(flow_count_keys(flow), 4);
}

static void an_entry_can_be_looked_at_and_removed(void **state)
{
    struct flow *flow = *state;

    warm(flow);
    flow_pass(flow, 5000);
    assert_int_equal(flow_admin(flow, "GET", "/api/cache/key/notes:one:1", NULL), 200);
    flow_assert_body_has(flow, "{\"key\":\"notes:one:1\",\"status\":200,\"state\":\"fresh\"");
    flow_assert_body_has(flow, "\"stored_at\":\"2023-11-14T22:13:20Z\",\"age\":5,\"ttl\":");
    flow_assert_body_has(flow, "\"tags\":[\"notes\",\"note:1\",\"resource:note\"]");
    flow_assert_body_has(flow, "\"content_type\":\"application/json\"");
    flow_assert_body_has(flow, "\"body\":{\"id\":1,");
    assert_int_equal(flow_admin(flow, "GET", "/api/cache/key/notes%3Aone%3A1", NULL), 200);
    flow_pass(flow, 100000);
    assert_int_equal(flow_admin(flow, "GET", "/api/cache/key/notes:one:1", NULL), 200);
    flow_assert_body_has(flow, "\"state\":\"stale\"");
    assert_int_equal(flow_admin(flow, "DELETE", "/api/cache/key/notes:one:1", NULL), 200);
    assert_string_equal(flow_body(flow), "{\"key\":\"notes:one:1\",\"removed\":1}");
    flow_admin(flow, "GET", "/api/cache/key/notes:one:1", NULL);
    flow_assert_problem(flow, 404, "No entry");
    assert_int_equal(flow_admin(flow, "DELETE", "/api/cache/key/notes:one:1", NULL), 200);
    assert_string_equal(flow_body(flow), "{\"key\":\"notes:one:1\",\"removed\":0}");
    flow_admin(flow, "GET", "/api/cache/key/", NULL);
    flow_assert_problem(flow, 404, "");
}

static void a_negative_entry_shows_its_problem(void **state)
{
    struct flow *flow = *state;

    flow_get(flow, "/api/stocks/NONE");
    assert_int_equal(flow_admin(flow, "GET", "/api/cache/key/stocks:detail:NONE", NULL), 200);
    flow_assert_body_has(flow, "\"status\":404");
    flow_assert_body_has(flow, "\"body\":{\"type\":\"about:blank\"");
}

static void keys_are_listed_page_by_page(void **state)
{
    struct flow *flow = *state;
    char url[128] = "/api/cache/keys?match=notes:*&limit=1";
    unsigned found = 0, pages = 0;

    warm(flow);
    for (const char *cursor = url; cursor; pages++) {
        assert_true(pages < 1000);
        assert_int_equal(flow_admin(flow, "GET", url, NULL), 200);
        for (const char *at = flow_body(flow); (at = strstr(at, "\"notes:")); at++)
            found++;
        assert_null(strstr(flow_body(flow), "stocks:"));
        cursor = strstr(flow_body(flow), "\"cursor\":");
        assert_non_null(cursor);
        snprintf(url, sizeof url, "/api/cache/keys?match=notes:*&limit=1&cursor=%.*s",
                 (int)strspn(cursor + 9, "0123456789"), cursor + 9);
        cursor = strncmp(cursor + 9, "0}", 2) == 0 ? NULL : cursor;
    }
    assert_int_equal(found, 3);
    flow_admin(flow, "GET", "/api/cache/keys?limit=0", NULL);
    flow_assert_problem(flow, 400, "`limit`");
    flow_admin(flow, "GET", "/api/cache/keys?cursor=-1", NULL);
    flow_assert_problem(flow, 400, "`cursor`");
    flow_admin(flow, "GET", "/api/cache/keys?pattern=x", NULL);
    flow_assert_problem(flow, 400, "`pattern`");
}

static void purge_drops_what_a_url_would_serve(void **state)
{
    struct flow *flow = *state;

    warm(flow);
    assert_int_equal(flow_admin(flow, "PURGE", "/api/stocks/aapl", NULL), 200);
    assert_string_equal(flow_body(flow), "{\"key\":\"stocks:detail:AAPL\",\"removed\":1}");
    assert_next(flow, "/api/stocks/AAPL", "MISS");
    assert_next(flow, "/api/notes/1", "HIT");
    assert_int_equal(flow_admin(flow, "PURGE", "/api/now", NULL), 200);
    flow_assert_body_has(flow, "\"removed\":0");
    flow_admin(flow, "PURGE", "/api/stocks/?limit=0", NULL);
    flow_assert_problem(flow, 400, "`limit`");
    flow_admin(flow, "PURGE", "/healthz", NULL);
    flow_assert_problem(flow, 404, "");
    flow_admin(flow, "PURGE", "/nowhere", NULL);
    flow_assert_problem(flow, 404, "");
}

static void purge_drops_every_callers_answer(void **state)
{
    struct flow *flow = *state;

    for (int i = 0; i < 2; i++) {
        flow_ask(flow, &(struct flow_request){.url = "/api/me", .address = "192.0.2.7"});
        flow_assert_cache(flow, "MISS");
        flow_ask(flow, &(struct flow_request){.url = "/api/me", .address = "192.0.2.8"});
        flow_assert_cache(flow, "MISS");
        assert_int_equal(flow_admin(flow, "PURGE", "/api/me", NULL), 200);
        assert_removed(flow, 2);
    }
}

static void health_readiness_and_counters_are_told(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(flow_get(flow, "/healthz"), 200);
    assert_string_equal(flow_body(flow), "{\"status\":\"ok\"}");
    assert_false(flow_was_handed_over(flow));
    assert_int_equal(flow_get(flow, "/readyz"), 200);
    assert_string_equal(flow_body(flow),
                        "{\"status\":\"ready\",\"database\":\"ok\",\"writer\":\"ready\",\"cache\":\"ok\"}");
    warm(flow);
    warm(flow);
    assert_int_equal(flow_get(flow, "/stats"), 200);
    flow_assert_body_has(flow, "\"version\":\"");
    flow_assert_body_has(flow, "\"uptime_s\":1,");
    flow_assert_body_has(flow, "\"hits\":");
    flow_assert_body_has(flow, "\"writer\":{\"state\":\"ready\",\"committed\":");
}

static void the_processes_are_told_to_the_administrator(void **state)
{
    struct flow *flow = *state;
    struct scoreboard_process *row = &flow_scoreboard(flow)->processes[3];

    scoreboard_open(row, "worker", 1);
    atomic_store(&row->pid, 4711);
    atomic_store(&row->state, SCOREBOARD_RUNNING);
    scoreboard_show(row, 17, 5, 2, 1);
    snprintf(row->pool[1].what, sizeof row->pool[1].what, "GET /api/\"slow\"\n");
    scoreboard_begin(&row->pool[1]);
    scoreboard_resource(&row->pool[1], STR("slow"));
    scoreboard_phase(&row->pool[1], SCOREBOARD_STATEMENT);
    assert_int_equal(flow_get(flow, "/status"), 401);
    assert_int_equal(flow_admin(flow, "GET", "/status", NULL), 200);
    assert_false(flow_was_handed_over(flow));
    flow_assert_body_has(flow, "\"workers\":{\"total\":1,\"idle\":0,\"busy\":1,\"ending\":0}");
    flow_assert_body_has(flow, "{\"pid\":4711,\"role\":\"worker\",\"state\":\"busy\",");
    flow_assert_body_has(flow, "\"requests\":17,\"connections\":5,\"under_way\":2,");
    flow_assert_body_has(
        flow, "\"works_on\":[{\"what\":\"GET /api/\\\"slow\\\"\\n\",\"resource\":\"slow\",\"phase\":\"statement\",");
    scoreboard_close(flow_scoreboard(flow), row);
    assert_int_equal(flow_admin(flow, "GET", "/status", NULL), 200);
    flow_assert_body_has(flow, "\"processes\":[]");
}

static void the_keys_asked_for_most_come_first(void **state)
{
    struct flow *flow = *state;

    flow_admin(flow, "GET", "/api/cache/top", NULL);
    assert_string_equal(flow_body(flow), "{\"half_life_s\":60,\"per_second\":0.000,\"keys\":[]}");
    warm(flow);
    for (unsigned i = 0; i < 9; i++)
        flow_get(flow, "/api/notes/1");
    assert_int_equal(flow_admin(flow, "GET", "/api/cache/top", NULL), 200);
    flow_assert_body_has(flow, "\"keys\":[{\"key\":\"notes:one:1\",\"cut\":false,\"per_second\":");
    flow_assert_body_has(flow, "\"error\":0.000},{\"key\":\"");
    assert_int_equal(flow_admin(flow, "GET", "/api/cache/top?limit=1", NULL), 200);
    assert_null(strstr(flow_body(flow), "},{"));
    flow_admin(flow, "GET", "/api/cache/top?limit=129", NULL);
    flow_assert_problem(flow, 400, "`limit`");
}

static void the_status_tells_backend_breaker_and_rates(void **state)
{
    struct flow *flow = *state;

    warm(flow);
    assert_int_equal(flow_admin(flow, "GET", "/api/cache/status", NULL), 200);
    flow_assert_body_has(flow, "{\"backend\":\"");
    flow_assert_body_has(flow, "\"reachable\":true,\"breaker\":\"closed\"");
    flow_assert_body_has(flow, "\"distrusted\":false,\"last_error\":null");
    flow_assert_body_has(flow, "\"database\":{\"size\":");
    flow_assert_body_has(flow, "\"hit_rate\":0.");
}

#define BOTH(name)                                                                                                     \
    {#name " (memory)", name, flow_setup_memory, flow_teardown, NULL},                                                 \
    {                                                                                                                  \
#name " (redis)", name, flow_setup_redis, flow_teardown, NULL                                                  \
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, flow_setup_memory, flow_teardown)

/* Here nobody has made it ahead, as in a process that was started for one request. */
static void all_routes_are_described(void **state)
{
    struct flow *flow = *state;
    char etag[64];

    assert_int_equal(flow_get(flow, "/openapi.json"), 200);
    flow_assert_body_has(flow, "{\"openapi\":\"3.1.1\"");
    flow_assert_body_has(flow, "\"operationId\":\"note-patch\"");
    flow_assert_body_has(flow, "\"title\":{\"type\":");
    assert_string_equal(flow_header(flow, "Cache-Control"), "no-cache");
    snprintf(etag, sizeof etag, "%s", flow_header(flow, "ETag"));
    assert_int_equal(flow_ask(flow, &(struct flow_request){.url = "/openapi.json", .if_none_match = etag}), 304);
    assert_string_equal(flow_body(flow), "");
    assert_int_equal(flow_ask(flow, &(struct flow_request){.method = "HEAD", .url = "/openapi.json"}), 200);
    assert_string_equal(flow_header(flow, "ETag"), etag);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_keys_asked_for_most_come_first),
        BOTH(a_pattern_removes_what_it_matches_and_nothing_else),
        BOTH(keys_are_removed_one_by_one_or_together),
        BOTH(a_tag_removes_what_carries_it),
        BOTH(everything_is_removed_only_when_that_is_said),
        BOTH(a_dry_run_counts_and_removes_nothing),
        TEST(an_invalidation_that_is_not_understood_removes_nothing),
        TEST(admin_routes_are_closed_without_the_token),
        BOTH(an_entry_can_be_looked_at_and_removed),
        TEST(a_negative_entry_shows_its_problem),
        BOTH(keys_are_listed_page_by_page),
        BOTH(purge_drops_what_a_url_would_serve),
        BOTH(purge_drops_every_callers_answer),
        BOTH(health_readiness_and_counters_are_told),
        BOTH(the_status_tells_backend_breaker_and_rates),
        TEST(the_processes_are_told_to_the_administrator),
        TEST(all_routes_are_described),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
