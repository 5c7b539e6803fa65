/*
 * l2_redis_boards: the verbs of leaderboards on Redis, for threads that may wait: each is one exchange (a pruning,
 * one more for each board that goes), with the contract of the backend's (l2_backend.h).
 */
#ifndef LARDER_L2_REDIS_BOARDS_H
#define LARDER_L2_REDIS_BOARDS_H

#include "l2/l2_redis_boards_script.h"
#include "l2/l2_redis_call.h"

struct l2_redis_boards;

/* CALL must outlive it; connects with the first verb. */
struct l2_redis_boards *l2_redis_boards_open(struct l2_redis_call *call);
void l2_redis_boards_close(struct l2_redis_boards **boards);

void l2_redis_boards_read(struct l2_redis_boards *boards, const struct l2_redis_boards_asked *asked);
enum err l2_redis_boards_push(struct l2_redis_boards *boards, uint64_t known, const struct l2_boards_change *changes,
                              size_t count, bool *whole) ERR_CHECKED;
enum err l2_redis_boards_level(struct l2_redis_boards *boards, uint64_t *level) ERR_CHECKED;
enum err l2_redis_boards_forget(struct l2_redis_boards *boards) ERR_CHECKED;
enum err l2_redis_boards_prune(struct l2_redis_boards *boards, l2_boards_keep_fn *keep, void *context) ERR_CHECKED;
enum err l2_redis_boards_follow(struct l2_redis_boards *boards, uint64_t from, const struct l2_boards_change *changes,
                                size_t count, uint64_t upto, bool *whole) ERR_CHECKED;
void l2_redis_boards_copy_drop(struct l2_redis_boards *boards);
enum err l2_redis_boards_copy_begin(struct l2_redis_boards *boards, struct str board) ERR_CHECKED;
enum err l2_redis_boards_copy(struct l2_redis_boards *boards, const struct l2_boards_change *rows,
                              size_t count) ERR_CHECKED;
enum err l2_redis_boards_replace(struct l2_redis_boards *boards, uint64_t level) ERR_CHECKED;

#endif
