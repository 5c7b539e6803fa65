/*
 * l2_url: parses the URL that names L2.
 *
 * Invariant: what was parsed and printed again names the same server, without its secrets.
 *
 * It refuses whatever could be read in two ways: an empty host, a port or database that is no plain number, a socket
 * path that is relative or longer than the system takes (which would be cut in silence when connecting), and characters
 * that only look harmless. It resolves no names and opens nothing. Messages name the part that is wrong, never the text
 * of credentials.
 */
#include "l2/l2_url.h"

#include <stdlib.h>
#include <sys/un.h>

#include "base/sys.h"

enum { PORT_DEFAULT = 6379, DATABASE_MAX = 65535 };

static enum err refuse(struct buf *why, const char *sentence)
{
    buf_printf(why, "%s", sentence);
    return ERR_SYNTAX;
}

/* Decodes TEXT into a new string at *OUT. */
static enum err decode(struct str text, char **out)
{
    struct buf decoded = {0};
    enum err err = str_percent_decode(text, false, &decoded);

    if (err == ERR_OK)
        *out = sys_copy(buf_str(&decoded));
    buf_free(&decoded);
    return err;
}

static enum err parse_database(struct str text, struct l2_url *url, struct buf *why)
{
    int64_t database;

    if (str_to_int64(text, &database) != ERR_OK || database < 0 || database > DATABASE_MAX)
        return refuse(why, "the database must be a number from 0 to 65535");
    url->database = database;
    return ERR_OK;
}

/* Cuts `user[:password]@` off the front of *AUTHORITY. The last `@` ends it: a raw one in a password is then still read
 * as meant. */
static enum err parse_credentials(struct str *authority, struct l2_url *url, struct buf *why)
{
    size_t end = authority->len;

    while (end > 0 && authority->p[end - 1] != '@')
        end--;
    if (end == 0)
        return ERR_OK;

    struct str password = {authority->p, end - 1};
    struct str user = str_cut(&password, ':');

    *authority = (struct str){authority->p + end, authority->len - end};
    if (user.len > 0 && decode(user, &url->user) != ERR_OK)
        return refuse(why, "the user is not valid percent-encoded text");
    if (password.p && decode(password, &url->password) != ERR_OK)
        return refuse(why, "the password is not valid percent-encoded text");
    return ERR_OK;
}

static bool is_host(struct str host, bool bracketed)
{
    const char *others = bracketed ? ":.%" : ".-_";

    if (host.len == 0 || host.len > 253 || (bracketed && !memchr(host.p, ':', host.len)))
        return false;
    for (size_t i = 0; i < host.len; i++) {
        char c = host.p[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

        if (!plain && (c == '\0' || !strchr(others, c)))
            return false;
    }
    return true;
}

static enum err parse_host(struct str authority, struct l2_url *url, struct buf *why)
{
    bool bracketed = authority.len > 0 && authority.p[0] == '[';
    struct str rest = authority, host;
    int64_t port = PORT_DEFAULT;

    if (bracketed) {
        rest = (struct str){rest.p + 1, rest.len - 1};
        host = str_cut(&rest, ']');
        if (!rest.p || (rest.len > 0 && rest.p[0] != ':'))
            return refuse(why, "an IPv6 address stands in brackets, as in redis://[::1]:6379");
        rest = rest.len > 0 ? (struct str){rest.p + 1, rest.len - 1} : (struct str){NULL, 0};
    } else {
        host = str_cut(&rest, ':');
    }
    if (!is_host(host, bracketed))
        return refuse(why, "the host must be a name or an address, as in redis://127.0.0.1:6379");
    if (rest.p && (str_to_int64(rest, &port) != ERR_OK || port < 1 || port > 65535))
        return refuse(why, "the port must be a number from 1 to 65535");
    url->host = sys_copy(host);
    url->port = (int)port;
    return ERR_OK;
}

static enum err parse_tcp(struct str rest, struct l2_url *url, struct buf *why)
{
    struct str authority = str_cut(&rest, '/');
    enum err err = parse_credentials(&authority, url, why);

    url->kind = L2_URL_TCP;
    if (err == ERR_OK)
        err = parse_host(authority, url, why);
    if (err == ERR_OK && rest.len > 0)
        err = parse_database(rest, url, why);
    return err;
}

static enum err parse_unix(struct str rest, struct l2_url *url, struct buf *why)
{
    enum err err = ERR_OK;

    url->kind = L2_URL_UNIX;
    if (str_starts(rest, STR("//"))) {
        rest = (struct str){rest.p + 2, rest.len - 2};
        const char *slash = rest.len > 0 ? memchr(rest.p, '/', rest.len) : NULL;
        struct str authority = {rest.p, slash ? (size_t)(slash - rest.p) : rest.len};

        rest = (struct str){rest.p + authority.len, rest.len - authority.len};
        err = parse_credentials(&authority, url, why);
        if (err == ERR_OK && authority.len > 0)
            err = refuse(why, "the path of the socket must be absolute, as in unix:///run/redis/redis.sock");
    }
    struct str path = str_cut(&rest, '?');

    if (err == ERR_OK && (path.len < 2 || path.p[0] != '/' || decode(path, &url->path) != ERR_OK))
        err = refuse(why, "the path of the socket must be absolute, as in unix:///run/redis/redis.sock");
    if (err == ERR_OK && strlen(url->path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        err = refuse(why, "the path of the socket is too long: the system takes 107 bytes");
    if (err == ERR_OK && rest.p && !str_starts(rest, STR("db=")))
        err = refuse(why, "only ?db=NUMBER may follow the path of the socket");
    if (err == ERR_OK && rest.p)
        err = parse_database((struct str){rest.p + 3, rest.len - 3}, url, why);
    return err;
}

enum err l2_url_parse(struct str text, struct l2_url *out, struct buf *why)
{
    struct l2_url url = {.kind = L2_URL_MEMORY, .database = -1};
    enum err err = ERR_OK;

    if (str_starts(text, STR("redis://")))
        err = parse_tcp((struct str){text.p + 8, text.len - 8}, &url, why);
    else if (str_starts(text, STR("unix:")))
        err = parse_unix((struct str){text.p + 5, text.len - 5}, &url, why);
    else if (text.len > 0 && !str_equal(text, STR("memory:")))
        err = refuse(why, "the URL of the shared cache must be redis://HOST:PORT/DATABASE, unix:///PATH or memory:");
    if (err) {
        l2_url_fini(&url);
        return err;
    }
    *out = url;
    return ERR_OK;
}

void l2_url_fini(struct l2_url *url)
{
    free(url->host);
    free(url->path);
    free(url->user);
    free(url->password);
    *url = (struct l2_url){.database = -1};
}

static void print_path(const char *path, struct buf *out)
{
    for (struct str rest = str_from(path + 1); rest.p;) {
        buf_add_char(out, '/');
        str_percent_encode(str_cut(&rest, '/'), out);
    }
}

void l2_url_print(const struct l2_url *url, int64_t database, struct buf *out)
{
    bool is_ipv6 = url->kind == L2_URL_TCP && strchr(url->host, ':');

    if (url->database >= 0)
        database = url->database;
    if (url->kind == L2_URL_MEMORY) {
        buf_add_str(out, STR("memory:"));
    } else if (url->kind == L2_URL_TCP) {
        buf_printf(out, is_ipv6 ? "redis://[%s]:%d/%lld" : "redis://%s:%d/%lld", url->host, url->port,
                   (long long)database);
    } else {
        buf_add_str(out, STR("unix://"));
        print_path(url->path, out);
        if (database > 0)
            buf_printf(out, "?db=%lld", (long long)database);
    }
}
