"""What a hit costs in instructions stays what tests/bench/instructions.txt says, so that a change that costs a tenth is seen."""

import os
import platform
import shutil
import subprocess
import sys

import pytest

from conftest import ROOT, free_port

KEPT = ROOT / "tests" / "bench" / "instructions.txt"


def is_sanitized(program):
    text = open(program, "rb").read()
    return b"__asan_init" in text or b"__tsan_init" in text


def test_a_hit_in_l1_costs_as_many_instructions_as_is_kept():
    program = os.path.realpath(os.environ.get("LARDER", ROOT / "build" / "larder"))
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    if is_sanitized(program):
        pytest.skip("the program is built under sanitizers, which do not go with valgrind")
    if platform.machine() != "x86_64":
        pytest.skip("the number that is kept is one of x86-64")
    kept = int(next(line for line in KEPT.read_text().splitlines() if not line.startswith("#")))
    done = subprocess.run([sys.executable, ROOT / "tests" / "bench" / "instructions.py", str(free_port())],
                          text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr
    count = int(done.stdout.split()[-1])
    assert count <= kept * 1.1, f"a hit costs {count} instructions, more than a tenth above the {kept} of {KEPT.name}"
    assert count >= kept * 0.9, f"a hit costs {count} instructions, so lower the file: {KEPT.name} says {kept}"
