-- name:      stocks
-- doc:       Stocks, filtered, sorted and paged. Unknown figures come last in either order.
-- route:     GET /api/stocks/
-- param:     sector text 1..100 ?
-- param:     q text 0..64 ?
-- param:     min_price number 0.. ?
-- param:     max_price number 0.. ?
-- param:     sort text in ticker,price,market_cap,dividend_yield = ticker
-- param:     order text in asc,desc = asc
-- param:     limit integer 1..200 = 50
-- param:     offset integer 0..1000000 = 0
-- example:   sector=Energy&sort=market_cap&order=desc&limit=5
-- key:       stocks:list:{*}
-- shape:     list
-- ttl:       5m
-- stale:     1h
-- negative:  30s
-- tags:      stocks stocks:lists

-- One branch for each order, so that each can walk its index and stop at the limit; only the branch asked for runs.
WITH matching AS NOT MATERIALIZED (
    SELECT ticker, name, sector, price, price_earnings, dividend_yield, earnings_share, week_52_low, week_52_high,
           market_cap, ebitda, price_sales, price_book
    FROM stocks
    WHERE (:sector IS NULL OR sector = :sector)
      AND (:q IS NULL OR instr(lower(ticker), lower(:q)) OR instr(lower(name), lower(:q)))
      AND (:min_price IS NULL OR price >= :min_price)
      AND (:max_price IS NULL OR price <= :max_price)
)
SELECT page.*, (SELECT count(*) FROM matching) AS ":total"
FROM (
    SELECT * FROM (SELECT * FROM matching WHERE :sort = 'ticker' AND :order = 'asc'
                   ORDER BY ticker LIMIT :limit OFFSET :offset)
    UNION ALL
    SELECT * FROM (SELECT * FROM matching WHERE :sort = 'ticker' AND :order = 'desc'
                   ORDER BY ticker DESC LIMIT :limit OFFSET :offset)
    UNION ALL
    SELECT * FROM (SELECT * FROM matching WHERE :sort = 'price' AND :order = 'asc'
                   ORDER BY price NULLS LAST, ticker LIMIT :limit OFFSET :offset)
    UNION ALL
    SELECT * FROM (SELECT * FROM matching WHERE :sort = 'price' AND :order = 'desc'
                   ORDER BY price DESC, ticker LIMIT :limit OFFSET :offset)
    UNION ALL
    SELECT * FROM (SELECT * FROM matching WHERE :sort = 'market_cap' AND :order = 'asc'
                   ORDER BY market_cap NULLS LAST, ticker LIMIT :limit OFFSET :offset)
    UNION ALL
    SELECT * FROM (SELECT * FROM matching WHERE :sort = 'market_cap' AND :order = 'desc'
                   ORDER BY market_cap DESC, ticker LIMIT :limit OFFSET :offset)
    UNION ALL
    SELECT * FROM (SELECT * FROM matching WHERE :sort = 'dividend_yield' AND :order = 'asc'
                   ORDER BY dividend_yield NULLS LAST, ticker LIMIT :limit OFFSET :offset)
    UNION ALL
    SELECT * FROM (SELECT * FROM matching WHERE :sort = 'dividend_yield' AND :order = 'desc'
                   ORDER BY dividend_yield DESC, ticker LIMIT :limit OFFSET :offset)
) AS page;
