/*
 * A connection is in one hand at a time: `state` says whether the loop may touch it (idle, partial, sending) or whether somebody is
 * answering (busy). A request refused before its body was read lingers: closing a socket with unread input would reset the peer before it
 * has read the answer. Input is only ever peeked at until a whole head is there; libfcgi then reads it without waiting.
 *
 * Memory: a request is answered in a room, which its connection has from connection_accept to connection_finish. An idle connection costs
 * nothing but its descriptor and this struct, and requests that follow each other use the same bytes again.
 */
#include "server/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/sys.h"

#define ARENA_FIRST (64u * 1024)
#define ARENA_LIMIT (64u * 1024 * 1024)
#define OUT_KEPT (256u * 1024)
#define ROOMS_SPARE 16
/* A body that will fit into the peeked bytes with its head is waited for; a longer one is read by the pool. */
#define BODY_PEEKED (48u * 1024)

struct connection_room {
    struct connection_room *next; /* the next spare one */
    struct arena *arena;
    struct buf headers;
    struct gateway *gateway;
    struct gateway_response response;
};

static struct connection_room *take_room(struct connection_rooms *rooms)
{
    struct connection_room *room = rooms->spare;
    if (room) {
        rooms->spare = room->next;
        rooms->count--;
        return room;
    }
    room = sys_calloc(1, sizeof *room);
    room->arena = arena_new(ARENA_FIRST, ARENA_LIMIT);
    room->gateway = gateway_new();
    return room;
}

static void free_room(struct connection_room *room)
{
    gateway_free(&room->gateway);
    arena_free(&room->arena);
    buf_free(&room->headers);
    buf_free(&room->response.framed);
    free(room);
}

/* Ends the request, too. */
static void release_room(struct connection *connection, struct connection_rooms *rooms)
{
    struct connection_room *room = connection->room;
    if (!room)
        return;
    connection->room = NULL;
    room->headers = connection->http.headers;
    gateway_finish(room->gateway);
    arena_reset(room->arena);
    if (room->response.framed.cap > OUT_KEPT)
        buf_free(&room->response.framed);
    if (rooms->count == ROOMS_SPARE) {
        free_room(room);
        return;
    }
    room->next = rooms->spare;
    rooms->spare = room;
    rooms->count++;
}

void connection_rooms_fini(struct connection_rooms *rooms)
{
    while (rooms->spare)
        free_room(take_room(rooms));
}

struct connection *connection_new(int fd)
{
    struct connection *connection = sys_calloc(1, sizeof *connection);
    connection->fd = fd;
    return connection;
}

void connection_close(struct connection *connection)
{
    if (connection->fd >= 0)
        close(connection->fd);
    connection->fd = -1;
    connection->state = CONNECTION_ENDED;
}

void connection_free(struct connection **connection_ptr, struct connection_rooms *rooms)
{
    struct connection *connection = *connection_ptr;
    if (!connection)
        return;
    release_room(connection, rooms);
    connection_close(connection);
    free(connection);
    *connection_ptr = NULL;
}

/* Takes the management record of LEN bytes out of the socket and answers it. */
static bool answer_management(struct connection *connection, struct str record, unsigned max_connections)
{
    struct buf out = {0};
    fcgi_head_answer(record, max_connections, &out);
    /* What was peeked at is there, so this reads all of it. An answer that does not fit means a peer that does not read. */
    bool done = recv(connection->fd, (char *)(uintptr_t)record.p, record.len, MSG_WAITALL) == (ssize_t)record.len &&
                send(connection->fd, out.p, out.len, MSG_NOSIGNAL) == (ssize_t)out.len;
    buf_free(&out);
    return done;
}

enum connection_look connection_look(struct connection *connection, char *scratch, unsigned max_connections, struct str *bytes,
                                     struct fcgi_head *head)
{
    for (;;) {
        ssize_t got = recv(connection->fd, scratch, CONNECTION_PEEK_MAX, MSG_PEEK);
        if (got == 0)
            return CONNECTION_CLOSED;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno == EAGAIN ? CONNECTION_NOTHING : CONNECTION_CLOSED;
        *bytes = (struct str){scratch, (size_t)got};
        switch (fcgi_head_scan(*bytes, head)) {
        case FCGI_HEAD_INVALID:
            return CONNECTION_INVALID;
        case FCGI_HEAD_MANAGEMENT:
            if (!answer_management(connection, (struct str){scratch, head->len}, max_connections))
                return CONNECTION_CLOSED;
            continue;
        case FCGI_HEAD_READY:
            if (head->body_complete || head->body_len > BODY_PEEKED || bytes->len >= FCGI_HEAD_MAX)
                return CONNECTION_REQUEST;
            break;
        case FCGI_HEAD_INCOMPLETE:
            break;
        }
        connection->state = CONNECTION_PARTIAL;
        return CONNECTION_NOTHING;
    }
}

enum err connection_accept(struct connection *connection, struct str bytes, const struct fcgi_head *head,
                           const struct connection_clock *clock, struct connection_rooms *rooms, const char **why)
{
    struct http *http = &connection->http;
    struct connection_room *room = take_room(rooms);
    connection->room = room;
    buf_clear(&room->headers);
    *http = (struct http){.arena = room->arena,
                          .headers = room->headers,
                          .now_ms = clock->wall_ms,
                          .started_us = clock->monotonic_us,
                          .carrier = connection};
    connection->state = CONNECTION_BUSY;
    connection->body_pending = !head->body_complete;
    enum err err = gateway_accept(room->gateway, &connection->fd, bytes, head, http, why);
    connection->close_after = !gateway_keeps(room->gateway);
    return err;
}

enum err connection_read_body(struct connection *connection, size_t limit)
{
    if (!connection->body_pending)
        return gateway_read_body(connection->room->gateway, &connection->http, limit);
    int flags = fcntl(connection->fd, F_GETFL);
    if (flags < 0 || fcntl(connection->fd, F_SETFL, flags & ~O_NONBLOCK) != 0)
        return ERR_IO;
    enum err err = gateway_read_body(connection->room->gateway, &connection->http, limit);
    (void)fcntl(connection->fd, F_SETFL, flags);
    connection->body_pending = false;
    return err;
}

enum connection_sent connection_respond(struct connection *connection)
{
    struct connection_room *room = connection->room;
    gateway_frame_response(room->gateway, &connection->http, &room->response);
    connection->sent = 0;
    return connection_send(connection);
}

/* What of RESPONSE is left behind the first SENT bytes, in at most three pieces. Returns how many. */
static size_t gather(const struct gateway_response *response, size_t sent, struct iovec out[3])
{
    const struct buf *framed = &response->framed;
    const struct str pieces[3] = {{framed->p, response->body_at}, response->body, {framed->p + response->body_at, framed->len - response->body_at}};
    size_t count = 0;
    for (size_t i = 0; i < 3; i++) {
        size_t skip = sent < pieces[i].len ? sent : pieces[i].len;
        sent -= skip;
        if (skip < pieces[i].len)
            out[count++] = (struct iovec){(char *)(uintptr_t)pieces[i].p + skip, pieces[i].len - skip};
    }
    return count;
}

static ssize_t send_some(int fd, const struct gateway_response *response, size_t sent)
{
    const struct buf *framed = &response->framed;
    if (response->body.len == 0)
        return send(fd, framed->p + sent, framed->len - sent, MSG_NOSIGNAL);
    struct iovec pieces[3];
    const struct msghdr message = {.msg_iov = pieces, .msg_iovlen = gather(response, sent, pieces)};
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

enum connection_sent connection_send(struct connection *connection)
{
    const struct gateway_response *response = &connection->room->response;
    const size_t len = response->framed.len + response->body.len;
    while (connection->sent < len) {
        ssize_t sent = send_some(connection->fd, response, connection->sent);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN) {
            connection->state = CONNECTION_SENDING;
            return CONNECTION_SOME;
        }
        if (sent < 0)
            return CONNECTION_FAILED;
        connection->sent += (size_t)sent;
    }
    return CONNECTION_SENT;
}

void connection_finish(struct connection *connection, struct connection_rooms *rooms)
{
    release_room(connection, rooms);
    connection->state = CONNECTION_IDLE;
    connection->deadline_ms = 0;
}

bool connection_discard(struct connection *connection, char *scratch)
{
    ssize_t got;
    do
        got = recv(connection->fd, scratch, CONNECTION_PEEK_MAX, 0);
    while (got > 0 || (got < 0 && errno == EINTR));
    return got < 0 && errno == EAGAIN;
}
