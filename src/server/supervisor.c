/*
 * One loop that converges: each turn compares what should run (the roles of the current generation) with what does, and
 * starts or stops the difference. Crash, reload, recycling and the end are the same few rules seen from different
 * sides:
 *
 * - a role's missing children are started, once the roles before it have settled and its back-off has passed;
 * - children of an older generation are told to end when all of the current one's are there and serve, exclusive ones
 *   at once;
 * - where the current one turns out to be unfit before that, the last one that was complete is current again;
 * - a child that was told to end and does not, or that has worked on one thing past request_timeout, is killed.
 *
 * How another supervisor takes over is supervisor_upgrade's.
 *
 * Invariant: the listening socket stays open here for as long as the supervisor lives, so no connection is refused
 * while children change.
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
#include "server/supervisor_upgrade.h"

#define TURN_MS 200       /* between looks when nothing happens */
#define BUSY_TURN_MS 20   /* while a role settles or children change */
#define UPGRADE_TURN_MS 2 /* while another supervisor takes over: for a part of it nobody serves */
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 10000
#define CALM_MS 10000 /* a child that lived this long heals its role's back-off */
#define STUCK_GRACE_MS 2000
#define KILL_GRACE_MS 2000 /* past drain_timeout */

static volatile sig_atomic_t signal_end, signal_reload, signal_child, signal_upgrade, child_stop, child_hold;

/* SIGUSR1 is how process managers of FastCGI ask for an end that finishes what has begun: the end here too. */
static void on_signal(int number)
{
    if (number == SIGHUP)
        signal_reload = 1;
    else if (number == SIGCHLD)
        signal_child = 1;
    else if (number == SIGUSR2)
        signal_upgrade = 1;
    else
        signal_end = 1;
}

static void on_child_signal(int number)
{
    if (number == SIGTERM)
        child_stop = WORKER_DRAIN;
    else if (number == SIGUSR2 && child_stop == WORKER_GO_ON)
        child_stop = WORKER_HAND_OVER;
    else if (number != SIGUSR2)
        child_hold = number == SIGUSR1;
}

/* No SA_RESTART: whoever waits is to notice. */
static void handle(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

void supervisor_notify(const char *state)
{
#ifdef HAVE_LIBSYSTEMD
    sd_notify(0, state);
#else
    (void)state;
#endif
}

void supervisor_notify_reloading(void)
{
    char state[96];
    snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)sys_monotonic_us());
    supervisor_notify(state);
}

/* How often the service manager wants to hear of us; twice as often, to be sure. 0: never. */
static int64_t watchdog_ms(void)
{
#ifdef HAVE_LIBSYSTEMD
    uint64_t period_us;
    if (sd_watchdog_enabled(0, &period_us) > 0)
        return period_us > 2000 ? (int64_t)(period_us / 2000) : 1;
#endif
    return 0;
}

/* Only the one that the service manager takes for the main process is heard. */
static void pat_watchdog(struct supervisor *supervisor)
{
    bool main_process = supervisor->stage < SUPERVISOR_LOADED && !(supervisor->ending && supervisor->control >= 0);
    if (!main_process || supervisor->watchdog_ms == 0 ||
        supervisor->now_ms - supervisor->watched_ms < supervisor->watchdog_ms)
        return;
    supervisor->watched_ms = supervisor->now_ms;
    supervisor_notify("WATCHDOG=1");
}

/* The socket that whoever started us has made, or our own. */
static enum err open_listener(struct supervisor *supervisor, const struct config *config)
{
    struct buf why = {0};
    if (upgrade_inherit(&supervisor->estate, &supervisor->control)) {
        supervisor->stage = SUPERVISOR_LOADED;
        upgrade_say(supervisor->control, UPGRADE_LOADED);
        return ERR_OK;
    }
    if (handover_open(&supervisor->estate.handover) != ERR_OK)
        log_event(LOG_LEVEL_WARNING, "no_handover", LOG_TEXT("why", strerror(errno)));
#ifdef HAVE_LIBSYSTEMD
    if (sd_listen_fds(1) >= 1 && listener_inherit(SD_LISTEN_FDS_START)) {
        supervisor->estate.listener = SD_LISTEN_FDS_START;
        supervisor->estate.inherited = true;
        return ERR_OK;
    }
#endif
    if (listener_inherit(STDIN_FILENO)) {
        supervisor->estate.listener = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
        supervisor->estate.inherited = true;
        return ERR_OK;
    }
    enum err err = listener_open(config, &supervisor->estate.listener, &why);
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
    /* With the user's own group among them: a secret that was read as root is read as the user at a reload. */
    if (initgroups(name, user->pw_gid) != 0 || setresgid(gid, gid, gid) != 0 ||
        setresuid(user->pw_uid, user->pw_uid, user->pw_uid) != 0) {
        log_event(LOG_LEVEL_ERROR, "cannot_change_user", LOG_TEXT("user", name), LOG_TEXT("why", strerror(errno)));
        return ERR_DENIED;
    }
    return ERR_OK;
}

static unsigned role_index(const struct supervisor *supervisor, const struct supervisor_role *role)
{
    return (unsigned)(role - supervisor->ops->roles);
}

struct scoreboard_process *supervisor_row(const struct supervisor *supervisor, const struct child *child)
{
    return &supervisor->ops->scoreboard->processes[child - supervisor->children];
}

static int live_as_child(struct supervisor *supervisor, const struct child *child, unsigned number)
{
    handle(SIGTERM, on_child_signal);
    handle(SIGINT, SIG_IGN); /* Ctrl-C reaches the whole group; the supervisor tells us */
    handle(SIGHUP, on_child_signal);
    handle(SIGUSR1, on_child_signal);
    handle(SIGUSR2, on_child_signal);
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
    const struct supervisor_child given = {.listener = supervisor->estate.listener,
                                           .handover = &supervisor->estate.handover,
                                           .row = row,
                                           .number = number,
                                           .stop = &child_stop,
                                           .hold = &child_hold};
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

static int64_t end_of_drain_ms(const struct supervisor *supervisor, const struct child *child)
{
    return supervisor->now_ms + child->generation->it.config->server.drain_timeout_ms + KILL_GRACE_MS;
}

/* Where others go on, a worker hands its connections over to them. When the end has come for all, one that was told so
 * is told again. */
static void tell_to_end(struct supervisor *supervisor, struct child *child)
{
    const bool last = supervisor->ending && supervisor->control < 0;
    if (child->kill_at_ms != 0 && !(last && child->handing))
        return;
    child->handing = child->role->serves && !last;
    /* Not over the word of one that has begun to drain by itself. */
    atomic_compare_exchange_strong(&supervisor_row(supervisor, child)->state, &(int){SCOREBOARD_RUNNING},
                                   SCOREBOARD_ENDING);
    if (child->kill_at_ms == 0)
        child->kill_at_ms = end_of_drain_ms(supervisor, child);
    kill(child->pid, child->handing ? SIGUSR2 : SIGTERM);
}

/* A worker that has done its max_requests says so; it is followed by another at once. */
static void note_recycled(struct supervisor *supervisor, struct child *child)
{
    if (child->pid == 0 || child->kill_at_ms != 0 ||
        atomic_load(&supervisor_row(supervisor, child)->state) != SCOREBOARD_DRAINING)
        return;
    child->kill_at_ms = end_of_drain_ms(supervisor, child);
    child->handing = true;
    atomic_fetch_add(&supervisor->ops->scoreboard->recycled, 1);
}

/* A crash slows down the next start of its role; a long life before it heals that. */
static void note_end(struct supervisor *supervisor, const struct child *child, int status)
{
    unsigned index = role_index(supervisor, child->role);
    bool crashed = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    if (child->kill_at_ms != 0 || !crashed) {
        log_event(LOG_LEVEL_INFO, "child_ended", LOG_TEXT("role", child->role->name), LOG_INT("pid", child->pid));
        return;
    }
    atomic_fetch_add(&supervisor->ops->scoreboard->crashes, 1);
    /* One that is killed has another to follow it; one that ends by itself cannot do with what it was given. */
    child->generation->unfit |= child->role->serves && WIFEXITED(status) && !child->generation->complete;
    /* A successor whose children die leaves its place to the one that works. */
    supervisor->failed |= supervisor->stage >= SUPERVISOR_LOADED;
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
              LOG_INT("code", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)),
              LOG_INT("next_in_ms", *delay_ms));
}

static void reap(struct supervisor *supervisor)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == supervisor->successor)
            supervisor_upgrade_reap(supervisor, status);
        for (unsigned i = 0; i < SUPERVISOR_CHILDREN_MAX; i++) {
            struct child *child = &supervisor->children[i];
            if (child->pid != pid)
                continue;
            note_recycled(supervisor, child);
            if (child->role->ended)
                child->role->ended(&child->generation->it, WIFEXITED(status) && WEXITSTATUS(status) == 0);
            note_end(supervisor, child, status);
            child->generation->children--;
            scoreboard_close(supervisor->ops->scoreboard, &supervisor->ops->scoreboard->processes[i]);
            child->pid = 0;
            break;
        }
    }
}

unsigned supervisor_count(const struct supervisor *supervisor, const struct supervisor_role *role, bool all)
{
    unsigned count = 0;
    for (unsigned i = 0; i < SUPERVISOR_CHILDREN_MAX; i++) {
        const struct child *child = &supervisor->children[i];
        count += child->pid != 0 && (!role || child->role == role) &&
                 (all || (child->generation == supervisor->current && child->kill_at_ms == 0));
    }
    return count;
}

void supervisor_end_children(struct supervisor *supervisor, bool all, bool exclusive)
{
    for (unsigned i = 0; i < SUPERVISOR_CHILDREN_MAX; i++) {
        struct child *child = &supervisor->children[i];
        if (child->pid != 0 && child->role->exclusive == exclusive && (all || child->generation != supervisor->current))
            tell_to_end(supervisor, child);
    }
}

static bool may_start(const struct supervisor *supervisor, const struct supervisor_role *role)
{
    return supervisor_upgrade_allows(supervisor, role) &&
           supervisor->now_ms >= supervisor->backoff[role_index(supervisor, role)].not_before_ms &&
           !(role->exclusive && supervisor_count(supervisor, role, true) > 0);
}

/* To the last generation that was complete, whose workers serve still. False when there is none. */
static bool go_back(struct supervisor *supervisor)
{
    struct generation **at = &supervisor->current;
    if (supervisor->current->complete)
        return false;
    while (*at && !(*at)->complete)
        at = &(*at)->next;
    struct generation *back = *at;
    if (!back)
        return false;
    *at = back->next;
    back->next = supervisor->current;
    supervisor->current = back;
    memset(supervisor->backoff, 0, sizeof supervisor->backoff);
    supervisor->ops->take_up(supervisor->ops->context, &back->it);
    log_event(LOG_LEVEL_ERROR, "reload_refused", LOG_TEXT("effect", "what ran before goes on"));
    return true;
}

static bool are_serving(const struct supervisor *supervisor)
{
    for (unsigned i = 0; i < SUPERVISOR_CHILDREN_MAX; i++) {
        const struct child *child = &supervisor->children[i];
        if (child->pid != 0 && child->role->serves && child->generation == supervisor->current &&
            atomic_load(&supervisor_row(supervisor, child)->threads) == 0)
            return false;
    }
    return true;
}

/* Starts what is missing. True when everything of the current generation is there. */
static bool converge(struct supervisor *supervisor)
{
    if (supervisor->current->unfit && go_back(supervisor))
        return false;
    supervisor_end_children(supervisor, false, true);
    bool complete = true;
    for (const struct supervisor_role *role = supervisor->ops->roles; role->name; role++) {
        unsigned wanted = supervisor_upgrade_allows(supervisor, role) ? role->count(&supervisor->current->it) : 0;
        enum supervisor_progress progress =
            role->progress ? role->progress(&supervisor->current->it) : SUPERVISOR_SETTLED;
        if (progress == SUPERVISOR_UNFIT && go_back(supervisor))
            return false;
        while (supervisor_count(supervisor, role, false) < wanted && may_start(supervisor, role))
            start_child(supervisor, role);
        complete &= supervisor_count(supervisor, role, false) >= wanted;
        if (progress == SUPERVISOR_SETTLING)
            return false;
    }
    complete = complete && are_serving(supervisor);
    supervisor->current->complete |= complete;
    if (complete)
        supervisor_end_children(supervisor, false, false);
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
    supervisor_notify_reloading();
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
    pat_watchdog(supervisor);
    reap(supervisor);
    for (unsigned i = 0; i < SUPERVISOR_CHILDREN_MAX; i++)
        note_recycled(supervisor, &supervisor->children[i]);
    kill_overdue(supervisor);
    unload_unused(supervisor);
    if ((signal_end || supervisor->failed) && !supervisor->ending) {
        supervisor_upgrade_abandon(supervisor, "this process was told to end");
        supervisor->ending = true;
        supervisor_notify("STOPPING=1");
        log_event(LOG_LEVEL_NOTICE, "stopping");
    }
    if (supervisor->ending) {
        unsigned left = 0, others = 0;
        for (const struct supervisor_role *role = supervisor->ops->roles; role->name; role++)
            *(role->exclusive ? &left : &others) += supervisor_count(supervisor, role, true);
        supervisor_end_children(supervisor, true, false);
        /* The writer goes last: what workers still answer may be a write. */
        if (others == 0)
            supervisor_end_children(supervisor, true, true);
        return left + others > 0;
    }
    if (signal_reload && supervisor->stage == SUPERVISOR_ALONE) {
        signal_reload = 0;
        reload(supervisor);
    }
    if (signal_upgrade) {
        signal_upgrade = 0;
        supervisor_upgrade_begin(supervisor);
    }
    bool settled = converge(supervisor);
    supervisor_upgrade_step(supervisor, settled);
    if (settled && !supervisor->ready_told && supervisor->stage == SUPERVISOR_ALONE && !supervisor->ending) {
        supervisor->ready_told = true;
        supervisor_notify("READY=1");
        log_event(LOG_LEVEL_NOTICE, "ready", LOG_INT("pid", supervisor->pid));
    }
    return true;
}

/* Sleeps until a signal comes or it is time for the next turn. SIGNALS are blocked but here. */
static void wait_for_signal(const struct supervisor *supervisor, const sigset_t *unblocked)
{
    /* On the way out nothing else is listened to. */
    const bool heard = signal_end || signal_upgrade || (signal_reload && supervisor->stage == SUPERVISOR_ALONE);

    if (signal_child || (heard && !supervisor->ending))
        return;
    int64_t wait_ms = supervisor->ready_told && !supervisor->ending ? TURN_MS : BUSY_TURN_MS;
    if (supervisor->stage != SUPERVISOR_ALONE)
        wait_ms = UPGRADE_TURN_MS;
    if (supervisor->watchdog_ms > 0 && wait_ms > supervisor->watchdog_ms)
        wait_ms = supervisor->watchdog_ms;
    const struct timespec timeout = {.tv_nsec = wait_ms * 1000000};
    (void)pselect(0, NULL, NULL, NULL, &timeout, unblocked);
}

static enum err start(struct supervisor *supervisor, const struct supervisor_ops *ops,
                      const struct supervisor_generation *first)
{
    supervisor->ops = ops;
    supervisor->pid = getpid();
    supervisor->estate = (struct upgrade_estate){.listener = -1, .handover = {.in = -1, .out = -1}};
    supervisor->control = -1;
    supervisor->watchdog_ms = watchdog_ms();
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
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        sigaddset(&ours, numbers[i]);
        handle(numbers[i], on_signal);
    }
    /* Whoever read what is logged may be gone. */
    handle(SIGPIPE, SIG_IGN);
    enum err err = start(supervisor, ops, first);
    sigprocmask(SIG_BLOCK, &ours, &before);
    while (err == ERR_OK && turn(supervisor))
        wait_for_signal(supervisor, &before);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (supervisor->estate.listener >= 0 && !supervisor->estate.inherited && supervisor->stage == SUPERVISOR_ALONE)
        listener_unlink(supervisor->socket);
    handover_close(&supervisor->estate.handover);
    bool failed = err != ERR_OK || supervisor->failed;
    while (supervisor->current) {
        struct generation *next = supervisor->current->next;
        ops->unload(ops->context, &supervisor->current->it);
        free(supervisor->current);
        supervisor->current = next;
    }
    free(supervisor->socket);
    free(supervisor);
    return failed;
}
