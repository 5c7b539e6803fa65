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

/* Row ID, which has been committed, has the purges of so many WRITES, 1 or more. For the writer, before it answers. */
void writer_shares_set(struct writer_shares *shares, int64_t id, size_t writes);
/* Nothing is left of row ID. */
void writer_shares_set_whole(struct writer_shares *shares, int64_t id);
/* Row ID is about to be made, and what is known of that number is of another one, whose transaction was taken back, or
 * which stood in another database. For the writer. */
void writer_shares_unset(struct writer_shares *shares, int64_t id);
/* Another database stands at the path, where the numbers mean other rows. */
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
