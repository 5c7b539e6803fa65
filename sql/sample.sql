-- A small sample of well-known companies, so that a fresh installation has something to show. For a migrated database.
--
-- The figures are rounded and illustrative: of a plausible size, from no market and no day. Do not invest by them.
-- Stocks that are there already are kept as they are.

INSERT INTO stocks (ticker, name, sector, price, price_earnings, dividend_yield, earnings_share, week_52_low,
                    week_52_high, market_cap, ebitda, price_sales, price_book, sec_filings)
SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9, column10, column11, column12,
       column13, 'https://www.sec.gov/cgi-bin/browse-edgar?action=getcompany&CIK=' || column1
FROM (VALUES
    ('AAPL', 'Apple', 'Technology Hardware',
     220.0, 33.3, 0.005, 6.6, 165.0, 240.0, 3340000000000, 135000000000, 8.6, 50.0),
    ('ADBE', 'Adobe', 'Application Software',
     480.0, 40.0, NULL, 12.0, 430.0, 640.0, 211000000000, 8400000000, 10.0, 14.0),
    ('AMD', 'Advanced Micro Devices', 'Semiconductors',
     140.0, 127.3, NULL, 1.1, 115.0, 225.0, 227000000000, 4500000000, 9.3, 4.0),
    ('AMZN', 'Amazon', 'Broadline Retail',
     195.0, 41.5, NULL, 4.7, 140.0, 215.0, 2050000000000, 112000000000, 3.3, 7.9),
    ('AVGO', 'Broadcom', 'Semiconductors',
     170.0, 141.7, 0.012, 1.2, 90.0, 185.0, 795000000000, 24000000000, 16.0, 12.0),
    ('BA', 'Boeing', 'Aerospace & Defense',
     150.0, NULL, NULL, -12.9, 137.0, 265.0, 112000000000, -3000000000, 1.3, NULL),
    ('BF.B', 'Brown–Forman', 'Distillers & Vintners',
     45.0, 21.4, 0.019, 2.1, 43.0, 60.0, 21000000000, 1300000000, 5.1, 6.0),
    ('BRK.B', 'Berkshire Hathaway', 'Multi-Sector Holdings',
     450.0, 14.5, NULL, 31.0, 345.0, 480.0, 970000000000, NULL, 2.6, 1.6),
    ('CAT', 'Caterpillar', 'Construction Machinery',
     390.0, 17.7, 0.014, 22.0, 245.0, 400.0, 189000000000, 15500000000, 2.9, 10.0),
    ('COST', 'Costco', 'Consumer Staples Retail',
     900.0, 54.5, 0.005, 16.5, 555.0, 925.0, 399000000000, 11000000000, 1.6, 17.0),
    ('CVX', 'Chevron', 'Integrated Oil & Gas',
     150.0, 14.9, 0.043, 10.1, 135.0, 168.0, 274000000000, 42000000000, 1.4, 1.7),
    ('DIS', 'Walt Disney', 'Movies & Entertainment',
     95.0, 35.2, 0.009, 2.7, 79.0, 124.0, 172000000000, 17000000000, 1.9, 1.7),
    ('EL', 'Estée Lauder', 'Personal Care Products',
     90.0, 81.8, 0.029, 1.1, 78.0, 160.0, 32000000000, 2200000000, 2.1, 6.0),
    ('GE', 'GE Aerospace', 'Aerospace & Defense',
     185.0, 32.5, 0.006, 5.7, 90.0, 195.0, 200000000000, 9000000000, 5.4, 11.0),
    ('GOOGL', 'Alphabet', 'Interactive Media',
     165.0, 23.6, 0.005, 7.0, 122.0, 192.0, 2030000000000, 124000000000, 6.1, 6.8),
    ('HD', 'Home Depot', 'Home Improvement Retail',
     405.0, 27.4, 0.022, 14.8, 275.0, 420.0, 402000000000, 25000000000, 2.6, NULL),
    ('INTC', 'Intel', 'Semiconductors',
     23.0, NULL, 0.016, -0.4, 18.5, 51.0, 98000000000, 9600000000, 1.8, 0.9),
    ('JNJ', 'Johnson & Johnson', 'Pharmaceuticals',
     160.0, 22.9, 0.031, 7.0, 143.0, 169.0, 385000000000, 30000000000, 4.4, 5.4),
    ('JPM', 'JPMorgan Chase', 'Diversified Banks',
     210.0, 11.7, 0.024, 18.0, 136.0, 225.0, 598000000000, NULL, 3.6, 1.8),
    ('KO', 'Coca-Cola', 'Soft Drinks',
     70.0, 28.0, 0.028, 2.5, 52.0, 74.0, 302000000000, 14500000000, 6.5, 11.5),
    ('META', 'Meta Platforms', 'Interactive Media',
     570.0, 29.1, 0.004, 19.6, 285.0, 600.0, 1440000000000, 76000000000, 9.6, 9.2),
    ('MSFT', 'Microsoft', 'Systems Software',
     415.0, 35.2, 0.008, 11.8, 325.0, 468.0, 3080000000000, 131000000000, 12.6, 11.5),
    ('NFLX', 'Netflix', 'Movies & Entertainment',
     710.0, 44.4, NULL, 16.0, 345.0, 725.0, 305000000000, 9300000000, 8.4, 13.8),
    ('NVDA', 'NVIDIA', 'Semiconductors',
     125.0, 59.5, 0.0003, 2.1, 39.0, 141.0, 3070000000000, 61000000000, 32.0, 53.0),
    ('O', 'Realty Income', 'Retail REITs',
     62.0, 56.4, 0.051, 1.1, 46.0, 65.0, 54000000000, 4100000000, 11.0, 1.4),
    ('PG', 'Procter & Gamble', 'Household Products',
     172.0, 28.7, 0.023, 6.0, 142.0, 178.0, 405000000000, 23000000000, 5.0, 8.2),
    ('T', 'AT&T', 'Integrated Telecom',
     21.5, 12.6, 0.052, 1.7, 14.5, 22.5, 154000000000, 43000000000, 1.3, 1.5),
    ('TSLA', 'Tesla', 'Automobile Manufacturers',
     250.0, 69.4, NULL, 3.6, 139.0, 272.0, 799000000000, 13000000000, 8.7, 12.0),
    ('WMT', 'Walmart', 'Consumer Staples Retail',
     80.0, 41.7, 0.010, 1.92, 50.0, 81.5, 643000000000, 39000000000, 1.0, 7.6),
    ('XOM', 'Exxon Mobil', 'Integrated Oil & Gas',
     118.0, 14.1, 0.032, 8.4, 96.0, 124.0, 524000000000, 72000000000, 1.5, 1.9)
) WHERE true
ON CONFLICT (ticker) DO NOTHING;

DELETE FROM larder_scores
WHERE board IN ('momentum', 'value') AND (board, member) NOT IN (SELECT board, member FROM stock_scores);

INSERT INTO larder_scores (board, member, score, updated_at)
SELECT board, member, score, unixepoch() FROM stock_scores WHERE true
ON CONFLICT (board, member) DO UPDATE SET score = excluded.score, updated_at = excluded.updated_at
WHERE larder_scores.score <> excluded.score;
