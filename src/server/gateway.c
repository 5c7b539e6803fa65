/*
 * One struct gateway wraps an FCGX_Request, and takes one request after the other.
 *
 * How libfcgi is tamed: `ipcFd` is set before each FCGX_Accept_r, together with `keepConnection` (else it would close the connection as
 * it finishes the request before) and a listening descriptor of -1 (so that a broken connection gives an error instead of blocking in
 * accept). A request ends with FCGX_Free and `ipcFd` -1: so libfcgi writes nothing and closes nothing.
 *
 * Why it does not read what has no body: it takes some 40 blocks of memory and twice as many instructions for a request as all the
 * rest of a hit does. Both ways read alike (fuzz_fcgi_head compares them).
 *
 * Invariant: between gateway_accept and gateway_finish the request's variables are views into libfcgi's memory or the request's arena;
 * outside there are none.
 */
#include "server/gateway.h"

#include <errno.h>
#include <fcgiapp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/sys.h"

/* A body shorter than this is copied: that costs less than sending it in a piece of its own. */
#define BODY_APART 4096

struct gateway {
    FCGX_Request request;
    bool in_libfcgi; /* the request under way was read by it */
    uint16_t request_id;
    bool keep;
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

/* Whether BYTES are all of a request that has no body: the head, and the empty end of STDIN. */
static bool is_all_there(struct str bytes, const struct fcgi_head *head)
{
    return head->body_complete && !head->is_split && bytes.len == head->len + FCGI_HEAD_RECORD;
}

/* Takes such a request out of the socket. */
static enum err take_here(int fd, struct str bytes, const struct fcgi_head *head, struct http *http)
{
    char *copy = arena_alloc(http->arena, bytes.len);
    if (!copy)
        return ERR_LIMIT;
    if (recv(fd, copy, bytes.len, 0) != (ssize_t)bytes.len)
        return ERR_IO;
    for (unsigned i = 0; i < head->params; i++) {
        const struct fcgi_head_param *param = &head->param[i];
        const char *name = copy + param->at;
        http_set_variable(http, (struct str){name, param->name_len}, (struct str){name + param->name_len, param->value_len});
    }
    return ERR_OK;
}

/* Has libfcgi read the head. Its strings end at a zero byte: *CUT when that made them shorter than they came. */
static enum err take_in_libfcgi(struct gateway *gateway, int *fd, const struct fcgi_head *head, struct http *http, bool *cut)
{
    static const char added[] = "FCGI_ROLE=RESPONDER"; /* by libfcgi */
    FCGX_Request *request = &gateway->request;
    request->ipcFd = *fd;
    request->keepConnection = 1;
    request->listen_sock = -1;
    if (FCGX_Accept_r(request) != 0) {
        *fd = -1; /* libfcgi has closed it */
        return ERR_IO;
    }
    gateway->in_libfcgi = true;
    size_t len = 0;
    for (char **variable = request->envp; *variable; variable++) {
        struct str value = str_from(*variable);
        len += value.len - strlen("=");
        struct str name = str_cut(&value, '=');
        if (value.p)
            http_set_variable(http, name, value);
    }
    *cut = len != head->params_len + strlen(added) - strlen("=");
    return ERR_OK;
}

enum err gateway_accept(struct gateway *gateway, int *fd, struct str bytes, const struct fcgi_head *head, struct http *http, const char **why)
{
    bool cut = false;
    gateway->keep = head->keep;
    gateway->request_id = head->request_id;
    enum err err = is_all_there(bytes, head) ? take_here(*fd, bytes, head, http) : take_in_libfcgi(gateway, fd, head, http, &cut);
    if (err == ERR_OK)
        err = http_finish_request(http, why);
    if (err == ERR_OK && cut) {
        *why = "a zero byte stands in a variable that the web server passed";
        err = ERR_SYNTAX;
    }
    return err;
}

enum err gateway_read_body(struct gateway *gateway, struct http *http, size_t limit)
{
    if (http->body_len > limit)
        return ERR_LIMIT;
    if (!gateway->in_libfcgi)
        return http->body_len == 0 ? ERR_OK : ERR_SYNTAX;
    FCGX_Stream *in = gateway->request.in;
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

static void write_header(const struct gateway *gateway, uint8_t type, size_t content_len, char *out)
{
    const unsigned char header[FCGI_HEAD_RECORD] = {
        FCGI_HEAD_VERSION, type, (unsigned char)(gateway->request_id >> 8), (unsigned char)gateway->request_id,
        (unsigned char)(content_len >> 8), (unsigned char)content_len};
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
