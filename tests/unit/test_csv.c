#include "store_fixture.h"

#include "store/csv.h"

/* Records as cells joined by `|` and ended by `;`, so that a table can hold them. */
static enum err join_records(struct str text, struct buf *joined, unsigned *line, const char **why)
{
    struct arena *arena = arena_new(1024, 65536);
    struct str cells[CSV_CELLS_MAX];
    struct csv csv;
    size_t count;
    enum err err;

    csv_init(&csv, text);
    while ((err = csv_next(&csv, arena, cells, &count, why)) == ERR_OK) {
        for (size_t i = 0; i < count; i++) {
            if (i > 0)
                buf_add_char(joined, '|');
            buf_add_str(joined, cells[i]);
        }
        buf_add_char(joined, ';');
    }
    *line = csv.record_line;
    arena_free(&arena);
    return err;
}

static void records_are_cut_into_cells(void **state)
{
    static const struct {
        const char *text, *joined;
    } cases[] = {
        {"", ""},
        {"\n\r\n\n", ""},
        {"a", "a;"},
        {"a,b\n", "a|b;"},
        {"a,b\r\nc,d\r\n", "a|b;c|d;"},
        {"a,b\n\n\nc", "a|b;c;"},
        {",", "|;"},
        {"a,\n", "a|;"},
        {" a , b ", " a | b ;"},
        {"\"\"", ";"},
        {"\"\"\n\"\"", ";;"},
        {"\"a,b\",c", "a,b|c;"},
        {"\"a\nb\r\nc\",d", "a\nb\r\nc|d;"},
        {"\"say \"\"hi\"\"\"", "say \"hi\";"},
        {"\"\"\"\"", "\";"},
        {"\xef\xbb\xbf"
         "a\nb",
         "a;b;"},
        {"BF.B,Brown\xe2\x80\x93"
         "Forman",
         "BF.B|Brown\xe2\x80\x93"
         "Forman;"},
        {"ABNB,\"Hotels, Resorts & Cruise Lines\",http://x/?a=b&c",
         "ABNB|Hotels, Resorts & Cruise Lines|http://x/?a=b&c;"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf joined = {0};
        const char *why = NULL;
        unsigned line;
        buf_add(&joined, "", 1);
        buf_clear(&joined);
        enum err err = join_records(str_from(cases[i].text), &joined, &line, &why);
        if (err != ERR_NOT_FOUND)
            fail_msg("`%s`: %s", cases[i].text, why);
        assert_int_equal(joined.len, strlen(cases[i].joined));
        assert_memory_equal(joined.p, cases[i].joined, joined.len);
        buf_free(&joined);
    }
}

static void what_is_not_csv_is_named_by_its_line(void **state)
{
    static const struct {
        struct str text;
        unsigned line;
        const char *why;
    } cases[] = {
        {STR("a\n\"b"), 2, "never closed"},
        {STR("\"a\n\nb\",c\n\"d\"e"), 4, "follows a closing quote"},
        {STR("a\nb\"c\""), 2, "not quoted"},
        {STR("a\n\nb\rc"), 3, "carriage return"},
        {STR("a,b\r"), 1, "carriage return"},
        {STR("\"a\"\rb"), 1, "follows a closing quote"},
        {STR("a\nb\0c"), 2, "zero byte"},
        {STR("\"a\0\""), 1, "zero byte"},
        {STR("Est\xe9"
             "e"),
         1, "not UTF-8"},
        {STR("\""), 1, "never closed"},
        {STR("\"\"\""), 1, "never closed"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf joined = {0};
        const char *why = "";
        unsigned line = 0;
        assert_int_equal(join_records(cases[i].text, &joined, &line, &why), ERR_SYNTAX);
        assert_int_equal(line, cases[i].line);
        if (!strstr(why, cases[i].why))
            fail_msg("case %zu: %s", i, why);
        buf_free(&joined);
    }
}

static void a_record_of_too_many_cells_is_refused(void **state)
{
    char text[CSV_CELLS_MAX + 2];
    struct buf joined = {0};
    const char *why = "";
    unsigned line;

    (void)state;
    memset(text, ',', sizeof text);
    assert_int_equal(join_records((struct str){text, CSV_CELLS_MAX - 1}, &joined, &line, &why), ERR_NOT_FOUND);
    assert_int_equal(join_records((struct str){text, CSV_CELLS_MAX}, &joined, &line, &why), ERR_LIMIT);
    buf_free(&joined);
}

static void a_record_that_does_not_fit_the_arena_is_refused(void **state)
{
    struct buf text = {0}, joined = {0};
    const char *why = "";
    unsigned line;

    (void)state;
    buf_add_char(&text, '"');
    for (int i = 0; i < 100000; i++)
        buf_add_str(&text, STR("\"\""));
    buf_add_char(&text, '"');
    assert_int_equal(join_records(buf_str(&text), &joined, &line, &why), ERR_LIMIT);
    buf_free(&text);
    buf_free(&joined);
}

static void after_an_error_there_is_nothing_more_to_read(void **state)
{
    struct arena *arena = arena_new(1024, 65536);
    struct str cells[CSV_CELLS_MAX];
    struct csv csv;
    size_t count;
    const char *why;

    (void)state;
    csv_init(&csv, STR("a\"\nb"));
    assert_int_equal(csv_next(&csv, arena, cells, &count, &why), ERR_SYNTAX);
    assert_int_equal(csv_next(&csv, arena, cells, &count, &why), ERR_NOT_FOUND);
    arena_free(&arena);
}

static void each_record_knows_its_line(void **state)
{
    static const unsigned lines[] = {1, 2, 5, 8};
    struct arena *arena = arena_new(1024, 65536);
    struct str cells[CSV_CELLS_MAX];
    struct csv csv;
    size_t count;
    const char *why;

    (void)state;
    csv_init(&csv, STR("a\n\"b\n\n\"\n\"c\"\r\n\r\n\r\nd"));
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        assert_int_equal(csv_next(&csv, arena, cells, &count, &why), ERR_OK);
        assert_int_equal(csv.record_line, lines[i]);
    }
    assert_int_equal(csv_next(&csv, arena, cells, &count, &why), ERR_NOT_FOUND);
    arena_free(&arena);
}

static void a_header_cell_becomes_a_parameter_name(void **state)
{
    static const struct {
        const char *header, *name;
    } cases[] = {
        {"Symbol", "symbol"},           {"Price/Earnings", "price_earnings"},         {"52 Week Low", "52_week_low"},
        {"SEC Filings", "sec_filings"}, {"Erl\xc3\xb6s (\xe2\x82\xac)", "erl_s____"}, {"", ""},
    };
    struct arena *arena = arena_new(1024, 65536);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(csv_parameter_name(str_from(cases[i].header), arena).p, cases[i].name);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_cut_into_cells),
        cmocka_unit_test(what_is_not_csv_is_named_by_its_line),
        cmocka_unit_test(a_record_of_too_many_cells_is_refused),
        cmocka_unit_test(a_record_that_does_not_fit_the_arena_is_refused),
        cmocka_unit_test(after_an_error_there_is_nothing_more_to_read),
        cmocka_unit_test(each_record_knows_its_line),
        cmocka_unit_test(a_header_cell_becomes_a_parameter_name),
    };

    return cmocka_run_group_tests_name("csv", tests, NULL, NULL);
}
