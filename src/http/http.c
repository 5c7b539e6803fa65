/*
 * http: what the web server passed, made into a request; what the application answered, made into a CGI head.
 *
 * Invariant: after http_finish_request the path begins with `/`, is at most PATH_MAX_LEN bytes long, and neither path
 * nor query holds a control character; no control character leaves in a response header.
 *
 * All of it runs for every request: it allocates nothing but the response's header buffer, which is kept, and the arena
 * where a path has to be put together. It refuses to guess: what no honest client sends is an error with a sentence,
 * and nothing is decoded here, for a segment is only known once the router has split the path.
 */
#include "http/http.h"

enum { PATH_MAX_LEN = 8192 };

/* No body that larder would take is longer; so lengths fit every integer they are put into. */
#define BODY_MAX_LEN ((int64_t)1 << 40)

/* X(status, reason): what larder sends (RFC 9110, section 15; 428, 429 and 431 RFC 6585; 507 RFC 4918). */
#define HTTP_STATUSES(X)                                                                                               \
    X(200, "OK")                                                                                                       \
    X(201, "Created")                                                                                                  \
    X(202, "Accepted")                                                                                                 \
    X(204, "No Content")                                                                                               \
    X(304, "Not Modified")                                                                                             \
    X(400, "Bad Request")                                                                                              \
    X(401, "Unauthorized")                                                                                             \
    X(403, "Forbidden")                                                                                                \
    X(404, "Not Found")                                                                                                \
    X(405, "Method Not Allowed")                                                                                       \
    X(406, "Not Acceptable")                                                                                           \
    X(408, "Request Timeout")                                                                                          \
    X(409, "Conflict")                                                                                                 \
    X(411, "Length Required")                                                                                          \
    X(412, "Precondition Failed")                                                                                      \
    X(413, "Content Too Large")                                                                                        \
    X(414, "URI Too Long")                                                                                             \
    X(415, "Unsupported Media Type")                                                                                   \
    X(422, "Unprocessable Content")                                                                                    \
    X(428, "Precondition Required")                                                                                    \
    X(429, "Too Many Requests")                                                                                        \
    X(431, "Request Header Fields Too Large")                                                                          \
    X(500, "Internal Server Error")                                                                                    \
    X(501, "Not Implemented")                                                                                          \
    X(502, "Bad Gateway")                                                                                              \
    X(503, "Service Unavailable")                                                                                      \
    X(504, "Gateway Timeout")                                                                                          \
    X(507, "Insufficient Storage")

static const struct str method_names[HTTP_METHOD_COUNT] = {
    [HTTP_GET] = {"GET", 3},         [HTTP_HEAD] = {"HEAD", 4},   [HTTP_POST] = {"POST", 4},
    [HTTP_PUT] = {"PUT", 3},         [HTTP_PATCH] = {"PATCH", 5}, [HTTP_DELETE] = {"DELETE", 6},
    [HTTP_OPTIONS] = {"OPTIONS", 7}, [HTTP_PURGE] = {"PURGE", 5},
};

enum http_method http_method_from(struct str text)
{
    for (enum http_method method = HTTP_GET; method < HTTP_METHOD_COUNT; method++)
        if (str_equal(text, method_names[method]))
            return method;
    return HTTP_METHOD_COUNT;
}

const char *http_method_name(enum http_method method)
{
    return method < HTTP_METHOD_COUNT ? method_names[method].p : "";
}

const char *http_reason(int status)
{
    switch (status) {
#define REASON(code, reason)                                                                                           \
    case code:                                                                                                         \
        return reason;
        HTTP_STATUSES(REASON)
#undef REASON
    }
    return "";
}

static struct str status_line(int status)
{
    switch (status) {
#define LINE(code, reason)                                                                                             \
    case code:                                                                                                         \
        return STR("Status: " #code " " reason "\r\n");
        HTTP_STATUSES(LINE)
#undef LINE
    }
    return STR("");
}

/* One bit for each length that a known variable's name has. */
#define LENGTH_BIT(field, variable) | UINT64_C(1) << (sizeof(variable) - 1)
static const uint64_t known_lengths = 0 HTTP_VARIABLES(LENGTH_BIT);
#undef LENGTH_BIT

void http_set_variable(struct http *http, struct str name, struct str value)
{
    /* Most of the 25 or so variables of a request are unknown, and most of those end here, before anything is compared.
     * The compiler sorts the comparisons below by length, and each memcmp becomes two or three loads. */
    if (name.len >= 64 || (known_lengths >> name.len & 1) == 0)
        return;
#define SET(field, variable)                                                                                           \
    if (name.len == sizeof(variable) - 1 && memcmp(name.p, variable, sizeof(variable) - 1) == 0) {                     \
        http->in.field = value;                                                                                        \
        return;                                                                                                        \
    }
    HTTP_VARIABLES(SET)
#undef SET
}

/* Control characters other than the tab, which RFC 9110, section 5.5 allows within a field's value. */
static bool is_foul(struct str value)
{
    /* Nearly all have none at all, which is found out eight bytes at a time. */
    if (!str_has_control(value))
        return false;
    for (size_t i = 0; i < value.len; i++)
        if (value.p[i] != '\t' && str_has_control((struct str){value.p + i, 1}))
            return true;
    return false;
}

static enum err check_variables(const struct http_variables *in, const char **why)
{
#define CHECK(field, variable)                                                                                         \
    if (in->field.len > 0 && is_foul(in->field)) {                                                                     \
        *why = "a control character stands in " variable "; such a request is not answered";                           \
        return ERR_SYNTAX;                                                                                             \
    }
    HTTP_VARIABLES(CHECK)
#undef CHECK
    return ERR_OK;
}

static enum err read_length(struct str text, size_t *out, const char **why)
{
    int64_t len = 0;

    if (text.len == 0) {
        *out = 0;
        return ERR_OK;
    }
    if (str_to_int64(text, &len) != ERR_OK || text.p[0] == '-' || len > BODY_MAX_LEN) {
        *why = "Content-Length is not a number of bytes that a body can have";
        return ERR_SYNTAX;
    }
    *out = (size_t)len;
    return ERR_OK;
}

static bool is_path_char(unsigned char c)
{
    /* RFC 3986, section 3.3: pchar without pct-encoded, and the slash. */
    static const char marks[] = "/-._~!$&'()*+,;=:@";

    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
        return true;
    return c != '\0' && strchr(marks, c) != NULL;
}

/* A decoded path in two parts, encoded again; false when it is too long. */
static bool encode_path(struct str head, struct str tail, struct arena *arena, struct str *path)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t decoded_len = head.len + tail.len, len = 0;
    char *out = decoded_len <= PATH_MAX_LEN ? arena_alloc(arena, 3 * decoded_len + 1) : NULL;

    if (!out)
        return false;
    for (size_t i = 0; i < decoded_len; i++) {
        unsigned char c = (unsigned char)(i < head.len ? head.p[i] : tail.p[i - head.len]);

        if (is_path_char(c)) {
            out[len++] = (char)c;
        } else {
            out[len++] = '%';
            out[len++] = hex[c >> 4];
            out[len++] = hex[c & 15];
        }
    }
    *path = (struct str){out, len};
    return true;
}

/* Takes scheme and host off the absolute form `http://host/path` (RFC 9112, section 3.2.2); whether it was one. */
static bool skip_origin(struct str *target)
{
    static const struct str schemes[] = {{"http://", 7}, {"https://", 8}};

    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t at = schemes[i].len;

        if (target->len < at || !str_equal_nocase((struct str){target->p, at}, schemes[i]))
            continue;
        while (at < target->len && target->p[at] != '/' && target->p[at] != '?')
            at++;
        *target = (struct str){target->p + at, target->len - at};
        return true;
    }
    return false;
}

/* PATH below MOUNT, where MOUNT is the beginning of PATH in whole segments. */
static struct str strip_mount(struct str path, struct str mount)
{
    while (mount.len > 0 && mount.p[mount.len - 1] == '/')
        mount.len--;
    if (mount.len == 0 || !str_starts(path, mount))
        return path;
    if (path.len == mount.len)
        return STR("/");
    return path.p[mount.len] == '/' ? (struct str){path.p + mount.len, path.len - mount.len} : path;
}

/* Path, with the mount still in front, and query. */
static enum err read_target(const struct http_variables *in, struct arena *arena, struct str *path, struct str *query,
                            const char **why)
{
    struct str rest = in->request_uri;
    bool fits = true, may_be_empty = true;

    if (rest.len > 0) {
        /* A fragment is the client's own affair and should not have come (RFC 3986, section 3.5). */
        rest = str_cut(&rest, '#');
        may_be_empty = skip_origin(&rest);
        *path = str_cut(&rest, '?');
        *query = rest.p ? rest : in->query_string;
    } else {
        fits = encode_path(in->script_name, in->path_info, arena, path);
        *query = in->query_string;
    }
    if (!fits || path->len > PATH_MAX_LEN) {
        *why = "the path is longer than 8 KiB";
        return ERR_SYNTAX;
    }
    /* An absolute form may end with its host (RFC 9110, section 4.2.3). */
    if (path->len == 0 && may_be_empty)
        *path = STR("/");
    if (path->len == 0 || path->p[0] != '/') {
        *why = "the request target is neither a path nor an http URL";
        return ERR_SYNTAX;
    }
    if (str_has_control(*path) || str_has_control(*query)) {
        *why = "a control character stands in the path or the query; percent-encode it";
        return ERR_SYNTAX;
    }
    return ERR_OK;
}

/* A microcache asks in the form that it keeps; HEAD is its affair, and so are conditions once it keeps the answer. */
static void ask_for_copy(struct http *http)
{
    if (http->in.authorization.len > 0 || (http->method != HTTP_GET && http->method != HTTP_HEAD))
        return;
    http->method = HTTP_GET;
    http->in.accept_encoding = http->in.microcache;
}

enum err http_finish_request(struct http *http, const char **why)
{
    struct str path = {0}, query = {0};
    size_t body_len = 0;

    if (http->in.request_method.len == 0) {
        *why = "the web server did not pass REQUEST_METHOD; see fastcgi_params";
        return ERR_SYNTAX;
    }
    if (check_variables(&http->in, why) != ERR_OK || read_length(http->in.content_length, &body_len, why) != ERR_OK ||
        read_target(&http->in, http->arena, &path, &query, why) != ERR_OK)
        return ERR_SYNTAX;
    http->method = http_method_from(http->in.request_method);
    if (http->in.microcache.len > 0)
        ask_for_copy(http);
    http->path = strip_mount(path, http->in.mount);
    http->query = query;
    http->body_len = body_len;
    return ERR_OK;
}

void http_header(struct http *http, const char *name, struct str value)
{
    struct str field = str_from(name);

    if (str_has_control(value))
        return;
    buf_reserve(&http->headers, field.len + value.len + 4);
    buf_add_str(&http->headers, field);
    buf_add_str(&http->headers, STR(": "));
    buf_add_str(&http->headers, value);
    buf_add_str(&http->headers, STR("\r\n"));
}

void http_cache_control(struct http *http, struct str value)
{
    http_header(http, http->in.microcache.len > 0 ? "X-Cache-Control" : "Cache-Control", value);
}

void http_format_head(const struct http *http, struct buf *out)
{
    struct str line = status_line(http->status);

    buf_reserve(out, 256 + http->content_type.len + http->headers.len);
    if (http->status == 200) {
        /* What CGI takes for granted (RFC 3875, section 6.3.3) the web server need not parse. */
    } else if (line.len > 0) {
        buf_add_str(out, line);
    } else {
        buf_add_str(out, STR("Status: "));
        buf_add_int64(out, http->status);
        buf_add_str(out, STR("\r\n"));
    }
    /* Neither has content (RFC 9110, sections 15.3.5 and 15.4.5). */
    if (http->status != 204 && http->status != 304) {
        /* The type may come out of a shared cache that others write to. */
        if (http->content_type.len > 0 && !str_has_control(http->content_type)) {
            buf_add_str(out, STR("Content-Type: "));
            buf_add_str(out, http->content_type);
            buf_add_str(out, STR("\r\n"));
        }
        buf_add_str(out, STR("Content-Length: "));
        buf_add_int64(out, (int64_t)http->out.len);
        buf_add_str(out, STR("\r\n"));
    }
    buf_add(out, http->headers.p, http->headers.len);
    buf_add_str(out, STR("X-Content-Type-Options: nosniff\r\n\r\n"));
}
