/*
 * The commands but `import` and `stats`, which have files of their own. They print results on stdout and what is wrong
 * on stderr, and never leave anything half done: what they change they change through the writer or through the cache's
 * own verbs.
 */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/body.h"
#include "base/sys.h"
#include "cache/purge.h"
#include "cgi.h"
#include "command_writer.h"
#include "config/catalog.h"
#include "server/fcgi_client.h"
#include "serve.h"
#include "store/outbox.h"
#include "store/store.h"
#include "store/writer_client.h"

#define ASK_TIMEOUT_MS 60000
#define ANSWER_MS 5000 /* that a server may need beyond the time of the request itself */
#define ANSWER_MAX (4u << 20)
#define WARM_BATCH 200
#define LIFE_MAX_MS (INT64_C(2) * 366 * 86400 * 1000) /* of a resource: fresh and stale */

void cli_print_report(const struct report *report)
{
    for (size_t i = 0; i < report_count(report); i++)
        fprintf(stderr, "larder: %s\n", report_line(report, i));
}

const char *cli_config_path(const struct cli *cli)
{
    static const char installed[] = LARDER_SYSCONFDIR "/larder.conf";
    if (cli->config_path && *cli->config_path)
        return cli->config_path;
    /* One that is there and may not be looked at is not one that is absent: whoever opens it says why it cannot be. */
    return access(installed, F_OK) == 0 || errno != ENOENT ? installed : NULL;
}

bool cli_load_config(const struct cli *cli, struct config **out)
{
    struct report *report = report_new();
    bool loaded = config_load(cli_config_path(cli), report, out) == ERR_OK;
    cli_print_report(report);
    report_free(&report);
    if (loaded)
        log_init(STDERR_FILENO, (*out)->log.level, (*out)->log.format);
    else
        config_free(out);
    return loaded;
}

static bool takes(const struct cli *cli, int count, const char *usage)
{
    if (cli->argc == count)
        return true;
    fprintf(stderr, "usage: larder %s\n", usage);
    return false;
}

int cli_serve(const struct cli *cli)
{
    if (!takes(cli, 0, "serve"))
        return 2;
    sys_tune_malloc(cli->program);
    store_tune_malloc();
    return serve_run(cli_config_path(cli), cli->program);
}

int cli_answer(const struct cli *cli)
{
    return cgi_run(cli_config_path(cli));
}

int cli_write(const struct cli *cli)
{
    return command_writer_run(cli_config_path(cli));
}

int cli_check(const struct cli *cli)
{
    struct serve_files files = {0};
    if (!takes(cli, 0, "check [--print]"))
        return 2;
    struct report *report = report_new();
    enum err err = serve_load_files(cli_config_path(cli), report, &files);
    cli_print_report(report);
    if (err == ERR_OK && cli->print) {
        struct buf text = {0};
        config_print(files.config, &text);
        fwrite(text.p, 1, text.len, stdout);
        buf_free(&text);
    } else if (err == ERR_OK) {
        fwrite(files.depends.p, 1, files.depends.len, stdout);
        printf("%zu resources in %s, every statement prepared: nothing is wrong\n", files.catalog->count,
               files.config->store.sql);
    } else {
        fprintf(stderr, "larder: found wrong: %zu\n", report_count(report));
    }
    serve_free_files(&files);
    report_free(&report);
    return err == ERR_OK ? 0 : 2;
}

/* sql/sample.sql as one write. */
static enum err load_sample(const struct config *config, struct buf *why)
{
    struct buf path = {0}, sql = {0};
    buf_printf(&path, "%s/sample.sql", config->store.sql);
    enum err err = sys_read_file(path.p, 16u << 20, &sql);
    if (err != ERR_OK) {
        buf_printf(why, "%s: %s", path.p, err_text(err));
    } else {
        struct arena *arena = arena_new(4096, 1u << 20);
        struct writer_client_told told;
        struct writer_client *client = writer_client_new(config, NULL);
        const struct store_caller caller = {.now_ms = sys_now_ms()};
        err = writer_client_write(client, &(struct writer_client_ask){.sql = buf_str(&sql), .caller = &caller}, arena,
                                  &told, why);
        writer_client_free(&client);
        arena_free(&arena);
    }
    buf_free(&path);
    buf_free(&sql);
    return err;
}

int cli_migrate(const struct cli *cli)
{
    struct config *config;
    struct buf why = {0};
    struct command_writer *writer;
    if (!takes(cli, 0, "migrate [--sample]") || !cli_load_config(cli, &config))
        return 2;
    /* A writer migrates as it starts. */
    enum err err = command_writer_start(config, cli_config_path(cli), -1, &writer, &why);
    if (err == ERR_OK && cli->sample)
        err = load_sample(config, &why);
    if (err == ERR_OK && command_writer_is_servers(writer) && !cli->sample)
        printf("a server is running on %s: it applies migrations when it starts and on SIGHUP\n",
               config->store.database);
    else if (err == ERR_OK)
        printf("%s is up to date%s\n", config->store.database, cli->sample ? ", with the sample in it" : "");
    command_writer_stop(&writer);
    if (err != ERR_OK)
        fprintf(stderr, "larder: %s\n", why.p ? why.p : err_text(err));
    buf_free(&why);
    config_free(&config);
    return err == ERR_OK ? 0 : 1;
}

enum err cli_ask_server(const struct config *config, const struct cli_question *question)
{
    int64_t own_ms = config->server.request_timeout_ms + ANSWER_MS;
    const struct fcgi_client_request request = {.socket = config->server.socket,
                                                .method = question->method,
                                                .uri = question->uri,
                                                .accept = question->accept,
                                                .token = config->auth.admin_token,
                                                .timeout_ms = own_ms > ASK_TIMEOUT_MS ? own_ms : ASK_TIMEOUT_MS,
                                                .content_type = question->body.len > 0 ? "application/json" : NULL,
                                                .body = question->body};
    struct buf *answer = question->answer, *why = question->why;
    int code = 0;
    enum err err = fcgi_client_ask(&request, &code, answer);

    if (err == ERR_UNAVAILABLE)
        buf_printf(why, "no server listens on %s", config->server.socket);
    else if (err == ERR_DENIED)
        buf_printf(why, "uid %u may not connect to %s: run this as root, or as the server's user", (unsigned)geteuid(),
                   config->server.socket);
    else if (err != ERR_OK)
        buf_printf(why, "the server on %s: %s", config->server.socket, err_text(err));
    else if (code != 200 && code != 202)
        buf_printf(why, "the server on %s answered %d: %.*s", config->server.socket, code, STR_ARG(buf_str(answer)));
    if (question->status)
        *question->status = code;
    /* To who may not ask it, a server is as good as none. */
    if (err == ERR_DENIED)
        return ERR_UNAVAILABLE;
    return err != ERR_OK ? err : code == 200 || code == 202 ? ERR_OK : ERR_DENIED;
}

/* Reads the members of the server's ANSWER, whose views lie in ARENA or in it. */
static enum err read_answer(const struct buf *answer, struct arena *arena, struct body *out, struct buf *why)
{
    struct buf reason = {0};
    enum err err = body_parse(buf_str(answer), arena, out, &reason);

    if (err != ERR_OK)
        buf_printf(why, "the server's answer %s", reason.p ? reason.p : err_text(err));
    buf_free(&reason);
    return err;
}

/* The member NAME as a count; 0 when it is none. */
static uint64_t count_of(const struct body *body, struct str name)
{
    const struct body_member *member = body_find(body, name);
    int64_t count = 0;

    if (member && member->type == BODY_NUMBER && str_to_int64(member->text, &count) != ERR_OK)
        count = 0;
    return count > 0 ? (uint64_t)count : 0;
}

/* What is known of a purge. */
struct purge_outcome {
    uint64_t removed; /* keys; 0 where nobody counted */
    uint64_t job;     /* which removes what a pattern matches; 0 without one */
    bool pending;     /* in force where the server runs, and told to the shared cache when it can be reached */
};

/* One item as the body of POST /api/cache/invalidate. */
static void add_invalidation(struct str item, struct buf *out)
{
    struct str rest = item, kind = str_cut(&rest, ':');

    buf_add_char(out, '{');
    buf_add_json(out, kind);
    buf_add_char(out, ':');
    buf_add_json(out, rest);
    buf_add_char(out, '}');
}

static enum err purge_item_by_server(const struct config *config, struct str body, struct purge_outcome *outcome,
                                     struct buf *why)
{
    struct arena *arena = arena_new(4096, ANSWER_MAX);
    struct buf answer = {0};
    struct body members;
    int status = 0;
    enum err err =
        cli_ask_server(config, &(struct cli_question){.method = "POST",
                                                      .uri = "/api/cache/invalidate",
                                                      .body = body,
                                                      .status = &status,
                                                      .answer = &answer,
                                                      .why = why});

    if (err == ERR_OK)
        err = read_answer(&answer, arena, &members, why);
    if (err == ERR_OK) {
        uint64_t job = count_of(&members, STR("job"));

        outcome->removed += count_of(&members, STR("removed"));
        outcome->job = job != 0 ? job : outcome->job;
        outcome->pending |= status == 202;
    }
    buf_free(&answer);
    arena_free(&arena);
    return err;
}

/* By the server that runs: its own memory is purged at once. ERR_UNAVAILABLE when none does. */
static enum err purge_by_server(const struct config *config, const struct str *items, size_t count,
                                struct purge_outcome *outcome, struct buf *why)
{
    enum err err = ERR_OK;

    if (count == 0)
        return purge_item_by_server(config, STR("{\"all\":true}"), outcome, why);
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        struct buf body = {0};

        add_invalidation(items[i], &body);
        err = purge_item_by_server(config, buf_str(&body), outcome, why);
        buf_free(&body);
    }
    return err;
}

/* How long what is purged must be remembered: what cannot be learnt from the resources is the longest there can be. */
static int64_t longest_life_ms(const struct config *config)
{
    struct report *report = report_new();
    struct catalog *catalog = NULL;
    enum err err = catalog_load(config->store.sql, report, &catalog);
    int64_t life_ms = err == ERR_OK ? catalog_longest_life_ms(catalog) : LIFE_MAX_MS;

    catalog_free(&catalog);
    report_free(&report);
    return life_ms;
}

static enum err purge_in_redis(const struct config *config, const struct str *items, size_t count,
                               struct purge_outcome *outcome, struct buf *why)
{
    struct cache_shared *shared;
    enum err err = cache_shared_new(config, longest_life_ms(config), &shared, why);

    if (err != ERR_OK)
        return err;
    struct cache *cache = cache_open(config, shared, NULL);
    struct outbox *outbox = outbox_open(config->store.database);
    struct purge_result result;
    uint64_t told;
    /* Lest the number that is drawn passes for one that L2 has lost. */
    if (outbox_told(outbox, &told) == ERR_OK)
        l2_saw(shared->l2, told);
    outbox_close(&outbox);
    err = purge_items(cache, count == 0 ? &purge_everything : items, count == 0 ? 1 : count, false, &result);
    struct l2_status status;
    l2_status(shared->l2, &status);
    if (err != ERR_OK)
        buf_printf(why, "%.*s: %s %.*s", STR_ARG(status.where), err_text(err), STR_ARG(status.last_error));
    outcome->removed += result.removed;
    outcome->job = result.job;
    cache_close(&cache);
    cache_shared_free(&shared);
    return err;
}

/* The server first; without one, or without the token for it, Redis itself, whose log tells all hosts. */
static enum err purge(const struct config *config, const struct str *items, size_t count, struct purge_outcome *outcome,
                      struct buf *why)
{
    bool in_memory = str_equal(str_from(config->redis.url), STR("memory:"));

    *outcome = (struct purge_outcome){0};
    if (in_memory || config->auth.admin_token[0] != '\0') {
        enum err err = purge_by_server(config, items, count, outcome, why);

        if (in_memory || err != ERR_UNAVAILABLE)
            return err;
        buf_clear(why);
    }
    return purge_in_redis(config, items, count, outcome, why);
}

enum err cli_purge_items(const struct config *config, const struct str *items, size_t count, uint64_t *removed,
                         struct buf *why)
{
    struct purge_outcome outcome;
    enum err err = purge(config, items, count, &outcome, why);

    *removed = outcome.removed;
    return err;
}

static void print_purge(const struct purge_outcome *outcome, bool counted)
{
    if (outcome->pending)
        printf("purged here; the shared cache is told as soon as it can be reached\n");
    else if (outcome->job != 0)
        printf("purged; a job removes what matches: %" PRIu64 "\n", outcome->job);
    else if (counted)
        printf("purged %" PRIu64 "\n", outcome->removed);
    else
        printf("purged\n");
}

/* In a resource's purge line a tag is written so; here it would be taken for keys, and purge none of what was meant. */
static void note_pattern(const char *pattern)
{
    if (strncmp(pattern, "tag:", 4) == 0)
        fprintf(stderr, "larder: `%s` was taken for a pattern of keys; what has the tag is purged by --tag %s\n", pattern,
                pattern + 4);
}

int cli_purge(const struct cli *cli)
{
    struct config *config;
    struct buf item = {0}, why = {0};
    struct purge_outcome outcome;
    const char *problem = NULL;

    /* Of two ways to say what goes, one would count for nothing. */
    const int wanted = cli->all + cli->tag + cli->key > 1 ? -1 : cli->all ? 0 : 1;

    if (!takes(cli, wanted, "purge PATTERN | --tag TAG | --key KEY | --all") || !cli_load_config(cli, &config))
        return 2;
    buf_printf(&item, "%s:%s", cli->tag ? "tag" : cli->key ? "key" : "pattern", cli->all ? "*" : cli->argv[0]);
    struct str view = buf_str(&item);
    enum err err = cli->all ? ERR_OK : purge_check(view, &problem);
    int code = 2;
    if (err == ERR_OK) {
        err = purge(config, &view, cli->all ? 0 : 1, &outcome, &why);
        code = err == ERR_OK ? 0 : 1;
    }
    if (err != ERR_OK)
        fprintf(stderr, "larder: %s\n", problem ? problem : why.p ? why.p : err_text(err));
    else
        print_purge(&outcome, !cli->tag && !cli->all);
    if (err == ERR_OK && !cli->tag && !cli->key && !cli->all)
        note_pattern(cli->argv[0]);
    buf_free(&item);
    buf_free(&why);
    config_free(&config);
    return code;
}

/* What came of a warming. */
struct warm_counts {
    uint64_t warmed, present, failed, rest;
};

static void print_failure(struct str object)
{
    struct arena *arena = arena_new(4096, ANSWER_MAX);
    struct buf why = {0};
    struct body body;

    if (body_parse(object, arena, &body, &why) == ERR_OK && body_find(&body, STR("url")) &&
        body_find(&body, STR("detail")))
        fprintf(stderr, "larder: %.*s: %" PRIu64 " %.*s\n", STR_ARG(body_find(&body, STR("url"))->text),
                count_of(&body, STR("status")), STR_ARG(body_find(&body, STR("detail"))->text));
    buf_free(&why);
    arena_free(&arena);
}

/* The objects of the JSON array TEXT, which nothing is nested in. */
static void print_failures(struct str text)
{
    bool quoted = false;

    for (size_t i = 0, start = 0; i < text.len; i++) {
        if (quoted && text.p[i] == '\\')
            i++;
        else if (text.p[i] == '"')
            quoted = !quoted;
        else if (!quoted && text.p[i] == '{')
            start = i;
        else if (!quoted && text.p[i] == '}')
            print_failure((struct str){text.p + start, i + 1 - start});
    }
}

/* Asks for one warming. *FAILURES, the array of what failed, lies in ARENA. */
static enum err warm_once(const struct config *config, struct str body, struct arena *arena, struct warm_counts *counts,
                          struct str *failures, struct buf *why)
{
    struct buf answer = {0};
    struct body members;
    enum err err =
        cli_ask_server(config, &(struct cli_question){
                                   .method = "POST", .uri = "/api/cache/warm", .body = body, .answer = &answer, .why = why});

    if (err == ERR_OK)
        err = read_answer(&answer, arena, &members, why);
    if (err == ERR_OK) {
        const struct body_member *failed = body_find(&members, STR("failed"));

        *failures = failed ? arena_copy(arena, failed->text) : STR("");
        *counts = (struct warm_counts){.warmed = count_of(&members, STR("warmed")),
                                       .present = count_of(&members, STR("present")),
                                       .failed = count_of(&members, STR("failed_count")),
                                       .rest = count_of(&members, STR("rest"))};
    }
    buf_free(&answer);
    return err;
}

static void show_warmth(const struct warm_counts *counts)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%" PRIu64 " URLs\r", counts->warmed + counts->present + counts->failed);
}

/* All warm lines, again and again while the server says that its time was too short and it still gets on. */
static enum err warm_all(const struct config *config, struct warm_counts *total, struct buf *why)
{
    struct arena *arena = arena_new(4096, ANSWER_MAX);
    struct warm_counts round;
    struct str failures;
    bool again = true;
    enum err err = ERR_OK;

    while (again && err == ERR_OK) {
        arena_reset(arena);
        err = warm_once(config, (struct str){NULL, 0}, arena, &round, &failures, why);
        if (err != ERR_OK)
            break;
        /* What the rounds before have warmed is present by now. */
        total->present = round.present > total->warmed ? round.present - total->warmed : 0;
        total->warmed += round.warmed;
        total->failed = round.failed;
        total->rest = round.rest;
        again = round.rest > 0 && round.warmed > 0;
        show_warmth(total);
        if (!again)
            print_failures(failures);
    }
    arena_free(&arena);
    return err;
}

/* The COUNT URLS. The server begins one at least, so it gets on. */
static enum err warm_urls(const struct config *config, char **urls, size_t count, struct warm_counts *total,
                          struct buf *why)
{
    struct arena *arena = arena_new(4096, ANSWER_MAX);
    enum err err = ERR_OK;

    while (count > 0 && err == ERR_OK) {
        size_t batch = count < WARM_BATCH ? count : WARM_BATCH;
        struct warm_counts round = {0};
        struct buf body = {0};
        struct str failures;

        arena_reset(arena);
        for (size_t i = 0; i < batch; i++) {
            buf_add_str(&body, i == 0 ? STR("{\"urls\":[") : STR(","));
            buf_add_json(&body, str_from(urls[i]));
        }
        buf_add_str(&body, STR("]}"));
        err = warm_once(config, buf_str(&body), arena, &round, &failures, why);
        buf_free(&body);
        if (err != ERR_OK || round.rest >= batch)
            break;
        total->warmed += round.warmed;
        total->present += round.present;
        total->failed += round.failed;
        urls += batch - round.rest;
        count -= batch - round.rest;
        show_warmth(total);
        print_failures(failures);
    }
    total->rest += count;
    arena_free(&arena);
    return err;
}

/* The URLs on standard input, one a line, as they come. */
static enum err warm_input(const struct config *config, struct warm_counts *total, struct buf *why)
{
    char *line = NULL, *urls[WARM_BATCH];
    size_t cap = 0, count = 0;
    ssize_t len = 0;
    enum err err = ERR_OK;

    while (err == ERR_OK && len >= 0) {
        len = getline(&line, &cap, stdin);
        struct str url = len > 0 ? str_trim((struct str){line, strcspn(line, "\r\n")}) : STR("");
        if (url.len > 0)
            urls[count++] = sys_copy(url);
        if (count < WARM_BATCH && len >= 0)
            continue;
        err = warm_urls(config, urls, count, total, why);
        while (count > 0)
            free(urls[--count]);
    }
    free(line);
    return err;
}

static void print_warmth(const struct warm_counts *total)
{
    printf("warmed %" PRIu64 ", present %" PRIu64 ", failed %" PRIu64, total->warmed, total->present, total->failed);
    if (total->rest > 0)
        printf(", left undone %" PRIu64, total->rest);
    printf("\n");
}

int cli_warm(const struct cli *cli)
{
    struct config *config;
    struct warm_counts total = {0};
    struct buf why = {0};
    enum err err;

    if (!cli_load_config(cli, &config))
        return 2;
    if (cli->argc == 0)
        err = warm_all(config, &total, &why);
    else if (cli->argc == 1 && strcmp(cli->argv[0], "-") == 0)
        err = warm_input(config, &total, &why);
    else
        err = warm_urls(config, cli->argv, (size_t)cli->argc, &total, &why);
    if (err != ERR_OK)
        fprintf(stderr, "larder: %s\n", why.p ? why.p : err_text(err));
    if (err == ERR_OK || total.warmed + total.present + total.failed > 0)
        print_warmth(&total);
    buf_free(&why);
    config_free(&config);
    return err == ERR_OK && total.failed == 0 && total.rest == 0 ? 0 : 1;
}
