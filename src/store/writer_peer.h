/*
 * writer_peer: one client as the writer sees it: what it has sent and has not been carried out, what it has not taken.
 *
 * Nothing here waits. A peer in the middle of something (half a frame sent, an answer not taken) has
 * WRITER_PEER_PATIENCE_MS to get on with it.
 */
#ifndef LARDER_WRITER_PEER_H
#define LARDER_WRITER_PEER_H

#include "store/writer_frame.h"

enum { WRITER_PEER_PATIENCE_MS = 5000 };

struct writer_peer {
    int fd;
    unsigned events; /* that epoll watches for it; the writer's to keep */
    bool ended;      /* it sends nothing more */
    bool lost;       /* broken, or not what it should be: to be dropped */
    struct buf in, out;
    size_t taken, sent;  /* of these */
    int64_t deadline_ms; /* of what it is in the middle of; monotonic; 0: of nothing */
};

/* Takes FD over. */
struct writer_peer *writer_peer_new(int fd);
void writer_peer_free(struct writer_peer **peer);

/* Receives what is there, but no further than one whole frame. */
void writer_peer_receive(struct writer_peer *peer, int64_t now_ms);
/* The next request that is wholly here; its views hold until the next writer_peer_receive. False without one, and while
 * an answer has not been taken or sent: who does not listen is not heard. */
bool writer_peer_next(struct writer_peer *peer, struct writer_frame_request *request);
/* Adds the answer; it is sent by writer_peer_flush, with others. */
void writer_peer_answer(struct writer_peer *peer, const struct writer_frame_answer *answer, int64_t now_ms);
/* Sends what can be sent. */
void writer_peer_flush(struct writer_peer *peer, int64_t now_ms);
bool writer_peer_has_unsent(const struct writer_peer *peer);

#endif
