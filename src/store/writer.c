/*
 * writer: the process. One thread and one epoll set: the listener and the clients.
 *
 * A round receives what has come, has it carried out as groups and answers. While the disk syncs one group, the next
 * gathers in the sockets: that is group commit without a timer.
 *
 * Invariants: without the lock nothing is opened and nobody listened to; a request that was received whole is answered,
 * also on the way out: told to stop, the writer first makes its clients unable to send more (they then know that what
 * they were about to ask was not carried out), and works off what is there. Of what a client has asked without waiting
 * for the answer, writes of a round may be carried out in another order.
 *
 * Signals are blocked but between two rounds and while it waits, so that none is missed and none cuts a write short. It
 * refuses the processes of other users, and holds no request back for company.
 */
#include "store/writer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sys.h"
#include "store/outbox.h"
#include "store/writer_behind.h"
#include "store/writer_socket.h"

enum {
    TICK_MS = 1000, /* between looks at deadlines */
    ACCEPT_PAUSE_MS = 10,
    LOCK_RETRY_MS = 1000,
    LOCK_HASTE_MS = 50, /* at first, for a predecessor that is just going */
    PURGED_MS = 20,     /* for which rows of the outbox may wait for company before they are removed */
};

struct writer {
    const struct config *config;
    unsigned migrations;
    int64_t lock_ms;
    struct writer_shared *shared;
    const volatile sig_atomic_t *stop;
    sigset_t signals; /* the mask between rounds, and while waiting */
    int lock, listener, epoll;
    struct writer_db *db;
    struct writer_behind *behind;
    struct writer_peer **peers; /* grown as needed: a reload may bring more processes and threads than there were */
    size_t peers_count, peers_max;
    int64_t round_ms;                  /* when this round received what it works on; monotonic */
    struct writer_commit_item *items;  /* of the round; grown as needed */
    struct writer_commit_item **order; /* of these, as they are carried out */
    size_t items_count, items_max;
    int64_t purged_ms;          /* when rows of the outbox are to be removed, if there are any; monotonic */
    bool purged_failing;        /* that this fails has been logged */
    struct epoll_event *events; /* one for each peer and the listener, so that a round hears all of them */
    size_t events_max;
};

/* A client for each thread of each worker may be more than a process may have open at first. */
static void raise_limit(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

static void set_state(struct writer *writer, enum writer_state state, const char *reason)
{
    snprintf(writer->shared->reason, sizeof writer->shared->reason, "%s", reason);
    atomic_store(&writer->shared->state, state);
}

/* What epoll is to watch PEER for. While it leaves an answer lying, nothing is read of it. */
static void watch(struct writer *writer, struct writer_peer *peer)
{
    unsigned events = writer_peer_has_unsent(peer) ? EPOLLOUT : EPOLLIN;
    struct epoll_event event = {.events = events, .data.ptr = peer};

    if (events == peer->events || peer->lost)
        return;
    if (epoll_ctl(writer->epoll, peer->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, peer->fd, &event) != 0)
        peer->lost = true;
    peer->events = events;
}

static void add_peer(struct writer *writer, int fd)
{
    enum { STEP = 64 };

    if (writer->peers_count == writer->peers_max) {
        writer->peers_max += STEP;
        writer->peers = sys_realloc(writer->peers, writer->peers_max * sizeof *writer->peers);
    }
    struct writer_peer *peer = writer_peer_new(fd);
    writer->peers[writer->peers_count++] = peer;
    watch(writer, peer);
}

static void accept_peers(struct writer *writer)
{
    int fd;

    while ((fd = accept4(writer->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (writer_socket_trusts(fd)) {
            add_peer(writer, fd);
            continue;
        }
        log_event(LOG_LEVEL_WARNING, "writer_client_refused", LOG_TEXT("why", "another user's process"));
        close(fd);
    }
    /* Out of descriptors: the listener stays ready, and must not make the loop spin. */
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        poll(NULL, 0, ACCEPT_PAUSE_MS);
}

static void receive(struct writer *writer, int timeout_ms)
{
    if (writer->events_max <= writer->peers_count) {
        writer->events_max = writer->peers_max + 1;
        writer->events = sys_realloc(writer->events, writer->events_max * sizeof *writer->events);
    }
    int count = epoll_pwait(writer->epoll, writer->events, (int)writer->events_max, timeout_ms, &writer->signals);
    int64_t now_ms = sys_monotonic_ms();

    writer->round_ms = now_ms;
    for (int i = 0; i < count; i++) {
        struct writer_peer *peer = writer->events[i].data.ptr;
        if (!peer) {
            accept_peers(writer);
            continue;
        }
        writer_peer_flush(peer, now_ms);
        writer_peer_receive(peer, now_ms);
    }
}

static struct writer_commit_item *add_item(struct writer *writer)
{
    enum { STEP = 16 };

    if (writer->items_count == writer->items_max) {
        size_t bytes = (writer->items_max + STEP) * sizeof *writer->items;
        writer->items = sys_realloc(writer->items, bytes);
        memset(writer->items + writer->items_max, 0, STEP * sizeof *writer->items);
        writer->items_max += STEP;
        writer->order = sys_realloc(writer->order, writer->items_max * sizeof *writer->order);
    }
    return &writer->items[writer->items_count++];
}

/* Rows of the outbox, changes of tables, or scores, that somebody says have been carried out or told. What cannot be
 * remembered stays, and is carried out once more. */
static void note_purged(struct writer *writer, struct writer_frame_request *request)
{
    struct writer_shares *shares = &writer->shared->shares;

    if (!writer_db_has_purged(writer->db))
        writer->purged_ms = sys_monotonic_ms() + PURGED_MS;
    /* From who does not share our memory, or found nothing of the row in it. */
    if (request->kind == WRITER_FRAME_PURGED) {
        request->ids_count = writer_shares_pay(shares, request->ids, request->ids_count).whole;
        request->kind = WRITER_FRAME_DRAINED;
    } else if (request->kind == WRITER_FRAME_DRAINED) {
        for (size_t i = 0; i < request->ids_count; i++)
            writer_shares_set_whole(shares, request->ids[i]);
    }
    (void)!writer_db_note_purged(writer->db, request);
}

/* The next request of PEER that takes its turn with the others', in ITEM. */
static bool next_request(struct writer *writer, struct writer_peer *peer, struct writer_commit_item *item)
{
    item->peer = peer;
    while (writer_peer_next(peer, &item->request)) {
        switch (item->request.kind) {
        case WRITER_FRAME_WRITE:
        case WRITER_FRAME_PURGES:
        case WRITER_FRAME_BATCH_BEGIN:
            return true;
        case WRITER_FRAME_REPEAT:
        case WRITER_FRAME_DROP:
            if (item->request.ids_count == 1)
                return true;
            peer->lost = true;
            break;
        case WRITER_FRAME_FOLLOWED:
        case WRITER_FRAME_PURGED:
        case WRITER_FRAME_DRAINED:
        case WRITER_FRAME_CHANGED:
            note_purged(writer, &item->request);
            break;
        default:
            peer->lost = true;
            break;
        }
    }
    return false;
}

/* Whether nothing more of a client may be taken before ITEM is carried out: what follows belongs to it, or may rest on
 * it. */
static bool is_last(const struct writer_commit_item *item)
{
    return item->request.kind != WRITER_FRAME_WRITE && item->request.kind != WRITER_FRAME_PURGES;
}

/* What PEER has sent. That for which the queue has no place is turned away, and told so before the next is looked at:
 * who has an answer lying is not heard. */
static void gather_from(struct writer *writer, struct writer_peer *peer)
{
    struct writer_frame_answer full = {
        .err = ERR_BUSY,
        .failed_row = WRITER_FRAME_NO_ROW,
        .why = STR("too many writes are waiting; nothing was written"),
    };

    for (bool last = false; !last;) {
        struct writer_commit_item *item = add_item(writer);

        last = !next_request(writer, peer, item);
        if (last) {
            writer->items_count--;
        } else if (writer->items_count > (size_t)writer->config->store.write_queue) {
            full.tag = item->request.tag;
            writer_peer_answer(peer, &full, sys_monotonic_ms());
            writer_peer_flush(peer, sys_monotonic_ms());
            writer->items_count--;
        } else {
            last = is_last(item);
        }
    }
}

/* What has come of every client. False when there was none. */
static bool gather(struct writer *writer)
{
    writer->items_count = 0;
    for (size_t i = 0; i < writer->peers_count; i++)
        gather_from(writer, writer->peers[i]);
    return writer->items_count > 0;
}

/* Whether ITEM is a write that can be carried out together with others of its kind. */
static bool is_through(const struct writer_commit_item *item)
{
    return item->request.kind == WRITER_FRAME_WRITE || item->request.kind == WRITER_FRAME_PURGES;
}

static bool is_behind(const struct writer_commit_item *item)
{
    return item->request.kind == WRITER_FRAME_WRITE && item->request.behind;
}

/* The round's items in the order in which they are carried out: those behind first, so that each kind shares its
 * commits. Who asked without waiting for what he had asked before cannot have meant another order. Returns how many are
 * behind. */
static size_t sort(struct writer *writer)
{
    size_t behind = 0, at = 0;

    for (size_t i = 0; i < writer->items_count; i++)
        if (is_behind(&writer->items[i]))
            writer->order[behind++] = &writer->items[i];
    at = behind;
    for (size_t i = 0; i < writer->items_count; i++)
        if (!is_behind(&writer->items[i]))
            writer->order[at++] = &writer->items[i];
    return behind;
}

/* When the client of REQUEST waits no longer. */
static int64_t given_up_ms(const struct writer *writer, const struct writer_frame_request *request)
{
    const int64_t latest_ms = sys_monotonic_ms() + writer->config->store.write_timeout_ms;

    return request->kind == WRITER_FRAME_WRITE && request->deadline_ms < latest_ms ? request->deadline_ms : latest_ms;
}

/* Whether ITEM must not be carried out: what was accepted before it and purges the same cannot be applied now, or its
 * key is that of a write behind. It is then answered. */
static bool is_answered(struct writer *writer, struct writer_commit_item *item)
{
    const struct writer_frame_request *request = &item->request;
    uint64_t before = 0;

    if (request->kind == WRITER_FRAME_WRITE && request->repeat_key.len > 0 &&
        writer_behind_knows(writer->behind, item)) {
        if (item->outcome.err == ERR_OK)
            writer_commit_fail(&item->outcome, ERR_EXISTS, STR(""));
        writer_commit_answer(&item, 1);
        return true;
    }
    if (request->kind == WRITER_FRAME_WRITE)
        before = writer_pending_before(&writer->shared->pending, request->purges);
    if (request->kind == WRITER_FRAME_BATCH_BEGIN)
        before = atomic_load(&writer->shared->pending.accepted);
    enum err err = before > 0 ? writer_behind_catch_up(writer->behind, before, given_up_ms(writer, request)) : ERR_OK;
    if (err == ERR_OK)
        return false;
    writer_commit_fail(&item->outcome, err, STR("writes accepted before cannot be applied now"));
    writer_commit_answer(&item, 1);
    return true;
}

/* Leaves only those of the order, from FIRST on, that are still to be carried out. */
static void answer_some(struct writer *writer, size_t first)
{
    size_t kept = first;

    for (size_t i = first; i < writer->items_count; i++)
        if (!is_answered(writer, writer->order[i]))
            writer->order[kept++] = writer->order[i];
    writer->items_count = kept;
}

/* One that stands alone: a batch, or a word about a failed write. */
static void carry_out_alone(struct writer *writer, struct writer_commit_item *item)
{
    if (item->request.kind == WRITER_FRAME_BATCH_BEGIN)
        writer_commit_batch(writer->db, item->peer, &item->request, writer->shared, writer->stop, &writer->signals);
    else
        writer_behind_resolve(writer->behind, item);
}

/* Runs of writes as groups; what stands alone one by one, in its turn, and so after what its client asked before. */
static void carry_out(struct writer *writer)
{
    size_t at = sort(writer), end;

    if (at > 0)
        writer_behind_accept(writer->behind, writer->order, at);
    answer_some(writer, at);
    while (at < writer->items_count) {
        struct writer_commit_item *const *items = writer->order + at;
        if (!is_through(items[0])) {
            carry_out_alone(writer, items[0]);
            at++;
            continue;
        }
        for (end = at; end < writer->items_count && is_through(writer->order[end]);)
            end++;
        at += writer_commit_group(writer->db, items, end - at, writer->shared);
    }
}

/* Lets go of who is lost, has nothing left to say, or had been in the middle of something for too long when the round
 * began: what came while it lasted has not been looked at. Watches the rest. */
static void sweep(struct writer *writer)
{
    size_t kept = 0;

    for (size_t i = 0; i < writer->peers_count; i++) {
        struct writer_peer *peer = writer->peers[i];
        bool overdue = peer->deadline_ms != 0 && writer->round_ms >= peer->deadline_ms;
        if (overdue)
            log_event(LOG_LEVEL_WARNING, "writer_client_dropped",
                      LOG_TEXT("why", "half a request, or an answer not taken"));
        if (peer->lost || overdue || (peer->ended && !writer_peer_has_unsent(peer))) {
            writer_peer_free(&peer);
        } else {
            writer->peers[kept++] = peer;
            watch(writer, peer);
        }
    }
    writer->peers_count = kept;
}

/* Removes what the outbox is to be rid of and no group has taken along. When it fails, it is tried again later. */
static void remove_purged(struct writer *writer)
{
    struct buf why = {0};
    enum err err = writer_commit_purged(writer->db, writer->shared, &why);

    if (err != ERR_OK && !writer->purged_failing)
        log_event(LOG_LEVEL_WARNING, "outbox_not_cleared", LOG_STR("why", buf_str(&why)));
    writer->purged_failing = err != ERR_OK;
    writer->purged_ms = sys_monotonic_ms() + PURGED_MS;
    buf_free(&why);
}

/* Everything that has come: received, carried out, answered. */
static void work(struct writer *writer, int timeout_ms)
{
    bool busy = false;

    receive(writer, timeout_ms);
    while (gather(writer)) {
        carry_out(writer);
        busy = true;
    }
    sweep(writer);
    if (writer_behind_due_ms(writer->behind, busy) <= sys_monotonic_ms())
        (void)!writer_behind_apply(writer->behind);
    if (writer_db_has_purged(writer->db) && sys_monotonic_ms() >= writer->purged_ms)
        remove_purged(writer);
}

/* How long to wait for something to come. */
static int patience_ms(const struct writer *writer)
{
    const int64_t now_ms = sys_monotonic_ms();
    int64_t due_ms = writer_behind_due_ms(writer->behind, false);

    if (writer_db_has_purged(writer->db) && writer->purged_ms < due_ms)
        due_ms = writer->purged_ms;
    if (due_ms >= now_ms + TICK_MS)
        return TICK_MS;
    return due_ms > now_ms ? (int)(due_ms - now_ms) : 0;
}

/* Takes the lock, waiting for whoever holds it. False: told to stop, or it cannot be had. */
static bool take_lock(struct writer *writer, struct buf *why)
{
    const char *database = writer->config->store.database;
    const int64_t hasty_ms = sys_monotonic_ms() + writer->lock_ms;
    int64_t told = -1, holder;

    while (!*writer->stop) {
        enum err err = writer_socket_lock(database, &writer->lock, &holder, why);
        if (err != ERR_BUSY)
            return err == ERR_OK;
        bool hasty = sys_monotonic_ms() < hasty_ms;
        if (!hasty && holder != told) {
            struct buf reason = {0};
            buf_printf(&reason, "the process %lld writes to %s already; this larder only reads until that one ends",
                       (long long)holder, database);
            set_state(writer, WRITER_LOCKED_OUT, reason.p);
            log_event(LOG_LEVEL_WARNING, "writer_locked_out", LOG_STR("why", buf_str(&reason)));
            buf_free(&reason);
            told = holder;
        }
        int64_t pause_ms = hasty ? LOCK_HASTE_MS : LOCK_RETRY_MS;
        const struct timespec pause = {.tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1000000};
        ppoll(NULL, 0, &pause, &writer->signals);
    }
    return false;
}

/* Before anybody can write, and so purge. */
static void learn_told(const struct writer *writer)
{
    struct outbox *outbox = outbox_open(writer->config->store.database);
    uint64_t number;

    if (outbox_told(outbox, &number) == ERR_OK && writer->shared->told < number)
        writer->shared->told = number;
    outbox_close(&outbox);
}

/* Lock, schema, connection, socket. False with nothing in WHY: told to stop. */
static bool start(struct writer *writer, struct buf *why)
{
    const char *database = writer->config->store.database;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

    /* Who was locked out is so until it has the lock: its clients must not ask whoever has it instead. */
    if (atomic_load(&writer->shared->state) != WRITER_LOCKED_OUT)
        set_state(writer, WRITER_STARTING, "");
    /* Another writer may give numbers from now on that were taken back from one of this memory. */
    writer_shares_forget(&writer->shared->shares);
    if (!take_lock(writer, why))
        return false;
    set_state(writer, WRITER_STARTING, "");
    if (writer_db_open(writer->config, writer->migrations, &writer->shared->shares, &writer->db, why) != ERR_OK)
        return false;
    learn_told(writer);
    if (writer_socket_listen(database, &writer->listener, why) != ERR_OK)
        return false;
    writer->behind = writer_behind_new(writer->config, writer->db, writer->shared);
    writer_behind_resume(writer->behind);
    writer->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (writer->epoll < 0 || epoll_ctl(writer->epoll, EPOLL_CTL_ADD, writer->listener, &event) != 0) {
        buf_printf(why, "epoll: %s", strerror(errno));
        return false;
    }
    /* Copies of boards that came through a restart may lack what was written before it. */
    atomic_store(&writer->shared->scores, writer_db_scores(writer->db));
    set_state(writer, WRITER_READY, "");
    log_event(LOG_LEVEL_NOTICE, "writer_ready", LOG_TEXT("database", database));
    return true;
}

/* Answers that do not fit into the sockets now; for a while. */
static void send_rest(struct writer *writer, int64_t end_ms)
{
    const int64_t patience_ms = sys_monotonic_ms() + WRITER_PEER_PATIENCE_MS;

    if (end_ms > patience_ms)
        end_ms = patience_ms;
    while (writer->peers_count > 0 && sys_monotonic_ms() < end_ms)
        work(writer, 100);
}

/* What is left in the journal, until END_MS; it keeps the rest. */
static void apply_rest(struct writer *writer, int64_t end_ms)
{
    while (writer_behind_due_ms(writer->behind, false) <= sys_monotonic_ms() && sys_monotonic_ms() < end_ms)
        if (!writer_behind_apply(writer->behind))
            break;
}

/* The way out. Nobody new; of those who are there, what they have sent already. */
static void drain(struct writer *writer)
{
    const int64_t end_ms = sys_monotonic_ms() + writer->config->server.drain_timeout_ms;

    writer_socket_unlink(writer->config->store.database);
    set_state(writer, WRITER_STARTING, "");
    accept_peers(writer);
    close(writer->listener);
    writer->listener = -1;
    for (size_t i = 0; i < writer->peers_count; i++) {
        struct writer_peer *peer = writer->peers[i];
        shutdown(peer->fd, SHUT_RD);
        writer_peer_receive(peer, sys_monotonic_ms());
    }
    while (gather(writer)) {
        carry_out(writer);
        for (size_t i = 0; i < writer->peers_count; i++)
            writer_peer_receive(writer->peers[i], sys_monotonic_ms());
    }
    sweep(writer);
    send_rest(writer, end_ms);
    apply_rest(writer, end_ms);
    if (writer_db_has_purged(writer->db))
        remove_purged(writer);
}

static void finish(struct writer *writer)
{
    for (size_t i = 0; i < writer->peers_count; i++)
        writer_peer_free(&writer->peers[i]);
    for (size_t i = 0; i < writer->items_max; i++)
        writer_commit_item_fini(&writer->items[i]);
    free(writer->peers);
    free(writer->events);
    free(writer->items);
    free(writer->order);
    writer_behind_free(&writer->behind);
    writer_db_close(&writer->db);
    if (writer->listener >= 0)
        close(writer->listener);
    if (writer->epoll >= 0)
        close(writer->epoll);
    if (writer->lock >= 0)
        close(writer->lock);
}

int writer_run(const struct config *config, unsigned migrations, int64_t lock_ms, struct writer_shared *shared,
               const volatile sig_atomic_t *stop)
{
    struct writer *writer = sys_calloc(1, sizeof *writer);
    struct buf why = {0};
    sigset_t all;
    int code = 0;

    *writer = (struct writer){.config = config,
                              .migrations = migrations,
                              .lock_ms = lock_ms,
                              .shared = shared,
                              .stop = stop,
                              .lock = -1,
                              .listener = -1,
                              .epoll = -1};
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &writer->signals);
    raise_limit();
    /* A limit on file sizes is an error of one write, not the end of the process. */
    signal(SIGXFSZ, SIG_IGN);
    if (start(writer, &why)) {
        while (!*stop) {
            work(writer, patience_ms(writer));
            sys_take_signals(&writer->signals);
        }
        drain(writer);
    } else if (why.len > 0) {
        set_state(writer, WRITER_FAILED, why.p);
        log_event(LOG_LEVEL_ERROR, "writer_failed", LOG_STR("why", buf_str(&why)));
        code = 1;
    }
    finish(writer);
    sigprocmask(SIG_SETMASK, &writer->signals, NULL);
    free(writer);
    buf_free(&why);
    return code;
}
