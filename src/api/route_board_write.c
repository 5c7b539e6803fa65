/*
 * route_board_write: POST of scores and DELETE of a member.
 *
 * All scores of a request are one write: two statements that the writer runs in one transaction, with more than one
 * score as one JSON value. The first changes what has to change; the second tells what then stands there. Which of them
 * have changed follows from their numbers: the writer is alone, so those that the first statement drew are the highest,
 * without a gap, and changes() says how many. L2 is told of them before the client is, so that who has the answer finds
 * it in L2.
 *
 * A removal's number is in no row, so L2 cannot be told of it at once: the writer makes this host require the copies to
 * have followed it, and until then the database answers.
 *
 * Invariant: what is answered as written is durable, and either all scores of a request are or none.
 */
#include "api/route_board_write.h"

#include "api/body.h"
#include "api/route_board.h"
#include "api/route_resource.h"
#include "api/route_write.h"
#include "api/terms.h"
#include "api/writing.h"
#include "base/metrics.h"

/* What a member's score becomes. A sum that reaches 2^53 would swallow what is added to it: it becomes what the table
 * refuses. */
#define NEW_SCORE                                                                                                      \
    "CASE :mode WHEN 'best' THEN max(score, excluded.score) "                                                          \
    "WHEN 'sum' THEN iif(abs(score + excluded.score) < 9007199254740992.0, score + excluded.score, 9e999) "            \
    "ELSE excluded.score END"

#define ON_CONFLICT "ON CONFLICT (board, member) DO UPDATE SET score = " NEW_SCORE ", updated_at = excluded.updated_at"

static const char submit_sql[] =
    "INSERT INTO larder_scores (board, member, score, updated_at) "
    "SELECT :board, value ->> 0, value ->> 1, :larder_now FROM json_each(:scores) WHERE true " ON_CONFLICT
    " WHERE score <> " NEW_SCORE ";"
    "SELECT s.board, s.member, s.score, s.reached, s.reached > max(s.reached) OVER () - changes() AS \"changed:bool\" "
    "FROM json_each(:scores) AS given CROSS JOIN larder_scores AS s ON s.board = :board AND s.member = given.value ->> "
    "0 "
    "ORDER BY given.key";

/* A single one, as most are: no list to be read twice and put in order. The number it will have is foretold, so that
 * the row is written once (store/schema.c). */
static const char submit_one_sql[] =
    "INSERT INTO larder_scores (board, member, score, reached, updated_at) VALUES (:board, :member, :score, "
    "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'larder_score_log'), 0) + 1, :larder_now) " ON_CONFLICT
    ", reached = excluded.reached WHERE score <> " NEW_SCORE ";"
    "SELECT board, member, score, reached, changes() > 0 AS \"changed:bool\" FROM larder_scores "
    "WHERE board = :board AND member = :member";

static const char remove_sql[] =
    "DELETE FROM larder_scores WHERE board = :board AND member = :member RETURNING member, score";

/* The board of the path as it is now; false: answered. */
static bool find_board(struct exchange *exchange, struct board *out)
{
    const struct config_board *config = route_board_find(exchange);
    struct params_values none;
    struct buf why = {0};

    if (!config || !app_bind_query(exchange, NULL, 0, &none))
        return false;
    enum err err = board_now(config, exchange->http->now_ms, exchange->http->arena, out, &why);
    if (err == ERR_NOT_FOUND)
        app_problem(exchange->http, 409, "%.*s Nothing was written.", STR_ARG(buf_str(&why)));
    else if (err != ERR_OK)
        app_unavailable(exchange->http, 1, "The request needs more memory than one may have.");
    buf_free(&why);
    return err == ERR_OK;
}

static bool read_scores(struct exchange *exchange, struct board_scores *scores)
{
    struct http *http = exchange->http;
    struct buf why = {0};

    if (!body_is_json_type(http->in.content_type)) {
        app_problem(http, 415, "The body must be JSON. Send it with `Content-Type: application/json`.");
        return false;
    }
    enum err err = board_read_scores(http->body, http->arena, scores, &why);
    if (err != ERR_OK)
        app_problem(http, err == ERR_SYNTAX || err == ERR_LIMIT ? 400 : 422, "The body %.*s. Nothing was written.",
                    STR_ARG(buf_str(&why)));
    buf_free(&why);
    return err == ERR_OK;
}

/* The scores as the statements take them: [["member", 1], ...]. */
static struct str list_scores(const struct board_scores *scores, struct arena *arena)
{
    struct buf list = {0};

    for (size_t i = 0; i < scores->count; i++) {
        buf_add_str(&list, i == 0 ? STR("[[") : STR(",["));
        buf_add_json(&list, scores->items[i].member);
        buf_add_char(&list, ',');
        buf_add_double(&list, scores->items[i].score);
        buf_add_char(&list, ']');
    }
    buf_add_char(&list, ']');
    return arena_take_buf(arena, &list);
}

static struct params_value text_value(struct str name, struct str text)
{
    return (struct params_value){.name = name, .type = PARAMS_TEXT, .text = text};
}

/* What writes SCORES goes to ASK, they themselves to its VALUES. */
static void add_scores(const struct board_scores *scores, struct arena *arena, struct writer_client_ask *ask,
                       struct params_values *values)
{
    if (scores->count > 1) {
        ask->sql = STR(submit_sql);
        ask->shape = CATALOG_LIST;
        values->items[values->count++] = text_value(STR("scores"), list_scores(scores, arena));
        return;
    }
    ask->sql = STR(submit_one_sql);
    ask->shape = CATALOG_OBJECT;
    values->items[values->count++] = text_value(STR("member"), scores->items[0].member);
    values->items[values->count++] =
        (struct params_value){.name = STR("score"), .type = PARAMS_NUMBER, .number = scores->items[0].score};
}

/* What has come of a write, as the writer has answered: what the client is told, and what L2 is. A request that is
 * repeated may have been written in an earlier period. */
struct outcome {
    struct str stored; /* the board's name in the database */
    struct buf items;
    struct l2_boards_change *changes;
    size_t count;
};

/* One row of the second statement. */
static enum err take_row(void *context, size_t index, const struct body *row, struct buf *why)
{
    struct outcome *outcome = context;
    const struct body_member *stored = body_find(row, STR("board")), *member = body_find(row, STR("member"));
    const struct body_member *score = body_find(row, STR("score")), *reached = body_find(row, STR("reached"));
    const struct body_member *changed = body_find(row, STR("changed"));
    struct l2_boards_change *change = &outcome->changes[outcome->count];
    int64_t number;

    if (!stored || !member || !score || !reached || !changed || str_to_int64(reached->text, &number) != ERR_OK ||
        str_to_double(score->text, &change->score) != ERR_OK) {
        buf_add_str(why, STR("is no score"));
        return ERR_SYNTAX;
    }
    buf_add_str(&outcome->items, index == 0 ? STR("{\"member\":") : STR(",{\"member\":"));
    buf_add_json(&outcome->items, member->text);
    buf_printf(&outcome->items, ",\"score\":%.*s,\"changed\":%.*s}", STR_ARG(score->text), STR_ARG(changed->text));
    outcome->stored = change->board = stored->text;
    change->member = member->text;
    change->number = (uint64_t)number;
    outcome->count += str_equal(changed->text, STR("true"));
    return ERR_OK;
}

/* COUNT scores, one of which each row tells of: those of a list, or the one that was answered. */
static enum err read_outcome(struct str written, size_t count, struct arena *arena, struct outcome *outcome)
{
    struct body body;
    struct buf why = {0};
    enum err err = body_parse(written, arena, &body, &why);
    const struct body_member *items = err == ERR_OK ? body_find(&body, STR("items")) : NULL;

    outcome->changes = arena_calloc(arena, count, sizeof *outcome->changes);
    if (err == ERR_OK && !outcome->changes)
        err = ERR_IO;
    if (err == ERR_OK)
        err = items ? body_objects(items, count, arena, take_row, outcome, &why) : take_row(outcome, 0, &body, &why);
    buf_free(&why);
    return err;
}

/* What the route knows before it writes. */
struct submission {
    const struct config_board *config;
    enum config_board_mode mode;
    size_t count; /* of scores */
    struct outcome outcome;
};

/* What L2 is to be told. Where the writer's answer cannot be read it is written all the same, and the follower will
 * tell L2; only what has come of it cannot be said here. */
static void tell_submitted(struct writing *writing)
{
    struct submission *submission = writing->state;
    struct outcome *outcome = &submission->outcome;

    metrics_add(METRIC_writes, 1);
    writing->err = read_outcome(writing->told.row.json, submission->count, writing->exchange->http->arena, outcome);
    if (writing->err != ERR_OK) {
        writing->err = ERR_IO;
        writing->why = STR("the writer's answer cannot be read");
        return;
    }
    writing->telling.changes = outcome->changes;
    writing->telling.changes_count = outcome->count;
}

static void answer_submitted(struct writing *writing)
{
    struct http *http = writing->exchange->http;
    struct submission *submission = writing->state;
    struct board board = {.config = submission->config, .period = submission->outcome.stored};
    struct buf json = {0};

    if (writing->err == ERR_CONSTRAINT) {
        app_problem(http, 409,
                    "A sum would reach 2^53 (9007199254740992), where whole numbers are not exact. Nothing was "
                    "written.");
    } else if (writing->err != ERR_OK) {
        route_write_fail(writing->exchange, writing->err, writing->why);
    } else {
        (void)str_cut(&board.period, '@');
        buf_printf(&json, "{\"board\":\"%s\",\"period\":", board.config->name);
        board_add_period(&board, &json);
        buf_printf(&json, ",\"mode\":\"%s\",\"scores\":[", config_board_mode_name(submission->mode));
        buf_add_str(&json, buf_str(&submission->outcome.items));
        buf_add_str(&json, STR("]}"));
        app_json(http, 200, arena_take_buf(http->arena, &json));
    }
    buf_free(&submission->outcome.items);
    terms_tell(writing->exchange, &writing->told);
}

enum http_step route_board_write_submit(struct exchange *exchange)
{
    const struct store_caller caller = route_resource_caller(exchange->http);
    struct arena *arena = exchange->http->arena;
    struct params_values values;
    struct submission *submission;
    struct writing *writing = writing_new(exchange, sizeof *submission);
    struct board_scores scores;
    struct board board;

    if (!writing)
        return HTTP_DONE;
    submission = writing->state;
    writing->ask =
        (struct writer_client_ask){.shape = CATALOG_LIST, .values = &values, .caller = &caller, .tells_scores = true};
    if (!find_board(exchange, &board) || !read_scores(exchange, &scores) || !terms_read(exchange, &writing->ask))
        return HTTP_DONE;
    submission->config = board.config;
    submission->count = scores.count;
    submission->mode = scores.mode < CONFIG_BOARD_MODES ? scores.mode : board.config->mode;
    values.items[0] = text_value(STR("board"), board.stored);
    values.items[1] = text_value(STR("mode"), str_from(config_board_mode_name(submission->mode)));
    values.count = 2;
    add_scores(&scores, arena, &writing->ask, &values);
    if (arena_overflowed(arena)) {
        app_unavailable(exchange->http, 1, "The request needs more memory than one may have.");
        return HTTP_DONE;
    }
    writing->tell = tell_submitted;
    writing->answer = answer_submitted;
    return writing_begin(writing);
}

static void answer_removed(struct writing *writing)
{
    struct exchange *exchange = writing->exchange;
    const struct board *board = writing->state;
    struct buf json = {0};

    if (writing->err == ERR_OK)
        metrics_add(METRIC_writes, 1);
    if (writing->err != ERR_OK) {
        route_write_fail(exchange, writing->err, writing->why);
    } else if (writing->told.row.found) {
        buf_printf(&json, "{\"board\":\"%s\",\"period\":", board->config->name);
        board_add_period(board, &json);
        buf_printf(&json, ",\"removed\":%.*s}", STR_ARG(writing->told.row.json));
        app_json(exchange->http, 200, arena_take_buf(exchange->http->arena, &json));
    } else {
        app_problem(exchange->http, 404, "This member has no score on the board `%s`, so nothing was removed.",
                    board->config->name);
    }
    terms_tell(exchange, &writing->told);
}

enum http_step route_board_write_remove(struct exchange *exchange)
{
    const struct store_caller caller = route_resource_caller(exchange->http);
    struct params_values values = {.count = 2};
    struct board *board;
    struct writing *writing = writing_new(exchange, sizeof *board);
    struct str member;

    if (!writing)
        return HTTP_DONE;
    board = writing->state;
    writing->ask = (struct writer_client_ask){
        .sql = STR(remove_sql), .shape = CATALOG_OBJECT, .values = &values, .caller = &caller};
    if (!find_board(exchange, board) || !route_board_take_member(exchange, &member) ||
        !terms_read(exchange, &writing->ask))
        return HTTP_DONE;
    values.items[0] = text_value(STR("board"), board->stored);
    values.items[1] = text_value(STR("member"), member);
    writing->answer = answer_removed;
    return writing_begin(writing);
}
