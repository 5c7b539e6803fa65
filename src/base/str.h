/*
 * str: borrowed views, numbers, percent coding, UTF-8 and globs.
 *
 * `struct str` borrows bytes that somebody else owns and is not terminated; `struct buf` (base/buf.h) owns its bytes.
 * Every function that reads input is pure, bounded by its view and never looks past it.
 */
#ifndef LARDER_STR_H
#define LARDER_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"

/* struct str itself stands in buf.h, whose inline functions need it. */
#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
/* For printf("%.*s"): STR_ARG(view) */
#define STR_ARG(view) (int)(view).len, (view).p

static inline struct str str_from(const char *text)
{
    return (struct str){text, text ? strlen(text) : 0};
}

static inline bool str_equal(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

bool str_equal_nocase(struct str a, struct str b); /* ASCII only */
bool str_starts(struct str text, struct str prefix);
int str_compare(struct str a, struct str b); /* bytewise, as memcmp, shorter first */
struct str str_trim(struct str text);        /* without blanks and tabs at both ends */
/* Cuts *REST at the first SEPARATOR: returns what stood before it and leaves what follows; without one, returns all and
 * leaves {NULL, 0}. */
struct str str_cut(struct str *rest, char separator);
/* The next word of *REST separated by blanks and tabs; empty at the end. */
struct str str_word(struct str *rest);

/* Whole-view decimal parse, no blanks, no leading '+'. ERR_SYNTAX, or ERR_RANGE outside int64. */
enum err str_to_int64(struct str text, int64_t *out) ERR_CHECKED;
/* Whole-view finite JSON-like number, locale-independent. ERR_SYNTAX or ERR_RANGE. */
enum err str_to_double(struct str text, double *out) ERR_CHECKED;
/* `30s`, `5m`, `1h`, `7d`, `250ms` or `0`, to milliseconds. */
enum err str_to_duration_ms(struct str text, int64_t *out) ERR_CHECKED;
/* `512`, `64K`, `1M`, `2G`, optionally followed by `iB` or `B`, to bytes (powers of 1024). */
enum err str_to_size(struct str text, uint64_t *out) ERR_CHECKED;

/* Length of the valid UTF-8 sequence (RFC 3629) that TEXT begins with; 0 when there is none. */
size_t str_utf8_len(struct str text);
/* Strict UTF-8 by RFC 3629: no overlong forms, surrogates or values beyond U+10FFFF. */
bool str_is_utf8(struct str text);
/* Whether TEXT holds a control character (below 0x20, or 0x7f). */
bool str_has_control(struct str text);

/* What the hexadecimal digit C stands for; -1 when it is none. */
int str_hex_value(char c);
/* Percent-decodes TEXT onto OUT (`+` is a blank when PLUS). ERR_SYNTAX for a broken escape, %00, a raw or decoded
 * control character, or a result that is not UTF-8; OUT is then as it was. */
enum err str_percent_decode(struct str text, bool plus, struct buf *out) ERR_CHECKED;
/* Appends TEXT with everything but RFC 3986 unreserved characters escaped. */
void str_percent_encode(struct str text, struct buf *out);

/* Redis glob: `*`, `?`, `[a-z]`, `[^a-z]`, `\` quotes. Matches as Redis's own matcher does, in time at most
 * proportional to pattern times text. */
bool str_glob_match(struct str pattern, struct str text);
/* Whether PATTERN has no glob characters, so that it names just one key. */
bool str_glob_is_literal(struct str pattern);

#endif
