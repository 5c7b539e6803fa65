/*
 * A connection is in one hand at a time: `state` says whether the loop may touch it (idle, partial, sending) or whether somebody is
 * answering (busy). A request refused before its body was read lingers: closing a socket with unread input would reset the peer before it
 * has read the answer. Input is only ever peeked at until a whole head is there; libfcgi then reads it without waiting.
 *
 * Memory: arena and gateway come with the first request and are kept, so that an idle connection that never sent anything costs
 * nothing but its descriptor. Output buffers over OUT_KEPT are given back.
 */
#include "server/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sys.h"

#define ARENA_FIRST (16u * 1024)
#define ARENA_LIMIT (64u * 1024 * 1024)
#define OUT_KEPT (256u * 1024)
/* A body that will fit into the peeked bytes with its head is waited for; a longer one is read by the pool. */
#define BODY_PEEKED (48u * 1024)

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

void connection_free(struct connection **connection_ptr)
{
    struct connection *connection = *connection_ptr;
    if (!connection)
        return;
    gateway_free(&connection->gateway);
    arena_free(&connection->http.arena);
    buf_free(&connection->http.headers);
    buf_free(&connection->out);
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

enum connection_look connection_look(struct connection *connection, char *scratch, unsigned max_connections, struct fcgi_head *head)
{
    for (;;) {
        ssize_t got = recv(connection->fd, scratch, CONNECTION_PEEK_MAX, MSG_PEEK);
        if (got == 0)
            return CONNECTION_CLOSED;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno == EAGAIN ? CONNECTION_NOTHING : CONNECTION_CLOSED;
        struct str bytes = {scratch, (size_t)got};
        switch (fcgi_head_scan(bytes, head)) {
        case FCGI_HEAD_INVALID:
            return CONNECTION_INVALID;
        case FCGI_HEAD_MANAGEMENT:
            if (!answer_management(connection, (struct str){scratch, head->len}, max_connections))
                return CONNECTION_CLOSED;
            continue;
        case FCGI_HEAD_READY:
            if (head->body_complete || head->body_len > BODY_PEEKED || bytes.len >= FCGI_HEAD_MAX)
                return CONNECTION_REQUEST;
            break;
        case FCGI_HEAD_INCOMPLETE:
            break;
        }
        connection->state = CONNECTION_PARTIAL;
        return CONNECTION_NOTHING;
    }
}

enum err connection_accept(struct connection *connection, const struct fcgi_head *head, const char **why)
{
    struct http *http = &connection->http;
    if (!connection->gateway) {
        connection->gateway = gateway_new(connection->fd);
        http->arena = arena_new(ARENA_FIRST, ARENA_LIMIT);
    }
    struct arena *arena = http->arena;
    struct buf headers = http->headers;
    arena_reset(arena);
    buf_clear(&headers);
    *http = (struct http){
        .arena = arena, .headers = headers, .now_ms = sys_now_ms(), .started_us = sys_monotonic_us(), .carrier = connection};
    connection->state = CONNECTION_BUSY;
    connection->body_pending = !head->body_complete;
    enum err err = gateway_accept(connection->gateway, head, http, why);
    if (err == ERR_IO)
        connection->fd = -1; /* libfcgi has closed it */
    connection->close_after = !gateway_keeps(connection->gateway);
    return err;
}

enum err connection_read_body(struct connection *connection, size_t limit)
{
    if (!connection->body_pending)
        return gateway_read_body(connection->gateway, &connection->http, limit);
    int flags = fcntl(connection->fd, F_GETFL);
    if (flags < 0 || fcntl(connection->fd, F_SETFL, flags & ~O_NONBLOCK) != 0)
        return ERR_IO;
    enum err err = gateway_read_body(connection->gateway, &connection->http, limit);
    (void)fcntl(connection->fd, F_SETFL, flags);
    connection->body_pending = false;
    return err;
}

enum connection_sent connection_respond(struct connection *connection)
{
    buf_clear(&connection->out);
    connection->out_sent = 0;
    gateway_frame_response(connection->gateway, &connection->http, &connection->out);
    return connection_send(connection);
}

enum connection_sent connection_send(struct connection *connection)
{
    while (connection->out_sent < connection->out.len) {
        ssize_t sent = send(connection->fd, connection->out.p + connection->out_sent,
                            connection->out.len - connection->out_sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN) {
            connection->state = CONNECTION_SENDING;
            return CONNECTION_SOME;
        }
        if (sent < 0)
            return CONNECTION_FAILED;
        connection->out_sent += (size_t)sent;
    }
    return CONNECTION_SENT;
}

void connection_finish(struct connection *connection)
{
    gateway_finish(connection->gateway);
    arena_reset(connection->http.arena);
    if (connection->out.cap > OUT_KEPT)
        buf_free(&connection->out);
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
