/*
 * writer_socket: the lock that makes the writer of a database the only one, and the address at which it is met.
 *
 * The lock is flock's: it belongs to the open file and so cannot be left behind by a process that was killed; the file
 * itself is never removed. A socket's address holds 107 bytes and a path 4095. Where the path is longer, the directory
 * is opened and the socket named through /proc/self/fd, which is short whatever the directory is called.
 *
 * Invariant: the socket is never open to others, not even between bind and a later chmod: its mode is set before the
 * bind, which makes the file with it. Who connects is asked for its user all the same. Nothing is read or written here.
 */
#include "store/writer_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/sys.h"
#include "store/beside.h"

enum { BACKLOG = 512, SOCKET_MODE = 0600, TURN_RETRY_US = 500 };

/* The part of PATH that names its directory, up to and with the last slash. */
static void add_directory(const char *path, struct buf *out)
{
    const char *slash = strrchr(path, '/');

    if (slash)
        buf_add(out, path, (size_t)(slash - path) + 1);
    else
        buf_add_str(out, STR("./"));
}

enum err writer_socket_lock(const char *database, int *fd, int64_t *holder, struct buf *why)
{
    struct buf path = {0};
    char pid[24] = "";

    buf_printf(&path, "%s-larder.lock", database);
    int lock = -1;
    enum err err = beside_open(path.p, database, &lock, why);
    if (err == ERR_OK && flock(lock, LOCK_EX | LOCK_NB) != 0) {
        err = errno == EWOULDBLOCK ? ERR_BUSY : err_from_errno(errno);
        if (err == ERR_BUSY)
            *holder = pread(lock, pid, sizeof pid - 1, 0) > 0 ? strtoll(pid, NULL, 10) : 0;
        else
            buf_printf(why, "%s: %s", path.p, strerror(errno));
    }
    buf_free(&path);
    if (err != ERR_OK) {
        if (lock >= 0)
            close(lock);
        return err;
    }
    int len = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    bool emptied = ftruncate(lock, 0) == 0;
    beside_give(lock, database);
    if (!emptied || pwrite(lock, pid, (size_t)len, 0) != len)
        errno = 0; /* the pid is a courtesy: a full disk must not keep the writer from starting */
    *fd = lock;
    return ERR_OK;
}

enum err writer_socket_take_turn(const char *database, int64_t wait_ms, int *fd, struct buf *why)
{
    const int64_t until_ms = sys_monotonic_ms() + wait_ms;
    struct buf path = {0};

    buf_printf(&path, "%s-larder.turn", database);
    int turn = -1;
    enum err err = beside_open(path.p, database, &turn, why);
    bool taken = err == ERR_OK && flock(turn, LOCK_EX | LOCK_NB) == 0;
    while (err == ERR_OK && !taken && errno == EWOULDBLOCK && sys_monotonic_ms() < until_ms) {
        nanosleep(&(struct timespec){.tv_nsec = TURN_RETRY_US * 1000}, NULL);
        taken = flock(turn, LOCK_EX | LOCK_NB) == 0;
    }
    if (taken) {
        *fd = turn;
    } else if (err == ERR_OK) {
        err = errno == EWOULDBLOCK ? ERR_BUSY : err_from_errno(errno);
        buf_printf(why, "%s: %s", path.p, err == ERR_BUSY ? "others have been writing all the time" : strerror(errno));
        close(turn);
    }
    buf_free(&path);
    return err;
}

/* ADDRESS for PATH. *DIRECTORY must stay open while it is used; -1 where none is needed. Fails with errno. */
static bool make_address(const char *path, struct sockaddr_un *address, int *directory)
{
    const char *slash = strrchr(path, '/');
    struct buf folder = {0};

    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    *directory = -1;
    if (strlen(path) < sizeof address->sun_path) {
        memcpy(address->sun_path, path, strlen(path));
        return true;
    }
    add_directory(path, &folder);
    *directory = open(folder.p, O_PATH | O_DIRECTORY | O_CLOEXEC);
    buf_free(&folder);
    if (*directory < 0)
        return false;
    int len = snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", *directory,
                       slash ? slash + 1 : path);
    errno = ENAMETOOLONG;
    return len < (int)sizeof address->sun_path;
}

typedef int attach_fn(int fd, const struct sockaddr *address, socklen_t len);

/* A socket bound or connected to PATH. Fails with errno. */
static bool attach(const char *path, attach_fn *bind_or_connect, int *out)
{
    struct sockaddr_un address;
    int fd = -1, directory = -1;
    bool done = false;

    if (make_address(path, &address, &directory)) {
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        done = fd >= 0 && fchmod(fd, SOCKET_MODE) == 0 &&
               bind_or_connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    }
    int number = errno;
    if (directory >= 0)
        close(directory);
    if (!done && fd >= 0)
        close(fd);
    errno = number;
    if (done)
        *out = fd;
    return done;
}

enum err writer_socket_listen(const char *database, int *fd, struct buf *why)
{
    struct buf path = {0};
    enum err err = ERR_OK;
    int bound = -1;

    writer_socket_unlink(database);
    buf_printf(&path, "%s-larder.sock", database);
    if (!attach(path.p, bind, &bound) || listen(bound, BACKLOG) != 0) {
        err = err_from_errno(errno);
        buf_printf(why, "cannot listen on %s: %s", path.p, strerror(errno));
        if (bound >= 0)
            close(bound);
    } else {
        *fd = bound;
    }
    buf_free(&path);
    return err;
}

void writer_socket_unlink(const char *database)
{
    struct buf path = {0};

    buf_printf(&path, "%s-larder.sock", database);
    unlink(path.p);
    buf_free(&path);
}

enum err writer_socket_connect(const char *database, int *fd, struct buf *why)
{
    struct buf path = {0};
    enum err err = ERR_OK;

    buf_printf(&path, "%s-larder.sock", database);
    if (!attach(path.p, connect, fd)) {
        bool nobody = errno == ENOENT || errno == ECONNREFUSED || errno == EAGAIN;
        err = nobody ? ERR_AGAIN : err_from_errno(errno);
        if (!nobody)
            buf_printf(why, "cannot reach the writer at %s: %s", path.p, strerror(errno));
        if (errno == EACCES)
            buf_add_str(why, STR(": run this as root, or as the user that larder runs as"));
    }
    buf_free(&path);
    return err;
}

bool writer_socket_trusts(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && (peer.uid == geteuid() || peer.uid == 0);
}
