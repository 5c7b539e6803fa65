/*
 * A command never writes to the database by itself: two processes that write and checkpoint could damage it. So it asks
 * for the writer's lock by starting a writer; one that finds itself locked out is ended again, and the server's is
 * used.
 *
 * The writer is this program started anew. A mere child would have the command's open connections to the database in
 * SQLite's own memory, and share them with one of its own without having their locks, which are a process's: others
 * would take the database for unused, and cut its shared memory from under the writer. What the two have in common is a
 * file in memory.
 */
#include "command_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/shm.h"
#include "base/sys.h"
#include "store/migrate.h"

#define POLL_MS 1
#define PROGRAM_MAX 4096
/* A command may well use the writer that is there. */
#define LOCK_MS 250

struct command_writer {
    pid_t pid; /* 0: the server's */
    void *shared;
};

/* Holds the number of that file, for who is started as a writer. */
static const char variable[] = "LARDER_WRITER";

static volatile sig_atomic_t child_stop;

static void on_signal(int number)
{
    (void)number;
    child_stop = 1;
}

static void *map_shared(int fd)
{
    void *shared = mmap(NULL, sizeof(struct writer_shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return shared == MAP_FAILED ? NULL : shared;
}

static void say_failed(struct writer_shared *shared, const char *reason)
{
    snprintf(shared->reason, sizeof shared->reason, "%s", reason);
    atomic_store(&shared->state, WRITER_FAILED);
}

static void set_variable(const char *name, const char *value)
{
    (void)!(value ? setenv(name, value, 1) : unsetenv(name));
}

/* In the child. KEPT stays open, if it is a descriptor. */
static void become_writer(const char *config_path, struct writer_shared *shared, int fd, int kept, pid_t parent)
{
    char number[16], program[PROGRAM_MAX], *const arguments[] = {program_invocation_name, NULL};
    /* By its path and not as /proc/self/exe, which is another program's under some debuggers. */
    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    program[len > 0 ? len : 0] = '\0';
    /* Without /proc, as it may be in a web server's chroot: as this process was started. */
    if (len <= 0)
        snprintf(program, sizeof program, "%s", program_invocation_name);
    /* Whoever reads what the command prints must not wait for the writer's end too. */
    sys_leave_streams();
    /* Nobody else would end a writer whose command was killed. The parent may have died before this took effect. */
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        return;
    snprintf(number, sizeof number, "%d", fd);
    set_variable(variable, number);
    set_variable("LARDER_CONFIG", config_path);
    if (fcntl(fd, F_SETFD, 0) == 0 && (kept < 0 || fcntl(kept, F_SETFD, 0) == 0))
        (void)execvp(program, arguments);
    snprintf(program + strlen(program), sizeof program - strlen(program), " cannot be started: %s", strerror(errno));
    say_failed(shared, program);
}

bool command_writer_is_asked(void)
{
    return getenv(variable);
}

int command_writer_run(const char *config_path)
{
    const int fd = (int)strtol(getenv(variable), NULL, 10);
    struct writer_shared *shared = map_shared(fd);
    struct sigaction action = {.sa_handler = on_signal};
    struct report *report = report_new();
    struct config *config;
    int code = 1;
    close(fd);
    set_variable(variable, NULL);
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    log_role("writer");
    if (shared && config_load(config_path, report, &config) == ERR_OK) {
        /* What is no error the command itself says; that a server has the lock is as good as having it. */
        log_init(STDERR_FILENO, LOG_LEVEL_ERROR, config->log.format);
        code = writer_run(config, MIGRATE_ALL, LOCK_MS, shared, &child_stop);
        config_free(&config);
    } else if (shared) {
        say_failed(shared, report_count(report) > 0 ? report_line(report, 0) : "its configuration cannot be read");
    }
    report_free(&report);
    return code;
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

/* Started, and perhaps not yet ready. FD is that of `shared`. */
static enum err start(struct command_writer *writer, const char *config_path, int kept, int fd)
{
    const pid_t self = getpid();
    if (fd < 0 || ftruncate(fd, sizeof(struct writer_shared)) != 0 || !(writer->shared = map_shared(fd)))
        return ERR_FULL;
    writer->pid = fork();
    if (writer->pid == 0) {
        become_writer(config_path, writer->shared, fd, kept, self);
        _exit(127);
    }
    return writer->pid > 0 ? ERR_OK : ERR_LIMIT;
}

/* Migrations take as long as they take; a writer that cannot start says so or dies. */
static enum writer_state await(struct command_writer *writer)
{
    const struct writer_shared *shared = writer->shared;
    enum writer_state state;
    while ((state = atomic_load(&shared->state)) == WRITER_STARTING) {
        if (waitpid(writer->pid, NULL, WNOHANG) != 0) {
            writer->pid = 0;
            return atomic_load(&shared->state);
        }
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000}, NULL);
    }
    return state;
}

enum err command_writer_start(const struct config *config, const char *config_path, int kept,
                              struct command_writer **out, struct buf *why)
{
    struct command_writer *writer = sys_calloc(1, sizeof *writer);
    const int fd = sys_open_memory(STR(""));
    enum err err = start(writer, config_path, kept, fd);
    *out = NULL;
    if (fd >= 0)
        close(fd);
    const enum writer_state state = err == ERR_OK ? await(writer) : WRITER_STARTING;
    if (state == WRITER_READY && writer->pid > 0) {
        *out = writer;
        return ERR_OK;
    }
    end_child(writer);
    if (state == WRITER_LOCKED_OUT) {
        *out = writer;
        return ERR_OK;
    }
    buf_printf(why, "the database %s cannot be written: %s", config->store.database,
               state == WRITER_FAILED ? ((struct writer_shared *)writer->shared)->reason : "the writer did not start");
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
