/* Writing behind: 202 and a receipt, reads that see what was accepted, and what becomes of writes that fail. */
#include "flow.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, RECEIPT_MAX = 64 };

static int put(struct flow *flow, int id, const char *body)
{
    char url[64];

    snprintf(url, sizeof url, "/api/notes/%d", id);
    return flow_ask(flow, &(struct flow_request){.method = "PUT", .url = url, .body = body});
}

/* The receipt in the last answer. */
static void take_receipt(const struct flow *flow, char *receipt)
{
    assert_int_equal(sscanf(flow_body(flow), "{\"receipt\":\"%63[0-9a-f-]\"", receipt), 1);
}

/* Accepted: its RECEIPT. */
static void must_put(struct flow *flow, int id, const char *body, char *receipt)
{
    if (put(flow, id, body) != 202)
        fail_msg("%s", flow_body(flow));
    take_receipt(flow, receipt);
}

static int ask_receipt(struct flow *flow, const char *method, const char *receipt, const char *rest, bool admin)
{
    char url[128];

    snprintf(url, sizeof url, "/api/writes/%s%s", receipt, rest);
    return flow_ask(flow, &(struct flow_request){.method = method, .url = url, .token = admin ? FLOW_TOKEN : NULL});
}

static void await_state(struct flow *flow, const char *receipt, const char *state)
{
    char wanted[32];

    snprintf(wanted, sizeof wanted, "\"state\":\"%s\"", state);
    for (int waited = 0; waited < PATIENCE_MS; waited += 5, usleep(5000))
        if (ask_receipt(flow, "GET", receipt, "", false) == 200 && strstr(flow_body(flow), wanted))
            return;
    fail_msg("not %s: %s", state, flow_body(flow));
}

/* Another program's transaction, until it is closed. */
static sqlite3 *lock(struct flow *flow)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(flow_database(flow), &db), SQLITE_OK);
    sqlite3_busy_timeout(db, PATIENCE_MS);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    return db;
}

static void an_accepted_write_is_answered_with_where_to_ask_about_it(void **state)
{
    struct flow *flow = *state;
    char receipt[RECEIPT_MAX], location[128];

    must_put(flow, 1, "{\"title\":\"behind\"}", receipt);
    snprintf(location, sizeof location, "/api/writes/%s", receipt);
    assert_string_equal(flow_header(flow, "Location"), location);
    assert_string_equal(flow_header(flow, "Cache-Control"), "no-store");
    assert_null(flow_header(flow, "Idempotency-Replayed"));
    /* Known at once, whatever it is by now. */
    assert_int_equal(flow_get(flow, location), 200);
    flow_assert_body_has(flow, receipt);
    await_state(flow, receipt, "applied");
    assert_null(strstr(flow_body(flow), "reason"));
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM notes WHERE id = 1 AND title = 'behind'"), 1);
}

static void who_reads_after_the_answer_reads_what_was_accepted(void **state)
{
    struct flow *flow = *state;
    char body[64], receipt[RECEIPT_MAX];

    for (int i = 0; i < 30; i++) {
        assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
        assert_int_equal(flow_get(flow, "/api/notes/2"), 200);
        snprintf(body, sizeof body, "{\"title\":\"number %d\"}", i);
        must_put(flow, 1, body, receipt);
        assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
        snprintf(body, sizeof body, "\"title\":\"number %d\"", i);
        flow_assert_body_has(flow, body);
        flow_assert_cache(flow, "BYPASS");
        /* What it does not concern stays cached meanwhile. */
        flow_get(flow, "/api/notes/2");
        flow_assert_cache(flow, "HIT");
    }
}

static void the_caches_are_used_again_once_the_purges_have_been_carried_out(void **state)
{
    struct flow *flow = *state;
    char receipt[RECEIPT_MAX];

    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    must_put(flow, 1, "{\"title\":\"new\"}", receipt);
    await_state(flow, receipt, "applied");
    flow_get(flow, "/api/notes/1");
    flow_assert_cache(flow, "BYPASS");
    flow_keep_house(flow);
    flow_get(flow, "/api/notes/1");
    flow_assert_cache(flow, "MISS");
    flow_assert_body_has(flow, "\"new\"");
    flow_get(flow, "/api/notes/1");
    flow_assert_cache(flow, "HIT");
    flow_assert_body_has(flow, "\"new\"");
}

static void what_is_never_cached_and_names_no_tags_waits_for_every_write(void **state)
{
    struct flow *flow = *state;
    char body[64], receipt[RECEIPT_MAX];

    for (int i = 0; i < 30; i++) {
        snprintf(body, sizeof body, "{\"title\":\"number %d\"}", i);
        must_put(flow, 1, body, receipt);
        assert_int_equal(flow_get(flow, "/api/live/1"), 200);
        snprintf(body, sizeof body, "{\"title\":\"number %d\"}", i);
        assert_string_equal(flow_body(flow), body);
    }
}

static void a_row_that_is_accepted_ends_its_remembered_absence(void **state)
{
    struct flow *flow = *state;
    char receipt[RECEIPT_MAX];

    assert_int_equal(flow_get(flow, "/api/notes/77"), 404);
    assert_int_equal(flow_get(flow, "/api/notes/77"), 404);
    flow_assert_cache(flow, "NEGATIVE");
    must_put(flow, 77, "{\"title\":\"new\"}", receipt);
    assert_int_equal(flow_get(flow, "/api/notes/77"), 200);
    flow_keep_house(flow);
    assert_int_equal(flow_get(flow, "/api/notes/77"), 200);
}

static void while_nothing_can_be_applied_reads_answer_what_there_is(void **state)
{
    struct flow *flow = *state;
    char receipt[RECEIPT_MAX];

    must_put(flow, 2, "{\"title\":\"first\"}", receipt);
    await_state(flow, receipt, "applied");
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    sqlite3 *db = lock(flow);
    must_put(flow, 1, "{\"title\":\"waiting\"}", receipt);
    /* It is noticed within busy_timeout, for which a reader may have to wait. */
    for (int waited = 0; waited < PATIENCE_MS; waited += 5, usleep(5000)) {
        assert_int_equal(flow_admin(flow, "GET", "/api/writes", NULL), 200);
        if (strstr(flow_body(flow), "\"stalled\":true"))
            break;
    }
    flow_assert_body_has(flow, "{\"waiting\":1,\"stalled\":true,\"failed\":[],\"next\":null}");
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    flow_assert_body_has(flow, "\"one\"");
    flow_assert_cache(flow, "BYPASS");
    assert_int_equal(ask_receipt(flow, "GET", receipt, "", false), 200);
    flow_assert_body_has(flow, "\"state\":\"accepted\"}");
    sqlite3_close(db);
    await_state(flow, receipt, "applied");
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    flow_assert_body_has(flow, "\"waiting\"");
    flow_admin(flow, "GET", "/api/writes", NULL);
    flow_assert_body_has(flow, "{\"waiting\":0,\"stalled\":false,");
}

static void a_write_that_fails_is_told_with_its_reason_and_can_be_repeated(void **state)
{
    struct flow *flow = *state;
    char receipt[RECEIPT_MAX], second[RECEIPT_MAX];

    must_put(flow, 1, "{\"title\":\"many\",\"stars\":6}", receipt);
    await_state(flow, receipt, "failed");
    flow_assert_body_has(flow, "\"request\":\"PUT /api/notes/1\"");
    flow_assert_body_has(flow, "five_stars_at_most");
    flow_assert_body_has(flow, "\"accepted_at\":\"2023-11-14T22:13:20.000Z\"");
    flow_assert_body_has(flow, "\"failed_at\":\"20");
    assert_int_equal(flow_admin(flow, "GET", "/api/writes", NULL), 200);
    flow_assert_body_has(flow, receipt);
    assert_int_equal(ask_receipt(flow, "POST", receipt, "/repeat", true), 202);
    take_receipt(flow, second);
    assert_string_not_equal(second, receipt);
    await_state(flow, receipt, "repeated");
    flow_assert_body_has(flow, "\"successor\":\"");
    flow_assert_body_has(flow, second);
    ask_receipt(flow, "POST", receipt, "/repeat", true);
    flow_assert_problem(flow, 409, "repeated");
    ask_receipt(flow, "DELETE", receipt, "", true);
    flow_assert_problem(flow, 409, "repeated");
    await_state(flow, second, "failed");
    assert_int_equal(ask_receipt(flow, "DELETE", second, "", true), 204);
    await_state(flow, second, "dropped");
    ask_receipt(flow, "DELETE", second, "", true);
    flow_assert_problem(flow, 409, "dropped");
    assert_int_equal(flow_admin(flow, "GET", "/api/writes", NULL), 200);
    flow_assert_body_has(flow, "\"failed\":[]");
}

static void what_was_applied_is_nobodys_to_repeat_or_drop(void **state)
{
    struct flow *flow = *state;
    char receipt[RECEIPT_MAX];

    must_put(flow, 1, "{\"title\":\"new\"}", receipt);
    await_state(flow, receipt, "applied");
    ask_receipt(flow, "POST", receipt, "/repeat", true);
    flow_assert_problem(flow, 409, "applied");
    ask_receipt(flow, "DELETE", receipt, "", true);
    flow_assert_problem(flow, 409, "applied");
}

static void a_receipt_that_was_never_given_is_404(void **state)
{
    static const char *const receipts[] = {"1-0123456789abcdef", "nonsense", "9999999999999999-0123456789abcdef"};
    struct flow *flow = *state;
    char receipt[RECEIPT_MAX];

    for (int given = 0; given < 2; given++) {
        for (size_t i = 0; i < sizeof receipts / sizeof *receipts; i++) {
            ask_receipt(flow, "GET", receipts[i], "", false);
            flow_assert_problem(flow, 404, "receipt");
            ask_receipt(flow, "POST", receipts[i], "/repeat", true);
            flow_assert_problem(flow, 404, "receipt");
            ask_receipt(flow, "DELETE", receipts[i], "", true);
            flow_assert_problem(flow, 404, "receipt");
        }
        must_put(flow, 1, "{\"title\":\"new\"}", receipt);
    }
    receipt[strlen(receipt) - 1] = receipt[strlen(receipt) - 1] == '0' ? '1' : '0';
    ask_receipt(flow, "GET", receipt, "", false);
    flow_assert_problem(flow, 404, "receipt");
}

static void only_admins_list_repeat_and_drop(void **state)
{
    struct flow *flow = *state;
    char receipt[RECEIPT_MAX];

    must_put(flow, 1, "{\"title\":\"many\",\"stars\":6}", receipt);
    await_state(flow, receipt, "failed");
    assert_int_equal(flow_get(flow, "/api/writes"), 401);
    assert_int_equal(ask_receipt(flow, "POST", receipt, "/repeat", false), 401);
    assert_int_equal(ask_receipt(flow, "DELETE", receipt, "", false), 401);
    assert_int_equal(ask_receipt(flow, "GET", receipt, "", false), 200);
    flow_assert_body_has(flow, "\"state\":\"failed\"");
}

static size_t count(const char *text, const char *what)
{
    size_t found = 0;

    for (; (text = strstr(text, what)); text++)
        found++;
    return found;
}

static void failed_writes_are_listed_in_pages(void **state)
{
    enum { FAILED = 250 };
    struct flow *flow = *state;
    char receipt[RECEIPT_MAX] = "", url[128] = "/api/writes";
    size_t seen = 0;

    for (int i = 0; i < FAILED; i++)
        must_put(flow, i + 1, "{\"title\":\"many\",\"stars\":6}", receipt);
    await_state(flow, receipt, "failed");
    for (int page = 0; page < 3; page++) {
        assert_int_equal(flow_admin(flow, "GET", url, NULL), 200);
        seen += count(flow_body(flow), "\"state\":\"failed\"");
        assert_int_equal(seen, page < 2 ? 100 * (page + 1) : FAILED);
        const char *next = strstr(flow_body(flow), "\"next\":");
        assert_non_null(next);
        assert_int_equal(sscanf(next, "\"next\":\"%63[0-9a-f-]\"", receipt), page < 2);
        snprintf(url, sizeof url, "/api/writes?after=%s", receipt);
    }
}

static void a_page_that_begins_behind_no_receipt_is_400(void **state)
{
    static const char *const queries[] = {
        "after=",
        "after=5",
        "after=1-0123456789abcdeg",
        "other=1",
        "after=1-0123456789abcdef&after=1-0123456789abcdef",
        "after=%zz",
        "after",
    };
    struct flow *flow = *state;
    char url[128];

    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        snprintf(url, sizeof url, "/api/writes?%s", queries[i]);
        flow_admin(flow, "GET", url, NULL);
        flow_assert_problem(flow, 400, "after");
    }
    assert_int_equal(flow_admin(flow, "GET", "/api/writes?after=1-0123456789abcdef", NULL), 200);
}

static void what_is_wrong_is_refused_before_it_is_accepted(void **state)
{
    struct flow *flow = *state;

    put(flow, 1, "{\"title\":\"\"}");
    flow_assert_problem(flow, 422, "`title`");
    put(flow, 1, "{}");
    flow_assert_problem(flow, 422, "`title` is missing");
    put(flow, 0, "{\"title\":\"x\"}");
    flow_assert_problem(flow, 400, "`id`");
}

static void without_a_writer_nothing_is_accepted(void **state)
{
    struct flow *flow = *state;
    char receipt[RECEIPT_MAX];

    must_put(flow, 1, "{\"title\":\"first\"}", receipt);
    flow_stop_writer(flow);
    put(flow, 1, "{\"title\":\"second\"}");
    flow_assert_problem(flow, 503, "Nothing was written");
    /* What was accepted had been applied before it went. */
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    flow_assert_body_has(flow, "\"first\"");
    await_state(flow, receipt, "applied");
    flow_start_writer(flow);
    must_put(flow, 1, "{\"title\":\"third\"}", receipt);
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    flow_assert_body_has(flow, "\"third\"");
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
        TEST(an_accepted_write_is_answered_with_where_to_ask_about_it),
        BOTH(who_reads_after_the_answer_reads_what_was_accepted),
        BOTH(the_caches_are_used_again_once_the_purges_have_been_carried_out),
        TEST(what_is_never_cached_and_names_no_tags_waits_for_every_write),
        BOTH(a_row_that_is_accepted_ends_its_remembered_absence),
        TEST(while_nothing_can_be_applied_reads_answer_what_there_is),
        TEST(a_write_that_fails_is_told_with_its_reason_and_can_be_repeated),
        TEST(what_was_applied_is_nobodys_to_repeat_or_drop),
        TEST(a_receipt_that_was_never_given_is_404),
        TEST(only_admins_list_repeat_and_drop),
        TEST(failed_writes_are_listed_in_pages),
        TEST(a_page_that_begins_behind_no_receipt_is_400),
        TEST(what_is_wrong_is_refused_before_it_is_accepted),
        TEST(without_a_writer_nothing_is_accepted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
