"""Killed while 16 clients write: all of the system at once, and each part of it alone. What was acknowledged is there, once.

Who dies is killed by SIGKILL, at a random moment. What the database then holds is compared with what every client was told:
acknowledged, refused with the word that nothing was written, or not known (see writes.py).
"""

import contextlib
import os
import pathlib
import random
import signal
import sqlite3
import time

import pytest

from conftest import wait_for
from writes import (ACKNOWLEDGED, COUNTERS, KINDS, MIGRATION, REFUSED, UNKNOWN, Attempt, Count, CountBehind, History, Insert, Raise,
                    SpoilBehind, make_sql)

ANSWERS = {200, 201, 202, 409, 412, 503, None}


@pytest.fixture(scope="module")
def writing_sql(tmp_path_factory):
    return make_sql(tmp_path_factory.mktemp("writes") / "sql")


@pytest.fixture
def stack(make_stack, writing_sql):
    return make_stack("--sql", writing_sql, "--set", "breaker.open=500ms", "--set", "store.write_timeout=30s")


def group_of(leader):
    """The processes of the group that scripts/stack has made for a program."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(") ", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == leader and fields[0] not in "ZX":
            found.append(int(path.parent.name))
    return found


def kill_everything(stack, dice):
    """larder, Redis and nginx, all of their processes, in whichever order."""
    leaders = [stack.larder_pid, stack.redis_pid, stack.nginx_pid]
    dice.shuffle(leaders)
    assert len(group_of(stack.larder_pid)) >= 5, "supervisor, 2 workers, writer and housekeeper are one group"
    for leader in leaders:
        os.killpg(leader, signal.SIGKILL)
    wait_for("all have gone", lambda: not any(group_of(leader) for leader in leaders))


def assert_read_as_written(stack):
    """That larder gives what the database holds, also what it had in its caches before; and what it has accepted, at once."""
    for name, path in [(kind.base + name, kind.path) for kind in KINDS if type(kind) in (Count, CountBehind) for name in range(COUNTERS)]:
        first = stack.get(f"/api/counters/{name}")
        assert first.status_code == 200, first.text
        written = stack.request("POST", path.format(name), admin=True, json={})
        assert written.status_code in (201, 202), written.text
        assert stack.get(f"/api/counters/{name}").json()["value"] == first.json()["value"] + 1


def assert_settled(stack, history, all_known=False):
    """What must be true at the end of a history with faults. ALL_KNOWN: they were such that no write is to suffer."""
    history.assert_kept(stack.database)
    assert history.statuses() <= ANSWERS
    for kind in KINDS:
        assert {kind.status} <= {attempt.status for attempt in history.of(kind)}, f"{kind.name} never got the answer that is its own"
    if all_known:
        assert history.statuses() <= {200, 201, 202, 409, 412}
    else:
        assert history.of(outcome=UNKNOWN), "nothing was under way at any of the faults"
    assert_read_as_written(stack)
    stack.wait_for_outbox()


# What a database holds, what its clients were told, and what is wrong with it.
FAULTS = {
    "lost": (["INSERT INTO copies VALUES (1, 7)"], [(Insert, 1, 7, ACKNOWLEDGED)], "0 entries and 1 copies"),
    "twice": (["INSERT INTO entries VALUES (1, 7, '')", "INSERT INTO copies VALUES (1, 7)"] * 2, [(Insert, 1, 7, UNKNOWN)], "2 entries"),
    "half": (["INSERT INTO entries VALUES (1, 7, '')"], [(Insert, 1, 7, UNKNOWN)], "1 entries and 0 copies"),
    "refused": (["INSERT INTO entries VALUES (1, 7, '')", "INSERT INTO copies VALUES (1, 7)"], [(Insert, 1, 7, REFUSED)], "1 entries"),
    "unasked": (["INSERT INTO entries VALUES (1, 7, '')"], [], "nobody has asked"),
    "counted too little": ([], [(Count, 1, 7, ACKNOWLEDGED)], "counter 1 is 0 after 1"),
    "counted too much": (["UPDATE counters SET value = 2 WHERE name = 1"], [(Count, 1, 7, UNKNOWN)], "counter 1 is 2 after 0"),
    "counted for two": (["UPDATE counters SET value = 2 WHERE name = 1"], [(Count, 1, 7, ACKNOWLEDGED), (Count, 1, 8, ACKNOWLEDGED)], "same"),
    "fell back": (["INSERT INTO registers VALUES (1, 7)"], [(Raise, 1, 7, ACKNOWLEDGED), (Raise, 1, 8, ACKNOWLEDGED)], "8 was acknowledged"),
    "failed twice": (["INSERT INTO larder_failures VALUES (1), (2)"], [(SpoilBehind, 1, 7, ACKNOWLEDGED)], "2 are kept"),
    "half of a failure": (["INSERT INTO entries VALUES (-1, -7, '')"], [], "half of a write that failed"),
}


@pytest.mark.parametrize("statements, told, words", FAULTS.values(), ids=FAULTS)
def test_a_history_tells_what_is_wrong(tmp_path, statements, told, words):
    path = tmp_path / "larder.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript(MIGRATION + "CREATE TABLE larder_failures (id INTEGER PRIMARY KEY)")
        for statement in statements:
            database.execute(statement)
    history = History()
    kind_of = {type(kind): kind for kind in KINDS}
    history.attempts = [Attempt(kind_of[kind], client, number, outcome, None, {"value": 1}) for kind, client, number, outcome in told]
    with pytest.raises(AssertionError, match=words):
        history.assert_kept(path, patience_s=0)


def test_all_of_it_killed_at_once_again_and_again(stack, long):
    history, dice = History(), random.Random(11)
    for number in range(100 if long else 20):
        restarted_under_load = number % 3 == 2
        with history.clients(stack) as clients:
            clients.wait(dice.randrange(1, 150))
            time.sleep(dice.random() * 0.02)
            kill_everything(stack, dice)
            if restarted_under_load:
                stack.up()
                clients.wait(50)
        if not restarted_under_load:
            history.assert_on_disk(stack.database)
            stack.up()
        history.assert_kept(stack.database)
    assert_settled(stack, history)


def kill_writer(stack, dice):
    kill_one(stack, "writer", 1, dice)


def kill_worker(stack, dice):
    kill_one(stack, "worker", 2, dice)


def kill_housekeeper(stack, dice):
    kill_one(stack, "housekeeper", 1, dice)


def kill_one(stack, role, count, dice):
    pid = dice.choice(wait_for(f"there is a {role}", lambda: stack.children(role)))
    os.kill(pid, signal.SIGKILL)
    wait_for("it has a successor", lambda: pid not in (now := stack.children(role)) and len(now) == count, 60)


def kill_waiting_worker(stack, dice):
    """Both workers at once, while their writes wait for a writer that does not move; it then finds their clients gone."""
    writer = stack.children("writer")[0]
    os.kill(writer, signal.SIGSTOP)
    try:
        time.sleep(0.05)
        workers = stack.children("worker")
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        wait_for("they have successors", lambda: len(now := stack.children("worker")) == 2 and not set(now) & set(workers), 60)
    finally:
        os.kill(writer, signal.SIGCONT)


def kill_supervisor(stack, dice):
    """Another takes its place at once, while orphans still answer, and write, by way of the new writer."""
    stack.kill(stack.larder_pid)
    stack.up()


def kill_nginx(stack, dice):
    os.killpg(stack.nginx_pid, signal.SIGKILL)
    wait_for("nginx has gone", lambda: not group_of(stack.nginx_pid))
    stack.up()


def kill_redis(stack, dice):
    os.killpg(stack.redis_pid, signal.SIGKILL)
    time.sleep(dice.random() * 0.1)
    stack.up()


def heal(stack):
    """A reload forgets the deaths, and with them the back-off."""
    before = stack.children("worker") + stack.children("writer")
    stack.signal(stack.larder_pid, signal.SIGHUP)
    wait_for("another generation alone is there", lambda: len(now := stack.children("worker") + stack.children("writer")) == 3 and not set(now) & set(before))


@pytest.mark.parametrize("kill", [kill_writer, kill_worker, kill_housekeeper, kill_waiting_worker, kill_supervisor, kill_nginx, kill_redis])
def test_a_part_of_it_killed_again_and_again(stack, long, kill):
    history, dice = History(), random.Random(kill.__name__)
    for _ in range(50 if long else 5):
        with history.clients(stack) as clients:
            clients.wait(dice.randrange(1, 100))
            time.sleep(dice.random() * 0.02)
            kill(stack, dice)
            clients.wait(20)
        history.assert_kept(stack.database)
        heal(stack)
    assert_settled(stack, history, all_known=kill in (kill_redis, kill_housekeeper))


def test_clients_that_vanish(stack, long):
    history = History()
    for _ in range(20 if long else 4):
        with history.clients(stack, vanish=0.3) as clients:
            clients.wait(300)
        history.assert_kept(stack.database)
    assert history.of(outcome=UNKNOWN) and history.of(outcome=REFUSED)
    with history.clients(stack) as clients:
        clients.wait(100)
    assert_settled(stack, history)
