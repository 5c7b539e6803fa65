/*
 * log_limit: how many lines of one event the host writes in a second. For log alone.
 *
 * Counted in shared memory, for all processes together; without locks.
 */
#ifndef LARDER_LOG_LIMIT_H
#define LARDER_LOG_LIMIT_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { LOG_LIMIT_EVENTS = 256, LOG_LIMIT_NAME = 40 };

struct log_limit;

/* Before the fork. ERR_FULL. */
enum err log_limit_new(struct log_limit **out) ERR_CHECKED;
void log_limit_free(struct log_limit **limit);
/* Whether a line of EVENT may be written in the second NOW_S, of which MOST may be. *SUPPRESSED, set with true: how
 * many were not since the last one that was. */
bool log_limit_admits(struct log_limit *limit, const char *event, int64_t now_s, uint32_t most, uint32_t *suppressed);
/* The next event from *AT on that has lines which were left out before the second NOW_S and have not been told of;
 * takes their number. NULL at the end. *AT begins at 0. */
const char *log_limit_next(struct log_limit *limit, unsigned *at, int64_t now_s, uint32_t *suppressed);
/* How many lines nobody took, and nobody has told of yet. */
_Atomic uint32_t *log_limit_lost(struct log_limit *limit);

#endif
