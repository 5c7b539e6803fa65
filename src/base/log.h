/*
 * log: one line is one event: level, event name, then key=value pairs (or one JSON object).
 *
 * Values are escaped, so a line is always one line, of at most 8 KiB. Secrets never come here. The sink is
 * process-wide: one of the three pieces of file-scope state that the house allows. Safe from any thread; a line leaves
 * in one write.
 */
#ifndef LARDER_LOG_H
#define LARDER_LOG_H

#include "base/str.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_NOTICE, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

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
/* The role that every line of this process carries ("worker"); static text. */
void log_role(const char *role);
bool log_enabled(enum log_level level);
/* Prefer log_event. EVENT and the names are words of ours, valid as they stand in JSON. Keeps errno. */
void log_write(enum log_level level, const char *event, const struct log_field *fields);
/* One line each for everything in REPORT, as the field `message`. */
void log_report(enum log_level level, const char *event, const struct report *report);

/* log_event(LOG_LEVEL_ERROR, "l2_lost", LOG_TEXT("why", text), LOG_INT("pending", n)); */
#define log_event(level, event, ...)                                                                                   \
    log_write((level), (event), (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){.name = NULL}})

#endif
