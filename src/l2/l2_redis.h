/*
 * l2_redis: L2 on a Redis server, or one that speaks its protocol and runs its scripts (Redis 6 or later).
 */
#ifndef LARDER_L2_REDIS_H
#define LARDER_L2_REDIS_H

#include "l2/l2_backend.h"

extern const struct l2_backend l2_redis_backend;

#endif
