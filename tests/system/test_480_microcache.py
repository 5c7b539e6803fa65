"""nginx's own cache in front of larder, with the files that are shipped: how old an answer may be, and what a purge does about it."""

import concurrent.futures
import gzip
import http.client
import os
import pathlib
import re
import subprocess
import threading
import time

import pytest
import requests

from conftest import PATIENT, ROOT, assert_problem, copy_sql, free_port, wait_for

# The stock as one number, and how long it was in the making.
RESOURCES = {
    "counted": """-- name: counted
-- route: GET /api/counted/{ticker}
-- param: ticker text
-- key: counted:{ticker}
-- ttl: 1h
-- stale_if_error: 1h
-- negative: 1m
-- tags: counted counted:{ticker}
SELECT ticker, price FROM stocks WHERE ticker = :ticker;
""",
    "slow": """-- name: slow
-- route: GET /api/slow/{n}
-- param: n integer 1..1000000
-- key: slow:{n}
-- ttl: 1h
-- shape: value
WITH RECURSIVE counter (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < 1000000 + :n) SELECT max(n) AS n FROM counter;
""",
    "wordy": """-- name: wordy
-- route: GET /api/wordy
""" + "".join(f"-- param: p{n} text 0..1024 ?\n" for n in range(6)) + """-- key: wordy:{*}:{p0}{p1}{p2}{p3}{p4}{p5}
-- ttl: 1h
SELECT length(:p0) AS length;
""",
    "mine": """-- name: mine
-- route: GET /api/mine
-- key: mine
-- ttl: 1h
SELECT :larder_address AS address;
""",
    "keyed": """-- name: keyed
-- route: GET /api/keyed
-- key: keyed
-- ttl: 1h
-- auth: key
SELECT 1 AS one;
""",
    "uncached": """-- name: uncached
-- route: GET /api/uncached
-- key: uncached
-- ttl: 0s
SELECT 1 AS one;
""",
}
FULL = "?limit=50"  # of /api/stocks: long enough to be compressed
TICKERS = re.findall(r"^ *\('([A-Z]+)'", (ROOT / "sql" / "sample.sql").read_text(), re.MULTILINE)


class Front:
    """A stack, and one more nginx in front of its larder that has the microcache."""

    def __init__(self, stack):
        self.stack, self.port = stack, free_port(1)
        self.here, self.files = stack.dir / "front", stack.dir / "mc"
        self.url = f"http://127.0.0.1:{self.port}"
        self.here.mkdir()
        for file in (ROOT / "nginx").glob("*.conf"):
            text = file.read_text()
            for there, here in (("/usr/share/larder/nginx", self.here), ("/run/larder/larder.sock", stack.dir / "larder.sock"),
                                ("/run/larder-microcache", self.files)):
                text = text.replace(there, str(here))
            (self.here / file.name).write_text(text)
        text = (stack.dir / "nginx.conf").read_text().replace(f"{stack.dir}/nginx", str(self.here))
        text = re.sub(r"listen \S+", f"listen 127.0.0.1:{self.port}", text)
        text = text.replace(f"include {self.here}/larder.conf;", f"""include {self.here}/larder.conf;
    include {self.here}/larder-microcache.conf;""")
        text = text.replace("/larder-locations.conf;", "/larder-microcache-locations.conf;")
        (self.here / "nginx.conf").write_text(text)
        self.log = self.here / "error.log"
        self.nginx = subprocess.Popen(["nginx", "-e", self.log, "-c", self.here / "nginx.conf"],
                                      env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
        wait_for("the nginx in front answers", self.answers)

    def answers(self):
        assert self.nginx.poll() is None, self.log.read_text()
        try:
            return self.get("/healthz").status_code == 200
        except requests.ConnectionError:
            return False

    def close(self):
        self.nginx.terminate()
        self.nginx.wait(timeout=20)

    def request(self, method, path, **headers):
        headers = {"Accept-Encoding": "identity", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return requests.request(method, self.url + path, headers=headers, timeout=30)

    def get(self, path, **headers):
        return self.request("GET", path, **headers)

    def kept(self, path):
        """The files that hold answers to PATH, whatever their form. One that is being written has a longer name."""
        key = re.compile(rb"\nKEY: \S* " + re.escape(path.encode()) + rb"\n")
        found = []
        for file in self.files.rglob("?" * 32):
            try:
                if file.is_file() and key.search(file.read_bytes()):
                    found.append(file)
            except FileNotFoundError:
                continue  # it has just been removed
        return found

    def holds_open(self, files):
        """Whether some process of nginx has one of FILES open."""
        for child in pathlib.Path(f"/proc/{self.nginx.pid}/task/{self.nginx.pid}/children").read_text().split():
            for fd in pathlib.Path(f"/proc/{child}/fd").iterdir():
                try:
                    if pathlib.Path(os.readlink(fd)) in files:
                        return True
                except FileNotFoundError:
                    continue  # it has just been closed
        return False

    def fill(self, path, **headers):
        """The answer to PATH, of which nginx makes a copy: after the client has it, and not with the same process that is asked next."""
        answer = self.get(path, **headers)
        wait_for(f"{path} is kept", lambda: self.kept(path))
        return answer

    def keep(self, *paths):
        """After a soft purge the first answer is a stale one, of which no copy is made."""
        for path in paths:
            early()
            wait_for(f"{path} is kept", lambda: self.get(path).status_code == 200 and self.kept(path))


@pytest.fixture(scope="module")
def make_front(make_session_stack, tmp_path_factory):
    fronts = []

    def make(*arguments, purged=True):
        stack = make_session_stack(start=False)
        sql = copy_sql(tmp_path_factory.mktemp("front") / "sql", **RESOURCES)
        stack.arguments += ["--sql", str(sql), *PATIENT, *arguments, *(["--set", f"nginx.cache_path={stack.dir}/mc"] if purged else [])]
        stack.up()
        fronts.append(Front(stack))
        return fronts[-1]

    yield make
    for front in fronts:
        front.close()


@pytest.fixture(scope="module", params=["redis", "memory"])
def front(make_front, request):
    return make_front("--l2", request.param)


@pytest.fixture(scope="module")
def plain(make_front):
    """One whose files larder does not know of."""
    return make_front("--l2", "memory", purged=False)


def early():
    """Waits for the first half of a second: nothing that is kept then ends at once."""
    part = time.time() % 1
    if part > 0.4:
        time.sleep(1.01 - part)


def in_one_second(step):
    """What STEP(N) gave in a run that no second ended in, for copies end with it. N is another one in each run."""
    for n in range(10):
        early()
        second = int(time.time())
        result = step(n)
        if int(time.time()) == second:
            return result
    pytest.fail("nothing here takes less than a second")


def twice(front, path, **headers):
    early()
    front.get(path, **headers)
    return front.get(path, **headers)


def status(answer):
    return answer.headers.get("Cache-Status", "")


def test_a_second_request_is_answered_by_nginx_and_says_so(plain):
    first, second = in_one_second(lambda n: (plain.fill(f"/api/counted/{TICKERS[n]}"), plain.get(f"/api/counted/{TICKERS[n]}")))
    assert first.json() == second.json() and first.headers["ETag"] == second.headers["ETag"]
    assert status(first) == "larder; fwd=miss; stored, nginx; fwd=uri-miss" and first.headers["X-Cache"] == "MISS"
    assert status(second) == "larder; fwd=miss; stored, nginx; hit" and second.headers["X-Cache"] == "HIT"
    assert second.headers["Cache-Control"] == "no-cache" and second.headers["Age"] == "1"
    for answer in (first, second):
        assert not [name for name in answer.headers if name.startswith(("X-Larder", "X-Accel", "X-Cache-"))]
    first, second = in_one_second(lambda n: (plain.fill(f"/api/counted/NOBODY{n}"), plain.get(f"/api/counted/NOBODY{n}")))
    assert second.status_code == 404 and second.headers["X-Cache"] == "HIT" and second.json()["status"] == 404


def test_head_and_conditions_are_answered_from_what_is_kept(plain):
    def asked(n):
        path = f"/api/counted/{TICKERS[-1 - n]}"
        head = plain.request("HEAD", path)
        wait_for("it is kept", lambda: plain.kept(path))
        get = plain.get(path)
        return path, head, get, plain.get(path, If_None_Match=get.headers["ETag"])

    path, head, get, same = in_one_second(asked)
    assert status(head).endswith("nginx; fwd=uri-miss") and status(get).endswith("nginx; hit")
    assert head.headers["Content-Length"] == str(len(get.content)) and head.content == b"" and get.json()["ticker"] == path.rsplit("/", 1)[1]
    assert same.status_code == 304 and same.content == b"" and status(same).endswith("nginx; hit")
    assert plain.get(path, If_None_Match='"other"').status_code == 200
    # One that fills the cache does not leave its 304 there.
    early()
    tag = plain.get("/api/counted/AAPL").headers["ETag"]
    time.sleep(2.1)
    early()
    assert plain.get("/api/counted/AAPL", If_None_Match=tag).status_code == 304
    assert plain.get("/api/counted/AAPL").status_code == 200
    # If-Match of what is kept is nginx's to judge, of the rest larder's.
    for path in ("/api/counted/AAPL", "/api/uncached"):
        tag = plain.get(path).headers["ETag"]
        assert plain.get(path, If_Match=tag).status_code == 200
        assert_problem(plain.get(path, If_Match='"other"'), 412, "If-Match")
    # Nor is a condition lost where nothing is kept.
    for path in ("/api/mine", "/api/uncached"):
        for method in ("GET", "HEAD"):
            assert plain.request(method, path, If_None_Match=plain.get(path).headers["ETag"]).status_code == 304, path
            assert plain.request(method, path, If_None_Match='"other"').status_code == 200, path
    token = {"Authorization": f"Bearer {plain.stack.admin_token}"}
    tag = plain.get("/api/counted/AAPL", **token).headers["ETag"]
    assert plain.get("/api/counted/AAPL", If_None_Match=tag, **token).status_code == 304
    assert plain.request("PUT", "/api/stocks/AAPL", If_Match='"other"', **token).status_code in (400, 412, 415, 422)


def raw(front, path, encoding):
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=30)
    connection.request("GET", path, headers={"Accept-Encoding": encoding} if encoding else {})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def test_nobody_gets_a_coding_that_was_not_asked_for(plain):
    path = "/api/stocks" + FULL
    early()
    for _ in range(2):
        for encoding, compressed in (("gzip", True), (None, False), ("identity", False), ("gzip, deflate, br, zstd", True), ("gzip;q=0", False),
                                     ("br", False), ("deflate, gzip", True), ("not-gzip", False), ("gzip;q=0, *", False)):
            response, body = raw(plain, path, encoding)
            assert (response.headers["Content-Encoding"] == "gzip") == compressed, (encoding, response.headers)
            assert response.headers["Vary"] == "Accept-Encoding"
            assert b'"count":' in (gzip.decompress(body) if compressed else body)
            assert response.headers["ETag"].endswith('-gzip"') == compressed
    wait_for("both forms are kept", lambda: len(plain.kept(path)) == 2)
    tag = raw(plain, path, "gzip")[0].headers["ETag"]
    assert plain.get(path, If_None_Match=tag).status_code == 200
    assert plain.get(path, If_None_Match=tag, Accept_Encoding="gzip").status_code == 304


def test_what_is_not_for_everybody_is_not_kept(plain):
    token = {"Authorization": f"Bearer {plain.stack.admin_token}"}
    for path in ("/api/mine", "/api/uncached", "/api/keyed", "/api/cache/status", "/api/nothing", "/api/stocks?limit=x", "/stats"):
        answer = twice(plain, path)
        assert "nginx; hit" not in status(answer) and not plain.kept(path), (path, answer.headers)
    assert plain.get("/api/mine").headers["Cache-Control"] == "private, no-cache" and plain.get("/api/nothing").headers["Cache-Control"] == "no-store"
    for path in ("/api/keyed", "/api/counted/AAPL", "/api/cache/keys"):
        plain.keep("/api/counted/AAPL")
        answer = twice(plain, path, **token)
        assert answer.status_code == 200 and "nginx; hit" not in status(answer), (path, answer.headers)
    assert not plain.kept("/api/keyed") and plain.get("/api/keyed").status_code == 401
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE"):
        answer = plain.request(method, "/api/counted/AAPL")
        assert "nginx; hit" not in status(answer) and answer.status_code != 200, method


def test_a_key_too_long_for_a_head_is_answered_and_not_kept(plain):
    path = "/api/wordy?" + "&".join(f"p{n}={str(n) * 1020}" for n in range(6))
    answer = twice(plain, path)
    assert (answer.status_code, answer.json()["items"], answer.headers["X-Cache"]) == (200, [{"length": 1020}], "HIT")
    assert not plain.kept(path) and "nginx; hit" not in status(answer)
    plain.keep("/api/wordy?p0=" + "0" * 1020)


def at_once(front, path, count):
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: front.get(path), range(count)))


def test_for_many_at_once_the_statement_runs_once(plain):
    before = plain.stack.counters()["statements"]
    answers = at_once(plain, "/api/slow/1", 40)
    assert {(answer.status_code, answer.content) for answer in answers} == {(200, answers[0].content)} and b"1000001" in answers[0].content
    assert plain.stack.counters()["statements"] - before == 1


def test_nobody_waits_for_what_another_one_asks(plain):
    # Had nginx one ask and the others wait, as fastcgi_cache_lock does, each would look again after half a second.
    for path in ("/api/mine", "/api/kv/nothing", "/api/stocks?limit=x", "/api/counted/GOOG"):
        for _ in range(5):  # a machine may be as slow as that once
            answers = at_once(plain, path, 20)
            assert len({answer.status_code for answer in answers}) == 1
            if max(answer.elapsed.total_seconds() for answer in answers) < 0.45:
                break
        else:
            pytest.fail(f"some wait for {path}")


def ages(front, seconds, pause):
    """Writes through larder and reads through nginx; how old what was read had been for, at worst."""
    token = {"Authorization": f"Bearer {front.stack.admin_token}"}
    replaced, stop, worst = {}, threading.Event(), 0.0

    def write():
        session, number = requests.Session(), 0
        while not stop.is_set():
            number += 1
            answer = session.put(front.stack.url + "/api/stocks/AAPL", headers=token, json={"name": "Apple", "sector": "Fruit", "price": number}, timeout=30)
            assert answer.status_code in (200, 201), answer.text
            replaced[number - 1] = time.monotonic()
            time.sleep(0.02)

    writer = threading.Thread(target=write)
    writer.start()
    wait_for("something is written", lambda: 3 in replaced)
    session, deadline, reads = requests.Session(), time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        asked = time.monotonic()
        price = int(session.get(front.url + "/api/stocks/AAPL", headers={"Accept-Encoding": "identity"}, timeout=30).json()["price"])
        reads += 1
        if price in replaced:
            worst = max(worst, asked - replaced[price])
        time.sleep(pause)
    stop.set()
    writer.join()
    assert reads > 10 and len(replaced) > 10
    return worst


def test_an_answer_is_never_older_than_the_bound(plain):
    assert twice(plain, "/api/stocks/AAPL").headers["X-Cache"] == "HIT"
    for _ in range(3):  # whoever updates may stand still once
        worst = ages(plain, 4, 0.005)
        print(f"without purges: {1000 * worst:.0f} ms at worst")
        # One second and an update; the tail of a second for whoever comes while another one is updating.
        if 0.3 < worst < 2:
            break
    else:
        pytest.fail(f"{worst} s old, which should be between 0.3 and 2")


def test_with_purges_an_answer_is_hardly_ever_old(front):
    for _ in range(3):  # a machine may stand still for half a second once
        worst = ages(front, 3, 0.002)
        print(f"with purges: {1000 * worst:.0f} ms at worst")
        if worst < 0.5:
            break
    else:
        pytest.fail("answers are as old as without purges")


def gone_after(front, path):
    """Milliseconds until no answer to PATH is kept."""
    began = time.monotonic()
    while front.kept(path):
        assert time.monotonic() - began < 5, "the copy is still there"
        time.sleep(0.001)
    return 1000 * (time.monotonic() - began)


def test_every_purge_removes_what_it_covers(front):
    one, other = "/api/counted/AAPL", "/api/counted/MSFT"
    took = {}
    for what in ({"key": "counted:AAPL"}, {"tag": "counted:AAPL"}, {"pattern": "counted:AA*"}, {"key": "counted:AAPL", "soft": True}):
        front.keep(one, other)
        front.stack.invalidate(**what)
        took[str(what)] = gone_after(front, one)
        assert front.kept(other)
    front.keep(one, other)
    assert front.stack.request("PURGE", one, admin=True).status_code == 200
    took["PURGE"] = gone_after(front, one)
    assert front.kept(other)
    front.keep(one)
    front.stack.larder("purge", "--tag", "counted")
    took["larder purge"] = max(gone_after(front, one), gone_after(front, other))
    print({what: round(ms, 1) for what, ms in took.items()})

    def asked(_):
        front.stack.larder("purge", "--tag", "counted")
        gone_after(front, one)
        return front.fill(one), front.get(one)

    # nginx takes the missing file for a miss.
    first, second = in_one_second(asked)
    assert status(first).endswith(("nginx; fwd=uri-miss", "nginx; fwd=stale")) and status(second).endswith("nginx; hit")


def test_a_copy_that_nginx_has_open_is_none_after_a_purge(front):
    path = "/api/counted/AAPL"
    sessions = [requests.Session() for _ in range(12)]  # of either worker some
    for _ in range(20):
        front.keep(path)
        before = [session.get(front.url + path, headers={"Accept-Encoding": "identity"}, timeout=30) for session in sessions]
        if all(status(answer).endswith("nginx; hit") for answer in before) and front.holds_open(front.kept(path)):
            break
    else:
        pytest.fail("nginx has no copy open")
    price = before[0].json()["price"] + 1
    assert front.stack.request("PUT", "/api/stocks/AAPL", admin=True, json={"name": "Apple", "sector": "Fruit", "price": price}).status_code == 200
    front.stack.invalidate(tag="counted:AAPL")
    gone_after(front, path)
    after = [session.get(front.url + path, headers={"Accept-Encoding": "identity"}, timeout=30) for session in sessions]
    assert {answer.json()["price"] for answer in after} == {price}


def test_both_forms_of_an_answer_are_removed(front):
    path = "/api/stocks" + FULL
    early()
    front.get(path)
    front.get(path, Accept_Encoding="gzip")
    wait_for("both are kept", lambda: len(front.kept(path)) == 2)
    front.stack.invalidate(tag="stocks")
    gone_after(front, path)


def test_copies_of_an_earlier_start_are_removed(make_front):
    front = make_front("--l2", "memory")
    path = "/api/counted/AAPL"
    front.keep(path)
    front.stack.signal(front.stack.larder_pid)
    # While larder is away the copy stands in, as long as stale_if_error says.
    wait_for("larder is away", lambda: front.get("/healthz").status_code == 503)
    time.sleep(2.1)
    answer = front.get(path)
    assert answer.status_code == 200 and answer.headers["X-Cache"] == "STALE" and status(answer).endswith("nginx; hit; detail=stale")
    front.stack.up()
    gone_after(front, path)


def test_what_cannot_be_purged_is_said_once(make_stack):
    stack = make_stack("--l2", "memory", start=False)
    stack.arguments += ["--set", "nginx.cache_path=/etc/hostname"]
    stack.up()
    for _ in range(3):
        stack.invalidate(tag="stocks")
        wait_for("it is said", lambda: "microcache_not_purged" in stack.log())
        time.sleep(0.1)
    assert stack.log().count("microcache_not_purged") == 1 and "/etc/hostname" in stack.log()
