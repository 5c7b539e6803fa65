/* Any bytes are taken or refused as a list of bans; what is taken is, written again, the same bytes. */
#include <stdlib.h>

#include "l2/l2_bans.h"

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    struct buf again = {0};
    struct l2_bans bans;

    if (l2_bans_parse(text, &bans) != ERR_OK)
        return 0;
    require(bans.count <= L2_BANS_MAX);
    for (size_t i = 0; i < bans.count; i++) {
        const struct l2_ban *ban = &bans.list[i];
        enum l2_bans_verdict verdict = l2_bans_judge(&bans, ban->pattern, ban->number - 1);

        require(ban->number > 0);
        buf_printf(&again, "%llu %c ", (unsigned long long)ban->number, ban->soft ? 's' : 'h');
        buf_add_str(&again, ban->pattern);
        buf_add_char(&again, '\n');
        if (str_glob_match(ban->pattern, ban->pattern))
            require(verdict == L2_BANS_HARD || (ban->soft && verdict == L2_BANS_SOFT));
        require(l2_bans_judge(&bans, ban->pattern, UINT64_MAX) == L2_BANS_NONE);
        require(l2_bans_find(&bans, ban->number)->number == ban->number);
    }
    require(str_equal(text, buf_str(&again)));
    buf_free(&again);
    return 0;
}
