/*
 * supervisor: the parent: sockets, children by roles, their death and return, reload, and the end.
 *
 * The application hands over a table of roles and how to load a generation (configuration and everything made from it).
 * The supervisor knows neither HTTP nor SQL, opens no database, and has no thread.
 */
#ifndef LARDER_SUPERVISOR_H
#define LARDER_SUPERVISOR_H

#include "config/config.h"
#include "server/worker.h"

enum { SUPERVISOR_CHILDREN_MAX = SCOREBOARD_PROCESSES_MAX };

/* What a child is given. */
struct supervisor_child {
    int listener;
    const struct handover *handover;
    struct scoreboard_process *row;
    unsigned number; /* of the row; no two that live have the same */
    /* As struct worker_options has them; for the others STOP, not 0, means: end. */
    const volatile sig_atomic_t *stop, *hold;
};

/* What runs with one state of the configuration; the application's. CONFIG points into it. */
struct supervisor_generation {
    const struct config *config;
    void *app;
};

enum supervisor_progress {
    SUPERVISOR_SETTLING,
    SUPERVISOR_SETTLED,
    SUPERVISOR_UNFIT /* what was loaded cannot work here */
};

struct supervisor_role {
    const char *name; /* shown as `larder: NAME` */
    /* At most one process of this role lives, whatever its generation. */
    bool exclusive;
    /* It has connections: it is told to hold, and to hand over, and says on its row how far it is; it has begun when
     * its row has threads. */
    bool serves;
    /* How many there are to be. */
    unsigned (*count)(const struct supervisor_generation *generation);
    /* In the child; returns its exit code. */
    int (*run)(const struct supervisor_generation *generation, const struct supervisor_child *child);
    /* NULL, or how far this role is: those after it start when it has settled. Where it is unfit, what ran before is
     * taken up again, unless there is none any more. */
    enum supervisor_progress (*progress)(const struct supervisor_generation *generation);
    /* NULL, or what is to be done in the parent as soon as one of them has ended; ORDERLY: with exit code 0. */
    void (*ended)(const struct supervisor_generation *generation, bool orderly);
};

struct supervisor_ops {
    const struct supervisor_role *roles; /* started in this order; one without a name ends the table */
    void *context;
    struct scoreboard *scoreboard;
    char **program; /* the command line, to start a successor with */
    /* Loads a generation afresh; false when something is wrong, which has been logged: what runs is kept. */
    bool (*load)(void *context, struct supervisor_generation *out);
    /* Makes an earlier one the current one again. */
    void (*take_up)(void *context, const struct supervisor_generation *generation);
    void (*unload)(void *context, struct supervisor_generation *generation);
};

/* Runs FIRST until SIGTERM or SIGINT, or until a successor that SIGUSR2 had it start has taken over; unloads it in the
 * end. Returns the exit code: 0 after an orderly end, 1 when the start failed. */
int supervisor_run(const struct supervisor_ops *ops, const struct supervisor_generation *first);

/* For supervisor_upgrade. */

struct supervisor;
struct child;

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

/* Tells the service manager. */
void supervisor_notify(const char *state);
void supervisor_notify_reloading(void);
struct scoreboard_process *supervisor_row(const struct supervisor *supervisor, const struct child *child);
/* How many children of ROLE (NULL: of any) live: of the current generation and staying, or all. */
unsigned supervisor_count(const struct supervisor *supervisor, const struct supervisor_role *role, bool all);
/* Tells children to end, the exclusive ones or the others: all, or those of older generations. */
void supervisor_end_children(struct supervisor *supervisor, bool all, bool exclusive);

#endif
