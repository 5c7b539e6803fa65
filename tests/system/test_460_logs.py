"""The log, as whoever runs larder meets it: its lines, what they say of a request, what they never say, and where they go."""

import concurrent.futures
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

import fcgi
import raw
from conftest import PATIENT, ROOT, assert_problem, children, copy_sql, listens, wait_for

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
COUNT = ("WITH RECURSIVE counter (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < :steps)"
         " SELECT max(n) AS n FROM counter;\n")
LINGER = ("-- name: linger\n-- route: GET /api/linger\n-- param: steps integer 1..100000000000\n-- key: linger:{*}\n-- shape: value\n"
          "-- param: who text ?\n-- ttl: 1m\n-- timeout: 10s\n" + COUNT)
LATE = ("-- name: late\n-- route: GET /api/late\n-- param: steps integer 1..100000000000\n-- key: late:{steps}\n-- shape: value\n"
        "-- ttl: 1m\n-- timeout: 100ms\n" + COUNT)
NEVER = "100000000000"
PHASES = ["work", "queue", "l2", "wait", "statement", "fill", "write"]


@pytest.fixture(scope="module")
def told(make_session_stack, tmp_path_factory):
    """A stack whose log says everything, in JSON; more than 50 ms is slow."""
    sql = copy_sql(tmp_path_factory.mktemp("logs") / "sql", linger=LINGER, late=LATE)
    return make_session_stack("--sql", sql, "--set", "log.format=json", "--set", "log.level=debug", "--set", "log.slow=50ms",
                              "--set", "server.head_timeout=1s", *PATIENT)


def lines(stack):
    return [json.loads(line) for line in stack.log().splitlines()]


def find(stack, seconds=20.0, **fields):
    """The last line with these fields, which may take a moment."""
    def look():
        return [line for line in lines(stack) if all(line.get(name) == value for name, value in fields.items())][-1:]
    return wait_for(f"a line with {fields}", look, seconds)[0]


def find_slow(stack, given):
    """What is told of a slow request; None where it was not as slow as that."""
    try:
        return find(stack, 2, event="request_slow", request_id=given)
    except AssertionError:
        return None


def described():
    """The events in the documentation."""
    return set(re.findall(r"^\| `([a-z0-9_]+)` \| (?:error|warning|notice|info|debug)", (ROOT / "docs" / "logging.md").read_text(), re.M))


def recent(stack, kind):
    answer = stack.request("GET", f"/api/cache/{kind}", admin=True)
    assert answer.status_code == 200, answer.text
    assert answer.json()["count"] == len(answer.json()["items"])
    return answer.json()["items"]


def steps_of(stack, seconds):
    """How far to count to take at least SECONDS here and now."""
    steps = 100_000
    while True:
        began = time.monotonic()
        assert stack.get(f"/api/linger?steps={steps}").status_code == 200
        took = time.monotonic() - began
        if took >= seconds:
            return steps + 1  # which is not cached
        steps = int(steps * max(1.5, min(10, 1.5 * seconds / took)))


def reconfigure(stack, **settings):
    """Sets what stands under [log], reloads, and waits until the new workers are there."""
    path, before = stack.dir / "larder.conf", set(stack.children("worker"))
    rest = re.sub(r"\[log\]\n(?:[^\[\n].*\n)*", "", path.read_text())
    path.write_text(rest + "[log]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
    stack.signal(stack.larder_pid, signal.SIGHUP)
    wait_for("new workers", lambda: len(stack.children("worker")) == 2 and not before & set(stack.children("worker")))


# Requests.

@pytest.mark.parametrize("path, status", [("/api/nothing", 404), ("/api/stocks/?limit=0", 400), ("/api/cache/status", 401)])
def test_an_error_carries_the_id_that_came_with_its_request(told, path, status):
    given = f"given-{status}"
    answer = told.get(path, headers={"X-Request-Id": given, "traceparent": TRACE})
    assert_problem(answer, status)
    assert answer.headers["X-Request-Id"] == given == answer.json()["request_id"]
    line = find(told, event="request", request_id=given)
    assert line["path"] == path.split("?")[0] and line["status"] == status and line["traceparent"] == TRACE and line["us"] >= 0


def test_an_error_without_an_id_gets_one(told):
    answers = [told.get("/api/nothing") for _ in range(2)]
    ids = [answer.headers["X-Request-Id"] for answer in answers]
    assert ids[0] != ids[1] and all(re.fullmatch("[0-9a-f]{32}", made) for made in ids)
    assert answers[0].json()["request_id"] == ids[0]
    find(told, event="request", request_id=ids[0])


def test_a_404_that_is_cached_names_no_request(told):
    answers = [told.get("/api/stocks/NOSUCH", headers={"X-Request-Id": f"asked-{number}"}) for number in range(3)]
    assert answers[2].headers["X-Cache"] == "NEGATIVE"
    assert [answer.headers["X-Request-Id"] for answer in answers] == ["asked-0", "asked-1", "asked-2"]
    assert answers[0].content == answers[2].content and "request_id" not in answers[2].json()


def test_an_answer_that_is_no_error_carries_no_id(told):
    assert "X-Request-Id" not in told.get("/api/stocks/AAPL", headers={"X-Request-Id": "fine"}).headers
    line = find(told, event="request", request_id="fine")
    assert line["resource"] == "stock" and line["cache"] in ("HIT", "MISS") and line["level"] == "debug"


@pytest.mark.parametrize("name, value", [("request_id", "two words"), ("request_id", "x" * 129), ("request_id", 'a"b'),
                                         ("traceparent", TRACE[:-1]), ("traceparent", TRACE.upper())])
def test_what_is_not_well_formed_is_not_passed_on(told, name, value):
    header = {"request_id": "HTTP_X_REQUEST_ID", "traceparent": "HTTP_TRACEPARENT"}[name]
    with fcgi.Client(told.dir / "larder.sock") as client:
        answer = client.ask("/api/nothing/at/all", **{header: value})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])
    line = find(told, event="request", request_id=answer.headers["X-Request-Id"])
    assert value not in json.dumps(line)


def test_a_request_that_no_route_sees_has_its_line_too(told):
    with fcgi.Client(told.dir / "larder.sock") as client:
        answer = client.ask("/api/stocks/", HTTP_X_REQUEST_ID="foul", HTTP_AUTHORIZATION=b"a\x01b")
    assert answer.status_code == 400 and answer.headers["X-Request-Id"] == "foul"
    line = find(told, event="request_refused", request_id="foul")
    assert line["level"] == "notice" and "control character" in line["why"]


# Slow ones.

def test_a_slow_statement_is_told_with_its_plan_and_where_the_time_went(told):
    steps, spent = steps_of(told, 0.15), None
    for attempt in range(6):  # a machine may stand still once, in the statement or in the rest, and before, when steps were counted
        steps *= 2 if attempt else 1
        given = f"slow-{attempt}"
        answer = told.get(f"/api/linger?steps={steps}&who=J%20%26%20J", headers={"X-Request-Id": given, "traceparent": TRACE})
        assert answer.headers["X-Cache"] == "MISS"
        line = find_slow(told, given)
        if not line:
            continue
        assert line["resource"] == "linger" and line["params"] == f"steps={steps}&who=J%20%26%20J" and line["traceparent"] == TRACE
        assert "SCAN counter" in line["plan"] and "\n" not in line["plan"]
        spent = {name: line.get(f"{name}_us", 0) for name in PHASES}
        assert sum(spent.values()) == line["us"] and spent["l2"] > 0 and spent["fill"] > 0
        if spent["statement"] > 50_000 and spent["statement"] > 0.5 * line["us"]:
            break
    else:
        pytest.fail(f"most of it was something else: {spent}")
    item = next(item for item in recent(told, "slow") if item.get("request_id") == given)
    assert item["params"] == {"steps": str(steps), "who": "J & J"} and "SCAN counter" in " ".join(item["plan"])
    assert sorted(item["phases"]) == sorted(PHASES) and item["repeats"] == 1
    assert sum(item["phases"].values()) == pytest.approx(item["ms"], abs=0.01) and item["ms"] * 1000 == pytest.approx(line["us"], abs=1)


def test_what_is_waited_for_is_told_as_waiting(told):
    """Of two that ask for the same at once, one runs the statement."""
    steps = steps_of(told, 0.3)
    for attempt in range(6):  # one of them may stand still until the other one has its answer
        steps *= 2 if attempt in (1, 2) else 1

        def ask(n, path=f"/api/linger?steps={steps}&who=herd{attempt}", given=f"herd-{attempt}-"):
            raw.ask(told.port, path, headers=[("X-Request-Id", f"{given}{n}")])
            return find_slow(told, f"{given}{n}")
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            both = [line for line in pool.map(ask, range(2)) if line]
        assert all(sum(line.get(f"{name}_us", 0) for name in PHASES) == line["us"] for line in both)
        ran = [line for line in both if "plan" in line]
        waited = [line for line in both if "plan" not in line]
        assert len(ran) <= 1, "both ran it"
        if ran and ran[0]["statement_us"] > 100_000 and waited and waited[0].get("wait_us", 0) > 0.5 * waited[0]["us"]:
            assert "statement_us" not in waited[0]
            return
    pytest.fail("nobody was told to have waited")


def test_a_statement_that_takes_too_long_is_a_problem_and_slow(told):
    for _ in range(2):
        answer = told.get(f"/api/late?steps={NEVER}", headers={"X-Request-Id": "too-late"})
        assert_problem(answer, 503)
    line = find(told, event="origin_failed", request_id="too-late")
    assert line["level"] == "error" and "ran longer than 100 ms" in line["why"] and line["status"] == 503
    assert "SCAN counter" in find(told, event="request_slow", request_id="too-late")["plan"]
    item = next(item for item in recent(told, "problems") if item["event"] == "origin_failed" and item.get("resource") == "late")
    assert item["request_id"] == "too-late" and item["repeats"] >= 2 and item["first"] < item["time"] and item["why"] == line["why"]


@pytest.mark.parametrize("kind", ["problems", "slow"])
def test_what_happened_lately_is_for_admins(told, kind):
    assert_problem(told.get(f"/api/cache/{kind}"), 401)
    times = [item["time"] for item in recent(told, kind)]
    assert times == sorted(times, reverse=True)


# What is never logged, and what cannot be forged.

def test_no_secret_is_ever_in_a_line(told):
    secrets = [told.admin_token, "wrong-token-0123456789", "dXNlcjpwYXNzd29yZA==", "secret-in-a-query", "secret-in-a-body"]
    with fcgi.Client(told.dir / "larder.sock") as client:
        for authorization in (f"Bearer {secrets[0]}", f"Bearer {secrets[1]}", f"Basic {secrets[2]}", f"{secrets[0]}", f"Bearer {secrets[0]}\x01"):
            for path in ("/api/cache/status", f"/api/stocks/?q={secrets[3]}%0A", f"/api/nothing?x={secrets[3]}", f"/api/late?steps={NEVER}"):
                client.ask(path, HTTP_AUTHORIZATION=authorization)
            client.ask("/api/stocks/SECRET", "PUT", body=f'{{"name": "{secrets[4]}"'.encode(), HTTP_AUTHORIZATION=authorization)
            client.ask("/api/stocks/SECRET", "PUT", body=f'{{"name": "{secrets[4]}", "price": "x"}}'.encode(), HTTP_AUTHORIZATION=authorization)
            client.ask("/api/stocks/SECRET", "PUT", body=f'{{"name": "{secrets[4]}", "sector": "S", "price": 1}}'.encode(),
                       HTTP_AUTHORIZATION=authorization)
    request = fcgi.request("/api/cache/status", token=secrets[0])
    for cut in (20, len(request) // 2, len(request) - 9):
        with fcgi.Client(told.dir / "larder.sock") as client:
            client.send(request[:cut] + fcgi.record(77, secrets[0].encode(), version=9))
            client.is_closed()
    told.request("PUT", "/api/stocks/SECRET", admin=True, json={"name": secrets[4], "sector": "S", "price": 1})
    told.request("DELETE", "/api/stocks/SECRET", admin=True)
    text = told.log() + json.dumps(recent(told, "problems") + recent(told, "slow"))
    assert "/api/cache/status" in text and "SECRET" in text
    for secret in secrets:
        assert secret not in text


def test_no_value_can_forge_a_line_or_a_field(told):
    forged = '"},\n{"event":"forged"}\r\n2026-01-01T00:00:00.000Z error worker[1] forged \x1b[2J'
    with fcgi.Client(told.dir / "larder.sock") as client:
        for name in ("REQUEST_URI", "HTTP_X_REQUEST_ID", "HTTP_TRACEPARENT", "REQUEST_METHOD", "REMOTE_ADDR"):
            client.ask("/api/x", **{name: forged})
        for path in ("/api/%0A%7B%22event%22%3A%22forged%22%7D", '/api/"event":"forged"', "/api/\u2028forged", "/api/x\xff".encode("latin-1")):
            client.send(fcgi.begin() + fcgi.stream(fcgi.PARAMS, fcgi.pairs({"REQUEST_METHOD": "GET", "REQUEST_URI": path})) + fcgi.stream(fcgi.STDIN, b""))
            client.read_answer()
    assert all(line["event"] in described() for line in lines(told))
    assert "\x1b" not in told.log() and all(set(line) >= {"time", "level", "role", "pid", "event"} for line in lines(told))


def test_a_flood_of_garbage_is_cut_and_counted(told):
    def rejected():
        return [line for line in lines(told) if line["event"] in ("connection_rejected", "lines_suppressed")
                and line.get("of", "connection_rejected") == "connection_rejected"]
    before, began = len(rejected()), time.monotonic()
    for _ in range(300):
        with fcgi.Client(told.dir / "larder.sock") as client:
            client.send(b"\x09" * 100)
            client.is_closed()
    seconds = time.monotonic() - began

    def told_of():
        found = rejected()[before:]
        written = sum(line["event"] == "connection_rejected" for line in found)
        left_out = sum(line.get("suppressed", 0) + line.get("count", 0) for line in found)
        return (written, left_out) if written + left_out >= 300 else None
    written, left_out = wait_for("all are written or counted", told_of)
    assert written + left_out == 300 and written <= 10 * (seconds + 2)


# What a start says.

@contextlib.contextmanager
def served(directory, stderr, redis="memory:"):
    """A larder of its own, whose lines go to STDERR."""
    (directory / "larder.conf").write_text(f"[server]\nsocket = {directory}/s\nworkers = 1\n[store]\ndatabase = {directory}/larder.db\n"
                                           f"sql = {ROOT}/sql\n[redis]\nurl = {redis}\n[log]\nlevel = debug\nrate = 0\n")
    process = subprocess.Popen([os.environ.get("LARDER", ROOT / "build" / "larder"), "--config", directory / "larder.conf", "serve"],
                               stdin=subprocess.DEVNULL, stderr=stderr)
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(20) == 0


def test_a_start_with_nothing_wrong_warns_of_nothing(stack):
    ready = (" log_followed ", " writer_ready")
    text = wait_for("it has begun", lambda: all(word in (text := stack.log()) for word in ready) and text)
    first = text[:max(map(text.index, ready))]
    assert "trusted" not in first
    assert not re.findall(r"^\S+ (?:error|warning) .*", first, re.M)


def test_a_start_without_redis_does(tmp_path):
    with open(tmp_path / "log", "wb") as log, served(tmp_path, log, f"unix://{tmp_path}/nobody"):
        wait_for("it says so", lambda: {"l2_distrusted", "log_broken"} <= set((tmp_path / "log").read_text().split()))


# Who reads stderr, or does not.

def answers(directory, count):
    with fcgi.Client(directory / "s") as client:
        for _ in range(count):
            assert client.ask("/api/stocks/?no-such=" + "x" * 90).status_code == 400


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_nobody_waits_for_who_reads_stderr(tmp_path, kind):
    ours, theirs = os.pipe() if kind == "pipe" else [end.detach() for end in socket.socketpair()]
    with contextlib.closing(os.fdopen(ours, "rb")) as reading:
        with served(tmp_path, theirs):
            os.close(theirs)
            wait_for("it listens", lambda: listens(tmp_path / "s"))
            answers(tmp_path, 2000)
            os.set_blocking(ours, False)
            got = b""

            def told_of():
                nonlocal got
                got += reading.read() or b""
                lost = sum(map(int, re.findall(rb"warning housekeeper\[\d+\] lines_lost count=(\d+)", got)))
                return lost > 0 and got.count(b" request ") + lost >= 2000
            wait_for("what was lost is told", told_of)
            assert 0 < got.count(b" request ") < 2000
    assert not (tmp_path / "s").exists()


def test_a_reader_of_stderr_that_has_ended_ends_nobody(tmp_path):
    ours, theirs = os.pipe()
    with served(tmp_path, theirs) as process:
        os.close(theirs)
        wait_for("it listens", lambda: listens(tmp_path / "s"))
        os.close(ours)
        answers(tmp_path, 10)
        process.send_signal(signal.SIGHUP)
        time.sleep(1)
        assert process.poll() is None
        answers(tmp_path, 10)


def test_without_stderr_nothing_else_takes_its_place(tmp_path):
    (tmp_path / "larder.conf").write_text(f"[server]\nsocket = {tmp_path}/s\nworkers = 1\n[store]\ndatabase = {tmp_path}/larder.db\n"
                                          f"sql = {ROOT}/sql\n[log]\nlevel = debug\n")
    process = subprocess.Popen(["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', os.environ.get("LARDER", ROOT / "build" / "larder"),
                                "--config", tmp_path / "larder.conf", "serve"])
    try:
        wait_for("it listens", lambda: listens(tmp_path / "s"))
        wait_for("its processes run", lambda: len(children(process.pid)) == 3)
        for pid in [process.pid, *(pid for pid, _ in children(process.pid))]:
            assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} == {"/dev/null"}
        answers(tmp_path, 10)
    finally:
        process.terminate()
        assert process.wait(20) == 0


# Where lines go. These come last, for they change how the stack logs.

class Daemon:
    """A datagram socket in the place of syslog's or the journal's, which takes what comes at once, as these do."""

    def __init__(self, path):
        self.got = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while data := self.socket.recv(65536):
            self.got.append(data.decode())

    def find(self, *words):
        return wait_for(f"a datagram with {words}", lambda: [data for data in self.got if all(word in data for word in words)], 10)[0]

    def close(self):
        """An empty datagram ends the thread."""
        self.socket.sendto(b"", self.socket.getsockname())
        self.thread.join()
        self.socket.close()


def test_reloading_applies_another_level_form_and_target(told):
    path = str(told.dir / "log.sock")
    daemon = Daemon(path)
    reconfigure(told, level="info", target="syslog", socket=path, slow="0")
    told.get("/api/nothing", headers={"X-Request-Id": "not-debugged"})
    assert_problem(told.get(f"/api/late?steps={NEVER}", headers={"X-Request-Id": "to-syslog"}), 503)
    assert re.match(r"<27>\w{3} [ \d]\d \d\d:\d\d:\d\d larder\[\d+\]: worker origin_failed method=GET path=/api/late status=503 us=\d+ ",
                    daemon.find("to-syslog"))
    assert re.match(r"<29>.*: supervisor reloading$", daemon.find("reloading"))
    assert daemon.find("child_started") and not any("not-debugged" in data or "request_slow" in data for data in daemon.got)

    daemon.got.clear()
    reconfigure(told, level="notice", target="journal", socket=path, slow="50ms", format="json")
    assert_problem(told.get(f"/api/late?steps={NEVER}", headers={"X-Request-Id": "to-journal"}), 503)
    fields = dict(line.split("=", 1) for line in daemon.find("request_slow", "to-journal").splitlines())
    assert fields["PRIORITY"] == "5" and fields["SYSLOG_IDENTIFIER"] == "larder" and fields["LARDER_RESOURCE"] == "late"
    assert json.loads(fields["MESSAGE"])["request_id"] == fields["LARDER_REQUEST_ID"] == "to-journal"
    assert not any("child_started" in data and "PRIORITY" in data for data in daemon.got), "that is level info"
    daemon.close()

    before = len(told.log())
    told.get(f"/api/late?steps={NEVER}", headers={"X-Request-Id": "nobody-listens"})
    wait_for("what no daemon takes is on stderr", lambda: "nobody-listens" in told.log()[before:])


def test_every_event_that_was_written_is_described(told):
    assert {line["event"] for line in lines(told)} <= described()
