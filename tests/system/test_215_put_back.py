"""A database that is put back while larder runs, that is reached by a link, or that root makes for the service's user."""

import os
import shutil
import sqlite3
import subprocess
import time

import pytest

from conftest import PATIENT, copy_sql, wait_for

NUMBERS = "CREATE TABLE numbers (id INTEGER PRIMARY KEY, value INTEGER NOT NULL) STRICT;\nINSERT INTO numbers VALUES (1, 0);\n"
RESOURCES = {
    "number": "-- name: number\n-- route: GET /api/number\n-- key: number\n-- ttl: 1h\n-- stale: 1h\n-- tags: number\n-- shape: object\n"
              "SELECT value FROM numbers WHERE id = 1;\n",
    "set-number": "-- name: set-number\n-- route: PUT /api/number\n-- param: value integer\n-- purge: tag:number\n"
                  "UPDATE numbers SET value = :value WHERE id = 1 RETURNING value;\n",
}
MEMBERS = [f"m{number}" for number in range(40)]


@pytest.fixture
def sql(tmp_path):
    directory = copy_sql(tmp_path / "sql", **RESOURCES)
    (directory / "migrations" / "0004-numbers.sql").write_text(NUMBERS)
    return directory


def shell(database, command):
    subprocess.run(["sqlite3", "-cmd", ".timeout 10000", database, command], check=True, timeout=60, stdout=subprocess.DEVNULL)


def back_up(stack):
    """A copy of the file, byte by byte: one that SQLite makes has another schema's number."""
    shell(stack.database, "PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copyfile(stack.database, stack.dir / "copy.db")


def put_in_its_place(stack):
    for ending in ("-wal", "-shm"):
        os.unlink(stack.database + ending)
    os.rename(stack.dir / "copy.db", stack.database)


def restore(stack):
    shell(stack.database, f".restore {stack.dir}/copy.db")


def value(stack):
    answer = stack.get("/api/number")
    return answer.json()["value"] if answer.status_code == 200 else answer.status_code


@pytest.mark.parametrize("put_back", [put_in_its_place, restore])
@pytest.mark.parametrize("l2", ["redis", "memory"])
def test_what_was_cached_is_not_answered_once_the_database_is_put_back(make_stack, sql, l2, put_back):
    stack = make_stack("--l2", l2, "--sql", sql, *PATIENT)
    assert stack.request("PUT", "/api/number", admin=True, json={"value": 1}).status_code == 200
    assert value(stack) == 1
    # A purge that the copy still held would be carried out again, and hide what is missing.
    stack.wait_for_outbox()
    back_up(stack)
    assert stack.request("PUT", "/api/number", admin=True, json={"value": 2}).status_code == 200
    wait_for("it is cached", lambda: value(stack) == 2 and stack.get("/api/number").headers["X-Cache"] == "HIT")
    put_back(stack)
    wait_for("it is as it was", lambda: value(stack) == 1, 8)
    # Nobody who still had the old file open has filled the caches from it again.
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert value(stack) == 1
        time.sleep(0.01)
    assert stack.request("PUT", "/api/number", admin=True, json={"value": 3}).status_code == 200
    assert value(stack) == 3


def submit(stack, scores):
    body = {"scores": [{"member": member, "score": score} for member, score in scores]}
    assert stack.request("POST", "/api/leaderboards/game/scores", admin=True, json=body).status_code == 200


@pytest.mark.parametrize("put_back", [put_in_its_place, restore])
def test_boards_are_those_of_the_database_that_was_put_back_however_much_it_changes_at_once(make_stack, put_back):
    stack = make_stack("--set", "board.game.mode=last", *PATIENT)
    submit(stack, [(member, 1) for member in MEMBERS[:5]])
    back_up(stack)
    submit(stack, [(member, 100 + number) for number, member in enumerate(MEMBERS[10:20])])

    def answer(path="top?limit=1000"):
        return stack.get(f"/api/leaderboards/game/{path}")

    wait_for("they are read from Redis", lambda: "detail=L2" in answer().headers["Cache-Status"])
    put_back(stack)
    # More than had come since the copy was made, before anybody looks again.
    submit(stack, [(member, 50 + number) for number, member in enumerate(MEMBERS[20:35])])
    db = sqlite3.connect(stack.database)
    expected = db.execute("SELECT member, score FROM larder_scores WHERE board = 'game' ORDER BY score DESC, reached").fetchall()
    db.close()
    assert len(expected) == 20

    def agree():
        found = answer()
        return [(item["member"], item["score"]) for item in found.json()["items"]] == expected and \
            "detail=L2" in found.headers["Cache-Status"]

    wait_for("Redis says what the database says", agree)
    assert answer(MEMBERS[10]).status_code == 404


def test_who_comes_by_a_link_meets_the_same_writer(make_stack, tmp_path):
    stack = make_stack()
    beside = tmp_path / "elsewhere"
    beside.mkdir()
    (beside / "link.db").symlink_to(stack.database)
    (beside / "directory").symlink_to(stack.dir)
    text = (stack.dir / "larder.conf").read_text()
    for path in (beside / "link.db", beside / "directory" / "larder.db"):
        (beside / "larder.conf").write_text(text.replace(stack.database, str(path)))
        told = stack.larder("--config", beside / "larder.conf", "migrate").stdout
        assert "a server is running" in told, told
        assert f"database = {path}" in stack.larder("--config", beside / "larder.conf", "check", "--print").stdout
    assert sorted(entry.name for entry in beside.iterdir()) == ["directory", "larder.conf", "link.db"]


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files for others")
OWNER = 12345


@pytest.fixture
def service(stack, tmp_path):
    """A directory of the service's user, and a function that runs a command of root's on the database in it."""
    os.chown(tmp_path, OWNER, OWNER)
    config = tmp_path / "larder.conf"
    config.write_text(f"[store]\ndatabase = {tmp_path}/larder.db\nsql = {copy_sql(tmp_path / 'sql')}\n")
    return tmp_path, lambda *arguments, **options: stack.larder("--config", config, *arguments, **options)


@needs_root
def test_what_root_makes_the_services_user_can_write(service):
    directory, larder = service
    larder("migrate", "--sample")
    for name in ("larder.db", "larder.db-larder.lock"):
        status = os.stat(directory / name)
        assert (status.st_uid, status.st_gid) == (OWNER, OWNER), name
    for path in directory.glob("larder.db*"):
        assert path.stat().st_uid == OWNER, path


@needs_root
@pytest.mark.parametrize("make", [os.symlink, os.link])
def test_root_gives_away_no_file_that_a_name_leads_to(service, make):
    directory, larder = service
    (directory / "secret").write_text("root's alone\n")
    os.chmod(directory / "secret", 0o600)
    make(directory / "secret", directory / "larder.db-larder.lock")
    result = larder("migrate", check=False)
    assert result.returncode == 1 and "larder.db-larder.lock" in result.stderr and "remove it" in result.stderr
    status = os.stat(directory / "secret")
    assert (status.st_uid, status.st_size) == (0, 13)
