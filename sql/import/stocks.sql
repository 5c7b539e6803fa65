-- doc:   Stocks from a CSV file with the columns of a list of companies and their figures, and their scores.
-- purge: tag:stocks tag:leaderboards

INSERT INTO stocks (ticker, name, sector, price, price_earnings, dividend_yield, earnings_share, week_52_low,
                    week_52_high, market_cap, ebitda, price_sales, price_book, sec_filings)
VALUES (:symbol, :name, :sector, :price, :price_earnings, :dividend_yield, :earnings_share, :52_week_low,
        :52_week_high, :market_cap, :ebitda, :price_sales, :price_book, :sec_filings)
ON CONFLICT (ticker) DO UPDATE SET
    name = excluded.name, sector = excluded.sector, price = excluded.price,
    price_earnings = excluded.price_earnings, dividend_yield = excluded.dividend_yield,
    earnings_share = excluded.earnings_share, week_52_low = excluded.week_52_low,
    week_52_high = excluded.week_52_high, market_cap = excluded.market_cap, ebitda = excluded.ebitda,
    price_sales = excluded.price_sales, price_book = excluded.price_book, sec_filings = excluded.sec_filings;

-- A score that stays as it is keeps its place among equal ones; one that cannot be computed any more goes.
DELETE FROM larder_scores
WHERE board IN ('momentum', 'value') AND member = :symbol
  AND board NOT IN (SELECT board FROM stock_scores WHERE member = :symbol);

INSERT INTO larder_scores (board, member, score, updated_at)
SELECT board, member, score, :larder_now FROM stock_scores WHERE member = :symbol
ON CONFLICT (board, member) DO UPDATE SET score = excluded.score, updated_at = excluded.updated_at
WHERE larder_scores.score <> excluded.score;
