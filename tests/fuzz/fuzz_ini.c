/*
 * larder.conf as any bytes: what is refused has a line that says why, every setting keeps to its range whatever stands
 * in the file, and what is printed of an accepted one reads back as the same.
 *
 * Input: the file; after a NUL, if there is one, NAME=value lines of an environment. Files that secrets are read from
 * are not opened here, so input that names one is passed over.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/sys.h"
#include "config/config.h"

enum { VARIABLES_MAX = 16 };

#define HOLDS(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

static bool contains(struct str text, struct str part)
{
    return text.len >= part.len && memmem(text.p, text.len, part.p, part.len);
}

static void check_ranges(const struct config *it)
{
    HOLDS(it->server.workers >= 1 && it->server.workers <= 256);
    HOLDS(it->server.queue >= 1 && it->server.pool >= 1 && it->server.max_connections >= 1);
    HOLDS(it->server.request_timeout_ms >= 1000 && it->server.head_timeout_ms > 0 && it->server.drain_timeout_ms >= 0);
    HOLDS(it->server.socket[0] != '\0' && it->store.database[0] != '\0' && it->store.sql[0] != '\0');
    HOLDS(it->server.mount[0] == '\0' || it->server.mount[0] == '/');
    HOLDS(it->redis.timeout_ms > 0 && it->redis.connect_timeout_ms > 0 && it->redis.max_entry >= 1024);
    HOLDS(it->memory.size >= 1 << 20 && it->breaker.failures >= 1 && it->breaker.successes >= 1);
    HOLDS(it->auth.admin_token[0] == '\0' || strlen(it->auth.admin_token) >= 16);
    HOLDS(it->log.level <= LOG_LEVEL_DEBUG && it->log.format <= LOG_FORMAT_JSON);
}

static void check_report(const struct report *report)
{
    HOLDS(report_count(report) > 0);
    for (size_t i = 0; i < report_count(report); i++)
        HOLDS(!str_has_control(str_from(report_line(report, i))));
}

/* A secret is printed as a placeholder, and a value from the environment may look like a comment: only the rest reads
 * back. */
static void check_print(const struct config *it, bool from_file)
{
    struct buf first = {0}, second = {0};
    struct report *report = report_new();
    struct config *again = NULL;

    config_print(it, &first);
    if (it->auth.admin_token[0] != '\0')
        HOLDS(strlen(it->auth.admin_token) < 24 || !contains(buf_str(&first), str_from(it->auth.admin_token)));
    if (from_file && it->auth.admin_token[0] == '\0' && it->redis.password[0] == '\0' && !strchr(it->redis.url, '@')) {
        HOLDS(config_parse(buf_str(&first), "printed", NULL, report, &again) == ERR_OK);
        config_print(again, &second);
        HOLDS(str_equal(buf_str(&first), buf_str(&second)));
        config_free(&again);
    }
    buf_free(&first);
    buf_free(&second);
    report_free(&report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = {(const char *)data, size};
    struct str text = str_cut(&rest, '\0');
    char *environment[VARIABLES_MAX + 1] = {NULL};
    struct report *report = report_new();
    struct config *config = NULL;
    size_t variables = 0;

    if (contains((struct str){(const char *)data, size}, STR("_file")) ||
        contains((struct str){(const char *)data, size}, STR("_FILE")))
        goto out;
    while (rest.len > 0 && variables < VARIABLES_MAX) {
        struct str line = str_cut(&rest, '\n');

        if (!memchr(line.p, '\0', line.len))
            environment[variables++] = sys_copy(line);
    }
    if (config_parse(text, "fuzz.conf", environment, report, &config) == ERR_OK) {
        HOLDS(report_count(report) == 0);
        if (size % 4 == 0) /* printing costs more than all the rest */
            check_print(config, variables == 0);
    } else {
        check_report(report);
    }
    HOLDS(config);
    check_ranges(config);
    config_free(&config);
out:
    for (size_t i = 0; i < variables; i++)
        free(environment[i]);
    report_free(&report);
    return 0;
}
