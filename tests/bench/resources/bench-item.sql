-- name:   bench-item
-- doc:    A small object for each number, all under one tag.
-- route:  GET /api/bench/items/{n}
-- param:  n integer 0..100000000
-- key:    bench:item:{n}
-- shape:  object
-- ttl:    1d
-- tags:   bench:items
SELECT :n AS n, 'An item of the benchmark, as short as such answers often are.' AS description;
