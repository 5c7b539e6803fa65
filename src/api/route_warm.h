/*
 * route_warm: filling the cache ahead of demand, from a list of URLs or from what resources name in their `warm:`
 * lines.
 */
#ifndef LARDER_ROUTE_WARM_H
#define LARDER_ROUTE_WARM_H

#include <signal.h>

#include "api/app.h"

/* POST: `{"urls": [...]}`, `{"resource": NAME}`, or nothing: all `warm:` lines. For admins; may block. Each URL is
 * asked for as the caller would ask. What cannot be done within the time that a request has is left undone and counted.
 */
enum http_step route_warm_handle(struct exchange *exchange);
/* All `warm:` lines once, for a process of its own with nothing else to do: gently, and until *STOP. Waits for the
 * cache to be trusted first. Returns its exit code. */
int route_warm_run(const struct app *app, const volatile sig_atomic_t *stop);

#endif
