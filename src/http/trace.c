/*
 * trace: a request's id and traceparent.
 *
 * Ids are made when somebody asks for one, that is, when there is something to say of the request: most never need one.
 *
 * Invariant: what is given out is short, one word of ASCII, and needs no escaping in a header, in a log or in JSON.
 */
#include "http/trace.h"

#include "base/sys.h"

enum { VERSION_LEN = 2, TRACE_LEN = 32, PARENT_LEN = 16, FLAGS_LEN = 2, MADE_BYTES = 16 };

/* Takes LEN lower-case hexadecimal digits off *REST and, unless LAST, the dash behind them. */
static bool take_hex(struct str *rest, size_t len, bool last, struct str *out)
{
    if (rest->len < len + !last)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!(rest->p[i] >= '0' && rest->p[i] <= '9') && !(rest->p[i] >= 'a' && rest->p[i] <= 'f'))
            return false;
    if (!last && rest->p[len] != '-')
        return false;
    *out = (struct str){rest->p, len};
    *rest = (struct str){rest->p + len + !last, rest->len - len - !last};
    return true;
}

static bool is_zero(struct str digits)
{
    for (size_t i = 0; i < digits.len; i++)
        if (digits.p[i] != '0')
            return false;
    return true;
}

struct str trace_parent(struct str text)
{
    struct str none = {NULL, 0}, rest = text, version, trace, parent, flags;

    if (!take_hex(&rest, VERSION_LEN, false, &version) || !take_hex(&rest, TRACE_LEN, false, &trace) ||
        !take_hex(&rest, PARENT_LEN, false, &parent) || !take_hex(&rest, FLAGS_LEN, true, &flags))
        return none;
    if (str_equal(version, STR("ff")) || is_zero(trace) || is_zero(parent))
        return none;
    /* Version 00 ends here; a later one may go on behind another dash (section 4.3). */
    if (rest.len > 0 && (str_equal(version, STR("00")) || rest.p[0] != '-'))
        return none;
    return (struct str){text.p, TRACE_PARENT_LEN};
}

bool trace_is_request_id(struct str text)
{
    static const char marks[] = "-._~:+/=@";

    if (text.len == 0 || text.len > TRACE_REQUEST_ID_MAX)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.p[i];

        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
            !memchr(marks, c, sizeof(marks) - 1))
            return false;
    }
    return true;
}

struct str trace_request_id(struct http *http)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[MADE_BYTES];
    char text[2 * MADE_BYTES];

    if (trace_is_request_id(http->in.request_id))
        return http->in.request_id;
    sys_random(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    http->in.request_id = arena_copy(http->arena, (struct str){text, sizeof(text)});
    return http->in.request_id;
}
