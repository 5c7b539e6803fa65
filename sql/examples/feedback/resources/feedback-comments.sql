-- name:      feedback-comments
-- doc:       What readers wrote about an insight, the latest first.
-- route:     GET /api/feedback/{id}/comments
-- param:     id text lower ~ ^[a-z0-9][a-z0-9-]{0,63}$
-- param:     limit integer 1..100 = 20
-- param:     offset integer 0..10000 = 0
-- example:   id=rates-2026&limit=5
-- key:       feedback:comments:{id}:{limit}:{offset}
-- shape:     list
-- ttl:       1h
-- stale:     1d
-- tags:      insights feedback:comments:{id}

SELECT reader, vote, rating, comment, strftime('%Y-%m-%dT%H:%M:%SZ', given_at, 'unixepoch') AS given,
       (SELECT count(*) FROM feedback INDEXED BY feedback_comments
        WHERE insight = :id AND comment IS NOT NULL) AS ":total"
FROM feedback
WHERE insight = :id AND comment IS NOT NULL
ORDER BY given_at DESC, reader
LIMIT :limit OFFSET :offset;
