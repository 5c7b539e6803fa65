/*
 * writer_scores: the log of what changes in scores (schema.h, larder_score_log), as the writing connection sees it.
 */
#ifndef LARDER_WRITER_SCORES_H
#define LARDER_WRITER_SCORES_H

#include <sqlite3.h>

#include "base/str.h"

struct writer_scores;

struct writer_scores *writer_scores_new(void);
void writer_scores_free(struct writer_scores **scores);
/* The connection is about to be closed: forgets its statements, and what was noted. */
void writer_scores_disconnect(struct writer_scores *scores);

/* The number of the newest change that there has been. Errors: rows_err. */
enum err writer_scores_newest(struct writer_scores *scores, sqlite3 *db, uint64_t *number) ERR_CHECKED;
/* Changes up to NUMBER have been told everywhere: they are to be cut off. */
void writer_scores_note(struct writer_scores *scores, uint64_t number);
bool writer_scores_has_noted(const struct writer_scores *scores);
/* Cuts them off, inside a transaction. Errors: rows_err. */
enum err writer_scores_cut(struct writer_scores *scores, sqlite3 *db, struct buf *why) ERR_CHECKED;

#endif
