/*
 * fcgi_client: one request to a running larder over its own socket, as a web server would send it.
 *
 * For the command line: what `larder purge` and `larder stats` do is what the admin routes do, in the processes that hold the caches.
 */
#ifndef LARDER_FCGI_CLIENT_H
#define LARDER_FCGI_CLIENT_H

#include "base/str.h"

struct fcgi_client_request {
    const char *socket; /* path, or host:port */
    const char *method;
    const char *uri;
    const char *token;        /* NULL or empty: no Authorization */
    const char *accept;       /* NULL: anything */
    const char *content_type; /* NULL without a body */
    struct str body;
    int64_t timeout_ms;
};

/* Sends REQUEST and waits. STATUS and BODY (appended) of the answer. ERR_UNAVAILABLE: nobody listens; ERR_DENIED:
 * somebody may, and the socket is not for this user; ERR_TIMEOUT; ERR_IO. */
enum err fcgi_client_ask(const struct fcgi_client_request *request, int *status, struct buf *body) ERR_CHECKED;

#endif
