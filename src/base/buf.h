/*
 * buf: growable bytes that own themselves.
 *
 * Zero-initialised is an empty buffer. `p` is always terminated by a NUL behind `len` once anything was added. Running
 * out of memory ends the process with a message (see sys_alloc). What is added must not lie in the buffer itself.
 * Include base/str.h, which includes this.
 */
#ifndef LARDER_BUF_H
#define LARDER_BUF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* See base/str.h. */
struct str {
    const char *p;
    size_t len;
};

struct buf {
    char *p;
    size_t len, cap;
};

void buf_free(struct buf *buf);
void buf_clear(struct buf *buf); /* empty, capacity kept */
/* Makes room for MORE bytes and the NUL behind them. */
void buf_reserve(struct buf *buf, size_t more);

static inline void buf_add(struct buf *buf, const void *bytes, size_t len)
{
    if (len == 0)
        return;
    if (buf->cap - buf->len <= len)
        buf_reserve(buf, len);
    memcpy(buf->p + buf->len, bytes, len);
    buf->len += len;
    buf->p[buf->len] = '\0';
}

static inline void buf_add_str(struct buf *buf, struct str text)
{
    buf_add(buf, text.p, text.len);
}

static inline void buf_add_char(struct buf *buf, char c)
{
    buf_add(buf, &c, 1);
}

void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
struct str buf_str(const struct buf *buf);

/* TEXT as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD; so the result is always valid JSON. */
void buf_add_json(struct buf *buf, struct str text);
void buf_add_int64(struct buf *buf, int64_t value);
/* The shortest of 15, 16 and 17 digits that reads back as VALUE, valid as JSON; `null` when not finite. */
void buf_add_double(struct buf *buf, double value);

#endif
