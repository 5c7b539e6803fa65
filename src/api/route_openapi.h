/*
 * route_openapi: the description of all routes.
 */
#ifndef LARDER_ROUTE_OPENAPI_H
#define LARDER_ROUTE_OPENAPI_H

#include "api/app.h"

/* GET /openapi.json: OpenAPI 3.1, for the place that larder is mounted at. Blocks only
 * where the document was not made ahead (app->openapi). */
enum http_step route_openapi_get(struct exchange *exchange);

#endif
