/*
 * top: which keys this host is asked for most, estimated in a table of fixed size that all workers share.
 *
 * What was asked long ago counts less: half after TOP_HALF_LIFE_MS. Busy workers count one request in TOP_GAP_MAX, with
 * that weight; one that is asked now and then counts them all. So a request costs an instruction or three, and the
 * estimate stays right on average.
 */
#ifndef LARDER_TOP_H
#define LARDER_TOP_H

#include "base/arena.h"

enum { TOP_PLACES = 128, TOP_KEY_MAX = 240, TOP_GAP_MAX = 64, TOP_HALF_LIFE_MS = 60 * 1000 };

struct top;

/* For the processes forked later. ERR_FULL when there is no memory to share. */
enum err top_new(struct top **out) ERR_CHECKED;
void top_free(struct top **top);

/* Counts WEIGHT requests of KEY. NOW_MS, here and below, is monotonic. Any process, any thread. */
void top_add(struct top *top, struct str key, double weight, int64_t now_ms);

struct top_item {
    struct str key; /* in the arena; its first TOP_KEY_MAX bytes */
    bool cut;       /* it is longer than that */
    double per_second;
    double error; /* as much of it may be another key's */
};

struct top_read {
    struct top_item items[TOP_PLACES]; /* most asked for first */
    size_t count;
    double per_second; /* of all keys together */
};

/* A key that is asked for more often than one request in TOP_PLACES is always among them. Keys whose place in the table
 * is more chance than count, as where all are equally rare, are left out. */
void top_read(struct top *top, int64_t now_ms, struct arena *arena, struct top_read *out);

/* Decides which requests of one thread are counted. */
struct top_sampler {
    struct top *top;
    unsigned left, gap;
    unsigned passed; /* requests since SINCE_MS */
    int64_t since_ms;
    uint64_t dice;
};

/* SEED: anything but what other threads have. */
void top_sampler_init(struct top_sampler *sampler, struct top *top, uint64_t seed);
/* What top_count does when it is due. */
void top_sample(struct top_sampler *sampler, struct str key, int64_t now_ms);

/* Now and then: a thread that was busy and is not any more counts every request again, at once. */
void top_rest(struct top_sampler *sampler, int64_t now_ms);

/* KEY is asked for. */
static inline void top_count(struct top_sampler *sampler, struct str key, int64_t now_ms)
{
    if (--sampler->left == 0)
        top_sample(sampler, key, now_ms);
}

#endif
