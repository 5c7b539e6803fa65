/* The terms of a write by its header fields: Idempotency-Key, If-Match, If-None-Match. */
#include "flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int post(struct flow *flow, const char *key, const char *body)
{
    return flow_ask(
        flow, &(struct flow_request){.method = "POST", .url = "/api/notes", .body = body, .idempotency_key = key});
}

static int patch_if(struct flow *flow, const char *if_match, const char *if_none_match, int stars)
{
    char body[32];

    snprintf(body, sizeof body, "{\"stars\":%d}", stars);
    return flow_ask(flow, &(struct flow_request){.method = "PATCH",
                                                 .url = "/api/notes/1",
                                                 .body = body,
                                                 .if_match = if_match,
                                                 .if_none_match = if_none_match});
}

static int64_t stars(struct flow *flow)
{
    return flow_integer(flow, "SELECT stars FROM notes WHERE id = 1");
}

/* The ETag of note 1. */
static void read_etag(struct flow *flow, char *etag, size_t size)
{
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    snprintf(etag, size, "%s", flow_header(flow, "ETag"));
    assert_int_equal(strlen(etag), 34);
}

static void the_same_request_with_its_key_is_answered_alike(void **state)
{
    static const char body[] = "{\"title\":\"once\"}";
    struct flow *flow = *state;

    assert_int_equal(post(flow, "3f1a", body), 201);
    assert_null(flow_header(flow, "Idempotency-Replayed"));
    char *first = strdup(flow_body(flow));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(post(flow, " 3f1a ", body), 201);
        assert_string_equal(flow_body(flow), first);
        assert_string_equal(flow_header(flow, "Idempotency-Replayed"), "true");
    }
    free(first);
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM notes WHERE title = 'once'"), 1);
    /* Without a key it is a new request. */
    assert_int_equal(post(flow, NULL, body), 409);
}

static void what_another_version_has_answered_is_not_claimed_to_be_unwritten(void **state)
{
    static const char body[] = "{\"title\":\"once\"}";
    struct flow *flow = *state;

    assert_int_equal(post(flow, "key", body), 201);
    flow_execute(flow, "UPDATE larder_replays SET answer = x'02000000c801'");
    post(flow, "key", body);
    flow_assert_problem(flow, 503, "not known");
    assert_null(strstr(flow_body(flow), "othing was written"));
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM notes WHERE title = 'once'"), 1);
}

static void the_key_with_another_request_is_422(void **state)
{
    static const struct flow_request others[] = {
        {.method = "POST", .url = "/api/notes", .body = "{\"title\":\"twice\"}"},
        {.method = "POST", .url = "/api/notes", .body = "{\"title\":\"once\"} "},
        {.method = "POST", .url = "/api/notes?stars=1", .body = "{\"title\":\"once\"}"},
        {.method = "PATCH", .url = "/api/notes/1", .body = "{\"stars\":1}"},
        {.method = "PUT", .url = "/api/notes/1", .body = "{\"title\":\"once\"}"},
        {.method = "POST", .url = "/api/notes", .body = "{\"title\":\"once\"}", .if_none_match = "\"x\""},
    };
    struct flow *flow = *state;

    assert_int_equal(post(flow, "key", "{\"title\":\"once\"}"), 201);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct flow_request request = others[i];
        request.idempotency_key = "key";
        flow_ask(flow, &request);
        flow_assert_problem(flow, 422, "Idempotency-Key");
    }
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM notes"), 4);
    assert_int_equal(stars(flow), 1);
}

static void a_key_is_free_again_after_a_day(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(post(flow, "key", "{\"title\":\"once\"}"), 201);
    flow_pass(flow, INT64_C(86400000) - 1);
    assert_int_equal(post(flow, "key", "{\"title\":\"twice\"}"), 422);
    flow_pass(flow, 1);
    assert_int_equal(post(flow, "key", "{\"title\":\"twice\"}"), 201);
}

static void a_key_that_is_none_is_400(void **state)
{
    struct flow *flow = *state;
    char longest[257];
    const char *const keys[] = {"", " ", "two words", "tab\tbed", "caf\xc3\xa9", "\x7f", longest};

    memset(longest, 'k', sizeof longest);
    longest[256] = '\0';
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        post(flow, keys[i], "{\"title\":\"once\"}");
        /* Bytes that no field may have are refused sooner, with the request. */
        flow_assert_problem(flow, 400, "");
    }
    longest[255] = '\0';
    assert_int_equal(post(flow, longest, "{\"title\":\"once\"}"), 201);
}

static void what_a_constraint_refused_is_refused_again(void **state)
{
    struct flow *flow = *state;

    post(flow, "key", "{\"title\":\"one\"}");
    flow_assert_problem(flow, 409, "UNIQUE");
    flow_execute(flow, "DELETE FROM notes WHERE title = 'one'");
    post(flow, "key", "{\"title\":\"one\"}");
    flow_assert_problem(flow, 409, "UNIQUE");
    assert_string_equal(flow_header(flow, "Idempotency-Replayed"), "true");
    assert_int_equal(post(flow, "another", "{\"title\":\"one\"}"), 201);
}

static void what_is_not_valid_uses_no_key_up(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(post(flow, "key", "{\"title\":\"\"}"), 422);
    assert_int_equal(post(flow, "key", "{\"title\":\"once\"}"), 201);
}

static void a_write_behind_is_accepted_once_for_a_key(void **state)
{
    const struct flow_request request = {
        .method = "PUT", .url = "/api/notes/1", .body = "{\"title\":\"behind\"}", .idempotency_key = "key"};
    struct flow *flow = *state;

    assert_int_equal(flow_ask(flow, &request), 202);
    char *first = strdup(flow_body(flow)), *location = strdup(flow_header(flow, "Location"));
    assert_int_equal(flow_ask(flow, &request), 202);
    assert_string_equal(flow_body(flow), first);
    assert_string_equal(flow_header(flow, "Location"), location);
    assert_string_equal(flow_header(flow, "Idempotency-Replayed"), "true");
    free(first);
    free(location);
}

static void what_is_as_it_was_read_is_written(void **state)
{
    struct flow *flow = *state;
    char etag[64], other[96];

    read_etag(flow, etag, sizeof etag);
    assert_int_equal(patch_if(flow, etag, NULL, 2), 204);
    /* It has changed by that. */
    patch_if(flow, etag, NULL, 3);
    flow_assert_problem(flow, 412, "If-Match");
    assert_int_equal(stars(flow), 2);
    /* In a list; as the ETag of what was sent compressed. */
    read_etag(flow, etag, sizeof etag);
    snprintf(other, sizeof other, "\"0123\" , \"a,b\",%s", etag);
    assert_int_equal(patch_if(flow, other, NULL, 3), 204);
    read_etag(flow, etag, sizeof etag);
    snprintf(other, sizeof other, "%.33s-gzip\"", etag);
    assert_int_equal(patch_if(flow, other, NULL, 4), 204);
    assert_int_equal(patch_if(flow, "*", NULL, 5), 204);
    assert_int_equal(stars(flow), 5);
}

static void what_is_not_as_it_was_read_is_412(void **state)
{
    struct flow *flow = *state;
    char etag[64], weak[80], other[80];

    read_etag(flow, etag, sizeof etag);
    snprintf(weak, sizeof weak, "W/%s", etag);
    snprintf(other, sizeof other, "%.33s-br\"", etag);
    const char *const tags[] = {"\"0123456789abcdef0123456789abcdef\"", "\"\"",        weak, other,
                                "\"--------------------------------\"", "\"x\", \"y\""};
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        patch_if(flow, tags[i], NULL, 4);
        flow_assert_problem(flow, 412, "If-Match");
    }
    assert_int_equal(stars(flow), 1);
    /* A row that is not there. */
    flow_ask(flow, &(struct flow_request){
                       .method = "PATCH", .url = "/api/notes/99", .body = "{\"stars\":1}", .if_match = "*"});
    flow_assert_problem(flow, 412, "If-Match");
}

static void if_none_match_writes_only_what_is_not_there_or_is_another(void **state)
{
    const struct flow_request create = {.method = "PUT",
                                        .url = "/api/stocks/NEW",
                                        .body = "{\"name\":\"New\",\"sector\":\"S\",\"price\":1}",
                                        .token = FLOW_TOKEN,
                                        .if_none_match = " * "};
    struct flow *flow = *state;
    char etag[64], weak[80];

    assert_int_equal(flow_ask(flow, &create), 200);
    flow_ask(flow, &create);
    flow_assert_problem(flow, 412, "already");
    read_etag(flow, etag, sizeof etag);
    snprintf(weak, sizeof weak, "\"x\", W/%s", etag);
    patch_if(flow, NULL, etag, 4);
    flow_assert_problem(flow, 412, "If-None-Match");
    patch_if(flow, NULL, weak, 4);
    flow_assert_problem(flow, 412, "If-None-Match");
    assert_int_equal(stars(flow), 1);
    assert_int_equal(patch_if(flow, NULL, "\"0123456789abcdef\"", 4), 204);
    assert_int_equal(stars(flow), 4);
}

static void what_is_no_list_of_etags_is_400_and_no_condition_fulfilled(void **state)
{
    static const char *const lists[] = {"", " ", ",", "abc", "\"open", "'x'", "*, \"x\"", "\"x\" y", "\"x\", y", "**"};
    struct flow *flow = *state;

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        patch_if(flow, lists[i], NULL, 4);
        flow_assert_problem(flow, 400, "If-Match");
        patch_if(flow, NULL, lists[i], 4);
        flow_assert_problem(flow, 400, "If-None-Match");
    }
    assert_int_equal(stars(flow), 1);
}

static void conditions_that_cannot_be_held_against_anything_are_refused(void **state)
{
    struct flow *flow = *state;

    patch_if(flow, "*", "\"x\"", 4);
    flow_assert_problem(flow, 400, "both");
    for (int none = 0; none < 2; none++) {
        const char *name = none ? "If-None-Match" : "If-Match";
        struct flow_request request = {.method = "PUT",
                                       .url = "/api/notes/1",
                                       .body = "{\"title\":\"x\"}",
                                       .if_match = none ? NULL : "*",
                                       .if_none_match = none ? "*" : NULL};
        /* A write behind; and one where nothing can be read. */
        flow_ask(flow, &request);
        flow_assert_problem(flow, 400, name);
        request.url = "/api/unread";
        request.body = NULL;
        flow_ask(flow, &request);
        flow_assert_problem(flow, 412, name);
        /* A board can be read, and is not what a statement reads. */
        request.method = "DELETE";
        request.url = "/api/leaderboards/game/a";
        request.token = FLOW_TOKEN;
        flow_ask(flow, &request);
        flow_assert_problem(flow, 412, "writes whatever stands there");
        flow_assert_problem(flow, 412, name);
    }
    assert_int_equal(stars(flow), 1);
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM notes WHERE title = 'one'"), 1);
}

static void a_key_and_a_condition_go_together(void **state)
{
    struct flow *flow = *state;
    char etag[64];

    read_etag(flow, etag, sizeof etag);
    const struct flow_request request = {
        .method = "PATCH", .url = "/api/notes/1", .body = "{\"stars\":3}", .if_match = etag, .idempotency_key = "key"};
    /* The second time what it changed would stand in its way. */
    for (int i = 0; i < 2; i++)
        assert_int_equal(flow_ask(flow, &request), 204);
    assert_int_equal(stars(flow), 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, flow_setup_memory, flow_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_same_request_with_its_key_is_answered_alike),
        TEST(what_another_version_has_answered_is_not_claimed_to_be_unwritten),
        TEST(the_key_with_another_request_is_422),
        TEST(a_key_is_free_again_after_a_day),
        TEST(a_key_that_is_none_is_400),
        TEST(what_a_constraint_refused_is_refused_again),
        TEST(what_is_not_valid_uses_no_key_up),
        TEST(a_write_behind_is_accepted_once_for_a_key),
        TEST(what_is_as_it_was_read_is_written),
        TEST(what_is_not_as_it_was_read_is_412),
        TEST(if_none_match_writes_only_what_is_not_there_or_is_another),
        TEST(what_is_no_list_of_etags_is_400_and_no_condition_fulfilled),
        TEST(conditions_that_cannot_be_held_against_anything_are_refused),
        TEST(a_key_and_a_condition_go_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
