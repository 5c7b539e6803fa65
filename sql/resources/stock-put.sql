-- name:      stock-put
-- doc:       Creates a stock, or replaces it as a whole: a figure that is left out becomes unknown.
-- route:     PUT /api/stocks/{ticker}
-- param:     ticker text upper ~ ^[A-Z][A-Z0-9.-]{0,9}$
-- param:     name text 1..200
-- param:     sector text 1..100
-- param:     price number 0..1000000000000 ?
-- param:     price_earnings number -1000000000000..1000000000000 ?
-- param:     dividend_yield number 0..1000000 ?
-- param:     earnings_share number -1000000000000..1000000000000 ?
-- param:     week_52_low number 0..1000000000000 ?
-- param:     week_52_high number 0..1000000000000 ?
-- param:     market_cap integer 0.. ?
-- param:     ebitda integer ?
-- param:     price_sales number -1000000000000..1000000000000 ?
-- param:     price_book number -1000000000000..1000000000000 ?
-- param:     sec_filings text 0..500 ?
-- example:   ticker=LRDR&name=Larder+Works&sector=Information+Technology&price=12.5
-- shape:     object
-- purge:     tag:stock:{ticker} tag:stocks:lists

INSERT INTO stocks (ticker, name, sector, price, price_earnings, dividend_yield, earnings_share, week_52_low,
                    week_52_high, market_cap, ebitda, price_sales, price_book, sec_filings)
VALUES (:ticker, :name, :sector, :price, :price_earnings, :dividend_yield, :earnings_share, :week_52_low,
        :week_52_high, :market_cap, :ebitda, :price_sales, :price_book, :sec_filings)
ON CONFLICT (ticker) DO UPDATE SET
    name = excluded.name, sector = excluded.sector, price = excluded.price,
    price_earnings = excluded.price_earnings, dividend_yield = excluded.dividend_yield,
    earnings_share = excluded.earnings_share, week_52_low = excluded.week_52_low,
    week_52_high = excluded.week_52_high, market_cap = excluded.market_cap, ebitda = excluded.ebitda,
    price_sales = excluded.price_sales, price_book = excluded.price_book, sec_filings = excluded.sec_filings
RETURNING *;

-- A score that stays as it is keeps its place among equal ones; one that cannot be computed any more goes.
DELETE FROM larder_scores
WHERE board IN ('momentum', 'value') AND member = :ticker
  AND board NOT IN (SELECT board FROM stock_scores WHERE member = :ticker);

INSERT INTO larder_scores (board, member, score, updated_at)
SELECT board, member, score, :larder_now FROM stock_scores WHERE member = :ticker
ON CONFLICT (board, member) DO UPDATE SET score = excluded.score, updated_at = excluded.updated_at
WHERE larder_scores.score <> excluded.score;
