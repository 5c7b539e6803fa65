/*
 * board_sync: keeps the copies of leaderboards in L2 like the database: a step of the housekeeper.
 */
#ifndef LARDER_BOARD_SYNC_H
#define LARDER_BOARD_SYNC_H

#include "api/app.h"

enum { BOARD_SYNC_LOG_MAX = 100000 }; /* changes that are kept for an L2 that cannot be told of them */

struct board_sync;
/* L2 and WRITER are the caller's and must outlive it. *PRINT is set to what L2's copies are of, once that is known. */
struct board_sync *board_sync_new(const struct app *app, struct l2 *l2, struct writer_client *writer,
                                  _Atomic uint64_t *print);
void board_sync_free(struct board_sync **sync);
/* One step, of one batch at most; blocks for a batch's time. IN_CONTACT: L2 can be talked to. Whether there is more to
 * do at once. */
bool board_sync_step(struct board_sync *sync, bool in_contact);

#endif
