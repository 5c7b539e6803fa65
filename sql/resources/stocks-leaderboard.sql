-- name:      stocks-leaderboard
-- doc:       Stocks by score: momentum (place in the 52-week range, 0 to 100) or value (earnings yield in percent).
-- route:     GET /api/stocks/leaderboard/top
-- param:     board text in momentum,value = momentum
-- param:     sector text 1..100 ?
-- param:     limit integer 1..200 = 10
-- param:     offset integer 0..1000000 = 0
-- example:   board=value&limit=5
-- key:       leaderboard:top:{*}
-- shape:     list
-- ttl:       10m
-- stale:     1h
-- negative:  30s
-- tags:      leaderboards stocks:lists

-- Equal scores share a rank, in the order in which they were reached. With a sector, the rank is among the stocks of that sector. Only the page is ranked: its
-- first score may have equals on the page before, every other row stands at its place.
WITH members AS NOT MATERIALIZED (
    SELECT member, score, reached
    FROM larder_scores
    WHERE board = :board AND (:sector IS NULL OR member IN (SELECT ticker FROM stocks WHERE sector = :sector))
), page AS MATERIALIZED (
    SELECT member, score, reached FROM members ORDER BY score DESC, reached LIMIT :limit OFFSET :offset
), first AS MATERIALIZED (
    SELECT max(score) AS score FROM page
)
SELECT CASE page.score
           WHEN (SELECT score FROM first)
           THEN 1 + (SELECT count(*) FROM members WHERE score > (SELECT score FROM first))
           ELSE :offset + rank() OVER (ORDER BY page.score DESC)
       END AS rank,
       page.member AS ticker, stocks.name, stocks.sector, stocks.price, round(page.score, 4) AS score,
       (SELECT count(*) FROM members) AS ":total"
FROM page LEFT JOIN stocks ON stocks.ticker = page.member
ORDER BY page.score DESC, page.reached;
