/*
 * board_read_scores: what is taken can be written as it is, whatever the bytes; what is refused has a sentence that can
 * be shown. And the day of a period, by the same bytes: what is read as one is printed as it was.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "api/board.h"
#include "store/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_scores(const struct board_scores *scores)
{
    struct buf ignored = {0};

    assert(scores->count >= 1 && scores->count <= BOARD_SCORES_MAX && scores->mode <= CONFIG_BOARD_MODES);
    for (size_t i = 0; i < scores->count; i++) {
        assert(board_is_member(scores->items[i].member, &ignored));
        assert(isfinite(scores->items[i].score) && fabs(scores->items[i].score) <= BOARD_SCORE_MAX);
        for (size_t other = 0; other < i; other++)
            assert(!str_equal(scores->items[i].member, scores->items[other].member));
    }
    assert(ignored.len == 0);
}

static void check_day(struct str text)
{
    struct buf printed = {0};
    int64_t day;

    if (period_parse(text, &day) != ERR_OK)
        return;
    period_print(day, &printed);
    assert(str_equal(buf_str(&printed), text));
    buf_free(&printed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    struct arena *arena = arena_new(4096, 8 << 20);
    struct board_scores scores;
    struct buf why = {0};

    if (board_read_scores(text, arena, &scores, &why) == ERR_OK) {
        assert(rows_json_valid(text));
        check_scores(&scores);
    } else {
        assert(why.len > 0 && str_is_utf8(buf_str(&why)));
    }
    check_day(text);
    buf_free(&why);
    arena_free(&arena);
    return 0;
}
