/*
 * supervisor: the parent: sockets, children by roles, their death and return, reload, and the end.
 *
 * The application hands over a table of roles and how to load a generation (configuration and everything made from it). The
 * supervisor knows neither HTTP nor SQL, opens no database, and has no thread.
 */
#ifndef LARDER_SUPERVISOR_H
#define LARDER_SUPERVISOR_H

#include "config/config.h"
#include "server/worker.h"

enum { SUPERVISOR_CHILDREN_MAX = SCOREBOARD_PROCESSES_MAX };

/* What a child is given. */
struct supervisor_child {
    int listener;
    struct scoreboard_process *row;
    unsigned number; /* of the row; no two that live have the same */
    const volatile sig_atomic_t *stop; /* set by SIGTERM */
};

/* What runs with one state of the configuration; the application's. CONFIG points into it. */
struct supervisor_generation {
    const struct config *config;
    void *app;
};

struct supervisor_role {
    const char *name; /* shown as `larder: NAME` */
    /* At most one process of this role lives, whatever its generation. */
    bool exclusive;
    /* How many there are to be. */
    unsigned (*count)(const struct supervisor_generation *generation);
    /* In the child; returns its exit code. */
    int (*run)(const struct supervisor_generation *generation, const struct supervisor_child *child);
    /* NULL, or whether this role has got as far that the roles after it may start. */
    bool (*settled)(const struct supervisor_generation *generation);
    /* NULL, or what is to be done in the parent as soon as one of them has ended; ORDERLY: with exit code 0. */
    void (*ended)(const struct supervisor_generation *generation, bool orderly);
};

struct supervisor_ops {
    const struct supervisor_role *roles; /* started in this order; one without a name ends the table */
    void *context;
    struct scoreboard *scoreboard;
    /* Loads a generation afresh; false when something is wrong, which has been logged: what runs is kept. */
    bool (*load)(void *context, struct supervisor_generation *out);
    void (*unload)(void *context, struct supervisor_generation *generation);
};

/* Runs FIRST until SIGTERM or SIGINT, and unloads it in the end. Returns the exit code: 0 after an orderly end, 1 when the start failed. */
int supervisor_run(const struct supervisor_ops *ops, const struct supervisor_generation *first);

#endif
