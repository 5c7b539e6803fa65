/*
 * One struct gateway wraps an FCGX_Request, and takes one request after the other.
 *
 * How libfcgi is tamed: it reads from a file in memory that holds one whole, scanned request. `ipcFd` is set before
 * each FCGX_Accept_r, together with `keepConnection` (else it would close what it finds there as it finishes the
 * request before) and a listening descriptor of -1. A request ends with FCGX_Free and `ipcFd` -1: so libfcgi writes
 * nothing and closes nothing.
 *
 * Why it does not read everything: it takes some 40 blocks of memory and as many instructions for a request without a
 * body as all the rest of a hit does, and bytes can be left to it only if they are still in the socket or are written
 * somewhere again. Both ways read alike (fuzz_fcgi_head compares them).
 *
 * Invariant: between gateway_begin and gateway_finish the request's variables are views into the request's arena or
 * libfcgi's memory; outside there are none.
 */
#include "server/gateway.h"

#include <fcgiapp.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/sys.h"

/* A body shorter than this is copied: that costs less than sending it in a piece of its own. */
#define BODY_APART 4096
/* A request's body up to this is copied on the event thread: less work than to hand it over. */
#define BODY_SHORT 16384

struct gateway {
    FCGX_Request request;
    bool in_libfcgi; /* the request under way was read by it */
    bool has_rest;
    uint16_t request_id;
    bool keep;
    size_t params_len; /* of the scan, as is the next */
    size_t stdin_len;
};

enum err gateway_start(void)
{
    /* FCGX_Init installs handlers of its own for SIGPIPE and SIGUSR1: what comes meanwhile waits for ours. */
    struct sigaction ours;
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    (void)sigaction(SIGUSR1, NULL, &ours);
    bool started = FCGX_Init() == 0;
    (void)sigaction(SIGUSR1, &ours, NULL);
    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started ? ERR_OK : ERR_IO;
}

struct gateway *gateway_new(void)
{
    struct gateway *gateway = sys_calloc(1, sizeof *gateway);
    FCGX_InitRequest(&gateway->request, -1, FCGI_FAIL_ACCEPT_ON_INTR);
    return gateway;
}

void gateway_free(struct gateway **gateway)
{
    if (!*gateway)
        return;
    gateway_finish(*gateway);
    free(*gateway);
    *gateway = NULL;
}

void gateway_finish(struct gateway *gateway)
{
    if (gateway->in_libfcgi)
        FCGX_Free(&gateway->request, 0);
    gateway->in_libfcgi = false;
    gateway->request.ipcFd = -1;
}

bool gateway_keeps(const struct gateway *gateway)
{
    return gateway->keep;
}

bool gateway_has_rest(const struct gateway *gateway)
{
    return gateway->has_rest;
}

/* Completes the request. A body that came in chunks is as long as the web server has found it to be: not all of them
 * announce that. */
static enum err finish_request(const struct gateway *gateway, struct http *http, const char **why)
{
    enum err err = http_finish_request(http, why);
    if (err == ERR_OK && http->in.content_length.len == 0)
        http->body_len = gateway->stdin_len;
    return err;
}

static const char wrong_length[] = "the request body is not as long as Content-Length says";

/* The body, where it is all there and short. */
static enum err take_body(struct gateway *gateway, struct str bytes, const struct fcgi_head *head, struct http *http,
                          const char **why)
{
    if (!head->body_complete || http->body_len > BODY_SHORT)
        return ERR_OK;
    char *body = arena_alloc(http->arena, http->body_len + 1);
    if (!body)
        return ERR_LIMIT;
    if (!fcgi_head_body(bytes, head, http->body_len, body)) {
        *why = wrong_length;
        return ERR_SYNTAX;
    }
    http->body = (struct str){body, http->body_len};
    gateway->has_rest = false;
    return ERR_OK;
}

enum err gateway_begin(struct gateway *gateway, struct str bytes, const struct fcgi_head *head, struct http *http,
                       const char **why)
{
    gateway->keep = head->keep;
    gateway->request_id = head->request_id;
    gateway->params_len = head->params_len;
    gateway->stdin_len = head->body_complete ? head->stdin_len : 0;
    gateway->has_rest = true;
    if (head->is_split)
        return ERR_OK;
    char *copy = arena_alloc(http->arena, head->len);
    if (!copy)
        return ERR_LIMIT;
    memcpy(copy, bytes.p, head->len);
    for (unsigned i = 0; i < head->params; i++) {
        const struct fcgi_head_param *param = &head->param[i];
        const char *name = copy + param->at;
        http_set_variable(http, (struct str){name, param->name_len},
                          (struct str){name + param->name_len, param->value_len});
    }
    enum err err = finish_request(gateway, http, why);
    return err == ERR_OK ? take_body(gateway, bytes, head, http, why) : err;
}

/* The parameters as libfcgi read them. Its strings end at a zero byte, and then are shorter than what came. */
static enum err take_variables(const struct gateway *gateway, struct http *http, const char **why)
{
    static const char added[] = "FCGI_ROLE=RESPONDER"; /* by libfcgi */
    size_t len = 0;
    for (char **variable = gateway->request.envp; *variable; variable++) {
        struct str value = str_from(*variable);
        len += value.len - strlen("=");
        struct str name = str_cut(&value, '=');
        if (value.p)
            http_set_variable(http, name, value);
    }
    if (len == gateway->params_len + strlen(added) - strlen("="))
        return finish_request(gateway, http, why);
    *why = "a zero byte stands in a variable that the web server passed";
    return ERR_SYNTAX;
}

/* One byte more than announced is asked for, so that one that is longer shows. */
static enum err read_body(FCGX_Stream *in, struct http *http, const char **why)
{
    char *body = arena_alloc(http->arena, http->body_len + 1);
    if (!body)
        return ERR_LIMIT;
    if (FCGX_GetStr(body, (int)http->body_len + 1, in) != (int)http->body_len || FCGX_GetError(in) != 0) {
        *why = wrong_length;
        return ERR_SYNTAX;
    }
    http->body = (struct str){body, http->body_len};
    return ERR_OK;
}

enum err gateway_read(struct gateway *gateway, struct str bytes, size_t limit, struct http *http, const char **why)
{
    FCGX_Request *request = &gateway->request;
    enum err err = ERR_IO;
    int fd = sys_open_memory(bytes);
    if (fd < 0)
        return ERR_IO;
    request->ipcFd = fd;
    request->keepConnection = 1;
    request->listen_sock = -1;
    if (FCGX_Accept_r(request) == 0) {
        gateway->in_libfcgi = true;
        err = http->path.len > 0 ? ERR_OK : take_variables(gateway, http, why);
        if (err == ERR_OK)
            err = http->body_len > limit ? ERR_LIMIT : read_body(request->in, http, why);
        close(fd);
    }
    request->ipcFd = -1;
    return err;
}

int gateway_refusal(enum err err, const char **why)
{
    switch (err) {
    case ERR_SYNTAX:
        return 400;
    case ERR_LIMIT:
        *why = "The request body is larger than max_body in [server] allows.";
        return 413;
    case ERR_TIMEOUT:
        *why = "The request body did not arrive in time.";
        return 408;
    default:
        *why = "There is no memory for the request body at the moment. Try again shortly.";
        return 503;
    }
}

static void write_header(const struct gateway *gateway, uint8_t type, size_t content_len, char *out)
{
    const unsigned char header[FCGI_HEAD_RECORD] = {FCGI_HEAD_VERSION,
                                                    type,
                                                    (unsigned char)(gateway->request_id >> 8),
                                                    (unsigned char)gateway->request_id,
                                                    (unsigned char)(content_len >> 8),
                                                    (unsigned char)content_len};
    memcpy(out, header, sizeof header);
}

static void add_header(const struct gateway *gateway, uint8_t type, size_t content_len, struct buf *out)
{
    char header[FCGI_HEAD_RECORD];
    write_header(gateway, type, content_len, header);
    buf_add(out, header, sizeof header);
}

/* Head and body in as many records as it takes. */
static void add_stream(const struct gateway *gateway, const struct http *http, struct str body, struct buf *out)
{
    struct buf head = {0};
    http_format_head(http, &head);
    struct str parts[2] = {buf_str(&head), body};
    size_t left = head.len + body.len;
    buf_reserve(out, left + (left / FCGI_HEAD_CONTENT_MAX + 4) * FCGI_HEAD_RECORD);
    for (unsigned part = 0; left > 0;) {
        size_t room = left < FCGI_HEAD_CONTENT_MAX ? left : FCGI_HEAD_CONTENT_MAX;
        left -= room;
        add_header(gateway, FCGI_HEAD_STDOUT, room, out);
        while (room > 0) {
            size_t take = parts[part].len < room ? parts[part].len : room;
            buf_add(out, parts[part].p, take);
            parts[part].p += take;
            parts[part].len -= take;
            room -= take;
            part += parts[part].len == 0;
        }
    }
    buf_free(&head);
}

void gateway_frame_response(struct gateway *gateway, const struct http *http, struct gateway_response *out)
{
    static const char end[FCGI_HEAD_RECORD] = {0}; /* status 0, FCGI_REQUEST_COMPLETE */
    struct buf *framed = &out->framed;
    bool has_body = http->method != HTTP_HEAD && http->status != 304 && http->status != 204;
    struct str body = {http->out.p, has_body ? http->out.len : 0};
    buf_clear(framed);
    out->body.len = 0;
    /* Nearly all fit into one record, whose header is written when its length is known. */
    buf_add(framed, end, FCGI_HEAD_RECORD);
    http_format_head(http, framed);
    size_t len = framed->len - FCGI_HEAD_RECORD + body.len;
    if (len > FCGI_HEAD_CONTENT_MAX) {
        buf_clear(framed);
        add_stream(gateway, http, body, framed);
    } else {
        write_header(gateway, FCGI_HEAD_STDOUT, len, framed->p);
        if (body.len < BODY_APART)
            buf_add_str(framed, body);
        else
            out->body = body;
    }
    out->body_at = framed->len;
    add_header(gateway, FCGI_HEAD_STDOUT, 0, framed);
    add_header(gateway, FCGI_HEAD_END_REQUEST, FCGI_HEAD_RECORD, framed);
    buf_add(framed, end, FCGI_HEAD_RECORD);
}
