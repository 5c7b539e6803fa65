/*
 * catalog_fixture: a resource file that is right, and what tests of catalogues expect of texts.
 */
#ifndef LARDER_CATALOG_FIXTURE_H
#define LARDER_CATALOG_FIXTURE_H

#include "config/catalog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define CATALOG_FIXTURE_STOCK                                                                                          \
    "-- name:      stock\n"                                                                                            \
    "-- doc:       One stock by its ticker symbol.\n"                                                                  \
    "-- route:     GET /api/stocks/{ticker}\n"                                                                         \
    "-- param:     ticker text upper ~ ^[A-Z][A-Z0-9.-]{0,9}$\n"                                                       \
    "-- key:       stocks:detail:{ticker}\n"                                                                           \
    "-- shape:     object\n"                                                                                           \
    "-- ttl:       5m\n"                                                                                               \
    "-- stale:     1h\n"                                                                                               \
    "-- negative:  30s\n"                                                                                              \
    "-- tags:      stocks stock:{ticker}\n"                                                                            \
    "SELECT ticker FROM stocks WHERE ticker = :ticker;\n"

/* Every line of the report, each ended by a newline. */
static inline char *catalog_fixture_report(const struct report *report)
{
    struct buf text = {0};

    buf_add_str(&text, STR("\n"));
    for (size_t i = 0; i < report_count(report); i++)
        buf_printf(&text, "%s\n", report_line(report, i));
    return text.p;
}

static inline void catalog_fixture_expect(struct str text, const char *expected)
{
    if (!str_equal(text, str_from(expected)))
        fail_msg("`%.*s` is not `%s`", STR_ARG(text), expected);
}

#endif
