/*
 * shm: shared mappings made before the fork, and locks in them that survive the death of their holder.
 *
 * A mapping is anonymous (MAP_SHARED | MAP_ANONYMOUS): its life is that of the supervisor and its children.
 */
#ifndef LARDER_SHM_H
#define LARDER_SHM_H

#include <pthread.h>

#include "base/err.h"

/* A cleared mapping of LEN bytes shared with children forked later. ERR_FULL when the system gives none. */
enum err shm_map(size_t len, void **out) ERR_CHECKED;
void shm_unmap(void **mapping, size_t len);

/* A process-shared robust mutex, embedded in a mapping. */
struct shm_lock {
    pthread_mutex_t mutex;
};

void shm_lock_init(struct shm_lock *lock);
/* Takes the lock; may block. Returns true when the last holder died inside: the caller then owns the lock and must put
 * what it guards into a valid state (empty is one) before anything else. */
bool shm_lock_take(struct shm_lock *lock) __attribute__((warn_unused_result));
void shm_lock_release(struct shm_lock *lock);

#endif
