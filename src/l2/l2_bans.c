/*
 * l2_bans: parses and applies the list of bans.
 *
 * Invariant: what is taken is the text and nothing else: written again from what was parsed, it is the same bytes. A
 * line that cannot be understood refuses the whole list, for a ban that is overlooked would let a purged entry pass.
 *
 * Nothing is copied: the patterns are views of the text.
 */
#include "l2/l2_bans.h"

static enum err parse_line(struct str line, struct l2_ban *ban)
{
    struct str digits = str_cut(&line, ' '), kind = str_cut(&line, ' ');
    int64_t number;

    /* A leading zero would be a second way to write the same number. */
    if (!line.p || digits.len == 0 || digits.p[0] == '0' || str_to_int64(digits, &number) != ERR_OK || number < 1)
        return ERR_CORRUPT;
    if (!str_equal(kind, STR("h")) && !str_equal(kind, STR("s")))
        return ERR_CORRUPT;
    *ban = (struct l2_ban){.number = (uint64_t)number, .soft = kind.p[0] == 's', .pattern = line};
    return ERR_OK;
}

enum err l2_bans_parse(struct str text, struct l2_bans *out)
{
    out->count = 0;
    while (text.len > 0) {
        struct str line = str_cut(&text, '\n');

        if (!text.p || out->count == L2_BANS_MAX || parse_line(line, &out->list[out->count]) != ERR_OK)
            return ERR_CORRUPT;
        out->count++;
    }
    return ERR_OK;
}

enum l2_bans_verdict l2_bans_judge(const struct l2_bans *bans, struct str key, uint64_t stamp)
{
    enum l2_bans_verdict verdict = L2_BANS_NONE;

    for (size_t i = 0; i < bans->count && verdict != L2_BANS_HARD; i++) {
        const struct l2_ban *ban = &bans->list[i];

        if (ban->number > stamp && (verdict == L2_BANS_NONE || !ban->soft) && str_glob_match(ban->pattern, key))
            verdict = ban->soft ? L2_BANS_SOFT : L2_BANS_HARD;
    }
    return verdict;
}

const struct l2_ban *l2_bans_find(const struct l2_bans *bans, uint64_t number)
{
    for (size_t i = 0; i < bans->count; i++)
        if (bans->list[i].number == number)
            return &bans->list[i];
    return NULL;
}
