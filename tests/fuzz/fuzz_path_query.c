/*
 * The way of a request from its bytes to a cache key: target, route, query, parameters, key; and back to a head.
 *
 * Input: `METHOD request-target`, then, after a newline, the value of If-None-Match. What must hold for any bytes: what
 * is accepted is clean, what is refused has its sentence, what was normalised stays as it is when it comes again, a key
 * is one literal word, and no header can be injected.
 */
#include <stdint.h>
#include <stdlib.h>

#include "config/params.h"
#include "http/caching.h"
#include "http/router.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define HOLDS(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

struct fixture {
    struct router *router;
    struct arena *arena;
    struct params_spec *specs;
    size_t specs_count;
};

static const struct {
    enum http_method method;
    const char *pattern;
} routes[] = {
    {HTTP_GET, "/api/stocks/"},
    {HTTP_GET, "/api/stocks/top"},
    {HTTP_GET, "/api/stocks/leaderboard/top"},
    {HTTP_GET, "/api/stocks/{ticker}"},
    {HTTP_PUT, "/api/stocks/{ticker}"},
    {HTTP_DELETE, "/api/stocks/{ticker}"},
    {HTTP_GET, "/api/cache/status"},
    {HTTP_GET, "/api/cache/keys"},
    {HTTP_POST, "/api/cache/invalidate"},
    {HTTP_GET, "/api/cache/key/{key...}"},
    {HTTP_DELETE, "/api/cache/key/{key...}"},
    {HTTP_GET, "/healthz"},
    {HTTP_GET, "/{x}/{y}/around"},
};

static const char *const spec_lines[] = {
    "sector text ?",
    "q text 1..40 ?",
    "ticker text upper ~ ^[A-Z][A-Z0-9.-]{0,9}$ = AAPL",
    "min_price number 0..1000000 ?",
    "max_price number ?",
    "sort text lower in ticker,price,market_cap,dividend_yield = ticker",
    "order text in asc,desc = asc",
    "active boolean = true",
    "limit integer 1..200 = 50",
    "offset integer 0..1000000 = 0",
};

static void start(struct fixture *it)
{
    struct buf why = {0};

    it->router = router_new();
    it->arena = arena_new(1 << 16, 1 << 22);
    it->specs = calloc(COUNT(spec_lines), sizeof *it->specs);
    it->specs_count = COUNT(spec_lines);
    for (size_t i = 0; i < COUNT(routes); i++)
        HOLDS(router_add(it->router, routes[i].method, str_from(routes[i].pattern), routes[i].pattern) == ERR_OK);
    for (size_t i = 0; i < COUNT(spec_lines); i++)
        HOLDS(params_spec_parse(str_from(spec_lines[i]), &it->specs[i], &why) == ERR_OK);
    buf_free(&why);
}

static bool is_clean(struct str text)
{
    return str_is_utf8(text) && !str_has_control(text);
}

static bool has_dots(struct str path)
{
    while (path.len > 0) {
        struct str segment = str_cut(&path, '/');

        if (str_equal(segment, STR(".")) || str_equal(segment, STR("..")))
            return true;
    }
    return false;
}

/* A path that names the same value in another spelling, and with a slash behind it, leads to the same. */
static void check_spellings(const struct fixture *it, const struct router_match *match)
{
    struct router_match again;
    struct buf path = {0};

    buf_add_str(&path, STR("/api/stocks/"));
    str_percent_encode(match->values[0].value, &path);
    buf_add_char(&path, '/');
    HOLDS(router_find(it->router, HTTP_DELETE, buf_str(&path), it->arena, &again) == ROUTER_FOUND);
    HOLDS(again.values_count == 1 && str_equal(again.values[0].value, match->values[0].value));
    buf_free(&path);
}

static void check_route(const struct fixture *it, const struct http *http)
{
    struct router_match match;
    enum router_result result = router_find(it->router, http->method, http->path, it->arena, &match);

    HOLDS((result == ROUTER_FOUND) == (match.target != NULL));
    HOLDS((result == ROUTER_METHOD || result == ROUTER_OPTIONS) == (match.allow.len > 0));
    HOLDS(result != ROUTER_OPTIONS || http->method == HTTP_OPTIONS);
    if (result != ROUTER_FOUND)
        return;
    for (size_t i = 0; i < match.values_count; i++) {
        struct str value = match.values[i].value;
        bool is_rest = str_equal(match.values[i].name, STR("key"));

        HOLDS(value.len > 0 && is_clean(value) && !has_dots(value));
        HOLDS(is_rest || !memchr(value.p, '/', value.len));
    }
    if (http->method == HTTP_DELETE && strstr(match.target, "{ticker}"))
        check_spellings(it, &match);
}

/* What was bound, bound again from its normalised form. */
static void check_again(const struct fixture *it, const struct params_values *values, struct str key)
{
    struct params_raw raw[PARAMS_MAX];
    struct params_values again;
    struct buf why = {0};
    size_t count = 0;

    for (size_t i = 0; i < values->count; i++)
        if (!values->items[i].is_null)
            raw[count++] = (struct params_raw){values->items[i].name, values->items[i].text};
    HOLDS(params_bind(it->specs, it->specs_count, raw, count, it->arena, &again, &why) == ERR_OK);
    HOLDS(str_equal(key, params_expand(STR("stocks:{q}:{ticker}:{sector}:{max_price}:{*}"), &again, it->arena)));
    buf_free(&why);
}

static void check_parameters(const struct fixture *it, struct str query)
{
    struct params_raw raw[PARAMS_MAX];
    struct params_values values;
    struct buf why = {0};
    size_t count = 0;
    struct str key;

    if (params_split_query(query, it->arena, raw, &count, &why) != ERR_OK) {
        HOLDS(why.len > 0);
        goto out;
    }
    HOLDS(count <= PARAMS_MAX);
    for (size_t i = 0; i < count; i++)
        HOLDS(is_clean(raw[i].name) && is_clean(raw[i].value));
    if (params_bind(it->specs, it->specs_count, raw, count, it->arena, &values, &why) != ERR_OK) {
        HOLDS(why.len > 0);
        goto out;
    }
    HOLDS(values.count == it->specs_count);
    key = params_expand(STR("stocks:{q}:{ticker}:{sector}:{max_price}:{*}"), &values, it->arena);
    HOLDS(is_clean(key) && !memchr(key.p, ' ', key.len) && str_glob_is_literal(key));
    check_again(it, &values, key);
out:
    buf_free(&why);
}

static void check_answer(struct http *http)
{
    struct buf head = {0};

    http->status = 200;
    http->content_type = STR("application/json");
    http->out = STR("{}");
    caching_headers(http, &(struct caching_state){.outcome = CACHING_HIT, .ttl_ms = 1000, .detail = "L2"});
    http_header(http, "X-Request-Id", http->in.if_none_match);
    const bool holds = caching_conditional(http, STR("\"a,b\""));
    HOLDS(holds || (http->status == 200 && http->in.if_match.len > 0));
    HOLDS(http->status == 200 || (http->out.len == 0 && http->in.if_none_match.len > 0));
    http_format_head(http, &head);
    HOLDS(head.len > 4 && memcmp(head.p + head.len - 4, "\r\n\r\n", 4) == 0);
    HOLDS(memmem(head.p, head.len - 1, "\r\n\r\n", 4) == NULL);
    buf_free(&head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fixture it;
    struct str target = {(const char *)data, size}, line, method;
    struct http http = {0};
    const char *why = NULL;

    if (!it.router)
        start(&it);
    arena_reset(it.arena);
    http.arena = it.arena;
    line = str_cut(&target, '\n');
    http_set_variable(&http, STR("HTTP_IF_NONE_MATCH"), target);
    if (size % 3 == 0)
        http_set_variable(&http, STR("HTTP_IF_MATCH"), target);
    method = str_cut(&line, ' ');
    http_set_variable(&http, STR("REQUEST_METHOD"), method);
    http_set_variable(&http, STR("LARDER_MOUNT"), STR("/m"));
    /* Every other length goes the way of plain CGI. */
    http_set_variable(&http, size % 2 ? STR("REQUEST_URI") : STR("PATH_INFO"), line);
    if (http_finish_request(&http, &why) == ERR_OK) {
        HOLDS(http.path.len > 0 && http.path.len <= 8192 && http.path.p[0] == '/');
        HOLDS(!str_has_control(http.path) && !str_has_control(http.query));
        check_route(&it, &http);
        check_parameters(&it, size % 2 ? http.query : line);
    } else {
        HOLDS(why != NULL);
    }
    check_answer(&http);
    buf_free(&http.headers);
    return 0;
}
