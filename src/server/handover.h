/*
 * handover: connections on their way from a worker that ends to those that go on.
 *
 * A kept connection that its server closes may have a request under way to it, which is then lost, or at best repeated;
 * so a worker that ends gives its connections to the others instead. The way is a pair of sockets made before the fork.
 */
#ifndef LARDER_HANDOVER_H
#define LARDER_HANDOVER_H

#include "base/str.h"

struct handover {
    int in, out; /* a connection is put in at `in` and comes out at `out`; -1: there is no way */
};

/* ERR_UNAVAILABLE when no sockets are to be had; both ends are then -1. */
enum err handover_open(struct handover *handover) ERR_CHECKED;
void handover_close(struct handover *handover);
/* Sends FD, which stays the caller's to close, and INPUT, what has been received of a request. ERR_AGAIN: the way is full.
 * ERR_IO. */
enum err handover_send(const struct handover *handover, int fd, struct str input) ERR_CHECKED;
/* Takes one connection; INPUT is appended. ERR_AGAIN: there is none. ERR_IO: one that could not be taken whole is lost. */
enum err handover_take(const struct handover *handover, int *fd, struct buf *input) ERR_CHECKED;

#endif
