/*
 * The loop. One epoll set holds the listener, the pool's eventfd, what modules ask to have watched, and the connections.
 *
 * Connections are edge-triggered, so that one that is being answered costs nothing. Each edge is looked at once; one that comes while a
 * request is being answered is remembered and looked at afterwards. What a callback of the application finishes is sent at once, but
 * the connection's next request waits for the end of the round (`again`), so that callbacks do not nest.
 *
 * Invariant: nothing here blocks. How a worker ends without losing a request is worker_move's.
 */
#include "server/worker.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/metrics.h"
#include "base/sys.h"
#include "server/worker_move.h"

#define BATCH 64
#define TICK_MS 20        /* of modules' ticks while requests are under way */
#define IDLE_TICK_MS 500
#define SWEEP_MS 250      /* how often deadlines of connections are looked at */
#define ACCEPT_PAUSE_MS 100
#define LINGER_MS 2000

static const struct pool_work request_work;

/* Epoll's data is a pointer; the lowest bit tells a loop_watch from a connection. */
static void *tag_watch(struct loop_watch *watch)
{
    return (char *)watch + 1;
}

static void watch_fd(void *self, struct loop_watch *watch, unsigned events)
{
    struct worker *worker = self;
    struct epoll_event event = {.data.ptr = tag_watch(watch)};
    event.events = (events & LOOP_READ ? EPOLLIN : 0u) | (events & LOOP_WRITE ? EPOLLOUT : 0u);
    if (watch == &worker->listener_watch || watch == &worker->arrival_watch)
        event.events |= EPOLLEXCLUSIVE;
    int operation = events == 0 ? EPOLL_CTL_DEL : watch->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (events != watch->events && epoll_ctl(worker->epoll, operation, watch->fd, &event) != 0 && events != 0)
        log_event(LOG_LEVEL_ERROR, "epoll_failed", LOG_INT("fd", watch->fd), LOG_TEXT("why", strerror(errno)));
    watch->events = events;
}

static void add_tick(void *self, loop_tick_fn *fn, void *context)
{
    struct worker *worker = self;
    if (worker->ticks_count == WORKER_TICKS_MAX) {
        log_event(LOG_LEVEL_ERROR, "too_many_ticks", LOG_INT("limit", WORKER_TICKS_MAX));
        abort();
    }
    worker->ticks[worker->ticks_count].fn = fn;
    worker->ticks[worker->ticks_count++].context = context;
}

/* Accepting stops while there is no room, and for a moment when descriptors have run out. */
void worker_listen(struct worker *worker, bool wanted)
{
    if (wanted != worker->listening)
        watch_fd(worker, &worker->listener_watch, wanted ? LOOP_READ : 0);
    /* What comes while requests are held is for those who will begin them. */
    const unsigned arrivals = wanted && !worker->holding ? LOOP_READ : 0;
    if (worker->arrival_watch.fd >= 0 && worker->arrival_watch.events != arrivals)
        watch_fd(worker, &worker->arrival_watch, arrivals);
    worker->listening = wanted;
}

void worker_look_again(struct worker *worker, struct connection *connection)
{
    if (connection->is_again)
        return;
    connection->is_again = true;
    connection->again = worker->again;
    worker->again = connection;
}

/* The struct goes at the end of the round, by way of `again`: events already fetched may still name it. */
void worker_drop(struct worker *worker, struct connection *connection)
{
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        worker->connections = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    worker->connections_count--;
    connection_close(connection);
    worker_look_again(worker, connection);
}

static void set_output_watch(struct worker *worker, struct connection *connection, bool wanted)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET | (wanted ? EPOLLOUT : 0u), .data.ptr = connection};
    (void)epoll_ctl(worker->epoll, EPOLL_CTL_MOD, connection->fd, &event);
}

/* Nothing more is sent; what comes is thrown away until the peer has closed too. */
void worker_linger(struct worker *worker, struct connection *connection, int64_t limit_ms)
{
    connection->state = CONNECTION_LINGERING;
    connection->deadline_ms = worker->now_ms + limit_ms;
    (void)shutdown(connection->fd, SHUT_WR);
    worker_look_again(worker, connection);
}

/* The answer is out: the connection waits for its next request, or ends. */
static void finish(struct worker *worker, struct connection *connection)
{
    bool last = connection->close_after;
    connection_finish(connection, &worker->rooms);
    if (last && connection->is_cut)
        worker_linger(worker, connection, LINGER_MS);
    else if (last)
        worker_drop(worker, connection);
    else if (connection->input_while_busy || connection->has_more || connection->input_ended)
        worker_look_again(worker, connection);
}

static void count_response(const struct http *http)
{
    static const enum metric classes[] = {METRIC_responses_2xx, METRIC_responses_3xx, METRIC_responses_4xx, METRIC_responses_5xx};
    int index = http->status / 100 - 2;
    metrics_add(METRIC_requests, 1);
    metrics_add(classes[index < 0 || index > 3 ? 3 : index], 1);
}

static void continue_sending(struct worker *worker, struct connection *connection, enum connection_sent sent)
{
    switch (sent) {
    case CONNECTION_SENT:
        finish(worker, connection);
        return;
    case CONNECTION_SOME:
        connection->deadline_ms = worker->now_ms + worker->config->server.request_timeout_ms;
        return;
    case CONNECTION_FAILED:
        worker_drop(worker, connection);
        return;
    }
}

static void respond(struct worker *worker, struct connection *connection)
{
    worker->busy--;
    worker->changing -= connection->changes;
    worker->requests++;
    count_response(&connection->http);
    enum connection_sent sent = connection_respond(connection);
    if (sent == CONNECTION_SOME)
        set_output_watch(worker, connection, true);
    continue_sending(worker, connection, sent);
}

static void refuse(struct worker *worker, struct connection *connection, int status, const char *detail)
{
    worker->options->ops->refuse(&connection->http, status, detail);
    respond(worker, connection);
}

static void hand_over(struct worker *worker, struct connection *connection)
{
    connection->deadline_ms = worker->now_ms + worker->config->server.request_timeout_ms;
    connection->job.work = &request_work;
    if (pool_submit(worker->pool, &connection->job) == ERR_OK)
        return;
    metrics_add(METRIC_pool_refused, 1);
    refuse(worker, connection, 503, "The server is busy: too many requests wait for the database. Try again shortly.");
}

static void take_step(struct worker *worker, struct connection *connection, enum http_step step)
{
    if (step == HTTP_DONE)
        respond(worker, connection);
    else if (step == HTTP_HAND_OVER)
        hand_over(worker, connection);
}

/* The application's word that a waiting request goes on. */
static void advance(struct http *http, enum http_step step)
{
    struct connection *connection = http->carrier;
    take_step(connection->owner, connection, step);
}

/* Refuses a request that cannot be read. WHY is that of ERR_SYNTAX. */
static void explain(struct worker *worker, struct connection *connection, enum err err, const char *why)
{
    int status = gateway_refusal(err, &why);
    worker->options->ops->refuse(&connection->http, status, why);
}

/* A request begins. CUT: why it is answered although not all of it has come. */
void worker_begin(struct worker *worker, struct connection *connection, struct str bytes, const struct fcgi_head *head, enum err cut)
{
    const char *why = NULL;
    enum err err = connection_begin(connection, bytes, head, &worker->clock, &worker->rooms, &why);
    struct http *http = &connection->http;
    http->advance = advance;
    worker->busy++;
    /* Of one whose variables come in pieces the method is not known yet. */
    connection->changes = http->path.len == 0 || (http->method != HTTP_GET && http->method != HTTP_HEAD);
    worker->changing += connection->changes;
    connection->deadline_ms = 0;
    if (err == ERR_OK && connection->is_cut)
        err = cut;
    if (err == ERR_OK && http->body.len > worker->config->server.max_body)
        err = ERR_LIMIT;
    if (err != ERR_OK) {
        explain(worker, connection, err, why);
        respond(worker, connection);
    } else if (connection->input.len > 0) {
        hand_over(worker, connection);
    } else {
        scoreboard_event_begin(&worker->options->row->event, http->path);
        enum http_step step = worker->options->ops->handle(worker->thread, http);
        scoreboard_event_end(&worker->options->row->event);
        take_step(worker, connection, step);
    }
}

static void reject(struct worker *worker, struct connection *connection, const char *why)
{
    metrics_add(METRIC_connections_rejected, 1);
    log_event(LOG_LEVEL_NOTICE, "connection_rejected", LOG_TEXT("why", why));
    worker_drop(worker, connection);
}

/* Sets the time until which the rest must have come, when the first part has, and again when the head has. */
static void await_rest(struct worker *worker, struct connection *connection, enum connection_state before)
{
    const struct config *config = worker->config;
    if (connection->state == CONNECTION_IDLE)
        connection->deadline_ms = 0;
    else if (connection->state != before)
        connection->deadline_ms = worker->now_ms + (connection->state == CONNECTION_PARTIAL ? config->server.head_timeout_ms
                                                                                             : config->server.request_timeout_ms);
}

/* Looks at what has come on a connection on which nothing is being answered. */
void worker_look(struct worker *worker, struct connection *connection)
{
    const struct config *config = worker->config;
    enum connection_state before = connection->state;
    struct fcgi_head head;
    struct str bytes;
    connection->input_while_busy = false;
    switch (connection_look(connection, worker->scratch, (unsigned)config->server.max_connections, config->server.max_body, &bytes, &head)) {
    case CONNECTION_NOTHING:
        await_rest(worker, connection, before);
        if (connection->has_more)
            worker_look_again(worker, connection);
        else if (connection->state != CONNECTION_IDLE && connection->input_ended)
            worker_drop(worker, connection);
        return;
    case CONNECTION_REQUEST:
        if (worker_move_holds(worker, connection, bytes, &head))
            return;
        worker_begin(worker, connection, bytes, &head, ERR_LIMIT);
        return;
    case CONNECTION_CLOSED:
        worker_drop(worker, connection);
        return;
    case CONNECTION_INVALID:
        reject(worker, connection, head.why);
        return;
    }
}

static void on_connection(struct worker *worker, struct connection *connection, uint32_t events)
{
    connection->input_ended |= (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    switch (connection->state) {
    case CONNECTION_BUSY:
        connection->input_while_busy = true;
        return;
    case CONNECTION_SENDING:
        connection->input_while_busy |= (events & ~(uint32_t)EPOLLOUT) != 0;
        enum connection_sent sent = connection_send(connection);
        if (sent == CONNECTION_SENT)
            set_output_watch(worker, connection, false);
        continue_sending(worker, connection, sent);
        return;
    case CONNECTION_IDLE:
    case CONNECTION_PARTIAL:
    case CONNECTION_BODY:
        /* What has come goes along with the connection. */
        if (!worker->handing)
            worker_look(worker, connection);
        return;
    case CONNECTION_HELD:
        return;
    case CONNECTION_LINGERING:
        if (!connection_discard(connection, worker->scratch))
            worker_drop(worker, connection);
        return;
    case CONNECTION_ENDED:
        return;
    }
}

struct connection *worker_adopt(struct worker *worker, int fd)
{
    struct connection *connection = connection_new(fd);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = connection};
    connection->owner = worker;
    connection->next = worker->connections;
    if (worker->connections)
        worker->connections->previous = connection;
    worker->connections = connection;
    worker->connections_count++;
    if (epoll_ctl(worker->epoll, EPOLL_CTL_ADD, fd, &event) == 0)
        return connection;
    worker_drop(worker, connection);
    return NULL;
}

/* One connection for each wake-up: what else waits is left to the other workers. */
static void on_listener(void *self, unsigned events)
{
    struct worker *worker = self;
    (void)events;
    int fd = accept4(worker->options->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        if (listener_allows(worker->peers, fd)) {
            metrics_add(METRIC_connections, 1);
            (void)worker_adopt(worker, fd);
        } else {
            metrics_add(METRIC_connections_rejected, 1);
            close(fd);
        }
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        log_event(LOG_LEVEL_ERROR, "accept_failed", LOG_TEXT("why", strerror(errno)));
        worker->accept_at_ms = worker->now_ms + ACCEPT_PAUSE_MS;
        worker_listen(worker, false);
    }
}

static void on_pool(void *self, unsigned events)
{
    struct worker *worker = self;
    struct pool_job *job = pool_collect(worker->pool), *next;
    (void)events;
    for (; job; job = next) {
        next = job->next;
        job->work->done(job);
    }
}

/* On a pool thread. */
static void run_request(struct pool_job *job, void *thread)
{
    struct connection *connection = (struct connection *)job;
    struct worker *worker = connection->owner;
    const char *why = NULL;
    enum err err = connection_read(connection, worker->config->server.max_body, &why);
    if (err != ERR_OK) {
        explain(worker, connection, err, why);
        return;
    }
    worker->options->ops->run(thread, &connection->http);
}

static void describe_request(const struct pool_job *job, char what[SCOREBOARD_WHAT_MAX])
{
    const struct http *http = &((const struct connection *)job)->http;
    snprintf(what, SCOREBOARD_WHAT_MAX, "%s %.*s", http_method_name(http->method), STR_ARG(http->path));
}

static void end_request(struct pool_job *job)
{
    struct connection *connection = (struct connection *)job;
    respond(connection->owner, connection);
}

static const struct pool_work request_work = {.describe = describe_request, .run = run_request, .done = end_request};

static enum err submit(void *self, struct loop_job *job)
{
    struct worker *worker = self;
    const int64_t most = worker->config->server.pool * worker->config->cache.refresh_share / 100;
    if (job->is_awaited)
        return pool_submit_background(worker->pool, job, UINT_MAX);
    return worker->draining ? ERR_LIMIT : pool_submit_background(worker->pool, job, most > 0 ? (unsigned)most : 1);
}

static void *open_pool_thread(void *context, struct scoreboard_thread *board)
{
    struct worker *worker = context;
    return worker->options->ops->thread_open(worker->options->app, NULL, board);
}

/* What has passed its deadline: a head or an answer that goes nowhere is closed; a request that is being worked on loses its
 * client, so that whoever reads its body or writes its answer comes to an end. */
static void sweep(struct worker *worker)
{
    struct connection *next;
    for (struct connection *connection = worker->connections; connection; connection = next) {
        next = connection->next;
        if (connection->deadline_ms == 0 || connection->deadline_ms > worker->now_ms)
            continue;
        if (connection->state == CONNECTION_BUSY) {
            connection->deadline_ms = 0;
            connection->close_after = true;
            (void)shutdown(connection->fd, SHUT_RDWR);
        } else if (connection->state == CONNECTION_LINGERING) {
            worker->unheeded = worker->draining;
            worker_drop(worker, connection);
        } else if (connection->state == CONNECTION_BODY) {
            struct fcgi_head head;
            struct str bytes;
            connection_recall(connection, &bytes, &head);
            worker_begin(worker, connection, bytes, &head, ERR_TIMEOUT);
        } else {
            reject(worker, connection, connection->state == CONNECTION_PARTIAL ? "the request head did not arrive in time"
                                                                               : "the answer was not read in time");
        }
    }
    worker->swept_ms = worker->now_ms;
}

/* Those on the list by now: who comes on it meanwhile waits for the next round, in which others have their turn, too. */
static void look_at_again(struct worker *worker)
{
    struct connection *list = worker->again;
    worker->again = NULL;
    while (list) {
        struct connection *connection = list;
        list = connection->again;
        connection->is_again = false;
        if (connection->state == CONNECTION_ENDED)
            connection_free(&connection, &worker->rooms);
        else
            on_connection(worker, connection, EPOLLIN);
    }
}

/* One round's end: what callbacks left to be looked at, ticks, deadlines, life. */
static void end_round(struct worker *worker)
{
    look_at_again(worker);
    for (unsigned i = 0; i < worker->ticks_count; i++)
        worker->ticks[i].fn(worker->ticks[i].context, worker->now_ms);
    if (worker->now_ms - worker->swept_ms >= SWEEP_MS)
        sweep(worker);
    const int64_t limit = worker->config->server.max_requests;
    if (!worker->draining && (*worker->options->stop || (limit > 0 && worker->requests >= limit)))
        worker_move_begin(worker);
    scoreboard_show(worker->options->row, (uint64_t)worker->requests, worker->connections_count, worker->busy, worker->changing);
    worker_move_step(worker);
    if (!worker->draining)
        worker_listen(worker, worker->connections_count < (unsigned)worker->config->server.max_connections &&
                                  worker->now_ms >= worker->accept_at_ms);
}

static void round_of_events(struct worker *worker)
{
    struct epoll_event events[BATCH];
    int64_t quiet = worker->busy > 0 || worker->draining || !worker->listening ? TICK_MS : IDLE_TICK_MS;
    int count = epoll_wait(worker->epoll, events, BATCH, worker->again ? 0 : (int)quiet);
    worker->clock = (struct connection_clock){.wall_ms = sys_now_ms(), .monotonic_us = sys_monotonic_us()};
    worker->now_ms = worker->clock.monotonic_us / 1000;
    /* Not cleared while waiting: a wait is short, and a process that does not come back from it is stuck too. */
    atomic_store_explicit(&worker->options->row->event.since_ms, worker->now_ms, memory_order_relaxed);
    for (int i = 0; i < count; i++) {
        uintptr_t data = (uintptr_t)events[i].data.ptr;
        if (data & 1) {
            struct loop_watch *watch = (struct loop_watch *)(data - 1);
            unsigned ready = (events[i].events & ~(uint32_t)EPOLLOUT ? LOOP_READ : 0u) | (events[i].events & EPOLLOUT ? LOOP_WRITE : 0u);
            if (watch->events != 0)
                watch->fn(watch->context, ready);
        } else {
            on_connection(worker, (struct connection *)data, events[i].events);
        }
    }
    end_round(worker);
}

static enum err open_worker(struct worker *worker, const struct worker_options *options)
{
    const struct config *config = options->config;
    *worker = (struct worker){.options = options, .config = config, .rooms.mount = str_from(config->server.mount), .now_ms = sys_monotonic_ms()};
    worker->loop = (struct loop){
        .self = worker, .number = options->number, .watch = watch_fd, .tick = add_tick, .submit = submit};
    worker->pool_ops = (struct pool_ops){
        .context = worker, .thread_open = open_pool_thread, .thread_close = options->ops->thread_close};
    atomic_store(&options->row->event.since_ms, worker->now_ms);
    worker->epoll = epoll_create1(EPOLL_CLOEXEC);
    enum err err = gateway_start();
    if (err == ERR_OK && worker->epoll < 0)
        err = err_from_errno(errno);
    if (err == ERR_OK)
        err = listener_peers_new(config, options->listener, &worker->peers);
    if (err == ERR_OK)
        err = pool_new((unsigned)config->server.pool, (unsigned)config->server.queue, &worker->pool_ops, options->row,
                       &worker->pool);
    if (err != ERR_OK)
        return err;
    worker->thread = options->ops->thread_open(options->app, &worker->loop, &options->row->event);
    worker->pool_watch = (struct loop_watch){.fn = on_pool, .context = worker, .fd = pool_fd(worker->pool)};
    watch_fd(worker, &worker->pool_watch, LOOP_READ);
    worker->listener_watch = (struct loop_watch){.fn = on_listener, .context = worker, .fd = options->listener};
    worker->arrival_watch = (struct loop_watch){.fn = worker_move_arrive, .context = worker, .fd = options->handover->out};
    worker_listen(worker, true);
    return ERR_OK;
}

static void close_worker(struct worker *worker)
{
    /* Jobs that outlive the drain are the supervisor's to kill. */
    if (worker->pool && worker->busy == 0 && pool_background(worker->pool) == 0) {
        pool_free(&worker->pool);
        if (worker->thread)
            worker->options->ops->thread_close(worker->thread);
    }
    while (worker->busy == 0 && worker->connections)
        worker_drop(worker, worker->connections);
    while (worker->again)
        look_at_again(worker);
    connection_rooms_fini(&worker->rooms);
    listener_peers_free(&worker->peers);
    if (worker->epoll >= 0)
        close(worker->epoll);
}

static bool has_drained(const struct worker *worker)
{
    bool idle = worker->connections_count == 0 && pool_background(worker->pool) == 0;
    return worker->draining && (idle || worker->now_ms >= worker->drain_until_ms);
}

int worker_run(const struct worker_options *options)
{
    struct worker *worker = sys_calloc(1, sizeof *worker);
    enum err err = open_worker(worker, options);
    if (err != ERR_OK)
        log_event(LOG_LEVEL_ERROR, "worker_start_failed", LOG_TEXT("why", err_text(err)));
    while (err == ERR_OK && !has_drained(worker))
        round_of_events(worker);
    bool abandoned = worker->busy > 0;
    close_worker(worker);
    free(worker);
    return err != ERR_OK || abandoned;
}
