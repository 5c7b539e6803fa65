/*
 * route_board_write: scores that come to leaderboards, and members that leave them.
 */
#ifndef LARDER_ROUTE_BOARD_WRITE_H
#define LARDER_ROUTE_BOARD_WRITE_H

#include "api/app.h"

/* First steps. Both may block. */
enum http_step route_board_write_submit(struct exchange *exchange);
enum http_step route_board_write_remove(struct exchange *exchange);

#endif
