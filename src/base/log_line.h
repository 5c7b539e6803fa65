/*
 * log_line: one line of the log, built on the stack. For log alone.
 *
 * A line is always one line of valid UTF-8 and never longer than its limit: a value that is too long is cut at a
 * character, fields that then find no room are left out, and a JSON line stays valid JSON all the same.
 */
#ifndef LARDER_LOG_LINE_H
#define LARDER_LOG_LINE_H

#include "base/log.h"

enum { LOG_LINE_MAX = 8192 };

struct log_line {
    size_t len, limit;
    enum log_format format;
    char bytes[LOG_LINE_MAX];
};

/* Who writes what. */
struct log_line_head {
    enum log_level level;
    const char *role, *event;
    int pid;
    int64_t now_ms;
    uint32_t suppressed; /* lines of this event that were left out before it */
};

const char *log_line_level(enum log_level level);

/* An empty line of at most LIMIT bytes. */
void log_line_init(struct log_line *line, enum log_format format, size_t limit);
/* The whole line, without its newline. BARE: without what the journal and syslog note of each line by themselves, the
 * time and in text also level and pid. */
void log_line_write(struct log_line *line, const struct log_line_head *head, bool bare, const struct log_field *fields);
/* In JSON: the members of level, role, event and FIELDS without the braces, for an object that somebody else writes. */
void log_line_members(struct log_line *line, const struct log_line_head *head, const struct log_field *fields);
/* As systemd's journal takes fields of its own: LARDER_NAME=value, escaped as in text, each with a newline behind it.
 */
void log_line_journal(struct log_line *line, const struct log_line_head *head, const struct log_field *fields);

#endif
