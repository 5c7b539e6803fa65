/*
 * entry: the bytes of a cached response, versioned, and its compression. Pure.
 *
 * Layout, little-endian: "LE" | version u8 (2) | flags u8 | status u16 | reserved u16 | stored_at i64 | fresh_until i64
 * | stale_until i64 | error_until i64 (all ms since the epoch, 0 to ENTRY_TIME_MAX_MS) | cost_us u32 | tags_len u32 |
 * etag_len u32 | type_len u32 | body_len u32 | plain_len u32 | tags (each u16 length and bytes) | etag | content type |
 * body. Flag 1: the body is gzip (RFC 1952), plain_len bytes when unpacked; without it plain_len equals body_len. Other
 * flags and reserved are 0. Bytes of another version, or that do not add up, are no entry. `stored_at` stays at byte 8:
 * the first ENTRY_SPENT_LEN bytes tell one filling of a key from the next.
 */
#ifndef LARDER_ENTRY_H
#define LARDER_ENTRY_H

#include "base/arena.h"

enum {
    ENTRY_TAGS_MAX = 16,
    ENTRY_TAG_MAX_LEN = UINT16_MAX,
    ENTRY_COMPRESS_MIN = 1024,     /* a body is compressed when it is longer */
    ENTRY_UNPACKED_MAX = 64 << 20, /* and when it is no longer than this */
    ENTRY_SPENT_LEN = 48,
};

/* The end of the year 9999: far from where sums of times would overflow. */
#define ENTRY_TIME_MAX_MS INT64_C(253402300799999)

struct entry {
    int status; /* 200, or 404 for a negative entry */
    int64_t stored_at_ms, fresh_until_ms, stale_until_ms, error_until_ms;
    uint32_t cost_us; /* what the fill took */
    struct str tags[ENTRY_TAGS_MAX];
    size_t tags_count;
    struct str etag; /* with its quotes; empty without */
    struct str content_type;
    struct str body; /* plain; p is NULL in an entry that is kept compressed only */
    struct str gzip; /* compressed; p is NULL in an entry that is not kept compressed */
    size_t body_len; /* of the plain body, whether it is here or not */
    uint64_t lease;  /* this host's that it was filled under; 0: under none. Never encoded */
};

/* Sets ENTRY's `body_len`, and its `gzip`, in ARENA, when the body is long enough and becomes shorter by it; where
 * memory lacks it has none (and ARENA's overflow is latched). The same body always gives the same bytes on one host. */
void entry_compress(struct entry *entry, struct arena *arena);
/* Sets ENTRY's `body`, in ARENA, from its `gzip` when it has no other. ERR_CORRUPT when that is no gzip of exactly
 * `body_len` bytes, ERR_LIMIT when ARENA is full or memory lacks. */
enum err entry_unpack(struct entry *entry, struct arena *arena) ERR_CHECKED;

/* Bytes of ENTRY once encoded. */
size_t entry_encoded_len(const struct entry *entry);
/* Appends ENTRY's bytes, with `gzip` where there is one, else with `body`. No tag may be longer than
 * ENTRY_TAG_MAX_LEN. */
void entry_encode(const struct entry *entry, struct buf *out);
/* Views of *OUT lie in BYTES; either `body` or `gzip` is set. ERR_VERSION or ERR_CORRUPT: treat as absent. Of an
 * accepted entry, status and times are in range, the ETag is one (RFC 9110, section 8.8.3), the content type has no
 * control character, and `gzip` begins and ends as gzip of `body_len` bytes does: more entry_unpack finds out. */
enum err entry_decode(struct str bytes, struct entry *out) ERR_CHECKED;
/* Whether ENTRY was filled with exactly TAGS. */
bool entry_has_tags(const struct entry *entry, const struct str *tags, size_t tags_count);
/* A strong ETag of BODY, with quotes: in ARENA. */
struct str entry_etag(struct str body, struct arena *arena);
/* The digits of the hash in ETAG (with its quotes), also of a compressed body's. False when it is none of ours. */
bool entry_etag_hash(struct str etag, struct str *digits);

#endif
