/*
 * params_spec: one `param:` line of front matter to struct params_spec.
 *
 *     NAME TYPE [upper|lower] [1..200] [in a,b,c] [~ REGEX] [= DEFAULT] [?]
 *
 * Invariant: a spec that was parsed contradicts itself nowhere: its attributes suit its type, its choices fit its range
 * and its expression, and its default passes every check that a client's value would have to pass. So binding need not
 * ask.
 */
#include "config/params.h"

#include <stdlib.h>

#include "base/sys.h"

enum { NAME_MAX_LEN = 64, SCRATCH = 4096, SCRATCH_MAX = 65536 };

/* What a line says, before it is made into a spec. */
struct line {
    struct str rest;
    struct str choices, pattern, fallback;
    bool has_choices, has_pattern, has_fallback;
};

static const char *const type_names[] = {
    [PARAMS_TEXT] = "text", [PARAMS_INTEGER] = "integer", [PARAMS_NUMBER] = "number", [PARAMS_BOOLEAN] = "boolean"};

static struct str own(struct str text)
{
    return (struct str){sys_copy(text), text.len};
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static enum err parse_name(struct str name, struct params_spec *spec, struct buf *why)
{
    if (name.len == 0) {
        buf_add_str(why, STR("a name and a type are missing; write for example `limit integer 1..200 = 50`"));
        return ERR_SYNTAX;
    }
    for (size_t i = 0; i < name.len; i++) {
        char c = name.p[i];

        if ((c >= 'a' && c <= 'z') || (i > 0 && (is_digit(c) || c == '_')))
            continue;
        buf_printf(why, "`%.*s` is no name of a parameter; use lower-case letters, digits and `_`, a letter first",
                   STR_ARG(name));
        return ERR_SYNTAX;
    }
    if (name.len > NAME_MAX_LEN) {
        buf_printf(why, "a parameter's name has at most %d characters", NAME_MAX_LEN);
        return ERR_SYNTAX;
    }
    if (str_starts(name, STR("larder_"))) {
        buf_printf(why, "`%.*s`: names that begin with `larder_` are larder's own", STR_ARG(name));
        return ERR_SYNTAX;
    }
    spec->name = own(name);
    return ERR_OK;
}

static enum err parse_type(struct str word, struct params_spec *spec, struct buf *why)
{
    for (size_t i = 0; i < sizeof(type_names) / sizeof(*type_names); i++)
        if (str_equal(word, str_from(type_names[i]))) {
            spec->type = (enum params_type)i;
            return ERR_OK;
        }
    if (word.len == 0)
        buf_printf(why, "`%.*s` has no type; use text, integer, number or boolean", STR_ARG(spec->name));
    else
        buf_printf(why, "`%.*s` is no type; use text, integer, number or boolean", STR_ARG(word));
    return ERR_SYNTAX;
}

/* One end of a range; an empty one is open. */
static enum err parse_bound(const struct params_spec *spec, struct str text, bool *has, long double *out)
{
    double number;
    int64_t whole;
    enum err err;

    if (text.len == 0)
        return ERR_OK;
    if (spec->type == PARAMS_NUMBER) {
        err = str_to_double(text, &number);
        if (err == ERR_OK)
            *out = number;
    } else {
        err = str_to_int64(text, &whole);
        if (err == ERR_OK)
            *out = whole;
    }
    *has = err == ERR_OK;
    return err;
}

static enum err parse_range(struct str word, struct params_spec *spec, struct buf *why)
{
    const char *dots = memmem(word.p, word.len, "..", 2);
    size_t len = (size_t)(dots - word.p);
    struct str low = {word.p, len}, high = {dots + 2, word.len - len - 2};

    if (spec->has_min || spec->has_max) {
        buf_printf(why, "`%.*s` is a second range; one is allowed", STR_ARG(word));
        return ERR_SYNTAX;
    }
    if (spec->type == PARAMS_BOOLEAN) {
        buf_add_str(why, STR("a boolean has no range"));
        return ERR_SYNTAX;
    }
    if ((low.len == 0 && high.len == 0) || parse_bound(spec, low, &spec->has_min, &spec->min) != ERR_OK ||
        parse_bound(spec, high, &spec->has_max, &spec->max) != ERR_OK) {
        buf_printf(why, "`%.*s` is no range; write for example `1..200`, `1..` or `..200`%s", STR_ARG(word),
                   spec->type == PARAMS_NUMBER ? "" : ", with whole numbers");
        return ERR_SYNTAX;
    }
    if (spec->has_min && spec->has_max && spec->min > spec->max) {
        buf_printf(why, "`%.*s`: the range ends before it begins", STR_ARG(word));
        return ERR_SYNTAX;
    }
    return ERR_OK;
}

static enum err parse_case(struct str word, struct params_spec *spec, struct buf *why)
{
    if (spec->type != PARAMS_TEXT || spec->letter_case != PARAMS_CASE_AS_IS) {
        buf_printf(why, "`%.*s` is for text only, and once", STR_ARG(word));
        return ERR_SYNTAX;
    }
    spec->letter_case = str_equal(word, STR("upper")) ? PARAMS_CASE_UPPER : PARAMS_CASE_LOWER;
    return ERR_OK;
}

/* Takes the word behind `in`, `~` or `=`. */
static enum err take_operand(struct line *line, struct str word, bool *has, struct str *out, struct buf *why)
{
    struct str operand = str_word(&line->rest);

    if (*has) {
        buf_printf(why, "`%.*s` stands twice", STR_ARG(word));
        return ERR_SYNTAX;
    }
    if (operand.len == 0) {
        buf_printf(why, "nothing follows `%.*s`", STR_ARG(word));
        return ERR_SYNTAX;
    }
    *has = true;
    *out = operand;
    return ERR_OK;
}

static enum err parse_attribute(struct line *line, struct str word, struct params_spec *spec, struct buf *why)
{
    if (str_equal(word, STR("upper")) || str_equal(word, STR("lower")))
        return parse_case(word, spec, why);
    if (str_equal(word, STR("in")))
        return take_operand(line, word, &line->has_choices, &line->choices, why);
    if (str_equal(word, STR("~")))
        return take_operand(line, word, &line->has_pattern, &line->pattern, why);
    if (str_equal(word, STR("=")))
        return take_operand(line, word, &line->has_fallback, &line->fallback, why);
    if (str_equal(word, STR("?"))) {
        if (spec->optional) {
            buf_add_str(why, STR("`?` stands twice"));
            return ERR_SYNTAX;
        }
        spec->optional = true;
        return ERR_OK;
    }
    if (memmem(word.p, word.len, "..", 2))
        return parse_range(word, spec, why);
    buf_printf(why,
               "`%.*s` is not understood; after the type come upper, lower, a range as 1..200, `in a,b,c`, "
               "`~ regex`, `= default` or `?`, each set off by a blank",
               STR_ARG(word));
    return ERR_SYNTAX;
}

static enum err compile_pattern(const struct line *line, struct params_spec *spec, struct buf *why)
{
    struct buf reason = {0};
    enum err err;

    if (!line->has_pattern)
        return ERR_OK;
    if (spec->type != PARAMS_TEXT) {
        buf_add_str(why, STR("`~` is for text only"));
        return ERR_SYNTAX;
    }
    err = pattern_compile(line->pattern, &spec->pattern, &reason);
    if (err == ERR_OK)
        spec->pattern_text = own(line->pattern);
    else
        buf_printf(why, "`%.*s` is %s: %.*s", STR_ARG(line->pattern),
                   err == ERR_LIMIT ? "too large an expression" : "no POSIX extended regular expression",
                   STR_ARG(buf_str(&reason)));
    buf_free(&reason);
    return err ? ERR_SYNTAX : ERR_OK;
}

/* Checks VALUE as if a client had sent it; *OUT then holds it, its text in ARENA. */
static enum err check_own(const struct params_spec *spec, struct str value, const char *what, struct arena *arena,
                          struct params_value *out, struct buf *why)
{
    struct buf reason = {0};
    enum err err = params_check(spec, value, arena, out, &reason);

    if (err)
        buf_printf(why, "the %s `%.*s` is not allowed: %.*s", what, STR_ARG(value), STR_ARG(buf_str(&reason)));
    buf_free(&reason);
    return err ? ERR_SYNTAX : ERR_OK;
}

static enum err parse_choices(const struct line *line, struct params_spec *spec, struct arena *arena, struct buf *why)
{
    struct str rest = line->choices;
    struct str *choices;
    struct params_value value;
    size_t count = 1, filled = 0;
    enum err err = ERR_OK;

    if (!line->has_choices)
        return ERR_OK;
    if (spec->type == PARAMS_BOOLEAN) {
        buf_add_str(why, STR("a boolean has no choices but true and false"));
        return ERR_SYNTAX;
    }
    for (size_t i = 0; i < rest.len; i++)
        count += rest.p[i] == ',';
    choices = sys_calloc(count, sizeof(*choices));
    while (filled < count && err == ERR_OK) {
        struct str choice = str_cut(&rest, ',');

        if (choice.len == 0) {
            buf_printf(why, "`in %.*s` has an empty choice; write `in a,b,c` without blanks", STR_ARG(line->choices));
            err = ERR_SYNTAX;
        } else {
            err = check_own(spec, choice, "choice", arena, &value, why);
        }
        if (err == ERR_OK)
            choices[filled++] = own(value.text);
    }
    spec->choices = choices;
    spec->choices_count = filled;
    return err;
}

static enum err parse_default(const struct line *line, struct params_spec *spec, struct arena *arena, struct buf *why)
{
    struct params_value value;
    enum err err;

    if (!line->has_fallback)
        return ERR_OK;
    if (spec->optional) {
        buf_add_str(why, STR("`?` and `=` exclude each other: with a default it is never NULL"));
        return ERR_SYNTAX;
    }
    err = check_own(spec, line->fallback, "default", arena, &value, why);
    if (err)
        return err;
    spec->has_default = true;
    spec->default_text = own(value.text);
    spec->default_integer = value.integer;
    spec->default_number = value.number;
    return ERR_OK;
}

enum err params_spec_parse(struct str text, struct params_spec *spec, struct buf *why)
{
    struct arena *arena = arena_new(SCRATCH, SCRATCH_MAX);
    struct params_spec parsed = {0};
    struct line line = {.rest = text};
    struct str word;
    enum err err = parse_name(str_word(&line.rest), &parsed, why);

    if (err == ERR_OK)
        err = parse_type(str_word(&line.rest), &parsed, why);
    while (err == ERR_OK && (word = str_word(&line.rest)).len > 0)
        err = parse_attribute(&line, word, &parsed, why);
    if (err == ERR_OK)
        err = compile_pattern(&line, &parsed, why);
    if (err == ERR_OK)
        err = parse_choices(&line, &parsed, arena, why);
    if (err == ERR_OK)
        err = parse_default(&line, &parsed, arena, why);
    arena_free(&arena);
    if (err) {
        params_spec_fini(&parsed);
        return err;
    }
    *spec = parsed;
    return ERR_OK;
}

void params_spec_fini(struct params_spec *spec)
{
    for (size_t i = 0; i < spec->choices_count; i++)
        free((char *)spec->choices[i].p);
    free((struct str *)spec->choices);
    pattern_free(&spec->pattern);
    free((char *)spec->pattern_text.p);
    free((char *)spec->name.p);
    free((char *)spec->default_text.p);
    *spec = (struct params_spec){0};
}
