/* Files beside the database: whose they become, and what is not touched. What only root can do is tried by root alone.
 */
#include "store/beside.h"

#include "store_fixture.h"

enum { OWNER = 12345, OTHER = 23456 };

static struct fixture *files;

static const char *path_of(const char *name)
{
    static char path[160];

    snprintf(path, sizeof path, "%s/%s", files->dir, name);
    return path;
}

static int setup(void **state)
{
    fixture_setup(state);
    files = *state;
    return 0;
}

static enum err open_lock(struct buf *why)
{
    int fd = -1;
    enum err err = beside_open(path_of("data.db-lock"), files->database, &fd, why);

    assert_int_equal(err == ERR_OK, fd >= 0);
    if (fd >= 0)
        close(fd);
    return err;
}

static void expect_refused(void)
{
    struct buf why = {0};

    assert_int_equal(open_lock(&why), ERR_DENIED);
    if (!strstr(why.p, "data.db-lock") || !strstr(why.p, "remove it"))
        fail_msg("%s", why.p);
    buf_free(&why);
}

static struct stat look(const char *name)
{
    struct stat status;

    assert_int_equal(lstat(path_of(name), &status), 0);
    return status;
}

static void it_is_made_and_opened_again(void **state)
{
    struct buf why = {0};

    (void)state;
    for (int i = 0; i < 2; i++)
        if (open_lock(&why) != ERR_OK)
            fail_msg("%s", why.p);
    assert_true(S_ISREG(look("data.db-lock").st_mode));
}

static void a_link_is_not_followed(void **state)
{
    (void)state;
    fixture_write(files, "victim", "secret");
    assert_int_equal(symlink("victim", path_of("data.db-lock")), 0);
    expect_refused();
    assert_int_equal(unlink(path_of("data.db-lock")), 0);
    assert_int_equal(symlink("nothing", path_of("data.db-lock")), 0);
    expect_refused();
    assert_int_equal(access(path_of("nothing"), F_OK), -1);
    assert_int_equal(unlink(path_of("data.db-lock")), 0);
    char victim[160];
    strcpy(victim, path_of("victim"));
    assert_int_equal(link(victim, path_of("data.db-lock")), 0);
    expect_refused();
    assert_int_equal(unlink(path_of("data.db-lock")), 0);
    assert_int_equal(mkfifo(path_of("data.db-lock"), 0600), 0);
    expect_refused();
    assert_int_equal(look("victim").st_size, 6);
    assert_int_equal(look("victim").st_uid, geteuid());
}

static void what_root_makes_is_the_datas_owners(void **state)
{
    struct buf why = {0};

    (void)state;
    if (geteuid() != 0)
        skip();
    /* The directory's, while there is no database. */
    assert_int_equal(chown(files->dir, OWNER, OWNER), 0);
    assert_int_equal(open_lock(&why), ERR_OK);
    assert_int_equal(look("data.db-lock").st_uid, OWNER);
    assert_int_equal(look("data.db-lock").st_gid, OWNER);
    beside_prepare(files->database, files->database);
    assert_int_equal(look("data.db").st_uid, OWNER);
    /* So what SQLite puts beside it is, too. */
    sqlite3 *db = fixture_open(files->database);
    assert_int_equal(sqlite3_exec(db, "PRAGMA journal_mode = WAL; CREATE TABLE t (x)", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(look("data.db-wal").st_uid, OWNER);
    assert_int_equal(look("data.db-shm").st_uid, OWNER);
    sqlite3_close(db);
    /* Then the database's. */
    assert_int_equal(chown(files->database, OTHER, OTHER), 0);
    beside_prepare(path_of("data.db-journal"), files->database);
    assert_int_equal(look("data.db-journal").st_uid, OTHER);
}

static void what_has_something_in_it_stays_whose_it_is(void **state)
{
    struct buf why = {0};

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(files->dir, OWNER, OWNER), 0);
    fixture_write(files, "data.db-lock", "secret");
    assert_int_equal(open_lock(&why), ERR_OK);
    assert_int_equal(look("data.db-lock").st_uid, 0);
    int fd = open(path_of("data.db-lock"), O_RDWR);
    beside_give(fd, files->database);
    assert_int_equal(look("data.db-lock").st_uid, 0);
    assert_int_equal(ftruncate(fd, 0), 0);
    beside_give(fd, files->database);
    assert_int_equal(look("data.db-lock").st_uid, OWNER);
    close(fd);
    fixture_write(files, "data.db", "");
    beside_prepare(files->database, files->database);
    assert_int_equal(look("data.db").st_uid, 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(it_is_made_and_opened_again),
        CASE(a_link_is_not_followed),
        CASE(what_root_makes_is_the_datas_owners),
        CASE(what_has_something_in_it_stays_whose_it_is),
    };

    return cmocka_run_group_tests_name("beside", tests, NULL, NULL);
}
