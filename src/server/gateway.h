/*
 * gateway: libfcgi on one side, struct http on the other. The only file that sees FCGX_Request.
 *
 * libfcgi reads requests: parameters and STDIN. Responses are framed here and written by the caller, because libfcgi takes a short
 * write for a whole one and may wait two seconds in select when it closes; it is never let near closing a descriptor.
 */
#ifndef LARDER_GATEWAY_H
#define LARDER_GATEWAY_H

#include "http/http.h"
#include "server/fcgi_head.h"

/* The FastCGI state of one kept connection. */
struct gateway;

/* Once per process, before any other call. ERR_IO. */
enum err gateway_start(void) ERR_CHECKED;

/* FD stays the caller's. */
struct gateway *gateway_new(int fd);
void gateway_free(struct gateway **gateway);

/* Reads the request whose whole HEAD is waiting in the socket, and fills the request half of HTTP (which the caller has cleared
 * but for arena, times and headers). Does not block then. ERR_IO: the request could not be read, and libfcgi has closed FD. ERR_SYNTAX: *WHY (static) tells what is wrong with the
 * request; it can be answered. */
enum err gateway_accept(struct gateway *gateway, const struct fcgi_head *head, struct http *http, const char **why) ERR_CHECKED;
/* Reads STDIN to its end into http->body. Blocks as the socket does, unless the head said body_complete. ERR_LIMIT over LIMIT bytes; ERR_SYNTAX when it is not
 * as long as announced; ERR_TIMEOUT; ERR_IO. */
enum err gateway_read_body(struct gateway *gateway, struct http *http, size_t limit) ERR_CHECKED;
/* Appends the whole response in FastCGI records, END_REQUEST included. */
void gateway_frame_response(struct gateway *gateway, const struct http *http, struct buf *out);
/* Whether the peer wants the connection kept. */
bool gateway_keeps(const struct gateway *gateway);
/* Ends the request: every view of its parameters dies. */
void gateway_finish(struct gateway *gateway);

#endif
