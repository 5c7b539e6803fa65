/*
 * params: typed, validated parameters of a route, and the key and tag templates made of them.
 *
 * What cannot be valid never reaches a cache: unknown, repeated, ill-typed and out-of-range parameters end here. Each
 * value has one normalised form (case folded, number re-printed), so that one answer has one key.
 */
#ifndef LARDER_PARAMS_H
#define LARDER_PARAMS_H

#include "base/arena.h"
#include "config/pattern.h"

enum params_type { PARAMS_TEXT, PARAMS_INTEGER, PARAMS_NUMBER, PARAMS_BOOLEAN };
enum params_case { PARAMS_CASE_AS_IS, PARAMS_CASE_UPPER, PARAMS_CASE_LOWER };
enum { PARAMS_MAX = 32, PARAMS_VALUE_MAX = 1024 };

/* The declaration: one `param:` line of a resource. Owned by the catalogue. */
struct params_spec {
    struct str name;
    enum params_type type;
    enum params_case letter_case;
    bool in_path;     /* named by the route */
    bool optional;    /* `?`: NULL when absent */
    bool has_default; /* default_text is used when absent, already checked against the rest */
    bool has_min, has_max;
    long double min, max;      /* for numbers, exact for 64 bits; for text: of the length in characters */
    const struct str *choices; /* `in a,b,c` */
    size_t choices_count;
    struct str pattern_text; /* `~ regex`, POSIX extended; empty without */
    struct pattern *pattern; /* NULL without */
    struct str default_text; /* normalised */
    int64_t default_integer;
    double default_number;
};

/* One bound value. `text` is the normalised form, also of numbers ("true"/"false" of booleans). */
struct params_value {
    struct str name;
    enum params_type type;
    bool is_null;
    struct str text;
    int64_t integer; /* integers, and booleans as 0 or 1 */
    double number;   /* numbers */
};

struct params_values {
    struct params_value items[PARAMS_MAX];
    size_t count;
};

/* One raw value on its way in. Both views decoded already. */
struct params_raw {
    struct str name, value;
};

/* Parses one `param:` line of front matter: NAME TYPE then any of upper, lower, 1..200 (or 1.. or ..200), `in a,b`, `~
 * regex`, `= default`, `?`, in any order, each at most once; choices, regex and default are single words. The spec's
 * views and expression are owned by SPEC; free with params_spec_fini. On error WHY says what, for a person, and SPEC
 * needs no fini. */
enum err params_spec_parse(struct str line, struct params_spec *spec, struct buf *why) ERR_CHECKED;
void params_spec_fini(struct params_spec *spec);

/* Splits an encoded query into raw pairs, at most PARAMS_MAX. Empty pairs are skipped. ERR_SYNTAX for what cannot be
 * decoded, ERR_LIMIT for too many. WHY explains. Views of OUT lie in QUERY or in ARENA. */
enum err params_split_query(struct str query, struct arena *arena, struct params_raw *out, size_t *count,
                            struct buf *why) ERR_CHECKED;

/* Checks RAW against SPECS and fills VALUES in the order of SPECS. Any other result than ERR_OK has its sentence in
 * WHY: it names the parameter and what is allowed. ERR_SYNTAX unknown, repeated or missing; ERR_TYPE; ERR_RANGE;
 * ERR_LIMIT when ARENA is full. Views of VALUES lie in ARENA or belong to SPECS. */
enum err params_bind(const struct params_spec *specs, size_t specs_count, const struct params_raw *raw,
                     size_t raw_count, struct arena *arena, struct params_values *values, struct buf *why) ERR_CHECKED;
/* One value against one spec; params_bind is a loop of these. */
enum err params_check(const struct params_spec *spec, struct str raw, struct arena *arena, struct params_value *value,
                      struct buf *why) ERR_CHECKED;

/* TEMPLATE with each `{name}` replaced by the value's normalised text (a NULL by nothing) and `{*}` by a 128-bit hash,
 * in hex, of all values in order of their names. In a value, `%`, `:`, `*`, `?`, `[`, `]`, `\`, blanks and control
 * characters are percent-encoded, so a key is one word, never a pattern, and a `:` in it always comes from the
 * template. In ARENA. */
struct str params_expand(struct str template_text, const struct params_values *values, struct arena *arena);
/* Whether every {name} of TEMPLATE is declared; the first that is not goes to *UNKNOWN. */
bool params_template_valid(struct str template_text, const struct params_spec *specs, size_t specs_count,
                           struct str *unknown);

#endif
