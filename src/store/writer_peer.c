/*
 * writer_peer: the buffers of one connected client.
 *
 * Invariant: at most one frame and one read's worth more is kept of what a client sends, and nothing more is read of it
 * while it leaves an answer lying: so what a client can make the writer hold is bounded by the largest frame and the
 * largest answer. A client that sends what is no frame is lost: where its next frame would begin is not known. This
 * module knows nothing of databases.
 */
#include "store/writer_peer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sys.h"

enum { READ_STEP = 64 << 10, BUFFER_KEPT = 1 << 20 };

struct writer_peer *writer_peer_new(int fd)
{
    struct writer_peer *peer = sys_calloc(1, sizeof *peer);

    peer->fd = fd;
    return peer;
}

void writer_peer_free(struct writer_peer **peer)
{
    if (!*peer)
        return;
    close((*peer)->fd);
    buf_free(&(*peer)->in);
    buf_free(&(*peer)->out);
    free(*peer);
    *peer = NULL;
}

bool writer_peer_has_unsent(const struct writer_peer *peer)
{
    return peer->sent < peer->out.len;
}

/* Forgets the first *USED bytes of BUF, and its memory when a large frame went through it. */
static void discard(struct buf *buf, size_t *used)
{
    if (*used == 0)
        return;
    size_t rest = buf->len - *used;
    if (rest > 0)
        memmove(buf->p, buf->p + *used, rest);
    buf->len = rest;
    *used = 0;
    if (rest == 0 && buf->cap > BUFFER_KEPT)
        buf_free(buf);
}

static struct str waiting(const struct writer_peer *peer)
{
    return (struct str){peer->in.p ? peer->in.p + peer->taken : "", peer->in.len - peer->taken};
}

/* Whether a whole frame waits. What cannot become one ends the peer; a client of another version is told that it is one
 * by whatever frame it gets. */
static bool has_frame(struct writer_peer *peer, size_t *len)
{
    enum err err = writer_frame_length(waiting(peer), len);

    if (err == ERR_VERSION) {
        writer_peer_answer(peer, &(struct writer_frame_answer){.err = ERR_VERSION}, 0);
        writer_peer_flush(peer, 0);
    }
    if (err != ERR_OK && err != ERR_AGAIN)
        peer->lost = true;
    return err == ERR_OK;
}

void writer_peer_receive(struct writer_peer *peer, int64_t now_ms)
{
    size_t len;

    while (!peer->lost && !peer->ended && !has_frame(peer, &len)) {
        discard(&peer->in, &peer->taken);
        buf_reserve(&peer->in, READ_STEP);
        ssize_t got = recv(peer->fd, peer->in.p + peer->in.len, READ_STEP, 0);
        if (got > 0) {
            peer->in.len += (size_t)got;
            peer->deadline_ms = now_ms + WRITER_PEER_PATIENCE_MS;
        } else if (got == 0) {
            peer->ended = true;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            peer->lost = true;
        }
    }
    if (waiting(peer).len == 0 && !writer_peer_has_unsent(peer))
        peer->deadline_ms = 0;
}

bool writer_peer_next(struct writer_peer *peer, struct writer_frame_request *request)
{
    size_t len;

    if (peer->lost || writer_peer_has_unsent(peer) || !has_frame(peer, &len))
        return false;
    if (writer_frame_read_request((struct str){waiting(peer).p, len}, request) != ERR_OK) {
        peer->lost = true;
        return false;
    }
    peer->taken += len;
    if (peer->taken == peer->in.len)
        peer->deadline_ms = 0;
    return true;
}

void writer_peer_flush(struct writer_peer *peer, int64_t now_ms)
{
    while (!peer->lost && writer_peer_has_unsent(peer)) {
        ssize_t sent = send(peer->fd, peer->out.p + peer->sent, peer->out.len - peer->sent, MSG_NOSIGNAL);
        if (sent >= 0) {
            peer->sent += (size_t)sent;
            peer->deadline_ms = now_ms + WRITER_PEER_PATIENCE_MS;
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR) {
            peer->lost = true;
        }
    }
    discard(&peer->out, &peer->sent);
    if (waiting(peer).len == 0)
        peer->deadline_ms = 0;
}

void writer_peer_answer(struct writer_peer *peer, const struct writer_frame_answer *answer, int64_t now_ms)
{
    writer_frame_add_answer(answer, &peer->out);
    peer->deadline_ms = now_ms + WRITER_PEER_PATIENCE_MS;
}
