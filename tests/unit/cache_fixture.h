/*
 * cache_fixture: a cache over `memory:`, an arena, a clock moved by hand, and a fill that can be told to fail.
 */
#ifndef LARDER_CACHE_FIXTURE_H
#define LARDER_CACHE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/sys.h"
#include "cache/cache.h"

struct fixture {
    struct config config;
    struct cache_shared *shared;
    struct cache *cache;
    struct arena *arena;
    int64_t now_ms;
    struct cache_found found; /* by the last lookup */
    int calls;
    /* The origin. */
    enum err origin;
    int status;
    const char *body;
    unsigned fills;
    void (*meanwhile)(struct fixture *fixture); /* happens while the origin works */
};

static inline int fixture_open(void **state, const char *url, uint64_t l1_size)
{
    static char empty[] = "";
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct buf why = {0};

    fixture->config.redis.url = strdup(url);
    fixture->config.redis.user = fixture->config.redis.password = fixture->config.redis.prefix = empty;
    fixture->config.redis.cache_version = 1;
    fixture->config.redis.connect_timeout_ms = fixture->config.redis.timeout_ms = 100;
    fixture->config.redis.max_entry = 4096;
    fixture->config.memory.size = 8 << 20;
    fixture->config.l1.size = l1_size;
    fixture->config.cache.lease_wait_ms = 2000;
    fixture->config.server.pool = 4;
    fixture->config.breaker.failures = 5;
    fixture->config.breaker.successes = 2;
    fixture->config.breaker.open_ms = 100;
    assert_int_equal(cache_shared_new(&fixture->config, 86400000, &fixture->shared, &why), ERR_OK);
    fixture->cache = cache_open(&fixture->config, fixture->shared, NULL);
    fixture->arena = arena_new(1 << 16, 1 << 24);
    fixture->now_ms = 1700000000000;
    fixture->status = 200;
    fixture->body = "{\"price\":1}";
    *state = fixture;
    return 0;
}

static inline int fixture_setup(void **state)
{
    return fixture_open(state, "memory:", 0);
}

static inline int fixture_setup_l1(void **state)
{
    return fixture_open(state, "memory:", 1 << 20);
}

static inline int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;

    cache_close(&fixture->cache);
    cache_shared_free(&fixture->shared);
    arena_free(&fixture->arena);
    free(fixture->config.redis.url);
    free(fixture);
    return 0;
}

static inline struct cache_ask fixture_ask(const struct fixture *fixture, const char *key)
{
    return (struct cache_ask){
        .key = str_from(key),
        .policy = {.ttl_ms = 100000, .stale_ms = 1000000, .stale_if_error_ms = 5000000, .negative_ms = 30000},
        .fill_ms = 2000,
        .now_ms = fixture->now_ms,
        .monotonic_ms = sys_monotonic_ms()};
}

static inline void fixture_keep(void *context, struct cache_found *found)
{
    struct fixture *fixture = context;

    fixture->found = *found;
    fixture->calls++;
}

static inline enum err fixture_fill(void *context, struct arena *arena, struct entry *entry)
{
    struct fixture *fixture = context;

    fixture->fills++;
    if (fixture->meanwhile)
        fixture->meanwhile(fixture);
    if (fixture->origin != ERR_OK)
        return fixture->origin;
    entry->status = fixture->status;
    entry->content_type = STR("application/json");
    entry->body = arena_copy(arena, str_from(fixture->body));
    return ERR_OK;
}

static inline const struct cache_found *fixture_look(struct fixture *fixture, struct cache_ask *ask)
{
    fixture->calls = 0;
    cache_lookup(fixture->cache, ask, fixture->arena, fixture_keep, fixture);
    assert_int_equal(fixture->calls, 1);
    return &fixture->found;
}

/* Looks ASK up and computes it. */
static inline struct cache_answer fixture_compute(struct fixture *fixture, struct cache_ask *ask)
{
    struct cache_answer answer;
    struct cache_found found = *fixture_look(fixture, ask);

    assert_int_equal(cache_compute(fixture->cache, ask, &found, false, fixture_fill, fixture, fixture->arena, &answer),
                     ERR_OK);
    return answer;
}

/* Whether there is a fresh entry for KEY without tags. */
static inline bool fixture_has(struct fixture *fixture, const char *key)
{
    struct cache_ask ask = fixture_ask(fixture, key);

    const struct cache_found *found = fixture_look(fixture, &ask);

    cache_leave(fixture->cache, found);
    return found->present;
}

static inline void fixture_put(struct fixture *fixture, const char *key)
{
    struct cache_ask ask = fixture_ask(fixture, key);

    assert_true(fixture_compute(fixture, &ask).stored);
}

#endif
