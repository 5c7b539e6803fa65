/* The URL that names L2. */
#include "l2_fixture.h"

#include "l2/l2_url.h"

static void urls_name_their_server_without_its_secrets(void **state)
{
    static const struct {
        const char *url, *where;
    } cases[] = {
        {"", "memory:"},
        {"memory:", "memory:"},
        {"redis://localhost", "redis://localhost:6379/0"},
        {"redis://me:s%40cret@10.0.0.1:7000/3", "redis://10.0.0.1:7000/3"},
        {"redis://:p:a@ss@h/0", "redis://h:6379/0"},
        {"redis://[::1]:1234", "redis://[::1]:1234/0"},
        {"redis://[fe80::1%25eth0]/", "redis://[fe80::1%25eth0]:6379/0"},
        {"unix:///run/redis/redis.sock", "unix:///run/redis/redis.sock"},
        {"unix:/run/r%20s?db=4", "unix:///run/r%20s?db=4"},
        {"unix://me:secret@/run/r", "unix:///run/r"},
    };
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct buf why = {0}, where = {0};
        struct l2_url url;

        assert_int_equal(l2_url_parse(str_from(cases[i].url), &url, &why), ERR_OK);
        l2_url_print(&url, 0, &where);
        assert_string_equal(where.p, cases[i].where);
        l2_url_fini(&url);
        buf_free(&where);
        buf_free(&why);
    }
}

static void a_url_carries_credentials_and_a_database(void **state)
{
    struct buf why = {0};
    struct l2_url url;
    (void)state;

    assert_int_equal(l2_url_parse(STR("redis://me:s%40c%3aret@host:7000/3"), &url, &why), ERR_OK);
    assert_string_equal(url.user, "me");
    assert_string_equal(url.password, "s@c:ret");
    assert_string_equal(url.host, "host");
    assert_int_equal(url.port, 7000);
    assert_int_equal(url.database, 3);
    l2_url_fini(&url);
    assert_int_equal(l2_url_parse(STR("redis://:secret@host"), &url, &why), ERR_OK);
    assert_null(url.user);
    assert_string_equal(url.password, "secret");
    assert_int_equal(url.database, -1);
    l2_url_fini(&url);
    buf_free(&why);
}

static void a_wrong_url_is_refused_with_a_sentence(void **state)
{
    static const char *const cases[] = {
        "redis:",           "redis://",       "redis://:6379", "redis://h:0",     "redis://h:65536",
        "redis://h:x",      "redis://h/x",    "redis://h/-1",  "redis://h/65536", "redis://[::1",
        "redis://[name]",   "redis://[::1]x", "redis://a b",   "redis://me@",     "redis://%zz:x@h",
        "redis://:%00@h",   "unix:",          "unix://run/x",  "unix:relative",   "unix:///",
        "unix:///x?db=",    "unix:///x?db=a", "unix:///x?y=1", "unix:///x%00",    "memory:x",
        "rediss://secret",  "http://h",       "redis",         " memory:",        "unix://me:p@x/y",
        "redis://h:6379:1",
    };
    char path[200] = "unix:///";
    (void)state;

    memset(path + 8, 'x', sizeof(path) - 9);
    for (size_t i = 0; i <= sizeof(cases) / sizeof(*cases); i++) {
        struct buf why = {0};
        struct l2_url url;

        assert_int_equal(l2_url_parse(str_from(i < sizeof(cases) / sizeof(*cases) ? cases[i] : path), &url, &why),
                         ERR_SYNTAX);
        assert_true(why.len > 0);
        assert_null(strstr(why.p, "secret"));
        buf_free(&why);
    }
}

static void a_wrong_url_makes_no_l2(void **state)
{
    char url[] = "redis://host:port";
    struct config config = {.redis.url = url};
    struct l2_shared *shared = NULL;
    struct buf why = {0};
    (void)state;

    assert_int_equal(l2_shared_new(&config, 0, &shared, &why), ERR_SYNTAX);
    assert_null(shared);
    assert_non_null(strstr(why.p, "port"));
    buf_free(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_name_their_server_without_its_secrets),
        cmocka_unit_test(a_url_carries_credentials_and_a_database),
        cmocka_unit_test(a_wrong_url_is_refused_with_a_sentence),
        cmocka_unit_test(a_wrong_url_makes_no_l2),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
