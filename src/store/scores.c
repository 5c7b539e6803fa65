/*
 * scores: ranks by SQL.
 *
 * A rank is the number of scores that stand before one: two ranges of the index larder_scores_rank, counted apart (as
 * one row value they take twice the time). The longer range is the cost, so it matters from which end it is counted.
 * The members that follow by name say where in the board a score lies, well enough for that: whatever they say, the
 * rank is right, and where they say nothing it only takes longer.
 *
 * Invariant: no statement is active outside a function of this module and no transaction open, so that the writer can
 * always checkpoint. The file is opened read-only and never written. The connection is dropped after whatever casts
 * doubt on it.
 *
 * It refuses to know which boards are configured, and what a name means.
 */
#include "store/scores.h"

#include <stdlib.h>

#include "base/sys.h"
#include "store/giveway.h"
#include "store/rows.h"

enum { TIMEOUT_MS = 2000, PROGRESS_STEPS = 2000, SAMPLE_SIZE = 64 };

/* X(name, SQL). ?1 is the board throughout. */
#define STATEMENTS(X)                                                                                                  \
    X(BEGIN, "BEGIN")                                                                                                  \
    X(END, "COMMIT")                                                                                                   \
    X(MEMBERS, "SELECT members FROM larder_boards WHERE board = ?1")                                                   \
    X(TOP, "SELECT member, score FROM larder_scores WHERE board = ?1 ORDER BY score DESC, reached LIMIT ?2 OFFSET ?3") \
    X(MEMBER, "SELECT score, reached FROM larder_scores WHERE board = ?1 AND member = ?2")                             \
    X(SAMPLE, "SELECT count(*), coalesce(sum(score > ?3), 0) FROM (SELECT score FROM larder_scores "                   \
              "WHERE board = ?1 AND member > ?2 ORDER BY member LIMIT ?4)")                                            \
    X(BEFORE, "SELECT (SELECT count(*) FROM larder_scores WHERE board = ?1 AND score > ?2) + "                         \
              "(SELECT count(*) FROM larder_scores WHERE board = ?1 AND score = ?2 AND reached < ?3)")                 \
    X(BEHIND, "SELECT (SELECT count(*) FROM larder_scores WHERE board = ?1 AND score < ?2) + "                         \
              "(SELECT count(*) FROM larder_scores WHERE board = ?1 AND score = ?2 AND reached > ?3)")                 \
    X(AROUND, "SELECT member, score FROM (SELECT * FROM ("                                                             \
              "SELECT * FROM (SELECT member, score, reached FROM larder_scores "                                       \
              "WHERE board = ?1 AND score = ?2 AND reached < ?3 ORDER BY reached DESC LIMIT ?4) UNION ALL "            \
              "SELECT * FROM (SELECT member, score, reached FROM larder_scores "                                       \
              "WHERE board = ?1 AND score > ?2 ORDER BY score, reached DESC LIMIT ?4)) "                               \
              "ORDER BY score, reached DESC LIMIT ?4) "                                                                \
              "UNION ALL SELECT member, score FROM (SELECT * FROM ("                                                   \
              "SELECT * FROM (SELECT member, score, reached FROM larder_scores "                                       \
              "WHERE board = ?1 AND score = ?2 AND reached >= ?3 ORDER BY reached LIMIT ?4 + 1) UNION ALL "            \
              "SELECT * FROM (SELECT member, score, reached FROM larder_scores "                                       \
              "WHERE board = ?1 AND score < ?2 ORDER BY score DESC, reached LIMIT ?4 + 1)) "                           \
              "ORDER BY score DESC, reached LIMIT ?4 + 1)")                                                            \
    X(BOARDS, "SELECT board, members FROM larder_boards WHERE board >= ?1 AND board < ?1 || char(0x10ffff) "           \
              "AND members > 0 ORDER BY board DESC LIMIT ?2 OFFSET ?3")                                                \
    X(OLDEST, "SELECT coalesce(min(seq), 0) FROM larder_score_log")                                                    \
    X(NEWEST, "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'larder_score_log'), 0)")                 \
    X(SCHEMA, "PRAGMA schema_version")                                                                                 \
    X(LOG, "SELECT member, score, seq, board FROM larder_score_log WHERE seq > ?2 ORDER BY seq LIMIT ?3")              \
    X(COPY, "SELECT member, score, reached FROM larder_scores WHERE board = ?1 AND member > ?2 ORDER BY member "       \
            "LIMIT ?3")

#define NAME(name, sql) name,
enum which { STATEMENTS(NAME) COUNT };
#undef NAME

struct scores {
    char *path;
    int64_t busy_timeout_ms;
    sqlite3 *db;           /* NULL: to be opened by the next question */
    struct rows_file file; /* that was opened last, and has been there since; zero: none */
    uint64_t schema;       /* its, when the log was asked for last; 0: it has not been */
    bool replaced;         /* since that was last asked */
    struct giveway giveway;
    sqlite3_stmt *prepared[COUNT];
};

struct scores *scores_open(const char *database, int64_t busy_timeout_ms)
{
    struct scores *scores = sys_calloc(1, sizeof *scores);

    scores->path = sys_copy(str_from(database));
    scores->busy_timeout_ms = busy_timeout_ms;
    return scores;
}

static void disconnect(struct scores *scores)
{
    for (size_t i = 0; i < COUNT; i++) {
        sqlite3_finalize(scores->prepared[i]);
        scores->prepared[i] = NULL;
    }
    sqlite3_close(scores->db);
    scores->db = NULL;
}

void scores_close(struct scores **scores)
{
    if (!*scores)
        return;
    disconnect(*scores);
    free((*scores)->path);
    free(*scores);
    *scores = NULL;
}

static int check_deadline(void *context)
{
    struct scores *scores = context;

    return giveway_step(&scores->giveway);
}

/* SQLite's words about what failed last. A busy or slow database is no reason for a new connection. */
static enum err fail(struct scores *scores, struct buf *why)
{
    enum err err = scores->db ? rows_failed(scores->db, why) : ERR_UNAVAILABLE;

    if (err == ERR_BUSY || err == ERR_TIMEOUT || err == ERR_LIMIT)
        return err;
    disconnect(scores);
    return err == ERR_READ_ONLY || err == ERR_STATEMENT ? ERR_UNAVAILABLE : err;
}

static enum err connect_database(struct scores *scores, struct buf *why)
{
    enum err err = rows_open(scores->path, &scores->db, &scores->file);

    if (err == ERR_NOT_FOUND) {
        buf_printf(why, "there is no database at %s", scores->path);
        return ERR_UNAVAILABLE;
    }
    if (err != ERR_OK)
        return fail(scores, why);
    sqlite3_busy_timeout(scores->db, (int)scores->busy_timeout_ms);
    sqlite3_progress_handler(scores->db, PROGRESS_STEPS, check_deadline, scores);
    return ERR_OK;
}

static sqlite3_stmt *statement(struct scores *scores, enum which which)
{
#define TEXT(name, sql) sql,
    static const char *const texts[] = {STATEMENTS(TEXT)};
#undef TEXT

    if (!scores->prepared[which])
        sqlite3_prepare_v3(scores->db, texts[which], -1, SQLITE_PREPARE_PERSISTENT, &scores->prepared[which], NULL);
    return scores->prepared[which];
}

static void rest(sqlite3_stmt *used)
{
    sqlite3_reset(used);
    sqlite3_clear_bindings(used);
}

/* Runs a statement that has nothing to give. */
static bool run(struct scores *scores, enum which which)
{
    sqlite3_stmt *it = statement(scores, which);
    bool done = it && sqlite3_step(it) == SQLITE_DONE;

    if (it)
        sqlite3_reset(it);
    return done;
}

/* Whether the tables are there: a database that no writer has been at yet has none. */
static enum err find_tables(struct scores *scores, struct buf *why)
{
    if (statement(scores, MEMBERS))
        return ERR_OK;
    /* The preparing has looked at the schema as it is now. */
    if (sqlite3_errcode(scores->db) == SQLITE_ERROR &&
        sqlite3_table_column_metadata(scores->db, "main", "larder_boards", NULL, NULL, NULL, NULL, NULL, NULL) ==
            SQLITE_ERROR)
        return ERR_NOT_FOUND;
    return fail(scores, why);
}

/* A connection to the file that stands at the path now. */
static enum err look(struct scores *scores, struct buf *why)
{
    if (scores->file.inode != 0 && !rows_file_stands(scores->path, &scores->file)) {
        disconnect(scores);
        scores->file = (struct rows_file){.inode = 0};
        scores->schema = 0;
        scores->replaced = true;
    }
    return scores->db ? ERR_OK : connect_database(scores, why);
}

bool scores_was_replaced(struct scores *scores)
{
    const bool replaced = scores->replaced;

    scores->replaced = false;
    return replaced;
}

/* Opens a read transaction. ERR_NOT_FOUND: there are no such tables; no transaction then. */
static enum err begin(struct scores *scores, struct buf *why)
{
    giveway_begin(&scores->giveway, sys_monotonic_us(), TIMEOUT_MS);
    enum err err = look(scores, why);
    if (err == ERR_OK)
        err = find_tables(scores, why);
    if (err != ERR_OK)
        return err;
    return run(scores, BEGIN) ? ERR_OK : fail(scores, why);
}

/* Ends it. ERR is how the question went; SQLite's own words where it says ERR_STATEMENT. */
static enum err end(struct scores *scores, enum err err, struct buf *why)
{
    if (err == ERR_STATEMENT)
        err = fail(scores, why);
    if (err == ERR_LIMIT)
        buf_add_str(why, STR("the answer is larger than a request may use"));
    /* A transaction that was read in ends without a chance to fail, or has ended. */
    if (scores->db && !sqlite3_get_autocommit(scores->db) && !run(scores, END))
        disconnect(scores);
    return err;
}

static void bind_text(sqlite3_stmt *it, int at, struct str text)
{
    sqlite3_bind_text(it, at, text.len > 0 ? text.p : "", (int)text.len, SQLITE_STATIC);
}

static struct str take_text(sqlite3_stmt *it, int column, struct arena *arena)
{
    const char *text = (const char *)sqlite3_column_text(it, column);

    return arena_copy(arena, (struct str){text, text ? (size_t)sqlite3_column_bytes(it, column) : 0});
}

/* The statement WHICH with the board bound; NULL, so that the question has failed, where it cannot be prepared. */
static sqlite3_stmt *ask(struct scores *scores, enum which which, struct str board)
{
    sqlite3_stmt *it = statement(scores, which);

    if (it)
        bind_text(it, 1, board);
    return it;
}

/* The one whole number that IT gives, 0 where it gives none. ERR_STATEMENT. */
static enum err take_number(sqlite3_stmt *it, uint64_t *out)
{
    int code = it ? sqlite3_step(it) : SQLITE_ERROR;

    *out = code == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(it, 0) : 0;
    if (it)
        rest(it);
    return code == SQLITE_ROW || code == SQLITE_DONE ? ERR_OK : ERR_STATEMENT;
}

static enum err count_members(struct scores *scores, struct str board, uint64_t *members)
{
    return take_number(ask(scores, MEMBERS, board), members);
}

/* What IT gives, as places, at most MAX. */
static enum err take_places(sqlite3_stmt *it, size_t max, struct arena *arena, struct scores_answer *out)
{
    struct scores_place *places = arena_calloc(arena, max + 1, sizeof *places);
    size_t count = 0;
    int code = SQLITE_DONE;

    while (places && count < max && (code = sqlite3_step(it)) == SQLITE_ROW) {
        places[count++] =
            (struct scores_place){.member = take_text(it, 0, arena), .score = sqlite3_column_double(it, 1)};
    }
    rest(it);
    if (code != SQLITE_DONE && code != SQLITE_ROW)
        return ERR_STATEMENT;
    out->places = places;
    out->count = count;
    return arena_overflowed(arena) ? ERR_LIMIT : ERR_OK;
}

enum err scores_top(struct scores *scores, struct str board, uint64_t offset, uint64_t limit, struct arena *arena,
                    struct scores_answer *out, struct buf *why)
{
    struct scores_answer answer = {.rank = offset};
    enum err err = begin(scores, why);

    if (err == ERR_OK) {
        err = count_members(scores, board, &answer.members);
        sqlite3_stmt *it = err == ERR_OK ? ask(scores, TOP, board) : NULL;
        if (it) {
            sqlite3_bind_int64(it, 2, (sqlite3_int64)limit);
            sqlite3_bind_int64(it, 3, (sqlite3_int64)offset);
            err = take_places(it, limit, arena, &answer);
        } else {
            err = ERR_STATEMENT;
        }
        err = end(scores, err, why);
    } else if (err == ERR_NOT_FOUND) {
        err = ERR_OK;
    }
    if (err == ERR_OK)
        *out = answer;
    return err;
}

/* Where a member stands. */
struct standing {
    bool found;
    double score;
    int64_t reached;
    uint64_t rank;
};

static enum err find_member(struct scores *scores, struct str board, struct str member, struct standing *out)
{
    sqlite3_stmt *it = ask(scores, MEMBER, board);

    if (!it)
        return ERR_STATEMENT;
    bind_text(it, 2, member);
    int code = sqlite3_step(it);
    out->found = code == SQLITE_ROW;
    if (out->found) {
        out->score = sqlite3_column_double(it, 0);
        out->reached = sqlite3_column_int64(it, 1);
    }
    rest(it);
    return code == SQLITE_ROW || code == SQLITE_DONE ? ERR_OK : ERR_STATEMENT;
}

/* Whether most of the board seems to stand before SCORE. */
static enum err guess_half(struct scores *scores, struct str board, struct str member, double score, bool *lower)
{
    sqlite3_stmt *it = ask(scores, SAMPLE, board);

    if (!it)
        return ERR_STATEMENT;
    bind_text(it, 2, member);
    sqlite3_bind_double(it, 3, score);
    sqlite3_bind_int(it, 4, SAMPLE_SIZE);
    int code = sqlite3_step(it);
    if (code == SQLITE_ROW)
        *lower = 2 * sqlite3_column_int64(it, 1) > sqlite3_column_int64(it, 0);
    rest(it);
    return code == SQLITE_ROW ? ERR_OK : ERR_STATEMENT;
}

static enum err rank_member(struct scores *scores, struct str board, struct str member, uint64_t members,
                            struct standing *it)
{
    bool lower = false;
    uint64_t others = 0;
    enum err err = guess_half(scores, board, member, it->score, &lower);
    sqlite3_stmt *counting = err == ERR_OK ? ask(scores, lower ? BEHIND : BEFORE, board) : NULL;

    if (!counting)
        return ERR_STATEMENT;
    sqlite3_bind_double(counting, 2, it->score);
    sqlite3_bind_int64(counting, 3, it->reached);
    err = take_number(counting, &others);
    it->rank = lower ? members - 1 - others : others;
    return err;
}

/* MEMBER with its neighbours, whose rank is known. */
static enum err take_around(struct scores *scores, struct str board, const struct standing *standing, uint64_t range,
                            struct arena *arena, struct scores_answer *out)
{
    sqlite3_stmt *it = ask(scores, AROUND, board);
    uint64_t before = standing->rank < range ? standing->rank : range;

    if (!it)
        return ERR_STATEMENT;
    sqlite3_bind_double(it, 2, standing->score);
    sqlite3_bind_int64(it, 3, standing->reached);
    sqlite3_bind_int64(it, 4, (sqlite3_int64)range);
    out->rank = standing->rank - before;
    enum err err = take_places(it, 2 * range + 1, arena, out);
    if (err != ERR_OK)
        return err;
    /* Those before the member come nearest first. */
    for (size_t i = 0; i < before / 2 && before <= out->count; i++) {
        struct scores_place nearer = out->places[i];

        out->places[i] = out->places[before - 1 - i];
        out->places[before - 1 - i] = nearer;
    }
    return ERR_OK;
}

enum err scores_around(struct scores *scores, struct str board, struct str member, uint64_t range, struct arena *arena,
                       struct scores_answer *out, bool *found, struct buf *why)
{
    struct scores_answer answer = {.members = 0};
    struct standing standing = {.found = false};
    enum err err = begin(scores, why);

    if (err == ERR_OK) {
        err = count_members(scores, board, &answer.members);
        if (err == ERR_OK)
            err = find_member(scores, board, member, &standing);
        if (err == ERR_OK && standing.found)
            err = rank_member(scores, board, member, answer.members, &standing);
        if (err == ERR_OK && standing.found)
            err = take_around(scores, board, &standing, range, arena, &answer);
        err = end(scores, err, why);
    } else if (err == ERR_NOT_FOUND) {
        err = ERR_OK;
    }
    if (err != ERR_OK)
        return err;
    *out = answer;
    *found = standing.found;
    return ERR_OK;
}

static enum err take_boards(sqlite3_stmt *it, uint64_t limit, struct arena *arena, struct scores_board **boards,
                            size_t *count)
{
    struct scores_board *found = arena_calloc(arena, limit + 1, sizeof *found);
    int code = SQLITE_DONE;

    while (found && *count < limit && (code = sqlite3_step(it)) == SQLITE_ROW) {
        found[*count] =
            (struct scores_board){.board = take_text(it, 0, arena), .members = (uint64_t)sqlite3_column_int64(it, 1)};
        ++*count;
    }
    rest(it);
    *boards = found;
    if (code != SQLITE_DONE && code != SQLITE_ROW)
        return ERR_STATEMENT;
    return arena_overflowed(arena) ? ERR_LIMIT : ERR_OK;
}

enum err scores_boards(struct scores *scores, struct str prefix, uint64_t offset, uint64_t limit, struct arena *arena,
                       struct scores_board **boards, size_t *count, struct buf *why)
{
    enum err err = begin(scores, why);

    *count = 0;
    *boards = NULL;
    if (err == ERR_NOT_FOUND)
        return ERR_OK;
    if (err != ERR_OK)
        return err;
    sqlite3_stmt *it = ask(scores, BOARDS, prefix);
    if (it) {
        sqlite3_bind_int64(it, 2, (sqlite3_int64)limit);
        sqlite3_bind_int64(it, 3, (sqlite3_int64)offset);
    }
    return end(scores, it ? take_boards(it, limit, arena, boards, count) : ERR_STATEMENT, why);
}

/* SQLite moves the schema's number when it restores a database from a copy. */
static enum err look_at_schema(struct scores *scores)
{
    uint64_t schema;
    enum err err = take_number(statement(scores, SCHEMA), &schema);

    if (err != ERR_OK)
        return err;
    scores->replaced |= scores->schema != 0 && schema != scores->schema;
    scores->schema = schema;
    return ERR_OK;
}

enum err scores_log_bounds(struct scores *scores, uint64_t *oldest, uint64_t *newest, struct buf *why)
{
    enum err err = begin(scores, why);

    *oldest = *newest = 0;
    if (err == ERR_NOT_FOUND)
        return ERR_OK;
    if (err != ERR_OK)
        return err;
    err = take_number(statement(scores, OLDEST), oldest);
    if (err == ERR_OK)
        err = take_number(statement(scores, NEWEST), newest);
    if (err == ERR_OK)
        err = look_at_schema(scores);
    return end(scores, err, why);
}

/* What IT gives as changes of BOARD, or of the board that stands in a fourth column. */
static enum err take_changes(sqlite3_stmt *it, struct str board, size_t limit, struct arena *arena,
                             struct scores_change **changes, size_t *count)
{
    struct scores_change *found = arena_calloc(arena, limit + 1, sizeof *found);
    int code = SQLITE_DONE;

    while (found && *count < limit && (code = sqlite3_step(it)) == SQLITE_ROW) {
        found[*count] = (struct scores_change){.number = (uint64_t)sqlite3_column_int64(it, 2),
                                               .board = board.len > 0 ? board : take_text(it, 3, arena),
                                               .member = take_text(it, 0, arena),
                                               .removed = sqlite3_column_type(it, 1) == SQLITE_NULL,
                                               .score = sqlite3_column_double(it, 1)};
        ++*count;
    }
    rest(it);
    *changes = found;
    if (code != SQLITE_DONE && code != SQLITE_ROW)
        return ERR_STATEMENT;
    return arena_overflowed(arena) ? ERR_LIMIT : ERR_OK;
}

enum err scores_log_read(struct scores *scores, uint64_t after, size_t limit, struct arena *arena,
                         struct scores_change **changes, size_t *count, struct buf *why)
{
    enum err err = begin(scores, why);

    *changes = NULL;
    *count = 0;
    if (err == ERR_NOT_FOUND)
        return ERR_OK;
    if (err != ERR_OK)
        return err;
    sqlite3_stmt *it = statement(scores, LOG);
    if (it) {
        sqlite3_bind_int64(it, 2, (sqlite3_int64)after);
        sqlite3_bind_int64(it, 3, (sqlite3_int64)limit);
    }
    return end(scores, it ? take_changes(it, STR(""), limit, arena, changes, count) : ERR_STATEMENT, why);
}

enum err scores_copy(struct scores *scores, struct str board, struct str after, size_t limit, struct arena *arena,
                     struct scores_change **rows, size_t *count, struct buf *why)
{
    enum err err = begin(scores, why);

    *rows = NULL;
    *count = 0;
    if (err == ERR_NOT_FOUND)
        return ERR_OK;
    if (err != ERR_OK)
        return err;
    sqlite3_stmt *it = ask(scores, COPY, board);
    if (it) {
        bind_text(it, 2, after);
        sqlite3_bind_int64(it, 3, (sqlite3_int64)limit);
    }
    return end(scores, it ? take_changes(it, board, limit, arena, rows, count) : ERR_STATEMENT, why);
}
