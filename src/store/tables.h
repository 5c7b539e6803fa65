/*
 * tables: which tables of the database the answers of a reading resource depend on.
 *
 * SQLite says so itself: its authorizer is asked about every table that a statement reads while it is prepared, also
 * those behind views. A resource's `tables:` line takes the place of that.
 */
#ifndef LARDER_TABLES_H
#define LARDER_TABLES_H

#include "config/catalog.h"

struct sqlite3;

enum tables_kind {
    TABLES_REAL,
    TABLES_VIRTUAL, /* has no triggers, so what others do to it goes unnoticed */
    TABLES_VIEW,
    TABLES_MISSING /* no table of that name, or one of SQLite's or larder's own */
};

struct tables_item {
    char *name; /* as the schema spells it */
    enum tables_kind kind;
    struct str word; /* of the `tables:` line; empty when SQLite named it */
};

/* In order of names, each once. Zero-initialised is empty. */
struct tables {
    struct tables_item *items;
    size_t count;
};

/* What RESOURCE, one that reads, depends on, appended to OUT: the words of its `tables:` line, each of whatever kind
 * it is, or else the real and virtual tables that its statement reads. Neither SQLite's own tables are among those,
 * nor the ones in which virtual tables keep their data, nor larder's but for larder_scores. Leaves DB without an
 * authorizer. ERR_STATEMENT and others, with WHY and OUT as it was, when the statement cannot be prepared. */
enum err tables_find(struct sqlite3 *db, const struct resource *resource, struct tables *out,
                     struct buf *why) ERR_CHECKED;
/* Adds NAME, as the schema spells it, as a real one where it is not there. */
void tables_add(struct tables *tables, const char *name);
/* Whether NAME, as the schema spells it, is a real one of TABLES. */
bool tables_has(const struct tables *tables, const char *name);
void tables_free(struct tables *tables);

#endif
