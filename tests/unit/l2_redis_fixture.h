/* A Redis of its own for each test of a program. */
#ifndef LARDER_L2_REDIS_FIXTURE_H
#define LARDER_L2_REDIS_FIXTURE_H

#include "l2_fixture.h"

static struct server redis;

static void configure(struct host *host)
{
    host_connect(host, &redis);
}

static int set_up(void **state)
{
    (void)state;
    server_start(&redis, NULL, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    server_remove(&redis);
    redis = (struct server){0};
    return 0;
}

#endif
