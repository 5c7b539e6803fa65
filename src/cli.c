/*
 * The commands but `import`, which has a file of its own. They print results on stdout and what is wrong on stderr, and never
 * leave anything half done: what they change they change through the writer or through the cache's own verbs.
 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/sys.h"
#include "cache/purge.h"
#include "command_writer.h"
#include "server/fcgi_client.h"
#include "serve.h"
#include "store/writer_client.h"

#define ASK_TIMEOUT_MS 60000

void cli_print_report(const struct report *report)
{
    for (size_t i = 0; i < report_count(report); i++)
        fprintf(stderr, "larder: %s\n", report_line(report, i));
}

/* The file to read: the one named, else the installed one where it exists, else none. */
static const char *config_path(const struct cli *cli)
{
    static const char installed[] = LARDER_SYSCONFDIR "/larder.conf";
    if (cli->config_path && *cli->config_path)
        return cli->config_path;
    return access(installed, F_OK) == 0 ? installed : NULL;
}

bool cli_load_config(const struct cli *cli, struct config **out)
{
    struct report *report = report_new();
    bool loaded = config_load(config_path(cli), report, out) == ERR_OK;
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
    return serve_run(config_path(cli));
}

int cli_check(const struct cli *cli)
{
    struct serve_files files = {0};
    if (!takes(cli, 0, "check [--print]"))
        return 2;
    struct report *report = report_new();
    enum err err = serve_load_files(config_path(cli), report, &files);
    cli_print_report(report);
    if (err == ERR_OK && cli->print) {
        struct buf text = {0};
        config_print(files.config, &text);
        fwrite(text.p, 1, text.len, stdout);
        buf_free(&text);
    } else if (err == ERR_OK) {
        printf("%zu resources in %s, every statement prepared: nothing is wrong\n", files.catalog->count, files.config->store.sql);
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
        struct store_answer answer;
        struct writer_client *client = writer_client_new(config, NULL);
        const struct params_values none = {.count = 0};
        const struct store_caller caller = {.now_ms = sys_now_ms()};
        err = writer_client_write(client, buf_str(&sql), &none, &caller, CATALOG_LIST, arena, &answer, why);
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
    enum err err = command_writer_start(config, &writer, &why);
    if (err == ERR_OK && command_writer_is_servers(writer) && !cli->sample)
        printf("a server is running on %s: it applies migrations when it starts and on SIGHUP\n", config->store.database);
    if (err == ERR_OK && cli->sample)
        err = load_sample(config, &why);
    if (err == ERR_OK)
        printf("%s is up to date%s\n", config->store.database, cli->sample ? ", with the sample in it" : "");
    command_writer_stop(&writer);
    if (err != ERR_OK)
        fprintf(stderr, "larder: %s\n", why.p ? why.p : err_text(err));
    buf_free(&why);
    config_free(&config);
    return err == ERR_OK ? 0 : 1;
}

static enum err ask_server(const struct config *config, const char *method, const char *uri, struct str body, struct buf *answer,
                           struct buf *why)
{
    const struct fcgi_client_request request = {.socket = config->server.socket, .method = method, .uri = uri,
                                                .token = config->auth.admin_token, .timeout_ms = ASK_TIMEOUT_MS,
                                                .content_type = body.len > 0 ? "application/json" : NULL, .body = body};
    int status = 0;
    enum err err = fcgi_client_ask(&request, &status, answer);
    if (err == ERR_UNAVAILABLE)
        buf_printf(why, "no server listens on %s", config->server.socket);
    else if (err != ERR_OK)
        buf_printf(why, "the server on %s: %s", config->server.socket, err_text(err));
    else if (status != 200)
        buf_printf(why, "the server on %s answered %d: %.*s", config->server.socket, status, STR_ARG(buf_str(answer)));
    return err != ERR_OK ? err : status == 200 ? ERR_OK : ERR_DENIED;
}

/* One item as the body of POST /api/cache/invalidate. */
static void invalidate_body(struct str item, struct buf *out)
{
    struct str rest = item, kind = str_cut(&rest, ':');
    buf_add_char(out, '{');
    buf_add_json(out, kind);
    buf_add_char(out, ':');
    buf_add_json(out, rest);
    buf_add_char(out, '}');
}

/* The cache is in the memory of the server, so the server has to do it. */
static enum err purge_by_server(const struct config *config, const struct str *items, size_t count, uint64_t *removed, struct buf *why)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < (count == 0 ? 1 : count) && err == ERR_OK; i++) {
        static const struct str member = {"\"removed\":", 10};
        struct buf body = {0}, answer = {0};
        if (count == 0)
            buf_add_str(&body, STR("{\"all\":true}"));
        else
            invalidate_body(items[i], &body);
        err = ask_server(config, "POST", "/api/cache/invalidate", buf_str(&body), &answer, why);
        const char *found = err == ERR_OK ? memmem(answer.p, answer.len, member.p, member.len) : NULL;
        *removed += found ? strtoull(found + member.len, NULL, 10) : 0;
        buf_free(&body);
        buf_free(&answer);
    }
    return err;
}

/* COUNT 0 stands for everything. */
static enum err purge_in_redis(const struct config *config, const struct str *items, size_t count, uint64_t *removed, struct buf *why)
{
    struct l2_shared *shared;
    enum err err = l2_shared_new(config, 0, &shared, why);
    if (err != ERR_OK)
        return err;
    struct cache *cache = cache_open(config, shared, NULL);
    struct purge_result result = {0};
    err = count == 0 ? purge_all(cache) : purge_items(cache, items, count, &result);
    struct l2_status status;
    l2_status(shared, &status);
    if (err != ERR_OK)
        buf_printf(why, "%.*s: %s %.*s", STR_ARG(status.where), err_text(err), STR_ARG(status.last_error));
    *removed = result.removed;
    cache_close(&cache);
    l2_shared_free(&shared);
    return err;
}

enum err cli_purge_items(const struct config *config, const struct str *items, size_t count, uint64_t *removed, struct buf *why)
{
    *removed = 0;
    return str_equal(str_from(config->redis.url), STR("memory:")) ? purge_by_server(config, items, count, removed, why)
                                                                  : purge_in_redis(config, items, count, removed, why);
}

int cli_purge(const struct cli *cli)
{
    struct config *config;
    struct buf item = {0}, why = {0};
    uint64_t removed;
    const char *problem = NULL;
    if (!takes(cli, cli->all ? 0 : 1, "purge PATTERN | --tag TAG | --key KEY | --all") || !cli_load_config(cli, &config))
        return 2;
    buf_printf(&item, "%s:%s", cli->tag ? "tag" : cli->key ? "key" : "pattern", cli->all ? "*" : cli->argv[0]);
    struct str view = buf_str(&item);
    enum err err = cli->all ? ERR_OK : purge_check(view, &problem);
    int code = 2;
    if (err == ERR_OK) {
        err = cli_purge_items(config, &view, cli->all ? 0 : 1, &removed, &why);
        code = err == ERR_OK ? 0 : 1;
    }
    if (err != ERR_OK)
        fprintf(stderr, "larder: %s\n", problem ? problem : why.p ? why.p : err_text(err));
    else if (cli->tag || cli->all)
        printf("purged\n");
    else
        printf("purged %llu\n", (unsigned long long)removed);
    buf_free(&item);
    buf_free(&why);
    config_free(&config);
    return code;
}

int cli_stats(const struct cli *cli)
{
    struct config *config;
    struct buf answer = {0}, why = {0};
    if (!takes(cli, 0, "stats") || !cli_load_config(cli, &config))
        return 2;
    enum err err = ask_server(config, "GET", "/stats", (struct str){NULL, 0}, &answer, &why);
    if (err == ERR_OK)
        printf("%.*s\n", STR_ARG(buf_str(&answer)));
    else
        fprintf(stderr, "larder: %s\n", why.p ? why.p : err_text(err));
    buf_free(&answer);
    buf_free(&why);
    config_free(&config);
    return err == ERR_OK ? 0 : 1;
}
