/* The loopback harness: see flow.h. */
#include "flow.h"

#include <dirent.h>

#include "flow_resources.h"

#include "../unit/l2_fixture.h"
#include "../unit/store_fixture.h"
#include "api/housekeeper.h"
#include "base/shm.h"
#include "l2/l2_boards.h"
#include "store/migrate.h"
#include "store/writer.h"

#define NOW INT64_C(1700000000000)

enum { BACKGROUND_MAX = 2, ROUNDS_MAX = 100, GONE_MS = 1000 /* that are waited for what has been stopped */ };

struct flow {
    struct fixture *files;
    struct server redis;
    struct buf url;
    struct config *config;
    struct catalog *catalog;
    struct app *app;
    struct app_shared shared;
    struct scoreboard *scoreboard;
    struct app_thread *event, *pool;
    struct test_loop loop;
    struct housekeeper *housekeeper;
    struct loop_job *background[BACKGROUND_MAX]; /* submitted, and not yet run */
    size_t background_count;
    bool hold_background;
    struct loop_job *awaited;
    pid_t writer;
    int64_t now_ms;
    /* The last request. */
    struct http http;
    struct buf texts; /* of the request */
    char *value;      /* of the header last asked for */
    struct buf body;
    bool waited, handed_over, advanced;
    enum http_step step;
};

static void link_files(const struct flow *flow, const char *part)
{
    const char *source = getenv("LARDER_SOURCE");
    char from[512], to[512], path[1024], target[1024];
    struct dirent *entry;

    snprintf(from, sizeof from, "%s/sql/%s", source ? source : ".", part);
    snprintf(to, sizeof to, "%s/sql/%s", flow->files->dir, part);
    assert_int_equal(mkdir(to, 0700), 0);
    DIR *directory = opendir(from);
    assert_non_null(directory);
    while ((entry = readdir(directory))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", from, entry->d_name);
        snprintf(target, sizeof target, "%s/%s", to, entry->d_name);
        char *absolute = realpath(path, NULL);
        assert_int_equal(symlink(absolute, target), 0);
        free(absolute);
    }
    closedir(directory);
}

static void make_files(struct flow *flow)
{
    char path[128];

    assert_int_equal(fixture_setup((void **)&flow->files), 0);
    snprintf(path, sizeof path, "%s/sql", flow->files->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    link_files(flow, "resources");
    link_files(flow, "migrations");
    for (size_t i = 0; i < sizeof resources / sizeof *resources; i++) {
        snprintf(path, sizeof path, "sql/resources/own-%s.sql", resources[i].name);
        fixture_write(flow->files, path, resources[i].text);
    }
}

static void print_report(struct report **report, enum err err)
{
    for (size_t i = 0; i < report_count(*report); i++)
        print_error("%s\n", report_line(*report, i));
    report_free(report);
    assert_int_equal(err, ERR_OK);
}

static void make_database(struct flow *flow)
{
    char path[512];
    struct report *report = report_new();

    snprintf(path, sizeof path, "%s/sql", flow->files->dir);
    print_report(&report, migrate_run(&(struct migrate){
                              .path = flow->files->database, .sql_dir = path, .last = MIGRATE_ALL, .report = report}));
    flow_execute(flow,
                 "CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT NOT NULL UNIQUE, stars INTEGER, weight REAL,"
                 "                    done INTEGER, CONSTRAINT five_stars_at_most CHECK (stars <= 5));"
                 "INSERT INTO notes (title, stars) VALUES ('one', 1), ('two', 2), ('three', 3);"
                 "INSERT INTO stocks (ticker, name, sector, price) VALUES"
                 "  ('AAPL', 'Apple Inc.', 'Technology', 155.15),"
                 "  ('BF.B', 'Brown\xe2\x80\x93"
                 "Forman', 'Consumer Staples', NULL);");
}

static void load(struct flow *flow)
{
    struct buf text = {0}, why = {0};
    char path[512];
    struct report *report = report_new();

    buf_printf(&text,
               "[store]\ndatabase = %s\nsql = %s/sql\nbusy_timeout = 50ms\nwrite_timeout = 20s\n[redis]\nurl = %s\n"
               "connect_timeout = 5s\ntimeout = 5s\n[breaker]\nopen = 100ms\n[memory]\nsize = 4M\n"
               "[auth]\nadmin_token = " FLOW_TOKEN "\n"
               "[board.momentum]\nmode = last\n[board.value]\nmode = last\n[board.game]\n[board.total]\nmode = sum\n"
               "[board.days]\nperiod = daily\n[board.league]\nperiod = season\nseasons = 2023-01-01 2023-11-15\n"
               "[board.future]\nperiod = season\nseasons = 2030-01-01\n",
               flow->files->database, flow->files->dir, flow->url.p);
    print_report(&report, config_parse(buf_str(&text), "larder.conf", NULL, report, &flow->config));
    report = report_new();
    snprintf(path, sizeof path, "%s/sql", flow->files->dir);
    print_report(&report, catalog_load(path, report, &flow->catalog));
    assert_int_equal(cache_shared_new(flow->config, catalog_longest_life_ms(flow->catalog), &flow->shared.cache, &why),
                     ERR_OK);
    report = report_new();
    print_report(&report, app_new(flow->config, flow->catalog, &flow->shared, report, &flow->app));
    buf_free(&text);
    buf_free(&why);
}

static enum err submit(void *self, struct loop_job *job)
{
    struct flow *flow = (struct flow *)(void *)((char *)self - offsetof(struct flow, loop));

    if (job->is_awaited) {
        assert_null(flow->awaited);
        flow->awaited = job;
        return ERR_OK;
    }
    if (flow->background_count == BACKGROUND_MAX)
        return ERR_LIMIT;
    flow->background[flow->background_count++] = job;
    return ERR_OK;
}

/* What the request that is being answered waits for. */
static void run_awaited(struct flow *flow)
{
    struct loop_job *job = flow->awaited;

    flow->awaited = NULL;
    if (!job)
        return;
    job->run(job, flow->pool);
    job->done(job);
}

static void run_background(struct flow *flow)
{
    while (!flow->hold_background && flow->background_count > 0) {
        struct loop_job *job = flow->background[--flow->background_count];

        job->run(job, flow->pool);
        job->done(job);
    }
}

void flow_hold_background(struct flow *flow, bool hold)
{
    flow->hold_background = hold;
    run_background(flow);
}

/* Whether the copies of leaderboards have been made, where there are any. */
static bool has_boards(const struct flow *flow)
{
    return !l2_boards_exist(flow->shared.cache->l2) ||
           atomic_load(&flow->shared.housekeeper->boards) == flow->config->boards.print;
}

void flow_keep_house(struct flow *flow)
{
    const struct housekeeper_shared *shared = flow->shared.housekeeper;

    /* Twice in contact, and nothing new: what was there when the first one was asked for has been dealt with. */
    for (int i = 0, settled = 0; i < ROUNDS_MAX && settled < 2; i++) {
        const uint64_t records = atomic_load(&shared->records);

        housekeeper_round(flow->housekeeper, 1);
        settled += atomic_load(&shared->state) == HOUSEKEEPER_READY && has_boards(flow) &&
                   atomic_load(&shared->records) == records;
    }
}

void flow_forget_l1(struct flow *flow)
{
    purged_all(flow->shared.cache->purged, false);
}

static void open_threads(struct flow *flow)
{
    loop_init(&flow->loop);
    flow->loop.loop.submit = submit;
    flow->event = app_thread_open(flow->app, &flow->loop.loop);
    flow->pool = app_thread_open(flow->app, NULL);
}

static void close_threads(struct flow *flow)
{
    flow_hold_background(flow, false);
    app_thread_close(&flow->event);
    app_thread_close(&flow->pool);
    loop_fini(&flow->loop);
}

void flow_reopen(struct flow *flow)
{
    close_threads(flow);
    open_threads(flow);
}

static struct flow *make_flow(void)
{
    struct flow *flow = calloc(1, sizeof *flow);

    log_init(2, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    flow->now_ms = NOW;
    return flow;
}

static struct flow *open_rest(struct flow *flow)
{
    void *writer, *housekeeper;

    make_files(flow);
    make_database(flow);
    assert_int_equal(shm_map(sizeof(struct writer_shared), &writer), ERR_OK);
    assert_int_equal(shm_map(sizeof(struct housekeeper_shared), &housekeeper), ERR_OK);
    assert_int_equal(scoreboard_new(&flow->scoreboard), ERR_OK);
    flow->shared.scoreboard = flow->scoreboard;
    flow->shared.writer = writer;
    flow->shared.housekeeper = housekeeper;
    flow->shared.started_ms = NOW - 1000;
    load(flow);
    flow->http.arena = arena_new(16 << 10, 64 << 20);
    flow_start_writer(flow);
    open_threads(flow);
    flow->housekeeper = housekeeper_new(flow->app);
    if (flow->redis.dir[0] != '\0')
        flow_keep_house(flow);
    return flow;
}

struct flow *flow_open_at(const char *url)
{
    struct flow *flow = make_flow();

    buf_add_str(&flow->url, str_from(url));
    return open_rest(flow);
}

struct flow *flow_open_memory(void)
{
    return flow_open_at("memory:");
}

struct flow *flow_open_redis(void)
{
    struct flow *flow = make_flow();

    server_start(&flow->redis, NULL, NULL);
    buf_printf(&flow->url, "unix://%s", flow->redis.socket);
    return open_rest(flow);
}

void flow_close(struct flow **closed)
{
    struct flow *flow = *closed;
    void *writer = flow->shared.writer, *housekeeper = flow->shared.housekeeper;

    housekeeper_free(&flow->housekeeper);
    close_threads(flow);
    flow_stop_writer(flow);
    app_free(&flow->app);
    cache_shared_free(&flow->shared.cache);
    catalog_free(&flow->catalog);
    config_free(&flow->config);
    shm_unmap(&writer, sizeof(struct writer_shared));
    shm_unmap(&housekeeper, sizeof(struct housekeeper_shared));
    scoreboard_free(&flow->scoreboard);
    arena_free(&flow->http.arena);
    if (flow->redis.dir[0] != '\0')
        server_remove(&flow->redis);
    fixture_teardown((void **)&flow->files);
    buf_free(&flow->http.headers);
    buf_free(&flow->texts);
    buf_free(&flow->body);
    buf_free(&flow->url);
    free(flow->value);
    free(flow);
    *closed = NULL;
}

int flow_setup_memory(void **state)
{
    *state = flow_open_memory();
    return 0;
}

int flow_setup_redis(void **state)
{
    *state = flow_open_redis();
    return 0;
}

int flow_teardown(void **state)
{
    struct flow *flow = *state;

    flow_close(&flow);
    return 0;
}

static volatile sig_atomic_t writer_stop;

static void stop_writer(int number)
{
    (void)number;
    writer_stop = 1;
}

static _Noreturn void run_writer(const struct flow *flow)
{
    struct sigaction action = {.sa_handler = stop_writer};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigaction(SIGTERM, &action, NULL);
    _exit(writer_run(flow->config, MIGRATE_ALL, 250, flow->shared.writer, &writer_stop));
}

void flow_start_writer(struct flow *flow)
{
    atomic_store(&flow->shared.writer->state, WRITER_STARTING);
    flow->config->store.write_timeout_ms = PATIENCE_MS;
    flow->writer = fork();
    if (flow->writer == 0)
        run_writer(flow);
    for (int waited = 0; atomic_load(&flow->shared.writer->state) != WRITER_READY; waited += 5) {
        assert_true(waited < PATIENCE_MS);
        nap(5);
    }
}

void flow_stop_writer(struct flow *flow)
{
    if (flow->writer == 0)
        return;
    kill(flow->writer, SIGTERM);
    waitpid(flow->writer, NULL, 0);
    flow->writer = 0;
    flow->config->store.write_timeout_ms = GONE_MS;
}

void flow_stop_l2(struct flow *flow)
{
    server_kill(&flow->redis);
}

void flow_start_l2(struct flow *flow)
{
    server_start(&flow->redis, NULL, NULL);
}

void flow_hang_l2(struct flow *flow)
{
    flow->config->redis.timeout_ms = GONE_MS;
    server_hang(&flow->redis);
}

void flow_resume_l2(struct flow *flow)
{
    kill(flow->redis.pid, SIGCONT);
}

void flow_remove_database(struct flow *flow)
{
    static const char *const endings[] = {"", "-wal", "-shm"};
    char path[256];

    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        snprintf(path, sizeof path, "%s%s", flow->files->database, endings[i]);
        assert_true(unlink(path) == 0 || errno == ENOENT);
    }
}

void flow_damage_database(struct flow *flow)
{
    flow_remove_database(flow);
    FILE *file = fopen(flow->files->database, "w");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++)
        fputs("This was a database once. ", file);
    fclose(file);
}

void flow_pass(struct flow *flow, int64_t ms)
{
    flow->now_ms += ms;
}

const char *flow_database(const struct flow *flow)
{
    return flow->files->database;
}

void flow_execute(struct flow *flow, const char *sql)
{
    fixture_execute(flow->files->database, sql);
}

int64_t flow_integer(struct flow *flow, const char *sql)
{
    return fixture_integer(flow->files->database, sql);
}

static void advance(struct http *http, enum http_step step)
{
    struct flow *flow = http->carrier;

    assert_false(flow->advanced);
    flow->advanced = true;
    flow->step = step;
}

static void set(struct flow *flow, const char *name, const char *value)
{
    if (value)
        http_set_variable(&flow->http, str_from(name), str_from(value));
}

/* What the gateway does: variables to a request. */
static bool make_request(struct flow *flow, const struct flow_request *request)
{
    struct http *http = &flow->http;
    const char *why;

    arena_reset(http->arena);
    buf_clear(&http->headers);
    *http = (struct http){.arena = http->arena,
                          .headers = http->headers,
                          .now_ms = flow->now_ms,
                          .started_us = sys_monotonic_us(),
                          .advance = advance,
                          .carrier = flow};
    struct str length = arena_printf(http->arena, "%zu", request->body ? strlen(request->body) : 0);
    struct str bearer = arena_printf(http->arena, "Bearer %s", request->token ? request->token : "");
    set(flow, "REQUEST_METHOD", request->method ? request->method : "GET");
    set(flow, "REQUEST_URI", request->url);
    set(flow, "REMOTE_ADDR", request->address ? request->address : "192.0.2.1");
    set(flow, "CONTENT_LENGTH", length.p);
    set(flow, "CONTENT_TYPE", request->body && !request->content_type ? "application/json" : request->content_type);
    set(flow, "HTTP_IF_MATCH", request->if_match);
    set(flow, "HTTP_IF_NONE_MATCH", request->if_none_match);
    set(flow, "HTTP_IDEMPOTENCY_KEY", request->idempotency_key);
    set(flow, "HTTP_AUTHORIZATION", request->token ? bearer.p : NULL);
    http->body = str_from(request->body);
    return http_finish_request(http, &why) == ERR_OK;
}

int flow_ask(struct flow *flow, const struct flow_request *request)
{
    struct http *http = &flow->http;

    flow->waited = flow->handed_over = flow->advanced = false;
    if (!make_request(flow, request)) {
        app_problem(http, 400, "The request is malformed.");
        flow->step = HTTP_DONE;
    } else {
        flow->step = app_handle(flow->event, http);
    }
    if (flow->step == HTTP_WAITING) {
        const int64_t end_ms = sys_monotonic_ms() + PATIENCE_MS;

        flow->waited = true;
        while (!flow->advanced) {
            assert_true(sys_monotonic_ms() < end_ms);
            loop_round(&flow->loop);
            run_awaited(flow);
        }
    }
    if (flow->step == HTTP_HAND_OVER && request->pool_is_full) {
        app_refuse(http, 503, "The pool is full.");
    } else if (flow->step == HTTP_HAND_OVER) {
        flow->handed_over = true;
        app_run(flow->pool, http);
    }
    buf_clear(&flow->body);
    buf_add_str(&flow->body, http->out);
    buf_add(&flow->body, "", 1);
    run_background(flow);
    return http->status;
}

int flow_get(struct flow *flow, const char *url)
{
    return flow_ask(flow, &(struct flow_request){.url = url});
}

int flow_admin(struct flow *flow, const char *method, const char *url, const char *body)
{
    return flow_ask(flow, &(struct flow_request){.method = method, .url = url, .body = body, .token = FLOW_TOKEN});
}

const char *flow_body(const struct flow *flow)
{
    return flow->body.p;
}

const char *flow_header(struct flow *flow, const char *name)
{
    struct str rest = buf_str(&flow->http.headers);

    free(flow->value);
    flow->value = NULL;
    while (rest.len > 0) {
        struct str line = str_cut(&rest, '\n'), value = line;

        if (!str_equal_nocase(str_cut(&value, ':'), str_from(name)))
            continue;
        value.len -= value.len > 0 && value.p[value.len - 1] == '\r';
        flow->value = sys_copy(str_trim(value));
    }
    return flow->value;
}

bool flow_waited(const struct flow *flow)
{
    return flow->waited;
}

bool flow_was_handed_over(const struct flow *flow)
{
    return flow->handed_over;
}

struct scoreboard *flow_scoreboard(const struct flow *flow)
{
    return flow->scoreboard;
}

void flow_assert_body_has(const struct flow *flow, const char *text)
{
    if (!strstr(flow->body.p, text))
        fail_msg("`%s` is not in: %s", text, flow->body.p);
}

void flow_assert_cache(struct flow *flow, const char *outcome)
{
    const char *value = flow_header(flow, "X-Cache");

    if (!value)
        fail_msg("no X-Cache; status %d: %s", flow->http.status, flow->body.p);
    assert_string_equal(value, outcome);
}

void flow_assert_problem(struct flow *flow, int status, const char *text)
{
    if (flow->http.status != status)
        fail_msg("%d instead of %d: %s", flow->http.status, status, flow->body.p);
    assert_true(str_equal(flow->http.content_type, STR("application/problem+json")));
    flow_assert_body_has(flow, "{\"type\":\"about:blank\",\"title\":\"");
    flow_assert_body_has(flow, "\"detail\":\"");
    flow_assert_body_has(flow, text);
}

static void count_key(const char *body, size_t *count)
{
    const char *list = strstr(body, "\"keys\":[");

    assert_non_null(list);
    for (list += 8; *list && *list != ']'; list++)
        *count += *list == '"';
    *count /= 2;
}

size_t flow_count_keys(struct flow *flow)
{
    size_t count = 0;

    assert_int_equal(flow_admin(flow, "GET", "/api/cache/keys?limit=1000", NULL), 200);
    count_key(flow_body(flow), &count);
    return count;
}
