/*
 * buf: growable bytes, and what is written into them as JSON.
 *
 * Invariant: cap is 0 or greater than len, and p[len] is NUL once anything was added. A buffer grows by doubling, so
 * adding byte by byte costs the same as adding at once; a size that does not fit size_t ends the process as running out
 * of memory does, for no caller could go on.
 *
 * Whatever is added as JSON is valid JSON, whatever the bytes and whatever the locale. It never formats NaN or
 * infinity, which JSON has no words for.
 */
#include "base/buf.h"

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "base/sys.h"

#define FIRST_CAP 64
#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

void buf_free(struct buf *buf)
{
    free(buf->p);
    *buf = (struct buf){0};
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    if (buf->p)
        buf->p[0] = '\0';
}

void buf_reserve(struct buf *buf, size_t more)
{
    size_t cap = buf->cap ? buf->cap : FIRST_CAP;
    size_t needed;

    /* An impossible size is asked of sys_realloc all the same: it knows how to die loudly. */
    if (__builtin_add_overflow(buf->len, more, &needed) || needed >= SIZE_MAX / 2)
        needed = SIZE_MAX / 2;
    if (needed < buf->cap)
        return;
    while (cap <= needed)
        cap *= 2;
    buf->p = sys_realloc(buf->p, cap);
    buf->cap = cap;
    buf->p[buf->len] = '\0';
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list arguments;
    size_t room = buf->cap - buf->len;
    int len;

    va_start(arguments, format);
    len = vsnprintf(room ? buf->p + buf->len : NULL, room, format, arguments);
    va_end(arguments);
    if (len >= 0 && (size_t)len >= room) {
        buf_reserve(buf, (size_t)len);
        va_start(arguments, format);
        len = vsnprintf(buf->p + buf->len, buf->cap - buf->len, format, arguments);
        va_end(arguments);
    }
    if (len > 0)
        buf->len += (size_t)len;
}

struct str buf_str(const struct buf *buf)
{
    return (struct str){buf->p, buf->len};
}

static void add_escape(struct buf *buf, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char names[] = "\"\"\\\\\bb\ff\nn\rr\tt";

    for (size_t i = 0; i < sizeof(names) - 1; i += 2)
        if (c == (unsigned char)names[i]) {
            buf_add(buf, (const char[]){'\\', names[i + 1]}, 2);
            return;
        }
    buf_add(buf, (const char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
}

void buf_add_json(struct buf *buf, struct str text)
{
    size_t start = 0, i = 0;

    buf_reserve(buf, text.len + 2);
    buf_add_char(buf, '"');
    while (i < text.len) {
        unsigned char c = (unsigned char)text.p[i];
        size_t len = c < 0x80 ? 1 : str_utf8_len((struct str){text.p + i, text.len - i});

        if (len != 0 && c >= 0x20 && c != '"' && c != '\\') {
            i += len;
            continue;
        }
        buf_add(buf, text.p + start, i - start);
        if (len == 0)
            buf_add_str(buf, STR(REPLACEMENT));
        else
            add_escape(buf, c);
        start = ++i;
    }
    if (i > start)
        buf_add(buf, text.p + start, i - start);
    buf_add_char(buf, '"');
}

void buf_add_int64(struct buf *buf, int64_t value)
{
    char digits[24];
    size_t at = sizeof(digits);
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0)
        digits[--at] = '-';
    buf_add(buf, digits + at, sizeof(digits) - at);
}

/*
 * Writes VALUE as a whole number or with up to four decimals where that is exact: most of what a database holds, and
 * ten times faster than searching for digits. Division is rounded correctly, so N / SCALE == VALUE says that the
 * decimal reads back as VALUE; with at most 15 digits there is no other so short.
 */
static bool add_short_decimal(struct buf *buf, double value)
{
    static const int64_t scales[] = {1, 10, 100, 1000, 10000};
    double size = fabs(value);

    if (size >= 1e11 || (value == 0 && signbit(value)))
        return false;
    for (size_t decimals = 0; decimals < sizeof(scales) / sizeof(*scales); decimals++) {
        double scale = (double)scales[decimals], n = rint(size * scale);
        int64_t whole = (int64_t)n / scales[decimals], rest = (int64_t)n % scales[decimals];

        if (n / scale != size)
            continue;
        if (value < 0)
            buf_add_char(buf, '-');
        buf_add_int64(buf, whole);
        if (decimals > 0)
            buf_add_char(buf, '.');
        for (size_t place = decimals; place > 0; place--)
            buf_add_char(buf, (char)('0' + rest / scales[place - 1] % 10));
        return true;
    }
    return false;
}

void buf_add_double(struct buf *buf, double value)
{
    char digits[32];
    int len = 0;
    locale_t plain, previous;

    if (!isfinite(value)) {
        buf_add_str(buf, STR("null"));
        return;
    }
    if (add_short_decimal(buf, value))
        return;
    /* glibc gives its static C locale here, without allocating. */
    plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    previous = uselocale(plain);
    for (int precision = 15; precision <= 17; precision++) {
        len = snprintf(digits, sizeof(digits), "%.*g", precision, value);
        if (strtod(digits, NULL) == value)
            break;
    }
    uselocale(previous);
    freelocale(plain);
    buf_add(buf, digits, (size_t)len);
}
