/*
 * params: from what a client sent to values that a statement and a key can be made of.
 *
 * Invariant: two requests that mean the same get the same normalised text, and two that mean different things never the
 * same key, given a template that the catalogue has accepted: what could end a part of a key (`:`) or start an escape
 * (`%`) is encoded in every value, and the hash behind `{*}` tells NULL from empty text.
 *
 * Binding is on the way of every request, so it takes memory from the arena alone and looks at the length and the
 * encoding of a text before the regular expression, which is dear. A value is never repeated in an error's sentence:
 * the sentence names the parameter and what is allowed, and nothing of the client's that could be mistaken for larder's
 * own words.
 */
#include "config/params.h"

#include "base/sys.h"

enum { HASH_LEN = 32, DIGITS_MAX = 64, SPACE = 512 };

static struct str skip(struct str text, size_t len)
{
    return (struct str){text.p + len, text.len - len};
}

/* Characters of TEXT, which is UTF-8: all bytes but the continuing ones. */
static size_t count_characters(struct str text)
{
    size_t count = 0;

    for (size_t i = 0; i < text.len; i++)
        count += ((unsigned char)text.p[i] & 0xc0) != 0x80;
    return count;
}

static bool in_range(const struct params_spec *spec, long double value)
{
    return (!spec->has_min || value >= spec->min) && (!spec->has_max || value <= spec->max);
}

static bool in_choices(const struct params_spec *spec, struct str text)
{
    for (size_t i = 0; i < spec->choices_count; i++)
        if (str_equal(spec->choices[i], text))
            return true;
    return spec->choices_count == 0;
}

static void explain_bound(const struct params_spec *spec, long double bound, struct buf *why)
{
    if (spec->type == PARAMS_NUMBER)
        buf_add_double(why, (double)bound);
    else
        buf_add_int64(why, (int64_t)bound);
}

static void explain_range(const struct params_spec *spec, struct buf *why)
{
    if (spec->has_min && spec->has_max)
        buf_add_str(why, STR(" from "));
    else if (spec->has_min)
        buf_add_str(why, STR(" of at least "));
    if (spec->has_min)
        explain_bound(spec, spec->min, why);
    if (spec->has_max)
        buf_add_str(why, spec->has_min ? STR(" to ") : STR(" of at most "));
    if (spec->has_max)
        explain_bound(spec, spec->max, why);
    if (spec->type == PARAMS_TEXT && (spec->has_min || spec->has_max))
        buf_add_str(why, STR(" characters"));
}

/* The sentence about a value that SPEC does not allow. Always gives ERR. */
static enum err refuse(const struct params_spec *spec, enum err err, struct buf *why)
{
    static const char *const nouns[] = {[PARAMS_TEXT] = "text",
                                        [PARAMS_INTEGER] = "a whole number",
                                        [PARAMS_NUMBER] = "a number",
                                        [PARAMS_BOOLEAN] = "true or false"};

    buf_printf(why, "parameter `%.*s` must be ", STR_ARG(spec->name));
    if (spec->choices_count > 0) {
        buf_add_str(why, spec->choices_count > 1 ? STR("one of ") : STR(""));
        for (size_t i = 0; i < spec->choices_count; i++)
            buf_printf(why, "%s%.*s", i == 0 ? "" : ", ", STR_ARG(spec->choices[i]));
        return err;
    }
    buf_add_str(why, str_from(nouns[spec->type]));
    explain_range(spec, why);
    if (spec->pattern_text.len > 0)
        buf_printf(why, " that matches %.*s", STR_ARG(spec->pattern_text));
    return err;
}

static void fold_case(const struct params_spec *spec, char *p, size_t len)
{
    char first = spec->letter_case == PARAMS_CASE_UPPER ? 'a' : 'A';

    if (spec->letter_case == PARAMS_CASE_AS_IS)
        return;
    for (size_t i = 0; i < len; i++)
        if (p[i] >= first && p[i] < first + 26)
            p[i] ^= 'a' ^ 'A';
}

static enum err check_text(const struct params_spec *spec, struct str raw, struct arena *arena,
                           struct params_value *value, struct buf *why)
{
    struct str text;
    char *copy;

    if (raw.len > PARAMS_VALUE_MAX) {
        buf_printf(why, "parameter `%.*s` must not be longer than %d bytes", STR_ARG(spec->name), PARAMS_VALUE_MAX);
        return ERR_RANGE;
    }
    if ((raw.len > 0 && memchr(raw.p, '\0', raw.len)) || !str_is_utf8(raw)) {
        buf_printf(why, "parameter `%.*s` must be UTF-8 text without NUL characters", STR_ARG(spec->name));
        return ERR_TYPE;
    }
    if ((spec->has_min || spec->has_max) && !in_range(spec, (long double)count_characters(raw)))
        return refuse(spec, ERR_RANGE, why);
    copy = arena_alloc(arena, raw.len + 1);
    if (!copy)
        return ERR_LIMIT;
    if (raw.len > 0)
        memcpy(copy, raw.p, raw.len);
    copy[raw.len] = '\0';
    fold_case(spec, copy, raw.len);
    text = (struct str){copy, raw.len};
    if (!in_choices(spec, text))
        return refuse(spec, ERR_RANGE, why);
    if (spec->pattern && !pattern_matches(spec->pattern, text))
        return refuse(spec, ERR_RANGE, why);
    value->text = text;
    return ERR_OK;
}

static enum err check_integer(const struct params_spec *spec, struct str raw, struct arena *arena,
                              struct params_value *value, struct buf *why)
{
    char space[DIGITS_MAX];
    /* No number is longer than SPACE, so this buffer never grows: nothing is allocated. */
    struct buf digits = {.p = space, .cap = sizeof(space)};
    int64_t integer;
    enum err err = str_to_int64(raw, &integer);

    if (err)
        return refuse(spec, err == ERR_RANGE ? ERR_RANGE : ERR_TYPE, why);
    if (!in_range(spec, (long double)integer))
        return refuse(spec, ERR_RANGE, why);
    buf_add_int64(&digits, integer);
    if (!in_choices(spec, buf_str(&digits)))
        return refuse(spec, ERR_RANGE, why);
    value->integer = integer;
    value->text = arena_copy(arena, buf_str(&digits));
    return ERR_OK;
}

static enum err check_number(const struct params_spec *spec, struct str raw, struct arena *arena,
                             struct params_value *value, struct buf *why)
{
    char space[DIGITS_MAX];
    struct buf digits = {.p = space, .cap = sizeof(space)};
    double number;
    enum err err = str_to_double(raw, &number);

    if (err)
        return refuse(spec, err == ERR_RANGE ? ERR_RANGE : ERR_TYPE, why);
    if (!in_range(spec, number))
        return refuse(spec, ERR_RANGE, why);
    if (number == 0)
        number = 0; /* minus zero is zero */
    buf_add_double(&digits, number);
    if (!in_choices(spec, buf_str(&digits)))
        return refuse(spec, ERR_RANGE, why);
    value->number = number;
    value->text = arena_copy(arena, buf_str(&digits));
    return ERR_OK;
}

static enum err check_boolean(const struct params_spec *spec, struct str raw, struct params_value *value,
                              struct buf *why)
{
    bool yes = str_equal(raw, STR("true")) || str_equal(raw, STR("1"));

    if (!yes && !str_equal(raw, STR("false")) && !str_equal(raw, STR("0")))
        return refuse(spec, ERR_TYPE, why);
    value->integer = yes;
    value->text = yes ? STR("true") : STR("false");
    return ERR_OK;
}

enum err params_check(const struct params_spec *spec, struct str raw, struct arena *arena, struct params_value *value,
                      struct buf *why)
{
    struct params_value checked = {.name = spec->name, .type = spec->type};
    enum err err = ERR_TYPE;

    switch (spec->type) {
    case PARAMS_TEXT:
        err = check_text(spec, raw, arena, &checked, why);
        break;
    case PARAMS_INTEGER:
        err = check_integer(spec, raw, arena, &checked, why);
        break;
    case PARAMS_NUMBER:
        err = check_number(spec, raw, arena, &checked, why);
        break;
    case PARAMS_BOOLEAN:
        err = check_boolean(spec, raw, &checked, why);
        break;
    }
    if (err == ERR_OK && arena_overflowed(arena))
        err = ERR_LIMIT;
    if (err == ERR_LIMIT)
        buf_add_str(why, STR("the parameters are too long together"));
    if (err == ERR_OK)
        *value = checked;
    return err;
}

/* Gives SPEC's value where the client sent none. */
static enum err bind_absent(const struct params_spec *spec, struct params_value *value, struct buf *why)
{
    if (!spec->has_default && !spec->optional) {
        buf_printf(why, "parameter `%.*s` is missing; it is required", STR_ARG(spec->name));
        return ERR_SYNTAX;
    }
    *value = (struct params_value){.name = spec->name, .type = spec->type, .is_null = !spec->has_default};
    if (spec->has_default) {
        value->text = spec->default_text;
        value->integer = spec->default_integer;
        value->number = spec->default_number;
    }
    return ERR_OK;
}

static enum err refuse_unknown(const struct params_spec *specs, size_t specs_count, struct str name, struct buf *why)
{
    enum { SHOWN = 64 };

    if (name.len <= SHOWN && str_is_utf8(name))
        buf_printf(why, "parameter `%.*s` is unknown here; ", STR_ARG(name));
    else
        buf_add_str(why, STR("a parameter is unknown here; "));
    buf_add_str(why, specs_count == 0 ? STR("there are none") : STR("allowed: "));
    for (size_t i = 0; i < specs_count; i++)
        buf_printf(why, "%s%.*s", i == 0 ? "" : ", ", STR_ARG(specs[i].name));
    return ERR_SYNTAX;
}

/* Finds for each of SPECS the one of RAW that carries its name; NULL where there is none. */
static enum err match_names(const struct params_spec *specs, size_t specs_count, const struct params_raw *raw,
                            size_t raw_count, const struct params_raw **found, struct buf *why)
{
    for (size_t i = 0; i < specs_count; i++)
        found[i] = NULL;
    for (size_t i = 0; i < raw_count; i++) {
        size_t at = 0;

        while (at < specs_count && !str_equal(specs[at].name, raw[i].name))
            at++;
        if (at == specs_count)
            return refuse_unknown(specs, specs_count, raw[i].name, why);
        if (found[at]) {
            buf_printf(why, "parameter `%.*s` is given more than once; give it once", STR_ARG(raw[i].name));
            return ERR_SYNTAX;
        }
        found[at] = &raw[i];
    }
    return ERR_OK;
}

enum err params_bind(const struct params_spec *specs, size_t specs_count, const struct params_raw *raw,
                     size_t raw_count, struct arena *arena, struct params_values *values, struct buf *why)
{
    const struct params_raw *found[PARAMS_MAX];
    enum err err;

    if (specs_count > PARAMS_MAX) {
        buf_printf(why, "more than %d parameters", PARAMS_MAX);
        return ERR_LIMIT;
    }
    err = match_names(specs, specs_count, raw, raw_count, found, why);
    for (size_t i = 0; i < specs_count && err == ERR_OK; i++) {
        if (found[i])
            err = params_check(&specs[i], found[i]->value, arena, &values->items[i], why);
        else
            err = bind_absent(&specs[i], &values->items[i], why);
    }
    if (err == ERR_OK)
        values->count = specs_count;
    return err;
}

/* Decodes TEXT by way of SCRATCH; what has nothing to decode stays where it is. */
static enum err decode(struct str text, struct buf *scratch, struct arena *arena, struct str *out)
{
    enum err err;

    if (text.len == 0) {
        *out = (struct str){"", 0};
        return ERR_OK;
    }
    if (!memchr(text.p, '%', text.len) && !memchr(text.p, '+', text.len)) {
        *out = text;
        return str_has_control(text) || !str_is_utf8(text) ? ERR_SYNTAX : ERR_OK;
    }
    buf_clear(scratch);
    err = str_percent_decode(text, true, scratch);
    if (err)
        return err;
    *out = arena_copy(arena, buf_str(scratch));
    return arena_overflowed(arena) ? ERR_LIMIT : ERR_OK;
}

static enum err split_pair(struct str pair, struct buf *scratch, struct arena *arena, struct params_raw *out,
                           struct buf *why)
{
    struct str value = pair;
    struct str name = str_cut(&value, '=');
    enum err err;

    if (name.len == 0) {
        buf_add_str(why, STR("the query has a parameter without a name"));
        return ERR_SYNTAX;
    }
    err = decode(name, scratch, arena, &out->name);
    if (err == ERR_OK)
        err = decode(value, scratch, arena, &out->value);
    if (err == ERR_SYNTAX)
        buf_add_str(why, STR("the query has a broken percent escape, a control character or text that is not UTF-8"));
    else if (err)
        buf_add_str(why, STR("the query is too long"));
    return err;
}

enum err params_split_query(struct str query, struct arena *arena, struct params_raw *out, size_t *count,
                            struct buf *why)
{
    struct buf scratch = {0};
    size_t found = 0;
    enum err err = ERR_OK;

    while (query.len > 0 && err == ERR_OK) {
        struct str pair = str_cut(&query, '&');

        if (pair.len == 0)
            continue;
        if (found == PARAMS_MAX) {
            buf_printf(why, "the query has more than %d parameters", PARAMS_MAX);
            err = ERR_LIMIT;
            break;
        }
        err = split_pair(pair, &scratch, arena, &out[found++], why);
    }
    buf_free(&scratch);
    if (err == ERR_OK)
        *count = found;
    return err;
}

/* Where an expansion goes. */
struct sink {
    char *p;
    size_t len, cap; /* LEN passes CAP when it did not all fit */
};

static void emit(struct sink *sink, const char *bytes, size_t len)
{
    if (len > 0 && sink->len + len <= sink->cap)
        memcpy(sink->p + sink->len, bytes, len);
    sink->len += len;
}

/* What stands for itself in a key. */
static bool is_plain(unsigned char c)
{
    static const bool special[256] = {['%'] = true, [':'] = true, ['*'] = true,  ['?'] = true,
                                      ['['] = true, [']'] = true, ['\\'] = true, [0x7f] = true};

    return c > ' ' && !special[c];
}

static void emit_encoded(struct sink *sink, struct str text)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < text.len;) {
        size_t from = i;

        while (i < text.len && is_plain((unsigned char)text.p[i]))
            i++;
        emit(sink, text.p + from, i - from);
        if (i < text.len) {
            unsigned char c = (unsigned char)text.p[i++];

            emit(sink, (const char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
        }
    }
}

/* Emits what FN gives into the arena: at first into a space that is usually enough. */
typedef void emit_fn(struct sink *sink, const void *context);

static struct str emit_to_arena(emit_fn *fn, const void *context, struct arena *arena)
{
    char space[SPACE];
    struct sink sink = {.p = space, .cap = sizeof(space)};

    fn(&sink, context);
    if (sink.len <= sink.cap)
        return arena_copy(arena, (struct str){space, sink.len});
    sink = (struct sink){.p = arena_alloc(arena, sink.len + 1), .cap = sink.len};
    if (!sink.p)
        return (struct str){"", 0};
    fn(&sink, context);
    sink.p[sink.len] = '\0';
    return (struct str){sink.p, sink.len};
}

/* The indices of VALUES in order of names. At most PARAMS_MAX, mostly in order already: insertion is the cheapest. */
static void sort_names(const struct params_values *values, size_t *order)
{
    for (size_t i = 0; i < values->count; i++) {
        size_t at = i;

        while (at > 0 && str_compare(values->items[order[at - 1]].name, values->items[i].name) > 0) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
}

/* `name=value` lines in order of names, values encoded so that none can feign a line; a NULL is a line without `=`. */
static void emit_all(struct sink *sink, const void *context)
{
    const struct params_values *values = context;
    size_t order[PARAMS_MAX];

    sort_names(values, order);
    for (size_t i = 0; i < values->count; i++) {
        const struct params_value *value = &values->items[order[i]];

        emit(sink, value->name.p, value->name.len);
        if (!value->is_null) {
            emit(sink, "=", 1);
            emit_encoded(sink, value->text);
        }
        emit(sink, "\n", 1);
    }
}

static void emit_hash(struct sink *sink, const struct params_values *values, struct arena *arena)
{
    char space[DIGITS_MAX];
    struct buf digits = {.p = space, .cap = sizeof(space)};

    sys_digest(emit_to_arena(emit_all, values, arena), &digits);
    emit(sink, digits.p, HASH_LEN);
}

/* A part of a template: literal text, or what stands between braces. */
struct part {
    struct str text;
    bool named;
};

static bool next_part(struct str *rest, struct part *part)
{
    const char *end;

    if (rest->len == 0)
        return false;
    end = rest->p[0] == '{' ? memchr(rest->p, '}', rest->len) : NULL;
    if (end) {
        size_t len = (size_t)(end - rest->p);

        *part = (struct part){{rest->p + 1, len - 1}, true};
        *rest = skip(*rest, len + 1);
    } else {
        const char *brace = memchr(rest->p + 1, '{', rest->len - 1);
        size_t len = brace ? (size_t)(brace - rest->p) : rest->len;

        *part = (struct part){{rest->p, len}, false};
        *rest = skip(*rest, len);
    }
    return true;
}

struct expansion {
    struct str text;
    const struct params_values *values;
    struct arena *arena;
};

static void emit_template(struct sink *sink, const void *context)
{
    const struct expansion *expansion = context;
    const struct params_values *values = expansion->values;
    struct str rest = expansion->text;
    struct part part;

    while (next_part(&rest, &part)) {
        if (!part.named) {
            emit(sink, part.text.p, part.text.len);
        } else if (str_equal(part.text, STR("*"))) {
            emit_hash(sink, values, expansion->arena);
        } else {
            for (size_t i = 0; i < values->count; i++)
                if (str_equal(values->items[i].name, part.text) && !values->items[i].is_null)
                    emit_encoded(sink, values->items[i].text);
        }
    }
}

struct str params_expand(struct str template_text, const struct params_values *values, struct arena *arena)
{
    const struct expansion expansion = {.text = template_text, .values = values, .arena = arena};

    return emit_to_arena(emit_template, &expansion, arena);
}

bool params_template_valid(struct str template_text, const struct params_spec *specs, size_t specs_count,
                           struct str *unknown)
{
    struct part part;

    while (next_part(&template_text, &part)) {
        size_t at = 0;

        if (!part.named && !memchr(part.text.p, '{', part.text.len) && !memchr(part.text.p, '}', part.text.len))
            continue;
        if (part.named && str_equal(part.text, STR("*")))
            continue;
        while (part.named && at < specs_count && !str_equal(specs[at].name, part.text))
            at++;
        if (!part.named || at == specs_count) {
            *unknown = part.text;
            return false;
        }
    }
    return true;
}
