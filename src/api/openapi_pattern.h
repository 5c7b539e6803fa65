/*
 * openapi_pattern: POSIX extended regular expressions, as front matter has them, in the words of ECMA-262, as JSON
 * Schema has them. Pure.
 */
#ifndef LARDER_OPENAPI_PATTERN_H
#define LARDER_OPENAPI_PATTERN_H

#include "base/str.h"

/* Appends what matches the same ASCII text as EXPRESSION, which pattern_compile takes; it may be used with the flags
 * `u` and `v` of ECMA-262, or without. False, with OUT as it was, for what cannot be said there. */
bool openapi_pattern_convert(struct str expression, struct buf *out);

#endif
