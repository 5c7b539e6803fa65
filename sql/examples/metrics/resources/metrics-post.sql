-- name:      metrics-post
-- doc:       A point: what a service measured, now or at a given second.
-- route:     POST /api/metrics/{service}/{type}
-- param:     service text lower ~ ^[a-z0-9][a-z0-9.-]{0,63}$
-- param:     type text lower ~ ^[a-z][a-z0-9_]{0,31}$
-- param:     value number -1000000000000000..1000000000000000
-- param:     at integer 946684800..4102444799 ?
-- example:   service=web&type=latency_ms&value=12.5
-- write:     behind
-- purge:     key:metrics:{service}:{type}:recent tag:metrics:{service}:{type}

-- Whatever the database could refuse is refused by a parameter above: who writes behind has left when it is asked.
INSERT INTO metric_points (service, type, at, value) VALUES (:service, :type, coalesce(:at, :larder_now), :value);

-- Each point removes those of its series that are older than a week, and so seldom more than one.
DELETE FROM metric_points WHERE service = :service AND type = :type AND at < :larder_now - 7 * 86400;
