/*
 * writer_socket: where the writer of a database is found: its lock and its socket, both files beside the database.
 */
#ifndef LARDER_WRITER_SOCKET_H
#define LARDER_WRITER_SOCKET_H

#include "base/str.h"

/* Takes DATABASE-larder.lock for the life of *FD, and leaves our pid in it. ERR_BUSY when another process holds it, whose pid goes to *HOLDER (0: not told). */
enum err writer_socket_lock(const char *database, int *fd, int64_t *holder) ERR_CHECKED;
/* Listens on DATABASE-larder.sock, mode 0600; whoever holds the lock may replace what is there. Non-blocking. */
enum err writer_socket_listen(const char *database, int *fd) ERR_CHECKED;
void writer_socket_unlink(const char *database);
/* Connects to it. Non-blocking. ERR_UNAVAILABLE when nobody listens. */
enum err writer_socket_connect(const char *database, int *fd) ERR_CHECKED;
/* Whether the peer of FD runs under our own uid, or as root. */
bool writer_socket_is_ours(int fd);

#endif
