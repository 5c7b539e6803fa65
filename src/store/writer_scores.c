/*
 * writer_scores: two statements on the log of scores.
 *
 * What a transaction that is taken back has cut is noted as cut nevertheless, and so stays until the next change has
 * been told. It is removed then.
 */
#include "store/writer_scores.h"

#include <stdlib.h>

#include "base/sys.h"
#include "store/rows.h"
#include "store/statement.h"

enum { NEWEST, CUT, STATEMENTS };

static const char *const texts[STATEMENTS] = {
    [NEWEST] = "SELECT seq FROM sqlite_sequence WHERE name = 'larder_score_log'",
    [CUT] = "DELETE FROM larder_score_log WHERE seq <= ?1",
};

struct writer_scores {
    sqlite3_stmt *statements[STATEMENTS]; /* all, or none of them: to be prepared */
    uint64_t noted, cut;
};

struct writer_scores *writer_scores_new(void)
{
    return sys_calloc(1, sizeof(struct writer_scores));
}

void writer_scores_free(struct writer_scores **scores)
{
    if (!*scores)
        return;
    writer_scores_disconnect(*scores);
    free(*scores);
    *scores = NULL;
}

void writer_scores_disconnect(struct writer_scores *scores)
{
    statement_finalize_all(scores->statements, STATEMENTS);
    scores->noted = scores->cut = 0;
}

static enum err take(struct writer_scores *scores, sqlite3 *db, int which, sqlite3_stmt **out, struct buf *why)
{
    enum err err = ERR_OK;

    if (!scores->statements[NEWEST])
        err = statement_prepare_all(db, texts, scores->statements, STATEMENTS, why);
    if (err != ERR_OK)
        statement_finalize_all(scores->statements, STATEMENTS);
    *out = scores->statements[which];
    return err;
}

enum err writer_scores_newest(struct writer_scores *scores, sqlite3 *db, uint64_t *number)
{
    sqlite3_stmt *statement;
    struct buf why = {0};
    enum err err = take(scores, db, NEWEST, &statement, &why);

    if (err == ERR_OK && sqlite3_step(statement) == SQLITE_ROW)
        *number = (uint64_t)sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    buf_free(&why);
    return err;
}

void writer_scores_note(struct writer_scores *scores, uint64_t number)
{
    if (number > scores->noted)
        scores->noted = number;
}

bool writer_scores_has_noted(const struct writer_scores *scores)
{
    return scores->noted > scores->cut;
}

enum err writer_scores_cut(struct writer_scores *scores, sqlite3 *db, struct buf *why)
{
    sqlite3_stmt *statement;

    if (scores->noted <= scores->cut)
        return ERR_OK;
    enum err err = take(scores, db, CUT, &statement, why);
    if (err != ERR_OK)
        return err;
    sqlite3_bind_int64(statement, 1, (int64_t)scores->noted);
    if (sqlite3_step(statement) != SQLITE_DONE)
        err = rows_failed(db, why);
    sqlite3_reset(statement);
    if (err == ERR_OK)
        scores->cut = scores->noted;
    return err;
}
