/*
 * metrics: a table of counters in shared memory, a slot per process.
 *
 * Invariant: a slot fills whole cache lines and has one process as its writer, so counting never makes two processes
 * fight for a line; only the common slot, for whoever has attached to none, may be shared. Slots only grow, and outlive
 * their process: a sum never falls.
 *
 * The base pointers here are one of the three pieces of file-scope state in larder. They are set before threads start.
 * No histograms, no rates, no locks: who reads twice can subtract.
 */
#include "base/metrics.h"

#include <stdatomic.h>

#include "base/shm.h"

#define CACHE_LINE 64

struct slot {
    _Alignas(CACHE_LINE) _Atomic uint64_t counts[METRIC_COUNT];
};

/* The common slot comes first in TABLE; without a table it is `before`. */
static struct slot before;
static struct slot *table = &before, *mine = &before;
static unsigned table_slots = 1;

enum err metrics_init(unsigned slots)
{
    unsigned count = slots + 1;
    struct slot *made;
    void *mapping;
    enum err err = shm_map(count * sizeof(*made), &mapping);

    if (err)
        return err;
    made = mapping;
    for (unsigned i = 0; i < METRIC_COUNT; i++)
        atomic_store_explicit(&made->counts[i], metrics_sum((enum metric)i), memory_order_relaxed);
    mapping = table == &before ? NULL : table;
    shm_unmap(&mapping, table_slots * sizeof(*table));
    table = mine = made;
    table_slots = count;
    return ERR_OK;
}

void metrics_attach(unsigned slot)
{
    mine = slot < table_slots - 1 ? &table[slot + 1] : table;
}

void metrics_add(enum metric metric, uint64_t amount)
{
    atomic_fetch_add_explicit(&mine->counts[metric], amount, memory_order_relaxed);
}

uint64_t metrics_sum(enum metric metric)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < table_slots; i++)
        sum += atomic_load_explicit(&table[i].counts[metric], memory_order_relaxed);
    return sum;
}

const char *metrics_name(enum metric metric)
{
#define METRICS_NAME(name, text) [METRIC_##name] = #name,
    static const char *const names[METRIC_COUNT] = {METRICS_TABLE(METRICS_NAME)};
#undef METRICS_NAME

    return (unsigned)metric < METRIC_COUNT ? names[metric] : "";
}

const char *metrics_help(enum metric metric)
{
#define METRICS_HELP(name, text) [METRIC_##name] = text,
    static const char *const texts[METRIC_COUNT] = {METRICS_TABLE(METRICS_HELP)};
#undef METRICS_HELP

    return (unsigned)metric < METRIC_COUNT ? texts[metric] : "";
}
