/*
 * watch: the triggers by which a change made by any program is noticed.
 *
 * For every table that a resource depends on (store/tables) there are three, larder_change_TABLE_insert, _update and
 * _delete, which count in larder_changes: `changes` goes up with every row that changes. They count nothing while
 * larder_state.own is 1. Whoever reads the counts is store/changes.
 */
#ifndef LARDER_WATCH_H
#define LARDER_WATCH_H

#include "base/str.h"

struct sqlite3;

/* Has exactly the tables watched that the resources of SQL_DIR depend on: makes what is missing, and drops what nobody
 * needs any longer unless some resource cannot be understood now. A table that was not watched until now counts as
 * changed, for nobody knows what happened to it. All in one transaction, and none where nothing is to be done. DB is a
 * writing connection without a transaction; it is left without an authorizer. Errors are those of rows_err. */
enum err watch_install(struct sqlite3 *db, const char *sql_dir, struct buf *why) ERR_CHECKED;
/* A change of all that is watched, inside the transaction of DB; for what changes the schema. */
enum err watch_count_all(struct sqlite3 *db, struct buf *why) ERR_CHECKED;

#endif
