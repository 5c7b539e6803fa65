"""Never a stale answer: versions written through one host and read through two, while everything that keeps them coherent breaks."""

import os
import signal
import time

import pytest

import checker
from conftest import ROOT, children, copy_sql, wait_for
from load import Load, finish_wrk, start_wrk
from test_900_memory import is_sanitized


@pytest.fixture(scope="module")
def sql(tmp_path_factory):
    return copy_sql(tmp_path_factory.mktemp("coherence") / "sql", **{"slow-stock": checker.SLOW_SQL})


@pytest.fixture
def pair(make_stack, sql):
    """Two hosts on one Redis and one database; the first one writes."""
    return make_stack("--hosts", "2", "--sql", sql, "--set", "breaker.open=500ms")


@pytest.fixture
def patient_pair(make_stack, sql):
    """The same with the breaker as it is shipped: when Redis returns, one host may find out long before the other."""
    return make_stack("--hosts", "2", "--sql", sql)


@pytest.fixture(scope="session")
def seconds(long):
    """How long a scenario takes. Under sanitizers it is their findings that count, and these come early."""
    program = os.environ.get("LARDER", ROOT / "build" / "larder")
    return 300 if long else 4 if is_sanitized(program) else 10


def urls(stack):
    return (stack.url, stack.url2)


def processes(stack, role):
    """Those of a role on both hosts."""
    return [pid for larder in (stack.larder_pid, stack.larder2_pid) for pid, name in children(larder) if name == f"larder: {role}"[:15]]


def status(stack, url):
    headers = {"Authorization": f"Bearer {stack.admin_token}"}
    answer = stack.http.get(f"{url}/api/cache/status", headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def check(stack, seconds, fault=None, least=2, loads=()):
    """Records for SECONDS, breaking things by FAULT(stack, n) again and again, at least LEAST times, and looks at what came of it.

    LOADS are URLs that others ask for meanwhile, as fast as they are answered.
    """
    with checker.record(stack) as history:
        others = [start_wrk(url, seconds, connections=4) for url in loads]
        deadline, count = time.monotonic() + seconds, 0
        while time.monotonic() < deadline or (fault and count < least):
            if fault:
                fault(stack, count)
            else:
                time.sleep(0.1)
            count += 1
        counted = [finish_wrk(load) for load in others]
    print(f"{count} rounds, {history.summary()}")
    history.assert_coherent()
    assert all(load.errors == 0 for load in counted), counted
    assert len(history.reads) > 20 * seconds and len(history.writes) > 2 * seconds
    settle(stack)
    return history


def settle(stack):
    """Nothing is held any more, and both hosts use their caches again."""
    for url in urls(stack):
        wait_for(f"no lease is held on {url}", lambda url=url: status(stack, url)["leases"] == 0)
        for path in ("/api/stocks/CHKA", checker.LIST, "/api/slow/CHKA"):
            wait_for(f"hits on {url}", lambda url=url, path=path: stack.http.get(url + path, timeout=30).headers["X-Cache"] == "HIT")
        wait_for(f"the breaker is closed on {url}", lambda url=url: status(stack, url)["breaker"] == "closed")


def acknowledged(history):
    return [write for write in history.writes if write.outcome == checker.ACKNOWLEDGED]


def test_idle(pair, seconds):
    history = check(pair, seconds)
    assert acknowledged(history) == history.writes
    assert min(history.hits(host) for host in (0, 1)) > 0.2


def test_under_load(pair, seconds):
    history = check(pair, seconds, loads=(pair.url + "/api/stocks/CHKA", pair.url2 + "/api/stocks/CHKE"))
    assert acknowledged(history) == history.writes


def restart_redis(stack, count):
    """Killed; every other time it comes back with what it held some time ago instead of nothing."""
    dump = stack.dir / "redis" / "dump.rdb"
    dump.unlink(missing_ok=True)
    if count % 2 == 0:
        stack.redis().save()
    time.sleep(0.5)
    os.kill(stack.redis_pid, signal.SIGKILL)
    time.sleep(1.0)
    stack.up()
    time.sleep(1.5)


def test_redis_killed_and_restarted(pair, seconds):
    history = check(pair, seconds, restart_redis)
    assert acknowledged(history) == history.writes


def test_redis_killed_and_restarted_with_hosts_that_find_out_at_different_times(patient_pair, seconds):
    history = check(patient_pair, seconds, restart_redis)
    assert acknowledged(history) == history.writes


def kill_housekeepers(stack, count):
    """That of one host, of the other, of both."""
    before = processes(stack, "housekeeper")
    assert len(before) == 2, "each host has one housekeeper"
    killed = (before[:1], before[1:], before)[count % 3]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_for("each has a successor", lambda: len(now := processes(stack, "housekeeper")) == 2 and not set(now) & set(killed))
    time.sleep(0.7)


def test_the_housekeeper_killed(pair, seconds):
    history = check(pair, seconds, kill_housekeepers)
    assert acknowledged(history) == history.writes


def cut_stream(stack, count):
    """The connections that wait in XREAD; every other time all there are."""
    client = stack.redis()
    if count % 2:
        client.client_kill_filter(_type="normal", skipme=True)
    else:
        for connection in client.client_list():
            if connection["cmd"].startswith("xread"):
                client.client_kill_filter(_id=connection["id"])
    time.sleep(0.3)


def test_the_stream_cut(pair, seconds):
    history = check(pair, seconds, cut_stream)
    assert acknowledged(history) == history.writes


def flush(stack, count):
    stack.redis().flushall()
    time.sleep(0.2)


def test_redis_flushed_under_load(pair, seconds):
    history = check(pair, seconds, flush, loads=(pair.url + "/api/stocks/CHKA",))
    assert acknowledged(history) == history.writes


def kill_worker(stack, count):
    """One after the other, on either host."""
    before = processes(stack, "worker")
    killed = before[count % len(before)]
    os.kill(killed, signal.SIGKILL)
    wait_for("it has a successor", lambda: len(now := processes(stack, "worker")) == len(before) and killed not in now)
    time.sleep(0.1)


def test_workers_killed_in_the_middle_of_fills(pair, seconds):
    """Half of what is asked for has never been asked before."""
    def make_path(thread, count):
        return f"/api/stocks/?q={thread}x{count}" if count % 2 else "/api/slow/AAPL"

    with Load(pair.port, (), threads=2, make_path=make_path) as here, Load(pair.port + 1, (), threads=2, make_path=make_path) as there:
        check(pair, seconds, kill_worker, least=10)
    assert here.others() + there.others() == []


def test_the_checker_finds_a_cache_that_is_never_purged(make_stack, tmp_path):
    """Without this, all of the above might pass for want of looking."""
    directory = copy_sql(tmp_path / "sql", **{"slow-stock": checker.SLOW_SQL})
    put = directory / "resources" / "stock-put.sql"
    text = put.read_text()
    put.write_text(text.replace("tag:stock:{ticker} tag:stocks:lists", "tag:nothing"))
    assert put.read_text() != text
    for seconds in (3, 9):  # much less may happen on a slow machine
        with checker.record(make_stack("--hosts", "2", "--sql", directory)) as history:
            time.sleep(seconds)
        found = checker.check(history.writes, history.reads)
        if all(any(host in violation.text for violation in found) for host in ("host 1", "host 2")):
            break
    else:
        pytest.fail("nothing was found on one of the hosts")
    assert {"older"} <= {violation.rule for violation in found} <= {"older", "back"}
