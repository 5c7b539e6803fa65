/*
 * writer_journal: writes that have been accepted and are still to be applied, in a file of their own beside the
 * database, DATABASE-larder.journal (SQLite, WAL, synchronous=FULL).
 *
 * A write is the bytes of its frame (writer_frame.h), under a number that is above that of every write before it, of
 * this journal and of any other: a new journal's numbers begin at its time of birth in microseconds. What was answered
 * to writes with an idempotency key stands here too. How far the journal has been applied is not known here but in the
 * origin (writer_position.h).
 */
#ifndef LARDER_WRITER_JOURNAL_H
#define LARDER_WRITER_JOURNAL_H

#include "config/config.h"
#include "store/writer_position.h"

struct writer_journal;

/* CONFIG must outlive it. Opens nothing. */
struct writer_journal *writer_journal_new(const struct config *config);
void writer_journal_free(struct writer_journal **journal);

/* Opens the file, and makes it where there is none and MAKE says so; else ERR_NOT_FOUND. Nothing when it is open and
 * still the file at its path. After an error that casts doubt on it, it is closed, to be opened anew. */
enum err writer_journal_open(struct writer_journal *journal, bool make, struct buf *why) ERR_CHECKED;
/* How often a file has been opened: whoever finds another number than before may have another journal before him, or
 * another copy of the same. */
unsigned writer_journal_openings(const struct writer_journal *journal);
/* Who it is. For an open journal. */
const struct writer_position_journal *writer_journal_identity(const struct writer_journal *journal);
/* The highest number given; the journal's own before the first. */
uint64_t writer_journal_last(const struct writer_journal *journal);
/* The file becomes another journal, as new as if it had just been made, with numbers above FLOOR: the writes that stand
 * in it are gone. Not in a transaction. */
enum err writer_journal_renew(struct writer_journal *journal, uint64_t floor, struct buf *why) ERR_CHECKED;
/* Whether it takes LEN bytes more, in the transaction that is open. */
bool writer_journal_has_room(const struct writer_journal *journal, size_t len);

/* A transaction: everything that is added between is on the disk when the commit returns ERR_OK; otherwise nothing of
 * it. It also removes what was forgotten before it began. */
enum err writer_journal_begin(struct writer_journal *journal, struct buf *why) ERR_CHECKED;
enum err writer_journal_commit(struct writer_journal *journal, struct buf *why) ERR_CHECKED;
void writer_journal_rollback(struct writer_journal *journal);
enum err writer_journal_add(struct writer_journal *journal, struct str frame, int64_t now_ms, uint64_t *number,
                            struct buf *why) ERR_CHECKED;
/* As writer_replay. writer_journal_recall needs no transaction. */
enum err writer_journal_recall(struct writer_journal *journal, struct str key, struct str print, int64_t now_ms,
                               struct buf *answer, struct buf *why) ERR_CHECKED;
enum err writer_journal_keep(struct writer_journal *journal, struct str key, struct str print, int64_t now_ms,
                             struct str answer, struct buf *why) ERR_CHECKED;

/* The first write behind NUMBER: its frame, appended, its number and when it was accepted. ERR_NOT_FOUND at the end. */
enum err writer_journal_next(struct writer_journal *journal, uint64_t number, struct buf *frame, uint64_t *next,
                             int64_t *at_ms, struct buf *why) ERR_CHECKED;
/* The writes up to NUMBER have been applied, and that is on the disk. */
void writer_journal_forget(struct writer_journal *journal, uint64_t number);

#endif
