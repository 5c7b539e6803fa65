/* Following the purge log: every purge is told once and in order, and whatever could be missing is a gap. */
#include "l2_fixture.h"

#include "l2/l2_log.h"

static struct server redis;

struct follower {
    struct host host;
    struct l2_log *log;
    struct l2_log_record record;
    const char *why;
};

static int set_up(void **state)
{
    struct follower *follower = calloc(1, sizeof(*follower));

    server_start(&redis, NULL, NULL);
    follower->host.config = usual_config();
    host_connect(&follower->host, &redis);
    follower->log = l2_log_open(&follower->host.config, follower->host.shared, NULL);
    *state = follower;
    return 0;
}

static int tear_down(void **state)
{
    struct follower *follower = *state;

    l2_log_close(&follower->log);
    host_close(&follower->host);
    free(follower);
    server_remove(&redis);
    redis = (struct server){0};
    return 0;
}

static enum l2_log_event next(struct follower *follower, int64_t wait_ms)
{
    return l2_log_next(follower->log, wait_ms, &follower->record, &follower->why);
}

static void expect(struct follower *follower, enum l2_log_event event)
{
    assert_int_equal(next(follower, 0), event);
}

/* Goes on after trouble: how many gaps there were until the follower was level again. */
static unsigned catch_up(struct follower *follower)
{
    int64_t end_ms = sys_monotonic_ms() + PATIENCE_MS;
    unsigned gaps = 0;

    for (;;) {
        enum l2_log_event event = next(follower, 0);

        assert_true(sys_monotonic_ms() < end_ms);
        if (event == L2_LOG_LEVEL)
            return gaps;
        gaps += event == L2_LOG_GAP;
    }
}

static void the_first_contact_is_a_gap_and_then_it_is_level(void **state)
{
    struct follower *follower = *state;

    assert_int_equal(l2_log_number(follower->log), 0);
    expect(follower, L2_LOG_GAP);
    assert_true(l2_log_number(follower->log) > 0);
    int64_t before_ms = sys_monotonic_ms();
    expect(follower, L2_LOG_LEVEL);
    assert_true(l2_log_level_ms(follower->log) >= before_ms);
    assert_int_equal(next(follower, 30), L2_LOG_LEVEL);
    assert_true(sys_monotonic_ms() - before_ms >= 30);
}

static void every_kind_of_purge_is_told_as_it_was_asked_for(void **state)
{
    static const struct {
        enum l2_purge_kind kind;
        bool soft;
        const char *name;
        enum l2_purge_kind told;
    } cases[] = {
        {L2_PURGE_KEYS, false, "key", L2_PURGE_KEYS},        {L2_PURGE_KEYS, true, "a\nb", L2_PURGE_KEYS},
        {L2_PURGE_TAGS, false, "tag", L2_PURGE_TAGS},        {L2_PURGE_TAGS, true, "tag", L2_PURGE_TAGS},
        {L2_PURGE_PATTERN, false, "a*", L2_PURGE_PATTERN},   {L2_PURGE_PATTERN, true, "a* h %", L2_PURGE_PATTERN},
        {L2_PURGE_PATTERN, false, "literal", L2_PURGE_KEYS}, {L2_PURGE_PATTERN, true, "a*\n", L2_PURGE_ALL},
        {L2_PURGE_ALL, false, NULL, L2_PURGE_ALL},           {L2_PURGE_ALL, true, NULL, L2_PURGE_ALL},
    };
    struct follower *follower = *state;

    assert_int_equal(catch_up(follower), 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        uint64_t id = 0, last = l2_log_number(follower->log);

        assert_int_equal(purge_as(follower->host.waiting, cases[i].kind, cases[i].soft, cases[i].name, NULL, &id),
                         ERR_OK);
        expect(follower, L2_LOG_RECORD);
        assert_int_equal(follower->record.number, last + 1);
        assert_int_equal(l2_log_number(follower->log), last + 1);
        assert_int_equal(follower->record.purge.kind, cases[i].told);
        assert_int_equal(follower->record.purge.soft, cases[i].soft);
        if (cases[i].told == L2_PURGE_PATTERN)
            assert_int_equal(id, follower->record.number);
        if (cases[i].told == L2_PURGE_ALL) {
            assert_int_equal(follower->record.purge.names_count, 0);
        } else {
            assert_int_equal(follower->record.purge.names_count, 1);
            assert_true(str_equal(follower->record.purge.names[0], str_from(cases[i].name)));
        }
        expect(follower, L2_LOG_LEVEL);
    }
}

static void one_record_carries_as_many_names_as_there_may_be(void **state)
{
    static char texts[L2_NAMES_MAX + 1][16];
    struct follower *follower = *state;
    struct str names[L2_NAMES_MAX + 1];
    struct l2_purge purge = {.kind = L2_PURGE_KEYS, .names = names, .names_count = L2_NAMES_MAX + 1};

    for (size_t i = 0; i <= L2_NAMES_MAX; i++) {
        snprintf(texts[i], sizeof(texts[i]), "key %zu", i);
        names[i] = str_from(texts[i]);
    }
    catch_up(follower);
    assert_int_equal(l2_purge(follower->host.waiting, &purge, NULL, NULL), ERR_OK);
    expect(follower, L2_LOG_RECORD);
    assert_int_equal(follower->record.purge.names_count, L2_NAMES_MAX);
    for (size_t i = 0; i < L2_NAMES_MAX; i++)
        assert_true(str_equal(follower->record.purge.names[i], names[i]));
    expect(follower, L2_LOG_RECORD);
    assert_int_equal(follower->record.purge.names_count, 1);
    assert_true(str_equal(follower->record.purge.names[0], names[L2_NAMES_MAX]));
}

static pid_t write_purges(const struct host *model, unsigned count, long pause_ms)
{
    pid_t pid = fork();

    if (pid == 0) {
        struct host host = {.config = model->config, .shared = model->shared};

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        host_open(&host);
        for (unsigned i = 0; i < count; i++) {
            if (purge_as(host.waiting, i % 2 ? L2_PURGE_TAGS : L2_PURGE_KEYS, i % 3 == 0, "name", NULL, NULL) != ERR_OK)
                _exit(1);
            if (pause_ms)
                nap(pause_ms);
        }
        _exit(0);
    }
    return pid;
}

static void ten_thousand_purges_by_two_writers_have_no_gap(void **state)
{
    enum { EACH = 5000 };
    struct follower *follower = *state;
    unsigned records = 0, levels = 0;
    pid_t writers[2];
    int status;

    catch_up(follower);
    uint64_t last = l2_log_number(follower->log);

    for (size_t i = 0; i < 2; i++)
        writers[i] = write_purges(&follower->host, EACH, 0);
    while (records < 2 * EACH) {
        enum l2_log_event event = next(follower, 1000);

        if (event == L2_LOG_RECORD) {
            assert_int_equal(follower->record.number, ++last);
            records++;
        } else {
            assert_int_equal(event, L2_LOG_LEVEL);
            levels++;
        }
    }
    expect(follower, L2_LOG_LEVEL);
    for (size_t i = 0; i < 2; i++) {
        waitpid(writers[i], &status, 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(next(follower, 10), L2_LOG_LEVEL);
    assert_true(levels > 0);
}

/* A purge every few milliseconds must not keep the follower from being known to be up to date. */
static void it_is_level_in_between_however_many_purges_come(void **state)
{
    struct follower *follower = *state;
    unsigned levels = 0;
    pid_t writer;
    int status;

    catch_up(follower);
    writer = write_purges(&follower->host, 300, 2);
    for (unsigned records = 0; records < 300;) {
        enum l2_log_event event = next(follower, 250);

        records += event == L2_LOG_RECORD;
        levels += event == L2_LOG_LEVEL;
        assert_true(event == L2_LOG_RECORD || event == L2_LOG_LEVEL);
    }
    waitpid(writer, &status, 0);
    assert_int_equal(status, 0);
    assert_true(levels > 1);
}

static void a_purge_ends_the_waiting(void **state)
{
    struct follower *follower = *state;
    pid_t writer;

    catch_up(follower);
    writer = write_purges(&follower->host, 1, 0);
    assert_int_equal(next(follower, PATIENCE_MS), L2_LOG_RECORD);
    waitpid(writer, NULL, 0);
}

#define HASH "l*rder[:1:purged"
#define LOG "l*rder[:1:log"

/* Each way of losing something, when the follower is level and when it is one purge behind; whether that is a gap. */
static void whatever_is_lost_is_a_gap(void **state)
{
    static const struct {
        const char *command, *key;
        bool gap_level, gap_behind;
    } cases[] = {
        {"PING", NULL, false, false},
        {"FLUSHALL", NULL, true, true},
        {"DEL %s", HASH, true, true},
        {"HDEL %s seq", HASH, true, true},
        {"HINCRBY %s seq -1", HASH, true, true},
        {"HINCRBY %s seq 1", HASH, true, true},
        {"DEL %s", LOG, false, true},
        {"XTRIM %s MAXLEN 0", LOG, false, true},
        {"XADD %s 99999999999999999-0 kind k name x", LOG, true, true},
        {"XADD %s * other field", LOG, false, true},
    };
    struct follower *follower = *state;

    for (size_t i = 0; i < 4 * (sizeof(cases) / sizeof(*cases)); i++) {
        bool behind = i % 2, purged_after = i / 2 % 2, gap = behind ? cases[i / 4].gap_behind : cases[i / 4].gap_level;

        /* The next purge puts away what stands too high, and nothing was lost by it. */
        if (!behind && purged_after && strstr(cases[i / 4].command, "999"))
            gap = false;
        operate(&redis, "FLUSHALL");
        catch_up(follower);
        purge_tag(&follower->host, "a");
        assert_int_equal(catch_up(follower), 0);
        if (behind)
            purge_tag(&follower->host, "b");
        operate(&redis, cases[i / 4].command, cases[i / 4].key);
        if (purged_after)
            purge_tag(&follower->host, "c");
        if ((catch_up(follower) > 0) != gap)
            fail_msg("case %zu, %s, %s", i / 4, behind ? "behind" : "level",
                     gap ? "should be a gap" : "should be none");
        purge_tag(&follower->host, "d");
        expect(follower, L2_LOG_RECORD);
        expect(follower, L2_LOG_LEVEL);
    }
}

static void what_is_lost_while_it_waits_is_a_gap_too(void **state)
{
    static const struct {
        const char *command, *key;
    } cases[] = {{"FLUSHALL", NULL}, {"DEL %s", HASH}, {"HINCRBY %s seq -1", HASH}};
    struct follower *follower = *state;

    for (size_t i = 0; i < 2 * (sizeof(cases) / sizeof(*cases)); i++) {
        enum l2_log_event event;
        pid_t child;

        catch_up(follower);
        child = fork();
        if (child == 0) {
            nap(20);
            operate(&redis, cases[i / 2].command, cases[i / 2].key);
            if (i % 2) {
                host_open(&follower->host);
                purge_tag(&follower->host, "x");
            }
            _exit(0);
        }
        event = next(follower, 300);
        waitpid(child, NULL, 0);
        /* The purge that begins anew tells of everything, and is not the next number. */
        assert_int_equal(event == L2_LOG_LEVEL ? next(follower, 300) : event, L2_LOG_GAP);
        purge_tag(&follower->host, "y");
        expect(follower, L2_LOG_RECORD);
    }
}

/* The log deleted under the reader that waits on it, and made again by the next purge: nothing is lost. */
static void a_log_deleted_under_a_waiting_follower_goes_on(void **state)
{
    struct follower *follower = *state;
    pid_t child;

    purge_tag(&follower->host, "w");
    catch_up(follower);
    child = fork();
    if (child == 0) {
        nap(20);
        operate(&redis, "DEL %s", LOG);
        host_open(&follower->host);
        purge_tag(&follower->host, "x");
        _exit(0);
    }
    assert_int_equal(next(follower, PATIENCE_MS), L2_LOG_RECORD);
    expect(follower, L2_LOG_LEVEL);
    waitpid(child, NULL, 0);
}

static void restart(void)
{
    server_kill(&redis);
    server_start(&redis, NULL, NULL);
}

static void a_server_started_anew_is_a_gap(void **state)
{
    struct follower *follower = *state;

    catch_up(follower);
    restart();
    expect(follower, L2_LOG_BROKEN);
    assert_true(strlen(follower->why) > 0);
    assert_int_equal(catch_up(follower), 1);
}

/* The old contents are back, and a host that knows nothing of what was lost has purged on: the numbers alone fit. */
static void a_server_back_with_old_contents_is_a_gap(void **state)
{
    struct follower *follower = *state;

    for (int purged_on = 0; purged_on < 3; purged_on++) {
        struct host stranger = {.config = usual_config()};

        purge_tag(&follower->host, "saved");
        operate(&redis, "SAVE");
        purge_tag(&follower->host, "lost");
        catch_up(follower);
        restart();
        host_connect(&stranger, &redis);
        for (int i = 0; i < purged_on; i++)
            purge_tag(&stranger, "other");
        expect(follower, L2_LOG_BROKEN);
        assert_int_equal(catch_up(follower), 1);
        host_close(&stranger);
    }
}

static void a_connection_that_is_cut_loses_nothing(void **state)
{
    struct follower *follower = *state;

    catch_up(follower);
    operate(&redis, "CLIENT KILL TYPE normal");
    purge_tag(&follower->host, "a");
    expect(follower, L2_LOG_BROKEN);
    expect(follower, L2_LOG_RECORD);
    expect(follower, L2_LOG_LEVEL);
    assert_int_equal(status_of(&follower->host).breaker_opened, 0);
}

static void a_follower_too_far_behind_has_a_gap(void **state)
{
    struct follower *follower = *state;

    catch_up(follower);
    purge_tag(&follower->host, "a");
    purge_tag(&follower->host, "b");
    operate(&redis, "XTRIM %s MAXLEN 1", LOG);
    expect(follower, L2_LOG_GAP);
    expect(follower, L2_LOG_LEVEL);
}

static void the_log_is_kept_in_bounds(void **state)
{
    struct follower *follower = *state;
    pid_t writer = write_purges(&follower->host, 11000, 0);
    int status;

    waitpid(writer, &status, 0);
    assert_int_equal(status, 0);
    assert_true(operate(&redis, "XLEN %s", LOG) < 10500);
    assert_true(operate(&redis, "PTTL %s", LOG) > 0);
    assert_true(operate(&redis, "PTTL %s", HASH) > 0);
}

static void a_server_that_hangs_is_noticed_in_time(void **state)
{
    struct follower *follower = *state;
    int64_t began_ms;

    follower->host.config.redis.timeout_ms = 200;
    catch_up(follower);
    for (int wait_ms = 0; wait_ms <= 100; wait_ms += 100) {
        server_hang(&redis);
        began_ms = sys_monotonic_ms();
        assert_int_equal(next(follower, wait_ms), L2_LOG_BROKEN);
        assert_true(sys_monotonic_ms() - began_ms >= 200 + wait_ms);
        assert_true(sys_monotonic_ms() - began_ms < PATIENCE_MS);
        kill(redis.pid, SIGCONT);
        assert_int_equal(catch_up(follower), 0);
    }
    server_kill(&redis);
    expect(follower, L2_LOG_BROKEN);
    expect(follower, L2_LOG_BROKEN);
    /* The breaker is for the verbs. */
    assert_int_equal(status_of(&follower->host).breaker_opened, 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(the_first_contact_is_a_gap_and_then_it_is_level),
        CASE(every_kind_of_purge_is_told_as_it_was_asked_for),
        CASE(one_record_carries_as_many_names_as_there_may_be),
        CASE(ten_thousand_purges_by_two_writers_have_no_gap),
        CASE(it_is_level_in_between_however_many_purges_come),
        CASE(a_purge_ends_the_waiting),
        CASE(whatever_is_lost_is_a_gap),
        CASE(what_is_lost_while_it_waits_is_a_gap_too),
        CASE(a_log_deleted_under_a_waiting_follower_goes_on),
        CASE(a_server_started_anew_is_a_gap),
        CASE(a_server_back_with_old_contents_is_a_gap),
        CASE(a_connection_that_is_cut_loses_nothing),
        CASE(a_follower_too_far_behind_has_a_gap),
        CASE(the_log_is_kept_in_bounds),
        CASE(a_server_that_hangs_is_noticed_in_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
