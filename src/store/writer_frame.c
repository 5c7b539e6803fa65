/*
 * writer_frame: frames written and read.
 *
 * Writing appends member by member; reading goes through one cursor that latches the first thing that does not fit, so
 * a reader takes everything it expects and checks once.
 *
 * Invariant: a frame that is read without error was used up to its last byte, every view lies within it, and writing
 * what was read gives the same bytes again. Numbers that select something (kind, shape, type, error) are checked
 * against what there is. Nothing is copied, and what a text means is not looked at.
 */
#include "store/writer_frame.h"

/* What frames of requests are made of, in this order. */
enum member {
    DEADLINE = 1 << 0,
    SHAPE = 1 << 1,
    NOW = 1 << 2,
    CALLER = 1 << 3,
    SQL = 1 << 4,
    PURGES = 1 << 5,
    VALUES = 1 << 6,
    IDS = 1 << 7,
    FLAGS = 1 << 8,
    REPEAT = 1 << 9,
    CONDITION = 1 << 10,
    LABEL = 1 << 11,
    WILL_PURGE = 1 << 12,
    RUN = 1 << 13,
    TOLD = 1 << 14,
};

static const unsigned members_of[] = {
    [WRITER_FRAME_WRITE] =
        DEADLINE | RUN | FLAGS | SHAPE | NOW | CALLER | SQL | PURGES | VALUES | REPEAT | CONDITION | LABEL,
    [WRITER_FRAME_BATCH_BEGIN] = NOW | WILL_PURGE | SQL,
    [WRITER_FRAME_BATCH_ROW] = VALUES,
    [WRITER_FRAME_BATCH_COMMIT] = PURGES,
    [WRITER_FRAME_PURGES] = DEADLINE | PURGES,
    [WRITER_FRAME_PURGED] = IDS | TOLD,
    [WRITER_FRAME_DRAINED] = IDS | TOLD,
    [WRITER_FRAME_FOLLOWED] = IDS,
    [WRITER_FRAME_REPEAT] = IDS,
    [WRITER_FRAME_DROP] = IDS,
    [WRITER_FRAME_CHANGED] = VALUES | TOLD,
};

/* Where reading stands. */
struct cursor {
    struct str rest;
    bool broken;
};

static void add_text(struct buf *out, struct str text)
{
    uint32_t len = (uint32_t)text.len;

    buf_add(out, &len, sizeof len);
    buf_add_str(out, text);
}

static void add_values(struct buf *out, const struct params_values *values)
{
    uint16_t count = (uint16_t)values->count;

    buf_add(out, &count, sizeof count);
    for (size_t i = 0; i < values->count; i++) {
        const struct params_value *value = &values->items[i];
        add_text(out, value->name);
        buf_add_char(out, (char)value->type);
        buf_add_char(out, (char)value->is_null);
        add_text(out, value->is_null ? STR("") : value->text);
        buf_add(out, &value->integer, sizeof value->integer);
        buf_add(out, &value->number, sizeof value->number);
    }
}

static void add_ids(struct buf *out, const struct writer_frame_request *request)
{
    uint16_t count = (uint16_t)request->ids_count;

    buf_add(out, &count, sizeof count);
    buf_add(out, request->ids, count * sizeof *request->ids);
}

static void add_condition(struct buf *out, const struct writer_frame_request *request)
{
    buf_add_char(out, (char)request->condition);
    if (request->condition == WRITER_FRAME_ALWAYS)
        return;
    buf_add_char(out, (char)request->condition_shape);
    add_text(out, request->condition_sql);
    add_text(out, request->condition_hashes);
    add_values(out, &request->condition_values);
}

/* Reserves a head; its length is set by end_frame. */
static size_t begin_frame(struct buf *out, enum writer_frame_kind kind, uint32_t tag)
{
    size_t at = out->len;
    const char head[] = {0, 0, 0, 0, WRITER_FRAME_VERSION, (char)kind};

    buf_add(out, head, sizeof head);
    buf_add(out, &tag, sizeof tag);
    return at;
}

static void end_frame(struct buf *out, size_t at)
{
    uint32_t len = (uint32_t)(out->len - at - sizeof len);

    memcpy(out->p + at, &len, sizeof len);
}

static size_t measure_values(const struct params_values *values)
{
    size_t sum = 0;

    for (size_t i = 0; i < values->count; i++)
        sum += 32 + values->items[i].name.len + values->items[i].text.len;
    return sum;
}

/* At least the bytes that REQUEST takes as a frame. */
static size_t measure(const struct writer_frame_request *request)
{
    const struct store_caller *caller = &request->caller;
    const struct str texts[] = {
        request->sql,        request->purges,       caller->address,        caller->project,           caller->key_id,
        request->repeat_key, request->repeat_print, request->condition_sql, request->condition_hashes, request->label};
    size_t sum = 160 + request->ids_count * sizeof *request->ids + measure_values(&request->values) +
                 measure_values(&request->condition_values);

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        sum += texts[i].len;
    return sum;
}

enum err writer_frame_add_request(const struct writer_frame_request *request, struct buf *out)
{
    const unsigned members = members_of[request->kind];

    if (measure(request) > WRITER_FRAME_MAX)
        return ERR_LIMIT;
    size_t at = begin_frame(out, request->kind, request->tag);
    if (members & DEADLINE)
        buf_add(out, &request->deadline_ms, sizeof request->deadline_ms);
    if (members & RUN)
        buf_add(out, &request->run_ms, sizeof request->run_ms);
    if (members & FLAGS)
        buf_add_char(out, (char)(request->tells_scores | request->behind << 1));
    if (members & SHAPE)
        buf_add_char(out, (char)request->shape);
    if (members & NOW)
        buf_add(out, &request->caller.now_ms, sizeof request->caller.now_ms);
    if (members & WILL_PURGE)
        buf_add_char(out, (char)request->will_purge);
    if (members & CALLER) {
        add_text(out, request->caller.address);
        add_text(out, request->caller.project);
        add_text(out, request->caller.key_id);
    }
    if (members & SQL)
        add_text(out, request->sql);
    if (members & PURGES)
        add_text(out, request->purges);
    if (members & VALUES)
        add_values(out, &request->values);
    if (members & REPEAT) {
        add_text(out, request->repeat_key);
        add_text(out, request->repeat_print);
    }
    if (members & CONDITION)
        add_condition(out, request);
    if (members & LABEL)
        add_text(out, request->label);
    if (members & IDS)
        add_ids(out, request);
    if (members & TOLD)
        buf_add(out, &request->told, sizeof request->told);
    end_frame(out, at);
    return ERR_OK;
}

void writer_frame_add_answer(const struct writer_frame_answer *answer, struct buf *out)
{
    size_t at = begin_frame(out, WRITER_FRAME_ANSWER, answer->tag);

    buf_add_char(out, (char)answer->err);
    buf_add_char(out, (char)(answer->found | answer->repeated << 1));
    buf_add(out, &answer->changes, sizeof answer->changes);
    buf_add(out, &answer->failed_row, sizeof answer->failed_row);
    buf_add(out, &answer->outbox_id, sizeof answer->outbox_id);
    add_text(out, answer->why);
    add_text(out, answer->json);
    end_frame(out, at);
}

static void take_bytes(struct cursor *cursor, void *out, size_t len)
{
    memset(out, 0, len);
    if (cursor->broken || cursor->rest.len < len) {
        cursor->broken = true;
        return;
    }
    memcpy(out, cursor->rest.p, len);
    cursor->rest.p += len;
    cursor->rest.len -= len;
}

static struct str take_text(struct cursor *cursor)
{
    uint32_t len;

    take_bytes(cursor, &len, sizeof len);
    if (cursor->broken || cursor->rest.len < len) {
        cursor->broken = true;
        return STR("");
    }
    struct str text = {cursor->rest.p, len};
    cursor->rest.p += len;
    cursor->rest.len -= len;
    return text;
}

/* A byte from 0 to MAX. */
static unsigned take_choice(struct cursor *cursor, unsigned max)
{
    unsigned char value;

    take_bytes(cursor, &value, sizeof value);
    cursor->broken |= value > max;
    return cursor->broken ? 0 : value;
}

static void take_values(struct cursor *cursor, struct params_values *values)
{
    uint16_t count;

    take_bytes(cursor, &count, sizeof count);
    cursor->broken |= count > PARAMS_MAX;
    for (values->count = 0; !cursor->broken && values->count < count; values->count++) {
        struct params_value *value = &values->items[values->count];
        value->name = take_text(cursor);
        value->type = (enum params_type)take_choice(cursor, PARAMS_BOOLEAN);
        value->is_null = take_choice(cursor, 1);
        value->text = take_text(cursor);
        cursor->broken |= value->is_null && value->text.len > 0;
        take_bytes(cursor, &value->integer, sizeof value->integer);
        take_bytes(cursor, &value->number, sizeof value->number);
    }
}

static void take_ids(struct cursor *cursor, struct writer_frame_request *out)
{
    uint16_t count;

    take_bytes(cursor, &count, sizeof count);
    cursor->broken |= count > WRITER_FRAME_IDS_MAX;
    if (cursor->broken)
        return;
    take_bytes(cursor, out->ids, count * sizeof *out->ids);
    out->ids_count = count;
}

static void take_condition(struct cursor *cursor, struct writer_frame_request *out)
{
    out->condition = (enum writer_frame_condition)take_choice(cursor, WRITER_FRAME_IF_NONE_MATCH);
    if (out->condition == WRITER_FRAME_ALWAYS)
        return;
    out->condition_shape = (enum catalog_shape)take_choice(cursor, CATALOG_VALUE);
    out->condition_sql = take_text(cursor);
    out->condition_hashes = take_text(cursor);
    take_values(cursor, &out->condition_values);
}

enum err writer_frame_length(struct str bytes, size_t *len)
{
    uint32_t rest;

    if (bytes.len <= sizeof rest)
        return ERR_AGAIN;
    memcpy(&rest, bytes.p, sizeof rest);
    if (rest == 0 || rest > WRITER_FRAME_MAX)
        return ERR_SYNTAX;
    /* What else a head has is this version's. */
    if (bytes.p[sizeof rest] != WRITER_FRAME_VERSION)
        return ERR_VERSION;
    if (rest < WRITER_FRAME_HEAD - sizeof rest)
        return ERR_SYNTAX;
    if (bytes.len < sizeof rest + rest)
        return ERR_AGAIN;
    *len = sizeof rest + rest;
    return ERR_OK;
}

/* A cursor behind FRAME's head, and its kind and tag. */
static struct cursor open_frame(struct str frame, unsigned *kind, uint32_t *tag)
{
    char head[WRITER_FRAME_HEAD - sizeof *tag];
    size_t len = 0;
    struct cursor cursor = {.rest = frame, .broken = writer_frame_length(frame, &len) != ERR_OK || len != frame.len};

    take_bytes(&cursor, head, sizeof head);
    take_bytes(&cursor, tag, sizeof *tag);
    *kind = (unsigned char)head[sizeof head - 1];
    return cursor;
}

static enum err close_frame(const struct cursor *cursor)
{
    return cursor->broken || cursor->rest.len > 0 ? ERR_SYNTAX : ERR_OK;
}

enum err writer_frame_read_request(struct str frame, struct writer_frame_request *out)
{
    unsigned kind;
    struct cursor cursor = open_frame(frame, &kind, &out->tag);

    if (kind < WRITER_FRAME_WRITE || kind >= sizeof members_of / sizeof *members_of)
        return ERR_SYNTAX;
    const unsigned members = members_of[kind];
    out->kind = (enum writer_frame_kind)kind;
    out->shape = CATALOG_OBJECT;
    out->caller = (struct store_caller){.now_ms = 0};
    out->deadline_ms = out->run_ms = 0;
    out->told = 0;
    out->sql = out->purges = out->repeat_key = out->repeat_print = out->label = STR("");
    out->condition = WRITER_FRAME_ALWAYS;
    out->condition_sql = out->condition_hashes = STR("");
    out->condition_shape = CATALOG_OBJECT;
    out->values.count = out->condition_values.count = out->ids_count = 0;
    if (members & DEADLINE)
        take_bytes(&cursor, &out->deadline_ms, sizeof out->deadline_ms);
    if (members & RUN)
        take_bytes(&cursor, &out->run_ms, sizeof out->run_ms);
    const unsigned flags = members & FLAGS ? take_choice(&cursor, 3) : 0;
    out->tells_scores = flags & 1;
    out->behind = flags & 2;
    if (members & SHAPE)
        out->shape = (enum catalog_shape)take_choice(&cursor, CATALOG_VALUE);
    if (members & NOW)
        take_bytes(&cursor, &out->caller.now_ms, sizeof out->caller.now_ms);
    out->will_purge = (members & WILL_PURGE) && take_choice(&cursor, 1);
    if (members & CALLER) {
        out->caller.address = take_text(&cursor);
        out->caller.project = take_text(&cursor);
        out->caller.key_id = take_text(&cursor);
    }
    if (members & SQL)
        out->sql = take_text(&cursor);
    if (members & PURGES)
        out->purges = take_text(&cursor);
    if (members & VALUES)
        take_values(&cursor, &out->values);
    if (members & REPEAT) {
        out->repeat_key = take_text(&cursor);
        out->repeat_print = take_text(&cursor);
    }
    if (members & CONDITION)
        take_condition(&cursor, out);
    if (members & LABEL)
        out->label = take_text(&cursor);
    if (members & IDS)
        take_ids(&cursor, out);
    if (members & TOLD)
        take_bytes(&cursor, &out->told, sizeof out->told);
    return close_frame(&cursor);
}

enum err writer_frame_read_answer(struct str frame, struct writer_frame_answer *out)
{
    unsigned kind;
    struct cursor cursor = open_frame(frame, &kind, &out->tag);

    if (kind != WRITER_FRAME_ANSWER)
        return ERR_SYNTAX;
    out->err = (enum err)take_choice(&cursor, ERR_COUNT - 1);
    const unsigned flags = take_choice(&cursor, 3);
    out->found = flags & 1;
    out->repeated = flags & 2;
    take_bytes(&cursor, &out->changes, sizeof out->changes);
    take_bytes(&cursor, &out->failed_row, sizeof out->failed_row);
    take_bytes(&cursor, &out->outbox_id, sizeof out->outbox_id);
    out->why = take_text(&cursor);
    out->json = take_text(&cursor);
    return close_frame(&cursor);
}
