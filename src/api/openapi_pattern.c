/*
 * openapi_pattern: one kind of regular expression to the other, from left to right.
 *
 * They differ in little: in a bracket expression POSIX knows classes such as [:alpha:], takes `]` first for itself and
 * `\` for nothing special, while ECMA escapes by `\`; and with the flag `u` ECMA refuses to escape what needs no
 * escape.
 *
 * Invariant: an expression that would be read otherwise there is refused, such as a repetition of a repetition, whose
 * second one would make the first reluctant.
 */
#include "api/openapi_pattern.h"

/* An expression on its way. */
struct walk {
    struct str rest;
    struct buf *out;
    bool repeatable; /* what a repetition could stand behind comes directly before */
};

static const char special[] = "^$\\.*+?()[]{}|";

static char peek(const struct walk *walk)
{
    return walk->rest.len > 0 ? walk->rest.p[0] : '\0';
}

static void skip(struct walk *walk, size_t len)
{
    walk->rest = (struct str){walk->rest.p + len, walk->rest.len - len};
}

static void add_literal(char c, struct buf *out)
{
    if (strchr(special, c))
        buf_add_char(out, '\\');
    buf_add_char(out, c);
}

/* Only what both flags let be escaped. */
static void add_member(char c, struct buf *out)
{
    if (strchr("\\]^-[(){}|", c))
        buf_add_char(out, '\\');
    buf_add_char(out, c);
}

/* Appends what is in CLASS, in the C locale. */
static bool add_class(struct str name, struct buf *out)
{
    static const struct {
        const char *name, *members;
    } classes[] = {{"alpha", "A-Za-z"},
                   {"digit", "0-9"},
                   {"alnum", "A-Za-z0-9"},
                   {"upper", "A-Z"},
                   {"lower", "a-z"},
                   {"xdigit", "0-9A-Fa-f"},
                   {"blank", " \\t"},
                   {"space", " \\t\\n\\v\\f\\r"},
                   {"cntrl", "\\x00-\\x1f\\x7f"},
                   {"print", " -~"},
                   {"graph", "\\x21-~"},
                   {"punct", "\\x21-\\x2f\\x3a-\\x40\\x5b-\\x60\\x7b-\\x7e"}};

    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (str_equal(name, str_from(classes[i].name))) {
            buf_add_str(out, str_from(classes[i].members));
            return true;
        }
    return false;
}

/* `[:name:]`, or one character as `[.c.]` or `[=c=]`. */
static bool convert_named(struct walk *walk)
{
    const char closing[] = {walk->rest.p[1], ']'};
    const char *end = memmem(walk->rest.p + 2, walk->rest.len - 2, closing, 2);
    struct str name = {walk->rest.p + 2, end ? (size_t)(end - walk->rest.p) - 2 : 0};

    if (!end)
        return false;
    skip(walk, name.len + 4);
    if (closing[0] == ':')
        return add_class(name, walk->out);
    if (name.len != 1)
        return false;
    add_member(name.p[0], walk->out);
    return true;
}

/* From behind the opening bracket to the closing one. */
static bool convert_bracket(struct walk *walk)
{
    bool first = true;

    buf_add_char(walk->out, '[');
    if (peek(walk) == '^') {
        buf_add_char(walk->out, '^');
        skip(walk, 1);
    }
    for (; walk->rest.len > 0 && (first || peek(walk) != ']'); first = false) {
        char next = walk->rest.len > 1 ? walk->rest.p[1] : '\0';

        if (peek(walk) == '[' && next != '\0' && strchr(":.=", next)) {
            if (!convert_named(walk))
                return false;
        } else if (peek(walk) == '-' && !first && next != ']' && next != '\0') {
            /* A range: its end follows. */
            buf_add_char(walk->out, '-');
            skip(walk, 1);
        } else {
            add_member(peek(walk), walk->out);
            skip(walk, 1);
        }
    }
    buf_add_char(walk->out, ']');
    if (walk->rest.len == 0)
        return false;
    skip(walk, 1);
    return true;
}

/* A character without its meaning. */
static bool convert_escape(struct walk *walk)
{
    char c = walk->rest.len > 1 ? walk->rest.p[1] : '\0';

    if (c == '\0')
        return false;
    skip(walk, 2);
    walk->repeatable = true;
    add_literal(c, walk->out);
    return true;
}

/* `{2}`, `{2,}` or `{2,5}`. False for anything else. */
static bool convert_interval(struct walk *walk)
{
    const char *end = memchr(walk->rest.p, '}', walk->rest.len);
    struct str most = {walk->rest.p + 1, end ? (size_t)(end - walk->rest.p) - 1 : 0}, inside = most;
    struct str least = str_cut(&most, ',');
    int64_t number;

    if (!end || str_to_int64(least, &number) != ERR_OK || (most.len > 0 && str_to_int64(most, &number) != ERR_OK))
        return false;
    buf_add_char(walk->out, '{');
    buf_add_str(walk->out, inside);
    buf_add_char(walk->out, '}');
    skip(walk, inside.len + 2);
    return true;
}

/* `*`, `+`, `?` or an interval. */
static bool convert_repetition(struct walk *walk)
{
    if (!walk->repeatable)
        return false;
    walk->repeatable = false;
    if (peek(walk) == '{')
        return convert_interval(walk);
    buf_add_char(walk->out, peek(walk));
    skip(walk, 1);
    return true;
}

static bool convert_next(struct walk *walk)
{
    char c = peek(walk);

    switch (c) {
    case '\\':
        return convert_escape(walk);
    case '*':
    case '+':
    case '?':
    case '{':
        return convert_repetition(walk);
    case '[':
        skip(walk, 1);
        walk->repeatable = true;
        return convert_bracket(walk);
    case '(':
    case '|':
    case '^':
    case '$':
        walk->repeatable = false;
        buf_add_char(walk->out, c);
        break;
    case ')':
    case '.':
        walk->repeatable = true;
        buf_add_char(walk->out, c);
        break;
    default:
        walk->repeatable = true;
        add_literal(c, walk->out);
        break;
    }
    skip(walk, 1);
    return true;
}

bool openapi_pattern_convert(struct str expression, struct buf *out)
{
    struct buf converted = {0};
    struct walk walk = {.rest = expression, .out = &converted};
    bool converts = true;

    /* Bytes are compared here, and there are more than one of them in any other character. */
    for (size_t i = 0; i < expression.len; i++)
        converts &= (unsigned char)expression.p[i] < 0x80;
    while (converts && walk.rest.len > 0)
        converts = convert_next(&walk);
    if (converts)
        buf_add_str(out, buf_str(&converted));
    buf_free(&converted);
    return converts;
}
