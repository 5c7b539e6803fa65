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
         {.outcome = CACHING_STALE, .ttl_ms = -2500, .age_ms = 302500, .detail = "L1"},
         "X-Cache: STALE\r\nCache-Status: larder; hit; ttl=-3; detail=L1\r\nAge: 302\r\n"
         "Cache-Control: no-cache\r\n"},
        {200,
         {.outcome = CACHING_MISS, .collapsed = true, .ttl_ms = 299000, .age_ms = 1000},
         "X-Cache: MISS\r\nCache-Status: larder; fwd=miss; collapsed\r\nAge: 1\r\n"
         "Cache-Control: no-cache\r\n"},
        {200,
         {.outcome = CACHING_MISS, .stored = true, .collapsed = true, .ttl_ms = 300000, .detail = "L2"},
         "X-Cache: MISS\r\nCache-Status: larder; fwd=miss; stored; collapsed; detail=L2\r\nAge: 0\r\n"
         "Cache-Control: no-cache\r\n"},
        {200,
         {.outcome = CACHING_BYPASS},
         "X-Cache: BYPASS\r\nCache-Status: larder; fwd=bypass\r\nCache-Control: no-cache\r\n"},
        {404,
         {.outcome = CACHING_NEGATIVE, .stored = true, .ttl_ms = 30000, .detail = "origin"},
         "X-Cache: NEGATIVE\r\nCache-Status: larder; fwd=miss; stored; detail=origin\r\n"
         "Cache-Control: no-cache\r\n"},
        {404,
         {.outcome = CACHING_NEGATIVE, .collapsed = true, .ttl_ms = 30000},
         "X-Cache: NEGATIVE\r\nCache-Status: larder; fwd=miss; collapsed\r\nAge: 0\r\n"
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

/* What a web server that has a microcache is told of an answer. */
static void assert_microcache(struct http http, const struct caching_state *it, const char *expected)
{
    http.in.microcache = STR("1");
    http.now_ms = 1700000000999;
    caching_headers(&http, it);
    if (!str_equal(buf_str(&http.headers), str_from(expected)))
        fail_msg("%.*s\ninstead of\n%s", STR_ARG(buf_str(&http.headers)), expected);
    buf_free(&http.headers);
}

static void a_microcache_keeps_what_is_marked_until_the_second_has_passed(void **state)
{
    const struct caching_state hit = {
        .outcome = CACHING_HIT, .ttl_ms = 212000, .age_ms = 87001, .detail = "L1", .mark = STR("1.2 k")};
    const struct caching_state negative = {.outcome = CACHING_NEGATIVE, .ttl_ms = 1000, .mark = STR("1.2 k")};
    const struct caching_state aged = {.outcome = CACHING_MISS,
                                       .stored = true,
                                       .ttl_ms = 300000,
                                       .max_age_ms = 60000,
                                       .if_error_ms = 60000,
                                       .mark = STR("1.2 k")};

    (void)state;
    assert_microcache((struct http){.status = 200}, &hit,
                      "X-Cache-Control: no-cache\r\n"
                      "X-Cache: HIT\r\nCache-Status: larder; hit; ttl=212; detail=L1\r\nAge: 88\r\n"
                      "Cache-Control: stale-while-revalidate=1\r\nX-Accel-Expires: @1700000000\r\n"
                      "X-Larder-Entry: 1.2 k\r\n");
    assert_microcache((struct http){.status = 404}, &negative,
                      "X-Cache-Control: no-cache\r\nX-Cache: NEGATIVE\r\nCache-Status: larder; fwd=miss\r\nAge: 1\r\n"
                      "Cache-Control: stale-while-revalidate=1\r\nX-Accel-Expires: @1700000000\r\n"
                      "X-Larder-Entry: 1.2 k\r\n");
    assert_microcache(
        (struct http){.status = 200}, &aged,
        "X-Cache-Control: max-age=60\r\nX-Cache: MISS\r\nCache-Status: larder; fwd=miss; stored\r\nAge: 1\r\n"
        "Cache-Control: stale-while-revalidate=1, stale-if-error=360\r\n"
        "X-Accel-Expires: @1700000000\r\nX-Larder-Entry: 1.2 k\r\nCDN-Cache-Control: max-age=60\r\n");
}

static void a_microcache_keeps_nothing_that_is_not_for_everybody_and_the_next_second(void **state)
{
    static const char plain[] = "X-Cache-Control: no-cache\r\nX-Cache: MISS\r\nCache-Status: larder; fwd=miss\r\n";
    const struct caching_state miss = {.outcome = CACHING_MISS, .ttl_ms = 1000, .mark = STR("1.2 k")};
    struct caching_state it;

    (void)state;
    assert_microcache((struct http){.status = 200, .method = HTTP_HEAD}, &miss, plain);
    assert_microcache((struct http){.status = 200, .in.authorization = STR("Bearer x")}, &miss, plain);
    it = miss;
    it.mark = STR("");
    assert_microcache((struct http){.status = 200}, &it, plain);
    it.mark = STR("1.2 k\r\nX-Other: 1");
    assert_microcache((struct http){.status = 200}, &it, plain);
    it = miss;
    it.ttl_ms = 999;
    assert_microcache((struct http){.status = 200}, &it, plain);
    it = miss;
    it.is_private = true;
    assert_microcache((struct http){.status = 200}, &it,
                      "X-Cache-Control: private, no-cache\r\nX-Cache: MISS\r\nCache-Status: larder; fwd=miss\r\n");
    it = miss;
    it.outcome = CACHING_BYPASS;
    assert_microcache((struct http){.status = 200}, &it,
                      "X-Cache-Control: no-cache\r\nX-Cache: BYPASS\r\nCache-Status: larder; fwd=bypass\r\n");
    it.outcome = CACHING_STALE;
    assert_microcache((struct http){.status = 200}, &it,
                      "X-Cache-Control: no-cache\r\nX-Cache: STALE\r\nCache-Status: larder; hit; ttl=1\r\nAge: 0\r\n");
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
    assert_headers(503, &failed, "X-Cache: MISS\r\nCache-Status: larder; fwd=miss\r\nCache-Control: no-cache\r\n");
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
        assert_true(caching_conditional(&http, STR("\"a\"")));
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

        assert_true(caching_conditional(&http, str_from(cases[i].etag)));
        assert_int_equal(http.status, cases[i].status);
        assert_int_equal(http.out.len, 2);
        assert_true(str_equal(buf_str(&http.headers), str_from(cases[i].headers)));
        buf_free(&http.headers);
    }
}

static void a_read_whose_if_match_does_not_hold_is_refused(void **state)
{
    static const struct {
        enum http_method method;
        int status;
        const char *match, *none_match;
        bool holds;
        int answered;
    } cases[] = {
        {HTTP_GET, 200, "\"a\"", "", true, 200},       {HTTP_HEAD, 200, "\"b\", \"a\"", "", true, 200},
        {HTTP_GET, 200, "*", "", true, 200},           {HTTP_GET, 200, "\"a\"", "\"a\"", true, 304},
        {HTTP_GET, 200, "\"b\"", "\"a\"", false, 200}, {HTTP_GET, 200, "\"b\"", "", false, 200},
        {HTTP_HEAD, 200, "\"b\"", "", false, 200},     {HTTP_GET, 200, "W/\"a\"", "", false, 200},
        {HTTP_GET, 200, "a", "", false, 200},          {HTTP_GET, 404, "*", "", true, 404},
        {HTTP_PUT, 200, "\"b\"", "", true, 200},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct http http = {
            .method = cases[i].method,
            .status = cases[i].status,
            .in = {.if_match = str_from(cases[i].match), .if_none_match = str_from(cases[i].none_match)}};

        if (caching_conditional(&http, STR("\"a\"")) != cases[i].holds || http.status != cases[i].answered)
            fail_msg("If-Match: %s, If-None-Match: %s", cases[i].match, cases[i].none_match);
        buf_free(&http.headers);
    }
}

static void a_microcache_gets_whole_what_it_keeps_and_nothing_else(void **state)
{
    (void)state;
    for (int marked = 0; marked <= 1; marked++) {
        struct http http = {.status = 200,
                            .in = {.microcache = STR("gzip"), .if_none_match = STR("\"a\"")},
                            .content_type = STR("application/json"),
                            .out = STR("{}")};
        const struct caching_state it = {
            .outcome = CACHING_HIT, .ttl_ms = 2000, .mark = marked ? STR("1.2 k") : STR("")};

        caching_headers(&http, &it);
        assert_true(caching_conditional(&http, STR("\"a\"")));
        assert_int_equal(http.status, marked ? 200 : 304);
        buf_free(&http.headers);
    }
}

static void gzip_goes_to_who_accepts_it_and_does_not_prefer_it_plain(void **state)
{
    static const struct {
        const char *field;
        bool accepts;
    } cases[] = {
        {"gzip", true},
        {"GZip", true},
        {"x-gzip", true},
        {"gzip, deflate, br, zstd", true},
        {"br;q=1.0, gzip;q=0.8, *;q=0.1", true},
        {"gzip;q=1.0,deflate;q=0.6,identity;q=0.3", true},
        {"deflate ,\tgzip ; q=0.5\t", true},
        {"gzip;Q=1", true},
        {"gzip;q=1.", true},
        {"gzip;q=1.000", true},
        {"gzip;q=0.001", true},
        {",, gzip,", true},
        {"*", true},
        {"*;q=0.5", true},
        {"*;q=0, gzip", true},
        {"identity, gzip", true},
        {"identity;q=0.5, gzip;q=0.5", true},
        {"identity;q=0.5, *", true},
        {"identity;q=0, gzip;q=0.1", true},
        {"gzip;q=0.5, gzip", true},

        {"", false},
        {" ", false},
        {",", false},
        {"identity", false},
        {"deflate, br", false},
        {"br;q=0.1, *;q=0", false},
        {"gzip;q=0", false},
        {"gzip;q=0.000", false},
        {"x-gzip;q=0, *", false},
        {"gzip, x-gzip;q=0", false},
        {"identity, gzip;q=0.999", false},
        {"gzip;q=0.5, *", false},
        {"identity;q=0, *;q=0", false},
        {"gzipped, bigzip, xgzip, x-gzip2", false},

        {"gzip;", false},
        {"gzip;q", false},
        {"gzip;q=", false},
        {"gzip;q=2", false},
        {"gzip;q=1.001", false},
        {"gzip;q=0.0001", false},
        {"gzip;q=.5", false},
        {"gzip;q=0,5", false},
        {"gzip;q=-1", false},
        {"gzip;q=0x1", false},
        {"gzip;q=1;q=1", false},
        {"gzip;q = 1", false},
        {"gzip;level=9", false},
        {"gzip deflate", false},
        {"gzip, de/flate", false},
        {"gzip, \"br\"", false},
        {"gzip, br;q=x", false},
        {";q=1, gzip", false},
        {"gzip\r", false},
        {"gzip, \xc3\xa4", false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        if (caching_accepts_gzip(str_from(cases[i].field)) != cases[i].accepts)
            fail_msg("Accept-Encoding: %s", cases[i].field);
    assert_false(caching_accepts_gzip((struct str){NULL, 0}));
}

static void a_media_type_has_the_weight_that_accept_gives_it(void **state)
{
    static const struct {
        const char *accept;
        int weight;
    } cases[] = {
        {"", -1},
        {"text/plain", 1000},
        {"TEXT/Plain;version=0.0.4", 1000},
        {"text/plain; version=0.0.4; q=0.5", 500},
        {"text/plain;q=0.25;version=0.0.4", 250},
        {"text/plain;version=1.0.0", -1},
        {"text/plain;version=1.0.0,text/plain;version=0.0.4;q=0.3", 300},
        {"a/b,text/plain;q=0.1,text/plain;q=0.4, ,c/d", 400},
        {"text/plain;q=0", 0},
        {"text/plain;q=2", -1},
        {"text/plain;q=", -1},
        {"text/plain;", 1000},
        {"text/plain;charset=utf-8;=;q = 0.7", 700},
        {"text/plainer,*/*,text/*", -1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        if (caching_media_weight(str_from(cases[i].accept), STR("text/plain"), STR("0.0.4")) != cases[i].weight)
            fail_msg("Accept: %s", cases[i].accept);
    assert_int_equal(caching_media_weight((struct str){NULL, 0}, STR("text/plain"), STR("0.0.4")), -1);
}

static const struct str plain_bytes = STR("{\"price\":1}"), gzip_bytes = STR("as if compressed"), no_bytes;

/* A request for what has both representations, and its answer. */
static void ask_for_either(struct http *http, enum http_method method, struct str accept_encoding,
                           struct str if_none_match)
{
    struct caching_body body;

    http->method = method;
    http->status = 200;
    http->content_type = STR("application/json");
    http->in.accept_encoding = accept_encoding;
    http->in.if_none_match = if_none_match;
    body = caching_choose(http, plain_bytes, gzip_bytes, STR("\"a\""));
    assert_true(caching_answer(http, &body));
}

static void a_client_gets_the_representation_it_can_read_with_its_own_etag(void **state)
{
    static const struct {
        enum http_method method;
        const char *accept_encoding, *if_none_match;
        int status;
        const char *headers, *body;
    } cases[] = {
        {HTTP_GET, "gzip", "", 200, "Vary: Accept-Encoding\r\nETag: \"a-gzip\"\r\nContent-Encoding: gzip\r\n",
         "as if compressed"},
        {HTTP_HEAD, "gzip", "", 200, "Vary: Accept-Encoding\r\nETag: \"a-gzip\"\r\nContent-Encoding: gzip\r\n",
         "as if compressed"},
        {HTTP_GET, "", "", 200, "Vary: Accept-Encoding\r\nETag: \"a\"\r\n", "{\"price\":1}"},
        {HTTP_GET, "gzip", "\"a-gzip\"", 304, "Vary: Accept-Encoding\r\nETag: \"a-gzip\"\r\n", ""},
        {HTTP_HEAD, "gzip", "W/\"a-gzip\"", 304, "Vary: Accept-Encoding\r\nETag: \"a-gzip\"\r\n", ""},
        {HTTP_GET, "", "\"a\"", 304, "Vary: Accept-Encoding\r\nETag: \"a\"\r\n", ""},
        {HTTP_GET, "gzip", "\"a\"", 200, "Vary: Accept-Encoding\r\nETag: \"a-gzip\"\r\nContent-Encoding: gzip\r\n",
         "as if compressed"},
        {HTTP_GET, "br", "\"a-gzip\"", 200, "Vary: Accept-Encoding\r\nETag: \"a\"\r\n", "{\"price\":1}"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct http http = {.arena = arena_new(256, 256)};

        ask_for_either(&http, cases[i].method, str_from(cases[i].accept_encoding), str_from(cases[i].if_none_match));
        assert_int_equal(http.status, cases[i].status);
        if (!str_equal(buf_str(&http.headers), str_from(cases[i].headers)))
            fail_msg("%.*s\ninstead of\n%s", STR_ARG(buf_str(&http.headers)), cases[i].headers);
        assert_true(str_equal(http.out, str_from(cases[i].body)));
        buf_free(&http.headers);
        arena_free(&http.arena);
    }
}

static void what_is_never_compressed_does_not_vary(void **state)
{
    struct http http = {.method = HTTP_GET, .status = 200, .in.accept_encoding = STR("gzip")};
    struct caching_body body = caching_choose(&http, plain_bytes, no_bytes, STR("\"a\""));

    (void)state;
    assert_true(caching_answer(&http, &body));
    assert_true(str_equal(buf_str(&http.headers), STR("ETag: \"a\"\r\n")));
    assert_true(str_equal(http.out, plain_bytes));
    buf_free(&http.headers);
}

static void the_plain_bytes_are_asked_for_only_where_they_are_needed(void **state)
{
    struct arena *arena = arena_new(256, 256);
    struct http http = {.arena = arena};
    struct caching_body body = caching_choose(&http, no_bytes, gzip_bytes, STR("\"a\""));

    (void)state;
    assert_true(!body.gzip && !body.body.p && str_equal(body.etag, STR("\"a\"")));
    http.in.accept_encoding = STR("gzip");
    body = caching_choose(&http, no_bytes, gzip_bytes, STR("\"a\""));
    assert_true(body.gzip && str_equal(body.body, gzip_bytes));
    arena_free(&arena);
}

static void compression_changes_no_etag_that_is_not_there(void **state)
{
    struct arena *arena = arena_new(256, 256), *full = arena_new(4, 4);
    struct http http = {.arena = arena, .in.accept_encoding = STR("gzip")};

    (void)state;
    assert_int_equal(caching_choose(&http, plain_bytes, gzip_bytes, STR("")).etag.len, 0);
    assert_true(str_equal(caching_choose(&http, plain_bytes, gzip_bytes, STR("W/\"\"")).etag, STR("W/\"-gzip\"")));
    http.arena = full;
    assert_int_equal(caching_choose(&http, plain_bytes, gzip_bytes, STR("\"a\"")).etag.len, 0);
    arena_free(&full);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_outcome_says_how_it_came_about),
        cmocka_unit_test(a_max_age_lets_others_keep_the_answer),
        cmocka_unit_test(a_microcache_keeps_what_is_marked_until_the_second_has_passed),
        cmocka_unit_test(a_microcache_keeps_nothing_that_is_not_for_everybody_and_the_next_second),
        cmocka_unit_test(shared_caches_keep_nothing_longer_than_the_entry_lives),
        cmocka_unit_test(what_is_private_stays_out_of_shared_caches),
        cmocka_unit_test(stale_answers_and_errors_are_not_kept_by_anybody),
        cmocka_unit_test(absence_is_believed_no_longer_than_negative_says),
        cmocka_unit_test(an_age_before_now_is_zero),
        cmocka_unit_test(what_the_client_has_is_compared_weakly),
        cmocka_unit_test(a_copy_that_is_still_good_is_not_sent_again),
        cmocka_unit_test(other_answers_are_sent_whole),
        cmocka_unit_test(a_read_whose_if_match_does_not_hold_is_refused),
        cmocka_unit_test(a_microcache_gets_whole_what_it_keeps_and_nothing_else),
        cmocka_unit_test(gzip_goes_to_who_accepts_it_and_does_not_prefer_it_plain),
        cmocka_unit_test(a_media_type_has_the_weight_that_accept_gives_it),
        cmocka_unit_test(a_client_gets_the_representation_it_can_read_with_its_own_etag),
        cmocka_unit_test(what_is_never_compressed_does_not_vary),
        cmocka_unit_test(the_plain_bytes_are_asked_for_only_where_they_are_needed),
        cmocka_unit_test(compression_changes_no_etag_that_is_not_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
