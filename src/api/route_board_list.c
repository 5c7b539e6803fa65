/*
 * route_board_list: the boards of the configuration, and the periods of which the database has scores.
 *
 * Invariant: what is listed can be asked for: a board by its name, a period by the day that it is listed under. Boards
 * that are in the database alone are not listed, for no route leads to them.
 */
#include "api/route_board_list.h"

#include <inttypes.h>

#include "api/route_board.h"
#include "store/scores.h"

enum { PAGE_DEFAULT = 100, PAGE_MAX = 1000 };

static enum http_step answer(struct exchange *exchange, struct buf *body)
{
    app_json(exchange->http, 200, arena_take_buf(exchange->http->arena, body));
    return HTTP_DONE;
}

static void add_board(const struct config_board *config, int64_t now_ms, struct arena *arena, struct buf *out)
{
    struct board board = {.period = {NULL, 0}};
    struct buf why = {0};

    buf_printf(out, "{\"board\":\"%s\",\"doc\":", config->name);
    buf_add_json(out, str_from(config->doc));
    buf_printf(out, ",\"mode\":\"%s\",\"period\":\"%s\",\"current\":", config_board_mode_name(config->mode),
               config_board_period_name(config->period.kind));
    /* Without a current period that is null, too. */
    (void)!board_now(config, now_ms, arena, &board, &why);
    board_add_period(&board, out);
    buf_add_char(out, '}');
    buf_free(&why);
}

enum http_step route_board_list_all(struct exchange *exchange)
{
    const struct config_boards *boards = &exchange->thread->app->config->boards;
    struct http *http = exchange->http;
    struct params_values values;
    struct buf body = {0};

    if (!app_bind_query(exchange, NULL, 0, &values))
        return HTTP_DONE;
    buf_add_str(&body, STR("{\"items\":["));
    for (size_t i = 0; i < boards->count; i++) {
        if (i > 0)
            buf_add_char(&body, ',');
        add_board(&boards->items[i], http->now_ms, http->arena, &body);
    }
    buf_printf(&body, "],\"count\":%zu}", boards->count);
    return answer(exchange, &body);
}

static void add_periods(const struct config_board *config, const struct scores_board *boards, size_t count,
                        struct exchange *exchange, struct buf *out)
{
    struct board current = {.stored = {NULL, 0}};
    struct buf ignored = {0};

    (void)!board_now(config, exchange->http->now_ms, exchange->http->arena, &current, &ignored);
    buf_free(&ignored);
    buf_printf(out, "{\"board\":\"%s\",\"items\":[", config->name);
    for (size_t i = 0; i < count; i++) {
        struct str day = boards[i].board;

        (void)str_cut(&day, '@');
        buf_add_str(out, i == 0 ? STR("{\"period\":") : STR(",{\"period\":"));
        buf_add_json(out, day);
        buf_printf(out, ",\"members\":%" PRIu64 ",\"current\":%s}", boards[i].members,
                   str_equal(boards[i].board, current.stored) ? "true" : "false");
    }
    buf_printf(out, "],\"count\":%zu}", count);
}

enum http_step route_board_list_periods(struct exchange *exchange)
{
    static const struct params_spec specs[] = {{.name = {"limit", 5},
                                                .type = PARAMS_INTEGER,
                                                .has_min = true,
                                                .min = 1,
                                                .has_max = true,
                                                .max = PAGE_MAX,
                                                .has_default = true,
                                                .default_integer = PAGE_DEFAULT},
                                               {.name = {"offset", 6},
                                                .type = PARAMS_INTEGER,
                                                .has_min = true,
                                                .has_max = true,
                                                .max = 1e15,
                                                .has_default = true}};
    const struct config_board *config = route_board_find(exchange);
    struct arena *arena = exchange->http->arena;
    struct params_values values;
    struct scores_board *boards;
    struct buf body = {0}, why = {0};
    size_t count;

    if (!config || !app_bind_query(exchange, specs, 2, &values))
        return HTTP_DONE;
    struct str prefix = arena_printf(arena, "%s@", config->name);
    enum err err = scores_boards(exchange->thread->scores, prefix, (uint64_t)values.items[1].integer,
                                 (uint64_t)values.items[0].integer, arena, &boards, &count, &why);
    if (err != ERR_OK)
        return route_board_fail(exchange, err, &why);
    buf_free(&why);
    add_periods(config, boards, count, exchange, &body);
    return answer(exchange, &body);
}
