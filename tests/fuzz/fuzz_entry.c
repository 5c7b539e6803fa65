/*
 * entry_decode against its promise: what it accepts encodes to the very same bytes, is fit for headers and sums, and no
 * shorter or longer piece of it is an entry.
 */
#include <assert.h>
#include <stdlib.h>

#include "cache/policy.h"

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
    assert(!str_has_control(entry->etag) && !str_has_control(entry->content_type));
    /* Whatever the times, a judgement and what remains agree. */
    const int64_t moments[] = {0, entry->fresh_until_ms, entry->error_until_ms, ENTRY_TIME_MAX_MS};
    for (size_t i = 0; i < sizeof moments / sizeof *moments; i++)
        assert(policy_judge(entry, moments[i]) == POLICY_DEAD || policy_remaining_ms(entry, moments[i]) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = {(const char *)data, size};
    struct entry entry, other;
    struct buf again = {0};

    if (entry_decode(bytes, &entry) != ERR_OK)
        return 0;
    assert_sound(&entry, bytes);
    assert(entry_encoded_len(&entry) == size);
    entry_encode(&entry, &again);
    assert(again.len == size && memcmp(again.p, data, size) == 0);
    assert(entry_decode((struct str){bytes.p, size - 1}, &other) != ERR_OK);
    assert(entry_has_tags(&entry, entry.tags, entry.tags_count));
    buf_free(&again);
    return 0;
}
