/*
 * l2_redis_load: SCRIPT LOAD, for every script there is.
 *
 * All are loaded when one is missing, for they are forgotten together. Invariant: a script gets its hash in one of the
 * lists that are joined here, so there is none that is run and never loaded.
 *
 * Why not EVAL with the text for the one call that failed: each script would be missed once, a command would have two
 * forms, and Redis 7.4 and later drop what came by EVAL when there is much of it.
 */
#include "l2/l2_redis_load.h"

const struct l2_redis_script *l2_redis_load_script(size_t i)
{
    static const struct {
        const struct l2_redis_script *list;
        size_t count;
    } parts[] = {{l2_redis_script_list, L2_REDIS_SCRIPT_COUNT},
                 {l2_redis_boards_script_list, L2_REDIS_BOARDS_SCRIPT_COUNT},
                 {l2_redis_jobs_script_list, L2_REDIS_JOBS_SCRIPT_COUNT}};
    size_t part = 0;

    while (i >= parts[part].count)
        i -= parts[part++].count;
    return &parts[part].list[i];
}

bool l2_redis_load_is_needed(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR && str_starts((struct str){reply->str, reply->len}, STR("NOSCRIPT"));
}

void l2_redis_load_add(struct buf *out)
{
    for (size_t i = 0; i < L2_REDIS_LOAD_COUNT; i++) {
        l2_redis_wire_command(out, 3);
        l2_redis_wire_add(out, STR("SCRIPT"));
        l2_redis_wire_add(out, STR("LOAD"));
        l2_redis_wire_add(out, l2_redis_load_script(i)->text);
    }
}

bool l2_redis_load_is_done(const redisReply *reply, size_t i)
{
    return str_equal(l2_redis_wire_text(reply), l2_redis_load_script(i)->hash);
}
