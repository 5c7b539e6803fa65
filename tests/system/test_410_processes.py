"""Supervisor, workers and writer: killed, stopped, stuck, recycled, reloaded and drained while clients ask."""

import contextlib
import json
import os
import pathlib
import re
import resource
import signal
import sqlite3
import subprocess
import threading
import time

import pytest
import requests

from conftest import ROOT, SLOW, assert_problem, children, copy_sql, running, wait_for
from load import Load, finish_wrk, start_wrk

PATHS = ("/api/stocks/AAPL", "/api/stocks/MSFT", "/api/stocks/?limit=5", "/api/stocks/top?limit=3")
STOCK = {"name": "Apple", "sector": "Technology Hardware", "price": 1}
# Slow statements may become much slower than they were when they were measured.
UNHURRIED = ("--set", "server.drain_timeout=60s", "--set", "server.request_timeout=60s")


@pytest.fixture(scope="module")
def slow_sql(tmp_path_factory):
    return copy_sql(tmp_path_factory.mktemp("sql") / "sql", slow=SLOW)


@pytest.fixture(scope="module")
def herd(make_session_stack, slow_sql):
    """A stack for killing and reloading."""
    return make_session_stack("--sql", slow_sql, "--set", "log.level=info", *UNHURRIED)


def steps_for(stack, seconds):
    """How far /api/slow has to count to take about SECONDS here and now."""
    steps, took = 100_000, 0.0
    while took < 0.1:
        steps *= 2
        began = time.monotonic()
        assert stack.get(f"/api/slow?steps={steps}").status_code == 200
        took = time.monotonic() - began
    return int(steps * seconds / took)


@contextlib.contextmanager
def in_background(function, *arguments, count=1):
    """Runs FUNCTION in threads; yields the list of what they return, complete after the block."""
    results = []
    threads = [threading.Thread(target=lambda: results.append(function(*arguments))) for _ in range(count)]
    for thread in threads:
        thread.start()
    yield results
    for thread in threads:
        thread.join(120)
    assert len(results) == count


def wait_until_under_way(stack, count, results):
    """Until COUNT statements run or wait for a thread, or one of them is over."""
    def under_way():
        shown = stack.request("GET", "/status", admin=True).json()
        return shown["threads_busy"] + shown["queued"] >= count or results
    wait_for(f"{count} requests are under way", under_way)


def cpu_seconds(pid):
    """What a process has used of the processors."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def heal(stack):
    """A reload forgets the deaths that tests have caused, and with them the back-off."""
    before = stack.children("worker")
    stack.signal(stack.larder_pid, signal.SIGHUP)
    wait_for_others(stack, "worker", before, 2)


def wait_for_others(stack, role, before, count):
    """Until COUNT children of ROLE live, none of them one of BEFORE."""
    def ready():
        now = stack.children(role)
        return now if len(now) == count and not set(now) & set(before) else None
    return wait_for(f"{count} other processes of the role {role}", ready, 30)


def integrity(path):
    """What SQLite finds wrong; nothing is `ok`."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
        return database.execute("PRAGMA integrity_check").fetchone()[0]


def tickers(path):
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
        return {row[0] for row in database.execute("SELECT ticker FROM stocks")}


def put_load(stack, prefix, **options):
    """Clients that create stocks; body and path of each request are its own."""
    headers = {"Authorization": f"Bearer {stack.admin_token}", "Content-Type": "application/json"}
    return Load(stack.port, (), method="PUT", headers=headers, make_body=lambda thread, n: '{"name": "x", "sector": "y", "price": 1}',
                make_path=lambda thread, n: f"/api/stocks/{prefix}{thread}X{n}", **options)


def test_each_process_has_its_name(herd):
    def names():
        told = subprocess.run(["ps", "-o", "args=", "--ppid", str(herd.larder_pid)], capture_output=True, text=True, check=True).stdout
        return sorted(line.strip() for line in told.splitlines())
    wait_for("all have their names", lambda: names() == ["larder: housekeeper", "larder: worker", "larder: worker", "larder: writer"])
    assert "larder" in pathlib.Path(f"/proc/{herd.larder_pid}/cmdline").read_text()


def test_each_worker_killed_under_load_costs_nobody_an_answer(herd):
    before = herd.children("worker")
    wrk = start_wrk(herd.url + PATHS[0], 4)
    with Load(herd.port, PATHS) as load:
        for pid in before:
            load.wait(100)
            herd.signal(pid, signal.SIGKILL)
            wait_for("the dead worker has a successor", lambda pid=pid: pid not in (now := herd.children("worker")) and len(now) == 2)
        load.wait(100)
    heal(herd)
    assert load.others() == []
    counted = finish_wrk(wrk)
    assert counted.errors == 0, counted.text


def test_all_workers_killed_at_once_costs_nobody_an_answer(herd):
    with Load(herd.port, PATHS) as load:
        for _ in range(2):
            load.wait(50)
            before = herd.children("worker")
            for pid in before:
                herd.signal(pid, signal.SIGKILL)
            wait_for_others(herd, "worker", before, 2)
            heal(herd)
        load.wait(100)
    assert load.others() == []


def test_a_death_is_logged_with_its_cause(herd):
    pid = herd.children("worker")[0]
    herd.signal(pid, signal.SIGABRT)
    wait_for_others(herd, "worker", [pid], 2)
    heal(herd)
    line = next(line for line in herd.log().splitlines() if "child_died" in line and f"pid={pid}" in line)
    assert "role=worker" in line and "Aborted" in line


def test_the_writer_killed_during_writes_loses_no_acknowledged_one(herd):
    for round in range(10):
        with put_load(herd, f"K{round}T") as load:
            load.wait(20, status=200)
            before = herd.children("writer")
            herd.signal(before[0], signal.SIGKILL)
            wait_for_others(herd, "writer", before, 1)
            load.wait(20, status=200)
            heal(herd)
        acknowledged = {answer.body for answer in load.answers if answer.status == 200}
        assert {answer.status for answer in load.answers} <= {200, 503}
        assert len(acknowledged) >= 40
        stored = tickers(herd.database)
        assert {json.loads(body)["ticker"] for body in acknowledged} <= stored
        assert integrity(herd.database) == "ok"


def test_an_import_whose_writer_dies_in_the_commit_does_not_say_that_nothing_was_imported(make_stack, tmp_path):
    sql = copy_sql(tmp_path / "sql")
    (sql / "import" / "slowly.sql").write_text(
        "UPDATE stocks SET price = (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000000) SELECT max(i) FROM n)"
        " WHERE ticker = :ticker;")
    (tmp_path / "a.csv").write_text("ticker\n" + "AAPL\n" * 50)
    stack = make_stack("--sql", sql)
    writer, = stack.children("writer")
    idle = cpu_seconds(writer)
    with in_background(lambda: stack.larder("import", "slowly", tmp_path / "a.csv", check=False)) as importing:
        wait_for("the writer works on it", lambda: cpu_seconds(writer) > idle + 0.3)
        os.kill(writer, signal.SIGKILL)
    result, = importing
    assert result.returncode == 1 and "not known" in result.stderr and "look whether" in result.stderr
    assert "nothing was imported" not in result.stderr


def test_a_stopped_writer_gets_an_honest_answer_in_time(make_stack):
    stack = make_stack("--l2", "memory", "--set", "store.write_timeout=500ms")
    writer = stack.children("writer")[0]
    stack.signal(writer, signal.SIGSTOP)
    try:
        began = time.monotonic()
        answer = stack.request("PUT", PATHS[0], admin=True, json=STOCK)
        assert answer.status_code == 503 and "not known" in answer.json()["detail"]
        assert time.monotonic() - began < 10
        assert stack.get(PATHS[0]).status_code == 200
    finally:
        stack.signal(writer, signal.SIGCONT)
    wait_for("the writer takes writes again", lambda: stack.request("PUT", PATHS[0], admin=True, json=STOCK).status_code == 200)


def test_what_was_purged_is_not_purged_again_while_the_writer_stands_still(make_stack):
    """It is the writer that removes from the outbox what has been carried out."""
    stack, left = make_stack("--l2", "memory"), 0
    writer = stack.children("writer")[0]
    with contextlib.closing(sqlite3.connect(f"file:{stack.database}?mode=ro", uri=True, timeout=30)) as database:
        for _ in range(10):
            assert stack.request("PUT", PATHS[0], admin=True, json=STOCK).status_code == 200
            stack.signal(writer, signal.SIGSTOP)
            try:
                left += database.execute("SELECT count(*) FROM larder_outbox").fetchone()[0]
                assert stack.get(PATHS[0]).headers["X-Cache"] == "MISS"
                time.sleep(0.15)  # in which the housekeeper looks some ten times
                assert stack.get(PATHS[0]).headers["X-Cache"] == "HIT"
            finally:
                stack.signal(writer, signal.SIGCONT)
    assert left > 0, "the writer was always faster"


def test_reloading_twenty_times_under_load_costs_nobody_an_answer(herd):
    wait_for("one generation is there", lambda: len(children(herd.larder_pid)) == 4)
    descriptors = len(os.listdir(f"/proc/{herd.larder_pid}/fd"))
    with Load(herd.port, PATHS, threads=4) as readers, put_load(herd, "RT", threads=2, pause=0.02) as writers:
        for _ in range(20):
            before = herd.children("worker")
            readers.wait(20)
            herd.signal(herd.larder_pid, signal.SIGHUP)
            wait_for_others(herd, "worker", before, 2)
        writers.wait(5)
    assert readers.others() == []
    assert writers.others() == []
    wait_for("the generations before have gone", lambda: len(children(herd.larder_pid)) == 4)
    wait_for("their descriptors are closed", lambda: len(os.listdir(f"/proc/{herd.larder_pid}/fd")) <= descriptors)


def test_a_request_under_way_outlives_a_reload(herd):
    steps = steps_for(herd, 1.0)
    before = herd.children("worker")
    with in_background(requests.get, f"{herd.url}/api/slow?steps={steps}", count=4) as answers:
        wait_until_under_way(herd, 4, answers)
        herd.signal(herd.larder_pid, signal.SIGHUP)
        wait_for_others(herd, "worker", before, 2)
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, steps)] * 4


def test_a_reload_with_a_wrong_file_keeps_what_runs(herd, slow_sql):
    before = (herd.children("worker"), herd.children("writer"))
    wrong = slow_sql / "resources" / "wrong.sql"
    wrong.write_text("-- name: wrong\n-- route: GET /api/wrong\nSELECT 1 FROM nowhere;\n")
    try:
        with Load(herd.port, PATHS, threads=2) as load:
            herd.signal(herd.larder_pid, signal.SIGHUP)
            wait_for("the log says so", lambda: "reload_refused" in herd.log())
            load.wait(50)
    finally:
        wrong.unlink()
    assert load.others() == []
    assert "wrong.sql" in herd.log()
    assert (herd.children("worker"), herd.children("writer")) == before


def test_a_reload_whose_workers_cannot_begin_keeps_what_runs(make_stack):
    """Nobody is sent away before others serve in his place."""
    stack = make_stack("--set", "log.level=info")
    memory = int(pathlib.Path(f"/proc/{stack.larder_pid}/statm").read_text().split()[0]) * resource.getpagesize()
    if memory > 1 << 40:
        pytest.skip("sanitizers take more memory than could be limited")
    resource.prlimit(stack.larder_pid, resource.RLIMIT_AS, (memory + (256 << 20),) * 2)
    file = stack.dir / "larder.conf"
    right = file.read_text()
    before = stack.children("worker")
    # Each thread has a stack of some MiB.
    file.write_text(re.sub(r"(?m)^pool = .*\n", "", right).replace("[server]\n", "[server]\npool = 250\n", 1))
    with Load(stack.port, PATHS, threads=2) as load:
        stack.signal(stack.larder_pid, signal.SIGHUP)
        wait_for("the log says so", lambda: "reload_refused" in stack.log())
        load.wait(50)
    assert load.others() == []
    assert "worker_start_failed" in stack.log()
    assert set(before) <= set(stack.children("worker"))
    wait_for("a writer", lambda: stack.request("PUT", "/api/stocks/AFTER", admin=True, json=STOCK).status_code == 200)
    file.write_text(right)
    stack.signal(stack.larder_pid, signal.SIGHUP)
    wait_for_others(stack, "worker", before, 2)


def test_workers_are_recycled_under_load_without_anybody_noticing(make_stack):
    stack = make_stack("--set", "server.max_requests=300", "--set", "log.level=info")
    seen = set()
    wrk = start_wrk(stack.url + PATHS[0], 4)
    with Load(stack.port, PATHS, threads=4) as load:
        deadline = time.monotonic() + 60
        while wrk.poll() is None or (len(seen) <= 6 and time.monotonic() < deadline):
            seen |= set(stack.children("worker"))
            time.sleep(0.02)
    counted = finish_wrk(wrk)
    assert counted.errors == 0, counted.text
    assert load.others() == []
    assert len(seen) > 6
    assert "child_died" not in stack.log() and "child_killed" not in stack.log()


def test_where_too_many_wait_for_the_database_a_copy_is_answered_and_else_503(make_stack, tmp_path):
    brief = """-- name: brief
-- route: GET /api/brief/{n}
-- param: n integer 1..100
-- key: brief:{n}
-- ttl: 1s
-- stale_if_error: 1h
-- shape: value
SELECT :n AS n;
"""
    sql = copy_sql(tmp_path / "sql", slow=SLOW, brief=brief)
    stack = make_stack("--l2", "memory", "--workers", "1", "--sql", sql, "--set", "server.pool=1", "--set", "server.queue=1")
    steps = steps_for(stack, 1.5)
    for n in range(1, 51):
        assert stack.get(f"/api/brief/{n}").headers["X-Cache"] == "MISS"
    time.sleep(1.5)  # their life is over, and they may stand in for an answer that cannot be had
    for _ in range(5):  # the statements may be over when this machine gets to asking
        with in_background(lambda: requests.get(f"{stack.url}/api/slow?steps={steps}", timeout=60), count=6) as slow:
            wait_for("somebody is turned away", lambda: [answer for answer in slow if answer.status_code == 503])
            answers = [stack.get(f"/api/brief/{n}") for n in range(1, 51)]
        assert {(answer.status_code, answer.text) for answer in answers} == {(200, str(n)) for n in range(1, 51)}
        refused = [answer for answer in slow if answer.status_code != 200]
        for answer in refused:
            assert_problem(answer, 503, "too many requests wait for the database")
            assert int(answer.headers["Retry-After"]) >= 1
        assert stack.counters()["pool_refused"] >= len(refused)
        if "STALE" in {answer.headers["X-Cache"] for answer in answers}:
            break
    else:
        pytest.fail("there was always room")
    wait_for("it is computed again", lambda: stack.get("/api/brief/1").headers["X-Cache"] == "MISS")


def test_a_stuck_worker_is_killed_and_the_log_says_what_it_was_doing(make_stack, slow_sql):
    stack = make_stack("--sql", slow_sql, "--set", "server.request_timeout=1s")
    began = time.monotonic()
    answer = stack.get("/api/slow?steps=100000000000")
    assert answer.status_code == 503 and answer.headers["Content-Type"] == "application/problem+json"
    assert time.monotonic() - began < 30
    line = wait_for("the log names the request", lambda: next(
        (line for line in stack.log().splitlines() if "child_killed" in line and "GET /api/slow" in line), None))
    assert "request_timeout" in line
    wait_for_others(stack, "worker", [int(re.search(r"pid=(\d+)", line).group(1))], 2)
    assert stack.get(PATHS[0]).status_code == 200


def test_a_stopped_worker_is_replaced_and_costs_nobody_an_answer(make_stack):
    stack = make_stack("--set", "server.request_timeout=1s")
    with Load(stack.port, PATHS) as load:
        load.wait(100)
        pid = stack.children("worker")[0]
        stack.signal(pid, signal.SIGSTOP)
        wait_for_others(stack, "worker", [pid], 2)
        load.wait(100)
    assert load.others() == []
    # The same for one that was doing nothing.
    pid = stack.children("worker")[1]
    stack.signal(pid, signal.SIGSTOP)
    wait_for_others(stack, "worker", [pid], 2)


@contextlib.contextmanager
def served_by_us(stack):
    """STACK's larder as a child of the test, so that its exit code can be seen."""
    stack.signal(stack.larder_pid, signal.SIGTERM)
    wait_for("larder has ended", lambda: not running(stack.larder_pid))
    program = os.environ.get("LARDER", ROOT / "build" / "larder")
    with open(stack.dir / "larder.log", "ab") as log:
        process = subprocess.Popen([program, "--config", stack.dir / "larder.conf", "serve"], stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log)
    try:
        wait_for("larder is ready", lambda: stack.get("/readyz").status_code == 200)
        yield process
    finally:
        process.kill()
        process.wait()


def test_sigterm_answers_what_is_under_way_and_leaves_nothing_behind(make_stack, slow_sql):
    stack = make_stack("--sql", slow_sql, *UNHURRIED)
    with served_by_us(stack) as larder:
        below = [pid for pid, _ in children(larder.pid)]
        steps = steps_for(stack, 0.5)
        with in_background(requests.get, f"{stack.url}/api/slow?steps={steps}", count=8) as answers:
            wait_until_under_way(stack, 8, answers)
            larder.terminate()
            assert larder.wait(60) == 0
        assert [(answer.status_code, answer.json()) for answer in answers] == [(200, steps)] * 8
        assert [pid for pid in below if running(pid)] == []
        assert not (stack.dir / "larder.sock").exists()
        assert "child_killed" not in stack.log() and "child_died" not in stack.log()
        answer = stack.get(PATHS[0])
        assert answer.status_code == 503 and answer.headers["Content-Type"] == "application/problem+json"


def test_signals_behind_sigterm_do_not_keep_the_supervisor_busy(make_stack):
    stack = make_stack("--l2", "memory")
    worker = stack.children("worker")[0]
    stack.signal(worker, signal.SIGSTOP)  # which keeps it from ending
    try:
        stack.signal(stack.larder_pid, signal.SIGTERM)
        wait_for("it has heard", lambda: "stopping" in stack.log())
        for number in (signal.SIGHUP, signal.SIGUSR2):
            stack.signal(stack.larder_pid, number)
        before = cpu_seconds(stack.larder_pid)
        time.sleep(1)
        used = cpu_seconds(stack.larder_pid) - before
    finally:
        stack.signal(worker, signal.SIGCONT)
    assert used < 0.3, f"{used} s of processor time in one second"
    wait_for("larder has ended", lambda: not running(stack.larder_pid))
    assert "reloading" not in stack.log()


def test_sigterm_twice_and_sigint_end_it_too(make_stack):
    stack = make_stack("--l2", "memory")
    for signals in ((signal.SIGTERM, signal.SIGTERM), (signal.SIGINT,), (signal.SIGHUP, signal.SIGTERM)):
        with served_by_us(stack) as larder:
            for number in signals:
                larder.send_signal(number)
            assert larder.wait(30) == 0
        stack.up()


def test_a_killed_supervisor_leaves_no_process_and_a_new_one_takes_over(herd):
    for _ in range(3):
        below = [pid for pid, _ in children(herd.larder_pid)]
        herd.signal(herd.larder_pid, signal.SIGKILL)
        wait_for("the children have gone", lambda: not any(running(pid) for pid in below))
        herd.up()
        assert herd.get(PATHS[0]).status_code == 200
    assert integrity(herd.database) == "ok"


def test_a_new_larder_takes_over_while_the_orphans_still_answer(herd):
    for seconds in (2.0, 6.0, 18.0):
        steps = steps_for(herd, seconds)
        old = herd.larder_pid
        with in_background(requests.get, f"{herd.url}/api/slow?steps={steps}", count=2) as answers:
            wait_until_under_way(herd, 2, answers)
            below = [pid for pid, name in children(old) if name == "larder: worker"]
            herd.kill(old)
            herd.up()
            answer_still = any(running(pid) for pid in below)
            assert herd.get(PATHS[0]).status_code == 200
        assert [answer.status_code for answer in answers] == [200] * 2
        if answer_still:
            break
    else:
        pytest.fail("the statements were too quick for this test")
