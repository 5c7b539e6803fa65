/*
 * route_purge: removing from the cache, by name, by tag, by pattern, or all of it.
 *
 * A purge is in force on this host when it is answered, whatever becomes of it elsewhere. 200: on every host, as soon
 * as Redis has delivered it. 202: L2 could not be told, the purge is kept in the outbox and carried out before L2 is
 * read again. 503: it could not even be kept; then L2 is not read again before all of it has been purged, but other
 * hosts do not know.
 *
 * Invariant: nothing is answered with success that is not in force here and told or kept for the others. It refuses to
 * empty the cache by a slip: `all` must be said, and a body names exactly one thing to remove. Entries under a tag are
 * invalid at once but not counted, for nobody keeps a list of them; what a pattern matches is removed by a job.
 */
#include "api/route_purge.h"

#include <inttypes.h>

#include "api/body.h"
#include "api/settle.h"
#include "cache/inspect.h"
#include "l2/l2_log.h"

enum { KEYS_MAX = 1000 };

/* The selectors of an invalidation. */
enum selector { SELECTOR_PATTERN, SELECTOR_TAG, SELECTOR_KEY, SELECTOR_KEYS, SELECTOR_ALL, SELECTOR_COUNT };

static const struct str selector_names[SELECTOR_COUNT] = {[SELECTOR_PATTERN] = {"pattern", 7},
                                                          [SELECTOR_TAG] = {"tag", 3},
                                                          [SELECTOR_KEY] = {"key", 3},
                                                          [SELECTOR_KEYS] = {"keys", 4},
                                                          [SELECTOR_ALL] = {"all", 3}};

struct invalidation {
    enum selector selector;
    struct str *names; /* of all selectors but `all` */
    size_t count;
    bool dry_run, soft;
};

static bool refuse(struct exchange *exchange, const char *detail)
{
    app_problem(exchange->http, 422, "%s", detail);
    return false;
}

static bool refuse_unknown(struct exchange *exchange, const struct body_member *member)
{
    struct buf name = {0};

    body_add_name(member, &name);
    app_problem(exchange->http, 422,
                "member %.*s is unknown here; known are `pattern`, `tag`, `key`, `keys`, `all`, `soft` and `dry_run`",
                STR_ARG(buf_str(&name)));
    buf_free(&name);
    return false;
}

static bool take_flag(struct exchange *exchange, const struct body_member *member, bool *out)
{
    if (member->type != BODY_BOOLEAN) {
        app_problem(exchange->http, 422, "member `%.*s` must be true or false", STR_ARG(member->name));
        return false;
    }
    *out = str_equal(member->text, STR("true"));
    return true;
}

static bool take_names(struct exchange *exchange, const struct body_member *member, struct invalidation *out)
{
    struct arena *arena = exchange->http->arena;

    if (out->selector == SELECTOR_KEYS) {
        if (body_strings(member, KEYS_MAX, arena, &out->names, &out->count) == ERR_OK && out->count > 0)
            return true;
        app_problem(exchange->http, 422, "member `keys` must be an array of 1 to %d strings", KEYS_MAX);
        return false;
    }
    if (member->type != BODY_STRING) {
        app_problem(exchange->http, 422, "member `%.*s` must be a string", STR_ARG(member->name));
        return false;
    }
    out->names = arena_alloc(arena, sizeof *out->names);
    if (!out->names)
        return refuse(exchange, "The body is too large.");
    out->names[0] = member->text;
    out->count = 1;
    return true;
}

static bool take_member(struct exchange *exchange, const struct body_member *member, struct invalidation *out,
                        bool *all, unsigned *selectors)
{
    enum selector selector = SELECTOR_PATTERN;

    if (str_equal(member->name, STR("dry_run")))
        return take_flag(exchange, member, &out->dry_run);
    if (str_equal(member->name, STR("soft")))
        return take_flag(exchange, member, &out->soft);
    if (str_equal(member->name, selector_names[SELECTOR_ALL]))
        return take_flag(exchange, member, all);
    while (selector < SELECTOR_ALL && !str_equal(member->name, selector_names[selector]))
        selector++;
    if (selector == SELECTOR_ALL)
        return refuse_unknown(exchange, member);
    (*selectors)++;
    out->selector = selector;
    return take_names(exchange, member, out);
}

/* Whether what was asked for may be done. */
static bool check_names(struct exchange *exchange, const struct invalidation *asked)
{
    struct arena *arena = exchange->http->arena;
    const char *why;

    for (size_t i = 0; i < asked->count; i++) {
        const struct str kind = asked->selector == SELECTOR_KEYS ? STR("key") : selector_names[asked->selector];
        struct str item = arena_printf(arena, "%.*s:%.*s", STR_ARG(kind), STR_ARG(asked->names[i]));
        enum err err = purge_check(item, &why);

        if (err == ERR_DENIED)
            return refuse(exchange, "This pattern would empty the cache. If that is meant, say `\"all\": true`.");
        if (err != ERR_OK)
            return refuse(exchange, "An empty pattern, tag or key names nothing. If everything is meant, say "
                                    "`\"all\": true`.");
    }
    if (asked->dry_run && asked->selector == SELECTOR_TAG)
        return refuse(exchange, "`dry_run` counts keys, by pattern, key or keys; what carries a tag is not listed "
                                "anywhere and cannot be counted.");
    return true;
}

/* `all` may stand alone or confirm a pattern that would be refused without it. */
static bool merge_all(struct exchange *exchange, unsigned selectors, struct invalidation *asked)
{
    bool confirms = selectors == 1 && asked->selector == SELECTOR_PATTERN &&
                    (asked->names[0].len == 0 || str_equal(asked->names[0], STR("*")));

    if (selectors > 0 && !confirms)
        return refuse(exchange, "`all` removes everything; name no pattern, tag or key besides it.");
    asked->selector = SELECTOR_ALL;
    asked->count = 0;
    return true;
}

static bool understand(struct exchange *exchange, struct invalidation *asked)
{
    struct http *http = exchange->http;
    struct buf why = {0};
    struct body body;
    bool all = false;
    unsigned selectors = 0;

    if (http->body.len > 0 && !body_is_json_type(http->in.content_type)) {
        app_problem(http, 415, "The body must be JSON. Send it with `Content-Type: application/json`.");
        return false;
    }
    if (body_parse(http->body, http->arena, &body, &why) != ERR_OK) {
        app_problem(http, 400, "The body %.*s.", STR_ARG(buf_str(&why)));
        buf_free(&why);
        return false;
    }
    for (size_t i = 0; i < body.count; i++)
        if (!take_member(exchange, &body.members[i], asked, &all, &selectors))
            return false;
    if (all)
        return merge_all(exchange, selectors, asked);
    if (selectors != 1)
        return refuse(exchange, "Name exactly one of `pattern`, `tag`, `key` and `keys`, or say `\"all\": true`.");
    return check_names(exchange, asked);
}

/* How many keys ASKED would remove. */
static enum err count_matched(struct cache *cache, struct arena *arena, const struct invalidation *asked,
                              size_t *matched)
{
    struct entry entry;

    if (asked->selector == SELECTOR_ALL || asked->selector == SELECTOR_PATTERN)
        return purge_count(cache, asked->selector == SELECTOR_ALL ? STR("*") : asked->names[0], matched);
    *matched = 0;
    for (size_t i = 0; i < asked->count; i++) {
        enum err err = inspect_entry(cache_l2(cache), asked->names[i], arena, &entry, NULL);

        if (err != ERR_OK && err != ERR_NOT_FOUND)
            return err;
        *matched += err == ERR_OK;
    }
    return ERR_OK;
}

static enum http_step answer(struct exchange *exchange, int status, struct buf *body)
{
    app_json(exchange->http, status, arena_take_buf(exchange->http->arena, body));
    return HTTP_DONE;
}

static enum http_step answer_dry_run(struct exchange *exchange, const struct invalidation *asked)
{
    size_t matched;
    struct buf body = {0};
    enum err err = count_matched(exchange->thread->cache, exchange->http->arena, asked, &matched);

    if (err != ERR_OK) {
        app_unavailable(exchange->http, 1, "The shared cache cannot be read at the moment. Try again shortly.");
        app_note(exchange, "cache_unreadable", str_from(err_text(err)));
        return HTTP_DONE;
    }
    buf_printf(&body, "{\"matched\":%zu,\"dry_run\":true}", matched);
    return answer(exchange, 200, &body);
}

/* Carries ITEMS out. ERR_AGAIN: L2 could not be told, and they are kept; ERR_UNAVAILABLE: nor could they be kept. */
static enum err purge_or_keep(struct exchange *exchange, const struct str *items, size_t count, bool soft,
                              struct purge_result *result)
{
    struct app_thread *thread = exchange->thread;
    struct l2_status status;
    struct buf why = {0};
    settle_numbers(thread->app);
    enum err err = purge_items(thread->cache, items, count, soft, result);

    if (err != ERR_UNAVAILABLE)
        return err;
    bool kept = settle_keep(thread, items, count, &why);
    l2_status(thread->app->shared->cache->l2, &status);
    app_note(exchange, kept ? "purge_kept" : "purge_not_kept", kept ? status.last_error : buf_str(&why));
    buf_free(&why);
    return kept ? ERR_AGAIN : ERR_UNAVAILABLE;
}

/* Carries ITEMS out for a route of its own, and answers; BODY, which is freed, is what the answer begins with. */
static enum http_step purge_and_answer(struct exchange *exchange, const struct str *items, size_t count, bool soft,
                                       bool counted, struct buf *body)
{
    struct purge_result result;
    enum err err = purge_or_keep(exchange, items, count, soft, &result);

    if (err != ERR_OK && err != ERR_AGAIN) {
        buf_free(body);
        app_unavailable(exchange->http, 1,
                        "The purge is in force on this host, but the shared cache could not be told, nor could the "
                        "purge be kept until it can: so the shared cache is not read again before all of it has been "
                        "purged. Other hosts may not know. Try again.");
        return HTTP_DONE;
    }
    if (counted && err == ERR_OK && result.job == 0)
        buf_printf(body, "\"removed\":%zu", result.removed);
    else
        buf_add_str(body, STR("\"removed\":null"));
    if (result.job != 0)
        buf_printf(body, ",\"job\":%" PRIu64, result.job);
    if (err == ERR_AGAIN)
        buf_add_str(body, STR(",\"pending\":true"));
    buf_add_char(body, '}');
    return answer(exchange, err == ERR_AGAIN ? 202 : 200, body);
}

enum http_step route_purge_invalidate(struct exchange *exchange)
{
    struct arena *arena = exchange->http->arena;
    struct invalidation asked = {0};
    struct buf body = {0};

    if (!understand(exchange, &asked))
        return HTTP_DONE;
    if (asked.dry_run)
        return answer_dry_run(exchange, &asked);
    const struct str kind = asked.selector == SELECTOR_KEYS ? STR("key") : selector_names[asked.selector];
    struct str *items = arena_calloc(arena, asked.count + 1, sizeof *items);
    for (size_t i = 0; i < asked.count && items; i++)
        items[i] = arena_printf(arena, "%.*s:%.*s", STR_ARG(kind), STR_ARG(asked.names[i]));
    if (items && asked.selector == SELECTOR_ALL)
        items[asked.count++] = purge_everything;
    if (arena_overflowed(arena)) {
        app_problem(exchange->http, 413, "The body names more than one request may.");
        return HTTP_DONE;
    }
    buf_add_char(&body, '{');
    return purge_and_answer(exchange, items, asked.count, asked.soft,
                            asked.selector != SELECTOR_ALL && asked.selector != SELECTOR_TAG, &body);
}

enum http_step route_purge_clear(struct exchange *exchange)
{
    struct buf body = {0};

    buf_add_char(&body, '{');
    return purge_and_answer(exchange, &purge_everything, 1, false, false, &body);
}

enum http_step route_purge_key(struct exchange *exchange)
{
    struct str key = exchange->match.values[0].value;
    struct str item = arena_printf(exchange->http->arena, "key:%.*s", STR_ARG(key));

    return route_purge_named(exchange, key, item);
}

enum http_step route_purge_named(struct exchange *exchange, struct str key, struct str item)
{
    struct buf body = {0};

    buf_add_str(&body, STR("{\"key\":"));
    buf_add_json(&body, key);
    buf_add_char(&body, ',');
    return purge_and_answer(exchange, &item, item.len > 0, false, true, &body);
}

static void add_job(const struct l2_job *job, int64_t now_ms, struct buf *out)
{
    int64_t until_ms = job->state == L2_JOB_DONE ? job->ended_ms : now_ms;
    double progress =
        job->state == L2_JOB_DONE || job->scanned >= job->total ? 1 : (double)job->scanned / (double)job->total;

    buf_printf(out, "{\"id\":%" PRIu64 ",\"state\":\"%s\",\"pattern\":", job->id,
               job->state == L2_JOB_DONE ? "done" : "running");
    buf_add_json(out, job->pattern);
    buf_printf(out, ",\"soft\":%s,\"removed\":%" PRIu64 ",\"scanned\":%" PRIu64 ",\"total\":%" PRIu64 ",\"progress\":",
               job->soft ? "true" : "false", job->removed, job->scanned, job->total);
    /* One that runs is never told to be all done. */
    buf_add_double(out, job->state == L2_JOB_DONE ? 1 : progress < 0.99 ? progress : 0.99);
    buf_printf(out, ",\"ms\":%" PRId64 "}", until_ms > job->started_ms ? until_ms - job->started_ms : 0);
}

enum http_step route_purge_job(struct exchange *exchange)
{
    struct http *http = exchange->http;
    struct l2_job job;
    struct buf body = {0};
    int64_t id;
    enum err err = str_to_int64(exchange->match.values[0].value, &id);

    if (err == ERR_OK && id > 0)
        err = l2_job_read(cache_l2(exchange->thread->cache), (uint64_t)id, http->arena, &job);
    else
        err = ERR_NOT_FOUND;
    if (err == ERR_NOT_FOUND) {
        app_problem(http, 404, "There is no such job. One that is done is remembered for a day.");
        return HTTP_DONE;
    }
    if (err != ERR_OK) {
        app_unavailable(http, 1, "The shared cache cannot be read at the moment. Try again shortly.");
        return HTTP_DONE;
    }
    add_job(&job, http->now_ms, &body);
    return answer(exchange, 200, &body);
}
