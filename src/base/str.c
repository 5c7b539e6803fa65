/*
 * str: views of text that somebody else owns: cutting, numbers, UTF-8, percent coding, globs.
 *
 * Invariant: every function is pure, looks at no byte outside its view, and takes any bytes whatever: a NUL is a byte
 * like others. What is malformed gives an enum err and leaves the result untouched.
 *
 * It refuses what two readers could read differently: numbers with blanks or a plus sign, overlong UTF-8, control
 * characters hidden behind a percent sign. It knows no locale.
 */
#include "base/str.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

static struct str skip(struct str text, size_t len)
{
    return (struct str){text.p + len, text.len - len};
}

bool str_equal_nocase(struct str a, struct str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

bool str_starts(struct str text, struct str prefix)
{
    return text.len >= prefix.len && str_equal((struct str){text.p, prefix.len}, prefix);
}

int str_compare(struct str a, struct str b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.p, b.p, len) : 0;

    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

struct str str_trim(struct str text)
{
    while (text.len > 0 && is_blank(text.p[0]))
        text = skip(text, 1);
    while (text.len > 0 && is_blank(text.p[text.len - 1]))
        text.len--;
    return text;
}

struct str str_cut(struct str *rest, char separator)
{
    struct str before = *rest;
    const char *found = rest->len ? memchr(rest->p, separator, rest->len) : NULL;

    if (found) {
        before.len = (size_t)(found - rest->p);
        *rest = skip(*rest, before.len + 1);
    } else {
        *rest = (struct str){NULL, 0};
    }
    return before;
}

struct str str_word(struct str *rest)
{
    struct str word = *rest;
    size_t len = 0;

    while (word.len > 0 && is_blank(word.p[0]))
        word = skip(word, 1);
    while (len < word.len && !is_blank(word.p[len]))
        len++;
    *rest = len < word.len ? skip(word, len) : (struct str){NULL, 0};
    word.len = len;
    return word;
}

enum err str_to_int64(struct str text, int64_t *out)
{
    enum { SAFE_DIGITS = 18 }; /* that cannot overflow */
    bool negative = text.len > 0 && text.p[0] == '-';
    bool overflow = false;
    int64_t value = 0;

    if (negative)
        text = skip(text, 1);
    if (text.len == 0)
        return ERR_SYNTAX;
    if (text.len <= SAFE_DIGITS) {
        for (size_t i = 0; i < text.len; i++) {
            if (!is_digit(text.p[i]))
                return ERR_SYNTAX;
            value = 10 * value + (text.p[i] - '0');
        }
        *out = negative ? -value : value;
        return ERR_OK;
    }
    for (size_t i = 0; i < text.len; i++) {
        int digit = text.p[i] - '0';

        if (!is_digit(text.p[i]))
            return ERR_SYNTAX;
        /* Counting downwards for negatives reaches INT64_MIN, which has no positive counterpart. */
        overflow = overflow || __builtin_mul_overflow(value, (int64_t)10, &value) ||
                   __builtin_add_overflow(value, (int64_t)(negative ? -digit : digit), &value);
    }
    if (overflow)
        return ERR_RANGE;
    *out = value;
    return ERR_OK;
}

static size_t count_digits(struct str text)
{
    size_t len = 0;

    while (len < text.len && is_digit(text.p[len]))
        len++;
    return len;
}

/* RFC 8259, section 6, save that leading zeros are let through. */
static bool is_number(struct str text)
{
    size_t len;

    if (text.len > 0 && text.p[0] == '-')
        text = skip(text, 1);
    len = count_digits(text);
    if (len == 0)
        return false;
    text = skip(text, len);
    if (text.len > 0 && text.p[0] == '.') {
        len = count_digits(skip(text, 1));
        if (len == 0)
            return false;
        text = skip(text, len + 1);
    }
    if (text.len > 0 && (text.p[0] == 'e' || text.p[0] == 'E')) {
        text = skip(text, 1);
        if (text.len > 0 && (text.p[0] == '+' || text.p[0] == '-'))
            text = skip(text, 1);
        len = count_digits(text);
        return len > 0 && len == text.len;
    }
    return text.len == 0;
}

enum err str_to_double(struct str text, double *out)
{
    char digits[512];
    locale_t plain;
    double value;

    if (!is_number(text))
        return ERR_SYNTAX;
    if (text.len >= sizeof(digits))
        return ERR_RANGE;
    memcpy(digits, text.p, text.len);
    digits[text.len] = '\0';
    plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    value = strtod_l(digits, NULL, plain);
    freelocale(plain);
    if (!isfinite(value))
        return ERR_RANGE;
    *out = value;
    return ERR_OK;
}

struct unit {
    struct str name;
    int64_t factor;
};

/* A whole number and one of COUNT units. */
static enum err parse_quantity(struct str text, const struct unit *units, size_t count, int64_t *out)
{
    size_t len = count_digits(text);
    struct str name = skip(text, len);
    int64_t value, product;
    enum err err;

    if (len == 0)
        return ERR_SYNTAX;
    for (size_t i = 0; i < count; i++) {
        if (!str_equal(name, units[i].name))
            continue;
        err = str_to_int64((struct str){text.p, len}, &value);
        if (err)
            return err;
        if (__builtin_mul_overflow(value, units[i].factor, &product))
            return ERR_RANGE;
        *out = product;
        return ERR_OK;
    }
    return ERR_SYNTAX;
}

enum err str_to_duration_ms(struct str text, int64_t *out)
{
    static const struct unit units[] = {
        {STR("ms"), 1}, {STR("s"), 1000}, {STR("m"), 60 * 1000}, {STR("h"), 3600 * 1000}, {STR("d"), 86400 * 1000}};

    if (str_equal(text, STR("0"))) {
        *out = 0;
        return ERR_OK;
    }
    return parse_quantity(text, units, sizeof(units) / sizeof(*units), out);
}

enum err str_to_size(struct str text, uint64_t *out)
{
    static const struct unit units[] = {{STR(""), 1},         {STR("B"), 1},         {STR("K"), 1 << 10},
                                        {STR("KB"), 1 << 10}, {STR("KiB"), 1 << 10}, {STR("M"), 1 << 20},
                                        {STR("MB"), 1 << 20}, {STR("MiB"), 1 << 20}, {STR("G"), 1 << 30},
                                        {STR("GB"), 1 << 30}, {STR("GiB"), 1 << 30}};
    int64_t value;
    enum err err = parse_quantity(text, units, sizeof(units) / sizeof(*units), &value);

    if (err)
        return err;
    *out = (uint64_t)value;
    return ERR_OK;
}

size_t str_utf8_len(struct str text)
{
    const unsigned char *p = (const unsigned char *)text.p;
    unsigned char low = 0x80, high = 0xbf;
    size_t len;

    if (text.len == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (text.len < len)
        return 0;
    /* RFC 3629, section 4: the second byte is what excludes overlong forms, surrogates and values past U+10FFFF. */
    if (p[0] == 0xe0)
        low = 0xa0;
    else if (p[0] == 0xed)
        high = 0x9f;
    else if (p[0] == 0xf0)
        low = 0x90;
    else if (p[0] == 0xf4)
        high = 0x8f;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool str_is_utf8(struct str text)
{
    while (text.len > 0) {
        uint64_t eight;
        size_t len;

        if (text.len >= sizeof(eight)) {
            memcpy(&eight, text.p, sizeof(eight));
            if (!(eight & UINT64_C(0x8080808080808080))) {
                text = skip(text, sizeof(eight));
                continue;
            }
        }
        len = str_utf8_len(text);
        if (len == 0)
            return false;
        text = skip(text, len);
    }
    return true;
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

/* Whether one of eight bytes is below 0x20 or 0x7f: bit tricks of Hacker's Delight, chapter 6; bytes from 0x80 on never
 * count. */
static bool any_control(uint64_t eight)
{
    const uint64_t each = UINT64_C(0x0101010101010101), top = each * 0x80, flipped = eight ^ (each * 0x7f);

    return (((eight - each * 0x20) & ~eight) | ((flipped - each) & ~flipped)) & top;
}

bool str_has_control(struct str text)
{
    size_t i = 0;

    /* This looks at every byte of every request. The last eight may overlap those before. */
    for (uint64_t eight; text.len >= sizeof eight && i < text.len; i += sizeof eight) {
        if (text.len - i < sizeof eight)
            i = text.len - sizeof eight;
        memcpy(&eight, text.p + i, sizeof eight);
        if (any_control(eight))
            return true;
    }
    for (; i < text.len; i++)
        if (is_control(text.p[i]))
            return true;
    return false;
}

int str_hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    c = (char)lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes the bytes alone; OUT may be left with some of them. */
static enum err decode_percent(struct str text, bool plus, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.p[i];

        if (c == '%') {
            int high = text.len - i > 2 ? str_hex_value(text.p[i + 1]) : -1;
            int low = high >= 0 ? str_hex_value(text.p[i + 2]) : -1;

            if (low < 0)
                return ERR_SYNTAX;
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (is_control(c))
            return ERR_SYNTAX;
        buf_add_char(out, c);
    }
    return ERR_OK;
}

enum err str_percent_decode(struct str text, bool plus, struct buf *out)
{
    size_t before = out->len;
    enum err err;

    buf_reserve(out, text.len);
    err = decode_percent(text, plus, out);
    if (!err && !str_is_utf8(skip(buf_str(out), before)))
        err = ERR_SYNTAX;
    if (err) {
        out->len = before;
        out->p[before] = '\0';
    }
    return err;
}

void str_percent_encode(struct str text, struct buf *out)
{
    static const char hex[] = "0123456789ABCDEF";

    buf_reserve(out, text.len);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.p[i];
        unsigned char letter = lower(text.p[i]);

        /* RFC 3986, section 2.3 */
        if (is_digit(text.p[i]) || (letter >= 'a' && letter <= 'z') || c == '-' || c == '.' || c == '_' || c == '~')
            buf_add_char(out, text.p[i]);
        else
            buf_add(out, (const char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
    }
}

/*
 * Whether C is in the class that PATTERN begins with, behind its '['; *LEN gets the bytes that the class takes. An
 * unclosed class ends with the pattern; a range takes whatever follows its '-', a ']' too, and may stand reversed;
 * `char` is compared with the sign that it has on this machine. All of that is how Redis does it.
 */
static bool match_class(struct str pattern, char c, size_t *len)
{
    bool negated = pattern.len > 0 && pattern.p[0] == '^';
    bool found = false;
    size_t i = negated ? 1 : 0;

    while (i < pattern.len && pattern.p[i] != ']') {
        char first = pattern.p[i], last = first;

        if (first == '\\' && pattern.len - i >= 2) {
            first = last = pattern.p[i + 1];
            i += 2;
        } else if (pattern.len - i >= 3 && pattern.p[i + 1] == '-') {
            last = pattern.p[i + 2];
            i += 3;
        } else {
            i++;
        }
        if ((c >= first && c <= last) || (c >= last && c <= first))
            found = true;
    }
    *len = i < pattern.len ? i + 1 : i;
    return found != negated;
}

/* Whether C matches the element, other than '*', that PATTERN begins with; *LEN gets the bytes that it takes. */
static bool match_one(struct str pattern, char c, size_t *len)
{
    bool matches;

    switch (pattern.p[0]) {
    case '?':
        *len = 1;
        return true;
    case '[':
        matches = match_class(skip(pattern, 1), c, len);
        (*len)++;
        return matches;
    case '\\':
        /* A backslash at the end stands for itself. */
        *len = pattern.len >= 2 ? 2 : 1;
        return pattern.p[*len - 1] == c;
    default:
        *len = 1;
        return pattern.p[0] == c;
    }
}

/*
 * Each element but '*' takes exactly one byte, so once a later '*' is reached an earlier one need never be
 * reconsidered: going back to the last one alone is exact, and bounds the time by pattern times text.
 */
bool str_glob_match(struct str pattern, struct str text)
{
    struct str star = {NULL, 0}, star_text = {NULL, 0};
    size_t len;

    /* Redis's loop never looks at a pattern when there is no text; `*` alone is short-cut before it. */
    if (text.len == 0)
        return pattern.len == 0 || str_equal(pattern, STR("*"));
    while (text.len > 0) {
        if (pattern.len > 0 && pattern.p[0] == '*') {
            pattern = skip(pattern, 1);
            star = pattern;
            star_text = text;
            if (pattern.len == 0)
                return true;
        } else if (pattern.len > 0 && match_one(pattern, text.p[0], &len)) {
            pattern = skip(pattern, len);
            text = skip(text, 1);
        } else if (star.p) {
            star_text = skip(star_text, 1);
            pattern = star;
            text = star_text;
        } else {
            return false;
        }
    }
    while (pattern.len > 0 && pattern.p[0] == '*')
        pattern = skip(pattern, 1);
    return pattern.len == 0;
}

bool str_glob_is_literal(struct str pattern)
{
    for (size_t i = 0; i < pattern.len; i++)
        if (strchr("*?[\\", pattern.p[i]) && pattern.p[i] != '\0')
            return false;
    return true;
}
