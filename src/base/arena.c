/*
 * arena: bump memory in chunks; the first chunk stays across resets, the others go.
 *
 * Invariant: the room of all chunks together never passes the limit, and what is handed out is aligned for any type.
 *
 * Overflow is latched: nothing is handed out after it, not even what would still fit, so that a caller who checks once
 * at the end of a step has seen it. Nothing is freed by itself. An arena belongs to one thread.
 * Under AddressSanitizer, bytes that were not handed out are poisoned.
 */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/sys.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISONING
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define POISONING
#endif
#ifdef POISONING
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, len) ((void)(start), (void)(len))
#define ASAN_UNPOISON_MEMORY_REGION(start, len) ((void)(start), (void)(len))
#endif

#define ALIGNMENT _Alignof(max_align_t)

struct chunk {
    struct chunk *older;
    size_t cap, used;
    _Alignas(max_align_t) char bytes[];
};

struct arena {
    struct chunk *current, *first;
    size_t limit, room; /* room: of all chunks together */
    size_t used;
    bool overflowed;
};

static struct chunk *make_chunk(size_t cap)
{
    struct chunk *chunk = sys_alloc(sizeof(*chunk) + cap);

    *chunk = (struct chunk){.cap = cap};
    ASAN_POISON_MEMORY_REGION(chunk->bytes, cap);
    return chunk;
}

struct arena *arena_new(size_t first, size_t limit)
{
    struct arena *arena = sys_calloc(1, sizeof(*arena));

    arena->limit = limit;
    arena->room = first < limit ? first : limit;
    arena->first = arena->current = make_chunk(arena->room);
    return arena;
}

/* All but the first, which ends the chain. */
static void drop_chunks(struct arena *arena)
{
    struct chunk *chunk = arena->current, *older;

    for (; chunk != arena->first; chunk = older) {
        older = chunk->older;
        free(chunk);
    }
    arena->current = arena->first;
}

void arena_free(struct arena **arena)
{
    if (!*arena)
        return;
    drop_chunks(*arena);
    free((*arena)->first);
    free(*arena);
    *arena = NULL;
}

void arena_reset(struct arena *arena)
{
    drop_chunks(arena);
    arena->first->used = 0;
    arena->room = arena->first->cap;
    arena->used = 0;
    arena->overflowed = false;
    ASAN_POISON_MEMORY_REGION(arena->first->bytes, arena->first->cap);
}

bool arena_overflowed(const struct arena *arena)
{
    return arena->overflowed;
}

size_t arena_used(const struct arena *arena)
{
    return arena->used;
}

/* A chunk with room for LEN; NULL, and the overflow latched, when the limit forbids it. */
static struct chunk *grow(struct arena *arena, size_t len)
{
    size_t left = arena->limit - arena->room;
    size_t cap = arena->current->cap < left / 2 ? 2 * arena->current->cap : left;
    struct chunk *chunk;

    if (len > left || len > PTRDIFF_MAX - sizeof(*chunk)) {
        arena->overflowed = true;
        return NULL;
    }
    chunk = make_chunk(len > cap ? len : cap);
    arena->room += chunk->cap;
    chunk->older = arena->current;
    arena->current = chunk;
    return chunk;
}

void *arena_alloc(struct arena *arena, size_t len)
{
    struct chunk *chunk = arena->current;
    size_t taken;
    void *p;

    if (arena->overflowed)
        return NULL;
    if (chunk->cap - chunk->used < len) {
        chunk = grow(arena, len);
        if (!chunk)
            return NULL;
    }
    taken = (len + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    if (taken > chunk->cap - chunk->used)
        taken = chunk->cap - chunk->used;
    p = chunk->bytes + chunk->used;
    chunk->used += taken;
    arena->used += taken;
    ASAN_UNPOISON_MEMORY_REGION(p, len);
    return p;
}

void *arena_calloc(struct arena *arena, size_t count, size_t size)
{
    size_t len;
    void *p;

    if (__builtin_mul_overflow(count, size, &len)) {
        arena->overflowed = true;
        return NULL;
    }
    p = arena_alloc(arena, len);
    return p ? memset(p, 0, len) : NULL;
}

struct str arena_copy(struct arena *arena, struct str text)
{
    char *p = text.len < SIZE_MAX ? arena_alloc(arena, text.len + 1) : NULL;

    if (!p)
        return (struct str){"", 0};
    if (text.len > 0)
        memcpy(p, text.p, text.len);
    p[text.len] = '\0';
    return (struct str){p, text.len};
}

struct str arena_printf(struct arena *arena, const char *format, ...)
{
    va_list arguments;
    char *p;
    int len;

    va_start(arguments, format);
    len = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    p = len >= 0 ? arena_alloc(arena, (size_t)len + 1) : NULL;
    if (!p)
        return (struct str){"", 0};
    va_start(arguments, format);
    vsnprintf(p, (size_t)len + 1, format, arguments);
    va_end(arguments);
    return (struct str){p, (size_t)len};
}

struct str arena_take_buf(struct arena *arena, struct buf *buf)
{
    struct str taken = arena_copy(arena, buf_str(buf));

    buf_free(buf);
    return taken;
}
