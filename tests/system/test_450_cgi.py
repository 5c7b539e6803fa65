"""Plain CGI: the program itself, started with a CGI environment for each request, as web servers do."""

import concurrent.futures
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import time

import pytest
import redis

from conftest import FAULTS, ROOT, wait_for
from environments import PATIENT, TOKEN, short_directory, template  # noqa: F401
from fcgi import parse


class Cgi:
    """A configuration, and how to ask with it."""

    def __init__(self, directory, template):
        self.dir, self.template = directory, template
        shutil.copy(template.dir / "larder.db", directory / "larder.db")
        self.settings = {"LARDER_CONFIG": str(directory / "larder.conf"), "LARDER_STORE_WRITE_TIMEOUT": "30s"}
        (directory / "larder.conf").write_text(
            f"[server]\nsocket = {directory}/larder.sock\nworkers = 1\n[store]\ndatabase = {directory}/larder.db\n"
            f"sql = {template.dir}/sql\n[redis]\nurl = unix://{template.redis_socket}\nprefix = {directory.name}:\n{PATIENT}"
            f"[auth]\nadmin_token = {TOKEN}\n")
        self.errors = ""

    def run(self, variables, body=b"", arguments=()):
        done = subprocess.run([self.template.program, *arguments], input=body, capture_output=True, timeout=60,
                              env={"GATEWAY_INTERFACE": "CGI/1.1", "REMOTE_ADDR": "127.0.0.1", **self.settings, **variables})
        errors = done.stderr.decode()
        assert not FAULTS.search(errors), errors
        assert done.returncode == 0, errors
        self.errors += errors
        return parse(done.stdout)

    def ask(self, path, method="GET", body=b"", token=None, **more):
        variables = {"REQUEST_METHOD": method, "REQUEST_URI": path}
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        if body:
            variables |= {"CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": "application/json"}
        if token:
            variables["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        return self.run(variables | more, body)

    def put(self, ticker, price, **more):
        return self.ask(f"/api/stocks/{ticker}", "PUT", {"name": ticker, "sector": "Energy", "price": price}, TOKEN, **more)

    def serve(self):
        """A larder that serves the same database."""
        log = open(self.dir / "log", "wb")
        process = subprocess.Popen([self.template.program, "-c", self.dir / "larder.conf", "serve"], stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log)
        wait_for("larder is ready", lambda: " ready " in (self.dir / "log").read_text() or process.poll() is not None)
        return process


@pytest.fixture
def cgi(template):
    directory = short_directory()
    yield Cgi(directory, template)
    shutil.rmtree(directory, ignore_errors=True)


def outcome(answer):
    return answer.headers["X-Cache"]


def test_the_status_is_told_in_full(cgi):
    for path, status in (("/api/stocks/AAPL", "200 OK"), ("/api/stocks/NONE", "404 Not Found"), ("/api/stocks/a%zz", "400 Bad Request")):
        assert cgi.ask(path).headers["Status"] == status


def test_without_request_uri_the_path_is_put_together(cgi):
    answer = cgi.run({"REQUEST_METHOD": "GET", "SCRIPT_NAME": "/cgi-bin/larder", "PATH_INFO": "/api/echo/a é%", "QUERY_STRING": "note=n",
                      "LARDER_MOUNT": "/cgi-bin/larder"})
    assert answer.json() == {"word": "a é%", "note": "n"}


def test_the_mount_may_stand_in_the_configuration(cgi):
    cgi.settings["LARDER_SERVER_MOUNT"] = "/app"
    assert cgi.ask("/app/api/echo/x").json()["word"] == "x"


def test_a_query_on_the_command_line_is_no_command(cgi):
    """A web server makes arguments of a query without `=` (RFC 3875, section 4.4)."""
    cgi.ask("/api/echo/kept")
    for arguments in (("purge", "--all"), ("-c", "/nonexistent"), ("--version",)):
        assert outcome(cgi.run({"REQUEST_METHOD": "GET", "REQUEST_URI": "/api/echo/kept"}, arguments=arguments)) == "HIT"


def test_bodies_that_are_not_what_they_say(cgi):
    short = cgi.ask("/api/stocks/AAPL", "PUT", b"{}", TOKEN, CONTENT_LENGTH="10")
    assert short.status_code == 400 and "Content-Length" in short.json()["detail"]
    large = b" " * ((1 << 20) + 1)
    assert cgi.ask("/api/stocks/AAPL", "PUT", large, TOKEN).status_code == 413
    assert cgi.ask("/api/stocks/AAPL", "PUT", large, TOKEN, CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked").status_code == 413


def test_wrong_files_are_a_500_that_the_log_explains(cgi):
    cgi.settings["LARDER_L1_SIZE"] = "much"
    answer = cgi.ask("/api/stocks/AAPL")
    assert answer.status_code == 500 and answer.headers["Content-Type"] == "application/problem+json"
    assert "LARDER_L1_SIZE" in cgi.errors


def test_writes_at_once_are_all_carried_out(cgi):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: cgi.put(f"W{number}", number + 1), range(24)))
    assert [answer.status_code for answer in answers] == [200] * 24, cgi.errors
    assert [cgi.ask(f"/api/stocks/W{number}").json()["price"] for number in range(24)] == [number + 1 for number in range(24)]


def holder(database, byte):
    """The process that keeps others from locking that byte of SQLite's shared memory; 0: none does."""
    with open(f"{database}-shm", "rb") as file:
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        kind, _, _, _, pid = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, asked))
    return 0 if kind == fcntl.F_UNLCK else pid


def test_a_writer_has_its_own_locks_on_the_database(cgi):
    """A change that is still to be told makes the process read the database before it starts its writer. If that inherited the
    connection it would not have its locks, and the next one to come would take the shared memory for nobody's."""
    write_lock, in_use = 120, 128  # SQLite's WAL-mode file format, section 2.3, and UNIX_SHM_DMS
    shutil.copytree(cgi.template.dir / "sql", cgi.dir / "sql")
    cgi.settings["LARDER_STORE_SQL"] = str(cgi.dir / "sql")
    (cgi.dir / "sql/resources/slow.sql").write_text(
        "-- name: slow\n-- route: PUT /api/slow/{ticker}\n-- param: ticker text 1..10\n-- shape: object\n-- purge: tag:slow\n"
        "-- timeout: 1m\nWITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)\n"
        "UPDATE stocks SET price = (SELECT max(i) FROM n) WHERE ticker = :ticker RETURNING price;\n")
    assert cgi.put("AAPL", 1).status_code == 200
    database, seen = cgi.dir / "larder.db", set()
    for price in range(2, 12):  # who looks may stand still while it writes
        shell = sqlite3.connect(database, timeout=30)
        shell.execute("UPDATE stocks SET price = ? WHERE ticker = 'AAPL'", (price,))
        shell.commit()
        shell.close()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            writing = pool.submit(cgi.ask, "/api/slow/AAPL", "PUT", token=TOKEN)
            while not writing.done():
                with contextlib.suppress(FileNotFoundError):
                    writer, user = holder(database, write_lock), holder(database, in_use)
                    if writer and writer == holder(database, write_lock):
                        seen.add(user != 0)
                time.sleep(0.001)
            assert writing.result().status_code == 200, cgi.errors
        if seen:
            break
    assert seen == {True}


def test_a_write_goes_to_the_writer_of_a_larder_that_serves(cgi):
    larder = cgi.serve()
    try:
        assert cgi.ask("/api/stocks/AAPL").status_code == 200
        assert cgi.put("AAPL", 77.5).status_code == 200, cgi.errors
        assert cgi.ask("/api/stocks/AAPL").json()["price"] == 77.5
        assert larder.poll() is None
    finally:
        larder.terminate()
        assert larder.wait(30) == 0


def test_a_lock_that_nobody_answers_for_is_a_503_in_time(cgi):
    assert cgi.put("AAPL", 1).status_code == 200
    for name in ("lock", "turn"):
        with open(cgi.dir / f"larder.db-larder.{name}", "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            refused = cgi.put("AAPL", 2, LARDER_STORE_WRITE_TIMEOUT="300ms")
            assert refused.status_code == 503 and refused.headers["Retry-After"], name
            assert "Nothing was written" in refused.json()["detail"]
            assert cgi.ask("/api/stocks/AAPL").json()["price"] == 1
    assert cgi.put("AAPL", 3).status_code == 200


def test_what_another_program_has_changed_is_seen_by_the_next_request(cgi):
    for _ in range(2):
        cgi.ask("/api/stocks/AAPL")
    with sqlite3.connect(cgi.dir / "larder.db") as db:
        db.execute("UPDATE stocks SET price = 5 WHERE ticker = 'AAPL'")
    db.close()
    answers = [cgi.ask("/api/stocks/AAPL") for _ in range(2)]
    assert [(outcome(answer), answer.json()["price"]) for answer in answers] == [("MISS", 5), ("HIT", 5)]


def test_what_is_stale_is_refreshed_when_it_has_been_answered(cgi):
    cgi.ask("/api/stocks/AAPL")
    assert cgi.ask("/api/cache/invalidate", "POST", {"tag": "stocks", "soft": True}, TOKEN).status_code == 200
    assert [outcome(cgi.ask("/api/stocks/AAPL")) for _ in range(2)] == ["STALE", "HIT"]


def test_a_purge_by_pattern_leaves_nothing_to_do(cgi):
    cgi.ask("/api/echo/one")
    job = cgi.ask("/api/cache/invalidate", "POST", {"pattern": "echo:*"}, TOKEN).json()["job"]
    assert cgi.ask(f"/api/cache/jobs/{job}", token=TOKEN).json()["state"] == "done"
    assert outcome(cgi.ask("/api/echo/one")) == "MISS"


def test_a_write_that_purges_by_patterns_leaves_nothing_to_do(cgi, template, tmp_path):
    shutil.copytree(template.dir / "sql", tmp_path / "sql")
    put = (ROOT / "sql" / "resources" / "stock-put.sql").read_text()
    (tmp_path / "sql" / "resources" / "stock-put.sql").write_text(
        put.replace("-- purge:", "-- purge: pattern:echo:* pattern:large:*", 1))
    cgi.settings["LARDER_STORE_SQL"] = str(tmp_path / "sql")
    cgi.ask("/api/echo/one")
    with redis.Redis(unix_socket_path=str(template.redis_socket)) as server:
        def kept():
            return list(server.scan_iter(f"{cgi.dir.name}:*echo:*")), server.hget(f"{cgi.dir.name}:1:purged", "bans")
        assert len(kept()[0]) == 1
        assert cgi.put("AAPL", 1).status_code == 200
        assert kept() == ([], None)
    assert outcome(cgi.ask("/api/echo/one")) == "MISS"


def test_without_redis_answers_are_slower_and_nothing_stale_comes_back(cgi, template):
    assert outcome(cgi.ask("/api/stocks/AAPL")) == "MISS"
    where = f"unix://{template.redis_socket}"
    cgi.settings["LARDER_REDIS_URL"] = f"unix://{cgi.dir}/nobody.sock"
    assert cgi.put("AAPL", 9).status_code == 200
    answer = cgi.ask("/api/stocks/AAPL")
    assert (outcome(answer), answer.json()["price"]) == ("MISS", 9)
    assert cgi.ask("/api/cache/invalidate", "POST", {"tag": "echo"}, TOKEN).status_code == 202
    cgi.settings["LARDER_REDIS_URL"] = where
    answers = [cgi.ask("/api/stocks/AAPL") for _ in range(2)]
    assert [(outcome(answer), answer.json()["price"]) for answer in answers] == [("MISS", 9), ("HIT", 9)]
    with sqlite3.connect(cgi.dir / "larder.db") as db:
        assert db.execute("SELECT count(*) FROM larder_outbox").fetchone() == (0,)
    db.close()


def test_a_redis_that_has_lost_what_it_was_told_is_not_believed(cgi, template):
    """It comes back from a dump that is older than a write; no process was there all the time that could know."""
    cgi.put("AAPL", 11)
    assert [outcome(cgi.ask("/api/stocks/AAPL")) for _ in range(2)] == ["MISS", "HIT"]
    with redis.Redis(unix_socket_path=str(template.redis_socket)) as server:
        dump = {key: server.dump(key) for key in server.scan_iter(f"{cgi.dir.name}:*")}
        assert cgi.put("AAPL", 12).status_code == 200
        server.delete(*server.scan_iter(f"{cgi.dir.name}:*"))
        for key, value in dump.items():
            server.restore(key, 600_000, value)
    answers = [cgi.ask("/api/stocks/AAPL") for _ in range(2)]
    assert [(outcome(answer), answer.json()["price"]) for answer in answers] == [("MISS", 12), ("HIT", 12)]


def test_memory_is_no_cache(cgi):
    cgi.settings["LARDER_REDIS_URL"] = "memory:"
    for _ in range(2):
        answer = cgi.ask("/api/stocks/AAPL")
        assert outcome(answer) == "MISS" and "stored" not in answer.headers["Cache-Status"]
    assert cgi.put("AAPL", 4).status_code == 200
    assert cgi.ask("/api/stocks/AAPL").json()["price"] == 4
    assert cgi.errors == ""


def test_a_write_behind_is_carried_out_before_it_is_answered(cgi, template, tmp_path):
    shutil.copytree(template.dir / "sql", tmp_path / "sql")
    behind = (ROOT / "sql" / "resources" / "stock-put.sql").read_text()
    (tmp_path / "sql" / "resources" / "stock-put.sql").write_text(behind.replace("-- purge:", "-- write: behind\n-- purge:", 1))
    cgi.settings["LARDER_STORE_SQL"] = str(tmp_path / "sql")
    cgi.ask("/api/stocks/AAPL")
    assert cgi.put("AAPL", 12).status_code == 202, cgi.errors
    answers = [cgi.ask("/api/stocks/AAPL") for _ in range(2)]
    assert [(outcome(answer), answer.json()["price"]) for answer in answers] == [("MISS", 12), ("HIT", 12)]


def test_one_that_is_killed_leaves_no_writer_behind(cgi):
    """Its writer ends with it, and the next request writes."""
    variables = {"GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": "PUT", "REQUEST_URI": "/api/stocks/AAPL", "CONTENT_LENGTH": "60",
                 "CONTENT_TYPE": "application/json", "HTTP_AUTHORIZATION": f"Bearer {TOKEN}", **cgi.settings}
    body = json.dumps({"name": "A", "sector": "Energy", "price": 1}).encode().ljust(60)
    for delay in range(0, 20, 2):
        process = subprocess.Popen([cgi.template.program], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=variables)
        process.stdin.write(body)
        process.stdin.close()
        time.sleep(delay / 1000)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert cgi.put("AAPL", 3).status_code == 200, cgi.errors
    assert cgi.ask("/api/stocks/AAPL").json()["price"] == 3
