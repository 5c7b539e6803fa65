/*
 * openapi: the document, put together from three sources: the table of built-in routes with openapi.json, which has the
 * words for each of them; the catalogue; and what SQLite told of the statements' columns when they were checked.
 *
 * Invariant: what is described exists. A built-in route without words is left out, and so are words without a route; a
 * test proves that there are neither. Two routes whose paths differ only in what their values are called are one path
 * here, with the names of the first.
 *
 * It refuses to be made for each request: it is text from the start, with a gap for where larder is mounted.
 */
#include "api/openapi.h"

#include <assert.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/openapi_operation.h"
#include "api/openapi_params.h"
#include "base/sys.h"

struct openapi {
    struct buf before, behind; /* the URL of the server */
};

/* A document on its way. */
struct making {
    const struct app *app;
    struct json_object *words;
    struct json_object *paths, *schemas, *tags;
    struct json_object *shapes; /* of the paths: each with the first pattern that had it */
};

/* The places for values in a path. */
struct places {
    struct str names[ROUTER_SEGMENTS_MAX];
    size_t count;
};

static const struct str nameless[ROUTER_SEGMENTS_MAX];

static struct json_object *member(struct json_object *object, const char *name)
{
    struct json_object *found = NULL;

    json_object_object_get_ex(object, name, &found);
    return found;
}

static struct str text_of(struct json_object *object, const char *name)
{
    return str_from(json_object_get_string(member(object, name)));
}

/* PATTERN as a path of the document, with NAMES (NULL: its own) in its places. What is found at the places is added to
 * PLACES. */
static void write_path(struct str pattern, const struct str *names, struct places *places, struct buf *out)
{
    pattern = (struct str){pattern.p + 1, pattern.len - 1};
    places->count = 0;
    do {
        struct str segment = str_cut(&pattern, '/');

        buf_add_char(out, '/');
        if (segment.len == 0 || segment.p[0] != '{') {
            str_percent_encode(segment, out);
            continue;
        }
        struct str name = {segment.p + 1, segment.len - 2};
        if (name.len > 3 && memcmp(name.p + name.len - 3, "...", 3) == 0)
            name.len -= 3;
        buf_printf(out, "{%.*s}", STR_ARG(names ? names[places->count] : name));
        places->names[places->count++] = name;
    } while (pattern.p);
}

/* The item of PATTERN's path; PLACES gets the names that it has there. */
static struct json_object *find_item(struct making *making, struct str pattern, struct places *places)
{
    struct buf shape = {0}, path = {0};
    struct json_object *first, *item;

    write_path(pattern, nameless, places, &shape);
    if (!json_object_object_get_ex(making->shapes, shape.p, &first)) {
        first = openapi_params_text(pattern);
        json_object_object_add(making->shapes, shape.p, first);
    }
    write_path(str_from(json_object_get_string(first)), NULL, places, &path);
    if (!json_object_object_get_ex(making->paths, path.p, &item)) {
        item = json_object_new_object();
        json_object_object_add(making->paths, path.p, item);
    }
    buf_free(&shape);
    buf_free(&path);
    return item;
}

/* Whether the tag NAME is one that has been noted. */
static bool is_tag(const struct making *making, struct str name)
{
    for (size_t i = 0; i < json_object_array_length(making->tags); i++)
        if (str_equal(text_of(json_object_array_get_idx(making->tags, i), "name"), name))
            return true;
    return false;
}

static void note_tag(struct making *making, struct str name, struct json_object *description)
{
    if (is_tag(making, name))
        return;
    struct json_object *tag = json_object_new_object();
    json_object_object_add(tag, "name", openapi_params_text(name));
    if (description)
        json_object_object_add(tag, "description", json_object_get(description));
    json_object_array_add(making->tags, tag);
}

/* Adds OPERATION, which is taken over, to ITEM. */
static void put_operation(struct json_object *item, enum http_method method, struct json_object *operation)
{
    static const char *const names[HTTP_METHOD_COUNT] = {
        [HTTP_GET] = "get", [HTTP_POST] = "post", [HTTP_PUT] = "put", [HTTP_PATCH] = "patch", [HTTP_DELETE] = "delete"};

    if (names[method] && !member(item, names[method]))
        json_object_object_add(item, names[method], operation);
    else
        json_object_put(operation);
}

/* The boards are known by name. */
static void add_board_names(const struct config_boards *boards, struct json_object *parameter)
{
    struct json_object *names = json_object_new_array();

    for (size_t i = 0; i < boards->count; i++)
        json_object_array_add(names, json_object_new_string(boards->items[i].name));
    if (boards->count > 0)
        json_object_object_add(member(parameter, "schema"), "enum", names);
    else
        json_object_put(names);
}

/* LINE is a parameter as a `param:` line has it, perhaps with ` | ` and what it is for. */
static struct json_object *describe_param(const struct making *making, const struct route *route, struct str line,
                                          const struct places *places)
{
    const char *bar = memmem(line.p, line.len, " | ", 3);
    struct str declared = {line.p, bar ? (size_t)(bar - line.p) : line.len};
    struct str text = bar ? (struct str){bar + 3, (size_t)(line.p + line.len - bar) - 3} : STR("");
    struct params_spec spec;
    struct buf why = {0}, braced = {0};
    enum err err = params_spec_parse(declared, &spec, &why);

    assert(err == ERR_OK);
    if (err != ERR_OK)
        return NULL;
    buf_printf(&braced, "{%.*s", STR_ARG(spec.name));
    spec.in_path = memmem(route->pattern.p, route->pattern.len, braced.p, braced.len) != NULL;
    struct str name = spec.in_path ? openapi_operation_name(route->pattern, spec.name, places->names) : spec.name;
    struct json_object *it = openapi_params_describe(&spec, name, text);
    if (str_equal(spec.name, STR("board")))
        add_board_names(&making->app->config->boards, it);
    params_spec_fini(&spec);
    buf_free(&why);
    buf_free(&braced);
    return it;
}

static void add_params(const struct making *making, const struct route *route, struct json_object *words,
                       const struct places *places, struct json_object *operation)
{
    struct json_object *list = openapi_operation_list(operation, "parameters");
    struct json_object *params = member(words, "params"), *headers = member(words, "headers_in");
    char component[96];

    for (size_t i = 0; params && i < json_object_array_length(params); i++) {
        struct str line = str_from(json_object_get_string(json_object_array_get_idx(params, i)));

        json_object_array_add(list, describe_param(making, route, line, places));
    }
    for (size_t i = 0; headers && i < json_object_array_length(headers); i++) {
        snprintf(component, sizeof component, "parameters/%s",
                 json_object_get_string(json_object_array_get_idx(headers, i)));
        json_object_array_add(list, openapi_operation_reference(component));
    }
}

static void add_answers(struct json_object *words, struct json_object *operation)
{
    struct json_object *problems = member(words, "problems");
    const char *headers = text_of(words, "headers").p;

    json_object_object_foreach(member(words, "answers"), status, schema) openapi_operation_answer(
        operation, atoi(status), text_of(words, "type").p, json_object_get(schema), headers ? headers : "");
    for (size_t i = 0; problems && i < json_object_array_length(problems); i++)
        openapi_operation_problem(operation, json_object_get_int(json_object_array_get_idx(problems, i)));
}

/* A built-in route, by what openapi.json says of it. */
static void add_built_in(struct making *making, const struct route *route)
{
    struct json_object *words, *body;
    struct places places;
    struct buf name = {0};

    buf_printf(&name, "%s %.*s", http_method_name(route->method), STR_ARG(route->pattern));
    words = member(member(making->words, "routes"), name.p);
    buf_free(&name);
    if (!words)
        return;
    struct json_object *item = find_item(making, route->pattern, &places), *operation = json_object_new_object();
    json_object_object_add(operation, "operationId", json_object_get(member(words, "id")));
    json_object_array_add(openapi_operation_list(operation, "tags"), json_object_get(member(words, "tag")));
    json_object_object_add(operation, "summary", json_object_get(member(words, "summary")));
    if (member(words, "text"))
        json_object_object_add(operation, "description", json_object_get(member(words, "text")));
    add_params(making, route, words, &places, operation);
    if (json_object_object_get_ex(words, "body", &body))
        openapi_operation_body(operation, json_object_get(body), !member(words, "body_optional"));
    add_answers(words, operation);
    openapi_operation_secure(operation, route->auth);
    openapi_operation_problem(operation, 503);
    put_operation(item, route->method, operation);
}

/* Whether something can be read at the path of RESOURCE. */
static bool is_read(const struct app *app, const struct resource *resource)
{
    struct arena *arena = arena_new(1024, 1 << 16);
    struct buf path = {0};
    struct router_match match;
    struct places places;

    /* `{}` is a segment as good as any for a name, and none that a literal could be. */
    write_path(resource->path, nameless, &places, &path);
    bool found = router_find(app->router, HTTP_GET, buf_str(&path), arena, &match) == ROUTER_FOUND &&
                 ((const struct route *)match.target)->resource;
    buf_free(&path);
    arena_free(&arena);
    return found;
}

static void add_resource(struct making *making, const struct resource *resource)
{
    struct places places;
    struct json_object *item = find_item(making, resource->path, &places);
    struct buf name = {0};

    buf_add_str(&name, resource->name);
    struct json_object *operation =
        openapi_operation_resource(resource, places.names, member(making->schemas, name.p) != NULL,
                                   !resource->reading && is_read(making->app, resource));
    note_tag(making, str_from(json_object_get_string(json_object_array_get_idx(member(operation, "tags"), 0))), NULL);
    put_operation(item, http_method_from(resource->method), operation);
    buf_free(&name);
}

/* The schemas that ANSWERS tells, each by the name of its resource. */
static void add_schemas(struct making *making, struct str answers)
{
    while (answers.len > 0) {
        struct str schema = str_cut(&answers, '\n'), name = str_cut(&schema, ' ');
        struct buf key = {0}, text = {0};

        buf_add_str(&key, name);
        buf_add_str(&text, schema);
        json_object_object_add(making->schemas, key.p, json_tokener_parse(text.p));
        buf_free(&key);
        buf_free(&text);
    }
}

/* A response for each status that is a problem. */
static void add_problems(struct json_object *words, struct json_object *components)
{
    struct json_object *responses = json_object_new_object();

    json_object_object_foreach(member(words, "problems"), status, detail)
    {
        struct json_object *operation = json_object_new_object(), *content = json_object_new_object();
        struct json_object *type = json_object_new_object(), *example = json_object_new_object(), *response;
        const char *headers = strcmp(status, "503") == 0   ? "Retry-After"
                              : strcmp(status, "401") == 0 ? "WWW-Authenticate"
                                                           : "";
        char name[32];

        json_object_object_add(example, "type", json_object_new_string("about:blank"));
        json_object_object_add(example, "title", json_object_new_string(http_reason(atoi(status))));
        json_object_object_add(example, "status", json_object_new_int(atoi(status)));
        json_object_object_add(example, "detail", json_object_get(detail));
        json_object_object_add(type, "schema", openapi_operation_reference("schemas/Problem"));
        json_object_object_add(type, "example", example);
        json_object_object_add(content, "application/problem+json", type);
        openapi_operation_answer(operation, atoi(status), NULL, NULL, headers);
        response = json_object_get(member(member(operation, "responses"), status));
        json_object_put(operation);
        json_object_object_add(response, "description", json_object_get(detail));
        json_object_object_add(response, "content", content);
        snprintf(name, sizeof name, "Problem%s", status);
        json_object_object_add(responses, name, response);
    }
    json_object_object_add(components, "responses", responses);
}

static struct json_object *make_info(struct json_object *words)
{
    struct json_object *info = json_object_new_object();

    json_object_object_add(info, "title", json_object_new_string("larder"));
    json_object_object_add(info, "version", json_object_new_string(PACKAGE_VERSION));
    json_object_object_add(info, "description", json_object_get(member(words, "about")));
    return info;
}

/* OBJECT, which is put away, without its braces. */
static void print_members(struct json_object *object, struct buf *out)
{
    size_t len;
    const char *text =
        json_object_to_json_string_length(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);

    buf_add(out, text + 1, len - 2);
    json_object_put(object);
}

static void add_routes(struct making *making)
{
    const struct app *app = making->app;
    size_t count;
    const struct route *routes = app_built_in(&count);

    for (size_t i = 0; i < app->catalog->count; i++)
        add_resource(making, &app->catalog->resources[i]);
    json_object_object_foreach(member(making->words, "tags"), name, description)
        note_tag(making, str_from(name), description);
    for (size_t i = 0; i < count; i++)
        add_built_in(making, &routes[i]);
}

struct openapi *openapi_new(const struct app *app, struct str answers)
{
    struct openapi *openapi = sys_calloc(1, sizeof *openapi);
    struct making making = {.app = app,
                            .words = json_tokener_parse(openapi_words),
                            .paths = json_object_new_object(),
                            .tags = json_object_new_array(),
                            .shapes = json_object_new_object()};
    struct json_object *head = json_object_new_object(), *rest = json_object_new_object();
    struct json_object *components = json_object_get(member(making.words, "components"));

    assert(components);
    making.schemas = member(components, "schemas");
    add_schemas(&making, answers);
    add_problems(making.words, components);
    add_routes(&making);
    json_object_object_add(head, "openapi", json_object_new_string("3.1.1"));
    json_object_object_add(head, "info", make_info(making.words));
    json_object_object_add(rest, "tags", making.tags);
    json_object_object_add(rest, "paths", making.paths);
    json_object_object_add(rest, "components", components);
    buf_add_char(&openapi->before, '{');
    print_members(head, &openapi->before);
    buf_add_str(&openapi->before, STR(",\"servers\":[{\"url\":"));
    buf_add_str(&openapi->behind, STR("}],"));
    print_members(rest, &openapi->behind);
    buf_add_char(&openapi->behind, '}');
    json_object_put(making.shapes);
    json_object_put(making.words);
    return openapi;
}

void openapi_free(struct openapi **openapi)
{
    if (!*openapi)
        return;
    buf_free(&(*openapi)->before);
    buf_free(&(*openapi)->behind);
    free(*openapi);
    *openapi = NULL;
}

struct str openapi_print(const struct openapi *openapi, struct str mount, struct arena *arena)
{
    struct buf out = {0};

    while (mount.len > 0 && mount.p[mount.len - 1] == '/')
        mount.len--;
    buf_reserve(&out, openapi->before.len + openapi->behind.len + mount.len + 16);
    buf_add_str(&out, buf_str(&openapi->before));
    buf_add_json(&out, mount.len > 0 ? mount : STR("/"));
    buf_add_str(&out, buf_str(&openapi->behind));
    return arena_take_buf(arena, &out);
}
