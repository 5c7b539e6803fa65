/*
 * l2_health: what the processes of a host know together about their L2: the breaker, distrust, the highest number seen.
 *
 * It lies in shared memory, made before the fork. All functions are safe from any process and thread and take no lock
 * on the way of a request.
 */
#ifndef LARDER_L2_HEALTH_H
#define LARDER_L2_HEALTH_H

#include "config/config.h"
#include "l2/l2.h"

struct l2_health;

/* ERR_FULL when there is no memory to share. */
enum err l2_health_new(const struct config *config, struct l2_health **out) ERR_CHECKED;
void l2_health_free(struct l2_health **health);
/* Takes over the breaker's settings from CONFIG; for a reload. */
void l2_health_tune(struct l2_health *health, const struct config *config);

/* Whether L2 may be asked now; when not, that is counted. In the half-open state one asker at a time is let through, or
 * everyone who is URGENT. Whoever is let through reports l2_health_succeeded or l2_health_failed. */
bool l2_health_admit(struct l2_health *health, bool urgent);
void l2_health_succeeded(struct l2_health *health);
/* WHY is kept for the status. */
void l2_health_failed(struct l2_health *health, const char *why);
/* L2 is known from elsewhere not to answer, or to answer: opens or closes the breaker. */
void l2_health_trip(struct l2_health *health, const char *why);
void l2_health_revive(struct l2_health *health);
/* Keeps WHY without holding it against L2: it answers, but will not do something. */
void l2_health_note(struct l2_health *health, const char *why);

/* L2 may hold what has been purged: nothing in it may be used until it has been told all that it missed. WHY is for the
 * log. */
void l2_health_distrust(struct l2_health *health, const char *why);
/* The same at the start, which is no event: nothing is told unless there is another reason before the trust. */
void l2_health_begin(struct l2_health *health, const char *why);
/* Whether that is so. EPOCH says which distrust l2_health_trust would end, and changes with every new one. */
bool l2_health_distrusted(const struct l2_health *health, uint64_t *epoch);
/* Whether L2 may be asked now, and what it says believed as long as l2_health_holds of *EPOCH when the answer is there.
 */
bool l2_health_usable(struct l2_health *health, uint64_t *epoch);
bool l2_health_holds(const struct l2_health *health, uint64_t epoch);
/* L2 has been told everything that it had missed when EPOCH was read. Ends the distrust unless there was a reason for a
 * new one since. */
void l2_health_trust(struct l2_health *health, uint64_t epoch);

/* The highest number of L2's sequence that any process of this host has seen. A read that finds a lower one than was
 * known when it was sent has met an L2 that lost its memory. */
uint64_t l2_health_seen(const struct l2_health *health);
void l2_health_saw(struct l2_health *health, uint64_t seq);

/* Fills in everything of OUT but the backend and where it is. */
void l2_health_status(const struct l2_health *health, struct l2_status *out);

#endif
