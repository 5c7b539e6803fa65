/*
 * writer_socket: where the writer of a database is found: its lock and its socket, two files beside the database.
 */
#ifndef LARDER_WRITER_SOCKET_H
#define LARDER_WRITER_SOCKET_H

#include "base/str.h"

/* Takes DATABASE-larder.lock for as long as *FD is open, and leaves our pid in it. ERR_BUSY when another process holds
 * it, whose pid goes to *HOLDER (0: not told). Otherwise WHY says what keeps the file from being made. */
enum err writer_socket_lock(const char *database, int *fd, int64_t *holder, struct buf *why) ERR_CHECKED;

/* Takes DATABASE-larder.turn for as long as *FD is open, and waits WAIT_MS at most for whoever has it (ERR_BUSY): so
 * that of processes that each bring a writer about for a moment, one does at a time, and none meets the end of
 * another's. Otherwise as writer_socket_lock. */
enum err writer_socket_take_turn(const char *database, int64_t wait_ms, int *fd, struct buf *why) ERR_CHECKED;

/* Listens on DATABASE-larder.sock, mode 0600, in the place of whatever stood there: only for who holds the lock.
 * Non-blocking. */
enum err writer_socket_listen(const char *database, int *fd, struct buf *why) ERR_CHECKED;
/* Takes the path away, so that nobody else connects; those who did stay connected. */
void writer_socket_unlink(const char *database);

/* A non-blocking connection to it; never waits. ERR_AGAIN when nobody listens there at present. */
enum err writer_socket_connect(const char *database, int *fd, struct buf *why) ERR_CHECKED;
/* Whether the peer of FD runs as root or as the user of this process. */
bool writer_socket_trusts(int fd);

#endif
