/*
 * One commit for each request: what writes would cost without a writer that gathers them.
 *
 *     commit_each SOCKET PROCESSES DATABASE alone|queue
 *
 * Plain FastCGI processes, each with its own connection to a SQLite database, kept ready as carefully as one would:
 * WAL, synchronous=FULL, statements prepared, PUT PATH/{id} as BEGIN IMMEDIATE, one statement, COMMIT. `alone` leaves
 * it to SQLite's busy handler to wait for one's turn, `queue` to a lock that all processes share, which is what serves
 * them best. A process stays with a kept connection, so there must be as many as the web server opens.
 *
 * It checks of a request only what it needs, asks nobody for a key, and has no cache to tell of what it has written.
 */
#include <err.h>
#include <fcgiapp.h>
#include <json-c/json.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BODY_MAX = 4096, BUSY_MS = 30000 };

struct worker {
    sqlite3 *db;
    sqlite3_stmt *begin, *write, *commit, *rollback;
    pthread_mutex_t *queue; /* NULL: SQLite's own waiting */
};

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement;

    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != SQLITE_OK)
        errx(1, "%s: %s", sql, sqlite3_errmsg(db));
    return statement;
}

static void control(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        errx(1, "%s: %s", sql, sqlite3_errmsg(db));
}

static sqlite3 *open_database(const char *path)
{
    sqlite3 *db;

    if (sqlite3_open(path, &db) != SQLITE_OK)
        errx(1, "%s: %s", path, sqlite3_errmsg(db));
    sqlite3_busy_timeout(db, BUSY_MS);
    control(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    return db;
}

/* Before the fork, so that nobody finds it half made. */
static void make_table(const char *path)
{
    sqlite3 *db = open_database(path);

    control(db, "CREATE TABLE IF NOT EXISTS bench_rows (id INTEGER PRIMARY KEY, value INTEGER NOT NULL, note TEXT NOT "
                "NULL) STRICT");
    sqlite3_close(db);
}

static void prepare_all(struct worker *worker)
{
    worker->begin = prepare(worker->db, "BEGIN IMMEDIATE");
    worker->commit = prepare(worker->db, "COMMIT");
    worker->rollback = prepare(worker->db, "ROLLBACK");
    worker->write =
        prepare(worker->db, "INSERT INTO bench_rows (id, value, note) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE "
                            "SET value = excluded.value, note = excluded.note RETURNING id, value, note");
}

static int run(sqlite3_stmt *statement)
{
    int code;

    while ((code = sqlite3_step(statement)) == SQLITE_ROW)
        ;
    sqlite3_reset(statement);
    return code;
}

/* The row as it was written; NULL when it was not. */
static json_object *write_row(struct worker *worker, int64_t id, int64_t value, const char *note)
{
    json_object *row = NULL;

    if (run(worker->begin) != SQLITE_DONE)
        return NULL;
    sqlite3_bind_int64(worker->write, 1, id);
    sqlite3_bind_int64(worker->write, 2, value);
    sqlite3_bind_text(worker->write, 3, note, -1, SQLITE_STATIC);
    if (sqlite3_step(worker->write) == SQLITE_ROW) {
        row = json_object_new_object();
        json_object_object_add(row, "id", json_object_new_int64(sqlite3_column_int64(worker->write, 0)));
        json_object_object_add(row, "value", json_object_new_int64(sqlite3_column_int64(worker->write, 1)));
        json_object_object_add(row, "note",
                               json_object_new_string((const char *)sqlite3_column_text(worker->write, 2)));
    }
    sqlite3_reset(worker->write);
    if (row && run(worker->commit) == SQLITE_DONE)
        return row;
    run(worker->rollback);
    json_object_put(row);
    return NULL;
}

static void answer(FCGX_Request *request, const char *status, const char *body)
{
    FCGX_FPrintF(request->out, "Status: %s\r\nContent-Type: application/json\r\nContent-Length: %u\r\n\r\n", status,
                 (unsigned)strlen(body));
    FCGX_PutS(body, request->out);
}

static void handle(struct worker *worker, FCGX_Request *request)
{
    const char *uri = FCGX_GetParam("REQUEST_URI", request->envp), *slash = uri ? strrchr(uri, '/') : NULL;
    char body[BODY_MAX];
    int len = FCGX_GetStr(body, sizeof body - 1, request->in);
    json_object *members, *value, *note, *row = NULL;

    body[len > 0 ? len : 0] = '\0';
    members = json_tokener_parse(body);
    if (slash && json_object_object_get_ex(members, "value", &value) &&
        json_object_object_get_ex(members, "note", &note)) {
        if (worker->queue)
            pthread_mutex_lock(worker->queue);
        row = write_row(worker, atoll(slash + 1), json_object_get_int64(value), json_object_get_string(note));
        if (worker->queue)
            pthread_mutex_unlock(worker->queue);
    }
    if (row)
        answer(request, "200 OK", json_object_to_json_string_ext(row, JSON_C_TO_STRING_PLAIN));
    else
        answer(request, "503 Service Unavailable", "{}");
    json_object_put(row);
    json_object_put(members);
}

static _Noreturn void serve(int listener, const char *database, pthread_mutex_t *queue)
{
    struct worker worker = {.db = open_database(database), .queue = queue};
    FCGX_Request request;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prepare_all(&worker);
    FCGX_InitRequest(&request, listener, 0);
    while (FCGX_Accept_r(&request) == 0)
        handle(&worker, &request);
    exit(1);
}

static pthread_mutex_t *make_queue(void)
{
    pthread_mutex_t *queue = mmap(NULL, sizeof *queue, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t attributes;

    if (queue == MAP_FAILED)
        err(1, "mmap");
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(queue, &attributes);
    return queue;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        errx(2, "usage: commit_each SOCKET PROCESSES DATABASE alone|queue");
    pthread_mutex_t *queue = strcmp(argv[4], "queue") == 0 ? make_queue() : NULL;
    make_table(argv[3]);
    FCGX_Init();
    int listener = FCGX_OpenSocket(argv[1], 1024);
    if (listener < 0)
        errx(1, "cannot listen on %s", argv[1]);
    for (int i = 0; i < atoi(argv[2]); i++)
        if (fork() == 0)
            serve(listener, argv[3], queue);
    while (wait(NULL) > 0)
        ;
    return 1;
}
