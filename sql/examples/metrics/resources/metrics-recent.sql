-- name:      metrics-recent
-- doc:       What a service measured in the last hour, the latest first.
-- route:     GET /api/metrics/{service}/{type}/recent
-- param:     service text lower ~ ^[a-z0-9][a-z0-9.-]{0,63}$
-- param:     type text lower ~ ^[a-z][a-z0-9_]{0,31}$
-- example:   service=web&type=latency_ms
-- key:       metrics:{service}:{type}:recent
-- shape:     list
-- ttl:       5m
-- stale:     5m

SELECT at, value
FROM metric_points
WHERE service = :service AND type = :type AND at > :larder_now - 3600
ORDER BY at DESC, id DESC
LIMIT 3600;
