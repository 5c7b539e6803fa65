/* The journal's file: numbers, room, what is forgotten, and every way in which the file may let one down. */
#include "store_fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/sys.h"
#include "store/writer_journal.h"

#define NOW INT64_C(1700000000000)

struct book {
    struct fixture *files;
    char path[128];
    struct config config;
    struct writer_journal *journal;
    struct buf frame, why;
    uint64_t number;
    int64_t at_ms;
};

static int setup(void **state)
{
    struct book *it = calloc(1, sizeof *it);

    log_init(open("/dev/null", O_WRONLY), LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    fixture_setup((void **)&it->files);
    snprintf(it->path, sizeof it->path, "%s-larder.journal", it->files->database);
    it->config.store.database = it->files->database;
    it->config.store.busy_timeout_ms = 50;
    it->config.store.wal_limit = 4 << 20;
    it->config.store.journal_limit = 1 << 20;
    it->journal = writer_journal_new(&it->config);
    *state = it;
    return 0;
}

static int teardown(void **state)
{
    struct book *it = *state;

    writer_journal_free(&it->journal);
    assert_null(it->journal);
    buf_free(&it->frame);
    buf_free(&it->why);
    fixture_teardown((void **)&it->files);
    free(it);
    return 0;
}

static void must(struct book *it, enum err err)
{
    if (err != ERR_OK)
        fail_msg("%s: %s", err_text(err), it->why.p ? it->why.p : "");
}

static void open_it(struct book *it)
{
    must(it, writer_journal_open(it->journal, true, &it->why));
}

/* As another process would find it. */
static void reopen(struct book *it)
{
    writer_journal_free(&it->journal);
    it->journal = writer_journal_new(&it->config);
    must(it, writer_journal_open(it->journal, false, &it->why));
}

/* One write, committed. */
static uint64_t add(struct book *it, const char *frame)
{
    uint64_t number = 0;

    must(it, writer_journal_begin(it->journal, &it->why));
    must(it, writer_journal_add(it->journal, str_from(frame), NOW, &number, &it->why));
    must(it, writer_journal_commit(it->journal, &it->why));
    return number;
}

static enum err next(struct book *it, uint64_t after)
{
    buf_clear(&it->frame);
    return writer_journal_next(it->journal, after, &it->frame, &it->number, &it->at_ms, &it->why);
}

static void expect_next(struct book *it, uint64_t after, uint64_t number, const char *frame)
{
    must(it, next(it, after));
    assert_int_equal(it->number, number);
    assert_int_equal(it->at_ms, NOW);
    assert_true(str_equal(buf_str(&it->frame), str_from(frame)));
}

static void without_a_file_there_is_no_journal_unless_one_is_to_be_made(void **state)
{
    struct book *it = *state;
    struct stat status;

    assert_int_equal(writer_journal_open(it->journal, false, &it->why), ERR_NOT_FOUND);
    assert_int_not_equal(stat(it->path, &status), 0);
    open_it(it);
    assert_int_equal(stat(it->path, &status), 0);
    assert_int_equal(writer_journal_last(it->journal), writer_journal_identity(it->journal)->number);
    must(it, writer_journal_open(it->journal, false, &it->why));
}

static void what_was_committed_is_there_in_order_for_whoever_opens_it_next(void **state)
{
    struct book *it = *state;
    unsigned char secret[SYS_MAC_KEY_LEN];

    open_it(it);
    const uint64_t own = writer_journal_identity(it->journal)->number;
    memcpy(secret, writer_journal_identity(it->journal)->secret, sizeof secret);
    assert_in_range(own, (uint64_t)(sys_now_ms() - 60000) * 1000, (uint64_t)sys_now_ms() * 1000);
    const uint64_t first = add(it, "first"), second = add(it, "");
    assert_int_equal(first, own + 1);
    assert_int_equal(second, own + 2);
    reopen(it);
    assert_int_equal(writer_journal_identity(it->journal)->number, own);
    assert_memory_equal(writer_journal_identity(it->journal)->secret, secret, sizeof secret);
    assert_int_equal(writer_journal_last(it->journal), second);
    expect_next(it, own, first, "first");
    expect_next(it, first, second, "");
    assert_int_equal(next(it, second), ERR_NOT_FOUND);
}

static void what_is_rolled_back_is_not_there_and_took_no_number(void **state)
{
    struct book *it = *state;
    uint64_t number;

    open_it(it);
    const uint64_t first = add(it, "first");
    must(it, writer_journal_begin(it->journal, &it->why));
    must(it, writer_journal_add(it->journal, STR("gone"), NOW, &number, &it->why));
    must(it, writer_journal_keep(it->journal, STR("key"), STR("print"), NOW, STR("gone"), &it->why));
    writer_journal_rollback(it->journal);
    assert_int_equal(writer_journal_last(it->journal), first);
    assert_int_equal(next(it, first), ERR_NOT_FOUND);
    assert_int_equal(writer_journal_recall(it->journal, STR("key"), STR("print"), NOW, &it->frame, &it->why),
                     ERR_NOT_FOUND);
    assert_int_equal(add(it, "second"), first + 1);
}

static void a_number_is_never_given_again_though_all_was_forgotten(void **state)
{
    struct book *it = *state;
    uint64_t last = 0;

    open_it(it);
    for (int i = 0; i < 20; i++) {
        uint64_t number = add(it, "x");
        assert_true(number > last);
        last = number;
        writer_journal_forget(it->journal, last);
        /* By the next commit, which gives none. */
        must(it, writer_journal_begin(it->journal, &it->why));
        must(it, writer_journal_commit(it->journal, &it->why));
        assert_int_equal(next(it, 0), ERR_NOT_FOUND);
        if (i % 2)
            reopen(it);
        assert_int_equal(writer_journal_last(it->journal), last);
    }
}

static void a_journal_that_is_renewed_is_another_one_and_gives_no_number_again(void **state)
{
    struct book *it = *state;

    open_it(it);
    const struct writer_position_journal before = *writer_journal_identity(it->journal);
    const uint64_t floors[] = {add(it, "first"), before.number + UINT64_C(3600000000)};
    for (size_t i = 0; i < 2; i++) {
        must(it, writer_journal_renew(it->journal, floors[i], &it->why));
        const struct writer_position_journal *now = writer_journal_identity(it->journal);
        assert_true(now->number > floors[i]);
        assert_memory_not_equal(now->secret, before.secret, sizeof before.secret);
        assert_int_equal(writer_journal_last(it->journal), now->number);
        assert_int_equal(next(it, 0), ERR_NOT_FOUND);
        reopen(it);
        assert_true(writer_journal_identity(it->journal)->number > floors[i]);
        assert_int_equal(add(it, "next"), writer_journal_identity(it->journal)->number + 1);
    }
}

static void a_new_file_begins_above_the_old_one(void **state)
{
    struct book *it = *state;
    uint64_t last = 0;

    for (int i = 0; i < 5; i++) {
        open_it(it);
        assert_true(writer_journal_identity(it->journal)->number > last);
        last = add(it, "x");
        /* While it is open; whoever opens it next notices. */
        assert_int_equal(unlink(it->path), 0);
        assert_int_equal(writer_journal_open(it->journal, false, &it->why), ERR_NOT_FOUND);
    }
}

static void what_is_forgotten_goes_with_the_next_commit_and_makes_room(void **state)
{
    struct book *it = *state;
    char frame[1025] = {0};

    memset(frame, 'x', 1024);
    it->config.store.journal_limit = 4096;
    open_it(it);
    assert_true(writer_journal_has_room(it->journal, 4096));
    assert_false(writer_journal_has_room(it->journal, 4097));
    uint64_t first = add(it, frame);
    for (int i = 0; i < 3; i++)
        add(it, frame);
    assert_true(writer_journal_has_room(it->journal, 0));
    assert_false(writer_journal_has_room(it->journal, 1));
    writer_journal_forget(it->journal, first + 1);
    /* Forgetting less than before changes nothing. */
    writer_journal_forget(it->journal, first);
    assert_false(writer_journal_has_room(it->journal, 1));
    for (int i = 0; i < 2; i++) {
        must(it, writer_journal_begin(it->journal, &it->why));
        assert_true(writer_journal_has_room(it->journal, 2048));
        if (i > 0) {
            must(it, writer_journal_commit(it->journal, &it->why));
            break;
        }
        writer_journal_rollback(it->journal);
        assert_false(writer_journal_has_room(it->journal, 1));
    }
    assert_true(writer_journal_has_room(it->journal, 2048));
    assert_false(writer_journal_has_room(it->journal, 2049));
    expect_next(it, 0, first + 2, frame);
    reopen(it);
    assert_true(writer_journal_has_room(it->journal, 2048));
    assert_false(writer_journal_has_room(it->journal, 2049));
}

static void room_is_counted_within_a_transaction_and_given_back_by_a_rollback(void **state)
{
    struct book *it = *state;
    uint64_t number;

    it->config.store.journal_limit = 10;
    open_it(it);
    must(it, writer_journal_begin(it->journal, &it->why));
    must(it, writer_journal_add(it->journal, STR("12345678"), NOW, &number, &it->why));
    assert_false(writer_journal_has_room(it->journal, 3));
    assert_true(writer_journal_has_room(it->journal, 2));
    writer_journal_rollback(it->journal);
    assert_true(writer_journal_has_room(it->journal, 10));
    must(it, writer_journal_begin(it->journal, &it->why));
    must(it, writer_journal_commit(it->journal, &it->why));
    assert_true(writer_journal_has_room(it->journal, 10));
}

static void answers_are_kept_with_the_writes(void **state)
{
    struct book *it = *state;
    uint64_t number;

    open_it(it);
    must(it, writer_journal_begin(it->journal, &it->why));
    assert_int_equal(writer_journal_recall(it->journal, STR("key"), STR("print"), NOW, &it->frame, &it->why),
                     ERR_NOT_FOUND);
    must(it, writer_journal_add(it->journal, STR("frame"), NOW, &number, &it->why));
    must(it, writer_journal_keep(it->journal, STR("key"), STR("print"), NOW, STR("answer"), &it->why));
    must(it, writer_journal_commit(it->journal, &it->why));
    reopen(it);
    must(it, writer_journal_recall(it->journal, STR("key"), STR("print"), NOW, &it->frame, &it->why));
    assert_true(str_equal(buf_str(&it->frame), STR("answer")));
    assert_int_equal(writer_journal_recall(it->journal, STR("key"), STR("other"), NOW, &it->frame, &it->why),
                     ERR_EXISTS);
}

static void a_full_disk_refuses_and_leaves_what_there_is(void **state)
{
    enum { LARGE = 512 << 10 };
    struct book *it = *state;
    struct rlimit before, limit;
    char *large = calloc(1, LARGE + 1);
    uint64_t number;

    memset(large, 'x', LARGE);
    signal(SIGXFSZ, SIG_IGN);
    open_it(it);
    const uint64_t first = add(it, "first");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){.rlim_cur = 200 << 10, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int i = 0; i < 3; i++) {
        must(it, writer_journal_open(it->journal, true, &it->why));
        must(it, writer_journal_begin(it->journal, &it->why));
        enum err err = writer_journal_add(it->journal, str_from(large), NOW, &number, &it->why);
        if (err == ERR_OK)
            err = writer_journal_commit(it->journal, &it->why);
        else
            writer_journal_rollback(it->journal);
        assert_int_equal(err, ERR_FULL);
        assert_int_equal(writer_journal_last(it->journal), first);
    }
    /* What is small still fits. */
    must(it, writer_journal_open(it->journal, true, &it->why));
    const uint64_t second = add(it, "second");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    must(it, writer_journal_open(it->journal, true, &it->why));
    const uint64_t third = add(it, large);
    assert_int_equal(third, first + 2);
    reopen(it);
    expect_next(it, 0, first, "first");
    expect_next(it, first, second, "second");
    expect_next(it, second, third, large);
    assert_int_equal(next(it, third), ERR_NOT_FOUND);
    free(large);
}

static void a_file_that_is_no_journal_is_refused_and_left_alone(void **state)
{
    static const char text[] = "This is somebody's letter, and no database whatsoever.";
    struct book *it = *state;
    char bytes[sizeof text] = {0};

    fixture_write(it->files, "data.db-larder.journal", text);
    for (int i = 0; i < 2; i++) {
        buf_clear(&it->why);
        assert_int_equal(writer_journal_open(it->journal, i, &it->why), ERR_CORRUPT);
        assert_true(it->why.len > 0);
    }
    FILE *file = fopen(it->path, "r");
    assert_int_equal(fread(bytes, 1, sizeof bytes, file), sizeof text - 1);
    fclose(file);
    assert_string_equal(bytes, text);
    assert_int_equal(unlink(it->path), 0);
    open_it(it);
}

static void a_database_of_somebody_elses_is_refused(void **state)
{
    static const char *const sql[] = {
        "CREATE TABLE identity (number INTEGER PRIMARY KEY, secret BLOB NOT NULL); CREATE TABLE writes (number INTEGER "
        "PRIMARY KEY AUTOINCREMENT, at_ms, request)",
        "CREATE TABLE identity (number INTEGER PRIMARY KEY, secret BLOB NOT NULL); CREATE TABLE writes (number INTEGER "
        "PRIMARY KEY AUTOINCREMENT, at_ms, request); INSERT INTO identity VALUES (1, x'00')",
        "CREATE TABLE identity (name TEXT)",
        "CREATE TABLE writes (name TEXT)",
    };
    struct book *it = *state;

    for (size_t i = 0; i < sizeof sql / sizeof *sql; i++) {
        fixture_execute(it->path, sql[i]);
        buf_clear(&it->why);
        enum err err = writer_journal_open(it->journal, true, &it->why);
        assert_true(err == ERR_CORRUPT || err == ERR_STATEMENT);
        assert_true(it->why.len > 0);
        assert_int_equal(unlink(it->path), 0);
    }
    open_it(it);
    add(it, "x");
}

static void a_file_cut_short_is_noticed(void **state)
{
    struct book *it = *state;

    open_it(it);
    for (int i = 0; i < 100; i++)
        add(it, "some bytes of a write that is to be carried out later on, and again, and again");
    writer_journal_free(&it->journal);
    it->journal = writer_journal_new(&it->config);
    assert_int_equal(truncate(it->path, 5000), 0);
    enum err err = writer_journal_open(it->journal, true, &it->why);
    if (err == ERR_OK)
        err = next(it, 0);
    assert_int_equal(err, ERR_CORRUPT);
}

static void a_new_file_in_its_place_is_taken_up(void **state)
{
    struct book *it = *state, *other = NULL;
    struct stat status;

    open_it(it);
    const uint64_t first = add(it, "first");
    setup((void **)&other);
    open_it(other);
    add(other, "of another");
    const uint64_t own = writer_journal_identity(other->journal)->number;
    writer_journal_free(&other->journal);
    assert_true(first < own);
    fixture_execute(it->path, "PRAGMA wal_checkpoint(TRUNCATE)");
    assert_int_equal(rename(other->path, it->path), 0);
    must(it, writer_journal_open(it->journal, false, &it->why));
    assert_int_equal(writer_journal_identity(it->journal)->number, own);
    expect_next(it, 0, own + 1, "of another");
    assert_int_equal(add(it, "more"), own + 2);
    assert_int_equal(stat(it->path, &status), 0);
    teardown((void **)&other);
}

static void a_journal_that_is_locked_is_busy_and_then_usable_again(void **state)
{
    struct book *it = *state;
    sqlite3 *other = NULL;

    open_it(it);
    const uint64_t first = add(it, "first");
    assert_int_equal(sqlite3_open(it->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(writer_journal_begin(it->journal, &it->why), ERR_BUSY);
    assert_int_equal(writer_journal_last(it->journal), first);
    sqlite3_close(other);
    must(it, writer_journal_open(it->journal, true, &it->why));
    assert_int_equal(add(it, "second"), first + 1);
}

static void the_file_does_not_grow_with_what_has_passed_through(void **state)
{
    struct book *it = *state;
    struct stat status;
    char frame[4097] = {0}, log[160];

    memset(frame, 'x', 4096);
    snprintf(log, sizeof log, "%s-wal", it->path);
    it->config.store.wal_limit = 256 << 10;
    open_it(it);
    for (int i = 0; i < 2000; i++) {
        uint64_t number = add(it, frame);
        writer_journal_forget(it->journal, number);
    }
    assert_int_equal(stat(it->path, &status), 0);
    assert_in_range(status.st_size, 0, 256 << 10);
    assert_int_equal(stat(log, &status), 0);
    assert_in_range(status.st_size, 0, 512 << 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_a_file_there_is_no_journal_unless_one_is_to_be_made),
        TEST(what_was_committed_is_there_in_order_for_whoever_opens_it_next),
        TEST(what_is_rolled_back_is_not_there_and_took_no_number),
        TEST(a_number_is_never_given_again_though_all_was_forgotten),
        TEST(a_journal_that_is_renewed_is_another_one_and_gives_no_number_again),
        TEST(a_new_file_begins_above_the_old_one),
        TEST(what_is_forgotten_goes_with_the_next_commit_and_makes_room),
        TEST(room_is_counted_within_a_transaction_and_given_back_by_a_rollback),
        TEST(answers_are_kept_with_the_writes),
        TEST(a_full_disk_refuses_and_leaves_what_there_is),
        TEST(a_file_that_is_no_journal_is_refused_and_left_alone),
        TEST(a_database_of_somebody_elses_is_refused),
        TEST(a_file_cut_short_is_noticed),
        TEST(a_new_file_in_its_place_is_taken_up),
        TEST(a_journal_that_is_locked_is_busy_and_then_usable_again),
        TEST(the_file_does_not_grow_with_what_has_passed_through),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
