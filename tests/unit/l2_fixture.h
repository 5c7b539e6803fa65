/* Parts for the tests of L2: a configuration, a loop, a real redis-server, and reads that can be looked at. */
#ifndef LARDER_TESTS_L2_FIXTURE_H
#define LARDER_TESTS_L2_FIXTURE_H

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "base/sys.h"
#include "l2/l2.h"
#include "l2/l2_purge.h"

#define UNUSED __attribute__((unused))

enum { PATIENCE_MS = 20000 }; /* after which a wait has failed, however busy the machine */

static UNUSED void nap(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* A directory, and a redis-server in it. */

struct server {
    char dir[64], socket[96];
    pid_t pid;
};

static UNUSED bool can_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    bool connected = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    return connected;
}

/* A socket for what is no Redis. */
static UNUSED int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strcpy(address.sun_path, path);
    unlink(path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 50), 0);
    return fd;
}

/* Starts redis-server with two more words of configuration, which may be NULL. */
static UNUSED void server_start(struct server *server, const char *option, const char *value)
{
    if (server->dir[0] == '\0') {
        strcpy(server->dir, "/tmp/larder-l2-XXXXXX");
        assert_non_null(mkdtemp(server->dir));
        snprintf(server->socket, sizeof(server->socket), "%s/redis.sock", server->dir);
    }
    unlink(server->socket);
    server->pid = fork();
    if (server->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", server->socket, "--save", "", "--dir",
               server->dir, "--logfile", "/dev/null", option, value, (char *)NULL);
        _exit(127);
    }
    for (int waited = 0; !can_connect(server->socket); waited += 10) {
        assert_true(waited < PATIENCE_MS);
        assert_int_equal(waitpid(server->pid, NULL, WNOHANG), 0);
        nap(10);
    }
}

static UNUSED void server_kill(struct server *server)
{
    if (server->pid > 0) {
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
    }
    server->pid = 0;
}

static UNUSED void server_remove(struct server *server)
{
    char dump[96];

    server_kill(server);
    unlink(server->socket);
    snprintf(dump, sizeof(dump), "%s/dump.rdb", server->dir);
    unlink(dump);
    rmdir(server->dir);
}

static UNUSED void server_hang(struct server *server)
{
    int status;

    kill(server->pid, SIGSTOP);
    assert_int_equal(waitpid(server->pid, &status, WUNTRACED), server->pid);
}

/* A loop as worker's, small. */

struct test_loop {
    struct loop loop;
    int epoll;
    loop_tick_fn *tick[8];
    void *tick_context[8];
    unsigned ticks;
};

static UNUSED void loop_watch_fd(void *self, struct loop_watch *watch, unsigned events)
{
    struct test_loop *loop = self;
    struct epoll_event event = {.data.ptr = watch};

    event.events = (events & LOOP_READ ? (unsigned)EPOLLIN : 0) | (events & LOOP_WRITE ? (unsigned)EPOLLOUT : 0);
    assert_int_equal(epoll_ctl(loop->epoll,
                               !events         ? EPOLL_CTL_DEL
                               : watch->events ? EPOLL_CTL_MOD
                                               : EPOLL_CTL_ADD,
                               watch->fd, &event),
                     0);
    watch->events = events;
}

static UNUSED void loop_add_tick(void *self, loop_tick_fn *fn, void *context)
{
    struct test_loop *loop = self;

    assert_true(loop->ticks < 8);
    loop->tick[loop->ticks] = fn;
    loop->tick_context[loop->ticks++] = context;
}

static UNUSED void loop_init(struct test_loop *loop)
{
    *loop = (struct test_loop){.loop = {.self = loop, .watch = loop_watch_fd, .tick = loop_add_tick},
                               .epoll = epoll_create1(EPOLL_CLOEXEC)};
}

static UNUSED void loop_fini(struct test_loop *loop)
{
    close(loop->epoll);
}

/* What a round ends with. */
static UNUSED void loop_end_round(const struct test_loop *loop)
{
    for (unsigned i = 0; i < loop->ticks; i++)
        loop->tick[i](loop->tick_context[i], sys_monotonic_ms());
}

/* One round: one event at most, so that a watch that its callback forgot is not met again. */
static UNUSED void loop_round(struct test_loop *loop)
{
    struct epoll_event event;

    if (epoll_wait(loop->epoll, &event, 1, 5) == 1) {
        struct loop_watch *watch = event.data.ptr;
        unsigned events =
            (event.events & ~(unsigned)EPOLLOUT ? LOOP_READ : 0) | (event.events & EPOLLOUT ? LOOP_WRITE : 0);

        watch->fn(watch->context, events);
    }
    loop_end_round(loop);
}

/* A host: its configuration, what its processes share, a thread that may wait and an event thread. */

struct host {
    struct config config;
    struct l2_shared *shared;
    struct l2 *waiting;
    struct l2 *reading; /* with the loop */
    struct test_loop loop;
    bool asynchronous; /* whether look() reads on the loop */
};

static UNUSED struct config usual_config(void)
{
    static char empty[] = "", prefix[] = "l*rder[:";

    return (struct config){
        .redis = {.user = empty,
                  .password = empty,
                  .prefix = prefix,
                  .cache_version = 1,
                  .connect_timeout_ms = 5000,
                  .timeout_ms = 5000,
                  .max_entry = 1 << 20},
        .memory = {.size = 8 << 20},
        .breaker = {.failures = 5, .successes = 2, .open_ms = 100},
    };
}

/* Makes what the host shares, with the usual configuration where HOST has none. */
static UNUSED void host_configure(struct host *host, const char *url)
{
    struct buf why = {0};

    log_init(STDERR_FILENO, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    if (!host->config.redis.prefix)
        host->config = usual_config();
    host->config.redis.url = strdup(url);
    assert_int_equal(l2_shared_new(&host->config, 60000, &host->shared, &why), ERR_OK);
    buf_free(&why);
}

static UNUSED void host_open(struct host *host)
{
    loop_init(&host->loop);
    host->waiting = l2_open(&host->config, host->shared, NULL);
    host->reading = l2_open(&host->config, host->shared, &host->loop.loop);
}

static UNUSED void host_close(struct host *host)
{
    l2_close(&host->waiting);
    l2_close(&host->reading);
    l2_shared_free(&host->shared);
    loop_fini(&host->loop);
    free(host->config.redis.url);
    host->config.redis.url = NULL;
}

static UNUSED void host_connect(struct host *host, const struct server *server)
{
    char url[128];

    snprintf(url, sizeof(url), "unix://%s", server->socket);
    host_configure(host, url);
    host_open(host);
}

/* One command by another client, as an operator would: the integer that it answers, or 0. */
static UNUSED long long operate(const struct server *server, const char *format, ...)
{
    redisContext *context = redisConnectUnix(server->socket);
    va_list list;

    va_start(list, format);
    redisReply *reply = redisvCommand(context, format, list);
    va_end(list);
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", format, reply->str);
    long long number = reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
    freeReplyObject(reply);
    redisFree(context);
    return number;
}

/* Reads. */

struct seen {
    bool called;
    enum l2_result result;
    char bytes[200000];
    size_t len;
    bool soft;
};

static UNUSED void note_read(void *context, const struct l2_read *read)
{
    struct seen *seen = context;

    assert_false(seen->called);
    seen->called = true;
    seen->result = read->result;
    seen->soft = read->soft;
    seen->len = read->bytes.len;
    assert_true(read->bytes.len <= sizeof(seen->bytes));
    if (read->bytes.len > 0)
        memcpy(seen->bytes, read->bytes.p, read->bytes.len);
}

static UNUSED void run_until(struct test_loop *loop, const bool *done)
{
    int64_t end_ms = sys_monotonic_ms() + PATIENCE_MS;

    /* What is asked for outside of a round is as if it were in one. */
    loop_end_round(loop);
    while (!*done) {
        assert_true(sys_monotonic_ms() < end_ms);
        loop_round(loop);
    }
}

/* What a read of KEY by TAGS gives; the result stands in a static place until the next look. */
static UNUSED const struct seen *look_by(struct host *host, const char *key, const struct str *tags, size_t tags_count)
{
    static struct seen seen;

    seen.called = false;
    l2_read(host->asynchronous ? host->reading : host->waiting, str_from(key), tags, tags_count, note_read, &seen);
    if (host->asynchronous)
        run_until(&host->loop, &seen.called);
    assert_true(seen.called);
    return &seen;
}

static UNUSED const struct seen *look(struct host *host, const char *key, const char *tag)
{
    struct str tags[1] = {str_from(tag)};

    return look_by(host, key, tags, tag ? 1 : 0);
}

/* Leases and fills, by the thread that waits. */

static UNUSED struct l2_claim claim_by(struct host *host, const char *key, const char *tag, const char *spent)
{
    struct str tags[1] = {str_from(tag)};
    struct l2_claim claim;

    l2_claim(host->waiting, str_from(key), tags, tag ? 1 : 0, str_from(spent), 60000, &claim);
    return claim;
}

static UNUSED struct l2_lease take(struct host *host, const char *key, const char *tag)
{
    struct l2_claim claim = claim_by(host, key, tag, "");

    assert_int_equal(claim.result, L2_CLAIM_TAKEN);
    assert_true(claim.lease.token != 0);
    return claim.lease;
}

static UNUSED bool fill_under(struct host *host, const char *key, const char *tag, const char *bytes,
                              struct l2_lease lease)
{
    struct str tags[1] = {str_from(tag)};
    bool stored = false;

    assert_int_equal(l2_fill(host->waiting, str_from(key), tags, tag ? 1 : 0, str_from(bytes), 60000, &lease, &stored),
                     ERR_OK);
    return stored;
}

/* Claims and fills KEY as a request would, whatever is there. */
static UNUSED void put_by(struct host *host, const char *key, const char *tag, const char *bytes)
{
    struct l2_claim claim = claim_by(host, key, tag, "");

    if (claim.result == L2_CLAIM_FOUND) {
        char spent[L2_SPENT_MAX + 1];

        snprintf(spent, sizeof(spent), "%.*s", STR_ARG(claim.bytes));
        if (claim.bytes.len == 0) {
            assert_int_equal(l2_purge(host->waiting,
                                      &(struct l2_purge){.kind = L2_PURGE_KEYS,
                                                         .names = &(struct str){key, strlen(key)},
                                                         .names_count = 1},
                                      NULL, NULL),
                             ERR_OK);
        }
        claim = claim_by(host, key, tag, spent);
    }
    assert_int_equal(claim.result, L2_CLAIM_TAKEN);
    assert_true(fill_under(host, key, tag, bytes, claim.lease));
}

static UNUSED void put(struct host *host, const char *key, const char *bytes)
{
    put_by(host, key, NULL, bytes);
}

/* Purges. */

static UNUSED enum err purge_as(struct l2 *l2, enum l2_purge_kind kind, bool soft, const char *name, size_t *removed,
                                uint64_t *id)
{
    struct str names[1] = {str_from(name)};

    return l2_purge(l2, &(struct l2_purge){.kind = kind, .soft = soft, .names = names, .names_count = name ? 1 : 0},
                    removed, id);
}

static UNUSED void purge(struct host *host, enum l2_purge_kind kind, bool soft, const char *name)
{
    assert_int_equal(purge_as(host->waiting, kind, soft, name, NULL, NULL), ERR_OK);
}

static UNUSED void purge_tag(struct host *host, const char *tag)
{
    purge(host, L2_PURGE_TAGS, false, tag);
}

static UNUSED void purge_key(struct host *host, const char *key)
{
    purge(host, L2_PURGE_KEYS, false, key);
}

static UNUSED void purge_all(struct host *host)
{
    purge(host, L2_PURGE_ALL, false, NULL);
}

static UNUSED uint64_t purge_pattern(struct host *host, const char *pattern, bool soft)
{
    uint64_t id = 0;

    assert_int_equal(purge_as(host->waiting, L2_PURGE_PATTERN, soft, pattern, NULL, &id), ERR_OK);
    return id;
}

/* Judgements. */

static UNUSED void assert_found(struct host *host, const char *key, const char *tag, const char *bytes)
{
    const struct seen *seen = look(host, key, tag);

    assert_int_equal(seen->result, L2_FOUND);
    assert_int_equal(seen->len, strlen(bytes));
    assert_memory_equal(seen->bytes, bytes, seen->len);
}

static UNUSED void assert_absent(struct host *host, const char *key, const char *tag)
{
    assert_int_equal(look(host, key, tag)->result, L2_ABSENT);
}

static UNUSED void assert_soft(struct host *host, const char *key, const char *tag, bool soft)
{
    const struct seen *seen = look(host, key, tag);

    assert_int_equal(seen->result, L2_FOUND);
    assert_int_equal(seen->soft, soft);
}

/* Ends the distrust of HOST, as whoever drains what L2 missed. */
static UNUSED void trust(struct host *host)
{
    uint64_t epoch;

    (void)l2_distrusted(host->shared, &epoch);
    l2_trust(host->shared, epoch);
}

static UNUSED struct l2_status status_of(const struct host *host)
{
    struct l2_status status;

    l2_status(host->shared, &status);
    return status;
}

#endif
