/*
 * migrate: the schema. Applies the files of SQL_DIR/migrations, named NNNN-name.sql and numbered from 0001 without a
 * gap.
 *
 * PRAGMA user_version holds the number of the last file applied. Each file is one transaction together with its new
 * user_version, so a database is always at exactly one version. A file may not begin or end a transaction itself.
 */
#ifndef LARDER_MIGRATE_H
#define LARDER_MIGRATE_H

#include "base/err.h"
#include "base/report.h"
#include "base/str.h"

struct sqlite3;

/* Called with each file's name before it runs. */
typedef void migrate_progress_fn(void *context, const char *file);

/* Applies the files above user_version to the database PATH, in order. Makes the database where there is none (WAL).
 * The caller holds the writer's lock. *APPLIED counts the files applied, also when a later one failed. A directory
 * without migrations leaves the database as it is. ERR_VERSION: the database is newer than the highest migration;
 * ERR_USAGE: the files are wrong or one of them failed; otherwise what SQLite said. What went wrong is in REPORT, with
 * file, line and column. PROGRESS may be NULL. Then the tables
 * that resources depend on are watched (store/watch.h); where that is not possible now, the log says so. */
enum err migrate_run(const char *path, const char *sql_dir, unsigned *applied, struct report *report,
                     migrate_progress_fn *progress, void *context) ERR_CHECKED;

/* The same, with each file told to the log and what is wrong to WHY. */
enum err migrate_and_log(const char *path, const char *sql_dir, struct buf *why) ERR_CHECKED;

/* The same on an open connection without a transaction. PATH is for messages. */
enum err migrate_pending(struct sqlite3 *db, const char *path, const char *sql_dir, unsigned *applied,
                         struct report *report, migrate_progress_fn *progress, void *context) ERR_CHECKED;

#endif
