/*
 * entry_decode against its promise: what it accepts encodes to the very same bytes, is fit for headers and sums, and no
 * shorter or longer piece of it is an entry. What it says of a compressed body is true once that is unpacked, and no
 * memory is taken on the word of the bytes alone. What entry_compress packs, comes back.
 */
#include <assert.h>
#include <stdlib.h>

#include "cache/policy.h"

enum { ARENA_LIMIT = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void assert_within(struct str view, struct str bytes)
{
    assert(view.len == 0 || (view.p >= bytes.p && view.p + view.len <= bytes.p + bytes.len));
}

static void assert_sound(const struct entry *entry, struct str bytes)
{
    assert(entry->status == 200 || entry->status == 404);
    assert(entry->stored_at_ms >= 0 && entry->stored_at_ms <= ENTRY_TIME_MAX_MS);
    assert(entry->tags_count <= ENTRY_TAGS_MAX);
    for (size_t i = 0; i < entry->tags_count; i++)
        assert_within(entry->tags[i], bytes);
    assert_within(entry->etag, bytes);
    assert_within(entry->content_type, bytes);
    assert_within(entry->body, bytes);
    assert_within(entry->gzip, bytes);
    assert(!entry->body.p != !entry->gzip.p);
    assert(entry->gzip.p ? entry->body_len > entry->gzip.len : entry->body_len == entry->body.len);
    assert(!str_has_control(entry->etag) && !str_has_control(entry->content_type));
    /* Whatever the times, a judgement and what remains agree. */
    const int64_t moments[] = {0, entry->fresh_until_ms, entry->error_until_ms, ENTRY_TIME_MAX_MS};
    for (size_t i = 0; i < sizeof moments / sizeof *moments; i++)
        assert(policy_judge(entry, moments[i]) == POLICY_DEAD || policy_remaining_ms(entry, moments[i]) > 0);
}

static void assert_unpacks_or_not(struct entry entry)
{
    struct arena *arena = arena_new(64, ARENA_LIMIT);
    enum err err = entry_unpack(&entry, arena);

    assert(err == ERR_OK || (entry.gzip.p && !entry.body.p && (err == ERR_CORRUPT || err == ERR_LIMIT)));
    assert(err != ERR_OK || entry.body.len == entry.body_len);
    assert(arena_used(arena) <= (entry.gzip.len + 1) * 1032 + 64);
    arena_free(&arena);
}

static void assert_packs(struct entry entry)
{
    struct arena *arena = arena_new(64, ARENA_LIMIT);
    struct str body = entry.body;
    struct buf bytes = {0};
    struct entry back;

    entry_compress(&entry, arena);
    assert(entry.body_len == body.len && (!entry.gzip.p || entry.gzip.len < body.len));
    entry_encode(&entry, &bytes);
    assert(bytes.len == entry_encoded_len(&entry));
    if (entry_decode(buf_str(&bytes), &back) != ERR_OK || entry_unpack(&back, arena) != ERR_OK)
        abort();
    assert(str_equal(back.body, body));
    buf_free(&bytes);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = {(const char *)data, size};
    struct entry entry, other;
    struct buf again = {0};

    enum err err = entry_decode(bytes, &entry);

    /* Only what says so itself is of another version. */
    assert(err != ERR_VERSION || (size > 2 && data[2] != 2));
    if (err != ERR_OK)
        return 0;
    assert_sound(&entry, bytes);
    assert(entry_encoded_len(&entry) == size);
    entry_encode(&entry, &again);
    assert(again.len == size && memcmp(again.p, data, size) == 0);
    assert(entry_decode((struct str){bytes.p, size - 1}, &other) != ERR_OK);
    assert(entry_has_tags(&entry, entry.tags, entry.tags_count));
    buf_free(&again);
    assert_unpacks_or_not(entry);
    if (entry.body.len > ENTRY_COMPRESS_MIN)
        assert_packs(entry);
    return 0;
}
