/*
 * openapi_operation: one route as an operation of OpenAPI: the parts that every operation has. For openapi alone.
 */
#ifndef LARDER_OPENAPI_OPERATION_H
#define LARDER_OPENAPI_OPERATION_H

#include "api/app.h"

struct json_object;

/* A reference to COMPONENT, as `schemas/Health`. */
struct json_object *openapi_operation_reference(const char *component);
/* Adds a response of STATUS to OPERATION, with content of media type TYPE (NULL: JSON) and SCHEMA (taken over; NULL: no
 * content), and the component headers that HEADERS, separated by blanks, names. */
void openapi_operation_answer(struct json_object *operation, int status, const char *type, struct json_object *schema,
                              const char *headers);
/* Adds the problem of STATUS. */
void openapi_operation_problem(struct json_object *operation, int status);
/* What AUTH demands, and its problems. */
void openapi_operation_secure(struct json_object *operation, enum catalog_auth auth);
/* Adds a JSON body of SCHEMA (taken over). */
void openapi_operation_body(struct json_object *operation, struct json_object *schema, bool required);
/* The array NAME of OBJECT, made where there is none; OBJECT's. */
struct json_object *openapi_operation_list(struct json_object *object, const char *name);

/* What the `{name}` or `{name...}` of PATTERN is called in the document, by NAMES, one for each of those in order; NAME
 * where PATTERN has none of it. */
struct str openapi_operation_name(struct str pattern, struct str name, const struct str *names);

/* RESOURCE as an operation. NAMES: what its values in the path are called there, in order. SCHEMA says whether there is
 * a component schema of its name; READ whether something can be read at the same path. */
struct json_object *openapi_operation_resource(const struct resource *resource, const struct str *names, bool schema,
                                               bool read);

#endif
