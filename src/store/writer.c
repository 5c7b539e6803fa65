/*
 * The process. One thread, one epoll set: the listener and its clients. A round reads what has come, gathers whole writes, commits them
 * as one group and answers. While the disk syncs one group, the next one gathers in the sockets: that is group commit without a timer.
 *
 * Invariants: nothing is answered as written before its COMMIT has returned; a group that cannot be committed is answered as failed,
 * every write of it; a client is answered in the order in which it asked. A batch has the writer to itself from its first row to its
 * commit, and loses it by silence.
 *
 * It refuses to work without the lock, and to serve another user's processes.
 */
#include "store/writer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sys.h"
#include "store/migrate.h"
#include "store/writer_db.h"
#include "store/writer_socket.h"

#define ROUND_MS 500          /* between looks at *stop and at silent clients */
#define LOCK_RETRY_MS 1000
#define BATCH_SILENCE_MS 5000 /* a batch that sends nothing for so long is taken back */
#define SLOW_READER_MS 5000   /* a client that does not read its answer for so long is dropped */
#define READ_MAX (256u * 1024)
#define EVENTS 64

enum batch_state { BATCH_NONE, BATCH_WAITING, BATCH_OPEN, BATCH_FAILED };

struct client {
    struct client *next;
    int fd;
    struct buf in, out;
    size_t in_used, out_sent;
    bool gone;
    int64_t active_ms, blocked_since_ms;
    enum batch_state batch;
    struct buf batch_sql, batch_why;
    struct store_caller batch_caller;
    uint64_t batch_rows;
    enum err batch_err;
};

/* One write of the group that is being committed, and what became of it. */
struct member {
    struct client *client;
    struct writer_frame_answer answer;
    size_t json_at, json_len, why_at, why_len; /* in the group's buffers */
};

struct writer {
    const struct config *config;
    struct writer_shared *shared;
    const volatile sig_atomic_t *stop;
    int epoll, listener, lock;
    struct client *clients, *batch; /* batch: who has the writer to itself */
    struct writer_db *db;
    struct member *group;
    size_t group_count, group_max;
    struct buf json, why; /* of the group */
    enum err begin_err;   /* why no transaction can begin in this round */
    int64_t now_ms;
    struct writer_frame_request request; /* the frame being looked at: too large for the stack of a signal-happy process */
};

static void set_state(struct writer *writer, enum writer_state state, const char *reason)
{
    if (!writer->shared)
        return;
    snprintf(writer->shared->reason, sizeof writer->shared->reason, "%s", reason);
    atomic_store(&writer->shared->state, state);
}

/* Answers CLIENT as soon as it reads. */
static void send_answer(struct writer *writer, struct client *client, const struct writer_frame_answer *answer)
{
    if (answer)
        writer_frame_add_answer(answer, &client->out);
    while (!client->gone && client->out_sent < client->out.len) {
        ssize_t count = send(client->fd, client->out.p + client->out_sent, client->out.len - client->out_sent, MSG_NOSIGNAL);
        if (count > 0) {
            client->out_sent += (size_t)count;
        } else if (errno == EAGAIN) {
            if (client->blocked_since_ms == 0)
                client->blocked_since_ms = writer->now_ms;
            break;
        } else if (errno != EINTR) {
            client->gone = true;
        }
    }
    if (client->out_sent == client->out.len) {
        buf_clear(&client->out);
        client->out_sent = 0;
        client->blocked_since_ms = 0;
    }
    struct epoll_event event = {.events = EPOLLIN | (client->out.len > 0 ? EPOLLOUT : 0u), .data.ptr = client};
    (void)epoll_ctl(writer->epoll, EPOLL_CTL_MOD, client->fd, &event);
}

static void answer_error(struct writer *writer, struct client *client, enum err err, const char *why)
{
    send_answer(writer, client, &(struct writer_frame_answer){.err = err, .why = str_from(why)});
}

static bool open_db(struct writer *writer, struct buf *why, enum err *err)
{
    *err = writer->db ? ERR_OK : writer_db_open(writer->config, &writer->db, why);
    return *err == ERR_OK;
}

/* What leaves the connection in doubt: it is opened anew for the next write. */
static void distrust_db(struct writer *writer, enum err err)
{
    if (err == ERR_CORRUPT || err == ERR_IO || err == ERR_UNAVAILABLE)
        writer_db_close(&writer->db);
}

/* Runs a gathered write within the group's transaction. */
static void apply(struct writer *writer, struct member *member, const struct writer_frame_request *request)
{
    size_t json_at = writer->json.len, why_at = writer->why.len;
    struct writer_frame_answer *answer = &member->answer;
    answer->err = writer_db_apply(writer->db, request, &writer->json, &answer->found, &answer->changes, &writer->why);
    member->json_at = json_at;
    member->json_len = writer->json.len - json_at;
    member->why_at = why_at;
    member->why_len = writer->why.len - why_at;
}

/* Everybody in the group gets ERR. */
static void fail_group(struct writer *writer, enum err err, struct str why)
{
    for (size_t i = 0; i < writer->group_count; i++) {
        struct member *member = &writer->group[i];
        if (member->answer.err == ERR_OK)
            member->answer = (struct writer_frame_answer){.err = err, .why = why};
        else
            member->answer.why = (struct str){writer->why.p + member->why_at, member->why_len};
    }
}

static void answer_group(struct writer *writer)
{
    for (size_t i = 0; i < writer->group_count; i++)
        send_answer(writer, writer->group[i].client, &writer->group[i].answer);
    writer->group_count = 0;
    buf_clear(&writer->json);
    buf_clear(&writer->why);
}

/* Commits what has been applied, and answers. */
static void commit_group(struct writer *writer)
{
    struct buf why = {0};
    size_t written = 0;
    if (writer->group_count == 0)
        return;
    for (size_t i = 0; i < writer->group_count; i++)
        written += writer->group[i].answer.err == ERR_OK;
    enum err err = writer_db_commit(writer->db, &why);
    if (err != ERR_OK) {
        fail_group(writer, err, buf_str(&why));
        log_event(LOG_LEVEL_ERROR, "commit_failed", LOG_INT("writes", (int64_t)written), LOG_STR("why", buf_str(&why)));
    } else if (writer->shared) {
        atomic_fetch_add(&writer->shared->committed, written);
        atomic_fetch_add(&writer->shared->commits, 1);
    }
    for (size_t i = 0; err == ERR_OK && i < writer->group_count; i++) {
        struct member *member = &writer->group[i];
        member->answer.json = (struct str){writer->json.p + member->json_at, member->json_len};
        member->answer.why = (struct str){writer->why.p + member->why_at, member->why_len};
    }
    answer_group(writer);
    buf_free(&why);
    distrust_db(writer, err);
    if (writer->db)
        writer_db_checkpoint(writer->db, false);
}

/* Takes a write into the group, which it opens. */
static void gather(struct writer *writer, struct client *client)
{
    struct buf why = {0};
    enum err err = ERR_OK;
    if (writer->group_count == writer->group_max) {
        answer_error(writer, client, ERR_BUSY, "too many writes wait; nothing was written");
        return;
    }
    /* One wait for a busy database is enough for everybody in the round. */
    err = writer->begin_err;
    if (err == ERR_OK && writer->group_count == 0 && open_db(writer, &why, &err))
        err = writer_db_begin(writer->db, &why);
    writer->begin_err = err;
    if (err != ERR_OK) {
        answer_error(writer, client, err, why.p ? why.p : err_text(err));
        distrust_db(writer, err);
    } else {
        struct member *member = &writer->group[writer->group_count++];
        *member = (struct member){.client = client};
        apply(writer, member, &writer->request);
        /* A full disk makes SQLite take back the whole transaction: nothing more can be added to it. */
        if (!writer_db_in_transaction(writer->db)) {
            fail_group(writer, member->answer.err, (struct str){writer->why.p + member->why_at, member->why_len});
            answer_group(writer);
            distrust_db(writer, ERR_IO);
        }
    }
    buf_free(&why);
}

static void begin_batch(struct writer *writer, struct client *client)
{
    client->batch = BATCH_WAITING;
    client->batch_rows = 0;
    client->batch_caller = (struct store_caller){.now_ms = writer->request.caller.now_ms};
    buf_clear(&client->batch_sql);
    buf_clear(&client->batch_why);
    buf_add_str(&client->batch_sql, writer->request.sql);
}

/* The batch has the writer now: its transaction begins. */
static void open_batch(struct writer *writer, struct client *client)
{
    enum err err;
    writer->batch = client;
    client->batch = BATCH_OPEN;
    if (open_db(writer, &client->batch_why, &err))
        err = writer_db_begin(writer->db, &client->batch_why);
    if (err != ERR_OK) {
        client->batch = BATCH_FAILED;
        client->batch_err = err;
        client->batch_rows = UINT64_MAX;
    }
}

static void apply_row(struct writer *writer, struct client *client)
{
    bool found;
    int64_t changes;
    struct writer_frame_request *request = &writer->request;
    if (client->batch != BATCH_OPEN)
        return;
    request->sql = buf_str(&client->batch_sql);
    request->caller = client->batch_caller;
    request->shape = CATALOG_OBJECT;
    enum err err = writer_db_apply(writer->db, request, &writer->json, &found, &changes, &client->batch_why);
    buf_clear(&writer->json);
    if (err == ERR_OK) {
        client->batch_rows++;
        return;
    }
    writer_db_rollback(writer->db);
    client->batch = BATCH_FAILED;
    client->batch_err = err;
}

static void release_batch(struct writer *writer, struct client *client)
{
    if (writer->batch == client && writer->db)
        writer_db_rollback(writer->db);
    if (writer->batch == client)
        writer->batch = NULL;
    client->batch = BATCH_NONE;
}

static void commit_batch(struct writer *writer, struct client *client)
{
    enum err err = client->batch_err;
    if (client->batch == BATCH_OPEN) {
        err = writer_db_commit(writer->db, &client->batch_why);
        if (err == ERR_OK && writer->shared) {
            atomic_fetch_add(&writer->shared->committed, client->batch_rows);
            atomic_fetch_add(&writer->shared->commits, 1);
        }
        if (err != ERR_OK)
            client->batch_rows = UINT64_MAX;
    }
    const struct writer_frame_answer answer = {.err = err, .changes = (int64_t)client->batch_rows,
                                               .failed_row = err == ERR_OK ? UINT64_MAX : client->batch_rows,
                                               .why = buf_str(&client->batch_why)};
    send_answer(writer, client, &answer);
    release_batch(writer, client);
    distrust_db(writer, err);
    if (writer->db)
        writer_db_checkpoint(writer->db, false);
}

/* One frame. False when CLIENT has to wait with the rest of its input. */
static bool take_frame(struct writer *writer, struct client *client, struct str frame)
{
    if (writer_frame_read_request(frame, &writer->request) != ERR_OK) {
        client->gone = true;
        return true;
    }
    bool in_batch = client->batch != BATCH_NONE;
    switch (writer->request.kind) {
    case WRITER_FRAME_WRITE:
        if (in_batch)
            client->gone = true;
        else
            gather(writer, client);
        return true;
    case WRITER_FRAME_BATCH_BEGIN:
        if (in_batch)
            client->gone = true;
        else
            begin_batch(writer, client);
        return true;
    default:
        break;
    }
    if (!in_batch) {
        client->gone = true;
        return true;
    }
    if (client->batch == BATCH_WAITING) {
        if (writer->batch || writer->group_count > 0)
            return false;
        open_batch(writer, client);
    }
    if (writer->request.kind == WRITER_FRAME_BATCH_ROW)
        apply_row(writer, client);
    else
        commit_batch(writer, client);
    return true;
}

/* Works through the whole frames that CLIENT has sent. */
static void take_frames(struct writer *writer, struct client *client)
{
    size_t len;
    enum err err = ERR_AGAIN;
    while (!client->gone && (!writer->batch || writer->batch == client)) {
        struct str rest = {client->in.p + client->in_used, client->in.len - client->in_used};
        err = client->in.len == 0 ? ERR_AGAIN : writer_frame_length(rest, &len);
        if (err != ERR_OK || !take_frame(writer, client, (struct str){rest.p, len}))
            break;
        client->in_used += len;
    }
    client->gone |= err == ERR_SYNTAX;
    if (client->in_used == client->in.len)
        buf_clear(&client->in);
    else if (client->in_used > 0) {
        memmove(client->in.p, client->in.p + client->in_used, client->in.len - client->in_used);
        client->in.len -= client->in_used;
    }
    client->in_used = 0;
}

/* Reads some of what has come; the rest comes in the next round, so one client cannot keep the others waiting. */
static void receive(struct writer *writer, struct client *client)
{
    buf_reserve(&client->in, READ_MAX + 1);
    ssize_t count = recv(client->fd, client->in.p + client->in.len, READ_MAX, 0);
    if (count > 0)
        client->in.len += (size_t)count;
    else if (count == 0 || (errno != EAGAIN && errno != EINTR))
        client->gone = true;
    client->active_ms = writer->now_ms;
}

static void accept_clients(struct writer *writer)
{
    int fd;
    while ((fd = accept4(writer->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct client *client = sys_calloc(1, sizeof *client);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
        client->fd = fd;
        client->active_ms = writer->now_ms;
        client->next = writer->clients;
        writer->clients = client;
        client->gone = !writer_socket_is_ours(fd) || epoll_ctl(writer->epoll, EPOLL_CTL_ADD, fd, &event) != 0;
    }
}

static bool is_overdue(const struct writer *writer, const struct client *client)
{
    return (writer->batch == client && writer->now_ms - client->active_ms > BATCH_SILENCE_MS) ||
           (client->blocked_since_ms != 0 && writer->now_ms - client->blocked_since_ms > SLOW_READER_MS);
}

/* Frees clients that are gone; none of them is in a group then. */
static void bury_clients(struct writer *writer)
{
    for (struct client **at = &writer->clients; *at;) {
        struct client *client = *at;
        if (!client->gone && !is_overdue(writer, client)) {
            at = &client->next;
            continue;
        }
        release_batch(writer, client);
        *at = client->next;
        close(client->fd);
        buf_free(&client->in);
        buf_free(&client->out);
        buf_free(&client->batch_sql);
        buf_free(&client->batch_why);
        free(client);
    }
}

/* Whether a whole frame that has been read already waits to be looked at. */
static bool has_backlog(const struct writer *writer)
{
    size_t len;
    for (const struct client *client = writer->clients; client; client = client->next)
        if (!client->gone && (!writer->batch || writer->batch == client) &&
            writer_frame_length(buf_str(&client->in), &len) == ERR_OK)
            return true;
    return false;
}

/* Everything that can be read, gathered, committed and answered now. */
static void work_round(struct writer *writer, int timeout_ms)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(writer->epoll, events, EVENTS, timeout_ms);
    writer->now_ms = sys_monotonic_ms();
    writer->begin_err = ERR_OK;
    for (int i = 0; i < count; i++) {
        struct client *client = events[i].data.ptr;
        if (!client) {
            accept_clients(writer);
            continue;
        }
        if (events[i].events & EPOLLOUT)
            send_answer(writer, client, NULL);
        if (events[i].events & ~(uint32_t)EPOLLOUT)
            receive(writer, client);
    }
    for (struct client *client = writer->clients; client; client = client->next)
        if (client->in.len > 0)
            take_frames(writer, client);
    commit_group(writer);
    bury_clients(writer);
}

/* Takes the lock, waiting for whoever holds it. False: told to stop. */
static bool take_lock(struct writer *writer)
{
    const char *database = writer->config->store.database;
    while (!*writer->stop) {
        int64_t holder = 0;
        char reason[256];
        enum err err = writer_socket_lock(database, &writer->lock, &holder);
        if (err == ERR_OK)
            return true;
        if (err == ERR_BUSY)
            snprintf(reason, sizeof reason, "another larder (process %lld) writes to %s; this one only reads", (long long)holder, database);
        else
            snprintf(reason, sizeof reason, "%s-larder.lock cannot be made: %s", database, err_text(err));
        set_state(writer, err == ERR_BUSY ? WRITER_LOCKED_OUT : WRITER_FAILED, reason);
        poll(NULL, 0, LOCK_RETRY_MS);
    }
    return false;
}

static void tell_migration(void *context, const char *file)
{
    (void)context;
    log_event(LOG_LEVEL_NOTICE, "migrating", LOG_TEXT("file", file));
}

static enum err migrate(struct writer *writer, struct buf *why)
{
    const struct config *config = writer->config;
    struct report *report = report_new();
    unsigned applied = 0;
    enum err err = migrate_run(config->store.database, config->store.sql, &applied, report, tell_migration, NULL);
    for (size_t i = 0; err != ERR_OK && i < report_count(report); i++)
        buf_printf(why, "%s%s", i > 0 ? "; " : "", report_line(report, i));
    report_free(&report);
    return err;
}

/* Lock, migrations, connection, socket. */
static enum err open_writer(struct writer *writer, struct buf *why)
{
    enum err err = migrate(writer, why);
    if (err == ERR_OK)
        err = writer_db_open(writer->config, &writer->db, why);
    if (err == ERR_OK && (err = writer_socket_listen(writer->config->store.database, &writer->listener)) != ERR_OK)
        buf_printf(why, "cannot listen on %s-larder.sock: %s", writer->config->store.database, err_text(err));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (err == ERR_OK && epoll_ctl(writer->epoll, EPOLL_CTL_ADD, writer->listener, &event) != 0)
        err = err_from_errno(errno);
    if (err == ERR_OK)
        return ERR_OK;
    if (why->len == 0)
        buf_add_str(why, str_from(err_text(err)));
    log_event(LOG_LEVEL_ERROR, "writer_start_failed", LOG_STR("why", buf_str(why)));
    set_state(writer, WRITER_FAILED, why->p);
    return err;
}

/* What has been received is committed and answered; nothing new is taken. */
static void drain(struct writer *writer)
{
    writer_socket_unlink(writer->config->store.database);
    (void)epoll_ctl(writer->epoll, EPOLL_CTL_DEL, writer->listener, NULL);
    do
        work_round(writer, 0);
    while (has_backlog(writer));
    for (struct client *client = writer->clients; client; client = client->next)
        client->gone = true;
    bury_clients(writer);
    if (writer->db)
        writer_db_checkpoint(writer->db, true);
}

static void close_writer(struct writer *writer)
{
    writer_db_close(&writer->db);
    if (writer->listener >= 0)
        close(writer->listener);
    if (writer->lock >= 0)
        close(writer->lock);
    close(writer->epoll);
    free(writer->group);
    buf_free(&writer->json);
    buf_free(&writer->why);
    free(writer);
}

int writer_run(const struct config *config, struct writer_shared *shared, const volatile sig_atomic_t *stop)
{
    struct writer *writer = sys_calloc(1, sizeof *writer);
    struct buf why = {0};
    int code = 0;
    *writer = (struct writer){.config = config, .shared = shared, .stop = stop, .listener = -1, .lock = -1,
                              .epoll = epoll_create1(EPOLL_CLOEXEC), .now_ms = sys_monotonic_ms(),
                              .group_max = (size_t)config->store.write_queue};
    writer->group = sys_calloc(writer->group_max, sizeof *writer->group);
    if (take_lock(writer)) {
        code = open_writer(writer, &why) == ERR_OK ? 0 : 1;
        if (code == 0) {
            set_state(writer, WRITER_READY, "");
            while (!*stop)
                work_round(writer, has_backlog(writer) ? 0 : ROUND_MS);
            drain(writer);
        }
    }
    buf_free(&why);
    close_writer(writer);
    return code;
}
