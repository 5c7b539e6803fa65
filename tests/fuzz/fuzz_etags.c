/*
 * fuzz_etags: a client's list of entity tags, taken apart. Every tag lies within the list, in its quotes, in order, and
 * is found in it.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cache/entry.h"
#include "http/caching.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_hash(struct str tag)
{
    struct str digits;

    if (!entry_etag_hash(tag, &digits))
        return;
    assert(digits.len > 0 && digits.p == tag.p + 1 && digits.len + 2 <= tag.len);
    assert(tag.p[digits.len + 1] == '"' ||
           (tag.len == digits.len + 7 && memcmp(digits.p + digits.len, "-gzip\"", 6) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct str all = {(const char *)data, size};
    struct str list = all, tag;
    size_t at = 0;
    bool weak;

    while ((tag = caching_next_tag(&list, &weak)).len > 0) {
        size_t begin = (size_t)(tag.p - all.p);
        assert(begin >= at && begin + tag.len <= size && list.len == size - begin - tag.len);
        assert(tag.len >= 2 && tag.p[0] == '"' && tag.p[tag.len - 1] == '"');
        assert(!memchr(tag.p + 1, '"', tag.len - 2));
        assert(!weak || (begin >= 2 && memcmp(tag.p - 2, "W/", 2) == 0));
        assert(caching_none_match(all, tag));
        check_hash(tag);
        at = begin + tag.len;
    }
    return 0;
}
