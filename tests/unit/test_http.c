/* What the web server passes, made into a request; what the application answers, made into a CGI head. */
#include "http/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

struct fixture {
    struct http http;
    const char *why;
};

static void set(struct http *http, const char *name, const char *value)
{
    http_set_variable(http, str_from(name), str_from(value));
}

static void start(struct fixture *it, const char *method)
{
    *it = (struct fixture){.http.arena = arena_new(4096, 1 << 20)};
    set(&it->http, "REQUEST_METHOD", method);
}

static void end(struct fixture *it)
{
    buf_free(&it->http.headers);
    arena_free(&it->http.arena);
}

static enum err finish(struct fixture *it)
{
    it->why = NULL;
    return http_finish_request(&it->http, &it->why);
}

static void assert_view(struct str actual, const char *expected)
{
    if (!str_equal(actual, str_from(expected)))
        fail_msg("\"%.*s\" instead of \"%s\"", STR_ARG(actual), expected);
}

static void every_variable_that_is_known_is_kept(void **state)
{
    static const char *const names[] = {
#define NAME(field, variable) variable,
        HTTP_VARIABLES(NAME)
#undef NAME
    };
    struct http http = {0};
    size_t i = 0;

    (void)state;
    for (size_t n = 0; n < COUNT(names); n++)
        set(&http, names[n], names[n]);
#define VALUE(field, variable) assert_view(http.in.field, names[i++]);
    HTTP_VARIABLES(VALUE)
#undef VALUE
    assert_int_equal(i, COUNT(names));
}

static void variables_that_only_look_alike_are_ignored(void **state)
{
    static const char *const names[] = {
        "",
        "REQUEST_METHOX",
        "REQUEST_URJ",
        "request_uri",
        "HTTP_AUTHORIZATIOM",
        "PATH_INF",
        "PATH_INFO_",
        "HTTP_COOKIE",
        "CONTENT_TYPO",
        "HTTP_LARDER_MOUNT",
        "LARDER",
        "SERVER_NAME",
        "REMOTE_ADDR2",
        "X_REMOTE_ADDR",
        "HTTP_A_NAME_THAT_IS_JUST_THE_SIXTY_FOUR_BYTES_AND_MORE_LONG_I_AM",
    };
    static const struct http_variables nothing;
    struct http http = {0};

    (void)state;
    for (size_t i = 0; i < COUNT(names); i++)
        set(&http, names[i], "value");
    assert_memory_equal(&http.in, &nothing, sizeof nothing);
}

static void the_last_of_a_repeated_variable_counts(void **state)
{
    struct http http = {0};

    (void)state;
    set(&http, "LARDER_MOUNT", "/a");
    set(&http, "LARDER_MOUNT", "/b");
    assert_view(http.in.mount, "/b");
}

static void methods_have_names_and_names_have_methods(void **state)
{
    (void)state;
    for (enum http_method method = HTTP_GET; method < HTTP_METHOD_COUNT; method++)
        assert_int_equal(http_method_from(str_from(http_method_name(method))), method);
    assert_int_equal(http_method_from(STR("get")), HTTP_METHOD_COUNT);
    assert_int_equal(http_method_from(STR("GETS")), HTTP_METHOD_COUNT);
    assert_int_equal(http_method_from(STR("")), HTTP_METHOD_COUNT);
    assert_string_equal(http_method_name(HTTP_METHOD_COUNT), "");
}

static void statuses_have_reasons(void **state)
{
    (void)state;
    assert_string_equal(http_reason(200), "OK");
    assert_string_equal(http_reason(404), "Not Found");
    assert_string_equal(http_reason(507), "Insufficient Storage");
    assert_string_equal(http_reason(299), "");
    assert_string_equal(http_reason(0), "");
}

static void the_target_gives_path_and_query(void **state)
{
    static const struct {
        const char *uri, *path, *query;
    } cases[] = {
        {"/", "/", ""},
        {"/api/stocks/?sector=Energy&limit=5", "/api/stocks/", "sector=Energy&limit=5"},
        {"/api/stocks/BRK%2EB", "/api/stocks/BRK%2EB", ""},
        {"/a?b?c", "/a", "b?c"},
        {"/a?", "/a", ""},
        {"/a#part", "/a", ""},
        {"/a?b=c#part?d", "/a", "b=c"},
        {"//host/path", "//host/path", ""},
        {"http://host/path?a=b", "/path", "a=b"},
        {"HTTPS://host:8443/path", "/path", ""},
        {"http://host", "/", ""},
        {"http://host?a=b", "/", "a=b"},
        {"http://host#part", "/", ""},
        {"/caf\xc3\xa9", "/caf\xc3\xa9", ""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fixture it;

        start(&it, "GET");
        set(&it.http, "REQUEST_URI", cases[i].uri);
        assert_int_equal(finish(&it), ERR_OK);
        assert_view(it.http.path, cases[i].path);
        assert_view(it.http.query, cases[i].query);
        end(&it);
    }
}

static void the_query_of_the_target_goes_before_query_string(void **state)
{
    struct fixture it;

    (void)state;
    start(&it, "GET");
    set(&it.http, "REQUEST_URI", "/a?from=target");
    set(&it.http, "QUERY_STRING", "from=string");
    assert_int_equal(finish(&it), ERR_OK);
    assert_view(it.http.query, "from=target");
    set(&it.http, "REQUEST_URI", "/a");
    assert_int_equal(finish(&it), ERR_OK);
    assert_view(it.http.query, "from=string");
    end(&it);
}

static void the_mount_is_taken_off_in_whole_segments(void **state)
{
    static const struct {
        const char *mount, *uri, *path;
    } cases[] = {
        {"/larder", "/larder/api/", "/api/"},
        {"/larder/", "/larder/api/", "/api/"},
        {"/larder", "/larder", "/"},
        {"/larder", "/larder/", "/"},
        {"/larder", "/larder?x=1", "/"},
        {"/larder", "/larders/api", "/larders/api"},
        {"/larder", "/other", "/other"},
        {"/", "/api", "/api"},
        {"", "/api", "/api"},
        {"larder", "/larder/api", "/larder/api"},
        {"/a/b", "/a/b/c", "/c"},
        {"/a/b", "/a/c", "/a/c"},
        {"/larder", "http://h/larder/x", "/x"},
        {"/larder", "/larder/larder/x", "/larder/x"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fixture it;

        start(&it, "GET");
        set(&it.http, "LARDER_MOUNT", cases[i].mount);
        set(&it.http, "REQUEST_URI", cases[i].uri);
        assert_int_equal(finish(&it), ERR_OK);
        assert_view(it.http.path, cases[i].path);
        end(&it);
    }
}

static void a_microcache_asks_for_the_whole_answer_in_its_form(void **state)
{
    static const struct {
        const char *method, *authorization, *microcache;
        enum http_method asked;
        const char *encoding;
    } cases[] = {
        {"GET", "", "gzip", HTTP_GET, "gzip"},
        {"HEAD", "", "identity", HTTP_GET, "identity"},
        {"HEAD", "Bearer x", "gzip", HTTP_HEAD, "br"},
        {"PUT", "", "gzip", HTTP_PUT, "br"},
        {"HEAD", "", "", HTTP_HEAD, "br"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fixture it;

        start(&it, cases[i].method);
        set(&it.http, "REQUEST_URI", "/api/books");
        set(&it.http, "HTTP_AUTHORIZATION", cases[i].authorization);
        set(&it.http, "HTTP_IF_NONE_MATCH", "\"x\"");
        set(&it.http, "HTTP_ACCEPT_ENCODING", "br");
        set(&it.http, "LARDER_MICROCACHE", cases[i].microcache);
        assert_int_equal(finish(&it), ERR_OK);
        assert_int_equal(it.http.method, cases[i].asked);
        assert_view(it.http.in.if_none_match, "\"x\"");
        assert_view(it.http.in.accept_encoding, cases[i].encoding);
        end(&it);
    }
}

static void without_a_target_script_and_path_info_are_encoded_again(void **state)
{
    static const struct {
        const char *script, *info, *mount, *path;
    } cases[] = {
        {"/api", "/stocks/AAPL", "", "/api/stocks/AAPL"},
        {"/cgi-bin/larder", "/api/stocks/", "/cgi-bin/larder", "/api/stocks/"},
        {"", "/a b", "", "/a%20b"},
        {"", "/100%", "", "/100%25"},
        {"", "/a?b#c", "", "/a%3Fb%23c"},
        {"", "/caf\xc3\xa9", "", "/caf%C3%A9"},
        {"", "/~a-b._!$&'()*+,;=:@", "", "/~a-b._!$&'()*+,;=:@"},
        {"", "", "", "/"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fixture it;

        start(&it, "GET");
        set(&it.http, "SCRIPT_NAME", cases[i].script);
        set(&it.http, "PATH_INFO", cases[i].info);
        set(&it.http, "LARDER_MOUNT", cases[i].mount);
        set(&it.http, "QUERY_STRING", "a=%20");
        assert_int_equal(finish(&it), ERR_OK);
        assert_view(it.http.path, cases[i].path);
        assert_view(it.http.query, "a=%20");
        end(&it);
    }
}

static void a_path_of_8_KiB_is_taken_and_a_longer_one_is_not(void **state)
{
    static const char *const names[] = {"REQUEST_URI", "PATH_INFO"};
    char path[8193];

    (void)state;
    memset(path, 'a', sizeof path);
    path[0] = '/';
    for (size_t i = 0; i < COUNT(names); i++) {
        struct fixture it;

        start(&it, "GET");
        http_set_variable(&it.http, str_from(names[i]), (struct str){path, 8192});
        assert_int_equal(finish(&it), ERR_OK);
        assert_int_equal(it.http.path.len, 8192);
        http_set_variable(&it.http, str_from(names[i]), (struct str){path, 8193});
        assert_int_equal(finish(&it), ERR_SYNTAX);
        assert_non_null(strstr(it.why, "8 KiB"));
        end(&it);
    }
}

static void a_path_that_grows_beyond_8_KiB_when_encoded_is_refused(void **state)
{
    struct fixture it;
    char path[4000];

    (void)state;
    memset(path, ' ', sizeof path);
    path[0] = '/';
    start(&it, "GET");
    http_set_variable(&it.http, STR("PATH_INFO"), (struct str){path, sizeof path});
    assert_int_equal(finish(&it), ERR_SYNTAX);
    end(&it);
}

static void what_no_honest_client_sends_is_refused_with_a_sentence(void **state)
{
    static const struct {
        const char *name, *value;
    } cases[] = {
        {"REQUEST_METHOD", ""},
        {"REQUEST_METHOD", "GET\n"},
        {"REQUEST_URI", "*"},
        {"REQUEST_URI", "api"},
        {"REQUEST_URI", "?a=b"},
        {"REQUEST_URI", "ftp://host/path"},
        {"REQUEST_URI", "/a\x01"},
        {"REQUEST_URI", "/a\tb"},
        {"REQUEST_URI", "/a?b\r\nc"},
        {"REQUEST_URI", "/\x7f"},
        {"QUERY_STRING", "a\nb"},
        {"QUERY_STRING", "a\tb"},
        {"HTTP_AUTHORIZATION", "Bearer a\r\nb"},
        {"HTTP_IF_NONE_MATCH", "\"a\"\x1f"},
        {"HTTP_TRACEPARENT", "\x7f"},
        {"LARDER_MOUNT", "/a\n"},
        {"CONTENT_LENGTH", "12a"},
        {"CONTENT_LENGTH", "-1"},
        {"CONTENT_LENGTH", "-0"},
        {"CONTENT_LENGTH", "+1"},
        {"CONTENT_LENGTH", " 1"},
        {"CONTENT_LENGTH", "0x10"},
        {"CONTENT_LENGTH", "1e3"},
        {"CONTENT_LENGTH", "1099511627777"},
        {"CONTENT_LENGTH", "99999999999999999999"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fixture it;

        start(&it, "GET");
        set(&it.http, "REQUEST_URI", "/a");
        set(&it.http, cases[i].name, cases[i].value);
        if (finish(&it) != ERR_SYNTAX)
            fail_msg("%s=%s was taken", cases[i].name, cases[i].value);
        assert_non_null(it.why);
        assert_int_equal(it.http.path.len, 0);
        end(&it);
    }
}

static void a_nul_within_a_variable_is_refused(void **state)
{
    struct fixture it;

    (void)state;
    start(&it, "GET");
    http_set_variable(&it.http, STR("REQUEST_URI"), STR("/a\0b"));
    assert_int_equal(finish(&it), ERR_SYNTAX);
    end(&it);
}

static void a_tab_within_a_header_is_allowed(void **state)
{
    struct fixture it;

    (void)state;
    start(&it, "GET");
    set(&it.http, "REQUEST_URI", "/a");
    set(&it.http, "HTTP_ACCEPT_ENCODING", "gzip,\tbr");
    assert_int_equal(finish(&it), ERR_OK);
    end(&it);
}

static void the_announced_length_is_read(void **state)
{
    static const struct {
        const char *text;
        size_t len;
    } cases[] = {{"", 0}, {"0", 0}, {"42", 42}, {"007", 7}, {"2147483648", 2147483648u}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fixture it;

        start(&it, "POST");
        set(&it.http, "REQUEST_URI", "/a");
        set(&it.http, "CONTENT_LENGTH", cases[i].text);
        assert_int_equal(finish(&it), ERR_OK);
        assert_int_equal(it.http.body_len, cases[i].len);
        assert_int_equal(it.http.method, HTTP_POST);
        end(&it);
    }
}

static void an_unknown_method_is_no_error_here(void **state)
{
    struct fixture it;

    (void)state;
    start(&it, "BREW");
    set(&it.http, "REQUEST_URI", "/pot");
    assert_int_equal(finish(&it), ERR_OK);
    assert_int_equal(it.http.method, HTTP_METHOD_COUNT);
    end(&it);
}

static void a_header_with_a_control_character_is_dropped(void **state)
{
    struct http http = {0};

    (void)state;
    http_header(&http, "Location", STR("/a"));
    http_header(&http, "X-Bad", STR("a\r\nSet-Cookie: b"));
    http_header(&http, "X-Bad", STR("a\0b"));
    http_header(&http, "X-Empty", STR(""));
    assert_view(buf_str(&http.headers), "Location: /a\r\nX-Empty: \r\n");
    buf_free(&http.headers);
}

static void the_head_is_as_CGI_wants_it(void **state)
{
    static const struct {
        int status;
        const char *type, *body, *head;
    } cases[] = {
        {200, "application/json", "{}",
         "Content-Type: application/json\r\nContent-Length: 2\r\nETag: \"x\"\r\n"
         "X-Content-Type-Options: nosniff\r\n\r\n"},
        {201, "", "",
         "Status: 201 Created\r\nContent-Length: 0\r\nETag: \"x\"\r\nX-Content-Type-Options: nosniff\r\n\r\n"},
        {304, "application/json", "{}",
         "Status: 304 Not Modified\r\nETag: \"x\"\r\nX-Content-Type-Options: nosniff\r\n\r\n"},
        {204, "", "", "Status: 204 No Content\r\nETag: \"x\"\r\nX-Content-Type-Options: nosniff\r\n\r\n"},
        {299, "", "", "Status: 299\r\nContent-Length: 0\r\nETag: \"x\"\r\nX-Content-Type-Options: nosniff\r\n\r\n"},
        {200, "text/plain\r\nX-Bad: 1", "a",
         "Content-Length: 1\r\nETag: \"x\"\r\nX-Content-Type-Options: nosniff\r\n\r\n"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct http http = {
            .status = cases[i].status, .content_type = str_from(cases[i].type), .out = str_from(cases[i].body)};
        struct buf head = {0};

        http_header(&http, "ETag", STR("\"x\""));
        http_format_head(&http, &head);
        assert_view(buf_str(&head), cases[i].head);
        buf_free(&head);
        buf_free(&http.headers);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_variable_that_is_known_is_kept),
        cmocka_unit_test(variables_that_only_look_alike_are_ignored),
        cmocka_unit_test(the_last_of_a_repeated_variable_counts),
        cmocka_unit_test(methods_have_names_and_names_have_methods),
        cmocka_unit_test(statuses_have_reasons),
        cmocka_unit_test(the_target_gives_path_and_query),
        cmocka_unit_test(the_query_of_the_target_goes_before_query_string),
        cmocka_unit_test(the_mount_is_taken_off_in_whole_segments),
        cmocka_unit_test(a_microcache_asks_for_the_whole_answer_in_its_form),
        cmocka_unit_test(without_a_target_script_and_path_info_are_encoded_again),
        cmocka_unit_test(a_path_of_8_KiB_is_taken_and_a_longer_one_is_not),
        cmocka_unit_test(a_path_that_grows_beyond_8_KiB_when_encoded_is_refused),
        cmocka_unit_test(what_no_honest_client_sends_is_refused_with_a_sentence),
        cmocka_unit_test(a_nul_within_a_variable_is_refused),
        cmocka_unit_test(a_tab_within_a_header_is_allowed),
        cmocka_unit_test(the_announced_length_is_read),
        cmocka_unit_test(an_unknown_method_is_no_error_here),
        cmocka_unit_test(a_header_with_a_control_character_is_dropped),
        cmocka_unit_test(the_head_is_as_CGI_wants_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
