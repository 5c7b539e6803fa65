/*
 * supervisor_upgrade: how one supervisor follows another; and what it and the loop that converges (supervisor) know of a supervisor.
 */
#ifndef LARDER_SUPERVISOR_UPGRADE_H
#define LARDER_SUPERVISOR_UPGRADE_H

#include <sys/types.h>

#include "server/supervisor.h"
#include "server/upgrade.h"

struct generation {
    struct supervisor_generation it;
    unsigned children;
    bool complete; /* everything of it was there once */
    bool unfit;    /* one of its workers could not begin, before that */
    struct generation *next; /* older */
};

struct child {
    pid_t pid; /* 0: there is none */
    const struct supervisor_role *role;
    struct generation *generation;
    int64_t started_ms, kill_at_ms; /* kill_at 0: not told to end */
    bool handing;                   /* was told to hand over */
    bool killed;
};

struct supervisor {
    const struct supervisor_ops *ops;
    struct generation *current;
    struct child children[SUPERVISOR_CHILDREN_MAX];
    struct {
        int64_t delay_ms, not_before_ms;
    } backoff[8]; /* by role */
    struct upgrade_estate estate;
    char *socket; /* as configured when it was made */
    bool ready_told, ending;
    bool failed; /* a successor that is not fit to take over */
    int64_t now_ms, watchdog_ms, watched_ms; /* how often the watchdog is told, 0: never; and when it was last */
    pid_t pid;
    enum supervisor_stage stage;
    int64_t stage_until_ms; /* 0: no limit */
    pid_t successor;
    int control; /* to the other supervisor; -1: there is none */
};

/* Which children may be started now. */
bool supervisor_upgrade_allows(const struct supervisor *supervisor, const struct supervisor_role *role);
/* Starts a successor. */
void supervisor_upgrade_begin(struct supervisor *supervisor);
/* One step, in each turn. COMPLETE: everything that may be started has been, and serves. */
void supervisor_upgrade_step(struct supervisor *supervisor, bool complete);
/* The successor has ended. */
void supervisor_upgrade_reap(struct supervisor *supervisor, int status);
/* The end has come before the change was complete. */
void supervisor_upgrade_abandon(struct supervisor *supervisor, const char *why);

#endif
