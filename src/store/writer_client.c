/*
 * writer_client: asks the writer and waits for its answer.
 *
 * Invariant: the caller learns exactly what is known. Until a request has been handed to the kernel whole, nothing can
 * have been written, so a connection lost on the way is simply tried again, once; from then on a lost connection or a
 * passed deadline is reported as not known, and the request is never repeated here. A connection on which anything went
 * wrong is closed: the answer to one request can never be taken for the next one's.
 *
 * Where the writer is about to come back (it died, or is being reloaded) the client waits for it, up to the deadline;
 * where it has said that it will not, the client says so at once.
 */
#include "store/writer_client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sys.h"
#include "store/outbox.h"
#include "store/writer_frame.h"
#include "store/writer_socket.h"

enum {
    RETRY_MS = 10,
    READ_STEP = 16 << 10,
    BUFFER_KEPT = 1 << 20,
    BATCH_STEP = 64 << 10,  /* rows are sent together up to this size */
    BATCH_HOLD_MS = 500,    /* and are held back no longer than this */
    BATCH_WAIT_MS = 600000, /* the commit of a large batch syncs much */
    PURGED_WAIT_MS = 500,   /* to be taken by the socket; the writer looks at it when it comes to it */
};

struct writer_client {
    const struct config *config;
    struct writer_shared *shared;
    writer_client_bring_fn *bring; /* NULL: the writer comes by itself */
    void *bring_context;
    int fd; /* -1: not connected */
    struct buf out, in, purges;
    bool in_batch;
    int64_t batch_sent_ms; /* when rows were sent last */
};

struct writer_client *writer_client_new(const struct config *config, struct writer_shared *shared)
{
    struct writer_client *client = sys_calloc(1, sizeof *client);

    client->config = config;
    client->shared = shared;
    client->fd = -1;
    return client;
}

void writer_client_bring(struct writer_client *client, writer_client_bring_fn *fn, void *context)
{
    client->bring = fn;
    client->bring_context = context;
}

static void disconnect(struct writer_client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    client->in_batch = false;
}

void writer_client_free(struct writer_client **client)
{
    if (!*client)
        return;
    disconnect(*client);
    buf_free(&(*client)->out);
    buf_free(&(*client)->in);
    buf_free(&(*client)->purges);
    free(*client);
    *client = NULL;
}

/* Empties BUF, and gives its memory back after something large. */
static void clear(struct buf *buf)
{
    if (buf->cap > BUFFER_KEPT)
        buf_free(buf);
    buf_clear(buf);
}

bool writer_client_is_hopeless(const struct writer_shared *shared, struct buf *why)
{
    if (!shared)
        return false;
    enum writer_state state = (enum writer_state)atomic_load(&shared->state);
    if (state != WRITER_LOCKED_OUT && state != WRITER_FAILED)
        return false;
    buf_add(why, shared->reason, strnlen(shared->reason, sizeof shared->reason));
    return true;
}

struct str writer_client_unanswered(enum err err)
{
    switch (err) {
    case ERR_BUSY:
        return STR("the writer is busy; nothing was written");
    case ERR_UNAVAILABLE:
        return STR("the writer closed the connection; nothing was written");
    case ERR_VERSION:
        return STR("the running writer is of another version: restart larder; nothing was written");
    case ERR_TIMEOUT:
        return STR("the writer did not answer in time: it is not known whether this was written");
    case ERR_LIMIT:
        return STR("the SQL and its values together are larger than 64 MiB");
    default:
        return STR("the writer went away before it answered: it is not known whether this was written");
    }
}

void writer_client_absent(const char *database, struct buf *why)
{
    buf_printf(why, "there is no writer for %s: is larder running? Nothing was written", database);
}

static enum err connect_writer(struct writer_client *client, int64_t deadline_ms, struct buf *why)
{
    const char *database = client->config->store.database;

    if (client->fd < 0 && client->bring) {
        enum err err = client->bring(client->bring_context, why);
        if (err != ERR_OK)
            return err;
    }
    while (client->fd < 0) {
        if (writer_client_is_hopeless(client->shared, why))
            return ERR_UNAVAILABLE;
        enum err err = writer_socket_connect(database, &client->fd, why);
        if (err == ERR_OK)
            break;
        if (err != ERR_AGAIN)
            return ERR_UNAVAILABLE;
        if (sys_monotonic_ms() >= deadline_ms) {
            writer_client_absent(database, why);
            return ERR_UNAVAILABLE;
        }
        poll(NULL, 0, RETRY_MS);
    }
    return ERR_OK;
}

/* Whether the socket got ready for EVENTS before the deadline. */
static bool await_ready(const struct writer_client *client, short events, int64_t deadline_ms)
{
    for (;;) {
        int64_t left_ms = deadline_ms - sys_monotonic_ms();
        struct pollfd ready = {.fd = client->fd, .events = events};
        int count = poll(&ready, 1, left_ms > 0 ? (int)left_ms : 0);
        if (count > 0)
            return true;
        if (count == 0 || errno != EINTR)
            return false;
    }
}

/* Hands client->out to the kernel. ERR_TIMEOUT, ERR_IO (connection lost). */
static enum err send_out(struct writer_client *client, int64_t deadline_ms)
{
    for (size_t sent = 0; sent < client->out.len;) {
        ssize_t count = send(client->fd, client->out.p + sent, client->out.len - sent, MSG_NOSIGNAL);
        if (count >= 0)
            sent += (size_t)count;
        else if (errno == EAGAIN && !await_ready(client, POLLOUT, deadline_ms))
            return ERR_TIMEOUT;
        else if (errno != EAGAIN && errno != EINTR)
            return ERR_IO;
    }
    clear(&client->out);
    return ERR_OK;
}

/* Receives one frame. ERR_TIMEOUT, ERR_IO (connection lost), ERR_VERSION. */
static enum err receive_answer(struct writer_client *client, int64_t deadline_ms, struct writer_frame_answer *answer)
{
    size_t len;
    enum err err;

    clear(&client->in);
    while ((err = writer_frame_length(buf_str(&client->in), &len)) == ERR_AGAIN) {
        buf_reserve(&client->in, READ_STEP);
        ssize_t count = recv(client->fd, client->in.p + client->in.len, READ_STEP, 0);
        if (count > 0)
            client->in.len += (size_t)count;
        else if (count == 0)
            return ERR_IO;
        else if (errno == EAGAIN && !await_ready(client, POLLIN, deadline_ms))
            return ERR_TIMEOUT;
        else if (errno != EAGAIN && errno != EINTR)
            return ERR_IO;
    }
    if (err == ERR_OK)
        err = writer_frame_read_answer((struct str){client->in.p, len}, answer);
    return err == ERR_OK || err == ERR_VERSION ? err : ERR_IO;
}

/* Connects where needed and sends REQUEST whole; on a second connection when the first was lost on the way. */
static enum err send_request(struct writer_client *client, const struct writer_frame_request *request,
                             int64_t deadline_ms, struct buf *why)
{
    enum err err = ERR_IO;

    if (client->in_batch)
        disconnect(client);
    clear(&client->out);
    if (writer_frame_add_request(request, &client->out) != ERR_OK) {
        buf_add_str(why, writer_client_unanswered(ERR_LIMIT));
        return ERR_LIMIT;
    }
    for (int attempt = 0; attempt < 2 && err == ERR_IO; attempt++) {
        err = connect_writer(client, deadline_ms, why);
        if (err != ERR_OK)
            return err;
        err = send_out(client, deadline_ms);
        if (err != ERR_OK)
            disconnect(client);
    }
    if (err == ERR_OK)
        return ERR_OK;
    /* Half a frame is no request. */
    err = err == ERR_TIMEOUT ? ERR_BUSY : ERR_UNAVAILABLE;
    buf_add_str(why, writer_client_unanswered(err));
    return err;
}

/* The answer to what was sent: its error, or one of our own. */
static enum err take_answer(struct writer_client *client, int64_t deadline_ms, struct writer_frame_answer *answer,
                            struct buf *why)
{
    enum err err = receive_answer(client, deadline_ms, answer);

    if (err == ERR_OK) {
        buf_add_str(why, answer->why);
        return answer->err;
    }
    *answer = (struct writer_frame_answer){.err = err, .failed_row = WRITER_FRAME_NO_ROW};
    disconnect(client);
    buf_add_str(why, writer_client_unanswered(err));
    return err;
}

/* PURGES as they travel and are kept; valid until the next call. */
static struct str encode_purges(struct writer_client *client, const struct str *purges, size_t count)
{
    clear(&client->purges);
    outbox_encode(purges, count, &client->purges);
    return buf_str(&client->purges);
}

/* Sends REQUEST and takes the answer. */
static enum err ask(struct writer_client *client, const struct writer_frame_request *request, int64_t deadline_ms,
                    struct writer_frame_answer *answer, struct buf *why)
{
    enum err err = send_request(client, request, deadline_ms, why);

    return err == ERR_OK ? take_answer(client, deadline_ms, answer, why) : err;
}

enum err writer_client_take(const struct writer_frame_answer *answer, struct arena *arena,
                            struct writer_client_told *out, struct buf *why)
{
    struct str json = answer->json.len ? arena_copy(arena, answer->json) : STR("");

    if (arena_overflowed(arena)) {
        /* To the caller this is as good as not known: it cannot tell its client what has come of it. */
        buf_add_str(why, STR("it was written, but the answer is larger than a request may use"));
        return ERR_IO;
    }
    *out = (struct writer_client_told){.row = {.found = answer->found, .changes = answer->changes, .json = json},
                                       .outbox_id = answer->outbox_id,
                                       .repeated = answer->repeated};
    return ERR_OK;
}

/* Sends REQUEST, whose deadline it has, and takes the answer over into ARENA. */
static enum err ask_and_copy(struct writer_client *client, const struct writer_frame_request *request,
                             struct arena *arena, struct writer_client_told *out, struct buf *why)
{
    struct writer_frame_answer answer = {.err = ERR_OK};
    enum err err = ask(client, request, request->deadline_ms, &answer, why);

    out->repeated = answer.repeated;
    return err == ERR_OK ? writer_client_take(&answer, arena, out, why) : err;
}

void writer_client_make(const struct writer_client_ask *ask, struct str purges, struct writer_frame_request *out)
{
    out->kind = WRITER_FRAME_WRITE;
    out->run_ms = ask->run_ms;
    out->tells_scores = ask->tells_scores;
    out->behind = ask->behind;
    out->shape = ask->shape;
    out->caller = ask->caller ? *ask->caller : (struct store_caller){.now_ms = 0};
    out->sql = ask->sql;
    out->purges = purges;
    out->repeat_key = ask->repeat_key;
    out->repeat_print = ask->repeat_print;
    out->condition = ask->condition;
    out->condition_sql = ask->condition_sql;
    out->condition_hashes = ask->condition_hashes;
    out->condition_shape = ask->condition_shape;
    out->label = ask->label;
    if (ask->values)
        out->values = *ask->values;
    if (ask->condition_values)
        out->condition_values = *ask->condition_values;
}

enum err writer_client_write(struct writer_client *client, const struct writer_client_ask *wanted, struct arena *arena,
                             struct writer_client_told *out, struct buf *why)
{
    struct writer_frame_request request = {.deadline_ms = sys_monotonic_ms() + client->config->store.write_timeout_ms};

    writer_client_make(wanted, encode_purges(client, wanted->purges, wanted->purges_count), &request);
    /* Who has to bring a writer about ends with this request: that L2 could not be told he could not keep in mind. */
    request.tells_scores &= !client->bring;
    return ask_and_copy(client, &request, arena, out, why);
}

enum err writer_client_repeat(struct writer_client *client, uint64_t number, struct arena *arena,
                              struct writer_client_told *out, struct buf *why)
{
    struct writer_frame_request request = {.kind = WRITER_FRAME_REPEAT, .ids_count = 1, .ids = {(int64_t)number}};

    request.deadline_ms = sys_monotonic_ms() + client->config->store.write_timeout_ms;
    return ask_and_copy(client, &request, arena, out, why);
}

enum err writer_client_drop(struct writer_client *client, uint64_t number, struct buf *why)
{
    const struct writer_frame_request request = {.kind = WRITER_FRAME_DROP, .ids_count = 1, .ids = {(int64_t)number}};
    struct writer_frame_answer answer;

    return ask(client, &request, sys_monotonic_ms() + client->config->store.write_timeout_ms, &answer, why);
}

enum err writer_client_keep_purges(struct writer_client *client, const struct str *purges, size_t purges_count,
                                   int64_t *outbox_id, struct buf *why)
{
    struct writer_frame_request request = {.kind = WRITER_FRAME_PURGES};
    struct writer_frame_answer answer;

    request.deadline_ms = sys_monotonic_ms() + client->config->store.write_timeout_ms;
    request.purges = encode_purges(client, purges, purges_count);
    enum err err = ask(client, &request, request.deadline_ms, &answer, why);
    if (err == ERR_OK && outbox_id)
        *outbox_id = answer.outbox_id;
    return err;
}

static uint64_t told(const struct writer_client *client)
{
    return client->shared ? client->shared->told : 0;
}

/* Tells IDS without waiting for an answer. */
static enum err tell(struct writer_client *client, enum writer_frame_kind kind, const int64_t *ids, size_t count)
{
    struct writer_frame_request request = {.kind = kind, .told = told(client)};
    int64_t deadline_ms = sys_monotonic_ms() + PURGED_WAIT_MS;
    struct buf ignored = {0};
    enum err err = ERR_OK;

    for (size_t done = 0; err == ERR_OK && done < count; done += request.ids_count) {
        request.ids_count = count - done < WRITER_FRAME_IDS_MAX ? count - done : WRITER_FRAME_IDS_MAX;
        memcpy(request.ids, ids + done, request.ids_count * sizeof *ids);
        err = send_request(client, &request, deadline_ms, &ignored);
    }
    buf_free(&ignored);
    return err == ERR_OK ? ERR_OK : ERR_UNAVAILABLE;
}

enum err writer_client_purged(struct writer_client *client, int64_t *ids, size_t count)
{
    struct writer_shares_paid paid = {.unknown = count};

    if (client->shared)
        paid = writer_shares_pay(&client->shared->shares, ids, count);
    enum err err = tell(client, WRITER_FRAME_DRAINED, ids, paid.whole);
    return err == ERR_OK ? tell(client, WRITER_FRAME_PURGED, ids + paid.whole, paid.unknown) : err;
}

enum err writer_client_drained(struct writer_client *client, const int64_t *ids, size_t count)
{
    return tell(client, WRITER_FRAME_DRAINED, ids, count);
}

enum err writer_client_scores_followed(struct writer_client *client, uint64_t number)
{
    const int64_t id = (int64_t)number;

    return tell(client, WRITER_FRAME_FOLLOWED, &id, 1);
}

enum err writer_client_changed(struct writer_client *client, const struct params_values *tables)
{
    struct writer_frame_request request = {.kind = WRITER_FRAME_CHANGED, .told = told(client)};
    struct buf ignored = {0};

    if (tables)
        request.values = *tables;
    enum err err = send_request(client, &request, sys_monotonic_ms() + PURGED_WAIT_MS, &ignored);
    buf_free(&ignored);
    return err == ERR_OK ? ERR_OK : ERR_UNAVAILABLE;
}

enum err writer_client_batch_begin(struct writer_client *client, struct str sql, bool will_purge, struct buf *why)
{
    const struct writer_frame_request request = {
        .kind = WRITER_FRAME_BATCH_BEGIN,
        .sql = sql,
        .will_purge = will_purge,
        .caller.now_ms = sys_now_ms(),
    };
    int64_t deadline_ms = sys_monotonic_ms() + client->config->store.write_timeout_ms;
    struct writer_frame_answer answer;
    enum err err = ask(client, &request, deadline_ms, &answer, why);

    client->in_batch = err == ERR_OK;
    client->batch_sent_ms = sys_monotonic_ms();
    return err;
}

/* Sends the rows that have gathered. A writer that gave the batch up has said why before it closed the connection. */
static enum err send_rows(struct writer_client *client, struct buf *why)
{
    struct writer_frame_answer answer;
    enum err err = client->in_batch ? send_out(client, sys_monotonic_ms() + BATCH_WAIT_MS) : ERR_USAGE;

    client->batch_sent_ms = sys_monotonic_ms();
    if (err == ERR_OK)
        return ERR_OK;
    if (err == ERR_IO && receive_answer(client, sys_monotonic_ms(), &answer) == ERR_OK) {
        buf_add_str(why, answer.why);
        err = answer.err == ERR_OK ? ERR_UNAVAILABLE : answer.err;
    } else {
        buf_add_str(why, err == ERR_USAGE ? STR("there is no open batch")
                                          : STR("the writer went away; nothing of the batch was written"));
        err = ERR_UNAVAILABLE;
    }
    disconnect(client);
    return err;
}

enum err writer_client_batch_row(struct writer_client *client, const struct params_values *values, struct buf *why)
{
    const struct writer_frame_request request = {.kind = WRITER_FRAME_BATCH_ROW, .values = *values};

    if (writer_frame_add_request(&request, &client->out) != ERR_OK) {
        buf_printf(why, "the row is larger than %d MiB", WRITER_FRAME_MAX >> 20);
        disconnect(client);
        return ERR_LIMIT;
    }
    if (client->out.len < BATCH_STEP && sys_monotonic_ms() - client->batch_sent_ms < BATCH_HOLD_MS)
        return ERR_OK;
    return send_rows(client, why);
}

enum err writer_client_batch_commit(struct writer_client *client, const struct str *purges, size_t purges_count,
                                    uint64_t *failed_row, int64_t *outbox_id, struct buf *why)
{
    const struct writer_frame_request request = {.kind = WRITER_FRAME_BATCH_COMMIT,
                                                 .purges = encode_purges(client, purges, purges_count)};
    struct writer_frame_answer answer;

    if (writer_frame_add_request(&request, &client->out) != ERR_OK) {
        buf_printf(why, "the purges are larger than %d MiB; nothing was written", WRITER_FRAME_MAX >> 20);
        disconnect(client);
        return ERR_LIMIT;
    }
    enum err err = send_rows(client, why);
    if (err != ERR_OK)
        return err;
    err = take_answer(client, sys_monotonic_ms() + BATCH_WAIT_MS, &answer, why);
    client->in_batch = false;
    /* The writer may be about to close the connection: the next request must not get into that. */
    if (err != ERR_OK)
        disconnect(client);
    if (err != ERR_OK && answer.failed_row != WRITER_FRAME_NO_ROW)
        *failed_row = answer.failed_row;
    if (err == ERR_OK && outbox_id)
        *outbox_id = answer.outbox_id;
    return err;
}
