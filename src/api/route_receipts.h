/*
 * route_receipts: what becomes of writes behind: how it goes with one, and what admins do about those that failed. All
 * of it may block.
 */
#ifndef LARDER_ROUTE_RECEIPTS_H
#define LARDER_ROUTE_RECEIPTS_H

#include "api/app.h"

/* GET: how it goes with a receipt. For whoever has it. */
enum http_step route_receipts_get(struct exchange *exchange);
/* GET: a page of the writes that failed and wait for somebody to decide. */
enum http_step route_receipts_list(struct exchange *exchange);
/* POST: a failed write is accepted again. */
enum http_step route_receipts_repeat(struct exchange *exchange);
/* DELETE: a failed write is dropped. */
enum http_step route_receipts_drop(struct exchange *exchange);

/* Answers 202 with the receipt in JSON, `{"receipt":"…"}`, and where to ask about it. */
void route_receipts_accepted(struct exchange *exchange, struct str json);

#endif
