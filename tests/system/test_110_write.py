"""Writing: by the routes and by `larder import`; what was acknowledged is there, and what it made old is gone at once."""

import concurrent.futures
import csv
import json
import os
import sqlite3

import pytest
import requests

from conftest import PATIENT, assert_problem, copy_sql, data_file, wait_for
from fcgi import Client

ACME = {"name": "Acme", "sector": "Anvils", "price": 75.5, "week_52_low": 50, "week_52_high": 100, "market_cap": 10**15, "earnings_share": 7.55}
TEXTS = ("name", "sector", "sec_filings")
COLUMNS = ["ticker", "name", "sector", "price", "price_earnings", "dividend_yield", "earnings_share", "week_52_low", "week_52_high",
           "market_cap", "ebitda", "price_sales", "price_book", "sec_filings"]
HEADER = ["Symbol", "Name", "Sector", "Price", "Price/Earnings", "Dividend Yield", "Earnings/Share", "52 Week Low", "52 Week High",
          "Market Cap", "EBITDA", "Price/Sales", "Price/Book", "SEC Filings"]

NOTES = """CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
"""
ADD_NOTE = """-- name: add-note
-- route: POST /api/notes
-- param: text text 1..100
-- shape: object
-- purge: tag:notes
INSERT INTO notes (text) VALUES (:text) RETURNING id, text;
"""
CLEAR_NOTES = """-- name: clear-notes
-- route: DELETE /api/notes
-- purge: tag:notes
DELETE FROM notes;
"""
COUNT_NOTES = """-- name: count-notes
-- route: GET /api/notes
-- key: notes
-- ttl: 1h
-- tags: notes
-- shape: value
SELECT count(*) AS count FROM notes;
"""


def put(stack, ticker, session=None, **values):
    headers = {"Authorization": f"Bearer {stack.admin_token}"}
    return (session or stack.http).put(f"{stack.url}/api/stocks/{ticker}", json=values, headers=headers, timeout=30)


def delete(stack, ticker):
    return stack.request("DELETE", f"/api/stocks/{ticker}", admin=True)


def rows(stack, sql="SELECT * FROM stocks ORDER BY ticker", *arguments):
    with sqlite3.connect(f"file:{stack.database}?mode=ro", uri=True) as db:
        return db.execute(sql, arguments).fetchall()


def scores(stack, ticker):
    return dict(rows(stack, "SELECT board, score FROM larder_scores WHERE member = ?", ticker))


def write_csv(path, *lines, header=None):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header or HEADER, *lines])
    return path


def line(ticker, name="Some Company", sector="Some Sector", price="10", low="5", high="20"):
    return [ticker, name, sector, price, "", "", "1", low, high, "1000", "", "", "", ""]


# PUT and DELETE of a stock.

def test_put_answers_with_the_row_and_it_can_be_read(writable):
    answer = put(writable, "ACME", **ACME)
    assert answer.status_code == 200
    expected = dict.fromkeys(COLUMNS) | ACME | {"ticker": "ACME"}
    assert answer.json() == expected
    assert writable.get("/api/stocks/ACME").json() == expected
    assert rows(writable, "SELECT price FROM stocks WHERE ticker = 'ACME'") == [(75.5,)]


def test_put_again_replaces_the_row_as_a_whole(writable):
    put(writable, "ACME", **ACME)
    answer = put(writable, "acme", name="Acme", sector="Anvils", price=1)
    assert answer.json() == dict.fromkeys(COLUMNS) | {"ticker": "ACME", "name": "Acme", "sector": "Anvils", "price": 1}
    assert writable.get("/api/stocks/ACME").json() == answer.json()


def test_delete_answers_with_what_went_and_then_404(writable):
    put(writable, "ACME", **ACME)
    answer = delete(writable, "ACME")
    assert answer.status_code == 200 and answer.json() == {"ticker": "ACME"}
    assert_problem(writable.get("/api/stocks/ACME"), 404)
    assert_problem(delete(writable, "ACME"), 404)
    assert rows(writable, "SELECT * FROM larder_scores WHERE member = 'ACME'") == []


def test_a_write_is_seen_at_once_by_whoever_has_cached_the_old_row(writable):
    put(writable, "ACME", **ACME)
    other = requests.Session()
    for price in range(1, 40):
        for session in (writable.http, other):
            assert session.get(f"{writable.url}/api/stocks/ACME", timeout=30).status_code == 200
        assert put(writable, "ACME", **ACME | {"price": price}).status_code == 200
        for session in (writable.http, other, requests.Session()):
            assert session.get(f"{writable.url}/api/stocks/ACME", timeout=30).json()["price"] == price


def test_a_write_is_seen_at_once_on_its_own_fastcgi_connection(writable):
    with Client(writable.dir / "larder.sock") as client:
        for price in range(1, 20):
            body = f'{{"name": "Acme", "sector": "Anvils", "price": {price}}}'.encode()
            assert client.ask("/api/stocks/ACME", "PUT", body=body, token=writable.admin_token).status_code == 200
            assert client.ask("/api/stocks/ACME").json()["price"] == price
            assert client.ask("/api/stocks/ACME").json()["price"] == price
            assert client.ask("/api/stocks/ACME").headers["X-Cache"] == "HIT"


def test_a_cached_404_goes_when_the_row_comes(writable):
    delete(writable, "NEWCO")
    assert [writable.get("/api/stocks/NEWCO").status_code for _ in range(2)] == [404, 404]
    put(writable, "NEWCO", name="New Company", sector="Novelties")
    assert writable.get("/api/stocks/NEWCO").json()["name"] == "New Company"


def test_lists_and_leaderboards_change_at_once(writable):
    delete(writable, "ACME")
    paths = {"/api/stocks/?sector=Anvils": [], "/api/stocks/top?limit=100": None, "/api/stocks/leaderboard/top?board=value&limit=200": None}

    def holds():
        return [any(item["ticker"] == "ACME" for item in writable.get(path).json()["items"]) for path in paths]

    for _ in range(2):
        assert holds() == [False] * 3
        assert holds() == [False] * 3
        assert [writable.get(path).headers["X-Cache"] for path in paths] == ["HIT"] * 3
        put(writable, "ACME", **ACME)
        assert [writable.get(path).headers["X-Cache"] for path in paths] == ["MISS"] * 3
        assert holds() == [True] * 3
        delete(writable, "ACME")


def test_other_stocks_stay_cached(writable):
    put(writable, "ACME", **ACME)
    writable.get("/api/stocks/AAPL")
    put(writable, "ACME", **ACME)
    assert writable.get("/api/stocks/AAPL").headers["X-Cache"] == "HIT"


def test_the_boards_follow_the_row(writable):
    put(writable, "ACME", **ACME)
    assert scores(writable, "ACME") == {"momentum": pytest.approx(51), "value": pytest.approx(10)}
    put(writable, "ACME", **ACME | {"price": 100})
    assert scores(writable, "ACME") == {"momentum": pytest.approx(100), "value": pytest.approx(7.55)}
    put(writable, "ACME", **ACME | {"price": 500})
    assert scores(writable, "ACME")["momentum"] == 100
    put(writable, "ACME", name="Acme", sector="Anvils", price=10)
    assert scores(writable, "ACME") == {}


def test_null_and_absent_mean_the_same(writable):
    assert put(writable, "ACME", **ACME | {"price": None, "market_cap": None}).json()["price"] is None
    assert put(writable, "ACME", name="Acme", sector="Anvils").json()["market_cap"] is None


def test_a_body_of_unknown_length_is_taken(writable):
    body = json.dumps(ACME | {"name": "Chunked"}).encode()
    answer = writable.request("PUT", "/api/stocks/ACME", admin=True, data=iter([body[:10], body[10:]]), headers={"Content-Type": "application/json"})
    assert answer.status_code == 200 and answer.json()["name"] == "Chunked"


def test_a_body_of_many_records_is_taken(writable):
    padding = b" " * 900_000
    answer = writable.request("PUT", "/api/stocks/ACME", admin=True, data=json.dumps(ACME).encode() + padding, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    with Client(writable.dir / "larder.sock") as client:
        for count in (0, 100, 48 * 1024, 100_000, 900_000):
            answer = client.ask("/api/stocks/ACME", "PUT", body=json.dumps(ACME).encode() + padding[:count], token=writable.admin_token)
            assert answer.status_code == 200 and client.ask("/api/stocks/ACME").status_code == 200


def test_whole_numbers_are_kept_to_the_last_digit(writable):
    for number in (2**53 + 1, 2**63 - 1):
        assert put(writable, "ACME", **ACME | {"market_cap": number}).json()["market_cap"] == number
        assert writable.get("/api/stocks/ACME").json()["market_cap"] == number


def test_text_is_kept_to_the_last_byte(writable):
    name = "Ünïcode “quotes” \\ / \" \u0001 \u2028 𝄞 </script>"
    assert put(writable, "ACME", **ACME | {"name": name}).json()["name"] == name
    assert writable.get("/api/stocks/ACME").json()["name"] == name


def test_half_a_surrogate_pair_is_no_text(writable):
    before = rows(writable)
    for data in (b'{"name": "A\\ud800B", "sector": "Anvils"}', b'{"name": "A\\udd1eB", "sector": "Anvils"}'):
        answer = writable.request("PUT", "/api/stocks/ACME", admin=True, data=data, headers={"Content-Type": "application/json"})
        assert_problem(answer, 400, "half a surrogate pair")
    assert rows(writable) == before
    # What only looks like one is text.
    for name in ("A\\ud800B", "A𝄞B"):
        assert put(writable, "ACME", **ACME | {"name": name}).json()["name"] == name


# Who may, and what is refused.

@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_writing_needs_the_token(writable, method):
    put(writable, "ACME", **ACME)
    before = rows(writable)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {writable.admin_token}"}, {"Authorization": "Bearer"},
                    {"Authorization": f"Bearer {writable.admin_token[:-1]}"}, {"Authorization": f"Bearer {writable.admin_token}x"}):
        answer = writable.request(method, "/api/stocks/ACME", json=ACME | {"price": 1}, headers=headers)
        assert_problem(answer, 401, "Authorization: Bearer")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert rows(writable) == before


def test_what_a_constraint_refuses_is_409_and_not_written(writable):
    put(writable, "ACME", **ACME)
    before = rows(writable)
    assert_problem(put(writable, "ACME", **ACME | {"week_52_low": 2, "week_52_high": 1}), 409, "CHECK", "Nothing was written")
    assert rows(writable) == before
    assert writable.get("/api/stocks/ACME").json()["week_52_low"] == 50


# Many at once.

def test_sixteen_writers_at_once_lose_nothing(writable):
    each = 12

    def write(number):
        session = requests.Session()
        return [put(writable, f"W{number}", session, name=f"Writer {number}", sector="Writers", price=price).json()["price"] for price in range(each)]

    before = writable.get("/stats").json()["writer"]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(write, range(16)))
    assert answers == [list(range(each))] * 16
    assert rows(writable, "SELECT ticker, price FROM stocks WHERE sector = 'Writers' ORDER BY ticker") == sorted((f"W{n}", each - 1) for n in range(16))
    assert {item["ticker"]: item["price"] for item in writable.get("/api/stocks/?sector=Writers").json()["items"]} == {f"W{n}": each - 1 for n in range(16)}
    after = writable.get("/stats").json()["writer"]
    assert after["committed"] - before["committed"] == 16 * each
    assert 0 < after["commits"] - before["commits"] <= 16 * each


def test_one_bad_write_among_many_fails_alone(writable):
    def write(number):
        values = ACME | {"name": f"G{number}", "sector": "Group"} | ({"week_52_low": 200} if number % 4 == 0 else {})
        return put(writable, f"G{number}", requests.Session(), **values).status_code

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(write, range(32)))
    assert statuses == [409 if number % 4 == 0 else 200 for number in range(32)]
    assert {row[0] for row in rows(writable, "SELECT ticker FROM stocks WHERE sector = 'Group'")} == {f"G{n}" for n in range(32) if n % 4}


def test_readers_among_writers_never_see_less_than_was_acknowledged(writable):
    put(writable, "COUNT", name="Counter", sector="Counters", price=0)
    seen = []

    def read(session, at_least):
        price = session.get(f"{writable.url}/api/stocks/COUNT", timeout=30).json()["price"]
        seen.append(price >= at_least)

    sessions = [requests.Session() for _ in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for price in range(1, 60):
            assert put(writable, "COUNT", name="Counter", sector="Counters", price=price).status_code == 200
            list(pool.map(lambda session: read(session, price), sessions))
    assert all(seen)


# Other shapes of writing resources.

@pytest.fixture(scope="module")
def notes(make_session_stack, tmp_path_factory):
    sql = copy_sql(tmp_path_factory.mktemp("notes") / "sql", **{"add-note": ADD_NOTE, "clear-notes": CLEAR_NOTES, "count-notes": COUNT_NOTES})
    (sql / "migrations" / "0004-notes.sql").write_text(NOTES)
    return make_session_stack("--sql", sql, *PATIENT)


def test_post_answers_201_with_what_it_returns(notes):
    notes.request("DELETE", "/api/notes", admin=True)
    assert notes.get("/api/notes").json() == 0
    answer = notes.request("POST", "/api/notes", admin=True, json={"text": "one"})
    assert answer.status_code == 201 and answer.json()["text"] == "one" and answer.json()["id"] > 0
    assert notes.get("/api/notes").json() == 1
    assert notes.request("POST", "/api/notes?text=two", admin=True).status_code == 201
    assert_problem(notes.request("POST", "/api/notes", admin=True, json={"text": "one"}), 409, "UNIQUE", "notes.text")
    assert notes.get("/api/notes").json() == 2


def test_a_write_that_returns_nothing_answers_204(notes):
    notes.request("POST", "/api/notes", admin=True, json={"text": "to be cleared"})
    answer = notes.request("DELETE", "/api/notes", admin=True)
    assert answer.status_code == 204 and answer.content == b"" and "Content-Type" not in answer.headers
    assert notes.get("/api/notes").json() == 0


# larder import.

def test_import_while_the_server_runs_is_seen_at_once(writable, tmp_path):
    file = write_csv(tmp_path / "some.csv", line("IMPA", price="10"), line("IMPB", "Brown–Forman, “Inc.”", price=""), line("AAPL", "Apple", price="123.25"))
    for path in ("/api/stocks/IMPA", "/api/stocks/AAPL", "/api/stocks/", "/api/stocks/top", "/api/stocks/leaderboard/top?limit=200"):
        writable.get(path)
    result = writable.larder("import", "stocks", file)
    assert result.stdout == "3 rows imported\n" and result.stderr == ""
    assert writable.get("/api/stocks/IMPA").json()["price"] == 10
    assert writable.get("/api/stocks/IMPB").json()["price"] is None
    assert writable.get("/api/stocks/IMPB").json()["name"] == "Brown–Forman, “Inc.”"
    assert writable.get("/api/stocks/AAPL").json()["price"] == 123.25
    assert "IMPA" in [item["ticker"] for item in writable.get("/api/stocks/?limit=200").json()["items"]]
    board = {item["ticker"]: item["score"] for item in writable.get("/api/stocks/leaderboard/top?limit=200").json()["items"]}
    assert board["IMPA"] == pytest.approx(33.3333) and "IMPB" not in board


def test_import_of_the_real_data_over_the_sample(writable):
    result = writable.larder("import", "stocks", data_file())
    assert result.stdout == "503 rows imported\n"
    assert writable.get("/api/stocks/BF.B").json()["name"] == "Brown–Forman"
    assert rows(writable, "SELECT count(*) FROM stocks WHERE ticker = 'BF.B' AND price IS NULL") == [(1,)]
    assert rows(writable, "SELECT count(*) FROM larder_scores") == rows(writable, "SELECT count(*) FROM stock_scores")


def test_an_import_that_cannot_reach_the_server_leaves_the_purge_to_it(writable, tmp_path):
    assert writable.larder("import", "stocks", write_csv(tmp_path / "old.csv", line("FAR", price="1"))).returncode == 0
    assert writable.get("/api/stocks/FAR").json()["price"] == 1
    unreachable = {"LARDER_SERVER_SOCKET": str(tmp_path / "elsewhere.sock"), "LARDER_REDIS_URL": "memory:"}
    result = writable.larder("import", "stocks", write_csv(tmp_path / "new.csv", line("FAR", price="2")), env={**os.environ, **unreachable})
    assert result.stdout == "1 rows imported\n" and "as soon as a server can tell it" in result.stderr
    wait_for("the server has found the purge", lambda: writable.get("/api/stocks/FAR").json()["price"] == 2)


@pytest.mark.parametrize("lines, number, words", [
    ([line("GOODA"), line("GOODB"), line("BADC", price="ten")], 4, "price"),
    ([line("GOODA"), line("bad ticker")], 3, "CHECK"),
    ([line("GOODA"), line("BADB", name="")], 3, "NOT NULL"),
    ([line("BADA", low="9", high="8")], 2, "CHECK"),
    ([line("GOODA"), line("BADB")[:-1]], 3, "13 cells where the header has 14; nothing was imported"),
    ([line("GOODA"), line("BADB") + ["more"]], 3, "15 cells"),
    ([line("GOODA", name="two\nlines"), line("BADB", price="ten")], 4, "price"),
], ids=["text for a number", "a ticker that is none", "no name", "a range upside down", "a cell too few", "a cell too many", "after a row of two lines"])
def test_a_bad_row_is_named_by_its_line_and_nothing_is_imported(writable, tmp_path, lines, number, words):
    file, before = write_csv(tmp_path / "bad.csv", *lines), rows(writable)
    result = writable.larder("import", "stocks", file, check=False)
    assert result.returncode == 1 and result.stdout == ""
    assert f"{file}:{number}: " in result.stderr and words in result.stderr
    assert rows(writable) == before
    assert_problem(writable.get("/api/stocks/GOODA"), 404)


@pytest.mark.parametrize("content, words", [
    (b"", "bad.csv:1: the file is empty"),
    (b"Colour,Shape\nred,round\n", "bad.csv:1: "),
    (b"Symbol;Name;Sector\nAAPL;Apple;Tech\n", "bad.csv:1: the header is one column; put commas"),
    (b"Symbol,Name,Sector\nAAPL,Apple,Tech\n", "bad.csv:2: no parameter or column gives :price a value"),
    (b"Symbol,Name,symbol\nA,B,C\n", "bad.csv:1: two columns"),
    (b'Symbol,Name,Sector\nAAPL,"Apple,Tech\n', "bad.csv:2: "),
    (b'Symbol,Name,Sector\nAAPL,"Apple"x,Tech\n', "bad.csv:2: "),
    (b"Symbol,Name,Sector\nAAPL,App\xffle,Tech\n", "bad.csv:2: text that is not UTF-8"),
    (b"Symbol,Name,Sector\nAAPL,App\x00le,Tech\n", "bad.csv:2: "),
], ids=["empty", "other columns", "semicolons", "a column missing", "a column twice", "an open quote", "text behind a quote", "not UTF-8", "a zero byte"])
def test_a_file_that_is_no_such_csv_is_refused_as_a_whole(writable, tmp_path, content, words):
    before = rows(writable)
    (tmp_path / "bad.csv").write_bytes(content)
    result = writable.larder("import", "stocks", tmp_path / "bad.csv", check=False)
    assert result.returncode == 1 and words in result.stderr and result.stderr.endswith("; nothing was imported\n")
    assert rows(writable) == before


def test_imports_that_cannot_begin(writable, tmp_path):
    missing = writable.larder("import", "stocks", tmp_path / "missing.csv", check=False)
    assert missing.returncode == 1 and "missing.csv" in missing.stderr
    for arguments in (["import"], ["import", "stocks"], ["import", "nothing", tmp_path / "a.csv"], ["import", "../import/stocks", tmp_path / "a.csv"]):
        result = writable.larder(*arguments, check=False)
        assert result.returncode == 2 and result.stderr
