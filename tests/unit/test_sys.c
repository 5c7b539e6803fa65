/* What larder asks of the operating system. */
#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static void clocks_tell_the_same_time_in_their_units(void **state)
{
    int64_t ms = sys_monotonic_ms(), us = sys_monotonic_us();

    (void)state;
    assert_true(us / 1000 >= ms);
    assert_true(sys_monotonic_us() >= us);
    assert_true(sys_now_ms() > INT64_C(1600000000000));
}

static void memory_of_no_length_may_be_freed(void **state)
{
    void *a = sys_alloc(0), *b = sys_calloc(0, 8), *c = sys_realloc(NULL, 0);

    (void)state;
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    free(a);
    free(b);
    free(c);
}

/* The child's last words go into a pipe. */
static int last_words_of(void (*act)(void), char *words, size_t cap)
{
    int ends[2], status = 0;
    pid_t pid;
    ssize_t got;

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        const struct rlimit no_core = {0, 0};

        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        act();
        _exit(0);
    }
    close(ends[1]);
    got = read(ends[0], words, cap - 1);
    words[got > 0 ? got : 0] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void ask_for_too_much(void)
{
    volatile size_t much = SIZE_MAX / 4;

    free(sys_alloc(much));
}

static void running_out_of_memory_ends_the_process_with_a_message(void **state)
{
    char words[4096];
    int status = last_words_of(ask_for_too_much, words, sizeof(words));

    (void)state;
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(strlen(words) > 0);
}

static void copies_are_terminated(void **state)
{
    char *copy = sys_copy((struct str){"copyright", 4});
    char *empty = sys_copy((struct str){NULL, 0});

    (void)state;
    assert_string_equal(copy, "copy");
    assert_string_equal(empty, "");
    free(copy);
    free(empty);
}

static void random_bytes_differ_and_fill_any_length(void **state)
{
    unsigned char a[1000] = {0}, b[1000] = {0};
    size_t zeros = 0;

    (void)state;
    sys_random(a, 0);
    assert_int_equal(a[0], 0);
    sys_random(a, sizeof(a));
    sys_random(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    for (size_t i = 0; i < sizeof(a); i++)
        zeros += a[i] == 0;
    assert_true(zeros < 100);
}

static void secrets_are_equal_only_as_a_whole(void **state)
{
    (void)state;
    assert_true(sys_secret_equal(STR("token"), STR("token")));
    assert_false(sys_secret_equal(STR("token"), STR("tokem")));
    assert_false(sys_secret_equal(STR("token"), STR("toke")));
    assert_false(sys_secret_equal(STR("token"), STR("")));
    assert_true(sys_secret_equal((struct str){NULL, 0}, STR("")));
}

static void hashes_are_xxh3_and_digests_blake2b(void **state)
{
    struct buf out = {0};

    (void)state;
    /* The published values for the empty input. */
    assert_true(sys_hash64((struct str){NULL, 0}, 0) == UINT64_C(0x2d06800538d394c2));
    assert_true(sys_hash64(STR("a"), 0) != sys_hash64(STR("a"), 1));
    sys_digest((struct str){NULL, 0}, &out);
    assert_string_equal(out.p, "cae66941d9efbd404e4d88758ea67670");
    sys_digest(STR("x"), &out);
    assert_int_equal(out.len, 2 * SYS_DIGEST_LEN);
    assert_int_equal(strspn(out.p, "0123456789abcdef"), 2 * SYS_DIGEST_LEN);
    buf_free(&out);
}

static void base64_is_padded_as_in_rfc_4648(void **state)
{
    static const struct {
        struct str bytes;
        const char *text;
    } table[] = {{STR(""), ""},        {STR("f"), "Zg=="},          {STR("fo"), "Zm8="},
                 {STR("foo"), "Zm9v"}, {STR("foobar"), "Zm9vYmFy"}, {STR("\xff\xfe\0"), "//4A"}};

    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        struct buf out = {0};

        buf_add_char(&out, '>');
        sys_base64(table[i].bytes, &out);
        assert_string_equal(out.p + 1, table[i].text);
        assert_int_equal(out.len, 1 + strlen(table[i].text));
        buf_free(&out);
    }
}

struct file {
    char directory[64], path[96];
};

static int make_file(void **state)
{
    struct file *file = calloc(1, sizeof(*file));

    *state = file;
    strcpy(file->directory, "/tmp/larder-sys-XXXXXX");
    if (!mkdtemp(file->directory))
        return -1;
    snprintf(file->path, sizeof(file->path), "%s/file", file->directory);
    return 0;
}

static int remove_file(void **state)
{
    struct file *file = *state;

    unlink(file->path);
    rmdir(file->directory);
    free(file);
    return 0;
}

static void write_file(const struct file *file, size_t len)
{
    FILE *stream = fopen(file->path, "w");

    assert_non_null(stream);
    for (size_t i = 0; i < len; i++)
        fputc((int)('a' + i % 26), stream);
    assert_int_equal(fclose(stream), 0);
}

static void files_are_read_whole_up_to_the_limit(void **state)
{
    static const size_t lengths[] = {0, 1, 63, 64, 4095, 4096, 4097, 100000};
    const struct file *file = *state;

    for (size_t i = 0; i < COUNT(lengths); i++) {
        struct buf out = {0};

        write_file(file, lengths[i]);
        buf_add_str(&out, STR("kept"));
        assert_int_equal(sys_read_file(file->path, lengths[i], &out), ERR_OK);
        assert_int_equal(out.len, 4 + lengths[i]);
        assert_int_equal(strlen(out.p), out.len);
        if (lengths[i] > 0) {
            assert_int_equal(out.p[out.len - 1], 'a' + (lengths[i] - 1) % 26);
            buf_clear(&out);
            buf_add_str(&out, STR("kept"));
            assert_int_equal(sys_read_file(file->path, lengths[i] - 1, &out), ERR_LIMIT);
            assert_string_equal(out.p, "kept");
        }
        buf_free(&out);
    }
}

static void a_file_without_end_is_read_to_the_limit_only(void **state)
{
    struct buf out = {0};

    (void)state;
    assert_int_equal(sys_read_file("/dev/zero", 100000, &out), ERR_LIMIT);
    assert_int_equal(out.len, 0);
    assert_true(out.cap < 1000000);
    buf_free(&out);
}

static void what_cannot_be_read_says_why(void **state)
{
    const struct file *file = *state;
    struct buf out = {0};

    assert_int_equal(sys_read_file(file->path, 100, &out), ERR_NOT_FOUND);
    assert_int_equal(sys_read_file(file->directory, 100, &out), ERR_DIRECTORY);
    write_file(file, 5);
    chmod(file->path, 0);
    if (geteuid() != 0)
        assert_int_equal(sys_read_file(file->path, 100, &out), ERR_DENIED);
    assert_int_equal(out.len, 0);
    buf_free(&out);
}

/* Runs this program again, as a process that gives itself TITLE, and reads what the kernel then shows of it. */
static void read_title(const char *title, struct buf *shown, struct buf *name)
{
    char path[64], self[4096] = "";
    int ends[2], status;
    pid_t pid;

    assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execl(self, "larder-with-a-long-name", "--title", title, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &(char){0}, 1), 1);
    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    assert_int_equal(sys_read_file(path, 65536, shown), ERR_OK);
    snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    assert_int_equal(sys_read_file(path, 64, name), ERR_OK);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    close(ends[0]);
}

static void a_title_shows_in_the_list_of_processes(void **state)
{
    static const char *const titles[] = {"larder: worker", "larder: housekeeper"};

    (void)state;
    for (size_t i = 0; i < COUNT(titles); i++) {
        struct buf shown = {0}, name = {0};

        read_title(titles[i], &shown, &name);
        assert_string_equal(shown.p, titles[i]);
        assert_true(str_equal((struct str){name.p, name.len - 1}, (struct str){titles[i], strnlen(titles[i], 15)}));
        buf_free(&shown);
        buf_free(&name);
    }
}

/* What read_title runs: arguments and environment must outlive the change. */
static int show_title(int argc, char **argv)
{
    char *path = sys_copy(str_from(getenv("PATH"))), *title = sys_copy(str_from(argv[2]));
    char **arguments;

    sys_title_init(argc, argv);
    arguments = argv;
    sys_title_set("larder: a first title that is longer than the second");
    sys_title_set(title);
    if (strcmp(arguments[2], title) != 0 || !getenv("PATH") || strcmp(getenv("PATH"), path) != 0 ||
        strcmp(program_invocation_short_name, "larder-with-a-long-name") != 0)
        return 1;
    if (write(STDOUT_FILENO, "x", 1) == 1)
        pause();
    return 1;
}

static void without_its_preparation_a_title_leaves_the_arguments_alone(void **state)
{
    struct buf before = {0}, after = {0};
    pid_t pid = fork();
    int status;

    (void)state;
    if (pid == 0) {
        if (sys_read_file("/proc/self/cmdline", 65536, &before) != ERR_OK)
            _exit(2);
        sys_title_set("larder: nobody");
        if (sys_read_file("/proc/self/cmdline", 65536, &after) != ERR_OK)
            _exit(3);
        _exit(str_equal(buf_str(&before), buf_str(&after)) ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void expect_resolved(const char *path, const char *expected)
{
    char *resolved = sys_resolve_path(path);

    assert_string_equal(resolved, expected);
    free(resolved);
}

static void a_path_is_resolved_whatever_of_it_is_missing(void **state)
{
    char dir[] = "/tmp/larder-test-XXXXXX", *before = getcwd(NULL, 0);

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(mkdir("real", 0700), 0);
    assert_int_equal(close(creat("real/file", 0600)), 0);
    assert_int_equal(symlink("real", "dir"), 0);
    assert_int_equal(symlink("../dir/file", "real/link"), 0);
    assert_int_equal(symlink("later/../new", "real/dangling"), 0);
    assert_int_equal(symlink("circle", "circle"), 0);
    struct buf there = {0}, path = {0};
    buf_printf(&there, "%s/real", dir);
    assert_int_equal(symlink(there.p, "absolute"), 0);
    const char *const table[][2] = {
        {"real/file", "/file"},    {"dir/file", "/file"},
        {"dir/link", "/file"},     {"absolute/a", "/a"},
        {"dir/absent", "/absent"}, {"dir/no/absent", "/no/absent"},
        {"./real/../dir", ""},     {"dir/dangling", "/later/../new"},
        {"dir//file", "/file"},
    };
    for (size_t i = 0; i < COUNT(table); i++) {
        buf_clear(&path);
        buf_printf(&path, "%s%s", there.p, table[i][1]);
        expect_resolved(table[i][0], path.p);
    }
    expect_resolved("circle", "circle");
    expect_resolved("/", "/");
    expect_resolved("/no-such-directory/x", "/no-such-directory/x");
    static const char *const made[] = {"real/dangling", "real/link", "real/file", "real", "dir", "circle", "absolute"};
    for (size_t i = 0; i < COUNT(made); i++)
        assert_int_equal(remove(made[i]), 0);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(rmdir(dir), 0);
    free(before);
    buf_free(&there);
    buf_free(&path);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks_tell_the_same_time_in_their_units),
        cmocka_unit_test(memory_of_no_length_may_be_freed),
        cmocka_unit_test(running_out_of_memory_ends_the_process_with_a_message),
        cmocka_unit_test(copies_are_terminated),
        cmocka_unit_test(random_bytes_differ_and_fill_any_length),
        cmocka_unit_test(secrets_are_equal_only_as_a_whole),
        cmocka_unit_test(hashes_are_xxh3_and_digests_blake2b),
        cmocka_unit_test(base64_is_padded_as_in_rfc_4648),
        cmocka_unit_test_setup_teardown(files_are_read_whole_up_to_the_limit, make_file, remove_file),
        cmocka_unit_test(a_file_without_end_is_read_to_the_limit_only),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_says_why, make_file, remove_file),
        cmocka_unit_test(a_path_is_resolved_whatever_of_it_is_missing),
        cmocka_unit_test(a_title_shows_in_the_list_of_processes),
        cmocka_unit_test(without_its_preparation_a_title_leaves_the_arguments_alone),
    };

    if (argc == 3 && strcmp(argv[1], "--title") == 0)
        return show_title(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
