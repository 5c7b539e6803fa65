/*
 * supervisor_inside: what the parts of the supervisor know of each other: the loop that converges (supervisor), and how one supervisor
 * follows another (supervisor_upgrade).
 */
#ifndef LARDER_SUPERVISOR_INSIDE_H
#define LARDER_SUPERVISOR_INSIDE_H

#include <sys/types.h>

#include "server/supervisor.h"
#include "server/upgrade.h"

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
    bool handing;                   /* was told to hand over */
    bool killed;
};

/* How far the change of supervisors is. */
enum supervisor_stage {
    SUPERVISOR_ALONE,
    /* Of the predecessor. */
    SUPERVISOR_STARTED,   /* the successor loads its configuration */
    SUPERVISOR_HOLDING,   /* workers finish what may change something, and hold the rest */
    SUPERVISOR_RELEASING, /* writer and housekeeper end */
    SUPERVISOR_GIVEN,     /* the successor starts its own */
    SUPERVISOR_YIELDING,  /* workers hand over */
    SUPERVISOR_YIELDED,   /* the successor starts its workers */
    /* Of the successor. */
    SUPERVISOR_LOADED,  /* waits for the predecessor's writer and housekeeper to end */
    SUPERVISOR_SETTING, /* starts its own */
    SUPERVISOR_SET,     /* waits for the predecessor's workers to hand over */
    SUPERVISOR_SERVING  /* serves, and waits to be told that it is alone */
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

/* Tells the service manager. */
void supervisor_notify(const char *state);
void supervisor_notify_reloading(void);
struct scoreboard_process *supervisor_row(const struct supervisor *supervisor, const struct child *child);
/* How many children of ROLE (NULL: of any) live: of the current generation and staying, or all. */
unsigned supervisor_count(const struct supervisor *supervisor, const struct supervisor_role *role, bool all);
/* Tells children to end, the exclusive ones or the others: all, or those of older generations. */
void supervisor_end_children(struct supervisor *supervisor, bool all, bool exclusive);

/* Which children may be started now. */
bool supervisor_upgrade_allows(const struct supervisor *supervisor, const struct supervisor_role *role);
/* Starts a successor. */
void supervisor_upgrade_begin(struct supervisor *supervisor);
/* One step, in each turn. COMPLETE: everything that may be started has been. */
void supervisor_upgrade_step(struct supervisor *supervisor, bool complete);
/* The successor has ended. */
void supervisor_upgrade_reap(struct supervisor *supervisor, int status);
/* The end has come before the change was complete. */
void supervisor_upgrade_abandon(struct supervisor *supervisor, const char *why);

#endif
