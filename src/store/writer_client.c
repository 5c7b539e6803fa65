/*
 * One connection, made when it is first needed and again after it was lost.
 *
 * Invariant: the caller learns exactly what is known. Until the whole request has been handed to the kernel nothing can have been written, so a
 * lost connection is simply tried again; from then on a lost connection or a passed deadline is reported as not known, and never repeated here.
 */
#include "store/writer_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sys.h"
#include "store/writer_frame.h"
#include "store/writer_socket.h"

#define RETRY_MS 20

struct writer_client {
    const struct config *config;
    const struct writer_shared *shared;
    int fd; /* -1: not connected */
    struct buf out, in;
    bool batch_open;
};

struct writer_client *writer_client_new(const struct config *config, const struct writer_shared *shared)
{
    struct writer_client *client = sys_calloc(1, sizeof *client);
    client->config = config;
    client->shared = shared;
    client->fd = -1;
    return client;
}

static void disconnect(struct writer_client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    client->batch_open = false;
}

void writer_client_free(struct writer_client **client)
{
    if (!*client)
        return;
    disconnect(*client);
    buf_free(&(*client)->out);
    buf_free(&(*client)->in);
    free(*client);
    *client = NULL;
}

/* Whether the writer says that it will not be there soon. */
static bool is_hopeless(const struct writer_client *client, struct buf *why)
{
    enum writer_state state = client->shared ? (enum writer_state)atomic_load(&client->shared->state) : WRITER_STARTING;
    if (state != WRITER_LOCKED_OUT && state != WRITER_FAILED)
        return false;
    buf_add_str(why, str_from(client->shared->reason));
    return true;
}

/* Connects, and goes on trying until the deadline: a writer that died is back in a moment. */
static enum err connect_writer(struct writer_client *client, int64_t deadline_ms, struct buf *why)
{
    while (client->fd < 0) {
        if (is_hopeless(client, why))
            return ERR_UNAVAILABLE;
        enum err err = writer_socket_connect(client->config->store.database, &client->fd);
        if (err == ERR_OK)
            break;
        if (sys_monotonic_ms() >= deadline_ms) {
            buf_printf(why, "the writer of %s does not answer", client->config->store.database);
            return ERR_UNAVAILABLE;
        }
        poll(NULL, 0, RETRY_MS);
    }
    return ERR_OK;
}

/* Waits until the socket is ready for EVENTS. */
static bool wait_until(const struct writer_client *client, short events, int64_t deadline_ms)
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

/* Hands client->out to the kernel. */
static enum err send_out(struct writer_client *client, int64_t deadline_ms)
{
    for (size_t sent = 0; sent < client->out.len;) {
        ssize_t count = send(client->fd, client->out.p + sent, client->out.len - sent, MSG_NOSIGNAL);
        if (count > 0)
            sent += (size_t)count;
        else if (errno == EAGAIN && !wait_until(client, POLLOUT, deadline_ms))
            return ERR_TIMEOUT;
        else if (errno != EAGAIN && errno != EINTR)
            return ERR_IO;
    }
    return ERR_OK;
}

/* Receives one frame into client->in. */
static enum err receive_answer(struct writer_client *client, int64_t deadline_ms, struct writer_frame_answer *answer)
{
    size_t len;
    enum err err;
    buf_clear(&client->in);
    while ((err = writer_frame_length(buf_str(&client->in), &len)) == ERR_AGAIN) {
        buf_reserve(&client->in, 65536);
        ssize_t count = recv(client->fd, client->in.p + client->in.len, 65536, 0);
        if (count > 0)
            client->in.len += (size_t)count;
        else if (count == 0)
            return ERR_IO;
        else if (errno == EAGAIN && !wait_until(client, POLLIN, deadline_ms))
            return ERR_TIMEOUT;
        else if (errno != EAGAIN && errno != EINTR)
            return ERR_IO;
    }
    if (err == ERR_OK)
        err = writer_frame_read_answer((struct str){client->in.p, len}, answer);
    return err == ERR_OK ? ERR_OK : ERR_IO;
}

/* Whether a connection kept since the last write still leads to a writer. */
static bool is_alive(const struct writer_client *client)
{
    char byte;
    return recv(client->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* Connects where needed and sends client->out whole; tries a second connection when the first was lost on the way. */
static enum err send_request(struct writer_client *client, int64_t deadline_ms, struct buf *why)
{
    enum err err = ERR_IO;
    if (client->fd >= 0 && !is_alive(client))
        disconnect(client);
    for (int attempt = 0; attempt < 2 && err == ERR_IO; attempt++) {
        if ((err = connect_writer(client, deadline_ms, why)) != ERR_OK)
            return err;
        if ((err = send_out(client, deadline_ms)) != ERR_OK)
            disconnect(client);
    }
    if (err == ERR_OK)
        return ERR_OK;
    /* Half a frame is no write. */
    buf_printf(why, "the writer of %s does not take writes", client->config->store.database);
    return ERR_UNAVAILABLE;
}

/* The answer to what was sent. ERR_IO and ERR_TIMEOUT of this function's own mean: not known. */
static enum err await(struct writer_client *client, int64_t deadline_ms, struct writer_frame_answer *answer, struct buf *why)
{
    enum err err = receive_answer(client, deadline_ms, answer);
    if (err == ERR_OK)
        return ERR_OK;
    disconnect(client);
    buf_add_str(why, err == ERR_TIMEOUT ? STR("the writer did not answer in time") : STR("the writer went away before it answered"));
    return err;
}

enum err writer_client_write(struct writer_client *client, struct str sql, const struct params_values *values,
                             const struct store_caller *caller, enum catalog_shape shape, struct arena *arena,
                             struct store_answer *out, struct buf *why)
{
    const struct writer_frame_request request = {
        .kind = WRITER_FRAME_WRITE, .shape = shape, .caller = *caller, .sql = sql, .values = *values};
    int64_t deadline_ms = sys_monotonic_ms() + client->config->store.write_timeout_ms;
    struct writer_frame_answer answer;
    buf_clear(&client->out);
    writer_frame_add_request(&request, &client->out);
    enum err err = send_request(client, deadline_ms, why);
    if (err == ERR_OK)
        err = await(client, deadline_ms, &answer, why);
    if (err != ERR_OK)
        return err;
    if (answer.err != ERR_OK) {
        buf_add_str(why, answer.why);
        return answer.err;
    }
    *out = (struct store_answer){.found = answer.found, .changes = answer.changes, .json = arena_copy(arena, answer.json)};
    return ERR_OK;
}

enum err writer_client_batch_begin(struct writer_client *client, struct str sql, struct buf *why)
{
    const struct writer_frame_request request = {.kind = WRITER_FRAME_BATCH_BEGIN, .sql = sql, .caller = {.now_ms = sys_now_ms()}};
    buf_clear(&client->out);
    writer_frame_add_request(&request, &client->out);
    enum err err = send_request(client, sys_monotonic_ms() + client->config->store.write_timeout_ms, why);
    client->batch_open = err == ERR_OK;
    return err;
}

/* Sends a frame of the open batch. A batch that loses its connection is taken back by the writer. */
static enum err send_in_batch(struct writer_client *client, const struct writer_frame_request *request, struct buf *why)
{
    buf_clear(&client->out);
    writer_frame_add_request(request, &client->out);
    enum err err = client->batch_open ? send_out(client, sys_monotonic_ms() + client->config->store.write_timeout_ms) : ERR_IO;
    if (err == ERR_OK)
        return ERR_OK;
    disconnect(client);
    buf_add_str(why, STR("the writer went away in the middle of the batch"));
    return ERR_UNAVAILABLE;
}

enum err writer_client_batch_row(struct writer_client *client, const struct params_values *values, struct buf *why)
{
    const struct writer_frame_request request = {.kind = WRITER_FRAME_BATCH_ROW, .values = *values};
    return send_in_batch(client, &request, why);
}

enum err writer_client_batch_commit(struct writer_client *client, uint64_t *failed_row, struct buf *why)
{
    enum { COMMIT_TIMEOUT_MS = 600000 }; /* all the rows may still be ahead of it */
    const struct writer_frame_request request = {.kind = WRITER_FRAME_BATCH_COMMIT};
    struct writer_frame_answer answer;
    enum err err = send_in_batch(client, &request, why);
    if (err == ERR_OK)
        err = await(client, sys_monotonic_ms() + COMMIT_TIMEOUT_MS, &answer, why);
    client->batch_open = false;
    if (err != ERR_OK || answer.err == ERR_OK)
        return err;
    buf_add_str(why, answer.why);
    *failed_row = answer.failed_row;
    return answer.err;
}
