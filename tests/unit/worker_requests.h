/* Requests on kept connections, byte by byte as a web server sends them, and their answers. */
#ifndef LARDER_WORKER_REQUESTS_H
#define LARDER_WORKER_REQUESTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/str.h"
#include "server/fcgi_head.h"

/* A kept request for URI. */
static inline struct buf worker_requests_get(const char *uri)
{
    struct buf out = {0};
    unsigned char len = (unsigned char)strlen(uri);
    const unsigned char begin[16] = {
        1, FCGI_HEAD_BEGIN_REQUEST, 0, 9, 0, 8, 0, 0, 0, FCGI_HEAD_RESPONDER, FCGI_HEAD_KEEP_CONN};
    const unsigned char params[8] = {1, FCGI_HEAD_PARAMS, 0, 9, 0, (unsigned char)(13 + len + 19), 0, 0};
    buf_add(&out, begin, sizeof begin);
    buf_add(&out, params, sizeof params);
    buf_add_char(&out, 11);
    buf_add_char(&out, (char)len);
    buf_printf(&out, "REQUEST_URI%s", uri);
    buf_add_char(&out, 14);
    buf_add_char(&out, 3);
    buf_add_str(&out, STR("REQUEST_METHODGET"));
    buf_add(&out, "\1\4\0\11\0\0\0\0\1\5\0\11\0\0\0\0", 16);
    return out;
}

/* The same with a body, of which ANNOUNCED bytes are told. */
static inline struct buf worker_requests_put(const char *uri, struct str body, size_t announced)
{
    struct buf out = worker_requests_get(uri);
    struct buf length = {0};
    buf_printf(&length, "CONTENT_LENGTH%zu", announced);
    out.len -= 16; /* both ends */
    const unsigned char params[10] = {
        1, FCGI_HEAD_PARAMS, 0, 9, 0, (unsigned char)(length.len + 2), 0, 0, 14, (unsigned char)(length.len - 14)};
    const unsigned char in[8] = {1, FCGI_HEAD_STDIN, 0, 9, (unsigned char)(body.len >> 8), (unsigned char)body.len};
    buf_add(&out, params, sizeof params);
    buf_add_str(&out, buf_str(&length));
    buf_add(&out, "\1\4\0\11\0\0\0\0", 8);
    if (body.len > 0) {
        buf_add(&out, in, sizeof in);
        buf_add_str(&out, body);
    }
    buf_add(&out, "\1\5\0\11\0\0\0\0", 8);
    buf_free(&length);
    return out;
}

/* The first bytes of the answer last read: `Status: 200`. */
static char worker_requests_line[11];

/* Reads one answer to its END_REQUEST; its bytes of STDOUT, or -1 when the connection ended. */
static inline ssize_t worker_requests_answer(int fd)
{
    ssize_t total = 0;
    for (;;) {
        unsigned char header[8];
        if (recv(fd, header, 8, MSG_WAITALL) != 8)
            return -1;
        size_t len = (size_t)header[4] << 8 | header[5];
        char content[65536 + 256];
        if (len + header[6] > 0 && recv(fd, content, len + header[6], MSG_WAITALL) != (ssize_t)(len + header[6]))
            return -1;
        if (header[1] == FCGI_HEAD_END_REQUEST)
            return total;
        if (total == 0)
            memcpy(worker_requests_line, content, sizeof worker_requests_line);
        total += (ssize_t)len;
    }
}

/* Reads one answer: its status, which is not told when it is 200. */
static inline int worker_requests_status(int fd)
{
    char code[4] = "200";
    assert_true(worker_requests_answer(fd) > 0);
    if (memcmp(worker_requests_line, "Status: ", 8) == 0)
        memcpy(code, worker_requests_line + 8, 3);
    return atoi(code);
}

#endif
