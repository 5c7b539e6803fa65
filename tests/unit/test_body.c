/* JSON bodies: what is one, and members as parameters. */
#include "api/body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

struct fixture {
    struct arena *arena;
    struct buf why;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    fixture->arena = arena_new(4096, 1 << 20);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    arena_free(&fixture->arena);
    buf_free(&fixture->why);
    free(fixture);
    return 0;
}

/* Parses an exact copy, so that reading past the end is seen. */
static enum err parse(struct fixture *fixture, struct str text, struct body *body)
{
    char *exact = arena_alloc(fixture->arena, text.len ? text.len : 1);

    memcpy(exact, text.p, text.len);
    buf_clear(&fixture->why);
    return body_parse((struct str){exact, text.len}, fixture->arena, body, &fixture->why);
}

static void an_object_becomes_members(void **state)
{
    struct body body;

    assert_int_equal(
        parse(*state,
              STR(" { \"name\" : \"Caf\\u00e9 \\\"x\\\"\" ,\"price\":-12.50e+1,\"on\":true,\r\n\"off\":false,"
                  "\"none\":null,\"list\":[1,{\"a\":2}],\"sub\":{\"b\":[]}}\t\n"),
              &body),
        ERR_OK);
    static const struct {
        struct str name, text;
        enum body_type type;
    } expected[] = {
        {STR("name"), STR("Caf\xc3\xa9 \"x\""), BODY_STRING},
        {STR("price"), STR("-12.50e+1"), BODY_NUMBER},
        {STR("on"), STR("true"), BODY_BOOLEAN},
        {STR("off"), STR("false"), BODY_BOOLEAN},
        {STR("none"), STR("null"), BODY_NULL},
        {STR("list"), STR("[1,{\"a\":2}]"), BODY_ARRAY},
        {STR("sub"), STR("{\"b\":[]}"), BODY_OBJECT},
    };
    assert_int_equal(body.count, COUNT(expected));
    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_true(str_equal(body.members[i].name, expected[i].name));
        assert_true(str_equal(body.members[i].text, expected[i].text));
        assert_int_equal(body.members[i].type, expected[i].type);
    }
    assert_ptr_equal(body_find(&body, STR("on")), &body.members[2]);
    assert_null(body_find(&body, STR("absent")));
}

static void an_empty_object_has_no_members(void **state)
{
    struct body body;

    assert_int_equal(parse(*state, STR("{}"), &body), ERR_OK);
    assert_int_equal(body.count, 0);
    assert_int_equal(parse(*state, STR(" {\n} "), &body), ERR_OK);
}

static void what_is_no_json_object_is_refused_with_its_place(void **state)
{
    static const struct {
        struct str text;
        const char *place;
    } table[] = {
        {STR(""), "at byte 1"},
        {STR("   "), "at byte 4"},
        {STR("[]"), "at byte 1"},
        {STR("12"), "at byte 1"},
        {STR("{"), "at byte 2"},
        {STR("{\"a\""), "at byte 5"},
        {STR("{\"a\":"), "at byte 6"},
        {STR("{\"a\":1"), "at byte 7"},
        {STR("{\"a\":1,}"), "at byte 8"},
        {STR("{\"a\":1}x"), "at byte 8"},
        {STR("{\"a\":1}{}"), "at byte 8"},
        {STR("{\"a\":1 \"b\":2}"), "at byte 8"},
        {STR("{'a':1}"), "at byte 2"},
        {STR("{a:1}"), "at byte 2"},
        {STR("{\"a\":01}"), "at byte 6"},
        {STR("{\"a\":1.}"), "at byte 6"},
        {STR("{\"a\":.5}"), "at byte 6"},
        {STR("{\"a\":+1}"), "at byte 6"},
        {STR("{\"a\":-}"), "at byte 6"},
        {STR("{\"a\":1e}"), "at byte 6"},
        {STR("{\"a\":1-2}"), "at byte 6"},
        {STR("{\"a\":NaN}"), "at byte 6"},
        {STR("{\"a\":Infinity}"), "at byte 6"},
        {STR("{\"a\":TRUE}"), "at byte 6"},
        {STR("{\"a\":nul}"), "at byte 6"},
        {STR("{\"a\":/**/1}"), "at byte 6"},
        {STR("{\"a\":\"line\nend\"}"), "at byte 6"},
        {STR("{\"a\":\"open}"), "at byte 6"},
        {STR("{\"a\":[1,]}"), "at byte 9"},
        {STR("{\"a\":[1 2]}"), "at byte 9"},
        {STR("{\"a\":{\"b\"}}"), "at byte 10"},
        {STR("{\"a\":\"\\x\"}"), "at byte 8"},
        {STR("{\"a\":\"\xff\"}"), "UTF-8"},
        {STR("{\"a\":\"x\\ud800\"}"), "no character, at byte 8"},
        {STR("{\"a\":\"\\ud83dx\\udE00\"}"), "no character, at byte 7"},
        {STR("{\"a\":\"\\uDBFF\\u0041\"}"), "no character, at byte 7"},
        {STR("{\"a\":\"\\uD83D\\uD83D\\uDE00\"}"), "no character, at byte 7"},
        {STR("{\"a\":\"\\uDC00\"}"), "no character, at byte 7"},
        {STR("{\"\\udfff\":1}"), "no character, at byte 3"},
        {STR("{\"a\":[\"\\\\\\ud800\"]}"), "no character, at byte 10"},
        {STR("{\"a\":1,\0}"), "at byte 8"},
        {STR("\xef\xbb\xbf{}"), "at byte 1"},
        {STR("{\"a\":1,\"a\":2}"), "given before"},
        {STR("{\"a\":1,\"\\u0061\":2}"), "given before"},
    };
    struct fixture *fixture = *state;
    struct body body;

    for (size_t i = 0; i < COUNT(table); i++) {
        if (parse(fixture, table[i].text, &body) != ERR_SYNTAX)
            fail_msg("taken: %.*s", STR_ARG(table[i].text));
        if (!strstr(fixture->why.p, table[i].place))
            fail_msg("for %.*s: %s", STR_ARG(table[i].text), fixture->why.p);
    }
}

static void what_is_too_deep_or_too_many_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct buf deep = {0}, many = {0};
    struct body body;

    buf_add_str(&deep, STR("{\"a\":"));
    for (int i = 0; i < 5000; i++)
        buf_add_char(&deep, '[');
    for (int i = 0; i < 5000; i++)
        buf_add_char(&deep, ']');
    buf_add_char(&deep, '}');
    assert_int_equal(parse(fixture, buf_str(&deep), &body), ERR_LIMIT);
    assert_non_null(strstr(fixture->why.p, "deeper"));
    for (int i = 0; i <= BODY_MEMBERS_MAX; i++)
        buf_printf(&many, "%s\"m%d\":%d", i == 0 ? "{" : ",", i, i);
    buf_add_char(&many, '}');
    assert_int_equal(parse(fixture, buf_str(&many), &body), ERR_LIMIT);
    buf_free(&deep);
    buf_free(&many);
}

static void json_of_any_kind_is_told_from_other_text(void **state)
{
    static const struct {
        struct str text;
        bool json;
    } table[] = {{STR("{}"), true},
                 {STR("[1, 2]"), true},
                 {STR("12"), true},
                 {STR(" -0.5 "), true},
                 {STR("\"x\""), true},
                 {STR("null"), true},
                 {STR("true"), true},
                 {STR(""), false},
                 {STR(" "), false},
                 {STR("1 2"), false},
                 {STR("text"), false},
                 {STR("{},"), false},
                 {STR("nulll"), false},
                 {STR("\"x\"y"), false},
                 {STR("[1"), false},
                 {STR("1\0"), false},
                 {STR("1],[2"), false},
                 {STR("[123456789012345678901234567890]"), true},
                 {STR("[-98765432109876543210, 1]"), true},
                 {STR("[1 , ]"), false},
                 {STR("{\"a\":[1,],\"b\":2}"), false},
                 {STR("{\"a\":1,\n}"), false},
                 {STR("[,]"), false},
                 {STR("[1,,2]"), false},
                 {STR("{,}"), false}};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < COUNT(table); i++)
        if (body_is_json(table[i].text, fixture->arena) != table[i].json)
            fail_msg("judged wrongly: %.*s", STR_ARG(table[i].text));
}

static void the_media_type_is_compared_without_its_parameters(void **state)
{
    (void)state;
    assert_true(body_is_json_type(STR("application/json")));
    assert_true(body_is_json_type(STR("Application/JSON ; charset=utf-8")));
    assert_false(body_is_json_type(STR("")));
    assert_false(body_is_json_type(STR("text/plain")));
    assert_false(body_is_json_type(STR("application/jsonp")));
    assert_false(body_is_json_type(STR("application/x-www-form-urlencoded")));
}

static void strings_come_out_of_an_array_of_strings_only(void **state)
{
    static const struct {
        struct str text;
        enum err err;
        size_t count;
    } table[] = {{STR("{\"k\":[\"a\",\"b\\n\"]}"), ERR_OK, 2},
                 {STR("{\"k\":[]}"), ERR_OK, 0},
                 {STR("{\"k\":[\"a\",1]}"), ERR_TYPE, 0},
                 {STR("{\"k\":[null]}"), ERR_TYPE, 0},
                 {STR("{\"k\":\"a\"}"), ERR_TYPE, 0},
                 {STR("{\"k\":{}}"), ERR_TYPE, 0},
                 {STR("{\"k\":[\"a\",\"b\",\"c\",\"d\"]}"), ERR_LIMIT, 0}};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < COUNT(table); i++) {
        struct body body;
        struct str *strings;
        size_t count = 0;

        assert_int_equal(parse(fixture, table[i].text, &body), ERR_OK);
        assert_int_equal(body_strings(&body.members[0], 3, fixture->arena, &strings, &count), table[i].err);
        assert_int_equal(count, table[i].count);
        if (count == 2)
            assert_true(str_equal(strings[1], STR("b\n")));
    }
}

static struct params_spec make_spec(const char *line)
{
    struct params_spec spec;
    struct buf why = {0};

    assert_int_equal(params_spec_parse(str_from(line), &spec, &why), ERR_OK);
    buf_free(&why);
    return spec;
}

static void members_are_held_to_the_types_of_parameters(void **state)
{
    static const char *const lines[] = {"name text 1..5", "count integer 0..10", "price number ?",
                                        "on boolean = false"};
    static const struct {
        struct str text;
        enum err err;
        const char *named;
    } table[] = {
        {STR("{\"name\":\"abc\",\"count\":10,\"price\":1.5e1,\"on\":true}"), ERR_OK, NULL},
        {STR("{\"price\":null}"), ERR_OK, NULL},
        {STR("{}"), ERR_OK, NULL},
        {STR("{\"name\":5}"), ERR_TYPE, "`name` must be a string"},
        {STR("{\"name\":null}"), ERR_TYPE, "`name`"},
        {STR("{\"name\":\"abcdef\"}"), ERR_RANGE, "`name`"},
        {STR("{\"name\":\"a\\u0000b\"}"), ERR_TYPE, "`name`"},
        {STR("{\"count\":\"5\"}"), ERR_TYPE, "`count` must be a whole number"},
        {STR("{\"count\":5.5}"), ERR_TYPE, "`count`"},
        {STR("{\"count\":11}"), ERR_RANGE, "`count`"},
        {STR("{\"count\":123456789012345678901234567890}"), ERR_RANGE, "`count`"},
        {STR("{\"price\":\"1\"}"), ERR_TYPE, "`price` must be a number, or null"},
        {STR("{\"price\":1e999}"), ERR_RANGE, "`price`"},
        {STR("{\"on\":1}"), ERR_TYPE, "`on` must be true or false"},
        {STR("{\"on\":[]}"), ERR_TYPE, "`on`"},
        {STR("{\"price\":{}}"), ERR_TYPE, "`price`"},
        {STR("{\"other\":1}"), ERR_TYPE, "\"other\" is unknown here; known here: `name`"},
    };
    struct fixture *fixture = *state;
    struct params_spec specs[COUNT(lines)];

    for (size_t i = 0; i < COUNT(lines); i++)
        specs[i] = make_spec(lines[i]);
    for (size_t i = 0; i < COUNT(table); i++) {
        struct params_raw raw[BODY_MEMBERS_MAX];
        bool nulls[COUNT(lines)];
        size_t count = 99;
        struct body body;

        assert_int_equal(parse(fixture, table[i].text, &body), ERR_OK);
        assert_int_equal(body_bind(&body, specs, COUNT(specs), fixture->arena, raw, &count, nulls, &fixture->why),
                         table[i].err);
        if (table[i].named && !strstr(fixture->why.p, table[i].named))
            fail_msg("%s", fixture->why.p);
        if (i == 0)
            assert_int_equal(count, 4);
        if (i == 1)
            assert_true(count == 0 && nulls[2] && !nulls[0]);
    }
    for (size_t i = 0; i < COUNT(lines); i++)
        params_spec_fini(&specs[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_object_becomes_members, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_object_has_no_members, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_json_object_is_refused_with_its_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_too_deep_or_too_many_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(json_of_any_kind_is_told_from_other_text, set_up, tear_down),
        cmocka_unit_test(the_media_type_is_compared_without_its_parameters),
        cmocka_unit_test_setup_teardown(strings_come_out_of_an_array_of_strings_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(members_are_held_to_the_types_of_parameters, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
