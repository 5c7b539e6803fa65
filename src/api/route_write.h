/*
 * route_write: the writing routes that .sql files declare: parameters from path, query and JSON body, through the
 * writer, and then the purge.
 */
#ifndef LARDER_ROUTE_WRITE_H
#define LARDER_ROUTE_WRITE_H

#include "api/app.h"

/* First step of a writing resource. May block. */
enum http_step route_write_handle(struct exchange *exchange);
/* For whoever writes: answers with ERR, of writer_client_write, and lets the log have WHY. */
void route_write_fail(struct exchange *exchange, enum err err, struct str why);

#endif
