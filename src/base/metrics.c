/*
 * metrics: a table of counters in shared memory, a slot per process.
 *
 * Invariant: a slot fills whole cache lines and has one process as its writer, so counting never makes two processes
 * fight for a line; only the common slot, for whoever has attached to none, may be shared. Slots only grow, and outlive
 * their process: a sum never falls. A row's name is written before the row is counted as there, and stays.
 *
 * The base pointers here are one of the three pieces of file-scope state in larder. They are set before threads start.
 * No rates, no locks: who reads twice can subtract.
 */
#include "base/metrics.h"

#include <stdatomic.h>

#include "base/shm.h"

#define CACHE_LINE 64

#define METRICS_US(us, seconds) us,
static const int64_t bounds_us[METRICS_BUCKETS - 1] = {METRICS_BOUNDS(METRICS_US)};
#undef METRICS_US

struct slot {
    _Alignas(CACHE_LINE) _Atomic uint64_t counts[METRIC_COUNT];
    struct {
        _Atomic uint64_t buckets[METRICS_BUCKETS], sum_us;
    } tiers[METRICS_TIER_COUNT];
    _Atomic uint64_t outcomes[METRICS_ROWS_MAX][METRICS_OUTCOME_COUNT];
};

/* What all slots have in common; stands before them. */
struct head {
    _Alignas(CACHE_LINE) _Atomic unsigned rows, slots_used;
    char names[METRICS_ROWS_MAX][METRICS_ROW_NAME_MAX + 1];
};

/* The common slot comes first in TABLE; without a table it is `before`. */
static struct slot before;
static struct slot *table = &before, *mine = &before;
static struct head head_before = {.rows = 2, .slots_used = 1, .names = {"(larder)", "(others)"}};
static struct head *head = &head_before;
static unsigned table_slots = 1;

static size_t mapping_size(unsigned slots)
{
    return sizeof(struct head) + slots * sizeof(struct slot);
}

static void add(_Atomic uint64_t *counter, uint64_t amount)
{
    atomic_fetch_add_explicit(counter, amount, memory_order_relaxed);
}

/* The sum over all slots of the counter that is at COUNTER in the first one. */
static uint64_t sum(const _Atomic uint64_t *counter)
{
    const size_t offset = (size_t)((const char *)counter - (const char *)table);
    const unsigned used = atomic_load_explicit(&head->slots_used, memory_order_relaxed);
    uint64_t total = 0;

    for (unsigned i = 0; i < used; i++)
        total +=
            atomic_load_explicit((const _Atomic uint64_t *)((const char *)&table[i] + offset), memory_order_relaxed);
    return total;
}

/* Puts what was counted so far into SLOT, of a new table. */
static void carry_over(struct slot *slot)
{
    for (unsigned i = 0; i < METRIC_COUNT; i++)
        slot->counts[i] = sum(&table->counts[i]);
    for (unsigned tier = 0; tier < METRICS_TIER_COUNT; tier++) {
        for (unsigned i = 0; i < METRICS_BUCKETS; i++)
            slot->tiers[tier].buckets[i] = sum(&table->tiers[tier].buckets[i]);
        slot->tiers[tier].sum_us = sum(&table->tiers[tier].sum_us);
    }
    for (unsigned row = 0; row < head->rows; row++)
        for (unsigned i = 0; i < METRICS_OUTCOME_COUNT; i++)
            slot->outcomes[row][i] = sum(&table->outcomes[row][i]);
}

enum err metrics_init(unsigned slots)
{
    unsigned count = slots + 1;
    void *mapping;
    enum err err = shm_map(mapping_size(count), &mapping);

    if (err)
        return err;
    struct head *made = mapping;
    struct slot *made_slots = (struct slot *)(void *)(made + 1);
    carry_over(made_slots);
    made->rows = head->rows;
    made->slots_used = 1;
    memcpy(made->names, head->names, sizeof made->names);
    mapping = head == &head_before ? NULL : head;
    shm_unmap(&mapping, mapping_size(table_slots));
    head = made;
    table = mine = made_slots;
    table_slots = count;
    return ERR_OK;
}

void metrics_attach(unsigned slot)
{
    unsigned place = slot < table_slots - 1 ? slot + 1 : 0, used = atomic_load(&head->slots_used);

    while (used < place + 1 && !atomic_compare_exchange_weak(&head->slots_used, &used, place + 1))
        ;
    mine = &table[place];
}

void metrics_add(enum metric metric, uint64_t amount)
{
    add(&mine->counts[metric], amount);
}

uint64_t metrics_sum(enum metric metric)
{
    return sum(&table->counts[metric]);
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

unsigned metrics_row(struct str name)
{
    const unsigned count = head->rows;

    for (unsigned row = METRICS_ROW_OTHERS + 1; row < count; row++)
        if (str_equal(str_from(head->names[row]), name))
            return row;
    if (count == METRICS_ROWS_MAX || name.len == 0 || name.len > METRICS_ROW_NAME_MAX)
        return METRICS_ROW_OTHERS;
    memcpy(head->names[count], name.p, name.len);
    atomic_store(&head->rows, count + 1);
    return count;
}

void metrics_answered(unsigned row, enum metrics_outcome outcome, enum metrics_tier tier, int64_t took_us)
{
    unsigned bucket = 0;

    while (bucket < METRICS_BUCKETS - 1 && took_us > bounds_us[bucket])
        bucket++;
    add(&mine->outcomes[row][outcome], 1);
    add(&mine->tiers[tier].buckets[bucket], 1);
    add(&mine->tiers[tier].sum_us, took_us > 0 ? (uint64_t)took_us : 0);
}

unsigned metrics_rows(void)
{
    return atomic_load(&head->rows);
}

const char *metrics_row_name(unsigned row)
{
    return row < metrics_rows() ? head->names[row] : "";
}

void metrics_row_sum(unsigned row, uint64_t out[METRICS_OUTCOME_COUNT])
{
    for (unsigned i = 0; i < METRICS_OUTCOME_COUNT; i++)
        out[i] = sum(&table->outcomes[row][i]);
}

uint64_t metrics_outcome_sum(enum metrics_outcome outcome)
{
    const unsigned rows = metrics_rows();
    uint64_t total = 0;

    for (unsigned row = 0; row < rows; row++)
        total += sum(&table->outcomes[row][outcome]);
    return total;
}

void metrics_tier_sum(enum metrics_tier tier, struct metrics_histogram *out)
{
    for (unsigned i = 0; i < METRICS_BUCKETS; i++)
        out->buckets[i] = sum(&table->tiers[tier].buckets[i]);
    out->sum_us = sum(&table->tiers[tier].sum_us);
}

uint64_t metrics_tier_count(const struct metrics_histogram *histogram)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < METRICS_BUCKETS; i++)
        count += histogram->buckets[i];
    return count;
}

const char *metrics_outcome_name(enum metrics_outcome outcome)
{
#define METRICS_NAME(name, text) #name,
    static const char *const names[] = {METRICS_OUTCOMES(METRICS_NAME)};
#undef METRICS_NAME

    return names[outcome];
}

const char *metrics_tier_name(enum metrics_tier tier)
{
#define METRICS_NAME(name, text) #name,
    static const char *const names[] = {METRICS_TIERS(METRICS_NAME)};
#undef METRICS_NAME

    return names[tier];
}

int64_t metrics_quantile(const struct metrics_histogram *histogram, double fraction)
{
    const uint64_t count = metrics_tier_count(histogram);
    uint64_t below = 0;

    const double rank = fraction * (double)count;
    for (unsigned i = 0; i < METRICS_BUCKETS - 1; i++) {
        const int64_t from_us = i == 0 ? 0 : bounds_us[i - 1];
        const uint64_t in_bucket = histogram->buckets[i];

        if (in_bucket > 0 && (double)(below + in_bucket) >= rank)
            return from_us + (int64_t)((double)(bounds_us[i] - from_us) * (rank - (double)below) / (double)in_bucket);
        below += in_bucket;
    }
    return count > 0 ? bounds_us[METRICS_BUCKETS - 2] : 0;
}
