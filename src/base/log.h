/*
 * log: one line is one event: level, event name, then key=value pairs (or one JSON object).
 *
 * Values are escaped, so a line is always one line, of at most 8 KiB. Secrets never come here. Lines go to stderr, to
 * systemd's journal or to syslog; what a flood of one event brings is cut, and counted. Errors and warnings are kept in
 * shared memory besides. The sink is process-wide: one of the three pieces of file-scope state that the house allows.
 * Safe from any thread; a line leaves in one write.
 *
 * Every event stands in docs/logging.md.
 */
#ifndef LARDER_LOG_H
#define LARDER_LOG_H

#include "base/str.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_NOTICE, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };
enum log_target { LOG_TARGET_STDERR, LOG_TARGET_JOURNAL, LOG_TARGET_SYSLOG };

struct log_field {
    const char *name; /* NULL ends the list */
    enum { LOG_FIELD_STR, LOG_FIELD_INT } type;
    struct str text;
    int64_t number;
};

#define LOG_STR(field_name, view) ((struct log_field){.name = (field_name), .type = LOG_FIELD_STR, .text = (view)})
#define LOG_TEXT(field_name, c_string) LOG_STR(field_name, str_from(c_string))
#define LOG_INT(field_name, value) ((struct log_field){.name = (field_name), .type = LOG_FIELD_INT, .number = (value)})

/* Where lines go (default 2), from which level (default notice), in which form. */
void log_init(int fd, enum log_level level, enum log_format format);
/* Sends lines to the socket at PATH (empty: TARGET's usual one) from now on, or back to the descriptor of log_init.
 * What cannot be sent goes to that descriptor. Before threads start. */
void log_send_to(enum log_target target, const char *path);
/* Has at most LINES of one event written in a second, by all processes forked later (0: all of them), once log_share
 * was called. */
void log_set_rate(uint32_t lines);
struct recent;
/* Makes what processes share of the log: the count of lines, and the recent errors and warnings; before the fork. From
 * then on nobody waits for who reads the descriptor of log_init: what it has no room for is lost. ERR_FULL. */
enum err log_share(void) ERR_CHECKED;
/* Recent errors and warnings, each the members of a JSON object; NULL without log_share. Two are the same problem when
 * they differ in nothing but time, process, request and numbers. */
struct recent *log_problems(void);
/* Tells of lines that were lost, or were left out and whose event has not come again. For one process, about each
 * second. */
void log_tell_suppressed(void);
/* The role that every line of this process carries ("worker"); static text. */
void log_role(const char *role);
bool log_enabled(enum log_level level);
/* Prefer log_event. EVENT and the names are words of ours, valid as they stand in JSON. Keeps errno. */
void log_write(enum log_level level, const char *event, const struct log_field *fields);
/* One line each for everything in REPORT, as the field `message`; whatever their number. */
void log_report(enum log_level level, const char *event, const struct report *report);

/* log_event(LOG_LEVEL_WARNING, "l2_breaker_open", LOG_TEXT("why", why), LOG_INT("open_ms", open_ms)); */
#define log_event(level, event, ...)                                                                                   \
    log_write((level), (event), (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){.name = NULL}})

#endif
