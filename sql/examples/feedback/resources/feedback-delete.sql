-- name:      feedback-delete
-- doc:       Takes back what a reader has said about an insight.
-- route:     DELETE /api/feedback/{id}/{reader}
-- param:     id text lower ~ ^[a-z0-9][a-z0-9-]{0,63}$
-- param:     reader text 1..64 ~ ^[A-Za-z0-9._@-]+$
-- example:   id=rates-2026&reader=ada
-- purge:     key:feedback:stats:{id} tag:feedback:comments:{id}

DELETE FROM feedback WHERE insight = :id AND reader = :reader;
