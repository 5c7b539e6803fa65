"""Reload, recycling of workers and upgrade of the binary while clients read and write: nobody gets anything but what was asked for. And what shows
of the processes meanwhile: the status page, the live view, what the service manager is told."""

import contextlib
import os
import pty
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

import pytest
import requests

from conftest import SLOW, assert_problem, children, copy_sql, running, wait_for
from life import READS, Traffic, adopt, upgrade


@pytest.fixture(scope="module")
def slow_sql(tmp_path_factory):
    return copy_sql(tmp_path_factory.mktemp("sql") / "sql", slow=SLOW)


@pytest.fixture(scope="module", params=["redis", "memory"])
def herd(request, make_session_stack, slow_sql):
    return make_session_stack("--l2", request.param, "--sql", slow_sql)


def status(stack):
    answer = stack.request("GET", "/status", admin=True)
    assert answer.status_code == 200, answer.text
    return answer.json()


def wait_for_others(stack, before, count=2):
    wait_for("all workers are others", lambda: len(now := stack.children("worker")) == count and not set(now) & set(before))


def times(long, few):
    return 100 if long else few


def test_reloads(herd, long):
    with Traffic(herd, "RL", 5) as traffic:
        for _ in range(times(long, 6)):
            before = herd.children("worker")
            traffic.wait()
            herd.signal(herd.larder_pid, signal.SIGHUP)
            wait_for_others(herd, before)
    traffic.check()
    assert status(herd)["reloads"] >= 6


@pytest.mark.parametrize("workers", [1, 2])
def test_recycling(make_stack, long, workers):
    stack = make_stack("--workers", workers, "--set", "server.max_requests=150", "--set", "log.level=info")
    goal = times(long, 12)
    with Traffic(stack, "RC", 60 if long else 4) as traffic:
        wait_for("workers have been recycled", lambda: stack.log().count("child_ended") >= goal, 120)
    traffic.check()
    wait_for("they are counted", lambda: status(stack)["recycled"] >= goal)
    assert "child_died" not in stack.log() and "child_killed" not in stack.log()


def test_upgrades(herd, long):
    pids = {herd.larder_pid}
    with Traffic(herd, "UP", 5) as traffic:
        for _ in range(times(long, 4)):
            traffic.wait()
            pids.add(upgrade(herd))
    traffic.check()
    assert len(pids) == times(long, 4) + 1
    assert [pid for pid in pids if running(pid)] == [herd.larder_pid]
    wait_for("only the processes of one larder are left", lambda: len(children(herd.larder_pid)) == 4)
    assert status(herd)["pid"] == herd.larder_pid
    for word in ("child_died", "child_killed", "upgrade_failed", "writer_locked_out"):
        assert word not in herd.log()


def test_what_is_read_after_a_write_is_never_older_across_an_upgrade(herd):
    """A cell that is written and then read again, over and over: by one client, over connections that move from one larder to the other."""
    session = requests.Session()
    headers = {"Authorization": f"Bearer {herd.admin_token}"}
    url = f"{herd.url}/api/stocks/AAPL"
    seen = []

    def ask(number):
        put = session.put(url, json={"name": "Apple", "sector": "Technology", "price": number}, headers=headers, timeout=30)
        assert put.status_code == 200, put.text
        got = requests.get(url, timeout=30)
        assert got.status_code == 200, got.text
        seen.append((number, got.json()["price"]))

    number = 0
    for _ in range(3):
        old, said = herd.larder_pid, len(herd.log())
        for _ in range(20):
            ask(number := number + 1)
        os.kill(old, signal.SIGUSR2)
        while running(old):
            ask(number := number + 1)
        new = adopt(herd)
        # Until then it refuses to be followed itself.
        wait_for("the new one is ready", lambda: f"pid={new}" in herd.log()[said:].split(" ready ")[-1])
    assert [pair for pair in seen if pair[0] != pair[1]] == []


def test_a_slow_request_outlives_an_upgrade(herd):
    answers = []
    steps = 3_000_000
    thread = threading.Thread(target=lambda: answers.append(requests.get(f"{herd.url}/api/slow?steps={steps}", timeout=60)))
    thread.start()
    wait_for("it runs", lambda: any(row["works_on"] for row in status(herd)["processes"]) or answers)
    upgrade(herd)
    thread.join(60)
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, steps)]


@pytest.fixture
def replaceable(make_stack, tmp_path, monkeypatch):
    """A stack that runs a copy of the program, to be replaced: the stack, and the copy's path."""
    program = tmp_path / "larder"
    shutil.copy(os.path.realpath(os.environ.get("LARDER", "build/larder")), program)
    monkeypatch.setenv("LARDER", str(program))
    return make_stack("--l2", "memory"), program


def refuse_upgrade(stack, word):
    before, said = (stack.larder_pid, stack.children("worker")), len(stack.log())
    with Traffic(stack, f"R{len(word)}") as traffic:
        traffic.wait()
        os.kill(stack.larder_pid, signal.SIGUSR2)
        wait_for("the log says that it failed", lambda: "upgrade_failed" in stack.log()[said:])
        traffic.wait()
    traffic.check()
    assert word in stack.log()[said:]
    assert (stack.larder_pid, stack.children("worker")) == before
    assert running(stack.larder_pid)


def test_an_upgrade_that_cannot_start_changes_nothing(replaceable):
    stack, program = replaceable
    good = program.with_name("good")
    program.rename(good)
    refuse_upgrade(stack, "No such file")
    program.write_bytes(b"\x7fELF and no more of it")
    program.chmod(0o755)
    refuse_upgrade(stack, "Exec format error")
    shutil.copy("/bin/false", program)
    refuse_upgrade(stack, "exit code 1")
    program.unlink()
    good.rename(program)
    configuration = stack.dir / "larder.conf"
    text = configuration.read_text()
    configuration.write_text(text + "\n[server]\nworkers = none\n")
    refuse_upgrade(stack, "exit code 2")
    configuration.write_text(text)
    upgrade(stack)
    assert stack.get(READS[0]).status_code == 200


@contextlib.contextmanager
def late(make_stack, directory):
    """A stack; the process that is to follow its supervisor, whose writer has taken the other's place; and a connection that keeps the database
    locked, for which the migrations of that writer wait (ten seconds)."""
    sql = copy_sql(directory / "sql")
    stack = make_stack("--l2", "memory", "--sql", sql, "--set", "store.write_timeout=30s")
    (sql / "migrations" / "0004-late.sql").write_text("CREATE TABLE late (a INTEGER) STRICT;\n")
    with contextlib.closing(sqlite3.connect(stack.database, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        os.kill(stack.larder_pid, signal.SIGUSR2)
        new = wait_for("it has a writer", lambda: next((
            pid for pid, name in children(stack.larder_pid) if name == "larder" and "larder: writer" in dict(map(reversed, children(pid)))), None))
        assert not stack.children("writer")
        yield stack, new, lock


def lose(stack, new):
    os.kill(new, signal.SIGKILL)
    wait_for("the other goes on", lambda: "upgrade_failed" in stack.log())
    assert "upgraded" not in stack.log() and "the new process died: Killed" in stack.log()


def test_a_successor_that_dies_while_it_migrates_gives_back_the_writers_place(make_stack, tmp_path):
    with late(make_stack, tmp_path) as (stack, new, lock):
        with Traffic(stack, "SET") as traffic:
            traffic.readers.wait(20)
            assert not traffic.putters.answers and not traffic.posters.answers, "there is no writer"
            lose(stack, new)
            lock.rollback()
            traffic.wait()
        traffic.check()
        upgrade(stack)


def test_a_successor_that_dies_before_it_serves_gives_back_the_writers_place(make_stack, tmp_path):
    """Its writer is ready. A worker of the other one that does not answer keeps it from serving, for two seconds."""
    for attempt in range(3):
        with late(make_stack, tmp_path / str(attempt)) as (stack, new, lock):
            if died_before_it_served(stack, new, lock):
                upgrade(stack)
                return
    pytest.fail("nothing here takes less than two seconds")


def died_before_it_served(stack, new, lock):
    """Whether it did: not where these two seconds were over sooner."""
    with Traffic(stack, "GO") as traffic:
        traffic.readers.wait(20)
        stopped, other = stack.children("worker")
        os.kill(stopped, signal.SIGSTOP)
        try:
            lock.rollback()
            wait_for("workers have been told to yield", lambda: not running(other))
            os.kill(new, signal.SIGSTOP)
            if {"larder: writer", "larder: houseke"} == {name for _, name in children(new)}:
                lose(stack, new)
            else:
                os.kill(new, signal.SIGCONT)
                wait_for("it serves", lambda: "upgraded" in stack.log())
                adopt(stack)
                return False
        finally:
            os.kill(stopped, signal.SIGCONT)
        traffic.wait()
    traffic.check()
    return True


def test_status_shows_who_does_what(herd):
    assert_problem(herd.get("/status"), 401)
    shown = status(herd)
    assert shown["pid"] == herd.larder_pid and shown["workers"]["total"] == 2
    rows = {row["pid"]: row for row in shown["processes"]}
    assert set(rows) == {pid for pid, _ in children(herd.larder_pid)}
    assert sorted(row["role"] for row in rows.values()) == ["housekeeper", "worker", "worker", "writer"]
    for pid in herd.children("worker"):
        assert rows[pid]["threads"] > 0 and rows[pid]["state"] in ("idle", "busy")
    before = sum(row["requests"] for row in rows.values())
    for _ in range(20):
        herd.get(READS[0])
    wait_for("they are counted", lambda: sum(row["requests"] for row in status(herd)["processes"]) >= before + 20)
    table = herd.request("GET", "/status", admin=True, headers={"Accept": "text/plain"})
    assert table.headers["Content-Type"].startswith("text/plain")
    for pid in rows:
        assert re.search(rf"^ *{pid}  (worker|writer|housekeeper) ", table.text, re.M), table.text
    assert "2 idle" in table.text or "busy" in table.text


def test_status_names_what_waits_and_what_works(make_stack, slow_sql):
    stack = make_stack("--l2", "memory", "--workers", "1", "--sql", slow_sql, "--set", "server.pool=1", "--set", "server.request_timeout=3s")
    processes = [subprocess.Popen(["curl", "-s", "-o", "/dev/null", f"{stack.url}/api/slow?steps={100_000_000_000 - n}"]) for n in range(4)]
    try:
        def stuck():
            shown = status(stack)
            return shown if shown["queued"] >= 3 and shown["processes"] and any(row["works_on"] for row in shown["processes"]) else None
        shown = wait_for("one runs and three wait", stuck)
        worker = next(row for row in shown["processes"] if row["role"] == "worker")
        assert worker["state"] == "busy" and worker["under_way"] >= 4 and worker["threads"] == worker["threads_busy"] == 1
        work = worker["works_on"][0]
        assert (work["what"], work["resource"], work["phase"]) == ("GET /api/slow", "slow", "statement")
        assert shown["queued_most"] >= 3
        line = wait_for("the worker is killed", lambda: next((line for line in stack.log().splitlines() if "child_killed" in line), None))
        for part in ("stuck past request_timeout", "GET /api/slow", "resource=slow", "phase=statement"):
            assert part in line
        assert int(re.search(r"requests_under_way=(\d+)", line).group(1)) >= 4
        assert int(re.search(r"for_ms=(\d+)", line).group(1)) >= 3000
        assert int(re.search(r"phase_ms=(\d+)", line).group(1)) >= 2500
    finally:
        for process in processes:
            process.terminate()  # the others would be waited for one by one
            process.wait(60)
    after = status(stack)
    assert after["killed"] >= 1 and after["queued_most"] >= 3


def larder_command(stack, *arguments):
    return [os.path.realpath(os.environ.get("LARDER", "build/larder")), "--config", str(stack.dir / "larder.conf"), *arguments]


def watch_while(process, asks):
    """What `stats --watch` prints while each of ASKS in turn is called until another block has come."""
    text = b""
    for number, ask in enumerate(asks, 1):
        deadline = time.monotonic() + 15
        while text.count(b"breaker ") < number and time.monotonic() < deadline:
            ask()
            if select.select([process.stdout], [], [], 0)[0]:
                text += os.read(process.stdout.fileno(), 65536)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=10)
    assert process.returncode == 0 and errors == b""
    return (text + rest).decode()


def test_stats_watch_prints_blocks_where_there_is_no_terminal(herd):
    for attempt in range(4):
        try:
            watch_each_second(herd)
            return
        except AssertionError:  # whoever stands still for a second has it say something else of that
            if attempt == 3:
                raise


def watch_each_second(herd):
    took = []

    def be_slow():
        started = time.monotonic()
        assert herd.get(f"/api/slow?steps={100_000 + len(took)}").status_code == 200
        took.append((time.monotonic() - started) * 1000)

    def read():
        assert herd.get(READS[0]).status_code == 200

    def write():
        assert herd.request("PUT", "/api/stocks/WATCH", admin=True, json={"name": "x", "sector": "y", "price": 1}).status_code == 200

    read()
    process = subprocess.Popen(larder_command(herd, "stats", "--watch"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    text = watch_while(process, (be_slow, read, read, write))
    assert "\x1b" not in text
    assert len(re.findall(r"^requests   \d+/s", text, re.M)) == text.count("breaker    closed") == text.count(f"process {herd.larder_pid}") >= 4
    assert re.search(r"^requests   [1-9]\d*/s: [1-9]\d* 2xx", text, re.M) and re.search(r"hit rate   \d+\.\d %: L1", text)
    # Of that second alone. A duration is known to within its bucket, whose upper bound is at most 2.5 times the lower one.
    found = re.findall(r"latency    reads p50 (\S+) ms, p99 (\S+) ms; writes none\n", text)
    assert len(found) >= 3
    slow, _, quick, *_ = found
    assert min(took) / 3 < float(slow[0]) <= float(slow[1]) < max(took) * 2.5
    assert float(quick[0]) <= float(quick[1]) < float(slow[0])
    assert re.search(r"latency    reads .*; writes p50 \d+\.\d+ ms, p99 \d+\.\d+ ms\n", text)


def test_stats_watch_draws_in_place_and_ends_by_q(herd):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(larder_command(herd)[0], larder_command(herd, "stats", "--watch"))
    text, deadline, asked = b"", time.monotonic() + 15, False
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                text += os.read(terminal, 65536)
            except OSError:
                break
        if not asked and text.count(b"\x1b[H") >= 2:
            os.write(terminal, b"q")
            asked = True
    assert os.waitpid(pid, 0)[1] == 0
    os.close(terminal)
    assert asked and text.startswith(b"\x1b[?1049h") and text.rstrip().endswith(b"\x1b[?25h\x1b[?1049l")
    assert b"requests   " in text and b"worker" in text


def test_stats_watch_without_a_server_says_so(herd, tmp_path):
    (tmp_path / "larder.conf").write_text(f"[server]\nsocket = {tmp_path}/nobody.sock\n")
    done = subprocess.run([larder_command(herd)[0], "--config", tmp_path / "larder.conf", "stats", "--watch"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and "no server listens" in done.stderr
