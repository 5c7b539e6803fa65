/*
 * giveway: who sleeps, and for how long. Measured by tests/bench/slow-statement.
 *
 * Invariant: without requests nobody sleeps. It asks neither the scheduler nor the load of the machine: with a
 * statement on each core both always say "busy".
 */
#include "store/giveway.h"

#include <sched.h>
#include <unistd.h>

#include "base/metrics.h"
#include "base/sys.h"

enum {
    PIECE_US = 100,    /* of work between two sleeps; what a hit may have to wait for a core */
    REQUEST_US = 50,   /* what a hit takes of all processes together, nginx and its client's side included */
    SLEEP_US_MIN = 50, /* as precise as a sleep is */
    SLEEP_US_MAX = 500,
};

void giveway_begin(struct giveway *giveway, int64_t now_us, int64_t timeout_ms)
{
    *giveway = (struct giveway){
        .deadline_us = now_us + timeout_ms * 1000,
        .polite_until_us = now_us + timeout_ms * 500,
        .since_us = now_us,
    };
}

static int64_t longest(int64_t owed_us)
{
    return owed_us < SLEEP_US_MAX ? owed_us : SLEEP_US_MAX;
}

bool giveway_step(struct giveway *giveway)
{
    int64_t now_us = sys_monotonic_us();
    uint64_t requests;

    if (now_us >= giveway->polite_until_us || now_us - giveway->since_us < PIECE_US) {
        sched_yield(); /* to this process's event thread at least */
        return now_us >= giveway->deadline_us;
    }
    requests = metrics_sum(METRIC_requests);
    if (giveway->requests != 0)
        giveway->owed_us = longest(giveway->owed_us + (int64_t)(requests - giveway->requests) * REQUEST_US);
    giveway->requests = requests;
    if (giveway->owed_us >= SLEEP_US_MIN) {
        usleep((useconds_t)giveway->owed_us);
        giveway->owed_us = 0;
        now_us = sys_monotonic_us();
    }
    giveway->since_us = now_us;
    return now_us >= giveway->deadline_us;
}

bool giveway_late(const struct giveway *giveway)
{
    return sys_monotonic_us() >= giveway->deadline_us;
}
