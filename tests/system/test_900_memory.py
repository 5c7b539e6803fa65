"""Ten thousand requests under valgrind: no leak, and no byte that was read before it was written or after it was freed."""

import os
import re
import shutil

import pytest

from conftest import PATIENT, ROOT, wait_for

REQUESTS = 10_000
PATHS = ("/api/stocks/AAPL", "/api/stocks/MSFT", "/api/stocks/NOSUCH", "/api/stocks/?limit=5", "/api/stocks/?limit=0", "/healthz",
         "/api/stocks/top?by=market_cap&limit=3", "/api/stocks/leaderboard/top?board=momentum&limit=3", "/nowhere", "/api/stocks/%00")
# glibc's own cleaning up, which valgrind asks for, would forget the environment that larder has moved, and call it lost.
VALGRIND = """#!/bin/sh
exec valgrind --quiet --trace-children=yes --run-libc-freeres=no --error-exitcode=99 \\
    --leak-check=full --errors-for-leak-kinds=definite,indirect --show-leak-kinds=definite,indirect \\
    --log-file={directory}/valgrind.%p.log {program} "$@"
"""


def is_sanitized(program):
    return b"__asan_init" in open(program, "rb").read()


@pytest.mark.parametrize("l2", ["redis", "memory"])
def test_ten_thousand_requests_leak_nothing(make_stack, monkeypatch, l2, long):
    if l2 == "memory" and not long:
        pytest.skip("takes --long")
    program = os.path.realpath(os.environ.get("LARDER", ROOT / "build" / "larder"))
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    if is_sanitized(program):
        pytest.skip("the program is built under sanitizers, which do not go with valgrind")
    stack = make_stack("--l2", l2, "--timeout", "120", "--set", "server.request_timeout=60s", "--set", "server.drain_timeout=50s",
                       "--set", "store.write_timeout=30s", *PATIENT, start=False)
    wrapper = stack.dir / "larder-under-valgrind"
    wrapper.write_text(VALGRIND.format(directory=stack.dir, program=program))
    wrapper.chmod(0o755)
    monkeypatch.setenv("LARDER", str(wrapper))
    stack.up()
    for i in range(REQUESTS // 2):
        stack.get(PATHS[i % len(PATHS)])
        if i % 100 == 0:
            stack.invalidate(pattern="stocks:*")
            answer = stack.request("PUT", "/api/stocks/AAPL", admin=True, json={"name": "Apple Inc.", "sector": "Technology", "price": 100 + i / 100})
            assert answer.status_code == 200, answer.text
    pids = [stack.larder_pid, *stack.children("worker"), *stack.children("writer")]
    stack.down()
    wait_for("valgrind has written all its logs", lambda: all((stack.dir / f"valgrind.{pid}.log").exists() for pid in pids))
    reports = {log.name: log.read_text() for log in stack.dir.glob("valgrind.*.log")}
    assert not {name: text for name, text in reports.items() if re.search(r"^==", text, re.M)}
