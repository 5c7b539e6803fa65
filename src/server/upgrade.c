/*
 * The estate is handed over as open descriptors, and their numbers in the environment. It is taken from there once, so that no other
 * process inherits the name of what it has not got.
 *
 * Invariant: every descriptor but these is closed on exec, so a successor starts with nothing of its predecessor's but what it is handed.
 */
#include "server/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

static const char variable[] = "LARDER_UPGRADE";

static bool keep_on_exec(int fd)
{
    return fd < 0 || fcntl(fd, F_SETFD, 0) == 0;
}

/* In the child. */
static void become_successor(char *const *program, const struct upgrade_estate *estate, int control)
{
    sigset_t none;
    char numbers[96], pid[16];
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    snprintf(numbers, sizeof numbers, "%d %d %d %d %d", estate->listener, estate->handover.in, estate->handover.out, estate->inherited,
             control);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    if (getenv("WATCHDOG_PID"))
        (void)setenv("WATCHDOG_PID", pid, 1);
    if (setenv(variable, numbers, 1) == 0 && keep_on_exec(estate->listener) && keep_on_exec(estate->handover.in) &&
        keep_on_exec(estate->handover.out) && keep_on_exec(control)) {
        /* Of a name with a path in it execvp would make a shell script where it cannot be run. */
        if (strchr(program[0], '/'))
            (void)execv(program[0], program);
        else
            (void)execvp(program[0], program);
    }
    int number = errno;
    log_event(LOG_LEVEL_ERROR, "upgrade_not_started", LOG_TEXT("program", program[0]), LOG_TEXT("why", strerror(number)));
    _exit(127);
}

enum err upgrade_start(char *const *program, const struct upgrade_estate *estate, pid_t *pid, int *control)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
        return ERR_UNAVAILABLE;
    pid_t child = fork();
    if (child == 0)
        become_successor(program, estate, ends[1]);
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        return ERR_UNAVAILABLE;
    }
    *pid = child;
    *control = ends[0];
    return ERR_OK;
}

bool upgrade_inherit(struct upgrade_estate *estate, int *control)
{
    const char *numbers = getenv(variable);
    int inherited = 0;
    bool found = numbers && sscanf(numbers, "%d %d %d %d %d", &estate->listener, &estate->handover.in, &estate->handover.out, &inherited,
                                   control) == 5;
    (void)unsetenv(variable);
    if (!found)
        return false;
    estate->inherited = inherited != 0;
    const int fds[] = {estate->listener, estate->handover.in, estate->handover.out, *control};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0 && fcntl(fds[i], F_SETFD, FD_CLOEXEC) != 0)
            return false;
    return true;
}

void upgrade_say(int control, enum upgrade_word word)
{
    char byte = (char)word;
    (void)!send(control, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

enum upgrade_word upgrade_hear(int control)
{
    char byte = 0;
    ssize_t got = recv(control, &byte, 1, MSG_DONTWAIT);
    if (got == 1)
        return (enum upgrade_word)byte;
    return got < 0 && (errno == EAGAIN || errno == EINTR) ? UPGRADE_NOTHING : UPGRADE_GONE;
}
