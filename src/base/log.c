/*
 * log: where lines go, and which of them.
 *
 * The journal and syslog are reached by their datagram sockets: a line is one datagram, sent without waiting and to the
 * path anew each time, so that a daemon may be restarted. What it does not take goes to stderr instead. Under systemd,
 * stderr is the journal too: then each line begins with its priority, which the journal takes off again (sd-daemon(3)).
 * A server does not wait for whoever reads its stderr either. The flags of a descriptor are everybody's who has it, so
 * a pipe is opened a second time; a descriptor that this cannot be done with is asked first whether it has room.
 *
 * The sink below is one of the three pieces of file-scope state in larder. It allocates nothing, takes no lock but that
 * of the recent problems, and never fails: a line that cannot be written is lost, and counted.
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log_limit.h"
#include "base/log_line.h"
#include "base/recent.h"
#include "base/sys.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define SYSLOG_SOCKET "/dev/log"
/* Of syslog: LOG_DAEMON. */
#define FACILITY (3 << 3)
#define PROBLEM_MAX 1024

static struct {
    _Atomic int fd, level, format, target;
    _Atomic uint32_t most;
    const char *_Atomic role;
    bool fd_is_journal, fd_is_socket;
    int pipe, pipe_of; /* what was opened for the pipe that the descriptor PIPE_OF is */
    int socket;
    struct sockaddr_un address;
    struct log_limit *limit;
    struct recent *problems;
} sink = {.fd = STDERR_FILENO,
          .level = LOG_LEVEL_NOTICE,
          .format = LOG_FORMAT_TEXT,
          .role = "larder",
          .pipe = -1,
          .socket = -1};

/* Whether FD is the stream that systemd has connected to the journal (systemd.exec(5)). */
static bool is_journal(int fd)
{
    const char *named = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat status;

    return named && sscanf(named, "%llu:%llu", &device, &inode) == 2 && fstat(fd, &status) == 0 &&
           status.st_dev == device && status.st_ino == inode;
}

/* FD, or where that is a pipe another descriptor of it, which does not block. */
static int hurried(int fd)
{
    struct stat status;
    char path[32];

    if (fd < 0 || fstat(fd, &status) != 0 || !S_ISFIFO(status.st_mode))
        return fd;
    if (sink.pipe >= 0 && sink.pipe_of == fd)
        return sink.pipe;
    if (sink.pipe >= 0)
        close(sink.pipe);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    sink.pipe = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    sink.pipe_of = fd;
    return sink.pipe >= 0 ? sink.pipe : fd;
}

void log_init(int fd, enum log_level level, enum log_format format)
{
    struct stat status;

    atomic_store(&sink.fd, sink.limit ? hurried(fd) : fd);
    atomic_store(&sink.level, (int)level);
    atomic_store(&sink.format, (int)format);
    sink.fd_is_journal = is_journal(fd);
    sink.fd_is_socket = fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

void log_send_to(enum log_target target, const char *path)
{
    const char *usual = target == LOG_TARGET_JOURNAL ? JOURNAL_SOCKET : SYSLOG_SOCKET;

    sink.address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(sink.address.sun_path, sizeof(sink.address.sun_path), "%s", *path ? path : usual);
    if (target != LOG_TARGET_STDERR && sink.socket < 0)
        sink.socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    atomic_store(&sink.target, (int)target);
}

void log_set_rate(uint32_t lines)
{
    atomic_store(&sink.most, lines);
}

enum err log_share(void)
{
    enum err err = log_limit_new(&sink.limit);

    atomic_store(&sink.fd, hurried(atomic_load(&sink.fd)));
    return err == ERR_OK ? recent_new(PROBLEM_MAX, &sink.problems) : err;
}

struct recent *log_problems(void)
{
    return sink.problems;
}

void log_role(const char *role)
{
    atomic_store(&sink.role, role);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&sink.level, memory_order_relaxed);
}

/* syslog(3)'s number. */
static int priority_of(enum log_level level)
{
    return (int)level + 3;
}

static bool send_parts(struct iovec *parts, size_t count)
{
    const struct msghdr message = {
        .msg_name = &sink.address, .msg_namelen = sizeof(sink.address), .msg_iov = parts, .msg_iovlen = count};
    ssize_t sent;

    do
        sent = sendmsg(sink.socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent >= 0;
}

static struct iovec part(const char *bytes, size_t len)
{
    return (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
}

/* systemd's native protocol: fields by lines; no value holds a newline, so none needs the form with a length. */
static bool send_to_journal(const struct log_line_head *head, const struct log_field *fields)
{
    struct log_line line, own;
    char opening[128];
    int len =
        snprintf(opening, sizeof(opening),
                 "PRIORITY=%d\nSYSLOG_IDENTIFIER=larder\nSYSLOG_PID=%d\nMESSAGE=", priority_of(head->level), head->pid);

    log_line_init(&line, (enum log_format)atomic_load(&sink.format), LOG_LINE_MAX);
    log_line_write(&line, head, true, fields);
    log_line_init(&own, LOG_FORMAT_TEXT, LOG_LINE_MAX);
    log_line_journal(&own, head, fields);
    struct iovec parts[] = {part(opening, (size_t)len), part(line.bytes, line.len), part("\n", 1),
                            part(own.bytes, own.len)};
    return send_parts(parts, sizeof(parts) / sizeof(*parts));
}

/* As syslog(3) writes to its socket: RFC 3164's head, with local time and without a host. */
static bool send_to_syslog(const struct log_line_head *head, const struct log_field *fields)
{
    time_t seconds = (time_t)(head->now_ms / 1000);
    struct log_line line;
    struct tm calendar;
    char date[32], opening[96];

    localtime_r(&seconds, &calendar);
    strftime(date, sizeof(date), "%b %e %H:%M:%S", &calendar);
    int len =
        snprintf(opening, sizeof(opening), "<%d>%s larder[%d]: ", FACILITY | priority_of(head->level), date, head->pid);
    log_line_init(&line, (enum log_format)atomic_load(&sink.format), LOG_LINE_MAX);
    log_line_write(&line, head, true, fields);
    struct iovec parts[] = {part(opening, (size_t)len), part(line.bytes, line.len)};
    return send_parts(parts, sizeof(parts) / sizeof(*parts));
}

/* A server does not wait for room, a command does. */
static bool write_parts(int fd, struct iovec *parts, size_t count)
{
    const struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    ssize_t written;

    if (sink.limit && !sink.fd_is_socket && poll(&room, 1, 0) == 0)
        return false;
    do
        written = sink.limit && sink.fd_is_socket ? sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
                                                  : writev(fd, parts, (int)count);
    while (written < 0 && errno == EINTR);
    return written >= 0;
}

static bool write_to_fd(const struct log_line_head *head, const struct log_field *fields)
{
    struct log_line line;
    char priority[8];
    int len = sink.fd_is_journal ? snprintf(priority, sizeof(priority), "<%d>", priority_of(head->level)) : 0;

    log_line_init(&line, (enum log_format)atomic_load(&sink.format), LOG_LINE_MAX);
    log_line_write(&line, head, sink.fd_is_journal, fields);
    line.bytes[line.len++] = '\n';
    struct iovec parts[] = {part(priority, (size_t)len), part(line.bytes, line.len)};
    return write_parts(atomic_load(&sink.fd), parts, sizeof(parts) / sizeof(*parts));
}

static bool emit(const struct log_line_head *head, const struct log_field *fields)
{
    enum log_target target = (enum log_target)atomic_load(&sink.target);
    bool sent = false;

    if (sink.socket >= 0 && target == LOG_TARGET_JOURNAL)
        sent = send_to_journal(head, fields);
    else if (sink.socket >= 0 && target == LOG_TARGET_SYSLOG)
        sent = send_to_syslog(head, fields);
    return sent || write_to_fd(head, fields);
}

/* Whether FIELD tells one problem from another; the rest tells one time that it happened from another. */
static bool is_telling(const struct log_field *field)
{
    static const char *const others[] = {"request_id", "traceparent", "path", "params"};

    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        if (strcmp(field->name, others[i]) == 0)
            return false;
    return field->type == LOG_FIELD_STR;
}

static void remember(const struct log_line_head *head, const struct log_field *fields)
{
    uint64_t same = sys_hash64(str_from(head->event), 0);
    struct log_line line;

    for (const struct log_field *field = fields; field->name; field++)
        if (is_telling(field))
            same = sys_hash64(field->text, same);
    log_line_init(&line, LOG_FORMAT_JSON, PROBLEM_MAX);
    log_line_members(&line, head, fields);
    (void)recent_add(sink.problems, same, head->now_ms, (struct str){line.bytes, line.len});
}

/* LIMITED: too many in a second are left out. False when the line is lost. */
static bool tell(enum log_level level, const char *event, const struct log_field *fields, bool limited)
{
    bool shown = log_enabled(level), kept = sink.problems && level <= LOG_LEVEL_WARNING;
    int saved = errno;

    if (!shown && !kept)
        return true;
    struct log_line_head head = {
        .level = level, .role = atomic_load(&sink.role), .event = event, .pid = (int)getpid(), .now_ms = sys_now_ms()};
    uint32_t most = atomic_load(&sink.most);
    if (kept)
        remember(&head, fields);
    if (shown && limited && most > 0 && sink.limit)
        shown = log_limit_admits(sink.limit, event, head.now_ms / 1000, most, &head.suppressed);
    bool lost = shown && !emit(&head, fields);
    if (lost && sink.limit)
        atomic_fetch_add(log_limit_lost(sink.limit), 1 + head.suppressed);
    errno = saved;
    return !lost;
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    /* Who asks for what debugging shows wants all of it. */
    (void)tell(level, event, fields, level < LOG_LEVEL_DEBUG);
}

void log_report(enum log_level level, const char *event, const struct report *report)
{
    for (size_t i = 0; i < report_count(report); i++)
        (void)tell(level, event,
                   (const struct log_field[]){LOG_TEXT("message", report_line(report, i)), {.name = NULL}}, false);
}

static void tell_lost(_Atomic uint32_t *lost)
{
    uint32_t count = atomic_load(lost);

    if (count > 0 && tell(LOG_LEVEL_WARNING, "lines_lost",
                          (const struct log_field[]){LOG_INT("count", count), {.name = NULL}}, false))
        atomic_fetch_sub(lost, count);
    else if (count > 0)
        atomic_fetch_sub(lost, 1);
}

void log_tell_suppressed(void)
{
    const char *event;
    unsigned at = 0;
    uint32_t count;

    if (!sink.limit)
        return;
    tell_lost(log_limit_lost(sink.limit));
    while ((event = log_limit_next(sink.limit, &at, sys_now_ms() / 1000, &count)))
        (void)tell(LOG_LEVEL_NOTICE, "lines_suppressed",
                   (const struct log_field[]){LOG_TEXT("of", event), LOG_INT("count", count), {.name = NULL}}, false);
}
