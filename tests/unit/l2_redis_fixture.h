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

/* What INFO says of COMMAND's calls. */
static UNUSED long long calls_of(const char *command)
{
    redisContext *context = redisConnectUnix(redis.socket);
    redisReply *reply = redisCommand(context, "INFO commandstats");
    char name[64];
    long long calls = 0;

    assert_non_null(reply);
    snprintf(name, sizeof(name), "cmdstat_%s:calls=", command);
    if (strstr(reply->str, name))
        calls = atoll(strstr(reply->str, name) + strlen(name));
    freeReplyObject(reply);
    redisFree(context);
    return calls;
}

/* Has Redis know no script, and count from 0. */
static UNUSED void forget_scripts(void)
{
    operate(&redis, "SCRIPT FLUSH");
    operate(&redis, "CONFIG RESETSTAT");
}

/* How often a script was loaded since then. Redis 6 counts all that begins with SCRIPT together. */
static UNUSED long long scripts_loaded(void)
{
    return calls_of("script|load") + calls_of("script");
}

#endif
