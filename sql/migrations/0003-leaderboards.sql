-- The boards of the stocks become leaderboards like all others: rows of larder_scores, which larder makes itself, counts
-- and numbers. Of equal scores the one that was reached first comes first.

-- A score may not be beyond 2^53: what a nearly worthless share earns would be.
DROP VIEW stock_scores;

CREATE VIEW stock_scores (board, member, score) AS
    -- Where the price stands between the lowest (0) and the highest (100) of 52 weeks.
    SELECT 'momentum', ticker, max(0.0, min(100.0, 100.0 * (price - week_52_low) / (week_52_high - week_52_low)))
    FROM stocks
    WHERE price IS NOT NULL AND week_52_high > week_52_low
    UNION ALL
    -- The earnings yield in percent: what a share earns, of what it costs.
    SELECT 'value', ticker, max(-9e15, min(9e15, 100.0 * earnings_share / price))
    FROM stocks
    WHERE earnings_share IS NOT NULL AND price > 0;

INSERT INTO larder_scores (board, member, score, updated_at)
SELECT board, member, max(-9e15, min(9e15, score)), updated_at FROM scores ORDER BY updated_at, board, member;

DROP TABLE scores;
