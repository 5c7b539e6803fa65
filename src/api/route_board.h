/*
 * route_board: asking leaderboards: the top, a member, its neighbours. From L2 while that can be believed, else by SQL.
 */
#ifndef LARDER_ROUTE_BOARD_H
#define LARDER_ROUTE_BOARD_H

#include "api/app.h"
#include "api/board.h"

/* First steps; on the event thread they do not block. */
enum http_step route_board_top(struct exchange *exchange);
enum http_step route_board_member(struct exchange *exchange);
enum http_step route_board_around(struct exchange *exchange);

/* For the other routes of boards. */

/* The configured board that the path names; NULL: answered with 404. */
const struct config_board *route_board_find(struct exchange *exchange);
/* The member that the path names; false: answered with 400. */
bool route_board_take_member(struct exchange *exchange, struct str *member);
/* Answers with ERR, of reading scores, and lets the log have WHY. */
enum http_step route_board_fail(struct exchange *exchange, enum err err, struct buf *why);

#endif
