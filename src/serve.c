/*
 * A generation is one state of the files: configuration, catalogue and the application made of both. What outlives generations is made once,
 * before the first fork: counters, the writer's and the housekeeper's state, and the shared half of the cache for as long as the settings that shape it stay the same.
 *
 * Invariant: a generation is complete and checked before the supervisor hears of it; a wrong file changes nothing that runs.
 */
#include "serve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/housekeeper.h"
#include "api/openapi.h"
#include "api/route_warm.h"
#include "base/metrics.h"
#include "base/shm.h"
#include "base/sys.h"
#include "l2/l2_url.h"
#include "server/listener.h"
#include "server/supervisor.h"
#include "store/check.h"
#include "store/migrate.h"
#include "store/writer.h"

/* A writer that was killed lives on while the disk syncs for it, and who has to end a successor's is not locked out. */
#define LOCK_MS 1000

/* The shared half of the cache, as long as a generation uses it. */
struct shared_cache {
    struct cache_shared *it;
    struct buf signature;
    unsigned users;
};

struct loaded {
    struct serve_files files;
    struct app_shared shared;
    struct shared_cache *cache;
    struct app *app;
    unsigned migrations; /* the number of the last: those that are put there later are the next generation's */
    bool on_trial;       /* loaded while a writer worked: if its own cannot, it is given up */
};

struct serve {
    const char *config_path;
    struct writer_shared *writer;
    struct housekeeper_shared *housekeeper;
    struct scoreboard *scoreboard;
    struct recent *slow;
    struct shared_cache *cache; /* of the latest generation */
    int64_t started_ms;
};

void serve_free_files(struct serve_files *files)
{
    catalog_free(&files->catalog);
    config_free(&files->config);
    buf_free(&files->depends);
    buf_free(&files->answers);
}

/* What a line of the checking child begins with. */
enum { SAYS_PROBLEM = '!', SAYS_TABLES = '=', SAYS_ANSWER = '>' };

/* Reads what the checking child says. */
static void take_findings(int fd, struct report *report, struct serve_files *files)
{
    char *line = NULL;
    size_t cap = 0;
    FILE *in = fdopen(fd, "r");
    while (in && getline(&line, &cap, in) > 1) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == SAYS_TABLES)
            buf_printf(&files->depends, "%s\n", line + 1);
        else if (line[0] == SAYS_ANSWER)
            buf_printf(&files->answers, "%s\n", line + 1);
        else
            report_add(report, "", 0, 0, "%s", line + 1);
    }
    free(line);
    if (in)
        fclose(in);
    else
        close(fd);
}

/* How the checking child ends. */
enum { CHECKED = 0, CHECKED_WRONG = 2, CHECKED_NOTHING = 3 };

static void say_lines(int fd, char mark, struct str text)
{
    while (text.len > 0) {
        struct str line = str_cut(&text, '\n');
        dprintf(fd, "%c%.*s\n", mark, STR_ARG(line));
    }
}

static int check_in_child(const struct serve_files *files, int fd)
{
    struct report *report = report_new();
    struct buf depends = {0}, answers = {0};
    enum err err = check_statements(files->config->store.database, files->config->store.sql, files->catalog, report, &depends, &answers);
    for (size_t i = 0; i < report_count(report); i++)
        dprintf(fd, "%c%s\n", SAYS_PROBLEM, report_line(report, i));
    say_lines(fd, SAYS_TABLES, buf_str(&depends));
    say_lines(fd, SAYS_ANSWER, buf_str(&answers));
    report_free(&report);
    buf_free(&depends);
    buf_free(&answers);
    return err == ERR_OK ? CHECKED : err == ERR_UNAVAILABLE ? CHECKED_NOTHING : CHECKED_WRONG;
}

/* ERR_UNAVAILABLE: the database is such that nothing could be checked against it. */
static enum err check_apart(struct serve_files *files, struct report *report)
{
    int ends[2], status = -1;
    if (pipe(ends) != 0)
        return err_from_errno(errno);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        _exit(check_in_child(files, ends[1]));
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return err_from_errno(errno);
    }
    take_findings(ends[0], report, files);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == CHECKED)
        return ERR_OK;
    if (WIFEXITED(status) && WEXITSTATUS(status) == CHECKED_WRONG)
        return ERR_USAGE;
    if (WIFSIGNALED(status))
        report_add(report, files->config->store.database, 0, 0, "checking the statements against this database ended by %s",
                   strsignal(WTERMSIG(status)));
    return ERR_UNAVAILABLE;
}

/* The resources, each with a route that none of larder's own has. */
static enum err load_catalog(struct serve_files *files, struct report *report)
{
    static const struct app_shared nothing;
    struct app *app;
    enum err err = catalog_load(files->config->store.sql, report, &files->catalog);
    enum err joined = app_new(files->config, files->catalog, &nothing, report, &app);
    if (joined == ERR_OK)
        app_free(&app);
    return err == ERR_OK ? joined : err;
}

/* What is wrong with CONFIG beyond its text: a URL that its backend would not take, a user that does not exist. */
static enum err check_names(const struct config *config, struct report *report)
{
    size_t before = report_count(report);
    struct config_place place = config_place(config, &config->redis.url);
    struct l2_url url;
    struct buf why = {0};

    if (l2_url_parse(str_from(config->redis.url), &url, &why) == ERR_OK)
        l2_url_fini(&url);
    else
        report_add(report, place.file, place.line, 0, "`url` in [redis]: %s", why.p);
    listener_check(config, report);
    buf_free(&why);
    return report_count(report) > before ? ERR_USAGE : ERR_OK;
}

enum err serve_load_files(const char *config_path, struct report *report, struct serve_files *out)
{
    struct serve_files files = {0};
    enum err err = config_load(config_path, report, &files.config);
    /* What is wrong in one place does not keep the others from being looked at: a person learns all of it at once. */
    if (files.config && check_names(files.config, report) != ERR_OK)
        err = ERR_USAGE;
    if (files.config && load_catalog(&files, report) != ERR_OK)
        err = ERR_USAGE;
    enum err checked = files.config ? check_apart(&files, report) : ERR_OK;
    if (err == ERR_OK)
        err = checked;
    if (err == ERR_OK || err == ERR_UNAVAILABLE)
        *out = files;
    else
        serve_free_files(&files);
    return err;
}

/* The shared half of the cache for CONFIG: the latest one while its settings are the same, else a new one. */
static enum err take_cache(struct serve *serve, const struct serve_files *files, struct shared_cache **out, struct buf *why)
{
    const struct config *config = files->config;
    struct buf signature = {0};
    buf_printf(&signature, "%s|%s|%lld|%lld|%llu|%llu|%d", config->redis.url, config->redis.prefix, (long long)config->redis.cache_version,
               (long long)config->redis.database, (unsigned long long)config->memory.size, (unsigned long long)config->l1.size,
               (int)config->cache.hosts);
    enum err err = ERR_OK;
    if (!serve->cache || !str_equal(buf_str(&signature), buf_str(&serve->cache->signature))) {
        struct cache_shared *shared;
        err = cache_shared_new(config, catalog_longest_life_ms(files->catalog), &shared, why);
        if (err == ERR_OK) {
            serve->cache = sys_calloc(1, sizeof *serve->cache);
            *serve->cache = (struct shared_cache){.it = shared, .signature = signature};
            signature = (struct buf){0};
        }
    }
    buf_free(&signature);
    if (err == ERR_OK) {
        *out = serve->cache;
        serve->cache->users++;
    }
    return err;
}

static void unload(void *context, struct supervisor_generation *generation)
{
    struct serve *serve = context;
    struct loaded *loaded = generation->app;
    app_free(&loaded->app);
    if (--loaded->cache->users == 0) {
        if (serve->cache == loaded->cache)
            serve->cache = NULL;
        cache_shared_free(&loaded->cache->it);
        buf_free(&loaded->cache->signature);
        free(loaded->cache);
    }
    serve_free_files(&loaded->files);
    free(loaded);
    generation->app = NULL;
}

static enum err load_generation(struct serve *serve, struct report *report, struct supervisor_generation *out)
{
    struct loaded *loaded = sys_calloc(1, sizeof *loaded);
    struct buf why = {0};
    enum err err = serve_load_files(serve->config_path, report, &loaded->files);
    if (err == ERR_UNAVAILABLE) {
        /* No reason not to serve what the caches hold; the database may be mended while we run. */
        log_report(LOG_LEVEL_WARNING, "statements_not_checked", report);
        err = ERR_OK;
    }
    if (err == ERR_OK && (err = take_cache(serve, &loaded->files, &loaded->cache, &why)) != ERR_OK)
        report_add(report, serve->config_path, 0, 0, "%s", why.p ? why.p : err_text(err));
    buf_free(&why);
    if (err != ERR_OK) {
        serve_free_files(&loaded->files);
        free(loaded);
        return err;
    }
    loaded->shared = (struct app_shared){.cache = loaded->cache->it,
                                         .writer = serve->writer,
                                         .housekeeper = serve->housekeeper,
                                         .scoreboard = serve->scoreboard,
                                         .slow = serve->slow,
                                         .started_ms = serve->started_ms};
    loaded->migrations = migrate_last(loaded->files.config->store.sql);
    struct supervisor_generation generation = {.config = loaded->files.config, .app = loaded};
    err = app_new(loaded->files.config, loaded->files.catalog, &loaded->shared, report, &loaded->app);
    if (err != ERR_OK) {
        unload(serve, &generation);
        return err;
    }
    loaded->app->openapi = openapi_new(loaded->app, buf_str(&loaded->files.answers));
    *out = generation;
    return ERR_OK;
}

static void set_log(const struct config *config)
{
    log_init(STDERR_FILENO, config->log.level, config->log.format);
    log_send_to(config->log.target, config->log.socket);
    log_set_rate((uint32_t)config->log.rate);
}

static void take_up(void *context, const struct supervisor_generation *generation)
{
    struct serve *serve = context;
    const struct loaded *loaded = generation->app;
    set_log(generation->config);
    serve->cache = loaded->cache;
    /* Workers wait for the writer of their generation, which may have migrations to apply. */
    if (atomic_load(&serve->writer->state) != WRITER_LOCKED_OUT)
        atomic_store(&serve->writer->state, WRITER_STARTING);
    atomic_store(&serve->housekeeper->state, HOUSEKEEPER_STARTING);
}

static bool reload(void *context, struct supervisor_generation *out)
{
    struct serve *serve = context;
    struct report *report = report_new();
    const int state = atomic_load(&serve->writer->state);
    bool loaded = load_generation(serve, report, out) == ERR_OK;
    if (loaded) {
        ((struct loaded *)out->app)->on_trial = state == WRITER_STARTING || state == WRITER_READY;
        take_up(serve, out);
        atomic_store(&serve->housekeeper->warmed, false);
    } else {
        log_report(LOG_LEVEL_ERROR, "wrong_file", report);
    }
    report_free(&report);
    return loaded;
}

static unsigned one(const struct supervisor_generation *generation)
{
    (void)generation;
    return 1;
}

static unsigned count_workers(const struct supervisor_generation *generation)
{
    return (unsigned)generation->config->server.workers;
}

static enum supervisor_progress writer_progress(const struct supervisor_generation *generation)
{
    const struct loaded *loaded = generation->app;
    const int state = atomic_load(&loaded->shared.writer->state);
    if (state == WRITER_STARTING)
        return SUPERVISOR_SETTLING;
    return state == WRITER_FAILED && loaded->on_trial ? SUPERVISOR_UNFIT : SUPERVISOR_SETTLED;
}

static int run_writer(const struct supervisor_generation *generation, const struct supervisor_child *child)
{
    const struct loaded *loaded = generation->app;
    /* Whoever holds the listener keeps a successor of a killed supervisor from its place. */
    close(child->listener);
    return writer_run(generation->config, loaded->migrations, LOCK_MS, loaded->shared.writer, child->stop);
}

static enum supervisor_progress housekeeper_progress(const struct supervisor_generation *generation)
{
    const struct loaded *loaded = generation->app;
    return atomic_load(&loaded->shared.housekeeper->state) == HOUSEKEEPER_STARTING ? SUPERVISOR_SETTLING
                                                                                   : SUPERVISOR_SETTLED;
}

static int run_housekeeper(const struct supervisor_generation *generation, const struct supervisor_child *child)
{
    const struct loaded *loaded = generation->app;
    close(child->listener);
    return housekeeper_run(loaded->app, child->stop);
}

static void end_housekeeper(const struct supervisor_generation *generation, bool orderly)
{
    const struct loaded *loaded = generation->app;
    housekeeper_ended(loaded->app, orderly);
}

/* One, until it has done its work, which it does once for each generation. */
static unsigned count_warmers(const struct supervisor_generation *generation)
{
    const struct loaded *loaded = generation->app;
    bool wanted = false;
    for (size_t i = 0; i < loaded->files.catalog->count; i++)
        wanted |= loaded->files.catalog->resources[i].warm != NULL;
    return wanted && !atomic_load(&loaded->shared.housekeeper->warmed) ? 1 : 0;
}

static int run_warmer(const struct supervisor_generation *generation, const struct supervisor_child *child)
{
    const struct loaded *loaded = generation->app;
    close(child->listener);
    /* Before the work: whatever becomes of it, it is not begun again and again. */
    atomic_store(&loaded->shared.housekeeper->warmed, true);
    return route_warm_run(loaded->app, child->stop);
}

static void *open_thread(void *app, const struct loop *loop, struct scoreboard_thread *board)
{
    struct app_thread *thread = app_thread_open(app, loop);
    thread->board = board;
    if (thread->store)
        store_show_on(thread->store, board);
    return thread;
}

static void close_thread(void *thread)
{
    struct app_thread *it = thread;
    app_thread_close(&it);
}

static enum http_step handle(void *thread, struct http *http)
{
    return app_handle(thread, http);
}

static void run(void *thread, struct http *http)
{
    app_run(thread, http);
}

static void refuse(struct http *http, int status, const char *detail)
{
    app_refuse(http, status, detail);
}

static int run_worker(const struct supervisor_generation *generation, const struct supervisor_child *child)
{
    static const struct app_ops ops = {
        .thread_open = open_thread, .thread_close = close_thread, .handle = handle, .run = run, .refuse = refuse};
    const struct loaded *loaded = generation->app;
    const struct worker_options options = {.config = generation->config,
                                           .ops = &ops,
                                           .app = loaded->app,
                                           .listener = child->listener,
                                           .handover = child->handover,
                                           .row = child->row,
                                           .number = child->number,
                                           .stop = child->stop,
                                           .hold = child->hold};
    return worker_run(&options);
}

int serve_run(const char *config_path, char **program)
{
    static const struct supervisor_role roles[] = {
        {.name = "writer", .exclusive = true, .count = one, .run = run_writer, .progress = writer_progress},
        {.name = "housekeeper", .exclusive = true, .count = one, .run = run_housekeeper, .progress = housekeeper_progress,
         .ended = end_housekeeper},
        {.name = "worker", .serves = true, .count = count_workers, .run = run_worker},
        {.name = "warmer", .count = count_warmers, .run = run_warmer},
        {.name = NULL},
    };
    struct serve serve = {.config_path = config_path, .started_ms = sys_now_ms()};
    struct supervisor_generation first;
    struct report *report = report_new();
    void *writer = NULL, *housekeeper = NULL;
    int code = 1;
    if (log_share() != ERR_OK || recent_new(SLOW_TEXT_MAX, &serve.slow) != ERR_OK ||
        metrics_init(SUPERVISOR_CHILDREN_MAX) != ERR_OK || shm_map(sizeof *serve.writer, &writer) != ERR_OK ||
        shm_map(sizeof *serve.housekeeper, &housekeeper) != ERR_OK || scoreboard_new(&serve.scoreboard) != ERR_OK) {
        fprintf(stderr, "larder: no shared memory to be had\n");
        goto out;
    }
    serve.writer = writer;
    serve.housekeeper = housekeeper;
    if (load_generation(&serve, report, &first) != ERR_OK) {
        for (size_t i = 0; i < report_count(report); i++)
            fprintf(stderr, "larder: %s\n", report_line(report, i));
        code = 2;
        goto out;
    }
    set_log(first.config);
    log_role("supervisor");
    const struct supervisor_ops ops = {
        .roles = roles, .context = &serve, .scoreboard = serve.scoreboard, .program = program, .load = reload,
        .take_up = take_up, .unload = unload};
    code = supervisor_run(&ops, &first);
out:
    recent_free(&serve.slow);
    shm_unmap(&writer, sizeof *serve.writer);
    shm_unmap(&housekeeper, sizeof *serve.housekeeper);
    scoreboard_free(&serve.scoreboard);
    report_free(&report);
    return code;
}
