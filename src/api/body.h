/*
 * body: a request's JSON body (RFC 8259) as members, and members as parameters. Pure.
 *
 * A body is one object. Only what stands in it directly matters: members with a scalar value become parameters by their
 * names; of an array or object no more is looked at than that it is well-formed.
 */
#ifndef LARDER_BODY_H
#define LARDER_BODY_H

#include "config/params.h"

enum { BODY_MEMBERS_MAX = PARAMS_MAX, BODY_DEPTH_MAX = 32 };

enum body_type { BODY_NULL, BODY_BOOLEAN, BODY_NUMBER, BODY_STRING, BODY_ARRAY, BODY_OBJECT };

struct body_member {
    struct str name; /* decoded */
    enum body_type type;
    struct str text; /* of a string: decoded; of all others: as it was sent */
};

struct body {
    struct body_member members[BODY_MEMBERS_MAX];
    size_t count;
};

/* Takes one object of a list, of which INDEX have come before. */
typedef enum err body_object_fn(void *context, size_t index, const struct body *object, struct buf *why);

/* Whether a Content-Type field says JSON. */
bool body_is_json_type(struct str content_type);
/* Whether TEXT is one JSON value, nested at most BODY_DEPTH_MAX deep. ARENA for what that takes. */
bool body_is_json(struct str text, struct arena *arena);
/* Parses an object. Views of *OUT lie in TEXT or in ARENA. ERR_SYNTAX (no JSON, no object, a name twice) and ERR_LIMIT
 * (too deep, too many members, ARENA full), with a sentence in WHY that tells the byte. */
enum err body_parse(struct str text, struct arena *arena, struct body *out, struct buf *why) ERR_CHECKED;
/* The member NAME; NULL without. */
const struct body_member *body_find(const struct body *body, struct str name);
/* The strings of a BODY_ARRAY of nothing else, at most MAX. ERR_TYPE, ERR_LIMIT. */
enum err body_strings(const struct body_member *member, size_t max, struct arena *arena, struct str **out,
                      size_t *count) ERR_CHECKED;
/* Gives FN each object of a BODY_ARRAY of nothing else, in order, until it fails. ERR_TYPE;
 * ERR_LIMIT (more than MAX, or as body_parse); ERR_SYNTAX (a name twice in one), or FN's error. WHY tells which object
 * it is. */
enum err body_objects(const struct body_member *member, size_t max, struct arena *arena, body_object_fn *fn,
                      void *context, struct buf *why) ERR_CHECKED;
/* Appends MEMBER's name, in quotes, for a person: it is the client's and may be as long as the body, so no more than
 * its beginning. */
void body_add_name(const struct body_member *member, struct buf *out);
/* Checks each member against the one of SPECS that has its name; RAW gets those that are not null, NULLS (one for each
 * of SPECS) tells those that are. ERR_TYPE (unknown, of another type, null where that is not allowed), or as
 * params_check; WHY names the member and what is allowed. RAW has room for BODY_MEMBERS_MAX. */
enum err body_bind(const struct body *body, const struct params_spec *specs, size_t specs_count, struct arena *arena,
                   struct params_raw *raw, size_t *raw_count, bool *nulls, struct buf *why) ERR_CHECKED;

#endif
