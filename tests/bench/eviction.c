/*
 * eviction: hit ratios of L1 on a Zipf trace, beside plain LRU and SIEVE of the same bytes.
 *
 * A million requests over 100,000 keys with entries of 200 to 4,000 bytes go through the real L1 (a get, and a put
 * where it missed), and through simulations of the other two, which count the bytes that L1's records take, and no
 * others. The trace is the same on every machine. Each L1 has all of its mapping for itself, index included; the others
 * are given the bytes of its rings but for those that are set aside for negative entries.
 *
 * Usage: eviction [--json]; a table, or one line of JSON.
 */
#include "cache/l1.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/sys.h"

enum { KEYS = 100000, REQUESTS = 1000000, LEN_MIN = 200, LEN_MAX = 4000 };

#define NOW INT64_C(1700000000000)
#define NONE UINT32_MAX

/* What a record takes beside the body: its head, the key's place, key, ETag and content type. */
enum { RECORD_LEN = 112 + 4 + 22 + 34 + 16 };

/* Keys from KEYS on are those of scans. */
struct trace {
    uint32_t *requests;
    uint32_t *lens; /* of the bodies, by key */
};

/* The generator of Steele, Lea and Flood (SplitMix64): the same everywhere. */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Rank by the inverse of the distribution's sums; ranks are spread over the keys. SCAN: every so many requests, a run
 * of keys that are asked for once. */
static struct trace make_trace(double exponent, bool scans)
{
    struct trace trace = {sys_calloc(REQUESTS, sizeof(uint32_t)), sys_calloc(2 * KEYS, sizeof(uint32_t))};
    double *sums = sys_calloc(KEYS, sizeof(*sums)), sum = 0;
    uint64_t state = 1;
    uint32_t scanned = 0;

    for (int i = 0; i < KEYS; i++)
        sums[i] = sum += pow(i + 1, -exponent);
    for (int i = 0; i < 2 * KEYS; i++)
        trace.lens[i] = LEN_MIN + (uint32_t)(draw(&state) % (LEN_MAX - LEN_MIN + 1));
    for (int i = 0; i < REQUESTS; i++) {
        double wanted = (double)(draw(&state) >> 11) / 9007199254740992.0 * sum;
        uint32_t low = 0, high = KEYS - 1;

        while (low < high) {
            uint32_t middle = (low + high) / 2;

            if (sums[middle] < wanted)
                low = middle + 1;
            else
                high = middle;
        }
        trace.requests[i] = scans && i % 50000 >= 40000 ? KEYS + scanned++ % KEYS : low;
    }
    free(sums);
    return trace;
}

static void free_trace(struct trace *trace)
{
    free(trace->requests);
    free(trace->lens);
}

static double run_l1(const struct trace *trace, uint64_t size, uint64_t *bytes)
{
    static const char body[LEN_MAX];
    struct arena *arena = arena_new(64 << 10, 1 << 20);
    struct purged *purged;
    struct l1_found found;
    struct l1_status status;
    struct l1 *l1;
    long hits = 0;

    if (purged_new(true, &purged) != ERR_OK || l1_new(size, purged, &l1) != ERR_OK) {
        fprintf(stderr, "eviction: there is no memory for an L1 of %lu bytes\n", (unsigned long)size);
        exit(1);
    }
    for (int i = 0; i < REQUESTS; i++) {
        char text[32];
        struct str key = {text, (size_t)snprintf(text, sizeof(text), "stocks:detail:%08u", trace->requests[i])};
        struct entry entry = {.status = 200,
                              .fresh_until_ms = NOW + 1,
                              .etag = STR("\"0123456789abcdef0123456789abcdef\""),
                              .content_type = STR("application/json"),
                              .body = {body, trace->lens[trace->requests[i]]},
                              .body_len = trace->lens[trace->requests[i]]};

        arena_reset(arena);
        if (l1_get(l1, key, 0, false, NOW, arena, &found) == ERR_OK && found.entry.body_len == entry.body_len)
            hits++;
        else
            l1_put(l1, key, 0, &entry, 0, NOW);
    }
    l1_status(l1, &status);
    *bytes = status.size / 8 * 7;
    l1_free(&l1);
    purged_free(&purged);
    arena_free(&arena);
    return (double)hits / REQUESTS;
}

/* A queue of keys, from the newest to the oldest. */
struct queue {
    struct link {
        uint32_t newer, older;
        bool present, visited;
    } * links;
    uint32_t newest, oldest, hand;
    uint64_t used;
};

static void unlink_key(struct queue *queue, uint32_t key)
{
    struct link *link = &queue->links[key];

    *(link->newer == NONE ? &queue->newest : &queue->links[link->newer].older) = link->older;
    *(link->older == NONE ? &queue->oldest : &queue->links[link->older].newer) = link->newer;
    link->present = false;
}

static void link_newest(struct queue *queue, uint32_t key)
{
    queue->links[key] = (struct link){.newer = NONE, .older = queue->newest, .present = true};
    *(queue->newest == NONE ? &queue->oldest : &queue->links[queue->newest].newer) = key;
    queue->newest = key;
}

/* SIEVE (Zhang et al., NSDI 2024): the hand goes from the oldest to the newest and takes the first not visited. */
static uint32_t sieve_victim(struct queue *queue)
{
    uint32_t key = queue->hand == NONE ? queue->oldest : queue->hand;

    while (queue->links[key].visited) {
        queue->links[key].visited = false;
        key = queue->links[key].newer == NONE ? queue->oldest : queue->links[key].newer;
    }
    queue->hand = queue->links[key].newer;
    return key;
}

static uint64_t size_of(const struct trace *trace, uint32_t key)
{
    return (trace->lens[key] + RECORD_LEN + 7) & ~UINT64_C(7);
}

static double run_queue(const struct trace *trace, uint64_t bytes, bool sieve)
{
    struct queue queue = {sys_calloc(2 * KEYS, sizeof(*queue.links)), NONE, NONE, NONE, 0};
    long hits = 0;

    for (int i = 0; i < REQUESTS; i++) {
        uint32_t key = trace->requests[i];

        if (queue.links[key].present) {
            hits++;
            queue.links[key].visited = true;
            if (!sieve) {
                unlink_key(&queue, key);
                link_newest(&queue, key);
            }
            continue;
        }
        queue.used += size_of(trace, key);
        while (queue.used > bytes) {
            uint32_t victim = sieve ? sieve_victim(&queue) : queue.oldest;

            queue.used -= size_of(trace, victim);
            unlink_key(&queue, victim);
        }
        link_newest(&queue, key);
    }
    free(queue.links);
    return (double)hits / REQUESTS;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        double exponent;
        bool scans;
    } traces[] = {{"zipf 0.9", 0.9, false}, {"zipf 1.0", 1.0, false}, {"zipf 0.9 with scans", 0.9, true}};
    static const unsigned sizes_mib[] = {4, 16, 64, 128};
    bool json = argc > 1 && str_equal(str_from(argv[1]), STR("--json"));
    const char *separator = "{\"eviction\":[";

    if (!json)
        printf("%-22s %8s %8s %8s %8s\n", "hit ratio in %", "MiB", "L1", "SIEVE", "LRU");
    for (size_t t = 0; t < sizeof(traces) / sizeof(traces[0]); t++) {
        struct trace trace = make_trace(traces[t].exponent, traces[t].scans);

        for (size_t s = 0; s < sizeof(sizes_mib) / sizeof(sizes_mib[0]); s++) {
            uint64_t bytes;
            double l1 = run_l1(&trace, (uint64_t)sizes_mib[s] << 20, &bytes);
            double sieve = run_queue(&trace, bytes, true), lru = run_queue(&trace, bytes, false);

            if (json)
                printf("%s{\"trace\":\"%s\",\"mib\":%u,\"l1\":%.4f,\"sieve\":%.4f,\"lru\":%.4f}", separator,
                       traces[t].name, sizes_mib[s], l1, sieve, lru);
            else
                printf("%-22s %8u %8.2f %8.2f %8.2f\n", traces[t].name, sizes_mib[s], 100 * l1, 100 * sieve, 100 * lru);
            separator = ",";
        }
        free_trace(&trace);
    }
    if (json)
        printf("]}\n");
    return 0;
}
