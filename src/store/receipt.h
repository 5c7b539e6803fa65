/*
 * receipt: what the client of a write behind is given, and how it goes with that write.
 *
 * A receipt is the write's number in decimal, a hyphen, and 16 hexadecimal digits that only the journal's secret makes
 * of the number: nobody can ask for another's by counting, and what was never given is known as such. So nothing has to
 * be kept for a write that was applied: it stands below the position that its journal was applied to.
 */
#ifndef LARDER_RECEIPT_H
#define LARDER_RECEIPT_H

#include "base/arena.h"
#include "store/writer_position.h"

/* Appends the receipt of write NUMBER. */
void receipt_write(const struct writer_position_journal *journal, uint64_t number, struct buf *out);
/* The number in RECEIPT; 0 for what is none by its form. Pure. */
uint64_t receipt_number(struct str receipt);

enum receipt_state {
    RECEIPT_ACCEPTED,
    RECEIPT_APPLIED,
    RECEIPT_LOST, /* its journal was taken away or put back before it was applied, and another has been begun */
    RECEIPT_FAILED,
    RECEIPT_REPEATED,
    RECEIPT_DROPPED
};
const char *receipt_state_name(enum receipt_state state);

struct receipt_status {
    struct str receipt;
    uint64_t number;
    enum receipt_state state;
    /* Of what failed, also when it was repeated or dropped since: */
    int64_t accepted_ms, failed_ms;
    struct str error, why;
    struct str label;     /* FAILED: what the write was, for people */
    struct str successor; /* REPEATED: the receipt it goes by now */
};

/* A thread's view; read-only, opened by the first question, again after trouble, and when there is another file at the
 * path. */
struct receipts;
struct receipts *receipt_open(const char *database);
void receipt_close(struct receipts **receipts);
/* How it goes with RECEIPT; views in ARENA. ERR_NOT_FOUND: it was never given. ERR_UNAVAILABLE, with WHY. */
enum err receipt_find(struct receipts *receipts, struct str receipt, struct arena *arena, struct receipt_status *out,
                      struct buf *why) ERR_CHECKED;
/* The writes that have failed and wait for somebody to decide, behind number AFTER, the oldest first, at most MAX. */
enum err receipt_failed(struct receipts *receipts, uint64_t after, size_t max, struct arena *arena,
                        struct receipt_status **out, size_t *count, struct buf *why) ERR_CHECKED;

#endif
