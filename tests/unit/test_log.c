/* Lines of the log. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/sys.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define LINE_MAX_LEN 8192

/* The log goes into a file without a name, read back as it then stands. */
static int open_sink(void **state)
{
    FILE *sink = tmpfile();

    *state = sink;
    log_init(fileno(sink), LOG_LEVEL_NOTICE, LOG_FORMAT_TEXT);
    log_role("worker");
    return 0;
}

static int close_sink(void **state)
{
    log_init(STDERR_FILENO, LOG_LEVEL_NOTICE, LOG_FORMAT_TEXT);
    return fclose(*state);
}

/* What was logged since the last time; ends with the line's newline, cut off. */
static struct buf logged(FILE *sink)
{
    struct buf out = {0};
    off_t len = lseek(fileno(sink), 0, SEEK_END);

    buf_reserve(&out, (size_t)len);
    assert_int_equal(pread(fileno(sink), out.p, (size_t)len, 0), len);
    out.len = (size_t)len;
    out.p[out.len] = '\0';
    assert_int_equal(ftruncate(fileno(sink), 0), 0);
    assert_int_equal(lseek(fileno(sink), 0, SEEK_SET), 0);
    if (out.len > 0) {
        assert_int_equal(out.p[out.len - 1], '\n');
        out.p[--out.len] = '\0';
    }
    return out;
}

static void a_line_holds_time_level_role_event_and_fields(void **state)
{
    struct buf line;
    char rest[64];
    int year, month, day, hour, minute, second, ms, pid;

    log_event(LOG_LEVEL_WARNING, "l2_lost", LOG_TEXT("why", "connection refused"), LOG_INT("pending", -3));
    line = logged(*state);
    assert_int_equal(sscanf(line.p, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ warning worker[%d] l2_lost why=%63[^@]", &year,
                            &month, &day, &hour, &minute, &second, &ms, &pid, rest),
                     9);
    assert_int_equal(pid, getpid());
    assert_true(year >= 2024);
    assert_string_equal(rest, "\"connection refused\" pending=-3");
    buf_free(&line);
}

static void an_event_needs_no_fields(void **state)
{
    struct buf line;

    log_event(LOG_LEVEL_ERROR, "stopped");
    line = logged(*state);
    assert_non_null(strstr(line.p, "] stopped"));
    assert_string_equal(strstr(line.p, "] stopped"), "] stopped");
    buf_free(&line);
}

static void levels_below_the_chosen_one_are_silent(void **state)
{
    struct buf line;

    assert_true(log_enabled(LOG_LEVEL_ERROR));
    assert_true(log_enabled(LOG_LEVEL_NOTICE));
    assert_false(log_enabled(LOG_LEVEL_INFO));
    log_event(LOG_LEVEL_INFO, "unseen");
    line = logged(*state);
    assert_int_equal(line.len, 0);
    buf_free(&line);
}

static void values_are_quoted_where_they_could_mislead(void **state)
{
    static const struct {
        struct str value;
        const char *shown;
    } table[] = {
        {STR("AAPL"), "AAPL"},
        {STR("/api/stocks/BRK.B"), "/api/stocks/BRK.B"},
        {STR(""), "\"\""},
        {STR("two words"), "\"two words\""},
        {STR("a=b"), "\"a=b\""},
        {STR("say \"no\" \\"), "\"say \\\"no\\\" \\\\\""},
        {STR("a\nb\tc\rd"), "\"a\\nb\\tc\\rd\""},
        {STR("\x1b[2J\x7f\0"), "\"\\u001b[2J\\u007f\\u0000\""},
        {STR("Brown\xe2\x80\x93"
             "Forman"),
         "\"Brown\xe2\x80\x93"
         "Forman\""},
        {STR("\xc2\x85\xc2\x9b\xe2\x80\xa8\xe2\x80\xa9"), "\"\\u0085\\u009b\\u2028\\u2029\""},
        {STR("\xff\xc3"), "\"\\xff\\xc3\""},
    };

    for (size_t i = 0; i < COUNT(table); i++) {
        struct buf line;

        log_event(LOG_LEVEL_NOTICE, "e", LOG_STR("v", table[i].value));
        line = logged(*state);
        assert_string_equal(strstr(line.p, " v=") + 3, table[i].shown);
        buf_free(&line);
    }
}

static const char *member(struct json_object *object, const char *name)
{
    struct json_object *value = NULL;

    assert_true(json_object_object_get_ex(object, name, &value));
    return json_object_get_string(value);
}

static void a_json_line_says_the_same(void **state)
{
    struct json_object *object;
    struct buf line;

    log_init(fileno(*state), LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    log_event(LOG_LEVEL_DEBUG, "l2_lost", LOG_STR("why", STR("a \"b\"\n\xff\x01")), LOG_INT("pending", INT64_MIN));
    line = logged(*state);
    object = json_tokener_parse(line.p);
    assert_non_null(object);
    assert_int_equal(strlen(member(object, "time")), strlen("2026-11-21T06:00:00.123Z"));
    assert_string_equal(member(object, "level"), "debug");
    assert_string_equal(member(object, "role"), "worker");
    assert_int_equal(atoi(member(object, "pid")), getpid());
    assert_string_equal(member(object, "event"), "l2_lost");
    assert_string_equal(member(object, "why"), "a \"b\"\n\xef\xbf\xbd\x01");
    assert_string_equal(member(object, "pending"), "-9223372036854775808");
    json_object_put(object);
    buf_free(&line);
}

/* A line of several fields whose lengths lie around the limit, filled with UNIT again and again. */
static struct buf log_long(FILE *sink, struct str unit, size_t len)
{
    struct buf text = {0}, line;

    while (text.len < len)
        buf_add_str(&text, unit);
    log_event(LOG_LEVEL_NOTICE, "long", LOG_STR("a", buf_str(&text)), LOG_INT("n", 123456789),
              LOG_STR("b", buf_str(&text)), LOG_STR("c", STR("x y")));
    line = logged(sink);
    assert_true(line.len < LINE_MAX_LEN);
    assert_true(str_is_utf8(buf_str(&line)));
    assert_null(memchr(line.p, '\n', line.len));
    buf_free(&text);
    return line;
}

static const struct str units[] = {STR("x"), STR("\n"), STR("\xe2\x80\x93"), STR("\xff"), STR("\""), STR("word ")};

static void a_line_too_long_is_cut_and_stays_one_line(void **state)
{
    for (size_t i = 0; i < COUNT(units); i++)
        for (size_t len = 7900; len < 8250; len += 3) {
            struct buf line = log_long(*state, units[i], len);

            assert_true(line.len > 4000);
            buf_free(&line);
        }
}

static void a_json_line_too_long_stays_json(void **state)
{
    log_init(fileno(*state), LOG_LEVEL_NOTICE, LOG_FORMAT_JSON);
    for (size_t i = 0; i < COUNT(units); i++)
        for (size_t len = 1000; len < 8300; len += len < 7900 ? 97 : 1) {
            struct buf line = log_long(*state, units[i], len);
            struct json_object *object = json_tokener_parse(line.p);

            assert_non_null(object);
            assert_string_equal(member(object, "event"), "long");
            json_object_put(object);
            buf_free(&line);
        }
}

static void a_report_becomes_a_line_for_each_of_its_lines(void **state)
{
    struct report *report = report_new();
    struct buf lines;

    report_add(report, "stock.sql", 3, 0, "unknown type `txt`");
    report_add(report, "stock.sql", 9, 0, "no statement");
    log_report(LOG_LEVEL_ERROR, "check", report);
    lines = logged(*state);
    assert_non_null(strstr(lines.p, "] check message=\"stock.sql:3: unknown type `txt`\"\n"));
    assert_non_null(strstr(lines.p, "] check message=\"stock.sql:9: no statement\""));
    report_free(&report);
    buf_free(&lines);
}

static void *log_much(void *context)
{
    for (int i = 0; i < 500; i++)
        log_event(LOG_LEVEL_NOTICE, "busy", LOG_TEXT("text", "abcdefghijklmnopqrstuvwxyz"), LOG_INT("i", i));
    return context;
}

static void threads_never_mix_their_lines(void **state)
{
    pthread_t threads[4];
    struct buf lines;
    struct str rest;
    size_t count = 0;
    int flags = fcntl(fileno(*state), F_GETFL);

    assert_int_equal(fcntl(fileno(*state), F_SETFL, flags | O_APPEND), 0);
    for (size_t i = 0; i < COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_much, NULL), 0);
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    lines = logged(*state);
    for (rest = buf_str(&lines); rest.p; count++) {
        struct str line = str_cut(&rest, '\n');
        char *text = sys_copy(line);

        assert_int_equal(text[4], '-');
        assert_non_null(strstr(text, "busy text=abcdefghijklmnopqrstuvwxyz i="));
        free(text);
    }
    assert_int_equal(count, 2000);
    buf_free(&lines);
}

static void a_sink_that_is_closed_harms_nobody(void **state)
{
    (void)state;
    log_init(-1, LOG_LEVEL_NOTICE, LOG_FORMAT_TEXT);
    errno = ENOENT;
    log_event(LOG_LEVEL_ERROR, "lost");
    assert_int_equal(errno, ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_holds_time_level_role_event_and_fields, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(an_event_needs_no_fields, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(levels_below_the_chosen_one_are_silent, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(values_are_quoted_where_they_could_mislead, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(a_json_line_says_the_same, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(a_line_too_long_is_cut_and_stays_one_line, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(a_json_line_too_long_stays_json, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(a_report_becomes_a_line_for_each_of_its_lines, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(threads_never_mix_their_lines, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(a_sink_that_is_closed_harms_nobody, open_sink, close_sink),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
