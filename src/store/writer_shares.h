/*
 * writer_shares: what is left to be purged of the rows of the outbox. In shared memory: the writer says how many writes
 * have a share in a row, who has purged one of them says so before it is answered, and the housekeeper asks.
 *
 * So a row that is merely waiting to be removed, behind a slow disk or a writer that has no processor, is not carried
 * out a second time, which would cost the caches what has been kept since. Only the last rows are known: of one that
 * has been forgotten something may be left.
 */
#ifndef LARDER_WRITER_SHARES_H
#define LARDER_WRITER_SHARES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WRITER_SHARES_SLOTS = 1024 };

/* Zero-initialised. */
struct writer_shares {
    _Atomic uint64_t slots[WRITER_SHARES_SLOTS];
};

/* Row ID has the purges of so many WRITES, which is for the writer to say, before it commits; 0: all of it has been
 * carried out. */
void writer_shares_set(struct writer_shares *shares, int64_t id, size_t writes);
/* Rows are numbered anew, or may be. For the writer. */
void writer_shares_forget(struct writer_shares *shares);

struct writer_shares_paid {
    size_t whole, unknown;
};

/* Writes have been purged that IDS name the rows of, each row once for each of them. IDS are sorted: first the WHOLE
 * rows, of which nothing is left with this, once each; then the UNKNOWN ones. */
struct writer_shares_paid writer_shares_pay(struct writer_shares *shares, int64_t *ids, size_t count);
/* Whether it is known that nothing is left of row ID. */
bool writer_shares_is_whole(const struct writer_shares *shares, int64_t id);

#endif
