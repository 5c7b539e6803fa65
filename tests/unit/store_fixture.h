/*
 * store_fixture: a directory of its own for a test of the store's modules, with files and databases in it.
 */
#ifndef LARDER_STORE_FIXTURE_H
#define LARDER_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/report.h"
#include "base/str.h"

struct fixture {
    char dir[64];
    char database[96];
};

static inline int fixture_setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    strcpy(fixture->dir, "/tmp/larder-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->dir));
    snprintf(fixture->database, sizeof fixture->database, "%s/data.db", fixture->dir);
    *state = fixture;
    return 0;
}

static inline int fixture_remove(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status, (void)type, (void)walk;
    return remove(path);
}

static inline int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;

    nftw(fixture->dir, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
    free(fixture);
    return 0;
}

/* Writes TEXT to the file NAME in the fixture's directory, making the directory that it is in. */
static inline void fixture_write(const struct fixture *fixture, const char *name, const char *text)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", fixture->dir, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    mkdir(path, 0700);
    *slash = '/';
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* The database PATH, which is made where there is none; a writer that holds it at the moment is waited for. */
static inline sqlite3 *fixture_open(const char *path)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    return db;
}

/* Runs SQL on the database PATH. */
static inline void fixture_execute(const char *path, const char *sql)
{
    sqlite3 *db = fixture_open(path);
    char *message = NULL;

    sqlite3_exec(db, sql, NULL, NULL, &message);
    if (message)
        fail_msg("%s: %s", sql, message);
    sqlite3_close(db);
}

/* The first column of the first row of SQL, as an integer. */
static inline int64_t fixture_integer(const char *path, const char *sql)
{
    sqlite3 *db = fixture_open(path);
    sqlite3_stmt *statement = NULL;

    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return value;
}

/* Fails unless REPORT has exactly the COUNT lines, each containing what is given. */
static inline void fixture_expect_report(const struct report *report, const char *const *lines, size_t count)
{
    for (size_t i = 0; i < report_count(report) && i < count; i++)
        if (!strstr(report_line(report, i), lines[i]))
            fail_msg("line %zu is `%s`, without `%s`", i, report_line(report, i), lines[i]);
    if (report_count(report) > count)
        fail_msg("unexpected: %s", report_line(report, count));
    if (report_count(report) < count)
        fail_msg("missing: %s", lines[report_count(report)]);
}

#endif
