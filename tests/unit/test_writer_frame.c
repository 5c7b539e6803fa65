/* Frames: what is written is read back, and nothing else is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/writer_frame.h"

static const struct writer_frame_request write_request = {
    .kind = WRITER_FRAME_WRITE,
    .tag = 0xfedcba98,
    .deadline_ms = 123456789,
    .shape = CATALOG_VALUE,
    .caller = {.now_ms = -5, .address = {"127.0.0.1", 9}, .project = {"p", 1}, .key_id = {"", 0}},
    .sql = {"SELECT :a", 9},
    .purges = {"\3\0\0\0k:a", 7},
    .values = {.items = {{.name = {"a", 1}, .type = PARAMS_TEXT, .text = {"x\0y", 3}},
                         {.name = {"b", 1}, .type = PARAMS_INTEGER, .integer = INT64_MIN, .text = {"9", 1}},
                         {.name = {"c", 1}, .type = PARAMS_NUMBER, .number = 1.5},
                         {.name = {"d", 1}, .type = PARAMS_BOOLEAN, .integer = 1},
                         {.name = {"e", 1}, .type = PARAMS_NUMBER, .is_null = true}},
               .count = 5},
    .behind = true,
    .repeat_key = {"key", 3},
    .repeat_print = {"print", 5},
    .condition = WRITER_FRAME_IF_NONE_MATCH,
    .condition_shape = CATALOG_LIST,
    .condition_sql = {"SELECT :f", 9},
    .condition_hashes = {"0123456789abcdef", 16},
    .condition_values = {.items = {{.name = {"f", 1}, .type = PARAMS_INTEGER, .integer = 7}}, .count = 1},
    .label = {"PUT /a", 6},
};

static void assert_text(struct str text, const char *expected, size_t len)
{
    assert_int_equal(text.len, len);
    assert_memory_equal(text.p, expected, len);
}

static void a_write_is_read_back_as_it_was(void **state)
{
    struct buf frame = {0}, again = {0};
    struct writer_frame_request out;
    size_t len;

    (void)state;
    assert_int_equal(writer_frame_add_request(&write_request, &frame), ERR_OK);
    assert_int_equal(writer_frame_length(buf_str(&frame), &len), ERR_OK);
    assert_int_equal(len, frame.len);
    assert_int_equal(writer_frame_read_request(buf_str(&frame), &out), ERR_OK);
    assert_int_equal(out.kind, WRITER_FRAME_WRITE);
    assert_int_equal(out.tag, 0xfedcba98);
    assert_int_equal(out.deadline_ms, 123456789);
    assert_int_equal(out.shape, CATALOG_VALUE);
    assert_int_equal(out.caller.now_ms, -5);
    assert_text(out.caller.address, "127.0.0.1", 9);
    assert_text(out.sql, "SELECT :a", 9);
    assert_text(out.purges, "\3\0\0\0k:a", 7);
    assert_int_equal(out.values.count, 5);
    assert_text(out.values.items[0].text, "x\0y", 3);
    assert_true(out.values.items[1].integer == INT64_MIN);
    assert_true(out.values.items[2].number == 1.5);
    assert_int_equal(out.values.items[3].type, PARAMS_BOOLEAN);
    assert_true(out.values.items[4].is_null);
    assert_true(out.behind && !out.tells_scores);
    assert_text(out.repeat_key, "key", 3);
    assert_text(out.repeat_print, "print", 5);
    assert_int_equal(out.condition, WRITER_FRAME_IF_NONE_MATCH);
    assert_int_equal(out.condition_shape, CATALOG_LIST);
    assert_text(out.condition_sql, "SELECT :f", 9);
    assert_text(out.condition_hashes, "0123456789abcdef", 16);
    assert_int_equal(out.condition_values.count, 1);
    assert_int_equal(out.condition_values.items[0].integer, 7);
    assert_text(out.label, "PUT /a", 6);
    assert_int_equal(writer_frame_add_request(&out, &again), ERR_OK);
    assert_int_equal(again.len, frame.len);
    assert_memory_equal(again.p, frame.p, frame.len);
    buf_free(&frame);
    buf_free(&again);
}

static void what_was_purged_and_what_a_batch_will_purge_are_read_back(void **state)
{
    struct writer_frame_request changed = {.kind = WRITER_FRAME_CHANGED, .values = {.count = 1}};
    struct writer_frame_request begin = {.kind = WRITER_FRAME_BATCH_BEGIN, .sql = STR("SELECT 1")};
    struct writer_frame_request out;
    struct buf frame = {0};

    (void)state;
    changed.values.items[0] =
        (struct params_value){.name = STR("stocks"), .type = PARAMS_INTEGER, .integer = INT64_C(1) << 40};
    assert_int_equal(writer_frame_add_request(&changed, &frame), ERR_OK);
    assert_int_equal(writer_frame_read_request(buf_str(&frame), &out), ERR_OK);
    assert_int_equal(out.kind, WRITER_FRAME_CHANGED);
    assert_int_equal(out.values.count, 1);
    assert_text(out.values.items[0].name, "stocks", 6);
    assert_true(out.values.items[0].integer == INT64_C(1) << 40);
    for (int will = 0; will <= 1; will++) {
        buf_clear(&frame);
        begin.will_purge = will;
        assert_int_equal(writer_frame_add_request(&begin, &frame), ERR_OK);
        assert_int_equal(writer_frame_read_request(buf_str(&frame), &out), ERR_OK);
        assert_int_equal(out.will_purge, will);
        assert_text(out.sql, "SELECT 1", 8);
    }
    /* A byte that is neither yes nor no. */
    frame.p[WRITER_FRAME_HEAD + 8] = 2;
    assert_int_equal(writer_frame_read_request(buf_str(&frame), &out), ERR_SYNTAX);
    buf_free(&frame);
}

static void a_write_without_terms_has_none_though_the_one_before_had(void **state)
{
    struct writer_frame_request request = write_request, out;
    struct buf frame = {0};

    (void)state;
    assert_int_equal(writer_frame_add_request(&request, &frame), ERR_OK);
    assert_int_equal(writer_frame_read_request(buf_str(&frame), &out), ERR_OK);
    request = (struct writer_frame_request){.kind = WRITER_FRAME_WRITE, .tells_scores = true};
    buf_clear(&frame);
    assert_int_equal(writer_frame_add_request(&request, &frame), ERR_OK);
    assert_int_equal(writer_frame_read_request(buf_str(&frame), &out), ERR_OK);
    assert_true(out.tells_scores && !out.behind);
    assert_int_equal(out.condition, WRITER_FRAME_ALWAYS);
    assert_int_equal(out.repeat_key.len + out.repeat_print.len + out.label.len, 0);
    assert_int_equal(out.condition_sql.len + out.condition_hashes.len + out.condition_values.count, 0);
    buf_free(&frame);
}

static void an_answer_is_read_back_as_it_was(void **state)
{
    const struct writer_frame_answer answer = {.tag = 7,
                                               .err = ERR_CONSTRAINT,
                                               .found = true,
                                               .repeated = true,
                                               .changes = 3,
                                               .failed_row = 99,
                                               .outbox_id = 1LL << 40,
                                               .why = STR("no"),
                                               .json = STR("{}")};
    struct writer_frame_answer out;
    struct buf frame = {0};

    (void)state;
    writer_frame_add_answer(&answer, &frame);
    assert_int_equal(writer_frame_read_answer(buf_str(&frame), &out), ERR_OK);
    assert_int_equal(out.tag, 7);
    assert_int_equal(out.err, ERR_CONSTRAINT);
    assert_true(out.found && out.repeated);
    assert_int_equal(out.changes, 3);
    assert_int_equal(out.failed_row, 99);
    assert_true(out.outbox_id == 1LL << 40);
    assert_text(out.why, "no", 2);
    assert_text(out.json, "{}", 2);
    buf_free(&frame);
}

static void each_kind_carries_what_is_its_own(void **state)
{
    static const struct {
        enum writer_frame_kind kind;
        bool deadline, sql, purges, ids;
    } cases[] = {
        {WRITER_FRAME_WRITE, true, true, true, false},        {WRITER_FRAME_BATCH_BEGIN, false, true, false, false},
        {WRITER_FRAME_BATCH_ROW, false, false, false, false}, {WRITER_FRAME_BATCH_COMMIT, false, false, true, false},
        {WRITER_FRAME_PURGES, true, false, true, false},      {WRITER_FRAME_PURGED, false, false, false, true},
        {WRITER_FRAME_FOLLOWED, false, false, false, true},   {WRITER_FRAME_REPEAT, false, false, false, true},
        {WRITER_FRAME_DROP, false, false, false, true},
    };
    struct writer_frame_request request = write_request, out;

    (void)state;
    request.ids_count = WRITER_FRAME_IDS_MAX;
    request.told = 1ULL << 50;
    for (int i = 0; i < WRITER_FRAME_IDS_MAX; i++)
        request.ids[i] = INT64_MAX - i;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf frame = {0};
        request.kind = cases[i].kind;
        assert_int_equal(writer_frame_add_request(&request, &frame), ERR_OK);
        assert_int_equal(writer_frame_read_request(buf_str(&frame), &out), ERR_OK);
        assert_int_equal(out.kind, cases[i].kind);
        assert_int_equal(out.deadline_ms != 0, cases[i].deadline);
        assert_int_equal(out.sql.len > 0, cases[i].sql);
        assert_int_equal(out.purges.len > 0, cases[i].purges);
        assert_int_equal(out.ids_count, cases[i].ids ? WRITER_FRAME_IDS_MAX : 0);
        assert_true(out.told == (cases[i].kind == WRITER_FRAME_PURGED ? request.told : 0));
        if (cases[i].ids)
            assert_memory_equal(out.ids, request.ids, sizeof out.ids);
        buf_free(&frame);
    }
}

static void more_ids_than_a_frame_may_have_are_refused(void **state)
{
    struct writer_frame_request request = {.kind = WRITER_FRAME_PURGED, .ids_count = WRITER_FRAME_IDS_MAX}, out;
    struct buf frame = {0};
    uint16_t count = WRITER_FRAME_IDS_MAX + 1;
    uint32_t len;

    (void)state;
    assert_int_equal(writer_frame_add_request(&request, &frame), ERR_OK);
    buf_add(&frame, &(int64_t){7}, sizeof(int64_t));
    len = (uint32_t)(frame.len - sizeof len);
    memcpy(frame.p, &len, sizeof len);
    memcpy(frame.p + WRITER_FRAME_HEAD, &count, sizeof count);
    assert_int_equal(writer_frame_read_request(buf_str(&frame), &out), ERR_SYNTAX);
    buf_free(&frame);
}

static void a_frame_is_not_there_before_its_last_byte(void **state)
{
    struct buf frame = {0};
    struct writer_frame_request out;
    size_t len;

    (void)state;
    assert_int_equal(writer_frame_add_request(&write_request, &frame), ERR_OK);
    for (size_t cut = 0; cut < frame.len; cut++) {
        assert_int_equal(writer_frame_length((struct str){frame.p, cut}, &len), ERR_AGAIN);
        assert_int_equal(writer_frame_read_request((struct str){frame.p, cut}, &out), ERR_SYNTAX);
    }
    buf_free(&frame);
}

/* FRAME with its length set to what it is. */
static enum err read_mended(struct buf *frame)
{
    uint32_t len = (uint32_t)(frame->len - sizeof len);
    struct writer_frame_request out;

    memcpy(frame->p, &len, sizeof len);
    return writer_frame_read_request(buf_str(frame), &out);
}

static void a_payload_too_short_or_too_long_is_refused(void **state)
{
    struct buf frame = {0};

    (void)state;
    assert_int_equal(writer_frame_add_request(&write_request, &frame), ERR_OK);
    buf_add_char(&frame, 'x');
    assert_int_equal(read_mended(&frame), ERR_SYNTAX);
    frame.len--;
    assert_int_equal(read_mended(&frame), ERR_OK);
    while (frame.len > WRITER_FRAME_HEAD) {
        frame.len--;
        assert_int_equal(read_mended(&frame), ERR_SYNTAX);
    }
    buf_free(&frame);
}

static void heads_that_cannot_be_are_refused(void **state)
{
    static const struct {
        char bytes[WRITER_FRAME_HEAD];
        enum err err;
    } cases[] = {
        {"\x00\x00\x00\x00\x05\x01", ERR_SYNTAX},  {"\x05\x00\x00\x00\x05\x01", ERR_SYNTAX},
        {"\xff\xff\xff\xff\x05\x01", ERR_SYNTAX},  {"\x01\x00\x00\x04\x05\x01", ERR_SYNTAX},
        {"\x02\x00\x00\x00\x01\x01", ERR_VERSION}, {"\x06\x00\x00\x00\x05\x04", ERR_OK},
        {"\x07\x00\x00\x00\x05\x04", ERR_AGAIN},
    };
    size_t len;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(writer_frame_length((struct str){cases[i].bytes, WRITER_FRAME_HEAD}, &len), cases[i].err);
}

static void numbers_that_name_nothing_are_refused(void **state)
{
    const struct writer_frame_request commit = {.kind = WRITER_FRAME_BATCH_COMMIT};
    const struct writer_frame_answer answer = {.err = ERR_OK};
    struct writer_frame_request request;
    struct writer_frame_answer out;
    struct buf frame = {0};

    (void)state;
    assert_int_equal(writer_frame_add_request(&commit, &frame), ERR_OK);
    for (int kind = 0; kind < 256; kind++) {
        frame.p[5] = (char)kind;
        assert_int_equal(writer_frame_read_request(buf_str(&frame), &request),
                         kind == WRITER_FRAME_BATCH_COMMIT ? ERR_OK : ERR_SYNTAX);
    }
    buf_clear(&frame);
    writer_frame_add_answer(&answer, &frame);
    assert_int_equal(writer_frame_read_request(buf_str(&frame), &request), ERR_SYNTAX);
    frame.p[WRITER_FRAME_HEAD] = (char)ERR_COUNT;
    assert_int_equal(writer_frame_read_answer(buf_str(&frame), &out), ERR_SYNTAX);
    buf_free(&frame);
}

static void a_request_larger_than_a_frame_is_not_written(void **state)
{
    static const struct writer_frame_request requests[] = {
        {.kind = WRITER_FRAME_WRITE, .sql = {"", WRITER_FRAME_MAX}},
        {.kind = WRITER_FRAME_PURGES, .purges = {"", WRITER_FRAME_MAX}},
        {.kind = WRITER_FRAME_WRITE, .condition_sql = {"", WRITER_FRAME_MAX}},
        {.kind = WRITER_FRAME_WRITE, .condition_hashes = {"", WRITER_FRAME_MAX}},
        {.kind = WRITER_FRAME_WRITE, .repeat_key = {"", WRITER_FRAME_MAX}},
        {.kind = WRITER_FRAME_WRITE, .label = {"", WRITER_FRAME_MAX}},
    };
    struct buf frame = {0};

    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        assert_int_equal(writer_frame_add_request(&requests[i], &frame), ERR_LIMIT);
        assert_int_equal(frame.len, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_is_read_back_as_it_was),
        cmocka_unit_test(what_was_purged_and_what_a_batch_will_purge_are_read_back),
        cmocka_unit_test(a_write_without_terms_has_none_though_the_one_before_had),
        cmocka_unit_test(an_answer_is_read_back_as_it_was),
        cmocka_unit_test(each_kind_carries_what_is_its_own),
        cmocka_unit_test(more_ids_than_a_frame_may_have_are_refused),
        cmocka_unit_test(a_frame_is_not_there_before_its_last_byte),
        cmocka_unit_test(a_payload_too_short_or_too_long_is_refused),
        cmocka_unit_test(heads_that_cannot_be_are_refused),
        cmocka_unit_test(numbers_that_name_nothing_are_refused),
        cmocka_unit_test(a_request_larger_than_a_frame_is_not_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
