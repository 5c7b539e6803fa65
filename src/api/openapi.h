/*
 * openapi: the description of all routes, OpenAPI 3.1: larder's own by openapi.json, the resources' by the catalogue.
 *
 * Made once for each struct app, before the fork, and immutable then. Only the place that larder is mounted at comes
 * with the request.
 */
#ifndef LARDER_OPENAPI_H
#define LARDER_OPENAPI_H

#include "base/arena.h"

struct app;
struct openapi;

/* Describes APP's routes. ANSWERS: what check_statements says of the resources' answers; of one that is not named there
 * nothing is known. Never NULL. */
struct openapi *openapi_new(const struct app *app, struct str answers);
void openapi_free(struct openapi **openapi);
/* The document of a larder mounted at MOUNT (empty: at the root), in ARENA; empty when that is full. */
struct str openapi_print(const struct openapi *openapi, struct str mount, struct arena *arena);

/* openapi.json, as it was when this was built. */
extern const char openapi_words[];

#endif
