-- name:   list
-- doc:    The first stocks in summary, with their count.
-- route:  GET /api/stocks
-- param:  limit integer 1..200 = 50
-- key:    bench:list:{limit}
-- shape:  value
-- ttl:    1h
SELECT json_object('count', count(*), 'stocks', json_group_array(json(stock))) AS "answer:json" FROM (
    SELECT json_object(
        'symbol', symbol, 'name', name, 'exchange', exchange, 'sector', sector,
        'price', price, 'change', change, 'change_percent', change_percent,
        'volume', volume, 'market_cap', market_cap, 'updated_at', updated_at) AS stock
    FROM stocks ORDER BY symbol LIMIT :limit);
