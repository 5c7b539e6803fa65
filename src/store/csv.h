/*
 * csv: RFC 4180 records out of text, with line numbers. Pure.
 *
 * CRLF or LF; quoted cells may hold separators, line ends and doubled quotes. A UTF-8 byte order mark at the start is
 * skipped. Strict: text after a closing quote, a quote inside a bare cell, a carriage return alone, a NUL, bytes that
 * are not UTF-8 and an unclosed quote are errors.
 */
#ifndef LARDER_CSV_H
#define LARDER_CSV_H

#include "base/arena.h"

enum { CSV_CELLS_MAX = 256 };

struct csv {
    struct str rest;
    unsigned line;        /* of the next record's first character, from 1 */
    unsigned record_line; /* of the record last read */
};

void csv_init(struct csv *csv, struct str text);
/* The next record's cells, at most CSV_CELLS_MAX, in ARENA or borrowed from the text. Lines with nothing on them are
 * skipped. ERR_NOT_FOUND at the end; ERR_SYNTAX or ERR_LIMIT with WHY (static text), after which there is nothing more
 * to read. */
enum err csv_next(struct csv *csv, struct arena *arena, struct str *cells, size_t *count, const char **why) ERR_CHECKED;
/* A header cell as a parameter's name: lower case, every other character than a letter or digit an underscore. */
struct str csv_parameter_name(struct str header, struct arena *arena);

#endif
