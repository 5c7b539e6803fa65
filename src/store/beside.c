/*
 * beside: open, look, and only then give away.
 *
 * Invariant: a file changes its owner only through a descriptor, only when it is a plain file that has no other name,
 * and only while nothing is in it: whatever else somebody has put at the path stays whose it is. Links are not
 * followed.
 */
#include "store/beside.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MODE = 0644 };

/* Who is to have what lies beside DATABASE. */
static bool find_owner(const char *database, struct stat *out)
{
    const char *slash = strrchr(database, '/');
    struct buf directory = {0};
    bool found = stat(database, out) == 0;

    if (!found && slash)
        buf_add(&directory, database, (size_t)(slash - database) + 1);
    else if (!found)
        buf_add_str(&directory, STR("./"));
    if (!found)
        found = stat(directory.p, out) == 0;
    buf_free(&directory);
    return found;
}

static bool is_plain(const struct stat *file)
{
    return S_ISREG(file->st_mode) && file->st_nlink == 1;
}

/* Where it cannot be given away, root is all that can use it. */
static void give(int fd, const struct stat *owner)
{
    struct stat file;

    if (fstat(fd, &file) == 0 && is_plain(&file) && file.st_size == 0 && file.st_uid != owner->st_uid &&
        fchown(fd, owner->st_uid, owner->st_gid) != 0)
        errno = 0;
}

void beside_give(int fd, const char *database)
{
    struct stat owner;

    if (geteuid() == 0 && find_owner(database, &owner))
        give(fd, &owner);
}

enum err beside_open(const char *path, const char *database, int *fd, struct buf *why)
{
    int opened = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC, MODE);
    struct stat file;

    if (opened < 0 && errno != ELOOP) {
        enum err err = err_from_errno(errno);
        buf_printf(why, "%s: %s; `database` in [store] needs a directory that uid %u may write", path, strerror(errno),
                   (unsigned)geteuid());
        return err;
    }
    if (opened < 0 || fstat(opened, &file) != 0 || !is_plain(&file)) {
        if (opened >= 0)
            close(opened);
        buf_printf(why, "%s is no plain file but a link or something else, which larder does not make: remove it",
                   path);
        return ERR_DENIED;
    }
    beside_give(opened, database);
    *fd = opened;
    return ERR_OK;
}

void beside_prepare(const char *path, const char *database)
{
    struct stat owner;

    /* The owner is looked for first: PATH may be the database. */
    if (geteuid() != 0 || !find_owner(database, &owner))
        return;
    /* It is opened and closed only where nobody can have it open yet: closing would end SQLite's locks. */
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, MODE);
    if (fd < 0)
        return;
    give(fd, &owner);
    close(fd);
}
