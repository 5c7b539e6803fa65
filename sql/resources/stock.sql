-- name:      stock
-- doc:       One stock by its ticker symbol.
-- route:     GET /api/stocks/{ticker}
-- param:     ticker text upper ~ ^[A-Z][A-Z0-9.-]{0,9}$
-- example:   ticker=AAPL
-- key:       stocks:detail:{ticker}
-- shape:     object
-- ttl:       5m
-- stale:     1h
-- negative:  30s
-- tags:      stocks stock:{ticker}

SELECT ticker, name, sector, price, price_earnings, dividend_yield, earnings_share, week_52_low, week_52_high,
       market_cap, ebitda, price_sales, price_book, sec_filings
FROM stocks
WHERE ticker = :ticker;
