/* Reading through the cache, and what is refused before anything is asked. */
#include "flow.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static void the_first_answer_is_a_miss_and_the_second_a_hit(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(flow_get(flow, "/api/stocks/AAPL"), 200);
    flow_assert_cache(flow, "MISS");
    assert_string_equal(flow_header(flow, "Cache-Status"), "larder; fwd=miss; stored");
    flow_assert_body_has(flow, "\"price\":155.15");
    assert_true(flow_was_handed_over(flow));
    char *first = strdup(flow_body(flow)), *etag = strdup(flow_header(flow, "ETag"));

    flow_pass(flow, 7000);
    assert_int_equal(flow_get(flow, "/api/stocks/AAPL"), 200);
    flow_assert_cache(flow, "HIT");
    assert_false(flow_was_handed_over(flow));
    assert_string_equal(flow_body(flow), first);
    assert_string_equal(flow_header(flow, "ETag"), etag);
    assert_string_equal(flow_header(flow, "Age"), "7");
    assert_string_equal(flow_header(flow, "Cache-Control"), "no-cache");
    assert_non_null(strstr(flow_header(flow, "Cache-Status"), "larder; hit; ttl="));
    assert_non_null(strstr(flow_header(flow, "Cache-Status"), "detail=L1"));
    free(first);
    free(etag);
}

static void one_that_the_pool_has_no_place_for_keeps_nobody_waiting(void **state)
{
    struct flow *flow = *state;

    for (int i = 0; i < 2; i++) {
        assert_int_equal(flow_ask(flow, &(struct flow_request){.url = "/api/stocks/AAPL", .pool_is_full = true}), 503);
        assert_false(flow_waited(flow));
    }
    assert_int_equal(flow_get(flow, "/api/stocks/AAPL"), 200);
    assert_false(flow_waited(flow));
    assert_string_equal(flow_header(flow, "Cache-Status"), "larder; fwd=miss; stored");
}

static void requests_that_mean_the_same_share_an_entry(void **state)
{
    struct flow *flow = *state;

    flow_get(flow, "/api/stocks/aapl");
    flow_get(flow, "/api/stocks/A%41PL");
    flow_assert_cache(flow, "HIT");
    flow_get(flow, "/api/stocks?limit=5&sort=price");
    flow_get(flow, "/api/stocks/?sort=price&&limit=05&offset=0&order=asc");
    flow_assert_cache(flow, "HIT");
    flow_get(flow, "/api/stocks/?limit=6&sort=price");
    flow_assert_cache(flow, "MISS");
    assert_int_equal(flow_count_keys(flow), 3);
}

static void a_url_that_was_a_hit_is_computed_anew_with_its_own_parameters(void **state)
{
    static const char *const urls[] = {"/api/stocks/?limit=1", "/api/stocks/?limit=2"};
    struct flow *flow = *state;

    for (size_t i = 0; i < 4; i++)
        flow_get(flow, urls[i % 2]);
    flow_assert_cache(flow, "HIT");
    assert_int_equal(flow_admin(flow, "POST", "/api/cache/invalidate", "{\"tag\":\"stocks\"}"), 200);
    assert_int_equal(flow_get(flow, urls[0]), 200);
    flow_assert_cache(flow, "MISS");
    flow_assert_body_has(flow, "\"count\":1");
    assert_int_equal(flow_get(flow, urls[1]), 200);
    flow_assert_cache(flow, "MISS");
    flow_assert_body_has(flow, "\"count\":2");
}

static void nulls_and_unicode_come_through(void **state)
{
    struct flow *flow = *state;

    for (int i = 0; i < 2; i++) {
        assert_int_equal(flow_get(flow, "/api/stocks/BF.B"), 200);
        flow_assert_body_has(flow, "Brown\xe2\x80\x93"
                                   "Forman");
        flow_assert_body_has(flow, "\"price\":null");
    }
}

static void a_row_that_is_not_there_is_remembered_as_not_there(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(flow_get(flow, "/api/stocks/NONE"), 404);
    flow_assert_problem(flow, 404, "no such");
    flow_assert_cache(flow, "MISS");
    assert_int_equal(flow_get(flow, "/api/stocks/NONE"), 404);
    flow_assert_problem(flow, 404, "no such");
    flow_assert_cache(flow, "NEGATIVE");
    assert_false(flow_was_handed_over(flow));
    assert_null(flow_header(flow, "ETag"));
    flow_pass(flow, 31000);
    assert_int_equal(flow_get(flow, "/api/stocks/NONE"), 404);
    flow_assert_cache(flow, "MISS");
}

static void an_entity_tag_that_matches_gets_304_without_a_body(void **state)
{
    struct flow *flow = *state;

    flow_get(flow, "/api/stocks/AAPL");
    char *etag = strdup(flow_header(flow, "ETag"));
    for (int hit = 0; hit < 2; hit++) {
        assert_int_equal(flow_ask(flow, &(struct flow_request){.url = "/api/stocks/AAPL", .if_none_match = etag}), 304);
        assert_string_equal(flow_body(flow), "");
        assert_string_equal(flow_header(flow, "ETag"), etag);
    }
    assert_int_equal(flow_ask(flow, &(struct flow_request){.url = "/api/stocks/AAPL", .if_none_match = "\"x\""}), 200);
    assert_int_equal(flow_ask(flow, &(struct flow_request){.url = "/api/stocks/NONE", .if_none_match = "*"}), 404);
    free(etag);
}

static void head_is_answered_like_get(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(flow_ask(flow, &(struct flow_request){.method = "HEAD", .url = "/api/stocks/AAPL"}), 200);
    flow_assert_cache(flow, "MISS");
    assert_int_equal(flow_ask(flow, &(struct flow_request){.method = "HEAD", .url = "/api/stocks/AAPL"}), 200);
    flow_assert_cache(flow, "HIT");
    assert_int_equal(flow_get(flow, "/api/stocks/AAPL"), 200);
    flow_assert_cache(flow, "HIT");
    assert_int_equal(flow_ask(flow, &(struct flow_request){.method = "HEAD", .url = "/healthz"}), 200);
}

static void an_entry_past_its_time_is_answered_and_computed_anew_behind(void **state)
{
    struct flow *flow = *state;

    flow_get(flow, "/api/notes/1");
    flow_execute(flow, "UPDATE notes SET title = 'changed' WHERE id = 1");
    flow_get(flow, "/api/notes/1");
    flow_assert_body_has(flow, "\"one\"");
    flow_pass(flow, 60000);
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    flow_assert_cache(flow, "STALE");
    flow_assert_body_has(flow, "\"one\"");
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    flow_assert_cache(flow, "HIT");
    flow_assert_body_has(flow, "\"changed\"");
}

static void what_depends_on_the_caller_is_kept_for_each(void **state)
{
    struct flow *flow = *state;

    for (int i = 0; i < 2; i++) {
        flow_ask(flow, &(struct flow_request){.url = "/api/me", .address = "192.0.2.7"});
        flow_assert_body_has(flow, "\"192.0.2.7\"");
        flow_assert_cache(flow, i == 0 ? "MISS" : "HIT");
        assert_non_null(strstr(flow_header(flow, "Cache-Control"), "private"));
        flow_ask(flow, &(struct flow_request){.url = "/api/me", .address = "2001:db8::1"});
        flow_assert_body_has(flow, "\"2001:db8::1\"");
        flow_assert_cache(flow, i == 0 ? "MISS" : "HIT");
    }
}

static void what_has_no_ttl_is_never_kept(void **state)
{
    struct flow *flow = *state;

    for (int i = 0; i < 2; i++) {
        assert_int_equal(flow_get(flow, "/api/now"), 200);
        flow_assert_cache(flow, "BYPASS");
        flow_assert_body_has(flow, i == 0 ? "1700000000" : "1700000009");
        flow_pass(flow, 9000);
    }
    assert_int_equal(flow_count_keys(flow), 0);
}

static void max_age_lets_clients_keep_an_answer(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(flow_get(flow, "/api/count"), 200);
    assert_string_equal(flow_header(flow, "Cache-Control"), "max-age=30");
    flow_get(flow, "/api/count");
    flow_assert_cache(flow, "HIT");
    assert_string_equal(flow_header(flow, "Cache-Control"), "max-age=30");
}

static void a_guarded_resource_is_private_and_needs_the_token(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(flow_get(flow, "/api/secret"), 401);
    assert_non_null(flow_header(flow, "WWW-Authenticate"));
    assert_int_equal(flow_admin(flow, "GET", "/api/secret", NULL), 200);
    assert_non_null(strstr(flow_header(flow, "Cache-Control"), "private"));
    assert_int_equal(flow_get(flow, "/api/secret"), 401);
}

static void bad_parameters_are_named_and_make_no_key(void **state)
{
    static const struct {
        const char *url, *named;
    } table[] = {
        {"/api/stocks/?limit=0", "`limit`"},
        {"/api/stocks/?limit=201", "`limit`"},
        {"/api/stocks/?limit=ten", "`limit`"},
        {"/api/stocks/?limit=", "`limit`"},
        {"/api/stocks/?limit=5&limit=6", "`limit`"},
        {"/api/stocks/?sort=colour", "`sort`"},
        {"/api/stocks/?colour=red", "`colour`"},
        {"/api/stocks/?min_price=1e999", "`min_price`"},
        {"/api/stocks/?=5", "without a name"},
        {"/api/stocks/?q=%zz", "percent"},
        {"/api/stocks/?q=%00", "control character"},
        {"/api/stocks/?q=%c0%af", "UTF-8"},
        {"/api/stocks/not%20a%20ticker", "`ticker`"},
        {"/api/stocks/TOOLONGATICKER", "`ticker`"},
        {"/api/stocks/AAPL?ticker=MSFT", "`ticker`"},
        {"/api/stocks/AAPL?x=1", "`x`"},
        {"/api/notes/0", "`id`"},
        {"/api/notes/abc", "`id`"},
    };
    struct flow *flow = *state;

    for (size_t i = 0; i < COUNT(table); i++) {
        flow_get(flow, table[i].url);
        flow_assert_problem(flow, 400, table[i].named);
        assert_false(flow_was_handed_over(flow));
    }
    assert_int_equal(flow_count_keys(flow), 0);
}

static void paths_that_lead_nowhere_or_are_foul_make_no_key(void **state)
{
    static const struct {
        const char *url;
        int status;
    } table[] = {
        {"/", 404},
        {"/api", 404},
        {"/api/unknown", 404},
        {"/api/stocks/AAPL/more", 404},
        {"/api//stocks", 404},
        {"/api/stocks/%2F", 404},
        {"/api/stocks/A%2FB", 404},
        {"/api/stocks/..%2F..%2Fetc", 404},
        {"/api/stocks/%2e%2e", 404},
        {"/api/stocks/%00", 400},
        {"/api/stocks/AAPL%00", 400},
        {"/api/stocks/%c0%af", 400},
        {"/api/stocks/%ff", 400},
        {"/api/stocks/%zz", 400},
        {"/api/stocks/%4", 400},
        {"no-slash", 400},
    };
    struct flow *flow = *state;
    char *path = calloc(1, 20000);

    for (size_t i = 0; i < COUNT(table); i++)
        if (flow_get(flow, table[i].url) != table[i].status)
            fail_msg("%s: %s", table[i].url, flow_body(flow));
    for (size_t len = 8000; len < 16000; len += 4000) {
        memset(path, 'A', len);
        memcpy(path, "/api/stocks/", 12);
        path[len] = '\0';
        assert_int_equal(flow_get(flow, path), 400);
    }
    assert_int_equal(flow_count_keys(flow), 0);
    free(path);
}

static void a_method_that_a_path_does_not_take_is_405_with_allow(void **state)
{
    static const char *const methods[] = {"POST", "PATCH", "BREW", "get"};
    struct flow *flow = *state;

    for (size_t i = 0; i < COUNT(methods); i++) {
        flow_ask(flow, &(struct flow_request){.method = methods[i], .url = "/api/stocks/AAPL"});
        flow_assert_problem(flow, 405, "GET");
        assert_string_equal(flow_header(flow, "Allow"), "GET, HEAD, PUT, DELETE, OPTIONS, PURGE");
    }
    assert_int_equal(flow_ask(flow, &(struct flow_request){.method = "OPTIONS", .url = "/api/stocks/AAPL"}), 204);
    assert_string_equal(flow_header(flow, "Allow"), "GET, HEAD, PUT, DELETE, OPTIONS, PURGE");
    assert_int_equal(flow_ask(flow, &(struct flow_request){.method = "OPTIONS", .url = "/nowhere"}), 404);
}

static void a_request_that_begins_in_the_pool_is_answered_alike(void **state)
{
    struct flow *flow = *state;

    /* A body makes the server read it in the pool first; the answer is the same. */
    assert_int_equal(flow_ask(flow, &(struct flow_request){.url = "/api/notes/2", .body = "{}"}), 200);
    assert_int_equal(flow_get(flow, "/api/notes/2"), 200);
    flow_assert_cache(flow, "HIT");
}

static void errors_are_kept_by_nobody(void **state)
{
    struct flow *flow = *state;

    flow_get(flow, "/api/unknown");
    assert_string_equal(flow_header(flow, "Cache-Control"), "no-store");
    flow_get(flow, "/api/stocks/?limit=0");
    assert_string_equal(flow_header(flow, "Cache-Control"), "no-store");
}

static void over_redis_the_event_thread_waits_without_blocking(void **state)
{
    struct flow *flow = *state;

    flow_get(flow, "/api/notes/1");
    assert_true(flow_waited(flow));
    assert_true(flow_was_handed_over(flow));
    flow_get(flow, "/api/notes/1");
    flow_assert_cache(flow, "HIT");
    assert_false(flow_waited(flow));
    assert_false(flow_was_handed_over(flow));
    /* A start forgets L1, and nothing of L2. */
    flow_forget_l1(flow);
    flow_get(flow, "/api/notes/1");
    flow_assert_cache(flow, "HIT");
    assert_non_null(strstr(flow_header(flow, "Cache-Status"), "detail=L2"));
    assert_true(flow_waited(flow));
    assert_false(flow_was_handed_over(flow));
}

#define BOTH(name)                                                                                                     \
    {#name " (memory)", name, flow_setup_memory, flow_teardown, NULL},                                                 \
    {                                                                                                                  \
#name " (redis)", name, flow_setup_redis, flow_teardown, NULL                                                  \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(the_first_answer_is_a_miss_and_the_second_a_hit),
        BOTH(requests_that_mean_the_same_share_an_entry),
        BOTH(a_url_that_was_a_hit_is_computed_anew_with_its_own_parameters),
        BOTH(nulls_and_unicode_come_through),
        BOTH(a_row_that_is_not_there_is_remembered_as_not_there),
        BOTH(an_entity_tag_that_matches_gets_304_without_a_body),
        BOTH(head_is_answered_like_get),
        BOTH(an_entry_past_its_time_is_answered_and_computed_anew_behind),
        BOTH(what_depends_on_the_caller_is_kept_for_each),
        BOTH(what_has_no_ttl_is_never_kept),
        BOTH(max_age_lets_clients_keep_an_answer),
        BOTH(a_guarded_resource_is_private_and_needs_the_token),
        BOTH(bad_parameters_are_named_and_make_no_key),
        BOTH(paths_that_lead_nowhere_or_are_foul_make_no_key),
        BOTH(a_method_that_a_path_does_not_take_is_405_with_allow),
        BOTH(a_request_that_begins_in_the_pool_is_answered_alike),
        BOTH(errors_are_kept_by_nobody),
        cmocka_unit_test_setup_teardown(one_that_the_pool_has_no_place_for_keeps_nobody_waiting, flow_setup_memory,
                                        flow_teardown),
        cmocka_unit_test_setup_teardown(over_redis_the_event_thread_waits_without_blocking, flow_setup_redis,
                                        flow_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
