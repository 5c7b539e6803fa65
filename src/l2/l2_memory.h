/*
 * l2_memory: L2 without a server: the same verbs on memory shared by the processes of one host.
 */
#ifndef LARDER_L2_MEMORY_H
#define LARDER_L2_MEMORY_H

#include "l2/l2_backend.h"

/* A table of about SIZE bytes (at least 4 MiB), made before the fork. ERR_FULL. */
enum err l2_memory_new(uint64_t size, struct l2_memory **out) ERR_CHECKED;
void l2_memory_free(struct l2_memory **memory);

extern const struct l2_backend l2_memory_backend;

#endif
