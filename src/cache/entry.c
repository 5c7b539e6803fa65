/*
 * entry: one cached response as bytes, and back, and its compression. The layout stands in entry.h.
 *
 * Numbers are written byte by byte, so that an entry filled by one host is read by any other. A compressed body is a
 * whole gzip file without time stamp, ready to be sent as it is.
 *
 * Invariant: entry_decode takes nothing on trust: every length is checked against what is left, and the parts must add
 * up to the whole; and what it accepts, entry_encode turns into the very same bytes. What it refuses is treated as
 * absent, so damage in a shared cache costs a recomputation and nothing else. Nor is the length of what is unpacked
 * trusted: no memory is taken for more than the compressed bytes can hold.
 *
 * Compressors are made for each call and not kept: measured, that costs 4 of about 90 microseconds.
 */
#include "cache/entry.h"

#include <endian.h>
#include <libdeflate.h>
#include <stdlib.h>

#include "base/sys.h"

#define VERSION 2
#define HEAD_LEN 64
#define FLAG_GZIP 1

/* Of 11 KB of JSON, levels 1, 6 and 9 leave 28, 25.4 and 24.9 % in about 40, 90 and 200 microseconds. */
#define LEVEL 6
/* RFC 1952: head and tail of a gzip file without options, and where its tail has the length. */
#define GZIP_FRAME_LEN 18
#define GZIP_LENGTH_LEN 4
/* RFC 1951: two bits stand for at most 258 bytes. */
#define EXPANSION_MAX 1032

static void put(struct buf *out, uint64_t value, unsigned bytes)
{
    char raw[8];
    for (unsigned i = 0; i < bytes; i++)
        raw[i] = (char)(value >> 8 * i);
    buf_add(out, raw, bytes);
}

/* BYTES is a constant where it is called, so that this becomes one load. */
static inline uint64_t get(const char *from, unsigned bytes)
{
    uint64_t value = 0;
    memcpy(&value, from, bytes);
    return le64toh(value);
}

static size_t tags_len(const struct entry *entry)
{
    size_t len = 0;
    for (size_t i = 0; i < entry->tags_count; i++)
        len += 2 + entry->tags[i].len;
    return len;
}

/* The body as it is encoded. */
static struct str kept(const struct entry *entry)
{
    return entry->gzip.p ? entry->gzip : entry->body;
}

size_t entry_encoded_len(const struct entry *entry)
{
    return HEAD_LEN + tags_len(entry) + entry->etag.len + entry->content_type.len + kept(entry).len;
}

void entry_encode(const struct entry *entry, struct buf *out)
{
    size_t tags = tags_len(entry);
    buf_reserve(out, entry_encoded_len(entry));
    buf_add(out, "LE", 2);
    put(out, VERSION, 1);
    put(out, entry->gzip.p ? FLAG_GZIP : 0, 1);
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
    put(out, kept(entry).len, 4);
    put(out, entry->gzip.p ? entry->body_len : entry->body.len, 4);
    for (size_t i = 0; i < entry->tags_count; i++) {
        put(out, entry->tags[i].len, 2);
        buf_add_str(out, entry->tags[i]);
    }
    buf_add_str(out, entry->etag);
    buf_add_str(out, entry->content_type);
    buf_add_str(out, kept(entry));
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

/* Whether ENTRY's gzip looks like one that entry_compress makes of a body of `body_len`: what can be told without
 * unpacking it. */
static bool is_gzip(const struct entry *entry)
{
    struct str gzip = entry->gzip;

    return gzip.len > GZIP_FRAME_LEN && memcmp(gzip.p, "\x1f\x8b\x08\0\0\0\0\0", 8) == 0 &&
           get(gzip.p + gzip.len - GZIP_LENGTH_LEN, GZIP_LENGTH_LEN) == entry->body_len &&
           entry->body_len <= ENTRY_UNPACKED_MAX && gzip.len < entry->body_len &&
           entry->body_len / EXPANSION_MAX <= gzip.len;
}

/* What goes into headers and sums must be what it is taken for, whoever wrote the bytes. */
static bool is_sound(const struct entry *entry)
{
    return (entry->status == 200 || entry->status == 404) && is_time(entry->stored_at_ms) &&
           is_time(entry->fresh_until_ms) && is_time(entry->stale_until_ms) && is_time(entry->error_until_ms) &&
           is_etag(entry->etag) && !str_has_control(entry->content_type) &&
           (entry->gzip.p ? is_gzip(entry) : entry->body_len == entry->body.len);
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
    if (flags > FLAG_GZIP || reserved != 0 || tags + etag + type + body != bytes.len - HEAD_LEN)
        return ERR_CORRUPT;
    struct entry entry = {.status = (int)get(p + 4, 2),
                          .stored_at_ms = (int64_t)get(p + 8, 8),
                          .fresh_until_ms = (int64_t)get(p + 16, 8),
                          .stale_until_ms = (int64_t)get(p + 24, 8),
                          .error_until_ms = (int64_t)get(p + 32, 8),
                          .cost_us = (uint32_t)get(p + 40, 4),
                          .body_len = get(p + 60, 4)};
    struct str rest = {p + HEAD_LEN, bytes.len - HEAD_LEN};
    enum err err = decode_tags(take(&rest, tags), &entry);
    if (err != ERR_OK)
        return err;
    entry.etag = take(&rest, etag);
    entry.content_type = take(&rest, type);
    *(flags == FLAG_GZIP ? &entry.gzip : &entry.body) = rest;
    if (!is_sound(&entry))
        return ERR_CORRUPT;
    *out = entry;
    return ERR_OK;
}

void entry_compress(struct entry *entry, struct arena *arena)
{
    struct str body = entry->body;
    struct libdeflate_compressor *compressor;
    char *space, *gzip;
    size_t len;

    if (entry->gzip.p)
        return;
    entry->body_len = body.len;
    if (body.len <= ENTRY_COMPRESS_MIN || body.len > ENTRY_UNPACKED_MAX)
        return;
    compressor = libdeflate_alloc_compressor(LEVEL);
    if (!compressor)
        return;
    /* Room for what is shorter and no more: the library then refuses the rest. */
    space = sys_alloc(body.len - 1);
    len = libdeflate_gzip_compress(compressor, body.p, body.len, space, body.len - 1);
    libdeflate_free_compressor(compressor);
    gzip = len > 0 ? arena_alloc(arena, len) : NULL;
    if (gzip)
        entry->gzip = (struct str){memcpy(gzip, space, len), len};
    free(space);
}

enum err entry_unpack(struct entry *entry, struct arena *arena)
{
    struct libdeflate_decompressor *decompressor;
    enum libdeflate_result result;
    size_t used;
    char *body;

    if (entry->body.p || !entry->gzip.p)
        return ERR_OK;
    if (!is_gzip(entry))
        return ERR_CORRUPT;
    body = arena_alloc(arena, entry->body_len);
    decompressor = body ? libdeflate_alloc_decompressor() : NULL;
    if (!decompressor)
        return ERR_LIMIT;
    /* Without a place for the length, anything but body_len bytes is an error. */
    result =
        libdeflate_gzip_decompress_ex(decompressor, entry->gzip.p, entry->gzip.len, body, entry->body_len, &used, NULL);
    libdeflate_free_decompressor(decompressor);
    if (result != LIBDEFLATE_SUCCESS || used != entry->gzip.len)
        return ERR_CORRUPT;
    entry->body = (struct str){body, entry->body_len};
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
    char space[SYS_DIGEST_LEN + 1];
    struct buf digits = {.p = space, .cap = sizeof space};

    sys_digest(body, &digits);
    return arena_printf(arena, "\"%.*s\"", STR_ARG(buf_str(&digits)));
}

bool entry_etag_hash(struct str etag, struct str *digits)
{
    struct str rest = etag.len > 2 ? (struct str){etag.p + 1, etag.len - 2} : STR("");
    struct str hash = str_cut(&rest, '-');

    for (size_t i = 0; i < hash.len; i++)
        if (hash.p[i] == '\0' || !strchr("0123456789abcdef", hash.p[i]))
            return false;
    *digits = hash;
    return hash.len > 0 && (!rest.p || str_equal(rest, STR("gzip")));
}
