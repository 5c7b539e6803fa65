/*
 * The path of a database may be longer than a socket's address can be, so the socket is always named by way of its directory's descriptor in
 * /proc/self/fd.
 *
 * The lock is flock's: it belongs to the open file, survives nothing, and so cannot be left behind by a process that was killed.
 */
#include "store/writer_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/sys.h"

/* The address of DATABASE's socket. *DIRECTORY must stay open while it is used. */
static enum err make_address(const char *database, struct sockaddr_un *address, int *directory)
{
    char *for_directory = sys_copy(str_from(database)), *for_name = sys_copy(str_from(database));
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    *directory = open(dirname(for_directory), O_PATH | O_DIRECTORY | O_CLOEXEC);
    enum err err = *directory < 0 ? err_from_errno(errno) : ERR_OK;
    if (err == ERR_OK && snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s-larder.sock", *directory,
                                  basename(for_name)) >= (int)sizeof address->sun_path)
        err = ERR_LIMIT;
    free(for_directory);
    free(for_name);
    return err;
}

enum err writer_socket_lock(const char *database, int *fd, int64_t *holder)
{
    struct buf path = {0};
    char pid[24] = "";
    buf_printf(&path, "%s-larder.lock", database);
    int lock = open(path.p, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    enum err err = lock < 0 ? err_from_errno(errno) : ERR_OK;
    buf_free(&path);
    if (err != ERR_OK)
        return err;
    if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
        err = errno == EWOULDBLOCK ? ERR_BUSY : err_from_errno(errno);
        *holder = pread(lock, pid, sizeof pid - 1, 0) > 0 ? strtoll(pid, NULL, 10) : 0;
        close(lock);
        return err;
    }
    int len = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (ftruncate(lock, 0) != 0 || pwrite(lock, pid, (size_t)len, 0) != len)
        *holder = 0; /* the pid is a courtesy: a full disk must not keep the writer from starting */
    *fd = lock;
    return ERR_OK;
}

enum err writer_socket_listen(const char *database, int *fd)
{
    enum { BACKLOG = 1024 };
    struct sockaddr_un address;
    int directory = -1, listener = -1;
    enum err err = make_address(database, &address, &directory);
    if (err == ERR_OK) {
        unlink(address.sun_path);
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        mode_t before = umask(0177);
        if (listener < 0 || bind(listener, (const struct sockaddr *)&address, sizeof address) != 0 || listen(listener, BACKLOG) != 0)
            err = err_from_errno(errno);
        umask(before);
    }
    if (directory >= 0)
        close(directory);
    if (err == ERR_OK)
        *fd = listener;
    else if (listener >= 0)
        close(listener);
    return err;
}

void writer_socket_unlink(const char *database)
{
    struct buf path = {0};
    buf_printf(&path, "%s-larder.sock", database);
    unlink(path.p);
    buf_free(&path);
}

enum err writer_socket_connect(const char *database, int *fd)
{
    struct sockaddr_un address;
    int directory = -1, connection = -1;
    enum err err = make_address(database, &address, &directory);
    if (err == ERR_OK) {
        connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (connection < 0 || connect(connection, (const struct sockaddr *)&address, sizeof address) != 0)
            err = ERR_UNAVAILABLE;
    }
    if (directory >= 0)
        close(directory);
    if (err == ERR_OK)
        *fd = connection;
    else if (connection >= 0)
        close(connection);
    return err;
}

bool writer_socket_is_ours(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}
