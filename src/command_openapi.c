/*
 * larder openapi: the description of all routes, as GET /openapi.json answers it, without a server.
 */
#include "cli.h"

#include <stdio.h>

#include "api/openapi.h"
#include "serve.h"

enum { DOCUMENT_MAX = 64 << 20 };

static bool print_document(const struct serve_files *files, struct report *report)
{
    static const struct app_shared nothing;
    struct arena *arena = arena_new(4096, DOCUMENT_MAX);
    struct app *app = NULL;
    struct str text = {NULL, 0};

    if (app_new(files->config, files->catalog, &nothing, report, &app) == ERR_OK) {
        app->openapi = openapi_new(app, buf_str(&files->answers));
        text = openapi_print(app->openapi, str_from(files->config->server.mount), arena);
        app_free(&app);
    }
    bool printed = text.len > 0 && fwrite(text.p, 1, text.len, stdout) == text.len && putchar('\n') != EOF;
    arena_free(&arena);
    return printed;
}

int cli_openapi(const struct cli *cli)
{
    struct serve_files files = {0};

    if (cli->argc != 0) {
        fprintf(stderr, "usage: larder openapi\n");
        return 2;
    }
    struct report *report = report_new();
    /* Without the database it is known what is asked, though not what is answered. */
    enum err err = serve_load_files(cli_config_path(cli), report, &files);
    int code = err == ERR_OK || err == ERR_UNAVAILABLE ? 0 : 2;
    if (code == 0 && !print_document(&files, report))
        code = 1;
    cli_print_report(report);
    serve_free_files(&files);
    report_free(&report);
    return code;
}
