/*
 * fcgi_head: are these bytes a whole, valid FastCGI request head, and where in them are its parameters? Pure.
 *
 * A head is a BEGIN_REQUEST of a responder and PARAMS records to their empty end, whose pairs add up (FastCGI specification 3.3, 3.4,
 * 5). Nothing is answered, and nothing is given to libfcgi, that has not passed this scan: libfcgi trusts its peer, allocates what a
 * length announces, and loses the parameters after a padded BEGIN_REQUEST.
 */
#ifndef LARDER_FCGI_HEAD_H
#define LARDER_FCGI_HEAD_H

#include "base/str.h"

enum {
    FCGI_HEAD_MAX = 64 * 1024, /* bytes of a head, records and all */
    FCGI_HEAD_PARAMS_MAX = 256,
    FCGI_HEAD_RECORD = 8, /* bytes of a record's header */
    FCGI_HEAD_CONTENT_MAX = 65528 /* content of the records we send: a multiple of 8, so that none needs padding */
};

/* Record types and constants of the specification. */
enum {
    FCGI_HEAD_VERSION = 1,
    FCGI_HEAD_BEGIN_REQUEST = 1,
    FCGI_HEAD_ABORT_REQUEST = 2,
    FCGI_HEAD_END_REQUEST = 3,
    FCGI_HEAD_PARAMS = 4,
    FCGI_HEAD_STDIN = 5,
    FCGI_HEAD_STDOUT = 6,
    FCGI_HEAD_STDERR = 7,
    FCGI_HEAD_GET_VALUES = 9,
    FCGI_HEAD_GET_VALUES_RESULT = 10,
    FCGI_HEAD_UNKNOWN_TYPE = 11,
    FCGI_HEAD_KEEP_CONN = 1,
    FCGI_HEAD_RESPONDER = 1
};

enum fcgi_head_verdict {
    FCGI_HEAD_INCOMPLETE, /* so far valid: wait for more bytes */
    FCGI_HEAD_READY,      /* the head is whole */
    FCGI_HEAD_MANAGEMENT, /* a whole management record comes first: `len` bytes of type `type` */
    FCGI_HEAD_INVALID     /* close the connection; `why` says what was wrong */
};

/* Where a name stands among the bytes; its value follows it. */
struct fcgi_head_param {
    uint32_t at, name_len, value_len;
};

struct fcgi_head {
    uint16_t request_id;
    bool keep;          /* FCGI_KEEP_CONN */
    bool body_complete; /* the end of STDIN is among the bytes as well, and nothing follows it */
    bool is_split;      /* a parameter lies in more than one record: `param` does not say where */
    uint8_t type;       /* of a management record */
    size_t len;         /* bytes of the head, or of the management record */
    size_t body_len;    /* announced by CONTENT_LENGTH; 0 without one or where it is no number */
    size_t stdin_len;   /* bytes of the body that are here already */
    bool is_announced;  /* there is a CONTENT_LENGTH */
    size_t params_len;  /* bytes of all names and values */
    unsigned params;
    const char *why; /* static text */
    struct fcgi_head_param param[FCGI_HEAD_PARAMS_MAX]; /* the first `params` are set */
};

/* Scans BYTES from their start. *OUT is meaningful as the verdict says. */
enum fcgi_head_verdict fcgi_head_scan(struct str bytes, struct fcgi_head *out);

/* Copies the body of the request in BYTES, whose scan is HEAD with body_complete, to OUT. False when it is not BODY_LEN bytes long. */
bool fcgi_head_body(struct str bytes, const struct fcgi_head *head, size_t body_len, char *out);

/* Appends the answer to a management record (4.1, 4.2): GET_VALUES_RESULT for GET_VALUES, else UNKNOWN_TYPE. RECORD is the whole record. */
void fcgi_head_answer(struct str record, unsigned connections, struct buf *out);

#endif
