/*
 * One message is one connection: a byte, the descriptor, and where there is input a second descriptor, of memory that
 * holds it. So a message is small however large the input is.
 *
 * Invariant: whoever sends keeps the connection until the message is in the queue, and whoever takes owns it from then
 * on; in between the kernel holds it. What waits in the sockets' own buffers goes along by itself.
 *
 * It knows nothing of requests, and of who takes what: the fastest does.
 */
#include "server/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"

enum { INPUT_MAX = 256 << 20 };

enum err handover_open(struct handover *handover)
{
    int ends[2];
    *handover = (struct handover){.in = -1, .out = -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
        return ERR_UNAVAILABLE;
    handover->in = ends[0];
    handover->out = ends[1];
    return ERR_OK;
}

void handover_close(struct handover *handover)
{
    if (handover->in >= 0)
        close(handover->in);
    if (handover->out >= 0)
        close(handover->out);
    handover->in = handover->out = -1;
}

enum err handover_send(const struct handover *handover, int fd, struct str input)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    int fds[2] = {fd, input.len > 0 ? sys_open_memory(input) : -1};
    size_t count = input.len > 0 ? 2 : 1;
    if (count == 2 && fds[1] < 0)
        return ERR_IO;
    char kind = (char)('0' + count);
    struct iovec byte = {&kind, 1};
    struct msghdr message = {
        .msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
    ssize_t sent = sendmsg(handover->in, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    /* So many descriptors on their way count as a full way, too. */
    enum err err = sent == 1                                                                        ? ERR_OK
                   : errno == EAGAIN || errno == EINTR || errno == ETOOMANYREFS || errno == ENOBUFS ? ERR_AGAIN
                                                                                                    : ERR_IO;
    if (count == 2)
        close(fds[1]);
    return err;
}

static bool read_memory(int fd, struct buf *out)
{
    struct stat status;
    size_t done = 0;
    if (fstat(fd, &status) != 0 || status.st_size <= 0 || status.st_size > INPUT_MAX)
        return false;
    size_t len = (size_t)status.st_size;
    buf_reserve(out, len);
    while (done < len) {
        ssize_t some = pread(fd, out->p + out->len, len - done, (off_t)done);
        if (some <= 0)
            return false;
        out->len += (size_t)some;
        done += (size_t)some;
    }
    return true;
}

/* Takes the descriptors of MESSAGE. Returns how many. */
static size_t take_descriptors(struct msghdr *message, int fds[2])
{
    size_t count = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t some = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < some; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
            if (count < 2)
                fds[count++] = fd;
            else
                close(fd);
        }
    }
    return count;
}

enum err handover_take(const struct handover *handover, int *fd, struct buf *input)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(2 * sizeof(int))];
    } control;
    char kind = 0;
    int fds[2] = {-1, -1};
    struct iovec byte = {&kind, 1};
    struct msghdr message = {
        .msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(handover->out, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? ERR_AGAIN : ERR_IO;
    size_t count = got == 1 ? take_descriptors(&message, fds) : 0;
    bool whole = count > 0 && count == (size_t)(kind - '0');
    if (whole && count == 2)
        whole = read_memory(fds[1], input);
    if (fds[1] >= 0)
        close(fds[1]);
    if (!whole && fds[0] >= 0)
        close(fds[0]);
    if (whole)
        *fd = fds[0];
    return whole ? ERR_OK : ERR_IO;
}
