/*
 * report: everything that is wrong with a set of files, told at once.
 *
 * Lines are kept in the order in which they were added: `file:line: message`, `file: message` where line is 0,
 * `file:line:column: message` where column is not 0, the message alone where file is empty.
 */
#ifndef LARDER_REPORT_H
#define LARDER_REPORT_H

#include <stddef.h>

struct report;

struct report *report_new(void);
void report_free(struct report **report);
/* FILE may be NULL or empty: the line then names none, as where the configuration comes from the environment alone. */
void report_add(struct report *report, const char *file, unsigned line, unsigned column, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
size_t report_count(const struct report *report);
/* The I-th line, without newline; owned by the report. */
const char *report_line(const struct report *report, size_t i);

#endif
