/*
 * changes: what other programs have changed, read from the counts that triggers keep (store/watch).
 *
 * A change of a table means every entry of every resource that depends on it: that is a purge of the tag which these
 * entries carry (CATALOG_RESOURCE_TAG). For each table it is remembered up to which change this host, and up to which
 * one L2, knows of it; what they knew when it began is what larder_changes says, so nothing is missed while nobody
 * looks.
 */
#ifndef LARDER_CHANGES_H
#define LARDER_CHANGES_H

#include "config/catalog.h"
#include "store/outbox.h"

struct changes;

/* CATALOG must outlive it. */
struct changes *changes_new(const struct catalog *catalog);
void changes_free(struct changes **changes);

/* Who is to be told. */
enum changes_whom { CHANGES_HERE, CHANGES_L2 };

struct changes_found {
    struct str *items; /* of cache/purge */
    size_t items_count;
    struct params_values *tables; /* of writer_client_changed: what has changed, in pieces of PARAMS_MAX */
    size_t tables_count;          /* pieces */
    bool new_schema;              /* another one than at the last look, or another file: the triggers may be gone */
    bool unwatched;               /* a table that a resource depends on is not counted */
};

/* What has changed that WHOM does not know yet, in ARENA; nothing where there is no database or no such table yet.
 * Through the connection of OUTBOX, so after outbox_read a commit that comes too late for this is one that
 * outbox_changed tells of. ERR_UNAVAILABLE (with WHY) when it cannot be read. */
enum err changes_read(struct changes *changes, struct outbox *outbox, enum changes_whom whom, struct arena *arena,
                      struct changes_found *out, struct buf *why) ERR_CHECKED;
/* Whether a purge stands in the outbox, or a change is counted that has not been purged: one statement, for whoever has
 * no time for more while there is none. Any error (with WHY): it cannot be read. */
enum err changes_waiting(struct outbox *outbox, bool *waiting, struct buf *why) ERR_CHECKED;
/* What was read last has been purged on this host, and where L2 was told, there too. */
void changes_note(struct changes *changes, bool told_l2);

#endif
