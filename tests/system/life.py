"""Clients of every kind at once, and what a supervisor is told to do meanwhile."""

import contextlib
import json
import os
import pathlib
import re
import signal
import sqlite3

from conftest import running, wait_for
from load import Load, finish_wrk, start_wrk

READS = ("/api/stocks/AAPL", "/api/stocks/MSFT", "/api/stocks/?limit=5", "/api/stocks/top?limit=3", "/api/leaderboards/momentum/top")
STOCK = json.dumps({"name": "x", "sector": "y", "price": 1})


class Traffic:
    """Readers, writers that a web server may ask for again (PUT), and writers that it may not (POST), while the `with` block runs; wrk besides, for
    SECONDS. After the block `check` says that each got what it asked for, and that what was acknowledged is there."""

    def __init__(self, stack, mark, seconds=0):
        headers = {"Authorization": f"Bearer {stack.admin_token}", "Content-Type": "application/json"}
        self.stack, self.mark, self.seconds = stack, mark, seconds
        self.readers = Load(stack.port, READS, threads=3)
        self.putters = Load(stack.port, (), threads=2, pause=0.01, method="PUT", headers=headers,
                            make_body=lambda thread, n: STOCK, make_path=lambda thread, n: f"/api/stocks/{mark}{thread}X{n}")
        self.posters = Load(stack.port, (), threads=2, pause=0.01, method="POST", headers=headers,
                            make_body=self.make_score,
                            make_path=lambda thread, n: "/api/leaderboards/value/scores")
        self.members = []
        self.all = (self.readers, self.putters, self.posters)

    def make_score(self, thread, n):
        self.members.append(f"{self.mark}-{thread}-{n}")
        return json.dumps({"member": self.members[-1], "score": n})

    def __enter__(self):
        self.wrk = start_wrk(self.stack.url + READS[0], self.seconds) if self.seconds else None
        self.block = contextlib.ExitStack()
        for load in self.all:
            self.block.enter_context(load)
        return self

    def __exit__(self, *error):
        self.block.close()
        if self.wrk:
            self.counted = finish_wrk(self.wrk, self.seconds + 60)

    def wait(self, count=5):
        for load in self.all:
            load.wait(count)

    def check(self):
        for load, allowed in ((self.readers, {200}), (self.putters, {200}), (self.posters, {200, 201})):
            others = [answer for answer in load.answers if answer.status not in allowed]
            assert not others, f"{len(others)} of {len(load.answers)} {load.method}: {others[:3]}\n{self.stack.log('nginx')[-600:]}\n{self.stack.log()[-3000:]}"
            assert load.answers
        if self.wrk:
            assert self.counted.errors == 0, self.counted.text
        with contextlib.closing(sqlite3.connect(f"file:{self.stack.database}?mode=ro", uri=True, timeout=30)) as database:
            stored = {row[0] for row in database.execute("SELECT ticker FROM stocks")}
        lost = {json.loads(answer.body)["ticker"] for answer in self.putters.answers} - stored
        assert not lost, f"acknowledged and not there: {sorted(lost)[:3]}"
        for member in self.members[:: max(1, len(self.members) // 20)]:
            assert self.stack.get(f"/api/leaderboards/value/{member}").status_code == 200, member
        # Nobody waited for long, either.
        slowest = max(load.slowest() for load in self.all)
        assert slowest < 10, f"one waited for {slowest} s"


def birth(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[19]


def adopt(stack):
    """The supervisor that has followed last is the stack's."""
    new = int(re.findall(r"[ \"]upgraded.*pid=(\d+)", stack.log())[-1])
    (stack.dir / "larder.pid").write_text(f"{new} {birth(new)}\n")
    stack.larder_pid = new
    return new


def upgrade(stack):
    """Has the supervisor be followed by a new one, and returns when the old one has gone."""
    old, said = stack.larder_pid, len(stack.log())
    os.kill(old, signal.SIGUSR2)
    line = wait_for("the new supervisor serves", lambda: re.search(r"[ \"]upgraded.*pid=(\d+)", stack.log()[said:]))
    new = int(line.group(1))
    wait_for("the old supervisor has gone", lambda: not running(old))
    wait_for("the new one says that it is ready", lambda: f"pid={new}" in stack.log()[said:].split(" ready ")[-1])
    return adopt(stack)
