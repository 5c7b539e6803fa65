/*
 * writer_raw: the writer's socket without a client around it, for what a well-behaved client does not do, and a writer
 * that stands still meanwhile.
 */
#ifndef LARDER_WRITER_RAW_H
#define LARDER_WRITER_RAW_H

#include "writer_fixture.h"

#include <poll.h>
#include <sys/socket.h>

#include "store/writer_frame.h"
#include "store/writer_socket.h"

static inline int writer_raw_connect(const struct writer_fixture *it)
{
    struct buf why = {0};
    int fd = -1;
    enum err err = writer_socket_connect(it->files->database, &fd, &why);

    if (err != ERR_OK)
        fail_msg("%d: %s", err, why.p);
    fcntl(fd, F_SETFL, 0);
    return fd;
}

static inline void writer_raw_send_request(int fd, const struct writer_frame_request *request)
{
    struct buf frame = {0};

    assert_int_equal(writer_frame_add_request(request, &frame), ERR_OK);
    assert_int_equal(send(fd, frame.p, frame.len, MSG_NOSIGNAL), frame.len);
    buf_free(&frame);
}

static inline void writer_raw_send(int fd, enum writer_frame_kind kind, const char *sql, int64_t timeout_ms)
{
    const struct writer_frame_request request = {
        .kind = kind, .sql = str_from(sql), .deadline_ms = sys_monotonic_ms() + timeout_ms};

    writer_raw_send_request(fd, &request);
}

/* Reads one answer: its error, and its tag. -1 when the connection ends first. */
static inline int writer_raw_receive_tag(int fd, uint32_t *tag)
{
    struct writer_frame_answer answer;
    struct buf bytes = {0};
    size_t len;
    int result = -1;

    while (writer_frame_length(buf_str(&bytes), &len) == ERR_AGAIN) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        char byte;
        assert_int_equal(poll(&ready, 1, WRITER_PROCESS_PATIENCE_MS), 1);
        if (recv(fd, &byte, 1, 0) != 1)
            goto out;
        buf_add_char(&bytes, byte);
    }
    assert_int_equal(writer_frame_read_answer(buf_str(&bytes), &answer), ERR_OK);
    result = (int)answer.err;
    *tag = answer.tag;
out:
    buf_free(&bytes);
    return result;
}

static inline int writer_raw_receive(int fd)
{
    uint32_t tag;

    return writer_raw_receive_tag(fd, &tag);
}

/* While it is paused, requests gather in its sockets: what was sent then comes in one round. */
static inline void writer_raw_pause(const struct writer_fixture *it)
{
    int status;

    kill(it->pid, SIGSTOP);
    assert_int_equal(waitpid(it->pid, &status, WUNTRACED), it->pid);
}

static inline void writer_raw_resume(const struct writer_fixture *it)
{
    kill(it->pid, SIGCONT);
}

#endif
