/*
 * A connection is in one hand at a time: `state` says whether the loop may touch it (idle, partial, sending) or whether somebody is
 * answering (busy). Input is received until a whole request is there; from the usual peer that is one look, and then nothing of it is
 * kept but what the gateway copies. A request refused before its body has come lingers: closing a socket with unread input would reset the
 * peer before it has read the answer.
 *
 * Memory: a request is answered in a room, which its connection has from connection_begin to connection_finish. An idle connection costs
 * nothing but its descriptor and this struct, and requests that follow each other use the same bytes again.
 */
#include "server/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/sys.h"

#define ARENA_FIRST (64u * 1024)
#define ARENA_LIMIT (64u * 1024 * 1024)
#define OUT_KEPT (256u * 1024)
#define ROOMS_SPARE 16
/* How often a large body is received from before others have their turn. */
#define RECEIVES_MAX 16
/* What the records of a body may take beside its bytes: more than any web server's do. */
#define FRAMING_MAX (64u * 1024)

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
    buf_free(&connection->input);
    connection_close(connection);
    free(connection);
    *connection_ptr = NULL;
}

/* An answer that does not fit means a peer that does not read. */
static bool answer_management(struct connection *connection, struct str record, unsigned max_connections)
{
    struct buf out = {0};
    fcgi_head_answer(record, max_connections, &out);
    bool done = send(connection->fd, out.p, out.len, MSG_NOSIGNAL) == (ssize_t)out.len;
    buf_free(&out);
    return done;
}

/* Receives once, behind what is there of the request. False at the end, and when there is nothing: *LOOK says which. */
static bool receive(struct connection *connection, char *scratch, struct str *bytes, enum connection_look *look)
{
    ssize_t got;
    do
        got = recv(connection->fd, scratch, CONNECTION_SCRATCH, 0);
    while (got < 0 && errno == EINTR);
    /* Where it fills the room there may be more, whose edge has gone by. */
    connection->has_more = got == CONNECTION_SCRATCH;
    if (got <= 0) {
        *look = got < 0 && errno == EAGAIN ? CONNECTION_NOTHING : CONNECTION_CLOSED;
        return false;
    }
    *bytes = (struct str){scratch, (size_t)got};
    if (connection->input.len > 0) {
        buf_add_str(&connection->input, *bytes);
        *bytes = buf_str(&connection->input);
    }
    return true;
}

/* BYTES, the end of `input` or received into an empty one, are all of it that is still wanted. */
static void keep(struct connection *connection, struct str bytes)
{
    struct buf *input = &connection->input;
    if (input->len == 0) {
        buf_add_str(input, bytes);
        return;
    }
    memmove(input->p, bytes.p, bytes.len);
    input->len = bytes.len;
}

/* Whether HEAD's request, not whole yet, is one to be answered as it is, or to be refused with HEAD->why. */
static bool is_too_large(struct str bytes, struct fcgi_head *head, uint64_t max_body)
{
    /* A length that is split has not been read, and that of a body which came in chunks is not known; the announced one may be untrue. */
    bool is_known = head->is_announced && !head->is_split;
    uint64_t body_max = is_known ? head->body_len : max_body;
    head->why = NULL;
    if (head->body_len > max_body || (!is_known && head->stdin_len > max_body))
        return true;
    head->why = bytes.len > head->len + body_max + body_max / 8 + FRAMING_MAX ? "a body much longer than announced" : NULL;
    return head->why != NULL;
}

enum connection_look connection_look(struct connection *connection, char *scratch, unsigned max_connections, uint64_t max_body,
                                     struct str *bytes, struct fcgi_head *head)
{
    enum connection_look look = CONNECTION_NOTHING;
    for (int i = 0; i < RECEIVES_MAX && receive(connection, scratch, bytes, &look); i++) {
        enum fcgi_head_verdict verdict = fcgi_head_scan(*bytes, head);
        while (verdict == FCGI_HEAD_MANAGEMENT) {
            if (!answer_management(connection, (struct str){bytes->p, head->len}, max_connections))
                return CONNECTION_CLOSED;
            *bytes = (struct str){bytes->p + head->len, bytes->len - head->len};
            verdict = fcgi_head_scan(*bytes, head);
        }
        if (verdict == FCGI_HEAD_INVALID)
            return CONNECTION_INVALID;
        if (verdict == FCGI_HEAD_READY && head->body_complete)
            return CONNECTION_REQUEST;
        if (verdict == FCGI_HEAD_READY && is_too_large(*bytes, head, max_body))
            return head->why ? CONNECTION_INVALID : CONNECTION_REQUEST;
        keep(connection, *bytes);
        bool awaits_body = verdict == FCGI_HEAD_READY && (head->body_len > 0 || head->stdin_len > 0);
        connection->state = bytes->len == 0 ? CONNECTION_IDLE : awaits_body ? CONNECTION_BODY : CONNECTION_PARTIAL;
        if (!connection->has_more)
            break;
    }
    return look;
}

void connection_recall(const struct connection *connection, struct str *bytes, struct fcgi_head *head)
{
    *bytes = buf_str(&connection->input);
    (void)fcgi_head_scan(*bytes, head);
}

void connection_hold(struct connection *connection, struct str bytes)
{
    keep(connection, bytes);
    connection->state = CONNECTION_HELD;
    connection->deadline_ms = 0;
}

bool connection_has_request(const struct connection *connection, struct str *bytes, struct fcgi_head *head)
{
    *bytes = buf_str(&connection->input);
    return bytes->len > 0 && fcgi_head_scan(*bytes, head) == FCGI_HEAD_READY && head->body_complete;
}

enum err connection_begin(struct connection *connection, struct str bytes, const struct fcgi_head *head,
                          const struct connection_clock *clock, struct connection_rooms *rooms, const char **why)
{
    struct http *http = &connection->http;
    struct connection_room *room = take_room(rooms);
    connection->room = room;
    buf_clear(&room->headers);
    *http = (struct http){.in.mount = rooms->mount,
                          .arena = room->arena,
                          .headers = room->headers,
                          .now_ms = clock->wall_ms,
                          .started_us = clock->monotonic_us,
                          .carrier = connection};
    connection->state = CONNECTION_BUSY;
    connection->is_cut = !head->body_complete;
    enum err err = gateway_begin(room->gateway, bytes, head, http, why);
    connection->close_after = connection->is_cut || !gateway_keeps(room->gateway);
    if (err != ERR_OK || connection->is_cut || !gateway_has_rest(room->gateway))
        buf_free(&connection->input);
    else
        keep(connection, bytes);
    return err;
}

enum err connection_read(struct connection *connection, uint64_t max_body, const char **why)
{
    if (connection->input.len == 0)
        return ERR_OK;
    enum err err = gateway_read(connection->room->gateway, buf_str(&connection->input), max_body, &connection->http, why);
    buf_free(&connection->input);
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
        got = recv(connection->fd, scratch, CONNECTION_SCRATCH, 0);
    while (got > 0 || (got < 0 && errno == EINTR));
    return got < 0 && errno == EAGAIN;
}
