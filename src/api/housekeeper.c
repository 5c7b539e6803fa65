/*
 * housekeeper: the log, the outbox, the jobs, and whom to trust.
 *
 * A round asks the log for what is next. A record goes into the host's tables; a gap purges the host of everything; a
 * broken contact ends the trust in L1 and L2. When the log holds nothing more, the outbox is drained, what is owed is
 * paid, and then, in this order, L2 and L1 are trusted. So nothing that was purged while there was no contact is ever
 * read again, by this host: neither from L1, which has not followed, nor from L2, which has not been told.
 *
 * The outbox is read by every host of a database, for the one that wrote to it may be cut off from Redis while others
 * are not: what it could not tell is told by another, so that a write is known everywhere within 100 ms as long as one
 * host has contact. A row that is younger than GRACE_MS is left to the worker that wrote it while L2 is trusted.
 * Purging twice does no harm, so a row is purged before it is removed, and may be purged by two hosts; but it costs
 * what has been kept since, so a row that is known to be carried out (writer_shares), and waits only for the writer to
 * remove it, is let alone while L2 is trusted.
 *
 * What other programs change in the database is noticed by the same look: triggers count it (store/watch), and what
 * depends on the tables whose counts are new is purged like what the outbox holds, also before L2 is trusted.
 *
 * While purge follows purge the database is looked at every LOOK_MS, and not after each: what there is to find is then
 * nearly always what the worker that wrote it is about to carry out.
 *
 * Jobs are worked off a batch at a time between two looks at the log, so that a long one delays no purge; so are the
 * leaderboards that L2 is told of (board_sync), and the files of nginx's cache that purges remove (front).
 */
#include "api/housekeeper.h"

#include <stdlib.h>
#include <unistd.h>

#include "api/board_sync.h"
#include "api/settle.h"
#include "base/sys.h"
#include "cache/front.h"
#include "cache/purge.h"
#include "l2/l2_log.h"
#include "store/changes.h"
#include "store/outbox.h"
#include "store/writer_client.h"

enum {
    WAIT_MS = 20,
    RETRY_MS = 20,
    LOOK_MS = 10,
    GRACE_MS = 40, /* longer than a commit and a purge take */
    ROWS_MAX = 64,
    UNREADABLE_MS = 1000,
    WATCH_MS = 10000,
    JOB_LOOK_MS = 500, /* for jobs that another host has left lying; one of our own is announced by the log */
    JOB_BATCH = 1000,
    COUNT_MS = 1000,
    ARENA_FIRST = 16 << 10,
    ARENA_MAX = 64 << 20,
};

/* Of something that is not to be done after each record. */
struct pace {
    uint64_t records; /* that had come when it was last asked for */
    int64_t next_ms;  /* not before, if others have come since */
};

struct housekeeper {
    const struct app *app;
    struct housekeeper_shared *shared;
    struct cache_shared *cache_shared;
    struct cache *cache;
    struct l2_log *log; /* NULL where there is none to follow */
    struct outbox *outbox;
    unsigned replaced; /* of the outbox, when the shares of its rows were last forgotten */
    struct changes *changes;
    struct writer_client *writer;
    struct pace drained, synced;
    uint64_t settled;    /* writes behind */
    struct front *front; /* nginx's files; NULL: they are let alone */
    bool front_due;      /* there are more of them to judge at once */
    struct board_sync *boards;
    bool boards_due; /* there is more to tell L2 of them at once */
    struct arena *arena, *job_arena;
    uint64_t self; /* drawn at random, for jobs */
    bool in_contact;
    bool knows_told;             /* of what L2 was told before this started */
    int64_t unreadable_since_ms; /* the outbox; 0: it can be read */
    int64_t undone;              /* the first row that the last drain has left; INT64_MAX: it left none */
    int64_t look_ms;             /* when jobs are looked for again */
    int64_t watch_ms;            /* when the writer may be asked again to watch what is not watched */
    bool has_job;
    struct l2_job job;
    int64_t job_due_ms; /* by its rate */
    int64_t count_ms;   /* when what waits is counted again */
};

struct housekeeper *housekeeper_new(const struct app *app)
{
    struct housekeeper *housekeeper = sys_calloc(1, sizeof *housekeeper);
    struct cache_shared *shared = app->shared->cache;

    housekeeper->app = app;
    housekeeper->shared = app->shared->housekeeper;
    housekeeper->cache_shared = shared;
    housekeeper->cache = cache_open(app->config, shared, NULL);
    if (l2_shared_has_log(shared->l2)) {
        struct l2_log_place place;

        /* What was purged before there was a housekeeper, nobody knows yet; a successor goes on. */
        cache_shared_place(shared, &place);
        if (place.number == 0)
            l2_begin(shared->l2);
        housekeeper->log = l2_log_open(app->config, shared->l2, &place);
    }
    housekeeper->outbox = outbox_open(app->config->store.database);
    housekeeper->changes = changes_new(app->catalog);
    housekeeper->writer = writer_client_new(app->config, app->shared->writer);
    housekeeper->boards =
        board_sync_new(app, cache_l2(housekeeper->cache), housekeeper->writer, &housekeeper->shared->boards);
    housekeeper->front = front_new(app->config->nginx.cache_path, shared->purged);
    housekeeper->arena = arena_new(ARENA_FIRST, ARENA_MAX);
    housekeeper->job_arena = arena_new(ARENA_FIRST, ARENA_MAX);
    sys_random(&housekeeper->self, sizeof housekeeper->self);
    housekeeper->self |= 1;
    return housekeeper;
}

void housekeeper_free(struct housekeeper **housekeeper_ptr)
{
    struct housekeeper *housekeeper = *housekeeper_ptr;

    if (!housekeeper)
        return;
    l2_log_close(&housekeeper->log);
    board_sync_free(&housekeeper->boards);
    front_free(&housekeeper->front);
    cache_close(&housekeeper->cache);
    outbox_close(&housekeeper->outbox);
    changes_free(&housekeeper->changes);
    writer_client_free(&housekeeper->writer);
    arena_free(&housekeeper->arena);
    arena_free(&housekeeper->job_arena);
    free(housekeeper);
    *housekeeper_ptr = NULL;
}

/* Purges what ROW names. False when L2 could not be told. */
static bool purge_row(struct housekeeper *housekeeper, const struct outbox_row *row)
{
    /* A row that cannot be read was meant for something. */
    const struct str *items = row->items_count > 0 ? row->items : &purge_everything;
    struct purge_result result;

    return purge_items(housekeeper->cache, items, row->items_count > 0 ? row->items_count : 1, false, &result) !=
           ERR_UNAVAILABLE;
}

/* Tells the writer which rows are done; of one that stays it is told again. */
static void remove_rows(struct housekeeper *housekeeper, const int64_t *ids, size_t count)
{
    settle_numbers(housekeeper->app);
    if (count > 0)
        (void)!writer_client_drained(housekeeper->writer, ids, count);
}

/* The database cannot be read. Where that lasts nobody can have committed a purge meanwhile, and copies in the caches
 * are all there is to answer with: then what the outbox may hold does not stand in the way any longer. Frees WHY. */
static bool give_up_reading(struct housekeeper *housekeeper, struct buf *why, bool *more)
{
    int64_t now_ms = sys_monotonic_ms();

    if (housekeeper->unreadable_since_ms == 0) {
        housekeeper->unreadable_since_ms = now_ms;
        log_event(LOG_LEVEL_WARNING, "outbox_unreadable", LOG_STR("why", buf_str(why)));
    }
    buf_free(why);
    *more = false;
    return now_ms - housekeeper->unreadable_since_ms >= UNREADABLE_MS;
}

/* One page of the outbox, behind *LAST_ID: all of it, or what has been left lying. *MORE: there may be another page.
 * False when something could not be read, or could not be told to L2. */
static bool drain_page(struct housekeeper *housekeeper, bool all, int64_t *last_id, bool *more)
{
    struct writer_shares *shares = &housekeeper->app->shared->writer->shares;
    struct outbox_row *rows;
    struct buf why = {0};
    int64_t ids[ROWS_MAX], now_ms = sys_now_ms();
    size_t count = 0, done = 0;

    arena_reset(housekeeper->arena);
    enum err err = outbox_read(housekeeper->outbox, *last_id, ROWS_MAX, housekeeper->arena, &rows, &count, &why);
    if (err != ERR_OK) {
        housekeeper->undone = 0;
        return give_up_reading(housekeeper, &why, more);
    }
    housekeeper->unreadable_since_ms = 0;
    buf_free(&why);
    if (housekeeper->replaced != outbox_replaced(housekeeper->outbox))
        writer_shares_forget(shares);
    housekeeper->replaced = outbox_replaced(housekeeper->outbox);
    for (; done < count; done++) {
        if (!all && now_ms - rows[done].at_ms < GRACE_MS && rows[done].at_ms <= now_ms)
            break;
        if ((all || !writer_shares_is_whole(shares, rows[done].id)) && !purge_row(housekeeper, &rows[done]))
            err = ERR_UNAVAILABLE;
        if (err != ERR_OK)
            break;
        writer_shares_set_whole(shares, rows[done].id);
        *last_id = ids[done] = rows[done].id;
    }
    remove_rows(housekeeper, ids, done);
    housekeeper->shared->outbox = count - done;
    housekeeper->undone = done < count ? rows[done].id : INT64_MAX;
    *more = count == ROWS_MAX && done == count;
    return err == ERR_OK;
}

static bool drain(struct housekeeper *housekeeper, bool all)
{
    int64_t last_id = 0;
    bool more = true, told = true;

    while (told && more)
        told = drain_page(housekeeper, all, &last_id, &more);
    return told;
}

/* Has the writer see to it that all tables are watched, where they may not be: at once when the schema is a new one;
 * again and again, but seldom, while it could not be done. */
static void look_after_triggers(struct housekeeper *housekeeper, const struct changes_found *found)
{
    int64_t now_ms = sys_monotonic_ms();

    if (!found->new_schema && (!found->unwatched || now_ms < housekeeper->watch_ms))
        return;
    housekeeper->watch_ms = now_ms + WATCH_MS;
    (void)!writer_client_changed(housekeeper->writer, NULL);
}

/* Purges what depends on tables that other programs have changed. CHANGES_HERE: L2 cannot be told
 * now, and will be later. False as drain. */
static bool purge_changed(struct housekeeper *housekeeper, enum changes_whom whom)
{
    struct changes_found found;
    struct purge_result result;
    struct buf why = {0};
    bool ignored, told = true;

    arena_reset(housekeeper->arena);
    if (changes_read(housekeeper->changes, housekeeper->outbox, whom, housekeeper->arena, &found, &why) != ERR_OK)
        return give_up_reading(housekeeper, &why, &ignored);
    buf_free(&why);
    if (found.items_count > 0)
        told = purge_items(housekeeper->cache, found.items, found.items_count, false, &result) != ERR_UNAVAILABLE;
    changes_note(housekeeper->changes, told && whom == CHANGES_L2);
    if (!told || whom != CHANGES_L2)
        return told;
    if (found.items_count > 0)
        log_event(LOG_LEVEL_INFO, "tables_changed", LOG_INT("resources", (int64_t)found.items_count));
    settle_numbers(housekeeper->app);
    look_after_triggers(housekeeper, &found);
    for (size_t i = 0; i < found.tables_count; i++)
        (void)!writer_client_changed(housekeeper->writer, &found.tables[i]);
    return true;
}

/* Whether it is to be done now. It then is. */
static bool is_due(const struct housekeeper *housekeeper, struct pace *pace)
{
    const int64_t now_ms = sys_monotonic_ms();
    const bool quiet = pace->records == housekeeper->shared->records;

    pace->records = housekeeper->shared->records;
    if (!quiet && now_ms < pace->next_ms)
        return false;
    pace->next_ms = now_ms + LOOK_MS;
    return true;
}

/* What L2 was told once, and what this host would not remember: an L2 that came back with older contents meanwhile has
 * lost it. Nothing stands in the way of reading L2 where the database does not say. */
static void learn_told(struct housekeeper *housekeeper)
{
    uint64_t number;

    if (housekeeper->knows_told || outbox_told(housekeeper->outbox, &number) != ERR_OK)
        return;
    l2_saw(housekeeper->cache_shared->l2, number);
    housekeeper->knows_told = true;
}

/* Writes behind that have been applied are settled once their purges have been carried out: then the caches may be read
 * again for what they changed. */
static bool drain_and_settle(struct housekeeper *housekeeper, bool all, bool new_rows)
{
    struct writer_pending *pending = &housekeeper->app->shared->writer->pending;
    int64_t outbox_id;
    const uint64_t applied = writer_pending_to_settle(pending, &outbox_id);
    const bool look = new_rows || outbox_changed(housekeeper->outbox);

    learn_told(housekeeper);
    const bool told = !look || drain(housekeeper, all);
    if (told && housekeeper->undone > outbox_id) {
        writer_pending_settle(pending, applied);
        housekeeper->settled = applied;
    }
    /* Behind the outbox: what is committed from now on makes outbox_changed true again. */
    return (!look || purge_changed(housekeeper, CHANGES_L2)) && told;
}

/* What the worker that wrote it, or a program that has ended, did not carry out. False as drain. */
static bool drain_left(struct housekeeper *housekeeper)
{
    int64_t ignored;

    if (!is_due(housekeeper, &housekeeper->drained) &&
        writer_pending_to_settle(&housekeeper->app->shared->writer->pending, &ignored) <= housekeeper->settled)
        return true;
    return drain_and_settle(housekeeper, false, housekeeper->shared->outbox > 0);
}

/* Everything in L2 that a lost purge may have meant. */
static bool pay(struct housekeeper *housekeeper)
{
    struct purge_result result;
    uint64_t debt;

    if (!cache_shared_owes_all(housekeeper->cache_shared, &debt))
        return true;
    if (purge_items(housekeeper->cache, &purge_everything, 1, false, &result) != ERR_OK)
        return false;
    cache_shared_repay(housekeeper->cache_shared, debt);
    return true;
}

/* The log holds nothing more: makes good what L2 was not told, and lets it be trusted. False when it cannot be yet. */
static bool settle(struct housekeeper *housekeeper)
{
    uint64_t epoch;

    if (!l2_distrusted(housekeeper->cache_shared->l2, &epoch))
        return drain_left(housekeeper);
    /* Other hosts may be back already: a purge that waits here for the breaker is one that they do not know of. */
    l2_revive(housekeeper->cache_shared->l2);
    if (!pay(housekeeper) || !drain_and_settle(housekeeper, true, true))
        return false;
    l2_trust(housekeeper->cache_shared->l2, epoch);
    return true;
}

static void lose_contact(struct housekeeper *housekeeper, const char *why)
{
    purged_suspect(housekeeper->cache_shared->purged);
    l2_distrust(housekeeper->cache_shared->l2);
    /* Purges then go to the outbox at once, instead of each waiting for an answer that does not come. */
    l2_trip(housekeeper->cache_shared->l2, why);
    if (housekeeper->in_contact || housekeeper->shared->state == HOUSEKEEPER_STARTING)
        log_event(LOG_LEVEL_WARNING, "log_broken", LOG_TEXT("why", why));
    housekeeper->shared->breaks += housekeeper->in_contact;
    housekeeper->in_contact = housekeeper->has_job = false;
    housekeeper->shared->state = HOUSEKEEPER_APART;
}

static void take_level(struct housekeeper *housekeeper)
{
    if (!settle(housekeeper))
        return;
    /* As of when the log was read: this process may have been stopped since. */
    purged_confirm(housekeeper->cache_shared->purged, l2_log_level_ms(housekeeper->log));
    housekeeper->shared->contact_ms = l2_log_level_ms(housekeeper->log);
    if (!housekeeper->in_contact)
        log_event(LOG_LEVEL_NOTICE, "log_followed", LOG_INT("number", (int64_t)l2_log_number(housekeeper->log)));
    housekeeper->in_contact = true;
    housekeeper->shared->state = HOUSEKEEPER_READY;
}

static void take_record(struct housekeeper *housekeeper, const struct l2_log_record *record)
{
    purge_note(housekeeper->cache_shared, &record->purge, record->number);
    housekeeper->shared->records++;
    if (record->purge.kind == L2_PURGE_PATTERN)
        housekeeper->look_ms = 0;
}

static void follow(struct housekeeper *housekeeper, int64_t wait_ms)
{
    struct l2_log_record record;
    struct l2_log_place place;
    const char *why = "";
    bool was_in_contact;

    switch (l2_log_next(housekeeper->log, wait_ms, &record, &why)) {
    case L2_LOG_RECORD:
        take_record(housekeeper, &record);
        break;
    case L2_LOG_GAP:
        purged_all(housekeeper->cache_shared->purged, false);
        housekeeper->shared->gaps++;
        break;
    case L2_LOG_LEVEL:
        take_level(housekeeper);
        break;
    case L2_LOG_BROKEN:
        /* A connection that was merely cut is made again at once: while there is none, what this host purges waits in
         * the outbox, and others do not know of it. */
        was_in_contact = housekeeper->in_contact;
        lose_contact(housekeeper, why);
        /* A host that is alone reads its L1 all the same. */
        if (housekeeper->app->config->cache.hosts == CONFIG_HOSTS_ONE)
            (void)purge_changed(housekeeper, CHANGES_HERE);
        if (!was_in_contact)
            usleep(RETRY_MS * 1000);
        break;
    }
    /* Only now: a successor must not pass over what is not in the tables yet. */
    l2_log_place(housekeeper->log, &place);
    cache_shared_note_place(housekeeper->cache_shared, &place);
    housekeeper->shared->number = place.number;
}

/* One batch of the job at hand, or a look for one. */
static void work(struct housekeeper *housekeeper, int64_t now_ms)
{
    struct l2 *l2 = cache_l2(housekeeper->cache);
    int64_t rate = housekeeper->app->config->cache.job_rate;

    if (!housekeeper->has_job && now_ms >= housekeeper->look_ms) {
        arena_reset(housekeeper->job_arena);
        housekeeper->has_job = l2_job_take(l2, housekeeper->self, housekeeper->job_arena, &housekeeper->job) == ERR_OK;
        housekeeper->look_ms = now_ms + JOB_LOOK_MS;
        housekeeper->job_due_ms = now_ms;
    }
    if (!housekeeper->has_job || now_ms < housekeeper->job_due_ms)
        return;
    size_t batch = rate > 0 && rate < JOB_BATCH ? (size_t)rate : JOB_BATCH;
    const uint64_t removed = housekeeper->job.removed;
    if (l2_job_step(l2, housekeeper->self, batch, &housekeeper->job) != ERR_OK) {
        /* Lost to another host, or to an outage: whoever takes it next goes on where it stands. */
        housekeeper->has_job = false;
        return;
    }
    if (housekeeper->job.removed > removed)
        housekeeper->shared->keys_removed += housekeeper->job.removed - removed;
    if (rate > 0)
        housekeeper->job_due_ms = now_ms + (int64_t)batch * 1000 / rate;
    if (housekeeper->job.state == L2_JOB_DONE) {
        housekeeper->shared->jobs_done++;
        log_event(LOG_LEVEL_NOTICE, "purge_job_done", LOG_INT("id", (int64_t)housekeeper->job.id),
                  LOG_STR("pattern", housekeeper->job.pattern), LOG_INT("removed", (int64_t)housekeeper->job.removed));
        housekeeper->has_job = false;
        housekeeper->look_ms = 0;
    }
}

/* Counts what waits, for whoever watches. What cannot be counted now keeps the number that it had. */
static void count_waiting(struct housekeeper *housekeeper, int64_t now_ms)
{
    uint64_t rows, bans;

    if (now_ms < housekeeper->count_ms)
        return;
    housekeeper->count_ms = now_ms + COUNT_MS;
    if (outbox_count(housekeeper->outbox, &rows) == ERR_OK)
        housekeeper->shared->outbox_depth = rows;
    if (housekeeper->in_contact && l2_job_count(cache_l2(housekeeper->cache), &bans) == ERR_OK)
        housekeeper->shared->bans = bans;
}

void housekeeper_round(struct housekeeper *housekeeper, int64_t wait_ms)
{
    count_waiting(housekeeper, sys_monotonic_ms());
    if (!housekeeper->log) {
        /* Nobody else purges, but an import may have left purges in the outbox. */
        (void)drain_left(housekeeper);
        (void)board_sync_step(housekeeper->boards, false);
        housekeeper->shared->state = HOUSEKEEPER_READY;
        if (!front_step(housekeeper->front, sys_monotonic_ms()))
            usleep((useconds_t)wait_ms * 1000);
        return;
    }
    int64_t now_ms = sys_monotonic_ms();
    bool job_due = housekeeper->has_job && now_ms >= housekeeper->job_due_ms;
    follow(housekeeper, job_due || housekeeper->boards_due || housekeeper->front_due ? 0 : wait_ms);
    housekeeper->front_due = front_step(housekeeper->front, sys_monotonic_ms());
    if (housekeeper->in_contact)
        work(housekeeper, sys_monotonic_ms());
    if (housekeeper->boards_due || is_due(housekeeper, &housekeeper->synced))
        housekeeper->boards_due = board_sync_step(housekeeper->boards, housekeeper->in_contact);
}

int housekeeper_run(const struct app *app, const volatile sig_atomic_t *stop)
{
    struct housekeeper *housekeeper = housekeeper_new(app);

    while (!*stop) {
        housekeeper_round(housekeeper, WAIT_MS);
        log_tell_suppressed();
    }
    housekeeper_free(&housekeeper);
    return 0;
}

/* Whether there is anything to catch up with. A database that cannot be read for so long holds nothing new either. */
static bool is_behind(const struct app_thread *thread, struct outbox *outbox)
{
    const int64_t until_ms = sys_monotonic_ms() + UNREADABLE_MS;
    bool waiting = false;
    struct buf why = {0};

    while (changes_waiting(outbox, &waiting, &why) != ERR_OK && sys_monotonic_ms() < until_ms) {
        buf_clear(&why);
        usleep(RETRY_MS * 1000);
    }
    if (why.len > 0)
        log_event(LOG_LEVEL_WARNING, "outbox_unreadable", LOG_TEXT("database", thread->app->config->store.database),
                  LOG_STR("why", buf_str(&why)));
    buf_free(&why);
    return waiting;
}

bool housekeeper_catch_up(struct app_thread *thread)
{
    const struct app *app = thread->app;
    struct housekeeper housekeeper = {.app = app,
                                      .shared = app->shared->housekeeper,
                                      .cache_shared = app->shared->cache,
                                      .cache = thread->cache,
                                      .writer = thread->writer};
    bool told = true;

    housekeeper.outbox = outbox_open(app->config->store.database);
    learn_told(&housekeeper);
    if (is_behind(thread, housekeeper.outbox)) {
        housekeeper.changes = changes_new(app->catalog);
        housekeeper.arena = arena_new(ARENA_FIRST, ARENA_MAX);
        told = drain_and_settle(&housekeeper, true, true);
        changes_free(&housekeeper.changes);
        arena_free(&housekeeper.arena);
    }
    outbox_close(&housekeeper.outbox);
    return told;
}

void housekeeper_ended(const struct app *app, bool orderly)
{
    struct cache_shared *shared = app->shared->cache;

    /* After an orderly end a successor comes at once; if it does not, L1 runs out of trust by itself. */
    if (orderly || !l2_shared_has_log(shared->l2))
        return;
    purged_suspect(shared->purged);
    l2_distrust(shared->l2);
}
