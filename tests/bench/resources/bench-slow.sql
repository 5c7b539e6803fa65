-- name:    bench-slow
-- doc:     Counts, for as long as the client likes; each run number has a key of its own.
-- route:   GET /api/bench/slow/{run}
-- param:   run text 1..20
-- param:   steps integer 1..100000000000
-- key:     bench:slow:{run}:{steps}
-- shape:   value
-- ttl:     1h
-- timeout: 1m
WITH RECURSIVE counter (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < :steps) SELECT max(n) AS n FROM counter;
