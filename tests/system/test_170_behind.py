"""Writing behind: whoever reads on the host after the 202 reads what was accepted, whatever is killed meanwhile."""

import collections
import random
import signal
import sqlite3
import threading
import time

import pytest
import requests

from conftest import PATIENT, assert_problem, copy_sql, wait_for

WRITERS = READERS = 8
SECONDS = 4

COUNTERS = """CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL CHECK (value < 1000000000)) STRICT;
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 15) INSERT INTO counters SELECT 'c' || i, 0 FROM n;
"""
COUNTER = """-- name: counter
-- route: GET /api/counters/{name}
-- param: name text 1..20
-- key: counters:{name}
-- ttl: 5m
-- stale: 1h
-- stale_if_error: 1h
-- tags: counter:{name}
SELECT name, value FROM counters WHERE name = :name;
"""
SET_COUNTER = """-- name: set-counter
-- route: PUT /api/counters/{name}
-- auth: none
-- write: behind
-- param: name text 1..20
-- param: value integer
-- purge: tag:counter:{name}
INSERT INTO counters (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value;
"""
RAISE_COUNTER = """-- name: raise-counter
-- route: POST /api/counters/{name}/raise
-- auth: none
-- write: behind
-- param: name text 1..20
-- purge: tag:counter:{name}
UPDATE counters SET value = value + 1 WHERE name = :name;
"""


@pytest.fixture(scope="module")
def sql(tmp_path_factory):
    directory = copy_sql(tmp_path_factory.mktemp("behind") / "sql",
                         **{"counter": COUNTER, "set-counter": SET_COUNTER, "raise-counter": RAISE_COUNTER})
    migrations = directory / "migrations"
    (migrations / f"{len(list(migrations.glob('*.sql'))) + 1:04}-counters.sql").write_text(COUNTERS)
    return directory


@pytest.fixture
def make_behind(make_stack, sql):
    def make(*arguments):
        return make_stack("--sql", sql, "--set", "store.busy_timeout=200ms", "--set", "breaker.open=500ms", *PATIENT, *arguments)
    return make


@pytest.fixture
def behind(make_behind):
    return make_behind()


def set_counter(stack, name, value, session=None, **headers):
    return (session or stack.http).put(f"{stack.url}/api/counters/{name}", json={"value": value}, headers=headers, timeout=30)


def accept(stack, name, value):
    answer = set_counter(stack, name, value)
    assert answer.status_code == 202, answer.text
    return answer.json()["receipt"]


def state(stack, receipt):
    answer = stack.get(f"/api/writes/{receipt}")
    assert answer.status_code == 200, answer.text
    return answer.json()["state"]


def value(stack, name, url=None):
    answer = stack.http.get(f"{url or stack.url}/api/counters/{name}", timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["value"]


def rows(stack, statement):
    with sqlite3.connect(f"file:{stack.database}?mode=ro", uri=True) as db:
        return db.execute(statement).fetchall()


class Record:
    """Writers that raise a row each, and readers of all of them, until `stop`. What breaks the promise stands in `wrong`."""

    def __init__(self, stack):
        self.stack = stack
        self.sent, self.accepted = [0] * WRITERS, [0] * WRITERS
        self.wrong, self.reads, self.writes = [], collections.Counter(), collections.Counter()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.write, args=(i,)) for i in range(WRITERS)]
        self.threads += [threading.Thread(target=self.read, args=(i,)) for i in range(READERS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(120)
        assert not self.wrong, self.wrong[:5]

    def write(self, i):
        session = requests.Session()
        while not self.over.is_set():
            self.sent[i] += 1
            try:
                answer = set_counter(self.stack, f"c{i}", self.sent[i], session)
            except requests.RequestException as trouble:
                self.writes[type(trouble).__name__] += 1
                continue
            self.writes[answer.status_code] += 1
            if answer.status_code == 202:
                self.accepted[i] = self.sent[i]
            elif answer.status_code < 500:
                self.wrong.append(f"a write was answered {answer.status_code}: {answer.text}")
            time.sleep(0.002)

    def read(self, number):
        session, choice = requests.Session(), random.Random(number)
        while not self.over.is_set():
            i = choice.randrange(WRITERS)
            least = self.accepted[i]
            try:
                answer = session.get(f"{self.stack.url}/api/counters/c{i}", timeout=30)
            except requests.RequestException as trouble:
                self.reads[type(trouble).__name__] += 1
                continue
            self.reads[answer.status_code] += 1
            if answer.status_code == 200 and not least <= answer.json()["value"] <= self.sent[i]:
                self.wrong.append(f"c{i} was read as {answer.json()['value']} ({answer.headers['X-Cache']}) after {least} was accepted")
            elif answer.status_code not in (200, 503):
                self.wrong.append(f"a read was answered {answer.status_code}: {answer.text}")


def is_busy(record, writes, reads):
    """Whether that much has been answered, however slow the machine is."""
    return record.writes[202] > writes and record.reads[200] > reads


def look_for_lost(stack, record):
    """Once all has been applied, each row is what its writer was told last, or sent after that."""
    wait_for("all is applied", lambda: stack.request("GET", "/api/writes", admin=True).json()["waiting"] == 0, 60)
    for i in range(WRITERS):
        assert record.accepted[i] <= value(stack, f"c{i}") <= record.sent[i]
    assert stack.request("GET", "/api/writes", admin=True).json()["failed"] == []
    assert rows(stack, "PRAGMA integrity_check") == [("ok",)]


def cached_again(stack, names):
    session = requests.Session()
    for name in names:
        wait_for(f"{name} is cached again",
                 lambda name=name: session.get(f"{stack.url}/api/counters/{name}", timeout=30).headers["X-Cache"] == "HIT")


@pytest.mark.parametrize("l2", ["redis", "memory"])
def test_reads_see_what_was_accepted_and_others_stay_cached(make_behind, l2):
    stack = make_behind("--l2", l2)
    session = requests.Session()
    for name in ("c14", "c15"):
        value(stack, name)
    with Record(stack) as record:
        deadline, others = time.monotonic() + SECONDS, collections.Counter()
        while time.monotonic() < deadline or (not is_busy(record, 100, 100) and time.monotonic() < deadline + 60):
            for name in ("c14", "c15"):
                others[session.get(f"{stack.url}/api/counters/{name}", timeout=30).headers["X-Cache"]] += 1
            time.sleep(0.01)
    assert set(record.reads) == {200} and set(record.writes) == {202}, (record.reads, record.writes)
    assert is_busy(record, 100, 100)
    assert others["HIT"] > 0.98 * sum(others.values()), others
    look_for_lost(stack, record)
    cached_again(stack, [f"c{i}" for i in range(WRITERS)])


def kill_child(role):
    def kill(stack):
        stack.kill(*stack.children(role))
    return kill


def restart_redis(stack):
    stack.kill(stack.redis_pid)
    time.sleep(0.5)
    stack.up()


def reload(stack):
    stack.signal(stack.larder_pid, signal.SIGHUP)


@pytest.mark.parametrize("fault", [restart_redis, kill_child("housekeeper"), kill_child("writer"), kill_child("worker"), reload],
                         ids=["redis", "housekeeper", "writer", "worker", "reload"])
def test_whatever_is_killed_no_read_lacks_what_was_accepted(behind, fault):
    with Record(behind) as record:
        for _ in range(3):
            time.sleep(0.7)
            fault(behind)
        time.sleep(1.5)
        wait_for("clients are answered", lambda: is_busy(record, 50, 50), 60)
    wait_for("ready", lambda: behind.get("/readyz").status_code == 200)
    look_for_lost(behind, record)
    cached_again(behind, [f"c{i}" for i in range(WRITERS)])


def test_everything_killed_at_once_loses_nothing_that_was_accepted(behind):
    for _ in range(3):
        record = Record(behind)
        record.sent = [value(behind, f"c{i}") for i in range(WRITERS)]
        record.accepted = list(record.sent)
        with record:
            time.sleep(0.5)
            behind.kill_larder()
            record.over.set()
        behind.up()
        look_for_lost(behind, record)


def test_each_accepted_write_is_applied_exactly_once(behind):
    accepted, unknown, over = [], [], threading.Event()

    def raise_on():
        session = requests.Session()
        while not over.is_set():
            answer = session.post(f"{behind.url}/api/counters/c0/raise", timeout=30)
            (accepted if answer.status_code == 202 else unknown).append(answer)

    threads = [threading.Thread(target=raise_on) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(0.4)
        kill_child("writer")(behind)
    wait_for("writes are accepted", lambda: len(accepted) >= 20)
    over.set()
    for thread in threads:
        thread.join(60)
    wait_for("all is applied", lambda: behind.request("GET", "/api/writes", admin=True).json()["waiting"] == 0, 60)
    doubtful = [answer for answer in unknown if "Nothing was written" not in answer.json()["detail"]]
    assert len(accepted) <= value(behind, "c0") <= len(accepted) + len(doubtful)
    for answer in random.sample(accepted, 20):
        assert state(behind, answer.json()["receipt"]) == "applied"


def test_a_second_host_sees_it_soon(make_behind):
    stack = make_behind("--hosts", "2")
    for number in range(1, 6):
        value(stack, "c1", stack.url2)
        accept(stack, "c1", number)
        assert value(stack, "c1") == number
        wait_for("the second host sees it", lambda: value(stack, "c1", stack.url2) == number)


def test_while_nothing_can_be_applied_reads_are_answered_and_nothing_is_lost(behind):
    accept(behind, "c1", 1)
    assert value(behind, "c1") == 1
    with sqlite3.connect(behind.database, isolation_level=None, timeout=30) as db:
        db.execute("BEGIN IMMEDIATE")
        receipt = accept(behind, "c1", 2)
        wait_for("it is stalled", lambda: behind.request("GET", "/api/writes", admin=True).json()["stalled"])
        for _ in range(20):
            assert value(behind, "c1") == 1
        assert behind.get("/api/stocks/AAPL").status_code == 200
        assert state(behind, receipt) == "accepted"
        assert behind.request("GET", "/api/writes", admin=True).json()["waiting"] == 1
        db.execute("ROLLBACK")
    wait_for("it is applied", lambda: state(behind, receipt) == "applied")
    assert value(behind, "c1") == 2


def test_sigterm_applies_what_was_accepted(behind):
    for number in range(1, 200):
        accept(behind, "c2", number)
    behind.down()
    assert rows(behind, "SELECT value FROM counters WHERE name = 'c2'") == [(199,)]
    behind.up()
    assert value(behind, "c2") == 199


def test_a_write_that_fails_can_be_repeated_and_dropped_through_nginx(behind):
    receipt = accept(behind, "c3", 10**12)
    wait_for("it has failed", lambda: state(behind, receipt) == "failed")
    failed = behind.get(f"/api/writes/{receipt}").json()
    assert failed["request"] == "PUT /api/counters/c3" and "CHECK" in failed["reason"]
    assert value(behind, "c3") == 0
    assert_problem(behind.request("POST", f"/api/writes/{receipt}/repeat"), 401)
    again = behind.request("POST", f"/api/writes/{receipt}/repeat", admin=True)
    assert again.status_code == 202
    second = again.json()["receipt"]
    assert again.headers["Location"].endswith(f"/api/writes/{second}")
    wait_for("it has failed again", lambda: state(behind, second) == "failed")
    assert behind.get(f"/api/writes/{receipt}").json()["successor"] == second
    assert behind.request("DELETE", f"/api/writes/{second}", admin=True).status_code == 204
    assert behind.request("GET", "/api/writes", admin=True).json()["failed"] == []


def test_what_became_of_a_decision_is_not_claimed_to_be_known_without_an_answer(make_behind):
    stack = make_behind("--l2", "memory", "--set", "store.write_timeout=500ms")
    def accepted():
        """Of one that was not answered in time it is not known either."""
        answer = set_counter(stack, "c3", 10**12)
        return answer.json()["receipt"] if answer.status_code == 202 else None
    receipt = wait_for("it is accepted", accepted)
    wait_for("it has failed", lambda: state(stack, receipt) == "failed")
    writer, = stack.children("writer")
    stack.signal(writer, signal.SIGSTOP)
    try:
        for method, path in [("POST", f"/api/writes/{receipt}/repeat"), ("DELETE", f"/api/writes/{receipt}")]:
            assert_problem(stack.request(method, path, admin=True), 503, "not known")
    finally:
        stack.signal(writer, signal.SIGCONT)
    # As the answer said: look, and try again.
    wait_for("it is known", lambda: stack.request("POST", f"/api/writes/{receipt}/repeat", admin=True).status_code in (202, 409))
    assert state(stack, receipt) in ("repeated", "dropped")


def test_keys_and_conditions_come_through_nginx(behind):
    first = set_counter(behind, "c4", 5, **{"Idempotency-Key": "one"})
    again = set_counter(behind, "c4", 5, **{"Idempotency-Key": "one"})
    assert first.json() == again.json() and again.headers["Idempotency-Replayed"] == "true"
    assert_problem(set_counter(behind, "c4", 6, **{"Idempotency-Key": "one"}), 422, "Idempotency-Key")
    assert_problem(set_counter(behind, "c4", 6, **{"If-Match": "*"}), 400, "If-Match")
    stock = behind.get("/api/stocks/AAPL")
    body = {"name": "Apple", "sector": "Technology", "price": 1}
    headers = {"If-Match": stock.headers["ETag"]}
    assert behind.request("PUT", "/api/stocks/AAPL", admin=True, json=body, headers=headers).status_code == 200
    assert_problem(behind.request("PUT", "/api/stocks/AAPL", admin=True, json=body, headers=headers), 412, "If-Match")
    created = {"If-None-Match": "*"}
    assert behind.request("PUT", "/api/stocks/NEWONE", admin=True, json=body, headers=created).status_code == 200
    assert_problem(behind.request("PUT", "/api/stocks/NEWONE", admin=True, json=body, headers=created), 412, "already")
