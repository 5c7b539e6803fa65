-- Stocks: one row per ticker symbol. A figure that is not known is NULL.
--
-- The table is STRICT and every figure has a range, so that text in a number's place, or an infinite number, fails
-- here whatever way it came. Being WITHOUT ROWID, each index below ends in the ticker by itself.

CREATE TABLE stocks (
    ticker         TEXT PRIMARY KEY
                   CHECK (ticker GLOB '[A-Z]*' AND ticker NOT GLOB '*[^A-Z0-9.-]*' AND length(ticker) <= 10),
    name           TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    sector         TEXT NOT NULL CHECK (length(sector) BETWEEN 1 AND 100),
    price          REAL CHECK (price BETWEEN 0 AND 1e12),
    price_earnings REAL CHECK (price_earnings BETWEEN -1e12 AND 1e12),
    dividend_yield REAL CHECK (dividend_yield BETWEEN 0 AND 1e6),     -- a fraction: 0.0175 is 1.75 %
    earnings_share REAL CHECK (earnings_share BETWEEN -1e12 AND 1e12),
    week_52_low    REAL CHECK (week_52_low BETWEEN 0 AND 1e12),
    week_52_high   REAL CHECK (week_52_high BETWEEN 0 AND 1e12),
    market_cap     INTEGER CHECK (market_cap >= 0),
    ebitda         INTEGER,
    price_sales    REAL CHECK (price_sales BETWEEN -1e12 AND 1e12),
    price_book     REAL CHECK (price_book BETWEEN -1e12 AND 1e12),
    sec_filings    TEXT CHECK (length(sec_filings) <= 500),
    CHECK (week_52_low <= week_52_high)
) STRICT, WITHOUT ROWID;

CREATE INDEX stocks_by_price ON stocks (price);
CREATE INDEX stocks_by_market_cap ON stocks (market_cap);
CREATE INDEX stocks_by_dividend_yield ON stocks (dividend_yield);
CREATE INDEX stocks_by_price_earnings ON stocks (price_earnings);
CREATE INDEX stocks_by_sector ON stocks (sector);
