/*
 * l2_boards_host: what the processes of a host know together about leaderboards in L2: what those must have been told
 * to be believed. For the modules of l2 alone.
 *
 * It lies in shared memory, made before the fork. All functions are safe from any process and thread and take no lock.
 */
#ifndef LARDER_L2_BOARDS_HOST_H
#define LARDER_L2_BOARDS_HOST_H

#include <stdint.h>

#include "base/err.h"

struct l2_boards_host;

/* What makes an answer believable, as it stood when the question was asked. */
struct l2_boards_terms {
    uint64_t epoch;    /* of distrust, when there was none; it must be the same by the time of the answer */
    uint64_t required; /* the level must be at least this */
    uint64_t pushed;   /* L2 must know that this host has pushed this number, or have a level that is at least this */
};

/* ERR_FULL when there is no memory to share. */
enum err l2_boards_host_new(struct l2_boards_host **out) ERR_CHECKED;
void l2_boards_host_free(struct l2_boards_host **host);

/* The terms of a question that is asked under EPOCH, by somebody who requires REQUIRED. */
struct l2_boards_terms l2_boards_host_ask(struct l2_boards_host *host, uint64_t epoch, uint64_t required);
/* The highest number that was pushed. */
uint64_t l2_boards_host_pushed(const struct l2_boards_host *host);
/* NUMBER was pushed, as the highest of some; TOLD: L2 has taken all of them. */
void l2_boards_host_push(struct l2_boards_host *host, uint64_t number, bool told);
/* A board was met that is not whole. */
void l2_boards_host_lose(struct l2_boards_host *host);
/* Whether one was since the last call. */
bool l2_boards_host_lost(struct l2_boards_host *host);

#endif
