/* What a client sees when the database, the writer or L2 fails: a copy while there is one, else 503, never nonsense. */
#include "flow.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sys.h"

#define MINUTE_MS (60 * 1000)

static void assert_unavailable(struct flow *flow, const char *text)
{
    flow_assert_problem(flow, 503, text);
    assert_non_null(flow_header(flow, "Retry-After"));
    /* The client is told nothing of paths and SQL. */
    assert_null(strstr(flow_body(flow), "/tmp/"));
    assert_null(strstr(flow_body(flow), "sqlite"));
    assert_null(strstr(flow_body(flow), "SELECT"));
}

static void without_a_database_nothing_is_ready_but_the_process_is_well(void **state)
{
    struct flow *flow = *state;

    flow_stop_writer(flow);
    flow_remove_database(flow);
    flow_get(flow, "/api/notes/1");
    assert_unavailable(flow, "cannot be read");
    flow_get(flow, "/api/now");
    assert_unavailable(flow, "cannot be read");
    flow_get(flow, "/readyz");
    assert_unavailable(flow, "cannot be read");
    assert_int_equal(flow_get(flow, "/healthz"), 200);
    assert_int_equal(flow_count_keys(flow), 0);
}

/* Note 1 is in the cache, and the database gone: through all ages of the entry. */
static void outlive(struct flow *flow)
{
    flow_reopen(flow);
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    flow_assert_cache(flow, "HIT");
    flow_pass(flow, 2 * MINUTE_MS);
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    flow_assert_cache(flow, "STALE");
    flow_assert_body_has(flow, "\"one\"");
    assert_string_equal(flow_header(flow, "Age"), "120");
    assert_string_equal(flow_header(flow, "Cache-Control"), "no-cache");
    assert_non_null(strstr(flow_header(flow, "Cache-Status"), "hit; ttl=-"));
    flow_get(flow, "/api/notes/2");
    assert_unavailable(flow, "cannot be read");
    flow_pass(flow, 50 * MINUTE_MS);
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    flow_assert_cache(flow, "STALE");
    assert_non_null(strstr(flow_header(flow, "Cache-Status"), "detail=origin-failed"));
    flow_pass(flow, 10 * MINUTE_MS);
    flow_get(flow, "/api/notes/1");
    assert_unavailable(flow, "cannot be read");
}

static void a_copy_outlives_a_database_that_is_gone(void **state)
{
    struct flow *flow = *state;

    flow_get(flow, "/api/notes/1");
    flow_stop_writer(flow);
    flow_remove_database(flow);
    outlive(flow);
}

static void a_copy_outlives_a_database_that_is_damaged(void **state)
{
    struct flow *flow = *state;

    flow_get(flow, "/api/notes/1");
    flow_stop_writer(flow);
    flow_damage_database(flow);
    outlive(flow);
}

static void a_copy_outlives_a_statement_that_fails(void **state)
{
    struct flow *flow = *state;

    flow_get(flow, "/api/notes/1");
    flow_execute(flow, "ALTER TABLE notes RENAME TO somewhere_else");
    flow_pass(flow, 2 * MINUTE_MS);
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    flow_assert_cache(flow, "STALE");
    flow_get(flow, "/api/notes/2");
    assert_unavailable(flow, "cannot be read");
    flow_execute(flow, "ALTER TABLE somewhere_else RENAME TO notes");
    assert_int_equal(flow_get(flow, "/api/notes/2"), 200);
}

static void a_stale_copy_does_not_survive_a_purge(void **state)
{
    struct flow *flow = *state;

    flow_get(flow, "/api/notes/1");
    flow_pass(flow, 2 * MINUTE_MS);
    assert_int_equal(flow_admin(flow, "POST", "/api/cache/invalidate", "{\"tag\":\"note:1\"}"), 200);
    flow_execute(flow, "ALTER TABLE notes RENAME TO somewhere_else");
    flow_get(flow, "/api/notes/1");
    assert_unavailable(flow, "cannot be read");
}

static void a_statement_that_takes_too_long_is_ended(void **state)
{
    struct flow *flow = *state;

    flow_get(flow, "/api/slow");
    assert_unavailable(flow, "in time");
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
}

static int patch(struct flow *flow, const char *body)
{
    return flow_ask(flow, &(struct flow_request){.method = "PATCH", .url = "/api/notes/1", .body = body});
}

static void without_a_writer_reading_goes_on_and_writing_says_so(void **state)
{
    struct flow *flow = *state;

    flow_stop_writer(flow);
    patch(flow, "{\"stars\":4}");
    assert_unavailable(flow, "Nothing was written");
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    flow_assert_body_has(flow, "\"stars\":1");
    flow_start_writer(flow);
    assert_int_equal(patch(flow, "{\"stars\":4}"), 204);
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    flow_assert_body_has(flow, "\"stars\":4");
}

static void a_database_that_another_program_has_locked_takes_no_write(void **state)
{
    struct flow *flow = *state;
    sqlite3 *other;

    assert_int_equal(sqlite3_open(flow_database(flow), &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE; UPDATE notes SET stars = 5 WHERE id = 3", NULL, NULL, NULL),
                     SQLITE_OK);
    patch(flow, "{\"stars\":4}");
    assert_unavailable(flow, "try again shortly");
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    flow_assert_body_has(flow, "\"stars\":1");
    assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    assert_int_equal(patch(flow, "{\"stars\":4}"), 204);
}

static int open_without_l2(void **state)
{
    *state = flow_open_at("unix:///nonexistent/larder-test.sock");
    return 0;
}

static void without_l2_everything_is_answered_by_the_database(void **state)
{
    struct flow *flow = *state;

    for (int i = 0; i < 20; i++) {
        assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
        flow_assert_cache(flow, "MISS");
        assert_string_equal(flow_header(flow, "Cache-Status"), "larder; fwd=miss");
    }
    assert_int_equal(flow_get(flow, "/api/notes/99"), 404);
    assert_int_equal(flow_get(flow, "/readyz"), 200);
    flow_assert_body_has(flow, "\"cache\":\"away\"");
    assert_int_equal(flow_admin(flow, "GET", "/api/cache/status", NULL), 200);
    flow_assert_body_has(flow, "\"reachable\":false");
}

static void what_l2_was_not_told_of_is_in_force_here_and_kept(void **state)
{
    struct flow *flow = *state;

    assert_int_equal(patch(flow, "{\"stars\":4}"), 204);
    assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    flow_assert_body_has(flow, "\"stars\":4");
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM larder_outbox"), 1);
    assert_int_equal(flow_admin(flow, "POST", "/api/cache/invalidate", "{\"pattern\":\"notes:*\"}"), 202);
    flow_assert_body_has(flow, "\"pending\":true");
    assert_int_equal(flow_admin(flow, "DELETE", "/api/cache/key/notes:one:1", NULL), 202);
    assert_int_equal(flow_admin(flow, "PURGE", "/api/notes/1", NULL), 202);
    assert_int_equal(flow_admin(flow, "POST", "/api/cache/clear", NULL), 202);
    assert_int_equal(flow_integer(flow, "SELECT count(*) FROM larder_outbox"), 5);
    flow_admin(flow, "GET", "/api/cache/keys", NULL);
    assert_unavailable(flow, "cannot be read");
    flow_admin(flow, "GET", "/api/cache/key/notes:one:1", NULL);
    assert_unavailable(flow, "cannot be read");
    assert_int_equal(flow_admin(flow, "GET", "/api/cache/status", NULL), 200);
    flow_assert_body_has(flow, "\"distrusted\":true");
}

static void an_l2_that_dies_and_returns_is_no_error_to_anybody(void **state)
{
    struct flow *flow = *state;
    bool hit = false;

    flow_get(flow, "/api/notes/1");
    flow_get(flow, "/api/notes/1");
    flow_assert_cache(flow, "HIT");
    flow_stop_l2(flow);
    for (int i = 0; i < 20; i++)
        assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
    flow_start_l2(flow);
    /* Once the breaker has tried it again. */
    for (int64_t end_ms = sys_monotonic_ms() + 20000; !hit && sys_monotonic_ms() < end_ms; usleep(5000)) {
        assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
        hit = strcmp(flow_header(flow, "X-Cache"), "HIT") == 0;
    }
    assert_true(hit);
}

static void what_was_written_while_l2_hung_is_never_read_as_it_was(void **state)
{
    struct flow *flow = *state;

    flow_get(flow, "/api/notes/1");
    flow_get(flow, "/api/notes/1");
    flow_assert_cache(flow, "HIT");
    flow_hang_l2(flow);
    assert_int_equal(patch(flow, "{\"stars\":5}"), 204);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
        flow_assert_body_has(flow, "\"stars\":5");
    }
    flow_resume_l2(flow);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(flow_get(flow, "/api/notes/1"), 200);
        flow_assert_body_has(flow, "\"stars\":5");
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, flow_setup_memory, flow_teardown)
#define REDIS(name) cmocka_unit_test_setup_teardown(name, flow_setup_redis, flow_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_a_database_nothing_is_ready_but_the_process_is_well),
        TEST(a_copy_outlives_a_database_that_is_gone),
        TEST(a_copy_outlives_a_database_that_is_damaged),
        TEST(a_copy_outlives_a_statement_that_fails),
        TEST(a_stale_copy_does_not_survive_a_purge),
        TEST(a_statement_that_takes_too_long_is_ended),
        TEST(without_a_writer_reading_goes_on_and_writing_says_so),
        TEST(a_database_that_another_program_has_locked_takes_no_write),
        cmocka_unit_test_setup_teardown(without_l2_everything_is_answered_by_the_database, open_without_l2,
                                        flow_teardown),
        cmocka_unit_test_setup_teardown(what_l2_was_not_told_of_is_in_force_here_and_kept, open_without_l2,
                                        flow_teardown),
        REDIS(an_l2_that_dies_and_returns_is_no_error_to_anybody),
        REDIS(what_was_written_while_l2_hung_is_never_read_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
