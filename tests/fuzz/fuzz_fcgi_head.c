/*
 * fcgi_head_scan against its promise: what it calls ready, libfcgi reads without waiting, with the same parameters, which are where the scan
 * says, and the same body; what it calls incomplete can still become ready; and the verdict over a prefix never contradicts the one over the whole.
 */
#include <assert.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fcgiapp.h>

#include "server/fcgi_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whether libfcgi's VARIABLE, which ends at the first zero byte, is PARAM of BYTES. */
static void is_same(const char *variable, struct str bytes, const struct fcgi_head_param *param)
{
    assert(param->at <= bytes.len && param->name_len + param->value_len <= bytes.len - param->at);
    struct buf both = {0};
    buf_add(&both, bytes.p + param->at, param->name_len);
    buf_add_char(&both, '=');
    buf_add(&both, bytes.p + param->at + param->name_len, param->value_len);
    assert(strcmp(variable, both.p) == 0);
    buf_free(&both);
}

/* Whether what libfcgi reads from IN is the body of BYTES, whose length is no other one. */
static void is_same_body(FCGX_Stream *in, struct str bytes, const struct fcgi_head *head)
{
    struct buf body = {0};
    char piece[4096];
    int got;
    while ((got = FCGX_GetStr(piece, sizeof piece, in)) > 0)
        buf_add(&body, piece, (size_t)got);
    assert(FCGX_GetError(in) == 0);
    for (size_t len = body.len > 0 ? body.len - 1 : 0; len <= body.len + 1; len++) {
        /* As much as may be written, so that what is written behind it shows. */
        char *copy = malloc(len);
        bool whole = fcgi_head_body(bytes, head, len, copy);
        assert(whole == (len == body.len));
        assert(!whole || len == 0 || memcmp(copy, body.p, len) == 0);
        free(copy);
    }
    buf_free(&body);
}

/* Feeds the bytes to libfcgi over a socket that never waits. */
static void libfcgi_agrees(struct str bytes, const struct fcgi_head *head)
{
    int ends[2];
    FCGX_Request request;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0)
        abort();
    if (write(ends[0], bytes.p, bytes.len) == (ssize_t)bytes.len) {
        FCGX_Init();
        FCGX_InitRequest(&request, -1, FCGI_FAIL_ACCEPT_ON_INTR);
        request.ipcFd = ends[1];
        request.keepConnection = 1;
        if (FCGX_Accept_r(&request) != 0)
            abort();
        /* It adds FCGI_ROLE in front. */
        char **variable = request.envp + 1;
        /* Negative where a name begins with a zero byte: then not even its `=` is there. */
        long long len = 0;
        assert(strcmp(request.envp[0], "FCGI_ROLE=RESPONDER") == 0);
        for (unsigned i = 0; i < head->params; i++, variable++) {
            assert(*variable);
            len += (long long)strlen(*variable) - 1;
            if (!head->is_split)
                is_same(*variable, bytes, &head->param[i]);
        }
        assert(!*variable && len <= (long long)head->params_len);
        if (head->body_complete)
            is_same_body(request.in, bytes, head);
        request.ipcFd = -1;
        FCGX_Free(&request, 0);
    }
    close(ends[0]);
    close(ends[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = {(const char *)data, size};
    struct fcgi_head head, part;
    enum fcgi_head_verdict verdict = fcgi_head_scan(bytes, &head);
    const size_t cuts[] = {size / 2, size > 0 ? size - 1 : 0, size > 8 ? 8 : 0, size > 24 ? 24 : 0};

    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        enum fcgi_head_verdict early = fcgi_head_scan((struct str){bytes.p, cuts[i]}, &part);
        if (early == FCGI_HEAD_INVALID)
            assert(verdict == FCGI_HEAD_INVALID && head.why);
        if (early == FCGI_HEAD_READY)
            assert(verdict == FCGI_HEAD_INVALID || (verdict == FCGI_HEAD_READY && head.len == part.len));
        if (early == FCGI_HEAD_MANAGEMENT)
            assert(verdict == FCGI_HEAD_MANAGEMENT && head.len == part.len);
    }
    if (verdict == FCGI_HEAD_READY) {
        assert(head.len <= size && head.len <= FCGI_HEAD_MAX && head.params <= FCGI_HEAD_PARAMS_MAX && head.request_id != 0);
        libfcgi_agrees(bytes, &head);
    }
    if (verdict == FCGI_HEAD_MANAGEMENT) {
        struct buf answer = {0};
        assert(head.len <= size);
        fcgi_head_answer((struct str){bytes.p, head.len}, 7, &answer);
        assert(answer.len >= FCGI_HEAD_RECORD && answer.len % 8 == 0);
        buf_free(&answer);
    }
    return 0;
}
