/*
 * route_board_list: which leaderboards there are, and which periods of one.
 */
#ifndef LARDER_ROUTE_BOARD_LIST_H
#define LARDER_ROUTE_BOARD_LIST_H

#include "api/app.h"

/* First steps. The first does not block, the second may. */
enum http_step route_board_list_all(struct exchange *exchange);
enum http_step route_board_list_periods(struct exchange *exchange);

#endif
