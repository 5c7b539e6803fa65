/*
 * sys: what larder asks of the system: clocks, entropy, secrets, hashes, files, and allocation that dies loudly.
 *
 * Clocks are read here and nowhere else; whoever decides by time is handed `now`.
 */
#ifndef LARDER_SYS_H
#define LARDER_SYS_H

#include <signal.h>

#include "base/str.h"

/* Milliseconds since the epoch (CLOCK_REALTIME), for what is stored and shown. */
int64_t sys_now_ms(void);
/* Milliseconds and microseconds of CLOCK_MONOTONIC, for deadlines and durations. */
int64_t sys_monotonic_ms(void);
int64_t sys_monotonic_us(void);

/* malloc and friends; out of memory they write one line to stderr and abort. LEN 0 gives a pointer to free. */
void *sys_alloc(size_t len);
void *sys_calloc(size_t count, size_t size);
void *sys_realloc(void *old, size_t len);
char *sys_copy(struct str text); /* terminated copy */

/* Lets malloc keep more freed blocks at hand in each thread, which can be asked for only as a program starts: starts it
 * again, in place, with the same ARGV. Returns when that was done before, was done by the user, or cannot be. */
void sys_tune_malloc(char **argv);

void sys_random(void *out, size_t len);
/* Constant time in the contents; the lengths may be learnt. */
bool sys_secret_equal(struct str a, struct str b);
/* A keyed hash that nobody can make without KEY (SipHash-2-4). */
enum { SYS_MAC_KEY_LEN = 16 };
uint64_t sys_mac64(const unsigned char *key, struct str bytes);
/* XXH3: for places in tables. Equal hashes of different bytes are easily made where SEED is known. */
uint64_t sys_hash64(struct str bytes, uint64_t seed);
/* Appends BLAKE2b's digest of 128 bits as SYS_DIGEST_LEN lower-case hexadecimal digits: it stands for BYTES, also where
 * somebody would like other ones to have the same. */
enum { SYS_DIGEST_LEN = 32 };
void sys_digest(struct str bytes, struct buf *out);
void sys_base64(struct str bytes, struct buf *out);

/* Appends the whole file. ERR_LIMIT over LIMIT bytes, ERR_NOT_FOUND, ERR_DENIED, ERR_IO. */
enum err sys_read_file(const char *path, size_t limit, struct buf *out) ERR_CHECKED;

/* The absolute path that PATH names in the end, without links in it; what is missing of it is taken for what is going
 * to be made there, also where a link leads. PATH itself where that cannot be told. The caller frees it. */
char *sys_resolve_path(const char *path);

/* BYTES as a file in memory, read from its start; the caller closes it. -1 when there is no memory for it. */
int sys_open_memory(struct str bytes);

/* How long the file is; 0 when there is none. */
uint64_t sys_file_size(const char *path);

/* Lets pending signals be handled that MASK does not block. ppoll and epoll_pwait do not when they find something ready
 * at once, so a loop with more to do each time would never hear of them. */
void sys_take_signals(const sigset_t *mask);

/* Standard input and output become /dev/null: nobody has to wait for the end of this process to be sure that no more
 * comes. */
void sys_leave_streams(void);

/* Those of the standard streams that are closed become /dev/null, to be read only: else what is opened next would stand
 * in their place, and get what is written to stderr. Writing to one fails, so results that nobody gets are noticed. */
void sys_hold_streams(void);

/* Name shown by ps for this process: PR_SET_NAME, and over the bytes of argv and environ once sys_title_init has moved
 * these away. sys_title_init comes first in main: pointers to the old strings, taken earlier, would change under their
 * holder; argv and environ themselves stay usable. */
void sys_title_init(int argc, char **argv);
void sys_title_set(const char *title);

#endif
