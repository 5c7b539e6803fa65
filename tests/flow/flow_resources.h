/* flow_resources: what the flow tests read and write, besides the shipped resources. */
#ifndef LARDER_FLOW_RESOURCES_H
#define LARDER_FLOW_RESOURCES_H

static const struct {
    const char *name, *text;
} resources[] = {
    {"note",
     "-- name: note\n-- route: GET /api/notes/{id}\n-- param: id integer 1..\n-- key: notes:one:{id}\n-- ttl: 1m\n"
     "-- stale: 10m\n-- stale_if_error: 1h\n-- negative: 30s\n-- tags: notes note:{id}\n"
     "-- warm: SELECT id FROM notes ORDER BY id\n"
     "SELECT id, title, stars, weight, done AS \"done:bool\" FROM notes WHERE id = :id;\n"},
    {"notes",
     "-- name: notes\n-- route: GET /api/notes\n-- param: stars integer ?\n-- key: notes:list:{*}\n-- ttl: 1m\n"
     "-- stale: 10m\n-- tags: notes\n-- shape: list\n"
     "SELECT id, title FROM notes WHERE :stars IS NULL OR stars = :stars ORDER BY id;\n"},
    {"note-post",
     "-- name: note-post\n-- route: POST /api/notes\n-- auth: none\n-- param: title text 1..20\n"
     "-- param: stars integer 0..9 = 0\n-- param: weight number ?\n-- param: done boolean ?\n"
     "-- purge: tag:notes\nINSERT INTO notes (title, stars, weight, done) VALUES (:title, :stars, :weight, "
     ":done) RETURNING id, title, stars, weight, done AS \"done:bool\";\n"},
    {"note-patch", "-- name: note-patch\n-- route: PATCH /api/notes/{id}\n-- auth: none\n-- param: id integer 1..\n"
                   "-- param: stars integer 0..9\n-- purge: tag:note:{id} key:notes:one:{id} pattern:notes:list:*\n"
                   "UPDATE notes SET stars = :stars WHERE id = :id;\n"},
    {"note-delete", "-- name: note-delete\n-- route: DELETE /api/notes/{id}\n-- param: id integer 1..\n"
                    "-- purge: tag:notes\nDELETE FROM notes WHERE id = :id RETURNING id;\n"},
    {"note-put", "-- name: note-put\n-- route: PUT /api/notes/{id}\n-- auth: none\n-- write: behind\n"
                 "-- param: id integer 1..\n-- param: title text 1..20\n-- param: stars integer = 0\n"
                 "-- purge: tag:note:{id}\nINSERT INTO notes (id, title, stars) VALUES (:id, :title, :stars) "
                 "ON CONFLICT (id) DO UPDATE SET title = excluded.title, stars = excluded.stars;\n"},
    {"long",
     "-- name: long\n-- route: POST /api/long\n-- auth: none\n-- timeout: 50ms\n"
     "INSERT INTO notes (title) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) "
     "SELECT count(*) FROM n;\n"},
    {"live", "-- name: live\n-- route: GET /api/live/{id}\n-- param: id integer 1..\n-- key: live:{id}\n-- ttl: 0s\n"
             "SELECT title FROM notes WHERE id = :id;\n"},
    {"unread", "-- name: unread\n-- route: PUT /api/unread\n-- auth: none\nUPDATE notes SET stars = 5;\n"},
    {"me", "-- name: me\n-- route: GET /api/me\n-- key: me\n-- ttl: 1m\n-- shape: object\n"
           "SELECT :larder_address AS address;\n"},
    {"now", "-- name: now\n-- route: GET /api/now\n-- shape: object\nSELECT :larder_now AS now;\n"},
    {"count", "-- name: count\n-- route: GET /api/count\n-- key: count\n-- ttl: 1m\n-- max_age: 30s\n-- shape: value\n"
              "-- tags: notes\nSELECT count(*) FROM notes;\n"},
    {"slow", "-- name: slow\n-- route: GET /api/slow\n-- key: slow\n-- ttl: 1m\n-- shape: value\n-- timeout: 50ms\n"
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n;\n"},
    {"secret",
     "-- name: secret\n-- route: GET /api/secret\n-- auth: key\n-- key: secret\n-- ttl: 1m\n-- shape: object\n"
     "SELECT 42 AS answer;\n"},
};

#endif
