/*
 * config_table: every setting there is, once. For config alone.
 */
#ifndef LARDER_CONFIG_TABLE_H
#define LARDER_CONFIG_TABLE_H

#include <stdint.h>

#ifndef LARDER_RUNDIR
#define LARDER_RUNDIR "/run/larder"
#endif
#ifndef LARDER_STATEDIR
#define LARDER_STATEDIR "/var/lib/larder"
#endif
#ifndef LARDER_SQLDIR
#define LARDER_SQLDIR "/usr/share/larder/sql"
#endif

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* X(section, name, member, kind, default, least, most, description): bounds are of the number, or of the text's length.
 */
#define CONFIG_TABLE(X)                                                                                                \
    X(server, socket, socket, SOCKET, LARDER_RUNDIR "/larder.sock", 1, 255,                                            \
      "Where nginx finds larder: the path of a socket, or host:port for TCP.")                                         \
    X(server, user, user, TEXT, "", 0, 64, "User to change to when started as root; empty: stay root.")                \
    X(server, group, group, TEXT, "", 0, 64,                                                                           \
      "Group to change to when started as root, and of the socket; empty: the user's, and for the socket the web "     \
      "server's.")                                                                                                     \
    X(server, socket_mode, socket_mode, MODE, "0660", 3, 4, "Permissions of the socket, in octal.")                    \
    X(server, allow_users, allow_users, TEXT, "", 0, 4095,                                                             \
      "Names or uids that may connect, by blanks; empty: root, larder's own and the web servers' usual ones.")         \
    X(server, workers, workers, PROCESSES, "auto", 1, 256, "Worker processes; auto: one for each CPU, at least 2.")    \
    X(server, pool, pool, INTEGER, "4", 1, 256, "Threads of each worker for SQL and whatever else waits.")             \
    X(server, queue, queue, INTEGER, "256", 1, 65536,                                                                  \
      "Requests that may wait for the pool; more get a stale copy, else 503.")                                         \
    X(server, max_connections, max_connections, INTEGER, "1024", 1, 65536, "Connections from nginx to each worker.")   \
    X(server, max_requests, max_requests, INTEGER, "0", 0, 1000000000,                                                 \
      "Requests after which a worker is replaced by a fresh one; 0: never.")                                           \
    X(server, request_timeout, request_timeout_ms, DURATION, "30s", SECOND, HOUR,                                      \
      "A worker that is stuck in one request for longer is killed and replaced; a body may take as long to arrive.")   \
    X(server, head_timeout, head_timeout_ms, DURATION, "10s", 100, 10 * MINUTE,                                        \
      "How long the head of a request may take to arrive.")                                                            \
    X(server, drain_timeout, drain_timeout_ms, DURATION, "10s", 0, HOUR,                                               \
      "How long requests may take to finish when larder stops or reloads.")                                            \
    X(server, max_body, max_body, SIZE, "1M", KIB, 256 * MIB, "Largest body of a request; larger ones get 413.")       \
    X(server, mount, mount, MOUNT, "", 0, 4095, "Path under which larder is served, for example /data; empty: /.")     \
    X(store, database, database, TEXT, LARDER_STATEDIR "/larder.db", 1, 4095, "Path of the SQLite database.")          \
    X(store, sql, sql, TEXT, LARDER_SQLDIR, 1, 4095, "Directory with resources/, migrations/ and import/.")            \
    X(store, busy_timeout, busy_timeout_ms, DURATION, "1s", 0, MINUTE,                                                 \
      "How long to wait for a database that another program has locked.")                                              \
    X(store, write_timeout, write_timeout_ms, DURATION, "5s", 10, 10 * MINUTE,                                         \
      "How long a write may take, waiting included.")                                                                  \
    X(store, write_queue, write_queue, INTEGER, "1024", 1, 1048576, "Writes that may wait for the writer.")            \
    X(store, wal_limit, wal_limit, SIZE, "64M", MIB, 1024 * GIB,                                                       \
      "Size of the write-ahead log from which it is moved into the database and cut.")                                 \
    X(store, journal_limit, journal_limit, SIZE, "256M", 64 * KIB, 1024 * GIB,                                         \
      "Bytes of writes behind that may wait to be applied; more are refused until some have been.")                    \
    X(redis, url, url, URL, "memory:", 1, 1024,                                                                        \
      "The shared cache: redis://HOST:PORT, unix:///PATH, or memory: for this host's memory without a server.")        \
    X(redis, user, user, TEXT, "", 0, 128, "User for AUTH; empty: Redis's default user.")                              \
    X(redis, password, password, PASSWORD, "", 0, 1024, "Password for AUTH.")                                          \
    X(redis, prefix, prefix, PREFIX, "larder:", 0, 64, "What every key in Redis begins with.")                         \
    X(redis, database, database, INTEGER, "0", 0, 65535, "Number of the Redis database.")                              \
    X(redis, cache_version, cache_version, INTEGER, "1", 0, 2147483647,                                                \
      "Raise it to make everything that is cached invalid at once.")                                                   \
    X(redis, connect_timeout, connect_timeout_ms, DURATION, "250ms", 1, MINUTE, "How long connecting may take.")       \
    X(redis, timeout, timeout_ms, DURATION, "250ms", 1, MINUTE, "How long an answer of Redis may take.")               \
    X(redis, max_entry, max_entry, SIZE, "4M", KIB, 256 * MIB, "Larger responses are not cached.")                     \
    X(memory, size, size, SIZE, "64M", MIB, 1024 * GIB, "Memory for the cache when the url is memory:.")               \
    X(cache, hosts, hosts, HOSTS, "several", 0, 0,                                                                     \
      "Whether other hosts use the same Redis: several, or one, which stays fast while Redis is away.")                \
    X(cache, lease_wait, lease_wait_ms, DURATION, "3s", 0, MINUTE,                                                     \
      "How long a request waits for another one that computes the same answer.")                                       \
    X(cache, refresh_share, refresh_share, INTEGER, "50", 1, 100,                                                      \
      "Percent of the pool that may be refreshing stale entries in the background.")                                   \
    X(cache, job_rate, job_rate, INTEGER, "0", 0, 1000000000,                                                          \
      "Keys a second that are looked at to clean up after a purge by pattern; 0: as many as it goes.")                 \
    X(l1, size, size, SIZE, "64M", 0, 1024 * GIB,                                                                      \
      "Memory that the workers of this host share as a cache of their own; 0: none.")                                  \
    X(breaker, failures, failures, INTEGER, "5", 1, 1000, "Failures in a row after which Redis is left alone.")        \
    X(breaker, successes, successes, INTEGER, "2", 1, 1000, "Successes in a row after which it is trusted again.")     \
    X(breaker, open, open_ms, DURATION, "10s", 100, HOUR, "How long Redis is left alone before it is tried again.")    \
    X(auth, admin_token, admin_token, TOKEN, "", 16, 256,                                                              \
      "Token of the admin routes, at least 16 characters; empty: they answer 403.")                                    \
    X(nginx, cache_path, cache_path, TEXT, "", 0, 4095,                                                                \
      "Directory that fastcgi_cache_path names for larder's answers, so that purges reach it; empty: none.")           \
    X(log, level, level, LEVEL, "notice", 0, 0, "What is logged: error, warning, notice, info or debug.")              \
    X(log, format, format, FORMAT, "text", 0, 0, "Form of the log: text (key=value) or json.")           \
    X(log, target, target, TARGET, "stderr", 0, 0, "Where the log goes: stderr, journal or syslog.")                   \
    X(log, socket, socket, TEXT, "", 0, 107,                                                                           \
      "Socket of the journal or of syslog; empty: the usual one.")                                                     \
    X(log, slow, slow_ms, DURATION, "500ms", 0, HOUR,                                                                  \
      "Requests that take as long are told of, with where the time went; 0: none.")                                    \
    X(log, rate, rate, INTEGER, "10", 0, 1000000,                                                                      \
      "Lines of one event in a second; more are left out and counted. 0: all are written.")

#endif
