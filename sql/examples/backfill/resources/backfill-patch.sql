-- name:      backfill-patch
-- doc:       How far a job has come. Who reports progress without a state means that the job is running.
-- route:     PATCH /api/backfill/jobs/{id}
-- param:     id text lower ~ ^[a-z0-9][a-z0-9-]{0,63}$
-- param:     done integer 0..1000000000000 ?
-- param:     total integer 1..1000000000000 ?
-- param:     state text in running,done,failed,cancelled = running
-- param:     error text 1..1000 ?
-- example:   id=prices-2026&done=250&total=1000
-- purge:     key:backfill:job:{id} tag:backfill:jobs

UPDATE backfill_jobs SET
    state = :state,
    done = coalesce(:done, done),
    total = coalesce(:total, total),
    error = :error,
    started_at = coalesce(started_at, :larder_now),
    updated_at = :larder_now,
    finished_at = CASE WHEN :state <> 'running' THEN :larder_now END
WHERE id = :id;

-- The last statement that gives rows makes the answer. For a job that does not exist there are none: 404.
SELECT * FROM backfill_progress WHERE id = :id;
