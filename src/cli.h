/*
 * cli: what a person types. Each command is a function of its arguments that returns the exit code: 0 done, 1 failed, 2 wrong usage or configuration.
 */
#ifndef LARDER_CLI_H
#define LARDER_CLI_H

#include "base/report.h"
#include "config/config.h"

struct cli {
    const char *config_path; /* NULL: the installed one where it exists, else defaults */
    char **program;          /* the whole command line */
    int argc;                /* of the command's own arguments */
    char **argv;
    bool print, sample, all, tag, key, watch; /* --print, --sample, --all, --tag, --key, --watch */
};

int cli_serve(const struct cli *cli);
int cli_answer(const struct cli *cli); /* the request of a CGI environment */
int cli_write(const struct cli *cli);  /* for another command, as its writer */
int cli_check(const struct cli *cli);
int cli_migrate(const struct cli *cli);
int cli_import(const struct cli *cli);
int cli_purge(const struct cli *cli);
int cli_warm(const struct cli *cli);
int cli_stats(const struct cli *cli);
int cli_openapi(const struct cli *cli);

/* The file to read: the one named, else the installed one where it exists, else NULL. */
const char *cli_config_path(const struct cli *cli);
/* Loads the configuration or says on stderr what is wrong with it. */
bool cli_load_config(const struct cli *cli, struct config **out);
/* What the running server is asked. */
struct cli_question {
    const char *method, *uri;
    const char *accept; /* may be NULL, as may STATUS */
    struct str body;    /* JSON, or empty */
    int *status;
    struct buf *answer, *why;
};

/* Asks it. ERR_UNAVAILABLE: none listens, or not to this user. ERR_DENIED: it answered with neither 200 nor 202. WHY for a person. */
enum err cli_ask_server(const struct config *config, const struct cli_question *question) ERR_CHECKED;
/* Prints REPORT's lines on stderr, each after `larder: `. */
void cli_print_report(const struct report *report);
/* Carries out purge items (`key:…`, `tag:…`, `pattern:…`): by the running server, else in Redis itself. COUNT 0 means everything.
 * *REMOVED counts keys, as far as they were counted. ERR_UNAVAILABLE where neither can be reached. WHY for a person. */
enum err cli_purge_items(const struct config *config, const struct str *items, size_t count, uint64_t *removed, struct buf *why) ERR_CHECKED;

#endif
