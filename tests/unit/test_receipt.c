/* Receipts: their form, whom they are believed, and what the database says of them. */
#include "store_fixture.h"

#include "store/receipt.h"
#include "store/schema.h"
#include "store/writer_frame.h"

static const struct writer_position_journal old_journal = {.number = 1000, .secret = {1, 2, 3}};
static const struct writer_position_journal new_journal = {.number = 2000, .secret = {4, 5, 6}};

struct reading {
    struct fixture *files;
    struct receipts *receipts;
    struct arena *arena;
    struct receipt_status status;
    struct buf why, text;
};

static int setup(void **state)
{
    struct reading *it = calloc(1, sizeof *it);

    fixture_setup((void **)&it->files);
    it->receipts = receipt_open(it->files->database);
    it->arena = arena_new(4096, 1 << 20);
    *state = it;
    return 0;
}

static int teardown(void **state)
{
    struct reading *it = *state;

    receipt_close(&it->receipts);
    assert_null(it->receipts);
    arena_free(&it->arena);
    buf_free(&it->why);
    buf_free(&it->text);
    fixture_teardown((void **)&it->files);
    free(it);
    return 0;
}

/* A database as the writer keeps it: two journals, the older one applied to 1010 and whole, the newer one to 2005. */
static void make_database(const char *path)
{
    sqlite3 *db = NULL;
    struct buf why = {0};

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(schema_make(db, &why), ERR_OK);
    for (int i = 0; i < 2; i++) {
        const struct writer_position_journal *journal = i ? &new_journal : &old_journal;
        struct writer_position *position = writer_position_new();
        uint64_t upto;
        assert_int_equal(writer_position_find(position, db, journal, &upto, &why), ERR_OK);
        assert_int_equal(upto, journal->number);
        assert_int_equal(writer_position_advance(position, db, journal->number, journal->number + (i ? 5 : 10), &why),
                         ERR_OK);
        writer_position_free(&position);
    }
    sqlite3_close(db);
    buf_free(&why);
}

/* Write ID has failed; its label is LABEL. */
static void fail_write(const char *path, uint64_t id, const char *label)
{
    struct writer_frame_request *request = calloc(1, sizeof *request);
    struct writer_position *position = writer_position_new();
    struct buf frame = {0}, why = {0};
    sqlite3 *db = NULL;

    *request = (struct writer_frame_request){.kind = WRITER_FRAME_WRITE, .label = str_from(label)};
    assert_int_equal(writer_frame_add_request(request, &frame), ERR_OK);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(writer_position_fail(position, db, id, 1700000000123, buf_str(&frame), ERR_CONSTRAINT,
                                          STR("no such luck"), &why),
                     ERR_OK);
    writer_position_free(&position);
    sqlite3_close(db);
    buf_free(&frame);
    buf_free(&why);
    free(request);
}

static enum err resolve(const char *path, uint64_t id, uint64_t successor)
{
    struct writer_position *position = writer_position_new();
    struct buf why = {0};
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    enum err err = writer_position_resolve(position, db, id, successor, &why);
    writer_position_free(&position);
    sqlite3_close(db);
    buf_free(&why);
    return err;
}

static enum err find_text(struct reading *it, const char *receipt)
{
    arena_reset(it->arena);
    buf_clear(&it->why);
    return receipt_find(it->receipts, str_from(receipt), it->arena, &it->status, &it->why);
}

static enum err find(struct reading *it, const struct writer_position_journal *journal, uint64_t number)
{
    buf_clear(&it->text);
    receipt_write(journal, number, &it->text);
    return find_text(it, it->text.p);
}

static void expect_state(struct reading *it, const struct writer_position_journal *journal, uint64_t number,
                         const char *state)
{
    assert_int_equal(find(it, journal, number), ERR_OK);
    assert_int_equal(it->status.number, number);
    assert_string_equal(receipt_state_name(it->status.state), state);
    assert_true(str_equal(it->status.receipt, buf_str(&it->text)));
}

static void a_receipt_has_its_number_in_it(void **state)
{
    static const uint64_t numbers[] = {1, 42, 1764364000000001, INT64_MAX};
    struct reading *it = *state;

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        buf_clear(&it->text);
        receipt_write(&old_journal, numbers[i], &it->text);
        assert_int_equal(receipt_number(buf_str(&it->text)), numbers[i]);
    }
}

static void what_has_not_the_form_has_no_number(void **state)
{
    static const char *const texts[] = {
        "",
        "-",
        "1",
        "1-",
        "-0123456789abcdef",
        "0-0123456789abcdef",
        "-1-0123456789abcdef",
        "1-0123456789abcde",
        "1-0123456789abcdef0",
        "1-0123456789abcdeg",
        "1-0123456789ABCDEF",
        "1-0123456789abcde-",
        "1--123456789abcdef",
        " 1-0123456789abcdef",
        "1 -0123456789abcdef",
        "1-0123456789abcdef ",
        "0x1-0123456789abcdef",
        "1.5-0123456789abcdef",
        "9223372036854775808-0123456789abcdef",
        "18446744073709551617-0123456789abcdef",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (receipt_number(str_from(texts[i])) != 0)
            fail_msg("`%s` has a number", texts[i]);
    assert_int_equal(receipt_number((struct str){"1-0123456789abcd\0f", 18}), 0);
    assert_int_equal(receipt_number(STR("1-0123456789abcdef")), 1);
}

static void receipts_differ_by_number_and_by_journal(void **state)
{
    struct reading *it = *state;
    struct buf other = {0};

    receipt_write(&old_journal, 1001, &it->text);
    receipt_write(&old_journal, 1002, &other);
    assert_string_not_equal(strchr(it->text.p, '-'), strchr(other.p, '-'));
    buf_clear(&other);
    receipt_write(&new_journal, 1001, &other);
    assert_string_not_equal(it->text.p, other.p);
    buf_free(&other);
}

static void the_position_tells_what_was_applied(void **state)
{
    struct reading *it = *state;

    make_database(it->files->database);
    expect_state(it, &old_journal, 1001, "applied");
    expect_state(it, &old_journal, 1010, "applied");
    expect_state(it, &new_journal, 2001, "applied");
    expect_state(it, &new_journal, 2005, "applied");
    expect_state(it, &new_journal, 2006, "accepted");
    fixture_execute(it->files->database, "UPDATE larder_journals SET position = 2006 WHERE number = 2000");
    expect_state(it, &new_journal, 2006, "applied");
}

static void what_a_journal_left_behind_when_another_was_begun_is_lost(void **state)
{
    struct reading *it = *state;

    make_database(it->files->database);
    fixture_execute(it->files->database, "UPDATE larder_journals SET position = 1008 WHERE number = 1000");
    fail_write(it->files->database, 1010, "PUT /x");
    expect_state(it, &old_journal, 1008, "applied");
    expect_state(it, &old_journal, 1009, "lost");
    expect_state(it, &old_journal, 1010, "failed");
    expect_state(it, &new_journal, 2006, "accepted");
}

static void what_was_never_given_is_not_found(void **state)
{
    struct reading *it = *state;

    make_database(it->files->database);
    /* Before every journal; the journal's own number is no write's; another journal's digits; invented ones. */
    assert_int_equal(find(it, &old_journal, 999), ERR_NOT_FOUND);
    assert_int_equal(find(it, &old_journal, 1000), ERR_NOT_FOUND);
    assert_int_equal(find(it, &old_journal, 2001), ERR_NOT_FOUND);
    assert_int_equal(find(it, &new_journal, 1001), ERR_NOT_FOUND);
    assert_int_equal(find_text(it, "1001-0123456789abcdef"), ERR_NOT_FOUND);
    assert_int_equal(find_text(it, "nonsense"), ERR_NOT_FOUND);
    /* Right digits, one changed at a time. */
    buf_clear(&it->text);
    receipt_write(&old_journal, 1001, &it->text);
    for (size_t i = it->text.len - 16; i < it->text.len; i++) {
        char before = it->text.p[i];
        it->text.p[i] = before == '0' ? '1' : '0';
        assert_int_equal(find_text(it, it->text.p), ERR_NOT_FOUND);
        it->text.p[i] = before;
    }
    assert_int_equal(find_text(it, it->text.p), ERR_OK);
    /* The same number, written in another way. */
    struct buf other = {0};
    buf_printf(&other, "0%s", it->text.p);
    assert_int_equal(find_text(it, other.p), ERR_NOT_FOUND);
    buf_free(&other);
}

static void a_failure_is_told_with_its_reason(void **state)
{
    struct reading *it = *state;

    make_database(it->files->database);
    fail_write(it->files->database, 2003, "PUT /api/a");
    expect_state(it, &new_journal, 2003, "failed");
    assert_int_equal(it->status.accepted_ms, 1700000000123);
    assert_true(it->status.failed_ms > it->status.accepted_ms);
    assert_true(str_equal(it->status.error, str_from(err_text(ERR_CONSTRAINT))));
    assert_true(str_equal(it->status.why, STR("no such luck")));
    assert_true(str_equal(it->status.label, STR("PUT /api/a")));
    assert_int_equal(it->status.successor.len, 0);
    expect_state(it, &new_journal, 2004, "applied");
}

static void a_failure_can_be_decided_once(void **state)
{
    struct reading *it = *state;
    struct buf successor = {0};

    make_database(it->files->database);
    fail_write(it->files->database, 2002, "PUT /api/a");
    fail_write(it->files->database, 2003, "PUT /api/b");
    assert_int_equal(resolve(it->files->database, 2002, 2005), ERR_OK);
    assert_int_equal(resolve(it->files->database, 2002, 2006), ERR_NOT_FOUND);
    assert_int_equal(resolve(it->files->database, 2002, 0), ERR_NOT_FOUND);
    assert_int_equal(resolve(it->files->database, 2003, 0), ERR_OK);
    assert_int_equal(resolve(it->files->database, 2004, 0), ERR_NOT_FOUND);
    receipt_write(&new_journal, 2005, &successor);
    expect_state(it, &new_journal, 2002, "repeated");
    assert_true(str_equal(it->status.successor, buf_str(&successor)));
    assert_true(str_equal(it->status.why, STR("no such luck")));
    expect_state(it, &new_journal, 2003, "dropped");
    assert_int_equal(it->status.successor.len, 0);
    buf_free(&successor);
}

static void a_successor_in_another_journal_has_a_receipt_of_that_one(void **state)
{
    struct reading *it = *state;

    make_database(it->files->database);
    fail_write(it->files->database, 1004, "PUT /api/old");
    assert_int_equal(resolve(it->files->database, 1004, 2005), ERR_OK);
    expect_state(it, &old_journal, 1004, "repeated");
    buf_clear(&it->text);
    receipt_write(&new_journal, 2005, &it->text);
    assert_true(str_equal(it->status.successor, buf_str(&it->text)));
}

static void failures_are_listed_in_pages_the_oldest_first(void **state)
{
    struct reading *it = *state;
    struct receipt_status *rows;
    size_t count;

    make_database(it->files->database);
    assert_int_equal(receipt_failed(it->receipts, 0, 10, it->arena, &rows, &count, &it->why), ERR_OK);
    assert_int_equal(count, 0);
    for (uint64_t id = 2001; id <= 2005; id++)
        fail_write(it->files->database, id, "PUT /api/a");
    fail_write(it->files->database, 1004, "PUT /api/old");
    assert_int_equal(resolve(it->files->database, 2003, 0), ERR_OK);
    assert_int_equal(receipt_failed(it->receipts, 0, 3, it->arena, &rows, &count, &it->why), ERR_OK);
    assert_int_equal(count, 3);
    assert_int_equal(rows[0].number, 1004);
    assert_true(str_equal(rows[0].label, STR("PUT /api/old")));
    assert_int_equal(rows[1].number, 2001);
    assert_int_equal(rows[2].number, 2002);
    receipt_write(&old_journal, 1004, &it->text);
    assert_true(str_equal(rows[0].receipt, buf_str(&it->text)));
    assert_int_equal(receipt_failed(it->receipts, 2002, 3, it->arena, &rows, &count, &it->why), ERR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(rows[0].number, 2004);
    assert_int_equal(rows[1].number, 2005);
}

static void without_the_tables_nothing_was_ever_given(void **state)
{
    struct reading *it = *state;
    struct receipt_status *rows;
    size_t count = 7;

    fixture_execute(it->files->database, "CREATE TABLE other (id)");
    assert_int_equal(find(it, &old_journal, 1001), ERR_NOT_FOUND);
    assert_int_equal(receipt_failed(it->receipts, 0, 10, it->arena, &rows, &count, &it->why), ERR_OK);
    assert_int_equal(count, 0);
    make_database(it->files->database);
    expect_state(it, &old_journal, 1001, "applied");
}

static void a_database_that_cannot_be_read_is_said_and_tried_again(void **state)
{
    struct reading *it = *state;

    assert_int_equal(find(it, &old_journal, 1001), ERR_UNAVAILABLE);
    assert_true(it->why.len > 0);
    make_database(it->files->database);
    expect_state(it, &old_journal, 1001, "applied");
}

static void a_database_in_the_place_of_another_is_noticed(void **state)
{
    struct reading *it = *state;
    char other[128];

    make_database(it->files->database);
    expect_state(it, &new_journal, 2006, "accepted");
    snprintf(other, sizeof other, "%s.other", it->files->database);
    make_database(other);
    fixture_execute(other, "UPDATE larder_journals SET position = 2006 WHERE number = 2000");
    assert_int_equal(rename(other, it->files->database), 0);
    expect_state(it, &new_journal, 2006, "applied");
    assert_int_equal(unlink(it->files->database), 0);
    assert_int_equal(find(it, &new_journal, 2006), ERR_UNAVAILABLE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_receipt_has_its_number_in_it),
        TEST(what_has_not_the_form_has_no_number),
        TEST(receipts_differ_by_number_and_by_journal),
        TEST(the_position_tells_what_was_applied),
        TEST(what_a_journal_left_behind_when_another_was_begun_is_lost),
        TEST(what_was_never_given_is_not_found),
        TEST(a_failure_is_told_with_its_reason),
        TEST(a_failure_can_be_decided_once),
        TEST(a_successor_in_another_journal_has_a_receipt_of_that_one),
        TEST(failures_are_listed_in_pages_the_oldest_first),
        TEST(without_the_tables_nothing_was_ever_given),
        TEST(a_database_that_cannot_be_read_is_said_and_tried_again),
        TEST(a_database_in_the_place_of_another_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
