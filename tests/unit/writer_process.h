/*
 * writer_process: a writer forked off a test program.
 */
#ifndef LARDER_WRITER_PROCESS_H
#define LARDER_WRITER_PROCESS_H

#include "store_fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/sys.h"
#include "store/migrate.h"
#include "store/writer.h"

enum { WRITER_PROCESS_PATIENCE_MS = 30000 };

static volatile sig_atomic_t writer_process_stop;

static inline void writer_process_on_signal(int number)
{
    (void)number;
    writer_process_stop = 1;
}

static inline pid_t writer_process_fork(const struct config *config, struct writer_shared *shared)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    struct sigaction action = {.sa_handler = writer_process_on_signal};
    sigaction(SIGTERM, &action, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    log_init(open("/dev/null", O_WRONLY), LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    _exit(writer_run(config, MIGRATE_ALL, 250, shared, &writer_process_stop));
}

static inline void writer_process_await(const struct writer_shared *shared, enum writer_state state)
{
    int64_t end_ms = sys_monotonic_ms() + WRITER_PROCESS_PATIENCE_MS;

    while (atomic_load(&shared->state) != (int)state && sys_monotonic_ms() < end_ms)
        usleep(1000);
    if (atomic_load(&shared->state) != (int)state)
        fail_msg("the writer is in state %d: %s", atomic_load(&shared->state), shared->reason);
}

/* The exit status of the process, or minus the signal that ended it. */
static inline int writer_process_reap(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* Cleared memory that processes forked later share. */
static inline void *writer_process_share(size_t len)
{
    void *shared = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(shared, MAP_FAILED);
    return shared;
}

#endif
