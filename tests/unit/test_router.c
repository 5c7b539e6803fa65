/* Method and path to route. */
#include "http/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* A route is known by its own text: it is the target. */
struct fixture {
    struct router *router;
    struct arena *arena;
    struct router_match match;
};

static void add(struct fixture *it, enum http_method method, const char *pattern)
{
    assert_int_equal(router_add(it->router, method, str_from(pattern), pattern), ERR_OK);
}

static void start(struct fixture *it)
{
    *it = (struct fixture){.router = router_new(), .arena = arena_new(4096, 1 << 20)};
}

static void start_stocks(struct fixture *it)
{
    start(it);
    add(it, HTTP_GET, "/api/stocks/");
    add(it, HTTP_GET, "/api/stocks/top");
    add(it, HTTP_GET, "/api/stocks/leaderboard/top");
    add(it, HTTP_GET, "/api/stocks/{ticker}");
    add(it, HTTP_PUT, "/api/stocks/{ticker}");
    add(it, HTTP_DELETE, "/api/stocks/{symbol}");
    add(it, HTTP_GET, "/api/cache/key/{key...}");
    add(it, HTTP_POST, "/api/cache/invalidate");
    add(it, HTTP_GET, "/");
}

static void end(struct fixture *it)
{
    router_free(&it->router);
    assert_null(it->router);
    arena_free(&it->arena);
}

static enum router_result find(struct fixture *it, enum http_method method, const char *path)
{
    arena_reset(it->arena);
    return router_find(it->router, method, str_from(path), it->arena, &it->match);
}

/* "pattern name=value ..." of what GET finds, or the result's name. */
static const char *describe(struct fixture *it, const char *path)
{
    static char text[1024];
    static const char *const results[] = {"found", "not found", "method", "options", "malformed"};
    enum router_result result = find(it, HTTP_GET, path);
    int len;

    if (result != ROUTER_FOUND)
        return results[result];
    len = snprintf(text, sizeof text, "%s", (const char *)it->match.target);
    for (size_t i = 0; i < it->match.values_count; i++)
        len += snprintf(text + len, sizeof text - (size_t)len, " %.*s=%.*s", STR_ARG(it->match.values[i].name),
                        STR_ARG(it->match.values[i].value));
    return text;
}

static void paths_lead_to_their_routes(void **state)
{
    static const struct {
        const char *path, *found;
    } cases[] = {
        {"/", "/"},
        {"/api/stocks/", "/api/stocks/"},
        {"/api/stocks", "/api/stocks/"},
        {"/api/stocks/top", "/api/stocks/top"},
        {"/api/stocks/top/", "/api/stocks/top"},
        {"/api/stocks/TOP", "/api/stocks/{ticker} ticker=TOP"},
        {"/api/stocks/AAPL", "/api/stocks/{ticker} ticker=AAPL"},
        {"/api/stocks/AAPL/", "/api/stocks/{ticker} ticker=AAPL"},
        {"/api/stocks/BRK.B", "/api/stocks/{ticker} ticker=BRK.B"},
        {"/api/stocks/leaderboard", "/api/stocks/{ticker} ticker=leaderboard"},
        {"/api/stocks/leaderboard/top", "/api/stocks/leaderboard/top"},
        {"/api/stocks/leaderboard/bottom", "not found"},
        {"/api/stocks/AAPL/more", "not found"},
        {"/api", "not found"},
        {"/nothing", "not found"},
        {"/API/stocks", "not found"},
        {"", "not found"},
        {"api/stocks", "not found"},
        {"*", "not found"},
    };
    struct fixture it;

    (void)state;
    start_stocks(&it);
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(describe(&it, cases[i].path), cases[i].found);
    end(&it);
}

static void segments_are_decoded_after_the_split(void **state)
{
    static const struct {
        const char *path, *found;
    } cases[] = {
        {"/api/stocks/BRK%2EB", "/api/stocks/{ticker} ticker=BRK.B"},
        {"/api/st%6fcks/A%20B", "/api/stocks/{ticker} ticker=A B"},
        {"/api/stocks/t%6Fp", "/api/stocks/top"},
        {"/api/stocks/caf%C3%A9", "/api/stocks/{ticker} ticker=caf\xc3\xa9"},
        {"/api/stocks/caf\xc3\xa9", "/api/stocks/{ticker} ticker=caf\xc3\xa9"},
        {"/api/stocks/a+b", "/api/stocks/{ticker} ticker=a+b"},
        {"/api/stocks/%2525", "/api/stocks/{ticker} ticker=%25"},
        {"/api/stocks/AAPL%2F", "not found"},
        {"/api/stocks%2Ftop", "not found"},
        {"/api/stocks/leaderboard%2Ftop", "not found"},
        {"/api/stocks/%2F", "not found"},
    };
    struct fixture it;

    (void)state;
    start_stocks(&it);
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(describe(&it, cases[i].path), cases[i].found);
    end(&it);
}

static void malformed_paths_are_told_from_unknown_ones(void **state)
{
    static const char *const paths[] = {
        "/api/stocks/%",
        "/api/stocks/%2",
        "/api/stocks/%zz",
        "/api/stocks/%00",
        "/api/stocks/A%00B",
        "/api/stocks/%0A",
        "/api/stocks/%7f",
        "/api/stocks/\x01",
        "/api/stocks/a\tb",
        "/api/stocks/%C0%AF",
        "/api/stocks/%E0%80%AF",
        "/api/stocks/%ED%A0%80",
        "/api/stocks/%F5%80%80%80",
        "/api/stocks/\xc3",
        "/api/stocks/\xff",
        "/no/such/route/%",
        "/api/cache/key/%C0%80",
        "/api/cache/key/a/b/%2",
        "/%C3/%A9",
        "/%2/F",
        "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/%",
    };
    struct fixture it;

    (void)state;
    start_stocks(&it);
    for (size_t i = 0; i < COUNT(paths); i++)
        if (find(&it, HTTP_GET, paths[i]) != ROUTER_MALFORMED)
            fail_msg("%s is not malformed", paths[i]);
    assert_int_equal(router_find(it.router, HTTP_GET, STR("/api/stocks/a\0b"), it.arena, &it.match), ROUTER_MALFORMED);
    end(&it);
}

static void slashes_are_not_merged_and_dots_not_resolved(void **state)
{
    static const char *const paths[] = {
        "//",
        "//api/stocks/top",
        "/api//stocks/top",
        "/api/stocks//",
        "/api/stocks//AAPL",
        "/api/stocks/.",
        "/api/stocks/..",
        "/api/stocks/%2e%2E",
        "/api/./stocks/top",
        "/api/cache/../stocks/top",
        "/api/cache/key/../../stocks/AAPL",
        "/api/cache/key/x%2F..%2F..%2Fstocks",
        "/api/cache/key/%2e",
        "/api/cache/key/a/..",
        "/api/cache/key/../",
    };
    struct fixture it;

    (void)state;
    start_stocks(&it);
    for (size_t i = 0; i < COUNT(paths); i++)
        if (find(&it, HTTP_GET, paths[i]) != ROUTER_NOT_FOUND)
            fail_msg("%s was found", paths[i]);
    end(&it);
}

static void a_rest_takes_what_is_left(void **state)
{
    static const struct {
        const char *path, *found;
    } cases[] = {
        {"/api/cache/key/stocks:top", "/api/cache/key/{key...} key=stocks:top"},
        {"/api/cache/key/a/b/c", "/api/cache/key/{key...} key=a/b/c"},
        {"/api/cache/key/a/b/", "/api/cache/key/{key...} key=a/b/"},
        {"/api/cache/key/a%2Fb", "/api/cache/key/{key...} key=a/b"},
        {"/api/cache/key/a%20b/%25", "/api/cache/key/{key...} key=a b/%"},
        {"/api/cache/key//a", "/api/cache/key/{key...} key=/a"},
        {"/api/cache/key/a//b", "/api/cache/key/{key...} key=a//b"},
        {"/api/cache/key/.../..a", "/api/cache/key/{key...} key=.../..a"},
        {"/api/cache/key/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18",
         "/api/cache/key/{key...} key=1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18"},
        {"/api/cache/key/", "not found"},
        {"/api/cache/key", "not found"},
    };
    struct fixture it;

    (void)state;
    start_stocks(&it);
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(describe(&it, cases[i].path), cases[i].found);
    end(&it);
}

static void a_literal_that_leads_nowhere_gives_way_to_the_name(void **state)
{
    static const struct {
        const char *path, *found;
    } cases[] = {
        {"/a/b/c", "/a/b/c"},
        {"/a/b/d", "/a/{x}/d x=b"},
        {"/a/b/e", "/{y}/{z}/e y=a z=b"},
        {"/a/b/f", "/{all...} all=a/b/f"},
        {"/a/b", "/{all...} all=a/b"},
        {"/a/b/c/", "/a/b/c"},
        {"/q/b/d", "/{all...} all=q/b/d"},
        {"/a/%2F/d", "/{all...} all=a///d"},
    };
    struct fixture it;

    (void)state;
    start(&it);
    add(&it, HTTP_GET, "/{all...}");
    add(&it, HTTP_GET, "/{y}/{z}/e");
    add(&it, HTTP_GET, "/a/{x}/d");
    add(&it, HTTP_GET, "/a/b/c");
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(describe(&it, cases[i].path), cases[i].found);
    end(&it);
}

static void names_are_those_of_the_route_that_was_found(void **state)
{
    struct fixture it;

    (void)state;
    start_stocks(&it);
    assert_int_equal(find(&it, HTTP_DELETE, "/api/stocks/A"), ROUTER_FOUND);
    assert_true(str_equal(it.match.values[0].name, STR("symbol")));
    assert_int_equal(find(&it, HTTP_PUT, "/api/stocks/A"), ROUTER_FOUND);
    assert_true(str_equal(it.match.values[0].name, STR("ticker")));
    end(&it);
}

static void GET_covers_HEAD_and_PURGE(void **state)
{
    struct fixture it;

    (void)state;
    start_stocks(&it);
    assert_int_equal(find(&it, HTTP_HEAD, "/api/stocks/A"), ROUTER_FOUND);
    assert_string_equal(it.match.target, "/api/stocks/{ticker}");
    assert_int_equal(find(&it, HTTP_PURGE, "/api/stocks/A"), ROUTER_FOUND);
    assert_string_equal(it.match.target, "/api/stocks/{ticker}");
    assert_int_equal(find(&it, HTTP_PURGE, "/api/cache/invalidate"), ROUTER_METHOD);
    end(&it);
}

static void a_wrong_method_is_told_what_is_allowed(void **state)
{
    static const struct {
        enum http_method method;
        const char *path;
        enum router_result result;
        const char *allow;
    } cases[] = {
        {HTTP_POST, "/api/stocks/A", ROUTER_METHOD, "GET, HEAD, PUT, DELETE, OPTIONS, PURGE"},
        {HTTP_OPTIONS, "/api/stocks/A", ROUTER_OPTIONS, "GET, HEAD, PUT, DELETE, OPTIONS, PURGE"},
        {HTTP_METHOD_COUNT, "/api/stocks", ROUTER_METHOD, "GET, HEAD, OPTIONS, PURGE"},
        {HTTP_GET, "/api/cache/invalidate", ROUTER_METHOD, "POST, OPTIONS"},
        {HTTP_OPTIONS, "/api/cache/invalidate/", ROUTER_OPTIONS, "POST, OPTIONS"},
        {HTTP_DELETE, "/api/cache/key/a/b", ROUTER_METHOD, "GET, HEAD, OPTIONS, PURGE"},
        {HTTP_OPTIONS, "/nothing", ROUTER_NOT_FOUND, ""},
        {HTTP_METHOD_COUNT, "/nothing", ROUTER_NOT_FOUND, ""},
    };
    struct fixture it;

    (void)state;
    start_stocks(&it);
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(find(&it, cases[i].method, cases[i].path), cases[i].result);
        if (!str_equal(it.match.allow, str_from(cases[i].allow)))
            fail_msg("%s allows %.*s", cases[i].path, STR_ARG(it.match.allow));
    }
    end(&it);
}

static void a_literal_with_routes_does_not_lend_its_path_to_the_name(void **state)
{
    struct fixture it;

    (void)state;
    start_stocks(&it);
    assert_int_equal(find(&it, HTTP_PUT, "/api/stocks/top"), ROUTER_METHOD);
    assert_true(str_equal(it.match.allow, STR("GET, HEAD, OPTIONS, PURGE")));
    end(&it);
}

static void OPTIONS_may_have_a_route_of_its_own(void **state)
{
    struct fixture it;

    (void)state;
    start(&it);
    add(&it, HTTP_OPTIONS, "/a");
    assert_int_equal(find(&it, HTTP_OPTIONS, "/a"), ROUTER_FOUND);
    assert_int_equal(find(&it, HTTP_GET, "/a"), ROUTER_METHOD);
    assert_true(str_equal(it.match.allow, STR("OPTIONS")));
    end(&it);
}

static void a_route_of_the_same_shape_exists_already(void **state)
{
    static const struct {
        enum http_method method;
        const char *pattern;
        enum err err;
    } cases[] = {
        {HTTP_GET, "/api/stocks/{name}", ERR_EXISTS}, {HTTP_GET, "/api/stocks/top/", ERR_EXISTS},
        {HTTP_GET, "/api/stocks", ERR_EXISTS},        {HTTP_GET, "/api/cache/key/{k...}", ERR_EXISTS},
        {HTTP_POST, "/api/stocks/{name}", ERR_OK},    {HTTP_GET, "/api/cache/key/{k}", ERR_OK},
        {HTTP_GET, "/api/cache/invalidate", ERR_OK},
    };
    struct fixture it;

    (void)state;
    start_stocks(&it);
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(router_add(it.router, cases[i].method, str_from(cases[i].pattern), "x"), cases[i].err);
    end(&it);
}

static void patterns_that_are_none_are_refused(void **state)
{
    static const char *const patterns[] = {
        "",
        "a",
        "//",
        "/a//b",
        "/{}",
        "/{...}",
        "/{a",
        "/a}",
        "/{a}b",
        "/b{a}",
        "/{1a}",
        "/{a b}",
        "/{a-b}",
        "/{a...}/b",
        "/{a}/{a}",
        "/{a}/{a...}",
        "/.",
        "/a/..",
        "/a%20b",
        "/a?b",
        "/a#b",
        "/a\tb",
        "/\xff",
        "/{a..}",
        "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17",
    };
    struct fixture it;

    (void)state;
    start(&it);
    for (size_t i = 0; i < COUNT(patterns); i++)
        if (router_add(it.router, HTTP_GET, str_from(patterns[i]), "x") != ERR_SYNTAX)
            fail_msg("%s was taken", patterns[i]);
    assert_int_equal(router_add(it.router, HTTP_GET, STR("/a\0b"), "x"), ERR_SYNTAX);
    assert_string_equal(describe(&it, "/"), "not found");
    end(&it);
}

static void the_deepest_pattern_is_found_and_one_deeper_is_not(void **state)
{
    struct fixture it;

    (void)state;
    start(&it);
    add(&it, HTTP_GET, "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}/{j}/{k}/{l}/{m}/{n}/{o}/{p}");
    assert_int_equal(find(&it, HTTP_GET, "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16"), ROUTER_FOUND);
    assert_int_equal(it.match.values_count, 16);
    assert_true(str_equal(it.match.values[15].value, STR("16")));
    assert_int_equal(find(&it, HTTP_GET, "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17"), ROUTER_NOT_FOUND);
    assert_int_equal(find(&it, HTTP_GET, "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/"), ROUTER_FOUND);
    end(&it);
}

static void a_full_arena_finds_nothing(void **state)
{
    struct fixture it;

    (void)state;
    start_stocks(&it);
    while (!arena_overflowed(it.arena))
        (void)arena_alloc(it.arena, 4096);
    assert_int_equal(router_find(it.router, HTTP_GET, STR("/api/stocks/%41"), it.arena, &it.match), ROUTER_NOT_FOUND);
    assert_int_equal(router_find(it.router, HTTP_GET, STR("/api/stocks/A"), it.arena, &it.match), ROUTER_FOUND);
    assert_int_equal(router_find(it.router, HTTP_POST, STR("/api/stocks/A"), it.arena, &it.match), ROUTER_METHOD);
    assert_int_equal(it.match.allow.len, 0);
    end(&it);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_lead_to_their_routes),
        cmocka_unit_test(segments_are_decoded_after_the_split),
        cmocka_unit_test(malformed_paths_are_told_from_unknown_ones),
        cmocka_unit_test(slashes_are_not_merged_and_dots_not_resolved),
        cmocka_unit_test(a_rest_takes_what_is_left),
        cmocka_unit_test(a_literal_that_leads_nowhere_gives_way_to_the_name),
        cmocka_unit_test(names_are_those_of_the_route_that_was_found),
        cmocka_unit_test(GET_covers_HEAD_and_PURGE),
        cmocka_unit_test(a_wrong_method_is_told_what_is_allowed),
        cmocka_unit_test(a_literal_with_routes_does_not_lend_its_path_to_the_name),
        cmocka_unit_test(OPTIONS_may_have_a_route_of_its_own),
        cmocka_unit_test(a_route_of_the_same_shape_exists_already),
        cmocka_unit_test(patterns_that_are_none_are_refused),
        cmocka_unit_test(the_deepest_pattern_is_found_and_one_deeper_is_not),
        cmocka_unit_test(a_full_arena_finds_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
