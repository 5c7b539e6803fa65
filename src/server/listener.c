/*
 * Sockets are made by the supervisor before it forks, and closed by nobody but it: a worker that dies leaves the backlog to the others.
 *
 * A path is bound with a umask that gives nobody anything, and opened up by chmod only when owner and group are right. A user or
 * group that does not exist is an error at start, not a door left open.
 */
#include "server/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/sys.h"

#define BACKLOG 4096
#define PEERS_MAX 64

/* The users that web servers run as, on one system or another. */
static const char *const web_servers[] = {"www-data", "nginx", "http", "apache", "lighttpd"};

struct listener_peers {
    bool local;
    size_t count;
    uid_t uids[PEERS_MAX];
};

static bool set_flags(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

bool listener_is(int fd)
{
    int listening = 0, type = 0;
    socklen_t len = sizeof listening, type_len = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 && type == SOCK_STREAM;
}

bool listener_inherit(int fd)
{
    return listener_is(fd) && set_flags(fd);
}

/* Removes a socket file that nobody listens on. */
static enum err clear_path(const struct sockaddr_un *address, struct buf *why)
{
    struct stat status;
    if (lstat(address->sun_path, &status) != 0)
        return ERR_OK;
    if (!S_ISSOCK(status.st_mode)) {
        buf_printf(why, "%s exists and is no socket; remove it, or choose another `socket` in [server]", address->sun_path);
        return ERR_EXISTS;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool answered = fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 || errno == EAGAIN);
    if (fd >= 0)
        close(fd);
    if (answered) {
        buf_printf(why, "another server listens on %s; stop it first", address->sun_path);
        return ERR_EXISTS;
    }
    unlink(address->sun_path);
    return ERR_OK;
}

/* Lets the web server in, which is not there on every machine, where nobody has said which group may. */
static void invite_web_server(const char *path)
{
    const struct passwd *user = NULL;
    for (size_t i = 0; i < sizeof web_servers / sizeof *web_servers && !user; i++)
        user = getpwnam(web_servers[i]);
    if (user && chown(path, (uid_t)-1, user->pw_gid) != 0)
        errno = 0; /* a container without that group: as if nobody had tried */
}

/* Gives the socket file its owner, group and mode. */
static bool open_up(const struct config *config, const char *path, struct buf *why)
{
    mode_t mode = (mode_t)strtoul(config->server.socket_mode, NULL, 8);
    uid_t uid = (uid_t)-1;
    gid_t gid = (gid_t)-1;
    const struct passwd *user = *config->server.user ? getpwnam(config->server.user) : NULL;
    const struct group *group = *config->server.group ? getgrnam(config->server.group) : NULL;
    if (*config->server.group && !group) {
        buf_printf(why, "there is no group '%s'; see `group` in [server]", config->server.group);
        return false;
    }
    if (user && geteuid() == 0)
        uid = user->pw_uid;
    if (group)
        gid = group->gr_gid;
    else if (geteuid() == 0)
        invite_web_server(path);
    if ((uid != (uid_t)-1 || gid != (gid_t)-1) && chown(path, uid, gid) != 0) {
        buf_printf(why, "%s cannot be given to user '%s' and group '%s': %s", path, config->server.user, config->server.group,
                   strerror(errno));
        return false;
    }
    if (chmod(path, mode) != 0) {
        buf_printf(why, "%s cannot be given mode %s: %s", path, config->server.socket_mode, strerror(errno));
        return false;
    }
    return true;
}

static enum err open_path(const struct config *config, int *out, struct buf *why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = config->server.socket;
    if (strlen(path) >= sizeof address.sun_path) {
        buf_printf(why, "%s is longer than the %zu bytes that a socket's path may have", path, sizeof address.sun_path - 1);
        return ERR_LIMIT;
    }
    memcpy(address.sun_path, path, strlen(path));
    enum err err = clear_path(&address, why);
    if (err != ERR_OK)
        return err;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t before = umask(0777);
    bool bound = fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    err = bound ? ERR_OK : err_from_errno(errno);
    if (!bound)
        buf_printf(why, "cannot listen on %s: %s", path, strerror(errno));
    umask(before);
    if (bound && !open_up(config, path, why))
        err = ERR_DENIED;
    if (err == ERR_OK && listen(fd, BACKLOG) != 0) {
        err = err_from_errno(errno);
        buf_printf(why, "cannot listen on %s: %s", path, strerror(errno));
    }
    if (err == ERR_OK)
        *out = fd;
    else if (fd >= 0)
        close(fd);
    return err;
}

/* host:port, [v6]:port or :port. */
static enum err open_tcp(const char *where, int *out, struct buf *why)
{
    char *host = sys_copy(str_from(where)), *port = strrchr(host, ':');
    *port++ = '\0';
    char *name = host;
    if (name[0] == '[' && name[strlen(name) - 1] == ']') {
        name[strlen(name) - 1] = '\0';
        name++;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    int failed = getaddrinfo(*name ? name : "127.0.0.1", port, &hints, &found), fd = -1;
    if (failed == 0) {
        fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd >= 0)
            (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
        failed = fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0;
        if (failed)
            buf_printf(why, "cannot listen on %s: %s", where, strerror(errno));
        freeaddrinfo(found);
    } else {
        buf_printf(why, "cannot listen on %s: %s", where, gai_strerror(failed));
    }
    free(host);
    if (!failed)
        *out = fd;
    else if (fd >= 0)
        close(fd);
    return failed ? ERR_UNAVAILABLE : ERR_OK;
}

bool listener_is_path(const char *where)
{
    return strchr(where, '/') != NULL || strchr(where, ':') == NULL;
}

enum err listener_open(const struct config *config, int *out, struct buf *why)
{
    return listener_is_path(config->server.socket) ? open_path(config, out, why) : open_tcp(config->server.socket, out, why);
}

void listener_unlink(const char *where)
{
    if (listener_is_path(where))
        unlink(where);
}

static void add_peer(struct listener_peers *peers, uid_t uid)
{
    if (peers->count < PEERS_MAX)
        peers->uids[peers->count++] = uid;
}

/* Adds the user NAME names, by name or number; false when there is none. */
static bool add_user(struct listener_peers *peers, struct str name)
{
    int64_t number;
    if (str_to_int64(name, &number) == ERR_OK && number >= 0) {
        add_peer(peers, (uid_t)number);
        return true;
    }
    char *text = sys_copy(name);
    const struct passwd *user = getpwnam(text);
    free(text);
    if (user)
        add_peer(peers, user->pw_uid);
    return user != NULL;
}

enum err listener_peers_new(const struct config *config, int listener, struct listener_peers **out)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    struct listener_peers *peers = sys_calloc(1, sizeof *peers);
    peers->local = getsockname(listener, (struct sockaddr *)&address, &len) == 0 && address.ss_family == AF_UNIX;
    add_peer(peers, 0);
    add_peer(peers, geteuid());
    struct str rest = str_from(config->server.allow_users), word;
    enum err err = ERR_OK;
    while ((word = str_word(&rest)).len > 0)
        if (!add_user(peers, word)) {
            log_event(LOG_LEVEL_ERROR, "unknown_user", LOG_TEXT("setting", "allow_users"), LOG_STR("user", word));
            err = ERR_NOT_FOUND;
        }
    if (*config->server.allow_users == '\0')
        for (size_t i = 0; i < sizeof web_servers / sizeof *web_servers; i++)
            (void)add_user(peers, str_from(web_servers[i]));
    if (err == ERR_OK)
        *out = peers;
    else
        free(peers);
    return err;
}

/* A complaint about NAME, which SETTING has at PLACE and must be a KIND. */
static void refuse_name(struct config_place place, const char *setting, const char *kind, struct str name,
                        struct report *report)
{
    report_add(report, place.file, place.line, 0, "`%s` in [server]: there is no %s `%.*s` on this system", setting, kind,
               STR_ARG(name));
}

void listener_check(const struct config *config, struct report *report)
{
    struct listener_peers peers = {0};
    struct str rest = str_from(config->server.allow_users), word;
    const char *user = config->server.user, *group = config->server.group;

    while ((word = str_word(&rest)).len > 0)
        if (!add_user(&peers, word))
            refuse_name(config_place(config, &config->server.allow_users), "allow_users", "user", word, report);
    /* Nobody but root can change to it. */
    if (*user != '\0' && geteuid() == 0 && !getpwnam(user))
        refuse_name(config_place(config, &config->server.user), "user", "user", str_from(user), report);
    if (*group != '\0' && !getgrnam(group))
        refuse_name(config_place(config, &config->server.group), "group", "group", str_from(group), report);
}

void listener_peers_free(struct listener_peers **peers)
{
    free(*peers);
    *peers = NULL;
}

bool listener_allows(const struct listener_peers *peers, int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (!peers->local)
        return true;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return false;
    for (size_t i = 0; i < peers->count; i++)
        if (peers->uids[i] == peer.uid)
            return true;
    log_event(LOG_LEVEL_WARNING, "peer_rejected", LOG_INT("uid", peer.uid), LOG_INT("pid", peer.pid),
              LOG_TEXT("hint", "name the user in allow_users of [server]"));
    return false;
}
