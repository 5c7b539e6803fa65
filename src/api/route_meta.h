/*
 * route_meta: how this larder is: /healthz, /readyz, /stats.
 */
#ifndef LARDER_ROUTE_META_H
#define LARDER_ROUTE_META_H

#include "api/app.h"

/* Ended by a route without `handle`. */
extern const struct route route_meta_table[];

#endif
