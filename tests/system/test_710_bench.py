"""scripts/bench does what it says. Its figures are nothing to test here, save those that are promises of correctness."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

from conftest import ROOT, wait_for

BENCH = ROOT / "scripts" / "bench"


def bench(*arguments, **options):
    return subprocess.run([BENCH, *arguments], text=True, capture_output=True, timeout=300, **options)


def processes(word):
    """Command lines that name WORD."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if word in text:
            found.append(text)
    return found


def test_it_lists_its_figures():
    listed = bench("--list")
    assert listed.returncode == 0, listed.stderr
    for name in ("hit-l1-detail", "syscalls", "instructions", "gzip", "cold", "tag-purge", "pattern-purge", "writes", "behind", "boards", "cgi", "memory"):
        assert name in listed.stdout


def test_wrong_usage_is_said_so():
    for arguments in (["--rounds"], ["--rounds", "0"], ["--seconds", "x"], ["--only", "nosuch"], ["nosuch"]):
        assert bench(*arguments).returncode == 2, arguments


def test_figures_are_measured_and_written(tmp_path):
    out = tmp_path / "bench.json"
    done = bench("--only", "tag-purge,hit-l2,writes,boards,cgi", "--rounds", "1", "--seconds", "1", "--scale", "1000", "--json", out,
                 env={**os.environ, "BENCH_PEERS": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["figures"]
    assert [row["verdict"] for row in rows if row["figure"] == "hit-l2"] == ["skipped"]
    stale = [row for row in rows if row["figure"] == "tag-purge" and row["what"] == "stale reads after it"]
    assert len(stale) == 1 and stale[0]["value"] == 0 and stale[0]["verdict"] == "ok"
    # Skipped where temporary files are in memory.
    verdicts = {row["verdict"] for row in rows if row["figure"] == "writes"}
    assert verdicts == {"skipped"} or "told" in verdicts and verdicts <= {"told", "ok", "short"}, rows
    boards = {row["what"]: row["verdict"] for row in rows if row["figure"] == "boards"}
    assert boards["over ceiling-fcgi-evented"] == "skipped" and boards["rank without Redis, median"] == "told", rows


def test_nothing_is_left_behind_when_it_is_ended():
    # Sockets want short paths.
    directory = tempfile.mkdtemp(prefix="larder-", dir="/tmp")
    process = subprocess.Popen([BENCH, "--only", "tag-purge", "--scale", "10"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               text=True, env={**os.environ, "TMPDIR": directory})
    wait_for("its stack runs", lambda: processes(f"{directory}/larder-bench"))
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert not processes(f"{directory}/larder-bench")
    os.rmdir(directory)
