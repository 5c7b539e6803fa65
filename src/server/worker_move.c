/*
 * How connections leave a worker that ends, and come to another.
 *
 * A connection that the server closes while a request is on its way to it costs that request: a web server repeats some, and those that
 * may change something never. So a worker that ends, and is followed by others, closes nothing: it finishes what it has begun and gives
 * each connection away as it is, with what has been received of the next request. It begins no request from then on. Where nobody
 * follows, idle connections are retired one after the other, each as soon as the peer has seen the end of the one before: a web server
 * repeats a request only a few times, so closing all of them at once would lose requests.
 *
 * While a worker is told to hold, requests that may change something are kept as they came, whole, until it is told to go on, or gives
 * them away.
 *
 * Invariant: a connection given away is in the queue before it is closed here, and it is out of the epoll set before that: the set would
 * otherwise keep reporting what lives on in another process.
 */
#include "server/worker_move.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "base/metrics.h"

#define RETIRE_MS 500    /* what a peer may take to see that an idle connection has ended */
#define RETIRE_SHARE 128 /* of so many connections one more is retired at the same time */

void worker_move_arrive(void *self, unsigned events)
{
    struct worker *worker = self;
    struct buf input = {0};
    struct fcgi_head head;
    struct str bytes;
    int fd;
    (void)events;
    enum err err = handover_take(worker->options->handover, &fd, &input);
    if (err == ERR_IO)
        log_event(LOG_LEVEL_ERROR, "connection_lost", LOG_TEXT("why", "it could not be taken over"));
    struct connection *connection = err == ERR_OK ? worker_adopt(worker, fd) : NULL;
    if (!connection) {
        buf_free(&input);
        return;
    }
    connection->input = input;
    if (connection_has_request(connection, &bytes, &head)) {
        worker_begin(worker, connection, bytes, &head, ERR_LIMIT);
    } else if (input.len > 0) {
        connection->state = CONNECTION_PARTIAL;
        connection->deadline_ms = worker->now_ms + worker->config->server.head_timeout_ms;
    }
}

/* Whether the request of which BYTES are the head, scanned as HEAD, only reads. What is in several pieces may be anything. */
static bool only_reads(struct str bytes, const struct fcgi_head *head)
{
    static const struct str name = {"REQUEST_METHOD", 14};
    bool reads = false;
    for (unsigned i = 0; i < head->params && !head->is_split; i++) {
        const struct fcgi_head_param *param = &head->param[i];
        const struct str value = {bytes.p + param->at + param->name_len, param->value_len};
        if (str_equal((struct str){bytes.p + param->at, param->name_len}, name))
            reads = str_equal(value, STR("GET")) || str_equal(value, STR("HEAD"));
    }
    return reads;
}

bool worker_move_holds(struct worker *worker, struct connection *connection, struct str bytes, const struct fcgi_head *head)
{
    if (!worker->holding || !head->body_complete || only_reads(bytes, head))
        return false;
    connection_hold(connection, bytes);
    return true;
}

/* Held requests are begun. */
static void let_go(struct worker *worker)
{
    struct connection *next;
    for (struct connection *connection = worker->connections; connection; connection = next) {
        struct fcgi_head head;
        struct str bytes;
        next = connection->next;
        if (connection->state == CONNECTION_HELD && connection_has_request(connection, &bytes, &head))
            worker_begin(worker, connection, bytes, &head, ERR_LIMIT);
    }
}

static void set_holding(struct worker *worker, bool wanted)
{
    worker->holding = wanted;
    atomic_store(&worker->options->row->state, wanted ? SCOREBOARD_HOLDING : SCOREBOARD_RUNNING);
    if (!wanted)
        let_go(worker);
}

void worker_move_begin(struct worker *worker)
{
    worker->draining = true;
    worker->handing = *worker->options->stop != WORKER_DRAIN && worker->options->handover->in >= 0;
    worker->drain_until_ms = worker->now_ms + worker->config->server.drain_timeout_ms;
    worker_listen(worker, false);
    /* Who ends by itself is to have a successor at once. */
    if (*worker->options->stop == WORKER_GO_ON) {
        atomic_store(&worker->options->row->state, SCOREBOARD_DRAINING);
        (void)kill(getppid(), SIGCHLD);
    }
    /* Without the supervisor this may be what keeps a successor from its place. */
    close(worker->options->listener);
}

/* False: the way is full; the rest goes later. */
static bool give_away(struct worker *worker, struct connection *connection)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = connection};
    (void)epoll_ctl(worker->epoll, EPOLL_CTL_DEL, connection->fd, NULL);
    enum err err = handover_send(worker->options->handover, connection->fd, buf_str(&connection->input));
    if (err == ERR_OK)
        worker_drop(worker, connection);
    else
        (void)epoll_ctl(worker->epoll, EPOLL_CTL_ADD, connection->fd, &event);
    return err != ERR_AGAIN;
}

static void give_all_away(struct worker *worker)
{
    struct connection *next;
    for (struct connection *connection = worker->connections; connection; connection = next) {
        next = connection->next;
        switch (connection->state) {
        case CONNECTION_IDLE:
        case CONNECTION_PARTIAL:
        case CONNECTION_BODY:
        case CONNECTION_HELD:
            if (!give_away(worker, connection))
                return;
            break;
        case CONNECTION_BUSY:
        case CONNECTION_SENDING:
        case CONNECTION_LINGERING:
        case CONNECTION_ENDED:
            break;
        }
    }
}

/* Nobody follows after all: what has been left alone meanwhile is looked at. */
static void stop_handing(struct worker *worker)
{
    worker->handing = false;
    set_holding(worker, false);
    for (struct connection *connection = worker->connections; connection; connection = connection->next)
        worker_look_again(worker, connection);
}

/* Ends one idle connection, the one that has been so for longest: a web server would rather use the others again. */
static bool retire_one(struct worker *worker)
{
    struct connection *longest = NULL;
    unsigned retiring = 0;
    for (struct connection *connection = worker->connections; connection; connection = connection->next) {
        retiring += connection->state == CONNECTION_LINGERING;
        if (connection->state == CONNECTION_IDLE && (!longest || connection->http.started_us < longest->http.started_us))
            longest = connection;
    }
    if (!longest || (!worker->unheeded && retiring > worker->connections_count / RETIRE_SHARE))
        return false;
    worker_look(worker, longest);
    if (longest->state == CONNECTION_IDLE)
        worker_linger(worker, longest, RETIRE_MS);
    return true;
}

void worker_move_step(struct worker *worker)
{
    const bool hold = *worker->options->hold != 0;
    if (hold != worker->holding && !worker->draining)
        set_holding(worker, hold);
    if (!worker->draining)
        return;
    atomic_store(&worker->options->row->state, SCOREBOARD_DRAINING);
    if (worker->handing && *worker->options->stop == WORKER_DRAIN)
        stop_handing(worker);
    if (worker->handing)
        give_all_away(worker);
    else
        while (retire_one(worker))
            ;
}
