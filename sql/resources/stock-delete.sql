-- name:      stock-delete
-- doc:       Removes a stock and its scores.
-- route:     DELETE /api/stocks/{ticker}
-- param:     ticker text upper ~ ^[A-Z][A-Z0-9.-]{0,9}$
-- example:   ticker=AAPL
-- shape:     object
-- purge:     tag:stock:{ticker} tag:stocks:lists

DELETE FROM larder_scores WHERE board IN ('momentum', 'value') AND member = :ticker;

DELETE FROM stocks WHERE ticker = :ticker RETURNING ticker;
