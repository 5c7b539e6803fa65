/*
 * A slower disk, to be preloaded: every sync takes SLOW_SYNC_US microseconds longer, as on disks that do not keep what
 * is synced in a memory of their own.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int sync_late(const char *name, int fd)
{
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *us = getenv("SLOW_SYNC_US");
    const struct timespec late = {.tv_nsec = (us ? atol(us) : 0) * 1000};

    nanosleep(&late, NULL);
    return sync(fd);
}

int fsync(int fd)
{
    return sync_late("fsync", fd);
}

int fdatasync(int fd)
{
    return sync_late("fdatasync", fd);
}
