/* An L1 with its tables of purges, and entries whose content follows from key and version, so that it can be checked.
 */
#ifndef LARDER_TESTS_L1_FIXTURE_H
#define LARDER_TESTS_L1_FIXTURE_H

#include "cache/l1.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/sys.h"

#define NOW INT64_C(1700000000000)

struct fixture {
    struct purged *purged;
    struct l1 *l1;
    struct arena *arena;
    struct l1_found found; /* by the last get */
};

static inline struct fixture *open_l1(uint64_t size)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_int_equal(purged_new(true, &fixture->purged), ERR_OK);
    assert_int_equal(l1_new(size, fixture->purged, &fixture->l1), ERR_OK);
    fixture->arena = arena_new(64 << 10, 4 << 20);
    return fixture;
}

static inline void close_l1(struct fixture *fixture)
{
    l1_free(&fixture->l1);
    assert_null(fixture->l1);
    l1_free(&fixture->l1);
    purged_free(&fixture->purged);
    arena_free(&fixture->arena);
    free(fixture);
}

/* TEXT and VERSION, again and again, LEN bytes of it. */
static inline struct str content(struct arena *arena, const char *text, uint64_t version, size_t len)
{
    char *p = arena_alloc(arena, len + 1), piece[64];
    size_t piece_len = (size_t)snprintf(piece, sizeof(piece), "%s.%lu.%zu|", text, (unsigned long)version, len);

    assert_non_null(p);
    for (size_t at = 0; at < len; at += piece_len)
        memcpy(p + at, piece, piece_len < len - at ? piece_len : len - at);
    return (struct str){p, len};
}

static inline struct entry make_entry(struct arena *arena, const char *key, uint64_t version, size_t len)
{
    return (struct entry){.status = 200,
                          .stored_at_ms = NOW,
                          .fresh_until_ms = NOW + 1000,
                          .stale_until_ms = NOW + 2000,
                          .error_until_ms = NOW + 3000,
                          .cost_us = 17,
                          .etag = arena_printf(arena, "\"%lu\"", (unsigned long)version),
                          .content_type = STR("application/json"),
                          .body = content(arena, key, version, len),
                          .body_len = len};
}

/* Puts an entry that has all it takes, and a tag if there is one. */
static inline void put_tagged(struct fixture *fixture, const char *key, uint64_t version, size_t len, const char *tag,
                              uint64_t stamp)
{
    struct entry entry;

    arena_reset(fixture->arena);
    entry = make_entry(fixture->arena, key, version, len);
    if (tag)
        entry.tags[entry.tags_count++] = str_from(tag);
    l1_put(fixture->l1, str_from(key), 0, &entry, stamp, NOW);
}

static inline void put(struct fixture *fixture, const char *key, uint64_t version, size_t len)
{
    put_tagged(fixture, key, version, len, NULL, purged_now(fixture->purged));
}

static inline void put_negative(struct fixture *fixture, const char *key)
{
    struct entry entry;

    arena_reset(fixture->arena);
    entry = make_entry(fixture->arena, key, 1, 60);
    entry.status = 404;
    l1_put(fixture->l1, str_from(key), 0, &entry, purged_now(fixture->purged), NOW);
}

static inline bool get(struct fixture *fixture, const char *key)
{
    arena_reset(fixture->arena);
    return l1_get(fixture->l1, str_from(key), 0, false, NOW, fixture->arena, &fixture->found) == ERR_OK;
}

/* Whether ENTRY is one that was put under KEY, whole, with the version that its ETag tells. */
static inline bool is_whole(struct arena *arena, const struct entry *entry, const char *key)
{
    char etag[32] = "";

    if (entry->etag.len < 3 || entry->etag.len >= sizeof(etag) || entry->body_len != entry->body.len)
        return false;
    memcpy(etag, entry->etag.p + 1, entry->etag.len - 2);
    return str_equal(entry->content_type, STR("application/json")) &&
           str_equal(entry->body, content(arena, key, strtoul(etag, NULL, 10), entry->body.len));
}

static inline void assert_held(struct fixture *fixture, const char *key, uint64_t version)
{
    char etag[32];

    assert_true(get(fixture, key));
    snprintf(etag, sizeof(etag), "\"%lu\"", (unsigned long)version);
    assert_true(str_equal(fixture->found.entry.etag, str_from(etag)));
    assert_true(is_whole(fixture->arena, &fixture->found.entry, key));
}

static inline struct l1_status status_of(struct fixture *fixture)
{
    struct l1_status status;

    l1_status(fixture->l1, &status);
    return status;
}

#endif
