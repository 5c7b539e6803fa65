/* The outbox, read: its bytes, and its rows while the writer writes. */
#include "outbox_fixture.h"

#define LONG WRITER_PROCESS_PATIENCE_MS

static void items_are_read_back_as_they_were(void **state)
{
    struct arena *arena = arena_new(4096, 1 << 20);
    struct buf bytes = {0};
    struct str *out;
    size_t count;

    (void)state;
    for (size_t n = 0; n <= OUTBOX_FIXTURE_ITEMS; n++) {
        buf_clear(&bytes);
        outbox_encode(outbox_fixture_items, n, &bytes);
        assert_int_equal(outbox_decode(buf_str(&bytes), arena, &out, &count), ERR_OK);
        assert_int_equal(count, n);
        for (size_t i = 0; i < n; i++)
            assert_true(str_equal(out[i], outbox_fixture_items[i]));
    }
    assert_memory_equal(bytes.p, "\x0a\0\0\0tag:stocks", 14);
    buf_free(&bytes);
    arena_free(&arena);
}

static void what_is_no_list_of_items_is_damaged(void **state)
{
    struct arena *arena = arena_new(4096, 4096);
    struct buf bytes = {0};
    struct str *out;
    size_t count, whole = 4 + outbox_fixture_items[0].len;

    (void)state;
    outbox_encode(outbox_fixture_items, 2, &bytes);
    for (size_t cut = 0; cut < bytes.len; cut++)
        assert_int_equal(outbox_decode((struct str){bytes.p, cut}, arena, &out, &count),
                         cut == 0 || cut == whole ? ERR_OK : ERR_CORRUPT);
    assert_int_equal(outbox_decode(STR("\xff\xff\xff\xff"), arena, &out, &count), ERR_CORRUPT);
    assert_int_equal(outbox_decode(STR("tag:stocks"), arena, &out, &count), ERR_CORRUPT);
    buf_clear(&bytes);
    for (int i = 0; i < 1000; i++)
        outbox_encode(&outbox_fixture_items[2], 1, &bytes);
    assert_int_equal(outbox_decode(buf_str(&bytes), arena, &out, &count), ERR_LIMIT);
    buf_free(&bytes);
    arena_free(&arena);
}

static void it_says_whether_anything_was_committed_since(void **state)
{
    struct writer_fixture *it = *state;
    struct outbox_fixture reading = outbox_fixture_open(it);

    assert_true(outbox_changed(reading.outbox));
    outbox_fixture_expect(&reading, 10, 0);
    assert_false(outbox_changed(reading.outbox));
    for (int i = 1; i <= 3; i++) {
        outbox_fixture_must_write(it, "INSERT INTO blobs (bytes) VALUES (1)");
        assert_true(outbox_changed(reading.outbox));
        assert_true(outbox_changed(reading.outbox));
        outbox_fixture_expect(&reading, 10, (size_t)i);
        assert_false(outbox_changed(reading.outbox));
    }
    outbox_fixture_close(&reading);
}

static void a_full_page_has_more_behind_it(void **state)
{
    struct writer_fixture *it = *state;
    struct outbox_fixture reading = outbox_fixture_open(it);

    for (int i = 0; i < 5; i++)
        outbox_fixture_keep(it);
    outbox_fixture_expect(&reading, 2, 2);
    assert_int_equal(reading.rows[0].id, it->outbox_id - 4);
    assert_int_equal(reading.rows[1].id, it->outbox_id - 3);
    assert_true(outbox_changed(reading.outbox));
    outbox_fixture_expect(&reading, 0, 0);
    outbox_fixture_expect(&reading, 6, 5);
    assert_false(outbox_changed(reading.outbox));
    outbox_fixture_close(&reading);
}

static void rows_can_be_counted(void **state)
{
    struct writer_fixture *it = *state;
    struct outbox_fixture reading = outbox_fixture_open(it);
    uint64_t count = 9;

    assert_int_equal(outbox_count(reading.outbox, &count), ERR_OK);
    assert_int_equal(count, 0);
    outbox_fixture_expect(&reading, 10, 0);
    for (int i = 0; i < 3; i++)
        outbox_fixture_keep(it);
    assert_int_equal(outbox_count(reading.outbox, &count), ERR_OK);
    assert_int_equal(count, 3);
    /* It has given none of them. */
    assert_true(outbox_changed(reading.outbox));
    outbox_fixture_close(&reading);
}

static void before_there_is_a_database_or_a_table_there_are_no_rows(void **state)
{
    struct writer_fixture *it = *state;
    struct outbox_fixture reading = outbox_fixture_open(it);

    uint64_t rows = 9;

    outbox_fixture_expect(&reading, 10, 0);
    assert_int_equal(outbox_count(reading.outbox, &rows), ERR_OK);
    assert_int_equal(rows, 0);
    assert_true(outbox_changed(reading.outbox));
    fixture_execute(it->files->database, WRITER_FIXTURE_SCHEMA "PRAGMA user_version = 1; PRAGMA journal_mode = WAL");
    outbox_fixture_expect(&reading, 10, 0);
    assert_false(outbox_changed(reading.outbox));
    writer_fixture_start(it);
    assert_true(outbox_changed(reading.outbox));
    outbox_fixture_expect(&reading, 10, 0);
    outbox_fixture_keep(it);
    outbox_fixture_expect(&reading, 10, 1);
    outbox_fixture_close(&reading);
}

static uint64_t told(const struct writer_fixture *it)
{
    struct outbox_fixture reading = outbox_fixture_open(it);
    uint64_t number = UINT64_MAX;

    assert_int_equal(outbox_told(reading.outbox, &number), ERR_OK);
    outbox_fixture_close(&reading);
    return number;
}

static void with_the_row_goes_the_number_of_its_purge_which_never_falls(void **state)
{
    static const uint64_t numbers[] = {7, UINT64_C(1700000000000000), 8, 0};
    struct writer_fixture *it = *state;
    uint64_t highest = 0;

    assert_int_equal(told(it), 0);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        outbox_fixture_keep(it);
        assert_int_equal(told(it), highest);
        it->shared->told = numbers[i];
        highest = numbers[i] > highest ? numbers[i] : highest;
        assert_int_equal(i % 2 ? writer_client_purged(it->client, &it->outbox_id, 1)
                               : writer_client_drained(it->client, &it->outbox_id, 1),
                         ERR_OK);
        outbox_fixture_await(it, 0);
        assert_int_equal(told(it), highest);
    }
}

static void a_writer_that_starts_tells_what_the_database_remembers(void **state)
{
    struct writer_fixture *it = *state;

    outbox_fixture_keep(it);
    it->shared->told = 4711;
    assert_int_equal(writer_client_drained(it->client, &it->outbox_id, 1), ERR_OK);
    outbox_fixture_await(it, 0);
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    it->shared->told = 0;
    writer_fixture_start(it);
    assert_int_equal(it->shared->told, 4711);
}

static void a_database_in_the_place_of_another_is_read_instead(void **state)
{
    struct writer_fixture *it = *state;
    struct outbox_fixture reading = outbox_fixture_open(it);
    char away[128];

    outbox_fixture_keep(it);
    outbox_fixture_expect(&reading, 10, 1);
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    snprintf(away, sizeof away, "%s.away", it->files->database);
    assert_int_equal(rename(it->files->database, away), 0);
    assert_true(outbox_changed(reading.outbox));
    outbox_fixture_expect(&reading, 10, 0);
    writer_fixture_start(it);
    outbox_fixture_keep(it);
    outbox_fixture_keep(it);
    assert_true(outbox_changed(reading.outbox));
    outbox_fixture_expect(&reading, 10, 2);
    outbox_fixture_close(&reading);
}

static void what_cannot_be_read_is_an_error_until_it_can(void **state)
{
    struct writer_fixture *it = *state;
    struct outbox_fixture reading = outbox_fixture_open(it);
    char junk[8192], good[8192];

    outbox_fixture_keep(it);
    assert_int_equal(writer_fixture_end(it, SIGTERM), 0);
    int fd = open(it->files->database, O_RDWR);
    assert_int_equal(pread(fd, good, sizeof good, 0), sizeof good);
    memset(junk, 'x', sizeof junk);
    assert_int_equal(pwrite(fd, junk, sizeof junk, 0), sizeof junk);
    uint64_t count;
    assert_int_equal(outbox_count(reading.outbox, &count), ERR_UNAVAILABLE);
    assert_int_equal(outbox_fixture_read(&reading, 10), ERR_UNAVAILABLE);
    assert_non_null(strstr(reading.why.p, it->files->database));
    assert_true(outbox_changed(reading.outbox));
    assert_int_equal(pwrite(fd, good, sizeof good, 0), sizeof good);
    close(fd);
    outbox_fixture_expect(&reading, 10, 1);
    outbox_fixture_close(&reading);
}

static void rows_that_make_no_sense_are_rows_without_items(void **state)
{
    struct writer_fixture *it = *state;
    struct outbox_fixture reading = outbox_fixture_open(it);

    fixture_execute(it->files->database, "INSERT INTO larder_outbox (at_ms, items) VALUES (1, x'ff'), (2, 'text'), "
                                         "('when', 5), (4, x''), (5, x'01000000'), (6, zeroblob(4000000))");
    outbox_fixture_keep(it);
    outbox_fixture_expect(&reading, 10, 7);
    for (int i = 0; i < 7; i++)
        assert_int_equal(reading.rows[i].items_count, 0);
    /* The last one only for want of room. */
    fixture_execute(it->files->database, "DELETE FROM larder_outbox WHERE at_ms = 6");
    outbox_fixture_expect(&reading, 10, 6);
    outbox_fixture_expect_items(&reading.rows[5]);
    outbox_fixture_close(&reading);
}

static void it_reads_while_the_writer_writes(void **state)
{
    enum { WRITES = 300 };
    struct writer_fixture *it = *state;
    struct outbox_fixture reading = outbox_fixture_open(it);
    int64_t end_ms = sys_monotonic_ms() + LONG, last = 0, seen = 0;

    pid_t pid = fork();
    if (pid == 0) {
        struct writer_client *client = writer_client_new(&it->config, it->shared);
        for (int i = 0; i < WRITES; i++)
            if (writer_client_keep_purges(client, outbox_fixture_items, OUTBOX_FIXTURE_ITEMS, NULL, &it->why) != ERR_OK)
                _exit(1);
        _exit(0);
    }
    while (seen < WRITES && sys_monotonic_ms() < end_ms) {
        if (!outbox_changed(reading.outbox))
            continue;
        if (outbox_fixture_read(&reading, 64) != ERR_OK)
            fail_msg("%s", reading.why.p);
        for (size_t i = 0; i < reading.count; i++) {
            outbox_fixture_expect_items(&reading.rows[i]);
            seen += reading.rows[i].id > last;
            last = reading.rows[i].id > last ? reading.rows[i].id : last;
            assert_int_equal(writer_client_drained(it->client, &reading.rows[i].id, 1), ERR_OK);
        }
    }
    assert_int_equal(writer_process_reap(pid), 0);
    assert_int_equal(seen, WRITES);
    outbox_fixture_await(it, 0);
    outbox_fixture_close(&reading);
}

#define ALONE(test) cmocka_unit_test(test)
#define WITH_WRITER(test) cmocka_unit_test_setup_teardown(test, writer_fixture_setup, writer_fixture_teardown)
#define WITHOUT_WRITER(test) cmocka_unit_test_setup_teardown(test, writer_fixture_setup_idle, writer_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALONE(items_are_read_back_as_they_were),
        ALONE(what_is_no_list_of_items_is_damaged),
        WITH_WRITER(it_says_whether_anything_was_committed_since),
        WITH_WRITER(a_full_page_has_more_behind_it),
        WITH_WRITER(rows_can_be_counted),
        WITH_WRITER(with_the_row_goes_the_number_of_its_purge_which_never_falls),
        WITH_WRITER(a_writer_that_starts_tells_what_the_database_remembers),
        WITHOUT_WRITER(before_there_is_a_database_or_a_table_there_are_no_rows),
        WITH_WRITER(a_database_in_the_place_of_another_is_read_instead),
        WITH_WRITER(what_cannot_be_read_is_an_error_until_it_can),
        WITH_WRITER(rows_that_make_no_sense_are_rows_without_items),
        WITH_WRITER(it_reads_while_the_writer_writes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
