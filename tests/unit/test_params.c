/* Parameters: their declaration, what clients may send, and the keys made of them. */
#include "config/params.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* The parameters of one route, and the last answers. */
struct fixture {
    struct arena *arena;
    struct params_spec specs[PARAMS_MAX];
    size_t count;
    struct params_values values;
    struct buf why;
};

static void start(struct fixture *it, const char *const *lines, size_t count)
{
    *it = (struct fixture){.arena = arena_new(4096, 1 << 20), .count = count};
    for (size_t i = 0; i < count; i++)
        assert_int_equal(params_spec_parse(str_from(lines[i]), &it->specs[i], &it->why), ERR_OK);
}

static void end(struct fixture *it)
{
    for (size_t i = 0; i < it->count; i++)
        params_spec_fini(&it->specs[i]);
    buf_free(&it->why);
    arena_free(&it->arena);
}

static enum err bind(struct fixture *it, const char *query)
{
    struct params_raw raw[PARAMS_MAX];
    size_t count;
    enum err err;

    buf_clear(&it->why);
    err = params_split_query(str_from(query), it->arena, raw, &count, &it->why);
    if (err == ERR_OK)
        err = params_bind(it->specs, it->count, raw, count, it->arena, &it->values, &it->why);
    return err;
}

static void expect_text(struct str text, const char *expected)
{
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.p, expected, text.len);
}

static void expect_why(const struct fixture *it, const char *part)
{
    if (!it->why.p || !strstr(it->why.p, part))
        fail_msg("expected `%s` in: %s", part, it->why.p ? it->why.p : "(nothing)");
}

static void a_declaration_is_understood_in_any_order(void **state)
{
    static const char *const lines[] = {"ticker text upper ~ ^[A-Z][A-Z0-9.-]{0,9}$ = brk.b",
                                        "  ticker\ttext = brk.b ~ ^[A-Z][A-Z0-9.-]{0,9}$ upper  "};
    struct params_spec spec;
    struct buf why = {0};

    (void)state;
    for (size_t i = 0; i < COUNT(lines); i++) {
        assert_int_equal(params_spec_parse(str_from(lines[i]), &spec, &why), ERR_OK);
        expect_text(spec.name, "ticker");
        assert_int_equal(spec.type, PARAMS_TEXT);
        assert_int_equal(spec.letter_case, PARAMS_CASE_UPPER);
        assert_true(spec.has_default && !spec.optional && !spec.has_min && !spec.has_max && !spec.in_path);
        expect_text(spec.default_text, "BRK.B");
        expect_text(spec.pattern_text, "^[A-Z][A-Z0-9.-]{0,9}$");
        params_spec_fini(&spec);
    }
    buf_free(&why);
}

static void a_default_is_kept_in_its_normalised_form(void **state)
{
    static const struct {
        const char *line, *text;
        int64_t integer;
        double number;
    } rows[] = {{"limit integer 1..200 = 050", "50", 50, 0},
                {"price number 0.. = 1.50", "1.5", 0, 1.5},
                {"price number = -0.0", "0", 0, 0},
                {"active boolean = 1", "true", 1, 0},
                {"order text lower in asc,DESC = Desc", "desc", 0, 0}};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct params_spec spec;
        struct buf why = {0};

        assert_int_equal(params_spec_parse(str_from(rows[i].line), &spec, &why), ERR_OK);
        expect_text(spec.default_text, rows[i].text);
        assert_int_equal(spec.default_integer, rows[i].integer);
        assert_true(spec.default_number == rows[i].number);
        params_spec_fini(&spec);
    }
}

static void a_wrong_declaration_says_what_is_wrong(void **state)
{
    static const struct {
        const char *line, *why;
    } rows[] = {{"", "a name and a type are missing"},
                {"limit", "has no type"},
                {"limit int", "`int` is no type"},
                {"Limit integer", "`Limit` is no name"},
                {"9lives integer", "is no name"},
                {"larder_now integer", "larder's own"},
                {"limit integer 1..200 1..2", "second range"},
                {"limit integer 200..1", "ends before it begins"},
                {"limit integer 1.5..2", "whole numbers"},
                {"limit integer ..", "is no range"},
                {"flag boolean 0..1", "a boolean has no range"},
                {"flag boolean in true", "no choices"},
                {"limit integer upper", "for text only"},
                {"limit integer ~ ^1$", "for text only"},
                {"q text upper lower", "once"},
                {"q text ~", "nothing follows `~`"},
                {"q text ~ ^a$ ~ ^b$", "stands twice"},
                {"q text ~ ^[a$", "no POSIX extended regular expression"},
                {"q text ~ (a)\\1", "back-reference"},
                {"q text ~ ((a{200}){200}){200}", "too large"},
                {"q text ~ ((((((((((((((((((((a))))))))))))))))))))", "too large"},
                {"q text in a,,b", "empty choice"},
                {"q text 2.. in a,bb", "the choice `a` is not allowed"},
                {"limit integer 1..200 = 500", "the default `500` is not allowed"},
                {"limit integer = fifty", "the default `fifty` is not allowed"},
                {"q text in a,b = c", "one of a, b"},
                {"q text ? = c", "exclude each other"},
                {"q text ? ?", "stands twice"},
                {"id integer 9007199254740993..9007199254740992", "ends before it begins"},
                {"q text =c", "is not understood"},
                {"q text optional", "is not understood"}};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct params_spec spec;
        struct fixture it = {0};

        if (params_spec_parse(str_from(rows[i].line), &spec, &it.why) != ERR_SYNTAX)
            fail_msg("accepted: %s", rows[i].line);
        expect_why(&it, rows[i].why);
        buf_free(&it.why);
    }
}

static const char *const stock_lines[] = {
    "ticker text upper ~ ^[A-Z][A-Z0-9.-]{0,9}$ ?",
    "q text 1..5 ?",
    "sort text lower in ticker,price = ticker",
    "limit integer 1..200 = 50",
    "min_price number 0..1000 ?",
    "active boolean ?",
};

static void a_value_has_one_normalised_form(void **state)
{
    static const struct {
        const char *query, *name, *text;
    } rows[] = {{"ticker=brk.b", "ticker", "BRK.B"},
                {"ticker=BRK.B", "ticker", "BRK.B"},
                {"ticker=%42RK%2EB", "ticker", "BRK.B"},
                {"limit=007", "limit", "7"},
                {"limit=200", "limit", "200"},
                {"min_price=1e2", "min_price", "100"},
                {"min_price=100.0", "min_price", "100"},
                {"min_price=-0", "min_price", "0"},
                {"min_price=0.1", "min_price", "0.1"},
                {"active=1", "active", "true"},
                {"active=false", "active", "false"},
                {"sort=PRICE", "sort", "price"},
                {"", "sort", "ticker"},
                {"", "limit", "50"},
                {"q=a+b", "q", "a b"},
                {"q=a%2Bb", "q", "a+b"},
                {"q=%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9", "q", "\u00e9\u00e9\u00e9\u00e9\u00e9"}};
    struct fixture it;

    (void)state;
    start(&it, stock_lines, COUNT(stock_lines));
    for (size_t i = 0; i < COUNT(rows); i++) {
        bool found = false;

        assert_int_equal(bind(&it, rows[i].query), ERR_OK);
        assert_int_equal(it.values.count, COUNT(stock_lines));
        for (size_t at = 0; at < it.values.count; at++) {
            if (!str_equal(it.values.items[at].name, str_from(rows[i].name)))
                continue;
            found = true;
            assert_false(it.values.items[at].is_null);
            expect_text(it.values.items[at].text, rows[i].text);
        }
        assert_true(found);
    }
    end(&it);
}

/* Beyond 2^53 not every whole number is a double. */
static void a_range_of_whole_numbers_is_exact_to_the_last_bit(void **state)
{
    static const char *const lines[] = {"id integer 9007199254740993..9223372036854775806"};
    struct fixture it;

    (void)state;
    start(&it, lines, COUNT(lines));
    assert_int_equal(bind(&it, "id=9007199254740993"), ERR_OK);
    assert_int_equal(bind(&it, "id=9223372036854775806"), ERR_OK);
    assert_int_equal(bind(&it, "id=9007199254740992"), ERR_RANGE);
    expect_why(&it, "a whole number from 9007199254740993 to 9223372036854775806");
    assert_int_equal(bind(&it, "id=9223372036854775807"), ERR_RANGE);
    end(&it);
}

static void an_absent_optional_parameter_is_null(void **state)
{
    struct fixture it;

    (void)state;
    start(&it, stock_lines, COUNT(stock_lines));
    assert_int_equal(bind(&it, "&&limit=3&"), ERR_OK);
    assert_true(it.values.items[0].is_null);
    assert_true(it.values.items[4].is_null);
    assert_false(it.values.items[2].is_null);
    assert_int_equal(it.values.items[3].integer, 3);
    end(&it);
}

static void what_cannot_be_valid_is_refused_with_the_parameter_and_what_is_allowed(void **state)
{
    static const struct {
        const char *query;
        enum err err;
        const char *why;
    } rows[] = {
        {"colour=red", ERR_SYNTAX, "parameter `colour` is unknown here; allowed: ticker, q, sort"},
        {"limit=1&limit=2", ERR_SYNTAX, "`limit` is given more than once"},
        {"=1", ERR_SYNTAX, "without a name"},
        {"q=%", ERR_SYNTAX, "broken percent escape"},
        {"q=%00", ERR_SYNTAX, "control character"},
        {"q=a%0Ab", ERR_SYNTAX, "control character"},
        {"q=%C0%AF", ERR_SYNTAX, "not UTF-8"},
        {"q=\xff", ERR_SYNTAX, "not UTF-8"},
        {"limit=ten", ERR_TYPE, "`limit` must be a whole number from 1 to 200"},
        {"limit=", ERR_TYPE, "whole number"},
        {"limit", ERR_TYPE, "whole number"},
        {"limit=1.5", ERR_TYPE, "whole number"},
        {"limit=+1", ERR_TYPE, "whole number"}, /* the plus is a blank */
        {"limit=0", ERR_RANGE, "from 1 to 200"},
        {"limit=99999999999999999999", ERR_RANGE, "from 1 to 200"},
        {"min_price=NaN", ERR_TYPE, "a number from 0 to 1000"},
        {"min_price=1e999", ERR_RANGE, "a number"},
        {"min_price=-1", ERR_RANGE, "a number"},
        {"active=yes", ERR_TYPE, "true or false"},
        {"sort=colour", ERR_RANGE, "one of ticker, price"},
        {"ticker=1234", ERR_RANGE, "text that matches ^[A-Z]"},
        {"ticker=ABCDEFGHIJK", ERR_RANGE, "text that matches"},
        {"q=", ERR_RANGE, "text from 1 to 5 characters"},
        {"q=abcdef", ERR_RANGE, "text from 1 to 5 characters"},
    };
    struct fixture it;

    (void)state;
    start(&it, stock_lines, COUNT(stock_lines));
    for (size_t i = 0; i < COUNT(rows); i++) {
        enum err err = bind(&it, rows[i].query);

        if (err != rows[i].err)
            fail_msg("%s gives %s", rows[i].query, err_text(err));
        expect_why(&it, rows[i].why);
    }
    end(&it);
}

static void a_missing_parameter_is_named(void **state)
{
    static const char *const lines[] = {"board text", "limit integer ?"};
    struct fixture it;

    (void)state;
    start(&it, lines, COUNT(lines));
    assert_int_equal(bind(&it, "limit=1"), ERR_SYNTAX);
    expect_why(&it, "`board` is missing");
    end(&it);
}

static void what_a_client_wrote_is_not_repeated_in_the_answer(void **state)
{
    struct fixture it;

    (void)state;
    start(&it, stock_lines, COUNT(stock_lines));
    assert_int_equal(bind(&it, "ticker=1<script>"), ERR_RANGE);
    assert_null(strstr(it.why.p, "script"));
    end(&it);
}

static void too_many_and_too_long_are_refused(void **state)
{
    static const char *const lines[] = {"q text ?"};
    struct fixture it;
    struct buf query = {0};

    (void)state;
    start(&it, lines, COUNT(lines));
    for (int i = 0; i <= PARAMS_MAX; i++)
        buf_printf(&query, "a%d=1&", i);
    assert_int_equal(bind(&it, query.p), ERR_LIMIT);
    expect_why(&it, "more than 32");
    buf_clear(&query);
    buf_add_str(&query, STR("q="));
    for (int i = 0; i < PARAMS_VALUE_MAX; i++)
        buf_add_char(&query, 'x');
    assert_int_equal(bind(&it, query.p), ERR_OK);
    buf_add_char(&query, 'x');
    assert_int_equal(bind(&it, query.p), ERR_RANGE);
    expect_why(&it, "1024 bytes");
    buf_free(&query);
    end(&it);
}

static void a_full_arena_is_an_error_and_no_short_value(void **state)
{
    static const char *const lines[] = {"q text"};
    struct fixture it;
    struct params_raw raw = {STR("q"), STR("a text that does not fit into the arena of this test")};

    (void)state;
    start(&it, lines, COUNT(lines));
    arena_free(&it.arena);
    it.arena = arena_new(16, 16);
    assert_int_equal(params_bind(it.specs, 1, &raw, 1, it.arena, &it.values, &it.why), ERR_LIMIT);
    end(&it);
}

static void a_nul_in_a_text_is_refused(void **state)
{
    static const char *const lines[] = {"q text ~ ^a$"};
    struct fixture it;
    struct params_raw raw = {STR("q"), STR("a\0b")};

    (void)state;
    start(&it, lines, COUNT(lines));
    assert_int_equal(params_bind(it.specs, 1, &raw, 1, it.arena, &it.values, &it.why), ERR_TYPE);
    end(&it);
}

static void a_template_is_filled_with_encoded_values(void **state)
{
    static const struct {
        const char *query, *template_text, *expected;
    } rows[] = {
        {"ticker=brk.b", "stocks:detail:{ticker}", "stocks:detail:BRK.B"},
        {"limit=3", "{limit}{limit}", "33"},
        {"q=a:b", "s:{q}:x", "s:a%3Ab:x"},
        {"q=*%3F[]%5C", "{q}", "%2A%3F%5B%5D%5C"},
        {"q=%25+", "{q}", "%25%20"},
        {"q=%C3%A9", "{q}", "\u00e9"},
        {"", "a{ticker}b", "ab"},
        {"", "plain", "plain"},
        {"", "", ""},
        {"active=1", "{active}", "true"},
        {"", "an{open", "an{open"},
    };
    struct fixture it;

    (void)state;
    start(&it, stock_lines, COUNT(stock_lines));
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(bind(&it, rows[i].query), ERR_OK);
        expect_text(params_expand(str_from(rows[i].template_text), &it.values, it.arena), rows[i].expected);
    }
    end(&it);
}

static struct str expand_all(struct fixture *it, const char *query)
{
    assert_int_equal(bind(it, query), ERR_OK);
    return params_expand(STR("k:{*}"), &it->values, it->arena);
}

static void the_hash_of_all_parameters_tells_different_requests_apart(void **state)
{
    static const char *const lines[] = {"b text ?", "a text ?", "c integer = 1"};
    static const char *const queries[] = {"", "a=", "b=", "a=&b=", "a=x", "b=x", "a=b%3D", "a=%25", "a=%2525", "c=2"};
    struct str keys[COUNT(queries)];
    struct fixture it;

    (void)state;
    start(&it, lines, COUNT(lines));
    for (size_t i = 0; i < COUNT(queries); i++) {
        keys[i] = expand_all(&it, queries[i]);
        assert_int_equal(keys[i].len, 2 + 32);
        for (size_t before = 0; before < i; before++)
            assert_false(str_equal(keys[before], keys[i]));
    }
    end(&it);
}

static void the_hash_does_not_depend_on_order_or_spelling(void **state)
{
    static const char *const lines[] = {"b text ?", "a text upper ?", "c integer = 1"};
    struct fixture it, turned;
    struct str key;

    (void)state;
    start(&it, lines, COUNT(lines));
    start(&turned, (const char *const[]){lines[2], lines[0], lines[1]}, 3);
    key = expand_all(&it, "a=x&b=y");
    assert_true(str_equal(key, expand_all(&it, "b=%79&a=X&c=01")));
    assert_true(str_equal(key, expand_all(&turned, "b=y&a=x")));
    end(&it);
    end(&turned);
}

static void a_value_with_line_ends_cannot_feign_another_parameter(void **state)
{
    static const char *const lines[] = {"a text", "b text"};
    struct params_raw one[] = {{STR("a"), STR("x\nb=y")}, {STR("b"), STR("z")}};
    struct params_raw other[] = {{STR("a"), STR("x")}, {STR("b"), STR("y\nb=z")}};
    struct fixture it;
    struct str key;

    (void)state;
    start(&it, lines, COUNT(lines));
    assert_int_equal(params_bind(it.specs, 2, one, 2, it.arena, &it.values, &it.why), ERR_OK);
    key = params_expand(STR("{*}"), &it.values, it.arena);
    assert_int_equal(params_bind(it.specs, 2, other, 2, it.arena, &it.values, &it.why), ERR_OK);
    assert_false(str_equal(key, params_expand(STR("{*}"), &it.values, it.arena)));
    end(&it);
}

static void a_template_with_an_undeclared_name_is_not_valid(void **state)
{
    static const struct {
        const char *text, *unknown;
    } rows[] = {{"a:{ticker}:{*}", NULL}, {"", NULL},     {"{tickr}", "tickr"}, {"{}", ""},
                {"a{ticker", "{ticker"},  {"a}b", "a}b"}, {"{a{b}", "a{b"}};
    struct fixture it;

    (void)state;
    start(&it, stock_lines, COUNT(stock_lines));
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct str unknown = {NULL, 0};

        assert_int_equal(params_template_valid(str_from(rows[i].text), it.specs, it.count, &unknown), !rows[i].unknown);
        if (rows[i].unknown)
            expect_text(unknown, rows[i].unknown);
    }
    end(&it);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_declaration_is_understood_in_any_order),
        cmocka_unit_test(a_default_is_kept_in_its_normalised_form),
        cmocka_unit_test(a_wrong_declaration_says_what_is_wrong),
        cmocka_unit_test(a_value_has_one_normalised_form),
        cmocka_unit_test(an_absent_optional_parameter_is_null),
        cmocka_unit_test(a_range_of_whole_numbers_is_exact_to_the_last_bit),
        cmocka_unit_test(what_cannot_be_valid_is_refused_with_the_parameter_and_what_is_allowed),
        cmocka_unit_test(a_missing_parameter_is_named),
        cmocka_unit_test(what_a_client_wrote_is_not_repeated_in_the_answer),
        cmocka_unit_test(too_many_and_too_long_are_refused),
        cmocka_unit_test(a_full_arena_is_an_error_and_no_short_value),
        cmocka_unit_test(a_nul_in_a_text_is_refused),
        cmocka_unit_test(a_template_is_filled_with_encoded_values),
        cmocka_unit_test(the_hash_of_all_parameters_tells_different_requests_apart),
        cmocka_unit_test(the_hash_does_not_depend_on_order_or_spelling),
        cmocka_unit_test(a_value_with_line_ends_cannot_feign_another_parameter),
        cmocka_unit_test(a_template_with_an_undeclared_name_is_not_valid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
