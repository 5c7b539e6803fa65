/* larder.conf and the environment: what is read, what is refused and where, and how it is shown. */
#include "config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/sys.h"
#include "config/config_nearest.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define TOKEN "correct-horse-battery"

/* Every line of the report, each ended by a newline. */
static char *report_text(const struct report *report)
{
    struct buf text = {0};

    buf_add_str(&text, STR("\n"));
    for (size_t i = 0; i < report_count(report); i++)
        buf_printf(&text, "%s\n", report_line(report, i));
    return text.p;
}

static struct config *parse(const char *text, char *const *environment)
{
    struct report *report = report_new();
    struct config *config = NULL;

    if (config_parse(str_from(text), "l.conf", environment, report, &config) != ERR_OK)
        fail_msg("not accepted:%s", report_text(report));
    assert_int_equal(report_count(report), 0);
    report_free(&report);
    return config;
}

/* What is reported about TEXT and ENVIRONMENT; the caller frees it. */
static char *refuse(struct str text, char *const *environment)
{
    struct report *report = report_new();
    struct config *config = NULL;
    char *all;

    if (config_parse(text, "l.conf", environment, report, &config) != ERR_USAGE)
        fail_msg("accepted: %.*s", STR_ARG(text));
    assert_non_null(config); /* with defaults in place of what is wrong */
    config_free(&config);
    all = report_text(report);
    report_free(&report);
    return all;
}

static void expect_in(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("expected `%s` in: %s", part, text);
}

static void every_setting_has_a_default(void **state)
{
    struct config *it = parse("", NULL);

    (void)state;
    expect_in(it->server.socket, "/larder.sock");
    assert_string_equal(it->server.user, "");
    assert_string_equal(it->server.group, "");
    assert_string_equal(it->server.socket_mode, "0660");
    assert_string_equal(it->server.allow_users, "");
    assert_in_range(it->server.workers, 2, 256);
    assert_int_equal(it->server.pool, 4);
    assert_int_equal(it->server.queue, 256);
    assert_int_equal(it->server.max_connections, 1024);
    assert_int_equal(it->server.max_requests, 0);
    assert_int_equal(it->server.request_timeout_ms, 30000);
    assert_int_equal(it->server.head_timeout_ms, 10000);
    assert_int_equal(it->server.drain_timeout_ms, 10000);
    assert_int_equal(it->server.max_body, 1 << 20);
    assert_string_equal(it->server.mount, "");
    expect_in(it->store.database, "/larder.db");
    assert_int_equal(it->store.busy_timeout_ms, 1000);
    assert_int_equal(it->store.write_timeout_ms, 5000);
    assert_int_equal(it->store.write_queue, 1024);
    assert_int_equal(it->store.wal_limit, 64 << 20);
    assert_string_equal(it->redis.url, "memory:");
    assert_string_equal(it->redis.user, "");
    assert_string_equal(it->redis.password, "");
    assert_string_equal(it->redis.prefix, "larder:");
    assert_int_equal(it->redis.database, 0);
    assert_int_equal(it->redis.cache_version, 1);
    assert_int_equal(it->redis.connect_timeout_ms, 250);
    assert_int_equal(it->redis.timeout_ms, 250);
    assert_int_equal(it->redis.max_entry, 4 << 20);
    assert_int_equal(it->memory.size, 64 << 20);
    assert_int_equal(it->breaker.failures, 5);
    assert_int_equal(it->breaker.successes, 2);
    assert_int_equal(it->breaker.open_ms, 10000);
    assert_string_equal(it->auth.admin_token, "");
    assert_int_equal(it->log.level, LOG_LEVEL_NOTICE);
    assert_int_equal(it->log.format, LOG_FORMAT_TEXT);
    config_free(&it);
    assert_null(it);
}

static void the_file_is_read_whatever_its_line_ends_and_indents(void **state)
{
    struct config *it =
        parse("\xef\xbb\xbf# a comment\r\n[server]\r\n  workers = 3 ; three\r\n\tpool=8\r\nmount = /data\r\n"
              "socket = 127.0.0.1:9000\n; another\n[redis] ; here\nurl = unix:///run/redis.sock\n"
              "timeout: 1s\nprefix =\n[log]\nlevel = debug\nformat = json\ntarget = syslog\n"
              "socket = /run/log.sock\nslow = 1s\nrate = 0",
              NULL);

    (void)state;
    assert_int_equal(it->server.workers, 3);
    assert_int_equal(it->server.pool, 8);
    assert_string_equal(it->server.mount, "/data");
    assert_string_equal(it->server.socket, "127.0.0.1:9000");
    assert_string_equal(it->redis.url, "unix:///run/redis.sock");
    assert_string_equal(it->redis.prefix, "");
    assert_int_equal(it->redis.timeout_ms, 1000);
    assert_int_equal(it->log.level, LOG_LEVEL_DEBUG);
    assert_int_equal(it->log.format, LOG_FORMAT_JSON);
    assert_int_equal(it->log.target, LOG_TARGET_SYSLOG);
    assert_string_equal(it->log.socket, "/run/log.sock");
    assert_int_equal(it->log.slow_ms, 1000);
    assert_int_equal(it->log.rate, 0);
    config_free(&it);
}

static void the_environment_overrides_the_file(void **state)
{
    char *const environment[] = {"PATH=/bin",
                                 "LARDER_SERVER_WORKERS=7",
                                 "LARDER_STORE_WAL_LIMIT=1G",
                                 "LARDER_AUTH_ADMIN_TOKEN=" TOKEN,
                                 "LARDER_REDIS_USER=a=b",
                                 "LARDER_CONFIG=/etc/larder.conf",
                                 "LARDER_MOUNT=/m",
                                 NULL};
    struct config *it =
        parse("[server]\nworkers = 3\npool = 5\n[auth]\nadmin_token_file = /nonexistent\n", environment);

    (void)state;
    assert_int_equal(it->server.workers, 7);
    assert_int_equal(it->server.pool, 5);
    assert_int_equal(it->store.wal_limit, 1 << 30);
    assert_string_equal(it->auth.admin_token, TOKEN);
    assert_string_equal(it->redis.user, "a=b");
    config_free(&it);
}

static void what_is_wrong_in_the_file_is_named_with_its_line(void **state)
{
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"[sever]\nworkers = 3", "\nl.conf:1: there is no section [sever]; did you mean [server]?\n"},
        {"[tables]\nx = 3", "\nl.conf:1: there is no section [tables]; there are [server] [store] [redis]"},
        {"[server\nworkers = 3", "\nl.conf:1: a section is one name in brackets"},
        {"[server] workers = 3", "\nl.conf:1: a section is one name in brackets"},
        {"workers = 3", "\nl.conf:1: `workers` stands before the first [section]"},
        {"\n[server]\nworker = 3", "\nl.conf:3: there is no `worker` in [server]; did you mean `workers`?"},
        {"[server]\nwal_limit = 3", "\nl.conf:2: there is no `wal_limit` in [server]; it belongs into [store]"},
        {"[server]\nflavour = 3", "`larder check --print` shows all settings"},
        {"[server]\nworkers = 3\nworkers = 4", "\nl.conf:3: `workers` in [server] is set twice, first on line 2"},
        {"[server]\nworkers", "\nl.conf:2: this is neither a [section] nor `setting = value`"},
        {"[server]\n= 3", "\nl.conf:2: this is neither"},
        {"[server]\nworkers ; = 3", "\nl.conf:2: this is neither"},
        {"[server]\nworkers = \x01", "\nl.conf:2: a control character"},
        {"[server]\nuser = \xff", "\nl.conf:2: this is not UTF-8"},
        {"[server]\nworkers = many",
         "\nl.conf:2: `workers` in [server] is `many`; it must be auto, or a whole number from 1 to 256\n"},
        {"[server]\nworkers = 0", "from 1 to 256"},
        {"[server]\nworkers =", "from 1 to 256"},
        {"[server]\nrequest_timeout = 30", "it must be a duration, as 250ms, 30s, 5m or 1h, from 1s to 1h"},
        {"[server]\nrequest_timeout = 2h", "from 1s to 1h"},
        {"[server]\nmax_body = 1T", "it must be a size, as 512K, 64M or 2G, from 1K to 256M"},
        {"[server]\nmax_body = 512M", "from 1K to 256M"},
        {"[server]\nsocket =", "it must be set; it cannot be empty"},
        {"[server]\nsocket = larder", "a path with a `/` in it"},
        {"[server]\nsocket = localhost:0", "or host:port"},
        {"[server]\nsocket_mode = 0999", "octal permissions"},
        {"[server]\nmount = data", "a `/` first"},
        {"[server]\nmount = /data/", "a `/` first"},
        {"[redis]\nurl = rediss://example.org",
         "must be redis://HOST:PORT, unix:///PATH or memory:; `rediss` is not available in this build"},
        {"[redis]\nurl = redis+cluster://a,b", "`redis+cluster` is not available in this build"},
        {"[redis]\nurl = redis://", "must be redis://HOST:PORT"},
        {"[redis]\nurl = localhost", "must be redis://HOST:PORT"},
        {"[redis]\nprefix = a*", "letters, digits and any of"},
        {"[auth]\nadmin_token = short", "`admin_token` in [auth] must be from 16 to 256 characters long"},
        {"[auth]\nadmin_token = with blanks in between", "without blanks"},
        {"[auth]\nadmin_token = ********", "must be the secret itself"},
        {"[redis]\npassword = ********", "must be the secret itself"},
        {"[log]\nlevel = verbose", "it must be error, warning, notice, info or debug"},
        {"[log]\nformat = xml", "it must be text or json"},
        {"[log]\ntarget = file", "it must be stderr, journal or syslog"},
        {"[log]\nslow = 2h", "a duration, as 250ms, 30s, 5m or 1h, from 0 to 1h"},
        {"[log]\nrate = -1", "a whole number from 0 to 1000000"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *all = refuse(str_from(rows[i].text), NULL);

        expect_in(all, rows[i].expected);
        if (strchr(all + 1, '\n') != strrchr(all, '\n'))
            fail_msg("more than one message about `%s`: %s", rows[i].text, all);
        free(all);
    }
}

static void everything_wrong_is_reported_at_once(void **state)
{
    char *const environment[] = {"LARDER_LOG_LEVEL=loud", NULL};
    char *all =
        refuse(STR("nonsense\n[server]\nworkers = 0\nworkes = 1\n[nowhere]\nx = 1\ny = 2\n[log]\nformat = xml\n"),
               environment);

    (void)state;
    expect_in(all, "\nl.conf:1: ");
    expect_in(all, "\nl.conf:3: ");
    expect_in(all, "\nl.conf:4: ");
    expect_in(all, "\nl.conf:5: ");
    expect_in(all, "\nl.conf:9: ");
    expect_in(all, "\nLARDER_LOG_LEVEL: `level` in [log] is `loud`");
    assert_null(strstr(all, "l.conf:6"));
    free(all);
}

static void a_variable_that_is_no_setting_is_reported(void **state)
{
    char *const environment[] = {"LARDER_SERVER_WORKER=3", "LARDER_CACHE_FLAVOUR=sweet", "LARDER_Server_Pool=1", NULL};
    char *all = refuse(STR(""), environment);

    (void)state;
    expect_in(all, "\nLARDER_SERVER_WORKER: there is no such setting; did you mean LARDER_SERVER_WORKERS?\n");
    expect_in(all, "\nLARDER_CACHE_FLAVOUR: there is no such setting; unset it");
    expect_in(all, "\nLARDER_Server_Pool: there is no such setting");
    free(all);
}

static void a_line_that_is_too_long_is_refused_whole(void **state)
{
    struct buf text = {0};
    char *all;

    (void)state;
    buf_add_str(&text, STR("[redis]\npassword = "));
    for (int i = 0; i < 600; i++)
        buf_add_char(&text, 's');
    all = refuse(buf_str(&text), NULL);
    expect_in(all, "\nl.conf:2: a line may have ");
    assert_null(strstr(all, "ssss"));
    free(all);
    buf_free(&text);
}

static void a_comment_may_be_as_long_as_it_likes(void **state)
{
    struct buf text = {0};
    struct config *it;

    (void)state;
    buf_printf(&text, "# %0600d\n[log] ; %0600d\nlevel%600s=%600s info", 0, 0, "", "");
    it = parse(text.p, NULL);
    assert_int_equal(it->log.level, LOG_LEVEL_INFO);
    config_free(&it);
    buf_free(&text);
}

static void a_semicolon_is_a_comment_only_behind_a_blank(void **state)
{
    struct config *it = parse("[redis]\npassword=;a;b\nuser = ;a\n", NULL);

    (void)state;
    assert_string_equal(it->redis.password, ";a;b");
    assert_string_equal(it->redis.user, "");
    config_free(&it);
}

static void a_secret_is_never_part_of_a_message(void **state)
{
    static const char *const texts[] = {"[auth]\nadmin_token = geheim", "[auth]\nadmin_token = geheim geheim geheim",
                                        "[redis]\nurl = http://u:geheim@x/",
                                        "[auth]\nadmin_token = geheim-geheim-geheim\nadmin_token = geheim-geheim-2",
                                        "[redis]\npassword = geheim\npassword_file = /x"};

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        char *all = refuse(str_from(texts[i]), NULL);

        assert_null(strstr(all, "geheim"));
        free(all);
    }
}

/* A directory with one file in it. */
struct secret {
    char directory[64], path[128], variable[128];
};

static void start(struct secret *it, const char *content)
{
    FILE *file;

    *it = (struct secret){.directory = "/tmp/test_config.XXXXXX"};
    assert_non_null(mkdtemp(it->directory));
    snprintf(it->path, sizeof it->path, "%s/token", it->directory);
    snprintf(it->variable, sizeof it->variable, "CREDENTIALS_DIRECTORY=%s", it->directory);
    file = fopen(it->path, "w");
    assert_non_null(file);
    fputs(content, file);
    fclose(file);
}

static void end(struct secret *it)
{
    unlink(it->path);
    rmdir(it->directory);
}

static void a_secret_may_stand_in_a_file(void **state)
{
    struct secret it;
    struct buf text = {0};
    struct config *config;

    (void)state;
    start(&it, TOKEN "\r\nmore lines\n");
    config = parse("[auth]\nadmin_token_file =\n", NULL);
    assert_string_equal(config->auth.admin_token, "");
    config_free(&config);
    buf_printf(&text, "[auth]\nadmin_token_file = %s\n[redis]\npassword_file = %s", it.path, it.path);
    config = parse(text.p, NULL);
    assert_string_equal(config->auth.admin_token, TOKEN);
    assert_string_equal(config->redis.password, TOKEN);
    config_free(&config);
    config = parse("[auth]\nadmin_token_file = token\n", (char *const[]){it.variable, NULL});
    assert_string_equal(config->auth.admin_token, TOKEN);
    config_free(&config);
    config = parse("[auth]\nadmin_token = another-token-here\n",
                   (char *const[]){it.variable, "LARDER_AUTH_ADMIN_TOKEN_FILE=token", NULL});
    assert_string_equal(config->auth.admin_token, TOKEN);
    config_free(&config);
    buf_free(&text);
    end(&it);
}

static void a_secret_file_that_is_of_no_use_is_reported(void **state)
{
    struct secret it;
    struct buf text = {0};
    char *all;

    (void)state;
    start(&it, "\n" TOKEN "\n");
    buf_printf(&text, "[auth]\nadmin_token_file = %s\n[redis]\npassword_file = /nonexistent/x\n", it.path);
    all = refuse(buf_str(&text), NULL);
    expect_in(all, "\nl.conf:2: `admin_token_file` in [auth]: the first line of ");
    expect_in(all, "\nl.conf:4: `password_file` in [redis]: /nonexistent/x cannot be read: not found\n");
    free(all);
    buf_free(&text);
    end(&it);
}

static void both_ways_to_give_a_secret_are_one_too_many(void **state)
{
    char *all = refuse(STR("[auth]\nadmin_token = " TOKEN "\nadmin_token_file = /x\n"), NULL);

    (void)state;
    expect_in(all, "\nl.conf:3: `admin_token` and `admin_token_file` in [auth] are both set; keep one\n");
    free(all);
}

static char *print(const struct config *config)
{
    struct buf out = {0};

    config_print(config, &out);
    return out.p;
}

static void what_is_printed_reads_back_as_the_same(void **state)
{
    struct config *it = parse(
        "[server]\nworkers = 9\nmax_body = 1536\nrequest_timeout = 90s\nuser =;www\n[store]\nbusy_timeout = 0\n"
        "[redis]\nurl = redis://127.0.0.1:6379\nprefix =\ntimeout = 1500ms\n[log]\nlevel = error\nformat = json\n",
        NULL);
    char *first = print(it), *second;
    struct config *again = parse(first, NULL);

    (void)state;
    second = print(again);
    assert_string_equal(first, second);
    expect_in(first, "\n# Default: auto\nworkers = 9\n");
    expect_in(first, "\n# Default: 1M\nmax_body = 1536\n");
    expect_in(first, "\nrequest_timeout = 90s\n");
    expect_in(first, "\nbusy_timeout = 0\n");
    expect_in(first, "\n# Default: larder:\nprefix = \n");
    expect_in(first, "\nuser =;www\n");
    expect_in(first, "\n#pool = 4\n");
    free(first);
    free(second);
    config_free(&it);
    config_free(&again);
}

static void secrets_are_not_printed(void **state)
{
    struct config *it =
        parse("[auth]\nadmin_token = " TOKEN "\n[redis]\npassword = geheim\nurl = redis://me:geheim@127.0.0.1\n", NULL);
    char *text = print(it);

    (void)state;
    assert_null(strstr(text, "geheim"));
    assert_null(strstr(text, TOKEN));
    expect_in(text, "\nadmin_token = ********\n");
    expect_in(text, "\npassword = ********\n");
    expect_in(text, "\nurl = redis://********@127.0.0.1\n");
    free(text);
    config_free(&it);
}

/* The shipped sample is what is printed of the defaults and the boards of the shipped SQL, save the paths that were
 * chosen when larder was built. */
static void the_sample_is_the_default(void **state)
{
    const char *source = getenv("LARDER_SOURCE");
    struct buf path = {0}, sample = {0};
    struct config *it = parse("[board.momentum]\nmode = last\ndoc = Where the price of a stock stands between the lowest "
                              "(0) and the highest (100) of 52 weeks.\n[board.value]\nmode = last\n"
                              "doc = The earnings yield of a stock in percent.\n",
                              NULL);
    char *printed = print(it);
    struct str there, here = str_from(printed);

    (void)state;
    buf_printf(&path, "%s/larder.conf.sample", source ? source : ".");
    assert_int_equal(sys_read_file(path.p, 1 << 20, &sample), ERR_OK);
    for (there = buf_str(&sample); there.len > 0;) {
        struct str want = str_cut(&here, '\n'), have = str_cut(&there, '\n');

        if (str_starts(want, STR("#socket =")) || str_starts(want, STR("#database = /")) ||
            str_starts(want, STR("#sql =")))
            continue;
        if (!str_equal(want, have))
            fail_msg("`%.*s` is not `%.*s`", STR_ARG(have), STR_ARG(want));
    }
    assert_int_equal(here.len, 0);
    buf_free(&path);
    buf_free(&sample);
    free(printed);
    config_free(&it);
}

static void a_file_that_cannot_be_read_is_reported(void **state)
{
    struct report *report = report_new();
    struct config *config = NULL;

    (void)state;
    assert_int_equal(config_load("/nonexistent/larder.conf", report, &config), ERR_USAGE);
    assert_string_equal(report_line(report, 0), "/nonexistent/larder.conf: cannot be read: not found");
    report_free(&report);
}

static void a_database_behind_a_link_is_the_one_that_it_leads_to(void **state)
{
    char dir[] = "/tmp/larder-test-XXXXXX";
    struct report *report = report_new();
    struct config *config = NULL;
    struct buf link = {0}, real = {0}, file = {0}, shown = {0};

    (void)state;
    assert_non_null(mkdtemp(dir));
    buf_printf(&link, "%s/link.db", dir);
    buf_printf(&real, "%s/real.db", dir);
    buf_printf(&file, "%s/larder.conf", dir);
    assert_int_equal(symlink("real.db", link.p), 0);
    FILE *out = fopen(file.p, "w");
    fprintf(out, "[store]\ndatabase = %s\n", link.p);
    fclose(out);
    /* It need not be there yet. */
    assert_int_equal(config_load(file.p, report, &config), ERR_OK);
    assert_string_equal(config->store.database, real.p);
    /* Shown is what can be put into the file again. */
    config_print(config, &shown);
    expect_in(shown.p, link.p);
    assert_null(strstr(shown.p, real.p));
    config_free(&config);
    report_free(&report);
    assert_int_equal(unlink(link.p), 0);
    assert_int_equal(unlink(file.p), 0);
    assert_int_equal(rmdir(dir), 0);
    buf_free(&link);
    buf_free(&real);
    buf_free(&file);
    buf_free(&shown);
}

static void a_misspelt_word_is_recognised_and_a_strange_one_is_not(void **state)
{
    static const char *const words[] = {"ttl", "tags", "stale", "stale_if_error", "timeout"};
    static const struct {
        const char *word, *nearest;
    } rows[] = {{"tll", "ttl"},     {"TTL", "ttl"},          {"tag", "tags"},
                {"stael", "stale"}, {"time_out", "timeout"}, {"stale_on_error", "stale_if_error"},
                {"", NULL},         {"colour", NULL},        {"x", NULL}};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *nearest = config_nearest(str_from(rows[i].word), words, COUNT(words));

        if (!rows[i].nearest)
            assert_null(nearest);
        else
            assert_string_equal(nearest, rows[i].nearest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_setting_has_a_default),
        cmocka_unit_test(the_file_is_read_whatever_its_line_ends_and_indents),
        cmocka_unit_test(the_environment_overrides_the_file),
        cmocka_unit_test(what_is_wrong_in_the_file_is_named_with_its_line),
        cmocka_unit_test(everything_wrong_is_reported_at_once),
        cmocka_unit_test(a_variable_that_is_no_setting_is_reported),
        cmocka_unit_test(a_line_that_is_too_long_is_refused_whole),
        cmocka_unit_test(a_comment_may_be_as_long_as_it_likes),
        cmocka_unit_test(a_semicolon_is_a_comment_only_behind_a_blank),
        cmocka_unit_test(a_secret_is_never_part_of_a_message),
        cmocka_unit_test(a_secret_may_stand_in_a_file),
        cmocka_unit_test(a_secret_file_that_is_of_no_use_is_reported),
        cmocka_unit_test(both_ways_to_give_a_secret_are_one_too_many),
        cmocka_unit_test(what_is_printed_reads_back_as_the_same),
        cmocka_unit_test(secrets_are_not_printed),
        cmocka_unit_test(the_sample_is_the_default),
        cmocka_unit_test(a_file_that_cannot_be_read_is_reported),
        cmocka_unit_test(a_database_behind_a_link_is_the_one_that_it_leads_to),
        cmocka_unit_test(a_misspelt_word_is_recognised_and_a_strange_one_is_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
