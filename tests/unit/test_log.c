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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/recent.h"
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
    log_send_to(LOG_TARGET_STDERR, "");
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

/* A datagram socket in the place of a daemon's. */
static int open_daemon(char path[108])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/larder-log-%d", (int)getpid());
    snprintf(path, 108, "%s", address.sun_path);
    (void)unlink(path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* The next datagram, terminated. */
static char *receive(int fd, char out[3 * LINE_MAX_LEN])
{
    ssize_t got = recv(fd, out, 3 * LINE_MAX_LEN - 1, 0);

    assert_true(got > 0);
    out[got] = '\0';
    return out;
}

static void the_journal_gets_fields_of_its_own(void **state)
{
    char path[108], got[3 * LINE_MAX_LEN], expected[256];
    int fd = open_daemon(path);

    (void)state;
    log_send_to(LOG_TARGET_JOURNAL, path);
    log_event(LOG_LEVEL_WARNING, "l2_lost", LOG_TEXT("why", "no\nroute"), LOG_INT("pending", 3));
    snprintf(
        expected, sizeof(expected),
        "PRIORITY=4\nSYSLOG_IDENTIFIER=larder\nSYSLOG_PID=%d\nMESSAGE=worker l2_lost why=\"no\\nroute\" pending=3\n"
        "LARDER_EVENT=l2_lost\nLARDER_ROLE=worker\nLARDER_WHY=no\\nroute\nLARDER_PENDING=3\n",
        (int)getpid());
    assert_string_equal(receive(fd, got), expected);
    close(fd);
    unlink(path);
}

static void every_line_of_a_journal_entry_is_a_field(void **state)
{
    char path[108], got[3 * LINE_MAX_LEN];
    int fd = open_daemon(path);

    (void)state;
    log_send_to(LOG_TARGET_JOURNAL, path);
    for (size_t i = 0; i < COUNT(units); i++)
        for (size_t len = 1; len < 9000; len += len < 7900 ? 1500 : 7) {
            struct buf text = {0};
            struct str rest;

            while (text.len < len)
                buf_add_str(&text, units[i]);
            log_event(LOG_LEVEL_NOTICE, "long", LOG_STR("a", buf_str(&text)), LOG_STR("b", buf_str(&text)));
            rest = str_from(receive(fd, got));
            assert_int_equal(rest.p[rest.len - 1], '\n');
            rest.len--;
            while (rest.p) {
                struct str line = str_cut(&rest, '\n');
                struct str name = str_cut(&line, '=');

                assert_true(name.len > 0 && line.p);
                for (size_t at = 0; at < name.len; at++)
                    assert_true((name.p[at] >= 'A' && name.p[at] <= 'Z') || name.p[at] == '_');
            }
            buf_free(&text);
        }
    close(fd);
    unlink(path);
}

static void syslog_gets_what_it_is_used_to(void **state)
{
    char path[108], got[3 * LINE_MAX_LEN], month[8], rest[64];
    int fd = open_daemon(path), priority, day, hour, minute, second, pid;

    (void)state;
    log_send_to(LOG_TARGET_SYSLOG, path);
    log_event(LOG_LEVEL_ERROR, "child_died", LOG_INT("pid", 7));
    assert_int_equal(sscanf(receive(fd, got), "<%d>%3s %d %d:%d:%d larder[%d]: %63[^\n]", &priority, month, &day, &hour,
                            &minute, &second, &pid, rest),
                     8);
    assert_int_equal(priority, 24 + 3);
    assert_int_equal(pid, getpid());
    assert_string_equal(rest, "worker child_died pid=7");
    close(fd);
    unlink(path);
}

static void what_no_daemon_takes_goes_to_the_descriptor(void **state)
{
    struct buf lines;
    char path[108];

    close(open_daemon(path));
    log_send_to(LOG_TARGET_SYSLOG, path);
    log_event(LOG_LEVEL_NOTICE, "closed");
    unlink(path);
    log_send_to(LOG_TARGET_JOURNAL, path);
    log_event(LOG_LEVEL_NOTICE, "gone");
    lines = logged(*state);
    assert_non_null(strstr(lines.p, " notice worker["));
    assert_non_null(strstr(lines.p, "] closed\n"));
    assert_non_null(strstr(lines.p, "] gone"));
    buf_free(&lines);
}

static void a_stream_to_the_journal_gets_priorities(void **state)
{
    struct buf line;
    struct stat status;
    char named[64];

    assert_int_equal(fstat(fileno(*state), &status), 0);
    snprintf(named, sizeof(named), "%llu:%llu", (unsigned long long)status.st_dev, (unsigned long long)status.st_ino);
    setenv("JOURNAL_STREAM", named, 1);
    log_init(fileno(*state), LOG_LEVEL_NOTICE, LOG_FORMAT_TEXT);
    unsetenv("JOURNAL_STREAM");
    log_event(LOG_LEVEL_WARNING, "l2_lost", LOG_INT("pending", 3));
    line = logged(*state);
    assert_string_equal(line.p, "<4>worker l2_lost pending=3");
    buf_free(&line);
}

static size_t count_in(const char *text, const char *what)
{
    size_t count = 0;

    for (; (text = strstr(text, what)); text++)
        count++;
    return count;
}

/* As if several workers were flooded at once. */
static void flood(int processes, int lines)
{
    for (int i = 0; i < processes; i++) {
        pid_t pid = fork();

        if (pid == 0) {
            for (int at = 0; at < lines; at++)
                log_event(LOG_LEVEL_NOTICE, "garbage", LOG_INT("at", at));
            _exit(0);
        }
        assert_int_equal(waitpid(pid, NULL, 0), pid);
    }
}

static void wait_for_the_next_second(void)
{
    usleep((useconds_t)(1000 - sys_now_ms() % 1000) * 1000 + 5000);
}

static void a_flood_of_one_event_is_cut_and_counted(void **state)
{
    struct buf lines;

    log_set_rate(5);
    wait_for_the_next_second();
    flood(3, 1000);
    log_event(LOG_LEVEL_NOTICE, "another");
    log_event(LOG_LEVEL_DEBUG, "unseen");
    wait_for_the_next_second();
    log_event(LOG_LEVEL_NOTICE, "garbage", LOG_INT("at", -1));
    lines = logged(*state);
    /* Slow machines may take more than one second for it. */
    assert_in_range(count_in(lines.p, "] garbage "), 6, 100);
    assert_int_equal(count_in(lines.p, "] another"), 1);
    size_t told = 0;
    for (const char *at = lines.p; (at = strstr(at, "suppressed=")); at++)
        told += (size_t)atoi(at + strlen("suppressed="));
    assert_int_equal(told + count_in(lines.p, "] garbage "), 3001);
    buf_free(&lines);
    log_set_rate(0);
}

static void what_was_cut_is_told_of_when_the_event_has_not_come_again(void **state)
{
    static const char *const names[] = {"once", "twice", "thrice"};
    char line[32], told[64];
    int64_t second = 0;
    int tries = 0;

    log_set_rate(2);
    do { /* another second may have begun meanwhile on a machine that stood still */
        wait_for_the_next_second();
        second = sys_now_ms() / 1000;
        for (int i = 0; i < 5; i++)
            log_event(LOG_LEVEL_NOTICE, names[tries]);
        log_tell_suppressed();
    } while (sys_now_ms() / 1000 != second && ++tries < 3);
    wait_for_the_next_second();
    log_tell_suppressed();
    log_tell_suppressed();
    assert_true(tries < 3);
    struct buf lines = logged(*state);
    snprintf(line, sizeof line, "] %s", names[tries]);
    snprintf(told, sizeof told, "lines_suppressed of=%s count=", names[tries]);
    assert_int_equal(count_in(lines.p, line), 2);
    assert_int_equal(count_in(lines.p, told), 1);
    assert_non_null(strstr(strstr(lines.p, told), "count=3"));
    buf_free(&lines);
    log_set_rate(0);
}

/* All that is in the pipe now, terminated. */
static size_t drain(int fd, char *out, size_t size)
{
    size_t len = 0;
    ssize_t got;

    while ((got = read(fd, out + len, size - len - 1)) > 0)
        len += (size_t)got;
    out[len] = '\0';
    return len;
}

static void nobody_waits_for_who_reads_the_descriptor(void **state)
{
    enum { LINES = 3000, ROOM = 1 << 20 };
    char *got = sys_calloc(1, ROOM);

    (void)state;
    for (int is_socket = 0; is_socket < 2; is_socket++) {
        int ends[2];

        assert_int_equal(is_socket ? socketpair(AF_UNIX, SOCK_STREAM, 0, ends) : pipe(ends), 0);
        assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
        log_init(ends[1], LOG_LEVEL_NOTICE, LOG_FORMAT_TEXT);
        alarm(20);
        for (int at = 0; at < LINES; at++)
            log_event(LOG_LEVEL_NOTICE, "unread", LOG_TEXT("text", "a text of which the pipe is full some time"));
        log_tell_suppressed();
        alarm(0);
        assert_false(fcntl(ends[1], F_GETFL) & O_NONBLOCK);
        drain(ends[0], got, ROOM);
        size_t written = count_in(got, "] unread text=");
        assert_in_range(written, 100, LINES - 100);
        assert_int_equal(count_in(got, "lines_lost"), 0);
        log_tell_suppressed();
        log_tell_suppressed();
        drain(ends[0], got, ROOM);
        assert_int_equal(count_in(got, "\n"), 1);
        assert_non_null(strstr(got, "] lines_lost count="));
        assert_int_equal((size_t)atoi(strstr(got, "count=") + 6), LINES - written);
        close(ends[0]);
        close(ends[1]);
    }
    free(got);
}

static void a_report_is_written_whole_at_any_rate(void **state)
{
    struct report *report = report_new();
    struct buf lines;

    log_set_rate(2);
    for (unsigned i = 1; i <= 20; i++)
        report_add(report, "stock.sql", i, 0, "wrong");
    log_report(LOG_LEVEL_ERROR, "wrong_file", report);
    lines = logged(*state);
    assert_int_equal(count_in(lines.p, "] wrong_file"), 20);
    report_free(&report);
    buf_free(&lines);
    log_set_rate(0);
}

static void errors_and_warnings_are_kept_whatever_is_shown(void **state)
{
    struct arena *arena = arena_new(1 << 16, 1 << 20);
    struct recent_entry entries[RECENT_MAX];
    struct json_object *object;
    struct buf text = {0};

    log_init(fileno(*state), LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    for (int i = 0; i < 3; i++)
        log_event(LOG_LEVEL_WARNING, "kept", LOG_TEXT("why", "a \"reason\"\n"), LOG_TEXT("request_id", i ? "b" : "a"),
                  LOG_INT("us", i));
    log_event(LOG_LEVEL_WARNING, "kept", LOG_TEXT("why", "another"));
    log_event(LOG_LEVEL_NOTICE, "not_kept");
    assert_true(recent_list(log_problems(), arena, entries) >= 2);
    assert_int_equal(entries[0].count, 1);
    assert_int_equal(entries[1].count, 3);
    buf_printf(&text, "{%.*s}", STR_ARG(entries[1].text));
    object = json_tokener_parse(text.p);
    assert_non_null(object);
    assert_string_equal(member(object, "level"), "warning");
    assert_string_equal(member(object, "event"), "kept");
    assert_string_equal(member(object, "why"), "a \"reason\"\n");
    assert_string_equal(member(object, "request_id"), "b");
    json_object_put(object);
    buf_free(&text);
    arena_free(&arena);
    text = logged(*state);
    assert_int_equal(text.len, 0);
    buf_free(&text);
}

static int share(void **state)
{
    (void)state;
    return log_problems() || log_share() == ERR_OK ? 0 : 1;
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
        cmocka_unit_test_setup_teardown(the_journal_gets_fields_of_its_own, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(every_line_of_a_journal_entry_is_a_field, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(syslog_gets_what_it_is_used_to, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(what_no_daemon_takes_goes_to_the_descriptor, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(a_stream_to_the_journal_gets_priorities, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(a_flood_of_one_event_is_cut_and_counted, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(what_was_cut_is_told_of_when_the_event_has_not_come_again, open_sink,
                                        close_sink),
        cmocka_unit_test_setup_teardown(nobody_waits_for_who_reads_the_descriptor, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(a_report_is_written_whole_at_any_rate, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(errors_and_warnings_are_kept_whatever_is_shown, open_sink, close_sink),
    };

    return cmocka_run_group_tests(tests, share, NULL);
}
