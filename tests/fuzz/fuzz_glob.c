/*
 * fuzz_glob: the matcher against a reference that follows Redis's own recursion, literally and slowly.
 *
 * Input: the pattern, up to the first newline, and the text behind it. The reference is exponential, so it is asked
 * only when the input is small; the matcher itself is run on all of it.
 */
#include "base/str.h"

#include <stdlib.h>

#define PATTERN_MAX 16
#define TEXT_MAX 12

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct str skip(struct str text, size_t len)
{
    return (struct str){text.p + len, text.len - len};
}

/* Whether the class at PATTERN, behind its '[', takes C; leaves PATTERN on its ']' or at its end. */
static bool reference_class(struct str *pattern, char c)
{
    bool negated = pattern->len > 0 && pattern->p[0] == '^', found = false;

    if (negated)
        *pattern = skip(*pattern, 1);
    for (; pattern->len > 0; *pattern = skip(*pattern, 1)) {
        if (pattern->p[0] == '\\' && pattern->len >= 2) {
            *pattern = skip(*pattern, 1);
            found = found || pattern->p[0] == c;
        } else if (pattern->p[0] == ']') {
            break;
        } else if (pattern->len >= 3 && pattern->p[1] == '-') {
            char low = pattern->p[0], high = pattern->p[2];

            found = found || (low <= high ? c >= low && c <= high : c >= high && c <= low);
            *pattern = skip(*pattern, 2);
        } else {
            found = found || pattern->p[0] == c;
        }
    }
    return negated ? !found : found;
}

static bool reference(struct str pattern, struct str text)
{
    bool matches;

    if (pattern.len == 0)
        return text.len == 0;
    if (pattern.p[0] == '*') {
        while (pattern.len > 0 && pattern.p[0] == '*')
            pattern = skip(pattern, 1);
        if (pattern.len == 0)
            return true;
        for (size_t i = 0; i <= text.len; i++)
            if (reference(pattern, skip(text, i)))
                return true;
        return false;
    }
    if (text.len == 0)
        return false;
    if (pattern.p[0] == '[') {
        pattern = skip(pattern, 1);
        matches = reference_class(&pattern, text.p[0]);
        if (pattern.len == 0)
            return matches && text.len == 1;
    } else {
        if (pattern.p[0] == '\\' && pattern.len >= 2) {
            pattern = skip(pattern, 1);
            matches = pattern.p[0] == text.p[0];
        } else {
            matches = pattern.p[0] == '?' || pattern.p[0] == text.p[0];
        }
    }
    return matches && reference(skip(pattern, 1), skip(text, 1));
}

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Copies of exactly their length, so that a look past the end is noticed. */
    struct str rest = {(const char *)data, size};
    struct str first = str_cut(&rest, '\n');
    char *pattern_bytes = malloc(first.len ? first.len : 1), *text_bytes = malloc(rest.len ? rest.len : 1);
    struct str pattern = {pattern_bytes, first.len}, text = {text_bytes, rest.len};
    bool matches;

    require(pattern_bytes && text_bytes);
    if (first.len > 0)
        memcpy(pattern_bytes, first.p, first.len);
    if (rest.len > 0)
        memcpy(text_bytes, rest.p, rest.len);
    matches = str_glob_match(pattern, text);
    if (text.len > 0 && pattern.len <= PATTERN_MAX && text.len <= TEXT_MAX)
        require(matches == reference(pattern, text));
    if (str_glob_is_literal(pattern))
        require(matches == str_equal(pattern, text));
    require(str_glob_match(STR("*"), text));
    free(pattern_bytes);
    free(text_bytes);
    return 0;
}
