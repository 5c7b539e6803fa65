/*
 * One struct gateway wraps the FCGX_Request of one connection, for as long as the connection lives.
 *
 * How libfcgi is tamed: `ipcFd` is set before each FCGX_Accept_r, together with `keepConnection` (else it would close the connection as
 * it finishes the request before) and a listening descriptor of -1 (so that a broken connection gives an error instead of blocking in
 * accept). A request ends with FCGX_Free and `ipcFd` -1: so libfcgi writes nothing and closes nothing.
 *
 * Invariant: between gateway_accept and gateway_finish the request's variables are views into libfcgi's memory; outside there are none.
 */
#include "server/gateway.h"

#include <errno.h>
#include <fcgiapp.h>
#include <signal.h>
#include <stdlib.h>

#include "base/sys.h"

struct gateway {
    FCGX_Request request;
    int fd;
    uint16_t request_id;
    bool keep;
    struct buf head; /* the CGI head of a response, kept between requests */
};

enum err gateway_start(void)
{
    if (FCGX_Init() != 0)
        return ERR_IO;
    /* FCGX_Init installs handlers of its own for these two. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, SIG_DFL);
    return ERR_OK;
}

struct gateway *gateway_new(int fd)
{
    struct gateway *gateway = sys_calloc(1, sizeof *gateway);
    gateway->fd = fd;
    FCGX_InitRequest(&gateway->request, -1, FCGI_FAIL_ACCEPT_ON_INTR);
    return gateway;
}

void gateway_free(struct gateway **gateway)
{
    if (!*gateway)
        return;
    gateway_finish(*gateway);
    buf_free(&(*gateway)->head);
    free(*gateway);
    *gateway = NULL;
}

void gateway_finish(struct gateway *gateway)
{
    gateway->request.ipcFd = -1;
    FCGX_Free(&gateway->request, 0);
}

bool gateway_keeps(const struct gateway *gateway)
{
    return gateway->keep;
}

enum err gateway_accept(struct gateway *gateway, const struct fcgi_head *head, struct http *http, const char **why)
{
    FCGX_Request *request = &gateway->request;
    request->ipcFd = gateway->fd;
    request->keepConnection = 1;
    request->listen_sock = -1;
    if (FCGX_Accept_r(request) != 0) {
        request->ipcFd = -1;
        return ERR_IO;
    }
    gateway->keep = head->keep;
    gateway->request_id = head->request_id;
    for (char **variable = request->envp; *variable; variable++) {
        const char *equals = strchr(*variable, '=');
        if (equals)
            http_set_variable(http, (struct str){*variable, (size_t)(equals - *variable)}, str_from(equals + 1));
    }
    enum err err = http_finish_request(http, why);
    if (err == ERR_OK && head->has_zero) {
        *why = "a zero byte stands in a variable that the web server passed";
        err = ERR_SYNTAX;
    }
    return err;
}

enum err gateway_read_body(struct gateway *gateway, struct http *http, size_t limit)
{
    FCGX_Stream *in = gateway->request.in;
    if (http->body_len > limit)
        return ERR_LIMIT;
    /* One byte more than announced, so that STDIN is read to its end, or its records would be taken for the next request's. */
    char *bytes = arena_alloc(http->arena, http->body_len + 1);
    if (!bytes)
        return ERR_LIMIT;
    int len = FCGX_GetStr(bytes, (int)http->body_len + 1, in);
    int error = FCGX_GetError(in);
    if (error != 0)
        return error == EAGAIN ? ERR_TIMEOUT : ERR_IO;
    if ((size_t)len != http->body_len)
        return ERR_SYNTAX;
    http->body = (struct str){bytes, http->body_len};
    return ERR_OK;
}

static void add_record(const struct gateway *gateway, uint8_t type, size_t content_len, struct buf *out)
{
    const unsigned char header[FCGI_HEAD_RECORD] = {
        FCGI_HEAD_VERSION, type, (unsigned char)(gateway->request_id >> 8), (unsigned char)gateway->request_id,
        (unsigned char)(content_len >> 8), (unsigned char)content_len};
    buf_add(out, header, sizeof header);
}

void gateway_frame_response(struct gateway *gateway, const struct http *http, struct buf *out)
{
    struct buf *head = &gateway->head;
    buf_clear(head);
    http_format_head(http, head);
    struct str parts[2] = {buf_str(head), http->out};
    if (http->method == HTTP_HEAD || http->status == 304 || http->status == 204)
        parts[1].len = 0;
    size_t left = parts[0].len + parts[1].len;
    buf_reserve(out, left + (left / FCGI_HEAD_CONTENT_MAX + 4) * FCGI_HEAD_RECORD);
    for (unsigned part = 0; left > 0;) {
        size_t room = left < FCGI_HEAD_CONTENT_MAX ? left : FCGI_HEAD_CONTENT_MAX;
        left -= room;
        add_record(gateway, FCGI_HEAD_STDOUT, room, out);
        while (room > 0) {
            size_t take = parts[part].len < room ? parts[part].len : room;
            buf_add(out, parts[part].p, take);
            parts[part].p += take;
            parts[part].len -= take;
            room -= take;
            part += parts[part].len == 0;
        }
    }
    add_record(gateway, FCGI_HEAD_STDOUT, 0, out);
    add_record(gateway, FCGI_HEAD_END_REQUEST, 8, out);
    buf_add(out, "\0\0\0\0\0\0\0\0", 8); /* status 0, FCGI_REQUEST_COMPLETE */
}
