#include "store_fixture.h"

#include <json-c/json.h>

#include "api/app.h"
#include "api/openapi.h"
#include "base/sys.h"
#include "store/check.h"

/* An application of the shipped resources and some of its own, with its description as a tree. */
struct described {
    struct fixture *fixture;
    struct config *config;
    struct catalog *catalog;
    struct app *app;
    struct arena *arena;
    struct json_object *document;
};

static const struct {
    const char *name, *text;
} resources[] = {
    {"resources/thing.sql",
     "-- name: thing\n-- doc: One thing. It has a name.\n-- route: GET /api/things/{id}\n-- param: id integer 1..\n"
     "-- example: id=7\n-- key: things:{id}\n-- ttl: 5m\n-- stale: 90s\n-- negative: 1500ms\nSELECT id, name FROM things WHERE id = "
     ":id;\n"},
    {"resources/thing-patch.sql",
     "-- name: thing-patch\n-- route: PATCH /api/things/{number}\n-- param: number integer 1..\n"
     "-- param: name text lower 1..2000 ~ ^[a-z]+$\n-- param: size text in small,large = small\n"
     "-- param: weight number -1.5..9.25 ?\n-- param: done boolean ?\n-- param: level integer in 1,2,3 ?\n"
     "UPDATE things SET name = :name, level = :level, weight = :weight, size = :size, done = :done WHERE id = "
     ":number;\n"},
    {"resources/thing-add.sql", "-- name: thing-add\n-- route: POST /api/things\n-- auth: admin\n-- param: name text\n"
                                "INSERT INTO things (name) VALUES (:name) RETURNING id, done AS \"done:bool\";\n"},
    {"resources/thing-behind.sql", "-- name: thing-behind\n-- route: PUT /api/things/{id}\n-- auth: none\n-- write: "
                                   "behind\n-- purge: key:things:{id}\n-- param: id integer\n"
                                   "DELETE FROM things WHERE id = :id;\n"},
    {"resources/thing-delete.sql",
     "-- name: thing-delete\n-- route: DELETE /api/things/{id}\n-- param: id integer\n-- param: level integer\n"
     "DELETE FROM things WHERE id = :id AND level = :level;\n"},
    {"migrations/0001-things.sql", "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT NOT NULL, level INTEGER, "
                                   "weight REAL, size TEXT, done INTEGER);\n"},
};

static struct json_object *parse(const struct described *it, struct str mount)
{
    struct str text = openapi_print(it->app->openapi, mount, it->arena);
    struct buf copy = {0};
    enum json_tokener_error error;

    buf_add_str(&copy, text);
    struct json_object *document = json_tokener_parse_verbose(copy.p, &error);
    if (!document)
        fail_msg("%s", json_tokener_error_desc(error));
    buf_free(&copy);
    return document;
}

static int setup(void **state)
{
    static const struct app_shared nothing;
    struct described *it = sys_calloc(1, sizeof *it);
    struct report *report = report_new();
    struct buf depends = {0}, answers = {0};

    fixture_setup((void **)&it->fixture);
    for (size_t i = 0; i < sizeof resources / sizeof *resources; i++)
        fixture_write(it->fixture, resources[i].name, resources[i].text);
    assert_int_equal(
        config_parse(STR("[board.arena]\nmode = best\n[board.pit]\n"), "larder.conf", NULL, report, &it->config),
        ERR_OK);
    if (catalog_load(it->fixture->dir, report, &it->catalog) != ERR_OK ||
        check_statements("/nonexistent/database", it->fixture->dir, it->catalog, report, &depends, &answers) !=
            ERR_OK ||
        app_new(it->config, it->catalog, &nothing, report, &it->app) != ERR_OK)
        fail_msg("%s", report_line(report, 0));
    it->app->openapi = openapi_new(it->app, buf_str(&answers));
    it->arena = arena_new(4096, 16u << 20);
    it->document = parse(it, STR(""));
    report_free(&report);
    buf_free(&depends);
    buf_free(&answers);
    *state = it;
    return 0;
}

static int teardown(void **state)
{
    struct described *it = *state;

    json_object_put(it->document);
    arena_free(&it->arena);
    app_free(&it->app);
    catalog_free(&it->catalog);
    config_free(&it->config);
    fixture_teardown((void **)&it->fixture);
    free(it);
    return 0;
}

/* What is at PATH, whose steps are set off by blanks; NULL where there is nothing. */
static struct json_object *find(struct json_object *from, const char *path)
{
    struct str rest = str_from(path), step;

    while (from && (step = str_word(&rest)).len > 0) {
        struct json_object *next = NULL;
        int64_t place;
        char name[128];

        snprintf(name, sizeof name, "%.*s", STR_ARG(step));
        if (json_object_is_type(from, json_type_array) && str_to_int64(step, &place) == ERR_OK)
            next = json_object_array_get_idx(from, (size_t)place);
        else
            json_object_object_get_ex(from, name, &next);
        from = next;
    }
    return from;
}

static void expect(const struct described *it, const char *path, const char *expected)
{
    struct json_object *found = find(it->document, path);
    const char *text =
        found ? json_object_to_json_string_ext(found, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
              : "nothing";

    if (strcmp(text, expected) != 0)
        fail_msg("%s\nis %s\nand not %s", path, text, expected);
}

/* The parameter NAME of an OPERATION. */
static struct json_object *find_parameter(struct json_object *operation, const char *name)
{
    struct json_object *list = find(operation, "parameters");

    for (size_t i = 0; list && i < json_object_array_length(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i), *called = find(one, "name");
        if (called && strcmp(json_object_get_string(called), name) == 0)
            return one;
    }
    return NULL;
}

/* METHOD and PATTERN as a path in the document: a rest is a name there. */
static struct json_object *find_operation(const struct described *it, const struct route *route)
{
    struct buf path = {0};
    struct str pattern = route->pattern;

    buf_add_str(&path, STR("paths "));
    for (size_t i = 0; i < pattern.len; i++)
        if (pattern.p[i] != '.' || i == 0 || pattern.p[pattern.len - 1] != '}' || pattern.len - i > 4)
            buf_add_char(&path, pattern.p[i]);
    buf_add_char(&path, ' ');
    for (const char *p = http_method_name(route->method); *p; p++)
        buf_add_char(&path, (char)(*p | 32));
    struct json_object *found = find(it->document, path.p);
    buf_free(&path);
    return found;
}

static void every_route_of_larders_own_is_described(void **state)
{
    const struct described *it = *state;
    size_t count;
    const struct route *routes = app_built_in(&count);

    for (size_t i = 0; i < count; i++) {
        struct json_object *operation = find_operation(it, &routes[i]);

        if (!operation)
            fail_msg("openapi.json does not describe %s %.*s", http_method_name(routes[i].method),
                     STR_ARG(routes[i].pattern));
        assert_true(json_object_get_string_len(find(operation, "operationId")) > 0);
        assert_true(json_object_get_string_len(find(operation, "summary")) > 0);
        /* Each value in the path is a parameter. */
        for (struct str rest = routes[i].pattern; rest.len > 0;) {
            char name[64];

            (void)str_cut(&rest, '{');
            struct str found = str_cut(&rest, '}');
            snprintf(name, sizeof name, "%.*s", (int)strcspn(found.p ? found.p : "", ".}"), found.p ? found.p : "");
            if (found.len > 0)
                assert_non_null(find_parameter(operation, name));
        }
    }
}

static void no_words_are_about_a_route_that_is_not_there(void **state)
{
    struct json_object *words = json_tokener_parse(openapi_words);
    size_t count;
    const struct route *routes = app_built_in(&count);

    (void)state;
    json_object_object_foreach(find(words, "routes"), name, said)
    {
        bool is_there = false;

        (void)said;
        for (size_t i = 0; i < count; i++) {
            struct buf called = {0};

            buf_printf(&called, "%s %.*s", http_method_name(routes[i].method), STR_ARG(routes[i].pattern));
            is_there |= strcmp(called.p, name) == 0;
            buf_free(&called);
        }
        if (!is_there)
            fail_msg("openapi.json describes %s, which is no route", name);
    }
    json_object_put(words);
}

static void every_operation_has_an_id_of_its_own(void **state)
{
    const struct described *it = *state;
    struct json_object *seen = json_object_new_object();

    json_object_object_foreach(find(it->document, "paths"), path, item)
    {
        json_object_object_foreach(item, method, operation)
        {
            const char *id = json_object_get_string(find(operation, "operationId"));

            if (!id || json_object_object_get_ex(seen, id, NULL))
                fail_msg("%s %s: %s", method, path, id ? id : "no id");
            json_object_object_add(seen, id, NULL);
        }
    }
    assert_true(json_object_object_length(seen) > (int)(sizeof resources / sizeof *resources));
    json_object_put(seen);
}

static void a_resource_is_described_by_its_front_matter(void **state)
{
    const struct described *it = *state;

    expect(it, "paths /api/things/{id} get operationId", "\"thing\"");
    expect(it, "paths /api/things/{id} get tags", "[\"things\"]");
    expect(it, "paths /api/things/{id} get summary", "\"One thing.\"");
    expect(
        it, "paths /api/things/{id} get description",
        "\"One thing. It has a name.\\n\\nFresh in the cache for 5 min. Stale for another 90 s, while it is computed "
        "anew. That there is no such thing is known for 1500 ms.\"");
    expect(it, "paths /api/things/{id} get parameters 0",
           "{\"name\":\"id\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"integer\",\"format\":\"int64\","
           "\"minimum\":1},\"example\":7}");
    expect(it, "paths /api/things/{id} get responses 200 content application/json schema",
           "{\"$ref\":\"#/components/schemas/thing\"}");
    expect(it, "paths /api/things/{id} get responses 200 headers X-Cache",
           "{\"$ref\":\"#/components/headers/X-Cache\"}");
    expect(it, "paths /api/things/{id} get responses 404", "{\"$ref\":\"#/components/responses/Problem404\"}");
    expect(it, "paths /api/things/{id} get security", "[]");
    expect(
        it, "components schemas thing",
        "{\"type\":\"object\",\"required\":[\"id\",\"name\"],\"properties\":{\"id\":{\"type\":\"integer\",\"format\":"
        "\"int64\"},\"name\":{\"type\":\"string\"}}}");
}

static void what_a_write_takes_is_its_body(void **state)
{
    const struct described *it = *state;

    expect(it, "paths /api/things/{id} patch requestBody required", "true");
    expect(it, "paths /api/things/{id} patch requestBody content application/json schema",
           "{\"type\":\"object\",\"properties\":{"
           "\"name\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":1024,\"pattern\":\"^[a-z]+$\"},"
           "\"size\":{\"type\":\"string\",\"enum\":[\"small\",\"large\"],\"default\":\"small\"},"
           "\"weight\":{\"type\":[\"number\",\"null\"],\"format\":\"double\",\"minimum\":-1.5,\"maximum\":9.25},"
           "\"done\":{\"type\":[\"boolean\",\"null\"]},"
           "\"level\":{\"type\":[\"integer\",\"null\"],\"format\":\"int64\",\"enum\":[1,2,3,null]}},"
           "\"required\":[\"name\"],\"additionalProperties\":false}");
    expect(it, "paths /api/things/{id} patch responses 200", "nothing");
    expect(it, "paths /api/things/{id} patch responses 204 description", "\"No Content\"");
    expect(it, "paths /api/things/{id} patch responses 412", "{\"$ref\":\"#/components/responses/Problem412\"}");
    expect(it, "paths /api/things/{id} patch security", "[{\"key\":[]}]");
    expect(it, "paths /api/things post security", "[{\"adminToken\":[]}]");
    expect(it, "paths /api/things post responses 412", "nothing");
    expect(it, "paths /api/things post responses 201 content application/json schema",
           "{\"$ref\":\"#/components/schemas/thing-add\"}");
    expect(it, "components schemas thing-add properties done", "{\"type\":[\"boolean\",\"null\"]}");
    expect(it, "paths /api/things/{id} put requestBody", "nothing");
    expect(it, "paths /api/things/{id} put responses 202 content application/json schema",
           "{\"$ref\":\"#/components/schemas/Accepted\"}");
    expect(it, "paths /api/things/{id} put responses 204", "nothing");
    expect(it, "paths /api/things/{id} delete requestBody", "nothing");
    expect(it, "paths /api/things/{id} delete parameters 1",
           "{\"name\":\"level\",\"in\":\"query\",\"required\":true,\"schema\":{\"type\":\"integer\",\"format\":"
           "\"int64\"}}");
}

static void paths_that_differ_in_names_alone_are_one(void **state)
{
    const struct described *it = *state;

    expect(it, "paths /api/things/{number}", "nothing");
    expect(it, "paths /api/things/{id} patch parameters 0 name", "\"id\"");
}

static void boards_are_those_of_the_configuration(void **state)
{
    const struct described *it = *state;

    expect(it, "paths /api/leaderboards/{board}/top get parameters 0 schema enum", "[\"arena\",\"pit\"]");
}

static void the_server_is_where_larder_is_mounted(void **state)
{
    const struct described *it = *state;
    struct json_object *mounted = parse(it, STR("/app/larder/"));

    expect(it, "servers", "[{\"url\":\"/\"}]");
    assert_string_equal(json_object_get_string(find(mounted, "servers 0 url")), "/app/larder");
    json_object_put(mounted);
}

static void what_is_not_known_of_an_answer_is_open(void **state)
{
    struct described *it = *state;

    openapi_free(&it->app->openapi);
    it->app->openapi = openapi_new(it->app, STR(""));
    json_object_put(it->document);
    it->document = parse(it, STR(""));
    expect(it, "paths /api/things/{id} get responses 200 content application/json schema", "{}");
    expect(it, "components schemas thing", "nothing");
}

#define WITH_DOCUMENT(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DOCUMENT(every_route_of_larders_own_is_described),
        cmocka_unit_test(no_words_are_about_a_route_that_is_not_there),
        WITH_DOCUMENT(every_operation_has_an_id_of_its_own),
        WITH_DOCUMENT(a_resource_is_described_by_its_front_matter),
        WITH_DOCUMENT(what_a_write_takes_is_its_body),
        WITH_DOCUMENT(paths_that_differ_in_names_alone_are_one),
        WITH_DOCUMENT(boards_are_those_of_the_configuration),
        WITH_DOCUMENT(the_server_is_where_larder_is_mounted),
        WITH_DOCUMENT(what_is_not_known_of_an_answer_is_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
