/*
 * fuzz_trace: a client's traceparent and request id. What is taken of a traceparent is its beginning, of one length and
 * one alphabet, and is taken again as it is; what is taken for an id needs no escaping anywhere.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "http/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_parent(struct str text)
{
    struct str taken = trace_parent(text), again;

    if (taken.len == 0)
        return;
    assert(taken.p == text.p && taken.len == TRACE_PARENT_LEN && text.len >= taken.len);
    for (size_t i = 0; i < taken.len; i++)
        assert(taken.p[i] != '\0' && strchr(i == 2 || i == 35 || i == 52 ? "-" : "0123456789abcdef", taken.p[i]));
    assert(memcmp(taken.p, "ff", 2) != 0);
    again = trace_parent(taken);
    assert(str_equal(again, taken));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};

    check_parent(text);
    if (trace_is_request_id(text))
        for (size_t i = 0; i < size; i++)
            assert(data[i] > ' ' && data[i] < 0x7f && data[i] != '"' && data[i] != '\\');
    return 0;
}
