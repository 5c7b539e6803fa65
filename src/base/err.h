/*
 * err: the one error enum of larder.
 *
 * A function that can fail returns `enum err` and gives its result through a pointer that it sets on success only.
 * An error is either returned or logged, never both. What a person should read travels beside the code, as text in a
 * caller's `struct buf *why` or as a line of a `struct report` (base/report.h). HTTP statuses are chosen in `api`,
 * nowhere else.
 */
#ifndef LARDER_ERR_H
#define LARDER_ERR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/report.h"

/* X(name, text): every error with the words shown when nothing more precise is known. */
#define ERR_TABLE(X)                                                                                                   \
    X(OK, "no error")                                                                                                  \
    X(SYNTAX, "malformed input")                                                                                       \
    X(TYPE, "value of the wrong type")                                                                                 \
    X(RANGE, "value out of range")                                                                                     \
    X(LIMIT, "too large")                                                                                              \
    X(NOT_FOUND, "not found")                                                                                          \
    X(EXISTS, "already exists")                                                                                        \
    X(CHANGED, "not what it was taken for any more")                                                                   \
    X(CONSTRAINT, "a constraint of the database refused it")                                                           \
    X(DENIED, "not allowed")                                                                                           \
    X(UNAVAILABLE, "not available at present")                                                                         \
    X(TIMEOUT, "timed out")                                                                                            \
    X(BUSY, "busy")                                                                                                    \
    X(FULL, "no space left")                                                                                           \
    X(READ_ONLY, "read-only")                                                                                          \
    X(CORRUPT, "damaged")                                                                                              \
    X(VERSION, "made by another version")                                                                              \
    X(IO, "input/output error")                                                                                        \
    X(AGAIN, "incomplete, more is needed")                                                                             \
    X(USAGE, "wrong usage")                                                                                            \
    X(STATEMENT, "the SQL statement failed")                                                                           \
    X(OVERDUE, "took longer than it may, and was taken back")                                                          \
    X(DIRECTORY, "a directory and no file")

#define ERR_ENUM(name, text) ERR_##name,
enum err { ERR_TABLE(ERR_ENUM) ERR_COUNT };
#undef ERR_ENUM

#define ERR_CHECKED __attribute__((warn_unused_result))

/* The table's words for ERR; never NULL, static. */
const char *err_text(enum err err);

/* The enum err nearest to an errno value; ERR_IO where none fits. */
enum err err_from_errno(int number);

#endif
