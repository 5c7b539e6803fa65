/* Entries to bytes and back, and bytes that are none. */
#include "cache/entry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* Where fields stand; see entry.h. */
enum { AT_VERSION = 2, AT_FLAGS = 3, AT_STATUS = 4, AT_RESERVED = 6, AT_TIMES = 8, AT_LENGTHS = 44, HEAD_LEN = 60 };

static struct entry make_entry(void)
{
    return (struct entry){.status = 200,
                          .stored_at_ms = 1700000000000,
                          .fresh_until_ms = 1700000300000,
                          .stale_until_ms = 1700003900000,
                          .error_until_ms = 1700090300000,
                          .cost_us = 1234,
                          .tags = {STR("stocks"), STR("stock:BRK.B")},
                          .tags_count = 2,
                          .etag = STR("\"0123456789abcdef\""),
                          .content_type = STR("application/json"),
                          .body = STR("{\"name\":\"Brown\xe2\x80\x93"
                                      "Forman\",\"nothing\":null}")};
}

static void an_entry_comes_back_as_it_was(void **state)
{
    struct entry entry = make_entry(), back;
    struct buf bytes = {0};

    (void)state;
    entry_encode(&entry, &bytes);
    assert_int_equal(bytes.len, entry_encoded_len(&entry));
    assert_int_equal(entry_decode(buf_str(&bytes), &back), ERR_OK);
    assert_int_equal(back.status, 200);
    assert_int_equal(back.stored_at_ms, entry.stored_at_ms);
    assert_int_equal(back.fresh_until_ms, entry.fresh_until_ms);
    assert_int_equal(back.stale_until_ms, entry.stale_until_ms);
    assert_int_equal(back.error_until_ms, entry.error_until_ms);
    assert_int_equal(back.cost_us, 1234);
    assert_true(entry_has_tags(&back, entry.tags, entry.tags_count));
    assert_true(str_equal(back.etag, entry.etag));
    assert_true(str_equal(back.content_type, entry.content_type));
    assert_true(str_equal(back.body, entry.body));
    buf_free(&bytes);
}

static void an_entry_without_anything_optional_comes_back(void **state)
{
    struct entry entry = {.status = 404}, back;
    struct buf bytes = {0};

    (void)state;
    entry_encode(&entry, &bytes);
    assert_int_equal(bytes.len, HEAD_LEN);
    assert_int_equal(entry_decode(buf_str(&bytes), &back), ERR_OK);
    assert_int_equal(back.status, 404);
    assert_int_equal(back.tags_count, 0);
    assert_int_equal(back.etag.len + back.content_type.len + back.body.len, 0);
    buf_free(&bytes);
}

static void no_beginning_of_an_entry_is_one(void **state)
{
    struct entry entry = make_entry(), back;
    struct buf bytes = {0};

    (void)state;
    entry_encode(&entry, &bytes);
    for (size_t len = 0; len < bytes.len; len++) {
        char *exact = malloc(len + 1);

        memcpy(exact, bytes.p, len);
        assert_int_equal(entry_decode((struct str){exact, len}, &back), ERR_CORRUPT);
        free(exact);
    }
    buf_add_char(&bytes, '!');
    assert_int_equal(entry_decode(buf_str(&bytes), &back), ERR_CORRUPT);
    buf_free(&bytes);
}

static void bytes_that_do_not_add_up_are_no_entry(void **state)
{
    static const struct {
        const char *what;
        size_t at;
        unsigned char byte;
        enum err err;
    } table[] = {
        {"the magic", 0, 'X', ERR_CORRUPT},
        {"another version", AT_VERSION, 2, ERR_VERSION},
        {"an unknown flag", AT_FLAGS, 1, ERR_CORRUPT},
        {"a status that is never kept", AT_STATUS, 201, ERR_CORRUPT},
        {"a status of two bytes", AT_STATUS + 1, 9, ERR_CORRUPT},
        {"what is reserved", AT_RESERVED, 1, ERR_CORRUPT},
        {"a time before the epoch", AT_TIMES + 7, 0x80, ERR_CORRUPT},
        {"a time after the year 9999", AT_TIMES + 8 + 6, 1, ERR_CORRUPT},
        {"tags longer than everything", AT_LENGTHS + 3, 0xff, ERR_CORRUPT},
        {"an ETag that ends too late", AT_LENGTHS + 4, 19, ERR_CORRUPT},
        {"a body of 4 GiB", AT_LENGTHS + 12 + 3, 0xff, ERR_CORRUPT},
        {"a tag that leaves the tags", HEAD_LEN, 200, ERR_CORRUPT},
        {"an ETag without its quote", HEAD_LEN + 21, 'x', ERR_CORRUPT},
        {"an ETag with a line end", HEAD_LEN + 22, '\n', ERR_CORRUPT},
        {"a content type with a line end", HEAD_LEN + 21 + 18, '\r', ERR_CORRUPT},
    };
    struct entry entry = make_entry(), back;

    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        struct buf bytes = {0};

        entry_encode(&entry, &bytes);
        bytes.p[table[i].at] = (char)table[i].byte;
        if (entry_decode(buf_str(&bytes), &back) != table[i].err)
            fail_msg("taken in spite of %s", table[i].what);
        buf_free(&bytes);
    }
}

static void more_tags_than_there_may_be_are_refused(void **state)
{
    struct entry entry = {.status = 200}, back;
    struct buf bytes = {0};

    (void)state;
    entry_encode(&entry, &bytes);
    bytes.p[AT_LENGTHS] = 2 * (ENTRY_TAGS_MAX + 1);
    for (int i = 0; i < ENTRY_TAGS_MAX + 1; i++)
        buf_add(&bytes, "\0\0", 2);
    assert_int_equal(entry_decode(buf_str(&bytes), &back), ERR_CORRUPT);
    bytes.p[AT_LENGTHS] -= 2;
    bytes.len -= 2;
    assert_int_equal(entry_decode(buf_str(&bytes), &back), ERR_OK);
    assert_int_equal(back.tags_count, ENTRY_TAGS_MAX);
    buf_free(&bytes);
}

static void tags_are_the_same_only_in_number_order_and_text(void **state)
{
    static const struct str fewer[] = {STR("stocks")}, swapped[] = {STR("stock:BRK.B"), STR("stocks")},
                            same[] = {STR("stocks"), STR("stock:BRK.B")};
    struct entry entry = make_entry();

    (void)state;
    assert_true(entry_has_tags(&entry, same, 2));
    assert_false(entry_has_tags(&entry, fewer, 1));
    assert_false(entry_has_tags(&entry, swapped, 2));
    assert_false(entry_has_tags(&entry, NULL, 0));
}

static void an_etag_is_strong_quoted_and_of_the_body_alone(void **state)
{
    struct arena *arena = arena_new(1024, 1024);
    struct str one = entry_etag(STR("{\"price\":1}"), arena), same = entry_etag(STR("{\"price\":1}"), arena),
               other = entry_etag(STR("{\"price\":2}"), arena), none = entry_etag(STR(""), arena);

    (void)state;
    assert_true(str_equal(one, same));
    assert_false(str_equal(one, other));
    assert_true(one.len > 2 && none.len == one.len);
    assert_int_equal(one.p[0], '"');
    assert_int_equal(one.p[one.len - 1], '"');
    arena_free(&arena);
}

static void without_memory_there_is_no_etag(void **state)
{
    struct arena *arena = arena_new(16, 16);

    (void)state;
    assert_int_equal(entry_etag(STR("x"), arena).len, 0);
    assert_true(arena_overflowed(arena));
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_comes_back_as_it_was),
        cmocka_unit_test(an_entry_without_anything_optional_comes_back),
        cmocka_unit_test(no_beginning_of_an_entry_is_one),
        cmocka_unit_test(bytes_that_do_not_add_up_are_no_entry),
        cmocka_unit_test(more_tags_than_there_may_be_are_refused),
        cmocka_unit_test(tags_are_the_same_only_in_number_order_and_text),
        cmocka_unit_test(an_etag_is_strong_quoted_and_of_the_body_alone),
        cmocka_unit_test(without_memory_there_is_no_etag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
