/*
 * entry: one cached response as bytes, and back. The layout stands in entry.h.
 *
 * Numbers are written byte by byte, so that an entry filled by one host is read by any other.
 *
 * Invariant: entry_decode takes nothing on trust: every length is checked against what is left, and the parts must add
 * up to the whole; and what it accepts, entry_encode turns into the very same bytes. What it refuses is treated as
 * absent, so damage in a shared cache costs a recomputation and nothing else.
 */
#include "cache/entry.h"

#include "base/sys.h"

#define VERSION 1
#define HEAD_LEN 60

static void put(struct buf *out, uint64_t value, unsigned bytes)
{
    char raw[8];
    for (unsigned i = 0; i < bytes; i++)
        raw[i] = (char)(value >> 8 * i);
    buf_add(out, raw, bytes);
}

static uint64_t get(const char *from, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)(unsigned char)from[i] << 8 * i;
    return value;
}

static size_t tags_len(const struct entry *entry)
{
    size_t len = 0;
    for (size_t i = 0; i < entry->tags_count; i++)
        len += 2 + entry->tags[i].len;
    return len;
}

size_t entry_encoded_len(const struct entry *entry)
{
    return HEAD_LEN + tags_len(entry) + entry->etag.len + entry->content_type.len + entry->body.len;
}

void entry_encode(const struct entry *entry, struct buf *out)
{
    size_t tags = tags_len(entry);
    buf_reserve(out, entry_encoded_len(entry));
    buf_add(out, "LE", 2);
    put(out, VERSION, 1);
    put(out, 0, 1); /* flags */
    put(out, (uint64_t)entry->status, 2);
    put(out, 0, 2);
    put(out, (uint64_t)entry->stored_at_ms, 8);
    put(out, (uint64_t)entry->fresh_until_ms, 8);
    put(out, (uint64_t)entry->stale_until_ms, 8);
    put(out, (uint64_t)entry->error_until_ms, 8);
    put(out, entry->cost_us, 4);
    put(out, tags, 4);
    put(out, entry->etag.len, 4);
    put(out, entry->content_type.len, 4);
    put(out, entry->body.len, 4);
    for (size_t i = 0; i < entry->tags_count; i++) {
        put(out, entry->tags[i].len, 2);
        buf_add_str(out, entry->tags[i]);
    }
    buf_add_str(out, entry->etag);
    buf_add_str(out, entry->content_type);
    buf_add_str(out, entry->body);
}

/* Cuts LEN bytes off *REST. */
static struct str take(struct str *rest, size_t len)
{
    struct str part = {rest->p, len};
    rest->p += len;
    rest->len -= len;
    return part;
}

static enum err decode_tags(struct str tags, struct entry *out)
{
    while (tags.len > 0) {
        if (tags.len < 2 || out->tags_count == ENTRY_TAGS_MAX)
            return ERR_CORRUPT;
        size_t len = get(take(&tags, 2).p, 2);
        if (len > tags.len)
            return ERR_CORRUPT;
        out->tags[out->tags_count++] = take(&tags, len);
    }
    return ERR_OK;
}

static bool is_time(int64_t ms)
{
    return ms >= 0 && ms <= ENTRY_TIME_MAX_MS;
}

/* An entity tag in quotes (RFC 9110, section 8.8.3), or nothing. */
static bool is_etag(struct str text)
{
    for (size_t i = 1; i + 1 < text.len; i++)
        if ((unsigned char)text.p[i] < 0x21 || text.p[i] == '"' || text.p[i] == 0x7f)
            return false;
    return text.len == 0 || (text.len >= 2 && text.p[0] == '"' && text.p[text.len - 1] == '"');
}

/* What goes into headers and sums must be what it is taken for, whoever wrote the bytes. */
static bool is_sound(const struct entry *entry)
{
    return (entry->status == 200 || entry->status == 404) && is_time(entry->stored_at_ms) &&
           is_time(entry->fresh_until_ms) && is_time(entry->stale_until_ms) && is_time(entry->error_until_ms) &&
           is_etag(entry->etag) && !str_has_control(entry->content_type);
}

enum err entry_decode(struct str bytes, struct entry *out)
{
    const char *p = bytes.p;
    if (bytes.len < HEAD_LEN || p[0] != 'L' || p[1] != 'E')
        return ERR_CORRUPT;
    if (p[2] != VERSION)
        return ERR_VERSION;
    uint64_t tags = get(p + 44, 4), etag = get(p + 48, 4), type = get(p + 52, 4), body = get(p + 56, 4);
    uint64_t flags = get(p + 3, 1), reserved = get(p + 6, 2);
    if (flags != 0 || reserved != 0 || tags + etag + type + body != bytes.len - HEAD_LEN)
        return ERR_CORRUPT;
    struct entry entry = {.status = (int)get(p + 4, 2),
                          .stored_at_ms = (int64_t)get(p + 8, 8),
                          .fresh_until_ms = (int64_t)get(p + 16, 8),
                          .stale_until_ms = (int64_t)get(p + 24, 8),
                          .error_until_ms = (int64_t)get(p + 32, 8),
                          .cost_us = (uint32_t)get(p + 40, 4)};
    struct str rest = {p + HEAD_LEN, bytes.len - HEAD_LEN};
    enum err err = decode_tags(take(&rest, tags), &entry);
    if (err != ERR_OK)
        return err;
    entry.etag = take(&rest, etag);
    entry.content_type = take(&rest, type);
    entry.body = rest;
    if (!is_sound(&entry))
        return ERR_CORRUPT;
    *out = entry;
    return ERR_OK;
}

bool entry_has_tags(const struct entry *entry, const struct str *tags, size_t tags_count)
{
    if (entry->tags_count != tags_count)
        return false;
    for (size_t i = 0; i < tags_count; i++)
        if (!str_equal(entry->tags[i], tags[i]))
            return false;
    return true;
}

struct str entry_etag(struct str body, struct arena *arena)
{
    return arena_printf(arena, "\"%016llx\"", (unsigned long long)sys_hash64(body, 0));
}
