-- name:      feedback-stats
-- doc:       What readers think of an insight: votes, ratings and how many said something.
-- route:     GET /api/feedback/{id}/stats
-- param:     id text lower ~ ^[a-z0-9][a-z0-9-]{0,63}$
-- example:   id=rates-2026
-- key:       feedback:stats:{id}
-- shape:     object
-- ttl:       1h
-- stale:     1d
-- negative:  30s
-- tags:      insights
-- warm:      SELECT insight AS id FROM feedback GROUP BY insight ORDER BY count(*) DESC, insight LIMIT 100

-- An insight that nobody has said anything about has a row of zeros; one that does not exist has none, which is 404.
SELECT insights.id AS insight, insights.title,
       count(reader) AS readers,
       count(*) FILTER (WHERE vote = 'up') AS up,
       count(*) FILTER (WHERE vote = 'down') AS down,
       round(avg(vote = 'up'), 3) AS approval,
       count(rating) AS ratings,
       round(avg(rating), 2) AS rating,
       json_object('1', count(*) FILTER (WHERE rating = 1), '2', count(*) FILTER (WHERE rating = 2),
                   '3', count(*) FILTER (WHERE rating = 3), '4', count(*) FILTER (WHERE rating = 4),
                   '5', count(*) FILTER (WHERE rating = 5)) AS "spread:json",
       count(comment) AS comments,
       strftime('%Y-%m-%dT%H:%M:%SZ', max(given_at), 'unixepoch') AS latest
FROM insights LEFT JOIN feedback ON feedback.insight = insights.id
WHERE insights.id = :id
GROUP BY insights.id;
