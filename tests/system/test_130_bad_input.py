"""Bad input and what it gets, line by line.

Each case goes through nginx and, as nginx mends or refuses some of it, also straight to larder's socket. After each the
database, the keys and the workers are what they were before. Bad resource and configuration files are in test_200, trouble
with SQLite in test_210, bad CSV rows in test_110.
"""

import contextlib
import json
import random
import re
import socket
import sqlite3
import struct
import threading
import time

import pytest
import requests

import fcgi
import raw
from conftest import PATIENT, assert_problem, wait_for

GOOD = b'{"name": "Good", "sector": "Goods", "price": 1}'
HEAD_TIMEOUT_S = 3  # so that it is the head that is slow, and not the machine


@pytest.fixture(scope="module")
def target(make_session_stack):
    return make_session_stack("--set", f"server.head_timeout={HEAD_TIMEOUT_S}s", *PATIENT)


def database(stack):
    """All there is, but for what the housekeeper has the writer note or remove when it comes to it."""
    with sqlite3.connect(f"file:{stack.database}?mode=ro", uri=True) as db:
        lines = [line for line in db.iterdump() if not line.startswith(('INSERT INTO "larder_score_log"', 'INSERT INTO "larder_told"'))]
    # Up to which change what depends on a table has been purged; how many there were stays.
    return [re.sub(r"""^(INSERT INTO "larder_changes" VALUES\(.*),\d+\);$""", r"\1);", line) for line in lines]


def state(stack):
    return {"database": database(stack), "keys": stack.keys(), "workers": stack.children("worker"), "writer": stack.children("writer"),
            "crashes": stack.counters()["worker_crashes"]}


@pytest.fixture
def unharmed(target):
    """The stack, of which the test must leave everything as it was, that is, as the test before left it."""
    before = getattr(target, "left_as", None) or state(target)
    yield target
    assert target.get("/healthz").status_code == 200
    assert target.get("/api/stocks/AAPL").status_code == 200
    target.invalidate(key="stocks:detail:AAPL")
    before["keys"] = [key for key in before["keys"] if key != "stocks:detail:AAPL"]
    target.left_as = state(target)
    assert target.left_as == before


@pytest.fixture(params=["nginx", "fastcgi"])
def ask(request, unharmed):
    """ask(path, method, body, headers) by either way."""
    def by_nginx(path, method="GET", body=b"", headers=()):
        return raw.ask(unharmed.port, path, method, headers, body)

    def by_fastcgi(path, method="GET", body=b"", headers=()):
        variables = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers}
        variables["CONTENT_TYPE"] = variables.pop("HTTP_CONTENT_TYPE", "")
        with fcgi.Client(unharmed.dir / "larder.sock") as client:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # an answer that did not wait for the rest of the body
                client.send(fcgi.request(path, method, body=body, **variables))
            return client.read_answer()

    return by_nginx if request.param == "nginx" else by_fastcgi


def write(ask, stack, body, content_type="application/json", ticker="BAD", method="PUT"):
    headers = [("Authorization", f"Bearer {stack.admin_token}")] + ([("Content-Type", content_type)] if content_type is not None else [])
    return ask(f"/api/stocks/{ticker}", method, body, headers)


# Line 1: parameters.

@pytest.mark.parametrize("query, words", [
    ("?colour=red", ["`colour` is unknown", "allowed: sector, q, min_price"]),
    ("?LIMIT=1", ["`LIMIT` is unknown"]),
    ("?limit", ["`limit` must be a whole number from 1 to 200"]),
    ("?limit=1&limit=2", ["`limit` is given more than once"]),
    ("?limit=1&limit=1", ["`limit` is given more than once"]),
    ("?limit=1&%6Cimit=2", ["`limit` is given more than once"]),
    ("?limit=", ["`limit` must be a whole number from 1 to 200"]),
    ("?limit=ten", ["`limit` must be a whole number from 1 to 200"]),
    ("?limit=1.5", ["`limit` must be a whole number"]),
    ("?limit=1e1", ["`limit` must be a whole number"]),
    ("?limit=0x10", ["`limit` must be a whole number"]),
    ("?limit=%D9%A3", ["`limit` must be a whole number"]),
    ("?limit=+1", ["`limit` must be a whole number"]),
    ("?limit=0", ["`limit` must be a whole number from 1 to 200"]),
    ("?limit=201", ["`limit` must be a whole number from 1 to 200"]),
    ("?limit=-1", ["`limit` must be a whole number from 1 to 200"]),
    ("?limit=99999999999999999999", ["`limit` must be a whole number from 1 to 200"]),
    ("?offset=-1", ["`offset` must be a whole number from 0 to 1000000"]),
    ("?offset=1000001", ["`offset` must be a whole number from 0 to 1000000"]),
    ("?min_price=cheap", ["`min_price` must be a number"]),
    ("?min_price=-1", ["`min_price` must be a number of at least 0"]),
    ("?min_price=nan", ["`min_price` must be a number"]),
    ("?min_price=inf", ["`min_price` must be a number"]),
    ("?min_price=1e999", ["`min_price` must be a number"]),
    ("?min_price=1,5", ["`min_price` must be a number"]),
    ("?max_price=", ["`max_price` must be a number"]),
    ("?sort=name", ["`sort` must be one of ticker, price, market_cap, dividend_yield"]),
    ("?order=down", ["`order` must be one of asc, desc"]),
    ("?order=ASC", ["`order` must be one of asc, desc"]),
    ("?sector=", ["`sector` must be text from 1 to 100 characters"]),
    ("?sector=" + "x" * 101, ["`sector` must be text from 1 to 100 characters"]),
    ("?q=" + "x" * 65, ["`q` must be text from 0 to 64 characters"]),
    ("?q=" + "%C3%BC" * 65, ["`q` must be text from 0 to 64 characters"]),
    ("?q=" + "x" * 6000, ["`q` must"]),
    ("?=1", ["a parameter without a name"]),
    ("?q=%00", ["control character"]),
    ("?q=a%0Ab", ["control character"]),
    ("?q=%zz", ["broken percent escape"]),
    ("?q=%", ["broken percent escape"]),
    ("?q=%4", ["broken percent escape"]),
    ("?q=%FF", ["not UTF-8"]),
    ("?q=%C0%AF", ["not UTF-8"]),
    ("?q=%ED%A0%80", ["not UTF-8"]),
    ("?q=%F4%90%80%80", ["not UTF-8"]),
    ("?" + "&".join(f"p{number}=1" for number in range(500)), ["parameters"]),
    ("AAPL?x=1", ["`x` is unknown"]),
    ("AAPL?ticker=MSFT", ["`ticker` is given more than once"]),
    ("1AAPL", ["`ticker` must be text that matches ^[A-Z][A-Z0-9.-]{0,9}$"]),
    ("AAPL!", ["`ticker` must be text that matches"]),
    ("A%20B", ["`ticker` must be text that matches"]),
    ("AAPL%C3%BC", ["`ticker` must be text that matches"]),
    ("ABCDEFGHIJK", ["`ticker` must be text that matches"]),
    ("top?by=price", ["`by` must be one of market_cap, dividend_yield, price_earnings"]),
    ("top?limit=101", ["`limit` must be a whole number from 1 to 100"]),
    ("leaderboard/top?board=fame", ["`board` must be one of momentum, value"]),
], ids=lambda value: value[:40] if isinstance(value, str) else "")
def test_a_wrong_parameter_is_named_with_what_is_allowed(ask, query, words):
    assert_problem(ask("/api/stocks/" + query), 400, *words)


# Line 2: what is not there.

def test_an_unknown_ticker_is_404_and_cached_as_negative(target):
    target.invalidate(key="stocks:detail:NOSUCH")
    answers = [target.get("/api/stocks/NOSUCH") for _ in range(2)]
    for answer in answers:
        assert_problem(answer, 404)
    assert answers[1].headers["X-Cache"] == "NEGATIVE" and target.keys("*NOSUCH") == ["stocks:detail:NOSUCH"]
    target.invalidate(key="stocks:detail:NOSUCH")


@pytest.mark.parametrize("path", ["/api/nothing", "/api/", "/api/stocks/AAPL/more", "/api/stocks/AAPL//", "/api/STOCKS/AAPL", "/api/stock",
                                  "/api/cache/", "/api/cache/nothing", "/api/" + "x/" * 50])
def test_an_unknown_route_is_404(ask, path):
    assert_problem(ask(path), 404, "Nothing is at this path")


@pytest.mark.parametrize("method, path, allowed", [
    ("POST", "/api/stocks/", {"GET", "HEAD", "OPTIONS", "PURGE"}),
    ("PATCH", "/api/stocks/AAPL", {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PURGE"}),
    ("POST", "/api/stocks/AAPL", {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PURGE"}),
    ("BREW", "/api/stocks/AAPL", {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PURGE"}),
    ("DELETE", "/api/stocks/top/more", None),
    ("GET", "/api/cache/invalidate", {"POST", "OPTIONS"}),
    ("PUT", "/api/cache/keys", {"GET", "HEAD", "OPTIONS", "PURGE"}),
    ("POST", "/healthz", {"GET", "HEAD", "OPTIONS", "PURGE"}),
])
def test_a_wrong_method_is_405_with_allow(ask, method, path, allowed):
    answer = ask(path, method)
    if allowed is None:
        assert_problem(answer, 404)
    else:
        assert_problem(answer, 405, "takes")
        assert set(answer.headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize("method", ["get", "GETS", "G", "GET ", "X" * 5000])
def test_a_method_that_nginx_would_not_pass_on_is_405(unharmed, method):
    with fcgi.Client(unharmed.dir / "larder.sock") as client:
        assert_problem(client.ask("/api/stocks/AAPL", method), 405)


def test_options_tells_the_methods(ask):
    answer = ask("/api/stocks/AAPL", "OPTIONS")
    assert answer.status_code == 204 and answer.content == b""
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PURGE"}


# Line 3: bodies.

@pytest.mark.parametrize("body, status, words", [
    (b"name=Bad&sector=Bads", 400, "JSON"),
    (b"{", 400, "name"),
    (b"{}x", 400, ""),
    (b"nul", 400, ""),
    (b"null", 400, "object"),
    (b"[1]", 400, "object"),
    (b'"text"', 400, "object"),
    (b'{"name": "Bad", "name": "Bad", "sector": "Bads"}', 400, "given before"),
    (b'{"name": "Bad", "sector": "Bads",}', 400, ""),
    (b'{"name": "Bad" "sector": "Bads"}', 400, ""),
    (b"{'name': 'Bad', 'sector': 'Bads'}", 400, ""),
    (b'{"name": "Bad", "sector": "Bads"} {}', 400, ""),
    (b'{"name": "B\xffd", "sector": "Bads"}', 400, "UTF-8"),
    (b'{"name": "B\nd", "sector": "Bads"}', 400, ""),
    (b'{"name": "Bad", "sector": "Bads", "price": 01}', 400, ""),
    (b'{"name": "Bad", "sector": "Bads", "price": NaN}', 400, ""),
    (b'{"name": "Bad", "sector": "Bads", "price": 1.}', 400, ""),
    (b'{"name": "Bad", "sector": "Bads", "price": +1}', 400, ""),
    (b'{"name": "Bad", "sector": "Bads", "x": ' + b"[" * 2000 + b"]" * 2000 + b"}", 400, ""),
    (b"\x00" * 20, 400, ""),
    (b"{" + b",".join(b'"m%d": 1' % number for number in range(2000)) + b"}", 400, "members"),
    (b'{"name": 5, "sector": "Bads"}', 422, "`name` must be a string"),
    (b'{"name": true, "sector": "Bads"}', 422, "`name` must be a string"),
    (b'{"name": ["Bad"], "sector": "Bads"}', 422, "`name` must be a string"),
    (b'{"name": {"a": 1}, "sector": "Bads"}', 422, "`name` must be a string"),
    (b'{"name": null, "sector": "Bads"}', 422, "`name` must be a string"),
    (b'{"name": "Bad", "sector": "Bads", "price": "12"}', 422, "`price` must be a number, or null"),
    (b'{"name": "Bad", "sector": "Bads", "price": -1}', 422, "`price` must be a number from 0"),
    (b'{"name": "Bad", "sector": "Bads", "price": 1e999}', 422, "`price` must be a number"),
    (b'{"name": "Bad", "sector": "Bads", "market_cap": 1.5}', 422, "`market_cap` must be a whole number"),
    (b'{"name": "Bad", "sector": "Bads", "market_cap": 9223372036854775808}', 422, "`market_cap` must be a whole number"),
    (b'{"name": "", "sector": "Bads"}', 422, "`name` must be text from 1 to 200 characters"),
    (b'{"name": "' + b"x" * 201 + b'", "sector": "Bads"}', 422, "`name` must be text from 1 to 200 characters"),
    (b'{"name": "B\\u0000d", "sector": "Bads"}', 422, "`name`"),
    (b'{"name": "Bad", "sector": "Bads", "colour": "red"}', 422, '"colour" is unknown'),
    (b'{"name": "Bad"}', 422, "`sector` is missing"),
    (b"{}", 422, "`name` is missing"),
    (b'{"name": "Bad", "sector": "Bads", "ticker": "OTHER"}', 400, "`ticker` is given more than once"),
], ids=lambda value: value[:40].decode("ascii", "replace") if isinstance(value, bytes) else "")
def test_a_wrong_body_changes_nothing(ask, unharmed, body, status, words):
    answer = write(ask, unharmed, body)
    assert_problem(answer, status, words)


def test_a_missing_body_says_what_is_missing(ask, unharmed):
    assert_problem(write(ask, unharmed, b"", None), 400, "`name` is missing")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "application", "", None, "json; application/json"])
def test_a_wrong_content_type_is_415(ask, unharmed, content_type):
    assert_problem(write(ask, unharmed, GOOD, content_type), 415, "Content-Type: application/json")


@pytest.mark.parametrize("size", [(1 << 20) + 1, 9 << 20])
def test_a_body_that_is_too_large_is_413(ask, unharmed, size):
    answer = write(ask, unharmed, GOOD + b" " * (size - len(GOOD)))
    assert_problem(answer, 413, "body is larger")


def test_a_body_that_is_too_large_and_never_sent_is_413(unharmed):
    with fcgi.Client(unharmed.dir / "larder.sock") as client:
        head = fcgi.variables("/api/stocks/BAD", "PUT", token=unharmed.admin_token, CONTENT_TYPE="application/json", CONTENT_LENGTH=1 << 39)
        client.send(fcgi.begin() + fcgi.stream(fcgi.PARAMS, fcgi.pairs(head)))
        assert_problem(client.read_answer(), 413)
        assert client.is_closed()


@pytest.mark.parametrize("announced", ["ten", "-1", "1e3", "+5", " 5", "0x10", "99999999999999999999", str(len(GOOD) + 1), str(len(GOOD) - 1), "0"])
def test_a_length_that_is_none_or_not_true_is_400(unharmed, announced):
    with fcgi.Client(unharmed.dir / "larder.sock") as client:
        answer = client.ask("/api/stocks/BAD", "PUT", body=GOOD, token=unharmed.admin_token, CONTENT_LENGTH=announced)
        assert_problem(answer, 400)


# Line 4: patterns.

@pytest.mark.parametrize("body", [{"pattern": ""}, {"pattern": "*"}, {"pattern": "****"}, {"pattern": "*", "all": False}], ids=str)
def test_a_pattern_for_everything_is_refused_unless_all_is_said(ask, unharmed, body):
    headers = [("Authorization", f"Bearer {unharmed.admin_token}"), ("Content-Type", "application/json")]
    assert_problem(ask("/api/cache/invalidate", "POST", json.dumps(body).encode(), headers), 422, '"all": true')


# Line 5: paths and headers.

@pytest.mark.parametrize("path", [
    "/api/stocks/A%00B", "/api/stocks/%00", "/api/%00/AAPL", "/api/stocks/A%2FB", "/api/stocks%2FAAPL", "/api/stocks/%2e%2e/AAPL", "/api/stocks/../stocks2/AAPL",
    "/api/stocks/./AAPL", "/api/stocks/%C0%AF", "/api/stocks/%C0%80", "/api/stocks/%E0%80%AF", "/api/stocks/%ED%A0%80", "/api/stocks/%FF", "/api/stocks/%F5%80%80%80",
    "/api/stocks/%", "/api/stocks/%4", "/api/stocks/%GG", "/api/stocks/A%0AB", "/api/stocks/A%7F", "/api/stocks/" + "A" * 7000, "/api/stocks/" + "%41" * 2000,
    b"/api/stocks/\xff\xfe", b"/api/stocks/\xc3\xbc", "/api//stocks/", "//", "/api/stocks//AAPL", "/api/stocks/" + "/" * 3000, "/api/stocks/*", "/api/stocks/A:B",
    "/api/stocks/{ticker}", "/api/cache/key/", "/api/stocks/AAPL;v=1",
], ids=lambda path: str(path)[:40])
def test_a_path_that_is_none_gets_400_or_404(ask, path):
    answer = ask(path)
    assert answer.status_code in (400, 404), answer.content


@pytest.mark.parametrize("length", [8193, 20_000, 60_000])
def test_a_path_of_over_8_kib_is_refused(ask, request, length):
    answer = ask("/api/stocks/" + "A" * (length - 12))
    assert answer.status_code == (414 if "nginx" in request.node.name else 400)


@pytest.mark.parametrize("uri", [b"/api/stocks/A\x00B", b"/api/stocks/A\nB", b"/api/stocks/A\rB", b"/api/stocks/\x1b[2J", b"/api/stocks/A\x7f", b"/api/stocks/?q=a\x01b",
                                 b"/api/stocks/?q=\xff", b"*", b"AAPL", b"http:", b"ftp://localhost/api/stocks/", b"\\api\\stocks", b" /api/stocks/"])
def test_control_characters_and_other_targets_over_fastcgi(unharmed, uri):
    with fcgi.Client(unharmed.dir / "larder.sock") as client:
        answer = client.ask(uri)
        assert_problem(answer, answer.status_code)
        assert answer.status_code in (400, 404)


@pytest.mark.parametrize("value", [b"\x01", b"a\x00b", b"a\r\nX-Injected: yes", b"a\nb", b"\x7f", b"\x1b[31m"])
@pytest.mark.parametrize("name", ["If-None-Match", "Authorization", "X-Request-ID", "Traceparent", "Content-Type", "Accept-Encoding"])
def test_a_header_with_control_characters_is_400(unharmed, name, value):
    variable = name.upper().replace("-", "_")
    with fcgi.Client(unharmed.dir / "larder.sock") as client:
        answer = client.ask("/api/stocks/", **{variable if name == "Content-Type" else "HTTP_" + variable: value})
        assert_problem(answer, 400)
        assert "X-Injected" not in answer.headers


@pytest.mark.parametrize("value", [b"\x01", b"\x7f", b"a\x1bb"])
def test_a_header_with_control_characters_through_nginx_is_400(unharmed, value):
    assert raw.ask(unharmed.port, "/api/stocks/?limit=1", headers=[("If-None-Match", value)]).status_code == 400


def test_a_request_without_method_is_400(unharmed):
    with fcgi.Client(unharmed.dir / "larder.sock") as client:
        assert_problem(client.ask("/api/stocks/", REQUEST_METHOD=""), 400, "REQUEST_METHOD")


# Line 6: malformed FastCGI.

def params(content):
    return fcgi.record(fcgi.PARAMS, content)


END = fcgi.record(fcgi.PARAMS) + fcgi.record(fcgi.STDIN)
ONE = params(fcgi.pairs(fcgi.variables("/api/stocks/")))
CLOSED = {
    "version 0": fcgi.record(fcgi.BEGIN_REQUEST, bytes(8), version=0),
    "version 2": fcgi.record(fcgi.BEGIN_REQUEST, bytes(8), version=2),
    "version 255 later": fcgi.begin() + fcgi.record(fcgi.PARAMS, b"", version=255),
    "HTTP": b"GET /api/stocks/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "parameters first": ONE + END,
    "body first": fcgi.record(fcgi.STDIN, b"x"),
    "request 0": fcgi.begin(request=0) + END,
    "a beginning too short": fcgi.record(fcgi.BEGIN_REQUEST, bytes(7)),
    "a beginning too long": fcgi.record(fcgi.BEGIN_REQUEST, bytes(9)),
    "an empty beginning": fcgi.record(fcgi.BEGIN_REQUEST),
    "a padded beginning": fcgi.record(fcgi.BEGIN_REQUEST, struct.pack("!HB5x", 1, 1), padding=8) + ONE + END,
    "authorizer": fcgi.begin(role=fcgi.AUTHORIZER) + ONE + END,
    "role 0": fcgi.begin(role=0) + ONE + END,
    "role 65535": fcgi.begin(role=65535) + ONE + END,
    "another request's parameters": fcgi.begin() + fcgi.record(fcgi.PARAMS, b"", request=2),
    "two beginnings": fcgi.begin() + fcgi.begin(),
    "output from the client": fcgi.begin() + fcgi.record(fcgi.STDOUT, b"x"),
    "an unknown record in the head": fcgi.begin() + fcgi.record(77, b"x"),
    "aborted in the head": fcgi.begin() + fcgi.record(fcgi.ABORT_REQUEST),
    "body within the head": fcgi.begin() + fcgi.record(fcgi.STDIN),
    "a parameter cut off": fcgi.begin() + params(fcgi.pair(b"REQUEST_METHOD", b"GET")[:-1]) + END,
    "a length cut off": fcgi.begin() + params(b"\x80\x00") + END,
    "2 GiB announced": fcgi.begin() + params(b"\xff\xff\xff\xff\xff\xff\xff\xff" + b"x" * 100) + END,
    "2 GiB of name": fcgi.begin() + params(b"\xff\xff\xff\xff\x01x") + END,
    "2 GiB of value": fcgi.begin() + params(b"\x01\xff\xff\xff\xffx") + END,
    "64 KiB announced": fcgi.begin() + params(b"\x0e\x80\x01\x00\x01REQUEST_METHOD") + END,
    "10,000 parameters": fcgi.begin() + params(fcgi.pair(b"A", b"1") * 10_000) + END,
    "257 parameters": fcgi.begin() + params(fcgi.pair(b"A", b"1") * 257) + END,
    "10,000 empty parameters": fcgi.begin() + params(b"\0\0" * 10_000) + END,
    "a head of over 64 KiB": fcgi.begin() + params(fcgi.pair(b"A", b"x" * 30_000)) * 3 + END,
    "a padded end of parameters": fcgi.begin() + ONE + fcgi.record(fcgi.PARAMS, padding=8) + fcgi.record(fcgi.STDIN),
    "a padded end of the body": fcgi.begin() + ONE + fcgi.record(fcgi.PARAMS) + fcgi.record(fcgi.STDIN, padding=8),
    "another request's body": fcgi.begin() + ONE + fcgi.record(fcgi.PARAMS) + fcgi.record(fcgi.STDIN, request=2),
    "aborted before the body": fcgi.begin() + ONE + fcgi.record(fcgi.PARAMS) + fcgi.record(fcgi.ABORT_REQUEST),
    "two requests at once": fcgi.request("/api/stocks/") * 2,
}


class Neighbour(threading.Thread):
    """Another client, which gets one cached stock over and over."""

    def __init__(self, stack):
        super().__init__()
        self.url, self.stopped, self.hits, self.others = f"{stack.url}/api/stocks/MSFT", threading.Event(), 0, []

    def run(self):
        session = requests.Session()
        while not self.stopped.wait(0.01):
            answer = session.get(self.url, timeout=30)
            if (answer.status_code, answer.headers.get("X-Cache")) == (200, "HIT"):
                self.hits += 1
            else:
                self.others.append((answer.status_code, dict(answer.headers)))


@pytest.fixture
def neighbour(unharmed):
    """The stack, while another client keeps getting hits."""
    unharmed.invalidate(key="stocks:detail:MSFT")
    unharmed.get("/api/stocks/MSFT")
    thread = Neighbour(unharmed)
    thread.start()
    yield unharmed
    before = thread.hits
    wait_for("the other client still gets hits", lambda: thread.hits > before + 2)
    thread.stopped.set()
    thread.join()
    unharmed.invalidate(key="stocks:detail:MSFT")
    assert thread.others == []


@pytest.mark.parametrize("data", CLOSED.values(), ids=CLOSED)
def test_malformed_fastcgi_closes_that_connection_alone(neighbour, data):
    with fcgi.Client(neighbour.dir / "larder.sock") as client:
        try:
            client.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert client.read_answer() is None


def test_a_connection_is_closed_at_the_first_bad_request_not_before(neighbour):
    with fcgi.Client(neighbour.dir / "larder.sock") as client:
        for _ in range(3):
            assert client.ask("/healthz").status_code == 200
        client.send(CLOSED["version 2"])
        assert client.read_answer() is None


def test_what_was_rejected_is_counted_and_logged(neighbour):
    before = neighbour.counters()["connections_rejected"]
    with fcgi.Client(neighbour.dir / "larder.sock") as client:
        client.send(CLOSED["10,000 parameters"])
        assert client.is_closed()
    assert neighbour.counters()["connections_rejected"] == before + 1
    assert "more than 256 parameters" in neighbour.log()


@pytest.mark.parametrize("ends", [True, False], ids=["and the client goes", "and the client stays"])
def test_a_truncated_head_is_closed_at_the_latest_when_its_time_is_up(neighbour, ends):
    clients = []
    for cut in (1, 7, 8, 12, 16, 20, 24, 40, -30, -17, -9, -8, -1):
        clients.append(fcgi.Client(neighbour.dir / "larder.sock", timeout=HEAD_TIMEOUT_S + 10))
        clients[-1].send(fcgi.request("/healthz")[:cut])
        if ends:
            clients[-1].socket.shutdown(socket.SHUT_WR)
    for client in clients:
        assert client.read_answer() is None
        client.socket.close()


def test_bytes_one_by_one_with_long_pauses_are_closed(neighbour):
    with fcgi.Client(neighbour.dir / "larder.sock", timeout=HEAD_TIMEOUT_S + 10) as client:
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for byte in fcgi.request("/healthz"):
                client.send(bytes([byte]))
                time.sleep(0.2)


@pytest.mark.parametrize("size", [3, 5, 8, 50])
def test_bytes_a_few_at_a_time_are_answered(neighbour, size):
    whole = fcgi.request("/healthz")
    with fcgi.Client(neighbour.dir / "larder.sock") as client:
        for _ in range(2):
            for at in range(0, len(whole), size):
                client.send(whole[at:at + size])
            assert client.read_answer().json() == {"status": "ok"}


def test_parameters_cut_into_records_anywhere_are_understood(neighbour):
    content = fcgi.pairs(fcgi.variables("/healthz", UNKNOWN="x" * 300))
    for step in (1, 2, 3, 7, 200):
        records = b"".join(fcgi.record(fcgi.PARAMS, content[at:at + step], padding=at % 5) for at in range(0, len(content), step))
        with fcgi.Client(neighbour.dir / "larder.sock") as client:
            for _ in range(2):
                client.send(fcgi.begin(request=77) + records.replace(struct.pack("!BBH", 1, fcgi.PARAMS, 1), struct.pack("!BBH", 1, fcgi.PARAMS, 77))
                            + fcgi.record(fcgi.PARAMS, request=77) + fcgi.record(fcgi.STDIN, request=77))
                assert client.read_answer().json() == {"status": "ok"}


def test_management_records_are_answered(neighbour):
    with fcgi.Client(neighbour.dir / "larder.sock") as client:
        for _ in range(2):
            client.send(fcgi.record(fcgi.GET_VALUES, fcgi.pair(b"FCGI_MAX_CONNS", b"") + fcgi.pair(b"FCGI_MPXS_CONNS", b"") + fcgi.pair(b"OTHER", b""), request=0))
            kind, number, content = client.read_record()
            assert (kind, number) == (fcgi.GET_VALUES_RESULT, 0)
            assert b"FCGI_MAX_CONNS" in content and fcgi.pair(b"FCGI_MPXS_CONNS", b"0") in content and b"OTHER" not in content
            client.send(fcgi.record(99, b"what is this", request=0, padding=3))
            assert client.read_record() == (fcgi.UNKNOWN_TYPE, 0, bytes([99]) + bytes(7))
            assert client.ask("/healthz").status_code == 200
        client.send(fcgi.record(fcgi.GET_VALUES, b"\xff\xff\xff\xff\xff\xff\xff\xff", request=0) + fcgi.request("/healthz"))
        assert client.read_record()[0] == fcgi.GET_VALUES_RESULT
        assert client.read_answer().status_code == 200


def test_many_management_records_are_answered(neighbour):
    with fcgi.Client(neighbour.dir / "larder.sock") as client:
        client.send(fcgi.record(fcgi.GET_VALUES, fcgi.pair(b"FCGI_MAX_REQS", b""), request=0) * 50)
        assert [client.read_record()[0] for _ in range(50)] == [fcgi.GET_VALUES_RESULT] * 50
        client.send(fcgi.record(fcgi.GET_VALUES, b"\0\0" * 30_000, request=0))
        assert client.read_record() == (fcgi.GET_VALUES_RESULT, 0, b"")


def test_clients_that_do_not_wait_for_their_answer(neighbour):
    def answered():
        return sum(neighbour.get("/stats").json()["by_resource"]["stocks"].values())

    before = answered()
    for number in range(60):
        client = fcgi.Client(neighbour.dir / "larder.sock")
        client.send(fcgi.request("/api/stocks/MSFT" if number % 3 else "/api/stocks/?limit=200"))
        client.socket.close()
    with fcgi.Client(neighbour.dir / "larder.sock") as client:
        assert client.ask("/api/stocks/?limit=200").json()["total"] > 0
    # The last of them may not have been begun yet, and would be cached after the purge.
    wait_for("all of them have been answered", lambda: answered() == before + 20 + 1)
    neighbour.request("PURGE", "/api/stocks/?limit=200", admin=True)


def put(stack, length):
    """The head of a write whose body is LENGTH bytes long."""
    head = fcgi.variables("/api/stocks/BAD", "PUT", token=stack.admin_token, CONTENT_TYPE="application/json", CONTENT_LENGTH=length)
    return fcgi.begin() + fcgi.stream(fcgi.PARAMS, fcgi.pairs(head))


def test_bodies_that_do_not_come_hold_up_nobody(neighbour):
    clients = [fcgi.Client(neighbour.dir / "larder.sock") for _ in range(40)]
    for client in clients:
        client.send(put(neighbour, 100_000) + fcgi.record(fcgi.STDIN, b"{"))
    time.sleep(0.3)
    assert neighbour.get("/api/stocks/MSFT").headers["X-Cache"] == "HIT"
    # Writers neither: who only waits for a body takes no thread.
    assert neighbour.request("PUT", "/api/stocks/BAD", admin=True, data=b"{}", headers={"Content-Type": "application/json"}).status_code == 422
    for client in clients:
        client.socket.close()


def test_a_body_that_is_longer_than_announced_is_not_waited_for(neighbour):
    with fcgi.Client(neighbour.dir / "larder.sock") as client:
        client.send(put(neighbour, 10))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(100):
                client.send(fcgi.record(fcgi.STDIN, b"x" * 8000))
    wait_for("the log says so", lambda: "a body much longer than announced" in neighbour.log())


def test_random_records_in_random_order(neighbour):
    chance = random.Random(20261121)
    kinds = [fcgi.BEGIN_REQUEST, fcgi.PARAMS, fcgi.STDIN, fcgi.GET_VALUES, fcgi.ABORT_REQUEST, fcgi.DATA, 0, 255]
    for _ in range(150):
        data = fcgi.begin() if chance.random() < 0.7 else b""
        for _ in range(chance.randrange(1, 8)):
            data += fcgi.record(chance.choice(kinds), chance.randbytes(chance.choice([0, 1, 8, 300])), chance.choice([0, 1, 1, 1, 2]),
                                chance.choice([0, 0, 3]), chance.choice([1] * 19 + [3]))
        with fcgi.Client(neighbour.dir / "larder.sock") as client:
            try:
                client.send(data)
                client.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            assert client.is_closed()
