/* What a response says about where it came from and how long others may keep it. */
#include "http/caching.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))


static void assert_headers(int status, const struct caching_state *it, const char *expected)
{
    struct http http = {.status = status};

    caching_headers(&http, it);
    if (!str_equal(buf_str(&http.headers), str_from(expected)))
        fail_msg("%.*s\ninstead of\n%s", STR_ARG(buf_str(&http.headers)), expected);
    buf_free(&http.headers);
}

static void each_outcome_says_how_it_came_about(void **state)
{
    static const struct {
        int status;
        struct caching_state it;
        const char *headers;
    } cases[] = {
        {200,
         {.outcome = CACHING_HIT, .ttl_ms = 212999, .age_ms = 87001, .detail = "L2"},
         "X-Cache: HIT\r\nCache-Status: larder; hit; ttl=212; detail=L2\r\nAge: 87\r\nCache-Control: "
         "no-cache\r\n"},
        {200,
         {.outcome = CACHING_MISS, .stored = true, .ttl_ms = 300000, .detail = "origin"},
         "X-Cache: MISS\r\nCache-Status: larder; fwd=miss; stored; detail=origin\r\nCache-Control: "
         "no-cache\r\n"},
        {200,
         {.outcome = CACHING_MISS, .ttl_ms = 300000},
         "X-Cache: MISS\r\nCache-Status: larder; fwd=miss\r\nCache-Control: no-cache\r\n"},
        {200,
         {.outcome = CACHING_STALE, .ttl_ms = -11500, .age_ms = 311500, .detail = "origin-failed"},
         "X-Cache: STALE\r\nCache-Status: larder; hit; ttl=-12; detail=origin-failed\r\nAge: 311\r\n"
         "Cache-Control: no-cache\r\n"},
        {200,
         {.outcome = CACHING_BYPASS},
         "X-Cache: BYPASS\r\nCache-Status: larder; fwd=bypass\r\nCache-Control: no-cache\r\n"},
        {404,
         {.outcome = CACHING_NEGATIVE, .stored = true, .ttl_ms = 30000, .detail = "origin"},
         "X-Cache: NEGATIVE\r\nCache-Status: larder; fwd=miss; stored; detail=origin\r\n"
         "Cache-Control: no-cache\r\n"},
        {404,
         {.outcome = CACHING_NEGATIVE, .negative_hit = true, .ttl_ms = 29000, .age_ms = 1000, .detail = "L2"},
         "X-Cache: NEGATIVE\r\nCache-Status: larder; hit; ttl=29; detail=L2\r\nAge: 1\r\n"
         "Cache-Control: no-cache\r\n"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_headers(cases[i].status, &cases[i].it, cases[i].headers);
}

static void a_max_age_lets_others_keep_the_answer(void **state)
{
    const struct caching_state miss = {.outcome = CACHING_MISS, .ttl_ms = 300000, .max_age_ms = 60000};
    const struct caching_state hit = {.outcome = CACHING_HIT, .ttl_ms = 280000, .age_ms = 20000, .max_age_ms = 60000};
    const struct caching_state old = {.outcome = CACHING_HIT, .ttl_ms = 200000, .age_ms = 100000, .max_age_ms = 60000};

    (void)state;
    assert_headers(200, &miss,
                   "X-Cache: MISS\r\nCache-Status: larder; fwd=miss\r\nCache-Control: max-age=60\r\n"
                   "CDN-Cache-Control: max-age=60\r\nX-Accel-Expires: 60\r\n");
    assert_headers(200, &hit,
                   "X-Cache: HIT\r\nCache-Status: larder; hit; ttl=280\r\nAge: 20\r\nCache-Control: max-age=60\r\n"
                   "CDN-Cache-Control: max-age=60\r\nX-Accel-Expires: 40\r\n");
    assert_headers(200, &old,
                   "X-Cache: HIT\r\nCache-Status: larder; hit; ttl=200\r\nAge: 100\r\nCache-Control: max-age=60\r\n"
                   "CDN-Cache-Control: max-age=60\r\nX-Accel-Expires: 0\r\n");
}

static void shared_caches_keep_nothing_longer_than_the_entry_lives(void **state)
{
    const struct caching_state hit = {.outcome = CACHING_HIT, .ttl_ms = 10000, .age_ms = 290000, .max_age_ms = 3600000};

    (void)state;
    assert_headers(200, &hit,
                   "X-Cache: HIT\r\nCache-Status: larder; hit; ttl=10\r\nAge: 290\r\nCache-Control: max-age=3600\r\n"
                   "CDN-Cache-Control: max-age=300\r\nX-Accel-Expires: 10\r\n");
}

static void what_is_private_stays_out_of_shared_caches(void **state)
{
    const struct caching_state plain = {.outcome = CACHING_MISS, .ttl_ms = 9000, .is_private = true};
    const struct caching_state aged = {.outcome = CACHING_MISS, .ttl_ms = 9000, .max_age_ms = 5000, .is_private = true};

    (void)state;
    assert_headers(200, &plain,
                   "X-Cache: MISS\r\nCache-Status: larder; fwd=miss\r\nCache-Control: private, no-cache\r\n");
    assert_headers(200, &aged,
                   "X-Cache: MISS\r\nCache-Status: larder; fwd=miss\r\nCache-Control: private, max-age=5\r\n"
                   "CDN-Cache-Control: private, no-cache\r\nX-Accel-Expires: 0\r\n");
}

static void stale_answers_and_errors_are_not_kept_by_anybody(void **state)
{
    const struct caching_state stale = {.outcome = CACHING_STALE, .ttl_ms = -1, .age_ms = 10000, .max_age_ms = 3600000};
    const struct caching_state failed = {.outcome = CACHING_MISS, .max_age_ms = 3600000};

    (void)state;
    assert_headers(200, &stale,
                   "X-Cache: STALE\r\nCache-Status: larder; hit; ttl=-1\r\nAge: 10\r\n"
                   "Cache-Control: no-cache\r\n");
    assert_headers(503, &failed,
                   "X-Cache: MISS\r\nCache-Status: larder; fwd=miss\r\nCache-Control: no-cache\r\n");
}

static void absence_is_believed_no_longer_than_negative_says(void **state)
{
    const struct caching_state it = {.outcome = CACHING_NEGATIVE, .ttl_ms = 30000, .max_age_ms = 3600000};

    (void)state;
    assert_headers(404, &it,
                   "X-Cache: NEGATIVE\r\nCache-Status: larder; fwd=miss\r\nCache-Control: max-age=30\r\n"
                   "CDN-Cache-Control: max-age=30\r\nX-Accel-Expires: 30\r\n");
}

static void an_age_before_now_is_zero(void **state)
{
    const struct caching_state it = {.outcome = CACHING_HIT, .ttl_ms = 60000, .age_ms = -2500, .max_age_ms = 5000};

    (void)state;
    assert_headers(200, &it,
                   "X-Cache: HIT\r\nCache-Status: larder; hit; ttl=60\r\nAge: 0\r\nCache-Control: max-age=5\r\n"
                   "CDN-Cache-Control: max-age=5\r\nX-Accel-Expires: 5\r\n");
}

static void what_the_client_has_is_compared_weakly(void **state)
{
    static const struct {
        const char *field, *etag;
        bool matches;
    } cases[] = {
        {"\"a\"", "\"a\"", true},
        {"W/\"a\"", "\"a\"", true},
        {"\"a\"", "W/\"a\"", true},
        {"W/\"a\"", "W/\"a\"", true},
        {"\"b\"", "\"a\"", false},
        {"\"b\", \"a\"", "\"a\"", true},
        {"\"b\",\t W/\"c\" ,\"a\"", "\"a\"", true},
        {",, \"a\",", "\"a\"", true},
        {"\"b\" \"a\"", "\"a\"", true},
        {"\"x,y\"", "\"x,y\"", true},
        {"\"x,\"", "\"x\"", false},
        {"\"b,\"a\"", "\"a\"", false},
        {"*", "\"a\"", true},
        {" * ", "\"a\"", true},
        {"\"*\"", "\"a\"", false},
        {"*, \"b\"", "\"a\"", false},
        {"a", "\"a\"", false},
        {"\"a", "\"a\"", false},
        {"\"A\"", "\"a\"", false},
        {"w/\"a\"", "\"a\"", false},
        {"W/", "\"a\"", false},
        {"\"", "\"", false},
        {"\"\"", "\"\"", true},
        {"", "\"a\"", false},
        {"\"b\"", "", false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        if (caching_none_match(str_from(cases[i].field), str_from(cases[i].etag)) != cases[i].matches)
            fail_msg("If-None-Match: %s with ETag: %s", cases[i].field, cases[i].etag);
}

static void a_copy_that_is_still_good_is_not_sent_again(void **state)
{
    static const enum http_method methods[] = {HTTP_GET, HTTP_HEAD};

    (void)state;
    for (size_t i = 0; i < COUNT(methods); i++) {
        struct http http = {.method = methods[i],
                            .status = 200,
                            .in.if_none_match = STR("W/\"a\""),
                            .content_type = STR("application/json"),
                            .out = STR("{}")};
        struct buf head = {0};

        http_header(&http, "Cache-Control", STR("no-cache"));
        http_header(&http, "Vary", STR("Accept-Encoding"));
        caching_conditional(&http, STR("\"a\""));
        assert_int_equal(http.status, 304);
        assert_int_equal(http.out.len, 0);
        http_format_head(&http, &head);
        assert_string_equal(head.p, "Status: 304 Not Modified\r\nCache-Control: no-cache\r\nVary: Accept-Encoding\r\n"
                                    "ETag: \"a\"\r\nX-Content-Type-Options: nosniff\r\n\r\n");
        buf_free(&head);
        buf_free(&http.headers);
    }
}

static void other_answers_are_sent_whole(void **state)
{
    static const struct {
        enum http_method method;
        int status;
        const char *field, *etag;
        const char *headers;
    } cases[] = {
        {HTTP_GET, 200, "", "\"a\"", "ETag: \"a\"\r\n"},
        {HTTP_GET, 200, "\"b\"", "\"a\"", "ETag: \"a\"\r\n"},
        {HTTP_GET, 200, "*", "", ""},
        {HTTP_GET, 404, "\"a\"", "\"a\"", ""},
        {HTTP_GET, 503, "*", "\"a\"", ""},
        {HTTP_PUT, 200, "\"a\"", "\"a\"", ""},
        {HTTP_POST, 200, "*", "\"a\"", ""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct http http = {.method = cases[i].method,
                            .status = cases[i].status,
                            .in.if_none_match = str_from(cases[i].field),
                            .content_type = STR("application/json"),
                            .out = STR("{}")};

        caching_conditional(&http, str_from(cases[i].etag));
        assert_int_equal(http.status, cases[i].status);
        assert_int_equal(http.out.len, 2);
        assert_true(str_equal(buf_str(&http.headers), str_from(cases[i].headers)));
        buf_free(&http.headers);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_outcome_says_how_it_came_about),
        cmocka_unit_test(a_max_age_lets_others_keep_the_answer),
        cmocka_unit_test(shared_caches_keep_nothing_longer_than_the_entry_lives),
        cmocka_unit_test(what_is_private_stays_out_of_shared_caches),
        cmocka_unit_test(stale_answers_and_errors_are_not_kept_by_anybody),
        cmocka_unit_test(absence_is_believed_no_longer_than_negative_says),
        cmocka_unit_test(an_age_before_now_is_zero),
        cmocka_unit_test(what_the_client_has_is_compared_weakly),
        cmocka_unit_test(a_copy_that_is_still_good_is_not_sent_again),
        cmocka_unit_test(other_answers_are_sent_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
