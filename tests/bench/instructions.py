#!/usr/bin/env python3
"""How many instructions a worker executes for one hit in L1: counted by callgrind, so that it is the same on a busy machine.

    instructions.py PORT      prints the number; scripts/stack uses PORT for nginx

One worker, one kept FastCGI connection, one request at a time, as nginx would send it. Starting and stopping cost much more than
a hit, and the same each time: so a run of N hits is taken from one of 2 N. LARDER in the environment names another program.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "system"))
sys.dont_write_bytecode = True

from fcgi import Client  # noqa: E402: it lies beside the tests

HITS = 4000
WRAPPER = """#!/bin/sh
exec valgrind --quiet --trace-children=yes --tool=callgrind --callgrind-out-file={directory}/callgrind.%p {program} "$@"
"""


def only_worker(supervisor):
    """The id of the one worker."""
    found = []
    for task in pathlib.Path(f"/proc/{supervisor}/task").glob("*/children"):
        for pid in task.read_text().split():
            if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "larder: worker":
                found.append(int(pid))
    assert len(found) == 1, f"workers: {found}"
    return found[0]


def ask(client, count):
    for _ in range(count):
        answer = client.ask("/api/stocks/AAPL")
        assert answer and answer.status_code == 200, answer
    assert answer.headers["Cache-Status"].endswith("detail=L1"), str(answer.headers)


def run(port, hits):
    """Instructions of a worker that has answered HITS hits, from its start to its end."""
    program = os.path.realpath(os.environ.get("LARDER", ROOT / "build" / "larder"))
    with tempfile.TemporaryDirectory(prefix="larder-") as name:
        directory = pathlib.Path(name)
        wrapper = directory / "larder-under-callgrind"
        wrapper.write_text(WRAPPER.format(directory=directory, program=program))
        wrapper.chmod(0o755)
        stack = [ROOT / "scripts" / "stack"]
        environment = {**os.environ, "LARDER": str(wrapper)}
        try:
            subprocess.run([*stack, "up", "--dir", directory, "--port", str(port), "--workers", "1", "--timeout", "120",
                            "--set", "server.request_timeout=60s"],
                           check=True, env=environment, timeout=180)
            env = dict(line.split("=", 1) for line in (directory / "env").read_text().splitlines())
            worker = only_worker(int(env["LARDER_PID"]))
            with Client(directory / "larder.sock", 60) as client:
                ask(client, 50)
                ask(client, hits)
            assert only_worker(int(env["LARDER_PID"])) == worker, "the worker was replaced meanwhile"
        finally:
            subprocess.run([*stack, "down", "--dir", directory], check=True, env=environment, timeout=180)
        totals = re.findall(r"^(?:summary|totals): (\d+)", (directory / f"callgrind.{worker}").read_text(), re.M)
        return int(totals[-1])


def main(port):
    fewer, more = run(port, HITS), run(port, 2 * HITS)
    print(round((more - fewer) / HITS))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(int(sys.argv[1]))
