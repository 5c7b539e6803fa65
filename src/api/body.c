/*
 * body: JSON by json-c, held to RFC 8259 and cut into members.
 *
 * json-c alone takes more than JSON (numbers such as 01 or NaN, raw control characters), silently keeps the last of two
 * members of one name, puts something else in the place of half a surrogate pair, and turns whole numbers that are too
 * large into the largest there is. So a scan over the text first refuses what is not JSON's or no text, the object is
 * walked here member by member, with json-c for each name and value, and a number is kept as the text that was sent.
 *
 * Invariant: what is accepted is an object of RFC 8259 with distinct names, and no number has been through a double.
 * Every json-c object dies in the function that made it; what is kept lies in the arena or in the text.
 *
 * It refuses to guess types: `"12"` is no number, and 1 is not true.
 */
#include "api/body.h"

#include <json-c/json.h>

enum { SHOWN = 64 };

static struct str from(struct str text, size_t at)
{
    return (struct str){text.p + at, text.len - at};
}

bool body_is_json_type(struct str content_type)
{
    struct str rest = content_type;

    return str_equal_nocase(str_trim(str_cut(&rest, ';')), STR("application/json"));
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t count_digits(struct str text)
{
    size_t len = 0;

    while (len < text.len && is_digit(text.p[len]))
        len++;
    return len;
}

/* The length of the number (RFC 8259, section 6) that TEXT begins with; 0 for none. */
static size_t measure_number(struct str text)
{
    size_t at = text.len > 0 && text.p[0] == '-', digits = count_digits(from(text, at));

    if (digits == 0 || (digits > 1 && text.p[at] == '0'))
        return 0;
    at += digits;
    if (at < text.len && text.p[at] == '.') {
        digits = count_digits(from(text, at + 1));
        if (digits == 0)
            return 0;
        at += 1 + digits;
    }
    if (at < text.len && (text.p[at] == 'e' || text.p[at] == 'E')) {
        at++;
        at += at < text.len && (text.p[at] == '+' || text.p[at] == '-');
        digits = count_digits(from(text, at));
        if (digits == 0)
            return 0;
        at += digits;
    }
    /* json-c would read on. */
    return at < text.len && text.p[at] == '-' ? 0 : at;
}

/* The length of the string that TEXT begins with, quotes included, as far as its end goes; 0 when it holds a control
 * character or does not end. */
static size_t measure_string(struct str text)
{
    for (size_t at = 1; at < text.len; at++) {
        if ((unsigned char)text.p[at] < 0x20)
            return 0;
        if (text.p[at] == '"')
            return at + 1;
        at += text.p[at] == '\\';
    }
    return 0;
}

/* The length of the word, number, string or other character that TEXT begins with; 0 when JSON has no such thing. */
static size_t measure_token(struct str text)
{
    static const struct str words[] = {{"true", 4}, {"false", 5}, {"null", 4}};

    if (text.p[0] == '"')
        return measure_string(text);
    if (text.p[0] == '-' || is_digit(text.p[0]))
        return measure_number(text);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_starts(text, words[i]))
            return words[i].len;
    return text.p[0] != '\0' && strchr("{}[],: \t\r\n", text.p[0]) ? 1 : 0;
}

/* Whether TEXT is made of JSON's tokens, with none that closes behind a comma; if not, *AT is where it is not. */
static bool has_tokens_only(struct str text, size_t *at)
{
    bool behind_comma = false;
    size_t len;

    for (*at = 0; *at < text.len; *at += len) {
        char c = text.p[*at];

        len = measure_token(from(text, *at));
        if (len == 0 || (behind_comma && (c == ']' || c == '}')))
            return false;
        if (!strchr(" \t\r\n", c))
            behind_comma = c == ',';
    }
    return true;
}

/* The UTF-16 unit that TEXT, of JSON's tokens, begins with as `\uXXXX`; 0 for anything else. */
static unsigned unit_of(struct str text)
{
    unsigned unit = 0;

    if (text.len < 6 || text.p[0] != '\\' || text.p[1] != 'u')
        return 0;
    for (size_t i = 2; i < 6; i++) {
        int digit = str_hex_value(text.p[i]);
        if (digit < 0)
            return 0;
        unit = unit << 4 | (unsigned)digit;
    }
    return unit;
}

static bool is_high(unsigned unit)
{
    return unit >> 10 == 0xd800 >> 10;
}

static bool is_low(unsigned unit)
{
    return unit >> 10 == 0xdc00 >> 10;
}

/* Whether TEXT, of JSON's tokens, has half a surrogate pair, which is no character (RFC 8259, section 8.2); if so, *AT
 * is where. */
static bool has_half_pair(struct str text, size_t *at)
{
    const char *escape;

    for (*at = 0; *at < text.len && (escape = memchr(text.p + *at, '\\', text.len - *at));) {
        *at = (size_t)(escape - text.p);
        unsigned unit = unit_of(from(text, *at));
        bool pair = is_high(unit) && is_low(unit_of(from(text, *at + 6)));
        if (!pair && (is_high(unit) || is_low(unit)))
            return true;
        *at += pair ? 12 : 2;
    }
    return false;
}

static enum body_type type_of(struct json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_boolean:
        return BODY_BOOLEAN;
    case json_type_int:
    case json_type_double:
        return BODY_NUMBER;
    case json_type_string:
        return BODY_STRING;
    case json_type_array:
        return BODY_ARRAY;
    case json_type_object:
        return BODY_OBJECT;
    case json_type_null:
        break;
    }
    return BODY_NULL;
}

static void free_tokener(struct json_tokener *tokener)
{
    /* json-c's own takes no NULL. */
    if (tokener)
        json_tokener_free(tokener);
}

static struct json_tokener *make_tokener(void)
{
    struct json_tokener *tokener = json_tokener_new_ex(BODY_DEPTH_MAX);

    /* Not JSON_TOKENER_STRICT: from json-c 0.17 on that refuses whole numbers beyond 64 bits, which are JSON. What it
     * would refuse besides, has_tokens_only does. */
    if (tokener)
        json_tokener_set_flags(tokener, JSON_TOKENER_ALLOW_TRAILING_CHARS);
    return tokener;
}

/* A walk through the text of an object. */
struct walk {
    struct str text;
    size_t at;
    struct json_tokener *tokener; /* made when there is something for it to do */
    struct arena *arena;
    struct buf *why;
};

static enum err complain(struct walk *walk, const char *what)
{
    buf_printf(walk->why, "%s at byte %zu", what, walk->at + 1);
    return ERR_SYNTAX;
}

static void skip_blanks(struct walk *walk)
{
    while (walk->at < walk->text.len && strchr(" \t\r\n", walk->text.p[walk->at]))
        walk->at++;
}

/* Moves behind blanks, and C if it comes next. */
static bool skip_char(struct walk *walk, char c)
{
    skip_blanks(walk);
    if (walk->at == walk->text.len || walk->text.p[walk->at] != c)
        return false;
    walk->at++;
    return true;
}

/* The length of the value that TEXT, of JSON's tokens, begins with, if it is as it lies there: a number, a word, or a
 * string without escapes, with its end in sight. 0: it is for json-c, which takes much longer. */
static size_t measure_plain(struct str text, struct body_member *out)
{
    size_t len = text.len > 0 ? measure_token(text) : 0;

    if (len == 0 || len == text.len || !strchr(",:}] \t\r\n", text.p[len]))
        return 0;
    out->text = (struct str){text.p, len};
    if (text.p[0] == '"') {
        out->type = BODY_STRING;
        out->text = (struct str){text.p + 1, len - 2};
        return memchr(text.p, '\\', len) ? 0 : len;
    }
    if (len == 1 && !is_digit(text.p[0]))
        return 0;
    out->type = text.p[0] == 'n' ? BODY_NULL : text.p[0] == 't' || text.p[0] == 'f' ? BODY_BOOLEAN : BODY_NUMBER;
    return len;
}

/* The value that comes next, copied as struct body_member says. */
static enum err take_value(struct walk *walk, struct body_member *out)
{
    skip_blanks(walk);
    size_t plain = measure_plain(from(walk->text, walk->at), out);
    if (plain > 0) {
        if (out->type == BODY_STRING)
            out->text = arena_copy(walk->arena, out->text);
        walk->at += plain;
        return ERR_OK;
    }
    if (!walk->tokener && !(walk->tokener = make_tokener())) {
        buf_add_str(walk->why, STR("is too large"));
        return ERR_LIMIT;
    }
    json_tokener_reset(walk->tokener);
    struct str rest = from(walk->text, walk->at);
    struct json_object *value = json_tokener_parse_ex(walk->tokener, rest.p, (int)rest.len);
    enum json_tokener_error error = json_tokener_get_error(walk->tokener);
    size_t len = json_tokener_get_parse_end(walk->tokener);

    if (error == json_tokener_error_depth) {
        buf_printf(walk->why, "is nested deeper than %d", BODY_DEPTH_MAX);
        return ERR_LIMIT;
    }
    if (error != json_tokener_success) {
        walk->at += len;
        return complain(walk, error == json_tokener_continue ? "breaks off" : "is no JSON");
    }
    out->type = type_of(value);
    out->text = (struct str){rest.p, len};
    if (out->type == BODY_STRING)
        out->text = arena_copy(walk->arena,
                               (struct str){json_object_get_string(value), (size_t)json_object_get_string_len(value)});
    json_object_put(value);
    walk->at += len;
    return ERR_OK;
}

static enum err take_member(struct walk *walk, struct body *out)
{
    struct body_member member, name;

    skip_blanks(walk);
    if (walk->at == walk->text.len || walk->text.p[walk->at] != '"')
        return complain(walk, "lacks a member's name in double quotes");
    enum err err = take_value(walk, &name);
    if (err == ERR_OK && !skip_char(walk, ':'))
        err = complain(walk, "lacks a colon");
    if (err == ERR_OK)
        err = take_value(walk, &member);
    if (err != ERR_OK)
        return err;
    member.name = name.text;
    if (body_find(out, member.name))
        return complain(walk, "has a member of a name that was given before; the second one ends");
    if (out->count == BODY_MEMBERS_MAX) {
        buf_printf(walk->why, "has more than %d members", BODY_MEMBERS_MAX);
        return ERR_LIMIT;
    }
    out->members[out->count++] = member;
    return ERR_OK;
}

static enum err take_object(struct walk *walk, struct body *out)
{
    enum err err = ERR_OK;

    out->count = 0;
    if (!skip_char(walk, '{'))
        return complain(walk, "is no JSON object: it does not begin with a brace,");
    if (!skip_char(walk, '}')) {
        do {
            err = take_member(walk, out);
        } while (err == ERR_OK && skip_char(walk, ','));
        if (err == ERR_OK && !skip_char(walk, '}'))
            err = complain(walk, "lacks a comma or the closing brace");
    }
    return err;
}

static enum err take_whole(struct walk *walk, struct body *out)
{
    enum err err = take_object(walk, out);

    skip_blanks(walk);
    if (err == ERR_OK && walk->at < walk->text.len)
        err = complain(walk, "goes on after its end");
    return err;
}

enum err body_parse(struct str text, struct arena *arena, struct body *out, struct buf *why)
{
    struct walk walk = {.text = text, .arena = arena, .why = why};
    enum err err;

    if (text.len > INT32_MAX) {
        buf_add_str(why, STR("is too large"));
        return ERR_LIMIT;
    }
    if (!str_is_utf8(text)) {
        buf_add_str(why, STR("is not UTF-8"));
        err = ERR_SYNTAX;
    } else if (!has_tokens_only(text, &walk.at)) {
        err = complain(&walk, "is no JSON");
    } else if (has_half_pair(text, &walk.at)) {
        err = complain(&walk, "has half a surrogate pair, which is no character,");
    } else {
        walk.at = 0;
        err = take_whole(&walk, out);
    }
    free_tokener(walk.tokener);
    if (err == ERR_OK && arena_overflowed(arena)) {
        buf_add_str(why, STR("is too large"));
        err = ERR_LIMIT;
    }
    return err;
}

bool body_is_json(struct str text, struct arena *arena)
{
    /* json-c knows that a number or word has ended only when something follows it: the NUL behind the copy. */
    struct str copy = arena_copy(arena, text);
    struct json_tokener *tokener = text.len < INT32_MAX && !arena_overflowed(arena) ? make_tokener() : NULL;
    struct walk walk = {.text = copy};
    bool valid = false;

    if (tokener && str_is_utf8(text) && has_tokens_only(text, &walk.at)) {
        json_object_put(json_tokener_parse_ex(tokener, copy.p, (int)copy.len + 1));
        walk.at = json_tokener_get_parse_end(tokener);
        valid = json_tokener_get_error(tokener) == json_tokener_success;
        skip_blanks(&walk);
        valid = valid && walk.at >= text.len;
    }
    free_tokener(tokener);
    return valid;
}

const struct body_member *body_find(const struct body *body, struct str name)
{
    for (size_t i = 0; i < body->count; i++)
        if (str_equal(body->members[i].name, name))
            return &body->members[i];
    return NULL;
}

enum err body_strings(const struct body_member *member, size_t max, struct arena *arena, struct str **out,
                      size_t *count)
{
    struct json_tokener *tokener = member->type == BODY_ARRAY ? make_tokener() : NULL;
    struct json_object *array = tokener ? json_tokener_parse_ex(tokener, member->text.p, (int)member->text.len) : NULL;
    size_t len = json_object_get_type(array) == json_type_array ? json_object_array_length(array) : 0;
    struct str *strings = len <= max ? arena_calloc(arena, len + 1, sizeof *strings) : NULL;
    enum err err = array ? strings ? ERR_OK : ERR_LIMIT : ERR_TYPE;

    for (size_t i = 0; i < len && err == ERR_OK; i++) {
        struct json_object *value = json_object_array_get_idx(array, i);

        if (json_object_get_type(value) == json_type_string)
            strings[i] = arena_copy(
                arena, (struct str){json_object_get_string(value), (size_t)json_object_get_string_len(value)});
        else
            err = ERR_TYPE;
    }
    json_object_put(array);
    free_tokener(tokener);
    if (err == ERR_OK && arena_overflowed(arena))
        err = ERR_LIMIT;
    if (err == ERR_OK) {
        *out = strings;
        *count = len;
    }
    return err;
}

/* Walks through a list that is known to be JSON. */
static enum err take_objects(struct walk *walk, size_t max, body_object_fn *fn, void *context)
{
    struct body object;
    struct buf why = {0};
    size_t index = 0;
    enum err err = ERR_OK;

    if (!skip_char(walk, '['))
        return ERR_TYPE;
    if (skip_char(walk, ']'))
        return ERR_OK;
    do {
        struct buf *list_why = walk->why;

        if (index == max) {
            buf_printf(list_why, "it has more than %zu items", max);
            return ERR_LIMIT;
        }
        walk->why = &why;
        err = take_object(walk, &object);
        if (err == ERR_OK)
            err = fn(context, index, &object, &why);
        walk->why = list_why;
        index++;
    } while (err == ERR_OK && skip_char(walk, ','));
    if (err != ERR_OK)
        buf_printf(walk->why, "item %zu %.*s", index, STR_ARG(buf_str(&why)));
    buf_free(&why);
    return err;
}

enum err body_objects(const struct body_member *member, size_t max, struct arena *arena, body_object_fn *fn,
                      void *context, struct buf *why)
{
    struct walk walk = {.text = member->text, .arena = arena, .why = why};

    if (member->type != BODY_ARRAY) {
        buf_add_str(why, STR("it is no list"));
        return ERR_TYPE;
    }
    enum err err = take_objects(&walk, max, fn, context);
    free_tokener(walk.tokener);
    if (err == ERR_OK && arena_overflowed(arena)) {
        buf_add_str(why, STR("it is too large"));
        err = ERR_LIMIT;
    }
    return err;
}

static enum err refuse_member(const struct params_spec *spec, struct buf *why)
{
    static const char *const nouns[] = {[PARAMS_TEXT] = "a string",
                                        [PARAMS_INTEGER] = "a whole number",
                                        [PARAMS_NUMBER] = "a number",
                                        [PARAMS_BOOLEAN] = "true or false"};

    buf_printf(why, "member `%.*s` must be %s%s", STR_ARG(spec->name), nouns[spec->type],
               spec->optional ? ", or null" : "");
    return ERR_TYPE;
}

void body_add_name(const struct body_member *member, struct buf *out)
{
    buf_add_json(out, (struct str){member->name.p, member->name.len < SHOWN ? member->name.len : SHOWN});
}

static enum err refuse_unknown(const struct body_member *member, const struct params_spec *specs, size_t specs_count,
                               struct buf *why)
{
    const char *separator = "; known here: ";

    buf_add_str(why, STR("member "));
    body_add_name(member, why);
    buf_add_str(why, STR(" is unknown here"));
    for (size_t i = 0; i < specs_count; i++) {
        if (specs[i].in_path)
            continue;
        buf_printf(why, "%s`%.*s`", separator, STR_ARG(specs[i].name));
        separator = ", ";
    }
    return ERR_TYPE;
}

static enum err bind_member(const struct body_member *member, const struct params_spec *spec, struct arena *arena,
                            struct buf *why)
{
    static const enum body_type expected[] = {[PARAMS_TEXT] = BODY_STRING,
                                              [PARAMS_INTEGER] = BODY_NUMBER,
                                              [PARAMS_NUMBER] = BODY_NUMBER,
                                              [PARAMS_BOOLEAN] = BODY_BOOLEAN};
    struct params_value value;

    if (member->type == BODY_NULL)
        return spec->optional ? ERR_OK : refuse_member(spec, why);
    if (member->type != expected[spec->type])
        return refuse_member(spec, why);
    return params_check(spec, member->text, arena, &value, why);
}

enum err body_bind(const struct body *body, const struct params_spec *specs, size_t specs_count, struct arena *arena,
                   struct params_raw *raw, size_t *raw_count, bool *nulls, struct buf *why)
{
    size_t found = 0;

    for (size_t i = 0; i < specs_count; i++)
        nulls[i] = false;
    for (size_t i = 0; i < body->count; i++) {
        const struct body_member *member = &body->members[i];
        size_t at = 0;

        while (at < specs_count && !str_equal(specs[at].name, member->name))
            at++;
        if (at == specs_count)
            return refuse_unknown(member, specs, specs_count, why);
        enum err err = bind_member(member, &specs[at], arena, why);
        if (err != ERR_OK)
            return err;
        if (member->type == BODY_NULL)
            nulls[at] = true;
        else
            raw[found++] = (struct params_raw){member->name, member->text};
    }
    *raw_count = found;
    return ERR_OK;
}
