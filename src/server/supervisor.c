/*
 * One loop that converges: each turn compares what should run (the roles of the current generation) with what does, and starts or
 * stops the difference. Crash, reload, recycling and the end are the same few rules seen from different sides:
 *
 * - a role's missing children are started, once the roles before it have settled and its back-off has passed;
 * - children of an older generation are told to end when all of the current one's are there, exclusive ones at once;
 * - a child that was told to end and does not, or that has worked on one thing past request_timeout, is killed.
 *
 * Invariant: the listening socket stays open here for as long as the supervisor lives, so no connection is refused while children change.
 */
#include "server/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef HAVE_LIBSYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "base/metrics.h"
#include "base/sys.h"
#include "server/listener.h"

#define TURN_MS 200        /* between looks when nothing happens */
#define BUSY_TURN_MS 20    /* while a role settles or children change */
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 10000
#define CALM_MS 10000      /* a child that lived this long heals its role's back-off */
#define STUCK_GRACE_MS 2000
#define KILL_GRACE_MS 2000 /* past drain_timeout */

struct generation {
    struct supervisor_generation it;
    unsigned children;
    struct generation *next; /* older */
};

struct child {
    pid_t pid; /* 0: there is none */
    const struct supervisor_role *role;
    struct generation *generation;
    int64_t started_ms, kill_at_ms; /* kill_at 0: not told to end */
    bool killed;
};

struct supervisor {
    const struct supervisor_ops *ops;
    struct generation *current;
    struct child children[SUPERVISOR_CHILDREN_MAX];
    struct {
        int64_t delay_ms, not_before_ms;
    } backoff[8]; /* by role */
    int listener;
    char *socket; /* as configured when it was made */
    bool inherited, ready_told, ending;
    int64_t now_ms;
    pid_t pid;
};

static volatile sig_atomic_t signal_end, signal_reload, signal_child, child_stop;

static void on_signal(int number)
{
    if (number == SIGHUP)
        signal_reload = 1;
    else if (number == SIGCHLD)
        signal_child = 1;
    else
        signal_end = 1;
}

static void on_child_signal(int number)
{
    (void)number;
    child_stop = 1;
}

/* No SA_RESTART: whoever waits is to notice. */
static void handle(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

static void notify(const char *state)
{
#ifdef HAVE_LIBSYSTEMD
    sd_notify(0, state);
#else
    (void)state;
#endif
}

/* The socket that whoever started us has made, or our own. */
static enum err open_listener(struct supervisor *supervisor, const struct config *config)
{
    struct buf why = {0};
#ifdef HAVE_LIBSYSTEMD
    if (sd_listen_fds(1) >= 1 && listener_inherit(SD_LISTEN_FDS_START)) {
        supervisor->listener = SD_LISTEN_FDS_START;
        supervisor->inherited = true;
        return ERR_OK;
    }
#endif
    if (listener_inherit(STDIN_FILENO)) {
        supervisor->listener = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
        supervisor->inherited = true;
        return ERR_OK;
    }
    enum err err = listener_open(config, &supervisor->listener, &why);
    if (err != ERR_OK)
        log_event(LOG_LEVEL_ERROR, "listen_failed", LOG_STR("why", buf_str(&why)));
    buf_free(&why);
    return err;
}

/* Gives up root for the configured user and group, for good. */
static enum err drop_privileges(const struct config *config)
{
    const char *name = config->server.user;
    if (geteuid() != 0 || *name == '\0')
        return ERR_OK;
    const struct passwd *user = getpwnam(name);
    const struct group *group = *config->server.group ? getgrnam(config->server.group) : NULL;
    if (!user || (*config->server.group && !group)) {
        log_event(LOG_LEVEL_ERROR, "no_such_user", LOG_TEXT("user", name), LOG_TEXT("group", config->server.group));
        return ERR_NOT_FOUND;
    }
    gid_t gid = group ? group->gr_gid : user->pw_gid;
    if (initgroups(name, gid) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(user->pw_uid, user->pw_uid, user->pw_uid) != 0) {
        log_event(LOG_LEVEL_ERROR, "cannot_change_user", LOG_TEXT("user", name), LOG_TEXT("why", strerror(errno)));
        return ERR_DENIED;
    }
    return ERR_OK;
}

static unsigned role_index(const struct supervisor *supervisor, const struct supervisor_role *role)
{
    return (unsigned)(role - supervisor->ops->roles);
}

static int live_as_child(struct supervisor *supervisor, const struct child *child, unsigned number)
{
    handle(SIGTERM, on_child_signal);
    handle(SIGINT, SIG_IGN); /* Ctrl-C reaches the whole group; the supervisor tells us */
    handle(SIGHUP, SIG_IGN);
    handle(SIGCHLD, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* An orphan drains and ends. The parent may have died before this took effect. */
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != supervisor->pid)
        return 1;
    char title[32];
    snprintf(title, sizeof title, "larder: %s", child->role->name);
    sys_title_set(title);
    log_role(child->role->name);
    metrics_attach(number);
    struct scoreboard_process *row = &supervisor->ops->scoreboard->processes[number];
    atomic_store(&row->pid, (int)getpid());
    atomic_store(&row->state, SCOREBOARD_RUNNING);
    const struct supervisor_child given = {
        .listener = supervisor->listener, .row = row, .number = number, .stop = &child_stop};
    return child->role->run(&child->generation->it, &given);
}

static void start_child(struct supervisor *supervisor, const struct supervisor_role *role)
{
    struct scoreboard *scoreboard = supervisor->ops->scoreboard;
    unsigned number = 0;
    while (number < SUPERVISOR_CHILDREN_MAX && supervisor->children[number].pid != 0)
        number++;
    if (number == SUPERVISOR_CHILDREN_MAX) {
        supervisor->backoff[role_index(supervisor, role)].not_before_ms = supervisor->now_ms + BACKOFF_MAX_MS;
        return;
    }
    struct child *child = &supervisor->children[number];
    *child = (struct child){.role = role, .generation = supervisor->current, .started_ms = supervisor->now_ms};
    scoreboard_open(&scoreboard->processes[number], role->name, supervisor->now_ms);
    child->pid = fork();
    if (child->pid == 0)
        exit(live_as_child(supervisor, child, number));
    if (child->pid < 0) {
        log_event(LOG_LEVEL_ERROR, "fork_failed", LOG_TEXT("why", strerror(errno)));
        child->pid = 0;
        supervisor->backoff[role_index(supervisor, role)].not_before_ms = supervisor->now_ms + BACKOFF_FIRST_MS;
        return;
    }
    child->generation->children++;
    atomic_fetch_add(&scoreboard->starts, 1);
    metrics_add(METRIC_worker_starts, role->exclusive ? 0 : 1);
    log_event(LOG_LEVEL_INFO, "child_started", LOG_TEXT("role", role->name), LOG_INT("pid", child->pid));
}

static void tell_to_end(struct supervisor *supervisor, struct child *child)
{
    if (child->kill_at_ms != 0)
        return;
    atomic_store(&supervisor->ops->scoreboard->processes[child - supervisor->children].state, SCOREBOARD_ENDING);
    child->kill_at_ms = supervisor->now_ms + child->generation->it.config->server.drain_timeout_ms + KILL_GRACE_MS;
    kill(child->pid, SIGTERM);
}

/* A crash slows down the next start of its role; a long life before it heals that. */
static void note_end(struct supervisor *supervisor, const struct child *child, int status)
{
    unsigned index = role_index(supervisor, child->role);
    bool crashed = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    if (child->kill_at_ms != 0 || !crashed) {
        /* Who ends without having been told has done its max_requests; the others do so once their work is done. */
        if (child->kill_at_ms == 0 && child->generation->it.config->server.max_requests > 0 && !child->role->exclusive)
            atomic_fetch_add(&supervisor->ops->scoreboard->recycled, 1);
        log_event(LOG_LEVEL_INFO, "child_ended", LOG_TEXT("role", child->role->name), LOG_INT("pid", child->pid));
        return;
    }
    atomic_fetch_add(&supervisor->ops->scoreboard->crashes, 1);
    metrics_add(METRIC_worker_crashes, 1);
    int64_t *delay_ms = &supervisor->backoff[index].delay_ms;
    *delay_ms = supervisor->now_ms - child->started_ms >= CALM_MS ? 0
                : *delay_ms == 0                                  ? BACKOFF_FIRST_MS
                                                                  : *delay_ms * 2;
    if (*delay_ms > BACKOFF_MAX_MS)
        *delay_ms = BACKOFF_MAX_MS;
    /* The first crash after calm is mended at once. */
    supervisor->backoff[index].not_before_ms = supervisor->now_ms + (*delay_ms > BACKOFF_FIRST_MS ? *delay_ms : 0);
    log_event(LOG_LEVEL_ERROR, "child_died", LOG_TEXT("role", child->role->name), LOG_INT("pid", child->pid),
              LOG_TEXT("by", WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "exit"),
              LOG_INT("code", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)), LOG_INT("next_in_ms", *delay_ms));
}

static void reap(struct supervisor *supervisor)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (unsigned i = 0; i < SUPERVISOR_CHILDREN_MAX; i++) {
            struct child *child = &supervisor->children[i];
            if (child->pid != pid)
                continue;
            if (child->role->ended)
                child->role->ended(&child->generation->it, WIFEXITED(status) && WEXITSTATUS(status) == 0);
            note_end(supervisor, child, status);
            child->generation->children--;
            scoreboard_close(supervisor->ops->scoreboard, &supervisor->ops->scoreboard->processes[i]);
            child->pid = 0;
            break;
        }
}

/* How many children of ROLE live: of the current generation and staying, or of any. */
static unsigned count_children(const struct supervisor *supervisor, const struct supervisor_role *role, bool any)
{
    unsigned count = 0;
    for (unsigned i = 0; i < SUPERVISOR_CHILDREN_MAX; i++) {
        const struct child *child = &supervisor->children[i];
        count += child->pid != 0 && child->role == role &&
                 (any || (child->generation == supervisor->current && child->kill_at_ms == 0));
    }
    return count;
}

static void end_children(struct supervisor *supervisor, bool all, bool exclusive)
{
    for (unsigned i = 0; i < SUPERVISOR_CHILDREN_MAX; i++) {
        struct child *child = &supervisor->children[i];
        if (child->pid != 0 && child->role->exclusive == exclusive && (all || child->generation != supervisor->current))
            tell_to_end(supervisor, child);
    }
}

static bool may_start(const struct supervisor *supervisor, const struct supervisor_role *role)
{
    return supervisor->now_ms >= supervisor->backoff[role_index(supervisor, role)].not_before_ms &&
           !(role->exclusive && count_children(supervisor, role, true) > 0);
}

/* Starts what is missing. True when everything of the current generation is there. */
static bool converge(struct supervisor *supervisor)
{
    end_children(supervisor, false, true);
    bool complete = true;
    for (const struct supervisor_role *role = supervisor->ops->roles; role->name; role++) {
        unsigned wanted = role->count(&supervisor->current->it);
        while (count_children(supervisor, role, false) < wanted && may_start(supervisor, role))
            start_child(supervisor, role);
        complete &= count_children(supervisor, role, false) >= wanted;
        if (role->settled && !role->settled(&supervisor->current->it))
            return false;
    }
    if (complete)
        end_children(supervisor, false, false);
    return complete;
}

/* Whether a thread of a process has been at one thing for longer than LIMIT_MS: what, in *WORK. */
static bool is_stuck(const struct scoreboard_process *row, int64_t now_ms, int64_t limit_ms,
                     struct scoreboard_work *work)
{
    if (scoreboard_look_longest(row, now_ms, work) && work->for_ms > limit_ms)
        return true;
    if (!scoreboard_look(&row->event, now_ms, work) || work->for_ms <= limit_ms)
        return false;
    work->phase = "event thread";
    return true;
}

static void kill_child(struct supervisor *supervisor, struct child *child, const struct scoreboard_work *stuck)
{
    const struct scoreboard_process *row = &supervisor->ops->scoreboard->processes[child - supervisor->children];
    if (stuck)
        log_event(LOG_LEVEL_ERROR, "child_killed", LOG_TEXT("role", child->role->name), LOG_INT("pid", child->pid),
                  LOG_TEXT("why", "stuck past request_timeout"), LOG_TEXT("doing", stuck->what),
                  LOG_TEXT("resource", stuck->resource), LOG_INT("for_ms", stuck->for_ms),
                  LOG_TEXT("phase", stuck->phase), LOG_INT("phase_ms", stuck->phase_ms),
                  LOG_INT("requests_under_way", atomic_load(&row->busy)));
    else
        log_event(LOG_LEVEL_ERROR, "child_killed", LOG_TEXT("role", child->role->name), LOG_INT("pid", child->pid),
                  LOG_TEXT("why", "did not end within drain_timeout"),
                  LOG_INT("requests_under_way", atomic_load(&row->busy)));
    atomic_fetch_add(&supervisor->ops->scoreboard->killed, 1);
    child->killed = true;
    kill(child->pid, SIGKILL);
}

static void kill_overdue(struct supervisor *supervisor)
{
    for (unsigned i = 0; i < SUPERVISOR_CHILDREN_MAX; i++) {
        struct child *child = &supervisor->children[i];
        if (child->pid == 0 || child->killed)
            continue;
        struct scoreboard_work work;
        int64_t limit_ms = child->generation->it.config->server.request_timeout_ms + STUCK_GRACE_MS;
        bool stuck = is_stuck(&supervisor->ops->scoreboard->processes[i], supervisor->now_ms, limit_ms, &work);
        bool late = child->kill_at_ms != 0 && supervisor->now_ms >= child->kill_at_ms;
        if (stuck || late)
            kill_child(supervisor, child, stuck ? &work : NULL);
    }
}

static void unload_unused(struct supervisor *supervisor)
{
    for (struct generation **at = &supervisor->current->next; *at;) {
        struct generation *old = *at;
        if (old->children > 0) {
            at = &old->next;
            continue;
        }
        *at = old->next;
        supervisor->ops->unload(supervisor->ops->context, &old->it);
        free(old);
    }
}

static void reload(struct supervisor *supervisor)
{
    struct supervisor_generation loaded;
    char state[96];
    snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)sys_monotonic_us());
    notify(state);
    if (supervisor->ops->load(supervisor->ops->context, &loaded)) {
        struct generation *generation = sys_calloc(1, sizeof *generation);
        generation->it = loaded;
        generation->next = supervisor->current;
        supervisor->current = generation;
        memset(supervisor->backoff, 0, sizeof supervisor->backoff);
        atomic_fetch_add(&supervisor->ops->scoreboard->reloads, 1);
        log_event(LOG_LEVEL_NOTICE, "reloading");
    } else {
        log_event(LOG_LEVEL_ERROR, "reload_refused", LOG_TEXT("effect", "what ran before goes on"));
    }
    supervisor->ready_told = false;
}

/* One turn of the loop; false when the end has come. */
static bool turn(struct supervisor *supervisor)
{
    supervisor->now_ms = sys_monotonic_ms();
    signal_child = 0;
    reap(supervisor);
    kill_overdue(supervisor);
    unload_unused(supervisor);
    if (signal_end && !supervisor->ending) {
        supervisor->ending = true;
        notify("STOPPING=1");
        log_event(LOG_LEVEL_NOTICE, "stopping");
    }
    if (supervisor->ending) {
        unsigned left = 0, others = 0;
        for (const struct supervisor_role *role = supervisor->ops->roles; role->name; role++)
            *(role->exclusive ? &left : &others) += count_children(supervisor, role, true);
        end_children(supervisor, true, false);
        /* The writer goes last: what workers still answer may be a write. */
        if (others == 0)
            end_children(supervisor, true, true);
        return left + others > 0;
    }
    if (signal_reload) {
        signal_reload = 0;
        reload(supervisor);
    }
    bool settled = converge(supervisor);
    if (settled && !supervisor->ready_told) {
        supervisor->ready_told = true;
        notify("READY=1");
        log_event(LOG_LEVEL_NOTICE, "ready", LOG_INT("pid", supervisor->pid));
    }
    notify("WATCHDOG=1");
    return true;
}

/* Sleeps until a signal comes or it is time for the next turn. SIGNALS are blocked but here. */
static void wait_for_signal(const struct supervisor *supervisor, const sigset_t *unblocked)
{
    if (signal_child || signal_reload || (signal_end && !supervisor->ending))
        return;
    int64_t wait_ms = supervisor->ready_told && !supervisor->ending ? TURN_MS : BUSY_TURN_MS;
    const struct timespec timeout = {.tv_nsec = wait_ms * 1000000};
    (void)pselect(0, NULL, NULL, NULL, &timeout, unblocked);
}

static enum err start(struct supervisor *supervisor, const struct supervisor_ops *ops, const struct supervisor_generation *first)
{
    supervisor->ops = ops;
    supervisor->pid = getpid();
    supervisor->listener = -1;
    supervisor->socket = sys_copy(str_from(first->config->server.socket));
    supervisor->current = sys_calloc(1, sizeof *supervisor->current);
    supervisor->current->it = *first;
    enum err err = open_listener(supervisor, first->config);
    if (err == ERR_OK)
        err = drop_privileges(first->config);
    return err;
}

int supervisor_run(const struct supervisor_ops *ops, const struct supervisor_generation *first)
{
    struct supervisor *supervisor = sys_calloc(1, sizeof *supervisor);
    sigset_t ours, before;
    sigemptyset(&ours);
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        sigaddset(&ours, numbers[i]);
        handle(numbers[i], on_signal);
    }
    enum err err = start(supervisor, ops, first);
    sigprocmask(SIG_BLOCK, &ours, &before);
    while (err == ERR_OK && turn(supervisor))
        wait_for_signal(supervisor, &before);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (supervisor->listener >= 0 && !supervisor->inherited)
        listener_unlink(supervisor->socket);
    while (supervisor->current) {
        struct generation *next = supervisor->current->next;
        ops->unload(ops->context, &supervisor->current->it);
        free(supervisor->current);
        supervisor->current = next;
    }
    free(supervisor->socket);
    free(supervisor);
    return err == ERR_OK ? 0 : 1;
}
