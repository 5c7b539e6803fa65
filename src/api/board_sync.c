/*
 * board_sync: follows larder_score_log into L2, and copies the boards anew where following is not enough.
 *
 * L2 stands at a level: it has been told in order of every change up to that number. A step tells it of the next batch;
 * what it has been told of is of no more use and leaves the log. All boards are copied anew, a batch a step so that no
 * purge is delayed, when there is no level, when the log does not reach back to it, when the database was put back,
 * when a reader has met a board that is not whole, and when the copies were made for other boards than those that are
 * configured. Copying begins with noting where the log stands: what changes meanwhile is followed from there.
 *
 * That the database was put back, scores_was_replaced tells; to a housekeeper that has just begun, only a level above
 * all numbers that were ever drawn.
 *
 * What is not in L2 at all counts as empty there. So which boards were copied is kept beside them, as a board of its
 * own whose name no board can have (its one member is called by their print), and readers ask L2 only when that is of
 * the boards that they know. What has ended leaves L2 again.
 *
 * Invariant: a change leaves the log only when L2 has been told of it, when there is no L2, or when there are so many
 * of them that copying is no dearer than following. Only the host whose writer has the database follows it.
 */
#include "api/board_sync.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/board.h"
#include "base/sys.h"
#include "l2/l2_boards.h"
#include "store/scores.h"

enum {
    LOOK_MS = 500,
    RETRY_MS = 100,
    TELL_MS = 1000,
    GRACE_MS = 60000, /* by then a period has ended by every clock */
    PRUNE_MS = 60000,
    KEPT_MS = 3600000, /* after its end a period is in L2 no longer */
    ARENA_FIRST = 64 << 10,
    ARENA_MAX = 16 << 20,
};

static const char mark[] = "=boards";

/* A copying under way. */
struct copying {
    bool active;
    uint64_t level; /* where the log stood */
    struct arena *arena;
    struct str *boards; /* their stored names, and the mark */
    size_t count, at;   /* whose turn it is */
    bool begun;         /* boards[at] has been */
    struct buf after;   /* the last member that was copied of it */
};

struct board_sync {
    const struct app *app;
    struct l2 *l2;
    struct l2_shared *l2_shared;
    struct writer_client *writer;
    struct scores *scores;
    struct arena *arena;
    _Atomic uint64_t *print; /* of the boards that the copies are of, for the host's readers */
    char member[20];         /* the print of those that are configured, as it stands in L2 */
    bool must_copy;
    bool put_back; /* the database, which L2 has not forgotten the numbers of yet */
    bool knows_level;
    uint64_t level;
    int64_t look_ms;  /* when L2 is to be asked for its level again */
    int64_t prune_ms; /* when it is to be rid of what has ended */
    uint64_t told;    /* the writer, to forget up to here */
    int64_t told_ms;
    struct copying copying;
};

struct board_sync *board_sync_new(const struct app *app, struct l2 *l2, struct writer_client *writer,
                                  _Atomic uint64_t *print)
{
    struct board_sync *sync = sys_calloc(1, sizeof *sync);

    sync->app = app;
    sync->l2 = l2;
    sync->l2_shared = app->shared->cache->l2;
    sync->writer = writer;
    sync->scores = scores_open(app->config->store.database, app->config->store.busy_timeout_ms);
    sync->arena = arena_new(ARENA_FIRST, ARENA_MAX);
    sync->copying.arena = arena_new(ARENA_FIRST, ARENA_MAX);
    sync->print = print;
    snprintf(sync->member, sizeof sync->member, "%016" PRIx64, app->config->boards.print);
    return sync;
}

void board_sync_free(struct board_sync **sync_ptr)
{
    struct board_sync *sync = *sync_ptr;

    if (!sync)
        return;
    scores_close(&sync->scores);
    arena_free(&sync->arena);
    arena_free(&sync->copying.arena);
    buf_free(&sync->copying.after);
    free(sync);
    *sync_ptr = NULL;
}

/* Has the writer remove what is no longer needed. It may have too much to do to remember; then it is told again. */
static void forget(struct board_sync *sync, uint64_t upto)
{
    int64_t now_ms = sys_monotonic_ms();

    if (upto == 0 || (upto <= sync->told && now_ms - sync->told_ms < TELL_MS))
        return;
    sync->told = upto;
    sync->told_ms = now_ms;
    (void)!writer_client_scores_followed(sync->writer, upto);
}

static void lose_level(struct board_sync *sync)
{
    sync->knows_level = false;
    if (sync->copying.active)
        l2_boards_copy_drop(sync->l2);
    sync->copying.active = false;
    sync->look_ms = sys_monotonic_ms() + RETRY_MS;
}

/* CHANGES in L2's words; of those that are of no board that is read from L2, none. In the arena; NULL when it is full.
 */
static struct l2_boards_change *translate(struct board_sync *sync, const struct scores_change *changes, size_t count,
                                          size_t *kept)
{
    struct l2_boards_change *out = arena_calloc(sync->arena, count + 1, sizeof *out);
    int64_t now_ms = sys_now_ms() - GRACE_MS;

    *kept = 0;
    for (size_t i = 0; out && i < count; i++)
        if (board_is_live(&sync->app->config->boards, changes[i].board, now_ms))
            out[(*kept)++] = (struct l2_boards_change){.number = changes[i].number,
                                                       .board = changes[i].board,
                                                       .member = changes[i].member,
                                                       .removed = changes[i].removed,
                                                       .score = changes[i].score};
    return out;
}

/* Which boards are copied: of each the period that runs and the next one, which begins empty and is to be known then.
 */
static void list_boards(struct board_sync *sync)
{
    const struct config_boards *boards = &sync->app->config->boards;
    struct copying *copying = &sync->copying;
    int64_t now_ms = sys_now_ms(), next;
    struct buf ignored = {0};
    struct board board;

    copying->count = 0;
    copying->boards = arena_calloc(copying->arena, 2 * boards->count + 1, sizeof *copying->boards);
    for (size_t i = 0; copying->boards && i < boards->count; i++) {
        const struct config_board *config = &boards->items[i];
        struct buf name = {0};

        if (board_now(config, now_ms, copying->arena, &board, &ignored) == ERR_OK)
            copying->boards[copying->count++] = board.stored;
        if (!period_next(&config->period, period_day(now_ms), &next))
            continue;
        buf_printf(&name, "%s@", config->name);
        period_print(next, &name);
        copying->boards[copying->count++] = arena_take_buf(copying->arena, &name);
    }
    if (copying->boards)
        copying->boards[copying->count++] = STR(mark);
    buf_free(&ignored);
}

static void begin_copying(struct board_sync *sync, uint64_t newest, const char *why)
{
    struct copying *copying = &sync->copying;

    log_event(LOG_LEVEL_NOTICE, "boards_copied", LOG_TEXT("because", why), LOG_INT("number", (int64_t)newest));
    l2_boards_copy_drop(sync->l2);
    arena_reset(copying->arena);
    list_boards(sync);
    copying->active = copying->boards && !arena_overflowed(copying->arena);
    copying->level = newest;
    copying->at = 0;
    copying->begun = false;
    sync->must_copy = true;
}

static void end_copying(struct board_sync *sync)
{
    struct copying *copying = &sync->copying;

    copying->active = false;
    if (l2_boards_replace(sync->l2, copying->level) != ERR_OK) {
        lose_level(sync);
        return;
    }
    sync->must_copy = false;
    sync->knows_level = true;
    *sync->print = sync->app->config->boards.print;
    sync->level = copying->level;
    sync->look_ms = sys_monotonic_ms() + LOOK_MS;
}

static enum err copy_mark(struct board_sync *sync)
{
    const struct l2_boards_change row = {.number = 1, .board = STR(mark), .member = str_from(sync->member), .score = 0};

    return l2_boards_copy(sync->l2, &row, 1);
}

/* The next rows of the board whose turn it is; *MORE: it may have more. */
static enum err copy_rows(struct board_sync *sync, bool *more)
{
    struct copying *copying = &sync->copying;
    struct scores_change *rows;
    struct buf why = {0};
    size_t count, kept;

    *more = false;
    if (copying->at + 1 == copying->count)
        return copy_mark(sync);
    enum err err = scores_copy(sync->scores, copying->boards[copying->at], buf_str(&copying->after),
                               L2_BOARDS_BATCH_MAX, sync->arena, &rows, &count, &why);
    buf_free(&why);
    if (err != ERR_OK || count == 0)
        return err;
    struct l2_boards_change *changes = translate(sync, rows, count, &kept);
    err = changes ? ERR_OK : ERR_LIMIT;
    if (err == ERR_OK && kept > 0)
        err = l2_boards_copy(sync->l2, changes, kept);
    buf_clear(&copying->after);
    buf_add_str(&copying->after, rows[count - 1].member);
    *more = count == L2_BOARDS_BATCH_MAX;
    return err;
}

/* A batch. False when it could not be copied: all of it begins anew when L2 answers again. */
static bool copy_on(struct board_sync *sync)
{
    struct copying *copying = &sync->copying;
    bool more = false;
    enum err err = ERR_OK;

    if (!copying->begun) {
        err = l2_boards_copy_begin(sync->l2, copying->boards[copying->at]);
        buf_clear(&copying->after);
        copying->begun = true;
    }
    if (err == ERR_OK)
        err = copy_rows(sync, &more);
    if (err != ERR_OK) {
        lose_level(sync);
        return false;
    }
    if (!more) {
        copying->at++;
        copying->begun = false;
    }
    if (copying->at == copying->count)
        end_copying(sync);
    return true;
}

static void take_mark(void *context, const struct l2_boards_answer *answer)
{
    *(enum l2_boards_result *)context = answer->result;
}

/* Looks whether the copies are of the boards that are configured, and lets this host's readers know. */
static bool check_mark(struct board_sync *sync)
{
    enum l2_boards_result result = L2_BOARDS_UNKNOWN;
    const struct l2_boards_question question = {
        .board = STR(mark), .kind = L2_BOARDS_MEMBER, .member = str_from(sync->member)};

    l2_boards_read(sync->l2, &question, take_mark, &result);
    *sync->print = result == L2_BOARDS_FOUND ? sync->app->config->boards.print : 0;
    return result == L2_BOARDS_FOUND;
}

/* The database was put back to where it once was. Its numbers will come again, for other changes. */
static void start_over(struct board_sync *sync, uint64_t newest)
{
    sync->put_back = l2_boards_forget(sync->l2) != ERR_OK;
    if (sync->put_back)
        lose_level(sync);
    else
        begin_copying(sync, newest, "the database was put back");
}

/* Finds out where L2 stands. False when that cannot be known now. */
static bool look(struct board_sync *sync, uint64_t oldest, uint64_t newest)
{
    int64_t now_ms = sys_monotonic_ms();
    uint64_t level;

    if (l2_boards_lost(sync->l2_shared)) {
        begin_copying(sync, newest, "a board is not whole");
        return true;
    }
    if (now_ms < sync->look_ms && (!sync->knows_level || !sync->must_copy))
        return sync->knows_level;
    enum err err = l2_boards_level(sync->l2, &level);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        lose_level(sync);
        return false;
    }
    sync->look_ms = now_ms + LOOK_MS;
    sync->knows_level = err == ERR_OK;
    sync->level = level;
    if (err == ERR_NOT_FOUND)
        begin_copying(sync, newest, "there is no copy");
    else if (level > newest)
        start_over(sync, newest);
    else if (level < newest && (oldest == 0 || oldest > level + 1))
        begin_copying(sync, newest, "the log does not reach back");
    else if (sync->must_copy || (*sync->print != sync->app->config->boards.print && !check_mark(sync)))
        begin_copying(sync, newest, "they are of other boards");
    return true;
}

static bool is_needed(void *context, struct str board)
{
    const struct board_sync *sync = context;

    return str_equal(board, STR(mark)) || board_is_live(&sync->app->config->boards, board, sys_now_ms() - KEPT_MS);
}

/* L2 is not asked about a period that has ended, and would keep each of them. What fails is left to the next time. */
static void prune(struct board_sync *sync)
{
    int64_t now_ms = sys_monotonic_ms();

    if (now_ms < sync->prune_ms)
        return;
    sync->prune_ms = now_ms + PRUNE_MS;
    (void)!l2_boards_prune(sync->l2, is_needed, sync);
}

/* The next batch of the log. Whether there is another. */
static bool follow(struct board_sync *sync, uint64_t newest)
{
    struct scores_change *rows;
    struct buf why = {0};
    size_t count, kept;

    if (sync->level >= newest)
        return false;
    enum err err = scores_log_read(sync->scores, sync->level, L2_BOARDS_BATCH_MAX, sync->arena, &rows, &count, &why);
    buf_free(&why);
    if (err != ERR_OK || count == 0)
        return false;
    struct l2_boards_change *changes = translate(sync, rows, count, &kept);
    if (!changes || l2_boards_follow(sync->l2, sync->level, changes, kept, rows[count - 1].number) != ERR_OK) {
        /* Somebody else has told it, or it cannot be told: that is found out anew. */
        lose_level(sync);
        return false;
    }
    sync->level = rows[count - 1].number;
    return sync->level < newest;
}

/* Another host follows: here only what its copies are of is to be known. */
static void watch(struct board_sync *sync, bool in_contact)
{
    int64_t now_ms = sys_monotonic_ms();

    if (!in_contact || now_ms < sync->look_ms)
        return;
    sync->look_ms = now_ms + LOOK_MS;
    (void)check_mark(sync);
}

bool board_sync_step(struct board_sync *sync, bool in_contact)
{
    const struct writer_shared *writer = sync->app->shared->writer;
    uint64_t oldest, newest;
    struct buf why = {0};

    if (writer && atomic_load(&writer->state) != WRITER_READY) {
        watch(sync, in_contact);
        return false;
    }
    arena_reset(sync->arena);
    enum err err = scores_log_bounds(sync->scores, &oldest, &newest, &why);
    buf_free(&why);
    if (err != ERR_OK)
        return false;
    sync->put_back |= scores_was_replaced(sync->scores);
    if (!l2_boards_exist(sync->l2_shared)) {
        forget(sync, oldest > 0 ? newest : 0);
        return false;
    }
    if (!in_contact) {
        lose_level(sync);
        /* The boards will be copied anew, so none of it is needed. */
        forget(sync, oldest > 0 && newest - oldest >= BOARD_SYNC_LOG_MAX ? newest : 0);
        return false;
    }
    if (sync->put_back)
        start_over(sync, newest);
    if (!sync->copying.active && (sync->put_back || !look(sync, oldest, newest)))
        return false;
    if (sync->copying.active)
        return copy_on(sync);
    prune(sync);
    bool more = follow(sync, newest);
    forget(sync, oldest > 0 && oldest <= sync->level ? sync->level : 0);
    return more;
}
