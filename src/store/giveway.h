/*
 * giveway: how a statement that computes for long leaves the cores to requests that need them only for a moment.
 *
 * A hit needs a core three or four times over: for nginx, a worker, sometimes Redis, nginx again. A scheduler that
 * takes a computing statement for as good as any lets each of them wait for its slice, up to milliseconds, and yielding
 * reaches no further than the statement's own group of processes where the kernel groups them. So a statement sleeps:
 * after each piece of work for as long as the requests answered meanwhile on this host are likely to have taken. Where
 * there are few, it hardly sleeps; where they would fill the cores, it keeps a sixth of one.
 *
 * It gives way for the first half of its time limit: what could be finished in time is not made late by politeness.
 */
#ifndef LARDER_GIVEWAY_H
#define LARDER_GIVEWAY_H

#include <stdbool.h>
#include <stdint.h>

/* One statement that runs. Times are monotonic. */
struct giveway {
    int64_t deadline_us, polite_until_us;
    int64_t since_us;  /* when this piece of work began */
    uint64_t requests; /* answered until then; 0: not asked yet, for most statements end before that */
    int64_t owed_us;   /* sleep that was too short to be worth it */
};

void giveway_begin(struct giveway *giveway, int64_t now_us, int64_t timeout_ms);
/* To be called every few tens of microseconds of computing. May sleep for half a millisecond. Whether time is up. */
bool giveway_step(struct giveway *giveway);
bool giveway_late(const struct giveway *giveway);

#endif
