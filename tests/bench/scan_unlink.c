/*
 * scan_unlink: the least that removing the keys of a pattern from Redis can take, to compare larder's own way with.
 *
 * One connection, no bookkeeping: while Redis scans the next keys, it is already told to unlink those just found.
 * Usage: scan_unlink SOCKET PATTERN; prints {"removed": N, "ms": M}.
 */
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 1000 };

static double now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1000.0 * (double)now.tv_sec + (double)now.tv_nsec / 1e6;
}

static redisReply *receive(redisContext *redis, int type)
{
    void *got = NULL;
    redisReply *reply;

    if (redisGetReply(redis, &got) != REDIS_OK) {
        fprintf(stderr, "scan_unlink: %s\n", redis->errstr);
        exit(1);
    }
    reply = got;
    if (reply->type != type) {
        fprintf(stderr, "scan_unlink: %s\n", reply->type == REDIS_REPLY_ERROR ? reply->str : "not what was asked for");
        exit(1);
    }
    return reply;
}

static void send_unlink(redisContext *redis, const redisReply *keys)
{
    const char **parts = malloc((keys->elements + 1) * sizeof(*parts));
    size_t *lens = malloc((keys->elements + 1) * sizeof(*lens));

    if (!parts || !lens)
        abort();
    parts[0] = "UNLINK";
    lens[0] = strlen(parts[0]);
    for (size_t i = 0; i < keys->elements; i++) {
        parts[i + 1] = keys->element[i]->str;
        lens[i + 1] = keys->element[i]->len;
    }
    redisAppendCommandArgv(redis, (int)keys->elements + 1, parts, lens);
    free(parts);
    free(lens);
}

int main(int argc, char **argv)
{
    redisContext *redis = argc == 3 ? redisConnectUnix(argv[1]) : NULL;
    long long removed = 0;
    bool more = true;
    double began;

    if (!redis || redis->err) {
        fprintf(stderr, "usage: scan_unlink SOCKET PATTERN (%s)\n", redis ? redis->errstr : "two arguments");
        return 2;
    }
    began = now_ms();
    redisAppendCommand(redis, "SCAN 0 MATCH %s COUNT %d", argv[2], BATCH);
    while (more) {
        redisReply *page = receive(redis, REDIS_REPLY_ARRAY);
        const redisReply *cursor = page->element[0], *keys = page->element[1];
        bool found = keys->elements > 0;

        more = strcmp(cursor->str, "0") != 0;
        if (found)
            send_unlink(redis, keys);
        if (more)
            redisAppendCommand(redis, "SCAN %s MATCH %s COUNT %d", cursor->str, argv[2], BATCH);
        freeReplyObject(page);
        if (found) {
            redisReply *count = receive(redis, REDIS_REPLY_INTEGER);

            removed += count->integer;
            freeReplyObject(count);
        }
    }
    printf("{\"removed\": %lld, \"ms\": %.3f}\n", removed, now_ms() - began);
    redisFree(redis);
    return 0;
}
