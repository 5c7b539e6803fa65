"""Reading: what the routes answer, compared with the same CSV read by other means, and what the answers say of the cache."""

import csv
import gzip
import re
import sqlite3
import time

import pytest

from conftest import PATIENT, assert_problem, copy_sql, data_file, removed_by, wait_for
from fcgi import Client

NUMBERS = {"price": "REAL", "price_earnings": "REAL", "dividend_yield": "REAL", "earnings_share": "REAL", "week_52_low": "REAL",
           "week_52_high": "REAL", "market_cap": "INTEGER", "ebitda": "INTEGER", "price_sales": "REAL", "price_book": "REAL"}
COLUMNS = ["ticker", "name", "sector", *NUMBERS, "sec_filings"]
LISTED = COLUMNS[:-1]
SUMMARY = ["ticker", "name", "sector", "price", "market_cap", "dividend_yield", "price_earnings"]

CLOCK = """-- name: clock
-- route: GET /api/clock
-- shape: value
SELECT :larder_now AS now;
"""
CALLER = """-- name: caller
-- route: GET /api/caller
-- key: caller
-- ttl: 5m
-- shape: object
SELECT :larder_address AS address;
"""
KINDS = """-- name: kinds
-- route: GET /api/kinds
-- key: kinds
-- ttl: 5m
-- shape: object
SELECT '{"a":[1,2]}' AS "document:json", 1 AS "yes:bool", 0 AS "no:bool", NULL AS missing, 9007199254740993 AS large,
       0.1 AS tenth, 'ü"\\' AS text;
"""


class Csv:
    """The CSV in a table of its own, by Python's csv, numbers and sqlite3."""

    def __init__(self, path):
        with open(path, newline="", encoding="utf-8") as file:
            rows = [[self.value(*pair) for pair in zip(COLUMNS, row)] for row in list(csv.reader(file))[1:]]
        self.db = sqlite3.connect(":memory:")
        self.db.row_factory = sqlite3.Row
        self.db.execute(f"CREATE TABLE listing ({', '.join(f'{name} {NUMBERS.get(name, str())}' for name in COLUMNS)})")
        self.db.executemany(f"INSERT INTO listing VALUES ({', '.join('?' * len(COLUMNS))})", rows)
        self.rows = self.query("SELECT * FROM listing")

    @staticmethod
    def value(column, cell):
        kind = {"REAL": float, "INTEGER": int}.get(NUMBERS.get(column), str)
        return kind(cell) if cell else None

    def query(self, sql, *arguments):
        return [dict(row) for row in self.db.execute(sql, arguments)]

    def board(self, name):
        """(ticker, score) of a leaderboard, best first, computed here."""
        scores = []
        for row in self.rows:
            price, low, high, earnings = row["price"], row["week_52_low"], row["week_52_high"], row["earnings_share"]
            if name == "momentum" and None not in (price, low, high) and high > low:
                scores.append((row["ticker"], max(0.0, min(100.0, 100 * (price - low) / (high - low)))))
            if name == "value" and None not in (price, earnings) and price > 0:
                scores.append((row["ticker"], 100 * earnings / price))
        return sorted(scores, key=lambda score: -score[1])  # of equals, the one that was imported first


@pytest.fixture(scope="module")
def listing():
    return Csv(data_file())


@pytest.fixture
def fresh(market):
    """The stack with nothing cached."""
    market.invalidate(all=True)
    return market


@pytest.fixture(scope="module")
def own(make_session_stack, tmp_path_factory):
    """A stack with resources that the shipped ones do not have the like of."""
    sql = copy_sql(tmp_path_factory.mktemp("own") / "sql", clock=CLOCK, caller=CALLER, kinds=KINDS)
    return make_session_stack("--sql", sql, *PATIENT)


def cache_status(answer):
    """Cache-Status (RFC 9211) as (outcome words, parameters)."""
    name, *items = [item.strip() for item in answer.headers["Cache-Status"].split(";")]
    assert name == "larder"
    return [item for item in items if "=" not in item], dict(item.split("=", 1) for item in items if "=" in item)


# One stock.

@pytest.mark.parametrize("ticker, name", [("BRK.B", "Berkshire Hathaway"), ("BF.B", "Brown–Forman")])
def test_a_stock_without_figures_answers_with_nulls(fresh, ticker, name):
    answer = fresh.get(f"/api/stocks/{ticker}")
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/json"
    stock = answer.json()
    assert (stock["ticker"], stock["name"]) == (ticker, name)
    assert {column: stock[column] for column in NUMBERS} == dict.fromkeys(NUMBERS)
    assert name.encode() in answer.content


def test_every_stock_is_what_the_csv_says(fresh, listing):
    for row in listing.rows:
        answer = fresh.get(f"/api/stocks/{row['ticker']}")
        assert answer.status_code == 200 and answer.json() == row
        assert list(answer.json()) == COLUMNS


def test_a_ticker_may_be_written_small_and_is_the_same_entry(fresh):
    assert fresh.get("/api/stocks/brk.b").headers["X-Cache"] == "MISS"
    assert fresh.get("/api/stocks/BRK.B").headers["X-Cache"] == "HIT"
    assert fresh.keys() == ["stocks:detail:BRK.B"]


def test_an_escaped_path_is_the_same_entry(fresh):
    assert fresh.get("/api/stocks/AAPL").headers["X-Cache"] == "MISS"
    assert fresh.get("/api/stocks/%41APL").headers["X-Cache"] == "HIT"


# The list.

def test_the_list_equals_a_plain_query_over_the_csv(fresh, listing):
    answer = fresh.get("/api/stocks/?sector=Application%20Software&sort=price&order=desc&limit=5")
    expected = listing.query(f"SELECT {', '.join(LISTED)} FROM listing WHERE sector = 'Application Software' "
                             "ORDER BY price IS NULL, price DESC, ticker LIMIT 5")
    assert len(expected) == 5
    assert answer.json()["items"] == expected and answer.json()["count"] == 5
    assert answer.json()["total"] == listing.query("SELECT count(*) AS n FROM listing WHERE sector = 'Application Software'")[0]["n"]


def test_miss_then_hit_then_a_purge_then_miss(fresh):
    for path in ("/api/stocks/BRK.B", "/api/stocks/?sector=Application%20Software&sort=price&order=desc&limit=5"):
        assert [fresh.get(path).headers["X-Cache"] for _ in range(3)] == ["MISS", "HIT", "HIT"]
        fresh.invalidate(pattern="stocks:*")
        assert [fresh.get(path).headers["X-Cache"] for _ in range(2)] == ["MISS", "HIT"]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("sort", ["ticker", "price", "market_cap", "dividend_yield"])
def test_sorting_puts_unknown_figures_last(fresh, listing, sort, order):
    found = []
    for offset in range(0, len(listing.rows), 200):
        page = fresh.get("/api/stocks/", params={"sort": sort, "order": order, "limit": 200, "offset": offset}).json()
        assert page["total"] == len(listing.rows) and page["count"] == len(page["items"])
        found += page["items"]
    assert found == listing.query(f"SELECT {', '.join(LISTED)} FROM listing ORDER BY {sort} IS NULL, {sort} {order}, ticker")
    known = [row[sort] is not None for row in found]
    assert known == sorted(known, reverse=True)


@pytest.mark.parametrize("parameters, where", [
    ({}, "1"),
    ({"q": "brown"}, "ticker LIKE '%brown%' OR name LIKE '%brown%'"),
    ({"q": "BF."}, "instr(ticker, 'BF.') OR instr(name, 'BF.')"),
    ({"q": "Estée"}, "instr(name, 'Estée')"),
    ({"q": "O’Reilly"}, "instr(name, 'O’Reilly')"),
    ({"q": "100%_"}, "0"),
    ({"q": "no such company"}, "0"),
    ({"min_price": "500"}, "price >= 500"),
    ({"max_price": "20.5"}, "price <= 20.5"),
    ({"min_price": "100", "max_price": "110", "sort": "price"}, "price BETWEEN 100 AND 110"),
    ({"sector": "Biotechnology", "min_price": "1", "sort": "market_cap", "order": "desc"}, "sector = 'Biotechnology' AND price >= 1"),
    ({"sector": "Distillers & Vintners"}, "sector = 'Distillers & Vintners'"),
    ({"sector": "Nothing of the kind"}, "0"),
    ({"sector": "' OR 1=1 --"}, "0"),
], ids=str)
def test_filters(fresh, listing, parameters, where):
    answer = fresh.get("/api/stocks/", params={"limit": 200, **parameters})
    assert answer.status_code == 200
    sort, order = parameters.get("sort", "ticker"), parameters.get("order", "asc")
    expected = listing.query(f"SELECT {', '.join(LISTED)} FROM listing WHERE {where} ORDER BY {sort} IS NULL, {sort} {order}, ticker")
    assert answer.json()["items"] == expected[:200]
    assert answer.json()["count"] == len(expected[:200])
    if expected:
        assert answer.json()["total"] == len(expected)


def test_pages_are_those_of_one_list(fresh, listing):
    tickers = [row["ticker"] for row in listing.query("SELECT ticker FROM listing ORDER BY ticker")]
    first = fresh.get("/api/stocks/").json()
    assert [item["ticker"] for item in first["items"]] == tickers[:50]
    page = fresh.get("/api/stocks/?limit=7&offset=495").json()
    assert [item["ticker"] for item in page["items"]] == tickers[495:502] and page["total"] == len(tickers)
    assert [item["ticker"] for item in fresh.get("/api/stocks/?limit=200&offset=500").json()["items"]] == tickers[500:]
    beyond = fresh.get("/api/stocks/?offset=1000000").json()
    assert beyond["items"] == [] and beyond["count"] == 0


def test_defaults_written_out_are_the_same_entry(fresh):
    assert fresh.get("/api/stocks/").headers["X-Cache"] == "MISS"
    assert fresh.get("/api/stocks/?limit=50").headers["X-Cache"] == "HIT"
    assert fresh.get("/api/stocks/?offset=00&sort=ticker&&order=asc&limit=%35%30").headers["X-Cache"] == "HIT"
    assert fresh.get("/api/stocks/?q=").headers["X-Cache"] == "MISS"
    assert len(fresh.keys()) == 2


# Top and leaderboards.

@pytest.mark.parametrize("limit", [1, 10, 100])
@pytest.mark.parametrize("by", ["market_cap", "dividend_yield", "price_earnings"])
def test_top(fresh, listing, by, limit):
    items = fresh.get(f"/api/stocks/top?by={by}&limit={limit}").json()["items"]
    assert items == listing.query(f"SELECT {', '.join(SUMMARY)} FROM listing WHERE {by} IS NOT NULL ORDER BY {by} DESC, ticker LIMIT ?", limit)


@pytest.mark.parametrize("board", ["momentum", "value"])
def test_a_leaderboard_is_what_the_figures_give(fresh, listing, board):
    expected, found = listing.board(board), []
    for offset in range(0, len(expected), 200):
        page = fresh.get(f"/api/stocks/leaderboard/top?board={board}&limit=200&offset={offset}").json()
        assert page["total"] == len(expected)
        found += page["items"]
    assert [(item["ticker"], item["score"]) for item in found] == [(ticker, pytest.approx(score, abs=1e-4)) for ticker, score in expected]
    scores = [score for _, score in expected]
    assert [item["rank"] for item in found] == [1 + scores.index(score) for score in scores]
    rows = {row["ticker"]: row for row in listing.rows}
    for item in found:
        row = rows[item["ticker"]]
        assert (item["name"], item["sector"], item["price"]) == (row["name"], row["sector"], row["price"])


def test_a_leaderboard_of_one_sector_ranks_within_it(fresh, listing):
    sectors = {row["ticker"]: row["sector"] for row in listing.rows}
    expected = [ticker for ticker, _ in listing.board("value") if sectors[ticker] == "Biotechnology"]
    page = fresh.get("/api/stocks/leaderboard/top?board=value&sector=Biotechnology&limit=3&offset=1").json()
    assert [item["ticker"] for item in page["items"]] == expected[1:4]
    assert [item["rank"] for item in page["items"]] == [2, 3, 4] and page["total"] == len(expected)


# Keys, life and what the headers say.

def test_keys_are_as_the_resources_name_them(fresh):
    for path in ("/api/stocks/AAPL", "/api/stocks/NOSUCH", "/api/stocks/?limit=3", "/api/stocks/top", "/api/stocks/leaderboard/top"):
        fresh.get(path)
    patterns = ["leaderboard:top:[0-9a-f]{32}", "stocks:detail:AAPL", "stocks:detail:NOSUCH", "stocks:list:[0-9a-f]{32}", "stocks:top:[0-9a-f]{32}"]
    keys = fresh.keys()
    assert len(keys) == len(patterns)
    for key, pattern in zip(keys, patterns):
        assert re.fullmatch(pattern, key)


@pytest.mark.parametrize("path, ttl", [("/api/stocks/AAPL", 300), ("/api/stocks/", 300), ("/api/stocks/top", 300),
                                       ("/api/stocks/leaderboard/top", 600), ("/api/stocks/NOSUCH", 30)])
def test_an_entry_lives_as_long_as_its_resource_says_less_a_tenth(fresh, path, ttl):
    fresh.get(path)

    def from_memory():
        words, parameters = cache_status(fresh.get(path))
        return parameters if (words, parameters.get("detail")) == (["hit"], "L1") else None
    # Not yet, where the host has heard of the purge again meanwhile, by the log.
    parameters = wait_for("it is answered from memory", from_memory)
    assert 0.9 * ttl - 15 < int(parameters["ttl"]) <= ttl


def test_what_a_miss_and_a_hit_say(fresh):
    miss, hit = fresh.get("/api/stocks/AAPL"), fresh.get("/api/stocks/AAPL")
    assert cache_status(miss) == (["stored"], {"fwd": "miss"}) and "Age" not in miss.headers
    assert cache_status(hit)[0] == ["hit"] and int(hit.headers["Age"]) >= 0
    for answer in (miss, hit):
        assert answer.headers["Cache-Control"] == "no-cache" and "CDN-Cache-Control" not in answer.headers
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert miss.content == hit.content and miss.headers["ETag"] == hit.headers["ETag"]


def test_age_grows(fresh):
    fresh.get("/api/stocks/AAPL")
    time.sleep(1.1)
    assert 1 <= int(fresh.get("/api/stocks/AAPL").headers["Age"]) < 60


def test_an_unknown_ticker_is_404_and_cached_as_such(fresh):
    answers = [fresh.get("/api/stocks/NOSUCH") for _ in range(3)]
    assert [answer.headers["X-Cache"] for answer in answers] == ["MISS", "NEGATIVE", "NEGATIVE"]
    for answer in answers:
        assert_problem(answer, 404)
        assert "ETag" not in answer.headers
    assert cache_status(answers[1])[0] == ["hit"]


def test_conditional_requests(fresh):
    etag = fresh.get("/api/stocks/AAPL").headers["ETag"]
    assert re.fullmatch(r'"[!#-~]+"', etag)
    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = fresh.get("/api/stocks/AAPL", headers={"If-None-Match": given})
        assert answer.status_code == 304 and answer.content == b""
        assert answer.headers["ETag"] == etag and answer.headers["X-Cache"] == "HIT"
        assert "Content-Type" not in answer.headers
    for given in ('"other"', etag[1:-1], ""):
        answer = fresh.get("/api/stocks/AAPL", headers={"If-None-Match": given})
        assert answer.status_code == 200 and answer.json()["ticker"] == "AAPL"
    assert fresh.get("/api/stocks/NOSUCH", headers={"If-None-Match": "*"}).status_code == 404


def test_a_read_that_asks_for_what_is_not_there_any_more(fresh):
    for path in ("/api/stocks/AAPL", "/api/leaderboards/momentum/top", "/openapi.json"):
        etag = fresh.get(path, headers={"Accept-Encoding": "identity"}).headers["ETag"]
        for method in ("GET", "HEAD"):
            for given, expected in ((etag, 200), (f'"other", {etag}', 200), ("*", 200), ('"other"', 412), (f"W/{etag}", 412)):
                answer = fresh.request(method, path, headers={"If-Match": given, "Accept-Encoding": "identity"})
                assert answer.status_code == expected, (path, method, given)
        assert_problem(fresh.get(path, headers={"If-Match": '"other"', "If-None-Match": etag}), 412, "If-Match")
        assert fresh.get(path, headers={"If-Match": etag, "If-None-Match": etag, "Accept-Encoding": "identity"}).status_code == 304
    assert fresh.get("/api/stocks/NOSUCH", headers={"If-Match": '"other"'}).status_code == 404


def test_an_etag_stays_while_the_content_does(fresh):
    first = fresh.get("/api/stocks/AAPL").headers["ETag"]
    fresh.invalidate(all=True)
    again = fresh.get("/api/stocks/AAPL", headers={"If-None-Match": first})
    assert again.status_code == 304 and again.headers["X-Cache"] == "MISS"
    assert fresh.get("/api/stocks/MSFT").headers["ETag"] != first


def test_head_is_get_without_content(fresh):
    for path, outcomes in (("/api/stocks/AAPL", ["MISS", "HIT"]), ("/api/stocks/NOSUCH", ["MISS", "NEGATIVE"])):
        head = fresh.request("HEAD", path)
        get = fresh.get(path)
        assert head.content == b"" and head.status_code == get.status_code
        assert [head.headers["X-Cache"], get.headers["X-Cache"]] == outcomes
        for name in ("Content-Type", "Content-Length", "ETag", "Cache-Control"):
            assert head.headers.get(name) == get.headers.get(name)
    assert fresh.request("HEAD", "/healthz").headers["Content-Length"] == str(len(fresh.get("/healthz").content))


def test_many_requests_share_one_connection(fresh):
    with Client(fresh.dir / "larder.sock") as client:
        answers = [client.ask("/api/stocks/AAPL") for _ in range(50)]
        missing = client.ask("/api/stocks/NOSUCH")
        listed = client.ask("/api/stocks/?limit=200")
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert missing.status_code == 404 and listed.json()["count"] == 200


def test_a_large_answer_is_whole(fresh, listing):
    for _ in range(2):
        answer = fresh.get("/api/stocks/?limit=200", headers={"Accept-Encoding": "identity"})
        assert len(answer.content) > 40_000 and answer.json()["count"] == 200
        assert int(answer.headers["Content-Length"]) == len(answer.content) and "Content-Encoding" not in answer.headers


def test_a_large_answer_is_compressed_for_who_accepts_it(fresh):
    for asked in (["gzip", "identity"], ["identity", "gzip"]):
        fresh.invalidate(all=True)
        packed, plain = sorted((fresh.get("/api/stocks/?limit=200", headers={"Accept-Encoding": coding}, stream=True) for coding in asked),
                               key=lambda answer: "Content-Encoding" not in answer.headers)
        assert packed.headers["Content-Encoding"] == "gzip" and "Content-Encoding" not in plain.headers
        bytes_sent = packed.raw.read(decode_content=False)
        assert len(bytes_sent) == int(packed.headers["Content-Length"]) < len(plain.content) / 2
        assert gzip.decompress(bytes_sent) == plain.content
        for answer in (packed, plain):
            assert "accept-encoding" in answer.headers["Vary"].lower()
        assert packed.headers["ETag"] != plain.headers["ETag"]


# Resources of one's own.

def test_a_resource_without_ttl_bypasses_the_cache(own):
    for _ in range(2):
        answer = own.get("/api/clock")
        assert answer.headers["X-Cache"] == "BYPASS" and cache_status(answer) == ([], {"fwd": "bypass"})
        assert abs(answer.json() - time.time()) < 60
    assert own.keys("*clock*") == []


def test_an_answer_that_depends_on_the_caller_is_kept_for_that_caller(own):
    with Client(own.dir / "larder.sock") as client:
        for _ in range(2):
            for address in ("192.0.2.1", "192.0.2.2"):
                answer = client.ask("/api/caller", REMOTE_ADDR=address)
                assert answer.json() == {"address": address}
                assert answer.headers["Cache-Control"] == "private, no-cache"
    assert len(own.keys("caller*")) == 2
    assert removed_by(own, own.request("PURGE", "/api/caller", admin=True).json()) == 2


def test_json_booleans_and_numbers_keep_what_they_are(own):
    answer = own.get("/api/kinds")
    assert answer.json() == {"document": {"a": [1, 2]}, "yes": True, "no": False, "missing": None, "large": 9007199254740993,
                             "tenth": 0.1, "text": 'ü"\\'}
