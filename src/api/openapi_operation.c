/*
 * openapi_operation: what a resource's front matter says, as an operation; and the parts of one that built-in routes
 * have too.
 *
 * Invariant: an operation tells what route_resource and route_write do: what they refuse with which status, and where a
 * parameter is taken from. A writing route takes its parameters from the query too; here they are members of the body,
 * but for DELETE, for whose body HTTP knows no meaning (RFC 9110, section 9.3.5).
 */
#include "api/openapi_operation.h"

#include <json-c/json.h>
#include <stdio.h>

#include "api/openapi_params.h"

static const char read_headers[] = "Cache-Status X-Cache Age Cache-Control ETag";

struct json_object *openapi_operation_reference(const char *component)
{
    struct json_object *it = json_object_new_object();
    char path[160];

    snprintf(path, sizeof path, "#/components/%s", component);
    json_object_object_add(it, "$ref", json_object_new_string(path));
    return it;
}

struct json_object *openapi_operation_list(struct json_object *object, const char *name)
{
    struct json_object *list;

    if (!json_object_object_get_ex(object, name, &list)) {
        list = json_object_new_array();
        json_object_object_add(object, name, list);
    }
    return list;
}

/* The response of STATUS, made where there is none. */
static void put_response(struct json_object *operation, int status, struct json_object *response)
{
    struct json_object *responses;
    char name[16];

    if (!json_object_object_get_ex(operation, "responses", &responses)) {
        responses = json_object_new_object();
        json_object_object_add(operation, "responses", responses);
    }
    snprintf(name, sizeof name, "%d", status);
    json_object_object_add(responses, name, response);
}

static struct json_object *make_content(const char *name, struct json_object *schema)
{
    struct json_object *content = json_object_new_object(), *type = json_object_new_object();

    json_object_object_add(type, "schema", schema);
    json_object_object_add(content, name ? name : "application/json", type);
    return content;
}

void openapi_operation_answer(struct json_object *operation, int status, const char *type, struct json_object *schema,
                              const char *names)
{
    struct json_object *response = json_object_new_object(), *headers = json_object_new_object();
    struct str rest = str_from(names), name;
    char component[96];

    json_object_object_add(response, "description", json_object_new_string(http_reason(status)));
    while ((name = str_word(&rest)).len > 0) {
        int len = snprintf(component, sizeof component, "headers/%.*s", STR_ARG(name));

        json_object_object_add(headers, component + len - name.len, openapi_operation_reference(component));
    }
    if (json_object_object_length(headers) > 0)
        json_object_object_add(response, "headers", headers);
    else
        json_object_put(headers);
    if (schema)
        json_object_object_add(response, "content", make_content(type, schema));
    put_response(operation, status, response);
}

void openapi_operation_problem(struct json_object *operation, int status)
{
    char component[32];

    snprintf(component, sizeof component, "responses/Problem%d", status);
    put_response(operation, status, openapi_operation_reference(component));
}

void openapi_operation_secure(struct json_object *operation, enum catalog_auth auth)
{
    struct json_object *demands = openapi_operation_list(operation, "security");

    if (auth == CATALOG_AUTH_NONE)
        return;
    struct json_object *demand = json_object_new_object();
    json_object_object_add(demand, auth == CATALOG_AUTH_ADMIN ? "adminToken" : "key", json_object_new_array());
    json_object_array_add(demands, demand);
    openapi_operation_problem(operation, 401);
    openapi_operation_problem(operation, 403);
}

void openapi_operation_body(struct json_object *operation, struct json_object *schema, bool required)
{
    struct json_object *body = json_object_new_object();

    json_object_object_add(body, "required", json_object_new_boolean(required));
    json_object_object_add(body, "content", make_content(NULL, schema));
    json_object_object_add(operation, "requestBody", body);
}

/* The segment of the path that tells what a resource is about. */
static struct str tag_of(const struct resource *resource)
{
    struct str rest = resource->path, tag;

    do
        tag = str_cut(&rest, '/');
    while (rest.p && (tag.len == 0 || str_equal(tag, STR("api"))));
    return tag.len > 0 && tag.p[0] != '{' ? tag : resource->name;
}

/* As people say it: 5 min. */
static void add_duration(int64_t ms, struct buf *out)
{
    static const struct {
        int64_t ms;
        const char *unit;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "min"}, {1000, "s"}, {1, "ms"}};
    size_t i = 0;

    while (ms % units[i].ms != 0)
        i++;
    buf_add_int64(out, ms / units[i].ms);
    buf_printf(out, " %s", units[i].unit);
}

/* How long an answer may be kept where, in words. */
static void add_life(const struct resource *resource, struct buf *out)
{
    const struct {
        int64_t ms;
        const char *before, *behind;
    } parts[] = {{resource->ttl_ms, "Fresh in the cache for ", "."},
                 {resource->stale_ms, " Stale for another ", ", while it is computed anew."},
                 {resource->stale_if_error_ms > resource->stale_ms ? resource->stale_if_error_ms : 0, " Stale for ",
                  " when the database fails."},
                 {resource->negative_ms, " That there is no such thing is known for ", "."}};

    for (size_t i = 0; i < sizeof parts / sizeof *parts && resource->ttl_ms > 0; i++) {
        if (parts[i].ms == 0)
            continue;
        buf_add_str(out, str_from(parts[i].before));
        add_duration(parts[i].ms, out);
        buf_add_str(out, str_from(parts[i].behind));
    }
    if (resource->ttl_ms == 0)
        buf_add_str(out, STR("Not cached."));
    if (resource->uses_caller)
        buf_add_str(out, STR(" The answer depends on who asks."));
}

/* The first sentence of TEXT. */
static struct str first_sentence(struct str text)
{
    for (size_t i = 0; i + 1 < text.len; i++)
        if (text.p[i] == '.' && text.p[i + 1] == ' ')
            return (struct str){text.p, i + 1};
    return text;
}

static struct json_object *begin(const struct resource *resource)
{
    struct json_object *it = json_object_new_object();
    struct buf text = {0};

    json_object_object_add(it, "operationId", openapi_params_text(resource->name));
    json_object_array_add(openapi_operation_list(it, "tags"), openapi_params_text(tag_of(resource)));
    json_object_object_add(it, "summary",
                           openapi_params_text(resource->doc.len > 0 ? first_sentence(resource->doc) : resource->name));
    buf_add_str(&text, resource->doc);
    buf_add_str(&text, text.len > 0 ? STR("\n\n") : STR(""));
    if (resource->reading)
        add_life(resource, &text);
    else if (resource->write == CATALOG_WRITE_BEHIND)
        buf_add_str(&text, STR("Answered when the write is safely kept; it is carried out shortly after."));
    else
        buf_add_str(&text, STR("Answered when the write is durable and what it makes untrue has left the cache."));
    json_object_object_add(it, "description", openapi_params_text(buf_str(&text)));
    buf_free(&text);
    return it;
}

/* Whether SPEC is a member of the body and no parameter. */
static bool is_member(const struct resource *resource, const struct params_spec *spec)
{
    return !spec->in_path && !resource->reading && !str_equal(resource->method, STR("DELETE"));
}

struct str openapi_operation_name(struct str pattern, struct str name, const struct str *names)
{
    for (size_t i = 0; pattern.len > 0; i++) {
        (void)str_cut(&pattern, '{');
        struct str found = str_cut(&pattern, '}');

        if (found.len > 3 && memcmp(found.p + found.len - 3, "...", 3) == 0)
            found.len -= 3;
        if (found.len > 0 && str_equal(found, name))
            return names[i];
    }
    return name;
}

/* The parameters of a resource's `example:` line. */
struct example {
    struct params_raw raw[PARAMS_MAX];
    size_t count;
};

static void read_example(const struct resource *resource, struct arena *arena, struct example *example)
{
    struct buf why = {0};

    /* It has been read before, when the catalogue was. */
    if (params_split_query(resource->example, arena, example->raw, &example->count, &why) != ERR_OK)
        example->count = 0;
    buf_free(&why);
}

/* What EXAMPLE gives SPEC; NULL for nothing. */
static struct json_object *example_of(const struct example *example, const struct params_spec *spec)
{
    for (size_t i = 0; i < example->count; i++)
        if (str_equal(example->raw[i].name, spec->name))
            return openapi_params_value(spec, example->raw[i].value);
    return NULL;
}

static void add_params(struct json_object *operation, const struct resource *resource, const struct str *names,
                       const struct example *example)
{
    struct json_object *list = openapi_operation_list(operation, "parameters");

    for (size_t i = 0; i < resource->params_count; i++) {
        const struct params_spec *spec = &resource->params[i];
        struct str name = spec->in_path ? openapi_operation_name(resource->path, spec->name, names) : spec->name;

        if (is_member(resource, spec))
            continue;
        struct json_object *parameter = openapi_params_describe(spec, name, STR(""));
        struct json_object *value = example_of(example, spec);
        if (value)
            json_object_object_add(parameter, "example", value);
        json_object_array_add(list, parameter);
    }
}

static void add_body(struct json_object *operation, const struct resource *resource, const struct example *example)
{
    struct json_object *schema = json_object_new_object(), *members = json_object_new_object();
    struct json_object *required = json_object_new_array(), *whole = json_object_new_object();

    for (size_t i = 0; i < resource->params_count; i++) {
        const struct params_spec *spec = &resource->params[i];
        struct json_object *value;
        char name[128];

        if (!is_member(resource, spec))
            continue;
        snprintf(name, sizeof name, "%.*s", STR_ARG(spec->name));
        json_object_object_add(members, name, openapi_params_schema(spec, true));
        if (!spec->optional && !spec->has_default)
            json_object_array_add(required, openapi_params_text(spec->name));
        if ((value = example_of(example, spec)) != NULL)
            json_object_object_add(whole, name, value);
    }
    bool any = json_object_object_length(members) > 0, is_required = json_object_array_length(required) > 0;
    json_object_object_add(schema, "type", json_object_new_string("object"));
    json_object_object_add(schema, "properties", members);
    json_object_object_add(schema, "required", required);
    json_object_object_add(schema, "additionalProperties", json_object_new_boolean(false));
    if (json_object_object_length(whole) > 0)
        json_object_array_add(openapi_operation_list(schema, "examples"), whole);
    else
        json_object_put(whole);
    if (any)
        openapi_operation_body(operation, schema, is_required);
    else
        json_object_put(schema);
}

static struct json_object *schema_of(const struct resource *resource, bool known)
{
    char component[128];

    snprintf(component, sizeof component, "schemas/%.*s", STR_ARG(resource->name));
    return known ? openapi_operation_reference(component) : json_object_new_object();
}

static void add_reading(struct json_object *operation, const struct resource *resource, bool schema)
{
    struct json_object *list = openapi_operation_list(operation, "parameters");

    json_object_array_add(list, openapi_operation_reference("parameters/IfMatchRead"));
    json_object_array_add(list, openapi_operation_reference("parameters/IfNoneMatchRead"));
    openapi_operation_answer(operation, 200, NULL, schema_of(resource, schema), read_headers);
    openapi_operation_answer(operation, 304, NULL, NULL, read_headers);
    openapi_operation_problem(operation, 400);
    if (resource->shape != CATALOG_LIST)
        openapi_operation_problem(operation, 404);
    openapi_operation_problem(operation, 412);
}

/* What is only known once the write has been carried out. */
static void add_outcome(struct json_object *operation, const struct resource *resource, bool schema, bool read)
{
    struct json_object *list = openapi_operation_list(operation, "parameters");

    if (schema)
        openapi_operation_answer(operation, str_equal(resource->method, STR("POST")) ? 201 : 200, NULL,
                                 schema_of(resource, true), "Idempotency-Replayed");
    openapi_operation_answer(operation, 204, NULL, NULL, "Idempotency-Replayed");
    openapi_operation_problem(operation, 404);
    openapi_operation_problem(operation, 409);
    if (read) {
        json_object_array_add(list, openapi_operation_reference("parameters/IfMatch"));
        json_object_array_add(list, openapi_operation_reference("parameters/IfNoneMatch"));
        openapi_operation_problem(operation, 412);
    }
}

static void add_writing(struct json_object *operation, const struct resource *resource, bool schema, bool read)
{
    static const int problems[] = {400, 413, 415, 422, 507};

    json_object_array_add(openapi_operation_list(operation, "parameters"),
                          openapi_operation_reference("parameters/IdempotencyKey"));
    if (resource->write == CATALOG_WRITE_BEHIND)
        openapi_operation_answer(operation, 202, NULL, openapi_operation_reference("schemas/Accepted"),
                                 "Location Idempotency-Replayed");
    else
        add_outcome(operation, resource, schema, read);
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
        openapi_operation_problem(operation, problems[i]);
}

struct json_object *openapi_operation_resource(const struct resource *resource, const struct str *names, bool schema,
                                               bool read)
{
    struct arena *arena = arena_new(1024, 1 << 20);
    struct json_object *operation = begin(resource);
    struct example example;

    read_example(resource, arena, &example);
    add_params(operation, resource, names, &example);
    if (resource->reading) {
        add_reading(operation, resource, schema);
    } else {
        add_body(operation, resource, &example);
        add_writing(operation, resource, schema, read);
    }
    openapi_operation_secure(operation, resource->auth);
    openapi_operation_problem(operation, 503);
    arena_free(&arena);
    return operation;
}
