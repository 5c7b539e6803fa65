"""Workers and Redis killed at random, again and again, under load: readers see 200, and nothing is left held behind."""

import os
import random
import signal
import time

from conftest import wait_for
from load import Load

PATHS = ("/api/stocks/AAPL", "/api/stocks/MSFT", "/api/stocks/?limit=3", "/api/stocks/?sort=price&limit=20", "/api/stocks/top")


def kill_worker(stack, dice):
    pid = dice.choice(stack.children("worker"))
    os.kill(pid, signal.SIGKILL)
    wait_for("the worker has a successor", lambda: pid not in (now := stack.children("worker")) and len(now) == 2, 60)


def restart_redis(stack):
    os.kill(stack.redis_pid, signal.SIGKILL)
    time.sleep(0.05)
    stack.up()


def purge(stack):
    """So that there is something to fill. While Redis is away, or has just come back, the purge is kept for it: 202."""
    answer = stack.request("POST", "/api/cache/invalidate", admin=True, json={"tag": "stocks"})
    assert answer.status_code in (200, 202), answer.text


def test_killed_at_random_nobody_notices_and_nothing_is_left_behind(make_stack, long):
    workers, redises = (100, 20) if long else (4, 1)
    stack, dice = make_stack("--set", "breaker.open=500ms"), random.Random(7)
    faults = [kill_worker] * workers + [restart_redis] * redises
    dice.shuffle(faults)
    with Load(stack.port, PATHS, threads=6) as load:
        for number, fault in enumerate(faults):
            purge(stack)
            load.wait(20)
            fault(stack, dice) if fault is kill_worker else fault(stack)
            if number % 3 == 0:
                load.wait(20)
    assert load.others() == []

    def told():
        return stack.request("GET", "/api/cache/status", admin=True).json()

    wait_for("Redis is trusted", lambda: not (now := told())["distrusted"] and now["breaker"] == "closed")
    wait_for("nothing is held", lambda: told()["leases"] == 0)
    left = stack.redis().keys("*:l:*")
    assert left == [] or wait_for("leases in Redis have ended", lambda: stack.redis().keys("*:l:*") == [], 10) is None
    for path in PATHS:
        wait_for("hits have come back", lambda path=path: stack.get(path).headers["X-Cache"] == "HIT")
