"""The whole system, as scripts/stack starts it: real nginx, Redis and larder in a directory of their own.

`stack` is one that all tests share: leave it as you found it. `make_stack` makes further ones, for tests that break things.
LARDER in the environment names another program than build/larder.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time

import pytest
import redis
import requests

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
# For stacks of tests that are not about a slow Redis: one that the machine lets stand still for a second is waited for, so that what is
# cached is a hit and what is purged has been when it is answered.
PATIENT = ("--set", "redis.timeout=3s", "--set", "redis.connect_timeout=3s")
FAULTS = re.compile(r"ERROR: \w+Sanitizer|runtime error:|LeakSanitizer|Assertion .* failed|AddressSanitizer:DEADLYSIGNAL")


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="tests of faults under load take their full length")


def free_port(count=1, taken=()):
    """The first of COUNT neighbouring ports of 127.0.0.1 that nobody uses, nor is TAKEN; below those the kernel gives away by itself.
    Test runs beside each other (scripts/check) look in ranges of their own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 4
    first = 20000 + worker * 3000
    for port in range(first + os.getpid() % 100 * 10, first + 3000, 10):
        if port in taken:
            continue
        try:
            for offset in range(count):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port + offset))
            return port
        except OSError:
            continue
    raise RuntimeError("no free port")


def wait_for(what, condition, seconds=20.0):
    """Returns condition()'s first true result, or fails after SECONDS."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def listens(path):
    """Whether somebody accepts connections on the socket PATH; its file is there a little earlier."""
    lines = (line.split() for line in pathlib.Path("/proc/net/unix").read_text().splitlines())
    return any(line[-1] == str(path) and line[3] == "00010000" for line in lines)


def running(pid):
    """Whether a process of that id runs; a zombie does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid):
    """The processes below PID: a list of (pid, name)."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in task.read_text().split():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    found.append((int(child), pathlib.Path(f"/proc/{child}/comm").read_text().strip()))
    return found


class Stack:
    """One running scripts/stack; its D/env as attributes in lower case (url, admin_token, larder_pid ...)."""

    def __init__(self, directory, port, arguments):
        self.dir, self.port, self.arguments = directory, port, arguments
        self.http = requests.Session()

    def script(self, action, *arguments, check=True, environment=None):
        return subprocess.run(
            [ROOT / "scripts" / "stack", action, "--dir", self.dir, *arguments], check=check, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=180, env={**os.environ, **(environment or {})})

    def up(self, *more):
        for _ in range(5):
            result = self.script("up", "--port", str(self.port), *self.arguments, *more, check=False)
            # Another run beside this one was quicker.
            if "something else listens on port" not in result.stdout:
                break
            self.port = free_port(2)
        assert result.returncode == 0, result.stdout
        self.read_env()

    def read_env(self):
        self.env = dict(line.split("=", 1) for line in (self.dir / "env").read_text().splitlines())
        for name, value in self.env.items():
            setattr(self, name.lower(), int(value) if name.endswith("_PID") and value else value)

    def down(self):
        self.script("down")

    def settle(self):
        """Returns once all of a stack that has just been started is there: `up` returns with the first worker that answers."""
        workers = re.search(r"^workers = (\d+)$", (self.dir / "larder.conf").read_text(), re.MULTILINE)
        wait_for("all processes are there",
                 lambda: len(self.children("worker")) == int(workers.group(1)) and self.children("housekeeper"))
        for url in filter(None, (self.env["URL"], self.env.get("URL2"))):
            if self.http.get(url + "/readyz", timeout=30).json()["cache"] == "ok":
                self.wait_for_trust(url)

    def wait_for_trust(self, url=None):
        """Until what is cached may be read: until then every hit is a miss. The database is not looked at for this."""
        wait_for("the caches are trusted", lambda: all(
            f"\nlarder_{tier}_trusted 1\n" in self.http.get((url or self.url) + "/metrics", timeout=30).text for tier in ("l1", "l2")))

    def left(self):
        """The processes that run with this stack's configuration."""
        found = []
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if f"{self.dir}/larder.conf".encode() in (process / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(process.name))
        return found

    def faults(self):
        """What a sanitizer or an assertion has said in larder's logs."""
        return [line for log in sorted(self.dir.glob("larder*.log"))
                for line in log.read_text(errors="replace").splitlines() if FAULTS.search(line)]

    def get(self, path, **options):
        return self.http.get(self.url + path, timeout=30, **options)

    def request(self, method, path, admin=False, **options):
        headers = dict(options.pop("headers", {}))
        if admin:
            headers["Authorization"] = f"Bearer {self.admin_token}"
        return self.http.request(method, self.url + path, headers=headers, timeout=30, **options)

    def invalidate(self, **body):
        answer = self.request("POST", "/api/cache/invalidate", admin=True, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def redis(self):
        return redis.Redis(unix_socket_path=self.redis_socket)

    def larder(self, *arguments, check=True, **options):
        """Runs a command of the program with this stack's configuration."""
        program = os.environ.get("LARDER", ROOT / "build" / "larder")
        return subprocess.run([program, "--config", self.dir / "larder.conf", *arguments], check=check, text=True,
                              capture_output=True, timeout=120, **options)

    def children(self, role):
        """The ids of the supervisor's children of a role: worker, writer or housekeeper."""
        return [pid for pid, name in children(self.larder_pid) if name == f"larder: {role}"[:15]]

    def counters(self):
        return self.get("/stats").json()["counters"]

    def keys(self, match="*"):
        """Every key in the cache that matches, sorted."""
        found, cursor = set(), 0
        while True:
            answer = self.request("GET", "/api/cache/keys", admin=True, params={"match": match, "cursor": cursor, "limit": 1000})
            assert answer.status_code == 200, answer.text
            found |= set(answer.json()["keys"])
            cursor = answer.json()["cursor"]
            if cursor == 0:
                return sorted(found)

    def log(self, name="larder"):
        return (self.dir / f"{name}.log").read_text(errors="replace")

    def signal(self, pid, number=signal.SIGTERM):
        os.kill(pid, number)

    def kill(self, *pids):
        """Kills the processes, and returns when they have gone: until then `up` takes them for running."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # a child that has noticed its parent's end
                os.kill(pid, signal.SIGKILL)
        wait_for("they have gone", lambda: not any(running(pid) for pid in pids))

    def wait_for_outbox(self):
        """Until no purge that came with a write is left, whoever carries it out."""
        def count():
            with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)) as database:
                return database.execute("SELECT count(*) FROM larder_outbox").fetchone()[0]
        wait_for("the outbox is empty", lambda: count() == 0)

    def kill_larder(self):
        self.kill(self.larder_pid, *[pid for pid, _ in children(self.larder_pid)])

    def reload(self):
        """Has the files read anew, and returns when nobody answers by the old ones any more."""
        workers = self.children("worker")
        self.signal(self.larder_pid, signal.SIGHUP)
        wait_for("other workers serve", lambda: self.children("worker") and not any(running(pid) for pid in workers))


def data_file(name="sp500-financials.csv"):
    """A file of real data beside the project; without it the test is skipped."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"real data is not here: {os.path.relpath(path, ROOT)}")
    return path


def stacks():
    """Yields a function that starts a stack with the arguments it gets; at the end all of them are stopped and their logs read."""
    made, faults = [], []

    def make(*arguments, start=True):
        directory = pathlib.Path(tempfile.mkdtemp(prefix="larder-", dir="/tmp"))
        stack = Stack(directory, free_port(2), [str(argument) for argument in arguments])
        made.append(stack)
        if start:
            stack.up()
            stack.settle()
        return stack

    yield make
    for stack in made:
        stack.down()
        # A supervisor that has followed another one, unnoticed. The children of one that was killed end by themselves.
        with contextlib.suppress(AssertionError):
            wait_for("nothing runs any more", lambda stack=stack: not stack.left(), 10)
        for pid in stack.left():
            faults.append(f"left running: larder {pid}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        faults += stack.faults()
        shutil.rmtree(stack.dir, ignore_errors=True)
    assert not faults, "\n".join(faults)


make_stack = pytest.fixture(stacks, name="make_stack")
make_session_stack = pytest.fixture(stacks, scope="session", name="make_session_stack")


@pytest.fixture(scope="session")
def stack(make_session_stack):
    """The stack that tests share, with larder's own sample data."""
    return make_session_stack(*PATIENT)


@pytest.fixture(scope="session")
def data_stack(make_session_stack):
    """Another shared one, with the real data of the S&P 500."""
    return make_session_stack("--data", data_file(), *PATIENT)


@pytest.fixture(scope="session")
def memory_stack(make_session_stack):
    """The same data without Redis."""
    return make_session_stack("--l2", "memory", "--data", data_file())


@pytest.fixture(scope="module", params=["redis", "memory"])
def market(request):
    """The real data over each kind of shared cache. For tests that leave the data as they are."""
    return request.getfixturevalue({"redis": "data_stack", "memory": "memory_stack"}[request.param])


@pytest.fixture(scope="module", params=["redis", "memory"])
def writable(request):
    """The sample data over each kind of shared cache, for the tests of one module to change."""
    makers = stacks()
    yield next(makers)("--l2", request.param, *PATIENT)
    next(makers, None)


def assert_problem(answer, status, *words):
    """That ANSWER is a problem (RFC 9457) of STATUS whose detail has WORDS in it."""
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = json.loads(answer.content)
    assert problem["status"] == status and problem["title"] and problem["detail"], problem
    for word in words:
        assert word in problem["detail"], f"{word!r} is not in {problem['detail']!r}"


def removed_by(stack, answer):
    """How many entries a purge has removed, by its ANSWER; over Redis, those that a pattern matches are removed by a job, which is waited for."""
    if "job" not in answer:
        return answer["removed"]
    assert answer["removed"] is None

    def done():
        job = stack.request("GET", f"/api/cache/jobs/{answer['job']}", admin=True)
        assert job.status_code == 200, job.text
        return job.json() if job.json()["state"] == "done" else None
    return wait_for("the job is done", done)["removed"]


# A resource that takes as long as it is told to, for copy_sql.
SLOW = """-- name:    slow
-- doc:     Counts to `steps`.
-- route:   GET /api/slow
-- param:   steps integer 1..100000000000
-- key:     slow:{steps}
-- shape:   value
-- ttl:     0s
-- timeout: 1m
WITH RECURSIVE counter (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < :steps) SELECT max(n) AS n FROM counter;
"""


def copy_sql(directory, **resources):
    """A copy of the shipped SQL under DIRECTORY with RESOURCES besides: name=text."""
    shutil.copytree(ROOT / "sql", directory)
    for name, text in resources.items():
        (directory / "resources" / f"{name}.sql").write_text(text)
    return directory


@pytest.fixture(scope="session")
def long(request):
    """Whether tests may take their time."""
    return request.config.getoption("--long")
