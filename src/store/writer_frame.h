/*
 * writer_frame: the bytes between a client and the writer. Pure.
 *
 * A frame is u32 length of what follows | u8 version | u8 kind | u32 tag | payload, native-endian: it never leaves the
 * host. A text is u32 length and bytes. The tag is what the client likes; the answer to a request has it, too.
 *
 * - WRITE: i64 deadline | i64 run | u8 flags | u8 shape | i64 now_ms | texts address, project, key id | text SQL |
 *   purges | values | repeat | condition | text label
 * - BATCH_BEGIN: i64 now_ms | u8 whether the commit will have purges | text SQL
 * - BATCH_ROW: values
 * - BATCH_COMMIT: purges
 * - PURGES: i64 deadline | purges
 * - PURGED: u16 count, then each: i64 id of a row of the outbox, once for each write that it is named to | u64 told
 * - DRAINED: the same, of rows that have been carried out as a whole
 * - FOLLOWED: as PURGED with one id and without told: scores up to this change have been told (schema.h,
 *   larder_score_log)
 * - REPEAT, DROP: the same with one id: of a failed write behind (writer_position.h)
 * - CHANGED: values: tables, and up to which change what depends on them has been purged; none: the schema is new |
 *   u64 told
 * - ANSWER: u8 error | u8 flags | i64 changes | u64 failed row | i64 outbox id | text why | text JSON
 *
 * told: the number of the last purge that L2 was told of (larder_told, schema.h); 0: not known.
 * values: u16 count, then each: text name | u8 type | u8 null | text | i64 integer | f64 number.
 * purges: a text, a list of outbox_encode; empty: nothing goes to the outbox.
 * repeat: text key | text print (writer_replay.h); an empty key: none.
 * condition: u8 kind; and for any kind but 0: u8 shape | text SQL | text hashes | values.
 *
 * Every request but BATCH_ROW, PURGED, DRAINED, FOLLOWED and CHANGED is answered by one ANSWER. Answers may come in
 * another order than requests were sent.
 */
#ifndef LARDER_WRITER_FRAME_H
#define LARDER_WRITER_FRAME_H

#include "base/sys.h"
#include "store/store.h"

enum {
    WRITER_FRAME_VERSION = 5,
    WRITER_FRAME_HEAD = 10,
    WRITER_FRAME_MAX = 64 << 20,
    WRITER_FRAME_IDS_MAX = 256,
    WRITER_FRAME_HASH_LEN = SYS_DIGEST_LEN
};
/* The failed row of what did not fail by a row. */
#define WRITER_FRAME_NO_ROW UINT64_MAX

enum writer_frame_kind {
    WRITER_FRAME_WRITE = 1,
    WRITER_FRAME_BATCH_BEGIN,
    WRITER_FRAME_BATCH_ROW,
    WRITER_FRAME_BATCH_COMMIT,
    WRITER_FRAME_PURGES,
    WRITER_FRAME_PURGED,
    WRITER_FRAME_DRAINED,
    WRITER_FRAME_FOLLOWED,
    WRITER_FRAME_REPEAT,
    WRITER_FRAME_DROP,
    WRITER_FRAME_CHANGED,
    WRITER_FRAME_ANSWER
};

enum writer_frame_condition { WRITER_FRAME_ALWAYS, WRITER_FRAME_IF_MATCH, WRITER_FRAME_IF_NONE_MATCH };

/* What a client asks; which members hold depends on the kind. Views lie in the bytes. */
struct writer_frame_request {
    enum writer_frame_kind kind;
    uint32_t tag;
    int64_t deadline_ms; /* monotonic: nobody waits for the answer any longer */
    int64_t run_ms;      /* that the statements may take; 0: as long as the writer lets any */
    bool tells_scores;   /* bit 0 of the flags */
    bool behind;         /* bit 1 */
    enum catalog_shape shape;
    struct store_caller caller;
    struct str sql;
    struct str purges;
    bool will_purge; /* of a batch and its rows, and of a write behind: the purges come with the commit */
    struct params_values values;
    struct str repeat_key, repeat_print;
    /* Whether the write may be carried out depends on the answer of a reading statement: whether there is one, and its
     * hash (WRITER_FRAME_HASH_LEN digits of sys_digest, one after the other) is among HASHES; where these are empty,
     * any is. */
    enum writer_frame_condition condition;
    struct str condition_sql, condition_hashes;
    enum catalog_shape condition_shape;
    struct params_values condition_values;
    struct str label; /* what it is, for people */
    size_t ids_count;
    int64_t ids[WRITER_FRAME_IDS_MAX]; /* rows of the outbox */
    uint64_t told;                     /* of PURGED, DRAINED and CHANGED: as writer_shared has it */
};

struct writer_frame_answer {
    uint32_t tag;
    enum err err;
    bool found;    /* bit 0 of the flags */
    bool repeated; /* bit 1: the answer that an earlier request with the same key was given */
    int64_t changes;
    uint64_t failed_row;
    int64_t outbox_id; /* 0: nothing went there */
    struct str why, json;
};

/* Whether BYTES begin with a whole frame: its length, head included. ERR_AGAIN when more is needed; ERR_SYNTAX for what
 * cannot become a frame, ERR_VERSION for one of another version. */
enum err writer_frame_length(struct str bytes, size_t *len) ERR_CHECKED;
/* Append a frame. ERR_LIMIT, and nothing appended, for a request larger than WRITER_FRAME_MAX. At most
 * WRITER_FRAME_IDS_MAX ids. */
enum err writer_frame_add_request(const struct writer_frame_request *request, struct buf *out) ERR_CHECKED;
void writer_frame_add_answer(const struct writer_frame_answer *answer, struct buf *out);
/* FRAME is one whole frame, of writer_frame_length. ERR_SYNTAX. */
enum err writer_frame_read_request(struct str frame, struct writer_frame_request *out) ERR_CHECKED;
enum err writer_frame_read_answer(struct str frame, struct writer_frame_answer *out) ERR_CHECKED;

#endif
