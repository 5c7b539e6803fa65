/*
 * trace: what one request is known by elsewhere: its id, and its place in a distributed trace.
 *
 * Both come from outside and go into the log and into answers, so nothing is passed on that is not well-formed.
 */
#ifndef LARDER_TRACE_H
#define LARDER_TRACE_H

#include "http/http.h"

enum { TRACE_REQUEST_ID_MAX = 128, TRACE_PARENT_LEN = 55 };

/* The `traceparent` in TEXT (W3C Trace Context, section 3.2): version, trace id, parent id and flags, TRACE_PARENT_LEN
 * bytes of it; what a later version has behind them is left out. Empty when it is none that may be used. */
struct str trace_parent(struct str text);
/* Whether TEXT may be the id of a request: letters, digits and any of `-._~:+/=@`, at most TRACE_REQUEST_ID_MAX. */
bool trace_is_request_id(struct str text);
/* The id of HTTP: the one that came with it (X-Request-Id), else one that is made now and kept. Empty only when there
 * is no memory for one. */
struct str trace_request_id(struct http *http);

#endif
