-- name:      stocks-top
-- doc:       The stocks with the highest market capitalisation, dividend yield or price/earnings ratio.
-- route:     GET /api/stocks/top
-- param:     by text in market_cap,dividend_yield,price_earnings = market_cap
-- param:     limit integer 1..100 = 10
-- example:   by=dividend_yield&limit=5
-- key:       stocks:top:{*}
-- shape:     list
-- ttl:       5m
-- stale:     1h
-- negative:  30s
-- tags:      stocks stocks:lists

WITH summary AS NOT MATERIALIZED (
    SELECT ticker, name, sector, price, market_cap, dividend_yield, price_earnings FROM stocks
)
SELECT * FROM (SELECT * FROM summary WHERE :by = 'market_cap' AND market_cap IS NOT NULL
               ORDER BY market_cap DESC, ticker LIMIT :limit)
UNION ALL
SELECT * FROM (SELECT * FROM summary WHERE :by = 'dividend_yield' AND dividend_yield IS NOT NULL
               ORDER BY dividend_yield DESC, ticker LIMIT :limit)
UNION ALL
SELECT * FROM (SELECT * FROM summary WHERE :by = 'price_earnings' AND price_earnings IS NOT NULL
               ORDER BY price_earnings DESC, ticker LIMIT :limit);
