/*
 * shm: anonymous shared mappings, and locks in them that survive the death of their holder.
 *
 * Invariant: a robust mutex is made consistent the moment its dead holder is noticed, so it can never become
 * unrecoverable; if the successor dies too before it has repaired what the lock guards, the next one is told again.
 *
 * Lock order is the business of whoever embeds the locks. Nothing here names a mapping in a file system: what larder
 * shares dies with the last of its processes. A failing lock call is our own mistake and aborts.
 */
#include "base/shm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum err shm_map(size_t len, void **out)
{
    void *mapping = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (mapping == MAP_FAILED)
        return ERR_FULL;
    *out = mapping;
    return ERR_OK;
}

void shm_unmap(void **mapping, size_t len)
{
    if (!*mapping)
        return;
    munmap(*mapping, len);
    *mapping = NULL;
}

static void require(int number, const char *what)
{
    if (number == 0)
        return;
    fprintf(stderr, "larder: a shared lock cannot be %s: %s\n", what, strerror(number));
    abort();
}

void shm_lock_init(struct shm_lock *lock)
{
    pthread_mutexattr_t attributes;

    require(pthread_mutexattr_init(&attributes), "prepared");
    require(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED), "shared");
    require(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST), "made robust");
    require(pthread_mutex_init(&lock->mutex, &attributes), "made");
    pthread_mutexattr_destroy(&attributes);
}

bool shm_lock_take(struct shm_lock *lock)
{
    int number = pthread_mutex_lock(&lock->mutex);

    if (number != EOWNERDEAD) {
        require(number, "taken");
        return false;
    }
    require(pthread_mutex_consistent(&lock->mutex), "recovered");
    return true;
}

void shm_lock_release(struct shm_lock *lock)
{
    require(pthread_mutex_unlock(&lock->mutex), "released");
}
