-- name:      backfill-job
-- doc:       How far a backfill job is: its state, how much of it is done, and when its end is to be expected.
-- route:     GET /api/backfill/jobs/{id}
-- param:     id text lower ~ ^[a-z0-9][a-z0-9-]{0,63}$
-- example:   id=prices-2026
-- key:       backfill:job:{id}
-- shape:     object
-- ttl:       5m
-- stale:     1h
-- negative:  10s

SELECT * FROM backfill_progress WHERE id = :id;
