/*
 * sys: clocks, entropy, secrets, hashes, files, process names, and allocation that dies loudly.
 *
 * Invariant: what cannot fail for the caller never returns a failure. Without memory or entropy a process cannot do
 * anything right any more; it says so in one line on stderr, allocating nothing for it, and aborts, and the supervisor
 * starts another.
 *
 * It keeps no state between calls: even the place of the process title is asked of the kernel. Comparing secrets and
 * encoding them in base64 is left to libsodium, hashing to XXH3 (inlined from xxhash.h; no library to link). Hashes
 * here are for tables and ETags, never for secrets.
 */
#include "base/sys.h"

#include <errno.h>
#include <limits.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define STAT_LIMIT 4096
#define READ_STEP 4096
#define RESOLVE_STEPS 64

static int64_t read_clock(clockid_t clock, int64_t per_second)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return (int64_t)time.tv_sec * per_second + time.tv_nsec / (1000000000 / per_second);
}

int64_t sys_now_ms(void)
{
    return read_clock(CLOCK_REALTIME, 1000);
}

int64_t sys_monotonic_ms(void)
{
    return read_clock(CLOCK_MONOTONIC, 1000);
}

int64_t sys_monotonic_us(void)
{
    return read_clock(CLOCK_MONOTONIC, 1000000);
}

static _Noreturn void die(struct str line)
{
    ssize_t written = write(STDERR_FILENO, line.p, line.len);

    (void)written;
    abort();
}

static void *require_memory(void *p)
{
    if (!p)
        die(STR("larder: out of memory; give the machine or the service's memory limit more\n"));
    return p;
}

void *sys_alloc(size_t len)
{
    return require_memory(malloc(len ? len : 1));
}

void *sys_calloc(size_t count, size_t size)
{
    return require_memory(count && size ? calloc(count, size) : calloc(1, 1));
}

void *sys_realloc(void *old, size_t len)
{
    return require_memory(realloc(old, len ? len : 1));
}

char *sys_copy(struct str text)
{
    char *copy = sys_alloc(text.len + 1);

    if (text.len > 0)
        memcpy(copy, text.p, text.len);
    copy[text.len] = '\0';
    return copy;
}

void sys_tune_malloc(char **argv)
{
#ifdef __GLIBC__
    /* By default a thread keeps 7 blocks of each size, and none over 1 KiB. A FastCGI request takes and frees about 40,
     * two of them of 8 KiB, and each of those would make malloc tidy up: a fifth of a worker's time. */
    static const char tunables[] = "glibc.malloc.tcache_count=100:glibc.malloc.tcache_max=16384";
    char program[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    if (len <= 0 || getenv("GLIBC_TUNABLES") || setenv("GLIBC_TUNABLES", tunables, 1) != 0)
        return;
    program[len] = '\0';
    (void)execv(program, argv);
#else
    (void)argv;
#endif
}

void sys_random(void *out, size_t len)
{
    char *p = out;

    while (len > 0) {
        ssize_t got = getrandom(p, len, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            die(STR("larder: the system gives no random bytes (getrandom failed)\n"));
        p += got;
        len -= (size_t)got;
    }
}

bool sys_secret_equal(struct str a, struct str b)
{
    return a.len == b.len && sodium_memcmp(a.p, b.p, a.len) == 0;
}

uint64_t sys_mac64(const unsigned char *key, struct str bytes)
{
    _Static_assert(SYS_MAC_KEY_LEN == crypto_shorthash_KEYBYTES, "the key of SipHash-2-4");
    uint64_t mac;

    _Static_assert(sizeof mac == crypto_shorthash_BYTES, "the digest of SipHash-2-4");
    (void)crypto_shorthash((unsigned char *)&mac, (const unsigned char *)bytes.p, bytes.len, key);
    return mac;
}

uint64_t sys_hash64(struct str bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes.p, bytes.len, seed);
}

void sys_digest(struct str bytes, struct buf *out)
{
    unsigned char digest[SYS_DIGEST_LEN / 2];
    char hex[SYS_DIGEST_LEN + 1];

    (void)crypto_generichash(digest, sizeof(digest), (const unsigned char *)bytes.p, bytes.len, NULL, 0);
    sodium_bin2hex(hex, sizeof(hex), digest, sizeof(digest));
    buf_add(out, hex, SYS_DIGEST_LEN);
}

void sys_base64(struct str bytes, struct buf *out)
{
    size_t len = sodium_base64_encoded_len(bytes.len, sodium_base64_VARIANT_ORIGINAL);

    buf_reserve(out, len);
    sodium_bin2base64(out->p + out->len, len, (const unsigned char *)bytes.p, bytes.len,
                      sodium_base64_VARIANT_ORIGINAL);
    out->len += len - 1;
}

/* Appends what FD gives up to its end; reads at most one byte past LIMIT, however long the file grows meanwhile. */
static enum err read_all(int fd, size_t limit, struct buf *out)
{
    size_t before = out->len;

    for (;;) {
        size_t taken = out->len - before;
        size_t step;
        ssize_t got;

        buf_reserve(out, READ_STEP);
        step = out->cap - out->len - 1;
        if (step > limit - taken)
            step = limit - taken + 1;
        got = read(fd, out->p + out->len, step);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_from_errno(errno);
        if (got == 0)
            return ERR_OK;
        if ((size_t)got > limit - taken)
            return ERR_LIMIT;
        out->len += (size_t)got;
    }
}

enum err sys_read_file(const char *path, size_t limit, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    size_t before = out->len;
    enum err err;

    if (fd < 0)
        return err_from_errno(errno);
    err = read_all(fd, limit, out);
    if (err)
        out->len = before;
    if (out->p)
        out->p[out->len] = '\0';
    close(fd);
    return err;
}

/* Appends what PATH names. False: it leads nowhere, or in a circle. */
static bool resolve(const char *path, unsigned steps, struct buf *out)
{
    char *real = realpath(path, NULL), target[PATH_MAX];
    const char *slash = strrchr(path, '/');
    struct buf next = {0};
    bool found = real;

    if (real)
        buf_add_str(out, str_from(real));
    free(real);
    if (found || steps == 0)
        return found;
    if (slash && slash > path)
        buf_add(&next, path, (size_t)(slash - path));
    else
        buf_add_str(&next, slash ? STR("/") : STR("."));
    const ssize_t len = readlink(path, target, sizeof target);
    if (len > 0) {
        if (target[0] == '/')
            buf_clear(&next);
        else
            buf_add_char(&next, '/');
        buf_add(&next, target, (size_t)len);
        found = resolve(next.p, steps - 1, out);
    } else {
        found = resolve(next.p, steps - 1, out);
        if (found && out->p[out->len - 1] != '/')
            buf_add_char(out, '/');
        buf_add_str(out, str_from(slash ? slash + 1 : path));
    }
    buf_free(&next);
    return found;
}

char *sys_resolve_path(const char *path)
{
    struct buf real = {0};
    char *resolved = sys_copy(resolve(path, RESOLVE_STEPS, &real) ? buf_str(&real) : str_from(path));

    buf_free(&real);
    return resolved;
}

int sys_open_memory(struct str bytes)
{
    int fd = memfd_create("larder input", MFD_CLOEXEC);
    size_t written = 0;

    while (fd >= 0 && written < bytes.len) {
        ssize_t some = pwrite(fd, bytes.p + written, bytes.len - written, (off_t)written);
        if (some <= 0) {
            close(fd);
            return -1;
        }
        written += (size_t)some;
    }
    return fd;
}

uint64_t sys_file_size(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 ? (uint64_t)status.st_size : 0;
}

/* Where the kernel keeps the bytes of argv and environ. proc(5): fields 48 to 51 of stat; 0 where it does not say. */
static bool find_title(char **start, size_t *len)
{
    struct buf stat = {0};
    struct str rest, field = {NULL, 0};
    int64_t place[4] = {0};
    char *name_end;
    bool found = false;

    if (sys_read_file("/proc/self/stat", STAT_LIMIT, &stat) != ERR_OK || !stat.p)
        goto out;
    name_end = strrchr(stat.p, ')');
    if (!name_end)
        goto out;
    rest = str_from(name_end + 1);
    /* What follows the name begins with field 3. */
    for (unsigned number = 3; number <= 51; number++) {
        field = str_word(&rest);
        if (number >= 48 && str_to_int64(field, &place[number - 48]) != ERR_OK)
            goto out;
    }
    /* The file name given to exec lies right behind them; where it does not (valgrind), the place is not ours. */
    found = place[0] > 0 && place[1] > place[0] && place[2] == place[1] && place[3] >= place[2] &&
            (int64_t)getauxval(AT_EXECFN) == place[3];
    if (found) {
        *start = (char *)(uintptr_t)place[0];
        *len = (size_t)(place[3] - place[0]);
    }
out:
    buf_free(&stat);
    return found;
}

void sys_hold_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != fd)
            return;
}

void sys_take_signals(const sigset_t *mask)
{
    sigset_t before;

    sigprocmask(SIG_SETMASK, mask, &before);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

void sys_leave_streams(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0)
        return;
    (void)dup2(null, STDIN_FILENO);
    (void)dup2(null, STDOUT_FILENO);
    if (null > STDOUT_FILENO)
        close(null);
}

/* Copies the COUNT strings FROM to TO, into one block of memory: whoever lets one of them go frees nothing. */
static void move_strings(char **from, size_t count, char **to)
{
    size_t len = 0;
    char *at;

    /* Nobody would hold the block. */
    if (count == 0)
        return;
    for (size_t i = 0; i < count; i++)
        len += strlen(from[i]) + 1;
    at = sys_alloc(len);
    for (size_t i = 0; i < count; i++) {
        to[i] = strcpy(at, from[i]);
        at += strlen(at) + 1;
    }
}

void sys_title_init(int argc, char **argv)
{
    size_t count = 0;
    char **moved;

    while (environ && environ[count])
        count++;
    moved = sys_calloc(count + 1, sizeof(*moved));
    move_strings(environ, count, moved);
    environ = moved;
    move_strings(argv, (size_t)argc, argv);
    if (argc > 0) {
        char *slash = strrchr(argv[0], '/');

        program_invocation_name = argv[0];
        program_invocation_short_name = slash ? slash + 1 : argv[0];
    }
}

void sys_title_set(const char *title)
{
    size_t len = strlen(title), room = 0;
    char *start = NULL;

    prctl(PR_SET_NAME, (unsigned long)(uintptr_t)title, 0UL, 0UL, 0UL);
    if (!find_title(&start, &room))
        return;
    /* Strings that still live there are somebody's: sys_title_init was not called. */
    if ((uintptr_t)program_invocation_name - (uintptr_t)start < room)
        return;
    if (len >= room)
        len = room - 1;
    memcpy(start, title, len);
    memset(start + len, 0, room - len);
}
