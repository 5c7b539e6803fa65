#include "store_fixture.h"

#include "base/sys.h"
#include "store/check.h"
#include "store/csv.h"
#include "store/migrate.h"
#include "store/rows.h"
#include "store/statement.h"
#include "store/store.h"

/* The SQL that ships with the project, run as the program runs it on a migrated database with a few rows imported. */
struct shipped {
    struct fixture *fixture;
    char sql_dir[512];
    struct catalog *catalog;
    struct store *store;
    struct arena *arena;
    sqlite3 *writer;
};

static const char rows_csv[] =
    "Symbol,Name,Sector,Price,Price/Earnings,Dividend Yield,Earnings/Share,52 Week Low,52 Week High,Market Cap,EBITDA,"
    "Price/Sales,Price/Book,SEC Filings\n"
    "AAA,First,Alpha,50,10.5,0.02,5,0,100,1000,10,1.5,2.5,http://x/?a=b&c=AAA\n"
    "BBB,Second 100%,Alpha,20,20,,1,10,30,2000,,,,\n"
    "CCC,\"Third, Inc.\",Beta,30,,0.01,-3,20,40,3000,-5,,,\n"
    "BF.B,Brown\xe2\x80\x93"
    "Forman,Beta,,,,,,,,,,,\n";

static struct params_value text_value(struct str name, struct str text)
{
    return (struct params_value){.name = name, .type = PARAMS_TEXT, .is_null = text.len == 0, .text = text};
}

/* Runs each statement of SQL; the last that gives rows makes *JSON. */
static enum err write_all(struct shipped *shipped, struct str sql, const struct params_values *values, struct buf *json,
                          struct buf *why)
{
    const struct store_caller caller = {.now_ms = 7000};
    const char *error = NULL;
    enum err err = ERR_OK;

    statement_guard(shipped->writer, STATEMENT_GUARD_WRITING);
    while (err == ERR_OK) {
        sqlite3_stmt *statement = NULL;
        bool found;
        err = statement_prepare(shipped->writer, &sql, 0, &statement, &error, why);
        if (err != ERR_OK || !statement)
            break;
        err = rows_bind(statement, values, &caller, why);
        if (err == ERR_OK)
            err = rows_collect(shipped->writer, statement, CATALOG_OBJECT, 10000, json, &found, why);
        sqlite3_finalize(statement);
    }
    return err;
}

static enum err import_text(struct shipped *shipped, const char *text, struct buf *why)
{
    struct buf path = {0}, sql = {0}, json = {0};
    struct str header[CSV_CELLS_MAX], cells[CSV_CELLS_MAX];
    struct params_values values;
    struct csv csv;
    size_t columns, count;
    const char *static_why;
    enum err err = ERR_OK;

    buf_printf(&path, "%s/import/stocks.sql", shipped->sql_dir);
    assert_int_equal(sys_read_file(path.p, 100000, &sql), ERR_OK);
    csv_init(&csv, str_from(text));
    assert_int_equal(csv_next(&csv, shipped->arena, header, &columns, &static_why), ERR_OK);
    while (err == ERR_OK && csv_next(&csv, shipped->arena, cells, &count, &static_why) == ERR_OK) {
        assert_int_equal(count, columns);
        values.count = count;
        for (size_t i = 0; i < count; i++)
            values.items[i] = text_value(csv_parameter_name(header[i], shipped->arena), cells[i]);
        err = write_all(shipped, buf_str(&sql), &values, &json, why);
    }
    buf_free(&path);
    buf_free(&sql);
    buf_free(&json);
    return err;
}

static int setup(void **state)
{
    struct shipped *shipped = calloc(1, sizeof *shipped);
    struct report *report = report_new();
    const char *source = getenv("LARDER_SOURCE");
    struct buf why = {0};
    void *fixture;

    fixture_setup(&fixture);
    shipped->fixture = fixture;
    snprintf(shipped->sql_dir, sizeof shipped->sql_dir, "%s/sql", source ? source : ".");
    shipped->arena = arena_new(4096, 1 << 20);
    if (catalog_load(shipped->sql_dir, report, &shipped->catalog) != ERR_OK)
        fail_msg("%s", report_line(report, 0));
    if (migrate_run(&(struct migrate){.path = shipped->fixture->database,
                                      .sql_dir = shipped->sql_dir,
                                      .last = MIGRATE_ALL,
                                      .report = report}) != ERR_OK)
        fail_msg("%s", report_line(report, 0));
    assert_int_equal(sqlite3_open(shipped->fixture->database, &shipped->writer), SQLITE_OK);
    sqlite3_extended_result_codes(shipped->writer, 1);
    if (import_text(shipped, rows_csv, &why) != ERR_OK)
        fail_msg("%s", why.p);
    shipped->store = store_open(shipped->fixture->database, 1000);
    report_free(&report);
    *state = shipped;
    return 0;
}

static int teardown(void **state)
{
    struct shipped *shipped = *state;
    void *fixture = shipped->fixture;

    store_close(&shipped->store);
    sqlite3_close(shipped->writer);
    catalog_free(&shipped->catalog);
    arena_free(&shipped->arena);
    free(shipped);
    return fixture_teardown(&fixture);
}

static const struct resource *find_resource(const struct shipped *shipped, const char *name)
{
    for (size_t i = 0; i < shipped->catalog->count; i++)
        if (str_equal(shipped->catalog->resources[i].name, str_from(name)))
            return &shipped->catalog->resources[i];
    fail_msg("there is no resource %s", name);
    return NULL;
}

/* QUERY is `name=value&…`, as a client would send it, path parameters included. */
static void bind_query(struct shipped *shipped, const struct resource *resource, const char *query,
                       struct params_values *values)
{
    struct params_raw raw[PARAMS_MAX];
    struct buf why = {0};
    size_t count;

    assert_int_equal(params_split_query(str_from(query), shipped->arena, raw, &count, &why), ERR_OK);
    if (params_bind(resource->params, resource->params_count, raw, count, shipped->arena, values, &why) != ERR_OK)
        fail_msg("%s: %s", query, why.p);
}

static struct str read_json(struct shipped *shipped, const char *name, const char *query)
{
    const struct resource *resource = find_resource(shipped, name);
    const struct store_caller caller = {.now_ms = 7000};
    struct params_values values = {0};
    struct store_answer answer = {0};
    struct buf why = {0};

    arena_reset(shipped->arena);
    bind_query(shipped, resource, query, &values);
    if (store_read(shipped->store, resource, &values, &caller, shipped->arena, &answer, &why) != ERR_OK)
        fail_msg("%s?%s: %s", name, query, why.p);
    return answer.json;
}

static enum err write_json(struct shipped *shipped, const char *name, const char *query, struct buf *json)
{
    const struct resource *resource = find_resource(shipped, name);
    struct params_values values = {0};
    struct buf why = {0};

    bind_query(shipped, resource, query, &values);
    enum err err = write_all(shipped, resource->sql, &values, json, &why);
    buf_free(&why);
    return err;
}

/* The tickers of an answer in order, by blanks, then what it says of count and total. */
static void expect_tickers(struct shipped *shipped, const char *name, const char *query, const char *expected)
{
    struct str json = read_json(shipped, name, query);
    static const char mark[] = "\"ticker\":\"";
    struct buf found = {0};

    for (const char *p = json.p; (p = strstr(p, mark)) != NULL;) {
        p += sizeof mark - 1;
        buf_printf(&found, "%.*s ", (int)strcspn(p, "\""), p);
    }
    buf_add_str(&found, str_from(strstr(json.p, "],\"count\"") + 2));
    if (strcmp(found.p, expected) != 0)
        fail_msg("%s?%s: %s", name, query, found.p);
    buf_free(&found);
}

static void every_statement_passes_the_check(void **state)
{
    struct shipped *shipped = *state;
    struct report *report = report_new();
    struct buf depends = {0}, answers = {0};
    enum err err = check_statements("/nonexistent/database", shipped->sql_dir, shipped->catalog, report, &depends, &answers);

    fixture_expect_report(report, NULL, 0);
    assert_int_equal(err, ERR_OK);
    assert_string_equal(depends.p, "stock: stocks\nstocks-leaderboard: larder_scores, stocks\nstocks-top: stocks\n"
                                   "stocks: stocks\n");
    buf_free(&depends);
    buf_free(&answers);
    report_free(&report);
}

static void a_stock_is_found_by_its_ticker(void **state)
{
    assert_string_equal(
        read_json(*state, "stock", "ticker=aaa").p,
        "{\"ticker\":\"AAA\",\"name\":\"First\",\"sector\":\"Alpha\",\"price\":50,\"price_earnings\":10.5,"
        "\"dividend_yield\":0.02,\"earnings_share\":5,\"week_52_low\":0,\"week_52_high\":100,"
        "\"market_cap\":1000,\"ebitda\":10,\"price_sales\":1.5,\"price_book\":2.5,"
        "\"sec_filings\":\"http://x/?a=b&c=AAA\"}");
    assert_non_null(strstr(read_json(*state, "stock", "ticker=BF.B").p,
                           "Brown\xe2\x80\x93"
                           "Forman\",\"sector\":\"Beta\",\"price\":null,"));
    assert_int_equal(read_json(*state, "stock", "ticker=ZZZ").len, 0);
}

static void stocks_are_filtered_sorted_and_paged(void **state)
{
    static const struct {
        const char *query, *tickers;
    } cases[] = {
        {"", "AAA BBB BF.B CCC \"count\":4,\"total\":4}"},
        {"order=desc", "CCC BF.B BBB AAA \"count\":4,\"total\":4}"},
        {"sort=price", "BBB CCC AAA BF.B \"count\":4,\"total\":4}"},
        {"sort=price&order=desc", "AAA CCC BBB BF.B \"count\":4,\"total\":4}"},
        {"sort=market_cap", "AAA BBB CCC BF.B \"count\":4,\"total\":4}"},
        {"sort=market_cap&order=desc", "CCC BBB AAA BF.B \"count\":4,\"total\":4}"},
        {"sort=dividend_yield", "CCC AAA BBB BF.B \"count\":4,\"total\":4}"},
        {"sort=dividend_yield&order=desc", "AAA CCC BBB BF.B \"count\":4,\"total\":4}"},
        {"sort=price&limit=2", "BBB CCC \"count\":2,\"total\":4}"},
        {"sort=price&limit=2&offset=2", "AAA BF.B \"count\":2,\"total\":4}"},
        {"offset=9", "\"count\":0}"},
        {"sector=Beta", "BF.B CCC \"count\":2,\"total\":2}"},
        {"q=bb", "BBB \"count\":1,\"total\":1}"},
        {"q=INC.", "CCC \"count\":1,\"total\":1}"},
        {"q=f.b", "BF.B \"count\":1,\"total\":1}"},
        {"q=%25", "BBB \"count\":1,\"total\":1}"},
        {"q=_", "\"count\":0}"},
        {"min_price=30", "AAA CCC \"count\":2,\"total\":2}"},
        {"max_price=30&min_price=20.5", "CCC \"count\":1,\"total\":1}"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_tickers(*state, "stocks", cases[i].query, cases[i].tickers);
}

static void the_top_leaves_out_what_is_unknown(void **state)
{
    expect_tickers(*state, "stocks-top", "", "CCC BBB AAA \"count\":3}");
    expect_tickers(*state, "stocks-top", "by=dividend_yield", "AAA CCC \"count\":2}");
    expect_tickers(*state, "stocks-top", "by=price_earnings&limit=1", "BBB \"count\":1}");
}

static void the_boards_rank_the_stocks(void **state)
{
    struct shipped *shipped = *state;

    assert_string_equal(
        read_json(shipped, "stocks-leaderboard", "board=value&limit=2").p,
        "{\"items\":[{\"rank\":1,\"ticker\":\"AAA\",\"name\":\"First\",\"sector\":\"Alpha\",\"price\":50,\"score\":10},"
        "{\"rank\":2,\"ticker\":\"BBB\",\"name\":\"Second 100%\",\"sector\":\"Alpha\",\"price\":20,\"score\":5}],"
        "\"count\":2,\"total\":3}");
    expect_tickers(shipped, "stocks-leaderboard", "board=value&sector=Beta", "CCC \"count\":1,\"total\":1}");
    assert_non_null(strstr(read_json(shipped, "stocks-leaderboard", "board=value&sector=Beta").p, "{\"rank\":1,"));
}

static void equal_scores_share_a_rank_across_pages(void **state)
{
    struct shipped *shipped = *state;

    /* All three stand in the middle of their range. */
    expect_tickers(shipped, "stocks-leaderboard", "", "AAA BBB CCC \"count\":3,\"total\":3}");
    assert_non_null(strstr(read_json(shipped, "stocks-leaderboard", "offset=2").p, "{\"rank\":1,\"ticker\":\"CCC\""));
    sqlite3_exec(shipped->writer,
                 "UPDATE larder_scores SET score = 90 WHERE board = 'momentum' AND member = 'CCC';"
                 "INSERT INTO larder_scores (board, member, score) VALUES ('momentum', 'ZZZ', 10)",
                 NULL, NULL, NULL);
    struct str json = read_json(shipped, "stocks-leaderboard", "offset=2");
    assert_non_null(strstr(json.p, "{\"rank\":2,\"ticker\":\"BBB\""));
    assert_non_null(strstr(json.p, "{\"rank\":4,\"ticker\":\"ZZZ\",\"name\":null"));
}

static void a_stock_that_is_put_moves_on_its_boards(void **state)
{
    struct shipped *shipped = *state;
    struct buf json = {0};

    assert_int_equal(
        write_json(shipped, "stock-put",
                   "ticker=aaa&name=New&sector=Beta&price=40&earnings_share=1&week_52_low=30&week_52_high=50", &json),
        ERR_OK);
    assert_string_equal(json.p,
                        "{\"ticker\":\"AAA\",\"name\":\"New\",\"sector\":\"Beta\",\"price\":40,\"price_earnings\":null,"
                        "\"dividend_yield\":null,\"earnings_share\":1,\"week_52_low\":30,\"week_52_high\":50,"
                        "\"market_cap\":null,\"ebitda\":null,\"price_sales\":null,\"price_book\":null,"
                        "\"sec_filings\":null}");
    expect_tickers(shipped, "stocks-leaderboard", "board=value", "BBB AAA CCC \"count\":3,\"total\":3}");
    buf_clear(&json);
    assert_int_equal(write_json(shipped, "stock-put", "ticker=AAA&name=New&sector=Beta", &json), ERR_OK);
    expect_tickers(shipped, "stocks-leaderboard", "board=value", "BBB CCC \"count\":2,\"total\":2}");
    expect_tickers(shipped, "stocks-leaderboard", "", "BBB CCC \"count\":2,\"total\":2}");
    assert_int_equal(fixture_integer(shipped->fixture->database, "SELECT max(updated_at) FROM larder_scores"), 7);
    buf_free(&json);
}

static void a_stock_that_is_deleted_leaves_its_boards(void **state)
{
    struct shipped *shipped = *state;
    struct buf json = {0};

    assert_int_equal(write_json(shipped, "stock-delete", "ticker=BBB", &json), ERR_OK);
    assert_string_equal(json.p, "{\"ticker\":\"BBB\"}");
    expect_tickers(shipped, "stocks", "", "AAA BF.B CCC \"count\":3,\"total\":3}");
    expect_tickers(shipped, "stocks-leaderboard", "board=value", "AAA CCC \"count\":2,\"total\":2}");
    buf_clear(&json);
    assert_int_equal(write_json(shipped, "stock-delete", "ticker=BBB", &json), ERR_OK);
    assert_int_equal(json.len, 0);
    buf_free(&json);
}

static void a_bad_row_is_refused_by_the_table(void **state)
{
    static const char header[] = "Symbol,Name,Sector,Price,Price/Earnings,Dividend Yield,Earnings/Share,52 Week Low,"
                                 "52 Week High,Market Cap,EBITDA,Price/Sales,Price/Book,SEC Filings\n";
    static const char *const rows[] = {
        "ABC,Name,Sector,a lot,,,,,,,,,,", /* text for a number */
        "ABC,Name,Sector,1e999,,,,,,,,,,", /* infinite */
        "ABC,Name,Sector,-1,,,,,,,,,,",    /* negative price */
        "ABC,Name,Sector,1,,,,2,1,,,,,",   /* the lowest above the highest */
        "ABC,Name,Sector,1,,,,,,12.5,,,,", /* a fraction for a whole number */
        "ABC,,Sector,1,,,,,,,,,,",         /* no name */
        "ABC,Name,,1,,,,,,,,,,",           /* no sector */
        ",Name,Sector,1,,,,,,,,,,",        /* no ticker */
        "abc,Name,Sector,1,,,,,,,,,,",     /* no ticker that a client could ask for */
        "A BC,Name,Sector,1,,,,,,,,,,",    "ABCDEFGHIJK,Name,Sector,1,,,,,,,,,,",
    };
    struct shipped *shipped = *state;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf text = {0}, why = {0};
        buf_printf(&text, "%s%s\n", header, rows[i]);
        enum err err = import_text(shipped, text.p, &why);
        if (err != ERR_CONSTRAINT)
            fail_msg("%s: %s, %s", rows[i], err_text(err), why.p ? why.p : "");
        buf_free(&text);
        buf_free(&why);
    }
    expect_tickers(shipped, "stocks", "", "AAA BBB BF.B CCC \"count\":4,\"total\":4}");
}

static void the_sample_can_be_loaded_twice_and_keeps_what_is_there(void **state)
{
    struct shipped *shipped = *state;
    struct buf path = {0}, sql = {0};

    buf_printf(&path, "%s/sample.sql", shipped->sql_dir);
    assert_int_equal(sys_read_file(path.p, 100000, &sql), ERR_OK);
    fixture_execute(shipped->fixture->database, sql.p);
    fixture_execute(shipped->fixture->database, sql.p);
    assert_int_equal(fixture_integer(shipped->fixture->database, "SELECT count(*) FROM stocks"), 30 + 3);
    assert_non_null(strstr(read_json(shipped, "stock", "ticker=BF.B").p, "\"price\":null"));
    assert_int_equal(fixture_integer(shipped->fixture->database, "SELECT count(*) FROM stock_scores"),
                     fixture_integer(shipped->fixture->database, "SELECT count(*) FROM larder_scores"));
    buf_free(&path);
    buf_free(&sql);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(every_statement_passes_the_check),
        CASE(a_stock_is_found_by_its_ticker),
        CASE(stocks_are_filtered_sorted_and_paged),
        CASE(the_top_leaves_out_what_is_unknown),
        CASE(the_boards_rank_the_stocks),
        CASE(equal_scores_share_a_rank_across_pages),
        CASE(a_stock_that_is_put_moves_on_its_boards),
        CASE(a_stock_that_is_deleted_leaves_its_boards),
        CASE(a_bad_row_is_refused_by_the_table),
        CASE(the_sample_can_be_loaded_twice_and_keeps_what_is_there),
    };

    return cmocka_run_group_tests_name("shipped_sql", tests, NULL, NULL);
}
