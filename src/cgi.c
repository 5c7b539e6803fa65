/*
 * cgi: one request out of the environment, the whole application for the time that it takes, one answer.
 *
 * What a serving larder keeps in shared memory is absent: L1, the host's leases, what is known of L2's health. Of the
 * caches only L2 is left, and `memory:` is none. Nobody follows the purge log, and nobody need: each read of L2 brings
 * what judges it. What a housekeeper would have done is made good before L2 is read (housekeeper_catch_up).
 *
 * A write goes to the writer of a larder that serves, where there is one; else this process starts one for as long as
 * it lives, one such process at a time.
 *
 * Invariant: nothing is prepared, connected or started that this one request does not need: most of what it costs is
 * the start of a process. The command line is never looked at: a web server may put a query into it (section 4.4).
 */
#include "cgi.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "api/app.h"
#include "api/housekeeper.h"
#include "base/sys.h"
#include "command_writer.h"
#include "l2/l2_job.h"
#include "store/writer_socket.h"

enum { ARENA_FIRST = 64 << 10, ARENA_MAX = 64 << 20, READ_STEP = 64 << 10, POLL_US = 500, JOB_BATCH = 1000 };

extern char **environ;

struct cgi {
    struct http http;
    const char *config_path; /* may be NULL */
    struct config *config;
    struct catalog *catalog;
    struct app_shared shared;
    struct app *app;
    struct app_thread *thread;
    struct loop loop;              /* that takes one job, for when the request has been answered */
    struct loop_job *job;          /* NULL: none */
    struct command_writer *writer; /* NULL: nobody has asked for one, or a server's is there */
    int turn;                      /* -1: not taken */
};

bool cgi_is_asked(void)
{
    return getenv("GATEWAY_INTERFACE") && getenv("REQUEST_METHOD");
}

static void take_environment(struct http *http)
{
    for (char **variable = environ; *variable; variable++) {
        struct str value = str_from(*variable), name = str_cut(&value, '=');

        if (value.p)
            http_set_variable(http, name, value);
    }
}

/* Reads as read does, through signals. */
static ssize_t read_some(char *out, size_t len)
{
    ssize_t count;

    do
        count = read(STDIN_FILENO, out, len);
    while (count < 0 && errno == EINTR);
    return count;
}

/* Reads WANTED bytes into OUT, or as many as there are. */
static void read_input(size_t wanted, struct buf *out)
{
    ssize_t count = 1;

    while (out->len < wanted && count > 0) {
        size_t step = wanted - out->len < READ_STEP ? wanted - out->len : READ_STEP;

        buf_reserve(out, step);
        count = read_some(out->p + out->len, step);
        out->len += count > 0 ? (size_t)count : 0;
    }
}

/* Whether the body came in chunks, which the web server has taken apart: it is all there is to read. */
static bool is_chunked(const struct http *http)
{
    return http->in.content_length.len == 0 && getenv("HTTP_TRANSFER_ENCODING");
}

/* False with the request answered. */
static bool read_body(struct http *http, size_t limit)
{
    struct buf body = {0};

    if (http->body_len <= limit)
        read_input(is_chunked(http) ? limit + 1 : http->body_len, &body);
    if (is_chunked(http))
        http->body_len = body.len;
    bool fits = http->body_len <= limit, whole = body.len == http->body_len;
    http->body = arena_take_buf(http->arena, &body);
    if (!fits)
        app_problem(http, 413, "The request body is larger than max_body in [server] allows.");
    else if (!whole)
        app_problem(http, 400, "The request body is not as long as Content-Length says.");
    return fits && whole;
}

/* Whoever still has a body to give may not get to reading the answer (Apache gives a socket for both). */
static void discard_input(const struct http *http)
{
    char bytes[16 << 10];
    int64_t announced = 0;
    enum err err = str_to_int64(http->in.content_length, &announced);
    bool more = err == ERR_OK && announced > (int64_t)http->body.len;
    size_t left = is_chunked(http) ? SIZE_MAX : more ? (size_t)announced - http->body.len : 0;

    while (left > 0) {
        ssize_t count = read_some(bytes, left < sizeof bytes ? left : sizeof bytes);
        if (count <= 0)
            break;
        left -= (size_t)count;
    }
}

static bool read_request(struct cgi *cgi)
{
    struct http *http = &cgi->http;
    const char *why = NULL;

    if (!http->in.mount.p)
        http->in.mount = str_from(cgi->config->server.mount);
    if (http_finish_request(http, &why) == ERR_OK)
        return read_body(http, cgi->config->server.max_body);
    app_problem(http, 400, "%s", why);
    return false;
}

/* For writer_client_bring. */
static enum err bring_writer(void *context, struct buf *why)
{
    struct cgi *cgi = context;
    const char *database = cgi->config->store.database;
    int fd;

    if (cgi->writer)
        return ERR_OK;
    enum err err = writer_socket_take_turn(database, cgi->config->store.write_timeout_ms, &cgi->turn, why);
    if (err != ERR_OK)
        return err == ERR_BUSY ? ERR_BUSY : ERR_UNAVAILABLE;
    err = writer_socket_connect(database, &fd, why);
    if (err == ERR_OK)
        close(fd);
    else if (err == ERR_AGAIN)
        err = command_writer_start(cgi->config, cgi->config_path, cgi->turn, &cgi->writer, why);
    if (cgi->writer && command_writer_is_servers(cgi->writer))
        command_writer_stop(&cgi->writer);
    if (!cgi->writer) {
        close(cgi->turn);
        cgi->turn = -1;
    }
    return err == ERR_OK ? ERR_OK : ERR_UNAVAILABLE;
}

static enum err load(struct cgi *cgi, struct report *report)
{
    struct buf why = {0};
    enum err err = config_load(cgi->config_path, report, &cgi->config);

    if (err == ERR_OK)
        err = catalog_load(cgi->config->store.sql, report, &cgi->catalog);
    if (err != ERR_OK)
        return err;
    cgi->config->l1.size = 0;
    err = cache_shared_new(cgi->config, catalog_longest_life_ms(cgi->catalog), &cgi->shared.cache, &why);
    if (err != ERR_OK)
        report_add(report, cgi->config_path, 0, 0, "%s", why.p ? why.p : err_text(err));
    buf_free(&why);
    if (err == ERR_OK)
        err = app_new(cgi->config, cgi->catalog, &cgi->shared, report, &cgi->app);
    return err;
}

/* Everything that answering takes. False with the request answered. */
static bool prepare(struct cgi *cgi)
{
    struct report *report = report_new();
    enum err err;

    cgi->shared.started_ms = cgi->http.now_ms;
    cgi->shared.writer = sys_calloc(1, sizeof *cgi->shared.writer);
    cgi->shared.housekeeper = sys_calloc(1, sizeof *cgi->shared.housekeeper);
    atomic_store(&cgi->shared.writer->state, WRITER_READY);
    /* That there is no shared cache in this process's own memory is no event. */
    log_init(STDERR_FILENO, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    err = load(cgi, report);
    if (err == ERR_OK && !l2_shared_has_log(cgi->shared.cache->l2))
        l2_distrust(cgi->shared.cache->l2);
    if (err == ERR_OK)
        log_init(STDERR_FILENO, cgi->config->log.level, cgi->config->log.format);
    else
        log_report(LOG_LEVEL_ERROR, "wrong_file", report);
    report_free(&report);
    if (err != ERR_OK)
        app_problem(&cgi->http, 500, "Something is wrong with larder's files. The web server's error log says what.");
    return err == ERR_OK;
}

/* For the loop. A second job finds no room, as it might not in a pool. */
static enum err take_job(void *self, struct loop_job *job)
{
    struct cgi *cgi = self;

    if (cgi->job)
        return ERR_LIMIT;
    cgi->job = job;
    return ERR_OK;
}

static void catch_up(struct cgi *cgi)
{
    if (l2_shared_has_log(cgi->shared.cache->l2) && !housekeeper_catch_up(cgi->thread))
        l2_distrust(cgi->shared.cache->l2);
}

/* What was accepted to be written behind is in the database, and out of the cache, before the client hears of it: there
 * is nobody later. */
static void finish_behind(struct cgi *cgi)
{
    const int64_t until_ms = sys_monotonic_ms() + cgi->config->server.drain_timeout_ms;

    if (!cgi->writer || cgi->http.status != 202)
        return;
    while (!command_writer_applied(cgi->writer) && sys_monotonic_ms() < until_ms)
        nanosleep(&(struct timespec){.tv_nsec = POLL_US * 1000}, NULL);
    catch_up(cgi);
}

static void answer(struct cgi *cgi)
{
    cgi->thread = app_thread_open(cgi->app, NULL);
    cgi->loop = (struct loop){.self = cgi, .submit = take_job};
    cgi->thread->loop = &cgi->loop;
    cache_let_refresh(cgi->thread->cache);
    writer_client_bring(cgi->thread->writer, bring_writer, cgi);
    catch_up(cgi);
    app_run(cgi->thread, &cgi->http);
    finish_behind(cgi);
}

/* Head and body. The status is always told: without one, a web server thinks of its own about conditions. */
static bool respond(const struct http *http)
{
    bool has_body = http->method != HTTP_HEAD && http->status != 304 && http->status != 204;
    struct buf head = {0};
    bool sent = true;

    if (http->status == 200)
        buf_add_str(&head, STR("Status: 200 OK\r\n"));
    http_format_head(http, &head);
    struct iovec parts[2] = {{head.p, head.len}, {(char *)(uintptr_t)http->out.p, has_body ? http->out.len : 0}};
    while (sent && parts[0].iov_len + parts[1].iov_len > 0) {
        ssize_t count = writev(STDOUT_FILENO, parts, 2);
        size_t left = count > 0 ? (size_t)count : 0;

        sent = count >= 0 || errno == EINTR;
        for (struct iovec *part = parts; part < parts + 2; part++) {
            size_t taken = left < part->iov_len ? left : part->iov_len;

            part->iov_base = (char *)part->iov_base + taken;
            part->iov_len -= taken;
            left -= taken;
        }
    }
    buf_free(&head);
    /* Whoever reads it need not wait for what is left to do here. */
    sys_leave_streams();
    return sent;
}

/* Works on JOB until it is done. False: there is no more time, or it cannot be worked on. */
static bool do_job(struct l2 *l2, uint64_t self, int64_t until_ms, struct l2_job *job)
{
    do
        if (sys_monotonic_ms() >= until_ms || l2_job_step(l2, self, JOB_BATCH, job) != ERR_OK)
            return false;
    while (job->state != L2_JOB_DONE);
    return true;
}

/* Removes what purges by pattern have left to a housekeeper, where there may be none, for a while. */
static void remove_purged(struct cgi *cgi)
{
    const int64_t until_ms = sys_monotonic_ms() + cgi->config->server.drain_timeout_ms;
    struct l2 *l2 = cache_l2(cgi->thread->cache);
    struct l2_job job;
    uint64_t self;

    sys_random(&self, sizeof self);
    self |= 1;
    while (l2_job_take(l2, self, cgi->http.arena, &job) == ERR_OK && do_job(l2, self, until_ms, &job))
        ;
}

/* What nobody waits for. */
static void tidy(struct cgi *cgi)
{
    struct loop_job *job = cgi->job;

    if (job) {
        job->run(job, cgi->thread);
        job->done(job);
    }
    /* Any write may purge by pattern. */
    if (cgi->thread && cgi->http.method != HTTP_GET && cgi->http.method != HTTP_HEAD)
        remove_purged(cgi);
}

static void fini(struct cgi *cgi)
{
    app_thread_close(&cgi->thread);
    command_writer_stop(&cgi->writer);
    if (cgi->turn >= 0)
        close(cgi->turn);
    app_free(&cgi->app);
    cache_shared_free(&cgi->shared.cache);
    catalog_free(&cgi->catalog);
    config_free(&cgi->config);
    free(cgi->shared.writer);
    free(cgi->shared.housekeeper);
    arena_free(&cgi->http.arena);
    buf_free(&cgi->http.headers);
}

int cgi_run(const char *config_path)
{
    struct cgi cgi = {.config_path = config_path, .turn = -1};

    signal(SIGPIPE, SIG_IGN);
    log_role("cgi");
    cgi.http.arena = arena_new(ARENA_FIRST, ARENA_MAX);
    cgi.http.now_ms = sys_now_ms();
    cgi.http.started_us = sys_monotonic_us();
    take_environment(&cgi.http);
    if (prepare(&cgi) && read_request(&cgi))
        answer(&cgi);
    discard_input(&cgi.http);
    bool sent = respond(&cgi.http);
    tidy(&cgi);
    fini(&cgi);
    return sent ? 0 : 1;
}
