/*
 * The scan walks records, and within PARAMS the name-value pairs, whose bytes may be split over records anywhere. A pair
 * that lies whole in one record (all of them, from any real web server) is taken in one step; only a split pair goes through the
 * byte-wise state in `struct pairs`.
 *
 * Invariant: nothing is accepted here that libfcgi 2.4 would read differently, wait for, or allocate more for than the bytes that
 * are there. Records of several requests on one connection (multiplexing), requests that follow without waiting for the
 * answer (pipelining) and roles other than responder are refused: no web server sends them to a responder.
 */
#include "server/fcgi_head.h"

#include <stdio.h>

/* Where the pair-wise reading of PARAMS stands. */
struct pairs {
    unsigned char lengths[8]; /* the encoded lengths of a pair begun in an earlier record */
    size_t lengths_have;
    size_t skip; /* bytes of name and value still to come */
};

struct record {
    uint8_t type;
    uint16_t request_id;
    size_t content_len, padding_len;
};

/* libfcgi forgets the padding of an empty record, and takes it for the next record's header. */
static const char padded_end[] = "an end of a stream that is padded";

static enum fcgi_head_verdict invalid(struct fcgi_head *out, const char *why)
{
    out->why = why;
    return FCGI_HEAD_INVALID;
}

/* Reads a record's header at AT; false when fewer than eight bytes are left. */
static bool read_record(struct str bytes, size_t at, struct record *out)
{
    if (bytes.len - at < FCGI_HEAD_RECORD)
        return false;
    const unsigned char *p = (const unsigned char *)bytes.p + at;
    out->type = p[1];
    out->request_id = (uint16_t)(p[2] << 8 | p[3]);
    out->content_len = (size_t)p[4] << 8 | p[5];
    out->padding_len = p[6];
    return true;
}

/* Decodes both lengths of a pair. Returns how many bytes they take, 0 when there are too few. */
static inline size_t read_lengths(const unsigned char *p, size_t have, size_t *name_len, size_t *value_len)
{
    size_t used = 0, lengths[2];
    /* Nearly all names and values are shorter than 128 bytes. */
    if (have >= 2 && !((p[0] | p[1]) & 0x80)) {
        *name_len = p[0];
        *value_len = p[1];
        return 2;
    }
    for (int i = 0; i < 2; i++) {
        if (used >= have)
            return 0;
        if (!(p[used] & 0x80)) {
            lengths[i] = p[used++];
            continue;
        }
        if (have - used < 4)
            return 0;
        lengths[i] = (size_t)(p[used] & 0x7f) << 24 | (size_t)p[used + 1] << 16 | (size_t)p[used + 2] << 8 | p[used + 3];
        used += 4;
    }
    *name_len = lengths[0];
    *value_len = lengths[1];
    return used;
}

/* Counts a parameter whose name is at AT. False when there are too many, or it announces more than a head may hold. */
static bool add_param(struct fcgi_head *out, size_t at, size_t name_len, size_t value_len)
{
    if (out->params == FCGI_HEAD_PARAMS_MAX || name_len + value_len > FCGI_HEAD_MAX)
        return false;
    out->param[out->params++] = (struct fcgi_head_param){(uint32_t)at, (uint32_t)name_len, (uint32_t)value_len};
    out->params_len += name_len + value_len;
    return true;
}

static void note_content_length(struct fcgi_head *out, const char *name, size_t name_len, size_t value_len)
{
    static const char wanted[] = "CONTENT_LENGTH";
    int64_t value;
    if (name_len != sizeof wanted - 1 || memcmp(name, wanted, name_len) != 0)
        return;
    out->is_announced = value_len > 0;
    if (str_to_int64((struct str){name + name_len, value_len}, &value) == ERR_OK && value > 0)
        out->body_len = (size_t)value;
}

/* Takes the lengths of a pair that began in an earlier record, byte by byte, from AT on. Returns the bytes used, 0 for false. */
static size_t resume_lengths(struct pairs *pairs, struct str bytes, size_t at, size_t end, struct fcgi_head *out)
{
    size_t used = 0, name_len, value_len;
    while (at + used < end) {
        pairs->lengths[pairs->lengths_have++] = (unsigned char)bytes.p[at + used++];
        if (read_lengths(pairs->lengths, pairs->lengths_have, &name_len, &value_len)) {
            pairs->lengths_have = 0;
            pairs->skip = name_len + value_len;
            return add_param(out, at + used, name_len, value_len) ? used : 0;
        }
    }
    return used;
}

/* Takes the content of one PARAMS record, from AT to END. False when there is more than a head may hold. */
static bool take_pairs(struct pairs *pairs, struct str bytes, size_t at, size_t end, struct fcgi_head *out)
{
    while (at < end) {
        size_t used, name_len, value_len;
        if (pairs->skip > 0) {
            used = pairs->skip < end - at ? pairs->skip : end - at;
            pairs->skip -= used;
        } else if (pairs->lengths_have > 0) {
            used = resume_lengths(pairs, bytes, at, end, out);
            if (used == 0)
                return false;
        } else if ((used = read_lengths((const unsigned char *)bytes.p + at, end - at, &name_len, &value_len)) == 0) {
            out->is_split = true;
            memcpy(pairs->lengths, bytes.p + at, end - at);
            pairs->lengths_have = end - at;
            used = end - at;
        } else {
            size_t both = name_len + value_len;
            if (!add_param(out, at + used, name_len, value_len))
                return false;
            if (both <= end - at - used) {
                note_content_length(out, bytes.p + at + used, name_len, value_len);
                used += both;
            } else {
                out->is_split = true;
                pairs->skip = both;
            }
        }
        at += used;
    }
    return true;
}

/* Checks that bytes so far can still become a head, although the record at AT is not whole. */
static enum fcgi_head_verdict incomplete(struct str bytes, size_t at, struct fcgi_head *out)
{
    if (at < bytes.len && (unsigned char)bytes.p[at] != FCGI_HEAD_VERSION)
        return invalid(out, "not FastCGI version 1");
    if (bytes.len >= FCGI_HEAD_MAX)
        return invalid(out, "the request head is over 64 KiB");
    return FCGI_HEAD_INCOMPLETE;
}

/* What follows the head: STDIN records to their empty end, if they are here already. */
static enum fcgi_head_verdict scan_body(struct str bytes, struct fcgi_head *out)
{
    struct record record;
    size_t at = out->len;
    while (read_record(bytes, at, &record)) {
        if ((unsigned char)bytes.p[at] != FCGI_HEAD_VERSION)
            return invalid(out, "not FastCGI version 1");
        if (record.type != FCGI_HEAD_STDIN || record.request_id != out->request_id)
            return invalid(out, "another record than STDIN after the parameters");
        size_t whole = FCGI_HEAD_RECORD + record.content_len + record.padding_len;
        if (bytes.len - at < whole)
            break;
        at += whole;
        out->stdin_len += record.content_len;
        if (record.content_len == 0) {
            if (record.padding_len > 0)
                return invalid(out, padded_end);
            out->body_complete = true;
            return at == bytes.len ? FCGI_HEAD_READY : invalid(out, "a request sent before the last was answered");
        }
    }
    return FCGI_HEAD_READY;
}

/* BEGIN_REQUEST or a management record, at the very start. */
static enum fcgi_head_verdict scan_first(struct str bytes, struct fcgi_head *out)
{
    struct record record;
    if (!read_record(bytes, 0, &record))
        return incomplete(bytes, 0, out);
    const unsigned char *body = (const unsigned char *)bytes.p + FCGI_HEAD_RECORD;
    size_t whole = FCGI_HEAD_RECORD + record.content_len + record.padding_len;
    if ((unsigned char)bytes.p[0] != FCGI_HEAD_VERSION)
        return invalid(out, "not FastCGI version 1");
    if (record.request_id == 0 && record.type != FCGI_HEAD_BEGIN_REQUEST) {
        out->type = record.type;
        out->len = whole;
        return bytes.len < whole ? FCGI_HEAD_INCOMPLETE : FCGI_HEAD_MANAGEMENT;
    }
    if (record.type != FCGI_HEAD_BEGIN_REQUEST || record.request_id == 0)
        return invalid(out, "a request that does not begin with BEGIN_REQUEST");
    if (record.content_len != 8 || record.padding_len != 0)
        return invalid(out, "a BEGIN_REQUEST of another size than 8 bytes, or padded");
    if (bytes.len < whole)
        return FCGI_HEAD_INCOMPLETE;
    if ((body[0] << 8 | body[1]) != FCGI_HEAD_RESPONDER)
        return invalid(out, "another role than responder");
    out->request_id = record.request_id;
    out->keep = body[2] & FCGI_HEAD_KEEP_CONN;
    out->len = whole;
    return FCGI_HEAD_READY;
}

enum fcgi_head_verdict fcgi_head_scan(struct str bytes, struct fcgi_head *out)
{
    /* Not the parameters' places: there are 3 KiB of them. */
    memset(out, 0, offsetof(struct fcgi_head, param));
    enum fcgi_head_verdict first = scan_first(bytes, out);
    if (first != FCGI_HEAD_READY)
        return first;
    struct pairs pairs = {0};
    struct record record;
    while (read_record(bytes, out->len, &record)) {
        if ((unsigned char)bytes.p[out->len] != FCGI_HEAD_VERSION)
            return invalid(out, "not FastCGI version 1");
        if (record.type != FCGI_HEAD_PARAMS || record.request_id != out->request_id)
            return invalid(out, "another record than PARAMS in the request head");
        size_t whole = FCGI_HEAD_RECORD + record.content_len + record.padding_len;
        if (out->len + whole > FCGI_HEAD_MAX)
            return invalid(out, "the request head is over 64 KiB");
        size_t content = bytes.len - out->len - FCGI_HEAD_RECORD;
        if (content > record.content_len)
            content = record.content_len;
        if (!take_pairs(&pairs, bytes, out->len + FCGI_HEAD_RECORD, out->len + FCGI_HEAD_RECORD + content, out))
            return invalid(out, "more than 256 parameters, or one of over 64 KiB");
        if (bytes.len - out->len < whole)
            return FCGI_HEAD_INCOMPLETE;
        out->len += whole;
        if (record.content_len > 0)
            continue;
        if (record.padding_len > 0)
            return invalid(out, padded_end);
        if (pairs.skip > 0 || pairs.lengths_have > 0)
            return invalid(out, "the parameters end in the middle of one");
        return scan_body(bytes, out);
    }
    return incomplete(bytes, out->len, out);
}

bool fcgi_head_body(struct str bytes, const struct fcgi_head *head, size_t body_len, char *out)
{
    struct record record;
    size_t have = 0;
    for (size_t at = head->len; read_record(bytes, at, &record); at += FCGI_HEAD_RECORD + record.content_len + record.padding_len) {
        if (record.content_len > body_len - have)
            return false;
        memcpy(out + have, bytes.p + at + FCGI_HEAD_RECORD, record.content_len);
        have += record.content_len;
    }
    return have == body_len;
}

static void add_record(struct buf *out, uint8_t type, struct str content)
{
    size_t padding = (8 - content.len % 8) % 8;
    const unsigned char header[FCGI_HEAD_RECORD] = {
        FCGI_HEAD_VERSION, type, 0, 0, (unsigned char)(content.len >> 8), (unsigned char)content.len, (unsigned char)padding};
    buf_add(out, header, sizeof header);
    buf_add_str(out, content);
    buf_add(out, "\0\0\0\0\0\0\0", padding);
}

void fcgi_head_answer(struct str record, unsigned connections, struct buf *out)
{
    static const struct str known[] = {{"FCGI_MAX_CONNS", 14}, {"FCGI_MAX_REQS", 13}, {"FCGI_MPXS_CONNS", 15}};
    struct record header;
    if (!read_record(record, 0, &header) || record.len < FCGI_HEAD_RECORD + header.content_len)
        return;
    if (header.type != FCGI_HEAD_GET_VALUES) {
        const char body[8] = {(char)header.type};
        add_record(out, FCGI_HEAD_UNKNOWN_TYPE, (struct str){body, sizeof body});
        return;
    }
    struct buf values = {0};
    struct str rest = {record.p + FCGI_HEAD_RECORD, header.content_len};
    size_t used, name_len, value_len;
    while ((used = read_lengths((const unsigned char *)rest.p, rest.len, &name_len, &value_len)) != 0) {
        if (name_len > rest.len - used || value_len > rest.len - used - name_len)
            break;
        struct str name = {rest.p + used, name_len};
        for (size_t i = 0; i < 3 && values.len < 512; i++) {
            if (!str_equal(name, known[i]))
                continue;
            char number[16];
            /* Neither requests nor connections are multiplexed: as many requests as connections. */
            int digits = snprintf(number, sizeof number, "%u", i == 2 ? 0 : connections);
            buf_add_char(&values, (char)name.len);
            buf_add_char(&values, (char)digits);
            buf_add_str(&values, name);
            buf_add(&values, number, (size_t)digits);
        }
        rest.p += used + name_len + value_len;
        rest.len -= used + name_len + value_len;
    }
    add_record(out, FCGI_HEAD_GET_VALUES_RESULT, buf_str(&values));
    buf_free(&values);
}
