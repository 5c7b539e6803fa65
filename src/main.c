/*
 * larder: the command table and its dispatch; nothing else.
 *
 * Started without a command by a FastCGI process manager, that is with a listening socket as standard input, it serves. Started with a
 * CGI environment it answers that one request, whatever the command line says.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sys.h"
#include "cgi.h"
#include "cli.h"
#include "command_writer.h"
#include "server/listener.h"

static const struct command {
    const char *name, *arguments, *text;
    int (*run)(const struct cli *cli);
    const char *options; /* that it takes, by their values */
} commands[] = {
    {"serve", "", "serve until SIGTERM; SIGHUP reloads", cli_serve, ""},
    {"check", "[--print]", "say everything that is wrong with configuration and resources", cli_check, "p"},
    {"migrate", "[--sample]", "bring the database up to date; --sample adds some companies to try", cli_migrate, "s"},
    {"import", "NAME FILE.csv", "run sql/import/NAME.sql for each row, all or nothing", cli_import, ""},
    {"purge", "PATTERN | --tag TAG | --key KEY | --all", "remove entries from the cache", cli_purge, "atk"},
    {"warm", "[URL... | -]", "fill the cache: by the warm lines of the resources, or with these URLs", cli_warm, ""},
    {"stats", "[--watch]", "print the counters of the running server as JSON; --watch shows how it does", cli_stats, "w"},
    {"openapi", "", "print the description of all routes, OpenAPI 3.1, as JSON", cli_openapi, ""},
};

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'}, {"version", no_argument, NULL, 'V'}, {"help", no_argument, NULL, 'h'},
    {"print", no_argument, NULL, 'p'},        {"sample", no_argument, NULL, 's'},  {"all", no_argument, NULL, 'a'},
    {"tag", no_argument, NULL, 't'},          {"key", no_argument, NULL, 'k'},     {"watch", no_argument, NULL, 'w'},
    {NULL, 0, NULL, 0}};

static int usage(FILE *out, int code)
{
    fprintf(out, "usage: larder [-c FILE] COMMAND\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char shape[64];
        snprintf(shape, sizeof shape, "%s %s", commands[i].name, commands[i].arguments);
        fprintf(out, "  %-48s %s\n", shape, commands[i].text);
    }
    fprintf(out, "\n  -c, --config FILE   configuration (default: $LARDER_CONFIG, else " LARDER_SYSCONFDIR "/larder.conf)\n"
                 "  -V, --version\n  -h, --help\n");
    return code;
}

/* The exit code of what ended with CODE: nothing is done while somebody lacks its results, as on a full disk. */
static int finish(int code)
{
    const bool printed = fflush(stdout) == 0 && !ferror(stdout);
    if (!printed)
        fprintf(stderr, "larder: standard output cannot be written\n");
    return printed || code != 0 ? code : 1;
}

/* Refuses an option that is among the COUNT of GIVEN and belongs to another command: it would count for nothing. */
static bool takes_options(const struct command *command, const int *given, int count)
{
    const struct option *option = options;
    while (count > 0 && strchr(command->options, given[count - 1]))
        count--;
    while (count > 0 && option->val != given[count - 1])
        option++;
    if (count > 0)
        fprintf(stderr, "larder: '%s' takes no --%s\n\n", command->name, option->name);
    return count == 0;
}

int main(int argc, char **argv)
{
    int option, count = 0;
    int given[sizeof options / sizeof *options]; /* of the commands' own, each once */
    sys_hold_streams();
    sys_title_init(argc, argv); /* moves the environment away: before anything looks at it */
    struct cli cli = {.config_path = getenv("LARDER_CONFIG"), .program = argv};
    if (command_writer_is_asked())
        return cli_write(&cli);
    if (cgi_is_asked() && !listener_is(STDIN_FILENO))
        return cli_answer(&cli);
    while ((option = getopt_long(argc, argv, "c:Vh", options, NULL)) != -1) {
        bool *flag = NULL;
        switch (option) {
        case 'c': cli.config_path = optarg; continue;
        case 'p': flag = &cli.print; break;
        case 's': flag = &cli.sample; break;
        case 'a': flag = &cli.all; break;
        case 't': flag = &cli.tag; break;
        case 'k': flag = &cli.key; break;
        case 'w': flag = &cli.watch; break;
        case 'V': printf("larder " PACKAGE_VERSION "\n"); return finish(0);
        case 'h': return finish(usage(stdout, 0));
        default: return usage(stderr, 2);
        }
        if (!*flag)
            given[count++] = option;
        *flag = true;
    }
    if (optind == argc)
        return listener_is(STDIN_FILENO) ? cli_serve(&cli) : usage(stderr, 2);
    cli.argc = argc - optind - 1;
    cli.argv = argv + optind + 1;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[optind], commands[i].name) == 0)
            return takes_options(&commands[i], given, count) ? finish(commands[i].run(&cli)) : usage(stderr, 2);
    fprintf(stderr, "larder: there is no command '%s'\n\n", argv[optind]);
    return usage(stderr, 2);
}
