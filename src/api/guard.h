/*
 * guard: who may use a route. The admin token of the configuration, as a bearer token (RFC 6750).
 */
#ifndef LARDER_GUARD_H
#define LARDER_GUARD_H

#include "config/catalog.h"
#include "config/config.h"
#include "http/http.h"

/* Whether HTTP may use a route that asks for AUTH. If not, HTTP is filled with the answer: 401 with WWW-Authenticate,
 * or 403 where no token is configured, so that no caller could ever be admitted. */
bool guard_admits(const struct config *config, enum catalog_auth auth, struct http *http);

#endif
