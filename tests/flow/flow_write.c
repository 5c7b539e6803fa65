/* Writing: parameters from path, query and body, what is refused, and what leaves the cache. */
#include "flow.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static int post(struct flow *flow, const char *body)
{
    return flow_ask(flow, &(struct flow_request){.method = "POST", .url = "/api/notes", .body = body});
}

static void a_write_answers_with_the_row_and_is_in_the_database(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(post(flow, "{\"title\":\"new\",\"stars\":4,\"weight\":2.5,\"done\":true}"), 201);
    flow_assert_body_has(flow, "\"title\":\"new\"");
    flow_assert_body_has(flow, "\"weight\":2.5");
    flow_assert_body_has(flow, "\"done\":true");
    assert_string_equal(flow_header(flow, "Cache-Control"), "no-store");
    assert_int_equal(flow_integer(flow, "SELECT stars FROM notes WHERE title = 'new'"), 4);
}

static void defaults_nulls_and_the_query_fill_what_the_body_leaves_out(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(post(flow, "{\"title\":\"bare\",\"weight\":null}"), 201);
    assert_int_equal(
        flow_integer(flow, "SELECT count(*) FROM notes WHERE title = 'bare' AND stars = 0 AND weight IS NULL"), 1);
    assert_int_equal(
        flow_ask(flow,
                 &(struct flow_request){.method = "POST", .url = "/api/notes?stars=3", .body = "{\"title\":\"both\"}"}),
        201);
    assert_int_equal(flow_integer(flow, "SELECT stars FROM notes WHERE title = 'both'"), 3);
    assert_int_equal(flow_ask(flow, &(struct flow_request){.method = "POST", .url = "/api/notes?title=query"}), 201);
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM notes WHERE title = 'query'"), 1);
}

static void text_comes_through_as_it_was_sent(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(post(flow, "{\"title\":\"a'b\\\"c\\n\\u00e9\\ud83c\\udf6a\"}"), 201);
    flow_assert_body_has(flow, "\"a'b\\\"c\\n\xc3\xa9\xf0\x9f\x8d\xaa\"");
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM notes WHERE title = 'a''b\"c' || char(10, 233, 127850)"),
                     1);
}

static void what_a_write_names_is_never_read_again_as_it_was(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    assert_int_equal(flow_get(flow, "/api/notes"), 200);
    assert_int_equal(flow_get(flow, "/api/notes?stars=1"), 200);
    assert_int_equal(flow_get(flow, "/api/notes/2"), 200);
    assert_int_equal(
        flow_ask(flow, &(struct flow_request){.method = "PATCH", .url = "/api/notes/1", .body = "{\"stars\":5}"}), 204);
    assert_string_equal(flow_body(flow), "");
    flow_get(flow, "/api/notes/1");
    flow_assert_cache(flow, "MISS");
    flow_assert_body_has(flow, "\"stars\":5");
    flow_get(flow, "/api/notes");
    flow_assert_cache(flow, "MISS");
    flow_get(flow, "/api/notes?stars=1");
    flow_assert_cache(flow, "MISS");
    flow_get(flow, "/api/notes/2");
    flow_assert_cache(flow, "HIT");
}

static void a_row_that_comes_ends_its_remembered_absence(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(flow_get(flow, "/api/stocks/NEW"), 404);
    assert_int_equal(flow_get(flow, "/api/stocks/NEW"), 404);
    flow_assert_cache(flow, "NEGATIVE");
    assert_int_equal(
        flow_admin(flow, "PUT", "/api/stocks/new", "{\"name\":\"New Inc.\",\"sector\":\"Technology\",\"price\":10}"),
        200);
    flow_assert_body_has(flow, "\"ticker\":\"NEW\"");
    assert_int_equal(flow_get(flow, "/api/stocks/NEW"), 200);
    flow_assert_cache(flow, "MISS");
    assert_int_equal(flow_admin(flow, "DELETE", "/api/stocks/NEW", NULL), 200);
    assert_int_equal(flow_get(flow, "/api/stocks/NEW"), 404);
    flow_assert_cache(flow, "MISS");
}

static void a_row_that_is_not_there_cannot_be_changed(void **state)
{
    struct flow *flow = *state;

    flow_ask(flow, &(struct flow_request){.method = "PATCH", .url = "/api/notes/99", .body = "{\"stars\":1}"});
    flow_assert_problem(flow, 404, "no such row");
    flow_admin(flow, "DELETE", "/api/notes/99", NULL);
    flow_assert_problem(flow, 404, "no such row");
}

static void a_write_needs_its_token(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(flow_ask(flow, &(struct flow_request){.method = "DELETE", .url = "/api/notes/1"}), 401);
    assert_int_equal(
        flow_ask(flow, &(struct flow_request){.method = "DELETE", .url = "/api/notes/1", .token = "wrong"}), 401);
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM notes WHERE id = 1"), 1);
    assert_int_equal(flow_admin(flow, "DELETE", "/api/notes/1", NULL), 200);
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM notes WHERE id = 1"), 0);
}

static void a_body_that_will_not_do_changes_nothing(void **state)
{
    static const struct {
        const char *body, *type;
        int status;
        const char *named;
    } table[] = {
        {"{\"title\":", NULL, 400, "byte"},
        {"title=x", NULL, 400, "no JSON"},
        {"[]", NULL, 400, "no JSON object"},
        {"\"x\"", NULL, 400, "no JSON object"},
        {"{\"title\":\"x\"} trailing", NULL, 400, "byte 15"},
        {"{\"title\":\"x\",\"title\":\"y\"}", NULL, 400, "before"},
        {"{\"title\":\"\xff\"}", NULL, 400, "UTF-8"},
        {"{\"title\":\"x\"}", "text/plain", 415, "application/json"},
        {"{\"title\":\"x\"}", "application/x-www-form-urlencoded", 415, "application/json"},
        {"{\"title\":\"x\"}", "", 415, "application/json"},
        {"{\"title\":5}", NULL, 422, "`title`"},
        {"{\"title\":\"\"}", NULL, 422, "`title`"},
        {"{\"title\":\"this is longer than 20\"}", NULL, 422, "`title`"},
        {"{\"title\":\"x\",\"stars\":\"3\"}", NULL, 422, "`stars`"},
        {"{\"title\":\"x\",\"stars\":10}", NULL, 422, "`stars`"},
        {"{\"title\":\"x\",\"stars\":null}", NULL, 422, "`stars`"},
        {"{\"title\":\"x\",\"done\":1}", NULL, 422, "`done`"},
        {"{\"title\":\"x\",\"weight\":[1]}", NULL, 422, "`weight`"},
        {"{\"title\":\"x\",\"other\":1}", NULL, 422, "other"},
        {"{}", NULL, 422, "`title` is missing"},
        {NULL, NULL, 400, "`title` is missing"},
    };
    struct flow *flow = *state;

    for (size_t i = 0; i < COUNT(table); i++) {
        flow_ask(flow,
                 &(struct flow_request){
                     .method = "POST", .url = "/api/notes", .body = table[i].body, .content_type = table[i].type});
        flow_assert_problem(flow, table[i].status, table[i].named);
    }
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM notes"), 3);
}

static void parameters_outside_the_body_are_held_to_their_rules_too(void **state)
{
    static const struct {
        const char *method, *url, *body;
        int status;
        const char *named;
    } table[] = {
        {"PATCH", "/api/notes/zero", "{\"stars\":1}", 400, "`id`"},
        {"PATCH", "/api/notes/1?colour=red", "{\"stars\":1}", 400, "`colour`"},
        {"PATCH", "/api/notes/1?stars=2", "{\"stars\":1}", 400, "more than once"},
        {"PATCH", "/api/notes/1", "{\"stars\":1,\"id\":1}", 400, "more than once"},
        {"PATCH", "/api/notes/1?stars=99", NULL, 400, "`stars`"},
        {"POST", "/api/notes?weight=1", "{\"title\":\"x\",\"weight\":null}", 400, "more than once"},
        {"POST", "/api/notes?title=%zz", NULL, 400, "percent"},
    };
    struct flow *flow = *state;

    for (size_t i = 0; i < COUNT(table); i++) {
        flow_ask(flow, &(struct flow_request){.method = table[i].method, .url = table[i].url, .body = table[i].body});
        flow_assert_problem(flow, table[i].status, table[i].named);
    }
    assert_int_equal(flow_integer(flow, "SELECT sum(stars) FROM notes"), 6);
}

static void what_a_constraint_forbids_is_409_with_its_name(void **state)
{
    struct flow *flow = *state;

    post(flow, "{\"title\":\"one\"}");
    flow_assert_problem(flow, 409, "UNIQUE");
    post(flow, "{\"title\":\"six\",\"stars\":6}");
    flow_assert_problem(flow, 409, "five_stars_at_most");
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM notes"), 3);
    /* The writer goes on. */
    assert_int_equal(post(flow, "{\"title\":\"five\",\"stars\":5}"), 201);
}

static void a_write_that_takes_longer_than_it_may_is_taken_back(void **state)
{
    struct flow *flow = *state;
    const int64_t notes = flow_integer(flow, "SELECT count(*) FROM notes");

    assert_int_equal(flow_ask(flow, &(struct flow_request){.method = "POST", .url = "/api/long"}), 503);
    flow_assert_problem(flow, 503, "nothing was written");
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM notes"), notes);
}

static void media_types_may_have_parameters(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(flow_ask(flow, &(struct flow_request){.method = "POST",
                                                           .url = "/api/notes",
                                                           .body = "{\"title\":\"typed\"}",
                                                           .content_type = "application/JSON; charset=utf-8"}),
                     201);
}

static void what_another_program_changes_leaves_the_cache_with_all_that_depends_on_it(void **state)
{
    struct flow *flow = *state;

    /* What was new at the beginning has been dealt with. */
    flow_keep_house(flow);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
        assert_int_equal(flow_get(flow, "/api/notes/77"), 404);
        assert_int_equal(flow_get(flow, "/api/count"), 200);
        assert_int_equal(flow_get(flow, "/api/stocks/AAPL"), 200);
    }
    flow_execute(flow,
                 "UPDATE notes SET title = 'by another' WHERE id = 1; INSERT INTO notes VALUES (77, 'x', 1, 1, 1)");
    flow_keep_house(flow);
    /* Gone, and not stale: `stale` and the remembered absence would have lasted longer. */
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    flow_assert_cache(flow, "MISS");
    flow_assert_body_has(flow, "by another");
    assert_int_equal(flow_get(flow, "/api/notes/77"), 200);
    assert_int_equal(flow_get(flow, "/api/count"), 200);
    flow_assert_cache(flow, "MISS");
    assert_string_equal(flow_body(flow), "4");
    assert_int_equal(flow_get(flow, "/api/stocks/AAPL"), 200);
    flow_assert_cache(flow, "HIT");
}

static void what_a_write_changes_is_purged_by_its_own_purges_alone(void **state)
{
    struct flow *flow = *state;

    flow_keep_house(flow);
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    assert_int_equal(flow_get(flow, "/api/notes/2"), 200);
    assert_int_equal(
        flow_ask(flow, &(struct flow_request){.method = "PATCH", .url = "/api/notes/1", .body = "{\"stars\":5}"}), 204);
    flow_keep_house(flow);
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    flow_assert_cache(flow, "MISS");
    assert_int_equal(flow_get(flow, "/api/notes/2"), 200);
    flow_assert_cache(flow, "HIT");
}

#define BOTH(name)                                                                                                     \
    {#name " (memory)", name, flow_setup_memory, flow_teardown, NULL},                                                 \
    {                                                                                                                  \
#name " (redis)", name, flow_setup_redis, flow_teardown, NULL                                                  \
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, flow_setup_memory, flow_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_write_answers_with_the_row_and_is_in_the_database),
        TEST(defaults_nulls_and_the_query_fill_what_the_body_leaves_out),
        TEST(text_comes_through_as_it_was_sent),
        BOTH(what_a_write_names_is_never_read_again_as_it_was),
        BOTH(what_another_program_changes_leaves_the_cache_with_all_that_depends_on_it),
        BOTH(what_a_write_changes_is_purged_by_its_own_purges_alone),
        BOTH(a_row_that_comes_ends_its_remembered_absence),
        TEST(a_row_that_is_not_there_cannot_be_changed),
        TEST(a_write_needs_its_token),
        TEST(a_body_that_will_not_do_changes_nothing),
        TEST(parameters_outside_the_body_are_held_to_their_rules_too),
        TEST(what_a_constraint_forbids_is_409_with_its_name),
        TEST(a_write_that_takes_longer_than_it_may_is_taken_back),
        TEST(media_types_may_have_parameters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
