/*
 * outbox_fixture: a writer with an outbox, and a reader of that.
 */
#ifndef LARDER_OUTBOX_FIXTURE_H
#define LARDER_OUTBOX_FIXTURE_H

#include "writer_raw.h"

#include "store/outbox.h"

#define OUTBOX_FIXTURE_ROWS "larder_outbox"

static const struct str outbox_fixture_items[] = {STR("tag:stocks"), STR("key:stocks:detail:AAPL"), STR("")};
enum { OUTBOX_FIXTURE_ITEMS = sizeof outbox_fixture_items / sizeof *outbox_fixture_items };

struct outbox_fixture {
    struct outbox *outbox;
    struct arena *arena;
    struct outbox_row *rows;
    size_t count;
    struct buf why;
};

static inline struct outbox_fixture outbox_fixture_open(const struct writer_fixture *it)
{
    return (struct outbox_fixture){.outbox = outbox_open(it->files->database), .arena = arena_new(4096, 1 << 20)};
}

static inline enum err outbox_fixture_read(struct outbox_fixture *reading, size_t max)
{
    arena_reset(reading->arena);
    buf_clear(&reading->why);
    return outbox_read(reading->outbox, 0, max, reading->arena, &reading->rows, &reading->count, &reading->why);
}

/* Reads, and expects COUNT rows. */
static inline void outbox_fixture_expect(struct outbox_fixture *reading, size_t max, size_t count)
{
    if (outbox_fixture_read(reading, max) != ERR_OK)
        fail_msg("%s", reading->why.p);
    assert_int_equal(reading->count, count);
}

static inline void outbox_fixture_expect_items(const struct outbox_row *row)
{
    assert_int_equal(row->items_count, OUTBOX_FIXTURE_ITEMS);
    for (size_t i = 0; i < OUTBOX_FIXTURE_ITEMS; i++)
        assert_true(str_equal(row->items[i], outbox_fixture_items[i]));
}

static inline void outbox_fixture_close(struct outbox_fixture *reading)
{
    outbox_close(&reading->outbox);
    assert_null(reading->outbox);
    arena_free(&reading->arena);
    buf_free(&reading->why);
}

static inline void outbox_fixture_must_write(struct writer_fixture *it, const char *sql)
{
    if (writer_fixture_write_purging(it, sql, outbox_fixture_items, OUTBOX_FIXTURE_ITEMS) != ERR_OK)
        fail_msg("%s: %s", sql, it->why.p);
}

static inline void outbox_fixture_keep(struct writer_fixture *it)
{
    if (writer_client_keep_purges(it->client, outbox_fixture_items, OUTBOX_FIXTURE_ITEMS, &it->outbox_id, &it->why) !=
        ERR_OK)
        fail_msg("%s", it->why.p);
}

/* Until the outbox has COUNT rows. */
static inline void outbox_fixture_await(const struct writer_fixture *it, int64_t count)
{
    int64_t end_ms = sys_monotonic_ms() + WRITER_PROCESS_PATIENCE_MS;

    while (writer_fixture_count(it, OUTBOX_FIXTURE_ROWS) != count && sys_monotonic_ms() < end_ms)
        usleep(5000);
    assert_int_equal(writer_fixture_count(it, OUTBOX_FIXTURE_ROWS), count);
}

#endif
