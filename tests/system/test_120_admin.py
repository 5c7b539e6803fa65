"""Administration: removing from the cache and looking into it, by whom, and what probes are told."""

import contextlib
import json
import os
import re
import shutil
import subprocess

import pytest
import requests

import raw
from conftest import assert_problem, removed_by, wait_for

LIST = "/api/stocks/?limit=3"
LEADERBOARD = "/api/stocks/leaderboard/top?limit=3"
STOCKS = ["/api/stocks/AAPL", "/api/stocks/BRK.B", "/api/stocks/NOSUCH"]
ADMIN = [("GET", "/api/cache/status"), ("POST", "/api/cache/invalidate"), ("GET", "/api/cache/keys"), ("GET", "/api/cache/top"),
         ("GET", "/api/cache/key/stocks:detail:AAPL"),
         ("DELETE", "/api/cache/key/stocks:detail:AAPL"), ("PURGE", "/api/stocks/AAPL")]


@pytest.fixture
def filled(market):
    """The stack with these entries and no others, not even dead ones: a purge counts what it removes."""
    for pattern in ("stocks:*", "leaderboard:*"):
        removed_by(market, market.invalidate(pattern=pattern))
    for path in (*STOCKS, LIST, LEADERBOARD):
        market.get(path)
    assert len(market.keys()) == 5
    return market


def outcomes(stack, *paths):
    return [stack.get(path).headers["X-Cache"] for path in paths]


def tickers(stack):
    return [key.rsplit(":", 1)[1] for key in stack.keys("stocks:detail:*")]


# Invalidation.

def test_by_pattern(filled):
    answer = filled.invalidate(pattern="stocks:detail:*")
    assert outcomes(filled, *STOCKS, LIST, LEADERBOARD) == ["MISS", "MISS", "MISS", "HIT", "HIT"]
    removed_by(filled, answer)
    # What was filled after the purge stays.
    assert outcomes(filled, *STOCKS, LIST, LEADERBOARD) == ["HIT", "HIT", "NEGATIVE", "HIT", "HIT"]
    assert removed_by(filled, filled.invalidate(pattern="stocks:detail:*")) == 3
    assert tickers(filled) == []


def test_a_purge_by_pattern_over_redis_is_in_force_at_once_and_a_job_removes_the_keys(filled):
    answer = filled.invalidate(pattern="stocks:*")
    if not filled.redis_socket:
        assert answer == {"removed": 4}
        return
    assert set(answer) == {"removed", "job"} and answer["removed"] is None
    assert removed_by(filled, answer) == 4
    assert len(filled.keys()) == len(filled.keys("leaderboard:*")) == 1
    job = filled.request("GET", f"/api/cache/jobs/{answer['job']}", admin=True).json()
    assert (job["id"], job["state"], job["pattern"], job["soft"], job["progress"]) == (answer["job"], "done", "stocks:*", False, 1)
    for unknown in (1, 2**62):
        assert_problem(filled.request("GET", f"/api/cache/jobs/{unknown}", admin=True), 404, "job")


def test_soft_marks_stale_and_nobody_waits(filled):
    for purge in ({"tag": "stock:AAPL"}, {"key": "stocks:detail:AAPL"}, {"pattern": "stocks:detail:A*"}):
        removed_by(filled, filled.invalidate(soft=True, **purge))
        assert outcomes(filled, STOCKS[0]) == ["STALE"]
        wait_for("it has been refreshed", lambda: outcomes(filled, STOCKS[0]) == ["HIT"])


@pytest.mark.parametrize("pattern, left", [
    ("stocks:detail:A*", ["BRK.B", "NOSUCH"]),
    ("stocks:detail:????", ["BRK.B", "NOSUCH"]),
    ("stocks:detail:[A-B]*", ["NOSUCH"]),
    ("stocks:detail:[^A]*", ["AAPL"]),
    ("*AAPL", ["BRK.B", "NOSUCH"]),
    ("stocks:detail:BRK\\.B", ["AAPL", "NOSUCH"]),
    ("stocks:detail:\\*", ["AAPL", "BRK.B", "NOSUCH"]),
    ("nothing:*", ["AAPL", "BRK.B", "NOSUCH"]),
])
def test_patterns_are_globs(filled, pattern, left):
    assert removed_by(filled, filled.invalidate(pattern=pattern)) == 3 - len(left)
    assert tickers(filled) == left


def test_by_tag(filled):
    assert filled.invalidate(tag="stock:AAPL") == {"removed": None}
    assert outcomes(filled, *STOCKS, LIST, LEADERBOARD) == ["MISS", "HIT", "NEGATIVE", "HIT", "HIT"]
    filled.invalidate(tag="stocks")
    assert outcomes(filled, *STOCKS, LIST, LEADERBOARD) == ["MISS", "MISS", "MISS", "MISS", "HIT"]
    filled.invalidate(tag="stocks:lists")
    assert outcomes(filled, *STOCKS, LIST, LEADERBOARD) == ["HIT", "HIT", "NEGATIVE", "MISS", "MISS"]


def test_by_key_and_by_keys(filled):
    assert filled.invalidate(key="stocks:detail:AAPL") == {"removed": 1}
    assert filled.invalidate(key="stocks:detail:AAPL") == {"removed": 0}
    assert filled.invalidate(keys=["stocks:detail:AAPL", "stocks:detail:BRK.B", "stocks:detail:NOSUCH"]) == {"removed": 2}
    assert outcomes(filled, *STOCKS, LIST) == ["MISS", "MISS", "MISS", "HIT"]


def test_a_key_is_no_pattern(filled):
    assert filled.invalidate(key="stocks:detail:*") == {"removed": 0}
    assert len(filled.keys()) == 5


def test_everything_must_be_said(filled):
    for body in ({"pattern": ""}, {"pattern": "*"}, {"pattern": "**"}, {"pattern": "***"}):
        assert_problem(filled.request("POST", "/api/cache/invalidate", admin=True, json=body), 422, '"all": true')
    assert outcomes(filled, LIST) == ["HIT"]
    assert filled.invalidate(all=True) == {"removed": None}
    assert outcomes(filled, *STOCKS, LIST, LEADERBOARD) == ["MISS"] * 5
    filled.invalidate(pattern="*", all=True)
    assert outcomes(filled, *STOCKS, LIST, LEADERBOARD) == ["MISS"] * 5


@pytest.mark.parametrize("body, count", [({"pattern": "stocks:*"}, 4), ({"key": "stocks:detail:AAPL"}, 1), ({"key": "no such"}, 0),
                                         ({"keys": ["stocks:detail:AAPL", "no such"]}, 1), ({"all": True}, 5)], ids=str)
def test_a_dry_run_counts_and_removes_nothing(filled, body, count):
    assert filled.invalidate(dry_run=True, **body) == {"matched": count, "dry_run": True}
    assert outcomes(filled, *STOCKS, LIST, LEADERBOARD) == ["HIT", "HIT", "NEGATIVE", "HIT", "HIT"]


@pytest.mark.parametrize("body, status, words", [
    (b"", 400, "JSON"),
    (b"{}", 422, "exactly one"),
    (b"[]", 400, "object"),
    (b'{"pattern": "a:*", "key": "b"}', 422, "exactly one"),
    (b'{"pattern": "a:*", "all": true}', 422, "all"),
    (b'{"pattern": "a:*", "patern": "b:*"}', 422, '"patern" is unknown here; known are `pattern`'),
    (b'{"pattern": 5}', 422, "string"),
    (b'{"keys": []}', 422, "keys"),
    (b'{"keys": "a"}', 422, "keys"),
    (b'{"keys": ["a", 1]}', 422, "keys"),
    (b'{"keys": ["a", ""]}', 422, "names nothing"),
    (b'{"key": ""}', 422, "names nothing"),
    (b'{"tag": ""}', 422, "names nothing"),
    (b'{"all": "yes"}', 422, "true or false"),
    (b'{"all": false}', 422, "exactly one"),
    (b'{"tag": "stocks", "dry_run": true}', 422, "cannot be counted"),
    (b'{"glob": "a:*"}', 422, "unknown"),
    (b'{"pattern": "a:*"', 400, "brace"),
], ids=lambda value: value.decode() or "empty" if isinstance(value, bytes) else "")
def test_an_invalidation_that_is_not_clear_does_nothing(filled, body, status, words):
    answer = filled.request("POST", "/api/cache/invalidate", admin=True, data=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, status, words)
    assert len(filled.keys()) == 5


def test_purge_of_a_url(filled):
    answer = filled.request("PURGE", "/api/stocks/aapl", admin=True)
    assert answer.status_code == 200 and answer.json() == {"key": "stocks:detail:AAPL", "removed": 1}
    assert filled.request("PURGE", "/api/stocks/AAPL", admin=True).json()["removed"] == 0
    assert filled.request("PURGE", "/api/stocks/?offset=0&limit=3", admin=True).json()["removed"] == 1
    assert outcomes(filled, *STOCKS, LIST, LEADERBOARD) == ["MISS", "HIT", "NEGATIVE", "MISS", "HIT"]
    assert_problem(filled.request("PURGE", "/api/stocks/?limit=0", admin=True), 400, "limit")
    assert_problem(filled.request("PURGE", "/healthz", admin=True), 404)
    assert_problem(filled.request("PURGE", "/api/nothing", admin=True), 404)


# Looking.

def test_an_entry_can_be_looked_at(filled):
    entry = filled.request("GET", "/api/cache/key/stocks:detail:AAPL", admin=True).json()
    stock = filled.get("/api/stocks/AAPL")
    assert (entry["key"], entry["status"], entry["state"]) == ("stocks:detail:AAPL", 200, "fresh")
    assert entry["body"] == stock.json() and entry["etag"] == stock.headers["ETag"]
    assert entry["tags"] == ["stocks", "stock:AAPL", "resource:stock"] and entry["content_type"] == "application/json"
    assert 0 <= entry["age"] < 60 and 200 < entry["ttl"] <= 300
    missing = filled.request("GET", "/api/cache/key/stocks:detail:NOSUCH", admin=True).json()
    assert missing["status"] == 404 and missing["body"]["status"] == 404
    assert_problem(filled.request("GET", "/api/cache/key/stocks:detail:MSFT", admin=True), 404)


def test_an_entry_can_be_deleted(filled):
    path = "/api/cache/key/stocks:detail:AAPL"
    assert filled.request("DELETE", path, admin=True).json() == {"key": "stocks:detail:AAPL", "removed": 1}
    assert filled.request("DELETE", path, admin=True).json()["removed"] == 0
    assert_problem(filled.request("GET", path, admin=True), 404)
    assert outcomes(filled, *STOCKS) == ["MISS", "HIT", "NEGATIVE"]


def test_a_purged_entry_is_not_shown(filled):
    filled.invalidate(tag="stock:AAPL")
    assert_problem(filled.request("GET", "/api/cache/key/stocks:detail:AAPL", admin=True), 404)


def test_keys_are_paged(market):
    market.invalidate(all=True)
    expected = sorted(f"stocks:detail:P{number}" for number in range(120))
    for key in expected:
        market.get(f"/api/stocks/{key.rsplit(':', 1)[1]}")
    found, cursor, pages = [], 0, 0
    while pages == 0 or cursor != 0:
        page = market.request("GET", f"/api/cache/keys?match=stocks:detail:P*&limit=25&cursor={cursor}", admin=True).json()
        found, cursor, pages = found + page["keys"], page["cursor"], pages + 1
    assert sorted(set(found)) == expected and pages > 1
    assert market.keys("stocks:detail:P11?") == sorted(f"stocks:detail:P11{digit}" for digit in range(10))
    for query in ("limit=0", "limit=1001", "limit=x", "cursor=-1", "cursor=x", "pattern=*", "match=a&match=b"):
        assert_problem(market.request("GET", f"/api/cache/keys?{query}", admin=True), 400, query.split("=")[0])


def test_status(filled):
    before = filled.request("GET", "/api/cache/status", admin=True).json()
    assert before["backend"] == ("redis" if filled.redis_socket else "memory")
    assert before["reachable"] is True and before["breaker"] == "closed" and before["distrusted"] is False
    outcomes(filled, "/api/stocks/AAPL", "/api/stocks/NOSUCH", "/api/stocks/MSFT")
    after = filled.request("GET", "/api/cache/status", admin=True).json()
    assert {name: after[name] - before[name] for name in ("hits", "negative_hits", "misses", "fills")} == dict.fromkeys(("hits", "negative_hits", "misses", "fills"), 1)
    assert 0 < after["hit_rate"] < 1


# The command line.

def test_larder_purge(filled):
    told = filled.larder("purge", "stocks:detail:A*").stdout
    assert re.fullmatch(r"purged; a job removes what matches: \d+\n", told) if filled.redis_socket else told == "purged 1\n"
    assert filled.larder("purge", "--key", "stocks:detail:BRK.B").stdout == "purged 1\n"
    assert "is purged by --tag stocks:lists" in filled.larder("purge", "tag:stocks:lists").stderr
    assert filled.larder("purge", "--tag", "stocks:lists").stdout == "purged\n"
    assert outcomes(filled, *STOCKS, LIST, LEADERBOARD) == ["MISS", "MISS", "NEGATIVE", "MISS", "MISS"]
    assert filled.larder("purge", "--all").stdout == "purged\n"
    assert outcomes(filled, *STOCKS, LIST, LEADERBOARD) == ["MISS"] * 5


def test_larder_purge_refuses_to_empty_the_cache_by_mistake(filled):
    for pattern in ("", "*", "**"):
        result = filled.larder("purge", pattern, check=False)
        assert result.returncode == 2 and result.stderr.startswith("larder: ")
    for arguments in ([], ["a", "b"], ["--all", "a"], ["--tag"], ["--sideways", "a"]):
        assert filled.larder("purge", *arguments, check=False).returncode == 2
    assert len(filled.keys()) == 5


def test_larder_stats(market):
    stats = json.loads(market.larder("stats").stdout)
    assert stats["version"] and stats["counters"]["requests"] > 0 and stats["writer"]["state"] == "ready"


# Who may.

@pytest.mark.parametrize("method, path", ADMIN)
def test_admin_routes_need_the_token(filled, method, path):
    body = {"json": {"pattern": "stocks:*"}} if method == "POST" else {}
    for headers in ({}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer wrong"},
                    {"Authorization": f"bearer{filled.admin_token}"}, {"Authorization": filled.admin_token}):
        answer = filled.request(method, path, headers=headers, **body)
        assert_problem(answer, 401, "Authorization: Bearer TOKEN")
        assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="larder"')
        assert filled.admin_token not in answer.text
    assert len(filled.keys()) == 5
    assert filled.request(method, path, headers={"Authorization": f"bEARER   {filled.admin_token} "}, **body).status_code == 200


@pytest.mark.parametrize("method, path", [("GET", "/api/cache/jobs/1"), ("GET", "/api/cache/explain?url=/api/stocks/AAPL"),
                                          ("POST", "/api/cache/clear"), ("POST", "/api/cache/warm")])
def test_so_do_those_that_take_no_selector(filled, method, path):
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert_problem(filled.request(method, path, headers=headers), 401, "Authorization: Bearer TOKEN")
    assert len(filled.keys()) == 5
    assert filled.request(method, path, admin=True).status_code in (200, 404)


def test_the_token_is_in_no_log(market):
    market.request("GET", "/api/cache/status", headers={"Authorization": "Bearer presented-instead-of-it"})
    text = market.log() + market.log("nginx")
    assert market.admin_token not in text and "presented-instead-of-it" not in text


def test_without_a_token_configured_admin_routes_say_so(make_stack):
    stack = make_stack("--l2", "memory", "--set", "auth.admin_token_file=")
    for method, path in (*ADMIN, ("PUT", "/api/stocks/AAPL"), ("DELETE", "/api/stocks/AAPL")):
        for admin in (False, True):
            answer = stack.request(method, path, admin=admin, **({"json": {}} if method in ("POST", "PUT") else {}))
            assert_problem(answer, 403, "admin_token", "none is configured")
    assert stack.get("/api/stocks/AAPL").status_code == 200


@contextlib.contextmanager
def nginx_believing_addresses(stack, port):
    """Another nginx with the shipped configuration, which takes a client's address from the header X-Address."""
    here = stack.dir / "foreign"
    shutil.copytree(stack.dir / "nginx", here, ignore=shutil.ignore_patterns("*.pid"))
    for file in here.glob("*.conf"):
        file.write_text(file.read_text().replace(f"{stack.dir}/nginx/", f"{here}/"))
    listen = f"listen 127.0.0.1:{stack.port} backlog=4096;"
    config = (stack.dir / "nginx.conf").read_text().replace(f"{stack.dir}/nginx/", f"{here}/").replace(f"{stack.dir}/nginx.log", f"{here}/error.log")
    assert listen in config
    (here / "nginx.conf").write_text(config.replace(listen, f"listen 127.0.0.1:{port}; set_real_ip_from 127.0.0.1; real_ip_header X-Address;"))
    process = subprocess.Popen(["nginx", "-e", here / "error.log", "-c", here / "nginx.conf"], stdin=subprocess.DEVNULL,
                               env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
    try:
        def answers():
            with contextlib.suppress(OSError):
                return raw.ask(port, "/healthz")
        wait_for("nginx answers", answers)
        yield
    finally:
        process.terminate()
        process.wait()


def test_the_shipped_nginx_configuration_refuses_admin_routes_from_elsewhere(make_stack):
    stack = make_stack("--l2", "memory")
    port = stack.port + 1

    def ask(address, path, method="GET", body=b""):
        headers = [("X-Address", address), ("Authorization", f"Bearer {stack.admin_token}"), ("Content-Type", "application/json")]
        return raw.ask(port, path, method, headers, body)

    with nginx_believing_addresses(stack, port):
        for address in ("192.0.2.7", "10.0.0.1", "2001:db8::1"):
            for method, path in (*ADMIN, ("GET", "/stats"), ("GET", "/stats/"), ("GET", "/metrics"), ("GET", "/metrics/"), ("PURGE", "/api/stocks/")):
                assert_problem(ask(address, path, method, b'{"pattern": "a:*"}' if method == "POST" else b""), 403, "on the server itself")
            for path in ("/api/cache/../cache/keys", "/api//cache/keys", "/api/%63ache/keys", "/api/stocks/../cache/keys", "/%61pi/cache/keys", "/%73tats", "/%6detrics"):
                assert ask(address, path).status_code in (403, 404), path
            for path in ("/api/stocks/AAPL", "/healthz", "/readyz"):
                assert ask(address, path).status_code == 200
            assert ask(address, "/api/stocks/NEWCO", "PUT", b'{"name": "New", "sector": "New"}').status_code == 200
            assert ask(address, "/api/stocks/NEWCO", "DELETE").status_code == 200
        for address in ("127.0.0.1", "::1"):
            for method, path in (*ADMIN, ("GET", "/stats"), ("GET", "/metrics")):
                assert ask(address, path, method, b'{"pattern": "a:*"}' if method == "POST" else b"").status_code in (200, 404)


# What probes are told.

def test_healthz(market):
    answer = market.get("/healthz")
    assert answer.status_code == 200 and answer.json() == {"status": "ok"}
    assert answer.headers["Cache-Control"] == "no-store"


def test_readyz(market):
    answer = market.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "database": "ok", "writer": "ready", "cache": "ok"}


def test_stats(market):
    before = market.get("/stats").json()
    market.get("/healthz")
    after = market.get("/stats").json()
    assert after["uptime_s"] >= 0 and after["resources"] == 6 and after["pid"] in market.children("worker")
    assert after["counters"]["requests"] >= before["counters"]["requests"] + 2
    assert all(isinstance(value, int) and value >= 0 for value in after["counters"].values())
    assert after["counters"]["worker_crashes"] == 0


def test_the_keys_asked_for_most_are_told_for_all_workers_together(make_stack):
    stack = make_stack("--l2", "memory", "--workers", 3)
    for number in range(40):
        # A connection of its own each time, so that any worker may get it.
        assert requests.get(f"{stack.url}/api/stocks/{'AAPL' if number % 4 else 'MSFT'}", timeout=30).status_code == 200
    answer = stack.request("GET", "/api/cache/top", admin=True).json()
    assert [key["key"] for key in answer["keys"]] == ["stocks:detail:AAPL", "stocks:detail:MSFT"]
    first, second = answer["keys"]
    assert first["per_second"] > second["per_second"] > 0
    assert answer["per_second"] == pytest.approx(first["per_second"] + second["per_second"], abs=0.01)
    assert len(stack.request("GET", "/api/cache/top?limit=1", admin=True).json()["keys"]) == 1
    assert_problem(stack.request("GET", "/api/cache/top?limit=0", admin=True), 400, "`limit`")
    assert stack.get("/api/cache/top").status_code == 401
