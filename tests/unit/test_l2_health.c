/* The breaker's states, distrust, and what the processes of a host know together. */
#include "l2/l2_health.h"

#include "l2_fixture.h"

static int set_up(void **state)
{
    struct config config = usual_config();
    struct l2_health *health;

    log_init(STDERR_FILENO, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    config.breaker.failures = 3;
    config.breaker.open_ms = 20;
    if (l2_health_new(&config, &health) != ERR_OK)
        return -1;
    *state = health;
    return 0;
}

static int tear_down(void **state)
{
    struct l2_health *health = *state;

    l2_health_free(&health);
    return 0;
}

static enum l2_breaker breaker(const struct l2_health *health)
{
    struct l2_status status;

    l2_health_status(health, &status);
    return status.breaker;
}

static void fail_times(struct l2_health *health, int times)
{
    for (int i = 0; i < times; i++)
        l2_health_failed(health, "why");
}

static void wait_admitted(struct l2_health *health)
{
    int64_t end_ms = sys_monotonic_ms() + PATIENCE_MS;

    while (!l2_health_admit(health, false)) {
        assert_true(sys_monotonic_ms() < end_ms);
        nap(1);
    }
}

static void failures_in_a_row_open_the_breaker(void **state)
{
    fail_times(*state, 2);
    l2_health_succeeded(*state);
    fail_times(*state, 2);
    assert_int_equal(breaker(*state), L2_CLOSED);
    assert_true(l2_health_admit(*state, false));
    fail_times(*state, 1);
    assert_int_equal(breaker(*state), L2_OPEN);
}

static void an_open_breaker_lets_one_probe_through_after_a_while(void **state)
{
    fail_times(*state, 3);
    wait_admitted(*state);
    assert_int_equal(breaker(*state), L2_HALF_OPEN);
    assert_false(l2_health_admit(*state, false));
    assert_true(l2_health_admit(*state, true));
    l2_health_succeeded(*state);
    assert_int_equal(breaker(*state), L2_HALF_OPEN);
    assert_true(l2_health_admit(*state, false));
    l2_health_succeeded(*state);
    assert_int_equal(breaker(*state), L2_CLOSED);
}

static void a_failed_probe_opens_it_again(void **state)
{
    struct l2_status status;

    fail_times(*state, 3);
    wait_admitted(*state);
    l2_health_failed(*state, "the probe");
    l2_health_status(*state, &status);
    assert_int_equal(status.breaker, L2_OPEN);
    assert_int_equal(status.breaker_opened, 2);
    assert_true(str_equal(status.last_error, STR("the probe")));
    assert_true(status.last_error_ms > 0);
}

static void late_results_do_not_disturb_an_open_breaker(void **state)
{
    fail_times(*state, 30);
    l2_health_succeeded(*state);
    l2_health_succeeded(*state);
    assert_int_equal(breaker(*state), L2_OPEN);
    wait_admitted(*state);
    l2_health_succeeded(*state);
    l2_health_succeeded(*state);
    fail_times(*state, 2);
    assert_int_equal(breaker(*state), L2_CLOSED);
}

static void the_state_is_the_hosts(void **state)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        fail_times(*state, 3);
        l2_health_distrust(*state, "why");
        l2_health_saw(*state, 7);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    uint64_t epoch;
    assert_int_equal(breaker(*state), L2_OPEN);
    assert_true(l2_health_distrusted(*state, &epoch));
    assert_int_equal(l2_health_seen(*state), 7);
}

static void distrust_ends_only_when_no_purge_was_lost_since(void **state)
{
    uint64_t first, second;

    assert_false(l2_health_distrusted(*state, &first));
    l2_health_trust(*state, first);
    assert_false(l2_health_distrusted(*state, &first));
    l2_health_distrust(*state, "why");
    assert_true(l2_health_distrusted(*state, &first));
    l2_health_distrust(*state, "why");
    l2_health_trust(*state, first);
    assert_true(l2_health_distrusted(*state, &second));
    l2_health_trust(*state, second);
    assert_false(l2_health_distrusted(*state, &second));
    l2_health_trust(*state, first);
    assert_false(l2_health_distrusted(*state, &second));
}

/* Which events of distrust and trust LOG holds now; it is empty then. */
static const char *told(FILE *log)
{
    static char text[4096];
    ssize_t len = pread(fileno(log), text, sizeof(text) - 1, 0);

    text[len > 0 ? len : 0] = '\0';
    assert_int_equal(ftruncate(fileno(log), 0), 0);
    assert_int_equal(lseek(fileno(log), 0, SEEK_SET), 0);
    return strstr(text, "l2_distrusted") ? "distrusted" : strstr(text, "l2_trusted") ? "trusted" : "";
}

static void a_start_is_no_event_and_what_goes_wrong_at_it_is(void **state)
{
    const struct config config = usual_config();
    FILE *log = tmpfile();
    uint64_t epoch;

    log_init(fileno(log), LOG_LEVEL_NOTICE, LOG_FORMAT_TEXT);
    l2_health_begin(*state, "why");
    assert_true(l2_health_distrusted(*state, &epoch));
    l2_health_trust(*state, epoch);
    assert_false(l2_health_distrusted(*state, &epoch));
    assert_string_equal(told(log), "");
    l2_health_distrust(*state, "why");
    assert_string_equal(told(log), "distrusted");
    assert_true(l2_health_distrusted(*state, &epoch));
    l2_health_trust(*state, epoch);
    assert_string_equal(told(log), "trusted");

    struct l2_health *other;
    assert_int_equal(l2_health_new(&config, &other), ERR_OK);
    l2_health_begin(other, "why");
    l2_health_distrust(other, "why");
    assert_string_equal(told(log), "distrusted");
    l2_health_distrust(other, "why");
    assert_string_equal(told(log), "");
    assert_true(l2_health_distrusted(other, &epoch));
    l2_health_trust(other, epoch);
    assert_string_equal(told(log), "trusted");
    l2_health_free(&other);
    log_init(STDERR_FILENO, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    fclose(log);
}

static void the_highest_number_stays(void **state)
{
    l2_health_saw(*state, 5);
    l2_health_saw(*state, 3);
    assert_int_equal(l2_health_seen(*state), 5);
}

static void a_long_reason_is_cut(void **state)
{
    struct l2_status status;
    char why[1000];

    memset(why, 'x', sizeof(why) - 1);
    why[sizeof(why) - 1] = '\0';
    for (int i = 0; i < 20; i++)
        l2_health_note(*state, why);
    l2_health_status(*state, &status);
    assert_true(status.last_error.len > 100 && status.last_error.len < 200);
    assert_int_equal(status.breaker, L2_CLOSED);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(failures_in_a_row_open_the_breaker),
        CASE(an_open_breaker_lets_one_probe_through_after_a_while),
        CASE(a_failed_probe_opens_it_again),
        CASE(late_results_do_not_disturb_an_open_breaker),
        CASE(the_state_is_the_hosts),
        CASE(distrust_ends_only_when_no_purge_was_lost_since),
        CASE(a_start_is_no_event_and_what_goes_wrong_at_it_is),
        CASE(the_highest_number_stays),
        CASE(a_long_reason_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
