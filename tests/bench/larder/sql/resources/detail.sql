-- name:   detail
-- doc:    One stock, answered from the cache.
-- route:  GET /api/stocks/{symbol}
-- param:  symbol text upper ~ ^[A-Z][A-Z0-9.-]{0,9}$
-- key:    bench:detail:{symbol}
-- shape:  object
-- ttl:    1h
SELECT symbol, name, exchange, sector, industry, currency, price, open, high, low, previous_close, change, change_percent,
    volume, avg_volume, market_cap, pe_ratio, eps, dividend_yield, week52_high, week52_low, description, updated_at
FROM stocks WHERE symbol = :symbol;
