/*
 * inspect: an entry is read once to learn its tags, and once more to be judged by them.
 */
#include "cache/inspect.h"

/* An inspection under way. */
struct inspection {
    struct arena *arena;
    enum l2_result result;
    struct str bytes;
    bool soft;
};

static void keep_bytes(void *context, const struct l2_read *read)
{
    struct inspection *inspection = context;

    inspection->result = read->result;
    inspection->soft = read->soft;
    if (read->result == L2_FOUND)
        inspection->bytes = arena_copy(inspection->arena, read->bytes);
}

static enum err read_entry(struct l2 *l2, struct str key, const struct entry *carried, struct inspection *inspection,
                           struct entry *out)
{
    l2_read(l2, key, carried ? carried->tags : NULL, carried ? carried->tags_count : 0, keep_bytes, inspection);
    if (inspection->result == L2_UNAVAILABLE)
        return ERR_UNAVAILABLE;
    if (inspection->result == L2_FOUND && arena_overflowed(inspection->arena))
        return ERR_LIMIT;
    return inspection->result == L2_FOUND && entry_decode(inspection->bytes, out) == ERR_OK ? ERR_OK : ERR_NOT_FOUND;
}

enum err inspect_entry(struct l2 *l2, struct str key, struct arena *arena, struct entry *out, bool *soft)
{
    struct inspection inspection = {.arena = arena};
    struct entry carried, judged;
    /* Which tags judge it stands in the entry alone: once to learn them, once to be judged by them. */
    enum err err = read_entry(l2, key, NULL, &inspection, &carried);

    if (err == ERR_OK && carried.tags_count > 0)
        err = read_entry(l2, key, &carried, &inspection, &judged);
    else if (err == ERR_OK)
        judged = carried;
    if (err == ERR_OK)
        err = entry_unpack(&judged, arena);
    if (err != ERR_OK)
        return err;
    *out = judged;
    if (soft)
        *soft = inspection.soft;
    return ERR_OK;
}
