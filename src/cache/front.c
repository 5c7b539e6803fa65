/*
 * front: marks, and the walk through nginx's files.
 *
 * The name of a file is the MD5 of a key that nginx makes, of things that larder is not told; so files are not looked
 * for by URL but judged by the marks in their heads. Any purge starts a walk through all of them: they are few, for
 * they live for seconds, and whatever can be purged (a key, a tag, a pattern, what a write or another program changed,
 * everything) is judged in one way.
 *
 * An answer that was on its way to nginx becomes a file only after a walk has passed its place. So walks are repeated
 * for SETTLE_MS. What would take longer, a slow statement, was judged when its mark was to be made and has none.
 *
 * A worker of nginx may have a file open that has been removed, and goes on reading it. So before it is removed its
 * first bytes, in which nginx looks for the version of its format at every hit, are made those of no version: then the
 * file is a miss to whoever has it open.
 *
 * Invariant: a file is written to and removed only if its name is one of nginx's and its head has a mark. It refuses to
 * touch any other, and follows no link. nginx notices by itself that a file has gone.
 */
#include "cache/front.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/sys.h"

enum {
    PLACES_MAX = ENTRY_TAGS_MAX + 1,
    NAME_LEN = 32,  /* of a file: an MD5 */
    LEVELS_MAX = 3, /* of directories, as nginx has them */
    HEAD_MAX = 32 << 10,
    MARK_MAX = 4 << 10, /* nginx takes no head over 16 KiB, and others' fields stand in it too */
    BATCH = 100,        /* files before others have their turn */
    SETTLE_MS = 250,    /* longer than an answer is on its way from larder into a file */
    REST_MS = 5         /* between two walks; never less than the last one took */
};

struct front {
    const char *path;
    struct purged *purged;
    bool begun;
    uint64_t number;           /* of the last purge that a walk was begun for */
    int64_t until_ms;          /* walks are repeated */
    int64_t began_ms, next_ms; /* the last walk; the next one, not before */
    DIR *directories[LEVELS_MAX + 1];
    unsigned depth;          /* of them that are open; 0: no walk */
    bool complained, failed; /* it was said that something cannot be done; it could not in this walk */
    char head[HEAD_MAX];
};

struct str front_mark(struct cache *cache, struct cache_ask *ask, uint64_t stamp, struct arena *arena)
{
    struct purged *purged = cache_share(cache)->purged;
    struct buf text = {0};

    cache_find_tags(ask);
    buf_printf(&text, "%" PRIx64 ".%" PRIx64 ".%" PRIx32, purged_generation(purged), stamp, purged_key_place(ask->key));
    for (size_t i = 0; i < ask->tags_count; i++)
        buf_printf(&text, ".%" PRIx32, purged_tag_place(ask->tags[i]));
    buf_add_char(&text, ' ');
    buf_add_str(&text, ask->key);
    const bool none = text.len > MARK_MAX || front_is_old(purged, buf_str(&text));
    struct str mark = none ? STR("") : arena_copy(arena, buf_str(&text));
    buf_free(&text);
    return arena_overflowed(arena) ? STR("") : mark;
}

/* The next number of *REST, which is moved behind it. */
static bool take_number(struct str *rest, uint64_t *out)
{
    static const char digits[] = "0123456789abcdef";
    struct str text = str_cut(rest, '.');
    uint64_t number = 0;

    if (text.len == 0 || text.len > 16)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        const char *digit = memchr(digits, text.p[i], sizeof digits - 1);
        if (!digit)
            return false;
        number = number << 4 | (uint64_t)(digit - digits);
    }
    *out = number;
    return true;
}

bool front_is_old(struct purged *purged, struct str mark)
{
    struct str key = mark, numbers = str_cut(&key, ' ');
    uint64_t generation, stamp, place;
    uint32_t places[PLACES_MAX];
    size_t count = 0;

    if (!key.p || !take_number(&numbers, &generation) || generation != purged_generation(purged) ||
        !take_number(&numbers, &stamp))
        return true;
    while (numbers.p) {
        if (count == PLACES_MAX || !take_number(&numbers, &place) || place >= PURGED_PLACES)
            return true;
        places[count++] = (uint32_t)place;
    }
    uint64_t checked = stamp;
    return purged_judge(purged, stamp, &checked, key, places, count) != PURGED_NOT;
}

struct front *front_new(const char *path, struct purged *purged)
{
    struct front *front = *path ? sys_calloc(1, sizeof *front) : NULL;

    if (front) {
        front->path = path;
        front->purged = purged;
    }
    return front;
}

static void leave(struct front *front)
{
    closedir(front->directories[--front->depth]);
}

void front_free(struct front **front)
{
    if (!*front)
        return;
    while ((*front)->depth > 0)
        leave(*front);
    free(*front);
    *front = NULL;
}

/* Something could not be done: said once, until a walk has gone well. */
static void complain(struct front *front, const char *what, int error)
{
    front->failed = true;
    if (!front->complained)
        log_event(LOG_LEVEL_ERROR, "microcache_not_purged", LOG_TEXT("path", front->path), LOG_TEXT("what", what),
                  LOG_TEXT("why", strerror(error)));
    front->complained = true;
}

static void enter(struct front *front, int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (front->depth > 0 ? O_NOFOLLOW : 0));
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;

    if (directory) {
        front->directories[front->depth++] = directory;
        return;
    }
    /* nginx makes a directory when it first needs one. */
    if (errno != ENOENT)
        complain(front, "a directory cannot be read", errno);
    if (fd >= 0)
        close(fd);
}

/* The mark in a file's head; empty when it has none. */
static struct str find_mark(const char *head, size_t len)
{
    static const char name[] = "\n" FRONT_HEADER ": ";
    const char *end = memmem(head, len, "\r\n\r\n", 4);
    const char *line = end ? memmem(head, (size_t)(end - head), name, sizeof name - 1) : NULL;

    if (!line)
        return STR("");
    line += sizeof name - 1;
    const char *line_end = memchr(line, '\r', (size_t)(end - line) + 1);
    return (struct str){line, (size_t)(line_end - line)};
}

static void judge_file(struct front *front, int at, const char *name)
{
    static const char no_version[sizeof(uintptr_t)];
    int fd = openat(at, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t len = fd >= 0 ? pread(fd, front->head, sizeof front->head, 0) : -1;

    if (len < 0) {
        /* It is nginx's to remove as well. */
        if (errno != ENOENT)
            complain(front, "a file cannot be opened", errno);
    } else {
        struct str mark = find_mark(front->head, (size_t)len);

        if (mark.len > 0 && front_is_old(front->purged, mark)) {
            if (pwrite(fd, no_version, sizeof no_version, 0) != (ssize_t)sizeof no_version)
                complain(front, "a file cannot be written to", errno);
            if (unlinkat(at, name, 0) != 0 && errno != ENOENT)
                complain(front, "a file cannot be removed", errno);
        }
    }
    if (fd >= 0)
        close(fd);
}

static bool is_of_digits(const char *name, size_t len)
{
    return strspn(name, "0123456789abcdef") == len && name[len] == '\0';
}

/* One name of the directory at hand. */
static void visit(struct front *front)
{
    DIR *directory = front->directories[front->depth - 1];
    const struct dirent *entry = readdir(directory);

    if (!entry)
        leave(front);
    else if (is_of_digits(entry->d_name, NAME_LEN))
        judge_file(front, dirfd(directory), entry->d_name);
    else if (front->depth <= LEVELS_MAX && (is_of_digits(entry->d_name, 1) || is_of_digits(entry->d_name, 2)))
        enter(front, dirfd(directory), entry->d_name);
}

/* Begins a walk where one is due. */
static bool begin(struct front *front, int64_t now_ms)
{
    uint64_t number = purged_now(front->purged);

    if (now_ms < front->next_ms)
        return false;
    if (!front->begun || number != front->number) {
        front->number = number;
        front->until_ms = now_ms + SETTLE_MS;
        front->begun = true;
    } else if (now_ms >= front->until_ms) {
        return false;
    }
    front->began_ms = sys_monotonic_ms();
    front->failed = false;
    enter(front, AT_FDCWD, front->path);
    return true;
}

bool front_step(struct front *front, int64_t now_ms)
{
    if (!front || (front->depth == 0 && !begin(front, now_ms)))
        return false;
    for (unsigned i = 0; i < BATCH && front->depth > 0; i++)
        visit(front);
    if (front->depth > 0)
        return true;
    int64_t took_ms = sys_monotonic_ms() - front->began_ms;
    front->next_ms = now_ms + (took_ms > REST_MS ? took_ms : REST_MS);
    front->complained = front->complained && front->failed;
    return false;
}
