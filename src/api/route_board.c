/*
 * route_board: GET of leaderboards.
 *
 * The first step checks board, period, member and query, and asks L2; its reply is the answer, on the event thread.
 * What L2 does not know for certain, and every period that has ended, is read from the database in the pool. Both ways
 * end in `answer`, so nobody can tell them apart but by the fields that say where an answer came from.
 *
 * Invariant: L2 is asked with the level that the writer has told this host of, taken before the question: what a write
 * on this host was answered with is never missing from a later read.
 *
 * Boards are not entries of the cache: what is asked of them is too various to keep, and L2 has it sorted.
 */
#include "api/route_board.h"

#include <inttypes.h>
#include <math.h>

#include "api/housekeeper.h"
#include "http/caching.h"
#include "l2/l2_boards.h"
#include "store/scores.h"

enum { LIMIT_DEFAULT = 10, LIMIT_MAX = 1000, RANGE_DEFAULT = 5, RANGE_MAX = 100 };

/* A request on its way, in the arena. */
struct asking {
    struct board board;
    struct str refusal; /* why there is no such period now; empty: there is. What is kept of it is answered */
    int refusal_status;
    struct l2_boards_question question;
    uint64_t before, behind; /* of AROUND: places wanted on either side of the member */
    bool inside;             /* l2_boards_read has not returned yet */
    enum http_step outcome;  /* of a reply that came meanwhile */
};

const struct config_board *route_board_find(struct exchange *exchange)
{
    const struct config_boards *boards = &exchange->thread->app->config->boards;
    struct str name = exchange->match.values[0].value;
    const struct config_board *found = config_board_find(boards, name);

    if (!found)
        app_problem(exchange->http, 404,
                    "There is no board `%.*s`. Boards are sections [board.NAME] of larder.conf; /api/leaderboards "
                    "lists them.",
                    (int)(name.len < 64 ? name.len : 64), name.p);
    return found;
}

/* Answers 400 with WHY, which is freed. */
static bool refuse(struct exchange *exchange, int status, struct buf *why)
{
    app_problem(exchange->http, status, "%.*s", STR_ARG(buf_str(why)));
    buf_free(why);
    return false;
}

bool route_board_take_member(struct exchange *exchange, struct str *member)
{
    struct buf why = {0};
    const struct router_match *match = &exchange->match;
    struct str pattern = exchange->route->pattern;

    /* A member may be called like the last part of a route; that is what such a route is asked about, then. */
    if (match->values_count > 1)
        *member = match->values[1].value;
    else
        while (pattern.len > 0)
            *member = str_cut(&pattern, '/');
    return board_is_member(*member, &why) ? true : refuse(exchange, 400, &why);
}

/* Which period of the board is asked for: PERIOD's, or the current one. */
static bool choose_period(struct exchange *exchange, const struct config_board *config,
                          const struct params_value *period, struct asking *asking)
{
    struct http *http = exchange->http;
    struct board *board = &asking->board;
    struct buf why = {0};
    enum err err = period->is_null ? board_now(config, http->now_ms, http->arena, board, &why)
                                   : board_then(config, period->text, http->now_ms, http->arena, board, &why);
    const int status = err == ERR_SYNTAX ? 400 : period->is_null ? 409 : 404;

    if (err == ERR_OK)
        return true;
    if (err == ERR_LIMIT) {
        app_unavailable(http, 1, "The request needs more memory than one may have.");
        return false;
    }
    if (period->is_null || !board_once(config, period->text, http->now_ms, http->arena, board))
        return refuse(exchange, status, &why);
    asking->refusal = arena_take_buf(http->arena, &why);
    asking->refusal_status = status;
    return true;
}

enum http_step route_board_fail(struct exchange *exchange, enum err err, struct buf *why)
{
    app_unavailable(exchange->http, err == ERR_BUSY || err == ERR_TIMEOUT ? 1 : 5,
                    err == ERR_TIMEOUT ? "The database did not answer in time. Try again shortly."
                    : err == ERR_LIMIT ? "The answer is larger than this server gives at once."
                                       : "The database cannot be read at the moment. Try again later.");
    app_note(exchange, "scores_unreadable", why->len > 0 ? buf_str(why) : str_from(err_text(err)));
    buf_free(why);
    return HTTP_DONE;
}

/* Percent of the other members that stand behind RANK (from 0); 100 for the first alone. */
static double percentile(uint64_t rank, uint64_t members)
{
    if (rank == 0 || members < 2)
        return 100;
    return floor((double)(members - 1 - rank) / (double)(members - 1) * 1e6) / 1e4;
}

static void add_place(const struct l2_boards_place *place, uint64_t rank, struct buf *out)
{
    buf_printf(out, "{\"rank\":%" PRIu64 ",\"member\":", rank + 1);
    buf_add_json(out, place->member);
    buf_add_str(out, STR(",\"score\":"));
    buf_add_double(out, place->score);
    buf_add_char(out, '}');
}

static void add_head(const struct board *board, struct buf *out)
{
    buf_printf(out, "{\"board\":\"%s\",\"period\":", board->config->name);
    board_add_period(board, out);
}

/* The places FROM to TO of FOUND. */
static void add_items(const struct l2_boards_answer *found, size_t from, size_t to, struct buf *out)
{
    buf_printf(out, ",\"members\":%" PRIu64 ",\"items\":[", found->members);
    for (size_t i = from; i < to; i++) {
        if (i > from)
            buf_add_char(out, ',');
        add_place(&found->places[i], found->rank + i, out);
    }
    buf_printf(out, "],\"count\":%zu}", to - from);
}

static void add_member(const struct l2_boards_answer *found, struct buf *out)
{
    buf_add_str(out, STR(",\"member\":"));
    buf_add_json(out, found->places[0].member);
    buf_printf(out, ",\"rank\":%" PRIu64 ",\"score\":", found->rank + 1);
    buf_add_double(out, found->places[0].score);
    buf_add_str(out, STR(",\"percentile\":"));
    buf_add_double(out, percentile(found->rank, found->members));
    buf_printf(out, ",\"members\":%" PRIu64 "}", found->members);
}

/* The member and as many places on either side as are wanted; L2 may have given one more. */
static void add_around(const struct asking *asking, const struct l2_boards_answer *found, struct buf *out)
{
    size_t at = 0, from, to;

    while (at < found->places_count && !str_equal(found->places[at].member, asking->question.member))
        at++;
    from = at > asking->before ? at - asking->before : 0;
    to = at + asking->behind + 1 < found->places_count ? at + asking->behind + 1 : found->places_count;
    buf_add_str(out, STR(",\"member\":"));
    buf_add_json(out, asking->question.member);
    buf_printf(out, ",\"rank\":%" PRIu64, found->rank + at + 1);
    add_items(found, from, to, out);
}

static struct str make_body(const struct asking *asking, const struct l2_boards_answer *found, struct arena *arena)
{
    struct buf body = {0};

    add_head(&asking->board, &body);
    switch (asking->question.kind) {
    case L2_BOARDS_TOP:
        add_items(found, 0, found->places_count, &body);
        break;
    case L2_BOARDS_MEMBER:
        add_member(found, &body);
        break;
    case L2_BOARDS_AROUND:
        add_around(asking, found, &body);
        break;
    }
    return arena_take_buf(arena, &body);
}

/* Answers with FOUND, which came by OUTCOME from DETAIL. */
static void answer(const struct exchange *exchange, const struct l2_boards_answer *found, enum caching_outcome outcome,
                   const char *detail)
{
    const struct asking *asking = exchange->state;
    struct http *http = exchange->http;

    if (asking->refusal.len > 0 && found->members == 0) {
        app_problem(http, asking->refusal_status, "%.*s", STR_ARG(asking->refusal));
        return;
    }
    if (found->result == L2_BOARDS_ABSENT) {
        app_problem(http, 404, "This member has no score on the board `%s`%s%.*s.", asking->board.config->name,
                    asking->board.period.len > 0 ? " in the period of " : "", STR_ARG(asking->board.period));
        return;
    }
    if (asking->board.ended && found->members == 0) {
        app_problem(http, 404,
                    "No scores are kept of that period. Those that are stand at /api/leaderboards/%s/periods.",
                    asking->board.config->name);
        return;
    }
    struct caching_body body = {.body = make_body(asking, found, http->arena)};
    body.etag = entry_etag(body.body, http->arena);
    if (arena_overflowed(http->arena)) {
        app_unavailable(http, 1, "The answer is larger than this server gives at once.");
        return;
    }
    http->status = 200;
    http->content_type = STR("application/json");
    caching_headers(http, &(struct caching_state){.outcome = outcome, .detail = detail});
    if (!caching_answer(http, &body))
        app_not_matched(http);
}

/* SQL's answer in L2's words. */
static enum err convert(const struct scores_answer *read, bool found, struct arena *arena, struct l2_boards_answer *out)
{
    struct l2_boards_place *places = arena_calloc(arena, read->count + 1, sizeof *places);

    if (!places)
        return ERR_LIMIT;
    for (size_t i = 0; i < read->count; i++)
        places[i] = (struct l2_boards_place){.member = read->places[i].member, .score = read->places[i].score};
    *out = (struct l2_boards_answer){.result = found ? L2_BOARDS_FOUND : L2_BOARDS_ABSENT,
                                     .members = read->members,
                                     .rank = read->rank,
                                     .places = places,
                                     .places_count = read->count};
    return ERR_OK;
}

/* Whether L2 may have a copy of BOARD: not of a period that has ended, nor when its copies are of other boards than
 * those that are configured now. */
static bool is_in_l2(const struct exchange *exchange, const struct board *board)
{
    const struct app *app = exchange->thread->app;
    const struct housekeeper_shared *housekeeper = app->shared->housekeeper;

    return !board->ended && l2_boards_exist(app->shared->cache->l2) && housekeeper &&
           atomic_load(&housekeeper->boards) == app->config->boards.print;
}

static enum http_step read_scores(struct exchange *exchange)
{
    struct asking *asking = exchange->state;
    const struct l2_boards_question *question = &asking->question;
    struct scores *scores = exchange->thread->scores;
    struct arena *arena = exchange->http->arena;
    struct scores_answer read;
    struct l2_boards_answer found;
    struct buf why = {0};
    bool is_there = true, asked = is_in_l2(exchange, &asking->board);
    enum err err =
        question->kind == L2_BOARDS_TOP
            ? scores_top(scores, question->board, question->offset, question->limit, arena, &read, &why)
            : scores_around(scores, question->board, question->member,
                            question->kind == L2_BOARDS_AROUND ? question->range : 0, arena, &read, &is_there, &why);

    if (err == ERR_OK)
        err = convert(&read, is_there, arena, &found);
    if (err != ERR_OK)
        return route_board_fail(exchange, err, &why);
    buf_free(&why);
    app_counts(exchange, asked ? METRICS_OUTCOME_miss : METRICS_OUTCOME_bypass, METRICS_TIER_origin);
    answer(exchange, &found, asked ? CACHING_MISS : CACHING_BYPASS, "origin");
    return HTTP_DONE;
}

static void take_reply(void *context, const struct l2_boards_answer *found)
{
    struct exchange *exchange = context;
    struct asking *asking = exchange->state;
    enum http_step step = HTTP_DONE;

    if (found->result == L2_BOARDS_UNKNOWN) {
        step = app_hand_over(exchange, read_scores);
    } else {
        app_counts(exchange, METRICS_OUTCOME_hit, METRICS_TIER_l2);
        answer(exchange, found, CACHING_HIT, "L2");
    }
    if (asking->inside)
        asking->outcome = step;
    else
        app_advance(exchange, step);
}

static enum http_step ask(struct exchange *exchange)
{
    struct asking *asking = exchange->state;
    const struct writer_shared *writer = exchange->thread->app->shared->writer;

    asking->question.board = asking->board.stored;
    if (!is_in_l2(exchange, &asking->board))
        return app_hand_over(exchange, read_scores);
    asking->question.required = writer ? atomic_load(&writer->scores) : 0;
    asking->inside = true;
    asking->outcome = HTTP_WAITING;
    l2_boards_read(cache_l2(exchange->thread->cache), &asking->question, take_reply, exchange);
    asking->inside = false;
    return asking->outcome;
}

/* NULL: answered. */
static struct asking *begin(struct exchange *exchange, enum l2_boards_kind kind)
{
    struct asking *asking = arena_calloc(exchange->http->arena, 1, sizeof *asking);

    if (!asking) {
        app_unavailable(exchange->http, 1, "The request needs more memory than one may have.");
        return NULL;
    }
    exchange->state = asking;
    asking->question.kind = kind;
    return asking;
}

#define PERIOD_SPEC                                                                                                    \
    {                                                                                                                  \
        .name = {"period", 6}, .type = PARAMS_TEXT, .optional = true                                                   \
    }
#define WHOLE_SPEC(text, least, most, standard)                                                                        \
    {                                                                                                                  \
        .name = {text, sizeof(text) - 1}, .type = PARAMS_INTEGER, .has_min = true, .min = (least), .has_max = true,    \
        .max = (most), .has_default = true, .default_integer = (standard)                                              \
    }

/* A page with the member in its middle, whose limit is split to both sides. */
static bool turn_around(struct exchange *exchange, struct asking *asking, struct str member)
{
    struct buf why = {0};
    uint64_t limit = asking->question.limit;

    if (!board_is_member(member, &why))
        return refuse(exchange, 400, &why);
    if (asking->question.offset > 0) {
        app_problem(exchange->http, 400, "parameters `offset` and `around` exclude each other; give one of them");
        return false;
    }
    asking->question.kind = L2_BOARDS_AROUND;
    asking->question.member = member;
    asking->before = (limit - 1) / 2;
    asking->behind = asking->question.range = limit / 2;
    return true;
}

enum http_step route_board_top(struct exchange *exchange)
{
    static const struct params_spec specs[] = {PERIOD_SPEC,
                                               WHOLE_SPEC("limit", 1, LIMIT_MAX, LIMIT_DEFAULT),
                                               WHOLE_SPEC("offset", 0, 1e15, 0),
                                               {.name = {"around", 6}, .type = PARAMS_TEXT, .optional = true}};
    const struct config_board *config = route_board_find(exchange);
    struct params_values values;
    struct asking *asking;

    if (!config || !app_bind_query(exchange, specs, sizeof specs / sizeof *specs, &values) ||
        !(asking = begin(exchange, L2_BOARDS_TOP)))
        return HTTP_DONE;
    asking->question.limit = (uint64_t)values.items[1].integer;
    asking->question.offset = (uint64_t)values.items[2].integer;
    if (!values.items[3].is_null && !turn_around(exchange, asking, values.items[3].text))
        return HTTP_DONE;
    if (!choose_period(exchange, config, &values.items[0], asking))
        return HTTP_DONE;
    return ask(exchange);
}

enum http_step route_board_member(struct exchange *exchange)
{
    static const struct params_spec specs[] = {PERIOD_SPEC};
    const struct config_board *config = route_board_find(exchange);
    struct params_values values;
    struct asking *asking;
    struct str member;

    if (!config || !route_board_take_member(exchange, &member) || !app_bind_query(exchange, specs, 1, &values) ||
        !(asking = begin(exchange, L2_BOARDS_MEMBER)))
        return HTTP_DONE;
    asking->question.member = member;
    if (!choose_period(exchange, config, &values.items[0], asking))
        return HTTP_DONE;
    return ask(exchange);
}

enum http_step route_board_around(struct exchange *exchange)
{
    static const struct params_spec specs[] = {PERIOD_SPEC, WHOLE_SPEC("range", 1, RANGE_MAX, RANGE_DEFAULT)};
    const struct config_board *config = route_board_find(exchange);
    struct params_values values;
    struct asking *asking;
    struct str member;

    if (!config || !route_board_take_member(exchange, &member) || !app_bind_query(exchange, specs, 2, &values) ||
        !(asking = begin(exchange, L2_BOARDS_AROUND)))
        return HTTP_DONE;
    asking->question.member = member;
    asking->question.range = asking->before = asking->behind = (uint64_t)values.items[1].integer;
    if (!choose_period(exchange, config, &values.items[0], asking))
        return HTTP_DONE;
    return ask(exchange);
}
