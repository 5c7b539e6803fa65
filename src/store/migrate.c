/*
 * migrate: brings a database to the version of the files in SQL_DIR/migrations.
 *
 * The files are listed and their numbers proved to be 1, 2, 3 … before anything runs. Those to apply are then run
 * statement by statement inside BEGIN IMMEDIATE … PRAGMA user_version = N; COMMIT.
 *
 * Invariant: user_version is N if and only if the files 1 to N, whole, are in the database. A file that fails leaves
 * the database as it was before the first of them, so that what used it goes on. Files cannot break out of the
 * transaction: the guard refuses BEGIN, COMMIT, ROLLBACK and ATTACH. There is no way back: a database is never taken to
 * a lower version, and one that is newer than the files is refused untouched.
 */
#include "store/migrate.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/report.h"
#include "base/sys.h"
#include "store/beside.h"
#include "store/rows.h"
#include "store/schema.h"
#include "store/statement.h"
#include "store/watch.h"

enum { FILE_BYTES_MAX = 16 << 20, NUMBER_DIGITS = 4, BUSY_TIMEOUT_MS = 10000 };

/* The migration files in order; entry i has the number i + 1. */
struct files {
    struct dirent **entries;
    int count;
};

static int is_sql(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);

    return entry->d_name[0] != '.' && len > 4 && strcmp(entry->d_name + len - 4, ".sql") == 0;
}

/* NNNN of NNNN-name.sql, name of a-z, 0-9 and hyphens; 0 for any other name. */
static unsigned number_of(const char *name)
{
    unsigned number = 0;
    size_t i = 0, len = strlen(name) - 4;

    for (; i < NUMBER_DIGITS && name[i] >= '0' && name[i] <= '9'; i++)
        number = number * 10 + (unsigned)(name[i] - '0');
    if (i < NUMBER_DIGITS || name[i] != '-' || len == i + 1)
        return 0;
    return strspn(name + i + 1, "abcdefghijklmnopqrstuvwxyz0123456789-") == len - i - 1 ? number : 0;
}

static void fini_files(struct files *files)
{
    for (int i = 0; i < files->count; i++)
        free(files->entries[i]);
    free(files->entries);
}

/* ERR_NOT_FOUND where there is no such directory. */
static enum err list_files(const char *dir, struct files *files, struct report *report)
{
    size_t wrong_before = report_count(report);
    unsigned last = 0;

    files->count = scandir(dir, &files->entries, is_sql, alphasort);
    if (files->count < 0) {
        enum err err = err_from_errno(errno);
        files->count = 0;
        if (err != ERR_NOT_FOUND)
            report_add(report, dir, 0, 0, "cannot be read: %s", err_text(err));
        return err;
    }
    for (int i = 0; i < files->count; i++) {
        const char *name = files->entries[i]->d_name;
        struct buf path = {0};
        unsigned number = number_of(name);

        buf_printf(&path, "%s/%s", dir, name);
        if (number == 0)
            report_add(report, path.p, 0, 0,
                       "a migration is named NNNN-name.sql: four digits from 0001, a hyphen, then "
                       "small letters, digits and hyphens");
        else if (number == last)
            report_add(report, path.p, 0, 0, "there are two migrations with the number %04u", number);
        else if (number != last + 1)
            report_add(report, path.p, 0, 0, "the number %04u is missing before this one", last + 1);
        last = number ? number : last;
        buf_free(&path);
    }
    return report_count(report) == wrong_before ? ERR_OK : ERR_USAGE;
}

static enum err read_version(sqlite3 *db, int64_t *version, struct buf *why)
{
    sqlite3_stmt *statement = NULL;
    enum err err = ERR_OK;

    if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        *version = sqlite3_column_int64(statement, 0);
    else
        err = rows_failed(db, why);
    sqlite3_finalize(statement);
    return err;
}

static enum err execute(sqlite3 *db, const char *sql, struct buf *why)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? ERR_OK : rows_failed(db, why);
}

/* Runs the statements of TEXT. On an error *POINT is where in TEXT it is. */
static enum err run_text(sqlite3 *db, struct str text, const char **point, struct buf *why)
{
    struct str rest = text;
    enum err err = ERR_OK;

    statement_guard(db, STATEMENT_GUARD_MIGRATING);
    while (err == ERR_OK) {
        sqlite3_stmt *statement = NULL;
        struct str before = rest;
        int code;

        err = statement_prepare(db, &rest, 0, &statement, point, why);
        if (err != ERR_OK || !statement)
            break;
        while ((code = sqlite3_step(statement)) == SQLITE_ROW)
            continue;
        if (code != SQLITE_DONE) {
            *point = statement_start(before);
            err = rows_failed(db, why);
        }
        sqlite3_finalize(statement);
    }
    statement_guard(db, STATEMENT_GUARD_NONE);
    return err;
}

static enum err apply_file(sqlite3 *db, const char *path, struct report *report)
{
    struct buf text = {0}, why = {0};
    const char *point = NULL;
    unsigned line = 0, column = 0;
    enum err err = sys_read_file(path, FILE_BYTES_MAX, &text);

    if (err != ERR_OK)
        buf_printf(&why, "cannot be read: %s", err_text(err));
    else
        err = run_text(db, buf_str(&text), &point, &why);
    if (point)
        statement_place(buf_str(&text), 1, point, &line, &column);
    if (err != ERR_OK)
        report_add(report, path, line, column, "%s", why.p);
    buf_free(&text);
    buf_free(&why);
    return err == ERR_STATEMENT || err == ERR_CONSTRAINT || err == ERR_SYNTAX ? ERR_USAGE : err;
}

/* Ends what failed with ERR for the reason WHY, which is freed, with a line in the report. */
static enum err told(const struct migrate *migrate, enum err err, struct buf *why)
{
    if (err != ERR_OK)
        report_add(migrate->report, migrate->path, 0, 0, "%s", why->p);
    buf_free(why);
    return err;
}

static enum err control(sqlite3 *db, const char *sql, const struct migrate *migrate)
{
    struct buf why = {0};
    enum err err = execute(db, sql, &why);

    return told(migrate, err, &why);
}

static enum err mark(sqlite3 *db, const struct migrate *migrate, unsigned version)
{
    struct buf sql = {0}, why = {0};

    buf_printf(&sql, "PRAGMA user_version = %u", version);
    enum err err = execute(db, sql.p, &why);
    buf_free(&sql);
    /* What was answered before may be answered otherwise now: a view reads other tables, a column is gone. */
    if (err == ERR_OK)
        err = watch_count_all(db, &why);
    return told(migrate, err, &why);
}

/* FILES of DIR from number FIRST to LAST, in one transaction. */
static enum err apply(sqlite3 *db, const struct migrate *migrate, const char *dir, const struct files *files,
                      unsigned first, unsigned last)
{
    enum err err = control(db, "BEGIN IMMEDIATE", migrate);

    for (unsigned number = first; number <= last && err == ERR_OK; number++) {
        const char *name = files->entries[number - 1]->d_name;
        struct buf file = {0};
        buf_printf(&file, "%s/%s", dir, name);
        if (migrate->progress)
            migrate->progress(migrate->context, name);
        err = apply_file(db, file.p, migrate->report);
        buf_free(&file);
    }
    if (err == ERR_OK)
        err = mark(db, migrate, last);
    if (err == ERR_OK)
        err = control(db, "COMMIT", migrate);
    if (err != ERR_OK && !sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return err;
}

/* *VERSION of a database that these files may be applied to. */
static enum err fitting_version(sqlite3 *db, const struct migrate *migrate, const char *dir, const struct files *files,
                                int64_t *version)
{
    struct buf why = {0};
    enum err err = read_version(db, version, &why);

    if (err == ERR_OK && (*version < 0 || *version > files->count)) {
        buf_printf(&why,
                   "the database has version %lld, but %s ends at %d: a newer release has used it; install that "
                   "release, or go back to a copy made before it",
                   (long long)*version, dir, files->count);
        err = ERR_VERSION;
    }
    return told(migrate, err, &why);
}

static enum err make_own_tables(sqlite3 *db, const struct migrate *migrate)
{
    struct buf why = {0}, reason = {0};
    enum err err = schema_make(db, &reason);

    if (err != ERR_OK)
        buf_printf(&why, "larder's own tables cannot be made: %s", reason.p);
    buf_free(&reason);
    return told(migrate, err, &why);
}

enum err migrate_pending(sqlite3 *db, const struct migrate *migrate)
{
    struct buf dir = {0};
    struct files files = {0};
    int64_t version = 0;

    buf_printf(&dir, "%s/migrations", migrate->sql_dir);
    enum err err = list_files(dir.p, &files, migrate->report);
    unsigned last = migrate->last < (unsigned)files.count ? migrate->last : (unsigned)files.count;
    if (err == ERR_NOT_FOUND)
        err = ERR_OK;
    if (err == ERR_OK && files.count > 0)
        err = fitting_version(db, migrate, dir.p, &files, &version);
    if (err == ERR_OK && version < last) {
        /* Files may put scores on boards. */
        err = make_own_tables(db, migrate);
        if (err == ERR_OK)
            err = apply(db, migrate, dir.p, &files, (unsigned)version + 1, last);
    }
    fini_files(&files);
    buf_free(&dir);
    return err;
}

unsigned migrate_last(const char *sql_dir)
{
    struct report *report = report_new();
    struct buf dir = {0};
    struct files files = {0};

    buf_printf(&dir, "%s/migrations", sql_dir);
    unsigned last = list_files(dir.p, &files, report) == ERR_OK ? (unsigned)files.count : 0;
    fini_files(&files);
    buf_free(&dir);
    report_free(&report);
    return last;
}

/* SQLite opens a file that may not be written all the same, to read it. */
static enum err refuse_read_only(const char *path, sqlite3 *db, struct buf *why)
{
    struct stat status = {0};

    if (sqlite3_db_readonly(db, "main") != 1)
        return ERR_OK;
    (void)stat(path, &status);
    buf_printf(why, "it belongs to uid %u and cannot be written by uid %u, which larder runs as",
               (unsigned)status.st_uid, (unsigned)geteuid());
    return ERR_DENIED;
}

/* WAL is for a database that is made here; another's mode is its owner's choice. */
static enum err open_database(const char *path, sqlite3 **db, struct buf *why)
{
    struct stat status;
    bool is_new = stat(path, &status) != 0 || status.st_size == 0;

    beside_prepare(path, path);
    int code = sqlite3_open_v2(path, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

    if (code != SQLITE_OK) {
        int number = *db ? sqlite3_system_errno(*db) : 0;
        enum err err = *db ? rows_failed(*db, why) : ERR_LIMIT;
        if (number)
            buf_printf(why, " (%s)", strerror(number));
        return err;
    }
    sqlite3_extended_result_codes(*db, 1);
    sqlite3_busy_timeout(*db, BUSY_TIMEOUT_MS);
    enum err err = refuse_read_only(path, *db, why);
    return err == ERR_OK && is_new ? execute(*db, "PRAGMA journal_mode = WAL", why) : err;
}

/* A disk without room, or a database that takes no writes now, is no reason not to go on with what there is. */
static void watch(sqlite3 *db, const char *sql_dir)
{
    struct buf why = {0};

    if (watch_install(db, sql_dir, &why) != ERR_OK)
        log_event(LOG_LEVEL_WARNING, "changes_not_watched", LOG_STR("why", buf_str(&why)));
    buf_free(&why);
}

enum err migrate_run(const struct migrate *migrate)
{
    sqlite3 *db = NULL;
    struct buf why = {0};
    enum err err = open_database(migrate->path, &db, &why);

    if (err == ERR_OK)
        err = migrate_pending(db, migrate);
    else
        report_add(migrate->report, migrate->path, 0, 0, "cannot be opened: %s", why.p ? why.p : err_text(err));
    if (err == ERR_OK)
        watch(db, migrate->sql_dir);
    sqlite3_close(db);
    buf_free(&why);
    return err;
}

static void tell_log(void *context, const char *file)
{
    (void)context;
    log_event(LOG_LEVEL_NOTICE, "migrating", LOG_TEXT("file", file));
}

enum err migrate_and_log(const char *path, const char *sql_dir, unsigned last, struct buf *why)
{
    struct report *report = report_new();
    enum err err = migrate_run(
        &(struct migrate){.path = path, .sql_dir = sql_dir, .last = last, .report = report, .progress = tell_log});

    for (size_t i = 0; err != ERR_OK && i < report_count(report); i++)
        buf_printf(why, "%s%s", i > 0 ? "; " : "", report_line(report, i));
    report_free(&report);
    return err;
}
