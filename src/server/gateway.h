/*
 * gateway: FastCGI on one side, struct http on the other. The only file that sees FCGX_Request.
 *
 * libfcgi reads requests that have a body; one without, and that is nearly all of them, has been scanned from its first byte to its last when
 * it gets here, and is taken as it lies. Responses are framed here and written by the caller, because libfcgi takes a short write for a
 * whole one and may wait two seconds in select when it closes; it is never let near closing a descriptor.
 */
#ifndef LARDER_GATEWAY_H
#define LARDER_GATEWAY_H

#include "http/http.h"
#include "server/fcgi_head.h"

/* The FastCGI state of one request after the other, on whatever connection. */
struct gateway;

/* A response ready to be sent: `framed` up to `body_at`, then `body`, then the rest of `framed`. */
struct gateway_response {
    struct buf framed;
    struct str body; /* borrowed from the request; empty when it was short enough to be copied */
    size_t body_at;
};

/* Once per process, before any other call. ERR_IO. */
enum err gateway_start(void) ERR_CHECKED;

struct gateway *gateway_new(void);
void gateway_free(struct gateway **gateway);

/* Reads from FD the request that begins with BYTES, of which HEAD is the scan and which are still waiting in the socket. Fills the
 * request half of HTTP (which the caller has cleared but for arena, times and headers). Does not block. ERR_IO: the request could not be
 * read, and FD may have been closed: *FD is -1 then. ERR_SYNTAX: *WHY (static) tells what is wrong with the request; it can be answered.
 * ERR_LIMIT: out of memory for it. */
enum err gateway_accept(struct gateway *gateway, int *fd, struct str bytes, const struct fcgi_head *head, struct http *http, const char **why) ERR_CHECKED;
/* Reads STDIN to its end into http->body. Blocks as the socket does, unless the head said body_complete. ERR_LIMIT over LIMIT bytes;
 * ERR_SYNTAX when it is not as long as announced; ERR_TIMEOUT; ERR_IO. */
enum err gateway_read_body(struct gateway *gateway, struct http *http, size_t limit) ERR_CHECKED;
/* The whole response in FastCGI records, END_REQUEST included. OUT is cleared first, and lives no longer than HTTP. */
void gateway_frame_response(struct gateway *gateway, const struct http *http, struct gateway_response *out);
/* Whether the peer wants the connection kept. */
bool gateway_keeps(const struct gateway *gateway);
/* Ends the request: every view of its parameters dies. */
void gateway_finish(struct gateway *gateway);

#endif
