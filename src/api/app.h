/*
 * app: everything the application is made of, and the pipeline match -> guard -> handle -> finish.
 *
 * struct app is made before the fork and is immutable then; struct app_thread holds what a thread may use alone.
 * Nothing here knows sockets or processes: the server calls app_handle and app_run through function pointers.
 */
#ifndef LARDER_APP_H
#define LARDER_APP_H

#include "api/slow.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "base/scoreboard.h"
#include "cache/cache.h"
#include "config/catalog.h"
#include "config/config.h"
#include "http/http.h"
#include "http/router.h"
#include "store/scores.h"
#include "store/store.h"
#include "store/writer_client.h"

/* What children share; made once, survives reloads. */
struct app_shared {
    struct cache_shared *cache;
    struct writer_shared *writer;
    struct housekeeper_shared *housekeeper;
    const struct scoreboard *scoreboard;
    struct recent *slow; /* requests; NULL: not kept */
    int64_t started_ms;
};

struct app {
    const struct config *config;
    const struct catalog *catalog;
    struct router *router;
    struct route *resource_routes; /* one for each resource */
    struct openapi *openapi;       /* the app's once a server has set it, before the fork; NULL: not made ahead */
    const struct app_shared *shared;
};

struct app_thread {
    const struct app *app;
    const struct loop *loop;         /* NULL but on the event thread */
    struct scoreboard_thread *board; /* where it says how far it is; may be NULL */
    struct cache *cache;
    struct memo *memo; /* on the event thread alone, as are the next two */
    struct writer_async *writes;
    struct settle *settle;
    struct store *store; /* NULL on the event thread, as are those below */
    struct scores *scores;
    struct writer_client *writer;
    struct receipts *receipts; /* opened when needed */
};

/* One request on its way; in the request's arena, at http->app. */
struct exchange {
    struct app_thread *thread; /* whose turn it is */
    struct http *http;
    const struct route *route;
    const struct memo_meaning *meaning; /* of a URL that was asked for before; valid during the first step */
    struct router_match match;          /* set unless there is a meaning */
    enum http_step (*step)(struct exchange *exchange); /* the next step, after HTTP_HAND_OVER */
    /* That step will not be taken: gives back what it was to have. Whether the request is answered all the same. NULL:
     * nothing is to be given back, and it is not. */
    bool (*abandon)(struct exchange *exchange);
    void *state;                  /* the route's own */
    enum metrics_outcome outcome; /* see app_counts */
    enum metrics_tier tier;
    const struct params_values *values; /* for the slow log: those of its URL; NULL until known */
    struct slow_clock clock;
    const char *event; /* for the log: what went wrong, a word; NULL without */
    struct str why;    /* the same in words, for the operator only */
};

/* A route: what the router leads to. Built-in routes are a static table; each resource has one. */
struct route {
    enum http_method method;
    struct str pattern;
    enum catalog_auth auth;
    /* First step. On the event thread unless `blocking`, then in the pool at once. */
    enum http_step (*handle)(struct exchange *exchange);
    bool blocking;
    const struct resource *resource; /* of a resource's route */
    unsigned row;                    /* in which its requests are counted */
};

/* Takes nothing over: all must outlive the app. ERR_EXISTS with REPORT lines where a resource claims a built-in
 * route. */
enum err app_new(const struct config *config, const struct catalog *catalog, const struct app_shared *shared,
                 struct report *report, struct app **out) ERR_CHECKED;
void app_free(struct app **app);

/* The table of larder's own routes. */
const struct route *app_built_in(size_t *count);

/* LOOP for the event thread; NULL for a pool thread, which also gets store and writer. */
struct app_thread *app_thread_open(const struct app *app, const struct loop *loop);
void app_thread_close(struct app_thread **thread);

/* The first steps, on the event thread. */
enum http_step app_handle(struct app_thread *thread, struct http *http);
/* All remaining steps (all, when app_handle was not called), on a thread that may block. The response is complete
 * after it. */
void app_run(struct app_thread *thread, struct http *http);

/* Answers a request that the application never sees, or that nobody may go on with: a problem, its line in the log. On
 * the event thread. */
void app_refuse(struct http *http, int status, const char *detail);

/* For routes. */

/* Finds the route of a request, and sets `match`. */
enum router_result app_match(struct exchange *exchange);

/* Ends a step whose successor, STEP, may block. */
enum http_step app_hand_over(struct exchange *exchange, enum http_step (*step)(struct exchange *exchange));
/* Goes on with a request that was HTTP_WAITING, on the event thread. */
void app_advance(struct exchange *exchange, enum http_step step);
/* What the log is to say of this request when it ends. EVENT is static; WHY is copied. */
void app_note(struct exchange *exchange, const char *event, struct str why);

/* How this request is counted when it ends, unless it ends in a failure. */
static inline void app_counts(struct exchange *exchange, enum metrics_outcome outcome, enum metrics_tier tier)
{
    exchange->outcome = outcome;
    exchange->tier = tier;
}

/* Fills HTTP with an application/problem+json response (RFC 9457). DETAIL tells the caller what to change. */
void app_problem(struct http *http, int status, const char *detail_format, ...) __attribute__((format(printf, 3, 4)));
/* The body alone, in ARENA. REQUEST_ID is empty in what other requests will be answered with too. */
struct str app_problem_body(struct arena *arena, int status, struct str detail, struct str request_id);
/* The detail of the problem that HTTP has been answered with, in its arena; the status in words where it says none. */
struct str app_problem_detail(const struct http *http);
/* Binds the query by SPECS. False: answered with 400 that says what is wrong. */
bool app_bind_query(struct exchange *exchange, const struct params_spec *specs, size_t count,
                    struct params_values *values);
/* 503 with Retry-After. */
void app_unavailable(struct http *http, unsigned retry_after_s, const char *detail);
/* 412, for a read whose If-Match names another representation than what there is. */
void app_not_matched(struct http *http);
/* A JSON response that nobody may keep; BODY in the arena, or empty. */
void app_json(struct http *http, int status, struct str body);

#endif
