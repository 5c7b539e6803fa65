-- Leaderboards: one score per board and member. The two boards of the stocks are computed by the view below, and only
-- there: whatever changes a stock deletes that member's scores on these boards and inserts what the view then gives.

CREATE TABLE scores (
    board      TEXT NOT NULL CHECK (length(board) BETWEEN 1 AND 64),
    member     TEXT NOT NULL CHECK (length(member) BETWEEN 1 AND 128),
    score      REAL NOT NULL CHECK (score BETWEEN -1e300 AND 1e300),
    updated_at INTEGER NOT NULL, -- seconds since the epoch
    PRIMARY KEY (board, member)
) STRICT, WITHOUT ROWID;

CREATE INDEX scores_top ON scores (board, score DESC, member);

CREATE VIEW stock_scores (board, member, score) AS
    -- Where the price stands between the lowest (0) and the highest (100) of 52 weeks.
    SELECT 'momentum', ticker, max(0.0, min(100.0, 100.0 * (price - week_52_low) / (week_52_high - week_52_low)))
    FROM stocks
    WHERE price IS NOT NULL AND week_52_high > week_52_low
    UNION ALL
    -- The earnings yield in percent: what a share earns, of what it costs.
    SELECT 'value', ticker, 100.0 * earnings_share / price
    FROM stocks
    WHERE earnings_share IS NOT NULL AND price > 0;
