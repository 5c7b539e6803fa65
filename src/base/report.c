/*
 * report: a list of lines about what is wrong in which file.
 *
 * Whoever reads a set of files goes on after a mistake and adds a line here, so that a person learns all of them in one
 * run and not one by one.
 *
 * Invariant: a line is one line. Control characters that a message quotes from its file become '?', so that a broken
 * file can neither forge a second line nor speak to the terminal.
 */
#include "base/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "base/sys.h"

struct report {
    char **lines;
    size_t count, cap;
};

struct report *report_new(void)
{
    return sys_calloc(1, sizeof(struct report));
}

void report_free(struct report **report)
{
    if (!*report)
        return;
    for (size_t i = 0; i < (*report)->count; i++)
        free((*report)->lines[i]);
    free((*report)->lines);
    free(*report);
    *report = NULL;
}

static void add_place(struct buf *out, const char *file, unsigned line, unsigned column)
{
    if (!file || *file == '\0')
        return;
    buf_add_str(out, str_from(file));
    if (line != 0)
        buf_printf(out, ":%u", line);
    if (line != 0 && column != 0)
        buf_printf(out, ":%u", column);
    buf_add_str(out, STR(": "));
}

__attribute__((format(printf, 2, 0))) static void add_message(struct buf *out, const char *format, va_list arguments)
{
    char *text;
    int len = vasprintf(&text, format, arguments);

    if (len < 0)
        return;
    buf_add(out, text, (size_t)len);
    free(text);
}

void report_add(struct report *report, const char *file, unsigned line, unsigned column, const char *format, ...)
{
    struct buf out = {0};
    va_list arguments;

    add_place(&out, file, line, column);
    va_start(arguments, format);
    add_message(&out, format, arguments);
    va_end(arguments);
    for (size_t i = 0; i < out.len; i++)
        if ((unsigned char)out.p[i] < 0x20 || out.p[i] == 0x7f)
            out.p[i] = '?';
    if (report->count == report->cap) {
        report->cap = report->cap ? 2 * report->cap : 16;
        report->lines = sys_realloc(report->lines, report->cap * sizeof(*report->lines));
    }
    report->lines[report->count++] = out.p;
}

size_t report_count(const struct report *report)
{
    return report->count;
}

const char *report_line(const struct report *report, size_t i)
{
    return i < report->count ? report->lines[i] : "";
}
