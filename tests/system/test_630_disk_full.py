"""A disk that becomes full at many different points: reads go on, writes get 507, nothing acknowledged is lost, and it heals.

The database lies on a small file system of its own, together with a ballast that leaves so many bytes free. How many decides
what it is that does not fit: a page of the write-ahead log, some of a group's pages, the copying back into the database.
"""

import contextlib
import os
import signal
import subprocess

import pytest

from conftest import PATIENT, assert_problem, stacks, wait_for
from writes import ACKNOWLEDGED, COUNTERS, KINDS, History, make_sql

KIB = 1024
# Free bytes: from no page at all to more than the write-ahead log may have.
POINTS = [KIB * kib for kib in (0, 4, 8, 12, 16, 20, 28, 36, 52, 68, 100, 132, 164, 200, 260, 330, 400, 520, 700, 1100)]
FULL = {200, 201, 202, 409, 412, 507}


class Disk:
    """A file system of 16 MiB at `path`, of which a ballast takes what is not to be free."""

    def __init__(self, path, kind):
        self.path, self.kind, self.ballast = path, kind, path / "ballast"

    def free(self):
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_bsize

    def leave(self, free):
        """Takes all but FREE bytes."""
        with open(self.ballast, "ab") as file:
            while (rest := self.free() - free) > 0:
                with contextlib.suppress(OSError):
                    os.posix_fallocate(file.fileno(), file.tell(), rest)
                    file.seek(0, os.SEEK_END)
                    continue
                break

    def empty(self):
        self.ballast.unlink()


def mount_tmpfs(place, directory):
    return ["mount", "-t", "tmpfs", "-o", "size=16m", "larder-test", place]


def mount_ext4(place, directory):
    image = directory / "image"
    with open(image, "wb") as file:
        file.truncate(24 * KIB * KIB)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", image], check=True, capture_output=True)
    return ["mount", "-o", "loop", image, place]


@pytest.fixture(params=[mount_tmpfs, mount_ext4], ids=["tmpfs", "ext4"])
def disk(request, tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    try:
        command = request.param(place, tmp_path)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no mkfs.ext4")
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a file system is for root")
    yield Disk(place, request.param)
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def stack(disk, tmp_path):
    """With its database on the small file system, stopped before that goes; its log is copied back every 256 KiB."""
    makers = stacks()
    yield next(makers)("--sql", make_sql(tmp_path / "sql"), "--set", f"store.database={disk.path}/larder.db", "--set", "store.wal_limit=1M",
                       "--set", "store.write_timeout=30s", *PATIENT)
    next(makers, None)


def size_of(dice):
    """Of an entry: mostly small, now and then many pages."""
    return dice.choice((10, 100, 1000, 3000, 9000, 40000))


def fill(stack, history):
    """Clients write until nothing goes any more."""
    first = len(history.attempts)
    with history.clients(stack, size=size_of):
        wait_for("the disk is full", lambda: sum(attempt.status == 507 for attempt in history.attempts[first:]) >= 50, 60)
        wait_for("nothing goes any more", lambda: not history.of(outcome=ACKNOWLEDGED, since=max(first, len(history.attempts) - 50)), 60)
    assert history.statuses(since=first) <= FULL, [attempt.answer for attempt in history.attempts[first:] if attempt.status not in FULL][:3]


def read(stack, path):
    answer = stack.get(path)
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Cache"]


def assert_reads_go_on(stack, point):
    """From the caches, from the database, and from the database alone."""
    for name in range(COUNTERS):
        # A purge whose row could not be removed for want of space may be carried out once more; and who reads what a write
        # that was accepted and cannot be applied now may change is sent past the caches.
        wait_for("it is a hit", lambda name=name: read(stack, f"/api/counters/{name}") in ("HIT", "BYPASS"))
    assert read(stack, f"/api/entries?client={10000 + point}") in ("MISS", "BYPASS")
    cleared = stack.request("POST", "/api/cache/clear", admin=True)
    assert cleared.status_code == 200, cleared.text
    purged = stack.request("POST", "/api/cache/invalidate", admin=True, json={"tag": "counters"})
    assert purged.status_code == 200, purged.text
    for path in [f"/api/counters/{name}" for name in range(COUNTERS)] + ["/api/entries"]:
        assert read(stack, path) in ("MISS", "BYPASS")
    assert stack.get("/readyz").status_code == 200


def assert_full(stack):
    answer = stack.request("POST", "/api/entries", admin=True, json={"client": -100, "number": 0, "size": 1_000_000})
    assert_problem(answer, 507, "no space", "Nothing was written")


def assert_heals(stack, history):
    """That within 5 seconds, on a machine that stands still now and then, everything can be written again, and from then on is."""
    with history.clients(stack, count=2) as clients:
        clients.wait(10, 10)
    first = len(history.attempts)
    with history.clients(stack):
        wait_for("every kind is answered as it should be", lambda: {kind.status for kind in KINDS} <= history.statuses(since=first))
    assert history.statuses(since=first) <= FULL - {507}
    history.assert_kept(stack.database)


def test_full_at_twenty_points(disk, stack, long):
    history, processes = History(), stack.children("writer") + stack.children("worker")
    points = POINTS if long or disk.kind is mount_tmpfs else POINTS[::4]
    for point, free in enumerate(points):
        disk.leave(free)
        fill(stack, history)
        assert_full(stack)
        assert_reads_go_on(stack, point)
        history.assert_kept(stack.database, applied=False)
        disk.empty()
        assert_heals(stack, history)
    assert stack.children("writer") + stack.children("worker") == processes, "somebody has died"
    assert "checkpoint_failed" in stack.log(), "the points are to be such that copying back fails too"


def test_killed_while_it_is_full_it_still_reads_and_heals(disk, stack):
    history = History()
    with history.clients(stack) as clients:
        clients.wait(100)
    disk.leave(20 * KIB)
    fill(stack, history)
    for name, (writer,) in [("the writer", stack.children("writer")), ("all of larder", (stack.larder_pid,))]:
        if writer == stack.larder_pid:
            os.killpg(writer, signal.SIGKILL)
            stack.up()
        else:
            os.kill(writer, signal.SIGKILL)
        wait_for(f"{name} is there again", lambda writer=writer: stack.children("writer") not in ([], [writer]))
        fill(stack, history)
        assert_full(stack)
        assert_reads_go_on(stack, writer)
        history.assert_kept(stack.database, applied=False)
    disk.empty()
    assert_heals(stack, history)
