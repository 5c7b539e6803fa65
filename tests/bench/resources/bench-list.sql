-- name:   bench-list
-- doc:    A list of 12 KB whose rows differ about as much as those of real lists do.
-- route:  GET /api/bench/list
-- key:    bench:list
-- shape:  list
-- ttl:    1d
WITH RECURSIVE counter (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM counter WHERE n < 66)
SELECT
    printf('S%04d', n * 7919 % 5000) AS symbol,
    printf('Sample Company %04d Holdings plc', n * 104729 % 5000) AS name,
    CASE n % 3 WHEN 0 THEN 'NASDAQ' WHEN 1 THEN 'NYSE' ELSE 'LSE' END AS exchange,
    CASE n * 31 % 4 WHEN 0 THEN 'Technology' WHEN 1 THEN 'Energy' WHEN 2 THEN 'Health Care' ELSE 'Utilities' END AS sector,
    (18984 + n * 15485863 % 50000) / 100.0 AS price,
    (n * 32452843 % 700 - 350) / 100.0 AS change_percent,
    n * 49979687 % 90000000 AS volume,
    2950123456789 - n * 500000003 AS market_cap
FROM counter;
