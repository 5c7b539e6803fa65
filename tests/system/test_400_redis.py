"""Redis absent, killed, hung, talking nonsense, locked, full, emptied: slower answers, never an error, and nothing stale afterwards."""

import concurrent.futures
import contextlib
import itertools
import os
import select
import signal
import socket
import subprocess
import threading
import time

import pytest
import redis
import requests

from conftest import PATIENT, children, copy_sql, listens, running, wait_for
from load import Load

PATHS = ("/api/stocks/AAPL", "/api/stocks/MSFT", "/api/stocks/?limit=5", "/api/stocks/top?limit=3")
APPLE = "/api/stocks/AAPL"
# Two time-outs of Redis (250 ms each by default) and a statement, on a machine that may let each process stand still for seconds.
BOUND_S = 10.0
# For how long a host believes what it has in memory without having heard of the others.
TRUST_S = 2.0


@pytest.fixture(scope="module")
def shaky(make_session_stack):
    """A stack whose breaker tries again soon."""
    return make_session_stack("--set", "breaker.open=500ms")


@pytest.fixture(scope="module", params=["both tiers", "Redis alone"])
def tiered(request, shaky, make_session_stack):
    """That stack, and one without memory of its own, where every hit is what Redis says."""
    if request.param == "both tiers":
        return shaky
    stack = make_session_stack("--set", "breaker.open=500ms", "--set", "l1.size=0")
    wait_for("Redis answers", lambda: "detail=L2" in stack.get(APPLE).headers["Cache-Status"])
    return stack


def status(stack):
    answer = stack.request("GET", "/api/cache/status", admin=True)
    assert answer.status_code == 200, answer.text
    return answer.json()


def assert_told_of_outage(stack, *words):
    """That the operator is told soon: Redis is not reached, and nothing in it is believed."""
    def apart():
        told = status(stack)
        return not told["log"]["followed"] and not told["reachable"] and told["distrusted"] and all(word in told["last_error"]["text"] for word in words)
    wait_for("the status says that Redis is away and purges are not followed", apart)
    assert stack.get("/readyz").status_code == 200


def assert_told_of_recovery(stack):
    def joined():
        told = status(stack)
        return told["log"]["followed"] and not told["distrusted"] and told["reachable"] and told["breaker"] == "closed" and told["outbox"] == 0
    wait_for("the status says that all is well", joined)


def put(stack, price):
    answer = stack.request("PUT", APPLE, admin=True, json={"name": "Apple", "sector": "Technology Hardware", "price": price})
    assert answer.status_code == 200, answer.text


def price(stack, url=None):
    answer = stack.http.get((url or stack.url) + APPLE, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["price"]


def wait_for_hits(stack, paths=PATHS):
    """Until each of PATHS is a hit: what is cached is trusted again."""
    for path in paths:
        wait_for(f"a hit for {path}", lambda path=path: stack.get(path).headers["X-Cache"] == "HIT")
    wait_for("the breaker is closed", lambda: status(stack)["breaker"] == "closed")


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def redis_server(path, *arguments):
    """A Redis of the test's own, on the socket PATH."""
    process = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", path.parent,
                                *arguments], stdout=subprocess.DEVNULL)
    try:
        wait_for("Redis listens", lambda: listens(path))
        yield process
    finally:
        process.kill()
        process.wait()


def test_redis_that_is_not_there_at_the_start_is_no_error_and_is_used_once_it_comes(make_stack):
    stack = make_stack("--l2", "memory", "--set", "breaker.open=300ms", start=False)
    path = stack.dir / "late.sock"
    stack.arguments += ["--set", f"redis.url=unix://{path}"]
    stack.up()
    answers = [stack.get(path) for path in PATHS * 5]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["X-Cache"] for answer in answers} == {"MISS"}
    assert_told_of_outage(stack, "cannot connect")
    assert stack.get("/readyz").json()["cache"] == "away"
    with redis_server(path):
        wait_for_hits(stack)
        assert_told_of_recovery(stack)
        wait_for("it is ready in full", lambda: stack.get("/readyz").json()["cache"] == "ok")


def test_while_redis_is_away_many_who_ask_for_the_same_are_a_few_statements(make_stack, tmp_path):
    slow = """-- name: slow
-- route: GET /api/slow
-- key: slow
-- ttl: 1h
-- timeout: 1m
WITH RECURSIVE counter (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < 1000000) SELECT max(n) AS n FROM counter;
"""
    stack = make_stack("--sql", str(copy_sql(tmp_path / "sql", slow=slow)), "--set", "cache.lease_wait=30s", *PATIENT)
    assert stack.get("/api/slow").headers["X-Cache"] == "MISS"
    wait_for_hits(stack, ["/api/slow"])
    stack.signal(stack.redis_pid, signal.SIGKILL)
    wait_for("memory is not trusted", lambda: not status(stack)["l1"]["trusted"])
    # Nothing is a hit now, and nobody is given what was begun before it was asked for: so one statement, and one more for all who
    # have come meanwhile. A few more where the clients come slowly, and never one for each.
    before = stack.counters()["statements"]
    with concurrent.futures.ThreadPoolExecutor(60) as pool:
        answers = list(pool.map(lambda _: requests.get(stack.url + "/api/slow", timeout=60), range(60)))
    assert {(answer.status_code, answer.content) for answer in answers} == {(200, answers[0].content)} and b"1000000" in answers[0].content
    assert {answer.headers["X-Cache"] for answer in answers} == {"MISS"}
    assert sum("collapsed" in answer.headers["Cache-Status"] for answer in answers) > 15
    assert stack.counters()["statements"] - before < 40


def test_redis_killed_and_restarted_under_load_costs_nobody_an_answer(shaky):
    wait_for_hits(shaky)
    with Load(shaky.port, PATHS) as load:
        for _ in range(2):
            load.wait(100)
            shaky.signal(shaky.redis_pid, signal.SIGKILL)
            assert_told_of_outage(shaky)
            load.wait(200)
            shaky.up()
            wait_for_hits(shaky)
    assert load.others() == []
    assert load.slowest() < BOUND_S


def test_the_breaker_tells_how_often_it_opened_and_why(shaky):
    """Whoever asks Redis when it begins to hang finds out, all at once; afterwards nobody asks until the log is followed again."""
    for attempt in range(5):  # on a slow machine the follower of the log may be the first to find out
        wait_for_hits(shaky)
        before = status(shaky)
        with stopped(shaky.redis_pid):
            with concurrent.futures.ThreadPoolExecutor(32) as pool:
                answers = list(pool.map(lambda number: requests.get(f"{shaky.url}/api/stocks/HANGS{attempt}X{number}", timeout=30), range(32)))
            assert {answer.status_code for answer in answers} == {404}
            assert_told_of_outage(shaky, "in time")
            opened = status(shaky)["breaker_opened"] > before["breaker_opened"]
        wait_for_hits(shaky)
        assert_told_of_recovery(shaky)
        if opened:
            return
    pytest.fail("the breaker has not opened")


def test_redis_that_hangs_delays_an_answer_for_a_bounded_time_only(shaky):
    wait_for_hits(shaky)
    with Load(shaky.port, PATHS) as load:
        load.wait(100)
        with stopped(shaky.redis_pid):
            load.wait(100)
            hung = time.monotonic()
            time.sleep(1.5)
            load.wait(200)
            late = [answer for answer in load.answers if answer.at >= hung]
        wait_for_hits(shaky)
    assert load.others() == []
    assert load.slowest() < BOUND_S
    # While the breaker is open hardly anybody asks Redis, so hardly anybody waits for it.
    quick = sorted(answer.seconds for answer in late)[len(late) // 2]
    assert quick < 0.25, f"half of the answers took more than {quick} s"


NONSENSE = {
    "closes at once": None,
    "never answers": b"",
    "garbage": bytes(range(128, 256)) * 8,
    "speaks HTTP": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "says OK to everything": b"+OK\r\n" * 2,
    "gives numbers": b":1\r\n:2\r\n",
    "gives errors": b"-ERR unknown command\r\n-ERR unknown command\r\n",
    "is loading": b"-LOADING Redis is loading the dataset in memory\r\n" * 2,
    "has moved": b"-MOVED 3999 127.0.0.1:6381\r\n" * 2,
    "announces 2 GiB": b"$2147483647\r\nx",
    "announces a negative length": b"$-7\r\n*-9\r\n",
    "announces a number beyond all": b"$99999999999999999999999\r\n",
    "announces a billion elements": b"*1000000000\r\n",
    "nests without end": b"*1\r\n" * 10000,
    "knows nothing": b"$-1\r\n*3\r\n$-1\r\n$-1\r\n$-1\r\n",
    "has an entry that is none": b"$20\r\n\1\0\0\0\0\0\0\0larder? no.\r\n*4\r\n$1\r\n1\r\n$1\r\n1\r\n$-1\r\n$-1\r\n",
    "has a sequence that is no number": b"$-1\r\n*4\r\n$3\r\nabc\r\n$3\r\ndef\r\n$-1\r\n$-1\r\n",
    "has tags that are arrays": b"$9\r\n\1\0\0\0\0\0\0\0x\r\n*4\r\n$1\r\n1\r\n$1\r\n1\r\n*1\r\n:1\r\n:1\r\n",
    "gives too few": b"$-1\r\n*0\r\n",
    "answers more than was asked": b"$-1\r\n*4\r\n$1\r\n1\r\n$1\r\n1\r\n$-1\r\n$-1\r\n" * 50,
}


class FakeRedis:
    """Passes everything on to a real Redis while `says` is "sense"; else answers whatever comes with `says`, byte by byte when `trickles`."""

    def __init__(self, path, real):
        self.says, self.trickles, self.lies, self.real = "sense", False, 0, str(real)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.talk, args=(client,), daemon=True).start()

    def talk(self, client):
        lied = False
        with client, socket.socket(socket.AF_UNIX) as real, contextlib.suppress(OSError):
            real.connect(self.real)
            while True:
                for source in select.select([client, real], [], [])[0]:
                    data, says = source.recv(65536), self.says
                    # Who was lied to once must connect anew: here an answer may be missing.
                    if not data or says is None or (lied and says == "sense"):
                        return
                    if says == "sense":
                        (real if source is client else client).sendall(data)
                    else:
                        lied = True
                        if source is client:
                            self.lie(client, says)

    def lie(self, client, says):
        self.lies += 1
        for part in (bytes([byte]) for byte in says) if self.trickles else (says,):
            client.sendall(part)
            if self.trickles:
                time.sleep(0.02)

    def close(self):
        self.listener.close()


@pytest.fixture(scope="module")
def fooled(make_session_stack):
    """A stack whose Redis is a fake, and the fake."""
    stack = make_session_stack("--l2", "memory", start=False)
    path, real = stack.dir / "fake.sock", stack.dir / "real.sock"
    stack.arguments += ["--set", f"redis.url=unix://{path}", "--set", "breaker.open=100ms", "--set", "redis.timeout=100ms"]
    with redis_server(real):
        fake = FakeRedis(path, real)
        stack.up()
        yield stack, fake
        fake.close()


PRICES = itertools.count(5000)


@pytest.mark.parametrize("kind", [*NONSENSE, "garbage, byte by byte", "knows nothing, byte by byte", "speaks HTTP, byte by byte"])
def test_a_redis_that_talks_nonsense_is_not_believed(fooled, kind):
    stack, fake = fooled
    workers, (before, after) = stack.children("worker"), itertools.islice(PRICES, 2)
    assert_told_of_recovery(stack)
    put(stack, before)
    wait_for_hits(stack, [APPLE])
    fake.lies, fake.trickles, fake.says = 0, "," in kind, NONSENSE[kind.split(",")[0]]
    try:
        began = time.monotonic()
        for number in range(8):
            assert price(stack) == before
            assert stack.get(f"/api/stocks/NONE{number}").status_code == 404
        put(stack, after)
        assert price(stack) == after
        answer = stack.request("POST", "/api/cache/invalidate", admin=True, json={"pattern": "stocks:*"})
        assert answer.status_code == 202 and answer.json() == {"removed": None, "pending": True}
        assert_told_of_outage(stack)
        assert price(stack) == after
        assert time.monotonic() - began < 5 * BOUND_S
        assert fake.lies > 0 or fake.says is None
    finally:
        fake.trickles, fake.says = False, "sense"
    check_settles(stack, after)
    assert stack.children("worker") == workers


def test_redis_with_a_password(make_stack, tmp_path):
    secret, wrong = "a-secret-of-this-test", "not-that-secret"
    stack = make_stack("--l2", "memory", start=False)
    path = stack.dir / "locked.sock"
    common = [*stack.arguments, "--set", f"redis.url=unix://{path}", "--set", "breaker.open=200ms"]
    with redis_server(path, "--requirepass", secret):
        stack.arguments = common
        stack.up()
        assert [stack.get(APPLE).headers["X-Cache"] for _ in range(3)] == ["MISS"] * 3
        wait_for("the status says why", lambda: "NOAUTH" in str(status(stack)["last_error"]))
        for text, expected in ((wrong, "MISS"), (secret, "HIT")):
            password = tmp_path / f"password-{expected}"
            password.write_text(text + "\n")
            stack.arguments = [*common, "--set", f"redis.password_file={password}"]
            stack.up()
            if expected == "MISS":
                assert [stack.get(APPLE).headers["X-Cache"] for _ in range(2)] == ["MISS"] * 2
                wait_for("the status says why", lambda: "refused the user, password or database" in str(status(stack)["last_error"]))
            else:
                wait_for_hits(stack, [APPLE])
            assert text not in stack.log() and text not in str(status(stack))
        # Not by connections that are kept alone: a password also holds after a reconnect.
        client = redis.Redis(unix_socket_path=str(path), password=secret)
        client.client_kill_filter(_type="normal", skipme=True)
        wait_for_hits(stack)


def test_flushall_under_load(tiered):
    wait_for_hits(tiered)
    with Load(tiered.port, PATHS) as load:
        for _ in range(20):
            load.wait(20)
            tiered.redis().flushall()
        wait_for_hits(tiered)
    assert load.others() == []


def test_all_connections_killed_under_load(tiered):
    wait_for_hits(tiered)
    killed = 0
    with Load(tiered.port, PATHS) as load:
        for _ in range(20):
            load.wait(20)
            killed += tiered.redis().client_kill_filter(_type="normal", skipme=True)
        wait_for_hits(tiered)
    assert killed > 0  # none is left to kill while the breaker is open
    assert load.others() == []


def test_nothing_comes_back_after_redis_hung_during_a_write(tiered):
    put(tiered, 1001)
    wait_for_hits(tiered)
    with stopped(tiered.redis_pid):
        put(tiered, 1002)
        assert price(tiered) == 1002
    check_settles(tiered, 1002)


def test_nothing_comes_back_after_redis_could_not_be_reached_during_a_write(tiered):
    put(tiered, 1003)
    wait_for_hits(tiered)
    path, away = tiered.redis_socket, tiered.redis_socket + ".away"
    client = tiered.redis()
    client.ping()
    os.rename(path, away)
    try:
        client.client_kill_filter(_type="normal", skipme=True)
        put(tiered, 1004)
        assert price(tiered) == 1004
        assert status(tiered)["distrusted"] is True
    finally:
        os.rename(away, path)
    check_settles(tiered, 1004)
    wait_for("it is trusted", lambda: status(tiered)["distrusted"] is False)


def test_nothing_comes_back_from_a_dump_older_than_the_write(tiered):
    put(tiered, 1005)
    wait_for_hits(tiered)
    tiered.redis().save()
    put(tiered, 1006)
    assert price(tiered) == 1006
    tiered.signal(tiered.redis_pid, signal.SIGKILL)
    wait_for("Redis is gone", lambda: status(tiered)["reachable"] is False)
    tiered.up()
    (tiered.dir / "redis" / "dump.rdb").unlink()
    check_settles(tiered, 1006)


def test_nothing_comes_back_from_a_dump_after_a_write_during_the_outage(tiered):
    put(tiered, 1007)
    wait_for_hits(tiered)
    tiered.redis().save()
    tiered.signal(tiered.redis_pid, signal.SIGKILL)
    wait_for("Redis is gone", lambda: status(tiered)["reachable"] is False)
    put(tiered, 1008)
    tiered.up()
    (tiered.dir / "redis" / "dump.rdb").unlink()
    check_settles(tiered, 1008)


def test_nothing_comes_back_from_a_dump_after_the_whole_machine_has_failed(make_stack):
    """Nobody is left who remembers what Redis has forgotten, but the database."""
    stack = make_stack()
    put(stack, 1009)
    wait_for_hits(stack)
    stack.redis().save()
    put(stack, 1010)
    assert price(stack) == 1010
    stack.wait_for_outbox()
    for pid in (stack.redis_pid, stack.larder_pid, *(pid for pid, _ in children(stack.larder_pid))):
        stack.signal(pid, signal.SIGKILL)
    wait_for("all of it is gone", lambda: not stack.left() and not running(stack.redis_pid))
    stack.up()
    (stack.dir / "redis" / "dump.rdb").unlink()
    check_settles(stack, 1010)


def check_settles(stack, expected):
    """Hits come back, and until then and after it nobody is told another price than EXPECTED."""
    seen, hits = [], 0
    deadline = time.monotonic() + 20
    while hits < 20:
        assert time.monotonic() < deadline, f"no hits; seen {set(seen)}"
        answer = stack.get(APPLE)
        assert answer.status_code == 200
        seen.append((answer.headers["X-Cache"], answer.json()["price"]))
        hits += answer.headers["X-Cache"] == "HIT"
        time.sleep(0.01)
    assert {price for _, price in seen} == {expected}, seen


@pytest.mark.parametrize("fault", ["hung", "flushed", "cut off", "killed"])
def test_a_write_is_visible_at_once_whatever_becomes_of_redis_meanwhile(tiered, fault):
    """Writers write rising prices while Redis fails and returns: no reader sees a lower one than was acknowledged before it asked."""
    wrong, stop, acknowledged = [], threading.Event(), [2000]

    def read():
        while not stop.is_set():
            floor = acknowledged[0]
            answer = requests.get(tiered.url + APPLE, timeout=30)
            if answer.status_code != 200 or answer.json()["price"] < floor:
                wrong.append((floor, answer.status_code, answer.headers.get("X-Cache"), answer.text))

    put(tiered, 2000)
    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        for number in range(2001, 2041):
            if number % 10 == 5:
                break_redis(tiered, fault)
            if number % 10 == 9:
                mend_redis(tiered, fault)
            put(tiered, number)
            acknowledged[0] = number
            time.sleep(0.02)
    finally:
        mend_redis(tiered, fault)
        stop.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    check_settles(tiered, 2040)


def break_redis(stack, fault):
    if fault == "hung":
        os.kill(stack.redis_pid, signal.SIGSTOP)
    elif fault == "flushed":
        stack.redis().flushall()
    elif fault == "cut off":
        client = stack.redis()
        client.ping()
        os.rename(stack.redis_socket, stack.redis_socket + ".away")
        client.client_kill_filter(_type="normal", skipme=True)
    else:
        os.kill(stack.redis_pid, signal.SIGKILL)


def mend_redis(stack, fault):
    if fault == "hung":
        os.kill(stack.redis_pid, signal.SIGCONT)
    elif fault == "cut off" and os.path.exists(stack.redis_socket + ".away"):
        os.rename(stack.redis_socket + ".away", stack.redis_socket)
    elif fault == "killed":
        stack.up()


@pytest.mark.parametrize("fault", ["full", "a replica"])
def test_redis_that_takes_no_writes_serves_nothing_stale(tiered, fault):
    put(tiered, 3001)
    wait_for_hits(tiered)
    client = tiered.redis()
    try:
        if fault == "full":
            client.config_set("maxmemory", 1)
        else:
            client.slaveof("127.0.0.1", 1)
        put(tiered, 3002)
        assert [price(tiered) for _ in range(5)] == [3002] * 5
        assert {tiered.get(path).status_code for path in PATHS} == {200}
    finally:
        client.config_set("maxmemory", 0)
        client.slaveof()
    check_settles(tiered, 3002)


def test_entries_that_somebody_else_wrote_are_not_believed(tiered):
    client = tiered.redis()

    def all_there():
        # What could not be stored in Redis in time is a hit all the same, from memory.
        tiered.request("POST", "/api/cache/invalidate", admin=True, json={"pattern": "*"})
        wait_for_hits(tiered)
        return len(client.keys("larder:*:e:*")) >= len(PATHS)
    wait_for("Redis has them all", all_there)
    for key in client.keys("larder:*:e:*"):
        client.set(key, b"\xff" * 200)
    assert {tiered.get(path).status_code for path in PATHS} == {200}
    for key in client.keys("larder:*:e:*"):
        client.delete(key)
        client.lpush(key, "a list")
    assert {tiered.get(path).status_code for path in PATHS} == {200}
    client.flushall()
    wait_for_hits(tiered)


def test_two_hosts_see_each_others_purges(make_stack):
    stack = make_stack("--hosts", "2", *PATIENT)
    urls = (stack.url, stack.url2)
    after_writes, after_purges = [], []

    def knows(condition, took=after_writes):
        began = time.monotonic()
        wait_for("the other host knows", condition)
        took.append(time.monotonic() - began)

    put(stack, 1)
    knows(lambda: price(stack, stack.url2) == 1)
    for number in range(2, 30):
        assert [price(stack, url) for url in urls * 2] == [number - 1] * 4
        put(stack, number)
        if number % 2:
            assert price(stack) == number
        # As soon as Redis has delivered the purge, and never backwards.
        knows(lambda: price(stack, stack.url2) == number)
        assert [price(stack, url) for url in urls * 2] == [number] * 4
    for here, there in (urls, urls[::-1]) * 3:
        for url in urls:
            wait_for("a hit", lambda url=url: stack.http.get(url + APPLE, timeout=30).headers["X-Cache"] == "HIT")
        answer = stack.http.post(here + "/api/cache/invalidate", json={"pattern": "stocks:*"}, timeout=30,
                                 headers={"Authorization": f"Bearer {stack.admin_token}"})
        assert answer.status_code == 200
        knows(lambda: stack.http.get(there + APPLE, timeout=30).headers["X-Cache"] == "MISS", after_purges)
    # A host that is not told finds out when it believes its memory no longer. The machine may stand still now and then, not most of the time.
    for took in (after_writes, after_purges):
        assert sorted(took)[len(took) // 2] < TRUST_S / 2, took


def test_the_host_that_only_reads_refuses_a_write_and_says_why(make_stack):
    stack = make_stack("--hosts", "2")
    answer = stack.http.put(stack.url2 + APPLE, json={"name": "Apple", "sector": "x", "price": 1}, timeout=30,
                            headers={"Authorization": f"Bearer {stack.admin_token}"})
    assert answer.status_code == 503 and answer.headers["Content-Type"] == "application/problem+json"
    assert "Retry-After" in answer.headers
    assert price(stack, stack.url2) == price(stack)
