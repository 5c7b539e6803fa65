"""larder in every environment it is made for, started from the sample configuration of each: the same questions, the same answers."""

import concurrent.futures
import json
import shutil

import pytest
import requests

import raw
from conftest import assert_problem
from environments import ENVIRONMENTS, FROM, MOUNT, TOKEN, ApacheSite, short_directory, template  # noqa: F401


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def place(request, template):
    yield from started(template, *ENVIRONMENTS[request.param])


@pytest.fixture(scope="module", params=["", MOUNT], ids=["root", "mount"])
def site(request, template):
    yield from started(template, ApacheSite, request.param)


def started(template, kind, mount):
    directory = short_directory()
    environment = kind(template, directory, mount)
    try:
        environment.start()
        yield environment
    finally:
        environment.stop()
        shutil.rmtree(directory, ignore_errors=True)


def outcome(answer):
    return answer.headers["X-Cache"]


def test_a_miss_and_then_a_hit(place):
    first, second = (place.get("/api/echo/hello?note=a%20b") for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json() == {"word": "hello", "note": "a b"}
    assert (outcome(first), outcome(second)) == ("MISS", "HIT")
    assert first.headers["ETag"] == second.headers["ETag"]
    assert first.headers["Content-Type"] == "application/json" and "Age" in second.headers
    assert second.headers["Cache-Status"].startswith("larder; hit; ttl=")


@pytest.mark.parametrize("path, word", [
    ("caf%C3%A9", "café"), ("%E2%82%AC%20%25", "€ %"), ("x;y=1,z@", "x;y=1,z@"), ("a%3Fb%23c", "a?b#c"),
    ("1+1", "1+1"), ("%41bc", "Abc")])
def test_what_is_percent_encoded_in_the_path(place, path, word):
    assert place.get(f"/api/echo/{path}").json() == {"word": word, "note": None}


def test_a_slash_that_is_percent_encoded(place):
    """It makes no segment: it is part of a rest of the path, and of no parameter else."""
    assert place.request("DELETE", "/api/cache/key/a%2Fb:c", TOKEN).json()["key"] == "a/b:c"
    assert_problem(place.get("/api/echo/a%2Fb"), 404, "Nothing is at this path")


@pytest.mark.parametrize("query, note", [
    ("note=", ""), ("note=x%26y%3Dz", "x&y=z"), ("note=a+b", "a b"), ("note=%C3%BC", "ü"), ("note=a/b?c", "a/b?c")])
def test_the_query(place, query, note):
    assert place.get(f"/api/echo/query?{query}").json() == {"word": "query", "note": note}


def test_head(place):
    got, head = place.get("/api/echo/head"), place.request("HEAD", "/api/echo/head")
    assert head.status_code == 200 and head.content == b""
    for name in ("ETag", "Content-Type"):
        assert head.headers[name] == got.headers[name]


def test_not_modified(place):
    etag = place.get("/api/echo/etag").headers["ETag"]
    same = place.get("/api/echo/etag", headers={"If-None-Match": etag})
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", etag)
    other = place.get("/api/echo/etag", headers={"If-None-Match": '"another"'})
    assert other.status_code == 200 and other.json()["word"] == "etag"


def test_errors_are_larders_own(place):
    assert_problem(place.get("/api/nothing/here"), 404, "Nothing is at this path")
    assert_problem(place.get("/api/stocks/NONE"), 404)
    assert_problem(place.get("/api/echo/x?invented=1"), 400, "invented")
    refused = place.request("DELETE", "/api/echo/x")
    assert_problem(refused, 405)
    assert "GET" in refused.headers["Allow"]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body(place, chunked):
    ticker = "CHU" if chunked else "LEN"
    body = json.dumps({"name": "Ünïcode & Söhne", "sector": "Energy", "price": 1.25}).encode()
    url = f"/api/stocks/{ticker}"
    assert place.get(url).status_code == 404
    put = place.request("PUT", url, TOKEN, data=iter([body[:10], body[10:]]) if chunked else body,
                        headers={"Content-Type": "application/json"})
    assert put.status_code == 200, put.text
    # Nobody reads what was there before once the write has been answered.
    got = place.get(url)
    assert (got.status_code, outcome(got), got.json()["name"], got.json()["price"]) == (200, "MISS", "Ünïcode & Söhne", 1.25)
    assert place.request("DELETE", url, TOKEN).status_code in (200, 204)
    assert place.get(url).status_code == 404


def test_a_large_body(place):
    keys = [f"echo:{number:080}" for number in range(900)]
    purged = place.request("POST", "/api/cache/invalidate", TOKEN, json={"keys": keys})
    assert purged.status_code == 200, purged.text
    assert purged.json()["removed"] == 0
    assert_problem(place.request("PUT", "/api/stocks/BIG", TOKEN, data=b" " * (2 << 20)), 413, "max_body")


def test_writing_needs_the_token(place):
    for token in (None, "another-token-than-that"):
        refused = place.request("PUT", "/api/stocks/AAPL", token, json={"name": "A", "sector": "Energy", "price": 1})
        assert_problem(refused, 401)
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")


def test_an_admin_purges(place):
    for body in ({"tag": "echo"}, {"pattern": "echo:*"}):
        place.get("/api/echo/purged")
        assert outcome(place.get("/api/echo/purged")) == "HIT"
        assert_problem(place.request("POST", "/api/cache/invalidate", json=body), 401)
        assert outcome(place.get("/api/echo/purged")) == "HIT"
        assert place.request("POST", "/api/cache/invalidate", TOKEN, json=body).status_code == 200
        assert outcome(place.get("/api/echo/purged")) == "MISS"


def test_the_method_purge(place):
    place.get("/api/echo/method")
    answer = place.request("PURGE", "/api/echo/method", TOKEN)
    if place.purge_method:
        assert (answer.status_code, answer.json()["removed"]) == (200, 1)
        assert outcome(place.get("/api/echo/method")) == "MISS"
    else:
        assert answer.status_code == 501
        assert outcome(place.get("/api/echo/method")) == "HIT"


def test_administration_is_for_the_machine_itself(place):
    """Not even the token helps whoever asks from elsewhere, however the path is spelled."""
    token = ("Authorization", f"Bearer {TOKEN}")
    asked = [("GET", "/api/cache/status"), ("GET", "/api/%63ache/status"), ("DELETE", "/api/cache/key/x")]
    asked += [("PURGE", "/api/echo/x")] if place.purge_method else []
    asked += [("GET", path) for path in ("/stats", "/metrics", "/status", "/status/")] if place.is_watched else []
    for method, path in asked:
        here, there = (raw.ask(place.port, place.mount + path, method, [token, *other]) for other in ([], [(FROM, "203.0.113.9")]))
        assert (here.status_code, there.status_code) == (200, 403), (method, path)
    assert place.get("/api/echo/x", headers={FROM: "203.0.113.9"}).status_code == 200


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_an_answer_over_64_kib(place, encoding):
    for _ in range(2):
        answer = place.get("/api/large/300000", headers={"Accept-Encoding": encoding})
        assert answer.status_code == 200 and answer.json() == "x" * 300000
        assert answer.headers.get("Content-Encoding", "identity") == encoding


def test_many_requests_over_several_connections(place):
    def ask(first):
        with requests.Session() as session:
            return [session.get(f"{place.url}/api/echo/many{(first + number) % 10}", timeout=30) for number in range(25)]
    with concurrent.futures.ThreadPoolExecutor(place.parallel) as pool:
        answers = [answer for part in pool.map(ask, range(8)) for answer in part]
    assert len(answers) == 200
    assert {(answer.status_code, answer.json()["word"][:4]) for answer in answers} == {(200, "many")}
    assert sum(outcome(answer) == "HIT" for answer in answers) >= 100


def test_the_description_of_all_routes(place):
    described = place.get("/openapi.json").json()
    assert "/api/echo/{word}" in described["paths"]
    assert described["servers"][0]["url"] == (place.mount or "/")


def test_outside_of_the_mount_there_is_no_larder(place):
    root = place.url[:len(place.url) - len(place.mount)]
    other = requests.get(root + ("/api/echo/x" if place.mount else f"{MOUNT}/api/echo/x"), timeout=30)
    assert other.status_code == 404 and "X-Cache" not in other.headers


def test_a_site_beside_it_keeps_what_it_requires(site):
    root = site.url[:len(site.url) - len(site.mount)]
    asked = {name: site.http.get(f"{root}/{name}", timeout=30).status_code for name in ("open", ".htpasswd", "kept/secret")}
    assert asked == {"open": 200, ".htpasswd": 403, "kept/secret": 403}
    assert site.get("/api/echo/beside").status_code == 200


def test_apache_has_the_dashboard_and_what_it_asks(site):
    page = site.get("/dashboard")
    assert page.url == site.url + "/dashboard/" and "<title>larder" in page.text
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    for name, kind in (("main.js", "text/javascript"), ("dashboard.css", "text/css"), ("lib/chart.js", "text/javascript")):
        answer = site.get(f"/dashboard/{name}")
        assert answer.status_code == 200 and answer.headers["Content-Type"] == f"{kind}; charset=utf-8", name
    assert site.get("/dashboard/nothing").status_code == 404
    for path in ("/stats", "/status", "/openapi.json"):
        assert site.get(path).json(), path
    assert site.request("GET", "/api/cache/status", TOKEN).json()["database"]
