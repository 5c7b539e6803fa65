/*
 * writer_async: calls wait until the round ends, then they are sent, and then they wait for their answers, which they
 * are found by with their tags.
 *
 * Invariant: as writer_client's: the caller learns exactly what is known. A call of which not all has been handed to
 * the kernel was not carried out, and is sent once more, once; one that has been handed over and is not answered may
 * have been. An answer that comes after its call has been given up has the tag of nobody. Where the writer takes
 * nothing more (it is stopping), what it has taken is still waited for.
 *
 * All calls are given the same time, so both lists are in the order of their deadlines.
 */
#include "store/writer_async.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/sys.h"
#include "store/outbox.h"
#include "store/writer_socket.h"

enum { READ_STEP = 64 << 10, BUFFER_KEPT = 1 << 20, PIECES_MAX = 64 };

/* Calls in the order in which they came. */
struct list {
    struct writer_async_call *first, **end;
};

struct writer_async {
    const struct config *config;
    struct writer_shared *shared;
    const struct loop *loop;
    struct loop_watch watch; /* fd -1: not connected */
    bool deaf;               /* the writer takes nothing more over this connection */
    uint32_t tag;            /* of the last call */
    struct list waiting, asked;
    struct buf in, encoded;
    struct writer_frame_request request; /* of the call that is made; large */
};

static void push(struct list *list, struct writer_async_call *call)
{
    call->next = NULL;
    *list->end = call;
    list->end = &call->next;
}

/* Takes the call at LINK out of LIST. */
static struct writer_async_call *take(struct list *list, struct writer_async_call **link)
{
    struct writer_async_call *call = *link;

    *link = call->next;
    if (list->end == &call->next)
        list->end = link;
    return call;
}

static void finish(struct writer_async_call *call, enum err err, struct str why)
{
    if (!call->done) {
        free(call);
        return;
    }
    call->err = err;
    call->why = why.len > 0 ? arena_copy(call->arena, why) : STR("");
    call->done(call);
}

/* Ends every call of LIST with ERR. */
static void finish_all(struct list *list, enum err err, struct str why)
{
    while (list->first)
        finish(take(list, &list->first), err, why);
}

/* Gives the connection up. What has been asked over it ends with ERR; what has been sent in part is sent once more. */
static void disconnect(struct writer_async *async, enum err err)
{
    struct list asked = {.end = &asked.first}, twice = {.end = &twice.first};

    if (async->watch.events)
        async->loop->watch(async->loop->self, &async->watch, 0);
    close(async->watch.fd);
    async->watch.fd = -1;
    async->deaf = false;
    buf_free(&async->in);
    for (struct writer_async_call **link = &async->waiting.first; *link;) {
        struct writer_async_call *call = *link;

        if (call->sent > 0 && call->again) {
            push(&twice, take(&async->waiting, link));
            continue;
        }
        call->again |= call->sent > 0;
        call->sent = 0;
        link = &call->next;
    }
    while (async->asked.first)
        push(&asked, take(&async->asked, &async->asked.first));
    /* Last: those who are told may ask again. */
    finish_all(&asked, err, writer_client_unanswered(err));
    finish_all(&twice, ERR_UNAVAILABLE, writer_client_unanswered(ERR_UNAVAILABLE));
}

static void take_answer(struct writer_async *async, const struct writer_frame_answer *answer)
{
    struct writer_async_call **link = &async->asked.first;
    struct buf why = {0};

    while (*link && (*link)->tag != answer->tag)
        link = &(*link)->next;
    if (!*link)
        return;
    struct writer_async_call *call = take(&async->asked, link);
    enum err err = answer->err;
    buf_add_str(&why, answer->why);
    call->told.repeated = answer->repeated;
    if (err == ERR_OK)
        err = writer_client_take(answer, call->arena, &call->told, &why);
    finish(call, err, buf_str(&why));
    buf_free(&why);
}

/* Takes the answers that are whole. ERR_AGAIN: those are all. ERR_VERSION, ERR_SYNTAX: what follows is none. */
static enum err take_answers(struct writer_async *async)
{
    struct writer_frame_answer answer;
    struct str rest = buf_str(&async->in);
    size_t len;
    enum err err;

    while ((err = writer_frame_length(rest, &len)) == ERR_OK) {
        err = writer_frame_read_answer((struct str){rest.p, len}, &answer);
        if (err != ERR_OK)
            break;
        take_answer(async, &answer);
        rest = (struct str){rest.p + len, rest.len - len};
    }
    if (rest.len > 0)
        memmove(async->in.p, rest.p, rest.len);
    async->in.len = rest.len;
    if (rest.len == 0 && async->in.cap > BUFFER_KEPT)
        buf_free(&async->in);
    return err;
}

static void receive(struct writer_async *async)
{
    enum err err = ERR_OK;
    ssize_t got = 0;

    do {
        buf_reserve(&async->in, READ_STEP);
        got = recv(async->watch.fd, async->in.p + async->in.len, READ_STEP, 0);
        if (got > 0) {
            async->in.len += (size_t)got;
            err = take_answers(async);
        }
    } while (got == READ_STEP && err == ERR_AGAIN);
    if (err != ERR_OK && err != ERR_AGAIN)
        disconnect(async, err == ERR_VERSION ? ERR_VERSION : ERR_IO);
    else if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        disconnect(async, ERR_IO);
}

/* COUNT more bytes of the calls that wait have been handed over. */
static void note_sent(struct writer_async *async, size_t count)
{
    while (count > 0) {
        struct writer_async_call *call = async->waiting.first;
        const size_t left = call->frame.len - call->sent, some = left < count ? left : count;

        call->sent += some;
        count -= some;
        if (some < left)
            break;
        take(&async->waiting, &async->waiting.first);
        if (call->done)
            push(&async->asked, call);
        else
            free(call);
    }
}

static ssize_t send_some(const struct writer_async *async)
{
    struct iovec pieces[PIECES_MAX];
    struct msghdr message = {.msg_iov = pieces};

    for (const struct writer_async_call *call = async->waiting.first; call && message.msg_iovlen < PIECES_MAX;
         call = call->next)
        pieces[message.msg_iovlen++] =
            (struct iovec){(char *)(uintptr_t)call->frame.p + call->sent, call->frame.len - call->sent};
    return sendmsg(async->watch.fd, &message, MSG_NOSIGNAL);
}

static void send_waiting(struct writer_async *async)
{
    bool full = false;

    while (async->waiting.first && !full && !async->deaf) {
        ssize_t sent = send_some(async);

        if (sent >= 0)
            note_sent(async, (size_t)sent);
        else if (errno == EAGAIN)
            full = true;
        else if (errno != EINTR)
            async->deaf = true;
    }
    if (async->deaf && !async->asked.first)
        disconnect(async, ERR_IO);
    else
        async->loop->watch(async->loop->self, &async->watch, LOOP_READ | (full ? LOOP_WRITE : 0));
}

static void on_ready(void *context, unsigned events)
{
    struct writer_async *async = context;

    if (events & LOOP_READ)
        receive(async);
    if (async->watch.fd >= 0 && ((events & LOOP_WRITE) || async->deaf))
        send_waiting(async);
}

/* False where there is no writer at the moment: it is asked for again, for as long as the calls have time. */
static bool connect_writer(struct writer_async *async)
{
    struct buf why = {0};
    enum err err = ERR_UNAVAILABLE;

    if (!writer_client_is_hopeless(async->shared, &why))
        err = writer_socket_connect(async->config->store.database, &async->watch.fd, &why);
    if (err != ERR_OK && err != ERR_AGAIN)
        finish_all(&async->waiting, ERR_UNAVAILABLE, buf_str(&why));
    buf_free(&why);
    return err == ERR_OK;
}

static void expire(struct writer_async *async, int64_t now_ms)
{
    const bool met = async->watch.fd >= 0; /* there is a writer: what waits does so for him to take it */
    struct writer_async_call *call;
    struct buf absent = {0};

    while ((call = async->asked.first) && call->deadline_ms <= now_ms)
        finish(take(&async->asked, &async->asked.first), ERR_TIMEOUT, writer_client_unanswered(ERR_TIMEOUT));
    while ((call = async->waiting.first) && call->deadline_ms <= now_ms) {
        if (call->sent > 0) {
            /* Nothing can follow half a frame. */
            disconnect(async, ERR_IO);
        } else if (met || call->again) {
            finish(take(&async->waiting, &async->waiting.first), ERR_BUSY, writer_client_unanswered(ERR_BUSY));
        } else {
            buf_clear(&absent);
            writer_client_absent(async->config->store.database, &absent);
            finish(take(&async->waiting, &async->waiting.first), ERR_UNAVAILABLE, buf_str(&absent));
        }
    }
    buf_free(&absent);
}

static void on_tick(void *context, int64_t now_ms)
{
    struct writer_async *async = context;

    if (async->waiting.first && (async->watch.fd >= 0 || connect_writer(async)))
        send_waiting(async);
    expire(async, now_ms);
}

struct writer_async *writer_async_new(const struct config *config, struct writer_shared *shared,
                                      const struct loop *loop)
{
    struct writer_async *async = sys_calloc(1, sizeof *async);

    async->config = config;
    async->shared = shared;
    async->loop = loop;
    async->watch = (struct loop_watch){.fn = on_ready, .context = async, .fd = -1};
    async->waiting.end = &async->waiting.first;
    async->asked.end = &async->asked.first;
    loop->tick(loop->self, on_tick, async);
    return async;
}

void writer_async_free(struct writer_async **async)
{
    if (!*async)
        return;
    if ((*async)->watch.fd >= 0)
        disconnect(*async, ERR_IO);
    finish_all(&(*async)->waiting, ERR_UNAVAILABLE, STR(""));
    buf_free(&(*async)->encoded);
    free(*async);
    *async = NULL;
}

/* ASK as a frame in the call's arena. ERR_LIMIT. */
static enum err encode(struct writer_async *async, const struct writer_client_ask *ask, struct writer_async_call *call)
{
    struct writer_frame_request *request = &async->request;
    struct buf *encoded = &async->encoded;

    buf_clear(encoded);
    outbox_encode(ask->purges, ask->purges_count, encoded);
    struct str purges = arena_copy(call->arena, buf_str(encoded));
    request->tag = call->tag;
    request->deadline_ms = call->deadline_ms;
    request->values.count = request->condition_values.count = 0;
    writer_client_make(ask, purges, request);
    buf_clear(encoded);
    enum err err = writer_frame_add_request(request, encoded);
    call->frame = err == ERR_OK ? arena_copy(call->arena, buf_str(encoded)) : STR("");
    if (encoded->cap > BUFFER_KEPT)
        buf_free(encoded);
    return arena_overflowed(call->arena) ? ERR_LIMIT : err;
}

enum err writer_async_write(struct writer_async *async, const struct writer_client_ask *ask,
                            struct writer_async_call *call)
{
    call->tag = ++async->tag;
    call->sent = 0;
    call->again = false;
    call->told = (struct writer_client_told){.outbox_id = 0};
    call->deadline_ms = sys_monotonic_ms() + async->config->store.write_timeout_ms;
    enum err err = encode(async, ask, call);
    if (err == ERR_OK)
        push(&async->waiting, call);
    return err;
}

static void tell(struct writer_async *async, enum writer_frame_kind kind, const int64_t *ids, size_t count)
{
    struct writer_frame_request *request = &async->request;
    struct buf *encoded = &async->encoded;

    *request = (struct writer_frame_request){.kind = kind, .told = async->shared->told};
    for (size_t done = 0; done < count; done += request->ids_count) {
        request->ids_count = count - done < WRITER_FRAME_IDS_MAX ? count - done : WRITER_FRAME_IDS_MAX;
        memcpy(request->ids, ids + done, request->ids_count * sizeof *ids);
        buf_clear(encoded);
        if (writer_frame_add_request(request, encoded) != ERR_OK)
            return;
        struct writer_async_call *call = sys_calloc(1, sizeof *call + encoded->len);
        memcpy(call + 1, encoded->p, encoded->len);
        call->frame = (struct str){(char *)(call + 1), encoded->len};
        call->deadline_ms = sys_monotonic_ms() + async->config->store.write_timeout_ms;
        push(&async->waiting, call);
    }
}

void writer_async_purged(struct writer_async *async, int64_t *ids, size_t count)
{
    const struct writer_shares_paid paid = writer_shares_pay(&async->shared->shares, ids, count);

    tell(async, WRITER_FRAME_DRAINED, ids, paid.whole);
    tell(async, WRITER_FRAME_PURGED, ids + paid.whole, paid.unknown);
}
