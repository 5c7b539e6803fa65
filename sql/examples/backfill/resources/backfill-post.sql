-- name:      backfill-post
-- doc:       A new job, queued. Its name is the caller's choice, so a request that is repeated cannot make a second job.
-- route:     POST /api/backfill/jobs
-- param:     id text lower ~ ^[a-z0-9][a-z0-9-]{0,63}$
-- param:     source text 1..200
-- param:     total integer 1..1000000000000 ?
-- example:   id=prices-2026&source=archive
-- purge:     key:backfill:job:{id} tag:backfill:jobs

INSERT INTO backfill_jobs (id, source, total, created_at, updated_at)
VALUES (:id, :source, :total, :larder_now, :larder_now);

SELECT * FROM backfill_progress WHERE id = :id;
