"""A database that is busy, read-only, damaged or full: what clients are told, that nothing is lost, and that it heals by itself."""

import concurrent.futures
import contextlib
import os
import pathlib
import re
import sqlite3
import subprocess
import time

import pytest
import requests

from conftest import PATIENT, assert_problem, copy_sql, stacks, wait_for

ACME = {"name": "Acme", "sector": "Anvils"}


@pytest.fixture(scope="module")
def hasty_sql(tmp_path_factory):
    """The shipped SQL, but a stock is fresh for a second only."""
    sql = copy_sql(tmp_path_factory.mktemp("hasty") / "sql")
    stock = sql / "resources" / "stock.sql"
    stock.write_text(re.sub(r"(?m)^-- ttl: .*$", "-- ttl:       1s", stock.read_text()))
    return sql


def put(stack, ticker, session=None, **values):
    return (session or stack.http).put(f"{stack.url}/api/stocks/{ticker}", json=ACME | values, timeout=30,
                                       headers={"Authorization": f"Bearer {stack.admin_token}"})


def prices(stack):
    with contextlib.closing(sqlite3.connect(f"file:{stack.database}?mode=ro", uri=True)) as db:
        return dict(db.execute("SELECT ticker, price FROM stocks WHERE sector = 'Anvils'"))


def write_csv(path, *lines):
    """A CSV file with tickers and names, and no figures."""
    header = "Symbol,Name,Sector,Price,Price/Earnings,Dividend Yield,Earnings/Share,52 Week Low,52 Week High,Market Cap,EBITDA,Price/Sales,Price/Book,SEC Filings"
    path.write_text("\n".join([header, *[f"{ticker},{name},Anvils" + "," * 11 for ticker, name in lines]]) + "\n")


def make_stale(stack, *tickers):
    """Gets stocks and waits until they are fresh no more."""
    for ticker in tickers:
        assert stack.get(f"/api/stocks/{ticker}").status_code == 200
    time.sleep(1.1)


def assert_stale(stack, ticker):
    answer = stack.get(f"/api/stocks/{ticker}")
    assert answer.status_code == 200 and answer.headers["X-Cache"] == "STALE", (answer.status_code, answer.headers, answer.text)
    assert answer.json()["ticker"] == ticker and answer.headers["Cache-Status"].startswith("larder; hit; ttl=-")
    assert answer.headers["Cache-Control"] == "no-cache"


def replace_workers(stack):
    """By a reload, so that nothing of the database is in anybody's memory."""
    stack.reload()
    stack.wait_for_trust()
    wait_for("they answer", lambda: all(stack.get("/healthz").status_code == 200 for _ in range(10)))


# Busy.

@pytest.fixture(scope="module")
def busy(make_session_stack):
    return make_session_stack("--set", "store.busy_timeout=200ms", *PATIENT)


@contextlib.contextmanager
def locked(stack, begin="BEGIN IMMEDIATE"):
    """Another program writes, and takes its time."""
    db = sqlite3.connect(stack.database, isolation_level=None)
    db.execute(begin)
    try:
        yield db
    finally:
        db.rollback()
        db.close()


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_while_another_program_writes_writing_is_503_and_reading_goes_on(busy, begin):
    assert put(busy, "BUSY", price=1).status_code == 200
    with locked(busy, begin) as db:
        db.execute("UPDATE stocks SET price = 99 WHERE ticker = 'BUSY'")
        answer = put(busy, "BUSY", price=2)
        assert_problem(answer, 503, "Nothing was written")
        assert int(answer.headers["Retry-After"]) >= 1
        busy.invalidate(pattern="stocks:*")
        assert busy.get("/api/stocks/BUSY").json()["price"] == 1
        assert busy.get("/api/stocks/").status_code == 200
        assert busy.get("/readyz").status_code == 200
    assert prices(busy)["BUSY"] == 1
    assert put(busy, "BUSY", price=3).json()["price"] == 3
    assert busy.get("/api/stocks/BUSY").json()["price"] == 3


def test_many_writers_wait_for_a_lock_once_not_in_turn(busy):
    with locked(busy), concurrent.futures.ThreadPoolExecutor(8) as pool:
        began = time.monotonic()
        answers = list(pool.map(lambda number: put(busy, f"B{number}", requests.Session()), range(8)))
        took = time.monotonic() - began
    assert [answer.status_code for answer in answers] == [503] * 8
    assert took < 15
    assert not [ticker for ticker in prices(busy) if re.fullmatch("B[0-9]", ticker)]


def test_a_lock_that_goes_in_time_is_waited_for(make_stack):
    stack = make_stack("--l2", "memory", "--set", "store.busy_timeout=10s", "--set", "store.write_timeout=20s")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with locked(stack):
            answer = pool.submit(put, stack, "BUSY", requests.Session(), price=4)
            time.sleep(0.3)
            assert not answer.done()
        assert answer.result().status_code == 200
    assert prices(stack)["BUSY"] == 4


def test_an_import_that_cannot_write_says_so_and_imports_nothing(busy, tmp_path):
    write_csv(tmp_path / "a.csv", ["NEVER", "Never"])
    with locked(busy):
        result = busy.larder("import", "stocks", tmp_path / "a.csv", check=False)
    assert result.returncode == 1 and "locked" in result.stderr and "nothing was imported" in result.stderr
    assert "NEVER" not in prices(busy)
    assert busy.larder("import", "stocks", tmp_path / "a.csv").stdout == "1 rows imported\n"
    assert busy.counters()["worker_crashes"] == 0


# Gone, or another.

def test_a_database_that_is_moved_away_and_comes_back(make_stack, hasty_sql):
    stack = make_stack("--sql", hasty_sql, *PATIENT)
    database = pathlib.Path(stack.database)
    assert put(stack, "KEPT", price=5).status_code == 200
    make_stale(stack, "AAPL", "KEPT")
    aside = [(file, file.with_name("aside" + file.name)) for file in sorted(database.parent.glob("larder.db*")) if file.is_file()]
    for file, other in aside:
        file.rename(other)
    time.sleep(1.1)
    assert_stale(stack, "AAPL")
    assert_problem(stack.get("/api/stocks/MSFT"), 503)
    assert_problem(stack.get("/readyz"), 503, "database")
    assert stack.get("/healthz").status_code == 200
    assert_problem(put(stack, "LOST", price=6), 503)
    for file, other in aside:
        other.rename(file)
    wait_for("it can be read again", lambda: stack.get("/api/stocks/MSFT").status_code == 200)
    wait_for("it can be written again", lambda: put(stack, "AFTER", price=7).status_code == 200)
    wait_for("it is ready again", lambda: stack.get("/readyz").status_code == 200)
    assert prices(stack) == {"KEPT": 5, "AFTER": 7}
    wait_for("it is fresh again", lambda: stack.get("/api/stocks/KEPT").headers.get("X-Cache") in ("MISS", "HIT"))
    assert stack.get("/api/stocks/KEPT").json()["price"] == 5


# Damaged.

DAMAGES = {
    "every page but the first": lambda content: content[:4096] + b"\xa5" * (len(content) - 4096),
    "the first page": lambda content: b"\xa5" * 4096 + content[4096:],
    "everything": lambda content: os.urandom(len(content)),
    "cut to half": lambda content: content[:len(content) // 8192 * 4096],
    "cut to nothing": lambda content: b"",
}


@pytest.fixture(scope="module")
def damaged(make_session_stack, hasty_sql):
    return make_session_stack("--sql", hasty_sql, *PATIENT)


def write_in_place(path, content):
    """Into the same file, as a failing disk or a careless copy would."""
    with open(path, "r+b") as file:
        file.write(content)
        file.truncate(len(content))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_database(damaged, damage):
    damaged.invalidate(all=True)
    make_stale(damaged, "AAPL")
    with contextlib.closing(sqlite3.connect(damaged.database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    right = pathlib.Path(damaged.database).read_bytes()
    try:
        replace_workers(damaged)
        write_in_place(damaged.database, damage(right))
        for _ in range(3):
            assert_stale(damaged, "AAPL")
        for path in ("/api/stocks/MSFT", "/api/stocks/?limit=9", "/api/stocks/leaderboard/top"):
            answer = damaged.get(path)
            assert_problem(answer, 503)
            assert int(answer.headers["Retry-After"]) >= 1
        assert damaged.get("/healthz").status_code == 200
    finally:
        write_in_place(damaged.database, right)
    for path in ("/api/stocks/AAPL", "/api/stocks/MSFT", "/api/stocks/?limit=9", "/api/stocks/leaderboard/top"):
        wait_for("it can be read again", lambda: damaged.get(path).headers.get("X-Cache") in ("MISS", "HIT"))
    assert damaged.get("/readyz").status_code == 200


def test_writing_to_a_damaged_database_is_503_and_works_again_after(make_stack):
    stack = make_stack()
    assert put(stack, "KEPT", price=1).status_code == 200
    with contextlib.closing(sqlite3.connect(stack.database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    right = pathlib.Path(stack.database).read_bytes()
    # Before the next one opens it: that might have read all it needs.
    writers = stack.children("writer")
    write_in_place(stack.database, DAMAGES["every page but the first"](right))
    stack.kill(*writers)
    for _ in range(3):
        assert_problem(put(stack, "LOST", price=2), 503)
    write_in_place(stack.database, right)
    wait_for("it can be written again", lambda: put(stack, "AFTER", price=3).status_code == 200)
    assert prices(stack) == {"KEPT": 1, "AFTER": 3}
    with contextlib.closing(sqlite3.connect(stack.database)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# Read-only and full: on a file system of its own.

@pytest.fixture
def disk(tmp_path):
    """A directory that is a file system of 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "larder-test", place], capture_output=True).returncode:
        pytest.skip("mounting a file system is for root")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def disk_stack(disk, hasty_sql):
    """A stack with its database there, stopped before the file system goes."""
    makers = stacks()
    yield next(makers)("--sql", hasty_sql, "--set", f"store.database={disk}/larder.db", *PATIENT)
    next(makers, None)


def test_a_full_disk_is_507_and_nothing_acknowledged_is_lost(disk, disk_stack, tmp_path):
    stack, written, statuses = disk_stack, {}, []
    make_stale(stack, "AAPL")
    (disk / "filler").write_bytes(b"x" * 200_000)
    with contextlib.suppress(OSError), open(disk / "filler", "ab", buffering=0) as filler:
        while True:
            filler.write(b"x" * 1024)
    for number in range(200):
        answer = put(stack, f"F{number}", price=number, sec_filings="x" * 400)
        statuses.append(answer.status_code)
        if answer.status_code == 200:
            written[f"F{number}"] = number
        else:
            assert_problem(answer, 507, "no space", "Nothing was written")
        if statuses[-3:] == [507] * 3:
            break
    assert statuses[-3:] == [507] * 3
    assert prices(stack) == written
    assert stack.get("/api/stocks/AAPL").status_code == 200 and stack.get("/api/stocks/?limit=9").status_code == 200
    write_csv(tmp_path / "a.csv", *[[f"I{number}", "x" * 150] for number in range(500)])
    result = stack.larder("import", "stocks", tmp_path / "a.csv", check=False)
    assert result.returncode == 1 and "nothing was imported" in result.stderr
    assert prices(stack) == written
    (disk / "filler").unlink()
    assert put(stack, "AFTER", price=1).status_code == 200
    assert prices(stack) == written | {"AFTER": 1}
    with contextlib.closing(sqlite3.connect(stack.database)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert stack.counters()["worker_crashes"] == 0


@contextlib.contextmanager
def read_only(place):
    """A read-only view of a directory on top of it: what is open stays writable, what is opened from now on is not."""
    subprocess.run(["mount", "--bind", place, place], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_a_disk_that_becomes_read_only_and_writable_again(disk, disk_stack):
    stack = disk_stack
    assert put(stack, "KEPT", price=1).status_code == 200
    make_stale(stack, "AAPL")
    with read_only(disk):
        stack.kill(*stack.children("writer"))
        wait_for("the writer has found out", lambda: put(stack, "LOST", price=2).status_code == 503)
        for _ in range(3):
            answer = put(stack, "LOST", price=2)
            assert_problem(answer, 503, "Nothing was written")
            assert int(answer.headers["Retry-After"]) >= 1
        assert stack.get("/api/stocks/AAPL").json()["ticker"] == "AAPL"
        assert stack.get("/api/stocks/KEPT").json()["price"] == 1
        assert stack.get("/healthz").status_code == 200
    wait_for("it can be written again", lambda: put(stack, "AFTER", price=3).status_code == 200, 60)
    assert prices(stack) == {"KEPT": 1, "AFTER": 3}
    assert stack.get("/api/stocks/AFTER").json()["price"] == 3
