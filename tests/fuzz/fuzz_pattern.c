/*
 * fuzz_pattern: an expression, up to the first newline, on the bytes behind it, against the C library's matcher.
 *
 * What is accepted here is accepted there. The answers are compared for small inputs without anchors: the C library
 * keeps all that it finds out, and answers wrongly where `^` or `$` stands in a repetition, as in `(^a|b){2}` on `aa`.
 * It is not asked where a repetition may stand in another: it writes out also what is empty, to gigabytes.
 */
#include "config/pattern.h"

#include <regex.h>
#include <stdlib.h>

enum { SMALL_PATTERN = 32, SMALL_VALUE = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static bool is_compared(struct str text, struct str value)
{
    const char *brace = text.len > 0 ? memchr(text.p, '{', text.len) : NULL;
    const size_t behind = brace ? text.len - (size_t)(brace + 1 - text.p) : 0;

    return text.len <= SMALL_PATTERN && !(text.len > 0 && memchr(text.p, '\0', text.len)) &&
           !(value.len > 0 && memchr(value.p, '\0', value.len)) && !(behind > 0 && memchr(brace + 1, '{', behind));
}

static char *copy(struct str text)
{
    char *bytes = malloc(text.len + 1);

    require(bytes);
    if (text.len > 0)
        memcpy(bytes, text.p, text.len);
    bytes[text.len] = '\0';
    return bytes;
}

static void compare(struct str text, struct str value, bool matches)
{
    char *text_bytes = copy(text), *value_bytes = copy(value);
    regex_t reference;

    require(regcomp(&reference, text_bytes, REG_EXTENDED | REG_NOSUB) == 0);
    if (value.len <= SMALL_VALUE && !strpbrk(text_bytes, "^$"))
        require(matches == (regexec(&reference, value_bytes, 0, NULL, 0) == 0));
    regfree(&reference);
    free(text_bytes);
    free(value_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str value = {(const char *)data, size};
    struct str text = str_cut(&value, '\n');
    struct pattern *pattern;
    struct buf why = {0};

    if (pattern_compile(text, &pattern, &why) == ERR_OK) {
        bool matches = pattern_matches(pattern, value);

        require(why.len == 0);
        if (is_compared(text, value))
            compare(text, value, matches);
        pattern_free(&pattern);
    } else {
        require(why.len > 0);
    }
    buf_free(&why);
    return 0;
}
