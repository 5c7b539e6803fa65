-- name:      feedback-post
-- doc:       What a reader thinks of an insight: a vote, a rating, a comment. Said again, it replaces what was said before.
-- route:     POST /api/feedback/{id}
-- param:     id text lower ~ ^[a-z0-9][a-z0-9-]{0,63}$
-- param:     reader text 1..64 ~ ^[A-Za-z0-9._@-]+$
-- param:     vote text in up,down ?
-- param:     rating integer 1..5 ?
-- param:     comment text 1..1000 ?
-- example:   id=rates-2026&reader=ada&vote=up&rating=5
-- purge:     key:feedback:stats:{id} tag:feedback:comments:{id}

-- Selected from the insights, so that one that does not exist makes no row: that is 404, and not a broken reference.
INSERT INTO feedback (insight, reader, vote, rating, comment, given_at)
SELECT id, :reader, :vote, :rating, :comment, :larder_now FROM insights WHERE id = :id
ON CONFLICT (insight, reader) DO UPDATE SET
    vote = excluded.vote, rating = excluded.rating, comment = excluded.comment, given_at = excluded.given_at
RETURNING insight, reader, vote, rating, comment, strftime('%Y-%m-%dT%H:%M:%SZ', given_at, 'unixepoch') AS given;
