/*
 * log_line: how a line is spelt.
 *
 * Text:  2026-11-21T06:00:00.123Z notice worker[123] l2_lost why="connection refused" pending=3
 * Bare:  worker l2_lost why="connection refused" pending=3
 * JSON:  {"time":"...","level":"notice","role":"worker","pid":123,"event":"l2_lost","why":"...","pending":3}
 *
 * Invariant: whatever the values hold, nothing in a line ends it, steers a terminal, or passes for another field.
 */
#include "base/log_line.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

/* What closes a line: quote, brace, newline. */
#define LINE_TAIL 3
/* What a field needs besides its name: punctuation and a number, or quotes and the beginning of a text. */
#define FIELD_ROOM 32

const char *log_line_level(enum log_level level)
{
    static const char *const levels[] = {"error", "warning", "notice", "info", "debug"};

    return levels[level];
}

void log_line_init(struct log_line *line, enum log_format format, size_t limit)
{
    assert(limit <= sizeof(line->bytes));
    line->len = 0;
    line->limit = limit;
    line->format = format;
}

static size_t room(const struct log_line *line)
{
    return line->len + LINE_TAIL < line->limit ? line->limit - LINE_TAIL - line->len : 0;
}

/* All of BYTES or nothing. */
static bool put(struct log_line *line, const char *bytes, size_t len)
{
    if (len > room(line))
        return false;
    memcpy(line->bytes + line->len, bytes, len);
    line->len += len;
    return true;
}

static bool put_text(struct log_line *line, const char *text)
{
    return put(line, text, strlen(text));
}

/* Closing characters, for which LINE_TAIL kept room. */
static void close_with(struct log_line *line, char c)
{
    line->bytes[line->len++] = c;
}

/* Whether the character at TEXT could end a line or steer a terminal: controls, U+0080 to U+009F, U+2028, U+2029. */
static bool is_unsafe(struct str text)
{
    const unsigned char *p = (const unsigned char *)text.p;

    return p[0] < 0x20 || p[0] == 0x7f || (p[0] == 0xc2 && p[1] < 0xa0) ||
           (p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9));
}

/* One character of a quoted value: REST begins with it, and LEN is its length, or 0 for a byte that is not UTF-8. */
static bool put_escaped(struct log_line *line, struct str rest, size_t len)
{
    const unsigned char *p = (const unsigned char *)rest.p;
    char escape[8];

    if (len == 0) {
        snprintf(escape, sizeof(escape), line->format == LOG_FORMAT_JSON ? "\\ufffd" : "\\x%02x", p[0]);
    } else if (p[0] == '"' || p[0] == '\\') {
        snprintf(escape, sizeof(escape), "\\%c", p[0]);
    } else if (p[0] == '\n' || p[0] == '\t' || p[0] == '\r') {
        snprintf(escape, sizeof(escape), "\\%c", p[0] == '\n' ? 'n' : p[0] == '\t' ? 't' : 'r');
    } else if (is_unsafe(rest)) {
        unsigned code = len == 1 ? p[0] : len == 2 ? p[1] : 0x2000u + (p[2] - 0x80u);

        snprintf(escape, sizeof(escape), "\\u%04x", code);
    } else {
        return put(line, rest.p, len);
    }
    return put_text(line, escape);
}

/* As much of TEXT as there is room for. */
static void put_escaped_all(struct log_line *line, struct str text)
{
    while (text.len > 0) {
        size_t len = str_utf8_len(text);
        size_t step = len ? len : 1;

        if (!put_escaped(line, text, len))
            break;
        text = (struct str){text.p + step, text.len - step};
    }
}

static void put_quoted(struct log_line *line, struct str text)
{
    if (!put(line, "\"", 1))
        return;
    put_escaped_all(line, text);
    close_with(line, '"');
}

/* Whether TEXT may stand without quotes. */
static bool is_plain(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.p[i] <= ' ' || text.p[i] >= 0x7f || text.p[i] == '"' || text.p[i] == '\\' || text.p[i] == '=')
            return false;
    return text.len > 0;
}

static void put_int(struct log_line *line, int64_t number)
{
    char digits[24];

    snprintf(digits, sizeof(digits), "%lld", (long long)number);
    (void)put_text(line, digits);
}

static void put_str(struct log_line *line, struct str text)
{
    /* What does not fit is cut between quotes, in JSON and in text. */
    if (line->format == LOG_FORMAT_JSON || !is_plain(text) || !put(line, text.p, text.len))
        put_quoted(line, text);
}

/* Opens a field; false when there is no room for it, its quotes and a number. */
static bool put_name(struct log_line *line, const char *name)
{
    bool json = line->format == LOG_FORMAT_JSON;

    if (strlen(name) + FIELD_ROOM > room(line))
        return false;
    return put_text(line, json ? ",\"" : " ") && put_text(line, name) && put_text(line, json ? "\":" : "=");
}

static void put_field(struct log_line *line, const struct log_field *field)
{
    if (!put_name(line, field->name))
        return;
    if (field->type == LOG_FIELD_INT)
        put_int(line, field->number);
    else
        put_str(line, field->text);
}

static void put_fields(struct log_line *line, const struct log_line_head *head, const struct log_field *fields)
{
    if (head->suppressed > 0)
        put_field(line, &LOG_INT("suppressed", head->suppressed));
    for (; fields->name; fields++)
        put_field(line, fields);
}

static void put_time(struct log_line *line, int64_t now_ms)
{
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm calendar;
    char date[32], fraction[16];

    gmtime_r(&seconds, &calendar);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &calendar);
    snprintf(fraction, sizeof(fraction), ".%03dZ", (int)(now_ms % 1000));
    (void)put_text(line, date);
    (void)put_text(line, fraction);
}

/* A member whose value needs no escaping; the first of its object has no comma before it. */
static void put_member(struct log_line *line, const char *name, const char *value, bool first)
{
    (void)put_text(line, first ? "\"" : ",\"");
    (void)put_text(line, name);
    (void)put_text(line, "\":\"");
    (void)put_text(line, value);
    (void)put_text(line, "\"");
}

void log_line_members(struct log_line *line, const struct log_line_head *head, const struct log_field *fields)
{
    put_member(line, "level", log_line_level(head->level), true);
    put_member(line, "role", head->role, false);
    (void)put_text(line, ",\"pid\":");
    put_int(line, head->pid);
    put_member(line, "event", head->event, false);
    put_fields(line, head, fields);
}

static void write_json(struct log_line *line, const struct log_line_head *head, bool bare,
                       const struct log_field *fields)
{
    (void)put_text(line, "{");
    if (!bare) {
        (void)put_text(line, "\"time\":\"");
        put_time(line, head->now_ms);
        (void)put_text(line, "\",");
    }
    log_line_members(line, head, fields);
    close_with(line, '}');
}

void log_line_write(struct log_line *line, const struct log_line_head *head, bool bare, const struct log_field *fields)
{
    if (line->format == LOG_FORMAT_JSON) {
        write_json(line, head, bare, fields);
        return;
    }
    if (!bare) {
        put_time(line, head->now_ms);
        (void)put_text(line, " ");
        (void)put_text(line, log_line_level(head->level));
        (void)put_text(line, " ");
    }
    (void)put_text(line, head->role);
    if (!bare) {
        (void)put_text(line, "[");
        put_int(line, head->pid);
        (void)put_text(line, "]");
    }
    (void)put_text(line, " ");
    (void)put_text(line, head->event);
    put_fields(line, head, fields);
}

/* Journal fields are named in capitals. */
static void put_journal_name(struct log_line *line, const char *name)
{
    (void)put_text(line, "LARDER_");
    for (; *name; name++)
        (void)put(line, &(char){(char)(*name >= 'a' && *name <= 'z' ? *name - 'a' + 'A' : *name)}, 1);
    (void)put_text(line, "=");
}

static void put_journal(struct log_line *line, const struct log_field *field)
{
    if (strlen(field->name) + FIELD_ROOM > room(line))
        return;
    put_journal_name(line, field->name);
    if (field->type == LOG_FIELD_INT)
        put_int(line, field->number);
    else
        put_escaped_all(line, field->text);
    close_with(line, '\n');
}

void log_line_journal(struct log_line *line, const struct log_line_head *head, const struct log_field *fields)
{
    put_journal(line, &LOG_TEXT("event", head->event));
    put_journal(line, &LOG_TEXT("role", head->role));
    if (head->suppressed > 0)
        put_journal(line, &LOG_INT("suppressed", head->suppressed));
    for (; fields->name; fields++)
        put_journal(line, fields);
}
