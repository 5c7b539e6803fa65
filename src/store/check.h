/*
 * check: every statement of a catalogue and of SQL_DIR/import, prepared ahead of time.
 */
#ifndef LARDER_CHECK_H
#define LARDER_CHECK_H

#include "base/report.h"
#include "config/catalog.h"

/* Prepares every statement against the database as it will be once all migrations have run, without touching it: in a
 * memory database with the schema of PATH (none when PATH does not exist) and the pending migrations. Wrong are: what
 * SQLite refuses; a named parameter that is neither declared nor built in (an import's names are its file's columns, so
 * they are free); a reading file that is not exactly one statement, or does more than read; a writing file that writes
 * nothing, or meddles with transactions; columns that do not make the shape; a `warm:` line that is not one statement
 * that reads, takes parameters, or whose columns are not all parameters of the resource, the required ones among them.
 * Everything goes to REPORT as file:line:column, in order of files. ERR_USAGE when anything was; ERR_UNAVAILABLE when
 * PATH is there but cannot be read, which stands in REPORT too: then no statement was prepared. A `tables:` line may name
 * nothing but tables that are there and can have triggers. DEPENDS gets a line for each resource that reads, in order of
 * files: what it depends on, for a person. ANSWERS gets one for each resource whose statements give rows: its name, a
 * blank, and the JSON Schema of its answer (rows_schema). */
enum err check_statements(const char *path, const char *sql_dir, const struct catalog *catalog, struct report *report,
                          struct buf *depends, struct buf *answers) ERR_CHECKED;

#endif
