/*
 * writer_journal: the file.
 *
 * Table writes (number, at_ms, request), and the row of `identity`. What has been forgotten is removed by the next
 * transaction, so that forgetting costs no sync; after a crash it is simply forgotten again.
 *
 * Invariant: a number that was once given is never given again: AUTOINCREMENT remembers the highest, and a new file
 * begins above every older one that this process has known, and above others as long as the clock is not put back by
 * more than the life of the older one.
 */
#include "store/writer_journal.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/sys.h"
#include "store/beside.h"
#include "store/rows.h"
#include "store/schema.h"
#include "store/statement.h"
#include "store/writer_replay.h"
#include "store/writer_wal.h"

enum { ADD, NEXT, FORGET, MEASURE, STATEMENTS };

struct writer_journal {
    const struct config *config;
    struct buf path;
    sqlite3 *db; /* NULL: closed */
    bool doubtful;
    unsigned openings;
    dev_t device;
    ino_t inode;
    struct writer_wal wal;
    struct writer_replay *replay;
    sqlite3_stmt *statements[STATEMENTS];
    struct writer_position_journal identity;
    uint64_t last;              /* number given */
    uint64_t forgotten;         /* up to this number, to be removed */
    uint64_t removed;           /* up to this one they have been */
    uint64_t bytes;             /* of all requests that are there */
    uint64_t added, added_last; /* of these, and the number before, by the open transaction */
    uint64_t freed;             /* of these, by the open transaction */
};

static const char *const texts[STATEMENTS] = {
    [ADD] = "INSERT INTO writes (at_ms, request) VALUES (?1, ?2)",
    [NEXT] = "SELECT number, at_ms, request FROM writes WHERE number > ?1 ORDER BY number LIMIT 1",
    [FORGET] = "DELETE FROM writes WHERE number <= ?1",
    [MEASURE] = "SELECT coalesce(sum(length(request)), 0) FROM writes WHERE number <= ?1",
};

struct writer_journal *writer_journal_new(const struct config *config)
{
    struct writer_journal *journal = sys_calloc(1, sizeof *journal);

    journal->config = config;
    journal->replay = writer_replay_new();
    buf_printf(&journal->path, "%s-larder.journal", config->store.database);
    return journal;
}

static void disconnect(struct writer_journal *journal)
{
    statement_finalize_all(journal->statements, STATEMENTS);
    writer_replay_disconnect(journal->replay);
    if (journal->db && journal->doubtful)
        sqlite3_db_config(journal->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close(journal->db);
    journal->db = NULL;
    journal->doubtful = false;
}

void writer_journal_free(struct writer_journal **journal)
{
    if (!*journal)
        return;
    disconnect(*journal);
    writer_replay_free(&(*journal)->replay);
    buf_free(&(*journal)->path);
    free(*journal);
    *journal = NULL;
}

/* What ERR, of the call that failed last, means for the connection. */
static enum err judge(struct writer_journal *journal, enum err err)
{
    journal->doubtful |= err == ERR_IO || err == ERR_CORRUPT || err == ERR_UNAVAILABLE || err == ERR_READ_ONLY;
    return writer_wal_judge(journal->db, err);
}

static enum err fail(struct writer_journal *journal, struct buf *why)
{
    buf_add_str(why, STR("the journal: "));
    return judge(journal, rows_failed(journal->db, why));
}

static enum err execute(struct writer_journal *journal, const char *sql, struct buf *why)
{
    return sqlite3_exec(journal->db, sql, NULL, NULL, NULL) == SQLITE_OK ? ERR_OK : fail(journal, why);
}

/* Appends to SQL what makes a journal whose numbers begin above FLOOR; its tables are there. */
static void add_identity(struct buf *sql, uint64_t floor)
{
    const uint64_t now = (uint64_t)sys_now_ms() * 1000;
    const unsigned long long number = now > floor ? now : floor + 1;
    unsigned char secret[SYS_MAC_KEY_LEN];

    sys_random(secret, sizeof secret);
    buf_printf(sql, "DELETE FROM sqlite_sequence WHERE name = 'writes'; DELETE FROM identity;");
    buf_printf(sql, "INSERT INTO sqlite_sequence (name, seq) VALUES ('writes', %llu);", number);
    buf_printf(sql, "INSERT INTO identity (number, secret) VALUES (%llu, x'", number);
    for (size_t i = 0; i < sizeof secret; i++)
        buf_printf(sql, "%02x", secret[i]);
    buf_add_str(sql, STR("');"));
}

/* SQL as one transaction. */
static enum err transact(struct writer_journal *journal, const char *sql, struct buf *why)
{
    enum err err = execute(journal, sql, why);

    if (err != ERR_OK && !sqlite3_get_autocommit(journal->db))
        sqlite3_exec(journal->db, "ROLLBACK", NULL, NULL, NULL);
    return err;
}

/* The tables of a new file. */
static enum err make_tables(struct writer_journal *journal, struct buf *why)
{
    static const char tables[] =
        "BEGIN IMMEDIATE;"
        "CREATE TABLE writes (number INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, "
        "request BLOB NOT NULL) STRICT;"
        "CREATE TABLE identity (number INTEGER PRIMARY KEY, secret BLOB NOT NULL) STRICT;";
    struct buf sql = {0};

    buf_add_str(&sql, str_from(tables));
    add_identity(&sql, journal->last);
    buf_add_str(&sql, STR("COMMIT"));
    enum err err = transact(journal, sql.p, why);
    buf_free(&sql);
    return err;
}

/* Who the journal is and what it holds. ERR_NOT_FOUND: it has no tables yet. */
static enum err read_identity(struct writer_journal *journal, struct buf *why)
{
    static const char sql[] = "SELECT i.number, i.secret, (SELECT seq FROM sqlite_sequence WHERE name = 'writes'), "
                              "(SELECT coalesce(sum(length(request)), 0) FROM writes) FROM identity AS i";
    sqlite3_stmt *statement = NULL;
    enum err err = ERR_OK;

    if (sqlite3_table_column_metadata(journal->db, "main", "identity", NULL, NULL, NULL, NULL, NULL, NULL) ==
        SQLITE_ERROR)
        return ERR_NOT_FOUND;
    if (sqlite3_prepare_v2(journal->db, sql, -1, &statement, NULL) != SQLITE_OK)
        return fail(journal, why);
    if (sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_bytes(statement, 1) == SYS_MAC_KEY_LEN) {
        journal->identity.number = (uint64_t)sqlite3_column_int64(statement, 0);
        memcpy(journal->identity.secret, sqlite3_column_blob(statement, 1), SYS_MAC_KEY_LEN);
        journal->last = (uint64_t)sqlite3_column_int64(statement, 2);
        journal->bytes = (uint64_t)sqlite3_column_int64(statement, 3);
        journal->forgotten = journal->removed = 0;
    } else {
        buf_printf(why, "%s is no journal of larder's", journal->path.p);
        journal->doubtful = true;
        err = ERR_CORRUPT;
    }
    sqlite3_finalize(statement);
    return err;
}

static enum err configure(struct writer_journal *journal, struct buf *why)
{
    struct buf ignored = {0}; /* fail says it, and whose it is */

    sqlite3_extended_result_codes(journal->db, 1);
    sqlite3_busy_timeout(journal->db, (int)journal->config->store.busy_timeout_ms);
    sqlite3_db_config(journal->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    enum err err = writer_wal_init(&journal->wal, journal->db, journal->path.p, journal->config->store.wal_limit, why);
    if (err == ERR_OK)
        err = read_identity(journal, why);
    if (err == ERR_NOT_FOUND) {
        err = make_tables(journal, why);
        if (err == ERR_OK)
            err = read_identity(journal, why);
    }
    /* Not when the first write with a key comes: that may be rolled back. */
    if (err == ERR_OK)
        err = judge(journal, schema_make_replays(journal->db, why));
    if (err == ERR_OK && statement_prepare_all(journal->db, texts, journal->statements, STATEMENTS, &ignored) != ERR_OK)
        err = fail(journal, why);
    buf_free(&ignored);
    return err;
}

/* Whether the file at the path is the one that is open. */
static bool is_in_place(const struct writer_journal *journal)
{
    struct stat status;

    return stat(journal->path.p, &status) == 0 && status.st_dev == journal->device && status.st_ino == journal->inode;
}

enum err writer_journal_open(struct writer_journal *journal, bool make, struct buf *why)
{
    struct stat status;

    if (journal->db && !journal->doubtful && is_in_place(journal))
        return ERR_OK;
    if (journal->db) {
        log_event(LOG_LEVEL_INFO, "journal_reopened", LOG_TEXT("path", journal->path.p));
        journal->doubtful = true;
        disconnect(journal);
    }
    if (!make && stat(journal->path.p, &status) != 0)
        return ERR_NOT_FOUND;
    beside_prepare(journal->path.p, journal->config->store.database);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
    int code = sqlite3_open_v2(journal->path.p, &journal->db, flags, NULL);
    if (!journal->db)
        return ERR_LIMIT;
    enum err err = code == SQLITE_OK ? configure(journal, why) : fail(journal, why);
    if (err != ERR_OK) {
        disconnect(journal);
        return err;
    }
    if (stat(journal->path.p, &status) == 0) {
        journal->device = status.st_dev;
        journal->inode = status.st_ino;
    }
    journal->openings++;
    return ERR_OK;
}

unsigned writer_journal_openings(const struct writer_journal *journal)
{
    return journal->openings;
}

const struct writer_position_journal *writer_journal_identity(const struct writer_journal *journal)
{
    return &journal->identity;
}

uint64_t writer_journal_last(const struct writer_journal *journal)
{
    return journal->last;
}

enum err writer_journal_renew(struct writer_journal *journal, uint64_t floor, struct buf *why)
{
    struct buf sql = {0};

    buf_add_str(&sql, STR("BEGIN IMMEDIATE; DELETE FROM writes;"));
    add_identity(&sql, floor);
    buf_add_str(&sql, STR("COMMIT"));
    enum err err = transact(journal, sql.p, why);
    if (err == ERR_OK)
        err = read_identity(journal, why);
    buf_free(&sql);
    return err;
}

bool writer_journal_has_room(const struct writer_journal *journal, size_t len)
{
    return journal->bytes + journal->added - journal->freed + len <= journal->config->store.journal_limit;
}

/* Runs a statement with NUMBER as its parameter. *VALUE is what the row, if it gives one, says. */
static enum err run(struct writer_journal *journal, int which, uint64_t number, uint64_t *value, struct buf *why)
{
    sqlite3_stmt *statement = journal->statements[which];

    sqlite3_bind_int64(statement, 1, (sqlite3_int64)number);
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        *value = (uint64_t)sqlite3_column_int64(statement, 0);
    enum err err = code == SQLITE_ROW || code == SQLITE_DONE ? ERR_OK : fail(journal, why);
    sqlite3_reset(statement);
    return err;
}

enum err writer_journal_begin(struct writer_journal *journal, struct buf *why)
{
    enum err err = execute(journal, "BEGIN IMMEDIATE", why);

    journal->added_last = journal->last;
    if (err != ERR_OK || journal->forgotten == journal->removed)
        return err;
    err = run(journal, MEASURE, journal->forgotten, &journal->freed, why);
    if (err == ERR_OK)
        err = run(journal, FORGET, journal->forgotten, NULL, why);
    if (err != ERR_OK)
        writer_journal_rollback(journal);
    return err;
}

enum err writer_journal_commit(struct writer_journal *journal, struct buf *why)
{
    enum err err = execute(journal, "COMMIT", why);

    if (err != ERR_OK) {
        writer_journal_rollback(journal);
        return err;
    }
    journal->removed = journal->forgotten;
    journal->bytes = journal->bytes + journal->added - journal->freed;
    journal->added = journal->freed = 0;
    (void)!judge(journal, writer_wal_checkpoint(&journal->wal, journal->db));
    return ERR_OK;
}

void writer_journal_rollback(struct writer_journal *journal)
{
    struct buf ignored = {0};

    journal->added = journal->freed = 0;
    journal->last = journal->added_last;
    if (!sqlite3_get_autocommit(journal->db) && execute(journal, "ROLLBACK", &ignored) != ERR_OK)
        journal->doubtful = true;
    buf_free(&ignored);
}

enum err writer_journal_add(struct writer_journal *journal, struct str frame, int64_t now_ms, uint64_t *number,
                            struct buf *why)
{
    sqlite3_stmt *add = journal->statements[ADD];
    enum err err = ERR_OK;

    sqlite3_bind_int64(add, 1, now_ms);
    sqlite3_bind_blob64(add, 2, frame.p, frame.len, SQLITE_STATIC);
    if (sqlite3_step(add) != SQLITE_DONE)
        err = fail(journal, why);
    sqlite3_reset(add);
    sqlite3_clear_bindings(add);
    if (err != ERR_OK)
        return err;
    journal->added += frame.len;
    journal->last = (uint64_t)sqlite3_last_insert_rowid(journal->db);
    *number = journal->last;
    return ERR_OK;
}

enum err writer_journal_recall(struct writer_journal *journal, struct str key, struct str print, int64_t now_ms,
                               struct buf *answer, struct buf *why)
{
    return judge(journal, writer_replay_find(journal->replay, journal->db, key, print, now_ms, answer, why));
}

enum err writer_journal_keep(struct writer_journal *journal, struct str key, struct str print, int64_t now_ms,
                             struct str answer, struct buf *why)
{
    return judge(journal, writer_replay_keep(journal->replay, journal->db, key, print, now_ms, answer, why));
}

enum err writer_journal_next(struct writer_journal *journal, uint64_t number, struct buf *frame, uint64_t *next,
                             int64_t *at_ms, struct buf *why)
{
    sqlite3_stmt *statement = journal->statements[NEXT];
    enum err err = ERR_OK;

    sqlite3_bind_int64(statement, 1, (sqlite3_int64)number);
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        const char *bytes = sqlite3_column_blob(statement, 2);
        *next = (uint64_t)sqlite3_column_int64(statement, 0);
        *at_ms = sqlite3_column_int64(statement, 1);
        buf_add(frame, bytes, (size_t)sqlite3_column_bytes(statement, 2));
    } else {
        err = code == SQLITE_DONE ? ERR_NOT_FOUND : fail(journal, why);
    }
    sqlite3_reset(statement);
    return err;
}

void writer_journal_forget(struct writer_journal *journal, uint64_t number)
{
    if (number > journal->forgotten)
        journal->forgotten = number;
}
