"""Reloads, faults of Redis, vanishing clients, bad input and commands under valgrind: the side ways leak nothing either."""

import os
import re
import shutil
import signal
import subprocess

import pytest

from conftest import ROOT, copy_sql, wait_for
from fcgi import KEEP_CONN, PARAMS, Client, begin, pairs, record, request, stream, variables
from test_900_memory import VALGRIND, is_sanitized

APPLE = "/api/stocks/AAPL"
STOCK = {"name": "Apple", "sector": "Technology Hardware", "price": 1}
SLOW = """-- name: slow
-- route: GET /api/slow
-- key:   slow
-- shape: value
-- ttl:   0s
-- timeout: 100ms
WITH RECURSIVE counter (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter) SELECT max(n) AS n FROM counter;
"""


@pytest.fixture
def checked(make_stack, monkeypatch, tmp_path):
    """A stack whose larder, commands too, runs under valgrind; once it is down, no process may have a complaint."""
    program = os.path.realpath(os.environ.get("LARDER", ROOT / "build" / "larder"))
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    if is_sanitized(program):
        pytest.skip("the program is built under sanitizers, which do not go with valgrind")
    stack = make_stack("--timeout", "120", "--workers", "1", "--set", "server.request_timeout=60s", "--set", "server.drain_timeout=50s",
                       "--set", "store.write_timeout=30s", "--set", "breaker.open=100ms",
                       "--set", "redis.timeout=1s", "--set", "redis.connect_timeout=1s", "--set", "log.level=info",
                       "--sql", copy_sql(tmp_path / "sql", slow=SLOW), start=False)
    wrapper = stack.dir / "larder-under-valgrind"
    wrapper.write_text(VALGRIND.format(directory=stack.dir, program=program))
    wrapper.chmod(0o755)
    monkeypatch.setenv("LARDER", str(wrapper))
    stack.up()
    yield stack
    pids = [stack.larder_pid, *stack.children("worker"), *stack.children("writer"), *stack.children("housekeeper")]
    stack.down()
    wait_for("valgrind has written its logs", lambda: all((stack.dir / f"valgrind.{pid}.log").exists() for pid in pids))
    reports = {log.name: log.read_text() for log in stack.dir.glob("valgrind.*.log")}
    assert not {name: text for name, text in reports.items() if re.search(r"^==", text, re.M)}
    assert "child_killed" not in stack.log() and "code=99" not in stack.log()


def reload(stack):
    before = stack.children("worker")
    stack.signal(stack.larder_pid, signal.SIGHUP)
    wait_for("all workers are others", lambda: len(now := stack.children("worker")) == 1 and not set(now) & set(before), 60)


def ask_everything(stack):
    """About 25 requests of all kinds; the answers are other tests' business, save that there are some."""
    for path in (APPLE, APPLE, "/api/stocks/NOSUCH", "/api/stocks/NOSUCH", "/api/stocks/?limit=5", "/api/stocks/?limit=0", "/nowhere",
                 "/api/stocks/?limit=1&limit=2", "/api/stocks/%00", "/healthz", "/readyz", "/stats", "/api/slow"):
        assert stack.get(path).status_code in (200, 400, 404, 503), path
    etag = stack.get(APPLE).headers["ETag"]
    assert stack.get(APPLE, headers={"If-None-Match": etag}).status_code == 304
    assert stack.request("HEAD", APPLE).status_code == 200
    assert stack.request("PUT", "/api/stocks/ZZZ", admin=True, json=STOCK).status_code == 200
    assert stack.request("PUT", "/api/stocks/ZZZ", admin=True, json={"name": 1}).status_code == 422
    broken = stack.request("PUT", "/api/stocks/ZZZ", admin=True, data=b"{", headers={"Content-Type": "application/json"})
    assert broken.status_code == 400
    assert stack.request("PUT", "/api/stocks/ZZZ", json=STOCK).status_code in (401, 403)
    assert stack.request("DELETE", "/api/stocks/ZZZ", admin=True).status_code == 200
    assert stack.request("PURGE", APPLE, admin=True).status_code in (200, 202)
    for body in ({"pattern": "stocks:*"}, {"tag": "stocks"}, {"keys": ["a", "b"]}, {"pattern": "stocks:*", "dry_run": True},
                 {"pattern": "*"}):
        assert stack.request("POST", "/api/cache/invalidate", admin=True, json=body).status_code in (200, 202, 422, 503)
    for path in ("/api/cache/status", "/api/cache/keys?match=stocks:*", "/api/cache/key/stocks:detail:AAPL"):
        assert stack.request("GET", path, admin=True).status_code in (200, 404, 503)


def break_connections(stack):
    body = variables("/api/stocks/ZZZ", "PUT", b"x" * 100000, token=stack.admin_token)
    for data in (b"", b"GET / HTTP/1.0\r\n\r\n", request(APPLE)[:30], request(APPLE), request("/api/stocks/?limit=200") * 2,
                 request("/api/slow"), begin(flags=KEEP_CONN) + stream(PARAMS, pairs(body)) + record(5, b"x" * 50000)):
        with Client(stack.dir / "larder.sock") as client:
            client.send(data)


def test_whatever_happens_nothing_leaks(checked, long):
    for round in range(40 if long else 5):
        ask_everything(checked)
        break_connections(checked)
        if round % 5 == 1:
            reload(checked)
        elif round % 5 == 2:
            checked.signal(checked.redis_pid, signal.SIGSTOP)
            ask_everything(checked)
            checked.signal(checked.redis_pid, signal.SIGCONT)
        elif round % 5 == 3:
            checked.signal(checked.redis_pid, signal.SIGKILL)
            ask_everything(checked)
            checked.up()
        elif round % 5 == 4:
            checked.redis().flushall()
            checked.redis().client_kill_filter(_type="normal", skipme=True)


def test_commands_leak_nothing(checked, tmp_path, long):
    if not long:
        pytest.skip("takes --long")
    csv = tmp_path / "stocks.csv"
    csv.write_text("Symbol,Name,Sector,Price,Price/Earnings,Dividend Yield,Earnings/Share,52 Week Low,52 Week High,Market Cap,EBITDA,"
                   "Price/Sales,Price/Book,SEC Filings\nZZZ,Zed,Things,1,2,3,4,5,6,7,8,9,10,\n")
    program = os.environ["LARDER"]
    for arguments in (("check",), ("check", "--print"), ("migrate",), ("import", "stocks", csv), ("purge", "stocks:*"),
                      ("purge", "--tag", "stocks"), ("stats",), ("--help",), ("--version",), ("nonsense",),
                      ("import", "stocks", tmp_path / "none.csv"), ("import", "none", csv)):
        result = subprocess.run([program, "--config", checked.dir / "larder.conf", *arguments], capture_output=True, text=True,
                                timeout=120)
        assert result.returncode in (0, 1, 2), (arguments, result.stderr)
