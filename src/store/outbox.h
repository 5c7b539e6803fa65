/*
 * outbox: purges committed with the data and not yet known to be applied everywhere. Reading side; it is written by the
 * writer (writer_client.h).
 *
 * Table larder_outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, items BLOB NOT NULL), made by
 * store/schema. `items` are purge items, each u32 little-endian length and bytes. A row is removed once its purges have
 * been carried out; carrying one out twice does no harm.
 */
#ifndef LARDER_OUTBOX_H
#define LARDER_OUTBOX_H

#include "base/arena.h"

struct outbox;
struct sqlite3;

struct outbox_row {
    int64_t id;
    int64_t at_ms; /* when it was committed, since the epoch */
    struct str *items;
    size_t items_count;
};

/* DATABASE is opened by the first read, read-only, and again after trouble. */
struct outbox *outbox_open(const char *database);
void outbox_close(struct outbox **outbox);
/* Whether the database has changed since the last outbox_read, or that one was full, so that there may be rows it has
 * not given. Cheap; true where it cannot be told. */
bool outbox_changed(struct outbox *outbox);
/* The oldest rows behind AFTER_ID (0: from the first on), at most MAX, in ARENA; fewer only where there are no more.
 * *COUNT may be 0, also where there is no such table or no database yet. What is no list of items, or more than ARENA
 * holds, is given as a row without items. ERR_UNAVAILABLE (with WHY) when it cannot be read. */
enum err outbox_read(struct outbox *outbox, int64_t after_id, size_t max, struct arena *arena, struct outbox_row **rows,
                     size_t *count, struct buf *why) ERR_CHECKED;
/* How many rows there are; none where there is no such table or no database yet. Takes the longer the more there are.
 * ERR_UNAVAILABLE when it cannot be read. */
enum err outbox_count(struct outbox *outbox, uint64_t *count) ERR_CHECKED;
/* The number that L2 stands at or above as long as it has kept all purges that have left the outbox; 0 where there has
 * been none, or no such table or no database yet. ERR_UNAVAILABLE when it cannot be read. */
enum err outbox_told(struct outbox *outbox, uint64_t *number) ERR_CHECKED;
/* The connection to the file that stands at the path now, for reading more of it (store/changes): until the next
 * function of this module, and with no statement left behind. ERR_NOT_FOUND where there is no file. */
enum err outbox_connection(struct outbox *outbox, struct sqlite3 **db, struct buf *why) ERR_CHECKED;

/* How often another file was met at the path than before, or none. Every function that reads looks. */
unsigned outbox_replaced(const struct outbox *outbox);

/* The first item of *REST, which is moved behind it. False at the end, and at what is no list: then something is left
 * of *REST. Pure. */
bool outbox_next(struct str *rest, struct str *item);
/* The bytes of `items`, both ways. Pure. *ITEMS is in ARENA, its views lie in BYTES. ERR_CORRUPT: no list; ERR_LIMIT:
 * ARENA is full. */
void outbox_encode(const struct str *items, size_t count, struct buf *out);
enum err outbox_decode(struct str bytes, struct arena *arena, struct str **items, size_t *count) ERR_CHECKED;

#endif
