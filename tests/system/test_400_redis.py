"""Redis absent, killed, hung, talking nonsense, locked, full, emptied: slower answers, never an error, and nothing stale afterwards."""

import collections
import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
import redis
import requests

from conftest import wait_for
from load import Load

PATHS = ("/api/stocks/AAPL", "/api/stocks/MSFT", "/api/stocks/?limit=5", "/api/stocks/top?limit=3")
APPLE = "/api/stocks/AAPL"
# Two time-outs of Redis (250 ms each by default) and a statement, on a machine that may be busy with other things.
BOUND_S = 5.0


@pytest.fixture(scope="module")
def shaky(make_session_stack):
    """A stack whose breaker tries again soon."""
    return make_session_stack("--set", "breaker.open=500ms")


def status(stack):
    answer = stack.request("GET", "/api/cache/status", admin=True)
    assert answer.status_code == 200, answer.text
    return answer.json()


def put(stack, price):
    answer = stack.request("PUT", APPLE, admin=True, json={"name": "Apple", "sector": "Technology Hardware", "price": price})
    assert answer.status_code == 200, answer.text


def price(stack, url=None):
    answer = stack.http.get((url or stack.url) + APPLE, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["price"]


def wait_for_hits(stack, paths=PATHS):
    """Until each of PATHS is a hit: Redis is used again."""
    for path in paths:
        wait_for(f"a hit for {path}", lambda path=path: stack.get(path).headers["X-Cache"] == "HIT")
    assert status(stack)["breaker"] == "closed"


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
        wait_for("Redis listens", path.exists)
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
    told = status(stack)
    assert told["reachable"] is False and told["breaker"] != "closed" and told["breaker_opened"] >= 1
    assert "cannot connect" in str(told["last_error"])
    assert stack.get("/readyz").json()["cache"] == "away"
    with redis_server(path):
        wait_for_hits(stack)
        assert stack.get("/readyz").json()["cache"] == "ok"


def test_redis_killed_and_restarted_under_load_costs_nobody_an_answer(shaky):
    wait_for_hits(shaky)
    with Load(shaky.port, PATHS) as load:
        for _ in range(2):
            load.wait(100)
            shaky.signal(shaky.redis_pid, signal.SIGKILL)
            wait_for("the breaker has opened", lambda: status(shaky)["breaker"] == "open")
            load.wait(200)
            shaky.up()
            wait_for_hits(shaky)
    assert load.others() == []
    assert load.slowest() < BOUND_S


def test_the_breaker_tells_how_often_it_opened_and_why(shaky):
    before = status(shaky)
    with stopped(shaky.redis_pid):
        for _ in range(20):
            assert shaky.get(APPLE).status_code == 200
        told = status(shaky)
        assert told["breaker"] in ("open", "half-open") and told["reachable"] is False
        assert told["breaker_opened"] > before["breaker_opened"]
        assert "in time" in str(told["last_error"])
    wait_for_hits(shaky)
    told = status(shaky)
    assert told["breaker"] == "closed" and told["reachable"] is True


def test_redis_that_hangs_delays_an_answer_for_a_bounded_time_only(shaky):
    wait_for_hits(shaky)
    with Load(shaky.port, PATHS) as load:
        load.wait(100)
        with stopped(shaky.redis_pid):
            load.wait(100)
            hung = time.monotonic()
            time.sleep(1.5)
            late = [answer for answer in load.answers if answer.at >= hung]
        wait_for_hits(shaky)
    assert load.others() == []
    assert load.slowest() < BOUND_S
    # While the breaker is open hardly anybody asks Redis, so hardly anybody waits for it.
    assert len(late) > 50
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
    """Answers whatever comes with `says`, byte by byte when `trickles`; sensibly while `says` is "sense"."""

    def __init__(self, path):
        self.says, self.trickles, self.asked = "sense", False, collections.Counter()
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
        with client, contextlib.suppress(OSError):
            while request := client.recv(65536):
                commands = re.findall(rb"\*(\d+)\r\n\$\d+\r\n(GET|HMGET|EVAL|PING|UNLINK|SCAN)\r\n", request)
                self.asked.update(name.decode() for _, name in commands)
                if self.says is None:
                    return
                answer = b"".join(self.sense(int(count), name) for count, name in commands) if self.says == "sense" else self.says
                for part in (bytes([byte]) for byte in answer) if self.trickles else (answer,):
                    client.sendall(part)
                    if self.trickles:
                        time.sleep(0.02)

    def sense(self, count, name):
        number = b"$16\r\n%d\r\n" % (time.time() * 1000000)
        return {b"GET": b"$-1\r\n", b"HMGET": b"*%d\r\n" % (count - 2) + number * 2 + b"$-1\r\n" * (count - 4), b"EVAL": number,
                b"PING": b"+PONG\r\n", b"UNLINK": b":0\r\n", b"SCAN": b"*2\r\n$1\r\n0\r\n*0\r\n"}[name]

    def close(self):
        self.listener.close()


@pytest.fixture(scope="module")
def fooled(make_session_stack):
    """A stack whose Redis is a fake, and the fake."""
    stack = make_session_stack("--l2", "memory", start=False)
    path = stack.dir / "fake.sock"
    stack.arguments += ["--set", f"redis.url=unix://{path}", "--set", "breaker.open=100ms", "--set", "redis.timeout=100ms"]
    fake = FakeRedis(path)
    stack.up()
    yield stack, fake
    fake.close()


@pytest.mark.parametrize("kind", [*NONSENSE, "garbage, byte by byte", "knows nothing, byte by byte", "speaks HTTP, byte by byte"])
def test_a_redis_that_talks_nonsense_is_not_believed(fooled, kind):
    stack, fake = fooled
    workers = stack.children("worker")
    fake.says, fake.trickles = "sense", False
    wait_for("trust", lambda: stack.get(APPLE).ok and (told := status(stack))["breaker"] == "closed" and not told["distrusted"])
    fake.asked.clear()
    fake.says, fake.trickles = NONSENSE[kind.split(",")[0]], "," in kind
    began = time.monotonic()
    for _ in range(8):
        answer = stack.get(APPLE)
        assert answer.status_code == 200 and answer.json()["ticker"] == "AAPL" and answer.headers["X-Cache"] == "MISS"
        assert stack.get("/api/stocks/NOSUCH").status_code == 404
    assert fake.asked["GET"] > 0
    time.sleep(0.11)
    put(stack, 200 + len(kind))
    assert price(stack) == 200 + len(kind)
    answer = stack.request("POST", "/api/cache/invalidate", admin=True, json={"pattern": "stocks:*"})
    assert answer.status_code in (200, 503), answer.text
    assert fake.asked["EVAL"] > 0
    assert time.monotonic() - began < 20 * BOUND_S
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
        assert "NOAUTH" in str(status(stack)["last_error"])
        for text, expected in ((wrong, "MISS"), (secret, "HIT")):
            password = tmp_path / f"password-{expected}"
            password.write_text(text + "\n")
            stack.arguments = [*common, "--set", f"redis.password_file={password}"]
            stack.up()
            stack.get(APPLE)
            assert stack.get(APPLE).headers["X-Cache"] == expected
            if expected == "MISS":
                assert "refused the user, password or database" in str(status(stack)["last_error"])
            assert text not in stack.log() and text not in str(status(stack))
        # Not by connections that are kept alone: a password also holds after a reconnect.
        client = redis.Redis(unix_socket_path=str(path), password=secret)
        client.client_kill_filter(_type="normal", skipme=True)
        wait_for_hits(stack)


def test_flushall_under_load(shaky):
    wait_for_hits(shaky)
    with Load(shaky.port, PATHS) as load:
        for _ in range(20):
            load.wait(20)
            shaky.redis().flushall()
        wait_for_hits(shaky)
    assert load.others() == []


def test_all_connections_killed_under_load(shaky):
    wait_for_hits(shaky)
    killed = 0
    with Load(shaky.port, PATHS) as load:
        for _ in range(20):
            load.wait(20)
            killed += shaky.redis().client_kill_filter(_type="normal", skipme=True)
        wait_for_hits(shaky)
    assert killed > 0  # none is left to kill while the breaker is open
    assert load.others() == []


def test_nothing_comes_back_after_redis_hung_during_a_write(shaky):
    put(shaky, 1001)
    wait_for_hits(shaky)
    with stopped(shaky.redis_pid):
        put(shaky, 1002)
        assert price(shaky) == 1002
    check_settles(shaky, 1002)


def test_nothing_comes_back_after_redis_could_not_be_reached_during_a_write(shaky):
    put(shaky, 1003)
    wait_for_hits(shaky)
    path, away = shaky.redis_socket, shaky.redis_socket + ".away"
    client = shaky.redis()
    client.ping()
    os.rename(path, away)
    try:
        client.client_kill_filter(_type="normal", skipme=True)
        put(shaky, 1004)
        assert price(shaky) == 1004
        assert status(shaky)["distrusted"] is True
    finally:
        os.rename(away, path)
    check_settles(shaky, 1004)
    assert status(shaky)["distrusted"] is False


def test_nothing_comes_back_from_a_dump_older_than_the_write(shaky):
    put(shaky, 1005)
    wait_for_hits(shaky)
    shaky.redis().save()
    put(shaky, 1006)
    assert price(shaky) == 1006
    shaky.signal(shaky.redis_pid, signal.SIGKILL)
    wait_for("Redis is gone", lambda: status(shaky)["reachable"] is False)
    shaky.up()
    (shaky.dir / "redis" / "dump.rdb").unlink()
    check_settles(shaky, 1006)


def test_nothing_comes_back_from_a_dump_after_a_write_during_the_outage(shaky):
    put(shaky, 1007)
    wait_for_hits(shaky)
    shaky.redis().save()
    shaky.signal(shaky.redis_pid, signal.SIGKILL)
    wait_for("Redis is gone", lambda: status(shaky)["reachable"] is False)
    put(shaky, 1008)
    shaky.up()
    (shaky.dir / "redis" / "dump.rdb").unlink()
    check_settles(shaky, 1008)


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
def test_a_write_is_visible_at_once_whatever_becomes_of_redis_meanwhile(shaky, fault):
    """Writers write rising prices while Redis fails and returns: no reader sees a lower one than was acknowledged before it asked."""
    wrong, stop, acknowledged = [], threading.Event(), [2000]

    def read():
        while not stop.is_set():
            floor = acknowledged[0]
            answer = requests.get(shaky.url + APPLE, timeout=30)
            if answer.status_code != 200 or answer.json()["price"] < floor:
                wrong.append((floor, answer.status_code, answer.headers.get("X-Cache"), answer.text))

    put(shaky, 2000)
    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        for number in range(2001, 2041):
            if number % 10 == 5:
                break_redis(shaky, fault)
            if number % 10 == 9:
                mend_redis(shaky, fault)
            put(shaky, number)
            acknowledged[0] = number
            time.sleep(0.02)
    finally:
        mend_redis(shaky, fault)
        stop.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    check_settles(shaky, 2040)


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
def test_redis_that_takes_no_writes_serves_nothing_stale(shaky, fault):
    put(shaky, 3001)
    wait_for_hits(shaky)
    client = shaky.redis()
    try:
        if fault == "full":
            client.config_set("maxmemory", 1)
        else:
            client.slaveof("127.0.0.1", 1)
        put(shaky, 3002)
        assert [price(shaky) for _ in range(5)] == [3002] * 5
        assert {shaky.get(path).status_code for path in PATHS} == {200}
    finally:
        client.config_set("maxmemory", 0)
        client.slaveof()
    check_settles(shaky, 3002)


def test_entries_that_somebody_else_wrote_are_not_believed(shaky):
    wait_for_hits(shaky)
    client = shaky.redis()
    for key in client.keys("larder:*:e:*"):
        client.set(key, b"\xff" * 200)
    assert {shaky.get(path).status_code for path in PATHS} == {200}
    for key in client.keys("larder:*:e:*"):
        client.delete(key)
        client.lpush(key, "a list")
    assert {shaky.get(path).status_code for path in PATHS} == {200}
    client.flushall()
    wait_for_hits(shaky)


def test_two_hosts_see_each_others_purges(make_stack):
    stack = make_stack("--hosts", "2")
    urls = (stack.url, stack.url2)
    put(stack, 1)
    for number in range(2, 30):
        assert [price(stack, url) for url in urls * 2] == [number - 1] * 4
        put(stack, number)
        # The second host is asked first in every other round.
        assert [price(stack, url) for url in (urls if number % 2 else urls[::-1])] == [number] * 2
    for here, there in (urls, urls[::-1]):
        for url in urls:
            stack.http.get(url + APPLE, timeout=30)
            assert stack.http.get(url + APPLE, timeout=30).headers["X-Cache"] == "HIT"
        answer = stack.http.post(here + "/api/cache/invalidate", json={"pattern": "stocks:*"}, timeout=30,
                                 headers={"Authorization": f"Bearer {stack.admin_token}"})
        assert answer.status_code == 200
        assert stack.http.get(there + APPLE, timeout=30).headers["X-Cache"] == "MISS"


def test_the_host_that_only_reads_refuses_a_write_and_says_why(make_stack):
    stack = make_stack("--hosts", "2")
    answer = stack.http.put(stack.url2 + APPLE, json={"name": "Apple", "sector": "x", "price": 1}, timeout=30,
                            headers={"Authorization": f"Bearer {stack.admin_token}"})
    assert answer.status_code == 503 and answer.headers["Content-Type"] == "application/problem+json"
    assert "Retry-After" in answer.headers
    assert price(stack, stack.url2) == price(stack)
