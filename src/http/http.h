/*
 * http: one request and its response as plain data, with no socket behind it.
 *
 * The gateway fills the request, the application the response. Views of the request borrow from the gateway and live
 * until the response has been sent; whatever the application makes lives in the request's arena, likewise. `now_ms` is
 * sampled once per request, and is the only clock that cache decisions see.
 */
#ifndef LARDER_HTTP_H
#define LARDER_HTTP_H

#include "base/arena.h"

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_PATCH,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_PURGE,
    HTTP_METHOD_COUNT /* also: a method that larder does not know */
};

/* What a step of the application leaves the request in. */
enum http_step {
    HTTP_DONE,     /* the response is complete */
    HTTP_WAITING,  /* for something the event thread will be told of; http->advance is called then */
    HTTP_HAND_OVER /* the next step may block: run it in the pool */
};

/* Request headers and variables that larder understands; the gateway collects these and ignores the rest.
 * X(field, CGI variable) */
#define HTTP_VARIABLES(X)                                                                                              \
    X(request_method, "REQUEST_METHOD")                                                                                \
    X(request_uri, "REQUEST_URI")                                                                                      \
    X(script_name, "SCRIPT_NAME")                                                                                      \
    X(path_info, "PATH_INFO")                                                                                          \
    X(query_string, "QUERY_STRING")                                                                                    \
    X(content_type, "CONTENT_TYPE")                                                                                    \
    X(content_length, "CONTENT_LENGTH")                                                                                \
    X(remote_addr, "REMOTE_ADDR")                                                                                      \
    X(authorization, "HTTP_AUTHORIZATION")                                                                             \
    X(if_match, "HTTP_IF_MATCH")                                                                                       \
    X(if_none_match, "HTTP_IF_NONE_MATCH")                                                                             \
    X(idempotency_key, "HTTP_IDEMPOTENCY_KEY")                                                                         \
    X(accept, "HTTP_ACCEPT")                                                                                           \
    X(accept_encoding, "HTTP_ACCEPT_ENCODING")                                                                         \
    X(request_id, "HTTP_X_REQUEST_ID")                                                                                 \
    X(traceparent, "HTTP_TRACEPARENT")                                                                                 \
    X(mount, "LARDER_MOUNT")                                                                                           \
    X(microcache, "LARDER_MICROCACHE")

struct http_variables {
#define HTTP_FIELD(field, variable) struct str field;
    HTTP_VARIABLES(HTTP_FIELD)
#undef HTTP_FIELD
};

struct http {
    /* The request. */
    struct http_variables in; /* as the web server sent them */
    enum http_method method;
    struct str path;  /* of the URL below the mount, still percent-encoded, without query; begins with `/` */
    struct str query; /* still encoded, without `?` */
    struct str body;  /* empty until the gateway has read it; see body_len */
    size_t body_len;  /* announced by CONTENT_LENGTH */
    struct arena *arena;
    int64_t now_ms;     /* since the epoch */
    int64_t started_us; /* monotonic */

    /* The response. */
    int status;
    struct str content_type; /* empty: no body and no Content-Type */
    struct buf headers;      /* whole lines `Name: value\r\n`; see http_header. Kept and cleared between requests */
    bool kept;               /* a microcache keeps it, and judges conditions itself: it has to be whole */
    struct str out;          /* the body; for HEAD the gateway leaves it out but announces its length */

    /* Whose step comes next. */
    void *app;                                               /* the application's state of this request, in the arena */
    void (*advance)(struct http *http, enum http_step step); /* set by the server; ends HTTP_WAITING */
    void *carrier;                                           /* the server's */
};

/* The method named by TEXT, HTTP_METHOD_COUNT for an unknown one. */
enum http_method http_method_from(struct str text);
const char *http_method_name(enum http_method method);
/* "Not Found" for 404; "" for a status that larder never sends. */
const char *http_reason(int status);

/* Sets variable NAME (a CGI name) when larder knows it; VALUE is borrowed. The last one of a name counts. */
void http_set_variable(struct http *http, struct str name, struct str value);
/* Method, path, query and body_len out of `in`, set on success only. The path is that of REQUEST_URI (also in
 * absolute form), else SCRIPT_NAME and PATH_INFO encoded again in the arena; less the mount where it begins with it
 * in whole segments. The query is that of REQUEST_URI, else QUERY_STRING. ERR_SYNTAX with *WHY (static text) for
 * what no honest client sends: control characters, a length that is no number, a path over 8 KiB, a target that is
 * no path. An unknown method is no error. LARDER_MICROCACHE, whose value is an Accept-Encoding, makes of a GET or HEAD
 * without Authorization a GET that accepts this. */
enum err http_finish_request(struct http *http, const char **why) ERR_CHECKED;

/* Adds a response header. A value with a control character is dropped: nothing can be injected. */
void http_header(struct http *http, const char *name, struct str value);
/* Adds what clients are told of keeping the answer: Cache-Control, or, where a microcache has that for itself,
 * X-Cache-Control, of which it makes the other. */
void http_cache_control(struct http *http, struct str value);
/* Everything before the body as CGI wants it, `Status:` first unless it is 200, ending in an empty line; without type
 * and length for 204 and 304. Appended to OUT. */
void http_format_head(const struct http *http, struct buf *out);

#endif
