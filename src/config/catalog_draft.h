/*
 * catalog_draft: the front matter of a .sql file as words and their values, before it is understood. For catalog_parse
 * alone.
 *
 * Front matter is the run of `-- word: value` lines at the very top of the file; the SQL is all that follows.
 */
#ifndef LARDER_CATALOG_DRAFT_H
#define LARDER_CATALOG_DRAFT_H

#include "config/catalog.h"

/* Every word that a front matter may have. */
enum catalog_draft_word {
    CATALOG_DRAFT_NAME,
    CATALOG_DRAFT_DOC,
    CATALOG_DRAFT_ROUTE,
    CATALOG_DRAFT_PARAM,
    CATALOG_DRAFT_KEY,
    CATALOG_DRAFT_SHAPE,
    CATALOG_DRAFT_TTL,
    CATALOG_DRAFT_STALE,
    CATALOG_DRAFT_STALE_IF_ERROR,
    CATALOG_DRAFT_NEGATIVE,
    CATALOG_DRAFT_MAX_AGE,
    CATALOG_DRAFT_TAGS,
    CATALOG_DRAFT_PURGE,
    CATALOG_DRAFT_WRITE,
    CATALOG_DRAFT_AUTH,
    CATALOG_DRAFT_LIMIT,
    CATALOG_DRAFT_TIMEOUT,
    CATALOG_DRAFT_WARM,
    CATALOG_DRAFT_TABLES,
    CATALOG_DRAFT_EXAMPLE,
    CATALOG_DRAFT_WORDS
};

/* A file on its way to a resource. All views lie in `out.storage`. */
struct catalog_draft {
    struct report *report;
    bool import;         /* an import file, which knows fewer words */
    struct resource out; /* storage, file, sql and sql_line are set */
    struct str
        words[CATALOG_DRAFT_WORDS]; /* values; p NULL where the word was not given, empty where its value is missing */
    struct str params[PARAMS_MAX];  /* values of the `param:` lines */
    size_t params_count;
};

/* The word as it is written in a file. */
const char *catalog_draft_word(enum catalog_draft_word word);
/* Copies FILE and TEXT into DRAFT, whose `report` and `import` are set, and reads the front matter. What is wrong goes
 * to the report; false when the file is not text at all, so that there is nothing to go on with. */
bool catalog_draft_read(struct catalog_draft *draft, struct str text, const char *file);
/* Sets `out.uses_caller` by the names that stand in the SQL outside of strings and comments, and complains when nothing
 * stands there. */
void catalog_draft_scan_sql(struct catalog_draft *draft);
/* Sets `out.example`, and complains where it is not what the resource takes. When `out.params` is set. */
void catalog_draft_take_example(struct catalog_draft *draft);
/* Reports what is wrong at AT, a byte of the file; NULL: with the file as a whole. */
void catalog_draft_complain(struct catalog_draft *draft, const char *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
