/*
 * caching_accepts_gzip against its promise: gzip is sent to nobody who did not name it or `*`; case and blanks say
 * nothing; a coding of no interest changes no mind; and what is added behind counts as it would alone.
 */
#include <assert.h>
#include <ctype.h>
#include <stdlib.h>

#include "http/caching.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whether PREFIX, TEXT in the other case and SUFFIX accept gzip. In memory of exactly their length. */
static bool accepts(struct str prefix, struct str text, struct str suffix)
{
    size_t len = prefix.len + text.len + suffix.len;
    char *joined = malloc(len), *p = joined;

    for (size_t i = 0; i < prefix.len; i++)
        *p++ = prefix.p[i];
    for (size_t i = 0; i < text.len; i++)
        *p++ = (char)(islower((unsigned char)text.p[i]) ? toupper((unsigned char)text.p[i])
                                                        : tolower((unsigned char)text.p[i]));
    for (size_t i = 0; i < suffix.len; i++)
        *p++ = suffix.p[i];
    bool yes = caching_accepts_gzip((struct str){joined, len});
    free(joined);
    return yes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    const struct str none = {"", 0};
    bool yes = caching_accepts_gzip(text);
    int weight = caching_media_weight(text, STR("text/plain"), STR("0.0.4"));

    assert(weight >= -1 && weight <= 1000);
    assert(accepts(none, text, none) == yes);
    assert(accepts(STR(", \t"), text, STR("\t ,,")) == yes);
    assert(accepts(STR("br;q=1,"), text, STR(" , deflate;q=0.999")) == yes);
    assert(!accepts(none, text, STR(",gzip;q=0")));
    assert(!accepts(none, text, STR(",gzip;q=0.0000")));
    if (!yes)
        return 0;
    assert(accepts(none, text, STR(",identity;q=0")));
    assert(accepts(none, text, STR(",gzip")));
    assert(!accepts(none, text, STR(",x-gzip;q=0.5,identity;q=0.501")));
    bool star = memchr(data, '*', size), named = false;
    for (size_t i = 0; i + 4 <= size; i++)
        named |= str_equal_nocase((struct str){text.p + i, 4}, STR("gzip"));
    assert(star || named);
    return 0;
}
