-- name:      backfill-jobs
-- doc:       The jobs in a state, the latest first.
-- route:     GET /api/backfill/jobs
-- param:     state text in queued,running,done,failed,cancelled = running
-- param:     limit integer 1..100 = 20
-- example:   state=running&limit=5
-- key:       backfill:jobs:{state}:{limit}
-- shape:     list
-- ttl:       5m
-- stale:     1h
-- tags:      backfill:jobs

-- The index gives the page in order; only the page is looked at further.
SELECT progress.*, (SELECT count(*) FROM backfill_jobs WHERE state = :state) AS ":total"
FROM (SELECT id, created_at FROM backfill_jobs WHERE state = :state ORDER BY created_at DESC, id LIMIT :limit) AS page
     JOIN backfill_progress AS progress USING (id)
ORDER BY page.created_at DESC, id;
