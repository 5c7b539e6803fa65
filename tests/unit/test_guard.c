/* Who is admitted to which route. */
#include "api/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static char secret[] = "correct-horse-battery";

/* Asks for AUTH with AUTHORIZATION; returns the status, 0 when admitted. HEADERS gets the response's. */
static int ask(char *token, enum catalog_auth auth, const char *authorization, struct buf *headers)
{
    struct config config = {.auth = {.admin_token = token}};
    struct http http = {.arena = arena_new(4096, 65536), .in = {.authorization = str_from(authorization)}};
    int status = guard_admits(&config, auth, &http) ? 0 : http.status;

    if (status != 0) {
        assert_non_null(memmem(http.out.p, http.out.len, "\"detail\":\"", 10));
        assert_null(memmem(http.out.p, http.out.len, secret, sizeof secret - 1));
    }
    if (headers)
        buf_add_str(headers, buf_str(&http.headers));
    buf_free(&http.headers);
    arena_free(&http.arena);
    return status;
}

static void the_token_opens_and_nothing_else_does(void **state)
{
    static const struct {
        const char *authorization;
        int status;
    } table[] = {
        {"Bearer correct-horse-battery", 0},
        {"bearer correct-horse-battery", 0},
        {"BEARER   correct-horse-battery  ", 0},
        {NULL, 401},
        {"", 401},
        {"Bearer", 401},
        {"Bearer ", 401},
        {"Bearer correct-horse-batter", 401},
        {"Bearer correct-horse-batteryy", 401},
        {"Bearer correct-horse-battery x", 401},
        {"Bearer Correct-Horse-Battery", 401},
        {"Basic correct-horse-battery", 401},
        {"Bearercorrect-horse-battery", 401},
        {"correct-horse-battery", 401},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        assert_int_equal(ask(secret, CATALOG_AUTH_ADMIN, table[i].authorization, NULL), table[i].status);
        assert_int_equal(ask(secret, CATALOG_AUTH_KEY, table[i].authorization, NULL), table[i].status);
    }
}

static void an_open_route_asks_for_nothing(void **state)
{
    (void)state;
    assert_int_equal(ask(secret, CATALOG_AUTH_NONE, NULL, NULL), 0);
    assert_int_equal(ask(secret, CATALOG_AUTH_NONE, "Bearer wrong", NULL), 0);
    assert_int_equal(ask("", CATALOG_AUTH_NONE, NULL, NULL), 0);
}

static void without_a_configured_token_nobody_is_admitted(void **state)
{
    char none[] = "";

    (void)state;
    assert_int_equal(ask(none, CATALOG_AUTH_ADMIN, NULL, NULL), 403);
    assert_int_equal(ask(none, CATALOG_AUTH_ADMIN, "Bearer ", NULL), 403);
    assert_int_equal(ask(none, CATALOG_AUTH_KEY, "Bearer x", NULL), 403);
}

static void a_refusal_says_how_to_present_the_token(void **state)
{
    struct buf missing = {0}, wrong = {0};

    (void)state;
    ask(secret, CATALOG_AUTH_ADMIN, NULL, &missing);
    ask(secret, CATALOG_AUTH_ADMIN, "Bearer nope", &wrong);
    assert_non_null(strstr(missing.p, "WWW-Authenticate: Bearer realm=\"larder\"\r\n"));
    assert_non_null(strstr(wrong.p, "WWW-Authenticate: Bearer realm=\"larder\", error=\"invalid_token\"\r\n"));
    buf_free(&missing);
    buf_free(&wrong);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_token_opens_and_nothing_else_does),
        cmocka_unit_test(an_open_route_asks_for_nothing),
        cmocka_unit_test(without_a_configured_token_nobody_is_admitted),
        cmocka_unit_test(a_refusal_says_how_to_present_the_token),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
