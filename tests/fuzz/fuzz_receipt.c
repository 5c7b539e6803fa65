/*
 * fuzz_receipt: what a client says its receipt is. Whatever has a number is written again with the same one, but for
 * its digits.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "store/receipt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct writer_position_journal journal = {.number = 1};
    const struct str receipt = {(const char *)data, size};
    const uint64_t number = receipt_number(receipt);
    struct buf again = {0};

    if (number == 0)
        return 0;
    assert(number <= INT64_MAX);
    receipt_write(&journal, number, &again);
    assert(receipt_number(buf_str(&again)) == number);
    /* Leading zeros and a sign are all that may be more. */
    assert(again.len <= size);
    buf_free(&again);
    return 0;
}
