/*
 * config: larder.conf (INI, by inih) and the environment to struct config.
 *
 * Every setting stands once, in CONFIG_TABLE of config.c, with its default and description; the file,
 * LARDER_SECTION_SETTING in the environment and `larder check --print` all come from there; boards, of which there may
 * be any number, come from config_board. Unknown sections and settings are errors. Everything wrong is reported at
 * once.
 */
#ifndef LARDER_CONFIG_H
#define LARDER_CONFIG_H

#include "base/log.h"
#include "base/report.h"
#include "base/str.h"
#include "config/config_board.h"

/* Whether other hosts use the same Redis. */
enum config_hosts { CONFIG_HOSTS_SEVERAL, CONFIG_HOSTS_ONE };

/* Strings are owned by the config, never NULL, empty when not set. */
struct config {
    struct {
        char *socket;       /* path, or host:port for TCP */
        char *user, *group; /* to change to when started as root; empty: stay */
        char *socket_mode;  /* octal */
        char *allow_users;  /* names or uids of peers, by blanks; empty: root, our own, and web servers' usual ones */
        int64_t workers, pool, queue;
        int64_t max_connections; /* per worker */
        int64_t max_requests;    /* per worker life; 0: no recycling */
        int64_t request_timeout_ms, head_timeout_ms, drain_timeout_ms;
        uint64_t max_body;
        char *mount; /* path prefix under which larder is served */
    } server;
    struct {
        char *database; /* path of the SQLite file: what it resolves to, when loaded from a file */
        char *named;    /* the path as it was configured, then; else NULL */
        char *sql;      /* directory with resources/, migrations/, import/ */
        int64_t busy_timeout_ms, write_timeout_ms;
        int64_t write_queue;    /* writes waiting at most */
        uint64_t journal_limit; /* bytes of writes behind that wait to be applied */
        uint64_t wal_limit;     /* bytes after which the writer checkpoints and truncates */
    } store;
    struct {
        char *url; /* redis://, unix://, memory: */
        char *user, *password, *prefix;
        int64_t database;
        int64_t cache_version;
        int64_t connect_timeout_ms, timeout_ms;
        uint64_t max_entry; /* larger ones are not stored */
    } redis;
    struct {
        uint64_t size; /* of memory: */
    } memory;
    struct {
        enum config_hosts hosts;
        int64_t lease_wait_ms;
        int64_t refresh_share; /* of the pool, in percent */
        int64_t job_rate;      /* keys a second; 0: as fast as it goes */
    } cache;
    struct {
        uint64_t size; /* of the shared mapping; 0: no L1 */
    } l1;
    struct {
        int64_t failures, successes, open_ms;
    } breaker;
    struct {
        char *admin_token; /* empty: admin routes answer 403 */
    } auth;
    struct {
        char *cache_path; /* directory of nginx's cache; empty: nginx's files are let alone */
    } nginx;
    struct {
        enum log_level level;
        enum log_format format;
        enum log_target target;
        char *socket;    /* empty: the target's usual one */
        int64_t slow_ms; /* 0: nothing is slow */
        int64_t rate;    /* lines of one event in a second; 0: no limit */
    } log;
    struct config_boards boards; /* [board.NAME] */
    struct config_place *places; /* for config_place */
};

/* Where a setting was given, as report_add takes it. */
struct config_place {
    char *file;    /* or the variable's name */
    unsigned line; /* 0: of a variable, and of what was not given */
};

/* Reads PATH (NULL or empty: defaults and environment alone) and the environment. Problems go to REPORT, each with file
 * and line (a variable's name where the file would stand). ERR_USAGE when anything was reported; *OUT then has defaults
 * in place of what was wrong, so that what depends on it can be checked too, and is NULL only when PATH cannot be read.
 * `admin_token_file`, `password_file` name files whose first line is the secret; a relative one is looked up in
 * $CREDENTIALS_DIRECTORY first. */
enum err config_load(const char *path, struct report *report, struct config **out) ERR_CHECKED;
/* The same from text already read; FILE is only for messages, ENVIRONMENT (NULL-terminated NAME=value, may be NULL). */
enum err config_parse(struct str text, const char *file, char *const *environment, struct report *report,
                      struct config **out) ERR_CHECKED;
void config_free(struct config **config);
/* Where the setting that FIELD, a member of CONFIG, holds was given; its text is CONFIG's. */
struct config_place config_place(const struct config *config, const void *field);
/* The whole configuration as INI with descriptions; what stands at its default is commented out; secrets as `********`.
 */
void config_print(const struct config *config, struct buf *out);

#endif
