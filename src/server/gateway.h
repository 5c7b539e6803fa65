/*
 * gateway: FastCGI on one side, struct http on the other. The only file that sees FCGX_Request.
 *
 * A request has been scanned, and all of it is in memory, when it gets here. Parameters that lie in one piece, as those of every web server
 * do, are taken as they lie, and so is a short body; what else comes in pieces, a large body above all, libfcgi puts together. Responses are framed here and written by the
 * caller: libfcgi takes a short write for a whole one. It never sees a connection, only a file in memory, so it can neither wait nor close.
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

/* Begins a request whose scan is HEAD: fills the request half of HTTP (which the caller has cleared but for arena, times and headers)
 * from BYTES, unless the head is split; then only gateway_read does. A body that has come and is short is among it. ERR_SYNTAX: *WHY (static)
 * tells what is wrong with the request; it can be answered. ERR_LIMIT: out of memory for it. */
enum err gateway_begin(struct gateway *gateway, struct str bytes, const struct fcgi_head *head, struct http *http, const char **why) ERR_CHECKED;
/* Whether gateway_begin has left something to gateway_read. */
bool gateway_has_rest(const struct gateway *gateway);
/* Reads what gateway_begin could not, by libfcgi: parameters that are split, and the body, into http->body. BYTES are
 * all of the request. Does not block, but takes as long as copying them does. ERR_SYNTAX as there, also when the body
 * is not as long as announced; ERR_LIMIT for one over LIMIT bytes; ERR_IO: no file in memory to be had. */
enum err gateway_read(struct gateway *gateway, struct str bytes, size_t limit, struct http *http,
                      const char **why) ERR_CHECKED;
/* The status of the answer to a request that could not be begun or read because of ERR, and in *WHY its text; that of
 * ERR_SYNTAX is there already. ERR_TIMEOUT: its body did not come. */
int gateway_refusal(enum err err, const char **why);
/* The whole response in FastCGI records, END_REQUEST included. OUT is cleared first, and lives no longer than HTTP. */
void gateway_frame_response(struct gateway *gateway, const struct http *http, struct gateway_response *out);
/* Whether the peer wants the connection kept. */
bool gateway_keeps(const struct gateway *gateway);
/* Ends the request: every view of its parameters dies. */
void gateway_finish(struct gateway *gateway);

#endif
