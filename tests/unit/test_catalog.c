/* Resource files: their front matter, what is wrong with it and where, and what must hold between files. */
#include "catalog_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static void parse(const char *text, struct resource *out)
{
    struct report *report = report_new();

    if (catalog_parse(str_from(text), "x.sql", report, out) != ERR_OK)
        fail_msg("not accepted:%s", catalog_fixture_report(report));
    report_free(&report);
}

/* That TEXT is refused with exactly one message, EXPECTED in it. */
static void expect_refused(const char *text, const char *expected)
{
    struct report *report = report_new();
    struct resource resource = {.index = 42};

    if (catalog_parse(str_from(text), "x.sql", report, &resource) != ERR_USAGE)
        fail_msg("accepted:\n%s", text);
    assert_int_equal(resource.index, 42);
    if (report_count(report) != 1 || !strstr(report_line(report, 0), expected))
        fail_msg("expected `%s` in:%s", expected, catalog_fixture_report(report));
    report_free(&report);
}

static void a_resource_is_read_whole(void **state)
{
    struct resource it;

    (void)state;
    parse(CATALOG_FIXTURE_STOCK, &it);
    catalog_fixture_expect(it.name, "stock");
    catalog_fixture_expect(it.doc, "One stock by its ticker symbol.");
    catalog_fixture_expect(it.file, "x.sql");
    catalog_fixture_expect(it.method, "GET");
    catalog_fixture_expect(it.path, "/api/stocks/{ticker}");
    catalog_fixture_expect(it.key, "stocks:detail:{ticker}");
    catalog_fixture_expect(it.sql, "SELECT ticker FROM stocks WHERE ticker = :ticker;\n");
    assert_int_equal(it.sql_line, 11);
    assert_true(it.reading);
    assert_int_equal(it.params_count, 1);
    assert_true(it.params[0].in_path);
    assert_int_equal(it.shape, CATALOG_OBJECT);
    assert_int_equal(it.ttl_ms, 300000);
    assert_int_equal(it.stale_ms, 3600000);
    assert_int_equal(it.stale_if_error_ms, 3600000);
    assert_int_equal(it.negative_ms, 30000);
    assert_int_equal(it.max_age_ms, 0);
    assert_int_equal(it.timeout_ms, 2000);
    assert_int_equal(it.tags_count, 2);
    catalog_fixture_expect(it.tags[1], "stock:{ticker}");
    assert_int_equal(it.purge_count, 0);
    assert_int_equal(it.auth, CATALOG_AUTH_NONE);
    assert_int_equal(it.write, CATALOG_WRITE_THROUGH);
    assert_false(it.uses_caller);
    catalog_resource_fini(&it);
    assert_null(it.storage);
}

static void a_writing_resource_has_defaults_of_its_own(void **state)
{
    struct resource it;

    (void)state;
    parse("-- name: stock-put\n-- route: PUT /api/stocks/{ticker}\n-- param: ticker text\n-- param: price number ?\n"
          "-- write: through\n-- timeout: 1s\n"
          "-- purge: tag:stock:{ticker} pattern:stocks:list:* key:stocks:detail:{ticker}\n"
          "UPDATE stocks SET price = :price;",
          &it);
    assert_false(it.reading);
    assert_int_equal(it.shape, CATALOG_OBJECT);
    assert_int_equal(it.auth, CATALOG_AUTH_KEY);
    catalog_fixture_expect(it.auth_scope, "write");
    assert_int_equal(it.timeout_ms, 1000);
    assert_int_equal(it.ttl_ms, 0);
    assert_int_equal(it.key.len, 0);
    assert_int_equal(it.purge_count, 3);
    catalog_fixture_expect(it.purge[1], "pattern:stocks:list:*");
    catalog_resource_fini(&it);
}

static void the_shape_follows_from_the_path(void **state)
{
    static const struct {
        const char *text;
        enum catalog_shape shape;
    } rows[] = {{"-- name: a\n-- route: GET /a/{x}\n-- param: x text\nSELECT 1", CATALOG_OBJECT},
                {"-- name: a\n-- route: GET /a/\nSELECT 1", CATALOG_LIST},
                {"-- name: a\n-- route: GET /a/{x}/b\n-- param: x text\nSELECT 1", CATALOG_LIST},
                {"-- name: a\n-- route: GET /a\n-- shape: value\nSELECT 1", CATALOG_VALUE},
                {"-- name: a\n-- route: POST /a\nSELECT 1", CATALOG_OBJECT}};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct resource it;

        parse(rows[i].text, &it);
        assert_int_equal(it.shape, rows[i].shape);
        catalog_resource_fini(&it);
    }
}

static void who_may_ask_is_understood(void **state)
{
    static const struct {
        const char *value;
        enum catalog_auth auth;
        const char *scope;
    } rows[] = {{"none", CATALOG_AUTH_NONE, ""},
                {"key", CATALOG_AUTH_KEY, ""},
                {"key:read", CATALOG_AUTH_KEY, "read"},
                {"admin", CATALOG_AUTH_ADMIN, ""}};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct resource it;
        struct buf text = {0};

        buf_printf(&text, "-- name: a\n-- route: POST /a\n-- auth: %s\nSELECT 1", rows[i].value);
        parse(text.p, &it);
        assert_int_equal(it.auth, rows[i].auth);
        catalog_fixture_expect(it.auth_scope, rows[i].scope);
        catalog_resource_fini(&it);
        buf_free(&text);
    }
}

static void byte_order_mark_and_crlf_are_accepted(void **state)
{
    struct resource it;
    unsigned line, column;

    (void)state;
    parse("\xef\xbb\xbf-- name: a\r\n--\troute:\tGET /a  \r\n\r\nSELECT 1;\r\n", &it);
    catalog_fixture_expect(it.name, "a");
    catalog_fixture_expect(it.path, "/a");
    assert_int_equal(it.sql_line, 3);
    catalog_fixture_expect(it.sql, "\r\nSELECT 1;\r\n");
    catalog_locate(&it, it.name.p, &line, &column);
    assert_int_equal(line, 1);
    assert_int_equal(column, 10);
    catalog_locate(&it, it.path.p, &line, &column);
    assert_int_equal(line, 2);
    assert_int_equal(column, 15);
    catalog_resource_fini(&it);
}

static void front_matter_ends_at_the_first_other_line(void **state)
{
    struct resource it;

    (void)state;
    parse("-- name: a\n-- route: GET /a\n-- an ordinary comment\n-- see: here\nSELECT 1", &it);
    assert_int_equal(it.sql_line, 3);
    catalog_fixture_expect(it.sql, "-- an ordinary comment\n-- see: here\nSELECT 1");
    catalog_resource_fini(&it);
}

static void a_statement_that_asks_who_is_asking_is_noticed(void **state)
{
    static const struct {
        const char *sql;
        bool uses;
    } rows[] = {{"SELECT :larder_now", false},
                {"SELECT :larder_address", true},
                {"SELECT 1 WHERE x=:larder_key_id;", true},
                {"SELECT @larder_project", true},
                {"SELECT ':larder_project'", false},
                {"SELECT 'it''s :larder_project'", false},
                {"SELECT \":larder_project\", `:larder_key_id`, [:larder_address]", false},
                {"SELECT 1 -- :larder_project", false},
                {"SELECT 1 -- it's\n, :larder_project", true},
                {"SELECT 1 /* :larder_project */", false},
                {"SELECT 1 /* ' */, :larder_project", true},
                {"SELECT :larder_projects, :x_larder_project", false}};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct resource it;
        struct buf text = {0};

        buf_printf(&text, "-- name: a\n-- route: GET /a\n%s", rows[i].sql);
        parse(text.p, &it);
        if (it.uses_caller != rows[i].uses)
            fail_msg("%s", rows[i].sql);
        catalog_resource_fini(&it);
        buf_free(&text);
    }
}

#define GET_A "-- name: a\n-- route: GET /a\n"
#define GET_X "-- name: a\n-- route: GET /a/{x}\n-- param: x text\n"
#define PUT_X "-- name: a\n-- route: PUT /a/{x}\n-- param: x text\n"

static void a_warm_line_is_a_statement_of_its_own(void **state)
{
    struct resource it;
    unsigned line, column;

    (void)state;
    parse(GET_X "-- ttl: 5m\n-- timeout: 3s\n-- key: a:{x}\n-- warm:  SELECT x FROM xs LIMIT 9;\nSELECT 1", &it);
    assert_non_null(it.warm);
    catalog_fixture_expect(it.warm->sql, "SELECT x FROM xs LIMIT 9;");
    catalog_fixture_expect(it.warm->name, "a");
    catalog_fixture_expect(it.warm->file, "x.sql");
    assert_true(it.warm->reading);
    assert_int_equal(it.warm->timeout_ms, 3000);
    assert_int_equal(it.warm->sql_line, 7);
    assert_int_equal(it.warm->sql_offset, 10);
    catalog_locate(it.warm, it.warm->sql.p, &line, &column);
    assert_int_equal(line, 7);
    assert_int_equal(column, 11);
    catalog_fixture_expect(it.sql, "SELECT 1");
    assert_int_equal(it.sql_offset, 0);
    catalog_resource_fini(&it);
    parse(GET_X "SELECT 1", &it);
    assert_null(it.warm);
    catalog_resource_fini(&it);
}

static void what_it_depends_on_is_found_out_or_said(void **state)
{
    static const struct {
        const char *text;
        bool follows, named;
        size_t count;
    } rows[] = {{GET_A "SELECT 1", false, false, 0},
                {GET_A "-- ttl: 5m\n-- key: a\nSELECT 1", true, false, 0},
                {GET_A "-- ttl: 5m\n-- key: a\n-- tables: none\nSELECT 1", false, true, 0},
                {GET_A "-- ttl: 5m\n-- key: a\n-- tables: a  B\nSELECT 1", true, true, 2},
                {PUT_X "UPDATE a", false, false, 0}};
    struct resource it;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        parse(rows[i].text, &it);
        assert_int_equal(it.follows_tables, rows[i].follows);
        assert_int_equal(it.tables_named, rows[i].named);
        assert_int_equal(it.tables_count, rows[i].count);
        if (it.tables_count > 0)
            catalog_fixture_expect(it.tables[1], "B");
        catalog_resource_fini(&it);
    }
}

static void what_is_wrong_is_named_with_line_and_column(void **state)
{
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"-- route: GET /a\nSELECT 1", "x.sql:1: `name:` is missing"},
        {"-- name: a\nSELECT 1", "x.sql:1: `route:` is missing"},
        {"-- name: A\n-- route: GET /a\nSELECT 1", "x.sql:1:10: name: `A` is no name"},
        {GET_A "-- name: b\nSELECT 1", "x.sql:3:4: `name:` stands twice"},
        {GET_A "-- tll: 5m\nSELECT 1", "x.sql:3:4: `tll:` is unknown; did you mean `ttl:`?"},
        {GET_A "-- TTL: 5m\nSELECT 1", "did you mean `ttl:`?"},
        {GET_A "-- table: stocks\nSELECT 1", "`table:` is unknown; did you mean `tables:`?"},
        {GET_A "-- tables: stocks\nSELECT 1", "x.sql:3:12: `tables:` means nothing without `ttl:`"},
        {GET_A "-- ttl: 5m\n-- key: a\n-- tables: a none\nSELECT 1", "x.sql:5:14: tables: `none` stands alone"},
        {GET_A "-- ttl: 5m\n-- key: a\n-- tables: a b A\nSELECT 1", "x.sql:5:16: tables: `A` stands twice"},
        {PUT_X "-- tables: a\nUPDATE a", "`tables:` is only for routes that read"},
        {GET_A "-- war: yes\nSELECT 1", "`war:` is unknown; did you mean `warm:`?"},
        {GET_A "-- warm: SELECT 1\nSELECT 1", "x.sql:3:10: `warm:` means nothing without `ttl:`"},
        {GET_A "-- ttl: 0\n-- warm: SELECT 1\nSELECT 1", "x.sql:4:10: `warm:` means nothing without `ttl:`"},
        {GET_A "-- ttl: 5m\n-- key: a\n-- warm:\nSELECT 1", "x.sql:5:4: `warm:` has no value"},
        {GET_A "-- ttl: 5m\n-- key: a\n-- warm: SELECT 1\nSELECT :larder_address",
         "x.sql:5:10: warm: the answer depends on who asks"},
        {PUT_X "-- warm: SELECT x FROM a\nUPDATE a", "`warm:` is only for routes that read"},
        {GET_A "-- http://example.org\nSELECT 1", "an ordinary comment goes below an empty line"},
        {GET_A "-- doc:\nSELECT 1", "x.sql:3:4: `doc:` has no value"},
        {GET_A "\n-- ttl: 5m\nSELECT 1", "x.sql:4:4: `ttl:` is not read here"},
        {GET_A "-- ttl 5m\nSELECT 1", "x.sql:3:4: `ttl` has no colon right behind it; write `-- ttl: value`"},
        {GET_A "--ttl : 5m\nSELECT 1", "x.sql:3:3: `ttl` has no colon"},
        {GET_A "", "x.sql:1: there is no SQL statement"},
        {GET_A "-- only a comment\n/* and another */ ;\n", "there is no SQL statement"},
        {GET_A "SELECT '\xff'", "x.sql:3:9: this is not UTF-8"},
        {GET_A "SELECT '\x01'", "x.sql:3:9: a control character (0x01)"},
        {GET_A "SELECT 1\rFROM x", "control character (0x0d)"},
        {"-- name: a\n-- route: HEAD /a\nSELECT 1", "x.sql:2:11: route: `HEAD` is no method"},
        {"-- name: a\n-- route: GET\nSELECT 1", "a path that begins with `/` is missing"},
        {"-- name: a\n-- route: GET a\nSELECT 1", "a path that begins with `/` is missing"},
        {"-- name: a\n-- route: GET /a now\nSELECT 1", "something follows the path"},
        {"-- name: a\n-- route: GET /a//b\nSELECT 1", "x.sql:2:18: route: an empty segment"},
        {"-- name: a\n-- route: GET /a/../b\nSELECT 1", "no segment that a client could send"},
        {"-- name: a\n-- route: GET /a%20b\nSELECT 1", "x.sql:2:17: route: a segment is letters"},
        {"-- name: a\n-- route: GET /a/x{y}\nSELECT 1", "one `{parameter}` alone"},
        {"-- name: a\n-- route: GET /a/{}\nSELECT 1", "one `{parameter}` alone"},
        {"-- name: a\n-- route: GET /a/{x}\nSELECT 1",
         "x.sql:2:18: route: `{x}` is not declared; add a line `-- param: x text`"},
        {"-- name: a\n-- route: GET /{x}/{x}\n-- param: x text\nSELECT 1", "`{x}` stands in the path twice"},
        {"-- name: a\n-- route: GET /{x}\n-- param: x text ?\nSELECT 1", "no `=` and no `?` for it"},
        {"-- name: a\n-- route: GET /1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17\nSELECT 1", "more than 16 segments"},
        {GET_A "-- param: x int\nSELECT 1", "x.sql:3:11: param: `int` is no type"},
        {GET_A "-- param: x text\n-- param: x text\nSELECT 1", "x.sql:4:11: param: `x` is declared twice"},
        {GET_A "-- param: x text ~ [\nSELECT 1", "no POSIX extended regular expression"},
        {GET_A "-- param: x integer 1..5\n-- example: x=9\nSELECT :x",
         "x.sql:4:13: example: parameter `x` must be a whole number from 1 to 5; write for example"},
        {GET_A "-- param: x integer\n-- example: y=9\nSELECT :x", "x.sql:4:13: example: parameter `y` is unknown here"},
        {GET_A "-- param: x integer\n-- example: x=%zz\nSELECT :x", "x.sql:4:13: example: the query has a broken"},
        {GET_A "-- shape: table\nSELECT 1", "shape: `table` must be object, list or value"},
        {GET_A "-- key: a\n-- ttl: 5 m\nSELECT 1", "ttl: `5 m` must be a duration"},
        {GET_A "-- key: a\n-- ttl: 400d\nSELECT 1", "ttl: `400d` must be a duration from 0 to 366d"},
        {GET_A "-- timeout: 0\nSELECT 1", "timeout: `0` must be a duration from 1ms to 10m"},
        {GET_A "-- stale: 1h\nSELECT 1", "`stale:` means nothing without `ttl:`"},
        {GET_A "-- auth: keys\nSELECT 1", "auth: `keys` must be none, key, key:SCOPE or admin"},
        {GET_A "-- auth: key:\nSELECT 1", "auth: `key:` must be"},
        {GET_A "-- limit: slow\nSELECT 1", "x.sql:3:11: limit: no policy named slow is configured"},
        {"-- name: a\n-- route: POST /a\n-- write: behind\nSELECT 1",
         "x.sql:3:11: write: behind needs a `purge:` line"},
        {"-- name: a\n-- route: POST /a\n-- write: maybe\nSELECT 1", "write: `maybe` must be through or behind"},
        {GET_A "-- write: through\nSELECT 1", "`write:` is only for routes that write"},
        {GET_A "-- purge: tag:x\nSELECT 1", "`purge:` is only for routes that write"},
        {PUT_X "-- tags: x\nUPDATE a", "`tags:` is only for routes that read"},
        {PUT_X "-- ttl: 5m\nUPDATE a", "`ttl:` is only for routes that read"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        expect_refused(rows[i].text, rows[i].expected);
}

static void a_key_that_could_be_shared_by_different_answers_is_refused(void **state)
{
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {GET_X "-- ttl: 5m\nSELECT 1", "x.sql:4:9: `key:` is missing"},
        {GET_X "-- ttl: 5m\n-- key: a\nSELECT 1", "x.sql:5:9: key: `{x}` is not in it"},
        {GET_X "-- ttl: 5m\n-- key: a:{y}\nSELECT 1", "x.sql:5:12: key: `{y}` is not declared"},
        {GET_X "-- param: y text\n-- ttl: 5m\n-- key: a:{x}\nSELECT 1", "key: `{y}` is not in it"},
        {GET_X "-- param: y text\n-- ttl: 5m\n-- key: a:{x}-{y}\nSELECT 1", "put a `:` between"},
        {GET_X "-- param: y text ?\n-- ttl: 5m\n-- key: a:{x}:{y}\nSELECT 1", "key: `{y}` may be NULL or empty"},
        {GET_X "-- ttl: 5m\n-- key: a:{x}:*\nSELECT 1", "x.sql:5:15: key: `*` has a meaning of its own"},
        {GET_X "-- ttl: 5m\n-- key: a%20:{x}\nSELECT 1", "`%` has a meaning of its own"},
        {GET_X "-- ttl: 5m\n-- key: {x}\nSELECT 1", "x.sql:5:9: key: let it begin with a word"},
        {GET_X "-- ttl: 5m\n-- key: a {x}\nSELECT 1", "key: a key is one word"},
        {GET_X "-- ttl: 5m\n-- key: a:{x\nSELECT 1", "key: a brace without its partner"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        expect_refused(rows[i].text, rows[i].expected);
}

static void a_key_may_name_all_parameters_or_stand_for_them(void **state)
{
    static const char *const texts[] = {
        GET_X "-- param: y integer ?\n-- ttl: 5m\n-- key: a:{x}:{y}\nSELECT 1",
        GET_X "-- param: y text ?\n-- ttl: 5m\n-- key: a:{*}\nSELECT 1",
        GET_A "-- ttl: 5m\n-- key: a\nSELECT 1",
        GET_X "-- ttl: 0\n-- stale: 5m\nSELECT 1",
        GET_X "SELECT 1",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct resource it;

        parse(texts[i], &it);
        catalog_resource_fini(&it);
    }
}

static void a_tag_or_purge_that_cannot_be_meant_is_refused(void **state)
{
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {GET_X "-- tags: a {y}\nSELECT 1", "x.sql:4:13: tags: `{y}` is not declared"},
        {GET_X "-- tags: a*\nSELECT 1", "tags: `*` has a meaning"},
        {GET_X "-- tags: tag:a\nSELECT 1", "without `tag:`"},
        {GET_X "-- tags: a resource:a\nSELECT 1", "x.sql:4:12: tags: those that begin with `resource:`"},
        {GET_X "-- tags: {*}\nSELECT 1", "`{*}` belongs to this route's own key"},
        {GET_X "-- tags: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\nSELECT 1", "tags: more than 15 words"},
        {PUT_X "-- purge: a\nUPDATE a", "x.sql:4:11: purge: `a` must be tag:TAG, key:KEY or pattern:PATTERN"},
        {PUT_X "-- purge: tag:\nUPDATE a", "must be tag:TAG"},
        {PUT_X "-- purge: tags:a\nUPDATE a", "must be tag:TAG"},
        {PUT_X "-- purge: tag:{y}\nUPDATE a", "`{y}` is not declared"},
        {PUT_X "-- purge: key:a*\nUPDATE a", "purge: `*` has a meaning"},
        {PUT_X "-- purge: key:{*}\nUPDATE a", "`{*}` belongs to this route's own key"},
        {PUT_X "-- purge: pattern:*\nUPDATE a", "`pattern:*` could match every key"},
        {PUT_X "-- purge: pattern:***\nUPDATE a", "could match every key"},
        {PUT_X "-- purge: pattern:{x}*\nUPDATE a", "could match every key"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        expect_refused(rows[i].text, rows[i].expected);
}

static void everything_wrong_is_reported_at_once(void **state)
{
    struct report *report = report_new();
    struct resource it;
    char *all;

    (void)state;
    assert_int_equal(
        catalog_parse(STR("-- name: Stock\n-- route: FETCH /a/{x}\n-- ttl: soon\n-- auth: me\n"), "x.sql", report, &it),
        ERR_USAGE);
    all = catalog_fixture_report(report);
    assert_non_null(strstr(all, "\nx.sql:1:10: name:"));
    assert_non_null(strstr(all, "\nx.sql:2:11: route: `FETCH`"));
    assert_non_null(strstr(all, "\nx.sql:2:20: route: `{x}` is not declared"));
    assert_non_null(strstr(all, "\nx.sql:3:9: ttl:"));
    assert_non_null(strstr(all, "\nx.sql:4:10: auth:"));
    assert_non_null(strstr(all, "there is no SQL statement"));
    free(all);
    report_free(&report);
}

static void an_import_knows_name_doc_and_purge(void **state)
{
    struct report *report = report_new();
    struct resource it;

    (void)state;
    assert_int_equal(catalog_parse_import(STR("-- doc: Stocks.\n-- purge: tag:stocks pattern:stocks:*\nINSERT INTO x;"),
                                          "i.sql", report, &it),
                     ERR_OK);
    assert_int_equal(it.purge_count, 2);
    assert_int_equal(it.sql_line, 3);
    catalog_fixture_expect(it.sql, "INSERT INTO x;");
    catalog_resource_fini(&it);
    assert_int_equal(catalog_parse_import(STR("INSERT INTO x;"), "i.sql", report, &it), ERR_OK);
    catalog_resource_fini(&it);
    assert_int_equal(catalog_parse_import(STR("-- ttl: 5m\nINSERT INTO x;"), "i.sql", report, &it), ERR_USAGE);
    assert_int_equal(catalog_parse_import(STR("-- purge: tag:{x}\nINSERT INTO x;"), "i.sql", report, &it), ERR_USAGE);
    assert_int_equal(report_count(report), 2);
    report_free(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resource_is_read_whole),
        cmocka_unit_test(a_writing_resource_has_defaults_of_its_own),
        cmocka_unit_test(the_shape_follows_from_the_path),
        cmocka_unit_test(who_may_ask_is_understood),
        cmocka_unit_test(byte_order_mark_and_crlf_are_accepted),
        cmocka_unit_test(front_matter_ends_at_the_first_other_line),
        cmocka_unit_test(a_statement_that_asks_who_is_asking_is_noticed),
        cmocka_unit_test(a_warm_line_is_a_statement_of_its_own),
        cmocka_unit_test(what_it_depends_on_is_found_out_or_said),
        cmocka_unit_test(what_is_wrong_is_named_with_line_and_column),
        cmocka_unit_test(a_key_that_could_be_shared_by_different_answers_is_refused),
        cmocka_unit_test(a_key_may_name_all_parameters_or_stand_for_them),
        cmocka_unit_test(a_tag_or_purge_that_cannot_be_meant_is_refused),
        cmocka_unit_test(everything_wrong_is_reported_at_once),
        cmocka_unit_test(an_import_knows_name_doc_and_purge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
