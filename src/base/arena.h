/*
 * arena: the bump memory of one request.
 *
 * Everything that dies with a request is taken here and never freed by itself; arena_reset gives it all back at once
 * and keeps the first chunk for the next request. It grows in chunks up to a limit; past that the overflow is latched:
 * arena_alloc gives NULL from then on, and one check of arena_overflowed at the end of a step is enough
 * (helpers that return views give empty ones).
 */
#ifndef LARDER_ARENA_H
#define LARDER_ARENA_H

#include "base/str.h"

struct arena;

/* LIMIT bytes at most in all; the first chunk of FIRST bytes is allocated at once and kept across resets. */
struct arena *arena_new(size_t first, size_t limit);
void arena_free(struct arena **arena);
/* Forgets everything taken, and the latched overflow. */
void arena_reset(struct arena *arena);
bool arena_overflowed(const struct arena *arena);
size_t arena_used(const struct arena *arena);

/* LEN bytes aligned for any type, not cleared; NULL once overflowed. */
void *arena_alloc(struct arena *arena, size_t len);
/* The same, cleared: COUNT elements of SIZE. */
void *arena_calloc(struct arena *arena, size_t count, size_t size);
/* A copy of TEXT, with a NUL behind it. */
struct str arena_copy(struct arena *arena, struct str text);
struct str arena_printf(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Moves the contents of BUF here and frees BUF. */
struct str arena_take_buf(struct arena *arena, struct buf *buf);

#endif
