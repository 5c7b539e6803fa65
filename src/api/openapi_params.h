/*
 * openapi_params: declared parameters in the words of OpenAPI 3.1 and JSON Schema (2020-12).
 */
#ifndef LARDER_OPENAPI_PARAMS_H
#define LARDER_OPENAPI_PARAMS_H

#include "config/params.h"

struct json_object;

/* TEXT as a JSON string. The caller's, as all that these give. */
struct json_object *openapi_params_text(struct str text);

/* The schema of SPEC's values; of a member of a body, which may be null, when IN_BODY. */
struct json_object *openapi_params_schema(const struct params_spec *spec, bool in_body);
/* TEXT, one of SPEC's as a query has it. */
struct json_object *openapi_params_value(const struct params_spec *spec, struct str text);
/* SPEC as a parameter of the path or the query, called NAME there; TEXT, which may be empty, says what it is. */
struct json_object *openapi_params_describe(const struct params_spec *spec, struct str name, struct str text);

#endif
