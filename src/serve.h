/*
 * serve: joins the application to the server: what a generation is made of, and which roles run it.
 */
#ifndef LARDER_SERVE_H
#define LARDER_SERVE_H

#include "api/app.h"
#include "base/report.h"

/* Everything that files say, loaded and checked together. Owned by the holder. */
struct serve_files {
    struct config *config;
    struct catalog *catalog;
    struct buf depends; /* a line for each resource that reads: the tables it depends on */
    struct buf answers; /* a line for each resource whose answer is known: its name and a JSON Schema */
};

/* Loads configuration and catalogue and prepares every statement, in a child process so that a damaged database harms nobody else.
 * Everything wrong goes to REPORT. ERR_USAGE when anything was. ERR_UNAVAILABLE, with *OUT set: only the database could not be read, so that nothing
 * was checked against it. */
enum err serve_load_files(const char *config_path, struct report *report, struct serve_files *out) ERR_CHECKED;
void serve_free_files(struct serve_files *files);

/* Serves until told to stop. PROGRAM: the command line, with which a successor is started. The exit code of the process: 0, 1 failed, 2 wrong configuration. */
int serve_run(const char *config_path, char **program);

#endif
