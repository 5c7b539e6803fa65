/*
 * l2_boards_host: three numbers and a flag in shared memory.
 *
 * Invariant: a change that this host has made is either known to L2, which `pushed` proves, or `required` is at least
 * its number, so that no copy is believed before it has been told of it in order. `pushed` is proof only as long as L2
 * is the one that was told: after each distrust, which every restart of L2 comes with, all that was pushed before is
 * required.
 *
 * A process that dies undoes nothing here: the numbers only grow.
 */
#include "l2/l2_boards_host.h"

#include <stdatomic.h>

#include "base/shm.h"

struct l2_boards_host {
    _Atomic uint64_t required, pushed;
    _Atomic uint64_t epoch; /* of distrust, as the last reader met it */
    _Atomic bool lost;
};

enum err l2_boards_host_new(struct l2_boards_host **out)
{
    void *mapping;
    enum err err = shm_map(sizeof(struct l2_boards_host), &mapping);

    if (err)
        return err;
    *out = mapping;
    return ERR_OK;
}

void l2_boards_host_free(struct l2_boards_host **host)
{
    void *mapping = *host;

    if (!mapping)
        return;
    *host = NULL;
    shm_unmap(&mapping, sizeof(struct l2_boards_host));
}

static void raise_to(_Atomic uint64_t *number, uint64_t least)
{
    uint64_t present = *number;

    while (present < least && !atomic_compare_exchange_weak(number, &present, least))
        ;
}

struct l2_boards_terms l2_boards_host_ask(struct l2_boards_host *host, uint64_t epoch, uint64_t required)
{
    struct l2_boards_terms terms = {.epoch = epoch, .pushed = host->pushed};

    if (host->epoch != epoch) {
        raise_to(&host->required, terms.pushed);
        host->epoch = epoch;
    }
    terms.required = host->required;
    if (terms.required < required)
        terms.required = required;
    return terms;
}

uint64_t l2_boards_host_pushed(const struct l2_boards_host *host)
{
    return host->pushed;
}

void l2_boards_host_push(struct l2_boards_host *host, uint64_t number, bool told)
{
    raise_to(told ? &host->pushed : &host->required, number);
}

void l2_boards_host_lose(struct l2_boards_host *host)
{
    /* Every reader of such a board comes here. */
    if (!atomic_load_explicit(&host->lost, memory_order_relaxed))
        host->lost = true;
}

bool l2_boards_host_lost(struct l2_boards_host *host)
{
    return atomic_exchange(&host->lost, false);
}
