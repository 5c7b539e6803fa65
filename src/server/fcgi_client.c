/*
 * Speaks just enough FastCGI to ask one question: BEGIN_REQUEST, PARAMS, STDIN, and the answer's STDOUT to END_REQUEST.
 * The connection is not kept. The socket has time-outs, so a server that hangs costs no more than the time allowed for
 * each read.
 */
#include "server/fcgi_client.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/sys.h"
#include "server/fcgi_head.h"
#include "server/listener.h"

static enum err connect_path(const char *path, int *out)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return ERR_LIMIT;
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) {
        *out = fd;
        return ERR_OK;
    }
    const bool denied = errno == EACCES;
    if (fd >= 0)
        close(fd);
    return denied ? ERR_DENIED : ERR_UNAVAILABLE;
}

static enum err connect_tcp(const char *where, int *out)
{
    char *host = sys_copy(str_from(where)), *port = strrchr(host, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int fd = -1;
    *port++ = '\0';
    if (getaddrinfo(*host ? host : "127.0.0.1", port, &hints, &found) == 0) {
        fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
        freeaddrinfo(found);
    }
    free(host);
    if (fd < 0)
        return ERR_UNAVAILABLE;
    *out = fd;
    return ERR_OK;
}

/* CONTENT as records of TYPE, with the empty one that ends the stream. */
static void add_stream(struct buf *out, uint8_t type, struct str content)
{
    size_t take;
    do {
        take = content.len < FCGI_HEAD_CONTENT_MAX ? content.len : FCGI_HEAD_CONTENT_MAX;
        const unsigned char header[FCGI_HEAD_RECORD] = {FCGI_HEAD_VERSION,  type, 0, 1, (unsigned char)(take >> 8),
                                                        (unsigned char)take};
        buf_add(out, header, sizeof header);
        buf_add(out, content.p, take);
        if (take > 0)
            content = (struct str){content.p + take, content.len - take};
    } while (take > 0);
}

static void add_length(struct buf *out, size_t len)
{
    const unsigned char bytes[4] = {(unsigned char)(len >> 24 | 0x80), (unsigned char)(len >> 16),
                                    (unsigned char)(len >> 8), (unsigned char)len};
    buf_add(out, bytes, sizeof bytes);
}

static void add_param(struct buf *out, const char *name, struct str value)
{
    add_length(out, strlen(name));
    add_length(out, value.len);
    buf_add(out, name, strlen(name));
    buf_add_str(out, value);
}

static void build(const struct fcgi_client_request *request, struct buf *out)
{
    static const unsigned char begin[16] = {FCGI_HEAD_VERSION,  FCGI_HEAD_BEGIN_REQUEST, 0, 1, 0, 8, 0, 0, 0,
                                            FCGI_HEAD_RESPONDER};
    struct buf params = {0}, number = {0}, authorization = {0};
    buf_add_int64(&number, (int64_t)request->body.len);
    add_param(&params, "REQUEST_METHOD", str_from(request->method));
    add_param(&params, "REQUEST_URI", str_from(request->uri));
    add_param(&params, "CONTENT_LENGTH", buf_str(&number));
    add_param(&params, "REMOTE_ADDR", STR("127.0.0.1"));
    if (request->accept)
        add_param(&params, "HTTP_ACCEPT", str_from(request->accept));
    if (request->content_type)
        add_param(&params, "CONTENT_TYPE", str_from(request->content_type));
    if (request->token && *request->token) {
        buf_printf(&authorization, "Bearer %s", request->token);
        add_param(&params, "HTTP_AUTHORIZATION", buf_str(&authorization));
    }
    buf_add(out, begin, sizeof begin);
    add_stream(out, FCGI_HEAD_PARAMS, buf_str(&params));
    add_stream(out, FCGI_HEAD_STDIN, request->body);
    buf_free(&params);
    buf_free(&number);
    buf_free(&authorization);
}

static enum err send_all(int fd, struct str bytes)
{
    while (bytes.len > 0) {
        ssize_t sent = send(fd, bytes.p, bytes.len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN ? ERR_TIMEOUT : ERR_IO;
        bytes.p += sent;
        bytes.len -= (size_t)sent;
    }
    return ERR_OK;
}

static enum err receive_all(int fd, char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t got = recv(fd, bytes, len, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 && errno == EAGAIN ? ERR_TIMEOUT : ERR_IO;
        bytes += got;
        len -= (size_t)got;
    }
    return ERR_OK;
}

/* Collects STDOUT up to END_REQUEST. */
static enum err receive_answer(int fd, struct buf *out)
{
    for (;;) {
        unsigned char header[FCGI_HEAD_RECORD];
        enum err err = receive_all(fd, (char *)header, sizeof header);
        if (err != ERR_OK)
            return err;
        size_t content = (size_t)header[4] << 8 | header[5], padding = header[6];
        buf_reserve(out, content + padding + 1);
        if ((err = receive_all(fd, out->p + out->len, content + padding)) != ERR_OK)
            return err;
        if (header[1] == FCGI_HEAD_STDOUT)
            out->len += content;
        else if (header[1] == FCGI_HEAD_END_REQUEST)
            return ERR_OK;
    }
}

/* Splits the CGI answer: `Status:` comes first, unless it is 200 (RFC 3875, section 6.3.3); the body after the empty
 * line. */
static enum err split_answer(struct str answer, int *status, struct buf *body)
{
    static const struct str prefix = {"Status: ", 8};
    const char *end = memmem(answer.p, answer.len, "\r\n\r\n", 4);
    int64_t number = 200;
    if (!end ||
        (str_starts(answer, prefix) &&
         (answer.len < prefix.len + 3 || str_to_int64((struct str){answer.p + prefix.len, 3}, &number) != ERR_OK)))
        return ERR_IO;
    *status = (int)number;
    buf_add(body, end + 4, answer.len - (size_t)(end + 4 - answer.p));
    return ERR_OK;
}

enum err fcgi_client_ask(const struct fcgi_client_request *request, int *status, struct buf *body)
{
    int fd;
    enum err err =
        listener_is_path(request->socket) ? connect_path(request->socket, &fd) : connect_tcp(request->socket, &fd);
    if (err != ERR_OK)
        return err;
    const struct timeval timeout = {.tv_sec = request->timeout_ms / 1000, .tv_usec = request->timeout_ms % 1000 * 1000};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    struct buf question = {0}, answer = {0};
    build(request, &question);
    err = send_all(fd, buf_str(&question));
    if (err == ERR_OK)
        err = receive_answer(fd, &answer);
    if (err == ERR_OK)
        err = split_answer(buf_str(&answer), status, body);
    close(fd);
    buf_free(&question);
    buf_free(&answer);
    return err;
}
