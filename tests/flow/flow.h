/*
 * flow: the whole application without a socket: routes, cache, store and a real writer process, over a database and an
 * L2 of its own, with a clock that is moved by hand.
 *
 * A request goes the way that the server sends it: first steps on an event thread's half of the application, then, as
 * it says, waiting on the loop or over to a pool thread's half. Both halves run on the test's one thread.
 */
#ifndef LARDER_FLOW_H
#define LARDER_FLOW_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/app.h"

#define FLOW_TOKEN "a-token-of-the-tests"

struct flow;

/* Over `memory:`, or over a redis-server that is started for it. The shipped resources, and notes: see flow.c. */
struct flow *flow_open_memory(void);
struct flow *flow_open_redis(void);
/* Over an L2 at URL that nobody starts. */
struct flow *flow_open_at(const char *url);
void flow_close(struct flow **flow);

/* For cmocka's set-up and tear-down; *STATE is the flow. */
int flow_setup_memory(void **state);
int flow_setup_redis(void **state);
int flow_teardown(void **state);

struct flow_request {
    const char *method, *url; /* GET when NULL */
    const char *body;         /* NULL: none. JSON unless content_type says otherwise */
    const char *content_type;
    const char *token; /* NULL: none */
    const char *if_match, *if_none_match, *idempotency_key, *address;
    bool pool_is_full; /* what is to be handed over is refused */
};

/* Asks; the answer stands in FLOW until the next request. Returns the status. */
int flow_ask(struct flow *flow, const struct flow_request *request);
int flow_get(struct flow *flow, const char *url);
/* With the token. */
int flow_admin(struct flow *flow, const char *method, const char *url, const char *body);
/* The answer's body, terminated; and a header's value, NULL when it is not there. */
const char *flow_body(const struct flow *flow);
const char *flow_header(struct flow *flow, const char *name);
/* Whether the last request waited for the loop, and whether the pool had a part in it. */
bool flow_waited(const struct flow *flow);
bool flow_was_handed_over(const struct flow *flow);
/* What processes would say of themselves. */
struct scoreboard *flow_scoreboard(const struct flow *flow);

void flow_assert_body_has(const struct flow *flow, const char *text);
/* X-Cache. */
void flow_assert_cache(struct flow *flow, const char *outcome);
/* A problem of STATUS whose detail has TEXT. */
void flow_assert_problem(struct flow *flow, int status, const char *text);
/* How many keys the cache holds. */
size_t flow_count_keys(struct flow *flow);

void flow_pass(struct flow *flow, int64_t ms);
const char *flow_database(const struct flow *flow);
/* Runs SQL on the database, past the writer. */
void flow_execute(struct flow *flow, const char *sql);
/* The first column of the first row of SQL. */
int64_t flow_integer(struct flow *flow, const char *sql);

void flow_stop_writer(struct flow *flow);
void flow_start_writer(struct flow *flow);
/* The file goes away, or is filled with something else. The writer must have been stopped. */
void flow_remove_database(struct flow *flow);
void flow_damage_database(struct flow *flow);
void flow_stop_l2(struct flow *flow);
void flow_start_l2(struct flow *flow);
/* Stops L2 from answering, without closing anything; and lets it go on. */
void flow_hang_l2(struct flow *flow);
void flow_resume_l2(struct flow *flow);
/* What the housekeeper's process does, until it is in contact and has dealt with what there was; or for a while. */
void flow_keep_house(struct flow *flow);
/* As if L1 had lost everything. */
void flow_forget_l1(struct flow *flow);
/* Jobs in the background run as soon as the answer is out; held, they wait until they are no longer. */
void flow_hold_background(struct flow *flow, bool hold);
/* Closes and opens the halves of the application, as a restarted worker would. */
void flow_reopen(struct flow *flow);

#endif
