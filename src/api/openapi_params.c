/*
 * openapi_params: struct params_spec to JSON Schema.
 *
 * Invariant: a value that the schema allows is one that binding takes. The reverse holds but for letter case, which
 * binding folds before it looks: the schema tells the folded form.
 */
#include "api/openapi_params.h"

#include <json-c/json.h>
#include <math.h>

#include "api/openapi_pattern.h"

#define WHOLE_MAX 9007199254740992.0 /* up to here a double holds every whole number */

struct json_object *openapi_params_text(struct str text)
{
    return json_object_new_string_len(text.p ? text.p : "", (int)text.len);
}

static struct json_object *number(double value)
{
    struct buf digits = {0};
    struct json_object *it;

    if (value == floor(value) && fabs(value) <= WHOLE_MAX)
        return json_object_new_int64((int64_t)value);
    buf_add_double(&digits, value);
    it = json_object_new_double_s(value, digits.p);
    buf_free(&digits);
    return it;
}

struct json_object *openapi_params_value(const struct params_spec *spec, struct str text)
{
    int64_t integer;
    double real;

    switch (spec->type) {
    case PARAMS_INTEGER:
        if (str_to_int64(text, &integer) == ERR_OK)
            return json_object_new_int64(integer);
        break;
    case PARAMS_NUMBER:
        if (str_to_double(text, &real) == ERR_OK)
            return number(real);
        break;
    case PARAMS_BOOLEAN:
        return json_object_new_boolean(str_equal(text, STR("true")) || str_equal(text, STR("1")));
    case PARAMS_TEXT:
        break;
    }
    return openapi_params_text(text);
}

static void add_type(const struct params_spec *spec, bool nullable, struct json_object *schema)
{
    static const char *const names[] = {[PARAMS_TEXT] = "string",
                                        [PARAMS_INTEGER] = "integer",
                                        [PARAMS_NUMBER] = "number",
                                        [PARAMS_BOOLEAN] = "boolean"};
    static const char *const formats[] = {
        [PARAMS_INTEGER] = "int64", [PARAMS_NUMBER] = "double", [PARAMS_BOOLEAN] = NULL};
    struct json_object *type = json_object_new_string(names[spec->type]);

    if (nullable) {
        struct json_object *both = json_object_new_array();

        json_object_array_add(both, type);
        json_object_array_add(both, json_object_new_string("null"));
        type = both;
    }
    json_object_object_add(schema, "type", type);
    if (formats[spec->type])
        json_object_object_add(schema, "format", json_object_new_string(formats[spec->type]));
}

static struct json_object *bound(const struct params_spec *spec, long double value)
{
    return spec->type == PARAMS_NUMBER ? number((double)value) : json_object_new_int64((int64_t)value);
}

static void add_limits(const struct params_spec *spec, struct json_object *schema)
{
    bool is_text = spec->type == PARAMS_TEXT;
    long double most = spec->has_max ? spec->max : is_text ? PARAMS_VALUE_MAX : 0;

    if (is_text && most > PARAMS_VALUE_MAX)
        most = PARAMS_VALUE_MAX;
    if (spec->has_min && (!is_text || spec->min > 0))
        json_object_object_add(schema, is_text ? "minLength" : "minimum", bound(spec, spec->min));
    /* A value in the path cannot be empty: it would be another path. */
    else if (is_text && spec->in_path)
        json_object_object_add(schema, "minLength", json_object_new_int(1));
    if (spec->has_max || is_text)
        json_object_object_add(schema, is_text ? "maxLength" : "maximum", bound(spec, most));
}

static void add_pattern(const struct params_spec *spec, struct json_object *schema)
{
    struct buf pattern = {0};

    if (spec->pattern_text.len > 0 && openapi_pattern_convert(spec->pattern_text, &pattern))
        json_object_object_add(schema, "pattern", openapi_params_text(buf_str(&pattern)));
    buf_free(&pattern);
}

struct json_object *openapi_params_schema(const struct params_spec *spec, bool in_body)
{
    struct json_object *schema = json_object_new_object();
    bool nullable = in_body && spec->optional;

    add_type(spec, nullable, schema);
    if (spec->choices_count > 0) {
        struct json_object *choices = json_object_new_array();

        for (size_t i = 0; i < spec->choices_count; i++)
            json_object_array_add(choices, openapi_params_value(spec, spec->choices[i]));
        if (nullable)
            json_object_array_add(choices, NULL);
        json_object_object_add(schema, "enum", choices);
    } else {
        add_limits(spec, schema);
        add_pattern(spec, schema);
    }
    if (spec->has_default)
        json_object_object_add(schema, "default", openapi_params_value(spec, spec->default_text));
    return schema;
}

struct json_object *openapi_params_describe(const struct params_spec *spec, struct str name, struct str text)
{
    struct json_object *it = json_object_new_object();

    json_object_object_add(it, "name", openapi_params_text(name));
    json_object_object_add(it, "in", json_object_new_string(spec->in_path ? "path" : "query"));
    json_object_object_add(it, "required",
                           json_object_new_boolean(spec->in_path || (!spec->optional && !spec->has_default)));
    if (text.len > 0)
        json_object_object_add(it, "description", openapi_params_text(text));
    else if (spec->letter_case != PARAMS_CASE_AS_IS)
        json_object_object_add(it, "description",
                               json_object_new_string(spec->letter_case == PARAMS_CASE_UPPER
                                                          ? "Small letters are taken for capital ones."
                                                          : "Capital letters are taken for small ones."));
    json_object_object_add(it, "schema", openapi_params_schema(spec, false));
    return it;
}
