/*
 * How a supervisor is followed by another one, of a new binary, without a request lost or a write in two hands.
 *
 *     predecessor                                         successor
 *     starts it                                           loads and checks its files             -> LOADED
 *     workers finish what may change something, and hold
 *     the rest; then writer and housekeeper end   TAKE ->
 *                                                         its writer takes the lock, migrates    -> SET
 *     workers hand their connections over, and
 *     begin no request any more                   GO ->
 *                                                         its workers begin                      -> SERVING
 *     tells the service manager, drains, ends     YOURS ->
 *
 * Invariants: there is one writer, and what it has taken it finishes. No request is begun by the successor's workers before the
 * predecessor's have begun their last, and none that may change something is under way then: so nobody reads from the caches of one what
 * was changed through the other. Until YOURS is said the predecessor can go on as before, and does so when the successor is lost or slow.
 */
#include "server/supervisor_upgrade.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"

#define LOAD_MS 60000  /* for the successor to load its files */
#define SET_MS 300000  /* and to bring the database up to date */
#define YIELD_MS 2000  /* for workers to begin nothing more; who takes longer is stuck */
#define SERVE_MS 15000
#define HOLD_MORE_MS 1000 /* beyond the time that a write may take */

static bool is_successor(const struct supervisor *supervisor)
{
    return supervisor->stage >= SUPERVISOR_LOADED;
}

static void enter(struct supervisor *supervisor, enum supervisor_stage stage, int64_t limit_ms)
{
    supervisor->stage = stage;
    supervisor->stage_until_ms = limit_ms > 0 ? supervisor->now_ms + limit_ms : 0;
}

/* Sends NUMBER to every worker that has not been told to end. */
static void signal_workers(const struct supervisor *supervisor, int number)
{
    for (unsigned i = 0; i < SUPERVISOR_CHILDREN_MAX; i++) {
        const struct child *child = &supervisor->children[i];
        if (child->pid != 0 && child->kill_at_ms == 0 && child->role->serves)
            kill(child->pid, number);
    }
}

/* Whether every worker has come as far as STATE, and with no request that may change something where CHANGED is false. */
static bool have_come(const struct supervisor *supervisor, enum scoreboard_state state, bool changed)
{
    for (unsigned i = 0; i < SUPERVISOR_CHILDREN_MAX; i++) {
        const struct child *child = &supervisor->children[i];
        if (child->pid == 0 || !child->role->serves)
            continue;
        const struct scoreboard_process *row = supervisor_row(supervisor, child);
        int reached = atomic_load(&row->state);
        /* That a worker has been told to end says nothing of it. */
        if (reached == SCOREBOARD_ENDING || reached < (int)state || (!changed && atomic_load(&row->changing) > 0))
            return false;
    }
    return true;
}

static unsigned count_exclusive(const struct supervisor *supervisor)
{
    unsigned count = 0;
    for (const struct supervisor_role *role = supervisor->ops->roles; role->name; role++)
        count += role->exclusive ? supervisor_count(supervisor, role, true) : 0;
    return count;
}

static void part(struct supervisor *supervisor)
{
    if (supervisor->control >= 0)
        close(supervisor->control);
    supervisor->control = -1;
    enter(supervisor, SUPERVISOR_ALONE, 0);
    supervisor->ready_told = false;
}

void supervisor_upgrade_begin(struct supervisor *supervisor)
{
    if (supervisor->stage != SUPERVISOR_ALONE || supervisor->successor != 0) {
        log_event(LOG_LEVEL_WARNING, "upgrade_refused", LOG_TEXT("why", "one is under way"));
        return;
    }
    supervisor_notify_reloading();
    supervisor->ready_told = false;
    if (upgrade_start(supervisor->ops->program, &supervisor->estate, &supervisor->successor, &supervisor->control) != ERR_OK) {
        log_event(LOG_LEVEL_ERROR, "upgrade_failed", LOG_TEXT("why", "no process to be had"),
                  LOG_TEXT("effect", "what ran before goes on"));
        return;
    }
    log_event(LOG_LEVEL_NOTICE, "upgrade_begun", LOG_TEXT("program", supervisor->ops->program[0]),
              LOG_INT("pid", supervisor->successor));
    enter(supervisor, SUPERVISOR_STARTED, LOAD_MS);
}

void supervisor_upgrade_abandon(struct supervisor *supervisor, const char *why)
{
    if (supervisor->stage == SUPERVISOR_ALONE || is_successor(supervisor))
        return;
    log_event(LOG_LEVEL_ERROR, "upgrade_failed", LOG_TEXT("why", why), LOG_TEXT("effect", "what ran before goes on"));
    /* Its children end with it. */
    if (supervisor->successor != 0)
        kill(supervisor->successor, SIGKILL);
    part(supervisor);
    signal_workers(supervisor, SIGHUP);
}

void supervisor_upgrade_reap(struct supervisor *supervisor, int status)
{
    char why[96];
    supervisor->successor = 0;
    if (WIFSIGNALED(status))
        snprintf(why, sizeof why, "the new process died: %s", strsignal(WTERMSIG(status)));
    else
        snprintf(why, sizeof why, "the new process ended with exit code %d", WEXITSTATUS(status));
    if (!supervisor->ending)
        supervisor_upgrade_abandon(supervisor, why);
}

bool supervisor_upgrade_allows(const struct supervisor *supervisor, const struct supervisor_role *role)
{
    switch (supervisor->stage) {
    case SUPERVISOR_ALONE:
    case SUPERVISOR_STARTED:
    case SUPERVISOR_SERVING:
        return true;
    case SUPERVISOR_SETTING:
    case SUPERVISOR_SET:
        return role->exclusive;
    default:
        return false;
    }
}

/* The predecessor's end of it: the successor serves. */
static void retire(struct supervisor *supervisor)
{
    char state[64];
    snprintf(state, sizeof state, "MAINPID=%d", (int)supervisor->successor);
    supervisor_notify(state);
    upgrade_say(supervisor->control, UPGRADE_YOURS);
    log_event(LOG_LEVEL_NOTICE, "upgraded", LOG_INT("pid", supervisor->successor));
    /* The socket is the successor's to remove. */
    supervisor->estate.inherited = true;
    supervisor->ending = true;
    enter(supervisor, SUPERVISOR_ALONE, 0);
}

static void step_as_predecessor(struct supervisor *supervisor, enum upgrade_word word)
{
    const struct config *config = supervisor->current->it.config;
    const bool late = supervisor->now_ms >= supervisor->stage_until_ms;
    switch (supervisor->stage) {
    case SUPERVISOR_STARTED:
        if (word == UPGRADE_LOADED) {
            signal_workers(supervisor, SIGUSR1);
            enter(supervisor, SUPERVISOR_HOLDING, config->store.write_timeout_ms + HOLD_MORE_MS);
        } else if (late) {
            supervisor_upgrade_abandon(supervisor, "the new process did not load its files in time");
        }
        return;
    case SUPERVISOR_HOLDING:
        if (late || have_come(supervisor, SCOREBOARD_HOLDING, false)) {
            supervisor_end_children(supervisor, true, true);
            enter(supervisor, SUPERVISOR_RELEASING, 0);
        }
        return;
    case SUPERVISOR_RELEASING:
        if (count_exclusive(supervisor) == 0) {
            upgrade_say(supervisor->control, UPGRADE_TAKE);
            enter(supervisor, SUPERVISOR_GIVEN, SET_MS);
        }
        return;
    case SUPERVISOR_GIVEN:
        if (word == UPGRADE_SET) {
            supervisor_end_children(supervisor, true, false);
            enter(supervisor, SUPERVISOR_YIELDING, YIELD_MS);
        } else if (late) {
            supervisor_upgrade_abandon(supervisor, "the new process did not bring the database up to date in time");
        }
        return;
    case SUPERVISOR_YIELDING:
        if (late || have_come(supervisor, SCOREBOARD_DRAINING, true)) {
            upgrade_say(supervisor->control, UPGRADE_GO);
            enter(supervisor, SUPERVISOR_YIELDED, SERVE_MS);
        }
        return;
    case SUPERVISOR_YIELDED:
        if (word == UPGRADE_SERVING)
            retire(supervisor);
        else if (late)
            supervisor_upgrade_abandon(supervisor, "the new process did not serve in time");
        return;
    default:
        return;
    }
}

static void step_as_successor(struct supervisor *supervisor, enum upgrade_word word, bool complete)
{
    switch (supervisor->stage) {
    case SUPERVISOR_LOADED:
        if (word == UPGRADE_TAKE)
            enter(supervisor, SUPERVISOR_SETTING, 0);
        return;
    case SUPERVISOR_SETTING:
        if (complete) {
            upgrade_say(supervisor->control, UPGRADE_SET);
            enter(supervisor, SUPERVISOR_SET, 0);
        }
        return;
    case SUPERVISOR_SET:
        if (word == UPGRADE_GO)
            enter(supervisor, SUPERVISOR_SERVING, 0);
        return;
    case SUPERVISOR_SERVING:
        if (word == UPGRADE_YOURS)
            part(supervisor);
        else if (complete && supervisor->stage_until_ms == 0) {
            upgrade_say(supervisor->control, UPGRADE_SERVING);
            supervisor->stage_until_ms = INT64_MAX;
        }
        return;
    default:
        return;
    }
}

void supervisor_upgrade_step(struct supervisor *supervisor, bool complete)
{
    if (supervisor->stage == SUPERVISOR_ALONE)
        return;
    enum upgrade_word word = upgrade_hear(supervisor->control);
    if (word == UPGRADE_GONE && is_successor(supervisor)) {
        log_event(LOG_LEVEL_WARNING, "predecessor_lost", LOG_TEXT("effect", "this process goes on alone"));
        part(supervisor);
    } else if (word == UPGRADE_GONE) {
        /* Why, its exit code will say; one that has closed it without ending is not fit either. */
        if (supervisor->stage_until_ms == 0 || supervisor->stage_until_ms > supervisor->now_ms + YIELD_MS)
            supervisor->stage_until_ms = supervisor->now_ms + YIELD_MS;
        if (supervisor->now_ms >= supervisor->stage_until_ms)
            supervisor_upgrade_abandon(supervisor, "the new process does not answer");
    } else if (is_successor(supervisor)) {
        step_as_successor(supervisor, word, complete);
    } else {
        step_as_predecessor(supervisor, word);
    }
}
