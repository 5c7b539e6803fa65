/*
 * rows_schema: what a statement's rows become, told ahead of time as a JSON Schema (2020-12).
 *
 * SQLite says of a column that comes from a table as it is what it was declared as; of all others (`count(*)`) it says
 * nothing, and then anything is allowed. What is said is what was declared: a table that is not STRICT may hold other
 * values, and of a compound SELECT its first part speaks for all.
 */
#ifndef LARDER_ROWS_SCHEMA_H
#define LARDER_ROWS_SCHEMA_H

#include "store/rows.h"

/* Appends the schema of what rows_collect writes of STATEMENT's rows as SHAPE, on one line. A value may be null unless
 * its column is NOT NULL and nothing in the statement could take its place. DB is the statement's connection, and has
 * no guard. */
void rows_schema_add(sqlite3 *db, sqlite3_stmt *statement, enum catalog_shape shape, struct buf *out);

#endif
