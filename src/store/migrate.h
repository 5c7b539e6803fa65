/*
 * migrate: the schema. Applies the files of SQL_DIR/migrations, named NNNN-name.sql and numbered from 0001 without a
 * gap.
 *
 * PRAGMA user_version holds the number of the last file applied. All files that are to be applied are one transaction
 * together with the new user_version, so a database is always at exactly one version, and at none that a release passes
 * through. A file may not begin or end a transaction itself.
 */
#ifndef LARDER_MIGRATE_H
#define LARDER_MIGRATE_H

#include <limits.h>

#include "base/err.h"
#include "base/report.h"
#include "base/str.h"

struct sqlite3;

#define MIGRATE_ALL UINT_MAX

struct migrate {
    const char *path; /* of the database */
    const char *sql_dir;
    unsigned last; /* the highest number to apply; a database beyond it is left as it is */
    struct report *report;
    /* Called with each file's name before it runs, where it is not NULL. */
    void (*progress)(void *context, const char *file);
    void *context;
};

/* Applies the files above user_version, in order. Makes the database where there is none (WAL). The caller holds the
 * writer's lock. A directory without migrations leaves the database as it is. ERR_VERSION: the database is newer than
 * the highest migration; ERR_USAGE: the files are wrong or one of them failed; otherwise what SQLite said. What went
 * wrong is in the report, with file, line and column. Then the tables that resources depend on are watched
 * (store/watch.h); where that is not possible now, the log says so. */
enum err migrate_run(const struct migrate *migrate) ERR_CHECKED;

/* The same, with each file told to the log and what is wrong to WHY. */
enum err migrate_and_log(const char *path, const char *sql_dir, unsigned last, struct buf *why) ERR_CHECKED;

/* The same on an open connection without a transaction. The path is for messages. */
enum err migrate_pending(struct sqlite3 *db, const struct migrate *migrate) ERR_CHECKED;

/* The highest number there is now; 0 where there is none, or they are wrong. */
unsigned migrate_last(const char *sql_dir);

#endif
