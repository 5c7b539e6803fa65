/*
 * pattern: POSIX extended regular expressions (IEEE 1003.1, 9.4), matched in bounded time and without memory. Pure.
 *
 * An expression comes from the operator, but the values from anybody: so what one value costs is bounded when the
 * expression is compiled, and matching leaves nothing behind.
 */
#ifndef LARDER_PATTERN_H
#define LARDER_PATTERN_H

#include "base/str.h"

enum { PATTERN_TEXT_MAX = 256, PATTERN_POSITIONS_MAX = 320 };

struct pattern;

/* Compiles TEXT to *OUT, which is to be freed with pattern_free. ERR_SYNTAX for what is no such expression, or is left
 * undefined by POSIX; ERR_LIMIT for more than PATTERN_TEXT_MAX bytes, or PATTERN_POSITIONS_MAX positions once its
 * repetitions are written out, or groups nested too deep. WHY gets the reason, a part of a sentence. */
enum err pattern_compile(struct str text, struct pattern **out, struct buf *why) ERR_CHECKED;
void pattern_free(struct pattern **pattern);

/* Whether PATTERN matches anywhere in VALUE. Bytes are compared, as in the C locale. Allocates nothing, changes nothing
 * in PATTERN (threads may share it), and looks at each byte once, at a cost that PATTERN_POSITIONS_MAX bounds. */
bool pattern_matches(const struct pattern *pattern, struct str value);

#endif
