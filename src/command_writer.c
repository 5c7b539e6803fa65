/*
 * A command never writes to the database by itself: two processes that write and checkpoint could damage it. So it asks for the writer's
 * lock by starting a writer; one that finds itself locked out is ended again, and the server's is used.
 */
#include "command_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/shm.h"
#include "base/sys.h"

#define POLL_MS 1

struct command_writer {
    pid_t pid; /* 0: the server's */
    void *shared;
};

static volatile sig_atomic_t child_stop;

static void on_signal(int number)
{
    (void)number;
    child_stop = 1;
}

static int live_as_writer(const struct config *config, struct writer_shared *shared, pid_t parent)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    /* Whoever reads what the command prints must not wait for the writer's end too. */
    sys_leave_streams();
    /* Nobody else would end a writer whose command was killed. The parent may have died before this took effect. */
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        return 1;
    /* What is no error the command itself says; that a server has the lock is as good as having it. */
    log_init(STDERR_FILENO, LOG_LEVEL_ERROR, config->log.format);
    log_role("writer");
    return writer_run(config, shared, &child_stop);
}

static void end_child(struct command_writer *writer)
{
    if (writer->pid <= 0)
        return;
    kill(writer->pid, SIGTERM);
    while (waitpid(writer->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    writer->pid = 0;
}

enum err command_writer_start(const struct config *config, struct command_writer **out, struct buf *why)
{
    struct command_writer *writer = sys_calloc(1, sizeof *writer);
    *out = NULL;
    enum err err = shm_map(sizeof(struct writer_shared), &writer->shared);
    if (err != ERR_OK) {
        free(writer);
        return err;
    }
    struct writer_shared *shared = writer->shared;
    const pid_t self = getpid();
    writer->pid = fork();
    if (writer->pid == 0)
        _exit(live_as_writer(config, shared, self));
    enum writer_state state = WRITER_STARTING;
    bool lives = writer->pid > 0;
    /* Migrations take as long as they take; a writer that cannot start says so or dies. */
    while (lives && (state = atomic_load(&shared->state)) == WRITER_STARTING) {
        lives = waitpid(writer->pid, NULL, WNOHANG) == 0;
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000}, NULL);
    }
    if (state == WRITER_LOCKED_OUT)
        end_child(writer);
    if (state == WRITER_READY || state == WRITER_LOCKED_OUT) {
        *out = writer;
        return ERR_OK;
    }
    buf_printf(why, "the database %s cannot be written: %s", config->store.database,
               state == WRITER_FAILED ? shared->reason : "the writer did not start");
    if (lives)
        end_child(writer);
    writer->pid = 0;
    command_writer_stop(&writer);
    return ERR_UNAVAILABLE;
}

bool command_writer_is_servers(const struct command_writer *writer)
{
    return writer->pid == 0;
}

bool command_writer_applied(const struct command_writer *writer)
{
    const struct writer_shared *shared = writer->shared;
    return writer_pending_depth(&shared->pending) == 0 || atomic_load(&shared->pending.stalled);
}

void command_writer_stop(struct command_writer **writer)
{
    if (!*writer)
        return;
    end_child(*writer);
    shm_unmap(&(*writer)->shared, sizeof(struct writer_shared));
    free(*writer);
    *writer = NULL;
}
