/*
 * beside: files of larder's own in the directory of a database, opened so that root can do it safely.
 *
 * The directory belongs to the user that larder runs as, and commands are run by root too. So no name in it is trusted:
 * a link that stands there may lead to any file of root's. And what root makes there is given to whom it is for, or the
 * server could not use it afterwards.
 */
#ifndef LARDER_BESIDE_H
#define LARDER_BESIDE_H

#include "base/str.h"

/* Opens PATH for reading and writing, which is made where there is none, and gives it (below). Anything but a plain
 * file with this one name is refused. Otherwise WHY says what is wrong. */
enum err beside_open(const char *path, const char *database, int *fd, struct buf *why) ERR_CHECKED;
/* For root: gives the open file to the owner of DATABASE, where that is missing of its directory; only while it is
 * empty. */
void beside_give(int fd, const char *database);
/* For root, before SQLite makes PATH: makes it, empty, where there is none, and gives it like that. SQLite then gives
 * what it puts beside PATH to the same owner. What fails here, SQLite will say better. */
void beside_prepare(const char *path, const char *database);

#endif
