/* Connections on their way between processes, with and without input. */
#include "server/handover.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int make(void **state)
{
    struct handover *handover = calloc(1, sizeof *handover);

    if (!handover || handover_open(handover) != ERR_OK)
        return -1;
    *state = handover;
    return 0;
}

static int unmake(void **state)
{
    struct handover *handover = *state;

    handover_close(handover);
    assert_int_equal(handover->in, -1);
    assert_int_equal(handover->out, -1);
    free(handover);
    return 0;
}

static unsigned count_descriptors(void)
{
    unsigned count = 0;

    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void a_connection_comes_out_as_it_went_in(void **state)
{
    struct handover *handover = *state;
    struct buf input = {0};
    int pair[2], fd = -1;
    char text[16];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(write(pair[1], "unread", 6), 6);
    assert_int_equal(handover_send(handover, pair[0], STR("received")), ERR_OK);
    close(pair[0]);
    assert_int_equal(handover_take(handover, &fd, &input), ERR_OK);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_true(str_equal(buf_str(&input), STR("received")));
    assert_int_equal(read(fd, text, sizeof text), 6);
    assert_memory_equal(text, "unread", 6);
    /* The peer has seen no end. */
    assert_int_equal(write(fd, "answer", 6), 6);
    assert_int_equal(read(pair[1], text, sizeof text), 6);
    close(fd);
    close(pair[1]);
    buf_free(&input);
}

static void without_input_none_comes(void **state)
{
    struct handover *handover = *state;
    struct buf input = {0};
    int fd = -1;

    assert_int_equal(handover_take(handover, &fd, &input), ERR_AGAIN);
    assert_int_equal(handover_send(handover, STDIN_FILENO, STR("")), ERR_OK);
    assert_int_equal(handover_take(handover, &fd, &input), ERR_OK);
    assert_int_equal(input.len, 0);
    assert_int_equal(handover_take(handover, &fd, &input), ERR_AGAIN);
    close(fd);
}

static void large_input_goes_along(void **state)
{
    enum { LEN = 5 << 20 };
    struct handover *handover = *state;
    struct buf input = {0};
    char *bytes = malloc(LEN);
    int fd = -1;

    memset(bytes, 'x', LEN);
    assert_int_equal(handover_send(handover, STDIN_FILENO, (struct str){bytes, LEN}), ERR_OK);
    assert_int_equal(handover_take(handover, &fd, &input), ERR_OK);
    assert_true(str_equal(buf_str(&input), (struct str){bytes, LEN}));
    close(fd);
    buf_free(&input);
    free(bytes);
}

static void a_full_way_says_so_and_nothing_leaks(void **state)
{
    struct handover *handover = *state;
    struct buf input = {0};
    unsigned sent = 0, taken = 0, before = count_descriptors();
    enum err err;
    int fd;

    while ((err = handover_send(handover, STDIN_FILENO, STR("some"))) == ERR_OK)
        sent++;
    assert_int_equal(err, ERR_AGAIN);
    assert_in_range(sent, 10, 100000);
    while (handover_take(handover, &fd, &input) == ERR_OK) {
        taken++;
        close(fd);
    }
    assert_int_equal(taken, sent);
    assert_int_equal(input.len, 4 * taken);
    assert_int_equal(handover_send(handover, STDIN_FILENO, STR("")), ERR_OK);
    assert_int_equal(handover_take(handover, &fd, &input), ERR_OK);
    close(fd);
    assert_int_equal(count_descriptors(), before);
    buf_free(&input);
}

static void it_works_between_processes(void **state)
{
    struct handover *handover = *state;
    struct buf input = {0};
    int pair[2], fd = -1, status = -1;
    char text[16];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(handover_send(handover, pair[0], STR("from the child")) == ERR_OK ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(pair[0]);
    assert_int_equal(handover_take(handover, &fd, &input), ERR_OK);
    assert_true(str_equal(buf_str(&input), STR("from the child")));
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(read(pair[1], text, sizeof text), 1);
    close(fd);
    close(pair[1]);
    buf_free(&input);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_connection_comes_out_as_it_went_in, make, unmake),
        cmocka_unit_test_setup_teardown(without_input_none_comes, make, unmake),
        cmocka_unit_test_setup_teardown(large_input_goes_along, make, unmake),
        cmocka_unit_test_setup_teardown(a_full_way_says_so_and_nothing_leaks, make, unmake),
        cmocka_unit_test_setup_teardown(it_works_between_processes, make, unmake),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
