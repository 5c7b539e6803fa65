/*
 * listener: the listening socket, our own or inherited, and who may connect to it.
 */
#ifndef LARDER_LISTENER_H
#define LARDER_LISTENER_H

#include "base/report.h"
#include "config/config.h"

/* Makes the socket that CONFIG names: a path (mode and group as configured; without a group, and made by root, it is the web server's) or host:port. A socket file nobody listens on is replaced; one that is
 * in use is ERR_EXISTS. WHY for a person. The descriptor is non-blocking and close-on-exec. */
enum err listener_open(const struct config *config, int *out, struct buf *why) ERR_CHECKED;
/* Whether FD is a listening stream socket, handed over by whoever started us. */
bool listener_is(int fd);
/* The same, and makes it non-blocking and close-on-exec if so. */
bool listener_inherit(int fd);
/* Whether the setting WHERE names a socket file, and not host:port. */
bool listener_is_path(const char *where);
/* Removes the socket file that listener_open made for the setting WHERE. */
void listener_unlink(const char *where);

/* Adds to REPORT each user and group that CONFIG names and this system does not have. */
void listener_check(const struct config *config, struct report *report);

/* The uids that may connect: those configured, else root, our own and the usual ones of web servers. */
struct listener_peers;
enum err listener_peers_new(const struct config *config, int listener, struct listener_peers **out) ERR_CHECKED;
void listener_peers_free(struct listener_peers **peers);
/* Whether the peer of FD is one of them (SO_PEERCRED). A TCP peer is: there the configuration has opened the door. */
bool listener_allows(const struct listener_peers *peers, int fd);

#endif
