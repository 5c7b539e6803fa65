-- Jobs that fill in what is missing, and how far they are. A job is queued, then running, then done, failed or cancelled.
--
-- Constraints and triggers have the say here and not the statements, so that every way of writing has to heed them; what
-- they raise is what the caller is told. An end is computed as a point in time: it stays true while it lies in a cache,
-- where "in 90 seconds" would not.

CREATE TABLE backfill_jobs (
    id          TEXT PRIMARY KEY
                CONSTRAINT job_id CHECK (id GLOB '[a-z0-9]*' AND id NOT GLOB '*[^a-z0-9-]*' AND length(id) <= 64),
    source      TEXT NOT NULL CONSTRAINT source_is_named CHECK (length(source) BETWEEN 1 AND 200),
    state       TEXT NOT NULL DEFAULT 'queued'
                CONSTRAINT state_is_known CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    done        INTEGER NOT NULL DEFAULT 0 CONSTRAINT done_is_not_negative CHECK (done >= 0),
    total       INTEGER CONSTRAINT total_is_positive CHECK (total > 0), -- NULL while nobody knows
    error       TEXT CONSTRAINT error_is_short CHECK (length(error) BETWEEN 1 AND 1000),
    created_at  INTEGER NOT NULL, -- these are seconds since the epoch
    started_at  INTEGER,
    updated_at  INTEGER NOT NULL,
    finished_at INTEGER,
    CONSTRAINT done_is_at_most_total CHECK (done <= total),
    CONSTRAINT a_done_job_has_done_all CHECK (state <> 'done' OR total IS NULL OR done = total),
    CONSTRAINT a_failed_job_and_no_other_has_an_error CHECK ((state = 'failed') = (error IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX backfill_jobs_by_state ON backfill_jobs (state, created_at DESC);

-- One job at a time fills from a source.
CREATE UNIQUE INDEX backfill_jobs_at_work ON backfill_jobs (source) WHERE state IN ('queued', 'running');

CREATE TRIGGER backfill_jobs_end BEFORE UPDATE ON backfill_jobs
WHEN old.state NOT IN ('queued', 'running')
BEGIN
    SELECT raise(ABORT, 'this job has ended, and an ended job does not change');
END;

CREATE TRIGGER backfill_jobs_go_forward BEFORE UPDATE ON backfill_jobs
WHEN new.done < old.done OR (new.state = 'queued' AND old.state = 'running')
BEGIN
    SELECT raise(ABORT, 'this job is further already, and a job does not go back');
END;

CREATE VIEW backfill_progress AS
SELECT id, source, state, done, total, error,
       round(100.0 * done / total, 1) AS percent,
       round(per_second, 2) AS per_second,
       strftime('%Y-%m-%dT%H:%M:%SZ', created_at, 'unixepoch') AS created,
       strftime('%Y-%m-%dT%H:%M:%SZ', started_at, 'unixepoch') AS started,
       strftime('%Y-%m-%dT%H:%M:%SZ', updated_at, 'unixepoch') AS updated,
       strftime('%Y-%m-%dT%H:%M:%SZ', finished_at, 'unixepoch') AS finished,
       CASE state WHEN 'running'
           THEN strftime('%Y-%m-%dT%H:%M:%SZ', updated_at + (total - done) / per_second, 'unixepoch') END AS expected
FROM (SELECT *, nullif(1.0 * done / nullif(updated_at - started_at, 0), 0) AS per_second FROM backfill_jobs);
