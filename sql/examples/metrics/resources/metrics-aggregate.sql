-- name:      metrics-aggregate
-- doc:       What a service measured in each hour or day from the day `start` to the day `end`, both included, in UTC.
-- route:     GET /api/metrics/{service}/{type}/aggregate
-- param:     service text lower ~ ^[a-z0-9][a-z0-9.-]{0,63}$
-- param:     type text lower ~ ^[a-z][a-z0-9_]{0,31}$
-- param:     interval text in hour,day = hour
-- param:     start text ~ ^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$
-- param:     end text ~ ^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$
-- example:   service=web&type=latency_ms&interval=day&start=2026-01-01&end=2026-01-31
-- key:       metrics:{service}:{type}:agg:{interval}:{start}:{end}
-- shape:     list
-- ttl:       1h
-- stale:     1d
-- tags:      metrics:{service}:{type}

-- Whole days make the keys: a window that moved with the clock would have a new key with every second. `total` tells
-- who asks for more than fits that there is more.
WITH wanted AS NOT MATERIALIZED (
    SELECT * FROM metric_rollups
    WHERE service = :service AND type = :type AND interval = :interval
      AND start >= unixepoch(:start) AND start < unixepoch(:end, '+1 day')
)
SELECT strftime('%Y-%m-%dT%H:%M:%SZ', wanted.start, 'unixepoch') AS start, points,
       round(sum / points, 6) AS average, lowest, highest, sum,
       (SELECT count(*) FROM wanted) AS ":total"
FROM wanted
ORDER BY wanted.start
LIMIT 1000;
