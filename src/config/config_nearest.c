/*
 * config_nearest: spelling suggestions for settings and for the words of front matter.
 *
 * The distance of two words is how many letters one has to change, add, drop or swap with a neighbour to make one of
 * the other (optimal string alignment); case does not count. A word is near within one such step, or one for each three
 * letters.
 *
 * Invariant: bounded by the longest word it looks at; longer ones are near to nothing. It never decides: what it finds
 * is only ever shown to a person.
 */
#include "config/config_nearest.h"

/* Optimal string alignment: how many letters to change, add, drop or swap with a neighbour; case does not count. */
static size_t distance(struct str a, struct str b)
{
    enum { LONGEST = 32 };
    size_t rows[3][LONGEST + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2], *spare;

    if (a.len > LONGEST || b.len > LONGEST)
        return SIZE_MAX;
    for (size_t j = 0; j <= b.len; j++)
        above[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            bool same = str_equal_nocase((struct str){&a.p[i - 1], 1}, (struct str){&b.p[j - 1], 1});
            size_t cost = above[j - 1] + !same;

            if (above[j] + 1 < cost)
                cost = above[j] + 1;
            if (row[j - 1] + 1 < cost)
                cost = row[j - 1] + 1;
            if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1] && before[j - 2] + 1 < cost)
                cost = before[j - 2] + 1;
            row[j] = cost;
        }
        spare = before;
        before = above;
        above = row;
        row = spare;
    }
    return above[b.len];
}

const char *config_nearest(struct str word, const char *const *words, size_t count)
{
    size_t allowed = word.len >= 6 ? word.len / 3 : 1;
    size_t least = allowed + 1;
    const char *nearest = NULL;

    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(words[i]), letters;

        /* Lengths alone put most words out of reach. */
        if (len > word.len + allowed || word.len > len + allowed)
            continue;
        letters = distance(word, (struct str){words[i], len});
        if (letters < least) {
            least = letters;
            nearest = words[i];
        }
    }
    return nearest;
}
