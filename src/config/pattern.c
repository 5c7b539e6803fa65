/*
 * pattern: an expression as the automaton of its positions (Glushkov), run on sets of bits.
 *
 * Each byte or bracket expression that is written in the expression is a position; a repetition is read again as often
 * as it says, and has new positions each time. FOLLOW says of each position which may come next. While a value is read
 * there is one set: the positions that may take the next byte. So nothing is ever tried and taken back, and there are
 * no states to keep between values: the set of at most PATTERN_POSITIONS_MAX bits on the stack is all.
 *
 * `^` and `$` are positions that no byte passes: the set is moved past them where they hold, before the first byte and
 * behind the last. The position 0 is the end: once it is in the set, the expression has matched.
 *
 * What POSIX leaves undefined is refused, unless it can mean only one thing (an empty alternative). Other libraries
 * give it meanings of their own, so somebody who wrote it meant something that would not come about.
 */
#include "config/pattern.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/sys.h"

enum {
    WORD_BITS = 64,
    WORDS_MAX = PATTERN_POSITIONS_MAX / WORD_BITS,
    BYTES = 256,
    DEPTH_MAX = 16,
    REPEAT_MAX = PATTERN_POSITIONS_MAX,
    STEPS_MAX = 1 << 13, /* atoms read, again included: repetitions of what has no positions are bounded by it */
    END = 0
};

struct set {
    uint64_t words[WORDS_MAX];
};

/* WORDS words for each set: START, those that hold at the ends, then one for each byte, then one for each position. */
struct pattern {
    size_t words;
    uint64_t *start, *at_start, *at_end, *takes, *follow;
    uint64_t space[];
};

/* What a part of an expression begins and ends with. */
struct part {
    struct set first, last;
    bool empty; /* also matches without taking anything */
};

struct compiler {
    struct str text;
    size_t at, depth, count, steps;
    struct set at_start, at_end;
    struct set takes[BYTES], follow[PATTERN_POSITIONS_MAX];
    enum err err;
    struct buf *why;
};

static void set_add(struct set *set, size_t bit)
{
    set->words[bit / WORD_BITS] |= UINT64_C(1) << bit % WORD_BITS;
}

static void set_unite(struct set *set, const struct set *other)
{
    for (size_t i = 0; i < WORDS_MAX; i++)
        set->words[i] |= other->words[i];
}

/* Refuses the expression; what is refused first counts. */
static void refuse(struct compiler *c, enum err err, const char *reason)
{
    if (c->err == ERR_OK)
        buf_add_str(c->why, str_from(reason));
    if (c->err == ERR_OK)
        c->err = err;
    c->at = c->text.len;
}

/* The byte at DISTANCE from here; NUL behind the end, which no text of front matter has within. */
static char peek(const struct compiler *c, size_t distance)
{
    return c->at + distance < c->text.len ? c->text.p[c->at + distance] : '\0';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Lets what ends in LAST be followed by what begins with FIRST. */
static void join(struct compiler *c, const struct set *last, const struct set *first)
{
    for (size_t i = 0; i < c->count; i++)
        if (last->words[i / WORD_BITS] >> i % WORD_BITS & 1)
            set_unite(&c->follow[i], first);
}

/* Appends NEXT to PART. */
static void append(struct compiler *c, struct part *part, const struct part *next)
{
    join(c, &part->last, &next->first);
    if (part->empty)
        set_unite(&part->first, &next->first);
    if (!next->empty)
        part->last = (struct set){0};
    set_unite(&part->last, &next->last);
    part->empty = part->empty && next->empty;
}

/* A new position alone. */
static struct part add_position(struct compiler *c)
{
    struct part part = {0};

    if (c->count == PATTERN_POSITIONS_MAX) {
        refuse(c, ERR_LIMIT, "its repetitions come to too many characters");
        return part;
    }
    set_add(&part.first, c->count);
    set_add(&part.last, c->count);
    c->count++;
    return part;
}

static struct part add_byte(struct compiler *c, char byte)
{
    struct part part = add_position(c);

    if (c->err == ERR_OK)
        set_add(&c->takes[(unsigned char)byte], c->count - 1);
    return part;
}

static void add_class(struct compiler *c, struct str name, bool *members)
{
    static const struct {
        const char *name;
        int (*holds)(int);
    } classes[] = {{"alpha", isalpha}, {"digit", isdigit}, {"alnum", isalnum},   {"upper", isupper},
                   {"lower", islower}, {"space", isspace}, {"xdigit", isxdigit}, {"blank", isblank},
                   {"cntrl", iscntrl}, {"print", isprint}, {"graph", isgraph},   {"punct", ispunct}};

    for (size_t i = 0; i < sizeof(classes) / sizeof(*classes); i++)
        if (str_equal(name, str_from(classes[i].name))) {
            for (int byte = 0; byte < 0x80; byte++)
                members[byte] |= classes[i].holds(byte) != 0;
            return;
        }
    refuse(c, ERR_SYNTAX, "there is no such class of characters; there are for example [:alpha:] and [:digit:]");
}

/* One element of a bracket expression. False for a class, whose members are added here; else *BYTE is what it stands
 * for. */
static bool read_element(struct compiler *c, bool *members, unsigned char *byte)
{
    char kind = peek(c, 0) == '[' ? peek(c, 1) : '\0';
    const char closing[] = {kind, ']'}, *from, *end;
    struct str name;

    if (kind != ':' && kind != '.' && kind != '=') {
        *byte = (unsigned char)peek(c, 0);
        c->at++;
        return true;
    }
    from = c->text.p + c->at + 2;
    end = memmem(from, c->text.len - c->at - 2, closing, 2);
    if (!end) {
        refuse(c, ERR_SYNTAX, "a class in a bracket expression is not closed");
        return false;
    }
    name = (struct str){from, (size_t)(end - from)};
    c->at += name.len + 4;
    if (kind == ':') {
        add_class(c, name, members);
        return false;
    }
    if (name.len != 1) {
        refuse(c, ERR_SYNTAX, "characters have no names here; [. .] and [= =] take one character");
        return false;
    }
    *byte = (unsigned char)name.p[0];
    return true;
}

/* One element or range, from behind the bracket, or behind another one, on. */
static void read_member(struct compiler *c, bool leading, bool *members)
{
    bool dash = peek(c, 0) == '-', single, range;
    unsigned char low = 0, high;

    if (dash && !leading && peek(c, 1) != ']') {
        refuse(c, ERR_SYNTAX, "a `-` in a bracket expression stands first, last or in a range");
        return;
    }
    single = read_element(c, members, &low);
    range = peek(c, 0) == '-' && peek(c, 1) != ']' && peek(c, 1) != '\0';
    high = low;
    if (range) {
        c->at++;
        if (!single || !read_element(c, members, &high) || high < low)
            refuse(c, ERR_SYNTAX, "a range in a bracket expression ends before it begins, or at a class");
    }
    for (size_t byte = low; single && byte <= high; byte++)
        members[byte] = true;
}

static struct part read_bracket(struct compiler *c)
{
    bool members[BYTES] = {false}, negated, leading = true;
    struct part part = add_position(c);
    size_t position = c->count - 1;

    c->at++;
    negated = peek(c, 0) == '^';
    c->at += negated;
    for (; c->at < c->text.len && (leading || peek(c, 0) != ']'); leading = false)
        read_member(c, leading, members);
    if (c->at >= c->text.len)
        refuse(c, ERR_SYNTAX, "a bracket expression is not closed");
    c->at++;
    for (size_t byte = 0; byte < BYTES && c->err == ERR_OK; byte++)
        if (members[byte] != negated)
            set_add(&c->takes[byte], position);
    return part;
}

static struct part read_escape(struct compiler *c)
{
    char escaped = peek(c, 1);

    if (is_digit(escaped))
        refuse(c, ERR_SYNTAX, "it has a back-reference; POSIX extended expressions have none");
    else if (escaped < '!' || escaped > '~' || isalnum((unsigned char)escaped) || strchr("<>`'", escaped))
        refuse(c, ERR_SYNTAX,
               "a backslash takes the meaning of what is neither letter nor digit; for \\w and the like write "
               "[[:alnum:]_]");
    else
        c->at += 2;
    return add_byte(c, escaped);
}

static struct part read_any(struct compiler *c)
{
    struct part part = add_position(c);

    c->at++;
    for (size_t byte = 0; byte < BYTES && c->err == ERR_OK; byte++)
        set_add(&c->takes[byte], c->count - 1);
    return part;
}

static struct part read_anchor(struct compiler *c)
{
    struct part part = add_position(c);

    if (c->err == ERR_OK)
        set_add(peek(c, 0) == '^' ? &c->at_start : &c->at_end, c->count - 1);
    c->at++;
    return part;
}

static struct part read_alternatives(struct compiler *c);

static struct part read_group(struct compiler *c)
{
    struct part part;

    if (++c->depth > DEPTH_MAX)
        refuse(c, ERR_LIMIT, "its groups are nested too deep");
    c->at++;
    part = read_alternatives(c);
    if (peek(c, 0) != ')')
        refuse(c, ERR_SYNTAX, "a `(` is not closed");
    c->at++;
    c->depth--;
    return part;
}

static struct part read_atom(struct compiler *c)
{
    if (++c->steps > STEPS_MAX)
        refuse(c, ERR_LIMIT, "its repetitions multiply");
    switch (peek(c, 0)) {
    case '(':
        return read_group(c);
    case '[':
        return read_bracket(c);
    case '\\':
        return read_escape(c);
    case '.':
        return read_any(c);
    case '^':
    case '$':
        return read_anchor(c);
    case '*':
    case '+':
    case '?':
    case '{':
        refuse(c, ERR_SYNTAX, "a repetition stands behind nothing that it could repeat");
        break;
    default:
        break;
    }
    c->at++;
    return add_byte(c, c->at <= c->text.len ? c->text.p[c->at - 1] : '\0');
}

/* The number here; none is REPEAT_MAX + 1, as are those too large. */
static size_t read_number(struct compiler *c)
{
    size_t number = is_digit(peek(c, 0)) ? 0 : REPEAT_MAX + 1;

    for (; is_digit(peek(c, 0)); c->at++)
        number = number > REPEAT_MAX ? number : number * 10 + (size_t)(peek(c, 0) - '0');
    return number > REPEAT_MAX ? REPEAT_MAX + 1 : number;
}

/* `{2}`, `{2,}` or `{2,5}`; *MOST is 0 for no end. */
static void read_interval(struct compiler *c, size_t *least, size_t *most, bool *open)
{
    bool starts;

    c->at++;
    starts = is_digit(peek(c, 0));
    *least = *most = read_number(c);
    if (peek(c, 0) == ',') {
        c->at++;
        *open = peek(c, 0) == '}';
        *most = *open ? *least : read_number(c);
    }
    if (!starts || peek(c, 0) != '}')
        refuse(c, ERR_SYNTAX, "an interval is written {2}, {2,} or {2,5}; a brace itself \\{");
    else if (*most > REPEAT_MAX)
        refuse(c, ERR_LIMIT, "its repetitions come to too many characters");
    else if (*least > *most)
        refuse(c, ERR_SYNTAX, "an interval ends before it begins");
    c->at++;
}

static bool is_repetition(char c)
{
    return c != '\0' && strchr("*+?{", c);
}

/* ATOM, the atom that was read from FROM on, LEAST to MOST times, and more if OPEN. */
static struct part repeat(struct compiler *c, size_t from, struct part atom, size_t least, size_t most, bool open)
{
    struct part all = {.empty = true};
    size_t behind = c->at;

    for (size_t i = 1; i <= most && c->err == ERR_OK; i++) {
        if (i > 1) {
            c->at = from;
            atom = read_atom(c);
        }
        if (open && i == most)
            join(c, &atom.last, &atom.first);
        atom.empty = atom.empty || i > least;
        append(c, &all, &atom);
    }
    if (c->err == ERR_OK)
        c->at = behind;
    return all;
}

static struct part read_piece(struct compiler *c)
{
    bool anchor = peek(c, 0) == '^' || peek(c, 0) == '$', open;
    size_t from = c->at, least, most = 1;
    struct part atom = read_atom(c);
    char how = peek(c, 0);

    if (!is_repetition(how))
        return atom;
    least = how == '+';
    open = how == '*' || how == '+';
    if (anchor)
        refuse(c, ERR_SYNTAX, "a repetition stands behind nothing that it could repeat");
    else if (how == '{')
        read_interval(c, &least, &most, &open);
    else
        c->at++;
    if (open && most == 0)
        most = 1; /* {0,} is `*` */
    if (is_repetition(peek(c, 0)))
        refuse(c, ERR_SYNTAX, "a repetition stands behind a repetition; put the first into parentheses");
    return repeat(c, from, atom, least, most, open);
}

static struct part read_branch(struct compiler *c)
{
    struct part branch = {.empty = true};

    while (c->at < c->text.len && peek(c, 0) != '|' && (peek(c, 0) != ')' || c->depth == 0)) {
        struct part piece;

        if (peek(c, 0) == ')')
            refuse(c, ERR_SYNTAX, "a `)` closes nothing");
        piece = read_piece(c);
        append(c, &branch, &piece);
    }
    return branch;
}

static struct part read_alternatives(struct compiler *c)
{
    struct part all = read_branch(c);

    while (peek(c, 0) == '|') {
        struct part branch;

        c->at++;
        branch = read_branch(c);
        set_unite(&all.first, &branch.first);
        set_unite(&all.last, &branch.last);
        all.empty = all.empty || branch.empty;
    }
    return all;
}

static void copy_set(uint64_t *to, const struct set *from, size_t words)
{
    memcpy(to, from->words, words * sizeof(*to));
}

static struct pattern *pack(const struct compiler *c, const struct part *all)
{
    size_t words = (c->count + WORD_BITS - 1) / WORD_BITS;
    struct pattern *pattern =
        sys_calloc(1, sizeof(*pattern) + (3 + BYTES + c->count) * words * sizeof(*pattern->space));

    pattern->words = words;
    pattern->start = pattern->space;
    pattern->at_start = pattern->start + words;
    pattern->at_end = pattern->at_start + words;
    pattern->takes = pattern->at_end + words;
    pattern->follow = pattern->takes + BYTES * words;
    copy_set(pattern->start, &all->first, words);
    copy_set(pattern->at_start, &c->at_start, words);
    copy_set(pattern->at_end, &c->at_end, words);
    for (size_t i = 0; i < BYTES; i++)
        copy_set(pattern->takes + i * words, &c->takes[i], words);
    for (size_t i = 0; i < c->count; i++)
        copy_set(pattern->follow + i * words, &c->follow[i], words);
    return pattern;
}

enum err pattern_compile(struct str text, struct pattern **out, struct buf *why)
{
    struct compiler *c = sys_calloc(1, sizeof(*c));
    struct part all, end = {0};
    enum err err;

    *c = (struct compiler){.text = text, .count = END + 1, .why = why};
    set_add(&end.first, END);
    if (text.len > PATTERN_TEXT_MAX)
        refuse(c, ERR_LIMIT, "it is too long");
    all = read_alternatives(c);
    append(c, &all, &end);
    if (c->err == ERR_OK)
        *out = pack(c, &all);
    err = c->err;
    free(c);
    return err;
}

void pattern_free(struct pattern **pattern)
{
    free(*pattern);
    *pattern = NULL;
}

/* Adds to NEXT what may follow the positions of NOW that are in PASSING. Whether there was any. */
static bool step(const struct pattern *it, const uint64_t *now, const uint64_t *passing, uint64_t *next)
{
    bool any = false;

    for (size_t i = 0; i < it->words; i++)
        for (uint64_t passed = now[i] & passing[i]; passed != 0; passed &= passed - 1) {
            const uint64_t *follow = it->follow + (i * WORD_BITS + (size_t)__builtin_ctzll(passed)) * it->words;

            any = true;
            for (size_t at = 0; at < it->words; at++)
                next[at] |= follow[at];
        }
    return any;
}

/* Moves NOW past the positions of HOLDING, which take no byte, for good. Each turn adds a position or is the last. */
static void settle(const struct pattern *it, const uint64_t *holding, uint64_t *now)
{
    uint64_t before[WORDS_MAX];
    size_t size = it->words * sizeof(*now);

    do {
        memcpy(before, now, size);
        (void)step(it, before, holding, now);
    } while (memcmp(before, now, size) != 0);
}

static bool has_ended(const uint64_t *now)
{
    return now[END / WORD_BITS] >> END % WORD_BITS & 1;
}

bool pattern_matches(const struct pattern *it, struct str value)
{
    uint64_t now[WORDS_MAX], next[WORDS_MAX], holding[WORDS_MAX];
    size_t size = it->words * sizeof(*now);

    memcpy(now, it->start, size);
    memcpy(holding, it->at_start, size);
    if (value.len > 0)
        settle(it, holding, now);
    for (size_t i = 0; i < value.len && !has_ended(now); i++) {
        /* A match may begin at any byte, so what an expression begins with is always possible. */
        memcpy(next, it->start, size);
        (void)step(it, now, it->takes + (unsigned char)value.p[i] * it->words, next);
        memcpy(now, next, size);
    }
    for (size_t i = 0; i < it->words; i++)
        holding[i] = it->at_end[i] | (value.len == 0 ? it->at_start[i] : 0);
    settle(it, holding, now);
    return has_ended(now);
}
