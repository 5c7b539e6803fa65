/*
 * log: builds a line on the stack and sends it off in one write.
 *
 * Text:  2026-11-21T06:00:00.123Z notice worker[123] l2_lost why="connection refused" pending=3
 * JSON:  {"time":"...","level":"notice","role":"worker","pid":123,"event":"l2_lost","why":"...","pending":3}
 *
 * Invariant: one event is one line of at most LINE_MAX_LEN bytes, in valid UTF-8, whatever the values hold. A value
 * that is too long is cut at a character; fields that then find no room are left out; a JSON line stays valid JSON all
 * the same.
 *
 * The sink below is one of the three pieces of file-scope state in larder. It allocates nothing, takes no lock, and
 * never fails: a line that cannot be written is lost, for there is nobody left to tell.
 */
#include "base/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/sys.h"

#define LINE_MAX_LEN 8192
/* What closes a line: quote, brace, newline. */
#define LINE_TAIL 3
/* What a field needs besides its name: punctuation and a number, or quotes and the beginning of a text. */
#define FIELD_ROOM 32

struct line {
    size_t len;
    enum log_format format;
    char bytes[LINE_MAX_LEN];
};

static struct {
    _Atomic int fd, level, format;
    const char *_Atomic role;
} sink = {.fd = STDERR_FILENO, .level = LOG_LEVEL_NOTICE, .format = LOG_FORMAT_TEXT, .role = "larder"};

void log_init(int fd, enum log_level level, enum log_format format)
{
    atomic_store(&sink.fd, fd);
    atomic_store(&sink.level, (int)level);
    atomic_store(&sink.format, (int)format);
}

void log_role(const char *role)
{
    atomic_store(&sink.role, role);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&sink.level, memory_order_relaxed);
}

static size_t room(const struct line *line)
{
    return line->len < LINE_MAX_LEN - LINE_TAIL ? LINE_MAX_LEN - LINE_TAIL - line->len : 0;
}

/* All of BYTES or nothing. */
static bool put(struct line *line, const char *bytes, size_t len)
{
    if (len > room(line))
        return false;
    memcpy(line->bytes + line->len, bytes, len);
    line->len += len;
    return true;
}

static bool put_text(struct line *line, const char *text)
{
    return put(line, text, strlen(text));
}

/* Closing characters, for which LINE_TAIL kept room. */
static void close_with(struct line *line, char c)
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
static bool put_escaped(struct line *line, struct str rest, size_t len)
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

static void put_quoted(struct line *line, struct str text)
{
    if (!put(line, "\"", 1))
        return;
    while (text.len > 0) {
        size_t len = str_utf8_len(text);
        size_t step = len ? len : 1;

        if (!put_escaped(line, text, len))
            break;
        text = (struct str){text.p + step, text.len - step};
    }
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

static void put_int(struct line *line, int64_t number)
{
    char digits[24];

    snprintf(digits, sizeof(digits), "%lld", (long long)number);
    (void)put_text(line, digits);
}

static void put_str(struct line *line, struct str text)
{
    /* What does not fit is cut between quotes, in JSON and in text. */
    if (line->format == LOG_FORMAT_JSON || !is_plain(text) || !put(line, text.p, text.len))
        put_quoted(line, text);
}

/* Opens a field; false when there is no room for it, its quotes and a number. */
static bool put_name(struct line *line, const char *name)
{
    bool json = line->format == LOG_FORMAT_JSON;

    if (strlen(name) + FIELD_ROOM > room(line))
        return false;
    return put_text(line, json ? ",\"" : " ") && put_text(line, name) && put_text(line, json ? "\":" : "=");
}

static void put_field(struct line *line, const struct log_field *field)
{
    if (!put_name(line, field->name))
        return;
    if (field->type == LOG_FIELD_INT)
        put_int(line, field->number);
    else
        put_str(line, field->text);
}

static void put_time(struct line *line)
{
    int64_t now_ms = sys_now_ms();
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm calendar;
    char date[32], fraction[16];

    gmtime_r(&seconds, &calendar);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &calendar);
    snprintf(fraction, sizeof(fraction), ".%03dZ", (int)(now_ms % 1000));
    (void)put_text(line, date);
    (void)put_text(line, fraction);
}

static void put_head(struct line *line, enum log_level level, const char *event)
{
    static const char *const levels[] = {"error", "warning", "notice", "info", "debug"};
    bool json = line->format == LOG_FORMAT_JSON;

    (void)put_text(line, json ? "{\"time\":\"" : "");
    put_time(line);
    (void)put_text(line, json ? "\",\"level\":\"" : " ");
    (void)put_text(line, levels[level]);
    (void)put_text(line, json ? "\",\"role\":\"" : " ");
    (void)put_text(line, atomic_load(&sink.role));
    (void)put_text(line, json ? "\",\"pid\":" : "[");
    put_int(line, getpid());
    (void)put_text(line, json ? ",\"event\":\"" : "] ");
    (void)put_text(line, event);
    (void)put_text(line, json ? "\"" : "");
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    struct line line;
    int saved = errno;

    if (!log_enabled(level))
        return;
    line.len = 0;
    line.format = (enum log_format)atomic_load(&sink.format);
    put_head(&line, level, event);
    for (; fields->name; fields++)
        put_field(&line, fields);
    if (line.format == LOG_FORMAT_JSON)
        close_with(&line, '}');
    close_with(&line, '\n');
    while (write(atomic_load(&sink.fd), line.bytes, line.len) < 0 && errno == EINTR)
        continue;
    errno = saved;
}

void log_report(enum log_level level, const char *event, const struct report *report)
{
    for (size_t i = 0; i < report_count(report); i++)
        log_event(level, event, LOG_TEXT("message", report_line(report, i)));
}
