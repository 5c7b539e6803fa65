/*
 * writer_frame against its promise: what it reads lies within the bytes, is written again as the same bytes, and a
 * frame that is whole is not whole one byte earlier. And the lists of purges that frames carry to the outbox: what is
 * read as one is written again as the same bytes.
 */
#include <assert.h>
#include <stdint.h>

#include "store/outbox.h"
#include "store/writer_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void lies_within(struct str text, struct str bytes)
{
    assert(text.len == 0 || (text.p >= bytes.p && text.p + text.len <= bytes.p + bytes.len));
}

static void is_written_again(const struct buf *again, struct str frame)
{
    assert(str_equal(buf_str(again), frame));
}

static void check_purges(struct str bytes)
{
    struct arena *arena = arena_new(4096, 1 << 20);
    struct buf again = {0};
    struct str *items;
    size_t count;
    enum err err = outbox_decode(bytes, arena, &items, &count);

    assert(err == ERR_OK || err == ERR_CORRUPT || err == ERR_LIMIT);
    if (err == ERR_OK) {
        for (size_t i = 0; i < count; i++)
            lies_within(items[i], bytes);
        outbox_encode(items, count, &again);
        is_written_again(&again, bytes);
    }
    buf_free(&again);
    arena_free(&arena);
}

static void check_request(struct str frame)
{
    struct writer_frame_request request;
    struct buf again = {0};

    if (writer_frame_read_request(frame, &request) != ERR_OK)
        return;
    assert(request.kind >= WRITER_FRAME_WRITE && request.kind < WRITER_FRAME_ANSWER);
    assert(request.shape <= CATALOG_VALUE && request.values.count <= PARAMS_MAX);
    assert(request.ids_count <= WRITER_FRAME_IDS_MAX);
    lies_within(request.sql, frame);
    lies_within(request.purges, frame);
    check_purges(request.purges);
    lies_within(request.caller.address, frame);
    lies_within(request.caller.project, frame);
    lies_within(request.caller.key_id, frame);
    for (size_t i = 0; i < request.values.count; i++) {
        assert(request.values.items[i].type <= PARAMS_BOOLEAN);
        lies_within(request.values.items[i].name, frame);
        lies_within(request.values.items[i].text, frame);
    }
    if (writer_frame_add_request(&request, &again) == ERR_OK)
        is_written_again(&again, frame);
    buf_free(&again);
}

static void check_answer(struct str frame)
{
    struct writer_frame_answer answer;
    struct buf again = {0};

    if (writer_frame_read_answer(frame, &answer) != ERR_OK)
        return;
    assert(answer.err < ERR_COUNT);
    lies_within(answer.why, frame);
    lies_within(answer.json, frame);
    writer_frame_add_answer(&answer, &again);
    is_written_again(&again, frame);
    buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = {(const char *)data, size};
    size_t len, shorter;
    enum err err;

    while ((err = writer_frame_length(rest, &len)) == ERR_OK) {
        assert(len >= WRITER_FRAME_HEAD && len <= rest.len);
        assert(writer_frame_length((struct str){rest.p, len - 1}, &shorter) == ERR_AGAIN);
        check_request((struct str){rest.p, len});
        check_answer((struct str){rest.p, len});
        rest.p += len;
        rest.len -= len;
    }
    assert(err == ERR_AGAIN || err == ERR_SYNTAX || err == ERR_VERSION);
    /* Also as if the bytes were one frame, whatever their head says. */
    check_request((struct str){(const char *)data, size});
    check_answer((struct str){(const char *)data, size});
    check_purges((struct str){(const char *)data, size});
    return 0;
}
