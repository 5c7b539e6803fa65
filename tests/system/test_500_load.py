"""Everything that may break breaks, one thing after the other, while 32 clients ask without a pause: all of them get 200, every time."""

import os
import signal
import time

import pytest

from conftest import wait_for
from load import Load, finish_wrk, start_wrk

APPLE = "/api/stocks/AAPL"


def kill_redis(stack, pause):
    os.kill(stack.redis_pid, signal.SIGKILL)
    time.sleep(pause)
    stack.up()


def hang_redis(stack, pause):
    os.kill(stack.redis_pid, signal.SIGSTOP)
    time.sleep(pause)
    os.kill(stack.redis_pid, signal.SIGCONT)


def kill_each_worker(stack, pause):
    for pid in stack.children("worker"):
        os.kill(pid, signal.SIGKILL)
        wait_for("the worker has a successor", lambda pid=pid: pid not in (now := stack.children("worker")) and len(now) == 2)
        time.sleep(pause)


def reload(stack, pause):
    before = stack.children("worker")
    os.kill(stack.larder_pid, signal.SIGHUP)
    wait_for("all workers are others", lambda: len(now := stack.children("worker")) == 2 and not set(now) & set(before))
    time.sleep(pause)


FAULTS = (kill_redis, kill_each_worker, hang_redis, reload, kill_redis)


def test_nothing_but_200_whatever_breaks(make_stack, long):
    stack = make_stack()
    seconds = 20 if long else 8
    pause = seconds / 20
    wrk = start_wrk(stack.url + APPLE, seconds)
    began = time.monotonic()
    with Load(stack.port, (APPLE, "/api/stocks/?limit=3", "/api/stocks/top"), threads=2) as load:
        time.sleep(pause)
        for fault in FAULTS:
            fault(stack, pause)
        took = time.monotonic() - began
        counted = finish_wrk(wrk)
    assert counted.errors == 0, counted.text
    assert load.others() == []
    assert counted.requests > 100 * seconds
    if took > seconds:
        pytest.skip(f"this machine is too slow today: breaking everything took {took:.0f} s of {seconds}")
    wait_for("hits have come back", lambda: stack.get(APPLE).headers["X-Cache"] == "HIT")
    wait_for("the breaker is closed", lambda: stack.request("GET", "/api/cache/status", admin=True).json()["breaker"] == "closed")


@pytest.mark.parametrize("path, clients", [("/api/stocks/?limit=200", 32), (APPLE, 128), (APPLE, 512)], ids=["long lists", "many clients", "very many clients"])
def test_the_same_for(make_stack, long, path, clients):
    if not long:
        pytest.skip("takes --long")
    stack = make_stack()
    wrk = start_wrk(stack.url + path, 20, clients)
    time.sleep(1)
    for fault in FAULTS:
        fault(stack, 1)
    counted = finish_wrk(wrk)
    assert counted.errors == 0, counted.text


def test_no_request_is_lost_with_a_worker_however_many_connections_nginx_kept_to_it(make_stack, long):
    stack = make_stack()
    seconds = 20 if long else 8
    wrk = start_wrk(stack.url + APPLE, seconds, 512)
    time.sleep(1)
    for _ in range(seconds // 4):
        kill_each_worker(stack, 1)
    counted = finish_wrk(wrk)
    assert counted.errors == 0, counted.text
