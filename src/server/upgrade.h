/*
 * upgrade: two supervisors side by side for a moment: the one that runs, and the one that takes its place.
 *
 * The successor is started with the same command line. It is handed the listening socket, the way of connections between workers, and a
 * socket over which the two agree, a byte at a time. What each byte has them do is the supervisor's (supervisor_upgrade).
 */
#ifndef LARDER_UPGRADE_H
#define LARDER_UPGRADE_H

#include <sys/types.h>

#include "server/handover.h"

enum upgrade_word {
    UPGRADE_NOTHING = 0,
    /* The successor's. */
    UPGRADE_LOADED = 'L', /* its configuration and everything it names are loaded and checked */
    UPGRADE_SET = 'S',    /* its writer and housekeeper are at work: it lacks its workers alone */
    UPGRADE_SERVING = 'V',
    /* The predecessor's. */
    UPGRADE_TAKE = 'T',    /* writer and housekeeper have ended */
    UPGRADE_GO = 'G',      /* no worker begins a request any more */
    UPGRADE_YOURS = 'Y',   /* the service is yours: the predecessor only ends */
    UPGRADE_GONE = 'X'     /* either's, never sent: the other one has gone */
};

/* What a successor is handed. */
struct upgrade_estate {
    int listener;
    struct handover handover;
    bool inherited; /* the listener was so by the first of the line: its path is not ours to remove */
};

/* Starts PROGRAM, a whole command line, and hands it ESTATE. *CONTROL is the predecessor's end. ERR_UNAVAILABLE. */
enum err upgrade_start(char *const *program, const struct upgrade_estate *estate, pid_t *pid, int *control) ERR_CHECKED;
/* Whether this process has been started so; then what it was handed, and *CONTROL, the successor's end. Once. */
bool upgrade_inherit(struct upgrade_estate *estate, int *control);
/* Does not wait. */
void upgrade_say(int control, enum upgrade_word word);
/* The next word of the other one; UPGRADE_NOTHING where it has said none. Does not wait. */
enum upgrade_word upgrade_hear(int control);

#endif
