/* Entries to bytes and back, compressed or not, and bytes that are none. */
#include "cache/entry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* Where fields stand; see entry.h. */
enum { AT_VERSION = 2, AT_FLAGS = 3, AT_STATUS = 4, AT_RESERVED = 6, AT_TIMES = 8, AT_LENGTHS = 44, HEAD_LEN = 64 };
enum { AT_BODY_LEN = AT_LENGTHS + 12, AT_PLAIN_LEN = AT_LENGTHS + 16 };

enum { LIST_LEN = 12000, ROOM = 1 << 20 };

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
    assert_int_equal(back.body_len, entry.body.len);
    assert_null(back.gzip.p);
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
        {"the version before", AT_VERSION, 1, ERR_VERSION},
        {"another version", AT_VERSION, 3, ERR_VERSION},
        {"a body that is no gzip", AT_FLAGS, 1, ERR_CORRUPT},
        {"an unknown flag", AT_FLAGS, 2, ERR_CORRUPT},
        {"a status that is never kept", AT_STATUS, 201, ERR_CORRUPT},
        {"a status of two bytes", AT_STATUS + 1, 9, ERR_CORRUPT},
        {"what is reserved", AT_RESERVED, 1, ERR_CORRUPT},
        {"a time before the epoch", AT_TIMES + 7, 0x80, ERR_CORRUPT},
        {"a time after the year 9999", AT_TIMES + 8 + 6, 1, ERR_CORRUPT},
        {"tags longer than everything", AT_LENGTHS + 3, 0xff, ERR_CORRUPT},
        {"an ETag that ends too late", AT_LENGTHS + 4, 19, ERR_CORRUPT},
        {"a body of 4 GiB", AT_BODY_LEN + 3, 0xff, ERR_CORRUPT},
        {"a plain body of two lengths", AT_PLAIN_LEN, 1, ERR_CORRUPT},
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

/* A list as the stock resources give it, of LIST_LEN bytes, and its entry. */
static struct entry make_list(struct arena *arena)
{
    struct entry entry = make_entry();
    struct buf json = {0};

    buf_add_str(&json, STR("{\"items\":["));
    for (unsigned i = 0; json.len < LIST_LEN; i++)
        buf_printf(&json, "{\"ticker\":\"S%04u\",\"price\":%u.%02u},", i, i * 7919 % 500, i * 104729 % 100);
    json.len = LIST_LEN;
    entry.body = arena_take_buf(arena, &json);
    return entry;
}

static void a_long_body_is_kept_compressed_and_comes_back(void **state)
{
    struct arena *arena = arena_new(ROOM, ROOM);
    struct entry entry = make_list(arena), back;
    struct buf bytes = {0};

    (void)state;
    entry_compress(&entry, arena);
    assert_non_null(entry.gzip.p);
    assert_true(entry.gzip.len < LIST_LEN / 2);
    assert_int_equal(entry.body_len, LIST_LEN);
    entry_encode(&entry, &bytes);
    assert_int_equal(bytes.len, entry_encoded_len(&entry));
    assert_int_equal(entry_decode(buf_str(&bytes), &back), ERR_OK);
    assert_null(back.body.p);
    assert_true(str_equal(back.gzip, entry.gzip));
    assert_int_equal(back.body_len, LIST_LEN);
    assert_true(str_equal(back.content_type, entry.content_type));
    assert_int_equal(entry_unpack(&back, arena), ERR_OK);
    assert_true(str_equal(back.body, entry.body));
    assert_true(str_equal(back.gzip, entry.gzip));
    buf_free(&bytes);
    arena_free(&arena);
}

static void compressing_the_same_body_gives_the_same_bytes_without_a_time(void **state)
{
    struct arena *arena = arena_new(ROOM, ROOM);
    struct entry one = make_list(arena), two = make_list(arena);

    (void)state;
    entry_compress(&one, arena);
    entry_compress(&two, arena);
    assert_true(one.gzip.p != two.gzip.p && str_equal(one.gzip, two.gzip));
    assert_memory_equal(one.gzip.p, "\x1f\x8b\x08\0\0\0\0\0", 8);
    arena_free(&arena);
}

/* Bytes that do not repeat (the generator is Knuth's). */
static struct str make_noise(struct arena *arena, size_t len)
{
    uint64_t word = 1;
    char *p = arena_alloc(arena, len);

    for (size_t i = 0; i < len; i++) {
        word = word * 6364136223846793005 + 1442695040888963407;
        p[i] = (char)(word >> 56);
    }
    return (struct str){p, len};
}

static void a_body_that_is_short_or_does_not_shrink_stays_plain(void **state)
{
    struct arena *arena = arena_new(ROOM, ROOM);
    struct entry entry = make_list(arena);
    struct str list = entry.body;
    const struct {
        struct str body;
        bool compressed;
    } table[] = {
        {STR(""), false},
        {{list.p, ENTRY_COMPRESS_MIN}, false},
        {{list.p, ENTRY_COMPRESS_MIN + 1}, true},
        {make_noise(arena, LIST_LEN), false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        struct entry it = make_entry(), back;
        struct buf bytes = {0};

        it.body = table[i].body;
        entry_compress(&it, arena);
        assert_int_equal(it.gzip.p != NULL, table[i].compressed);
        assert_int_equal(it.body_len, it.body.len);
        entry_encode(&it, &bytes);
        assert_int_equal(entry_decode(buf_str(&bytes), &back), ERR_OK);
        assert_int_equal(back.body_len, it.body.len);
        assert_int_equal(entry_unpack(&back, arena), ERR_OK);
        assert_true(str_equal(back.body, it.body));
        buf_free(&bytes);
    }
    assert_false(arena_overflowed(arena));
    arena_free(&arena);
}

static void without_memory_a_body_stays_plain_or_packed(void **state)
{
    struct arena *arena = arena_new(ROOM, ROOM), *full = arena_new(64, 64),
                 *small = arena_new(LIST_LEN / 2, LIST_LEN / 2);
    struct entry entry = make_list(arena), packed = entry;

    (void)state;
    entry_compress(&entry, full);
    assert_null(entry.gzip.p);
    assert_int_equal(entry.body_len, LIST_LEN);
    entry_compress(&packed, small);
    assert_non_null(packed.gzip.p);
    packed.body = (struct str){0};
    assert_int_equal(entry_unpack(&packed, small), ERR_LIMIT);
    assert_null(packed.body.p);
    arena_free(&small);
    arena_free(&full);
    arena_free(&arena);
}

static void set_len(char *at, uint32_t len)
{
    for (unsigned i = 0; i < 4; i++)
        at[i] = (char)(len >> 8 * i);
}

/* What one sees of a gzip without unpacking it, and what one does not. */
static void a_gzip_that_is_damaged_is_never_unpacked(void **state)
{
    enum { SHORTER = LIST_LEN - 1, LONGER = LIST_LEN + 1, HUGE_LEN = ENTRY_UNPACKED_MAX, INTACT = INT32_MIN };
    static const struct {
        const char *what;
        uint32_t plain_len, length_in_tail;
        int flip; /* this byte of the gzip, counted from its end where negative */
        enum err decode, unpack;
    } table[] = {
        {"nothing", LIST_LEN, LIST_LEN, INTACT, ERR_OK, ERR_OK},
        {"the length", SHORTER, LIST_LEN, INTACT, ERR_CORRUPT, ERR_OK},
        {"the length in the tail", LIST_LEN, LONGER, INTACT, ERR_CORRUPT, ERR_OK},
        {"both lengths, below", SHORTER, SHORTER, INTACT, ERR_OK, ERR_CORRUPT},
        {"both lengths, above", LONGER, LONGER, INTACT, ERR_OK, ERR_CORRUPT},
        {"a length that it cannot have", HUGE_LEN, HUGE_LEN, INTACT, ERR_CORRUPT, ERR_OK},
        {"a length that nothing may have", UINT32_MAX, UINT32_MAX, INTACT, ERR_CORRUPT, ERR_OK},
        {"a length below that of the gzip", 20, 20, INTACT, ERR_CORRUPT, ERR_OK},
        {"no length at all", 0, 0, INTACT, ERR_CORRUPT, ERR_OK},
        {"the magic", LIST_LEN, LIST_LEN, 0, ERR_CORRUPT, ERR_OK},
        {"the flags", LIST_LEN, LIST_LEN, 3, ERR_CORRUPT, ERR_OK},
        {"the time", LIST_LEN, LIST_LEN, 4, ERR_CORRUPT, ERR_OK},
        {"the compressed bytes", LIST_LEN, LIST_LEN, 200, ERR_OK, ERR_CORRUPT},
        {"the check sum", LIST_LEN, LIST_LEN, -8, ERR_OK, ERR_CORRUPT},
    };
    struct arena *arena = arena_new(ROOM, ROOM);
    struct entry entry = make_list(arena), back;

    (void)state;
    entry_compress(&entry, arena);
    for (size_t i = 0; i < COUNT(table); i++) {
        struct buf bytes = {0};

        entry_encode(&entry, &bytes);
        set_len(bytes.p + AT_PLAIN_LEN, table[i].plain_len);
        set_len(bytes.p + bytes.len - 4, table[i].length_in_tail);
        if (table[i].flip != INTACT)
            (table[i].flip < 0 ? bytes.p + bytes.len : bytes.p + bytes.len - entry.gzip.len)[table[i].flip] ^= 1;
        enum err err = entry_decode(buf_str(&bytes), &back);
        if (err != table[i].decode)
            fail_msg("%s changed, and decoded: %s", table[i].what, err_text(err));
        if (err == ERR_OK && (err = entry_unpack(&back, arena)) != table[i].unpack)
            fail_msg("%s changed, and unpacked: %s", table[i].what, err_text(err));
        buf_free(&bytes);
    }
    assert_false(arena_overflowed(arena));
    arena_free(&arena);
}

static void bytes_behind_a_gzip_are_not_taken_for_a_part_of_it(void **state)
{
    struct arena *arena = arena_new(ROOM, ROOM);
    struct entry entry = make_list(arena);
    struct buf longer = {0};

    (void)state;
    entry_compress(&entry, arena);
    buf_add_str(&longer, entry.gzip);
    buf_add_str(&longer, (struct str){entry.gzip.p + entry.gzip.len - 4, 4});
    entry.gzip = buf_str(&longer);
    entry.body = (struct str){0};
    assert_int_equal(entry_unpack(&entry, arena), ERR_CORRUPT);
    assert_null(entry.body.p);
    buf_free(&longer);
    arena_free(&arena);
}

static void what_is_plain_or_empty_needs_no_unpacking(void **state)
{
    struct arena *arena = arena_new(16, 16);
    struct entry plain = make_entry(), empty = {.status = 404};
    const char *body = plain.body.p;

    (void)state;
    assert_int_equal(entry_unpack(&plain, arena), ERR_OK);
    assert_ptr_equal(plain.body.p, body);
    assert_int_equal(entry_unpack(&empty, arena), ERR_OK);
    assert_int_equal(empty.body.len, 0);
    assert_int_equal(arena_used(arena), 0);
    arena_free(&arena);
}

static void two_fillings_of_a_key_differ_in_their_beginnings(void **state)
{
    struct entry one = make_entry(), two = make_entry();
    struct buf first = {0}, second = {0};

    (void)state;
    two.stored_at_ms++;
    entry_encode(&one, &first);
    entry_encode(&two, &second);
    assert_true(first.len >= ENTRY_SPENT_LEN);
    assert_memory_not_equal(first.p, second.p, ENTRY_SPENT_LEN);
    buf_free(&first);
    buf_free(&second);
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

static void the_hash_in_an_etag_of_ours_is_found(void **state)
{
    static const char *const ours[] = {"\"0123456789abcdef\"", "\"0123456789abcdef-gzip\"", "\"0\""};
    static const char *const others[] = {"\"\"",      "",         "\"",        "\"0123-br\"",    "\"-gzip\"",
                                         "\"0123-\"", "\"ABCD\"", "\"0123 \"", "\"0-gzip-gzip\""};
    struct str digits;

    (void)state;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        assert_true(entry_etag_hash(str_from(ours[i]), &digits));
        assert_true(str_equal(digits, i < 2 ? STR("0123456789abcdef") : STR("0")));
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (entry_etag_hash(str_from(others[i]), &digits))
            fail_msg("%s", others[i]);
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
        cmocka_unit_test(a_long_body_is_kept_compressed_and_comes_back),
        cmocka_unit_test(compressing_the_same_body_gives_the_same_bytes_without_a_time),
        cmocka_unit_test(a_body_that_is_short_or_does_not_shrink_stays_plain),
        cmocka_unit_test(without_memory_a_body_stays_plain_or_packed),
        cmocka_unit_test(a_gzip_that_is_damaged_is_never_unpacked),
        cmocka_unit_test(bytes_behind_a_gzip_are_not_taken_for_a_part_of_it),
        cmocka_unit_test(what_is_plain_or_empty_needs_no_unpacking),
        cmocka_unit_test(two_fillings_of_a_key_differ_in_their_beginnings),
        cmocka_unit_test(more_tags_than_there_may_be_are_refused),
        cmocka_unit_test(tags_are_the_same_only_in_number_order_and_text),
        cmocka_unit_test(an_etag_is_strong_quoted_and_of_the_body_alone),
        cmocka_unit_test(the_hash_in_an_etag_of_ours_is_found),
        cmocka_unit_test(without_memory_there_is_no_etag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
