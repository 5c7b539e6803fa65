/*
 * command_writer: the writer for one command: the running server's where there is one, else one started for the
 * command's own time.
 */
#ifndef LARDER_COMMAND_WRITER_H
#define LARDER_COMMAND_WRITER_H

#include "config/config.h"
#include "store/writer.h"

struct command_writer;

/* Returns when there is a writer that clients of CONFIG, which was loaded from CONFIG_PATH, can reach and the database
 * has been migrated. KEPT, a descriptor or -1, stays open as long as a writer of our own lives. WHY for a person. On
 * failure *OUT is NULL. */
enum err command_writer_start(const struct config *config, const char *config_path, int kept,
                              struct command_writer **out, struct buf *why) ERR_CHECKED;
bool command_writer_is_servers(const struct command_writer *writer);
/* Whether a writer of our own has applied all writes behind that it was given, or cannot at present. */
bool command_writer_applied(const struct command_writer *writer);
/* Ends a writer of our own, when what it was given is committed. NULL is a no-op. */
void command_writer_stop(struct command_writer **writer);

/* Whether this process has been started as such a writer, and its life then; the exit code. */
bool command_writer_is_asked(void);
int command_writer_run(const char *config_path);

#endif
